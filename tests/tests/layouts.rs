//! Layouts as a terminal decodes them: who lies where, changed while it looks on (MCU-11, MCU-12,
//! MCU-13).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use benches::clip::{Clip, Config};
use benches::codec::EncodeSettings;
use benches::load::{AudioConfig, LegConfig, Load, LoadLeg, Target, VideoConfig, VideoReport};
use benches::marker;
use benches::picture::{Luma, Rect};
use benches::tone;
use serde_json::{Value, json};
use tests::administrator::Administrator;
use tests::baresip::{self, Baresip, write_clip};
use tests::measure::luma_of;
use tests::server::Server;
use tests::terminal::{sending, watching};
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(30);
const ROOM: &str = "4000";
const ROOM_OF_FILE: &str = r#"
[[rooms]]
number = "4000"
guests = true
layout = "1_5"

[[rooms]]
number = "5000"
guests = true
max_height = 1080

[[rooms]]
number = "6000"
guests = true
max_frame_rate = 60

[[rooms]]
number = "7000"
guests = true
"#;
/// Sites with a picture, by their markers.
const SITES: [(u8, &str); 6] = [
    (1, "北京协和医院 远程医学中心"),
    (2, "华西医院 心内科"),
    (3, "瑞金医院 病理科"),
    (4, "Charité Berlin, Dr. Müller"),
    (5, "第一人民医院 手术室三"),
    (6, "喆堃珺淼 乡镇卫生院"),
];
/// Who speaks.
const SPEAKER: u8 = 3;
/// Who looks on.
const TERMINAL: u8 = 7;
const TEN: [&str; 10] = [
    "equal",
    "speaker",
    "single",
    "picture_in_picture",
    "1_2",
    "1_5",
    "2_4",
    "1_12",
    "grid_3x3",
    "1_5_4_3",
];

#[test]
fn a_terminal_sees_each_site_where_the_layout_has_it() {
    let server = Server::configured(ROOM_OF_FILE);
    let admin = Administrator::first(&server);
    let layouts = admin.get("/layouts");
    let layouts = layouts.as_array().expect("a list");
    assert!(layouts.len() >= 25, "{}", layouts.len());
    let load = Load::start().unwrap();
    let _sites: Vec<LoadLeg> = SITES.map(|site| call(&server, &load, site)).into();
    let terminal = terminal(server.dir());
    terminal.dial(&format!("sip:{ROOM}@127.0.0.1:{}", server.sip));
    wait_for("the terminal is in", PATIENCE, || {
        (admin.room(ROOM).legs.len() == SITES.len() + 1).then_some(())
    });
    // It has no picture for others, and they are not to hear it.
    let unseen = json!({ "audio_silenced": true, "video_silenced": true });
    change(&admin, SITES.len(), &unseen);
    for name in TEN {
        let layout = layouts.iter().find(|layout| layout["name"] == name);
        change(&admin, SITES.len(), &json!({ "layout": name }));
        expect(&terminal, layout.expect("it is there"));
    }
    change(&admin, SITES.len(), &json!({ "layout": null }));
    pin_and_choose(&admin, &terminal, layouts);
}

/// More than 720 lines, and more than 30 pictures a second, are for who takes them where the room says
/// so (MCU-08). Not both at once: two cores have other things to do.
#[test]
fn a_room_may_have_more_lines_and_more_pictures_a_second() {
    let server = Server::configured(ROOM_OF_FILE);
    let load = Load::start().unwrap();
    let seen = |number: &str, profile_level_id, wanted: fn(&VideoReport) -> bool| {
        let mut leg = watching(2);
        leg.video = leg.video.map(|video| VideoConfig {
            profile_level_id,
            receive_bps: 6_000_000,
            ..video
        });
        let sites = [sending(1), leg].map(|leg| server.call_number(&load, number, leg).unwrap());
        let seen = sites[1].wait_until(PATIENCE, |report| {
            let is_moving = report.tile(1).is_some_and(|tile| tile.fresh > 20);
            is_moving && wanted(&report.video)
        });
        let _ = seen
            .unwrap()
            .unwrap_or_else(|last| panic!("{number}: {last:#?}\n{}", server.log()));
    };
    seen("5000", "42e028", |video| {
        (video.width, video.height) == (1_920, 1_080)
    });
    seen("6000", "42e020", |video| {
        video.height == 720 && video.frame_rate > 33.0
    });
    // Nobody else is asked for so much.
    seen("7000", "42e02a", |video| {
        video.height == 720 && video.frame_rate < 33.0
    });
}

/// An operator sets a site into a cell; the terminal then chooses its own layout by its keys.
fn pin_and_choose(admin: &Administrator<'_>, terminal: &Baresip, layouts: &[Value]) {
    let layout = |name: &str| {
        layouts
            .iter()
            .find(|layout| layout["name"] == name)
            .unwrap()
    };
    change(admin, 5, &json!({ "cell": 0 }));
    let places = layout("1_5");
    let first = |layout| seen(terminal, layout)?.first().copied().flatten();
    wait_for("the pinned site is large, whoever speaks", PATIENCE, || {
        (first(places) == Some(6)).then_some(())
    });
    terminal.type_keys("6");
    let next = layouts.iter().skip_while(|l| l["name"] != "1_5").nth(1);
    let next = next.expect("a layout after it");
    wait_for("the terminal's own layout", PATIENCE, || {
        (first(next) == Some(SPEAKER)).then_some(())
    });
    let showing = admin.room(ROOM).legs[SITES.len()].showing.clone();
    assert_eq!(showing.layout.as_deref(), next["name"].as_str());
    terminal.type_keys("0");
    wait_for("the room's again", PATIENCE, || {
        (first(places) == Some(6)).then_some(())
    });
}

/// Changes the leg that came after so many.
fn change(admin: &Administrator<'_>, before: usize, changes: &Value) {
    let leg = admin.room(ROOM).legs[before].site.leg;
    let path = format!("/rooms/{ROOM}/legs/{leg}");
    let done = admin.ask("PATCH", &path, changes);
    assert_eq!(done.status, 204, "{done:?}");
}

/// A site of this name; it is silent unless it is the one that speaks.
fn call(server: &Server, load: &Load, (id, name): (u8, &str)) -> LoadLeg {
    let config = Config {
        id,
        frames: 60,
        encode: EncodeSettings {
            width: 640,
            height: 360,
            bitrate_bps: 700_000,
            ..EncodeSettings::default()
        },
    };
    let mut leg = LegConfig::terminal(id, Arc::new(Clip::load(&config).unwrap()));
    leg.audio = Some(AudioConfig {
        tone: id == SPEAKER,
        ..AudioConfig::default()
    });
    let target = Target::number(ROOM, server.sip_address()).named(name);
    let called = load.call(&target, leg);
    called.unwrap_or_else(|why| panic!("{why}\n{}", server.log()))
}

fn terminal(dir: &Path) -> Baresip {
    let clip = dir.join("terminal.mp4");
    write_clip(&Clip::load(&Config::cif(TERMINAL)).unwrap(), &clip);
    Baresip::start(&baresip::Config {
        dir: &dir.join("baresip"),
        tone_hz: tone::frequency_hz(TERMINAL).unwrap().into(),
        clip: Some(&clip),
        audio_codec: "PCMU/8000/1",
        account: ";regint=0",
    })
}

/// Waits until every cell shows another site, and who speaks leads where the layout says so.
fn expect(terminal: &Baresip, layout: &Value) {
    let cells = cells(layout).len();
    let leads = layout["leads"].as_u64().unwrap();
    wait_for(&format!("{layout}"), PATIENCE, || {
        let ids = seen(terminal, layout)?;
        let mut sites: Vec<u8> = ids.iter().flatten().copied().collect();
        sites.sort_unstable();
        sites.dedup();
        let all = sites.len() == cells.min(SITES.len());
        let is_led = leads == 0 || ids[0] == Some(SPEAKER);
        if !all || !is_led {
            eprintln!("{}: {ids:?}", layout["name"]);
        }
        (all && is_led).then_some(())
    });
}

/// Cells of the arrangement for the sites, of which one may have no picture.
fn cells(layout: &Value) -> Vec<[f64; 4]> {
    let arrangements = layout["arrangements"].as_array().unwrap();
    let holds = |cells: &&Value| cells.as_array().unwrap().len() >= SITES.len();
    let cells = arrangements.iter().find(holds).or(arrangements.last());
    serde_json::from_value(cells.unwrap().clone()).unwrap()
}

/// The marker in each cell of what the terminal decodes.
fn seen(terminal: &Baresip, layout: &Value) -> Option<Vec<Option<u8>>> {
    let (samples, width, height) = luma_of(&terminal.picture())?;
    let luma = Luma::new(&samples, width, width, height)?;
    let (wide, tall) = (width as f64, height as f64);
    // A canvas of another ratio lies in the middle.
    let canvas = match layout["canvas"].as_str()? {
        "4:3" => tall * 4.0 / 3.0,
        _ => wide,
    };
    let read = |[left, top, across, down]: &[f64; 4]| {
        let (across, down) = (across * canvas, down * tall);
        // So does a picture of 16 to 9 in its cell.
        let size = across.min(down * 16.0 / 9.0);
        let part = Rect {
            x: ((wide - canvas) / 2.0 + left * canvas + (across - size) / 2.0) as usize,
            y: (top * tall + (down - size * 9.0 / 16.0) / 2.0) as usize,
            width: size as usize,
            height: (size * 9.0 / 16.0) as usize,
        };
        Some(marker::read(luma.rect(part)?)?.id)
    };
    Some(cells(layout).iter().map(read).collect())
}
