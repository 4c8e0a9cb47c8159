//! sipp, by its own scenario of a caller and by ours in `tests/peers`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::root;

/// A scenario of ours at this port of 127.0.0.1, with its files in `dir`.
pub fn scenario(dir: &Path, name: &str, port: u16) -> Command {
    let mut command = at(dir, Ipv4Addr::LOCALHOST.into());
    command
        .arg("-sf")
        .arg(root().join("tests/peers").join(name))
        .args(["-p", &port.to_string()])
        .stdout(Stdio::null());
    command
}

/// Has sipp call `number` at `server` from the address `from`, as often as `-m` among `more` says. The
/// complaint, if a call did not go as a caller's should.
pub fn call(
    dir: &Path,
    from: IpAddr,
    (number, server): (&str, SocketAddr),
    more: &[&str],
) -> Result<(), String> {
    let done = at(dir, from)
        .args(["-sn", "uac", "-s", number])
        .args(more)
        .arg(server.to_string())
        .output()
        .expect("run sipp");
    match done.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&done.stdout).into_owned()),
    }
}

fn at(dir: &Path, from: IpAddr) -> Command {
    let from = match from {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    };
    let mut command = Command::new("sipp");
    command.current_dir(dir).args(["-i", &from, "-nostdin"]);
    command
}
