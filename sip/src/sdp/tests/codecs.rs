//! Codecs that only some media processors have: H.261, H.263, L16 and G.729.

use mcu_api::codec::{AudioCodec, VideoCodec};

use super::*;

fn with_all() -> LocalMedia {
    let mut local = local(SrtpPolicy::Off);
    local.video.as_mut().unwrap().legacy = true;
    let audio = local.audio.as_mut().unwrap();
    audio.add(true, true, true);
    local
}

fn offered(lines: &str) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{lines}")
}

/// What goes each way, and the formats of our answer.
fn video(lines: &str, local: &LocalMedia) -> Option<(VideoCodec, u16, u8, Vec<String>)> {
    let sound = "m=audio 4000 RTP/AVP 0\r\n";
    let agreed = answer(&offered(&format!("{sound}{lines}")), local, &mut rng()).unwrap();
    let video = agreed.video?;
    let (class, send) = (video.class.unwrap(), video.send.unwrap());
    let received = video.receive.unwrap().payloads[0];
    assert_eq!((class.codec, received.codec), (send.codec, send.codec));
    let formats = agreed.sdp.lines().filter(|line| line.starts_with("a=fmtp"));
    let formats = formats.map(str::to_owned).collect();
    Some((class.codec, class.width, received.payload_type, formats))
}

#[test]
fn old_pictures_are_taken_where_the_processor_has_them() {
    let all = with_all();
    let (codec, width, number, formats) = video("m=video 4002 RTP/AVP 34\r\n", &all).unwrap();
    assert_eq!((codec, width, number), (VideoCodec::H263, 176, 34));
    assert_eq!(formats, ["a=fmtp:34 CIF4=1;CIF=1;QCIF=1;SQCIF=1"]);
    let h261 = "m=video 4002 RTP/AVP 31\r\nb=AS:64\r\na=fmtp:31 CIF=1;QCIF=1\r\n";
    let (codec, width, number, formats) = video(h261, &all).unwrap();
    assert_eq!((codec, width, number), (VideoCodec::H261, 352, 31));
    assert_eq!(formats, ["a=fmtp:31 CIF=1;QCIF=1"]);
    let plus = "m=video 4002 RTP/AVP 97 34\r\na=rtpmap:97 H263-1998/90000\r\na=fmtp:97 CIF=1\r\n";
    let (codec, _, number, _) = video(plus, &all).unwrap();
    assert_eq!((codec, number), (VideoCodec::H263Plus, 97));
    assert_eq!(
        video(plus, &local(SrtpPolicy::Off)),
        None,
        "an older processor"
    );
}

#[test]
fn h264_goes_before_all_of_them_unless_its_limits_allow_nothing() {
    let both = |id| {
        format!(
            "m=video 4002 RTP/AVP 34 96\r\na=fmtp:34 CIF=1\r\na=rtpmap:96 H264/90000\r\n\
             a=fmtp:96 profile-level-id={id}\r\n"
        )
    };
    let all = with_all();
    assert_eq!(video(&both("42e01f"), &all).unwrap().0, VideoCodec::H264);
    let nothing = both("42e01f;max-fs=1;max-mbps=1");
    assert_eq!(video(&nothing, &all).unwrap().0, VideoCodec::H263);
}

#[test]
fn our_offer_lists_them_last_and_an_answer_may_take_them() {
    let ours = offer(&with_all(), &mut rng());
    assert!(ours.sdp.contains(" RTP/AVP 96 97 98 99 34 31 120 121\r\n"));
    assert!(
        ours.sdp
            .contains(" RTP/AVP 107 115 9 111 8 0 18 101 102 103 104\r\n"),
        "{}",
        ours.sdp
    );
    let theirs =
        offered("m=audio 4000 RTP/AVP 18\r\nm=video 4002 RTP/AVP 34\r\na=fmtp:34 CIF=1\r\n");
    let agreed = accept_answer(&ours, &theirs, &mut rng()).unwrap();
    let sound = agreed.audio.unwrap().stream;
    assert_eq!(
        sound.send.map(|send| (send.codec, send.payload_type)),
        Some((AudioCodec::G729, 18))
    );
    let video = agreed.video.unwrap();
    assert_eq!(
        video.class.map(|class| (class.codec, class.width)),
        Some((VideoCodec::H263, 352))
    );
    assert!(
        video
            .receive
            .unwrap()
            .payloads
            .iter()
            .all(|p| p.codec == VideoCodec::H263)
    );
    let again = serde_json::to_string(&ours).unwrap();
    assert_eq!(serde_json::from_str::<Offer>(&again).unwrap(), ours, "kept");
}

#[test]
fn g7221_is_taken_by_its_rate_and_before_what_sounds_worse() {
    let siren = "a=rtpmap:115 G7221/32000\r\na=fmtp:115 bitrate=48000\r\n\
                 a=rtpmap:102 G7221/16000\r\na=fmtp:102 bitrate=24000\r\n";
    let chosen = |numbers: &str, ptime: u8| {
        let lines = format!("m=audio 4000 RTP/AVP {numbers}\r\n{siren}a=ptime:{ptime}\r\n");
        let agreed = answer(&offered(&lines), &with_all(), &mut rng()).unwrap();
        let said = agreed.sdp.lines().find(|line| line.contains("bitrate="));
        let send = agreed.audio.unwrap().stream.send.unwrap();
        (
            send.codec,
            send.ptime_ms,
            send.bitrate_bps,
            said.map(str::to_owned),
        )
    };
    let annex_c = AudioCodec::G7221C {
        bitrate_bps: 48_000,
    };
    let said = Some("a=fmtp:115 bitrate=48000".to_owned());
    assert_eq!(chosen("0 9 102 115", 20), (annex_c, 20, 48_000, said));
    assert_eq!(chosen("0 9 102", 20).0, AudioCodec::G722);
    let wide = AudioCodec::G7221 {
        bitrate_bps: 24_000,
    };
    let said = Some("a=fmtp:102 bitrate=24000".to_owned());
    assert_eq!(
        chosen("0 102", 10),
        (wide, 20, 24_000, said),
        "a frame is 20 ms"
    );
    let unsaid = offered("m=audio 4000 RTP/AVP 0 115\r\na=rtpmap:115 G7221/32000\r\n");
    let agreed = answer(&unsaid, &with_all(), &mut rng()).unwrap();
    assert_eq!(
        agreed.audio.unwrap().payloads[0].codec,
        AudioCodec::Pcmu,
        "of no rate"
    );
}

#[test]
fn silence_of_g729_is_described_where_both_sides_say_so() {
    for (said, answered) in [("", "yes"), ("annexb=yes", "yes"), ("annexb=no", "no")] {
        let lines = format!("m=audio 4000 RTP/AVP 18\r\na=fmtp:18 {said}\r\na=ptime:20\r\n");
        let agreed = answer(&offered(&lines), &with_all(), &mut rng()).unwrap();
        assert!(
            agreed
                .sdp
                .contains(&format!("a=fmtp:18 annexb={answered}\r\n"))
        );
        let send = agreed.audio.unwrap().stream.send.unwrap();
        assert_eq!(
            (send.codec, send.ptime_ms, send.bitrate_bps),
            (AudioCodec::G729, 20, 8_000)
        );
    }
    let other = offered("m=audio 4000 RTP/AVP 18 8\r\n");
    let agreed = answer(&other, &with_all(), &mut rng()).unwrap();
    assert_eq!(
        agreed.audio.unwrap().payloads[0].codec,
        AudioCodec::Pcma,
        "ears before bits"
    );
}

#[test]
fn linear_samples_are_taken_at_16_khz_in_packets_that_fit() {
    let lines = "m=audio 4000 RTP/AVP 11 97\r\na=rtpmap:97 L16/16000\r\na=ptime:60\r\n";
    let agreed = answer(&offered(lines), &with_all(), &mut rng()).unwrap();
    assert!(agreed.sdp.contains("a=rtpmap:97 L16/16000\r\n"));
    let send = agreed.audio.unwrap().stream.send.unwrap();
    assert_eq!(
        (
            send.codec,
            send.payload_type,
            send.ptime_ms,
            send.bitrate_bps
        ),
        (AudioCodec::L16, 97, 30, 256_000)
    );
    let stereo = "m=audio 4000 RTP/AVP 97 8\r\na=rtpmap:97 L16/16000/2\r\n";
    let agreed = answer(&offered(stereo), &with_all(), &mut rng()).unwrap();
    let sound = agreed.audio.unwrap();
    assert_eq!(
        sound.payloads[0].codec,
        AudioCodec::Pcma,
        "one channel only"
    );
}

/// RFC 4588 §8.1, RFC 2198 §5: what repairs is agreed on where the offer has it, under its numbers, and
/// sound with copies by a processor that reads it.
#[test]
fn retransmissions_and_copies_are_agreed_on_as_offered() {
    let offer = offered(
        "m=audio 4000 RTP/AVP 121 0\r\na=rtpmap:121 red/8000\r\na=fmtp:121 0/0\r\n\
         m=video 4002 RTP/AVP 97 98 99\r\na=rtpmap:97 H264/90000\r\n\
         a=fmtp:97 profile-level-id=42e01f;packetization-mode=1\r\na=rtpmap:98 rtx/90000\r\n\
         a=fmtp:98 apt=97\r\na=rtpmap:99 rtx/90000\r\na=fmtp:99 apt=42\r\n\
         a=rtcp-fb:97 nack\r\na=rtcp-fb:97 ccm tmmbr\r\n",
    );
    let mut local = with_all();
    let older = answer(&offer, &local, &mut rng()).unwrap();
    assert!(
        older.sdp.contains("m=audio 20000 RTP/AVP 0\r\n"),
        "{}",
        older.sdp
    );
    local.audio.as_mut().unwrap().red = true;
    let mut agreed = answer(&offer, &local, &mut rng()).unwrap();
    for line in [
        "m=audio 20000 RTP/AVP 121 0\r\n",
        "a=rtpmap:121 red/8000\r\na=fmtp:121 0/0\r\n",
        "m=video 20002 RTP/AVP 97 98\r\n",
        "a=rtpmap:98 rtx/90000\r\na=fmtp:98 apt=97\r\n",
        "a=rtcp-fb:* nack\r\na=rtcp-fb:* ccm tmmbr\r\n",
    ] {
        assert!(agreed.sdp.contains(line), "{line} in {}", agreed.sdp);
    }
    agreed.set_ssrcs(10, 20);
    let stream = &agreed.audio.as_ref().unwrap().stream;
    assert_eq!(
        (stream.red, stream.send.unwrap().red),
        (Some(121), Some(121))
    );
    let video = agreed.video.as_ref().unwrap();
    let send = video.send.as_ref().unwrap();
    assert_eq!(
        (send.ssrc, send.rtx, send.rtx_ssrc),
        (20, Some(98), Some(21))
    );
    assert_eq!(video.receive.as_ref().unwrap().payloads[0].rtx, Some(98));
    // A later offer of ours keeps the numbers.
    let again = offer_again(&local, &agreed, &mut rng());
    assert!(again.sdp.contains(" RTP/AVP 97 98\r\n"), "{}", again.sdp);
    let accepted = accept_answer(&again, &offer, &mut rng()).unwrap();
    let video = accepted.video.unwrap();
    assert_eq!(video.receive.unwrap().payloads[0].rtx, Some(98));
    // Without NACK nobody asks for retransmissions.
    let plain = offer.replace("a=rtcp-fb:97 nack\r\n", "");
    let plain = answer(&plain, &local, &mut rng()).unwrap();
    assert_eq!(plain.video.unwrap().send.unwrap().rtx, None);
}
