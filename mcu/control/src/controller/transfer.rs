//! Terminals that ask to be moved to another room (RFC 3515).

use mcu_api::call::{CallCommand, IncomingCall, RejectReason};
use mcu_api::ids::{LegId, RoomId};
use mcu_api::plan::Transport;
use tracing::info;

use super::room::{Leg, LegKind};
use super::{Controller, leg_of_call};

/// How long a terminal stays where it is, in seconds: each move opens its media anew.
const MIN_STAY_S: u64 = 2;

impl Controller {
    /// Decides on a wish that reads as a call of its own, and carries it out.
    pub(super) fn referred(&mut self, wanted: &IncomingCall) {
        let call = wanted.call;
        let refused = self.try_move(wanted).err();
        if let Some(reason) = refused {
            info!(%call, ?reason, "not moved");
        }
        self.tell_call(CallCommand::Refer { call, refused });
    }

    fn try_move(&mut self, wanted: &IncomingCall) -> Result<(), RejectReason> {
        let found = leg_of_call(&mut self.rooms, wanted.call);
        let found = found.filter(|(_, leg)| leg.is_in() && is_ready(leg));
        let (from, leg) = found.ok_or(RejectReason::Forbidden)?;
        let (id, since, name) = (leg.id, leg.joined_unix_s, leg.name.clone());
        // A request within a call may come from anywhere, and its address may be forged. Where the call
        // itself came from was proven by its ACK.
        let source = leg.source.clone().ok_or(RejectReason::Forbidden)?;
        let entrance = match wanted.replaces {
            Some(old) => self.place_of(old, wanted, source, &name),
            None => self.admit_from(wanted, source, &name),
        };
        // Who may not enter learns nothing about what is there.
        let entrance = entrance.map_err(|reason| match reason {
            RejectReason::Busy | RejectReason::NoPort | RejectReason::Unavailable => reason,
            _ => RejectReason::Forbidden,
        })?;
        let room = self.rooms.iter().find(|room| room.id == from);
        let current = room.map(|room| room.number.clone());
        let current = current.ok_or(RejectReason::Forbidden)?;
        if current == entrance.number {
            return Ok(());
        }
        // The call's keys were agreed on under the rules of the room that it is in.
        let policy = |number: &str| self.config.room(number).map(|room| room.srtp);
        if policy(&current) != policy(&entrance.number) {
            return Err(RejectReason::Forbidden);
        }
        if self.unix_s() < since + MIN_STAY_S {
            return Err(RejectReason::Busy);
        }
        let mut leg = self.take_out(from, id).ok_or(RejectReason::Forbidden)?;
        // The old room lets go of the ports before the new one has them.
        self.settle();
        let id = self.new_leg_id();
        leg.id = id;
        leg.joined_unix_s = self.unix_s();
        leg.waiting = entrance.waiting;
        (leg.stats, leg.spoke_at) = (None, None);
        if let LegKind::Sip(sip) = &mut leg.kind {
            // Its packets begin anew there, as in another media process.
            sip.renew_ssrcs(id, &mut leg.media, &mut self.rng);
            sip.rollovers.renew_plan();
        }
        let cname = self.cname_for(&entrance.number);
        self.enter(&entrance.number, cname, leg);
        self.try_dialled_pin(id);
        Ok(())
    }

    /// Takes a leg out of its room, with its ports.
    fn take_out(&mut self, room: RoomId, leg: LegId) -> Option<Leg> {
        let room = self.rooms.iter_mut().find(|r| r.id == room)?;
        let place = room.legs.iter().position(|l| l.id == leg)?;
        room.dirty = true;
        let leg = room.legs.remove(place);
        self.counts.ended(&leg, "moved to another room");
        Some(leg)
    }
}

/// Whether its media can be opened elsewhere: no handshake of DTLS is under way.
fn is_ready(leg: &Leg) -> bool {
    let dialog = leg.sip().and_then(|sip| sip.dialog.as_ref());
    let media = dialog.and_then(|dialog| dialog.exchange.media(leg.id));
    media.is_some_and(|media| media.plan.transports.iter().all(has_keys))
}

fn has_keys(transport: &Transport) -> bool {
    match transport {
        Transport::Udp(udp) => udp.dtls.as_ref().is_none_or(|dtls| dtls.keys.is_some()),
        Transport::Webrtc(_) => false,
    }
}
