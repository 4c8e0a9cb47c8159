use mcu_api::codec::VideoCodec;
use mcu_api::plan::{PictureLimits, VideoPayload};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sdp_types::{Media, Session};

use super::*;

/// Recorded from Chromium 156: one sendrecv sound, a camera with three layers, eight slots.
const CHROMIUM: &str = include_str!("../../../../tests/captures/own_chromium_offer.sdp");
/// Written after the habits of Firefox: session-level fingerprint, bundle-only lines with port 0,
/// payload types 126 and 97 for H.264, application data before the slots.
const FIREFOX: &str = include_str!("../../../../tests/captures/own_firefox_offer.sdp");

fn with_local<T>(run: impl FnOnce(&Local<'_>) -> T) -> T {
    let pwd = Redacted("abcdefghijklmnopqrstuvwx".to_string());
    let candidates = [
        "192.0.2.7:3478".parse().unwrap(),
        "[2001:db8::7]:3478".parse().unwrap(),
    ];
    run(&Local {
        session_id: 77,
        version: 1,
        ufrag: "room3000",
        pwd: &pwd,
        fingerprint_sha256: [0xab; 32],
        candidates: &candidates,
        tcp_candidates: &["203.0.113.7:443".parse().unwrap()],
        cname: "room-3000",
        stream_id: "consult",
        max_slot_bps: 2_500_000,
        vp8: true,
    })
}

fn answered(offer: &str) -> Result<BrowserAgreed, BrowserOfferError> {
    with_local(|local| answer(offer, local, &mut StdRng::seed_from_u64(1)))
}

fn parsed(sdp: &str) -> Session {
    Session::parse(sdp.as_bytes()).unwrap()
}

fn has(media: &Media, attribute: &str) -> bool {
    let (name, value) = attribute
        .split_once(':')
        .map_or((attribute, None), |(n, v)| (n, Some(v)));
    media
        .attributes
        .iter()
        .any(|found| found.attribute == name && found.value.as_deref() == value)
}

#[test]
fn chromium_gets_sound_camera_and_eight_slots_on_one_transport() {
    let agreed = answered(CHROMIUM).unwrap();
    let answer = parsed(&agreed.sdp);
    let offer = parsed(CHROMIUM);
    assert_eq!(answer.medias.len(), offer.medias.len());
    assert_eq!(
        answer.get_first_attribute_value("group").unwrap(),
        Some("BUNDLE 0 1 2 3 4 5 6 7 8 9")
    );
    assert!(answer.has_attribute("ice-lite"));
    for (ours, theirs) in answer.medias.iter().zip(&offer.medias) {
        assert_eq!(
            (&ours.media, &ours.proto, ours.port),
            (&theirs.media, &theirs.proto, 3478)
        );
        assert!(
            has(ours, "rtcp-mux") && has(ours, "setup:passive") && has(ours, "ice-ufrag:room3000")
        );
        let offered: Vec<&str> = theirs.fmt.split(' ').collect();
        assert!(ours.fmt.split(' ').all(|number| offered.contains(&number)));
    }
    let candidates = agreed.sdp.matches("a=candidate:").count();
    assert_eq!(
        (
            candidates,
            agreed.sdp.matches("a=end-of-candidates").count()
        ),
        (3, 1)
    );
    // RFC 6544 §4.2 and §4.5, below any candidate for UDP.
    let tcp = "a=candidate:3 1 tcp 1520435199 203.0.113.7 443 typ host tcptype passive\r\n";
    assert!(agreed.sdp.contains(tcp), "{}", agreed.sdp);
    assert_eq!(agreed.transport.dtls_role, DtlsRole::Server);
    assert_eq!(agreed.transport.remote_ufrag, "FdIo");
    assert_eq!(
        agreed.transport.remote_fingerprint_sha256[..3],
        [0x74, 0xbe, 0x99]
    );
    assert_eq!(agreed.slots.len(), 8);
}

#[test]
fn chromium_sound_is_opus_both_ways() {
    let agreed = answered(CHROMIUM).unwrap();
    let audio = &agreed.audio;
    assert_eq!(
        audio.receive,
        [AudioPayload {
            payload_type: 111,
            codec: AudioCodec::Opus
        }]
    );
    assert_eq!(
        (audio.mid.as_deref(), audio.telephone_event),
        (Some("0"), Some(110))
    );
    let extensions = audio.extensions;
    assert_eq!((extensions.audio_level, extensions.abs_send_time), (1, 2));
    assert_eq!(
        (extensions.transport_cc, extensions.mid, extensions.rid),
        (3, 4, 0)
    );
    let send = audio.send.unwrap();
    let answer = parsed(&agreed.sdp);
    let line = &answer.medias[0];
    assert!(has(line, "sendrecv") && has(line, "fmtp:111 minptime=10;useinbandfec=1"));
    assert!(has(line, "msid:consult-0 consult-0"));
    assert!(has(line, &format!("ssrc:{} cname:room-3000", send.ssrc)));
}

#[test]
fn chromium_camera_keeps_its_three_layers_in_order() {
    let agreed = answered(CHROMIUM).unwrap();
    let camera = agreed.video_receive.unwrap();
    let expected = VideoPayload {
        payload_type: 108,
        codec: VideoCodec::H264,
        rtx: Some(109),
    };
    assert_eq!(camera.payloads, [expected]);
    assert_eq!(camera.rids, ["l", "m", "h"]);
    let all = Feedback {
        nack: true,
        pli: true,
        fir: true,
        transport_cc: true,
        tmmbr: false,
        remb: false,
    };
    assert_eq!(camera.feedback, all);
    assert_eq!(
        (camera.extensions.rid, camera.extensions.repaired_rid),
        (10, 11)
    );
    let answer = parsed(&agreed.sdp);
    let line = &answer.medias[1];
    assert!(has(line, "recvonly") && has(line, "simulcast:recv l;m;h") && has(line, "rid:m recv"));
    assert!(has(line, "fmtp:109 apt=108") && !line.has_attribute("msid"));
}

#[test]
fn chromium_slots_have_ssrcs_of_their_own() {
    let agreed = answered(CHROMIUM).unwrap();
    let answer = parsed(&agreed.sdp);
    let mut ssrcs: HashSet<u32> = agreed.audio.send.iter().map(|send| send.ssrc).collect();
    for (slot, line) in agreed.slots.iter().zip(&answer.medias[2..]) {
        assert_eq!(
            (slot.payload_type, slot.rtx, &slot.source),
            (108, Some(109), &None)
        );
        assert_eq!(slot.max_bitrate_bps, 2_500_000);
        let rtx_ssrc = slot.rtx_ssrc.unwrap();
        assert!(ssrcs.insert(slot.ssrc) && ssrcs.insert(rtx_ssrc));
        assert!(has(line, "sendonly"));
        assert!(has(
            line,
            &format!("ssrc-group:FID {} {rtx_ssrc}", slot.ssrc)
        ));
        assert!(has(line, &format!("mid:{}", slot.mid.as_deref().unwrap())));
        assert!(
            line.get_first_attribute_value("msid")
                .unwrap()
                .unwrap()
                .starts_with("consult-")
        );
    }
}

#[test]
fn firefox_bundle_only_lines_live_and_the_data_channel_is_refused() {
    let agreed = answered(FIREFOX).unwrap();
    let answer = parsed(&agreed.sdp);
    let ports: Vec<u16> = answer.medias.iter().map(|media| media.port).collect();
    assert_eq!(ports, [3478, 3478, 0, 3478, 0]);
    assert_eq!(
        answer.get_first_attribute_value("group").unwrap(),
        Some("BUNDLE 0 1 3")
    );
    assert_eq!(answer.medias[2].media, "application");
    assert_eq!(answer.medias[2].fmt, "webrtc-datachannel");
    assert_eq!(agreed.video_receive.unwrap().payloads[0].payload_type, 126);
    assert_eq!(
        agreed.slots.len(),
        1,
        "a second camera is refused, a slot is not"
    );
    assert_eq!(
        (agreed.slots[0].rtx, agreed.slots[0].rtx_ssrc),
        (None, None)
    );
    assert_eq!(agreed.slots[0].max_bitrate_bps, 950_000);
}

#[test]
fn without_h264_there_is_vp8_with_its_retransmissions() {
    let without = CHROMIUM.replace(" H264/90000", " H265/90000");
    let agreed = answered(&without).unwrap();
    let camera = agreed.video_receive.unwrap();
    let vp8 = VideoPayload {
        payload_type: 96,
        codec: VideoCodec::Vp8,
        rtx: Some(97),
    };
    assert_eq!(camera.payloads, [vp8]);
    assert_eq!(camera.rids, ["l", "m", "h"]);
    let slot = &agreed.slots[0];
    assert_eq!(
        (slot.codec, slot.payload_type, slot.rtx),
        (VideoCodec::Vp8, 96, Some(97))
    );
    let sdp = parsed(&agreed.sdp);
    let line = &sdp.medias[2];
    assert!(has(line, "rtpmap:96 VP8/90000") && has(line, "fmtp:97 apt=96"));
    assert!(!agreed.sdp.contains("H264"));
}

/// Firefox says what it decodes of VP8 (RFC 7741 §6.1).
#[test]
fn the_pictures_that_a_browser_takes_of_vp8_are_those_that_it_names() {
    let without = CHROMIUM.replace(" H264/90000", " H265/90000");
    let limits = |fmtp: &str| {
        let text = format!("a=rtpmap:96 VP8/90000\r\n{fmtp}");
        let offer = without.replace("a=rtpmap:96 VP8/90000\r\n", &text);
        answered(&offer).unwrap().slots[0].limits
    };
    let named = limits("a=fmtp:96 max-fs=3600;max-fr=25\r\n");
    assert_eq!(
        (named.max_macroblocks, named.max_frame_rate),
        (Some(3_600), Some(25))
    );
    assert_eq!(named.max_height(), 720);
    let firefox = limits("a=fmtp:96 max-fs=12288;max-fr=60\r\n");
    assert_eq!(firefox.max_height(), 1_330);
    for none in [
        "",
        "a=fmtp:96 max-fs=0;max-fr=-1\r\n",
        "a=fmtp:96 max-fs=x\r\n",
    ] {
        assert_eq!(limits(none), PictureLimits::default());
    }
    assert_eq!(
        limits("a=fmtp:96 max-fs=4294967295\r\n").max_height(),
        u16::MAX
    );
    // Of H.264 it is no limit.
    let slots = answered(CHROMIUM).unwrap().slots;
    assert_eq!(slots[0].limits, PictureLimits::default());
}

#[test]
fn without_h264_and_vp8_only_sound_is_left() {
    let neither = CHROMIUM
        .replace(" H264/90000", " H265/90000")
        .replace(" VP8/90000", " AV1/90000");
    let agreed = answered(&neither).unwrap();
    assert_eq!((agreed.video_receive, agreed.slots.len()), (None, 0));
    assert_eq!(
        parsed(&agreed.sdp)
            .get_first_attribute_value("group")
            .unwrap(),
        Some("BUNDLE 0")
    );
}

#[test]
fn directions_follow_the_browser() {
    let listener = CHROMIUM.replacen("a=sendrecv", "a=recvonly", 1);
    let agreed = answered(&listener).unwrap();
    assert!(agreed.audio.receive.is_empty() && agreed.audio.send.is_some());
    let paused = CHROMIUM.replacen("a=sendonly", "a=inactive", 1);
    let agreed = answered(&paused).unwrap();
    assert_eq!((agreed.video_receive, agreed.slots.len()), (None, 8));
    assert!(has(&parsed(&agreed.sdp).medias[1], "inactive"));
    let no_camera = CHROMIUM.replacen("a=sendonly", "a=recvonly", 1);
    let agreed = answered(&no_camera).unwrap();
    assert_eq!((agreed.video_receive, agreed.slots.len()), (None, 9));
}

#[test]
fn a_second_answer_keeps_ssrcs() {
    let first = answered(CHROMIUM).unwrap();
    let again = with_local(|local| {
        answer_again(CHROMIUM, local, &first, &mut StdRng::seed_from_u64(2)).unwrap()
    });
    assert_eq!(again, first);
}

#[test]
fn refuses_what_is_no_webrtc_offer() {
    let cases = [
        ("", "unreadable"),
        ("a=group:BUNDLE 0 1", "a=x:"),
        ("a=mid:0", "a=x:0"),
        (" opus/48000/2", " vorbis/48000/2"),
    ];
    for (from, to) in cases.iter().skip(1) {
        assert_eq!(
            answered(&CHROMIUM.replace(from, to)),
            Err(BrowserOfferError::NoAudio),
            "{from}"
        );
    }
    assert!(matches!(
        answered(""),
        Err(BrowserOfferError::Unreadable(_))
    ));
    let no_print = CHROMIUM.replace("a=fingerprint:sha-256", "a=fingerprint:sha-1");
    assert_eq!(answered(&no_print), Err(BrowserOfferError::NoFingerprint));
    let no_ice = CHROMIUM.replace("a=ice-pwd:", "a=ice-pwd:short and bad ");
    assert_eq!(answered(&no_ice), Err(BrowserOfferError::NoIce));
    let long = format!("{CHROMIUM}a=x:{}\r\n", "y".repeat(MAX_OFFER_BYTES));
    assert!(matches!(
        answered(&long),
        Err(BrowserOfferError::Unreadable(ReadError::TooLong { .. }))
    ));
}

#[test]
fn damaged_offers_never_panic() {
    let mut rng = StdRng::seed_from_u64(3);
    let lines: Vec<&str> = CHROMIUM.lines().collect();
    let mut accepted = 0;
    for _ in 0..100 {
        let mut damaged: Vec<String> = lines.iter().map(|line| (*line).to_string()).collect();
        for _ in 0..4 {
            let at = rng.next_u32() as usize % damaged.len();
            let cut = rng.next_u32() as usize % (damaged[at].len() + 1);
            match rng.next_u32() % 3 {
                0 => damaged[at].truncate(cut),
                1 => damaged[at].insert_str(cut, " 4294967296;=\u{7f}{"),
                _ => drop(damaged.remove(at)),
            }
        }
        let text = damaged.join("\r\n");
        if let Ok(agreed) = answered(&text) {
            let lines = parsed(&agreed.sdp).medias.len();
            assert_eq!(
                lines,
                text.lines().filter(|line| line.starts_with("m=")).count()
            );
            accepted += 1;
        }
    }
    assert!(accepted > 30, "only {accepted} of 100 offers were read");
}
