//! Passwords: what is accepted, and how they are kept (argon2id, RFC 9106, as a PHC string).

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use mcu_api::secret::Redacted;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use zxcvbn::{Score, zxcvbn};

/// Shortest password, in characters (NIST SP 800-63B-4 §3.1.1.2 asks for 15 where it is the only
/// factor, and for 8 at least).
pub(crate) const MIN_CHARS: usize = 12;
/// Longest, in bytes: more is not hashed.
pub(crate) const MAX_BYTES: usize = 256;

/// Hashes at a time. Each takes 19 MiB and a core for some 20 ms; who comes beyond waits.
static PLACES: Semaphore = Semaphore::const_new(2);

/// How much of a password is looked at for what is easily guessed, in characters.
const LOOKED_AT: usize = 72;

/// Why a password is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weak {
    /// Fewer than [`MIN_CHARS`] characters.
    Short,
    /// More than [`MAX_BYTES`] bytes.
    Long,
    /// Guessed in fewer than 10^8 tries: common words, names, dates, keys in a row, the person's own login.
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
    let beginning: String = password.chars().take(LOOKED_AT).collect();
    match zxcvbn(&beginning, &[login, "consilium", "hospital"]).score() >= Score::Three {
        true => Ok(()),
        false => Err(Weak::Guessable),
    }
}

/// A PHC string with a salt of its own.
///
/// # Panics
/// Never: the parameters are those that the library comes with.
pub(crate) async fn hash(password: Redacted<String>) -> String {
    let place = PLACES.acquire().await;
    let hashed = spawn_blocking(move || {
        // Kept until the work is done, also where nobody waits for it any more.
        let _place = place;
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
    let place = PLACES.acquire().await;
    let verified = spawn_blocking(move || {
        let _place = place;
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
            ("123456789012", Err(Weak::Guessable)),
            ("abcdefghijkl", Err(Weak::Guessable)),
            ("1qaz2wsx3edc", Err(Weak::Guessable)),
            ("consilium2026", Err(Weak::Guessable)),
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
