//! Flows of terminals that name themselves (RFC 5626), and by which way accounts are called.

use mcu_api::call::{DialTarget, OutgoingCall};

use super::accounts::Client;
use super::dialling::{CALL, outgoing};
use super::*;

const INSTANCE: &str = "\"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>\"";

fn outbound(user: &str, reg_id: u32, supported: &str) -> String {
    format!(
        "Contact: <sip:{user}@10.9.9.9:5060;ob>;+sip.instance={INSTANCE};reg-id={reg_id}\r\n{supported}"
    )
}

const KNOWS: &str = "Supported: path, outbound\r\n";

fn called(bench: &mut Bench) -> Vec<(Flow, String)> {
    bench.called(DialTarget::Account("or-1".into()))
}

impl Bench {
    /// A room calls by the ways that contacts registered; what leaves.
    pub(super) fn called(&mut self, target: DialTarget) -> Vec<(Flow, String)> {
        let wanted = OutgoingCall {
            target,
            ..outgoing(None)
        };
        self.endpoint.dial(self.now, wanted, |path| path.flow);
        self.drain();
        std::mem::take(&mut self.sent)
    }
}

#[test]
fn a_terminal_that_names_itself_keeps_one_binding_for_each_flow() {
    let mut client = Client::new(config());
    let ok = client.proven(&outbound("a", 1, KNOWS));
    assert!(ok.starts_with("SIP/2.0 200 OK"), "{ok}");
    assert_eq!(header(&ok, "Require"), Some("outbound"));
    let contact = header(&ok, "Contact").unwrap();
    assert!(
        contact.contains(&format!(";+sip.instance={INSTANCE};reg-id=1;expires=")),
        "{contact}"
    );
    // Another address of the same flow takes the place of the old one.
    client.proven(&outbound("b", 1, KNOWS));
    assert_eq!(client.contacts().len(), 1);
    client.proven(&outbound("c", 2, KNOWS));
    assert_eq!(client.contacts().len(), 2);
    // Without the extension, addresses are told apart as ever, and nothing is promised.
    let ok = client.proven(&outbound("d", 2, ""));
    assert_eq!(header(&ok, "Require"), None);
    assert_eq!(client.contacts().len(), 3);
}

#[test]
fn one_flow_of_a_terminal_is_called_and_it_is_the_one_registered_on() {
    let mut client = Client::new(config());
    client.proven(&outbound("a", 1, KNOWS));
    // The second flow comes by another of our sockets, from behind a NAT.
    let second = Flow {
        id: FlowId(5),
        local: address("198.51.100.1:5070"),
        remote: address("203.0.113.9:41000"),
        ..udp()
    };
    client.bench.flow = second;
    client.proven(&outbound("a", 2, KNOWS));
    let sent = called(&mut client.bench);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].0, second);
    let invite = &sent[0].1;
    assert!(
        invite.starts_with("INVITE sip:a@10.9.9.9:5060;ob SIP/2.0"),
        "{invite}"
    );
    assert!(
        header(invite, "Contact")
            .unwrap()
            .contains("198.51.100.1:5070")
    );
    // The next life of the process knows the flow, too.
    client.bench.restart(seconds(1));
    assert_eq!(called(&mut client.bench)[0].0, second);
}

#[test]
fn a_flow_whose_connection_is_gone_is_not_called() {
    let mut client = Client::new(config());
    client.bench.flow = tcp(9);
    client.proven(&outbound("a", 1, KNOWS));
    client.bench.flow = tcp(10);
    client.bench.flow.remote = address("192.0.2.7:40002");
    client.proven(&outbound("a", 2, KNOWS));
    client.bench.close(FlowId(10));
    let sent = called(&mut client.bench);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].0, tcp(9), "the other flow of the same terminal");
    client.bench.close(FlowId(9));
    client.bench.take_events();
    let account = DialTarget::Account("or-1".into());
    assert_eq!(
        client.bench.endpoint.paths_to(client.bench.now, &account),
        []
    );
}

/// RFC 5626 §7: 430, no answer, or the end of the connection while it rings.
#[test]
fn a_flow_that_fails_during_the_call_is_followed_by_the_terminals_next_one() {
    let fail: [fn(&mut Bench, &str); 4] = [
        |bench, invite| bench.feed(&respond(invite, "430 Flow Failed", "", None)),
        |bench, invite| bench.feed(&respond(invite, "408 Request Timeout", "", None)),
        |bench, _| bench.pass(seconds(32)),
        |bench, invite| {
            bench.feed(&respond(invite, "180 Ringing", "", None));
            bench.close(bench.flow.id);
        },
    ];
    for fail in fail {
        let mut client = Client::new(config());
        client.bench.flow = tcp(9);
        client.proven(&outbound("a", 1, KNOWS));
        client.bench.flow = tcp(10);
        client.bench.flow.remote = address("192.0.2.7:40002");
        client.proven(&outbound("b", 2, KNOWS));
        let mut bench = client.bench;
        let sent = called(&mut bench);
        let [(flow, first)] = &sent[..] else {
            panic!("{sent:#?}");
        };
        assert_eq!(*flow, bench.flow);
        bench.take_events();
        fail(&mut bench, first);
        let invites = bench
            .sent
            .drain(..)
            .filter(|(_, m)| m.starts_with("INVITE "));
        let invites: Vec<(Flow, String)> = invites.collect();
        let [(flow, second)] = &invites[..] else {
            panic!("{invites:#?}");
        };
        assert_eq!(*flow, tcp(9));
        assert!(second.starts_with("INVITE sip:a@10.9.9.9"), "{second}");
        assert_eq!(header(second, "Call-ID"), header(first, "Call-ID"));
        assert_eq!(header(second, "CSeq"), Some("2 INVITE"));
        bench.take_events();
        bench.flow = tcp(9);
        bench.feed(&respond(second, "430 Flow Failed", "", None));
        bench.ended(CALL, EndReason::Refused(430));
    }
}

/// The terminal has answered: by its other flow it would say the same.
#[test]
fn a_terminal_that_refuses_is_not_called_by_its_next_flow() {
    let mut client = Client::new(config());
    client.proven(&outbound("a", 1, KNOWS));
    client.bench.flow.remote = address("192.0.2.7:5070");
    client.proven(&outbound("a", 2, KNOWS));
    let sent = called(&mut client.bench);
    client
        .bench
        .feed(&respond(&sent[0].1, "486 Busy Here", "", None));
    client.bench.ended(CALL, EndReason::Refused(486));
}

#[test]
fn what_a_proxy_passed_on_is_no_flow_of_the_terminal() {
    let mut client = Client::new(config());
    let contacts = outbound("a", 1, KNOWS);
    let beyond = format!("{contacts}Via: SIP/2.0/UDP 10.9.9.9;branch=z9hG4bKx\r\n");
    let answer = client.proven(&beyond);
    assert!(answer.starts_with("SIP/2.0 439 "), "{answer}");
    assert_eq!(client.contacts(), []);
}

#[test]
fn a_terminal_may_ask_whether_its_flow_is_there() {
    let mut bench = Bench::new();
    let ask = b"\0\x01\0\0\x21\x12\xa4\x42twelve bytes";
    let (flow, bytes) = (bench.flow, &ask[..]);
    let received = Input::Received { flow, bytes };
    bench.endpoint.handle_input(bench.now, received);
    let Some(Output::Transmit { flow: back, bytes }) = bench.endpoint.poll_output() else {
        panic!("no answer");
    };
    assert_eq!(
        (back, &bytes[..2], &bytes[8..20]),
        (flow, &[1, 1][..], &ask[8..])
    );
    assert_eq!(bench.endpoint.poll_output(), None);
}
