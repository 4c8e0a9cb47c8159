//! Legs whose bytes ended the media process.

use std::net::SocketAddr;
use std::time::Duration;

use mcu_api::call::{CallCommand, IncomingCall, RejectReason};
use mcu_api::ids::{CallId, ConnId, InstanceId, LegId};
use mcu_api::manager::{
    BrowserMessage, DialOutcome, FromControl, Refusal, ServerMessage, ToControl,
};
use mcu_api::media::Death;
use mcu_api::secret::Redacted;

use super::bench::{Bench, MANAGER, TERMINAL_OFFER, demo, incoming, join, rejoin, with_room};
use super::dialling::wish;
use crate::controller::Input;

const TERM: Duration = Duration::from_secs(600);

/// The processor dies of these legs' bytes, and another one comes.
fn die_of(bench: &mut Bench, legs: &[LegId]) {
    leave_word(bench, legs);
    bench.forget();
    bench.restart_media();
}

/// What the processor dies of, as the next one will tell.
fn leave_word(bench: &mut Bench, legs: &[LegId]) {
    let (room, instance) = (bench.plan().room, InstanceId(bench.instance));
    let death = |leg: &LegId| Death {
        instance,
        room,
        leg: *leg,
        stranger: false,
    };
    bench.deaths.extend(legs.iter().map(death));
}

fn caller(call: u64, name: &str) -> IncomingCall {
    IncomingCall {
        caller: Redacted(name.into()),
        ..incoming(call, "3000", Some(TERMINAL_OFFER))
    }
}

fn by_account(call: u64, account: &str) -> IncomingCall {
    IncomingCall {
        account: Some(account.into()),
        ..caller(call, "Terminal")
    }
}

fn expelled(call: u64) -> CallCommand {
    CallCommand::Expel { call: CallId(call) }
}

#[test]
fn a_guilty_terminal_is_put_out_before_any_plan_and_refused_for_ten_minutes() {
    let mut bench = Bench::new(demo());
    let (innocent, _) = bench.dial_with(caller(1, "A")).unwrap();
    let (guilty, _) = bench.dial_with(caller(2, "B")).unwrap();
    let (page, _) = bench.join(1, "Page");
    die_of(&mut bench, &[guilty]);
    assert_eq!(bench.commands, [expelled(2)], "the others notice nothing");
    assert_eq!(bench.legs_planned(), [innocent]);
    assert_eq!(bench.said_to(1)[0], &ServerMessage::Renew);
    let view = bench.view("3000").unwrap();
    assert_eq!(view.quarantined, 1);
    let legs: Vec<LegId> = view.legs.iter().map(|leg| leg.site.leg).collect();
    assert_eq!(legs, [innocent, page]);

    let refused = bench.dial_with(caller(3, "B")).unwrap_err();
    assert_eq!(refused, RejectReason::Quarantined);
    bench
        .dial_with(caller(4, "C"))
        .expect("another site behind the same address");
    bench.pass(TERM);
    bench.dial_with(caller(5, "B")).expect("the term is over");
    assert_eq!(bench.view("3000").unwrap().quarantined, 0);
}

#[test]
fn a_guilty_page_is_told_so_and_comes_back_neither_by_its_token_nor_anew() {
    let mut bench = Bench::new(demo());
    let (innocent, _) = bench.join(1, "A");
    let (guilty, token) = bench.join(2, "B");
    die_of(&mut bench, &[guilty]);
    let refused = ServerMessage::Refused {
        code: Refusal::Quarantined,
    };
    assert_eq!(bench.said_to(2), [&refused]);
    assert!(bench.closed(2));
    assert_eq!(bench.said_to(1)[0], &ServerMessage::Renew);
    assert!(!bench.closed(1));
    let legs: Vec<LegId> = bench.roster(1).0.iter().map(|site| site.leg).collect();
    assert_eq!(legs, [innocent]);

    let back = bench.join_with(3, rejoin("B", &token));
    assert_eq!(back.unwrap_err(), Refusal::Quarantined);
    let anew = bench.join_with(4, join("3000", "B"));
    assert_eq!(anew.unwrap_err(), Refusal::Quarantined);
    bench.join_with(5, join("3000", "C")).expect("another page");
}

/// A page's address counts as its manager tells it.
#[test]
fn pages_are_told_apart_by_address() {
    let mut bench = Bench::new(demo());
    let enter = |bench: &mut Bench, conn, address: &str| {
        let from = bench.told.len();
        let message = ToControl::Browser {
            conn: ConnId(conn),
            source: Some(address.parse().unwrap()),
            person: None,
            invited: None,
            message: join("3000", "A"),
        };
        bench.input(Input::Manager(MANAGER, message));
        let joined = |message: &ServerMessage| matches!(message, ServerMessage::Joined { .. });
        bench.told[from..].iter().any(|(_, told)| match told {
            FromControl::Server { message, .. } => joined(message),
            _ => false,
        })
    };
    assert!(enter(&mut bench, 1, "2001:db8::1"));
    let guilty = bench.legs_planned()[0];
    die_of(&mut bench, &[guilty]);
    assert!(!enter(&mut bench, 2, "2001:db8::2"), "the same network");
    assert!(enter(&mut bench, 3, "2001:db8:0:1::1"));
}

#[test]
fn an_account_is_refused_by_any_name_and_from_anywhere() {
    let mut bench = Bench::new(demo());
    let (guilty, _) = bench.dial_with(by_account(1, "or-1")).unwrap();
    bench.dial_with(by_account(2, "or-2")).unwrap();
    die_of(&mut bench, &[guilty]);
    let elsewhere = IncomingCall {
        remote: SocketAddr::from(([10, 9, 9, 9], 5060)),
        caller: Redacted("Other".into()),
        ..by_account(3, "or-1")
    };
    let refused = bench.dial_with(elsewhere).unwrap_err();
    assert_eq!(refused, RejectReason::Quarantined);
    bench.dial_with(by_account(4, "or-2")).expect("innocent");
    bench.dial_with(caller(5, "Terminal")).expect("no account");
}

/// Who proved no account learns nothing by it where accounts are asked for.
#[test]
fn a_closed_room_asks_for_the_account_first() {
    let mut bench = Bench::new(with_room("3000", false));
    let (guilty, _) = bench.dial_with(by_account(1, "or-1")).unwrap();
    bench.dial_with(by_account(2, "or-2")).unwrap();
    die_of(&mut bench, &[guilty]);
    let refused = bench.dial_with(by_account(3, "or-1")).unwrap_err();
    assert_eq!(refused, RejectReason::Quarantined);
    let stranger = bench.dial_with(caller(4, "B")).unwrap_err();
    assert_eq!(stranger, RejectReason::Forbidden);
}

/// SIGKILL, or the kernel out of memory.
#[test]
fn a_death_without_word_of_a_leg_convicts_nobody() {
    let mut bench = Bench::new(demo());
    let (terminal, _) = bench.dial_with(caller(1, "A")).unwrap();
    for _ in 0..5 {
        die_of(&mut bench, &[]);
        assert_eq!(bench.commands, []);
        assert_eq!(bench.legs_planned(), [terminal]);
    }
    assert_eq!(bench.view("3000").unwrap().quarantined, 0);
}

/// Defect: a stranger who found a leg's port before its own source was known had its account refused
/// (MCU-23). The leg goes, since its port is known; its terminal calls again.
#[test]
fn bytes_that_a_stranger_may_have_sent_refuse_nobody_twice() {
    let mut bench = Bench::new(demo());
    for call in 1..=3 {
        let (leg, _) = bench.dial_with(by_account(call, "or-1")).unwrap();
        leave_word(&mut bench, &[leg]);
        for death in &mut bench.deaths {
            death.stranger = true;
        }
        bench.forget();
        bench.restart_media();
        assert_eq!(bench.commands, [expelled(call)]);
        let refused = usize::from(call == 3);
        assert_eq!(
            bench.view("3000").map_or(0, |view| view.quarantined),
            refused,
            "{call}"
        );
    }
    let refused = bench.dial_with(by_account(4, "or-1")).unwrap_err();
    assert_eq!(refused, RejectReason::Quarantined);
}

/// Every hello repeats what is known of earlier deaths; after the loss of our state, ids begin anew.
#[test]
fn the_word_of_another_life_counts_nothing() {
    let mut bench = Bench::new(demo());
    let (terminal, _) = bench.dial_with(caller(1, "A")).unwrap();
    let room = bench.plan().room;
    let of = |instance| Death {
        instance: InstanceId(instance),
        room,
        leg: terminal,
        stranger: false,
    };
    bench.deaths = vec![of(7), of(0)];
    bench.restart_media();
    assert_eq!(bench.legs_planned(), [terminal]);
    // The link alone breaks: nobody has died.
    bench.deaths.push(of(bench.instance - 1));
    bench.input(Input::MediaDisconnected);
    bench.connect_media();
    assert_eq!(bench.legs_planned(), [terminal]);
    assert!(!bench.commands.contains(&expelled(1)));
}

/// One life may have come and gone unseen between the death and our connection.
#[test]
fn word_that_was_handed_on_counts() {
    let mut bench = Bench::new(demo());
    let (innocent, _) = bench.dial_with(caller(1, "A")).unwrap();
    let (guilty, _) = bench.dial_with(caller(2, "B")).unwrap();
    leave_word(&mut bench, &[guilty]);
    bench.instance += 1;
    bench.restart_media();
    assert_eq!(bench.legs_planned(), [innocent]);
}

#[test]
fn controller_and_processor_may_die_together() {
    let mut bench = Bench::new(demo());
    let (innocent, _) = bench.dial_with(caller(1, "A")).unwrap();
    let (guilty, _) = bench.dial_with(caller(2, "B")).unwrap();
    leave_word(&mut bench, &[guilty]);
    bench.instance += 1;
    bench.held.clear();
    bench.restart_controller();
    bench.connect_media();
    assert_eq!(bench.commands, [expelled(2)]);
    assert_eq!(bench.legs_planned(), [innocent]);

    bench.restart_controller();
    bench.connect_media();
    let refused = bench.dial_with(caller(3, "B")).unwrap_err();
    assert_eq!(
        refused,
        RejectReason::Quarantined,
        "it outlives the controller"
    );
}

#[test]
fn a_caller_that_comes_back_before_the_processor_does_is_refused() {
    let mut bench = Bench::new(demo());
    bench.dial_with(caller(1, "A")).unwrap();
    let (guilty, _) = bench.dial_with(caller(2, "B")).unwrap();
    leave_word(&mut bench, &[guilty]);
    bench.forget();
    bench.instance += 1;
    bench.held.clear();
    bench.input(Input::MediaDisconnected);
    let again = mcu_api::call::CallEvent::Incoming(caller(3, "B"));
    bench.input(Input::Call(again));
    assert_eq!(bench.commands, [], "it waits");
    bench.connect_media();
    let refused = CallCommand::Reject {
        call: CallId(3),
        reason: RejectReason::Quarantined,
    };
    assert_eq!(bench.commands, [expelled(2), refused]);
}

#[test]
fn a_room_does_not_call_who_is_refused() {
    let mut bench = Bench::new(demo());
    let (guilty, _) = bench.dial_with(caller(1, "lab")).unwrap();
    bench.dial_with(caller(2, "B")).unwrap();
    die_of(&mut bench, &[guilty]);
    let mut wanted = wish("3000", "sip:lab@10.1.0.50");
    let way = bench.controller.way_to(&wanted).unwrap();
    wanted.way = Some((way, SocketAddr::from(([10, 1, 0, 50], 5060))));
    bench.input(Input::Dial(Box::new(wanted)));
    let outcome = FromControl::Dialled {
        request: 5,
        outcome: DialOutcome::Refused { status: 403 },
    };
    assert_eq!(bench.told.last(), Some(&(MANAGER, outcome)));
}

/// The last leg of a room may be the guilty one.
#[test]
fn a_room_that_is_empty_then_is_closed() {
    let mut bench = Bench::new(demo());
    let (guilty, _) = bench.join(1, "A");
    die_of(&mut bench, &[guilty]);
    assert!(bench.held.is_empty());
    assert!(bench.view("3000").unwrap().legs.is_empty());
    bench.say(1, BrowserMessage::Leave);
}
