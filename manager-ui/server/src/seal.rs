//! Secrets that the server has to read again are sealed in the database with a key that is not in it:
//! AES-256-GCM, and a file of the data folder that only the server's own user reads. Who has a copy of
//! the database alone has none of them.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcu_api::secret::Redacted;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// Name of the file in the data folder.
pub const FILE: &str = "seal.key";

/// Bytes of the key.
const KEY_LEN: usize = 32;

/// The key, read when it is needed first.
#[derive(Clone, Debug)]
pub(crate) struct Seal {
    file: Arc<Path>,
    key: Arc<Mutex<Option<LessSafeKey>>>,
}

/// Why something is not sealed, or not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The key can neither be read nor made.
    #[error("key file {file}")]
    File { file: String, source: io::Error },
    /// The file holds no key.
    #[error("key file {0}: not a key")]
    NoKey(String),
    /// It was sealed with another key, or for something else, or changed.
    #[error("what is sealed does not open with the key of the data folder")]
    Other,
}

impl Seal {
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self {
            file: data_dir.join(FILE).into(),
            key: Arc::default(),
        }
    }

    /// Seals `plain` for `purpose`, without which it does not open. The key is made where there is
    /// none.
    pub(crate) fn seal(&self, purpose: &str, plain: &[u8]) -> Result<String, Error> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = plain.to_vec();
        self.key(true)?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(purpose),
                &mut sealed,
            )
            .map_err(|_| Error::Other)?;
        Ok(URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    /// Opens what was sealed for `purpose`.
    pub(crate) fn open(&self, purpose: &str, sealed: &str) -> Result<Redacted<Vec<u8>>, Error> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| Error::Other)?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN).ok_or(Error::Other)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Error::Other)?;
        let mut sealed = sealed.to_vec();
        let key = self.key(false)?;
        let plain = key.open_in_place(nonce, Aad::from(purpose), &mut sealed);
        Ok(Redacted(plain.map_err(|_| Error::Other)?.to_vec()))
    }

    /// A lock, so that two that come first do not make two keys.
    fn key(&self, make: bool) -> Result<LessSafeKey, Error> {
        let mut known = self.key.lock().unwrap_or_else(|p| p.into_inner());
        if let Some(key) = &*known {
            return Ok(key.clone());
        }
        let failed = |source| Error::File {
            file: self.file.display().to_string(),
            source,
        };
        let bytes = match fs::read(&self.file) {
            Err(error) if error.kind() == ErrorKind::NotFound && make => {
                self.make().map_err(failed)?
            }
            read => read.map_err(failed)?,
        };
        let key = UnboundKey::new(&AES_256_GCM, &bytes);
        let key = key.map_err(|_| Error::NoKey(self.file.display().to_string()))?;
        Ok(known.insert(LessSafeKey::new(key)).clone())
    }

    /// It is on the disk before anything is sealed with it.
    fn make(&self) -> io::Result<Vec<u8>> {
        let bytes: [u8; KEY_LEN] = rand::random();
        let fresh = self.file.with_extension("new");
        // One that is left from an earlier run may be open to others.
        let _ = fs::remove_file(&fresh);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, &self.file)?;
        if let Some(dir) = self.file.parent() {
            fs::File::open(dir)?.sync_all()?;
        }
        Ok(bytes.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_sealed_opens_in_the_next_life_and_for_its_purpose_alone() {
        let dir = tempfile::tempdir().unwrap();
        let sealed = Seal::new(dir.path()).seal("a", b"secret").unwrap();
        assert!(!sealed.contains("secret"));
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let next = Seal::new(dir.path());
        assert_eq!(next.open("a", &sealed).unwrap().0, b"secret");
        assert!(matches!(next.open("b", &sealed), Err(Error::Other)));
        assert_ne!(next.seal("a", b"secret").unwrap(), sealed);
        for changed in ["", "AAAA", &format!("A{}", &sealed[1..]), &sealed[1..]] {
            if changed != sealed {
                assert!(next.open("a", changed).is_err(), "{changed}");
            }
        }
    }

    #[test]
    fn without_its_key_nothing_opens_and_no_other_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let sealed = Seal::new(dir.path()).seal("a", b"secret").unwrap();
        fs::remove_file(dir.path().join(FILE)).unwrap();
        let error = Seal::new(dir.path()).open("a", &sealed).unwrap_err();
        assert!(error.to_string().contains(FILE), "{error}");
        assert!(!dir.path().join(FILE).exists());
        fs::write(dir.path().join(FILE), "short").unwrap();
        let error = Seal::new(dir.path()).seal("a", b"secret").unwrap_err();
        assert!(matches!(error, Error::NoKey(_)), "{error}");
    }
}
