//! A calendar that is set while rooms are open: nothing ends early, and nothing hangs (MCU-20).

use std::time::{Duration, SystemTime};

use mcu_api::call::{CallEvent, EndReason};
use mcu_api::ids::CallId;
use mcu_api::manager::ServerMessage;
use mcu_api::secret::Redacted;

use super::bench::{Bench, calendar, demo};
use crate::config::Config;
use crate::controller::{Controller, Input};
use crate::relay::Relays;

const HOUR: Duration = Duration::from_secs(3_600);
const YEARS: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Sets the calendar, which the shell tells before anything else.
fn set(bench: &mut Bench, wall: SystemTime) {
    bench.controller.set_calendar(bench.now, wall);
    bench.pass(Duration::from_secs(1));
}

#[test]
fn nobody_leaves_and_nothing_is_planned_anew() {
    for wall in [
        calendar() + HOUR,
        calendar() - HOUR,
        calendar() + YEARS,
        SystemTime::UNIX_EPOCH + HOUR,
    ] {
        let mut bench = Bench::new(demo());
        let (terminal, _) = bench.dial(1, "3000").unwrap();
        let (browser, _) = bench.join(1, "B");
        bench.pass(Duration::from_secs(60));
        let before = bench.plan().clone();
        bench.forget();
        set(&mut bench, wall);
        let view = bench.view("3000").unwrap();
        let joined: Vec<u64> = view.legs.iter().map(|leg| leg.joined_s).collect();
        assert_eq!(joined, [61, 61], "{wall:?}");
        assert_eq!(bench.legs_planned(), [terminal, browser]);
        assert_eq!(bench.plan(), &before);
        assert!(bench.commands.is_empty(), "{:?}", bench.commands);
        // And so after a death, with what was kept.
        let (state, now) = (bench.state.clone(), bench.now);
        let wall = wall + Duration::from_secs(1);
        bench.controller = Controller::new(demo(), state, [9; 32], now, wall);
        bench.connect_media();
        let view = bench.view("3000").unwrap();
        let joined: Vec<u64> = view.legs.iter().map(|leg| leg.joined_s).collect();
        assert_eq!(joined, [61, 61], "{wall:?}");
    }
}

/// A port that rests does so for as long as it must by the clock, whatever the calendar says.
#[test]
fn ports_rest_as_long_as_before() {
    let mut bench = Bench::new(demo());
    bench.dial(1, "3000").unwrap();
    let (call, reason) = (CallId(1), EndReason::Remote);
    bench.input(Input::Call(CallEvent::Ended { call, reason }));
    let left = |bench: &Bench, wall: SystemTime| -> Vec<u64> {
        let now = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let resting = bench.controller.resting().into_iter();
        resting
            .map(|rest| rest.until_unix_s - now.as_secs())
            .collect()
    };
    let before = left(&bench, calendar());
    assert!(!before.is_empty());
    for wall in [calendar() + YEARS, calendar() - HOUR] {
        bench.controller.set_calendar(bench.now, wall);
        assert_eq!(left(&bench, wall), before);
        // A new life begins by the new calendar.
        let mut state = bench.state.clone().unwrap();
        state.resting = bench.controller.resting();
        let next = Controller::new(demo(), Some(state), [9; 32], bench.now, wall);
        assert_eq!(next.resting().len(), before.len());
    }
}

/// Defect: credentials were made by the calendar of the controller's start. After it was set forward by
/// an hour or more, relays took them for expired until the controller was restarted.
#[test]
fn credentials_of_relays_are_made_by_the_calendar_as_it_is() {
    let mut bench = Bench::new(Config {
        relays: Some(Relays {
            urls: vec!["turn:192.0.2.1".into()],
            secret: Redacted("north".into()),
        }),
        ..demo()
    });
    let wall = calendar() + 2 * HOUR;
    bench.controller.set_calendar(bench.now, wall);
    bench.join(1, "B");
    let said = bench.said_to(1);
    let username = said.iter().find_map(|message| match message {
        ServerMessage::Relays { username, .. } => Some(username),
        _ => None,
    });
    let (expires, _) = username.unwrap().split_once(':').unwrap();
    let now = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(expires, (now.as_secs() + 3_600).to_string());
}
