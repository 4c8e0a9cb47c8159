//! From the mixer to the leg: its encoder, or the one that it shares, and its packets.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use mcu_api::codec::AudioCodec;
use mcu_api::plan::{AudioSend, AudioStream};
use mcu_rtp::clock::RoomClock;
use mcu_rtp::red;
use mcu_rtp::rtcp::ReportBlock;
use mcu_rtp::send::{self, Media, Place, SendStream, Stamp};

use super::SoundError;
use crate::audio::mixer::{RATE_HZ, Tick};
use crate::audio::{self, Encoder, Resampler};
use crate::shared_encoders::{self, Key, SharedEncoders};

/// Share of packets lost from which on our sound has copies where they are agreed on, how many it has from
/// which share on, and how slowly what was reported is forgotten.
const COPIES: [(f32, usize); 3] = [(0.2, 3), (0.06, 2), (0.005, 1)];
const LOSS_KEPT: f32 = 0.8;
/// Bytes of a packet with copies.
const MAX_REDUNDANT: usize = 1_100;
/// Opus is heard well enough from here on, in bit/s.
const LEAST_OPUS_BPS: u32 = 16_000;
/// Our timestamps are counted; further from the clock than this they are set anew.
const MAX_DRIFT: Duration = Duration::from_millis(100);

/// From the mixer to the leg.
pub(super) struct Mouth {
    pub(super) plan: AudioSend,
    pub(super) stream: SendStream,
    pub(super) encoder: Encoder,
    pub(super) resampler: Resampler,
    /// At the codec's rate, not encoded yet; at most a packet and a tick.
    pub(super) samples: Vec<i16>,
    payload: Vec<u8>,
    next_timestamp: Option<u32>,
    talking: bool,
    /// Loss in per cent that the encoder guards against.
    expected_loss: u8,
    /// The encoder whose payloads it sends, while it hears what other listeners hear.
    shared: Option<Key>,
    /// The next packet is the first of its own encoder since it shared one.
    is_new_source: bool,
    /// Share lost, that copies guard against.
    loss: f32,
    /// What was sent last, with its timestamps, newest first; kept where copies are agreed on.
    sent: VecDeque<(u32, Vec<u8>)>,
    redundant: Vec<u8>,
    /// Bits a second that the line takes, where that is less than was agreed on.
    budget: Option<u32>,
}

fn open_encoder(send: &AudioSend, faithful: bool) -> Result<Encoder, audio::OpenError> {
    let open = if faithful {
        Encoder::faithful
    } else {
        Encoder::new
    };
    open(send.codec, send.ptime_ms, send.bitrate_bps)
}

impl Mouth {
    pub(super) fn new(
        send: AudioSend,
        plan: &AudioStream,
        places: &[Place],
    ) -> Result<Self, SoundError> {
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
        let mut stream = SendStream::new(config, &mut rand::rng());
        if let Some(place) = places.iter().find(|place| place.ssrc == send.ssrc) {
            stream.go_on_from(place);
        }
        Ok(Self {
            plan: send,
            stream,
            encoder: open_encoder(&send, plan.faithful)?,
            resampler: Resampler::new(RATE_HZ, send.codec.sample_rate_hz())?,
            samples: Vec::new(),
            payload: Vec::new(),
            next_timestamp: None,
            talking: false,
            expected_loss: 0,
            shared: None,
            is_new_source: false,
            loss: 0.0,
            sent: VecDeque::new(),
            redundant: Vec::new(),
            budget: None,
        })
    }

    pub(super) fn set_budget(&mut self, budget_bps: Option<u32>) {
        if self.budget == budget_bps {
            return;
        }
        self.budget = budget_bps;
        if self.plan.codec != AudioCodec::Opus {
            return;
        }
        let most = budget_bps.unwrap_or(u32::MAX).max(LEAST_OPUS_BPS);
        let bitrate = self.plan.bitrate_bps.min(most);
        if let Err(error) = self.encoder.set_bitrate(bitrate) {
            tracing::warn!(%error, "rate of sound not changed");
        }
    }

    /// Goes on with another encoder. What the old one held of the last packet is lost, which is heard
    /// as little as a lost packet.
    pub(super) fn change_aim(&mut self, faithful: bool) {
        let opened = open_encoder(&self.plan, faithful);
        match opened {
            Ok(encoder) => {
                self.encoder = encoder;
                let budget = self.budget.take();
                self.set_budget(budget);
            }
            Err(error) => tracing::error!(%error, "no encoder for sound"),
        }
        if self.expected_loss > 0
            && let Err(error) = self.encoder.set_expected_loss(self.expected_loss)
        {
            tracing::warn!(%error, "loss not told to the encoder");
        }
    }

    pub(super) fn handle_report(&mut self, now: Instant, block: &ReportBlock, clock: &RoomClock) {
        self.stream.handle_report_block(now, block, clock);
        if block.ssrc == self.stream.ssrc() {
            let lost = self.stream.stats().fraction_lost;
            self.loss = lost.max(self.loss * LOSS_KEPT);
        }
        let loss = (self.stream.stats().fraction_lost * 100.0).round() as u8;
        if loss != self.expected_loss {
            self.expected_loss = loss;
            if let Err(error) = self.encoder.set_expected_loss(loss) {
                tracing::warn!(%error, "loss not told to the encoder");
            }
        }
    }

    pub(super) fn write(
        &mut self,
        (now, due): (Instant, Instant),
        clock: &RoomClock,
        stamp: Stamp,
        out: &mut Vec<u8>,
    ) -> bool {
        let frame = self.encoder.frame_samples();
        if self.samples.len() < frame {
            return false;
        }
        self.payload.clear();
        let encoded = self
            .encoder
            .encode(&self.samples[..frame], &mut self.payload);
        self.samples.drain(..frame);
        if std::mem::take(&mut self.is_new_source)
            && let Err(error) = self.encoder.set_independent(false)
        {
            tracing::warn!(%error, "sound costs more than it should");
        }
        if let Err(error) = encoded {
            tracing::warn!(%error, "sound not encoded");
            self.timestamp(due, clock, frame);
            return false;
        }
        self.send((now, due), clock, frame, stamp, out);
        true
    }

    /// Writes a packet of the payload, which has so many samples.
    pub(super) fn send(
        &mut self,
        (now, due): (Instant, Instant),
        clock: &RoomClock,
        samples: usize,
        stamp: Stamp,
        out: &mut Vec<u8>,
    ) {
        let timestamp = self.timestamp(due, clock, samples);
        // RFC 3551 §4.1: the marker is on the first packet of a talk spurt; ours never pauses.
        let marker = !std::mem::replace(&mut self.talking, true);
        let copies = self.add_copies(timestamp);
        let media = Media {
            timestamp,
            marker,
            payload: if copies {
                &self.redundant
            } else {
                &self.payload
            },
            whole: None,
        };
        self.stream.write(now, &media, stamp, out);
    }

    /// With whom it shares an encoder while it hears what others hear: whose line is narrow or loses packets
    /// has one of its own, which minds that.
    fn key(&self, faithful: bool) -> Option<Key> {
        let shares = shared_encoders::can_share(self.plan.codec, self.plan.ptime_ms);
        let [.., (least, _)] = COPIES;
        let is_clear = self.expected_loss == 0 && self.loss < least && self.budget.is_none();
        (shares && is_clear).then_some(Key {
            codec: self.plan.codec,
            bitrate_bps: self.plan.bitrate_bps,
            faithful,
        })
    }

    /// Before anything is encoded in a tick: whether it hears in it what other listeners hear.
    pub(super) fn listen(&mut self, listens: bool, faithful: bool, encoders: &mut SharedEncoders) {
        let key = self.key(faithful).filter(|_| listens);
        if key == self.shared {
            return;
        }
        if let Some(key) = key {
            let before = self.shared.and_then(|before| encoders.last(before));
            let resampler = before.map_or(&self.resampler, |(resampler, _)| resampler);
            let resampler = resampler.clone();
            if encoders.join(key, &resampler) {
                (self.shared, self.resampler) = (Some(key), resampler);
                self.samples.clear();
                return;
            }
        }
        self.stop_sharing(encoders);
    }

    /// Goes on with its own encoder, which stood still meanwhile.
    fn stop_sharing(&mut self, encoders: &SharedEncoders) {
        let before = self.shared.take().and_then(|before| encoders.last(before));
        let Some((resampler, samples)) = before else {
            return;
        };
        self.resampler = resampler.clone();
        self.samples.clear();
        // It encodes what the leg heard last, for what it is to remember; nobody gets that again.
        self.payload.clear();
        let mut ticks = samples.chunks_exact(self.encoder.frame_samples());
        let encoded = ticks.try_for_each(|tick| self.encoder.encode(tick, &mut self.payload));
        let told = encoded.and_then(|()| self.encoder.set_independent(true));
        if let Err(error) = told {
            tracing::warn!(%error, "sound goes on with a step");
        }
        self.is_new_source = true;
    }

    /// Takes this tick's payload from the encoder that it shares. `false`: it shares none.
    pub(super) fn take_shared(&mut self, encoders: &mut SharedEncoders, pcm: &Tick) -> bool {
        let Some(key) = self.shared else {
            return false;
        };
        let Some(payload) = encoders.payload(key, pcm) else {
            self.stop_sharing(encoders);
            return false;
        };
        self.payload.clear();
        self.payload.extend_from_slice(payload);
        true
    }

    /// Puts copies before what is to be sent, where they are agreed on and packets are lost. Whether there
    /// are some.
    fn add_copies(&mut self, timestamp: u32) -> bool {
        let Some(red_type) = self.plan.red else {
            return false;
        };
        // Copies on a line that is too narrow would be what it loses.
        let loss = if self.budget.is_some() {
            0.0
        } else {
            self.loss
        };
        let wanted = COPIES.iter().find(|(from, _)| loss >= *from);
        let wanted = wanted.map_or(0, |(_, copies)| *copies).min(self.sent.len());
        // What is longer than a datagram is lost by parts.
        let lengths = self
            .sent
            .iter()
            .take(wanted)
            .scan(self.payload.len(), |all, (_, copy)| {
                *all += copy.len();
                Some(*all)
            });
        let wanted = lengths.take_while(|all| *all <= MAX_REDUNDANT).count();
        let payload_type = self.plan.payload_type;
        if wanted > 0 {
            let copies = self.sent.iter().take(wanted).rev();
            let copies = copies.map(|(at, copy)| (timestamp.wrapping_sub(*at), copy.as_slice()));
            self.redundant.clear();
            red::write(payload_type, copies, &self.payload, &mut self.redundant);
        }
        let is_full = self.sent.len() >= red::MAX_COPIES;
        let oldest = is_full.then(|| self.sent.pop_back()).flatten();
        let mut last = oldest.map(|(_, buffer)| buffer).unwrap_or_default();
        last.clear();
        last.extend_from_slice(&self.payload);
        self.sent.push_front((timestamp, last));
        self.stream
            .set_payload_type(if wanted > 0 { red_type } else { payload_type });
        wanted > 0
    }

    fn timestamp(&mut self, due: Instant, clock: &RoomClock, samples: usize) -> u32 {
        let (clock_hz, rate) = (
            self.plan.codec.rtp_clock_hz(),
            self.plan.codec.sample_rate_hz(),
        );
        let by_clock = self.stream.timestamp(clock, clock.ntp(due));
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
