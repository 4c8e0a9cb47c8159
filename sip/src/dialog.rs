//! Dialogs (RFC 3261 §12): the peer's side of the identification, the route set, the order of requests.

use std::net::SocketAddr;

use mcu_api::secret::Redacted;

use crate::flow::{Flow, Transport};
use crate::gruu;
use crate::message::{
    Envelope, HeaderName, Headers, MAX_KEPT_VALUE, Method, Refusal, Request, RequestBuilder, Uri,
    Via, address, contact_uri, lossy, record_routes, text, uri_address, uri_transport,
};
use crate::saved::SavedDialog;

/// Numbers left out after a restart: what was sent after the state was last kept has used some. The
/// peer may not mind a gap (RFC 3261 §12.2.2), a number that comes again it refuses.
const SKIPPED_CSEQ: u32 = 100;

/// A dialog that the peer's INVITE began.
#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    pub call_id: String,
    pub local_tag: String,
    pub remote_tag: Option<String>,
    /// Our From: the To of the INVITE with our tag.
    local: String,
    /// Our To: the From of the INVITE.
    remote: String,
    remote_target: Uri,
    /// Values of Route for our requests, first hop first.
    route_set: Vec<String>,
    local_cseq: u32,
    pub remote_cseq: u32,
    /// The peer's last request may come again, as its transaction died with an earlier life.
    may_repeat: bool,
    /// The peer's own addresses are not where its packets come from: only the flow leads to it.
    behind_nat: bool,
}

impl Dialog {
    /// The dialog that a 1xx or 2xx to this INVITE makes (RFC 3261 §12.1.1).
    ///
    /// # Errors
    /// 400 when a header that the dialog would live on cannot be read.
    pub fn from_invite(
        invite: &Request,
        envelope: &Envelope,
        via: &Via,
        flow: Flow,
        local_tag: String,
    ) -> Result<Self, Refusal> {
        let headers = &invite.headers;
        let to = text(headers, &HeaderName::To).unwrap_or_default();
        let from = text(headers, &HeaderName::From).unwrap_or_default();
        // A peer of RFC 2543 may send no Contact; its From is then all there is.
        let remote_target = match headers.count(&HeaderName::Contact) {
            0 => Some(envelope.from.uri.clone()),
            _ => contact_uri(headers),
        };
        let remote_target = remote_target.ok_or(Refusal::new(400, "Bad Contact"))?;
        let route_set = record_routes(headers).ok_or(Refusal::new(400, "Bad Record-Route"))?;
        if envelope.call_id.len() > MAX_KEPT_VALUE {
            return Err(Refusal::new(400, "Call-ID Too Long"));
        }
        let sent_by = via.host.to_string();
        let sent_by = sent_by.trim_matches(['[', ']']).parse().ok();
        Ok(Self {
            call_id: envelope.call_id.clone(),
            remote_tag: envelope.sender_tag(),
            local: format!("{to};tag={local_tag}"),
            remote: from,
            local_tag,
            remote_target,
            route_set,
            local_cseq: 0,
            remote_cseq: envelope.cseq,
            may_repeat: false,
            behind_nat: sent_by.is_some_and(|ip: std::net::IpAddr| ip != flow.remote.ip()),
        })
    }

    /// The dialog that an INVITE of ours to `target` is to begin (RFC 3261 §12.1.2); `local` is our
    /// address without a tag.
    pub fn dialled(
        call_id: String,
        local_tag: String,
        local: &str,
        target: Uri,
        flow: Flow,
    ) -> Self {
        Self {
            call_id,
            remote_tag: None,
            local: format!("{local};tag={local_tag}"),
            remote: format!("<{target}>"),
            local_tag,
            // Behind a NAT or a proxy, only the way by which the call went leads back there.
            behind_nat: uri_address(&target).map(|at| flow.as_reached(at)) != Some(flow.remote),
            remote_target: target,
            route_set: Vec::new(),
            local_cseq: 0,
            remote_cseq: 0,
            may_repeat: false,
        }
    }

    /// What REGISTERs of ours to a server have in common: they name our own address on both sides
    /// (RFC 3261 §10.2).
    pub fn registering(call_id: String, local_tag: String, address: &str, server: Uri) -> Self {
        Self {
            call_id,
            remote_tag: None,
            local: format!("{address};tag={local_tag}"),
            remote: address.to_owned(),
            local_tag,
            remote_target: server,
            route_set: Vec::new(),
            local_cseq: 0,
            remote_cseq: 0,
            may_repeat: false,
            behind_nat: true,
        }
    }

    /// The peer's 2xx makes it a dialog (RFC 3261 §12.1.2). `false` when it names no tag.
    pub fn confirm(&mut self, response: &Headers) -> bool {
        let to = text(response, &HeaderName::To).unwrap_or_default();
        self.remote_tag = address(to.as_bytes()).and_then(|to| to.tag().map(lossy));
        self.remote = to;
        self.route_set = record_routes(response).unwrap_or_default();
        self.route_set.reverse();
        self.refresh_target(response);
        self.remote_tag.is_some()
    }

    /// Our address, as it stands in From of our requests.
    pub fn local_address(&self) -> &str {
        &self.local
    }

    /// Our last request had this number.
    pub fn skip_to(&mut self, cseq: u32) {
        self.local_cseq = cseq;
    }

    /// Another target, by this way, for what has not begun (RFC 3261 §8.1.3.4).
    pub fn retarget(&mut self, target: Uri, flow: Flow) {
        self.behind_nat = uri_address(&target) != Some(flow.remote);
        self.remote_target = target;
    }

    /// The peer's URI, to which requests of ours go.
    pub fn target(&self) -> &Uri {
        &self.remote_target
    }

    /// The peer has registered with us at this URI: only the flow leads there for sure.
    pub fn lead_back(&mut self, registered: Uri) {
        self.remote_target = registered;
        self.behind_nat = true;
    }

    /// Request-URI of our requests.
    pub fn request_uri(&self) -> Uri {
        self.routing().0
    }

    /// Whether a request within a dialog is of this one (RFC 3261 §12.2.2).
    pub fn matches(&self, envelope: &Envelope) -> bool {
        self.call_id == envelope.call_id && self.remote_tag == envelope.sender_tag()
    }

    /// Takes a request's place in the order.
    ///
    /// # Errors
    /// 500 when it is not above the last one (RFC 3261 §12.2.2).
    pub fn advance(&mut self, envelope: &Envelope) -> Result<(), Refusal> {
        let repeated = self.may_repeat && envelope.cseq == self.remote_cseq;
        if envelope.cseq <= self.remote_cseq && !repeated {
            return Err(Refusal::new(500, "CSeq Out Of Order"));
        }
        self.may_repeat = false;
        self.remote_cseq = envelope.cseq;
        Ok(())
    }

    /// Whether a response is to a request of ours within this dialog.
    pub fn is_ours(&self, headers: &Headers) -> bool {
        let to = text(headers, &HeaderName::To);
        let to = to.and_then(|value| address(value.as_bytes()));
        let to_tag = to.and_then(|to| to.tag().map(lossy));
        text(headers, &HeaderName::CallId).as_ref() == Some(&self.call_id)
            && self.remote_tag == to_tag
    }

    /// What another life needs to go on with the dialog.
    pub fn save(&self) -> SavedDialog {
        SavedDialog {
            call_id: self.call_id.clone(),
            local_tag: self.local_tag.clone(),
            remote_tag: self.remote_tag.clone(),
            local: Redacted(self.local.clone()),
            remote: Redacted(self.remote.clone()),
            remote_target: Redacted(self.remote_target.to_string()),
            route_set: self.route_set.clone(),
            local_cseq: self.local_cseq,
            remote_cseq: self.remote_cseq,
            behind_nat: self.behind_nat,
        }
    }

    /// The dialog of an earlier life; `None` when its target cannot be read.
    pub fn restore(saved: SavedDialog) -> Option<Self> {
        Some(Self {
            remote_target: Uri::parse(saved.remote_target.0.into()).ok()?,
            call_id: saved.call_id,
            local_tag: saved.local_tag,
            remote_tag: saved.remote_tag,
            local: saved.local.0,
            remote: saved.remote.0,
            route_set: saved.route_set,
            local_cseq: saved.local_cseq.saturating_add(SKIPPED_CSEQ),
            remote_cseq: saved.remote_cseq,
            may_repeat: true,
            behind_nat: saved.behind_nat,
        })
    }

    /// Target refresh (RFC 3261 §12.2.2): a Contact that cannot be read leaves the old target.
    pub fn refresh_target(&mut self, request_or_response: &Headers) {
        if let Some(target) = contact_uri(request_or_response) {
            self.remote_target = target;
        }
    }

    /// Starts a request within the dialog (RFC 3261 §12.2.1.1); the sequence number is drawn here,
    /// except that an ACK repeats its INVITE's.
    pub fn request(
        &mut self,
        method: Method,
        flow: Flow,
        branch: &str,
        ack_of: Option<u32>,
    ) -> Draft {
        let cseq = ack_of.unwrap_or_else(|| {
            self.local_cseq += 1;
            self.local_cseq
        });
        let (target, routes) = self.routing();
        let transport = flow.transport.via();
        let via = format!("SIP/2.0/{transport} {};branch={branch};rport", flow.told());
        let builder = RequestBuilder::new(method.clone(), target)
            .header(HeaderName::Via, via)
            .map(|b| b.max_forwards(70))
            .and_then(|b| b.header(HeaderName::From, self.local.clone()))
            .and_then(|b| b.header(HeaderName::To, self.remote.clone()))
            .and_then(|b| b.header(HeaderName::CallId, self.call_id.clone()))
            .and_then(|b| b.cseq(cseq, &method));
        let builder = routes.into_iter().fold(builder, |builder, route| {
            builder.and_then(|b| b.header(HeaderName::Route, route))
        });
        Draft { builder, cseq }
    }

    /// Request-URI and Route (RFC 3261 §12.2.1.1): loose routers keep the target in the URI, a strict
    /// one wants itself there and the target last.
    fn routing(&self) -> (Uri, Vec<String>) {
        let first = self.route_set.first().and_then(|r| address(r.as_bytes()));
        match first {
            Some(first) if first.uri.params().is_none_or(|p| !p.contains("lr")) => {
                let mut routes: Vec<String> = self.route_set.iter().skip(1).cloned().collect();
                routes.push(format!("<{}>", self.remote_target));
                (first.uri, routes)
            }
            _ => (self.remote_target.clone(), self.route_set.clone()),
        }
    }

    /// Where our requests go (RFC 3261 §12.2.1.1 and §8.1.2, without DNS): to the first route or the
    /// target if its address is given as a number, else, and for peers behind a NAT, back to where
    /// the peer's last request came from.
    pub fn next_hop(&self, flow: Flow) -> (Transport, SocketAddr) {
        if self.behind_nat || flow.transport.is_stream() {
            return (flow.transport, flow.remote);
        }
        self.stated_hop()
            .map(|(transport, at)| (transport, flow.as_reached(at)))
            .filter(|(_, at)| at.is_ipv4() == flow.local.is_ipv4() && !at.ip().is_unspecified())
            // Nobody has us send to ourselves.
            .filter(|(_, at)| !flow.is_ours(*at))
            .unwrap_or((flow.transport, flow.remote))
    }

    /// The address in the first route or the target, where a new connection would go. A GRUU names its
    /// registrar, which may be us at any of our addresses, and no way to the peer.
    pub fn stated_hop(&self) -> Option<(Transport, SocketAddr)> {
        let hop = match self.route_set.first() {
            Some(route) => address(route.as_bytes())?.uri,
            None if gruu::is(&self.remote_target) => return None,
            None => self.remote_target.clone(),
        };
        Some((uri_transport(&hop), uri_address(&hop)?))
    }
}

/// A request within a dialog, to be filled.
pub(crate) struct Draft {
    builder: Result<RequestBuilder, sipx_sip::BuildError>,
    pub cseq: u32,
}

impl Draft {
    pub fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        let value: String = value.into();
        self.builder = self.builder.and_then(|b| b.header(name, value));
        self
    }

    pub fn body(self, kind: &str, body: &str) -> Self {
        let mut draft = self.header(HeaderName::ContentType, kind);
        let body = bytes::Bytes::copy_from_slice(body.as_bytes());
        draft.builder = draft.builder.map(|b| b.body(body));
        draft
    }

    /// The request; `None` when a value of the peer's cannot be sent back.
    pub fn build(self) -> Option<Request> {
        self.builder.ok().map(RequestBuilder::build)
    }
}
