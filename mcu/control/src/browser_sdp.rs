//! Our answer to a browser's offer (RFC 8829, seen from the other side).
//!
//! All that is accepted goes by one ICE-lite transport with BUNDLE and rtcp-mux. The first line of
//! sound is the room's mix one way and the microphone the other; the first line of video that the
//! browser would send by is its camera, with its simulcast layers; every other line of video is a
//! slot by which another site is forwarded. Whatever else is offered is refused in its place.

mod codecs;

use std::collections::HashSet;
use std::fmt::{Display, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use codecs::{feedback, numbers};
use mcu_api::codec::{AudioCodec, PacketizationMode};
use mcu_api::plan::{
    AudioPayload, AudioSend, AudioStream, Care, DtlsRole, Feedback, HeaderExtensions, VideoPayload,
    VideoReceive, VideoSend, WebrtcTransport,
};
use mcu_api::secret::Redacted;
use rand::RngCore;
use sip::sdp::Direction;
use sip::sdp::lines::{self, Description, MediaLine, ReadError};

/// Longest offer that is read, in bytes. Chromium writes nearly 5 kB for each line of video.
pub const MAX_OFFER_BYTES: usize = 384 * 1024;
/// Longest `a=mid` and `a=rid`: what a one-byte header extension holds (RFC 8285 §4.2).
const MAX_ID_BYTES: usize = 16;
/// Most simulcast layers.
const MAX_LAYERS: usize = 4;
/// Rate of the Opus mix in bit/s.
const OPUS_BPS: u32 = 64_000;

/// What our side brings to the exchange.
#[derive(Clone, Copy, Debug)]
pub struct Local<'a> {
    /// `sess-id` of `o=`: one number for the life of the connection.
    pub session_id: u64,
    /// `sess-version` of `o=`: to grow with every answer.
    pub version: u64,
    /// ICE user fragment, unique on the processor.
    pub ufrag: &'a str,
    /// ICE password.
    pub pwd: &'a Redacted<String>,
    /// SHA-256 of the certificate of the processor.
    pub fingerprint_sha256: [u8; 32],
    /// Where the processor takes UDP, best first.
    pub candidates: &'a [SocketAddr],
    /// Where browsers connect by TCP, best first.
    pub tcp_candidates: &'a [SocketAddr],
    /// CNAME of the room.
    pub cname: &'a str,
    /// Prefix of media stream ids. Each line has a stream of its own: browsers would keep the mixed
    /// sound in step with one slot at most, against the page, which keeps all of them in step.
    pub stream_id: &'a str,
    /// Most that a slot may carry, in bit/s, before the browser's own `b=`.
    pub max_slot_bps: u32,
    /// VP8, too, of browsers without H.264.
    pub vp8: bool,
}

/// The outcome, in the terms of the plan. All streams are of transport 0.
#[derive(Clone, Debug, PartialEq)]
pub struct BrowserAgreed {
    /// Our answer.
    pub sdp: String,
    /// The one transport.
    pub transport: WebrtcTransport,
    /// Microphone and mix.
    pub audio: AudioStream,
    /// The camera; `None` without one, while it is inactive, or without a codec in common.
    pub video_receive: Option<VideoReceive>,
    /// One for each slot in the order of the lines, their `source` not yet set.
    pub slots: Vec<VideoSend>,
}

/// Why a browser's offer cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrowserOfferError {
    /// The text cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// No line of sound with Opus in a bundle with rtcp-mux.
    #[error("no bundled line of sound with Opus")]
    NoAudio,
    /// No ICE user fragment or password.
    #[error("no ICE credentials")]
    NoIce,
    /// No SHA-256 fingerprint.
    #[error("no SHA-256 fingerprint of the browser's certificate")]
    NoFingerprint,
}

/// Answers a browser's first offer. `rng` draws SSRCs.
///
/// # Errors
/// When the offer is no WebRTC offer with sound.
pub fn answer(
    offer: &str,
    local: &Local<'_>,
    rng: &mut impl RngCore,
) -> Result<BrowserAgreed, BrowserOfferError> {
    answer_with(offer, local, None, rng)
}

/// Answers a later offer of the same connection: more slots, a camera switched on. Lines that were
/// there before keep their SSRCs: Chromium refuses an answer in which one moved to another line.
///
/// # Errors
/// As of [`answer`]; the connection then goes on as it was.
pub fn answer_again(
    offer: &str,
    local: &Local<'_>,
    previous: &BrowserAgreed,
    rng: &mut impl RngCore,
) -> Result<BrowserAgreed, BrowserOfferError> {
    answer_with(offer, local, Some(previous), rng)
}

fn answer_with(
    offer: &str,
    local: &Local<'_>,
    previous: Option<&BrowserAgreed>,
    rng: &mut impl RngCore,
) -> Result<BrowserAgreed, BrowserOfferError> {
    let offer = lines::read_at_most(offer, MAX_OFFER_BYTES)?;
    let plan = assign(&offer, local.vp8);
    let transport = transport(&offer, &plan, local)?;
    let mut answer = Answer::new(&offer, &plan, local, transport.dtls_role);
    let mut ssrcs = Ssrcs::new(previous, rng);
    let (mut audio, mut video_receive, mut slots) = (None, None, Vec::new());
    for (line, role) in offer.lines.iter().zip(&plan) {
        match role {
            Role::Audio { mid, payload } => {
                audio = Some(answer.audio(line, mid, *payload, &mut ssrcs));
            }
            Role::Camera { mid, payload } => {
                video_receive = answer.camera(line, mid, *payload, &mut ssrcs);
            }
            Role::Slot { mid, payload } => {
                slots.extend(answer.slot(line, mid, *payload, &mut ssrcs));
            }
            Role::Refused => answer.refused(line),
        }
    }
    Ok(BrowserAgreed {
        sdp: answer.text,
        transport,
        audio: audio.ok_or(BrowserOfferError::NoAudio)?,
        video_receive,
        slots,
    })
}

/// What a line becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Role {
    Audio { mid: String, payload: u8 },
    Camera { mid: String, payload: VideoPayload },
    Slot { mid: String, payload: VideoPayload },
    Refused,
}

impl Role {
    fn mid(&self) -> Option<&str> {
        match self {
            Self::Audio { mid, .. } | Self::Camera { mid, .. } | Self::Slot { mid, .. } => {
                Some(mid)
            }
            Self::Refused => None,
        }
    }
}

fn assign(offer: &Description, vp8: bool) -> Vec<Role> {
    let bundle = bundle(offer);
    let mut seen: HashSet<&str> = HashSet::new();
    let (mut sound, mut camera) = (false, false);
    let mut roles = Vec::with_capacity(offer.lines.len());
    for line in &offer.lines {
        let mid = bundled_mid(line, &bundle).filter(|mid| seen.insert(mid));
        let role = match (mid, line.media.as_str()) {
            (Some(mid), "audio") if !sound => audio_role(line, mid),
            (Some(mid), "video") => video_role(line, mid, vp8, camera),
            _ => Role::Refused,
        };
        sound |= matches!(role, Role::Audio { .. });
        camera |= matches!(role, Role::Camera { .. });
        roles.push(role);
    }
    roles
}

/// The lines of the first `a=group:BUNDLE` (RFC 9143 §7.2).
fn bundle(offer: &Description) -> HashSet<&str> {
    let groups = offer.attribute_values("group");
    let mut bundles = groups.filter_map(|group| group.strip_prefix("BUNDLE"));
    bundles
        .next()
        .map(|mids| mids.split_whitespace().collect())
        .unwrap_or_default()
}

/// The `a=mid` of a line that can go by the bundle.
fn bundled_mid<'a>(line: &'a MediaLine, bundle: &HashSet<&str>) -> Option<&'a str> {
    let mid = line
        .attribute("mid")
        .filter(|mid| is_id(mid) && bundle.contains(mid))?;
    // RFC 9143 §6: a line for the bundle only has port 0 in an offer.
    let alive = line.port != 0 || line.attribute("bundle-only").is_some();
    let dtls = line.proto.eq_ignore_ascii_case("UDP/TLS/RTP/SAVPF");
    (alive && dtls && line.attribute("rtcp-mux").is_some()).then_some(mid)
}

fn audio_role(line: &MediaLine, mid: &str) -> Role {
    match line
        .payloads
        .iter()
        .find(|payload| payload.is("opus", 48_000))
    {
        Some(opus) => Role::Audio {
            mid: mid.to_string(),
            payload: opus.number,
        },
        None => Role::Refused,
    }
}

/// The first line that the browser sends by, or has paused before any other, is its camera.
fn video_role(line: &MediaLine, mid: &str, vp8: bool, camera_seen: bool) -> Role {
    let Some(payload) = codecs::choose(line, vp8) else {
        return Role::Refused;
    };
    let mid = mid.to_string();
    match line.direction {
        Direction::SendOnly | Direction::SendRecv | Direction::Inactive if !camera_seen => {
            Role::Camera { mid, payload }
        }
        Direction::SendOnly => Role::Refused,
        _ => Role::Slot { mid, payload },
    }
}

/// ICE and DTLS of the bundle: those of its first accepted line, else of the session.
fn transport(
    offer: &Description,
    roles: &[Role],
    local: &Local<'_>,
) -> Result<WebrtcTransport, BrowserOfferError> {
    let mut accepted = offer
        .lines
        .iter()
        .zip(roles)
        .filter(|(_, role)| **role != Role::Refused);
    let (first, _) = accepted.next().ok_or(BrowserOfferError::NoAudio)?;
    let get = |name: &str| first.attribute(name).or_else(|| offer.attribute(name));
    let credential = |name| {
        get(name)
            .filter(|text| is_ice(text))
            .ok_or(BrowserOfferError::NoIce)
    };
    let mut prints = first
        .attribute_values("fingerprint")
        .chain(offer.attribute_values("fingerprint"));
    let remote_fingerprint_sha256 = prints
        .find_map(fingerprint)
        .ok_or(BrowserOfferError::NoFingerprint)?;
    // RFC 8842 §5.2: an offer leaves the choice (actpass); we wait.
    let dtls_role = match get("setup") {
        Some("passive") => DtlsRole::Client,
        _ => DtlsRole::Server,
    };
    Ok(WebrtcTransport {
        local_ufrag: local.ufrag.to_string(),
        local_pwd: local.pwd.clone(),
        remote_ufrag: credential("ice-ufrag")?.to_string(),
        remote_pwd: Redacted(credential("ice-pwd")?.to_string()),
        remote_fingerprint_sha256,
        dtls_role,
    })
}

/// The answer that is being written.
struct Answer<'a> {
    text: String,
    local: &'a Local<'a>,
    setup: &'static str,
    candidates_written: bool,
}

impl<'a> Answer<'a> {
    fn new(offer: &Description, roles: &[Role], local: &'a Local<'a>, role: DtlsRole) -> Self {
        let setup = match role {
            DtlsRole::Server => "passive",
            DtlsRole::Client => "active",
        };
        let mut answer = Self {
            text: String::new(),
            local,
            setup,
            candidates_written: false,
        };
        answer.line("v=0");
        let (session, version) = (local.session_id, local.version);
        answer.line(format_args!(
            "o=- {session} {version} IN {}",
            answer.address()
        ));
        answer.line("s=-");
        answer.line("t=0 0");
        let mids: Vec<&str> = roles.iter().filter_map(Role::mid).collect();
        answer.line(format_args!("a=group:BUNDLE {}", mids.join(" ")));
        answer.line("a=ice-lite");
        if offer.attribute("extmap-allow-mixed").is_some() {
            answer.line("a=extmap-allow-mixed");
        }
        answer.line(format_args!("a=msid-semantic: WMS *"));
        answer
    }

    fn line(&mut self, line: impl Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{line}\r\n");
    }

    fn default_candidate(&self) -> SocketAddr {
        let none = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9);
        self.local.candidates.first().copied().unwrap_or(none)
    }

    fn address(&self) -> String {
        let ip = self.default_candidate().ip();
        format!("{} {ip}", if ip.is_ipv4() { "IP4" } else { "IP6" })
    }

    fn refused(&mut self, line: &MediaLine) {
        self.line(format_args!(
            "m={} 0 {} {}",
            line.media, line.proto, line.first_format
        ));
        self.line("c=IN IP4 0.0.0.0");
        // A refused line keeps its name but is no part of the bundle (RFC 9143 §7.3.3).
        if let Some(mid) = line.attribute("mid").filter(|mid| is_id(mid)) {
            self.line(format_args!("a=mid:{mid}"));
        }
        self.line("a=inactive");
    }

    /// Begins an accepted line: what all of the bundle have.
    fn media(
        &mut self,
        line: &MediaLine,
        mid: &str,
        payload_types: &[u8],
        direction: Direction,
        extensions: &[(u8, &str)],
    ) {
        let list: String = payload_types
            .iter()
            .map(|number| format!(" {number}"))
            .collect();
        let port = self.default_candidate().port();
        self.line(format_args!("m={} {port} {}{list}", line.media, line.proto));
        self.line(format_args!("c=IN {}", self.address()));
        self.line(format_args!("a=mid:{mid}"));
        self.line(format_args!("a={}", direction.attribute()));
        self.ice_and_dtls();
        self.line("a=rtcp-mux");
        if line.attribute("rtcp-rsize").is_some() {
            self.line("a=rtcp-rsize");
        }
        for (id, uri) in extensions {
            self.line(format_args!("a=extmap:{id} {uri}"));
        }
    }

    fn ice_and_dtls(&mut self) {
        self.line(format_args!("a=ice-ufrag:{}", self.local.ufrag));
        self.line(format_args!("a=ice-pwd:{}", self.local.pwd.0));
        let hex: Vec<String> = self
            .local
            .fingerprint_sha256
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect();
        self.line(format_args!("a=fingerprint:sha-256 {}", hex.join(":")));
        let setup = self.setup;
        self.line(format_args!("a=setup:{setup}"));
        if std::mem::replace(&mut self.candidates_written, true) {
            return;
        }
        for (index, candidate) in (0_u32..).zip(self.local.candidates) {
            // RFC 8445 §5.1.2.1: host preference 126, component 1.
            let priority = (126 << 24) + (65_535_u32.saturating_sub(index) << 8) + 255;
            let (ip, port) = (candidate.ip(), candidate.port());
            self.line(format_args!(
                "a=candidate:{} 1 udp {priority} {ip} {port} typ host",
                index + 1
            ));
        }
        self.tcp_candidates();
        self.line("a=end-of-candidates");
    }

    /// RFC 6544 §4.5. Whatever works by UDP is preferred.
    fn tcp_candidates(&mut self) {
        let first = self.local.candidates.len() + 1;
        for (index, candidate) in (0_u32..).zip(self.local.tcp_candidates) {
            // RFC 6544 §4.2: type preference below that of UDP, direction preference 4 (passive).
            let local_preference = (4 << 13) + 8_191_u32.saturating_sub(index);
            let priority = (90 << 24) + (local_preference << 8) + 255;
            let (ip, port) = (candidate.ip(), candidate.port());
            self.line(format_args!(
                "a=candidate:{} 1 tcp {priority} {ip} {port} typ host tcptype passive",
                first + index as usize
            ));
        }
    }

    fn audio(
        &mut self,
        line: &MediaLine,
        mid: &str,
        payload_type: u8,
        ssrcs: &mut Ssrcs<'_, impl RngCore>,
    ) -> AudioStream {
        let direction = line.direction.reversed();
        let (extensions, extmaps) = extensions(line, &AUDIO_EXTENSIONS);
        let event = line
            .payloads
            .iter()
            .find(|payload| payload.is("telephone-event", 48_000));
        let event = event.map(|payload| payload.number);
        let numbers: Vec<u8> = [Some(payload_type), event].into_iter().flatten().collect();
        self.media(line, mid, &numbers, direction, &extmaps);
        self.line(format_args!("a=rtpmap:{payload_type} opus/48000/2"));
        self.line(format_args!(
            "a=fmtp:{payload_type} minptime=10;useinbandfec=1"
        ));
        if extensions.transport_cc != 0 && line.offers_feedback(payload_type, "transport-cc") {
            self.line(format_args!("a=rtcp-fb:{payload_type} transport-cc"));
        }
        if let Some(event) = event {
            self.line(format_args!("a=rtpmap:{event} telephone-event/48000"));
        }
        let ssrc = ssrcs.audio();
        if direction.sends() {
            self.sources(mid, ssrc, None);
        }
        let received = AudioPayload {
            payload_type,
            codec: AudioCodec::Opus,
        };
        AudioStream {
            transport: 0,
            mid: Some(mid.to_string()),
            receive: if direction.receives() {
                vec![received]
            } else {
                Vec::new()
            },
            send: direction.sends().then_some(AudioSend {
                payload_type,
                codec: AudioCodec::Opus,
                ptime_ms: 20,
                bitrate_bps: OPUS_BPS,
                ssrc,
                red: None,
            }),
            telephone_event: event.filter(|_| direction.receives()),
            red: None,
            extensions,
            muted: false,
            faithful: false,
            care: Care::default(),
        }
    }

    fn camera(
        &mut self,
        line: &MediaLine,
        mid: &str,
        payload: VideoPayload,
        ssrcs: &mut Ssrcs<'_, impl RngCore>,
    ) -> Option<VideoReceive> {
        let direction = line.direction.reversed().and(Direction::RecvOnly);
        let (extensions, extmaps) = extensions(line, &CAMERA_EXTENSIONS);
        let feedback = feedback(line, payload.payload_type, extensions);
        self.media(line, mid, &numbers(payload), direction, &extmaps);
        self.codec(payload, feedback);
        let rids = simulcast(line);
        for rid in &rids {
            self.line(format_args!("a=rid:{rid} recv"));
        }
        if !rids.is_empty() {
            self.line(format_args!("a=simulcast:recv {}", rids.join(";")));
        }
        direction.receives().then(|| VideoReceive {
            transport: 0,
            mid: Some(mid.to_string()),
            payloads: vec![payload],
            rids,
            feedback,
            extensions,
            feedback_ssrc: ssrcs.feedback(),
            muted: false,
        })
    }

    fn slot(
        &mut self,
        line: &MediaLine,
        mid: &str,
        payload: VideoPayload,
        ssrcs: &mut Ssrcs<'_, impl RngCore>,
    ) -> Option<VideoSend> {
        let direction = line.direction.reversed().and(Direction::SendOnly);
        let (extensions, extmaps) = extensions(line, &SLOT_EXTENSIONS);
        let feedback = feedback(line, payload.payload_type, extensions);
        self.media(line, mid, &numbers(payload), direction, &extmaps);
        self.codec(payload, feedback);
        if !direction.sends() {
            return None;
        }
        let (ssrc, rtx_ssrc) = ssrcs.slot(mid, payload.rtx.is_some());
        self.sources(mid, ssrc, rtx_ssrc);
        let bandwidth = line.bandwidth_bps.and_then(|bps| u32::try_from(bps).ok());
        Some(VideoSend {
            codec: payload.codec,
            transport: 0,
            mid: Some(mid.to_string()),
            payload_type: payload.payload_type,
            rtx: payload.rtx,
            ssrc,
            rtx_ssrc,
            packetization: PacketizationMode::NonInterleaved,
            feedback,
            extensions,
            source: None,
            max_bitrate_bps: bandwidth.unwrap_or(u32::MAX).min(self.local.max_slot_bps),
            limits: codecs::limits(line, &payload),
        })
    }

    fn codec(&mut self, payload: VideoPayload, feedback: Feedback) {
        let number = payload.payload_type;
        let (encoding, parameters) = codecs::described(payload.codec);
        self.line(format_args!("a=rtpmap:{number} {encoding}/90000"));
        if let Some(parameters) = parameters {
            self.line(format_args!("a=fmtp:{number} {parameters}"));
        }
        let names = [
            (feedback.transport_cc, "transport-cc"),
            (feedback.fir, "ccm fir"),
            (feedback.nack, "nack"),
            (feedback.pli, "nack pli"),
        ];
        for (_, name) in names.iter().filter(|(agreed, _)| *agreed) {
            self.line(format_args!("a=rtcp-fb:{number} {name}"));
        }
        if let Some(rtx) = payload.rtx {
            self.line(format_args!("a=rtpmap:{rtx} rtx/90000"));
            self.line(format_args!("a=fmtp:{rtx} apt={number}"));
        }
    }

    /// What we send on a line: its stream and track (RFC 8830), its SSRCs (RFC 5576).
    fn sources(&mut self, mid: &str, ssrc: u32, rtx_ssrc: Option<u32>) {
        let (stream, cname) = (self.local.stream_id, self.local.cname);
        self.line(format_args!("a=msid:{stream}-{mid} {stream}-{mid}"));
        if let Some(rtx_ssrc) = rtx_ssrc {
            self.line(format_args!("a=ssrc-group:FID {ssrc} {rtx_ssrc}"));
        }
        for ssrc in [Some(ssrc), rtx_ssrc].into_iter().flatten() {
            self.line(format_args!("a=ssrc:{ssrc} cname:{cname}"));
        }
    }
}

const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
const REPAIRED_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
const TRANSPORT_CC: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
const ABS_SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";

const AUDIO_EXTENSIONS: [&str; 4] = [MID, TRANSPORT_CC, ABS_SEND_TIME, AUDIO_LEVEL];
const CAMERA_EXTENSIONS: [&str; 5] = [MID, RID, REPAIRED_RID, TRANSPORT_CC, ABS_SEND_TIME];
const SLOT_EXTENSIONS: [&str; 3] = [MID, TRANSPORT_CC, ABS_SEND_TIME];

/// The extensions of `known` that a line offers, by the offered numbers (RFC 8285 §6).
fn extensions<'a>(line: &MediaLine, known: &[&'a str]) -> (HeaderExtensions, Vec<(u8, &'a str)>) {
    let mut agreed = HeaderExtensions::default();
    let mut echoed: Vec<(u8, &str)> = Vec::new();
    for value in line.attribute_values("extmap") {
        let mut words = value.split_whitespace();
        let id = words
            .next()
            .and_then(|word| word.split('/').next()?.parse::<u8>().ok());
        let uri = words
            .next()
            .and_then(|uri| known.iter().find(|known| **known == uri));
        let (Some(id @ 1..=255), Some(uri)) = (id, uri) else {
            continue;
        };
        let slot = match *uri {
            MID => &mut agreed.mid,
            RID => &mut agreed.rid,
            REPAIRED_RID => &mut agreed.repaired_rid,
            TRANSPORT_CC => &mut agreed.transport_cc,
            ABS_SEND_TIME => &mut agreed.abs_send_time,
            AUDIO_LEVEL => &mut agreed.audio_level,
            _ => continue,
        };
        if *slot == 0 && !echoed.iter().any(|(taken, _)| *taken == id) {
            *slot = id;
            echoed.push((id, uri));
        }
    }
    (agreed, echoed)
}

/// The layers that `a=simulcast:send` lists and `a=rid` describes, in the offered order: the page
/// lists the smallest first (RFC 8853 §5.1). Of alternatives the first, paused or not.
fn simulcast(line: &MediaLine) -> Vec<String> {
    let Some(value) = line.attribute("simulcast") else {
        return Vec::new();
    };
    let mut words = value.split_whitespace().skip_while(|word| *word != "send");
    let Some(list) = words.nth(1) else {
        return Vec::new();
    };
    let described = |rid: &&str| {
        line.attribute_values("rid").any(|value| {
            let mut words = value.split_whitespace();
            words.next() == Some(*rid) && words.next() == Some("send")
        })
    };
    let mut rids: Vec<String> = Vec::new();
    let first_choices = list
        .split(';')
        .filter_map(|alternatives| alternatives.split(',').next())
        .take(4 * MAX_LAYERS);
    for rid in first_choices
        .map(|rid| rid.trim_start_matches('~'))
        .filter(|rid| is_id(rid))
    {
        if rids.len() < MAX_LAYERS && described(&rid) && !rids.iter().any(|known| known == rid) {
            rids.push(rid.to_string());
        }
    }
    rids
}

fn is_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=MAX_ID_BYTES).contains(&text.len()) && text.bytes().all(allowed)
}

/// RFC 8839 §5.4: 4 to 256 characters for the fragment, 22 to 256 for the password.
fn is_ice(text: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
    (4..=256).contains(&text.len()) && text.bytes().all(allowed)
}

fn fingerprint(value: &str) -> Option<[u8; 32]> {
    let mut words = value.split_whitespace();
    words
        .next()
        .filter(|hash| hash.eq_ignore_ascii_case("sha-256"))?;
    let mut bytes = [0; 32];
    let mut parts = words.next()?.split(':');
    for byte in &mut bytes {
        *byte = u8::from_str_radix(parts.next().filter(|part| part.len() == 2)?, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}

/// SSRCs of one connection: those of the last answer where a line was there, else new ones.
struct Ssrcs<'a, R> {
    previous: Option<&'a BrowserAgreed>,
    taken: HashSet<u32>,
    rng: &'a mut R,
}

impl<'a, R: RngCore> Ssrcs<'a, R> {
    fn new(previous: Option<&'a BrowserAgreed>, rng: &'a mut R) -> Self {
        let mut taken = HashSet::from([0]);
        if let Some(agreed) = previous {
            taken.extend(agreed.audio.send.map(|send| send.ssrc));
            taken.extend(
                agreed
                    .video_receive
                    .as_ref()
                    .map(|camera| camera.feedback_ssrc),
            );
            taken.extend(
                agreed
                    .slots
                    .iter()
                    .flat_map(|slot| [Some(slot.ssrc), slot.rtx_ssrc])
                    .flatten(),
            );
        }
        Self {
            previous,
            taken,
            rng,
        }
    }

    fn new_one(&mut self) -> u32 {
        loop {
            let ssrc = self.rng.next_u32();
            if self.taken.insert(ssrc) {
                return ssrc;
            }
        }
    }

    fn audio(&mut self) -> u32 {
        let kept = self
            .previous
            .and_then(|agreed| agreed.audio.send)
            .map(|send| send.ssrc);
        kept.unwrap_or_else(|| self.new_one())
    }

    fn feedback(&mut self) -> u32 {
        let kept = self
            .previous
            .and_then(|agreed| agreed.video_receive.as_ref());
        kept.map(|camera| camera.feedback_ssrc)
            .unwrap_or_else(|| self.new_one())
    }

    fn slot(&mut self, mid: &str, with_rtx: bool) -> (u32, Option<u32>) {
        let slots = self
            .previous
            .map(|agreed| agreed.slots.as_slice())
            .unwrap_or_default();
        let kept = slots.iter().find(|slot| slot.mid.as_deref() == Some(mid));
        let (ssrc, rtx) = (
            kept.map(|slot| slot.ssrc),
            kept.and_then(|slot| slot.rtx_ssrc),
        );
        let ssrc = ssrc.unwrap_or_else(|| self.new_one());
        let rtx = with_rtx.then(|| rtx.unwrap_or_else(|| self.new_one()));
        (ssrc, rtx)
    }
}

#[cfg(test)]
mod tests;
