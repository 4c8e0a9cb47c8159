//! Who is shown where, and what a terminal sees of its own wish (MCU-11, MCU-12, MCU-13).

use mcu_api::call::CallEvent;
use mcu_api::ids::{CallId, LegId};
use mcu_api::layout::Layout;
use mcu_api::manager::{
    BrowserMessage, CellWish, ControlOutcome, FromControl, LayoutWish, LegAction, LegWish,
    ToControl,
};
use mcu_api::media::MediaEvent;
use mcu_api::plan::{Composition, VideoSource};

use super::bench::{Bench, MANAGER, demo};
use crate::controller::Input;

fn named(name: &str) -> Layout {
    Layout::named(name).unwrap()
}

fn wish(bench: &mut Bench, leg: LegId, wish: LegWish) -> ControlOutcome {
    let control = ToControl::Control {
        request: 9,
        room: "3000".into(),
        leg,
        action: LegAction::Set(wish),
    };
    bench.input(Input::Manager(MANAGER, control));
    let answers = bench.told.iter().rev().find_map(|(_, told)| match told {
        FromControl::Controlled { outcome, .. } => Some(*outcome),
        _ => None,
    });
    answers.expect("an answer")
}

fn press(bench: &mut Bench, call: u64, digit: char) {
    let call = CallId(call);
    bench.input(Input::Call(CallEvent::Digit { call, digit }));
}

/// The composition that a terminal is sent, and what it is called.
fn seen(bench: &Bench, leg: LegId) -> (Option<String>, Composition) {
    let source = bench.leg_plan(leg).video_send[0].source.clone();
    let Some(VideoSource::Composition { view, .. }) = source else {
        panic!("a terminal is sent {source:?}");
    };
    let plan = bench.plan();
    let composition = match &view {
        None => &plan.composition,
        Some(name) => {
            let mut views = plan.views.iter().filter(|(view, _)| view == name);
            &views.next().expect("the view is in the plan").1
        }
    };
    (view.clone(), composition.clone())
}

fn legs(composition: &Composition) -> Vec<LegId> {
    composition.places.iter().map(|place| place.leg).collect()
}

/// Two terminals and two pages.
fn room() -> (Bench, [LegId; 4]) {
    let mut bench = Bench::new(demo());
    let (first, _) = bench.dial(1, "3000").unwrap();
    let (second, _) = bench.dial(2, "3000").unwrap();
    let (third, _) = bench.join(3, "影像科");
    let (fourth, _) = bench.join(4, "D");
    (bench, [first, second, third, fourth])
}

#[test]
fn places_have_cells_and_names_and_an_older_processor_reads_the_tiles() {
    let (bench, sites) = room();
    let composition = &bench.plan().composition;
    assert_eq!(legs(composition), sites);
    assert_eq!(composition.tiles, sites);
    let cells = composition.places.iter().map(|place| place.cell);
    assert!(cells.eq(named("equal").cells(4).iter().copied()));
    assert_eq!(composition.places[2].name.0, "影像科");
    assert!(bench.plan().views.is_empty());
}

#[test]
fn a_site_without_picture_has_a_cell_that_others_leave_and_no_tile() {
    let (mut bench, [first, second, third, fourth]) = room();
    let off = BrowserMessage::Mute {
        audio: false,
        video: true,
    };
    bench.say(3, off);
    let composition = &bench.plan().composition;
    assert_eq!(legs(composition), [first, second, fourth, third]);
    assert_eq!(composition.tiles, [first, second, fourth]);
}

#[test]
fn an_operator_sets_a_site_into_a_cell_and_takes_it_out_again() {
    let (mut bench, [first, second, third, fourth]) = room();
    let cell = |number| LegWish {
        cell: Some(CellWish::Number(number)),
        ..LegWish::default()
    };
    assert_eq!(wish(&mut bench, fourth, cell(0)), ControlOutcome::Done);
    assert_eq!(
        legs(&bench.plan().composition),
        [fourth, first, second, third]
    );
    // Swapped: two wishes.
    wish(&mut bench, first, cell(0));
    wish(&mut bench, fourth, cell(1));
    let expected = [first, fourth, second, third];
    assert_eq!(legs(&bench.plan().composition), expected);
    let cells: Vec<Option<u8>> = (bench.view("3000").unwrap().legs.iter())
        .map(|leg| leg.showing.cell)
        .collect();
    assert_eq!(cells, [Some(0), None, None, Some(1)]);
    // What an operator set outlives the controller.
    bench.restart_controller();
    bench.connect_media();
    assert_eq!(legs(&bench.plan().composition), expected);
    let any = LegWish {
        cell: Some(CellWish::Any),
        ..LegWish::default()
    };
    wish(&mut bench, first, any);
    wish(&mut bench, fourth, any);
    assert_eq!(
        legs(&bench.plan().composition),
        [first, second, third, fourth]
    );
    assert_eq!(
        wish(&mut bench, LegId(99), cell(0)),
        ControlOutcome::NoSuchLeg
    );
}

#[test]
fn a_terminal_of_a_layout_of_its_own_has_no_effect_on_others() {
    let (mut bench, [first, second, third, fourth]) = room();
    let before = bench.plan().composition.clone();
    let own = LegWish {
        layout: Some(LayoutWish::Own(named("1_5"))),
        without_self: Some(true),
        ..LegWish::default()
    };
    wish(&mut bench, second, own);
    assert_eq!(bench.plan().composition, before);
    assert_eq!(seen(&bench, first).0, None);
    let (name, view) = seen(&bench, second);
    assert_eq!(legs(&view), [first, third, fourth]);
    assert_eq!(view.places[0].cell, named("1_5").cells(3)[0]);
    // In the view who speaks leads; in the room's nobody does.
    bench.event(MediaEvent::ActiveSpeaker { leg: Some(fourth) });
    assert_eq!(bench.plan().composition, before);
    assert_eq!(legs(&seen(&bench, second).1), [fourth, third, first]);
    // It is remembered, under the same name.
    bench.restart_controller();
    bench.connect_media();
    assert_eq!(seen(&bench, second).0, name);
    let back = LegWish {
        layout: Some(LayoutWish::Room),
        without_self: Some(false),
        ..LegWish::default()
    };
    wish(&mut bench, second, back);
    assert_eq!(seen(&bench, second), (None, before));
    assert!(bench.plan().views.is_empty());
}

#[test]
fn terminals_that_see_the_same_share_a_view() {
    let (mut bench, [first, second, ..]) = room();
    let own = LegWish {
        layout: Some(LayoutWish::Own(named("1_5"))),
        ..LegWish::default()
    };
    wish(&mut bench, first, own);
    wish(&mut bench, second, own);
    assert_eq!(seen(&bench, first), seen(&bench, second));
    assert_eq!(bench.plan().views.len(), 1);
}

/// Each view costs an encoder: one terminal's keys are not to slow everybody down.
#[test]
fn beyond_so_many_views_a_terminal_sees_the_rooms() {
    let mut bench = Bench::new(demo());
    let legs: Vec<LegId> = (1..=9)
        .map(|call| bench.dial(call, "3000").unwrap().0)
        .collect();
    for call in 1..=9 {
        press(&mut bench, call, '5');
    }
    assert_eq!(bench.plan().views.len(), 8);
    let own: Vec<bool> = (bench.view("3000").unwrap().legs.iter())
        .map(|leg| leg.showing.without_self)
        .collect();
    assert_eq!(own.iter().filter(|own| **own).count(), 8);
    assert_eq!(seen(&bench, legs[8]).0, None);
    press(&mut bench, 1, '5');
    assert!(seen(&bench, legs[8]).0.is_some(), "the next has its turn");
}

/// Who goes forth and back follows the room again.
#[test]
fn the_layout_of_the_room_is_none_of_ones_own() {
    let (mut bench, [first, ..]) = room();
    press(&mut bench, 1, '6');
    press(&mut bench, 1, '4');
    assert_eq!(seen(&bench, first).0, None);
    assert_eq!(bench.view("3000").unwrap().legs[0].showing.layout, None);
}

#[test]
fn keys_of_a_terminal_change_its_own_picture() {
    let (mut bench, [first, second, third, fourth]) = room();
    let before = bench.plan().composition.clone();
    let layout = |bench: &mut Bench| {
        let legs = bench.view("3000").unwrap().legs;
        legs[0].showing.layout.clone()
    };
    press(&mut bench, 1, '6');
    assert_eq!(layout(&mut bench).as_deref(), Some("speaker"));
    press(&mut bench, 1, '4');
    press(&mut bench, 1, '4');
    let last = Layout::all().last().unwrap();
    assert_eq!(layout(&mut bench).as_deref(), Some(last.name()));
    press(&mut bench, 1, '5');
    assert!(!legs(&seen(&bench, first).1).contains(&first));
    for key in ['1', '#', '*', '9'] {
        let now = bench.plan().generation;
        press(&mut bench, 1, key);
        assert_eq!(bench.plan().generation, now, "{key}");
    }
    assert_eq!(bench.plan().composition, before);
    assert_eq!(seen(&bench, second), (None, before));
    press(&mut bench, 1, '0');
    assert_eq!(legs(&seen(&bench, first).1), [first, second, third, fourth]);
    assert!(bench.plan().views.is_empty());
}
