//! Reliable provisional responses and UPDATE before the answer (RFC 3262, RFC 3311).

use super::dialling::{CALL, answered, answered_by, of_callee};
use super::*;

const RELIABLE: &str = "Require: 100rel\r\nRSeq: 7\r\n";

/// A room answers at once: no provisional response waits for a PRACK.
#[test]
fn who_insists_on_reliable_responses_is_answered_and_its_pracks_fit_nothing() {
    let mut bench = Bench::new();
    let (_, tag) = bench.up_with("Require: 100rel\r\n");
    let rack = "RAck: 1 1 INVITE\r\n";
    bench.feed(&request("PRACK", "3000", 2, &tag, "p", rack, None));
    assert_eq!(bench.start_lines(), ["SIP/2.0 481 Call Does Not Exist"]);
}

#[test]
fn a_reliable_response_of_the_callee_gets_its_prack_in_order() {
    let mut bench = Bench::new();
    let invite = bench.dialled();
    assert!(header(&invite, "Supported").unwrap().contains("100rel"));
    let first = answered_by("callee", &invite, "180 Ringing", RELIABLE, None);
    bench.feed(&first);
    let prack = bench.only();
    assert!(
        prack.starts_with("PRACK sip:or-1@192.0.2.7:5070 SIP/2.0"),
        "{prack}"
    );
    assert_eq!(header(&prack, "RAck"), Some("7 1 INVITE"));
    assert_eq!(header(&prack, "CSeq"), Some("2 PRACK"));
    assert!(header(&prack, "To").unwrap().ends_with(";tag=callee"));
    bench.feed(&first);
    bench.feed(&first.replace("RSeq: 7", "RSeq: 9"));
    assert!(
        bench.sent.is_empty(),
        "neither the same again nor one with a gap before it"
    );
    bench.feed(&respond(&prack, "200 OK", "", None));
    bench.feed(&first.replace("RSeq: 7", "RSeq: 8"));
    let prack = bench.only();
    assert_eq!(header(&prack, "RAck"), Some("8 1 INVITE"));
    // Another callee counts for itself.
    bench.feed(&answered_by(
        "other",
        &invite,
        "183 Session Progress",
        RELIABLE,
        None,
    ));
    let prack = bench.only();
    assert!(header(&prack, "To").unwrap().ends_with(";tag=other"));
    assert_eq!(header(&prack, "CSeq"), Some("2 PRACK"));
    bench.take_events();
    // A PRACK that is refused does not end the call, and its numbers go on.
    bench.feed(&respond(&prack, "481 What", "", None));
    bench.feed(&answered(&invite, "200 OK", Some(ANSWER)));
    assert_eq!(bench.take_events().len(), 2);
    bench.command(CallCommand::Hangup { call: CALL });
    let bye = bench.take_sent().pop().unwrap();
    assert_eq!(header(&bye, "CSeq"), Some("4 BYE"), "after two PRACKs");
}

#[test]
fn an_answer_in_a_reliable_response_counts_and_the_200_needs_none() {
    for in_ok in [None, Some(OFFER)] {
        let mut bench = Bench::new();
        let invite = bench.dialled();
        let progress = "183 Session Progress";
        bench.feed(&answered_by(
            "callee",
            &invite,
            progress,
            RELIABLE,
            Some(ANSWER),
        ));
        bench.take_sent();
        bench.take_events();
        bench.feed(&answered(&invite, "200 OK", in_ok));
        assert!(bench.only().starts_with("ACK "));
        let sdp = Redacted(ANSWER.to_owned());
        let up = [
            CallEvent::Answered { call: CALL, sdp },
            CallEvent::Established { call: CALL },
        ];
        assert_eq!(bench.take_events(), up);
    }
    // One that is not reliable does not count (RFC 3261 §13.2.1).
    let mut bench = Bench::new();
    let invite = bench.dialled();
    bench.feed(&answered(&invite, "183 Session Progress", Some(ANSWER)));
    bench.take_events();
    bench.feed(&answered(&invite, "200 OK", None));
    bench.ended(CALL, EndReason::ProtocolError);
}

#[test]
fn requests_of_a_callee_that_rings_are_answered_within_its_dialog() {
    let mut bench = Bench::new();
    let invite = bench.dialled();
    bench.feed(&of_callee("callee", &invite, "UPDATE", 1, None));
    assert_eq!(
        bench.start_lines(),
        ["SIP/2.0 481 Call Does Not Exist"],
        "it has not rung"
    );
    bench.feed(&answered(&invite, "180 Ringing", None));
    bench.take_events();
    bench.feed(&of_callee("callee", &invite, "UPDATE", 2, None));
    let ok = bench.only();
    assert!(
        ok.starts_with("SIP/2.0 200 OK") && header(&ok, "Contact").is_some(),
        "{ok}"
    );
    bench.feed(&of_callee("callee", &invite, "UPDATE", 3, Some(OFFER)));
    assert_eq!(bench.start_lines(), ["SIP/2.0 491 Request Pending"]);
    bench.feed(&of_callee("callee", &invite, "OPTIONS", 3, None));
    assert_eq!(bench.start_lines(), ["SIP/2.0 500 CSeq Out Of Order"]);
    bench.feed(&of_callee("thief", &invite, "UPDATE", 4, None));
    assert_eq!(bench.start_lines(), ["SIP/2.0 481 Call Does Not Exist"]);
    assert_eq!(bench.take_events(), []);
    bench.feed(&answered(&invite, "200 OK", Some(ANSWER)));
    bench.take_sent();
    bench.take_events();
    // Its numbers go on after the answer.
    bench.feed(&of_callee("callee", &invite, "INFO", 3, None));
    assert_eq!(bench.start_lines(), ["SIP/2.0 500 CSeq Out Of Order"]);
    bench.feed(&of_callee("callee", &invite, "BYE", 4, None));
    bench.ended(CALL, EndReason::Remote);
}

#[test]
fn a_reliable_response_to_a_later_offer_of_ours_gets_its_prack_too() {
    let mut bench = Bench::new();
    let (call, _) = bench.up();
    bench.command(CallCommand::Offer {
        call,
        sdp: Redacted(ANSWER.to_owned()),
    });
    let invite = bench.only();
    let progress = respond(&invite, "183 Session Progress", RELIABLE, Some(OFFER));
    bench.feed(&progress);
    let prack = bench.only();
    assert_eq!(header(&prack, "RAck"), Some("7 1 INVITE"));
    assert_eq!(header(&prack, "CSeq"), Some("2 PRACK"));
    bench.feed(&progress);
    assert!(bench.sent.is_empty());
    bench.feed(&respond(&prack, "200 OK", "", None));
    bench.feed(&respond(&invite, "200 OK", "", None));
    assert!(bench.only().starts_with("ACK "));
    let sdp = Redacted(OFFER.to_owned());
    assert_eq!(bench.take_events(), [CallEvent::Answered { call, sdp }]);
}

/// Each took a transaction and a PRACK, as many as the peer liked.
#[test]
fn reliable_responses_to_a_later_offer_are_bounded() {
    let mut bench = Bench::new();
    let (call, _) = bench.up();
    bench.command(CallCommand::Offer {
        call,
        sdp: Redacted(ANSWER.to_owned()),
    });
    let invite = bench.only();
    let mut pracks = 0;
    for number in 7..70 {
        let headers = format!("Require: 100rel\r\nRSeq: {number}\r\n");
        bench.feed(&respond(&invite, "183 Session Progress", &headers, None));
        for prack in bench.take_sent() {
            assert!(prack.starts_with("PRACK "), "{prack}");
            pracks += 1;
            bench.feed(&respond(&prack, "200 OK", "", None));
        }
    }
    assert_eq!(pracks, 32);
    bench.feed(&respond(&invite, "200 OK", "", Some(OFFER)));
    assert!(bench.only().starts_with("ACK "));
}
