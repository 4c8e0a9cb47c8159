//! Codes of an authenticator (RFC 6238 with HMAC-SHA-1, six digits, 30 s: what every authenticator
//! knows), and recovery codes in its place.

use hmac::{Hmac, Mac};
use mcu_api::secret::Redacted;
use sha1::Sha1;
use subtle::ConstantTimeEq;

/// Length of a time step.
const STEP_MS: i64 = 30_000;
/// Steps that the clock of an authenticator may be off, either way (RFC 6238 §5.2).
const DRIFT: i64 = 1;
/// Bytes of a secret (RFC 4226 §4, R6).
const SECRET_LEN: usize = 20;
/// RFC 4648 §6.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A new secret.
pub(crate) fn new_secret() -> Redacted<Vec<u8>> {
    Redacted(rand::random::<[u8; SECRET_LEN]>().to_vec())
}

/// A secret as people type it.
pub(crate) fn as_text(secret: &[u8]) -> String {
    let bits = secret
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1));
    let bits: Vec<u8> = bits.collect();
    let letters = bits.chunks(5).map(|chunk| {
        let index = chunk.iter().fold(0, |sum, bit| sum << 1 | bit) << (5 - chunk.len());
        char::from(BASE32[usize::from(index)])
    });
    letters.collect()
}

/// A secret as authenticators read it from a picture.
pub(crate) fn as_uri(secret: &[u8], login: &str) -> String {
    let mut label = String::new();
    for byte in login.bytes() {
        match byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            true => label.push(char::from(byte)),
            false => label.push_str(&format!("%{byte:02X}")),
        }
    }
    let secret = as_text(secret);
    format!(
        "otpauth://totp/Consilium:{label}?secret={secret}&issuer=Consilium&algorithm=SHA1&digits=6&period=30"
    )
}

/// The time step that `given` is the code of, among those near `now_ms` and after the step `last`.
pub(crate) fn step_of(secret: &[u8], given: &str, now_ms: i64, last: i64) -> Option<i64> {
    let now = now_ms / STEP_MS;
    let given: String = given.chars().filter(|c| !c.is_whitespace()).collect();
    (now - DRIFT..=now + DRIFT)
        .filter(|step| *step > last)
        .find(|step| bool::from(code(secret, *step).as_bytes().ct_eq(given.as_bytes())))
}

/// RFC 4226 §5.3.
fn code(secret: &[u8], step: i64) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(&step.to_be_bytes());
    let hash = mac.finalize().into_bytes();
    let offset = usize::from(hash[hash.len() - 1] & 0xf);
    let mut four = [0; 4];
    four.copy_from_slice(&hash[offset..offset + 4]);
    let number = u32::from_be_bytes(four) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

/// Recovery codes that a person is given.
const RECOVERY_CODES: usize = 10;

/// New recovery codes of 80 bits: `ABCD-EFGH-IJKL-MNOP`.
pub(crate) fn recovery_codes() -> Vec<Redacted<String>> {
    let code = || {
        let letters = as_text(&rand::random::<[u8; 10]>());
        let parts: Vec<&str> = [0, 4, 8, 12].map(|n| &letters[n..n + 4]).to_vec();
        Redacted(parts.join("-"))
    };
    (0..RECOVERY_CODES).map(|_| code()).collect()
}

/// A recovery code without what people leave out or add, if `given` may be one.
pub(crate) fn recovery_code(given: &str) -> Option<String> {
    let letters: String = given
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '-')
        .map(|c| c.to_ascii_uppercase())
        .collect();
    (letters.len() == 16 && letters.bytes().all(|b| BASE32.contains(&b))).then_some(letters)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// RFC 6238 appendix B, the last six of its eight digits.
    #[test]
    fn codes_are_those_of_the_standard() {
        let secret = b"12345678901234567890";
        for (seconds, expected) in [
            (59_i64, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code(secret, seconds * 1000 / STEP_MS), expected);
            let step = step_of(secret, expected, seconds * 1000, 0);
            assert_eq!(step, Some(seconds / 30));
        }
    }

    #[test]
    fn an_authenticator_of_the_distribution_shows_the_same_codes() {
        let secret = new_secret().0;
        let now = 1_764_200_000_000_i64;
        let output = Command::new("oathtool")
            .args(["--totp", "--base32", &as_text(&secret), "--now"])
            .arg(format!("@{}", now / 1000))
            .output()
            .expect("oathtool is installed");
        let shown = String::from_utf8(output.stdout).unwrap();
        assert_eq!(step_of(&secret, &shown, now, 0), Some(now / STEP_MS));
    }

    #[test]
    fn a_code_counts_near_its_time_and_after_the_last_one() {
        let secret = new_secret().0;
        let now = 1_000 * STEP_MS;
        let at = |step: i64, last: i64| step_of(&secret, &code(&secret, step), now, last);
        assert_eq!(at(999, 0), Some(999));
        assert_eq!(at(1_001, 1_000), Some(1_001));
        assert_eq!(at(1_000, 1_000), None, "the same once more");
        assert_eq!(at(998, 0), None, "late");
        assert_eq!(at(1_002, 0), None, "early");
        for nonsense in ["", "1", "12345678901234567890", "李"] {
            assert_eq!(step_of(&secret, nonsense, now, 0), None);
        }
    }

    #[test]
    fn a_secret_is_written_as_authenticators_read_it() {
        assert_eq!(
            as_text(b"12345678901234567890"),
            "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
        );
        let uri = as_uri(b"12345678901234567890", "li@x&y");
        assert!(
            uri.starts_with("otpauth://totp/Consilium:li%40x%26y?secret=GEZD"),
            "{uri}"
        );
    }

    #[test]
    fn recovery_codes_are_read_as_people_type_them() {
        let codes = recovery_codes();
        assert_eq!(codes.len(), 10);
        let typed = codes[0].0.to_lowercase().replace('-', " ");
        let plain = codes[0].0.replace('-', "");
        assert_eq!(recovery_code(&typed), Some(plain));
        assert_eq!(recovery_code("123456"), None);
        assert_eq!(recovery_code("李李李李李李李李"), None);
    }
}
