//! Registrations of ours at other servers (RFC 3261 §10.2, RFC 5626 §4.5).

use super::*;
use crate::{Credentials, RemoteRegistrar};

fn server() -> RemoteRegistrar {
    RemoteRegistrar {
        name: "city".into(),
        uri: "sip:carrier.example".into(),
        domain: "carrier.example".into(),
        credentials: Credentials {
            user: "hospital".into(),
            password: Redacted("s3cret".into()),
        },
        expires: seconds(600),
    }
}

fn registering() -> (Bench, String) {
    let mut bench = Bench::new();
    let flow = bench.flow;
    bench.endpoint.register_at(bench.now, server(), flow);
    bench.drain();
    let register = bench.only();
    (bench, register)
}

#[test]
fn a_registration_is_proven_and_refreshed_before_it_ends() {
    let (mut bench, first) = registering();
    assert!(
        first.starts_with("REGISTER sip:carrier.example SIP/2.0"),
        "{first}"
    );
    assert_eq!(header(&first, "To"), Some("<sip:hospital@carrier.example>"));
    assert_eq!(header(&first, "Expires"), Some("600"));
    assert_eq!(
        header(&first, "Contact"),
        Some("<sip:hospital@192.0.2.1:5060>")
    );
    let challenge = "WWW-Authenticate: Digest realm=\"far\", nonce=\"n\", qop=\"auth\"\r\n";
    bench.feed(&respond(&first, "401 Unauthorized", challenge, None));
    let second = bench.only();
    assert!(
        header(&second, "Authorization")
            .unwrap()
            .contains("username=\"hospital\"")
    );
    assert_eq!(header(&second, "CSeq"), Some("2 REGISTER"));
    assert_eq!(header(&second, "Call-ID"), header(&first, "Call-ID"));
    bench.feed(&respond(&second, "200 OK", "Expires: 300\r\n", None));
    bench.pass(seconds(239));
    assert!(bench.sent.is_empty());
    bench.pass(seconds(1));
    let third = bench.only();
    assert_eq!(header(&third, "CSeq"), Some("3 REGISTER"));
    let granted = "Contact: <sip:hospital@192.0.2.1:5060>;expires=100\r\nExpires: 300\r\n";
    bench.feed(&respond(&third, "200 OK", granted, None));
    bench.pass(seconds(80));
    assert_eq!(header(&bench.only(), "CSeq"), Some("4 REGISTER"));
}

#[test]
fn a_time_that_is_too_short_is_made_longer() {
    let (mut bench, first) = registering();
    bench.feed(&respond(
        &first,
        "423 Interval Too Brief",
        "Min-Expires: 1800\r\n",
        None,
    ));
    assert_eq!(header(&bench.only(), "Expires"), Some("1800"));
}

#[test]
fn failures_are_tried_again_after_longer_and_longer_waits() {
    let (mut bench, mut register) = registering();
    let mut waits = Vec::new();
    for _ in 0..9 {
        bench.feed(&respond(&register, "503 Unavailable", "", None));
        let failed = bench.now;
        bench.take_sent();
        let next = bench.endpoint.next_timeout().unwrap();
        bench.pass(next - failed);
        while bench.sent.is_empty() {
            let next = bench.endpoint.next_timeout().unwrap();
            bench.pass(next - bench.now);
        }
        register = bench.only();
        waits.push((bench.now - failed).as_secs());
    }
    for (n, wait) in waits.iter().enumerate() {
        let most = (30u64 << n).min(1_800);
        assert!((most / 2..=most).contains(wait), "{waits:?}");
    }
    bench.feed(&respond(&register, "200 OK", "Expires: 600\r\n", None));
    bench.pass(seconds(480));
    assert!(bench.only().starts_with("REGISTER "));
}

#[test]
fn a_wrong_password_is_not_hammered_and_silence_is_a_failure() {
    let (mut bench, mut register) = registering();
    let challenge = "WWW-Authenticate: Digest realm=\"far\", nonce=\"n\", qop=\"auth\"\r\n";
    let mut sent = 1;
    loop {
        bench.feed(&respond(&register, "401 Unauthorized", challenge, None));
        match bench.take_sent().pop() {
            Some(next) => register = next,
            None => break,
        }
        sent += 1;
    }
    assert_eq!(sent, 3);
    let (mut bench, _) = registering();
    bench.pass(seconds(32 + 30));
    let again = bench.take_sent();
    assert!(
        again
            .iter()
            .any(|text| header(text, "CSeq") == Some("2 REGISTER")),
        "{again:#?}"
    );
}
