//! Trunks, with sipp as the carrier: calls to it by our password there, calls from it to where its
//! rules lead (MCU-03, VSEC-03).

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tests::administrator::Administrator;
use tests::process::{Process, free_port, is_udp_port_taken};
use tests::server::Server;
use tests::{sipp, wait_for};

const PATIENCE: Duration = Duration::from_secs(30);

/// Two trunks to the same carrier, one with the wrong password. Nobody enters the room as a guest.
fn configuration(carrier: u16) -> String {
    format!(
        r#"
[[sip.accounts]]
user = "ward-7"
password = "correct-horse"

[[sip.trunks]]
name = "city"
address = "127.0.0.1:{carrier}"
domain = "carrier.example"
realm = "carrier"
user = "hospital"
password = "t0p-s3cret"
sources = ["127.0.0.2"]

[[sip.trunks]]
name = "wrong"
address = "localhost:{carrier}"
realm = "carrier"
user = "hospital"
password = "not-it"

[[sip.trunks]]
name = "stranger"
address = "localhost:{carrier}"
user = "hospital"
password = "t0p-s3cret"

[[rooms]]
number = "4000"

[[dialplan]]
from_trunk = "city"
number = "5551234"
room = "4000"

[[dialplan]]
prefix = "9"
trunk = "city"
strip = 1

[[dialplan]]
prefix = "8"
trunk = "wrong"

[[dialplan]]
prefix = "7"
trunk = "stranger"
"#
    )
}

#[test]
fn a_room_calls_by_a_trunk_that_asks_for_its_password() {
    let port = free_port();
    let server = Server::configured(&configuration(port));
    let messages = server.dir().join("messages");
    let mut carrier = carrier(&server, port, &messages);
    wait_for("the carrier listens", PATIENCE, || {
        assert!(carrier.is_running());
        is_udp_port_taken(port).then_some(())
    });
    let said = server.dial("4000", "95551234").unwrap_or_else(|complaint| {
        panic!("{complaint}\n{}\n{}", server.log(), read(&messages));
    });
    assert_eq!(said, "95551234 is in room 4000\n");
    let heard = read(&messages);
    assert!(
        heard.contains("INVITE sip:5551234@carrier.example SIP/2.0"),
        "{heard}"
    );
    assert!(
        heard.contains("From: <sip:hospital@carrier.example>;tag="),
        "{heard}"
    );
    let complaint = server.dial("4000", "85551234").unwrap_err();
    assert!(complaint.contains("SIP status 403"), "{complaint}");
    // A digest of the password is not for every realm that asks.
    let proofs = || read(&messages).matches("Authorization: Digest").count();
    let before = proofs();
    let complaint = server.dial("4000", "75551234").unwrap_err();
    assert!(complaint.contains("SIP status 401"), "{complaint}");
    assert_eq!(proofs(), before);
    assert!(server.log().contains("\"carrier\""), "{}", server.log());
    for secret in ["t0p-s3cret", "not-it"] {
        assert!(!server.log().contains(secret), "a password is in the log");
    }
}

#[test]
fn calls_from_a_trunk_go_where_its_rules_lead_and_no_strangers_do() {
    let server = Server::configured(&configuration(free_port()));
    assert!(calls(&server, "127.0.0.2", "5551234"), "{}", server.log());
    for (from, number) in [
        ("127.0.0.1", "5551234"),
        ("127.0.0.2", "4000"),
        ("127.0.0.2", "95551234"),
    ] {
        assert!(!calls(&server, from, number), "{number} from {from}");
    }
}

/// sipp checks our digest and lets us in.
#[test]
fn we_register_at_a_trunk_that_wants_it() {
    let port = free_port();
    let dir = tempfile::tempdir().unwrap();
    let mut command = sipp::scenario(dir.path(), "registrar.xml", port);
    command.args(["-m", "1"]);
    let mut registrar = Process::start(&mut command, &dir.path().join("sipp.log"));
    wait_for("the registrar listens", PATIENCE, || {
        is_udp_port_taken(port).then_some(())
    });
    let text = format!(
        "[[sip.trunks]]\nname = \"city\"\naddress = \"localhost:{port}\"\nrealm = \"carrier\"\nregister = true\n\
         domain = \"carrier.example\"\nuser = \"hospital\"\npassword = \"t0p-s3cret\"\n"
    );
    let server = Server::configured(&text);
    wait_for("we are registered", PATIENCE, || {
        server
            .log()
            .contains("registered server=\"city\"")
            .then_some(())
    });
    wait_for("the registrar is content", PATIENCE, || {
        (!registrar.is_running()).then_some(())
    });
    assert!(!server.log().contains("t0p-s3cret"));
}

/// MGT-01: by the API, while the server runs; the password is told to nobody again.
#[test]
fn a_trunk_that_was_made_registers_and_carries_calls_until_it_is_removed() {
    let port = free_port();
    let server = Server::configured("");
    let admin = Administrator::first(&server);
    let mut command = sipp::scenario(server.dir(), "registrar.xml", port);
    command.args(["-m", "1"]);
    let mut registrar = Process::start(&mut command, &server.dir().join("registrar.log"));
    wait_for("the registrar listens", PATIENCE, || {
        is_udp_port_taken(port).then_some(())
    });
    let at = admin.root();
    for (number, pin) in [("4000", None), ("4900", Some("471147"))] {
        let room = json!({ "organisation": at, "number": number, "name": "会诊室",
            "guests": pin.is_some(), "guest_pin": pin });
        admin.make("/rooms", &room);
    }
    let trunk = json!({ "organisation": at, "name": "city", "address": format!("localhost:{port}"),
        "domain": "carrier.example", "realm": "carrier", "user": "hospital",
        "password": "t0p-s3cret", "register": true, "prefix": "9", "sources": ["127.0.0.2"],
        "numbers": [{ "number": "5551234", "room": "4900" }, { "number": "5550000", "room": "4000" }] });
    let made = admin.make("/trunks", &trunk);
    wait_for("we are registered", PATIENCE, || {
        let list = admin.get("/trunks");
        assert!(!list.to_string().contains("t0p-s3cret"));
        (list["items"][0]["state"]["registered"] == true).then_some(())
    });
    wait_for("the registrar is content", PATIENCE, || {
        (!registrar.is_running()).then_some(())
    });

    let messages = server.dir().join("messages");
    let mut carrier = carrier(&server, port, &messages);
    wait_for("the carrier listens", PATIENCE, || {
        assert!(carrier.is_running());
        is_udp_port_taken(port).then_some(())
    });
    let call = || {
        let target = json!({ "target": "95551234" });
        let answer = admin.ask("POST", "/rooms/4000/calls", &target);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["outcome"].as_str().map(str::to_owned)
    };
    assert_eq!(call().as_deref(), Some("answered"), "{}", server.log());
    let heard = read(&messages);
    assert!(
        heard.contains("INVITE sip:5551234@carrier.example SIP/2.0"),
        "{heard}"
    );

    // To the door of the room that takes guests, and to no other.
    assert!(calls(&server, "127.0.0.2", "5551234"), "{}", server.log());
    for (from, number) in [
        ("127.0.0.1", "5551234"),
        ("127.0.0.2", "5550000"),
        ("127.0.0.2", "4000"),
    ] {
        assert!(!calls(&server, from, number), "{number} from {from}");
    }
    let gone = format!("/trunks/{}", made["id"].as_str().expect("an id"));
    let gone = admin.ask("DELETE", &gone, &Value::Null);
    assert_eq!(gone.status, 204, "{gone:?}");
    assert_eq!(call().as_deref(), Some("unreachable"));
    assert!(!calls(&server, "127.0.0.2", "5551234"));
    assert!(
        !server.log().contains("t0p-s3cret"),
        "a password is in the log"
    );
}

fn carrier(server: &Server, port: u16, messages: &Path) -> Process {
    let mut command = sipp::scenario(server.dir(), "trunk.xml", port);
    command.args(["-trace_msg", "-message_file"]).arg(messages);
    Process::start(&mut command, &server.dir().join("sipp.log"))
}

/// Whether a call of sipp from this address is taken.
fn calls(server: &Server, from: &str, number: &str) -> bool {
    let (from, to) = (from.parse().unwrap(), (number, server.sip_address()));
    sipp::call(server.dir(), from, to, &["-m", "1", "-d", "100"]).is_ok()
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_default()
}
