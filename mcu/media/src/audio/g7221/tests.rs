//! Against an implementation in fixed point that is none of ours (libg722_1): sound that we made, as it
//! coded it, and as it decoded that.

use super::*;

struct Case {
    format: Format,
    input: &'static [u8],
    frames: &'static [u8],
    decoded: &'static [u8],
    /// Least likeness in dB of what both decode. Fixed point itself is as far from exact.
    alike_db: f64,
}

macro_rules! case {
    ($rate:literal, $bps:literal, $alike:literal) => {
        Case {
            format: Format {
                is_annex_c: $rate == 32000,
                bitrate_bps: $bps,
            },
            input: include_bytes!(concat!("vectors/own_input_", $rate, ".pcm")),
            frames: include_bytes!(concat!("vectors/own_", $rate, "_", $bps, ".frames")),
            decoded: include_bytes!(concat!("vectors/own_", $rate, "_", $bps, ".pcm")),
            alike_db: $alike,
        }
    };
}

const CASES: [Case; 5] = [
    case!(16000, 24000, 45.0),
    case!(16000, 32000, 45.0),
    case!(32000, 24000, 34.0),
    case!(32000, 32000, 34.0),
    case!(32000, 48000, 34.0),
];

fn samples(bytes: &[u8]) -> Vec<i16> {
    let pairs = bytes.chunks_exact(2);
    pairs
        .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
        .collect()
}

fn snr(a: &[i16], b: &[i16]) -> f64 {
    let square = |value: f64| value * value;
    let signal: f64 = a.iter().map(|a| square((*a).into())).sum();
    let pairs = a.iter().zip(b);
    let noise: f64 = pairs
        .map(|(a, b)| square(f64::from(*a) - f64::from(*b)))
        .sum();
    10.0 * (signal / noise.max(1e-9)).log10()
}

fn decoded(format: Format, frames: &[u8]) -> Vec<i16> {
    let mut pcm = Vec::new();
    Decoder::new(format).decode(frames, &mut pcm);
    pcm
}

#[test]
fn what_another_coder_made_is_decoded_alike() {
    for case in &CASES {
        let (ours, theirs) = (decoded(case.format, case.frames), samples(case.decoded));
        assert_eq!(ours.len(), theirs.len());
        let alike = snr(&theirs, &ours);
        println!("{:?}: decoded alike to {alike:.1} dB", case.format);
        assert!(alike >= case.alike_db, "{:?}: {alike}", case.format);
    }
}

#[test]
fn what_we_code_is_as_true_as_what_another_coder_made() {
    for case in &CASES {
        let (format, input) = (case.format, samples(case.input));
        let mut frames = Vec::new();
        Encoder::new(format).encode(&input, &mut frames);
        assert_eq!(frames.len(), case.frames.len());
        // A frame comes out one later.
        let late = format.samples();
        let true_to = |frames: &[u8]| {
            snr(
                &input[..input.len() - late],
                &decoded(format, frames)[late..],
            )
        };
        let (ours, theirs) = (true_to(&frames), true_to(case.frames));
        println!("{format:?}: {ours:.1} dB coded by us, {theirs:.1} dB by another");
        assert!(ours > theirs - 0.5, "{format:?}: {ours}, not {theirs}");
    }
}

#[test]
fn a_lost_frame_is_filled_in_once_and_a_damaged_one_is_noticed() {
    let case = &CASES[1];
    let (frame, bytes) = (case.format.samples(), case.format.bytes());
    let mut decoder = Decoder::new(case.format);
    let mut pcm = Vec::new();
    decoder.decode(&case.frames[..10 * bytes], &mut pcm);
    decoder.conceal(3 * frame, &mut pcm);
    assert_eq!(pcm.len(), 13 * frame);
    let loudest = |n: usize| {
        pcm[n * frame..][..frame]
            .iter()
            .map(|s| s.unsigned_abs())
            .max()
    };
    assert!(loudest(10) > Some(1_000), "the last once more");
    assert_eq!(loudest(12), Some(0), "then silence");
    let mut reader = bits::Reader::new(&[0; 80]);
    assert!(
        envelope::read(&mut reader, 14)
            .is_none_or(|_| !Decoder::new(case.format).read(&[0; 80], &mut [0.0; MAX_SAMPLES]))
    );
}

#[test]
fn no_bytes_do_harm() {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    for case in &CASES {
        let mut decoder = Decoder::new(case.format);
        for _ in 0..2_000 {
            let (mut frame, mut pcm) = (case.frames[..case.format.bytes()].to_vec(), Vec::new());
            match next() % 2 {
                0 => frame.fill_with(&mut next),
                _ => frame[usize::from(next()) % case.format.bytes()] = next(),
            }
            decoder.decode(&frame, &mut pcm);
            assert_eq!(pcm.len(), case.format.samples());
        }
    }
}

#[test]
fn silence_and_the_loudest_sound_pass() {
    for case in &CASES {
        let size = case.format.samples();
        let square: Vec<i16> = (0..size * 6)
            .map(|n| if n / 40 % 2 == 0 { 32_767 } else { -32_768 })
            .collect();
        for pcm in [vec![0; size * 6], square] {
            let mut frames = Vec::new();
            Encoder::new(case.format).encode(&pcm, &mut frames);
            let out = decoded(case.format, &frames);
            let quiet = pcm.iter().all(|sample| *sample == 0);
            let loudest = out[size..].iter().map(|sample| sample.unsigned_abs()).max();
            assert!(
                quiet == (loudest < Some(30)),
                "{:?}: {loudest:?}",
                case.format
            );
        }
    }
}
