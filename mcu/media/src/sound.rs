//! A leg's sound, both ways: jitter buffer and decoder towards the mixer, encoder from it.

use std::time::{Duration, Instant};

use mcu_api::codec::AudioCodec;
use mcu_api::plan::{AudioStream, Care};
use mcu_rtp::clock::{Basis, RoomClock, SourceClock};
use mcu_rtp::header::{RtpHeader, RtpPacket};
use mcu_rtp::jitter::{JitterBuffer, Taken};
use mcu_rtp::quality;
use mcu_rtp::receive::{self, ReceiveStream, Verdict};
use mcu_rtp::red;
use mcu_rtp::rtcp::{ReportBlock, SenderInfo};
use mcu_rtp::send::{self, Place, Stamp};
use mcu_rtp::seq::ExtTs;
use mcu_rtp::telephone_event::TelephoneEvents;

use crate::audio::mixer::{RATE_HZ, TICK_SAMPLES, Tick};
use crate::audio::{self, Decoder, Resampler};
use crate::shared_encoders::SharedEncoders;
use mouth::Mouth;

mod mouth;

/// Packets that one tick may take: 10 ms packets need two, a correction of delay one more.
const TAKEN_PER_TICK: usize = 4;
/// Packets that may be lost between two by which it is reckoned how much time one has.
const MAX_PASSED: u32 = 50;
/// Packets heard without which nothing is rated, and the time of one.
const MIN_RATED: u64 = 10;
const PACKET_TIME: Duration = Duration::from_millis(20);

/// Sound that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SoundError {
    /// A codec refused its parameters.
    #[error(transparent)]
    Open(#[from] audio::OpenError),
    /// No converter for the codec's rate.
    #[error(transparent)]
    Rate(#[from] audio::UnsupportedRate),
}

/// One leg's sound.
pub struct Sound {
    plan: AudioStream,
    ear: Ear,
    mouth: Option<Mouth>,
    /// Packets played and concealed when the leg was rated last.
    rated: (u64, u64),
}

/// From the leg to the mixer.
struct Ear {
    /// Of the payload types received last. Most codecs tick at 8 kHz, Opus at 48.
    clock_hz: u32,
    receive: ReceiveStream,
    jitter: JitterBuffer,
    clock: SourceClock,
    /// By payload type, made when the first packet of one is played.
    decoders: Vec<(u8, Decoder, Resampler)>,
    /// Index of the decoder in use.
    decoder: usize,
    /// 48 kHz, not mixed yet; at most a packet and a tick.
    samples: Vec<i16>,
    decoded: Vec<i16>,
    tick: Box<Tick>,
    /// Room time less source time of what is heard, and what the source's time rests on.
    offset: Option<(Basis, i64)>,
    events: TelephoneEvents,
    /// Number and timestamp of the last packet with copies, and ticks from one to the next.
    last_redundant: Option<(u16, u32)>,
    packet_ticks: Option<u32>,
}

impl Sound {
    /// Sound as planned; what it sends goes on at its SSRC's place among `places`.
    pub fn new(plan: AudioStream, places: &[Place]) -> Result<Self, SoundError> {
        let codec = plan
            .receive
            .first()
            .map_or(AudioCodec::Pcmu, |payload| payload.codec);
        let mouth = plan
            .send
            .map(|send| Mouth::new(send, &plan, places))
            .transpose()?;
        Ok(Self {
            plan,
            ear: Ear::new(codec.rtp_clock_hz()),
            mouth,
            rated: (0, 0),
        })
    }

    /// Takes a new plan. `false`: more than muting and the encoder's aim changed, make it anew.
    pub fn update(&mut self, plan: &AudioStream) -> bool {
        let settled = |plan: &AudioStream| AudioStream {
            muted: false,
            faithful: false,
            care: Care::default(),
            ..plan.clone()
        };
        let same = settled(&self.plan) == settled(plan);
        self.plan.muted = plan.muted;
        self.plan.care = plan.care;
        if same && self.plan.faithful != plan.faithful {
            self.plan.faithful = plan.faithful;
            if let Some(mouth) = &mut self.mouth {
                mouth.change_aim(plan.faithful);
            }
        }
        same
    }

    /// Index of the transport.
    pub fn transport(&self) -> usize {
        self.plan.transport
    }

    /// Whether a payload type on this transport is this stream's.
    pub fn owns(&self, transport: usize, payload_type: u8) -> bool {
        self.plan.transport == transport
            && (self
                .plan
                .receive
                .iter()
                .any(|p| p.payload_type == payload_type)
                || self.plan.telephone_event == Some(payload_type)
                || self.plan.red == Some(payload_type))
    }

    /// Whether what we send carries transport-wide sequence numbers.
    pub fn has_transport_cc(&self) -> bool {
        self.plan.extensions.transport_cc != 0
    }

    /// Takes a packet; a telephone key that was pressed comes back.
    pub fn receive(
        &mut self,
        now: Instant,
        packet: &RtpPacket<'_>,
        clock: &RoomClock,
    ) -> Option<char> {
        if Some(packet.header.payload_type) == self.plan.red {
            self.receive_redundant(now, packet, clock);
            return None;
        }
        self.receive_one(now, packet, clock)
    }

    /// Takes what is new in a packet with copies, then those of packets that did not come.
    fn receive_redundant(&mut self, now: Instant, packet: &RtpPacket<'_>, clock: &RoomClock) {
        let Some(blocks) = red::parse(packet.payload) else {
            return;
        };
        let mut blocks: Vec<red::Block<'_>> = blocks.collect();
        let is_ours = |block: &red::Block<'_>| codec_of(block.payload_type, &self.plan).is_some();
        let Some(newest) = blocks.pop().filter(is_ours) else {
            return;
        };
        let header = RtpHeader {
            payload_type: newest.payload_type,
            ..packet.header
        };
        self.receive_one(now, &packet.with(header, newest.payload), clock);
        let Some(ticks) = self.ear.note_redundant(&header) else {
            return;
        };
        for copy in blocks.iter().rev() {
            // Which packet it is a copy of is told by its time alone.
            let age = copy.offset / ticks;
            if age == 0 || !copy.offset.is_multiple_of(ticks) {
                continue;
            }
            let header = RtpHeader {
                payload_type: copy.payload_type,
                marker: false,
                sequence: header.sequence.wrapping_sub(age as u16),
                timestamp: header.timestamp.wrapping_sub(copy.offset),
                ..header
            };
            // Copies of no sound, and of another codec than the packet's, are passed over.
            if copy.payload.is_empty() || copy.payload_type != newest.payload_type {
                continue;
            }
            let ear = &mut self.ear;
            let verdict = ear
                .receive
                .handle_retransmission(now, &header, copy.payload.len());
            if let Verdict::Fresh(accepted) = verdict {
                ear.jitter.insert(now, &accepted, &header, copy.payload);
            }
        }
    }

    fn receive_one(
        &mut self,
        now: Instant,
        packet: &RtpPacket<'_>,
        clock: &RoomClock,
    ) -> Option<char> {
        let header = &packet.header;
        self.ear.follow_clock(header.payload_type, &self.plan);
        let verdict = self
            .ear
            .receive
            .handle_packet(now, header, packet.payload.len());
        let Verdict::Fresh(accepted) = verdict else {
            return None;
        };
        if accepted.restarted {
            self.ear.begin_anew();
        }
        if Some(header.payload_type) == self.plan.telephone_event {
            let (marker, timestamp) = (header.marker, header.timestamp);
            let events = &mut self.ear.events;
            return events.handle_packet(marker, timestamp, packet.payload);
        }
        self.ear.clock.handle_packet(now, clock, header.timestamp);
        self.ear
            .jitter
            .insert(now, &accepted, header, packet.payload);
        None
    }

    /// The sender report of the leg's stream.
    pub fn handle_sender_report(&mut self, now: Instant, ssrc: u32, info: &SenderInfo) {
        if self.ear.receive.ssrc() == Some(ssrc) {
            self.ear.receive.handle_sender_report(now, info);
            self.ear
                .clock
                .handle_sender_report(info.ntp, info.rtp_timestamp);
        }
    }

    /// The leg's report about our stream.
    pub fn handle_report(&mut self, now: Instant, block: &ReportBlock, clock: &RoomClock) {
        if let Some(mouth) = &mut self.mouth {
            mouth.handle_report(now, block, clock);
        }
    }

    /// Room time less source time in µs of what was heard last, and what the source's time rests on.
    pub fn offset(&self) -> Option<(Basis, i64)> {
        self.ear.offset
    }

    /// 20 ms for the mixer; `None` when there is nothing to hear. A muted leg is decoded all the
    /// same, so that it is heard without a gap once it is not muted any more.
    pub fn hear(&mut self, now: Instant, clock: &RoomClock) -> Option<&Tick> {
        let heard = self.ear.fill(now, clock, &self.plan);
        (heard && !self.plan.muted).then_some(&*self.ear.tick)
    }

    /// What is to be done to what is heard, before others hear it.
    pub fn care(&self) -> Care {
        self.plan.care
    }

    /// Takes 20 ms of the room's sound to be sent.
    pub fn take_mix(&mut self, pcm: &Tick) {
        if let Some(mouth) = &mut self.mouth {
            mouth.resampler.process(pcm, &mut mouth.samples);
        }
    }

    /// Before anything is encoded in a tick: whether the leg hears in it what other listeners hear.
    pub fn listen(&mut self, listens: bool, encoders: &mut SharedEncoders) {
        let faithful = self.plan.faithful;
        if let Some(mouth) = &mut self.mouth {
            mouth.listen(listens, faithful, encoders);
        }
    }

    /// Takes this tick's payload of what listeners hear, `pcm`. `false`: the leg has an encoder of its own, and
    /// goes on by [`Sound::take_mix`].
    pub fn take_shared(&mut self, encoders: &mut SharedEncoders, pcm: &Tick) -> bool {
        let mouth = self.mouth.as_mut();
        mouth.is_some_and(|mouth| mouth.take_shared(encoders, pcm))
    }

    /// Writes the packet of what [`Sound::take_shared`] took; times as in [`Sound::write`].
    pub fn write_shared(
        &mut self,
        at: (Instant, Instant),
        clock: &RoomClock,
        stamp: Stamp,
        out: &mut Vec<u8>,
    ) {
        if let Some(mouth) = &mut self.mouth {
            let samples = mouth.encoder.frame_samples();
            mouth.send(at, clock, samples, stamp, out);
        }
    }

    /// Writes the next packet, if one is full, `at` now. The second time is when its sound should have been
    /// mixed: ticks that were missed are made up for in one go, and each has a time of its own.
    pub fn write(
        &mut self,
        at: (Instant, Instant),
        clock: &RoomClock,
        stamp: Stamp,
        out: &mut Vec<u8>,
    ) -> bool {
        self.mouth
            .as_mut()
            .is_some_and(|mouth| mouth.write(at, clock, stamp, out))
    }

    /// Whether a packet is full.
    pub fn has_packet(&self) -> bool {
        self.mouth
            .as_ref()
            .is_some_and(|m| m.samples.len() >= m.encoder.frame_samples())
    }

    /// Spends about so many bits a second at most, as far as the codec can; `None`: as agreed.
    pub fn set_budget(&mut self, budget_bps: Option<u32>) {
        if let Some(mouth) = &mut self.mouth {
            mouth.set_budget(budget_bps);
        }
    }

    /// SSRC of ours.
    pub fn ssrc(&self) -> Option<u32> {
        self.mouth.as_ref().map(|mouth| mouth.stream.ssrc())
    }

    /// SSRC of ours once something was sent.
    pub fn sent_ssrc(&self) -> Option<u32> {
        self.mouth
            .as_ref()
            .filter(|m| m.stream.stats().packets > 0)
            .map(|m| m.stream.ssrc())
    }

    /// Where what we send stands.
    pub fn place(&self) -> Option<Place> {
        self.mouth.as_ref().map(|mouth| mouth.stream.place())
    }

    /// Appends the report block about the leg's stream.
    pub fn report(&mut self, now: Instant, blocks: &mut Vec<ReportBlock>) {
        blocks.extend(self.ear.receive.report_block(now));
    }

    /// Our sender report, once something was sent.
    pub fn sender_info(&self, now: Instant, clock: &RoomClock) -> Option<(u32, SenderInfo)> {
        let ssrc = self.sent_ssrc()?;
        Some((ssrc, self.mouth.as_ref()?.stream.sender_info(now, clock)))
    }

    /// Figures of what is received.
    pub fn receive_stats(&self) -> receive::Stats {
        self.ear.receive.stats()
    }

    /// Score of what was heard since the last call, by the share that was concealed.
    pub fn received_mos(&mut self, round_trip: Duration) -> Option<f32> {
        let stats = self.ear.jitter.stats();
        let (played, concealed) =
            std::mem::replace(&mut self.rated, (stats.played, stats.concealed));
        let played = stats.played.checked_sub(played)?;
        let concealed = stats.concealed.checked_sub(concealed)?;
        if played < MIN_RATED {
            return None;
        }
        let (payload_type, ..) = self.ear.decoders.get(self.ear.decoder)?;
        let codec = codec_of(*payload_type, &self.plan)?;
        let share = concealed as f64 / (played + concealed) as f64;
        let one_way = round_trip / 2 + stats.target + PACKET_TIME;
        quality::mos(codec, share, one_way).map(|mos| mos as f32)
    }

    /// Score of what was sent, by the peer's last report. What its repair makes of losses is not known.
    pub fn sent_mos(&self, round_trip: Duration) -> Option<f32> {
        let mouth = self.mouth.as_ref()?;
        let stats = mouth.stream.stats();
        let lost = f64::from(stats.fraction_lost);
        if stats.packets == 0
            || stats.round_trip.is_none()
            || mouth.plan.red.is_some() && lost > 0.0
        {
            return None;
        }
        let jitter = Duration::from_secs_f32(stats.jitter_ms.clamp(0.0, 1_000.0) / 500.0);
        let one_way = round_trip / 2 + jitter + PACKET_TIME;
        quality::mos(mouth.plan.codec, lost, one_way).map(|mos| mos as f32)
    }

    /// Figures of what is sent.
    pub fn send_stats(&self) -> Option<send::Stats> {
        self.mouth.as_ref().map(|mouth| mouth.stream.stats())
    }
}

impl Ear {
    fn new(clock_hz: u32) -> Self {
        Self {
            clock_hz,
            receive: ReceiveStream::new(receive::Config {
                clock_hz,
                nack: false,
            }),
            jitter: JitterBuffer::new(clock_hz),
            clock: SourceClock::new(clock_hz),
            decoders: Vec::new(),
            decoder: 0,
            samples: Vec::with_capacity(4 * TICK_SAMPLES),
            decoded: Vec::with_capacity(TICK_SAMPLES),
            tick: Box::new([0; TICK_SAMPLES]),
            offset: None,
            events: TelephoneEvents::default(),
            last_redundant: None,
            packet_ticks: None,
        }
    }

    /// A leg may send any payload type that it agreed to, not only the first (RFC 3264 §5.1). One
    /// whose clock ticks otherwise begins a stream of its own.
    fn follow_clock(&mut self, payload_type: u8, plan: &AudioStream) {
        let Some(codec) = codec_of(payload_type, plan) else {
            return;
        };
        if codec.rtp_clock_hz() != self.clock_hz {
            let decoders = std::mem::take(&mut self.decoders);
            *self = Self {
                decoders,
                decoder: self.decoder,
                events: self.events,
                ..Self::new(codec.rtp_clock_hz())
            };
        }
    }

    /// The source counts from another beginning: what was known of its time is void.
    fn begin_anew(&mut self) {
        (self.last_redundant, self.packet_ticks) = (None, None);
        self.jitter.reset();
        self.clock = SourceClock::new(self.clock_hz);
        self.offset = None;
        self.events = TelephoneEvents::default();
    }

    /// Ticks from one packet to the next, by the packets with copies so far.
    fn note_redundant(&mut self, header: &RtpHeader) -> Option<u32> {
        let now = (header.sequence, header.timestamp);
        if let Some((sequence, timestamp)) = self.last_redundant.replace(now) {
            let packets = u32::from(now.0.wrapping_sub(sequence));
            let ticks = now.1.wrapping_sub(timestamp);
            let goes_on = (1..=MAX_PASSED).contains(&packets) && ticks.is_multiple_of(packets);
            if goes_on && (1..=self.clock_hz).contains(&(ticks / packets)) {
                self.packet_ticks = Some(ticks / packets);
            }
        }
        self.packet_ticks
    }

    /// Makes the decoder of this payload type the one in use. `false`: there is none.
    fn choose_decoder(&mut self, payload_type: u8, plan: &AudioStream) -> bool {
        let held = self
            .decoders
            .iter()
            .position(|(held, ..)| *held == payload_type);
        if let Some(held) = held {
            self.decoder = held;
            return true;
        }
        let Some(codec) = codec_of(payload_type, plan) else {
            return false;
        };
        let opened = Decoder::new(codec)
            .map_err(SoundError::from)
            .and_then(|decoder| Ok((decoder, Resampler::new(codec.sample_rate_hz(), RATE_HZ)?)));
        match opened {
            Ok((decoder, resampler)) => {
                self.decoder = self.decoders.len();
                self.decoders.push((payload_type, decoder, resampler));
                true
            }
            Err(error) => {
                tracing::error!(%error, "no decoder for sound");
                false
            }
        }
    }

    /// Fills the tick. `false`: nothing but silence.
    fn fill(&mut self, now: Instant, clock: &RoomClock, plan: &AudioStream) -> bool {
        let mut heard = !self.samples.is_empty();
        for _ in 0..TAKEN_PER_TICK {
            if self.samples.len() >= TICK_SAMPLES {
                break;
            }
            match self.jitter.take(now) {
                Taken::Frame(frame) => {
                    self.note_offset(now, clock, frame.ts.wire());
                    if self.choose_decoder(frame.payload_type, plan) {
                        self.decode(&frame.payload);
                    }
                    self.jitter.recycle(frame.payload);
                    heard = true;
                }
                Taken::Conceal { ts, duration } => {
                    self.conceal(ts, duration);
                    heard = true;
                }
                Taken::Silence => break,
            }
        }
        let len = self.samples.len().min(TICK_SAMPLES);
        self.tick[..len].copy_from_slice(&self.samples[..len]);
        self.tick[len..].fill(0);
        self.samples.drain(..len);
        heard
    }

    /// What is decoded now is heard after what waits before it.
    fn note_offset(&mut self, now: Instant, clock: &RoomClock, timestamp: u32) {
        let Some(source) = self.clock.source_time(timestamp) else {
            return;
        };
        let ahead = self.samples.len() as i64 * 1_000_000 / i64::from(RATE_HZ);
        let micros = clock.ntp(now).offset_micros(ahead).micros_since(source);
        self.offset = Some((self.clock.basis(), micros));
    }

    fn decode(&mut self, payload: &[u8]) {
        let Some((_, decoder, resampler)) = self.decoders.get_mut(self.decoder) else {
            return;
        };
        self.decoded.clear();
        if let Err(error) = decoder.decode(payload, &mut self.decoded) {
            tracing::debug!(%error, "sound not decoded");
            decoder.conceal(decoder.sample_rate_hz() as usize / 50, &mut self.decoded);
        }
        resampler.process(&self.decoded, &mut self.samples);
    }

    /// Fills in for a lost packet, by what the next one tells of it where the codec has that.
    fn conceal(&mut self, ts: ExtTs, duration: Duration) {
        let Some((payload_type, decoder, resampler)) = self.decoders.get_mut(self.decoder) else {
            return;
        };
        let samples = duration.as_micros() as usize * decoder.sample_rate_hz() as usize / 1_000_000;
        self.decoded.clear();
        match self.jitter.behind(ts) {
            Some((behind, payload)) if behind == *payload_type => {
                decoder.recover(payload, samples, &mut self.decoded);
            }
            _ => decoder.conceal(samples, &mut self.decoded),
        }
        resampler.process(&self.decoded, &mut self.samples);
    }
}

fn codec_of(payload_type: u8, plan: &AudioStream) -> Option<AudioCodec> {
    let mut payloads = plan.receive.iter();
    let payload = payloads.find(|payload| payload.payload_type == payload_type)?;
    Some(payload.codec)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use mcu_api::plan::{AudioPayload, AudioSend, HeaderExtensions};
    use mcu_rtp::header::{ExtensionValues, write_header};

    use std::collections::VecDeque;

    use super::*;
    use crate::audio::Encoder;

    const OPUS: AudioPayload = AudioPayload {
        payload_type: 111,
        codec: AudioCodec::Opus,
    };
    const PCMU: AudioPayload = AudioPayload {
        payload_type: 0,
        codec: AudioCodec::Pcmu,
    };
    const TICK: Duration = Duration::from_millis(20);

    fn plan(codec: AudioPayload) -> AudioStream {
        AudioStream {
            transport: 0,
            mid: None,
            receive: vec![OPUS, PCMU],
            send: Some(AudioSend {
                payload_type: codec.payload_type,
                codec: codec.codec,
                ptime_ms: 20,
                bitrate_bps: 64_000,
                ssrc: 7,
                red: None,
            }),
            telephone_event: None,
            red: None,
            extensions: HeaderExtensions::default(),
            muted: false,
            faithful: false,
            care: Care::default(),
        }
    }

    fn room() -> (Instant, RoomClock) {
        let now = Instant::now();
        (now, RoomClock::new(now, SystemTime::UNIX_EPOCH))
    }

    /// The next packet that `sound` sends, at `now` for `due`.
    fn sent(sound: &mut Sound, at: (Instant, Instant), clock: &RoomClock) -> RtpHeader {
        sound.take_mix(&[1_000; TICK_SAMPLES]);
        let mut out = Vec::new();
        assert!(sound.write(at, clock, Stamp::default(), &mut out));
        RtpPacket::parse(&out).unwrap().header
    }

    #[test]
    fn sound_that_comes_back_goes_on_with_its_numbers() {
        let (now, clock) = room();
        let mut before = Sound::new(plan(OPUS), &[]).unwrap();
        let last = (0..40).map(|_| sent(&mut before, (now, now), &clock));
        let last = last.last().unwrap();
        let places = [before.place().unwrap()];
        let mut after = Sound::new(plan(PCMU), &places).unwrap();
        let first = sent(&mut after, (now, now), &clock);
        assert_eq!(first.ssrc, last.ssrc);
        assert_eq!(first.sequence, last.sequence.wrapping_add(1));
        let mut other = plan(PCMU);
        other.send.as_mut().unwrap().ssrc = 8;
        let mut stranger = Sound::new(other, &places).unwrap();
        assert_ne!(
            sent(&mut stranger, (now, now), &clock).timestamp,
            first.timestamp
        );
    }

    #[test]
    fn ticks_made_up_for_in_one_go_have_times_of_their_own() {
        let (start, clock) = room();
        let mut sound = Sound::new(plan(OPUS), &[]).unwrap();
        let timestamps: Vec<u32> = (0..60u32)
            .map(|n| {
                let due = start + n * TICK;
                // From the twentieth on the worker stands still for 180 ms.
                let now = if (20..29).contains(&n) {
                    start + 29 * TICK
                } else {
                    due
                };
                sent(&mut sound, (now, due), &clock).timestamp
            })
            .collect();
        let steps = timestamps
            .windows(2)
            .map(|pair| pair[1].wrapping_sub(pair[0]));
        assert_eq!(steps.collect::<Vec<u32>>(), vec![960; 59]);
    }

    /// 20 ms of a tone of 1 kHz in G.711, as a packet.
    fn pcmu_packet(n: u32) -> Vec<u8> {
        let header = RtpHeader {
            payload_type: PCMU.payload_type,
            marker: false,
            sequence: n as u16,
            timestamp: n * 160,
            ssrc: 99,
        };
        let mut packet = Vec::new();
        let (ids, values) = (HeaderExtensions::default(), ExtensionValues::default());
        write_header(&mut packet, &header, &ids, &values);
        // Eight samples of 8 kHz are a period: zero, peak and what lies between.
        packet.extend([0xFF, 0x96, 0x8F, 0x96, 0x7F, 0x16, 0x0F, 0x16].repeat(20));
        packet
    }

    /// Share of the energy of a swelling tone that is lost on the way through the buffer and Opus,
    /// when every tenth packet is lost; `fec`: packets carry copies of those before.
    fn energy_lost(fec: bool) -> f64 {
        let (start, clock) = room();
        let mut encoder = Encoder::new(AudioCodec::Opus, 20, 32_000).unwrap();
        encoder.set_expected_loss(if fec { 25 } else { 0 }).unwrap();
        let mut sounds = [(); 2].map(|()| Sound::new(plan(OPUS), &[]).unwrap());
        let mut energy = [0.0, 0.0];
        for n in 0..300u32 {
            let now = start + n * TICK;
            let pcm: Vec<i16> = (n * 960..(n + 1) * 960)
                .map(|at| {
                    let swell = (f64::from(at) * 7.0 / 48_000.0).sin();
                    (swell * (f64::from(at) * 1_500.0 / 48_000.0).sin() * 12_000.0) as i16
                })
                .collect();
            let header = RtpHeader {
                payload_type: OPUS.payload_type,
                marker: false,
                sequence: n as u16,
                timestamp: n * 960,
                ssrc: 5,
            };
            let mut packet = Vec::new();
            let (ids, values) = (HeaderExtensions::default(), ExtensionValues::default());
            write_header(&mut packet, &header, &ids, &values);
            encoder.encode(&pcm, &mut packet).unwrap();
            let packet = RtpPacket::parse(&packet).unwrap();
            for (which, sound) in sounds.iter_mut().enumerate() {
                if which == 0 || n % 10 != 7 {
                    sound.receive(now, &packet, &clock);
                }
            }
            let ticks = sounds
                .each_mut()
                .map(|sound| sound.hear(now + TICK / 2, &clock).map(|tick| tick.to_vec()));
            if let [Some(whole), Some(lossy)] = ticks {
                for (whole, lossy) in whole.iter().zip(&lossy) {
                    energy[0] += f64::from(*whole).powi(2);
                    energy[1] += (f64::from(*whole) - f64::from(*lossy)).powi(2);
                }
            }
        }
        energy[1] / energy[0]
    }

    #[test]
    fn a_lost_packet_is_recovered_from_the_one_behind_it() {
        let (with, without) = (energy_lost(true), energy_lost(false));
        println!("energy lost: {with:.4} with FEC, {without:.4} without");
        assert!(with < without * 0.7, "{with} {without}");
    }

    #[test]
    fn a_codec_that_is_not_the_first_agreed_is_heard_whole() {
        let (start, clock) = room();
        let mut sound = Sound::new(plan(OPUS), &[]).unwrap();
        let mut quiet = Vec::new();
        for n in 0..200u32 {
            let now = start + n * TICK;
            let packet = pcmu_packet(n);
            sound.receive(now, &RtpPacket::parse(&packet).unwrap(), &clock);
            let loud = sound.hear(now + TICK / 2, &clock).is_some_and(|tick| {
                let energy: f64 = tick.iter().map(|s| f64::from(*s).powi(2)).sum();
                (energy / TICK_SAMPLES as f64).sqrt() > 2_000.0
            });
            if !loud {
                quiet.push(n);
            }
        }
        assert!(quiet.iter().all(|n| *n < 5), "not heard in ticks {quiet:?}");
        assert_eq!(sound.ear.jitter.stats().concealed, 0);
    }

    /// What is decoded at the far end of `codec`: of a leg that shares an encoder with another in the ticks of
    /// `shared`, and else has its own. All packets have the numbers and times that follow.
    fn decoded(codec: AudioPayload, shared: std::ops::Range<u32>) -> Vec<i16> {
        let (start, clock) = room();
        let mut sound = Sound::new(plan(codec), &[]).unwrap();
        let mut other = Sound::new(plan(codec), &[]).unwrap();
        let mut encoders = SharedEncoders::default();
        let mut decoder = Decoder::new(codec.codec).unwrap();
        let (mut heard, mut last) = (Vec::new(), None);
        for n in 0..150u32 {
            let at = start + n * TICK;
            let mut mix = [0; TICK_SAMPLES];
            for (sample, at) in mix.iter_mut().zip(n * 960..) {
                let time = f64::from(at) / 48_000.0;
                let swell = 1.1 + (time * 15.0).sin();
                let voice = (1..8).map(|k| (time * 900.0 * f64::from(k)).sin() / f64::from(k));
                *sample = (swell * voice.sum::<f64>() * 4_000.0) as i16;
            }
            let mut packet = Vec::new();
            encoders.begin_tick();
            other.listen(true, &mut encoders);
            sound.listen(shared.contains(&n), &mut encoders);
            // The other takes its part first.
            assert!(other.take_shared(&mut encoders, &mix));
            assert_eq!(sound.take_shared(&mut encoders, &mix), shared.contains(&n));
            if shared.contains(&n) {
                sound.write_shared((at, at), &clock, Stamp::default(), &mut packet);
            } else {
                sound.take_mix(&mix);
                assert!(sound.write((at, at), &clock, Stamp::default(), &mut packet));
            }
            let packet = RtpPacket::parse(&packet).unwrap();
            let (sequence, timestamp) = (packet.header.sequence, packet.header.timestamp);
            let ticks = codec.codec.rtp_clock_hz() / 50;
            let next = |(s, t): (u16, u32)| (s.wrapping_add(1), t.wrapping_add(ticks));
            assert!(
                last.map(next)
                    .is_none_or(|due| due == (sequence, timestamp))
            );
            last = Some((sequence, timestamp));
            let mut pcm = Vec::new();
            decoder.decode(packet.payload, &mut pcm).unwrap();
            heard.extend(pcm);
        }
        heard
    }

    /// Where a leg begins and ends to share an encoder, what is heard differs little from that of a leg which
    /// goes on with its own, and not for long.
    #[test]
    fn the_way_to_a_shared_encoder_and_back_is_hardly_heard() {
        let (joins, leaves) = (50, 100);
        // Of two encoders of Opus the one differs from the other by 17 dB all the time.
        for (codec, joined, left, then) in [
            (AudioCodec::Pcmu, 90.0, 90.0, 90.0),
            (AudioCodec::L16, 90.0, 90.0, 90.0),
            (AudioCodec::Opus, 13.0, 8.0, 13.0),
        ] {
            let payload = AudioPayload {
                payload_type: 0,
                codec,
            };
            let (alone, with) = (decoded(payload, 0..0), decoded(payload, joins..leaves));
            let tick = alone.len() / 150;
            let snr_db = |ticks: std::ops::Range<u32>| {
                let range = ticks.start as usize * tick..ticks.end as usize * tick;
                let pairs = alone[range.clone()].iter().zip(&with[range]);
                let (signal, error) = pairs.fold((0.0, 1e-9), |(signal, error), (a, b)| {
                    let (a, b) = (f64::from(*a), f64::from(*b));
                    (signal + a * a, error + (a - b) * (a - b))
                });
                10.0 * (signal / error).log10()
            };
            let worst = |mut ticks: std::ops::Range<u32>| {
                ticks
                    .by_ref()
                    .map(|n| snr_db(n..n + 1))
                    .fold(f64::MAX, f64::min)
            };
            assert!(
                worst(joins..leaves) > joined,
                "{codec:?}: {}",
                worst(joins..leaves)
            );
            assert!(
                snr_db(leaves..leaves + 1) > left,
                "{codec:?}: {}",
                snr_db(leaves..leaves + 1)
            );
            assert!(
                worst(leaves + 1..150) > then,
                "{codec:?}: {}",
                worst(leaves + 1..150)
            );
        }
    }

    /// Of a tone that goes through a line which loses `lost` of ten packets in a row, the ticks in which
    /// something was concealed. Packets have copies of these before them, 1 being the last.
    fn concealed(lost: u32, copies: std::ops::RangeInclusive<usize>) -> u64 {
        let (start, clock) = room();
        let mut with_red = plan(PCMU);
        with_red.red = Some(121);
        let mut sound = Sound::new(with_red, &[]).unwrap();
        let mut history: VecDeque<(u32, Vec<u8>)> = VecDeque::new();
        for n in 0..500u32 {
            let now = start + n * TICK;
            let plain = pcmu_packet(n);
            let payload = plain[12..].to_vec();
            let mut red = plain[..12].to_vec();
            red[1] = 121;
            let sent = copies.clone().rev().filter_map(|age| history.get(age - 1));
            let sent = sent.map(|(at, copy)| ((n - at) * 160, copy.as_slice()));
            red::write(PCMU.payload_type, sent, &payload, &mut red);
            history.push_front((n, payload));
            if n % 10 >= lost {
                sound.receive(now, &RtpPacket::parse(&red).unwrap(), &clock);
            }
            sound.hear(now + TICK / 2, &clock);
        }
        sound.ear.jitter.stats().concealed
    }

    /// RFC 2198: what is lost is heard all the same from the packet behind.
    #[test]
    fn copies_stand_in_for_packets_that_are_lost() {
        #[expect(clippy::reversed_empty_ranges)]
        let none = concealed(1, 1..=0);
        assert!(none >= 45);
        let (one, two) = (concealed(1, 1..=1), concealed(2, 1..=2));
        assert!(one <= 5 && two <= 10, "{one} {two}");
        // Some send the packet before the last alone, so that bursts of two do no harm.
        let apart = concealed(2, 2..=2);
        assert!(apart <= 10, "{apart}");
    }

    #[test]
    fn sound_has_copies_while_its_receiver_loses_packets() {
        let (now, clock) = room();
        let mut with_red = plan(PCMU);
        with_red.send.as_mut().unwrap().red = Some(121);
        let mut sound = Sound::new(with_red, &[]).unwrap();
        let mut due = now;
        let mut blocks = |sound: &mut Sound| {
            sound.take_mix(&[1_000; TICK_SAMPLES]);
            let mut out = Vec::new();
            due += TICK;
            assert!(sound.write((due, due), &clock, Stamp::default(), &mut out));
            let packet = RtpPacket::parse(&out).unwrap();
            match packet.header.payload_type {
                121 => red::parse(packet.payload).unwrap().count(),
                other => usize::from(other == PCMU.payload_type),
            }
        };
        assert_eq!([(); 4].map(|()| blocks(&mut sound)), [1; 4]);
        let report = |lost: u8| ReportBlock {
            ssrc: 7,
            fraction_lost: lost,
            cumulative_lost: 0,
            highest_sequence: 0,
            jitter: 0,
            last_sr: 0,
            delay_since_last_sr: 0,
        };
        sound.handle_report(now, &report(26), &clock);
        assert_eq!(blocks(&mut sound), 3);
        sound.handle_report(now, &report(80), &clock);
        assert_eq!(blocks(&mut sound), 4);
        (0..40).for_each(|_| sound.handle_report(now, &report(0), &clock));
        assert_eq!(blocks(&mut sound), 1);
    }
}
