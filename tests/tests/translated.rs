//! A server behind a translation of addresses, as clouds and hospitals' firewalls have it: terminals
//! outside know another address than its own (VSEC-05).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use benches::clip::{Clip, Config};
use benches::load::{LegConfig, Load, Target};
use benches::tone;
use tests::baresip::{self, Baresip};
use tests::namespace::Namespace;
use tests::server::Server;
use tests::translation::translate;
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(40);
const INSIDE: u8 = 1;
const OUTSIDE: u8 = 3;

const CONFIGURATION: &str = r#"
demo = true
[media]
ports = "20000-20031"
addresses = [
    { address = "10.0.0.4", networks = ["10.0.0.0/8"] },
    { address = "10.0.0.4", advertised = "203.0.113.7" },
]
"#;

/// Defect: Contact named the private address, so that ACK and BYE of a terminal outside went nowhere.
#[test]
fn a_terminal_outside_a_translation_enters_is_heard_and_hangs_up() {
    let [server_ip, inside_ip, outside_ip, advertised] =
        ["10.0.0.4", "10.0.0.9", "198.51.100.9", "203.0.113.7"]
            .map(|text| text.parse::<IpAddr>().unwrap());
    let inside = Namespace::with(&[
        "address add 10.0.0.4/24 dev inside",
        "address add 10.0.0.9/24 dev inside",
        "address add 198.51.100.9/32 dev lo",
    ]);
    let outside = Namespace::with(&[
        "address add 198.51.100.9/24 dev inside",
        "route add 203.0.113.7/32 dev inside",
    ]);
    // A terminal on the same host would send from the address that it sends to.
    let border = outside.beyond(&[
        "address add 203.0.113.7/32 dev nowhere",
        "route add 198.51.100.0/24 dev nowhere",
    ]);
    let ports = (20_000..=20_031).chain([5060]);
    translate((&border, advertised), (&inside, server_ip), ports);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("consilium.toml");
    std::fs::write(&file, CONFIGURATION).unwrap();
    let flags = ["--config", file.to_str().unwrap()];
    let terminal = dir.path().join("terminal");
    inside.run(|| {
        let server = Server::with_defaults(server_ip, &flags);
        let load = Load::start().unwrap();
        let clip = Arc::new(Clip::load(&Config::cif(INSIDE)).unwrap());
        let mut leg = LegConfig::terminal(INSIDE, clip);
        leg.local_ip = inside_ip;
        let sip = SocketAddr::new(server_ip, server.sip);
        let leg = load.call(&Target::number("3000", sip), leg).unwrap();
        let caller = outside.run(|| {
            let caller = Baresip::start_at(
                outside_ip,
                &baresip::Config {
                    dir: &terminal,
                    tone_hz: tone::frequency_hz(OUTSIDE).unwrap().into(),
                    clip: None,
                    audio_codec: "PCMU/8000/1",
                    account: "",
                },
            );
            caller.dial(&format!("sip:3000@{advertised}"));
            caller
        });
        // Whose ACK does not come is not heard.
        let heard = leg.wait_until(PATIENCE, |report| report.heard() == [OUTSIDE]);
        let _ = heard
            .unwrap()
            .unwrap_or_else(|last| panic!("{last:#?}\n{}", server.log()));
        assert_eq!(server.room().unwrap().legs.len(), 2);
        outside.run(|| caller.hang_up());
        wait_for("its BYE arrives", PATIENCE, || {
            server.room().filter(|room| room.legs.len() == 1)
        });
    });
}
