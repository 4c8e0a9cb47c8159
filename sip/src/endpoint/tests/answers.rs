//! What is answered without a call.

use super::*;

#[test]
fn options_tells_what_is_served() {
    let mut bench = Bench::new();
    bench.feed(&request("OPTIONS", "3000", 1, "", "o", "", None));
    let ok = bench.only();
    assert!(ok.starts_with("SIP/2.0 200 OK"));
    let allow = header(&ok, "Allow").unwrap();
    for method in [
        "INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "REGISTER", "INFO", "PRACK", "UPDATE",
    ] {
        assert!(allow.contains(method), "{method}");
    }
    assert_eq!(header(&ok, "Accept"), Some("application/sdp"));
    assert_eq!(
        header(&ok, "Supported"),
        Some("100rel, norefersub, replaces, timer")
    );
    assert_eq!(header(&ok, "Content-Length"), Some("0"));
    let (_, tag) = bench.up();
    bench.feed(&request("OPTIONS", "3000", 2, &tag, "p", "", None));
    assert_eq!(bench.start_lines(), ["SIP/2.0 200 OK"]);
}

/// Method, status, and a header of the answer with a part of its value.
const METHODS: &[(&str, u16, &str, &str)] = &[
    ("REFER", 403, "To", "tag="),
    ("PRACK", 481, "To", "tag="),
    ("DANCE", 501, "Allow", "INVITE, ACK"),
    ("BYE", 481, "To", "tag="),
    ("INFO", 481, "To", "tag="),
    ("UPDATE", 481, "To", "tag="),
];

const HOPS: &str = "Max-Forwards: 70";

/// What is changed in a good INVITE, status, and a header of the answer with a part of its value.
const CHANGES: &[(&str, &str, u16, &str, &str)] = &[
    ("SIP/2.0\r\nVia", "SIP/3.0\r\nVia", 505, "To", "tag="),
    (
        "sip:3000@192.0.2.1 ",
        "ftp:3000@192.0.2.1 ",
        416,
        "To",
        "tag=",
    ),
    (HOPS, "Max-Forwards: 0", 483, "To", "tag="),
    (HOPS, "Max-Forwards: x", 400, "To", "tag="),
    (HOPS, "Require: gruu, timer", 420, "Unsupported", "gruu"),
    (
        "application/sdp",
        "text/html",
        415,
        "Accept",
        "application/sdp",
    ),
    (
        HOPS,
        "Content-Encoding: gzip",
        415,
        "Accept-Encoding",
        "identity",
    ),
    (HOPS, "Accept: text/plain", 406, "Accept", "application/sdp"),
    ("CSeq: 1 INVITE", "CSeq: 1 BYE", 400, "To", "tag="),
    (
        "CSeq: 1 INVITE",
        "CSeq: 4294967296 INVITE",
        400,
        "To",
        "tag=",
    ),
    ("From: ", "Form: ", 400, "To", "tag="),
];

fn refused(message: &str, status: u16, name: &str, value: &str) {
    let mut bench = Bench::new();
    bench.feed(message);
    bench.feed(message);
    let sent = bench.take_sent();
    assert_eq!(sent.len(), 2, "{message}");
    assert_eq!(sent[0], sent[1]);
    let start = format!("SIP/2.0 {status} ");
    assert!(sent[0].starts_with(&start), "{status}: {}", sent[0]);
    let found = header(&sent[0], name).unwrap_or_default();
    assert!(found.contains(value), "{}", sent[0]);
    assert_eq!(bench.endpoint.load(), crate::Load::default());
    assert!(bench.events.is_empty());
}

#[test]
fn refusals_leave_no_state_and_repeat_themselves_word_for_word() {
    for (method, status, name, value) in METHODS {
        let message = request(method, "3000", 1, "", "a", "", None);
        refused(&message, *status, name, value);
    }
    let good = request("INVITE", "3000", 1, "", "a", "", Some(OFFER));
    for (from, to, status, name, value) in CHANGES {
        refused(&good.replace(from, to), *status, name, value);
    }
}

#[test]
fn the_order_of_requests_within_a_call_is_kept() {
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    bench.feed(&request("INFO", "3000", 7, &tag, "b", "", None));
    bench.feed(&request("INFO", "3000", 6, &tag, "c", "", None));
    bench.feed(&request("BYE", "3000", 7, &tag, "d", "", None));
    let out_of_order = "SIP/2.0 500 CSeq Out Of Order";
    assert_eq!(
        bench.start_lines(),
        ["SIP/2.0 200 OK", out_of_order, out_of_order]
    );
    bench.feed(&request("BYE", "3000", 8, &tag, "e", "", None));
    bench.ended(call, EndReason::Remote);
}

#[test]
fn requests_with_a_foreign_tag_or_call_id_are_481() {
    let mut bench = Bench::new();
    let (_, tag) = bench.up();
    let bye = request("BYE", "3000", 2, &tag, "b", "", None);
    for (from, to) in [
        ("tag=peer", "tag=thief"),
        ("one@", "two@"),
        (tag.as_str(), "guess"),
    ] {
        bench.feed(&bye.replace(from, to));
        assert_eq!(bench.start_lines(), ["SIP/2.0 481 Call Does Not Exist"]);
    }
    assert!(bench.events.is_empty());
}

#[test]
fn a_full_house_of_transactions_is_answered_503_without_state() {
    let mut bench = Bench::with(Config {
        max_transactions: 1,
        ..config()
    });
    let (_, tag) = bench.up();
    let load = bench.endpoint.load();
    bench.feed(&request("INFO", "3000", 2, &tag, "b", "", None));
    assert!(bench.only().starts_with("SIP/2.0 503 "));
    assert_eq!(bench.endpoint.load(), load);
}

#[test]
fn messages_above_the_bound_are_513() {
    let mut bench = Bench::with(Config {
        max_message_bytes: 2_000,
        ..config()
    });
    let large = "x".repeat(2_000);
    bench.feed(&request("INVITE", "3000", 1, "", "a", "", Some(&large)));
    assert!(bench.only().starts_with("SIP/2.0 513 "));
    assert!(bench.events.is_empty());
}

#[test]
fn noise_is_not_answered() {
    let mut bench = Bench::new();
    for noise in [
        &b"\r\n\r\n"[..],
        b"\0\0\0\0",
        b"",
        b"hello",
        b"\x80\x60\x00\x01",
        b"ACK x\r\n\r\n",
    ] {
        bench.feed_bytes(noise);
    }
    assert!(bench.sent.is_empty() && bench.events.is_empty());
}

#[test]
fn a_thousand_calls_leave_nothing_behind() {
    let mut bench = Bench::new();
    for number in 0..1_000 {
        let id = format!("{number}@");
        let name = |text: String| {
            text.replace("one@", &id)
                .replace("z9hG4bK", &format!("z9hG4bK{number}"))
        };
        bench.feed(&name(request(
            "INVITE",
            "3000",
            1,
            "",
            "a",
            "",
            Some(OFFER),
        )));
        let call = bench.incoming();
        bench.take_sent();
        let tag = tag_of(&bench.accept(call));
        bench.feed(&name(request("ACK", "3000", 1, &tag, "b", "", None)));
        bench.feed(&name(request("BYE", "3000", 2, &tag, "c", "", None)));
        bench.take_events();
        bench.pass(seconds(1));
    }
    assert!(
        bench.endpoint.load().transactions <= 70,
        "{:?}",
        bench.endpoint.load()
    );
    bench.pass(seconds(33));
    assert_eq!(bench.endpoint.load(), crate::Load::default());
    assert_eq!(bench.endpoint.next_timeout(), None);
}
