//! Pages that come back with the peer connection that they had: their media is not touched.

use std::time::Duration;

use mcu_api::ids::{ConnId, LegId};
use mcu_api::manager::{BrowserMessage, Refusal, ServerMessage, SlotSize, ToControl};
use mcu_api::media::MediaEvent;
use mcu_api::plan::RoomPlan;
use mcu_api::secret::Redacted;

use super::bench::{Bench, MANAGER, PAGE_OFFER, demo, entering, go_on, rejoin, with_room};
use crate::controller::{Input, MEDIA_WAIT};

/// Three pages in a room, the first of which hides the third; and what it needs to come back.
struct Meeting {
    bench: Bench,
    me: LegId,
    token: String,
    ufrag: String,
    other: LegId,
    plan: RoomPlan,
}

fn meeting() -> Meeting {
    let mut bench = Bench::new(demo());
    let (me, token) = bench.join(1, "me");
    let (other, _) = bench.join(2, "other");
    bench.join(9, "hidden");
    let sizes = [("2", 240), ("3", 0)].map(|(mid, height)| SlotSize {
        mid: mid.into(),
        height,
    });
    let slots = sizes.to_vec();
    bench.say(1, BrowserMessage::Sizes { slots });
    bench.pass(Duration::from_secs(5));
    let (ufrag, plan) = (bench.ufrag(me), bench.plan().clone());
    bench.forget();
    Meeting {
        bench,
        me,
        token,
        ufrag,
        other,
        plan,
    }
}

impl Meeting {
    /// The first page loses its WebSocket.
    fn lose(&mut self) {
        let gone = ToControl::BrowserGone { conn: ConnId(1) };
        self.bench.input(Input::Manager(MANAGER, gone));
        self.bench.pass(Duration::from_secs(5));
        self.bench.forget();
    }

    /// The first page comes back by this connection, as it was.
    fn come_back(&mut self, conn: u64) {
        let message = go_on("me", &self.token, &self.ufrag);
        self.bench.say(conn, message);
    }

    fn expect_gone_on(&self, conn: u64) {
        let joined = ServerMessage::Joined {
            leg: self.me,
            sdp: None,
            resume: Redacted(self.token.clone()),
        };
        assert_eq!(self.bench.said_to(conn)[0], &joined);
        assert_eq!(self.bench.roster(conn).1[0].leg, self.other);
    }

    /// The page was asked for an offer, and makes it.
    fn expect_renewed(&mut self, conn: u64) -> LegId {
        assert_eq!(self.bench.said_to(conn), [&ServerMessage::Renew]);
        assert!(!self.bench.closed(conn));
        let message = rejoin("me", &self.token);
        let (leg, _) = self.bench.join_with(conn, message).unwrap();
        assert_ne!(self.bench.ufrag(leg), self.ufrag);
        let asked = self.bench.said_to(conn);
        let asked = asked.iter().filter(|m| ***m == ServerMessage::Renew);
        assert_eq!(asked.count(), 1, "once");
        leg
    }
}

#[test]
fn a_page_whose_signalling_was_lost_goes_on_and_no_plan_is_made() {
    let mut meeting = meeting();
    meeting.lose();
    meeting.come_back(3);
    meeting.expect_gone_on(3);
    let bench = &mut meeting.bench;
    assert_eq!(bench.to_media, []);
    assert_eq!(bench.plan(), &meeting.plan);
    // The place is the leg's for good: no timer of the lost connection is left.
    bench.silent.insert(meeting.me, 100);
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.plan(), &meeting.plan);
    let (audio, video) = (true, false);
    bench.say(3, BrowserMessage::Mute { audio, video });
    assert!(bench.leg_plan(meeting.me).audio.as_ref().unwrap().muted);
}

#[test]
fn a_page_goes_on_when_its_manager_died() {
    let mut meeting = meeting();
    meeting.bench.input(Input::ManagerGone(MANAGER));
    meeting.bench.pass(Duration::from_secs(2));
    meeting.bench.forget();
    // The new manager counts from 1 again.
    meeting.come_back(1);
    meeting.expect_gone_on(1);
    assert_eq!(meeting.bench.plan(), &meeting.plan);
}

#[test]
fn a_page_goes_on_when_the_controller_died() {
    let mut meeting = meeting();
    meeting.bench.restart_controller();
    meeting.bench.connect_media();
    meeting.come_back(1);
    meeting.expect_gone_on(1);
    meeting.bench.pass(Duration::from_secs(60));
    assert_eq!(meeting.bench.plan(), &meeting.plan);
}

#[test]
fn a_page_faster_than_the_processors_inventory_waits_for_it_and_goes_on() {
    let mut meeting = meeting();
    meeting.bench.restart_controller();
    meeting.come_back(1);
    meeting.bench.pass(MEDIA_WAIT / 3);
    assert_eq!(meeting.bench.told, []);
    meeting.bench.connect_media();
    meeting.expect_gone_on(1);
    assert_eq!(meeting.bench.plan(), &meeting.plan);
}

#[test]
fn without_a_processor_a_page_is_sent_to_try_again() {
    let mut meeting = meeting();
    meeting.bench.input(Input::MediaDisconnected);
    meeting.come_back(3);
    assert_eq!(meeting.bench.said_to(3), [] as [&ServerMessage; 0]);
    while let Some(due) = meeting.bench.controller.next_timeout() {
        meeting.bench.time_out(due);
    }
    let code = Refusal::NoMedia;
    let refused = ServerMessage::Refused { code };
    assert_eq!(meeting.bench.said_to(3), [&refused]);
    assert!(meeting.bench.closed(3));
    meeting.bench.connect_media();
    meeting.come_back(4);
    meeting.expect_gone_on(4);
    assert_eq!(meeting.bench.plan(), &meeting.plan);
}

#[test]
fn switches_are_taken_over_from_a_page_that_goes_on() {
    let mut meeting = meeting();
    meeting.lose();
    let mut message = go_on("me", &meeting.token, &meeting.ufrag);
    if let BrowserMessage::Join { audio_muted, .. } = &mut message {
        *audio_muted = true;
    }
    meeting.bench.say(3, message);
    meeting.expect_gone_on(3);
    let before = meeting.plan.legs.iter().find(|leg| leg.id == meeting.me);
    let mut expected = before.unwrap().clone();
    expected.audio.as_mut().unwrap().muted = true;
    assert_eq!(meeting.bench.leg_plan(meeting.me), &expected);
}

#[test]
fn an_older_websocket_of_a_page_that_goes_on_is_closed() {
    let mut meeting = meeting();
    meeting.come_back(3);
    meeting.expect_gone_on(3);
    assert!(meeting.bench.closed(1));
    let gone = ToControl::BrowserGone { conn: ConnId(1) };
    meeting.bench.input(Input::Manager(MANAGER, gone));
    meeting.bench.silent.insert(meeting.me, 100);
    meeting.bench.pass(Duration::from_secs(60));
    assert_eq!(meeting.bench.plan(), &meeting.plan);
}

#[test]
fn a_page_whose_leg_is_gone_makes_an_offer() {
    let mut meeting = meeting();
    meeting.lose();
    meeting.bench.silent.insert(meeting.me, 100);
    meeting.bench.pass(Duration::from_secs(20));
    assert!(!meeting.bench.legs_planned().contains(&meeting.me));
    meeting.bench.forget();
    meeting.come_back(3);
    let leg = meeting.expect_renewed(3);
    assert!(leg > meeting.other, "a newcomer");
}

#[test]
fn a_page_of_a_controller_without_memory_makes_an_offer() {
    let mut meeting = meeting();
    meeting.bench.state = None;
    meeting.bench.restart_controller();
    meeting.bench.connect_media();
    meeting.come_back(3);
    meeting.expect_renewed(3);
    assert_eq!(meeting.bench.roster(3).0.len(), 1);
}

#[test]
fn a_page_makes_an_offer_when_the_processor_was_replaced_meanwhile() {
    let mut meeting = meeting();
    meeting.lose();
    meeting.bench.restart_media();
    meeting.come_back(3);
    assert_eq!(meeting.expect_renewed(3), meeting.me);
}

#[test]
fn a_page_makes_an_offer_when_controller_and_processor_were_replaced() {
    let mut meeting = meeting();
    meeting.bench.restart_controller();
    meeting.come_back(3);
    meeting.bench.instance += 1;
    meeting.bench.held.clear();
    meeting.bench.connect_media();
    assert_eq!(meeting.expect_renewed(3), meeting.me);
}

#[test]
fn a_page_makes_an_offer_when_its_leg_failed() {
    let mut meeting = meeting();
    meeting.lose();
    let leg = meeting.me;
    meeting.bench.event(MediaEvent::Failed { leg });
    meeting.come_back(3);
    assert_eq!(meeting.expect_renewed(3), meeting.me);
}

/// A tab that was duplicated while both had no WebSocket; the second made an offer.
#[test]
fn a_page_whose_leg_has_another_peer_connection_disturbs_nobody_without_an_offer() {
    let mut meeting = meeting();
    meeting.lose();
    let message = rejoin("me", &meeting.token);
    meeting.bench.join_with(3, message).unwrap();
    let plan = meeting.bench.plan().clone();
    meeting.come_back(4);
    assert_eq!(meeting.bench.plan(), &plan);
    assert!(!meeting.bench.closed(3));
    assert_eq!(meeting.expect_renewed(4), meeting.me);
    assert!(meeting.bench.closed(3), "the last one that offers has it");
}

#[test]
fn a_page_whose_offer_was_answered_after_it_lost_its_websocket_makes_another() {
    let mut meeting = meeting();
    let sdp = Redacted(PAGE_OFFER.into());
    meeting.bench.say(1, BrowserMessage::Offer { sdp });
    meeting.lose();
    meeting.come_back(3);
    assert_eq!(meeting.expect_renewed(3), meeting.me);
}

#[test]
fn whoever_may_not_enter_is_refused_upon_the_offer() {
    let mut bench = Bench::new(with_room("3000", false));
    let nothing = entering("3000", "A", None, None, None);
    for message in [go_on("A", "0123", "4567"), nothing] {
        bench.forget();
        bench.say(1, message);
        assert_eq!(bench.said_to(1), [&ServerMessage::Renew]);
    }
    assert_eq!(
        bench.join_with(1, rejoin("A", "0123")),
        Err(Refusal::NotAllowed)
    );
    let elsewhere = entering("4000", "A", None, Some("4567"), Some("0123"));
    assert_eq!(bench.join_with(2, elsewhere), Err(Refusal::NoSuchRoom));
}
