//! The door of a room: the dial plan, and the PIN that is asked for before anybody is in.

use std::net::IpAddr;
use std::time::Instant;

use mcu_api::call::{CallCommand, IncomingCall, RejectReason};
use mcu_api::ids::{CallId, LegId, RoomId};
use mcu_api::manager::Refusal;
use mcu_api::secret::Redacted;
use tracing::{info, warn};

use super::calls::shown_name;
use super::pin::{self, Pressed, Source, Waiting};
use super::room::{Leg, Room};
use super::{Controller, leg_of_call};
use crate::config::RoomConfig;
use crate::dialplan::{self, Destination, Dialled};

/// Where a caller may go.
pub struct Entrance {
    /// Number of the room.
    pub number: String,
    /// It has to enter a PIN first.
    pub waiting: Option<Waiting>,
    /// Where it came from.
    pub source: Source,
}

impl Controller {
    /// The dial plan: where the call leads, and whether the caller may go there.
    pub(super) fn admit(&mut self, call: &IncomingCall) -> Result<Entrance, RejectReason> {
        let source = self.source_of(call.account.as_deref(), call.remote.ip());
        self.admit_from(call, source, &shown_name(&call.caller))
    }

    /// The same for somebody whose source and name are known, wherever the request came from.
    pub(super) fn admit_from(
        &self,
        call: &IncomingCall,
        source: Source,
        name: &Redacted<String>,
    ) -> Result<Entrance, RejectReason> {
        let trunk = match &source {
            Source::Trunk(name) => Some(name.as_str()),
            Source::Account(_) | Source::Address(_) => None,
        };
        let dialled = Dialled {
            user: &call.dialled,
            host: &call.host,
            trunk,
        };
        let is_room = |number: &str| self.config.room(number).is_some();
        let destination = dialplan::by_rule(&self.config.dialplan, dialled)
            .or_else(|| self.by_number_of_trunk(dialled))
            .or_else(|| dialplan::by_number(dialled, is_room));
        let room = match &destination {
            Some(Destination::Room { number, .. }) => self.config.room(number),
            _ => None,
        };
        let led = matches!(destination, Some(Destination::Room { of_trunk: true, .. }));
        if call.account.is_none() && !led && !room.is_some_and(|room| room.guests) {
            // A trunk cannot answer a challenge.
            return Err(self.refusal_of_stranger(destination, trunk.is_some()));
        }
        self.check_quarantine(&source, name)?;
        let (room, pin, given) = match (destination, room) {
            (Some(Destination::Room { pin, given, .. }), Some(room)) => (room.clone(), pin, given),
            (Some(Destination::Refused(code)), _) => return Err(RejectReason::Code(code.status())),
            (Some(Destination::Trunk { .. }), _) => return Err(RejectReason::Forbidden),
            _ => return Err(RejectReason::NotFound),
        };
        let guest = !self.is_member(call.account.as_deref(), &room);
        // To the account of another tenant the room is not there: numbers are not found out by dialling.
        if guest && !led && !room.guests {
            return Err(RejectReason::NotFound);
        }
        if !self.has_place(&room.number) {
            return Err(RejectReason::Busy);
        }
        let waiting = if pin {
            self.ask(&room, guest, source.clone(), given)?
        } else {
            None
        };
        Ok(Entrance {
            number: room.number,
            waiting,
            source,
        })
    }

    /// Where people have said that a number of their trunk leads: into a room that takes guests, whom it
    /// asks for a PIN as any other.
    fn by_number_of_trunk<'a>(&'a self, dialled: Dialled<'a>) -> Option<Destination<'a>> {
        let room = self.config.room_of_trunk(dialled.trunk?, dialled.user)?;
        Some(Destination::Room {
            number: &room.number,
            pin: true,
            given: None,
            of_trunk: false,
        })
    }

    /// Whether somebody who proved this account, or none, enters a room otherwise than as a guest.
    fn is_member(&self, account: Option<&str>, room: &RoomConfig) -> bool {
        account.is_some_and(|account| self.config.reaches(account, room))
    }

    /// Whether a leg that goes elsewhere by a call of its own might be let into a room that was made.
    pub(super) fn might_enter(&self, source: Option<&Source>, room: &RoomConfig) -> bool {
        let account = match source {
            Some(Source::Account(account)) => Some(account.as_str()),
            Some(Source::Trunk(_) | Source::Address(_)) | None => None,
        };
        !room.made || room.guests || self.is_member(account, room)
    }

    /// Who calls from an address, or is called there.
    pub(super) fn source_of(&self, account: Option<&str>, address: IpAddr) -> Source {
        let trunk = self.config.trunk_at(address).filter(|_| account.is_none());
        match trunk {
            Some(trunk) => Source::Trunk(trunk.name.clone()),
            None => Source::new(account, address),
        }
    }

    /// Why somebody who proved no account does not reach what takes no guests. Where there are
    /// accounts, one is to be proven first, whatever was dialled: no stranger learns which numbers
    /// exist.
    fn refusal_of_stranger(
        &self,
        destination: Option<Destination<'_>>,
        is_trunk: bool,
    ) -> RejectReason {
        match (self.config.accounts.is_empty() || is_trunk, destination) {
            (false, _) => RejectReason::Unauthorized,
            (true, Some(Destination::Refused(code))) => RejectReason::Code(code.status()),
            (true, Some(Destination::Room { .. } | Destination::Trunk { .. })) => {
                RejectReason::Forbidden
            }
            (true, None) => RejectReason::NotFound,
        }
    }

    /// Whether somebody has to wait at the door of this room.
    fn ask(
        &self,
        room: &RoomConfig,
        guest: bool,
        source: Source,
        given: Option<Redacted<String>>,
    ) -> Result<Option<Waiting>, RejectReason> {
        if pin::wanted(room, guest).is_none() {
            return Ok(None);
        }
        if self.guard.is_blocked(self.now, &source) {
            info!(number = room.number, "too many wrong PINs from there");
            return Err(RejectReason::Forbidden);
        }
        if guest && self.guard.refuses_guests(self.now, &room.number) {
            info!(number = room.number, "too many wrong PINs of its guests");
            return Err(RejectReason::Forbidden);
        }
        if self.crowded(&room.number, &source) {
            info!(number = room.number, "too many wait before the door");
            return Err(RejectReason::Busy);
        }
        Ok(Some(Waiting::new(guest, source, given, self.now)))
    }

    /// Whether as many wait before a room's door as may: those who know no PIN are not to take the
    /// places of those who do.
    fn crowded(&self, number: &str, source: &Source) -> bool {
        let room = self.rooms.iter().find(|room| room.number == number);
        let legs = room.map(|room| room.legs.as_slice()).unwrap_or_default();
        let waiting = || legs.iter().filter_map(|leg| leg.waiting.as_ref());
        let of_source = waiting().filter(|other| other.source == *source).count();
        waiting().count() >= self.config.max_legs_of(number).div_ceil(2)
            || of_source >= source.most_waiting()
    }

    /// The caller acknowledged: now the PIN counts that was dialled with the number. Before, a forged
    /// request could try PINs at no price, or have somebody else shut out.
    pub(super) fn try_dialled_pin(&mut self, leg: LegId) {
        let mut legs = self.rooms.iter_mut().flat_map(|room| &mut room.legs);
        let waiting = legs.find(|l| l.id == leg).and_then(|l| l.waiting.as_mut());
        if let Some(given) = waiting.and_then(|waiting| waiting.dialled.take()) {
            self.judge(leg, &given);
        }
    }

    /// Whether a browser may enter with this PIN.
    pub(super) fn check_pin_of_browser(
        &mut self,
        number: &str,
        source: &Source,
        given: Option<&Redacted<String>>,
    ) -> Result<(), Refusal> {
        let room = self.config.room(number).ok_or(Refusal::NoSuchRoom)?;
        let guest = !matches!(source, Source::Account(_));
        let Some(wanted) = pin::wanted(room, guest) else {
            return Ok(());
        };
        if self.guard.is_blocked(self.now, source)
            || guest && self.guard.refuses_guests(self.now, number)
        {
            return Err(Refusal::PinRefused);
        }
        let Some(given) = given else {
            return Err(Refusal::PinWanted);
        };
        if pin::is_right(wanted, &given.0) {
            return Ok(());
        }
        self.guard.note_wrong(self.now, source);
        if guest {
            note_wrong_guest(&mut self.guard, self.now, number);
        }
        Err(Refusal::PinWrong)
    }

    /// A telephone key by signalling.
    pub(super) fn digit(&mut self, call: CallId, key: char) {
        if let Some((room, leg)) = leg_of_call(&mut self.rooms, call) {
            let leg = leg.id;
            self.pressed(room, leg, key);
        }
    }

    /// A telephone key of a leg: of the PIN where it waits, else of a terminal that wants to see another
    /// picture.
    pub(super) fn pressed(&mut self, room: RoomId, leg: LegId, key: char) {
        let Some(index) = self.rooms.iter().position(|r| r.id == room) else {
            return;
        };
        let room = &mut self.rooms[index];
        let Some(found) = room.legs.iter_mut().find(|l| l.id == leg) else {
            return;
        };
        let proved = found.is_proved();
        let Some(waiting) = found.waiting.as_mut().filter(|_| proved) else {
            if found.is_in() && found.sip().is_some() {
                room.dirty |= room.choose_view(leg, key);
            }
            return;
        };
        room.dirty = true;
        if let Pressed::Entered(entered) = waiting.press(self.now, key) {
            self.judge(leg, &entered);
        }
    }

    /// Lets a leg in by its PIN, or counts a wrong one.
    fn judge(&mut self, leg: LegId, entered: &Redacted<String>) {
        let here = |room: &Room| room.legs.iter().position(|l| l.id == leg);
        let mut places = self
            .rooms
            .iter_mut()
            .filter_map(|r| here(r).map(|n| (r, n)));
        let Some((room, place)) = places.next() else {
            return;
        };
        let config = self.config.room(&room.number);
        let found = &mut room.legs[place];
        let Some(waiting) = &mut found.waiting else {
            return;
        };
        room.dirty = true;
        // Calls that already waited when their source ran out of tries get none more.
        if self.guard.is_blocked(self.now, &waiting.source)
            || waiting.guest && self.guard.refuses_guests(self.now, &room.number)
        {
            return waiting.note_wrong(self.now, true);
        }
        // A room that asks for no PIN any more takes whoever still waits for it; one that is gone
        // takes nobody.
        let right = config.is_some_and(|config| {
            // One that was made takes no guests by way of a door that it had before.
            if config.made && waiting.guest && !config.guests {
                return false;
            }
            let wanted = pin::wanted(config, waiting.guest);
            wanted.is_none_or(|wanted| pin::is_right(wanted, &entered.0))
        });
        if right {
            info!(room = %room.id, %leg, "PIN right");
            found.waiting = None;
            return;
        }
        self.guard.note_wrong(self.now, &waiting.source);
        let mut blocked = self.guard.is_blocked(self.now, &waiting.source);
        if waiting.guest {
            note_wrong_guest(&mut self.guard, self.now, &room.number);
            blocked |= self.guard.refuses_guests(self.now, &room.number);
        }
        waiting.note_wrong(self.now, blocked);
        info!(room = %room.id, %leg, wrong = waiting.wrong, "PIN wrong");
    }

    /// When the patience with those who wait ends.
    pub(super) fn door_deadlines(&self) -> impl Iterator<Item = Instant> {
        let legs = self.rooms.iter().flat_map(|room| &room.legs);
        legs.filter_map(|leg| leg.waiting.as_ref()?.until())
    }

    /// Hangs up on those who have waited too long, or were wrong too often. Whose dialog is lost is
    /// removed here.
    pub(super) fn turn_away(&mut self) {
        let mut lost = Vec::new();
        for room in &mut self.rooms {
            for leg in &mut room.legs {
                let due = |waiting: &Waiting| waiting.until().is_some_and(|u| u <= self.now);
                let Some(waiting) = leg.waiting.as_mut().filter(|waiting| due(waiting)) else {
                    continue;
                };
                info!(room = %room.id, leg = %leg.id, "no PIN, hung up");
                waiting.expire();
                match leg.dialog_mut() {
                    Some(dialog) => {
                        let call = dialog.call;
                        let hangup = super::Output::Call(CallCommand::Hangup { call });
                        self.outputs.push_back(hangup);
                    }
                    None => lost.push((room.id, leg.id)),
                }
            }
        }
        for (room, leg) in lost {
            self.remove_leg(room, leg, "no PIN");
        }
    }
}

fn note_wrong_guest(guard: &mut pin::Guard, now: Instant, number: &str) {
    if let Some(wait) = guard.note_wrong_guest(now, number) {
        let minutes = wait.as_secs() / 60;
        warn!(
            number,
            minutes, "guests entered too many wrong PINs: refused for a while"
        );
    }
}

impl Leg {
    /// Whether it is in the meeting: neither before its door, nor called without an answer so far,
    /// nor without the ACK that proves where it is.
    pub fn is_in(&self) -> bool {
        self.waiting.is_none() && self.is_proved() && !self.is_ringing()
    }

    /// Whether the peer is known to be where it says.
    fn is_proved(&self) -> bool {
        self.sip().is_none_or(|sip| sip.confirmed)
    }

    /// Whether we call it and it has not answered.
    pub fn is_ringing(&self) -> bool {
        self.sip().is_some_and(|sip| sip.ringing.is_some())
    }
}
