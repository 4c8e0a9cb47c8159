//! What a room that was made shows: how tall pictures are for everybody who is in it, and how many sites
//! it takes, changed while it goes on (MGT-01, MCU-04).

use std::time::Duration;

use serde_json::{Value, json};
use tests::administrator::{Administrator, PASSWORD};
use tests::browser::{Browser, Report};
use tests::server::Server;
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(60);
const ROOM: &str = "4000";
const FIRST: u8 = 1;
const SECOND: u8 = 2;

#[test]
fn a_room_bounds_its_pictures_and_its_sites() {
    let server = Server::configured("[sip]\nrealm = \"hospital.example\"\n");
    let admin = Administrator::first(&server);
    let at = admin.root();
    let room = json!({ "organisation": at, "number": ROOM, "name": "会诊室", "max_legs": 2 });
    admin.make("/rooms", &room);
    admin.person("li.chun", "李春", "clinician");

    let pages = [FIRST, SECOND].map(|id| enter(&server, id));
    expect_lines(&pages, "as tall as the tile", 360);
    change(&admin, &json!({ "max_height": 180 }));
    expect_lines(&pages, "no taller than the room allows", 180);
    refuse_a_third(&server, &admin);
    change(&admin, &json!({ "max_height": null }));
    expect_lines(&pages, "taller again", 360);
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

/// A page that would be the third is told why it is not let in.
fn refuse_a_third(server: &Server, admin: &Administrator<'_>) {
    let third = enter(server, 3);
    wait_for("the third is told that the room is full", PATIENCE, || {
        third.next_report().ended.contains("full").then_some(())
    });
    assert_eq!(admin.room(ROOM).legs.len(), 2);
}
