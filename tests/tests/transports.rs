//! SIP over TLS and IPv6, with real peers (MCU-03, VTC-01).

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use benches::load::Load;
use benches::tone;
use tests::baresip::{self, Baresip};
use tests::openssl::{options, s_client};
use tests::process::free_port;
use tests::server::Server;
use tests::terminal::sending;
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(40);
const TERMINAL: u8 = 3;
const SMALL_LEG: u8 = 4;

struct Ports {
    tls: u16,
    v6: u16,
}

fn start() -> (Server, Ports) {
    let ports = Ports {
        tls: free_port(),
        v6: free_port(),
    };
    let server = Server::configured(&format!(
        "demo = true\n\
         [[sip.listeners]]\nprotocol = \"tls\"\nlisten = \"127.0.0.1:{}\"\n\
         [[sip.listeners]]\nprotocol = \"udp\"\nlisten = \"[::1]:{}\"\n\
         [[sip.listeners]]\nprotocol = \"tcp\"\nlisten = \"[::1]:{}\"\n",
        ports.tls, ports.v6, ports.v6
    ));
    (server, ports)
}

#[test]
fn a_terminal_over_tls_is_heard_in_its_room() {
    let (server, ports) = start();
    let load = Load::start().unwrap();
    let small = server.call(&load, sending(SMALL_LEG));
    let terminal = Baresip::start(&baresip::Config {
        dir: &server.dir().join("baresip"),
        tone_hz: tone::frequency_hz(TERMINAL).unwrap().into(),
        clip: None,
        audio_codec: "opus/48000/2",
        account: "",
    });
    terminal.dial(&format!("sip:3000@127.0.0.1:{};transport=tls", ports.tls));
    let heard = small.wait_until(PATIENCE, |report| report.heard().contains(&TERMINAL));
    let _ = heard
        .unwrap()
        .unwrap_or_else(|last| panic!("small leg: {last:#?}\n{}", server.log()));
    // The BYE goes by the same connection.
    terminal.hang_up();
    wait_for("the terminal has left", PATIENCE, || {
        server.room().filter(|room| room.legs.len() == 1)
    });
}

#[test]
fn tls_takes_sips_and_a_renewed_certificate_and_no_old_version() {
    let (server, ports) = start();
    let at = format!("127.0.0.1:{}", ports.tls);
    let said = s_client(&at, &[], "sips");
    assert!(said.contains("SIP/2.0 200 OK"), "{said}\n{}", server.log());
    assert!(said.contains("Consilium self-signed"), "{said}");
    // What is no TLS, and what is too old for it.
    assert!(!tcp(&at, &options("sip", "TCP", &at)).contains("SIP/2.0"));
    let old = ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"];
    let said = s_client(&at, &old, "sips");
    assert!(!said.contains("SIP/2.0 200"), "{said}");

    renew(&server.dir().join("data"));
    let said = s_client(&at, &[], "sips");
    assert!(said.contains("SIP/2.0 200 OK"), "{said}\n{}", server.log());
    assert!(said.contains("renewed.example"), "{said}");
}

#[test]
fn further_listeners_answer_over_ipv6() {
    let (server, ports) = start();
    let at = format!("[::1]:{}", ports.v6);
    let answer = tcp(&at, &options("sip", "TCP", &at));
    assert!(answer.starts_with("SIP/2.0 200 OK"), "{answer}");
    // Without TLS below, `sips` cannot be kept.
    let answer = tcp(&at, &options("sips", "TCP", &at));
    assert!(answer.starts_with("SIP/2.0 416"), "{answer}");
    let socket = UdpSocket::bind("[::1]:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
        .send_to(options("sip", "UDP", &at).as_bytes(), &at)
        .unwrap();
    let mut buffer = vec![0; 65_536];
    let (len, from) = socket.recv_from(&mut buffer).unwrap();
    let answer = String::from_utf8_lossy(&buffer[..len]);
    assert!(answer.starts_with("SIP/2.0 200 OK"), "{answer}");
    assert_eq!(from.to_string(), at, "{}", server.log());
}

/// What the peer answers over TCP before it pauses or closes.
fn tcp(at: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut buffer = vec![0; 65_536];
    let len = stream.read(&mut buffer).unwrap_or(0);
    String::from_utf8_lossy(&buffer[..len]).into_owned()
}

/// Puts another certificate where the server's lies.
fn renew(data: &Path) {
    let done = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
        .args(["ec_paramgen_curve:prime256v1", "-nodes", "-days", "9"])
        .args(["-subj", "/CN=renewed.example", "-out"])
        .arg(data.join("tls/cert.pem"))
        .arg("-keyout")
        .arg(data.join("tls/key.pem"))
        .stderr(Stdio::null())
        .status()
        .expect("run openssl");
    assert!(done.success());
}
