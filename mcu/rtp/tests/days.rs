//! Calls that last for days, in virtual time: every counter of the engine wraps, with loss and
//! reordering around the wrap.
//!
//! `CONSILIUM_DAYS` stretches what is short here by a factor (1).

use std::time::{Duration, Instant, SystemTime};

use mcu_api::plan::{HeaderExtensions, SdesKeys, SrtpSuite};
use mcu_api::secret::Redacted;
use mcu_rtp::clock::{RoomClock, SourceClock};
use mcu_rtp::header::{RtpHeader, RtpPacket};
use mcu_rtp::jitter::{JitterBuffer, Taken};
use mcu_rtp::receive::{self, ReceiveStream, Verdict};
use mcu_rtp::rtcp::{self, Packet};
use mcu_rtp::rtx;
use mcu_rtp::send::{self, Media, Rtx, SendStream, Stamp};
use mcu_rtp::srtp::Srtp;
use mcu_rtp::twcc::{Arrivals, History};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng, rngs::StdRng};

const CYCLE: u64 = 1 << 16;
const HOUR: Duration = Duration::from_secs(3_600);
const SUITES: [SrtpSuite; 4] = [
    SrtpSuite::AesCm128HmacSha1_80,
    SrtpSuite::AesCm128HmacSha1_32,
    SrtpSuite::AeadAes128Gcm,
    SrtpSuite::AeadAes256Gcm,
];

fn factor() -> u64 {
    std::env::var("CONSILIUM_DAYS").map_or(1, |text| text.parse().expect("a number"))
}

fn room() -> (Instant, RoomClock) {
    let now = Instant::now();
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    (now, RoomClock::new(now, wall))
}

/// One key both ways.
fn srtp(suite: SrtpSuite) -> Srtp {
    let key = || Redacted((0..suite.key_and_salt_len() as u8).collect());
    let keys = SdesKeys {
        suite,
        local: key(),
        remote: key(),
    };
    Srtp::from_sdes(&keys).unwrap()
}

fn packet(index: u64) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend((index as u16).to_be_bytes());
    packet.extend((index as u32).to_be_bytes());
    packet.extend(9u32.to_be_bytes());
    packet.extend(index.to_be_bytes());
    packet
}

/// RFC 3711 §3.3.1, at each rollover: two of ten packets are lost and the rest comes in disorder; at
/// every third one another process takes the call over (MCU-20).
#[test]
fn srtp_counts_through_lossy_rollovers_and_changes_of_process() {
    let mut random = StdRng::seed_from_u64(1);
    for suite in SUITES {
        let (mut sender, mut receiver) = (srtp(suite), srtp(suite));
        for cycle in 1..=12 * factor() {
            let wrap = cycle * CYCLE;
            for index in ((wrap - CYCLE + 0x3000)..(wrap - 200)).step_by(0x3000) {
                let protected = sender.protect_rtp(&packet(index)).unwrap();
                assert_eq!(receiver.unprotect_rtp(&protected).unwrap(), packet(index));
            }
            let protect = |index| (index, sender.protect_rtp(&packet(index)).unwrap());
            let mut around: Vec<_> = (wrap - 100..wrap + 100).map(protect).collect();
            around.retain(|_| random.random_bool(0.8));
            for near in around.chunks_mut(16) {
                near.shuffle(&mut random);
            }
            let mut taken_up = 0;
            for (place, (index, protected)) in around.iter().enumerate() {
                if cycle % 3 == 0 && place == around.len() / 2 {
                    let told = receiver.reached();
                    taken_up = told[0].index;
                    receiver = srtp(suite);
                    receiver.take_up(&told).unwrap();
                }
                let plain = receiver.unprotect_rtp(protected);
                // A new process takes nothing that the last one may have taken before.
                let expected = (*index > taken_up).then(|| packet(*index));
                let plain = plain.ok().map(Vec::from);
                assert_eq!(plain, expected, "{suite:?} {index}");
            }
        }
    }
}

/// 2^32 packets are 110 days of 4 Mbit/s video: the rollover counter needs more than 16 bits.
#[test]
fn srtp_goes_on_beyond_four_thousand_million_packets() {
    for suite in [SrtpSuite::AesCm128HmacSha1_80, SrtpSuite::AeadAes128Gcm] {
        let (mut sender, mut receiver) = (srtp(suite), srtp(suite));
        for index in (0..(1 << 32) + 4 * CYCLE).step_by(0x7f00) {
            let protected = sender.protect_rtp(&packet(index)).unwrap();
            receiver.unprotect_rtp(&protected).unwrap();
        }
        assert!(receiver.reached()[0].index > 1 << 32, "{suite:?}");
    }
}

/// Timestamps of 48 kHz wrap after 24.8 hours, sequence numbers of 20 ms packets every 22 minutes.
#[test]
fn sound_is_heard_whole_for_thirty_hours() {
    let (start, _) = room();
    let packet_ms = 20;
    let hours = 30 * factor();
    let mut random = StdRng::seed_from_u64(2);
    let config = receive::Config {
        clock_hz: 48_000,
        nack: false,
    };
    let (mut stream, mut buffer) = (ReceiveStream::new(config), JitterBuffer::new(48_000));
    let (mut lost, mut last) = (0u64, None);
    let packets = hours * 3_600_000 / packet_ms;
    for n in 0..packets {
        let sent = start + Duration::from_millis(packet_ms * n);
        let header = RtpHeader {
            payload_type: 111,
            marker: false,
            sequence: (n + 65_000) as u16,
            timestamp: (n * packet_ms * 48) as u32,
            ssrc: 1,
        };
        if n > 100 && random.random_bool(0.001) {
            lost += 1;
        } else {
            let arrived = sent + Duration::from_micros(random.random_range(0..5_000));
            match stream.handle_packet(arrived, &header, 8) {
                Verdict::Fresh(accepted) => {
                    buffer.insert(arrived, &accepted, &header, &n.to_be_bytes());
                }
                other => panic!("packet {n}: {other:?}"),
            }
        }
        if let Taken::Frame(frame) = buffer.take(sent + Duration::from_millis(6)) {
            let number = u64::from_be_bytes(frame.payload[..].try_into().unwrap());
            assert!(
                last.is_none_or(|last| number > last),
                "{number} after {last:?}"
            );
            last = Some(number);
            buffer.recycle(frame.payload);
        }
    }
    let (stats, heard) = (stream.stats(), buffer.stats());
    assert_eq!((stats.lost, stats.packets), (lost, packets - lost));
    assert!(
        heard.concealed <= lost + 10 && heard.late + heard.dropped <= 10,
        "{heard:?}, {lost} lost"
    );
    assert!(stats.jitter_ms < 5.0, "{}", stats.jitter_ms);
    // The lowest 32 bits of sequence number and cycles, RFC 3550 §6.4.1.
    let block = stream.report_block(start + hours as u32 * HOUR).unwrap();
    assert_eq!(block.highest_sequence, (packets - 1 + 65_000) as u32);
}

/// Packets and reports of a picture whose clock is fast, or slow.
struct Camera {
    clock: SourceClock,
    start: Instant,
    room: RoomClock,
    parts_per_million: i64,
}

impl Camera {
    fn new(parts_per_million: i64) -> Self {
        let (start, room) = room();
        Self {
            clock: SourceClock::new(90_000),
            start,
            room,
            parts_per_million,
        }
    }

    /// Timestamp of a moment, from near the wrap.
    fn timestamp(&self, at: Duration) -> u32 {
        let micros = at.as_micros() as i64;
        let drifted = micros + micros * self.parts_per_million / 1_000_000;
        0xFFFF_0000u32.wrapping_add((drifted * 9 / 100) as u32)
    }

    fn packet(&mut self, at: Duration) {
        let timestamp = self.timestamp(at);
        let arrived = self.start + at + Duration::from_millis(30);
        self.clock.handle_packet(arrived, &self.room, timestamp);
    }

    fn report(&mut self, at: Duration) {
        let ntp = self.room.ntp(self.start + at).offset_micros(-5_000_000);
        self.clock.handle_sender_report(ntp, self.timestamp(at));
    }

    /// How far the room time of a moment is from its arrival, in ms.
    fn error_ms(&self, at: Duration) -> i64 {
        let shown = self.clock.room_time(self.timestamp(at)).unwrap();
        let arrived = self.room.ntp(self.start + at + Duration::from_millis(30));
        shown.micros_since(arrived) / 1_000
    }
}

/// Timestamps of 90 kHz wrap after 13.25 hours.
#[test]
fn a_pictures_clock_is_followed_for_three_days_with_reports_and_without() {
    for (reports, drift) in [(true, 100), (true, -100), (false, 100), (false, -100)] {
        let mut camera = Camera::new(drift);
        let seconds = 72 * 3_600 * factor();
        for tenth in 0..seconds * 2 {
            let at = Duration::from_millis(500 * tenth);
            camera.packet(at);
            if reports && tenth % 10 == 5 {
                camera.report(at);
            }
            let error = camera.error_ms(at);
            assert!(
                error.abs() < 10,
                "{error} ms after {at:?}, drift {drift}, reports {reports}"
            );
        }
    }
}

/// A camera that was covered over a working day had its pictures shown 13 hours off for seconds, and
/// sound and picture apart for as long as it was shown: half the range of a timestamp had passed.
#[test]
fn a_picture_comes_back_after_many_hours_of_silence() {
    for (reports, hours) in [
        (true, 5),
        (true, 8),
        (true, 20),
        (false, 5),
        (false, 8),
        (false, 20),
    ] {
        let mut camera = Camera::new(50);
        let mut at = Duration::ZERO;
        for n in 0..100 {
            at = Duration::from_millis(40 * n);
            camera.packet(at);
            if reports && n % 50 == 49 {
                camera.report(at);
            }
        }
        let back = at + hours * HOUR;
        while reports && at + Duration::from_secs(5) < back {
            at += Duration::from_secs(5);
            camera.report(at);
        }
        for n in 0..200 {
            let at = back + Duration::from_millis(40 * n);
            camera.packet(at);
            let error = camera.error_ms(at);
            assert!(
                error.abs() < 20,
                "{error} ms at packet {n} after {hours} h, reports {reports}"
            );
        }
    }
}

/// A terminal that was on hold for half a day lost its first words: its timestamps seemed to go back.
#[test]
fn sound_comes_back_at_once_after_many_hours_on_hold() {
    for hours in [5, 13, 20, 26] {
        let (start, _) = room();
        let config = receive::Config {
            clock_hz: 48_000,
            nack: false,
        };
        let (mut stream, mut buffer) = (ReceiveStream::new(config), JitterBuffer::new(48_000));
        let mut heard = 0;
        for n in 0..200u64 {
            let silence = if n < 100 {
                Duration::ZERO
            } else {
                hours * HOUR
            };
            let sent = Duration::from_millis(20 * n) + silence;
            let header = RtpHeader {
                payload_type: 111,
                marker: n == 100,
                sequence: n as u16,
                timestamp: (sent.as_millis() as u64 * 48) as u32,
                ssrc: 1,
            };
            let Verdict::Fresh(accepted) = stream.handle_packet(start + sent, &header, 1) else {
                panic!("packet {n}");
            };
            buffer.insert(start + sent, &accepted, &header, &[0]);
            let taken = buffer.take(start + sent + Duration::from_millis(10));
            // The mixer goes on asking.
            for tick in (1..500).filter(|_| n == 99) {
                buffer.take(start + sent + Duration::from_millis(10 + 20 * tick));
            }
            heard += u32::from(n >= 100 && matches!(taken, Taken::Frame(_)));
        }
        assert!(heard >= 97, "{heard} of 100 packets heard after {hours} h");
        assert!(stream.stats().jitter_ms < 1.0, "{:?}", stream.stats());
    }
}

/// Video with retransmissions over ten rollovers of its numbers and several of RTX's.
#[test]
fn lost_pictures_are_repaired_over_many_rollovers() {
    let (start, room) = room();
    let mut random = StdRng::seed_from_u64(3);
    let config = send::Config {
        ssrc: 1,
        payload_type: 96,
        clock_hz: 90_000,
        rtx: Some(Rtx {
            payload_type: 97,
            ssrc: 2,
        }),
        extensions: HeaderExtensions::default(),
        mid: None,
        kept_packets: 512,
        kept_for: Duration::from_secs(1),
    };
    let mut sender = SendStream::new(config, &mut random);
    let mut receiver = ReceiveStream::new(receive::Config {
        clock_hz: 90_000,
        nack: true,
    });
    receiver.set_round_trip(Duration::from_millis(10));
    let (mut lost, mut wanted, mut again) = (0, Vec::new(), Vec::new());
    for n in 0..10 * CYCLE * factor() {
        let now = start + Duration::from_millis(2 * n);
        let media = Media {
            timestamp: sender.timestamp(&room, room.ntp(now)),
            marker: false,
            payload: &n.to_be_bytes(),
            whole: None,
        };
        let mut datagram = Vec::new();
        sender.write(now, &media, Stamp::default(), &mut datagram);
        if n > 0 && random.random_bool(0.2) {
            lost += 1;
        } else {
            let packet = RtpPacket::parse(&datagram).unwrap();
            let verdict = receiver.handle_packet(now, &packet.header, 8);
            assert!(
                matches!(verdict, Verdict::Fresh(_)),
                "packet {n}: {verdict:?}"
            );
        }
        wanted.clear();
        receiver.poll_nack(now, &mut wanted);
        again.clear();
        sender.handle_nack(now, wanted.iter().copied(), &mut again);
        for &seq in &again {
            let mut datagram = Vec::new();
            assert!(sender.write_again(now, seq, Stamp::default(), &mut datagram));
            let packet = RtpPacket::parse(&datagram).unwrap();
            let original = rtx::unwrap(&packet, 1, 96).unwrap();
            let verdict = receiver.handle_retransmission(now, &original.header, 8);
            assert!(
                matches!(verdict, Verdict::Fresh(_)),
                "again {seq:?}: {verdict:?}"
            );
        }
    }
    let stats = receiver.stats();
    assert!(stats.lost.abs_diff(lost) < 10, "{} of {lost}", stats.lost);
    assert!(lost - stats.repaired < 50, "{stats:?}, {lost} lost");
    assert!(sender.stats().resent > CYCLE, "RTX numbers wrapped, too");
}

/// The reference time of transport feedback has 24 bits of 64 ms: it wraps after 12.4 days.
#[test]
fn transport_feedback_is_understood_for_a_month() {
    let (start, _) = room();
    let (mut arrivals, mut history) = (Arrivals::new(), History::new());
    let (mut samples, mut out) = (Vec::new(), Vec::new());
    for tick in 0..30 * 24 * 360 * factor() {
        // A burst every ten seconds.
        let burst = start + Duration::from_secs(10 * tick);
        for n in 0..6 {
            let now = burst + Duration::from_millis(10 * n);
            arrivals.record(now, history.next_sequence());
            history.register(now, 1);
        }
        out.clear();
        samples.clear();
        let told = burst + Duration::from_millis(60);
        assert!(arrivals.poll(told, 1, 2, &mut out), "burst {tick}");
        for packet in rtcp::parse(&out) {
            if let Packet::TransportFeedback(feedback) = packet.unwrap() {
                history.handle_feedback(&feedback, &mut samples);
            }
        }
        assert_eq!(samples.len(), 6, "burst {tick}");
        for sample in &samples {
            let sent = sample.sent.duration_since(start).as_micros() as i64;
            let skew = sample.arrival_micros.unwrap() - sent;
            assert!(skew.abs() <= 250, "burst {tick}: {skew} µs");
        }
    }
}
