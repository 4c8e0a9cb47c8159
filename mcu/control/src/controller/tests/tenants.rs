//! Tenants do not reach each other by SIP (MGT-05, VSEC-03): the root 0 with hospital 1, whose
//! departments are 2 and 3, and hospital 4 with department 5.

use std::time::Duration;

use mcu_api::call::{CallCommand, CallEvent, DialTarget, EndReason, IncomingCall, RejectReason};
use mcu_api::directory::{Branch, Directory, Home, MadeAccount, MadeRoom};
use mcu_api::ids::{CallId, LegId};
use mcu_api::manager::{Beyond, FromControl, ToControl, TransferOutcome};
use mcu_api::plan::NoticeText;
use mcu_api::secret::Redacted;

use super::bench::{Bench, MANAGER, TERMINAL_OFFER, incoming};
use super::dialling::wish;
use crate::config::{Account, Config, RoomConfig, Secret};
use crate::controller::{DialRequest, Input};

const ROOT: (u32, u32) = (0, 5);
const EAST: (u32, u32) = (1, 3);
const EAST_HEART: (u32, u32) = (2, 2);
const EAST_EYES: (u32, u32) = (3, 3);
const WEST: (u32, u32) = (4, 5);
const WEST_HEART: (u32, u32) = (5, 5);

fn room(number: &str, home: (u32, u32)) -> MadeRoom {
    MadeRoom {
        number: number.into(),
        home: Some(home.into()),
        shared: Vec::new(),
        guests: false,
        ..MadeRoom::default()
    }
}

fn account(user: &str, home: (u32, u32)) -> MadeAccount {
    MadeAccount {
        user: user.into(),
        home: Some(home.into()),
        md5: Redacted("a".repeat(32)),
        sha256: Redacted("b".repeat(64)),
    }
}

fn accounts() -> Vec<MadeAccount> {
    vec![
        account("root", ROOT),
        account("east", EAST),
        account("east.heart", EAST_HEART),
        account("east.eyes", EAST_EYES),
        account("west", WEST),
        account("west.heart", WEST_HEART),
    ]
}

/// A room of the file, one of each place, one for guests of the west.
fn rooms() -> Vec<MadeRoom> {
    let mut for_guests = room("4900", WEST);
    for_guests.guests = true;
    for_guests.guest_pin = Some(Redacted("471147".into()));
    vec![
        room("1000", ROOT),
        room("2000", EAST),
        room("2100", EAST_HEART),
        room("4000", WEST),
        for_guests,
    ]
}

fn config() -> Config {
    Config {
        rooms: vec![RoomConfig {
            number: "3000".into(),
            audience: mcu_api::directory::Audience::everybody(),
            ..RoomConfig::default()
        }],
        accounts: vec![Account {
            user: "operator".into(),
            secret: Secret::Password(Redacted("s3cret".into())),
            home: Home::Everywhere,
        }],
        ..Config::default()
    }
}

impl Bench {
    fn of_tenants() -> Self {
        let mut bench = Self::new(config());
        bench.tenants(1, rooms(), accounts());
        bench
    }

    fn tenants(&mut self, generation: u64, rooms: Vec<MadeRoom>, accounts: Vec<MadeAccount>) {
        let directory = Directory {
            generation,
            rooms,
            accounts,
            trunks: Vec::new(),
            shares: Default::default(),
        };
        self.input(Input::Manager(MANAGER, ToControl::Directory(directory)));
    }

    fn enter_as(&mut self, call: u64, account: &str, number: &str) -> Result<LegId, RejectReason> {
        let (leg, _) = self.dial_with(of_account(call, account, number))?;
        Ok(leg)
    }

    /// Asks for a move; the outcome, or that the terminal is asked.
    fn move_to(&mut self, room: &str, site: LegId, target: &str) -> Option<TransferOutcome> {
        self.forget();
        self.input(Input::Manager(
            MANAGER,
            ToControl::Transfer {
                request: 9,
                room: room.into(),
                site: Redacted(site.0.to_string()),
                leg: None,
                target: Redacted(target.into()),
            },
        ));
        match self.told.last() {
            Some((_, FromControl::Transferred { outcome, .. })) => Some(*outcome),
            _ => None,
        }
    }
}

fn of_account(call: u64, account: &str, number: &str) -> IncomingCall {
    IncomingCall {
        account: Some(account.into()),
        ..incoming(call, number, Some(TERMINAL_OFFER))
    }
}

/// Defect: every account entered every room that had no PIN, whosever it was.
#[test]
fn an_account_enters_the_rooms_of_its_branch_and_to_it_all_others_are_not_there() {
    for (account, enters) in [
        (
            "root",
            &["1000", "2000", "2100", "3000", "4000", "4900"][..],
        ),
        ("east", &["1000", "2000", "2100", "3000"]),
        ("east.heart", &["1000", "2000", "2100", "3000"]),
        ("east.eyes", &["1000", "2000", "3000"]),
        ("west.heart", &["1000", "3000", "4000", "4900"]),
        (
            "operator",
            &["1000", "2000", "2100", "3000", "4000", "4900"],
        ),
    ] {
        let mut bench = Bench::of_tenants();
        let mut found = Vec::new();
        let numbers = ["1000", "2000", "2100", "3000", "4000", "4900"];
        for (call, number) in (1..).zip(numbers) {
            match bench.enter_as(call, account, number) {
                Ok(leg) if !is_waiting(&bench, leg) => found.push(number),
                Ok(_) => assert_eq!(number, "4900", "{account}"),
                Err(reason) => assert_eq!(reason, RejectReason::NotFound, "{account} {number}"),
            }
        }
        assert_eq!(found, enters, "{account}");
        let nowhere = bench.enter_as(90, account, "9999");
        assert_eq!(nowhere, Err(RejectReason::NotFound));
    }
}

fn is_waiting(bench: &Bench, leg: LegId) -> bool {
    let mut plans = bench.held.values().flat_map(|plan| &plan.legs);
    plans.find(|plan| plan.id == leg).unwrap().waiting.is_some()
}

#[test]
fn a_stranger_is_a_guest_where_guests_are_taken_and_enters_by_their_pin_alone() {
    let mut bench = Bench::of_tenants();
    let leg = bench.enter_as(1, "east", "4900*0000").unwrap();
    let told = bench.leg_plan(leg).waiting.unwrap().text;
    assert_eq!(told, NoticeText::WrongPin);
    let leg = bench.enter_as(2, "east", "4900*471147").unwrap();
    assert_eq!(bench.leg_plan(leg).waiting, None);
    // Who waits when guests are taken no more is let in by no key.
    let waiting = bench.enter_as(3, "east", "4900").unwrap();
    let mut closed = rooms();
    closed[4].guests = false;
    closed[4].guest_pin = None;
    bench.tenants(2, closed, accounts());
    for digit in "1#".chars() {
        let call = CallId(3);
        bench.input(Input::Call(CallEvent::Digit { call, digit }));
    }
    assert!(bench.leg_plan(waiting).waiting.is_some());
    assert_eq!(
        bench.enter_as(4, "east", "4900*471147"),
        Err(RejectReason::NotFound)
    );
}

/// Tries from many addresses shut the door of guests, not that of members, until the PIN is another.
#[test]
fn wrong_pins_from_everywhere_close_the_door_of_guests_alone() {
    let mut bench = Bench::of_tenants();
    let guest = |call: u64, pin: &str| IncomingCall {
        remote: ([10, 2, (call >> 8) as u8, call as u8], 5060).into(),
        ..incoming(call, &format!("4900*{pin}"), Some(TERMINAL_OFFER))
    };
    let mut tried = 0;
    let refused = (1..).find_map(|call| {
        let refused = bench.dial_with(guest(call, &format!("{call:06}"))).err();
        let (call, reason) = (CallId(call), EndReason::Remote);
        bench.input(Input::Call(CallEvent::Ended { call, reason }));
        // Until the ports can be had again.
        bench.pass(Duration::from_secs(if tried % 8 == 7 { 31 } else { 0 }));
        tried += 1;
        refused
    });
    // Three are forgiven meanwhile.
    assert_eq!((refused, tried), (Some(RejectReason::Forbidden), 54));
    let right = bench.dial_with(guest(9_000, "471147"));
    assert_eq!(right.unwrap_err(), RejectReason::Forbidden);
    let stranger = bench.enter_as(9_001, "east", "4900*471147");
    assert_eq!(stranger, Err(RejectReason::Forbidden));
    let member = bench.enter_as(9_002, "west", "4900").unwrap();
    assert_eq!(bench.leg_plan(member).waiting, None);
    let mut anew = rooms();
    anew[4].guest_pin = Some(Redacted("815815".into()));
    bench.tenants(2, anew, accounts());
    let (leg, _) = bench.dial_with(guest(9_003, "815815")).unwrap();
    assert_eq!(bench.leg_plan(leg).waiting, None);
}

#[test]
fn a_share_lets_in_the_accounts_there_and_below_and_ends_for_those_who_come_later() {
    let mut bench = Bench::of_tenants();
    let mut shared = rooms();
    let [first, last] = [EAST_HEART; 2].map(Branch::from);
    shared[3].shared = vec![first];
    bench.tenants(2, shared, accounts());
    assert!(first.includes(last));
    bench.enter_as(1, "east.heart", "4000").unwrap();
    for (call, stranger) in (2..).zip(["east", "east.eyes"]) {
        let refused = bench.enter_as(call, stranger, "4000");
        assert_eq!(refused, Err(RejectReason::NotFound), "{stranger}");
    }
    bench.tenants(3, rooms(), accounts());
    assert_eq!(bench.view("4000").unwrap().legs.len(), 1, "it stays");
    let refused = bench.enter_as(4, "east.heart", "4000");
    assert_eq!(refused, Err(RejectReason::NotFound));
}

#[test]
fn a_conference_is_watched_by_the_accounts_that_may_enter_it() {
    let mut bench = Bench::of_tenants();
    bench.enter_as(1, "west", "4000").unwrap();
    bench.enter_as(2, "west", "4900").unwrap();
    let open_to = |bench: &Bench, home: (u32, u32)| {
        let audience = bench.conferences["4000"].open_to.as_ref().unwrap();
        audience.includes(Home::At(home.into()))
    };
    assert!(open_to(&bench, WEST_HEART) && open_to(&bench, ROOT));
    assert!(!open_to(&bench, EAST) && !open_to(&bench, EAST_HEART));
    assert_eq!(bench.conferences["4900"].open_to, None, "it has a PIN");
    let mut shared = rooms();
    shared[3].shared = vec![EAST.into()];
    bench.tenants(2, shared, accounts());
    assert!(open_to(&bench, EAST_HEART));
}

#[test]
fn a_terminal_moves_itself_and_is_moved_only_where_it_may_enter() {
    let mut bench = Bench::of_tenants();
    let leg = bench.enter_as(1, "east", "2000").unwrap();
    bench.pass(Duration::from_secs(3));
    let mut refer = |number: &str| {
        bench.commands.clear();
        let wanted = IncomingCall {
            offer: None,
            ..of_account(1, "east", number)
        };
        bench.input(Input::Call(CallEvent::Referred(wanted)));
        match bench.commands.as_slice() {
            [CallCommand::Refer { refused, .. }] => *refused,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refer("4000"), Some(RejectReason::Forbidden));
    assert_eq!(refer("9999"), Some(RejectReason::Forbidden));
    for number in ["4000", "9999"] {
        let outcome = bench.move_to("2000", leg, number);
        assert_eq!(outcome, Some(TransferOutcome::NoSuchTarget), "{number}");
    }
    // It comes as a guest.
    assert_eq!(bench.move_to("2000", leg, "4900"), None);
}

/// Defect: whoever controlled a room had it ring any terminal of the server.
#[test]
fn a_room_calls_the_accounts_that_may_enter_it_and_others_for_who_answers_for_them() {
    let mut bench = Bench::of_tenants();
    let asked = |bench: &mut Bench, room: &str, target: &str, beyond: Beyond| {
        let wanted = DialRequest {
            beyond,
            ..wish(room, target)
        };
        let called = bench.call_out_for(wanted);
        called.map(|called| called.target)
    };
    let of = |account: &str| Some(DialTarget::Account(account.into()));
    for known in ["east", "east.eyes", "root", "operator"] {
        let called = asked(&mut bench, "2000", known, Beyond::Nobody);
        assert_eq!(called, of(known));
    }
    let other = || Beyond::Account("west".into());
    for (target, beyond, called) in [
        ("west.heart", Beyond::Nobody, None),
        ("west.heart", other(), None),
        ("west", other(), of("west")),
        ("west.heart", Beyond::Anybody, of("west.heart")),
    ] {
        let found = asked(&mut bench, "2000", target, beyond.clone());
        assert_eq!(found, called, "{target} {beyond:?}");
    }
    assert!(!bench.controller.may_call(&wish("9999", "east"), "east"));
}

/// What an older version kept says of nothing where it belongs: closed until the manager says so, for
/// those who come. Who is in stays.
#[test]
fn what_belongs_nowhere_is_closed_and_ends_no_call() {
    let mut bench = Bench::of_tenants();
    bench.enter_as(1, "west", "4000").unwrap();
    let mut untold = (rooms(), accounts());
    untold.0.iter_mut().for_each(|room| room.home = None);
    untold.1.iter_mut().for_each(|account| account.home = None);
    bench.tenants(2, untold.0, untold.1);
    assert_eq!(bench.view("4000").unwrap().legs.len(), 1);
    let refused = bench.enter_as(2, "west", "4000");
    assert_eq!(refused, Err(RejectReason::NotFound));
    // Rooms and accounts of the file are as they were.
    bench.enter_as(3, "west", "3000").unwrap();
    bench.enter_as(4, "operator", "4000").unwrap();
}
