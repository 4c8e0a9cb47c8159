//! A terminal asks to be moved (RFC 3515, RFC 4488).

use super::dialling::{CALL, answered_by, of_callee};
use super::forking::two_called;
use super::replacing::up_proven;
use super::*;

fn refer(cseq: u32, tag: &str, headers: &str) -> String {
    let branch = format!("r{cseq}");
    request("REFER", "3000", cseq, tag, &branch, headers, None)
}

fn to(uri: &str) -> String {
    format!("Refer-To: <{uri}>\r\n")
}

fn decide(call: CallId, refused: Option<RejectReason>) -> CallCommand {
    CallCommand::Refer { call, refused }
}

#[test]
fn a_wish_is_passed_up_accepted_and_its_outcome_told() {
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    bench.feed(&refer(2, &tag, &to("sip:4000@192.0.2.1")));
    assert!(bench.sent.is_empty(), "the rooms decide");
    let events = bench.take_events();
    let [CallEvent::Referred(wanted)] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!((wanted.call, wanted.dialled.as_str()), (call, "4000"));
    assert_eq!(
        (wanted.remote, wanted.account.as_ref()),
        (udp().remote, None)
    );
    bench.feed(&refer(3, &tag, &to("sip:5000@192.0.2.1")));
    assert_eq!(bench.start_lines(), ["SIP/2.0 491 Request Pending"]);
    bench.command(decide(call, None));
    let sent = bench.take_sent();
    assert!(sent[0].starts_with("SIP/2.0 202 Accepted"), "{}", sent[0]);
    let notify = &sent[1];
    assert!(
        notify.starts_with("NOTIFY sip:or-1@192.0.2.7:5060 "),
        "{notify}"
    );
    assert_eq!(header(notify, "Event"), Some("refer;id=2"));
    let state = header(notify, "Subscription-State");
    assert_eq!(state, Some("terminated;reason=noresource"));
    let kind = header(notify, "Content-Type");
    assert_eq!(kind, Some("message/sipfrag;version=2.0"));
    assert_eq!(body_of(notify), "SIP/2.0 200 OK\r\n");
    // A terminal that knows no such subscription keeps its call.
    bench.feed(&respond(notify, "481 No Subscription", "", None));
    assert_eq!(bench.take_events(), []);
    assert_eq!(bench.endpoint.load().calls, 1);
}

#[test]
fn who_wants_no_subscription_has_none_and_a_refusal_is_the_answer() {
    for (reason, status) in [
        (None, "202 Accepted"),
        (Some(RejectReason::Forbidden), "403 Forbidden"),
        (Some(RejectReason::NotFound), "403 Forbidden"),
        (Some(RejectReason::Busy), "486 Busy Here"),
    ] {
        let mut bench = Bench::new();
        let (call, tag) = bench.up();
        let headers = to("sip:4000@192.0.2.1") + "Refer-Sub: false\r\nRequire: norefersub\r\n";
        bench.feed(&refer(2, &tag, &headers));
        bench.command(decide(call, reason));
        let answer = bench.only();
        assert!(answer.starts_with(&format!("SIP/2.0 {status}")), "{answer}");
        let unwatched = reason.is_none().then_some("false");
        assert_eq!(header(&answer, "Refer-Sub"), unwatched);
    }
}

#[test]
fn only_rooms_of_ours_are_asked_for_and_only_within_a_call() {
    let mut bench = Bench::new();
    let (_, tag) = bench.up();
    let refused = [
        (to("sip:4000@elsewhere.example"), 403),
        (to("sip:4000@192.0.2.9"), 403),
        (to("sip:4000@192.0.2.1;method=BYE"), 403),
        (to("sip:4000@192.0.2.1?Replaces=a%3Bto-tag%3Db"), 403),
        (to("tel:112"), 403),
        (to("nonsense"), 400),
        (String::new(), 400),
        (to("sip:4000@192.0.2.1") + &to("sip:5000@192.0.2.1"), 400),
    ];
    for (cseq, (headers, status)) in (2..).zip(&refused) {
        bench.feed(&refer(cseq, &tag, headers));
        let answer = bench.only();
        assert!(
            answer.starts_with(&format!("SIP/2.0 {status} ")),
            "{headers}: {answer}"
        );
    }
    assert!(bench.take_events().is_empty());
    bench.feed(&refer(1, "", &to("sip:4000@192.0.2.1")));
    assert!(bench.only().starts_with("SIP/2.0 403 "));
}

#[test]
fn a_wish_that_nobody_decides_on_is_answered_in_time_and_at_the_end() {
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    bench.feed(&refer(2, &tag, &to("sip:4000@192.0.2.1")));
    bench.take_events();
    bench.pass(seconds(32));
    assert_eq!(bench.start_lines(), ["SIP/2.0 500 Nobody Answered"]);
    bench.command(decide(call, None));
    assert!(bench.sent.is_empty());
    bench.feed(&refer(3, &tag, &to("sip:4000@192.0.2.1")));
    bench.take_events();
    bench.feed(&request("BYE", "3000", 4, &tag, "bye", "", None));
    let lines = bench.start_lines();
    assert!(
        lines.contains(&"SIP/2.0 487 Request Terminated".to_owned()),
        "{lines:?}"
    );
    bench.ended(call, EndReason::Remote);
}

/// Whoever answered at the contact of an account was moved as if it had proven its password.
#[test]
fn only_who_proved_an_account_asks_in_its_name() {
    let referred = |bench: &mut Bench| {
        let events = bench.take_events();
        let [CallEvent::Referred(wanted)] = events.as_slice() else {
            panic!("{events:?}");
        };
        (wanted.call, wanted.account.clone())
    };
    let mut bench = Bench::new();
    let (call, tag) = up_proven(&mut bench, "or-1", "a", "");
    let wish = refer(3, &tag, &to("sip:4000@192.0.2.1"));
    bench.feed(&wish.replace("one@", "a@"));
    assert_eq!(referred(&mut bench), (call, Some("or-1".to_owned())));

    let (mut bench, invites) = two_called();
    let invite = &invites[1];
    bench.feed(&answered_by("desk", invite, "200 OK", "", Some(ANSWER)));
    bench.take_events();
    let wish = of_callee("desk", invite, "REFER", 2, None);
    let named = to("sip:4000@192.0.2.1") + "Max-Forwards";
    bench.feed(&wish.replace("Max-Forwards", &named));
    assert_eq!(referred(&mut bench), (CALL, None));
}

/// A call of the account that was named in a REFER within another one of its calls.
fn replaced(bench: &mut Bench) -> CallId {
    let events = bench.take_events();
    let [CallEvent::Referred(wanted)] = events.as_slice() else {
        panic!("{events:?}");
    };
    wanted.replaces.unwrap()
}

fn refer_to_replace(cseq: u32, tag: &str, host: &str, replaces: &str) -> String {
    let target = to(&format!("sip:4000@{host}?Replaces={replaces}"));
    refer(cseq, tag, &target).replace("one@", "first@")
}

/// RFC 5589 §7.3, where both calls are with us.
#[test]
fn a_call_may_move_into_the_place_of_another_of_the_same_account() {
    let mut bench = Bench::new();
    let (call, first) = up_proven(&mut bench, "or-1", "first", "");
    let (second, tag) = up_proven(&mut bench, "or-1", "second", "");
    let named = format!("second%40192.0.2.7%3Bto-tag%3D{tag}%3Bfrom-tag%3Dpeer");
    bench.feed(&refer_to_replace(3, &first, "192.0.2.1", &named));
    assert!(bench.sent.is_empty(), "the rooms decide");
    assert_eq!(replaced(&mut bench), second);
    bench.command(decide(call, None));
    let [accepted, notify, bye] = bench.take_sent().try_into().unwrap();
    assert!(accepted.starts_with("SIP/2.0 202 "), "{accepted}");
    assert!(notify.starts_with("NOTIFY "), "{notify}");
    assert!(bye.starts_with("BYE "), "{bye}");
    assert!(bye.contains("Call-ID: second@"), "{bye}");
    bench.ended(second, EndReason::Local);
}

/// Defect: the rooms, which hear of it later, hung it up all the same.
#[test]
fn a_call_stays_whose_place_is_not_taken_any_more() {
    for refused in [false, true] {
        let mut bench = Bench::new();
        let (call, first) = up_proven(&mut bench, "or-1", "first", "");
        let (second, tag) = up_proven(&mut bench, "or-1", "second", "");
        let named = format!("second%40192.0.2.7%3Bto-tag%3D{tag}%3Bfrom-tag%3Dpeer");
        bench.feed(&refer_to_replace(3, &first, "192.0.2.1", &named));
        match refused {
            true => bench.command(decide(call, Some(RejectReason::Busy))),
            false => {
                let bye = request("BYE", "3000", 4, &first, "b", "", None);
                bench.feed(&bye.replace("one@", "first@"));
            }
        }
        bench.take_sent();
        bench.command(decide(call, None));
        assert_eq!(bench.take_sent(), [] as [String; 0]);
        assert!(bench.endpoint.has_call(second));
    }
}

/// RFC 5589 §7.3 has the new call require what it cannot do without.
#[test]
fn a_replaces_may_be_required() {
    let mut bench = Bench::new();
    let (_, first) = up_proven(&mut bench, "or-1", "first", "");
    let (second, tag) = up_proven(&mut bench, "or-1", "second", "");
    let named = format!("second%40192.0.2.7%3Bto-tag%3D{tag}%3Bfrom-tag%3Dpeer");
    let other = format!("{named}&Require=100rel");
    bench.feed(&refer_to_replace(3, &first, "192.0.2.1", &other));
    assert_eq!(bench.start_lines(), ["SIP/2.0 403 Forbidden"]);
    let required = format!("{named}&Require=replaces");
    bench.feed(&refer_to_replace(4, &first, "192.0.2.1", &required));
    assert_eq!(replaced(&mut bench), second);
}

/// Elsewhere nobody is called for it, whoever asks: it would be at our cost, or to whom the caller
/// could not call itself.
#[test]
fn only_calls_with_us_are_replaced_and_only_by_their_account() {
    let mut bench = Bench::new();
    let (_, first) = up_proven(&mut bench, "or-1", "first", "");
    let (_, tag) = up_proven(&mut bench, "or-1", "second", "");
    let (_, other) = up_proven(&mut bench, "guest", "third", "");
    let named = |call: &str, tag: &str, further: &str| {
        format!("{call}%40192.0.2.7%3Bto-tag%3D{tag}%3Bfrom-tag%3Dpeer{further}")
    };
    for (cseq, (host, replaces, status)) in (3..).zip([
        ("192.0.2.9", named("second", &tag, ""), 403),
        ("192.0.2.1", named("first", &first, ""), 403),
        ("192.0.2.1", named("third", &other, ""), 403),
        ("192.0.2.1", named("second", "unknown", ""), 404),
        ("192.0.2.1", named("second", &tag, "%3Bearly-only"), 486),
        ("192.0.2.1", named("second", &tag, "&Subject=x"), 403),
        ("192.0.2.1", named("second", &tag, "%3Bto-tag%3Dx"), 400),
        ("192.0.2.1", "x%40192.0.2.7".to_owned(), 400),
        ("192.0.2.1", "x".repeat(3_000), 403),
    ]) {
        bench.feed(&refer_to_replace(cseq, &first, host, &replaces));
        let answer = bench.only();
        let expected = format!("SIP/2.0 {status} ");
        assert!(answer.starts_with(&expected), "{host} {replaces}: {answer}");
    }
    assert_eq!(bench.take_events(), []);
    // Who has proven nothing has no call to name.
    let mut bench = Bench::new();
    let (_, tag) = bench.up();
    let own = named("one", &tag, "");
    let wish = refer_to_replace(2, &tag, "192.0.2.1", &own).replace("first@", "one@");
    bench.feed(&wish);
    assert!(bench.only().starts_with("SIP/2.0 403 "));
}
