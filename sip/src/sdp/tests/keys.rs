//! Keys of SDES over several exchanges, and which are taken.

use super::*;

/// Our key, the peer's, and our SSRC, of sound and video.
fn secrets(agreed: &Agreed) -> [(Vec<u8>, Vec<u8>, u32); 2] {
    let (audio, video) = (agreed.audio.as_ref(), agreed.video.as_ref());
    let audio = audio.map(|line| (&line.transport, line.ssrc)).unwrap();
    let video = video.map(|line| (&line.transport, line.ssrc)).unwrap();
    [audio, video].map(|(transport, ssrc)| {
        let keys = transport.sdes.clone().unwrap();
        (keys.local.0, keys.remote.0, ssrc)
    })
}

/// The counters of SRTP begin anew with the peer's new key: with our old key and SSRC a key stream
/// would be used twice.
#[test]
fn a_new_key_of_the_peer_brings_new_keys_and_ssrcs_of_ours() {
    let keyed = |key: &str, further: &str| {
        let crypto = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}\r\n{further}");
        PLAIN.replace("m=video", &format!("{crypto}m=video")) + &crypto
    };
    let old = keyed("PE6Oi+VaHWQT7QrEgTd8sdcyoQFAEJhlSPMsU7No", "");
    let new = keyed("+bg0TIYwLFq7EZWoiF7F12S8RX1Y0b/Ie3/LSs9H", "");
    let mux = keyed("+bg0TIYwLFq7EZWoiF7F12S8RX1Y0b/Ie3/LSs9H", "a=rtcp-mux\r\n");
    let mut random = StdRng::seed_from_u64(9);
    let mut last = answered(&old).unwrap();
    // Another RTCP port makes the transport anew as well.
    for offer in [&new, &old, &new, &mux] {
        let agreed = answer_again(offer, &local(SrtpPolicy::Allowed), &last, &mut random).unwrap();
        for (before, now) in secrets(&last).into_iter().zip(secrets(&agreed)) {
            assert_ne!(before.0, now.0, "our key");
            assert_ne!(before.2, now.2, "our SSRC");
        }
        let video = agreed.video.as_ref().unwrap();
        assert_eq!(video.send.as_ref().unwrap().ssrc, video.ssrc);
        let again = answer_again(offer, &local(SrtpPolicy::Allowed), &agreed, &mut random);
        assert_eq!(again.unwrap(), agreed, "a refresh changes nothing");
        last = agreed;
    }
    let mixed = old.replacen("PE6Oi", "QE6Oi", 1);
    let first = secrets(&answered(&old).unwrap());
    let agreed = answered(&old).unwrap();
    let agreed = answer_again(&mixed, &local(SrtpPolicy::Allowed), &agreed, &mut random);
    let [audio, video] = secrets(&agreed.unwrap());
    assert!(audio.0 != first[0].0 && audio.2 != first[0].2);
    assert_eq!(video, first[1], "the other line goes on");
}

/// Our key stands in our offer already, so that only the SSRC can still change.
#[test]
fn a_new_key_in_the_answer_to_a_later_offer_brings_new_ssrcs() {
    let peer = local(SrtpPolicy::Required);
    let first = offer(&local(SrtpPolicy::Required), &mut rng());
    let theirs = answer(&first.sdp, &peer, &mut StdRng::seed_from_u64(1)).unwrap();
    let agreed = accept_answer(&first, &theirs.sdp, &mut rng()).unwrap();
    let later = offer_again(&local(SrtpPolicy::Required), &agreed, &mut rng());
    let mut random = StdRng::seed_from_u64(2);
    let same = answer_again(&later.sdp, &peer, &theirs, &mut random).unwrap();
    let same = accept_answer(&later, &same.sdp, &mut random).unwrap();
    assert_eq!(secrets(&same), secrets(&agreed), "nothing has changed");
    let other = answer(&later.sdp, &peer, &mut random).unwrap();
    let other = accept_answer(&later, &other.sdp, &mut random).unwrap();
    for (before, now) in secrets(&agreed).into_iter().zip(secrets(&other)) {
        assert_eq!(before.0, now.0, "our key");
        assert!(before.1 != now.1 && before.2 != now.2, "its key, our SSRC");
    }
}

/// RFC 4568 §6.1: packets under such a key carry its identifier, which our SRTP cannot read.
#[test]
fn a_line_whose_keys_all_have_identifiers_has_no_keys_for_us() {
    let key = "inline:PE6Oi+VaHWQT7QrEgTd8sdcyoQFAEJhlSPMsU7No";
    let crypto = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 {key}|2^31|1:1\r\n");
    let best_effort = format!("{PLAIN}{crypto}");
    let video = answered(&best_effort).unwrap().video.unwrap();
    assert_eq!(video.transport.sdes, None);
    let secure = best_effort.replace("m=video 4002 RTP/AVP", "m=video 4002 RTP/SAVP");
    assert_eq!(answered(&secure).unwrap().video, None);
    let other = crypto.replace("crypto:1", "crypto:2").replace("|1:1", "");
    let agreed = answered(&format!("{secure}{other}")).unwrap();
    assert!(agreed.sdp.contains("a=crypto:2 "), "{}", agreed.sdp);
    let offered = offer(&local(SrtpPolicy::Allowed), &mut rng());
    let answer = format!(
        "v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 4000 RTP/AVP 0\r\n{crypto}m=video 0 RTP/AVP 97\r\n"
    );
    assert_eq!(
        accept_answer(&offered, &answer, &mut rng()),
        Err(OfferError::KeysMissing { index: 0 }),
        "the peer encrypts, and clear packets are none to it"
    );
}
