//! The database: SQLite in the data folder, or PostgreSQL. The same statements run on both.
//!
//! It may be away: the manager starts without it and goes on when it is lost, and whatever needs it
//! answers 503 meanwhile.

pub mod backup;

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mcu_api::secret::Redacted;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Any, AnyPool, ConnectOptions, Row, Transaction};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::rights;

/// Connections of the manager to its database.
const CONNECTIONS: u32 = 8;
/// Longest that a request waits for one.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between attempts to prepare a database that is away.
const RETRY: Duration = Duration::from_secs(1);

/// SQLite's file in the data folder.
const FILE: &str = "consilium.db";

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// Where the database is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Database {
    /// `consilium.db` in the data folder.
    #[default]
    Sqlite,
    /// A PostgreSQL server, `postgres://USER:PASSWORD@HOST/NAME`.
    Postgres(Redacted<String>),
}

impl FromStr for Database {
    type Err = &'static str;

    /// The address of a PostgreSQL server. What is wrong is said without the address, which holds a
    /// password.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let schemes = ["postgres://", "postgresql://"];
        if !schemes.iter().any(|scheme| text.starts_with(scheme)) {
            return Err("must be postgres://USER:PASSWORD@HOST/NAME; without it, SQLite is used");
        }
        let options = PgConnectOptions::from_str(text).map_err(
            |_| "cannot be read: a character of the password may have to be written as %XX",
        )?;
        if options.get_database().is_none_or(str::is_empty) {
            return Err("must end with the name of the database");
        }
        let host = options.get_host();
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        let is_here = host == "localhost"
            || host.starts_with('/')
            || options.get_socket().is_some()
            || address.is_ok_and(|ip| ip.is_loopback());
        let is_proved = matches!(
            options.get_ssl_mode(),
            PgSslMode::VerifyCa | PgSslMode::VerifyFull
        );
        match is_here || is_proved {
            true => Ok(Self::Postgres(Redacted(text.to_owned()))),
            false => Err(
                "needs ?sslmode=verify-full (and sslrootcert=FILE where the issuer is \
                          your own), since the server is another machine",
            ),
        }
    }
}

/// The last step by which tables are brought up to date.
#[cfg(test)]
pub(crate) fn newest_step() -> i64 {
    MIGRATIONS
        .iter()
        .map(|step| step.version)
        .max()
        .unwrap_or(0)
}

/// A pool of connections, and whether its tables are there.
#[derive(Clone)]
pub(crate) struct Store {
    pool: AnyPool,
    /// SQLite's.
    file: Option<PathBuf>,
    ready: watch::Sender<bool>,
}

/// A statement could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the database cannot be read. Its text, which holds a password, is not shown.
    #[error("the address of the database is none")]
    Address,
    /// The database is away, or its tables are not there yet.
    #[error("the database is away")]
    Away,
    /// It is there and refuses.
    #[error("database")]
    Statement(#[source] sqlx::Error),
    /// The tables are of another version.
    #[error("tables")]
    Tables(#[from] MigrateError),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        let away = match &error {
            E::Io(_) | E::Tls(_) | E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed => true,
            E::Database(error) => error.code().is_some_and(|code| is_away(&code)),
            _ => false,
        };
        match away {
            true => {
                debug!(error = chain(&error), "the database is away");
                Self::Away
            }
            false => Self::Statement(error),
        }
    }
}

/// Whether a code says that the database cannot be used for now. PostgreSQL: class 57P, shut down or not
/// open yet, and class 08, connection. SQLite: 8 read-only, 10 I/O, 13 full, 14 cannot be opened, whose
/// extended codes have them in their low byte.
fn is_away(code: &str) -> bool {
    match code.len() {
        5 => code.starts_with("57P") || code.starts_with("08"),
        _ => code
            .parse::<u32>()
            .is_ok_and(|code| matches!(code & 0xff, 8 | 10 | 13 | 14)),
    }
}

impl Error {
    /// Whether a row that is there already stands against it.
    pub(crate) fn is_taken(&self) -> bool {
        matches!(self, Self::Statement(sqlx::Error::Database(error)) if error.is_unique_violation())
    }

    /// Whether rows that refer to it stand against it.
    pub(crate) fn is_in_use(&self) -> bool {
        matches!(self, Self::Statement(sqlx::Error::Database(error)) if error.is_foreign_key_violation())
    }
}

/// Holds the data folder's database: whoever writes to it holds this, be it a manager or a command that
/// puts a copy in its place. None while another does.
///
/// # Errors
/// When the file cannot be made.
pub(crate) fn hold(data_dir: &Path) -> io::Result<Option<Flock<File>>> {
    let file = File::create(data_dir.join("database.lock"))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(held) => Ok(Some(held)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error.into()),
    }
}

impl Store {
    /// A pool that connects when it is used first.
    ///
    /// # Errors
    /// [`Error::Address`].
    pub(crate) fn open(database: &Database, data_dir: &Path) -> Result<Self, Error> {
        sqlx::any::install_default_drivers();
        let (address, file) = match database {
            Database::Postgres(address) => (address.0.clone(), None),
            Database::Sqlite => {
                let file = data_dir.join(FILE);
                (sqlite_address(&file)?, Some(file))
            }
        };
        let options = AnyConnectOptions::from_str(&address)
            .map_err(|_| Error::Address)?
            .disable_statement_logging();
        let is_sqlite = file.is_some();
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(PATIENCE)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if is_sqlite {
                        // One writer at a time, readers beside it; a commit survives the process,
                        // and the machine too once the log is synced.
                        sqlx::raw_sql(
                            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                             PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 5000;",
                        )
                        .execute(connection)
                        .await?;
                    }
                    Ok(())
                })
            })
            .connect_lazy_with(options);
        Ok(Self {
            pool,
            file,
            ready: watch::channel(false).0,
        })
    }

    /// Whether there is a database, as far as can be told without connecting.
    pub(crate) fn exists(&self) -> bool {
        self.file.as_ref().is_none_or(|file| file.exists())
    }

    /// Whether it answers.
    ///
    /// # Errors
    /// [`Error::Away`] and [`Error::Statement`].
    pub(crate) async fn ping(&self) -> Result<(), Error> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// What it is, and the last step by which its tables were brought up to date.
    ///
    /// # Errors
    /// Those of the database.
    pub(crate) async fn version(&self) -> Result<(String, i64), Error> {
        let (name, statement) = match self.file {
            Some(_) => ("SQLite", "SELECT sqlite_version() AS version"),
            None => (
                "PostgreSQL",
                "SELECT current_setting('server_version') AS version",
            ),
        };
        let row = sqlx::query(statement).fetch_one(self.pool()?).await?;
        let version: String = row.try_get("version")?;
        let row = sqlx::query("SELECT MAX(version) AS step FROM _sqlx_migrations")
            .fetch_one(self.pool()?)
            .await?;
        // Debian's adds the package's name.
        let version = version.split(' ').next().unwrap_or_default();
        Ok((format!("{name} {version}"), row.try_get("step")?))
    }

    /// Makes the tables, and brings older ones up to date.
    ///
    /// # Errors
    /// [`Error::Away`] and [`Error::Tables`].
    pub(crate) async fn prepare(&self) -> Result<(), Error> {
        MIGRATIONS.run(&self.pool).await?;
        let mut tx = self.begin_unready().await?;
        rights::write_roles(&mut tx).await?;
        tx.commit().await?;
        self.ready.send_replace(true);
        Ok(())
    }

    /// Takes the tables as they are, for a command that is not to change them.
    pub(crate) fn take_as_it_is(&self) {
        self.ready.send_replace(true);
    }

    /// Prepares the database as soon as it is there.
    pub(crate) async fn prepare_when_there(&self) {
        let mut told = false;
        while let Err(error) = self.prepare().await {
            if !told {
                let error = chain(&error);
                warn!(error, "the database is not ready, tried again each second");
                told = true;
            }
            sleep(RETRY).await;
        }
        info!("the database is ready");
    }

    /// Returns once the tables are there.
    pub(crate) async fn ready(&self) {
        // The sender lives as long as this.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// For statements that only read.
    ///
    /// # Errors
    /// [`Error::Away`] until the tables are there.
    pub(crate) fn pool(&self) -> Result<&AnyPool, Error> {
        match *self.ready.borrow() {
            true => Ok(&self.pool),
            false => Err(Error::Away),
        }
    }

    /// For statements that change something, together or not at all.
    ///
    /// # Errors
    /// [`Error::Away`] until the tables are there.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Any>, Error> {
        self.pool()?;
        let mut tx = self.begin_unready().await?;
        if self.file.is_none() {
            // As SQLite has it by itself: one writer at a time, who sees all that was written before.
            sqlx::query("SELECT seq FROM audit_head WHERE one = 1 FOR UPDATE")
                .execute(&mut *tx)
                .await?;
        }
        Ok(tx)
    }

    async fn begin_unready(&self) -> Result<Transaction<'static, Any>, Error> {
        let begin = match self.file {
            // The place of the one writer is taken at once: a transaction that reads first could
            // not be given it later.
            Some(_) => "BEGIN IMMEDIATE",
            None => "BEGIN",
        };
        Ok(self.pool.begin_with(begin).await?)
    }
}

/// The address of a file, whatever its name holds.
fn sqlite_address(path: &Path) -> Result<String, Error> {
    let path = path.to_str().ok_or(Error::Address)?;
    let escaped: String = path
        .bytes()
        .map(|byte| match byte {
            b'/' | b'.' | b'-' | b'_' => char::from(byte).to_string(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect();
    Ok(format!("sqlite://{escaped}?mode=rwc"))
}

/// An error and what it came of, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// A new id. Later ones sort behind earlier ones.
pub(crate) fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_postgresql_names_a_database_and_proves_another_machine() {
        for good in [
            "postgres://u:p@127.0.0.1/consilium",
            "postgresql://u@localhost:5433/consilium",
            "postgres://u@%2Frun%2Fpostgresql/consilium",
            "postgres://u:p@db.example/consilium?sslmode=verify-full",
        ] {
            let read = good.parse::<Database>();
            assert!(
                matches!(read, Ok(Database::Postgres(_))),
                "{good}: {read:?}"
            );
        }
        for bad in [
            "",
            "mysql://u:p@127.0.0.1/consilium",
            "postgres://u:p@127.0.0.1",
            "postgres://u:p@db.example/consilium",
            "postgres://u:p@db.example/consilium?sslmode=require",
            "postgres://u:p@192.0.2.1/consilium?sslmode=prefer",
        ] {
            let read = bad.parse::<Database>();
            assert!(read.is_err(), "{bad}: {read:?}");
        }
    }

    #[test]
    fn a_file_of_any_name_has_an_address() {
        let address = sqlite_address(Path::new("/srv/a b?c#%/医.db")).unwrap();
        assert_eq!(
            address,
            "sqlite:///srv/a%20b%3Fc%23%25/%E5%8C%BB.db?mode=rwc"
        );
    }
}
