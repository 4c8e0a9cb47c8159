//! The transport of a browser's leg: ICE-lite, DTLS and SRTP on a UDP port that all browsers share.
//!
//! One [`WebrtcSession`] a leg. The owner of the socket finds the session of a datagram by
//! [`crate::demux::stun_local_ufrag`] first and by the addresses that this led to afterwards; a
//! browser checks from several sockets. After every call the owner takes all of
//! [`WebrtcSession::poll_output`].

mod assembly;
mod association;
mod certificate;
mod cookie;
mod dtls;
mod guard;
mod hello;
mod ice;
mod session;

pub use association::{Association, Path, Standing};
pub use certificate::{Certificate, CertificateError};
pub use session::{Counters, FailReason, Output, SessionError, WebrtcSession};

#[cfg(test)]
mod tests;
