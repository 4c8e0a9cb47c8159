//! The multipoint controller: decides who is in which room and who sees what, and never touches
//! media.

pub mod browser_sdp;
mod config;
pub mod controller;

pub use config::{Account, Config, DEMO_ROOM, RoomConfig};

/// Runs a controller until its future is dropped.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let config = config.with_demo_room();
    anyhow::bail!("no signalling is built in for {} rooms", config.rooms.len())
}
