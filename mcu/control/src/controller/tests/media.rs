//! The media processor: waiting for it, its replacement, what it refuses.

use std::time::Duration;

use mcu_api::call::{CallCommand, CallEvent, RejectReason};
use mcu_api::ids::{CallId, LegId, RoomId};
use mcu_api::manager::{BrowserMessage, Refusal, ServerMessage};
use mcu_api::media::{FromMedia, ToMedia};
use mcu_api::plan::{DtlsKeys, SdesKeys, SrtpSource, SrtpSuite, Transport};
use mcu_api::secret::Redacted;

use super::bench::{Bench, HELLO, PAGE_OFFER, TERMINAL_OFFER, demo, incoming, join, ports};
use crate::controller::{Input, MEDIA_WAIT};

fn ssrcs(bench: &Bench, leg: LegId) -> [u32; 2] {
    let plan = bench.leg_plan(leg);
    [
        plan.audio.as_ref().unwrap().send.unwrap().ssrc,
        plan.video_send[0].ssrc,
    ]
}

#[test]
fn calls_and_browsers_wait_for_a_processor_that_is_about_to_come() {
    let mut bench = Bench::without_media(demo());
    let call = incoming(1, "3000", Some(TERMINAL_OFFER));
    bench.input(Input::Call(CallEvent::Incoming(call)));
    bench.say(1, join("3000", "A"));
    bench.say(
        1,
        BrowserMessage::Mute {
            audio: true,
            video: false,
        },
    );
    assert_eq!((bench.commands.len(), bench.told.len()), (0, 0));
    bench.connect_media();
    assert!(matches!(bench.commands[..], [CallCommand::Accept { .. }]));
    assert_eq!(bench.legs_planned(), [LegId(1), LegId(2)]);
    assert!(
        bench.leg_plan(LegId(2)).audio.as_ref().unwrap().muted,
        "in the order they came"
    );
}

#[test]
fn without_a_processor_they_are_refused_after_a_while() {
    let mut bench = Bench::without_media(demo());
    let call = incoming(1, "3000", Some(TERMINAL_OFFER));
    bench.input(Input::Call(CallEvent::Incoming(call)));
    bench.say(1, join("3000", "A"));
    assert_eq!(
        bench.controller.next_timeout(),
        Some(bench.now + MEDIA_WAIT)
    );
    bench.pass(MEDIA_WAIT);
    let rejected = CallCommand::Reject {
        call: CallId(1),
        reason: RejectReason::Unavailable,
    };
    assert_eq!(bench.commands, [rejected]);
    assert_eq!(
        bench.said_to(1),
        [&ServerMessage::Refused {
            code: Refusal::NoMedia
        }]
    );
    assert_eq!(
        bench.dial(2, "3000").unwrap_err(),
        RejectReason::Unavailable
    );
}

#[test]
fn what_waits_is_bounded() {
    let mut bench = Bench::without_media(demo());
    for conn in 0..257 {
        bench.say(conn, join("3000", "A"));
    }
    assert_eq!(
        bench.said_to(0),
        [&ServerMessage::Refused {
            code: Refusal::NoMedia
        }]
    );
    assert_eq!(
        bench.said_to(256),
        [&ServerMessage::Refused {
            code: Refusal::NoMedia
        }]
    );
}

#[test]
fn a_replaced_processor_gets_the_plans_at_once_with_new_ssrcs() {
    let mut bench = Bench::new(demo());
    let (terminal, _) = bench.dial(1, "3000").unwrap();
    let (page, _) = bench.join(1, "A");
    let (gone, _) = bench.join(2, "B");
    let before = (
        ssrcs(&bench, terminal),
        ports(bench.leg_plan(terminal)),
        bench.plan().generation,
    );
    let room = bench.plan().room;
    bench.forget();
    bench.restart_media();
    assert_eq!(
        bench.legs_planned(),
        [terminal],
        "browsers need a new handshake"
    );
    let after = ssrcs(&bench, terminal);
    assert!(after[0] != before.0[0] && after[1] != before.0[1]);
    assert_eq!(ports(bench.leg_plan(terminal)), before.1);
    assert_eq!(bench.plan().room, room);
    assert!(bench.plan().generation > before.2);
    assert_eq!(bench.said_to(1)[0], &ServerMessage::Renew);
    assert_eq!(bench.commands, [], "the terminal notices nothing");
    bench.say(
        1,
        BrowserMessage::Offer {
            sdp: Redacted(PAGE_OFFER.into()),
        },
    );
    let last = bench
        .said_to(1)
        .into_iter()
        .rev()
        .find_map(|message| match message {
            ServerMessage::Answer { sdp } => Some(sdp.0.clone()),
            _ => None,
        });
    assert!(
        last.unwrap().contains("sha-256 02:02"),
        "the new process has a new certificate"
    );
    assert_eq!(bench.legs_planned(), [terminal, page]);
    assert_eq!(bench.roster(1).0.len(), 3);
    assert_ne!(gone, page);
    // A later exchange of the terminal keeps the new SSRCs.
    let hold = Redacted(TERMINAL_OFFER.replace("o=t 1 1", "o=t 1 2"));
    bench.input(Input::Call(CallEvent::Reoffer {
        call: CallId(1),
        sdp: Some(hold),
    }));
    assert_eq!(ssrcs(&bench, terminal), after);
}

/// A replaced processor was deaf for a terminal whose SRTP sequence numbers had rolled over.
#[test]
fn a_replaced_processor_learns_how_far_srtp_sources_have_come() {
    let mut bench = Bench::new(demo());
    let mut call = incoming(1, "3000", Some(&secure_offer('1')));
    let (leg, _) = bench.dial_with(call.clone()).unwrap();
    let audio = SrtpSource {
        ssrc: 7,
        index: 0x1_0005,
    };
    let video = SrtpSource {
        ssrc: 8,
        index: 0x3_0009,
    };
    let quiet = vec![Vec::new(), Vec::new()];
    bench
        .srtp_sources
        .insert(leg, vec![vec![audio], vec![video]]);
    bench.forget();
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.to_media, [], "no news for the processor that counts");
    assert_eq!(srtp_sources(&bench, leg), quiet);
    bench.restart_media();
    let told = vec![vec![audio], vec![video]];
    assert_eq!(srtp_sources(&bench, leg), told);
    // One that ends at once leaves what was known; one that counts on is asked again.
    bench.restart_media();
    assert_eq!(srtp_sources(&bench, leg), told);
    let later = SrtpSource {
        ssrc: 8,
        index: 0x4_0000,
    };
    bench
        .srtp_sources
        .insert(leg, vec![vec![audio], vec![later]]);
    bench.forget();
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.to_media, []);
    bench.restart_media();
    assert_eq!(srtp_sources(&bench, leg), [[audio], [later]]);
    // Under other keys everything counts from zero.
    call.offer = None;
    bench.input(Input::Call(CallEvent::Reoffer {
        call: call.call,
        sdp: Some(Redacted(secure_offer('2').replace("o=t 1 1", "o=t 1 2"))),
    }));
    assert_eq!(srtp_sources(&bench, leg), quiet);
}

/// MCU-23: what a terminal has reported is not to be said again to the next processor.
#[test]
fn a_replaced_processor_learns_how_far_reports_have_come() {
    let mut bench = Bench::new(demo());
    let call = incoming(1, "3000", Some(&secure_offer('1')));
    let (leg, _) = bench.dial_with(call).unwrap();
    // A terminal that sends nothing reports all the same.
    let audio = SrtpSource { ssrc: 7, index: 40 };
    bench
        .srtcp_sources
        .insert(leg, vec![vec![audio], Vec::new()]);
    bench.pass(Duration::from_secs(2));
    bench.restart_media();
    let told = |transport: &Transport| match transport {
        Transport::Udp(udp) => (udp.srtp_sources.clone(), udp.srtcp_sources.clone()),
        Transport::Webrtc(_) => panic!("a terminal has ports of its own"),
    };
    let told: Vec<_> = bench.leg_plan(leg).transports.iter().map(told).collect();
    assert_eq!(told, [(vec![], vec![audio]), (vec![], vec![])]);
}

/// A report that was made before the terminal changed its keys says nothing of the new ones.
#[test]
fn counts_under_old_keys_are_not_taken_for_those_under_new_ones() {
    let mut bench = Bench::new(demo());
    let call = incoming(1, "3000", Some(&secure_offer('1')));
    let (leg, _) = bench.dial_with(call).unwrap();
    let source = SrtpSource {
        ssrc: 7,
        index: 0x1_0005,
    };
    bench.srtp_sources.insert(leg, vec![vec![source]]);
    let before = bench.inventory(false);
    bench.input(Input::Call(CallEvent::Reoffer {
        call: CallId(1),
        sdp: Some(Redacted(secure_offer('2').replace("o=t 1 1", "o=t 1 2"))),
    }));
    bench.media(FromMedia::Inventory(before));
    bench.restart_media();
    assert_eq!(srtp_sources(&bench, leg), [[], []]);
}

/// A terminal's description with this kind of fingerprints, whose last byte is that of `mark`.
fn dtls_offer(mark: &str) -> String {
    let secure = format!(
        "a=fingerprint:sha-1 {}{mark}\r\na=setup:actpass\r\n",
        "AB:".repeat(19)
    );
    let proto = TERMINAL_OFFER.replace("RTP/AVP", "UDP/TLS/RTP/SAVPF");
    proto.replace("m=video", &format!("{secure}m=video")) + &secure
}

/// What the processor would report of a transport, by the certificate of its first life.
fn dtls_report(bench: &Bench, leg: LegId, transport: usize, byte: u8) -> DtlsKeys {
    let Transport::Udp(udp) = &bench.leg_plan(leg).transports[transport] else {
        panic!("a terminal has ports of its own");
    };
    let terms = udp.dtls.clone().unwrap();
    let key = |byte| Redacted(vec![byte; 28]);
    let keys = |byte| SdesKeys {
        suite: SrtpSuite::AeadAes128Gcm,
        local: key(byte),
        remote: key(byte + 1),
    };
    DtlsKeys {
        association: terms.association,
        local_fingerprint: Some([bench.instance as u8; 32]),
        remote_fingerprints: terms.remote_fingerprints,
        rtp: keys(byte),
        rtcp: Some(keys(byte + 2)),
    }
}

/// The offers within calls that were commanded.
fn offers(bench: &Bench) -> Vec<String> {
    let offers = bench.commands.iter().filter_map(|command| match command {
        CallCommand::Offer { sdp, .. } => Some(sdp.0.clone()),
        _ => None,
    });
    offers.collect()
}

/// Defect: an answer to a refresh that showed another certificate began an association that nobody had
/// offered (RFC 8842 §3.1, MCU-22).
#[test]
fn the_answer_to_a_refresh_begins_no_other_association() {
    let id = "a=setup:actpass\r\na=tls-id:0123456789abcdef0123\r\n";
    for with_id in [false, true] {
        let said = |mark: &str| match with_id {
            true => dtls_offer(mark).replace("a=setup:actpass\r\n", id),
            false => dtls_offer(mark),
        };
        let mut bench = Bench::new(demo());
        let call = incoming(1, "3000", Some(&said("AB")));
        let (leg, _) = bench.dial_with(call).unwrap();
        let plan = bench.leg_plan(leg).clone();
        let mut refreshed = |sdp: &str| {
            let sdp = Redacted(sdp.replace("actpass", "active"));
            let call = CallId(1);
            bench.input(Input::Call(CallEvent::Refreshed { call, sdp }));
            bench.leg_plan(leg).clone()
        };
        assert_eq!(refreshed(&said("AB")), plan);
        assert_eq!(refreshed(&said("AC")), plan, "with a=tls-id: {with_id}");
        // Another identity of the association, or one where none was.
        let other_id = id.replace("0123\r", "4567\r");
        let other = dtls_offer("AB").replace("a=setup:actpass\r\n", &other_id);
        assert_ne!(other, said("AB"));
        assert_eq!(refreshed(&other), plan, "after a=tls-id: {with_id}");
    }
}

/// A DTLS leg was to shake hands anew after each death of the processor, which few terminals do.
#[test]
fn a_replaced_processor_goes_on_with_the_keys_that_dtls_agreed_on() {
    let mut bench = Bench::new(demo());
    let offer = dtls_offer("AB");
    let (leg, _) = bench.dial_with(incoming(1, "3000", Some(&offer))).unwrap();
    let agreed = |place, byte| dtls_report(&bench, leg, place, byte);
    let both = vec![Some(agreed(0, 1)), Some(agreed(1, 9))];
    let stale = DtlsKeys {
        association: 2,
        ..agreed(0, 1)
    };
    bench.dtls_keys.insert(leg, vec![Some(stale), None]);
    bench.pass(Duration::from_secs(2));
    assert_eq!(
        dtls_keys(&bench, leg),
        [None, None],
        "of another association"
    );
    bench.dtls_keys.insert(leg, both.clone());
    bench.pass(Duration::from_secs(2));
    bench.forget();
    bench.restart_media();
    assert_eq!(dtls_keys(&bench, leg), both);
    assert_eq!(offers(&bench).len(), 0, "nobody is asked");
    // A terminal whose handshake was under way is asked for another.
    let (late, _) = bench.dial_with(incoming(2, "3000", Some(&offer))).unwrap();
    bench.restart_media();
    assert_eq!(dtls_keys(&bench, late), [None, None]);
    assert_eq!(offers(&bench).len(), 1);
}

/// Associations of each line were counted from one, and reports matched by place and count.
#[test]
fn keys_of_a_line_that_went_are_not_taken_for_those_of_the_one_in_its_place() {
    let mut bench = Bench::new(demo());
    let offer = dtls_offer("AB");
    let (leg, _) = bench.dial_with(incoming(1, "3000", Some(&offer))).unwrap();
    let keys = dtls_report(&bench, leg, 0, 1);
    bench.dtls_keys.insert(leg, vec![Some(keys), None]);
    let before = bench.inventory(false);
    let at = offer.find("m=audio ").unwrap() + "m=audio ".len();
    let end = at + offer[at..].find(' ').unwrap();
    let silent = format!("{}0{}", &offer[..at], &offer[end..]);
    bench.input(Input::Call(CallEvent::Reoffer {
        call: CallId(1),
        sdp: Some(Redacted(silent.replace("o=t 1 1", "o=t 1 2"))),
    }));
    bench.media(FromMedia::Inventory(before));
    assert_eq!(dtls_keys(&bench, leg), [None], "the video's are not known");
}

/// They were noted with what was agreed on before, and the answer brought back what the offer knew.
#[test]
fn keys_that_come_while_an_offer_of_ours_is_open_are_kept() {
    let mut bench = Bench::new(demo());
    let (leg, _) = bench
        .dial_with(incoming(1, "3000", Some(&dtls_offer("AB"))))
        .unwrap();
    bench.input(Input::Call(CallEvent::Reoffer {
        call: CallId(1),
        sdp: None,
    }));
    let both = [0, 1]
        .map(|place| Some(dtls_report(&bench, leg, place, 1)))
        .to_vec();
    bench.dtls_keys.insert(leg, both.clone());
    bench.pass(Duration::from_secs(2));
    bench.input(Input::Call(CallEvent::Answered {
        call: CallId(1),
        sdp: Redacted(dtls_offer("AB").replace("actpass", "active")),
    }));
    assert_eq!(dtls_keys(&bench, leg), both);
    bench.forget();
    bench.restart_media();
    assert_eq!((dtls_keys(&bench, leg), offers(&bench).len()), (both, 0));
}

/// It kept the certificate of the processor that had died, and the terminal refused the new one's.
#[test]
fn an_offer_that_was_open_when_the_processor_died_is_made_anew() {
    let mut bench = Bench::new(demo());
    let (leg, _) = bench
        .dial_with(incoming(1, "3000", Some(&dtls_offer("AB"))))
        .unwrap();
    let associations =
        |bench: &Bench| [0, 1].map(|place| dtls_report(bench, leg, place, 0).association);
    let before = associations(&bench);
    bench.input(Input::Call(CallEvent::Reoffer {
        call: CallId(1),
        sdp: None,
    }));
    bench.forget();
    bench.restart_media();
    let made = offers(&bench);
    assert_eq!(made.len(), 1);
    assert!(made[0].contains("sha-256 02:02:") && !made[0].contains("01:01:"));
    // Signalling passes over an answer to the first; this is the second's.
    bench.input(Input::Call(CallEvent::Answered {
        call: CallId(1),
        sdp: Redacted(dtls_offer("AB").replace("actpass", "active")),
    }));
    let after = associations(&bench);
    assert!(
        before
            .iter()
            .all(|association| !after.contains(association))
    );
    assert_eq!(offers(&bench).len(), 1);
    // One that nobody answered is not repeated with a dead certificate either.
    bench.input(Input::Call(CallEvent::Reoffer {
        call: CallId(1),
        sdp: None,
    }));
    bench.restart_media();
    bench.restart_media();
    let made = offers(&bench);
    assert!(made.last().unwrap().contains("sha-256 04:04:"), "{made:#?}");
}

#[test]
fn a_first_offer_that_was_open_when_the_processor_died_is_followed_by_another() {
    let mut bench = Bench::new(demo());
    bench.input(Input::Call(CallEvent::Incoming(incoming(1, "3000", None))));
    let accepted = bench.commands.iter().any(
        |command| matches!(command, CallCommand::Accept { sdp, .. } if sdp.0.contains("01:01:")),
    );
    assert!(accepted);
    bench.forget();
    bench.restart_media();
    assert_eq!(offers(&bench).len(), 0, "its answer is still to come");
    let answer = dtls_offer("AB").replace("UDP/TLS/RTP/SAVPF", "RTP/AVP");
    bench.input(Input::Call(CallEvent::Answered {
        call: CallId(1),
        sdp: Redacted(answer.replace("actpass", "active")),
    }));
    let made = offers(&bench);
    assert_eq!(made.len(), 1);
    assert!(made[0].contains("sha-256 02:02:"));
}

fn dtls_keys(bench: &Bench, leg: LegId) -> Vec<Option<DtlsKeys>> {
    let transports = bench.leg_plan(leg).transports.iter();
    let keys = transports.map(|transport| match transport {
        Transport::Udp(udp) => udp.dtls.clone().unwrap().keys,
        Transport::Webrtc(_) => panic!("a terminal has ports of its own"),
    });
    keys.collect()
}

/// Defect: a terminal whose handshake was under way when the processor died held its next one with the
/// new processor before that had the plan of the new association, and then waited for ever.
#[test]
fn a_replaced_processor_holds_no_handshake_that_another_was_to_hold() {
    let mut bench = Bench::new(demo());
    let secure = format!(
        "a=fingerprint:sha-1 {}AB\r\na=setup:SETUP\r\n",
        "AB:".repeat(19)
    );
    let proto = TERMINAL_OFFER.replace("RTP/AVP", "UDP/TLS/RTP/SAVPF");
    let described = proto.replace("m=video", &format!("{secure}m=video")) + &secure;
    let offer = described.replace("SETUP", "actpass");
    let (leg, _) = bench.dial_with(incoming(1, "3000", Some(&offer))).unwrap();
    let expects = |bench: &Bench| {
        let transports = bench.leg_plan(leg).transports.iter();
        let expects = transports.map(|transport| match transport {
            Transport::Udp(udp) => !udp.dtls.clone().unwrap().remote_fingerprints.is_empty(),
            Transport::Webrtc(_) => panic!("a terminal has ports of its own"),
        });
        expects.collect::<Vec<bool>>()
    };
    assert_eq!(expects(&bench), [true, true]);
    bench.restart_media();
    assert_eq!(expects(&bench), [false, false], "until it answers");
    let sdp = Redacted(described.replace("SETUP", "active"));
    bench.input(Input::Call(CallEvent::Answered {
        call: CallId(1),
        sdp,
    }));
    assert_eq!(expects(&bench), [true, true]);
}

/// A terminal's offer with keys, which are `key` over and over.
fn secure_offer(key: char) -> String {
    let key = key.to_string().repeat(40);
    let crypto = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}\r\n");
    let secure = TERMINAL_OFFER.replace("RTP/AVP", "RTP/SAVP");
    secure.replace("m=video", &format!("{crypto}m=video")) + &crypto
}

fn srtp_sources(bench: &Bench, leg: LegId) -> Vec<Vec<SrtpSource>> {
    let transports = bench.leg_plan(leg).transports.iter();
    let sources = transports.map(|transport| match transport {
        Transport::Udp(udp) => udp.srtp_sources.clone(),
        Transport::Webrtc(_) => panic!("a terminal has ports of its own"),
    });
    sources.collect()
}

/// The answer to an offer that was open over the change of processors put the old SSRCs back.
#[test]
fn new_ssrcs_outlive_an_offer_that_was_open_when_they_were_drawn() {
    let mut bench = Bench::new(demo());
    let (terminal, _) = bench.dial(1, "3000").unwrap();
    let before = ssrcs(&bench, terminal);
    bench.input(Input::Call(CallEvent::Reoffer {
        call: CallId(1),
        sdp: None,
    }));
    bench.restart_media();
    let renewed = ssrcs(&bench, terminal);
    assert!(renewed[0] != before[0] && renewed[1] != before[1]);
    bench.input(Input::Call(CallEvent::Answered {
        call: CallId(1),
        sdp: Redacted(TERMINAL_OFFER.into()),
    }));
    assert_eq!(ssrcs(&bench, terminal), renewed);
}

#[test]
fn a_processor_that_reconnects_is_sent_only_what_changed() {
    let mut bench = Bench::new(demo());
    bench.dial(1, "3000").unwrap();
    bench.join(1, "A");
    bench.forget();
    bench.input(Input::MediaDisconnected);
    bench.connect_media();
    assert_eq!(bench.to_media, [HELLO]);
    assert_eq!(bench.told, []);
    bench.input(Input::MediaDisconnected);
    bench.input(Input::Call(CallEvent::Ended {
        call: CallId(1),
        reason: mcu_api::call::EndReason::Remote,
    }));
    bench.connect_media();
    assert_eq!(bench.legs_planned(), [LegId(2)]);
}

#[test]
fn a_room_that_ended_while_the_processor_was_away_is_removed_there() {
    let mut bench = Bench::new(demo());
    bench.dial(1, "3000").unwrap();
    bench.input(Input::MediaDisconnected);
    bench.pass(MEDIA_WAIT);
    bench.input(Input::Call(CallEvent::Ended {
        call: CallId(1),
        reason: mcu_api::call::EndReason::Remote,
    }));
    bench.connect_media();
    assert!(bench.held.is_empty());
}

#[test]
fn a_leg_that_the_processor_cannot_set_up_is_put_out() {
    let mut bench = Bench::new(demo());
    let (first, _) = bench.dial(1, "3000").unwrap();
    let (second, _) = bench.dial(2, "3000").unwrap();
    let (page, _) = bench.join(1, "A");
    let (room, generation) = (bench.plan().room, bench.plan().generation);
    let refused = |generation, leg| FromMedia::Refused {
        room,
        generation,
        leg: Some(leg),
        reason: "port in use".into(),
    };
    bench.media(refused(generation - 1, first));
    assert_eq!(
        bench.legs_planned(),
        [first, second, page],
        "an older plan's refusal is void"
    );
    bench.media(refused(generation, second));
    assert_eq!(bench.legs_planned(), [first, page]);
    assert_eq!(
        bench.commands.last(),
        Some(&CallCommand::Hangup { call: CallId(2) })
    );
    let generation = bench.plan().generation;
    bench.media(refused(generation, page));
    assert_eq!(
        bench.said_to(1).last(),
        Some(&&ServerMessage::Refused {
            code: Refusal::NoMedia
        })
    );
    assert_eq!(bench.legs_planned(), [first]);
}

#[test]
fn a_plan_that_is_not_in_force_is_sent_again() {
    let mut bench = Bench::new(demo());
    bench.dial(1, "3000").unwrap();
    let plan = bench.plan().clone();
    // The processor lost the room, then holds a generation that we never sent.
    bench.held.clear();
    bench.pass(Duration::from_secs(3));
    assert_eq!(bench.legs_planned().len(), 1);
    let mut foreign = plan.clone();
    foreign.generation = 900;
    bench.held.insert(plan.room, foreign);
    bench.pass(Duration::from_secs(3));
    assert_eq!(bench.plan().generation, 901);
    bench.forget();
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.to_media, []);
}

#[test]
fn rooms_that_nobody_knows_are_removed() {
    let mut bench = Bench::new(demo());
    bench.dial(1, "3000").unwrap();
    let mut foreign = bench.plan().clone();
    foreign.room = RoomId(999);
    bench.held.insert(RoomId(999), foreign);
    bench.pass(Duration::from_secs(1));
    assert_eq!(
        bench.to_media.last(),
        Some(&ToMedia::RemoveRoom { room: RoomId(999) })
    );
    assert_eq!(bench.legs_planned().len(), 1);
}
