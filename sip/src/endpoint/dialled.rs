//! What comes back for an INVITE of ours: who rings, who answers first, who refuses, and who answers
//! although nobody waits any more (RFC 3261 §13.2.2).

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use mcu_api::call::{CallEvent, EndReason};
use mcu_api::ids::CallId;
use mcu_api::secret::Redacted;
use sipx_sip::rel::{Received, Sequence};

use super::Endpoint;
use super::incoming::Arrival;
use super::outgoing::ack;
use super::reliable::reliable_number;
use super::within::{not_here, options};
use crate::body::session_of_response;
use crate::call::{Branch, Early, MAX_EARLY, MAX_RELIABLE, Stage};
use crate::client_auth::Unanswered;
use crate::dialog::Dialog;
use crate::flow::Flow;
use crate::message::{
    HeaderName, Message, Method, Refusal, Request, Response, TransactionKey, cseq_number, text,
    to_tag, tokens,
};
use crate::session_timer;
use crate::transaction::Purpose;

/// Callees that answered for nothing, whose 2xx may come again.
const MAX_STRAYS: usize = 64;
/// Those of one call: what is answered further is left alone, so that nobody has us send without end.
const MAX_STRAYS_OF_CALL: usize = 8;

/// Whose BYE it is that ends such a call: no call has this number.
const NOBODY: CallId = CallId(0);

/// The ACKs of those: Call-ID, tag, and what was sent where. The oldest makes room for a new one.
#[derive(Debug, Default)]
pub(super) struct Strays(VecDeque<(String, String, Flow, Bytes)>);

impl Endpoint {
    /// A response to an INVITE that began, or is to begin, a call.
    pub(super) fn dial_answered(
        &mut self,
        now: Instant,
        id: CallId,
        key: &TransactionKey,
        response: &Response,
    ) {
        if self.dialling(id).is_none() {
            return self.answered_again(now, id, key, response);
        }
        match response.status.code() {
            ..200 => self.progressed(now, id, key, response),
            200..300 => self.dial_accepted(now, id, key, response),
            300..=302 => self.redirected(now, id, key, response),
            status @ (401 | 407) => {
                if self.prove(now, id, key, response).is_none() {
                    self.branch_refused(now, id, key, status);
                }
            }
            status => self.branch_refused(now, id, key, status),
        }
    }

    /// A branch whose INVITE got no answer at all (RFC 3261 §8.1.3.1: as if it were 408).
    pub(super) fn branch_failed(&mut self, now: Instant, id: CallId, key: &TransactionKey) {
        if self.dialling(id).is_some() {
            self.branch_over(now, id, key, 408, false);
        }
    }

    /// A provisional response. One that is reliable gets its PRACK (RFC 3262 §4).
    fn progressed(&mut self, now: Instant, id: CallId, key: &TransactionKey, response: &Response) {
        if response.status.code() == 100 {
            return;
        }
        let rings = response.status.code() >= 180;
        let number = reliable_number(&response.headers);
        let mut branches = self.dialling(id).into_iter().flat_map(|d| &mut d.branches);
        if let Some(branch) = branches.find(|branch| branch.key == *key) {
            branch.progressed = true;
        }
        let Some(early) = self.early(id, key, response) else {
            return;
        };
        if let Some(number) = number {
            if early.acknowledged >= MAX_RELIABLE
                || early.sequence.accept(number) != Received::Acknowledge
            {
                return;
            }
            early.acknowledged += 1;
            if early.answer.is_none() {
                early.answer = session_of_response(response);
            }
            self.send_prack(now, id, key, response, number);
        }
        if rings {
            self.event(CallEvent::Ringing { call: id });
        }
    }

    /// The dialog that a provisional response began, or begins.
    fn early(
        &mut self,
        id: CallId,
        key: &TransactionKey,
        response: &Response,
    ) -> Option<&mut Early> {
        let tag = to_tag(&response.headers);
        let dialling = self.dialling(id)?;
        let known = |early: &Early| early.key == *key && early.dialog.remote_tag == tag;
        let place = match dialling.early.iter().position(known) {
            Some(place) => place,
            None if dialling.early.len() >= MAX_EARLY => return None,
            None => {
                let branch = dialling.branches.iter().find(|branch| branch.key == *key)?;
                let mut dialog = branch.dialog.clone();
                // A peer of RFC 2543 rings without a tag: no dialog, but it rings.
                dialog.confirm(&response.headers);
                dialling.early.push(Early {
                    key: key.clone(),
                    dialog,
                    sequence: Sequence::default(),
                    acknowledged: 0,
                    answer: None,
                });
                dialling.early.len() - 1
            }
        };
        dialling.early.get_mut(place)
    }

    fn send_prack(
        &mut self,
        now: Instant,
        id: CallId,
        key: &TransactionKey,
        response: &Response,
        number: u32,
    ) {
        let token = format!("z9hG4bK{}", self.token());
        let tag = to_tag(&response.headers);
        let Some(dialling) = self.dialling(id) else {
            return;
        };
        let branch = dialling.branches.iter().find(|branch| branch.key == *key);
        let Some((flow, cseq)) = branch.map(|branch| (branch.flow, branch.cseq)) else {
            return;
        };
        let known = |early: &&mut Early| early.key == *key && early.dialog.remote_tag == tag;
        let Some(early) = dialling.early.iter_mut().find(known) else {
            return;
        };
        let remote = early.dialog.next_hop(flow).1;
        let flow = Flow { remote, ..flow };
        let draft = early.dialog.request(Method::Prack, flow, &token, None);
        let draft = draft.header(HeaderName::RAck, format!("{number} {cseq} INVITE"));
        if let Some(request) = draft.build() {
            let owner = (id, Purpose::Prack);
            self.transactions.send(now, request, flow, owner);
        }
    }

    /// A branch whose INVITE has its final response. Who rang by it rings no more.
    fn take_branch(&mut self, id: CallId, key: &TransactionKey) -> Option<Branch> {
        let dialling = self.dialling(id)?;
        dialling.early.retain(|early| early.key != *key);
        let place = dialling.branches.iter().position(|b| b.key == *key)?;
        Some(dialling.branches.swap_remove(place))
    }

    fn prove(
        &mut self,
        now: Instant,
        id: CallId,
        key: &TransactionKey,
        response: &Response,
    ) -> Option<()> {
        let cnonce = self.token();
        let dialling = self.dialling(id)?;
        let place = dialling.branches.iter().position(|b| b.key == *key)?;
        if !dialling.may_prove(dialling.branches.get(place)?) {
            return None;
        }
        let credentials = dialling.credentials.as_ref()?;
        let branch = dialling.branches.get_mut(place)?;
        let uri = branch.dialog.request_uri().to_string();
        let asked = ("INVITE", uri.as_str());
        let proven = branch
            .proofs
            .answer(&response.headers, credentials, asked, &cnonce);
        if let Err(why @ Unanswered::Foreign(_)) = &proven {
            tracing::warn!(call = %id, %why, "call not proven");
        }
        proven.ok()?;
        let branch = self.take_branch(id, key)?;
        self.invite_again(now, id, branch)
    }

    /// A branch refuses: its next target is called.
    pub(super) fn branch_refused(
        &mut self,
        now: Instant,
        id: CallId,
        key: &TransactionKey,
        status: u16,
    ) {
        self.branch_over(now, id, key, status, true);
    }

    /// A branch refuses, or nobody has answered by it: its next target is called. When none is left in
    /// any branch the call is over; at 6xx in any case (RFC 3261 §16.7).
    fn branch_over(
        &mut self,
        now: Instant,
        id: CallId,
        key: &TransactionKey,
        status: u16,
        answered: bool,
    ) {
        let dialling = self.dialling(id);
        let to_servers = dialling.is_some_and(|dialling| dialling.servers.is_some());
        let next_flow = match status {
            // A server passes on a 408 of whom it has called (RFC 3263 §4.3).
            408 if to_servers => !answered,
            503 => to_servers,
            // Nobody has answered by this flow, or it is known to have failed.
            status => matches!(status, 408 | 430),
        };
        // One whose further INVITE could not be sent is gone already.
        let branch = self.take_branch(id, key).filter(|_| status < 600);
        let goes_on = branch.is_some_and(|branch| {
            // Another server would call whom this one has called already. A terminal knows it for one call.
            let next_flow = next_flow && !(to_servers && branch.progressed);
            match next_flow && !branch.flows.is_empty() {
                true => self.call_next_flow(now, id, branch),
                false => self.call_alternative(now, id, branch),
            }
        });
        if goes_on {
            return;
        }
        let Some(dialling) = self.dialling(id) else {
            return;
        };
        let status = match dialling.refused {
            Some(before) if before / 100 <= status / 100 && status < 600 => before,
            _ => status,
        };
        dialling.refused = Some(status);
        if dialling.branches.is_empty() || status >= 600 {
            self.transactions.cancel(now, id, None);
            let reason = match status {
                408 => EndReason::Timeout,
                status => EndReason::Refused(status),
            };
            self.end(now, id, reason);
        }
    }

    /// The first 2xx makes the call; what still rings elsewhere is cancelled.
    fn dial_accepted(
        &mut self,
        now: Instant,
        id: CallId,
        key: &TransactionKey,
        response: &Response,
    ) {
        let tag = to_tag(&response.headers);
        let known = |early: &Early| early.key == *key && early.dialog.remote_tag == tag;
        let early = self.dialling(id).and_then(|dialling| {
            let place = dialling.early.iter().position(known)?;
            Some(dialling.early.swap_remove(place))
        });
        let Some(branch) = self.take_branch(id, key) else {
            return;
        };
        let (dialog, answered) = match early {
            Some(early) => (early.dialog, early.answer),
            None => (branch.dialog, None),
        };
        let Some(dialling) = self.dialling(id) else {
            return;
        };
        let offer = std::mem::take(&mut dialling.sdp);
        self.transactions.cancel(now, id, Some(key));
        let acknowledged = self.take_up(now, id, (dialog, branch.flow, branch.cseq), response);
        if let Some(call) = self.calls.get_mut(&id) {
            call.last_sdp = Some(offer);
        }
        // What a reliable response has answered stays so (RFC 3261 §13.2.1).
        let answer = answered.or_else(|| session_of_response(response));
        match answer.filter(|_| acknowledged) {
            Some(sdp) => {
                let sdp = Redacted(sdp);
                self.event(CallEvent::Answered { call: id, sdp });
                self.event(CallEvent::Established { call: id });
            }
            None => {
                self.hang_up(now, id);
                self.end(now, id, EndReason::ProtocolError);
            }
        }
    }

    /// The callee's dialog becomes the call's, and its 2xx is acknowledged. Whether that is a dialog.
    fn take_up(
        &mut self,
        now: Instant,
        id: CallId,
        (mut dialog, flow, cseq): (Dialog, Flow, u32),
        response: &Response,
    ) -> bool {
        let token = format!("z9hG4bK{}", self.token());
        let least = self.config.min_session_expires;
        let known = dialog.confirm(&response.headers);
        let Some(call) = self.calls.get_mut(&id) else {
            return false;
        };
        call.dialog = dialog;
        (call.flow, call.party) = (flow, flow.remote);
        call.stage = Stage::Up;
        let allowed = tokens(&response.headers, &HeaderName::Allow);
        call.peer_allows_update = allowed.iter().any(|method| method == "update");
        call.session = session_timer::adopt(now, &response.headers, least);
        let sent = ack(call, cseq, &token);
        if let Some((flow, bytes)) = sent {
            call.last_ack = Some((cseq, flow, bytes.clone()));
            self.transmit(flow, bytes);
        }
        known
    }

    /// A 2xx of a call that is up: its own again, whose ACK was lost (RFC 3261 §13.2.2.4), or one of
    /// another callee, who is turned away.
    fn answered_again(
        &mut self,
        now: Instant,
        id: CallId,
        key: &TransactionKey,
        response: &Response,
    ) {
        if !response.status.is_success() {
            return;
        }
        let call = self.calls.get(&id);
        let call = call.filter(|call| call.dialog.is_ours(&response.headers));
        if let Some((_, flow, bytes)) = call.and_then(|call| call.last_ack.clone()) {
            return self.transmit(flow, bytes);
        }
        if let Some((flow, invite)) = self.transactions.invite_of(key) {
            self.turn_away(now, flow, &invite, response);
        }
    }

    /// Acknowledges a 2xx that came for nothing, and hangs up.
    pub(super) fn turn_away(
        &mut self,
        now: Instant,
        flow: Flow,
        invite: &Request,
        response: &Response,
    ) {
        let call_id = text(&response.headers, &HeaderName::CallId).unwrap_or_default();
        let tag = to_tag(&response.headers).unwrap_or_default();
        let known = self.strays.0.iter();
        let known = known.filter(|(id, of, ..)| *id == call_id && *of == tag);
        if let Some((_, _, flow, bytes)) = known.last() {
            let (flow, bytes) = (*flow, bytes.clone());
            return self.transmit(flow, bytes);
        }
        let of_call = self.strays.0.iter().filter(|(id, ..)| *id == call_id);
        if of_call.count() >= MAX_STRAYS_OF_CALL {
            return;
        }
        let tokens = [self.token(), self.token()].map(|token| format!("z9hG4bK{token}"));
        let Some((mut dialog, cseq)) = Dialog::of_answer(invite, response, flow) else {
            return;
        };
        let flow = Flow {
            remote: dialog.next_hop(flow).1,
            ..flow
        };
        let draft = dialog.request(Method::Ack, flow, &tokens[0], Some(cseq));
        if let Some(ack) = draft.build() {
            let bytes = Message::Request(ack).to_bytes();
            if self.strays.0.len() >= MAX_STRAYS {
                self.strays.0.pop_front();
            }
            self.strays.0.push_back((call_id, tag, flow, bytes.clone()));
            self.transmit(flow, bytes);
        }
        let draft = dialog.request(Method::Bye, flow, &tokens[1], None);
        if let Some(bye) = draft.build() {
            self.transactions
                .send(now, bye, flow, (NOBODY, Purpose::Bye));
        }
    }

    /// We hang up before anybody answers: CANCEL, which waits for a provisional response
    /// (RFC 3261 §9.1).
    pub(super) fn give_up_dialling(&mut self, now: Instant, id: CallId, reason: EndReason) {
        self.transactions.cancel(now, id, None);
        self.end(now, id, reason);
    }

    /// A request of a callee that rings. Our offer is open, or its answer is not taken up yet, so that
    /// no other offer is taken (RFC 3311 §5.2).
    pub(super) fn within_early_dialog(&mut self, now: Instant, arrival: Arrival) {
        let id = arrival.envelope.to_tag();
        let id = id.and_then(|tag| self.dialogs.get(&tag).copied());
        let early = id.and_then(|id| {
            let dialling = self.dialling(id)?;
            let mut early = dialling.early.iter_mut();
            let early = early.find(|early| early.dialog.matches(&arrival.envelope))?;
            Some((id, early))
        });
        let Some((id, early)) = early else {
            return self.refuse(&arrival, &not_here());
        };
        if let Err(refusal) = early.dialog.advance(&arrival.envelope) {
            return self.refuse(&arrival, &refusal);
        }
        let offers = !arrival.request.body().is_empty();
        let answer = match arrival.request.method {
            Method::Update if offers && early.answer.is_none() => {
                Refusal::new(491, "Request Pending")
            }
            Method::Update if offers => Refusal::new(488, "Not Acceptable Here"),
            Method::Update => {
                early.dialog.refresh_target(&arrival.request.headers);
                Refusal::new(200, "OK")
            }
            Method::Info => Refusal::new(200, "OK"),
            Method::Options => options(),
            _ => not_here(),
        };
        self.reply(now, id, arrival, &answer);
    }
}

impl Dialog {
    /// The dialog that a 2xx to an INVITE of ours began, and the number of the INVITE.
    fn of_answer(invite: &Request, response: &Response, flow: Flow) -> Option<(Self, u32)> {
        let headers = &invite.headers;
        let cseq = cseq_number(headers)?;
        let from = text(headers, &HeaderName::From)?;
        let (local, tag) = from.rsplit_once(";tag=")?;
        let call_id = text(headers, &HeaderName::CallId)?;
        let target = invite.uri.clone();
        let mut dialog = Self::dialled(call_id, tag.to_owned(), local, target, flow);
        // What rang in this dialog, and is not known any more, took numbers for its PRACKs.
        dialog.skip_to(cseq.saturating_add(MAX_RELIABLE.into()));
        dialog.confirm(&response.headers).then_some((dialog, cseq))
    }
}
