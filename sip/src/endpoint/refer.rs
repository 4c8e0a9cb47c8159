//! REFER within a call: a terminal asks to be moved to another room (RFC 3515).
//!
//! Whoever it names is not called by us: what it may ask for is that its own call goes on in another
//! of our rooms. The rooms decide, and the outcome is told in one NOTIFY.

use std::time::Instant;

use mcu_api::call::{CallCommand, CallEvent, IncomingCall, RejectReason, SrtpPolicy};
use mcu_api::ids::CallId;
use mcu_api::secret::Redacted;

use super::Endpoint;
use super::incoming::Arrival;
use crate::call::{Call, GIVE_UP, Referral, Stage};
use crate::dialog::Dialog;
use crate::flow::Flow;
use crate::message::{
    self, HeaderName, Headers, MAX_KEPT_VALUE, Method, Refusal, Scheme, Uri, address, cseq_number,
    lossy, text, unescaped,
};
use crate::transaction::Purpose;

/// Type of a part of a message (RFC 3420).
const SIPFRAG: &str = "message/sipfrag;version=2.0";

impl Endpoint {
    pub(super) fn refer(&mut self, now: Instant, id: CallId, arrival: Arrival) {
        let wanted = match self.admit_referral(id, &arrival.request.headers) {
            Ok(wanted) => wanted,
            Err(refusal) => return self.reply(now, id, arrival, &refusal),
        };
        let request = arrival.request;
        let key = self.transactions.open(now, request.clone(), arrival.reply);
        let (Some(key), Some(call)) = (key, self.calls.get_mut(&id)) else {
            return;
        };
        call.referral = Some(Referral {
            request,
            key,
            replaces: wanted.replaces,
            give_up_at: now + GIVE_UP,
        });
        self.pump(now);
        self.event(CallEvent::Referred(wanted));
    }

    /// What is asked for, as if it were called anew.
    fn admit_referral(&self, id: CallId, headers: &Headers) -> Result<IncomingCall, Refusal> {
        let bad = || Refusal::new(400, "Bad Refer-To");
        let named = text(headers, &HeaderName::ReferTo);
        let named = named.filter(|_| headers.count(&HeaderName::ReferTo) == 1);
        let target = named.and_then(|value| address(value.as_bytes()));
        let target = target.ok_or_else(bad)?.uri;
        let call = self.calls.get(&id).ok_or_else(bad)?;
        if call.referral.is_some() {
            return Err(Refusal::new(491, "Request Pending"));
        }
        if !matches!(call.stage, Stage::Up) || !may_be_room(call, &target) {
            return Err(Refusal::new(403, "Forbidden"));
        }
        // Whoever answers a call of ours has proven nothing, were it at the contact of an account.
        let account = call.account.clone().filter(|_| id < CallId::FIRST_DIALLED);
        let replaces = self.replaced_by_referral(id, &target, account.as_deref())?;
        let user = target.decoded_user().map(|user| lossy(&user));
        Ok(IncomingCall {
            call: id,
            dialled: user.unwrap_or_default(),
            host: target.host().map(ToString::to_string).unwrap_or_default(),
            caller: Redacted(String::new()),
            account,
            remote: call.flow.remote,
            user_agent: None,
            offer: None,
            replaces,
            srtp: SrtpPolicy::default(),
        })
    }

    /// The call whose place the one that asks is to take (RFC 5589 §7.3): another one with us, by the
    /// rules of [`Self::replaceable`]. Elsewhere there is nobody whom we would call for it.
    fn replaced_by_referral(
        &self,
        id: CallId,
        target: &Uri,
        account: Option<&str>,
    ) -> Result<Option<CallId>, Refusal> {
        if !target.has_headers() {
            return Ok(None);
        }
        let forbidden = || Refusal::new(403, "Forbidden");
        let named = replaces_of(target).ok_or_else(forbidden)?;
        let account = account.ok_or_else(forbidden)?;
        match self.replaceable(&named, Some(account)) {
            Ok(replaced) if replaced == id => Err(forbidden()),
            Ok(replaced) => Ok(Some(replaced)),
            // Within a call, 481 would say that this very call is unknown (RFC 3261 §12.2.1.2).
            Err(refusal) if refusal.status == 481 => Err(Refusal::new(404, refusal.reason)),
            Err(refusal) => Err(refusal),
        }
    }

    /// The rooms have decided on a REFER. A call whose place is taken ends now, and no earlier.
    pub(super) fn referral_decided(
        &mut self,
        now: Instant,
        id: CallId,
        refused: Option<RejectReason>,
    ) {
        let referral = self.calls.get_mut(&id).and_then(|c| c.referral.take());
        let Some(referral) = referral else {
            return;
        };
        let headers = &referral.request.headers;
        let unwatched = text(headers, &HeaderName::ReferSub)
            .is_some_and(|value| value.trim().eq_ignore_ascii_case("false"));
        let answer = match refused {
            Some(RejectReason::Busy | RejectReason::NoPort) => Refusal::new(486, "Busy Here"),
            Some(RejectReason::Unavailable) => Refusal::new(503, "Service Unavailable"),
            Some(_) => Refusal::new(403, "Forbidden"),
            // RFC 4488 §4.
            None if unwatched => Refusal::new(202, "Accepted").with(HeaderName::ReferSub, "false"),
            None => Refusal::new(202, "Accepted"),
        };
        self.answer_referral(now, id, &referral, &answer);
        if refused.is_none() && !unwatched {
            self.tell_outcome(now, id, cseq_number(headers));
        }
        if let Some(call) = referral.replaces.filter(|_| refused.is_none()) {
            self.carry_out(now, CallCommand::Hangup { call });
        }
    }

    fn answer_referral(&mut self, now: Instant, id: CallId, referral: &Referral, answer: &Refusal) {
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        let (headers, tag) = (&referral.request.headers, &call.dialog.local_tag);
        let Some(mut response) = self.response_to(headers, answer, tag) else {
            return;
        };
        if answer.status < 300 {
            self.add_dialog_headers(call, &mut response);
        }
        message::finish(&mut response, None);
        self.transactions.respond(now, &referral.key, response);
    }

    /// The one NOTIFY of the subscription that a REFER makes (RFC 3515 §2.4.4).
    fn tell_outcome(&mut self, now: Instant, id: CallId, refer: Option<u32>) {
        let Some(flow) = self.request_flow(now, id) else {
            return;
        };
        let Some((draft, flow)) = self.draft(id, Method::Notify, flow) else {
            return;
        };
        let Some(contact) = self.calls.get(&id).map(super::invite::contact) else {
            return;
        };
        let event = refer.map_or("refer".to_owned(), |number| format!("refer;id={number}"));
        let draft = draft
            .header(HeaderName::Contact, contact)
            .header(HeaderName::Event, event)
            .header(
                HeaderName::SubscriptionState,
                "terminated;reason=noresource",
            )
            .body(SIPFRAG, "SIP/2.0 200 OK\r\n");
        self.send(now, id, draft, flow, Purpose::Refer);
    }

    /// A REFER that the rooms never decided on.
    pub(super) fn referral_due(&mut self, now: Instant, id: CallId) {
        let referral = self.calls.get_mut(&id).and_then(|call| {
            let due = |referral: &mut Referral| referral.give_up_at <= now;
            call.referral.take_if(due)
        });
        if let Some(referral) = referral {
            let answer = Refusal::new(500, "Nobody Answered");
            self.answer_referral(now, id, &referral, &answer);
        }
    }

    /// The call ends: its REFER is answered first.
    pub(super) fn end_referral(&mut self, now: Instant, id: CallId) {
        let referral = self.calls.get_mut(&id).and_then(|c| c.referral.take());
        if let Some(referral) = referral {
            self.answer_referral(now, id, &referral, &Refusal::new(487, "Request Terminated"));
        }
    }
}

/// Replaces among the headers of a URI, unescaped, where there is no other header but one that requires
/// it.
fn replaces_of(target: &Uri) -> Option<String> {
    let headers = target.headers()?;
    let required = headers.value("Require");
    if required.is_some_and(|tag| !tag.eq_ignore_ascii_case(b"replaces"))
        || headers.len() != 1 + usize::from(required.is_some())
    {
        return None;
    }
    let value = headers.value("Replaces")?;
    unescaped(value).filter(|value| value.len() <= MAX_KEPT_VALUE)
}

/// Whether a URI could name a room of ours: at the address or the name by which the peer knows us, and
/// for no other method.
fn may_be_room(call: &Call, target: &Uri) -> bool {
    if !matches!(target.scheme(), Scheme::Sip | Scheme::Sips) {
        return false;
    }
    let method = target.params().and_then(|params| params.value("method"));
    if method.is_some_and(|method| !method.eq_ignore_ascii_case(b"INVITE")) {
        return false;
    }
    target.host().is_some_and(|named| {
        let known = call.dialog.local_uri();
        let known = known.as_ref().and_then(Uri::host);
        known.is_some_and(|known| known.equivalent(named)) || is_ours(call.flow, &named.to_string())
    })
}

fn is_ours(flow: Flow, host: &str) -> bool {
    let ip = host.trim_matches(['[', ']']).parse();
    ip.is_ok_and(|ip: std::net::IpAddr| ip == flow.local.ip() || ip == flow.told().ip())
}

impl Dialog {
    /// The URI by which the peer knows us.
    pub(super) fn local_uri(&self) -> Option<Uri> {
        Some(address(self.local_address().as_bytes())?.uri)
    }
}
