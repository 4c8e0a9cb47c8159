//! Digest access authentication (RFC 3261 §22, RFC 7616, RFC 8760).

use std::fmt;

use md5::Md5;
use sha2::{Digest as _, Sha256};

/// `H(user:realm:password)` for both algorithms that are offered, so that no password is stored.
/// `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Ha1 {
    md5: Option<String>,
    sha256: Option<String>,
}

impl Ha1 {
    /// Hashes a password for this user and realm.
    pub fn from_password(user: &str, realm: &str, password: &str) -> Self {
        let text = format!("{user}:{realm}:{password}");
        Self {
            md5: Some(hex(&Md5::digest(&text))),
            sha256: Some(hex(&Sha256::digest(&text))),
        }
    }

    /// Takes stored hashes in hexadecimal: 32 digits of MD5, 64 of SHA-256. `None` for an algorithm
    /// that this account cannot use. Yields `None` when a hash has the wrong shape.
    pub fn from_hex(md5: Option<&str>, sha256: Option<&str>) -> Option<Self> {
        let fits = |text: Option<&str>, digits: usize| {
            text.is_none_or(|t| t.len() == digits && t.bytes().all(|b| b.is_ascii_hexdigit()))
        };
        (fits(md5, 32) && fits(sha256, 64)).then(|| Self {
            md5: md5.map(str::to_ascii_lowercase),
            sha256: sha256.map(str::to_ascii_lowercase),
        })
    }

    /// The hashes in hexadecimal, to be stored: MD5 and SHA-256.
    pub fn to_hex(&self) -> (Option<&str>, Option<&str>) {
        (self.md5.as_deref(), self.sha256.as_deref())
    }
}

impl fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
