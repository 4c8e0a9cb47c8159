//! Keys by DTLS, policies, and ICE on a terminal's lines.

use mcu_api::plan::{DtlsKeys, DtlsRole, DtlsTerms, FingerprintHash, SdesKeys, Transport};

use mcu_api::secret::Redacted;

use super::*;

const OURS: [u8; 32] = [0x5A; 32];

fn ours(srtp: SrtpPolicy) -> LocalMedia {
    LocalMedia {
        dtls_fingerprint: Some(OURS),
        ..local(srtp)
    }
}

/// PLAIN's lines under another profile, each with these attributes.
fn lines_with(proto: &str, attributes: &str) -> String {
    let offer = PLAIN.replace("RTP/AVP", proto);
    offer.replace("m=video", &format!("{attributes}m=video")) + attributes
}

fn hash(name: &str, first: u8) -> String {
    let len = match name {
        "sha-1" => 20,
        "sha-224" => 28,
        "sha-256" => 32,
        "sha-384" => 48,
        _ => 64,
    };
    let bytes: Vec<String> = (0..len).map(|n| format!("{:02X}", first ^ n)).collect();
    format!("a=fingerprint:{name} {}\r\n", bytes.join(":"))
}

fn dtls(agreed: &Agreed) -> Vec<DtlsTerms> {
    let transports = agreed.transports();
    let terms = transports.iter().filter_map(|transport| match transport {
        Transport::Udp(udp) => udp.dtls.as_deref().cloned(),
        Transport::Webrtc(_) => None,
    });
    terms.collect()
}

#[test]
fn every_profile_setup_and_hash_function_is_answered() {
    let protos = [
        "UDP/TLS/RTP/SAVP",
        "UDP/TLS/RTP/SAVPF",
        "RTP/SAVP",
        "RTP/SAVPF",
        "RTP/AVP",
    ];
    let setups = [
        ("a=setup:actpass\r\n", DtlsRole::Server, "passive"),
        ("a=setup:active\r\n", DtlsRole::Server, "passive"),
        ("a=setup:passive\r\n", DtlsRole::Client, "active"),
        ("", DtlsRole::Server, "passive"),
    ];
    let hashes = ["sha-1", "sha-224", "sha-256", "sha-384", "sha-512"];
    for proto in protos {
        for (setup, role, said) in setups {
            for name in hashes {
                let offer = lines_with(proto, &format!("{}{setup}", hash(name, 1)));
                let agreed = answer(&offer, &ours(SrtpPolicy::Allowed), &mut rng()).unwrap();
                check_rules(&offer, &agreed);
                let terms = dtls(&agreed);
                assert_eq!(terms.len(), 2, "{proto}");
                assert_eq!(terms[0].role, role);
                let known = [0, terms[0].association, terms[1].association];
                assert!(known[0] != known[1] && known[1] != known[2] && known[2] != 0);
                assert_eq!(terms[0].remote_fingerprints[0].bytes[0], 1);
                assert!(agreed.sdp.contains(&format!("a=setup:{said}\r\n")));
                assert!(agreed.sdp.contains("a=fingerprint:sha-256 5A:5A:"));
                assert!(!agreed.sdp.contains("a=tls-id"), "not asked for");
            }
        }
    }
}

#[test]
fn of_several_hash_functions_the_strongest_counts_and_a_broken_one_none() {
    let many = [hash("sha-1", 1), hash("sha-512", 2), hash("sha-256", 3)].concat();
    let agreed = answer(
        &lines_with("UDP/TLS/RTP/SAVP", &many),
        &ours(SrtpPolicy::Allowed),
        &mut rng(),
    );
    let terms = dtls(&agreed.unwrap());
    let hashes: Vec<FingerprintHash> = terms[0]
        .remote_fingerprints
        .iter()
        .map(|known| known.hash)
        .collect();
    assert_eq!(hashes, [FingerprintHash::Sha512]);
    for broken in [
        "a=fingerprint:sha-256 AB:CD\r\n".to_string(),
        hash("sha-256", 1).replace("01:", "+1:"),
        hash("sha-256", 1).replace("sha-256", "md5"),
        String::new(),
    ] {
        let offer = lines_with("UDP/TLS/RTP/SAVP", &broken);
        let refused = answer(&offer, &ours(SrtpPolicy::Allowed), &mut rng());
        assert_eq!(refused, Err(OfferError::NothingInCommon), "{broken}");
    }
}

const IDENTITY: &str = "a=setup:actpass\r\na=tls-id:0123456789abcdef0123\r\n";

/// PLAIN's lines with a fingerprint of SHA-256 and these attributes.
fn identified(first: u8, more: &str) -> String {
    lines_with(
        "UDP/TLS/RTP/SAVP",
        &format!("{}{more}", hash("sha-256", first)),
    )
}

#[test]
fn an_association_lasts_until_fingerprint_tls_id_or_role_change() {
    let offer = identified;
    let mut random = rng();
    let id = IDENTITY;
    let mut last = answer(&offer(1, id), &ours(SrtpPolicy::Allowed), &mut random).unwrap();
    assert!(last.sdp.contains("a=tls-id:"));
    let steps = [
        (offer(1, id), false),
        (offer(1, &id.replace("actpass", "active")), false),
        (offer(1, &id.replace("actpass", "holdconn")), false),
        (offer(2, id), true),
        (offer(2, &id.replace("0123\r", "4567\r")), true),
        (offer(2, &id.replace("actpass", "passive")), true),
    ];
    let mut associations = vec![dtls(&last)[0].association];
    for (offer, renewed) in steps {
        let now = answer_again(&offer, &ours(SrtpPolicy::Allowed), &last, &mut random).unwrap();
        let before = dtls(&last)[0].association;
        let association = dtls(&now)[0].association;
        assert_eq!(before != association, renewed);
        if renewed {
            assert!(!associations.contains(&association), "never again");
            associations.push(association);
        }
        assert_eq!(
            now.audio.as_ref().unwrap().ssrc != last.audio.as_ref().unwrap().ssrc,
            renewed
        );
        last = now;
    }
}

#[test]
fn another_certificate_of_ours_ends_an_association_whose_keys_nobody_knows() {
    let mut random = rng();
    let again = identified(2, IDENTITY);
    let mut last = answer(&again, &ours(SrtpPolicy::Allowed), &mut random).unwrap();
    let other = LocalMedia {
        dtls_fingerprint: Some([1; 32]),
        ..ours(SrtpPolicy::Allowed)
    };
    let now = answer_again(&again, &other, &last, &mut random).unwrap();
    assert_ne!(dtls(&now)[0].association, dtls(&last)[0].association);
    assert!(last.shows_dead_certificate([1; 32]) && !last.shows_dead_certificate(OURS));
    let key = |n| Redacted(vec![n; 28]);
    let rtp = SdesKeys {
        suite: SrtpSuite::AeadAes128Gcm,
        local: key(1),
        remote: key(2),
    };
    let [audio, video] = [0, 1].map(|line| DtlsKeys {
        association: dtls(&last)[line].association,
        local_fingerprint: Some(OURS),
        remote_fingerprints: dtls(&last)[line].remote_fingerprints.clone(),
        rtp: rtp.clone(),
        rtcp: None,
    });
    let by_another_certificate = DtlsKeys {
        local_fingerprint: Some([1; 32]),
        ..audio.clone()
    };
    let of_another_peer = DtlsKeys {
        remote_fingerprints: Vec::new(),
        ..audio.clone()
    };
    for wrong in [&video, &by_another_certificate, &of_another_peer] {
        assert!(!last.note_dtls_keys(0, wrong));
    }
    assert!(last.note_dtls_keys(0, &audio) && last.note_dtls_keys(1, &video));
    assert!(!last.note_dtls_keys(0, &audio), "no news");
    assert!(
        !last.shows_dead_certificate([1; 32]),
        "known keys outlive it"
    );
    let now = answer_again(&again, &other, &last, &mut random).unwrap();
    assert_eq!(dtls(&now)[0].association, audio.association);
    assert!(now.sdp.contains("a=fingerprint:sha-256 5A:"), "{}", now.sdp);
}

#[test]
fn our_offer_is_answered_by_dtls_by_sdes_or_in_clear_as_policy_allows() {
    let sdes =
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:PE6Oi+VaHWQT7QrEgTd8sdcyoQFAEJhlSPMsU7No\r\n";
    let dtls_said = format!("{}a=setup:active\r\n", hash("sha-256", 9));
    for srtp in [SrtpPolicy::Allowed, SrtpPolicy::Required, SrtpPolicy::Off] {
        let offered = offer(&ours(srtp), &mut rng());
        let said = |name: &str| offered.sdp.contains(name);
        let off = srtp == SrtpPolicy::Off;
        assert_eq!(said("a=crypto:"), !off);
        assert_eq!(said("a=fingerprint:"), !off);
        let theirs = |attributes: &str| {
            let text = offered.sdp.lines().find(|line| line.starts_with("m=audio"));
            let proto = text.unwrap().split(' ').nth(2).unwrap();
            format!(
                "v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 4000 {proto} 0\r\n{attributes}m=video 0 {proto} 96\r\n"
            )
        };
        let agreed = |attributes: &str| accept_answer(&offered, &theirs(attributes), &mut rng());
        let clear = agreed("");
        assert_eq!(clear.is_ok(), srtp != SrtpPolicy::Required, "{srtp:?}");
        if off {
            continue;
        }
        let odd = [
            format!("{}a=setup:holdconn\r\n", hash("sha-256", 9)),
            "a=fingerprint:md2 5A:01\r\na=setup:active\r\n".to_owned(),
        ];
        for odd in odd {
            let missing = Err(OfferError::KeysMissing { index: 0 });
            assert_eq!(agreed(&odd), missing, "never clear: {odd}");
        }
        let by_sdes = agreed(sdes).unwrap();
        assert!(by_sdes.audio.as_ref().unwrap().transport.sdes.is_some());
        for both in [dtls_said.clone(), format!("{sdes}{dtls_said}")] {
            let by_dtls = agreed(&both).unwrap();
            assert_eq!(dtls(&by_dtls)[0].role, DtlsRole::Server);
            assert_eq!(by_dtls.audio.as_ref().unwrap().transport.sdes, None);
            let later = offer_again(&ours(srtp), &by_dtls, &mut rng());
            let id = |sdp: &str| {
                let line = sdp.lines().find(|line| line.starts_with("a=tls-id"));
                line.map(str::to_string)
            };
            assert_eq!(id(&later.sdp), id(&offered.sdp));
            let kept = accept_answer(&later, &theirs(&both), &mut rng()).unwrap();
            assert_eq!(dtls(&kept), dtls(&by_dtls));
            // The media process was replaced before anybody knew the keys.
            let other = LocalMedia {
                dtls_fingerprint: Some([1; 32]),
                ..ours(srtp)
            };
            let anew = offer_again(&other, &by_dtls, &mut rng());
            assert_ne!(id(&anew.sdp), id(&offered.sdp));
            let mut random = StdRng::seed_from_u64(8);
            let renewed = accept_answer(&anew, &theirs(&both), &mut random).unwrap();
            assert_ne!(dtls(&renewed)[0].association, dtls(&by_dtls)[0].association);
            let clear = accept_answer(&later, &theirs(""), &mut rng());
            assert!(clear.is_err(), "encrypted once, encrypted always");
        }
    }
}

#[test]
fn an_encrypted_line_never_becomes_clear_within_a_call() {
    let keys = hash("sha-256", 1);
    let secure = lines_with("RTP/AVP", &keys);
    let agreed = answer(&secure, &ours(SrtpPolicy::Allowed), &mut rng()).unwrap();
    let clear = answer_again(PLAIN, &ours(SrtpPolicy::Allowed), &agreed, &mut rng());
    assert_eq!(clear, Err(OfferError::Downgrade));
    let plain = answer(PLAIN, &ours(SrtpPolicy::Allowed), &mut rng()).unwrap();
    let later = answer_again(&secure, &ours(SrtpPolicy::Allowed), &plain, &mut rng());
    assert_eq!(dtls(&later.unwrap()).len(), 2, "the other way is fine");
    let required = answer(PLAIN, &ours(SrtpPolicy::Required), &mut rng());
    assert_eq!(required, Err(OfferError::NothingInCommon));
    let off = answer(&secure, &ours(SrtpPolicy::Off), &mut rng()).unwrap();
    assert!(dtls(&off).is_empty());
}

/// A line refused in one exchange and offered in clear in the next was taken.
#[test]
fn what_was_encrypted_stays_so_when_its_line_went_in_between() {
    let by_dtls = format!("{}a=setup:active\r\n", hash("sha-256", 1));
    let by_sdes =
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:PE6Oi+VaHWQT7QrEgTd8sdcyoQFAEJhlSPMsU7No\r\n";
    let local = ours(SrtpPolicy::Allowed);
    for keys in [by_dtls.as_str(), by_sdes] {
        let secure = lines_with("RTP/AVP", keys);
        let first = answer(&secure, &local, &mut rng()).unwrap();
        for kind in ["m=audio ", "m=video "] {
            let without = |text: &str| {
                let at = text.find(kind).unwrap() + kind.len();
                let end = at + text[at..].find(' ').unwrap();
                format!("{}0{}", &text[..at], &text[end..])
            };
            let gone = answer_again(&without(&secure), &local, &first, &mut rng()).unwrap();
            assert_eq!(gone.transports().len(), 1);
            // Over another exchange, one of ours too.
            let again = answer_again(&without(&secure), &local, &gone, &mut rng()).unwrap();
            let offered = offer_again(&local, &again, &mut rng());
            let accepted = accept_answer(&offered, &without(&secure), &mut rng()).unwrap();
            let written = serde_json::to_string(&accepted).unwrap();
            let kept: Agreed = serde_json::from_str(&written).unwrap();
            for before in [&gone, &again, &accepted, &kept] {
                let clear = answer_again(PLAIN, &local, before, &mut rng());
                assert_eq!(clear, Err(OfferError::Downgrade), "{kind}");
                let back = answer_again(&secure, &local, before, &mut rng()).unwrap();
                assert_eq!(back.transports().len(), 2);
            }
        }
    }
    // What was never encrypted may be clear.
    let audio = PLAIN.replace("m=video 4002", "m=video 0");
    assert_ne!(audio, PLAIN);
    let first = audio.replace("m=video", &format!("{by_dtls}m=video"));
    let first = answer(&first, &local, &mut rng()).unwrap();
    let video = PLAIN.replace("m=video", &format!("{by_dtls}m=video"));
    assert!(answer_again(&video, &local, &first, &mut rng()).is_ok());
}

/// RFC 4145 §4: active is the default of an offer, passive that of an answer.
#[test]
fn an_answer_that_says_no_role_leaves_the_client_hello_to_us() {
    let local = ours(SrtpPolicy::Allowed);
    let offered = offer(&local, &mut rng());
    let answered = lines_with("RTP/AVP", &hash("sha-256", 1));
    let agreed = accept_answer(&offered, &answered, &mut rng()).unwrap();
    assert_eq!(dtls(&agreed)[0].role, DtlsRole::Client);
    let offered = answer(&answered, &local, &mut rng()).unwrap();
    assert_eq!(dtls(&offered)[0].role, DtlsRole::Server);
}

/// Lines of a terminal with ICE at 192.0.2.9, the default address of [`PLAIN`]'s lines replaced.
fn with_ice(pwd: &str, ip: &str, more: &str) -> String {
    format!(
        "v=0\r\nc=IN IP4 192.0.2.9\r\n{more}m=audio 4000 RTP/AVP 0\r\n\
         a=ice-ufrag:abcd\r\na=ice-pwd:{pwd}\r\n\
         a=candidate:1 1 UDP 2130706431 {ip} 4000 typ host\r\n\
         a=candidate:1 2 UDP 2130706430 {ip} 4001 typ host\r\n"
    )
}

#[test]
fn before_a_translation_of_addresses_the_peer_is_told_its_outer_side_alone() {
    let inner = "192.168.7.4".parse().unwrap();
    let local = LocalMedia {
        bound: Some(inner),
        ..ours(SrtpPolicy::Allowed)
    };
    let offer = with_ice("0123456789abcdef012345", "192.0.2.9", "");
    let answered = answer(&offer, &local, &mut rng()).unwrap();
    let audio = answered.audio.as_ref().unwrap();
    assert_eq!(audio.transport.local_ip, inner);
    for line in [
        "c=IN IP4 198.51.100.5\r\n",
        "a=candidate:1 1 UDP 2130706431 198.51.100.5 20000 typ host\r\n",
    ] {
        assert!(answered.sdp.contains(line), "{}", answered.sdp);
    }
    let again = offer_again(&local, &answered, &mut rng());
    for sdp in [&answered.sdp, &again.sdp, &offer_ours(&local)] {
        assert!(!sdp.contains("192.168.7.4"), "{sdp}");
        assert!(sdp.contains("198.51.100.5"), "{sdp}");
    }
}

fn offer_ours(local: &LocalMedia) -> String {
    super::super::offer(local, &mut rng()).sdp
}

#[test]
fn ice_is_answered_as_its_lite_side_on_both_components() {
    const PWD: &str = "0123456789abcdef012345";
    let answered = |offer: &str| answer(offer, &ours(SrtpPolicy::Allowed), &mut rng()).unwrap();
    let ice = |agreed: &Agreed| agreed.audio.as_ref().unwrap().transport.ice.clone();
    let agreed = answered(&with_ice(PWD, "192.0.2.9", ""));
    let terms = ice(&agreed).unwrap();
    assert_eq!(terms.remote_ufrag, "abcd");
    for line in [
        "a=ice-lite\r\n".to_string(),
        format!("a=ice-ufrag:{}\r\n", terms.local_ufrag),
        format!("a=ice-pwd:{}\r\n", terms.local_pwd.0),
        "a=candidate:1 1 UDP 2130706431 198.51.100.5 20000 typ host\r\n".to_string(),
        "a=candidate:1 2 UDP 2130706430 198.51.100.5 20001 typ host\r\n".to_string(),
    ] {
        assert!(agreed.sdp.contains(&line), "{line}{}", agreed.sdp);
    }
    let mux = answered(&format!("{}a=rtcp-mux\r\n", with_ice(PWD, "192.0.2.9", "")));
    assert!(!mux.sdp.contains("a=candidate:1 2 "), "{}", mux.sdp);

    let mut random = StdRng::seed_from_u64(3);
    let mut again = |offer: &str| {
        answer_again(offer, &ours(SrtpPolicy::Allowed), &agreed, &mut random).unwrap()
    };
    assert_eq!(
        ice(&again(&with_ice(PWD, "192.0.2.9", ""))),
        Some(terms.clone())
    );
    let other = PWD.replace('5', "6");
    let restarted = ice(&again(&with_ice(&other, "192.0.2.9", ""))).unwrap();
    assert_ne!(restarted.local_ufrag, terms.local_ufrag);

    let rewritten = answered(&with_ice(PWD, "10.0.0.9", ""));
    assert_eq!(ice(&rewritten), None);
    assert!(rewritten.sdp.contains("a=ice-mismatch\r\n"));
    assert!(!rewritten.sdp.contains("a=candidate"));
    let lite = answered(&with_ice(PWD, "192.0.2.9", "a=ice-lite\r\n"));
    assert_eq!(ice(&lite), None);
    let short = answered(&with_ice("short", "192.0.2.9", ""));
    assert!(!short.sdp.contains("a=ice"), "{}", short.sdp);
    let held = answered(&with_ice(PWD, "10.0.0.9", "").replace("IP4 192.0.2.9", "IP4 0.0.0.0"));
    assert!(ice(&held).is_some());
}
