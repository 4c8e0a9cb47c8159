//! Calls of ours: INVITE, the answers to it, and CANCEL (RFC 3261 §13.2 and §9.1).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mcu_api::call::{CallEvent, DialTarget, EndReason, OutgoingCall};
use mcu_api::ids::CallId;
use mcu_api::secret::Redacted;

use super::invite::contact;
use super::outgoing::ack;
use super::{ALLOW, Endpoint, SUPPORTED};
use crate::body::SDP;
use crate::call::{Call, Dialling, GIVE_UP, Stage};
use crate::client_auth::{Proofs, Unanswered};
use crate::dialog::Dialog;
use crate::flow::{Flow, FlowId, Output, Transport};
use crate::message::{
    HeaderName, Method, Response, Uri, lossy, tokens, uri_address, uri_transport,
};
use crate::session_timer;
use crate::transaction::Purpose;

/// How long a call of ours may ring.
const MAX_RINGING: Duration = Duration::from_secs(120);

/// Where a call of ours goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Its transport.
    pub transport: Transport,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The connection that leads there already.
    pub flow: Option<Flow>,
}

impl Endpoint {
    /// Where a target is reached: an account at the contact that it registered last, on the
    /// connection that it came by; a URI at the address in it, for names are not resolved here.
    /// `None` for an account that is not registered, and for a name.
    pub fn path_to(&self, now: Instant, target: &DialTarget) -> Option<Path> {
        let (uri, remote) = self.resolve(now, target)?;
        let connections = self.connections.values().map(|connection| connection.flow);
        let flow = {
            let mut connections = connections;
            connections.find(|flow| flow.remote == remote)
        };
        let transport = flow.map_or(uri_transport(&uri), |flow| flow.transport);
        Some(Path {
            transport,
            remote,
            flow,
        })
    }

    /// Request-URI and address of a target.
    fn resolve(&self, now: Instant, target: &DialTarget) -> Option<(Uri, SocketAddr)> {
        match target {
            DialTarget::Account(account) => {
                let bindings = self.registrar.bindings(now);
                let theirs = bindings.filter(|(of, _)| of == account);
                let (_, binding) = theirs.max_by_key(|(_, binding)| binding.expires_at)?;
                Some((binding.uri.clone(), binding.remote))
            }
            DialTarget::Uri { uri, via } => {
                let uri = Uri::parse(uri.clone().into()).ok()?;
                let stated = uri.scheme().is_sip().then(|| uri_address(&uri))?;
                Some((uri, via.or(stated)?))
            }
        }
    }

    /// Calls by this flow, whose `local` is where the peer can reach us; without one, or when there
    /// is no room for another call, the call ends at once.
    pub fn dial(&mut self, now: Instant, wanted: OutgoingCall, flow: Option<Flow>) {
        let id = wanted.call;
        if self.begin_dialling(now, wanted, flow).is_none() {
            let reason = EndReason::Refused(480);
            self.event(CallEvent::Ended { call: id, reason });
        }
        self.pump(now);
    }

    fn begin_dialling(
        &mut self,
        now: Instant,
        wanted: OutgoingCall,
        flow: Option<Flow>,
    ) -> Option<()> {
        if self.calls.len() >= self.config.max_calls || self.calls.contains_key(&wanted.call) {
            return None;
        }
        let (target, _) = self.resolve(now, &wanted.target)?;
        // Ourselves: a call that comes back would have the transaction that it left by.
        let flow = flow.filter(|flow| flow.remote != flow.local)?;
        let flow = self.opened(now, flow)?;
        let (call_id, tag) = (self.token(), self.token());
        let call_id = format!("{call_id}@{}", flow.local.ip());
        let local = match &wanted.from {
            Some(uri) => format!("<{uri}>"),
            None => format!(
                "{} <sip:{}@{}>",
                quoted(&wanted.name.0),
                wanted.number,
                flow.local
            ),
        };
        let dialog = Dialog::dialled(call_id, tag, &local, target, flow);
        let dialling = Dialling {
            cseq: 0,
            branch: String::new(),
            sdp: wanted.sdp.0,
            credentials: wanted.credentials,
            proofs: Proofs::default(),
            attempts: 0,
            provisional: false,
            cancelling: false,
            give_up_at: now + MAX_RINGING,
        };
        let id = wanted.call;
        let call = Call::dialled(id, flow, wanted.number, dialog, dialling);
        self.dialogs.insert(call.dialog.local_tag.clone(), id);
        self.calls.insert(id, call);
        let sent = self.invite(now, id);
        if sent.is_none() {
            self.forget(now, id);
        }
        self.settle(now, id);
        sent
    }

    /// The flow, with its connection asked for if there is none yet.
    pub(super) fn opened(&mut self, now: Instant, flow: Flow) -> Option<Flow> {
        if !flow.transport.is_stream() || self.connections.contains_key(&flow.id) {
            return Some(flow);
        }
        if self.connections.len() >= self.config.max_connections {
            return None;
        }
        let id = FlowId(self.next_flow);
        self.next_flow += 1;
        let flow = Flow { id, ..flow };
        self.add_connection(now, flow);
        self.outputs.push_back(Output::Connect { flow });
        Some(flow)
    }

    /// Sends the INVITE, with the answers to the challenges if there were such.
    fn invite(&mut self, now: Instant, id: CallId) -> Option<()> {
        let branch = format!("z9hG4bK{}", self.token());
        let agent = self.config.server_name.clone();
        let call = self.calls.get_mut(&id)?;
        let contact = contact(call);
        let Stage::Dialling(dialling) = &mut call.stage else {
            return None;
        };
        let draft = call
            .dialog
            .request(Method::Invite, call.flow, &branch, None);
        dialling.cseq = draft.cseq;
        dialling.branch = branch;
        dialling.attempts += 1;
        dialling.provisional = false;
        let draft = draft
            .header(HeaderName::UserAgent, agent)
            .header(HeaderName::Contact, contact)
            .header(HeaderName::Allow, ALLOW)
            .header(HeaderName::Supported, SUPPORTED);
        let proofs = dialling.proofs.headers();
        let draft = proofs.fold(draft, |draft, (name, value)| draft.header(name, value));
        let (request, flow) = (draft.body(SDP, &dialling.sdp).build()?, call.flow);
        let owner = (id, Purpose::Dial);
        self.transactions
            .send(now, request, flow, owner)
            .then_some(())
    }

    /// A response to an INVITE that began, or is to begin, a call.
    pub(super) fn dial_answered(&mut self, now: Instant, id: CallId, response: &Response) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let Stage::Dialling(dialling) = &mut call.stage else {
            return self.answered_again(id, response);
        };
        match response.status.code() {
            100..200 => {
                let first = !std::mem::replace(&mut dialling.provisional, true);
                let (cancel, rings) = (dialling.cancelling, response.status.code() >= 180);
                if cancel && first {
                    self.cancel(now, id);
                } else if rings && !cancel {
                    self.event(CallEvent::Ringing { call: id });
                }
            }
            200..300 => self.dial_accepted(now, id, response),
            401 | 407 if dialling.may_prove() => self.prove(now, id, response),
            status => {
                let told = dialling.cancelling;
                self.forget(now, id);
                if !told {
                    let reason = EndReason::Refused(status);
                    self.event(CallEvent::Ended { call: id, reason });
                }
            }
        }
    }

    fn prove(&mut self, now: Instant, id: CallId, response: &Response) {
        let cnonce = self.token();
        let proven = self.calls.get_mut(&id).is_some_and(|call| {
            let Stage::Dialling(dialling) = &mut call.stage else {
                return false;
            };
            let uri = call.dialog.request_uri().to_string();
            let Some(credentials) = &dialling.credentials else {
                return false;
            };
            let asked = ("INVITE", uri.as_str());
            let (challenged, proofs) = (&response.headers, &mut dialling.proofs);
            let answered = proofs.answer(challenged, credentials, asked, &cnonce);
            if let Err(why @ Unanswered::Foreign(_)) = &answered {
                tracing::warn!(call = %id, %why, "call not proven");
            }
            answered.is_ok()
        });
        if !proven || self.invite(now, id).is_none() {
            self.forget(now, id);
            let reason = EndReason::Refused(response.status.code());
            self.event(CallEvent::Ended { call: id, reason });
        }
    }

    fn dial_accepted(&mut self, now: Instant, id: CallId, response: &Response) {
        let branch = format!("z9hG4bK{}", self.token());
        let least = self.config.min_session_expires;
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let Stage::Dialling(dialling) = &mut call.stage else {
            return;
        };
        let (cseq, told) = (dialling.cseq, dialling.cancelling);
        call.last_sdp = Some(std::mem::take(&mut dialling.sdp));
        call.stage = Stage::Up;
        let known = call.dialog.confirm(&response.headers);
        let acknowledgement = ack(call, cseq, &branch);
        if let Some((flow, bytes)) = acknowledgement.clone() {
            call.last_ack = Some((cseq, flow, bytes));
        }
        let allowed = tokens(&response.headers, &HeaderName::Allow);
        call.peer_allows_update = allowed.iter().any(|method| method == "update");
        call.session = session_timer::adopt(now, &response.headers, least);
        if let Some((flow, bytes)) = acknowledgement {
            self.transmit(flow, bytes);
        }
        if told || !known || response.body().is_empty() {
            self.hang_up(now, id);
            self.forget(now, id);
            if !told {
                let reason = EndReason::ProtocolError;
                self.event(CallEvent::Ended { call: id, reason });
            }
            return;
        }
        let sdp = Redacted(lossy(response.body()));
        self.event(CallEvent::Answered { call: id, sdp });
        self.event(CallEvent::Established { call: id });
    }

    /// The 2xx came again: its ACK was lost (RFC 3261 §13.2.2.4). One of another branch of a proxy
    /// that forked is left unacknowledged, and its callee gives up.
    fn answered_again(&mut self, id: CallId, response: &Response) {
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        let ours = response.status.is_success() && call.dialog.is_ours(&response.headers);
        if let Some((_, flow, bytes)) = call.last_ack.clone().filter(|_| ours) {
            self.transmit(flow, bytes);
        }
    }

    /// We hang up before the callee answers. CANCEL waits for a provisional response
    /// (RFC 3261 §9.1).
    pub(super) fn give_up_dialling(&mut self, now: Instant, id: CallId, reason: EndReason) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let Stage::Dialling(dialling) = &mut call.stage else {
            return;
        };
        if dialling.cancelling {
            // Nothing came of the CANCEL either.
            return self.forget(now, id);
        }
        dialling.cancelling = true;
        dialling.give_up_at = now + GIVE_UP;
        let may_cancel = dialling.provisional;
        if may_cancel {
            self.cancel(now, id);
        }
        self.event(CallEvent::Ended { call: id, reason });
    }

    fn cancel(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let Stage::Dialling(dialling) = &call.stage else {
            return;
        };
        let (branch, cseq, flow) = (dialling.branch.clone(), dialling.cseq, call.flow);
        let draft = call
            .dialog
            .request(Method::Cancel, flow, &branch, Some(cseq));
        if let Some(request) = draft.build() {
            self.transactions
                .send(now, request, flow, (id, Purpose::Cancel));
        }
    }
}

/// A display name in quotes (RFC 3261 §25.1).
fn quoted(name: &str) -> String {
    let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
    let plain: String = escaped.chars().filter(|c| !c.is_control()).collect();
    format!("\"{plain}\"")
}
