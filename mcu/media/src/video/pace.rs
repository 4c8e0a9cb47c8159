//! How fast pictures come, by their media time: an encoder spends its bits by it and not by the rate of
//! its class, which a camera seldom keeps.

/// Media time in a second.
const CLOCK_HZ: i64 = 90_000;
/// Longest pause for which a picture is given bits: a source that stood still has saved none up.
const MOST: i64 = CLOCK_HZ / 2;
/// Pictures over which the mean goes.
const MEAN_OF: f64 = 4.0;

/// The pace of one encoder's pictures.
#[derive(Debug)]
pub struct Pace {
    last: Option<i64>,
    /// Between two pictures of the class, in 1/90,000 s.
    nominal: i64,
    mean: f64,
}

impl Pace {
    /// Of a class with so many pictures a second, and of that rate until there are pictures.
    pub fn new(frame_rate: u8) -> Self {
        let nominal = CLOCK_HZ / i64::from(frame_rate.max(1));
        Self {
            last: None,
            nominal,
            mean: nominal as f64,
        }
    }

    /// A picture of this media time, in 1/90,000 s. Answers the time for which it may spend bits: that
    /// since the last, or the class's where time did not pass.
    pub fn pass(&mut self, pts: i64) -> i64 {
        let passed = self.last.map_or(0, |last| pts.saturating_sub(last));
        self.last = Some(pts);
        let passed = match passed {
            1.. => passed.min(MOST.max(self.nominal)),
            _ => self.nominal,
        };
        self.mean += (passed as f64 - self.mean) / MEAN_OF;
        passed
    }

    /// Pictures a second of late, never more than the class has.
    pub fn frame_rate(&self) -> f32 {
        (CLOCK_HZ as f64 / self.mean.max(self.nominal as f64)) as f32
    }
}

/// Temporal references: pictures count by a clock of 30,000/1001 Hz, whichever of its ticks have none
/// (H.261 §4.2.1, H.263 §5.1.2).
#[derive(Debug, Default)]
pub struct TemporalReference(Option<i64>);

impl TemporalReference {
    /// Media time in a tick, in 1/90,000 s.
    const TICK: i64 = 3_003;

    /// Whether a picture of this media time has a tick: none is left where more than 29.97 a second
    /// come. One tick ahead is let pass, since what comes every 33 ms comes twice in some.
    pub fn is_free(&self, pts: i64) -> bool {
        let tick = pts.div_euclid(Self::TICK);
        self.0.is_none_or(|last| last <= tick)
    }

    /// Takes the tick of a picture of this media time, which is another than the last even where only
    /// its `modulus` is written.
    pub fn take(&mut self, pts: i64, modulus: i64) -> u8 {
        let mut tick = pts.div_euclid(Self::TICK);
        if let Some(last) = self.0 {
            tick = tick.max(last + 1);
            tick += i64::from((tick - last) % modulus == 0);
        }
        self.0 = Some(tick);
        tick.rem_euclid(modulus) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_the_pictures_and_not_of_the_class() {
        let mut pace = Pace::new(30);
        assert_eq!(pace.pass(0), 3_000);
        let passed: Vec<i64> = (1..20).map(|n| pace.pass(n * 9_000)).collect();
        assert_eq!(passed, [9_000; 19]);
        assert!((pace.frame_rate() - 10.0).abs() < 0.2);
        assert_eq!(pace.pass(100 * 90_000), 45_000, "a pause saves nothing up");
        assert_eq!(pace.pass(100 * 90_000), 3_000, "time stood still");
        for n in 1..50 {
            pace.pass(100 * 90_000 + n * 1_500);
        }
        assert!(pace.frame_rate() <= 30.0);
        assert_eq!(Pace::new(1).pass(7), 90_000);
    }

    #[test]
    fn temporal_references_count_by_time() {
        let mut reference = TemporalReference::default();
        let mut at = |pts| reference.take(pts, 32);
        assert_eq!([0, 9_009, 18_018, 27_027].map(&mut at), [0, 3, 6, 9]);
        assert_eq!(at(27_100), 10, "never twice the same");
        assert_eq!(at(27_027 + 33 * 3_003), 11, "nor a whole turn later");
    }

    #[test]
    fn at_30_pictures_a_second_one_in_a_thousand_has_no_tick() {
        let mut reference = TemporalReference::default();
        let mut left_out = 0;
        for n in 0..10_000 {
            let pts = n * 3_000;
            if !reference.is_free(pts) {
                left_out += 1;
                continue;
            }
            let tick = i64::from(reference.take(pts, 256));
            let ahead = (tick - pts / 3_003).rem_euclid(256);
            assert!(ahead <= 1, "{ahead} ticks ahead");
        }
        assert!((8..=10).contains(&left_out), "{left_out}");
    }
}
