//! What pages are told of who is in their room: the whole once, then what changes (MCU-04).

use mcu_api::call::CallEvent;
use mcu_api::ids::{CallId, LegId};
use mcu_api::manager::{BrowserMessage, ServerMessage, Site};

use super::bench::{Bench, TERMINAL_OFFER, demo, incoming, join, rejoin};
use crate::controller::Input;

/// The same, of a page that takes changes.
fn taking_changes(message: BrowserMessage) -> BrowserMessage {
    let mut message = message;
    if let BrowserMessage::Join { roster_changes, .. } = &mut message {
        *roster_changes = true;
    }
    message
}

/// What a page knows by what it was told.
#[derive(Debug, Default, PartialEq)]
struct Known {
    sites: Vec<Site>,
    slots: usize,
    speaker: Option<LegId>,
    max_height: Option<u16>,
}

/// What a page knows by all that it was told, and of how many sites it was told.
fn known(bench: &Bench, conn: u64) -> (Known, usize) {
    let (mut known, mut told) = (Known::default(), 0);
    for message in bench.said_to(conn) {
        let (sites, gone, slots, speaker, max_height) = match message {
            ServerMessage::Roster {
                sites,
                slots,
                speaker,
                max_height,
            } => {
                known.sites.clear();
                (sites, &Vec::new(), slots, speaker, max_height)
            }
            ServerMessage::RosterChange {
                sites,
                gone,
                slots,
                speaker,
                max_height,
            } => (sites, gone, slots, speaker, max_height),
            _ => continue,
        };
        told += sites.len();
        known.sites.retain(|site| !gone.contains(&site.leg));
        for site in sites {
            match known.sites.iter_mut().find(|known| known.leg == site.leg) {
                Some(known) => known.clone_from(site),
                None => known.sites.push(site.clone()),
            }
        }
        // Each page shows others in its slots.
        (known.slots, known.speaker, known.max_height) = (slots.len(), *speaker, *max_height);
    }
    (known, told)
}

#[test]
fn a_page_that_takes_changes_knows_what_others_are_told_as_a_whole() {
    let mut bench = Bench::new(demo());
    bench
        .join_with(1, taking_changes(join("3000", "A")))
        .unwrap();
    bench.join(2, "B");
    let same = |bench: &Bench| {
        assert_eq!(known(bench, 1).0, known(bench, 2).0);
    };
    for conn in 3..23 {
        bench.join(conn, "more");
        same(&bench);
    }
    let (audio, video) = (true, false);
    bench.say(5, BrowserMessage::Mute { audio, video });
    same(&bench);
    bench.say(7, BrowserMessage::Leave);
    same(&bench);
    bench.dial(1, "3000").unwrap();
    same(&bench);
    // Those between others: the first terminal rings no more after the second.
    bench
        .call_unacknowledged(incoming(2, "3000", Some(TERMINAL_OFFER)))
        .unwrap();
    bench.dial(3, "3000").unwrap();
    same(&bench);
    let established = CallEvent::Established { call: CallId(2) };
    bench.input(Input::Call(established));
    same(&bench);
    bench.say(8, BrowserMessage::Leave);
    same(&bench);
}

#[test]
fn each_site_is_told_of_once() {
    let mut bench = Bench::new(demo());
    bench
        .join_with(1, taking_changes(join("3000", "A")))
        .unwrap();
    for conn in 2..23 {
        bench.join(conn, "more");
    }
    let (audio, video) = (true, false);
    bench.say(5, BrowserMessage::Mute { audio, video });
    bench.dial(1, "3000").unwrap();
    // Alone, 21 others, one muted, one terminal: each once, where a whole roster has up to 23.
    assert_eq!(known(&bench, 1).1, 1 + 21 + 1 + 1);
}

/// An older page says nothing of changes; `protocol.ts` has the names of a newer one's.
#[test]
fn the_messages_are_what_pages_write_and_read() {
    let old = r#"{"type":"join","room":"3000","name":"A"}"#;
    let old: BrowserMessage = serde_json::from_str(old).unwrap();
    assert!(matches!(
        old,
        BrowserMessage::Join {
            roster_changes: false,
            ..
        }
    ));
    let change = ServerMessage::RosterChange {
        sites: Vec::new(),
        gone: vec![LegId(7)],
        slots: Vec::new(),
        speaker: None,
        max_height: Some(720),
    };
    assert_eq!(
        serde_json::to_value(change).unwrap(),
        serde_json::json!({ "type": "roster_change", "sites": [], "gone": [7], "slots": [],
            "speaker": null, "max_height": 720 })
    );
}

#[test]
fn a_page_that_comes_back_is_told_everything_again() {
    let mut bench = Bench::new(demo());
    let joined = bench.join_with(1, taking_changes(join("3000", "A")));
    let (_, token) = joined.unwrap();
    bench.join(2, "B");
    bench
        .join_with(3, taking_changes(rejoin("A", &token)))
        .unwrap();
    assert_eq!(known(&bench, 3).0, known(&bench, 2).0);
    // An older page has the same token.
    bench.join_with(4, rejoin("A", &token)).unwrap();
    bench.join(5, "C");
    assert_eq!(known(&bench, 4).0, known(&bench, 2).0);
    let said = bench.said_to(4).into_iter();
    let mut changes = said.filter(|said| matches!(said, ServerMessage::RosterChange { .. }));
    assert_eq!(changes.next(), None);
}
