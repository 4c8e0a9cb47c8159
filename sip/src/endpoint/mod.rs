//! The endpoint: one owner of all calls, registrations and transactions.

mod command;
mod dial;
mod dialled;
mod incoming;
mod invite;
mod outgoing;
mod redirect;
mod refer;
mod register;
mod register_client;
mod reliable;
mod replaces;
mod saving;
mod subscribe;
#[cfg(test)]
mod tests;
mod timeout;
mod transfer;
mod within;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mcu_api::call::{CallCommand, CallEvent};
use mcu_api::ids::CallId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::admission::Admission;
use crate::call::Call;
use crate::config::{Account, Config};
use crate::deadlines::Deadlines;
use crate::digest::Digest;
use crate::flow::{Flow, FlowId, Input, Output};
use crate::registrar::{self, Registrar};
use crate::stream::Framer;
use crate::transaction::{News, Purpose, Transactions};
pub use dial::Path;
use register_client::Registrations;
pub use register_client::{RegistrationId, RegistrationState, RemoteRegistrar};
pub use saving::Changes;
use subscribe::Watchers;
pub use transfer::can_be_referred_to;

/// Methods that are served (RFC 3261 §20.5).
const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, INFO, PRACK, UPDATE, \
                     REFER, NOTIFY, SUBSCRIBE";
/// Event packages that can be subscribed to (RFC 6665 §8.2.2).
const ALLOW_EVENTS: &str = "conference";
/// Extensions that are known (RFC 3261 §20.37): reliable provisional responses (RFC 3262), REFER
/// without a subscription (RFC 4488), calls that replace another (RFC 3891), session timers (RFC 4028).
const EXTENSIONS: [&str; 4] = ["100rel", "norefersub", "replaces", "timer"];
/// The same, as Supported names them.
const SUPPORTED: &str = "100rel, norefersub, replaces, timer";

/// A contact that an account has registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The account.
    pub account: String,
    /// The registered URI, without angle brackets.
    pub contact: String,
    /// Where the REGISTER came from.
    pub remote: SocketAddr,
    /// Time left.
    pub expires_in: Duration,
    /// `User-Agent`, if sent.
    pub user_agent: Option<String>,
}

/// How much an [`Endpoint`] holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Calls, from INVITE to BYE.
    pub calls: usize,
    /// Transactions, including those that only wait for late retransmissions.
    pub transactions: usize,
    /// Stream connections.
    pub connections: usize,
}

struct Connection {
    flow: Flow,
    /// What the peer has proven to be, or is to prove when the connection is opened: over TLS, of our
    /// wish.
    domain: Option<String>,
    framer: Framer,
    /// Since when a message is unfinished.
    partial_since: Option<Instant>,
    last_input: Instant,
}

/// A SIP user agent server and registrar without I/O.
pub struct Endpoint {
    config: Config,
    accounts: HashMap<String, Account>,
    random: StdRng,
    /// Makes the To tags of answers that leave no state behind.
    tag_secret: u64,
    digest: Digest,
    admission: Admission,
    registrar: Registrar,
    transactions: Transactions,
    /// At most [`Config::max_calls`].
    calls: HashMap<CallId, Call>,
    /// Our tag in a dialog to its call.
    dialogs: HashMap<String, CallId>,
    call_deadlines: Deadlines<CallId>,
    /// At most [`Config::max_connections`].
    connections: HashMap<FlowId, Connection>,
    connection_deadlines: Deadlines<FlowId>,
    strays: dialled::Strays,
    trunks: redirect::Trunks,
    watchers: Watchers,
    registrations_out: Registrations,
    next_call: u64,
    next_flow: u64,
    changes: Changes,
    /// Drained by the shell after every call into the endpoint; one call adds at most a few entries
    /// for each message that it was given and each timer that was due.
    outputs: VecDeque<Output>,
}

impl Endpoint {
    /// A new endpoint. The seed makes tags, branches and nonces: draw it from the system's random
    /// source, or fix it in a test.
    pub fn new(mut config: Config, seed: [u8; 32]) -> Self {
        let mut random = StdRng::from_seed(seed);
        config.max_message_bytes = config.max_message_bytes.min(65_536);
        let accounts = by_user(std::mem::take(&mut config.accounts));
        let limits = registrar::Limits {
            max_registrations: config.max_registrations,
            max_contacts_per_account: config.max_contacts_per_account,
            min_expires: config.min_expires,
            max_expires: config.max_expires,
        };
        Self {
            accounts,
            tag_secret: random.random(),
            digest: Digest::new(config.realm.clone(), random.random()),
            registrar: Registrar::new(limits),
            admission: Admission::new(config.new_calls_per_source_per_s, config.new_calls_per_s),
            transactions: Transactions::new(config.max_transactions),
            calls: HashMap::new(),
            dialogs: HashMap::new(),
            call_deadlines: Deadlines::new(),
            connections: HashMap::new(),
            connection_deadlines: Deadlines::new(),
            strays: dialled::Strays::default(),
            trunks: redirect::Trunks::new(&config.trunks),
            watchers: Watchers::new(),
            registrations_out: Registrations::new(),
            next_call: 1,
            next_flow: FlowId::FIRST_OUTBOUND.0,
            changes: Changes::default(),
            outputs: VecDeque::new(),
            random,
            config,
        }
    }

    /// Takes bytes from a peer, or learns that a connection is gone.
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Received { flow, bytes } => self.receive(now, flow, bytes),
            Input::Closed { flow } => self.connection_closed(now, flow),
        }
        self.pump(now);
    }

    /// Does what has fallen due by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.transactions.handle_timeout(now);
        self.pump(now);
        while let Some(call) = self.call_deadlines.pop_due(now) {
            self.call_due(now, call);
            self.settle(now, call);
            self.pump(now);
        }
        self.subscriptions_due(now);
        self.registrations_due(now);
        while let Some(flow) = self.connection_deadlines.pop_due(now) {
            self.connection_due(now, flow);
            self.pump(now);
        }
    }

    /// Carries out a wish of the rooms. A command for a call that has ended is ignored.
    pub fn command(&mut self, now: Instant, command: CallCommand) {
        self.carry_out(now, command);
        self.pump(now);
    }

    /// The next thing to be done by the shell. Drain it after every other call.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] is wanted next.
    pub fn next_timeout(&self) -> Option<Instant> {
        [
            self.transactions.next_timeout(),
            self.call_deadlines.next(),
            self.watchers.next_timeout(),
            self.registrations_out.next_timeout(),
            self.connection_deadlines.next(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Replaces the accounts, and whether a caller has to prove one ([`Config::require_auth`]).
    /// Registrations of accounts that are gone, or have another password, end; calls go on.
    pub fn set_accounts(&mut self, accounts: Vec<Account>, require_auth: bool) {
        self.config.require_auth = require_auth;
        let before = std::mem::replace(&mut self.accounts, by_user(accounts));
        let accounts = &self.accounts;
        self.registrar.retain_accounts(|user| {
            let account = accounts.get(user).filter(|account| account.may_register);
            account.is_some_and(|a| before.get(user).is_some_and(|b| a.ha1 == b.ha1))
        });
        self.changes.registrations += 1;
    }

    /// Replaces the addresses whose calls are passed up unchallenged ([`Config::unchallenged`]), and those at
    /// which trunks are ([`Config::trunks`]).
    pub fn set_trunks(&mut self, unchallenged: Vec<IpAddr>, trunks: &[IpAddr]) {
        self.config.unchallenged = unchallenged;
        self.trunks.set(trunks);
    }

    /// Contacts that are registered at `now`.
    pub fn registrations(&self, now: Instant) -> impl Iterator<Item = Registration> + '_ {
        self.registrar
            .bindings(now)
            .map(move |(account, binding)| Registration {
                account: account.to_owned(),
                contact: binding.uri.to_string(),
                remote: binding.flow.remote,
                expires_in: binding.expires_at.saturating_duration_since(now),
                user_agent: binding.user_agent.clone(),
            })
    }

    /// The flow that a call uses now, `None` for a call that has ended.
    pub fn flow_of(&self, call: CallId) -> Option<Flow> {
        self.calls.get(&call).map(|call| call.flow)
    }

    /// How much is held now.
    pub fn load(&self) -> Load {
        Load {
            calls: self.calls.len(),
            transactions: self.transactions.len(),
            connections: self.connections.len(),
        }
    }

    /// Whether peers still owe us something for calls to be over: an answer to a BYE, or the ACK that
    /// a BYE waits for.
    pub fn awaits_answers(&self) -> bool {
        !self.calls.is_empty() || self.transactions.has_open_end()
    }

    /// Carries the news of the transactions to where they belong, until there are none.
    fn pump(&mut self, now: Instant) {
        while let Some(news) = self.transactions.take_news() {
            match news {
                News::Transmit(flow, bytes) => self.transmit(flow, bytes),
                News::Response(id, Purpose::Notify, _, response) => {
                    self.notified(now, id, Some(response.status.code()));
                }
                News::Response(id, Purpose::Register, _, response) => {
                    self.register_answered(now, id, Some(&response));
                }
                News::Failed(id, Purpose::Register, _) => self.register_answered(now, id, None),
                News::Failed(id, Purpose::Notify, _) => self.notified(now, id, None),
                News::Response(call, Purpose::Dial, key, response) => {
                    self.dial_answered(now, call, &key, &response);
                    self.settle(now, call);
                }
                News::Failed(call, Purpose::Dial, key) => {
                    self.branch_failed(now, call, &key);
                    self.settle(now, call);
                }
                News::Stray(flow, invite, response) => {
                    self.turn_away(now, flow, &invite, &response);
                }
                News::Response(call, purpose, _, response) => {
                    self.response_to_ours(now, call, purpose, &response);
                    self.settle(now, call);
                }
                News::Failed(call, purpose, _) => {
                    self.request_failed(now, call, purpose);
                    self.settle(now, call);
                }
                News::Ack(flow, request) => self.acknowledged(now, flow, &request),
            }
        }
    }

    fn transmit(&mut self, flow: Flow, bytes: Bytes) {
        self.outputs.push_back(Output::Transmit { flow, bytes });
    }

    fn event(&mut self, event: CallEvent) {
        self.outputs.push_back(Output::Event(event));
    }

    /// A random token for tags and branches.
    fn token(&mut self) -> String {
        format!("{:016x}", self.random.random::<u64>())
    }
}

fn by_user(accounts: Vec<Account>) -> HashMap<String, Account> {
    accounts
        .into_iter()
        .map(|account| (account.user.clone(), account))
        .collect()
}
