//! Browsers: joining, resuming, leaving.

use std::time::Duration;

use mcu_api::ids::{ConnId, LegId};
use mcu_api::manager::{BrowserMessage, Refusal, ServerMessage, SlotSize, ToControl};
use mcu_api::media::MediaEvent;
use mcu_api::secret::Redacted;

use super::bench::{Bench, MANAGER, PAGE_OFFER, demo, entering, join, rejoin};
use crate::controller::Input;

fn gone(bench: &mut Bench, conn: u64) {
    let message = ToControl::BrowserGone { conn: ConnId(conn) };
    bench.input(Input::Manager(MANAGER, message));
}

#[test]
fn an_answer_carries_our_candidates_and_the_processors_fingerprint() {
    let mut bench = Bench::new(demo());
    bench.join(1, "A");
    let sdp = bench
        .said_to(1)
        .into_iter()
        .find_map(|message| match message {
            ServerMessage::Joined { sdp, .. } => sdp.as_ref().map(|sdp| sdp.0.clone()),
            _ => None,
        });
    let sdp = sdp.unwrap();
    assert!(sdp.contains("10.1.0.1 20000 typ host"), "{sdp}");
    assert!(sdp.contains("127.0.0.1 20000 typ host"), "{sdp}");
    assert!(sdp.contains("a=fingerprint:sha-256 01:01:01"), "{sdp}");
}

#[test]
fn where_there_are_relays_each_answer_comes_with_credentials_of_its_own() {
    let relays = crate::relay::Relays {
        urls: vec!["turns:turn.example:443?transport=tcp".into()],
        secret: Redacted("north".into()),
    };
    let mut bench = Bench::new(crate::Config {
        relays: Some(relays.clone()),
        ..demo()
    });
    let mut names = Vec::new();
    for conn in [1, 2] {
        bench.join(conn, "Dr. Li");
        let said = bench.said_to(conn);
        let [
            ServerMessage::Relays {
                urls,
                username,
                credential,
            },
            ServerMessage::Joined { .. },
            ..,
        ] = said.as_slice()
        else {
            panic!("{said:?}");
        };
        assert_eq!(*urls, relays.urls);
        let (expires, nonce) = username.split_once(':').unwrap();
        let made = expires.parse::<u64>().unwrap() - 3_600;
        assert_eq!(
            relays.credentials(made, nonce),
            (username.clone(), credential.clone())
        );
        assert!(!username.contains("Li") && !format!("{said:?}").contains(&credential.0));
        names.push(username.clone());
    }
    assert_ne!(names[0], names[1]);
}

#[test]
fn names_are_checked() {
    let mut bench = Bench::new(demo());
    for (conn, name) in [(1, ""), (2, "  "), (3, "a\nb")] {
        assert_eq!(
            bench.join_with(conn, join("3000", name)).unwrap_err(),
            Refusal::BadRequest
        );
        assert!(bench.closed(conn));
    }
    assert!(bench.join_with(4, join("3000", &"病".repeat(65))).is_err());
    bench.join(5, &"病".repeat(64));
}

#[test]
fn messages_out_of_order_are_refused() {
    let mut bench = Bench::new(demo());
    bench.say(
        1,
        BrowserMessage::Mute {
            audio: true,
            video: true,
        },
    );
    assert_eq!(
        bench.said_to(1),
        [&ServerMessage::Refused {
            code: Refusal::BadRequest
        }]
    );
    bench.join(2, "A");
    assert_eq!(
        bench.join_with(2, join("3000", "A")).unwrap_err(),
        Refusal::BadRequest
    );
    assert!(!bench.closed(2), "who is in stays in");
    assert_eq!(bench.legs_planned().len(), 1);
}

#[test]
fn a_bad_offer_opens_no_room() {
    let mut bench = Bench::new(demo());
    let message = entering("3000", "A", Some("v=0\r\n"), None, None);
    assert_eq!(bench.join_with(1, message).unwrap_err(), Refusal::BadOffer);
    assert!(bench.held.is_empty());
}

#[test]
fn a_leg_keeps_its_slot_while_it_lives() {
    let mut bench = Bench::new(demo());
    let (me, _) = bench.join(1, "me");
    let others: Vec<LegId> = (2..=4).map(|conn| bench.join(conn, "x").0).collect();
    bench.say(3, BrowserMessage::Leave);
    assert!(bench.closed(3));
    let shown = |bench: &Bench| -> Vec<Option<LegId>> {
        bench
            .forwarded(me)
            .into_iter()
            .take(3)
            .map(|slot| slot.map(|(leg, _)| leg))
            .collect()
    };
    assert_eq!(shown(&bench), [Some(others[0]), None, Some(others[2])]);
    let (late, _) = bench.join(5, "late");
    assert_eq!(
        shown(&bench),
        [Some(others[0]), Some(late), Some(others[2])]
    );
}

#[test]
fn sizes_choose_layers_and_hidden_slots_are_not_sent() {
    let mut bench = Bench::new(demo());
    let (me, _) = bench.join(1, "me");
    let (a, _) = bench.join(2, "a");
    let (b, _) = bench.join(3, "b");
    let size = |mid: &str, height| SlotSize {
        mid: mid.into(),
        height,
    };
    bench.say(
        1,
        BrowserMessage::Sizes {
            slots: vec![size("2", 200), size("3", 0), size("x", 9)],
        },
    );
    assert_eq!(bench.forwarded(me)[..2], [Some((a, 360)), None]);
    bench.forget();
    bench.say(
        1,
        BrowserMessage::Sizes {
            slots: vec![size("2", 230)],
        },
    );
    assert_eq!(bench.to_media, [], "a few pixels are no reason for a plan");
    bench.say(
        1,
        BrowserMessage::Sizes {
            slots: vec![size("2", 9000), size("3", 100)],
        },
    );
    assert_eq!(bench.forwarded(me)[..2], [Some((a, 1080)), Some((b, 180))]);
}

#[test]
fn resume_takes_the_place_of_the_same_leg() {
    let mut bench = Bench::new(demo());
    let (me, token) = bench.join(1, "me");
    let (other, _) = bench.join(2, "other");
    let before = (bench.ufrag(me), bench.plan().generation);
    gone(&mut bench, 1);
    bench.pass(Duration::from_secs(5));
    assert_eq!(
        bench.join_with(3, rejoin("me", &token)),
        Ok((me, token.clone()))
    );
    assert_ne!(bench.ufrag(me), before.0);
    assert_eq!(bench.plan().generation, before.1 + 1);
    assert_eq!(bench.legs_planned(), [me, other]);
    assert_eq!(bench.forwarded(other)[0], Some((me, 720)));
    assert_eq!(bench.roster(3).1[0].leg, other);
    // The place is the leg's for good: no timer of the lost connection is left.
    bench.silent.insert(me, 100);
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.legs_planned(), [me, other]);
}

#[test]
fn a_second_page_with_the_token_puts_the_first_out_for_good() {
    let mut bench = Bench::new(demo());
    let (me, token) = bench.join(1, "me");
    assert_eq!(bench.join_with(2, rejoin("me", &token)), Ok((me, token)));
    let last = bench.said_to(1).last().copied();
    assert_eq!(
        last,
        Some(&ServerMessage::Refused {
            code: Refusal::Removed
        })
    );
    assert!(bench.closed(1));
    gone(&mut bench, 1);
    bench.say(
        2,
        BrowserMessage::Mute {
            audio: true,
            video: false,
        },
    );
    assert!(bench.leg_plan(me).audio.as_ref().unwrap().muted);
}

#[test]
fn an_unknown_token_joins_as_a_newcomer() {
    let mut bench = Bench::new(demo());
    let (me, token) = bench.join(1, "me");
    let (new, other) = bench.join_with(2, rejoin("x", "0123456789abcdef")).unwrap();
    assert!(new != me && other != token);
}

#[test]
fn a_browser_that_does_not_come_back_is_removed_once_its_media_is_silent() {
    let mut bench = Bench::new(demo());
    let (stays, _) = bench.join(1, "stays");
    let (lost, _) = bench.join(2, "lost");
    let (muted, _) = bench.join(3, "muted");
    gone(&mut bench, 2);
    gone(&mut bench, 3);
    bench.silent.insert(lost, 16);
    bench.pass(Duration::from_secs(19));
    assert_eq!(bench.legs_planned(), [stays, lost, muted]);
    bench.pass(Duration::from_secs(1));
    assert_eq!(
        bench.legs_planned(),
        [stays, muted],
        "whose media lives stays"
    );
    bench.pass(Duration::from_secs(100));
    assert_eq!(bench.legs_planned(), [stays, muted]);
    bench.event(MediaEvent::Failed { leg: muted });
    bench.silent.insert(muted, 16);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.legs_planned(), [stays]);
}

#[test]
fn a_lost_manager_is_the_loss_of_all_its_browsers() {
    let mut bench = Bench::new(demo());
    let (me, token) = bench.join(1, "me");
    bench.input(Input::ManagerGone(MANAGER));
    bench.forget();
    assert_eq!(bench.join_with(1, rejoin("me", &token)), Ok((me, token)));
    assert!(
        !bench.closed(1),
        "the number of a connection is a manager's own"
    );
}

#[test]
fn an_offer_within_the_room_renews_the_transport() {
    let mut bench = Bench::new(demo());
    let (me, _) = bench.join(1, "me");
    let before = bench.ufrag(me);
    bench.say(
        1,
        BrowserMessage::Offer {
            sdp: Redacted(PAGE_OFFER.into()),
        },
    );
    assert!(matches!(
        bench.said_to(1).last(),
        Some(ServerMessage::Answer { .. })
    ));
    assert_ne!(bench.ufrag(me), before);
    bench.say(
        1,
        BrowserMessage::Offer {
            sdp: Redacted("x".into()),
        },
    );
    assert_eq!(
        bench.said_to(1).last(),
        Some(&&ServerMessage::Refused {
            code: Refusal::BadOffer
        })
    );
    assert!(!bench.closed(1));
}
