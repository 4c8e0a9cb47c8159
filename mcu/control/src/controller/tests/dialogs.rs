//! Calls of terminals over the death of the controller (MCU-20).

use std::time::Duration;

use mcu_api::call::{CallCommand, CallEvent, EndReason, IncomingCall, RejectReason, SrtpPolicy};
use mcu_api::directory::Home;
use mcu_api::ids::{CallId, LegId};
use mcu_api::media::ToMedia;
use mcu_api::plan::{LegPlan, Transport};
use mcu_api::secret::Redacted;

use super::bench::{Bench, HELLO, TERMINAL_OFFER, demo, incoming, ports};
use crate::config::{Account, Config, RoomConfig, Secret, Trunk};
use crate::controller::pin::Source;
use crate::controller::{Input, MEDIA_WAIT};
use crate::dialplan::{Action, Pattern, Rule};

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
    assert_eq!(bench.to_media, [HELLO], "media is left alone");
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

/// After a refusal the same offer was made again for ever, whatever there was to say.
#[test]
fn an_offer_that_came_to_nothing_is_followed_by_another() {
    let (mut bench, leg, before) = meeting();
    let mut asked = Vec::new();
    for _ in 0..2 {
        bench.silent.insert(leg, 60);
        bench.pass(Duration::from_secs(61));
        let Some(CallCommand::Offer { call: CALL, sdp }) = bench.commands.pop() else {
            panic!("{:?}", bench.commands);
        };
        bench.forget();
        asked.push(origin(&sdp.0).1);
        bench.input(Input::Call(CallEvent::OfferFailed { call: CALL }));
        assert_eq!(bench.leg_plan(leg), &before, "what was agreed on holds");
    }
    assert_eq!(asked[1], asked[0] + 1);
    // The peer's own offers are answered, and an answer that comes late means nothing.
    let sdp = Redacted(offer(2));
    bench.input(Input::Call(CallEvent::Answered { call: CALL, sdp }));
    let answer = reoffer(&mut bench, Some(&hold(2)));
    assert!(matches!(answer, CallCommand::Answer { .. }));
}

/// A caller that was answered when the controller died had to call again.
#[test]
fn a_call_that_nobody_has_acknowledged_goes_on_and_proves_itself_later() {
    for (held, early) in [(true, false), (false, false), (true, true)] {
        let mut bench = Bench::new(demo());
        let call = incoming(CALL.0, "3000", Some(&offer(1)));
        let (leg, _) = bench.call_unacknowledged(call).unwrap();
        bench.restart_controller();
        if !held {
            bench.held.clear();
        }
        let established = Input::Call(CallEvent::Established { call: CALL });
        if early {
            bench.input(established.clone());
        }
        bench.connect_media();
        assert_eq!(bench.commands, []);
        assert_eq!(bench.leg_plan(leg).confirmed, early);
        bench.input(established);
        assert!(bench.leg_plan(leg).confirmed);
        // The next life knows.
        bench.restart_controller();
        bench.connect_media();
        assert!(bench.leg_plan(leg).confirmed);
    }
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
    assert_eq!(bench.to_media, [HELLO]);
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

/// RFC 4028 §7.4: a refresh repeats what we said last, and its answer may bring another address.
#[test]
fn the_answer_to_a_refresh_moves_the_media_and_nothing_else() {
    let (mut bench, leg, plan) = meeting();
    let remote = |plan: &LegPlan| match &plan.transports[0] {
        Transport::Udp(udp) => udp.remote_rtp.unwrap().to_string(),
        Transport::Webrtc(_) => unreachable!(),
    };
    assert_eq!(remote(&plan), "10.1.0.50:6000");
    bench.forget();
    let mut answered = |sdp: &str| {
        let sdp = Redacted(sdp.to_owned());
        bench.input(Input::Call(CallEvent::Refreshed { call: CALL, sdp }));
        assert!(bench.commands.is_empty(), "{:?}", bench.commands);
        bench.leg_plan(leg).clone()
    };
    assert_eq!(answered(&offer(1)), plan, "nothing has changed");
    let moved = answered(&offer(2).replace("10.1.0.50", "10.1.0.51"));
    assert_eq!(remote(&moved), "10.1.0.51:6000");
    let keys = |plan: &LegPlan| match &plan.transports[0] {
        Transport::Udp(udp) => udp.sdes.clone(),
        Transport::Webrtc(_) => None,
    };
    assert_eq!((keys(&moved), &moved.audio), (keys(&plan), &plan.audio));
    // One that takes the keys away, or is none, changes nothing.
    let clear = TERMINAL_OFFER.replace("10.1.0.50", "10.1.0.52");
    assert_eq!(answered(&clear), moved);
    assert_eq!(answered("nonsense"), moved);
    // The offer that held before the move is a new one now.
    let CallCommand::Answer { sdp, .. } = reoffer(&mut bench, Some(&offer(1))) else {
        panic!("no answer");
    };
    assert_eq!(origin(&sdp.0).1, 2);
    assert_eq!(remote(bench.leg_plan(leg)), "10.1.0.50:6000");
}

/// It was lost where our own answer had taken up keys under another tag than 1.
#[test]
fn the_answer_to_a_refresh_counts_whatever_its_keys_are_called() {
    let tagged = |version| offer(version).replace("crypto:1 ", "crypto:7 ");
    let mut bench = Bench::new(demo());
    let call = incoming(CALL.0, "3000", Some(&tagged(1)));
    let (leg, answer) = bench.dial_with(call).unwrap();
    assert_eq!(answer.matches("a=crypto:7 ").count(), 2, "{answer}");
    let sdp = Redacted(tagged(2).replace("10.1.0.50", "10.1.0.51"));
    bench.input(Input::Call(CallEvent::Refreshed { call: CALL, sdp }));
    for transport in &bench.leg_plan(leg).transports {
        let Transport::Udp(udp) = transport else {
            panic!("{transport:?}");
        };
        assert!(udp.sdes.is_some());
        assert_eq!(udp.remote_rtp.unwrap().ip().to_string(), "10.1.0.51");
    }
}

/// RFC 3891: the room, without its door, is that of the call that is replaced, which signalling ends.
#[test]
fn a_call_that_replaces_another_takes_its_place() {
    let (mut bench, old, _) = meeting();
    let replacing = |call: u64, replaces: u64| {
        let mut incoming = incoming(call, "9999", Some(TERMINAL_OFFER));
        incoming.replaces = Some(CallId(replaces));
        Input::Call(CallEvent::Incoming(incoming))
    };
    bench.forget();
    bench.input(replacing(7, 77));
    let call = CallId(7);
    let reason = RejectReason::Forbidden;
    assert_eq!(bench.commands, [CallCommand::Reject { call, reason }]);
    bench.commands.clear();
    bench.input(replacing(8, CALL.0));
    let [CallCommand::Accept { call, .. }] = bench.commands.as_slice() else {
        panic!("{:?}", bench.commands);
    };
    assert_eq!(*call, CallId(8));
    ended(&mut bench);
    bench.input(Input::Call(CallEvent::Established { call: CallId(8) }));
    let legs = bench.legs_planned();
    assert_eq!(legs.len(), 2);
    assert!(!legs.contains(&old));
}

fn rooms_to_move_between() -> Config {
    let room = |number: &str, guests, pin: Option<&str>, srtp| RoomConfig {
        number: number.into(),
        guests,
        guest_pin: pin.map(|pin| Redacted(pin.to_owned())),
        srtp,
        ..RoomConfig::default()
    };
    Config {
        rooms: vec![
            room("3000", true, None, SrtpPolicy::Allowed),
            room("4000", true, None, SrtpPolicy::Allowed),
            room("5000", false, None, SrtpPolicy::Allowed),
            room("6000", true, Some("4711"), SrtpPolicy::Allowed),
            room("7000", true, None, SrtpPolicy::Required),
        ],
        ..Config::default()
    }
}

/// The terminal asks for another room; why it is refused.
fn refer(bench: &mut Bench, number: &str) -> Option<RejectReason> {
    refer_from(bench, [10, 1, 0, 50], CALL, number)
}

/// A call asks for another room, by a request from this address.
fn refer_from(bench: &mut Bench, ip: [u8; 4], call: CallId, number: &str) -> Option<RejectReason> {
    bench.commands.clear();
    let wanted = IncomingCall {
        remote: (ip, 5060).into(),
        ..incoming(call.0, number, None)
    };
    bench.input(Input::Call(CallEvent::Referred(wanted)));
    let [CallCommand::Refer { call: of, refused }] = bench.commands.as_slice() else {
        panic!("{:?}", bench.commands);
    };
    assert_eq!(*of, call);
    *refused
}

/// A terminal asks to be moved (RFC 3515): to a room that it may enter, with its ports and keys.
#[test]
fn a_terminal_moves_to_another_room_that_it_may_enter() {
    let mut bench = Bench::new(rooms_to_move_between());
    let call = incoming(CALL.0, "3000", Some(&offer(1)));
    let (leg, _) = bench.dial_with(call).unwrap();
    bench.input(Input::Call(CallEvent::Established { call: CALL }));
    bench.dial(2, "3000").unwrap();
    let before = bench.leg_plan(leg).clone();
    for number in ["5000", "7000", "8000"] {
        let refused = refer(&mut bench, number);
        assert_eq!(refused, Some(RejectReason::Forbidden), "{number}");
    }
    assert_eq!(
        refer(&mut bench, "4000"),
        Some(RejectReason::Busy),
        "too soon"
    );
    bench.pass(Duration::from_secs(3));
    assert_eq!(refer(&mut bench, "3000"), None, "it is there already");
    assert_eq!(bench.leg_plan(leg).id, leg);

    bench.to_media.clear();
    assert_eq!(refer(&mut bench, "4000"), None);
    let plans: Vec<Vec<LegPlan>> = bench
        .to_media
        .iter()
        .filter_map(|message| match message {
            ToMedia::Plan(plan) => Some(plan.legs.clone()),
            _ => None,
        })
        .collect();
    let [old, new] = plans.as_slice() else {
        panic!("{plans:#?}");
    };
    assert!(old.iter().all(|other| other.id != leg), "let go of first");
    assert_eq!(new.len(), 1);
    assert_eq!(ports(&new[0]), ports(&before));
    assert!(is_encrypted(&new[0]));
    let ssrc = |plan: &LegPlan| plan.audio.as_ref().unwrap().send.unwrap().ssrc;
    assert_ne!(ssrc(&new[0]), ssrc(&before));
    let names = |bench: &mut Bench, number: &str| bench.view(number).unwrap().legs.len();
    assert_eq!(
        (names(&mut bench, "3000"), names(&mut bench, "4000")),
        (1, 1)
    );

    // Before another door it waits.
    bench.pass(Duration::from_secs(3));
    assert_eq!(refer(&mut bench, "6000"), None);
    let planned = |bench: &Bench| -> Vec<LegPlan> {
        let plans = bench.held.values();
        plans.flat_map(|plan| plan.legs.clone()).collect()
    };
    let waiting = planned(&bench)
        .into_iter()
        .filter(|leg| leg.waiting.is_some());
    assert_eq!(waiting.count(), 1);
    let refused = refer(&mut bench, "3000");
    assert_eq!(refused, Some(RejectReason::Forbidden), "it is not in");
    ended(&mut bench);
    assert_eq!(planned(&bench).len(), 1);
}

/// A forged address had anybody moved as a caller of the trunk, and somebody else charged for wrong PINs.
#[test]
fn a_wish_to_move_is_judged_by_where_its_call_came_from() {
    let mut config = rooms_to_move_between();
    config.trunks = vec![Trunk {
        name: "city".into(),
        address: "10.9.0.1:5060".parse().unwrap(),
        transport: None,
        domain: None,
        credentials: None,
        realm: None,
        sources: vec![[10, 9, 0, 1].into()],
        register: None,
        made: None,
    }];
    config.dialplan = vec![Rule {
        pattern: Pattern::Number("5551234".into()),
        from_trunk: Some("city".into()),
        action: Action::Room {
            number: "5000".into(),
            pin: true,
        },
    }];
    let mut bench = Bench::new(config);
    bench.dial(CALL.0, "3000").unwrap();
    let of_trunk = IncomingCall {
        remote: ([10, 9, 0, 1], 5060).into(),
        ..incoming(2, "3000", Some(TERMINAL_OFFER))
    };
    bench.dial_with(of_trunk).unwrap();
    bench.pass(Duration::from_secs(3));
    let forged = refer_from(&mut bench, [10, 9, 0, 1], CALL, "5551234");
    assert_eq!(forged, Some(RejectReason::Forbidden));
    let elsewhere = [10, 1, 0, 99];
    let moved = refer_from(&mut bench, elsewhere, CallId(2), "5551234");
    assert_eq!(moved, None, "it is still the trunk's");
    assert_eq!(refer_from(&mut bench, elsewhere, CALL, "6000*0000"), None);
    let mut legs = bench.controller.rooms.iter().flat_map(|room| &room.legs);
    let waiting = legs.find_map(|leg| leg.waiting.as_ref()).unwrap();
    assert_eq!(waiting.wrong, 1);
    assert_eq!(waiting.source, Source::new(None, [10, 1, 0, 50].into()));
}

/// RFC 5589 §7.3: it is where its other call was, without the door, and that call is over.
#[test]
fn a_terminal_moves_into_the_place_of_its_other_call() {
    let mut config = rooms_to_move_between();
    config.accounts = vec![Account {
        user: "ward".into(),
        secret: Secret::Password(Redacted("s3cret".into())),
        home: Home::Everywhere,
    }];
    config.rooms[2].pin = Some(Redacted("0815".into()));
    let mut bench = Bench::new(config);
    let of_account = |call: u64, number: &str| IncomingCall {
        account: Some("ward".into()),
        ..incoming(call, number, Some(TERMINAL_OFFER))
    };
    bench.dial_with(of_account(CALL.0, "3000")).unwrap();
    bench.dial_with(of_account(2, "5000*0815")).unwrap();
    bench.pass(Duration::from_secs(3));
    let wish = |replaces: u64| IncomingCall {
        replaces: Some(CallId(replaces)),
        offer: None,
        ..of_account(CALL.0, "9999")
    };
    let refer = |call, refused| CallCommand::Refer { call, refused };
    bench.commands.clear();
    bench.input(Input::Call(CallEvent::Referred(wish(77))));
    let refused = refer(CALL, Some(RejectReason::Forbidden));
    assert_eq!(bench.commands, [refused]);
    bench.commands.clear();
    bench.input(Input::Call(CallEvent::Referred(wish(2))));
    assert_eq!(bench.commands, [refer(CALL, None)]);
    let reason = EndReason::Local;
    bench.input(Input::Call(CallEvent::Ended {
        call: CallId(2),
        reason,
    }));
    assert_eq!(bench.view("3000").map_or(0, |room| room.legs.len()), 0);
    let there = bench.view("5000").unwrap().legs;
    assert_eq!((there.len(), there[0].waiting), (1, false));
}
