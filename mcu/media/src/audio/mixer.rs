//! The mixer of a room: everybody hears everybody else.
//!
//! The loudest few are summed once. A leg that is in the sum hears it less its own part; all others
//! share one mix, so one encoder a codec serves them. A tick is `begin_tick`, `add` for each leg that
//! has sound, `choose`, `prepare` for each leg, `mix`, then `personal` for each leg.
//!
//! A leg that has nothing but its background to give, as every open microphone has, leaves the sum: fifty
//! sites of which one speaks sound like one.
//!
//! What a leg's plan wants done to its sound is done to the legs in the sum alone (`voice.rs`). A sum
//! beyond full scale is turned down (`limiter.rs`); one that fits leaves to the bit.
//!
//! A leg enters and leaves the sum by a ramp of one tick. At the tick in which it enters, its part
//! starts from zero: the mix that it got until then and the personal one it gets from then on meet
//! without a step.

use std::collections::BTreeMap;

use mcu_api::ids::LegId;
use mcu_api::plan::Care;

use super::limiter::{Limiter, Wide};
use super::speaker::{self, ActiveSpeaker, SILENCE_DBOV, Smoothed};
use super::voice::Voice;

/// Samples of one tick: 20 ms at 48 kHz.
pub const TICK_SAMPLES: usize = 960;
/// Samples per second.
pub const RATE_HZ: u32 = 48_000;

/// One tick of one leg.
pub type Tick = [i16; TICK_SAMPLES];

/// How a room is mixed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Legs that are in the sum at most.
    pub loudest: usize,
    /// A leg below this level, or with nothing but its background, for `quiet_ticks` leaves the sum:
    /// it then shares an encoder.
    pub quiet_dbov: f32,
    /// Ticks of 20 ms that a quiet leg stays in the sum.
    pub quiet_ticks: u32,
    /// How much louder than the quietest leg of a full sum another must be to replace it, in dB.
    pub margin_db: f32,
    /// Choice of the active speaker.
    pub speaker: speaker::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            loudest: 8,
            quiet_dbov: -70.0,
            quiet_ticks: 100, // 2 s
            margin_db: 3.0,
            speaker: speaker::Config::default(),
        }
    }
}

/// Mixes one room at 48 kHz.
pub struct Mixer {
    config: Config,
    legs: BTreeMap<LegId, Leg>,
    sum: Box<Wide>,
    shared: Box<Tick>,
    shared_dbov: f32,
    /// Of the shared mix.
    limiter: Limiter,
    /// `choose` was called in this tick.
    has_chosen: bool,
    /// The sum without one leg.
    others: Box<Wide>,
    personal: Box<Tick>,
    speaker: ActiveSpeaker,
}

struct Leg {
    /// Sound of this tick; of the last one while `fresh` is unset.
    pcm: Box<Tick>,
    /// `add` was called in this tick.
    fresh: bool,
    /// Level of this tick in dBov, as it came in.
    level: f32,
    smoothed: Smoothed,
    voice: Voice,
    /// Of what this leg hears.
    limiter: Limiter,
    quiet_ticks: u32,
    /// In the sum at full gain from the end of this tick on.
    chosen: bool,
    /// Part of the sum in this tick, ramps included.
    part: Part,
    /// `pcm` is what goes into the sum of this tick.
    prepared: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    None,
    Full,
    Rising,
    Falling,
}

impl Mixer {
    /// An empty room.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            legs: BTreeMap::new(),
            sum: Box::new([0; TICK_SAMPLES]),
            shared: Box::new([0; TICK_SAMPLES]),
            shared_dbov: SILENCE_DBOV,
            limiter: Limiter::default(),
            has_chosen: false,
            others: Box::new([0; TICK_SAMPLES]),
            personal: Box::new([0; TICK_SAMPLES]),
            speaker: ActiveSpeaker::new(config.speaker),
        }
    }

    /// Starts a tick: nobody has sound yet.
    pub fn begin_tick(&mut self) {
        for leg in self.legs.values_mut() {
            leg.fresh = false;
            leg.voice.begin_tick();
        }
    }

    /// Gives a leg's sound of this tick, and what is to be done to it. An unknown leg is taken in; a
    /// muted leg is simply not added.
    pub fn add(&mut self, id: LegId, pcm: &Tick, care: Care) {
        let leg = self.legs.entry(id).or_insert_with(Leg::new);
        leg.pcm.copy_from_slice(pcm);
        leg.fresh = true;
        let echoed = leg.voice.echoes();
        leg.level = leg.voice.hear(&mut leg.pcm, care);
        if leg.voice.echoes() != echoed {
            tracing::info!(leg = %id, echoes = !echoed, "echo of a leg");
        }
    }

    /// Forgets a leg. What it still had in the sum ends here: stop adding it a tick earlier for an
    /// end without a click.
    pub fn remove(&mut self, leg: LegId) {
        self.legs.remove(&leg);
    }

    /// Chooses who is heard in this tick.
    pub fn choose(&mut self) {
        for leg in self.legs.values_mut() {
            leg.measure(&self.config);
        }
        self.choose_loudest();
        self.has_chosen = true;
    }

    /// Does to a leg's sound what its plan wants, if it is heard in this tick. Of legs that are left out
    /// [`Mixer::mix`] does it; by leg, whose sound is in hand can be noted meanwhile.
    pub fn prepare(&mut self, leg: LegId) {
        if let Some(leg) = self.legs.get_mut(&leg) {
            leg.prepare(self.limiter);
        }
    }

    /// Sums. `true` if the active speaker changed.
    pub fn mix(&mut self) -> bool {
        if !self.has_chosen {
            self.choose();
        }
        self.has_chosen = false;
        self.sum.fill(0);
        for leg in self.legs.values_mut() {
            leg.prepare(self.limiter);
            leg.accumulate(&mut self.sum);
        }
        self.limiter.process(&self.sum, &mut self.shared);
        self.shared_dbov = speaker::level_dbov(self.shared.as_slice());
        self.speaker
            .update(self.legs.iter().map(|(id, leg)| (*id, leg.smoothed.dbov())))
    }

    /// Whether the leg is in the sum of this tick and needs a mix of its own.
    pub fn is_mixed(&self, leg: LegId) -> bool {
        self.legs
            .get(&leg)
            .is_some_and(|leg| leg.part != Part::None)
    }

    /// What the leg hears: the sum without its own part, or the shared mix if it has none. Ask once a
    /// tick.
    pub fn personal(&mut self, leg: LegId) -> &Tick {
        let Some(leg) = self.legs.get_mut(&leg) else {
            return &self.shared;
        };
        if leg.part == Part::None {
            leg.voice.note_sent(&self.shared, Some(self.shared_dbov));
            return &self.shared;
        }
        for (n, out) in self.others.iter_mut().enumerate() {
            *out = self.sum[n] - leg.sample(n);
        }
        leg.limiter.process(&self.others, &mut self.personal);
        leg.voice.note_sent(&self.personal, None);
        &self.personal
    }

    /// What all hear that are not in the sum.
    pub fn shared(&self) -> &Tick {
        &self.shared
    }

    /// The leg's level in this tick, -127 (silence) to 0 dBov.
    pub fn level_dbov(&self, leg: LegId) -> i8 {
        self.legs
            .get(&leg)
            .map_or(-127, |leg| leg.level.round() as i8)
    }

    /// The leg heard loudest, with hysteresis; none when all have been silent for a while.
    pub fn active_speaker(&self) -> Option<LegId> {
        self.speaker.current()
    }

    /// Marks the legs of this tick's sum as chosen: those chosen before stay unless quiet or
    /// outdone.
    fn choose_loudest(&mut self) {
        let margin = self.config.margin_db;
        let mut audible: Vec<(f32, LegId)> = self
            .legs
            .iter()
            .filter(|(_, leg)| leg.quiet_ticks < self.config.quiet_ticks)
            .map(|(id, leg)| {
                (
                    leg.smoothed.dbov() + if leg.chosen { margin } else { 0.0 },
                    *id,
                )
            })
            .collect();
        audible.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        audible.truncate(self.config.loudest);
        for (id, leg) in &mut self.legs {
            let now = leg.fresh && audible.iter().any(|(_, chosen)| chosen == id);
            leg.part = match (leg.chosen, now) {
                (true, true) => Part::Full,
                (false, true) => Part::Rising,
                (true, false) => Part::Falling,
                (false, false) => Part::None,
            };
            leg.chosen = now;
            leg.prepared = false;
        }
    }
}

impl Leg {
    fn new() -> Self {
        Self {
            pcm: Box::new([0; TICK_SAMPLES]),
            fresh: false,
            level: SILENCE_DBOV,
            smoothed: Smoothed::default(),
            voice: Voice::default(),
            limiter: Limiter::default(),
            quiet_ticks: u32::MAX,
            chosen: false,
            part: Part::None,
            prepared: false,
        }
    }

    fn measure(&mut self, config: &Config) {
        if !self.fresh {
            self.level = SILENCE_DBOV;
        }
        let is_heard = self.level >= config.quiet_dbov && !self.voice.is_background();
        self.smoothed.update(match is_heard {
            true => self.level + self.voice.gain_db(),
            false => SILENCE_DBOV,
        });
        self.quiet_ticks = match is_heard {
            true => 0,
            false => self.quiet_ticks.saturating_add(1),
        };
    }

    /// Makes what this tick's part is taken from: a leg that fell silent within the sum goes on with
    /// its last samples mirrored, so that even its end has no step. `shared` is what limited the shared
    /// mix so far.
    fn prepare(&mut self, shared: Limiter) {
        if std::mem::replace(&mut self.prepared, true) {
            return;
        }
        if self.part == Part::Rising {
            // It goes on hearing from where the shared mix stands.
            self.limiter = shared;
            self.voice.begin();
        }
        match (self.part, self.fresh) {
            (Part::None, _) => {}
            (_, true) => self.voice.process(&mut self.pcm),
            (_, false) => self.pcm.reverse(),
        }
    }

    fn accumulate(&self, sum: &mut Wide) {
        match self.part {
            Part::None => {}
            Part::Full => {
                for (sum, sample) in sum.iter_mut().zip(self.pcm.iter()) {
                    *sum += i32::from(*sample);
                }
            }
            Part::Rising | Part::Falling => {
                for (n, sum) in sum.iter_mut().enumerate() {
                    *sum += self.sample(n);
                }
            }
        }
    }

    /// This tick's part of the sum at sample `n`.
    fn sample(&self, n: usize) -> i32 {
        let sample = i32::from(self.pcm[n]);
        let length = TICK_SAMPLES as i32;
        match self.part {
            Part::None => 0,
            Part::Full => sample,
            Part::Rising => sample * n as i32 / length,
            Part::Falling => sample * (length - n as i32) / length,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f32::consts::TAU;

    fn tone(hz: f32, amplitude: f32, tick: usize) -> Tick {
        std::array::from_fn(|n| {
            let t = (tick * TICK_SAMPLES + n) as f32 / RATE_HZ as f32;
            ((t * hz * TAU).sin() * amplitude) as i16
        })
    }

    fn run(mixer: &mut Mixer, legs: &[(u64, Tick)]) {
        mixer.begin_tick();
        for (leg, pcm) in legs {
            mixer.add(LegId(*leg), pcm, Care::default());
        }
        mixer.mix();
    }

    fn largest_step(pcm: &[i16]) -> i32 {
        pcm.windows(2)
            .map(|w| (i32::from(w[1]) - i32::from(w[0])).abs())
            .max()
            .unwrap()
    }

    #[test]
    fn each_leg_hears_exactly_the_others() {
        let mut mixer = Mixer::new(Config::default());
        for tick in 0..5 {
            let legs: Vec<(u64, Tick)> = (1..=4)
                .map(|n| (n, tone(200.0 * n as f32, 3_000.0, tick)))
                .collect();
            run(&mut mixer, &legs);
            if tick == 0 {
                continue; // rising
            }
            for (leg, own) in &legs {
                let heard = *mixer.personal(LegId(*leg));
                for n in 0..TICK_SAMPLES {
                    let all: i32 = legs.iter().map(|(_, pcm)| i32::from(pcm[n])).sum();
                    assert_eq!(i32::from(heard[n]), all - i32::from(own[n]));
                    assert_eq!(i32::from(mixer.shared()[n]), all);
                }
            }
            let shared = *mixer.shared();
            assert_eq!(mixer.personal(LegId(99)), &shared);
        }
    }

    #[test]
    fn only_the_loudest_are_summed_and_a_little_louder_is_not_enough() {
        let config = Config {
            loudest: 2,
            ..Config::default()
        };
        let mut mixer = Mixer::new(config);
        let levels = |mixer: &mut Mixer, levels: [f32; 3]| {
            for tick in 0..100 {
                let legs: Vec<(u64, Tick)> = (1..=3)
                    .map(|n| (n, tone(300.0, levels[n as usize - 1], tick)))
                    .collect();
                run(mixer, &legs);
            }
            [1, 2, 3].map(|n| mixer.is_mixed(LegId(n)))
        };
        assert_eq!(
            levels(&mut mixer, [8_000.0, 4_000.0, 1_000.0]),
            [true, true, false]
        );
        assert_eq!(
            levels(&mut mixer, [8_000.0, 4_000.0, 5_000.0]),
            [true, true, false]
        );
        assert_eq!(
            levels(&mut mixer, [8_000.0, 4_000.0, 9_000.0]),
            [true, false, true]
        );
    }

    #[test]
    fn a_quiet_leg_shares_the_mix_after_two_seconds() {
        let mut mixer = Mixer::new(Config::default());
        run(&mut mixer, &[(1, tone(300.0, 3_000.0, 0))]);
        assert!(mixer.is_mixed(LegId(1)));
        for _ in 0..101 {
            run(&mut mixer, &[(1, [0; TICK_SAMPLES])]);
        }
        assert!(!mixer.is_mixed(LegId(1)));
    }

    #[test]
    fn entering_and_leaving_make_no_click() {
        let mut mixer = Mixer::new(Config::default());
        let mut shared = Vec::new();
        let mut own = Vec::new();
        for tick in 0..12 {
            let mut legs = vec![(1, tone(190.0, 4_000.0, tick))];
            if (3..8).contains(&tick) {
                // Starts and ends at a crest.
                legs.push((2, tone(210.0, 9_000.0, tick)));
            }
            run(&mut mixer, &legs);
            shared.extend(*mixer.shared());
            own.extend(*mixer.personal(LegId(2)));
        }
        let smooth =
            largest_step(&tone(190.0, 4_000.0, 0)) + largest_step(&tone(210.0, 9_000.0, 0));
        assert!(
            largest_step(&shared) <= smooth + 15,
            "{} > {smooth}",
            largest_step(&shared)
        );
        let alone = largest_step(&tone(190.0, 4_000.0, 0));
        assert!(largest_step(&own) <= alone + 2, "a leg never hears itself");
    }

    #[test]
    fn loud_sums_are_turned_down_instead_of_wrapping() {
        let mut mixer = Mixer::new(Config::default());
        for _ in 0..3 {
            let legs: Vec<(u64, Tick)> = (1..=8).map(|n| (n, [32_767; TICK_SAMPLES])).collect();
            run(&mut mixer, &legs);
        }
        assert!(mixer.shared().iter().all(|sample| *sample > 32_000));
        let heard = mixer.personal(LegId(3));
        assert!(heard.iter().all(|sample| *sample > 32_000));
    }

    #[test]
    fn levels_and_speaker_are_reported() {
        let mut mixer = Mixer::new(Config::default());
        for tick in 0..20 {
            run(
                &mut mixer,
                &[
                    (1, tone(300.0, 300.0, tick)),
                    (2, tone(400.0, 10_000.0, tick)),
                ],
            );
        }
        assert_eq!(mixer.active_speaker(), Some(LegId(2)));
        assert_eq!(mixer.level_dbov(LegId(2)), -13);
        assert_eq!(mixer.level_dbov(LegId(7)), -127);
        mixer.remove(LegId(2));
        run(&mut mixer, &[]);
        assert_eq!(mixer.active_speaker(), None);
    }
}
