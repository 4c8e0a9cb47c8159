//! Legs whose bytes ended the media process: they are put out, and who sent them is refused for a
//! while.

use std::collections::VecDeque;

use mcu_api::call::{CallCommand, RejectReason};
use mcu_api::ids::{CallId, InstanceId};
use mcu_api::manager::{Refusal, ServerMessage};
use mcu_api::media::Death;
use mcu_api::secret::Redacted;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::Controller;
use super::pin::Source;
use super::room::{BrowserLeg, Leg, LegKind};

/// How long a source is refused, in seconds.
const TERM_S: u64 = 600;

/// Convictions that are remembered. When there are more, the oldest ends early.
const MAX_ENTRIES: usize = 1_000;

/// Names under which one address may be convicted within [`TERM_S`] before all of it is refused: many
/// sites may share an address, but whoever changes names is not to end the process at will.
const MAX_NAMES_OF_ADDRESS: usize = 3;
/// Of a trunk, behind which many people call.
const MAX_NAMES_OF_TRUNK: usize = 8;

/// Deaths within [`TERM_S`] that are laid at a source's door only by the port that the bytes came to:
/// after so many the next convicts. A stranger has to find another port for each, since the leg is
/// put out every time; and whoever sends from elsewhere than he says does not do so for ever.
const SUSPICIONS: usize = 2;

/// Who is refused now.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quarantine {
    /// The one that ends first comes first.
    entries: VecDeque<Entry>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    source: Source,
    /// The name that it gives itself; none where all of the source is refused.
    name: Option<Redacted<String>>,
    /// Number of the room that it was in.
    room: String,
    until_unix_s: u64,
    /// A suspicion, by which nobody is refused.
    #[serde(default)]
    suspected: bool,
}

impl Quarantine {
    /// What an earlier life kept. The calendar may have been set back meanwhile.
    pub fn taken_up(mut self, unix_s: u64) -> Self {
        for entry in &mut self.entries {
            entry.until_unix_s = entry.until_unix_s.min(unix_s + TERM_S);
        }
        self.end(unix_s);
        self
    }

    /// Moves the ends with a calendar that was set forward by so many seconds, or back.
    pub fn shift_calendar(&mut self, step_s: i64) {
        for entry in &mut self.entries {
            entry.until_unix_s = entry.until_unix_s.saturating_add_signed(step_s);
        }
    }

    /// Notes a death that a stranger may have caused, or convicts when it is one too many.
    fn suspect(
        &mut self,
        unix_s: u64,
        source: Source,
        name: &Redacted<String>,
        room: &str,
    ) -> bool {
        self.end(unix_s);
        // Over all names: who changes his with each call is one source all the same.
        let known = |entry: &&Entry| entry.suspected && entry.source == source;
        if self.entries.iter().filter(known).count() >= SUSPICIONS {
            self.convict(unix_s, source, name, room);
            return true;
        }
        self.push(Entry {
            source,
            name: Some(name.clone()),
            room: room.to_owned(),
            until_unix_s: unix_s + TERM_S,
            suspected: true,
        });
        false
    }

    /// Refuses a source from now on: an account, which is proven, whatever its name; anybody else
    /// under the name that it gives itself, until there are too many of those.
    fn convict(&mut self, unix_s: u64, source: Source, name: &Redacted<String>, room: &str) {
        self.end(unix_s);
        // Who is convicted once more under the same name is no other.
        let again = |entry: &Entry| {
            !entry.suspected && entry.source == source && entry.name.as_ref() == Some(name)
        };
        self.entries.retain(|entry| !again(entry));
        let of_source = |entry: &&Entry| !entry.suspected && entry.source == source;
        let names = self.entries.iter().filter(of_source);
        let most = match source {
            Source::Account(_) => 0,
            Source::Address(_) => MAX_NAMES_OF_ADDRESS - 1,
            Source::Trunk(_) => MAX_NAMES_OF_TRUNK - 1,
        };
        let name = (names.count() < most).then(|| name.clone());
        self.push(Entry {
            source,
            name,
            room: room.to_owned(),
            until_unix_s: unix_s + TERM_S,
            suspected: false,
        });
    }

    fn push(&mut self, entry: Entry) {
        if self.entries.len() >= MAX_ENTRIES {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    fn end(&mut self, unix_s: u64) {
        self.entries.retain(|entry| entry.until_unix_s > unix_s);
    }

    /// Whether this source is refused under this name.
    pub fn refuses(&self, unix_s: u64, source: &Source, name: &Redacted<String>) -> bool {
        self.entries.iter().any(|entry| {
            entry.until_unix_s > unix_s
                && !entry.suspected
                && entry.source == *source
                && entry.name.as_ref().is_none_or(|refused| refused == name)
        })
    }

    /// Convictions that are in force.
    pub fn total(&self, unix_s: u64) -> usize {
        let convicted = |entry: &&Entry| entry.until_unix_s > unix_s && !entry.suspected;
        self.entries.iter().filter(convicted).count()
    }

    /// Convictions in a room that are in force.
    pub fn count(&self, unix_s: u64, room: &str) -> usize {
        let here =
            |entry: &&Entry| entry.until_unix_s > unix_s && !entry.suspected && entry.room == room;
        self.entries.iter().filter(here).count()
    }
}

impl Controller {
    /// Puts the legs out of which the life `dead` of the media process died. Ids are not used again,
    /// but after the loss of what this controller keeps: so the word of another life counts nothing.
    pub(super) fn convict(&mut self, dead: Option<InstanceId>, deaths: &[Death]) {
        for death in deaths.iter().filter(|death| Some(death.instance) == dead) {
            let number = self.rooms.iter().find(|room| room.id == death.room);
            let Some(number) = number.map(|room| room.number.clone()) else {
                continue;
            };
            let Some(mut leg) = self.remove_leg(death.room, death.leg, "put out") else {
                continue;
            };
            let unix_s = self.unix_s();
            let refused = leg.source.take().is_some_and(|source| {
                if death.stranger {
                    return self.quarantine.suspect(unix_s, source, &leg.name, &number);
                }
                self.quarantine.convict(unix_s, source, &leg.name, &number);
                true
            });
            match refused {
                true => warn!(
                    room = %death.room, leg = %death.leg, seconds = TERM_S,
                    "the media process died of what this leg sent: it is hung up and its source refused"
                ),
                false => warn!(
                    room = %death.room, leg = %death.leg,
                    "the media process died of what somebody sent to this leg: it is hung up"
                ),
            }
            self.turn_out(leg, Refusal::Quarantined, |call| CallCommand::Expel {
                call,
            });
        }
    }

    /// Whether a caller of this name is refused.
    pub(super) fn check_quarantine(
        &self,
        source: &Source,
        name: &Redacted<String>,
    ) -> Result<(), RejectReason> {
        match self.quarantine.refuses(self.unix_s(), source, name) {
            true => Err(RejectReason::Quarantined),
            false => Ok(()),
        }
    }

    /// Tells a leg that was removed that it is.
    pub(super) fn turn_out(
        &mut self,
        leg: Leg,
        code: Refusal,
        hang_up: impl Fn(CallId) -> CallCommand,
    ) {
        match leg.kind {
            LegKind::Sip(sip) => {
                if let Some(dialog) = sip.dialog {
                    self.tell_call(hang_up(dialog.call));
                }
            }
            LegKind::Browser(BrowserLeg { conn, .. }) => {
                if let Some(conn) = conn {
                    self.tell(conn, ServerMessage::Refused { code });
                    self.close(conn);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn at(n: u32) -> Source {
        Source::new(None, Ipv4Addr::from(0x0a00_0000 + n).into())
    }

    fn name(text: &str) -> Redacted<String> {
        Redacted(text.to_owned())
    }

    #[test]
    fn an_unproven_source_is_refused_under_its_name_and_an_account_under_any() {
        let mut quarantine = Quarantine::default();
        let account = Source::Account("or-1".into());
        quarantine.convict(NOW, at(1), &name("A"), "3000");
        quarantine.convict(NOW, account.clone(), &name("A"), "3000");
        let refuses = |source: &Source, text| quarantine.refuses(NOW, source, &name(text));
        assert!(refuses(&at(1), "A"));
        assert!(
            !refuses(&at(1), "B"),
            "another site behind the same address"
        );
        assert!(!refuses(&at(2), "A"));
        assert!(refuses(&account, "B"));
        assert!(!refuses(&Source::Account("or-2".into()), "A"));
        assert_eq!(quarantine.count(NOW, "3000"), 2);
        assert_eq!(quarantine.count(NOW, "4000"), 0);
    }

    #[test]
    fn who_changes_names_is_refused_whole() {
        let trunk = Source::Trunk("city".into());
        for (source, most) in [(at(1), MAX_NAMES_OF_ADDRESS), (trunk, MAX_NAMES_OF_TRUNK)] {
            let mut quarantine = Quarantine::default();
            for n in 0..most {
                assert!(!quarantine.refuses(NOW, &source, &name("innocent")), "{n}");
                quarantine.convict(NOW, source.clone(), &name(&format!("{n}")), "3000");
            }
            assert!(quarantine.refuses(NOW, &source, &name("innocent")));
        }
    }

    /// Defect: three guests of one name were taken for three names, and their whole hospital refused.
    #[test]
    fn who_keeps_its_name_is_no_other() {
        let mut quarantine = Quarantine::default();
        for n in 0..=MAX_NAMES_OF_ADDRESS as u64 {
            quarantine.convict(NOW + n, at(1), &name("Guest"), "3000");
        }
        let end = NOW + MAX_NAMES_OF_ADDRESS as u64 + TERM_S;
        assert_eq!(quarantine.count(NOW + 9, "3000"), 1);
        assert!(!quarantine.refuses(NOW + 9, &at(1), &name("innocent")));
        assert!(quarantine.refuses(end - 1, &at(1), &name("Guest")));
        assert!(!quarantine.refuses(end, &at(1), &name("Guest")));
    }

    #[test]
    fn a_term_ends_whatever_the_calendar_does() {
        let mut quarantine = Quarantine::default();
        quarantine.convict(NOW, at(1), &name("A"), "3000");
        let refuses = |quarantine: &Quarantine, at_s| quarantine.refuses(at_s, &at(1), &name("A"));
        assert!(refuses(&quarantine, NOW + TERM_S - 1));
        assert!(!refuses(&quarantine, NOW + TERM_S));
        let mut moved = quarantine.clone();
        moved.shift_calendar(3_600);
        assert!(refuses(&moved, NOW + 3_600) && !refuses(&moved, NOW + 3_600 + TERM_S));
        let back = NOW - 86_400;
        let kept = quarantine.clone().taken_up(back);
        assert!(refuses(&kept, back) && !refuses(&kept, back + TERM_S));
        assert_eq!(quarantine.taken_up(NOW + TERM_S), Quarantine::default());
    }

    /// Defect: bytes of a stranger who had found a leg's port had its account refused.
    #[test]
    fn what_a_stranger_may_have_sent_convicts_at_the_third_time_alone() {
        let mut quarantine = Quarantine::default();
        let account = Source::Account("or-1".into());
        let other = Source::Account("or-2".into());
        for n in 0..SUSPICIONS as u64 {
            assert!(!quarantine.suspect(NOW + n, account.clone(), &name("A"), "3000"));
            assert!(!quarantine.suspect(NOW + n, other.clone(), &name("A"), "3000"));
            assert!(!quarantine.refuses(NOW + n, &account, &name("A")));
        }
        assert_eq!(quarantine.count(NOW, "3000"), 0);
        let mut later = quarantine.clone();
        assert!(!later.suspect(NOW + TERM_S, account.clone(), &name("A"), "3000"));
        assert!(quarantine.suspect(NOW + 9, account.clone(), &name("A"), "3000"));
        assert!(quarantine.refuses(NOW + 9, &account, &name("B")));
        assert!(!quarantine.refuses(NOW + 9, &other, &name("A")));
        assert_eq!(quarantine.count(NOW + 9, "3000"), 1);
    }

    /// Defect: each name was suspected by itself, so that who changed his with each call was never refused.
    #[test]
    fn who_is_suspected_under_changing_names_is_refused_whole() {
        let trunk = Source::Trunk("city".into());
        let account = Source::Account("or-1".into());
        let sources = [
            (account, 1),
            (at(1), MAX_NAMES_OF_ADDRESS),
            (trunk, MAX_NAMES_OF_TRUNK),
        ];
        for (source, convictions) in sources {
            let mut quarantine = Quarantine::default();
            let most = (SUSPICIONS + convictions) as u64;
            for n in 0..most {
                assert!(
                    !quarantine.refuses(NOW + n, &source, &name("innocent")),
                    "{n}"
                );
                let own = name(&format!("{n}"));
                let refused = quarantine.suspect(NOW + n, source.clone(), &own, "3000");
                assert_eq!(refused, n >= SUSPICIONS as u64, "{source:?}, {n}");
                assert_eq!(quarantine.refuses(NOW + n, &source, &own), refused);
            }
            assert!(quarantine.refuses(NOW + most, &source, &name("innocent")));
        }
    }

    #[test]
    fn a_thousand_are_remembered() {
        let mut quarantine = Quarantine::default();
        for n in 0..=MAX_ENTRIES as u32 {
            quarantine.convict(NOW, at(n), &name("A"), "3000");
        }
        assert_eq!(quarantine.entries.len(), MAX_ENTRIES);
        assert!(!quarantine.refuses(NOW, &at(0), &name("A")));
        assert!(quarantine.refuses(NOW, &at(1), &name("A")));
        let kept = serde_json::to_string(&quarantine).unwrap();
        assert_eq!(
            serde_json::from_str::<Quarantine>(&kept).unwrap(),
            quarantine
        );
    }
}
