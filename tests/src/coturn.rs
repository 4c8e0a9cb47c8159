//! coturn as a relay of browsers, by TLS alone.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::process::Process;
use crate::wait_for;

/// A running relay. Dropping it ends it.
pub struct Coturn {
    _process: Process,
}

impl Coturn {
    /// Starts one on this port of 127.0.0.1 that knows `secret`, and waits until it listens.
    pub fn start(port: u16, secret: &str, dir: &Path) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).expect("made");
        let (cert, key) = (dir.join("turn-cert.pem"), dir.join("turn-key.pem"));
        std::fs::write(&cert, made.cert.pem()).expect("write");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("write");
        let mut command = Command::new("turnserver");
        command
            .args(["-n", "--no-cli", "--no-udp", "--no-tcp", "--no-dtls"])
            .args(["--use-auth-secret", "--static-auth-secret", secret])
            .args(["--realm", "consilium.test", "--allow-loopback-peers"])
            .args(["--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1"])
            .args(["--min-port", "32100", "--max-port", "32199"])
            .args(["--tls-listening-port", &port.to_string()])
            .args(["--log-file", "stdout", "--simple-log"])
            .arg("--cert")
            .arg(cert)
            .arg("--pkey")
            .arg(key)
            .arg("--pidfile")
            .arg(dir.join("turn.pid"))
            .arg("--db")
            .arg(dir.join("turn.db"))
            .current_dir(dir);
        let process = Process::start(&mut command, &dir.join("turn.log"));
        wait_for("the relay listens", Duration::from_secs(10), || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self { _process: process }
    }
}
