//! Browsers in networks that let one TCP port through, that of the page, and no UDP (VSEC-05).

use std::time::{Duration, Instant};

use tests::coturn::Coturn;
use tests::firewall::{ClosedNetwork, forward, inspect};
use tests::meeting::expect_call;
use tests::process::free_port;
use tests::server::Server;
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(60);

/// Ids of the sources.
const OUTSIDE: u8 = 1;
const INSIDE: u8 = 2;

/// Two visits in one: the manager's death touches neither call, the media process's both, and both
/// come back by the same port.
#[test]
fn a_browser_that_has_one_tcp_port_alone_sees_and_hears_and_is_seen_and_heard() {
    let server = Server::demo();
    let network = ClosedNetwork::with_ports(&[server.http], forward);
    let outside = server.join(OUTSIDE);
    let mut inside = network.run(|| server.join(INSIDE));
    let (at_outside, at_inside) = expect_call((OUTSIDE, &outside), (INSIDE, &inside));
    assert_eq!(at_outside.path, "udp", "what works by UDP goes by UDP");
    assert_eq!(at_inside.path, "tcp");

    inside.reset();
    server.kill("manager");
    let (_, after) = expect_call((OUTSIDE, &outside), (INSIDE, &inside));
    let pauses = &after.pauses_ms;
    assert!(pauses.values().all(|pause| *pause < 1_000.0), "{pauses:?}");
    assert_eq!((after.packets_lost, after.path.as_str()), (0, "tcp"));

    server.kill("media");
    let killed = Instant::now();
    wait_for("the page makes a new connection", PATIENCE, || {
        (inside.next_report().frames_decoded < after.frames_decoded).then_some(())
    });
    let (_, back) = expect_call((OUTSIDE, &outside), (INSIDE, &inside));
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
    let outside = server.join(OUTSIDE);
    let inside = network.run(|| server.join(INSIDE));
    let (at_outside, at_inside) = expect_call((OUTSIDE, &outside), (INSIDE, &inside));
    assert_eq!(at_outside.path, "udp", "a relay is the last resort");
    assert_eq!(at_inside.path, "relay tls");
    assert!(!server.log().contains(SECRET));
}
