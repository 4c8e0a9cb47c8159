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
        "INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "REGISTER", "INFO", "UPDATE",
    ] {
        assert!(allow.contains(method), "{method}");
    }
    assert_eq!(header(&ok, "Accept"), Some("application/sdp"));
    assert_eq!(header(&ok, "Supported"), Some("timer"));
    assert_eq!(header(&ok, "Content-Length"), Some("0"));
    let (_, tag) = bench.up();
    bench.feed(&request("OPTIONS", "3000", 2, &tag, "p", "", None));
    assert_eq!(bench.start_lines(), ["SIP/2.0 200 OK"]);
}

#[test]
fn refusals_leave_no_state_and_repeat_themselves_word_for_word() {
    let changed = |from: &str, to: &str| {
        request("INVITE", "3000", 1, "", "a", "", Some(OFFER)).replace(from, to)
    };
    let other = |method: &str| request(method, "3000", 1, "", "a", "", None);
    let cases = [
        (other("REFER"), 405, "Allow", "INVITE, ACK"),
        (other("PRACK"), 405, "Allow", "INVITE, ACK"),
        (other("DANCE"), 501, "Allow", "INVITE, ACK"),
        (other("BYE"), 481, "To", "tag="),
        (other("INFO"), 481, "To", "tag="),
        (other("UPDATE"), 481, "To", "tag="),
        (
            changed("SIP/2.0\r\nVia", "SIP/3.0\r\nVia"),
            505,
            "To",
            "tag=",
        ),
        (
            changed("sip:3000@192.0.2.1 ", "ftp:3000@192.0.2.1 "),
            416,
            "To",
            "tag=",
        ),
        (
            changed("Max-Forwards: 70", "Max-Forwards: 0"),
            483,
            "To",
            "tag=",
        ),
        (
            changed("Max-Forwards: 70", "Max-Forwards: x"),
            400,
            "To",
            "tag=",
        ),
        (
            changed("Max-Forwards: 70", "Require: gruu, timer"),
            420,
            "Unsupported",
            "gruu",
        ),
        (
            changed("application/sdp", "text/html"),
            415,
            "Accept",
            "application/sdp",
        ),
        (
            changed("Max-Forwards: 70", "Content-Encoding: gzip"),
            415,
            "Accept-Encoding",
            "identity",
        ),
        (
            changed("Max-Forwards: 70", "Accept: text/plain"),
            406,
            "Accept",
            "application/sdp",
        ),
        (changed("CSeq: 1 INVITE", "CSeq: 1 BYE"), 400, "To", "tag="),
        (
            changed("CSeq: 1 INVITE", "CSeq: 4294967296 INVITE"),
            400,
            "To",
            "tag=",
        ),
        (changed("From: ", "Form: "), 400, "To", "tag="),
    ];
    for (message, status, name, value) in cases {
        let mut bench = Bench::new();
        bench.feed(&message);
        bench.feed(&message);
        let sent = bench.take_sent();
        assert_eq!(sent.len(), 2, "{message}");
        assert_eq!(sent[0], sent[1]);
        assert!(
            sent[0].starts_with(&format!("SIP/2.0 {status} ")),
            "{status}: {}",
            sent[0]
        );
        assert!(
            header(&sent[0], name).is_some_and(|found| found.contains(value)),
            "{}",
            sent[0]
        );
        assert_eq!(bench.endpoint.load(), crate::Load::default());
        assert!(bench.events.is_empty());
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
