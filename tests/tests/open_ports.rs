//! Whoever has read our answer may send at once: the ports that it names are open by then.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};

use tests::caller::{Caller, described};
use tests::server::Server;

const CALLS: usize = 20;
/// Packets to each port as soon as it is known, and again once the call stands.
const PACKETS: usize = 50;

/// How many of the packets to this port came back as undeliverable (ICMP).
fn turned_away(media: &UdpSocket, to: SocketAddr) -> usize {
    media.connect(to).unwrap();
    let mut packet = [0; 172];
    packet[0] = 0x80;
    let sends = (0..PACKETS).map(|_| media.send(&packet));
    sends
        .filter(|sent| match sent {
            Ok(_) => false,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => true,
            Err(error) => panic!("{error}"),
        })
        .count()
}

/// Defect: most of what such callers sent met closed ports while the machine was busy, and some of it
/// always did where the offer was ours.
#[test]
fn ports_are_open_when_their_answer_is_read() {
    let server = Server::demo();
    let mut closed = Vec::new();
    for number in 0..CALLS {
        let offers = number % 2 == 0;
        let caller = Caller::new(&server, number);
        let media = UdpSocket::bind((server.host, 0)).unwrap();
        let own = media.local_addr().unwrap();
        let offer = if offers {
            described(own, "RTP/AVP", "")
        } else {
            String::new()
        };
        caller.send("INVITE", 1, "", &offer);
        let answer = caller.success();
        let rtp = SocketAddr::new(server.host, answer.audio_port);
        let rtcp = SocketAddr::new(server.host, answer.audio_port + 1);
        let first = [turned_away(&media, rtp), turned_away(&media, rtcp)];
        let late = match offers {
            true => String::new(),
            false => described(own, "RTP/AVP", "m=video 0 RTP/AVP 96\r\n"),
        };
        caller.send("ACK", 1, &answer.tag, &late);
        let then = turned_away(&media, rtp);
        if (first, then) != ([0, 0], 0) {
            closed.push((number, first, then));
        }
        caller.send("BYE", 2, &answer.tag, "");
        caller.success();
    }
    assert!(
        closed.is_empty(),
        "packets that met a closed port: {closed:?}"
    );
}
