//! Reliable provisional responses of the peer to a re-INVITE of ours, and how they are known (RFC 3262).
//! We send none: a room answers at once.

use std::time::Instant;

use mcu_api::ids::CallId;
use sipx_sip::rel::{RSeq, Received};

use super::Endpoint;
use crate::body::session_of_response;
use crate::call::MAX_RELIABLE;
use crate::message::{HeaderName, Headers, Method, Response, cseq_number, tokens};
use crate::transaction::Purpose;

impl Endpoint {
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
}

/// The number of a response that wants a PRACK.
pub(super) fn reliable_number(headers: &Headers) -> Option<u32> {
    let required = tokens(headers, &HeaderName::Require);
    let RSeq(number) = headers.typed::<RSeq>()?.ok()?;
    required.iter().any(|tag| tag == "100rel").then_some(number)
}
