//! A guard against terminals that send back what they play.
//!
//! What a leg is sent and what it sends are compared by their levels alone, which costs next to
//! nothing: who echoes gets as loud and as soft as what was played, always as much later. Only for a leg
//! of which that is found the echo is cancelled, by `sonora`.

use std::collections::VecDeque;

use sonora::config::EchoCanceller;
use sonora::{AudioProcessing, StreamConfig};

use super::mixer::{RATE_HZ, TICK_SAMPLES, Tick};
use super::speaker::SILENCE_DBOV;

/// Longest way from our mix to the loudspeaker and back, in ticks: 600 ms.
const LAGS: usize = 31;
/// Shortest. What is alike sooner is no echo: two microphones hear one speaker.
const LAG_MIN: usize = 2;
/// Ticks over which levels are compared: 3 s in which something was played.
const MEMORY_TICKS: f32 = 150.0;
/// Something was played if it was louder than this, in dBov.
const PLAYED_MIN_DBOV: f32 = -50.0;
/// Levels below are all alike.
const LEAST_DBOV: f32 = -65.0;
/// Correlation of levels that is an echo, and for as many ticks at the same lag: 1 s.
const FOUND: f32 = 0.75;
const FOUND_TICKS: u32 = 50;
/// Correlation of levels without an echo, and for as many ticks: 30 s.
const GONE: f32 = 0.4;
const GONE_TICKS: u32 = 1_500;
/// Levels vary by as much at least, in dB² (variance): what is steady resembles everything.
const VARIANCE_MIN: f32 = 9.0;
/// The canceller is given what was played so many ticks before it comes back: room for a jitter buffer
/// that shrinks.
const AHEAD_TICKS: usize = 3;
/// Ticks that the way may grow until the canceller is aligned anew: it looks back some 500 ms itself.
const REACH_TICKS: usize = 20;

/// One leg's guard.
pub struct EchoGuard {
    /// Levels of what the leg was sent in dBov: in this tick, in the one before, and so on.
    sent: [f32; LAGS],
    likeness: Likeness,
    /// Lag of the likeness of late, for how many ticks.
    steady: (usize, u32),
    unlike_ticks: u32,
    canceller: Option<Box<Canceller>>,
}

impl Default for EchoGuard {
    fn default() -> Self {
        Self {
            sent: [SILENCE_DBOV; LAGS],
            likeness: Likeness::default(),
            steady: (0, 0),
            unlike_ticks: 0,
            canceller: None,
        }
    }
}

impl EchoGuard {
    /// A tick begins in which nothing was sent yet.
    pub fn begin_tick(&mut self) {
        self.sent.rotate_right(1);
        self.sent[0] = SILENCE_DBOV;
        if let Some(canceller) = &mut self.canceller {
            canceller.begin_tick();
        }
    }

    /// What the leg is sent in this tick, of this level.
    pub fn note_sent(&mut self, pcm: &Tick, dbov: f32) {
        self.sent[0] = dbov;
        if let Some(canceller) = &mut self.canceller {
            canceller.note_sent(pcm);
        }
    }

    /// Takes what the leg sent in this tick, of this level. `true`: an echo was taken out of it.
    pub fn process(&mut self, pcm: &mut Tick, dbov: f32) -> bool {
        let was_played = self.sent.iter().any(|sent| *sent >= PLAYED_MIN_DBOV);
        if was_played {
            self.likeness.update(&self.sent, dbov);
            self.decide();
        }
        let Some(canceller) = &mut self.canceller else {
            return false;
        };
        canceller.process(pcm);
        true
    }

    /// Whether an echo is being cancelled.
    pub fn is_at_work(&self) -> bool {
        self.canceller.is_some()
    }

    fn decide(&mut self) {
        let (lag, likeness) = self.likeness.most();
        let (steady, ticks) = self.steady;
        self.steady = match likeness >= FOUND && lag >= LAG_MIN {
            true if steady.abs_diff(lag) <= 1 => (steady, ticks + 1),
            true => (lag, 1),
            false => (lag, 0),
        };
        self.unlike_ticks = match likeness < GONE {
            true => self.unlike_ticks + 1,
            false => 0,
        };
        if self.steady.1 >= FOUND_TICKS {
            let start = lag.saturating_sub(AHEAD_TICKS).max(1);
            match &mut self.canceller {
                Some(canceller) => canceller.follow(lag, start),
                None => self.canceller = Some(Box::new(Canceller::new(start))),
            }
        } else if self.unlike_ticks >= GONE_TICKS {
            self.canceller = None;
        }
    }
}

/// How alike two rows of levels are, by the lag between them.
struct Likeness {
    ticks: f32,
    received: Moments,
    sent: [Moments; LAGS],
    /// Means of products.
    products: [f32; LAGS],
}

#[derive(Clone, Copy, Default)]
struct Moments {
    mean: f32,
    square: f32,
}

impl Moments {
    fn update(&mut self, value: f32, share: f32) {
        self.mean += (value - self.mean) * share;
        self.square += (value * value - self.square) * share;
    }

    fn variance(self) -> f32 {
        self.square - self.mean * self.mean
    }
}

impl Default for Likeness {
    fn default() -> Self {
        Self {
            ticks: 0.0,
            received: Moments::default(),
            sent: [Moments::default(); LAGS],
            products: [0.0; LAGS],
        }
    }
}

impl Likeness {
    fn update(&mut self, sent: &[f32; LAGS], received: f32) {
        self.ticks = (self.ticks + 1.0).min(MEMORY_TICKS);
        let share = 1.0 / self.ticks;
        // Counted from the least level, so that squares stay small.
        let above = |dbov: f32| (dbov - LEAST_DBOV).max(0.0);
        let received = above(received);
        self.received.update(received, share);
        for (lag, sent) in sent.iter().map(|dbov| above(*dbov)).enumerate() {
            self.sent[lag].update(sent, share);
            self.products[lag] += (sent * received - self.products[lag]) * share;
        }
    }

    /// The lag at which they are most alike, and how much, at most 1; 0 while little is known.
    fn most(&self) -> (usize, f32) {
        if self.ticks < MEMORY_TICKS || self.received.variance() < VARIANCE_MIN {
            return (0, 0.0);
        }
        let correlation = |lag: usize| {
            let sent = self.sent[lag];
            let both = self.products[lag] - sent.mean * self.received.mean;
            let scale = (sent.variance() * self.received.variance()).sqrt();
            match sent.variance() < VARIANCE_MIN {
                true => 0.0,
                false => both / scale,
            }
        };
        let all = (0..LAGS).map(|lag| (lag, correlation(lag)));
        all.fold(
            (0, 0.0),
            |most, next| if next.1 > most.1 { next } else { most },
        )
    }
}

/// Samples that the canceller takes at a time: 10 ms.
const FRAME: usize = TICK_SAMPLES / 2;

/// Cancels the echo of one leg. It is given what came back together with what was played `start`
/// ticks before.
struct Canceller {
    processing: AudioProcessing,
    /// What was played, of this tick first.
    sent: VecDeque<Box<Tick>>,
    start: usize,
    /// Of its sound in what comes out, at the end of the last tick.
    is_on: bool,
}

impl Canceller {
    fn new(start: usize) -> Self {
        let config = sonora::Config {
            echo_canceller: Some(EchoCanceller::default()),
            ..sonora::Config::default()
        };
        let stream = StreamConfig::new(RATE_HZ, 1);
        Self {
            processing: AudioProcessing::builder()
                .config(config)
                .capture_config(stream)
                .render_config(stream)
                .build(),
            sent: (0..LAGS).map(|_| Box::new([0; TICK_SAMPLES])).collect(),
            start,
            is_on: false,
        }
    }

    fn begin_tick(&mut self) {
        self.sent.rotate_right(1);
        self.sent[0].fill(0);
    }

    fn note_sent(&mut self, pcm: &Tick) {
        self.sent[0].copy_from_slice(pcm);
    }

    /// The echo now comes after `lag`: within reach, or what it is given starts elsewhere.
    fn follow(&mut self, lag: usize, start: usize) {
        if !(self.start + 1..self.start + REACH_TICKS).contains(&lag) {
            self.start = start;
        }
    }

    fn process(&mut self, pcm: &mut Tick) {
        let played = &self.sent[self.start];
        let mut clean: Tick = [0; TICK_SAMPLES];
        let mut unused = [0; FRAME];
        let frames = played.chunks_exact(FRAME).zip(pcm.chunks_exact(FRAME));
        for ((played, came), clean) in frames.zip(clean.chunks_exact_mut(FRAME)) {
            let processing = &mut self.processing;
            let rendered = processing.process_render_i16(played, &mut unused);
            let done = rendered.and_then(|()| processing.process_capture_i16(came, clean));
            if let Err(error) = done {
                // Of formats alone, which are constant.
                tracing::error!(%error, "echo not cancelled");
                return;
            }
        }
        if std::mem::replace(&mut self.is_on, true) {
            *pcm = clean;
            return;
        }
        for (n, (out, clean)) in pcm.iter_mut().zip(clean).enumerate() {
            let step = (i32::from(clean) - i32::from(*out)) * n as i32 / TICK_SAMPLES as i32;
            *out = (i32::from(*out) + step) as i16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extremes_are_survived() {
        let mut canceller = Canceller::new(2);
        for n in 0..200_usize {
            let pcm: Tick = std::array::from_fn(|k| match n % 4 {
                0 => [i16::MIN, i16::MAX][k / 7 % 2],
                1 => 0,
                2 => i16::MIN,
                _ => 1,
            });
            canceller.begin_tick();
            canceller.note_sent(&pcm);
            canceller.process(&mut { pcm });
        }
        let mut guard = EchoGuard::default();
        for level in [0.0, f32::NEG_INFINITY, SILENCE_DBOV].repeat(500) {
            guard.begin_tick();
            guard.note_sent(&[0; TICK_SAMPLES], level);
            guard.process(&mut [1; TICK_SAMPLES], level);
        }
    }

    #[test]
    fn what_is_alike_at_once_is_no_echo() {
        let (mut at_once, mut later) = (EchoGuard::default(), EchoGuard::default());
        let levels: Vec<f32> = (0..600_u32)
            .map(|n| -20.0 - (n.wrapping_mul(2_654_435_761) >> 27) as f32)
            .collect();
        for n in 10..levels.len() {
            for (guard, lag) in [(&mut at_once, 0), (&mut later, 6)] {
                guard.begin_tick();
                guard.note_sent(&[0; TICK_SAMPLES], levels[n]);
                guard.process(&mut [0; TICK_SAMPLES], levels[n - lag] - 10.0);
            }
        }
        assert!(!at_once.is_at_work());
        assert!(later.is_at_work());
    }
}
