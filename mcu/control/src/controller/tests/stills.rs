//! Small pictures of meetings (WS/T 545: MGT-01).

use std::time::Duration;

use mcu_api::ids::RoomId;
use mcu_api::manager::{FromControl, ToControl};
use mcu_api::media::{FromMedia, MediaEvent, ToMedia};
use mcu_api::still::Still;

use super::bench::{Bench, MANAGER, demo};
use crate::controller::Input;

const S: Duration = Duration::from_secs(1);

/// What a manager is answered that asks for a picture.
fn ask(bench: &mut Bench, number: &str) -> Option<Still> {
    let number = number.to_owned();
    bench.input(Input::Manager(
        MANAGER,
        ToControl::GetStill { request: 9, number },
    ));
    match bench.told.pop() {
        Some((
            MANAGER,
            FromControl::Still {
                request: 9, still, ..
            },
        )) => still,
        other => panic!("no answer: {other:?}"),
    }
}

fn still(byte: u8) -> Still {
    Still::new(vec![byte; 8]).unwrap()
}

fn tell(bench: &mut Bench, room: RoomId, still: Option<Still>) {
    let event = MediaEvent::Still { still };
    bench.input(Input::Media(FromMedia::Event { room, event }));
}

#[test]
fn a_room_makes_stills_while_somebody_asks_for_them_and_keeps_the_newest() {
    let mut bench = Bench::new(demo());
    bench.dial(1, "3000").unwrap();
    let before = bench.plan().clone();
    assert!(!before.still, "nobody looks on");
    assert_eq!(ask(&mut bench, "3000"), None, "nothing yet");
    let plan = bench.plan().clone();
    assert!(plan.still);
    assert_eq!(
        (&plan.legs, &plan.composition),
        (&before.legs, &before.composition),
        "nothing else changes"
    );
    tell(&mut bench, plan.room, Some(still(1)));
    tell(&mut bench, plan.room, Some(still(2)));
    bench.to_media.clear();
    for _ in 0..4 {
        bench.pass(9 * S);
        assert_eq!(ask(&mut bench, "3000"), Some(still(2)));
        tell(&mut bench, plan.room, Some(still(2)));
    }
    let plans = |bench: &Bench| {
        let all = bench.to_media.iter();
        all.filter(|said| matches!(said, ToMedia::Plan(_))).count()
    };
    assert_eq!(plans(&bench), 0, "a question changes no plan");
    tell(&mut bench, plan.room, None);
    assert_eq!(ask(&mut bench, "3000"), None, "nobody is to be seen");

    tell(&mut bench, plan.room, Some(still(3)));
    bench.pass(15 * S);
    assert!(!bench.plan().still, "nobody has asked for long");
    assert_eq!(plans(&bench), 1);
    tell(&mut bench, plan.room, Some(still(4)));
    assert_eq!(ask(&mut bench, "3000"), None, "neither old nor late");
}

/// Defect that this guards against: the last picture of a camera that sent nothing more was shown as if it
/// were now, for as long as somebody looked.
#[test]
fn an_old_still_is_not_shown() {
    let mut bench = Bench::new(demo());
    bench.dial(1, "3000").unwrap();
    ask(&mut bench, "3000");
    let room = bench.plan().room;
    tell(&mut bench, room, Some(still(1)));
    bench.pass(9 * S);
    assert_eq!(ask(&mut bench, "3000"), Some(still(1)));
    bench.pass(2 * S);
    assert_eq!(ask(&mut bench, "3000"), None, "of eleven seconds ago");
    tell(&mut bench, room, Some(still(2)));
    assert_eq!(ask(&mut bench, "3000"), Some(still(2)));
}

#[test]
fn no_still_is_wanted_where_there_is_no_meeting() {
    let mut bench = Bench::new(demo());
    assert_eq!(ask(&mut bench, "3000"), None);
    assert_eq!(ask(&mut bench, "nowhere"), None);
    bench.dial(1, "3000").unwrap();
    assert!(!bench.plan().still);
}

#[test]
fn a_still_ends_with_the_process_that_made_it_and_the_wish_does_not() {
    let mut bench = Bench::new(demo());
    bench.dial(1, "3000").unwrap();
    ask(&mut bench, "3000");
    let room = bench.plan().room;
    tell(&mut bench, room, Some(still(1)));
    bench.input(Input::MediaDisconnected);
    assert_eq!(ask(&mut bench, "3000"), None);
    bench.instance += 1;
    bench.connect_media();
    assert!(bench.plan().still);
}
