//! Provisional responses of ours, reliable where the caller knows them (RFC 3262).

use std::time::Instant;

use mcu_api::call::EndReason;
use mcu_api::ids::CallId;
use rand::Rng;
use sipx_sip::rel::{self, Numbering, Offered, RAck, RSeq, Received, Reliability};

use super::Endpoint;
use super::incoming::Arrival;
use crate::body::session_of_response;
use crate::call::{Asked, Call, GIVE_UP, MAX_RELIABLE, Reliable, Resend, Stage, T1};
use crate::message::{
    self, HeaderName, Headers, Message, Method, Refusal, Response, cseq_number, tokens,
};
use crate::transaction::Purpose;

impl Endpoint {
    /// Sends 180 (RFC 3261 §13.3.1.1), reliably where the caller knows PRACK. Our offer would have to
    /// be in a reliable one where the INVITE has none (RFC 3262 §5): then the 2xx brings it, and who
    /// insists on reliable responses hears nothing before.
    pub(super) fn ring(&mut self, now: Instant, id: CallId) {
        let first = self.random.random_range(1..=rel::MAX_FIRST_RSEQ);
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let Stage::Asked(asked) = &call.stage else {
            return;
        };
        let reply = asked.reply;
        let ringing = Refusal::new(180, "Ringing");
        let answer = match reliability(asked) {
            Reliability::Forbidden => ringing,
            Reliability::Permitted if !asked.offered => ringing,
            Reliability::Required if !asked.offered => return,
            _ => {
                let reliable = call.reliable.get_or_insert_with(|| Reliable {
                    numbering: Numbering::starting_at(first),
                    resend: None,
                });
                // One at a time.
                let Some(number) = reliable.numbering.allocate() else {
                    return;
                };
                ringing
                    .with(HeaderName::Require, "100rel")
                    .with(HeaderName::RSeq, number.to_string())
            }
        };
        let Some((key, mut response)) = self.answer_invite(id, &answer) else {
            return;
        };
        message::finish(&mut response, None);
        let reliable = self.calls.get_mut(&id).and_then(|c| c.reliable.as_mut());
        if let Some(reliable) = reliable {
            reliable.resend = Some(Resend {
                reply,
                bytes: Message::Response(response.clone()).to_bytes(),
                interval: T1,
                next_at: now + T1,
                give_up_at: now + GIVE_UP,
            });
        }
        self.transactions.respond(now, &key, response);
    }

    /// A provisional response to a re-INVITE of ours: a reliable one gets its PRACK (RFC 3262 §4), and an
    /// answer in it counts.
    pub(super) fn progressed_within(&mut self, now: Instant, id: CallId, response: &Response) {
        let cseq = cseq_number(&response.headers);
        let Some(number) = reliable_number(&response.headers) else {
            return;
        };
        let offer = self.calls.get_mut(&id).and_then(|c| c.our_offer.as_mut());
        let Some(offer) = offer.filter(|offer| Some(offer.cseq) == cseq) else {
            return;
        };
        if offer.acknowledged >= MAX_RELIABLE
            || offer.sequence.accept(number) != Received::Acknowledge
        {
            return;
        }
        offer.acknowledged += 1;
        if offer.answer.is_none() {
            offer.answer = session_of_response(response);
        }
        let named = format!("{number} {} INVITE", offer.cseq);
        let Some(flow) = self.request_flow(now, id) else {
            return;
        };
        if let Some((draft, flow)) = self.draft(id, Method::Prack, flow) {
            let draft = draft.header(HeaderName::RAck, named);
            self.send(now, id, draft, flow, Purpose::Prack);
        }
    }

    /// The response again, at T1 doubling without bound; after 64*T1 the call is refused
    /// (RFC 3262 §3).
    pub(super) fn reliable_due(&mut self, now: Instant, id: CallId) {
        let reliable = self.calls.get_mut(&id).and_then(|c| c.reliable.as_mut());
        let Some(resend) = reliable.and_then(|reliable| reliable.resend.as_mut()) else {
            return;
        };
        if resend.give_up_at <= now {
            let refusal = Refusal::new(504, "No PRACK");
            return self.reject(now, id, &refusal, EndReason::Timeout);
        }
        if resend.next_at <= now {
            resend.interval *= 2;
            resend.next_at = now + resend.interval;
            let (reply, bytes) = (resend.reply, resend.bytes.clone());
            self.transmit(reply, bytes);
        }
    }

    /// PRACK: 200 where it fits what waits for it, else 481 (RFC 3262 §3).
    pub(super) fn pracked(&mut self, now: Instant, id: CallId, arrival: Arrival) {
        let named = arrival.request.headers.typed::<RAck>();
        let fits = self.calls.get_mut(&id).is_some_and(|call| {
            let cseq = call.invite_cseq;
            let Some(reliable) = &mut call.reliable else {
                return false;
            };
            let Some(Ok(named)) = named else {
                return false;
            };
            let fits = reliable.numbering.acknowledge(&named, cseq, b"INVITE");
            if fits {
                reliable.resend = None;
            }
            fits
        });
        // The caller's offer waits for its answer: it has none to make here (RFC 3262 §5).
        let answer = match fits {
            true if arrival.request.body().is_empty() => Refusal::new(200, "OK"),
            true => Refusal::new(488, "Not Acceptable Here"),
            false => Refusal::new(481, "No Such Response"),
        };
        self.reply(now, id, arrival, &answer);
    }
}

impl Call {
    /// The final response is out: what came before is not sent again. Its PRACK may still come.
    pub fn stop_ringing(&mut self) {
        if let Some(reliable) = &mut self.reliable {
            reliable.resend = None;
        }
    }
}

/// The number of a response that wants a PRACK.
pub(super) fn reliable_number(headers: &Headers) -> Option<u32> {
    let required = tokens(headers, &HeaderName::Require);
    let RSeq(number) = headers.typed::<RSeq>()?.ok()?;
    required.iter().any(|tag| tag == "100rel").then_some(number)
}

fn reliability(asked: &Asked) -> Reliability {
    rel::reliability(Offered::in_request(&asked.invite), true)
}
