//! What files tell: the certificate, the disk, copies of the database, checkpoints of the record.

use std::path::PathBuf;

use nix::sys::statvfs::statvfs;
use serde::Serialize;
use utoipa::ToSchema;

use crate::RECORD;
use crate::audit::checkpoints;
use crate::store::backup::{self, Schedule};
use crate::tls::examine::{self, Facts};

/// Where they are.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// Folder of what outlives the process.
    pub data_dir: PathBuf,
    /// When copies are made by themselves.
    pub backups: Option<Schedule>,
}

/// What they tell; none of what is not there or cannot be read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    /// The page's.
    pub certificate: Option<Facts>,
    /// Where the data folder is.
    pub disk: Option<Disk>,
    /// Where copies are made by themselves.
    pub backups: Option<Backups>,
    /// The last one.
    pub checkpoint: Option<Checkpoint>,
}

/// Room on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Disk {
    /// Bytes that the server may still use.
    pub free_bytes: u64,
    /// Bytes that there are.
    pub total_bytes: u64,
}

/// Copies of the database that were made by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Backups {
    /// When the newest one was made, in milliseconds since 1970.
    pub last_ms: Option<i64>,
    /// How many there are.
    pub kept: usize,
    /// Seconds from one to the next.
    pub every_s: u64,
}

/// A signed checkpoint of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Checkpoint {
    /// The entry that was signed.
    pub seq: i64,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
}

impl Places {
    /// Reads all of them.
    pub(crate) fn read(&self) -> Files {
        let certificate = self.data_dir.join("tls/cert.pem");
        let last = checkpoints::last(&self.data_dir.join(RECORD));
        Files {
            certificate: examine::facts(&certificate).ok(),
            disk: self.disk(),
            backups: self.backups.as_ref().map(|schedule| {
                let (last_ms, kept) = backup::made(&schedule.dir);
                Backups {
                    last_ms,
                    kept,
                    every_s: schedule.every.as_secs(),
                }
            }),
            checkpoint: last.map(|last| Checkpoint {
                seq: last.seq,
                at_ms: last.at_ms,
            }),
        }
    }

    fn disk(&self) -> Option<Disk> {
        let told = statvfs(&self.data_dir).ok()?;
        let size = told.fragment_size();
        Some(Disk {
            free_bytes: told.blocks_available() * size,
            total_bytes: told.blocks() * size,
        })
    }
}
