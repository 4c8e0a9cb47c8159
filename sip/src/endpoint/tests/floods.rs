//! Floods of requests (MCU-23).

use super::accounts::respond_to;
use super::*;

fn invite(n: u32, authorization: &str) -> String {
    let text = request(
        "INVITE",
        "3000",
        1,
        "",
        &format!("f{n}"),
        authorization,
        Some(OFFER),
    );
    text.replace("one@192.0.2.7", &format!("flood-{n}"))
}

/// Sends so many calls; how many of them the rooms heard of, and what the others were answered.
fn flood(bench: &mut Bench, calls: u32) -> (usize, Vec<String>) {
    let mut refused = Vec::new();
    for n in 0..calls {
        bench.feed(&invite(n, ""));
        refused.extend(
            bench
                .take_sent()
                .into_iter()
                .filter(|text| !text.contains(" 100 ")),
        );
    }
    (bench.take_events().len(), refused)
}

#[test]
fn a_flood_of_calls_is_challenged_without_state_and_an_account_gets_in() {
    let mut bench = Bench::new();
    let (heard, refused) = flood(&mut bench, 1_000);
    assert_eq!(heard, 50);
    assert_eq!(refused.len(), 950);
    assert!(refused.iter().all(|text| text.starts_with("SIP/2.0 401 ")));
    assert_eq!(bench.endpoint.load().transactions, 50);
    let proof = respond_to(&refused[0], "MD5", "or-1", "s3cret", "INVITE", 1);
    bench.feed(&invite(2_000, &format!("Authorization: {proof}\r\n")));
    assert!(matches!(bench.events[..], [CallEvent::Incoming(_)]));
    // A second later as many more, until the source holds its hundred.
    for expected in [50, 0] {
        bench.take_events();
        bench.take_sent();
        bench.pass(seconds(1));
        bench.take_events();
        let (heard, _) = flood(&mut bench, 100);
        assert_eq!(heard, expected);
    }
}

/// Defect: an ACK from another address, which may be forged, had the call count there.
#[test]
fn calls_count_where_their_invite_came_from() {
    let mut bench = Bench::with(Config {
        accounts: Vec::new(),
        max_calls_per_source: 1,
        ..config()
    });
    let elsewhere = Flow {
        remote: address("198.51.100.4:5060"),
        ..udp()
    };
    bench.feed(&invite(0, ""));
    let call = bench.incoming();
    let ok = bench.accept(call);
    bench.flow = elsewhere;
    let ack = request("ACK", "3000", 1, &tag_of(&ok), "k", "", None);
    bench.feed(&ack.replace("one@192.0.2.7", "flood-0"));
    assert_eq!(bench.take_events(), [CallEvent::Established { call }]);
    for life in 0..2 {
        bench.flow = udp();
        bench.feed(&invite(life + 1, ""));
        assert_eq!(bench.start_lines(), ["SIP/2.0 503 Service Unavailable"]);
        assert_eq!(bench.take_events(), []);
        bench.restart(seconds(1));
    }
    bench.flow = elsewhere;
    bench.feed(&invite(9, "").replace("192.0.2.7:5060", "198.51.100.4:5060"));
    bench.incoming();
}

#[test]
fn without_accounts_a_flood_gets_503_and_hears_when_to_come_again() {
    let config = Config {
        accounts: Vec::new(),
        ..config()
    };
    let mut bench = Bench::with(config);
    let (heard, refused) = flood(&mut bench, 200);
    assert_eq!((heard, refused.len()), (50, 150));
    assert!(refused[0].starts_with("SIP/2.0 503 "));
    assert_eq!(header(&refused[0], "Retry-After"), Some("10"));
}
