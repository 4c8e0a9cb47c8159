//! What managers are told of meetings: who is in which room and how each fares, without names. It is
//! told whole to who asks, and then each meeting that differs from the one told last.

use std::collections::VecDeque;

use mcu_api::inventory::LegInventory;
use mcu_api::manager::{FromControl, Meeting, MeetingLeg, Quality};

use super::room::{Leg, Room};
use super::{Controller, ManagerId, Output};

/// Inventories, one a second, in a row that say so before a leg counts as faring otherwise.
const STEADY: u8 = 3;

impl Controller {
    /// Tells a manager of all meetings, and from now on of each change.
    pub(super) fn watch_meetings(&mut self, manager: ManagerId) {
        if !self.watchers.contains(&manager) {
            self.watchers.push(manager);
        }
        let rooms = self.rooms.iter().filter(|room| !room.is_probe());
        let meetings = rooms.map(meeting).collect();
        let whole = true;
        self.tell_manager(manager, FromControl::Meetings { whole, meetings });
    }

    /// Nobody is there to be told, nor to relay what browsers say.
    pub(super) fn manager_gone(&mut self, manager: ManagerId) {
        self.watchers.retain(|watcher| *watcher != manager);
        self.browser_gone(|(of, _)| of == manager);
    }
}

/// Tells of a room where it differs from what was told last.
pub fn settle_meeting(room: &mut Room, watchers: &[ManagerId], outputs: &mut VecDeque<Output>) {
    let now = meeting(room);
    if room.meeting.as_ref() == Some(&now) {
        return;
    }
    for watcher in watchers {
        let message = FromControl::Meetings {
            whole: false,
            meetings: vec![now.clone()],
        };
        outputs.push_back(Output::Manager(*watcher, message));
    }
    room.meeting = Some(now);
}

fn meeting(room: &Room) -> Meeting {
    let told = |leg: &Leg| MeetingLeg {
        leg: leg.id,
        kind: leg.site_kind(),
        audio_muted: leg.is_unheard(),
        video_muted: leg.is_unseen(),
        quality: leg.graded.told,
    };
    Meeting {
        number: room.number.clone(),
        legs: room.present().map(told).collect(),
    }
}

/// How a leg fares, steadily: what comes and goes within seconds is told to nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Graded {
    told: Quality,
    next: Quality,
    /// How often in a row the next one was seen.
    seen: u8,
}

impl Graded {
    /// Takes note of an inventory; `true` when managers should know.
    pub fn note(&mut self, stats: &LegInventory) -> bool {
        let now = quality(stats);
        if now == self.told {
            self.seen = 0;
            return false;
        }
        self.seen = match now == self.next {
            true => self.seen.saturating_add(1),
            false => 1,
        };
        self.next = now;
        // That it is there at all is news at once.
        let is_due = self.seen >= STEADY || self.told == Quality::Connecting;
        if is_due {
            self.told = now;
            self.seen = 0;
        }
        is_due
    }
}

/// The worse of both ways.
fn quality(stats: &LegInventory) -> Quality {
    let of = |flow| Quality::of(stats.state, flow, stats.round_trip_ms);
    of(&stats.received).max(of(&stats.sent))
}
