//! Rooms over hours and days.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use mcu_api::call::{CallCommand, CallEvent, EndReason};
use mcu_api::ids::CallId;
use mcu_api::secret::Redacted;

use super::bench::{Bench, TERMINAL_OFFER, demo, ports};
use crate::controller::Input;
use crate::controller::ports::REST;

/// Muted, or behind a microphone that is switched off: its peer answers, so it stays (RFC 4028 and
/// RFC 3264 §8.4 know no other death than that of signalling). The other leg of the room is untouched.
#[test]
fn a_leg_that_is_silent_for_an_hour_stays() {
    let mut bench = Bench::new(demo());
    let (silent, _) = bench.dial(1, "3000").unwrap();
    let (heard, _) = bench.dial(2, "3000").unwrap();
    let before = bench.plan().clone();
    bench.forget();
    let mut asked = 0;
    for second in 0..3_600 {
        bench.silent.insert(silent, second);
        bench.pass(Duration::from_secs(1));
        for command in std::mem::take(&mut bench.commands) {
            let CallCommand::Offer { call, .. } = command else {
                panic!("{command:?} after {second} s");
            };
            assert_eq!(call, CallId(1));
            asked += 1;
            let sdp = Redacted(TERMINAL_OFFER.to_owned());
            bench.input(Input::Call(CallEvent::Answered { call, sdp }));
        }
    }
    assert_eq!(asked, 59, "once a minute");
    assert_eq!(bench.legs_planned(), [silent, heard]);
    assert_eq!(bench.plan(), &before, "asking changes no media");
}

/// A storm of calls for a day, at the most that the ports bear: no port is given out while packets of
/// its last call may still fly, and what is kept does not grow.
#[test]
fn ports_rest_through_a_day_of_short_calls() {
    let mut bench = Bench::new(demo());
    let mut released: HashMap<u16, Instant> = HashMap::new();
    let mut largest = 0;
    for call in 1..=21_600 {
        let (leg, _) = bench
            .dial(call, "3000")
            .unwrap_or_else(|why| panic!("call {call}: {why:?}"));
        let used = ports(bench.leg_plan(leg));
        for port in &used {
            let rested = released.get(port).map(|at| bench.now - *at);
            assert!(
                rested.is_none_or(|rest| rest >= REST),
                "call {call}: {port} after {rested:?}"
            );
        }
        bench.now += Duration::from_secs(1);
        let reason = EndReason::Remote;
        let call = CallId(call);
        bench.input(Input::Call(CallEvent::Ended { call, reason }));
        released.extend(used.into_iter().map(|port| (port, bench.now)));
        bench.now += Duration::from_secs(3);
        largest = largest.max(bench.controller.resting().len());
        bench.forget();
    }
    assert!(largest <= 20, "{largest} pairs kept");
    assert!(bench.held.is_empty());
}
