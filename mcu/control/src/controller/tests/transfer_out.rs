//! Terminals that an operator moves (RFC 3515).

use mcu_api::call::{CallCommand, CallEvent, EndReason, Transfer, TransferTarget};
use mcu_api::ids::{CallId, LegId};
use mcu_api::manager::{FromControl, ToControl, TransferOutcome};
use mcu_api::secret::Redacted;

use super::bench::{Bench, MANAGER, TERMINAL_OFFER, demo, incoming};
use crate::config::{Config, RoomConfig};
use crate::controller::Input;
use crate::dialplan::{Action, Pattern, Rule};

const CALL: CallId = CallId(1);

impl Bench {
    /// Asks for a move; what the terminal is asked, if it is.
    fn transfer(&mut self, room: &str, site: &str, target: &str) -> Option<TransferTarget> {
        Some(self.ask(room, site, target)?.1)
    }

    /// Asks for a move; whose call is asked, and what.
    fn ask(&mut self, room: &str, site: &str, target: &str) -> Option<(CallId, TransferTarget)> {
        self.ask_of(None, room, site, target)
    }

    /// The same of the terminal of a leg, whatever it is called.
    fn ask_of(
        &mut self,
        leg: Option<LegId>,
        room: &str,
        site: &str,
        target: &str,
    ) -> Option<(CallId, TransferTarget)> {
        self.commands.clear();
        let wish = ToControl::Transfer {
            request: 9,
            room: room.into(),
            site: Redacted(site.into()),
            leg,
            target: Redacted(target.into()),
        };
        self.input(Input::Manager(MANAGER, wish));
        match self.commands.pop() {
            Some(CallCommand::Transfer { call, target }) => Some((call, target)),
            None => None,
            other => panic!("{other:?}"),
        }
    }

    fn moved(&mut self) -> Option<TransferOutcome> {
        let found = self.told.iter().position(|(manager, message)| {
            *manager == MANAGER && matches!(message, FromControl::Transferred { request: 9, .. })
        })?;
        match self.told.remove(found).1 {
            FromControl::Transferred { outcome, .. } => Some(outcome),
            _ => None,
        }
    }

    fn says(&mut self, outcome: Transfer) {
        self.commands.clear();
        let call = CALL;
        self.input(Input::Call(CallEvent::Transferred { call, outcome }));
    }
}

fn two_rooms() -> Config {
    let room = |number: &str| RoomConfig {
        number: number.into(),
        guests: true,
        guest_pin: (number == "4000").then(|| Redacted("4711".to_owned())),
        ..RoomConfig::default()
    };
    Config {
        rooms: vec![room("3000"), room("4000")],
        dialplan: vec![Rule {
            pattern: Pattern::Prefix("9".into()),
            from_trunk: None,
            action: Action::Trunk {
                name: "city".into(),
                strip: 1,
                prepend: String::new(),
            },
        }],
        ..Config::default()
    }
}

#[test]
fn a_terminal_is_asked_and_hung_up_on_once_it_has_arrived() {
    let mut bench = Bench::new(two_rooms());
    bench.dial(CALL.0, "3000").unwrap();
    let number = |number: &str| Some(TransferTarget::Number(Redacted(number.to_owned())));
    assert_eq!(bench.transfer("3000", "Terminal 1", "4000"), number("4000"));
    assert_eq!(bench.moved(), None);
    assert_eq!(
        bench.view("3000").unwrap().legs.len(),
        1,
        "it is here meanwhile"
    );
    assert_eq!(bench.transfer("3000", "Terminal 1", "4000"), None);
    assert_eq!(bench.moved(), Some(TransferOutcome::Busy));
    bench.says(Transfer::Done);
    assert_eq!(bench.commands, [CallCommand::Hangup { call: CALL }]);
    assert_eq!(bench.moved(), Some(TransferOutcome::Moved));
}

#[test]
fn a_terminal_that_does_not_go_stays_and_may_be_asked_again() {
    let mut bench = Bench::new(two_rooms());
    let (leg, _) = bench.dial(CALL.0, "3000").unwrap();
    for (said, outcome) in [
        (
            Transfer::Refused(603),
            TransferOutcome::Refused { status: 603 },
        ),
        (
            Transfer::Failed(486),
            TransferOutcome::Failed { status: 486 },
        ),
        (Transfer::NoAnswer, TransferOutcome::NoAnswer),
    ] {
        let asked = bench.transfer("3000", &leg.to_string(), "4000*4711");
        assert!(asked.is_some());
        bench.says(said);
        assert_eq!(bench.commands, []);
        assert_eq!(bench.moved(), Some(outcome));
        assert_eq!(bench.legs_planned(), [leg]);
    }
    // It arrives after all, when nobody waits any more.
    bench.says(Transfer::Done);
    assert_eq!(bench.commands, [CallCommand::Hangup { call: CALL }]);
    assert_eq!(bench.moved(), None);
    // It hangs up by itself.
    bench.transfer("3000", "Terminal 1", "sip:or-2@10.1.2.9");
    let reason = EndReason::Remote;
    bench.input(Input::Call(CallEvent::Ended { call: CALL, reason }));
    assert_eq!(bench.moved(), Some(TransferOutcome::Left));
}

/// Defect: whoever called himself by the number of another leg was moved in its place, and told the PIN
/// of the room there; and whoever waited at the door under another's name had that one not moved.
#[test]
fn a_name_stands_for_no_other_leg() {
    let mut bench = Bench::new(two_rooms());
    bench.dial(1, "3000").unwrap();
    let (meant, _) = bench.dial(2, "3000").unwrap();
    let mut impostor = incoming(3, "3000", Some(TERMINAL_OFFER));
    impostor.caller = Redacted(meant.0.to_string());
    bench.dial_with(impostor).unwrap();
    let mut waiting = incoming(4, "3000", Some(TERMINAL_OFFER));
    waiting.caller = Redacted("Terminal 1".into());
    bench.call_unacknowledged(waiting).unwrap();
    let mut only_waiting = incoming(5, "3000", Some(TERMINAL_OFFER));
    only_waiting.caller = Redacted("Ward 7".into());
    bench.call_unacknowledged(only_waiting).unwrap();
    for (who, call) in [(meant.0.to_string(), 2), ("Terminal 1".into(), 1)] {
        let asked = bench.ask("3000", &who, "4000*4711").unwrap();
        assert_eq!(asked.0, CallId(call), "{who}");
    }
    assert_eq!(bench.transfer("3000", "Ward 7", "4000*4711"), None);
    assert_eq!(bench.moved(), Some(TransferOutcome::NotIn));
    // An operator who means a leg means no other one, also when it has just gone.
    let reason = EndReason::Remote;
    let call = CallId(2);
    bench.input(Input::Call(CallEvent::Ended { call, reason }));
    bench.moved();
    let number = meant.0.to_string();
    let asked = bench.ask_of(Some(meant), "3000", &number, "4000*4711");
    assert_eq!(asked, None);
    assert_eq!(bench.moved(), Some(TransferOutcome::NoSuchSite));
}

#[test]
fn whoever_cannot_be_moved_or_not_there_is_not_asked() {
    let mut bench = Bench::new(two_rooms());
    let uri = "sip:or-2@10.1.2.9;transport=tcp";
    let asked = |bench: &mut Bench, room: &str, site: &str, target: &str| {
        assert_eq!(
            bench.transfer(room, site, target),
            None,
            "{site} to {target}"
        );
        bench.moved().unwrap()
    };
    let nobody = asked(&mut bench, "3000", "Terminal 1", uri);
    assert_eq!(nobody, TransferOutcome::NoSuchSite);
    bench.dial(CALL.0, "3000").unwrap();
    for target in [
        "5000",
        "95551234",
        "tel:112",
        "sip:x@h?Replaces=y",
        "or-2",
        "",
    ] {
        let outcome = asked(&mut bench, "3000", "Terminal 1", target);
        assert_eq!(outcome, TransferOutcome::NoSuchTarget, "{target}");
    }
    let outcome = asked(&mut bench, "5000", "Terminal 1", uri);
    assert_eq!(outcome, TransferOutcome::NoSuchRoom);
    for site in ["Terminal 2", "77", ""] {
        let outcome = asked(&mut bench, "3000", site, uri);
        assert_eq!(outcome, TransferOutcome::NoSuchSite);
    }
    // Before the door, and before its ACK.
    bench.dial(2, "4000").unwrap();
    let waits = asked(&mut bench, "4000", "Terminal 2", uri);
    assert_eq!(waits, TransferOutcome::NotIn);
    let unproved = incoming(3, "3000", Some(TERMINAL_OFFER));
    bench.call_unacknowledged(unproved).unwrap();
    let outcome = asked(&mut bench, "3000", "Terminal 3", uri);
    assert_eq!(outcome, TransferOutcome::NotIn);
    let mut again = incoming(4, "3000", Some(TERMINAL_OFFER));
    again.caller = Redacted("Terminal 1".into());
    bench.dial_with(again).unwrap();
    let outcome = asked(&mut bench, "3000", "Terminal 1", uri);
    assert_eq!(outcome, TransferOutcome::Ambiguous);

    let mut bench = Bench::new(demo());
    bench.join(1, "A");
    let page = asked(&mut bench, "3000", "A", uri);
    assert_eq!(page, TransferOutcome::NotATerminal);
}
