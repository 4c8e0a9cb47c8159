//! Signed checkpoints: every minute in which something was written, the number and the hash of the
//! last entry are signed and appended to a file beside the database. Whoever changes the database and
//! computes the chain anew cannot sign; a record that was cut ends before its last checkpoint. Lines of
//! the file may be kept elsewhere, too, where this machine cannot reach them.
//!
//! A line is `SEQ AT_MS HASH SIGNATURE`: Ed25519 (RFC 8032) in base64 over the three words before it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use tokio::time::sleep;
use tracing::{error, info};

use crate::store::{self, Store, now_ms};

/// How often what was written is signed.
const INTERVAL: Duration = Duration::from_secs(60);

const KEY: &str = "key.pem";
const PUBLIC_KEY: &str = "public.pem";
const LINES: &str = "checkpoints";
/// Longer than any line, in bytes.
const MAX_LINE: u64 = 1024;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub seq: i64,
    pub at_ms: i64,
    pub hash: String,
}

impl Checkpoint {
    fn text(&self) -> String {
        format!("{} {} {}", self.seq, self.at_ms, self.hash)
    }
}

/// Signs what was written, again and again, in this folder. Never ends: what cannot be signed now is
/// signed later.
pub(crate) async fn keep(dir: &Path, store: &Store) {
    let mut signer = None;
    loop {
        match step(&mut signer, dir, store).await {
            Ok(()) | Err(SignError::Database(store::Error::Away)) => {}
            Err(error) => error!(error = store::chain(&error), "the record cannot be signed"),
        }
        sleep(INTERVAL).await;
    }
}

async fn step(signer: &mut Option<Signer>, dir: &Path, store: &Store) -> Result<(), SignError> {
    let signer = match signer {
        Some(signer) => signer,
        None => signer.insert(Signer::open(dir)?),
    };
    signer.sign(store).await
}

/// Signs and appends.
pub(crate) struct Signer {
    dir: PathBuf,
    key: SigningKey,
    last: i64,
}

impl Signer {
    /// Reads the key in this folder, or makes one.
    ///
    /// # Errors
    /// When the folder cannot be made, or a key is there that cannot be read.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let invalid =
            |error: &dyn ToString| io::Error::new(ErrorKind::InvalidData, error.to_string());
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
        let key = match fs::read_to_string(dir.join(KEY)) {
            Ok(text) => SigningKey::from_pkcs8_pem(&text).map_err(|error| invalid(&error))?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let key = SigningKey::from_bytes(&rand::random());
                let pem = key.to_pkcs8_pem(LineEnding::LF);
                let pem = pem.map_err(|error| invalid(&error))?;
                write_new(&dir.join(KEY), 0o600, &pem)?;
                info!(dir = %dir.display(), "made a key that signs the record of what was done");
                key
            }
            Err(error) => return Err(error),
        };
        let public = key.verifying_key().to_public_key_pem(LineEnding::LF);
        let public = public.map_err(|error| invalid(&error))?;
        fs::write(dir.join(PUBLIC_KEY), public)?;
        cut_torn_line(&dir.join(LINES))?;
        let last = read(dir)?.last().map_or(0, |checkpoint| checkpoint.seq);
        Ok(Self {
            dir: dir.to_owned(),
            key,
            last,
        })
    }

    /// Signs the last entry, unless it is signed already.
    ///
    /// # Errors
    /// Those of the database and of the file.
    pub(crate) async fn sign(&mut self, store: &Store) -> Result<(), SignError> {
        let head = sqlx::query("SELECT seq, hash FROM audit_head WHERE one = 1")
            .fetch_one(store.pool()?)
            .await
            .map_err(store::Error::from)?;
        let checkpoint = Checkpoint {
            seq: head.try_get("seq").map_err(store::Error::from)?,
            at_ms: now_ms(),
            hash: head.try_get("hash").map_err(store::Error::from)?,
        };
        if checkpoint.seq <= self.last {
            return Ok(());
        }
        let text = checkpoint.text();
        let signature = STANDARD.encode(self.key.sign(text.as_bytes()).to_bytes());
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(self.dir.join(LINES))?;
        let line = format!("{text} {signature}\n");
        if let Err(error) = file
            .write_all(line.as_bytes())
            .and_then(|()| file.sync_data())
        {
            // The next line must not be written behind half of this one.
            cut_torn_line(&self.dir.join(LINES))?;
            return Err(error.into());
        }
        self.last = checkpoint.seq;
        Ok(())
    }
}

/// A place in the file of checkpoints: behind a line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    offset: u64,
    /// The line itself, by which it shows that the file is another one.
    line: String,
}

impl Mark {
    /// The entry that was signed there; 0 before any.
    pub(crate) fn seq(&self) -> i64 {
        read_line(&self.line).map_or(0, |checkpoint| checkpoint.seq)
    }

    /// The place behind the next line.
    pub(crate) fn over(&self, line: &Line) -> Self {
        Self {
            offset: self.offset + line.text.len() as u64 + 1,
            line: line.text.clone(),
        }
    }
}

/// A line of the file of checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    text: String,
    checkpoint: Checkpoint,
}

impl Line {
    /// As it stands there.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The entry that is signed.
    pub(crate) fn seq(&self) -> i64 {
        self.checkpoint.seq
    }

    /// When.
    pub(crate) fn at_ms(&self) -> i64 {
        self.checkpoint.at_ms
    }
}

/// The line behind a mark, if there is one. The mark is the beginning where the file is another one than
/// when it was made.
///
/// # Errors
/// A file that cannot be read, or holds something else.
pub(crate) fn behind(dir: &Path, mark: &Mark) -> io::Result<(Mark, Option<Line>)> {
    let mut file = match File::open(dir.join(LINES)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((Mark::default(), None)),
        Err(error) => return Err(error),
    };
    let mark = match is_there(&mut file, mark)? {
        true => mark.clone(),
        false => Mark::default(),
    };
    file.seek(SeekFrom::Start(mark.offset))?;
    let mut bytes = Vec::new();
    file.take(MAX_LINE).read_to_end(&mut bytes)?;
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        // It is being written.
        return Ok((mark, None));
    };
    let invalid = || io::Error::new(ErrorKind::InvalidData, "a line is no checkpoint");
    let text = bytes.get(..end).unwrap_or_default().to_vec();
    let text = String::from_utf8(text).map_err(|_| invalid())?;
    let checkpoint = read_line(&text).ok_or_else(invalid)?;
    Ok((mark, Some(Line { text, checkpoint })))
}

/// Whether the file has the mark's line before its place.
fn is_there(file: &mut File, mark: &Mark) -> io::Result<bool> {
    let expected = format!("{}\n", mark.line).into_bytes();
    let begin = mark.offset.checked_sub(expected.len() as u64);
    let Some(begin) = begin.filter(|begin| begin + MAX_LINE >= mark.offset) else {
        return Ok(mark.offset == 0);
    };
    file.seek(SeekFrom::Start(begin))?;
    let mut found = Vec::new();
    Read::take(file, expected.len() as u64).read_to_end(&mut found)?;
    Ok(found == expected)
}

/// The last line in this folder, whoever signed it; none where there is none.
pub(crate) fn last(dir: &Path) -> Option<Checkpoint> {
    let mut file = File::open(dir.join(LINES)).ok()?;
    let len = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(MAX_LINE)))
        .ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_LINE).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let whole = text.rsplit_once('\n')?.0;
    read_line(whole.lines().last()?)
}

/// Takes away the beginning of a line that a loss of power or a full disk left.
fn cut_torn_line(path: &Path) -> io::Result<()> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let whole = bytes.iter().rposition(|byte| *byte == b'\n');
    let whole = whole.map_or(0, |end| end + 1);
    match whole == bytes.len() {
        true => Ok(()),
        false => OpenOptions::new()
            .write(true)
            .open(path)?
            .set_len(whole as u64),
    }
}

/// Begins a series anew, when the database is one of an earlier time: the lines up to now are kept under
/// another name.
///
/// # Errors
/// Those of the files.
pub(crate) fn begin_anew(dir: &Path) -> io::Result<()> {
    let old = dir.join(format!("{LINES}-until-{}", now_ms()));
    match fs::rename(dir.join(LINES), old) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    #[error(transparent)]
    Database(#[from] store::Error),
    #[error("file of checkpoints")]
    File(#[from] io::Error),
}

/// The checkpoints in this folder whose signature is right.
///
/// # Errors
/// A file that cannot be read, and a line that was not signed with this key.
pub(crate) fn read(dir: &Path) -> io::Result<Vec<Checkpoint>> {
    let text = match fs::read_to_string(dir.join(LINES)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let invalid = |text: String| io::Error::new(ErrorKind::InvalidData, text);
    let key = fs::read_to_string(dir.join(PUBLIC_KEY))?;
    let key = VerifyingKey::from_public_key_pem(&key).map_err(|e| invalid(e.to_string()))?;
    // A machine that lost power may leave the beginning of a line, which was never told.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .enumerate()
        .map(|(n, line)| {
            parse(line, &key).ok_or_else(|| invalid(format!("checkpoint {} is not signed", n + 1)))
        })
        .collect()
}

fn parse(line: &str, key: &VerifyingKey) -> Option<Checkpoint> {
    let (text, signature) = line.rsplit_once(' ')?;
    let bytes = STANDARD.decode(signature).ok()?;
    let signature = Signature::from_slice(&bytes).ok()?;
    key.verify_strict(text.as_bytes(), &signature).ok()?;
    read_line(text)
}

fn read_line(text: &str) -> Option<Checkpoint> {
    let mut words = text.split(' ');
    Some(Checkpoint {
        seq: words.next()?.parse().ok()?,
        at_ms: words.next()?.parse().ok()?,
        hash: words.next()?.to_owned(),
    })
}

fn write_new(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
