//! The media processor (MP): moves and mixes media, never decides.
//!
//! One worker thread owns every socket, leg and mixer ([`worker`]); decoding, composing and encoding
//! of video are jobs on a pool as wide as the machine ([`pool`]); a link thread speaks with the
//! controller ([`link`]). State has one owner and moves with messages; there is no lock on the path
//! of a packet.

pub mod audio;
pub mod video;

mod bandwidth;
mod blame;
mod calibration;
mod camera;
mod figures;
mod leg;
mod link;
mod network;
mod picture;
mod playout;
mod pool;
mod pressure;
mod rate;
mod room;
mod screen;
mod shared_encoders;
mod sound;
mod stills;
mod streams;
mod temporal;
mod transcode;
mod transport;
mod watchers;
mod worker;

use std::path::PathBuf;

use mcu_api::figures::Process;
use mcu_api::reach::MediaAddress;

/// What a media process needs to know at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Unix socket to listen on for the controller.
    pub socket: PathBuf,
    /// Unix socket on which the manager hands over browsers' TCP connections.
    pub streams_socket: PathBuf,
    /// File in which a life that dies of a leg's bytes leaves word of it to the next.
    pub deaths_file: PathBuf,
    /// Addresses at which peers reach us, in order of preference.
    pub addresses: Vec<MediaAddress>,
    /// First UDP port that the controller may give to legs.
    pub port_low: u16,
    /// Last UDP port that the controller may give to legs.
    pub port_high: u16,
    /// UDP port shared by all browsers.
    pub webrtc_port: u16,
    /// Says how this process does.
    pub process: fn() -> Process,
}

/// Runs the media process until SIGTERM, of which peers hear nothing, or SIGINT, at which they are told
/// goodbye.
pub fn run(config: Config) -> anyhow::Result<()> {
    worker::run(config)
}
