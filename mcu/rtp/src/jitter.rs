//! Jitter buffer for sound.
//!
//! The mixer asks for the next packet whenever it has less decoded sound than its tick needs. The
//! buffer keeps each packet back long enough that most of those behind it arrive in time: the
//! target delay follows the lateness seen of late, plus one packet. It catches up by dropping a
//! packet now and then, and falls back by concealing one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::clock::{micros_to_ticks, signed_micros, ticks_to_micros};
use crate::header::RtpHeader;
use crate::receive::Accepted;
use crate::seq::{ExtSeq, ExtTs};

/// Bounds of the target delay.
const MIN_TARGET_MICROS: i64 = 20_000;
const MAX_TARGET_MICROS: i64 = 200_000;
/// Packets held: more than a second of 10 ms packets. When full, the oldest is dropped.
const MAX_PACKETS: usize = 128;
/// Concealment in a row; then silence is better than a drone.
const MAX_CONCEALED: u32 = 5;
/// Packets taken between two corrections of delay by one packet.
const CORRECTION_INTERVAL: u32 = 8;
/// Excess delay above which every second packet is dropped until it is gone.
const URGENT_MICROS: i64 = 120_000;
/// Excess delay that is thrown away at once.
const HOPELESS_MICROS: i64 = 400_000;
/// Late packets in a row after which the buffer begins anew: the sender's clock jumped back.
const MAX_LATE: u32 = 8;
/// A first packet after silence that is this much later than expected is a jump of the sender's
/// clock (some stop it while they are silent).
const JUMP_MICROS: i64 = 500_000;
/// Buffers kept for further use.
const MAX_SPARE: usize = 16;

/// A packet that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// RTP timestamp of its first sample.
    pub ts: ExtTs,
    /// RTP payload type: which decoder it is for.
    pub payload_type: u8,
    /// Payload for the decoder. Give it back by [`JitterBuffer::recycle`].
    pub payload: Vec<u8>,
}

/// What the mixer gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Decode this.
    Frame(Frame),
    /// A packet is missing: let the decoder conceal this much, which stands for this timestamp.
    Conceal {
        /// RTP timestamp of the first concealed sample.
        ts: ExtTs,
        /// How much.
        duration: Duration,
    },
    /// Nothing is due: mix silence for this tick.
    Silence,
}

/// Figures of a buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets given to the mixer.
    pub played: u64,
    /// Concealments.
    pub concealed: u64,
    /// Packets that came after their turn.
    pub late: u64,
    /// Packets dropped to catch up or because the buffer was full.
    pub dropped: u64,
    /// Target delay now.
    pub target: Duration,
}

/// Orders and delays the packets of one audio stream.
#[derive(Debug)]
pub struct JitterBuffer {
    clock_hz: u32,
    packets: BTreeMap<ExtTs, Packet>,
    /// Timestamp due next; `None` before the first packet was given.
    next_ts: Option<ExtTs>,
    last_seq: Option<ExtSeq>,
    playing: bool,
    /// Packet time in ticks, as seen between consecutive packets.
    packet_ticks: i64,
    newest: Option<(ExtSeq, ExtTs)>,
    lateness: Lateness,
    /// Concealments given since the last packet, of which so many did not advance `next_ts`.
    concealed_in_row: u32,
    stretched: u32,
    since_correction: u32,
    late_in_row: u32,
    spare: Vec<Vec<u8>>,
    stats: Stats,
}

#[derive(Debug)]
struct Packet {
    seq: ExtSeq,
    payload_type: u8,
    payload: Vec<u8>,
}

impl JitterBuffer {
    /// A buffer for a stream whose timestamps tick at `clock_hz`.
    pub fn new(clock_hz: u32) -> Self {
        Self {
            clock_hz: clock_hz.max(1),
            packets: BTreeMap::new(),
            next_ts: None,
            last_seq: None,
            playing: false,
            packet_ticks: i64::from(clock_hz / 50).max(1),
            newest: None,
            lateness: Lateness::default(),
            concealed_in_row: 0,
            stretched: 0,
            since_correction: 0,
            late_in_row: 0,
            spare: Vec::new(),
            stats: Stats::default(),
        }
    }

    /// A packet arrived. Telephone events do not belong here.
    pub fn insert(
        &mut self,
        now: Instant,
        accepted: &Accepted,
        header: &RtpHeader,
        payload: &[u8],
    ) {
        let RtpHeader {
            marker,
            payload_type,
            ..
        } = *header;
        if accepted.restarted || self.jumped(now, accepted.ts) {
            self.reset();
        }
        self.learn_packet_time(accepted, marker);
        self.lateness.add(now, self.ticks_micros(accepted.ts));
        if self.next_ts.is_some_and(|next| accepted.ts < next) {
            self.stats.late += 1;
            self.late_in_row += 1;
            if self.late_in_row >= MAX_LATE {
                self.reset();
            }
            return;
        }
        self.late_in_row = 0;
        if self.packets.len() >= MAX_PACKETS {
            self.drop_first();
        }
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.extend_from_slice(payload);
        self.packets.insert(
            accepted.ts,
            Packet {
                seq: accepted.seq,
                payload_type,
                payload: copy,
            },
        );
    }

    /// What is to be heard next. Call it as often as a tick needs packets; one call yields one
    /// packet of sound.
    pub fn take(&mut self, now: Instant) -> Taken {
        self.drop_hopeless(now);
        let Some((&first, packet)) = self.packets.first_key_value() else {
            return self.take_empty();
        };
        let lost = self.last_seq.is_some_and(|last| packet.seq.since(last) > 1);
        let due = self.delay_micros(now, first) >= self.target_micros();
        let Some(next) = self.next_ts.filter(|_| self.playing) else {
            return if due {
                self.play(first)
            } else {
                Taken::Silence
            };
        };
        if first.since(next) < self.packet_ticks.max(2) / 2 {
            return self.take_in_turn(now, first);
        }
        if !lost {
            // The sender was silent (DTX): nothing is missing.
            return if due {
                self.play(first)
            } else {
                Taken::Silence
            };
        }
        self.take_across_loss(first, next, due)
    }

    /// Payload type and payload of the packet right behind a concealed one at `ts`, if it is there
    /// already: it may tell what was lost.
    pub fn behind(&self, ts: ExtTs) -> Option<(u8, &[u8])> {
        let (first, packet) = self.packets.first_key_value()?;
        let next = first.since(ts) - self.packet_ticks;
        (next.abs() < self.packet_ticks.max(2) / 2)
            .then_some((packet.payload_type, packet.payload.as_slice()))
    }

    /// Gives the buffer of a played packet back.
    pub fn recycle(&mut self, mut payload: Vec<u8>) {
        if self.spare.len() < MAX_SPARE {
            payload.clear();
            self.spare.push(payload);
        }
    }

    /// Figures so far.
    pub fn stats(&self) -> Stats {
        let target = Duration::from_micros(self.target_micros() as u64);
        Stats {
            target,
            ..self.stats
        }
    }

    /// The next packet is there. Gives it, unless the delay is to be corrected.
    fn take_in_turn(&mut self, now: Instant, first: ExtTs) -> Taken {
        self.since_correction = self.since_correction.saturating_add(1);
        let packet_micros = ticks_to_micros(self.packet_ticks, self.clock_hz);
        let slack = (packet_micros * 3 / 2).max(20_000);
        let excess = self.delay_micros(now, first) - self.target_micros();
        let interval = if excess > URGENT_MICROS {
            2
        } else {
            CORRECTION_INTERVAL
        };
        if self.since_correction >= interval {
            if excess > slack && self.packets.len() > 1 {
                self.since_correction = 0;
                self.drop_first();
                if let Some((&second, _)) = self.packets.first_key_value() {
                    return self.play(second);
                }
            } else if excess < -slack {
                self.since_correction = 0;
                return self.conceal(first);
            }
        }
        self.play(first)
    }

    /// Packets are missing before the first one held.
    fn take_across_loss(&mut self, first: ExtTs, next: ExtTs, due: bool) -> Taken {
        // Sound concealed while nothing was there stood for the packets now known to be lost.
        let owed = first.since(next) / self.packet_ticks.max(1);
        let covered = i64::from(self.stretched).min(owed);
        self.stretched = 0;
        let next = next.offset(covered * self.packet_ticks);
        self.next_ts = Some(next);
        if first.since(next) < self.packet_ticks.max(2) / 2 {
            return self.play(first);
        }
        if self.concealed_in_row < MAX_CONCEALED {
            self.next_ts = Some(next.offset(self.packet_ticks));
            return self.conceal(next);
        }
        if due {
            self.play(first)
        } else {
            Taken::Silence
        }
    }

    /// Nothing is held: bridge a short gap without moving on, then fall silent.
    fn take_empty(&mut self) -> Taken {
        match self.next_ts {
            Some(next) if self.playing && self.concealed_in_row < MAX_CONCEALED => {
                self.stretched += 1;
                self.conceal(next)
            }
            _ => {
                self.playing = false;
                self.stretched = 0;
                Taken::Silence
            }
        }
    }

    fn conceal(&mut self, ts: ExtTs) -> Taken {
        self.concealed_in_row += 1;
        self.stats.concealed += 1;
        let micros = ticks_to_micros(self.packet_ticks, self.clock_hz);
        Taken::Conceal {
            ts,
            duration: Duration::from_micros(micros.max(0) as u64),
        }
    }

    fn play(&mut self, ts: ExtTs) -> Taken {
        let Some(packet) = self.packets.remove(&ts) else {
            return Taken::Silence;
        };
        self.playing = true;
        self.next_ts = Some(ts.offset(self.packet_ticks));
        self.last_seq = Some(packet.seq);
        self.concealed_in_row = 0;
        self.stretched = 0;
        self.stats.played += 1;
        Taken::Frame(Frame {
            ts,
            payload_type: packet.payload_type,
            payload: packet.payload,
        })
    }

    fn drop_first(&mut self) {
        if let Some((ts, packet)) = self.packets.pop_first() {
            self.stats.dropped += 1;
            self.last_seq = Some(packet.seq);
            self.next_ts = Some(ts.offset(self.packet_ticks));
            self.recycle(packet.payload);
        }
    }

    /// After an outage the burst that arrives is older than anybody wants to hear.
    fn drop_hopeless(&mut self, now: Instant) {
        let target = self.target_micros();
        let limit = if self.playing {
            HOPELESS_MICROS
        } else {
            URGENT_MICROS
        };
        let first = self.packets.first_key_value().map(|(ts, _)| *ts);
        if first.is_none_or(|first| self.delay_micros(now, first) - target <= limit) {
            return;
        }
        while let Some((&first, _)) = self.packets.first_key_value()
            && self.packets.len() > 1
            && self.delay_micros(now, first) > target
        {
            self.drop_first();
        }
    }

    /// Forgets all packets and what was learnt of their times: the sender began anew.
    pub fn reset(&mut self) {
        while let Some((_, packet)) = self.packets.pop_first() {
            self.recycle(packet.payload);
        }
        self.next_ts = None;
        self.last_seq = None;
        self.newest = None;
        self.playing = false;
        self.lateness = Lateness::default();
        self.concealed_in_row = 0;
        self.stretched = 0;
        self.late_in_row = 0;
    }

    /// The sender's clock stood still or jumped: its packet is far later than the shortest path,
    /// though nothing was under way.
    fn jumped(&self, now: Instant, ts: ExtTs) -> bool {
        let idle = !self.playing && self.packets.is_empty();
        idle && self
            .lateness
            .of(now, self.ticks_micros(ts))
            .is_some_and(|micros| micros.abs() > JUMP_MICROS)
    }

    /// The distance of two packets that follow each other is the packet time, unless a talk spurt
    /// begins between them.
    fn learn_packet_time(&mut self, accepted: &Accepted, marker: bool) {
        if let Some((seq, ts)) = self.newest {
            let ticks = accepted.ts.since(ts);
            let longest = micros_to_ticks(60_000, self.clock_hz);
            let shortest = micros_to_ticks(2_500, self.clock_hz);
            if accepted.seq == seq.next() && !marker && (shortest..=longest).contains(&ticks) {
                self.packet_ticks = ticks;
            }
        }
        if self.newest.is_none_or(|(seq, _)| accepted.seq > seq) {
            self.newest = Some((accepted.seq, accepted.ts));
        }
    }

    /// How long after the shortest path's arrival a timestamp would be played now.
    fn delay_micros(&self, now: Instant, ts: ExtTs) -> i64 {
        self.lateness.of(now, self.ticks_micros(ts)).unwrap_or(0)
    }

    fn target_micros(&self) -> i64 {
        let packet = ticks_to_micros(self.packet_ticks, self.clock_hz);
        (self.lateness.usual() + packet).clamp(MIN_TARGET_MICROS.max(packet), MAX_TARGET_MICROS)
    }

    fn ticks_micros(&self, ts: ExtTs) -> i64 {
        ticks_to_micros(ts.get() as i64, self.clock_hz)
    }
}

/// Length of one of the two windows in which lateness is looked at.
const WINDOW: Duration = Duration::from_secs(2);
/// So many of the latest packets of a window are left out: single ones are cheaper to conceal than
/// to wait for.
const OUTLIERS: usize = 2;

/// How much later than by the shortest path packets arrive. Two windows, the present and the one
/// before, so that what happened is forgotten after two to four seconds.
#[derive(Debug, Default)]
struct Lateness {
    origin: Option<Instant>,
    began: Option<Instant>,
    windows: [Window; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// Smallest transit time in µs: arrival less media time, up to a constant.
    shortest: Option<i64>,
    /// The largest transit times, descending.
    longest: [Option<i64>; OUTLIERS + 1],
}

impl Lateness {
    fn add(&mut self, now: Instant, media_micros: i64) {
        let origin = *self.origin.get_or_insert(now);
        let began = *self.began.get_or_insert(now);
        if now.saturating_duration_since(began) >= WINDOW {
            self.windows = [Window::default(), self.windows[0]];
            self.began = Some(now);
        }
        let transit = signed_micros(now, origin) - media_micros;
        self.windows[0].add(transit);
    }

    /// Lateness of something with this media time that happens now.
    fn of(&self, now: Instant, media_micros: i64) -> Option<i64> {
        let transit = signed_micros(now, self.origin?) - media_micros;
        Some(transit - self.shortest()?)
    }

    /// Lateness that all but outliers keep within.
    fn usual(&self) -> i64 {
        let longest = self
            .windows
            .iter()
            .filter_map(|window| window.longest[OUTLIERS])
            .max();
        match (longest, self.shortest()) {
            (Some(longest), Some(shortest)) => longest - shortest,
            _ => 0,
        }
    }

    fn shortest(&self) -> Option<i64> {
        self.windows
            .iter()
            .filter_map(|window| window.shortest)
            .min()
    }
}

impl Window {
    fn add(&mut self, transit: i64) {
        self.shortest = Some(self.shortest.map_or(transit, |old| old.min(transit)));
        let mut carried = Some(transit);
        for place in &mut self.longest {
            if carried > *place {
                std::mem::swap(&mut carried, place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    /// Feeds a buffer from a list of arrivals and ticks it every `tick_ms`.
    struct Player {
        start: Instant,
        buffer: JitterBuffer,
        arrivals: Vec<(u64, Accepted, bool)>,
        /// What each tick got, with its time in ms.
        heard: Vec<(u64, Taken)>,
        packet_ms: u64,
    }

    /// Only marker and payload type are looked at.
    fn header(marker: bool) -> RtpHeader {
        RtpHeader {
            payload_type: 111,
            marker,
            sequence: 0,
            timestamp: 0,
            ssrc: 0,
        }
    }

    impl Player {
        fn new(packet_ms: u64) -> Self {
            let buffer = JitterBuffer::new(48_000);
            let (arrivals, heard) = (Vec::new(), Vec::new());
            Self {
                start: Instant::now(),
                buffer,
                arrivals,
                heard,
                packet_ms,
            }
        }

        /// Packet `n` is sent at `n` packet times and arrives `delay_ms` later.
        fn send(&mut self, n: u64, delay_ms: u64) {
            self.send_as(n, n * self.packet_ms, n * self.packet_ms + delay_ms, false);
        }

        fn send_as(&mut self, n: u64, media_ms: u64, arrival_ms: u64, marker: bool) {
            let seq = ExtSeq::new(65_536 + n);
            let ts = ExtTs::new((1 << 32) + media_ms * 48);
            self.arrivals.push((
                arrival_ms,
                Accepted {
                    seq,
                    ts,
                    restarted: false,
                },
                marker,
            ));
        }

        fn run(&mut self, until_ms: u64) {
            self.arrivals.sort_by_key(|(at, _, _)| *at);
            let mut arrivals = std::mem::take(&mut self.arrivals).into_iter().peekable();
            for ms in 0..until_ms {
                let now = self.start + Duration::from_millis(ms);
                while let Some((_, accepted, marker)) = arrivals.next_if(|(at, _, _)| *at <= ms) {
                    let payload = accepted.seq.get().to_be_bytes();
                    self.buffer
                        .insert(now, &accepted, &header(marker), &payload);
                }
                if ms % self.packet_ms == 3 {
                    let taken = self.buffer.take(now);
                    self.heard.push((ms, taken));
                }
            }
        }

        fn frames(&self) -> Vec<(u64, u64)> {
            let frame = |(ms, taken): &(u64, Taken)| match taken {
                Taken::Frame(frame) => Some((*ms, (frame.ts.get() - (1 << 32)) / 48)),
                _ => None,
            };
            self.heard.iter().filter_map(frame).collect()
        }

        /// Delay from sending to hearing of the frames heard between two times, in ms.
        fn delays(&self, from_ms: u64, to_ms: u64) -> Vec<u64> {
            let inside = self
                .frames()
                .into_iter()
                .filter(|(ms, _)| (from_ms..to_ms).contains(ms));
            inside.map(|(ms, media)| ms - media).collect()
        }
    }

    #[test]
    fn a_steady_stream_is_heard_whole_with_little_delay() {
        for packet_ms in [10, 20, 30, 60] {
            let mut player = Player::new(packet_ms);
            (0..200).for_each(|n| player.send(n, 40));
            player.run(200 * packet_ms);
            let frames = player.frames();
            let delayed = (40 + 20 + 2 * packet_ms) / packet_ms;
            assert!(
                frames.len() as u64 >= 200 - delayed,
                "{packet_ms} ms: {}",
                frames.len()
            );
            assert!(
                frames
                    .windows(2)
                    .all(|pair| pair[1].1 == pair[0].1 + packet_ms)
            );
            let delay = *player.delays(0, 100_000).iter().max().unwrap();
            assert!(delay <= 40 + 20 + 2 * packet_ms, "{packet_ms} ms: {delay}");
            let stats = player.buffer.stats();
            assert_eq!((stats.concealed, stats.late, stats.dropped), (0, 0, 0));
        }
    }

    #[test]
    fn random_jitter_is_absorbed() {
        let mut random = StdRng::seed_from_u64(5);
        let mut player = Player::new(20);
        (0..1_000).for_each(|n| player.send(n, 30 + random.random_range(0..60)));
        player.run(20_000);
        let heard = player.delays(4_000, 20_000).len();
        assert!(heard >= 780, "{heard} of 800");
        let worst = *player.delays(4_000, 20_000).iter().max().unwrap();
        assert!(worst <= 30 + 60 + 80, "{worst}");
    }

    #[test]
    fn lost_packets_are_concealed_in_place() {
        let mut player = Player::new(20);
        (0..200)
            .filter(|n| n % 10 != 7)
            .for_each(|n| player.send(n, 10));
        player.run(4_000);
        let stats = player.buffer.stats();
        assert!((18..=21).contains(&stats.concealed), "{stats:?}");
        assert_eq!((stats.late, stats.dropped), (0, 0));
        // The delay stays what it was.
        let delays = player.delays(0, 4_000);
        assert!(
            delays.iter().all(|delay| delay.abs_diff(delays[0]) <= 1),
            "{delays:?}"
        );
    }

    #[test]
    fn a_delay_spike_is_followed_and_recovered_from() {
        let mut player = Player::new(20);
        for n in 0..600 {
            // At 4 s the path stands still for 160 ms; what queued arrives in one burst.
            let sent = n * 20;
            let arrival = if (4_000..4_160).contains(&sent) {
                4_160
            } else {
                sent
            };
            player.send_as(n, sent, arrival + 30, false);
        }
        player.run(12_000);
        let before = *player.delays(3_000, 4_000).iter().max().unwrap();
        let after = *player.delays(10_500, 12_000).iter().max().unwrap();
        assert!(before <= 80 && after <= before + 20, "{before} {after}");
        let stats = player.buffer.stats();
        assert!(
            stats.concealed <= 10 && stats.late <= 2 && stats.dropped <= 12,
            "{stats:?}"
        );
    }

    #[test]
    fn an_outage_does_not_leave_delay_behind() {
        let mut player = Player::new(20);
        for n in 0..600 {
            let sent = n * 20;
            let arrival = if (4_000..5_000).contains(&sent) {
                5_000
            } else {
                sent
            };
            player.send_as(n, sent, arrival + 30, false);
        }
        player.run(12_000);
        let soon = *player.delays(7_000, 8_000).iter().max().unwrap();
        let after = *player.delays(10_500, 12_000).iter().max().unwrap();
        assert!(soon <= 300 && after <= 100, "{soon} {after}");
    }

    #[test]
    fn silence_of_the_sender_is_silence() {
        let mut player = Player::new(20);
        let mut n = 0;
        for spurt in 0..5 {
            for packet in 0..25 {
                let media = spurt * 1_500 + packet * 20;
                player.send_as(n, media, media + 25, packet == 0);
                n += 1;
            }
        }
        player.run(7_000);
        assert_eq!(player.frames().len(), 125);
        let stats = player.buffer.stats();
        assert!(stats.concealed <= 5 * u64::from(MAX_CONCEALED), "{stats:?}");
        assert_eq!((stats.late, stats.dropped), (0, 0));
        let silent = player
            .heard
            .iter()
            .filter(|(_, taken)| *taken == Taken::Silence)
            .count();
        assert!(silent > 150);
    }

    #[test]
    fn comfort_gaps_without_marker_are_not_concealed_for_long() {
        let mut player = Player::new(20);
        // Opus DTX: one packet every 400 ms, sequence numbers follow each other.
        (0..20).for_each(|n| player.send_as(n, n * 400, n * 400 + 20, false));
        player.run(8_100);
        assert!(player.frames().len() >= 19);
        assert_eq!(player.buffer.stats().late, 0);
    }

    #[test]
    fn a_clock_that_stands_still_during_silence_is_followed() {
        let mut player = Player::new(20);
        (0..100).for_each(|n| player.send(n, 20));
        // Ten seconds of wall clock later the media clock goes on as if nothing had been.
        (100..200).for_each(|n| player.send_as(n, n * 20, n * 20 + 10_020, n == 100));
        player.run(14_200);
        let late = player
            .frames()
            .iter()
            .filter(|(ms, _)| *ms > 12_000)
            .count();
        assert!(late >= 98, "{late}");
    }

    #[test]
    fn a_clock_that_jumps_back_is_followed() {
        let mut player = Player::new(20);
        (100..200).for_each(|n| player.send_as(n, n * 20, (n - 100) * 20, false));
        (200..300).for_each(|n| player.send_as(n, (n - 200) * 20, (n - 100) * 20, false));
        player.run(4_200);
        let after = player.frames().iter().filter(|(ms, _)| *ms > 2_100).count();
        assert!(after >= 85, "{after}");
    }

    #[test]
    fn a_fast_clock_is_kept_up_with() {
        let mut player = Player::new(20);
        // 500 ppm fast, ten times what crystals do: a packet every 19.99 ms, for 100 s.
        (0..5_000).for_each(|n| player.send_as(n, n * 20, n * 19_990 / 1_000 + 20, false));
        player.run(99_900);
        let frames = player.frames();
        let (ms, media) = *frames.last().unwrap();
        let behind = (ms as i64) - (media as i64 * 19_990 / 20_000);
        assert!(behind <= 120, "{behind}");
        assert!(
            player.buffer.stats().concealed <= 3,
            "{:?}",
            player.buffer.stats()
        );
    }

    #[test]
    fn the_buffer_is_bounded_whatever_comes() {
        let start = Instant::now();
        let mut random = StdRng::seed_from_u64(8);
        let mut buffer = JitterBuffer::new(8_000);
        for n in 0..50_000u64 {
            let now = start + Duration::from_millis(n / 10);
            let ts = ExtTs::new(random.random_range(0..u64::from(u32::MAX)));
            let seq = ExtSeq::new(random.random_range(0..100_000));
            let accepted = Accepted {
                seq,
                ts,
                restarted: n % 9_999 == 0,
            };
            buffer.insert(now, &accepted, &header(n % 3 == 0), &[0; 160]);
            assert!(buffer.packets.len() <= MAX_PACKETS);
            if n % 20 == 0 {
                buffer.take(now);
            }
        }
    }
}
