//! Video that we send to a leg: the room's composition for a terminal, one forwarded site in each
//! slot of a browser.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mcu_api::codec::{PacketizationMode, VideoClass, VideoCodec};
use mcu_api::ids::LegId;
use mcu_api::plan::{Notice, VideoSend, VideoSource};
use mcu_rtp::clock::{NtpTime, RoomClock, SourceClock};
use mcu_rtp::forward::{Forwarder, SourceKey, SourcePacket};
use mcu_rtp::rtcp::{ReportBlock, SenderInfo};
use mcu_rtp::send::{self, Media, Place, Rtx, SendStream, Stamp};
use mcu_rtp::seq::ExtSeq;
use mcu_rtp::video::Packetizer;
use mcu_rtp::vp8;

use crate::camera::{CameraPacket, Chosen, Heights};
use crate::picture::{Encoded, Scene, ViewName};
use crate::temporal::{self, Share};
use crate::transcode::{self, Classes};

/// RTP clock of video.
const CLOCK_HZ: u32 = 90_000;
const MILLISECOND: i32 = 90;
/// Packets kept for NACK: a second of 4 Mbit/s.
const KEPT_PACKETS: usize = 512;
const KEPT_FOR: Duration = Duration::from_millis(1_500);

/// Who loses packets and can ask for nothing is sent a key frame no oftener than this.
const REFRESH: Duration = Duration::from_secs(2);
/// Loss from which on that is done, in 1/256, and for how long after the last of it.
const EXPOSED_FROM: u8 = 3;
const EXPOSED_FOR: Duration = Duration::from_secs(30);

/// A packet that is to leave.
pub struct Outgoing<'a> {
    /// RTP timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// Payload.
    pub payload: &'a [u8],
}

/// A packet of a camera on its way to screens.
#[derive(Clone, Copy)]
pub struct Passing<'p> {
    /// What the camera made of it.
    pub packet: &'p CameraPacket<'p>,
    /// All of it, in which the payload lies.
    pub whole: &'p Bytes,
    /// Of the camera.
    pub source_clock: &'p SourceClock,
    /// Of the room.
    pub room_clock: &'p RoomClock,
}

/// One sent video stream.
pub struct Screen {
    plan: VideoSend,
    stream: SendStream,
    forwarder: Forwarder,
    /// Of pictures of our own making, once there is one.
    packetizer: Option<(VideoCodec, Packetizer)>,
    /// A leg whose codec the line does not take, and the class in which it is encoded anew.
    anew: Option<(LegId, VideoClass)>,
    /// Packets are lost on the way to a peer that can ask for nothing.
    is_exposed: bool,
    /// When it reported loss last.
    lost: Option<Instant>,
    /// When it was last sent a key frame for that.
    refreshed: Option<Instant>,
    /// In place of the plan's class, where the line does not take its rate.
    reduced: Reduced,
    /// The class of somebody else of which it takes every second picture, in place of one of its own.
    base: Option<(VideoClass, Share)>,
    /// Timestamp of the last picture.
    last_timestamp: Option<u32>,
    /// The peer asked for a key frame.
    wants_key: bool,
    /// Pictures came of another encoder until now: what leads on from its own shows nothing.
    awaits_key: bool,
    frames: FrameCount,
    numbers: PictureNumbers,
}

/// What is shown in place of the class of the plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Reduced {
    /// It is shown as planned.
    #[default]
    No,
    /// One of fewer bits.
    To(VideoClass),
    /// Nothing: the line takes sound alone.
    ToNothing,
}

/// Numbers of the pictures of VP8, which go on whatever is shown.
#[derive(Default)]
struct PictureNumbers {
    numbers: vp8::Numbers,
    /// Whose picture was numbered last: a source's, or one of our own making.
    last: Option<Option<SourceKey>>,
    payload: Vec<u8>,
}

impl PictureNumbers {
    /// The payload under the output's number.
    fn number(&mut self, payload: &[u8], source: Option<SourceKey>, begins: bool) -> &[u8] {
        let switched = begins || self.last != Some(source);
        self.last = Some(source);
        self.payload.clear();
        self.payload.extend_from_slice(payload);
        self.numbers.rewrite(&mut self.payload, switched);
        &self.payload
    }
}

impl Screen {
    /// A stream that goes on at its SSRC's place among `places`, or begins at random.
    pub fn new(plan: VideoSend, places: &[Place]) -> Self {
        let config = send::Config {
            ssrc: plan.ssrc,
            payload_type: plan.payload_type,
            clock_hz: CLOCK_HZ,
            rtx: plan
                .rtx
                .zip(plan.rtx_ssrc)
                .map(|(payload_type, ssrc)| Rtx { payload_type, ssrc }),
            extensions: plan.extensions,
            mid: plan.mid.clone(),
            kept_packets: if plan.feedback.nack { KEPT_PACKETS } else { 0 },
            kept_for: KEPT_FOR,
        };
        let mut stream = SendStream::new(config, &mut rand::rng());
        if let Some(place) = places.iter().find(|place| place.ssrc == plan.ssrc) {
            stream.go_on_from(place);
        }
        let forwarder = Forwarder::new(CLOCK_HZ, stream.next_sequence(), stream.timestamp_offset());
        let frames = FrameCount::default();
        Self {
            plan,
            stream,
            forwarder,
            packetizer: None,
            anew: None,
            is_exposed: false,
            lost: None,
            refreshed: None,
            reduced: Reduced::No,
            base: None,
            last_timestamp: None,
            wants_key: true,
            awaits_key: false,
            frames,
            numbers: PictureNumbers::default(),
        }
    }

    /// Takes a new plan. `false`: more than the source changed, make it anew.
    pub fn update(&mut self, plan: &VideoSend) -> bool {
        let same_stream = VideoSend {
            source: None,
            ..self.plan.clone()
        } == VideoSend {
            source: None,
            ..plan.clone()
        };
        if !same_stream {
            return false;
        }
        if self.plan.source != plan.source {
            let before = self.forwarded_leg().map(|(leg, _)| leg);
            let is_encoded = self.class().is_some();
            self.plan.source.clone_from(&plan.source);
            self.base = None;
            // Of the same leg in another height nothing begins anew before a layer or a class is chosen.
            let goes_on = before.is_some() && before == self.forwarded_leg().map(|(leg, _)| leg);
            if !goes_on {
                // An encoder that others have may be in the middle of its pictures.
                self.awaits_key |= is_encoded;
                self.wants_key = true;
            }
            if self.forwarded_leg().is_none() {
                self.forwarder.want(None);
                self.encode(None);
            }
        }
        true
    }

    /// What the plan says of it.
    pub fn plan(&self) -> &VideoSend {
        &self.plan
    }

    /// The encoder's class, for what we encode ourselves.
    pub fn class(&self) -> Option<&VideoClass> {
        let base = self.base.as_ref().map(|(class, _)| class);
        base.or(self.own_class())
    }

    /// The same where no encoder is shared between receivers of more and of fewer pictures.
    pub fn own_class(&self) -> Option<&VideoClass> {
        match (&self.plan.source, &self.reduced) {
            (Some(VideoSource::Composition { class, .. }), Reduced::No) => Some(class),
            (Some(VideoSource::Composition { .. }), Reduced::To(class)) => Some(class),
            (Some(VideoSource::Composition { .. }), Reduced::ToNothing) => None,
            _ => self.anew.as_ref().map(|(_, class)| class),
        }
    }

    /// The class that the plan wants of the composed picture.
    pub fn planned_class(&self) -> Option<&VideoClass> {
        match &self.plan.source {
            Some(VideoSource::Composition { class, .. }) => Some(class),
            _ => None,
        }
    }

    /// What is shown in its place.
    pub fn reduced(&self) -> &Reduced {
        &self.reduced
    }

    /// What is shown in place of the plan's class where that is to be one. Who can neither ask for lost packets
    /// nor for key frames gets slices that fit a packet, once some are lost: each costs a strip of the
    /// picture then, and not all of it. Packets of one NAL unit are read by everybody (RFC 6184 §6.2).
    pub fn hardened(&self, class: VideoClass) -> Reduced {
        let to = match self.is_exposed {
            true => VideoClass {
                packetization: PacketizationMode::SingleNal,
                ..class
            },
            false => class,
        };
        match self.planned_class() == Some(&to) {
            true => Reduced::No,
            false => Reduced::To(to),
        }
    }

    /// Shows this in place of the plan's class from now on. Another encoder's pictures begin with a key
    /// frame.
    pub fn reduce(&mut self, to: Reduced) {
        if self.reduced != to {
            self.reduced = to;
            self.base = None;
            self.change_scene();
        }
    }

    /// Takes every second picture of this class from now on, or those of its own.
    pub fn set_base(&mut self, base: Option<VideoClass>) {
        if self.base.as_ref().map(|(class, _)| class) != base.as_ref() {
            self.base = base.map(|class| (class, Share::default()));
            self.change_scene();
        }
    }

    /// Whether it takes every second picture of its encoder.
    pub fn takes_base(&self) -> bool {
        self.base.is_some()
    }

    /// Whether it takes a picture of its scene: of an encoder of more pictures not all are for it.
    pub fn takes(&mut self, composed_at: Instant, droppable: bool) -> bool {
        let own = self.own_class().map(|own| own.frame_rate);
        let share = self.base.as_mut().map(|(_, share)| share);
        share
            .zip(own)
            .is_none_or(|(share, own)| share.takes(composed_at, own, droppable))
    }

    /// The bytes of a picture of its scene, under the level that it takes.
    pub fn levelled<'p>(&self, picture: &'p Encoded) -> Cow<'p, [u8]> {
        match self.base.as_ref().and(self.own_class()) {
            Some(own) if picture.key => temporal::at_level(&picture.bytes, own.level_idc).into(),
            _ => Cow::Borrowed(&picture.bytes),
        }
    }

    /// Which of the room's composed pictures it shows, and in what class of its own.
    pub fn composed(&self) -> Option<(&ViewName, &VideoClass)> {
        self.planned_class()?;
        Some((self.view(), self.own_class()?))
    }

    /// Which of the room's composed pictures it shows, if it shows one.
    fn view(&self) -> &ViewName {
        match &self.plan.source {
            Some(VideoSource::Composition { view, .. }) => view,
            _ => &None,
        }
    }

    /// What we encode for it ourselves, where it is told this instead of the meeting.
    pub fn scene(&self, notice: Option<Notice>) -> Option<Scene> {
        Some(Scene {
            class: self.class()?.clone(),
            notice,
            leg: self.anew.as_ref().map(|(leg, _)| *leg),
            view: match notice {
                Some(_) => None,
                None => self.view().clone(),
            },
        })
    }

    /// Whether it shows this.
    pub fn shows(&self, scene: &Scene, notice: Option<Notice>) -> bool {
        let leg = self.anew.as_ref().map(|(leg, _)| *leg);
        self.class() == Some(&scene.class)
            && leg == scene.leg
            && notice == scene.notice
            && (notice.is_some() || *self.view() == scene.view)
    }

    /// A leg that is encoded anew for it, and the lines of the picture.
    pub fn shown_alone(&self) -> Option<(LegId, u16)> {
        let (leg, class) = self.anew.as_ref()?;
        Some((*leg, class.height))
    }

    /// A leg that is encoded anew for it, and in which class.
    pub fn encoded_anew(&self) -> Option<(LegId, VideoClass)> {
        self.anew.clone()
    }

    /// What it takes to show this layer, in bit/s: its own rate, or that of the class in which it would be
    /// encoded anew.
    pub fn ideal_bps(&self, chosen: &Chosen, heights: Heights) -> u32 {
        if chosen.codec == self.plan.codec {
            return chosen.rate_bps;
        }
        transcode::class(&self.plan, chosen, heights, u32::MAX, None).bitrate_bps
    }

    /// Shows this layer of a leg, or nothing: forwarded where the line takes its codec, else encoded anew
    /// for so tall a picture in so many bits a second, in one of the room's classes.
    pub fn choose(
        &mut self,
        wanted: Option<(LegId, Chosen)>,
        heights: Heights,
        budget_bps: u32,
        classes: &mut Classes,
    ) {
        let is_foreign = |chosen: &Chosen| chosen.codec != self.plan.codec;
        let foreign = wanted.filter(|(_, chosen)| is_foreign(chosen));
        let anew = foreign.map(|(leg, chosen)| {
            let held = self.anew.as_ref().filter(|(known, _)| *known == leg);
            let held = held.map(|(_, class)| class);
            let class = transcode::class(&self.plan, &chosen, heights, budget_bps, held);
            (leg, classes.settle(leg, class))
        });
        let forwarded = wanted
            .filter(|_| anew.is_none())
            .map(|(_, chosen)| chosen.key);
        self.encode(anew);
        self.forwarder.want(forwarded);
    }

    /// What was encoded until now took numbers that the forwarder does not know.
    fn encode(&mut self, anew: Option<(LegId, VideoClass)>) {
        if anew != self.anew {
            let next = self.stream.next_sequence();
            self.forwarder.go_on_from(next, self.last_timestamp);
            self.anew = anew;
            self.change_scene();
        }
    }

    /// The leg that is to be forwarded, and how tall.
    pub fn forwarded_leg(&self) -> Option<(LegId, Heights)> {
        match &self.plan.source {
            Some(VideoSource::Forward {
                leg,
                max_height,
                ceiling,
            }) => {
                let mut heights = Heights::new(*max_height, *ceiling);
                heights.ceiling = heights.ceiling.min(self.plan.limits.max_height());
                Some((*leg, heights))
            }
            _ => None,
        }
    }

    /// The forwarder, to tell it which layer is wanted.
    pub fn forwarder(&mut self) -> &mut Forwarder {
        &mut self.forwarder
    }

    /// The source that is forwarded now.
    pub fn showing(&self) -> Option<SourceKey> {
        self.forwarder.showing()
    }

    /// SSRC of the stream.
    pub fn ssrc(&self) -> u32 {
        self.stream.ssrc()
    }

    /// The peer asks for a key frame, if the SSRC is ours.
    pub fn handle_key_request(&mut self, ssrc: u32) {
        if ssrc == self.stream.ssrc() {
            self.wants_key = true;
        }
    }

    /// Asks for a key frame on the peer's behalf.
    pub fn want_key(&mut self) {
        self.wants_key = true;
    }

    /// The stream shows something else from now on, which begins with a key frame.
    pub fn change_scene(&mut self) {
        self.wants_key = true;
        self.awaits_key = true;
    }

    /// Whether an encoded picture can be shown after what was sent before.
    pub fn can_show(&mut self, key: bool) -> bool {
        self.awaits_key &= !key;
        !self.awaits_key
    }

    /// Whether a key frame was asked for since the last call.
    pub fn take_key_request(&mut self) -> bool {
        std::mem::take(&mut self.wants_key)
    }

    /// RTP timestamp of a composed picture.
    pub fn timestamp(&self, clock: &RoomClock, at: NtpTime) -> u32 {
        let nominal = self.stream.timestamp(clock, at);
        // What was forwarded before may be stamped ahead of its arrival, by as much as its sound lags.
        match self.last_timestamp {
            Some(last) if (nominal.wrapping_sub(last) as i32) < MILLISECOND => {
                last.wrapping_add(MILLISECOND as u32)
            }
            _ => nominal,
        }
    }

    /// Lends the packetizer, while the packets it makes are written by this screen.
    pub fn take_packetizer(&mut self) -> (VideoCodec, Packetizer) {
        let codec = self
            .class()
            .map_or_else(VideoCodec::default, |class| class.codec);
        let kept = self.packetizer.take().filter(|(of, _)| *of == codec);
        kept.unwrap_or_else(|| (codec, Packetizer::new(codec, self.plan.packetization)))
    }

    /// Takes the packetizer back, for its buffers and numbers.
    pub fn return_packetizer(&mut self, packetizer: (VideoCodec, Packetizer)) {
        self.packetizer = Some(packetizer);
    }

    /// Writes the next packet of our own making into `out`.
    pub fn write(&mut self, now: Instant, media: &Outgoing<'_>, stamp: Stamp, out: &mut Vec<u8>) {
        self.frames.add(media.marker);
        self.last_timestamp = Some(media.timestamp);
        let payload = match self.plan.codec {
            VideoCodec::Vp8 => self.numbers.number(media.payload, None, false),
            _ => media.payload,
        };
        let media = Media {
            timestamp: media.timestamp,
            marker: media.marker,
            payload,
            whole: None,
        };
        self.stream.write(now, &media, stamp, out);
    }

    /// Writes a source's packet into `out`, if this stream shows that source. `false`: nothing.
    pub fn forward(
        &mut self,
        now: Instant,
        passing: &Passing<'_>,
        stamp: Stamp,
        out: &mut Vec<u8>,
    ) -> bool {
        let packet = passing.packet;
        let clocks = (passing.source_clock, passing.room_clock);
        let Some(place) = self.forwarder.forward(&packet.source, clocks.0, clocks.1) else {
            return false;
        };
        self.frames.add(packet.marker);
        self.last_timestamp = Some(place.timestamp);
        let (payload, whole) = match self.plan.codec {
            VideoCodec::Vp8 => {
                let source = Some(packet.source.source);
                let numbered = self.numbers.number(packet.payload, source, place.switched);
                (numbered, None)
            }
            _ => (packet.payload, Some(passing.whole)),
        };
        let media = Media {
            timestamp: place.timestamp,
            marker: packet.marker,
            payload,
            whole,
        };
        self.stream.write_at(now, place.seq, &media, stamp, out);
        true
    }

    /// Sources of which the forwarder takes packets, or will from a key frame on.
    pub fn sources(&self) -> impl Iterator<Item = SourceKey> {
        let awaited = self.forwarder.awaits_key_frame();
        self.forwarder.showing().into_iter().chain(awaited)
    }

    /// Whether the forwarder would take the packet: spares the stamp of one that it would not.
    pub fn is_shown(&self, packet: &SourcePacket) -> bool {
        self.forwarder.showing() == Some(packet.source)
            || packet.key_frame && self.forwarder.awaits_key_frame() == Some(packet.source)
    }

    /// Packets to send again after a NACK.
    pub fn handle_nack(
        &mut self,
        now: Instant,
        lost: impl Iterator<Item = u16>,
        resend: &mut Vec<ExtSeq>,
    ) {
        self.stream.handle_nack(now, lost, resend);
    }

    /// Writes a packet once more; `false` when it is gone.
    pub fn write_again(
        &mut self,
        now: Instant,
        seq: ExtSeq,
        stamp: Stamp,
        out: &mut Vec<u8>,
    ) -> bool {
        self.stream.write_again(now, seq, stamp, out)
    }

    /// The peer's report.
    pub fn handle_report(&mut self, now: Instant, block: &ReportBlock, clock: &RoomClock) {
        self.stream.handle_report_block(now, block, clock);
        let feedback = self.plan.feedback;
        let can_ask = feedback.nack || feedback.pli || feedback.fir;
        if block.ssrc != self.stream.ssrc() || can_ask {
            return;
        }
        if block.fraction_lost < EXPOSED_FROM {
            let is_over = |at| now.saturating_duration_since(at) >= EXPOSED_FOR;
            self.is_exposed &= !self.lost.is_some_and(is_over);
            return;
        }
        self.lost = Some(now);
        self.is_exposed = self
            .class()
            .is_some_and(|class| class.codec == VideoCodec::H264);
        let is_due = |at| now.saturating_duration_since(at) >= REFRESH;
        if self.refreshed.is_none_or(is_due) {
            self.refreshed = Some(now);
            self.wants_key = true;
        }
    }

    /// Our sender report; `None` while nothing is sent. `source` is the clock of the leg shown.
    pub fn sender_info(
        &self,
        now: Instant,
        clock: &RoomClock,
        source: Option<&SourceClock>,
    ) -> Option<SenderInfo> {
        if self.stream.stats().packets == 0 {
            return None;
        }
        if self.class().is_some() {
            return Some(self.stream.sender_info(now, clock));
        }
        let ntp = clock.ntp(now);
        let timestamp = self.forwarder.timestamp_at(source?, ntp)?;
        Some(self.stream.sender_info_at(ntp, timestamp))
    }

    /// Where the stream stands.
    pub fn place(&self) -> Place {
        self.stream.place()
    }

    /// Share of packets lost on the way of late.
    pub fn recent_loss(&self) -> f32 {
        self.stream.recent_loss()
    }

    /// Figures of the stream.
    pub fn stats(&self) -> send::Stats {
        self.stream.stats()
    }

    /// Frames of the last second.
    pub fn frame_rate(&mut self, now: Instant) -> f32 {
        self.frames.rate(now)
    }
}

/// Counts frames by their last packets.
#[derive(Debug, Default)]
pub struct FrameCount {
    frames: u32,
    since: Option<Instant>,
    rate: f32,
}

impl FrameCount {
    /// A packet passed; `marker` ends a frame.
    pub fn add(&mut self, marker: bool) {
        self.frames += u32::from(marker);
    }

    /// Frames per second, renewed once a second.
    pub fn rate(&mut self, now: Instant) -> f32 {
        let since = *self.since.get_or_insert(now);
        let elapsed = now.saturating_duration_since(since);
        if elapsed >= Duration::from_millis(900) {
            self.rate = self.frames as f32 / elapsed.as_secs_f32();
            self.frames = 0;
            self.since = Some(now);
        }
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use mcu_api::codec::H264Profile;
    use mcu_api::plan::{Feedback, HeaderExtensions, PictureLimits};
    use mcu_rtp::receive::Accepted;
    use mcu_rtp::seq::ExtTs;

    use super::*;

    const HEIGHTS: Heights = Heights {
        wanted: 360,
        ceiling: u16::MAX,
    };

    #[test]
    fn of_another_encoder_it_takes_every_second_picture_until_its_own_class_changes() {
        let own = VideoClass {
            codec: VideoCodec::H264,
            width: 1280,
            height: 720,
            frame_rate: 30,
            bitrate_bps: 1_000_000,
            profile: H264Profile::ConstrainedBaseline,
            level_idc: 31,
            packetization: PacketizationMode::NonInterleaved,
        };
        let faster = VideoClass {
            frame_rate: 60,
            level_idc: 32,
            ..own.clone()
        };
        let mut screen = vp8_screen(LegId(1));
        let plan = VideoSend {
            source: Some(VideoSource::Composition {
                class: own.clone(),
                view: None,
            }),
            ..screen.plan().clone()
        };
        assert!(screen.update(&plan));
        let start = Instant::now();
        let taken = |screen: &mut Screen| {
            let ticks = (0..60).map(|n| start + Duration::from_secs(n) / 60);
            let taken = ticks
                .enumerate()
                .filter(|(n, at)| screen.takes(*at, n % 2 == 1));
            taken.count()
        };
        assert_eq!(taken(&mut screen), 60, "its own");
        screen.set_base(Some(faster.clone()));
        assert_eq!(screen.class(), Some(&faster));
        assert_eq!(screen.composed(), Some((&None, &own)));
        assert_eq!(taken(&mut screen), 30);
        screen.reduce(Reduced::ToNothing);
        assert!(!screen.takes_base() && screen.class().is_none());
        screen.reduce(Reduced::No);
        screen.set_base(Some(faster));
        // What is forwarded has no encoder.
        assert!(screen.update(vp8_screen(LegId(1)).plan()));
        assert!(!screen.takes_base() && screen.class().is_none());
    }

    fn vp8_screen(leg: LegId) -> Screen {
        let plan = VideoSend {
            codec: VideoCodec::Vp8,
            transport: 0,
            mid: None,
            payload_type: 96,
            rtx: None,
            ssrc: 1,
            rtx_ssrc: None,
            packetization: PacketizationMode::NonInterleaved,
            feedback: Feedback::default(),
            extensions: HeaderExtensions::default(),
            source: Some(VideoSource::Forward {
                leg,
                max_height: 360,
                ceiling: None,
            }),
            max_bitrate_bps: 4_000_000,
            limits: PictureLimits::default(),
        };
        Screen::new(plan, &[])
    }

    fn chosen(key: u64, codec: VideoCodec) -> Chosen {
        Chosen {
            key: SourceKey(key),
            rate_bps: 500_000,
            codec,
            size: Some((640, 360)),
        }
    }

    /// A camera of VP8 whose packets are pictures, one every 40 ms.
    struct Source {
        key: u64,
        clock: SourceClock,
        base: u64,
    }

    /// What a packet that leaves says: its sequence number, its timestamp and its picture's number.
    type Sent = (u16, u32, u16);

    fn sent(out: &[u8]) -> Sent {
        let two = |at: usize| u16::from_be_bytes([out[at], out[at + 1]]);
        let timestamp = u32::from(two(4)) << 16 | u32::from(two(6));
        (two(2), timestamp, two(14) & 0x7FFF)
    }

    struct Bench {
        start: Instant,
        clock: RoomClock,
        screen: Screen,
        ticks: u64,
    }

    impl Bench {
        fn now(&mut self) -> Instant {
            self.ticks += 1;
            self.start + Duration::from_millis(40 * self.ticks)
        }

        fn choose(&mut self, wanted: Option<(LegId, Chosen)>, heights: Heights) {
            let mut classes = Classes::default();
            self.screen.choose(wanted, heights, u32::MAX, &mut classes);
        }

        fn forward(&mut self, source: &mut Source, key: bool) -> Option<Sent> {
            let now = self.now();
            let ts = ExtTs::new(source.base + self.ticks * 3_600);
            source.clock.handle_packet(now, &self.clock, ts.wire());
            let accepted = Accepted {
                seq: ExtSeq::new(source.base + self.ticks),
                ts,
                restarted: false,
            };
            let id = (source.base + self.ticks) as u16 | 0x8000;
            let [high, low] = id.to_be_bytes();
            let whole = Bytes::from(vec![0x90, 0x80, high, low, u8::from(!key), 0]);
            let packet = CameraPacket {
                source: SourcePacket {
                    source: SourceKey(source.key),
                    accepted,
                    key_frame: key,
                },
                codec: VideoCodec::Vp8,
                marker: true,
                payload: &whole,
            };
            let passing = Passing {
                packet: &packet,
                whole: &whole,
                source_clock: &source.clock,
                room_clock: &self.clock,
            };
            let mut out = Vec::new();
            let done = self
                .screen
                .forward(now, &passing, Stamp::default(), &mut out);
            done.then(|| sent(&out))
        }

        fn encoded(&mut self) -> Sent {
            let now = self.now();
            let timestamp = self.screen.timestamp(&self.clock, self.clock.ntp(now));
            let mut packetizer = self.screen.take_packetizer();
            let mut out = Vec::new();
            let screen = &mut self.screen;
            let cut = packetizer.1.packetize(&[0; 50], &[], |payload, marker| {
                let media = Outgoing {
                    timestamp,
                    marker,
                    payload,
                };
                screen.write(now, &media, Stamp::default(), &mut out);
            });
            assert_eq!(cut, Ok(()));
            screen.return_packetizer(packetizer);
            sent(&out)
        }
    }

    /// A slot whose leg goes from VP8 to H.264 and back: for its receiver it is one stream (SW-04).
    #[test]
    fn numbers_and_time_go_on_from_forwarded_to_encoded_anew_and_back() {
        let start = Instant::now();
        let leg = LegId(7);
        let mut bench = Bench {
            start,
            clock: RoomClock::new(start, SystemTime::UNIX_EPOCH + Duration::from_secs(5_000)),
            screen: vp8_screen(leg),
            ticks: 0,
        };
        let source = |key, base| Source {
            key,
            clock: SourceClock::new(CLOCK_HZ),
            base,
        };
        let (mut first, mut second) = (source(1, 1 << 20 | 900), source(2, 1 << 20 | 70));
        let mut all = Vec::new();
        let vp8 = |key| Some((leg, chosen(key, VideoCodec::Vp8)));
        bench.choose(vp8(1), HEIGHTS);
        all.push(bench.forward(&mut first, true).expect("a key frame"));
        all.extend((0..3).filter_map(|_| bench.forward(&mut first, false)));
        let foreign = Some((leg, chosen(1, VideoCodec::H264)));
        bench.choose(foreign, HEIGHTS);
        assert_eq!(bench.forward(&mut first, false), None);
        all.extend((0..4).map(|_| bench.encoded()));
        bench.choose(vp8(2), HEIGHTS);
        assert_eq!(bench.forward(&mut second, false), None, "no key frame yet");
        all.push(bench.forward(&mut second, true).expect("a key frame"));
        all.extend((0..3).filter_map(|_| bench.forward(&mut second, false)));
        bench.choose(foreign, HEIGHTS);
        all.push(bench.encoded());
        assert_eq!(all.len(), 13);
        for pair in all.windows(2) {
            let ((seq, time, id), (next_seq, next_time, next_id)) = (pair[0], pair[1]);
            assert_eq!(next_seq, seq.wrapping_add(1), "{all:?}");
            assert_eq!(next_id, id.wrapping_add(1) & 0x7FFF, "{all:?}");
            let passed = next_time.wrapping_sub(time);
            assert!((90..=4 * 3_600).contains(&passed), "{passed} in {all:?}");
        }
    }
}
