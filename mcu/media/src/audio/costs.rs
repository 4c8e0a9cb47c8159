//! What sound costs, printed as a share of a core; only the work done is asserted.

use mcu_api::codec::AudioCodec;
use mcu_api::ids::LegId;
use mcu_api::plan::Care;
use nix::time::{ClockId, clock_gettime};

use super::mixer::{Config, Mixer, TICK_SAMPLES, Tick};
use super::{Decoder, Encoder, Resampler};

const TICKS: usize = 100;

/// CPU time of this thread in ms.
fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    time.tv_sec() as f64 * 1e3 + time.tv_nsec() as f64 / 1e6
}

/// Prints which share of a core the work of one tick takes, fifty times a second.
fn share(name: &str, mut tick: impl FnMut()) {
    let start = cpu_ms();
    (0..TICKS).for_each(|_| tick());
    let percent = (cpu_ms() - start) / (TICKS as f64 * 20.0) * 100.0;
    println!("{name}: {percent:.4} % of a core");
}

fn noise(samples: usize) -> Vec<i16> {
    let mut random = 0x2545_f491_u32;
    let mut step = move || {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        (random >> 18) as i16 - 8192
    };
    (0..samples).map(|_| step()).collect()
}

#[test]
fn costs_of_a_leg() {
    for codec in [AudioCodec::Pcmu, AudioCodec::G722, AudioCodec::Opus] {
        let mut encoder = Encoder::new(codec, 20, 32_000).unwrap();
        let mut decoder = Decoder::new(codec).unwrap();
        let pcm = noise(encoder.frame_samples());
        let (mut payload, mut decoded) = (Vec::new(), Vec::new());
        share(&format!("{codec:?} encode"), || {
            payload.clear();
            encoder.encode(&pcm, &mut payload).unwrap();
        });
        share(&format!("{codec:?} decode"), || {
            decoded.clear();
            decoder.decode(&payload, &mut decoded).unwrap();
        });
        assert_eq!(decoded.len(), pcm.len());
    }
    for (from, to) in [
        (8_000, 48_000),
        (48_000, 8_000),
        (16_000, 48_000),
        (48_000, 16_000),
    ] {
        let mut resampler = Resampler::new(from, to).unwrap();
        let pcm = noise(from as usize / 50);
        let mut out = Vec::new();
        share(&format!("resample {from} to {to}"), || {
            out.clear();
            resampler.process(&pcm, &mut out);
        });
        assert_eq!(out.len(), to as usize / 50);
    }
}

#[test]
fn cost_of_mixing() {
    let mut mixer = Mixer::new(Config::default());
    let pcm: Tick = noise(TICK_SAMPLES).try_into().unwrap();
    let mut heard = 0;
    share("mix 40 legs, 8 of them personally", || {
        mixer.begin_tick();
        for leg in 0..40 {
            mixer.add(LegId(leg), &pcm, Care::default());
        }
        mixer.mix();
        for leg in (0..40).map(LegId) {
            if mixer.is_mixed(leg) {
                heard += mixer.personal(leg).len();
            }
        }
    });
    assert_eq!(heard, 8 * TICKS * TICK_SAMPLES);
}

#[test]
fn cost_of_care() {
    let care = Care {
        level: true,
        noise: true,
        echo: true,
    };
    let hiss: Vec<i16> = noise(TICK_SAMPLES * 100).iter().map(|s| s / 64).collect();
    for (name, loud) in [("background", 0), ("speech in noise", 16)] {
        let mut mixer = Mixer::new(Config::default());
        let mut tick = 0;
        let mut step = || {
            mixer.begin_tick();
            let at = tick % 100 * TICK_SAMPLES;
            // Of varying loudness, with pauses.
            let gain = 1 + loud * (tick as i16 % 5);
            let pcm: Tick = std::array::from_fn(|n| hiss[at + n] * gain);
            mixer.add(LegId(1), &pcm, care);
            mixer.mix();
            mixer.personal(LegId(1));
            tick += 1;
        };
        (0..300).for_each(|_| step());
        share(&format!("care for one leg: {name}"), step);
        assert_eq!(mixer.is_mixed(LegId(1)), loud > 0);
    }
}
