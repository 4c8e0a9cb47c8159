//! Wishes of the rooms.

use std::time::Instant;

use mcu_api::call::{CallCommand, CallEvent, EndReason, RejectReason};
use mcu_api::ids::CallId;

use super::Endpoint;
use crate::call::Stage;
use crate::message::Refusal;

impl Endpoint {
    pub(super) fn carry_out(&mut self, now: Instant, command: CallCommand) {
        let Some(id) = call_of(&command) else {
            return;
        };
        match self.calls.get(&id).map(|call| &call.stage) {
            None | Some(Stage::Leaving) => return,
            Some(_) => {}
        }
        match command {
            // The shell alone knows by which flow: see `Endpoint::dial`.
            CallCommand::Dial(_) => {}
            CallCommand::Ring { .. } => self.ring(now, id),
            CallCommand::Accept { sdp, .. } => self.accept(now, id, sdp.0),
            CallCommand::Reject { reason, .. } => {
                let refusal = self.refusal(now, id, reason);
                self.reject(now, id, &refusal, EndReason::Rejected);
            }
            CallCommand::Answer { sdp, .. } => self.answer_offer(now, id, sdp.0),
            CallCommand::RejectOffer { .. } => {
                self.refuse_offer(now, id, &Refusal::new(488, "Not Acceptable Here"));
            }
            CallCommand::Offer { sdp, .. } => {
                if let Some(call) = self.calls.get_mut(&id) {
                    call.queued_offer = Some(sdp.0);
                }
            }
            CallCommand::RequestKeyFrame { .. } => {
                if let Some(call) = self.calls.get_mut(&id) {
                    call.key_frame.wanted = true;
                }
            }
            CallCommand::Hangup { .. } => self.leave(now, id),
        }
        self.settle(now, id);
    }

    fn refusal(&mut self, now: Instant, id: CallId, reason: RejectReason) -> Refusal {
        match reason {
            RejectReason::NotFound => Refusal::new(404, "Not Found"),
            RejectReason::Forbidden => Refusal::new(403, "Forbidden"),
            RejectReason::Unauthorized => self.challenge_of_call(now, id),
            RejectReason::NotAcceptable => Refusal::new(488, "Not Acceptable Here"),
            RejectReason::Busy => Refusal::new(486, "Busy Here"),
            RejectReason::Unavailable => Refusal::new(503, "Service Unavailable"),
            RejectReason::Code(status) => Refusal::new(status, "Refused"),
        }
    }

    /// Ends a call at our wish. A 2xx that is not acknowledged holds the BYE back (RFC 3261 §15).
    fn leave(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        match call.stage {
            Stage::Asked(_) => {
                let refusal = Refusal::new(480, "Temporarily Unavailable");
                self.reject(now, id, &refusal, EndReason::Local);
            }
            Stage::Dialling(_) => self.give_up_dialling(now, id, EndReason::Local),
            Stage::Accepted => {
                call.stage = Stage::Leaving;
                call.session = None;
                self.event(CallEvent::Ended {
                    call: id,
                    reason: EndReason::Local,
                });
            }
            Stage::Up => {
                self.hang_up(now, id);
                self.end(now, id, EndReason::Local);
            }
            Stage::Leaving => {}
        }
    }
}

fn call_of(command: &CallCommand) -> Option<CallId> {
    match command {
        CallCommand::Dial(_) => None,
        CallCommand::Ring { call }
        | CallCommand::Accept { call, .. }
        | CallCommand::Reject { call, .. }
        | CallCommand::Answer { call, .. }
        | CallCommand::RejectOffer { call }
        | CallCommand::Offer { call, .. }
        | CallCommand::RequestKeyFrame { call }
        | CallCommand::Hangup { call } => Some(*call),
    }
}
