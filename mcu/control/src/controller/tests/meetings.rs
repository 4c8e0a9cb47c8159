//! What managers are told of meetings.

use std::time::Duration;

use mcu_api::manager::{FromControl, LegAction, LegWish, Meeting, Quality, ToControl};

use super::bench::{Bench, MANAGER, demo};
use crate::controller::{Input, ManagerId};

const S: Duration = Duration::from_secs(1);

/// What was told since the last look, and whether it was told whole.
fn told(bench: &mut Bench) -> Vec<(ManagerId, bool, Vec<Meeting>)> {
    let told = std::mem::take(&mut bench.told);
    let meetings = told.into_iter().filter_map(|(manager, said)| match said {
        FromControl::Meetings { whole, meetings } => Some((manager, whole, meetings)),
        _ => None,
    });
    meetings.collect()
}

fn watch(bench: &mut Bench, manager: ManagerId) {
    bench.input(Input::Manager(manager, ToControl::WatchMeetings));
}

/// How the only leg of the only meeting that was told last fares.
fn quality(bench: &mut Bench) -> Option<Quality> {
    let last = told(bench).pop()?;
    assert_eq!((last.0, last.1, last.2.len()), (MANAGER, false, 1));
    Some(last.2[0].legs[0].quality)
}

#[test]
fn a_manager_that_asks_is_told_of_all_meetings_and_then_of_each_change() {
    let mut bench = Bench::new(demo());
    let (leg, _) = bench.dial(1, "3000").unwrap();
    assert_eq!(told(&mut bench), [], "nobody asked");
    let other = ManagerId(2);
    watch(&mut bench, MANAGER);
    watch(&mut bench, other);
    let whole = told(&mut bench);
    assert_eq!(whole.len(), 2);
    assert_eq!((whole[0].0, whole[0].1), (MANAGER, true));
    assert_eq!(whole[0].2[0].number, "3000");
    assert_eq!(whole[0].2[0].legs[0].leg, leg);
    assert!(!whole[0].2[0].legs[0].audio_muted);

    let room = "3000".to_owned();
    let action = LegAction::Set(LegWish {
        audio: Some(true),
        video: None,
        ..LegWish::default()
    });
    let silence = ToControl::Control {
        request: 1,
        room: room.clone(),
        leg,
        action,
    };
    bench.input(Input::Manager(MANAGER, silence));
    let after = told(&mut bench);
    assert_eq!(after.len(), 2, "each of both: {after:?}");
    assert!(after[0].2[0].legs[0].audio_muted);

    // Who is gone is told no more.
    bench.input(Input::ManagerGone(other));
    let remove = ToControl::Control {
        request: 2,
        room: room.clone(),
        leg,
        action: LegAction::Remove,
    };
    bench.input(Input::Manager(MANAGER, remove));
    let over = Meeting {
        number: room,
        legs: Vec::new(),
    };
    assert_eq!(told(&mut bench), [(MANAGER, false, vec![over])]);
}

#[test]
fn how_a_leg_fares_is_told_once_it_is_steady() {
    let mut bench = Bench::new(demo());
    watch(&mut bench, MANAGER);
    let (leg, _) = bench.dial(1, "3000").unwrap();
    assert_eq!(quality(&mut bench), Some(Quality::Connecting));
    bench.pass(S);
    assert_eq!(quality(&mut bench), Some(Quality::Good));
    bench.lost.insert(leg, 7.0);
    bench.pass(2 * S);
    assert_eq!(quality(&mut bench), None, "a moment is no news");
    bench.lost.clear();
    bench.pass(S);
    bench.lost.insert(leg, 7.0);
    bench.pass(2 * S);
    assert_eq!(quality(&mut bench), None);
    bench.pass(S);
    assert_eq!(quality(&mut bench), Some(Quality::Poor));
    bench.pass(10 * S);
    assert_eq!(quality(&mut bench), None, "once");
    bench.lost.insert(leg, 3.0);
    bench.pass(3 * S);
    assert_eq!(quality(&mut bench), Some(Quality::Fair));
}
