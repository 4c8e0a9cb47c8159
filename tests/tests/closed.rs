//! Closed by default: without configuration nobody enters, by account only whom the operator named
//! (MCU-23, VSEC-02 in part).

use benches::load::{Load, LoadError};
use tests::baresip::{self, Baresip};
use tests::server::Server;
use tests::terminal::sending;

/// Rooms of the configured server: one for accounts alone, one that takes guests, too.
const CLOSED: &str = "4000";
const OPEN: &str = "5000";

const CONFIGURATION: &str = r#"
[sip]
realm = "hospital.example"

[[sip.accounts]]
user = "ward-7"
password = "correct-horse"

[[rooms]]
number = "4000"

[[rooms]]
number = "5000"
guests = true
"#;

#[test]
fn a_server_without_configuration_lets_nobody_in() {
    let server = Server::start(&[]);
    assert_eq!(refusal_of(&server, "3000"), "404 Not Found");
    let (status, _) = server.get("/api/v1/rooms/3000").unwrap();
    assert_eq!(status, 401);
    let registered = server.sip_tcp(&register(server.sip));
    assert!(registered.starts_with("SIP/2.0 40"), "{registered}");
    assert!(!registered.starts_with("SIP/2.0 400"), "{registered}");
}

#[test]
fn a_closed_room_takes_accounts_and_an_open_one_guests() {
    let server = Server::configured(CONFIGURATION);
    let refused = refusal_of(&server, CLOSED);
    assert!(refused.starts_with("401"), "{refused}");
    call(&server, OPEN).unwrap();

    let known = terminal(&server, "ward-7", "correct-horse");
    known.dial(&format!("sip:{CLOSED}@127.0.0.1:{}", server.sip));
    known.hang_up();

    let wrong = terminal(&server, "ward-7", "battery-staple");
    let refused = wrong.dial_in_vain(&format!("sip:{CLOSED}@127.0.0.1:{}", server.sip));
    assert!(refused.contains("401"), "{refused}");
    let log = server.log();
    for secret in ["correct-horse", "battery-staple"] {
        assert!(!log.contains(secret), "a password is in the log");
    }
}

/// baresip with an account of its own at the server.
fn terminal(server: &Server, user: &str, password: &str) -> Baresip {
    let name = format!("{user}-{}", password.len());
    Baresip::start(&baresip::Config {
        dir: &server.dir().join(name),
        tone_hz: 440,
        clip: None,
        audio_codec: "PCMU/8000/1",
        account: &format!(";auth_user={user};auth_pass={password}"),
    })
}

fn call(server: &Server, room: &str) -> Result<(), LoadError> {
    let load = Load::start().unwrap();
    server.call_number(&load, room, sending(1)).map(drop)
}

fn refusal_of(server: &Server, room: &str) -> String {
    match call(server, room) {
        Err(LoadError::Refused(reason)) => reason,
        other => panic!("{other:?}\n{}", server.log()),
    }
}

fn register(sip: u16) -> Vec<u8> {
    format!(
        "REGISTER sip:127.0.0.1:{sip} SIP/2.0\r\n\
         Via: SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bKclosed\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:ward-7@127.0.0.1>;tag=1\r\n\
         To: <sip:ward-7@127.0.0.1>\r\n\
         Call-ID: closed@test\r\n\
         CSeq: 1 REGISTER\r\n\
         Contact: <sip:ward-7@127.0.0.1:9>\r\n\
         Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}
