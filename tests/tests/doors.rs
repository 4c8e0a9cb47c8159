//! A room with a PIN: who waits at its door is neither heard nor seen and neither hears nor sees,
//! measured at both far ends; who has entered the PIN is in (VSEC-03, MCU-23).

use std::path::Path;
use std::time::Duration;

use benches::clip::{Clip, Config};
use benches::load::{Load, LoadError, LoadLeg};
use benches::tone;
use tests::baresip::{self, Baresip, write_clip};
use tests::browser::Browser;
use tests::measure::{luma_of, markers_in, pcm_of, tones_in};
use tests::server::Server;
use tests::terminal::watching;
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(40);
const INSIDE: u8 = 1;
const TERMINAL: u8 = 3;

const CONFIGURATION: &str = r#"
[[rooms]]
number = "3000"
guests = true
pin = "4711"

[[dialplan]]
prefix = "9"
refuse = 603
"#;

#[test]
fn who_waits_at_the_door_is_apart_until_the_pin_is_right() {
    let server = Server::configured(CONFIGURATION);
    let load = Load::start().unwrap();
    let inside = call(&load, &server, "3000*4711").unwrap();
    let terminal = terminal(&server);
    terminal.dial(&format!("sip:3000@127.0.0.1:{}", server.sip));

    wait_for("the terminal reads the question", PATIENCE, || {
        shows_words(&terminal.picture()).then_some(())
    });
    // Long enough for the question's tones to come again.
    let recorded = recorded_seconds(&terminal) + 6.0;
    inside.reset().unwrap();
    wait_for("more is recorded", PATIENCE, || {
        (recorded_seconds(&terminal) >= recorded).then_some(())
    });
    let report = inside.report().unwrap();
    assert!(
        report.audio.packets > 200 && report.video.decoded > 50,
        "{report:#?}"
    );
    assert_eq!(report.heard(), [0; 0]);
    assert_eq!(report.tile(TERMINAL), None);
    assert!(report.tile(INSIDE).is_some_and(|tile| tile.fresh > 20));
    assert_eq!(markers_in(&terminal.picture()), []);
    let heard = terminal.heard().unwrap();
    assert_eq!(tones_in(&heard, 5.0), [0; 0]);
    assert!(loudest_of(&heard, 6.0) > 1_000, "the prompt's tones");

    terminal.type_keys("1111#");
    wait_for("the terminal reads that it was wrong", PATIENCE, || {
        server.log().contains("PIN wrong").then_some(())
    });
    assert_eq!(markers_in(&terminal.picture()), []);
    terminal.type_keys("4711#");
    let entered = inside.wait_until(PATIENCE, |report| {
        let tile = report.tile(TERMINAL);
        report.heard() == [TERMINAL] && tile.is_some_and(|tile| tile.fresh > 20)
    });
    let _ = entered
        .unwrap()
        .unwrap_or_else(|last| panic!("{last:#?}\n{}", server.log()));
    wait_for("the terminal sees the room", PATIENCE, || {
        let mut ids: Vec<u8> = markers_in(&terminal.picture())
            .iter()
            .map(|m| m.id)
            .collect();
        ids.sort_unstable();
        (ids == [INSIDE, TERMINAL]).then_some(())
    });
    wait_for("the terminal hears the room", PATIENCE, || {
        (tones_in(&terminal.heard()?, 2.0) == [INSIDE]).then_some(())
    });
    assert!(!server.log().contains("4711"), "the PIN is in the log");
}

#[test]
fn numbers_lead_where_the_dial_plan_says() {
    let server = Server::configured(CONFIGURATION);
    let load = Load::start().unwrap();
    let refusal = |number: &str| match call(&load, &server, number) {
        Err(LoadError::Refused(reason)) => reason,
        _ => panic!("{number} is taken"),
    };
    assert!(refusal("912").starts_with("603 "));
    assert!(refusal("4000").starts_with("404 "));
    // A wrong PIN with the number: the call waits and may try again.
    call(&load, &server, "3000*0000").unwrap();
    wait_for("it waits", PATIENCE, || {
        server.log().contains("waits=true").then_some(())
    });
}

#[test]
fn a_page_asks_for_the_pin_until_it_is_right() {
    let server = Server::configured(CONFIGURATION);
    let load = Load::start().unwrap();
    let inside = call(&load, &server, "3000*4711").unwrap();
    let log = server.dir().join("browser.log");
    let browser = Browser::join_by_pins(&server.url("/room/3000"), 2, &log, "1111,4711");
    wait_for("the page hears the room", PATIENCE, || {
        let report = browser.next_report();
        let seen = report.markers.values().any(|marker| marker.id == INSIDE);
        (seen && report.tones.contains_key(&INSIDE)).then_some(())
    });
    let heard = inside.wait_until(PATIENCE, |report| report.heard() == [2]);
    let _ = heard.unwrap().unwrap_or_else(|last| panic!("{last:#?}"));
    assert!(!server.log().contains("4711"), "the PIN is in the log");
}

fn call(load: &Load, server: &Server, number: &str) -> Result<LoadLeg, LoadError> {
    server.call_number(load, number, watching(INSIDE))
}

fn terminal(server: &Server) -> Baresip {
    let clip = server.dir().join("terminal.mp4");
    write_clip(&Clip::load(&Config::hd(TERMINAL)).unwrap(), &clip);
    Baresip::start(&baresip::Config {
        dir: &server.dir().join("baresip"),
        tone_hz: tone::frequency_hz(TERMINAL).unwrap().into(),
        clip: Some(&clip),
        audio_codec: "PCMU/8000/1",
        account: "",
    })
}

/// White letters in both lines of an otherwise dark picture.
fn shows_words(picture: &Path) -> bool {
    let Some((luma, width, height)) = luma_of(picture) else {
        return false;
    };
    let white = |from: usize, to: usize| {
        let rows = &luma[from * height / 100 * width..to * height / 100 * width];
        rows.iter().filter(|sample| **sample > 180).count()
    };
    let (above, chinese, english) = (white(0, 28), white(30, 43), white(45, 56));
    above == 0 && chinese > 2_000 && english > 1_000
}

fn recorded_seconds(terminal: &Baresip) -> f64 {
    let heard = terminal.heard().map(|file| pcm_of(&file).len());
    heard.unwrap_or(0) as f64 / 48_000.0
}

fn loudest_of(sound: &Path, seconds: f64) -> u16 {
    let pcm = pcm_of(sound);
    let tail = &pcm[pcm.len().saturating_sub((seconds * 48_000.0) as usize)..];
    tail.iter()
        .map(|sample| sample.unsigned_abs())
        .max()
        .unwrap_or(0)
}
