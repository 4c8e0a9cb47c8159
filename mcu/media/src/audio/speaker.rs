//! Who speaks: levels smoothed over time, and a choice that does not flicker.

use mcu_api::ids::LegId;

/// Level that means silence, in dBov (RFC 6464).
pub const SILENCE_DBOV: f32 = -127.0;

/// When the active speaker changes. Times are in ticks of 20 ms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Below this nobody is taken for speaking.
    pub threshold_dbov: f32,
    /// How much louder a challenger must be than the active speaker, in dB.
    pub margin_db: f32,
    /// Ticks that a challenger must stay louder, so that a cough takes no floor.
    pub confirm_ticks: u32,
    /// Ticks that a speaker is kept at least.
    pub hold_ticks: u32,
    /// Ticks of silence by all after which nobody is the speaker.
    pub silence_ticks: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            threshold_dbov: -50.0,
            margin_db: 3.0,
            confirm_ticks: 10,  // 200 ms
            hold_ticks: 75,     // 1.5 s
            silence_ticks: 150, // 3 s
        }
    }
}

/// Level of 20 ms of sound in dBov: 0 is the loudest square wave, -127 silence (RFC 6464 §3).
pub fn level_dbov(pcm: &[i16]) -> f32 {
    let energy: u64 = pcm
        .iter()
        .map(|&s| u64::from(i32::from(s).unsigned_abs().pow(2)))
        .sum();
    if energy == 0 {
        return SILENCE_DBOV;
    }
    let mean = energy as f32 / pcm.len() as f32;
    (10.0 * (mean / (32768.0 * 32768.0)).log10()).max(SILENCE_DBOV)
}

/// One leg's level over time: rises in about 40 ms, falls by 30 dB a second.
#[derive(Clone, Copy, Debug)]
pub struct Smoothed(f32);

impl Default for Smoothed {
    fn default() -> Self {
        Self(SILENCE_DBOV)
    }
}

impl Smoothed {
    /// Takes the level of one tick.
    pub fn update(&mut self, dbov: f32) {
        const FALL_DB_PER_TICK: f32 = 0.6;
        self.0 = match dbov > self.0 {
            true => self.0 + (dbov - self.0) * 0.5,
            false => (self.0 - FALL_DB_PER_TICK).max(dbov),
        };
    }

    /// The level now, in dBov.
    pub fn dbov(self) -> f32 {
        self.0
    }
}

/// Chooses the active speaker of a room.
#[derive(Clone, Debug)]
pub struct ActiveSpeaker {
    config: Config,
    current: Option<LegId>,
    held_ticks: u32,
    silent_ticks: u32,
    challenger: Option<(LegId, u32)>,
}

impl ActiveSpeaker {
    /// Nobody speaks yet.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            current: None,
            held_ticks: 0,
            silent_ticks: 0,
            challenger: None,
        }
    }

    /// The active speaker.
    pub fn current(&self) -> Option<LegId> {
        self.current
    }

    /// Takes the smoothed levels of one tick; `true` if the speaker changed.
    pub fn update(&mut self, levels: impl Iterator<Item = (LegId, f32)>) -> bool {
        let (mut loudest, mut current_dbov) = (None, None);
        for (leg, dbov) in levels {
            if loudest.is_none_or(|(_, most)| dbov > most) {
                loudest = Some((leg, dbov));
            }
            if Some(leg) == self.current {
                current_dbov = Some(dbov);
            }
        }
        let before = self.current;
        self.held_ticks = self.held_ticks.saturating_add(1);
        if self.current.is_some() && current_dbov.is_none() {
            self.change(None); // it left the room
        }
        match loudest.filter(|(_, dbov)| *dbov >= self.config.threshold_dbov) {
            Some((leg, dbov)) => self.somebody(leg, dbov, current_dbov),
            None => self.nobody(),
        }
        self.current != before
    }

    fn somebody(&mut self, leg: LegId, dbov: f32, current_dbov: Option<f32>) {
        self.silent_ticks = 0;
        let beaten = current_dbov.is_none_or(|now| dbov >= now + self.config.margin_db);
        if self.current == Some(leg) || !beaten {
            self.challenger = None;
            return;
        }
        let ticks = match self.challenger {
            Some((same, ticks)) if same == leg => ticks + 1,
            _ => 1,
        };
        self.challenger = Some((leg, ticks));
        let may_change = current_dbov.is_none() || self.held_ticks >= self.config.hold_ticks;
        if may_change && ticks >= self.config.confirm_ticks {
            self.change(Some(leg));
        }
    }

    fn nobody(&mut self) {
        self.challenger = None;
        self.silent_ticks = self.silent_ticks.saturating_add(1);
        if self.silent_ticks >= self.config.silence_ticks {
            self.change(None);
        }
    }

    fn change(&mut self, to: Option<LegId>) {
        self.current = to;
        self.held_ticks = 0;
        self.challenger = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: LegId = LegId(1);
    const B: LegId = LegId(2);

    fn run(speaker: &mut ActiveSpeaker, a: f32, b: f32, ticks: u32) -> Vec<Option<LegId>> {
        (0..ticks)
            .filter_map(|_| {
                let changed = speaker.update([(A, a), (B, b)].into_iter());
                changed.then(|| speaker.current())
            })
            .collect()
    }

    #[test]
    fn a_square_wave_is_0_dbov_and_a_sine_3_less() {
        assert_eq!(level_dbov(&[i16::MIN; 960]), 0.0);
        let sine: Vec<i16> = (0..960)
            .map(|n| ((n as f32 * std::f32::consts::TAU / 48.0).sin() * 32767.0) as i16)
            .collect();
        assert!((level_dbov(&sine) + 3.01).abs() < 0.01);
        assert_eq!(level_dbov(&[0; 960]), SILENCE_DBOV);
    }

    #[test]
    fn a_cough_takes_no_floor_but_speech_does() {
        let mut speaker = ActiveSpeaker::new(Config::default());
        assert_eq!(run(&mut speaker, -30.0, -90.0, 100), [Some(A)]);
        assert_eq!(run(&mut speaker, -30.0, -20.0, 9), []);
        assert_eq!(run(&mut speaker, -30.0, -60.0, 10), []);
        assert_eq!(run(&mut speaker, -30.0, -20.0, 10), [Some(B)]);
    }

    #[test]
    fn a_speaker_is_held_and_a_little_louder_is_not_enough() {
        let mut speaker = ActiveSpeaker::new(Config::default());
        run(&mut speaker, -30.0, -90.0, 10);
        assert_eq!(run(&mut speaker, -60.0, -20.0, 74), [], "held for 1.5 s");
        assert_eq!(run(&mut speaker, -60.0, -20.0, 1), [Some(B)]);
        assert_eq!(run(&mut speaker, -18.0, -20.0, 500), []);
    }

    #[test]
    fn long_silence_and_leaving_end_a_speaker() {
        let mut speaker = ActiveSpeaker::new(Config::default());
        run(&mut speaker, -30.0, -90.0, 10);
        assert_eq!(run(&mut speaker, -70.0, -90.0, 149), []);
        assert_eq!(run(&mut speaker, -70.0, -90.0, 1), [None]);
        run(&mut speaker, -30.0, -90.0, 10);
        assert!(speaker.update([(B, -90.0)].into_iter()));
        assert_eq!(speaker.current(), None);
    }
}
