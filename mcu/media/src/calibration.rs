//! What this machine does in how much time, measured at the start: a few pictures and packets through
//! the codecs, by the thread's own clock, so that what else runs does not count.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::thread;

use anyhow::Context as _;
use mcu_api::capacity::{Measured, PortClass};
use mcu_api::codec::{AudioCodec, H264Profile, PacketizationMode, VideoClass, VideoCodec};
use nix::time::{ClockId, clock_gettime};
use tracing::{info, warn};

use crate::audio;
use crate::pool::lower_priority;
use crate::video::{Colour, Decoder, Encoder, Frame, Pool, Reducer};

/// Pictures, and those of them that are not counted: a key frame, and what finds no memory ready.
const PICTURES: u32 = 12;
const FIRST_PICTURES: u32 = 5;
/// Size and rate of what is measured.
const SIZE: (u16, u16) = (1_280, 720);
const RATE: u8 = 30;
const BITRATE_BPS: u32 = 1_500_000;
/// Cell that a picture is brought to: one of nine.
const CELL: (u32, u32) = (426, 240);
/// Packets of sound of 20 ms, and samples in each.
const PACKETS: u32 = 25;
const PACKET_SAMPLES: u32 = 960;
const PACKETS_A_SECOND: f32 = 50.0;
const OPUS_BPS: u32 = 48_000;
/// Legs that share an encoder, in pictures and in sound: all alike of a room do, so that this is a room of
/// eight.
const SHARED_BY: f32 = 8.0;
/// Taking, mixing and sending packets of sound, in µs a packet (`cargo bench --bench voices`: 0.095 % of
/// a processor for a leg whose codec costs nothing).
const PACKET_US: f32 = 19.0;
/// Samples of a picture of each class, by those of 720 lines: 1,920×1,080, 1,024×576 with what is
/// between it and CIF, and the small layer of a browser.
const FULL_HD: f32 = 2.25;
const SD: f32 = 0.5;
const SMALL_LAYER: f32 = 0.25;

/// What is measured in the background.
#[derive(Clone, Default)]
pub struct Calibration(Arc<OnceLock<Measured>>);

impl Calibration {
    /// Begins to measure, at low priority.
    pub fn start(processors: usize) -> Self {
        let own = Self::default();
        let told = own.clone();
        let begun = thread::Builder::new()
            .name("measure".into())
            .spawn(move || {
                lower_priority();
                match measure(processors) {
                    Ok(measured) => {
                        // Nobody else sets it.
                        let _ = told.0.set(measured);
                    }
                    Err(error) => warn!(error = format!("{error:#}"), "not measured"),
                }
            });
        if let Err(error) = begun {
            warn!(%error, "not measured");
        }
        own
    }

    /// What was found, once it was.
    pub fn measured(&self) -> Option<&Measured> {
        self.0.get()
    }
}

/// Times in µs.
#[derive(Clone, Copy, Debug)]
struct Times {
    encode: f32,
    /// And bring to the size of a cell.
    decode: f32,
    encode_sound: f32,
    decode_sound: f32,
}

fn measure(processors: usize) -> anyhow::Result<Measured> {
    let (encode, decode) = of_pictures()?;
    let (encode_sound, decode_sound) = of_sound()?;
    let times = Times {
        encode,
        decode,
        encode_sound,
        decode_sound,
    };
    info!(
        ?times,
        "a picture of 720 lines and a packet of sound, in µs"
    );
    Ok(Measured {
        processors: processors as f32,
        millicores: millicores(times),
    })
}

/// What a port of each class takes, in thousandths of a processor.
fn millicores(times: Times) -> BTreeMap<PortClass, f32> {
    let second = |us: f32, times: f32| us * times / 1_000.0;
    let sound = times.decode_sound + times.encode_sound / SHARED_BY + PACKET_US;
    let sound = second(sound, PACKETS_A_SECOND);
    let pictures = |size: f32, encode: f32| second((times.decode + encode) * size, RATE.into());
    let terminal = |size: f32| sound + pictures(size, times.encode / SHARED_BY);
    [
        (PortClass::FullHd, terminal(FULL_HD)),
        (PortClass::Hd, terminal(1.0)),
        (PortClass::Sd, terminal(SD)),
        (PortClass::Browser, 2.0 * sound + pictures(SMALL_LAYER, 0.0)),
        (PortClass::Sound, sound),
    ]
    .into()
}

/// Processor time of this thread in µs.
fn now_us() -> anyhow::Result<f64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(time.tv_sec() as f64 * 1e6 + time.tv_nsec() as f64 / 1e3)
}

/// For one picture: to encode it, and to decode and reduce it.
fn of_pictures() -> anyhow::Result<(f32, f32)> {
    let class = VideoClass {
        codec: VideoCodec::H264,
        width: SIZE.0,
        height: SIZE.1,
        frame_rate: RATE,
        bitrate_bps: BITRATE_BPS,
        profile: H264Profile::ConstrainedBaseline,
        level_idc: 31,
        packetization: PacketizationMode::NonInterleaved,
    };
    let pool = Pool::new(SIZE.0.into(), SIZE.1.into(), Colour::BT709, 2);
    let mut encoder = Encoder::new(&class, Colour::BT709)?;
    let mut decoder = Decoder::new(VideoCodec::H264)?;
    // As for most cells: a picture that is reduced hides what the filter would do.
    decoder.skip_loop_filter(true);
    let mut reducer = Reducer::default();
    let (mut encode, mut decode, mut counted) = (0.0, 0.0, 0);
    for n in 0..PICTURES {
        let picture = noise(&pool, n);
        let start = now_us()?;
        let unit = encoder.encode(&picture)?.map(|unit| unit.bytes.to_vec());
        let encoded = now_us()?;
        let Some(unit) = unit else { continue };
        let decoded = decoder.decode(&unit, picture.pts())?;
        if let Some(decoded) = decoded {
            reducer.reduce(decoded, CELL);
        }
        if n >= FIRST_PICTURES {
            encode += encoded - start;
            decode += now_us()? - encoded;
            counted += 1;
        }
    }
    anyhow::ensure!(counted > 0, "no picture was encoded");
    let mean = |us: f64| (us / f64::from(counted)) as f32;
    Ok((mean(encode), mean(decode)))
}

/// A picture with detail that moves by a few samples each time, and a camera's noise.
fn noise(pool: &Pool, n: u32) -> Frame {
    let mut frame = pool.take();
    let mut random = 0x2545_f491_u32 ^ n;
    for plane in 0..3 {
        let (samples, stride) = frame.plane_mut(plane);
        for (row, y) in samples.chunks_mut(stride).zip(0_u32..) {
            for (sample, x) in row.iter_mut().zip(0_u32..) {
                random ^= random << 13;
                random ^= random >> 17;
                random ^= random << 5;
                let (u, v) = (x + 3 * n, y + 2 * n);
                let shape = ((u / 24) ^ (v / 18)) % 12 * 9 + (u * v / 512) % 32;
                *sample = (60 + shape + random % 3) as u8;
            }
        }
    }
    frame.pts = i64::from(n) * 90_000 / i64::from(RATE);
    frame.freeze()
}

/// For one packet of Opus: to encode it, and to decode it.
fn of_sound() -> anyhow::Result<(f32, f32)> {
    let mut encoder = audio::Encoder::new(AudioCodec::Opus, 20, OPUS_BPS)?;
    let mut decoder = audio::Decoder::new(AudioCodec::Opus)?;
    let (mut packet, mut pcm) = (Vec::new(), Vec::new());
    let (mut encode, mut decode) = (0.0, 0.0);
    for n in 0..PACKETS {
        let hum: Vec<i16> = (0..PACKET_SAMPLES)
            .map(|i| {
                let t = (n * PACKET_SAMPLES + i) as f32 / 48_000.0;
                let voice = (t * 150.0 * std::f32::consts::TAU).sin().powi(5);
                (voice * 9_000.0 * (t * 4.0).sin()) as i16
            })
            .collect();
        packet.clear();
        pcm.clear();
        let start = now_us()?;
        encoder.encode(&hum, &mut packet)?;
        let encoded = now_us()?;
        decoder.decode(&packet, &mut pcm).context("decode")?;
        encode += encoded - start;
        decode += now_us()? - encoded;
    }
    let mean = |us: f64| (us / f64::from(PACKETS)) as f32;
    Ok((mean(encode), mean(decode)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_take_what_their_codecs_take() {
        let ports = millicores(Times {
            encode: 4_000.0,
            decode: 1_000.0,
            encode_sound: 80.0,
            decode_sound: 21.0,
        });
        let near = |class, expected: f32| {
            let found = ports[&class];
            assert!((found - expected).abs() < 0.01, "{class:?}: {found}");
        };
        near(PortClass::Sound, 2.5);
        near(PortClass::Hd, 47.5);
        near(PortClass::FullHd, 103.75);
        near(PortClass::Sd, 25.0);
        near(PortClass::Browser, 12.5);
    }

    #[test]
    fn the_machine_is_measured() {
        let measured = measure(2).unwrap();
        let of = |class| measured.millicores[&class];
        let order = [
            PortClass::FullHd,
            PortClass::Hd,
            PortClass::Sd,
            PortClass::Browser,
            PortClass::Sound,
        ];
        assert!(order.is_sorted_by(|a, b| of(*a) > of(*b)), "{measured:?}");
        // Packets alone are 0.95: the codec was seen.
        assert!(of(PortClass::Sound) > 1.0, "{measured:?}");
    }
}
