//! URIs that stand for one terminal of an account (RFC 5627).

use mcu_api::call::DialTarget;

use super::accounts::Client;
use super::*;

const DESK: &str = "urn:uuid:00000000-0000-1000-8000-000A95A0E128";
const WALL: &str = "urn:uuid:11111111-0000-1000-8000-000A95A0E128";
const ASKS: &str = "Supported: path, gruu\r\n";

fn contact(user: &str, instance: &str) -> String {
    format!("Contact: <sip:{user}@10.9.9.9:5060>;+sip.instance=\"<{instance}>\"\r\n")
}

fn gruu(instance: &str) -> String {
    format!("sip:or-1@192.0.2.1;gr={instance}")
}

/// Two terminals of one account, behind a NAT each.
fn registered() -> Client {
    let mut client = Client::new(config());
    for (user, instance, remote) in [
        ("wall", WALL, "203.0.113.9:41000"),
        ("desk", DESK, "203.0.113.9:42000"),
    ] {
        client.bench.flow.remote = address(remote);
        let ok = client.proven(&(contact(user, instance) + ASKS));
        assert!(ok.starts_with("SIP/2.0 200 OK"), "{ok}");
    }
    client
}

fn called(bench: &mut Bench, uri: &str) -> Vec<(Flow, String)> {
    bench.called(DialTarget::Uri {
        uri: uri.to_owned(),
        via: None,
    })
}

#[test]
fn a_terminal_that_asks_is_told_its_own_uri() {
    let mut client = Client::new(config());
    let ok = client.proven(&(contact("desk", DESK) + ASKS + "Require: gruu\r\n"));
    let listed = header(&ok, "Contact").unwrap();
    let expected = format!(
        "<sip:desk@10.9.9.9:5060>;+sip.instance=\"<{DESK}>\";pub-gruu=\"{}\";expires=3600",
        gruu(DESK)
    );
    assert_eq!(listed, expected);
    let ok = client.proven(&contact("desk", DESK));
    assert!(!ok.contains("gruu"), "who does not ask: {ok}");
    let ok = client.proven(&("Contact: <sip:desk@10.9.9.9:5060>\r\n".to_owned() + ASKS));
    assert!(!ok.contains("gruu"), "who has no name: {ok}");
    // What is no URN is escaped, and what is too long has none.
    let ok = client.proven(&(contact("desk", "a b;c>") + ASKS));
    let escaped = "pub-gruu=\"sip:or-1@192.0.2.1;gr=a%20b%3Bc%3E\"";
    assert!(ok.contains(escaped), "{ok}");
    let ok = client.proven(&(contact("desk", &"x;".repeat(300)) + ASKS));
    assert!(
        ok.starts_with("SIP/2.0 200 ") && !ok.contains("gruu"),
        "{ok}"
    );
}

#[test]
fn a_call_to_it_reaches_that_terminal_alone() {
    let mut client = registered();
    let bench = &mut client.bench;
    let sent = called(bench, &gruu(WALL));
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].0.remote, address("203.0.113.9:41000"));
    assert!(
        sent[0].1.starts_with("INVITE sip:wall@10.9.9.9:5060 "),
        "{}",
        sent[0].1
    );
    bench.command(CallCommand::Hangup {
        call: super::dialling::CALL,
    });
    // The next life of the process knows it, too.
    bench.restart(seconds(1));
    let sent = called(bench, &gruu(&DESK.to_lowercase()));
    assert_eq!(sent.len(), 1);
    assert!(
        sent[0].1.starts_with("INVITE sip:desk@10.9.9.9:5060 "),
        "{}",
        sent[0].1
    );
    bench.restart(seconds(1));
    bench.take_events();
    for unknown in [
        gruu("urn:uuid:2"),
        gruu(DESK).replace("or-1", "guest"),
        gruu(""),
        { "sip:or-1@192.0.2.1:5060;gr".to_owned() },
    ] {
        assert_eq!(called(bench, &unknown), [], "{unknown}");
        bench.ended(super::dialling::CALL, EndReason::Refused(480));
    }
    bench.pass(seconds(3_601));
    assert_eq!(called(bench, &gruu(DESK)), []);
}

#[test]
fn it_is_no_contact_to_register() {
    let mut client = Client::new(config());
    let circle = format!("Contact: <{}>\r\n", gruu(DESK));
    assert!(client.proven(&circle).starts_with("SIP/2.0 403 "));
    // Another server's is.
    let other = circle.replace("or-1@192.0.2.1", "x@192.0.2.9");
    assert!(client.proven(&other).starts_with("SIP/2.0 200 "));
}

/// A terminal names it as its Contact (RFC 5627 §4.3): our requests went to ourselves.
#[test]
fn requests_within_a_call_reach_who_names_it_as_contact() {
    let contact = "<sip:or-1@192.0.2.7:5060>";
    let mut client = registered();
    let named = format!("<sip:or-1@192.0.2.1:5060;gr={DESK}>");
    let bench = &mut client.bench;
    let (call, ok) = {
        let invite = request("INVITE", "3000", 1, "", "a", "", Some(OFFER));
        bench.feed(&invite.replace(contact, &named));
        let call = bench.incoming();
        bench.take_sent();
        (call, bench.accept(call))
    };
    let ack = request("ACK", "3000", 1, &tag_of(&ok), "a-ack", "", None);
    bench.feed(&ack.replace(contact, &named));
    bench.command(CallCommand::Hangup { call });
    let (flow, bye) = bench.sent.pop().unwrap();
    assert_eq!(flow.remote, address("203.0.113.9:42000"));
    assert!(bye.starts_with("BYE sip:desk@10.9.9.9:5060 "), "{bye}");
}

/// Whoever knows the GRUU of another is not told where that is, nor does anything of its calls go there.
#[test]
fn the_uri_of_another_leads_strangers_nowhere() {
    let mut client = registered();
    let named = format!("<sip:or-1@192.0.2.1:5060;gr={DESK}>");
    let bench = &mut client.bench;
    bench.flow.remote = address("198.51.100.66:5060");
    let invite = request("INVITE", "3000", 1, "", "a", "", Some(OFFER));
    bench.feed(&invite.replace("<sip:or-1@192.0.2.7:5060>", &named));
    let call = bench.incoming();
    bench.take_sent();
    let ok = bench.accept(call);
    bench.feed(&request("ACK", "3000", 1, &tag_of(&ok), "a-ack", "", None));
    bench.command(CallCommand::Hangup { call });
    let (flow, bye) = bench.sent.pop().unwrap();
    assert_eq!(flow.remote, address("198.51.100.66:5060"));
    assert!(bye.starts_with("BYE sip:or-1@192.0.2.1:5060;gr="), "{bye}");
    assert!(!bye.contains("10.9.9.9"), "{bye}");
}

/// Defect: where it named us by our address on another listener, our requests went there, and the call
/// ended by our own 481.
#[test]
fn the_uri_of_nobody_who_registered_leads_back_to_the_caller() {
    let mut bench = Bench::new();
    let named = format!("<sip:or-1@192.0.2.55:5060;gr={DESK}>");
    let invite = request("INVITE", "3000", 1, "", "a", "", Some(OFFER));
    bench.feed(&invite.replace("<sip:or-1@192.0.2.7:5060>", &named));
    let call = bench.incoming();
    let ok = bench.accept(call);
    bench.feed(&request("ACK", "3000", 1, &tag_of(&ok), "a-ack", "", None));
    bench.command(CallCommand::Hangup { call });
    let (flow, bye) = bench.sent.pop().unwrap();
    assert_eq!(flow.remote, udp().remote, "{bye}");
}

/// Nobody has registered any more: no connection is opened to ourselves.
#[test]
fn a_contact_at_our_own_address_is_not_connected_to() {
    let translated = Flow {
        local: address("10.0.0.4:5060"),
        advertised: Some("192.0.2.1".parse().unwrap()),
        ..tcp(9)
    };
    for flow in [tcp(9), translated] {
        let mut bench = Bench::new().over(flow);
        let named = format!("<sip:or-1@192.0.2.1:5060;transport=tcp;gr={DESK}>");
        let invite = request("INVITE", "3000", 1, "", "a", "", Some(OFFER));
        bench.feed(&invite.replace("<sip:or-1@192.0.2.7:5060>", &named));
        let call = bench.incoming();
        bench.take_sent();
        let ok = bench.accept(call);
        bench.feed(&request("ACK", "3000", 1, &tag_of(&ok), "a-ack", "", None));
        bench.close(FlowId(9));
        bench.command(CallCommand::Hangup { call });
        assert!(
            bench
                .connects
                .iter()
                .all(|flow| flow.remote == tcp(9).remote)
        );
        assert_eq!(bench.connects.len(), 1);
    }
}
