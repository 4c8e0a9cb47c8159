//! What the manager wants of rooms: which there are, and what an operator does to a leg.

use mcu_api::call::{CallCommand, EndReason};
use mcu_api::directory::Directory;
use mcu_api::ids::{LegId, RoomId};
use mcu_api::manager::{ControlOutcome, FromControl, LegAction, Refusal, Visit};
use tracing::info;

use super::pin;
use super::room::Room;
use super::{Controller, ManagerId, Output, legs_where};
use crate::config::{Config, RoomConfig};

impl Controller {
    /// What it was started with, and the rooms and accounts that people made.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Takes up a directory that is newer than the one in force. Nothing that goes on ends but in rooms
    /// that are there no more.
    pub(super) fn direct(&mut self, manager: ManagerId, directory: Directory) {
        if directory.generation > self.config.held.generation {
            let (rooms, accounts) = (directory.rooms.len(), directory.accounts.len());
            info!(
                generation = directory.generation,
                rooms, accounts, "directory taken up"
            );
            let before = self.config.rooms.clone();
            self.config.take_up(&directory);
            self.guard.forget_guests(|number| {
                let asked = |rooms: &[RoomConfig]| {
                    let room = rooms.iter().find(|room| room.number == number);
                    room.and_then(|room| pin::wanted(room, true).cloned())
                };
                asked(&before) != asked(&self.config.rooms)
            });
            self.outputs.push_back(Output::Directory(directory));
            self.end_removed_rooms();
        }
        let held = self.config.held.clone();
        self.tell_manager(manager, FromControl::Directory(held));
    }

    fn end_removed_rooms(&mut self) {
        let is_removed =
            |room: &&Room| !room.is_probe() && self.config.room(&room.number).is_none();
        let removed: Vec<RoomId> = self.rooms.iter().filter(is_removed).map(|r| r.id).collect();
        for (room, leg) in legs_where(&self.rooms, |_| true) {
            if removed.contains(&room) {
                self.put_out(room, leg, Refusal::Removed, "the room was removed");
            }
        }
        // Who may follow a conference depends on its room.
        for room in &mut self.rooms {
            room.dirty = true;
        }
    }

    /// Who is in by a login or by a link.
    pub(super) fn visits(&self) -> Vec<Visit> {
        let legs = self.rooms.iter().flat_map(|room| {
            let legs = room.legs.iter();
            legs.filter_map(move |leg| {
                Some(Visit {
                    room: room.number.clone(),
                    leg: leg.id,
                    pass: leg.browser()?.pass.clone()?,
                })
            })
        });
        legs.collect()
    }

    pub(super) fn control(
        &mut self,
        (manager, request): (ManagerId, u64),
        number: &str,
        leg: LegId,
        action: LegAction,
    ) {
        let outcome = self.try_control(number, leg, action);
        info!(%leg, ?action, ?outcome, "an operator's wish");
        self.tell_manager(manager, FromControl::Controlled { request, outcome });
    }

    fn try_control(&mut self, number: &str, leg: LegId, action: LegAction) -> ControlOutcome {
        if self.config.room(number).is_none() {
            return ControlOutcome::NoSuchRoom;
        }
        let room = self.rooms.iter_mut().find(|room| room.number == number);
        let Some(room) = room.filter(|room| room.leg(leg).is_some()) else {
            return ControlOutcome::NoSuchLeg;
        };
        room.dirty = true;
        let id = room.id;
        match action {
            LegAction::Set(wish) => room.set_leg(leg, wish),
            LegAction::Remove => self.put_out(id, leg, Refusal::Removed, "removed by an operator"),
            LegAction::Refuse { code } => self.put_out(id, leg, code, "it may be here no more"),
        }
        ControlOutcome::Done
    }

    /// Ends a leg and tells everybody whom that concerns.
    fn put_out(&mut self, room: RoomId, leg: LegId, code: Refusal, why: &'static str) {
        if let Some(leg) = self.remove_leg(room, leg, why) {
            self.dial_ended(&leg, EndReason::Local);
            self.transfer_ended(&leg);
            self.turn_out(leg, code, |call| CallCommand::Hangup { call });
        }
    }
}
