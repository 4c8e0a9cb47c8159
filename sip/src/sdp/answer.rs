//! Our answer to a terminal's offer.

use mcu_api::codec::VideoCodec;
use mcu_api::plan::{
    AudioPayload, AudioSend, AudioStream, Care, HeaderExtensions, PictureLimits, UdpTransport,
    VideoPayload, VideoReceive, VideoSend,
};
use rand::CryptoRng;

use super::lines::{self, Description, MediaLine};
use super::terms::{self, LocalPorts, Security};
use super::write::Writer;
use super::{
    Agreed, AgreedAudio, AgreedVideo, DSCP_AUDIO, DSCP_VIDEO, Direction, KeptLine, LineRole,
    LocalAudio, LocalMedia, LocalVideo, OfferError, audio, video,
};

/// Answers an offer. `rng` draws keys and SSRCs.
///
/// # Errors
/// When the offer cannot be read, or neither its sound nor its video can be used.
pub fn answer(
    offer: &str,
    local: &LocalMedia,
    rng: &mut impl CryptoRng,
) -> Result<Agreed, OfferError> {
    answer_with(offer, local, None, rng)
}

/// Answers a further offer of the same call: hold, resume, refresh, changed addresses. Our SSRCs
/// and keys are those of `previous`, except where the peer has another key now.
///
/// # Errors
/// As of [`answer`]; the call then goes on as it was (RFC 3261 §14.1).
pub fn answer_again(
    offer: &str,
    local: &LocalMedia,
    previous: &Agreed,
    rng: &mut impl CryptoRng,
) -> Result<Agreed, OfferError> {
    answer_with(offer, local, Some(previous), rng)
}

fn answer_with(
    offer: &str,
    local: &LocalMedia,
    previous: Option<&Agreed>,
    rng: &mut impl CryptoRng,
) -> Result<Agreed, OfferError> {
    let offer = lines::read(offer)?;
    let mut sound = pick_audio(&offer, local);
    let audio_bps = sound.as_ref().map_or(0, |picked| picked.choice.bitrate_bps);
    let mut pictures = pick_video(&offer, local, audio_bps);
    if sound.is_none() && pictures.is_none() {
        return Err(OfferError::NothingInCommon);
    }
    let secured = previous.map(Agreed::secured).unwrap_or_default();
    refuse_downgrade(secured.audio, sound.as_ref().map(|picked| &picked.security))?;
    refuse_downgrade(
        secured.video,
        pictures.as_ref().map(|picked| &picked.security),
    )?;
    let mut writer = Writer::new(local);
    let mut agreed = Agreed {
        sdp: String::new(),
        audio: None,
        video: None,
        lines: Vec::new(),
        secured,
    };
    let video_transport = usize::from(sound.is_some());
    for (index, line) in offer.lines.iter().enumerate() {
        let mut kept = kept(line, LineRole::Refused);
        if let Some(picked) = sound.take_if(|picked| picked.index == index) {
            kept.role = LineRole::Audio;
            let before = previous.and_then(|agreed| agreed.audio.as_ref());
            let audio = answer_audio(line, picked, (local, before), rng, &mut writer);
            agreed.audio = Some(audio);
        } else if let Some(picked) = pictures.take_if(|picked| picked.index == index) {
            kept.role = LineRole::Video;
            let before = previous.and_then(|agreed| agreed.video.as_ref());
            let before = (local, before);
            let video = answer_video(line, picked, before, video_transport, rng, &mut writer);
            agreed.video = Some(video);
        } else {
            writer.refused(&kept);
        }
        agreed.lines.push(kept);
    }
    agreed.sdp = writer.finish();
    agreed.secured = agreed.secured();
    Ok(agreed)
}

/// A line that we accept, and how.
struct Picked<'a, C, L> {
    index: usize,
    security: Security,
    choice: C,
    local: &'a L,
    ports: LocalPorts,
}

fn pick_audio<'a>(
    offer: &Description,
    local: &'a LocalMedia,
) -> Option<Picked<'a, audio::Choice, LocalAudio>> {
    let ours = local.audio.as_ref()?;
    let (index, security, choice) = pick(offer, "audio", local, |line| audio::choose(line, ours))?;
    let (rtp, rtcp) = (ours.rtp_port, ours.rtcp_port);
    let ports = LocalPorts {
        ip: local.bound(),
        rtp,
        rtcp,
        dscp: DSCP_AUDIO,
    };
    Some(Picked {
        index,
        security,
        choice,
        local: ours,
        ports,
    })
}

fn pick_video<'a>(
    offer: &Description,
    local: &'a LocalMedia,
    audio_bps: u32,
) -> Option<Picked<'a, video::Choice, LocalVideo>> {
    let ours = local.video.as_ref()?;
    let session_bps = video_share(offer.bandwidth_bps, audio_bps);
    let (index, security, choice) = pick(offer, "video", local, |line| {
        if line.is_secondary_video() {
            None
        } else {
            video::choose(line, ours, session_bps)
        }
    })?;
    let (rtp, rtcp) = (ours.rtp_port, ours.rtcp_port);
    let ports = LocalPorts {
        ip: local.bound(),
        rtp,
        rtcp,
        dscp: DSCP_VIDEO,
    };
    Some(Picked {
        index,
        security,
        choice,
        local: ours,
        ports,
    })
}

/// The first usable line of a kind; an encrypted one before a clear one, since some offers double
/// each line as SAVP and AVP.
fn pick<C>(
    offer: &Description,
    media: &str,
    local: &LocalMedia,
    choose: impl Fn(&MediaLine) -> Option<C>,
) -> Option<(usize, Security, C)> {
    let usable = offer.lines.iter().enumerate().filter_map(|(index, line)| {
        let wanted = line.media == media && line.port != 0;
        let security = wanted.then(|| Security::of_offer(line, local)).flatten()?;
        Some((index, security, choose(line)?))
    });
    usable.min_by_key(|(_, security, _)| *security == Security::Clear)
}

/// What the session's `b=` leaves for video: the sound's rate and about 16 kbit/s of its packets'
/// headers (40 bytes, 50 times a second) are taken off.
pub(super) fn video_share(session_bps: Option<u64>, audio_bps: u32) -> Option<u64> {
    let headers = if audio_bps == 0 { 0 } else { 16_000 };
    session_bps.map(|bps| bps.saturating_sub(u64::from(audio_bps) + headers))
}

pub(super) fn kept(line: &MediaLine, role: LineRole) -> KeptLine {
    KeptLine {
        media: line.media.clone(),
        proto: line.proto.clone(),
        format: line.first_format.clone(),
        role,
    }
}

fn answer_audio(
    line: &MediaLine,
    picked: Picked<'_, audio::Choice, LocalAudio>,
    (local, previous): (&LocalMedia, Option<&AgreedAudio>),
    rng: &mut impl CryptoRng,
    writer: &mut Writer,
) -> AgreedAudio {
    let choice = picked.choice;
    let before = previous.map(|audio| (&audio.transport, audio.dtls.as_ref()));
    let previous = previous.map(|audio| (&audio.transport, audio.ssrc));
    let ours = (local, before);
    let answered = terms::answered(line, picked.ports, &picked.security, ours, rng);
    let direction = answered.direction;
    let event = choice.telephone_event;
    let red = |first: bool| choice.red.filter(|_| choice.red_first == first);
    let numbers: Vec<u8> = [
        red(true),
        Some(choice.payload_type),
        red(false),
        event.map(|event| event.payload_type),
    ]
    .into_iter()
    .flatten()
    .collect();
    writer.media("audio", picked.local.rtp_port, &line.proto, &numbers);
    writer.audio_format(choice.payload_type, choice.codec, choice.annex_b);
    if let Some(red) = choice.red {
        writer.red(red, choice.payload_type, choice.codec);
    }
    if let Some(event) = event {
        writer.telephone_event(event.payload_type, event.clock_hz);
    }
    writer.attribute("ptime", choice.ptime_ms);
    answered.write(writer, &picked.security);
    writer.direction(direction);
    let ssrc = terms::ssrc(previous, &answered.transport, rng);
    let received = AudioPayload {
        payload_type: choice.payload_type,
        codec: choice.codec,
    };
    AgreedAudio {
        stream: audio_stream(
            &choice,
            direction,
            vec![received],
            event.map(|event| event.payload_type),
            ssrc,
        ),
        transport: answered.transport,
        direction,
        ssrc,
        payloads: vec![received],
        telephone_event: event,
        dtls: answered.dtls,
        key_name: answered.key_name,
    }
}

/// RFC 3264 §8 lets an offer change anything; what was encrypted stays so (compare RFC 5630 §3), even
/// when its line was refused in between.
fn refuse_downgrade(was_secure: bool, security: Option<&Security>) -> Result<(), OfferError> {
    if was_secure && security == Some(&Security::Clear) {
        return Err(OfferError::Downgrade);
    }
    Ok(())
}

pub(super) fn audio_stream(
    choice: &audio::Choice,
    direction: Direction,
    receive: Vec<AudioPayload>,
    telephone_event: Option<u8>,
    ssrc: u32,
) -> AudioStream {
    AudioStream {
        transport: 0,
        mid: None,
        receive: if direction.receives() {
            receive
        } else {
            Vec::new()
        },
        send: direction.sends().then_some(AudioSend {
            payload_type: choice.payload_type,
            codec: choice.codec,
            ptime_ms: choice.ptime_ms,
            bitrate_bps: choice.bitrate_bps,
            ssrc,
            red: choice.red,
        }),
        telephone_event: telephone_event.filter(|_| direction.receives()),
        red: choice.red.filter(|_| direction.receives()),
        extensions: HeaderExtensions::default(),
        muted: false,
        faithful: false,
        care: Care::default(),
    }
}

fn answer_video(
    line: &MediaLine,
    picked: Picked<'_, video::Choice, LocalVideo>,
    (local, previous): (&LocalMedia, Option<&AgreedVideo>),
    transport_index: usize,
    rng: &mut impl CryptoRng,
    writer: &mut Writer,
) -> AgreedVideo {
    let choice = picked.choice;
    let before = previous.map(|video| (&video.transport, video.dtls.as_ref()));
    let previous = previous.map(|video| (&video.transport, video.ssrc));
    let ours = (local, before);
    let answered = terms::answered(line, picked.ports, &picked.security, ours, rng);
    // Nothing can be sent within the peer's limits: say so.
    let sends = Direction::new(choice.class.is_some(), true);
    let direction = answered.direction.and(sends);
    let numbers: Vec<u8> = std::iter::once(choice.payload_type)
        .chain(choice.rtx)
        .collect();
    writer.media("video", picked.local.rtp_port, &line.proto, &numbers);
    writer.bandwidth(picked.local.max_bitrate_bps);
    let (encoding, parameters) = choice.format.described(picked.local);
    writer.video_format(choice.payload_type, encoding, &parameters);
    if let Some(rtx) = choice.rtx {
        writer.rtx(rtx, choice.payload_type);
    }
    writer.feedback(choice.feedback);
    if line.attribute("content").is_some() {
        writer.attribute("content", "main");
    }
    answered.write(writer, &picked.security);
    writer.direction(direction);
    let ssrc = terms::ssrc(previous, &answered.transport, rng);
    let received = vec![VideoPayload {
        rtx: choice.rtx,
        ..video_payload(choice.payload_type, choice.format.codec())
    }];
    let mut agreed = agreed_video(
        choice,
        direction,
        received,
        answered.transport,
        transport_index,
        ssrc,
    );
    agreed.dtls = answered.dtls;
    agreed.key_name = answered.key_name;
    agreed
}

/// SSRC of our retransmissions: as random as that of what they repeat.
pub(super) const fn rtx_ssrc(ssrc: u32) -> u32 {
    ssrc.wrapping_add(1)
}

pub(super) const fn video_payload(payload_type: u8, codec: VideoCodec) -> VideoPayload {
    VideoPayload {
        payload_type,
        codec,
        rtx: None,
    }
}

pub(super) fn agreed_video(
    choice: video::Choice,
    direction: Direction,
    payloads: Vec<VideoPayload>,
    transport: UdpTransport,
    transport_index: usize,
    ssrc: u32,
) -> AgreedVideo {
    let extensions = HeaderExtensions::default();
    let class = choice.class.filter(|_| direction.sends());
    let receive = direction.receives().then(|| VideoReceive {
        transport: transport_index,
        mid: None,
        payloads,
        rids: Vec::new(),
        feedback: choice.feedback,
        extensions,
        feedback_ssrc: ssrc,
        muted: false,
    });
    let send = class.is_some().then_some(VideoSend {
        transport: transport_index,
        mid: None,
        codec: choice.format.codec(),
        payload_type: choice.payload_type,
        rtx: choice.rtx,
        ssrc,
        rtx_ssrc: choice.rtx.map(|_| rtx_ssrc(ssrc)),
        packetization: choice.format.packetization(),
        feedback: choice.feedback,
        extensions,
        source: None,
        max_bitrate_bps: choice.max_bitrate_bps,
        limits: PictureLimits::default(),
    });
    let formats = vec![(choice.payload_type, choice.format)];
    let rtx = choice.rtx.map(|rtx| (rtx, choice.payload_type));
    AgreedVideo {
        transport,
        receive,
        send,
        class,
        smaller: choice.smaller,
        direction,
        ssrc,
        formats,
        rtx: rtx.into_iter().collect(),
        dtls: None,
        key_name: None,
    }
}
