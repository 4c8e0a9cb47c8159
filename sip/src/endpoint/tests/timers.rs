//! Session timers (RFC 4028).

use super::*;

fn up_with_timer(bench: &mut Bench, headers: &str) -> (CallId, String, String) {
    bench.feed(&request("INVITE", "3000", 1, "", "a", headers, Some(OFFER)));
    let call = bench.incoming();
    bench.take_sent();
    let ok = bench.accept(call);
    let tag = tag_of(&ok);
    bench.feed(&request("ACK", "3000", 1, &tag, "a2", "", None));
    bench.take_events();
    (call, tag, ok)
}

#[test]
fn a_peer_that_asks_refreshes_and_is_hung_up_on_when_it_stops() {
    let mut bench = Bench::new();
    let asks = "Supported: timer\r\nSession-Expires: 90\r\n";
    let (call, tag, ok) = up_with_timer(&mut bench, asks);
    assert_eq!(header(&ok, "Session-Expires"), Some("90;refresher=uac"));
    assert_eq!(header(&ok, "Require"), Some("timer"));
    bench.pass(seconds(50));
    let refresh = request("UPDATE", "3000", 2, &tag, "b", asks, None);
    bench.feed(&refresh);
    let ok = bench.only();
    assert_eq!(header(&ok, "Session-Expires"), Some("90;refresher=uac"));
    // 90 s less a third, counted from the refresh (RFC 4028 §10).
    bench.pass(Duration::from_millis(59_999));
    assert!(bench.take_events().is_empty());
    bench.pass(Duration::from_millis(1));
    bench.ended(call, EndReason::Timeout);
    assert!(bench.only().starts_with("BYE "));
}

#[test]
fn a_reinvite_refreshes_too_and_one_without_timer_ends_it() {
    let mut bench = Bench::new();
    let asks = "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n";
    let (call, tag, _) = up_with_timer(&mut bench, asks);
    bench.pass(seconds(50));
    bench.feed(&request("INVITE", "3000", 2, &tag, "b", asks, Some(OFFER)));
    bench.take_sent();
    let answer = CallCommand::Answer {
        call,
        sdp: Redacted(ANSWER.to_owned()),
    };
    bench.command(answer.clone());
    assert_eq!(
        header(&bench.only(), "Session-Expires"),
        Some("90;refresher=uac")
    );
    bench.feed(&request("ACK", "3000", 2, &tag, "b2", "", None));
    bench.take_events();
    bench.pass(seconds(40));
    bench.feed(&request("INVITE", "3000", 3, &tag, "c", "", Some(OFFER)));
    bench.command(answer);
    bench.feed(&request("ACK", "3000", 3, &tag, "c2", "", None));
    bench.take_events();
    bench.pass(seconds(10_000));
    assert!(bench.take_events().is_empty());
}

#[test]
fn a_short_interval_is_422_and_without_a_wish_there_is_no_timer() {
    let mut bench = Bench::new();
    let asks = "Supported: timer\r\nSession-Expires: 89\r\n";
    bench.feed(&request("INVITE", "3000", 1, "", "a", asks, Some(OFFER)));
    let refusal = bench.only();
    assert!(refusal.starts_with("SIP/2.0 422 "));
    assert_eq!(header(&refusal, "Min-SE"), Some("90"));
    let mut bench = Bench::new();
    let (_, _, ok) = up_with_timer(&mut bench, "Supported: timer\r\n");
    assert_eq!(header(&ok, "Session-Expires"), None);
    bench.pass(seconds(100_000));
    assert!(bench.take_events().is_empty());
}

#[test]
fn who_wants_us_to_refresh_is_refreshed_by_update_at_half_time() {
    let mut bench = Bench::new();
    let asks =
        "Supported: timer\r\nSession-Expires: 100;refresher=uas\r\nAllow: INVITE, UPDATE\r\n";
    let (call, _, ok) = up_with_timer(&mut bench, asks);
    assert_eq!(header(&ok, "Session-Expires"), Some("100;refresher=uas"));
    for _ in 0..3 {
        bench.pass(seconds(50));
        let update = bench.only();
        assert!(update.starts_with("UPDATE "), "{update}");
        assert_eq!(
            header(&update, "Session-Expires"),
            Some("100;refresher=uac")
        );
        assert_eq!(body_of(&update), "");
        let agreed = "Session-Expires: 100;refresher=uac\r\n";
        bench.feed(&respond(&update, "200 OK", agreed, None));
    }
    assert!(bench.take_events().is_empty());
    // The peer falls silent: the UPDATE times out and the call ends.
    bench.pass(seconds(50 + 32));
    bench.ended(call, EndReason::Timeout);
}

#[test]
fn a_peer_without_update_is_refreshed_by_reinvite_and_its_answer_is_passed_up() {
    let mut bench = Bench::new();
    let asks = "Supported: timer\r\nSession-Expires: 100;refresher=uas\r\n";
    let (call, _, _) = up_with_timer(&mut bench, asks);
    bench.pass(seconds(50));
    let invite = bench.only();
    assert!(invite.starts_with("INVITE "));
    assert_eq!(
        body_of(&invite),
        ANSWER,
        "the description that holds already"
    );
    let agreed = "Session-Expires: 100;refresher=uac\r\n";
    bench.feed(&respond(&invite, "200 OK", agreed, Some(OFFER)));
    assert!(bench.only().starts_with("ACK "));
    let sdp = Redacted(OFFER.to_owned());
    assert_eq!(bench.take_events(), [CallEvent::Refreshed { call, sdp }]);
    bench.pass(seconds(49));
    assert!(bench.take_sent().is_empty());
}

#[test]
fn a_refused_update_and_a_glaring_reinvite_are_tried_again_in_time() {
    let mut bench = Bench::new();
    let asks = "Supported: timer\r\nSession-Expires: 100;refresher=uas\r\nAllow: UPDATE\r\n";
    up_with_timer(&mut bench, asks);
    bench.pass(seconds(50));
    let update = bench.only();
    bench.feed(&respond(&update, "405 Method Not Allowed", "", None));
    let invite = bench.only();
    assert!(invite.starts_with("INVITE "), "{invite}");
    bench.feed(&respond(&invite, "491 Request Pending", "", None));
    assert!(bench.only().starts_with("ACK "));
    bench.pass(seconds(2));
    let again = bench.take_sent().remove(0);
    assert!(again.starts_with("INVITE "), "{again}");
    let agreed = "Session-Expires: 100;refresher=uac\r\n";
    bench.feed(&respond(&again, "200 OK", agreed, Some(OFFER)));
    bench.take_sent();
    bench.take_events();
    bench.pass(seconds(40));
    assert!(bench.take_events().is_empty());
}

#[test]
fn a_refresh_beside_an_offer_of_ours_does_not_lose_its_answer() {
    let mut bench = Bench::new();
    let asks = "Supported: timer\r\nSession-Expires: 100;refresher=uas\r\nAllow: UPDATE\r\n";
    let (call, _, _) = up_with_timer(&mut bench, asks);
    bench.pass(seconds(49));
    bench.command(CallCommand::Offer {
        call,
        sdp: Redacted(ANSWER.to_owned()),
    });
    let invite = bench.only();
    bench.feed(&respond(&invite, "100 Trying", "", None));
    bench.pass(seconds(1));
    let update = bench.only();
    assert!(update.starts_with("UPDATE "));
    let agreed = "Session-Expires: 100;refresher=uac\r\n";
    bench.feed(&respond(&update, "200 OK", agreed, None));
    bench.feed(&respond(&invite, "200 OK", agreed, Some(OFFER)));
    assert!(bench.only().starts_with("ACK "));
    let sdp = Redacted(OFFER.to_owned());
    assert_eq!(bench.take_events(), [CallEvent::Answered { call, sdp }]);
}
