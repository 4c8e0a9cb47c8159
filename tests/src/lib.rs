//! What the end-to-end tests share: the server under test, peers, and measuring at the far end.

pub mod administrator;
pub mod baresip;
pub mod browser;
pub mod caller;
pub mod capture;
pub mod client;
pub mod coturn;
pub mod dns;
pub mod firewall;
pub mod h261;
pub mod listener;
pub mod measure;
pub mod meeting;
pub mod namespace;
pub mod openssl;
pub mod postgres;
pub mod process;
pub mod python;
pub mod receiver;
pub mod server;
pub mod sipp;
pub mod terminal;
pub mod translation;
pub mod watching;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests is in the root")
        .to_path_buf()
}

/// Asks `probe` until it yields something, or fails with `what` after `limit`.
///
/// The pause between two looks is no synchronisation: it only keeps a waiting test from burning the
/// CPU that the server needs.
pub fn wait_for<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
