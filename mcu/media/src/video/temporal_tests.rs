//! Every second picture left out, by ffmpeg.

use mcu_api::codec::{H264Profile, PacketizationMode, VideoClass};

use super::tests::{class, ffmpeg, from_raw, hard, nal_units, psnr, scene};
use super::*;
use crate::temporal;

/// Between two pictures of 60 a second, in 1/90,000 s.
const STEP: i64 = 1_500;

struct Coded {
    n: u32,
    bytes: Vec<u8>,
    droppable: bool,
}

/// So many pictures at 60 a second and 1 Mbit/s, as they come; those that the encoder leaves out are not among
/// them.
fn encode(pool: &Pool, pictures: u32, picture: fn(&Pool, u32) -> Frame, key_at: u32) -> Vec<Coded> {
    let class = VideoClass {
        frame_rate: 60,
        bitrate_bps: 1_000_000,
        ..class(
            H264Profile::ConstrainedBaseline,
            PacketizationMode::NonInterleaved,
        )
    };
    let mut encoder = Encoder::with_layers(&class, Colour::BT601, true).unwrap();
    assert!(encoder.is_layered());
    let units = (0..pictures).filter_map(|n| {
        if n == key_at {
            encoder.force_key_frame();
        }
        let frame = picture(pool, n).at(i64::from(n) * STEP);
        let unit = encoder.encode(&frame).unwrap()?;
        assert!(!(unit.key && unit.droppable));
        Some(Coded {
            n,
            bytes: unit.bytes.to_vec(),
            droppable: unit.droppable,
        })
    });
    units.collect()
}

#[test]
fn without_every_second_picture_the_rest_is_whole() {
    let pool = Pool::new(640, 360, Colour::BT601, 2);
    // A key frame out of turn: the layers begin anew with it.
    let coded = encode(&pool, 40, scene, 21);
    let kept: Vec<&Coded> = coded.iter().filter(|unit| !unit.droppable).collect();
    assert!((17..=21).contains(&kept.len()), "{}", kept.len());
    assert!(coded.len() > 35, "{}", coded.len());
    let base: Vec<u8> = kept
        .iter()
        .flat_map(|unit| temporal::at_level(&unit.bytes, 30))
        .collect();
    let levels = |bytes: &[u8]| {
        let sets = nal_units(bytes).into_iter().filter(|nal| nal[0] & 31 == 7);
        sets.map(|nal| nal[3]).collect::<Vec<u8>>()
    };
    assert_eq!(levels(&base), [30, 30], "of both key frames");
    assert_eq!(levels(&coded[0].bytes), [31]);
    let words = "-xerror -err_detect explode -f h264 -i - -f rawvideo -";
    let decoded = ffmpeg(&words.split(' ').collect::<Vec<_>>(), &base);
    let length = 640 * 360 * 3 / 2;
    assert_eq!(decoded.len(), kept.len() * length);
    for (raw, unit) in decoded.chunks(length).zip(&kept) {
        let db = psnr(&scene(&pool, unit.n), &from_raw(&pool, raw));
        assert!(db >= 30.0, "{}: {db}", unit.n);
    }
}

/// At the rate of the class, the base is well within it, whatever moves.
#[test]
fn half_of_the_pictures_take_no_more_bits_than_all() {
    let pool = Pool::new(640, 360, Colour::BT601, 2);
    /// As a camera of 30 pictures a second is composed at 60.
    fn twice(pool: &Pool, n: u32) -> Frame {
        hard(pool, n / 2)
    }
    for (what, picture) in [
        ("each new", hard as fn(&Pool, u32) -> Frame),
        ("each twice", twice),
    ] {
        let coded = encode(&pool, 300, picture, u32::MAX);
        let bytes = |droppable| {
            let of = coded
                .iter()
                .skip(60)
                .filter(|unit| unit.droppable == droppable);
            of.map(|unit| unit.bytes.len()).sum::<usize>() as f64
        };
        let (base, upper) = (bytes(false), bytes(true));
        let base_bps = base * 8.0 / 4.0;
        println!(
            "{what}: {:.2} of the bits, {base_bps:.0} bit/s",
            base / (base + upper)
        );
        assert!(
            base > upper && base_bps <= 1_050_000.0,
            "{what}: {base} {upper}"
        );
    }
}
