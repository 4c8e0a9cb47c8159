//! Video that a leg sends: its layers, what of it is decoded, and the key frames it owes.

use std::time::{Duration, Instant};

use mcu_api::codec::VideoCodec;
use mcu_api::ids::LegId;
use mcu_api::inventory::VideoStats;
use mcu_api::plan::{Feedback, VideoReceive};
use mcu_rtp::clock::{RoomClock, SourceClock};
use mcu_rtp::forward::{SourceKey, SourcePacket};
use mcu_rtp::header::RtpPacket;
use mcu_rtp::receive::{self, ReceiveStream, Verdict};
use mcu_rtp::rtcp::{self, ReportBlock, SenderInfo};
use mcu_rtp::rtx;
use mcu_rtp::simulcast::{Line, StreamMap};
use mcu_rtp::video::{self, AccessUnit, Depacketizer, KeyFrameStarts};

use crate::playout::Playout;
use crate::rate::Rate;
use crate::screen::FrameCount;

/// RTP clock of video.
const CLOCK_HZ: u32 = 90_000;
/// Most layers of one camera.
const MAX_LAYERS: usize = 4;
/// A layer of which nothing came for this long is not sent any more.
const LAYER_GONE: Duration = Duration::from_millis(1_500);
/// A key frame is asked for again no sooner: one request serves all that wait.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How long a gap is waited for: a retransmission takes a round trip, reordering less. Longer, up to the
/// second, where answers take longer: a key frame would take as long, and be lost as easily.
const WAIT_FOR_RETRANSMISSION: Duration = Duration::from_millis(150);
const LONGEST_WAIT: Duration = Duration::from_millis(700);
/// At least that long where requests and answers are lost, too.
const LOSSY_WAIT: Duration = Duration::from_millis(300);
/// A picture that stands still for longer is noticed.
const FREEZE: Duration = Duration::from_millis(200);
/// Share lost of late from which on pictures are held back so that they come evenly: one in 300.
const SOME_LOSS: f32 = 0.003;
/// Answers that a gap is waited for, where each takes so long.
const ANSWERS: u32 = 3;
const WAIT_FOR_ORDER: Duration = Duration::from_millis(20);

/// A packet of a camera that may be forwarded.
pub struct CameraPacket<'p> {
    /// Its place in its layer.
    pub source: SourcePacket,
    /// What it is coded in.
    pub codec: VideoCodec,
    /// Marker bit.
    pub marker: bool,
    /// Payload.
    pub payload: &'p [u8],
}

/// How tall a forwarded picture is to be, in lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heights {
    /// It is shown so tall.
    pub wanted: u16,
    /// It may not be taller.
    pub ceiling: u16,
}

impl Heights {
    /// Without a ceiling it may be as tall as it comes.
    pub fn new(wanted: u16, ceiling: Option<u16>) -> Self {
        let ceiling = ceiling.unwrap_or(u16::MAX);
        Self { wanted, ceiling }
    }
}

/// A layer that suits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The layer.
    pub key: SourceKey,
    /// Its rate in bit/s.
    pub rate_bps: u32,
    /// What it is coded in.
    pub codec: VideoCodec,
    /// Its width and height, once it told.
    pub size: Option<(u32, u32)>,
}

/// One leg's camera.
pub struct Camera {
    plan: VideoReceive,
    layers: Vec<Layer>,
    streams: StreamMap,
    /// Layer whose pictures are decoded, and the one that takes over at its next key frame.
    decoded: Option<usize>,
    next_decoded: Option<usize>,
    depacketizer: Depacketizer,
    playout: Playout,
    /// When a picture was shown last, and time in which none was for too long.
    shown: Option<Instant>,
    frozen: Duration,
    /// A layer flows that did not, or has another size.
    awoken: bool,
}

impl Camera {
    /// A camera of which nothing came yet.
    pub fn new(leg: LegId, plan: VideoReceive) -> Self {
        let count = plan.rids.len().clamp(1, MAX_LAYERS);
        let nack = plan.feedback.nack;
        let layers = (0..count)
            .map(|n| Layer::new(source_key(leg, n), nack))
            .collect();
        let line = Line {
            mid: plan.mid.clone(),
            rids: plan.rids.clone(),
            payloads: plan
                .payloads
                .iter()
                .map(|p| (p.payload_type, p.rtx))
                .collect(),
        };
        let streams = StreamMap::new(vec![line]);
        let codec = plan
            .payloads
            .first()
            .map_or_else(VideoCodec::default, |p| p.codec);
        Self {
            plan,
            layers,
            streams,
            decoded: None,
            next_decoded: None,
            depacketizer: Depacketizer::new(codec),
            playout: Playout::default(),
            shown: None,
            frozen: Duration::ZERO,
            awoken: false,
        }
    }

    /// Takes a new plan. `false`: more than muting changed, make it anew.
    pub fn update(&mut self, plan: &VideoReceive) -> bool {
        let same = VideoReceive {
            muted: false,
            ..self.plan.clone()
        } == VideoReceive {
            muted: false,
            ..plan.clone()
        };
        self.plan.muted = plan.muted;
        same
    }

    /// Whether a payload type on this transport is the camera's.
    pub fn owns(&self, transport: usize, payload_type: u8) -> bool {
        self.plan.transport == transport
            && self
                .plan
                .payloads
                .iter()
                .any(|p| p.payload_type == payload_type || p.rtx == Some(payload_type))
    }

    /// Takes a packet; what may be forwarded comes back.
    pub fn receive<'p>(
        &mut self,
        now: Instant,
        packet: &RtpPacket<'p>,
        clock: &RoomClock,
    ) -> Option<CameraPacket<'p>> {
        let values = packet.known_extensions(&self.plan.extensions);
        let place = self.streams.route(&packet.header, &values)?;
        let layer = self.layers.get_mut(place.layer)?;
        let (verdict, packet) = match place.repairs {
            Some(repairs) => {
                let original = rtx::unwrap(packet, repairs.ssrc, repairs.payload_type)?;
                let len = original.payload.len();
                (
                    layer
                        .receive
                        .handle_retransmission(now, &original.header, len),
                    original,
                )
            }
            None => (
                layer
                    .receive
                    .handle_packet(now, &packet.header, packet.payload.len()),
                *packet,
            ),
        };
        let Verdict::Fresh(accepted) = verdict else {
            return None;
        };
        let repaired = place.repairs.is_some() || layer.receive.is_behind(accepted.seq);
        // When the beginning of a key frame comes by retransmission, the rest has passed already:
        // whoever waited for it waits for the next.
        let codec = codec_of(&self.plan, packet.header.payload_type);
        let begins = layer.starts.starts(codec, packet.payload);
        let key_frame = begins && !repaired;
        let arrival = Arrival {
            codec,
            begins,
            key_frame,
            repaired,
            restarted: accepted.restarted,
        };
        let known = (layer.is_alive(now), layer.codec, layer.size);
        layer.take(now, &packet, &arrival, clock);
        self.awoken |= known != (true, layer.codec, layer.size);
        if key_frame && self.next_decoded == Some(place.layer) {
            self.decoded = self.next_decoded.take();
            self.depacketizer.reset();
            self.playout.reset();
        }
        if self.decoded == Some(place.layer) {
            self.depacketizer.set_codec(codec);
            self.depacketizer
                .insert(now, &accepted, packet.header.marker, packet.payload);
        }
        Some(CameraPacket {
            codec,
            source: SourcePacket {
                source: self.layers[place.layer].key,
                accepted,
                key_frame,
            },
            marker: packet.header.marker,
            payload: packet.payload,
        })
    }

    /// Whether a layer has begun to flow, or changed its size, since the last call: there is something
    /// new to choose from.
    pub fn take_awoken(&mut self) -> bool {
        std::mem::take(&mut self.awoken)
    }

    /// A sender report of one of the camera's streams.
    pub fn handle_sender_report(&mut self, now: Instant, ssrc: u32, info: &SenderInfo) {
        for layer in &mut self.layers {
            if layer.receive.ssrc() == Some(ssrc) {
                layer.receive.handle_sender_report(now, info);
                layer
                    .clock
                    .handle_sender_report(info.ntp, info.rtp_timestamp);
            }
        }
    }

    /// The mixer played this leg's sound of source time t at room time t + `micros`.
    pub fn set_mixer_offset(&mut self, basis: mcu_rtp::clock::Basis, micros: i64) {
        for layer in &mut self.layers {
            layer.clock.set_mixer_offset(basis, micros);
        }
    }

    /// How much later the leg's sound is mixed than its picture arrives, in ms: of the largest layer
    /// that flows. Layers differ by less than is seen.
    pub fn sound_lag_ms(&self, now: Instant) -> Option<u16> {
        let flowing = self.layers.iter().rev().find(|layer| layer.is_alive(now))?;
        let micros = flowing.clock.sound_lag_micros()?;
        Some((micros / 1_000).clamp(0, u16::MAX.into()) as u16)
    }

    /// Clock of a layer.
    pub fn source_clock(&self, key: SourceKey) -> Option<&SourceClock> {
        self.layers
            .iter()
            .find(|layer| layer.key == key)
            .map(|layer| &layer.clock)
    }

    /// The smallest layer that is as tall as wanted, or the largest there is, within `budget_bps`.
    pub fn best_layer(&self, now: Instant, heights: Heights, budget_bps: u32) -> Option<Chosen> {
        let layer = &self.layers[self.best(now, heights, budget_bps)?];
        Some(Chosen {
            key: layer.key,
            rate_bps: layer.rate.bps(),
            codec: layer.codec,
            size: layer.size,
        })
    }

    fn best(&self, now: Instant, heights: Heights, budget_bps: u32) -> Option<usize> {
        let height = |n: &usize| self.layers[*n].size.map(|(_, height)| height);
        let tall = |n: &usize| height(n).is_none_or(|h| h >= u32::from(heights.wanted));
        let low = |n: &usize| height(n).is_none_or(|h| h <= u32::from(heights.ceiling));
        let flows = |n: &usize| self.layers[*n].is_alive(now);
        // Who sends nothing that is low enough is seen all the same.
        let lowest = (0..self.layers.len()).find(flows)?;
        let alive = |n: &usize| flows(n) && (*n == lowest || low(n));
        let fits = |n: &usize| self.layers[*n].rate.bps() <= budget_bps;
        let mut all = (0..self.layers.len()).filter(alive);
        let enough = all.clone().find(|n| tall(n)).or_else(|| all.next_back())?;
        Some(
            (lowest..=enough)
                .rev()
                .filter(alive)
                .find(fits)
                .unwrap_or(lowest),
        )
    }

    /// Decodes the layer that suits a tile of `height` lines, or nothing.
    pub fn decode_for(&mut self, now: Instant, height: Option<u16>) {
        let Some(height) = height else {
            (self.decoded, self.next_decoded) = (None, None);
            return;
        };
        let wanted = self.best(now, Heights::new(height, None), u32::MAX);
        if wanted.is_some() && wanted != self.decoded {
            if self.next_decoded != wanted
                && let Some(layer) = wanted
            {
                self.layers[layer].wants_key = true;
            }
            self.next_decoded = wanted;
        } else {
            self.next_decoded = None;
        }
    }

    /// Next picture to decode, in order.
    pub fn next_picture(&mut self, now: Instant) -> Option<AccessUnit> {
        let (patience, lossy) = (self.patience(), self.repairs_losses());
        while let Some(unit) = self.depacketizer.poll(now, patience) {
            self.playout.push(now, unit, lossy);
        }
        let unit = self.playout.pop(now)?;
        let passed = self.shown.replace(now);
        let passed = passed.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        // A camera that sends nothing for long is off, and its picture not frozen.
        if passed > FREEZE && passed < LAYER_GONE {
            self.frozen += passed;
        }
        Some(unit)
    }

    /// Time in which no picture was to be decoded for more than 200 ms, though pictures flowed, in ms.
    pub fn frozen_ms(&self) -> u64 {
        self.frozen.as_millis() as u64
    }

    /// Whether what is decoded comes by a line that loses packets, which are asked for again.
    fn repairs_losses(&self) -> bool {
        let layer = self.decoded.and_then(|n| self.layers.get(n));
        self.plan.feedback.nack
            && layer.is_some_and(|layer| layer.receive.recent_loss() > SOME_LOSS)
    }

    fn patience(&self) -> Duration {
        if !self.plan.feedback.nack {
            return WAIT_FOR_ORDER;
        }
        let layer = self.decoded.and_then(|n| self.layers.get(n));
        let answer = layer.map_or(Duration::ZERO, |layer| layer.receive.answer_time());
        let least = match layer.is_some_and(|layer| layer.receive.is_lossy()) {
            true => LOSSY_WAIT,
            false => WAIT_FOR_RETRANSMISSION,
        };
        (answer * ANSWERS).clamp(least, LONGEST_WAIT)
    }

    /// Gives a picture's buffer back.
    pub fn recycle(&mut self, data: Vec<u8>) {
        self.depacketizer.recycle(data);
    }

    /// Somebody needs a key frame of this layer.
    pub fn request_key_of(&mut self, key: SourceKey) {
        for layer in self.layers.iter_mut().filter(|layer| layer.key == key) {
            layer.wants_key = true;
        }
    }

    /// The decoder needs a key frame.
    pub fn request_decoded_key(&mut self) {
        if let Some(layer) = self.decoded.and_then(|n| self.layers.get_mut(n)) {
            layer.wants_key = true;
        }
    }

    /// Everybody needs key frames.
    pub fn request_all_keys(&mut self) {
        self.layers
            .iter_mut()
            .for_each(|layer| layer.wants_key = true);
    }

    /// Appends requests for key frames that are due. `true`: one is due and the line has no
    /// feedback for it.
    pub fn write_key_requests(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        let mut by_signalling = false;
        let (feedback, sender) = (self.plan.feedback, self.plan.feedback_ssrc);
        for layer in &mut self.layers {
            let Some(media) = layer
                .receive
                .ssrc()
                .filter(|_| layer.key_request_is_due(now))
            else {
                continue;
            };
            layer.asked = Some(now);
            if feedback.pli {
                rtcp::write_picture_loss(out, sender, media);
            } else if feedback.fir {
                layer.fir_command = layer.fir_command.wrapping_add(1);
                rtcp::write_full_intra(out, sender, media, layer.fir_command);
            } else {
                by_signalling = true;
            }
        }
        by_signalling
    }

    /// Whether requests for lost packets are due.
    pub fn has_nacks_due(&self, now: Instant) -> bool {
        let mut due = self.layers.iter().filter_map(|l| l.receive.next_timeout());
        due.any(|at| at <= now)
    }

    /// Datagrams in which requests leave, all the same.
    pub fn requests(&self) -> usize {
        let layers = self.layers.iter().map(|layer| layer.receive.requests());
        layers.max().unwrap_or(1)
    }

    /// Appends requests for lost packets that are due.
    pub fn write_nacks(&mut self, now: Instant, out: &mut Vec<u8>) {
        let mut lost = Vec::new();
        for layer in &mut self.layers {
            lost.clear();
            layer.receive.poll_nack(now, &mut lost);
            if let Some(media) = layer.receive.ssrc().filter(|_| !lost.is_empty()) {
                rtcp::write_nack(out, self.plan.feedback_ssrc, media, &lost);
            }
            layer.wants_key |= layer.receive.take_overwhelmed();
        }
    }

    /// Round trip to the leg.
    pub fn set_round_trip(&mut self, round_trip: Duration) {
        for layer in &mut self.layers {
            layer.receive.set_round_trip(round_trip);
        }
    }

    /// Appends report blocks about everything received.
    pub fn report(&mut self, now: Instant, blocks: &mut Vec<ReportBlock>) {
        blocks.extend(
            self.layers
                .iter_mut()
                .filter_map(|layer| layer.receive.report_block(now)),
        );
    }

    /// Feedback that was agreed on.
    pub fn feedback(&self) -> Feedback {
        self.plan.feedback
    }

    /// SSRC under which feedback about the camera leaves.
    pub fn feedback_ssrc(&self) -> u32 {
        self.plan.feedback_ssrc
    }

    /// SSRC of a layer that was heard.
    pub fn media_ssrc(&self) -> Option<u32> {
        self.layers.iter().find_map(|layer| layer.receive.ssrc())
    }

    /// Index of the transport.
    pub fn transport(&self) -> usize {
        self.plan.transport
    }

    /// Figures of all layers: packets, bytes, lost; worst loss and jitter.
    pub fn stats(&self) -> Vec<receive::Stats> {
        self.layers
            .iter()
            .map(|layer| layer.receive.stats())
            .collect()
    }

    /// Size and frame rate of the largest layer that flows.
    pub fn video_stats(&mut self, now: Instant) -> VideoStats {
        let key_frames = self.layers.iter().map(|layer| layer.key_frames).sum();
        let alive = self
            .layers
            .iter_mut()
            .rev()
            .find(|layer| layer.is_alive(now));
        let Some(layer) = alive else {
            return VideoStats {
                key_frames,
                ..VideoStats::default()
            };
        };
        let (width, height) = layer.size.unwrap_or_default();
        VideoStats {
            width: width as u16,
            height: height as u16,
            frames_per_second: layer.frames.rate(now),
            key_frames,
        }
    }
}

/// Codec of a payload type; the line has no other than those of its plan.
fn codec_of(plan: &VideoReceive, payload_type: u8) -> VideoCodec {
    let mut payloads = plan.payloads.iter();
    let found = payloads.find(|payload| payload.payload_type == payload_type);
    found.map_or_else(VideoCodec::default, |payload| payload.codec)
}

/// One encoding of the camera's picture.
struct Layer {
    key: SourceKey,
    /// Of its last packet.
    codec: VideoCodec,
    receive: ReceiveStream,
    clock: SourceClock,
    starts: KeyFrameStarts,
    size: Option<(u32, u32)>,
    heard: Option<Instant>,
    rate: Rate,
    frames: FrameCount,
    key_frames: u64,
    wants_key: bool,
    asked: Option<Instant>,
    fir_command: u8,
}

/// How a packet came.
struct Arrival {
    codec: VideoCodec,
    /// A key frame begins in it.
    begins: bool,
    /// One that can be followed from here.
    key_frame: bool,
    /// By retransmission.
    repaired: bool,
    /// The source began anew with it.
    restarted: bool,
}

impl Layer {
    fn new(key: SourceKey, nack: bool) -> Self {
        Self {
            key,
            codec: VideoCodec::default(),
            receive: ReceiveStream::new(receive::Config {
                clock_hz: CLOCK_HZ,
                nack,
            }),
            clock: SourceClock::new(CLOCK_HZ),
            starts: KeyFrameStarts::default(),
            size: None,
            heard: None,
            rate: Rate::default(),
            frames: FrameCount::default(),
            key_frames: 0,
            wants_key: false,
            asked: None,
            fir_command: 0,
        }
    }

    fn take(&mut self, now: Instant, packet: &RtpPacket<'_>, arrival: &Arrival, clock: &RoomClock) {
        if arrival.restarted {
            // Other numbers from another beginning: what was known of the source's time is void.
            self.clock = SourceClock::new(CLOCK_HZ);
        }
        if !arrival.repaired {
            self.clock
                .handle_packet(now, clock, packet.header.timestamp);
        }
        self.heard = Some(now);
        self.codec = arrival.codec;
        self.rate.add(now, packet.payload.len());
        self.frames.add(packet.header.marker);
        if arrival.begins
            && let Some(size) = video::picture_size(arrival.codec, packet.payload)
        {
            self.size = Some(size);
            // Of H.261 none is known to be one.
            self.key_frames += u64::from(arrival.codec != VideoCodec::H261);
        }
        self.wants_key &= !arrival.key_frame;
    }

    fn is_alive(&self, now: Instant) -> bool {
        self.heard
            .is_some_and(|at| now.saturating_duration_since(at) < LAYER_GONE)
    }

    fn key_request_is_due(&self, now: Instant) -> bool {
        self.wants_key
            && self
                .asked
                .is_none_or(|at| now.saturating_duration_since(at) >= ASK_AGAIN)
    }
}

/// Names a layer on this processor: leg ids are unique, layers are few.
pub fn source_key(leg: LegId, layer: usize) -> SourceKey {
    SourceKey(leg.0 * MAX_LAYERS as u64 + layer as u64)
}

/// The leg of a layer.
pub fn leg_of(key: SourceKey) -> LegId {
    LegId(key.0 / MAX_LAYERS as u64)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use mcu_api::codec::VideoCodec;
    use mcu_api::plan::{HeaderExtensions, VideoPayload};

    use super::*;

    fn camera() -> Camera {
        let plan = VideoReceive {
            transport: 0,
            mid: None,
            payloads: vec![VideoPayload {
                payload_type: 97,
                codec: VideoCodec::H264,
                rtx: None,
            }],
            rids: Vec::new(),
            feedback: Feedback::default(),
            extensions: HeaderExtensions::default(),
            feedback_ssrc: 1,
            muted: false,
        };
        Camera::new(LegId(1), plan)
    }

    /// Defect: who showed a picture in a new media process asked for its key frame up to half a second
    /// after the first packet.
    #[test]
    fn a_layer_that_begins_to_flow_or_comes_back_is_news_once() {
        let start = Instant::now();
        let clock = RoomClock::new(start, SystemTime::now());
        let mut camera = camera();
        let mut receive = |sequence: u8, after: Duration| {
            let bytes = [
                0x80, 97, 0, sequence, 0, 0, 0, sequence, 0, 0, 0, 9, 0x41, 1,
            ];
            let packet = RtpPacket::parse(&bytes).unwrap();
            camera.receive(start + after, &packet, &clock);
            camera.take_awoken()
        };
        let soon = Duration::from_millis(33);
        assert!(receive(1, Duration::ZERO));
        assert!(!receive(2, soon) && !receive(3, 2 * soon));
        assert!(receive(4, 3 * soon + LAYER_GONE));
    }

    /// Defect: a slot of 480 lines was sent the layer of 720 that fills it, whatever the room allows.
    #[test]
    fn no_layer_above_the_ceiling_is_chosen_while_a_lower_one_flows() {
        let now = Instant::now();
        let mut camera = camera();
        camera.layers = [180, 360, 720]
            .into_iter()
            .enumerate()
            .map(|(n, height)| Layer {
                size: Some((height * 16 / 9, height)),
                heard: Some(now),
                ..Layer::new(source_key(LegId(1), n), false)
            })
            .collect();
        let best = |camera: &Camera, wanted, ceiling| {
            camera.best(now, Heights::new(wanted, ceiling), u32::MAX)
        };
        assert_eq!(best(&camera, 480, None), Some(2));
        assert_eq!(best(&camera, 480, Some(540)), Some(1));
        assert_eq!(best(&camera, 720, Some(360)), Some(1));
        assert_eq!(best(&camera, 180, Some(720)), Some(0));
        assert_eq!(
            best(&camera, 720, Some(100)),
            Some(0),
            "better than nothing"
        );
        camera.layers[1].size = Some((854, 480));
        assert_eq!(best(&camera, 720, Some(360)), Some(0));
    }
}
