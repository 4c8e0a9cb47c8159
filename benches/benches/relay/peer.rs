//! Peers as browsers are to a server that forwards: ICE, DTLS and SRTP, and a thread that sends for one of
//! them and counts for all others.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use benches::clip::Clip;
use benches::load::h264_payloads;
use mcu_api::plan::{DtlsRole, WebrtcTransport};
use mcu_api::secret::Redacted;
use mcu_rtp::demux::{Kind, classify};
use mcu_rtp::webrtc::{Certificate, Output, WebrtcSession};
use mio::net::UdpSocket as PolledSocket;
use mio::{Events, Interest, Poll, Token};
use rtc_dtls::crypto_provider::default_provider;
use rtc_stun::attributes::{
    ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME, AttrType,
};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, Message, Setter, TransactionId};

/// Payload type of H.264 where we choose it.
const PAYLOAD_TYPE: u8 = 102;
const SSRC: u32 = 0x0c0f_fee0;
const FRAME: Duration = Duration::from_nanos(1_000_000_000 / 30);
const TICKS_A_FRAME: u32 = 3_000;
/// For a handshake.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two checks of one that is connected (RFC 7675 §5.1).
const CHECK_EVERY: Duration = Duration::from_secs(4);
const BUFFER: usize = 2_048;

/// What a peer of ours says of itself.
pub struct Offer {
    socket: UdpSocket,
    certificate: Certificate,
    ufrag: String,
    password: String,
}

impl Offer {
    pub fn new() -> Result<Self> {
        Ok(Self {
            // Janus names the machine's own address and not the loopback one; both are the same way.
            socket: UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
            certificate: Certificate::generate()?,
            ufrag: format!("{:016x}", rand::random::<u64>()),
            password: format!("{:032x}", rand::random::<u128>()),
        })
    }

    /// Lines of a transport, for each line of media.
    fn transport(&self, setup: &str) -> Result<String> {
        let fingerprint = self
            .certificate
            .fingerprint_sha256()
            .map(|b| format!("{b:02X}"));
        let (ip, port) = (own_address()?, self.socket.local_addr()?.port());
        Ok(format!(
            "c=IN IP4 127.0.0.1\r\na=rtcp-mux\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n\
             a=fingerprint:sha-256 {}\r\na=setup:{setup}\r\n\
             a=candidate:1 1 udp 2130706431 {ip} {port} typ host\r\na=end-of-candidates\r\n",
            self.ufrag,
            self.password,
            fingerprint.join(":"),
        ))
    }

    /// An offer of one line of H.264, before it one of sound by which nothing will go where the server wants
    /// one.
    pub fn sdp(&self, direction: &str, with_sound: bool) -> Result<String> {
        let transport = self.transport("actpass")?;
        let (group, sound) = match with_sound {
            true => (
                "0 1",
                format!(
                    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n{transport}a=mid:0\r\na=sendonly\r\n\
                     a=rtpmap:111 opus/48000/2\r\n"
                ),
            ),
            false => ("1", String::new()),
        };
        Ok(format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {group}\r\n{sound}\
             m=video 9 UDP/TLS/RTP/SAVPF {PAYLOAD_TYPE}\r\n{transport}a=mid:1\r\na={direction}\r\n\
             a=rtpmap:{PAYLOAD_TYPE} H264/90000\r\n\
             a=fmtp:{PAYLOAD_TYPE} level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
             a=rtcp-fb:{PAYLOAD_TYPE} nack\r\na=rtcp-fb:{PAYLOAD_TYPE} nack pli\r\n{}",
            match direction {
                "sendonly" => format!("a=ssrc:{SSRC} cname:sender\r\n"),
                _ => String::new(),
            }
        ))
    }

    /// The answer to an offer of one line of H.264 that the server sends.
    pub fn answer(&self, offer: &str) -> Result<String> {
        let media = offer.lines().find(|line| line.starts_with("m=video"));
        let media = media.context("a line of video")?;
        let payload_type = media.split(' ').nth(3).context("a payload type")?;
        let kept = offer.lines().filter(|line| {
            let of_type = |name: &str| line.starts_with(&format!("a={name}:{payload_type} "));
            line.starts_with("a=mid:") || ["rtpmap", "fmtp", "rtcp-fb"].iter().any(|n| of_type(n))
        });
        let kept: String = kept.map(|line| format!("{line}\r\n")).collect();
        let group = offer.lines().find(|line| line.starts_with("a=group:"));
        Ok(format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n{}\r\n\
             m=video 9 UDP/TLS/RTP/SAVPF {payload_type}\r\n{}a=recvonly\r\n{kept}",
            group.unwrap_or_default(),
            self.transport("active")?,
        ))
    }

    /// The peer that sends, once it is connected.
    pub fn sends(self, remote: &str) -> Result<Peer> {
        self.connect(remote)
    }

    /// ICE and DTLS with what the server said of itself.
    pub fn connect(self, remote: &str) -> Result<Peer> {
        let value = |name: &str| {
            let mut lines = remote.lines().filter_map(|line| line.strip_prefix(name));
            lines.next().with_context(|| format!("{name} in {remote}"))
        };
        let (ufrag, password) = (value("a=ice-ufrag:")?, value("a=ice-pwd:")?);
        let plan = WebrtcTransport {
            local_ufrag: self.ufrag.clone(),
            local_pwd: Redacted(self.password.clone()),
            remote_ufrag: ufrag.into(),
            remote_pwd: Redacted(password.into()),
            remote_fingerprint_sha256: unhex(value("a=fingerprint:sha-256 ")?)?,
            dtls_role: match value("a=setup:")? {
                "active" => DtlsRole::Server,
                _ => DtlsRole::Client,
            },
        };
        let server = candidate(remote).context("a candidate")?;
        let now = Instant::now();
        let peer = Peer {
            session: WebrtcSession::new(now, &plan, &self.certificate)?,
            check: check(&format!("{ufrag}:{}", self.ufrag), password)?,
            socket: self.socket,
            server,
        };
        // The library's half of ICE waits for checks, which a lite server does not send: it is told of one.
        let nominated = check(&format!("{}:{ufrag}", self.ufrag), &self.password)?;
        peer.handshake(now, &nominated)
    }
}

/// The machine's address on the way to others, which Janus takes; nothing is sent there.
fn own_address() -> Result<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9))?;
    Ok(socket.local_addr()?.ip())
}

fn unhex(text: &str) -> Result<[u8; 32]> {
    let bytes = text
        .trim()
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16));
    let bytes = bytes.collect::<Result<Vec<u8>, _>>()?;
    bytes.try_into().ok().context("a SHA-256")
}

/// The first one of IPv4 and UDP.
fn candidate(sdp: &str) -> Option<SocketAddr> {
    let mut candidates = sdp.lines().filter_map(|line| {
        let words: Vec<&str> = line.strip_prefix("a=candidate:")?.split(' ').collect();
        let is_udp = words.get(2)?.eq_ignore_ascii_case("udp");
        let address = format!("{}:{}", words.get(4)?, words.get(5)?);
        address
            .parse()
            .ok()
            .filter(|at: &SocketAddr| is_udp && at.is_ipv4())
    });
    candidates.next()
}

struct Add<'a>(AttrType, &'a [u8]);

impl Setter for Add<'_> {
    fn add_to(&self, message: &mut Message) -> rtc_shared::error::Result<()> {
        message.add(self.0, self.1);
        Ok(())
    }
}

/// A binding request of the controlling side that nominates (RFC 8445 §7.2.2).
fn check(username: &str, password: &str) -> Result<Vec<u8>> {
    let provider = default_provider()?;
    let setters: Vec<Box<dyn Setter + '_>> = vec![
        Box::new(TransactionId(rand::random())),
        Box::new(BINDING_REQUEST),
        Box::new(Add(ATTR_USERNAME, username.as_bytes())),
        Box::new(Add(ATTR_PRIORITY, &[0x6e, 0x7f, 0x1e, 0xff])),
        Box::new(Add(ATTR_ICE_CONTROLLING, &[7; 8])),
        Box::new(Add(ATTR_USE_CANDIDATE, &[])),
        Box::new(MessageIntegrity::new_raw_integrity_with_provider(
            password.as_bytes(),
            provider.crypto(),
        )),
        Box::new(FINGERPRINT),
    ];
    let mut message = Message::new();
    message.build(&setters)?;
    Ok(message.raw)
}

/// A peer that is connected.
pub struct Peer {
    socket: UdpSocket,
    session: WebrtcSession,
    server: SocketAddr,
    /// What it proves itself with, over and over.
    check: Vec<u8>,
}

impl Peer {
    fn handshake(mut self, now: Instant, nominated: &[u8]) -> Result<Self> {
        self.session.handle_input(now, self.server, nominated);
        self.socket
            .set_read_timeout(Some(Duration::from_millis(20)))?;
        let mut buffer = [0; BUFFER];
        let mut checked = None;
        while now.elapsed() < PATIENCE {
            if checked.is_none_or(|at: Instant| at.elapsed() > Duration::from_millis(100)) {
                checked = Some(Instant::now());
                self.socket.send_to(&self.check, self.server)?;
            }
            let mut connected = false;
            while let Some(output) = self.session.poll_output() {
                match output {
                    Output::Transmit { to, bytes } => {
                        self.socket.send_to(&bytes, to)?;
                    }
                    Output::Connected => connected = true,
                    Output::Failed(why) => bail!("no connection: {why}"),
                    _ => {}
                }
            }
            if connected {
                self.socket.set_nonblocking(true)?;
                return Ok(self);
            }
            if let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
                self.session
                    .handle_input(Instant::now(), from, &buffer[..len]);
            }
            let due = self.session.next_timeout();
            if due.is_some_and(|at| at <= Instant::now()) {
                self.session.handle_timeout(Instant::now());
            }
        }
        bail!("no connection with {}", self.server)
    }

    /// What SRTP goes by.
    pub fn suite(&self) -> String {
        self.session
            .suite()
            .map_or("none".into(), |suite| format!("{suite:?}"))
    }
}

/// What came and went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub sent: u64,
    pub received: u64,
    pub gaps: u64,
}

#[derive(Default)]
struct Shared {
    sent: AtomicU64,
    received: AtomicU64,
    gaps: AtomicU64,
    over: AtomicBool,
}

/// One who sends and all who see it.
pub struct Group {
    shared: Arc<Shared>,
    newcomers: Sender<Peer>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Group {
    pub fn start(sender: Peer, clip: &Arc<Clip>) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let (newcomers, received) = channel();
        let (own, clip) = (shared.clone(), clip.clone());
        let sending = std::thread::spawn(move || send(sender, &clip, &own));
        let own = shared.clone();
        let receiving = std::thread::spawn(move || receive(&received, &own));
        Ok(Self {
            shared,
            newcomers,
            threads: vec![sending, receiving],
        })
    }

    pub fn add(&self, viewer: Peer) -> Result<()> {
        self.newcomers.send(viewer).ok().context("the load runs")
    }

    pub fn counts(&self) -> Counts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            sent: of(&self.shared.sent),
            received: of(&self.shared.received),
            gaps: of(&self.shared.gaps),
        }
    }

    pub fn stop(self) -> Result<()> {
        self.shared.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().ok().context("a thread of the load")??;
        }
        Ok(())
    }
}

/// Sends the clip over and over.
fn send(mut peer: Peer, clip: &Clip, shared: &Shared) -> Result<()> {
    let frames: Vec<Vec<Vec<u8>>> = clip
        .units
        .iter()
        .map(|unit| h264_payloads(&unit.data))
        .collect();
    let (mut sequence, mut timestamp, mut due) = (1_u16, 1_u32, Instant::now());
    let mut checked = Instant::now();
    for frame in frames.iter().cycle() {
        if shared.over.load(Ordering::Relaxed) {
            return Ok(());
        }
        if checked.elapsed() > CHECK_EVERY {
            checked = Instant::now();
            peer.socket.send_to(&peer.check, peer.server)?;
        }
        for (n, payload) in frame.iter().enumerate() {
            let marker = u8::from(n + 1 == frame.len()) << 7;
            let mut packet = vec![0x80, marker | PAYLOAD_TYPE];
            packet.extend(sequence.to_be_bytes());
            packet.extend(timestamp.to_be_bytes());
            packet.extend(SSRC.to_be_bytes());
            packet.extend(payload);
            sequence = sequence.wrapping_add(1);
            let (to, bytes) = peer.session.send_rtp(&packet).context("it is connected")?;
            peer.socket.send_to(&bytes, to)?;
            shared.sent.fetch_add(1, Ordering::Relaxed);
        }
        timestamp = timestamp.wrapping_add(TICKS_A_FRAME);
        due += FRAME;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

struct Viewer {
    socket: PolledSocket,
    session: WebrtcSession,
    server: SocketAddr,
    check: Vec<u8>,
    last: Option<u16>,
}

/// Counts what comes; the first one decrypts it.
fn receive(newcomers: &Receiver<Peer>, shared: &Shared) -> Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1_024);
    let mut viewers: Vec<Viewer> = Vec::new();
    let mut checked = Instant::now();
    while !shared.over.load(Ordering::Relaxed) {
        for peer in newcomers.try_iter() {
            let mut socket = PolledSocket::from_std(peer.socket);
            let token = Token(viewers.len());
            poll.registry()
                .register(&mut socket, token, Interest::READABLE)?;
            viewers.push(Viewer {
                socket,
                session: peer.session,
                server: peer.server,
                check: peer.check,
                last: None,
            });
        }
        if checked.elapsed() > CHECK_EVERY {
            checked = Instant::now();
            for viewer in &viewers {
                // A full queue: the next check is soon.
                let _ = viewer.socket.send_to(&viewer.check, viewer.server);
            }
        }
        poll.poll(&mut events, Some(Duration::from_millis(20)))?;
        for event in &events {
            let number = event.token().0;
            if let Some(viewer) = viewers.get_mut(number) {
                viewer.take(number == 0, shared);
            }
        }
    }
    Ok(())
}

impl Viewer {
    fn take(&mut self, decrypts: bool, shared: &Shared) {
        let mut buffer = [0; BUFFER];
        let mut count = 0;
        while let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
            if classify(&buffer[..len]) != Kind::Rtp {
                continue;
            }
            count += 1;
            if decrypts {
                self.session
                    .handle_input(Instant::now(), from, &buffer[..len]);
                self.look_for_gaps(shared);
            }
        }
        shared.received.fetch_add(count, Ordering::Relaxed);
    }

    fn look_for_gaps(&mut self, shared: &Shared) {
        while let Some(output) = self.session.poll_output() {
            let Output::Rtp(packet) = output else {
                continue;
            };
            let sequence = u16::from_be_bytes([packet[2], packet[3]]);
            let passed = self
                .last
                .replace(sequence)
                .map(|last| sequence.wrapping_sub(last));
            // What comes late, or once more, is no gap.
            let missing = passed.filter(|passed| *passed < u16::MAX / 2);
            let missing = missing.map_or(0, |passed| u64::from(passed.saturating_sub(1)));
            shared.gaps.fetch_add(missing, Ordering::Relaxed);
        }
    }
}
