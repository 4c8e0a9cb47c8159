//! The manager: serves the web page over HTTPS, answers the HTTP API, and relays what browsers and
//! the controller say to each other. It holds no room: when it ends, calls go on.
//!
//! [`link`] is the one connection to the controller, owned by one task; [`browser`] is one task for
//! each WebSocket; [`directory`] tells the controller of rooms and accounts; [`serve`] accepts, [`divert`] passes media on, [`tls`] keeps the certificate, [`page`] and [`api`] answer.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use mcu_api::figures::Process;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tracing::warn;

mod api;
mod asker;
mod audit;
mod browser;
mod directory;
mod divert;
mod entering;
mod events;
mod guests;
mod here;
pub mod ldap;
mod leaving;
mod limits;
mod link;
mod newcomer;
pub mod oidc;
mod once;
mod page;
mod password;
mod patient;
mod provider;
mod rates;
pub mod rights;
pub mod saml;
mod seal;
mod second_factor;
mod serve;
mod sessions;
mod setup;
mod store;
pub mod syslog;
mod tls;
mod tokens;
mod totp;
mod watch;
pub mod webhooks;

pub use audit::{Fault, Whole};
pub use directory::FileRoom;
pub use rates::Allowed;
pub use seal::FILE as SEAL_FILE;
pub use setup::FILE as SETUP_FILE;
pub use store::backup::{BackupError, Schedule, backup, restore};
pub use store::{Database, Error as DatabaseError};
pub use tls::examine::{Flaw, examine as examine_certificate};

use audit::checkpoints;

/// Folder in the data folder for the key and the checkpoints of the record of what was done.
const RECORD: &str = "audit";

/// Most time for browsers to hear that the manager ends.
const PARTING: Duration = Duration::from_secs(1);

/// What the manager is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the page is served over HTTPS. Port 0 takes a free one, see [`Server::local_addr`].
    pub http: SocketAddr,
    /// Folder for what outlives the process: `tls/cert.pem` and `tls/key.pem`.
    pub data_dir: PathBuf,
    /// Unix socket on which the controller listens.
    pub control_socket: PathBuf,
    /// Unix socket on which the media process takes TCP connections that carry media.
    pub streams_socket: PathBuf,
    /// Addresses of this host, written into the certificate that is made at first start.
    pub addresses: Vec<IpAddr>,
    /// Where people, what they may do, and the record of what they did are kept.
    pub database: Database,
    /// A directory whose people may log in.
    pub ldap: Option<ldap::Config>,
    /// A provider that proves who people are.
    pub oidc: Option<oidc::Config>,
    /// The same, by SAML.
    pub saml: Option<saml::Config>,
    /// Where events are told besides.
    pub webhooks: webhooks::Config,
    /// A log host that is told of the record.
    pub syslog: Option<syslog::Config>,
    /// When the database is copied by itself.
    pub backups: Option<Schedule>,
    /// Room of a demonstration: `GET /api/v1/rooms/{number}` answers for it without an account.
    pub demo_room: Option<String>,
    /// Realm of the passwords of SIP accounts.
    pub realm: String,
    /// Ports at which SIP is listened for.
    pub sip_ports: Vec<u16>,
    /// The configuration file's rooms: none else may have their numbers.
    pub rooms: Vec<FileRoom>,
    /// Users of the configuration file's SIP accounts.
    pub accounts: Vec<String>,
    /// Names of the configuration file's trunks, and the addresses that their calls come from.
    pub trunks: Vec<(String, Vec<IpAddr>)>,
    /// Requests of the HTTP interface that are answered.
    pub requests: Allowed,
    /// Where metrics are told in clear, at an address of this machine alone.
    pub metrics: Option<SocketAddr>,
    /// Says how this process does.
    pub process: fn() -> Process,
}

/// Why the manager cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate can neither be read nor made.
    #[error("certificate")]
    Certificate(#[from] tls::Error),
    /// The address of the database cannot be read.
    #[error("database")]
    Database(#[from] store::Error),
    /// The port is taken or not ours.
    #[error("listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A task of the manager ended though it never should.
    #[error("the manager's task ended")]
    TaskEnded,
}

/// A manager that listens and is ready to run.
pub struct Server {
    listener: TcpListener,
    metrics: Option<TcpListener>,
    acceptor: tls::Acceptor,
    app: Router,
    link: link::Link,
    control: link::Task,
    sockets: Arc<limits::Places>,
    limits: limits::Limits,
    streams: Arc<Path>,
    store: store::Store,
    setup: setup::Setup,
    data: Data,
    follower: directory::Follower,
    file: Arc<directory::File>,
    state: State,
}

impl Server {
    /// Reads or makes the certificate and listens.
    ///
    /// # Errors
    /// [`Error::Certificate`] and [`Error::Listen`].
    pub async fn bind(config: Config) -> Result<Self, Error> {
        Self::bind_with(config, limits::Limits::default()).await
    }

    async fn bind_with(config: Config, limits: limits::Limits) -> Result<Self, Error> {
        let store = store::Store::open(&config.database, &config.data_dir)?;
        let data = Data {
            database: config.database.clone(),
            dir: config.data_dir.clone(),
            backups: config.backups,
            log_host: config.syslog.map(syslog::Teller::new),
        };
        let host = config.addresses.first().copied();
        let webhooks = webhooks::Webhooks::new(config.webhooks, config.addresses.clone());
        let here = here::Here::new(&config.addresses, config.sip_ports, &config.realm);
        let certificates = tls::Store::new(config.data_dir.join("tls"), config.addresses);
        let acceptor = tls::Acceptor::open(certificates)?;
        let (listener, port) = listen(config.http).await?;
        let metrics = listen_for_metrics(config.metrics).await?;
        let page = SocketAddr::new(host.unwrap_or(IpAddr::from([127, 0, 0, 1])), port);
        let setup = setup::Setup::new(&config.data_dir, format!("https://{page}"));
        let (link, control) = link::new(config.control_socket);
        let streams = config.streams_socket.into();
        let sockets = limits::Places::new(limits.sockets);
        let follower = directory::Follower::new(link.clone());
        let file = Arc::new(directory::File {
            realm: config.realm,
            rooms: config.rooms,
            accounts: config.accounts,
            trunks: config.trunks,
        });
        let state = State {
            link: link.clone(),
            demo_room: config.demo_room,
            sockets: sockets.clone(),
            store: store.clone(),
            setup: setup.clone(),
            seal: seal::Seal::new(&config.data_dir),
            ldap: config.ldap.map(ldap::Directory::new).map(Arc::new),
            oidc: config.oidc.map(oidc::Provider::new).map(Arc::new),
            saml: config.saml.map(saml::Provider::new).map(Arc::new),
            logins: Arc::default(),
            guests: Arc::default(),
            looks: api::pictures::Looks::default(),
            under_way: once::UnderWay::default(),
            rates: rates::Rates::new(&config.requests),
            follower: follower.clone(),
            file: file.clone(),
            watch: Arc::new(data.watch(link.clone(), store.clone(), config.process)),
            events: events::Events::default(),
            webhooks,
            here: Arc::new(here),
            listeners: api::events::Listeners::new(&limits),
        };
        let app = router(state.clone());
        Ok(Self {
            listener,
            metrics,
            acceptor,
            app,
            link,
            control,
            sockets,
            limits,
            streams,
            store,
            setup,
            data,
            follower,
            file,
            state,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// As the system reports them; none is known for a listening socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Tells while the server runs whether calls can be taken: once they can, and at each change. A
    /// change that was undone before it was told is told all the same.
    pub fn tell_ready<T: FnMut(bool) + Send + 'static>(
        &self,
        tell: T,
    ) -> impl Future<Output = Infallible> + Send + use<T> {
        self.link.clone().tell_ready(tell)
    }

    /// Serves until `stop` ends. Then every browser hears what the controller said to it last, and
    /// that it is to come back.
    ///
    /// # Errors
    /// [`Error::TaskEnded`] when a task fails, which is a bug; never for what a peer does.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        let Self {
            listener,
            metrics,
            acceptor,
            app,
            link,
            control,
            sockets,
            limits,
            streams,
            store,
            setup,
            data,
            follower,
            file,
            state,
        } = self;
        let parting = link.clone();
        let part = async {
            stop.await;
            parting.part().await;
            let _ = timeout(PARTING, sockets.emptied()).await;
        };
        tokio::select! {
            () = control.run() => Err(Error::TaskEnded),
            () = acceptor.clone().keep_fresh() => Err(Error::TaskEnded),
            () = keep_data(store.clone(), setup, data) => Err(Error::TaskEnded),
            never = watch::listener::serve(metrics, state.clone()) => match never {},
            () = follower.run(store.clone(), state.seal.clone(), &file) => Err(Error::TaskEnded),
            () = leaving::keep(&state) => Err(Error::TaskEnded),
            () = state.events.clone().follow(store.clone()) => Err(Error::TaskEnded),
            () = state.webhooks.run(&state) => Err(Error::TaskEnded),
            () = events::live::tell(store, link) => Err(Error::TaskEnded),
            () = serve::accept(listener, acceptor, app, limits, streams) => Err(Error::TaskEnded),
            () = part => Ok(()),
        }
    }
}

/// Whether the database is there and takes us.
///
/// # Errors
/// Why not.
pub async fn try_database(database: &Database, data_dir: &Path) -> Result<(), DatabaseError> {
    let store = store::Store::open(database, data_dir)?;
    match store.exists() {
        true => store.ping().await,
        // SQLite's file is made at the first start.
        false => Ok(()),
    }
}

/// Goes through the record of what was done and its checkpoints.
///
/// # Errors
/// When the database or the checkpoints cannot be read. A fault of the record is an answer.
pub async fn verify_record(
    database: &Database,
    data_dir: &Path,
) -> Result<Result<Whole, Fault>, VerifyError> {
    let checkpoints = checkpoints::read(&data_dir.join(RECORD))?;
    let store = store::Store::open(database, data_dir)?;
    if !store.exists() {
        return Err(VerifyError::None);
    }
    store.take_as_it_is();
    let mut connection = store.pool()?.acquire().await.map_err(store::Error::from)?;
    Ok(audit::verify(&mut connection, &checkpoints).await?)
}

/// Why a record cannot be gone through.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Nothing was ever written.
    #[error("there is no record in this data folder")]
    None,
    /// The database cannot be read.
    #[error(transparent)]
    Database(#[from] store::Error),
    /// The checkpoints cannot be read, or are not signed with the key beside them.
    #[error("checkpoints")]
    Checkpoints(#[from] io::Error),
}

/// Makes the tables ready, offers the first administrator's link, and signs the record. Never ends.
async fn keep_data(store: store::Store, setup: setup::Setup, data: Data) {
    let _held = held(&data.dir).await;
    store.prepare_when_there().await;
    if let Err(error) = setup.offer(&store).await {
        warn!(
            error = store::chain(&error),
            "no link for the first administrator"
        );
    }
    let record = data.dir.join(RECORD);
    let copies = async {
        match &data.backups {
            Some(schedule) => store::backup::keep(schedule, &data.database, &data.dir).await,
            None => std::future::pending().await,
        }
    };
    let told = async {
        match &data.log_host {
            Some(teller) => teller.keep(&record, &store).await,
            None => std::future::pending().await,
        }
    };
    tokio::join!(checkpoints::keep(&record, &store), copies, told);
}

/// Waits until the manager before this one has let go of the database.
async fn held(data_dir: &Path) -> Option<impl Drop + use<>> {
    let mut told = false;
    loop {
        match store::hold(data_dir) {
            Ok(Some(held)) => return Some(held),
            Ok(None) if told => {}
            Ok(None) => warn!("another process has the database, waiting for it"),
            Err(error) => {
                warn!(%error, "the database cannot be held against a restore");
                return None;
            }
        }
        told = true;
        sleep(Duration::from_millis(100)).await;
    }
}

/// What the tasks that look after the data need.
struct Data {
    database: Database,
    dir: PathBuf,
    backups: Option<Schedule>,
    log_host: Option<syslog::Teller>,
}

impl Data {
    /// Gathers what there is to tell about the server.
    fn watch(
        &self,
        link: link::Link,
        store: store::Store,
        process: fn() -> Process,
    ) -> watch::Watch {
        let places = watch::files::Places {
            data_dir: self.dir.clone(),
            backups: self.backups.clone(),
        };
        let told = self.log_host.as_ref().map(syslog::Teller::state);
        watch::Watch::new(link, store, places, process, told)
    }
}

/// What every handler may use.
#[derive(Clone)]
struct State {
    link: link::Link,
    demo_room: Option<String>,
    sockets: Arc<limits::Places>,
    store: store::Store,
    setup: setup::Setup,
    seal: seal::Seal,
    ldap: Option<Arc<ldap::Directory>>,
    oidc: Option<Arc<oidc::Provider>>,
    saml: Option<Arc<saml::Provider>>,
    logins: Arc<limits::Attempts>,
    /// Wrong links for guests.
    guests: Arc<limits::Attempts>,
    looks: api::pictures::Looks,
    rates: Arc<rates::Rates>,
    under_way: once::UnderWay,
    follower: directory::Follower,
    file: Arc<directory::File>,
    events: events::Events,
    webhooks: webhooks::Webhooks,
    /// By what terminals reach this server.
    here: Arc<here::Here>,
    listeners: api::events::Listeners,
    watch: Arc<watch::Watch>,
}

/// A socket there, and its port.
async fn listen(address: SocketAddr) -> Result<(TcpListener, u16), Error> {
    let failed = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    Ok((listener, port))
}

async fn listen_for_metrics(address: Option<SocketAddr>) -> Result<Option<TcpListener>, Error> {
    let Some(address) = address else {
        return Ok(None);
    };
    let (bound, _) = listen(address).await?;
    Ok(Some(bound))
}

fn router(state: State) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/room/{number}", get(page::index))
        .route("/assets/{*path}", get(page::asset))
        .route("/favicon.svg", get(page::icon))
        .route("/setup", get(page::index))
        .route("/login", get(page::index))
        .route("/account", get(page::index))
        .route("/login/oidc", get(api::oidc::begin))
        .route("/login/oidc/callback", get(api::oidc::finish))
        .merge(api::saml::router())
        .route("/admin", get(page::index))
        .route("/admin/{*path}", get(page::index))
        .merge(api::health::router())
        .merge(api::router())
        .route("/ws", get(browser::upgrade))
        .fallback(api::not_found)
        .layer(from_fn_with_state(state.clone(), once::guard))
        .layer(from_fn_with_state(state.clone(), rates::bound))
        .layer(from_fn(page::security_headers))
        .layer(from_fn_with_state(state.clone(), watch::counts::count))
        .with_state(state)
}

#[cfg(test)]
mod tests;
