//! Terminals: offers and answers, hold, key frames.

use std::time::Duration;

use mcu_api::call::{CallCommand, CallEvent, EndReason, RejectReason};
use mcu_api::ids::{CallId, LegId};
use mcu_api::media::{MediaEvent, ToMedia};
use mcu_api::secret::Redacted;

use super::bench::{Bench, TERMINAL_OFFER, demo, incoming, ports};
use crate::controller::Input;

const CALL: CallId = CallId(1);

fn reoffer(bench: &mut Bench, sdp: Option<&str>) -> CallCommand {
    let sdp = sdp.map(|sdp| Redacted(sdp.to_owned()));
    bench.input(Input::Call(CallEvent::Reoffer { call: CALL, sdp }));
    bench.commands.pop().expect("a command")
}

fn answered_with(command: CallCommand) -> String {
    match command {
        CallCommand::Answer { call: CALL, sdp } => sdp.0,
        other => panic!("not an answer: {other:?}"),
    }
}

#[test]
fn an_offer_without_anything_in_common_is_refused_and_costs_no_ports() {
    let mut bench = Bench::new(demo());
    let offer = "v=0\r\no=t 1 1 IN IP4 10.1.0.50\r\ns=-\r\nc=IN IP4 10.1.0.50\r\nt=0 0\r\n\
                 m=audio 6000 RTP/AVP 18\r\n";
    for call in 1..=30 {
        let refused = bench
            .dial_with(incoming(call, "3000", Some(offer)))
            .unwrap_err();
        assert_eq!(refused, RejectReason::NotAcceptable);
    }
    assert!(bench.held.is_empty());
    assert_eq!(bench.state, None, "refused calls leave nothing to keep");
    bench.dial(31, "3000").unwrap();
}

#[test]
fn a_call_without_offer_has_media_once_it_answers_ours() {
    let mut bench = Bench::new(demo());
    let (leg, offer) = bench.dial_with(incoming(1, "3000", None)).unwrap();
    assert!(offer.contains("m=video"), "{offer}");
    let offered = bench.leg_plan(leg);
    assert_eq!(ports(offered).len(), 2, "open before our offer is read");
    assert!(offered.audio.is_none(), "no media before the answer");
    let h264 = offer
        .lines()
        .find(|line| line.ends_with("H264/90000"))
        .expect("H.264 is offered");
    let number = h264
        .trim_start_matches("a=rtpmap:")
        .split(' ')
        .next()
        .unwrap();
    let fmtp = offer
        .lines()
        .find(|line| line.starts_with(&format!("a=fmtp:{number} ")))
        .unwrap();
    let proto = if offer.contains("RTP/SAVP") {
        "RTP/SAVP"
    } else {
        "RTP/AVP"
    };
    let answer = format!(
        "v=0\r\no=t 1 1 IN IP4 10.1.0.50\r\ns=-\r\nc=IN IP4 10.1.0.50\r\nt=0 0\r\n\
         m=audio 6000 {proto} 8\r\nm=video 6002 {proto} {number}\r\n{h264}\r\n{fmtp}\r\n"
    );
    let sdp = Redacted(answer);
    bench.input(Input::Call(CallEvent::Answered { call: CALL, sdp }));
    bench.input(Input::Call(CallEvent::Established { call: CALL }));
    assert_eq!(bench.legs_planned(), [leg]);
    assert_eq!(bench.plan().composition.tiles, [leg]);
}

/// One INVITE from a forged address, with a stranger's in its offer, had pictures sent there.
#[test]
fn only_an_acknowledged_call_proves_where_its_terminal_is() {
    let mut bench = Bench::new(demo());
    let call = incoming(1, "3000", Some(TERMINAL_OFFER));
    let (terminal, _) = bench.call_unacknowledged(call).unwrap();
    let (page, _) = bench.join(1, "A");
    assert!(!bench.leg_plan(terminal).confirmed);
    assert!(bench.leg_plan(page).confirmed, "by its ICE checks");
    assert_eq!(bench.plan().composition.tiles, [page]);
    bench.restart_media();
    assert!(!bench.leg_plan(terminal).confirmed);
    let (second, _) = bench.dial(2, "3000").unwrap();
    assert!(bench.leg_plan(second).confirmed);
    assert_eq!(bench.plan().composition.tiles, [second]);
    assert!(!bench.leg_plan(terminal).confirmed);
    let hold = TERMINAL_OFFER.replace("o=t 1 1", "o=t 1 2");
    bench.input(Input::Call(CallEvent::Reoffer {
        call: CallId(2),
        sdp: Some(Redacted(hold)),
    }));
    assert!(bench.leg_plan(second).confirmed, "and stays so");
    bench.restart_media();
    assert!(bench.leg_plan(second).confirmed);
    bench.restart_controller();
    bench.connect_media();
    assert!(bench.leg_plan(second).confirmed);
}

#[test]
fn a_call_without_offer_whose_answer_is_useless_is_hung_up() {
    let mut bench = Bench::new(demo());
    bench.dial_with(incoming(1, "3000", None)).unwrap();
    let sdp = Redacted("nonsense".to_owned());
    bench.input(Input::Call(CallEvent::Answered { call: CALL, sdp }));
    assert_eq!(
        bench.commands.last(),
        Some(&CallCommand::Hangup { call: CALL })
    );
    bench.input(Input::Call(CallEvent::Ended {
        call: CALL,
        reason: EndReason::Local,
    }));
    assert_eq!(bench.view("3000").unwrap().legs.len(), 0);
}

#[test]
fn a_repeated_offer_has_the_same_answer_and_disturbs_nothing() {
    let mut bench = Bench::new(demo());
    let (_, answer) = bench.dial(1, "3000").unwrap();
    bench.forget();
    let again = reoffer(&mut bench, Some(TERMINAL_OFFER));
    assert_eq!(answered_with(again), answer);
    assert_eq!(bench.to_media, []);
}

#[test]
fn hold_takes_the_terminal_out_of_the_picture_and_resume_brings_it_back() {
    let mut bench = Bench::new(demo());
    let (leg, _) = bench.dial(1, "3000").unwrap();
    let before = bench.leg_plan(leg).clone();
    let hold = TERMINAL_OFFER.replace("o=t 1 1", "o=t 1 2") + "a=inactive\r\n";
    let hold = hold.replace("m=video", "a=inactive\r\nm=video");
    let answer = answered_with(reoffer(&mut bench, Some(&hold)));
    assert_eq!(answer.matches("a=inactive").count(), 2, "{answer}");
    assert_eq!(bench.plan().composition.tiles, []);
    let audio = bench.leg_plan(leg).audio.clone().unwrap();
    assert!(audio.send.is_none() && audio.receive.is_empty());
    let resume = TERMINAL_OFFER.replace("o=t 1 1", "o=t 1 3");
    answered_with(reoffer(&mut bench, Some(&resume)));
    assert_eq!(bench.plan().composition.tiles, [leg]);
    assert_eq!(ports(bench.leg_plan(leg)), ports(&before));
    assert_eq!(
        bench.leg_plan(leg),
        &before,
        "ports and SSRCs are those from before the hold"
    );
}

#[test]
fn a_useless_new_offer_leaves_the_call_as_it_was() {
    let mut bench = Bench::new(demo());
    bench.dial(1, "3000").unwrap();
    bench.forget();
    let refused = reoffer(&mut bench, Some("v=0\r\nnonsense"));
    assert_eq!(refused, CallCommand::RejectOffer { call: CALL });
    assert_eq!(bench.to_media, []);
    assert_eq!(bench.legs_planned().len(), 1);
}

#[test]
fn a_request_for_an_offer_within_the_call_keeps_the_media() {
    let mut bench = Bench::new(demo());
    let (leg, _) = bench.dial(1, "3000").unwrap();
    let before = bench.leg_plan(leg).clone();
    let offer = answered_with(reoffer(&mut bench, None));
    assert_eq!(
        bench.leg_plan(leg),
        &before,
        "what was agreed on stays until the answer"
    );
    assert_eq!(offer.matches("m=").count(), 2, "{offer}");
    let sdp = Redacted(TERMINAL_OFFER.to_owned());
    bench.input(Input::Call(CallEvent::Answered { call: CALL, sdp }));
    assert_eq!(bench.leg_plan(leg).transports, before.transports);
}

#[test]
fn the_end_of_a_call_removes_its_leg_alone() {
    let mut bench = Bench::new(demo());
    let (first, _) = bench.dial(1, "3000").unwrap();
    let (second, _) = bench.dial(2, "3000").unwrap();
    let untouched = bench.leg_plan(second).clone();
    bench.input(Input::Call(CallEvent::Ended {
        call: CALL,
        reason: EndReason::Remote,
    }));
    assert_eq!(bench.legs_planned(), [second]);
    assert_eq!(bench.leg_plan(second), &untouched);
    assert_eq!(bench.plan().composition.tiles, [second]);
    assert_ne!(first, second);
    bench.forget();
    bench.input(Input::Call(CallEvent::Ended {
        call: CALL,
        reason: EndReason::Remote,
    }));
    assert_eq!(
        bench.to_media,
        [],
        "a second end of the same call changes nothing"
    );
}

#[test]
fn key_frames_are_asked_for_both_ways() {
    let mut bench = Bench::new(demo());
    let (leg, _) = bench.dial(1, "3000").unwrap();
    let room = bench.plan().room;
    bench.forget();
    bench.input(Input::Call(CallEvent::KeyFrameRequested { call: CALL }));
    assert_eq!(
        bench.to_media,
        [ToMedia::KeyFrame {
            room,
            leg,
            to_leg: true
        }]
    );
    bench.event(MediaEvent::KeyFrameNeeded { leg });
    assert_eq!(
        bench.commands,
        [CallCommand::RequestKeyFrame { call: CALL }]
    );
}

#[test]
fn a_silent_terminal_is_asked_once_a_minute_and_ends_only_by_signalling() {
    let mut bench = Bench::new(demo());
    let (leg, _) = bench.dial(1, "3000").unwrap();
    let before = bench.leg_plan(leg).transports.clone();
    bench.silent.insert(leg, 59);
    bench.pass(Duration::from_secs(5));
    bench.forget();
    bench.silent.insert(leg, 4000);
    bench.pass(Duration::from_secs(100));
    assert!(
        matches!(
            bench.commands[..],
            [CallCommand::Offer { .. }, CallCommand::Offer { .. }]
        ),
        "{:?}",
        bench.commands
    );
    assert_eq!(bench.to_media, [], "asking changes no media");
    let sdp = Redacted(TERMINAL_OFFER.to_owned());
    bench.input(Input::Call(CallEvent::Answered { call: CALL, sdp }));
    assert_eq!(bench.leg_plan(leg).transports, before);
    let ended = CallEvent::Ended {
        call: CALL,
        reason: EndReason::Timeout,
    };
    bench.input(Input::Call(ended));
    assert!(bench.held.is_empty());
}

#[test]
fn a_caller_without_a_name_still_has_one() {
    let mut bench = Bench::new(demo());
    let mut call = incoming(1, "3000", Some(TERMINAL_OFFER));
    call.caller = Redacted("\u{7}\r\n ".into());
    bench.dial_with(call).unwrap();
    let mut call = incoming(2, "3000", Some(TERMINAL_OFFER));
    call.caller = Redacted("病".repeat(1000));
    bench.dial_with(call).unwrap();
    let view = bench.view("3000").unwrap();
    assert_eq!(view.legs[0].site.name.0, "SIP");
    assert_eq!(view.legs[1].site.name.0.chars().count(), 64);
    assert_eq!(view.legs[1].site.leg, LegId(2));
}
