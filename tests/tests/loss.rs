//! Bad lines in one room: a terminal that asks for what it loses, and is asked, shows no pause at one
//! packet in ten; one whose line takes 50 kbit/s gets what fits, and takes nothing from the others,
//! whose pictures come at the same times within one frame (MCU-24, NET-02, NET-04).

use std::sync::Arc;
use std::time::Duration;

use benches::impairment::{Impairment, Loss, Relay};
use benches::load::{AudioConfig, LegConfig, Load, LoadLeg, Repair, Report};
use mcu_api::codec::AudioCodec;
use tests::server::Server;
use tests::terminal::watching;

const PATIENCE: Duration = Duration::from_secs(20);
/// Behind a line that loses one packet in ten each way.
const LOSSY: u8 = 1;
const WELL: u8 = 2;
/// Behind a line of 50 kbit/s that loses one in twenty.
const NARROW: u8 = 3;
/// One frame of 30 a second.
const FRAME_MS: f64 = 1000.0 / 30.0;
/// Frames of a source of 30 a second in 200 ms.
const FREEZE: u16 = 6;

fn behind(id: u8, line: &Arc<Relay>) -> LegConfig {
    LegConfig {
        rtcp_mux: true,
        line: Some(line.clone()),
        audio: Some(AudioConfig::codec(AudioCodec::Opus)),
        ..watching(id)
    }
}

/// What the leg reports once it has seen so much since now, or its last report.
fn once(server: &Server, leg: &LoadLeg, seen: impl FnMut(&Report) -> bool) -> Report {
    let report = leg.wait_until(PATIENCE, seen).expect("a leg");
    report.unwrap_or_else(|last| panic!("{last:#?}\n{}", server.log()))
}

/// Of seven stretches of a second the longest time from one picture to the next that this leg waits, in ms:
/// the median, so that what else a machine does counts little.
fn longest_frame_ms(server: &Server, leg: &LoadLeg) -> f64 {
    let mut longest = [(); 7].map(|()| {
        leg.reset().unwrap();
        let report = once(server, leg, |report| report.seconds >= 1.0);
        report.video.longest_gap_ms
    });
    longest.sort_by(f64::total_cmp);
    longest[3]
}

#[test]
fn losses_are_repaired_and_a_narrow_line_takes_nothing_from_others() {
    let server = Server::demo();
    let load = Load::start().unwrap();
    let clean = Impairment::default();
    let lines = [(); 2].map(|()| Arc::new(Relay::start(clean, clean).unwrap()));
    let lossy = server.call(
        &load,
        LegConfig {
            repair: Repair {
                nack: true,
                rtx: true,
                red: true,
            },
            ..behind(LOSSY, &lines[0])
        },
    );
    let well = server.call(&load, watching(WELL));
    let narrow = server.call(&load, behind(NARROW, &lines[1]));
    for leg in [&lossy, &well, &narrow] {
        once(&server, leg, |report| {
            (LOSSY..=NARROW).all(|id| report.tile(id).is_some_and(|tile| tile.fresh > 10))
        });
    }
    let before_ms = longest_frame_ms(&server, &well);
    let loss = |rate, seed| Impairment {
        loss: Loss::Random(rate),
        delay: Duration::from_millis(5),
        seed,
        ..clean
    };
    let slow = Impairment {
        rate_bps: Some(50_000),
        ..loss(0.05, 5)
    };
    lines[0].change(loss(0.1, 3), loss(0.1, 4)).unwrap();
    lines[1].change(loss(0.05, 6), slow).unwrap();

    // Its line is found to be narrow, and what is sent fits it: else nine packets in ten are lost.
    let narrow_gets = || {
        narrow.reset().unwrap();
        once(&server, &narrow, |report| report.seconds > 2.0)
    };
    let fits = (0..8).map(|_| narrow_gets()).find(|report| {
        let heard = report.audio.packets > 50 && report.audio.lost * 4 < report.audio.packets;
        heard && report.video.lost * 4 <= report.video.packets
    });
    assert!(fits.is_some(), "{:#?}\n{}", narrow.report(), server.log());
    let beside_ms = longest_frame_ms(&server, &well);
    println!("longest from picture to picture: {before_ms:.0} ms, then {beside_ms:.0} ms");
    assert!(beside_ms < before_ms + FRAME_MS, "{before_ms} {beside_ms}");

    for leg in [&lossy, &well] {
        leg.reset().unwrap();
    }
    let seen = |report: &Report, id| report.tile(id).map_or(0, |tile| tile.fresh);
    let report = once(&server, &well, |report| seen(report, LOSSY) > 150);
    let tile = report.tile(LOSSY).unwrap();
    assert!(tile.longest_step <= FREEZE, "{report:#?}");
    // Others' pictures come as before.
    assert!(report.video.media_frame_rate > 24.0, "{report:#?}");
    let report = once(&server, &lossy, |report| seen(report, WELL) > 150);
    let tile = report.tile(WELL).unwrap();
    assert!(tile.longest_step <= FREEZE, "{report:#?}");
    assert!(
        report.sent.asked_again > 20 && report.sent.resent > 20,
        "{report:#?}"
    );
}
