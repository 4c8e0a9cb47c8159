//! Peers as browsers are to a server that forwards: SDP, ICE, DTLS and SRTP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mcu_api::plan::{DtlsRole, WebrtcTransport};
use mcu_api::secret::Redacted;
use mcu_rtp::webrtc::{Certificate, Output, WebrtcSession};
use rtc_dtls::crypto_provider::default_provider;
use rtc_stun::attributes::{
    ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME, AttrType,
};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, Message, Setter, TransactionId};

/// Payload type of H.264 where we choose it.
pub const PAYLOAD_TYPE: u8 = 102;
/// Of a stream alone.
pub const SSRC: u32 = 0x0c0f_fee0;
/// Of each line, which share a port.
const BUNDLED: &str = "c=IN IP4 127.0.0.1\r\na=rtcp-mux\r\n";
/// Names the first line of pictures.
pub const CAMERA_MID: &str = "1";
/// Header extensions for the names of line and layer.
pub const MID_ID: u8 = 1;
pub const RID_ID: u8 = 2;
/// For a handshake.
const PATIENCE: Duration = Duration::from_secs(10);
pub const BUFFER: usize = 2_048;

/// Lines of an offer.
pub struct Lines<'a> {
    /// Of the first line of pictures: `sendonly` or `recvonly`.
    pub direction: &'a str,
    /// A line of sound comes before it, by which nothing will go: where the server wants one.
    pub with_sound: bool,
    /// Names of the layers that the first line sends; none without simulcast.
    pub layers: &'a [&'a str],
    /// Lines for pictures of others after it.
    pub slots: usize,
}

impl<'a> Lines<'a> {
    /// One line of pictures, without layers.
    pub fn alone(direction: &'a str, with_sound: bool) -> Self {
        Self {
            direction,
            with_sound,
            layers: &[],
            slots: 0,
        }
    }
}

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
            "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n\
             a=fingerprint:sha-256 {}\r\na=setup:{setup}\r\n\
             a=candidate:1 1 udp 2130706431 {ip} {port} typ host\r\na=end-of-candidates\r\n",
            self.ufrag,
            self.password,
            fingerprint.join(":"),
        ))
    }

    /// An offer of these lines.
    pub fn sdp(&self, lines: &Lines<'_>) -> Result<String> {
        let transport = self.transport("actpass")?;
        let mut mids = vec![CAMERA_MID.to_owned()];
        let mut media = String::new();
        if lines.with_sound {
            mids.insert(0, "0".into());
            media.push_str(&format!(
                "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n{BUNDLED}{transport}a=mid:0\r\na=sendonly\r\n\
                 a=rtpmap:111 opus/48000/2\r\n"
            ));
        }
        media.push_str(&pictures(&transport, CAMERA_MID, lines.direction));
        media.push_str(&simulcast(lines.layers));
        if lines.layers.is_empty() && lines.direction == "sendonly" {
            media.push_str(&format!("a=ssrc:{SSRC} cname:sender\r\n"));
        }
        for mid in slot_mids(lines.slots) {
            media.push_str(&pictures(&transport, &mid, "recvonly"));
            mids.push(mid);
        }
        Ok(format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\n{media}",
            mids.join(" ")
        ))
    }

    /// The answer to an offer of lines of H.264 that the server sends. Short: Janus takes no datagram longer
    /// than 8 KiB.
    pub fn answer(&self, offer: &str) -> Result<String> {
        let group = offer.lines().find(|line| line.starts_with("a=group:"));
        // One line says it for all.
        let mut transport = self.transport("active")?;
        let mut answer = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n{}\r\n",
            group.unwrap_or_default()
        );
        for media in offer.split("\r\nm=video ").skip(1) {
            let payload_type = media.split([' ', '\r']).nth(2);
            let payload_type = payload_type.context("a payload type")?;
            let kept = media.lines().filter(|line| {
                let of_type = |name: &str| line.starts_with(&format!("a={name}:{payload_type} "));
                line.starts_with("a=mid:")
                    || ["rtpmap", "fmtp", "rtcp-fb"].iter().any(|n| of_type(n))
            });
            let kept: String = kept.map(|line| format!("{line}\r\n")).collect();
            answer.push_str(&format!(
                "m=video 9 UDP/TLS/RTP/SAVPF {payload_type}\r\n{BUNDLED}{}a=recvonly\r\n{kept}",
                std::mem::take(&mut transport)
            ));
        }
        Ok(answer)
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

/// A line of H.264.
fn pictures(transport: &str, mid: &str, direction: &str) -> String {
    format!(
        "m=video 9 UDP/TLS/RTP/SAVPF {PAYLOAD_TYPE}\r\n{BUNDLED}{transport}a=mid:{mid}\r\na={direction}\r\n\
         a=rtpmap:{PAYLOAD_TYPE} H264/90000\r\n\
         a=fmtp:{PAYLOAD_TYPE} level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
         a=rtcp-fb:{PAYLOAD_TYPE} nack\r\na=rtcp-fb:{PAYLOAD_TYPE} nack pli\r\n"
    )
}

/// Layers of a line (RFC 8853), and the header extensions by which they are told apart.
fn simulcast(layers: &[&str]) -> String {
    if layers.is_empty() {
        return String::new();
    }
    let rids: String = layers
        .iter()
        .map(|rid| format!("a=rid:{rid} send\r\n"))
        .collect();
    format!(
        "a=extmap:{MID_ID} urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
         a=extmap:{RID_ID} urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n\
         {rids}a=simulcast:send {}\r\n",
        layers.join(";")
    )
}

/// Names of the lines for pictures of others.
pub fn slot_mids(slots: usize) -> impl Iterator<Item = String> {
    (2..slots + 2).map(|mid| mid.to_string())
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
    pub socket: UdpSocket,
    pub session: WebrtcSession,
    pub server: SocketAddr,
    /// What it proves itself with, over and over.
    pub check: Vec<u8>,
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
