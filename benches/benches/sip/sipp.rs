//! sipp as the source of the load, and as a server to compare with.

use std::fmt::Write;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use benches::server::free_port;

use crate::{Peer, word};

const REGISTER: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<scenario name="register">
  <send retrans="500"><![CDATA[
REGISTER sip:[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:[field0]@[remote_ip]>;tag=[call_number]
To: <sip:[field0]@[remote_ip]>
Call-ID: [call_id]
CSeq: 1 REGISTER
Contact: <sip:[field0]@[local_ip]:[local_port]>
Expires: 300
Max-Forwards: 70
User-Agent: load
Content-Length: 0

]]></send>
  <recv response="401" auth="true"/>
  <send retrans="500"><![CDATA[
REGISTER sip:[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:[field0]@[remote_ip]>;tag=[call_number]
To: <sip:[field0]@[remote_ip]>
Call-ID: [call_id]
CSeq: 2 REGISTER
Contact: <sip:[field0]@[local_ip]:[local_port]>
[field1]
Expires: 300
Max-Forwards: 70
User-Agent: load
Content-Length: 0

]]></send>
  <recv response="200"/>
</scenario>
"#;

const OPTIONS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<scenario name="options">
  <send retrans="500"><![CDATA[
OPTIONS sip:[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:[field0]@[remote_ip]>;tag=[call_number]
To: <sip:[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 OPTIONS
Contact: <sip:[field0]@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Length: 0

]]></send>
  <recv response="200"/>
</scenario>
"#;

/// What is done over and over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// A call to 3000 with an offer of PCMU, hung up at once: sipp's own scenario `uac`.
    Call,
    /// The next account registers.
    Register,
    /// The next account asks with OPTIONS.
    Options,
}

/// How it went.
#[derive(Clone, Copy)]
pub struct Outcome {
    /// To the end, as wanted.
    pub done: u32,
    /// Otherwise.
    pub failed: u32,
}

/// Writes the accounts `t0`, `t1` and so on where [`run`] finds them.
///
/// # Errors
/// When it cannot be written.
pub fn write_users(dir: &Path, count: u32, password: &str) -> Result<()> {
    let mut text = String::from("SEQUENTIAL\n");
    for n in 0..count {
        writeln!(
            text,
            "t{n};[authentication username=t{n} password={password}]"
        )?;
    }
    std::fs::write(dir.join("users.csv"), text)?;
    std::fs::write(dir.join("register.xml"), REGISTER)?;
    Ok(std::fs::write(dir.join("options.xml"), OPTIONS)?)
}

/// Sends `count` of a scenario to a server, `rate` a second.
///
/// # Errors
/// When sipp does not start, or leaves no figures.
pub fn run(dir: &Path, what: Scenario, to: SocketAddr, rate: u32, count: u32) -> Result<Outcome> {
    let mut command = Command::new("sipp");
    command
        .arg(to.to_string())
        .args(["-i", "127.0.0.1", "-nostdin"]);
    command.args([
        "-p",
        &free_port()?.to_string(),
        "-mp",
        &free_port()?.to_string(),
    ]);
    command.args([
        "-r",
        &rate.to_string(),
        "-m",
        &count.to_string(),
        "-l",
        "5000",
    ]);
    match what {
        Scenario::Call => command.args(["-sn", "uac", "-s", "3000", "-d", "0"]),
        Scenario::Register => command.args(["-sf", &word(dir, "register.xml")]),
        Scenario::Options => command.args(["-sf", &word(dir, "options.xml")]),
    };
    if what != Scenario::Call {
        command.args(["-inf", &word(dir, "users.csv")]);
    }
    let figures = dir.join("figures.csv");
    let _ = std::fs::remove_file(&figures);
    command.args(["-trace_stat", "-fd", "1", "-stf", &word(dir, "figures.csv")]);
    // Exit status 1 says that some failed, which the figures tell better.
    let status = spawn(dir, &mut command)?.wait()?;
    let text = std::fs::read_to_string(&figures).with_context(|| format!("sipp: {status}"))?;
    outcome(&text).context("figures of sipp")
}

/// A UAS that answers every call.
///
/// # Errors
/// When it does not start.
pub fn answering(dir: &Path) -> Result<Peer> {
    let port = free_port()?;
    let mut command = Command::new("sipp");
    command.args(["-sn", "uas", "-i", "127.0.0.1", "-nostdin"]);
    command.args(["-p", &port.to_string(), "-mp", &free_port()?.to_string()]);
    let process = spawn(dir, &mut command)?;
    // It takes calls as soon as its port is taken.
    while UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let at = (Ipv4Addr::LOCALHOST, port).into();
    Ok(Peer { process, at })
}

/// An OPTIONS request as a monitoring host sends it.
pub fn options(to: SocketAddr, from: SocketAddr) -> String {
    format!(
        "OPTIONS sip:{to} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKprobe{from}\r\n\
         From: <sip:probe@{from}>;tag=1\r\nTo: <sip:{to}>\r\nCall-ID: probe@{from}\r\n\
         CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}

/// Whether somebody answers there within a moment.
///
/// # Errors
/// When no socket can be made.
pub fn answers_options(at: SocketAddr) -> Result<bool> {
    let probe = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    probe.set_read_timeout(Some(Duration::from_millis(100)))?;
    let sent = probe.send_to(options(at, probe.local_addr()?).as_bytes(), at);
    Ok(sent.is_ok() && probe.recv(&mut [0; 2_048]).is_ok())
}

fn spawn(dir: &Path, command: &mut Command) -> Result<Child> {
    let log = File::create(dir.join("sipp.log"))?;
    command.current_dir(dir).stdin(Stdio::null());
    command.stdout(log.try_clone()?).stderr(log);
    command
        .spawn()
        .context("start sipp (Debian package sip-tester)")
}

/// The last row of sipp's figures, by the names in the first.
fn outcome(figures: &str) -> Option<Outcome> {
    let mut lines = figures.lines().filter(|line| !line.is_empty());
    let names: Vec<&str> = lines.next()?.split(';').collect();
    let last: Vec<&str> = lines.next_back()?.split(';').collect();
    let figure = |name: &str| {
        let column = names.iter().position(|other| *other == name)?;
        last.get(column)?.parse().ok()
    };
    Some(Outcome {
        done: figure("SuccessfulCall(C)")?,
        failed: figure("FailedCall(C)")?,
    })
}
