//! Rooms and accounts that people make by the API: terminals register with them and enter, whoever is
//! logged in enters as himself, and all of it outlives the controller without manager and database
//! (MGT-01, VSEC-03, SW-04).

use std::time::Duration;

use benches::clip::{Clip, Config};
use benches::load::{Load, LoadError};
use benches::tone;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::administrator::{Administrator, PASSWORD};
use tests::baresip::{self, Baresip, write_clip};
use tests::browser::Browser;
use tests::measure::sources_in;
use tests::server::Server;
use tests::terminal::sending;
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(40);
const TERMINAL: u8 = 3;
const PAGE: u8 = 2;
const ROOM: &str = "4000";

const CONFIGURATION: &str = r#"
[sip]
realm = "hospital.example"
"#;

#[test]
fn who_has_an_account_or_is_logged_in_enters_a_room_that_was_made_and_nobody_else() {
    let server = Server::configured(CONFIGURATION);
    let admin = Administrator::first(&server);
    let password = make(&admin);
    admin.person("li.chun", "李春", "clinician");
    let terminal = terminal(&server, &password);
    wait_for("the terminal is registered", PATIENCE, || {
        terminal.log().contains("200 OK").then_some(())
    });
    terminal.dial(&format!("sip:{ROOM}@127.0.0.1:{}", server.sip));
    assert!(refusal_of(&server).starts_with("401"));

    let page = server.url(&format!("/room/{ROOM}"));
    let log = server.dir().join("page.log");
    let browser = Browser::join_logged_in(&page, PAGE, &log, ("li.chun", PASSWORD));
    wait_for("the page sees and hears the terminal", PATIENCE, || {
        let report = browser.next_report();
        let seen = report.markers.values().any(|marker| marker.id == TERMINAL);
        (seen && report.tones.contains_key(&TERMINAL)).then_some(())
    });
    wait_for("the terminal hears the page", PATIENCE, || {
        (sources_in(&terminal.heard()?, 2.0) == [PAGE]).then_some(())
    });
    let names = || {
        let legs = admin.room(ROOM).legs.into_iter();
        legs.map(|leg| leg.site.name.0).collect::<Vec<_>>()
    };
    assert!(names().contains(&"李春".to_owned()), "{:?}", names());

    let log = server.dir().join("stranger.log");
    let _stranger = Browser::join(&page, 4, &log);
    wait_for("a page without a login is refused", PATIENCE, || {
        server.log().contains("NotAllowed").then_some(())
    });
    assert_eq!(names().len(), 2);

    silence_and_remove(&admin, &browser, &terminal);
    for secret in [password.as_str(), PASSWORD] {
        assert!(!server.log().contains(secret), "a password is in the log");
    }
}

/// An operator mutes the terminal, takes that back, and removes the terminal.
fn silence_and_remove(admin: &Administrator<'_>, browser: &Browser, terminal: &Baresip) {
    let legs = admin.room(ROOM).legs;
    let leg = legs.iter().find(|leg| leg.site.name.0 != "李春");
    let leg = format!("/rooms/{ROOM}/legs/{}", leg.expect("a terminal").site.leg);
    for silenced in [true, false] {
        let done = admin.ask("PATCH", &leg, &json!({ "audio_silenced": silenced }));
        assert_eq!(done.status, 204, "{done:?}");
        wait_for("the page hears as the operator wants", PATIENCE, || {
            let hears = browser.next_report().tones.contains_key(&TERMINAL);
            (hears != silenced).then_some(())
        });
    }
    let done = admin.ask("DELETE", &leg, &Value::Null);
    assert_eq!(done.status, 204, "{done:?}");
    wait_for("the terminal is hung up on", PATIENCE, || {
        terminal.log().contains("session closed").then_some(())
    });
}

#[test]
fn a_room_that_was_made_outlives_the_controller_while_the_manager_stands_still() {
    let server = Server::configured(CONFIGURATION);
    let admin = Administrator::first(&server);
    let password = make(&admin);
    let manager = Pid::from_raw(server.pid_of("manager"));
    kill(manager, Signal::SIGSTOP).unwrap();
    server.kill("control");
    let first = terminal(&server, &password);
    wait_for("the terminal is registered", PATIENCE, || {
        first.log().contains("200 OK").then_some(())
    });
    first.dial(&format!("sip:{ROOM}@127.0.0.1:{}", server.sip));
    kill(manager, Signal::SIGCONT).unwrap();
    wait_for("the manager shows who is in", PATIENCE, || {
        let answer = admin.ask("GET", &format!("/rooms/{ROOM}"), &Value::Null);
        (answer.status == 200 && answer.body["legs"].as_array()?.len() == 1).then_some(())
    });

    let removed = admin.ask("DELETE", &format!("/rooms/{ROOM}"), &Value::Null);
    assert_eq!(removed.status, 204, "{removed:?}");
    wait_for("the terminal is hung up on", PATIENCE, || {
        first.log().contains("session closed").then_some(())
    });
    drop(first);
    server.kill("control");
    // The account is one still, for whom there is nothing behind the number.
    assert!(refusal_of(&server).starts_with("401"));
    let again = terminal(&server, &password);
    let refused = again.dial_in_vain(&format!("sip:{ROOM}@127.0.0.1:{}", server.sip));
    assert!(refused.contains("404"), "{refused}");
}

/// Makes a room and the terminal's account; the password.
fn make(admin: &Administrator<'_>) -> String {
    let at = admin.root();
    let room = json!({ "organisation": at, "number": ROOM, "name": "会诊室" });
    admin.make("/rooms", &room);
    let account = json!({ "organisation": at, "user": "terminal", "name": "手术室" });
    let made = admin.make("/accounts", &account);
    made["password"].as_str().expect("a password").to_owned()
}

fn terminal(server: &Server, password: &str) -> Baresip {
    let clip = server.dir().join("terminal.mp4");
    write_clip(&Clip::load(&Config::hd(TERMINAL)).unwrap(), &clip);
    let account = format!(
        ";regint=60;auth_user=terminal;auth_pass={password};outbound=\"sip:127.0.0.1:{}\"",
        server.sip
    );
    Baresip::start(&baresip::Config {
        dir: &server.dir().join("baresip"),
        tone_hz: tone::frequency_hz(TERMINAL).unwrap().into(),
        clip: Some(&clip),
        audio_codec: "PCMU/8000/1",
        account: &account,
    })
}

/// What a terminal without an account is told.
fn refusal_of(server: &Server) -> String {
    let load = Load::start().unwrap();
    match server.call_number(&load, ROOM, sending(1)) {
        Err(LoadError::Refused(reason)) => reason,
        _ => panic!("a stranger is in\n{}", server.log()),
    }
}
