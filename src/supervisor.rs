//! `consilium serve`: starts the processes, restarts what dies, holds no state.

mod announce;
mod keeper;
mod program;
pub mod upgrade;

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config::Settings;
use announce::announce;
use keeper::{Keeper, Phase, Ready};
use program::Program;
use upgrade::{Process, Upgrader};

/// Processes in the order of their start: each finds its peers by their sockets, in any order.
///
/// The controller ends first. SIGINT tells it that the whole server stops, so that it hangs up all
/// calls and takes leave of all browsers, which needs the manager. SIGINT tells the media process, too,
/// to say goodbye to whoever is left.
const PROCESSES: [(&str, Signal, Phase); 3] = [
    ("media", Signal::SIGINT, Phase::End),
    ("control", Signal::SIGINT, Phase::HangUp),
    ("manager", Signal::SIGTERM, Phase::End),
];

/// What the manager writes to its standard output before its address once calls can be taken.
const READY: &str = "ready ";
/// And when they cannot be taken any more.
const AWAY: &str = "away";

/// Most time for all calls to be hung up: longer than a process has that does not listen.
const HANG_UP: Duration = Duration::from_secs(6);

/// Runs all processes until told to stop.
///
/// # Errors
/// When another server uses the data folder, and when a task of ours fails, which is a bug.
pub async fn serve(settings: &Settings, config: Option<PathBuf>) -> anyhow::Result<()> {
    let _lock = lock(settings)?;
    let installed = program::installed();
    let requests = upgrade::listen(&settings.supervisor_socket())?;
    let mut stop = StopSignals::new()?;
    let (phase, phases) = watch::channel(Phase::Run);
    let (ready, opened) = watch::channel(Ready::default());
    let current = Arc::new(Program::default());
    let mut keepers = JoinSet::new();
    let mut processes = Vec::new();
    for (name, end_by, ends_in) in PROCESSES {
        let process = Process {
            name,
            program: watch::channel(current.clone()).0,
            fell: watch::channel(None).0,
        };
        let keeper = Keeper {
            name,
            end_by,
            ends_in,
            ready: (name == "manager").then(|| ready.clone()),
            program: process.program.subscribe(),
            fell: process.fell.clone(),
        };
        keepers.spawn(keeper.run(phases.clone()));
        processes.push(process);
    }
    processes.sort_by_key(|process| upgrade::ORDER.iter().position(|name| *name == process.name));
    let upgrader = Upgrader {
        processes,
        ready: opened.clone(),
        installed,
        config,
        current,
    };
    let told = async {
        tokio::select! {
            () = stop.recv() => {}
            never = announce(settings, opened) => match never {},
            never = upgrader.serve(requests) => match never {},
        }
    };
    let result = watch_over(&mut keepers, told).await;
    phase.send_replace(Phase::HangUp);
    let _ = timeout(HANG_UP, keepers.join_next()).await;
    phase.send_replace(Phase::End);
    while keepers.join_next().await.is_some() {}
    result
}

/// Returns when told to stop, or with an error when a keeper ends though nobody told it.
async fn watch_over(
    keepers: &mut JoinSet<()>,
    told: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let lost = tokio::select! {
        () = told => return Ok(()),
        lost = keepers.join_next() => lost,
    };
    let ended = lost.context("nothing is watched")?;
    ended.context("a process is watched no more")?;
    bail!("a process is watched no more")
}

/// A data folder is one server's: another would take the sockets away from it.
pub fn lock(settings: &Settings) -> anyhow::Result<Flock<File>> {
    let path = settings.run_dir().join("serve.lock");
    let file = File::create(&path).with_context(|| format!("open {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, nix::Error::EWOULDBLOCK)) => bail!(
            "another server runs with the data folder {}",
            settings.data_dir.display()
        ),
        Err((_, error)) => Err(error).with_context(|| format!("lock {}", path.display())),
    }
}

/// Says to the supervisor, or to whoever started the manager alone, whether calls can be taken.
pub fn say_ready(address: SocketAddr, ready: bool) {
    let mut out = std::io::stdout();
    // Nobody may be listening.
    let _ = match ready {
        true => writeln!(out, "{READY}{address}"),
        false => writeln!(out, "{AWAY}"),
    };
}

/// SIGTERM and SIGINT.
pub struct StopSignals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignals {
    /// Listens from now on.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
        })
    }

    /// Returns when the process is told to stop.
    pub async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// The two apart.
    pub fn split(self) -> (tokio::signal::unix::Signal, tokio::signal::unix::Signal) {
        (self.terminate, self.interrupt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Defect: a keeper that ended was noticed at the server's end only.
    #[tokio::test]
    async fn a_keeper_that_ends_unasked_ends_the_server_with_an_error() {
        let mut keepers = JoinSet::new();
        keepers.spawn(std::future::pending());
        keepers.spawn(async {});
        let error = watch_over(&mut keepers, std::future::pending()).await;
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "a process is watched no more");
        watch_over(&mut keepers, async {}).await.unwrap();
    }
}
