//! A program that listens to events: curl, which knows nothing of us.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// It ends with this value.
pub struct Listener {
    curl: Child,
    file: PathBuf,
}

/// An event.
#[derive(Clone, Debug)]
pub struct Heard {
    /// `event`.
    pub kind: String,
    /// `data`, as JSON.
    pub data: Value,
}

impl Listener {
    /// Has curl write the stream at `url` to a file of this name.
    pub fn start(url: &str, headers: &[String], file: PathBuf) -> Self {
        let mut curl = Command::new("curl");
        curl.args(["-skN", "--max-time", "120"]);
        for header in headers {
            curl.args(["-H", header]);
        }
        let written = File::create(&file).expect("a file for curl");
        let curl = curl.arg(url).stdout(written).stderr(Stdio::null());
        Self {
            curl: curl.spawn().expect("run curl"),
            file,
        }
    }

    /// All events so far.
    pub fn heard(&self) -> Vec<Heard> {
        let events = self.blocks().into_iter().filter_map(|block| {
            let data = field(&block, "data:")?;
            Some(Heard {
                kind: field(&block, "event:")?,
                data: serde_json::from_str(&data).expect("JSON"),
            })
        });
        events.collect()
    }

    /// Names of all events so far.
    pub fn kinds(&self) -> Vec<String> {
        self.heard().into_iter().map(|heard| heard.kind).collect()
    }

    /// The id that a listener sends who comes back.
    pub fn last_id(&self) -> Option<String> {
        let mut blocks = self.blocks().into_iter().rev();
        blocks.find_map(|block| field(&block, "id:"))
    }

    /// Whether the server has ended the stream.
    pub fn has_ended(&mut self) -> bool {
        self.curl.try_wait().expect("curl").is_some()
    }

    /// Blocks that are whole.
    fn blocks(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        let Some((whole, _)) = text.rsplit_once("\n\n") else {
            return Vec::new();
        };
        whole.split("\n\n").map(str::to_owned).collect()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.curl.kill();
        let _ = self.curl.wait();
    }
}

fn field(block: &str, name: &str) -> Option<String> {
    let line = block.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim_start().to_owned())
}
