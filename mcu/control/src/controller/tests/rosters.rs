//! What pages are told of who is in their room: the whole once, then what changes (MCU-04).

use mcu_api::manager::{BrowserMessage, ServerMessage, Site};

use super::bench::{Bench, demo, join, rejoin};

/// The same, of a page that takes changes.
fn taking_changes(message: BrowserMessage) -> BrowserMessage {
    let mut message = message;
    if let BrowserMessage::Join { roster_changes, .. } = &mut message {
        *roster_changes = true;
    }
    message
}

/// What a page knows by all that it was told, and of how many sites it was told.
fn known(bench: &Bench, conn: u64) -> (Vec<Site>, usize) {
    let (mut known, mut told): (Vec<Site>, usize) = (Vec::new(), 0);
    for message in bench.said_to(conn) {
        match message {
            ServerMessage::Roster { sites, .. } => {
                told += sites.len();
                known.clone_from(sites);
            }
            ServerMessage::RosterChange { sites, gone, .. } => {
                told += sites.len();
                known.retain(|site| !gone.contains(&site.leg));
                for site in sites {
                    match known.iter_mut().find(|known| known.leg == site.leg) {
                        Some(known) => known.clone_from(site),
                        None => known.push(site.clone()),
                    }
                }
            }
            _ => {}
        }
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
        assert_eq!(known(bench, 1).0, bench.roster(2).0);
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
    // Alone, 21 others, one muted, one terminal: each once, where a whole roster has up to 23.
    assert_eq!(known(&bench, 1).1, 1 + 21 + 1 + 1);
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
    assert_eq!(known(&bench, 3).0, bench.roster(2).0);
    // An older page has the same token.
    bench.join_with(4, rejoin("A", &token)).unwrap();
    bench.join(5, "C");
    assert_eq!(bench.roster(4).0, bench.roster(2).0);
    let said = bench.said_to(4).into_iter();
    let mut changes = said.filter(|said| matches!(said, ServerMessage::RosterChange { .. }));
    assert_eq!(changes.next(), None);
}
