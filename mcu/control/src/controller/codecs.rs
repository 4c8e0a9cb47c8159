//! What a media processor codes: no plan names anything else. One of an older version would read no plan
//! at all, and serve no room.

use mcu_api::codec::{AudioCodec, VideoCodec};
use mcu_api::plan::{RoomPlan, VideoSource};

/// Leaves out of a plan what this processor does not code, by the names of its hello.
pub fn keep_known(plan: &mut RoomPlan, codecs: &[String]) {
    let has = |name: Option<&str>| name.is_none_or(|name| codecs.iter().any(|c| c == name));
    let hears = |codec: AudioCodec| has(audio_name(codec));
    let sees = |codec: VideoCodec| has(video_name(codec));
    for leg in &mut plan.legs {
        if let Some(audio) = &mut leg.audio {
            audio.receive.retain(|payload| hears(payload.codec));
            audio.send = audio.send.filter(|send| hears(send.codec));
        }
        if let Some(video) = &mut leg.video_receive {
            video.payloads.retain(|payload| sees(payload.codec));
        }
        leg.video_receive.take_if(|video| video.payloads.is_empty());
        leg.video_send.retain(|send| sees(send.codec));
        for send in &mut leg.video_send {
            send.source.take_if(|source| match source {
                VideoSource::Composition { class, .. } => !sees(class.codec),
                VideoSource::Forward { .. } => false,
            });
        }
    }
}

/// The name by which a processor says that it has a codec; `None` of those that every one has.
const fn audio_name(codec: AudioCodec) -> Option<&'static str> {
    match codec {
        AudioCodec::Pcmu | AudioCodec::Pcma | AudioCodec::G722 | AudioCodec::Opus => None,
        AudioCodec::G7221 { .. } | AudioCodec::G7221C { .. } => Some("g7221"),
        AudioCodec::L16 => Some("l16"),
        AudioCodec::G729 => Some("g729"),
    }
}

const fn video_name(codec: VideoCodec) -> Option<&'static str> {
    match codec {
        VideoCodec::H264 => None,
        VideoCodec::H263 => Some("h263"),
        VideoCodec::H263Plus => Some("h263_plus"),
        VideoCodec::H261 => Some("h261"),
        VideoCodec::Vp8 => Some("vp8"),
    }
}
