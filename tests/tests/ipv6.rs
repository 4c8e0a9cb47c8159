//! Networks without IPv4, and with both families (NET-05, TER-12).

use std::net::{IpAddr, UdpSocket};

use tests::meeting::everybody_sees_and_hears_everybody_else;
use tests::namespace::Namespace;
use tests::server::Server;

/// The server's address, of the documentation's prefix.
const HERE: &str = "2001:db8::2";

/// The room test, with nothing configured: the page, SIP, media and all peers have IPv6 alone.
#[test]
fn the_room_test_passes_in_a_network_without_ipv4() {
    Namespace::ipv6_only(HERE).run(|| {
        assert!(UdpSocket::bind("127.0.0.1:0").is_err(), "there is IPv4");
        let host: IpAddr = HERE.parse().unwrap();
        let server = Server::with_defaults(host, &["--demo"]);
        let said = server.log();
        assert!(said.contains(&format!("sip:3000@[{HERE}]\n")), "{said}");
        everybody_sees_and_hears_everybody_else(&server);
    });
}
