//! Two hospitals on one server do not reach each other by SIP: rooms that are not shared are not there for
//! the other's terminals, nor can they be watched, and no operator has the other's terminals ring
//! (MGT-05, VSEC-03). Terminals are baresip, the subscriber is sipp.

use std::path::Path;
use std::time::Duration;

use benches::tone;
use serde_json::{Value, json};
use tests::administrator::{Administrator, Answer, PASSWORD};
use tests::baresip::{self, Baresip};
use tests::process::{Process, free_port};
use tests::server::Server;
use tests::{sipp, wait_for};

const PATIENCE: Duration = Duration::from_secs(40);
/// A room of the west; one that takes guests; nobody's.
const ROOM: &str = "4000";
const FOR_GUESTS: &str = "4900";
const NOWHERE: &str = "9999";

const CONFIGURATION: &str = r#"
[sip]
realm = "hospital.example"
"#;

/// The two hospitals, and the passwords of a terminal of each.
struct Region<'a> {
    server: &'a Server,
    root: Administrator<'a>,
    east: String,
    west: String,
    east_terminal: String,
    west_terminal: String,
}

impl<'a> Region<'a> {
    fn new(server: &'a Server) -> Self {
        let root = Administrator::first(server);
        let above = root.root();
        let hospital = |name: &str| {
            let new = json!({ "parent": above, "kind": "hospital", "name": name });
            id_of(&root.make("/organisations", &new))
        };
        let (east, west) = (hospital("东院"), hospital("西院"));
        let account = |at: &str, user: &str| {
            let new = json!({ "organisation": at, "user": user, "name": user });
            let made = root.make("/accounts", &new);
            made["password"].as_str().expect("a password").to_owned()
        };
        // baresip registers as `terminal`.
        let (east_terminal, west_terminal) = (account(&east, "east"), account(&west, "terminal"));
        for (number, pin) in [(ROOM, None), (FOR_GUESTS, Some("471147"))] {
            let new = json!({ "organisation": west, "number": number, "name": "会诊室",
                "guests": pin.is_some(), "guest_pin": pin });
            root.make("/rooms", &new);
        }
        Self {
            server,
            root,
            east,
            west,
            east_terminal,
            west_terminal,
        }
    }

    /// A terminal of the east that does not register.
    fn of_east(&self, name: &str) -> Baresip {
        let account = format!(";auth_user=east;auth_pass={}", self.east_terminal);
        terminal(self.server, name, &account)
    }

    fn of_west(&self) -> Baresip {
        let account = format!(
            ";regint=60;auth_user=terminal;auth_pass={};outbound=\"sip:127.0.0.1:{}\"",
            self.west_terminal, self.server.sip
        );
        let west = terminal(self.server, "west", &account);
        wait_for("the terminal is registered", PATIENCE, || {
            west.log().contains("200 OK").then_some(())
        });
        west
    }

    fn uri(&self, number: &str) -> String {
        format!("sip:{number}@127.0.0.1:{}", self.server.sip)
    }

    /// Who administers the east, and nothing else.
    fn boss_of_east(&self) -> Administrator<'a> {
        let new = json!({ "organisation": self.east, "login": "zhao", "name": "赵",
            "password": PASSWORD });
        let person = id_of(&self.root.make("/people", &new));
        let role = json!({ "role": "organisation_administrator", "organisation": self.east });
        let grants = format!("/people/{person}/grants");
        self.root.make(&grants, &role);
        let room = json!({ "organisation": self.east, "number": "2000", "name": "东院" });
        self.root.make("/rooms", &room);
        Administrator::log_in(self.server, "zhao")
    }

    fn legs(&self, number: &str) -> usize {
        let legs = self.root.room(number).legs;
        legs.iter().filter(|leg| !leg.waiting).count()
    }
}

fn id_of(made: &Value) -> String {
    made["id"].as_str().expect("an id").to_owned()
}

fn terminal(server: &Server, name: &str, account: &str) -> Baresip {
    Baresip::start(&baresip::Config {
        dir: &server.dir().join(name),
        tone_hz: tone::frequency_hz(3).expect("a tone").into(),
        clip: None,
        audio_codec: "PCMU/8000/1",
        account,
    })
}

#[test]
fn a_room_is_not_there_for_terminals_of_another_hospital_until_it_is_shared_with_it() {
    let server = Server::configured(CONFIGURATION);
    let region = Region::new(&server);
    let refusal = |name: &str, number: &str| {
        let said = region.of_east(name).dial_in_vain(&region.uri(number));
        let (_, why) = said.split_once("session closed").expect("a reason");
        why.to_owned()
    };
    let nowhere = refusal("nowhere", NOWHERE);
    assert!(nowhere.contains("404"), "{nowhere}");
    assert_eq!(refusal("stranger", ROOM), nowhere);

    let share = format!("/rooms/{ROOM}/shares/{}", region.east);
    let shared = region
        .root
        .ask("PUT", &share, &json!({ "may_view": false }));
    assert_eq!(shared.status, 200, "{shared:?}");
    let east = region.of_east("shared");
    east.dial(&region.uri(ROOM));
    assert_eq!(region.legs(ROOM), 1);

    let taken = region.root.ask("DELETE", &share, &Value::Null);
    assert_eq!(taken.status, 204, "{taken:?}");
    assert_eq!(refusal("no more", ROOM), nowhere);
    assert_eq!(region.legs(ROOM), 1, "who is in stays");

    // By the other room's own door.
    let guest = region.of_east("guest");
    guest.dial(&region.uri(FOR_GUESTS));
    assert_eq!(region.legs(FOR_GUESTS), 0, "it waits");
    guest.type_keys("471147#");
    wait_for("the guest is in", PATIENCE, || {
        (region.legs(FOR_GUESTS) == 1).then_some(())
    });
}

/// What the server kept is read again: the same holds while the manager is away.
#[test]
fn a_conference_is_watched_by_its_own_hospital_alone_also_after_the_controllers_death() {
    let server = Server::configured(CONFIGURATION);
    let region = Region::new(&server);
    let west = region.of_west();
    west.dial(&region.uri(ROOM));
    let subscribe = |user: &str, password: &str| subscribe(&server, (user, password));
    for life in ["first", "second"] {
        let own = subscribe("terminal", &region.west_terminal);
        assert!(own.contains("SIP/2.0 200"), "{life}: {own}");
        assert!(own.contains("<conference-info"), "{life}: {own}");
        let other = subscribe("east", &region.east_terminal);
        assert!(other.contains("SIP/2.0 404"), "{life}: {other}");
        assert!(!other.contains("<conference-info"), "{life}: {other}");
        server.kill("control");
        wait_for("the call is taken up", PATIENCE, || {
            let answer = region
                .root
                .ask("GET", &format!("/rooms/{ROOM}"), &Value::Null);
            (answer.status == 200 && answer.body["legs"].as_array()?.len() == 1).then_some(())
        });
    }
}

#[test]
fn an_operator_has_the_own_terminals_ring_and_none_of_another_hospital() {
    let server = Server::configured(CONFIGURATION);
    let region = Region::new(&server);
    let west = region.of_west();
    let boss = region.boss_of_east();
    let ring = |who: &Administrator<'_>, target: &str| -> Answer {
        who.ask("POST", "/rooms/2000/calls", &json!({ "target": target }))
    };
    let at_its_address = format!("sip:terminal@{}", west.address());
    for target in ["terminal", "nobody", &at_its_address] {
        let answer = ring(&boss, target);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body["outcome"], "unreachable", "{target}");
    }
    assert!(!west.log().contains("Incoming call"), "{}", west.log());
    // The account moves to the east.
    let accounts = region.root.get("/accounts?q=terminal");
    let id = accounts["items"][0]["id"].as_str().expect("an account");
    let account = format!("/accounts/{id}");
    let moved = region
        .root
        .ask("PATCH", &account, &json!({ "organisation": region.east }));
    assert_eq!(moved.status, 200, "{moved:?}");
    let answer = ring(&boss, "terminal");
    assert_eq!(answer.body["outcome"], "answered", "{answer:?}");
    assert_eq!(region.legs("2000"), 1);
    assert_ne!(region.west, region.east);
}

/// Subscribes to the west's conference; all messages.
fn subscribe(server: &Server, (user, password): (&str, &str)) -> String {
    let messages = server.dir().join(format!("{user}-messages"));
    let mut command = sipp::scenario(server.dir(), "subscriber.xml", free_port());
    command
        .args(["-s", ROOM, "-m", "1", "-au", user, "-ap", password])
        .args(["-auth_uri", &format!("{ROOM}@{}", server.sip_address())])
        .args(["-trace_msg", "-message_overwrite", "true", "-message_file"])
        .arg(&messages)
        .arg(server.sip_address().to_string());
    let log = server.dir().join(format!("{user}-sipp.log"));
    let mut process = Process::start(&mut command, &log);
    wait_for("the subscriber has its answer", PATIENCE, || {
        (!process.is_running()).then_some(())
    });
    read(&messages)
}

fn read(file: &Path) -> String {
    let bytes = std::fs::read(file).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
