//! 3xx to calls of ours (RFC 3261 §8.1.3.4): followed within the host that was called, and never by a
//! trunk.

use mcu_api::call::{DialTarget, OutgoingCall};

use super::dialling::{CALL, answered, answered_by, of_callee, outgoing, trunk};
use super::*;

fn moved(invite: &str, contacts: &str) -> String {
    respond(invite, "302 Moved Temporarily", contacts, None)
}

fn contact(uri: &str) -> String {
    format!("Contact: <{uri}>\r\n")
}

/// The INVITE among what was sent; the rest is ACKs.
fn next_invite(bench: &mut Bench) -> Option<(Flow, String)> {
    let sent: Vec<_> = bench.sent.drain(..).collect();
    sent.into_iter()
        .find(|(_, text)| text.starts_with("INVITE "))
}

#[test]
fn the_targets_are_called_one_after_the_other_the_preferred_first() {
    let mut bench = Bench::new();
    let first = bench.dialled();
    let contacts = "Contact: <sip:b@192.0.2.7:5062>;q=0.2, <sip:a@192.0.2.7:5061>;q=0.9\r\n";
    bench.feed(&moved(&first, contacts));
    let (flow, second) = next_invite(&mut bench).unwrap();
    assert!(
        second.starts_with("INVITE sip:a@192.0.2.7:5061 SIP/2.0"),
        "{second}"
    );
    assert_eq!(flow.remote, address("192.0.2.7:5061"));
    assert_eq!(header(&second, "CSeq"), Some("2 INVITE"));
    for name in ["Call-ID", "From", "To"] {
        assert_eq!(header(&second, name), header(&first, name));
    }
    assert_eq!(body_of(&second), OFFER);
    bench.feed(&respond(&second, "486 Busy Here", "", None));
    let (_, third) = next_invite(&mut bench).unwrap();
    assert!(
        third.starts_with("INVITE sip:b@192.0.2.7:5062 SIP/2.0"),
        "{third}"
    );
    bench.feed(&answered(&third, "200 OK", Some(ANSWER)));
    assert_eq!(bench.take_events().len(), 2);
    bench.command(CallCommand::Hangup { call: CALL });
    let bye = bench.take_sent().pop().unwrap();
    assert_eq!(header(&bye, "CSeq"), Some("4 BYE"));
}

#[test]
fn nobody_is_called_elsewhere() {
    let elsewhere = [
        "sip:a@192.0.2.8:5060",
        "sip:a@elsewhere.example",
        "sips:a@192.0.2.7",
        "sip:a@192.0.2.7;transport=tcp",
        "sip:a@192.0.2.7?Replaces=x",
        "tel:112",
        // Ourselves.
        "sip:a@192.0.2.1:5060",
        "nonsense",
    ];
    for uri in elsewhere {
        let mut bench = Bench::new();
        let first = bench.dialled();
        bench.feed(&moved(&first, &contact(uri)));
        assert_eq!(next_invite(&mut bench), None, "{uri}");
        bench.ended(CALL, EndReason::Refused(302));
    }
    for (status, contacts) in [
        ("305 Use Proxy", contact("sip:a@192.0.2.7:5061")),
        ("302 Moved Temporarily", String::new()),
    ] {
        let mut bench = Bench::new();
        let first = bench.dialled();
        bench.feed(&respond(&first, status, &contacts, None));
        assert_eq!(next_invite(&mut bench), None, "{status}");
        assert_eq!(bench.take_events().len(), 1);
    }
}

/// Whoever was called had us call any number of the world by the trunk, with our password.
#[test]
fn by_a_trunk_nobody_else_is_called() {
    let uri = "sip:5551234@carrier.example".to_owned();
    let by_trunk = DialTarget::Uri {
        uri,
        via: trunk("192.0.2.7:5080"),
    };
    let direct = outgoing(None).target;
    for (target, credentials) in [
        (by_trunk.clone(), None),
        (by_trunk, Some("us")),
        (direct, Some("us")),
    ] {
        for to in ["sip:5559999@carrier.example", "sip:or-1@192.0.2.7:5080"] {
            let mut bench = Bench::new();
            bench.flow.remote = address("192.0.2.7:5080");
            bench.dial(OutgoingCall {
                target: target.clone(),
                ..outgoing(credentials)
            });
            let first = bench.only();
            bench.feed(&moved(&first, &contact(to)));
            assert_eq!(next_invite(&mut bench), None, "{to}");
            bench.ended(CALL, EndReason::Refused(302));
        }
    }
}

/// Whoever called a trunk by its address had its redirections followed.
#[test]
fn by_a_trunks_address_nobody_else_is_called_either() {
    let followed = |bench: &mut Bench| {
        let first = bench.dialled();
        bench.feed(&moved(&first, &contact("sip:5559999@192.0.2.7:5061")));
        let next = next_invite(bench);
        if next.is_none() {
            bench.ended(CALL, EndReason::Refused(302));
        }
        next.is_some()
    };
    let mut bench = Bench::new();
    assert!(followed(&mut bench));
    let mut config = config();
    config.trunks = vec!["::ffff:192.0.2.7".parse().unwrap()];
    assert!(!followed(&mut Bench::with(config)));
    // Where the name of a trunk has led counts, too.
    let mut bench = Bench::new();
    let target = DialTarget::Uri {
        uri: "sip:1@carrier.example".into(),
        via: trunk("192.0.2.7:5060"),
    };
    bench.dial(OutgoingCall {
        target,
        ..outgoing(None)
    });
    bench.command(CallCommand::Hangup { call: CALL });
    bench.take_events();
    bench.take_sent();
    assert!(!followed(&mut bench));
    // And where we register, before any call.
    let (mut bench, _) = registering::registering();
    assert!(!followed(&mut bench));
}

/// Those who rang before took the places of those who ring after it.
#[test]
fn who_rang_before_a_redirection_rings_no_more() {
    let mut bench = Bench::new();
    let first = bench.dialled();
    for n in 0..8 {
        let tag = format!("fork{n}");
        bench.feed(&answered_by(&tag, &first, "180 Ringing", "", None));
    }
    bench.feed(&moved(&first, &contact("sip:or-2@192.0.2.7:5060")));
    let (_, second) = next_invite(&mut bench).unwrap();
    bench.feed(&of_callee("fork0", &first, "UPDATE", 2, None));
    assert_eq!(bench.start_lines(), ["SIP/2.0 481 Call Does Not Exist"]);
    let reliable = "Require: 100rel\r\nRSeq: 7\r\n";
    bench.feed(&answered_by("late", &second, "180 Ringing", reliable, None));
    assert!(bench.only().starts_with("PRACK sip:late@"));
}

#[test]
fn who_sends_us_round_and_round_is_left() {
    let mut bench = Bench::new();
    let mut invite = bench.dialled();
    let mut followed = 0;
    loop {
        bench.feed(&moved(&invite, &contact("sip:or-1@192.0.2.7:5060")));
        let Some((_, next)) = next_invite(&mut bench) else {
            break;
        };
        invite = next;
        followed += 1;
    }
    assert_eq!(followed, 4);
    bench.ended(CALL, EndReason::Refused(302));
}
