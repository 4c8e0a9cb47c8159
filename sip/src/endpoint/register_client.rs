//! Registrations of ours at other servers (RFC 3261 §10.2), kept up for as long as we live.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use mcu_api::ids::CallId;
use rand::Rng;

use super::Endpoint;
use crate::client_auth::{self, Credentials};
use crate::deadlines::Deadlines;
use crate::dialog::Dialog;
use crate::flow::Flow;
use crate::message::{HeaderName, Method, Response, Uri, text, uri_transport};
use crate::transaction::Purpose;

/// First and longest wait after failures, which doubles in between (RFC 5626 §4.5).
const FIRST_WAIT: Duration = Duration::from_secs(30);
const LAST_WAIT: Duration = Duration::from_secs(1_800);

/// Shortest time from one registration to the next, whatever a server grants.
const LEAST_REFRESH: Duration = Duration::from_secs(20);

/// Requests of one registration: the first, one with proof, and one more for a stale nonce or a
/// longer time.
const MAX_ATTEMPTS: u8 = 3;

/// A server at which we register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteRegistrar {
    /// Its name, for the log.
    pub name: String,
    /// Its URI, with the transport.
    pub uri: String,
    /// Host part of our address there.
    pub domain: String,
    /// Who we are there.
    pub credentials: Credentials,
    /// For how long at a time.
    pub expires: Duration,
}

/// Our registrations, one a configured server.
#[derive(Debug)]
pub(super) struct Registrations {
    /// Numbered like calls, so that transactions tell them apart.
    held: HashMap<CallId, Registration>,
    deadlines: Deadlines<CallId>,
}

#[derive(Debug)]
struct Registration {
    server: RemoteRegistrar,
    flow: Flow,
    /// Call-ID, tag and CSeq, which go on from one REGISTER to the next (RFC 3261 §10.2.4).
    dialog: Dialog,
    expires: Duration,
    attempts: u8,
    failures: u32,
    is_up: bool,
}

impl Registrations {
    pub fn new() -> Self {
        Self {
            held: HashMap::new(),
            deadlines: Deadlines::new(),
        }
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }
}

impl Endpoint {
    /// Registers at a server by this flow, and again whenever it is time.
    pub fn register_at(&mut self, now: Instant, server: RemoteRegistrar, flow: Flow) {
        let Ok(target) = Uri::parse(server.uri.clone().into()) else {
            return tracing::error!(server = server.name, "no SIP URI to register at");
        };
        let (call_id, tag) = (self.token(), self.token());
        let address = format!("<sip:{}@{}>", server.credentials.user, server.domain);
        let dialog = Dialog::dialled(call_id, tag, &address, target, flow).addressed_to(address);
        let id = CallId(self.next_call);
        self.next_call += 1;
        let registration = Registration {
            expires: server.expires,
            server,
            flow,
            dialog,
            attempts: 0,
            failures: 0,
            is_up: false,
        };
        self.registrations_out.held.insert(id, registration);
        self.send_register(now, id, None);
        self.pump(now);
    }

    pub(super) fn registrations_due(&mut self, now: Instant) {
        while let Some(id) = self.registrations_out.deadlines.pop_due(now) {
            self.send_register(now, id, None);
            self.pump(now);
        }
    }

    fn send_register(&mut self, now: Instant, id: CallId, proof: Option<(HeaderName, String)>) {
        let flow = self.registrations_out.held.get(&id).map(|held| held.flow);
        let flow = flow.and_then(|flow| self.opened(now, flow));
        let branch = format!("z9hG4bK{}", self.token());
        let agent = self.config.server_name.clone();
        let Some(held) = self.registrations_out.held.get_mut(&id) else {
            return;
        };
        let Some(flow) = flow else {
            return self.registration_failed(now, id, "no connection");
        };
        held.flow = flow;
        held.attempts += 1;
        let transport = uri_transport(&held.dialog.request_uri()).uri_parameter();
        let user = &held.server.credentials.user;
        let contact = format!("<sip:{user}@{}{transport}>", flow.local);
        let draft = held
            .dialog
            .request(Method::Register, flow, &branch, None)
            .header(HeaderName::UserAgent, agent)
            .header(HeaderName::Contact, contact)
            .header(HeaderName::Expires, held.expires.as_secs().to_string());
        let draft = match proof {
            Some((name, value)) => draft.header(name, value),
            None => draft,
        };
        let owner = (id, Purpose::Register);
        let sent = draft
            .build()
            .is_some_and(|request| self.transactions.send(now, request, flow, owner));
        if !sent {
            self.registration_failed(now, id, "not sent");
        }
    }

    /// A REGISTER has an answer, or none.
    pub(super) fn register_answered(
        &mut self,
        now: Instant,
        id: CallId,
        response: Option<&Response>,
    ) {
        let cnonce = self.token();
        let Some(held) = self.registrations_out.held.get_mut(&id) else {
            return;
        };
        let Some(response) = response else {
            return self.registration_failed(now, id, "no answer");
        };
        let again = held.attempts < MAX_ATTEMPTS;
        match response.status.code() {
            100..200 => {}
            200..300 => {
                let granted = granted(response).unwrap_or(held.expires);
                if !std::mem::replace(&mut held.is_up, true) {
                    tracing::info!(server = held.server.name, "registered");
                }
                (held.attempts, held.failures) = (0, 0);
                let next = now + (granted * 4 / 5).max(LEAST_REFRESH);
                self.registrations_out.deadlines.set(id, Some(next));
            }
            401 | 407 if again => {
                let uri = held.dialog.request_uri().to_string();
                let asked = ("REGISTER", uri.as_str());
                let known = &held.server.credentials;
                match client_auth::answer(&response.headers, known, asked, &cnonce) {
                    Some(proof) => self.send_register(now, id, Some(proof)),
                    None => self.registration_failed(now, id, "no challenge that we can answer"),
                }
            }
            // RFC 3261 §10.2.8.
            423 if again => {
                let least = text(&response.headers, &HeaderName::MinExpires);
                let least = least.and_then(|value| value.trim().parse::<u32>().ok());
                let least = Duration::from_secs(least.unwrap_or(3_600).min(86_400).into());
                held.expires = held.expires.max(least);
                self.send_register(now, id, None);
            }
            _ => self.registration_failed(now, id, "refused"),
        }
    }

    /// Waits longer with each failure, and not all servers' clients for the same time.
    fn registration_failed(&mut self, now: Instant, id: CallId, why: &str) {
        let share = self.random.random_range(0.5..=1.0);
        let Some(held) = self.registrations_out.held.get_mut(&id) else {
            return;
        };
        let doubled = FIRST_WAIT * 2u32.saturating_pow(held.failures.min(16));
        let wait = doubled.min(LAST_WAIT).mul_f64(share);
        if held.is_up || held.failures == 0 {
            tracing::warn!(server = held.server.name, why, "not registered");
        }
        held.is_up = false;
        held.attempts = 0;
        held.failures = held.failures.saturating_add(1);
        self.registrations_out.deadlines.set(id, Some(now + wait));
    }
}

/// How long the server keeps our contact: as it says there, or in all (RFC 3261 §10.2.4).
fn granted(response: &Response) -> Option<Duration> {
    let contact = text(&response.headers, &HeaderName::Contact);
    let contact = contact.and_then(|value| {
        let (_, rest) = value.split_once(";expires=")?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    });
    let expires = text(&response.headers, &HeaderName::Expires);
    let expires = expires.and_then(|value| value.trim().parse().ok());
    contact.or(expires).map(|s| Duration::from_secs(s.into()))
}
