//! A terminal is asked to go on elsewhere (RFC 3515, RFC 5589 §6).

use mcu_api::call::{Transfer, TransferTarget};

use super::*;
use crate::can_be_referred_to;

fn number(call: CallId, number: &str) -> CallCommand {
    let target = TransferTarget::Number(Redacted(number.to_owned()));
    CallCommand::Transfer { call, target }
}

/// Asks a terminal to call 4000; our REFER.
fn asked(bench: &mut Bench, call: CallId) -> String {
    bench.command(number(call, "4000"));
    let refer = bench.only();
    assert!(
        refer.starts_with("REFER sip:or-1@192.0.2.7:5060 "),
        "{refer}"
    );
    refer
}

/// What the terminal says of its new call.
fn notify(cseq: u32, tag: &str, event: &str, state: &str, fragment: &str) -> String {
    let headers = format!(
        "Event: {event}\r\nSubscription-State: {state}\r\n\
         Content-Type: message/sipfrag;version=2.0\r\n"
    );
    let branch = format!("n{cseq}");
    request(
        "NOTIFY",
        "3000",
        cseq,
        tag,
        &branch,
        &headers,
        Some(fragment),
    )
    .replace("Content-Type: application/sdp\r\n", "")
}

fn told(call: CallId, outcome: Transfer) -> [CallEvent; 1] {
    [CallEvent::Transferred { call, outcome }]
}

#[test]
fn a_terminal_is_asked_and_says_when_it_has_arrived() {
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    let refer = asked(&mut bench, call);
    let to = header(&refer, "Refer-To");
    assert_eq!(to, Some("<sip:4000@192.0.2.1:5060>"));
    // Our own name, without what was dialled here.
    assert_eq!(header(&refer, "Referred-By"), Some("<sip:192.0.2.1:5060>"));
    assert!(header(&refer, "Contact").unwrap().starts_with("<sip:3000@"));
    // The first NOTIFY may overtake the response (RFC 6665 §4.1.2.4).
    bench.feed(&notify(
        2,
        &tag,
        "refer",
        "active;expires=60",
        "SIP/2.0 100 Trying\r\n",
    ));
    assert_eq!(bench.start_lines(), ["SIP/2.0 200 OK"]);
    bench.feed(&respond(&refer, "202 Accepted", "", None));
    bench.feed(&notify(
        3,
        &tag,
        "refer",
        "active",
        "SIP/2.0 180 Ringing\r\n",
    ));
    assert_eq!(bench.start_lines(), ["SIP/2.0 200 OK"]);
    assert_eq!(bench.take_events(), []);
    let ended = "terminated;reason=noresource";
    bench.feed(&notify(4, &tag, "refer", ended, "SIP/2.0 200 OK\r\n"));
    assert_eq!(bench.start_lines(), ["SIP/2.0 200 OK"]);
    assert_eq!(bench.take_events(), told(call, Transfer::Done));
    // What comes again says nothing new, and is no reason to think the call unknown.
    bench.feed(&notify(5, &tag, "refer", ended, "SIP/2.0 603 Decline\r\n"));
    assert_eq!(bench.start_lines(), ["SIP/2.0 200 OK"]);
    assert_eq!(bench.take_events(), []);
    bench.command(CallCommand::Hangup { call });
    assert!(bench.only().starts_with("BYE "));
    bench.pass(seconds(200));
    bench.ended(call, EndReason::Local);
}

#[test]
fn a_terminal_that_refuses_or_fails_stays() {
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    for (status, code) in [
        ("405 Method Not Allowed", 405),
        ("501 Not Implemented", 501),
        ("603 Decline", 603),
        ("408 Request Timeout", 408),
    ] {
        let refer = asked(&mut bench, call);
        bench.feed(&respond(&refer, status, "", None));
        assert_eq!(bench.take_events(), told(call, Transfer::Refused(code)));
    }
    let refer = asked(&mut bench, call);
    bench.feed(&respond(&refer, "202 Accepted", "", None));
    let event = format!(
        "refer;id={}",
        header(&refer, "CSeq").unwrap().replace(" REFER", "")
    );
    bench.feed(&notify(
        2,
        &tag,
        &event,
        "active",
        "SIP/2.0 486 Busy Here\r\n",
    ));
    assert_eq!(bench.take_events(), told(call, Transfer::Failed(486)));
    bench.take_sent();
    bench.feed(&notify(
        3,
        &tag,
        &event,
        "terminated",
        "SIP/2.0 486 Busy Here\r\n",
    ));
    assert_eq!(bench.start_lines(), ["SIP/2.0 200 OK"]);
    assert_eq!(bench.take_events(), []);
    assert_eq!(bench.endpoint.load().calls, 1);
}

#[test]
fn a_terminal_that_says_nothing_is_given_up_and_heard_late_all_the_same() {
    // No response to REFER.
    let mut bench = Bench::new();
    let (call, _) = bench.up();
    asked(&mut bench, call);
    bench.pass(seconds(33));
    assert_eq!(bench.take_events(), told(call, Transfer::NoAnswer));
    assert_eq!(bench.endpoint.load().calls, 1);
    bench.take_sent();
    // None but a NOTIFY: it was taken.
    let refer = asked(&mut bench, call);
    let tag = header(&refer, "From")
        .unwrap()
        .split(";tag=")
        .nth(1)
        .unwrap();
    bench.feed(&notify(2, tag, "refer", "active", "SIP/2.0 100 Trying\r\n"));
    bench.pass(seconds(119));
    assert_eq!(bench.take_events(), []);
    bench.pass(seconds(2));
    assert_eq!(bench.take_events(), told(call, Transfer::NoAnswer));
    bench.feed(&notify(3, tag, "refer", "active", "SIP/2.0 200 OK\r\n"));
    assert_eq!(bench.take_events(), told(call, Transfer::Done));
    bench.take_sent();
    // It says that it will say nothing more.
    let refer = asked(&mut bench, call);
    bench.feed(&respond(&refer, "200 OK", "", None));
    bench.feed(&notify(
        4,
        tag,
        "refer",
        "terminated;reason=timeout",
        "SIP/2.0 180 Ringing\r\n",
    ));
    assert_eq!(bench.take_events(), told(call, Transfer::NoAnswer));
}

#[test]
fn what_no_refer_asked_for_is_refused_and_what_an_earlier_one_did_is_passed_over() {
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    let done = "SIP/2.0 200 OK\r\n";
    bench.feed(&notify(2, &tag, "refer", "active", done));
    assert_eq!(bench.start_lines(), ["SIP/2.0 481 Call Does Not Exist"]);
    bench.feed(&notify(3, &tag, "dialog", "active", done));
    assert_eq!(bench.start_lines(), ["SIP/2.0 489 Bad Event"]);
    bench.feed(&notify(1, "", "refer", "active", done));
    assert_eq!(bench.start_lines(), ["SIP/2.0 481 Call Does Not Exist"]);
    let first = asked(&mut bench, call);
    bench.feed(&respond(&first, "603 Decline", "", None));
    bench.take_events();
    let second = asked(&mut bench, call);
    assert_ne!(header(&first, "CSeq"), header(&second, "CSeq"));
    let earlier = format!(
        "refer;id={}",
        header(&first, "CSeq").unwrap().replace(" REFER", "")
    );
    bench.feed(&notify(4, &tag, &earlier, "active", done));
    assert_eq!(bench.start_lines(), ["SIP/2.0 200 OK"]);
    assert_eq!(bench.take_events(), []);
}

#[test]
fn bodies_that_are_no_fragments_say_nothing() {
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    asked(&mut bench, call);
    let fragments = [
        "",
        "SIP/2.0",
        "SIP/2.0 ",
        "SIP/2.0 2",
        "SIP/2.0 +20",
        "SIP/2.0 999 X",
        "SIP/3.0 200 OK",
        "HTTP/1.1 200 OK",
        "\r\n\r\n",
        "200",
        "SIP/2.0 099 X",
    ];
    for (cseq, fragment) in (2..).zip(fragments) {
        bench.feed(&notify(cseq, &tag, "refer", "active", fragment));
        assert_eq!(bench.take_events(), [], "{fragment:?}");
    }
    let long = "x".repeat(60_000);
    bench.feed(&notify(20, &tag, "refer", "active", &long));
    let other = notify(21, &tag, "refer", "active", "SIP/2.0 200 OK\r\n");
    bench.feed(&other.replace("message/sipfrag;version=2.0", "text/plain"));
    assert_eq!(bench.take_events(), []);
    // Without an end of line, as some write it.
    bench.feed(&notify(22, &tag, "REFER", "active", "\r\nsip/2.0 200"));
    assert_eq!(bench.take_events(), told(call, Transfer::Done));
}

#[test]
fn what_is_asked_for_cannot_break_out_of_its_header() {
    let mut bench = Bench::new();
    let (call, _) = bench.up();
    bench.command(number(call, "4000*12#\r\nX: y>"));
    let refer = bench.only();
    let to = header(&refer, "Refer-To").unwrap();
    assert_eq!(to, "<sip:4000*12%23%0D%0AX%3A%20y%3E@192.0.2.1:5060>");
    for (uri, can) in [
        ("sip:or-2@10.1.2.9", true),
        ("sips:or-2@hospital.example:5071;transport=tls", true),
        ("sip:or-2@[2001:db8::1]", true),
        ("sip:or-2@10.1.2.9?Replaces=a", false),
        ("sip:or-2@10.1.2.9>", false),
        ("sip:or-2@10.1.2.9\r\nX: y", false),
        ("tel:112", false),
        ("http://10.1.2.9", false),
        ("sip:", false),
    ] {
        assert_eq!(can_be_referred_to(uri), can, "{uri}");
    }
    assert!(!can_be_referred_to(&format!(
        "sip:{}@10.1.2.9",
        "x".repeat(2_000)
    )));
}

/// Who asked is gone with the process; the terminal that arrives is let go by the next one.
#[test]
fn what_comes_of_it_is_heard_by_the_next_life() {
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    let refer = asked(&mut bench, call);
    bench.feed(&respond(&refer, "202 Accepted", "", None));
    bench.restart(seconds(2));
    bench.feed(&notify(
        2,
        &tag,
        "refer",
        "terminated",
        "SIP/2.0 200 OK\r\n",
    ));
    assert_eq!(bench.start_lines(), ["SIP/2.0 200 OK"]);
    assert_eq!(bench.take_events(), told(call, Transfer::Done));
}

/// Defect: 481, at which some terminals end the call (RFC 5057 §5.1), where the outcome was known before
/// the restart, or the REFER had not been kept.
#[test]
fn what_the_next_life_knows_nothing_of_ends_no_call() {
    for (kept_before, outcome) in [
        (false, Transfer::Failed(486)),
        (true, Transfer::Failed(486)),
        (true, Transfer::Done),
    ] {
        let mut bench = Bench::new();
        let (call, tag) = bench.up();
        let before = bench.endpoint.save_calls(bench.now);
        let refer = asked(&mut bench, call);
        let event = format!(
            "refer;id={}",
            header(&refer, "CSeq").unwrap().replace(" REFER", "")
        );
        let fragment = match outcome {
            Transfer::Done => "SIP/2.0 200 OK\r\n",
            _ => "SIP/2.0 486 Busy Here\r\n",
        };
        if kept_before {
            bench.endpoint = Endpoint::new(bench.config.clone(), [9; 32]);
            bench.endpoint.restore_calls(bench.now, before, seconds(2));
            bench.drain();
        } else {
            bench.feed(&notify(2, &tag, &event, "active", fragment));
            bench.take_events();
            bench.restart(seconds(2));
        }
        bench.take_sent();
        bench.feed(&notify(3, &tag, &event, "terminated", fragment));
        assert_eq!(bench.start_lines(), ["SIP/2.0 200 OK"]);
        assert_eq!(bench.take_events(), told(call, outcome));
    }
}

fn event_of(refer: &str) -> String {
    let number = header(refer, "CSeq").unwrap().replace(" REFER", "");
    format!("refer;id={number}")
}

/// Defect: what came of a REFER that was not kept was passed over where an older one had been.
#[test]
fn a_later_refer_than_the_kept_one_is_heard_of() {
    let done = "SIP/2.0 200 OK\r\n";
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    let older = asked(&mut bench, call);
    bench.feed(&respond(&older, "202 Accepted", "", None));
    let before = bench.endpoint.save_calls(bench.now);
    let newer = asked(&mut bench, call);
    bench.endpoint = Endpoint::new(bench.config.clone(), [9; 32]);
    bench.endpoint.restore_calls(bench.now, before, seconds(2));
    bench.drain();
    bench.take_sent();
    bench.feed(&notify(2, &tag, &event_of(&newer), "terminated", done));
    assert_eq!(bench.start_lines(), ["SIP/2.0 200 OK"]);
    assert_eq!(bench.take_events(), told(call, Transfer::Done));
    // The older one is over.
    let failed = "SIP/2.0 486 Busy Here\r\n";
    bench.feed(&notify(3, &tag, &event_of(&older), "terminated", failed));
    assert_eq!(bench.start_lines(), ["SIP/2.0 200 OK"]);
    assert_eq!(bench.take_events(), []);
    // No number is higher than that of a REFER of this life.
    let own = asked(&mut bench, call);
    bench.feed(&notify(4, &tag, "refer;id=4294967295", "active", done));
    assert_eq!(bench.start_lines(), ["SIP/2.0 200 OK"]);
    assert_eq!(bench.take_events(), []);
    bench.feed(&notify(5, &tag, &event_of(&own), "active", done));
    assert_eq!(bench.take_events(), told(call, Transfer::Done));
}

/// Defect: it was taken for the number 0, and told the rooms that a terminal has moved.
#[test]
fn a_subscription_that_is_no_number_is_none_of_ours() {
    for id in ["x", "", "-1", "+5", "4294967296", "1 2"] {
        let mut bench = Bench::new();
        let (_, tag) = bench.up();
        bench.restart(seconds(2));
        let event = format!("refer;id={id}");
        bench.feed(&notify(2, &tag, &event, "active", "SIP/2.0 200 OK\r\n"));
        assert_eq!(bench.start_lines(), ["SIP/2.0 489 Bad Event"], "{id:?}");
        assert_eq!(bench.take_events(), [], "{id:?}");
    }
}

#[test]
fn a_connection_that_is_gone_asks_nobody() {
    let mut bench = Bench::new().over(Flow {
        transport: Transport::Tls,
        ..tcp(9)
    });
    let (call, _) = bench.up();
    bench.command(number(call, "4000"));
    let refer = bench.only();
    let to = header(&refer, "Refer-To");
    assert_eq!(to, Some("<sip:4000@192.0.2.1:5060;transport=tls>"));
    bench.close(FlowId(9));
    assert_eq!(bench.take_events(), told(call, Transfer::NoAnswer));
    assert_eq!(bench.endpoint.load().calls, 1);
}
