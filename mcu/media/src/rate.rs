//! Rate of a stream over the last second.

use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(1);

/// Counts bytes and tells bit/s. Zero once nothing came for two windows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    started: Option<Instant>,
    bytes: u64,
    bps: u32,
}

impl Rate {
    /// Bytes passed.
    pub fn add(&mut self, now: Instant, bytes: usize) {
        self.turn(now);
        self.bytes += bytes as u64;
    }

    /// Rate of the last full second in bit/s, as of the last packet.
    pub fn bps(&self) -> u32 {
        self.bps
    }

    /// Rate of the last full second in bit/s, as of now.
    pub fn bps_at(&mut self, now: Instant) -> u32 {
        self.turn(now);
        self.bps
    }

    fn turn(&mut self, now: Instant) {
        let started = *self.started.get_or_insert(now);
        let elapsed = now.saturating_duration_since(started);
        if elapsed >= WINDOW {
            self.bps = (self.bytes as f64 * 8.0 / elapsed.as_secs_f64()) as u32;
            self.bytes = 0;
            self.started = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_rate_of_the_last_second_and_falls_to_zero() {
        let start = Instant::now();
        let mut rate = Rate::default();
        for n in 0..=100 {
            rate.add(start + Duration::from_millis(n * 10), 125);
        }
        assert!((99_000..=101_000).contains(&rate.bps()), "{}", rate.bps());
        rate.bps_at(start + Duration::from_millis(2_500));
        assert_eq!(rate.bps_at(start + Duration::from_millis(4_000)), 0);
    }
}
