//! Requests of ours within a call and the responses to them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use mcu_api::call::{CallEvent, EndReason};
use mcu_api::ids::CallId;
use mcu_api::secret::Redacted;
use rand::Rng;
use sipx_sip::rel::Sequence;

use super::invite::contact;
use super::{ALLOW, Endpoint, SUPPORTED};
use crate::body::{MEDIA_CONTROL, PICTURE_FAST_UPDATE, SDP, session_of_response};
use crate::call::{Call, GIVE_UP, OurOffer, Stage};
use crate::dialog::Draft;
use crate::flow::{Flow, FlowId, Output};
use crate::gruu;
use crate::message::{
    HeaderName, Message, Method, Refusal, Response, address, cseq_number, lossy, text,
};
use crate::session_timer;
use crate::transaction::Purpose;

impl Endpoint {
    /// Sends what had to wait and may go now, and sets the call's next deadline.
    pub(super) fn settle(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else {
            self.call_deadlines.set(id, None);
            return;
        };
        self.changes.calls += 1;
        if call
            .dialog
            .target()
            .params()
            .is_some_and(|p| p.contains("gr"))
        {
            self.resolve_gruu(now, id);
        }
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        if call.may_offer(now) {
            if let Some(sdp) = call.queued_offer.take() {
                call.retry_at = None;
                if self.send_offer(now, id, sdp, Purpose::Offer).is_none() {
                    self.event(CallEvent::OfferFailed { call: id });
                }
            } else if call.refresh_wanted {
                self.refresh_by_invite(now, id);
            }
        }
        self.send_key_frame_request(now, id);
        let deadline = self.calls.get(&id).and_then(|call| call.deadline());
        self.call_deadlines.set(id, deadline);
    }

    /// A terminal whose Contact is a GRUU that we gave it is reached at what it has registered, as who
    /// gave it out has to see to (RFC 5627 §6.1). Where that is, nobody learns but who is there or has
    /// proven the account.
    fn resolve_gruu(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let target = call.dialog.target();
        let own = call.account.is_some() && gruu::account(target) == call.account;
        let bindings = self.registrar.of_gruu(now, target);
        let known = bindings
            .filter(|binding| own || binding.flow.remote == call.party)
            .max_by_key(|binding| binding.registered_at);
        if let Some(uri) = known.map(|binding| binding.uri.clone()) {
            call.dialog.lead_back(uri);
        }
    }

    /// re-INVITE (RFC 3261 §14.1). `None` when it cannot be sent.
    fn send_offer(
        &mut self,
        now: Instant,
        id: CallId,
        sdp: String,
        purpose: Purpose,
    ) -> Option<()> {
        let flow = self.request_flow(now, id)?;
        let (draft, flow) = self.draft(id, Method::Invite, flow)?;
        let call = self.calls.get_mut(&id)?;
        let mut draft = draft
            .header(HeaderName::Contact, contact(call))
            .header(HeaderName::Allow, ALLOW)
            .header(HeaderName::Supported, SUPPORTED);
        if let Some(session) = &call.session {
            draft = draft.header(HeaderName::SessionExpires, session.as_uac());
        }
        call.our_offer = Some(OurOffer {
            cseq: draft.cseq,
            sdp: sdp.clone(),
            sequence: Sequence::default(),
            acknowledged: 0,
            answer: None,
            give_up_at: now + GIVE_UP,
        });
        let draft = draft.body(SDP, &sdp);
        let sent = self.send(now, id, draft, flow, purpose);
        if let Some(call) = self.calls.get_mut(&id).filter(|_| !sent) {
            call.our_offer = None;
        }
        sent.then_some(())
    }

    fn refresh_by_invite(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        call.refresh_wanted = false;
        if let Some(sdp) = call.last_sdp.clone() {
            self.send_offer(now, id, sdp, Purpose::Refresh);
        }
    }

    /// Keeps the session alive (RFC 4028 §7.4): by UPDATE if the peer knows it, for it carries no
    /// offer, else by a re-INVITE with the description that holds already.
    pub(super) fn refresh(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        if !call.peer_allows_update {
            call.refresh_wanted = true;
            return;
        }
        let Some(flow) = self.request_flow(now, id) else {
            return;
        };
        let Some((draft, flow)) = self.draft(id, Method::Update, flow) else {
            return;
        };
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        let expires = call.session.as_ref().map(session_timer::Session::as_uac);
        let draft = draft
            .header(HeaderName::Contact, contact(call))
            .header(HeaderName::Supported, SUPPORTED)
            .header(HeaderName::SessionExpires, expires.unwrap_or_default());
        self.send(now, id, draft, flow, Purpose::Refresh);
    }

    /// INFO with a key frame request (RFC 5168 §7); one at a time.
    fn send_key_frame_request(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let up = matches!(call.stage, Stage::Up);
        if !up || !call.key_frame.wanted || call.key_frame.in_flight {
            return;
        }
        call.key_frame.wanted = false;
        let Some(flow) = self.request_flow(now, id) else {
            return;
        };
        if let Some((draft, flow)) = self.draft(id, Method::Info, flow) {
            let draft = draft.body(MEDIA_CONTROL, PICTURE_FAST_UPDATE);
            let sent = self.send(now, id, draft, flow, Purpose::KeyFrame);
            if let Some(call) = self.calls.get_mut(&id) {
                call.key_frame.in_flight = sent;
            }
        }
    }

    /// BYE (RFC 3261 §15.1.1). The call is forgotten by the caller; the transaction lives on.
    pub(super) fn hang_up(&mut self, now: Instant, id: CallId) {
        self.hang_up_because(now, id, None);
    }

    /// As [`Self::hang_up`], for a reason that the peer is to know (RFC 3326).
    pub(super) fn hang_up_because(&mut self, now: Instant, id: CallId, reason: Option<&str>) {
        let Some(flow) = self.request_flow(now, id) else {
            return;
        };
        if let Some((mut draft, flow)) = self.draft(id, Method::Bye, flow) {
            if let Some(reason) = reason {
                draft = draft.header(HeaderName::Reason, reason);
            }
            self.send(now, id, draft, flow, Purpose::Bye);
        }
    }

    pub(super) fn draft(
        &mut self,
        id: CallId,
        method: Method,
        flow: Flow,
    ) -> Option<(Draft, Flow)> {
        let branch = format!("z9hG4bK{}", self.token());
        let call = self.calls.get_mut(&id)?;
        let draft = call.dialog.request(method, flow, &branch, None);
        let agent = self.config.server_name.clone();
        Some((draft.header(HeaderName::UserAgent, agent), flow))
    }

    pub(super) fn send(
        &mut self,
        now: Instant,
        id: CallId,
        draft: Draft,
        flow: Flow,
        why: Purpose,
    ) -> bool {
        let sent = draft
            .build()
            .is_some_and(|request| self.transactions.send(now, request, flow, (id, why)));
        if !sent {
            tracing::warn!(call = id.0, purpose = ?why, "a SIP request could not be sent");
        }
        sent
    }

    /// Where a request of ours goes. A stream connection that is gone is asked for anew.
    pub(super) fn request_flow(&mut self, now: Instant, id: CallId) -> Option<Flow> {
        let call = self.calls.get(&id)?;
        let flow = call.flow;
        if !flow.transport.is_stream() {
            let remote = call.dialog.next_hop(flow).1;
            return Some(Flow { remote, ..flow });
        }
        if self.connections.contains_key(&flow.id) {
            return Some(flow);
        }
        // The port that the dead connection came from is not one that listens; the Contact's is.
        let stated = call.dialog.stated_hop();
        let stated = stated.map(|(_, address)| flow.as_reached(address));
        let stated = stated.filter(|address| !flow.is_ours(*address));
        let flow = Flow {
            id: FlowId(self.next_flow),
            remote: stated.unwrap_or(flow.remote),
            ..flow
        };
        if self.connections.len() >= self.config.max_connections {
            return None;
        }
        self.next_flow += 1;
        self.add_connection(now, flow, None);
        let domain = None;
        self.outputs.push_back(Output::Connect { flow, domain });
        self.calls.get_mut(&id)?.flow = flow;
        Some(flow)
    }

    /// A response to a request of ours.
    pub(super) fn response_to_ours(
        &mut self,
        now: Instant,
        id: CallId,
        purpose: Purpose,
        response: &Response,
    ) {
        let status = response.status.code();
        if !self.calls.contains_key(&id) {
            return;
        }
        if status < 200 {
            return self.progressed_within(now, id, response);
        }
        // RFC 3261 §12.2.1.2: the peer does not know the dialog any more.
        let lives_on = match purpose {
            Purpose::Bye | Purpose::Prack | Purpose::Refer => true,
            Purpose::Transfer => status == 408,
            _ => false,
        };
        if matches!(status, 408 | 481) && !lives_on {
            let reason = match status {
                481 => EndReason::Remote,
                _ => EndReason::Timeout,
            };
            self.hang_up(now, id);
            return self.end(now, id, reason);
        }
        match purpose {
            Purpose::Offer | Purpose::Refresh => self.offer_answered(now, id, purpose, response),
            Purpose::KeyFrame => {
                if let Some(call) = self.calls.get_mut(&id) {
                    call.key_frame.in_flight = false;
                }
            }
            Purpose::Transfer => self.transfer_answered(id, status),
            Purpose::Bye | Purpose::Prack | Purpose::Refer => {}
            Purpose::Notify | Purpose::Register | Purpose::Dial => {}
        }
    }

    /// A final response to re-INVITE or UPDATE.
    fn offer_answered(&mut self, now: Instant, id: CallId, purpose: Purpose, response: &Response) {
        let by_invite = text(&response.headers, &HeaderName::CSeq)
            .is_some_and(|value| value.ends_with("INVITE"));
        let accepted = response.status.is_success();
        match (accepted, by_invite) {
            (true, false) => self.session_refreshed(now, id, response),
            (true, true) if self.acknowledge(id, response) => {
                self.session_refreshed(now, id, response);
                self.offer_accepted(id, purpose, response);
            }
            (true, true) => {}
            (false, true) => self.offer_refused(now, id, purpose, response.status.code()),
            (false, false) => {
                // A peer that announces UPDATE and refuses it is refreshed by re-INVITE.
                if let Some(call) = self.calls.get_mut(&id) {
                    call.peer_allows_update = false;
                    call.refresh_wanted = true;
                }
            }
        }
    }

    /// A refusal leaves the session as it was (RFC 3261 §14.1). After 491 the offer is made again.
    fn offer_refused(&mut self, now: Instant, id: CallId, purpose: Purpose, status: u16) {
        // RFC 3261 §14.1: who owns the Call-ID waits 2.1 to 4 s, the other 0 to 2 s.
        let tens = match id >= CallId::FIRST_DIALLED {
            true => 210..=400u64,
            false => 0..=200,
        };
        let wait = Duration::from_millis(10 * self.random.random_range(tens));
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let Some(offer) = call.our_offer.take() else {
            return;
        };
        if status == 491 {
            call.retry_at = Some(now + wait);
            match purpose {
                Purpose::Refresh => call.refresh_wanted = true,
                _ => call.queued_offer = call.queued_offer.take().or(Some(offer.sdp)),
            }
        } else if purpose == Purpose::Offer {
            self.offer_failed(id, &offer.sdp);
        }
    }

    /// An offer of ours has come to nothing, unless the rooms want another one sent already.
    pub(super) fn offer_failed(&mut self, id: CallId, sdp: &str) {
        let call = self.calls.get_mut(&id);
        if let Some(call) = call.filter(|call| !call.is_superseded(Some(sdp))) {
            call.queued_offer = None;
            self.event(CallEvent::OfferFailed { call: id });
        }
    }

    fn session_refreshed(&mut self, now: Instant, id: CallId, response: &Response) {
        let least = self.config.min_session_expires;
        if let Some(call) = self.calls.get_mut(&id) {
            call.dialog.refresh_target(&response.headers);
            call.session = session_timer::adopt(now, &response.headers, least);
        }
    }

    /// The answer to a mere refresh counts, too: it may bring another address (RFC 4028 §7.4, RFC 3264
    /// §8).
    fn offer_accepted(&mut self, id: CallId, purpose: Purpose, response: &Response) {
        let offer = self.calls.get_mut(&id).and_then(|c| c.our_offer.take());
        let Some(offer) = offer else {
            return;
        };
        let Some(sdp) = offer.answer.or_else(|| session_of_response(response)) else {
            tracing::warn!(call = id.0, ?purpose, "an offer accepted without an answer");
            if purpose == Purpose::Offer {
                self.offer_failed(id, &offer.sdp);
            }
            return;
        };
        if let Some(call) = self.calls.get_mut(&id) {
            // Another offer has taken its place meanwhile: the answer is to neither.
            let superseded = call.is_superseded(Some(&offer.sdp));
            if !superseded {
                call.queued_offer = None;
            }
            call.last_sdp = Some(offer.sdp);
            if superseded {
                return;
            }
        }
        let sdp = Redacted(sdp);
        self.event(match purpose {
            Purpose::Refresh => CallEvent::Refreshed { call: id, sdp },
            _ => CallEvent::Answered { call: id, sdp },
        });
    }

    /// Sends the ACK of a 2xx (RFC 3261 §13.2.2.4). `false` for a 2xx that came before.
    fn acknowledge(&mut self, id: CallId, response: &Response) -> bool {
        let branch = format!("z9hG4bK{}", self.token());
        let Some(call) = self.calls.get_mut(&id) else {
            return false;
        };
        let cseq = cseq_number(&response.headers);
        if let Some((acknowledged, flow, bytes)) = &call.last_ack
            && Some(*acknowledged) == cseq
        {
            let (flow, bytes) = (*flow, bytes.clone());
            self.transmit(flow, bytes);
            return false;
        }
        let Some(cseq) = cseq.filter(|&n| call.our_offer.as_ref().is_some_and(|o| o.cseq == n))
        else {
            return false;
        };
        call.dialog.refresh_target(&response.headers);
        if let Some((flow, bytes)) = ack(call, cseq, &branch) {
            call.last_ack = Some((cseq, flow, bytes.clone()));
            self.transmit(flow, bytes);
        }
        true
    }

    /// A 2xx to a re-INVITE whose transaction died with an earlier life. The peer hangs up when it is
    /// not acknowledged (RFC 3261 §13.3.1.4); its answer is asked for again by the rooms.
    pub(super) fn acknowledge_lost(&mut self, response: &Response) {
        let cseq = text(&response.headers, &HeaderName::CSeq)
            .filter(|value| value.ends_with("INVITE") && response.status.is_success())
            .and_then(|value| value.split_whitespace().next()?.parse::<u32>().ok());
        let from = text(&response.headers, &HeaderName::From);
        let tag = from.and_then(|value| address(value.as_bytes())?.tag().map(lossy));
        let (Some(cseq), Some(tag)) = (cseq, tag) else {
            return;
        };
        let branch = format!("z9hG4bK{}", self.token());
        let id = self.dialogs.get(&tag).copied();
        let call = id.and_then(|id| self.calls.get_mut(&id));
        let known = call.filter(|call| {
            call.restored
                && matches!(call.stage, Stage::Up)
                && call.dialog.is_ours(&response.headers)
        });
        if let Some((flow, bytes)) = known.and_then(|call| ack(call, cseq, &branch)) {
            self.transmit(flow, bytes);
        }
    }

    /// A request of ours got no answer (RFC 3261 §12.2.1.2). Terminals that never answer INFO are let
    /// live.
    pub(super) fn request_failed(&mut self, now: Instant, id: CallId, purpose: Purpose) {
        match purpose {
            Purpose::Offer | Purpose::Refresh => {
                self.hang_up(now, id);
                self.end(now, id, EndReason::Timeout);
            }
            Purpose::KeyFrame => {
                if let Some(call) = self.calls.get_mut(&id) {
                    call.key_frame.in_flight = false;
                }
            }
            Purpose::Transfer => self.transfer_unanswered(id),
            Purpose::Bye | Purpose::Prack | Purpose::Refer => {}
            Purpose::Notify | Purpose::Register | Purpose::Dial => {}
        }
    }

    /// Ends a call for the rooms: nothing follows with this id. What the peer still waits for is
    /// answered.
    pub(super) fn end(&mut self, now: Instant, id: CallId, reason: EndReason) {
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        let terminated = Refusal::new(487, "Request Terminated");
        let known = !matches!(call.stage, Stage::Leaving);
        if matches!(call.stage, Stage::Asked(_)) {
            return self.reject(now, id, &terminated, reason);
        }
        self.refuse_offer(now, id, &terminated);
        self.end_referral(now, id);
        self.forget(now, id);
        if known {
            self.event(CallEvent::Ended { call: id, reason });
        }
    }

    /// Lets go of a call and of what was asked in it. A BYE goes on.
    pub(super) fn forget(&mut self, now: Instant, id: CallId) {
        if let Some(call) = self.calls.remove(&id) {
            self.changes.calls += 1;
            self.dialogs.remove(&call.dialog.local_tag);
            // Nothing is asked before the 2xx, so that refusing a flood of calls stays cheap.
            if !matches!(call.stage, Stage::Asked(_)) {
                self.transactions.abandon(now, id);
            }
        }
        self.call_deadlines.set(id, None);
    }
}

/// The ACK of a 2xx to a re-INVITE with this number, and where it goes.
pub(super) fn ack(call: &mut Call, cseq: u32, branch: &str) -> Option<(Flow, Bytes)> {
    let mut flow = call.flow;
    flow.remote = call.dialog.next_hop(flow).1;
    let draft = call.dialog.request(Method::Ack, flow, branch, Some(cseq));
    let ack = draft.build()?;
    Some((flow, Message::Request(ack).to_bytes()))
}
