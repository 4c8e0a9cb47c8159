//! What the endpoint is told at its start.

use std::net::IpAddr;
use std::time::Duration;

use mcu_api::directory::Home;

use crate::digest::Ha1;

/// One user who can prove a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// User name in digest credentials, and user part of the address of record.
    pub user: String,
    /// Hashes of user, realm and password.
    pub ha1: Ha1,
    /// Whether the account may register contacts.
    pub may_register: bool,
    /// Where it belongs: which conferences it may watch.
    pub home: Home,
}

/// Settings and bounds of an [`crate::Endpoint`]. Every bound refuses what comes beyond it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Realm of the digest challenges; part of every [`Ha1`].
    pub realm: String,
    /// Text of `Server` and `User-Agent`.
    pub server_name: String,
    /// Who can prove a password.
    pub accounts: Vec<Account>,
    /// Challenge every INVITE (401) before it becomes a call. When `false`, calls without
    /// credentials are passed up without an account; the dial plan takes them, refuses them, or has
    /// them challenged ([`mcu_api::call::RejectReason::Unauthorized`]).
    pub require_auth: bool,
    /// Addresses whose calls are passed up unchallenged in any case.
    pub unchallenged: Vec<IpAddr>,
    /// Where trunks are. Calls that go there follow no redirection, whatever URI led there.
    pub trunks: Vec<IpAddr>,
    /// Most calls at a time; beyond it 503.
    pub max_calls: usize,
    /// Most calls of one source at a time whose callers proved no account; beyond it 503.
    pub max_calls_per_source: usize,
    /// Most calls that such callers begin in a second from one source. Who comes beyond is challenged
    /// while there are accounts, so that those who have one get in, and gets 503 otherwise; neither
    /// leaves state behind.
    pub new_calls_per_source_per_s: u32,
    /// The same from all sources together, whose addresses may be forged.
    pub new_calls_per_s: u32,
    /// Most transactions at a time; beyond it 503 without state. Over UDP each stays for 32 s (RFC 3261
    /// §17.2.2), so that 32,768 stand for 1,000 registrations or 500 calls a second.
    pub max_transactions: usize,
    /// Most stream connections at a time; a further one is closed.
    pub max_connections: usize,
    /// Most registered contacts of all accounts; beyond it 503.
    pub max_registrations: usize,
    /// Most contacts of one account; beyond it 403.
    pub max_contacts_per_account: usize,
    /// Shortest registration taken; a shorter one is answered 423.
    pub min_expires: Duration,
    /// Longest registration given, and the one given to a client that asks for none.
    pub max_expires: Duration,
    /// Shortest session interval taken (RFC 4028 §5: at least 90 s); a shorter one is answered 422.
    pub min_session_expires: Duration,
    /// Longest message taken, head and body together, in bytes; a longer one is answered 513. At most
    /// 65,536.
    pub max_message_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            realm: "consilium".to_owned(),
            server_name: "Consilium".to_owned(),
            accounts: Vec::new(),
            require_auth: false,
            unchallenged: Vec::new(),
            trunks: Vec::new(),
            max_calls: 1_000,
            max_calls_per_source: 100,
            new_calls_per_source_per_s: 50,
            new_calls_per_s: 100,
            max_transactions: 32_768,
            max_connections: 2_048,
            max_registrations: 10_000,
            max_contacts_per_account: 8,
            min_expires: Duration::from_secs(60),
            max_expires: Duration::from_secs(3_600),
            min_session_expires: Duration::from_secs(90),
            max_message_bytes: 65_536,
        }
    }
}
