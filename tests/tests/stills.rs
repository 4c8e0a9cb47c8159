//! Pictures of meetings for those who look after them: they show who is in, to nobody else, and disturb
//! nobody (MGT-01, MGT-05, PRV-07).

use std::time::{Duration, Instant};

use benches::load::Load;
use benches::process::cpu_of;
use mcu_api::manager::{RoomView, SiteKind};
use serde_json::{Value, json};
use tests::administrator::{Administrator, PASSWORD};
use tests::browser::Browser;
use tests::measure::markers_in;
use tests::meeting::expect_call;
use tests::server::Server;
use tests::terminal::watching;
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(60);
const PICTURE: &str = "/meetings/3000/picture";
const TERMINAL: u8 = 3;
/// Of a page's camera.
const LAYERS: u64 = 3;
/// Seconds of CPU a minute that looking on may add: a tenth of a core for two cameras.
const MAX_COST: f64 = 6.0;

#[test]
fn a_picture_shows_who_is_in_to_who_may_look_and_disturbs_nobody() {
    let server = Server::demo();
    let admin = Administrator::first(&server);
    let mut browsers = [1, 2].map(|id| server.join(id));
    expect_call((1, &browsers[0]), (2, &browsers[1]));
    let room = admin.room("3000");
    assert_eq!((room.encoders, room.decoders), (0, 0), "forwarded only");
    let stranger = stranger(&admin, &server);
    let idle = cpu_while(&server, &browsers[0], || {});

    let first = counters(&admin, &server, &[1, 2], &[]);
    browsers.iter_mut().for_each(Browser::reset);
    let keys = key_frames(&admin);
    let mut looks = 0;
    let watched = cpu_while(&server, &browsers[0], || {
        let status = admin.fetch(PICTURE, &server.dir().join("again.jpg"));
        assert_eq!(status, 200);
        looks += 1;
    });
    println!("media process: {idle:.2} s of CPU a minute, and {watched:.2} s while watched");
    wait_for(
        "both are decoded for the picture, nothing encoded",
        PATIENCE,
        || {
            let room = admin.room("3000");
            ((room.encoders, room.decoders) == (0, 2)).then_some(())
        },
    );
    counters(&admin, &server, &[1, 2], &first);
    assert!(
        watched < idle + MAX_COST,
        "{watched} s of CPU a minute, {idle} before"
    );
    let after = key_frames(&admin);
    assert_eq!(after.len(), keys.len(), "both are in still");
    for (now, then) in after.into_iter().zip(keys) {
        assert!(now >= then, "{now} after {then}: the count began anew");
        // A page that lacks processor time for a moment makes one of each layer by itself.
        assert!(
            now - then <= LAYERS,
            "{now} after {then}, and none is asked for"
        );
    }
    for browser in &browsers {
        let report = browser.next_report();
        assert!(!report.pauses_ms.is_empty(), "{report:?}");
        let longest = report.pauses_ms.values().fold(0.0, |a: f64, b| a.max(*b));
        assert!(longest < 1_000.0, "{report:?}");
    }
    let file = server.dir().join("stranger.jpg");
    assert_eq!(stranger.fetch(PICTURE, &file), 404);
    assert_eq!(stranger.fetch("/meetings/nowhere/picture", &file), 404);

    let record = admin.get("/audit?action=view");
    let noted = record["items"].as_array().expect("entries").iter();
    let noted: Vec<&Value> = noted.filter(|e| e["object_kind"] == "meeting").collect();
    assert_eq!(noted.len(), 1, "{looks} looks: {noted:?}");
    assert_eq!(noted[0]["actor_name"], "root");
    assert_eq!(noted[0]["organisation"], json!(admin.root()));
    assert_eq!(noted[0]["after"]["number"], "3000");

    wait_for("nothing is decoded any more", PATIENCE, || {
        (admin.room("3000").decoders == 0).then_some(())
    });
}

#[test]
fn a_picture_of_a_room_with_a_terminal_takes_what_is_decoded_anyhow() {
    let server = Server::demo();
    let admin = Administrator::first(&server);
    let browser = server.join(1);
    let load = Load::start().expect("start the load generator");
    let terminal = server.call(&load, watching(TERMINAL));
    let sees = |ids: [u8; 2]| {
        let report = terminal.wait_until(PATIENCE, |report| {
            ids.iter()
                .all(|id| report.tile(*id).is_some_and(|t| t.fresh > 5))
        });
        let report = report.expect("a leg");
        report.unwrap_or_else(|last| panic!("{last:#?}\n{}", server.log()))
    };
    sees([1, TERMINAL]);
    let decoded = |room: &RoomView| (room.encoders, room.decoders);
    let before = (1, 2);
    wait_for("the report of a second says so", PATIENCE, || {
        (decoded(&admin.room("3000")) == before).then_some(())
    });
    let size = terminal_sees(&admin);
    let first = counters(&admin, &server, &[1, TERMINAL], &[]);
    counters(&admin, &server, &[1, TERMINAL], &first);
    assert_eq!(decoded(&admin.room("3000")), before);
    assert_eq!(terminal_sees(&admin), size, "its class is the same");
    terminal.reset().expect("a leg");
    sees([1, TERMINAL]);
    drop(browser);
}

/// Who looks after the meetings of another hospital.
fn stranger<'a>(admin: &Administrator<'_>, server: &'a Server) -> Administrator<'a> {
    let place = json!({ "parent": admin.root(), "kind": "hospital", "name": "B" });
    let place = admin.make("/organisations", &place)["id"].clone();
    let person =
        json!({ "organisation": place, "login": "boss", "name": "boss", "password": PASSWORD });
    let person = admin.make("/people", &person);
    let grants = format!("/people/{}/grants", person["id"].as_str().expect("an id"));
    let grant = json!({ "role": "organisation_administrator", "organisation": place });
    admin.make(&grants, &grant);
    Administrator::log_in(server, "boss")
}

/// Waits for a picture that shows these sources and nobody else, each by another counter than before;
/// their counters.
fn counters(admin: &Administrator<'_>, server: &Server, ids: &[u8], before: &[u16]) -> Vec<u16> {
    let file = server.dir().join("picture.jpg");
    wait_for("a picture shows who is in", PATIENCE, || {
        let status = admin.fetch(PICTURE, &file);
        assert!([200, 404].contains(&status), "{status}");
        let mut markers = match status {
            200 => markers_in(&file),
            _ => Vec::new(),
        };
        markers.sort_by_key(|marker| marker.id);
        let shown: Vec<u8> = markers.iter().map(|marker| marker.id).collect();
        let counters: Vec<u16> = markers.iter().map(|marker| marker.counter).collect();
        let moved = counters.iter().zip(before).all(|(now, then)| now != then);
        (shown == ids && moved).then_some(counters)
    })
}

/// Key frames of each camera since it came.
fn key_frames(admin: &Administrator<'_>) -> Vec<u64> {
    let legs = admin.room("3000").legs.into_iter();
    legs.map(|leg| leg.video_received.key_frames).collect()
}

/// Size of the picture that the terminal is sent.
fn terminal_sees(admin: &Administrator<'_>) -> (u16, u16) {
    wait_for("the terminal is sent a picture", PATIENCE, || {
        let mut legs = admin.room("3000").legs.into_iter();
        let sent = legs.find(|leg| leg.site.kind == SiteKind::Sip)?.video_sent;
        (sent.height > 0).then_some((sent.width, sent.height))
    })
}

/// Seconds of CPU a minute of the media process, while this is done after each report of a page, for
/// twelve seconds.
fn cpu_while(server: &Server, page: &Browser, mut act: impl FnMut()) -> f64 {
    let media = server.pid_of("media") as u32;
    let (began, before) = (Instant::now(), cpu_of(media));
    while began.elapsed() < Duration::from_secs(12) {
        act();
        page.next_report();
    }
    (cpu_of(media) - before).as_secs_f64() / began.elapsed().as_secs_f64() * 60.0
}
