//! Registration and the proof of passwords.

use super::*;

pub(super) struct Client {
    pub(super) bench: Bench,
    cseq: u32,
    user: &'static str,
}

impl Client {
    pub(super) fn new(config: Config) -> Self {
        Self {
            bench: Bench::with(config),
            cseq: 0,
            user: "or-1",
        }
    }

    /// A REGISTER with these contact lines.
    pub(super) fn register(&mut self, contacts: &str, authorization: Option<&str>) -> String {
        self.cseq += 1;
        let cseq = self.cseq;
        let user = self.user;
        let authorization = authorization
            .map(|value| format!("Authorization: {value}\r\n"))
            .unwrap_or_default();
        let text = format!(
            "REGISTER sip:192.0.2.1 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKr{cseq};rport\r\n\
             From: <sip:{user}@192.0.2.1>;tag=r\r\nTo: <sip:{user}@192.0.2.1>\r\n\
             Call-ID: reg@192.0.2.7\r\nCSeq: {cseq} REGISTER\r\nMax-Forwards: 70\r\n\
             {contacts}{authorization}Content-Length: 0\r\n\r\n"
        );
        self.bench.feed(&text);
        self.bench.only()
    }

    /// Registers with the answer to the challenge.
    pub(super) fn proven(&mut self, contacts: &str) -> String {
        let challenge = self.register(contacts, None);
        assert!(challenge.starts_with("SIP/2.0 401 "), "{challenge}");
        let answer = respond_to(&challenge, "MD5", self.user, "s3cret", "REGISTER", 1);
        self.register(contacts, Some(&answer))
    }

    pub(super) fn contacts(&self) -> Vec<(String, u64)> {
        let mut list: Vec<_> = self
            .bench
            .endpoint
            .registrations(self.bench.now)
            .map(|r| (r.contact, r.expires_in.as_secs()))
            .collect();
        list.sort();
        list
    }
}

pub(super) fn respond_to(
    challenge: &str,
    algorithm: &str,
    user: &str,
    password: &str,
    method: &str,
    nc: u32,
) -> String {
    let value = challenge
        .lines()
        .filter_map(|line| line.strip_prefix("WWW-Authenticate: "))
        .find(|value| value.contains(&format!("algorithm={algorithm},")))
        .unwrap();
    let challenge = sipx_sip::auth::Challenge::parse(value.as_bytes(), false).unwrap();
    let credentials = sipx_sip::auth::Credentials::new(user, password);
    let uri = match method {
        "REGISTER" => "sip:192.0.2.1",
        _ => "sip:3000@192.0.2.1",
    };
    sipx_sip::auth::respond(&challenge, &credentials, method, uri, nc, "abcdef")
}

#[test]
fn both_algorithms_are_offered_and_either_registers() {
    for algorithm in ["MD5", "SHA-256"] {
        let mut client = Client::new(config());
        let contact = "Contact: <sip:or-1@192.0.2.7:5060>\r\n";
        let challenge = client.register(contact, None);
        assert_eq!(client.bench.endpoint.load(), crate::Load::default());
        let answer = respond_to(&challenge, algorithm, "or-1", "s3cret", "REGISTER", 1);
        let ok = client.register(contact, Some(&answer));
        assert!(ok.starts_with("SIP/2.0 200 OK"), "{algorithm}: {ok}");
        let listed = Some("<sip:or-1@192.0.2.7:5060>;expires=3600");
        assert_eq!(header(&ok, "Contact"), listed);
        let expected = [("sip:or-1@192.0.2.7:5060".to_owned(), 3_600)];
        assert_eq!(client.contacts(), expected);
    }
}

#[test]
fn a_replayed_or_old_proof_is_stale_and_a_wrong_one_is_not() {
    let mut client = Client::new(config());
    let contact = "Contact: <sip:or-1@192.0.2.7>\r\n";
    let challenge = client.register(contact, None);
    let proof = |nc| respond_to(&challenge, "SHA-256", "or-1", "s3cret", "REGISTER", nc);
    assert!(
        client
            .register(contact, Some(&proof(1)))
            .starts_with("SIP/2.0 200")
    );
    let replay = client.register(contact, Some(&proof(1)));
    assert!(replay.starts_with("SIP/2.0 401") && replay.contains("stale=true"));
    assert!(
        client
            .register(contact, Some(&proof(2)))
            .starts_with("SIP/2.0 200")
    );
    client.bench.pass(seconds(301));
    let old = client.register(contact, Some(&proof(3)));
    assert!(old.starts_with("SIP/2.0 401") && old.contains("stale=true"));
    let wrong = respond_to(&challenge, "MD5", "or-1", "guess", "REGISTER", 4);
    let refused = client.register(contact, Some(&wrong));
    assert!(refused.starts_with("SIP/2.0 401") && !refused.contains("stale"));
}

#[test]
fn a_retransmitted_register_is_answered_alike_and_not_taken_for_a_replay() {
    let mut client = Client::new(config());
    let contact = "Contact: <sip:or-1@192.0.2.7>\r\n";
    let challenge = client.register(contact, None);
    let proof = respond_to(&challenge, "MD5", "or-1", "s3cret", "REGISTER", 1);
    let first = client.register(contact, Some(&proof));
    client.cseq -= 1;
    assert_eq!(client.register(contact, Some(&proof)), first);
}

#[test]
fn contacts_are_added_refreshed_listed_and_removed() {
    let mut client = Client::new(config());
    client.proven("Contact: <sip:a@192.0.2.7>;expires=100, <sip:b@192.0.2.8>\r\nExpires: 200\r\n");
    let both = [
        ("sip:a@192.0.2.7".to_owned(), 100),
        ("sip:b@192.0.2.8".to_owned(), 200),
    ];
    assert_eq!(client.contacts(), both);
    let listing = client.proven("");
    assert_eq!(listing.matches("Contact: ").count(), 2);
    client.bench.pass(seconds(101));
    assert_eq!(client.contacts(), [("sip:b@192.0.2.8".to_owned(), 99)]);
    client.proven("Contact: <sip:c@192.0.2.9>\r\n");
    client.proven("Contact: <sip:b@192.0.2.8>;expires=0\r\n");
    assert_eq!(client.contacts(), [("sip:c@192.0.2.9".to_owned(), 3_600)]);
    let ok = client.proven("Contact: *\r\nExpires: 0\r\n");
    assert!(ok.starts_with("SIP/2.0 200") && header(&ok, "Contact").is_none());
    assert!(client.contacts().is_empty());
}

#[test]
fn bad_registrations_change_nothing() {
    let cases = [
        ("Contact: *\r\nExpires: 60\r\n", 400),
        ("Contact: *\r\n", 400),
        ("Contact: *, <sip:a@192.0.2.7>\r\nExpires: 0\r\n", 400),
        ("Contact: <sip:a@192.0.2.7>;expires=10\r\n", 423),
        (
            "Contact: sip:user@example.com?Route=%3Csip:sip.example.com%3E\r\n",
            400,
        ),
        ("Contact: <sip:a@192.0.2.7>, <http://example.com>\r\n", 400),
        ("Contact: <sip:a@192.0.2.7\r\n", 400),
    ];
    for (contacts, status) in cases {
        let mut client = Client::new(config());
        let answer = client.proven(contacts);
        assert!(
            answer.starts_with(&format!("SIP/2.0 {status} ")),
            "{contacts}: {answer}"
        );
        assert!(client.contacts().is_empty(), "{contacts}");
        if status == 423 {
            assert_eq!(header(&answer, "Min-Expires"), Some("60"));
        }
    }
}

#[test]
fn an_older_request_of_the_same_registration_is_refused() {
    let mut client = Client::new(config());
    client.cseq = 10;
    client.proven("Contact: <sip:a@192.0.2.7>\r\n");
    client.cseq = 5;
    let answer = client.proven("Contact: <sip:a@192.0.2.7>;expires=0\r\n");
    assert!(answer.starts_with("SIP/2.0 500 "), "{answer}");
    assert_eq!(client.contacts().len(), 1);
}

#[test]
fn only_ones_own_address_and_only_with_leave() {
    let mut client = Client::new(config());
    client.user = "guest";
    let refused = client.proven("Contact: <sip:a@192.0.2.7>\r\n");
    assert!(refused.starts_with("SIP/2.0 403 "), "{refused}");
    let mut client = Client::new(config());
    client.user = "or-1";
    let challenge = client.register("", None);
    client.user = "or-2";
    let proof = respond_to(&challenge, "MD5", "or-1", "s3cret", "REGISTER", 1);
    let refused = client.register("Contact: <sip:a@192.0.2.7>\r\n", Some(&proof));
    assert!(refused.starts_with("SIP/2.0 403 "), "{refused}");
}

#[test]
fn contacts_are_bounded_by_account_and_in_all() {
    let contacts = "Contact: <sip:a@192.0.2.7>, <sip:b@192.0.2.7>\r\n";
    let mut client = Client::new(Config {
        max_contacts_per_account: 1,
        ..config()
    });
    assert!(client.proven(contacts).starts_with("SIP/2.0 403 "));
    let mut client = Client::new(Config {
        max_registrations: 1,
        ..config()
    });
    assert!(client.proven(contacts).starts_with("SIP/2.0 503 "));
    assert!(client.contacts().is_empty());
}

#[test]
fn accounts_that_go_take_their_registrations_along() {
    let mut client = Client::new(config());
    client.proven("Contact: <sip:a@192.0.2.7>\r\n");
    client.bench.endpoint.set_accounts(config().accounts, false);
    assert_eq!(client.contacts().len(), 1);
    client.bench.endpoint.set_accounts(Vec::new(), false);
    assert!(client.contacts().is_empty());

    // A terminal that knows the old password only is not the account's any more.
    client.bench.endpoint.set_accounts(config().accounts, false);
    client.proven("Contact: <sip:a@192.0.2.7>\r\n");
    assert_eq!(client.contacts().len(), 1);
    let mut accounts = config().accounts;
    for account in &mut accounts {
        account.ha1 = Ha1::from_password(&account.user, "consilium", "another");
    }
    client.bench.endpoint.set_accounts(accounts, false);
    assert!(client.contacts().is_empty());
}

#[test]
fn a_call_names_the_account_that_was_proven_and_may_have_to() {
    let mut bench = Bench::with(Config {
        require_auth: true,
        ..config()
    });
    bench.feed(&request("INVITE", "3000", 1, "", "a", "", Some(OFFER)));
    let challenge = bench.only();
    assert!(challenge.starts_with("SIP/2.0 401 ") && bench.events.is_empty());
    bench.feed(&request(
        "ACK",
        "3000",
        1,
        &tag_of(&challenge),
        "a",
        "",
        None,
    ));
    let proof = respond_to(&challenge, "SHA-256", "guest", "s3cret", "INVITE", 1);
    let headers = format!("Authorization: {proof}\r\n");
    bench.feed(&request(
        "INVITE",
        "3000",
        2,
        "",
        "b",
        &headers,
        Some(OFFER),
    ));
    let events = bench.take_events();
    let [CallEvent::Incoming(call)] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(call.account.as_deref(), Some("guest"));
}

#[test]
fn credentials_made_for_another_number_or_method_prove_nothing() {
    let mut bench = Bench::new();
    bench.feed(
        &request("REGISTER", "or-1", 1, "", "r", "", None)
            .replace("sip:or-1@192.0.2.1 ", "sip:192.0.2.1 "),
    );
    let challenge = bench.only();
    let proof = respond_to(&challenge, "MD5", "or-1", "s3cret", "REGISTER", 1);
    let headers = format!("Authorization: {proof}\r\n");
    bench.feed(&request(
        "INVITE",
        "3000",
        1,
        "",
        "a",
        &headers,
        Some(OFFER),
    ));
    let events = bench.take_events();
    let [CallEvent::Incoming(call)] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(call.account, None);
}

/// Calls with this proof and has the rooms ask for an account; yields the challenge.
fn challenged(bench: &mut Bench, cseq: u32, proof: Option<&str>) -> String {
    let headers = proof
        .map(|value| format!("Authorization: {value}\r\n"))
        .unwrap_or_default();
    let branch = format!("i{cseq}");
    let invite =
        |method, tag: &str, headers, sdp| request(method, "3000", cseq, tag, &branch, headers, sdp);
    bench.feed(&invite("INVITE", "", &headers, Some(OFFER)));
    let events = bench.take_events();
    let [CallEvent::Incoming(incoming)] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(incoming.account, None);
    let call = incoming.call;
    assert!(bench.sent.is_empty());
    bench.command(reject(call, RejectReason::Unauthorized));
    bench.ended(call, EndReason::Rejected);
    let challenge = bench.only();
    assert!(challenge.starts_with("SIP/2.0 401 Unauthorized"));
    bench.feed(&invite("ACK", &tag_of(&challenge), "", None));
    challenge
}

/// Where guests may call, nobody is challenged unless the room that was dialled wants an account.
#[test]
fn a_room_can_have_its_caller_challenged_and_another_takes_guests() {
    let mut bench = Bench::new();
    let challenge = challenged(&mut bench, 1, None);
    assert!(!challenge.contains("stale"), "{challenge}");
    let wrong = respond_to(&challenge, "MD5", "or-1", "guess", "INVITE", 1);
    let again = challenged(&mut bench, 2, Some(&wrong));
    assert!(!again.contains("stale"), "{again}");
    let proof = respond_to(&again, "MD5", "or-1", "s3cret", "INVITE", 1);
    let headers = format!("Authorization: {proof}\r\n");
    bench.feed(&request(
        "INVITE",
        "3000",
        3,
        "",
        "c",
        &headers,
        Some(OFFER),
    ));
    let events = bench.take_events();
    let [CallEvent::Incoming(call)] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(call.account.as_deref(), Some("or-1"));
    bench.command(CallCommand::Hangup { call: call.call });
    bench.pass(seconds(60));
    assert_eq!(bench.endpoint.load(), crate::Load::default());
    let mut bench = Bench::new();
    bench.up();
}

#[test]
fn a_room_that_wants_an_account_says_so_when_the_proof_is_stale() {
    let mut bench = Bench::new();
    let challenge = challenged(&mut bench, 1, None);
    bench.pass(seconds(301));
    let old = respond_to(&challenge, "MD5", "or-1", "s3cret", "INVITE", 1);
    let challenge = challenged(&mut bench, 2, Some(&old));
    assert!(challenge.contains("stale=true"), "{challenge}");
    assert_eq!(challenge.matches("WWW-Authenticate").count(), 2);
}

/// MCU-20.
#[test]
fn registrations_outlive_the_process_for_the_rest_of_their_time() {
    let mut client = Client::new(config());
    let contact = "Contact: <sip:or-1@192.0.2.7:5060>\r\nExpires: 600\r\n";
    client.proven(contact);
    let before = client.bench.endpoint.changes().registrations;
    assert_ne!(before, 0);
    client.bench.pass(seconds(100));
    client.bench.restart(seconds(50));
    let uri = "sip:or-1@192.0.2.7:5060".to_owned();
    assert_eq!(client.contacts(), [(uri.clone(), 450)]);
    // An older request of the same Call-ID still changes nothing.
    client.cseq = 0;
    let answer = client.proven("Contact: *\r\nExpires: 0\r\n");
    assert!(answer.starts_with("SIP/2.0 500 "), "{answer}");
    client.bench.restart(seconds(449));
    assert_eq!(client.contacts(), [(uri, 1)]);
    client.bench.restart(seconds(1));
    assert_eq!(client.contacts(), []);
}

#[test]
fn registrations_of_accounts_that_are_gone_are_not_taken_up() {
    let mut client = Client::new(config());
    client.proven("Contact: <sip:or-1@192.0.2.7:5060>\r\n");
    client.bench.config.accounts.clear();
    client.bench.restart(seconds(1));
    assert_eq!(client.contacts(), []);
}
