//! Secrets and signatures, as the Standard Webhooks specification has them (version 1.0.0): HMAC-SHA-256
//! over id, time and text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use mcu_api::secret::Redacted;
use sha2::Sha256;

/// What secrets begin with.
const PREFIX: &str = "whsec_";
/// Bytes of a new one; 24 to 64 are allowed.
const LEN: usize = 32;

/// A new secret, as it is told.
pub(crate) fn new_secret() -> Redacted<String> {
    let bytes: [u8; LEN] = rand::random();
    Redacted(format!("{PREFIX}{}", STANDARD.encode(bytes)))
}

/// The signatures of each of these secrets, as `webhook-signature` has them.
pub(crate) fn signatures(secrets: &[Redacted<String>], id: &str, at_s: i64, text: &str) -> String {
    let signed = secrets.iter().filter_map(|secret| {
        let key = STANDARD.decode(secret.0.strip_prefix(PREFIX)?).ok()?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
        mac.update(format!("{id}.{at_s}.{text}").as_bytes());
        Some(format!(
            "v1,{}",
            STANDARD.encode(mac.finalize().into_bytes())
        ))
    });
    signed.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's libraries.
    #[test]
    fn a_signature_is_the_one_of_the_specification() {
        let secret = Redacted("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let signed = |secrets: &[Redacted<String>]| {
            signatures(
                secrets,
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                "{\"test\": 2432232314}",
            )
        };
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signed(std::slice::from_ref(&secret)), expected);
        let both = signed(&[new_secret(), secret]);
        assert_eq!(both.split(' ').nth(1), Some(expected));
        assert_eq!(new_secret().0.len(), 6 + 44);
    }
}
