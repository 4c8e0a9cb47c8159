//! A week of calls and registrations: what is refreshed thousands of times neither drifts nor piles up.

use super::accounts::{Client, respond_to};
use super::*;

const WEEK: Duration = Duration::from_secs(7 * 86_400);
/// Transactions over UDP stay for 32 s: none of a refresh outlives the next by more.
const FEW: usize = 4;

#[test]
fn a_peer_refreshes_for_a_week_over_seven_restarts() {
    let mut bench = Bench::new();
    let asks = "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n";
    let (_, tag) = bench.up_with(asks);
    let refreshes = (WEEK.as_secs() / 45) as u32;
    for n in 1..=refreshes {
        bench.pass(seconds(45));
        if n % (refreshes / 7) == 0 {
            bench.restart(seconds(2));
        }
        let branch = format!("r{n}");
        bench.feed(&request("UPDATE", "3000", 1 + n, &tag, &branch, asks, None));
        let ok = bench.only();
        assert!(ok.starts_with("SIP/2.0 200 OK"), "refresh {n}: {ok}");
        assert!(bench.endpoint.load().transactions <= FEW, "refresh {n}");
    }
    assert!(bench.take_events().is_empty());
    assert_eq!(bench.endpoint.load().calls, 1);
}

#[test]
fn we_refresh_for_a_week_with_sequence_numbers_that_rise_by_one() {
    let mut bench = Bench::new();
    let asks = "Supported: timer\r\nSession-Expires: 90;refresher=uas\r\nAllow: INVITE, UPDATE\r\n";
    let (call, _) = bench.up_with(asks);
    let mut last = None;
    for n in 0..WEEK.as_secs() / 45 {
        bench.pass(seconds(45));
        let update = bench.only();
        let cseq: u32 = header(&update, "CSeq")
            .and_then(|value| value.strip_suffix(" UPDATE")?.parse().ok())
            .unwrap_or_else(|| panic!("refresh {n}: {update}"));
        assert!(last.is_none_or(|last| cseq == last + 1), "refresh {n}");
        last = Some(cseq);
        let agreed = "Session-Expires: 90;refresher=uac\r\n";
        bench.feed(&respond(&update, "200 OK", agreed, None));
        assert!(bench.endpoint.load().transactions <= FEW, "refresh {n}");
    }
    assert!(bench.take_events().is_empty());
    bench.pass(seconds(45 + 32));
    bench.ended(call, EndReason::Timeout);
}

/// A terminal reuses its nonce for as long as it is taken, and is asked anew when that is too old.
#[test]
fn a_terminal_registers_every_minute_for_a_week() {
    let mut client = Client::new(config());
    let contact = "Contact: <sip:or-1@192.0.2.7:5060>;expires=90\r\n";
    let (mut challenge, mut count, mut asked) = (client.register(contact, None), 0, 0);
    for minute in 0..WEEK.as_secs() / 60 {
        count += 1;
        let proof = respond_to(&challenge, "SHA-256", "or-1", "s3cret", "REGISTER", count);
        let mut answer = client.register(contact, Some(&proof));
        if answer.starts_with("SIP/2.0 401") {
            assert!(answer.contains("stale=true"), "minute {minute}: {answer}");
            (challenge, count, asked) = (answer, 1, asked + 1);
            let proof = respond_to(&challenge, "SHA-256", "or-1", "s3cret", "REGISTER", 1);
            answer = client.register(contact, Some(&proof));
        }
        assert!(
            answer.starts_with("SIP/2.0 200"),
            "minute {minute}: {answer}"
        );
        let expected = [("sip:or-1@192.0.2.7:5060".to_owned(), 90)];
        assert_eq!(client.contacts(), expected, "minute {minute}");
        client.bench.pass(seconds(60));
        assert_eq!(client.bench.endpoint.load().transactions, 0);
        if minute % 1_440 == 1_439 {
            client.bench.restart(seconds(3));
        }
    }
    // Every five minutes (RFC 7616 §3.3), and after each restart.
    assert!((1_600..2_100).contains(&asked), "asked {asked} times");
}

/// What has expired makes room at once, though all accounts are looked through only now and then.
#[test]
fn places_of_expired_contacts_are_given_out_again() {
    let limits = Config {
        max_registrations: 2,
        ..config()
    };
    let mut client = Client::new(limits);
    let contact = |port: u16| format!("Contact: <sip:or-1@192.0.2.7:{port}>;expires=60\r\n");
    for port in [1, 2] {
        assert!(client.proven(&contact(port)).starts_with("SIP/2.0 200"));
    }
    assert!(client.proven(&contact(3)).starts_with("SIP/2.0 503"));
    assert!(
        client
            .proven("Contact: *\r\nExpires: 0\r\n")
            .starts_with("SIP/2.0 200")
    );
    for port in [1, 2] {
        assert!(client.proven(&contact(port)).starts_with("SIP/2.0 200"));
    }
    client.bench.pass(seconds(61));
    for port in [3, 4] {
        assert!(client.proven(&contact(port)).starts_with("SIP/2.0 200"));
    }
    assert!(client.proven(&contact(5)).starts_with("SIP/2.0 503"));
    // A refresh of one that is there takes no place.
    assert!(client.proven(&contact(4)).starts_with("SIP/2.0 200"));
}
