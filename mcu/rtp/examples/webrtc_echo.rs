//! Sends a browser's media back to it: proves ICE, DTLS and SRTP against a real one.
//!
//! `webrtc_echo ADDRESS active|passive UFRAG PASSWORD FINGERPRINT` takes what the browser's offer
//! says (the fingerprint as 64 hexadecimal digits) and our role, prints a line
//! `PORT UFRAG PASSWORD FINGERPRINT` for the answer, then figures once a second until killed.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use mcu_api::plan::{DtlsRole, WebrtcTransport};
use mcu_api::secret::Redacted;
use mcu_rtp::webrtc::{Certificate, Output, WebrtcSession};

type AnyError = Box<dyn std::error::Error>;

/// Sources of what is echoed differ from the browser's own by this.
const SSRC_MASK: u32 = 0x5A5A_5A5A;

fn main() -> Result<(), AnyError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, setup, ufrag, password, fingerprint] = arguments.as_slice() else {
        return Err("webrtc_echo ADDRESS active|passive UFRAG PASSWORD FINGERPRINT".into());
    };
    let socket = UdpSocket::bind((address.as_str(), 0))?;
    let certificate = Certificate::generate()?;
    let plan = WebrtcTransport {
        local_ufrag: "echo".to_string(),
        local_pwd: Redacted("an-echo-has-no-secrets-of-its-own".to_string()),
        remote_ufrag: ufrag.clone(),
        remote_pwd: Redacted(password.clone()),
        remote_fingerprint_sha256: unhex(fingerprint)?,
        dtls_role: if setup == "active" {
            DtlsRole::Client
        } else {
            DtlsRole::Server
        },
    };
    let shown: String = certificate
        .fingerprint_sha256()
        .iter()
        .map(|b| format!("{b:02X}"))
        .collect();
    let port = socket.local_addr()?.port();
    println!("{port} {} {} {shown}", plan.local_ufrag, plan.local_pwd.0);
    let session = WebrtcSession::new(Instant::now(), &plan, &certificate)?;
    Echo {
        socket,
        session,
        first_check: None,
        rtp: 0,
        rtcp: 0,
    }
    .run()
}

struct Echo {
    socket: UdpSocket,
    session: WebrtcSession,
    first_check: Option<Instant>,
    rtp: u64,
    rtcp: u64,
}

impl Echo {
    fn run(mut self) -> Result<(), AnyError> {
        let mut buffer = [0; 2048];
        let mut report = Instant::now();
        self.socket
            .set_read_timeout(Some(Duration::from_millis(20)))?;
        loop {
            if let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
                self.first_check.get_or_insert_with(Instant::now);
                self.session
                    .handle_input(Instant::now(), from, &buffer[..len]);
            }
            if self
                .session
                .next_timeout()
                .is_some_and(|at| at <= Instant::now())
            {
                self.session.handle_timeout(Instant::now());
            }
            while let Some(output) = self.session.poll_output() {
                self.act(output)?;
            }
            if report.elapsed() >= Duration::from_secs(1) {
                report = Instant::now();
                println!(
                    "rtp {} rtcp {} {:?}",
                    self.rtp,
                    self.rtcp,
                    self.session.counters()
                );
            }
        }
    }

    fn act(&mut self, output: Output) -> Result<(), AnyError> {
        match output {
            Output::Transmit { to, bytes } => drop(self.socket.send_to(&bytes, to)?),
            Output::Connected => {
                let took = self.first_check.map(|at| at.elapsed()).unwrap_or_default();
                println!("connected with {:?} after {took:?}", self.session.suite());
            }
            Output::Failed(reason) => println!("failed: {reason}"),
            Output::Rtp(packet) => {
                self.rtp += 1;
                let mut packet = packet.to_vec();
                mask_source(&mut packet[8..12]);
                let protected = self.session.send_rtp(&packet);
                self.send(protected)?;
            }
            Output::Rtcp(packet) => {
                self.rtcp += 1;
                self.relay_key_frame_request(&packet)?;
            }
        }
        Ok(())
    }

    /// The browser lacks a key frame of what we echo: ask it for one of what it sends.
    fn relay_key_frame_request(&mut self, mut compound: &[u8]) -> Result<(), AnyError> {
        while let [first, kind, high, low, ..] = compound {
            let len = 4 + 4 * usize::from(u16::from_be_bytes([*high, *low]));
            let (packet, rest) = compound.split_at(len.min(compound.len()));
            if (first & 0x1F, *kind, packet.len()) == (1, 206, 12) {
                let mut request = packet.to_vec();
                mask_source(&mut request[8..12]);
                let protected = self.session.send_rtcp(&request);
                self.send(protected)?;
            }
            compound = rest;
        }
        Ok(())
    }

    fn send(&self, datagram: Option<(SocketAddr, bytes::Bytes)>) -> Result<(), AnyError> {
        if let Some((to, bytes)) = datagram {
            self.socket.send_to(&bytes, to)?;
        }
        Ok(())
    }
}

fn mask_source(source: &mut [u8]) {
    for (byte, mask) in source.iter_mut().zip(SSRC_MASK.to_be_bytes()) {
        *byte ^= mask;
    }
}

fn unhex(text: &str) -> Result<[u8; 32], AnyError> {
    let bytes: Result<Vec<u8>, _> = text
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(&String::from_utf8_lossy(pair), 16))
        .collect();
    bytes?
        .try_into()
        .map_err(|_| "a SHA-256 fingerprint has 64 hexadecimal digits".into())
}
