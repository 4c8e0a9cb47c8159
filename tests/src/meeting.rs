//! The room test: two browsers, a video terminal and a small leg in room 3000 see and hear each other,
//! measured where it arrives.

use std::sync::Arc;
use std::time::Duration;

use benches::clip::{Clip, Config};
use benches::load::{LegConfig, Load, Target, Watch};
use benches::tone;

use crate::baresip::{self, Baresip};
use crate::browser::{Browser, Report};
use crate::measure::{markers_in, tones_in};
use crate::server::Server;
use crate::wait_for;

const PATIENCE: Duration = Duration::from_secs(60);

/// Ids of the sources.
const FIRST_BROWSER: u8 = 1;
const SECOND_BROWSER: u8 = 2;
const TERMINAL: u8 = 3;
const SMALL_LEG: u8 = 4;

/// Holds the meeting at this server, over the family of its address.
pub fn everybody_sees_and_hears_everybody_else(server: &Server) {
    let browser = |id: u8| {
        let log = server.dir().join(format!("browser-{id}.log"));
        Browser::join(&server.url("/room/3000"), id, &log)
    };
    let first = browser(FIRST_BROWSER);
    let second = browser(SECOND_BROWSER);
    let terminal = start_terminal(server);
    terminal.dial(&format!("sip:3000@{}", server.sip_address()));
    let load = Load::start().expect("start the load generator");
    let clip = Clip::load(&Config::cif(SMALL_LEG)).expect("a clip");
    let mut leg = LegConfig::terminal(SMALL_LEG, Arc::new(clip));
    leg.local_ip = server.host;
    leg.watch = Watch::Tiles;
    let target = Target::number("3000", server.sip_address());
    let small = load.call(&target, leg).expect("the small leg calls");

    let heard = small.wait_until(PATIENCE, |report| {
        let tiles =
            (FIRST_BROWSER..=SMALL_LEG).all(|id| report.tile(id).is_some_and(|t| t.fresh > 5));
        let mut heard = report.heard();
        heard.retain(|id| *id <= 8);
        tiles && heard == [FIRST_BROWSER, SECOND_BROWSER, TERMINAL]
    });
    let _ = heard
        .expect("the small leg is there")
        .unwrap_or_else(|last| panic!("small leg: {last:#?}\n{}", server.log()));

    expect_at_browser(
        &first,
        FIRST_BROWSER,
        &[SECOND_BROWSER, TERMINAL, SMALL_LEG],
        server,
    );
    expect_at_browser(
        &second,
        SECOND_BROWSER,
        &[FIRST_BROWSER, TERMINAL, SMALL_LEG],
        server,
    );
    expect_at_terminal(&terminal, server);
}

/// baresip with a 720p clip of its own marker and a steady tone.
fn start_terminal(server: &Server) -> Baresip {
    let clip = server.dir().join("terminal.mp4");
    baresip::write_clip(&Clip::load(&Config::hd(TERMINAL)).expect("a clip"), &clip);
    let config = baresip::Config {
        dir: &server.dir().join("baresip"),
        tone_hz: tone::frequency_hz(TERMINAL).expect("a tone").into(),
        clip: Some(&clip),
        audio_codec: "opus/48000/2",
        account: "",
    };
    Baresip::start_at(server.host, &config)
}

fn expect_at_browser(browser: &Browser, own: u8, others: &[u8], server: &Server) {
    let counters = |report: &Report| {
        let counter = |id: &u8| {
            report
                .markers
                .values()
                .find(|m| m.id == *id)
                .map(|m| m.counter)
        };
        others.iter().map(counter).collect::<Option<Vec<u16>>>()
    };
    let mut last = Report::default();
    let what = format!("browser {own} sees and hears {others:?}");
    let before = wait_for(&what, PATIENCE, || {
        last = browser.next_report();
        let heard = others.iter().all(|id| last.tones.contains_key(id));
        let seen = counters(&last).filter(|_| heard);
        if seen.is_none() {
            eprintln!("browser {own}: {last:?}");
        }
        seen
    });
    assert!(
        !last.tones.contains_key(&own),
        "browser {own} hears itself: {last:?}"
    );
    wait_for(
        &format!("every marker moves at browser {own}"),
        PATIENCE,
        || {
            let now = counters(&browser.next_report())?;
            now.iter()
                .zip(&before)
                .all(|(now, before)| now != before)
                .then_some(())
        },
    );
    assert!(server.room().is_some_and(|room| room.legs.len() == 4));
}

fn expect_at_terminal(terminal: &Baresip, server: &Server) {
    let seen = || {
        let mut markers = markers_in(&terminal.picture());
        markers.sort_by_key(|marker| marker.id);
        let ids: Vec<u8> = markers.iter().map(|marker| marker.id).collect();
        (ids == [1, 2, 3, 4]).then_some(markers)
    };
    let before = wait_for("the terminal sees four markers", PATIENCE, seen);
    wait_for("every marker moves at the terminal", PATIENCE, || {
        let now = seen()?;
        now.iter()
            .zip(&before)
            .all(|(now, before)| now.counter != before.counter)
            .then_some(())
    });
    wait_for(
        "the terminal hears the others and not itself",
        PATIENCE,
        || {
            let mut heard = tones_in(&terminal.heard()?, 2.0);
            heard.retain(|id| *id <= 8);
            (heard == [FIRST_BROWSER, SECOND_BROWSER, SMALL_LEG]).then_some(())
        },
    );
    assert!(server.room().is_some());
    terminal.hang_up();
}
