//! Which program the processes are: the supervisor's own, or one that was put in its place since.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

/// The program that runs, whatever has become of its file.
const OWN: &str = "/proc/self/exe";

/// Most time for a program to say its version or to read a configuration.
const CHECK_WAIT: Duration = Duration::from_secs(10);

/// Most of what it says that is listened to.
const MAX_SAID: u64 = 4096;

/// A program that does not do.
#[derive(Debug, thiserror::Error)]
#[error("`{words}`: {how}")]
pub struct Unfit {
    words: String,
    how: String,
}

/// A program, held open: whatever is put in the place of its file, this one is started.
#[derive(Debug, Default)]
pub struct Program {
    /// None: the supervisor's own.
    file: Option<File>,
}

impl Program {
    /// The one that is installed at `path` now.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = Some(File::open(path)?);
        Ok(Self { file })
    }

    /// What starts it, in a child of ours, which has our open files until then.
    pub fn command(&self) -> Command {
        match &self.file {
            Some(file) => Command::new(format!("/proc/self/fd/{}", file.as_raw_fd())),
            None => Command::new(OWN),
        }
    }

    /// Whether it runs here and takes the configuration; yields what it calls itself.
    pub async fn check(&self, config: Option<&Path>) -> Result<String, Unfit> {
        let version = self.ask(&["--version".into()]).await?;
        if let Some(config) = config {
            self.ask(&["check-config".into(), config.into()]).await?;
        }
        Ok(version.trim().to_owned())
    }

    async fn ask(&self, arguments: &[OsString]) -> Result<String, Unfit> {
        let unfit = |how: String| Unfit {
            words: arguments.join(" ".as_ref()).to_string_lossy().into_owned(),
            how,
        };
        let answer = self.answer(arguments);
        match timeout(CHECK_WAIT, answer).await {
            Ok(Ok(Ok(said))) => Ok(said),
            Ok(Ok(Err(how))) => Err(unfit(how)),
            Ok(Err(error)) => Err(unfit(error.to_string())),
            Err(_) => Err(unfit(format!("no end within {CHECK_WAIT:?}"))),
        }
    }

    /// What it said, or how it failed.
    async fn answer(&self, arguments: &[OsString]) -> io::Result<Result<String, String>> {
        let mut child = self
            .command()
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (said, complaint) = (child.stdout.take(), child.stderr.take());
        let (said, complaint) = tokio::join!(read(said), read(complaint));
        let status = child.wait().await?;
        Ok(match status.success() {
            true => Ok(said),
            false => Err(format!("{status} {}", complaint.trim()).trim().to_owned()),
        })
    }
}

async fn read(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // What came before an error is as good.
        let _ = stream.take(MAX_SAID).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Where the program is installed that runs: by the name that it was started by, which may be a link
/// that will lead to another version.
pub fn installed() -> PathBuf {
    let exact = fs::read_link(OWN).unwrap_or_default();
    let name = std::env::args_os().next().unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = match Path::new(&name).parent() {
        // Without a folder it was looked for.
        Some(folder) if folder == Path::new("") => std::env::split_paths(&path).collect(),
        _ => vec![PathBuf::new()],
    };
    let candidates = folders.into_iter().map(|folder| folder.join(&name));
    let mut same = candidates.filter(|path| is_same_file(path, Path::new(OWN)));
    let found = same.next().and_then(|path| std::path::absolute(path).ok());
    found.unwrap_or(exact)
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| {
        let of = fs::metadata(path).ok()?;
        Some((of.dev(), of.ino()))
    };
    id(one).is_some_and(|id_of_one| Some(id_of_one) == id(other))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A copy of a program of this machine, as one that is put in place.
    fn install(program: &str, dir: &tempfile::TempDir) -> Program {
        let path = dir.path().join("consilium");
        fs::copy(program, &path).unwrap();
        Program::open(&path).unwrap()
    }

    #[tokio::test]
    async fn a_program_is_fit_that_says_its_version_and_takes_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let program = install("/bin/echo", &dir);
        // It is started though its file is gone.
        fs::remove_file(dir.path().join("consilium")).unwrap();
        let version = program.check(Some(Path::new("/etc/c.toml"))).await.unwrap();
        assert!(version.contains("echo"), "{version}");
    }

    #[tokio::test]
    async fn one_that_fails_or_is_no_program_is_unfit_and_it_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let unfit = install("/bin/false", &dir).check(None).await;
        // GNU's `false` knows the option, and fails all the same.
        let said = unfit.unwrap_err().to_string();
        assert_eq!(said, "`--version`: exit status: 1");
        let file = dir.path().join("text");
        fs::write(&file, "no program").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let said = Program::open(&file).unwrap().check(None).await;
        let said = said.unwrap_err().to_string();
        assert!(said.starts_with("`--version`: Exec format error"), "{said}");
    }

    #[test]
    fn what_runs_is_found_where_it_is_installed() {
        let found = installed();
        assert!(found.is_absolute());
        assert!(is_same_file(&found, Path::new(OWN)), "{found:?}");
    }
}
