//! The server under test: `consilium serve` with a data folder and ports of its own.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use mcu_api::inventory::LegState;
use mcu_api::manager::{LegView, RoomView};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::process::{Process, children, free_port};
use crate::wait_for;

/// A running server. Dropping it ends it.
pub struct Server {
    process: Process,
    dir: TempDir,
    /// What it was started with, to start it again.
    words: Vec<OsString>,
    /// Where its configuration file is, which every process of it reads.
    config: Option<TempDir>,
    /// Address of everything, 127.0.0.1 unless started elsewhere.
    pub host: IpAddr,
    /// Port of the page there.
    pub http: u16,
    /// Port for SIP there.
    pub sip: u16,
    /// First and last port for media.
    pub media: (u16, u16),
}

/// Start of the next server's media ports: servers of tests that run side by side stay apart, and
/// below 32,768, where the kernel begins to give out ports by itself.
/// There are enough for thousands of calls in a row: a port rests before it is given out again.
static NEXT_PORTS: AtomicU16 = AtomicU16::new(0);
const MEDIA_PORTS: u16 = 10_000;

impl Server {
    /// Starts with room 3000 open and waits until page and controller answer.
    pub fn demo() -> Self {
        Self::start(&["--demo"])
    }

    /// Starts with this configuration file and waits until page and controller answer.
    pub fn configured(text: &str) -> Self {
        let dir = tempfile::tempdir().expect("make a folder");
        let file = dir.path().join("consilium.toml");
        std::fs::write(&file, text).expect("write");
        let mut server = Self::start(&["--config", file.to_str().expect("path")]);
        server.config = Some(dir);
        server
    }

    /// Ends it in good order.
    pub fn stop(&mut self) {
        self.process.signal(Signal::SIGTERM);
        wait_for("the server ended", Duration::from_secs(20), || self.ended());
    }

    /// Starts it again on the same data and ports, and waits until page and controller answer.
    pub fn resume(self) -> Self {
        let mut program = Command::new(&self.words[0]);
        program.args(&self.words[1..]);
        let log = self.dir.path().join("server.log");
        let process = Process::start(&mut program, &log);
        Self { process, ..self }.healthy()
    }

    /// Starts with further flags and waits until page and controller answer.
    pub fn start(flags: &[&str]) -> Self {
        Self::start_as(&mut Command::new(binary()), flags)
    }

    /// As [`Self::start`], by this command for the program.
    pub fn start_as(program: &mut Command, flags: &[&str]) -> Self {
        Self::launch(program, flags).healthy()
    }

    /// As [`Self::start_as`], but waits for nothing: the server may not become ready.
    pub fn launch(program: &mut Command, flags: &[&str]) -> Self {
        let host = IpAddr::from(Ipv4Addr::LOCALHOST);
        let (http, sip) = (free_port(), free_port());
        let place = std::process::id() as u16 % 2 + NEXT_PORTS.fetch_add(1, Ordering::Relaxed);
        // A server of another run may have the one range.
        let free = |low: &u16| UdpSocket::bind((host, *low)).is_ok();
        let lows = [place, place + 1].map(|place| 12_000 + place % 2 * MEDIA_PORTS);
        let low = lows.into_iter().find(free).unwrap_or(lows[0]);
        let media = (low, low + MEDIA_PORTS - 1);
        let at = |port| SocketAddr::new(host, port).to_string();
        let (http_at, sip_at, host_at) = (at(http), at(sip), host.to_string());
        let ports = format!("{}-{}", media.0, media.1);
        let own = ["--http", &http_at, "--sip", &sip_at].into_iter();
        let own = own.chain(["--media-address", &host_at, "--media-ports", &ports]);
        let all: Vec<&str> = own.chain(flags.iter().copied()).collect();
        Self::spawn(program, &all, (host, http, sip), media)
    }

    /// Starts as an operator does who sets nothing, in a network of its own whose address is `host`,
    /// and waits until page and controller answer.
    pub fn with_defaults(host: IpAddr, flags: &[&str]) -> Self {
        let mut program = Command::new(binary());
        Self::spawn(&mut program, flags, (host, 8443, 5060), (20_000, 23_999)).healthy()
    }

    /// Starts `program serve --data-dir DIR` with these flags.
    fn spawn(
        program: &mut Command,
        flags: &[&str],
        (host, http, sip): (IpAddr, u16, u16),
        media: (u16, u16),
    ) -> Self {
        let dir = tempfile::tempdir().expect("make a data folder");
        let data = dir.path().join("data");
        program.args(["serve", "--data-dir"]).arg(data).args(flags);
        let name = program.get_program().to_owned();
        let words = std::iter::once(name).chain(program.get_args().map(OsString::from));
        let words = words.collect();
        let process = Process::start(program, &dir.path().join("server.log"));
        Self {
            process,
            dir,
            words,
            config: None,
            host,
            http,
            sip,
            media,
        }
    }

    fn healthy(mut self) -> Self {
        wait_for("the server is healthy", Duration::from_secs(20), || {
            assert!(self.process.is_running(), "server ended:\n{}", self.log());
            self.get("/health").filter(|(status, _)| *status == 200)
        });
        self
    }

    /// Exit status once it has ended.
    pub fn ended(&mut self) -> Option<Option<i32>> {
        let status = self.process.child().try_wait().expect("ask for its end");
        status.map(|status| status.code())
    }

    /// Everything it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("server.log")).unwrap_or_default()
    }

    /// A folder that lives as long as the server.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Has a room call somebody, by the command line: what it printed, if the callee answered, or its
    /// complaint.
    pub fn dial(&self, room: &str, target: &str) -> Result<String, String> {
        self.command("dial", &["--room", room, "--to", target])
    }

    /// Has a terminal go on elsewhere, by the command line and a target on standard input: what it
    /// printed, if the terminal arrived there, or its complaint.
    pub fn transfer(&self, room: &str, who: &str, target: &str) -> Result<String, String> {
        let flags = ["--room", room, "--who", who, "--to", "-"];
        self.command_reading("transfer", &flags, target)
    }

    fn command(&self, name: &str, arguments: &[&str]) -> Result<String, String> {
        self.command_reading(name, arguments, "")
    }

    fn command_reading(&self, name: &str, flags: &[&str], input: &str) -> Result<String, String> {
        let data = self.dir().join("data");
        let mut child = Command::new(binary())
            .args([name, "--data-dir"])
            .arg(data)
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("run a command of consilium");
        let mut stdin = child.stdin.take().expect("standard input");
        // Who reads nothing may have ended.
        let _ = writeln!(stdin, "{input}");
        drop(stdin);
        let output = child.wait_with_output().expect("its output");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }

    /// Address of a page.
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", SocketAddr::new(self.host, self.http))
    }

    /// Where SIP is, over UDP and TCP.
    pub fn sip_address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.sip)
    }

    /// Process id of the supervisor.
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Process id of one of its processes: `media`, `control` or `manager`.
    pub fn pid_of(&self, name: &str) -> i32 {
        wait_for(
            &format!("process {name} runs"),
            Duration::from_secs(10),
            || {
                let found = children(self.process.pid());
                found
                    .into_iter()
                    .find(|(_, words)| words.get(1).is_some_and(|w| w == name))
            },
        )
        .0
    }

    /// Kills one of its processes without warning and returns when it is gone.
    pub fn kill(&self, name: &str) {
        self.kill_pid(self.pid_of(name));
    }

    /// As [`Self::kill`], by the process id, which takes no time to find out.
    pub fn kill_pid(&self, pid: i32) {
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("kill");
        wait_for("the process is gone", Duration::from_secs(5), || {
            let gone = !children(self.process.pid())
                .iter()
                .any(|(p, words)| *p == pid && words.first().is_some_and(|w| !w.is_empty()));
            gone.then_some(())
        });
    }

    /// The room as the API shows it.
    pub fn room(&self) -> Option<RoomView> {
        let (status, body) = self.get("/api/v1/rooms/3000")?;
        (status == 200).then(|| serde_json::from_str(&body).expect("RoomView"))
    }

    /// Waits until room 3000 holds this many legs and all are connected.
    pub fn wait_for_legs(&self, count: usize) -> Vec<LegView> {
        let what = format!("{count} legs are connected");
        wait_for(&what, Duration::from_secs(40), || {
            let legs = self.room()?.legs;
            let all = legs.iter().all(|leg| leg.state == LegState::Connected);
            (all && legs.len() == count).then_some(legs)
        })
    }

    /// GET over HTTPS by curl: the certificate is self-signed, and this client owes
    /// nothing to our own TLS code.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        TcpStream::connect((self.host, self.http)).ok()?;
        let output = Command::new("curl")
            .args([
                "-sk",
                "--max-time",
                "5",
                "-w",
                "\n%{http_code}",
                &self.url(path),
            ])
            .output()
            .expect("run curl");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n')?;
        Some((status.parse().ok()?, body.to_string()))
    }

    /// Sends raw bytes to the SIP port over TCP and returns what came back until the peer pauses.
    pub fn sip_tcp(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.sip_address()).expect("connect");
        stream
            .set_read_timeout(Some(Duration::from_secs(2)))
            .expect("timeout");
        stream.write_all(bytes).expect("write");
        let mut buffer = vec![0; 65_536];
        let n = stream.read(&mut buffer).unwrap_or(0);
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    }
}

/// The binary under test: `CONSILIUM_BINARY`, or the one that was built beside this test.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("CONSILIUM_BINARY") {
        return path.into();
    }
    let test = std::env::current_exe().expect("own path");
    let dir = test.parent().and_then(Path::parent).expect("target folder");
    let path = dir.join("consilium");
    assert!(
        path.exists(),
        "{} is not built: cargo build --bin consilium",
        path.display()
    );
    path
}
