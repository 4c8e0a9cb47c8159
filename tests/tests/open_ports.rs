//! Whoever has read our answer may send at once: the ports that it names are open by then.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use tests::server::Server;

/// Far above what an answer takes.
const PATIENCE: Duration = Duration::from_secs(20);
const CALLS: usize = 20;
/// Packets to each port as soon as it is known, and again once the call stands.
const PACKETS: usize = 50;

/// A caller by UDP that writes its own SIP.
struct Caller {
    socket: UdpSocket,
    server: SocketAddr,
    number: usize,
}

impl Caller {
    fn new(server: &Server, number: usize) -> Self {
        let server = SocketAddr::new(server.host, server.sip);
        let socket = UdpSocket::bind((server.ip(), 0)).unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            socket,
            server,
            number,
        }
    }

    fn send(&self, method: &str, cseq: &str, to: &str, sdp: &str) {
        let (server, number) = (self.server, self.number);
        let own = self.socket.local_addr().unwrap();
        let kind = match sdp {
            "" => "",
            _ => "Content-Type: application/sdp\r\n",
        };
        let request = format!(
            "{method} sip:3000@{server} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {own};branch=z9hG4bK{method}{number};rport\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:quick@{own}>;tag=q{number}\r\n\
             To: <sip:3000@{server}>{to}\r\n\
             Call-ID: {number}@{own}\r\n\
             CSeq: {cseq}\r\n\
             Contact: <sip:quick@{own}>\r\n\
             {kind}Content-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        );
        self.socket.send(request.as_bytes()).unwrap();
    }

    fn success(&self) -> String {
        let mut buffer = [0; 65_535];
        loop {
            let len = self.socket.recv(&mut buffer).unwrap();
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            if text.starts_with("SIP/2.0 200") {
                return text;
            }
            assert!(text.starts_with("SIP/2.0 1"), "{text}");
        }
    }
}

fn described(own: SocketAddr, video: &str) -> String {
    let ip = own.ip();
    let rtp = own.port();
    format!(
        "v=0\r\no=q 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {rtp} RTP/AVP 0\r\n{video}"
    )
}

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
            described(own, "")
        } else {
            String::new()
        };
        caller.send("INVITE", "1 INVITE", "", &offer);
        let answer = caller.success();
        let (_, line) = answer.split_once("m=audio ").unwrap();
        let port = line.split(' ').next().unwrap().parse().unwrap();
        let rtp = SocketAddr::new(server.host, port);
        let rtcp = SocketAddr::new(server.host, port + 1);
        let first = [turned_away(&media, rtp), turned_away(&media, rtcp)];
        let (_, tag) = answer.split_once("\r\nTo:").unwrap();
        let (_, tag) = tag.split_once(";tag=").unwrap();
        let tag = tag.split("\r\n").next().unwrap();
        let to = format!(";tag={tag}");
        let late = match offers {
            true => String::new(),
            false => described(own, "m=video 0 RTP/AVP 96\r\n"),
        };
        caller.send("ACK", "1 ACK", &to, &late);
        let then = turned_away(&media, rtp);
        if (first, then) != ([0, 0], 0) {
            closed.push((number, first, then));
        }
        caller.send("BYE", "2 BYE", &to, "");
        caller.success();
    }
    assert!(
        closed.is_empty(),
        "packets that met a closed port: {closed:?}"
    );
}
