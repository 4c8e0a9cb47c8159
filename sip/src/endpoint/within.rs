//! Requests of the peer within a call: re-INVITE, UPDATE, INFO, REFER, NOTIFY, BYE, OPTIONS.

use std::time::Instant;

use mcu_api::call::{CallEvent, EndReason};
use mcu_api::ids::CallId;
use mcu_api::secret::Redacted;
use rand::Rng;

use super::incoming::Arrival;
use super::invite::{unacknowledged, with_terms};
use super::register::overloaded;
use super::{ALLOW, Endpoint};
use crate::body::{
    DTMF, DTMF_RELAY, MEDIA_CONTROL, SDP, media_type, session_description, telephone_key,
    wants_key_frame,
};
use crate::call::{GIVE_UP, PeerOffer, Stage};
use crate::message::{self, HeaderName, Method, Refusal, Response, TransactionKey};
use crate::session_timer::{self, Session, Terms};

impl Endpoint {
    pub(super) fn within_dialog(&mut self, now: Instant, arrival: Arrival) {
        if self.transactions.is_full() {
            return self.refuse(&arrival, &overloaded());
        }
        let flow = arrival.flow;
        let Some(call) = self.call_of(&arrival.envelope) else {
            return self.within_early_dialog(now, arrival);
        };
        if !call.may_follow(flow) {
            return self.refuse(&arrival, &Refusal::new(403, "Forbidden"));
        }
        if let Err(refusal) = call.dialog.advance(&arrival.envelope) {
            return self.refuse(&arrival, &refusal);
        }
        call.flow = flow;
        let id = call.id;
        match arrival.request.method {
            Method::Invite | Method::Update => self.offered_anew(now, id, arrival),
            Method::Info => self.informed(now, id, arrival),
            Method::Refer => self.refer(now, id, arrival),
            Method::Notify => self.told_of_transfer(now, id, arrival),
            Method::Bye => self.left(now, id, arrival),
            Method::Options => self.reply(now, id, arrival, &options()),
            _ => self.reply(now, id, arrival, &not_here()),
        }
        self.settle(now, id);
    }

    /// Opens a transaction and answers it at once.
    pub(super) fn reply(&mut self, now: Instant, id: CallId, arrival: Arrival, answer: &Refusal) {
        let Some(response) = self.finished(id, &arrival, answer) else {
            return;
        };
        if let Some(key) = self.transactions.open(now, arrival.request, arrival.reply) {
            self.transactions.respond(now, &key, response);
        }
    }

    fn finished(&self, id: CallId, arrival: &Arrival, answer: &Refusal) -> Option<Response> {
        let call = self.calls.get(&id)?;
        let tag = &call.dialog.local_tag;
        let mut response = self.response_to(&arrival.request.headers, answer, tag)?;
        if answer.status < 300 && arrival.request.method == Method::Update {
            self.add_dialog_headers(call, &mut response);
        }
        message::finish(&mut response, None);
        Some(response)
    }

    fn left(&mut self, now: Instant, id: CallId, arrival: Arrival) {
        self.reply(now, id, arrival, &Refusal::new(200, "OK"));
        self.end(now, id, EndReason::Remote);
    }

    /// INFO: key frame requests (RFC 5168) and telephone keys are understood, an empty one asks whether
    /// we live.
    fn informed(&mut self, now: Instant, id: CallId, arrival: Arrival) {
        let request = &arrival.request;
        let kind = media_type(&request.headers);
        let kind = kind.as_deref().unwrap_or_default();
        let known = request.body().is_empty() || [MEDIA_CONTROL, DTMF_RELAY, DTMF].contains(&kind);
        if !known {
            let accepted = format!("{MEDIA_CONTROL}, {DTMF_RELAY}, {DTMF}");
            let refusal =
                Refusal::new(415, "Unsupported Media Type").with(HeaderName::Accept, accepted);
            return self.reply(now, id, arrival, &refusal);
        }
        let wanted = kind == MEDIA_CONTROL && wants_key_frame(request);
        let key = telephone_key(kind, request.body());
        self.reply(now, id, arrival, &Refusal::new(200, "OK"));
        let ended = self
            .calls
            .get(&id)
            .is_none_or(|call| matches!(call.stage, Stage::Leaving));
        if wanted && !ended {
            self.event(CallEvent::KeyFrameRequested { call: id });
        }
        if let Some(digit) = key.filter(|_| !ended) {
            self.event(CallEvent::Digit { call: id, digit });
        }
    }

    fn offered_anew(&mut self, now: Instant, id: CallId, arrival: Arrival) {
        let is_invite = arrival.request.method == Method::Invite;
        let (offer, terms) = match self.admit_offer(now, id, &arrival) {
            Ok(admitted) => admitted,
            Err(refusal) => return self.reply(now, id, arrival, &refusal),
        };
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        call.dialog.refresh_target(&arrival.request.headers);
        if offer.is_none() && !is_invite {
            // UPDATE without offer only keeps the session alive (RFC 4028 §7.4).
            call.session = terms.map(|t| Session::start(now, t.interval, t.we_refresh));
            let answer = with_terms(Refusal::new(200, "OK"), terms);
            return self.reply(now, id, arrival, &answer);
        }
        self.pass_up_offer(now, id, arrival, offer, terms);
    }

    fn pass_up_offer(
        &mut self,
        now: Instant,
        id: CallId,
        arrival: Arrival,
        offer: Option<String>,
        terms: Option<Terms>,
    ) {
        let request = arrival.request;
        let Some(key) = self.transactions.open(now, request.clone(), arrival.reply) else {
            return;
        };
        let is_invite = request.method == Method::Invite;
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        // Who sends a new request has seen our 2xx, even if its ACK was lost.
        let overtaken = call.unacknowledged.take().is_some();
        call.peer_offer = Some(PeerOffer {
            voids: call.queued_offer.clone(),
            request,
            key,
            reply: arrival.reply,
            is_invite,
            offered: offer.is_some(),
            terms,
            give_up_at: now + GIVE_UP,
        });
        if overtaken {
            self.established(now, id);
        }
        self.pump(now);
        self.event(CallEvent::Reoffer {
            call: id,
            sdp: offer.map(Redacted),
        });
    }

    /// Whether an offer, or a refresh, may be taken now (RFC 3261 §14.2, RFC 3311 §5.2).
    fn admit_offer(
        &mut self,
        now: Instant,
        id: CallId,
        arrival: &Arrival,
    ) -> Result<(Option<String>, Option<Terms>), Refusal> {
        let is_invite = arrival.request.method == Method::Invite;
        let offer = session_description(&arrival.request)?;
        let least = self.config.min_session_expires;
        let terms = session_timer::answer(&arrival.request.headers, least)?;
        let wait = self.random.random_range(1..=10u32).to_string();
        let call = self.calls.get(&id).ok_or_else(not_here)?;
        if !is_invite && offer.is_none() {
            return Ok((None, terms));
        }
        if call.our_offer_is_open() {
            return Err(Refusal::new(491, "Request Pending"));
        }
        let busy = call.peer_offer.is_some() || matches!(call.stage, Stage::Asked(_));
        if busy {
            return Err(
                Refusal::new(500, "Earlier Offer Pending").with(HeaderName::RetryAfter, wait)
            );
        }
        if matches!(call.stage, Stage::Leaving) {
            tracing::trace!(call = id.0, at = ?now, "offer in a call that is being left");
            return Err(not_here());
        }
        Ok((offer, terms))
    }

    /// Answers the peer's offer with a session description.
    pub(super) fn answer_offer(&mut self, now: Instant, id: CallId, sdp: String) {
        let Some(offer) = self.take_offer(id) else {
            return;
        };
        let answer = with_terms(Refusal::new(200, "OK"), offer.terms);
        let Some((key, mut response)) = self.offer_response(id, &offer, &answer) else {
            return;
        };
        message::finish(&mut response, Some((SDP, &sdp)));
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        // A refresh without Session-Expires ends the timer (RFC 4028 §9).
        call.session = offer
            .terms
            .map(|t| Session::start(now, t.interval, t.we_refresh));
        call.last_sdp = Some(sdp);
        // An offer of ours that waited is void: what is agreed on now is not what it says.
        if call.queued_offer == offer.voids {
            call.queued_offer = None;
        }
        if offer.is_invite {
            let cseq = call.dialog.remote_cseq;
            let cseq = invite_cseq(&offer).unwrap_or(cseq);
            let waiting = unacknowledged(now, cseq, offer.reply, &response, !offer.offered);
            call.unacknowledged = Some(waiting);
        }
        self.transactions.respond(now, &key, response);
    }

    /// Refuses the peer's offer; the call goes on as it was.
    pub(super) fn refuse_offer(&mut self, now: Instant, id: CallId, refusal: &Refusal) {
        let Some(offer) = self.take_offer(id) else {
            return;
        };
        if let Some((key, mut response)) = self.offer_response(id, &offer, refusal) {
            message::finish(&mut response, None);
            self.transactions.respond(now, &key, response);
        }
    }

    fn take_offer(&mut self, id: CallId) -> Option<PeerOffer> {
        self.calls.get_mut(&id)?.peer_offer.take()
    }

    fn offer_response(
        &self,
        id: CallId,
        offer: &PeerOffer,
        answer: &Refusal,
    ) -> Option<(TransactionKey, Response)> {
        let call = self.calls.get(&id)?;
        let tag = &call.dialog.local_tag;
        let mut response = self.response_to(&offer.request.headers, answer, tag)?;
        if answer.status < 300 {
            self.add_dialog_headers(call, &mut response);
        }
        Some((offer.key.clone(), response))
    }
}

fn invite_cseq(offer: &PeerOffer) -> Option<u32> {
    let value = message::text(&offer.request.headers, &HeaderName::CSeq)?;
    value.split_whitespace().next()?.parse().ok()
}

pub(super) fn options() -> Refusal {
    Refusal::new(200, "OK")
        .with(HeaderName::Allow, ALLOW)
        .with(HeaderName::Accept, SDP)
        .with(HeaderName::Supported, super::SUPPORTED)
}

pub(super) fn not_here() -> Refusal {
    Refusal::new(481, "Call Does Not Exist")
}
