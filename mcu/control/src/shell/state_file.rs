//! The files in which the controller keeps what it remembers over its own death.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::warn;

/// Rooms and calls.
pub const ROOMS: &str = "control-state.json";
/// Rooms and accounts that people made.
pub const DIRECTORY: &str = "control-directory.json";
/// Registrations.
pub const REGISTRATIONS: &str = "control-registrations.json";

/// One file, readable by its owner alone: it holds names, keys and resume tokens.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// The file of this name in this folder.
    pub fn new(data_dir: &Path, name: &str) -> Self {
        Self {
            path: data_dir.join(name),
        }
    }

    /// What was kept last. A file that cannot be read counts as none: rooms that it named are then
    /// closed, which is better than no service.
    pub fn load<T: DeserializeOwned>(&self) -> Option<T> {
        match fs::read(&self.path) {
            Ok(text) => serde_json::from_slice(&text)
                .inspect_err(
                    |error| warn!(file = %self, %error, "state of an earlier run is unreadable"),
                )
                .ok(),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                warn!(file = %self, %error, "state of an earlier run cannot be read");
                None
            }
        }
    }

    /// Keeps this state. The file is replaced whole, so that a death at any moment leaves the old or
    /// the new one. It is not forced to disk: what it names does not outlive a loss of power either.
    pub fn save(&self, state: &impl Serialize) -> io::Result<()> {
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

impl fmt::Display for StateFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::controller::state::State;

    #[test]
    fn a_state_comes_back_as_it_was_saved_and_only_for_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let file = StateFile::new(dir.path(), ROOMS);
        assert_eq!(file.load::<State>(), None);
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
        assert_eq!(StateFile::new(dir.path(), ROOMS).load::<State>(), None);
    }
}
