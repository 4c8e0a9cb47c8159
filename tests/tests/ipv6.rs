//! Networks without IPv4, and with both families (NET-05, TER-12).

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};
use std::time::Duration;

use benches::load::{Load, LoadLeg, Target};
use tests::meeting::everybody_sees_and_hears_everybody_else;
use tests::namespace::Namespace;
use tests::server::Server;
use tests::terminal::watching;

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

const PATIENCE: Duration = Duration::from_secs(40);

/// A line of the region's hospitals, the hospital's own network, all else, and IPv6.
const NETWORKS: &str = r#"
demo = true
[media]
addresses = [
    { address = "172.20.0.4", networks = ["172.20.0.0/16"] },
    { address = "192.168.7.4", networks = ["192.168.0.0/16"] },
    "198.51.100.4",
    "2001:db8::4",
]
"#;

/// Terminals of four networks in one room: each is given the address that it reaches, and all see and
/// hear each other.
#[test]
fn each_network_has_its_media_address_and_all_meet_in_one_room() {
    let network = Namespace::with(&[
        "address add 172.20.0.4/16 dev inside",
        "address add 172.20.9.9/16 dev inside",
        "address add 192.168.7.4/24 dev inside",
        "address add 192.168.7.9/24 dev inside",
        "address add 198.51.100.4/24 dev inside",
        "address add 198.51.100.9/24 dev inside",
        "address add 2001:db8::4/64 dev inside nodad",
        "address add 2001:db8::9/64 dev inside nodad",
    ]);
    network.run(|| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("consilium.toml");
        std::fs::write(&file, NETWORKS).unwrap();
        let flags = ["--config", file.to_str().unwrap()];
        let server = Server::with_defaults("198.51.100.4".parse().unwrap(), &flags);
        let load = Load::start().unwrap();
        let terminals = [
            ("172.20.9.9", "172.20.0.4"),
            ("192.168.7.9", "192.168.7.4"),
            ("198.51.100.9", "198.51.100.4"),
            ("2001:db8::9", "2001:db8::4"),
        ];
        let mut legs = Vec::new();
        for (id, (here, there)) in (1..).zip(terminals) {
            let [here, there] = [here, there].map(|text| text.parse::<IpAddr>().unwrap());
            let sip = SocketAddr::new(there, server.sip);
            assert_eq!(media_address(here, sip), there, "{}", server.log());
            let mut leg = watching(id);
            leg.local_ip = here;
            legs.push(load.call(&Target::number("3000", sip), leg).unwrap());
        }
        for (id, leg) in (1..).zip(&legs) {
            expect_all(leg, id, &server);
        }
    });
}

/// Where a peer at `here` is told to send its media: the connection line of the answer to an INVITE
/// that goes no further.
fn media_address(here: IpAddr, sip: SocketAddr) -> IpAddr {
    let socket = UdpSocket::bind((here, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let at = socket.local_addr().unwrap();
    let family = if here.is_ipv4() { "IP4" } else { "IP6" };
    let body = format!(
        "v=0\r\no=- 1 1 IN {family} {here}\r\ns=-\r\nc=IN {family} {here}\r\nt=0 0\r\n\
         m=audio 9 RTP/AVP 0\r\n"
    );
    let invite = format!(
        "INVITE sip:3000@{sip} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bKmedia;rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:a@{at}>;tag=1\r\nTo: <sip:3000@{sip}>\r\n\
         Call-ID: media@{at}\r\nCSeq: 1 INVITE\r\nContact: <sip:a@{at}>\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.send_to(invite.as_bytes(), sip).unwrap();
    let mut buffer = vec![0; 65_536];
    let answer = loop {
        let (len, _) = socket.recv_from(&mut buffer).unwrap();
        let answer = String::from_utf8_lossy(&buffer[..len]).into_owned();
        if !answer.starts_with("SIP/2.0 1") {
            break answer;
        }
    };
    let line = answer.lines().find_map(|line| line.strip_prefix("c=IN "));
    let address = line.and_then(|line| line.split(' ').nth(1)?.parse().ok());
    address.unwrap_or_else(|| panic!("{answer}"))
}

/// Defect: peers without any other address than that of their link got no answers over UDP.
#[test]
fn a_peer_on_the_link_is_answered_at_its_link_local_address() {
    let network = Namespace::with(&[
        "address add fe80::2/64 dev inside nodad",
        "address add fe80::9/64 dev inside nodad",
    ]);
    network.run(|| {
        let index = nix::net::if_::if_nametoindex("inside").unwrap();
        let on_link =
            |ip: &str, port| SocketAddrV6::new(ip.parse().unwrap(), port, 0, index).into();
        let (peer, server_at): (SocketAddr, SocketAddr) =
            (on_link("fe80::9", 0), on_link("fe80::2", 5060));
        // The page is asked for by loopback.
        let server = Server::with_defaults("::1".parse().unwrap(), &["--demo"]);
        let options = |transport: &str| {
            format!(
                "OPTIONS sip:[fe80::2] SIP/2.0\r\n\
                 Via: SIP/2.0/{transport} [fe80::9];branch=z9hG4bKlink;rport\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:a@[fe80::9]>;tag=1\r\nTo: <sip:[fe80::2]>\r\n\
                 Call-ID: link-{transport}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
            )
        };
        let mut buffer = [0; 4096];
        let udp = UdpSocket::bind(peer).unwrap();
        udp.set_read_timeout(Some(PATIENCE)).unwrap();
        udp.send_to(options("UDP").as_bytes(), server_at).unwrap();
        let answered = udp.recv_from(&mut buffer);
        let (len, from) = answered.unwrap_or_else(|_| panic!("no answer\n{}", server.log()));
        assert!(buffer[..len].starts_with(b"SIP/2.0 200 OK\r\n"));
        assert_eq!(from, server_at);
        let mut tcp = TcpStream::connect(server_at).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.write_all(options("TCP").as_bytes()).unwrap();
        let len = tcp.read(&mut buffer).unwrap();
        assert!(buffer[..len].starts_with(b"SIP/2.0 200 OK\r\n"));
    });
}

fn expect_all(leg: &LoadLeg, own: u8, server: &Server) {
    let others: Vec<u8> = (1..=4).filter(|id| *id != own).collect();
    let seen = leg.wait_until(PATIENCE, |report| {
        let tiles = (1..=4).all(|id| report.tile(id).is_some_and(|tile| tile.fresh > 5));
        tiles && report.heard() == others
    });
    let _ = seen
        .unwrap()
        .unwrap_or_else(|last| panic!("leg {own}: {last:#?}\n{}", server.log()));
}
