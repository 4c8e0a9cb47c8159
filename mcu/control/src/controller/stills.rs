//! Small pictures of meetings for those who look on from outside. Asking for one is what keeps them
//! wanted: they end by themselves when nobody has asked for a while. They are kept nowhere else, and
//! only as long.

use std::time::{Duration, Instant};

use mcu_api::manager::FromControl;
use mcu_api::still::Still;

use super::room::Room;
use super::{Controller, ManagerId};

/// So long after the last question stills are wanted no more: a page asks every few seconds.
const WANTED_FOR: Duration = Duration::from_secs(15);
/// An older still is not shown as if it were now: the next one comes every few seconds while there is
/// anything to be seen.
const MAX_AGE: Duration = Duration::from_secs(10);
/// Meetings that are watched at a time: each camera of theirs that no terminal is shown is decoded for
/// that alone. Full: of others there is no still.
const MAX_WATCHED: usize = 64;

/// That somebody looks on.
#[derive(Debug)]
pub struct Watched {
    until: Instant,
    /// The newest still, and since when.
    still: Option<(Instant, Still)>,
}

impl Controller {
    /// Answers a manager with the newest still of a meeting.
    pub(super) fn tell_still(&mut self, manager: ManagerId, request: u64, number: &str) {
        let (now, watched) = (self.now, self.still_deadlines().count());
        let mut meetings = self.rooms.iter_mut().filter(|room| !room.is_probe());
        let room = meetings.find(|room| room.number == number);
        let room = room.filter(|room| room.watched.is_some() || watched < MAX_WATCHED);
        let meeting = room.as_ref().map(|room| room.id);
        let still = room.and_then(|room| room.watch(now));
        let answer = FromControl::Still {
            request,
            meeting,
            still,
        };
        self.tell_manager(manager, answer);
    }

    /// When stills are wanted no more.
    pub(super) fn still_deadlines(&self) -> impl Iterator<Item = Instant> {
        let watched = self.rooms.iter().filter_map(|room| room.watched.as_ref());
        watched.map(|watched| watched.until)
    }

    /// Ends those that nobody asks for.
    pub(super) fn end_stills(&mut self) {
        for room in &mut self.rooms {
            let over = room.watched.take_if(|watched| watched.until <= self.now);
            room.dirty |= over.is_some();
        }
    }

    /// The media process is away: what it told last is old.
    pub(super) fn forget_stills(&mut self) {
        let rooms = self.rooms.iter_mut();
        for watched in rooms.filter_map(|room| room.watched.as_mut()) {
            watched.still = None;
        }
    }
}

impl Room {
    /// Has stills be made for a while from now; the newest one that there is.
    fn watch(&mut self, now: Instant) -> Option<Still> {
        self.dirty |= self.watched.is_none();
        let (until, still) = (now + WANTED_FOR, None);
        let watched = self.watched.get_or_insert(Watched { until, still });
        watched.until = until;
        let is_old = |(since, _): &mut (Instant, Still)| now.duration_since(*since) > MAX_AGE;
        let _forgotten = watched.still.take_if(is_old);
        watched.still.as_ref().map(|(_, still)| still.clone())
    }

    /// Keeps the newest still, while somebody looks on.
    pub fn note_still(&mut self, now: Instant, still: Option<Still>) {
        if let Some(watched) = &mut self.watched {
            watched.still = still.map(|still| (now, still));
        }
    }
}
