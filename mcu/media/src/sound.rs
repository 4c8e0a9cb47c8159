//! A leg's sound, both ways: jitter buffer and decoder towards the mixer, encoder from it.

use std::time::{Duration, Instant};

use mcu_api::codec::AudioCodec;
use mcu_api::plan::{AudioSend, AudioStream};
use mcu_rtp::clock::{Basis, RoomClock, SourceClock};
use mcu_rtp::header::RtpPacket;
use mcu_rtp::jitter::{JitterBuffer, Taken};
use mcu_rtp::receive::{self, ReceiveStream, Verdict};
use mcu_rtp::rtcp::{ReportBlock, SenderInfo};
use mcu_rtp::send::{self, Media, SendStream, Stamp};

use crate::audio::mixer::{RATE_HZ, TICK_SAMPLES, Tick};
use crate::audio::{self, Decoder, Encoder, Resampler};

/// Packets that one tick may take: 10 ms packets need two, a correction of delay one more.
const TAKEN_PER_TICK: usize = 4;
/// Our timestamps are counted; further from the clock than this they are set anew.
const MAX_DRIFT: Duration = Duration::from_millis(100);

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
}

/// From the leg to the mixer.
struct Ear {
    receive: ReceiveStream,
    jitter: JitterBuffer,
    clock: SourceClock,
    /// Made when the first packet shows which codec it is.
    decoder: Option<(u8, Decoder, Resampler)>,
    /// 48 kHz, not mixed yet; at most a packet and a tick.
    samples: Vec<i16>,
    decoded: Vec<i16>,
    tick: Box<Tick>,
    /// Room time less source time of what is heard.
    offset: Option<i64>,
    /// Timestamp of the telephone event that was told.
    event: Option<u32>,
}

/// From the mixer to the leg.
struct Mouth {
    plan: AudioSend,
    stream: SendStream,
    encoder: Encoder,
    resampler: Resampler,
    /// At the codec's rate, not encoded yet; at most a packet and a tick.
    samples: Vec<i16>,
    payload: Vec<u8>,
    next_timestamp: Option<u32>,
    talking: bool,
    /// Loss in per cent that the encoder guards against.
    expected_loss: u8,
}

impl Sound {
    /// Sound as planned.
    pub fn new(plan: AudioStream) -> Result<Self, SoundError> {
        let codec = plan
            .receive
            .first()
            .map_or(AudioCodec::Pcmu, |payload| payload.codec);
        let mouth = plan.send.map(|send| Mouth::new(send, &plan)).transpose()?;
        Ok(Self {
            plan,
            ear: Ear::new(codec.rtp_clock_hz()),
            mouth,
        })
    }

    /// Takes a new plan. `false`: more than muting changed, make it anew.
    pub fn update(&mut self, plan: &AudioStream) -> bool {
        let same = AudioStream {
            muted: false,
            ..self.plan.clone()
        } == AudioStream {
            muted: false,
            ..plan.clone()
        };
        self.plan.muted = plan.muted;
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
                || self.plan.telephone_event == Some(payload_type))
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
        let header = &packet.header;
        let verdict = self
            .ear
            .receive
            .handle_packet(now, header, packet.payload.len());
        let Verdict::Fresh(accepted) = verdict else {
            return None;
        };
        if Some(header.payload_type) == self.plan.telephone_event {
            return self.ear.take_event(header.timestamp, packet.payload);
        }
        self.ear.clock.handle_packet(now, clock, header.timestamp);
        self.ear.choose_decoder(header.payload_type, &self.plan);
        self.ear
            .jitter
            .insert(now, &accepted, header.marker, packet.payload);
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
        Some((self.ear.clock.basis(), self.ear.offset?))
    }

    /// 20 ms for the mixer; `None` when there is nothing to hear. A muted leg is decoded all the
    /// same, so that it is heard without a gap once it is not muted any more.
    pub fn hear(&mut self, now: Instant, clock: &RoomClock) -> Option<&Tick> {
        let heard = self.ear.fill(now, clock);
        (heard && !self.plan.muted).then_some(&*self.ear.tick)
    }

    /// Takes 20 ms of the room's sound to be sent.
    pub fn take_mix(&mut self, pcm: &Tick) {
        if let Some(mouth) = &mut self.mouth {
            mouth.resampler.process(pcm, &mut mouth.samples);
        }
    }

    /// Writes the next packet, if one is full.
    pub fn write(
        &mut self,
        now: Instant,
        clock: &RoomClock,
        stamp: Stamp,
        out: &mut Vec<u8>,
    ) -> bool {
        self.mouth
            .as_mut()
            .is_some_and(|mouth| mouth.write(now, clock, stamp, out))
    }

    /// Whether a packet is full.
    pub fn has_packet(&self) -> bool {
        self.mouth
            .as_ref()
            .is_some_and(|m| m.samples.len() >= m.encoder.frame_samples())
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

    /// Figures of what is sent.
    pub fn send_stats(&self) -> Option<send::Stats> {
        self.mouth.as_ref().map(|mouth| mouth.stream.stats())
    }
}

impl Ear {
    fn new(clock_hz: u32) -> Self {
        Self {
            receive: ReceiveStream::new(receive::Config {
                clock_hz,
                nack: false,
            }),
            jitter: JitterBuffer::new(clock_hz),
            clock: SourceClock::new(clock_hz),
            decoder: None,
            samples: Vec::with_capacity(4 * TICK_SAMPLES),
            decoded: Vec::with_capacity(TICK_SAMPLES),
            tick: Box::new([0; TICK_SAMPLES]),
            offset: None,
            event: None,
        }
    }

    /// A leg may change between the payload types it was offered at any time.
    fn choose_decoder(&mut self, payload_type: u8, plan: &AudioStream) {
        if self
            .decoder
            .as_ref()
            .is_some_and(|(held, ..)| *held == payload_type)
        {
            return;
        }
        let Some(payload) = plan.receive.iter().find(|p| p.payload_type == payload_type) else {
            return;
        };
        let rate = payload.codec.sample_rate_hz();
        let opened = Decoder::new(payload.codec)
            .map_err(|e| e.to_string())
            .and_then(|decoder| {
                let resampler = Resampler::new(rate, RATE_HZ).map_err(|e| e.to_string())?;
                Ok((payload_type, decoder, resampler))
            });
        match opened {
            Ok(decoder) => self.decoder = Some(decoder),
            Err(error) => tracing::error!(error, "no decoder for sound"),
        }
    }

    /// RFC 4733 §2.3: event number, end bit and volume, duration. An event is told once, by its
    /// first packet; later packets of it have the same timestamp.
    fn take_event(&mut self, timestamp: u32, payload: &[u8]) -> Option<char> {
        let number = usize::from(*payload.first()?);
        if self.event.replace(timestamp) == Some(timestamp) {
            return None;
        }
        "0123456789*#ABCD".chars().nth(number)
    }

    /// Fills the tick. `false`: nothing but silence.
    fn fill(&mut self, now: Instant, clock: &RoomClock) -> bool {
        let mut heard = !self.samples.is_empty();
        for _ in 0..TAKEN_PER_TICK {
            if self.samples.len() >= TICK_SAMPLES {
                break;
            }
            match self.jitter.take(now) {
                Taken::Frame(frame) => {
                    self.note_offset(now, clock, frame.ts.wire());
                    self.decode(&frame.payload);
                    self.jitter.recycle(frame.payload);
                    heard = true;
                }
                Taken::Conceal { duration, .. } => {
                    self.conceal(duration);
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
        self.offset = Some(clock.ntp(now).offset_micros(ahead).micros_since(source));
    }

    fn decode(&mut self, payload: &[u8]) {
        let Some((_, decoder, resampler)) = &mut self.decoder else {
            return;
        };
        self.decoded.clear();
        if let Err(error) = decoder.decode(payload, &mut self.decoded) {
            tracing::debug!(%error, "sound not decoded");
            decoder.conceal(decoder.sample_rate_hz() as usize / 50, &mut self.decoded);
        }
        resampler.process(&self.decoded, &mut self.samples);
    }

    fn conceal(&mut self, duration: Duration) {
        let Some((_, decoder, resampler)) = &mut self.decoder else {
            return;
        };
        let samples = duration.as_micros() as usize * decoder.sample_rate_hz() as usize / 1_000_000;
        self.decoded.clear();
        decoder.conceal(samples, &mut self.decoded);
        resampler.process(&self.decoded, &mut self.samples);
    }
}

impl Mouth {
    fn new(send: AudioSend, plan: &AudioStream) -> Result<Self, SoundError> {
        let config = send::Config {
            ssrc: send.ssrc,
            payload_type: send.payload_type,
            clock_hz: send.codec.rtp_clock_hz(),
            rtx: None,
            extensions: plan.extensions,
            mid: plan.mid.clone(),
            kept_packets: 0,
            kept_for: Duration::ZERO,
        };
        Ok(Self {
            plan: send,
            stream: SendStream::new(config, &mut rand::rng()),
            encoder: Encoder::new(send.codec, send.ptime_ms, send.bitrate_bps)?,
            resampler: Resampler::new(RATE_HZ, send.codec.sample_rate_hz())?,
            samples: Vec::new(),
            payload: Vec::new(),
            next_timestamp: None,
            talking: false,
            expected_loss: 0,
        })
    }

    fn handle_report(&mut self, now: Instant, block: &ReportBlock, clock: &RoomClock) {
        self.stream.handle_report_block(now, block, clock);
        let loss = (self.stream.stats().fraction_lost * 100.0).round() as u8;
        if loss != self.expected_loss {
            self.expected_loss = loss;
            if let Err(error) = self.encoder.set_expected_loss(loss) {
                tracing::warn!(%error, "loss not told to the encoder");
            }
        }
    }

    fn write(&mut self, now: Instant, clock: &RoomClock, stamp: Stamp, out: &mut Vec<u8>) -> bool {
        let frame = self.encoder.frame_samples();
        if self.samples.len() < frame {
            return false;
        }
        self.payload.clear();
        let encoded = self
            .encoder
            .encode(&self.samples[..frame], &mut self.payload);
        self.samples.drain(..frame);
        let timestamp = self.timestamp(now, clock, frame);
        if let Err(error) = encoded {
            tracing::warn!(%error, "sound not encoded");
            return false;
        }
        // RFC 3551 §4.1: the marker is on the first packet of a talk spurt; ours never pauses.
        let marker = !std::mem::replace(&mut self.talking, true);
        let media = Media {
            timestamp,
            marker,
            payload: &self.payload,
        };
        self.stream.write(now, &media, stamp, out);
        true
    }

    fn timestamp(&mut self, now: Instant, clock: &RoomClock, samples: usize) -> u32 {
        let (clock_hz, rate) = (
            self.plan.codec.rtp_clock_hz(),
            self.plan.codec.sample_rate_hz(),
        );
        let by_clock = self.stream.timestamp(clock, clock.ntp(now));
        let drift = (MAX_DRIFT.as_millis() as u32 * clock_hz / 1_000) as i32;
        let timestamp = self
            .next_timestamp
            .filter(|next| (next.wrapping_sub(by_clock) as i32).abs() < drift)
            .unwrap_or(by_clock);
        let ticks = (samples as u64 * u64::from(clock_hz) / u64::from(rate)) as u32;
        self.next_timestamp = Some(timestamp.wrapping_add(ticks));
        timestamp
    }
}
