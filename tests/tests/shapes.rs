//! What a room that was made shows: how tall pictures are for everybody who is in it, how they are
//! composed for terminals, and how many sites it takes, changed while it goes on (MGT-01, MCU-04).

use std::time::Duration;

use benches::clip::{Clip, Config};
use benches::marker;
use benches::picture::{Luma, Rect};
use benches::tone;
use serde_json::{Value, json};
use tests::administrator::{Administrator, PASSWORD};
use tests::baresip::{self, Baresip, write_clip};
use tests::browser::{Browser, Report};
use tests::measure::luma_of;
use tests::server::Server;
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(60);
const ROOM: &str = "4000";
const FIRST: u8 = 1;
const SECOND: u8 = 2;
const TERMINAL: u8 = 3;

#[test]
fn a_room_bounds_its_pictures_composes_them_as_it_says_and_takes_so_many_sites() {
    let server = Server::configured("[sip]\nrealm = \"hospital.example\"\n");
    let admin = Administrator::first(&server);
    let at = admin.root();
    let room = json!({ "organisation": at, "number": ROOM, "name": "会诊室", "max_legs": 3 });
    admin.make("/rooms", &room);
    let account = json!({ "organisation": at, "user": "terminal", "name": "手术室" });
    let account = admin.make("/accounts", &account);
    admin.person("li.chun", "李春", "clinician");

    let pages = [FIRST, SECOND].map(|id| enter(&server, id));
    expect_lines(&pages, "as tall as the tile", 360);
    expect_sent(&admin, "as tall as the camera", 720);
    change(&admin, &json!({ "max_height": 180 }));
    expect_lines(&pages, "no taller than the room allows", 180);
    expect_sent(&admin, "nor sent taller", 180);
    change(&admin, &json!({ "max_height": 360 }));
    expect_lines(&pages, "taller again", 360);
    expect_sent(&admin, "and sent so", 360);

    let terminal = terminal(&server, account["password"].as_str().expect("a password"));
    terminal.dial(&format!("sip:{ROOM}@127.0.0.1:{}", server.sip));
    expect_composed(&terminal, 360, &quarters());
    refuse_a_fourth(&server, &admin);

    // Who speaks is large; the other two are told to be silent.
    change(&admin, &json!({ "layout": "speaker", "max_height": 540 }));
    speak_alone(&admin, 1);
    expect_large(&terminal, 540, SECOND);
    speak_alone(&admin, 0);
    expect_large(&terminal, 540, FIRST);

    change(&admin, &json!({ "layout": "equal", "max_height": null }));
    expect_composed(&terminal, 720, &quarters());
    expect_sent(&admin, "as tall as their cameras", 720);
    assert!(
        !terminal.log().contains("session closed"),
        "{}",
        terminal.log()
    );
    keep_number_and_send_on(&admin);
}

/// The number stays while somebody is in; then the terminal is sent on to another room.
fn keep_number_and_send_on(admin: &Administrator<'_>) {
    let room = format!("/rooms/{ROOM}");
    let refused = admin.ask("PATCH", &room, &json!({ "number": "4001" }));
    assert_eq!(refused.status, 409, "{refused:?}");
    assert_eq!(refused.body["code"], "room_in_use");
    let next = json!({ "organisation": admin.root(), "number": "5000", "name": "病房" });
    admin.make("/rooms", &next);
    let leg = admin.room(ROOM).legs[2].site.leg;
    let to = json!({ "target": "5000" });
    let sent = admin.ask("POST", &format!("{room}/legs/{leg}/transfer"), &to);
    assert_eq!(sent.status, 200, "{sent:?}");
    assert_eq!(sent.body["outcome"], "moved", "{sent:?}");
    assert_eq!(admin.room("5000").legs.len(), 1);
    wait_for("it is in the other room alone", PATIENCE, || {
        (admin.room(ROOM).legs.len() == 2).then_some(())
    });
}

fn change(admin: &Administrator<'_>, changes: &Value) {
    let done = admin.ask("PATCH", &format!("/rooms/{ROOM}"), changes);
    assert_eq!(done.status, 200, "{done:?}");
}

/// A page with a picture of 720 lines.
fn enter(server: &Server, id: u8) -> Browser {
    let log = server.dir().join(format!("page-{id}.log"));
    let page = server.url(&format!("/room/{ROOM}"));
    // Few pictures a second: two pages encode three layers each.
    let size = ["1280", "720", "6"];
    let browser = Browser::join_logged_in_with(&page, id, &log, ("li.chun", PASSWORD), &size);
    wait_for("the page is there", PATIENCE, || {
        (browser.report().0 > 0).then_some(())
    });
    browser
}

/// Waits until the picture that each page decodes of the other is so tall, and moves.
fn expect_lines(pages: &[Browser; 2], what: &str, wanted: u32) {
    for (page, other) in pages.iter().zip([SECOND, FIRST]) {
        let seen = || {
            let report = page.next_report();
            let lines = lines_of(&report, other).filter(|lines| *lines == wanted);
            if lines.is_none() {
                eprintln!("{what}: {report:?}");
            }
            Some((lines?, report.frames_decoded))
        };
        let (_, before) = wait_for(what, PATIENCE, seen);
        wait_for(what, PATIENCE, || {
            seen().filter(|(_, decoded)| *decoded > before + 10)
        });
    }
}

/// Lines of the picture in which this source is seen.
fn lines_of(report: &Report, id: u8) -> Option<u32> {
    let mut markers = report.markers.iter();
    let (leg, _) = markers.find(|(_, marker)| marker.id == id)?;
    report.lines.get(leg).copied()
}

/// Waits until the tallest picture that each page sends has so many lines.
fn expect_sent(admin: &Administrator<'_>, what: &str, lines: u16) {
    wait_for(what, PATIENCE, || {
        let legs = admin.room(ROOM).legs;
        let pages = legs.iter().take(2);
        let sent: Vec<u16> = pages.map(|leg| leg.video_received.height).collect();
        (sent == [lines; 2]).then_some(())
    });
}

fn terminal(server: &Server, password: &str) -> Baresip {
    let clip = server.dir().join("terminal.mp4");
    write_clip(&Clip::load(&Config::hd(TERMINAL)).unwrap(), &clip);
    let account = format!(
        ";regint=60;auth_user=terminal;auth_pass={password};outbound=\"sip:127.0.0.1:{}\"",
        server.sip
    );
    let terminal = Baresip::start(&baresip::Config {
        dir: &server.dir().join("baresip"),
        tone_hz: tone::frequency_hz(TERMINAL).unwrap().into(),
        clip: Some(&clip),
        audio_codec: "PCMU/8000/1",
        account: &account,
    });
    wait_for("the terminal is registered", PATIENCE, || {
        terminal.log().contains("200 OK").then_some(())
    });
    terminal
}

/// A page that would be the fourth is told why it is not let in.
fn refuse_a_fourth(server: &Server, admin: &Administrator<'_>) {
    let fourth = enter(server, 4);
    wait_for("the fourth is told that the room is full", PATIENCE, || {
        fourth.next_report().ended.contains("full").then_some(())
    });
    assert_eq!(admin.room(ROOM).legs.len(), 3);
}

/// Has everybody but this leg be silent.
fn speak_alone(admin: &Administrator<'_>, speaker: usize) {
    for (n, leg) in admin.room(ROOM).legs.iter().enumerate() {
        let path = format!("/rooms/{ROOM}/legs/{}", leg.site.leg);
        let silenced = json!({ "audio_silenced": n != speaker });
        assert_eq!(admin.ask("PATCH", &path, &silenced).status, 204);
    }
}

/// Places in eighths of a picture: left, top, and the length of both sides.
type Place = (usize, usize, usize);

/// The cells of four equal tiles of which three are taken.
fn quarters() -> [Place; 3] {
    [(0, 0, 4), (4, 0, 4), (0, 4, 4)]
}

/// Waits until the terminal decodes a picture of so many lines in which each place shows a source.
fn expect_composed(terminal: &Baresip, lines: usize, places: &[Place; 3]) -> [u8; 3] {
    let what = format!("three sources in a picture of {lines} lines");
    wait_for(&what, PATIENCE, || composed(terminal, lines, places))
}

/// The large place shows this source, and the two small ones the others.
fn expect_large(terminal: &Baresip, lines: usize, id: u8) {
    let places = [(1, 0, 6), (2, 6, 2), (4, 6, 2)];
    wait_for(&format!("{id} is large"), PATIENCE, || {
        composed(terminal, lines, &places).filter(|ids| ids[0] == id)
    });
}

fn composed(terminal: &Baresip, lines: usize, places: &[Place; 3]) -> Option<[u8; 3]> {
    let (samples, width, height) = luma_of(&terminal.picture())?;
    let luma = Luma::new(&samples, width, width, height)?;
    let read = |(x, y, side): Place| {
        let part = Rect {
            x: width * x / 8,
            y: height * y / 8,
            width: width * side / 8,
            height: height * side / 8,
        };
        Some(marker::read(luma.rect(part)?)?.id)
    };
    let seen = places.map(read);
    if height != lines || seen.contains(&None) {
        eprintln!("{width}x{height}: {seen:?}");
        return None;
    }
    let ids = seen.map(Option::unwrap_or_default);
    let mut sorted = ids;
    sorted.sort_unstable();
    (sorted == [FIRST, SECOND, TERMINAL]).then_some(ids)
}
