//! Calls and registrations over the death of the process (MCU-20).

use super::*;

const DEAD: Duration = Duration::from_secs(2);

fn reinvite(cseq: u32, tag: &str, branch: &str) -> String {
    request("INVITE", "3000", cseq, tag, branch, "", Some(OFFER))
}

fn number(message: &str) -> u32 {
    let value = header(message, "CSeq").unwrap();
    value.split(' ').next().unwrap().parse().unwrap()
}

fn answer(call: CallId) -> CallCommand {
    let sdp = Redacted(ANSWER.to_owned());
    CallCommand::Answer { call, sdp }
}

fn offer(call: CallId) -> CallCommand {
    let sdp = Redacted(ANSWER.to_owned());
    CallCommand::Offer { call, sdp }
}

#[test]
fn a_restart_says_nothing_and_the_peers_bye_ends_the_call() {
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    bench.restart(DEAD);
    assert!(bench.sent.is_empty() && bench.events.is_empty());
    assert!(bench.endpoint.has_call(call));
    bench.feed(&request("BYE", "3000", 2, &tag, "b", "", None));
    assert!(bench.only().starts_with("SIP/2.0 200 OK"));
    bench.ended(call, EndReason::Remote);
    bench.pass(seconds(60));
    assert_eq!(bench.endpoint.load(), crate::Load::default());
}

#[test]
fn our_bye_goes_on_in_the_dialog() {
    let mut bench = Bench::new();
    let routes = "Record-Route: <sip:192.0.2.99;lr>, <sip:192.0.2.98;lr>\r\n";
    let (call, tag) = bench.up_with(routes);
    bench.command(CallCommand::RequestKeyFrame { call });
    let before = bench.sent.pop().unwrap();
    bench.feed(&respond(&before.1, "200 OK", "", None));
    bench.restart(DEAD);
    bench.command(CallCommand::Hangup { call });
    let (flow, bye) = bench.sent.pop().unwrap();
    assert_eq!(flow, before.0);
    let same = ["From", "To", "Call-ID", "Route", "Max-Forwards"];
    for name in same {
        assert_eq!(header(&bye, name), header(&before.1, name), "{name}");
    }
    assert!(
        header(&bye, "From")
            .unwrap()
            .ends_with(&format!("tag={tag}"))
    );
    assert!(bye.starts_with("BYE sip:or-1@192.0.2.7:5060 SIP/2.0"));
    assert!(number(&bye) > number(&before.1));
    bench.ended(call, EndReason::Local);
    bench.feed(&respond(&bye, "200 OK", "", None));
    assert!(!bench.endpoint.awaits_answers());
}

#[test]
fn foreign_tags_and_older_numbers_are_refused_as_before() {
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    bench.feed(&request("INFO", "3000", 7, &tag, "i", "", None));
    bench.take_sent();
    bench.restart(DEAD);
    bench.feed(&request("BYE", "3000", 8, "other", "b", "", None));
    assert_eq!(bench.start_lines(), ["SIP/2.0 481 Call Does Not Exist"]);
    let bye = request("BYE", "3000", 8, &tag, "c", "", None);
    bench.feed(&bye.replace("tag=peer", "tag=else"));
    assert_eq!(bench.start_lines(), ["SIP/2.0 481 Call Does Not Exist"]);
    bench.feed(&request("BYE", "3000", 6, &tag, "d", "", None));
    assert_eq!(bench.start_lines(), ["SIP/2.0 500 CSeq Out Of Order"]);
    assert!(bench.endpoint.has_call(call) && bench.events.is_empty());
}

#[test]
fn a_request_whose_answer_died_with_the_process_is_answered_once_more() {
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    bench.feed(&reinvite(2, &tag, "r"));
    bench.take_events();
    bench.command(answer(call));
    bench.take_sent();
    bench.restart(DEAD);
    bench.restart(DEAD);
    bench.feed(&reinvite(2, &tag, "r"));
    let sdp = Some(Redacted(OFFER.to_owned()));
    assert_eq!(bench.take_events(), [CallEvent::Reoffer { call, sdp }]);
    bench.command(answer(call));
    let sent = bench.start_lines();
    assert_eq!(sent, ["SIP/2.0 200 OK"]);
    bench.feed(&request("ACK", "3000", 2, &tag, "r2", "", None));
    bench.feed(&request("INFO", "3000", 2, &tag, "i", "", None));
    assert_eq!(bench.start_lines(), ["SIP/2.0 500 CSeq Out Of Order"]);
}

#[test]
fn both_sides_can_offer_anew() {
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    bench.restart(DEAD);
    bench.feed(
        &reinvite(2, &tag, "r")
            .replace("or-1@192.0.2.7:5060>\r\nMax", "or-1@192.0.2.7:5070>\r\nMax"),
    );
    let sdp = Some(Redacted(OFFER.to_owned()));
    assert_eq!(bench.take_events(), [CallEvent::Reoffer { call, sdp }]);
    bench.take_sent();
    bench.command(answer(call));
    let ok = bench.only();
    assert_eq!(tag_of(&ok), tag);
    assert_eq!(
        header(&ok, "Contact"),
        Some("<sip:3000@192.0.2.1:5060>;isfocus")
    );
    bench.feed(&request("ACK", "3000", 2, &tag, "r2", "", None));

    // The target that was refreshed holds over the next death.
    bench.restart(DEAD);
    bench.command(offer(call));
    let (flow, invite) = bench.sent.pop().unwrap();
    assert!(
        invite.starts_with("INVITE sip:or-1@192.0.2.7:5070 "),
        "{invite}"
    );
    assert_eq!(flow.remote, address("192.0.2.7:5070"));
    bench.feed(&respond(&invite, "200 OK", "", Some(OFFER)));
    assert!(bench.only().starts_with("ACK "));
    let sdp = Redacted(OFFER.to_owned());
    assert_eq!(bench.take_events(), [CallEvent::Answered { call, sdp }]);
}

#[test]
fn a_2xx_to_an_offer_of_the_life_before_is_acknowledged() {
    let mut bench = Bench::new();
    let (call, _) = bench.up();
    bench.command(offer(call));
    let invite = bench.only();
    bench.restart(DEAD);
    let ok = respond(&invite, "200 OK", "", Some(OFFER));
    for _ in 0..2 {
        bench.feed(&ok);
        let ack = bench.only();
        assert!(ack.starts_with("ACK sip:or-1@192.0.2.7:5060 "), "{ack}");
        assert_eq!(number(&ack), number(&invite));
    }
    bench.feed(&ok.replace("one@192.0.2.7", "two@192.0.2.7"));
    assert!(bench.sent.is_empty() && bench.events.is_empty());
    assert!(bench.endpoint.has_call(call));
}

#[test]
fn a_peer_that_refreshes_has_the_rest_of_its_time() {
    let asks = "Supported: timer\r\nSession-Expires: 90\r\n";
    let mut bench = Bench::new();
    let (call, _) = bench.up_with(asks);
    bench.pass(seconds(20));
    bench.restart(seconds(10));
    bench.pass(Duration::from_millis(29_999));
    assert!(bench.events.is_empty());
    bench.pass(Duration::from_millis(1));
    bench.ended(call, EndReason::Timeout);
    assert!(bench.only().starts_with("BYE "));
}

#[test]
fn a_refresh_of_the_peer_after_the_restart_counts() {
    let asks = "Supported: timer\r\nSession-Expires: 90\r\n";
    let mut bench = Bench::new();
    let (_, tag) = bench.up_with(asks);
    bench.pass(seconds(30));
    bench.restart(seconds(10));
    bench.feed(&request("UPDATE", "3000", 2, &tag, "b", asks, None));
    let ok = bench.only();
    assert_eq!(header(&ok, "Session-Expires"), Some("90;refresher=uac"));
    bench.pass(seconds(59));
    assert!(bench.events.is_empty());
}

/// A calendar that was set forward, or a refresh that was lost while nobody was here.
#[test]
fn a_session_that_seems_over_begins_anew() {
    let asks = "Supported: timer\r\nSession-Expires: 90\r\n";
    let mut bench = Bench::new();
    let (call, _) = bench.up_with(asks);
    bench.restart(seconds(1_000));
    bench.pass(Duration::from_millis(59_999));
    assert!(bench.events.is_empty());
    bench.pass(Duration::from_millis(1));
    bench.ended(call, EndReason::Timeout);
}

#[test]
fn we_refresh_at_half_time_or_at_once_if_that_has_passed() {
    let asks =
        "Supported: timer\r\nSession-Expires: 100;refresher=uas\r\nAllow: INVITE, UPDATE\r\n";
    let agreed = "Session-Expires: 100;refresher=uac\r\n";
    let mut bench = Bench::new();
    let (call, _) = bench.up_with(asks);
    bench.restart(seconds(10));
    bench.pass(Duration::from_millis(39_999));
    assert!(bench.sent.is_empty());
    bench.pass(Duration::from_millis(1));
    let update = bench.only();
    assert!(update.starts_with("UPDATE "), "{update}");
    // The answer is lost with the process, so the refresh is sent again.
    bench.restart(seconds(5));
    bench.pass(Duration::ZERO);
    let update = bench.only();
    assert_eq!(
        header(&update, "Session-Expires"),
        Some("100;refresher=uac")
    );
    bench.feed(&respond(&update, "200 OK", agreed, None));
    bench.restart(seconds(1_000));
    bench.pass(Duration::ZERO);
    let update = bench.only();
    bench.feed(&respond(&update, "200 OK", agreed, None));
    bench.pass(seconds(49));
    assert!(bench.sent.is_empty() && bench.events.is_empty());
    assert!(bench.endpoint.has_call(call));
}

#[test]
fn a_peer_without_update_is_refreshed_with_the_description_that_was_kept() {
    let asks = "Supported: timer\r\nSession-Expires: 100;refresher=uas\r\n";
    let mut bench = Bench::new();
    bench.up_with(asks);
    bench.restart(seconds(10));
    bench.pass(seconds(40));
    let invite = bench.only();
    assert!(invite.starts_with("INVITE "), "{invite}");
    assert_eq!(body_of(&invite), ANSWER);
}

#[test]
fn a_caller_that_heard_nothing_calls_anew_by_repeating_its_invite() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "3000", 1, "", "a", "", Some(OFFER));
    bench.feed(&invite);
    let first = bench.incoming();
    bench.restart(DEAD);
    assert!(bench.sent.is_empty());
    bench.feed(&invite);
    let second = bench.incoming();
    assert!(bench.accept(second).starts_with("SIP/2.0 200 OK"));
    assert!(!bench.endpoint.has_call(first) || second == first);
}

#[test]
fn a_call_left_before_its_ack_is_hung_up() {
    let mut bench = Bench::new();
    bench.feed(&request("INVITE", "3000", 1, "", "a", "", Some(OFFER)));
    let call = bench.incoming();
    bench.take_sent();
    bench.accept(call);
    bench.command(CallCommand::Hangup { call });
    bench.restart(DEAD);
    assert!(bench.only().starts_with("BYE "));
    assert!(!bench.endpoint.has_call(call));
}

#[test]
fn peers_behind_a_nat_are_reached_by_their_flow() {
    let mut bench = Bench::new();
    bench.flow.remote = address("203.0.113.9:40123");
    let (call, _) = bench.up();
    bench.restart(DEAD);
    bench.command(CallCommand::Hangup { call });
    assert_eq!(bench.sent.pop().unwrap().0, bench.flow);
}

#[test]
fn over_tcp_a_new_connection_is_opened_when_there_is_something_to_say() {
    let over_tcp = |text: &str| {
        text.replace("SIP/2.0/UDP", "SIP/2.0/TCP")
            .replace(":5060>\r\nMax", ":5060;transport=tcp>\r\nMax")
    };
    let mut bench = Bench::new().over(tcp(3));
    bench.feed(&over_tcp(&request(
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
    bench.feed(&over_tcp(&request("ACK", "3000", 1, &tag, "a2", "", None)));
    bench.take_events();
    bench.restart(DEAD);
    // Somebody else has the number of the connection that died.
    bench.feed("\r\n\r\n");
    bench.take_sent();
    assert!(bench.connects.is_empty());
    bench.command(CallCommand::RequestKeyFrame { call });
    let wanted = bench.connects.pop().unwrap();
    assert!(wanted.id >= FlowId::FIRST_OUTBOUND);
    assert_eq!(wanted.remote, address("192.0.2.7:5060"));
    let (flow, info) = bench.sent.pop().unwrap();
    assert_eq!(flow, wanted);
    assert!(info.starts_with("INFO sip:or-1@192.0.2.7:5060;transport=tcp"));
    // The peer opens one of its own, and is answered there.
    bench.restart(DEAD);
    bench.flow = tcp(5);
    bench.feed(&over_tcp(&request("BYE", "3000", 2, &tag, "b", "", None)));
    let (flow, ok) = bench.sent.pop().unwrap();
    assert_eq!(flow, tcp(5));
    assert!(ok.starts_with("SIP/2.0 200 OK"));
    bench.ended(call, EndReason::Remote);
}

/// A call that is answered, but not acknowledged.
fn answered() -> (Bench, CallId, String) {
    let mut bench = Bench::new();
    bench.feed(&request("INVITE", "3000", 1, "", "a", "", Some(OFFER)));
    let call = bench.incoming();
    let ok = bench.accept(call);
    (bench, call, ok)
}

/// Whoever was calling when the process died had to call again.
#[test]
fn an_answer_that_was_not_acknowledged_is_sent_on_and_the_call_established() {
    let (mut bench, call, ok) = answered();
    bench.pass(seconds(3));
    bench.take_sent();
    bench.restart(DEAD);
    bench.restart(DEAD);
    assert!(bench.sent.is_empty() && bench.events.is_empty());
    // At once, after half a second and after one and a half.
    bench.pass(seconds(2));
    assert_eq!(bench.take_sent(), vec![ok.clone(); 3]);
    // The INVITE again, by a caller whose answer was lost, and who has proven nothing to this life.
    bench.feed(&request("INVITE", "3000", 1, "", "a", "", Some(OFFER)));
    assert_eq!(bench.only(), ok);
    bench.feed(&request("ACK", "3000", 1, &tag_of(&ok), "k", "", None));
    assert_eq!(bench.take_events(), [CallEvent::Established { call }]);
    bench.pass(seconds(60));
    assert!(bench.sent.is_empty());
    bench.feed(&request("BYE", "3000", 2, &tag_of(&ok), "b", "", None));
    bench.ended(call, EndReason::Remote);
}

/// Defect: whoever knew the Call-ID, the tag and the number of an INVITE was sent its answer, with the
/// keys in it (MCU-23).
#[test]
fn an_answer_goes_again_to_its_caller_alone() {
    let (mut bench, _, ok) = answered();
    bench.restart(DEAD);
    bench.pass(seconds(1));
    bench.take_sent();
    let invite = request("INVITE", "3000", 1, "", "a", "", Some(OFFER));
    for stranger in [
        Flow {
            remote: address("203.0.113.9:5060"),
            ..udp()
        },
        tcp(9),
    ] {
        bench.flow = stranger;
        bench.feed(&invite);
        assert!(!bench.take_sent().contains(&ok), "{stranger:?}");
    }
    bench.flow = udp();
    bench.feed(&invite);
    assert!(bench.take_sent().contains(&ok));
}

#[test]
fn an_answer_that_nobody_acknowledges_after_the_death_ends_the_call() {
    let (mut bench, call, _) = answered();
    bench.pass(seconds(2));
    bench.restart(DEAD);
    bench.pass(Duration::from_millis(27_999));
    assert!(bench.events.is_empty());
    bench.take_sent();
    bench.pass(Duration::from_millis(1));
    bench.ended(call, EndReason::Timeout);
    assert!(bench.only().starts_with("BYE "));

    // Whom nobody could ask any more when the process came back.
    let (mut bench, call, _) = answered();
    bench.restart(seconds(40));
    bench.pass(Duration::ZERO);
    bench.ended(call, EndReason::Timeout);
    assert!(bench.only().starts_with("BYE "));
}

/// The ACK would have to bring the answer to our offer, or has gone with the connection.
#[test]
fn other_calls_without_an_ack_get_a_bye_after_the_death() {
    for (flow, sdp) in [(udp(), None), (tcp(7), Some(OFFER))] {
        let mut bench = Bench::new().over(flow);
        bench.feed(&request("INVITE", "3000", 1, "", "a", "", sdp));
        let call = bench.incoming();
        let tag = tag_of(&bench.accept(call));
        bench.restart(DEAD);
        let bye = bench.only();
        assert!(bye.starts_with("BYE sip:or-1@192.0.2.7:5060 "), "{bye}");
        assert!(header(&bye, "From").unwrap().ends_with(&tag));
        assert!(!bench.endpoint.has_call(call) && bench.events.is_empty());
        bench.feed(&respond(&bye, "481 Call Does Not Exist", "", None));
        bench.pass(seconds(40));
        assert_eq!(bench.endpoint.load().transactions, 0);
    }
}

#[test]
fn ids_are_not_given_twice_and_the_bound_holds() {
    let mut bench = Bench::new();
    let (call, _) = bench.up();
    bench.config.max_calls = 0;
    bench.restart(DEAD);
    assert!(bench.only().starts_with("BYE "));
    assert_eq!(bench.endpoint.calls().count(), 0);
    bench.config.max_calls = 1;
    bench.restart(DEAD);
    let (next, _) = bench.up();
    assert!(next > call);
}

/// The endpoint says when there is something new to keep, and is quiet otherwise.
#[test]
fn changes_are_told() {
    let mut bench = Bench::new();
    let mut last = bench.endpoint.changes();
    let mut changed = |bench: &Bench| {
        let before = std::mem::replace(&mut last, bench.endpoint.changes());
        before != bench.endpoint.changes()
    };
    bench.feed(&request("OPTIONS", "3000", 1, "", "o", "", None));
    bench.take_sent();
    assert!(!changed(&bench));
    let (call, tag) = bench.up();
    assert!(changed(&bench));
    bench.take_sent();
    bench.feed(&request("INFO", "3000", 2, &tag, "i", "", None));
    assert!(changed(&bench), "the peer's number");
    bench.command(CallCommand::RequestKeyFrame { call });
    assert!(changed(&bench), "our number");
    bench.pass(seconds(1));
    changed(&bench);
    bench.pass(seconds(10));
    assert!(!changed(&bench), "a request that is sent again");
    bench.feed(&request("BYE", "3000", 3, &tag, "b", "", None));
    assert!(changed(&bench));
}
