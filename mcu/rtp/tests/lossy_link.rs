//! A camera, a relay and a viewer over lossy links, in virtual time: everything that the engine has
//! between two sockets, without sockets.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use mcu_api::codec::PacketizationMode;
use mcu_api::codec::VideoCodec;
use mcu_api::plan::HeaderExtensions;
use mcu_rtp::clock::{RoomClock, SourceClock};
use mcu_rtp::forward::{Forwarder, SourceKey, SourcePacket};
use mcu_rtp::h264::{self, KeyFrameStarts, Packetizer};
use mcu_rtp::header::RtpPacket;
use mcu_rtp::receive::{self, ReceiveStream, Verdict};
use mcu_rtp::rtcp::{self, Packet};
use mcu_rtp::rtx;
use mcu_rtp::send::{self, Media, Rtx, SendStream, Stamp};
use mcu_rtp::simulcast::{Line, StreamMap};
use mcu_rtp::video::{AccessUnit, Depacketizer};
use rand::{Rng, SeedableRng, rngs::StdRng};

const MEDIA_TYPE: u8 = 96;
const RTX_TYPE: u8 = 97;
const FRAME: Duration = Duration::from_millis(33);
const PATIENCE: Duration = Duration::from_millis(250);
const EXTENSIONS: HeaderExtensions = HeaderExtensions {
    mid: 1,
    rid: 2,
    repaired_rid: 3,
    transport_cc: 4,
    abs_send_time: 5,
    audio_level: 6,
};

/// One direction of a path.
struct Link {
    random: StdRng,
    loss: f64,
    duplicates: f64,
    delay_ms: u64,
    jitter_ms: u64,
    under_way: BTreeMap<(Instant, u64), Vec<u8>>,
    count: u64,
}

impl Link {
    fn new(seed: u64, loss: f64) -> Self {
        let random = StdRng::seed_from_u64(seed);
        let under_way = BTreeMap::new();
        Self {
            random,
            loss,
            duplicates: 0.02,
            delay_ms: 20,
            jitter_ms: 15,
            under_way,
            count: 0,
        }
    }

    fn send(&mut self, now: Instant, datagram: &[u8]) {
        let copies = 1 + usize::from(self.random.random_bool(self.duplicates));
        for _ in 0..copies {
            if self.random.random_bool(self.loss) {
                continue;
            }
            // Jitter reorders: packets overtake each other.
            let delay = self.delay_ms + self.random.random_range(0..=self.jitter_ms);
            self.count += 1;
            let key = (now + Duration::from_millis(delay), self.count);
            self.under_way.insert(key, datagram.to_vec());
        }
    }

    fn receive(&mut self, now: Instant) -> Option<Vec<u8>> {
        let first = self.under_way.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

/// The sending end of a stream with its answers to feedback.
struct Sending {
    stream: SendStream,
    key_frames_asked: u32,
}

impl Sending {
    fn new(ssrc: u32) -> Self {
        let config = send::Config {
            ssrc,
            payload_type: MEDIA_TYPE,
            clock_hz: 90_000,
            rtx: Some(Rtx {
                payload_type: RTX_TYPE,
                ssrc: ssrc + 1,
            }),
            extensions: EXTENSIONS,
            mid: Some("v".into()),
            kept_packets: 512,
            kept_for: Duration::from_secs(1),
        };
        let stream = SendStream::new(config, &mut StdRng::seed_from_u64(u64::from(ssrc)));
        Self {
            stream,
            key_frames_asked: 0,
        }
    }

    fn handle_rtcp(&mut self, now: Instant, room: &RoomClock, datagram: &[u8], out: &mut Link) {
        for packet in rtcp::parse(datagram) {
            match packet.unwrap() {
                Packet::Nack { lost, .. } => {
                    let mut resend = Vec::new();
                    self.stream.handle_nack(now, lost, &mut resend);
                    for seq in resend {
                        let mut datagram = Vec::new();
                        assert!(
                            self.stream
                                .write_again(now, seq, Stamp::default(), &mut datagram)
                        );
                        out.send(now, &datagram);
                    }
                }
                Packet::ReceiverReport { blocks, .. } => {
                    blocks.for_each(|block| self.stream.handle_report_block(now, &block, room))
                }
                Packet::PictureLoss { .. } => self.key_frames_asked += 1,
                _ => {}
            }
        }
    }

    fn report(&self, now: Instant, room: &RoomClock, timestamp: Option<u32>, out: &mut Link) {
        let ntp = room.ntp(now);
        let info = match timestamp {
            Some(timestamp) => self.stream.sender_info_at(ntp, timestamp),
            None => self.stream.sender_info(now, room),
        };
        let mut datagram = Vec::new();
        rtcp::write_sender_report(&mut datagram, self.stream.ssrc(), &info, &[]);
        rtcp::write_cname(&mut datagram, self.stream.ssrc(), "test");
        out.send(now, &datagram);
    }
}

/// The receiving end of a stream.
struct Receiving {
    map: StreamMap,
    stream: ReceiveStream,
    clock: SourceClock,
}

impl Receiving {
    fn new(nack: bool) -> Self {
        let line = Line {
            mid: Some("v".into()),
            rids: vec![],
            payloads: vec![(MEDIA_TYPE, Some(RTX_TYPE))],
        };
        Self {
            map: StreamMap::new(vec![line]),
            stream: ReceiveStream::new(receive::Config {
                clock_hz: 90_000,
                nack,
            }),
            clock: SourceClock::new(90_000),
        }
    }

    /// Media of a datagram, joined with its place, or a report taken in.
    fn handle<'a>(
        &mut self,
        now: Instant,
        room: &RoomClock,
        datagram: &'a [u8],
    ) -> Option<(RtpPacket<'a>, receive::Accepted)> {
        if (192..=223).contains(&datagram[1]) {
            for packet in rtcp::parse(datagram) {
                if let Packet::SenderReport { info, .. } = packet.unwrap() {
                    self.stream.handle_sender_report(now, &info);
                    self.clock
                        .handle_sender_report(info.ntp, info.rtp_timestamp);
                }
            }
            return None;
        }
        let mut packet = RtpPacket::parse(datagram).unwrap();
        let route = self
            .map
            .route(&packet.header, &packet.known_extensions(&EXTENSIONS))?;
        let verdict = match route.repairs {
            Some(of) => {
                packet = rtx::unwrap(&packet, of.ssrc, of.payload_type)?;
                self.stream
                    .handle_retransmission(now, &packet.header, packet.payload.len())
            }
            None => {
                self.clock.handle_packet(now, room, packet.header.timestamp);
                self.stream
                    .handle_packet(now, &packet.header, packet.payload.len())
            }
        };
        match verdict {
            Verdict::Fresh(accepted) => Some((packet, accepted)),
            Verdict::Duplicate | Verdict::Stray => None,
        }
    }

    fn ask(&mut self, now: Instant, back: &mut Link) {
        let mut lost = Vec::new();
        self.stream.poll_nack(now, &mut lost);
        if let (false, Some(media)) = (lost.is_empty(), self.stream.ssrc()) {
            let mut datagram = Vec::new();
            rtcp::write_nack(&mut datagram, 1, media, &lost);
            back.send(now, &datagram);
        }
    }

    fn report(&mut self, now: Instant, back: &mut Link) {
        if let Some(block) = self.stream.report_block(now) {
            let mut datagram = Vec::new();
            rtcp::write_receiver_report(&mut datagram, 1, &[block]);
            rtcp::write_cname(&mut datagram, 1, "test");
            back.send(now, &datagram);
        }
    }
}

/// A picture that says its number: parameter sets with key frames, three slices of 1.5 kB.
fn picture(number: u32) -> Vec<u8> {
    let key = number.is_multiple_of(60);
    let digits = [12, 8, 4, 0].map(|shift| 0x40 | (number >> shift & 0xF) as u8);
    let mut data = Vec::new();
    if key {
        data.extend_from_slice(&[
            0, 0, 0, 1, 0x67, 0x42, 0xC0, 0x1F, 0, 0, 0, 1, 0x68, 0xCE, 0x3C,
        ]);
    }
    for slice in 0..3u8 {
        data.extend_from_slice(&[0, 0, 0, 1, if key { 0x65 } else { 0x41 }]);
        data.push(if slice == 0 { 0x9A } else { 0x1A });
        data.extend_from_slice(&digits);
        data.extend((0..1_500u32).map(|at| (at % 250) as u8 + 4));
    }
    data
}

/// The number that a picture says, if it is whole.
fn number_of(data: &[u8]) -> Option<u32> {
    let slice = h264::nal_units(data).find(|unit| matches!(unit[0] & 0x1F, 1 | 5))?;
    let digits = slice.get(2..6)?;
    let number = digits
        .iter()
        .fold(0, |number, digit| number << 4 | u32::from(digit & 0xF));
    (picture(number) == data).then_some(number)
}

/// What a viewer saw of `FRAMES` pictures.
#[derive(Debug)]
struct Seen {
    whole: usize,
    broken: usize,
    latest_ms: u64,
    /// Largest distance of a picture's time by the sender reports to the time it was sent.
    skew_ms: u64,
    sender: send::Stats,
    nacked: u64,
}

const FRAMES: u32 = 458;

struct Chain {
    start: Instant,
    room: RoomClock,
    camera: Sending,
    up: Link,
    up_back: Link,
    relay_in: Receiving,
    starts: KeyFrameStarts,
    forwarder: Forwarder,
    relay_out: Sending,
    down: Link,
    down_back: Link,
    viewer: Receiving,
    depacketizer: Depacketizer,
    seen: Seen,
}

impl Chain {
    fn new(loss: f64, nack: bool) -> Self {
        let start = Instant::now();
        let relay_out = Sending::new(20);
        let first = relay_out.stream.next_sequence();
        let offset = relay_out.stream.timestamp_offset();
        let mut forwarder = Forwarder::new(90_000, first, offset);
        forwarder.want(Some(SourceKey(1)));
        Self {
            start,
            room: RoomClock::new(
                start,
                SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000),
            ),
            camera: Sending::new(10),
            up: Link::new(1, loss),
            up_back: Link::new(2, loss),
            relay_in: Receiving::new(nack),
            starts: KeyFrameStarts::default(),
            forwarder,
            relay_out,
            down: Link::new(3, loss),
            down_back: Link::new(4, loss),
            viewer: Receiving::new(nack),
            depacketizer: Depacketizer::new(VideoCodec::H264),
            seen: Seen {
                whole: 0,
                broken: 0,
                latest_ms: 0,
                skew_ms: 0,
                sender: send::Stats::default(),
                nacked: 0,
            },
        }
    }

    fn run(mut self) -> Seen {
        let mut packetizer = Packetizer::new(PacketizationMode::NonInterleaved);
        let end = FRAME * FRAMES + Duration::from_secs(2);
        for ms in 0..end.as_millis() as u64 {
            let now = self.start + Duration::from_millis(ms);
            let frame = ms / FRAME.as_millis() as u64;
            if ms.is_multiple_of(FRAME.as_millis() as u64) && frame < u64::from(FRAMES) {
                self.capture(now, frame as u32, &mut packetizer);
            }
            self.relay(now);
            self.view(now);
            self.feed_back(now, ms);
        }
        self.seen.sender = self.relay_out.stream.stats();
        self.seen.nacked = self.viewer.stream.stats().nacked;
        self.seen
    }

    fn capture(&mut self, now: Instant, frame: u32, packetizer: &mut Packetizer) {
        let stream = &mut self.camera.stream;
        let timestamp = stream.timestamp(&self.room, self.room.ntp(now));
        let up = &mut self.up;
        let result = packetizer.packetize(&picture(frame), |payload, marker| {
            let mut datagram = Vec::new();
            let media = Media {
                timestamp,
                marker,
                payload,
                whole: None,
            };
            stream.write(now, &media, Stamp::default(), &mut datagram);
            up.send(now, &datagram);
        });
        assert_eq!(result, Ok(()));
    }

    fn relay(&mut self, now: Instant) {
        while let Some(datagram) = self.up.receive(now) {
            let Some((packet, accepted)) = self.relay_in.handle(now, &self.room, &datagram) else {
                continue;
            };
            let source = SourcePacket {
                source: SourceKey(1),
                accepted,
                key_frame: self.starts.starts(packet.payload),
            };
            let place = self
                .forwarder
                .forward(&source, &self.relay_in.clock, &self.room);
            let Some(place) = place else { continue };
            let media = Media {
                timestamp: place.timestamp,
                marker: packet.header.marker,
                payload: packet.payload,
                whole: None,
            };
            let mut out = Vec::new();
            self.relay_out
                .stream
                .write_at(now, place.seq, &media, Stamp::default(), &mut out);
            self.down.send(now, &out);
        }
        while let Some(datagram) = self.down_back.receive(now) {
            self.relay_out
                .handle_rtcp(now, &self.room, &datagram, &mut self.down);
        }
        while let Some(datagram) = self.up_back.receive(now) {
            self.camera
                .handle_rtcp(now, &self.room, &datagram, &mut self.up);
        }
    }

    fn view(&mut self, now: Instant) {
        while let Some(datagram) = self.down.receive(now) {
            if let Some((packet, accepted)) = self.viewer.handle(now, &self.room, &datagram) {
                self.depacketizer
                    .insert(now, &accepted, packet.header.marker, packet.payload);
            }
        }
        while let Some(unit) = self.depacketizer.poll(now, PATIENCE) {
            self.judge(now, unit);
        }
    }

    fn judge(&mut self, now: Instant, unit: AccessUnit) {
        let Some(number) = number_of(&unit.data) else {
            assert!(!unit.complete || unit.key_frame && unit.after_loss);
            self.seen.broken += 1;
            return;
        };
        self.seen.whole += 1;
        let captured = self.start + FRAME * number;
        self.seen.latest_ms = self.seen.latest_ms.max((now - captured).as_millis() as u64);
        if let Some((ntp, timestamp)) = self.viewer.stream.sender_clock() {
            let ticks = (unit.ts.wire().wrapping_sub(timestamp) as i32) as i64;
            let shown = ntp.offset_micros(ticks * 1_000_000 / 90_000);
            let skew = shown.micros_since(self.room.ntp(captured)).unsigned_abs() / 1_000;
            self.seen.skew_ms = self.seen.skew_ms.max(skew);
        }
        self.depacketizer.recycle(unit.data);
    }

    fn feed_back(&mut self, now: Instant, ms: u64) {
        self.relay_in.ask(now, &mut self.up_back);
        self.viewer.ask(now, &mut self.down_back);
        if ms % 1_000 == 500 {
            self.camera.report(now, &self.room, None, &mut self.up);
            let time = self.room.ntp(now);
            if let Some(at) = self.forwarder.timestamp_at(&self.relay_in.clock, time) {
                self.relay_out
                    .report(now, &self.room, Some(at), &mut self.down);
            }
            self.relay_in.report(now, &mut self.up_back);
            self.viewer.report(now, &mut self.down_back);
        }
        if let Some(round_trip) = self.relay_out.stream.stats().round_trip {
            self.viewer.stream.set_round_trip(round_trip);
        }
    }
}

#[test]
fn without_loss_every_picture_arrives_in_room_time() {
    let mut chain = Chain::new(0.0, true);
    // Without jitter nothing overtakes.
    (chain.up.jitter_ms, chain.down.jitter_ms) = (0, 0);
    let seen = chain.run();
    println!("{seen:?}");
    assert_eq!((seen.whole, seen.broken), (FRAMES as usize, 0));
    assert!(seen.latest_ms <= 2 * 35, "{seen:?}");
    // The relay shows the picture in the time it arrived by the shortest path.
    assert!(seen.skew_ms <= 40, "{seen:?}");
    let round_trip = seen.sender.round_trip.unwrap();
    assert!(
        (40..=71).contains(&round_trip.as_millis()),
        "{round_trip:?}"
    );
    assert_eq!(seen.sender.lost, 0);
}

#[test]
fn five_per_cent_each_way_is_repaired() {
    let seen = Chain::new(0.05, true).run();
    println!("{seen:?}");
    assert!(seen.whole >= 454, "{seen:?}");
    assert!(seen.sender.lost > 50 && seen.sender.resent > 50, "{seen:?}");
    // Few packets are asked for that were not lost, or sent twice, though a second request leaves soon.
    assert!(
        seen.nacked < 4 * seen.sender.lost && seen.sender.resent < 4 * seen.sender.lost,
        "{seen:?}"
    );
}

#[test]
fn twelve_per_cent_each_way_is_mostly_repaired() {
    let seen = Chain::new(0.12, true).run();
    println!("{seen:?}");
    assert!(seen.whole >= 420, "{seen:?}");
}

#[test]
fn without_retransmission_losses_show_and_are_told() {
    let seen = Chain::new(0.02, false).run();
    println!("{seen:?}");
    assert!(seen.whole > 250 && seen.broken > 20, "{seen:?}");
    assert_eq!((seen.nacked, seen.sender.resent), (0, 0));
}
