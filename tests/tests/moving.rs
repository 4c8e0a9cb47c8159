//! A terminal moves to another room within its call, with sipp as the terminal: it is heard in the one
//! first and in the other then, by the same ports (MCU-03).

use std::net::UdpSocket;
use std::time::Duration;

use benches::load::Load;
use benches::tone;
use tests::capture::Capture;
use tests::process::free_port;
use tests::server::Server;
use tests::sipp;
use tests::terminal::{expect_heard, sending};

const PATIENCE: Duration = Duration::from_secs(30);
const HERE: u8 = 1;
const THERE: u8 = 2;
const MOVER: u8 = 5;
const CALL_ID: &str = "mover";
/// Seconds of sound that are listened to.
const ENOUGH_S: f64 = 3.0;

const CONFIGURATION: &str = r#"
[[rooms]]
number = "3000"
guests = true

[[rooms]]
number = "4000"
guests = true
"#;

#[test]
fn a_terminal_that_asks_is_moved_and_heard_in_the_other_room() {
    let server = Server::configured(CONFIGURATION);
    let load = Load::start().unwrap();
    let here = server.call(&load, sending(HERE));
    let there = server.call_number(&load, "4000", sending(THERE)).unwrap();
    let ports = format!("port {} or udp port {}", server.sip, server.media.1);
    let capture = Capture::start(server.dir(), &ports);
    std::fs::write(server.dir().join("tone.ulaw"), tone_of(MOVER)).unwrap();
    let port = free_port();
    let mut mover = sipp::scenario(server.dir(), "mover.xml", port)
        .args(["-s", "3000", "-mi", "127.0.0.1", "-cid_str", CALL_ID])
        .args(["-m", "1", "-timeout", "90", "-timeout_error"])
        .arg(server.sip_address().to_string())
        .spawn()
        .expect("run sipp");
    expect_heard(&here, &[MOVER], &server);
    // Nobody is moved within two seconds of its entry.
    expect_heard(&here, &[MOVER], &server);
    signal(port, 1);
    expect_heard(&there, &[MOVER], &server);
    here.reset().unwrap();
    let left = here.wait_until(PATIENCE, |report| report.seconds >= ENOUGH_S);
    let left = left.unwrap().unwrap_or_else(|last| panic!("{last:#?}"));
    assert!(left.heard().is_empty(), "it is still in the first room");
    signal(port, 2);
    assert!(mover.wait().unwrap().success(), "{}", server.log());
    let wire = capture.stop(server.media.1, &[format!("udp.port=={},sip", server.sip)]);
    let bad = "sip and (_ws.malformed or _ws.expert.severity == \"Error\")";
    assert_eq!(wire.count(bad), 0, "{}", wire.show(bad));
    assert!(wire.count("sip.Status-Code == 202") >= 1);
    assert!(wire.count("sip.Method == \"NOTIFY\"") >= 1);
}

/// Has sipp go on: it waits for a message of its call.
fn signal(port: u16, number: u32) {
    let message = format!(
        "MESSAGE sip:mover@127.0.0.1:{port} SIP/2.0\r\n\
         Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKsignal{number}\r\n\
         From: <sip:test@127.0.0.1>;tag=test\r\nTo: <sip:mover@127.0.0.1:{port}>\r\n\
         Call-ID: {CALL_ID}\r\nCSeq: {number} MESSAGE\r\nMax-Forwards: 70\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .send_to(message.as_bytes(), ("127.0.0.1", port))
        .unwrap();
}

/// A source's tone in G.711 µ-law, once around.
fn tone_of(id: u8) -> Vec<u8> {
    let samples = tone::generate(id, 8_000, 0, 8_000 * tone::PERIOD_S);
    samples.into_iter().map(ulaw).collect()
}

/// ITU-T G.711: sign, three bits of the exponent, four of the mantissa, all inverted.
fn ulaw(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = (i32::from(sample).abs() + 132).min(32_767);
    let exponent = (magnitude >> 7).ilog2();
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    !(sign | ((exponent as u8) << 4) | mantissa as u8)
}
