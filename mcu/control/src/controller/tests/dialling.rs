//! Calls that rooms make (MCU-03).

use std::time::Duration;

use mcu_api::call::{
    CallCommand, CallEvent, DialTarget, EndReason, Hop, HopTransport, OutgoingCall, SrtpPolicy,
};
use mcu_api::directory::Home;
use mcu_api::ids::LegId;
use mcu_api::manager::{Beyond, DialOutcome, FromControl};
use mcu_api::secret::Redacted;

use super::bench::{Bench, MANAGER, demo, ports, with_room};
use crate::config::{Account, Secret};
use crate::controller::{DialRequest, Input};

/// Answers an offer of ours as a terminal does: one codec each, its own ports.
fn answer_to(offer: &str) -> String {
    let h264 = offer
        .lines()
        .find(|line| line.ends_with("H264/90000"))
        .unwrap();
    let number = h264
        .trim_start_matches("a=rtpmap:")
        .split(' ')
        .next()
        .unwrap();
    let fmtp = format!("a=fmtp:{number} ");
    let fmtp = offer.lines().find(|line| line.starts_with(&fmtp)).unwrap();
    format!(
        "v=0\r\no=t 1 1 IN IP4 10.1.0.60\r\ns=-\r\nc=IN IP4 10.1.0.60\r\nt=0 0\r\n\
         m=audio 6000 RTP/AVP 8\r\nm=video 6002 RTP/AVP {number}\r\n{h264}\r\n{fmtp}\r\n"
    )
}

/// A wish that did not find its way yet, of who answers for nobody in particular.
pub(super) fn wish(room: &str, target: &str) -> DialRequest {
    DialRequest {
        manager: MANAGER,
        request: 5,
        room: room.into(),
        target: target.into(),
        beyond: Beyond::Nobody,
        way: None,
        srtp: SrtpPolicy::default(),
    }
}

impl Bench {
    pub(super) fn call_out(&mut self, room: &str, target: &str) -> Option<OutgoingCall> {
        self.call_out_for(wish(room, target))
    }

    pub(super) fn call_out_for(&mut self, mut wanted: DialRequest) -> Option<OutgoingCall> {
        let way = self.controller.way_to(&wanted);
        let remote = ([10, 1, 0, 60], 5060).into();
        wanted.way = way.map(|way| (way, remote));
        self.input(Input::Dial(Box::new(wanted)));
        match self.commands.pop() {
            Some(CallCommand::Dial(wanted)) => Some(*wanted),
            None => None,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn outcome(&mut self) -> Option<DialOutcome> {
        let found = self.told.iter().position(|(manager, message)| {
            *manager == MANAGER && matches!(message, FromControl::Dialled { request: 5, .. })
        })?;
        match self.told.remove(found).1 {
            FromControl::Dialled { outcome, .. } => Some(outcome),
            _ => None,
        }
    }
}

#[test]
fn a_terminal_that_is_called_is_in_once_it_answers() {
    let mut bench = Bench::new(demo());
    let (page, _) = bench.join(1, "A");
    let wanted = bench.call_out("3000", "sip:ward-7@10.1.0.60").unwrap();
    assert_eq!(wanted.number, "3000");
    let uri = "sip:ward-7@10.1.0.60".to_owned();
    let target = DialTarget::Uri { uri, via: None };
    assert_eq!(wanted.target, target);
    let call = wanted.call;
    bench.input(Input::Call(CallEvent::Ringing { call }));
    assert_eq!(bench.roster(1).0.len(), 1, "not in yet");
    let leg = LegId(page.0 + 1);
    let offered = bench.leg_plan(leg);
    assert_eq!(
        ports(offered).len(),
        2,
        "it may send before we have its answer"
    );
    assert!(!offered.confirmed && offered.audio.is_none());
    assert_eq!(bench.conferences["3000"].users.len(), 1);

    let sdp = Redacted(answer_to(&wanted.sdp.0));
    bench.input(Input::Call(CallEvent::Answered { call, sdp }));
    bench.input(Input::Call(CallEvent::Established { call }));
    assert_eq!(bench.outcome(), Some(DialOutcome::Answered));
    assert_eq!(bench.legs_planned(), [page, leg]);
    assert!(bench.leg_plan(leg).confirmed);
    assert_eq!(bench.plan().composition.tiles, [page, leg]);
    let names: Vec<&str> = bench
        .roster(1)
        .0
        .iter()
        .map(|s| s.name.0.as_str())
        .collect();
    assert_eq!(names, ["A", "ward-7"]);
    assert!(bench.conferences["3000"].users[1].dialled_out);

    bench.restart_controller();
    bench.connect_media();
    assert_eq!(bench.legs_planned(), [page, leg]);
    assert!(bench.conferences["3000"].users[1].dialled_out);
    let reason = EndReason::Remote;
    bench.input(Input::Call(CallEvent::Ended { call, reason }));
    assert_eq!(bench.legs_planned(), [page]);
}

#[test]
fn a_callee_that_rings_for_long_is_not_asked_whether_it_is_there() {
    let mut bench = Bench::new(demo());
    bench.call_out("3000", "sip:x@10.1.0.60").unwrap();
    let leg = bench.legs_planned()[0];
    bench.silent.insert(leg, 100);
    bench.pass(Duration::from_secs(3));
    assert_eq!(bench.commands, []);
}

#[test]
fn a_callee_that_does_not_come_leaves_nothing_behind() {
    for (reason, outcome) in [
        (
            EndReason::Refused(486),
            DialOutcome::Refused { status: 486 },
        ),
        (EndReason::Refused(480), DialOutcome::Unreachable),
        (EndReason::Timeout, DialOutcome::NoAnswer),
    ] {
        let mut bench = Bench::new(demo());
        let call = bench.call_out("3000", "sip:x@10.1.0.60").unwrap().call;
        assert_eq!(bench.outcome(), None, "while it rings");
        bench.input(Input::Call(CallEvent::Ended { call, reason }));
        assert_eq!(bench.outcome(), Some(outcome));
        assert_eq!(bench.view("3000").unwrap().legs.len(), 0);
        assert!(bench.held.is_empty());
    }
}

#[test]
fn rooms_call_only_whom_they_can() {
    let mut bench = Bench::new(with_room("3000", true));
    for (room, target, outcome) in [
        ("4000", "sip:x@10.1.0.60", DialOutcome::NoSuchRoom),
        ("3000", "nobody", DialOutcome::Unreachable),
    ] {
        assert!(bench.call_out(room, target).is_none());
        assert_eq!(bench.outcome(), Some(outcome));
    }
    let mut config = with_room("3000", true);
    config.max_legs_per_room = 1;
    config.accounts = vec![Account {
        user: "ward".into(),
        secret: Secret::Password(Redacted("s3cret".into())),
        home: Home::Everywhere,
    }];
    let mut bench = Bench::new(config);
    let wanted = bench.call_out("3000", "ward").unwrap();
    assert_eq!(wanted.target, DialTarget::Account("ward".into()));
    assert!(bench.call_out("3000", "ward").is_none());
    assert_eq!(bench.outcome(), Some(DialOutcome::RoomFull));
}

/// Nobody would take the answer of a callee that rang when the controller died.
#[test]
fn what_rings_is_not_kept() {
    let mut bench = Bench::new(demo());
    let (page, _) = bench.join(1, "A");
    bench.call_out("3000", "sip:x@10.1.0.60").unwrap();
    let kept = bench.state.as_ref().unwrap();
    assert_eq!(kept.rooms[0].legs.len(), 1);
    bench.restart_controller();
    bench.connect_media();
    assert_eq!(bench.legs_planned(), [page]);
}

/// Defect: a first server for whose media there is no address of ours left out all others.
#[test]
fn servers_that_get_one_offer_are_those_that_media_reaches() {
    let hop = |address: &str| Hop {
        transport: HopTransport::Udp,
        address: address.parse().unwrap(),
    };
    let mut bench = Bench::new(demo());
    let (out, v4) = (hop("[2001:db8::7]:5060"), hop("10.1.0.60:5060"));
    let (second, local) = (hop("10.1.0.61:5060"), hop("127.0.0.1:5060"));
    let servers = vec![out, v4, local, second];
    let kept = bench.controller.with_one_offer(servers.clone());
    assert_eq!(kept, [v4, second]);
    let reach = bench.controller.media_reach();
    assert!(reach.includes(&v4) && !reach.includes(&out));
    bench.input(Input::MediaDisconnected);
    assert!(bench.controller.media_reach().includes(&out));
    assert_eq!(bench.controller.with_one_offer(servers.clone()), servers);
}
