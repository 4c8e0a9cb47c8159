//! Terminals that an operator moves: they are asked to call elsewhere themselves (RFC 3515), and hung up
//! on here once they are answered there. Whoever comes back to us so is let in as any other caller.

use mcu_api::call::{CallCommand, Transfer, TransferTarget};
use mcu_api::ids::{CallId, LegId};
use mcu_api::manager::{FromControl, TransferOutcome};
use mcu_api::secret::Redacted;
use tracing::info;

use super::pin::Source;
use super::room::{Leg, LegKind, Room};
use super::{Controller, ManagerId, leg_of_call};
use crate::dialplan::{self, Destination, Dialled};

/// The terminal that is meant.
#[derive(Clone, Copy, Debug)]
pub enum Site<'a> {
    /// The one of this leg.
    Leg(LegId),
    /// The one whose leg or name somebody gives so.
    Known(&'a str),
}

/// Who is told what comes of it, and under which number.
#[derive(Clone, Copy, Debug)]
pub struct Transferring(ManagerId, u64);

impl Controller {
    pub(super) fn transfer(
        &mut self,
        (manager, request): (ManagerId, u64),
        room: &str,
        site: Site<'_>,
        target: &str,
    ) {
        let asker = Transferring(manager, request);
        if let Err(outcome) = self.try_transfer(asker, room, site, target) {
            info!(?outcome, "nobody is asked to go elsewhere");
            self.tell_asker(asker, outcome);
        }
    }

    fn try_transfer(
        &mut self,
        asker: Transferring,
        room: &str,
        site: Site<'_>,
        target: &str,
    ) -> Result<(), TransferOutcome> {
        self.config.room(room).ok_or(TransferOutcome::NoSuchRoom)?;
        let index = self.rooms.iter().position(|known| known.number == room);
        let known = index.map(|index| &self.rooms[index]);
        let id = known.map(|room| match site {
            Site::Leg(leg) => Ok(leg),
            Site::Known(site) => named(room, site),
        });
        let leg = known.zip(id.and_then(Result::ok));
        let source = leg.and_then(|(room, id)| room.leg(id)?.source.clone());
        let target = self.transfer_target(target, source.as_ref());
        let target = target.ok_or(TransferOutcome::NoSuchTarget)?;
        let id = id.ok_or(TransferOutcome::NoSuchSite)??;
        let room = index.and_then(|index| self.rooms.get_mut(index));
        let leg = room.and_then(|room| room.leg_mut(id));
        let leg = leg.ok_or(TransferOutcome::NoSuchSite)?;
        let is_in = leg.is_in();
        let LegKind::Sip(sip) = &mut leg.kind else {
            return Err(TransferOutcome::NotATerminal);
        };
        let dialog = sip.dialog.as_ref().filter(|_| is_in);
        let call = dialog.ok_or(TransferOutcome::NotIn)?.call;
        if sip.transferring.is_some() {
            return Err(TransferOutcome::Busy);
        }
        sip.transferring = Some(asker);
        info!(leg = %id, %call, "asked to go elsewhere");
        self.tell_call(CallCommand::Transfer { call, target });
        Ok(())
    }

    /// What a target in words means: a number that leads to a room when it is dialled, or a URI. A room
    /// that would not let the terminal in is not there.
    fn transfer_target(&self, target: &str, source: Option<&Source>) -> Option<TransferTarget> {
        if target.starts_with("sip:") || target.starts_with("sips:") {
            let fits = sip::can_be_referred_to(target);
            return fits.then(|| TransferTarget::Uri(Redacted(target.to_owned())));
        }
        let dialled = Dialled {
            user: target,
            host: "",
            trunk: None,
        };
        let is_room = |number: &str| self.config.room(number).is_some();
        let led = dialplan::resolve(&self.config.dialplan, dialled, is_room);
        let Some(Destination::Room { number, .. }) = led else {
            return None;
        };
        let room = self.config.room(number);
        let fits = room.is_none_or(|room| self.might_enter(source, room));
        fits.then(|| TransferTarget::Number(Redacted(target.to_owned())))
    }

    /// What the terminal says of it. Where it has arrived, its call here is over.
    pub(super) fn transferred(&mut self, call: CallId, outcome: Transfer) {
        let Some((_, leg)) = leg_of_call(&mut self.rooms, call) else {
            return;
        };
        info!(leg = %leg.id, %call, ?outcome, "asked to go elsewhere, and answered");
        let LegKind::Sip(sip) = &mut leg.kind else {
            return;
        };
        let asker = sip.transferring.take();
        if outcome == Transfer::Done {
            self.tell_call(CallCommand::Hangup { call });
        }
        if let Some(asker) = asker {
            self.tell_asker(
                asker,
                match outcome {
                    Transfer::Done => TransferOutcome::Moved,
                    Transfer::Refused(status) => TransferOutcome::Refused { status },
                    Transfer::Failed(status) => TransferOutcome::Failed { status },
                    Transfer::NoAnswer => TransferOutcome::NoAnswer,
                },
            );
        }
    }

    /// A leg is gone; whoever waits for what it says of its new call is told so.
    pub(super) fn transfer_ended(&mut self, leg: &Leg) {
        if let Some(asker) = leg.sip().and_then(|sip| sip.transferring) {
            self.tell_asker(asker, TransferOutcome::Left);
        }
    }

    fn tell_asker(&mut self, asker: Transferring, outcome: TransferOutcome) {
        let Transferring(manager, request) = asker;
        self.tell_manager(manager, FromControl::Transferred { request, outcome });
    }
}

/// The leg that is meant: by its number, else by the name of one that is in. Names are what callers say:
/// none stands for the number of another leg, and whoever waits at the door has none yet.
fn named(room: &Room, site: &str) -> Result<LegId, TransferOutcome> {
    let number = site.parse().map(LegId);
    if let Some(leg) = number.ok().and_then(|id| room.leg(id)) {
        return Ok(leg.id);
    }
    let by_name = room.legs.iter().filter(|leg| leg.name.0 == site);
    let (inside, waiting): (Vec<_>, Vec<_>) = by_name.partition(|leg| leg.is_in());
    match (inside.as_slice(), waiting.is_empty()) {
        ([leg], _) => Ok(leg.id),
        ([], true) => Err(TransferOutcome::NoSuchSite),
        ([], false) => Err(TransferOutcome::NotIn),
        _ => Err(TransferOutcome::Ambiguous),
    }
}
