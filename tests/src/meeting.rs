//! The room test: two browsers, a video terminal and a small leg in room 3000 see and hear each other,
//! measured where it arrives.

use std::time::Duration;

use benches::clip::{Clip, Config};
use benches::load::Load;
use benches::tone;

use crate::baresip::{self, Baresip};
use crate::browser::{Browser, Report};
use crate::measure::{markers_in, sources_in};
use crate::server::Server;
use crate::terminal::watching;
use crate::wait_for;

const PATIENCE: Duration = Duration::from_secs(60);

/// Ids of the sources.
const FIRST_BROWSER: u8 = 1;
const SECOND_BROWSER: u8 = 2;
const TERMINAL: u8 = 3;
const SMALL_LEG: u8 = 4;

/// Holds the meeting at this server, over the family of its address.
pub fn everybody_sees_and_hears_everybody_else(server: &Server) {
    let [first, second] = [FIRST_BROWSER, SECOND_BROWSER].map(|id| server.join(id));
    let terminal = start_terminal(server);
    terminal.dial(&format!("sip:3000@{}", server.sip_address()));
    let load = Load::start().expect("start the load generator");
    let mut leg = watching(SMALL_LEG);
    leg.local_ip = server.host;
    let small = server.call(&load, leg);

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

/// Waits until each of two browsers, the sources by which they are known beside them, sees and hears
/// the other, and not itself, and the other's marker moves. What each reports then.
pub fn expect_call(first: (u8, &Browser), second: (u8, &Browser)) -> (Report, Report) {
    let pairs = [(first, second.0), (second, first.0)];
    let reports = pairs.map(|((own, browser), other)| {
        let (_, before) = expect_other(browser, own, other);
        wait_for("the marker moves", PATIENCE, || {
            let (report, counter) = expect_other(browser, own, other);
            (counter != before).then_some(report)
        })
    });
    reports.into()
}

/// Waits until the browser sees the other's marker and hears its tone; the marker's counter.
fn expect_other(browser: &Browser, own: u8, other: u8) -> (Report, u16) {
    let what = format!("browser {own} sees and hears {other}");
    wait_for(&what, PATIENCE, || {
        let report = browser.next_report();
        let marker = report.markers.values().find(|marker| marker.id == other);
        let hears = report.tones.contains_key(&other) && !report.tones.contains_key(&own);
        let counter = marker.map(|marker| marker.counter).filter(|_| hears);
        if counter.is_none() {
            eprintln!("browser {own}: {report:?}");
        }
        Some((report, counter?))
    })
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
            let heard = sources_in(&terminal.heard()?, 2.0);
            (heard == [FIRST_BROWSER, SECOND_BROWSER, SMALL_LEG]).then_some(())
        },
    );
    assert!(server.room().is_some());
    terminal.hang_up();
}
