//! Offers within a call, both ways, and key frame requests.

use super::*;

const NEW_OFFER: &str =
    "v=0\r\no=- 1 2 IN IP4 192.0.2.7\r\ns=-\r\nt=0 0\r\nm=audio 4002 RTP/AVP 8\r\n";

fn offer(call: CallId, sdp: &str) -> CallCommand {
    CallCommand::Offer {
        call,
        sdp: Redacted(sdp.to_owned()),
    }
}

fn answer(call: CallId) -> CallCommand {
    CallCommand::Answer {
        call,
        sdp: Redacted(ANSWER.to_owned()),
    }
}

fn reoffer(call: CallId, sdp: Option<&str>) -> CallEvent {
    CallEvent::Reoffer {
        call,
        sdp: sdp.map(|sdp| Redacted(sdp.to_owned())),
    }
}

#[test]
fn a_reinvite_is_passed_up_and_its_2xx_resent_until_the_ack() {
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    bench.feed(&request(
        "INVITE",
        "3000",
        2,
        &tag,
        "b",
        "",
        Some(NEW_OFFER),
    ));
    assert_eq!(bench.take_events(), [reoffer(call, Some(NEW_OFFER))]);
    assert!(bench.sent.is_empty());
    bench.command(answer(call));
    bench.pass(seconds(2));
    let sent = bench.take_sent();
    assert_eq!(sent.len(), 3);
    assert!(sent[0].starts_with("SIP/2.0 200 OK"));
    assert_eq!(body_of(&sent[0]), ANSWER);
    bench.feed(&request("ACK", "3000", 2, &tag, "b2", "", None));
    bench.pass(seconds(100));
    assert!(bench.take_sent().is_empty());
    assert!(bench.take_events().is_empty());
}

#[test]
fn a_reinvite_without_offer_asks_for_ours_and_the_ack_answers_it() {
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    bench.feed(&request("INVITE", "3000", 2, &tag, "b", "", None));
    assert_eq!(bench.take_events(), [reoffer(call, None)]);
    bench.command(answer(call));
    bench.feed(&request("ACK", "3000", 2, &tag, "b2", "", Some(NEW_OFFER)));
    let sdp = Redacted(NEW_OFFER.to_owned());
    assert_eq!(bench.take_events(), [CallEvent::Answered { call, sdp }]);
}

#[test]
fn a_refused_reinvite_leaves_the_call_as_it_was() {
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    bench.feed(&request(
        "INVITE",
        "3000",
        2,
        &tag,
        "b",
        "",
        Some(NEW_OFFER),
    ));
    bench.take_sent();
    bench.take_events();
    bench.command(CallCommand::RejectOffer { call });
    assert_eq!(bench.start_lines(), ["SIP/2.0 488 Not Acceptable Here"]);
    bench.feed(&request("ACK", "3000", 2, &tag, "b", "", None));
    bench.feed(&request("BYE", "3000", 3, &tag, "c", "", None));
    bench.ended(call, EndReason::Remote);
}

#[test]
fn a_second_offer_before_the_first_is_answered_is_told_to_wait() {
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    bench.feed(&request(
        "INVITE",
        "3000",
        2,
        &tag,
        "b",
        "",
        Some(NEW_OFFER),
    ));
    bench.take_sent();
    bench.feed(&request("INVITE", "3000", 3, &tag, "c", "", Some(OFFER)));
    let refusal = bench.only();
    assert!(refusal.starts_with("SIP/2.0 500 "), "{refusal}");
    let wait: u32 = header(&refusal, "Retry-After").unwrap().parse().unwrap();
    assert!((1..=10).contains(&wait));
    bench.feed(&request("UPDATE", "3000", 4, &tag, "d", "", Some(OFFER)));
    assert!(bench.only().starts_with("SIP/2.0 500 "));
    assert_eq!(bench.take_events(), [reoffer(call, Some(NEW_OFFER))]);
    // The first one is still answered, and its ACK counts.
    bench.command(answer(call));
    assert_eq!(header(&bench.only(), "CSeq"), Some("2 INVITE"));
    bench.feed(&request("ACK", "3000", 2, &tag, "b2", "", None));
    bench.pass(seconds(40));
    assert!(bench.take_events().is_empty());
}

#[test]
fn a_cancelled_reinvite_is_terminated_and_the_call_goes_on() {
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    bench.feed(&request(
        "INVITE",
        "3000",
        2,
        &tag,
        "b",
        "",
        Some(NEW_OFFER),
    ));
    bench.take_sent();
    bench.take_events();
    bench.feed(&request("CANCEL", "3000", 2, &tag, "b", "", None));
    assert_eq!(
        bench.start_lines(),
        ["SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"]
    );
    bench.command(answer(call));
    assert!(bench.take_sent().is_empty());
    assert_eq!(bench.endpoint.load().calls, 1);
}

#[test]
fn an_update_with_offer_is_answered_and_without_one_is_a_mere_refresh() {
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    bench.feed(&request("UPDATE", "3000", 2, &tag, "b", "", None));
    let ok = bench.only();
    assert!(ok.starts_with("SIP/2.0 200 OK") && body_of(&ok).is_empty());
    bench.feed(&request(
        "UPDATE",
        "3000",
        3,
        &tag,
        "c",
        "",
        Some(NEW_OFFER),
    ));
    assert_eq!(bench.take_events(), [reoffer(call, Some(NEW_OFFER))]);
    bench.command(answer(call));
    let ok = bench.only();
    assert_eq!(
        (header(&ok, "CSeq"), body_of(&ok)),
        (Some("3 UPDATE"), ANSWER)
    );
    bench.pass(seconds(60));
    assert!(bench.take_sent().is_empty(), "a 2xx to UPDATE wants no ACK");
}

#[test]
fn our_offer_goes_out_as_reinvite_and_the_2xx_is_acknowledged_each_time() {
    let mut bench = Bench::new();
    let (call, _) = bench.up();
    bench.command(offer(call, ANSWER));
    let invite = bench.only();
    assert!(invite.starts_with("INVITE sip:or-1@192.0.2.7:5060 SIP/2.0"));
    assert_eq!(body_of(&invite), ANSWER);
    assert_eq!(
        header(&invite, "Contact"),
        Some("<sip:3000@192.0.2.1:5060>;isfocus")
    );
    let ok = respond(
        &invite,
        "200 OK",
        "Contact: <sip:new@192.0.2.7:5062>\r\n",
        Some(OFFER),
    );
    bench.feed(&ok);
    let ack = bench.only();
    assert!(
        ack.starts_with("ACK sip:new@192.0.2.7:5062 SIP/2.0"),
        "{ack}"
    );
    assert_eq!(header(&ack, "CSeq"), Some("1 ACK"));
    assert_ne!(header(&ack, "Via"), header(&invite, "Via"));
    let sdp = Redacted(OFFER.to_owned());
    assert_eq!(bench.take_events(), [CallEvent::Answered { call, sdp }]);
    bench.feed(&ok);
    assert_eq!(bench.take_sent(), [ack]);
    assert!(bench.take_events().is_empty());
}

#[test]
fn offers_wait_their_turn_and_only_the_newest_is_sent() {
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    bench.feed(&request(
        "INVITE",
        "3000",
        2,
        &tag,
        "b",
        "",
        Some(NEW_OFFER),
    ));
    bench.take_sent();
    bench.command(offer(call, "v=0\r\nold"));
    bench.command(offer(call, "v=0\r\nnew"));
    bench.command(answer(call));
    assert_eq!(bench.start_lines(), ["SIP/2.0 200 OK"]);
    bench.feed(&request("ACK", "3000", 2, &tag, "b2", "", None));
    assert_eq!(body_of(&bench.only()), "v=0\r\nnew");
}

#[test]
fn glare_is_answered_491_and_our_own_offer_tried_again_within_two_seconds() {
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    bench.command(offer(call, ANSWER));
    let invite = bench.only();
    bench.feed(&request(
        "INVITE",
        "3000",
        2,
        &tag,
        "b",
        "",
        Some(NEW_OFFER),
    ));
    assert_eq!(bench.start_lines(), ["SIP/2.0 491 Request Pending"]);
    bench.feed(&request("ACK", "3000", 2, &tag, "b", "", None));
    bench.feed(&respond(&invite, "491 Request Pending", "", None));
    let ack = bench.only();
    assert!(ack.starts_with("ACK ") && header(&ack, "Via") == header(&invite, "Via"));
    bench.pass(Duration::from_millis(2_001));
    let sent = bench.take_sent();
    let again = sent.first().unwrap();
    assert!(sent.iter().all(|text| text == again), "{sent:#?}");
    assert_eq!(body_of(again), ANSWER);
    assert_eq!(header(again, "CSeq"), Some("2 INVITE"));
    assert!(bench.take_events().is_empty());
}

/// The answer to an offer that the rooms had replaced was taken for one to the new offer.
#[test]
fn an_answer_to_an_offer_that_was_replaced_is_acknowledged_and_passed_over() {
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    bench.command(offer(call, "v=0\r\nold"));
    let invite = bench.only();
    bench.command(offer(call, "v=0\r\nnew"));
    bench.feed(&respond(&invite, "200 OK", "", Some(OFFER)));
    let sent = bench.take_sent();
    assert!(sent[0].starts_with("ACK "), "{sent:#?}");
    assert_eq!(body_of(&sent[1]), "v=0\r\nnew");
    assert!(bench.take_events().is_empty());
    bench.feed(&respond(&sent[1], "200 OK", "", Some(ANSWER)));
    let sdp = Redacted(ANSWER.to_owned());
    assert_eq!(bench.take_events(), [CallEvent::Answered { call, sdp }]);
    // The same for one that stood in our 2xx.
    bench.take_sent();
    bench.feed(&request("INVITE", "3000", 2, &tag, "b", "", None));
    bench.command(answer(call));
    bench.command(offer(call, "v=0\r\nnewest"));
    bench.take_events();
    bench.feed(&request("ACK", "3000", 2, &tag, "b2", "", Some(OFFER)));
    assert!(bench.take_events().is_empty());
    let newest = bench.take_sent();
    assert_eq!(body_of(newest.last().unwrap()), "v=0\r\nnewest");
}

/// It went out after the peer's offer was answered, and said what the rooms had given up.
#[test]
fn an_offer_that_waits_is_void_once_the_peers_is_answered() {
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    bench.command(offer(call, ANSWER));
    let invite = bench.only();
    bench.feed(&respond(&invite, "491 Request Pending", "", None));
    bench.take_sent();
    bench.feed(&request(
        "INVITE",
        "3000",
        2,
        &tag,
        "b",
        "",
        Some(NEW_OFFER),
    ));
    bench.command(answer(call));
    bench.feed(&request("ACK", "3000", 2, &tag, "b2", "", None));
    bench.take_sent();
    bench.pass(seconds(10));
    assert!(bench.take_sent().is_empty());
}

#[test]
fn an_offer_while_our_2xx_waits_for_its_answer_is_glare() {
    let mut bench = Bench::new();
    bench.feed(&request("INVITE", "3000", 1, "", "a", "", None));
    let call = bench.incoming();
    bench.take_sent();
    let tag = tag_of(&bench.accept(call));
    bench.feed(&request(
        "INVITE",
        "3000",
        2,
        &tag,
        "b",
        "",
        Some(NEW_OFFER),
    ));
    assert_eq!(bench.start_lines(), ["SIP/2.0 491 Request Pending"]);
}

#[test]
fn a_reinvite_that_overtakes_the_lost_ack_establishes_the_call() {
    let mut bench = Bench::new();
    bench.feed(&request("INVITE", "3000", 1, "", "a", "", Some(OFFER)));
    let call = bench.incoming();
    bench.take_sent();
    let tag = tag_of(&bench.accept(call));
    bench.feed(&request(
        "INVITE",
        "3000",
        2,
        &tag,
        "b",
        "",
        Some(NEW_OFFER),
    ));
    let expected = [
        CallEvent::Established { call },
        reoffer(call, Some(NEW_OFFER)),
    ];
    assert_eq!(bench.take_events(), expected);
}

#[test]
fn our_refused_offer_leaves_the_call_and_an_unknown_dialog_ends_it() {
    let mut bench = Bench::new();
    let (call, _) = bench.up();
    bench.command(offer(call, ANSWER));
    let invite = bench.only();
    bench.feed(&respond(&invite, "488 Not Acceptable Here", "", None));
    assert_eq!(
        bench.start_lines()[0],
        "ACK sip:or-1@192.0.2.7:5060 SIP/2.0"
    );
    assert_eq!(bench.take_events(), [CallEvent::OfferFailed { call }]);
    bench.command(offer(call, ANSWER));
    let invite = bench.only();
    bench.feed(&respond(&invite, "481 Call Does Not Exist", "", None));
    bench.ended(call, EndReason::Remote);
}

/// The rooms waited for ever for the answer, and made no further offer (RFC 3261 §14.1).
#[test]
fn an_offer_that_comes_to_nothing_is_told() {
    let (mut bench, call, invite) = offering();
    bench.feed(&respond(&invite, "500 Server Error", "", None));
    assert_eq!(bench.take_events(), [CallEvent::OfferFailed { call }]);

    let (mut bench, call, invite) = offering();
    bench.feed(&respond(&invite, "200 OK", "", None));
    assert!(bench.only().starts_with("ACK "));
    assert_eq!(bench.take_events(), [CallEvent::OfferFailed { call }]);

    // Another one waits already, which is sent.
    let (mut bench, call, invite) = offering();
    bench.command(offer(call, "v=0\r\nnew"));
    bench.feed(&respond(&invite, "488 Not Acceptable Here", "", None));
    let sent = bench.take_sent();
    assert_eq!(body_of(&sent[1]), "v=0\r\nnew");
    assert!(bench.take_events().is_empty());
    bench.feed(&respond(&sent[1], "488 Not Acceptable Here", "", None));
    assert_eq!(bench.take_events(), [CallEvent::OfferFailed { call }]);

    // Ours in a 2xx, whose ACK has no answer.
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    bench.feed(&request("INVITE", "3000", 2, &tag, "b", "", None));
    bench.command(answer(call));
    bench.take_events();
    bench.feed(&request("ACK", "3000", 2, &tag, "b2", "", None));
    assert_eq!(bench.take_events(), [CallEvent::OfferFailed { call }]);

    // One that cannot be sent: there is no room for its transaction.
    let mut config = config();
    config.max_transactions = 1;
    let mut bench = Bench::with(config);
    let (call, _) = bench.up();
    bench.command(offer(call, ANSWER));
    assert_eq!(bench.take_events(), [CallEvent::OfferFailed { call }]);
}

/// A refresh that is refused is none of the rooms' business.
#[test]
fn a_refresh_that_is_refused_is_not_told() {
    let asks = "Supported: timer\r\nSession-Expires: 100;refresher=uas\r\n";
    let mut bench = Bench::new();
    bench.up_with(asks);
    bench.pass(seconds(50));
    let invite = bench.only();
    assert!(invite.starts_with("INVITE "), "{invite}");
    bench.feed(&respond(&invite, "488 Not Acceptable Here", "", None));
    assert!(bench.take_events().is_empty());
}

/// A call in which an offer of ours is out.
fn offering() -> (Bench, CallId, String) {
    let mut bench = Bench::new();
    let (call, _) = bench.up();
    bench.command(offer(call, ANSWER));
    let invite = bench.only();
    (bench, call, invite)
}

#[test]
fn an_offer_that_is_never_answered_ends_the_call() {
    let mut bench = Bench::new();
    let (call, _) = bench.up();
    bench.command(offer(call, ANSWER));
    bench.pass(seconds(32));
    bench.ended(call, EndReason::Timeout);
    let sent = bench.start_lines();
    // Timer A doubles: 0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5 s.
    assert_eq!(
        sent.iter()
            .filter(|line| line.starts_with("INVITE"))
            .count(),
        7
    );
    assert!(sent.last().unwrap().starts_with("BYE"));
}

/// A provisional answer ends timer B, and nothing else ended the call or the transaction.
#[test]
fn an_offer_that_is_answered_provisionally_and_never_more_ends_the_call() {
    for status in ["100 Trying", "180 Ringing"] {
        let mut bench = Bench::new();
        let (call, _) = bench.up();
        bench.command(offer(call, ANSWER));
        let invite = bench.only();
        bench.feed(&respond(&invite, status, "", None));
        bench.pass(Duration::from_millis(31_999));
        assert!(bench.take_events().is_empty() && bench.take_sent().is_empty());
        bench.pass(Duration::from_millis(1));
        bench.ended(call, EndReason::Timeout);
        assert!(bench.only().starts_with("BYE "));
        // Late by a moment: nothing is begun again.
        bench.feed(&respond(&invite, status, "", None));
        bench.pass(seconds(40));
        assert!(
            bench
                .take_sent()
                .iter()
                .all(|text| text.starts_with("BYE "))
        );
        assert_eq!(bench.endpoint.load(), crate::Load::default());
        assert_eq!(bench.endpoint.next_timeout(), None);
    }
}

#[test]
fn a_call_that_ends_takes_its_requests_along_except_bye() {
    for provisional in [None, Some("100 Trying"), Some("180 Ringing")] {
        for peer_hangs_up in [true, false] {
            let mut bench = Bench::new();
            let (call, tag) = bench.up();
            bench.command(offer(call, ANSWER));
            let invite = bench.only();
            if let Some(status) = provisional {
                bench.feed(&respond(&invite, status, "", None));
            }
            bench.command(CallCommand::RequestKeyFrame { call });
            assert!(bench.only().starts_with("INFO "));
            if peer_hangs_up {
                bench.feed(&request("BYE", "3000", 2, &tag, "b", "", None));
                assert_eq!(bench.start_lines(), ["SIP/2.0 200 OK"]);
            } else {
                bench.command(CallCommand::Hangup { call });
            }
            bench.pass(seconds(40));
            let sent = bench.start_lines();
            assert!(sent.iter().all(|line| line.starts_with("BYE ")), "{sent:?}");
            assert_eq!(bench.endpoint.load(), crate::Load::default());
            assert_eq!(bench.endpoint.next_timeout(), None);
        }
    }
}

#[test]
fn the_487_that_a_bye_brings_for_our_offer_is_acknowledged() {
    let mut bench = Bench::new();
    let (call, _) = bench.up();
    bench.command(offer(call, ANSWER));
    let invite = bench.only();
    bench.feed(&respond(&invite, "180 Ringing", "", None));
    bench.command(CallCommand::Hangup { call });
    let bye = bench.only();
    bench.feed(&respond(&bye, "200 OK", "", None));
    bench.feed(&respond(&invite, "487 Request Terminated", "", None));
    assert!(bench.only().starts_with("ACK "));
    bench.ended(call, EndReason::Local);
    bench.pass(seconds(40));
    assert_eq!(bench.endpoint.load(), crate::Load::default());
}

#[test]
fn key_frames_are_asked_for_by_info_one_at_a_time() {
    let mut bench = Bench::new();
    let (call, _) = bench.up();
    for _ in 0..5 {
        bench.command(CallCommand::RequestKeyFrame { call });
    }
    let info = bench.only();
    assert!(info.starts_with("INFO "));
    assert_eq!(
        header(&info, "Content-Type"),
        Some("application/media_control+xml")
    );
    assert!(body_of(&info).contains("<picture_fast_update/>"));
    bench.feed(&respond(&info, "200 OK", "", None));
    let second = bench.only();
    bench.feed(&respond(&second, "415 Unsupported Media Type", "", None));
    assert!(bench.take_sent().is_empty());
    assert!(bench.take_events().is_empty());
}

#[test]
fn a_terminal_that_never_answers_info_keeps_its_call() {
    let mut bench = Bench::new();
    let (call, _) = bench.up();
    bench.command(CallCommand::RequestKeyFrame { call });
    bench.pass(seconds(40));
    bench.take_sent();
    assert!(bench.take_events().is_empty());
    bench.command(CallCommand::RequestKeyFrame { call });
    assert!(bench.only().starts_with("INFO "));
}

/// The two bodies that terminals send; a second copy of a request is no second key.
#[test]
fn telephone_keys_come_by_info() {
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    let cases = [
        (
            "application/dtmf-relay",
            "Signal=5\r\nDuration=160\r\n",
            Some('5'),
        ),
        (
            "application/dtmf-relay",
            "Duration=160\r\nsignal = #\r\n",
            Some('#'),
        ),
        ("application/dtmf-relay", "Signal=10\r\n", Some('*')),
        ("application/dtmf", "d", Some('D')),
        ("application/dtmf", "55", None),
        ("application/dtmf-relay", "Duration=160\r\n", None),
    ];
    for (n, (kind, body, digit)) in cases.into_iter().enumerate() {
        let branch = format!("k{n}");
        let info = request("INFO", "3000", 2 + n as u32, &tag, &branch, "", Some(body))
            .replace("application/sdp", kind);
        bench.feed(&info);
        bench.feed(&info);
        assert_eq!(bench.start_lines(), ["SIP/2.0 200 OK"; 2], "{kind} {body}");
        let told: Vec<_> = digit
            .map(|digit| CallEvent::Digit { call, digit })
            .into_iter()
            .collect();
        assert_eq!(bench.take_events(), told, "{kind} {body}");
    }
}

#[test]
fn the_peers_key_frame_request_is_passed_up_and_other_infos_are_415() {
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    let body = "<?xml version=\"1.0\"?><media_control><vc_primitive><to_encoder>\
                <picture_fast_update></picture_fast_update></to_encoder></vc_primitive></media_control>";
    let info = request("INFO", "3000", 2, &tag, "b", "", Some(body))
        .replace("application/sdp", "application/media_control+xml");
    bench.feed(&info);
    bench.feed(&info);
    assert_eq!(bench.start_lines(), ["SIP/2.0 200 OK"; 2]);
    assert_eq!(bench.take_events(), [CallEvent::KeyFrameRequested { call }]);
    let other = request("INFO", "3000", 3, &tag, "c", "", Some("Signal=5"))
        .replace("application/sdp", "application/simple-message-summary");
    bench.feed(&other);
    let refusal = bench.only();
    assert!(refusal.starts_with("SIP/2.0 415"));
    assert_eq!(
        header(&refusal, "Accept"),
        Some("application/media_control+xml, application/dtmf-relay, application/dtmf")
    );
    bench.feed(&request("INFO", "3000", 4, &tag, "d", "", None));
    assert_eq!(bench.start_lines(), ["SIP/2.0 200 OK"]);
}
