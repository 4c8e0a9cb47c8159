//! TCP: framing, keep-alives, broken and lost connections.

use std::collections::HashSet;

use super::*;

fn over_tcp(text: &str) -> String {
    text.replace("SIP/2.0/UDP", "SIP/2.0/TCP").replace(
        "Contact: <sip:or-1@192.0.2.7:5060>",
        "Contact: <sip:or-1@192.0.2.7:5060;transport=tcp>",
    )
}

fn up(bench: &mut Bench) -> (CallId, String) {
    let invite = request("INVITE", "3000", 1, "", "a", "", Some(OFFER));
    bench.feed(&over_tcp(&invite));
    let call = bench.incoming();
    bench.take_sent();
    let ok = bench.accept(call);
    let contact = Some("<sip:3000@192.0.2.1:5060;transport=tcp>;isfocus");
    assert_eq!(header(&ok, "Contact"), contact);
    let ack = request("ACK", "3000", 1, &tag_of(&ok), "a2", "", None);
    bench.feed(&over_tcp(&ack));
    assert_eq!(bench.take_events(), [CallEvent::Established { call }]);
    (call, tag_of(&ok))
}

#[test]
fn a_call_over_tcp_in_small_pieces() {
    let mut bench = Bench::new().over(tcp(3));
    let invite = over_tcp(&request("INVITE", "3000", 1, "", "a", "", Some(OFFER)));
    for piece in invite.as_bytes().chunks(7) {
        bench.feed_bytes(piece);
    }
    let call = bench.incoming();
    let ok = bench.accept(call);
    // The 2xx is resent on streams too, other responses are not (RFC 3261 §13.3.1.4, §17.2.1).
    bench.pass(seconds(1));
    assert_eq!(bench.sent, [(tcp(3), ok)]);
}

#[test]
fn two_requests_in_one_piece_are_two_and_a_ping_gets_its_pong() {
    let mut bench = Bench::new().over(tcp(3));
    let one = over_tcp(&request("OPTIONS", "3000", 1, "", "o", "", None));
    let two = over_tcp(&request("OPTIONS", "3000", 2, "", "p", "", None));
    bench.feed(&format!("\r\n\r\n{one}\r\n\r\n{two}"));
    let sent = bench.take_sent();
    assert_eq!(sent.len(), 4);
    assert_eq!((sent[0].as_str(), sent[2].as_str()), ("\r\n", "\r\n"));
    assert!(sent[1].starts_with("SIP/2.0 200") && sent[3].starts_with("SIP/2.0 200"));
}

#[test]
fn wrong_lengths_are_answered_and_the_connection_closed() {
    let invite = over_tcp(&request("INVITE", "3000", 1, "", "a", "", Some(OFFER)));
    let length = format!("Content-Length: {}", OFFER.len());
    for wrong in [
        "Content-Length: -5",
        "Content-Length: 12x",
        "X-Length: 9",
        "Content-Length: 70000",
    ] {
        let mut bench = Bench::new().over(tcp(3));
        bench.feed(&invite.replace(&length, wrong));
        let refusal = bench.only();
        let expected = match wrong.ends_with("70000") {
            true => "SIP/2.0 513 ",
            false => "SIP/2.0 400 ",
        };
        assert!(refusal.starts_with(expected), "{wrong}: {refusal}");
        assert_eq!(bench.closed, [FlowId(3)]);
        assert_eq!(bench.endpoint.load(), crate::Load::default());
    }
}

#[test]
fn a_length_above_the_body_is_answered_after_32_seconds() {
    let mut bench = Bench::new().over(tcp(3));
    let length = format!("Content-Length: {}", OFFER.len());
    let invite = over_tcp(&request("INVITE", "3000", 1, "", "a", "", Some(OFFER)));
    bench.feed(&invite.replace(&length, "Content-Length: 900"));
    bench.pass(Duration::from_millis(31_999));
    assert!(bench.sent.is_empty() && bench.closed.is_empty());
    bench.pass(Duration::from_millis(1));
    assert!(bench.only().starts_with("SIP/2.0 400 Message Never Ended"));
    assert_eq!(bench.closed, [FlowId(3)]);
}

#[test]
fn a_length_below_the_body_ends_in_a_closed_connection() {
    let mut bench = Bench::new().over(tcp(3));
    let length = format!("Content-Length: {}", OFFER.len());
    let invite = over_tcp(&request("INVITE", "3000", 1, "", "a", "", Some(OFFER)));
    bench.feed(&invite.replace(&length, "Content-Length: 10"));
    bench.incoming();
    bench.pass(seconds(32));
    assert_eq!(bench.closed, [FlowId(3)]);
}

#[test]
fn endless_heads_and_surplus_connections_are_cut_off() {
    let mut bench = Bench::new().over(tcp(3));
    bench.feed(&"x".repeat(200_000));
    assert_eq!(bench.closed, [FlowId(3)]);
    let mut bench = Bench::with(Config {
        max_connections: 1,
        ..config()
    });
    bench.flow = tcp(3);
    bench.feed("\r\n\r\n");
    bench.flow = tcp(4);
    bench.feed("\r\n\r\n");
    assert_eq!(bench.closed, [FlowId(4)]);
    assert_eq!(bench.endpoint.load().connections, 1);
}

#[test]
fn an_idle_connection_is_closed_unless_a_call_uses_it() {
    let mut bench = Bench::new().over(tcp(3));
    let (call, _) = up(&mut bench);
    bench.flow = tcp(4);
    bench.feed("\r\n\r\n");
    bench.pass(seconds(4_000));
    assert_eq!(bench.closed, [FlowId(4)]);
    bench.command(CallCommand::Hangup { call });
    assert!(bench.sent.last().unwrap().1.starts_with("BYE "));
}

#[test]
fn a_call_outlives_its_connection_and_asks_for_a_new_one_when_it_must_speak() {
    let mut bench = Bench::new().over(tcp(3));
    let (call, _) = up(&mut bench);
    bench.close(FlowId(3));
    assert!(bench.take_events().is_empty());
    bench.command(CallCommand::Hangup { call });
    let wanted = bench.connects.pop().unwrap();
    assert_eq!(wanted.id, FlowId::FIRST_OUTBOUND);
    assert_eq!(
        wanted.remote,
        address("192.0.2.7:5060"),
        "the port of its Contact"
    );
    let (flow, bye) = bench.sent.pop().unwrap();
    assert_eq!(flow, wanted);
    assert!(bye.starts_with("BYE sip:or-1@192.0.2.7:5060;transport=tcp"));
    bench.flow = wanted;
    bench.feed(&respond(&bye, "200 OK", "", None));
    bench.pass(seconds(40));
    assert!(bench.take_sent().is_empty());
}

#[test]
fn a_peer_that_comes_back_on_a_new_connection_is_heard_and_answered_there() {
    let mut bench = Bench::new().over(tcp(3));
    let (call, tag) = up(&mut bench);
    bench.close(FlowId(3));
    bench.flow = tcp(5);
    bench.feed(&over_tcp(&request(
        "UPDATE", "3000", 2, &tag, "b", "", None,
    )));
    assert_eq!(bench.sent.pop().unwrap().0, tcp(5));
    assert_eq!(bench.endpoint.flow_of(call), Some(tcp(5)));
    bench.command(CallCommand::RequestKeyFrame { call });
    assert_eq!(bench.sent.pop().unwrap().0, tcp(5));
    assert!(bench.connects.is_empty());
}

#[test]
fn a_new_connection_that_fails_ends_the_call() {
    let mut bench = Bench::new().over(tcp(3));
    let (call, _) = up(&mut bench);
    bench.close(FlowId(3));
    bench.command(CallCommand::Offer {
        call,
        sdp: Redacted(ANSWER.to_owned()),
    });
    let wanted = bench.connects.pop().unwrap();
    bench.close(wanted.id);
    bench.ended(call, EndReason::Timeout);
}

#[test]
fn a_call_that_rings_ends_with_its_connection() {
    let mut bench = Bench::new().over(tcp(3));
    let invite = request("INVITE", "3000", 1, "", "a", "", Some(OFFER));
    bench.feed(&over_tcp(&invite));
    let call = bench.incoming();
    bench.close(FlowId(3));
    bench.ended(call, EndReason::Cancelled);
    assert_eq!(bench.endpoint.load(), crate::Load::default());
}

#[test]
fn a_connection_is_in_use_while_a_call_or_a_registered_contact_needs_it() {
    let mut bench = Bench::new().over(tcp(3));
    let ping = |bench: &mut Bench| bench.feed("\r\n\r\n");
    ping(&mut bench);
    let in_use = |bench: &Bench| bench.endpoint.connections_in_use(bench.now);
    assert_eq!(in_use(&bench), HashSet::new());
    let (call, _) = up(&mut bench);
    bench.flow = Flow {
        remote: address("192.0.2.8:40002"),
        ..tcp(4)
    };
    ping(&mut bench);
    assert_eq!(in_use(&bench), HashSet::from([FlowId(3)]));
    bench.take_sent();
    let register = |authorization: &str| {
        format!(
            "REGISTER sip:192.0.2.1 SIP/2.0\r\n\
             Via: SIP/2.0/TCP 192.0.2.8:5060;branch=z9hG4bKr{}\r\n\
             From: <sip:or-1@192.0.2.1>;tag=r\r\nTo: <sip:or-1@192.0.2.1>\r\n\
             Call-ID: reg@192.0.2.8\r\nCSeq: 1 REGISTER\r\nMax-Forwards: 70\r\nExpires: 600\r\n\
             Contact: <sip:or-1@192.0.2.8:5060;transport=tcp>\r\n{authorization}\
             Content-Length: 0\r\n\r\n",
            authorization.len()
        )
    };
    bench.feed(&register(""));
    let challenge = bench.only();
    let answer = accounts::respond_to(&challenge, "MD5", "or-1", "s3cret", "REGISTER", 1);
    bench.feed(&register(&format!("Authorization: {answer}\r\n")));
    assert!(bench.only().starts_with("SIP/2.0 200"));
    assert_eq!(in_use(&bench), HashSet::from([FlowId(3), FlowId(4)]));
    bench.command(CallCommand::Hangup { call });
    bench.pass(seconds(40));
    assert_eq!(in_use(&bench), HashSet::from([FlowId(4)]));
    bench.pass(seconds(600));
    assert_eq!(in_use(&bench), HashSet::new());
}

/// RFC 7118 §5: nothing is carried over from one message of a WebSocket to the next.
#[test]
fn each_message_of_a_web_socket_is_one_of_sip() {
    let flow = Flow {
        transport: Transport::Ws,
        ..tcp(9)
    };
    let mut bench = Bench::new().over(flow);
    let options = |branch| {
        let text = request("OPTIONS", "3000", 1, "", branch, "", None);
        text.replace("SIP/2.0/UDP 192.0.2.7:5060", "SIP/2.0/WS a1b2.invalid")
    };
    bench.feed(&options("a").replace("Content-Length: 0\r\n", ""));
    let ok = bench.only();
    assert!(ok.starts_with("SIP/2.0 200"), "{ok}");
    assert!(
        header(&ok, "Via").unwrap().contains("received=192.0.2.7"),
        "{ok}"
    );
    bench.feed("\r\n\r\n");
    assert_eq!(bench.only(), "\r\n");
    bench.feed("\r\n");
    bench.feed("INVITE sip:3000@192.0.2.1 SIP/2.0\r\n");
    bench.take_sent();
    bench.feed(&options("b"));
    assert!(bench.only().starts_with("SIP/2.0 200"));
    assert!(bench.closed.is_empty());
}

/// Whoever knew the dialog had the keys of its media sent to itself in clear.
#[test]
fn a_call_inside_tls_does_not_go_on_in_clear() {
    let tls = Flow {
        transport: Transport::Tls,
        ..tcp(7)
    };
    let mut bench = Bench::new().over(tls);
    let (call, tag) = bench.up();
    for flow in [udp(), tcp(9)] {
        bench.flow = flow;
        bench.feed(&request("BYE", "3000", 2, &tag, "b", "", None));
        assert_eq!(bench.start_lines(), ["SIP/2.0 403 Forbidden"]);
    }
    assert!(bench.take_events().is_empty());
    assert_eq!(bench.endpoint.flow_of(call), Some(tls));
    // By another connection inside TLS it does.
    bench.flow = Flow {
        transport: Transport::Tls,
        ..tcp(10)
    };
    bench.feed(&request("INFO", "3000", 2, &tag, "i", "", None));
    assert_eq!(bench.start_lines(), ["SIP/2.0 200 OK"]);
    assert_eq!(bench.endpoint.flow_of(call), Some(bench.flow));
}
