//! What is due in a call.

use std::time::Instant;

use mcu_api::call::EndReason;
use mcu_api::ids::CallId;

use super::Endpoint;
use crate::call::{Stage, T2};
use crate::message::Refusal;
use crate::session_timer::Due;

impl Endpoint {
    pub(super) fn call_due(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        if matches!(&call.stage, Stage::Asked(asked) if asked.give_up_at <= now) {
            let refusal = Refusal::new(487, "Nobody Answered");
            return self.reject(now, id, &refusal, EndReason::Timeout);
        }
        if matches!(&call.stage, Stage::Dialling(dialling) if dialling.give_up_at <= now) {
            return self.give_up_dialling(now, id, EndReason::Timeout);
        }
        // RFC 3261 §12.2.1.2: a peer that answers no more has lost the dialog.
        if call.our_offer.as_ref().is_some_and(|o| o.give_up_at <= now) {
            self.hang_up(now, id);
            return self.end(now, id, EndReason::Timeout);
        }
        if call
            .peer_offer
            .as_ref()
            .is_some_and(|o| o.give_up_at <= now)
        {
            self.refuse_offer(now, id, &Refusal::new(500, "Nobody Answered"));
        }
        self.referral_due(now, id);
        self.transfer_due(now, id);
        self.resend_due(now, id);
        self.session_due(now, id);
        if let Some(call) = self.calls.get_mut(&id) {
            call.retry_at = call.retry_at.filter(|&at| at > now);
        }
    }

    /// The 2xx again, at T1 doubling up to T2, on every transport (RFC 3261 §13.3.1.4); after 64*T1
    /// the call is over.
    fn resend_due(&mut self, now: Instant, id: CallId) {
        let waiting = self
            .calls
            .get_mut(&id)
            .and_then(|c| c.unacknowledged.as_mut());
        let Some(waiting) = waiting else {
            return;
        };
        if waiting.give_up_at <= now {
            self.hang_up(now, id);
            return self.end(now, id, EndReason::Timeout);
        }
        if waiting.next_at <= now {
            waiting.interval = (waiting.interval * 2).min(T2);
            waiting.next_at = now + waiting.interval;
            let (reply, bytes) = (waiting.reply, waiting.bytes.clone());
            self.transmit(reply, bytes);
        }
    }

    fn session_due(&mut self, now: Instant, id: CallId) {
        let session = self.calls.get_mut(&id).and_then(|c| c.session.as_mut());
        let Some(session) = session.filter(|session| session.act_at() <= now) else {
            return;
        };
        match session.act() {
            Due::Refresh => self.refresh(now, id),
            Due::End => {
                self.hang_up(now, id);
                self.end(now, id, EndReason::Timeout);
            }
        }
    }
}
