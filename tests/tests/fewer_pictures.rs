//! A terminal of half as many pictures a second has no encoder of its own: it gets every second picture of the
//! one that a faster terminal has, and is told the level that it takes (MCU-12, TER-09).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use benches::load::{Load, LoadLeg, Report, VideoConfig};
use tests::administrator::Administrator;
use tests::capture::{Capture, Wire};
use tests::server::Server;
use tests::terminal::watching;
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(30);
const CONFIG: &str = r#"
[[rooms]]
number = "3000"
guests = true
max_height = 360
max_frame_rate = 60
"#;
/// Levels 3.2 and 3.0: of 360 lines 60 pictures a second, for which 3.1 does, and 30.
const FAST: (u8, &str) = (1, "42e020");
const SLOW: (u8, &str) = (2, "42e01e");

#[test]
fn a_slower_terminal_gets_every_second_picture_of_a_faster_one() {
    let server = Server::configured(CONFIG);
    let admin = Administrator::first(&server);
    let load = Load::start().expect("a generator");
    let capture = Capture::start(server.dir(), "udp");
    let slow = enter(&server, &load, SLOW);
    expect_rate(&server, &slow, 27.0..=32.0);
    let fast = enter(&server, &load, FAST);
    expect_rate(&server, &fast, 34.0..=61.0);
    expect_rate(&server, &slow, 24.0..=32.0);
    expect_one_encoder(&admin);
    let wire = capture.stop(server.sip, &[]);
    expect_levels(&server, &wire);
    // Alone again, it has its own.
    fast.hang_up();
    wait_for("the faster one is gone", PATIENCE, || {
        (admin.room("3000").legs.len() == 1).then_some(())
    });
    expect_rate(&server, &slow, 27.0..=32.0);
    expect_one_encoder(&admin);
}

/// The server says so once a second.
fn expect_one_encoder(admin: &Administrator<'_>) {
    wait_for("one encoder, for all", PATIENCE, || {
        (admin.room("3000").encoders == 1).then_some(())
    });
}

fn enter(server: &Server, load: &Load, (id, profile_level_id): (u8, &'static str)) -> LoadLeg {
    let mut leg = watching(id);
    leg.video = leg.video.map(|video| VideoConfig {
        profile_level_id,
        ..video
    });
    server.call(load, leg)
}

/// From now on so many pictures come a second, all of which can be decoded, and the sites in them move.
fn expect_rate(server: &Server, leg: &LoadLeg, rates: std::ops::RangeInclusive<f64>) {
    let wanted = |report: &Report| {
        let video = &report.video;
        let moves = !report.tiles.is_empty() && report.tiles.iter().all(|tile| tile.fresh > 30);
        let is_whole = video.undecoded == 0 && video.lost == 0 && moves;
        report.seconds >= 3.0 && is_whole && rates.contains(&video.media_frame_rate)
    };
    // The first seconds after somebody came or went are not looked at.
    wait_for(&format!("{rates:?} pictures a second"), PATIENCE, || {
        leg.reset().expect("a leg");
        let come = leg
            .wait_until(Duration::from_secs(6), wanted)
            .expect("a leg");
        come.inspect_err(|last| eprintln!("{last:#?}\n{}", server.log()))
            .ok()
    });
}

/// Each is told its own level, the slower one by both encoders.
fn expect_levels(server: &Server, wire: &Wire) {
    let (first, last) = server.media;
    let sent = format!("udp.srcport in {{{first}..{last}}} and h264.level_id");
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in wire.fields(&sent, &["udp.dstport", "h264.level_id"]) {
        told.entry(row[0].clone())
            .or_default()
            .insert(row[1].clone());
    }
    let mut levels: Vec<Vec<&str>> = Vec::new();
    levels.extend(
        told.values()
            .map(|of| of.iter().map(String::as_str).collect()),
    );
    levels.sort();
    assert_eq!(levels, [["30"], ["31"]], "{told:?}");
}
