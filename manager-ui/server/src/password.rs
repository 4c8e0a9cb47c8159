//! Passwords: what is accepted, and how they are kept (argon2id, RFC 9106, as a PHC string).

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use mcu_api::secret::Redacted;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Shortest password, in characters (NIST SP 800-63B-4 §3.1.1.2 asks for 15 where it is the only
/// factor, and for 8 at least).
pub(crate) const MIN_CHARS: usize = 12;
/// Longest, in bytes: more is not hashed.
pub(crate) const MAX_BYTES: usize = 256;

/// Hashes at a time. Each takes 19 MiB and a core for some 20 ms; who comes beyond waits.
static PLACES: Semaphore = Semaphore::const_new(2);

/// Beginnings and wholes that are tried first by whoever guesses.
const COMMON: &[&str] = &[
    "password",
    "passw0rd",
    "admin",
    "administrator",
    "consilium",
    "hospital",
    "letmein",
    "welcome",
    "qwerty",
    "qwertyuiop",
    "iloveyou",
    "123456",
    "1234567890",
    "12345678901234567890",
    "abcdef",
    "abc123",
    "1qaz2wsx",
    "woaini",
    "5201314",
];

/// Why a password is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weak {
    /// Fewer than [`MIN_CHARS`] characters.
    Short,
    /// More than [`MAX_BYTES`] bytes.
    Long,
    /// Easily guessed: a common word with digits, the person's own name, one character repeated.
    Guessable,
}

impl Weak {
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Short => "The password is too short: 12 characters at least",
            Self::Long => "The password is too long: 256 bytes at most",
            Self::Guessable => "The password is easily guessed",
        }
    }
}

/// Whether a password is accepted for somebody of this login.
pub(crate) fn check(password: &str, login: &str) -> Result<(), Weak> {
    if password.chars().count() < MIN_CHARS {
        return Err(Weak::Short);
    }
    if password.len() > MAX_BYTES {
        return Err(Weak::Long);
    }
    let plain = password.to_lowercase();
    let letters = plain.trim_matches(|c: char| !c.is_alphabetic());
    let first = plain.chars().next();
    let is_one = plain.chars().all(|c| Some(c) == first);
    let login = login.to_lowercase();
    let is_known = COMMON.iter().any(|word| plain == *word || letters == *word);
    let repeats = |word: &str| !word.is_empty() && plain.replace(word, "").is_empty();
    let is_login = plain.trim_end_matches(|c: char| !c.is_alphabetic()) == login || repeats(&login);
    match is_one || is_known || is_login || COMMON.iter().any(|word| repeats(word)) {
        true => Err(Weak::Guessable),
        false => Ok(()),
    }
}

/// A PHC string with a salt of its own.
///
/// # Panics
/// Never: the parameters are those that the library comes with.
pub(crate) async fn hash(password: Redacted<String>) -> String {
    let _place = PLACES.acquire().await;
    let hashed = spawn_blocking(move || {
        let hash = Argon2::default().hash_password(password.0.as_bytes());
        hash.map(|hash| hash.to_string())
    });
    hashed
        .await
        .ok()
        .and_then(Result::ok)
        .expect("the library's own parameters hash any password")
}

/// Whether a password is the one of this PHC string. It takes as long when there is none.
pub(crate) async fn verify(password: Redacted<String>, kept: Option<String>) -> bool {
    let _place = PLACES.acquire().await;
    let verified = spawn_blocking(move || {
        let known = kept.is_some();
        let kept = kept.unwrap_or_else(|| NOBODYS.to_owned());
        let Ok(hash) = PasswordHash::new(&kept) else {
            return false;
        };
        let password = password.0.as_bytes();
        password.len() <= MAX_BYTES
            && Argon2::default().verify_password(password, &hash).is_ok()
            && known
    });
    verified.await.unwrap_or(false)
}

/// What nobody's password is compared with.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_long_and_guessable_passwords_are_refused() {
        for (password, verdict) in [
            ("elf Zeichen", Err(Weak::Short)),
            ("password1234", Err(Weak::Guessable)),
            ("111111111111", Err(Weak::Guessable)),
            ("lichunlichun", Err(Weak::Guessable)),
            ("LiChun202611", Err(Weak::Guessable)),
            ("123456123456", Err(Weak::Guessable)),
            ("seven grey horses", Ok(())),
            ("会诊室里的七匹灰马在等待医生", Ok(())),
        ] {
            assert_eq!(check(password, "lichun"), verdict, "{password}");
        }
        assert_eq!(check(&"aB3".repeat(100), "x"), Err(Weak::Long));
    }

    #[tokio::test]
    async fn a_password_is_known_again_and_only_it() {
        let kept = hash(Redacted("seven grey horses".into())).await;
        assert!(kept.starts_with("$argon2id$"), "{kept}");
        let right = |text: &str| verify(Redacted(text.into()), Some(kept.clone()));
        assert!(right("seven grey horses").await);
        assert!(!right("seven grey horse").await);
        assert!(!verify(Redacted("seven grey horses".into()), None).await);
    }
}
