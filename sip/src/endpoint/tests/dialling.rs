//! Calls of ours (RFC 3261 §13.2, §9.1).

use mcu_api::call::{Credentials, DialTarget, Hop, HopTransport, OutgoingCall, SrtpPolicy, Via};

use super::*;
use crate::Path;

pub(super) const CALL: CallId = CallId(CallId::FIRST_DIALLED.0 + 7);

pub(super) fn outgoing(credentials: Option<&str>) -> OutgoingCall {
    OutgoingCall {
        call: CALL,
        target: DialTarget::Uri {
            uri: "sip:or-1@192.0.2.7:5060".into(),
            via: None,
        },
        number: "3000".into(),
        name: Redacted("手术室 \"3\"".into()),
        from: None,
        credentials: credentials.map(|user| Credentials {
            user: user.to_owned(),
            password: Redacted("s3cret".to_owned()),
            realms: vec!["far".to_owned()],
        }),
        sdp: Redacted(OFFER.into()),
        srtp: SrtpPolicy::default(),
    }
}

/// A trunk at this address, over UDP.
pub(super) fn trunk(at: &str) -> Option<Via> {
    Some(Via {
        domain: "carrier.example".into(),
        hops: vec![Hop {
            transport: HopTransport::Udp,
            address: address(at),
        }],
        trunk: true,
    })
}

/// A domain, and the servers that its name leads to.
pub(super) fn located(hops: &[(HopTransport, &str)]) -> DialTarget {
    let hop = |(transport, at): &(HopTransport, &str)| Hop {
        transport: *transport,
        address: address(at),
    };
    DialTarget::Uri {
        uri: "sip:5551234@carrier.example".into(),
        via: Some(Via {
            domain: "carrier.example".into(),
            hops: hops.iter().map(hop).collect(),
            trunk: false,
        }),
    }
}

impl Bench {
    pub(super) fn dial(&mut self, wanted: OutgoingCall) {
        let flow = self.flow;
        self.endpoint.dial(self.now, wanted, |_| Some(flow));
        self.drain();
    }

    /// Dials; the INVITE.
    pub(super) fn dialled(&mut self) -> String {
        self.dial(outgoing(None));
        self.only()
    }

    fn path_to(&self, target: &DialTarget) -> Option<Path> {
        self.endpoint.paths_to(self.now, target).first().copied()
    }
}

/// A response that begins a dialog: with a tag and a Contact.
pub(super) fn answered(invite: &str, status: &str, sdp: Option<&str>) -> String {
    answered_by("callee", invite, status, "", sdp)
}

/// The same of a callee with this tag, with further headers.
pub(super) fn answered_by(
    tag: &str,
    invite: &str,
    status: &str,
    headers: &str,
    sdp: Option<&str>,
) -> String {
    let headers = format!("Contact: <sip:{tag}@192.0.2.7:5070>\r\n{headers}");
    let headers = headers.replace("sip:callee@", "sip:or-1@");
    let text = respond(invite, status, &headers, sdp);
    let to = header(invite, "To").unwrap();
    text.replace(&format!("To: {to}\r\n"), &format!("To: {to};tag={tag}\r\n"))
}

/// A request of a callee within the dialog that it began; `local` is our tag.
pub(super) fn of_callee(
    tag: &str,
    invite: &str,
    method: &str,
    cseq: u32,
    sdp: Option<&str>,
) -> String {
    let local = header(invite, "From").unwrap();
    let local = local.split(";tag=").nth(1).unwrap();
    let call_id = header(invite, "Call-ID").unwrap();
    request(
        method,
        "3000",
        cseq,
        local,
        &format!("{tag}{cseq}"),
        "",
        sdp,
    )
    .replace("tag=peer", &format!("tag={tag}"))
    .replace("one@192.0.2.7", call_id)
}

#[test]
fn a_callee_that_answers_is_acknowledged_and_the_dialog_goes_on() {
    let mut bench = Bench::new();
    let invite = bench.dialled();
    assert!(
        invite.starts_with("INVITE sip:or-1@192.0.2.7:5060 SIP/2.0"),
        "{invite}"
    );
    let from = header(&invite, "From").unwrap();
    assert!(
        from.starts_with("\"手术室 \\\"3\\\"\" <sip:3000@192.0.2.1:5060>;tag="),
        "{from}"
    );
    assert_eq!(body_of(&invite), OFFER);
    bench.feed(&respond(&invite, "100 Trying", "", None));
    bench.feed(&answered(&invite, "180 Ringing", None));
    assert_eq!(bench.take_events(), [CallEvent::Ringing { call: CALL }]);
    let ok = answered(&invite, "200 OK", Some(ANSWER));
    bench.feed(&ok);
    let ack = bench.only();
    assert!(
        ack.starts_with("ACK sip:or-1@192.0.2.7:5070 SIP/2.0"),
        "{ack}"
    );
    assert_eq!(header(&ack, "CSeq"), Some("1 ACK"));
    assert!(header(&ack, "To").unwrap().ends_with(";tag=callee"));
    let sdp = Redacted(ANSWER.to_owned());
    let events = bench.take_events();
    assert_eq!(
        events,
        [
            CallEvent::Answered { call: CALL, sdp },
            CallEvent::Established { call: CALL }
        ]
    );
    bench.feed(&ok);
    assert_eq!(bench.only(), ack, "the ACK was lost");
    assert_eq!(bench.take_events(), []);
    bench.command(CallCommand::Hangup { call: CALL });
    let bye = bench.only();
    assert!(
        bye.starts_with("BYE sip:or-1@192.0.2.7:5070 SIP/2.0"),
        "{bye}"
    );
    assert_eq!(header(&bye, "CSeq"), Some("2 BYE"));
    bench.ended(CALL, EndReason::Local);
}

#[test]
fn the_callee_may_hang_up_and_the_call_outlives_a_restart() {
    let mut bench = Bench::new();
    let invite = bench.dialled();
    bench.feed(&answered(&invite, "200 OK", Some(ANSWER)));
    bench.take_events();
    bench.take_sent();
    bench.restart(seconds(1));
    assert!(bench.endpoint.has_call(CALL));
    // A call that comes in now has a number of its own.
    let tag = header(&invite, "From")
        .unwrap()
        .split("tag=")
        .nth(1)
        .unwrap()
        .to_owned();
    let call_id = header(&invite, "Call-ID").unwrap();
    let bye = request("BYE", "3000", 5, &tag, "bye", "", None)
        .replace("tag=peer", "tag=callee")
        .replace("one@192.0.2.7", call_id);
    bench.feed(&bye);
    assert!(bench.only().starts_with("SIP/2.0 200"));
    bench.ended(CALL, EndReason::Remote);
    let (incoming, _) = bench.up();
    assert!(incoming < CallId::FIRST_DIALLED, "{incoming}");
}

#[test]
fn a_refusal_silence_and_a_broken_answer_end_the_call() {
    let mut bench = Bench::new();
    let invite = bench.dialled();
    bench.feed(&answered(&invite, "486 Busy Here", None));
    assert!(bench.only().starts_with("ACK "));
    bench.ended(CALL, EndReason::Refused(486));

    let mut bench = Bench::new();
    bench.dialled();
    bench.pass(seconds(33));
    bench.ended(CALL, EndReason::Timeout);
    assert_eq!(bench.endpoint.load().calls, 0);

    let mut bench = Bench::new();
    let invite = bench.dialled();
    bench.feed(&answered(&invite, "200 OK", None));
    let sent = bench.start_lines();
    assert!(
        sent[0].starts_with("ACK ") && sent[1].starts_with("BYE "),
        "{sent:?}"
    );
    bench.ended(CALL, EndReason::ProtocolError);
}

#[test]
fn hanging_up_before_the_answer_cancels_once_something_came() {
    let mut bench = Bench::new();
    let invite = bench.dialled();
    bench.command(CallCommand::Hangup { call: CALL });
    bench.ended(CALL, EndReason::Local);
    assert!(
        bench.sent.is_empty(),
        "no CANCEL before a provisional response"
    );
    bench.feed(&respond(&invite, "100 Trying", "", None));
    let cancel = bench.only();
    assert!(
        cancel.starts_with("CANCEL sip:or-1@192.0.2.7:5060 SIP/2.0"),
        "{cancel}"
    );
    assert_eq!(header(&cancel, "CSeq"), Some("1 CANCEL"));
    assert_eq!(header(&cancel, "Via"), header(&invite, "Via"));
    bench.feed(&respond(&cancel, "200 OK", "", None));
    bench.feed(&answered(&invite, "487 Request Terminated", None));
    assert!(bench.only().starts_with("ACK "));
    assert_eq!(bench.take_events(), []);
    assert_eq!(bench.endpoint.load().calls, 0);
}

#[test]
fn an_answer_that_crosses_the_cancel_is_taken_and_hung_up() {
    let mut bench = Bench::new();
    let invite = bench.dialled();
    bench.feed(&respond(&invite, "180 Ringing", "", None));
    bench.command(CallCommand::Hangup { call: CALL });
    bench.take_events();
    bench.take_sent();
    bench.feed(&answered(&invite, "200 OK", Some(ANSWER)));
    let sent = bench.start_lines();
    assert!(
        sent[0].starts_with("ACK ") && sent[1].starts_with("BYE "),
        "{sent:?}"
    );
    assert_eq!(bench.take_events(), []);
    assert_eq!(bench.endpoint.load().calls, 0);
}

#[test]
fn who_rings_for_too_long_is_given_up() {
    let mut bench = Bench::new();
    let invite = bench.dialled();
    bench.feed(&respond(&invite, "180 Ringing", "", None));
    bench.take_events();
    bench.pass(seconds(121));
    bench.ended(CALL, EndReason::Timeout);
    assert!(bench.start_lines()[0].starts_with("CANCEL "));
    bench.pass(seconds(70));
    assert_eq!(bench.endpoint.load().calls, 0);
    assert_eq!(bench.take_events(), []);
}

#[test]
fn a_challenge_is_answered_with_the_credentials_given() {
    for (status, name, answer) in [
        ("401 Unauthorized", "WWW-Authenticate", "Authorization"),
        (
            "407 Proxy Authentication Required",
            "Proxy-Authenticate",
            "Proxy-Authorization",
        ),
    ] {
        let challenge = format!("{name}: Digest realm=\"far\", nonce=\"n1\", qop=\"auth\"\r\n");
        let mut bench = Bench::new();
        bench.dial(outgoing(Some("us")));
        let first = bench.only();
        assert_eq!(header(&first, answer), None);
        bench.feed(&respond(&first, status, &challenge, None));
        let sent = bench.take_sent();
        assert!(sent[0].starts_with("ACK "), "{}", sent[0]);
        let second = &sent[1];
        let proof = header(second, answer).unwrap();
        assert!(
            proof.contains("username=\"us\"") && proof.contains("realm=\"far\""),
            "{proof}"
        );
        assert_eq!(header(second, "CSeq"), Some("2 INVITE"));
        assert_eq!(header(second, "Call-ID"), header(&first, "Call-ID"));
        bench.feed(&answered(second, "200 OK", Some(ANSWER)));
        assert_eq!(bench.take_events().len(), 2);

        // A wrong password is not tried again; a nonce that is too old is no wrong password.
        let stale = challenge
            .replace("n1", "n2")
            .replace("qop", "stale=true, qop");
        for (second, expected) in [(&challenge, 2), (&stale, 4)] {
            let mut bench = Bench::new();
            bench.dial(outgoing(Some("us")));
            let mut invites = 0;
            loop {
                let sent = bench.take_sent();
                let Some(invite) = sent.iter().find(|text| text.starts_with("INVITE ")) else {
                    break;
                };
                let asked = if invites == 0 { &challenge } else { second };
                invites += 1;
                bench.feed(&respond(invite, status, asked, None));
            }
            assert_eq!(invites, expected);
            let reason = EndReason::Refused(status[..3].parse().unwrap());
            bench.ended(CALL, reason);
        }
    }
    // Without credentials a challenge is a refusal.
    let mut bench = Bench::new();
    let invite = bench.dialled();
    bench.feed(&respond(&invite, "401 Unauthorized", "", None));
    bench.ended(CALL, EndReason::Refused(401));
}

/// Whoever the trunk led the call to got a digest of the password for a realm of its choice, and could
/// try passwords on it at leisure.
#[test]
fn a_challenge_for_another_realm_is_not_answered() {
    for (status, name) in [
        ("401 Unauthorized", "WWW-Authenticate"),
        ("407 Proxy Authentication Required", "Proxy-Authenticate"),
    ] {
        let challenge = format!("{name}: Digest realm=\"elsewhere\", nonce=\"n\"\r\n");
        let mut bench = Bench::new();
        bench.dial(outgoing(Some("us")));
        let invite = bench.only();
        bench.feed(&respond(&invite, status, &challenge, None));
        assert!(bench.only().starts_with("ACK "));
        bench.ended(CALL, EndReason::Refused(status[..3].parse().unwrap()));
    }
}

#[test]
fn a_challenge_from_a_host_that_was_not_asked_is_not_answered() {
    let mut bench = Bench::new();
    bench.dial(outgoing(Some("us")));
    let invite = bench.only();
    let challenge = "WWW-Authenticate: Digest realm=\"far\", nonce=\"n\"\r\n";
    let challenged = respond(&invite, "401 Unauthorized", challenge, None);
    bench.flow.remote = address("192.0.2.66:5060");
    bench.feed(&challenged);
    assert!(bench.sent.is_empty());
    bench.flow.remote = address("192.0.2.7:5062");
    bench.feed(&challenged);
    assert_eq!(bench.take_sent().len(), 2, "an ACK and the proof");
}

/// RFC 3261 §22.3: a proxy and the server behind it each want a proof of their own.
#[test]
fn the_proofs_for_two_realms_go_together() {
    let mut bench = Bench::new();
    let mut wanted = outgoing(Some("us"));
    let credentials = wanted.credentials.as_mut().unwrap();
    credentials.realms.push("Door".into());
    bench.dial(wanted);
    let first = bench.only();
    let door = "Proxy-Authenticate: Digest realm=\"door\", nonce=\"a\"\r\n";
    bench.feed(&respond(&first, "407 Who", door, None));
    let second = bench.take_sent().remove(1);
    let far = "WWW-Authenticate: Digest realm=\"far\", nonce=\"b\"\r\n";
    bench.feed(&respond(&second, "401 Who", far, None));
    let third = bench.take_sent().remove(1);
    let proof = |name| header(&third, name).unwrap();
    assert!(
        proof("Proxy-Authorization").contains("realm=\"door\""),
        "{third}"
    );
    assert!(proof("Authorization").contains("realm=\"far\""), "{third}");
}

#[test]
fn a_registered_account_is_called_at_its_contact_and_by_its_connection() {
    let mut bench = Bench::new().over(tcp(9));
    let account = DialTarget::Account("or-1".into());
    assert_eq!(bench.path_to(&account), None, "not registered");
    let register = |cseq: u32, headers: &str| {
        format!(
            "REGISTER sip:192.0.2.1 SIP/2.0\r\n\
             Via: SIP/2.0/TCP 192.0.2.7:5060;branch=z9hG4bKr{cseq}\r\n\
             From: <sip:or-1@192.0.2.1>;tag=r\r\nTo: <sip:or-1@192.0.2.1>\r\n\
             Call-ID: reg@192.0.2.7\r\nCSeq: {cseq} REGISTER\r\nMax-Forwards: 70\r\n\
             Contact: <sip:or-1@10.9.9.9:5060;transport=tcp>\r\n{headers}Content-Length: 0\r\n\r\n"
        )
    };
    bench.feed(&register(1, ""));
    let challenge = bench.only();
    let proof = super::accounts::respond_to(&challenge, "MD5", "or-1", "s3cret", "REGISTER", 1);
    bench.feed(&register(2, &format!("Authorization: {proof}\r\n")));
    assert!(bench.only().starts_with("SIP/2.0 200"));
    let path = bench.path_to(&account).unwrap();
    assert_eq!(path.flow, Some(tcp(9)));
    let wanted = OutgoingCall {
        target: account,
        ..outgoing(None)
    };
    bench.endpoint.dial(bench.now, wanted, |path| path.flow);
    bench.drain();
    let (flow, invite) = bench.sent.pop().unwrap();
    assert_eq!(flow, tcp(9));
    assert!(
        invite.starts_with("INVITE sip:or-1@10.9.9.9:5060;transport=tcp SIP/2.0"),
        "{invite}"
    );
}

#[test]
fn what_cannot_be_reached_ends_at_once() {
    let mut bench = Bench::new();
    for uri in ["sip:x@hospital.example", "tel:113", "nonsense"] {
        let uri = uri.to_owned();
        assert_eq!(bench.path_to(&DialTarget::Uri { uri, via: None }), None);
    }
    bench.endpoint.dial(bench.now, outgoing(None), |_| None);
    bench.drain();
    bench.ended(CALL, EndReason::Refused(480));
    assert!(bench.sent.is_empty());
    bench.flow.remote = bench.flow.local;
    bench.dial(outgoing(None));
    bench.ended(CALL, EndReason::Refused(480));
    // A name is fine where it is known whereto it leads.
    let path = bench.path_to(&located(&[(HopTransport::Tcp, "192.0.2.7:5080")]));
    let path = path.unwrap();
    assert_eq!(path.remote, address("192.0.2.7:5080"));
    assert_eq!(path.transport, Transport::Tcp);
}
