//! One leg: its sockets, its call, and what it sends and counts.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mcu_api::codec::PacketizationMode;
use mio::net::UdpSocket;

use super::LoadError;
use super::call::{Call, Output};
use super::config::{AudioReport, LegConfig, Report, SentReport, Target, VideoReport, Watch};
use super::dtls::{self, Identity};
use super::engine::RawReport;
use super::line::{Line, Security};
use super::recording::Recorder;
use super::repair::{self, Block, History, Order, Playout};
use super::rtp::{self, Depacketized, Depacketizer, Feedback, Gaps, Packet};
use super::sdp::{self, Answer, Ports, Purpose};
use super::watch::{Job, Jobs};
use crate::clip::Clip;
use crate::codec;
use crate::sound::{self, Loop};

mod repairing;

/// Audio packets kept for the report: two seconds. The oldest goes first.
const AUDIO_KEPT: usize = 2_000 / sound::PACKET_MS as usize;

/// A pause between audio packets that a listener may notice.
const AUDIO_GAP: Duration = Duration::from_millis(30);

/// Least time between two requests for a key frame.
const ASK_INTERVAL: Duration = Duration::from_millis(300);

/// A frame later than this was held up by the machine, not by the poll's granularity.
const LATE: Duration = Duration::from_millis(10);

/// Copies of earlier packets in each packet of sound, where they are agreed on.
const COPIES: usize = 2;

/// Datagrams read from one socket at a time, so that a flood does not stop the other legs.
const READ_MAX: usize = 1_024;

/// Which of a leg's sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    Sip,
    AudioRtp,
    AudioRtcp,
    VideoRtp,
    VideoRtcp,
}

impl Port {
    pub(super) const ALL: [Self; 5] = [
        Self::Sip,
        Self::AudioRtp,
        Self::AudioRtcp,
        Self::VideoRtp,
        Self::VideoRtcp,
    ];
}

/// What a leg's call wants known outside.
pub(super) enum News {
    Answered,
    Ended(String),
}

/// A leg with its sockets.
pub(super) struct Leg {
    pub(super) id: u64,
    config: LegConfig,
    sip: Option<Signalling>,
    audio: Option<AudioLine>,
    video: Option<VideoLine>,
    since: Instant,
    ended: Option<String>,
    answered: bool,
    /// Of the description said last.
    version: u32,
    /// Nobody holds the leg any more: it goes when its call has ended.
    pub(super) left: bool,
    sent: SentReport,
    /// RTCP BYE received.
    goodbyes: u64,
    scratch: Vec<u8>,
}

struct Signalling {
    socket: UdpSocket,
    server: SocketAddr,
    call: Call,
}

struct AudioLine {
    line: Line,
    sound: Loop,
    kept: VecDeque<Vec<u8>>,
    recorder: Option<Recorder>,
    /// Payloads sent last, newest first, to be sent once more.
    copies: VecDeque<Vec<u8>>,
}

struct VideoLine {
    line: Line,
    clip: Option<Arc<Clip>>,
    /// RTP payloads of each frame of the clip, cut once in advance.
    frames: Vec<Vec<Vec<u8>>>,
    position: usize,
    depacketizer: Depacketizer,
    /// Last timestamp of which a frame was completed.
    whole: Option<u32>,
    count: u64,
    /// From the first of those to the last, in ticks.
    media_time: u64,
    undecoded: u64,
    needs_key: bool,
    asked_at: Option<Instant>,
    order: Order,
    history: History,
    playout: Playout,
}

impl Leg {
    /// A leg without a call.
    pub(super) fn new(config: LegConfig) -> Result<Self, LoadError> {
        let mut leg = Self {
            id: 0,
            sip: None,
            audio: None,
            video: None,
            since: Instant::now(),
            ended: None,
            answered: false,
            version: 1,
            left: false,
            sent: SentReport::default(),
            goodbyes: 0,
            scratch: Vec::with_capacity(1_500),
            config,
        };
        let identity = leg.config.dtls.then(Identity::new).flatten();
        if leg.config.dtls && (identity.is_none() || !leg.config.rtcp_mux) {
            return Err(io::Error::from(io::ErrorKind::Unsupported).into());
        }
        if let Some(audio) = leg.config.audio {
            let tone = if audio.tone { leg.config.id } else { 0 };
            let sound = if let Some(speech) = &leg.config.speech {
                Loop::speech(speech, audio.codec)?
            } else if audio.beeps {
                Loop::beeps(tone, audio.codec)?
            } else {
                Loop::tone(tone, audio.codec)?
            };
            let line = Line::bind(&leg.config, identity.as_ref())?;
            leg.audio = Some(AudioLine {
                line,
                sound,
                kept: VecDeque::new(),
                recorder: leg.config.records.then(|| Recorder::new(audio.codec)),
                copies: VecDeque::new(),
            });
        }
        if let Some(video) = leg.config.video.clone() {
            let line = Line::bind(&leg.config, identity.as_ref())?;
            leg.video = Some(VideoLine::new(line, video.clip, video.packetization));
        }
        Ok(leg)
    }

    /// A leg that calls `target`.
    pub(super) fn calling(target: &Target, config: LegConfig) -> Result<Self, LoadError> {
        let mut leg = Self::new(config)?;
        let socket = UdpSocket::bind(SocketAddr::new(leg.config.local_ip, 0))?;
        let local = socket.local_addr()?;
        let offer = leg.describe(Purpose::Offer { hold: false })?;
        let descriptions = (&*offer, leg.describe(Purpose::Answer)?);
        let id = format!("{:016x}", rand::random::<u64>());
        let call = Call::new(target, local, id, descriptions, Instant::now());
        leg.sip = Some(Signalling {
            socket,
            server: target.server,
            call,
        });
        Ok(leg)
    }

    /// Joins two legs without a call between them.
    pub(super) fn join(a: &mut Self, b: &mut Self, now: Instant) -> io::Result<()> {
        let (to_a, to_b) = (a.as_remote()?, b.as_remote()?);
        a.open(to_b, now);
        b.open(to_a, now);
        Ok(())
    }

    fn as_remote(&self) -> io::Result<Answer> {
        Ok(sdp::read(&self.describe(Purpose::Answer)?))
    }

    fn describe(&self, purpose: Purpose) -> io::Result<String> {
        let ports = self.ports()?;
        Ok(sdp::describe(&self.config, ports, self.version, purpose))
    }

    /// Offers what there is once more within the call, or asks for a pause.
    pub(super) fn offer_again(&mut self, now: Instant, hold: bool) {
        self.version += 1;
        let offer = self.describe(Purpose::Offer { hold });
        // Ports that cannot be read are closed: the leg is at its end.
        if let (Some(sip), Ok(offer)) = (&mut self.sip, offer) {
            sip.call.offer_again(now, &offer);
        }
    }

    /// Presses a key.
    pub(super) fn press(&mut self, now: Instant, key: char) {
        if let Some(sip) = &mut self.sip {
            sip.call.press(now, key);
        }
    }

    fn ports(&self) -> io::Result<Ports> {
        let port = |line: Option<&Line>| line.map_or(Ok(0), Line::port);
        let key = |line: Option<&Line>| match &line?.security {
            Security::Sdes(key, _) => Some(*key),
            Security::Clear | Security::Dtls(_) => None,
        };
        let audio = self.audio.as_ref().map(|a| &a.line);
        let video = self.video.as_ref().map(|v| &v.line);
        Ok(Ports {
            audio: port(audio)?,
            video: port(video)?,
            audio_key: key(audio),
            video_key: key(video),
            fingerprint: audio.or(video).and_then(|line| match &line.security {
                Security::Dtls(dtls) => Some(dtls.identity.fingerprint),
                Security::Clear | Security::Sdes(..) => None,
            }),
        })
    }

    pub(super) fn socket(&mut self, port: Port) -> Option<&mut UdpSocket> {
        let audio = self.audio.as_mut().map(|a| &mut a.line);
        let video = self.video.as_mut().map(|v| &mut v.line);
        match port {
            Port::Sip => self.sip.as_mut().map(|sip| &mut sip.socket),
            Port::AudioRtp => audio.map(|line| &mut line.rtp),
            Port::AudioRtcp => audio.and_then(|line| line.rtcp.as_mut()),
            Port::VideoRtp => video.map(|line| &mut line.rtp),
            Port::VideoRtcp => video.and_then(|line| line.rtcp.as_mut()),
        }
    }

    pub(super) fn watched(&self) -> bool {
        self.video.is_some() && self.config.watch != Watch::Nothing
    }

    pub(super) fn watch(&self) -> Watch {
        self.config.watch
    }

    /// Whether it may be forgotten.
    pub(super) fn done(&self) -> bool {
        self.left && self.sip.as_ref().is_none_or(|sip| sip.call.ended())
    }

    /// Media goes where the peer said; legs start at different moments of the frame interval, as
    /// real terminals do.
    fn open(&mut self, answer: Answer, now: Instant) {
        let phase = Duration::from_millis(u64::from(self.config.id) * 7 % 33);
        if let Some(audio) = &mut self.audio {
            audio.line.open(answer.audio, now, phase / 2);
        }
        if let Some(video) = &mut self.video {
            video.line.open(answer.video, now, phase);
        }
        self.answered = true;
    }

    pub(super) fn hang_up(&mut self, now: Instant) {
        self.left = true;
        self.stop_media();
        if let Some(sip) = &mut self.sip {
            sip.call.hang_up(now);
        }
    }

    fn stop_media(&mut self) {
        if let Some(audio) = &mut self.audio {
            audio.line.remote = None;
        }
        if let Some(video) = &mut self.video {
            video.line.remote = None;
        }
    }

    pub(super) fn set_sending(&mut self, audio: bool, video: bool, now: Instant) {
        if let Some(line) = self.audio.as_mut().map(|a| &mut a.line) {
            line.resume(audio, now);
        }
        if let Some(line) = self.video.as_mut().map(|v| &mut v.line) {
            line.resume(video, now);
        }
    }

    /// Reads everything that waits at a socket.
    pub(super) fn handle_readable(
        &mut self,
        port: Port,
        now: Instant,
        buffer: &mut [u8],
        jobs: &Jobs,
    ) {
        for _ in 0..READ_MAX {
            let Some(socket) = self.socket(port) else {
                return;
            };
            match socket.recv_from(buffer) {
                Ok((len, _)) => {
                    let datagram = buffer.get(..len).unwrap_or_default();
                    self.handle_datagram(port, now, datagram, jobs);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // A refused earlier datagram shows here; what follows may be fine.
                Err(_) => {}
            }
        }
    }

    fn handle_datagram(&mut self, port: Port, now: Instant, bytes: &[u8], jobs: &Jobs) {
        if port != Port::Sip && dtls::is_dtls(bytes) {
            if let Some(line) = self.line(port) {
                line.shake(now, bytes);
            }
            return;
        }
        // What is not authentic is dropped, as a terminal would.
        let session = self.line(port).and_then(|line| line.security.session());
        let opened = session.map(|session| session?.unprotect(bytes, rtp::is_rtcp(bytes)));
        let Some(bytes) = opened.as_ref().map_or(Some(bytes), Option::as_deref) else {
            return;
        };
        match port {
            Port::Sip => {
                if let Some(sip) = &mut self.sip {
                    sip.call.handle_input(now, bytes);
                }
            }
            Port::AudioRtp | Port::VideoRtp if !rtp::is_rtcp(bytes) => {
                let Some(packet) = Packet::parse(bytes) else {
                    return;
                };
                if port == Port::AudioRtp {
                    self.handle_audio(now, &packet);
                } else {
                    self.handle_video(now, &packet, jobs);
                }
            }
            Port::AudioRtp | Port::AudioRtcp => self.handle_rtcp(now, bytes, false),
            Port::VideoRtp | Port::VideoRtcp => self.handle_rtcp(now, bytes, true),
        }
    }

    fn line(&mut self, port: Port) -> Option<&mut Line> {
        match port {
            Port::Sip => None,
            Port::AudioRtp | Port::AudioRtcp => Some(&mut self.audio.as_mut()?.line),
            Port::VideoRtp | Port::VideoRtcp => Some(&mut self.video.as_mut()?.line),
        }
    }

    fn handle_audio(&mut self, now: Instant, packet: &Packet<'_>) {
        let expected = self.config.audio.map(|audio| audio.payload_type);
        let Some(audio) = &mut self.audio else { return };
        let is_red = packet.payload_type == sdp::RED && self.config.repair.red;
        if Some(packet.payload_type) != expected && !is_red {
            return;
        }
        audio.line.received.push(packet);
        audio.line.gaps.push(now, AUDIO_GAP);
        let blocks = match is_red {
            true => repair::read_red(packet.payload),
            false => vec![Block {
                before: 0,
                payload: packet.payload,
            }],
        };
        if let Some(recorder) = &mut audio.recorder {
            for block in &blocks {
                let timestamp = packet.timestamp.wrapping_sub(block.before);
                recorder.push(now, timestamp, block.payload);
            }
        }
        let newest = blocks.last().map(|block| block.payload.to_vec());
        audio.kept.extend(newest);
        if audio.kept.len() > AUDIO_KEPT {
            audio.kept.pop_front();
        }
    }

    fn handle_video(&mut self, now: Instant, packet: &Packet<'_>, jobs: &Jobs) {
        let watched = self.watched();
        let expected = self.config.video.as_ref().map(|video| video.payload_type);
        let Some(video) = &mut self.video else { return };
        let remote = video.line.remote;
        if remote.is_some_and(|remote| remote.rtx == Some(packet.payload_type)) {
            let ssrc = video.line.received.ssrc;
            let original = repair::unwrap_rtx(packet, expected.unwrap_or_default(), ssrc);
            if let Some(original) = original {
                video.order.push(now, &original);
                self.take_ordered(now, jobs);
            }
            return;
        }
        if Some(packet.payload_type) != expected {
            return;
        }
        if video.line.received.ssrc != packet.ssrc {
            // Another stream begins, and with a key frame: nothing of it is missing.
            video.depacketizer = Depacketizer::new(!self.config.feedback);
            video.order = Order::default();
            video.needs_key = true;
        }
        video.line.received.push(packet);
        let last = video.whole.filter(|_| packet.marker);
        if packet.marker && video.whole.replace(packet.timestamp) != Some(packet.timestamp) {
            video.count += 1;
            let step = last.map_or(0, |last| packet.timestamp.wrapping_sub(last));
            // A step back is a picture that was overtaken.
            video.media_time += u64::from(if step < 1 << 30 { step } else { 0 });
            video.line.gaps.push(now, Duration::MAX);
        }
        if !watched {
            return;
        }
        if remote.is_some_and(|remote| remote.nack) {
            video.order.push(now, packet);
            self.take_ordered(now, jobs);
        } else {
            self.take_video(now, packet, jobs);
        }
    }

    fn take_video(&mut self, now: Instant, packet: &Packet<'_>, jobs: &Jobs) {
        let Some(video) = &mut self.video else { return };
        match video.depacketizer.push(packet) {
            Depacketized::Pending => return,
            Depacketized::Damaged => {
                video.undecoded += 1;
                video.needs_key = true;
            }
            Depacketized::Unit(unit) => {
                let usable = !video.needs_key || codec::is_key_frame(&unit);
                let repairs = video.line.remote.is_some_and(|remote| remote.nack);
                let at = match repairs {
                    true => video.playout.shown_at(now, packet.timestamp),
                    false => now,
                };
                video.needs_key = !(usable && jobs.push_frame(self.id, unit, at));
                video.undecoded += u64::from(video.needs_key);
            }
        }
        if video.needs_key {
            self.ask_key_frame(now);
        }
    }

    fn handle_rtcp(&mut self, now: Instant, bytes: &[u8], is_video: bool) {
        for feedback in rtp::read_rtcp(bytes) {
            match feedback {
                Feedback::KeyFrame if is_video => self.jump_to_key_frame(),
                Feedback::Nack(lost) => {
                    self.sent.nacked += lost.len() as u64;
                    if is_video {
                        lost.into_iter().for_each(|lost| self.send_again(lost));
                    }
                }
                Feedback::Cname(name) => {
                    let line = match (is_video, &mut self.audio, &mut self.video) {
                        (false, Some(audio), _) => &mut audio.line,
                        (true, _, Some(video)) => &mut video.line,
                        _ => continue,
                    };
                    line.cname = Some(name);
                }
                Feedback::Report(middle) => {
                    let port = if is_video {
                        Port::VideoRtp
                    } else {
                        Port::AudioRtp
                    };
                    if let Some(line) = self.line(port) {
                        line.received.note_report(now, middle);
                    }
                }
                Feedback::Bye => self.goodbyes += 1,
                Feedback::KeyFrame => {}
            }
        }
    }

    fn jump_to_key_frame(&mut self) {
        self.sent.key_frame_requests += 1;
        if let Some(video) = &mut self.video
            && let Some(clip) = &video.clip
        {
            video.position = clip.next_key_frame(video.position);
        }
    }

    pub(super) fn ask_key_frame(&mut self, now: Instant) {
        let Some(video) = &mut self.video else { return };
        let early = video.asked_at.is_some_and(|at| now < at + ASK_INTERVAL);
        if early || !self.config.feedback {
            return;
        }
        video.asked_at = Some(now);
        self.sent.key_frames_asked += 1;
        let pli = rtp::picture_loss(video.line.ssrc, video.line.received.ssrc);
        video.line.send_rtcp(&pli);
    }

    /// Sends what is due.
    pub(super) fn handle_timeout(&mut self, now: Instant, jobs: Option<&Jobs>) {
        if let Some(sip) = &mut self.sip {
            sip.call.handle_timeout(now);
        }
        for port in [Port::AudioRtp, Port::VideoRtp] {
            if let Some(line) = self.line(port) {
                line.go_on_shaking(now);
            }
        }
        if let Some(jobs) = jobs {
            self.take_ordered(now, jobs);
        }
        self.send_audio(now);
        self.send_video(now, jobs);
        let audio = self.audio.as_mut().map(|audio| {
            let packet = Duration::from_millis(sound::PACKET_MS.into());
            (&mut audio.line, packet, audio.sound.codec.rtp_clock_hz())
        });
        let video = self.video.as_mut().map(|video| {
            let frame = video.interval().unwrap_or_default();
            (&mut video.line, frame, 90_000)
        });
        let lines = [audio, video].into_iter().flatten();
        for (line, interval, clock_hz) in lines.filter(|(line, ..)| line.remote.is_some()) {
            line.report_to_peer(now, self.config.id, interval, clock_hz);
        }
    }

    fn send_audio(&mut self, now: Instant) {
        let Some(AudioLine {
            line,
            sound,
            copies,
            ..
        }) = &mut self.audio
        else {
            return;
        };
        let beeps = self.config.audio.is_some_and(|audio| audio.beeps);
        let picture = self.video.as_ref().filter(|_| beeps);
        let interval = Duration::from_millis(sound::PACKET_MS.into());
        while line.sends() && line.due(interval) <= now {
            let place = match picture {
                Some(picture) => picture.packets_at(line.due(interval), interval),
                None => line.index,
            };
            let payload = &sound.payloads[place as usize % sound.payloads.len()];
            let (marker, red) = (line.index == 0, line.remote.and_then(|remote| remote.red));
            let (scratch, sent) = (&mut self.scratch, &mut self.sent);
            match (red, line.remote) {
                (Some(red), Some(remote)) => {
                    let ages = (1..).map(|age| age * sound.ticks());
                    let blocks = copies.iter().zip(ages);
                    let blocks = blocks.map(|(payload, before)| Block { before, payload });
                    let mut blocks: Vec<Block<'_>> = blocks.collect();
                    blocks.reverse();
                    let whole = repair::write_red(remote.payload_type, &blocks, payload);
                    line.send_as(red, marker, &whole, scratch, sent);
                    copies.push_front(payload.clone());
                    copies.truncate(COPIES);
                }
                _ => line.send(marker, payload, scratch, sent),
            }
            line.timestamp = line.timestamp.wrapping_add(sound.ticks());
            line.index += 1;
            self.sent.audio_packets += 1;
        }
    }

    fn send_video(&mut self, now: Instant, jobs: Option<&Jobs>) {
        let Some(video) = &mut self.video else { return };
        let Some(interval) = video.interval() else {
            return;
        };
        let line = &mut video.line;
        while line.sends() && line.due(interval) <= now {
            let late = now > line.due(interval) + LATE;
            let position = video.position;
            let packets = &video.frames[position];
            if let Some(jobs) = jobs {
                let counter = position as u16;
                jobs.push(Job::Sent {
                    id: self.config.id,
                    counter,
                    at: Instant::now(),
                });
            }
            for (i, payload) in packets.iter().enumerate() {
                if let Some(remote) = line.remote.filter(|remote| remote.nack) {
                    let last = i + 1 == packets.len();
                    let packet = line.next_packet(remote.payload_type, last, payload);
                    video.history.push(now, &packet);
                }
                line.send(
                    i + 1 == packets.len(),
                    payload,
                    &mut self.scratch,
                    &mut self.sent,
                );
            }
            line.timestamp = line
                .timestamp
                .wrapping_add((interval.as_secs_f64() * 9e4).round() as u32);
            line.index += 1;
            self.sent.frames += 1;
            self.sent.late_frames += u64::from(late);
            self.sent.video_packets += packets.len() as u64;
            video.position = (position + 1) % video.frames.len();
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let call = self.sip.as_ref().and_then(|sip| sip.call.poll_timeout());
        let audio = self.audio.as_ref().filter(|a| a.line.sends());
        let audio = audio.map(|a| a.line.due(Duration::from_millis(sound::PACKET_MS.into())));
        let video = self.video.as_ref().filter(|v| v.line.sends());
        let video = video.and_then(|v| Some(v.line.due(v.interval()?)));
        let reports = [
            self.audio.as_ref().map(|a| &a.line),
            self.video.as_ref().map(|v| &v.line),
        ]
        .into_iter()
        .flatten()
        .filter(|line| line.remote.is_some());
        let repairs = self.video.as_ref().and_then(|v| v.order.due());
        let handshakes = reports.clone().filter_map(Line::handshake_timeout);
        let reports = reports.map(|line| line.rtcp_at);
        [call, audio, video]
            .into_iter()
            .flatten()
            .chain(reports)
            .chain(handshakes)
            .chain(repairs)
            .min()
    }

    /// Does what the call wants; tells what concerns others.
    pub(super) fn poll_news(&mut self, now: Instant) -> Option<News> {
        while let Some(output) = self.sip.as_mut().and_then(|sip| sip.call.poll_output()) {
            match output {
                Output::Send(bytes) => {
                    if let Some(sip) = &self.sip {
                        // Lost like any datagram: the transaction repeats it.
                        let _ = sip.socket.send_to(&bytes, sip.server);
                    }
                }
                Output::KeyFrame => self.jump_to_key_frame(),
                Output::Settled(code) => {
                    self.sent.offers_answered += u64::from(code / 100 == 2);
                }
                Output::Described(text) => {
                    let first = !self.answered;
                    if !self.left {
                        self.open(sdp::read(&text).for_who_offers(self.config.repair), now);
                    }
                    if first {
                        return Some(News::Answered);
                    }
                }
                Output::Ended(reason) => {
                    self.stop_media();
                    self.ended = Some(reason.clone());
                    return Some(News::Ended(reason));
                }
            }
        }
        None
    }

    pub(super) fn reset(&mut self, now: Instant) {
        self.since = now;
        self.sent = SentReport::default();
        self.goodbyes = 0;
        if let Some(audio) = &mut self.audio {
            audio.line.received.reset();
            audio.line.gaps.reset();
            audio.kept.clear();
        }
        if let Some(video) = &mut self.video {
            video.line.received.reset();
            video.line.gaps.reset();
            (video.count, video.undecoded, video.media_time) = (0, 0, 0);
        }
    }

    /// What the network told; decoded figures and tones are added by others.
    pub(super) fn report(&self, now: Instant) -> RawReport {
        let seconds = now.saturating_duration_since(self.since).as_secs_f64();
        let ms = |gaps: &Gaps| gaps.longest_at(now).as_secs_f64() * 1000.0;
        let audio = self
            .audio
            .as_ref()
            .map(|AudioLine { line, .. }| AudioReport {
                packets: line.received.packets,
                lost: line.received.lost(),
                gaps_over_30_ms: line.gaps.over_limit,
                longest_gap_ms: ms(&line.gaps),
                tones: Vec::new(),
                cname: line.cname.clone(),
            });
        let video = self.video.as_ref().map(|video| VideoReport {
            packets: video.line.received.packets,
            lost: video.line.received.lost(),
            bytes: video.line.received.bytes,
            frames: video.count,
            frame_rate: video.count as f64 / seconds.max(1e-3),
            media_frame_rate: video.count as f64 * 9e4 / video.media_time.max(1) as f64,
            longest_gap_ms: ms(&video.line.gaps),
            longest_payload: video.line.received.longest_payload,
            undecoded: video.undecoded,
            cname: video.line.cname.clone(),
            ..VideoReport::default()
        });
        RawReport {
            report: Report {
                seconds,
                ended: self.ended.clone(),
                audio: audio.unwrap_or_default(),
                video: video.unwrap_or_default(),
                tiles: Vec::new(),
                sent: self.sent,
                goodbyes: self.goodbyes,
            },
            codec: self.config.audio.map(|audio| audio.codec),
            payloads: self
                .audio
                .as_ref()
                .map(|audio| audio.kept.clone())
                .unwrap_or_default(),
        }
    }
}

impl VideoLine {
    /// How many packets of sound of length `packet` the clip has played at a time: the sound
    /// follows the picture when a request for a key frame makes it jump.
    fn packets_at(&self, at: Instant, packet: Duration) -> u64 {
        let Some(interval) = self.interval() else {
            return 0;
        };
        let ahead = self.line.due(interval).saturating_duration_since(at);
        let played = interval * (self.position + self.frames.len()) as u32;
        (played.saturating_sub(ahead).as_nanos() / packet.as_nanos()) as u64
    }

    fn new(line: Line, clip: Option<Arc<Clip>>, mode: PacketizationMode) -> Self {
        let units = clip.iter().flat_map(|clip| &clip.units);
        let frames: Vec<_> = units.map(|unit| rtp::packetize(&unit.data, mode)).collect();
        Self {
            line,
            clip,
            frames,
            position: 0,
            depacketizer: Depacketizer::default(),
            whole: None,
            count: 0,
            media_time: 0,
            undecoded: 0,
            needs_key: true,
            asked_at: None,
            order: Order::default(),
            history: History::default(),
            playout: Playout::default(),
        }
    }

    /// From one frame to the next; `None` if there is nothing to send.
    fn interval(&self) -> Option<Duration> {
        let clip = self.clip.as_ref().filter(|_| !self.frames.is_empty())?;
        Some(Duration::from_secs(1) / clip.config.encode.frame_rate.max(1))
    }
}
