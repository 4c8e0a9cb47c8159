//! Ports: who is let in by what the machine can do, and how tall pictures are (MCU-05).

use std::collections::BTreeMap;
use std::time::Duration;

use mcu_api::call::{CallCommand, CallEvent, EndReason, RejectReason};
use mcu_api::capacity::{Measured, PortClass, Shares};
use mcu_api::directory::{Directory, Shape};
use mcu_api::figures::{FEWEST_PICTURES, Media};
use mcu_api::ids::{CallId, LegId};
use mcu_api::manager::{DialOutcome, Refusal, ToControl};
use mcu_api::media::FromMedia;
use mcu_api::plan::VideoSource;

use super::bench::{Bench, MANAGER, TERMINAL_OFFER, incoming, join};
use crate::config::{Config, RoomConfig};
use crate::controller::Input;

/// A server for 1,000 thousandths of a processor, with a room of 1,080 lines.
fn config() -> Config {
    let tall = RoomConfig {
        number: "1080".into(),
        guests: true,
        shape: Shape {
            max_height: Some(1_080),
            ..Shape::default()
        },
        ..RoomConfig::default()
    };
    let usual = RoomConfig {
        number: "3000".into(),
        guests: true,
        ..RoomConfig::default()
    };
    Config {
        rooms: vec![tall, usual],
        processors: Some(1.0),
        ..Config::default()
    }
}

/// What the media processor says of itself.
fn tell(bench: &mut Bench, max_frame_rate: u32) {
    let millicores = [
        (PortClass::FullHd, 500.0),
        (PortClass::Hd, 250.0),
        (PortClass::Sd, 100.0),
        (PortClass::Browser, 50.0),
        (PortClass::Sound, 10.0),
    ];
    let measured = Measured {
        processors: 2.0,
        millicores: millicores.into(),
    };
    let mut inventory = bench.inventory(false);
    inventory.figures = Some(Media {
        measured: Some(measured),
        max_frame_rate: Some(max_frame_rate),
        decoded: 1.0,
        ..Media::default()
    });
    bench.media(FromMedia::Inventory(inventory));
}

fn share(bench: &mut Bench, generation: u64, shares: &[(PortClass, u8)]) {
    let shares = BTreeMap::from_iter(shares.iter().copied());
    let directory = Directory {
        generation,
        shares: Shares::try_from(shares).unwrap(),
        ..Directory::default()
    };
    bench.input(Input::Manager(MANAGER, ToControl::Directory(directory)));
}

/// Used and free ports by class.
fn ports(bench: &Bench) -> BTreeMap<PortClass, (u32, u32)> {
    let figures = bench.controller.figures(bench.now);
    let ports = figures.classes.into_iter();
    ports.map(|p| (p.class, (p.used, p.free))).collect()
}

/// Height of what a terminal is sent.
fn height(bench: &Bench, leg: LegId) -> u16 {
    match &bench.leg_plan(leg).video_send[0].source {
        Some(VideoSource::Composition { class, .. }) => class.height,
        other => panic!("a terminal is sent {other:?}"),
    }
}

fn sound_only() -> String {
    let end = TERMINAL_OFFER.find("m=video").unwrap();
    TERMINAL_OFFER[..end].to_owned()
}

#[test]
fn calls_find_smaller_ports_before_none() {
    let mut bench = Bench::new(config());
    bench.dial(1, "3000").expect("nothing is measured yet");
    tell(&mut bench, 60);
    assert_eq!(ports(&bench)[&PortClass::Hd], (1, 3));
    for call in 2..=4 {
        let (leg, _) = bench.dial(call, "3000").unwrap();
        assert_eq!(height(&bench, leg), 720);
    }
    assert_eq!(ports(&bench)[&PortClass::Hd], (4, 0));
    assert_eq!(bench.dial(5, "3000"), Err(RejectReason::NoPort));
    let refused = bench.join_with(1, join("3000", "A"));
    assert_eq!(refused, Err(Refusal::RoomFull));
    // One goes, and what it had is enough for two that are smaller.
    let (call, reason) = (CallId(1), EndReason::Remote);
    bench.input(Input::Call(CallEvent::Ended { call, reason }));
    share(&mut bench, 1, &[(PortClass::Sd, 25)]);
    for call in 6..=7 {
        let (leg, _) = bench.dial(call, "3000").unwrap();
        assert!(height(&bench, leg) <= 576, "{}", height(&bench, leg));
    }
    assert_eq!(ports(&bench)[&PortClass::Sd], (2, 0));
    assert_eq!(bench.dial(8, "3000"), Err(RejectReason::NoPort));
    let figures = bench.controller.figures(bench.now);
    assert_eq!(figures.calls[0].failed["no_port_free"], 2);
    assert_eq!(figures.calls[2].failed["no_port_free"], 1);
    // Ports of media that were taken for who was refused are given back.
    assert_eq!(figures.ports_used, 2 * 5);
}

/// Two terminals of 1,080 lines, and after another sharing out ten of less, with nothing begun anew.
#[test]
fn ports_are_shared_out_anew_while_calls_go_on() {
    let mut bench = Bench::new(config());
    tell(&mut bench, 60);
    share(&mut bench, 1, &[(PortClass::FullHd, 100)]);
    let classes = ports(&bench);
    assert_eq!(classes[&PortClass::FullHd], (0, 2));
    assert_eq!(classes[&PortClass::Sound], (0, 0));
    let offer = TERMINAL_OFFER.replace("profile-level-id=42e01f", "profile-level-id=42e028");
    let (tall, _) = bench.dial_with(incoming(1, "1080", Some(&offer))).unwrap();
    assert_eq!(height(&bench, tall), 1_080);
    share(&mut bench, 2, &[(PortClass::Sd, 100)]);
    assert_eq!(height(&bench, tall), 1_080, "who is in stays");
    let classes = ports(&bench);
    assert_eq!(classes[&PortClass::FullHd], (1, 0));
    assert_eq!(classes[&PortClass::Sd], (0, 5), "half is taken still");
    let (small, _) = bench.dial_with(incoming(2, "1080", Some(&offer))).unwrap();
    assert!(height(&bench, small) <= 576);
    let sound = sound_only();
    let refused = bench.dial_with(incoming(3, "1080", Some(&sound)));
    assert_eq!(
        refused.unwrap_err(),
        RejectReason::NoPort,
        "none is kept for it"
    );
    share(&mut bench, 3, &[]);
    bench.dial_with(incoming(4, "1080", Some(&sound))).unwrap();
    assert_eq!(ports(&bench)[&PortClass::Sound].0, 1);
}

/// Otherwise a hundred could be called at once for one port.
#[test]
fn who_is_called_takes_a_port_before_it_answers() {
    let mut bench = Bench::new(config());
    tell(&mut bench, 60);
    for n in 0..4 {
        let target = format!("sip:ward-{n}@10.1.0.60");
        assert!(bench.call_out("3000", &target).is_some(), "{n}");
    }
    assert_eq!(ports(&bench)[&PortClass::Hd], (4, 0));
    assert!(bench.call_out("3000", "sip:ward-5@10.1.0.60").is_none());
    assert_eq!(bench.outcome(), Some(DialOutcome::RoomFull));
}

/// It says in its ACK what it takes: until then it may be pictures.
#[test]
fn a_call_without_an_offer_takes_a_port_for_pictures() {
    let mut bench = Bench::new(config());
    tell(&mut bench, 60);
    share(&mut bench, 1, &[(PortClass::Hd, 100)]);
    bench.dial_with(incoming(1, "3000", None)).unwrap();
    assert_eq!(ports(&bench)[&PortClass::Hd], (1, 3));
}

/// What the terminal of a call was offered anew.
fn reoffers(bench: &mut Bench) -> usize {
    let offers = bench.commands.iter();
    let offers = offers.filter(|command| matches!(command, CallCommand::Offer { .. }));
    let count = offers.count();
    bench.forget();
    count
}

#[test]
fn pictures_become_smaller_where_few_are_not_enough_and_then_nobody_is_let_in() {
    let mut bench = Bench::new(config());
    tell(&mut bench, 60);
    let (leg, _) = bench.dial(1, "3000").unwrap();
    bench.input(Input::Call(CallEvent::Established { call: CallId(1) }));
    bench.forget();
    let later = |bench: &mut Bench, seconds: u64, rate: u32| {
        for _ in 0..seconds {
            bench.pass(Duration::from_secs(1));
            tell(bench, rate);
        }
    };
    later(&mut bench, 9, FEWEST_PICTURES);
    assert_eq!(reoffers(&mut bench), 0);
    later(&mut bench, 15, FEWEST_PICTURES);
    let figures = bench.controller.figures(bench.now);
    assert_eq!(figures.lowered_to, Some(360));
    assert_eq!(reoffers(&mut bench), 1);
    assert!(height(&bench, leg) <= 360, "whether it agrees or not");
    let (small, _) = bench.dial(2, "3000").unwrap();
    assert!(height(&bench, small) <= 360);
    later(&mut bench, 12, FEWEST_PICTURES);
    assert_eq!(bench.dial(3, "3000"), Err(RejectReason::NoPort));
    bench
        .dial_with(incoming(4, "3000", Some(&sound_only())))
        .expect("sound costs little");
    later(&mut bench, 1, FEWEST_PICTURES + 1);
    bench.dial(5, "3000").expect("it gets by");
}
