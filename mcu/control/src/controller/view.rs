//! What people and administrators see of a room.

use mcu_api::codec::AudioCodec;
use mcu_api::inventory::LegState;
use mcu_api::manager::{LegView, RoomView};

use super::Controller;
use super::room::{Leg, Room};
use super::roster::site;

impl Controller {
    /// A room with live figures; `None` when no room has this number. A room that nobody is in has
    /// no legs.
    pub(super) fn view(&self, number: &str) -> Option<RoomView> {
        self.config.room(number)?;
        let unix_s = self.unix_s();
        let room = self.rooms.iter().find(|room| room.number == number);
        Some(RoomView {
            number: number.to_owned(),
            encoders: room.map_or(0, |room| room.encoders),
            decoders: room.map_or(0, |room| room.decoders),
            speaker: room.and_then(|room| room.speaker),
            quarantined: self.quarantine.count(unix_s, number),
            legs: room
                .map(|room| {
                    room.legs
                        .iter()
                        .map(|leg| leg_view(room, leg, unix_s))
                        .collect()
                })
                .unwrap_or_default(),
        })
    }
}

fn leg_view(room: &Room, leg: &Leg, unix_s: u64) -> LegView {
    let stats = leg.stats.as_ref();
    LegView {
        site: site(leg),
        waiting: leg.waiting.is_some(),
        showing: room.showing(leg),
        state: stats.map_or(LegState::Connecting, |stats| stats.state),
        joined_s: unix_s.saturating_sub(leg.joined_unix_s),
        audio_codec: audio_codec(leg),
        audio_level_dbov: stats.map_or(-127, |stats| stats.audio_level_dbov),
        received: stats.map(|stats| stats.received).unwrap_or_default(),
        sent: stats.map(|stats| stats.sent).unwrap_or_default(),
        video_received: stats.map(|stats| stats.video_received).unwrap_or_default(),
        video_sent: stats.map(|stats| stats.video_sent).unwrap_or_default(),
        round_trip_ms: stats.and_then(|stats| stats.round_trip_ms),
    }
}

/// The codec sent; where nothing is sent, the one received first; empty without sound.
fn audio_codec(leg: &Leg) -> String {
    let audio = leg
        .media
        .as_ref()
        .and_then(|media| media.plan.audio.as_ref());
    let sent = audio.and_then(|audio| audio.send).map(|send| send.codec);
    let received = audio
        .and_then(|audio| audio.receive.first())
        .map(|payload| payload.codec);
    let name = match sent.or(received) {
        Some(AudioCodec::Pcmu) => "G.711 µ-law",
        Some(AudioCodec::Pcma) => "G.711 A-law",
        Some(AudioCodec::G722) => "G.722",
        Some(AudioCodec::Opus) => "Opus",
        Some(AudioCodec::G729) => "G.729",
        Some(AudioCodec::G7221 { .. }) => "G.722.1",
        Some(AudioCodec::G7221C { .. }) => "G.722.1 Annex C",
        Some(AudioCodec::L16) => "L16",
        None => "",
    };
    name.to_owned()
}
