//! A server that a bench starts: `consilium serve` in a folder and at ports of its own.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::load::{LegConfig, Load, LoadError, LoadLeg, Target};
use crate::process;

const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take to end by itself.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// A running server; dropping it ends it.
pub struct Server {
    process: Child,
    /// Where SIP is served, over UDP and TCP.
    pub sip: SocketAddr,
    /// Where the page is served.
    pub http: SocketAddr,
    /// First of the media ports, which all browsers share.
    pub media: SocketAddr,
    /// From the start to the moment the page could be reached.
    pub start_time: Duration,
    dir: PathBuf,
}

/// Binary under test: `CONSILIUM_BINARY`, or a release build of this tree, made now.
///
/// # Errors
/// When it does not build.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("CONSILIUM_BINARY") {
        return Ok(path.into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let package = ["--package", "consilium", "--bin", "consilium"];
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release"])
        .args(package)
        .current_dir(root)
        .status()?;
    if !status.success() {
        bail!("the server does not build");
    }
    // A bench lies in the same target folder's `release/deps`.
    let own = std::env::current_exe()?;
    let dir = own
        .parent()
        .and_then(Path::parent)
        .context("target folder")?;
    Ok(dir.join("consilium"))
}

impl Server {
    /// Starts with room 3000 open to anybody and media at these ports.
    ///
    /// # Errors
    /// When it does not start, or its page cannot be reached.
    pub fn demo(binary: &Path, ports: (u16, u16)) -> Result<Self> {
        Self::start(binary, ports, None)
    }

    /// Starts with the text of a configuration file and media at these ports.
    ///
    /// # Errors
    /// When it does not start, or its page cannot be reached.
    pub fn configured(binary: &Path, ports: (u16, u16), config: &str) -> Result<Self> {
        Self::start(binary, ports, Some(config))
    }

    fn start(binary: &Path, ports: (u16, u16), config: Option<&str>) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "consilium-bench-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir)?;
        let (http, sip) = (free_tcp_port()?, free_port()?);
        let log = File::create(dir.join("server.log"))?;
        let mut command = Command::new(binary);
        command
            .args(["serve", "--media-address", "127.0.0.1"])
            .arg("--data-dir")
            .arg(dir.join("data"))
            .args(["--http", &format!("127.0.0.1:{http}")])
            .args(["--sip", &format!("127.0.0.1:{sip}")])
            .args(["--media-ports", &format!("{}-{}", ports.0, ports.1)]);
        match config {
            None => command.arg("--demo"),
            Some(text) => {
                let file = dir.join("consilium.toml");
                std::fs::write(&file, text)?;
                command.arg("--config").arg(file)
            }
        };
        command.stdin(Stdio::null());
        let start = Instant::now();
        let process = command
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut server = Self {
            process,
            sip: at(sip),
            http: at(http),
            media: at(ports.0),
            start_time: Duration::ZERO,
            dir,
        };
        server.wait_for_page()?;
        server.start_time = start.elapsed();
        Ok(server)
    }

    fn wait_for_page(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(self.http).is_err() {
            if let Some(status) = self.process.try_wait()? {
                bail!("the server ended with {status}, see {}", self.dir.display());
            }
            if Instant::now() > deadline {
                bail!(
                    "the server does not open its page, see {}",
                    self.dir.display()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Calls room 3000; a server that has only just started may not have a media process yet.
    ///
    /// # Errors
    /// When the call is refused for long, or not answered.
    pub fn call(&self, load: &Load, config: &LegConfig) -> Result<LoadLeg> {
        let target = Target::number("3000", self.sip);
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            match load.call(&target, config.clone()) {
                Ok(leg) => return Ok(leg),
                Err(LoadError::Refused(_)) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(200));
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("log in {}", self.dir.display()));
                }
            }
        }
    }

    /// Process id of the supervisor, parent of all others.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Process id of `control`, `media` or `manager`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid_of(&self, name: &str) -> Result<u32> {
        process::child_of(self.pid(), name).with_context(|| format!("process {name} runs"))
    }

    /// Folder of its files: `server.log`, `data`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Ends it and takes its log away: nothing went wrong.
    pub fn end_well(self) {
        let dir = self.dir.clone();
        drop(self);
        // A log left behind does no harm.
        let _ = std::fs::remove_dir_all(dir);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.process);
        let _ = std::fs::remove_dir_all(self.dir.join("data"));
    }
}

/// Ends a child by SIGTERM, and by SIGKILL when it does not listen.
pub fn end(process: &mut Child) {
    // SAFETY: signals a child of ours that has not been waited for, so the id is still its own.
    unsafe { libc::kill(process.id() as i32, libc::SIGTERM) };
    let deadline = Instant::now() + END_TIMEOUT;
    while matches!(process.try_wait(), Ok(None)) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    // Fails only if it has ended, which is what is wanted.
    let _ = process.kill();
    let _ = process.wait();
}

fn free_tcp_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// A port of 127.0.0.1 that is free for UDP and TCP, as SIP wants it.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    for _ in 0..100 {
        let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free for SIP")
}
