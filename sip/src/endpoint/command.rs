//! Wishes of the rooms.

use std::time::Instant;

use mcu_api::call::{CallCommand, CallEvent, EndReason, RejectReason};
use mcu_api::ids::CallId;
use sipx_sip::HeaderName;

use super::Endpoint;
use crate::call::Stage;
use crate::message::Refusal;

/// What a peer is told that the media process died of: when it is put out (RFC 3326), and when it
/// comes back too soon (RFC 3261 §20.43).
const EXPELLED: &str = "SIP;cause=403;text=\"Media from here harmed the server\"";
const QUARANTINED: &str =
    "399 consilium \"Media from here harmed the server, try again in ten minutes\"";

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
            CallCommand::Accept { sdp, .. } => self.accept(now, id, sdp.0),
            CallCommand::Reject { reason, .. } => {
                let refusal = self.refusal(now, id, reason);
                self.reject(now, id, &refusal, EndReason::Rejected);
            }
            CallCommand::Answer { sdp, .. } => self.answer_offer(now, id, sdp.0),
            CallCommand::RejectOffer { .. } => {
                self.refuse_offer(now, id, &Refusal::new(488, "Not Acceptable Here"));
            }
            CallCommand::Refer { refused, .. } => self.referral_decided(now, id, refused),
            CallCommand::Transfer { target, .. } => self.transfer(now, id, &target),
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
            CallCommand::Hangup { .. } => self.leave(now, id, None),
            CallCommand::Expel { .. } => self.leave(now, id, Some(EXPELLED)),
        }
        self.settle(now, id);
    }

    fn refusal(&mut self, now: Instant, id: CallId, reason: RejectReason) -> Refusal {
        match reason {
            RejectReason::NotFound => Refusal::new(404, "Not Found"),
            RejectReason::Forbidden => Refusal::new(403, "Forbidden"),
            RejectReason::Unauthorized => self.challenge_of_call(now, id),
            RejectReason::NotAcceptable => Refusal::new(488, "Not Acceptable Here"),
            RejectReason::Busy | RejectReason::NoPort => Refusal::new(486, "Busy Here"),
            RejectReason::Unavailable => Refusal::new(503, "Service Unavailable"),
            RejectReason::Quarantined => {
                Refusal::new(403, "Forbidden").with(HeaderName::Warning, QUARANTINED)
            }
            RejectReason::Code(status) => Refusal::new(status, "Refused"),
        }
    }

    /// Ends a call at our wish, for a reason that the BYE gives (RFC 3326). A 2xx that is not
    /// acknowledged holds the BYE back (RFC 3261 §15), which then gives none.
    fn leave(&mut self, now: Instant, id: CallId, reason: Option<&str>) {
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
                self.hang_up_because(now, id, reason);
                self.end(now, id, EndReason::Local);
            }
            Stage::Leaving => {}
        }
    }
}

fn call_of(command: &CallCommand) -> Option<CallId> {
    match command {
        CallCommand::Dial(_) => None,
        CallCommand::Accept { call, .. }
        | CallCommand::Reject { call, .. }
        | CallCommand::Answer { call, .. }
        | CallCommand::RejectOffer { call }
        | CallCommand::Offer { call, .. }
        | CallCommand::Refer { call, .. }
        | CallCommand::Transfer { call, .. }
        | CallCommand::RequestKeyFrame { call }
        | CallCommand::Hangup { call }
        | CallCommand::Expel { call } => Some(*call),
    }
}
