//! Sound against picture where a browser plays them: beeps heard and counters seen, for a browser's
//! and for a terminal's media.

use std::sync::Arc;
use std::time::Duration;

use benches::clip::{Clip, Config};
use benches::load::{AudioConfig, LegConfig, Load, Target};
use mcu_api::codec::AudioCodec;
use tests::browser::Browser;
use tests::server::Server;
use tests::wait_for;

/// Most that sound and picture may differ.
const MOST_MS: f64 = 80.0;
const OTHER_BROWSER: u8 = 2;
const TERMINAL: u8 = 3;

#[test]
fn sound_and_picture_are_in_step_where_a_browser_plays_them() {
    let server = Server::demo();
    let url = server.url("/room/3000");
    let log = |id: u8| server.dir().join(format!("browser-{id}.log"));
    let watching = Browser::join_with(&url, 1, &log(1), &["320", "180", "30", "skew"]);
    let _other = Browser::join_with(&url, OTHER_BROWSER, &log(2), &["320", "180", "30"]);
    let load = Load::start().unwrap();
    let clip = Arc::new(Clip::load(&Config::hd(TERMINAL)).unwrap());
    let mut leg = LegConfig::terminal(TERMINAL, clip);
    leg.audio = Some(AudioConfig {
        beeps: true,
        ..AudioConfig::codec(AudioCodec::G722)
    });
    let sip = format!("127.0.0.1:{}", server.sip).parse().unwrap();
    let _terminal = load.call(&Target::number("3000", sip), leg).unwrap();

    // The figure is the median of the latest fifteen looks; the page takes a few seconds, some
    // thirty looks, to bring sound and picture together.
    let enough = |id: u8| {
        watching
            .report()
            .1
            .skew_looks
            .get(&id)
            .is_some_and(|n| *n >= 60)
    };
    wait_for(
        "beeps of both were heard often enough",
        Duration::from_secs(90),
        || (enough(OTHER_BROWSER) && enough(TERMINAL)).then_some(()),
    );
    let report = watching.next_report();
    for (id, whose) in [(OTHER_BROWSER, "browser"), (TERMINAL, "terminal")] {
        let skew = report.skew_ms[&id];
        println!("picture after sound, of the {whose}: {skew:.0} ms");
        assert!(skew.abs() <= MOST_MS, "{whose}: {skew} ms");
    }
}
