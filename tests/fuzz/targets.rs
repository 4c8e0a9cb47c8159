//! What each fuzz target does with its bytes. The fuzzer calls these, and so does the test that
//! replays the corpora, `tests/tests/fuzz_corpora.rs`.

pub mod pages;
pub mod proofs;
pub mod transfers;

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use mcu_api::call::{CallCommand, CallEvent, Credentials, DialTarget, OutgoingCall};
use mcu_api::codec::VideoCodec;
use mcu_api::frame;
use mcu_api::ids::CallId;
use mcu_api::manager::{FromControl, ToControl};
use mcu_api::media::{FromMedia, ToMedia};
use mcu_api::plan::{
    DtlsRole, DtlsTerms, Fingerprint, FingerprintHash, HeaderExtensions, SdesKeys, SrtpSuite,
    WebrtcTransport,
};
use mcu_api::secret::Redacted;
use mcu_control::browser_sdp;
use mcu_rtp::clock::{RoomClock, SourceClock};
use mcu_rtp::congestion;
use mcu_rtp::demux;
use mcu_rtp::forward::{Forwarder, SourceKey, SourcePacket};
use mcu_rtp::framing::{MAX_PACKET, Reader, Urgency, Writer};
use mcu_rtp::header::RtpPacket;
use mcu_rtp::jitter::{JitterBuffer, Taken};
use mcu_rtp::receive::{self, ReceiveStream, Verdict};
use mcu_rtp::red;
use mcu_rtp::rtcp::{self, Packet};
use mcu_rtp::rtx;
use mcu_rtp::send::{self, Media, SendStream, Stamp};
use mcu_rtp::simulcast::{Line, StreamMap};
use mcu_rtp::srtp::Srtp;
use mcu_rtp::telephone_event::TelephoneEvents;
use mcu_rtp::twcc::History;
use mcu_rtp::video::{Depacketizer, KeyFrameStarts, picture_size};
use mcu_rtp::vp8;
use mcu_rtp::webrtc::{Association, Certificate, Standing, WebrtcSession};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sip::sdp::{self, LocalAudio, LocalMedia, LocalVideo, SrtpPolicy};
use sip::{Endpoint, Flow, FlowId, Input, Output, Transport};

/// A target's name, which is that of its corpus, and what it does: it yields how often the bytes came
/// through to what the target is about, beyond the first refusal.
pub type Target = (&'static str, fn(&[u8]) -> usize);

/// Every target.
pub const TARGETS: [Target; 18] = [
    ("sip", sip_messages),
    ("dialling", answers_to_our_calls),
    ("transfers", transfers::wishes_to_be_elsewhere),
    ("proofs", proofs::proven_requests),
    ("registering", proofs::answers_to_our_registrations),
    ("web_socket", pages::web_socket_bytes),
    ("pages", pages::page_messages),
    ("red", copied_sound),
    ("sdp", terminal_descriptions),
    ("browser_sdp", browser_offers),
    ("rtp", rtp_packets),
    ("rtcp", rtcp_compounds),
    ("telephone_event", telephone_events),
    ("srtp", srtp_packets),
    ("webrtc", webrtc_datagrams),
    ("association", dtls_datagrams),
    ("framing", framed_packets),
    ("frame", process_frames),
];

const PEER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5_070);

/// Messages to a SIP endpoint: over UDP, and then all of it as a TCP stream. Calls that come are
/// accepted.
pub fn sip_messages(data: &[u8]) -> usize {
    let (start, mut answers) = (Instant::now(), 0);
    let mut endpoint = Endpoint::new(sip::Config::default(), [7; 32]);
    let mut flow = Flow {
        id: FlowId(1),
        transport: Transport::Udp,
        local: SocketAddr::from(([127, 0, 0, 1], 5_060)),
        remote: PEER,
        advertised: None,
    };
    for (n, bytes) in pieces(data).enumerate() {
        let now = start + Duration::from_millis(20 * n as u64);
        endpoint.handle_input(now, Input::Received { flow, bytes });
        answers += settle(&mut endpoint, now);
    }
    (flow.id, flow.transport) = (FlowId(2), Transport::Tcp);
    let stream: Vec<u8> = pieces(data).flatten().copied().collect();
    for bytes in stream.chunks(700) {
        endpoint.handle_input(start, Input::Received { flow, bytes });
        answers += settle(&mut endpoint, start);
    }
    // An hour, by its own timers; calls that nobody acknowledged are over by then.
    let mut now = start;
    for _ in 0..2_000 {
        let Some(next) = endpoint.next_timeout() else {
            break;
        };
        now = now.max(next);
        if now > start + Duration::from_secs(3_600) {
            break;
        }
        endpoint.handle_timeout(now);
        answers += settle(&mut endpoint, now);
    }
    answers
}

/// A call of ours that may prove a password, and what comes to it: the head of each response gets what
/// a peer copies from our last request, so that it finds its transaction.
pub fn answers_to_our_calls(data: &[u8]) -> usize {
    let start = Instant::now();
    let mut endpoint = Endpoint::new(sip::Config::default(), [7; 32]);
    let flow = Flow {
        id: FlowId(0),
        transport: Transport::Udp,
        local: SocketAddr::from(([127, 0, 0, 1], 5_060)),
        remote: PEER,
        advertised: None,
    };
    let outgoing = OutgoingCall {
        call: CallId::FIRST_DIALLED,
        target: DialTarget::Uri {
            uri: format!("sip:or-1@{PEER}"),
            via: None,
        },
        number: "3000".to_owned(),
        name: Redacted("Room".to_owned()),
        from: None,
        credentials: Some(Credentials {
            user: "or-1".to_owned(),
            password: Redacted("secret".to_owned()),
            realms: ["hospital", "elsewhere"].map(str::to_owned).to_vec(),
        }),
        sdp: Redacted(sdp::offer(&local(), &mut rng()).sdp),
        srtp: SrtpPolicy::default(),
    };
    endpoint.dial(start, outgoing, |_| Some(flow));
    let (mut request, mut said) = (String::new(), 0);
    for (n, bytes) in pieces(data).enumerate() {
        let now = start + Duration::from_millis(700 * n as u64);
        endpoint.handle_timeout(now);
        said += last_request(&mut endpoint, &mut request);
        let bytes = &answering(bytes, &request);
        endpoint.handle_input(now, Input::Received { flow, bytes });
        said += last_request(&mut endpoint, &mut request);
    }
    said
}

/// Our latest request; how much else was said.
fn last_request(endpoint: &mut Endpoint, request: &mut String) -> usize {
    let mut said = 0;
    while let Some(output) = endpoint.poll_output() {
        said += 1;
        if let Output::Transmit { bytes, .. } = output {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if !text.starts_with("SIP/2.0") && !text.starts_with("ACK") {
                *request = text;
            }
        }
    }
    said
}

fn answering(response: &[u8], request: &str) -> Vec<u8> {
    let end = response.iter().position(|byte| *byte == b'\n');
    let (Some(end), true) = (end, response.starts_with(b"SIP/2.0 ")) else {
        return response.to_vec();
    };
    let (status, rest) = response.split_at(end + 1);
    let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let lines = request.lines().take_while(|line| !line.is_empty());
    let lines = lines.filter(|line| copied.iter().any(|name| line.starts_with(name)));
    let copied: String = lines.map(|line| format!("{line}\r\n")).collect();
    [status, copied.as_bytes(), rest].concat()
}

/// Payloads of telephone events (RFC 4733) in any order: a key is told at most once for each packet.
pub fn telephone_events(data: &[u8]) -> usize {
    let mut events = TelephoneEvents::default();
    let packets = data
        .chunks(9)
        .filter_map(|packet| packet.split_first_chunk::<5>());
    let keys = packets.filter_map(|([marker, time @ ..], payload)| {
        events.handle_packet(marker & 1 != 0, u32::from_be_bytes(*time), payload)
    });
    keys.count()
}

/// Accepts what calls; yields how much was said.
fn settle(endpoint: &mut Endpoint, now: Instant) -> usize {
    let mut said = 0;
    while let Some(output) = endpoint.poll_output() {
        said += 1;
        settle_output(endpoint, now, output);
    }
    said
}

fn settle_output(endpoint: &mut Endpoint, now: Instant, output: Output) {
    let Output::Event(CallEvent::Incoming(incoming)) = output else {
        return;
    };
    let call = incoming.call;
    let offer = incoming.offer.as_ref().map(|offer| offer.0.as_str());
    let command = match offer.map(|offer| sdp::answer(offer, &local(), &mut rng())) {
        Some(Ok(agreed)) => CallCommand::Accept {
            call,
            sdp: Redacted(agreed.sdp),
        },
        Some(Err(_)) => CallCommand::Reject {
            call,
            reason: mcu_api::call::RejectReason::NotAcceptable,
        },
        None => CallCommand::Accept {
            call,
            sdp: Redacted(sdp::offer(&local(), &mut rng()).sdp),
        },
    };
    endpoint.command(now, command);
}

/// A terminal's description: as an offer, as a second one after it, and as an answer to ours.
pub fn terminal_descriptions(data: &[u8]) -> usize {
    let Ok(text) = std::str::from_utf8(data) else {
        return 0;
    };
    let mut taken = 0;
    if let Ok(agreed) = sdp::answer(text, &local(), &mut rng()) {
        taken += 1;
        let again = sdp::answer_again(text, &local(), &agreed, &mut rng());
        assert!(again.is_ok(), "taken once, refused the second time");
        assert_eq!(
            lines(&agreed.sdp),
            lines(text),
            "lines in the answer to\n{text}"
        );
    }
    let offer = sdp::offer(&local(), &mut rng());
    let _ = sdp::accept_answer(&offer, text, &mut rng());
    taken
}

/// Media lines of a description.
fn lines(text: &str) -> usize {
    text.lines().filter(|line| line.starts_with("m=")).count()
}

/// A browser's offer, and the same once more.
pub fn browser_offers(data: &[u8]) -> usize {
    let Ok(text) = std::str::from_utf8(data) else {
        return 0;
    };
    let pwd = Redacted("a-password-of-22-chars".to_string());
    let local = browser_sdp::Local {
        vp8: true,
        session_id: 1,
        version: 1,
        ufrag: "ours",
        pwd: &pwd,
        fingerprint_sha256: [3; 32],
        tcp_candidates: &[],
        candidates: &[PEER],
        cname: "room",
        stream_id: "s",
        max_slot_bps: 2_000_000,
    };
    if let Ok(agreed) = browser_sdp::answer(text, &local, &mut rng()) {
        let _ = browser_sdp::answer_again(text, &local, &agreed, &mut rng());
        return 1;
    }
    0
}

/// RTP packets of a camera and of a microphone, through all that takes them apart and forwards them.
pub fn rtp_packets(data: &[u8]) -> usize {
    let start = Instant::now();
    let room = RoomClock::new(start, SystemTime::UNIX_EPOCH);
    let config = receive::Config {
        clock_hz: 90_000,
        nack: true,
    };
    let mut stream = ReceiveStream::new(config);
    let mut clock = SourceClock::new(90_000);
    let mut jitter = JitterBuffer::new(48_000);
    let mut depacketizers = VIDEO.map(Depacketizer::new);
    let (mut starts, mut lost, mut fresh) = (KeyFrameStarts::default(), Vec::new(), 0);
    let mut sent = sender();
    let mut forwarder = Forwarder::new(90_000, sent.next_sequence(), 7);
    forwarder.want(Some(SourceKey(1)));
    let mut map = StreamMap::new(vec![Line {
        mid: Some("1".into()),
        rids: vec!["l".into(), "h".into()],
        payloads: vec![(96, Some(97)), (98, None)],
    }]);
    for (n, bytes) in pieces(data).enumerate() {
        let now = start + Duration::from_millis(7 * n as u64);
        let Ok(packet) = RtpPacket::parse(bytes) else {
            continue;
        };
        let _ = packet.extensions().count();
        map.route(&packet.header, &packet.known_extensions(&EXTENSIONS));
        let _ = rtx::unwrap(&packet, 5, 96);
        let codec = VIDEO[usize::from(packet.header.payload_type) % VIDEO.len()];
        let _ = picture_size(codec, packet.payload);
        let key_frame = starts.starts(codec, packet.payload);
        let verdict = stream.handle_packet(now, &packet.header, packet.payload.len());
        if let Verdict::Fresh(accepted) = verdict {
            fresh += 1;
            clock.handle_packet(now, &room, packet.header.timestamp);
            for depacketizer in &mut depacketizers {
                depacketizer.insert(now, &accepted, packet.header.marker, packet.payload);
            }
            jitter.insert(now, &accepted, &packet.header, packet.payload);
            let source = SourcePacket {
                source: SourceKey(1),
                accepted,
                key_frame,
            };
            if let Some(place) = forwarder.forward(&source, &clock, &room) {
                let media = Media {
                    timestamp: place.timestamp,
                    marker: packet.header.marker,
                    payload: &renumbered(packet.payload),
                    whole: None,
                };
                let mut out = Vec::new();
                sent.write_at(now, place.seq, &media, Stamp::default(), &mut out);
                assert!(RtpPacket::parse(&out).is_ok(), "forwarded");
            }
        }
        stream.poll_nack(now, &mut lost);
        for depacketizer in &mut depacketizers {
            while let Some(unit) = depacketizer.poll(now, Duration::from_millis(20)) {
                depacketizer.recycle(unit.data);
            }
        }
        if let Taken::Frame(frame) = jitter.take(now) {
            jitter.recycle(frame.payload);
        }
    }
    let _ = stream.report_block(start);
    let _ = (clock.room_time(1), clock.offset_micros());
    fresh
}

/// As a screen of VP8 numbers it, three times over.
fn renumbered(payload: &[u8]) -> Vec<u8> {
    let (mut numbers, mut written) = (vp8::Numbers::default(), payload.to_vec());
    for switched in [true, false, true] {
        numbers.rewrite(&mut written, switched);
    }
    assert_eq!(written.len(), payload.len());
    written
}

/// Read by payload type, counted modulo their number.
const VIDEO: [VideoCodec; 5] = [
    VideoCodec::H263,
    VideoCodec::H264,
    VideoCodec::H263Plus,
    VideoCodec::H261,
    VideoCodec::Vp8,
];

const EXTENSIONS: HeaderExtensions = HeaderExtensions {
    mid: 1,
    rid: 2,
    repaired_rid: 3,
    transport_cc: 4,
    abs_send_time: 5,
    audio_level: 6,
};

/// Compound RTCP packets, read to the end, by a stream that has sent 500 packets and by the clock of
/// their sender.
pub fn rtcp_compounds(data: &[u8]) -> usize {
    let (start, mut read) = (Instant::now(), 0);
    let room = RoomClock::new(start, SystemTime::UNIX_EPOCH);
    let (mut history, mut sent) = (History::new(), sender());
    for n in 0..500 {
        let at = start + Duration::from_millis(2 * n);
        history.register(at, 1_000);
        let media = Media {
            timestamp: 180 * n as u32,
            marker: true,
            payload: &[9; 20],
            whole: None,
        };
        sent.write(at, &media, Stamp::default(), &mut Vec::new());
    }
    let (config, mut resend) = (
        congestion::Config {
            start_bps: 500_000,
            min_bps: 100_000,
            max_bps: 4_000_000,
        },
        Vec::new(),
    );
    let mut rate = congestion::Controller::new(config);
    let (mut clock, mut samples, mut now) = (SourceClock::new(90_000), Vec::new(), start);
    for packet in rtcp::parse(data) {
        let Ok(packet) = packet else { break };
        (read, now) = (read + 1, now + Duration::from_millis(1_100));
        match packet {
            Packet::SenderReport { info, blocks, .. } => {
                clock.handle_packet(now, &room, info.rtp_timestamp);
                clock.handle_sender_report(info.ntp, info.rtp_timestamp);
                blocks.for_each(|block| sent.handle_report_block(now, &block, &room));
            }
            Packet::ReceiverReport { blocks, .. } => {
                blocks.for_each(|block| sent.handle_report_block(now, &block, &room));
            }
            Packet::Names(names) => names.for_each(drop),
            Packet::Goodbye(sources) => sources.for_each(drop),
            Packet::FullIntra { requests, .. } => requests.for_each(drop),
            Packet::Nack { lost, .. } => sent.handle_nack(start, lost, &mut resend),
            Packet::TransportFeedback(feedback) => {
                samples.clear();
                history.handle_feedback(&feedback, &mut samples);
                assert!(samples.len() <= 500, "more samples than packets");
                rate.handle_samples(now, &samples);
            }
            Packet::MaxRate { bounds, .. } => bounds.for_each(drop),
            Packet::PictureLoss { .. } | Packet::MaxRateOfAll { .. } => {}
        }
        rate.handle_timeout(now);
        assert!((config.min_bps..=config.max_bps).contains(&rate.target_bps()));
    }
    let _ = (
        clock.room_time(1),
        clock.offset_micros(),
        clock.sound_lag_micros(),
    );
    assert!(resend.len() <= 500, "more again than ever");
    for seq in resend {
        assert!(sent.write_again(start, seq, Stamp::default(), &mut Vec::new()));
    }
    read
}

/// A payload of sound with copies of what was sent before.
pub fn copied_sound(data: &[u8]) -> usize {
    let Some(blocks) = red::parse(data) else {
        return 0;
    };
    let (mut count, mut bytes) = (0, 0);
    for block in blocks {
        (count, bytes) = (count + 1, bytes + block.payload.len());
    }
    assert!(count <= red::MAX_COPIES + 1 && bytes < data.len());
    count
}

/// A stream of pictures that keeps what it sends.
fn sender() -> SendStream {
    let config = send::Config {
        ssrc: 1,
        payload_type: 96,
        clock_hz: 90_000,
        rtx: Some(send::Rtx {
            payload_type: 97,
            ssrc: 2,
        }),
        extensions: EXTENSIONS,
        mid: Some("1".to_owned()),
        kept_packets: 1_000,
        kept_for: Duration::from_millis(1_500),
    };
    SendStream::new(config, &mut rng())
}

/// Packets to a leg with SDES keys, of every suite: as they come, none of them made with the key, and
/// after the key's owner protected them.
pub fn srtp_packets(data: &[u8]) -> usize {
    let mut taken = 0;
    for suite in [
        SrtpSuite::AesCm128HmacSha1_80,
        SrtpSuite::AesCm128HmacSha1_32,
        SrtpSuite::AeadAes128Gcm,
        SrtpSuite::AeadAes256Gcm,
    ] {
        let key = Redacted(vec![5; suite.key_and_salt_len()]);
        let keys = SdesKeys {
            suite,
            local: key.clone(),
            remote: key,
        };
        let (Ok(mut ours), Ok(mut theirs)) = (Srtp::from_sdes(&keys), Srtp::from_sdes(&keys))
        else {
            return 0;
        };
        for bytes in pieces(data) {
            assert!(ours.unprotect_rtp(bytes).is_err(), "forged");
            assert!(ours.unprotect_rtcp(bytes).is_err(), "forged");
            let rtp = theirs
                .protect_rtp(bytes)
                .map(|sent| ours.unprotect_rtp(&sent));
            let rtcp = theirs
                .protect_rtcp(bytes)
                .map(|sent| ours.unprotect_rtcp(&sent));
            taken += usize::from(matches!(rtp, Ok(Ok(_)))) + usize::from(matches!(rtcp, Ok(Ok(_))));
        }
    }
    taken
}

/// A check of `browser` that nominates its pair (RFC 8445 §7.1), signed with the session's password.
const CHECK: [u8; 92] = [
    0x00, 0x01, 0x00, 0x48, 0x21, 0x12, 0xa4, 0x42, 0x05, 0x05, 0x05, 0x05, 0x05, 0x05, 0x05, 0x05,
    0x05, 0x05, 0x05, 0x05, 0x00, 0x06, 0x00, 0x0c, 0x6f, 0x75, 0x72, 0x73, 0x3a, 0x62, 0x72, 0x6f,
    0x77, 0x73, 0x65, 0x72, 0x00, 0x24, 0x00, 0x04, 0x6e, 0x7f, 0x1e, 0xff, 0x80, 0x2a, 0x00, 0x08,
    0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x00, 0x25, 0x00, 0x00, 0x00, 0x08, 0x00, 0x14,
    0xef, 0xd6, 0xe9, 0x56, 0x1a, 0x1c, 0x52, 0xab, 0x1e, 0x1b, 0x07, 0x90, 0x64, 0xcf, 0x6b, 0x10,
    0xb1, 0x00, 0x9f, 0x8a, 0x80, 0x28, 0x00, 0x04, 0x57, 0x25, 0x92, 0x9f,
];

/// Datagrams to a browser's transport, STUN, DTLS, SRTP: from an address that a check came from.
pub fn webrtc_datagrams(data: &[u8]) -> usize {
    thread_local! {
        static CERTIFICATE: Certificate = Certificate::generate().expect("a certificate");
    }
    let start = Instant::now();
    let transport = WebrtcTransport {
        local_ufrag: "ours".into(),
        local_pwd: Redacted("a-password-of-22-chars".into()),
        remote_ufrag: "browser".into(),
        remote_pwd: Redacted("another-of-22-charactr".into()),
        remote_fingerprint_sha256: [9; 32],
        dtls_role: DtlsRole::Server,
    };
    let session =
        CERTIFICATE.with(|certificate| WebrtcSession::new(start, &transport, certificate));
    let Ok(mut session) = session else { return 0 };
    session.handle_input(start, PEER, &CHECK);
    assert!(session.knows(PEER), "the check is taken");
    while session.poll_output().is_some() {}
    let mut answers = 0;
    for (n, bytes) in pieces(data).enumerate() {
        let now = start + Duration::from_millis(10 * n as u64);
        let _ = demux::stun_local_ufrag(bytes);
        session.handle_input(now, PEER, bytes);
        session.handle_timeout(now);
        let is_dtls = demux::classify(bytes) == demux::Kind::Dtls;
        while session.poll_output().is_some() {
            answers += usize::from(is_dtls);
        }
    }
    answers
}

/// Datagrams to a terminal's DTLS in either role, while its peer shakes hands or does not: the first
/// byte of each says where it claims to be from, and whether the peer goes on before. A stranger at an
/// address of its own never keeps the peer's keys from coming; nor has anybody else any.
pub fn dtls_datagrams(data: &[u8]) -> usize {
    thread_local! {
        static CERTIFICATES: [Certificate; 2] =
            [0; 2].map(|_| Certificate::generate().expect("a certificate"));
    }
    let roles = [DtlsRole::Server, DtlsRole::Client];
    CERTIFICATES.with(|certificates| {
        let answers = roles.map(|role| {
            Handshake::new(role, certificates).map_or(0, |handshake| handshake.disturb(data))
        });
        answers.iter().sum()
    })
}

/// A terminal's port, and its peer.
struct Handshake {
    now: Instant,
    ours: Association,
    theirs: Association,
    keys: [Option<SdesKeys>; 2],
    answers: usize,
}

impl Handshake {
    const OURS: SocketAddr = PEER;
    const STRANGER: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5_071);
    const THEIRS: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5_072);

    fn new(role: DtlsRole, [ours, theirs]: &[Certificate; 2]) -> Option<Self> {
        let terms = |role, peer: &Certificate| DtlsTerms {
            association: 1,
            role,
            remote_fingerprints: vec![Fingerprint {
                hash: FingerprintHash::Sha256,
                bytes: peer.fingerprint_sha256().to_vec(),
            }],
            keys: None,
        };
        let other = match role {
            DtlsRole::Client => DtlsRole::Server,
            DtlsRole::Server => DtlsRole::Client,
        };
        Some(Self {
            now: Instant::now(),
            ours: Association::new(ours, &terms(role, theirs)).ok()?,
            theirs: Association::new(theirs, &terms(other, ours)).ok()?,
            keys: [None, None],
            answers: 0,
        })
    }

    fn disturb(mut self, data: &[u8]) -> usize {
        let mut forged = false;
        for piece in pieces(data) {
            let Some((how, datagram)) = piece.split_first() else {
                continue;
            };
            if how & 1 != 0 {
                self.go_on();
            }
            let (from, standing) = match how & 2 != 0 {
                true => (Self::THEIRS, Standing::Announced),
                false => (Self::STRANGER, Standing::Stranger),
            };
            forged |= from == Self::THEIRS;
            self.now += Duration::from_millis(10);
            let result = self.ours.handle_input(self.now, from, standing, datagram);
            assert!(!matches!(result, Ok(Some(_))), "keys without the peer");
        }
        for _ in 0..3_000 {
            if forged || self.keys.iter().all(Option::is_some) {
                break;
            }
            self.go_on();
        }
        if let ([Some(ours), Some(theirs)], false) = (&self.keys, forged) {
            assert_eq!((&ours.local, &ours.remote), (&theirs.remote, &theirs.local));
        }
        assert!(forged || self.keys.iter().all(Option::is_some), "no keys");
        self.answers
    }

    /// 10 ms of the peer's handshake.
    fn go_on(&mut self) {
        self.now += Duration::from_millis(10);
        let now = self.now;
        let _ = self.ours.start(now, Self::THEIRS, false);
        let _ = self.theirs.start(now, Self::OURS, false);
        let _ = self.ours.handle_timeout(now);
        let _ = self.theirs.handle_timeout(now);
        let announced = Standing::Announced;
        while let Some((to, bytes)) = self.ours.poll_output() {
            self.answers += 1;
            if to == Self::THEIRS {
                let keys = self.theirs.handle_input(now, Self::OURS, announced, &bytes);
                self.keys[1] = keys.ok().flatten().or(self.keys[1].take());
            }
        }
        while let Some((_, bytes)) = self.theirs.poll_output() {
            let keys = self.ours.handle_input(now, Self::THEIRS, announced, &bytes);
            self.keys[0] = keys.ok().flatten().or(self.keys[0].take());
        }
    }
}

/// A browser's TCP connection, in pieces as long as the first byte says. What comes out is framed again
/// and must come out again.
pub fn framed_packets(data: &[u8]) -> usize {
    let Some((cut, stream)) = data.split_first() else {
        return 0;
    };
    let (mut reader, mut writer, mut read) = (Reader::default(), Writer::default(), Vec::new());
    for piece in stream.chunks(usize::from(*cut).max(1)) {
        reader.push(piece);
        while let Ok(Some(packet)) = reader.next_packet() {
            assert!((1..=MAX_PACKET).contains(&packet.len()));
            let _ = demux::stun_local_ufrag(packet);
            if let Ok(dropped) = writer.push(packet, Urgency::Picture) {
                read.push(packet.to_vec());
                read.drain(..dropped);
            }
        }
    }
    let mut again = Reader::default();
    while !writer.is_empty() {
        let len = writer.pending().len();
        again.push(writer.pending());
        writer.wrote(len);
    }
    for packet in &read {
        assert_eq!(again.next_packet(), Ok(Some(packet.as_slice())));
    }
    read.len()
}

/// Bytes between the processes, from a peer that lost its mind.
pub fn process_frames(data: &[u8]) -> usize {
    fn read<T: serde::de::DeserializeOwned>(data: &[u8]) -> usize {
        let (mut decoder, mut read) = (frame::Decoder::default(), 0);
        for chunk in data.chunks(1_000) {
            decoder.push(chunk);
            while let Ok(Some(_)) = decoder.next_message::<T>() {
                read += 1;
            }
        }
        read
    }
    read::<ToMedia>(data)
        + read::<FromMedia>(data)
        + read::<ToControl>(data)
        + read::<FromControl>(data)
}

/// The input as a series of datagrams: two bytes of length before each. What is left over is the last.
fn pieces(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (head, rest) = data.split_first_chunk::<2>()?;
        let len = usize::from(u16::from_be_bytes(*head)).min(rest.len());
        let (piece, rest) = rest.split_at(len);
        data = rest;
        Some(piece)
    })
}

fn local() -> LocalMedia {
    LocalMedia {
        address: PEER.ip(),
        bound: None,
        session_id: 1,
        version: 1,
        audio: Some(LocalAudio::all_codecs(20_000, 20_001)),
        video: Some(LocalVideo::hd720(20_002, 20_003)),
        srtp: SrtpPolicy::Allowed,
        dtls_fingerprint: Some([7; 32]),
    }
}

fn rng() -> StdRng {
    StdRng::seed_from_u64(1)
}
