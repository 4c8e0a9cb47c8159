//! SIP (RFC 3261) for a conference focus, without I/O.
//!
//! [`Endpoint`] is a user agent server and registrar: bytes and the time go in, bytes and
//! [`mcu_api::call::CallEvent`]s come out. It opens no socket, reads no clock and draws its random
//! numbers from the seed it was given, so that hours of protocol time run in a test in milliseconds.
//!
//! The shell around it owns the sockets and does, in a loop: feed [`Endpoint::handle_input`],
//! [`Endpoint::handle_timeout`] and [`Endpoint::command`]; after each of them drain
//! [`Endpoint::poll_output`] until it yields nothing; sleep until [`Endpoint::next_timeout`].
//!
//! What has to outlive the process is plain data ([`SavedCalls`], [`SavedRegistration`]): the shell keeps
//! it whenever [`Endpoint::changes`] says so, and its next life hands it to a new endpoint.
//!
//! Session descriptions are text here; [`sdp`] reads and writes them.

mod admission;
mod body;
mod call;
mod client_auth;
mod conference;
mod config;
mod deadlines;
mod dialog;
mod digest;
mod endpoint;
mod flow;
mod gruu;
mod keepalive;
pub mod location;
mod message;
mod registrar;
mod saved;
pub mod sdp;
mod session_timer;
mod stream;
mod transaction;

pub use admission::source;
pub use conference::{Conference, ConferenceUser, MediaStatus};
pub use config::{Account, Config};
pub use digest::Ha1;
pub use endpoint::{
    Changes, Endpoint, Load, Path, Registration, RegistrationId, RegistrationState,
    RemoteRegistrar, can_be_referred_to,
};
pub use flow::{Flow, FlowId, Input, Output, Transport};
pub use location::named_host;
pub use saved::{
    SavedAnswer, SavedCall, SavedCalls, SavedDialog, SavedRegistration, SavedSession,
    SavedSubscription,
};
