//! What the controller and the endpoint remember over their death, and when it is written.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sip::{SavedCalls, SavedRegistration};
use tracing::{error, info};

use super::state_file::StateFile;
use super::written::Written;
use crate::controller::state::{State, if_readable};

/// From one writing of the rooms to the next: a call that begins or ends is kept at once, a storm of
/// them does not keep the disk busy.
pub const ROOMS_PAUSE: Duration = Duration::from_millis(20);
/// From one writing to the next where only dialogs went on, as they do with every request.
pub const DIALOGS_PAUSE: Duration = Duration::from_millis(200);
/// From one writing of the registrations to the next. There may be thousands, each of which comes
/// again within the hour.
pub const REGISTRATIONS_PAUSE: Duration = Duration::from_secs(1);
/// From a writing that failed to the next.
const RETRY: Duration = Duration::from_secs(1);
/// After a writing the file rests for so many times as long as that took: thousands of calls or
/// contacts cost a tenth of a core at most.
const REST: u32 = 9;

/// Rooms and calls, as one JSON document.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// When it was written.
    #[serde(flatten)]
    pub written: Written,
    /// Rooms and legs. An earlier version kept them alone.
    #[serde(flatten)]
    pub rooms: State,
    /// The calls of the SIP endpoint.
    #[serde(deserialize_with = "if_readable")]
    pub sip: Option<SavedCalls>,
}

/// Registered contacts, as one JSON document. They have a file of their own, since they are many and
/// change often.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KeptRegistrations {
    /// When it was written.
    #[serde(flatten)]
    pub written: Written,
    /// The contacts.
    pub registrations: Vec<SavedRegistration>,
}

/// A file and when it is written next. A disk that is full or gone ends no call.
#[derive(Debug)]
pub struct Keeper {
    file: StateFile,
    written_at: Option<Instant>,
    /// How long the last writing took.
    took: Duration,
    due: Option<Instant>,
    failing: bool,
}

impl Keeper {
    /// A keeper that has nothing to write.
    pub fn new(file: StateFile) -> Self {
        Self {
            file,
            written_at: None,
            took: Duration::ZERO,
            due: None,
            failing: false,
        }
    }

    /// There is something new, to be written `pause` after the last time.
    pub fn want(&mut self, now: Instant, pause: Duration) {
        if self.failing {
            return;
        }
        let pause = pause.max(self.took * REST);
        let at = self.written_at.map_or(now, |last| now.max(last + pause));
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// When the file is to be written.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Writes the file.
    pub fn write(&mut self, now: Instant, content: &impl Serialize) {
        self.written_at = Some(now);
        let start = Instant::now();
        let saved = self.file.save(content);
        self.took = start.elapsed();
        match saved {
            Ok(()) => {
                self.due = None;
                if std::mem::take(&mut self.failing) {
                    info!(file = %self.file, "state saved again");
                }
            }
            Err(error) => {
                self.due = Some(now + RETRY);
                if !std::mem::replace(&mut self.failing, true) {
                    let file = &self.file;
                    error!(%file, %error, "state not saved: a restart would lose calls and rooms");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeper(dir: &std::path::Path) -> Keeper {
        Keeper::new(StateFile::new(dir, "kept.json"))
    }

    #[test]
    fn the_first_news_is_written_at_once_and_more_after_a_pause() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = keeper(dir.path());
        let now = Instant::now();
        assert_eq!(keeper.due(), None);
        keeper.want(now, DIALOGS_PAUSE);
        assert_eq!(keeper.due(), Some(now));
        keeper.write(now, &1);
        assert_eq!(keeper.due(), None);
        keeper.want(now, DIALOGS_PAUSE);
        assert_eq!(keeper.due(), Some(now + DIALOGS_PAUSE));
        keeper.want(now, ROOMS_PAUSE);
        keeper.want(now, DIALOGS_PAUSE);
        assert_eq!(keeper.due(), Some(now + ROOMS_PAUSE));
        let later = now + Duration::from_secs(9);
        keeper.write(later - DIALOGS_PAUSE, &2);
        keeper.want(later, DIALOGS_PAUSE);
        assert_eq!(keeper.due(), Some(later));
    }

    #[test]
    fn a_failed_writing_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        let mut keeper = keeper(&missing);
        let now = Instant::now();
        for _ in 0..2 {
            keeper.write(now, &1);
            keeper.want(now, ROOMS_PAUSE);
            assert_eq!(keeper.due(), Some(now + RETRY), "news do not hasten it");
        }
        std::fs::create_dir(&missing).unwrap();
        keeper.write(now + RETRY, &1);
        assert_eq!(keeper.due(), None);
        assert_eq!(StateFile::new(&missing, "kept.json").load(), Some(1));
    }

    /// Files of versions that kept no calls, or kept them in another way (MCU-20).
    #[test]
    fn rooms_are_read_where_the_calls_cannot_be() {
        let leg = r#"{"leg":3,"name":"OR","joined_unix_s":1,"audio_muted":false,"video_muted":false,
            "kind":{"kind":"sip","ports":[20000]CALL}}"#;
        let file = r#"{"instance":7,"next_room":2,"next_leg":4,
            "rooms":[{"room":1,"number":"3000","legs":[LEG]}]SIP}"#;
        let old: Kept = serde_json::from_str(
            &file
                .replace("LEG", &leg.replace("CALL", ""))
                .replace("SIP", ""),
        )
        .unwrap();
        assert_eq!(old.rooms.rooms.first().map(|room| room.legs.len()), Some(1));
        assert_eq!(old.sip, None);
        let foreign = leg.replace("CALL", r#","call":{"call":"x"}"#);
        let file = file
            .replace("LEG", &foreign)
            .replace("SIP", r#","sip":{"calls":[1]}"#);
        assert_eq!(serde_json::from_str::<Kept>(&file).unwrap(), old);
    }
}
