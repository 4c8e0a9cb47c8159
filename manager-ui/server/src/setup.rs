//! The first administrator's one-time link, in a file of the data folder that only the server's own
//! user reads. There is no default password.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::Row;
use tracing::{info, warn};

use crate::sessions::{hash, new_secret};
use crate::store::{Error, Store, now_ms};

/// Name of the file in the data folder.
pub const FILE: &str = "first-administrator";

/// Where the link is written.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    file: Arc<Path>,
    page: Arc<str>,
}

impl Setup {
    /// `page` is the address of the page, without a path.
    pub(crate) fn new(data_dir: &Path, page: String) -> Self {
        Self {
            file: PathBuf::from(data_dir).join(FILE).into(),
            page: page.into(),
        }
    }

    /// Writes a link while there is nobody yet. An earlier one is good no more.
    ///
    /// # Errors
    /// Those of the database.
    pub(crate) async fn offer(&self, store: &Store) -> Result<(), Error> {
        let mut tx = store.begin().await?;
        let people: i64 = sqlx::query("SELECT COUNT(*) AS n FROM people")
            .fetch_one(&mut *tx)
            .await?
            .try_get("n")?;
        sqlx::query("DELETE FROM setup_links")
            .execute(&mut *tx)
            .await?;
        if people > 0 {
            tx.commit().await?;
            self.done();
            return Ok(());
        }
        let secret = new_secret();
        sqlx::query("INSERT INTO setup_links (secret_hash, created_ms) VALUES ($1, $2)")
            .bind(hash(&secret.0))
            .bind(now_ms())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        let file = self.file.display();
        match self.write(&format!("{}/setup#{}\n", self.page, secret.0)) {
            Ok(()) => {
                info!(%file, "there is nobody yet: the first administrator's link is in this file")
            }
            Err(error) => warn!(%file, %error, "the first administrator's link cannot be written"),
        }
        Ok(())
    }

    /// There is somebody.
    pub(crate) fn done(&self) {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                warn!(file = %self.file.display(), %error, "the used link stays");
            }
            _ => {}
        }
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let fresh = self.file.with_extension("new");
        // One that is left from an earlier run may be open to others.
        let _ = fs::remove_file(&fresh);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&fresh, &self.file)
    }
}
