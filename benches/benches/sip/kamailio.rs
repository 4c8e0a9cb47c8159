//! Kamailio with a configuration of our own, as small as the load allows.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use benches::server::free_port;

use crate::{Peer, sipp, word};

const START_TIMEOUT: Duration = Duration::from_secs(10);

/// UDP only, two workers, location in memory, every account with the same password. A call is relayed
/// to `uas`, or else answered without state.
const CONFIG: &str = r#"#!KAMAILIO
debug=0
log_stderror=yes
fork=yes
children=2
disable_tcp=yes
auto_aliases=no
listen=udp:LISTEN
mpath="/usr/lib/x86_64-linux-gnu/kamailio/modules/"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "siputils.so"
loadmodule "textops.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "auth.so"
modparam("usrloc", "db_mode", 0)
modparam("auth", "secret", "bench")

request_route {
    if (!mf_process_maxfwd_header("10")) { sl_send_reply("483", "Too Many Hops"); exit; }
    if (is_method("REGISTER")) {
        if (!pv_www_authenticate("$td", "PASSWORD", "0")) { www_challenge("$td", "1"); exit; }
        if (!save("location")) { sl_reply_error(); }
        exit;
    }
    if (is_method("OPTIONS")) { sl_send_reply("200", "OK"); exit; }
    CALL
}
"#;

/// sipp follows no Record-Route, so that requests within the call come without Route.
const RELAY: &str = r#"
    if (!has_totag()) {
        t_check_trans();
        record_route();
    }
    $du = "sip:UAS";
    t_relay();
    exit;
"#;

const ANSWER: &str = r#"
    if (is_method("ACK")) { exit; }
    append_to_reply("Contact: <sip:LISTEN>\r\n");
    sl_send_reply("200", "OK");
    exit;
"#;

/// Starts it; `uas` is where calls are relayed to.
///
/// # Errors
/// When it does not start, or does not answer.
pub fn start(dir: &Path, uas: Option<SocketAddr>, password: &str) -> Result<Peer> {
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let call = match uas {
        Some(uas) => RELAY.replace("UAS", &uas.to_string()),
        None => ANSWER.to_owned(),
    };
    let text = CONFIG
        .replace("CALL", &call)
        .replace("LISTEN", &at.to_string())
        .replace("PASSWORD", password);
    std::fs::write(dir.join("kamailio.cfg"), text)?;
    let log = File::create(dir.join("kamailio.log"))?;
    let process = Command::new("kamailio")
        .args(["-DD", "-E", "-m", "128", "-M", "16"])
        .args(["-f", &word(dir, "kamailio.cfg")])
        .args(["-Y", &word(dir, "")])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("start kamailio (Debian package kamailio)")?;
    let peer = Peer { process, at };
    let deadline = Instant::now() + START_TIMEOUT;
    while !sipp::answers_options(at)? {
        if Instant::now() > deadline {
            let log = std::fs::read_to_string(dir.join("kamailio.log"))?;
            bail!("Kamailio does not answer:\n{log}");
        }
    }
    Ok(peer)
}
