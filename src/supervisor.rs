//! `consilium serve`: starts the processes, restarts what dies, holds no state.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{error, info};

use crate::config::Settings;

/// Processes in the order of their start: each finds its peers by their sockets, in any order.
const PROCESSES: [&str; 3] = ["media", "control", "manager"];

/// A process that lived at least this long is restarted at once.
const STEADY: Duration = Duration::from_secs(10);

/// First pause before restarting a process that died young; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Time to end after SIGTERM before SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// Runs all processes until told to stop.
pub async fn serve(settings: &Settings) -> anyhow::Result<()> {
    let mut stop = StopSignals::new()?;
    let (stopping, stopped) = tokio::sync::watch::channel(false);
    let mut keepers = JoinSet::new();
    for name in PROCESSES {
        keepers.spawn(keep_running(name, stopped.clone()));
    }
    tokio::select! {
        () = announce(settings) => stop.recv().await,
        () = stop.recv() => {}
    }
    stopping.send_replace(true);
    while let Some(kept) = keepers.join_next().await {
        kept.context("supervisor task")??;
    }
    Ok(())
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
}

async fn keep_running(
    name: &'static str,
    mut stopped: tokio::sync::watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut pause = Duration::ZERO;
    while !*stopped.borrow_and_update() {
        let started = Instant::now();
        let mut child = start(name)?;
        let status = tokio::select! {
            status = child.wait() => status.context("wait for a process")?,
            _ = stopped.changed() => return end(name, &mut child).await,
        };
        pause = next_pause(pause, started.elapsed());
        report(name, status, pause);
        tokio::select! {
            () = sleep(pause) => {}
            _ = stopped.changed() => {}
        }
    }
    Ok(())
}

/// A steady process comes back at once, and so does one that dies young for the first time.
fn next_pause(last: Duration, lived: Duration) -> Duration {
    if lived >= STEADY {
        Duration::ZERO
    } else {
        (last * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE)
    }
}

fn start(name: &str) -> anyhow::Result<Child> {
    let binary = std::env::current_exe().context("find our own binary")?;
    // The flags after `serve` are those of every process.
    let flags = std::env::args_os().skip(2);
    let mut command = Command::new(binary);
    command
        .arg(name)
        .args(flags)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    // SAFETY: `set_pdeathsig` is one prctl call, safe between fork and exec.
    unsafe {
        command.pre_exec(|| {
            nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(std::io::Error::from)
        });
    }
    let child = command.spawn().with_context(|| format!("start {name}"))?;
    info!(process = name, pid = child.id(), "started");
    Ok(child)
}

fn report(name: &str, status: ExitStatus, pause: Duration) {
    error!(process = name, %status, pause_ms = pause.as_millis() as u64, "ended, restarting");
}

async fn end(name: &str, child: &mut Child) -> anyhow::Result<()> {
    if let Some(pid) = child.id() {
        // The child is not reaped yet, so the pid is still its own.
        let _ = kill(Pid::from_raw(pid as i32), Signal::SIGTERM);
    }
    if timeout(GRACE, child.wait()).await.is_err() {
        error!(process = name, "did not end when told to, killed");
        child.kill().await.context("kill a process")?;
    }
    Ok(())
}

/// Says where to go once the page answers.
async fn announce(settings: &Settings) {
    let mut page = settings.http.listen;
    if page.ip().is_unspecified() {
        page.set_ip(settings.media_addresses()[0]);
    }
    while TcpStream::connect(reachable(settings.http.listen))
        .await
        .is_err()
    {
        sleep(Duration::from_millis(50)).await;
    }
    let mut out = std::io::stdout();
    let _ = if settings.demo {
        let host = settings.media_addresses()[0];
        let host = if host.is_ipv6() {
            format!("[{host}]")
        } else {
            host.to_string()
        };
        let port = match settings.sip.listen.port() {
            5060 => String::new(),
            port => format!(":{port}"),
        };
        writeln!(out, "Room 3000 is open to anybody.").and_then(|()| {
            writeln!(out, "  Browser:  https://{page}/room/3000")?;
            writeln!(out, "  Dial:     sip:3000@{host}{port}")
        })
    } else {
        writeln!(out, "Consilium serves https://{page}/")
    };
    let _ = out.flush();
}

/// The address to connect to from this host.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        address.set_ip(match listen {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_keeps_dying_is_restarted_ever_slower_and_a_steady_one_at_once() {
        let young = Duration::from_millis(5);
        let mut pause = Duration::ZERO;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            pause = next_pause(pause, young);
            pauses.push(pause.as_millis());
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(next_pause(pause, STEADY), Duration::ZERO);
    }
}
