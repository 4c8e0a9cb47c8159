//! tshark as an independent judge of what passes over the loopback interface.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::process::Process;
use crate::wait_for;

/// A capture that runs.
pub struct Capture {
    process: Process,
    log: PathBuf,
    file: PathBuf,
}

impl Capture {
    /// Begins to capture what a libpcap `filter` selects on the loopback interface.
    pub fn start(dir: &Path, filter: &str) -> Self {
        let (file, log) = (dir.join("wire.pcap"), dir.join("tshark.log"));
        let mut command = Command::new("tshark");
        command
            .args([
                "-q", "-i", "lo", "-B", "64", "-F", "pcap", "-f", filter, "-w",
            ])
            .arg(&file);
        let mut capture = Self {
            process: Process::start(&mut command, &log),
            log,
            file,
        };
        wait_for("tshark captures", Duration::from_secs(20), || {
            assert!(
                capture.process.is_running(),
                "tshark cannot capture, which takes root or capabilities of dumpcap: {}",
                capture.said()
            );
            // It writes the file's header once the interface is open.
            std::fs::metadata(&capture.file)
                .ok()
                .filter(|file| file.len() >= 24)
        });
        capture
    }

    /// Ends the capture once it holds what passed before now; `port` is a UDP port that is captured
    /// and that nobody listens on. `decode_as` are tshark's rules for ports that it cannot know.
    pub fn stop(mut self, port: u16, decode_as: &[String]) -> Wire {
        const LAST: &[u8] = b"last datagram of the capture";
        wait_for("all is captured", Duration::from_secs(20), || {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
            socket.send_to(LAST, ("127.0.0.1", port)).expect("send");
            let held = std::fs::read(&self.file).expect("read the capture");
            held.windows(LAST.len()).any(|w| w == LAST).then_some(())
        });
        self.process.signal(Signal::SIGINT);
        wait_for("tshark ends", Duration::from_secs(20), || {
            (!self.process.is_running()).then_some(())
        });
        assert!(!self.said().contains("dropped"), "{}", self.said());
        Wire {
            file: self.file.clone(),
            decode_as: decode_as.to_vec(),
            keys: None,
        }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// What was captured.
pub struct Wire {
    file: PathBuf,
    decode_as: Vec<String>,
    keys: Option<PathBuf>,
}

impl Wire {
    /// Opens TLS by the secrets that a client wrote into this file.
    pub fn with_keys(self, file: &Path) -> Self {
        Self {
            keys: Some(file.to_owned()),
            ..self
        }
    }

    /// Of every packet that a display `filter` selects, the values of `fields`: the first of each.
    pub fn fields(&self, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
        let mut more: Vec<&str> = vec!["-Y", filter, "-T", "fields", "-E", "occurrence=f"];
        more.extend(fields.iter().flat_map(|field| ["-e", field]));
        let text = self.run(&more);
        let rows = text
            .lines()
            .map(|line| line.split('\t').map(str::to_string));
        rows.map(Iterator::collect).collect()
    }

    /// How many packets a display `filter` selects.
    pub fn count(&self, filter: &str) -> usize {
        self.fields(filter, &["frame.number"]).len()
    }

    /// What tshark shows of the packets that a display `filter` selects, for a person to read.
    pub fn show(&self, filter: &str) -> String {
        self.run(&["-Y", filter, "-V"])
    }

    fn run(&self, more: &[&str]) -> String {
        let mut command = Command::new("tshark");
        command.arg("-r").arg(&self.file);
        for rule in &self.decode_as {
            command.args(["-d", rule]);
        }
        if let Some(keys) = &self.keys {
            let keys = format!("tls.keylog_file:{}", keys.display());
            command.args(["-o", &keys]);
        }
        let output = command.args(more).output().expect("run tshark");
        assert!(
            output.status.success(),
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
