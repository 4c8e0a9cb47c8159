//! A controller that was killed and came back.

use std::time::Duration;

use mcu_api::call::{CallEvent, EndReason, RejectReason};
use mcu_api::ids::{CallId, LegId};
use mcu_api::manager::{BrowserMessage, SlotSize};

use super::bench::{Bench, HELLO, demo, ports, rejoin};
use crate::controller::Input;

struct Before {
    terminal: LegId,
    page: LegId,
    token: String,
    other: LegId,
}

/// A room with a terminal and two browsers, one of them with a slot hidden and muted.
fn room() -> (Bench, Before) {
    let mut bench = Bench::new(demo());
    let (terminal, _) = bench.dial(1, "3000").unwrap();
    bench.input(Input::Call(CallEvent::Established { call: CallId(1) }));
    let (page, token) = bench.join(1, "page");
    let (other, _) = bench.join(2, "other");
    bench.say(
        2,
        BrowserMessage::Mute {
            audio: true,
            video: true,
        },
    );
    let hidden = vec![SlotSize {
        mid: "2".into(),
        height: 150,
    }];
    bench.say(1, BrowserMessage::Sizes { slots: hidden });
    bench.pass(Duration::from_secs(10));
    (
        bench,
        Before {
            terminal,
            page,
            token,
            other,
        },
    )
}

/// The state as a version wrote it that kept no calls.
fn without_calls(bench: &mut Bench) {
    bench.state.as_mut().unwrap().lose_calls();
}

#[test]
fn media_is_not_disturbed_by_the_controllers_death() {
    let (mut bench, before) = room();
    let plan = bench.plan().clone();
    bench.restart_controller();
    bench.connect_media();
    assert_eq!(bench.to_media, [HELLO]);
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.plan(), &plan);
    let view = bench.view("3000").unwrap();
    let legs: Vec<LegId> = view.legs.iter().map(|leg| leg.site.leg).collect();
    assert_eq!(legs, [before.terminal, before.page, before.other]);
    assert_eq!(view.legs[1].site.name.0, "page");
    assert!(view.legs[2].site.audio_muted);
    assert!(view.legs[0].joined_s >= 10, "time in the room goes on");
}

#[test]
fn pages_come_back_by_their_tokens() {
    let (mut bench, before) = room();
    let generation = bench.plan().generation;
    bench.restart_controller();
    // The page is faster than the processor's link.
    bench.say(7, rejoin("page", &before.token));
    assert_eq!(bench.told, []);
    bench.connect_media();
    assert_eq!(
        bench.legs_planned(),
        [before.terminal, before.page, before.other]
    );
    assert_eq!(bench.plan().generation, generation + 1);
    assert_eq!(
        bench.forwarded(before.page)[0],
        Some((before.terminal, 180))
    );
    assert_eq!(bench.roster(7).0.len(), 3);
}

#[test]
fn ports_and_ids_in_use_are_not_given_out_again() {
    let (mut bench, before) = room();
    bench.restart_controller();
    bench.connect_media();
    let (fresh, _) = bench.dial(9, "3000").unwrap();
    assert!(fresh > before.other);
    let old = ports(bench.leg_plan(before.terminal));
    assert!(
        ports(bench.leg_plan(fresh))
            .iter()
            .all(|port| !old.contains(port))
    );
}

#[test]
fn a_terminal_whose_dialog_is_lost_stays_until_it_is_silent_for_a_minute() {
    let (mut bench, before) = room();
    without_calls(&mut bench);
    bench.restart_controller();
    bench.connect_media();
    bench.silent.insert(before.terminal, 59);
    bench.pass(Duration::from_secs(2));
    assert!(bench.legs_planned().contains(&before.terminal));
    bench.silent.insert(before.terminal, 60);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.legs_planned(), [before.page, before.other]);
}

#[test]
fn when_the_processor_died_too_pages_keep_their_places_and_terminals_without_dialog_are_gone() {
    let (mut bench, before) = room();
    without_calls(&mut bench);
    bench.restart_controller();
    bench.instance += 1;
    bench.held.clear();
    bench.connect_media();
    assert!(bench.held.is_empty());
    assert_eq!(
        bench.join_with(7, rejoin("page", &before.token)).unwrap().0,
        before.page
    );
    assert_eq!(bench.roster(7).0.len(), 2);
    bench.pass(Duration::from_secs(21));
    assert_eq!(bench.legs_planned(), [before.page]);
    assert_eq!(bench.roster(7).0.len(), 1);
}

#[test]
fn a_processor_replaced_after_the_adoption_gets_new_ssrcs_for_adopted_terminals() {
    let (mut bench, before) = room();
    without_calls(&mut bench);
    bench.restart_controller();
    bench.connect_media();
    let old = bench.leg_plan(before.terminal).clone();
    bench.restart_media();
    let new = bench.leg_plan(before.terminal);
    assert_eq!(new.transports, old.transports);
    assert_ne!(new.video_send[0].ssrc, old.video_send[0].ssrc);
    assert_eq!(new.video_send[0].source, old.video_send[0].source);
}

/// TER-15: browsers suppress noise and echo themselves.
#[test]
fn sound_of_terminals_is_cared_for_and_still_is_once_adopted() {
    let (mut bench, before) = room();
    let care = |bench: &Bench| bench.leg_plan(before.terminal).audio.as_ref().unwrap().care;
    let all = mcu_api::plan::Care {
        level: true,
        noise: true,
        echo: true,
    };
    assert_eq!(care(&bench), all);
    without_calls(&mut bench);
    bench.restart_controller();
    bench.connect_media();
    assert_eq!(care(&bench), all);
}

#[test]
fn without_the_state_the_rooms_of_the_processor_are_closed() {
    let (mut bench, _) = room();
    bench.state = None;
    bench.restart_controller();
    bench.connect_media();
    assert!(bench.held.is_empty());
    // Their ports rest: packets may still come.
    let mut dialled = 0;
    while bench.dial(100 + dialled, "3000") != Err(RejectReason::Unavailable) {
        dialled += 1;
    }
    assert_eq!(dialled, 8, "seventeen of nineteen pairs are left");
}

/// Pairs that a terminal may still send to. Nineteen there are, two for each call.
fn dial_all(bench: &mut Bench) -> Vec<u16> {
    let mut all = Vec::new();
    for call in 100.. {
        match bench.dial(call, "3000") {
            Ok((leg, _)) => all.extend(ports(bench.leg_plan(leg))),
            Err(reason) => {
                assert_eq!(reason, RejectReason::Unavailable);
                break;
            }
        }
    }
    all
}

#[test]
fn pairs_rest_to_the_end_over_the_controllers_death() {
    let (mut bench, before) = room();
    let old = ports(bench.leg_plan(before.terminal));
    bench.input(Input::Call(CallEvent::Ended {
        call: CallId(1),
        reason: EndReason::Remote,
    }));
    bench.pass(Duration::from_secs(10));
    bench.restart_controller();
    bench.connect_media();
    let others = dial_all(&mut bench);
    assert_eq!(others.len(), 16);
    assert!(others.iter().all(|port| !old.contains(port)), "{others:?}");
    bench.pass(Duration::from_secs(20));
    let (fresh, _) = bench.dial(1, "3000").unwrap();
    let fresh = ports(bench.leg_plan(fresh));
    assert!(fresh.iter().any(|port| old.contains(port)), "{fresh:?}");
}

#[test]
fn pairs_of_calls_that_died_with_the_processor_rest() {
    let (mut bench, before) = room();
    let old = ports(bench.leg_plan(before.terminal));
    without_calls(&mut bench);
    bench.restart_controller();
    bench.instance += 1;
    bench.held.clear();
    bench.connect_media();
    let others = dial_all(&mut bench);
    assert_eq!(others.len(), 16);
    assert!(others.iter().all(|port| !old.contains(port)), "{others:?}");
}

#[test]
fn a_state_of_a_version_that_kept_no_ports_is_taken_up() {
    let (mut bench, before) = room();
    without_calls(&mut bench);
    let mut state = serde_json::to_value(bench.state.take().unwrap()).unwrap();
    state.as_object_mut().unwrap().remove("resting");
    let leg = &mut state["rooms"][0]["legs"][0]["kind"];
    assert_eq!(leg["kind"], "sip");
    leg.as_object_mut().unwrap().remove("ports");
    bench.state = Some(serde_json::from_value(state).unwrap());
    bench.restart_controller();
    bench.connect_media();
    assert!(bench.legs_planned().contains(&before.terminal));
}
