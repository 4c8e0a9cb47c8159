//! The one call vocabulary that SIP and H.323 are translated into. Rooms see nothing else.
//!
//! Session descriptions are SDP text on this boundary: H.323's H.245 is rendered as SDP by its bridge.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::ids::CallId;
use crate::secret::Redacted;

/// News from a signalling core.
#[derive(Clone, Debug, PartialEq)]
pub enum CallEvent {
    /// Somebody calls. Answer with [`CallCommand::Accept`] or [`CallCommand::Reject`].
    Incoming(IncomingCall),
    /// The peer answered an offer of ours: in the ACK of a call without offer, or to an
    /// [`CallCommand::Offer`].
    Answered {
        /// The call.
        call: CallId,
        /// SDP answer.
        sdp: Redacted<String>,
    },
    /// An offer of ours within the call came to nothing: the peer refused it, or it could not be sent. The
    /// session is as it was before (RFC 3261 §14.1).
    OfferFailed {
        /// The call.
        call: CallId,
    },
    /// The peer answered our last description, which was sent again as it was to keep the session
    /// alive (RFC 4028 §7.4). Its own may differ from what it was.
    Refreshed {
        /// The call.
        call: CallId,
        /// SDP answer.
        sdp: Redacted<String>,
    },
    /// The peer offers anew within the call (hold, resume, added stream). Answer with
    /// [`CallCommand::Answer`] or [`CallCommand::RejectOffer`]. `None` asks for an offer of ours.
    Reoffer {
        /// The call.
        call: CallId,
        /// SDP offer.
        sdp: Option<Redacted<String>>,
    },
    /// The peer asks for a key frame by INFO (RFC 5168).
    KeyFrameRequested {
        /// The call.
        call: CallId,
    },
    /// The terminal that we call rings.
    Ringing {
        /// The call.
        call: CallId,
    },
    /// A telephone key, by INFO.
    Digit {
        /// The call.
        call: CallId,
        /// `0`-`9`, `*`, `#`, `A`-`D`.
        digit: char,
    },
    /// The peer asks, within its call, to be moved to another room (RFC 3515): to whom `dialled` and
    /// `host` lead, under the number of the call as it is. Answer with [`CallCommand::Refer`].
    Referred(IncomingCall),
    /// What became of a [`CallCommand::Transfer`]. A success may come after [`Transfer::NoAnswer`].
    Transferred {
        /// The call.
        call: CallId,
        /// What the terminal says.
        outcome: Transfer,
    },
    /// The call is established: our 2xx was acknowledged, or we have acknowledged the peer's.
    Established {
        /// The call.
        call: CallId,
    },
    /// The call is over, whoever ended it. Nothing follows with this id.
    Ended {
        /// The call.
        call: CallId,
        /// Why.
        reason: EndReason,
    },
}

/// A call that the rooms make.
#[derive(Clone, Debug, PartialEq)]
pub struct OutgoingCall {
    /// The call, numbered by the rooms from [`CallId::FIRST_DIALLED`] on.
    pub call: CallId,
    /// Who is called.
    pub target: DialTarget,
    /// User part of our own address: the room's number.
    pub number: String,
    /// Our name, as the callee is to see it.
    pub name: Redacted<String>,
    /// URI to call as, in place of one of ours.
    pub from: Option<String>,
    /// For the server that the call is sent to, if it challenges it.
    pub credentials: Option<Credentials>,
    /// SDP offer.
    pub sdp: Redacted<String>,
    /// What the offer does about encryption: where something else is demanded, nobody is called.
    pub srtp: SrtpPolicy,
}

/// Who we are at another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub user: String,
    /// Password.
    pub password: Redacted<String>,
    /// Realms whose challenges are answered: what proves us to one server is not told to others.
    pub realms: Vec<String>,
}

/// Whom to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialTarget {
    /// A registered terminal, by its account.
    Account(String),
    /// A URI.
    Uri {
        /// `sip:USER@HOST:PORT`.
        uri: String,
        /// Where the call is sent to, if not to the address in the URI.
        via: Option<Via>,
    },
}

/// The servers that a call is sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// The name that led to them. Over TLS it is what their certificate has to show (RFC 5922 §4).
    pub domain: String,
    /// The first one is tried, and the next where one cannot be reached.
    pub hops: Vec<Hop>,
    /// They are of a trunk, which calls others at our cost.
    pub trunk: bool,
}

/// Where requests are sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// How.
    pub transport: HopTransport,
    /// Its address.
    pub address: SocketAddr,
}

/// What a server that is called speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HopTransport {
    /// Datagrams.
    Udp,
    /// A connection in clear.
    Tcp,
    /// The same inside TLS.
    Tls,
}

/// A call that waits for an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct IncomingCall {
    /// The call.
    pub call: CallId,
    /// User part that was dialled: the room's number.
    pub dialled: String,
    /// Host part of the URI that was dialled; empty for a `tel:` URI.
    pub host: String,
    /// Display name or user of the caller.
    pub caller: Redacted<String>,
    /// Account whose password the caller proved, if any.
    pub account: Option<String>,
    /// Where the request came from.
    pub remote: SocketAddr,
    /// `User-Agent`, if sent.
    pub user_agent: Option<String>,
    /// SDP offer; `None` asks us to offer in the answer.
    pub offer: Option<Redacted<String>>,
    /// A call of the same account, in whose place this one comes (RFC 3891).
    pub replaces: Option<CallId>,
    /// What the way by which it came demands of media.
    pub srtp: SrtpPolicy,
}

/// Wishes to a signalling core. A command for a call that has ended meanwhile is ignored.
#[derive(Clone, Debug, PartialEq)]
pub enum CallCommand {
    /// Call somebody. [`CallEvent::Answered`] and [`CallEvent::Established`] follow, or
    /// [`CallEvent::Ended`].
    Dial(Box<OutgoingCall>),
    /// Accept with an answer, or with an offer if the caller sent none. The call in whose place this one
    /// comes ends.
    Accept {
        /// The call.
        call: CallId,
        /// SDP.
        sdp: Redacted<String>,
    },
    /// Refuse.
    Reject {
        /// The call.
        call: CallId,
        /// Why.
        reason: RejectReason,
    },
    /// Answer to [`CallEvent::Reoffer`].
    Answer {
        /// The call.
        call: CallId,
        /// SDP.
        sdp: Redacted<String>,
    },
    /// The new offer is not acceptable; the call goes on as it was.
    RejectOffer {
        /// The call.
        call: CallId,
    },
    /// Offer anew within the call.
    Offer {
        /// The call.
        call: CallId,
        /// SDP.
        sdp: Redacted<String>,
    },
    /// Answer to [`CallEvent::Referred`]. The call in whose place this one has come ends.
    Refer {
        /// The call.
        call: CallId,
        /// Why it was not moved; `None`: it was.
        refused: Option<RejectReason>,
    },
    /// Ask the peer to go on elsewhere, by a call of its own (RFC 3515, RFC 5589 §6). Answered by
    /// [`CallEvent::Transferred`] while the call lasts, which goes on whatever the outcome.
    Transfer {
        /// The call.
        call: CallId,
        /// Where to.
        target: TransferTarget,
    },
    /// Ask the peer for a key frame by signalling (RFC 5168).
    RequestKeyFrame {
        /// The call.
        call: CallId,
    },
    /// End the call.
    Hangup {
        /// The call.
        call: CallId,
    },
    /// End the call and tell the peer that it is at fault: the media process died of what it sent.
    Expel {
        /// The call.
        call: CallId,
    },
}

/// Where a terminal is asked to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferTarget {
    /// To us, where it dials this. A PIN may stand in it.
    Number(Redacted<String>),
    /// To a `sip:` or `sips:` URI without headers. A PIN may stand in it, too.
    Uri(Redacted<String>),
}

/// What became of asking a terminal to go on elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// It has been answered there.
    Done,
    /// It does not do so, with this status.
    Refused(u16),
    /// It tried, and got this status.
    Failed(u16),
    /// It never said.
    NoAnswer,
}

/// Whether media is to be encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SrtpPolicy {
    /// Encrypted where the peer can, clear where it cannot.
    #[default]
    Allowed,
    /// A line without usable keys is refused.
    Required,
    /// Always clear; lines that demand encryption are refused.
    Off,
}

impl SrtpPolicy {
    /// What two places decide together: who requires is obeyed, then who forbids.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Required, _) | (_, Self::Required) => Self::Required,
            (Self::Off, _) | (_, Self::Off) => Self::Off,
            (Self::Allowed, Self::Allowed) => Self::Allowed,
        }
    }
}

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RejectReason {
    /// No room has this number: 404.
    NotFound,
    /// The caller may not enter: 403.
    Forbidden,
    /// The caller must prove an account first: 401 with a challenge.
    Unauthorized,
    /// Nothing in the offer can be used: 488.
    NotAcceptable,
    /// The room is full: 486.
    Busy,
    /// No port of the server is free that would do: 486.
    NoPort,
    /// No media process: 503.
    Unavailable,
    /// The media process died of what came from there: 403 for some minutes.
    Quarantined,
    /// The dial plan refuses with this status, 400 to 699.
    Code(u16),
}

/// Why a call is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndReason {
    /// We hung up.
    Local,
    /// The peer hung up.
    Remote,
    /// The caller gave up before we answered.
    Cancelled,
    /// We refused.
    Rejected,
    /// The peer refused our call, with this status.
    Refused(u16),
    /// The peer never acknowledged, or answers no more.
    Timeout,
    /// The peer broke the protocol.
    ProtocolError,
}
