//! Evens out pictures that came late because packets of theirs had to be asked for again.
//!
//! A picture whose packet is lost is whole a round trip later, and those behind it wait for it. Shown as
//! they become whole, they stand still and then rush. So on a line that loses packets each picture is
//! held back by as much as late ones have been late recently: the delay grows, the cadence is kept. On a
//! line that loses nothing nothing is held back.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use mcu_rtp::video::AccessUnit;

/// Never held back longer, in µs: beyond it people talk at the same time.
const MAX_DELAY: i64 = 400_000;
/// Pictures that wait; the oldest goes on its way when there are more.
const MAX_WAITING: usize = 64;
/// Share of the delay that is kept from one picture to the next: half of it in 8 s of 30 a second.
const KEPT: f64 = 0.997;
/// The same once the line loses nothing any more.
const KEPT_CLEAN: f64 = 0.97;
/// The least time under way is that of this long, or up to twice as long.
const WINDOW: Duration = Duration::from_secs(5);
/// Another beginning of time stamps, in µs.
const JUMP: i64 = 2_000_000;

/// Pictures of one camera on their way to the decoder.
#[derive(Default)]
pub struct Playout {
    waiting: VecDeque<(i64, AccessUnit)>,
    origin: Option<Instant>,
    /// Least time under way in the window before, and in this one, in µs from an arbitrary beginning.
    least: [Option<i64>; 2],
    window_ends: Option<Instant>,
    delay: f64,
}

impl Playout {
    /// A picture is whole; `lossy`: its line loses packets.
    pub fn push(&mut self, now: Instant, unit: AccessUnit, lossy: bool) {
        let media = (unit.ts.get() as i64).wrapping_mul(100) / 9;
        let transit = self.micros(now) - media;
        if self
            .base()
            .is_some_and(|base| (transit - base).abs() > JUMP)
        {
            self.forget_times();
        }
        self.note_transit(now, transit);
        let late = (transit - self.base().unwrap_or(transit)).clamp(0, MAX_DELAY) as f64;
        self.delay = match lossy {
            true => (self.delay * KEPT).max(late),
            false => self.delay * KEPT_CLEAN,
        };
        self.waiting.push_back((media, unit));
    }

    /// The next picture that is due.
    pub fn pop(&mut self, now: Instant) -> Option<AccessUnit> {
        let (media, _) = self.waiting.front()?;
        let due = media + self.base().unwrap_or(i64::MIN / 2) + self.delay as i64;
        let is_due = self.micros(now) >= due || self.waiting.len() > MAX_WAITING;
        is_due
            .then(|| self.waiting.pop_front())?
            .map(|(_, unit)| unit)
    }

    /// What waits is of no use any more.
    pub fn reset(&mut self) {
        self.waiting.clear();
        self.forget_times();
    }

    fn forget_times(&mut self) {
        (self.least, self.window_ends) = ([None; 2], None);
        // Times before it are of another clock: they are not waited for.
        self.waiting
            .iter_mut()
            .for_each(|(media, _)| *media = i64::MIN / 4);
    }

    fn micros(&mut self, now: Instant) -> i64 {
        let origin = *self.origin.get_or_insert(now);
        now.saturating_duration_since(origin).as_micros() as i64
    }

    fn base(&self) -> Option<i64> {
        self.least.into_iter().flatten().min()
    }

    fn note_transit(&mut self, now: Instant, transit: i64) {
        if now >= *self.window_ends.get_or_insert(now + WINDOW) {
            self.least = [self.least[1], None];
            self.window_ends = Some(now + WINDOW);
        }
        let least = &mut self.least[1];
        *least = Some(least.map_or(transit, |least| least.min(transit)));
    }
}

#[cfg(test)]
mod tests {
    use mcu_api::codec::VideoCodec;
    use mcu_rtp::seq::ExtTs;

    use super::*;

    fn unit(n: u64) -> AccessUnit {
        AccessUnit {
            codec: VideoCodec::H264,
            ts: ExtTs::new((1 << 33) + n * 2_970),
            data: Vec::new(),
            key_frame: false,
            complete: true,
            after_loss: false,
        }
    }

    /// Longest time from one picture to the next, and how late the last one is, in ms, of 20 s of pictures
    /// of which each fifth is whole only `late_ms` after its time, as are those behind it.
    fn shown(late_ms: u64, lossy: bool) -> (u64, u64) {
        let start = Instant::now();
        let mut playout = Playout::default();
        let (mut next, mut shown, mut blocked) = (0, Vec::new(), 0);
        for ms in 0..20_000 {
            let now = start + Duration::from_millis(ms);
            while next * 33 <= ms {
                let late = if next % 5 == 4 { late_ms } else { 0 };
                blocked = blocked.max(next * 33 + late);
                if blocked > ms {
                    break;
                }
                playout.push(now, unit(next), lossy);
                next += 1;
            }
            shown.extend(std::iter::from_fn(|| playout.pop(now)).map(|_| ms));
        }
        // What the delay has to be is known after some seconds.
        let settled = shown.windows(2).skip(100);
        let longest = settled.map(|pair| pair[1] - pair[0]).max().unwrap();
        (longest, 20_000_u64.saturating_sub(shown.len() as u64 * 33))
    }

    #[test]
    fn pictures_that_come_late_keep_their_cadence_and_others_come_at_once() {
        let (longest, late) = shown(100, true);
        assert!(longest <= 40, "{longest}");
        assert!((60..=140).contains(&late), "{late}");
        let (longest, _) = shown(100, false);
        assert!(longest >= 100, "{longest}");
        let (longest, late) = shown(0, true);
        assert!(longest <= 34 && late <= 34, "{longest} {late}");
    }

    #[test]
    fn a_clock_that_jumps_holds_nothing_up() {
        let start = Instant::now();
        let mut playout = Playout::default();
        playout.push(start, unit(1_000), true);
        assert!(playout.pop(start).is_some());
        for n in [50_000, 5, 90_000] {
            playout.push(start, unit(n), true);
            assert!(playout.pop(start).is_some(), "{n}");
        }
    }
}
