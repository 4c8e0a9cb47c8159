//! From bytes to requests: framing, the checks of RFC 3261 §8.2, answers without state.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use mcu_api::call::EndReason;

use super::{ALLOW, ALLOW_EVENTS, Connection, EXTENSIONS, Endpoint, SUPPORTED};
use crate::body::SDP;
use crate::call::{GIVE_UP, Stage};
use crate::flow::{Flow, FlowId, Output, Transport};
use crate::gruu;
use crate::keepalive;
use crate::message::{
    self, Envelope, HeaderName, Headers, Message, Method, Refusal, Request, Response, Scheme, Via,
    push, tokens,
};
use crate::stream::{Frame, Framer};

/// How long a connection may be silent before it is closed, unless a call uses it.
const MAX_IDLE: Duration = Duration::from_secs(3_900);

/// A request with what is needed to answer it.
pub(super) struct Arrival {
    pub request: Request,
    pub envelope: Envelope,
    pub via: Via,
    /// Where it came from.
    pub flow: Flow,
    /// Where its responses go.
    pub reply: Flow,
}

impl Endpoint {
    pub(super) fn receive(&mut self, now: Instant, flow: Flow, bytes: &[u8]) {
        match flow.transport {
            Transport::Udp => self.datagram(now, flow, bytes),
            Transport::Tcp | Transport::Tls => self.stream(now, flow, bytes),
            Transport::Ws | Transport::Wss => self.web_socket(now, flow, bytes),
        }
    }

    /// One message of a WebSocket is one of SIP (RFC 7118 §5), or a keep-alive of lines (RFC 5626 §4.4.1).
    fn web_socket(&mut self, now: Instant, flow: Flow, bytes: &[u8]) {
        if !self.connections.contains_key(&flow.id) && !self.admit_connection(now, flow) {
            return;
        }
        if let Some(connection) = self.connections.get_mut(&flow.id) {
            connection.last_input = now;
        }
        match bytes.iter().any(|b| !matches!(b, b'\r' | b'\n')) {
            true => self.message(now, flow, bytes),
            false if bytes == b"\r\n\r\n" => self.frame(now, flow, Frame::Ping),
            false => {}
        }
        self.watch_connection(now, flow.id);
    }

    fn datagram(&mut self, now: Instant, flow: Flow, bytes: &[u8]) {
        if let Some(answer) = keepalive::answer(bytes, flow.remote) {
            return self.transmit(flow, answer);
        }
        // Keep-alives: line ends (RFC 5626 §3.5.1 has them on streams only, terminals do not care)
        // and zero bytes.
        let start = bytes
            .iter()
            .position(|b| !matches!(b, b'\r' | b'\n' | b' ' | 0));
        if let Some(message) = start.and_then(|start| bytes.get(start..)) {
            self.message(now, flow, message);
        }
    }

    fn stream(&mut self, now: Instant, flow: Flow, mut bytes: &[u8]) {
        if !self.connections.contains_key(&flow.id) && !self.admit_connection(now, flow) {
            return;
        }
        while !bytes.is_empty() {
            let Some(connection) = self.connections.get_mut(&flow.id) else {
                return;
            };
            connection.last_input = now;
            let taken = connection.framer.push(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
            while let Some(frame) = self.next_frame(flow.id) {
                self.frame(now, flow, frame);
            }
        }
        self.watch_connection(now, flow.id);
    }

    fn next_frame(&mut self, flow: FlowId) -> Option<Frame> {
        self.connections.get_mut(&flow)?.framer.next_frame()
    }

    fn admit_connection(&mut self, now: Instant, flow: Flow) -> bool {
        if self.connections.len() >= self.config.max_connections {
            self.outputs.push_back(Output::Close { flow: flow.id });
            return false;
        }
        self.add_connection(now, flow, None);
        true
    }

    pub(super) fn add_connection(&mut self, now: Instant, flow: Flow, domain: Option<String>) {
        let connection = Connection {
            flow,
            domain,
            framer: Framer::new(self.config.max_message_bytes),
            partial_since: None,
            last_input: now,
        };
        self.connections.insert(flow.id, connection);
        self.watch_connection(now, flow.id);
    }

    fn frame(&mut self, now: Instant, flow: Flow, frame: Frame) {
        match frame {
            Frame::Ping => self.transmit(flow, bytes::Bytes::from_static(b"\r\n")),
            Frame::Message(bytes) => self.message(now, flow, &bytes),
            Frame::Broken { head, too_large } => {
                let refusal = match too_large {
                    true => Refusal::new(513, "Message Too Large"),
                    false => Refusal::new(400, "Bad Content-Length"),
                };
                self.refuse_unreadable(flow, &head, &refusal);
                self.close_connection(now, flow.id);
            }
        }
    }

    /// Sets when the connection is looked at next.
    fn watch_connection(&mut self, now: Instant, flow: FlowId) {
        let Some(connection) = self.connections.get_mut(&flow) else {
            return;
        };
        connection.partial_since = match connection.framer.is_partial() {
            true => Some(connection.partial_since.unwrap_or(now)),
            false => None,
        };
        let at = match connection.partial_since {
            Some(since) => since + GIVE_UP,
            None => connection.last_input + MAX_IDLE,
        };
        self.connection_deadlines.set(flow, Some(at));
    }

    /// A message that never ends, which a wrong Content-Length causes, is answered and the connection
    /// closed; so is an idle one that no call needs.
    pub(super) fn connection_due(&mut self, now: Instant, id: FlowId) {
        let in_use = self.calls.values().any(|call| call.flow.id == id);
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if connection.framer.is_partial() {
            let flow = connection.flow;
            let head = connection.framer.take_partial();
            self.refuse_unreadable(flow, &head, &Refusal::new(400, "Message Never Ended"));
        } else if in_use {
            connection.last_input = now;
            self.watch_connection(now, id);
            return;
        }
        self.close_connection(now, id);
    }

    /// Stream connections that carry a call or a registration.
    pub fn connections_in_use(&self, now: Instant) -> HashSet<FlowId> {
        let called = self.calls.values().map(|call| call.flow.id);
        let called: HashSet<FlowId> = called.chain(self.watchers.flows()).collect();
        let bindings = self.registrar.bindings(now);
        let registered: HashSet<_> = bindings.map(|(_, binding)| binding.flow.remote).collect();
        let flows = self.connections.values().map(|connection| connection.flow);
        flows
            .filter(|flow| called.contains(&flow.id) || registered.contains(&flow.remote))
            .map(|flow| flow.id)
            .collect()
    }

    fn close_connection(&mut self, now: Instant, id: FlowId) {
        // What was answered before must be written before.
        self.pump(now);
        self.outputs.push_back(Output::Close { flow: id });
        self.connection_closed(now, id);
    }

    /// What waited on the connection has failed; calls that are up live on, and get a new connection
    /// when there is something to say.
    pub(super) fn connection_closed(&mut self, now: Instant, id: FlowId) {
        self.connection_deadlines.set(id, None);
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        self.end_subscriptions_on(id);
        self.transactions.flow_closed(now, connection.flow);
        let unanswered: Vec<_> = self
            .calls
            .values()
            .filter(|call| call.flow.id == id && matches!(call.stage, Stage::Asked(_)))
            .map(|call| call.id)
            .collect();
        for call in unanswered {
            self.end(now, call, EndReason::Cancelled);
        }
    }

    fn message(&mut self, now: Instant, flow: Flow, bytes: &[u8]) {
        match message::parse(bytes, self.config.max_message_bytes) {
            Ok(Message::Request(request)) => self.request(now, flow, request),
            Ok(Message::Response(response)) => self.response(now, flow, response),
            Err(error) => {
                tracing::debug!(remote = %flow.remote, %error, "unreadable SIP message");
                self.refuse_unreadable(flow, bytes, &error.refusal());
            }
        }
    }

    fn response(&mut self, now: Instant, flow: Flow, response: Response) {
        // RFC 3261 §8.1.3.3: a response with several Vias was not meant for us.
        let vias = response.headers.count(&HeaderName::Via);
        let joined = message::text(&response.headers, &HeaderName::Via)
            .is_none_or(|value| message::first_hop_end(value.as_bytes()) < value.len());
        if vias != 1 || joined {
            return;
        }
        // Who we did not ask does not get our password's digest by a challenge.
        let challenge = matches!(response.status.code(), 401 | 407);
        if challenge && !self.transactions.asked_there(&response, flow) {
            return;
        }
        if let Some(response) = self.transactions.receive_response(now, response) {
            self.acknowledge_lost(&response);
        }
    }

    fn request(&mut self, now: Instant, flow: Flow, mut request: Request) {
        let Some(via) = message::top_via(&request.headers) else {
            let known = request.headers.count(&HeaderName::Via) > 0;
            if known && request.method != Method::Ack {
                // The answer can only go back where the request came from.
                self.refuse_with(&request.headers, flow, &Refusal::new(400, "Bad Via"));
            }
            return;
        };
        message::stamp_via(&mut request.headers, &via, flow.remote);
        let reply = message::reply_flow(flow, &via);
        let envelope = match Envelope::read(&request) {
            Ok(envelope) => envelope,
            Err(_) if request.method == Method::Ack => return,
            Err(refusal) => return self.refuse_with(&request.headers, reply, &refusal),
        };
        if self.transactions.absorb(now, &request) {
            return;
        }
        let arrival = Arrival {
            request,
            envelope,
            via,
            flow,
            reply,
        };
        self.dispatch(now, arrival);
    }

    fn dispatch(&mut self, now: Instant, arrival: Arrival) {
        match arrival.request.method {
            Method::Ack => return self.acknowledged(now, arrival.flow, &arrival.request),
            Method::Cancel => return self.cancelled(now, &arrival),
            _ => {}
        }
        if let Err(refusal) = check(&arrival) {
            return self.refuse(&arrival, &refusal);
        }
        if arrival.request.method == Method::Subscribe {
            return self.subscribed(now, arrival);
        }
        if arrival.envelope.to_tag().is_some() {
            return self.within_dialog(now, arrival);
        }
        match arrival.request.method {
            Method::Invite => self.invited(now, arrival),
            Method::Register => self.registered(now, arrival),
            Method::Options => self.capabilities(&arrival),
            // Nobody has us call somebody.
            Method::Refer => self.refuse(&arrival, &Refusal::new(403, "Forbidden")),
            _ => self.refuse(&arrival, &Refusal::new(481, "Call Does Not Exist")),
        }
    }

    /// Answers OPTIONS (RFC 3261 §11.2).
    fn capabilities(&mut self, arrival: &Arrival) {
        let answer = Refusal::new(200, "OK")
            .with(HeaderName::Allow, ALLOW)
            .with(HeaderName::AllowEvents, ALLOW_EVENTS)
            .with(HeaderName::Accept, SDP)
            .with(HeaderName::AcceptEncoding, "identity")
            .with(HeaderName::AcceptLanguage, "en, zh")
            .with(HeaderName::Supported, SUPPORTED);
        self.refuse(arrival, &answer);
    }

    /// Answers without leaving a transaction behind.
    pub(super) fn refuse(&mut self, arrival: &Arrival, refusal: &Refusal) {
        self.refuse_with(&arrival.request.headers, arrival.reply, refusal);
    }

    fn refuse_unreadable(&mut self, flow: Flow, bytes: &[u8], refusal: &Refusal) {
        let Some(mut headers) = message::salvage(bytes) else {
            return;
        };
        let reply = match message::top_via(&headers) {
            Some(via) => {
                message::stamp_via(&mut headers, &via, flow.remote);
                message::reply_flow(flow, &via)
            }
            None => flow,
        };
        self.refuse_with(&headers, reply, refusal);
    }

    fn refuse_with(&mut self, headers: &Headers, reply: Flow, refusal: &Refusal) {
        let tag = self.stateless_tag(headers);
        if let Some(mut response) = self.response_to(headers, refusal, &tag) {
            message::finish(&mut response, None);
            self.transmit(reply, Message::Response(response).to_bytes());
        }
    }

    /// A response with our Server header and those of the refusal.
    pub(super) fn response_to(
        &self,
        headers: &Headers,
        refusal: &Refusal,
        tag: &str,
    ) -> Option<Response> {
        let mut response = message::response(headers, refusal.status, refusal.reason, tag)?;
        for (name, value) in &refusal.headers {
            push(&mut response.headers, name.clone(), value.clone());
        }
        let server = self.config.server_name.clone();
        push(&mut response.headers, HeaderName::Server, server);
        Some(response)
    }

    /// The same request gets the same tag again (RFC 3261 §8.2.7).
    fn stateless_tag(&self, headers: &Headers) -> String {
        let mut hasher = DefaultHasher::new();
        self.tag_secret.hash(&mut hasher);
        for name in [HeaderName::Via, HeaderName::CallId, HeaderName::CSeq] {
            headers.value(&name).hash(&mut hasher);
        }
        format!("s{:016x}", hasher.finish())
    }
}

/// Method, Request-URI, hops and extensions (RFC 3261 §8.2.1 and §8.2.2).
fn check(arrival: &Arrival) -> Result<(), Refusal> {
    let request = &arrival.request;
    match &request.method {
        Method::Invite | Method::Bye | Method::Options => {}
        Method::Register | Method::Info | Method::Update | Method::Subscribe => {}
        Method::Prack | Method::Refer | Method::Notify => {}
        Method::Other(_) => {
            return Err(Refusal::new(501, "Not Implemented").with(HeaderName::Allow, ALLOW));
        }
        _ => return Err(Refusal::new(405, "Method Not Allowed").with(HeaderName::Allow, ALLOW)),
    }
    // `sips` asks for TLS on every hop (RFC 5630 §4): on the last one, it came by TLS or not at all.
    let taken = match request.uri.scheme() {
        Scheme::Sip | Scheme::Tel => true,
        Scheme::Sips => arrival.flow.transport.is_secure(),
        _ => false,
    };
    if !taken {
        return Err(Refusal::new(416, "Unsupported URI Scheme"));
    }
    // Within a dialog the request has arrived whatever its count.
    if arrival.envelope.to_tag().is_none() && message::hops_used_up(request) {
        return Err(Refusal::new(483, "Too Many Hops"));
    }
    let unknown: Vec<String> = tokens(&request.headers, &HeaderName::Require)
        .into_iter()
        .filter(|tag| !EXTENSIONS.contains(&tag.as_str()))
        // RFC 5627 §4.1: of the registrar.
        .filter(|tag| request.method != Method::Register || tag != gruu::OPTION)
        .collect();
    if !unknown.is_empty() {
        let unknown = unknown.join(", ");
        return Err(Refusal::new(420, "Bad Extension").with(HeaderName::Unsupported, unknown));
    }
    Ok(())
}
