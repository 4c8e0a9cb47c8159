//! What a process says of itself to whoever watches the server.

use std::fs;
use std::sync::OnceLock;
use std::time::Instant;

use mcu_api::figures::Process;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::unistd::{SysconfVar, sysconf};

/// By which the supervisor tells a process how often it had been started before.
pub const RESTARTS: &str = "CONSILIUM_RESTARTS";

static BEGAN: OnceLock<Instant> = OnceLock::new();

/// The process begins.
pub fn begin() {
    let _ = BEGAN.set(Instant::now());
}

/// How this process does.
pub fn process() -> Process {
    let usage = getrusage(UsageWho::RUSAGE_SELF);
    let spent = usage.map(|usage| usage.user_time() + usage.system_time());
    let uptime = BEGAN.get().map(Instant::elapsed).unwrap_or_default();
    let restarts = std::env::var(RESTARTS).ok();
    Process {
        version: env!("CARGO_PKG_VERSION").into(),
        uptime_ms: uptime.as_millis() as u64,
        restarts: restarts.and_then(|text| text.parse().ok()).unwrap_or(0),
        cpu_ms: spent.map_or(0, |spent| spent.num_milliseconds() as u64),
        memory_bytes: memory_bytes().unwrap_or(0),
    }
}

/// Resident memory, as proc(5) has it in pages.
fn memory_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * page as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_memory_and_its_time() {
        begin();
        let told = process();
        assert!(told.memory_bytes > 1 << 20, "{told:?}");
        assert_eq!(told.version, env!("CARGO_PKG_VERSION"));
        assert_eq!(told.restarts, 0);
    }
}
