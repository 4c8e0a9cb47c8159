//! What is counted for whoever watches the server (MCU-22).

use std::time::Duration;

use mcu_api::call::{CallEvent, EndReason};
use mcu_api::figures::{Calls, Direction, Kind};
use mcu_api::ids::CallId;
use mcu_api::manager::BrowserMessage;

use super::bench::{Bench, demo, incoming, join};
use crate::controller::Input;

fn calls(bench: &Bench, kind: Kind, direction: Direction) -> Calls {
    let figures = bench.controller.figures(bench.now);
    let mut all = figures.calls.into_iter();
    let found = all.find(|calls| (calls.kind, calls.direction) == (kind, direction));
    found.unwrap()
}

fn told(reasons: &[(&str, u64)]) -> std::collections::BTreeMap<String, u64> {
    let reasons = reasons.iter();
    reasons
        .map(|(why, count)| ((*why).to_owned(), *count))
        .collect()
}

/// The same, with those that are told before there is one.
fn failed(reasons: &[(&str, u64)]) -> std::collections::BTreeMap<String, u64> {
    let mut all = told(&[("no_media", 0), ("no_port_free", 0), ("room_full", 0)]);
    all.extend(told(reasons));
    all
}

#[test]
fn calls_are_counted_once_with_how_they_began_and_ended() {
    let mut bench = Bench::new(demo());
    bench.dial(1, "3000").unwrap();
    bench.dial(2, "3000").unwrap();
    bench.join(1, "A");
    bench.dial_with(incoming(3, "4999", None)).unwrap_err();
    bench.say(2, join("4999", "B"));
    let figures = bench.controller.figures(bench.now);
    assert_eq!((figures.rooms, figures.max_legs), (1, 256));
    assert!(figures.ports_used >= 2 && figures.ports > figures.ports_used);
    let terminals = calls(&bench, Kind::Terminal, Direction::Incoming);
    assert_eq!((terminals.legs, terminals.begun), (2, 2));
    assert_eq!(terminals.failed, failed(&[("no_such_room", 1)]));
    let reason = EndReason::Remote;
    let call = CallId(1);
    bench.input(Input::Call(CallEvent::Ended { call, reason }));
    let terminals = calls(&bench, Kind::Terminal, Direction::Incoming);
    assert_eq!((terminals.legs, terminals.begun), (1, 2));
    assert_eq!(terminals.ended, told(&[("hung_up_there", 1)]));
    bench.say(1, BrowserMessage::Leave);
    let browsers = calls(&bench, Kind::Browser, Direction::Incoming);
    assert_eq!((browsers.legs, browsers.begun), (0, 1));
    assert_eq!(browsers.ended, told(&[("browser_left", 1)]));
    assert_eq!(browsers.failed, failed(&[("no_such_room", 1)]));
}

#[test]
fn a_callee_counts_as_a_call_once_it_answers_and_as_a_failure_if_it_does_not() {
    let mut bench = Bench::new(demo());
    let wanted = bench.call_out("3000", "sip:ward-7@10.1.0.60").unwrap();
    let outgoing = calls(&bench, Kind::Terminal, Direction::Outgoing);
    assert_eq!((outgoing.legs, outgoing.begun), (1, 0));
    let (call, reason) = (wanted.call, EndReason::Refused(486));
    bench.input(Input::Call(CallEvent::Ended { call, reason }));
    bench.call_out("4999", "sip:ward-7@10.1.0.60");
    let outgoing = calls(&bench, Kind::Terminal, Direction::Outgoing);
    assert_eq!((outgoing.legs, outgoing.begun), (0, 0));
    assert!(outgoing.ended.is_empty());
    assert_eq!(
        outgoing.failed,
        failed(&[("no_such_room", 1), ("refused", 1)])
    );
}

#[test]
fn a_processor_that_is_gone_tells_nothing_more() {
    let mut bench = Bench::new(demo());
    let mut inventory = bench.inventory(false);
    inventory.figures = Some(mcu_api::figures::Media {
        encoders: 3,
        ..Default::default()
    });
    bench.media(mcu_api::media::FromMedia::Inventory(inventory));
    let figures = bench.controller.figures(bench.now);
    assert_eq!(figures.media.map(|media| media.encoders), Some(3));
    assert_eq!(figures.media_age_ms, Some(0));
    // It is asked while nothing else happens: a processor that hangs says nothing more.
    let later = bench.now + Duration::from_secs(9);
    let figures = bench.controller.figures(later);
    assert_eq!(figures.media_age_ms, Some(9_000));
    bench.input(Input::MediaDisconnected);
    let figures = bench.controller.figures(bench.now);
    assert_eq!((figures.media, figures.media_age_ms), (None, None));
}
