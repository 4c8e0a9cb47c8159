//! `control-state.json`: what the controller remembers over its own death.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::controller::state::State;

/// The file, readable by its owner alone: it holds names and resume tokens.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// The file in this folder.
    pub fn new(data_dir: &Path) -> Self {
        Self {
            path: data_dir.join("control-state.json"),
        }
    }

    /// What was kept last. A file that cannot be read counts as none: rooms that it named are then
    /// closed, which is better than no service.
    pub fn load(&self) -> Option<State> {
        match fs::read(&self.path) {
            Ok(text) => serde_json::from_slice(&text)
                .inspect_err(|error| warn!(%error, "state of an earlier run is unreadable"))
                .ok(),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                warn!(%error, "state of an earlier run cannot be read");
                None
            }
        }
    }

    /// Keeps this state. The file is replaced whole, so that a death at any moment leaves the old or
    /// the new one. It is not forced to disk: what it names does not outlive a loss of power either.
    pub fn save(&self, state: &State) -> io::Result<()> {
        let text = serde_json::to_vec(state)?;
        let fresh = self.path.with_extension("json.new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(&text)?;
        fs::rename(&fresh, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_state_comes_back_as_it_was_saved_and_only_for_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let file = StateFile::new(dir.path());
        assert_eq!(file.load(), None);
        let state = State {
            next_leg: 7,
            ..State::default()
        };
        file.save(&State::default()).unwrap();
        file.save(&state).unwrap();
        assert_eq!(file.load(), Some(state));
        let mode = fs::metadata(dir.path().join("control-state.json")).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_torn_file_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("control-state.json"), b"{\"next_leg\":").unwrap();
        assert_eq!(StateFile::new(dir.path()).load(), None);
    }
}
