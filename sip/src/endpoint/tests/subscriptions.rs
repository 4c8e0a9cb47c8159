//! The conference event package (RFC 4575) by the rules of RFC 6665.

use mcu_api::call::CallCommand;
use mcu_api::directory::Audience;
use mcu_api::ids::CallId;
use mcu_api::secret::Redacted;

use super::accounts::respond_to;
use super::{Bench, address, config, header, request, respond, seconds, tag_of, tcp};
use crate::{Conference, ConferenceUser, Config, MediaStatus};

const EVENT: &str = "Event: conference\r\nAccept: application/conference-info+xml\r\n";

fn user(id: u64, call: Option<CallId>) -> ConferenceUser {
    ConferenceUser {
        id,
        call,
        name: Redacted(format!("Site {id}")),
        dialled_out: false,
        audio: Some(MediaStatus::SendRecv),
        video: None,
    }
}

fn conference(users: Vec<ConferenceUser>) -> Conference {
    Conference {
        number: "3000".into(),
        open_to: Some(Audience::everybody()),
        max_users: 32,
        users,
    }
}

fn subscribe(cseq: u32, to_tag: &str, headers: &str) -> String {
    let text = request(
        "SUBSCRIBE",
        "3000",
        cseq,
        to_tag,
        &format!("s{cseq}"),
        headers,
        None,
    );
    text.replace("one@192.0.2.7", "watch@192.0.2.7")
}

impl Bench {
    /// A call in conference 3000, and the one response to a SUBSCRIBE of its terminal.
    fn with_participant() -> (Self, CallId) {
        Self::with_participant_of(config())
    }

    fn with_participant_of(config: Config) -> (Self, CallId) {
        let mut bench = Self::with(config);
        let (call, _) = bench.up();
        bench.publish(conference(vec![user(1, Some(call))]));
        (bench, call)
    }

    fn publish(&mut self, conference: Conference) {
        self.endpoint.publish(self.now, conference);
        self.drain();
    }

    /// Subscribes; our tag, and the first NOTIFY, which is answered.
    fn watch(&mut self) -> (String, String) {
        self.feed(&subscribe(1, "", EVENT));
        let sent = self.take_sent();
        let [ok, notify] = &sent[..] else {
            panic!("{sent:#?}")
        };
        assert!(ok.starts_with("SIP/2.0 200 OK"), "{ok}");
        assert_eq!(header(ok, "Expires"), Some("3600"));
        assert!(header(ok, "Contact").unwrap().ends_with(";isfocus"));
        self.feed(&respond(notify, "200 OK", "", None));
        assert!(self.sent.is_empty());
        (tag_of(ok), notify.clone())
    }

    fn refused(&mut self, text: &str) -> String {
        self.feed(text);
        self.only()
    }
}

#[test]
fn a_participant_is_told_the_whole_and_then_what_changes() {
    let (mut bench, call) = Bench::with_participant();
    let (_, first) = bench.watch();
    assert!(
        first.starts_with("NOTIFY sip:or-1@192.0.2.7:5060 SIP/2.0"),
        "{first}"
    );
    assert_eq!(header(&first, "Event"), Some("conference"));
    assert_eq!(
        header(&first, "Subscription-State"),
        Some("active;expires=3600")
    );
    assert!(first.contains("state=\"full\" version=\"0\""), "{first}");
    assert!(first.contains("<display-text>Site 1</display-text>"));

    bench.publish(conference(vec![user(1, Some(call)), user(2, None)]));
    assert!(
        bench.sent.is_empty(),
        "not more often than every five seconds"
    );
    bench.publish(conference(vec![
        user(1, Some(call)),
        user(2, None),
        user(3, None),
    ]));
    bench.pass(seconds(4));
    assert!(bench.sent.is_empty());
    bench.pass(seconds(1));
    let second = bench.only();
    assert!(
        second.contains("state=\"partial\" version=\"1\""),
        "{second}"
    );
    assert!(!second.contains("Site 1") && second.contains("Site 2") && second.contains("Site 3"));
    bench.feed(&respond(&second, "200 OK", "", None));

    bench.pass(seconds(60));
    bench.publish(conference(vec![user(1, Some(call)), user(3, None)]));
    let third = bench.only();
    assert!(
        third.contains("sip:site-2@192.0.2.1:5060\" state=\"deleted\""),
        "{third}"
    );
    bench.feed(&respond(&third, "200 OK", "", None));
    bench.endpoint.end_conference(bench.now, "3000");
    bench.drain();
    let last = bench.only();
    assert_eq!(
        header(&last, "Subscription-State"),
        Some("terminated;reason=noresource")
    );
    bench.feed(&respond(&last, "200 OK", "", None));
    bench.pass(seconds(4_000));
    assert!(
        bench
            .take_sent()
            .iter()
            .all(|text| !text.starts_with("NOTIFY"))
    );
}

#[test]
fn a_subscription_is_refreshed_ends_by_itself_and_by_wish() {
    let (mut bench, _) = Bench::with_participant();
    let (tag, _) = bench.watch();
    bench.pass(seconds(100));
    bench.feed(&subscribe(2, &tag, &format!("{EVENT}Expires: 120\r\n")));
    let sent = bench.take_sent();
    assert_eq!(header(&sent[0], "Expires"), Some("120"));
    assert!(
        sent[1].contains("state=\"full\" version=\"1\""),
        "{}",
        sent[1]
    );
    bench.feed(&respond(&sent[1], "200 OK", "", None));
    bench.pass(seconds(119));
    assert!(bench.sent.is_empty());
    bench.pass(seconds(1));
    let last = bench.only();
    assert_eq!(
        header(&last, "Subscription-State"),
        Some("terminated;reason=timeout")
    );
    bench.feed(&respond(&last, "200 OK", "", None));
    let gone = bench.refused(&subscribe(3, &tag, EVENT));
    assert!(gone.starts_with("SIP/2.0 481"), "{gone}");

    let (mut bench, _) = Bench::with_participant();
    let (tag, _) = bench.watch();
    bench.feed(&subscribe(2, &tag, &format!("{EVENT}Expires: 0\r\n")));
    let sent = bench.take_sent();
    assert!(sent[0].starts_with("SIP/2.0 200"));
    assert_eq!(
        header(&sent[1], "Subscription-State"),
        Some("terminated;reason=timeout")
    );
    let old = bench.refused(&subscribe(2, &tag, EVENT));
    assert!(
        old.starts_with("SIP/2.0 200") || old.starts_with("SIP/2.0 481"),
        "{old}"
    );
}

#[test]
fn other_packages_types_and_times_are_refused() {
    let (mut bench, _) = Bench::with_participant();
    for (cseq, headers, status, name, value) in [
        (1, "Event: dialog\r\n", "489", "Allow-Events", "conference"),
        (2, "", "489", "Allow-Events", "conference"),
        (
            3,
            "Event: conference\r\nAccept: text/plain\r\n",
            "406",
            "Accept",
            "application/conference-info+xml",
        ),
        (
            4,
            "Event: conference;id=1\r\nExpires: 10\r\n",
            "423",
            "Min-Expires",
            "60",
        ),
    ] {
        let refused = bench.refused(&subscribe(cseq, "", headers));
        assert!(
            refused.starts_with(&format!("SIP/2.0 {status}")),
            "{refused}"
        );
        assert_eq!(header(&refused, name), Some(value));
    }
    let bad = bench.refused(&subscribe(9, "", "Event: conference\r\nExpires: soon\r\n"));
    assert!(bad.starts_with("SIP/2.0 400"));
}

/// Closed by default: names of participants are told to participants and accounts alone.
#[test]
fn a_stranger_is_challenged_and_an_account_may_watch_where_no_pin_is_asked() {
    let (mut bench, _) = Bench::with_participant();
    bench.flow.remote = address("192.0.2.66:5060");
    let challenge = bench.refused(&subscribe(1, "", EVENT));
    assert!(challenge.starts_with("SIP/2.0 401"), "{challenge}");
    let proof = proof(&challenge);
    bench.feed(&subscribe(2, "", &format!("{EVENT}{proof}")));
    let sent = bench.take_sent();
    assert!(sent[0].starts_with("SIP/2.0 200"), "{}", sent[0]);
    assert!(sent[1].contains("Site 1"));

    let (mut bench, call) = Bench::with_participant();
    bench.publish(Conference {
        open_to: None,
        ..conference(vec![user(1, Some(call))])
    });
    bench.flow.remote = address("192.0.2.66:5060");
    let challenge = bench.refused(&subscribe(1, "", EVENT));
    let proof = self::proof(&challenge);
    let refused = bench.refused(&subscribe(2, "", &format!("{EVENT}{proof}")));
    assert!(refused.starts_with("SIP/2.0 404"), "{refused}");

    let nobody = Config {
        accounts: Vec::new(),
        ..config()
    };
    let (mut bench, _) = Bench::with_participant_of(nobody);
    bench.flow.remote = address("192.0.2.7:5061");
    let refused = bench.refused(&subscribe(1, "", EVENT));
    assert!(refused.starts_with("SIP/2.0 403"), "{refused}");
}

fn proof(challenge: &str) -> String {
    let answer = respond_to(challenge, "MD5", "or-1", "s3cret", "SUBSCRIBE", 1);
    format!("Authorization: {answer}\r\n")
}

#[test]
fn who_does_not_take_a_notify_is_told_nothing_more() {
    for answer in [Some("481 Gone"), Some("500 Broken"), None] {
        let (mut bench, call) = Bench::with_participant();
        bench.feed(&subscribe(1, "", EVENT));
        let sent = bench.take_sent();
        if let Some(answer) = answer {
            bench.feed(&respond(&sent[1], answer, "", None));
        }
        bench.pass(seconds(40));
        bench.take_sent();
        bench.publish(conference(vec![user(1, Some(call)), user(2, None)]));
        assert!(bench.sent.is_empty(), "{answer:?}");
    }
}

/// A NOTIFY goes back where the SUBSCRIBE came from, whatever its Contact says.
#[test]
fn no_stranger_is_sent_what_another_asked_for() {
    let (mut bench, _) = Bench::with_participant();
    let elsewhere =
        subscribe(1, "", EVENT).replace("<sip:or-1@192.0.2.7:5060>", "<sip:x@198.51.100.9>");
    bench.feed(&elsewhere);
    assert!(
        bench
            .sent
            .iter()
            .all(|(flow, _)| flow.remote == bench.flow.remote)
    );
    assert_eq!(bench.sent.len(), 2);
}

#[test]
fn subscriptions_of_one_source_are_bounded() {
    let (mut bench, _) = Bench::with_participant();
    let mut last = String::new();
    for cseq in 1..=65u32 {
        let text = subscribe(cseq, "", EVENT).replace("watch@", &format!("watch{cseq}@"));
        bench.feed(&text);
        let sent = bench.take_sent();
        last = sent[0].lines().next().unwrap().to_owned();
        for notify in &sent[1..] {
            bench.feed(&respond(notify, "200 OK", "", None));
        }
        if cseq < 65 {
            assert_eq!(last, "SIP/2.0 200 OK");
        }
    }
    assert_eq!(last, "SIP/2.0 503 Service Unavailable");
}

/// The documents begin anew in another life: the peer is told to subscribe again (MCU-20).
#[test]
fn a_new_life_ends_the_subscriptions_of_the_last() {
    let (mut bench, _) = Bench::with_participant();
    let (tag, first) = bench.watch();
    bench.restart(seconds(1));
    let last = bench.only();
    assert!(last.starts_with("NOTIFY "), "{last}");
    assert_eq!(
        header(&last, "Subscription-State"),
        Some("terminated;reason=deactivated")
    );
    let cseq = |text: &str| -> u32 {
        let value = header(text, "CSeq").unwrap();
        value.split(' ').next().unwrap().parse().unwrap()
    };
    assert!(cseq(&last) > cseq(&first));
    bench.feed(&respond(&last, "200 OK", "", None));
    let gone = bench.refused(&subscribe(2, &tag, EVENT));
    assert!(gone.starts_with("SIP/2.0 481"), "{gone}");
}

#[test]
fn a_subscription_ends_with_its_connection_and_keeps_it_open_before() {
    let mut bench = Bench::new().over(tcp(7));
    let (call, _) = bench.up();
    bench.publish(conference(vec![user(1, Some(call))]));
    bench.feed(&subscribe(1, "", EVENT));
    let sent = bench.take_sent();
    assert!(sent[1].starts_with("NOTIFY "), "{sent:#?}");
    bench.feed(&respond(&sent[1], "200 OK", "", None));
    bench.command(CallCommand::Hangup { call });
    bench.take_sent();
    let now = bench.now;
    assert!(
        bench
            .endpoint
            .connections_in_use(now)
            .contains(&bench.flow.id)
    );
    bench.close(bench.flow.id);
    assert!(
        !bench
            .endpoint
            .connections_in_use(now)
            .contains(&bench.flow.id)
    );
    bench.pass(seconds(10));
    bench.take_sent();
    bench.publish(conference(vec![user(2, None)]));
    assert!(bench.sent.is_empty());
}

fn state_of(notify: &str) -> &str {
    assert!(notify.starts_with("NOTIFY "), "{notify}");
    header(notify, "Subscription-State").unwrap()
}

/// Who had left was told for an hour who else came and went.
#[test]
fn a_subscription_ends_with_the_call_that_gave_the_right_to_it() {
    let (mut bench, call) = Bench::with_participant();
    let (tag, _) = bench.watch();
    bench.pass(seconds(10));
    bench.command(CallCommand::Hangup { call });
    bench.take_sent();
    bench.publish(conference(vec![user(2, None)]));
    let last = bench.only();
    assert_eq!(state_of(&last), "terminated;reason=rejected");
    assert!(!last.contains("Site 2"), "{last}");
    bench.feed(&respond(&last, "200 OK", "", None));
    let gone = bench.refused(&subscribe(2, &tag, EVENT));
    assert!(gone.starts_with("SIP/2.0 481"), "{gone}");
    let anew = bench.refused(&subscribe(9, "", EVENT).replace("watch@", "anew@"));
    assert!(anew.starts_with("SIP/2.0 401"), "{anew}");
}

#[test]
fn an_account_that_may_watch_no_more_is_told_nothing_more() {
    let (mut bench, call) = Bench::with_participant();
    bench.flow.remote = address("192.0.2.66:5060");
    bench.watch_by_account();
    bench.publish(Conference {
        open_to: None,
        ..conference(vec![user(1, Some(call)), user(2, None)])
    });
    let last = bench.only();
    assert_eq!(state_of(&last), "terminated;reason=rejected");
}

impl Bench {
    /// Subscribes by an account; our tag.
    fn watch_by_account(&mut self) -> String {
        let challenge = self.refused(&subscribe(1, "", EVENT));
        let proof = proof(&challenge);
        self.feed(&subscribe(2, "", &format!("{EVENT}{proof}")));
        let sent = self.take_sent();
        assert!(sent[0].starts_with("SIP/2.0 200"), "{}", sent[0]);
        self.feed(&respond(&sent[1], "200 OK", "", None));
        tag_of(&sent[0])
    }
}

/// A refresh had all NOTIFYs sent to where it came from.
#[test]
fn a_subscription_moves_only_with_proof() {
    let (mut bench, call) = Bench::with_participant();
    let home = bench.flow.remote;
    bench.flow.remote = address("192.0.2.66:5060");
    let tag = bench.watch_by_account();
    let there = bench.flow.remote;
    bench.flow.remote = address("198.51.100.9:5060");
    let challenge = bench.refused(&subscribe(3, &tag, EVENT));
    assert!(challenge.starts_with("SIP/2.0 401"), "{challenge}");
    bench.pass(seconds(10));
    bench.publish(conference(vec![user(1, Some(call)), user(2, None)]));
    assert_eq!(bench.sent[0].0.remote, there);
    let told = bench.only();
    bench.feed(&respond(&told, "200 OK", "", None));
    let proof = proof(&challenge);
    bench.feed(&subscribe(4, &tag, &format!("{EVENT}{proof}")));
    assert_eq!(bench.sent[1].0.remote, bench.flow.remote, "it has moved");
    bench.take_sent();

    // By its call: another participant's account is no proof, the call's own dialog is.
    let (mut bench, _) = Bench::with_participant();
    let (tag, _) = bench.watch();
    bench.flow.remote = address("198.51.100.9:5060");
    let challenge = bench.refused(&subscribe(2, &tag, EVENT));
    let proof = self::proof(&challenge);
    let refused = bench.refused(&subscribe(3, &tag, &format!("{EVENT}{proof}")));
    assert!(refused.starts_with("SIP/2.0 404"), "{refused}");
    bench.flow.remote = home;
    bench.feed(&subscribe(4, &tag, EVENT));
    assert_eq!(bench.sent.len(), 2, "it stayed where it was");
}

/// Proxies know the names of a dialog, and in clear others do. An INFO with them, from anywhere, took
/// the right to its sender's address.
#[test]
fn a_right_by_address_stays_where_the_call_was_acknowledged() {
    let mut bench = Bench::new();
    let (call, tag) = bench.up();
    let home = bench.flow.remote;
    bench.publish(conference(vec![user(1, Some(call))]));
    let elsewhere = ["192.0.2.7:5070", "198.51.100.9:5060"];
    for (cseq, from) in (2..).zip(elsewhere) {
        bench.flow.remote = address(from);
        let branch = format!("i{cseq}");
        bench.feed(&request("INFO", "3000", cseq, &tag, &branch, "", None));
        assert!(bench.only().starts_with("SIP/2.0 200"));
        let refused = bench.refused(&subscribe(cseq, "", EVENT));
        assert!(refused.starts_with("SIP/2.0 401"), "{from}: {refused}");
    }
    // Nor do the names of the dialog count from another host.
    let named = format!("{EVENT}Target-Dialog: CALL;local-tag=peer;remote-tag={tag}\r\n");
    let watching = |cseq: u32, headers: &str| {
        let text = subscribe(cseq, "", headers).replace("watch@", &format!("watch{cseq}@"));
        text.replace("CALL", "one@192.0.2.7")
    };
    let refused = bench.refused(&watching(4, &named));
    assert!(refused.starts_with("SIP/2.0 401"), "{refused}");
    bench.restart(seconds(1));
    bench.publish(conference(vec![user(1, Some(call))]));
    for (cseq, (from, headers)) in (5..).zip([(home, EVENT), (address(elsewhere[0]), &named)]) {
        bench.flow.remote = from;
        bench.feed(&watching(cseq, headers));
        let sent = bench.take_sent();
        assert!(sent[0].starts_with("SIP/2.0 200"), "{from}: {}", sent[0]);
    }
}

/// All who are behind a proxy have its address.
#[test]
fn behind_a_proxy_the_address_is_no_proof_and_the_dialog_is() {
    let through = |cseq: u32, headers: &str| {
        let text = subscribe(cseq, "", headers).replace("CALL", "one@192.0.2.7");
        let at = text.find("From:").unwrap();
        let (head, rest) = text.split_at(at);
        format!("{head}Via: SIP/2.0/UDP 10.0.0.9;branch=z9hG4bKb{cseq}\r\n{rest}")
    };
    let mut bench = Bench::new();
    let (call, our_tag) = bench.up();
    bench.publish(conference(vec![user(1, Some(call))]));
    let refused = bench.refused(&through(1, EVENT));
    assert!(refused.starts_with("SIP/2.0 401"), "{refused}");
    let recorded = "Record-Route: <sip:192.0.2.7;lr>\r\n";
    let refused = bench.refused(&subscribe(2, "", &format!("{EVENT}{recorded}")));
    assert!(refused.starts_with("SIP/2.0 401"), "{refused}");
    let names = |call_id: &str, local: &str, remote: &str| {
        format!("{EVENT}Target-Dialog: {call_id};local-tag={local};remote-tag={remote}\r\n")
    };
    let id = "CALL";
    for wrong in [
        names("other@192.0.2.7", "peer", &our_tag),
        names(id, "peer", "guess"),
        names(id, "guess", &our_tag),
        names(id, &our_tag, &our_tag),
        format!("{EVENT}Target-Dialog: {id}\r\n"),
    ] {
        let refused = bench.refused(&through(3, &wrong));
        assert!(refused.starts_with("SIP/2.0 401"), "{wrong}: {refused}");
    }
    for (cseq, right) in [
        (4, names(id, "peer", &our_tag)),
        (5, names(id, &our_tag, "peer")),
    ] {
        bench.feed(&through(cseq, &right).replace("watch@", &format!("watch{cseq}@")));
        let sent = bench.take_sent();
        assert!(sent[0].starts_with("SIP/2.0 200"), "{right}: {}", sent[0]);
    }
}

/// RFC 6665 §8.2.1 and RFC 3261 §12.1.1: both sides know which subscription is meant, and who stays on
/// the way.
#[test]
fn the_events_id_and_the_routes_come_back() {
    let (mut bench, _) = Bench::with_participant();
    bench.flow.remote = address("192.0.2.66:5060");
    let challenge = bench.refused(&subscribe(1, "", EVENT));
    let headers = format!(
        "Event: conference ; x=y;id=a-7\r\nRecord-Route: <sip:192.0.2.66;lr>\r\n{}",
        proof(&challenge)
    );
    bench.feed(&subscribe(2, "", &headers));
    let sent = bench.take_sent();
    assert_eq!(
        header(&sent[0], "Record-Route"),
        Some("<sip:192.0.2.66;lr>")
    );
    assert_eq!(header(&sent[1], "Event"), Some("conference;id=a-7"));
    assert_eq!(header(&sent[1], "Route"), Some("<sip:192.0.2.66;lr>"));
    bench.feed(&respond(&sent[1], "200 OK", "", None));
    let tag = tag_of(&sent[0]);
    for (cseq, other) in [(3, "Event: conference;id=8\r\n"), (4, EVENT)] {
        let gone = bench.refused(&subscribe(cseq, &tag, other));
        assert!(gone.starts_with("SIP/2.0 481"), "{gone}");
    }
    for (cseq, wrong) in [
        (5, "a b".to_owned()),
        (6, String::new()),
        (7, "x".repeat(129)),
    ] {
        let event = format!("Event: conference;id={wrong}\r\n");
        let bad = bench.refused(&subscribe(cseq, &tag, &event));
        assert!(bad.starts_with("SIP/2.0 400"), "{bad}");
    }
    bench.restart(seconds(1));
    let last = bench.only();
    assert_eq!(header(&last, "Event"), Some("conference;id=a-7"));
}
