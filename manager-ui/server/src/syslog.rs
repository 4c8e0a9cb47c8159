//! Checkpoints of the record sent to a log host, where whoever owns this machine cannot change them: by
//! syslog (RFC 5424) over TLS (RFC 5425).
//!
//! The file of checkpoints is the queue: what was sent is remembered beside it, and after an outage the
//! rest follows in its order. Syslog has no answer; a message counts as sent once the other machine's
//! TCP has confirmed it. What its receiver then loses is lost: the file keeps it.

pub(crate) mod message;
mod sent;

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::libc;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::{info, warn};

use crate::store::{self, Store};
use sent::Sent;

/// For each step: a connection, a handshake, a message to be confirmed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at what there is to send.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks at whether it is confirmed.
const CONFIRMED: Duration = Duration::from_millis(10);
/// How long a connection has to stand before anything is sent, where our certificate may be refused.
const SETTLING: Duration = Duration::from_secs(1);
/// Between attempts to reach the log host; the pause doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A log host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its name or address, which its certificate has to show.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// PEM file of the issuers of its certificate; the system's if not given.
    pub ca: Option<PathBuf>,
    /// PEM files of our certificate and its key, where it wants one.
    pub client: Option<(PathBuf, PathBuf)>,
    /// How each entry is told besides, if it is.
    pub entries: Option<Entries>,
}

/// How an entry is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entries {
    /// That there is one: neither whose, nor about whom.
    Bare,
    /// All of it, as audit record repositories take it (IHE ATNA).
    Atna,
}

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of certificates or the key cannot be used.
    #[error("{}: {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Certificate and key do not fit TLS.
    #[error("TLS")]
    Tls(#[from] rustls::Error),
    /// It is away, or shows no certificate that is trusted.
    #[error("the log host cannot be reached")]
    Away(#[from] io::Error),
    /// It does not answer or takes nothing.
    #[error("the log host does not answer")]
    Late,
    /// It has closed the connection.
    #[error("the log host has closed the connection")]
    Closed,
    /// What was sent cannot be remembered or read.
    #[error("file of checkpoints")]
    Record(#[source] io::Error),
    /// Entries cannot be read.
    #[error(transparent)]
    Database(#[from] store::Error),
}

/// How it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// There is a connection.
    pub connected: bool,
    /// Entry of the last checkpoint that was sent.
    pub seq: i64,
}

/// Whether the log host takes a connection and shows a certificate that is trusted.
///
/// # Errors
/// Why not.
pub async fn reach(config: &Config) -> Result<(), Error> {
    let mut tls = connect(config).await?;
    // TLS 1.3 tells only afterwards that our certificate is refused (RFC 8446 §4.4.2.4).
    match timeout(Duration::from_millis(500), tls.read_u8()).await {
        Ok(Ok(_)) | Err(_) => Ok(()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Error::Closed),
        Ok(Err(error)) => Err(error.into()),
    }
}

/// Tells a log host.
pub(crate) struct Teller {
    config: Config,
    state: watch::Sender<State>,
}

impl Teller {
    pub(crate) fn new(config: Config) -> Self {
        let state = watch::channel(State::default()).0;
        Self { config, state }
    }

    /// How it goes, now and later.
    pub(crate) fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Sends what there is in this folder, again and again. Never ends.
    pub(crate) async fn keep(&self, dir: &Path, store: &Store) {
        let host = &self.config.host;
        let mut pause = FIRST_PAUSE;
        // What was told last of why it does not go.
        let mut told = String::new();
        loop {
            let ended = match connect(&self.config).await {
                Ok(tls) => {
                    info!(host, "connected to the log host");
                    self.state.send_modify(|state| state.connected = true);
                    let began = Instant::now();
                    let ended = self.serve(dir, store, tls).await;
                    // One that turns us away at once is no better than one that is not there.
                    if began.elapsed() > PATIENCE {
                        (pause, told) = (FIRST_PAUSE, String::new());
                    }
                    ended
                }
                Err(error) => error,
            };
            self.state.send_modify(|state| state.connected = false);
            let error = store::chain(&ended);
            if error != told {
                warn!(host, error, "checkpoints wait for the log host");
                told = error;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Sends until the connection is lost.
    async fn serve(&self, dir: &Path, store: &Store, tls: TlsStream<TcpStream>) -> Error {
        let socket = tls.get_ref().0.as_raw_fd();
        let (reader, mut writer) = split(tls);
        tokio::select! {
            lost = closed(reader) => lost,
            failed = self.send(dir, store, &mut writer, socket) => {
                let Err(error) = failed;
                error
            }
        }
    }

    async fn send(
        &self,
        dir: &Path,
        store: &Store,
        writer: &mut (impl AsyncWrite + Unpin),
        socket: RawFd,
    ) -> Result<Infallible, Error> {
        let mut sent = Sent::read(dir, &self.config).map_err(Error::Record)?;
        if self.config.client.is_some() {
            // It may be refused still (RFC 8446 §4.4.2.4), and what was sent be thrown away: `closed`
            // ends this then.
            sleep(SETTLING).await;
        }
        loop {
            self.state.send_modify(|state| state.seq = sent.seq());
            match sent.next(&self.config, dir, store).await? {
                Some((bytes, then)) => {
                    write(writer, socket, &bytes).await?;
                    sent = then;
                    sent.write(dir).map_err(Error::Record)?;
                }
                None => sleep(LOOK).await,
            }
        }
    }
}

async fn connect(config: &Config) -> Result<TlsStream<TcpStream>, Error> {
    let tls = TlsConnector::from(Arc::new(trust(config)?));
    let name = ServerName::try_from(config.host.clone())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let connect = async {
        let tcp = TcpStream::connect((config.host.as_str(), config.port)).await?;
        tls.connect(name, tcp).await
    };
    Ok(timeout(PATIENCE, connect)
        .await
        .map_err(|_| Error::Late)??)
}

/// Read anew each time, so that other files need no restart.
fn trust(config: &Config) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    match &config.ca {
        Some(path) => {
            for issuer in certificates(path)? {
                roots.add(issuer)?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let Some((chain, key)) = &config.client else {
        return Ok(builder.with_no_client_auth());
    };
    let failed = |error: &dyn ToString| Error::File {
        path: key.clone(),
        reason: error.to_string(),
    };
    let pem = fs::read(key).map_err(|error| failed(&error))?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| failed(&error))?;
    Ok(builder.with_client_auth_cert(certificates(chain)?, key)?)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let failed = |reason: String| Error::File {
        path: path.to_owned(),
        reason,
    };
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(error.to_string()))?;
    match found.is_empty() {
        true => Err(failed("no certificate in it".into())),
        false => Ok(found),
    }
}

/// Returns once the log host has closed the connection. It has nothing to say before.
async fn closed(mut reader: impl AsyncRead + Unpin) -> Error {
    let mut bytes = [0; 64];
    loop {
        match reader.read(&mut bytes).await {
            Ok(0) => return Error::Closed,
            Ok(_) => {}
            Err(error) => return error.into(),
        }
    }
}

/// Writes, and waits until the other machine has it.
async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    socket: RawFd,
    bytes: &[u8],
) -> Result<(), Error> {
    let write = async {
        writer.write_all(bytes).await?;
        writer.flush().await?;
        while unconfirmed(socket)? > 0 {
            sleep(CONFIRMED).await;
        }
        Ok(())
    };
    timeout(PATIENCE, write).await.map_err(|_| Error::Late)?
}

/// Bytes that TCP has sent, or is to send, and that the other machine has not confirmed (tcp(7),
/// SIOCOUTQ).
fn unconfirmed(socket: RawFd) -> io::Result<libc::c_int> {
    let mut left: libc::c_int = 0;
    // SAFETY: the socket is open as long as the stream that it belongs to, which our caller holds, and
    // the kernel writes one int to where there is one.
    match unsafe { libc::ioctl(socket, libc::TIOCOUTQ, &raw mut left) } {
        0 => Ok(left),
        _ => Err(io::Error::last_os_error()),
    }
}
