//! Calls to a name that leads to several servers (RFC 3263 §4.3).

use mcu_api::call::{DialTarget, HopTransport, OutgoingCall};

use super::dialling::{CALL, answered, located, outgoing};
use super::*;

const FIRST: &str = "192.0.2.7:5060";
const SECOND: &str = "192.0.2.8:5080";
const THIRD: &str = "192.0.2.9:5060";

/// A call whose name leads to these, and what was sent.
fn called(hops: &[(HopTransport, &str)]) -> Bench {
    let mut bench = Bench::new();
    let wanted = OutgoingCall {
        target: located(hops),
        ..outgoing(None)
    };
    let by = |path: &crate::Path| {
        Some(Flow {
            transport: path.transport,
            remote: path.remote,
            ..udp()
        })
    };
    bench.endpoint.dial(bench.now, wanted, by);
    bench.drain();
    bench
}

const OVER_UDP: [(HopTransport, &str); 3] = [
    (HopTransport::Udp, FIRST),
    (HopTransport::Udp, SECOND),
    (HopTransport::Udp, THIRD),
];

/// The INVITE sent last, and where; what else was sent are ACKs, and the same again.
fn last_invite(bench: &mut Bench) -> (SocketAddr, String) {
    let sent = bench.sent.drain(..);
    let mut invites = sent.filter(|(_, text)| text.starts_with("INVITE "));
    let (flow, text) = invites.next_back().expect("an INVITE");
    (flow.remote, text)
}

#[test]
fn the_next_server_is_called_when_one_is_out_of_service_or_silent() {
    let mut bench = called(&OVER_UDP);
    let (at, first) = last_invite(&mut bench);
    assert_eq!(at, address(FIRST));
    assert!(
        first.starts_with("INVITE sip:5551234@carrier.example SIP/2.0"),
        "{first}"
    );
    bench.feed(&respond(&first, "503 Service Unavailable", "", None));
    let (at, second) = last_invite(&mut bench);
    assert_eq!(at, address(SECOND));
    assert!(
        second.starts_with("INVITE sip:5551234@carrier.example SIP/2.0"),
        "{second}"
    );
    let branch = |invite: &str| header(invite, "Via").unwrap().to_owned();
    assert_ne!(branch(&first), branch(&second));
    assert_eq!(body_of(&second), OFFER);
    bench.pass(seconds(32));
    let (at, third) = last_invite(&mut bench);
    assert_eq!(at, address(THIRD));
    bench.feed(&answered(&third, "200 OK", Some(ANSWER)));
    assert!(matches!(
        bench.take_events()[..],
        [
            CallEvent::Answered { .. },
            CallEvent::Established { call: CALL }
        ]
    ));
}

#[test]
fn a_connection_that_fails_leads_to_the_next_server_by_one_of_its_own() {
    let mut bench = called(&[(HopTransport::Tcp, FIRST), (HopTransport::Tcp, SECOND)]);
    let (at, _) = last_invite(&mut bench);
    assert_eq!(at, address(FIRST));
    let first = bench.connects.pop().unwrap();
    bench.close(first.id);
    let (at, second) = last_invite(&mut bench);
    assert_eq!(at, address(SECOND));
    assert!(second.contains("SIP/2.0/TCP"), "{second}");
    let second = bench.connects.pop().unwrap();
    assert_eq!(second.remote, address(SECOND));
    bench.close(second.id);
    bench.ended(CALL, EndReason::Timeout);
}

/// Defect: the next server called a callee who rang already.
#[test]
fn a_callee_who_rings_is_not_called_by_another_server() {
    let over_tcp = [(HopTransport::Tcp, FIRST), (HopTransport::Tcp, SECOND)];
    for (rings, status) in [
        ("180 Ringing", None),
        ("183 Session Progress", None),
        ("180 Ringing", Some("503 Service Unavailable")),
        (
            "199 Early Dialog Terminated",
            Some("503 Service Unavailable"),
        ),
    ] {
        let mut bench = called(&over_tcp);
        let (_, first) = last_invite(&mut bench);
        let connection = bench.connects.pop().unwrap();
        bench.flow = connection;
        bench.feed(&answered(&first, rings, None));
        bench.take_events();
        match status {
            Some(status) => bench.feed(&respond(&first, status, "", None)),
            None => bench.close(connection.id),
        }
        let reason = match status {
            Some(_) => EndReason::Refused(503),
            None => EndReason::Timeout,
        };
        bench.ended(CALL, reason);
        assert!(bench.connects.is_empty());
    }
}

/// 100 says only that the server is there.
#[test]
fn a_server_that_is_trying_may_still_be_gone() {
    let mut bench = called(&[(HopTransport::Tcp, FIRST), (HopTransport::Tcp, SECOND)]);
    let (_, first) = last_invite(&mut bench);
    let connection = bench.connects.pop().unwrap();
    bench.flow = connection;
    bench.feed(&respond(&first, "100 Trying", "", None));
    bench.close(connection.id);
    assert_eq!(last_invite(&mut bench).0, address(SECOND));
}

/// A server that answers has been reached, and speaks for whom it has called.
#[test]
fn a_refusal_is_the_callees_and_leads_nowhere_else() {
    for (status, reason) in [
        ("486 Busy Here", EndReason::Refused(486)),
        ("404 Not Found", EndReason::Refused(404)),
        ("408 Request Timeout", EndReason::Timeout),
        ("500 Server Error", EndReason::Refused(500)),
        ("603 Decline", EndReason::Refused(603)),
    ] {
        let mut bench = called(&OVER_UDP);
        let (_, first) = last_invite(&mut bench);
        bench.feed(&respond(&first, status, "", None));
        bench.ended(CALL, reason);
        bench.pass(seconds(60));
        assert!(bench.take_sent().iter().all(|text| text.starts_with("ACK")));
    }
}

#[test]
fn the_call_is_over_when_no_server_is_left() {
    let mut bench = called(&OVER_UDP);
    for _ in OVER_UDP {
        let (_, invite) = last_invite(&mut bench);
        bench.feed(&respond(&invite, "503 Service Unavailable", "", None));
    }
    bench.ended(CALL, EndReason::Refused(503));
}

#[test]
fn a_caller_who_gives_up_meanwhile_has_nobody_else_called() {
    let mut bench = called(&OVER_UDP);
    last_invite(&mut bench);
    bench.command(CallCommand::Hangup { call: CALL });
    bench.take_events();
    bench.pass(seconds(120));
    let sent = bench.sent.iter();
    assert!(sent.clone().all(|(flow, _)| flow.remote == address(FIRST)));
}

/// RFC 5922 §4: who forges DNS would have us believe the certificate of any other name.
#[test]
fn over_tls_a_server_is_to_prove_the_name_that_was_called_and_not_another() {
    let over_tls = [(HopTransport::Tls, FIRST), (HopTransport::Tls, SECOND)];
    let mut bench = called(&over_tls);
    let domain = Some("carrier.example".to_owned());
    assert_eq!(bench.domains.last(), Some(&domain));
    let (_, invite) = last_invite(&mut bench);
    assert!(invite.contains("SIP/2.0/TLS"), "{invite}");
    assert!(
        header(&invite, "Contact")
            .unwrap()
            .contains(";transport=tls"),
        "{invite}"
    );
    let path = |bench: &Bench, domain: &str| {
        let mut target = located(&over_tls[..1]);
        if let DialTarget::Uri { via: Some(via), .. } = &mut target {
            via.domain = domain.to_owned();
        }
        bench.endpoint.paths_to(bench.now, &target)[0].flow
    };
    let proven = bench.connects[0];
    assert_eq!(path(&bench, "carrier.example"), Some(proven));
    assert_eq!(path(&bench, "other.example"), None);
    // The next server has to be the same one by name.
    bench.close(proven.id);
    assert_eq!(bench.connects[1].remote, address(SECOND));
    assert_eq!(bench.domains[1], domain);
}

/// A connection that a peer has opened proves nothing of who it is.
#[test]
fn over_tls_a_peers_own_connection_is_not_taken_for_the_servers() {
    let mut bench = Bench::new();
    bench.flow = Flow {
        id: FlowId(9),
        transport: Transport::Tls,
        remote: address(FIRST),
        ..udp()
    };
    bench.feed("\r\n\r\n");
    let path = bench
        .endpoint
        .paths_to(bench.now, &located(&[(HopTransport::Tls, FIRST)]))[0];
    assert_eq!((path.transport, path.flow), (Transport::Tls, None));
}
