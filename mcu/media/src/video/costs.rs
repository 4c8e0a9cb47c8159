//! What the parts cost, printed in ms of CPU time; only the work done is asserted.

use mcu_api::codec::{H264Profile, PacketizationMode, VideoClass, VideoCodec};
use mcu_api::ids::LegId;
use mcu_api::layout::Layout;
use mcu_api::still::Still;
use nix::time::{ClockId, clock_gettime};

use super::tests::scene;
use super::*;

/// CPU time of this thread in ms.
fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    time.tv_sec() as f64 * 1e3 + time.tv_nsec() as f64 / 1e6
}

/// ms of CPU time a call, over all calls but the first.
fn cost<T>(name: &str, items: &[T], mut work: impl FnMut(usize, &T)) -> f64 {
    work(0, &items[0]);
    let start = cpu_ms();
    items
        .iter()
        .enumerate()
        .skip(1)
        .for_each(|(n, item)| work(n, item));
    let each = (cpu_ms() - start) / (items.len() - 1) as f64;
    println!("{name}: {each:.3} ms");
    each
}

fn class_720p(profile: H264Profile, packetization: PacketizationMode) -> VideoClass {
    VideoClass {
        codec: VideoCodec::H264,
        width: 1280,
        height: 720,
        frame_rate: 30,
        bitrate_bps: 1_500_000,
        profile,
        level_idc: 31,
        packetization,
    }
}

/// A scene with sensor noise of a few steps.
fn noisy(pool: &Pool, n: u32) -> Frame {
    let mut frame = scene(pool, n).try_into_mut().expect("sole holder");
    let mut random = 0x2545_f491_u32 ^ n;
    for sample in frame.plane_mut(0).0 {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        *sample = sample.wrapping_add((random % 5) as u8);
    }
    frame.freeze()
}

#[test]
fn costs_of_a_room_at_720p() {
    let pool = Pool::new(1280, 720, Colour::BT709, 2);
    let frames: Vec<Frame> = (0..16).map(|n| noisy(&pool, n)).collect();
    let mut units = Vec::new();
    let class = class_720p(
        H264Profile::ConstrainedBaseline,
        PacketizationMode::NonInterleaved,
    );
    let mut encoder = Encoder::new(&class, Colour::BT709).unwrap();
    let encode = cost("encode 720p baseline", &frames, |n, frame| {
        let unit = encoder.encode(&frame.at(n as i64 * 3000)).unwrap();
        units.extend(unit.map(|unit| unit.bytes.to_vec()));
    });
    assert!(units.len() >= 8);
    let mode_0 = class_720p(H264Profile::High, PacketizationMode::SingleNal);
    let mut encoder = Encoder::new(&mode_0, Colour::BT709).unwrap();
    cost("encode 720p high, mode 0", &frames, |n, frame| {
        encoder.encode(&frame.at(n as i64 * 3000)).unwrap();
    });

    let mut decode = [0.0; 2];
    for (skip, each) in [false, true].into_iter().zip(&mut decode) {
        let mut decoder = Decoder::new(VideoCodec::H264).unwrap();
        decoder.skip_loop_filter(skip);
        *each = cost(
            &format!("decode 720p, skip_loop_filter {skip}"),
            &units,
            |_, unit| {
                assert!(decoder.decode(unit, 0).unwrap().is_some());
            },
        );
    }
    let scale = costs_of_scaling(&frames);
    let compose = cost_of_composing(&frames);
    println!(
        "8 legs 720p: codecs and scaling {:.2} ms a frame, with the compositor {:.2} ms, ratio {:.3}",
        encode + 8.0 * (decode[1] + scale),
        encode + 8.0 * decode[1] + compose,
        (encode + 8.0 * decode[1] + compose) / (encode + 8.0 * (decode[1] + scale)),
    );
}

#[test]
fn costs_of_a_still() {
    let pool = Pool::new(1280, 720, Colour::BT709, 2);
    let frames: Vec<Frame> = (0..16).map(|n| noisy(&pool, n)).collect();
    let legs: Vec<LegId> = (0..4).map(LegId).collect();
    let mut compositor = Compositor::new(320, 180);
    compositor.set_tiles(Layout::default(), &legs);
    let mut bytes = 0;
    cost("put 4 of 720p and make a JPEG file", &frames, |_, frame| {
        for leg in &legs {
            assert!(compositor.put(*leg, frame).unwrap());
        }
        bytes = jpeg::encode(compositor.compose(0), 4).unwrap().len();
    });
    println!("{bytes} bytes");
    assert!((2_000..Still::MAX_BYTES).contains(&bytes));
}

/// Returns ms of scaling to a ninth tile.
fn costs_of_scaling(frames: &[Frame]) -> f64 {
    let mut canvas = Pool::new(1280, 720, Colour::BT709, 1).take();
    let mut other = Pool::new(1280, 720, Colour::BT601, 1).take();
    let mut third = 0.0;
    for (width, height) in [(1280, 720), (640, 360), (426, 240), (320, 180)] {
        let place = Rect {
            x: 0,
            y: 0,
            width,
            height,
        };
        let mut scaler = Scaler::new();
        let each = cost(
            &format!("scale 720p to {width}x{height}"),
            frames,
            |_, frame| {
                scaler.scale(frame, &mut canvas, place).unwrap();
            },
        );
        if width == 426 {
            third = each;
        }
        let mut scaler = Scaler::new();
        cost(
            &format!("scale and convert 720p to {width}x{height}"),
            frames,
            |_, frame| {
                scaler.scale(frame, &mut other, place).unwrap();
            },
        );
    }
    third
}

/// Returns ms of a composition of eight new pictures while an encoder holds the last one.
fn cost_of_composing(frames: &[Frame]) -> f64 {
    let legs: Vec<LegId> = (0..8).map(LegId).collect();
    let mut compositor = Compositor::new(1280, 720);
    compositor.set_tiles(Layout::default(), &legs);
    let mut held = None;
    let mut compositions = 0;
    let each = cost(
        "put 8 and compose, the last one held",
        frames,
        |n, frame| {
            for leg in &legs {
                assert!(compositor.put(*leg, frame).unwrap());
            }
            held = Some(compositor.compose(n as i64).clone());
            compositions += 1;
        },
    );
    assert_eq!((compositions, held.is_some()), (frames.len(), true));
    cost("put 8 and compose, nobody holds it", frames, |n, frame| {
        held = None;
        for leg in &legs {
            assert!(compositor.put(*leg, frame).unwrap());
        }
        compositor.compose(n as i64);
    });
    each
}
