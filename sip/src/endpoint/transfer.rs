//! REFER of ours within a call: a terminal is asked to go on elsewhere, by a call of its own (RFC 3515,
//! RFC 5589 §6). What comes of it, it tells by NOTIFY within the same dialog.

use std::time::{Duration, Instant};

use mcu_api::call::{CallEvent, Transfer, TransferTarget};
use mcu_api::ids::CallId;

use super::incoming::Arrival;
use super::invite::uri_on;
use super::within::not_here;
use super::{ALLOW_EVENTS, Endpoint, SUPPORTED};
use crate::body::{SIPFRAG, media_type, status_of_fragment};
use crate::call::{Stage, Transferring};
use crate::message::{
    HeaderName, Headers, MAX_KEPT_VALUE, Method, Refusal, Uri, escaped_user, text,
};
use crate::transaction::Purpose;

/// How long the rooms wait for an outcome: as long as we let a callee ring.
const MAX_WAIT: Duration = Duration::from_secs(120);

/// Whether a terminal can be asked to call this: a `sip:` or `sips:` URI, without headers, which would
/// stand in its call.
pub fn can_be_referred_to(uri: &str) -> bool {
    let parsed = Uri::parse(bytes::Bytes::copy_from_slice(uri.as_bytes()));
    let fits = |parsed: &Uri| parsed.scheme().is_sip() && !parsed.has_headers();
    // It is written between angle brackets.
    uri.len() <= MAX_KEPT_VALUE
        && uri
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"<>\"".contains(&byte))
        && parsed.is_ok_and(|parsed| fits(&parsed))
}

impl Endpoint {
    pub(super) fn transfer(&mut self, now: Instant, id: CallId, target: &TransferTarget) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.transferring = None;
        }
        if self.send_refer(now, id, target).is_none() {
            self.transferred(id, Transfer::NoAnswer, true);
        }
    }

    fn send_refer(&mut self, now: Instant, id: CallId, target: &TransferTarget) -> Option<()> {
        let up = matches!(self.calls.get(&id)?.stage, Stage::Up);
        let flow = self.request_flow(now, id).filter(|_| up)?;
        let (draft, flow) = self.draft(id, Method::Refer, flow)?;
        let call = self.calls.get_mut(&id)?;
        let uri = match target {
            TransferTarget::Number(number) => uri_on(flow, &escaped_user(&number.0)),
            TransferTarget::Uri(uri) => uri.0.clone(),
        };
        // RFC 3892: in whose name it calls there. Not what was dialled here, which may hold a PIN.
        let by = uri_on(flow, "");
        call.transferring = Some(Transferring {
            cseq: draft.cseq,
            taken: false,
            over: false,
            give_up_at: Some(now + MAX_WAIT),
            restored: false,
        });
        let draft = draft
            .header(HeaderName::Contact, super::invite::contact(call))
            .header(HeaderName::ReferTo, format!("<{uri}>"))
            .header(HeaderName::ReferredBy, format!("<{by}>"))
            .header(HeaderName::Supported, SUPPORTED);
        let sent = self.send(now, id, draft, flow, Purpose::Transfer);
        sent.then_some(())
    }

    /// A final response to our REFER.
    pub(super) fn transfer_answered(&mut self, id: CallId, status: u16) {
        if status >= 300 {
            self.transferred(id, Transfer::Refused(status), true);
        }
    }

    /// No response came to our REFER. The call goes on: terminals that do not know the method may keep
    /// silent.
    pub(super) fn transfer_unanswered(&mut self, id: CallId) {
        let transferring = self.calls.get(&id).and_then(|c| c.transferring.as_ref());
        if transferring.is_some_and(|transferring| !transferring.taken) {
            self.transferred(id, Transfer::NoAnswer, true);
        }
    }

    /// The terminal has said nothing for too long. What it says later still counts.
    pub(super) fn transfer_due(&mut self, now: Instant, id: CallId) {
        let transferring = self.calls.get(&id).and_then(|c| c.transferring.as_ref());
        let due = transferring.and_then(|transferring| transferring.give_up_at);
        if due.is_some_and(|at| at <= now) {
            self.transferred(id, Transfer::NoAnswer, false);
        }
    }

    /// NOTIFY within a call. Only the subscriptions that our REFERs made are known there (RFC 3515
    /// §2.4.4); 481 to a late one could be read as the end of the call (RFC 5057 §5.1).
    pub(super) fn told_of_transfer(&mut self, now: Instant, id: CallId, arrival: Arrival) {
        let headers = &arrival.request.headers;
        let Some(named) = refer_event(headers) else {
            let bad = Refusal::new(489, "Bad Event");
            let bad = bad.with(HeaderName::AllowEvents, ALLOW_EVENTS);
            return self.reply(now, id, arrival, &bad);
        };
        let call = self.calls.get_mut(&id);
        let known = call.filter(|call| call.restored || call.transferring.is_some());
        let Some(call) = known else {
            return self.reply(now, id, arrival, &not_here());
        };
        // An earlier life may have asked and died before that was kept, or have told the rooms already:
        // a terminal that has moved is let go all the same.
        let earlier = |cseq| Transferring {
            cseq,
            taken: true,
            over: false,
            give_up_at: None,
            restored: true,
        };
        let transferring = call
            .transferring
            .get_or_insert_with(|| earlier(named.unwrap_or_default()));
        // It may have asked again since what was kept.
        if let Some(number) = named.filter(|number| *number > transferring.cseq)
            && transferring.restored
        {
            *transferring = earlier(number);
        }
        // The number may be left out (RFC 3515 §2.4.6); another one is that of an earlier REFER.
        let counts = named.is_none_or(|number| number == transferring.cseq);
        transferring.taken |= counts;
        let outcome = outcome_of(headers, arrival.request.body()).filter(|_| counts);
        self.reply(now, id, arrival, &Refusal::new(200, "OK"));
        if let Some(outcome) = outcome {
            self.transferred(id, outcome, true);
        }
    }

    /// Tells the rooms what came of our REFER, unless that is known.
    fn transferred(&mut self, id: CallId, outcome: Transfer, over: bool) {
        let call = self.calls.get_mut(&id);
        if let Some(transferring) = call.and_then(|call| call.transferring.as_mut()) {
            if transferring.over {
                return;
            }
            transferring.over = over;
            transferring.give_up_at = None;
        }
        self.event(CallEvent::Transferred { call: id, outcome });
    }
}

/// The number in `Event: refer;id=NUMBER`, none where it is left out; `None` for other events, and where
/// it is no number, which none of our subscriptions has.
fn refer_event(headers: &Headers) -> Option<Option<u32>> {
    let value = text(headers, &HeaderName::Event)?;
    let mut parts = value.split(';').map(str::trim);
    let is_refer = parts.next()?.eq_ignore_ascii_case("refer");
    if !is_refer {
        return None;
    }
    let Some(id) = parts.find_map(|part| part.strip_prefix("id=")) else {
        return Some(None);
    };
    let id = id.trim();
    let is_number = id.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| id.parse().ok()).flatten().map(Some)
}

/// What a NOTIFY says for good: a final status, or that nothing more will be said.
fn outcome_of(headers: &Headers, body: &[u8]) -> Option<Transfer> {
    let is_fragment = media_type(headers).is_none_or(|kind| kind == SIPFRAG);
    let status = status_of_fragment(body).filter(|_| is_fragment);
    match status {
        Some(200..300) => return Some(Transfer::Done),
        Some(status @ 300..) => return Some(Transfer::Failed(status)),
        _ => {}
    }
    let state = text(headers, &HeaderName::SubscriptionState).unwrap_or_default();
    let state = state.split(';').next().unwrap_or_default().trim();
    state
        .eq_ignore_ascii_case("terminated")
        .then_some(Transfer::NoAnswer)
}
