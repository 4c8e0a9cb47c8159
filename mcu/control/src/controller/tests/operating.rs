//! Rooms and accounts that people made, persons who enter, and what operators do to legs (MGT-01,
//! VSEC-03).

use mcu_api::call::{CallCommand, RejectReason};
use mcu_api::directory::{Branch, Directory, Held, MadeAccount, MadeRoom};
use mcu_api::ids::{ConnId, LegId};
use mcu_api::manager::{
    BrowserMessage, ControlOutcome, FromControl, Invited, LegAction, LegWish, Pass, Person,
    Refusal, ServerMessage, Session, ToControl, Visit,
};
use mcu_api::secret::Redacted;

use super::bench::{Bench, MANAGER, demo, entering, go_on, incoming, join};
use crate::config::Config;
use crate::controller::Input;

const HOME: Branch = Branch { first: 1, last: 3 };

fn made(number: &str, guests: bool) -> MadeRoom {
    MadeRoom {
        number: number.into(),
        home: Some(HOME),
        shared: Vec::new(),
        guests,
        ..MadeRoom::default()
    }
}

fn account(user: &str) -> MadeAccount {
    MadeAccount {
        user: user.into(),
        home: Some(HOME),
        md5: Redacted("a".repeat(32)),
        sha256: Redacted("b".repeat(64)),
    }
}

/// Sends a directory; what the controller goes by then.
fn direct(bench: &mut Bench, generation: u64, rooms: Vec<MadeRoom>) -> Held {
    let directory = Directory {
        generation,
        rooms,
        accounts: vec![account("ward")],
        trunks: Vec::new(),
        shares: Default::default(),
    };
    bench.input(Input::Manager(MANAGER, ToControl::Directory(directory)));
    match bench.told.last() {
        Some((MANAGER, FromControl::Directory(held))) => held.clone(),
        other => panic!("no answer: {other:?}"),
    }
}

fn person(id: &str, name: &str) -> Option<Person> {
    Some(Person {
        id: id.into(),
        name: Redacted(name.into()),
        session: None,
    })
}

/// Says it for somebody; the refusal, if there is one.
fn say_as(
    bench: &mut Bench,
    conn: u64,
    person: Option<Person>,
    message: BrowserMessage,
) -> Option<Refusal> {
    say_by(bench, conn, (person, None), message)
}

/// The same for who comes by a link, perhaps.
fn say_by(
    bench: &mut Bench,
    conn: u64,
    (person, invited): (Option<Person>, Option<Invited>),
    message: BrowserMessage,
) -> Option<Refusal> {
    let message = ToControl::Browser {
        conn: ConnId(conn),
        source: None,
        person: person.map(Box::new),
        invited: invited.map(Box::new),
        message,
    };
    bench.input(Input::Manager(MANAGER, message));
    bench.said_to(conn).iter().find_map(|said| match said {
        ServerMessage::Refused { code } => Some(*code),
        _ => None,
    })
}

fn names(bench: &mut Bench, number: &str) -> Vec<String> {
    let legs = bench.view(number).unwrap().legs;
    legs.into_iter().map(|leg| leg.site.name.0).collect()
}

fn control(bench: &mut Bench, leg: LegId, action: LegAction) -> ControlOutcome {
    let room = "3000".into();
    bench.input(Input::Manager(
        MANAGER,
        ToControl::Control {
            request: 4,
            room,
            leg,
            action,
        },
    ));
    let answers = bench.told.iter().rev().find_map(|(_, told)| match told {
        FromControl::Controlled {
            request: 4,
            outcome,
        } => Some(*outcome),
        _ => None,
    });
    answers.expect("an answer")
}

#[test]
fn a_room_that_was_made_is_entered_by_its_accounts_and_ends_when_it_is_removed() {
    let mut bench = Bench::new(Config::default());
    assert_eq!(bench.dial(1, "5000"), Err(RejectReason::NotFound));
    let held = direct(&mut bench, 7, vec![made("5000", false), made("6000", true)]);
    assert_eq!((held.generation, held.rooms.len()), (7, 0));
    assert_eq!(bench.dial(2, "5000"), Err(RejectReason::Unauthorized));
    let mut proven = incoming(3, "5000", Some(super::bench::TERMINAL_OFFER));
    proven.account = Some("ward".into());
    bench.dial_with(proven).unwrap();
    bench.join_with(9, join("6000", "Guest")).unwrap();

    // An older one says nothing, and neither does the same again.
    assert_eq!(direct(&mut bench, 6, Vec::new()).generation, 7);
    assert_eq!(bench.view("5000").unwrap().legs.len(), 1);
    bench.forget();
    direct(&mut bench, 7, Vec::new());
    assert!(bench.commands.is_empty());

    // Another door turns out nobody who is in.
    direct(&mut bench, 8, vec![made("5000", true), made("6000", false)]);
    assert_eq!(names(&mut bench, "6000"), ["Guest"]);
    assert!(bench.commands.is_empty() && bench.said_to(9).is_empty());

    direct(&mut bench, 9, Vec::new());
    assert!(bench.view("5000").is_none() && bench.view("6000").is_none());
    assert!(
        matches!(bench.commands[..], [CallCommand::Hangup { .. }]),
        "{:?}",
        bench.commands
    );
    let removed = ServerMessage::Refused {
        code: Refusal::Removed,
    };
    assert!(bench.said_to(9).contains(&&removed) && bench.closed(9));
    assert!(bench.held.is_empty());
}

#[test]
fn the_room_of_a_demonstration_stays_its_own() {
    let mut bench = Bench::new(demo());
    let mut room = made("3000", false);
    room.pin = Some(Redacted("4711".into()));
    let held = direct(&mut bench, 1, vec![room]);
    assert_eq!(held.rooms, ["3000"]);
    bench.join(1, "Guest");
}

/// VSEC-03: who proved nothing is refused where no guests are admitted.
#[test]
fn a_person_enters_a_closed_room_under_the_name_that_is_kept_of_it() {
    let mut bench = Bench::new(Config::default());
    direct(&mut bench, 1, vec![made("3000", false)]);
    let refused = say_as(&mut bench, 1, None, join("3000", "李医生"));
    assert_eq!(refused, Some(Refusal::NotAllowed));
    let li = || person("p1", "李春");
    assert_eq!(say_as(&mut bench, 2, li(), join("3000", "Somebody")), None);
    assert_eq!(names(&mut bench, "3000"), ["李春"]);

    // Back without proof, as when the database is away: in by the token, and still that person.
    let token = bench.said_to(2).iter().find_map(|said| match said {
        ServerMessage::Joined { leg, resume, .. } => Some((*leg, resume.0.clone())),
        _ => None,
    });
    let (leg, token) = token.unwrap();
    let back = go_on("Somebody", &token, &bench.ufrag(leg));
    assert_eq!(say_as(&mut bench, 3, None, back), None);
    assert_eq!(names(&mut bench, "3000"), ["李春"]);
}

#[test]
fn a_person_is_asked_for_the_pin_of_members_and_not_that_of_guests() {
    let mut bench = Bench::new(Config::default());
    let mut room = made("3000", true);
    room.pin = Some(Redacted("1111".into()));
    room.guest_pin = Some(Redacted("2222".into()));
    direct(&mut bench, 1, vec![room]);
    let with_pin = |pin: &str| match join("3000", "x") {
        BrowserMessage::Join {
            room,
            name,
            sdp,
            answer_ufrag,
            resume,
            audio_muted,
            video_muted,
            ..
        } => BrowserMessage::Join {
            room,
            name,
            sdp,
            answer_ufrag,
            resume,
            audio_muted,
            video_muted,
            pin: Some(Redacted(pin.into())),
            guest: None,
            roster_changes: false,
        },
        other => other,
    };
    let li = || person("p1", "李春");
    let wanted = say_as(&mut bench, 1, li(), join("3000", "x"));
    assert_eq!(wanted, Some(Refusal::PinWanted));
    let wrong = say_as(&mut bench, 2, li(), with_pin("2222"));
    assert_eq!(wrong, Some(Refusal::PinWrong));
    assert_eq!(say_as(&mut bench, 3, li(), with_pin("1111")), None);
    assert_eq!(say_as(&mut bench, 4, None, with_pin("2222")), None);
}

#[test]
fn an_operators_mute_holds_whatever_the_page_says_and_over_the_controllers_death() {
    let mut bench = Bench::new(demo());
    let (leg, token) = bench.join(1, "A");
    let (terminal, _) = bench.dial(1, "3000").unwrap();
    let silence = |audio, video| {
        LegAction::Set(LegWish {
            audio,
            video,
            ..LegWish::default()
        })
    };
    let done = control(&mut bench, leg, silence(Some(true), None));
    assert_eq!(done, ControlOutcome::Done);
    control(&mut bench, terminal, silence(Some(true), Some(true)));
    let unmute = BrowserMessage::Mute {
        audio: false,
        video: false,
    };
    bench.say(1, unmute);
    let mutes = |bench: &Bench, leg: LegId| {
        let plan = bench.leg_plan(leg);
        let audio = plan.audio.as_ref().unwrap().muted;
        (audio, plan.video_receive.as_ref().unwrap().muted)
    };
    assert_eq!(mutes(&bench, leg), (true, false));
    assert_eq!(mutes(&bench, terminal), (true, true));
    let (sites, _, _) = bench.roster(1);
    assert!(sites[0].audio_muted && sites[0].audio_silenced && !sites[0].video_silenced);

    bench.restart_controller();
    bench.connect_media();
    let ufrag = bench.ufrag(leg);
    bench.say(2, go_on("A", &token, &ufrag));
    assert_eq!(mutes(&bench, leg), (true, false));
    assert_eq!(mutes(&bench, terminal), (true, true));
    control(&mut bench, leg, silence(Some(false), None));
    assert_eq!(mutes(&bench, leg), (false, false));
}

#[test]
fn an_operator_puts_out_a_terminal_and_a_page_of_that_room_alone() {
    let mut bench = Bench::new(demo());
    let (page, token) = bench.join(1, "A");
    let (terminal, _) = bench.dial(1, "3000").unwrap();
    bench.forget();
    assert_eq!(
        control(&mut bench, LegId(99), LegAction::Remove),
        ControlOutcome::NoSuchLeg
    );
    for leg in [page, terminal] {
        let outcome = control(&mut bench, leg, LegAction::Remove);
        assert_eq!(outcome, ControlOutcome::Done);
    }
    assert!(matches!(bench.commands[..], [CallCommand::Hangup { .. }]));
    let removed = ServerMessage::Refused {
        code: Refusal::Removed,
    };
    assert!(bench.said_to(1).contains(&&removed) && bench.closed(1));
    // Its token is worth nothing any more: with an offer, too, another one enters.
    let (other, new) = bench.join_with(2, back_with_offer("A", &token)).unwrap();
    assert!(other != page && new != token, "{other} {new}");
}

fn invited(name: Option<&str>, closed: Option<Refusal>) -> Option<Invited> {
    Some(Invited {
        link: "l1".into(),
        name: name.map(|name| Redacted(name.into())),
        closed,
        returns: false,
    })
}

/// A page that comes back with a new peer connection.
fn back_with_offer(name: &str, token: &str) -> BrowserMessage {
    let BrowserMessage::Join { sdp, .. } = join("3000", name) else {
        unreachable!("a join");
    };
    let sdp = sdp.map(|sdp| sdp.0);
    entering("3000", name, sdp.as_deref(), None, Some(token))
}

fn visits(bench: &mut Bench) -> Vec<Visit> {
    let question = ToControl::GetVisits { request: 9 };
    bench.input(Input::Manager(MANAGER, question));
    match bench.told.last() {
        Some((MANAGER, FromControl::Visits { request: 9, visits })) => visits.clone(),
        other => panic!("no answer: {other:?}"),
    }
}

/// Leg and token of who has joined.
fn joined(bench: &Bench, conn: u64) -> (LegId, String) {
    let said = bench.said_to(conn);
    let joined = said.iter().find_map(|said| match said {
        ServerMessage::Joined { leg, resume, .. } => Some((*leg, resume.0.clone())),
        _ => None,
    });
    joined.expect("joined")
}

/// VSEC-03: a link stands for the PIN, and its name for what the page says.
#[test]
fn a_guest_enters_a_closed_room_by_a_link_under_the_links_name() {
    let mut bench = Bench::new(Config::default());
    let mut room = made("3000", false);
    room.pin = Some(Redacted("1111".into()));
    direct(&mut bench, 1, vec![room]);
    let by = (None, invited(Some("张阿姨"), None));
    assert_eq!(say_by(&mut bench, 1, by, join("3000", "Boss")), None);
    let by = (None, invited(None, None));
    assert_eq!(say_by(&mut bench, 2, by, join("3000", "李家属")), None);
    assert_eq!(names(&mut bench, "3000"), ["张阿姨", "李家属"]);
    for (conn, closed) in [(3, Refusal::LinkUsedUp), (5, Refusal::LinkExpired)] {
        let by = (None, invited(Some("张阿姨"), Some(closed)));
        let refused = say_by(&mut bench, conn, by, join("3000", "x"));
        assert_eq!(refused, Some(closed));
        // Who is in by it comes back by it.
        let (leg, token) = joined(&bench, 1);
        let back = go_on("Boss", &token, &bench.ufrag(leg));
        let by = (None, invited(Some("张阿姨"), Some(closed)));
        assert_eq!(say_by(&mut bench, conn + 1, by, back), None);
    }
    assert_eq!(names(&mut bench, "3000"), ["张阿姨", "李家属"]);
}

/// PRV-03: who is in by a login is put out with it, whatever link he has besides.
#[test]
fn a_link_stands_in_no_logins_place_and_a_closed_one_leads_back_to_what_it_let_in_alone() {
    let mut bench = Bench::new(Config::default());
    direct(&mut bench, 1, vec![made("3000", false)]);
    assert_eq!(
        say_as(&mut bench, 1, person("p1", "李春"), join("3000", "x")),
        None
    );
    let (leg, token) = joined(&bench, 1);
    let before = visits(&mut bench);
    assert!(matches!(before[0].pass, Pass::Login { .. }), "{before:?}");
    for (conn, closed) in [(2, Refusal::LinkUsedUp), (6, Refusal::LinkExpired)] {
        let by = (None, invited(Some("张阿姨"), Some(closed)));
        let refused = say_by(&mut bench, conn, by, back_with_offer("x", &token));
        assert_eq!(refused, Some(closed));
    }
    let by = (None, invited(Some("张阿姨"), None));
    assert_eq!(
        say_by(&mut bench, 3, by, back_with_offer("x", &token)),
        None
    );
    assert_eq!(joined(&bench, 3).0, leg);
    assert_eq!(visits(&mut bench), before);
    assert_eq!(names(&mut bench, "3000"), ["李春"]);

    // Another link's guest is none of this one's, either.
    let other = || {
        invited(None, None).map(|invited| Invited {
            link: "l2".into(),
            ..invited
        })
    };
    assert_eq!(
        say_by(&mut bench, 4, (None, other()), join("3000", "y")),
        None
    );
    let (_, token) = joined(&bench, 4);
    let by = (None, invited(None, Some(Refusal::LinkExpired)));
    let refused = say_by(&mut bench, 5, by, back_with_offer("y", &token));
    assert_eq!(refused, Some(Refusal::LinkExpired));
}

/// VSEC-03: the token by which a use is known outlives the leg.
#[test]
fn a_guest_who_returns_after_the_leg_is_gone_keeps_the_token() {
    let mut bench = Bench::new(Config::default());
    direct(&mut bench, 1, vec![made("3000", false)]);
    let by = || (None, invited(None, None));
    assert_eq!(say_by(&mut bench, 1, by(), join("3000", "y")), None);
    let (leg, token) = joined(&bench, 1);
    bench.say(1, BrowserMessage::Leave);
    let returning = invited(None, None).map(|invited| Invited {
        returns: true,
        ..invited
    });
    let back = back_with_offer("y", &token);
    assert_eq!(say_by(&mut bench, 2, (None, returning), back), None);
    let (again, kept) = joined(&bench, 2);
    assert!(again != leg);
    assert_eq!(kept, token);
    // Nobody else chooses a token.
    let back = back_with_offer("y", &"0".repeat(32));
    assert_eq!(say_by(&mut bench, 3, by(), back), None);
    assert_ne!(joined(&bench, 3).1, "0".repeat(32));
}

#[test]
fn by_what_somebody_is_in_is_known_over_the_controllers_death_and_told_when_it_ends() {
    let mut bench = Bench::new(demo());
    bench.join(1, "Guest");
    let session = Session {
        id: "s1".into(),
        until_ms: 7,
    };
    let li = Person {
        session: Some(session.clone()),
        ..person("p1", "李春").unwrap()
    };
    assert_eq!(say_as(&mut bench, 2, Some(li), join("3000", "x")), None);
    let by = (None, invited(None, None));
    assert_eq!(say_by(&mut bench, 3, by, join("3000", "y")), None);
    let known = |leg, pass| Visit {
        room: "3000".into(),
        leg,
        pass,
    };
    let (by_login, by_link) = (joined(&bench, 2).0, joined(&bench, 3).0);
    let login = Pass::Login {
        person: "p1".into(),
        session: Some(session),
    };
    let link = Pass::Link { link: "l1".into() };
    let expected = vec![known(by_login, login), known(by_link, link)];
    assert_eq!(visits(&mut bench), expected);
    bench.restart_controller();
    bench.connect_media();
    assert_eq!(visits(&mut bench), expected);

    let by = (None, invited(None, None));
    assert_eq!(say_by(&mut bench, 5, by, join("3000", "z")), None);
    let leg = joined(&bench, 5).0;
    let code = Refusal::LinkRevoked;
    let done = control(&mut bench, leg, LegAction::Refuse { code });
    assert_eq!(done, ControlOutcome::Done);
    let told = ServerMessage::Refused { code };
    assert!(bench.said_to(5).contains(&&told) && bench.closed(5));
    assert_eq!(visits(&mut bench), expected);
}
