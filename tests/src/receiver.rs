//! Another server, which takes webhooks and checks them by the library of the Standard Webhooks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::process::{Process, free_port};
use crate::{python, root, wait_for};

const PATIENCE: Duration = Duration::from_secs(40);

/// Another server, whose certificate is made by an issuer of its own.
pub struct Receiver {
    folder: PathBuf,
    /// Where it listens at 127.0.0.1.
    pub port: u16,
    process: Option<Process>,
}

impl Receiver {
    /// Makes its certificate in this folder. It is not there until it is started.
    pub fn new(folder: &Path) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("made");
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
        fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        Self {
            folder: folder.to_owned(),
            port: free_port(),
            process: None,
        }
    }

    /// Starts it, and waits until it listens.
    pub fn start(&mut self) {
        let mut command = Command::new(python::installed("standardwebhooks").join("python"));
        command
            .arg(root().join("tests/peers/webhook_receiver.py"))
            .arg(self.port.to_string())
            .args([self.folder.join("cert.pem"), self.folder.join("key.pem")])
            .arg(&self.folder);
        self.process = Some(Process::start(&mut command, &self.folder.join("log")));
        wait_for("the receiver listens", PATIENCE, || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
    }

    /// Ends it.
    pub fn end(&mut self) {
        self.process = None;
    }

    /// What it answers from now on.
    pub fn answers(&self, status: u16) {
        fs::write(self.folder.join("status"), status.to_string()).unwrap();
    }

    /// The secret by which it checks.
    pub fn knows(&self, secret: &Value) {
        fs::write(
            self.folder.join("secret"),
            secret.as_str().expect("a secret"),
        )
        .unwrap();
    }

    /// Address of a path of it.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}/{path}", self.port)
    }

    /// What it heard, each by a signature that it proved.
    pub fn heard(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.join("heard")).unwrap_or_default();
        let heard: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(heard.iter().all(|one| one["proved"] == true), "{heard:?}");
        heard
    }

    /// Waits until these were heard, in this order.
    pub fn hears(&self, kinds: &[&str]) {
        wait_for(&format!("{kinds:?} are heard"), PATIENCE, || {
            let heard = self.heard();
            let heard = heard
                .iter()
                .map(|one| one["message"]["type"].as_str().unwrap());
            heard.eq(kinds.iter().copied()).then_some(())
        });
    }
}
