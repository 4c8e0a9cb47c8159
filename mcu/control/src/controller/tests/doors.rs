//! The dial plan and the PIN at the door (VSEC-03).

use std::time::Duration;

use mcu_api::call::{CallCommand, CallEvent, DialTarget, IncomingCall, RejectReason};
use mcu_api::directory::Home;
use mcu_api::ids::{CallId, LegId};
use mcu_api::manager::{BrowserMessage, Refusal};
use mcu_api::media::MediaEvent;
use mcu_api::plan::{Notice, NoticeText};
use mcu_api::secret::Redacted;

use super::bench::{Bench, TERMINAL_OFFER, incoming, join};
use super::dialling::wish;
use crate::config::{Account, Config, RoomConfig, Secret, Trunk};
use crate::controller::Input;
use crate::dialplan::{Action, Pattern, RefusalCode, Rule};

const PIN: &str = "4711";

fn room(number: &str, pin: Option<&str>) -> RoomConfig {
    RoomConfig {
        number: number.into(),
        guests: true,
        pin: pin.map(|pin| Redacted(pin.into())),
        ..RoomConfig::default()
    }
}

fn guarded() -> Config {
    Config {
        rooms: vec![room("3000", Some(PIN))],
        ..Config::default()
    }
}

fn enter(bench: &mut Bench, leg: LegId, keys: &str) {
    for key in keys.chars() {
        bench.event(MediaEvent::Dtmf { leg, key });
    }
}

fn notice(bench: &Bench, leg: LegId) -> Option<(NoticeText, u8)> {
    let waiting = bench.leg_plan(leg).waiting;
    waiting.map(|Notice { text, digits }| (text, digits))
}

fn hung_up(bench: &Bench, call: u64) -> usize {
    let hangup = CallCommand::Hangup { call: CallId(call) };
    bench.commands.iter().filter(|c| **c == hangup).count()
}

#[test]
fn who_knows_the_pin_comes_in_and_whoever_waits_is_no_part_of_the_meeting() {
    let mut bench = Bench::new(guarded());
    let page = |pin: Option<&str>| with_pin("A", pin);
    let (inside, _) = bench.join_with(1, page(Some(PIN))).unwrap();
    let (leg, _) = bench.dial(7, "3000").unwrap();
    assert_eq!(notice(&bench, leg), Some((NoticeText::EnterPin, 0)));
    assert_eq!(bench.plan().composition.tiles, [inside]);
    let names = |bench: &Bench| bench.roster(1).0.iter().map(|s| s.leg).collect::<Vec<_>>();
    assert_eq!(names(&bench), [inside]);
    assert_eq!(bench.forwarded(inside), vec![None; 8]);
    let waits = |bench: &mut Bench| {
        let view = bench.view("3000").unwrap();
        view.legs.iter().map(|leg| leg.waiting).collect::<Vec<_>>()
    };
    assert_eq!(waits(&mut bench), [false, true]);

    let watched = |bench: &Bench| {
        let conference = &bench.conferences["3000"];
        assert_eq!(conference.open_to, None, "it has a PIN");
        conference
            .users
            .iter()
            .map(|user| user.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(watched(&bench), [inside.0]);

    enter(&mut bench, leg, "471");
    assert_eq!(notice(&bench, leg), Some((NoticeText::EnterPin, 3)));
    enter(&mut bench, leg, "1#");
    assert_eq!(watched(&bench), [inside.0, leg.0]);
    assert_eq!(notice(&bench, leg), None);
    assert_eq!(bench.plan().composition.tiles, [inside, leg]);
    assert_eq!(names(&bench), [inside, leg]);
    assert_eq!(bench.forwarded(inside)[0].map(|shown| shown.0), Some(leg));
    assert_eq!(waits(&mut bench), [false, false]);
    // Keys of who is in mean nothing.
    enter(&mut bench, leg, "0000#");
    assert_eq!(notice(&bench, leg), None);
}

#[test]
fn digits_may_come_by_signalling() {
    let mut bench = Bench::new(guarded());
    let (leg, _) = bench.dial(7, "3000").unwrap();
    for digit in "4711#".chars() {
        let call = CallId(7);
        bench.input(Input::Call(CallEvent::Digit { call, digit }));
    }
    assert_eq!(notice(&bench, leg), None);
}

#[test]
fn after_three_wrong_pins_the_call_ends() {
    let mut bench = Bench::new(guarded());
    let (leg, _) = bench.dial(7, "3000").unwrap();
    enter(&mut bench, leg, "0000#");
    assert_eq!(notice(&bench, leg), Some((NoticeText::WrongPin, 0)));
    enter(&mut bench, leg, "47110#");
    assert_eq!(notice(&bench, leg), Some((NoticeText::WrongPin, 0)));
    enter(&mut bench, leg, "1#");
    assert_eq!(notice(&bench, leg), Some((NoticeText::PinRefused, 0)));
    enter(&mut bench, leg, "4711#");
    assert_eq!(notice(&bench, leg), Some((NoticeText::PinRefused, 0)));
    assert_eq!(hung_up(&bench, 7), 0);
    bench.pass(Duration::from_secs(4));
    assert_eq!(hung_up(&bench, 7), 1);
    bench.pass(Duration::from_secs(60));
    assert_eq!(hung_up(&bench, 7), 1, "once");
}

#[test]
fn who_enters_nothing_is_hung_up_after_half_a_minute() {
    let mut bench = Bench::new(guarded());
    let (leg, _) = bench.dial(7, "3000").unwrap();
    bench.pass(Duration::from_secs(20));
    enter(&mut bench, leg, "4");
    bench.pass(Duration::from_secs(29));
    assert_eq!(hung_up(&bench, 7), 0);
    bench.pass(Duration::from_secs(2));
    assert_eq!(hung_up(&bench, 7), 1);
    let (admitted, _) = bench.dial(8, "3000*4711").unwrap();
    bench.pass(Duration::from_secs(300));
    assert_eq!(notice(&bench, admitted), None);
    assert_eq!(hung_up(&bench, 8), 0);
}

/// Three tries a call and calls without end would find any PIN.
#[test]
fn a_source_that_was_wrong_too_often_is_refused_over_all_its_calls() {
    let mut bench = Bench::new(guarded());
    for call in 1..=10 {
        let (leg, _) = bench.dial(call, &format!("3000*{:04}", call)).unwrap();
        let told = match call {
            10 => NoticeText::PinRefused,
            _ => NoticeText::WrongPin,
        };
        assert_eq!(notice(&bench, leg), Some((told, 0)));
        let (call, reason) = (CallId(call), mcu_api::call::EndReason::Remote);
        bench.input(Input::Call(CallEvent::Ended { call, reason }));
        // Until the ports can be had again.
        bench.pass(Duration::from_secs(31));
    }
    let right = bench.dial(11, "3000*4711");
    assert_eq!(right.unwrap_err(), RejectReason::Forbidden);
    let elsewhere = IncomingCall {
        remote: ([10, 1, 0, 51], 5060).into(),
        ..incoming(12, "3000*4711", Some(TERMINAL_OFFER))
    };
    let (leg, _) = bench.dial_with(elsewhere).unwrap();
    assert_eq!(notice(&bench, leg), None);
    bench.pass(Duration::from_secs(601));
    let (leg, _) = bench.dial(13, "3000*4711").unwrap();
    assert_eq!(notice(&bench, leg), None);
}

/// Each forged source had ten tries, and the owner of the address was shut out for them.
#[test]
fn a_pin_that_was_dialled_is_tried_when_the_caller_has_acknowledged() {
    let mut bench = Bench::new(guarded());
    let call = |call: u64, pin: &str| incoming(call, &format!("3000*{pin}"), Some(TERMINAL_OFFER));
    for n in 1..=8 {
        let (leg, _) = bench.call_unacknowledged(call(n, "0000")).unwrap();
        assert_eq!(notice(&bench, leg), Some((NoticeText::EnterPin, 0)));
    }
    let crowded = bench.call_unacknowledged(call(9, PIN));
    assert_eq!(crowded.unwrap_err(), RejectReason::Busy);
    for n in 1..=8 {
        let (call, reason) = (CallId(n), mcu_api::call::EndReason::Timeout);
        bench.input(Input::Call(CallEvent::Ended { call, reason }));
    }
    let (leg, _) = bench.call_unacknowledged(call(10, PIN)).unwrap();
    assert_eq!(notice(&bench, leg), Some((NoticeText::EnterPin, 0)));
    let call = CallId(10);
    bench.input(Input::Call(CallEvent::Established { call }));
    assert_eq!(notice(&bench, leg), None);
}

#[test]
fn a_source_that_runs_out_of_tries_within_a_call_is_sent_away() {
    let mut bench = Bench::new(guarded());
    let (parked, _) = bench.dial(9, "3000").unwrap();
    for call in 1..=3 {
        let (leg, _) = bench.dial(call, "3000").unwrap();
        enter(&mut bench, leg, "1#2#3#");
    }
    let (leg, _) = bench.dial(4, "3000").unwrap();
    enter(&mut bench, leg, "1#");
    assert_eq!(notice(&bench, leg), Some((NoticeText::PinRefused, 0)));
    enter(&mut bench, parked, &format!("{PIN}#"));
    assert_eq!(notice(&bench, parked), Some((NoticeText::PinRefused, 0)));
}

/// A controller that dies must not open its doors.
#[test]
fn who_waits_still_waits_when_the_controller_was_replaced() {
    let mut bench = Bench::new(guarded());
    let (leg, _) = bench.dial(7, "3000").unwrap();
    let (inside, _) = bench.dial(8, "3000*4711").unwrap();
    enter(&mut bench, leg, "1#2#47");
    bench.restart_controller();
    bench.connect_media();
    assert_eq!(notice(&bench, leg), Some((NoticeText::EnterPin, 0)));
    assert_eq!(notice(&bench, inside), None);
    assert_eq!(bench.plan().composition.tiles, [inside]);
    enter(&mut bench, leg, "3#");
    assert_eq!(notice(&bench, leg), Some((NoticeText::PinRefused, 0)));
    bench.restart_media();
    assert_eq!(notice(&bench, inside), None);
    assert!(notice(&bench, leg).is_some());
}

#[test]
fn no_pin_is_in_what_is_logged_or_kept() {
    let mut bench = Bench::new(guarded());
    let (leg, _) = bench.dial(7, "3000").unwrap();
    enter(&mut bench, leg, "471");
    let kept = serde_json::to_string(&bench.state).unwrap();
    assert!(!kept.contains("\"471") && !kept.contains(PIN), "{kept}");
    assert!(!format!("{:?}", bench.plan()).contains(PIN));
}

fn with_pin(name: &str, pin: Option<&str>) -> BrowserMessage {
    let mut message = join("3000", name);
    if let BrowserMessage::Join { pin: given, .. } = &mut message {
        *given = pin.map(|pin| Redacted(pin.to_owned()));
    }
    message
}

#[test]
fn a_browser_is_asked_for_the_pin_before_it_is_in() {
    let mut bench = Bench::new(guarded());
    let refused = |bench: &mut Bench, conn, pin| bench.join_with(conn, with_pin("A", pin));
    assert_eq!(refused(&mut bench, 1, None), Err(Refusal::PinWanted));
    assert!(bench.closed(1) && bench.held.is_empty());
    assert_eq!(refused(&mut bench, 2, Some("471")), Err(Refusal::PinWrong));
    let (leg, token) = bench.join_with(3, with_pin("A", Some(PIN))).unwrap();
    // Whoever was in comes back by its token.
    let (again, _) = bench
        .join_with(4, super::bench::rejoin("A", &token))
        .unwrap();
    assert_eq!(again, leg);
    for conn in 5..14 {
        let wrong = refused(&mut bench, conn, Some("0000"));
        assert_eq!(wrong, Err(Refusal::PinWrong), "{conn}");
    }
    assert_eq!(refused(&mut bench, 20, Some(PIN)), Err(Refusal::PinRefused));
}

fn rule(pattern: Pattern, action: Action) -> Rule {
    Rule {
        pattern,
        from_trunk: None,
        action,
    }
}

fn planned() -> Config {
    let to_room = |pin| Action::Room {
        number: "3000".into(),
        pin,
    };
    Config {
        dialplan: vec![
            rule(
                Pattern::Uri {
                    user: "board".into(),
                    host: "10.1.0.1".into(),
                },
                to_room(false),
            ),
            rule(Pattern::Number("3001".into()), to_room(true)),
            rule(
                Pattern::Prefix("9".into()),
                Action::Refuse(RefusalCode::new(603).unwrap()),
            ),
        ],
        ..guarded()
    }
}

#[test]
fn the_dial_plan_leads_into_rooms_and_refuses() {
    let mut bench = Bench::new(planned());
    let (open, _) = bench.dial(1, "board").unwrap();
    assert_eq!(notice(&bench, open), None, "a rule may leave the PIN out");
    let (other, _) = bench.dial(2, "3001").unwrap();
    assert_eq!(notice(&bench, other), Some((NoticeText::EnterPin, 0)));
    assert_eq!(bench.legs_planned(), [open, other], "the same room");
    let (quick, _) = bench.dial(3, "3001*4711").unwrap();
    assert_eq!(notice(&bench, quick), None);
    assert_eq!(bench.dial(4, "912").unwrap_err(), RejectReason::Code(603));
    assert_eq!(bench.dial(5, "4000").unwrap_err(), RejectReason::NotFound);
    let host = IncomingCall {
        host: "elsewhere".into(),
        ..incoming(6, "board", Some(TERMINAL_OFFER))
    };
    assert_eq!(bench.dial_with(host).unwrap_err(), RejectReason::NotFound);
}

/// No number can be found by trying, neither a room's nor a rule's.
#[test]
fn where_there_are_accounts_a_stranger_is_challenged_whatever_it_dials() {
    let account = Account {
        user: "ward".into(),
        secret: Secret::Password(Redacted("s3cret".into())),
        home: Home::Everywhere,
    };
    let mut config = planned();
    config.accounts = vec![account];
    config.rooms[0].guests = false;
    let mut bench = Bench::new(config);
    for (call, number) in (1..).zip(["3000", "3001", "board", "912", "4000", "3000*4711"]) {
        let refused = bench.dial(call, number).unwrap_err();
        assert_eq!(refused, RejectReason::Unauthorized, "{number}");
    }
    let proven = |call, number: &str| IncomingCall {
        account: Some("ward".into()),
        ..incoming(call, number, Some(TERMINAL_OFFER))
    };
    let (leg, _) = bench.dial_with(proven(10, "3000")).unwrap();
    assert_eq!(notice(&bench, leg), Some((NoticeText::EnterPin, 0)));
    let refused = bench.dial_with(proven(11, "912")).unwrap_err();
    assert_eq!(refused, RejectReason::Code(603));
    let refused = bench.dial_with(proven(12, "4000")).unwrap_err();
    assert_eq!(refused, RejectReason::NotFound);
}

fn with_trunk() -> Config {
    let mut config = planned();
    config.rooms[0].guests = false;
    config.accounts = vec![Account {
        user: "ward".into(),
        secret: Secret::Password(Redacted("s3cret".into())),
        home: Home::Everywhere,
    }];
    config.trunks = vec![Trunk {
        name: "city".into(),
        address: "10.9.0.1:5060".parse().unwrap(),
        transport: None,
        domain: Some("carrier.example".into()),
        credentials: Some(("hospital".into(), Redacted("t0p".into()))),
        realm: None,
        sources: vec![[10, 9, 0, 1].into()],
        register: None,
        made: None,
    }];
    config.dialplan.push(Rule {
        pattern: Pattern::Number("5551234".into()),
        from_trunk: Some("city".into()),
        action: Action::Room {
            number: "3000".into(),
            pin: true,
        },
    });
    config.dialplan.push(rule(
        Pattern::Prefix("0".into()),
        Action::Trunk {
            name: "city".into(),
            strip: 1,
            prepend: "+".into(),
        },
    ));
    config
}

#[test]
fn calls_of_a_trunk_go_where_its_rules_lead_and_nowhere_else() {
    let mut bench = Bench::new(with_trunk());
    let from = |last: u8, call, number: &str| IncomingCall {
        remote: ([10, 9, 0, last], 5060).into(),
        ..incoming(call, number, Some(TERMINAL_OFFER))
    };
    let (leg, _) = bench.dial_with(from(1, 1, "5551234")).unwrap();
    assert_eq!(notice(&bench, leg), Some((NoticeText::EnterPin, 0)));
    let (leg, _) = bench.dial_with(from(1, 2, "5551234*4711")).unwrap();
    assert_eq!(notice(&bench, leg), None);
    for (call, last, number, reason) in [
        (3, 1, "3000", RejectReason::Forbidden),
        (4, 1, "4000", RejectReason::NotFound),
        // Nobody calls the world at our cost.
        (5, 1, "0123", RejectReason::Forbidden),
        (6, 2, "5551234", RejectReason::Unauthorized),
        (7, 2, "0123", RejectReason::Unauthorized),
    ] {
        let refused = bench.dial_with(from(last, call, number)).unwrap_err();
        assert_eq!(refused, reason, "{number} from {last}");
    }
    let proven = IncomingCall {
        account: Some("ward".into()),
        ..from(2, 8, "0123")
    };
    let refused = bench.dial_with(proven).unwrap_err();
    assert_eq!(refused, RejectReason::Forbidden);
}

#[test]
fn rooms_call_by_the_trunk_that_the_dial_plan_names() {
    let bench = Bench::new(with_trunk());
    let way = bench.controller.way_to(&wish("3000", "0491234")).unwrap();
    let uri = "sip:+491234@carrier.example".to_owned();
    let target = DialTarget::Uri { uri, via: None };
    assert_eq!(way.target, target);
    let place = way.sought.as_ref().map(|sought| sought.place.clone());
    assert_eq!(place, Some("10.9.0.1:5060".parse().unwrap()));
    assert_eq!(way.from.as_deref(), Some("sip:hospital@carrier.example"));
    let realms = &way.credentials.as_ref().unwrap().realms;
    assert_eq!(realms[..], ["carrier.example", "10.9.0.1"]);
    assert!(!format!("{way:?}").contains("t0p"));
    assert_eq!(
        bench.controller.way_to(&wish("3000", "5551234")),
        None,
        "only for calls of the trunk"
    );
    assert_eq!(bench.controller.way_to(&wish("3000", "3000")), None);
}
