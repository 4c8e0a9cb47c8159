//! What time it is by the calendar. Nothing is decided by it: it is shown to people, told to relays, and
//! kept in the file of the next life.

use std::time::{Duration, Instant, SystemTime};

use tracing::warn;

use super::Controller;

/// A calendar that is further off than this was set; less is its rounding.
const SET: Duration = Duration::from_secs(1);

impl Controller {
    /// Takes note of what the calendar says now. When it was set, moments of the past move with it, so
    /// that whoever has been here for a minute has been so still.
    pub fn set_calendar(&mut self, now: Instant, wall: SystemTime) {
        let expected = self.wall_at(now);
        let off = wall.duration_since(expected);
        if off.as_ref().map_or_else(|e| e.duration(), |off| *off) < SET {
            return;
        }
        let step_s = match off {
            Ok(forward) => forward.as_secs() as i64,
            Err(back) => -(back.duration().as_secs() as i64),
        };
        warn!(step_s, "the calendar was set");
        self.calendar = (now, wall);
        for room in &mut self.rooms {
            room.dirty = true;
            for leg in &mut room.legs {
                leg.joined_unix_s = leg.joined_unix_s.saturating_add_signed(step_s);
            }
        }
        self.quarantine.shift_calendar(step_s);
        if let Some(earlier) = &mut self.earlier {
            earlier.shift_calendar(step_s);
        }
        self.now = now;
        self.settle();
    }

    /// Seconds since 1970.
    pub(super) fn unix_s(&self) -> u64 {
        self.unix_s_of(self.now)
    }

    pub(super) fn unix_s_of(&self, at: Instant) -> u64 {
        unix_s(self.wall_at(at))
    }

    fn wall_at(&self, at: Instant) -> SystemTime {
        let (then, wall) = self.calendar;
        wall + at.saturating_duration_since(then)
    }
}

/// Seconds since 1970.
pub(super) fn unix_s(wall: SystemTime) -> u64 {
    wall.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |age| age.as_secs())
}
