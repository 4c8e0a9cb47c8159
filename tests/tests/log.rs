//! The log, at its most talkative, holds nobody's name, login, password, PIN, token or address
//! (WS/T 545: PRV-05, SEC-02).

use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tests::administrator::{Administrator, PASSWORD};
use tests::baresip::{self, Baresip};
use tests::browser::Browser;
use tests::server::{Server, binary};
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(40);
const NAME: &str = "李春花";
const LOGIN: &str = "li.chunhua";
const ROOM: &str = "4000";
const PIN: &str = "730162";
const WRONG_PIN: &str = "999817";
/// A password that was typed in the place of the login, and a wrong one.
const TYPED: &str = "geheim-im-feld";
const WRONG: &str = "falsches-wort-42";
/// A caller, as its terminal names it, and its address.
const CALLER: &str = "张伟大夫";
const ADDRESS: &str = "zhang.wei.privat";
/// Somebody who is called.
const CALLEE: &str = "wang.privat";
/// User of the account, as baresip calls itself.
const USER: &str = "terminal";

#[test]
fn no_line_of_the_log_holds_what_is_somebodys_own() {
    let mut program = Command::new(binary());
    program.env("CONSILIUM_LOG", "trace");
    let server = Server::start_as(&mut program, &["--demo"]);
    let admin = Administrator::first(&server);
    admin.person(LOGIN, NAME, "clinician");
    let password = make(&admin);
    let token = token(&admin);
    for (login, given) in [(LOGIN, WRONG), (TYPED, WRONG)] {
        let body = json!({ "login": login, "password": given });
        assert_eq!(admin.ask("POST", "/session", &body).status, 401);
    }

    call_in(&server, "3000");
    call_in(&server, &format!("{ROOM}*{WRONG_PIN}"));
    let terminal = terminal(&server, &password);
    wait_for("the terminal is registered", PATIENCE, || {
        terminal.log().contains("200 OK").then_some(())
    });
    let log = server.dir().join("page.log");
    let page = Browser::join_logged_in(&server.url("/room/3000"), 1, &log, (LOGIN, PASSWORD));
    wait_for("the page is in", PATIENCE, || {
        let legs = admin.room("3000").legs;
        legs.iter().any(|leg| leg.site.name.0 == NAME).then_some(())
    });
    // Nobody is there: it is told so.
    let target = format!("sip:{CALLEE}@nobody.invalid");
    let _ = server.dial("3000", &target);
    drop(page);

    let text = server.log();
    assert!(text.contains("TRACE"), "it is not talkative");
    let words = [
        NAME,
        "管理员",
        LOGIN,
        PASSWORD,
        TYPED,
        WRONG,
        PIN,
        WRONG_PIN,
        CALLER,
        ADDRESS,
        CALLEE,
        &password,
        &token,
        admin.cookie(),
    ];
    let found: Vec<String> = words
        .iter()
        .filter_map(|word| {
            let mut lines = text.lines().filter(|line| line.contains(word));
            let line: String = lines.next()?.chars().take(300).collect();
            Some(format!(
                "{word}: {} times, first in {line}",
                lines.count() + 1
            ))
        })
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}

/// A room with a PIN, and an account; its password.
fn make(admin: &Administrator<'_>) -> String {
    let at = admin.root();
    let room =
        json!({ "organisation": at, "number": ROOM, "name": "会诊室", "guests": true, "pin": PIN });
    admin.make("/rooms", &room);
    let account = json!({ "organisation": at, "user": USER, "name": "手术室" });
    let made = admin.make("/accounts", &account);
    made["password"].as_str().expect("a password").to_owned()
}

fn token(admin: &Administrator<'_>) -> String {
    let now = std::time::SystemTime::now();
    let now = now
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64;
    let expires = now + 24 * 3600 * 1000;
    let wanted = json!({ "name": "t", "rights": ["rooms.view"], "expires_ms": expires,
        "password": PASSWORD });
    let made = admin.make("/session/tokens", &wanted);
    made["token"].as_str().expect("a token").to_owned()
}

/// Somebody with a name and an address of their own calls.
fn call_in(server: &Server, number: &str) {
    let at = server.sip_address();
    let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n";
    let invite = format!(
        "INVITE sip:{number}@{at} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:5999;branch=z9hG4bK{number}\r\n\
         Max-Forwards: 70\r\nFrom: \"{CALLER}\" <sip:{ADDRESS}@private.example>;tag=1\r\n\
         To: <sip:{number}@{at}>\r\nCall-ID: {number}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:{ADDRESS}@127.0.0.1:5999;transport=tcp>\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    );
    let answer = server.sip_tcp(invite.as_bytes());
    assert!(answer.starts_with("SIP/2.0"), "{answer}");
}

/// A terminal that registers with this password.
fn terminal(server: &Server, password: &str) -> Baresip {
    let account = format!(
        ";regint=60;auth_user={USER};auth_pass={password};outbound=\"sip:127.0.0.1:{}\"",
        server.sip
    );
    Baresip::start(&baresip::Config {
        dir: &server.dir().join("baresip"),
        tone_hz: 440,
        clip: None,
        audio_codec: "PCMU/8000/1",
        account: &account,
    })
}
