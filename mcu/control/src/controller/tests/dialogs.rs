//! Calls of terminals over the death of the controller (MCU-20).

use std::time::Duration;

use mcu_api::call::{CallCommand, CallEvent, EndReason};
use mcu_api::ids::{CallId, LegId};
use mcu_api::media::ToMedia;
use mcu_api::plan::{LegPlan, Transport};
use mcu_api::secret::Redacted;

use super::bench::{Bench, TERMINAL_OFFER, demo, incoming, ports};
use crate::controller::{Input, MEDIA_WAIT};

const CALL: CallId = CallId(1);
const HANGUP: CallCommand = CallCommand::Hangup { call: CALL };

/// An offer of this version with keys.
fn offer(version: u32) -> String {
    let key = "0123456789".repeat(4);
    let crypto = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}\r\n");
    let secure = TERMINAL_OFFER
        .replace("RTP/AVP", "RTP/SAVP")
        .replace("o=t 1 1", &format!("o=t 1 {version}"));
    secure.replace("m=video", &format!("{crypto}m=video")) + &crypto
}

fn hold(version: u32) -> String {
    offer(version).replace("m=video", "a=inactive\r\nm=video") + "a=inactive\r\n"
}

/// An established call with keys, another without, and the first one's leg and plan.
fn meeting() -> (Bench, LegId, LegPlan) {
    let mut bench = Bench::new(demo());
    let (leg, _) = bench
        .dial_with(incoming(CALL.0, "3000", Some(&offer(1))))
        .unwrap();
    bench.input(Input::Call(CallEvent::Established { call: CALL }));
    bench.dial(2, "3000").unwrap();
    bench.input(Input::Call(CallEvent::Established { call: CallId(2) }));
    bench.pass(Duration::from_secs(5));
    let plan = bench.leg_plan(leg).clone();
    (bench, leg, plan)
}

fn reoffer(bench: &mut Bench, sdp: Option<&str>) -> CallCommand {
    let sdp = sdp.map(|sdp| Redacted(sdp.to_owned()));
    bench.input(Input::Call(CallEvent::Reoffer { call: CALL, sdp }));
    bench.commands.pop().expect("a command")
}

fn ended(bench: &mut Bench) {
    let reason = EndReason::Remote;
    bench.input(Input::Call(CallEvent::Ended { call: CALL, reason }));
}

/// `o=` of a description: session id and version.
fn origin(sdp: &str) -> (u64, u64) {
    let line = sdp.lines().find(|line| line.starts_with("o=")).unwrap();
    let mut fields = line.split(' ').skip(1).map(|field| field.parse().unwrap());
    (fields.next().unwrap(), fields.next().unwrap())
}

fn crypto(sdp: &str) -> Vec<&str> {
    sdp.lines()
        .filter(|line| line.starts_with("a=crypto"))
        .collect()
}

fn is_encrypted(plan: &LegPlan) -> bool {
    plan.transports
        .iter()
        .all(|transport| matches!(transport, Transport::Udp(udp) if udp.sdes.is_some()))
}

#[test]
fn a_call_goes_on_and_its_end_removes_the_leg() {
    let (mut bench, leg, plan) = meeting();
    bench.restart_controller();
    bench.connect_media();
    assert_eq!(bench.to_media, [ToMedia::Hello], "media is left alone");
    assert_eq!(bench.commands, []);
    bench.silent.insert(leg, 59);
    bench.pass(Duration::from_secs(3));
    assert_eq!(bench.leg_plan(leg), &plan);
    ended(&mut bench);
    assert!(!bench.legs_planned().contains(&leg));
    assert_eq!(bench.legs_planned().len(), 1);
}

#[test]
fn a_hang_up_before_the_processor_is_there_counts() {
    let (mut bench, leg, _) = meeting();
    bench.restart_controller();
    ended(&mut bench);
    bench.connect_media();
    assert!(!bench.legs_planned().contains(&leg));

    // The same when the processor is waited for no longer, and the other call goes on then.
    let (mut bench, leg, plan) = meeting();
    bench.restart_controller();
    bench.now += MEDIA_WAIT;
    let refused = reoffer(&mut bench, Some(&hold(2)));
    assert_eq!(refused, CallCommand::RejectOffer { call: CALL });
    let reason = EndReason::Remote;
    let call = CallId(2);
    bench.input(Input::Call(CallEvent::Ended { call, reason }));
    bench.connect_media();
    assert_eq!(bench.legs_planned(), [leg]);
    assert_eq!(bench.leg_plan(leg), &plan);
}

#[test]
fn hold_and_resume_keep_keys_ports_and_ssrcs() {
    let (mut bench, leg, before) = meeting();
    assert!(is_encrypted(&before));
    bench.restart_controller();
    bench.connect_media();
    let CallCommand::Answer { sdp: held, .. } = reoffer(&mut bench, Some(&hold(2))) else {
        panic!("the hold is refused");
    };
    assert_eq!(held.0.matches("a=inactive").count(), 2);
    assert!(!bench.plan().composition.tiles.contains(&leg));
    // On hold over another death.
    bench.restart_controller();
    bench.connect_media();
    let CallCommand::Answer { sdp: resumed, .. } = reoffer(&mut bench, Some(&offer(3))) else {
        panic!("the resume is refused");
    };
    assert_eq!(bench.leg_plan(leg), &before);
    assert_eq!(crypto(&held.0), crypto(&resumed.0));
    let (session, version) = origin(&held.0);
    assert_eq!(origin(&resumed.0), (session, version + 1));
}

#[test]
fn an_offer_that_is_repeated_after_the_death_has_the_same_answer() {
    let mut bench = Bench::new(demo());
    let call = incoming(CALL.0, "3000", Some(&offer(1)));
    let (_, answer) = bench.dial_with(call).unwrap();
    bench.restart_controller();
    bench.connect_media();
    let again = CallCommand::Answer {
        call: CALL,
        sdp: Redacted(answer),
    };
    assert_eq!(reoffer(&mut bench, Some(&offer(1))), again);
}

#[test]
fn our_own_offer_says_what_was_agreed_on() {
    let (mut bench, leg, before) = meeting();
    bench.restart_controller();
    bench.connect_media();
    bench.silent.insert(leg, 60);
    bench.pass(Duration::from_secs(1));
    let [CallCommand::Offer { call: CALL, sdp }] = &bench.commands[..] else {
        panic!("{:?}", bench.commands);
    };
    for port in ports(&before) {
        assert!(sdp.0.contains(&format!(" {port} RTP/SAVP")), "{}", sdp.0);
    }
    let sdp = Redacted(offer(2));
    bench.input(Input::Call(CallEvent::Answered { call: CALL, sdp }));
    let after = bench.leg_plan(leg);
    assert_eq!(after.transports, before.transports);
    let ssrc = |plan: &LegPlan| plan.audio.as_ref().unwrap().send.unwrap().ssrc;
    assert_eq!(ssrc(after), ssrc(&before));
}

#[test]
fn an_offer_of_ours_that_was_open_is_made_again() {
    let (mut bench, leg, before) = meeting();
    assert!(matches!(
        reoffer(&mut bench, None),
        CallCommand::Answer { .. }
    ));
    bench.restart_controller();
    bench.connect_media();
    assert!(matches!(
        bench.commands[..],
        [CallCommand::Offer { call: CALL, .. }]
    ));
    assert_eq!(bench.to_media, [ToMedia::Hello]);
    let sdp = Redacted(offer(2));
    bench.input(Input::Call(CallEvent::Answered { call: CALL, sdp }));
    assert_eq!(bench.leg_plan(leg).transports, before.transports);
}

#[test]
fn a_call_whose_media_is_gone_is_hung_up() {
    let (mut bench, leg, before) = meeting();
    bench.restart_controller();
    let room = bench.held.values_mut().next().unwrap();
    room.legs.retain(|held| held.id != leg);
    room.composition.tiles.retain(|tile| *tile != leg);
    bench.connect_media();
    assert_eq!(bench.commands, [HANGUP]);
    assert!(!bench.legs_planned().contains(&leg));
    let (fresh, _) = bench.dial(9, "3000").unwrap();
    let fresh = ports(bench.leg_plan(fresh));
    assert!(fresh.iter().all(|port| !ports(&before).contains(port)));
}

#[test]
fn a_call_outlives_controller_and_processor_together() {
    let (mut bench, leg, before) = meeting();
    bench.restart_controller();
    bench.instance += 1;
    bench.held.clear();
    bench.connect_media();
    assert_eq!(bench.commands, []);
    let after = bench.leg_plan(leg);
    assert_eq!(after.transports, before.transports, "ports and keys");
    assert_ne!(after.video_send[0].ssrc, before.video_send[0].ssrc);
    let used = ports(after);
    let (fresh, _) = bench.dial(9, "3000").unwrap();
    let fresh = ports(bench.leg_plan(fresh));
    assert!(fresh.iter().all(|port| !used.contains(port)));
}

#[test]
fn calls_of_a_room_that_is_no_more_are_hung_up() {
    let (mut bench, _, _) = meeting();
    bench.state.as_mut().unwrap().rooms[0].number = "4000".into();
    bench.restart_controller();
    bench.connect_media();
    let other = CallCommand::Hangup { call: CallId(2) };
    assert_eq!(bench.commands, [HANGUP, other]);
    assert!(bench.held.is_empty());
}

#[test]
fn a_server_that_stops_before_it_took_up_its_calls_hangs_them_up() {
    let (mut bench, _, _) = meeting();
    bench.restart_controller();
    bench.input(Input::Stop);
    let other = CallCommand::Hangup { call: CallId(2) };
    assert_eq!(bench.commands, [HANGUP, other]);
}

/// What the shell does with calls that the endpoint did not take up.
#[test]
fn legs_of_calls_that_ended_are_forgotten() {
    let (mut bench, leg, _) = meeting();
    let state = bench.state.as_mut().unwrap();
    assert_eq!(state.calls().collect::<Vec<_>>(), [CALL, CallId(2)]);
    state.retain_calls(|call| call != CALL);
    bench.restart_controller();
    bench.connect_media();
    assert_eq!(bench.commands, []);
    assert!(!bench.legs_planned().contains(&leg));
    assert_eq!(bench.legs_planned().len(), 1);
}

/// Keys and names are in the state, and in no log.
#[test]
fn what_was_described_is_not_shown_in_logs() {
    let (bench, _, _) = meeting();
    let shown = format!("{:?}", bench.state.unwrap());
    assert!(
        !shown.contains("inline") && !shown.contains("Terminal"),
        "{shown}"
    );
}
