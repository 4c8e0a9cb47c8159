//! Exchanges as a whole: captured offers, offers of our own writing, and the rules that every
//! answer obeys.

mod codecs;
mod dtls;
mod keys;
mod vendors;

use std::path::PathBuf;

use mcu_api::codec::{AudioCodec, H264Profile, PacketizationMode};
use mcu_api::plan::SrtpSuite;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sdp_types::{Media, Session};

use super::*;

fn local(srtp: SrtpPolicy) -> LocalMedia {
    LocalMedia {
        address: "198.51.100.5".parse().unwrap(),
        bound: None,
        session_id: 42,
        version: 1,
        audio: Some(LocalAudio::all_codecs(20_000, 20_001)),
        video: Some(LocalVideo::hd720(20_002, 20_003)),
        srtp,
        dtls_fingerprint: None,
    }
}

fn rng() -> StdRng {
    StdRng::seed_from_u64(7)
}

fn answered(offer: &str) -> Result<Agreed, OfferError> {
    answer(offer, &local(SrtpPolicy::Allowed), &mut rng())
}

/// What was agreed, in one line that tables can hold.
fn summary(agreed: &Agreed) -> String {
    let mut words: Vec<String> = Vec::new();
    if let Some(audio) = &agreed.audio {
        let numbers: Vec<u8> = audio
            .stream
            .receive
            .iter()
            .map(|known| known.payload_type)
            .collect();
        let send = audio
            .stream
            .send
            .map(|send| (send.payload_type, send.codec, send.ptime_ms));
        let event = audio.stream.telephone_event;
        let (direction, keys) = (audio.direction.attribute(), suite(&audio.transport));
        words.push(format!(
            "audio {direction} {numbers:?} {send:?} dtmf {event:?} {keys:?}"
        ));
    }
    if let Some(video) = &agreed.video {
        let (direction, keys) = (video.direction.attribute(), suite(&video.transport));
        let number = video.send.as_ref().map(|send| send.payload_type);
        words.push(format!(
            "video {direction} {number:?} {} {keys:?}",
            class(video)
        ));
    }
    let roles = agreed.lines.iter().map(|line| match line.role {
        LineRole::Audio => 'a',
        LineRole::Video => 'v',
        LineRole::Refused => '-',
    });
    words.push(roles.collect());
    words.join(" | ")
}

fn suite(transport: &UdpTransport) -> Option<SrtpSuite> {
    transport.sdes.as_ref().map(|keys| keys.suite)
}

fn class(video: &AgreedVideo) -> String {
    let Some(class) = &video.class else {
        return "none".to_string();
    };
    let profile = match class.profile {
        H264Profile::ConstrainedBaseline => "base",
        H264Profile::High => "high",
    };
    let mode = match class.packetization {
        PacketizationMode::SingleNal => 0,
        PacketizationMode::NonInterleaved => 1,
    };
    format!(
        "{}x{}@{} {}k {profile} {} mode {mode}",
        class.width,
        class.height,
        class.frame_rate,
        class.bitrate_bps / 1000,
        class.level_idc
    )
}

/// RFC 3264 §6 and what our callers rely on.
fn check_rules(offer: &str, agreed: &Agreed) {
    let ours = Session::parse(agreed.sdp.as_bytes()).unwrap();
    let theirs = lines::read(offer).unwrap();
    assert_eq!(ours.medias.len(), theirs.lines.len());
    assert_eq!(agreed.lines.len(), theirs.lines.len());
    for (line, offered) in ours.medias.iter().zip(&theirs.lines) {
        assert_eq!((&line.media, &line.proto), (&offered.media, &offered.proto));
        if line.port == 0 {
            assert_eq!(line.fmt, offered.first_format, "a format is kept");
            continue;
        }
        assert_ne!(offered.port, 0, "a refused line stays refused");
        check_accepted(line, offered);
    }
    let accepted = ours.medias.iter().filter(|line| line.port != 0).count();
    assert_eq!(accepted, agreed.transports().len());
}

fn check_accepted(line: &Media, offered: &lines::MediaLine) {
    let ours = lines::read(&format!("v=0\r\n{}", media_text(line))).unwrap();
    let ours = ours.lines.first().unwrap();
    assert!(!ours.payloads.is_empty());
    for payload in &ours.payloads {
        let theirs = offered
            .payload(payload.number)
            .expect("only offered payload types");
        assert_eq!(
            payload
                .encoding
                .as_ref()
                .map(|encoding| (&encoding.name, encoding.clock_hz)),
            theirs
                .encoding
                .as_ref()
                .map(|encoding| (&encoding.name, encoding.clock_hz))
        );
        if payload.is("h264", 90_000) {
            let (mine, peers) = (
                video::format(payload).unwrap(),
                video::format(theirs).unwrap(),
            );
            assert!(mine.is_like(&peers));
        }
    }
    let (mine, peers) = (ours.direction, offered.our_direction());
    assert_eq!(mine, mine.and(peers), "no direction that was not offered");
    assert!(ours.attribute("rtcp-mux").is_none() || offered.attribute("rtcp-mux").is_some());
    if let Some(key) = ours.attribute("crypto") {
        let tag = key.split(' ').next().unwrap();
        assert!(
            offered
                .attribute_values("crypto")
                .any(|value| value.starts_with(tag))
        );
    }
    let secret = ["crypto", "fingerprint"]
        .iter()
        .any(|name| ours.attribute(name).is_some());
    assert!(!ours.demands_srtp() || secret);
}

fn media_text(line: &Media) -> String {
    let attributes = line
        .attributes
        .iter()
        .map(|attribute| match &attribute.value {
            Some(value) => format!("a={}:{value}\r\n", attribute.attribute),
            None => format!("a={}\r\n", attribute.attribute),
        });
    format!(
        "m={} {} {} {}\r\n{}",
        line.media,
        line.port,
        line.proto,
        line.fmt,
        attributes.collect::<String>()
    )
}

fn own(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/captures")
        .join(name);
    std::fs::read_to_string(path).unwrap()
}

/// The body of a captured file, if the captures are at hand.
fn captured(name: &str) -> Option<String> {
    let folder = std::env::var_os("CONSILIUM_CAPTURES")?;
    let text = std::fs::read_to_string(PathBuf::from(folder).join("sip").join(name)).unwrap();
    let body = text
        .split_once("\r\n\r\n")
        .filter(|_| name.ends_with(".sip"));
    Some(body.map_or(text.clone(), |(_, body)| body.to_string()))
}

const OWN: &[(&str, &str)] = &[
    (
        "own_event_first_dead_bfcp.sdp",
        "audio sendrecv [9] Some((9, G722, 20)) dtmf Some(101) None | \
         video sendrecv Some(110) 1280x720@30 1750k base 31 mode 1 None | \
         av--",
    ),
    (
        "own_savp_avp_doubled.sdp",
        "audio sendrecv [8] Some((8, Pcma, 20)) dtmf None Some(AesCm128HmacSha1_32) | \
         video sendrecv Some(97) 640x360@30 1000k base 30 mode 0 Some(AeadAes256Gcm) | \
         -a-v",
    ),
    (
        "own_best_effort_srtp_ipv6.sdp",
        "audio sendrecv [96] Some((96, Opus, 10)) dtmf Some(97) Some(Aes256CmHmacSha1_80) | \
         video sendrecv Some(98) 1280x720@30 2000k high 31 mode 1 None | \
         av",
    ),
    // Recorded from baresip 1.0.0 with best-effort SDES.
    (
        "own_baresip_offer.sdp",
        "audio sendrecv [96] Some((96, Opus, 20)) dtmf Some(101) Some(AesCm128HmacSha1_80) | \
         video sendrecv Some(97) 1280x720@30 2000k base 31 mode 1 Some(AesCm128HmacSha1_80) | \
         av",
    ),
    (
        "own_loose_fmtp_many_lines.sdp",
        "audio sendrecv [8] Some((8, Pcma, 20)) dtmf None None | \
         video sendrecv Some(96) 1280x720@15 768k base 31 mode 1 None | \
         --a-v---",
    ),
];

const CAPTURED: &[(&str, &str)] = &[
    (
        "poly-plcm_tcpbfcp_offer.sdp",
        "audio sendrecv [9] Some((9, G722, 20)) dtmf Some(101) None | \
         video sendrecv Some(110) 1280x720@30 2000k base 31 mode 1 None | \
         av--",
    ),
    (
        "poly-studiox_offer.sdp",
        "audio sendrecv [9] Some((9, G722, 20)) dtmf Some(101) None | \
         video sendrecv Some(99) 1280x720@30 2000k high 31 mode 1 None | \
         av--",
    ),
    (
        "cisco-dx80_offer.sdp",
        "audio sendrecv [9] Some((9, G722, 20)) dtmf Some(101) None | \
         video sendrecv Some(126) 1280x720@30 2000k base 31 mode 1 None | \
         av",
    ),
    (
        "cisco-cms_s-only_offer.sdp",
        "audio sendrecv [108] Some((108, Opus, 20)) dtmf Some(101) None | \
         video sendrecv Some(116) 1280x720@30 2000k base 31 mode 1 None | \
         av---",
    ),
    (
        "cisco-roomos_invite.sip",
        "audio sendrecv [114] Some((114, Opus, 20)) dtmf Some(101) None | \
         video sendrecv Some(126) 1280x720@30 2000k base 31 mode 1 None | \
         av----",
    ),
    (
        "cisco-roomkit-cucm_offer.sdp",
        "audio sendrecv [9] Some((9, G722, 20)) dtmf Some(101) None | \
         video sendrecv Some(126) 1280x720@30 2000k base 31 mode 1 None | \
         av---",
    ),
    (
        "cisco-endpoint_udpbfcp_offer.sdp",
        "audio sendrecv [9] Some((9, G722, 20)) dtmf Some(101) None | \
         video sendrecv Some(126) 1280x720@30 2000k base 31 mode 1 None | \
         av---",
    ),
    (
        "yealink-vc800_offer.sdp",
        "audio sendrecv [9] Some((9, G722, 20)) dtmf Some(101) None | \
         video sendrecv Some(97) 1280x720@30 2000k base 31 mode 1 None | \
         av--",
    ),
    (
        "hexmeet-endpoint_svc_offer.sdp",
        "video sendrecv Some(99) 1280x720@30 1750k high 31 mode 1 Some(AesCm128HmacSha1_80) | \
         -v---",
    ),
    ("hexmeet-mcu_h265_offer.sdp", "NothingInCommon"),
    (
        "lifesize-icon600_answer.sdp",
        "audio sendrecv [9] Some((9, G722, 20)) dtmf Some(101) None | \
         video sendrecv Some(96) 1280x720@30 2000k base 31 mode 1 None | \
         av---",
    ),
];

#[test]
fn offers_are_answered_as_the_tables_say() {
    let own = OWN
        .iter()
        .map(|(name, expected)| (*name, own(name), *expected));
    let captured = CAPTURED
        .iter()
        .filter_map(|(name, expected)| Some((*name, captured(name)?, *expected)));
    let mut wrong = Vec::new();
    for (name, offer, expected) in own.chain(captured) {
        let result = answered(&offer);
        if let Ok(agreed) = &result {
            check_rules(&offer, agreed);
        }
        let found = result.map_or_else(|error| format!("{error:?}"), |agreed| summary(&agreed));
        if found != expected {
            wrong.push(format!("(\"{name}\", \"{found}\"),"));
        }
    }
    assert!(wrong.is_empty(), "found:\n{}", wrong.join("\n"));
}

/// A small offer to vary: G.711 and one H.264 type.
const PLAIN: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 0 8\r\nm=video 4002 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\n\
    a=fmtp:97 profile-level-id=42e01f;packetization-mode=1\r\n";

#[test]
fn an_answer_in_full() {
    let agreed = answered(&own("own_event_first_dead_bfcp.sdp")).unwrap();
    let expected = "v=0\r\no=- 42 1 IN IP4 198.51.100.5\r\ns=-\r\nc=IN IP4 198.51.100.5\r\nt=0 0\r\n\
        m=audio 20000 RTP/AVP 9 101\r\na=rtpmap:9 G722/8000\r\n\
        a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=rtcp:20001\r\n\
        a=sendrecv\r\n\
        m=video 20002 RTP/AVP 110\r\nb=AS:2106\r\nb=TIAS:2000000\r\na=rtpmap:110 H264/90000\r\n\
        a=fmtp:110 profile-level-id=42801f;packetization-mode=1\r\na=rtcp-fb:* ccm fir\r\n\
        a=rtcp-fb:* ccm tmmbr\r\n\
        a=content:main\r\na=rtcp:20003\r\na=sendrecv\r\n\
        m=application 0 UDP/BFCP *\r\nm=application 0 TCP/BFCP *\r\n";
    assert_eq!(agreed.sdp, expected);
    let video = agreed.video.unwrap();
    assert_eq!(
        video.transport.remote_rtp,
        Some("192.0.2.10:31002".parse().unwrap())
    );
    assert_eq!(
        video.transport.remote_rtcp,
        Some("192.0.2.11:31003".parse().unwrap())
    );
    assert_eq!(
        (video.transport.dscp, agreed.audio.unwrap().transport.dscp),
        (34, 46)
    );
}

#[test]
fn g711_follows_the_offer_and_the_order_can_be_the_peers() {
    let mut ours = local(SrtpPolicy::Off);
    let offer = PLAIN.replace("RTP/AVP 0 8", "RTP/AVP 0 9 8");
    let sent = |ours: &LocalMedia, offer: &str| {
        let agreed = answer(offer, ours, &mut rng()).unwrap();
        agreed.audio.unwrap().stream.send.unwrap().codec
    };
    assert_eq!(sent(&ours, &offer), AudioCodec::G722);
    assert_eq!(sent(&ours, PLAIN), AudioCodec::Pcmu);
    assert_eq!(
        sent(&ours, &PLAIN.replace("AVP 0 8", "AVP 8 0")),
        AudioCodec::Pcma
    );
    ours.audio.as_mut().unwrap().order = CodecOrder::Offer;
    assert_eq!(sent(&ours, &offer), AudioCodec::Pcmu);
}

#[test]
fn hold_and_resume_keep_ssrcs_and_keys() {
    let keys = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 \
        inline:PE6Oi+VaHWQT7QrEgTd8sdcyoQFAEJhlSPMsU7No\r\n";
    let offer = format!("{PLAIN}{keys}");
    let first = answered(&offer).unwrap();
    let again = |offer: &str, previous: &Agreed| {
        answer_again(
            offer,
            &local(SrtpPolicy::Allowed),
            previous,
            &mut StdRng::seed_from_u64(9),
        )
    };
    assert_eq!(
        again(&offer, &first).unwrap(),
        first,
        "a refresh changes nothing"
    );
    for (hold, direction) in [
        ("a=sendonly", Direction::RecvOnly),
        ("a=recvonly", Direction::SendOnly),
        ("a=inactive", Direction::Inactive),
        ("c=IN IP4 0.0.0.0", Direction::RecvOnly),
    ] {
        let held = offer.replace("m=audio", &format!("{hold}\r\nm=audio"));
        let held = held.replace(
            "c=IN IP4 192.0.2.9\r\n",
            if hold.starts_with('c') {
                ""
            } else {
                "c=IN IP4 192.0.2.9\r\n"
            },
        );
        let agreed = again(&held, &first).unwrap();
        check_rules(&held, &agreed);
        let (audio, video) = (
            agreed.audio.as_ref().unwrap(),
            agreed.video.as_ref().unwrap(),
        );
        assert_eq!(
            (audio.direction, video.direction),
            (direction, direction),
            "{hold}"
        );
        assert_eq!(audio.stream.send.is_some(), direction.sends());
        assert_eq!(audio.stream.receive.is_empty(), !direction.receives());
        assert_eq!(
            video.send.is_some() && video.class.is_some(),
            direction.sends()
        );
        assert_eq!(video.receive.is_some(), direction.receives());
        assert_eq!(
            again(&offer, &agreed).unwrap(),
            first,
            "resumed as before {hold}"
        );
    }
}

/// There is no Opus packet of 30 ms: the encoder could not be opened, and there was no sound.
#[test]
fn packet_times_are_those_that_the_codec_has() {
    let sent = |format: &str, limits: &str| {
        let offer = format!(
            "v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 4000 RTP/AVP {format}\r\n\
             a=rtpmap:96 opus/48000/2\r\n{limits}"
        );
        let agreed = answered(&offer).unwrap();
        let ptime_ms = agreed.audio.unwrap().stream.send.unwrap().ptime_ms;
        assert!(agreed.sdp.contains(&format!("a=ptime:{ptime_ms}\r\n")));
        ptime_ms
    };
    for (limits, opus, others) in [
        ("", 20, 20),
        ("a=ptime:5\r\n", 10, 10),
        ("a=ptime:10\r\n", 10, 10),
        ("a=ptime:30\r\n", 20, 30),
        ("a=ptime:60\r\na=maxptime:30\r\n", 20, 30),
        ("a=ptime:40\r\na=maxptime:39\r\n", 20, 30),
        ("a=ptime:50\r\n", 40, 50),
        ("a=ptime:200\r\n", 60, 60),
    ] {
        assert_eq!(sent("96", limits), opus, "Opus, {limits}");
        for format in ["0", "8", "9"] {
            assert_eq!(sent(format, limits), others, "{format}, {limits}");
        }
    }
}

#[test]
fn policy_decides_about_encryption() {
    let doubled = own("own_savp_avp_doubled.sdp");
    let under = |policy, offer: &str| answer(offer, &local(policy), &mut rng());
    let roles = |agreed: Agreed| summary(&agreed).split(" | ").last().unwrap().to_string();
    assert_eq!(roles(under(SrtpPolicy::Off, &doubled).unwrap()), "a-v-");
    assert_eq!(
        roles(under(SrtpPolicy::Required, &doubled).unwrap()),
        "-a-v"
    );
    assert_eq!(
        under(SrtpPolicy::Required, PLAIN),
        Err(OfferError::NothingInCommon)
    );
    let savp = PLAIN.replace("RTP/AVP", "RTP/SAVP");
    assert_eq!(
        under(SrtpPolicy::Off, &savp),
        Err(OfferError::NothingInCommon)
    );
    assert_eq!(
        under(SrtpPolicy::Allowed, &savp),
        Err(OfferError::NothingInCommon)
    );
    let best_effort = own("own_best_effort_srtp_ipv6.sdp");
    let agreed = under(SrtpPolicy::Required, &best_effort).unwrap();
    assert!(agreed.sdp.contains("m=audio 20000 RTP/AVPF 96 97\r\n"));
    assert!(
        agreed
            .sdp
            .contains("a=crypto:1 AES_256_CM_HMAC_SHA1_80 inline:")
    );
    assert!(agreed.sdp.contains("m=video 0 RTP/AVPF 98\r\n"));
    let audio = agreed.audio.unwrap();
    assert_eq!(
        (
            audio.transport.rtcp_port,
            audio.stream.send.unwrap().bitrate_bps
        ),
        (None, 24_000)
    );
}

#[test]
fn a_peer_too_slow_for_pictures_is_only_received() {
    let slow = PLAIN.replace("a=rtpmap:97", "b=AS:40\r\na=rtpmap:97");
    let agreed = answered(&slow).unwrap();
    let video = agreed.video.as_ref().unwrap();
    assert_eq!(
        (video.direction, &video.send, &video.class),
        (Direction::RecvOnly, &None, &None)
    );
    assert!(video.receive.is_some() && agreed.sdp.ends_with("a=recvonly\r\n"));
}

#[test]
fn media_is_never_sent_where_it_must_not_go() {
    for address in [
        "224.2.1.1/127",
        "255.255.255.255",
        "terminal.example",
        "2001:db8::1",
    ] {
        let offer = PLAIN.replace("192.0.2.9\r\nt=", &format!("{address}\r\nt="));
        let audio = answered(&offer).unwrap().audio.unwrap();
        assert_eq!(
            (audio.transport.remote_rtp, audio.transport.remote_rtcp),
            (None, None)
        );
    }
    let top = PLAIN.replace("m=audio 4000", "m=audio 65535");
    assert_eq!(
        answered(&top).unwrap().audio.unwrap().transport.remote_rtcp,
        None
    );
}

#[test]
fn bounds_are_kept() {
    let long = format!("{PLAIN}a=x:{}\r\n", "y".repeat(lines::MAX_BYTES));
    assert!(matches!(
        answered(&long),
        Err(OfferError::Unreadable(lines::ReadError::TooLong {
            most: lines::MAX_BYTES,
            ..
        }))
    ));
    let many = format!("{PLAIN}{}", "m=audio 5 RTP/AVP 0\r\n".repeat(63));
    let expected = lines::ReadError::TooManyLines { lines: 65 };
    assert_eq!(answered(&many), Err(OfferError::Unreadable(expected)));
    let attributes = format!("{PLAIN}{}", "a=x\r\n".repeat(2000));
    assert!(matches!(
        answered(&attributes),
        Err(OfferError::Unreadable(
            lines::ReadError::TooManyAttributes { .. }
        ))
    ));
    for empty in [
        "",
        "v=0\r\n",
        "hello",
        "\r\n\r\n",
        "v=1\r\nm=audio 5 RTP/AVP 0\r\n",
    ] {
        assert!(
            matches!(answered(empty), Err(OfferError::Unreadable(_))),
            "{empty:?}"
        );
    }
}

#[test]
fn our_offer_is_answered_by_ourselves() {
    for policy in [SrtpPolicy::Off, SrtpPolicy::Allowed, SrtpPolicy::Required] {
        let offered = offer(&local(policy), &mut rng());
        let mut other = local(policy);
        other.address = "198.51.100.99".parse().unwrap();
        let theirs = answer(&offered.sdp, &other, &mut StdRng::seed_from_u64(8)).unwrap();
        check_rules(&offered.sdp, &theirs);
        let ours = accept_answer(&offered, &theirs.sdp, &mut rng()).unwrap();
        let (a, b) = (ours.audio.as_ref().unwrap(), theirs.audio.as_ref().unwrap());
        assert_eq!(a.stream.send.unwrap().codec, b.stream.send.unwrap().codec);
        assert_eq!(a.stream.receive, b.stream.receive);
        assert_eq!(a.transport.rtcp_port, None, "both agree on rtcp-mux");
        assert_eq!(
            a.transport.remote_rtp,
            Some("198.51.100.99:20000".parse().unwrap())
        );
        let (v, w) = (ours.video.as_ref().unwrap(), theirs.video.as_ref().unwrap());
        assert_eq!((&v.class, v.send.is_some()), (&w.class, true));
        for (mine, peers) in [(&a.transport, &b.transport), (&v.transport, &w.transport)] {
            assert_eq!(mine.sdes.is_some(), policy != SrtpPolicy::Off);
            let mirrored = peers
                .sdes
                .clone()
                .map(|keys| (keys.suite, keys.remote, keys.local));
            assert_eq!(
                mine.sdes
                    .clone()
                    .map(|keys| (keys.suite, keys.local, keys.remote)),
                mirrored
            );
        }
    }
}

#[test]
fn payload_types_have_a_direction() {
    let offered = offer(&local(SrtpPolicy::Off), &mut rng());
    assert!(offered.sdp.contains("a=rtpmap:107 opus/48000/2"));
    let answer = "v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 4000 RTP/AVP 120 0 121\r\n\
        a=rtpmap:120 opus/48000/2\r\na=rtpmap:121 telephone-event/48000\r\n\
        m=video 4002 RTP/AVP 126\r\na=rtpmap:126 H264/90000\r\n\
        a=fmtp:126 profile-level-id=640028;packetization-mode=1;max-fs=920;max-mbps=27600\r\n";
    let agreed = accept_answer(&offered, answer, &mut rng()).unwrap();
    let audio = agreed.audio.unwrap();
    let received: Vec<u8> = audio
        .stream
        .receive
        .iter()
        .map(|known| known.payload_type)
        .collect();
    assert_eq!(
        (received, audio.stream.send.unwrap().payload_type),
        (vec![107, 0], 120)
    );
    assert_eq!(audio.stream.telephone_event, Some(102));
    let video = agreed.video.unwrap();
    let received: Vec<u8> = video
        .receive
        .as_ref()
        .unwrap()
        .payloads
        .iter()
        .map(|known| known.payload_type)
        .collect();
    assert_eq!(
        (received, video.send.as_ref().unwrap().payload_type),
        (vec![97], 126)
    );
    assert_eq!(class(&video), "640x360@30 1000k high 30 mode 1");
}

#[test]
fn answers_that_are_none_are_refused() {
    let offered = offer(&local(SrtpPolicy::Required), &mut rng());
    let audio = "v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 4000 RTP/SAVP 0\r\n";
    let refused = format!("{audio}m=video 0 RTP/SAVP 97\r\n");
    assert_eq!(
        accept_answer(&offered, audio, &mut rng()),
        Err(OfferError::LinesDiffer { index: 1 })
    );
    assert_eq!(
        accept_answer(&offered, &refused, &mut rng()),
        Err(OfferError::KeysMissing { index: 0 })
    );
    let other = format!("{audio}m=application 0 TCP/BFCP *\r\n");
    assert_eq!(
        accept_answer(&offered, &other, &mut rng()),
        Err(OfferError::LinesDiffer { index: 1 })
    );
    let nothing = "v=0\r\nm=audio 0 RTP/SAVP 0\r\nm=video 0 RTP/SAVP 97\r\n";
    assert_eq!(
        accept_answer(&offered, nothing, &mut rng()),
        Err(OfferError::NothingInCommon)
    );
    let key = offered
        .sdp
        .lines()
        .find(|line| line.starts_with("a=crypto:2"))
        .unwrap();
    let two = format!(
        "{audio}a=crypto:8 {}\r\n{key}\r\nm=video 0 RTP/SAVP 97\r\n",
        &key[11..]
    );
    let agreed = accept_answer(&offered, &two, &mut rng()).unwrap();
    assert_eq!(
        suite(&agreed.audio.as_ref().unwrap().transport),
        Some(SrtpSuite::AesCm128HmacSha1_32)
    );
    assert_eq!(
        (agreed.video.is_none(), agreed.lines[1].role),
        (true, LineRole::Refused)
    );
}

#[test]
fn a_later_offer_keeps_every_line_in_its_place() {
    let first = answered(&own("own_savp_avp_doubled.sdp")).unwrap();
    let mut ours = local(SrtpPolicy::Allowed);
    ours.version = 2;
    let later = offer_again(&ours, &first, &mut rng());
    let lines: Vec<&str> = later
        .sdp
        .lines()
        .filter(|line| line.starts_with("m="))
        .collect();
    let expected = [
        "m=audio 0 RTP/AVP 8",
        "m=audio 20000 RTP/SAVP 8",
        "m=video 0 RTP/AVP 97",
        "m=video 20002 RTP/SAVP 97",
    ];
    assert_eq!(lines, expected);
    assert!(later.sdp.contains("o=- 42 2 IN"));
    let theirs = answer(&later.sdp, &local(SrtpPolicy::Allowed), &mut rng()).unwrap();
    let agreed = accept_answer(&later, &theirs.sdp, &mut rng()).unwrap();
    let (before, now) = (first.audio.unwrap(), agreed.audio.unwrap());
    assert_eq!(now.stream.receive, before.stream.receive);
    assert_eq!(
        now.transport.sdes.unwrap().local,
        before.transport.sdes.unwrap().local
    );
}

/// Offers put together at random from the lines that terminals write, some of them damaged.
#[test]
fn every_answer_obeys_the_rules() {
    let pieces: Vec<String> = OWN
        .iter()
        .flat_map(|(name, _)| own(name).lines().map(str::to_string).collect::<Vec<_>>())
        .chain(
            [
                "a=inactive",
                "a=rtcp:1 IN IP4 x",
                "b=TIAS:0",
                "a=crypto:",
                "a=fmtp:",
            ]
            .map(String::from),
        )
        .collect();
    let mut random = StdRng::seed_from_u64(11);
    let mut accepted = 0;
    for _ in 0..1_500 {
        let mut offer = PLAIN.to_string();
        for _ in 0..random.random_range(0..40) {
            let piece = &pieces[random.random_range(0..pieces.len())];
            let end = if random.random_bool(0.1) {
                random.random_range(0..=piece.len())
            } else {
                piece.len()
            };
            offer.push_str(&piece[..end]);
            offer.push_str("\r\n");
        }
        if let Ok(agreed) = answered(&offer) {
            check_rules(&offer, &agreed);
            accepted += 1;
        }
    }
    assert!(
        accepted > 500,
        "only {accepted} of 1500 offers were answered"
    );
}
