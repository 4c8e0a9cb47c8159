//! What a directory knows (LDAP, RFC 4511): whose login it is, and whether a password is theirs. Always
//! inside TLS, by StartTLS (RFC 4511 §4.14) or from the first byte.

pub(crate) mod people;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ldap3::{
    Ldap, LdapConnAsync, LdapConnSettings, LdapError, Scope, SearchEntry, SearchOptions,
    ldap_escape,
};
use mcu_api::secret::Redacted;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::{Mutex, MutexGuard, Semaphore};
use tokio::time::timeout;
use tracing::warn;

use crate::audit::hex;
use crate::limits::Attempts;

/// Longest that a login waits for the directory.
const PATIENCE: Duration = Duration::from_secs(8);
/// Logins that ask it at a time; who comes beyond waits.
const PLACES: usize = 8;
/// Logins at which passwords are proved at a time, at most.
const TURNS: usize = 64;
/// Results of a bind that say that it is not this person, or that this person may not (RFC 4511
/// §4.1.9): constraintViolation, inappropriateAuthentication, invalidCredentials,
/// insufficientAccessRights, unwillingToPerform.
const REFUSALS: [u32; 5] = [19, 48, 49, 50, 53];
/// RFC 4511 §4.1.9.
const SIZE_LIMIT_EXCEEDED: u32 = 4;
/// Longest login that is looked for, in bytes.
const MAX_LOGIN: usize = 256;
/// Where the login stands in a filter.
pub const LOGIN: &str = "{login}";

/// Where the directory is, and what is looked for in it.
#[derive(Clone, Debug)]
pub struct Config {
    /// `ldaps://HOST`, or `ldap://HOST`, which is asked for StartTLS.
    pub url: String,
    /// PEM file of the issuers of its certificate; those of the system if not given.
    pub ca: Option<PathBuf>,
    /// Who looks for people: a DN and its password. Nobody in particular if not given.
    pub bind: Option<(String, Redacted<String>)>,
    /// Below which entry people are.
    pub base: String,
    /// Which entry is whose; holds [`LOGIN`].
    pub filter: String,
    /// Attribute that holds the login.
    pub login: String,
    /// Attribute that holds who it is, which no two entries share and none ever changes.
    pub id: String,
    /// Attribute that holds the name.
    pub name: String,
    /// Attribute that holds the DNs of groups.
    pub groups: String,
    /// Id of the organisation that people belong to who log in first; that at the root if not given.
    pub organisation: Option<String>,
    /// Ids of roles, by DN of the group whose members have them there.
    pub roles: Vec<(String, String)>,
}

/// Why the directory cannot be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The issuers of its certificate cannot be read.
    #[error("{path}: {reason}")]
    Issuers { path: String, reason: String },
    /// It is away, shows no certificate that is trusted, or does not take us.
    #[error("directory")]
    Ldap(#[from] LdapError),
    /// It took too long.
    #[error("the directory does not answer")]
    Late,
}

/// An entry that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its DN.
    dn: String,
    /// Value of the attribute that holds the login.
    pub login: String,
    /// Who it is, as `people.subject` holds it.
    pub subject: String,
    /// Value of the attribute that holds the name.
    pub name: Option<String>,
    /// DNs of its groups.
    pub groups: Vec<String>,
}

/// A directory.
#[derive(Debug)]
pub(crate) struct Directory {
    pub config: Config,
    places: Semaphore,
    /// A lock for each of some shares of all logins.
    turns: [Mutex<()>; TURNS],
    /// Wrong passwords of people who never logged in here.
    pub guesses: Attempts,
}

impl Directory {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            places: Semaphore::new(PLACES),
            turns: std::array::from_fn(|_| Mutex::default()),
            guesses: Attempts::default(),
        }
    }

    /// Waits until nobody else proves a password of this login.
    pub(crate) async fn turn(&self, login: &str) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        login.hash(&mut hasher);
        let share = hasher.finish() % TURNS as u64;
        self.turns[share as usize].lock().await
    }

    /// The entry of this login, if there is one and no more than one.
    ///
    /// # Errors
    /// Whatever keeps the directory from answering.
    pub(crate) async fn find(&self, login: &str) -> Result<Option<Found>, Error> {
        if login.is_empty() || login.len() > MAX_LOGIN {
            return Ok(None);
        }
        let _place = self.places.acquire().await;
        let find = async {
            let mut ldap = self.connect().await?;
            if let Some((dn, password)) = &self.config.bind {
                ldap.simple_bind(dn, &password.0).await?.success()?;
            }
            let found = self.search(&mut ldap, login).await;
            let _ = ldap.unbind().await;
            found
        };
        timeout(PATIENCE, find).await.map_err(|_| Error::Late)?
    }

    /// Whether a password is the one of this entry.
    ///
    /// # Errors
    /// Whatever keeps the directory from answering.
    pub(crate) async fn verify(
        &self,
        found: &Found,
        password: Redacted<String>,
    ) -> Result<bool, Error> {
        // Without a password a bind succeeds and proves nothing (RFC 4513 §5.1.2).
        if password.0.is_empty() {
            return Ok(false);
        }
        let _place = self.places.acquire().await;
        let bind = async {
            let mut ldap = self.connect().await?;
            let answer = ldap.simple_bind(&found.dn, &password.0).await?;
            let _ = ldap.unbind().await;
            match REFUSALS.contains(&answer.rc) {
                true => Ok(false),
                false => Ok(answer.success().map(|_| true)?),
            }
        };
        timeout(PATIENCE, bind).await.map_err(|_| Error::Late)?
    }

    async fn connect(&self) -> Result<Ldap, Error> {
        let settings = LdapConnSettings::new()
            .set_starttls(true)
            .set_config(self.trust()?);
        let (connection, ldap) = LdapConnAsync::with_settings(settings, &self.config.url).await?;
        // It ends with `ldap`, or when the directory closes it.
        tokio::spawn(async move {
            let _ = connection.drive().await;
        });
        Ok(ldap)
    }

    /// Read anew each time, so that another file needs no restart.
    fn trust(&self) -> Result<Arc<ClientConfig>, Error> {
        let mut roots = RootCertStore::empty();
        match &self.config.ca {
            Some(path) => {
                let failed = |reason: String| Error::Issuers {
                    path: path.display().to_string(),
                    reason,
                };
                let issuers = CertificateDer::pem_file_iter(path)
                    .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                    .map_err(|e| failed(e.to_string()))?;
                for issuer in issuers {
                    roots.add(issuer).map_err(|e| failed(e.to_string()))?;
                }
                if roots.is_empty() {
                    return Err(failed("no certificate in it".into()));
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(LdapError::from)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }

    async fn search(&self, ldap: &mut Ldap, login: &str) -> Result<Option<Found>, Error> {
        let config = &self.config;
        // What was typed is a value of the filter, whatever it holds (RFC 4515 §3).
        let filter = config.filter.replace(LOGIN, &ldap_escape(login));
        let wanted = [&config.login, &config.id, &config.name, &config.groups];
        let answer = ldap
            .with_search_options(SearchOptions::new().sizelimit(2))
            .search(&config.base, Scope::Subtree, &filter, wanted)
            .await?;
        // Of more than two entries, which are too many, it tells two (sizeLimitExceeded).
        let entries = match answer.1.rc {
            SIZE_LIMIT_EXCEEDED => return Ok(None),
            _ => answer.success()?.0,
        };
        let mut entries = entries.into_iter().filter(|entry| !entry.is_ref());
        let (Some(entry), None) = (entries.next(), entries.next()) else {
            return Ok(None);
        };
        let mut entry = SearchEntry::construct(entry);
        let Some(subject) = subject(&entry, &config.id) else {
            warn!(
                attribute = config.id,
                "[ldap] id: an entry that does not have one value of it"
            );
            return Ok(None);
        };
        let mut values = |attribute: &str| {
            // Directories answer in their own case (RFC 4512 §2.5).
            let key = entry
                .attrs
                .keys()
                .find(|key| key.eq_ignore_ascii_case(attribute));
            let key = key.cloned().unwrap_or_default();
            entry.attrs.remove(&key).unwrap_or_default()
        };
        // Values have no order (RFC 4512 §2.2): of several, none says who it is.
        let Ok([login]) = <[String; 1]>::try_from(values(&config.login)) else {
            return Ok(None);
        };
        let name = values(&config.name).into_iter().next();
        let groups = values(&config.groups);
        let dn = entry.dn;
        Ok(Some(Found {
            dn,
            login,
            subject,
            name,
            groups,
        }))
    }
}

/// Who an entry is, by the one value of this attribute: as it is where it is text, as `entryUUID` is
/// (RFC 4530), else in hexadecimal digits, as `objectGUID`.
fn subject(entry: &SearchEntry, attribute: &str) -> Option<String> {
    let is_it = |key: &String| key.eq_ignore_ascii_case(attribute);
    let text = entry.attrs.iter().filter(|(key, _)| is_it(key));
    let text = text.flat_map(|(_, values)| values.iter().cloned());
    let bytes = entry.bin_attrs.iter().filter(|(key, _)| is_it(key));
    let bytes = bytes.flat_map(|(_, values)| values.iter().map(|value| hex(value)));
    let mut values = text.chain(bytes).filter(|value| !value.is_empty());
    match (values.next(), values.next()) {
        (Some(value), None) => Some(format!("{} {value}", people::SOURCE)),
        _ => None,
    }
}
