//! What the controller does, counted for whoever watches the server.

use std::collections::BTreeMap;
use std::time::Instant;

use mcu_api::call::{EndReason, RejectReason};
use mcu_api::figures::{Calls, Control, Direction, Kind, Media};
use mcu_api::manager::{DialOutcome, Refusal};

use super::Controller;
use super::room::{Leg, LegKind};

type Key = (Kind, Direction);

/// Each that there is. A room calls no browser.
const KINDS: [Key; 3] = [
    (Kind::Terminal, Direction::Incoming),
    (Kind::Terminal, Direction::Outgoing),
    (Kind::Browser, Direction::Incoming),
];

/// Failures that are told before the first one, which is an increase then.
const ALWAYS_TOLD: [&str; 3] = ["no media", "no port free", "room full"];

/// Calls since this controller began. Reasons are words of the program, so there are few.
#[derive(Debug, Default)]
pub struct Counts {
    begun: BTreeMap<Key, u64>,
    ended: BTreeMap<(Key, &'static str), u64>,
    failed: BTreeMap<(Key, &'static str), u64>,
}

impl Counts {
    /// Somebody is in.
    pub fn begun(&mut self, leg: &Leg) {
        *self.begun.entry(key(leg)).or_default() += 1;
    }

    /// And is no more.
    pub fn ended(&mut self, leg: &Leg, why: &'static str) {
        *self.ended.entry((key(leg), why)).or_default() += 1;
    }

    /// A terminal was refused.
    pub fn refused(&mut self, reason: RejectReason) {
        let why = match reason {
            RejectReason::NotFound => "no such room",
            RejectReason::Forbidden => "forbidden",
            RejectReason::Unauthorized => "account wanted",
            RejectReason::NotAcceptable => "bad offer",
            RejectReason::Busy => "room full",
            RejectReason::NoPort => "no port free",
            RejectReason::Unavailable => "no media",
            RejectReason::Quarantined => "quarantined",
            RejectReason::Code(_) => "dial plan",
        };
        self.fail((Kind::Terminal, Direction::Incoming), why);
    }

    /// A room's call was not answered.
    pub fn unanswered(&mut self, outcome: DialOutcome) {
        let why = match outcome {
            DialOutcome::Answered => return,
            DialOutcome::NoSuchRoom => "no such room",
            DialOutcome::RoomFull => "room full",
            DialOutcome::Unreachable => "unreachable",
            DialOutcome::NoMedia => "no media",
            DialOutcome::Refused { .. } => "refused",
            DialOutcome::NoAnswer => "no answer",
        };
        self.fail((Kind::Terminal, Direction::Outgoing), why);
    }

    /// A page was not let in.
    pub fn turned_away(&mut self, refusal: Refusal) {
        let why = match refusal {
            // It is asked for it, and comes again.
            Refusal::PinWanted => return,
            Refusal::NoSuchRoom => "no such room",
            Refusal::NotAllowed => "forbidden",
            Refusal::RoomFull => "room full",
            Refusal::BadOffer => "bad offer",
            Refusal::BadRequest => "bad request",
            Refusal::NoMedia => "no media",
            Refusal::Removed => "removed",
            Refusal::PinWrong => "wrong pin",
            Refusal::PinRefused => "too many wrong pins",
            Refusal::Quarantined => "quarantined",
            Refusal::LinkWrong
            | Refusal::LinkExpired
            | Refusal::LinkRevoked
            | Refusal::LinkUsedUp
            | Refusal::LinkRefused => "link refused",
            Refusal::SessionEnded => "session ended",
            Refusal::RightTaken => "right taken",
        };
        self.fail((Kind::Browser, Direction::Incoming), why);
    }

    /// A browser finds no port.
    pub fn found_no_port(&mut self) {
        self.fail((Kind::Browser, Direction::Incoming), "no port free");
    }

    fn fail(&mut self, key: Key, why: &'static str) {
        *self.failed.entry((key, why)).or_default() += 1;
    }
}

/// How a call that is over is counted.
pub fn over(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Local => "hung up here",
        EndReason::Remote => "hung up there",
        EndReason::Cancelled => "given up",
        EndReason::Rejected | EndReason::Refused(_) => "refused",
        EndReason::Timeout => "answers no more",
        EndReason::ProtocolError => "protocol error",
    }
}

/// A reason as a label.
fn word(why: &str) -> String {
    why.replace(' ', "_").replace(',', "")
}

fn key(leg: &Leg) -> Key {
    match &leg.kind {
        LegKind::Sip(sip) if sip.dialled => (Kind::Terminal, Direction::Outgoing),
        LegKind::Sip(_) => (Kind::Terminal, Direction::Incoming),
        LegKind::Browser(_) => (Kind::Browser, Direction::Incoming),
    }
}

impl Controller {
    /// What it does now, without what its shell knows: the process, registrations and connections.
    pub fn figures(&self, now: Instant) -> Control {
        let unix_s = self.unix_s();
        let media = self.processor.figures();
        let age = media.map(|(_, at)| now.saturating_duration_since(at));
        Control {
            media: media.map(|(figures, _)| Media::clone(figures)),
            media_age_ms: age.map(|age| age.as_millis() as u64),
            rooms: self.rooms.iter().filter(|room| !room.is_probe()).count() as u64,
            max_legs: self.config.max_legs as u64,
            calls: KINDS.iter().map(|kind| self.calls(*kind)).collect(),
            ports_used: self.ports.used() as u64,
            ports: self.ports.count() as u64,
            classes: self.ports_by_class(),
            lowered_to: self.load.lowered_to(),
            quarantined: self.quarantine.total(unix_s) as u64,
            ..Control::default()
        }
    }

    fn calls(&self, (kind, direction): Key) -> Calls {
        let own = |at: Key| at == (kind, direction);
        let rooms = self.rooms.iter().filter(|room| !room.is_probe());
        let legs = rooms.flat_map(|room| &room.legs);
        let told = |counted: &BTreeMap<(Key, &'static str), u64>| -> BTreeMap<String, u64> {
            let counted = counted.iter().filter(|((at, _), _)| own(*at));
            counted
                .map(|((_, why), count)| (word(why), *count))
                .collect()
        };
        let mut failed = told(&self.counts.failed);
        for why in ALWAYS_TOLD {
            failed.entry(word(why)).or_default();
        }
        let begun = self.counts.begun.get(&(kind, direction));
        Calls {
            kind,
            direction,
            legs: legs.filter(|leg| own(key(leg))).count() as u64,
            begun: begun.copied().unwrap_or_default(),
            ended: told(&self.counts.ended),
            failed,
        }
    }
}
