//! The multipoint controller: decides who is in which room and who sees what, and never touches
//! media.
//!
//! [`controller::Controller`] holds all of it without I/O; a thin shell of sockets and timers around
//! it is started by [`run`].

pub mod browser_sdp;
mod config;
pub mod controller;
pub mod dialplan;
mod directory;
pub mod relay;
mod shell;

pub use config::{
    Account, CertificateFiles, ClientCertificates, Config, DEMO_ROOM, Place, RoomConfig, SYSTEM_CA,
    Secret, SipListener, StrangerLimits, Trunk, TrunkUse,
};
pub use shell::{Event, run, run_until, web_socket};
