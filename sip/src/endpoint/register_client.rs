//! Registrations of ours at other servers (RFC 3261 §10.2), kept up for as long as we live.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use mcu_api::call::Credentials;
use mcu_api::ids::CallId;
use rand::Rng;

use super::Endpoint;
use crate::client_auth::Proofs;
use crate::deadlines::Deadlines;
use crate::dialog::Dialog;
use crate::flow::{Flow, Output};
use crate::message::{
    Address, HeaderName, Headers, Method, Response, Uri, lossy, text, uri_address,
};
use crate::transaction::Purpose;

/// First and longest wait after failures, which doubles in between (RFC 5626 §4.5).
const FIRST_WAIT: Duration = Duration::from_secs(30);
const LAST_WAIT: Duration = Duration::from_secs(1_800);

/// Shortest time from one registration to the next, whatever a server grants.
const LEAST_REFRESH: Duration = Duration::from_secs(20);

/// Requests of one registration: the first, one with proof, and two more for a stale nonce and a
/// longer time.
const MAX_ATTEMPTS: u8 = 4;

/// A registration of ours, of which the shell says where its server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegistrationId(pub(crate) CallId);

/// A server at which we register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteRegistrar {
    /// Its name, for the log.
    pub name: String,
    /// Its URI, with the transport.
    pub uri: String,
    /// The name that leads to it, which its certificate has to show over TLS.
    pub host: String,
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
    /// The way there; `None` until the shell finds one, and again after a failure, since a name may
    /// lead elsewhere by then.
    flow: Option<Flow>,
    /// Ways to further servers, for when this one cannot be reached (RFC 3263 §4.3).
    further: VecDeque<Flow>,
    /// Call-ID, tag and CSeq, which go on from one REGISTER to the next (RFC 3261 §10.2.4).
    dialog: Dialog,
    expires: Duration,
    proofs: Proofs,
    attempts: u8,
    failures: u32,
    is_up: bool,
    /// Since when it is as it is.
    since: Option<Instant>,
    /// Why the last attempt failed; none once it has not.
    failure: Option<String>,
}

/// How a registration of ours does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationState<'a> {
    /// Name of the server.
    pub server: &'a str,
    /// Whether we are registered.
    pub is_up: bool,
    /// Since when; `None` before the first answer.
    pub since: Option<Instant>,
    /// Why the last attempt failed, if it did.
    pub failure: Option<&'a str>,
}

impl Registration {
    /// Our address as the server is to know it.
    fn contact(&self, flow: Flow) -> String {
        let transport = flow.transport.uri_parameter();
        let user = &self.server.credentials.user;
        format!("sip:{user}@{}{transport}", flow.told())
    }
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
    /// Registers at a server, and again whenever it is time. [`Output::Locate`] asks for the way.
    pub fn register_at(&mut self, server: RemoteRegistrar) {
        let Ok(target) = Uri::parse(server.uri.clone().into()) else {
            return tracing::error!(server = server.name, "no SIP URI to register at");
        };
        let (call_id, tag) = (self.token(), self.token());
        let address = format!("<sip:{}@{}>", server.credentials.user, server.domain);
        let dialog = Dialog::registering(call_id, tag, &address, target);
        let id = CallId(self.next_call);
        self.next_call += 1;
        let registration = Registration {
            expires: server.expires,
            server,
            flow: None,
            further: VecDeque::new(),
            dialog,
            proofs: Proofs::default(),
            attempts: 0,
            failures: 0,
            is_up: false,
            since: None,
            failure: None,
        };
        self.registrations_out.held.insert(id, registration);
        self.locate(id);
    }

    /// Registers at this server no more. What it holds of us runs out by itself.
    pub fn stop_registering(&mut self, server: &str) {
        let held = self.registrations_out.held.iter();
        let gone = held.filter(|(_, held)| held.server.name == server);
        let gone: Vec<CallId> = gone.map(|(id, _)| *id).collect();
        for id in gone {
            self.registrations_out.held.remove(&id);
            self.registrations_out.deadlines.set(id, None);
        }
    }

    /// How each registration of ours does.
    pub fn registrations_elsewhere(&self) -> impl Iterator<Item = RegistrationState<'_>> {
        let held = self.registrations_out.held.values();
        held.map(|held| RegistrationState {
            server: &held.server.name,
            is_up: held.is_up,
            since: held.since,
            failure: held.failure.as_deref(),
        })
    }

    fn locate(&mut self, id: CallId) {
        let Some(held) = self.registrations_out.held.get(&id) else {
            return;
        };
        self.outputs.push_back(Output::Locate {
            registration: RegistrationId(id),
            server: held.server.name.clone(),
        });
    }

    /// The answer to [`Output::Locate`]: flows whose `local` is where the server can reach us, the first
    /// of which is tried first, or why there are none.
    pub fn located(
        &mut self,
        now: Instant,
        registration: RegistrationId,
        flows: Result<Vec<Flow>, &str>,
    ) {
        let id = registration.0;
        match (flows, self.registrations_out.held.get_mut(&id)) {
            (Ok(flows), Some(held)) => {
                held.further = flows.into();
                self.server_unreachable(now, id, "no way there from here");
            }
            (Err(why), Some(_)) => self.registration_failed(now, id, why),
            (_, None) => {}
        }
        self.pump(now);
    }

    /// Registers at the next server; waits where there is none.
    fn server_unreachable(&mut self, now: Instant, id: CallId, why: &str) {
        let Some(held) = self.registrations_out.held.get_mut(&id) else {
            return;
        };
        let Some(flow) = held.further.pop_front() else {
            return self.registration_failed(now, id, why);
        };
        held.flow = Some(flow);
        held.attempts = 0;
        held.proofs = Proofs::default();
        self.trunks.note(flow.remote.ip());
        self.send_register(now, id);
    }

    pub(super) fn registrations_due(&mut self, now: Instant) {
        while let Some(id) = self.registrations_out.deadlines.pop_due(now) {
            self.send_register(now, id);
            self.pump(now);
        }
    }

    fn send_register(&mut self, now: Instant, id: CallId) {
        let Some(held) = self.registrations_out.held.get(&id) else {
            return;
        };
        let Some(flow) = held.flow else {
            return self.locate(id);
        };
        let host = held.server.host.clone();
        let flow = self.opened(now, flow, Some(&host));
        let branch = format!("z9hG4bK{}", self.token());
        let agent = self.config.server_name.clone();
        let Some(held) = self.registrations_out.held.get_mut(&id) else {
            return;
        };
        let Some(flow) = flow else {
            return self.server_unreachable(now, id, "no connection");
        };
        held.flow = Some(flow);
        held.attempts += 1;
        let contact = format!("<{}>", held.contact(flow));
        let draft = held
            .dialog
            .request(Method::Register, flow, &branch, None)
            .header(HeaderName::UserAgent, agent)
            .header(HeaderName::Contact, contact)
            .header(HeaderName::Expires, held.expires.as_secs().to_string());
        let proofs = held.proofs.headers();
        let draft = proofs.fold(draft, |draft, (name, value)| draft.header(name, value));
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
            return self.server_unreachable(now, id, "no answer");
        };
        let again = held.attempts < MAX_ATTEMPTS;
        match response.status.code() {
            100..200 => {}
            200..300 => {
                let contact = held.flow.map(|flow| held.contact(flow));
                let contact = contact.and_then(|uri| Uri::parse(uri.into()).ok());
                let granted = contact.and_then(|ours| granted(&response.headers, &ours));
                let granted = granted.unwrap_or(held.expires).min(held.expires);
                if !std::mem::replace(&mut held.is_up, true) {
                    tracing::info!(server = held.server.name, "registered");
                    held.since = Some(now);
                }
                held.failure = None;
                (held.attempts, held.failures) = (0, 0);
                // The next one begins anew: a nonce serves once.
                held.proofs = Proofs::default();
                let next = now + (granted * 4 / 5).max(LEAST_REFRESH);
                self.registrations_out.deadlines.set(id, Some(next));
            }
            401 | 407 if again => {
                let uri = held.dialog.request_uri().to_string();
                let asked = ("REGISTER", uri.as_str());
                let (known, challenged) = (&held.server.credentials, &response.headers);
                match held.proofs.answer(challenged, known, asked, &cnonce) {
                    Ok(()) => self.send_register(now, id),
                    Err(why) => self.registration_failed(now, id, &why.to_string()),
                }
            }
            // RFC 3261 §10.2.8.
            423 if again => {
                let least = text(&response.headers, &HeaderName::MinExpires);
                let least = least.and_then(|value| value.trim().parse::<u32>().ok());
                let least = Duration::from_secs(least.unwrap_or(3_600).min(86_400).into());
                held.expires = held.expires.max(least);
                self.send_register(now, id);
            }
            503 => self.server_unreachable(now, id, "out of service"),
            status => {
                self.registration_failed(now, id, &format!("refused with status {status}"));
            }
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
        if held.is_up || held.since.is_none() {
            held.since = Some(now);
        }
        held.failure = Some(why.to_owned());
        held.is_up = false;
        held.attempts = 0;
        held.proofs = Proofs::default();
        held.flow = None;
        held.further.clear();
        held.failures = held.failures.saturating_add(1);
        self.registrations_out.deadlines.set(id, Some(now + wait));
    }
}

/// How long the server keeps our contact: as it says beside it, or for all (RFC 3261 §10.2.4). Others
/// may be registered with other times. A lone one is ours even if a gateway on the way has rewritten
/// it.
fn granted(response: &Headers, ours: &Uri) -> Option<Duration> {
    let rows = response.get_all(&HeaderName::Contact);
    let read = rows.filter_map(|row| Address::parse_list(&row.value(), "Contact").ok());
    let contacts: Vec<Address> = read.flatten().collect();
    let is_ours = |contact: &&Address| is_same_contact(&contact.uri, ours);
    let lone = contacts.first().filter(|_| contacts.len() == 1);
    let contact = contacts.iter().find(is_ours).or(lone);
    let number = |text: &str| text.trim().parse::<u32>().ok();
    let stated = contact.and_then(|contact| contact.param("expires"));
    let stated = stated.and_then(|value| number(&lossy(value)));
    let expires = text(response, &HeaderName::Expires).and_then(|value| number(&value));
    stated
        .or(expires)
        .map(|seconds| Duration::from_secs(seconds.into()))
}

/// Whether two contacts lead to the same user at the same place. Parameters do not count, as servers
/// add and drop them.
fn is_same_contact(one: &Uri, other: &Uri) -> bool {
    one.decoded_user() == other.decoded_user()
        && uri_address(one).is_some()
        && uri_address(one) == uri_address(other)
}
