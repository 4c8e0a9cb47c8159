//! What is wrong with a pair of certificate and key, for `consilium doctor`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;
use utoipa::ToSchema;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{COMMON_NAME, Error, RENEWAL, config_of, read};

/// What is wrong with a certificate.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// It, or its key, cannot be read, or they do not fit each other.
    #[error("cannot be used")]
    Unusable(#[source] Error),
    /// It is valid no more.
    #[error("expired {0} days ago")]
    Expired(u64),
    /// It soon is.
    #[error("expires in {0} days")]
    Expires(u64),
    /// It is not valid yet: more often a wrong clock than a wrong certificate.
    #[error("is not valid before {0} days have passed")]
    Early(u64),
    /// It is for other addresses and names alone.
    #[error("does not name {0}")]
    NotNamed(IpAddr),
    /// Nobody vouches for it.
    #[error("is self-signed")]
    SelfSigned,
}

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = CertificateFacts)]
pub(crate) struct Facts {
    /// Whom it is for.
    pub subject: String,
    /// Who vouches for it.
    pub issuer: String,
    /// Hosts and addresses that it names.
    pub names: Vec<String>,
    /// When it begins to be valid, in milliseconds since 1970.
    pub not_before_ms: i64,
    /// And when it ends.
    pub not_after_ms: i64,
    /// Nobody else vouches for it.
    pub self_signed: bool,
}

/// What a certificate says of itself.
///
/// # Errors
/// When the file cannot be read or holds none.
pub(crate) fn facts(chain: &Path) -> Result<Facts, Error> {
    let content = |reason: String| Error::Content {
        path: chain.to_owned(),
        reason,
    };
    let pem = read(chain)?;
    let der = CertificateDer::from_pem_slice(&pem).map_err(|e| content(e.to_string()))?;
    let (_, cert) = X509Certificate::from_der(&der).map_err(|e| content(e.to_string()))?;
    let found = cert.subject_alternative_name().ok().flatten();
    let found = found.iter().flat_map(|names| &names.value.general_names);
    let mut hosts: Vec<String> = found
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect();
    let (addresses, _) = names(&cert);
    hosts.extend(addresses.iter().map(IpAddr::to_string));
    let validity = cert.validity();
    Ok(Facts {
        subject: cert.subject().to_string(),
        issuer: cert.issuer().to_string(),
        names: hosts,
        not_before_ms: validity.not_before.timestamp() * 1000,
        not_after_ms: validity.not_after.timestamp() * 1000,
        self_signed: cert.subject() == cert.issuer(),
    })
}

/// Looks at a certificate with which clients that come to `addresses` are served. One that names hosts
/// by DNS need not name addresses.
pub fn examine(chain: &Path, key: &Path, addresses: &[IpAddr], now: SystemTime) -> Vec<Flaw> {
    match flaws(chain, key, addresses, now) {
        Ok(flaws) => flaws,
        Err(error) => vec![Flaw::Unusable(error)],
    }
}

fn flaws(
    chain: &Path,
    key: &Path,
    addresses: &[IpAddr],
    now: SystemTime,
) -> Result<Vec<Flaw>, Error> {
    let mut flaws = Vec::new();
    config_of(chain, key)?;
    let content = |reason: String| Error::Content {
        path: chain.to_owned(),
        reason,
    };
    let pem = read(chain)?;
    let der = CertificateDer::from_pem_slice(&pem).map_err(|e| content(e.to_string()))?;
    let (_, cert) = X509Certificate::from_der(&der).map_err(|e| content(e.to_string()))?;
    let at = |seconds: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let begins = at(cert.validity().not_before.timestamp());
    let ends = at(cert.validity().not_after.timestamp());
    if let Ok(until) = begins.duration_since(now) {
        flaws.push(Flaw::Early(days(until)));
    }
    let is_ours = cert
        .subject()
        .iter_common_name()
        .any(|name| name.as_str() == Ok(COMMON_NAME));
    match ends.duration_since(now) {
        // Ours is renewed by itself.
        Ok(left) if left < RENEWAL && !is_ours => flaws.push(Flaw::Expires(days(left))),
        Ok(_) => {}
        Err(since) => flaws.push(Flaw::Expired(days(since.duration()))),
    }
    let (named, by_dns) = names(&cert);
    let missing = addresses.iter().find(|address| !named.contains(address));
    if let Some(missing) = missing.filter(|_| is_ours || !by_dns) {
        flaws.push(Flaw::NotNamed(*missing));
    }
    if cert.subject() == cert.issuer() {
        flaws.push(Flaw::SelfSigned);
    }
    Ok(flaws)
}

fn days(time: Duration) -> u64 {
    time.as_secs() / (24 * 3600)
}

/// Addresses that a certificate names, and whether it names hosts by DNS.
fn names(cert: &X509Certificate<'_>) -> (Vec<IpAddr>, bool) {
    let (mut addresses, mut by_dns) = (Vec::new(), false);
    let names = cert.subject_alternative_name().ok().flatten();
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::DNSName(_) => by_dns = true,
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).map(|b| IpAddr::from(Ipv4Addr::from(b)));
                let v6 = <[u8; 16]>::try_from(*bytes).map(|b| IpAddr::from(Ipv6Addr::from(b)));
                addresses.extend(v4.or(v6));
            }
            _ => {}
        }
    }
    (addresses, by_dns)
}
