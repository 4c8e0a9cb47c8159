//! An operator moves terminals: they are asked to go on elsewhere by a call of their own, which is let in
//! as any other (RFC 3515, MCU-03).

use std::time::Duration;

use benches::load::Load;
use benches::tone;
use tests::baresip::{self, Baresip};
use tests::capture::Capture;
use tests::process::free_port;
use tests::server::Server;
use tests::sipp;
use tests::terminal::{expect_heard, sending};
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(30);
const HERE: u8 = 1;
const THERE: u8 = 2;
const MOVED: u8 = 5;

const CONFIGURATION: &str = r#"
demo = true

[[rooms]]
number = "4000"
guests = true

[[rooms]]
number = "5000"
"#;

#[test]
fn a_terminal_that_is_sent_elsewhere_calls_there_and_is_heard() {
    let server = Server::configured(CONFIGURATION);
    let load = Load::start().unwrap();
    let here = server.call(&load, sending(HERE));
    let there = server.call_number(&load, "4000", sending(THERE)).unwrap();
    let ports = format!("port {} or udp port {}", server.sip, server.media.1);
    let capture = Capture::start(server.dir(), &ports);
    let terminal = Baresip::start(&baresip::Config {
        dir: &server.dir().join("baresip"),
        tone_hz: tone::frequency_hz(MOVED).unwrap().into(),
        clip: None,
        audio_codec: "PCMU/8000/1",
        account: "",
    });
    terminal.dial(&format!("sip:3000@127.0.0.1:{}", server.sip));
    expect_heard(&here, &[MOVED], &server);
    // Where it may not go, its call is refused as any other: it stays.
    let complaint = server.transfer("3000", "terminal", "5000").unwrap_err();
    assert!(complaint.contains("403"), "{complaint}");
    expect_heard(&here, &[MOVED], &server);
    let said = server.transfer("3000", "terminal", "4000").unwrap();
    assert_eq!(said, "terminal has gone from room 3000\n");
    expect_heard(&there, &[MOVED], &server);
    wait_for("it has left the first room", PATIENCE, || {
        server.room().filter(|room| room.legs.len() == 1)
    });
    expect_heard(&here, &[], &server);
    let complaint = server.transfer("3000", "terminal", "4000").unwrap_err();
    assert!(complaint.contains("nobody in room 3000"), "{complaint}");
    let wire = capture.stop(server.media.1, &[format!("udp.port=={},sip", server.sip)]);
    let bad = "sip and (_ws.malformed or _ws.expert.severity == \"Error\")";
    assert_eq!(wire.count(bad), 0, "{}", wire.show(bad));
    let ours = format!("udp.srcport == {}", server.sip);
    for (said, times) in [("REFER", 2), ("BYE", 1)] {
        let said = format!("sip.Method == \"{said}\" and {ours}");
        assert!(wire.count(&said) >= times, "{said}");
    }
    let answered = format!("sip.CSeq.method == \"NOTIFY\" and sip.Status-Code == 200 and {ours}");
    assert!(wire.count(&answered) >= 2);
}

#[test]
fn a_terminal_that_does_not_go_or_fails_there_stays() {
    let server = Server::configured(CONFIGURATION);
    let mut terminal = sipp::scenario(server.dir(), "transferee.xml", free_port())
        .args(["-s", "3000", "-mi", "127.0.0.1"])
        .args(["-m", "1", "-timeout", "60", "-timeout_error"])
        .arg(server.sip_address().to_string())
        .spawn()
        .expect("run sipp");
    wait_for("it is in the room", PATIENCE, || {
        server.room().filter(|room| room.legs.len() == 1)
    });
    for status in ["603", "486"] {
        let complaint = wait_for("it is asked", PATIENCE, || {
            let complaint = server.transfer("3000", "mover", "4000").unwrap_err();
            // Before its ACK it is not asked.
            (!complaint.contains("not in the meeting")).then_some(complaint)
        });
        assert!(complaint.contains(status), "{complaint}");
        assert_eq!(server.room().unwrap().legs.len(), 1);
    }
    let said = server.transfer("3000", "mover", "4000").unwrap();
    assert_eq!(said, "mover has gone from room 3000\n");
    assert!(terminal.wait().unwrap().success(), "{}", server.log());
    wait_for("it has left", PATIENCE, || {
        server.room().filter(|room| room.legs.is_empty())
    });
}
