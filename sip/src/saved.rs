//! What outlives the endpoint, as plain data. Moments are durations from when it was kept, so that the
//! shell alone knows the calendar.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mcu_api::ids::CallId;
use mcu_api::secret::Redacted;
use serde::{Deserialize, Serialize};

use crate::flow::Flow;

/// All answered calls.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedCalls {
    /// Id of the next call: none is used twice.
    pub next_call: u64,
    /// The calls, in no order.
    pub calls: Vec<SavedCall>,
    /// Subscriptions, to be ended by the next life.
    pub subscriptions: Vec<SavedSubscription>,
}

/// A subscription to a conference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSubscription {
    /// Its dialog.
    pub dialog: SavedDialog,
    /// Where its NOTIFYs went.
    pub flow: Flow,
    /// Its Event header.
    #[serde(default)]
    pub event: Option<String>,
}

/// One answered call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedCall {
    /// Its id.
    pub call: CallId,
    /// Both sides know that it is up, and nobody has hung up.
    pub up: bool,
    /// Our answer, if it is not up but answered over UDP: it is sent until it is acknowledged.
    #[serde(default)]
    pub answer: Option<SavedAnswer>,
    /// Account whose password the caller proved.
    pub account: Option<String>,
    /// Its dialog.
    pub dialog: SavedDialog,
    /// Where the peer's last request came from. A connection does not outlive the process: another is
    /// opened when there is something to say.
    pub flow: Flow,
    /// Where the peer acknowledged our answer, or was called.
    #[serde(default)]
    pub party: Option<SocketAddr>,
    /// Where its INVITE came from, or went at first.
    #[serde(default)]
    pub begun_from: Option<IpAddr>,
    /// User part of our Contact, escaped.
    pub user: String,
    /// CSeq of the INVITE.
    pub invite_cseq: u32,
    /// Its session timer, if one runs.
    pub session: Option<SavedSession>,
    /// Our last session description: it may hold keys.
    pub last_sdp: Option<Redacted<String>>,
    /// The peer takes UPDATE.
    pub peer_allows_update: bool,
    /// Number of a REFER of ours whose outcome is not known.
    #[serde(default)]
    pub transferring: Option<u32>,
}

/// A 2xx that was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedAnswer {
    /// Where it goes.
    pub reply: Flow,
    /// The whole message, with its description.
    pub message: Redacted<String>,
    /// Time until it is given up.
    pub left: Duration,
}

/// A dialog (RFC 3261 §12).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedDialog {
    /// Call-ID.
    pub call_id: String,
    /// Our tag.
    pub local_tag: String,
    /// The peer's tag; a peer of RFC 2543 may have none.
    pub remote_tag: Option<String>,
    /// Our From, with the tag.
    pub local: Redacted<String>,
    /// Our To, with the peer's name and tag.
    pub remote: Redacted<String>,
    /// URI of the remote target.
    pub remote_target: Redacted<String>,
    /// Values of Route, first hop first.
    pub route_set: Vec<String>,
    /// CSeq of our last request.
    pub local_cseq: u32,
    /// CSeq of the peer's last request.
    pub remote_cseq: u32,
    /// Only the flow leads to the peer.
    pub behind_nat: bool,
}

/// A session timer (RFC 4028).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSession {
    /// The interval agreed on.
    pub interval: Duration,
    /// We refresh, not the peer.
    pub we_refresh: bool,
    /// Time to the end of the session, if nobody refreshes it.
    pub left: Duration,
}

/// One registered contact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRegistration {
    /// The account.
    pub account: String,
    /// The registered URI.
    pub contact: String,
    /// Where the REGISTER came from.
    pub remote: SocketAddr,
    /// The way that it came.
    #[serde(default)]
    pub flow: Option<Flow>,
    /// `+sip.instance`, where the terminal names it (RFC 5626).
    #[serde(default)]
    pub instance: Option<String>,
    /// `reg-id` beside it.
    #[serde(default)]
    pub reg_id: Option<u32>,
    /// Its place in the order of registrations.
    #[serde(default)]
    pub registered_at: u64,
    /// `User-Agent`, if sent.
    pub user_agent: Option<String>,
    /// Time left.
    pub expires_in: Duration,
    /// Call-ID of the REGISTER.
    pub call_id: String,
    /// CSeq of the REGISTER: within the Call-ID it has to rise.
    pub cseq: u32,
}
