//! What peers send and what comes to them: one thread sends for all who send, one counts for all who see.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use benches::clip::Clip;
use benches::load::h264_payloads;
use mcu_rtp::demux::{Kind, classify};
use mcu_rtp::webrtc::{Output, WebrtcSession};
use mio::net::UdpSocket as PolledSocket;
use mio::{Events, Interest, Poll, Token};

use super::peer::{BUFFER, CAMERA_MID, MID_ID, PAYLOAD_TYPE, Peer, RID_ID, SSRC};

/// Streams of one peer.
pub const LAYERS: usize = 3;
const FRAME: Duration = Duration::from_nanos(1_000_000_000 / 30);
const TICKS_A_FRAME: u32 = 3_000;
/// Of each peer before the next.
const FRAMES_AHEAD: usize = 7;
/// Between two checks of one that is connected (RFC 7675 §5.1).
const CHECK_EVERY: Duration = Duration::from_secs(4);

/// A clip in packets: payloads of each frame.
pub struct Frames(Vec<Vec<Vec<u8>>>);

impl Frames {
    /// Those of a clip of H.264.
    pub fn new(clip: &Clip) -> Arc<Self> {
        let payloads = clip.units.iter().map(|unit| h264_payloads(&unit.data));
        Arc::new(Self(payloads.collect()))
    }

    /// Packets in a second, in the mean.
    pub fn packet_rate(&self) -> f64 {
        let packets: usize = self.0.iter().map(Vec::len).sum();
        packets as f64 / self.0.len() as f64 / FRAME.as_secs_f64()
    }
}

/// What a peer sends: a clip over and over.
pub struct Stream {
    frames: Arc<Frames>,
    ssrc: u32,
    /// Header extensions of each packet.
    extensions: Vec<u8>,
    sequence: u16,
}

impl Stream {
    /// The only stream of its peer.
    pub fn alone(frames: Arc<Frames>) -> Self {
        Self {
            frames,
            ssrc: SSRC,
            extensions: Vec::new(),
            sequence: 1,
        }
    }

    /// A layer of this name (RFC 8285 §4.2, RFC 8852).
    pub fn layer(frames: Arc<Frames>, ssrc: u32, rid: &str) -> Self {
        let mut values = Vec::new();
        for (id, value) in [(MID_ID, CAMERA_MID), (RID_ID, rid)] {
            values.push(id << 4 | (value.len() - 1) as u8);
            values.extend(value.as_bytes());
        }
        values.resize(values.len().next_multiple_of(4), 0);
        let words = (values.len() / 4) as u8;
        let extensions = [&[0xbe, 0xde, 0, words], values.as_slice()].concat();
        Self {
            extensions,
            ssrc,
            ..Self::alone(frames)
        }
    }

    /// The packets of frame `number`.
    fn packets(&mut self, number: usize) -> impl Iterator<Item = Vec<u8>> {
        let payloads = &self.frames.0[number % self.frames.0.len()];
        let timestamp = (number as u32).wrapping_mul(TICKS_A_FRAME);
        let (ssrc, extensions) = (self.ssrc, &self.extensions);
        let sequence = &mut self.sequence;
        payloads.iter().enumerate().map(move |(n, payload)| {
            let marker = u8::from(n + 1 == payloads.len()) << 7;
            let extended = u8::from(!extensions.is_empty()) << 4;
            let mut packet = vec![0x80 | extended, marker | PAYLOAD_TYPE];
            packet.extend(sequence.to_be_bytes());
            packet.extend(timestamp.to_be_bytes());
            packet.extend(ssrc.to_be_bytes());
            packet.extend(extensions);
            packet.extend(payload);
            *sequence = sequence.wrapping_add(1);
            packet
        })
    }
}

/// What came and went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// By place of the stream at its peer, over all peers.
    pub sent: [u64; LAYERS],
    pub received: u64,
    /// At the viewer who decrypts, and sequence numbers that were missing there.
    pub decrypted: u64,
    pub gaps: u64,
}

impl Counts {
    /// What came and went since `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            sent: std::array::from_fn(|layer| self.sent[layer] - before.sent[layer]),
            received: self.received - before.received,
            decrypted: self.decrypted - before.decrypted,
            gaps: self.gaps - before.gaps,
        }
    }
}

#[derive(Default)]
struct Shared {
    sent: [AtomicU64; LAYERS],
    received: AtomicU64,
    decrypted: AtomicU64,
    gaps: AtomicU64,
    over: AtomicBool,
}

/// All peers of a run.
pub struct Group {
    shared: Arc<Shared>,
    senders: Sender<Sending>,
    viewers: Sender<Viewing>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Group {
    /// Nobody yet.
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let (senders, new_senders) = channel();
        let (viewers, new_viewers) = channel();
        let own = shared.clone();
        let sending = std::thread::spawn(move || send(&new_senders, &own));
        let own = shared.clone();
        let viewing = std::thread::spawn(move || receive(&new_viewers, &own));
        Self {
            shared,
            senders,
            viewers,
            threads: vec![sending, viewing],
        }
    }

    /// A peer that sends these streams, at most [`LAYERS`], and sees what comes.
    pub fn add(&self, peer: Peer, streams: Vec<Stream>) -> Result<()> {
        let session = Arc::new(Mutex::new(peer.session));
        let viewing = Viewing {
            socket: PolledSocket::from_std(peer.socket.try_clone()?),
            session: session.clone(),
            server: peer.server,
            check: peer.check,
            last: HashMap::new(),
        };
        self.viewers.send(viewing).ok().context("the load runs")?;
        if streams.is_empty() {
            return Ok(());
        }
        let sending = Sending {
            socket: peer.socket,
            session,
            streams,
            ahead: 0,
        };
        self.senders.send(sending).ok().context("the load runs")
    }

    /// Of all peers since the start.
    pub fn counts(&self) -> Counts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            sent: std::array::from_fn(|layer| of(&self.shared.sent[layer])),
            received: of(&self.shared.received),
            decrypted: of(&self.shared.decrypted),
            gaps: of(&self.shared.gaps),
        }
    }

    /// Ends both threads.
    pub fn stop(self) -> Result<()> {
        self.shared.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().ok().context("a thread of the load")??;
        }
        Ok(())
    }
}

/// The half of a peer that sends.
struct Sending {
    socket: UdpSocket,
    session: Arc<Mutex<WebrtcSession>>,
    streams: Vec<Stream>,
    /// Frames that its clip is ahead, so that not all send a key frame at the same time.
    ahead: usize,
}

/// Sends a frame of each stream every thirtieth of a second, each peer at another part of it.
fn send(newcomers: &Receiver<Sending>, shared: &Shared) -> Result<()> {
    let mut senders: Vec<Sending> = Vec::new();
    let mut due = Instant::now();
    for number in 0.. {
        if shared.over.load(Ordering::Relaxed) {
            break;
        }
        for sender in newcomers.try_iter() {
            let ahead = senders.len() * FRAMES_AHEAD;
            senders.push(Sending { ahead, ..sender });
        }
        let part = FRAME / senders.len().max(1) as u32;
        for (n, sender) in senders.iter_mut().enumerate() {
            let at = due + part * n as u32;
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            sender.send(number, shared)?;
        }
        due += FRAME;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

impl Sending {
    fn send(&mut self, number: usize, shared: &Shared) -> Result<()> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        for (stream, sent) in self.streams.iter_mut().zip(&shared.sent) {
            for packet in stream.packets(number + self.ahead) {
                let (to, bytes) = session.send_rtp(&packet).context("it is connected")?;
                // A full queue of ours: it was not sent.
                let was_sent = self.socket.send_to(&bytes, to).is_ok();
                sent.fetch_add(was_sent.into(), Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// The half of a peer to which pictures come.
struct Viewing {
    socket: PolledSocket,
    session: Arc<Mutex<WebrtcSession>>,
    server: SocketAddr,
    check: Vec<u8>,
    /// Sequence numbers that came last, by SSRC.
    last: HashMap<u32, u16>,
}

/// Counts what comes, and decrypts what comes to the first one that anything comes to.
fn receive(newcomers: &Receiver<Viewing>, shared: &Shared) -> Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1_024);
    let mut viewers: Vec<Viewing> = Vec::new();
    let (mut first, mut checked) = (None, Instant::now());
    while !shared.over.load(Ordering::Relaxed) {
        for mut viewer in newcomers.try_iter() {
            let token = Token(viewers.len());
            let registry = poll.registry();
            registry.register(&mut viewer.socket, token, Interest::READABLE)?;
            viewers.push(viewer);
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
                let came = viewer.take(first == Some(number), shared);
                first = first.or((came > 0).then_some(number));
            }
        }
    }
    Ok(())
}

impl Viewing {
    /// Takes all that came; yields how many packets of pictures.
    fn take(&mut self, decrypts: bool, shared: &Shared) -> u64 {
        let mut buffer = [0; BUFFER];
        let mut count = 0;
        while let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
            if classify(&buffer[..len]) != Kind::Rtp {
                continue;
            }
            count += 1;
            if decrypts {
                self.look_for_gaps(from, &buffer[..len], shared);
            }
        }
        shared.received.fetch_add(count, Ordering::Relaxed);
        count
    }

    fn look_for_gaps(&mut self, from: SocketAddr, datagram: &[u8], shared: &Shared) {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.handle_input(Instant::now(), from, datagram);
        while let Some(output) = session.poll_output() {
            let Output::Rtp(packet) = output else {
                continue;
            };
            shared.decrypted.fetch_add(1, Ordering::Relaxed);
            let sequence = u16::from_be_bytes([packet[2], packet[3]]);
            let ssrc = u32::from_be_bytes([packet[8], packet[9], packet[10], packet[11]]);
            let last = self.last.insert(ssrc, sequence);
            let passed = last.map(|last| sequence.wrapping_sub(last));
            // What comes late, or once more, is no gap.
            let missing = passed.filter(|passed| *passed < u16::MAX / 2);
            let missing = missing.map_or(0, |passed| u64::from(passed.saturating_sub(1)));
            shared.gaps.fetch_add(missing, Ordering::Relaxed);
        }
    }
}
