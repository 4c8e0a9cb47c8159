//! PINs of rooms: what is compared, how often may be tried, and who waits before the door.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use mcu_api::plan::{Notice, NoticeText};
use mcu_api::secret::Redacted;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::config::RoomConfig;

/// Longest PIN, in digits.
pub const MAX_DIGITS: usize = 16;

/// Wrong PINs in one call; then it ends.
const MAX_WRONG: u8 = 3;

/// How long a caller may be idle before it has entered its PIN.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How long a caller may wait in all.
pub const MAX_WAIT: Duration = Duration::from_secs(120);

/// How long a caller is shown that it was wrong too often, before we hang up.
const FAREWELL: Duration = Duration::from_secs(3);

/// Wrong PINs of one source within [`FORGIVEN_AFTER`], over all its calls; then its calls to rooms
/// with a PIN are refused until the first of them is forgiven.
const MAX_WRONG_OF_SOURCE: u32 = 10;
/// Of a trunk, behind which many people call.
const MAX_WRONG_OF_TRUNK: u32 = 100;
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

/// Wrong PINs of guests in one room, wherever they come from, of which one is forgiven after each
/// [`FORGIVEN_EACH`]. Then its guests are refused until so many are forgiven.
const MAX_WRONG_OF_ROOM: u32 = 50;
const FORGIVEN_EACH: Duration = Duration::from_secs(72);
const FORGIVEN_ANEW: u32 = 10;

/// Callers of one source that may wait before a room's door at a time.
const MAX_WAITING_OF_SOURCE: usize = 8;
/// Of a trunk, behind which many people call.
const MAX_WAITING_OF_TRUNK: usize = 16;

/// Sources that are remembered. When there are more, the one that is forgiven first is forgotten.
const MAX_SOURCES: usize = 4_096;

/// Who tries: an account, or an address of somebody who proved none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Who proved who it is: the user of an account, or the id of a person.
    Account(String),
    /// All callers of a trunk.
    Trunk(String),
    /// An IPv4 address, or the /64 network of an IPv6 address: one site owns it whole (RFC 6177).
    Address(IpAddr),
}

impl Source {
    /// Whoever calls from here.
    pub fn new(account: Option<&str>, address: IpAddr) -> Self {
        match (account, address.to_canonical()) {
            (Some(account), _) => Self::Account(account.to_owned()),
            (None, IpAddr::V6(v6)) => {
                let network = u128::from(v6) & !u128::from(u64::MAX);
                Self::Address(Ipv6Addr::from(network).into())
            }
            (None, v4) => Self::Address(v4),
        }
    }

    /// How many of its callers may wait before one door.
    pub fn most_waiting(&self) -> usize {
        match self {
            Self::Trunk(_) => MAX_WAITING_OF_TRUNK,
            Self::Account(_) | Self::Address(_) => MAX_WAITING_OF_SOURCE,
        }
    }
}

/// Counts wrong PINs by source, so that nobody finds one by trying. In memory alone: a new life of the
/// controller begins at zero.
#[derive(Debug, Default)]
pub struct Guard {
    wrong: HashMap<Source, Tries>,
    /// At most as many as rooms have been there lately.
    of_guests: HashMap<String, GuestTries>,
}

/// Wrong PINs of a room's guests: as many as are not forgiven yet.
#[derive(Debug)]
struct GuestTries {
    forgiven_at: Instant,
    refused_until: Instant,
}

#[derive(Debug)]
struct Tries {
    count: u32,
    forgiven_at: Instant,
}

impl Guard {
    /// Whether this source has tried too often.
    pub fn is_blocked(&self, now: Instant, source: &Source) -> bool {
        let most = match source {
            Source::Trunk(_) => MAX_WRONG_OF_TRUNK,
            Source::Account(_) | Source::Address(_) => MAX_WRONG_OF_SOURCE,
        };
        self.wrong
            .get(source)
            .is_some_and(|tries| now < tries.forgiven_at && tries.count >= most)
    }

    /// A wrong PIN of this source.
    pub fn note_wrong(&mut self, now: Instant, source: &Source) {
        self.wrong.retain(|_, tries| now < tries.forgiven_at);
        if self.wrong.len() >= MAX_SOURCES && !self.wrong.contains_key(source) {
            let first = self.wrong.iter().min_by_key(|(_, tries)| tries.forgiven_at);
            if let Some(first) = first.map(|(source, _)| source.clone()) {
                self.wrong.remove(&first);
            }
        }
        let tries = self.wrong.entry(source.clone()).or_insert(Tries {
            count: 0,
            forgiven_at: now + FORGIVEN_AFTER,
        });
        tries.count += 1;
    }
}

impl Guard {
    /// Whether guests of this room have tried too often, whoever asks now.
    pub fn refuses_guests(&self, now: Instant, number: &str) -> bool {
        let known = self.of_guests.get(number);
        known.is_some_and(|known| now < known.refused_until)
    }

    /// A wrong PIN of a guest of this room. For how long its guests are refused, where this was one too
    /// many.
    pub fn note_wrong_guest(&mut self, now: Instant, number: &str) -> Option<Duration> {
        self.of_guests.retain(|_, known| now < known.forgiven_at);
        let known = self.of_guests.entry(number.to_owned());
        let known = known.or_insert(GuestTries {
            forgiven_at: now,
            refused_until: now,
        });
        if now < known.refused_until {
            return None;
        }
        known.forgiven_at += FORGIVEN_EACH;
        if known.forgiven_at < now + FORGIVEN_EACH * MAX_WRONG_OF_ROOM {
            return None;
        }
        let wait = FORGIVEN_EACH * FORGIVEN_ANEW;
        known.refused_until = now + wait;
        Some(wait)
    }

    /// The room has another PIN for guests: what was found out of the last one is worth nothing.
    pub fn forget_guests(&mut self, is_other: impl Fn(&str) -> bool) {
        self.of_guests.retain(|number, _| !is_other(number));
    }
}

/// The PIN that this room asks of somebody, if it asks for one.
pub fn wanted(room: &RoomConfig, guest: bool) -> Option<&Redacted<String>> {
    let guest_pin = room.guest_pin.as_ref().filter(|_| guest);
    guest_pin.or(room.pin.as_ref())
}

/// Compares in a time that does not tell how much is right.
pub fn is_right(wanted: &Redacted<String>, given: &str) -> bool {
    let padded = |text: &str| {
        let mut bytes = [0; MAX_DIGITS];
        let len = text.len().min(MAX_DIGITS);
        bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
        (bytes, text.len() as u64)
    };
    let ((wanted, wanted_len), (given, given_len)) = (padded(&wanted.0), padded(given));
    (wanted.ct_eq(&given) & wanted_len.ct_eq(&given_len)).into()
}

/// Somebody before the door.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// It proved no account.
    pub guest: bool,
    /// Who is charged for wrong PINs.
    pub source: Source,
    /// Wrong PINs in this call.
    pub wrong: u8,
    /// PIN that was dialled with the number, until it is tried.
    pub dialled: Option<Redacted<String>>,
    text: NoticeText,
    typed: Redacted<String>,
    since: Instant,
    /// When patience ends; `None` once it has ended and the call is being hung up.
    until: Option<Instant>,
}

/// What a key does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pressed {
    /// Nothing yet.
    Typing,
    /// This PIN is to be looked at.
    Entered(Redacted<String>),
}

impl Waiting {
    /// One that begins to wait.
    pub fn new(
        guest: bool,
        source: Source,
        dialled: Option<Redacted<String>>,
        now: Instant,
    ) -> Self {
        Self {
            guest,
            source,
            wrong: 0,
            dialled,
            text: NoticeText::EnterPin,
            typed: Redacted(String::new()),
            since: now,
            until: Some(now + PATIENCE),
        }
    }

    /// One whose controller died meanwhile: it types anew, with the tries that are left. `refused`: it
    /// had none and was being shown out.
    pub fn again(guest: bool, source: Source, wrong: u8, refused: bool, now: Instant) -> Self {
        let mut waiting = Self::new(guest, source, None, now);
        waiting.wrong = wrong;
        if refused || wrong >= MAX_WRONG {
            waiting.text = NoticeText::PinRefused;
            waiting.until = Some(now + FAREWELL);
        }
        waiting
    }

    /// Whether it has no try left.
    pub fn is_refused(&self) -> bool {
        self.text == NoticeText::PinRefused
    }

    /// What it is told.
    pub fn notice(&self) -> Notice {
        Notice {
            text: self.text,
            digits: self.typed.0.len() as u8,
        }
    }

    /// When its patience ends.
    pub fn until(&self) -> Option<Instant> {
        Some(self.until?.min(self.since + MAX_WAIT))
    }

    /// Its patience has ended: once.
    pub fn expire(&mut self) {
        self.until = None;
    }

    /// Takes a telephone key: digits, `*` to begin anew, `#` to end.
    pub fn press(&mut self, now: Instant, key: char) -> Pressed {
        if self.is_refused() || self.until.is_none() {
            return Pressed::Typing;
        }
        self.until = Some(now + PATIENCE);
        let typed = &mut self.typed.0;
        match key {
            '#' if !typed.is_empty() => return Pressed::Entered(std::mem::take(&mut self.typed)),
            '*' => typed.clear(),
            '0'..='9' if typed.len() < MAX_DIGITS => typed.push(key),
            _ => {}
        }
        Pressed::Typing
    }

    /// What was entered was wrong; `blocked`: its source may try no more.
    pub fn note_wrong(&mut self, now: Instant, blocked: bool) {
        self.wrong = self.wrong.saturating_add(1);
        if blocked || self.wrong >= MAX_WRONG {
            self.text = NoticeText::PinRefused;
            self.until = Some(now + FAREWELL);
        } else {
            self.text = NoticeText::WrongPin;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(text: &str) -> Redacted<String> {
        Redacted(text.to_owned())
    }

    fn at(last: u8) -> Source {
        Source::new(None, [192, 0, 2, last].into())
    }

    #[test]
    fn only_the_same_digits_are_right() {
        assert!(is_right(&pin("1234"), "1234"));
        assert!(is_right(&pin("1234567890123456"), "1234567890123456"));
        for wrong in [
            "",
            "123",
            "12345",
            "1235",
            "12340",
            "1234\0",
            "12345678901234567",
        ] {
            assert!(!is_right(&pin("1234"), wrong), "{wrong:?}");
        }
        assert!(!is_right(&pin("1234567890123456"), "12345678901234567"));
    }

    #[test]
    fn guests_are_asked_for_their_own_pin() {
        let room = |pin: Option<&str>, guest_pin: Option<&str>| RoomConfig {
            number: "3000".into(),
            guests: true,
            pin: pin.map(|p| Redacted(p.into())),
            guest_pin: guest_pin.map(|p| Redacted(p.into())),
            ..RoomConfig::default()
        };
        let both = room(Some("1111"), Some("2222"));
        assert_eq!(wanted(&both, false), Some(&pin("1111")));
        assert_eq!(wanted(&both, true), Some(&pin("2222")));
        let of_guests = room(None, Some("2222"));
        assert_eq!(wanted(&of_guests, false), None);
        assert_eq!(wanted(&of_guests, true), Some(&pin("2222")));
        assert_eq!(wanted(&room(Some("1111"), None), true), Some(&pin("1111")));
        assert_eq!(wanted(&room(None, None), true), None);
    }

    #[test]
    fn a_source_is_blocked_for_a_while_over_all_its_calls() {
        let start = Instant::now();
        let mut guard = Guard::default();
        for second in 0..10 {
            assert!(!guard.is_blocked(start, &at(1)), "{second}");
            guard.note_wrong(start + Duration::from_secs(second), &at(1));
        }
        assert!(guard.is_blocked(start, &at(1)));
        assert!(!guard.is_blocked(start, &at(2)));
        assert!(guard.is_blocked(start + Duration::from_secs(599), &at(1)));
        assert!(!guard.is_blocked(start + Duration::from_secs(600), &at(1)));
    }

    /// Defect: who has a thousand addresses tried the 10,000 PINs of four digits in ten minutes.
    #[test]
    fn guests_of_a_room_have_so_many_tries_wherever_they_come_from() {
        let mut now = Instant::now();
        let mut guard = Guard::default();
        let storm = |guard: &mut Guard, now: Instant, tries: u32| {
            for _ in 1..tries {
                assert!(!guard.refuses_guests(now, "4000"));
                assert_eq!(guard.note_wrong_guest(now, "4000"), None);
            }
            guard.note_wrong_guest(now, "4000").unwrap()
        };
        let mut tries = 0;
        for anew in [50, 10, 10, 10] {
            tries += anew;
            let wait = storm(&mut guard, now, anew);
            assert_eq!(wait, Duration::from_secs(720));
            assert!(!guard.refuses_guests(now, "5000"));
            // Callers who waited already have no more tries, and count for nothing.
            assert_eq!(guard.note_wrong_guest(now, "4000"), None);
            now += wait - Duration::from_secs(1);
            assert!(guard.refuses_guests(now, "4000"));
            now += Duration::from_secs(1);
        }
        assert_eq!(tries, 80, "in 48 minutes, and 50 an hour from then on");
        storm(&mut guard, now, 10);
        guard.forget_guests(|number| number == "4000");
        assert!(!guard.refuses_guests(now, "4000"));
        assert!(guard.of_guests.is_empty());
    }

    #[test]
    fn wrong_pins_of_guests_are_forgiven_one_after_the_other() {
        let mut now = Instant::now();
        let mut guard = Guard::default();
        for _ in 0..200 {
            assert_eq!(guard.note_wrong_guest(now, "4000"), None);
            now += FORGIVEN_EACH;
        }
        guard.note_wrong_guest(now, "5000");
        assert_eq!(guard.of_guests.len(), 1, "what is forgiven is forgotten");
    }

    #[test]
    fn a_network_of_ipv6_is_one_source_and_memory_is_bounded() {
        let of = |text: &str| Source::new(None, text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), at(1));
        let mut guard = Guard::default();
        let now = Instant::now();
        for n in 0..2 * MAX_SOURCES as u32 {
            guard.note_wrong(now, &Source::new(None, IpAddr::from(n.to_be_bytes())));
        }
        assert_eq!(guard.wrong.len(), MAX_SOURCES);
    }

    #[test]
    fn keys_make_a_pin_and_a_star_begins_anew() {
        let now = Instant::now();
        let mut waiting = Waiting::new(true, at(1), None, now);
        let type_in = |waiting: &mut Waiting, keys: &str| {
            let pressed = keys.chars().map(|key| waiting.press(now, key));
            pressed.last().unwrap()
        };
        assert_eq!(type_in(&mut waiting, "#"), Pressed::Typing);
        assert_eq!(type_in(&mut waiting, "12A3"), Pressed::Typing);
        assert_eq!(waiting.notice().digits, 3);
        // Not the whole: the digits of a moment in it may be any.
        assert!(!format!("{:?}", waiting.typed).contains("123"));
        assert_eq!(type_in(&mut waiting, "*99#"), Pressed::Entered(pin("99")));
        assert_eq!(waiting.notice().digits, 0);
        let entered = type_in(&mut waiting, "12345678901234567890#");
        assert_eq!(entered, Pressed::Entered(pin("1234567890123456")));
    }

    #[test]
    fn patience_begins_anew_with_each_key_and_ends_in_any_case() {
        let start = Instant::now();
        let mut waiting = Waiting::new(true, at(1), None, start);
        let mut now = start;
        assert_eq!(waiting.until(), Some(start + PATIENCE));
        while now < waiting.until().unwrap() {
            now += Duration::from_secs(20);
            waiting.press(now, '1');
        }
        assert_eq!(now, start + MAX_WAIT);
    }

    /// The death of the controller in the seconds before we hang up was worth another try.
    #[test]
    fn who_used_up_its_tries_has_none_in_the_next_life() {
        let now = Instant::now();
        let mut last = Waiting::again(true, at(1), MAX_WRONG - 1, false, now);
        last.press(now, '1');
        assert_eq!(last.press(now, '#'), Pressed::Entered(pin("1")));
        for (wrong, refused) in [(MAX_WRONG, false), (1, true)] {
            let mut over = Waiting::again(true, at(1), wrong, refused, now);
            assert_eq!(over.notice().text, NoticeText::PinRefused);
            over.press(now, '1');
            assert_eq!(over.press(now, '#'), Pressed::Typing);
            assert_eq!(over.until(), Some(now + FAREWELL));
        }
    }

    #[test]
    fn after_three_wrong_pins_no_key_counts() {
        let now = Instant::now();
        let mut waiting = Waiting::new(true, at(1), None, now);
        for text in [
            NoticeText::WrongPin,
            NoticeText::WrongPin,
            NoticeText::PinRefused,
        ] {
            waiting.note_wrong(now, false);
            assert_eq!(waiting.notice().text, text);
        }
        waiting.press(now, '1');
        assert_eq!(waiting.press(now, '#'), Pressed::Typing);
        assert_eq!(waiting.until(), Some(now + FAREWELL));
        let mut other = Waiting::new(true, at(1), None, now);
        other.note_wrong(now, true);
        assert_eq!(other.notice().text, NoticeText::PinRefused);
    }
}
