//! How far the log host has been told: kept beside the checkpoints.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Config, Entries, Error, message};
use crate::audit::checkpoints::{self, Line, Mark};
use crate::audit::page_after;
use crate::store::{self, Store};

const FILE: &str = "syslog-sent";

/// What was sent, and to whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sent {
    /// `HOST:PORT`; another one is told everything.
    to: String,
    /// Behind the last checkpoint.
    mark: Mark,
    /// The last entry, where entries are told.
    entry: i64,
}

/// What to send, and what was sent then.
type Batch = Option<(Vec<u8>, Sent)>;

impl Sent {
    /// What is kept in this folder about this log host.
    pub(super) fn read(dir: &Path, config: &Config) -> io::Result<Self> {
        let to = format!("{}:{}", config.host, config.port);
        let kept = match fs::read(dir.join(FILE)) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(error),
        };
        Ok(match kept.to == to {
            true => kept,
            false => Self {
                to,
                ..Self::default()
            },
        })
    }

    /// Keeps it.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let new = dir.join(format!("{FILE}.new"));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_data()?;
        fs::rename(&new, dir.join(FILE))
    }

    /// Entry of the last checkpoint.
    pub(super) fn seq(&self) -> i64 {
        self.mark.seq()
    }

    /// What comes next: entries before the checkpoint that signs them.
    pub(super) async fn next(
        &self,
        config: &Config,
        dir: &Path,
        store: &Store,
    ) -> Result<Batch, Error> {
        let (mark, line) = checkpoints::behind(dir, &self.mark).map_err(Error::Record)?;
        let base = match mark == self.mark {
            true => self.clone(),
            // A record that was taken back to an earlier time begins anew with its checkpoints.
            false => Self {
                to: self.to.clone(),
                mark,
                entry: 0,
            },
        };
        if let Some(form) = config.entries {
            let to = line.as_ref().map_or(i64::MAX, Line::seq);
            match base.entries(store, to, form).await {
                Ok(None) => {}
                // They wait for the database, and so does what is behind them.
                Err(store::Error::Away) => return Ok(None),
                Ok(batch) => return Ok(batch),
                Err(error) => return Err(error.into()),
            }
        }
        let Some(line) = line else {
            return Ok(None);
        };
        let bytes = message::checkpoint(&message::host(), line.at_ms(), line.text());
        let mark = base.mark.over(&line);
        Ok(Some((bytes, Self { mark, ..base })))
    }

    async fn entries(&self, store: &Store, to: i64, form: Entries) -> Result<Batch, store::Error> {
        let mut connection = store.pool()?.acquire().await?;
        let page = page_after(&mut connection, self.entry, to).await?;
        let Some(last) = page.last() else {
            return Ok(None);
        };
        let host = message::host();
        let then = Self {
            entry: last.seq,
            ..self.clone()
        };
        let bytes = page.iter().flat_map(|entry| match form {
            Entries::Bare => message::entry(&host, entry),
            Entries::Atna => message::full_entry(&host, entry),
        });
        Ok(Some((bytes.collect(), then)))
    }
}
