//! The endpoint: one owner of all calls, registrations and transactions.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mcu_api::call::CallCommand;

use crate::config::{Account, Config};
use crate::flow::{Flow, Input, Output};

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

/// A SIP user agent server and registrar without I/O.
pub struct Endpoint {
    config: Config,
    outputs: VecDeque<Output>,
}

impl Endpoint {
    /// A new endpoint. The seed makes tags, branches and nonces: draw it from the system's random
    /// source, or fix it in a test.
    pub fn new(config: Config, _seed: [u8; 32]) -> Self {
        Self {
            config,
            outputs: VecDeque::new(),
        }
    }

    /// Takes bytes from a peer, or learns that a connection is gone.
    pub fn handle_input(&mut self, _now: Instant, _input: Input<'_>) {}

    /// Does what has fallen due by `now`.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// Carries out a wish of the rooms. A command for a call that has ended is ignored.
    pub fn command(&mut self, _now: Instant, _command: CallCommand) {}

    /// The next thing to be done by the shell. Drain it after every other call.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] is wanted next.
    pub fn next_timeout(&self) -> Option<Instant> {
        None
    }

    /// Replaces the accounts. Registrations of accounts that are gone end; calls go on.
    pub fn set_accounts(&mut self, accounts: Vec<Account>) {
        self.config.accounts = accounts;
    }

    /// Contacts that are registered at `now`.
    pub fn registrations(&self, _now: Instant) -> impl Iterator<Item = Registration> + '_ {
        std::iter::empty()
    }

    /// The flow that a call uses now, `None` for a call that has ended.
    pub fn flow_of(&self, _call: mcu_api::ids::CallId) -> Option<Flow> {
        None
    }
}
