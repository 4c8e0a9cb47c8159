//! Relays (TURN, RFC 8656) for browsers that reach the media processor by no path of their own.
//!
//! The relay is a program of its own, coturn for example. It shares a secret with us, and we make
//! credentials that expire from it: "TURN REST API", draft-uberti-behave-turn-rest-00, which coturn
//! calls `use-auth-secret`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use mcu_api::secret::Redacted;
use sha1::Sha1;

/// Seconds for which a page may ask a relay for a new allocation. What it has by then goes on: coturn
/// looks at the time at the first request only, and a page that connects anew gets new credentials.
const VALIDITY_S: u64 = 3_600;

/// Relays that know the same secret.
#[derive(Clone, Debug)]
pub struct Relays {
    /// `turn:` and `turns:` URLs (RFC 7065).
    pub urls: Vec<String>,
    /// Shared with the relays, never with a page.
    pub secret: Redacted<String>,
}

impl Relays {
    /// A name and its password, made at `unix_s` (seconds since 1970). `nonce` tells the visits apart.
    pub fn credentials(&self, unix_s: u64, nonce: &str) -> (String, Redacted<String>) {
        let username = format!("{}:{nonce}", unix_s + VALIDITY_S);
        // Keys of any length are taken (RFC 2104 §3).
        let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(self.secret.0.as_bytes()) else {
            return (username, Redacted(String::new()));
        };
        mac.update(username.as_bytes());
        let password = STANDARD.encode(mac.finalize().into_bytes());
        (username, Redacted(password))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value is that of Python's `hmac`.
    #[test]
    fn credentials_are_those_that_coturn_computes() {
        let relays = Relays {
            urls: Vec::new(),
            secret: Redacted("north".into()),
        };
        let (name, password) = relays.credentials(1_700_000_000, "00112233aabbccdd");
        assert_eq!(name, "1700003600:00112233aabbccdd");
        assert_eq!(password.0, "rdzTOTr6Zu/RaoJtOEGJ9V1+J1s=");
    }
}
