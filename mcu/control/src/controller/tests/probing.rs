//! Checks of the network before a room is entered.

use std::time::Duration;

use mcu_api::ids::ConnId;
use mcu_api::manager::{BrowserMessage, Refusal, ServerMessage, ToControl};
use mcu_api::secret::Redacted;

use super::bench::{Bench, MANAGER, PAGE_OFFER, demo};
use crate::config::Config;
use crate::controller::Input;

fn probe(bench: &mut Bench, conn: u64) {
    let sdp = Redacted(PAGE_OFFER.to_owned());
    bench.say(conn, BrowserMessage::Probe { sdp });
}

fn is_answered(bench: &Bench, conn: u64) -> bool {
    let mut said = bench.said_to(conn).into_iter();
    said.any(|message| matches!(message, ServerMessage::Answer { .. }))
}

#[test]
fn a_check_gets_its_own_picture_back_in_a_room_that_nobody_sees() {
    // Closed: nobody could enter a room.
    let mut bench = Bench::new(Config::default());
    probe(&mut bench, 1);
    assert!(is_answered(&bench, 1));
    let [leg] = bench.legs_planned()[..] else {
        panic!("one leg");
    };
    let shown = bench.forwarded(leg);
    assert_eq!(shown[0].map(|(leg, _)| leg), Some(leg));
    assert!(shown[1..].iter().all(Option::is_none));
    assert_eq!(bench.controller.figures(bench.now).rooms, 0);
    assert!(bench.conferences.is_empty(), "{:?}", bench.conferences);
    assert_eq!(bench.view(&format!("probe {}", leg.0)), None);
    assert!(bench.dial(1, &format!("probe {}", leg.0)).is_err());
}

#[test]
fn a_check_ends_with_its_page_and_after_a_while() {
    let mut bench = Bench::new(demo());
    probe(&mut bench, 1);
    let conn = ConnId(1);
    bench.input(Input::Manager(MANAGER, ToControl::BrowserGone { conn }));
    assert!(bench.held.is_empty());
    probe(&mut bench, 2);
    assert_eq!(bench.held.len(), 1);
    bench.pass(Duration::from_secs(16));
    assert!(bench.held.is_empty() && bench.closed(2));
}

#[test]
fn checks_at_a_time_are_bounded_and_a_page_has_one() {
    let mut bench = Bench::new(demo());
    for conn in 1..=9 {
        probe(&mut bench, conn);
    }
    let full = ServerMessage::Refused {
        code: Refusal::RoomFull,
    };
    assert_eq!(bench.held.len(), 8);
    assert!(bench.said_to(9).contains(&&full) && bench.closed(9));
    probe(&mut bench, 1);
    assert_eq!(bench.held.len(), 8);
}

#[test]
fn a_source_has_not_all_the_checks_that_there_are() {
    let mut bench = Bench::new(demo());
    let sdp = Redacted(PAGE_OFFER.to_owned());
    let mut probe_from = |conn: u64, source: &str| {
        let message = ToControl::Browser {
            conn: ConnId(conn),
            source: Some(source.parse().unwrap()),
            person: None,
            invited: None,
            message: BrowserMessage::Probe { sdp: sdp.clone() },
        };
        bench.input(Input::Manager(MANAGER, message));
        bench.held.len()
    };
    let held: Vec<usize> = (1..=6).map(|conn| probe_from(conn, "10.1.0.7")).collect();
    assert_eq!(held, [1, 2, 3, 4, 4, 4]);
    assert_eq!(probe_from(7, "10.1.0.8"), 5);
}

#[test]
fn relays_are_told_to_who_may_enter_something() {
    let relays = crate::relay::Relays {
        urls: vec!["turn:10.1.0.9".into()],
        secret: Redacted("north".into()),
    };
    let closed = Config {
        relays: Some(relays),
        ..Config::default()
    };
    let is_told = |config: Config| {
        let mut bench = Bench::new(config);
        probe(&mut bench, 1);
        assert!(is_answered(&bench, 1));
        let mut said = bench.said_to(1).into_iter();
        said.any(|message| matches!(message, ServerMessage::Relays { .. }))
    };
    assert!(!is_told(closed.clone()), "nobody may enter anything");
    let relays = closed.relays;
    assert!(is_told(Config { relays, ..demo() }));
}

#[test]
fn a_check_outlives_no_controller() {
    let mut bench = Bench::new(demo());
    probe(&mut bench, 1);
    bench.restart_controller();
    bench.connect_media();
    assert!(bench.held.is_empty());
}
