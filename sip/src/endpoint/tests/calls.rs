//! Calls begin and end.

use super::*;

#[test]
fn a_call_is_announced_answered_established_and_ended_by_the_peer() {
    let mut bench = Bench::new();
    let agent = "User-Agent: Terminal/1\r\n";
    bench.feed(&request("INVITE", "3000", 1, "", "a", agent, Some(OFFER)));
    let events = bench.take_events();
    let [CallEvent::Incoming(incoming)] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(incoming.dialled, "3000");
    assert_eq!(incoming.caller.0, "OR 1");
    assert_eq!(incoming.account, None);
    assert_eq!(incoming.remote, udp().remote);
    assert_eq!(incoming.user_agent.as_deref(), Some("Terminal/1"));
    assert_eq!(incoming.offer, Some(Redacted(OFFER.to_owned())));
    let call = incoming.call;

    let ok = bench.accept(call);
    assert_eq!(body_of(&ok), ANSWER);
    assert_eq!(
        header(&ok, "Contact"),
        Some("<sip:3000@192.0.2.1:5060>;isfocus")
    );
    assert_eq!(header(&ok, "Content-Type"), Some("application/sdp"));
    let via = header(&ok, "Via").unwrap();
    assert!(
        via.contains("rport=5060") && via.contains("received=192.0.2.7"),
        "{via}"
    );
    assert!(bench.take_events().is_empty());

    bench.feed(&request("ACK", "3000", 1, &tag_of(&ok), "a2", "", None));
    assert_eq!(bench.take_events(), [CallEvent::Established { call }]);
    bench.feed(&request("BYE", "3000", 2, &tag_of(&ok), "b", "", None));
    assert!(bench.only().starts_with("SIP/2.0 200 OK"));
    bench.ended(call, EndReason::Remote);
}

#[test]
fn a_call_without_offer_gets_one_and_its_ack_carries_the_answer() {
    let mut bench = Bench::new();
    bench.feed(&request("INVITE", "3000", 1, "", "a", "", None));
    let call = bench.incoming();
    bench.take_sent();
    let ok = bench.accept(call);
    assert_eq!(body_of(&ok), ANSWER);
    bench.feed(&request(
        "ACK",
        "3000",
        1,
        &tag_of(&ok),
        "a2",
        "",
        Some(OFFER),
    ));
    let sdp = Redacted(OFFER.to_owned());
    assert_eq!(
        bench.take_events(),
        [
            CallEvent::Answered { call, sdp },
            CallEvent::Established { call }
        ]
    );
}

#[test]
fn an_ack_without_the_answer_that_it_owes_ends_the_call() {
    let mut bench = Bench::new();
    bench.feed(&request("INVITE", "3000", 1, "", "a", "", None));
    let call = bench.incoming();
    bench.take_sent();
    let ok = bench.accept(call);
    bench.feed(&request("ACK", "3000", 1, &tag_of(&ok), "a2", "", None));
    assert!(bench.only().starts_with("BYE sip:or-1@192.0.2.7:5060"));
    bench.ended(call, EndReason::ProtocolError);
}

#[test]
fn every_refusal_has_its_status_and_is_resent_until_acknowledged() {
    let cases = [
        (RejectReason::NotFound, "SIP/2.0 404 Not Found"),
        (RejectReason::Forbidden, "SIP/2.0 403 Forbidden"),
        (RejectReason::Unauthorized, "SIP/2.0 401 Unauthorized"),
        (
            RejectReason::NotAcceptable,
            "SIP/2.0 488 Not Acceptable Here",
        ),
        (RejectReason::Busy, "SIP/2.0 486 Busy Here"),
        (RejectReason::Unavailable, "SIP/2.0 503 Service Unavailable"),
        (RejectReason::Quarantined, "SIP/2.0 403 Forbidden"),
    ];
    for (reason, line) in cases {
        let mut bench = Bench::new();
        bench.feed(&request("INVITE", "3000", 1, "", "a", "", Some(OFFER)));
        let call = bench.incoming();
        bench.take_sent();
        bench.command(reject(call, reason));
        bench.ended(call, EndReason::Rejected);
        // At 0, 0.5, 1.5 and 3.5 s (RFC 3261 §17.2.1, timer G).
        bench.pass(seconds(4));
        let sent = bench.take_sent();
        assert_eq!(sent.len(), 4, "{line}");
        assert!(sent.iter().all(|text| text.starts_with(line)));
        let warned = header(&sent[0], "Warning").is_some_and(|text| text.starts_with("399 "));
        assert_eq!(warned, reason == RejectReason::Quarantined);
        let tag = tag_of(&sent[0]);
        bench.feed(&request("ACK", "3000", 1, &tag, "a", "", None));
        bench.pass(seconds(60));
        assert!(bench.take_sent().is_empty());
        assert_eq!(bench.endpoint.load(), crate::Load::default());
    }
}

#[test]
fn a_retransmitted_invite_is_one_call_and_gets_the_last_response_again() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "3000", 1, "", "a", "", Some(OFFER));
    for _ in 0..3 {
        bench.feed(&invite);
    }
    let call = bench.incoming();
    assert!(bench.sent.is_empty());
    bench.command(reject(call, RejectReason::Busy));
    bench.feed(&invite);
    assert_eq!(bench.start_lines(), ["SIP/2.0 486 Busy Here"; 2]);
}

/// RFC 3261 §17.2.1. A caller who has a 100 repeats its INVITE no more, and waited for minutes when the
/// process died that had sent it.
#[test]
fn a_100_comes_only_where_the_answer_takes_longer() {
    let stamp = "Timestamp: 54.2\r\n";
    let invite = request("INVITE", "3000", 1, "", "a", stamp, Some(OFFER));
    for flow in [udp(), tcp(7)] {
        let mut bench = Bench::new().over(flow);
        bench.feed(&invite);
        let call = bench.incoming();
        bench.pass(Duration::from_millis(199));
        assert!(bench.sent.is_empty());
        bench.pass(Duration::from_millis(1));
        let trying = bench.only();
        assert!(trying.starts_with("SIP/2.0 100 Trying"), "{trying}");
        assert_eq!(header(&trying, "Timestamp"), Some("54.2"));
        assert_eq!(header(&trying, "Content-Length"), Some("0"));
        bench.feed(&invite);
        assert_eq!(bench.only(), trying);
        assert!(bench.accept(call).starts_with("SIP/2.0 200 OK"));
        let mut bench = Bench::new().over(flow);
        bench.feed(&invite);
        let call = bench.incoming();
        bench.accept(call);
        bench.pass(Duration::from_millis(400));
        assert!(bench.sent.is_empty());
    }
}

#[test]
fn the_2xx_is_resent_until_its_ack_and_late_acks_are_absorbed() {
    let mut bench = Bench::new();
    bench.feed(&request("INVITE", "3000", 1, "", "a", "", Some(OFFER)));
    let call = bench.incoming();
    bench.take_sent();
    let ok = bench.accept(call);
    // At 0.5, 1.5, 3.5, 7.5, then every 4 s.
    bench.pass(seconds(16));
    assert_eq!(bench.take_sent(), vec![ok.clone(); 6]);
    let ack = request("ACK", "3000", 1, &tag_of(&ok), "a2", "", None);
    for _ in 0..3 {
        bench.feed(&ack);
    }
    assert_eq!(bench.take_events(), [CallEvent::Established { call }]);
    bench.pass(seconds(100));
    assert!(bench.take_sent().is_empty());
}

#[test]
fn a_call_whose_2xx_is_never_acknowledged_ends_with_bye_after_32_seconds() {
    let mut bench = Bench::new();
    bench.feed(&request("INVITE", "3000", 1, "", "a", "", Some(OFFER)));
    let call = bench.incoming();
    bench.accept_only(call);
    bench.pass(Duration::from_millis(31_999));
    assert!(
        bench
            .take_sent()
            .iter()
            .all(|text| text.starts_with("SIP/2.0 200"))
    );
    assert!(bench.take_events().is_empty());
    bench.pass(Duration::from_millis(1));
    bench.ended(call, EndReason::Timeout);
    let bye = bench.only();
    assert!(
        bye.starts_with("BYE sip:or-1@192.0.2.7:5060 SIP/2.0"),
        "{bye}"
    );
    // The BYE itself is given up after 64*T1, and nothing is left.
    bench.pass(seconds(40));
    assert_eq!(bench.endpoint.load(), crate::Load::default());
    assert_eq!(bench.endpoint.next_timeout(), None);
}

impl Bench {
    fn accept_only(&mut self, call: CallId) {
        self.take_sent();
        self.accept(call);
    }
}

#[test]
fn cancel_ends_a_ringing_call_and_both_requests_are_answered() {
    let mut bench = Bench::new();
    bench.feed(&request("INVITE", "3000", 1, "", "a", "", Some(OFFER)));
    let call = bench.incoming();
    bench.take_sent();
    let cancel = request("CANCEL", "3000", 1, "", "a", "", None);
    bench.feed(&cancel);
    assert_eq!(
        bench.start_lines(),
        ["SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"]
    );
    bench.ended(call, EndReason::Cancelled);
    // The rooms' answer came too late and is ignored.
    bench.command(CallCommand::Accept {
        call,
        sdp: Redacted(ANSWER.to_owned()),
    });
    assert!(bench.take_sent().is_empty());
    bench.feed(&cancel);
    assert_eq!(bench.start_lines(), ["SIP/2.0 200 OK"]);
}

#[test]
fn cancel_after_the_2xx_changes_nothing_and_of_nothing_is_481() {
    let mut bench = Bench::new();
    bench.feed(&request("CANCEL", "3000", 1, "", "a", "", None));
    assert_eq!(
        bench.start_lines(),
        ["SIP/2.0 481 Transaction Does Not Exist"]
    );
    let (call, tag) = bench.up();
    bench.feed(&request("CANCEL", "3000", 1, "", "a", "", None));
    assert_eq!(bench.start_lines(), ["SIP/2.0 200 OK"]);
    assert!(bench.take_events().is_empty());
    bench.feed(&request("BYE", "3000", 2, &tag, "b", "", None));
    bench.ended(call, EndReason::Remote);
}

#[test]
fn our_bye_is_resent_until_answered() {
    let mut bench = Bench::new();
    let (call, _) = bench.up();
    bench.command(CallCommand::Hangup { call });
    bench.ended(call, EndReason::Local);
    bench.pass(seconds(2));
    let sent = bench.take_sent();
    assert_eq!(sent.len(), 3, "at 0, 0.5 and 1.5 s");
    assert!(sent.iter().all(|bye| *bye == sent[0]));
    assert_eq!(header(&sent[0], "CSeq"), Some("1 BYE"));
    assert!(bench.endpoint.awaits_answers());
    bench.feed(&respond(&sent[0], "200 OK", "", None));
    assert!(!bench.endpoint.awaits_answers());
    bench.pass(seconds(60));
    assert!(bench.take_sent().is_empty());
    assert_eq!(bench.endpoint.load(), crate::Load::default());
}

/// RFC 3326.
#[test]
fn who_is_expelled_is_told_why() {
    let mut bench = Bench::new();
    let (call, _) = bench.up();
    bench.command(CallCommand::Expel { call });
    bench.ended(call, EndReason::Local);
    let bye = bench.only();
    assert!(bye.starts_with("BYE "));
    let reason = "SIP;cause=403;text=\"Media from here harmed the server\"";
    assert_eq!(header(&bye, "Reason"), Some(reason));
}

#[test]
fn hanging_up_before_the_ack_holds_the_bye_back_until_it() {
    let mut bench = Bench::new();
    bench.feed(&request("INVITE", "3000", 1, "", "a", "", Some(OFFER)));
    let call = bench.incoming();
    bench.take_sent();
    let ok = bench.accept(call);
    bench.command(CallCommand::Hangup { call });
    bench.ended(call, EndReason::Local);
    assert!(bench.take_sent().is_empty());
    bench.feed(&request("ACK", "3000", 1, &tag_of(&ok), "a2", "", None));
    assert!(bench.only().starts_with("BYE "));
    assert!(bench.take_events().is_empty());
    assert_eq!(bench.endpoint.load().calls, 0);
}

#[test]
fn hanging_up_before_the_answer_refuses_the_invite() {
    let mut bench = Bench::new();
    bench.feed(&request("INVITE", "3000", 1, "", "a", "", Some(OFFER)));
    let call = bench.incoming();
    bench.take_sent();
    bench.command(CallCommand::Hangup { call });
    assert_eq!(bench.start_lines(), ["SIP/2.0 480 Temporarily Unavailable"]);
    bench.ended(call, EndReason::Local);
}

#[test]
fn a_call_that_nobody_answers_ends_after_the_callers_limit() {
    let mut bench = Bench::new();
    let limit = "Expires: 20\r\n";
    bench.feed(&request("INVITE", "3000", 1, "", "a", limit, Some(OFFER)));
    let call = bench.incoming();
    bench.take_sent();
    bench.pass(seconds(19));
    assert!(bench.take_events().is_empty());
    assert_eq!(bench.start_lines(), ["SIP/2.0 100 Trying"]);
    bench.pass(seconds(1));
    assert_eq!(bench.start_lines(), ["SIP/2.0 487 Nobody Answered"]);
    bench.ended(call, EndReason::Timeout);
}

#[test]
fn the_same_invite_by_another_way_is_merged() {
    let mut bench = Bench::new();
    bench.feed(&request("INVITE", "3000", 1, "", "a", "", Some(OFFER)));
    bench.incoming();
    bench.take_sent();
    bench.feed(&request("INVITE", "3000", 1, "", "other", "", Some(OFFER)));
    assert_eq!(bench.start_lines(), ["SIP/2.0 482 Request Merged"]);
    assert!(bench.take_events().is_empty());
}

#[test]
fn calls_beyond_the_bound_are_refused_without_state() {
    let mut bench = Bench::with(Config {
        max_calls: 1,
        ..config()
    });
    bench.up();
    let load = bench.endpoint.load();
    let other = request("INVITE", "3000", 1, "", "x", "", Some(OFFER)).replace("one@", "two@");
    bench.feed(&other);
    let refusal = bench.only();
    assert!(refusal.starts_with("SIP/2.0 503 "), "{refusal}");
    assert_eq!(header(&refusal, "Retry-After"), Some("10"));
    assert_eq!(bench.endpoint.load(), load);
}

#[test]
fn requests_follow_the_record_route_and_loose_routers_keep_the_target() {
    let mut bench = Bench::new();
    let routes = "Record-Route: <sip:192.0.2.66;lr>, <sip:192.0.2.77:5070;lr>\r\n\
                  Record-Route: <sip:192.0.2.88;lr>\r\n";
    let (call, _) = bench.up_with(routes);
    bench.command(CallCommand::Hangup { call });
    let (flow, bye) = bench.sent.pop().unwrap();
    assert!(bye.starts_with("BYE sip:or-1@192.0.2.7:5060 SIP/2.0"));
    let found: Vec<&str> = bye
        .lines()
        .filter(|line| line.starts_with("Route:"))
        .collect();
    let expected = [
        "Route: <sip:192.0.2.66;lr>",
        "Route: <sip:192.0.2.77:5070;lr>",
        "Route: <sip:192.0.2.88;lr>",
    ];
    assert_eq!(found, expected);
    assert_eq!(flow.remote, address("192.0.2.66:5060"));
}

#[test]
fn the_2xx_returns_the_record_route_and_a_strict_router_gets_the_request_uri() {
    let mut bench = Bench::new();
    let route = "Record-Route: <sip:192.0.2.66>\r\n";
    bench.feed(&request("INVITE", "3000", 1, "", "a", route, Some(OFFER)));
    let call = bench.incoming();
    bench.take_sent();
    let ok = bench.accept(call);
    assert_eq!(header(&ok, "Record-Route"), Some("<sip:192.0.2.66>"));
    bench.feed(&request("ACK", "3000", 1, &tag_of(&ok), "a2", "", None));
    bench.command(CallCommand::Hangup { call });
    let bye = bench.only();
    assert!(bye.starts_with("BYE sip:192.0.2.66 SIP/2.0"), "{bye}");
    assert_eq!(header(&bye, "Route"), Some("<sip:or-1@192.0.2.7:5060>"));
}

#[test]
fn requests_to_a_peer_behind_a_nat_go_where_its_packets_come_from() {
    let nat = Flow {
        remote: address("203.0.113.9:61234"),
        ..udp()
    };
    let mut bench = Bench::new().over(nat);
    let (call, _) = bench.up();
    bench.command(CallCommand::Hangup { call });
    let (flow, bye) = bench.sent.pop().unwrap();
    assert_eq!(flow.remote, nat.remote);
    assert!(bye.starts_with("BYE sip:or-1@192.0.2.7:5060"));
}

#[test]
fn without_rport_the_answer_goes_to_the_port_of_the_via() {
    let elsewhere = Flow {
        remote: address("192.0.2.7:49152"),
        ..udp()
    };
    let mut bench = Bench::new().over(elsewhere);
    bench.feed(&request("OPTIONS", "3000", 1, "", "o", "", None).replace(";rport", ""));
    assert_eq!(bench.sent[0].0.remote, address("192.0.2.7:5060"));
    bench.feed(&request("OPTIONS", "3000", 1, "", "p", "", None));
    assert_eq!(bench.sent[1].0.remote, address("192.0.2.7:49152"));
}

/// Defect: Contact and Via named the address behind a translation, where no request from outside
/// arrives (VSEC-05).
#[test]
fn outside_a_translation_we_are_named_by_its_address() {
    let translated = Flow {
        local: address("10.0.0.4:5060"),
        advertised: Some("192.0.2.1".parse().unwrap()),
        ..udp()
    };
    let mut bench = Bench::new().over(translated);
    bench.feed(&request("INVITE", "3000", 1, "", "a", "", Some(OFFER)));
    let call = bench.incoming();
    bench.take_sent();
    let ok = bench.accept(call);
    assert_eq!(
        header(&ok, "Contact"),
        Some("<sip:3000@192.0.2.1:5060>;isfocus")
    );
    bench.feed(&request("ACK", "3000", 1, &tag_of(&ok), "a2", "", None));
    bench.command(CallCommand::Hangup { call });
    let (flow, bye) = bench.sent.pop().unwrap();
    let via = header(&bye, "Via").unwrap();
    assert!(via.starts_with("SIP/2.0/UDP 192.0.2.1:5060;"), "{via}");
    assert_eq!(flow.local, translated.local, "sent from where we are");
}

/// Defect: what went to a link-local Contact named no interface, and never left (RFC 4007 §6, NET-05).
#[test]
fn a_link_local_contact_is_on_the_link_that_the_peer_came_by() {
    let link = Flow {
        local: address("[fe80::1]:5060"),
        remote: address("[fe80::7%3]:5060"),
        ..udp()
    };
    let mut bench = Bench::new().over(link);
    let on_link = |text: String| text.replace("192.0.2.7:5060", "[fe80::7]:5062");
    let invite = request("INVITE", "3000", 1, "", "a", "", Some(OFFER));
    bench.feed(&on_link(invite.replace(";rport", "")));
    let call = bench.incoming();
    bench.pass(Duration::from_millis(200));
    let (trying, _) = bench.sent.pop().unwrap();
    assert_eq!(trying.remote, address("[fe80::7%3]:5062"));
    let ok = bench.accept(call);
    assert_eq!(
        header(&ok, "Contact"),
        Some("<sip:3000@[fe80::1]:5060>;isfocus")
    );
    bench.feed(&on_link(request(
        "ACK",
        "3000",
        1,
        &tag_of(&ok),
        "a2",
        "",
        None,
    )));
    bench.sent.clear();
    bench.command(CallCommand::Hangup { call });
    let (flow, _) = bench.sent.pop().unwrap();
    assert_eq!(flow.remote, address("[fe80::7%3]:5062"));
}
