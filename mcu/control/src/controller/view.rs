//! What people and administrators see of a room.

use std::collections::VecDeque;

use mcu_api::codec::AudioCodec;
use mcu_api::inventory::LegState;
use mcu_api::manager::{FromControl, LegView, RoomView, ServerMessage, Site, Slot};

use super::room::{Leg, Room};
use super::{Controller, Output};

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

/// Tells each browser of the room the roster, where it differs from the one told last.
pub fn settle_rosters(room: &mut Room, outputs: &mut VecDeque<Output>) {
    let sites: Vec<Site> = room.present().map(site).collect();
    let rosters: Vec<ServerMessage> = room
        .legs
        .iter()
        .map(|leg| ServerMessage::Roster {
            sites: sites.clone(),
            slots: slots(room, leg),
            speaker: room.speaker,
            max_height: room.shape.max_height,
        })
        .collect();
    for (leg, message) in room.legs.iter_mut().zip(rosters) {
        if !leg.is_in() {
            continue;
        }
        let Some(browser) = leg.browser_mut() else {
            continue;
        };
        let Some((manager, conn)) = browser.conn else {
            continue;
        };
        if browser.told.as_ref() != Some(&message) {
            browser.told = Some(message.clone());
            outputs.push_back(Output::Manager(
                manager,
                FromControl::Server { conn, message },
            ));
        }
    }
}

fn site(leg: &Leg) -> Site {
    Site {
        leg: leg.id,
        name: leg.name.clone(),
        kind: leg.site_kind(),
        audio_muted: leg.is_unheard(),
        video_muted: leg.is_unseen(),
        audio_silenced: leg.silenced.audio,
        video_silenced: leg.silenced.video,
        original_sound: leg.browser().is_some_and(|page| page.original_sound),
        sound_lag_ms: leg.sound_lag_ms,
    }
}

/// The slots of a browser that show somebody whose picture we receive.
fn slots(room: &Room, leg: &Leg) -> Vec<Slot> {
    let Some(browser) = leg.browser() else {
        return Vec::new();
    };
    leg.slot_mids()
        .enumerate()
        .filter_map(|(index, mid)| {
            let shown = browser.shown_in(index)?;
            room.leg(shown)?.has_video().then_some(())?;
            Some(Slot {
                mid: mid?.to_owned(),
                leg: shown,
            })
        })
        .collect()
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
