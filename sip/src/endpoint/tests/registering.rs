//! Registrations of ours at other servers (RFC 3261 §10.2, RFC 5626 §4.5).

use super::*;
use mcu_api::call::Credentials;

use crate::{RegistrationId, RemoteRegistrar};

fn server() -> RemoteRegistrar {
    RemoteRegistrar {
        name: "city".into(),
        uri: "sip:carrier.example".into(),
        host: "carrier.example".into(),
        domain: "carrier.example".into(),
        credentials: Credentials {
            user: "hospital".into(),
            password: Redacted("s3cret".into()),
            realms: vec!["far".into()],
        },
        expires: seconds(600),
    }
}

pub(super) fn registering() -> (Bench, String) {
    let mut bench = Bench::new();
    bench.endpoint.register_at(server());
    bench.drain();
    bench.locate();
    let register = bench.only();
    (bench, register)
}

impl Bench {
    /// The shell finds the way that is asked for.
    fn locate(&mut self) {
        let registration = self.asked_for_the_way();
        let flows = Ok(vec![self.flow]);
        self.endpoint.located(self.now, registration, flows);
        self.drain();
    }

    fn asked_for_the_way(&mut self) -> RegistrationId {
        assert_eq!(self.locates.len(), 1, "{:?}", self.locates);
        self.locates.remove(0)
    }
}

/// One that could not be reached when we started was never registered at.
#[test]
fn a_server_without_a_way_is_looked_for_again_after_longer_and_longer_waits() {
    let mut bench = Bench::new();
    bench.endpoint.register_at(server());
    bench.drain();
    let mut waits = Vec::new();
    for _ in 0..9 {
        let registration = bench.asked_for_the_way();
        let why = Err("no such name");
        bench.endpoint.located(bench.now, registration, why);
        bench.drain();
        assert!(bench.sent.is_empty() && bench.locates.is_empty());
        let failed = bench.now;
        while bench.locates.is_empty() {
            let next = bench.endpoint.next_timeout().unwrap();
            bench.pass(next - bench.now);
        }
        waits.push((bench.now - failed).as_secs());
    }
    for (n, wait) in waits.iter().enumerate() {
        let most = (30u64 << n).min(1_800);
        assert!((most / 2..=most).contains(wait), "{waits:?}");
    }
    bench.locate();
    let register = bench.only();
    bench.feed(&respond(&register, "200 OK", "Expires: 600\r\n", None));
    bench.pass(seconds(480));
    assert!(
        bench.only().starts_with("REGISTER "),
        "by the way that is known"
    );
}

#[test]
fn our_own_time_is_read_among_those_of_others() {
    let ours = "<sip:hospital@192.0.2.1:5060;x=y>;q=0.5;expires=200";
    for contacts in [
        format!("Contact: <sip:hospital@198.51.100.9:5060>;expires=3600\r\nContact: {ours}\r\n"),
        format!("Contact: \"a, b\" <sip:hospital@198.51.100.9>;expires=60, {ours}\r\n"),
        // Not named: what holds for all.
        "Contact: <sip:a@h>;expires=60, <sip:b@h>;expires=70\r\nExpires: 200\r\n".to_owned(),
        // Rewritten on the way.
        "Contact: <sip:hospital@203.0.113.5:6060>;expires=200\r\nExpires: 600\r\n".to_owned(),
    ] {
        let (mut bench, first) = registering();
        bench.feed(&respond(&first, "200 OK", &contacts, None));
        bench.pass(seconds(159));
        assert!(bench.sent.is_empty(), "{contacts}");
        bench.pass(seconds(1));
        bench.only();
    }
}

#[test]
fn a_challenge_for_another_realm_is_not_answered() {
    let (mut bench, register) = registering();
    let challenge = "WWW-Authenticate: Digest realm=\"elsewhere\", nonce=\"n\"\r\n";
    bench.feed(&respond(&register, "401 Unauthorized", challenge, None));
    assert!(bench.sent.is_empty());
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
        while bench.locates.is_empty() {
            let next = bench.endpoint.next_timeout().unwrap();
            bench.pass(next - bench.now);
        }
        bench.locate();
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
    assert_eq!(sent, 2);
    let (mut bench, _) = registering();
    bench.pass(seconds(32 + 30));
    bench.locate();
    let again = bench.take_sent();
    assert!(
        again
            .iter()
            .any(|text| header(text, "CSeq") == Some("2 REGISTER")),
        "{again:#?}"
    );
}

/// A registration at the first of three servers, and the REGISTER to it.
fn at_three_servers() -> (Bench, String) {
    let mut bench = Bench::new();
    bench.endpoint.register_at(server());
    bench.drain();
    let registration = bench.asked_for_the_way();
    let at = |last: u8, transport| Flow {
        transport,
        remote: ([192, 0, 2, last], 5060).into(),
        ..udp()
    };
    let flows = vec![
        at(7, Transport::Udp),
        at(8, Transport::Tcp),
        at(9, Transport::Udp),
    ];
    bench.endpoint.located(bench.now, registration, Ok(flows));
    bench.drain();
    assert_eq!(bench.sent[0].0.remote, address("192.0.2.7:5060"));
    let register = bench.only();
    (bench, register)
}

/// Where a server could not be reached, the next one was tried after half a minute at the soonest
/// (RFC 3263 §4.3).
#[test]
fn the_next_server_is_registered_at_when_one_cannot_be_reached() {
    let (mut bench, first) = at_three_servers();
    bench.feed(&respond(&first, "503 Service Unavailable", "", None));
    let (flow, second) = bench.sent.pop().unwrap();
    assert_eq!(flow.remote, address("192.0.2.8:5060"));
    assert_eq!(bench.connects, [flow], "a connection of its own");
    assert_eq!(
        header(&second, "Contact"),
        Some("<sip:hospital@192.0.2.1:5060;transport=tcp>")
    );
    bench.close(flow.id);
    let (flow, third) = bench.sent.pop().unwrap();
    assert_eq!(flow.remote, address("192.0.2.9:5060"));
    bench.feed(&respond(&third, "200 OK", "Expires: 600\r\n", None));
    bench.pass(seconds(480));
    let (flow, _) = bench.sent.pop().unwrap();
    assert_eq!(flow.remote, address("192.0.2.9:5060"), "it stays there");
    // Nobody answers there any more: where the name leads now is asked anew.
    bench.pass(seconds(32 + 30));
    bench.asked_for_the_way();
}

#[test]
fn silence_leads_to_the_next_server_and_a_refusal_to_none() {
    let (mut bench, _) = at_three_servers();
    bench.pass(seconds(32));
    assert_eq!(
        bench.sent.pop().unwrap().0.remote,
        address("192.0.2.8:5060")
    );
    let (mut bench, first) = at_three_servers();
    bench.feed(&respond(&first, "403 Forbidden", "", None));
    bench.pass(seconds(10));
    assert!(bench.sent.is_empty() && bench.connects.is_empty());
}
