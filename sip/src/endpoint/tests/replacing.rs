//! Calls in the place of others (RFC 3891).

use super::accounts::respond_to;
use super::*;

/// A call that is up, and who proved an account for it.
pub(super) fn up_proven(
    bench: &mut Bench,
    user: &str,
    call_id: &str,
    headers: &str,
) -> (CallId, String) {
    let (call, ok) = answered_proven(bench, user, call_id, headers).unwrap();
    let tag = tag_of(&ok);
    let ack = request("ACK", "3000", 2, &tag, &format!("{call_id}ack"), "", None);
    bench.feed(&ack.replace("one@", &format!("{call_id}@")));
    bench.take_events();
    (call, tag)
}

/// Calls with a proof of the account; our 200, or what was said instead.
fn answered_proven(
    bench: &mut Bench,
    user: &str,
    call_id: &str,
    headers: &str,
) -> Result<(CallId, String), String> {
    let call = asked_proven(bench, user, call_id, headers)?;
    Ok((call, bench.accept(call)))
}

/// The same before it is answered.
fn asked_proven(
    bench: &mut Bench,
    user: &str,
    call_id: &str,
    headers: &str,
) -> Result<CallId, String> {
    let invite = |cseq: u32, headers: &str| {
        let branch = format!("{call_id}{cseq}");
        request("INVITE", "3000", cseq, "", &branch, headers, Some(OFFER))
            .replace("one@", &format!("{call_id}@"))
    };
    bench.feed(&invite(1, ""));
    let challenge = match bench.take_sent().pop() {
        Some(challenge) => challenge,
        None => {
            let call = bench.incoming();
            bench.command(reject(call, RejectReason::Unauthorized));
            let challenge = bench.only();
            bench.feed(&request(
                "ACK",
                "3000",
                1,
                "",
                &format!("{call_id}1"),
                "",
                None,
            ));
            bench.take_events();
            challenge
        }
    };
    let proof = respond_to(&challenge, "MD5", user, "s3cret", "INVITE", 1);
    bench.feed(&invite(2, &format!("{headers}Authorization: {proof}\r\n")));
    if let Some(said) = bench.take_sent().pop() {
        return Err(said);
    }
    let events = bench.take_events();
    let [CallEvent::Incoming(incoming)] = events.as_slice() else {
        panic!("{events:?}");
    };
    let (call, replaces) = (incoming.call, incoming.replaces);
    assert_eq!(incoming.account.as_deref(), Some(user));
    assert_eq!(replaces.is_some(), !headers.is_empty());
    Ok(call)
}

fn accept(call: CallId) -> CallCommand {
    let sdp = Redacted(ANSWER.to_owned());
    CallCommand::Accept { call, sdp }
}

fn replaces(tag: &str, further: &str) -> String {
    format!(
        "Require: replaces\r\nReplaces: first@192.0.2.7;to-tag={tag};from-tag=peer{further}\r\n"
    )
}

#[test]
fn the_same_account_may_take_the_place_of_its_call() {
    let mut bench = Bench::new();
    let (old, tag) = up_proven(&mut bench, "or-1", "first", "");
    let new = asked_proven(&mut bench, "or-1", "second", &replaces(&tag, "")).unwrap();
    assert_ne!(old, new);
    assert_eq!(bench.endpoint.load().calls, 2);
    // RFC 3891 §3: once the new one is accepted.
    bench.command(accept(new));
    let [ok, bye] = bench.take_sent().try_into().unwrap();
    assert!(ok.starts_with("SIP/2.0 200 "), "{ok}");
    assert!(bye.starts_with("BYE "), "{bye}");
    assert!(bye.contains("Call-ID: first@"), "{bye}");
    bench.ended(old, EndReason::Local);
    assert_eq!(bench.endpoint.load().calls, 1);
}

/// Defect: the rooms, which hear of it later, hung up a call whose replacement was cancelled.
#[test]
fn a_call_stays_whose_replacement_is_cancelled_or_refused() {
    for refused in [false, true] {
        let mut bench = Bench::new();
        let (old, tag) = up_proven(&mut bench, "or-1", "first", "");
        let new = asked_proven(&mut bench, "or-1", "second", &replaces(&tag, "")).unwrap();
        match refused {
            true => bench.command(reject(new, RejectReason::Busy)),
            false => {
                let cancel = request("CANCEL", "3000", 2, "", "second2", "", None);
                bench.feed(&cancel.replace("one@", "second@"));
            }
        }
        bench.take_sent();
        bench.command(accept(new));
        assert_eq!(bench.take_sent(), [] as [String; 0]);
        assert!(bench.endpoint.has_call(old));
    }
}

#[test]
fn nobody_else_may() {
    let mut bench = Bench::new();
    let (_, tag) = up_proven(&mut bench, "or-1", "first", "");
    let refused = |bench: &mut Bench, user: &str, call_id: &str, headers: &str, status: u16| {
        let said = answered_proven(bench, user, call_id, headers).unwrap_err();
        assert!(
            said.starts_with(&format!("SIP/2.0 {status} ")),
            "{headers}: {said}"
        );
    };
    refused(&mut bench, "guest", "b", &replaces(&tag, ""), 403);
    refused(&mut bench, "or-1", "c", &replaces(&tag, ";early-only"), 486);
    refused(&mut bench, "or-1", "d", &replaces("unknown", ""), 481);
    refused(
        &mut bench,
        "or-1",
        "e",
        "Replaces: first@192.0.2.7\r\n",
        400,
    );
    let twice = replaces(&tag, ";to-tag=x");
    refused(&mut bench, "or-1", "f", &twice, 400);
    // Without any proof there is no call that could be one's own.
    let unproven = request(
        "INVITE",
        "3000",
        1,
        "",
        "g",
        &replaces(&tag, ""),
        Some(OFFER),
    );
    bench.feed(&unproven.replace("one@", "g@"));
    assert!(bench.only().starts_with("SIP/2.0 401 "));
    assert_eq!(bench.endpoint.load().calls, 1);
    // Where there are no accounts there is nothing to prove.
    let mut bench = Bench::with(Config::default());
    let (_, tag) = bench.up();
    let headers = replaces(&tag, "").replace("first@", "one@");
    let other = request("INVITE", "3000", 1, "", "h", &headers, Some(OFFER));
    bench.feed(&other.replace("Call-ID: one@", "Call-ID: other@"));
    assert!(bench.only().starts_with("SIP/2.0 403 "));
}
