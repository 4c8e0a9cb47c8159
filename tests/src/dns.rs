//! dnsmasq as a server of DNS that knows what a test tells it, and nothing else.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::process::{Process, free_port, is_udp_port_taken};
use crate::wait_for;

/// A running server. Dropping it ends it.
pub struct Dns {
    port: u16,
    _process: Process,
}

impl Dns {
    /// Starts one on 127.0.0.1 with these records, as dnsmasq's options name them (`srv-host=…`), and
    /// waits until it answers.
    pub fn start(dir: &Path, records: &[String]) -> Self {
        let port = free_port();
        let mut command = Command::new("dnsmasq");
        command
            .args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--pid-file",
            ])
            .args(["--no-resolv", "--no-hosts", "--user=", "--log-queries"])
            .args(["--log-facility=-", "--local=/test/", "--bind-interfaces"])
            .args(["--listen-address=127.0.0.1", &format!("--port={port}")])
            .args(records.iter().map(|record| format!("--{record}")));
        let mut process = Process::start(&mut command, &dir.join("dnsmasq.log"));
        wait_for("DNS listens", Duration::from_secs(10), || {
            assert!(process.is_running(), "dnsmasq ended");
            is_udp_port_taken(port).then_some(())
        });
        Self {
            port,
            _process: process,
        }
    }

    /// The key that has a server ask this one.
    pub fn key(&self) -> String {
        format!("dns = [\"127.0.0.1:{}\"]", self.port)
    }
}
