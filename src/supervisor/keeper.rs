//! Keeps one process running.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid, getppid};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{error, info};

use super::program::Program;
use super::{AWAY, READY};
use crate::figures::RESTARTS;

/// A process that lived at least this long is restarted at once: it has served, so that every moment
/// without it is a gap in a meeting. What dies sooner is held back, so that it takes no machine.
const STEADY: Duration = Duration::from_secs(2);

/// First pause before restarting a process that died young; doubles up to [`LONGEST_PAUSE`]. A room is
/// to be back within five seconds of its media process's death, however often that died before, and
/// the controller puts calls off for three.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Time to end after a signal before SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// Life of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Everything runs.
    Run,
    /// Calls are hung up.
    HangUp,
    /// Everything else ends.
    End,
}

/// Keeper of one process.
pub struct Keeper {
    /// The process, as the command line calls it.
    pub name: &'static str,
    /// What tells it to end.
    pub end_by: Signal,
    /// When it is told so.
    pub ends_in: Phase,
    /// Where it is passed on that the process says it is ready, if it does.
    pub ready: Option<watch::Sender<Ready>>,
    /// What it is: when that changes it is restarted.
    pub program: watch::Receiver<Arc<Program>>,
    /// Where it is passed on how it came to an end by itself, or could not be started.
    pub fell: watch::Sender<Option<String>>,
}

/// What a process says of all that a call needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// Where it listens, once it has said so.
    pub address: Option<SocketAddr>,
    /// Whether calls can be taken.
    pub now: bool,
    /// How often it became ready, over all its lives.
    pub times: u32,
}

/// How a child came to an end.
enum End {
    /// We ended it.
    Told,
    /// We ended it, to start it as another program.
    Replaced,
    /// By itself.
    Own(String),
}

impl Keeper {
    /// Keeps the process running until its phase comes.
    pub async fn run(self, phases: watch::Receiver<Phase>) {
        self.keep(phases, |program, restarts| {
            start(program, self.name, restarts, self.ready.is_some())
        })
        .await;
    }

    async fn keep(
        &self,
        mut phases: watch::Receiver<Phase>,
        start: impl Fn(&Program, u32) -> io::Result<Child>,
    ) {
        let mut programs = self.program.clone();
        let mut pause = Duration::ZERO;
        let mut restarts: u32 = 0;
        while *phases.borrow_and_update() < self.ends_in {
            let started = Instant::now();
            let program = programs.borrow_and_update().clone();
            let what = match start(&program, restarts) {
                Ok(child) => match self.watch(child, &mut phases, &mut programs).await {
                    End::Told => return,
                    End::Replaced => {
                        pause = Duration::ZERO;
                        continue;
                    }
                    End::Own(how) => format!("ended, {how}"),
                },
                Err(error) => format!("cannot be started: {error}"),
            };
            self.fell.send_replace(Some(what.clone()));
            restarts = restarts.saturating_add(1);
            // A full table of processes may have room again.
            pause = next_pause(pause, started.elapsed());
            let pause_ms = pause.as_millis() as u64;
            error!(process = self.name, pause_ms, "{what}; restarting");
            tokio::select! {
                () = sleep(pause) => {}
                () = self.told(&mut phases) => {}
                () = replaced(&mut programs) => pause = Duration::ZERO,
            }
        }
    }

    /// Waits for the child's end, and ends it when it is time.
    async fn watch(
        &self,
        mut child: Child,
        phases: &mut watch::Receiver<Phase>,
        programs: &mut watch::Receiver<Arc<Program>>,
    ) -> End {
        info!(process = self.name, pid = child.id(), "started");
        let stdout = child.stdout.take();
        let end = tokio::select! {
            ended = child.wait() => End::Own(match ended {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            }),
            never = self.listen(stdout) => match never {},
            () = self.told(phases) => {
                self.end(&mut child, self.end_by).await;
                End::Told
            }
            // By SIGTERM each process ends alone, and calls go on.
            () = replaced(programs) => {
                self.end(&mut child, Signal::SIGTERM).await;
                End::Replaced
            }
        };
        if let Some(ready) = &self.ready {
            ready.send_modify(|ready| ready.now = false);
        }
        end
    }

    /// Returns when it is time to end; a supervisor that is gone wants nothing to run, either.
    async fn told(&self, phases: &mut watch::Receiver<Phase>) {
        let _ = phases.wait_for(|phase| *phase >= self.ends_in).await;
    }

    /// Passes on what the process says on its standard output.
    async fn listen(&self, stdout: Option<ChildStdout>) -> Infallible {
        if let (Some(stdout), Some(ready)) = (stdout, &self.ready) {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(Ok(address)) = line.strip_prefix(READY).map(str::parse) {
                    ready.send_modify(|ready| {
                        ready.address = Some(address);
                        ready.now = true;
                        ready.times += 1;
                    });
                } else if line == AWAY {
                    ready.send_modify(|ready| ready.now = false);
                }
            }
        }
        std::future::pending().await
    }

    async fn end(&self, child: &mut Child, by: Signal) {
        if let Some(pid) = child.id() {
            // The child is not reaped yet, so the pid is still its own.
            let _ = kill(Pid::from_raw(pid as i32), by);
        }
        if timeout(GRACE, child.wait()).await.is_ok() {
            return;
        }
        error!(process = self.name, "did not end when told to, killed");
        if let Err(error) = child.kill().await {
            error!(process = self.name, %error, "cannot be killed");
        }
    }
}

/// Returns when the process is to be another program.
async fn replaced(programs: &mut watch::Receiver<Arc<Program>>) {
    if programs.changed().await.is_err() {
        // Nobody is left who could say so.
        std::future::pending().await
    }
}

/// A steady process comes back at once; one that dies young waits, each time longer than the last.
fn next_pause(last: Duration, lived: Duration) -> Duration {
    if lived >= STEADY {
        Duration::ZERO
    } else {
        (last * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE)
    }
}

fn start(program: &Program, name: &str, restarts: u32, speaks: bool) -> io::Result<Child> {
    let mut words = std::env::args_os();
    let first = words.next().unwrap_or_else(|| OsString::from("consilium"));
    // The flags after `serve` are those of every process.
    let flags = words.skip(1);
    let mut command = program.command();
    command
        .arg0(first)
        .arg(name)
        .args(flags)
        .env(RESTARTS, restarts.to_string())
        .stdin(Stdio::null())
        // Ctrl-C in a terminal reaches the whole group: it is for the supervisor, which ends the
        // processes in their order.
        .process_group(0)
        .kill_on_drop(true);
    if speaks {
        command.stdout(Stdio::piped());
    }
    let parent = getpid();
    // SAFETY: one prctl call and one getppid call, both safe between fork and exec.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
            // A parent that died before sends no signal any more.
            if getppid() != parent {
                return Err(Errno::ESRCH.into());
            }
            Ok(())
        });
    }
    command.spawn()
}

#[cfg(test)]
mod tests {
    use tokio::process::Command;

    use super::*;

    fn keeper(ready: watch::Sender<Ready>, program: watch::Receiver<Arc<Program>>) -> Keeper {
        Keeper {
            name: "manager",
            end_by: Signal::SIGTERM,
            ends_in: Phase::End,
            ready: Some(ready),
            program,
            fell: watch::channel(None).0,
        }
    }

    fn shell(script: &str) -> io::Result<Child> {
        Command::new("sh")
            .args(["-c", script])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }

    #[test]
    fn a_process_that_keeps_dying_is_restarted_ever_slower_and_a_steady_one_at_once() {
        let young = Duration::from_millis(5);
        let mut pause = Duration::ZERO;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            pause = next_pause(pause, young);
            pauses.push(pause.as_millis());
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000, 2000]);
        assert_eq!(next_pause(pause, STEADY), Duration::ZERO);
    }

    /// Defect: a process that could not be started once was never started again.
    #[tokio::test]
    async fn a_process_that_cannot_be_started_is_tried_again() {
        let (ready, mut opened) = watch::channel(Ready::default());
        let (phase, phases) = watch::channel(Phase::Run);
        let (_programs, program) = watch::channel(Arc::default());
        let keeper = keeper(ready, program);
        let attempts = std::cell::Cell::new(0);
        let start = |_: &Program, restarts: u32| {
            assert_eq!(restarts, attempts.get());
            attempts.set(attempts.get() + 1);
            if attempts.get() < 3 {
                return Err(Errno::EAGAIN.into());
            }
            shell("echo ready 127.0.0.1:7; exec sleep 60")
        };
        let until_ready = async {
            let said = opened.wait_for(|ready| ready.now).await.unwrap().address;
            phase.send_replace(Phase::End);
            said
        };
        let both = async { tokio::join!(keeper.keep(phases, start), until_ready) };
        let ((), said) = timeout(Duration::from_secs(20), both).await.unwrap();
        assert_eq!(said, Some(SocketAddr::from(([127, 0, 0, 1], 7))));
        assert_eq!(attempts.get(), 3);
        assert!(!opened.borrow().now, "it has ended");
    }

    #[tokio::test]
    async fn a_process_that_is_to_be_another_program_is_restarted_at_once() {
        let (ready, mut opened) = watch::channel(Ready::default());
        let (phase, phases) = watch::channel(Phase::Run);
        let (programs, program) = watch::channel(Arc::default());
        let keeper = keeper(ready, program);
        let lives = std::cell::Cell::new(0);
        let start = |_: &Program, restarts: u32| {
            assert_eq!(restarts, 0, "an upgrade is no fault");
            lives.set(lives.get() + 1);
            // Whoever is away and comes back says so.
            shell("echo ready 127.0.0.1:7; echo away; echo ready 127.0.0.1:7; exec sleep 60")
        };
        let play = async {
            opened.wait_for(|ready| ready.times == 2).await.unwrap();
            programs.send_replace(Arc::default());
            opened.wait_for(|ready| ready.times == 4).await.unwrap();
            phase.send_replace(Phase::End);
        };
        let both = async { tokio::join!(keeper.keep(phases, start), play) };
        timeout(Duration::from_secs(20), both).await.unwrap();
        assert_eq!(lives.get(), 2);
        assert_eq!(*keeper.fell.borrow(), None);
    }
}
