//! Servers that are found by DNS (RFC 3263): dnsmasq says where they are, sipp is them (MCU-03).

use std::path::{Path, PathBuf};
use std::time::Duration;

use tests::baresip::{self, Baresip};
use tests::dns::Dns;
use tests::process::{DeadPort, Process, free_port, is_tcp_port_taken, is_udp_port_taken};
use tests::server::Server;
use tests::{sipp, wait_for};

const PATIENCE: Duration = Duration::from_secs(30);

/// sipp as one server, and what it has heard.
struct Peer {
    process: Process,
    messages: PathBuf,
}

impl Peer {
    /// Plays this scenario at this port, over `t1` (TCP) or `u1` (UDP), once it listens.
    fn start(dir: &Path, scenario: &str, port: u16, transport: &str) -> Self {
        let messages = dir.join(format!("messages-{port}"));
        let mut command = sipp::scenario(dir, scenario, port);
        command.args(["-t", transport, "-m", "1", "-trace_msg", "-message_file"]);
        command.arg(&messages);
        let mut process = Process::start(&mut command, &dir.join(format!("sipp-{port}.log")));
        wait_for("sipp listens", PATIENCE, || {
            assert!(process.is_running());
            let taken = match transport {
                "t1" => is_tcp_port_taken(port),
                _ => is_udp_port_taken(port),
            };
            taken.then_some(())
        });
        Self { process, messages }
    }

    fn heard(&self) -> String {
        std::fs::read_to_string(&self.messages).unwrap_or_default()
    }

    fn is_done(&mut self) {
        wait_for("sipp is content", PATIENCE, || {
            (!self.process.is_running()).then_some(())
        });
    }
}

/// One server of a service of `carrier.test`, all of which are this machine.
fn srv(service: &str, port: u16, priority: u16) -> String {
    format!("srv-host={service}.carrier.test,pbx.carrier.test,{port},{priority},10")
}

fn host() -> String {
    "host-record=pbx.carrier.test,127.0.0.1".to_owned()
}

/// A carrier without a port, and a rule that leads there.
fn configuration(dns: &Dns) -> String {
    format!(
        r#"
[sip]
{}

[[sip.trunks]]
name = "city"
address = "carrier.test"
realm = "carrier"
user = "hospital"
password = "t0p-s3cret"

[[rooms]]
number = "4000"

[[dialplan]]
prefix = "9"
trunk = "city"
strip = 1
"#,
        dns.key()
    )
}

#[test]
fn a_trunk_is_called_at_the_port_that_srv_names() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut carrier = Peer::start(dir.path(), "trunk.xml", port, "u1");
    let dns = Dns::start(dir.path(), &[srv("_sip._udp", port, 10), host()]);
    let server = Server::configured(&configuration(&dns));
    let said = server.dial("4000", "95551234").unwrap_or_else(|complaint| {
        panic!("{complaint}\n{}\n{}", server.log(), carrier.heard());
    });
    assert_eq!(said, "95551234 is in room 4000\n");
    let heard = carrier.heard();
    assert!(
        heard.contains("INVITE sip:5551234@carrier.test SIP/2.0"),
        "{heard}"
    );
    drop(server);
    carrier.is_done();
}

/// Nobody listens at the first server, the second is out of service, the third answers: over TCP, which
/// the domain prefers.
#[test]
fn a_domain_is_called_at_the_first_server_that_serves() {
    let dir = tempfile::tempdir().unwrap();
    let dead = DeadPort::take();
    let (busy, good, other) = (free_port(), free_port(), free_port());
    let mut out = Peer::start(dir.path(), "out_of_service.xml", busy, "t1");
    let mut callee = Peer::start(dir.path(), "answering.xml", good, "t1");
    let mut by_udp = Peer::start(dir.path(), "answering.xml", other, "u1");
    let naptr = |order, service: &str, name: &str| {
        format!("naptr-record=carrier.test,{order},10,s,{service},,{name}.carrier.test")
    };
    let records = [
        naptr(20, "SIP+D2U", "_sip._udp"),
        naptr(10, "SIP+D2T", "_sip._tcp"),
        srv("_sip._tcp", good, 30),
        srv("_sip._tcp", dead.number, 10),
        srv("_sip._tcp", busy, 20),
        srv("_sip._udp", other, 5),
        host(),
    ];
    let dns = Dns::start(dir.path(), &records);
    let server = Server::configured(&configuration(&dns));
    let said = server.dial("4000", "sip:ward@carrier.test");
    assert!(said.is_ok(), "{said:?}\n{}", server.log());
    assert!(callee.heard().contains("INVITE sip:ward@carrier.test "));
    out.is_done();
    assert!(by_udp.process.is_running() && by_udp.heard().is_empty());
    // Whoever names the transport is not asked what the domain prefers.
    let said = server.dial("4000", "sip:ward@carrier.test;transport=udp");
    assert!(said.is_ok(), "{said:?}\n{}", server.log());
    assert!(by_udp.heard().contains("INVITE sip:ward@carrier.test"));
    drop(server);
    callee.is_done();
}

#[test]
fn we_register_at_the_next_server_when_the_first_is_dead() {
    let dir = tempfile::tempdir().unwrap();
    let (dead, port) = (DeadPort::take(), free_port());
    let mut registrar = Peer::start(dir.path(), "registrar.xml", port, "t1");
    let records = [
        srv("_sip._tcp", dead.number, 10),
        srv("_sip._tcp", port, 20),
        host(),
    ];
    let dns = Dns::start(dir.path(), &records);
    let text = configuration(&dns).replace(
        "realm = \"carrier\"\n",
        "realm = \"carrier\"\ntransport = \"tcp\"\nregister = true\n",
    );
    let server = Server::configured(&text);
    wait_for("we are registered", PATIENCE, || {
        server
            .log()
            .contains("registered server=\"city\"")
            .then_some(())
    });
    registrar.is_done();
}

/// A certificate of this name by itself, and its key, in one file as baresip reads them.
fn certificate(dir: &Path, name: &str) -> PathBuf {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let file = dir.join(format!("{name}.pem"));
    let text = made.cert.pem() + &made.signing_key.serialize_pem();
    std::fs::write(&file, text).unwrap();
    file
}

/// Calls `carrier.test`, whose SRV names another host, over TLS; that has this certificate, which is
/// believed. What the command said, and the log.
fn called_over_tls(shown: &str) -> (Result<String, String>, String) {
    let dir = tempfile::tempdir().unwrap();
    let certificate = certificate(dir.path(), shown);
    let callee = Baresip::start_secure(
        &baresip::Config {
            dir: &dir.path().join("baresip"),
            tone_hz: 440,
            clip: None,
            audio_codec: "opus/48000/2",
            account: "",
        },
        &certificate,
    );
    let records = [srv("_sips._tcp", callee.tls_port(), 10), host()];
    let dns = Dns::start(dir.path(), &records);
    let text = format!(
        "[sip]\n{}\nca = \"{}\"\n\
         [[sip.listeners]]\nprotocol = \"tls\"\nlisten = \"127.0.0.1:{}\"\n\
         [[rooms]]\nnumber = \"4000\"\n",
        dns.key(),
        certificate.display(),
        free_port()
    );
    let server = Server::configured(&text);
    let said = server.dial("4000", "sip:terminal@carrier.test");
    (said, format!("{}\n{}", server.log(), callee.log()))
}

/// RFC 5922 §4: the certificate is of the domain that was called. One of the host that SRV names is
/// whoever's who can forge DNS.
#[test]
fn over_tls_a_server_shows_the_name_that_was_called() {
    let (said, log) = called_over_tls("carrier.test");
    assert!(said.is_ok(), "{said:?}\n{log}");
    let (said, log) = called_over_tls("pbx.carrier.test");
    assert!(said.is_err(), "{log}");
    assert!(log.contains("no TLS to a server"), "{log}");
    assert!(log.contains("not valid for name"), "{log}");
}

/// Defect: it was called over UDP, with the keys of its media in clear.
#[test]
fn a_domain_that_offers_tls_alone_is_not_called_in_clear() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut by_udp = Peer::start(dir.path(), "answering.xml", port, "u1");
    let secure = "naptr-record=carrier.test,10,10,s,SIPS+D2T,,_sips._tcp.carrier.test";
    let records = [secure.to_owned(), srv("_sip._udp", port, 10), host()];
    let dns = Dns::start(dir.path(), &records);
    let server = Server::configured(&configuration(&dns));
    let said = server.dial("4000", "sip:ward@carrier.test");
    assert!(said.is_err(), "{said:?}");
    let log = server.log();
    assert!(
        log.contains("the domain offers no SIP that we speak"),
        "{log}"
    );
    assert!(by_udp.process.is_running() && by_udp.heard().is_empty());
}
