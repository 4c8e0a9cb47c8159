//! The program as its operator meets it: command line, configuration file, what it says of itself,
//! and how it begins, ends and is watched over (MCU-03, MCU-20 and MCU-23 in part).

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use benches::load::{Load, LoadLeg, Target};
use mcu_api::inventory::LegState;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;
use tests::process::{Process, children, free_port, free_ports_at};
use tests::server::{Server, binary};
use tests::terminal::sending;
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(20);

/// `consilium serve`, which may or may not become ready.
struct Run {
    process: Process,
    dir: TempDir,
    http: u16,
    sip: u16,
}

/// Where a server listens.
#[derive(Clone, Copy)]
struct Ports {
    http: u16,
    sip: u16,
    /// First of 200 for media.
    media: u16,
}

impl Ports {
    fn free() -> Self {
        Self {
            http: free_port(),
            sip: free_port(),
            media: free_ports_at(Ipv4Addr::LOCALHOST.into(), 200),
        }
    }
}

impl Run {
    fn demo(ports: Ports) -> Self {
        Self::start(Command::new(binary()).arg("serve"), ports)
    }

    /// Starts `command` with `--demo` on these ports.
    fn start(command: &mut Command, ports: Ports) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = |name| fs::File::create(dir.path().join(name)).unwrap();
        command
            .arg("--demo")
            .args(["--data-dir", dir.path().join("data").to_str().unwrap()])
            .args(["--http", &format!("127.0.0.1:{}", ports.http)])
            .args(["--sip", &format!("127.0.0.1:{}", ports.sip)])
            .args(["--media-address", "127.0.0.1"])
            .args([
                "--media-ports",
                &format!("{}-{}", ports.media, ports.media + 199),
            ])
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"));
        let process = Process::start_as_is(command);
        Self {
            process,
            dir,
            http: ports.http,
            sip: ports.sip,
        }
    }

    /// What it says to its operator.
    fn said(&self) -> String {
        fs::read_to_string(self.dir.path().join("stdout")).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("stderr")).unwrap()
    }

    fn wait_until_open(&self) {
        wait_for("the server says that it is open", PATIENCE, || {
            self.said().contains("open to anybody").then_some(())
        });
    }

    fn wait_for_log(&self, words: &str) {
        wait_for(words, PATIENCE, || self.log().contains(words).then_some(()));
    }

    /// Process id by name.
    fn pid_of(&self, name: &str) -> i32 {
        wait_for("a process runs", PATIENCE, || self.find(name))
    }

    fn find(&self, name: &str) -> Option<i32> {
        let mut found = children(self.process.pid()).into_iter();
        let named = found.find(|(_, words)| words.get(1).is_some_and(|word| word == name));
        named.map(|(pid, _)| pid)
    }

    /// Exit status once it has ended.
    fn status(&mut self) -> Option<i32> {
        let status = wait_for("the server ends", PATIENCE, || {
            self.process.child().try_wait().unwrap()
        });
        status.code()
    }
}

fn call(load: &Load, sip: u16) -> LoadLeg {
    let target = Target::number("3000", ([127, 0, 0, 1], sip).into());
    load.call(&target, sending(1)).unwrap()
}

fn ended(leg: &LoadLeg) -> Option<String> {
    leg.report().unwrap().ended
}

fn wait_for_bye(leg: &LoadLeg) {
    let reason = wait_for("the call ends", PATIENCE, || ended(leg));
    assert_eq!(reason, "the peer hung up");
}

fn health(http: u16) -> Option<String> {
    let url = format!("https://127.0.0.1:{http}/health");
    let output = Command::new("curl")
        .args(["-sk", "--max-time", "5", "-o", "-", "-w", " %{http_code}"])
        .arg(url)
        .output()
        .unwrap();
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(answer)
}

/// Runs the program to its end, which is expected to be near.
fn run(arguments: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("timeout");
    command.arg("20").arg(binary()).args(arguments);
    command.current_dir(dir.path()).output().unwrap()
}

fn file(dir: &TempDir, text: &str) -> PathBuf {
    let path = dir.path().join("consilium.toml");
    fs::write(&path, text).unwrap();
    path
}

/// Whether the process is there and not merely unburied.
fn lives(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[test]
fn it_tells_its_version() {
    let output = run(&["--version"]);
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        concat!("consilium ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn a_good_file_is_ok_and_a_bad_one_is_refused_with_place_and_reason() {
    let dir = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        let path = file(&dir, text);
        let output = run(&["check-config", path.to_str().unwrap()]);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        let said = said.replace(path.to_str().unwrap(), "FILE");
        (output.status.code(), said)
    };
    let good = "[http]\nlisten = \"127.0.0.1:443\"\n[log]\nfilter = \"info,sip=debug\"\n\
                [[rooms]]\nnumber = \"3000\"\n[[sip.accounts]]\nuser = \"a\"\npassword = \"b\"\n";
    assert_eq!(check(good), (Some(0), "FILE: ok\n".into()));
    for (text, place, reason) in [
        ("demo = true\nhttps = 1\n", "FILE:2: ", "field `https`"),
        (
            "[http]\nlisten = \"here\"\n",
            "FILE:2: listen: ",
            "ADDR:PORT",
        ),
        (
            "demo = true\n[http\nlisten = \"127.0.0.1:443\"\n",
            "FILE:2: ",
            "expected `]`",
        ),
        (
            "[[sip.accounts]]\nuser = \"a\"\npassword = 123456\n",
            "FILE:3: password: ",
            "expected a string",
        ),
        (
            "[[rooms]]\nnumber = \"7\"\n[[rooms]]\nnumber = \"7\"\n",
            "FILE:4: number: ",
            "room of line 2",
        ),
        (
            "[media]\naddresses = [\"0.0.0.0\"]\n",
            "FILE:2: addresses: ",
            "an address of this host",
        ),
        (
            "[log]\nfilter = \"loud\"\n",
            "FILE:2: filter: ",
            "info, debug",
        ),
    ] {
        let (code, said) = check(text);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.starts_with(&format!("consilium: {place}")), "{said}");
        assert!(said.contains(reason), "{said}");
        assert!(!said.contains("123456"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    for flags in [
        &["--media-address", "0.0.0.0"],
        &["--media-ports", "9-8"],
        &["--http", "here"],
    ] {
        let output = run(&[&["serve"], &flags[..]].concat());
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(flags[0]), "{said}");
    }
}

#[test]
fn a_flag_overrides_the_file() {
    let ports = Ports::free();
    let dir = tempfile::tempdir().unwrap();
    let other = free_port();
    let path = file(&dir, &format!("[http]\nlisten = \"127.0.0.1:{other}\"\n"));
    let mut command = Command::new(binary());
    let server = Run::start(command.args(["serve", "--config"]).arg(path), ports);
    server.wait_until_open();
    let said = server.said();
    let page = format!("https://127.0.0.1:{}/room/3000", server.http);
    let dial = format!("sip:3000@127.0.0.1:{}", server.sip);
    assert!(said.contains(&page) && said.contains(&dial), "{said}");
    let health = health(server.http).unwrap();
    assert!(health.ends_with(" 200"), "{health}");
    assert!(std::net::TcpStream::connect(("127.0.0.1", other)).is_err());
}

/// Defect: the server said that it was open as soon as anybody listened on its port.
#[test]
fn a_second_server_on_the_same_ports_says_so_and_opens_when_it_has_them() {
    let ports = Ports::free();
    let first = Run::demo(ports);
    first.wait_until_open();
    let second = Run::demo(ports);
    second.wait_for_log("Address already in use");
    second.wait_for_log(&format!("listen on 127.0.0.1:{}", ports.http));
    second.wait_for_log("process=\"manager\"");
    assert_eq!(second.said(), "");
    drop(first);
    second.wait_until_open();
}

#[test]
fn a_second_server_with_the_same_data_folder_is_refused() {
    let first = Run::demo(Ports::free());
    first.wait_until_open();
    let data = first.dir.path().join("data");
    let output = run(&["serve", "--demo", "--data-dir", data.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("another server runs with the data"), "{said}");
    assert!(output.stdout.is_empty());
    assert!(health(first.http).unwrap().ends_with(" 200"));
}

#[test]
fn a_killed_supervisor_leaves_no_process() {
    let server = Run::demo(Ports::free());
    server.wait_until_open();
    let pids = ["media", "control", "manager"].map(|name| server.pid_of(name));
    server.process.signal(Signal::SIGKILL);
    wait_for("all processes end", Duration::from_secs(2), || {
        (!pids.iter().any(|pid| lives(*pid))).then_some(())
    });
}

/// Defect: once the program's file was replaced, a process that died was never started again.
#[test]
fn a_process_comes_back_though_the_programs_file_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("consilium");
    fs::copy(binary(), &copy).unwrap();
    let server = Run::start(Command::new(&copy).arg("serve"), Ports::free());
    server.wait_until_open();
    fs::remove_file(&copy).unwrap();
    let before = server.pid_of("manager");
    kill(Pid::from_raw(before), Signal::SIGKILL).unwrap();
    wait_for("the manager is another one", PATIENCE, || {
        server.find("manager").filter(|pid| *pid != before)
    });
    wait_for("the page answers", PATIENCE, || {
        health(server.http).filter(|health| health.ends_with(" 200"))
    });
    let name = fs::read_to_string(format!("/proc/{}/comm", server.pid_of("manager"))).unwrap();
    assert_eq!(name, "consilium\n", "what ps and top show");
}

/// Defect: calls were left to notice the end of the server by its silence.
#[test]
fn a_server_that_is_told_to_stop_hangs_up_first() {
    let load = Load::start().unwrap();
    let mut server = Run::demo(Ports::free());
    server.wait_until_open();
    let leg = call(&load, server.sip);
    server.process.signal(Signal::SIGTERM);
    wait_for_bye(&leg);
    assert_eq!(server.status(), Some(0), "{}", server.log());
}

/// Defect: Ctrl-C reached every process at once, so that nobody was left to hang up.
#[test]
fn control_c_in_a_terminal_hangs_up_as_well() {
    let load = Load::start().unwrap();
    let mut command = Command::new(binary());
    // As a shell starts it.
    command.arg("serve").process_group(0);
    let mut server = Run::start(&mut command, Ports::free());
    server.wait_until_open();
    let leg = call(&load, server.sip);
    killpg(Pid::from_raw(server.process.pid()), Signal::SIGINT).unwrap();
    wait_for_bye(&leg);
    assert_eq!(server.status(), Some(0), "{}", server.log());
}

#[test]
fn a_controller_that_is_restarted_alone_leaves_calls_as_they_are() {
    let load = Load::start().unwrap();
    let server = Server::demo();
    let leg = call(&load, server.sip);
    // A call that was not acknowledged yet would be ended.
    wait_for("the call stands", PATIENCE, || {
        let room = server.room()?;
        (room.legs.first()?.state == LegState::Connected).then_some(())
    });
    let before = server.pid_of("control");
    kill(Pid::from_raw(before), Signal::SIGTERM).unwrap();
    wait_for("the new controller has the call", PATIENCE, || {
        let room = server.room().filter(|_| server.pid_of("control") != before);
        room.filter(|room| room.legs.len() == 1)
    });
    assert_eq!(ended(&leg), None);
}

/// Defect: with the usual soft limit of 1,024 files a server stopped accepting long before its own
/// limits.
#[test]
fn every_process_may_open_as_many_files_as_the_system_allows() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 300; exec \"$0\" serve \"$@\""]);
    let server = Run::start(command.arg(binary()), Ports::free());
    server.wait_until_open();
    let pids = ["media", "control", "manager"].map(|name| server.pid_of(name));
    for pid in pids.into_iter().chain([server.process.pid()]) {
        let (soft, hard) = open_files(pid);
        assert_eq!(soft, hard);
        assert_ne!(soft, "300");
    }
}

/// Soft and hard limit of a process.
fn open_files(pid: i32) -> (String, String) {
    let limits = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("limits"));
    let limits = limits.unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open"));
    let mut words = line.unwrap().split_whitespace().skip(3);
    let mut next = || words.next().unwrap().to_string();
    (next(), next())
}

/// Defect: `/health` answered 200 while no call could be taken for want of a media process.
#[test]
fn health_says_that_the_media_process_is_away() {
    let server = Run::demo(Ports::free());
    server.wait_until_open();
    let media = server.pid_of("media");
    // Stopped, the supervisor starts no other.
    server.process.signal(Signal::SIGSTOP);
    kill(Pid::from_raw(media), Signal::SIGKILL).unwrap();
    let away = wait_for("media is away", PATIENCE, || {
        health(server.http).filter(|health| health.ends_with(" 503"))
    });
    assert!(away.contains("The media processor is away"), "{away}");
    server.process.signal(Signal::SIGCONT);
    wait_for("media is back", PATIENCE, || {
        health(server.http).filter(|health| health.ends_with(" 200"))
    });
}
