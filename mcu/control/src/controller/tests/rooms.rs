//! Rooms as a whole: who may enter, what the composed picture shows, what is reported.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use mcu_api::call::{CallCommand, CallEvent, EndReason, IncomingCall, RejectReason};
use mcu_api::codec::AudioCodec;
use mcu_api::directory::Home;
use mcu_api::ids::{CallId, LegId};
use mcu_api::inventory::LegState;
use mcu_api::manager::{BrowserMessage, Refusal, ServerMessage, SiteKind};
use mcu_api::media::MediaEvent;
use mcu_api::plan::{Transport, VideoSource};
use mcu_api::reach::MediaAddress;
use mcu_api::secret::Redacted;

use super::bench::{Bench, HELLO, TERMINAL_OFFER, demo, incoming, join, ports, with_room};
use crate::config::{Account, Config, RoomConfig, Secret};
use crate::controller::Input;

#[test]
fn a_closed_controller_has_no_room_for_anybody() {
    let mut bench = Bench::new(Config::default());
    assert_eq!(bench.dial(1, "3000").unwrap_err(), RejectReason::NotFound);
    assert_eq!(
        bench.join_with(1, join("3000", "A")).unwrap_err(),
        Refusal::NoSuchRoom
    );
    assert!(bench.closed(1));
    assert_eq!(bench.view("3000"), None);
    assert_eq!(bench.to_media, [HELLO]);
}

#[test]
fn a_room_without_guests_admits_proved_accounts_only() {
    let mut bench = Bench::new(with_room("77", false));
    assert_eq!(bench.dial(1, "77").unwrap_err(), RejectReason::Forbidden);
    assert_eq!(
        bench.join_with(1, join("77", "A")).unwrap_err(),
        Refusal::NotAllowed
    );
    let mut call = incoming(2, "77", Some(super::bench::TERMINAL_OFFER));
    call.account = Some("ward".into());
    bench.dial_with(call).unwrap();
    let mut open = Bench::new(with_room("77", true));
    open.dial(1, "77").unwrap();
}

/// Accounts were of no use in closed rooms as soon as any room took guests.
#[test]
fn beside_a_guest_room_a_closed_one_asks_for_an_account() {
    let room = |number: &str, guests| RoomConfig {
        number: number.into(),
        guests,
        ..RoomConfig::default()
    };
    let account = Account {
        user: "ward".into(),
        secret: Secret::Password(Redacted("s3cret".into())),
        home: Home::Everywhere,
    };
    for (demo, guests) in [(false, true), (true, false)] {
        let mut bench = Bench::new(Config {
            demo,
            rooms: vec![room("77", false), room("88", guests)],
            accounts: vec![account.clone()],
            ..Config::default()
        });
        let unauthorized = Err(RejectReason::Unauthorized);
        assert_eq!(bench.dial(1, "77"), unauthorized);
        assert_eq!(
            bench.dial(2, "99"),
            unauthorized,
            "like a room that is closed"
        );
        bench.dial(3, if demo { "3000" } else { "88" }).unwrap();
        let mut dial_proven = |call, number| {
            let mut call = incoming(call, number, Some(super::bench::TERMINAL_OFFER));
            call.account = Some("ward".into());
            bench.dial_with(call)
        };
        dial_proven(4, "77").unwrap();
        assert_eq!(dial_proven(5, "99"), Err(RejectReason::NotFound));
    }
}

#[test]
fn two_browsers_and_two_terminals_see_each_other() {
    let mut bench = Bench::new(demo());
    let (first, _) = bench.join(1, " Dr. A ");
    let (terminal, _) = bench.dial(1, "3000").unwrap();
    let (second, _) = bench.join(2, "Dr. B");
    let (other, _) = bench.dial(2, "3000").unwrap();
    assert_eq!(bench.legs_planned(), [first, terminal, second, other]);
    assert_eq!(
        bench.plan().composition.tiles,
        [first, terminal, second, other]
    );
    let shown: Vec<_> = bench
        .forwarded(first)
        .into_iter()
        .flatten()
        .map(|(leg, _)| leg)
        .collect();
    assert_eq!(shown, [terminal, second, other]);
    let class = |leg: LegId| match &bench.leg_plan(leg).video_send[0].source {
        Some(VideoSource::Composition { class, .. }) => class.clone(),
        other => panic!("a terminal is sent {other:?}"),
    };
    assert_eq!(
        class(terminal),
        class(other),
        "equal terminals share an encoder"
    );
    let (sites, slots, speaker) = bench.roster(1);
    let names: Vec<_> = sites.iter().map(|site| site.name.0.as_str()).collect();
    assert_eq!(names, ["Dr. A", "Terminal 1", "Dr. B", "Terminal 2"]);
    assert_eq!(sites[1].kind, SiteKind::Sip);
    assert_eq!(
        slots.iter().map(|slot| slot.leg).collect::<Vec<_>>(),
        [terminal, second, other]
    );
    assert_eq!(slots[0].mid, "2");
    assert_eq!(speaker, None);
}

/// Each terminal's description has an address that it reaches, its plan the one where we are.
#[test]
fn a_terminal_is_given_the_address_for_its_network_and_family() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let mut bench = Bench::without_media(demo());
    bench.addresses = vec![
        MediaAddress {
            networks: vec!["172.20.0.0/16".parse().unwrap()],
            ..ip("172.20.0.4").into()
        },
        MediaAddress {
            advertised: Some(ip("203.0.113.7")),
            ..ip("192.168.7.4").into()
        },
        ip("2001:db8::4").into(),
    ];
    bench.connect_media();
    let offer_at = |media: &str| {
        let family = if ip(media).is_ipv4() { "IP4" } else { "IP6" };
        TERMINAL_OFFER.replace("IN IP4 10.1.0.50", &format!("IN {family} {media}"))
    };
    for (call, (remote, media, told, bound)) in (1..).zip([
        ("172.20.9.9", "172.20.9.9", "IP4 172.20.0.4", "172.20.0.4"),
        ("198.51.100.9", "10.0.0.9", "IP4 203.0.113.7", "192.168.7.4"),
        (
            "2001:db8::9",
            "2001:db8::9",
            "IP6 2001:db8::4",
            "2001:db8::4",
        ),
        // Behind a proxy of the other family.
        (
            "198.51.100.9",
            "2001:db8::9",
            "IP6 2001:db8::4",
            "2001:db8::4",
        ),
        // Defect: who only said to be in a private network was told its media address.
        (
            "2001:db8::9",
            "172.20.9.9",
            "IP4 203.0.113.7",
            "192.168.7.4",
        ),
    ]) {
        let offer = offer_at(media);
        let incoming = IncomingCall {
            remote: SocketAddr::new(ip(remote), 5060),
            ..incoming(call, "3000", Some(&offer))
        };
        let (leg, sdp) = bench.dial_with(incoming).unwrap();
        assert!(sdp.contains(&format!("c=IN {told}\r\n")), "{remote}: {sdp}");
        let Transport::Udp(transport) = &bench.leg_plan(leg).transports[0] else {
            panic!("no transport of its own");
        };
        assert_eq!(transport.local_ip, ip(bound), "{remote}");
        assert_eq!(transport.remote_rtp.map(|at| at.ip()), Some(ip(media)));
    }
}

/// Of the caller's family there are addresses, but for others than it: it is told none of them (VSEC-05).
#[test]
fn who_is_in_no_network_that_has_an_address_is_refused() {
    let mut bench = Bench::without_media(demo());
    bench.addresses = vec![MediaAddress {
        networks: vec!["172.20.0.0/16".parse().unwrap()],
        ..IpAddr::from([172, 20, 0, 4]).into()
    }];
    bench.connect_media();
    let stranger = IncomingCall {
        remote: ([198, 51, 100, 9], 5060).into(),
        ..incoming(1, "3000", Some(TERMINAL_OFFER))
    };
    assert_eq!(bench.dial_with(stranger), Err(RejectReason::Unavailable));
    assert_eq!(bench.join_with(1, join("3000", "A")), Err(Refusal::NoMedia));
}

#[test]
fn terminals_get_ports_of_their_own_and_our_nearest_address() {
    let mut bench = Bench::new(demo());
    let (first, sdp) = bench.dial(1, "3000").unwrap();
    let (second, _) = bench.dial(2, "3000").unwrap();
    assert!(sdp.contains("c=IN IP4 10.1.0.1\r\n"), "{sdp}");
    let all = [ports(bench.leg_plan(first)), ports(bench.leg_plan(second))].concat();
    assert!(all.iter().all(|port| port % 2 == 0), "{all:?}");
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 4, "{all:?}");
    let send = bench.leg_plan(first).audio.as_ref().unwrap().send.unwrap();
    assert_eq!((send.codec, send.payload_type), (AudioCodec::Pcma, 8));
}

#[test]
fn a_full_room_and_a_full_controller_refuse() {
    let config = Config {
        max_legs_per_room: 1,
        ..demo()
    };
    let mut bench = Bench::new(config);
    bench.dial(1, "3000").unwrap();
    assert_eq!(bench.dial(2, "3000").unwrap_err(), RejectReason::Busy);
    assert_eq!(
        bench.join_with(1, join("3000", "A")).unwrap_err(),
        Refusal::RoomFull
    );
    let config = Config {
        max_legs: 1,
        ..with_room("1", true)
    };
    let mut bench = Bench::new(Config {
        demo: true,
        ..config
    });
    bench.dial(1, "3000").unwrap();
    assert_eq!(bench.dial(2, "1").unwrap_err(), RejectReason::Busy);
}

#[test]
fn the_last_leg_closes_the_room_and_the_next_opens_another() {
    let mut bench = Bench::new(demo());
    bench.dial(1, "3000").unwrap();
    let room = bench.plan().room;
    let cname = bench.plan().cname.clone();
    bench.input(Input::Call(CallEvent::Ended {
        call: CallId(1),
        reason: EndReason::Remote,
    }));
    assert!(bench.held.is_empty());
    assert_eq!(bench.view("3000").unwrap().legs, []);
    bench.dial(2, "3000").unwrap();
    assert_ne!(bench.plan().room, room);
    assert_ne!(bench.plan().cname, cname);
}

#[test]
fn ports_run_out_and_come_back_after_their_rest() {
    // Nineteen pairs: nine calls of two.
    let mut bench = Bench::new(demo());
    for call in 1..=9 {
        bench.dial(call, "3000").unwrap();
    }
    assert_eq!(
        bench.dial(10, "3000").unwrap_err(),
        RejectReason::Unavailable
    );
    bench.input(Input::Call(CallEvent::Ended {
        call: CallId(1),
        reason: EndReason::Remote,
    }));
    assert_eq!(
        bench.dial(11, "3000").unwrap_err(),
        RejectReason::Unavailable
    );
    bench.pass(std::time::Duration::from_secs(29));
    assert_eq!(
        bench.dial(12, "3000").unwrap_err(),
        RejectReason::Unavailable
    );
    bench.pass(std::time::Duration::from_secs(1));
    bench.dial(13, "3000").unwrap();
}

#[test]
fn a_muted_camera_leaves_the_picture_but_keeps_its_slot() {
    let mut bench = Bench::new(demo());
    let (first, _) = bench.join(1, "A");
    let (second, _) = bench.join(2, "B");
    let (third, _) = bench.join(3, "C");
    bench.say(
        2,
        BrowserMessage::Mute {
            audio: true,
            video: true,
        },
    );
    assert_eq!(bench.plan().composition.tiles, [first, third]);
    assert_eq!(bench.forwarded(first)[..2], [None, Some((third, 720))]);
    assert!(bench.leg_plan(second).audio.as_ref().unwrap().muted);
    assert!(bench.leg_plan(second).video_receive.as_ref().unwrap().muted);
    let (sites, slots, _) = bench.roster(1);
    assert!(sites[1].audio_muted && sites[1].video_muted);
    assert_eq!(slots[0].leg, second);
    bench.say(
        2,
        BrowserMessage::Mute {
            audio: true,
            video: false,
        },
    );
    assert_eq!(bench.forwarded(first)[0], Some((second, 720)));
}

#[test]
fn one_site_more_than_there_are_cells_takes_a_tile_only_by_speaking() {
    let mut bench = Bench::new(Config {
        max_legs_per_room: 30,
        ..demo()
    });
    let legs: Vec<LegId> = (1..=27).map(|conn| bench.join(conn, "X").0).collect();
    assert_eq!(bench.plan().composition.tiles, legs[..25]);
    bench.event(MediaEvent::ActiveSpeaker {
        leg: Some(legs[26]),
    });
    let mut expected = legs[..25].to_vec();
    expected[24] = legs[26];
    assert_eq!(bench.plan().composition.tiles, expected);
    // Somebody shown speaks: nothing moves.
    bench.event(MediaEvent::ActiveSpeaker { leg: Some(legs[4]) });
    assert_eq!(bench.plan().composition.tiles, expected);
    let (_, _, speaker) = bench.roster(1);
    assert_eq!(speaker, Some(legs[4]));
}

#[test]
fn nothing_is_sent_when_nothing_changes() {
    let mut bench = Bench::new(demo());
    bench.join(1, "A");
    bench.dial(1, "3000").unwrap();
    bench.forget();
    bench.say(
        1,
        BrowserMessage::Mute {
            audio: false,
            video: false,
        },
    );
    bench.pass(std::time::Duration::from_secs(120));
    assert_eq!(bench.to_media, []);
    assert_eq!(bench.told, []);
    assert_eq!(bench.commands, Vec::<CallCommand>::new());
}

#[test]
fn pages_learn_how_late_the_sound_of_a_site_is_once_it_can_be_seen() {
    let mut bench = Bench::new(demo());
    bench.join(1, "A");
    bench.dial(1, "3000").unwrap();
    let lags = |bench: &Bench| -> Vec<Option<u16>> {
        bench.roster(1).0.iter().map(|s| s.sound_lag_ms).collect()
    };
    assert_eq!(lags(&bench), vec![None, None]);
    for (measured, told) in [(Some(42), 42), (Some(49), 42), (None, 42), (Some(95), 95)] {
        bench.sound_lag_ms = measured;
        bench.pass(std::time::Duration::from_secs(2));
        assert_eq!(lags(&bench), vec![Some(told); 2]);
    }
    let rosters = bench.said_to(1).into_iter();
    let rosters = rosters.filter(|said| matches!(said, ServerMessage::Roster { .. }));
    assert_eq!(rosters.count(), 4, "alone, called, 42 ms, 95 ms");
}

#[test]
fn an_administrator_sees_live_figures() {
    let mut bench = Bench::new(demo());
    bench.join(1, "A");
    let (terminal, _) = bench.dial(1, "3000").unwrap();
    assert_eq!(
        bench.view("3000").unwrap().legs[1].state,
        LegState::Connecting
    );
    bench.pass(std::time::Duration::from_secs(42));
    let view = bench.view("3000").unwrap();
    assert_eq!((view.encoders, view.decoders, view.legs.len()), (1, 2, 2));
    let leg = &view.legs[1];
    assert_eq!(
        (leg.site.leg, leg.site.name.0.as_str()),
        (terminal, "Terminal 1")
    );
    assert_eq!(
        (leg.state, leg.joined_s, leg.round_trip_ms),
        (LegState::Connected, 42, Some(12))
    );
    assert_eq!(leg.audio_codec, "G.711 A-law");
    assert_eq!(view.legs[0].audio_codec, "Opus");
}

#[test]
fn a_hundred_calls_and_browsers_leave_nothing_behind() {
    let mut bench = Bench::new(demo());
    for round in 0..20 {
        for number in 1..=5 {
            bench.dial(round * 5 + number, "3000").unwrap();
            bench.join(round * 5 + number, "A");
        }
        for number in 1..=5 {
            let ended = CallEvent::Ended {
                call: CallId(round * 5 + number),
                reason: EndReason::Remote,
            };
            bench.input(Input::Call(ended));
            bench.say(round * 5 + number, BrowserMessage::Leave);
        }
        bench.pass(std::time::Duration::from_secs(31));
        bench.forget();
    }
    assert!(bench.held.is_empty());
    assert!(bench.controller.rooms.is_empty());
    assert!(bench.controller.postponed.is_empty());
    assert_eq!(bench.controller.ports.used(), 0);
    assert_eq!(bench.controller.next_timeout(), None);
    let state = bench.state.unwrap();
    assert_eq!(
        (state.rooms.len(), state.next_leg, state.next_room),
        (0, 201, 21)
    );
}

#[test]
fn a_server_that_stops_takes_leave_of_everybody_and_admits_nobody() {
    let mut bench = Bench::new(demo());
    bench.dial(1, "3000").unwrap();
    bench.join(1, "A");
    bench.input(Input::Stop);
    let hangup = CallCommand::Hangup { call: CallId(1) };
    assert_eq!(bench.commands.last(), Some(&hangup));
    let removed = ServerMessage::Refused {
        code: Refusal::Removed,
    };
    assert_eq!(bench.said_to(1).last(), Some(&&removed));
    assert!(bench.closed(1) && bench.held.is_empty());
    assert_eq!(bench.state.as_ref().unwrap().rooms, []);
    assert_eq!(bench.dial(2, "3000"), Err(RejectReason::Busy));
}

#[test]
fn what_waits_for_media_when_the_server_stops_is_refused() {
    let mut bench = Bench::without_media(demo());
    let call = incoming(1, "3000", Some(super::bench::TERMINAL_OFFER));
    bench.input(Input::Call(CallEvent::Incoming(call)));
    assert_eq!(bench.commands, []);
    bench.input(Input::Stop);
    let rejected = CallCommand::Reject {
        call: CallId(1),
        reason: RejectReason::Busy,
    };
    assert_eq!(bench.commands, [rejected]);
}
