//! Our offer, and the terminal's answer to it.

use mcu_api::codec::AudioCodec;
use mcu_api::plan::{
    AudioPayload, DtlsKeys, Feedback, SdesKeys, SrtpSuite, Transport, UdpTransport, VideoPayload,
};
use mcu_api::secret::Redacted;
use rand::CryptoRng;
use serde::{Deserialize, Serialize};

use super::answer::{agreed_video, audio_stream, video_payload, video_share};
use super::crypto::KeyName;
use super::dtls::{self, DtlsLine};
use super::h264::own_format;
use super::lines::{self, Description, MediaLine};
use super::terms::{self, LocalPorts};
use super::video::{Format, LEGACY_TYPES, RTX_TYPES, VIDEO_TYPES};
use super::write::Writer;
use super::{
    Agreed, AgreedAudio, AgreedVideo, DSCP_AUDIO, DSCP_VIDEO, Direction, KeptLine, LineRole,
    LocalAudio, LocalMedia, LocalVideo, OfferError, Secured, SrtpPolicy, TelephoneEvent, audio,
    cif, crypto, ice, video,
};

/// An offer of ours that waits for its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// The description to send.
    pub sdp: String,
    local: LocalMedia,
    lines: Vec<KeptLine>,
    audio: Option<OfferedAudio>,
    video: Option<OfferedVideo>,
    #[serde(default)]
    secured: Secured,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct OfferedAudio {
    payloads: Vec<AudioPayload>,
    events: Vec<TelephoneEvent>,
    keys: Vec<OfferedKey>,
    #[serde(default)]
    dtls: Option<DtlsLine>,
    before: Option<Before>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct OfferedVideo {
    formats: Vec<(u8, Format)>,
    /// Payload types of retransmissions, each with that which it repeats.
    #[serde(default)]
    rtx: Vec<(u8, u8)>,
    keys: Vec<OfferedKey>,
    #[serde(default)]
    dtls: Option<DtlsLine>,
    before: Option<Before>,
}

/// What the line was before, and our SSRC on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Before {
    transport: UdpTransport,
    ssrc: u32,
    #[serde(default)]
    dtls: Option<DtlsLine>,
}

impl Before {
    fn terms(&self) -> dtls::Before<'_> {
        (&self.transport, self.dtls.as_ref())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct OfferedKey {
    tag: String,
    suite: SrtpSuite,
    /// Another name of the suite than its own.
    #[serde(default)]
    name: Option<String>,
    key: Redacted<Vec<u8>>,
}

/// Offers all that `local` has: the first description of a call whose caller sent none, or of a
/// call of ours.
pub fn offer(local: &LocalMedia, rng: &mut impl CryptoRng) -> Offer {
    let mut offered = Offer {
        sdp: String::new(),
        local: local.clone(),
        lines: Vec::new(),
        audio: local
            .audio
            .as_ref()
            .map(|audio| new_audio(audio, local, rng)),
        video: local
            .video
            .as_ref()
            .map(|video| new_video(video, local, rng)),
        secured: Secured::default(),
    };
    let proto = profile(local.srtp);
    if offered.audio.is_some() {
        offered
            .lines
            .push(own_line("audio", proto, LineRole::Audio));
    }
    if offered.video.is_some() {
        offered
            .lines
            .push(own_line("video", proto, LineRole::Video));
    }
    offered.write();
    offered
}

/// Offers again within a call what it holds: same lines in the same places, same payload types,
/// keys and SSRCs (RFC 3264 §8). Also the way out of a hold of ours.
pub fn offer_again(local: &LocalMedia, previous: &Agreed, rng: &mut impl CryptoRng) -> Offer {
    let audio = previous.audio.as_ref().filter(|_| local.audio.is_some());
    let video = previous.video.as_ref().filter(|_| local.video.is_some());
    let mut lines = previous.lines.clone();
    for line in &mut lines {
        let gone = match line.role {
            LineRole::Audio => audio.is_none(),
            LineRole::Video => video.is_none(),
            LineRole::Refused => false,
        };
        if gone {
            line.role = LineRole::Refused;
        }
    }
    let mut offered = Offer {
        sdp: String::new(),
        local: local.clone(),
        lines,
        audio: audio.map(|audio| OfferedAudio {
            payloads: audio.payloads.clone(),
            events: audio.telephone_event.into_iter().collect(),
            keys: kept_keys(&audio.transport, audio.key_name.as_ref()),
            dtls: kept_dtls(local, (&audio.transport, audio.dtls.as_ref()), rng),
            before: Some(Before {
                transport: audio.transport.clone(),
                ssrc: audio.ssrc,
                dtls: audio.dtls.clone(),
            }),
        }),
        video: video.map(|video| OfferedVideo {
            formats: video.formats.clone(),
            rtx: video.rtx.clone(),
            keys: kept_keys(&video.transport, video.key_name.as_ref()),
            dtls: kept_dtls(local, (&video.transport, video.dtls.as_ref()), rng),
            before: Some(Before {
                transport: video.transport.clone(),
                ssrc: video.ssrc,
                dtls: video.dtls.clone(),
            }),
        }),
        secured: previous.secured(),
    };
    offered.write();
    offered
}

/// Takes the answer to an offer of ours. `rng` draws the SSRCs, where they are not kept.
///
/// # Errors
/// When the answer cannot be read, is no answer to this offer, or accepts nothing.
pub fn accept_answer(
    offer: &Offer,
    answer: &str,
    rng: &mut impl CryptoRng,
) -> Result<Agreed, OfferError> {
    let answer = lines::read(answer)?;
    check_lines(offer, &answer)?;
    let mut agreed = Agreed {
        sdp: offer.sdp.clone(),
        audio: None,
        video: None,
        lines: offer.lines.clone(),
        secured: offer.secured,
    };
    if let Some(accepted) = offer.accepted_audio(&answer) {
        agreed.audio = accept_audio(offer, accepted, rng)?;
    }
    if let Some(accepted) = offer.accepted_video(&answer) {
        let audio_bps = agreed.audio.as_ref().and_then(|audio| audio.stream.send);
        let session = video_share(
            answer.bandwidth_bps,
            audio_bps.map_or(0, |send| send.bitrate_bps),
        );
        let transport = usize::from(agreed.audio.is_some());
        agreed.video = accept_video(offer, accepted, session, transport, rng)?;
    }
    for line in &mut agreed.lines {
        let refused = match line.role {
            LineRole::Audio => agreed.audio.is_none(),
            LineRole::Video => agreed.video.is_none(),
            LineRole::Refused => false,
        };
        if refused {
            line.role = LineRole::Refused;
        }
    }
    if agreed.audio.is_none() && agreed.video.is_none() {
        return Err(OfferError::NothingInCommon);
    }
    agreed.secured = agreed.secured();
    Ok(agreed)
}

/// Same number, kinds and transports of lines as we offered (RFC 3264 §6). The profiles of
/// RTP pass for one another: best-effort encryption is answered as RTP/SAVP by some.
fn check_lines(offer: &Offer, answer: &Description) -> Result<(), OfferError> {
    for (index, (ours, theirs)) in offer.lines.iter().zip(&answer.lines).enumerate() {
        let both_rtp = lines::is_rtp(&ours.proto) && theirs.is_rtp();
        let same_proto = both_rtp || ours.proto.eq_ignore_ascii_case(&theirs.proto);
        if ours.media != theirs.media || !same_proto {
            return Err(OfferError::LinesDiffer { index });
        }
    }
    let (ours, theirs) = (offer.lines.len(), answer.lines.len());
    if ours == theirs {
        Ok(())
    } else {
        Err(OfferError::LinesDiffer {
            index: ours.min(theirs),
        })
    }
}

/// A line of ours that the answer accepts.
struct Accepted<'a, L, O> {
    index: usize,
    line: &'a MediaLine,
    local: &'a L,
    offered: &'a O,
}

impl Offer {
    /// The ports that it names, as transports of which nothing else is known.
    pub fn ports(&self) -> Vec<Transport> {
        let audio = self.local.audio.as_ref().filter(|_| self.audio.is_some());
        let audio = audio.map(|line| self.line_ports(line.rtp_port, line.rtcp_port, DSCP_AUDIO));
        let video = self.local.video.as_ref().filter(|_| self.video.is_some());
        let video = video.map(|line| self.line_ports(line.rtp_port, line.rtcp_port, DSCP_VIDEO));
        let lines = audio.into_iter().chain(video);
        lines.map(|line| Transport::Udp(line.bare())).collect()
    }

    /// Puts these SSRCs in place of those of the last exchange.
    pub fn set_ssrcs(&mut self, audio_ssrc: u32, video_ssrc: u32) {
        let audio = self.audio.as_mut().and_then(|audio| audio.before.as_mut());
        let video = self.video.as_mut().and_then(|video| video.before.as_mut());
        for (before, ssrc) in [(audio, audio_ssrc), (video, video_ssrc)] {
            if let Some(before) = before {
                before.ssrc = ssrc;
            }
        }
    }

    /// Notes the keys of a transport that was agreed on before, as [`Agreed::note_dtls_keys`] does: the
    /// answer may leave the association as it is.
    pub fn note_dtls_keys(&mut self, transport: usize, keys: &DtlsKeys) {
        let audio = self.audio.as_mut().and_then(|audio| audio.before.as_mut());
        let video = self.video.as_mut().and_then(|video| video.before.as_mut());
        let line = audio.into_iter().chain(video).nth(transport);
        if let Some(before) = line {
            dtls::note_keys(&mut before.transport, before.dtls.as_ref(), keys);
        }
    }

    /// Whether it promises an association with another certificate than this one of ours.
    pub fn shows_dead_certificate(&self, ours: [u8; 32]) -> bool {
        let audio = self
            .audio
            .as_ref()
            .map(|audio| (&audio.dtls, &audio.before));
        let video = self
            .video
            .as_ref()
            .map(|video| (&video.dtls, &video.before));
        audio.into_iter().chain(video).any(|(line, before)| {
            let kept = before.as_ref().filter(|before| before.dtls == *line);
            let terms = kept.and_then(|before| before.transport.dtls.as_deref());
            dtls::is_dead(terms, line.as_ref(), ours)
        })
    }

    fn accepted_audio<'a>(
        &'a self,
        answer: &'a Description,
    ) -> Option<Accepted<'a, LocalAudio, OfferedAudio>> {
        let (index, line) = self.accepted_line(answer, LineRole::Audio)?;
        Some(Accepted {
            index,
            line,
            local: self.local.audio.as_ref()?,
            offered: self.audio.as_ref()?,
        })
    }

    fn accepted_video<'a>(
        &'a self,
        answer: &'a Description,
    ) -> Option<Accepted<'a, LocalVideo, OfferedVideo>> {
        let (index, line) = self.accepted_line(answer, LineRole::Video)?;
        Some(Accepted {
            index,
            line,
            local: self.local.video.as_ref()?,
            offered: self.video.as_ref()?,
        })
    }

    fn accepted_line<'a>(
        &self,
        answer: &'a Description,
        role: LineRole,
    ) -> Option<(usize, &'a MediaLine)> {
        let index = self.lines.iter().position(|line| line.role == role)?;
        let line = answer.lines.get(index).filter(|line| line.port != 0)?;
        Some((index, line))
    }

    fn line_ports(&self, rtp: u16, rtcp: u16, dscp: u8) -> LocalPorts {
        LocalPorts {
            ip: self.local.bound(),
            rtp,
            rtcp,
            dscp,
        }
    }

    fn write(&mut self) {
        let mut writer = Writer::new(&self.local);
        for line in &self.lines {
            match (
                line.role,
                &self.audio,
                &self.local.audio,
                &self.video,
                &self.local.video,
            ) {
                (LineRole::Audio, Some(offered), Some(local), ..) => {
                    write_audio(&mut writer, line, offered, local);
                }
                (LineRole::Video, _, _, Some(offered), Some(local)) => {
                    write_video(&mut writer, line, offered, local);
                }
                _ => writer.refused(line),
            }
        }
        self.sdp = writer.finish();
    }
}

fn new_audio(local: &LocalAudio, media: &LocalMedia, rng: &mut impl CryptoRng) -> OfferedAudio {
    let mut payloads: Vec<AudioPayload> = Vec::new();
    for codec in &local.codecs {
        let payload_type = match codec {
            AudioCodec::Pcmu => 0,
            AudioCodec::Pcma => 8,
            AudioCodec::G722 => 9,
            AudioCodec::Opus => 107,
            AudioCodec::G729 => 18,
            AudioCodec::G7221C {
                bitrate_bps: 48_000,
            } => 115,
            AudioCodec::G7221 {
                bitrate_bps: 32_000,
            } => 111,
            // Who has these alone says so in an offer of its own: ours is to fit a datagram.
            AudioCodec::G7221C { .. } | AudioCodec::G7221 { .. } | AudioCodec::L16 => continue,
        };
        if !payloads
            .iter()
            .any(|known| known.payload_type == payload_type)
        {
            payloads.push(AudioPayload {
                payload_type,
                codec: *codec,
            });
        }
    }
    // One for each clock of the codecs (RFC 4733 §2.1).
    let clocks = [(101, 8_000), (102, 48_000), (103, 16_000), (104, 32_000)];
    let used = |clock_hz| {
        payloads
            .iter()
            .any(|payload| payload.codec.rtp_clock_hz() == clock_hz)
    };
    let events = clocks
        .into_iter()
        .filter(|(_, clock_hz)| used(*clock_hz))
        .map(|(payload_type, clock_hz)| TelephoneEvent {
            payload_type,
            clock_hz,
        })
        .collect();
    OfferedAudio {
        payloads,
        events,
        keys: new_keys(media.srtp, rng),
        dtls: new_dtls(media, rng),
        before: None,
    }
}

fn new_video(local: &LocalVideo, media: &LocalMedia, rng: &mut impl CryptoRng) -> OfferedVideo {
    let h264 = VIDEO_TYPES.into_iter();
    let h264 = h264.filter_map(|(number, profile_idc, constraints, mode)| {
        let format = own_format(profile_idc, constraints, mode, local)?;
        Some((number, Format::H264(format)))
    });
    let legacy = LEGACY_TYPES.into_iter().filter(|_| local.legacy);
    let legacy = legacy.map(|(number, codec)| (number, Format::Cif(cif::Format::own(codec))));
    let formats: Vec<(u8, Format)> = h264.chain(legacy).collect();
    let is_offered = |(_, of): &(u8, u8)| formats.iter().any(|(number, _)| number == of);
    OfferedVideo {
        rtx: RTX_TYPES.into_iter().filter(is_offered).collect(),
        formats,
        keys: new_keys(media.srtp, rng),
        dtls: new_dtls(media, rng),
        before: None,
    }
}

fn new_keys(srtp: SrtpPolicy, rng: &mut impl CryptoRng) -> Vec<OfferedKey> {
    if srtp == SrtpPolicy::Off {
        return Vec::new();
    }
    let suites = crypto::OFFERED_SUITES.into_iter().enumerate();
    suites
        .map(|(index, suite)| OfferedKey {
            tag: (index + 1).to_string(),
            suite,
            name: None,
            key: crypto::new_key(suite, rng),
        })
        .collect()
}

/// Association of a first offer: SDES and DTLS stand side by side, and the answer chooses (RFC 8643 §3).
fn new_dtls(local: &LocalMedia, rng: &mut impl CryptoRng) -> Option<DtlsLine> {
    let fingerprint = local.dtls_fingerprint?;
    (local.srtp != SrtpPolicy::Off).then(|| dtls::offered(fingerprint, None, rng))
}

/// Association of a later offer, where the line has one.
fn kept_dtls(
    local: &LocalMedia,
    before: dtls::Before<'_>,
    rng: &mut impl CryptoRng,
) -> Option<DtlsLine> {
    before.0.dtls.as_ref()?;
    let ours = local.dtls_fingerprint.unwrap_or_default();
    Some(dtls::offered(ours, Some(before), rng))
}

fn kept_keys(transport: &UdpTransport, known: Option<&KeyName>) -> Vec<OfferedKey> {
    let Some(keys) = &transport.sdes else {
        return Vec::new();
    };
    if let Some(KeyName { tag, suite }) = known {
        return vec![OfferedKey {
            tag: tag.clone(),
            suite: keys.suite,
            name: Some(suite.clone()),
            key: keys.local.clone(),
        }];
    }
    // Under which of its names the peer knows the suite was not kept by an older version.
    let legacy = match keys.suite {
        SrtpSuite::Aes256CmHmacSha1_80 => Some("AES_CM_256_HMAC_SHA1_80"),
        SrtpSuite::Aes256CmHmacSha1_32 => Some("AES_CM_256_HMAC_SHA1_32"),
        _ => None,
    };
    let names = std::iter::once(None).chain(legacy.map(Some));
    let key = |(tag, name): (u32, Option<&str>)| OfferedKey {
        tag: tag.to_string(),
        suite: keys.suite,
        name: name.map(str::to_string),
        key: keys.local.clone(),
    };
    (1..).zip(names).map(key).collect()
}

/// Best-effort encryption is offered as keys under RTP/AVP: one line that every terminal can read.
const fn profile(srtp: SrtpPolicy) -> &'static str {
    match srtp {
        SrtpPolicy::Off | SrtpPolicy::Allowed => "RTP/AVP",
        SrtpPolicy::Required => "RTP/SAVP",
    }
}

fn own_line(media: &str, proto: &str, role: LineRole) -> KeptLine {
    KeptLine {
        media: media.to_string(),
        proto: proto.to_string(),
        format: "0".to_string(),
        role,
    }
}

fn write_audio(writer: &mut Writer, line: &KeptLine, offered: &OfferedAudio, local: &LocalAudio) {
    let speech = offered.payloads.iter().map(|payload| payload.payload_type);
    let numbers: Vec<u8> = speech
        .chain(offered.events.iter().map(|event| event.payload_type))
        .collect();
    writer.media("audio", local.rtp_port, &line.proto, &numbers);
    for payload in &offered.payloads {
        writer.audio_format(payload.payload_type, payload.codec, true);
    }
    for event in &offered.events {
        writer.telephone_event(event.payload_type, event.clock_hz);
    }
    writer.attribute("ptime", 20);
    let secrets = (&offered.keys[..], &offered.dtls, &offered.before);
    finish_line(writer, secrets, local.rtcp_port);
}

fn write_video(writer: &mut Writer, line: &KeptLine, offered: &OfferedVideo, local: &LocalVideo) {
    let formats = offered.formats.iter().map(|(number, _)| *number);
    let rtx = offered.rtx.iter().map(|(number, _)| *number);
    let numbers: Vec<u8> = formats.chain(rtx).collect();
    writer.media("video", local.rtp_port, &line.proto, &numbers);
    writer.bandwidth(local.max_bitrate_bps);
    for (number, format) in &offered.formats {
        let (encoding, parameters) = format.described(local);
        writer.video_format(*number, encoding, &parameters);
    }
    for (number, of) in &offered.rtx {
        writer.rtx(*number, *of);
    }
    writer.feedback(Feedback {
        nack: true,
        pli: true,
        fir: true,
        transport_cc: false,
        tmmbr: true,
        remb: false,
    });
    writer.attribute("content", "main");
    let secrets = (&offered.keys[..], &offered.dtls, &offered.before);
    finish_line(writer, secrets, local.rtcp_port);
}

fn finish_line(
    writer: &mut Writer,
    (keys, dtls, before): (&[OfferedKey], &Option<DtlsLine>, &Option<Before>),
    rtcp_port: u16,
) {
    for key in keys {
        let name = key.name.as_deref().unwrap_or(crypto::suite_name(key.suite));
        writer.attribute("crypto", crypto::value(&key.tag, name, &key.key));
    }
    if let Some(line) = dtls {
        dtls::write(writer, line, "actpass");
    }
    writer.attribute("rtcp", rtcp_port);
    writer.line("a=rtcp-mux");
    let transport = before.as_ref().map(|before| &before.transport);
    if let Some((transport, ice)) = transport.and_then(|t| Some((t, t.ice.as_ref()?))) {
        ice::write(writer, ice, transport);
    }
    writer.direction(Direction::SendRecv);
}

fn accept_audio(
    offer: &Offer,
    accepted: Accepted<'_, LocalAudio, OfferedAudio>,
    rng: &mut impl CryptoRng,
) -> Result<Option<AgreedAudio>, OfferError> {
    let Accepted {
        index,
        line,
        local,
        offered,
    } = accepted;
    let Some(choice) = audio::choose(line, local) else {
        return Ok(None);
    };
    let ports = offer.line_ports(local.rtp_port, local.rtcp_port, DSCP_AUDIO);
    let secrets = (&offered.keys[..], &offered.dtls, &offered.before);
    let place = (index, line, offer.secured.audio);
    let AcceptedLine {
        transport,
        direction,
        dtls,
        key_name,
    } = accept_line(offer, place, ports, secrets, rng)?;
    let ssrc = answered_ssrc(offered.before.as_ref(), &transport, rng);
    // What the answer names is what we shall hear, under the numbers of our offer.
    let answered = |codec| {
        line.payloads
            .iter()
            .any(|theirs| audio::codec(theirs) == Some(codec))
    };
    let receive: Vec<AudioPayload> = offered
        .payloads
        .iter()
        .filter(|ours| answered(ours.codec))
        .copied()
        .collect();
    let event = choice.telephone_event.and_then(|theirs| {
        offered
            .events
            .iter()
            .find(|ours| ours.clock_hz == theirs.clock_hz)
            .copied()
    });
    let event_type = event.map(|event| event.payload_type);
    Ok(Some(AgreedAudio {
        stream: audio_stream(&choice, direction, receive.clone(), event_type, ssrc),
        transport,
        direction,
        ssrc,
        payloads: receive,
        telephone_event: event,
        dtls,
        key_name,
    }))
}

fn accept_video(
    offer: &Offer,
    accepted: Accepted<'_, LocalVideo, OfferedVideo>,
    session_bps: Option<u64>,
    transport_index: usize,
    rng: &mut impl CryptoRng,
) -> Result<Option<AgreedVideo>, OfferError> {
    let Accepted {
        index,
        line,
        local,
        offered,
    } = accepted;
    let Some(choice) = video::choose(line, local, session_bps) else {
        return Ok(None);
    };
    let ports = offer.line_ports(local.rtp_port, local.rtcp_port, DSCP_VIDEO);
    let secrets = (&offered.keys[..], &offered.dtls, &offered.before);
    let place = (index, line, offer.secured.video);
    let AcceptedLine {
        transport,
        direction,
        dtls,
        key_name,
    } = accept_line(offer, place, ports, secrets, rng)?;
    let ssrc = answered_ssrc(offered.before.as_ref(), &transport, rng);
    let direction = direction.and(Direction::new(choice.class.is_some(), true));
    let formats: Vec<(u8, Format)> = offered
        .formats
        .iter()
        .filter(|ours| is_answered(line, ours))
        .copied()
        .collect();
    let rtx: Vec<(u8, u8)> = match choice.rtx {
        Some(_) => offered.rtx.clone(),
        None => Vec::new(),
    };
    let repeats = |of: u8| rtx.iter().find(|known| known.1 == of).map(|known| known.0);
    let payloads = formats
        .iter()
        .map(|(number, format)| VideoPayload {
            rtx: repeats(*number),
            ..video_payload(*number, format.codec())
        })
        .collect();
    let mut agreed = agreed_video(
        choice,
        direction,
        payloads,
        transport,
        transport_index,
        ssrc,
    );
    agreed.formats = formats;
    agreed.rtx = rtx;
    agreed.dtls = dtls;
    agreed.key_name = key_name;
    Ok(Some(agreed))
}

/// Whether an answer names this type of ours, by its number or by its profile and mode.
fn is_answered(line: &MediaLine, (number, ours): &(u8, Format)) -> bool {
    line.payloads.iter().any(|payload| {
        video::format(payload)
            .is_some_and(|theirs| payload.number == *number || theirs.is_like(ours))
    })
}

/// Our key is said already when the answer comes; the SSRC is not.
fn answered_ssrc(before: Option<&Before>, now: &UdpTransport, rng: &mut impl CryptoRng) -> u32 {
    let before = before.map(|before| (&before.transport, before.ssrc));
    terms::ssrc(before, now, rng)
}

/// What an answer says of a line that it accepts.
struct AcceptedLine {
    transport: UdpTransport,
    direction: Direction,
    dtls: Option<DtlsLine>,
    key_name: Option<KeyName>,
}

/// Transport, direction and association of a line that the answer accepts, and that may have been
/// encrypted before. An answer with fingerprint and keys means DTLS.
fn accept_line(
    offer: &Offer,
    (index, line, was_secure): (usize, &MediaLine, bool),
    ports: LocalPorts,
    (keys, dtls, before): (&[OfferedKey], &Option<DtlsLine>, &Option<Before>),
    rng: &mut impl CryptoRng,
) -> Result<AcceptedLine, OfferError> {
    let (mut transport, direction) = terms::transport(line, ports);
    let before = before.as_ref().map(Before::terms);
    let held = before.map(|(transport, _)| transport);
    // Checks come only where an offer of ours had candidates.
    if held.is_some_and(|held| held.ice.is_some()) {
        transport.ice = ice::terms(&ice::Theirs::of(line), held, rng).map(Box::new);
    }
    let same_ports = held.is_some_and(|held| held.rtcp_port == transport.rtcp_port);
    let theirs = dtls.as_ref().and_then(|_| dtls::Theirs::of_answer(line));
    if let (Some(theirs), Some(ours)) = (theirs, dtls)
        && let Some((terms, line)) = dtls::accepted(&theirs, ours, before, same_ports, rng)
    {
        transport.dtls = Some(Box::new(terms));
        return Ok(AcceptedLine {
            transport,
            direction,
            dtls: Some(line),
            key_name: None,
        });
    }
    let (sdes, key_name) = answered_keys(offer, index, line, keys)?.unzip();
    transport.sdes = sdes;
    // A peer that answers our fingerprint with its own encrypts, even where we cannot make out how.
    let answers_dtls = dtls.is_some() && line.effective("fingerprint").next().is_some();
    if transport.sdes.is_none() && answers_dtls {
        return Err(OfferError::KeysMissing { index });
    }
    let was_secure = was_secure || held.is_some_and(terms::is_secure);
    if transport.sdes.is_none() && was_secure {
        return Err(OfferError::Downgrade);
    }
    Ok(AcceptedLine {
        transport,
        direction,
        dtls: None,
        key_name,
    })
}

/// The first crypto line of the answer that takes up one of ours by tag and suite. More than one
/// is against RFC 4568 §5.1.3, but seen.
fn answered_keys(
    offer: &Offer,
    index: usize,
    line: &MediaLine,
    ours: &[OfferedKey],
) -> Result<Option<(SdesKeys, KeyName)>, OfferError> {
    let answered = crypto::usable(line);
    let pairs = answered.iter().filter_map(|theirs| {
        let same = |ours: &&OfferedKey| ours.tag == theirs.tag && ours.suite == theirs.suite;
        Some((ours.iter().find(same)?, theirs))
    });
    let keys = pairs.into_iter().next().map(|(ours, theirs)| {
        let keys = SdesKeys {
            suite: theirs.suite,
            local: ours.key.clone(),
            remote: theirs.key.clone(),
        };
        let suite = ours.name.as_deref();
        let suite = suite.unwrap_or(crypto::suite_name(ours.suite));
        let name = KeyName {
            tag: ours.tag.clone(),
            suite: suite.to_owned(),
        };
        (keys, name)
    });
    // A peer that answers our keys with keys encrypts, whatever the profile says.
    let encrypts = !ours.is_empty() && line.attribute("crypto").is_some();
    let demanded = offer.local.srtp == SrtpPolicy::Required || line.demands_srtp() || encrypts;
    if keys.is_none() && demanded {
        return Err(OfferError::KeysMissing { index });
    }
    Ok(keys)
}
