//! Codecs and resampler against tones, and against the `ffmpeg` program as an independent
//! implementation.

use std::f64::consts::TAU;
use std::io::Write;
use std::process::{Command, Stdio};

use mcu_api::codec::AudioCodec;

use super::{Decoder, Encoder, Resampler};

const CODECS: [AudioCodec; 8] = [
    AudioCodec::Pcmu,
    AudioCodec::Pcma,
    AudioCodec::G722,
    AudioCodec::G729,
    AudioCodec::G7221 {
        bitrate_bps: 32_000,
    },
    AudioCodec::G7221C {
        bitrate_bps: 48_000,
    },
    AudioCodec::L16,
    AudioCodec::Opus,
];

pub(super) fn tone(rate_hz: u32, hz: f64, amplitude: f64, samples: usize) -> Vec<i16> {
    (0..samples)
        .map(|n| ((n as f64 * hz * TAU / f64::from(rate_hz)).sin() * amplitude).round() as i16)
        .collect()
}

/// Signal to noise in dB of a tone: what the best-fitting sine of `hz` leaves over is noise.
fn tone_snr(pcm: &[i16], rate_hz: u32, hz: f64) -> f64 {
    // Whole periods, so that sine and cosine are orthogonal.
    let period = f64::from(rate_hz) / hz;
    let length = ((pcm.len() as f64 / period).floor() * period).round() as usize;
    let pcm = &pcm[..length];
    let (mut sine, mut cosine, mut energy) = (0.0, 0.0, 0.0);
    for (n, sample) in pcm.iter().enumerate() {
        let (s, c) = (n as f64 * hz * TAU / f64::from(rate_hz)).sin_cos();
        let sample = f64::from(*sample);
        sine += sample * s;
        cosine += sample * c;
        energy += sample * sample;
    }
    let signal = (sine * sine + cosine * cosine) * 2.0 / length as f64;
    10.0 * (signal / (energy - signal).max(1e-9)).log10()
}

fn encode(codec: AudioCodec, pcm: &[i16]) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(codec, 20, 48_000).unwrap();
    pcm.chunks_exact(encoder.frame_samples())
        .map(|frame| {
            let mut payload = Vec::new();
            encoder.encode(frame, &mut payload).unwrap();
            payload
        })
        .collect()
}

fn decode(codec: AudioCodec, payloads: &[Vec<u8>]) -> Vec<i16> {
    let mut decoder = Decoder::new(codec).unwrap();
    let mut pcm = Vec::new();
    for payload in payloads {
        decoder.decode(payload, &mut pcm).unwrap();
    }
    pcm
}

/// What the codec must keep of a 1 kHz tone, in dB.
fn snr_min(codec: AudioCodec) -> f64 {
    match codec {
        AudioCodec::Pcmu | AudioCodec::Pcma => 35.0,
        AudioCodec::L16 => 70.0,
        AudioCodec::G722 => 30.0,
        AudioCodec::Opus => 20.0,
        AudioCodec::G7221 { .. } | AudioCodec::G7221C { .. } => 18.0,
        // Made for speech: a tone is not its strength.
        AudioCodec::G729 => 6.0,
    }
}

/// Feeds `input` to `ffmpeg` with these arguments between its standard input and output.
pub(super) fn ffmpeg(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("ffmpeg is installed");
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    output.stdout
}

pub(super) fn bytes(pcm: &[i16]) -> Vec<u8> {
    pcm.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

pub(super) fn samples(bytes: &[u8]) -> Vec<i16> {
    bytes
        .chunks_exact(2)
        .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
        .collect()
}

#[test]
fn a_tone_passes_every_codec() {
    for codec in CODECS {
        let rate = codec.sample_rate_hz();
        let pcm = decode(
            codec,
            &encode(codec, &tone(rate, 1_000.0, 10_000.0, rate as usize)),
        );
        assert_eq!(pcm.len(), rate as usize);
        let snr = tone_snr(&pcm[rate as usize / 2..], rate, 1_000.0);
        println!("{codec:?}: tone SNR {snr:.1} dB");
        assert!(snr >= snr_min(codec), "{codec:?} {snr}");
    }
}

#[test]
fn ffmpeg_decodes_what_is_encoded_here_and_the_reverse() {
    let formats = [
        (AudioCodec::Pcmu, "mulaw", "8000"),
        (AudioCodec::Pcma, "alaw", "8000"),
        (AudioCodec::G722, "g722", "16000"),
        (AudioCodec::L16, "s16be", "16000"),
    ];
    for (codec, format, rate) in formats {
        let raw = ["-f", "s16le", "-ar", rate, "-ac", "1"];
        let coded: Vec<&str> = match codec {
            AudioCodec::G722 => vec!["-f", format],
            _ => vec!["-f", format, "-ar", rate, "-ac", "1"],
        };
        let original = tone(codec.sample_rate_hz(), 1_000.0, 10_000.0, 16_000);

        let ours = encode(codec, &original).concat();
        let theirs = ffmpeg(&[&coded[..], &["-i", "-"], &raw, &["-"]].concat(), &ours);
        let snr = tone_snr(&samples(&theirs)[1_600..], codec.sample_rate_hz(), 1_000.0);
        assert!(snr >= snr_min(codec), "{codec:?} by ffmpeg: {snr}");

        let encoded = ffmpeg(
            &[&raw[..], &["-i", "-", "-f", format, "-"]].concat(),
            &bytes(&original),
        );
        let packets: Vec<Vec<u8>> = encoded.chunks(160).map(<[u8]>::to_vec).collect();
        let snr = tone_snr(
            &decode(codec, &packets)[1_600..],
            codec.sample_rate_hz(),
            1_000.0,
        );
        assert!(snr >= snr_min(codec), "{codec:?} from ffmpeg: {snr}");
    }
}

#[test]
fn ffmpeg_decodes_our_opus() {
    let payloads = encode(AudioCodec::Opus, &tone(48_000, 1_000.0, 10_000.0, 48_000));
    let pcm = ffmpeg(
        &[
            "-f", "ogg", "-i", "-", "-f", "s16le", "-ar", "48000", "-ac", "1", "-",
        ],
        &ogg_opus(&payloads),
    );
    let snr = tone_snr(&samples(&pcm)[24_000..47_000], 48_000, 1_000.0);
    assert!(snr >= snr_min(AudioCodec::Opus), "{snr}");
}

/// One packet a page (RFC 3533, RFC 7845), enough for a demultiplexer.
fn ogg_opus(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut head = b"OpusHead\x01\x01\x00\x00".to_vec();
    head.extend(48_000_u32.to_le_bytes());
    head.extend([0, 0, 0]);
    let tags = b"OpusTags\x00\x00\x00\x00\x00\x00\x00\x00".to_vec();
    let mut file = Vec::new();
    let mut granule = 0_u64;
    for (number, packet) in [&head, &tags].into_iter().chain(payloads).enumerate() {
        granule += if number > 1 { 960 } else { 0 };
        let mut page = b"OggS\x00".to_vec();
        page.push(if number == 0 { 2 } else { 0 });
        page.extend(granule.to_le_bytes());
        page.extend(1_u32.to_le_bytes());
        page.extend((number as u32).to_le_bytes());
        page.extend(0_u32.to_le_bytes());
        let segments = packet.len() / 255 + 1;
        page.push(segments as u8);
        page.extend(vec![255; segments - 1]);
        page.push((packet.len() % 255) as u8);
        page.extend(packet);
        let checksum = page.iter().fold(0_u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
                crc << 1 ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 }
            })
        });
        page[22..26].copy_from_slice(&checksum.to_le_bytes());
        file.extend(page);
    }
    file
}

#[test]
fn lost_packets_of_every_codec_leave_no_hole() {
    for codec in CODECS {
        let rate = codec.sample_rate_hz();
        let packet = rate as usize / 50;
        let payloads = encode(codec, &tone(rate, 437.0, 10_000.0, rate as usize));
        let mut decoder = Decoder::new(codec).unwrap();
        let mut pcm = Vec::new();
        for (n, payload) in payloads.iter().enumerate() {
            match n % 10 {
                9 => decoder.conceal(packet, &mut pcm),
                _ => decoder.decode(payload, &mut pcm).unwrap(),
            }
        }
        assert_eq!(pcm.len(), rate as usize);
        for gap in pcm.chunks_exact(packet).skip(9).step_by(10) {
            let power = gap.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / packet as f64;
            // G.729 conceals by itself, and lets go sooner (G.729 §4.4).
            let least = if codec == AudioCodec::G729 {
                800.0
            } else {
                2_500.0
            };
            assert!(power.sqrt() > least, "{codec:?}: {}", power.sqrt());
        }
    }
}

#[test]
fn opus_recovers_a_lost_packet_from_the_next() {
    // Speech-like: a tone burst begins in the lost packet, so that concealment alone cannot know it.
    let mut pcm = vec![0; 48_000];
    pcm[24_000..].copy_from_slice(&tone(48_000, 300.0, 10_000.0, 24_000));
    let mut encoder = Encoder::new(AudioCodec::Opus, 20, 24_000).unwrap();
    encoder.set_expected_loss(20).unwrap();
    let payloads: Vec<Vec<u8>> = pcm
        .chunks_exact(960)
        .map(|frame| {
            let mut payload = Vec::new();
            encoder.encode(frame, &mut payload).unwrap();
            payload
        })
        .collect();
    let energy = |recover: bool| {
        let mut decoder = Decoder::new(AudioCodec::Opus).unwrap();
        let (mut before, mut lost) = (Vec::new(), Vec::new());
        payloads[..25]
            .iter()
            .for_each(|p| decoder.decode(p, &mut before).unwrap());
        match recover {
            true => decoder.recover(&payloads[26], 960, &mut lost),
            false => decoder.conceal(960, &mut lost),
        }
        assert_eq!(lost.len(), 960);
        let original = &pcm[25 * 960 - 312..][..960]; // libopus looks 6.5 ms ahead
        let error = |gain: f64| -> f64 {
            original
                .iter()
                .zip(&lost)
                .map(|(a, b)| (f64::from(*a) - gain * f64::from(*b)).powi(2))
                .sum()
        };
        error(1.0) / error(0.0)
    };
    let (recovered, concealed) = (energy(true), energy(false));
    println!("relative error: recovered {recovered:.3}, concealed {concealed:.3}");
    assert!(recovered < concealed);
}

#[test]
fn malformed_payloads_are_errors_and_never_panics() {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for codec in CODECS {
        let good = encode(codec, &tone(codec.sample_rate_hz(), 700.0, 9_000.0, 4_800));
        let mut decoder = Decoder::new(codec).unwrap();
        let mut pcm = Vec::new();
        assert!(decoder.decode(&[], &mut pcm).is_err());
        assert!(decoder.decode(&vec![0xff; 100_000], &mut pcm).is_err());
        for round in 0..1_000 {
            let mut payload = good[round % good.len()].clone();
            for _ in 0..=next() % 4 {
                let at = next() as usize % payload.len();
                payload[at] = next() as u8;
            }
            payload.truncate(1 + next() as usize % payload.len());
            pcm.clear();
            let ok = decoder.decode(&payload, &mut pcm).is_ok();
            assert!(pcm.len() <= codec.sample_rate_hz() as usize * 120 / 1000);
            assert!(ok || pcm.is_empty());
            if next() % 8 == 0 {
                decoder.recover(&payload, next() as usize % 3_000, &mut pcm);
                decoder.conceal(next() as usize % 3_000, &mut pcm);
            }
        }
    }
}

#[test]
fn frames_of_the_wrong_length_and_unknown_packet_times_are_refused() {
    let mut out = Vec::new();
    for codec in CODECS {
        let mut encoder = Encoder::new(codec, 20, 32_000).unwrap();
        assert!(encoder.encode(&[0; 7], &mut out).is_err());
        assert!(Encoder::new(codec, 0, 32_000).is_err());
        assert!(Encoder::new(codec, 15, 32_000).is_err());
    }
    assert!(Encoder::new(AudioCodec::Opus, 30, 32_000).is_err());
    assert!(Encoder::new(AudioCodec::Pcmu, 30, 32_000).is_ok());
    let mut linear = Decoder::new(AudioCodec::L16).unwrap();
    let mut heard = Vec::new();
    assert!(
        linear.decode(&[0; 641], &mut heard).is_err(),
        "half a sample"
    );
    assert!(
        linear.decode(&[0; 3_842], &mut heard).is_err(),
        "over 120 ms"
    );
    assert!(heard.is_empty());
}

#[test]
fn resampled_tones_are_clean() {
    let rates = [8_000_u32, 16_000, 32_000, 48_000];
    for (from, to) in rates.iter().flat_map(|a| rates.map(|b| (*a, b))) {
        for hz in [300.0, 1_000.0, 3_000.0] {
            let mut resampler = Resampler::new(from, to).unwrap();
            let mut out = Vec::new();
            let input = tone(from, hz, 16_000.0, from as usize);
            for tick in input.chunks_exact(from as usize / 50) {
                resampler.process(tick, &mut out);
                assert_eq!(out.len() % (to as usize / 50), 0, "20 ms in, 20 ms out");
            }
            assert_eq!(out.len(), to as usize);
            let snr = tone_snr(&out[to as usize / 10..], to, hz);
            println!("{from} -> {to} at {hz} Hz: {snr:.1} dB");
            assert!(snr >= 60.0, "{from} {to} {hz} {snr}");
            let peak = out[to as usize / 10..]
                .iter()
                .map(|s| s.unsigned_abs())
                .max()
                .unwrap();
            assert!(
                (15_000..16_500).contains(&peak),
                "{from} {to} {hz}: peak {peak}"
            );
        }
    }
    assert!(Resampler::new(44_100, 48_000).is_err());
}

#[test]
fn what_does_not_fit_the_lower_rate_is_filtered_out() {
    let mut resampler = Resampler::new(48_000, 8_000).unwrap();
    let mut out = Vec::new();
    resampler.process(&tone(48_000, 5_200.0, 16_000.0, 48_000), &mut out);
    let loudest = out[800..].iter().map(|s| s.unsigned_abs()).max().unwrap();
    assert!(loudest <= 16, "60 dB down: {loudest}");
}

#[test]
fn input_in_odd_pieces_gives_the_same_samples() {
    let pairs = [
        (48_000, 16_000),
        (8_000, 48_000),
        (16_000, 8_000),
        (32_000, 48_000),
    ];
    for (from, to) in pairs {
        let input = tone(from, 440.0, 12_000.0, 4_800);
        let mut whole = Vec::new();
        Resampler::new(from, to)
            .unwrap()
            .process(&input, &mut whole);
        let mut pieces = Vec::new();
        let mut resampler = Resampler::new(from, to).unwrap();
        input
            .chunks(37)
            .for_each(|piece| resampler.process(piece, &mut pieces));
        assert_eq!(whole.len(), pieces.len());
        // Sums in another order may round the other way.
        let alike = |(a, b): (&i16, &i16)| a.abs_diff(*b) <= 1;
        assert!(whole.iter().zip(&pieces).all(alike));
    }
}

/// How much of a tone arrives by Opus, in dB: the second half of two seconds, once the codec has settled.
fn gain_db(open: fn(AudioCodec, u8, u32) -> Result<Encoder, super::OpenError>, hz: f64) -> f64 {
    let mut encoder = open(AudioCodec::Opus, 20, 64_000).unwrap();
    let sent = tone(48_000, hz, 6_000.0, 96_000);
    let packets = sent.chunks_exact(encoder.frame_samples()).map(|frame| {
        let mut payload = Vec::new();
        encoder.encode(frame, &mut payload).unwrap();
        payload
    });
    let packets: Vec<Vec<u8>> = packets.collect();
    let heard = decode(AudioCodec::Opus, &packets);
    let energy = |pcm: &[i16]| pcm.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
    10.0 * (energy(&heard[48_000..]) / energy(&sent[48_000..])).log10()
}

#[test]
fn the_faithful_encoder_keeps_the_low_tones_of_a_heart() {
    for hz in [25.0, 40.0, 60.0, 100.0, 200.0] {
        let kept = gain_db(Encoder::faithful, hz);
        assert!(kept.abs() < 1.0, "{hz} Hz: {kept:.2} dB");
    }
    let speech = gain_db(Encoder::new, 40.0);
    assert!(speech < -3.0, "made for speech: {speech:.2} dB at 40 Hz");
}

/// Tones through G.729 as ffmpeg's own decoder has them, against ours.
#[test]
fn ffmpeg_decodes_our_g729_and_hears_the_same() {
    let pcm = tone(8_000, 437.0, 8_000.0, 16_000);
    let payloads = encode(AudioCodec::G729, &pcm);
    assert!(payloads.iter().all(|payload| payload.len() == 20));
    let ours = decode(AudioCodec::G729, &payloads);
    let theirs = ffmpeg(
        &["-f", "g729", "-i", "-", "-f", "s16le", "-ar", "8000", "-"],
        &payloads.concat(),
    );
    let theirs = samples(&theirs);
    let (a, b) = (
        tone_snr(&ours[4_000..], 8_000, 437.0),
        tone_snr(&theirs[4_000..], 8_000, 437.0),
    );
    let same: f64 = ours
        .iter()
        .zip(&theirs)
        .map(|(a, b)| f64::from(a - b).powi(2))
        .sum();
    let whole: f64 = ours.iter().map(|a| f64::from(*a).powi(2)).sum();
    let alike = 10.0 * (whole / same.max(1e-9)).log10();
    println!("G.729: tone {a:.1} dB by us, {b:.1} dB by ffmpeg, alike to {alike:.1} dB");
    assert_eq!(theirs.len(), ours.len());
    assert!(a > 10.0 && b > 10.0 && alike > 20.0);
}

/// Annex B: a frame that describes silence ends a payload, or is one; nothing follows until speech does.
#[test]
fn silence_of_g729_is_heard_as_quiet_and_other_lengths_are_refused() {
    let speech = encode(AudioCodec::G729, &tone(8_000, 437.0, 8_000.0, 1_600));
    let mut decoder = Decoder::new(AudioCodec::G729).unwrap();
    let mut pcm = Vec::new();
    for payload in &speech {
        decoder.decode(payload, &mut pcm).unwrap();
    }
    decoder.decode(&[0x10, 0x00], &mut pcm).unwrap();
    assert_eq!(pcm.len(), 1_600 + 80);
    for _ in 0..50 {
        decoder.conceal(160, &mut pcm);
    }
    let loudest = pcm[pcm.len() - 4_000..]
        .iter()
        .map(|s| s.unsigned_abs())
        .max();
    assert!(loudest < Some(400), "{loudest:?}");
    for len in [1, 3, 9, 11, 13, 122, 130] {
        assert!(decoder.decode(&vec![0; len], &mut pcm).is_err(), "{len}");
    }
}
