//! A caller by UDP that writes its own SIP, for what no program can be told to do.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use crate::server::Server;

/// Far above what an answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// One call to room 3000.
pub struct Caller {
    socket: UdpSocket,
    server: SocketAddr,
    number: usize,
}

/// What a 200 says.
pub struct Success {
    /// The server's tag.
    pub tag: String,
    /// RTP port of its sound; 0 without a description.
    pub audio_port: u16,
    /// RTP port of its pictures; 0 without.
    pub video_port: u16,
}

impl Caller {
    /// Numbers of callers of one server differ.
    pub fn new(server: &Server, number: usize) -> Self {
        let server = SocketAddr::new(server.host, server.sip);
        let socket = UdpSocket::bind((server.ip(), 0)).expect("bind");
        socket.connect(server).expect("connect");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self {
            socket,
            server,
            number,
        }
    }

    /// Sends a request with this description, or none; `tag` is empty before the answer.
    pub fn send(&self, method: &str, cseq: u32, tag: &str, sdp: &str) {
        let (server, number) = (self.server, self.number);
        let own = self.socket.local_addr().expect("a socket");
        let kind = match sdp {
            "" => "",
            _ => "Content-Type: application/sdp\r\n",
        };
        let tag = match tag {
            "" => String::new(),
            tag => format!(";tag={tag}"),
        };
        let request = format!(
            "{method} sip:3000@{server} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {own};branch=z9hG4bK{method}{number};rport\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:quick@{own}>;tag=q{number}\r\n\
             To: <sip:3000@{server}>{tag}\r\n\
             Call-ID: {number}@{own}\r\n\
             CSeq: {cseq} {method}\r\n\
             Contact: <sip:quick@{own}>\r\n\
             {kind}Content-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        );
        self.socket.send(request.as_bytes()).expect("send");
    }

    /// The next 200; other final responses fail.
    pub fn success(&self) -> Success {
        let mut buffer = [0; 65_535];
        loop {
            let len = self.socket.recv(&mut buffer).expect("an answer");
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            if text.starts_with("SIP/2.0 200") {
                let to = text.split_once("\r\nTo:").map(|(_, rest)| rest);
                let tag = to.and_then(|to| Some(between(to, ";tag=", "\r\n")?.to_owned()));
                let port = |line| between(&text, line, " ")?.parse().ok();
                return Success {
                    tag: tag.expect("a tag"),
                    audio_port: port("m=audio ").unwrap_or(0),
                    video_port: port("m=video ").unwrap_or(0),
                };
            }
            assert!(text.starts_with("SIP/2.0 1"), "{text}");
        }
    }
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(before)?;
    rest.split(after).next()
}

/// A description of G.711 at this socket, by this profile of RTP, and what follows on its line.
pub fn described(own: SocketAddr, profile: &str, more: &str) -> String {
    let (ip, port) = (own.ip(), own.port());
    format!(
        "v=0\r\no=q 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} {profile} 0\r\n{more}"
    )
}
