//! What people hear of each other: speech by `ffmpeg`'s synthesizer, judged by `ffmpeg`'s meter of
//! loudness (EBU R 128). TER-15.

use std::process::{Command, Stdio};

use mcu_api::codec::AudioCodec;
use mcu_api::ids::LegId;
use mcu_api::plan::Care;

use super::mixer::{Config, Mixer, RATE_HZ, TICK_SAMPLES, Tick};
use super::tests::{bytes, ffmpeg, samples};
use super::{Decoder, Encoder, Resampler};

const LEVELLED: Care = Care {
    level: true,
    noise: false,
    echo: false,
};
const CLEANED: Care = Care {
    level: false,
    noise: true,
    echo: false,
};
const GUARDED: Care = Care {
    level: false,
    noise: false,
    echo: true,
};

/// A sentence at 48 kHz by one of the synthesizer's voices, with `lufs` of loudness.
fn speech(voice: &str, lufs: f64) -> Vec<i16> {
    let text = "The patient was admitted on Tuesday with pain in the chest. Her pressure is now \
                one hundred and twenty. Doctor, can you hear the murmur on the left side.";
    let source = format!("flite=voice={voice}:text='{}'", text.replace(',', "\\,"));
    let raw = ["-ar", "48000", "-ac", "1", "-f", "s16le", "-"];
    let spoken = ffmpeg(&[&["-f", "lavfi", "-i", &source], &raw[..]].concat(), &[]);
    let spoken = samples(&spoken);
    let gain = 10_f64.powf((lufs - loudness(&spoken)) / 20.0);
    spoken
        .iter()
        .map(|s| (f64::from(*s) * gain) as i16)
        .collect()
}

/// Integrated loudness in LUFS, gated as EBU R 128 says.
fn loudness(pcm: &[i16]) -> f64 {
    let input = ["-f", "s16le", "-ar", "48000", "-ac", "1", "-i", "-"];
    let judge = ["-af", "ebur128=framelog=verbose", "-f", "null", "-"];
    let mut child = Command::new("ffmpeg")
        .args(["-nostdin", "-hide_banner"])
        .args(input)
        .args(judge)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ffmpeg is installed");
    let mut stdin = child.stdin.take().unwrap();
    let pcm = bytes(pcm);
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &pcm));
    let said = child.wait_with_output().unwrap().stderr;
    writer.join().unwrap().unwrap();
    let said = String::from_utf8_lossy(&said);
    let value = said.rsplit("I:").next().unwrap().split("LUFS").next();
    value.unwrap().trim().parse().unwrap()
}

/// What arrives of it at 48 kHz by way of a codec.
fn by(codec: AudioCodec, pcm: &[i16]) -> Vec<i16> {
    let rate = codec.sample_rate_hz();
    let (mut narrow, mut wide) = (Vec::new(), Vec::new());
    Resampler::new(48_000, rate)
        .unwrap()
        .process(pcm, &mut narrow);
    let mut encoder = Encoder::new(codec, 20, 64_000).unwrap();
    let mut decoder = Decoder::new(codec).unwrap();
    let mut resampler = Resampler::new(rate, 48_000).unwrap();
    for frame in narrow.chunks_exact(encoder.frame_samples()) {
        let (mut payload, mut decoded) = (Vec::new(), Vec::new());
        encoder.encode(frame, &mut payload).unwrap();
        decoder.decode(&payload, &mut decoded).unwrap();
        resampler.process(&decoded, &mut wide);
    }
    wide
}

/// What a listener hears of these legs, who all send from the first tick on.
fn heard(mixer: &mut Mixer, legs: &[(LegId, &[i16], Care)]) -> Vec<i16> {
    let ticks = legs.iter().map(|leg| leg.1.len() / TICK_SAMPLES).max();
    let mut out = Vec::new();
    for tick in 0..ticks.unwrap() {
        mixer.begin_tick();
        for (leg, pcm, care) in legs {
            if let Some(pcm) = pcm.chunks_exact(TICK_SAMPLES).nth(tick) {
                let pcm: &Tick = pcm.try_into().unwrap();
                mixer.add(*leg, pcm, *care);
            }
        }
        mixer.mix();
        out.extend(mixer.shared());
    }
    out
}

/// Noise of the same power at all frequencies, with this level.
fn noise(dbov: f64, samples: usize, seed: u64) -> Vec<i16> {
    let mut random = seed | 1;
    let amplitude = 32_768.0 * 10_f64.powf(dbov / 20.0) * 3_f64.sqrt();
    let mut step = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    };
    (0..samples)
        .map(|_| (step() * amplitude).round() as i16)
        .collect()
}

fn tone(hz: f64, amplitude: f64, samples: usize) -> Vec<i16> {
    super::tests::tone(48_000, hz, amplitude, samples)
}

/// Three sites, 20 dB from the loudest to the quietest, one after the other: how far apart they are
/// in the mix once each has spoken for two sentences, in dB.
fn spread(care: Care) -> f64 {
    let sites = [("slt", -16.0), ("rms", -26.0), ("kal16", -36.0)];
    let mut mixer = Mixer::new(Config::default());
    let heard = sites.iter().zip(1..).map(|((voice, lufs), leg)| {
        let said = by(AudioCodec::Pcma, &speech(voice, *lufs));
        let leg = LegId(leg);
        let pause = noise(-75.0, 2 * 48_000, 7);
        heard(&mut mixer, &[(leg, &[&pause[..], &said].concat(), care)]);
        loudness(&heard_again(&mut mixer, leg, &said, care))
    });
    let heard: Vec<f64> = heard.collect();
    println!("{care:?}: loudness of the sites {heard:.1?} LUFS");
    let most = heard.iter().copied().fold(f64::MIN, f64::max);
    most - heard.iter().copied().fold(f64::MAX, f64::min)
}

fn heard_again(mixer: &mut Mixer, leg: LegId, said: &[i16], care: Care) -> Vec<i16> {
    heard(mixer, &[(leg, said, care)])
}

/// TER-15.
#[test]
fn sites_20_db_apart_come_out_alike() {
    let (before, after) = (spread(Care::default()), spread(LEVELLED));
    println!("spread of loudness: {before:.1} dB before, {after:.1} dB after");
    assert!(before > 18.0, "{before}");
    assert!(after < 4.0, "{after}");
}

/// TER-15: neither silence nor noise nor a steady sound is made louder or quieter.
#[test]
fn what_is_not_speech_keeps_its_level() {
    let length = 8 * 48_000;
    let beeps: Vec<i16> = tone(960.0, 1_000.0, length)
        .iter()
        .enumerate()
        .map(|(n, s)| if n / 24_000 % 2 == 0 { *s } else { 0 })
        .collect();
    // As a terminal sends them: 80 ms every two seconds, wherever ticks begin.
    let short: Vec<i16> = tone(1_918.0, 9_000.0, 60 * 48_000)
        .iter()
        .enumerate()
        .map(|(n, s)| if (n + 300) % 96_480 < 3_840 { *s } else { 0 })
        .collect();
    let short = by(AudioCodec::G722, &short);
    for (name, pcm) in [
        ("short beeps", short),
        ("noise", noise(-30.0, length, 3)),
        ("tone", tone(440.0, 600.0, length)),
        ("beeps", beeps),
    ] {
        let out = heard(
            &mut Mixer::new(Config::default()),
            &[(LegId(1), &pcm, LEVELLED)],
        );
        let gain = power_db(&out[TICK_SAMPLES..]) - power_db(&pcm[TICK_SAMPLES..]);
        println!("{name}: {gain:.2} dB");
        assert!(gain.abs() < 0.3, "{name}: {gain}");
    }
}

/// TER-15: the gain moves so that nobody hears it move.
#[test]
fn a_gain_that_moves_makes_no_steps() {
    let said = speech("slt", -38.0);
    let said = [&noise(-80.0, 2 * 48_000, 5)[..], &said, &said].concat();
    let mut mixer = Mixer::new(Config::default());
    let out = heard(&mut mixer, &[(LegId(1), &said, LEVELLED)]);
    let loud = said.iter().zip(&out).skip(TICK_SAMPLES);
    let gains = loud.map(|(a, b)| (a.unsigned_abs() > 500).then(|| f64::from(*b) / f64::from(*a)));
    let gains: Vec<Option<f64>> = gains.collect();
    let pairs = gains.windows(2).filter_map(|pair| pair[0].zip(pair[1]));
    // Rounding alone is 0.1 % of a sample of 500.
    let step = pairs.map(|(a, b)| (b / a - 1.0).abs()).fold(0.0, f64::max);
    let most = gains.iter().flatten().copied().fold(0.0, f64::max);
    println!(
        "turned up {most:.2} times, by {:.2} % from sample to sample",
        step * 100.0
    );
    assert!(most > 2.0, "it was turned up");
    assert!(step < 0.003, "{step}");
}

/// Speech over noise in dB: what is heard while there is speech (where `said` is loud) against what is
/// heard in its pauses, after `skip` samples.
fn snr(said: &[i16], out: &[i16], skip: usize) -> f64 {
    let power = |pcm: &[i16]| {
        let energy: f64 = pcm.iter().map(|s| f64::from(*s).powi(2)).sum();
        energy / pcm.len() as f64
    };
    let (mut speech, mut pauses) = (Vec::new(), Vec::new());
    let pairs = said
        .chunks_exact(TICK_SAMPLES)
        .zip(out.chunks_exact(TICK_SAMPLES));
    let mut since_speech = 0;
    for (said, out) in pairs.skip(skip / TICK_SAMPLES) {
        let is_speech = power(said) > 10_000.0;
        since_speech = if is_speech { 0 } else { since_speech + 1 };
        match since_speech {
            0 => speech.push(power(out)),
            3.. => pauses.push(power(out)),
            _ => {}
        }
    }
    assert!(speech.len() > 100 && pauses.len() > 10);
    let mean = |powers: Vec<f64>| powers.iter().sum::<f64>() / powers.len() as f64;
    10.0 * (mean(speech) / mean(pauses).max(0.1)).log10()
}

fn mixed(a: &[i16], b: &[i16]) -> Vec<i16> {
    a.iter().zip(b).map(|(a, b)| a.saturating_add(*b)).collect()
}

/// TER-15: of fifty open microphones one is spoken into.
#[test]
fn fifty_sites_of_which_one_speaks_sound_like_one() {
    let sentence = [&speech("slt", -26.0)[..], &[0; 24_000]].concat();
    let said = [vec![0; 5 * 48_000], sentence.clone(), sentence].concat();
    let speaker = mixed(&said, &noise(-60.0, said.len(), 1));
    let others: Vec<Vec<i16>> = (0..49)
        .map(|site| {
            noise(
                -60.0 + f64::from(site % 11),
                said.len(),
                1_000 + site as u64,
            )
        })
        .collect();
    let snr_of = |care: Care, others: &[Vec<i16>]| {
        let mut legs = vec![(LegId(1), &speaker[..], care)];
        legs.extend(
            (2..)
                .zip(others)
                .map(|(leg, pcm)| (LegId(leg), &pcm[..], care)),
        );
        let out = heard(&mut Mixer::new(Config::default()), &legs);
        snr(&said, &out, 5 * 48_000)
    };
    let alone = snr_of(LEVELLED, &[]);
    let (before, after) = (snr_of(Care::default(), &others), snr_of(LEVELLED, &others));
    println!("SNR {alone:.1} dB alone; of fifty {before:.1} dB before, {after:.1} dB after");
    assert!(before < alone - 10.0, "{before}");
    assert!(after > alone - 1.0, "{after}");
}

/// What comes out of the noise and what of the speech of one leg by G.711, in dB.
fn cleaned(noise_dbov: f64, care: Care) -> (f64, f64) {
    let sentence = [&speech("slt", -24.0)[..], &[0; 24_000]].concat();
    let said = [vec![0; 3 * 48_000], sentence.clone(), sentence].concat();
    let noisy = by(
        AudioCodec::Pcmu,
        &mixed(&said, &noise(noise_dbov, said.len(), 1)),
    );
    let out = heard(
        &mut Mixer::new(Config::default()),
        &[(LegId(1), &noisy, care)],
    );
    let half = out.len() / 2;
    (snr(&said, &out, 5 * 48_000), loudness(&out[half..]))
}

/// TER-15: noise of a terminal goes, its speech stays.
#[test]
fn noise_of_a_terminal_goes_and_its_speech_stays() {
    // Some 8 dB less lie within the band of G.711.
    for noise_dbov in [-52.0, -46.0, -40.0] {
        let (before, loud_before) = cleaned(noise_dbov, Care::default());
        let (after, loud_after) = cleaned(noise_dbov, CLEANED);
        let change = loud_after - loud_before;
        println!(
            "noise of {noise_dbov} dBov: SNR {before:.1} to {after:.1} dB, speech {change:+.1} dB"
        );
        assert!(after > before + 10.0, "{before} to {after}");
        assert!(change.abs() < 1.0, "{change}");
    }
}

/// TER-15: a monitor's alarm is heard through the noise of its ward.
#[test]
fn an_alarm_in_noise_is_not_lost() {
    let length = 8 * 48_000;
    let ward = noise(-50.0, length, 11);
    for hz in [660.0, 960.0, 2_000.0] {
        let alarm: Vec<i16> = tone(hz, 2_000.0, length)
            .iter()
            .enumerate()
            .map(|(n, s)| if n / 9_600 % 5 == 0 { *s } else { 0 })
            .collect();
        let out = heard(
            &mut Mixer::new(Config::default()),
            &[(LegId(1), &mixed(&alarm, &ward), CLEANED)],
        );
        let (beep, pause) = (
            &out[6 * 48_000 + 960..][..8_000],
            &out[6 * 48_000 + 20_000..][..8_000],
        );
        let power = |pcm: &[i16]| pcm.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
        let over = 10.0 * (power(beep) / power(pause)).log10();
        let kept = 10.0 * (power(beep) / power(&alarm[6 * 48_000 + 960..][..8_000])).log10();
        println!("{hz} Hz: kept {kept:.1} dB, {over:.1} dB over the noise");
        assert!(kept > -19.0, "{hz} Hz: {kept}");
        assert!(over > 12.0, "{hz} Hz: {over}");
    }
}

/// What a loudspeaker and a microphone make of sound in a room that rings for 200 ms, `delay_ms` later
/// and 10 dB softer.
struct Ringing {
    response: Vec<f32>,
    past: Vec<f32>,
}

impl Ringing {
    fn new(delay_ms: usize) -> Self {
        let length = RATE_HZ as usize / 5;
        let tail = noise(-20.0, length, 21);
        let mut response: Vec<f32> = tail
            .iter()
            .enumerate()
            .map(|(n, s)| f32::from(*s) * (-6.9 * n as f32 / length as f32).exp())
            .collect();
        response[0] = 10_000.0; // the way straight on
        let energy: f32 = response.iter().map(|s| s * s).sum();
        let gain = 10_f32.powf(-10.0 / 20.0) / energy.sqrt();
        // Every fourth is enough for a room, and four times as fast.
        let sparse = response
            .iter()
            .step_by(4)
            .flat_map(|s| [*s * gain * 2.0, 0.0, 0.0, 0.0]);
        let delay = vec![0.0; delay_ms * RATE_HZ as usize / 1_000];
        let response: Vec<f32> = delay.into_iter().chain(sparse).collect();
        let past = vec![0.0; response.len()];
        Self { response, past }
    }

    fn next(&mut self, played: &Tick) -> Vec<i16> {
        let length = self.response.len();
        self.past.drain(..TICK_SAMPLES);
        self.past.extend(played.iter().map(|s| f32::from(*s)));
        let mut sums = vec![0.0_f32; TICK_SAMPLES];
        for (n, gain) in self
            .response
            .iter()
            .enumerate()
            .filter(|(_, gain)| **gain != 0.0)
        {
            let start = length - n - TICK_SAMPLES.min(length - n);
            let window = &self.past[start..(start + TICK_SAMPLES).min(length)];
            sums.iter_mut()
                .zip(window)
                .for_each(|(sum, s)| *sum += s * gain);
        }
        sums.iter().map(|sum| *sum as i16).collect()
    }
}

/// A room of one who speaks (`far`) and a terminal that sends `near` and, if it is `open`, what it plays:
/// what the first hears.
fn heard_back(far: &[i16], near: &[i16], care: Care, open: bool) -> Vec<i16> {
    let mut mixer = Mixer::new(Config::default());
    let mut ringing = Ringing::new(120);
    let mut played: Tick = [0; TICK_SAMPLES];
    let (speaker, terminal) = (LegId(1), LegId(2));
    let mut out = Vec::new();
    for (far, near) in far
        .chunks_exact(TICK_SAMPLES)
        .zip(near.chunks_exact(TICK_SAMPLES))
    {
        mixer.begin_tick();
        mixer.add(speaker, far.try_into().unwrap(), Care::default());
        let echo = ringing.next(&played);
        let sent = if open {
            mixed(near, &echo)
        } else {
            near.to_vec()
        };
        mixer.add(terminal, sent[..].try_into().unwrap(), care);
        mixer.mix();
        out.extend(mixer.personal(speaker));
        played = *mixer.personal(terminal);
    }
    out
}

fn power_db(pcm: &[i16]) -> f64 {
    let energy: f64 = pcm.iter().map(|s| f64::from(*s).powi(2)).sum();
    10.0 * (energy / pcm.len() as f64).max(1e-3).log10()
}

/// TER-15: ERLE in a room that rings, 120 ms and 10 dB away, and who speaks there is heard all the same.
#[test]
fn an_echo_is_found_and_cancelled_and_the_near_speaker_stays() {
    let second = RATE_HZ as usize;
    let there = speech("slt", -24.0).repeat(4);
    let here = speech("rms", -24.0);
    // Far alone, near alone, both.
    let (far_alone, near_alone, both) = (20 * second, 6 * second, 8 * second);
    let silence = vec![0; far_alone];
    let far = [&there[..far_alone], &silence[..near_alone], &there[..both]].concat();
    let near = [&silence[..], &here[..near_alone], &here[..both]].concat();
    let hiss = noise(-70.0, near.len(), 31);
    let near = mixed(&near, &hiss);
    let before = heard_back(&far, &near, Care::default(), true);
    let after = heard_back(&far, &near, GUARDED, true);
    let erle = |from: usize, to: usize| {
        let window = from * second..to * second;
        power_db(&before[window.clone()]) - power_db(&after[window])
    };
    let (found, settled) = (erle(6, 10), erle(12, 20));
    let window = far_alone + second..far_alone + near_alone;
    let near_change = loudness(&after[window.clone()]) - loudness(&near[window]);
    let window = far_alone + near_alone..near.len();
    let both_change = loudness(&after[window.clone()]) - loudness(&near[window]);
    println!(
        "ERLE {found:.1} dB from 6 to 10 s, {settled:.1} dB from 12 to 20 s; near speech \
         {near_change:+.1} dB alone, {both_change:+.1} dB while both speak"
    );
    assert!(settled > 25.0, "{settled}");
    assert!(near_change.abs() < 2.0, "{near_change}");
    assert!(both_change.abs() < 6.0, "{both_change}");
}

/// TER-15: whoever sends no echo is left alone, also while both speak.
#[test]
fn speech_of_two_is_no_echo() {
    let (there, here) = (
        speech("slt", -24.0).repeat(4),
        speech("rms", -24.0).repeat(4),
    );
    let length = there.len().min(here.len());
    // It is in the mix from the first tick on.
    let here = mixed(&here, &noise(-60.0, length, 41));
    let near = heard_back(&there[..length], &here[..length], GUARDED, false);
    assert!(near[TICK_SAMPLES..] == here[TICK_SAMPLES..near.len()]);
}

/// TER-15: original sound leaves as its decoder gave it, to the bit, whatever its level.
#[test]
fn original_sound_is_what_its_codec_made_of_it() {
    let loud = tone(300.0, 32_000.0, 2 * 48_000);
    let quiet = speech("kal16", -36.0);
    let decoded = by(AudioCodec::Opus, &[loud, quiet.clone(), quiet].concat());
    assert!(decoded.iter().any(|s| *s > 30_000));
    let out = heard(
        &mut Mixer::new(Config::default()),
        &[(LegId(1), &decoded, Care::default())],
    );
    assert!(out[TICK_SAMPLES..] == decoded[TICK_SAMPLES..out.len()]);
}
