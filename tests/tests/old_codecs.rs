//! One room for terminals of every age: H.261 by GStreamer, H.263 by baresip, H.264 with
//! G.722.1 Annex C, G.729 and a browser, each seen and heard by all others, whatever they take (MCU-12, TER-08).

use std::time::Duration;

use benches::clip::{Clip, Config};
use benches::load::{AudioConfig, Load};
use benches::tone;
use mcu_api::codec::AudioCodec;
use tests::baresip::{self, Baresip, write_clip};
use tests::capture::Capture;
use tests::h261::H261Terminal;
use tests::measure::{sites_in, sources_in};
use tests::server::Server;
use tests::terminal::watching;
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(40);
const PAGE: u8 = 1;
const H261: u8 = 2;
const H263: u8 = 3;
const H264: u8 = 4;
/// A telephone, of sound alone.
const G729: u8 = 5;

#[test]
fn terminals_of_every_age_and_a_browser_see_each_other() {
    let server = Server::demo();
    let capture = Capture::start(server.dir(), "udp");
    let page = server.join(PAGE);
    let h263 = h263_terminal(&server);
    h263.dial(&format!("sip:3000@127.0.0.1:{}", server.sip));
    let h261 = H261Terminal::call(&server, H261);
    let load = Load::start().unwrap();
    let mut leg = watching(H264);
    leg.audio = Some(AudioConfig::codec(AudioCodec::G7221C {
        bitrate_bps: 48_000,
    }));
    let h264 = server.call(&load, leg);
    let mut leg = watching(G729);
    leg.audio = Some(AudioConfig::codec(AudioCodec::G729));
    leg.video = None;
    let g729 = server.call(&load, leg);

    let seen = h264.wait_until(PATIENCE, |report| {
        let moves = |id| report.tile(id).is_some_and(|tile| tile.fresh > 20);
        let hears = |id| report.heard().contains(&id);
        (PAGE..=H264).all(moves) && [PAGE, H261, H263, G729].into_iter().all(hears)
    });
    let _ = seen
        .unwrap()
        .unwrap_or_else(|last| panic!("{last:#?}\n{}\n{}", h261.log(), server.log()));
    wait_for(
        "the page sees the terminals, encoded anew",
        PATIENCE,
        || {
            let report = page.next_report();
            let sees = |id| report.markers.values().any(|marker| marker.id == id);
            let all = [H261, H263, H264].into_iter().all(sees);
            let hears = |id| report.tones.contains_key(&id);
            (all && [H261, H263, H264, G729].into_iter().all(hears)).then_some(())
        },
    );
    wait_for("the terminal with H.263 sees the room", PATIENCE, || {
        (sites_in(&h263.picture()) == [PAGE, H261, H263, H264]).then_some(())
    });
    wait_for("the terminal with H.263 hears the room", PATIENCE, || {
        (sources_in(&h263.heard()?, 2.0) == [PAGE, H261, H264, G729]).then_some(())
    });
    wait_for("the terminal with H.261 sees the room", PATIENCE, || {
        (sites_in(&h261.picture()?) == [PAGE, H261, H263, H264]).then_some(())
    });
    wait_for("the terminal with H.261 hears the room", PATIENCE, || {
        (sources_in(&h261.heard(), 2.0) == [PAGE, H263, H264, G729]).then_some(())
    });
    let heard = g729.wait_until(PATIENCE, |report| {
        let hears = |id| report.heard().contains(&id);
        [PAGE, H261, H263, H264].into_iter().all(hears)
    });
    let _ = heard.unwrap().unwrap_or_else(|last| panic!("{last:#?}"));
    let wire = capture.stop(server.sip, &[]);
    for codec in ["h261", "rfc2190"] {
        assert!(wire.count(codec) > 100, "{codec}: {}", wire.show("rtp"));
        let bad = format!("{codec} and _ws.malformed");
        assert_eq!(wire.count(&bad), 0, "{}", wire.show(&bad));
    }
}

fn h263_terminal(server: &Server) -> Baresip {
    let clip = server.dir().join("h263.mp4");
    write_clip(&Clip::load(&Config::cif(H263)).unwrap(), &clip);
    let config = baresip::Config {
        dir: &server.dir().join("baresip"),
        tone_hz: tone::frequency_hz(H263).unwrap().into(),
        clip: Some(&clip),
        audio_codec: "PCMA/8000/1",
        account: "",
    };
    Baresip::start_with_h263(server.host, &config, "352x288")
}
