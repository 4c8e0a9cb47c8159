//! The clock of a room and the clocks of those who send into it.
//!
//! Three times are kept apart by type: `Instant` (monotonic now), [`NtpTime`] (wall clock of a
//! sender report) and RTP timestamps (media time).

use std::time::{Duration, Instant, SystemTime};

use crate::seq::{ExtTs, TsExtender};

/// Seconds from 1900 (NTP) to 1970 (Unix), RFC 5905 figure 4.
const NTP_UNIX_SECONDS: u64 = 2_208_988_800;
/// Arrivals over which the shortest path of a source is looked for.
const PATH_WINDOW: Duration = Duration::from_secs(4);
/// After a silence of so long, what was learnt of the path is out of date: clocks drift.
const PATH_STALE: Duration = Duration::from_secs(60);
/// After a silence of so long, only a report near the packet says how often its timestamps have wrapped
/// meanwhile: half their range is 6.6 hours at 90 kHz.
const LONG_SILENCE: Duration = Duration::from_secs(3_600);
/// An offset that jumps further is taken at once; a smaller step is smoothed.
const SNAP_MICROS: i64 = 150_000;

/// Lags of sound behind its picture that can be: what is beyond has two clocks.
const LAG_MICROS: std::ops::RangeInclusive<i64> = -200_000..=1_000_000;

/// Half a unit before the lowest bit of 32.32 is cut: rounds to the nearest.
const HALF: i128 = 1 << 31;

/// NTP timestamp: seconds since 1900 in 32.32 fixed point, RFC 3550 §4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NtpTime(u64);

impl NtpTime {
    /// From the 64 bits of a sender report.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The 64 bits of a sender report.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The middle 32 bits, in units of 1/65,536 s: LSR of a report block, RFC 3550 §6.4.1.
    pub const fn compact(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// From wall-clock time.
    pub fn from_system(time: SystemTime) -> Self {
        let since = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let seconds = since.as_secs().wrapping_add(NTP_UNIX_SECONDS);
        let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
        Self((seconds << 32) | fraction)
    }

    /// This time moved by `micros`, either way.
    #[must_use]
    pub const fn offset_micros(self, micros: i64) -> Self {
        let seconds = micros.div_euclid(1_000_000) as u64;
        let fraction = ((micros.rem_euclid(1_000_000) as u64) << 32) / 1_000_000;
        Self(self.0.wrapping_add(seconds << 32).wrapping_add(fraction))
    }

    /// Microseconds from `earlier` to here, negative when it is later. Wraps after 68 years.
    pub const fn micros_since(self, earlier: Self) -> i64 {
        let units = self.0.wrapping_sub(earlier.0) as i64;
        ((units as i128 * 1_000_000 + HALF) >> 32) as i64
    }
}

/// One clock for everything that a room sends.
#[derive(Clone, Copy, Debug)]
pub struct RoomClock {
    epoch: Instant,
    epoch_ntp: NtpTime,
}

impl RoomClock {
    /// A clock that shows `wall` at `now` and runs with the monotonic clock from there on.
    pub fn new(now: Instant, wall: SystemTime) -> Self {
        Self {
            epoch: now,
            epoch_ntp: NtpTime::from_system(wall),
        }
    }

    /// Room time of an instant.
    pub fn ntp(&self, at: Instant) -> NtpTime {
        self.epoch_ntp.offset_micros(signed_micros(at, self.epoch))
    }

    /// RTP timestamp of a room time for a clock of `clock_hz`. Streams add an offset of their own.
    pub fn rtp(&self, time: NtpTime, clock_hz: u32) -> u32 {
        let units = time.get().wrapping_sub(self.epoch_ntp.get()) as i64;
        ((i128::from(units) * i128::from(clock_hz) + HALF) >> 32) as u32
    }
}

/// What the times of a [`SourceClock`] rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The source's own wall clock, by its sender reports: comparable between its streams.
    SenderReport,
    /// Arrival only: no report came yet.
    Arrival,
}

/// Maps one source stream's RTP timestamps to room time.
///
/// Source time is the source's own NTP where it sends reports. Room time is source time plus an
/// offset: the one that the audio mixer measured for this source, since the listener hears sound
/// when the mixer played it; without one, the shortest arrival of late.
#[derive(Clone, Debug)]
pub struct SourceClock {
    clock_hz: u32,
    extender: TsExtender,
    /// Last report: RTP timestamp and source NTP.
    report: Option<(ExtTs, NtpTime)>,
    /// First packet: stands in for a report until one comes.
    first: Option<(ExtTs, NtpTime)>,
    path: PathMinimum,
    mixer_offset: Option<(Basis, i64)>,
    /// When the last packet came.
    heard: Option<Instant>,
}

impl SourceClock {
    /// A clock for a stream whose timestamps tick at `clock_hz`.
    pub fn new(clock_hz: u32) -> Self {
        Self {
            clock_hz: clock_hz.max(1),
            extender: TsExtender::new(),
            report: None,
            first: None,
            path: PathMinimum::default(),
            mixer_offset: None,
            heard: None,
        }
    }

    /// A packet with this timestamp arrived.
    pub fn handle_packet(&mut self, now: Instant, room: &RoomClock, timestamp: u32) {
        self.note_silence(now, timestamp);
        let ts = self.extender.extend(timestamp);
        let arrival = room.ntp(now);
        self.first.get_or_insert((ts, arrival));
        if let Some(source) = self.source_time_ext(ts) {
            self.path.add(now, arrival.micros_since(source));
        }
    }

    /// The source's sender report arrived.
    pub fn handle_sender_report(&mut self, ntp: NtpTime, timestamp: u32) {
        // A report before the first packet, or with a clock that was never set, tells nothing.
        if ntp.get() == 0 || self.extender.highest().is_none() {
            return;
        }
        let latest = self.extender.highest().zip(self.latest_arrival());
        // A source may report for days without sending: its wraps are counted here, too.
        let ts = self.extender.extend(timestamp);
        let moved = self.report.is_none_or(|(old_ts, old_ntp)| {
            let predicted = old_ntp.offset_micros(ticks_to_micros(ts.since(old_ts), self.clock_hz));
            ntp.micros_since(predicted).abs() > SNAP_MICROS
        });
        if moved {
            // Room time goes on from where it was: only its description changes.
            self.path = PathMinimum::default();
            self.mixer_offset = None;
            if let Some((latest_ts, arrival)) = latest {
                let source = ntp.offset_micros(ticks_to_micros(latest_ts.since(ts), self.clock_hz));
                self.path.seed(arrival.micros_since(source));
            }
        }
        self.report = Some((ts, ntp));
    }

    /// What times rest on now.
    pub fn basis(&self) -> Basis {
        if self.report.is_some() {
            Basis::SenderReport
        } else {
            Basis::Arrival
        }
    }

    /// Source time of a timestamp; `None` before the first packet.
    pub fn source_time(&self, timestamp: u32) -> Option<NtpTime> {
        self.source_time_ext(self.extender.peek(timestamp))
    }

    /// Room time of a timestamp; `None` before the first packet.
    pub fn room_time(&self, timestamp: u32) -> Option<NtpTime> {
        Some(
            self.source_time(timestamp)?
                .offset_micros(self.offset_micros()?),
        )
    }

    /// The timestamp that the source gives to a room time: inverse of [`Self::room_time`].
    pub fn timestamp_at(&self, room_time: NtpTime) -> Option<u32> {
        let source = room_time.offset_micros(-self.offset_micros()?);
        let (ts, ntp) = self.report.or(self.first)?;
        let ticks = micros_to_ticks(source.micros_since(ntp), self.clock_hz);
        Some(ts.wire().wrapping_add(ticks as u32))
    }

    /// Microseconds to add to source time for room time.
    pub fn offset_micros(&self) -> Option<i64> {
        let arrival = self.path.minimum();
        let measured = self
            .mixer_offset
            .filter(|(basis, _)| *basis == self.basis());
        // A source whose calendar is set tells so by the report of one stream, and seconds later by
        // that of the other.
        let credible = |micros: &i64| arrival.is_none_or(|at| LAG_MICROS.contains(&(micros - at)));
        measured
            .map(|(_, micros)| micros)
            .filter(credible)
            .or(arrival)
    }

    /// How much later the mixer plays this source's sound than this stream of it arrives, in µs;
    /// `None` while the two cannot be compared, or where a source's clocks contradict each other.
    pub fn sound_lag_micros(&self) -> Option<i64> {
        let (basis, micros) = self.mixer_offset?;
        let arrival = self.path.minimum().filter(|_| basis == self.basis())?;
        Some(micros - arrival).filter(|lag| LAG_MICROS.contains(lag))
    }

    /// Room time less source time, as the audio mixer measured when it played this source's sound:
    /// `basis` is that of the sound's clock. Ignored while it rests on another basis than this
    /// stream, since the two are not comparable then. Small changes are smoothed.
    pub fn set_mixer_offset(&mut self, basis: Basis, micros: i64) {
        let smoothed = match self.mixer_offset {
            Some((old_basis, old)) if old_basis == basis && (micros - old).abs() < SNAP_MICROS => {
                old + (micros - old) / 8
            }
            _ => micros,
        };
        self.mixer_offset = Some((basis, smoothed));
    }

    /// Forgets what a silence before this packet has made doubtful.
    fn note_silence(&mut self, now: Instant, timestamp: u32) {
        let heard = self.heard.replace(now);
        let silence = heard.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        if silence < PATH_STALE {
            return;
        }
        self.path = PathMinimum::default();
        let ts = self.extender.peek(timestamp);
        let near = self.report.is_some_and(|(reported, _)| {
            let micros = ticks_to_micros(ts.since(reported), self.clock_hz);
            u128::from(micros.unsigned_abs()) < LONG_SILENCE.as_micros()
        });
        if silence > LONG_SILENCE && !near {
            *self = Self {
                heard: self.heard,
                ..Self::new(self.clock_hz)
            };
        }
    }

    fn source_time_ext(&self, ts: ExtTs) -> Option<NtpTime> {
        let (base_ts, base) = self.report.or(self.first)?;
        Some(base.offset_micros(ticks_to_micros(ts.since(base_ts), self.clock_hz)))
    }

    /// Arrival of the highest timestamp, as the path minimum and the present basis tell it.
    fn latest_arrival(&self) -> Option<NtpTime> {
        let source = self.source_time_ext(self.extender.highest()?)?;
        Some(source.offset_micros(self.path.minimum().unwrap_or(0)))
    }
}

/// Smallest of the values of the last [`PATH_WINDOW`], kept in two halves.
#[derive(Clone, Copy, Debug, Default)]
struct PathMinimum {
    started: Option<Instant>,
    previous: Option<i64>,
    current: Option<i64>,
}

impl PathMinimum {
    fn add(&mut self, now: Instant, micros: i64) {
        let started = *self.started.get_or_insert(now);
        if now.saturating_duration_since(started) >= PATH_WINDOW / 2 {
            self.previous = self.current.take();
            self.started = Some(now);
        }
        self.current = Some(self.current.map_or(micros, |old| old.min(micros)));
    }

    fn seed(&mut self, micros: i64) {
        self.previous = Some(micros);
    }

    fn minimum(&self) -> Option<i64> {
        match (self.previous, self.current) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

/// Microseconds from `earlier` to `at`, either way.
pub(crate) fn signed_micros(at: Instant, earlier: Instant) -> i64 {
    match at.checked_duration_since(earlier) {
        Some(forward) => forward.as_micros() as i64,
        None => -(earlier.saturating_duration_since(at).as_micros() as i64),
    }
}

/// Ticks of a clock in microseconds.
pub(crate) fn ticks_to_micros(ticks: i64, clock_hz: u32) -> i64 {
    convert(ticks, i64::from(clock_hz.max(1)), 1_000_000)
}

/// Microseconds in ticks of a clock.
pub(crate) fn micros_to_ticks(micros: i64, clock_hz: u32) -> i64 {
    convert(micros, 1_000_000, i64::from(clock_hz))
}

/// `value` of `from` to the second in `to` to the second, rounded down. Whole seconds and the rest
/// apart, since the product of all would not fit 64 bits.
fn convert(value: i64, from: i64, to: i64) -> i64 {
    let whole = value.div_euclid(from).saturating_mul(to);
    whole.saturating_add(value.rem_euclid(from) * to / from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> (Instant, RoomClock) {
        let now = Instant::now();
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        (now, RoomClock::new(now, wall))
    }

    #[test]
    fn room_clock_runs_with_the_monotonic_clock() {
        let (start, room) = room();
        let first = room.ntp(start);
        assert_eq!(first.get() >> 32, 1_700_000_000 + NTP_UNIX_SECONDS);
        let later = room.ntp(start + Duration::from_millis(1500));
        assert_eq!(later.micros_since(first), 1_500_000);
        assert_eq!(first.micros_since(later), -1_500_000);
        assert_eq!(room.rtp(later, 90_000), 135_000);
        assert_eq!(
            room.rtp(first.offset_micros(-20_000), 48_000),
            0u32.wrapping_sub(960)
        );
        assert_eq!(
            room.rtp(room.ntp(start + Duration::from_secs(90_000)), 90_000),
            3_805_032_704
        );
    }

    #[test]
    fn without_reports_the_shortest_arrival_counts() {
        let (start, room) = room();
        let mut clock = SourceClock::new(90_000);
        assert_eq!(clock.room_time(5), None);
        for (n, jitter) in [30u64, 0, 10, 25].into_iter().enumerate() {
            let now = start + Duration::from_millis(100 + 20 * n as u64 + jitter);
            clock.handle_packet(now, &room, 1_000 + 1_800 * n as u32);
        }
        assert_eq!(clock.basis(), Basis::Arrival);
        let shown = clock.room_time(1_000).unwrap();
        assert_eq!(shown.micros_since(room.ntp(start)), 100_000);
        assert_eq!(clock.timestamp_at(shown), Some(1_000));
    }

    #[test]
    fn sound_and_picture_of_one_source_share_room_time() {
        let (start, room) = room();
        let source_epoch = NtpTime::new(0x1234_5678_0000_0000);
        let mut sound = SourceClock::new(48_000);
        let mut picture = SourceClock::new(90_000);
        for n in 0..50u64 {
            let sent = Duration::from_millis(20 * n);
            sound.handle_packet(
                start + sent + Duration::from_millis(40),
                &room,
                960 * n as u32,
            );
            picture.handle_packet(
                start + sent + Duration::from_millis(90),
                &room,
                77 + 1_800 * n as u32,
            );
        }
        sound.handle_sender_report(source_epoch.offset_micros(1_000_000), 48_000);
        picture.handle_sender_report(source_epoch.offset_micros(1_000_000), 77 + 90_000);
        assert_eq!(picture.basis(), Basis::SenderReport);
        // The mixer played the sound of source time 0.5 s at 0.62 s after the start.
        let played = room.ntp(start + Duration::from_millis(620));
        let offset = played.micros_since(sound.source_time(24_000).unwrap());
        picture.set_mixer_offset(sound.basis(), offset);
        let shown = picture.room_time(77 + 45_000).unwrap();
        assert!(
            shown.micros_since(played).abs() < 20,
            "{}",
            shown.micros_since(played)
        );
        let back = picture.timestamp_at(shown).unwrap();
        assert!(back.abs_diff(77 + 45_000) <= 2);
        // Pictures took 90 ms to come, sound was played after 120 ms.
        let lag = picture.sound_lag_micros().unwrap();
        assert!((lag - 30_000).abs() < 20, "{lag}");
    }

    #[test]
    fn first_report_keeps_room_time_where_it_was() {
        let (start, room) = room();
        let mut clock = SourceClock::new(90_000);
        for n in 0..10u32 {
            clock.handle_packet(start + Duration::from_millis(33) * n, &room, n * 2_970);
        }
        let before = clock.room_time(2_970).unwrap();
        clock.handle_sender_report(NtpTime::new(99 << 32), 9_000);
        let after = clock.room_time(2_970).unwrap();
        assert!(after.micros_since(before).abs() < 50);
    }

    /// Defect: while a terminal's sound was reported by a calendar that had been set and its picture not
    /// yet, the picture was put an hour off.
    #[test]
    fn a_source_whose_calendar_is_set_is_shown_in_time() {
        let (start, room) = room();
        let mut sound = SourceClock::new(48_000);
        let mut picture = SourceClock::new(90_000);
        let hour = 3_600i64 * 1_000_000;
        let ntp = NtpTime::new(1_000 << 32);
        let mut tick = 0u32;
        let mut shown_off = |sound: &mut SourceClock, picture: &mut SourceClock| {
            for _ in 0..50 {
                tick += 1;
                let now = start + Duration::from_millis(20) * tick;
                sound.handle_packet(now, &room, tick * 960);
                picture.handle_packet(now, &room, tick * 1_800);
                // The mixer plays sound 60 ms after it came.
                let source = sound.source_time(tick * 960).unwrap();
                let played = room.ntp(now).offset_micros(60_000);
                picture.set_mixer_offset(sound.basis(), played.micros_since(source));
            }
            let now = room.ntp(start + Duration::from_millis(20) * tick);
            picture.room_time(tick * 1_800).unwrap().micros_since(now)
        };
        shown_off(&mut sound, &mut picture);
        sound.handle_sender_report(ntp, 0);
        picture.handle_sender_report(ntp, 0);
        let usual = shown_off(&mut sound, &mut picture);
        assert!((usual - 60_000).abs() < 1_000, "{usual}");
        for step in [hour, -hour] {
            let moved = ntp.offset_micros(step);
            sound.handle_sender_report(moved, 0);
            let between = shown_off(&mut sound, &mut picture);
            assert!(between.abs() < 100_000, "{between}");
            picture.handle_sender_report(moved, 0);
            let after = shown_off(&mut sound, &mut picture);
            assert!((after - 60_000).abs() < 1_000, "{after}");
        }
    }

    #[test]
    fn offset_of_another_basis_is_not_used() {
        let (start, room) = room();
        let mut clock = SourceClock::new(90_000);
        clock.handle_packet(start, &room, 0);
        clock.set_mixer_offset(Basis::SenderReport, 5_000_000);
        assert_eq!(clock.offset_micros(), Some(0));
        assert_eq!(clock.sound_lag_micros(), None);
        clock.set_mixer_offset(Basis::Arrival, 80_000);
        assert_eq!(clock.offset_micros(), Some(80_000));
    }
}
