//! Copies of the database, made while the server runs, and taken back while it does not.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Row};
use tokio::process::Command;
use tokio::time::sleep;
use tracing::{error, info};
use url::Url;

use crate::audit::checkpoints;

use super::{Database, Error, FILE, MIGRATIONS, Store, chain, now_ms};

/// A copy could not be made or taken back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database cannot be read or written.
    #[error(transparent)]
    Database(#[from] Error),
    /// A file cannot be read or written.
    #[error("{}", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// A manager has the database.
    #[error("a server uses the database: stop it first")]
    InUse,
    /// The copy would take the place of another file.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    /// The copy is none of this program's, or is damaged.
    #[error("{}: {reason}", .file.display())]
    NotACopy {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A program of PostgreSQL failed.
    #[error("{0}: {1}")]
    Program(&'static str, String),
}

/// When copies are made by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Where they go.
    pub dir: PathBuf,
    /// How often.
    pub every: Duration,
    /// How many stay; the oldest are removed.
    pub keep: usize,
}

/// Copies the whole database, as it is at one moment, into a new file: an SQLite database, or what
/// `pg_dump -Fc` writes. The server may run meanwhile.
///
/// # Errors
/// [`BackupError`]; nothing is left of the copy then.
pub async fn backup(database: &Database, data_dir: &Path, to: &Path) -> Result<(), BackupError> {
    if to.exists() {
        return Err(BackupError::Exists(to.into()));
    }
    let mut part = OsString::from(to);
    part.push(".part");
    let part = PathBuf::from(part);
    let file_error = |source| BackupError::File(to.into(), source);
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file_error(error)),
        _ => {}
    }
    // Empty and ours alone, before anything is in it.
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part);
    made.map_err(file_error)?;
    let copied = match database {
        Database::Sqlite => copy_sqlite(&data_dir.join(FILE), &part).await,
        Database::Postgres(address) => {
            let mut dump = program("pg_dump", &address.0)?;
            run("pg_dump", dump.args(["-Fc", "--no-owner", "-f"]).arg(&part)).await
        }
    };
    let synced = copied.and_then(|()| {
        let file = File::open(&part).map_err(file_error)?;
        file.sync_all().map_err(file_error)?;
        fs::rename(&part, to).map_err(file_error)
    });
    if synced.is_err() {
        let _ = fs::remove_file(&part);
    }
    synced
}

async fn copy_sqlite(from: &Path, to: &Path) -> Result<(), BackupError> {
    let target = to.to_str().ok_or(Error::Address)?;
    let mut connection = open_sqlite(from).await?;
    sqlx::query("VACUUM INTO $1")
        .bind(target)
        .execute(&mut connection)
        .await
        .map_err(Error::from)?;
    Ok(())
}

async fn open_sqlite(file: &Path) -> Result<SqliteConnection, Error> {
    let options = SqliteConnectOptions::new().filename(file);
    Ok(options
        .busy_timeout(Duration::from_secs(5))
        .connect()
        .await?)
}

/// Puts a copy in the place of the database. No server may run on this data folder; with PostgreSQL, on
/// this database. What was there before stays beside it with SQLite (`consilium.db.before-` and the time).
/// Nobody is logged in then, and no token is good.
///
/// # Errors
/// [`BackupError`]; the database is as it was then.
pub async fn restore(database: &Database, data_dir: &Path, from: &Path) -> Result<(), BackupError> {
    let failed = |source| BackupError::File(data_dir.into(), source);
    let _held = super::hold(data_dir)
        .map_err(failed)?
        .ok_or(BackupError::InUse)?;
    let restored = match database {
        Database::Sqlite => restore_sqlite(&data_dir.join(FILE), from).await,
        Database::Postgres(address) => {
            let mut restore = program("pg_restore", &address.0)?;
            let options = [
                "--clean",
                "--if-exists",
                "--no-owner",
                "--single-transaction",
            ];
            let name = options_of(&address.0)?;
            let name = name.get_database().unwrap_or_default().to_owned();
            run(
                "pg_restore",
                restore.args(options).arg("-d").arg(name).arg(from),
            )
            .await
        }
    };
    restored?;
    // Who had logged in when the copy was made may have logged out, or been shut out, since.
    let store = Store::open(database, data_dir)?;
    store.take_as_it_is();
    for statement in [
        "DELETE FROM sessions",
        // Nor is it known which tokens were revoked since.
        "UPDATE tokens SET revoked_ms = COALESCE(revoked_ms, expires_ms)",
    ] {
        let ended = sqlx::query(statement).execute(store.pool()?);
        ended.await.map_err(Error::from)?;
    }
    checkpoints::begin_anew(&data_dir.join(crate::RECORD)).map_err(failed)
}

async fn restore_sqlite(file: &Path, from: &Path) -> Result<(), BackupError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| BackupError::File(path, source)
    };
    let beside = |ending: &str| {
        let mut name = OsString::from(file);
        name.push(ending);
        PathBuf::from(name)
    };
    let (new, old) = (beside(".new"), beside(&format!(".before-{}", now_ms())));
    fs::copy(from, &new).map_err(failed(from))?;
    if let Err(error) = check_sqlite(&new).await {
        let _ = fs::remove_file(&new);
        let (file, reason) = (from.into(), chain(&error));
        return Err(BackupError::NotACopy { file, reason });
    }
    if file.exists() {
        // What is in the log beside it belongs to it.
        let mut connection = open_sqlite(file).await?;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&mut connection)
            .await
            .map_err(Error::from)?;
        connection.close().await.map_err(Error::from)?;
        // Beside it under another name, so that there is a database at every moment.
        fs::hard_link(file, &old).map_err(failed(file))?;
    }
    for ending in ["-wal", "-shm"] {
        let _ = fs::remove_file(beside(ending));
    }
    let copied = File::open(&new).and_then(|file| file.sync_all());
    copied.map_err(failed(&new))?;
    fs::rename(&new, file).map_err(failed(file))
}

/// Whether a file is a whole database of this program or of an earlier version.
async fn check_sqlite(file: &Path) -> Result<(), sqlx::Error> {
    let mut connection = SqliteConnectOptions::new().filename(file).connect().await?;
    let said: String = sqlx::query("PRAGMA integrity_check")
        .fetch_one(&mut connection)
        .await?
        .try_get(0)?;
    if said != "ok" {
        return Err(sqlx::Error::Protocol(said));
    }
    let newest: i64 = sqlx::query("SELECT MAX(version) FROM _sqlx_migrations")
        .fetch_one(&mut connection)
        .await?
        .try_get(0)?;
    connection.close().await?;
    match MIGRATIONS.version_exists(newest) {
        true => Ok(()),
        false => Err(sqlx::Error::Protocol(
            "of a newer version of this program".into(),
        )),
    }
}

fn options_of(address: &str) -> Result<PgConnectOptions, Error> {
    PgConnectOptions::from_str(address).map_err(|_| Error::Address)
}

/// A program of PostgreSQL that knows the database by its environment: an argument could be read by
/// everybody on this machine.
fn program(name: &str, address: &str) -> Result<Command, Error> {
    let options = options_of(address)?;
    let url = Url::parse(address).map_err(|_| Error::Address)?;
    let mut command = Command::new(name);
    let mode = match options.get_ssl_mode() {
        PgSslMode::VerifyCa => "verify-ca",
        PgSslMode::VerifyFull => "verify-full",
        PgSslMode::Require => "require",
        PgSslMode::Disable => "disable",
        PgSslMode::Allow | PgSslMode::Prefer => "prefer",
    };
    let socket = options.get_socket().and_then(|path| path.to_str());
    command
        .env("PGHOST", socket.unwrap_or_else(|| options.get_host()))
        .env("PGPORT", options.get_port().to_string())
        .env("PGUSER", options.get_username())
        .env("PGDATABASE", options.get_database().unwrap_or_default())
        .env("PGSSLMODE", mode)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    if let Some(password) = url.password() {
        let password = percent_decode_str(password).decode_utf8();
        command.env("PGPASSWORD", password.map_err(|_| Error::Address)?.as_ref());
    }
    for (key, value) in url.query_pairs() {
        if key == "sslrootcert" {
            command.env("PGSSLROOTCERT", value.as_ref());
        }
    }
    Ok(command)
}

async fn run(name: &'static str, command: &mut Command) -> Result<(), BackupError> {
    let fail = |reason: String| BackupError::Program(name, reason);
    let output = command.output().await.map_err(|e| fail(e.to_string()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(()),
        false => Err(fail(said.trim().to_owned())),
    }
}

/// Makes copies by schedule. Never ends.
pub(crate) async fn keep(schedule: &Schedule, database: &Database, data_dir: &Path) {
    loop {
        let names = copies(&schedule.dir).unwrap_or_default();
        let newest = names.last().and_then(|name| made_ms(name)).unwrap_or(0);
        let every = i64::try_from(schedule.every.as_millis()).unwrap_or(i64::MAX);
        let due = newest.saturating_add(every) - now_ms();
        if let Ok(due) = u64::try_from(due) {
            // Looked at again: the clock may be set.
            sleep(Duration::from_millis(due.min(60_000))).await;
            continue;
        }
        let file = schedule.dir.join(format!("{PREFIX}{:013}.db", now_ms()));
        match backup(database, data_dir, &file).await {
            Ok(()) => {
                info!(file = %file.display(), "copied the database");
                forget(schedule);
            }
            Err(error) => {
                error!(error = chain(&error), "the database cannot be copied");
                sleep(Duration::from_secs(60)).await;
            }
        }
    }
}

/// Beginning of the names of copies; milliseconds since 1970 follow.
const PREFIX: &str = "consilium-";

fn made_ms(name: &str) -> Option<i64> {
    name.strip_prefix(PREFIX)?.strip_suffix(".db")?.parse().ok()
}

/// Names of the copies in this folder, oldest first.
fn copies(dir: &Path) -> io::Result<Vec<String>> {
    let mut names: Vec<String> = fs::read_dir(dir)?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| made_ms(name).is_some())
        .collect();
    names.sort();
    Ok(names)
}

/// When the newest copy in this folder was made, and how many there are.
pub(crate) fn made(dir: &Path) -> (Option<i64>, usize) {
    let names = copies(dir).unwrap_or_default();
    (names.last().and_then(|name| made_ms(name)), names.len())
}

fn forget(schedule: &Schedule) {
    let names = copies(&schedule.dir).unwrap_or_default();
    let old = names.len().saturating_sub(schedule.keep);
    for name in names.iter().take(old) {
        if let Err(error) = fs::remove_file(schedule.dir.join(name)) {
            error!(name, %error, "an old copy stays");
        }
    }
}
