//! Calls of ours that several answer: a proxy forks, or an account has several contacts (RFC 3261
//! §13.2.2.4, §16.7).

use mcu_api::call::{DialTarget, OutgoingCall};

use super::accounts::Client;
use super::dialling::{CALL, answered, answered_by, outgoing};
use super::*;

const TELEPHONES: &str = "Contact: <sip:desk@192.0.2.11:5060>\r\n";
const ROOM: &str = "Contact: <sip:room@192.0.2.12:5060>\r\n";

fn of<'a>(sent: &'a [String], method: &str) -> Vec<&'a String> {
    let start = format!("{method} ");
    sent.iter()
        .filter(|text| text.starts_with(&start))
        .collect()
}

/// An account with two contacts, called; the INVITEs, that to the contact registered last first.
pub(super) fn two_called() -> (Bench, Vec<String>) {
    let mut client = Client::new(config());
    client.proven(TELEPHONES);
    client.proven(ROOM);
    let mut bench = client.bench;
    let target = DialTarget::Account("or-1".into());
    bench.dial(OutgoingCall {
        target,
        ..outgoing(None)
    });
    let invites = bench.take_sent();
    assert_eq!(invites.len(), 2);
    assert!(invites[0].starts_with("INVITE sip:room@192.0.2.12:5060 "));
    assert!(invites[1].starts_with("INVITE sip:desk@192.0.2.11:5060 "));
    for name in ["Call-ID", "CSeq"] {
        assert_eq!(header(&invites[0], name), header(&invites[1], name));
    }
    assert_ne!(header(&invites[0], "Via"), header(&invites[1], "Via"));
    (bench, invites)
}

#[test]
fn all_contacts_of_an_account_ring_and_the_first_to_answer_has_the_call() {
    let (mut bench, invites) = two_called();
    bench.feed(&answered_by("room", &invites[0], "180 Ringing", "", None));
    bench.feed(&answered_by("desk", &invites[1], "180 Ringing", "", None));
    bench.take_events();
    bench.feed(&answered_by(
        "desk",
        &invites[1],
        "200 OK",
        "",
        Some(ANSWER),
    ));
    let sent = bench.take_sent();
    assert!(of(&sent, "ACK")[0].starts_with("ACK sip:desk@"));
    let cancel = of(&sent, "CANCEL")[0];
    assert!(
        cancel.starts_with("CANCEL sip:room@192.0.2.12:5060 SIP/2.0"),
        "{cancel}"
    );
    for name in ["Via", "From", "To", "Call-ID"] {
        assert_eq!(header(cancel, name), header(&invites[0], name));
    }
    assert_eq!(bench.take_events().len(), 2, "answered and established");
    bench.feed(&respond(cancel, "200 OK", "", None));
    bench.feed(&answered_by(
        "room",
        &invites[0],
        "487 Request Terminated",
        "",
        None,
    ));
    assert!(bench.only().starts_with("ACK sip:room@"));
    assert_eq!(bench.take_events(), []);
    bench.command(CallCommand::Hangup { call: CALL });
    assert!(bench.only().starts_with("BYE sip:desk@192.0.2.7:5070 "));
}

#[test]
fn who_answers_second_is_acknowledged_and_hung_up_on() {
    let (mut bench, invites) = two_called();
    bench.feed(&answered_by(
        "room",
        &invites[0],
        "200 OK",
        "",
        Some(ANSWER),
    ));
    let sent = bench.start_lines();
    assert_eq!(
        sent,
        ["ACK sip:room@192.0.2.7:5070 SIP/2.0"],
        "no CANCEL before a response"
    );
    bench.take_events();
    let late = answered_by("desk", &invites[1], "200 OK", "", Some(ANSWER));
    bench.feed(&late);
    let sent = bench.take_sent();
    let (ack, bye) = (of(&sent, "ACK")[0], of(&sent, "BYE")[0]);
    for request in [ack, bye] {
        assert!(
            request.contains(" sip:desk@192.0.2.7:5070 SIP/2.0"),
            "{request}"
        );
        assert!(header(request, "To").unwrap().ends_with(";tag=desk"));
        assert_eq!(header(request, "From"), header(&invites[1], "From"));
    }
    assert_eq!(header(ack, "CSeq"), Some("1 ACK"));
    assert_eq!(header(bye, "CSeq"), Some("34 BYE"), "after 32 PRACKs");
    bench.feed(&respond(bye, "200 OK", "", None));
    bench.feed(&late);
    assert_eq!(
        bench.take_sent(),
        std::slice::from_ref(ack),
        "its ACK was lost"
    );
    assert_eq!(bench.take_events(), []);
    assert_eq!(bench.endpoint.load().calls, 1);
}

/// The BYE had the number of a PRACK, and would have been refused (RFC 3261 §12.2.2).
#[test]
fn who_rang_reliably_and_answers_second_understands_the_bye() {
    let (mut bench, invites) = two_called();
    let invite = &invites[1];
    let reliable = "Require: 100rel\r\nRSeq: 7\r\n";
    bench.feed(&answered_by("desk", invite, "180 Ringing", reliable, None));
    let prack = bench.only();
    bench.feed(&respond(&prack, "200 OK", "", None));
    bench.feed(&answered_by(
        "room",
        &invites[0],
        "200 OK",
        "",
        Some(ANSWER),
    ));
    bench.take_sent();
    bench.feed(&answered_by("desk", invite, "200 OK", "", Some(ANSWER)));
    let sent = bench.take_sent();
    let number = |text: &str| {
        let cseq = header(text, "CSeq").unwrap();
        cseq.split(' ').next().unwrap().parse::<u32>().unwrap()
    };
    assert!(number(of(&sent, "BYE")[0]) > number(&prack), "{sent:#?}");
}

/// A proxy that forks sends several 2xx to one INVITE.
#[test]
fn a_second_answer_to_the_same_invite_is_turned_away_whatever_became_of_the_call() {
    for hung_up in [false, true] {
        let mut bench = Bench::new();
        let invite = bench.dialled();
        bench.feed(&answered(&invite, "180 Ringing", None));
        bench.feed(&answered_by("other", &invite, "180 Ringing", "", None));
        bench.feed(&answered(&invite, "200 OK", Some(ANSWER)));
        if hung_up {
            bench.command(CallCommand::Hangup { call: CALL });
        }
        bench.take_sent();
        bench.take_events();
        bench.feed(&answered_by("other", &invite, "200 OK", "", Some(ANSWER)));
        let sent = bench.take_sent();
        let tags = sent.iter().map(|text| header(text, "To").unwrap());
        assert!(
            tags.clone().all(|to| to.ends_with(";tag=other")),
            "{sent:#?}"
        );
        assert_eq!((of(&sent, "ACK").len(), of(&sent, "BYE").len()), (1, 1));
        assert_eq!(bench.take_events(), []);
    }
}

#[test]
fn nobody_has_us_turn_away_callees_without_end() {
    let mut bench = Bench::new();
    let invite = bench.dialled();
    bench.feed(&answered(&invite, "200 OK", Some(ANSWER)));
    bench.take_sent();
    for n in 0..30 {
        let tag = format!("other{n}");
        bench.feed(&answered_by(&tag, &invite, "200 OK", "", Some(ANSWER)));
    }
    assert_eq!(of(&bench.take_sent(), "BYE").len(), 8);
}

#[test]
fn the_call_is_over_when_all_have_refused_or_one_has_for_all() {
    let (mut bench, invites) = two_called();
    bench.feed(&answered_by(
        "room",
        &invites[0],
        "503 Service Unavailable",
        "",
        None,
    ));
    assert_eq!(bench.take_events(), []);
    bench.feed(&answered_by("desk", &invites[1], "486 Busy Here", "", None));
    bench.ended(CALL, EndReason::Refused(486));
    assert_eq!(bench.endpoint.load().calls, 0);

    let (mut bench, invites) = two_called();
    bench.feed(&answered_by("desk", &invites[1], "180 Ringing", "", None));
    bench.take_events();
    bench.feed(&answered_by("room", &invites[0], "603 Decline", "", None));
    let sent = bench.take_sent();
    assert!(of(&sent, "CANCEL")[0].starts_with("CANCEL sip:desk@"));
    bench.ended(CALL, EndReason::Refused(603));
}

#[test]
fn hanging_up_cancels_all_that_ring() {
    let (mut bench, invites) = two_called();
    for (tag, invite) in ["room", "desk"].iter().zip(&invites) {
        bench.feed(&answered_by(tag, invite, "180 Ringing", "", None));
    }
    bench.take_events();
    bench.command(CallCommand::Hangup { call: CALL });
    assert_eq!(of(&bench.take_sent(), "CANCEL").len(), 2);
    bench.ended(CALL, EndReason::Local);
    assert_eq!(bench.endpoint.load().calls, 0);
    bench.pass(seconds(70));
    assert_eq!(bench.endpoint.load(), crate::Load::default());
}
