//! The server's certificate: made at first start, kept, made anew before it expires. An operator may
//! put another in its place.

pub mod examine;

use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{info, warn};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Browsers refuse certificates that are valid for longer than 398 days.
const VALIDITY: Duration = Duration::from_hours(24 * 397);
/// Time left at which a certificate is made anew.
const RENEWAL: Duration = Duration::from_hours(24 * 30);
const CHECK_INTERVAL: Duration = Duration::from_hours(12);
/// From one look at the calendar to the next: when that was set, the certificate is checked at once.
const CALENDAR_INTERVAL: Duration = Duration::from_secs(10);
/// A calendar that is further off was set.
const CALENDAR_SET: Duration = Duration::from_mins(1);
/// For clocks that go slow.
const BACKDATED: Duration = Duration::from_hours(24);
const NOT_RENEWED: &str = "cannot renew the certificate, the old one stays";
/// By this name a certificate of our own making is known from an operator's.
const COMMON_NAME: &str = "Consilium self-signed";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file can neither be read nor written.
    #[error("{path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file holds no certificate or no key.
    #[error("{path}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// One file is there without the other, and is not of our making.
    #[error("{missing} is missing, though {present} is there")]
    Half {
        /// What is not there.
        missing: PathBuf,
        /// What is there.
        present: PathBuf,
    },
    /// Certificate and key do not fit each other or TLS.
    #[error("certificate or key is not usable")]
    Unusable(#[from] rustls::Error),
    /// No certificate can be made.
    #[error("make a certificate")]
    Make(#[from] rcgen::Error),
}

/// Where the certificate lives and whom it is for.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    addresses: Vec<IpAddr>,
}

/// Makes TLS of TCP with the certificate that is current.
#[derive(Clone)]
pub(crate) struct Acceptor {
    store: Store,
    // Read once a connection, written once a year.
    current: Arc<RwLock<Arc<ServerConfig>>>,
}

impl Acceptor {
    pub(crate) fn open(store: Store) -> Result<Self, Error> {
        let config = match store.renew_if_due(SystemTime::now()) {
            Ok(()) => store.load()?,
            // A disk that is full or cannot be written to, and a pair that will do for now.
            Err(error) => match store.load() {
                Ok(config) => {
                    warn!(error = chain(&error), "{NOT_RENEWED}");
                    config
                }
                Err(_) => return Err(error),
            },
        };
        let current = Arc::new(RwLock::new(config));
        Ok(Self { store, current })
    }

    pub(crate) async fn accept<S>(&self, tcp: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self
            .current
            .read()
            .unwrap_or_else(|p| p.into_inner())
            .clone();
        TlsAcceptor::from(config).accept(tcp).await
    }

    /// Looks after the certificate for ever. An operator's new one is taken up here, too.
    pub(crate) async fn keep_fresh(self) {
        let mut checked = (Instant::now(), SystemTime::now());
        loop {
            sleep(CALENDAR_INTERVAL).await;
            let now = (Instant::now(), SystemTime::now());
            if !is_check_due(checked, now) {
                continue;
            }
            checked = now;
            let fresh = self
                .store
                .renew_if_due(SystemTime::now())
                .and_then(|()| self.store.load());
            match fresh {
                Ok(config) => *self.current.write().unwrap_or_else(|p| p.into_inner()) = config,
                Err(error) => warn!(error = chain(&error), "{NOT_RENEWED}"),
            }
        }
    }
}

/// Whether it is time, or the calendar was set since the last check.
fn is_check_due(last: (Instant, SystemTime), now: (Instant, SystemTime)) -> bool {
    let passed = now.0.saturating_duration_since(last.0);
    let expected = last.1 + passed;
    let off = now
        .1
        .duration_since(expected)
        .unwrap_or_else(|e| e.duration());
    passed >= CHECK_INTERVAL || off > CALENDAR_SET
}

fn chain(error: &Error) -> String {
    use std::error::Error as _;
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

impl Store {
    pub(crate) fn new(dir: PathBuf, addresses: Vec<IpAddr>) -> Self {
        Self { dir, addresses }
    }

    fn cert(&self) -> PathBuf {
        self.dir.join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.dir.join("key.pem")
    }

    fn renew_if_due(&self, now: SystemTime) -> Result<(), Error> {
        let (cert, key) = (self.cert(), self.key());
        if !is_there(&cert) {
            if is_there(&key) {
                return Err(half(cert, key));
            }
            info!(dir = %self.dir.display(), "making a certificate");
            return self.make(now);
        }
        let (ours, begins, expires) = self.read_validity()?;
        match (ours, is_there(&key)) {
            (false, false) => Err(half(key, cert)),
            (true, false) => {
                warn!("the certificate's key is gone, making both anew");
                self.make(now)
            }
            (_, true) if begins <= now && now + RENEWAL < expires => Ok(()),
            (true, true) => {
                info!("renewing the certificate");
                self.make(now)
            }
            (false, true) if now < begins => {
                warn!(cert = %cert.display(), "the certificate is not valid yet by the calendar here");
                Ok(())
            }
            (false, true) => {
                warn!(cert = %cert.display(), "the certificate expires within 30 days");
                Ok(())
            }
        }
    }

    /// Whether the certificate is of our making, when it begins to be valid, and when it expires.
    fn read_validity(&self) -> Result<(bool, SystemTime, SystemTime), Error> {
        let path = self.cert();
        let content = |reason: String| Error::Content {
            path: path.clone(),
            reason,
        };
        let pem = read(&path)?;
        let der = CertificateDer::from_pem_slice(&pem).map_err(|e| content(e.to_string()))?;
        let (_, cert) = X509Certificate::from_der(&der).map_err(|e| content(e.to_string()))?;
        let ours = cert
            .subject()
            .iter_common_name()
            .any(|cn| cn.as_str() == Ok(COMMON_NAME));
        let at = |seconds: i64| UNIX_EPOCH + Duration::from_secs(seconds.max(0) as u64);
        let validity = cert.validity();
        let begins = at(validity.not_before.timestamp());
        Ok((ours, begins, at(validity.not_after.timestamp())))
    }

    fn make(&self, now: SystemTime) -> Result<(), Error> {
        fs::create_dir_all(&self.dir).map_err(|source| Error::File {
            path: self.dir.clone(),
            source,
        })?;
        let key = KeyPair::generate()?;
        let cert = self.params(now)?.self_signed(&key)?;
        // Both are on the disk before the old pair is touched. A crash after that leaves a certificate
        // of ours without key, from which the next start makes another; never a pair that does not
        // fit, nor a key that might be an operator's.
        let new_cert = write_beside(&self.cert(), 0o644, &cert.pem())?;
        let new_key = write_beside(&self.key(), 0o600, &key.serialize_pem())?;
        remove(&self.key())?;
        rename(&new_cert, &self.cert())?;
        rename(&new_key, &self.key())
    }

    fn params(&self, now: SystemTime) -> Result<CertificateParams, Error> {
        let mut names = vec!["localhost".to_string()];
        if let Ok(name) = nix::unistd::gethostname()
            && let Ok(name) = name.into_string()
            && name != "localhost"
        {
            names.push(name);
        }
        let mut params = CertificateParams::new(names)?;
        let local = [
            IpAddr::from([127, 0, 0, 1]),
            IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
        ];
        for address in local
            .iter()
            .chain(self.addresses.iter().filter(|a| !local.contains(a)))
        {
            params.subject_alt_names.push(SanType::IpAddress(*address));
        }
        params.distinguished_name.remove(DnType::CommonName);
        params
            .distinguished_name
            .push(DnType::CommonName, COMMON_NAME);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + VALIDITY).into();
        Ok(params)
    }

    fn load(&self) -> Result<Arc<ServerConfig>, Error> {
        let mut config = config_of(&self.cert(), &self.key())?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// TLS with this pair of files.
fn config_of(cert: &Path, key: &Path) -> Result<ServerConfig, Error> {
    let content = |path: &Path, reason: String| Error::Content {
        path: path.into(),
        reason,
    };
    let chain = CertificateDer::pem_slice_iter(&read(cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| content(cert, e.to_string()))?;
    let key =
        PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|e| content(key, e.to_string()))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(config)
}

fn half(missing: PathBuf, present: PathBuf) -> Error {
    Error::Half { missing, present }
}

/// Whether something is there, be it a link to what we may not read.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::File {
        path: path.into(),
        source,
    })
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::File {
            path: path.into(),
            source,
        }),
        _ => Ok(()),
    }
}

/// Writes what is to take the place of `path`, so that no reader sees half a file, nor a key that
/// others may read.
fn write_beside(path: &Path, mode: u32, text: &str) -> Result<PathBuf, Error> {
    let beside = path.with_extension("pem.new");
    let failed = |source| Error::File {
        path: path.into(),
        source,
    };
    remove(&beside)?;
    let options = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside);
    let mut file = options.map_err(failed)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)?;
    Ok(beside)
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(|source| Error::File {
        path: to.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn write(path: &Path, mode: u32, text: &str) -> Result<(), Error> {
        rename(&write_beside(path, mode, text)?, path)
    }

    fn store(dir: &tempfile::TempDir) -> Store {
        Store::new(dir.path().join("tls"), vec!["192.0.2.7".parse().unwrap()])
    }

    /// Puts a certificate there that is not of our making.
    fn operators_pair(store: &Store) -> String {
        let mut params = store.params(SystemTime::now()).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "mcu.hospital.example");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        fs::create_dir_all(&store.dir).unwrap();
        write(&store.cert(), 0o644, &pem).unwrap();
        write(&store.key(), 0o600, &key.serialize_pem()).unwrap();
        pem
    }

    #[test]
    fn a_certificate_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        store(&dir).renew_if_due(now).unwrap();
        let first = fs::read(store(&dir).cert()).unwrap();
        store(&dir)
            .renew_if_due(now + Duration::from_hours(24 * 300))
            .unwrap();
        assert_eq!(fs::read(store(&dir).cert()).unwrap(), first);
        let mode = fs::metadata(store(&dir).key())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path().join("tls")).unwrap().count(), 2);
    }

    #[test]
    fn it_names_host_addresses_and_localhost() {
        let dir = tempfile::tempdir().unwrap();
        store(&dir).renew_if_due(SystemTime::now()).unwrap();
        let der = CertificateDer::from_pem_slice(&fs::read(store(&dir).cert()).unwrap()).unwrap();
        let (_, cert) = X509Certificate::from_der(&der).unwrap();
        let names = format!(
            "{:?}",
            cert.subject_alternative_name().unwrap().unwrap().value
        );
        assert!(names.contains("localhost"), "{names}");
        assert!(names.contains("[192, 0, 2, 7]"), "{names}");
        assert!(names.contains("[127, 0, 0, 1]"), "{names}");
    }

    #[test]
    fn our_own_certificate_is_renewed_a_month_before_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        store(&dir).renew_if_due(now).unwrap();
        let first = fs::read(store(&dir).cert()).unwrap();
        let later = now + VALIDITY - Duration::from_hours(24 * 29);
        store(&dir).renew_if_due(later).unwrap();
        assert_ne!(fs::read(store(&dir).cert()).unwrap(), first);
        assert!(store(&dir).read_validity().unwrap().2 > later + RENEWAL);
        store(&dir).load().unwrap();
    }

    /// Defect: a certificate that was made while the calendar was years ahead stayed, and was valid for
    /// nobody.
    #[test]
    fn our_own_certificate_is_made_anew_when_the_calendar_is_set_back_before_its_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        store(&dir).renew_if_due(now + 5 * VALIDITY).unwrap();
        store(&dir).renew_if_due(now).unwrap();
        let (_, begins, expires) = store(&dir).read_validity().unwrap();
        assert!(begins <= now && now + RENEWAL < expires);
        let kept = fs::read(store(&dir).cert()).unwrap();
        // By an hour is within what it is backdated by.
        let back = now - Duration::from_hours(1);
        store(&dir).renew_if_due(back).unwrap();
        assert_eq!(fs::read(store(&dir).cert()).unwrap(), kept);
    }

    /// Defect: a certificate that was set back by a calendar, or ran out by it, was noticed after half a
    /// day.
    #[test]
    fn it_is_checked_twice_a_day_and_when_the_calendar_was_set() {
        let last = (Instant::now(), SystemTime::now());
        let after = |passed: Duration, calendar: SystemTime| {
            let now = (last.0 + passed, calendar + passed);
            is_check_due(last, now)
        };
        let (minute, hour) = (Duration::from_mins(1), Duration::from_hours(1));
        assert!(!after(hour, last.1) && after(12 * hour, last.1));
        assert!(!after(minute, last.1 + minute / 2));
        assert!(after(minute, last.1 + hour) && after(minute, last.1 - hour));
    }

    /// Defect: with a full disk the manager did not start for a month, though its certificate was valid.
    #[test]
    fn a_pair_that_cannot_be_renewed_does_for_now() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let soon = SystemTime::now() + RENEWAL / 2;
        store.renew_if_due(soon - VALIDITY).unwrap();
        let before = fs::read(store.cert()).unwrap();
        // Where the new one is to be written there is something that cannot be removed as a file.
        fs::create_dir_all(store.cert().with_extension("pem.new").join("in the way")).unwrap();
        Acceptor::open(store.clone()).map(drop).unwrap();
        assert_eq!(fs::read(store.cert()).unwrap(), before);
        fs::remove_file(store.key()).unwrap();
        assert!(Acceptor::open(store).is_err());
    }

    #[test]
    fn an_operators_certificate_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let pem = operators_pair(&store(&dir));
        store(&dir)
            .renew_if_due(SystemTime::now() + VALIDITY)
            .unwrap();
        assert_eq!(fs::read_to_string(store(&dir).cert()).unwrap(), pem);
    }

    /// Defect: an operator's certificate whose key was missing was deleted and replaced.
    #[test]
    fn half_of_an_operators_pair_is_refused_and_kept() {
        for (kept, missing) in [("cert.pem", "key.pem"), ("key.pem", "cert.pem")] {
            let dir = tempfile::tempdir().unwrap();
            operators_pair(&store(&dir));
            fs::remove_file(store(&dir).dir.join(missing)).unwrap();
            let before = fs::read(store(&dir).dir.join(kept)).unwrap();
            let error = Acceptor::open(store(&dir)).err().expect("refused");
            let text = error.to_string();
            let place = store(&dir).dir.join(missing);
            assert!(
                text.starts_with(&format!("{} is missing", place.display())),
                "{text}"
            );
            assert_eq!(fs::read(store(&dir).dir.join(kept)).unwrap(), before);
            assert!(!place.exists());
        }
    }

    #[test]
    fn links_that_lead_nowhere_are_an_operators() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(&store(&dir).dir).unwrap();
        for link in [store(&dir).cert(), store(&dir).key()] {
            std::os::unix::fs::symlink("/nonexistent/file.pem", link).unwrap();
        }
        let error = Acceptor::open(store(&dir)).err().expect("refused");
        assert!(error.to_string().contains("cert.pem"), "{error}");
        assert!(is_there(&store(&dir).cert()));
    }

    #[test]
    fn our_own_certificate_without_its_key_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        store(&dir).renew_if_due(SystemTime::now()).unwrap();
        fs::remove_file(store(&dir).key()).unwrap();
        Acceptor::open(store(&dir)).map(drop).unwrap();
    }

    #[test]
    fn nonsense_in_the_files_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        store(&dir).renew_if_due(SystemTime::now()).unwrap();
        fs::write(store(&dir).cert(), "nonsense").unwrap();
        let error = Acceptor::open(store(&dir))
            .err()
            .expect("refused")
            .to_string();
        assert!(error.contains("cert.pem"), "{error}");
    }
}
