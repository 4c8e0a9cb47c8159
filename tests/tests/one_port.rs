//! Browsers in networks that let one TCP port through, that of the page, and no UDP (VSEC-05).

use std::time::{Duration, Instant};

use tests::browser::{Browser, Report};
use tests::coturn::Coturn;
use tests::firewall::{ClosedNetwork, forward, inspect};
use tests::process::free_port;
use tests::server::Server;
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(60);

/// Ids of the sources.
const OUTSIDE: u8 = 1;
const INSIDE: u8 = 2;

fn join(server: &Server, id: u8) -> Browser {
    let log = server.dir().join(format!("browser-{id}.log"));
    Browser::join(&server.url("/room/3000"), id, &log)
}

/// Waits until the browser sees the other's marker and hears its tone; the marker's counter.
fn expect_other(browser: &Browser, own: u8, other: u8) -> (Report, u16) {
    let what = format!("browser {own} sees and hears {other}");
    wait_for(&what, PATIENCE, || {
        let report = browser.next_report();
        let marker = report.markers.values().find(|marker| marker.id == other);
        let hears = report.tones.contains_key(&other) && !report.tones.contains_key(&own);
        let counter = marker.map(|marker| marker.counter).filter(|_| hears);
        if counter.is_none() {
            eprintln!("browser {own}: {report:?}");
        }
        Some((report, counter?))
    })
}

/// Waits until each of the two sees and hears the other, and the other's marker moves.
fn expect_call(outside: &Browser, inside: &Browser) -> (Report, Report) {
    let pairs = [(outside, OUTSIDE, INSIDE), (inside, INSIDE, OUTSIDE)];
    let reports = pairs.map(|(browser, own, other)| {
        let (_, before) = expect_other(browser, own, other);
        wait_for("the marker moves", PATIENCE, || {
            let (report, counter) = expect_other(browser, own, other);
            (counter != before).then_some(report)
        })
    });
    reports.into()
}

/// Two visits in one: the manager's death touches neither call, the media process's both, and both
/// come back by the same port.
#[test]
fn a_browser_that_has_one_tcp_port_alone_sees_and_hears_and_is_seen_and_heard() {
    let server = Server::demo();
    let network = ClosedNetwork::with_ports(&[server.http], forward);
    let outside = join(&server, OUTSIDE);
    let mut inside = network.run(|| join(&server, INSIDE));
    let (at_outside, at_inside) = expect_call(&outside, &inside);
    assert_eq!(at_outside.path, "udp", "what works by UDP goes by UDP");
    assert_eq!(at_inside.path, "tcp");

    inside.reset();
    server.kill("manager");
    let (_, after) = expect_call(&outside, &inside);
    let pauses = &after.pauses_ms;
    assert!(pauses.values().all(|pause| *pause < 1_000.0), "{pauses:?}");
    assert_eq!((after.packets_lost, after.path.as_str()), (0, "tcp"));

    server.kill("media");
    let killed = Instant::now();
    wait_for("the page makes a new connection", PATIENCE, || {
        (inside.next_report().frames_decoded < after.frames_decoded).then_some(())
    });
    let (_, back) = expect_call(&outside, &inside);
    println!(
        "media killed: seen and heard both ways after {:?}",
        killed.elapsed()
    );
    assert_eq!(back.path, "tcp");
}

/// Neither UDP nor ICE over TCP passes a proxy that looks into TLS; a relay by TLS does.
#[test]
fn behind_a_proxy_that_opens_tls_a_browser_comes_by_a_relay() {
    const SECRET: &str = "known to both";
    let relay = free_port();
    let server = Server::configured(&format!(
        "demo = true\n[turn]\nurls = [\"turns:127.0.0.1:{relay}?transport=tcp\"]\n\
         secret = \"{SECRET}\"\n"
    ));
    let _coturn = Coturn::start(relay, SECRET, server.dir());
    let network = ClosedNetwork::with_ports(&[server.http, relay], inspect);
    let outside = join(&server, OUTSIDE);
    let inside = network.run(|| join(&server, INSIDE));
    let (at_outside, at_inside) = expect_call(&outside, &inside);
    assert_eq!(at_outside.path, "udp", "a relay is the last resort");
    assert_eq!(at_inside.path, "relay tls");
    assert!(!server.log().contains(SECRET));
}
