//! Guests who come by a link into a room that takes nobody else, and who is put out when what let them
//! in counts no more, while the others see and hear each other (VSEC-03, PRV-03).

use std::time::Duration;

use serde_json::{Value, json};
use tests::administrator::{Administrator, PASSWORD};
use tests::browser::Browser;
use tests::server::Server;
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(40);
const ROOM: &str = "4000";
const WANG: u8 = 2;
const GUEST: u8 = 3;
const LI: u8 = 4;
/// Longest that a picture of who stays may stand still while another is put out.
const UNSEEN_MS: f64 = 1_000.0;

#[test]
fn a_guest_is_in_by_a_link_until_it_is_taken_back_and_a_person_until_disabled() {
    let server = Server::configured("");
    let admin = Administrator::first(&server);
    admin.person("wang", "王平", "clinician");
    admin.person("li.chun", "李春", "clinician");
    let room = json!({ "organisation": admin.root(), "number": ROOM, "name": "会诊室",
        "guest_links": true });
    admin.make("/rooms", &room);
    let (link, page) = invite(&server, &admin);

    let mut guest = Browser::join(&page, GUEST, &server.dir().join("guest.log"));
    let wang = join(&server, WANG, "wang");
    let li = join(&server, LI, "li.chun");
    for other in [GUEST, LI] {
        sees(&wang, other);
    }
    sees(&guest, LI);
    let names = names(&admin);
    assert!(names.contains(&"张阿姨".to_owned()), "{names:?}");

    let second = Browser::join(&page, 5, &server.dir().join("second.log"));
    ends(&second, "used already");
    drop(second);
    guest.reload();
    sees(&guest, LI);
    sees(&wang, GUEST);
    leaves_and_returns(&mut guest, &admin);
    sees(&wang, GUEST);

    let mut wang = wang;
    wang.reset();
    let done = admin.ask("DELETE", &link, &Value::Null);
    assert_eq!(done.status, 204, "{done:?}");
    ends(&guest, "taken back");
    undisturbed(&wang, LI);

    let people = admin.get("/people?q=李春");
    let person = people["items"][0]["id"].as_str().expect("an id");
    let done = admin.ask(
        "PATCH",
        &format!("/people/{person}"),
        &json!({ "disabled": true }),
    );
    assert_eq!(done.status, 200, "{done:?}");
    ends(&li, "login was ended");
    wait_for("one is left", PATIENCE, || {
        (admin.room(ROOM).legs.len() == 1).then_some(())
    });
    assert_eq!(wang.next_report().connection, "connected");
    let secret = page.split_once("#guest=").expect("a secret").1;
    assert!(!server.log().contains(secret), "a link is in the log");
}

/// The link has let in as many as it may, and this guest is one of them.
fn leaves_and_returns(guest: &mut Browser, admin: &Administrator<'_>) {
    let legs_are = |count| {
        wait_for(&format!("{count} are in"), PATIENCE, || {
            (admin.room(ROOM).legs.len() == count).then_some(())
        });
    };
    guest.press("leave");
    ends(guest, "left");
    legs_are(2);
    guest.press("rejoin");
    guest.press("join");
    legs_are(3);
}

/// Makes a link for one guest; where it is taken back, and the page that it opens.
fn invite(server: &Server, admin: &Administrator<'_>) -> (String, String) {
    let links = format!("/rooms/{ROOM}/guest-links");
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("a clock");
    let new =
        json!({ "name": "张阿姨", "max_uses": 1, "expires_ms": now.as_millis() as u64 + 600_000 });
    let made = admin.make(&links, &new);
    let text = |key: &str| made[key].as_str().expect("text").to_owned();
    (format!("{links}/{}", text("id")), server.url(&text("path")))
}

fn join(server: &Server, id: u8, login: &str) -> Browser {
    let page = server.url(&format!("/room/{ROOM}"));
    let log = server.dir().join(format!("{login}.log"));
    Browser::join_logged_in(&page, id, &log, (login, PASSWORD))
}

fn names(admin: &Administrator<'_>) -> Vec<String> {
    let legs = admin.room(ROOM).legs.into_iter();
    legs.map(|leg| leg.site.name.0).collect()
}

fn sees(browser: &Browser, id: u8) {
    wait_for(&format!("{id} is seen and heard"), PATIENCE, || {
        let report = browser.next_report();
        let seen = report.markers.values().any(|marker| marker.id == id);
        (seen && report.tones.contains_key(&id)).then_some(())
    });
}

fn ends(browser: &Browser, word: &str) {
    wait_for(&format!("the page says: {word}"), PATIENCE, || {
        browser.next_report().ended.contains(word).then_some(())
    });
}

/// Whether `id` was seen all the time, as far as people notice.
fn undisturbed(browser: &Browser, id: u8) {
    let report = browser.next_report();
    let mut tiles = report.markers.iter();
    let tile = tiles.find(|(_, marker)| marker.id == id).expect("a tile").0;
    let pause = *report.pauses_ms.get(tile).expect("its pauses");
    assert!(pause < UNSEEN_MS, "{pause} ms");
    assert!(report.tones.contains_key(&id), "{report:?}");
}
