//! `consilium upgrade`: the processes are restarted one after the other as the program that is installed
//! now, with calls up. The supervisor itself stays what it is until the whole server is restarted.

use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use super::keeper::Ready;
use super::program::{Program, Unfit};

/// In this order: the page goes first, and media last, whose pause is the only one that is heard.
pub const ORDER: [&str; 3] = ["manager", "control", "media"];

/// Most time for a process to end and for its successor to be ready.
const READY_WAIT: Duration = Duration::from_secs(15);

/// Most time for a line to be read by who asked; then nobody is told.
const SAY_WAIT: Duration = Duration::from_secs(1);

/// Longer than any step takes, and than another upgrade that is under way.
const PATIENCE: Duration = Duration::from_secs(180);

/// Pause after a connection that could not be accepted.
const RETRY: Duration = Duration::from_millis(100);

/// What the last line says or begins with.
const DONE: &str = "done";
const FAILED: &str = "failed: ";

/// Why not all processes are what is installed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(
        "the server is not ready (GET /health says why), nothing was stopped; restart it whole instead"
    )]
    NotReady,
    #[error("{path}: {source}, nothing was stopped")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path}: {reason}, nothing was stopped")]
    Unfit { path: PathBuf, reason: Unfit },
    #[error("the new {name} {how}; all processes are what they were")]
    Fell { name: &'static str, how: String },
}

/// One process, as it is upgraded.
pub struct Process {
    /// Its name.
    pub name: &'static str,
    /// What it is to be.
    pub program: watch::Sender<Arc<Program>>,
    /// How it came to an end by itself, or could not be started, last.
    pub fell: watch::Sender<Option<String>>,
}

/// Restarts processes.
pub struct Upgrader {
    /// All of them, in the order of their restart.
    pub processes: Vec<Process>,
    /// What the manager says.
    pub ready: watch::Receiver<Ready>,
    /// Where the program is installed.
    pub installed: PathBuf,
    /// Configuration file, if there is one.
    pub config: Option<PathBuf>,
    /// What all processes are.
    pub current: Arc<Program>,
}

impl Upgrader {
    /// Serves who asks for it, one after the other.
    pub async fn serve(mut self, listener: UnixListener) -> Infallible {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.answer(Asker(Some(stream))).await,
                Err(error) => {
                    warn!(%error, "a request cannot be accepted");
                    sleep(RETRY).await;
                }
            }
        }
    }

    async fn answer(&mut self, mut asker: Asker) {
        match self.upgrade(&mut asker).await {
            Ok(()) => {
                info!("all processes are restarted");
                asker.say(DONE).await;
            }
            Err(failure) => {
                error!("not upgraded: {failure}");
                asker.say(&format!("{FAILED}{failure}")).await;
            }
        }
    }

    async fn upgrade(&mut self, asker: &mut Asker) -> Result<(), Failure> {
        if !self.ready.borrow().now {
            return Err(Failure::NotReady);
        }
        let path = || self.installed.clone();
        let unreadable = |source| Failure::Unreadable {
            path: path(),
            source,
        };
        let new = Arc::new(Program::open(&self.installed).map_err(unreadable)?);
        let checked = new.check(self.config.as_deref()).await;
        let version = checked.map_err(|reason| Failure::Unfit {
            path: path(),
            reason,
        })?;
        info!(program = %self.installed.display(), version, "upgrading");
        asker.say(&format!("{version} will do")).await;
        for place in 0..self.processes.len() {
            let (name, start) = (self.processes[place].name, Instant::now());
            if let Err(how) = self.replace(place, &new).await {
                error!(process = name, how, "the former version comes back");
                self.put_back(place).await;
                return Err(Failure::Fell { name, how });
            }
            let took = start.elapsed().as_secs_f64();
            asker
                .say(&format!("{name} restarted, all ready after {took:.1} s"))
                .await;
        }
        self.current = new;
        Ok(())
    }

    /// Restarts a process as this program, and returns when the server is ready again.
    async fn replace(&mut self, place: usize, program: &Arc<Program>) -> Result<(), String> {
        let process = &self.processes[place];
        let before = self.ready.borrow_and_update().times;
        process.fell.send_replace(None);
        let mut fell = process.fell.subscribe();
        process.program.send_replace(program.clone());
        let again = self
            .ready
            .wait_for(|ready| ready.now && ready.times > before);
        tokio::select! {
            fell = fell.wait_for(Option::is_some) => {
                Err(fell.ok().and_then(|how| how.clone()).unwrap_or_default())
            }
            again = timeout(READY_WAIT, again) => match again {
                Ok(_) => Ok(()),
                Err(_) => Err(format!("is not ready after {READY_WAIT:?}")),
            },
        }
    }

    /// Restarts this process and those before it as what they were.
    async fn put_back(&mut self, last: usize) {
        let current = self.current.clone();
        for place in (0..=last).rev() {
            if let Err(how) = self.replace(place, &current).await {
                let process = self.processes[place].name;
                error!(process, how, "the former version does not do either");
            }
        }
    }
}

/// Whoever asked, while they listen.
struct Asker(Option<UnixStream>);

impl Asker {
    async fn say(&mut self, line: &str) {
        let Some(stream) = &mut self.0 else { return };
        let line = format!("{}\n", line.replace('\n', " "));
        let written = timeout(SAY_WAIT, stream.write_all(line.as_bytes())).await;
        if !matches!(written, Ok(Ok(()))) {
            self.0 = None;
        }
    }
}

/// Listens for who asks. The folder is the server's own by now.
pub fn listen(socket: &Path) -> anyhow::Result<UnixListener> {
    let _ = fs::remove_file(socket);
    let listener =
        UnixListener::bind(socket).with_context(|| format!("listen on {}", socket.display()))?;
    fs::set_permissions(socket, Permissions::from_mode(0o600))
        .with_context(|| format!("close {} to others", socket.display()))?;
    Ok(listener)
}

/// Asks the supervisor of a running server, and prints what it says.
///
/// # Errors
/// When there is none, and when not all processes were restarted.
pub fn ask(socket: &Path) -> anyhow::Result<()> {
    let unreachable = || format!("no server answers at {}", socket.display());
    let stream = std::os::unix::net::UnixStream::connect(socket).with_context(unreachable)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    for line in BufReader::new(stream).lines() {
        let line = line.context("wait for the server")?;
        if line == DONE {
            return Ok(());
        }
        if let Some(failure) = line.strip_prefix(FAILED) {
            bail!("not upgraded: {failure}");
        }
        println!("{line}");
    }
    bail!("the server stopped")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upgrader(installed: &Path) -> (Upgrader, watch::Sender<Ready>) {
        let (ready, seen) = watch::channel(Ready::default());
        let current = Arc::new(Program::default());
        let process = |name| Process {
            name,
            program: watch::channel(current.clone()).0,
            fell: watch::channel(None).0,
        };
        let upgrader = Upgrader {
            processes: ORDER.map(process).into(),
            ready: seen,
            installed: installed.into(),
            config: None,
            current: current.clone(),
        };
        (upgrader, ready)
    }

    fn is_now(ready: &watch::Sender<Ready>) {
        ready.send_modify(|ready| {
            ready.now = true;
            ready.times += 1;
        });
    }

    #[tokio::test]
    async fn each_process_waits_until_the_one_before_is_ready() {
        let (mut upgrader, ready) = upgrader(Path::new("/bin/true"));
        is_now(&ready);
        let mut programs: Vec<_> = upgrader
            .processes
            .iter()
            .map(|process| process.program.subscribe())
            .collect();
        let play = async {
            for place in 0..programs.len() {
                programs[place].changed().await.unwrap();
                for later in &programs[place + 1..] {
                    assert!(!later.has_changed().unwrap());
                }
                is_now(&ready);
            }
        };
        let mut asker = Asker(None);
        let (done, ()) = tokio::join!(upgrader.upgrade(&mut asker), play);
        done.unwrap();
    }

    #[tokio::test]
    async fn those_before_the_one_that_falls_are_put_back_too() {
        let (mut upgrader, ready) = upgrader(Path::new("/bin/true"));
        is_now(&ready);
        let old = upgrader.current.clone();
        let mut programs: Vec<_> = upgrader
            .processes
            .iter()
            .map(|process| process.program.subscribe())
            .collect();
        let fell = upgrader.processes[1].fell.clone();
        let play = async {
            let mut order = Vec::new();
            for place in [0, 1, 1, 0] {
                programs[place].changed().await.unwrap();
                let is_old = Arc::ptr_eq(&programs[place].borrow_and_update(), &old);
                order.push((place, is_old));
                if (place, is_old) == (1, false) {
                    fell.send_replace(Some("ended, exit status: 1".into()));
                } else {
                    is_now(&ready);
                }
            }
            order
        };
        let mut asker = Asker(None);
        let (failed, order) = tokio::join!(upgrader.upgrade(&mut asker), play);
        let said = failed.unwrap_err().to_string();
        let words = "the new control ended, exit status: 1; all processes are what they were";
        assert_eq!(said, words);
        assert_eq!(order, [(0, false), (1, false), (1, true), (0, true)]);
        assert!(!programs[2].has_changed().unwrap());
    }

    #[tokio::test]
    async fn nothing_is_stopped_for_a_program_that_is_not_there_or_unfit() {
        for (installed, words) in [
            ("/nonexistent/consilium", "No such file"),
            ("/bin/false", "`--version`: exit status: 1"),
        ] {
            let (mut upgrader, ready) = upgrader(Path::new(installed));
            let failed = upgrader.upgrade(&mut Asker(None)).await;
            assert!(matches!(failed, Err(Failure::NotReady)));
            is_now(&ready);
            let said = upgrader.upgrade(&mut Asker(None)).await.unwrap_err();
            let said = said.to_string();
            assert!(said.contains(words), "{said}");
            assert!(said.ends_with("nothing was stopped"), "{said}");
            let programs = upgrader.processes.iter().map(|p| p.program.subscribe());
            for program in programs {
                assert!(Arc::ptr_eq(&program.borrow(), &upgrader.current));
            }
        }
    }
}
