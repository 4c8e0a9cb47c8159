//! The floods. Each is bounded by a rate and a moment at which it ends.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use benches::server::Server;
use rand::Rng;

/// A flood by its name.
pub struct Attack {
    /// What is printed.
    pub name: &'static str,
    /// Runs it until a moment.
    pub run: fn(&Target, Instant) -> Result<Fired>,
}

/// All of them, the quiet span first.
pub const ALL: &[Attack] = &[
    Attack {
        name: "none",
        run: none,
    },
    Attack {
        name: "invite-one-source",
        run: invite_one_source,
    },
    Attack {
        name: "invite-many-sources",
        run: invite_many_sources,
    },
    Attack {
        name: "invite-no-guests",
        run: invite_no_guests,
    },
    Attack {
        name: "register-wrong",
        run: register_wrong,
    },
    Attack {
        name: "sip-garbage",
        run: sip_garbage,
    },
    Attack {
        name: "sip-tcp-connections",
        run: sip_connections,
    },
    Attack {
        name: "sip-tcp-slow",
        run: sip_slow,
    },
    Attack {
        name: "https-handshakes",
        run: https_handshakes,
    },
    Attack {
        name: "https-slow",
        run: https_slow,
    },
    Attack {
        name: "stun",
        run: stun,
    },
    Attack {
        name: "dtls-hello",
        run: dtls_hello,
    },
    Attack {
        name: "rtp-strangers",
        run: rtp_strangers,
    },
    Attack {
        name: "leg-50-mbit",
        run: leg_50_mbit,
    },
];

/// Datagrams a second of a small flood, and of a large one.
const SMALL: u32 = 2_000;
const LARGE: u32 = 10_000;
/// Sources of a flood from many.
const SOURCES: usize = 100;
/// From one burst of a flood to the next.
const BURST: Duration = Duration::from_millis(5);
/// Connections that slow peers hold.
const SLOW: usize = 3_000;

/// Where the server can be reached.
pub struct Target {
    sip: SocketAddr,
    http: SocketAddr,
    shared: SocketAddr,
    /// Ports that legs have.
    legs: Vec<SocketAddr>,
}

impl Target {
    /// Of a server whose media process this is.
    pub fn of(server: &Server, media: u32) -> Result<Self> {
        let table = std::fs::read_to_string(format!("/proc/{media}/net/udp"))?;
        let ports = table.lines().skip(1).filter_map(|line| {
            let local = line.split_whitespace().nth(1)?;
            u16::from_str_radix(local.split_once(':')?.1, 16).ok()
        });
        let shared = server.media.port();
        let legs = ports.filter(|port| *port > shared && *port < shared + 1_000 && port % 2 == 0);
        Ok(Self {
            sip: server.sip,
            http: server.http,
            shared: server.media,
            legs: legs
                .map(|port| (Ipv4Addr::LOCALHOST, port).into())
                .collect(),
        })
    }
}

/// What was sent, and what came back.
#[derive(Default)]
pub struct Fired {
    sent: u64,
    seconds: f64,
    answers: BTreeMap<String, u64>,
}

impl Fired {
    /// Sent each second.
    pub fn rate(&self) -> f64 {
        self.sent as f64 / self.seconds.max(1e-3)
    }

    /// Answers by their codes.
    pub fn answers(&self) -> String {
        let answers = self
            .answers
            .iter()
            .map(|(code, count)| format!("{code}: {count}"));
        answers.collect::<Vec<_>>().join(", ")
    }

    fn note(&mut self, answer: &str) {
        *self.answers.entry(answer.to_owned()).or_default() += 1;
    }

    /// Counts the status lines that wait at a socket.
    fn read_status(&mut self, socket: &UdpSocket) {
        let mut buffer = [0; 2_048];
        while let Ok(len) = socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..len]);
            let status = text.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3));
            self.note(status.unwrap_or("request"));
        }
    }

    /// Calls `send` so often in a second, in bursts.
    fn paced(mut self, rate: u32, until: Instant, mut send: impl FnMut(&mut Self)) -> Self {
        let start = Instant::now();
        while Instant::now() < until {
            let due = (start.elapsed().as_secs_f64() * f64::from(rate)) as u64;
            while self.sent < due && Instant::now() < until {
                send(&mut self);
                self.sent += 1;
            }
            std::thread::sleep(BURST);
        }
        self.seconds = start.elapsed().as_secs_f64();
        self
    }
}

fn none(_: &Target, until: Instant) -> Result<Fired> {
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
    Ok(Fired::default())
}

fn socket(ip: IpAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((ip, 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn sockets(count: usize) -> Result<Vec<UdpSocket>> {
    let ip = |n: usize| IpAddr::from([127, 0, (n / 200) as u8 + 1, (n % 200) as u8 + 1]);
    (0..count).map(|n| socket(ip(n))).collect()
}

fn request(method: &str, user: &str, from: SocketAddr, extra: &str, body: &str) -> String {
    let n: u64 = rand::rng().random();
    format!(
        "{method} sip:{user}@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{n:x}\r\n\
         From: <sip:x@{from}>;tag={n:x}\r\nTo: <sip:{user}@127.0.0.1>\r\nCall-ID: {n:x}\r\n\
         CSeq: 1 {method}\r\nContact: <sip:x@{from}>\r\nMax-Forwards: 70\r\n{extra}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn offer(ip: IpAddr, audio: u16, video: u16) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {audio} RTP/AVP 0\r\n\
         m=video {video} RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\n\
         a=fmtp:97 profile-level-id=42e01f;packetization-mode=1\r\n"
    )
}

fn invites(target: &Target, until: Instant, sources: usize, user: &str) -> Result<Fired> {
    let sockets = sockets(sources)?;
    let mut turn = 0;
    Ok(Fired::default().paced(SMALL, until, |fired| {
        let socket = &sockets[turn % sources];
        turn += 1;
        let Ok(from) = socket.local_addr() else {
            return;
        };
        let sdp = offer(from.ip(), 9, 9);
        let invite = request(
            "INVITE",
            user,
            from,
            "Content-Type: application/sdp\r\n",
            &sdp,
        );
        let _ = socket.send_to(invite.as_bytes(), target.sip);
        fired.read_status(socket);
    }))
}

fn invite_one_source(target: &Target, until: Instant) -> Result<Fired> {
    invites(target, until, 1, "3000")
}

fn invite_many_sources(target: &Target, until: Instant) -> Result<Fired> {
    invites(target, until, SOURCES, "3000")
}

fn invite_no_guests(target: &Target, until: Instant) -> Result<Fired> {
    invites(target, until, 1, "3001")
}

fn register_wrong(target: &Target, until: Instant) -> Result<Fired> {
    let socket = socket(Ipv4Addr::LOCALHOST.into())?;
    let from = socket.local_addr()?;
    let proof = "Authorization: Digest username=\"or-1\", realm=\"consilium\", nonce=\"1234567890abcdef\
        1234567890abcdef1234567890abcdef1234567890ab\", uri=\"sip:or-1@127.0.0.1\", qop=auth, nc=00000001, \
        cnonce=\"1\", response=\"00000000000000000000000000000000\"\r\n";
    Ok(Fired::default().paced(SMALL, until, |fired| {
        let register = request("REGISTER", "or-1", from, proof, "");
        let _ = socket.send_to(register.as_bytes(), target.sip);
        fired.read_status(&socket);
    }))
}

fn sip_garbage(target: &Target, until: Instant) -> Result<Fired> {
    let socket = socket(Ipv4Addr::LOCALHOST.into())?;
    let from = socket.local_addr()?;
    let mut random = rand::rng();
    Ok(Fired::default().paced(LARGE, until, |fired| {
        let mut bytes =
            request("OPTIONS", "3000", from, "Route: <sip:a>, , ;;\r\n", "").into_bytes();
        for _ in 0..random.random_range(1..20) {
            let place = random.random_range(0..bytes.len());
            bytes[place] = random.random();
        }
        let _ = socket.send_to(&bytes, target.sip);
        fired.read_status(&socket);
    }))
}

fn sip_connections(target: &Target, until: Instant) -> Result<Fired> {
    let mut open = Vec::new();
    Ok(Fired::default().paced(500, until, |fired| {
        match TcpStream::connect_timeout(&target.sip, Duration::from_millis(200)) {
            Ok(stream) => {
                fired.note("connected");
                open.push(stream);
            }
            Err(error) => fired.note(&format!("{:?}", error.kind())),
        }
        if open.len() > SLOW {
            open.remove(0);
        }
    }))
}

/// Connections that say a byte now and then.
fn slow(to: SocketAddr, text: &str, until: Instant) -> Result<Fired> {
    let bytes = text.as_bytes();
    let mut open: Vec<(TcpStream, usize)> = Vec::new();
    let mut turn = 0;
    Ok(Fired::default().paced(SMALL, until, |fired| {
        turn += 1;
        if open.len() < SLOW && turn % 10 == 0 {
            if let Ok(stream) = TcpStream::connect_timeout(&to, Duration::from_millis(200)) {
                let _ = stream.set_nonblocking(true);
                fired.note("connected");
                open.push((stream, 0));
            }
            return;
        }
        let count = open.len().max(1);
        let Some((stream, place)) = open.get_mut(turn % count) else {
            return;
        };
        *place += 1;
        let byte = bytes[*place % bytes.len()];
        if stream.write_all(&[byte]).is_err() || matches!(stream.read(&mut [0; 512]), Ok(0)) {
            fired.note("closed");
            open.swap_remove(turn % count);
        }
    }))
}

fn sip_slow(target: &Target, until: Instant) -> Result<Fired> {
    slow(
        target.sip,
        "OPTIONS sip:3000@127.0.0.1 SIP/2.0\r\nSubject: slow slow slow",
        until,
    )
}

fn https_slow(target: &Target, until: Instant) -> Result<Fired> {
    slow(target.http, "\u{16}\u{3}\u{1}\u{2}", until)
}

/// A ClientHello that a TLS library wrote, over and over: the server signs, and nobody goes on.
fn https_handshakes(target: &Target, until: Instant) -> Result<Fired> {
    let hello = client_hello().context("a ClientHello to send")?;
    Ok(Fired::default().paced(500, until, |fired| {
        let stream = TcpStream::connect_timeout(&target.http, Duration::from_millis(200));
        let Ok(mut stream) = stream else {
            return fired.note("not connected");
        };
        let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
        let _ = stream.write_all(&hello);
        match stream.read(&mut [0; 4_096]) {
            Ok(0) => fired.note("closed"),
            Ok(_) => fired.note("answered"),
            Err(_) => fired.note("silent"),
        }
    }))
}

/// What curl says first, taken down by a listener of ours.
fn client_hello() -> Result<Vec<u8>> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let url = format!("https://{}/", listener.local_addr()?);
    let mut curl = std::process::Command::new("curl")
        .args(["-sk", "--max-time", "2", &url])
        .spawn()?;
    let (mut stream, _) = listener.accept()?;
    let mut hello = vec![0; 4_096];
    let len = stream.read(&mut hello)?;
    drop(stream);
    curl.wait()?;
    hello.truncate(len);
    Ok(hello)
}

/// Checks of ICE with a user fragment that no leg has, from ever other ports.
fn stun(target: &Target, until: Instant) -> Result<Fired> {
    let sockets = sockets(SOURCES)?;
    let mut random = rand::rng();
    Ok(Fired::default().paced(LARGE, until, |fired| {
        let mut message = vec![0, 1, 0, 16, 0x21, 0x12, 0xA4, 0x42];
        message.extend(random.random::<[u8; 12]>());
        message.extend([0, 6, 0, 9]);
        message.extend(b"abcd:efgh\0\0\0");
        let socket = &sockets[random.random_range(0..SOURCES)];
        let _ = socket.send_to(&message, target.shared);
        while socket.recv(&mut [0; 512]).is_ok() {
            fired.note("answered");
        }
    }))
}

fn dtls_hello(target: &Target, until: Instant) -> Result<Fired> {
    let sockets = sockets(SOURCES)?;
    let mut random = rand::rng();
    Ok(Fired::default().paced(LARGE, until, |fired| {
        let mut record = vec![22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 52];
        record.extend([1, 0, 0, 40, 0, 0, 0, 0, 0, 0, 0, 40]);
        record.extend(random.random::<[u8; 20]>());
        record.extend(random.random::<[u8; 20]>());
        let socket = &sockets[random.random_range(0..SOURCES)];
        let _ = socket.send_to(&record, target.shared);
        while socket.recv(&mut [0; 512]).is_ok() {
            fired.note("answered");
        }
    }))
}

fn rtp(payload_type: u8, sequence: u16, timestamp: u32, ssrc: u32, len: usize) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type];
    packet.extend(sequence.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.resize(len, 0x55);
    packet
}

/// RTP of ever other sources to the ports of all legs, from addresses that are not theirs.
fn rtp_strangers(target: &Target, until: Instant) -> Result<Fired> {
    let sockets = sockets(SOURCES)?;
    let mut random = rand::rng();
    Ok(Fired::default().paced(LARGE, until, |_| {
        let ssrc = random.random();
        let packet = rtp(0, random.random(), random.random(), ssrc, 172);
        let socket = &sockets[random.random_range(0..SOURCES)];
        let leg = target.legs[random.random_range(0..target.legs.len())];
        let _ = socket.send_to(&packet, leg);
    }))
}

/// A fourth terminal that sends 50 Mbit/s of what no decoder takes, from where it should.
fn leg_50_mbit(target: &Target, until: Instant) -> Result<Fired> {
    let ip: IpAddr = [127, 0, 9, 9].into();
    let (signalling, audio, video) = (socket(ip)?, socket(ip)?, socket(ip)?);
    let sdp = offer(ip, audio.local_addr()?.port(), video.local_addr()?.port());
    let to = call(target, &signalling, &sdp).context("the flooding leg's call")?;
    let mut random = rand::rng();
    let mut sequence = 0u16;
    Ok(
        Fired::default().paced(50_000_000 / (8 * 1_400), until, |fired| {
            sequence = sequence.wrapping_add(1);
            let timestamp = u32::from(sequence / 150).wrapping_mul(3_000);
            let mut packet = rtp(97, sequence, timestamp, 77, 1_400);
            random.fill(&mut packet[13..]);
            packet[1] |= if sequence % 150 == 149 { 0x80 } else { 0 };
            // A slice, the next piece of one, or a parameter set.
            packet[12] = [0x41, 0x65, 0x67, 0x68][usize::from(sequence % 4)];
            let _ = video.send_to(&packet, to);
            fired.read_status(&signalling);
            while video.recv(&mut [0; 2_048]).is_ok() {}
            while audio.recv(&mut [0; 2_048]).is_ok() {}
        }),
    )
}

/// Calls room 3000; where its video goes.
fn call(target: &Target, socket: &UdpSocket, sdp: &str) -> Option<SocketAddr> {
    let from = socket.local_addr().ok()?;
    let invite = request(
        "INVITE",
        "3000",
        from,
        "Content-Type: application/sdp\r\n",
        sdp,
    );
    socket.send_to(invite.as_bytes(), target.sip).ok()?;
    let (mut buffer, deadline) = ([0; 8_192], Instant::now() + Duration::from_secs(5));
    while Instant::now() < deadline {
        std::thread::sleep(BURST);
        let Ok(len) = socket.recv(&mut buffer) else {
            continue;
        };
        let ok = String::from_utf8_lossy(&buffer[..len]).into_owned();
        if !ok.starts_with("SIP/2.0 200") {
            continue;
        }
        let to = ok.lines().find(|line| line.starts_with("To:"))?;
        let lines = invite.lines().take_while(|line| !line.is_empty());
        let ack = lines.map(|line| match line {
            line if line.starts_with("INVITE") => line.replace("INVITE", "ACK"),
            line if line.starts_with("CSeq") => "CSeq: 1 ACK".to_owned(),
            line if line.starts_with("To:") => to.to_owned(),
            line if line.starts_with("Content-Length") => "Content-Length: 0".to_owned(),
            line => line.to_owned(),
        });
        let ack: Vec<String> = ack
            .filter(|line| !line.starts_with("Content-Type"))
            .collect();
        let ack = ack.join("\r\n") + "\r\n\r\n";
        socket.send_to(ack.as_bytes(), target.sip).ok()?;
        let video = ok.lines().find_map(|line| line.strip_prefix("m=video "))?;
        let port: u16 = video.split(' ').next()?.parse().ok()?;
        return Some((Ipv4Addr::LOCALHOST, port).into());
    }
    None
}
