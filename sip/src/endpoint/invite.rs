//! INVITE that begins a call, its ACK and its CANCEL.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use mcu_api::call::{CallCommand, CallEvent, EndReason, IncomingCall, SrtpPolicy};
use mcu_api::ids::CallId;
use mcu_api::secret::Redacted;

use super::incoming::Arrival;
use super::register::overloaded;
use super::{ALLOW, ALLOW_EVENTS, Endpoint, SUPPORTED};
use crate::admission::source;
use crate::body::{SDP, accepts_sdp, session_description};
use crate::call::{Asked, Call, GIVE_UP, MAX_RINGING, Stage, T1, Unacknowledged};
use crate::dialog::Dialog;
use crate::digest::Verdict;
use crate::flow::Flow;
use crate::message::{
    self, Envelope, HeaderName, Message, Refusal, Request, Response, TransactionKey, lossy,
    shown_name, text, tokens,
};
use crate::session_timer::{self, Session, Terms};

/// What an INVITE brought, once it is fit to become a call.
struct Invitation {
    proof: Verdict,
    replaces: Option<CallId>,
    offer: Option<String>,
    terms: Option<Terms>,
    dialog: Dialog,
}

impl Endpoint {
    pub(super) fn invited(&mut self, now: Instant, arrival: Arrival) {
        if self.answers_again(&arrival) {
            return;
        }
        let proof = self.authenticate(now, &arrival.request);
        let proven = matches!(proof, Verdict::Proven(_));
        let source = arrival.flow.remote.ip().to_canonical();
        let known = proven || self.config.unchallenged.contains(&source);
        // Whose call is to be replaced is decided by accounts alone.
        let replaces = arrival.request.headers.count(&HeaderName::Replaces) > 0;
        let must_prove = replaces && !proven && !self.accounts.is_empty();
        if must_prove || (self.config.require_auth && !known) {
            return self.challenge(now, &arrival, proof == Verdict::Stale);
        }
        if !known && !self.admits_stranger(now, arrival.flow.remote.ip()) {
            return match self.accounts.is_empty() {
                true => self.refuse(&arrival, &overloaded()),
                false => self.challenge(now, &arrival, proof == Verdict::Stale),
            };
        }
        match self.invitation(&arrival, proof) {
            Ok(invitation) => self.begin(now, arrival, invitation),
            Err(refusal) => self.refuse(&arrival, &refusal),
        }
    }

    /// Whether this is the INVITE, come again, of a call that an earlier life has answered, whose
    /// transaction died with it: then the answer is sent once more. To that caller's address alone, for
    /// keys stand in it.
    fn answers_again(&mut self, arrival: &Arrival) -> bool {
        let envelope = &arrival.envelope;
        let answered = self.calls.values().find(|call| {
            let unacknowledged = call.restored && matches!(call.stage, Stage::Accepted);
            unacknowledged && call.is_begun_by(envelope)
        });
        let answer = answered.and_then(|call| call.unacknowledged.as_ref());
        let way = |flow: Flow| (flow.transport, flow.remote.ip());
        let answer = answer.filter(|waiting| way(waiting.reply) == way(arrival.reply));
        let answer = answer.map(|waiting| waiting.bytes.clone());
        if let Some(bytes) = answer {
            self.transmit(arrival.reply, bytes);
            return true;
        }
        false
    }

    /// Whether somebody without a proven account may begin one more call.
    fn admits_stranger(&mut self, now: Instant, ip: IpAddr) -> bool {
        let of_source =
            |call: &&Call| call.account.is_none() && source(call.begun_from) == source(ip);
        let held = self.calls.values().filter(of_source).count();
        held < self.config.max_calls_per_source && self.admission.admits(now, ip)
    }

    fn invitation(&mut self, arrival: &Arrival, proof: Verdict) -> Result<Invitation, Refusal> {
        if self.is_merged(&arrival.envelope) {
            return Err(Refusal::new(482, "Request Merged"));
        }
        let headers = &arrival.request.headers;
        let offer = session_description(&arrival.request)?;
        if !accepts_sdp(headers) {
            return Err(Refusal::new(406, "Not Acceptable").with(HeaderName::Accept, SDP));
        }
        let terms = session_timer::answer(headers, self.config.min_session_expires)?;
        let replaces = self.replaced(headers, &proof)?;
        if self.calls.len() >= self.config.max_calls || self.transactions.is_full() {
            return Err(overloaded());
        }
        let tag = self.token();
        let dialog = Dialog::from_invite(
            &arrival.request,
            &arrival.envelope,
            &arrival.via,
            arrival.flow,
            tag,
        )?;
        Ok(Invitation {
            proof,
            replaces,
            offer,
            terms,
            dialog,
        })
    }

    /// RFC 3261 §8.2.2.2: the same request that came here by another way.
    fn is_merged(&self, envelope: &Envelope) -> bool {
        self.calls.values().any(|call| call.is_begun_by(envelope))
    }

    fn begin(&mut self, now: Instant, arrival: Arrival, invitation: Invitation) {
        let id = CallId(self.next_call);
        let incoming = incoming_call(id, &arrival, &invitation);
        let invite = arrival.request;
        let Some(key) = self.transactions.open(now, invite.clone(), arrival.reply) else {
            return;
        };
        self.next_call += 1;
        let user = invite
            .uri
            .user()
            .map(lossy)
            .unwrap_or(incoming.dialled.clone());
        let asked = Asked {
            give_up_at: now + ringing_limit(&invite),
            key,
            reply: arrival.reply,
            offered: invitation.offer.is_some(),
            stale: invitation.proof == Verdict::Stale,
            terms: invitation.terms,
            replaces: invitation.replaces,
            invite,
        };
        let mut call = new_call(id, arrival.flow, user, invitation.dialog, asked);
        call.account.clone_from(&incoming.account);
        self.dialogs.insert(call.dialog.local_tag.clone(), id);
        self.calls.insert(id, call);
        self.event(CallEvent::Incoming(incoming));
        self.settle(now, id);
    }

    /// Sends the 2xx and goes on sending it until the ACK (RFC 3261 §13.3.1.4). A call that is replaced
    /// ends now, and no earlier (RFC 3891 §3).
    pub(super) fn accept(&mut self, now: Instant, id: CallId, sdp: String) {
        let Some(Stage::Asked(asked)) = self.calls.get(&id).map(|call| &call.stage) else {
            return;
        };
        let (terms, reply, offered) = (asked.terms, asked.reply, asked.offered);
        let replaces = asked.replaces;
        let answer = with_terms(Refusal::new(200, "OK"), terms);
        let Some((key, mut response)) = self.answer_invite(id, &answer) else {
            return;
        };
        message::finish(&mut response, Some((SDP, &sdp)));
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        call.session = terms.map(|t| Session::start(now, t.interval, t.we_refresh));
        call.last_sdp = Some(sdp);
        call.stage = Stage::Accepted;
        call.unacknowledged = Some(unacknowledged(
            now,
            call.invite_cseq,
            reply,
            &response,
            !offered,
        ));
        self.transactions.respond(now, &key, response);
        if let Some(call) = replaces {
            self.carry_out(now, CallCommand::Hangup { call });
        }
    }

    /// Sends a final refusal and ends the call.
    pub(super) fn reject(&mut self, now: Instant, id: CallId, refusal: &Refusal, why: EndReason) {
        let asked = self
            .calls
            .get(&id)
            .is_some_and(|call| matches!(call.stage, Stage::Asked(_)));
        if !asked {
            return;
        }
        if let Some((key, mut response)) = self.answer_invite(id, refusal) {
            message::finish(&mut response, None);
            self.transactions.respond(now, &key, response);
        }
        self.forget(now, id);
        self.event(CallEvent::Ended {
            call: id,
            reason: why,
        });
    }

    /// A response to the INVITE that waits, with what makes it establish a dialog (RFC 3261 §12.1.1).
    pub(super) fn answer_invite(
        &self,
        id: CallId,
        refusal: &Refusal,
    ) -> Option<(TransactionKey, Response)> {
        let call = self.calls.get(&id)?;
        let Stage::Asked(asked) = &call.stage else {
            return None;
        };
        let headers = &asked.invite.headers;
        let mut response = self.response_to(headers, refusal, &call.dialog.local_tag)?;
        if refusal.status < 300 {
            for route in headers.get_all(&HeaderName::RecordRoute) {
                response.headers.push(route.clone());
            }
            self.add_dialog_headers(call, &mut response);
        }
        Some((asked.key.clone(), response))
    }

    /// Contact, Allow and Supported of responses within a dialog.
    pub(super) fn add_dialog_headers(&self, call: &Call, response: &mut Response) {
        let contact = contact(call);
        message::push(&mut response.headers, HeaderName::Contact, contact);
        message::push(&mut response.headers, HeaderName::Allow, ALLOW);
        message::push(&mut response.headers, HeaderName::Supported, SUPPORTED);
        message::push(&mut response.headers, HeaderName::AllowEvents, ALLOW_EVENTS);
    }

    /// An ACK for a 2xx (RFC 3261 §13.3.1.4); others are absorbed by their transactions or belong to
    /// answers without state.
    pub(super) fn acknowledged(&mut self, now: Instant, flow: Flow, ack: &Request) {
        let Ok(envelope) = Envelope::read(ack) else {
            return;
        };
        let call = self.call_of(&envelope);
        let Some(call) = call.filter(|call| call.may_follow(flow)) else {
            return;
        };
        let id = call.id;
        let waits = call
            .unacknowledged
            .take_if(|waiting| waiting.cseq == envelope.cseq);
        let Some(waiting) = waits else {
            return;
        };
        call.flow = flow;
        if matches!(call.stage, Stage::Accepted) {
            call.party = flow.remote;
        }
        let answer = session_description(ack).ok().flatten();
        if waiting.wants_answer {
            self.late_answer(now, id, answer);
        }
        self.established(now, id);
        self.settle(now, id);
    }

    /// The answer to the offer in our 2xx. A call cannot begin without it.
    fn late_answer(&mut self, now: Instant, id: CallId, answer: Option<String>) {
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        match (answer, &call.stage) {
            (_, Stage::Leaving) => {}
            // Another offer has taken the place of the one that this answers.
            (_, Stage::Up) if call.is_superseded(call.last_sdp.as_deref()) => {}
            (Some(sdp), _) => self.event(CallEvent::Answered {
                call: id,
                sdp: Redacted(sdp),
            }),
            (None, Stage::Up) => self.event(CallEvent::OfferFailed { call: id }),
            (None, _) => {
                self.hang_up(now, id);
                self.end(now, id, EndReason::ProtocolError);
            }
        }
    }

    /// The initial 2xx is known to have arrived.
    pub(super) fn established(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        match call.stage {
            Stage::Accepted => {
                call.stage = Stage::Up;
                self.event(CallEvent::Established { call: id });
            }
            Stage::Leaving => {
                self.hang_up(now, id);
                self.forget(now, id);
            }
            _ => {}
        }
    }

    /// CANCEL (RFC 3261 §9.2).
    pub(super) fn cancelled(&mut self, now: Instant, arrival: &Arrival) {
        let key = TransactionKey::for_cancelled_invite(&arrival.request);
        let Some(key) = key.filter(|key| self.transactions.contains(key)) else {
            return self.refuse(arrival, &Refusal::new(481, "Transaction Does Not Exist"));
        };
        self.refuse(arrival, &Refusal::new(200, "OK"));
        let terminated = Refusal::new(487, "Request Terminated");
        let asked = self.calls.values().find_map(|call| match &call.stage {
            Stage::Asked(asked) if asked.key == key => Some(call.id),
            _ => None,
        });
        if let Some(id) = asked {
            return self.reject(now, id, &terminated, EndReason::Cancelled);
        }
        let offered = self
            .calls
            .values()
            .find(|call| call.peer_offer.as_ref().is_some_and(|o| o.key == key))
            .map(|call| call.id);
        if let Some(id) = offered {
            self.refuse_offer(now, id, &terminated);
            self.settle(now, id);
        }
    }

    /// The call whose dialog these headers name.
    pub(super) fn call_of(&mut self, envelope: &Envelope) -> Option<&mut Call> {
        let id = self.dialogs.get(&envelope.to_tag()?)?;
        self.calls
            .get_mut(id)
            .filter(|call| call.dialog.matches(envelope))
    }
}

/// Our Contact on the flow that the call uses.
pub(super) fn contact(call: &Call) -> String {
    contact_on(call.flow, &call.user)
}

/// Our Contact on a flow: a conference (RFC 4579 §5.2).
pub(super) fn contact_on(flow: Flow, user: &str) -> String {
    format!("<{}>;isfocus", uri_on(flow, user))
}

/// The URI by which the peer reaches us on a flow, for an escaped user part or none.
pub(super) fn uri_on(flow: Flow, user: &str) -> String {
    let (local, transport) = (flow.told(), flow.transport.uri_parameter());
    match user {
        "" => format!("sip:{local}{transport}"),
        user => format!("sip:{user}@{local}{transport}"),
    }
}

/// Adds the agreed session timer to a 2xx (RFC 4028 §9).
pub(super) fn with_terms(answer: Refusal, terms: Option<Terms>) -> Refusal {
    let Some(terms) = terms else {
        return answer;
    };
    let answer = answer.with(HeaderName::SessionExpires, terms.as_uas());
    match terms.require {
        true => answer.with(HeaderName::Require, "timer"),
        false => answer,
    }
}

/// A 2xx that was just sent for the first time.
pub(super) fn unacknowledged(
    now: Instant,
    cseq: u32,
    reply: Flow,
    response: &Response,
    wants_answer: bool,
) -> Unacknowledged {
    Unacknowledged {
        cseq,
        reply,
        bytes: Message::Response(response.clone()).to_bytes(),
        interval: T1,
        next_at: now + T1,
        give_up_at: now + GIVE_UP,
        wants_answer,
    }
}

fn incoming_call(id: CallId, arrival: &Arrival, invitation: &Invitation) -> IncomingCall {
    let uri = &arrival.request.uri;
    let user = uri.decoded_user().map(|user| lossy(&user));
    let number = uri.tel_parts().map(|parts| lossy(parts.subscriber()));
    let account = match &invitation.proof {
        Verdict::Proven(account) => Some(account.clone()),
        Verdict::Stale | Verdict::Unproven => None,
    };
    IncomingCall {
        call: id,
        dialled: user.or(number).unwrap_or_default(),
        host: uri.host().map(ToString::to_string).unwrap_or_default(),
        caller: Redacted(shown_name(&arrival.envelope.from)),
        account,
        remote: arrival.flow.remote,
        user_agent: text(&arrival.request.headers, &HeaderName::UserAgent)
            .map(|agent| agent.chars().take(200).collect()),
        offer: invitation.offer.clone().map(Redacted),
        replaces: invitation.replaces,
        srtp: SrtpPolicy::default(),
    }
}

fn new_call(id: CallId, flow: Flow, user: String, dialog: Dialog, asked: Asked) -> Call {
    let allowed = tokens(&asked.invite.headers, &HeaderName::Allow);
    Call {
        peer_allows_update: allowed.iter().any(|method| method == "update"),
        ..Call::new(id, flow, user, dialog, Stage::Asked(Box::new(asked)))
    }
}

/// The caller's own limit, if it gives one (RFC 3261 §13.3.1), else ours.
fn ringing_limit(invite: &Request) -> Duration {
    let stated = text(&invite.headers, &HeaderName::Expires)
        .and_then(|value| value.trim().parse::<u32>().ok())
        .filter(|&seconds| seconds > 0)
        .map(|seconds| Duration::from_secs(seconds.into()));
    stated.unwrap_or(MAX_RINGING).min(MAX_RINGING)
}
