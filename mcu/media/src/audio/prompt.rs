//! Tones for a leg that waits for admission.

use std::f32::consts::TAU;

use mcu_api::plan::{Notice, NoticeText};

use super::mixer::{RATE_HZ, TICK_SAMPLES, Tick};

/// 20 dB below full scale.
const AMPLITUDE: f32 = 3_276.7;
/// A beep swells and fades over this, so that it does not click.
const RAMP_MS: u32 = 5;

/// One beep of a melody.
struct Beep {
    from_ms: u32,
    to_ms: u32,
    hz: f32,
}

const fn beep(from_ms: u32, to_ms: u32, hz: f32) -> Beep {
    Beep { from_ms, to_ms, hz }
}

const ASK: [Beep; 2] = [beep(0, 200, 660.0), beep(300, 500, 880.0)];
const WRONG: [Beep; 5] = [
    beep(0, 150, 495.0),
    beep(250, 400, 495.0),
    beep(500, 650, 495.0),
    beep(1_200, 1_400, 660.0),
    beep(1_500, 1_700, 880.0),
];
const REFUSED: [Beep; 1] = [beep(0, 1_000, 495.0)];
/// A digit was taken.
const TAKEN: [Beep; 1] = [beep(0, 60, 660.0)];

/// What is asked is asked again after this.
const REPEAT_MS: u32 = 5_000;

/// The tones of one notice, from its beginning.
pub struct Prompt {
    melody: &'static [Beep],
    repeats: bool,
    /// Samples played.
    at: u32,
    tick: Box<Tick>,
}

impl Prompt {
    /// The tones that go with a notice.
    pub fn new(notice: Notice) -> Self {
        let (melody, repeats): (&[Beep], bool) = match (notice.text, notice.digits) {
            (NoticeText::PinRefused, _) => (&REFUSED, false),
            (NoticeText::EnterPin, 0) => (&ASK, true),
            (NoticeText::WrongPin, 0) => (&WRONG, true),
            (NoticeText::EnterPin | NoticeText::WrongPin, _) => (&TAKEN, false),
        };
        Self {
            melody,
            repeats,
            at: 0,
            tick: Box::new([0; TICK_SAMPLES]),
        }
    }

    /// The next 20 ms.
    pub fn next_tick(&mut self) -> &Tick {
        let melody = self.melody;
        for (n, sample) in (0..).zip(self.tick.iter_mut()) {
            *sample = sample_at(melody, self.at + n);
        }
        self.at = self.at.saturating_add(TICK_SAMPLES as u32);
        if self.repeats && self.at >= samples(REPEAT_MS) {
            self.at = 0;
        }
        &self.tick
    }
}

const fn samples(ms: u32) -> u32 {
    ms * (RATE_HZ / 1_000)
}

fn sample_at(melody: &[Beep], at: u32) -> i16 {
    let mut sounding = melody.iter();
    let sounding = sounding.find(|b| (samples(b.from_ms)..samples(b.to_ms)).contains(&at));
    let Some(beep) = sounding else { return 0 };
    let (since, left) = (at - samples(beep.from_ms), samples(beep.to_ms) - at);
    let ramp = since.min(left) as f32 / samples(RAMP_MS) as f32;
    let phase = since as f32 * beep.hz / RATE_HZ as f32;
    ((TAU * phase.fract()).sin() * AMPLITUDE * ramp.min(1.0)) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks of `seconds` that are not silent.
    fn loud_ticks(text: NoticeText, digits: u8, seconds: u32) -> Vec<u32> {
        let mut prompt = Prompt::new(Notice { text, digits });
        let loud = |tick: &Tick| tick.iter().any(|sample| sample.abs() > 1_000);
        (0..seconds * 50)
            .filter(|_| loud(prompt.next_tick()))
            .collect()
    }

    #[test]
    fn the_question_is_asked_again_and_the_refusal_is_not() {
        let asked = loud_ticks(NoticeText::EnterPin, 0, 10);
        assert_eq!(asked.len(), 40, "{asked:?}");
        assert!(asked.contains(&0) && asked.contains(&250));
        let wrong = loud_ticks(NoticeText::WrongPin, 0, 5);
        assert!(wrong.len() > asked.len() / 2, "{wrong:?}");
        let refused = loud_ticks(NoticeText::PinRefused, 0, 10);
        assert_eq!(refused, (0..50).collect::<Vec<u32>>());
        let typing = loud_ticks(NoticeText::EnterPin, 3, 10);
        assert_eq!(typing, [0, 1, 2], "a digit is confirmed, then it is quiet");
    }

    #[test]
    fn beeps_do_not_click() {
        let mut prompt = Prompt::new(Notice {
            text: NoticeText::WrongPin,
            digits: 0,
        });
        let mut last = 0;
        for _ in 0..250 {
            for sample in prompt.next_tick() {
                assert!((i32::from(*sample) - last).abs() < 500);
                last = (*sample).into();
            }
        }
    }
}
