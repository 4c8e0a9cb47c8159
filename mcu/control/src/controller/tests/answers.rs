//! Answers and the ports that they name. Defect: they left before the media processor had heard of the
//! ports, so that whoever sent at once met closed ones.

use mcu_api::call::{CallCommand, CallEvent, EndReason};
use mcu_api::ids::CallId;
use mcu_api::manager::{BrowserMessage, ServerMessage};
use mcu_api::media::FromMedia;
use mcu_api::secret::Redacted;

use super::bench::{Bench, PAGE_OFFER, TERMINAL_OFFER, demo, incoming, join, ports};
use crate::controller::Input;
use crate::controller::answers::OPENING_WAIT;

const CALL: CallId = CallId(1);

/// A bench whose processor is slow from now on.
fn slowed(mut bench: Bench) -> Bench {
    bench.forget();
    bench.slow = true;
    bench
}

impl Bench {
    fn is_called(&mut self, offer: Option<&str>) {
        self.input(Input::Call(CallEvent::Incoming(incoming(
            CALL.0, "3000", offer,
        ))));
    }

    fn accepted(&self) -> usize {
        let accepts = self
            .commands
            .iter()
            .filter(|command| matches!(command, CallCommand::Accept { call: CALL, .. }));
        accepts.count()
    }

    fn ends(&mut self, reason: EndReason) {
        self.input(Input::Call(CallEvent::Ended { call: CALL, reason }));
    }
}

#[test]
fn a_caller_is_answered_once_its_ports_are_open() {
    for offer in [Some(TERMINAL_OFFER), None] {
        let mut bench = slowed(Bench::new(demo()));
        bench.is_called(offer);
        let plan = bench.plan();
        assert_eq!(ports(&plan.legs[0]).len(), 2, "asked for at once");
        assert_eq!(bench.commands, []);
        assert_eq!(bench.state, None, "kept with its answer");
        bench.catch_up();
        assert_eq!(bench.accepted(), 1);
        assert!(bench.state.is_some());
        assert_eq!(bench.controller.next_timeout(), None);
        let inventory = bench.inventory(false);
        bench.media(FromMedia::Inventory(inventory));
        assert_eq!(bench.commands.len(), 1, "once");
    }
}

#[test]
fn a_processor_that_says_nothing_keeps_nobody_waiting_for_long() {
    let mut bench = slowed(Bench::new(demo()));
    bench.is_called(Some(TERMINAL_OFFER));
    let due = bench.now + OPENING_WAIT;
    assert_eq!(bench.controller.next_timeout(), Some(due));
    bench.time_out(due);
    assert_eq!(bench.accepted(), 1);
    bench.catch_up();
    assert_eq!(bench.commands.len(), 1);
}

/// An inventory says it, too: an older processor has nothing else.
#[test]
fn an_inventory_with_the_plan_is_enough() {
    let mut bench = slowed(Bench::new(demo()));
    bench.is_called(Some(TERMINAL_OFFER));
    bench.slow = false;
    let inventory = bench.inventory(false);
    bench.slow = true;
    let mut before = inventory.clone();
    before.rooms[0].generation -= 1;
    bench.media(FromMedia::Inventory(before));
    assert_eq!(bench.accepted(), 0);
    bench.media(FromMedia::Inventory(inventory));
    assert_eq!(bench.accepted(), 1);
}

#[test]
fn the_death_of_the_processor_is_waited_out() {
    let mut bench = slowed(Bench::new(demo()));
    bench.is_called(Some(TERMINAL_OFFER));
    bench.restart_media();
    assert_eq!(bench.accepted(), 0, "the new one has its plan to carry out");
    bench.catch_up();
    assert_eq!(bench.accepted(), 1);

    let mut bench = slowed(Bench::new(demo()));
    bench.is_called(Some(TERMINAL_OFFER));
    bench.input(Input::MediaDisconnected);
    bench.time_out(bench.now + OPENING_WAIT);
    assert_eq!(bench.accepted(), 1, "none comes");
}

#[test]
fn a_call_that_ends_meanwhile_is_not_answered_and_replaces_none() {
    let mut bench = Bench::new(demo());
    bench.dial(2, "3000").unwrap();
    let mut bench = slowed(bench);
    let mut call = incoming(CALL.0, "3000", Some(TERMINAL_OFFER));
    call.replaces = Some(CallId(2));
    bench.input(Input::Call(CallEvent::Incoming(call)));
    bench.ends(EndReason::Cancelled);
    bench.catch_up();
    assert_eq!(bench.commands, []);
    assert_eq!(bench.view("3000").unwrap().legs.len(), 1);
    assert_eq!(bench.controller.next_timeout(), None);
}

/// Defect: the call was refused a place that it no longer wanted, but the one that it was to replace was
/// hung up all the same: its end was put off while a processor was awaited, its answer was not.
#[test]
fn a_call_that_ends_while_no_processor_is_there_is_not_answered_either() {
    let mut bench = Bench::new(demo());
    bench.dial(2, "3000").unwrap();
    let mut bench = slowed(bench);
    let mut call = incoming(CALL.0, "3000", Some(TERMINAL_OFFER));
    call.replaces = Some(CallId(2));
    bench.input(Input::Call(CallEvent::Incoming(call)));
    bench.input(Input::MediaDisconnected);
    bench.ends(EndReason::Cancelled);
    bench.time_out(bench.now + OPENING_WAIT);
    let hangup = CallCommand::Hangup { call: CallId(2) };
    assert!(!bench.commands.contains(&hangup), "{:?}", bench.commands);
}

/// The answers that were given, by their versions.
fn answers(bench: &Bench) -> Vec<&str> {
    let version = |command| match command {
        &CallCommand::Answer {
            call: CALL,
            ref sdp,
        } => {
            let origin = sdp.0.lines().find(|line| line.starts_with("o="));
            origin.and_then(|origin| origin.split(' ').nth(2))
        }
        _ => None,
    };
    bench.commands.iter().filter_map(version).collect()
}

/// Defect: a new offer was answered with what had been meant for the one before, which its terminal had
/// cancelled meanwhile (RFC 3261 §9.2).
#[test]
fn an_offer_has_no_answer_that_was_meant_for_another() {
    let sound_only = TERMINAL_OFFER.split("m=video").next().unwrap();
    let call = incoming(CALL.0, "3000", Some(sound_only));
    let offer = |bench: &mut Bench, version: u8| {
        let origin = format!("o=t 1 {version}");
        let sdp = Some(Redacted(TERMINAL_OFFER.replace("o=t 1 1", &origin)));
        bench.input(Input::Call(CallEvent::Reoffer { call: CALL, sdp }));
    };
    let up = || {
        let mut bench = Bench::new(demo());
        bench.dial_with(call.clone()).unwrap();
        slowed(bench)
    };
    let mut bench = up();
    offer(&mut bench, 2);
    offer(&mut bench, 3);
    bench.catch_up();
    assert_eq!(answers(&bench), ["3"]);
    // The processor dies, and offers wait for the next one.
    let mut bench = up();
    offer(&mut bench, 2);
    bench.input(Input::MediaDisconnected);
    offer(&mut bench, 3);
    assert!(bench.controller.next_timeout() > Some(bench.now + OPENING_WAIT));
    offer(&mut bench, 4);
    bench.restart_media();
    bench.catch_up();
    assert_eq!(answers(&bench), ["4"]);
    // One is refused.
    let mut bench = up();
    offer(&mut bench, 2);
    let sdp = Some(Redacted("nonsense".to_owned()));
    bench.input(Input::Call(CallEvent::Reoffer { call: CALL, sdp }));
    bench.catch_up();
    assert_eq!(bench.commands, [CallCommand::RejectOffer { call: CALL }]);
}

#[test]
fn ports_that_cannot_be_opened_are_not_answered_with() {
    let mut bench = slowed(Bench::new(demo()));
    bench.is_called(Some(TERMINAL_OFFER));
    let plan = bench.plan();
    let refused = FromMedia::Refused {
        room: plan.room,
        generation: plan.generation,
        leg: Some(plan.legs[0].id),
        reason: "bind".into(),
    };
    bench.media(refused);
    bench.catch_up();
    assert_eq!(bench.commands, [CallCommand::Hangup { call: CALL }]);
}

#[test]
fn a_new_offer_waits_as_the_first_did_and_a_refresh_does_not() {
    let sound_only = TERMINAL_OFFER.split("m=video").next().unwrap();
    let mut bench = Bench::new(demo());
    bench
        .dial_with(incoming(CALL.0, "3000", Some(sound_only)))
        .unwrap();
    let mut bench = slowed(bench);
    let offer = |bench: &mut Bench| {
        let sdp = Some(Redacted(TERMINAL_OFFER.replace("o=t 1 1", "o=t 1 2")));
        bench.input(Input::Call(CallEvent::Reoffer { call: CALL, sdp }));
    };
    offer(&mut bench);
    assert_eq!(bench.commands, []);
    bench.catch_up();
    let answer = bench.commands.pop();
    assert!(matches!(
        answer,
        Some(CallCommand::Answer { call: CALL, .. })
    ));
    offer(&mut bench);
    assert_eq!(bench.commands.pop(), answer);
}

#[test]
fn a_page_hears_of_its_room_after_its_answer() {
    let mut bench = slowed(Bench::new(demo()));
    bench.say(1, join("3000", "A"));
    assert!(bench.said_to(1).is_empty());
    bench.catch_up();
    let kinds = |bench: &Bench| -> Vec<&'static str> {
        let kind = |message: &&ServerMessage| match message {
            ServerMessage::Joined { .. } => "joined",
            ServerMessage::Answer { .. } => "answer",
            ServerMessage::Roster { .. } => "roster",
            other => panic!("{other:?}"),
        };
        bench.said_to(1).iter().map(kind).collect()
    };
    assert_eq!(kinds(&bench), ["joined", "roster"]);
    bench.told.clear();
    let sdp = Redacted(PAGE_OFFER.to_owned());
    bench.say(1, BrowserMessage::Offer { sdp });
    assert!(bench.said_to(1).is_empty());
    bench.catch_up();
    assert_eq!(kinds(&bench), ["answer"]);
}

/// A page that leaves, or goes on as another, is told all that it was to be told, in order.
#[test]
fn a_page_that_is_gone_is_waited_for_no_longer() {
    let mut bench = slowed(Bench::new(demo()));
    bench.say(1, join("3000", "A"));
    bench.say(1, BrowserMessage::Leave);
    assert!(matches!(
        bench.said_to(1)[..],
        [ServerMessage::Joined { .. }, ServerMessage::Roster { .. }]
    ));
    assert!(bench.closed(1));
    assert_eq!(bench.controller.next_timeout(), None);
}
