//! Compositions, by the samples that they show.

use mcu_api::codec::{H264Profile, PacketizationMode, VideoClass, VideoCodec};
use mcu_api::ids::LegId;
use mcu_api::layout::Layout;

use super::tests::{BARS_601, BARS_709, bars, class, ffmpeg};
use super::*;

/// Y, Cb, Cr at luma position x, y.
fn sample_at(frame: &Frame, x: u32, y: u32) -> [u8; 3] {
    [0, 1, 2].map(|index| {
        let halving = if index == 0 { 1 } else { 2 };
        frame.plane(index).row((y / halving) as usize)[(x / halving) as usize]
    })
}

#[test]
fn bars_keep_their_values_through_the_composition() {
    for (colour, source) in [(Colour::BT709, &BARS_709), (Colour::BT601, &BARS_601)] {
        for legs in 1..=9 {
            let legs: Vec<LegId> = (0..legs).map(LegId).collect();
            let mut compositor = Compositor::new(1280, 720);
            compositor.set_tiles(Layout::default(), &legs);
            let frame = bars(colour, source);
            for leg in &legs {
                assert!(compositor.put(*leg, &frame).unwrap());
            }
            for leg in &legs {
                let place = compositor.place(*leg, 640, 360).unwrap();
                let composed = compositor.compose(0);
                assert_eq!(composed.colour(), Colour::BT709);
                for (n, bar) in BARS_709.iter().enumerate() {
                    let x = place.x + place.width * (2 * n as u32 + 1) / 8;
                    let got = sample_at(composed, x, place.y + place.height / 2);
                    for (got, want) in got.iter().zip(bar) {
                        assert!(
                            got.abs_diff(*want) <= 2,
                            "{colour:?} {legs:?} {n}: {got} {want}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_tile_shows_a_figure_without_picture_and_goes_with_its_leg() {
    let mut compositor = Compositor::new(1280, 720);
    let (a, b) = (LegId(1), LegId(2));
    let (held, black) = ([44, 136, 122], [16, 128, 128]);
    compositor.set_tiles(Layout::default(), &[a, b]);
    let frame = bars(Colour::BT709, &BARS_709);
    compositor.put(a, &frame).unwrap();
    let composed = compositor.compose(9).clone();
    assert_eq!(
        sample_at(&composed, 80, 360),
        BARS_709[0],
        "the leg's picture"
    );
    assert_eq!(sample_at(&composed, 80, 100), black, "above it");
    assert_eq!(sample_at(&composed, 700, 100), held, "no picture yet");
    assert_eq!(composed.pts(), 9);
    assert!(!compositor.put(LegId(3), &frame).unwrap());

    let version = compositor.version();
    compositor.set_tiles(Layout::default(), &[a, b]);
    assert_eq!(compositor.version(), version, "nothing changed");
    compositor.clear(a);
    assert_eq!(sample_at(compositor.compose(0), 80, 360), held);
    assert_eq!(
        sample_at(&composed, 80, 360),
        BARS_709[0],
        "a held picture does not change"
    );

    compositor.put(a, &frame).unwrap();
    compositor.set_tiles(Layout::default(), &[a]);
    assert_eq!(
        sample_at(compositor.compose(0), 160, 100),
        BARS_709[0],
        "redrawn, larger"
    );
    compositor.set_tiles(Layout::default(), &[b]);
    assert_eq!(sample_at(compositor.compose(0), 160, 100), held);
    compositor.set_tiles(Layout::default(), &[]);
    assert_eq!(sample_at(compositor.compose(0), 160, 100), black);
}

/// A picture of one colour.
fn plain(luma: u8) -> Frame {
    let mut frame = Pool::new(320, 180, Colour::BT709, 0).take();
    for ((plane, _), sample) in frame.planes_mut().into_iter().zip([luma, 128, 128]) {
        plane.fill(sample);
    }
    frame.freeze()
}

/// A composition of these legs, which have the brightness 100 and more.
fn composition_of(layout: Layout, legs: u64) -> (Compositor, Vec<LegId>) {
    let legs: Vec<LegId> = (0..legs).map(LegId).collect();
    let mut compositor = Compositor::new(1280, 720);
    compositor.set_tiles(layout, &legs);
    for (leg, luma) in legs.iter().zip(100..) {
        compositor.put(*leg, &plain(luma)).unwrap();
    }
    (compositor, legs)
}

/// Nothing flashes: what a layout shows that the one before showed, too, is there at once.
#[test]
fn a_layout_begins_with_the_last_picture_of_every_site() {
    for before in Layout::all() {
        for after in Layout::all() {
            let (mut compositor, legs) = composition_of(before, 6);
            compositor.set_tiles(after, &legs);
            let kept = legs.iter().zip(100..).take(before.max_tiles().min(6));
            let cells = after.cells(legs.len());
            for ((_, luma), cell) in kept.zip(cells) {
                let cell = layout::rect(*cell, 1280, 720);
                let (x, y) = (cell.x + cell.width / 2, cell.y + cell.height / 2);
                let seen = sample_at(compositor.compose(0), x, y)[0];
                assert_eq!(seen, luma, "{before:?} to {after:?}");
            }
        }
    }
}

#[test]
fn a_picture_in_a_picture_stays_above_it() {
    let layout = Layout::named("picture_in_picture").unwrap();
    let (mut compositor, legs) = composition_of(layout, 2);
    for puts in [
        &[(0, 150), (1, 160), (0, 170)][..],
        &[(0, 171)],
        &[(1, 161)],
    ] {
        for (leg, luma) in puts {
            compositor.put(legs[*leg], &plain(*luma)).unwrap();
        }
        let composed = compositor.compose(0).clone();
        let newest = |of| {
            let put = puts.iter().rev().find(|(leg, _)| *leg == of);
            put.map(|(_, luma)| *luma)
        };
        let below = newest(0).unwrap_or(171);
        assert_eq!(sample_at(&composed, 100, 100)[0], below);
        assert_eq!(sample_at(&composed, 1000, 600)[0], newest(1).unwrap_or(160));
    }
}

#[test]
fn a_picture_that_nobody_is_to_see_is_forgotten_at_once() {
    let (mut compositor, legs) = composition_of(Layout::default(), 2);
    let cells = Layout::default().cells(2);
    let spots = |is_held| {
        let spot = |n: usize| Spot {
            is_held: is_held && n == 0,
            ..Spot::bare(legs[n], cells[n])
        };
        [spot(0), spot(1)]
    };
    compositor.set_spots(&spots(true), |_| ());
    let held = [44, 136, 122];
    assert_eq!(sample_at(compositor.compose(0), 20, 200), held);
    assert_eq!(sample_at(compositor.compose(0), 900, 360)[0], 101);
    assert!(!compositor.put(legs[0], &plain(200)).unwrap());
    assert_eq!(sample_at(compositor.compose(0), 20, 200), held);
    compositor.set_spots(&spots(false), |_| ());
    assert_eq!(sample_at(compositor.compose(0), 20, 200), held);
    compositor.put(legs[0], &plain(200)).unwrap();
    assert_eq!(sample_at(compositor.compose(0), 20, 360)[0], 200);
}

#[test]
fn a_border_goes_with_the_speaker_and_leaves_nothing() {
    let (mut compositor, legs) = composition_of(Layout::default(), 2);
    let before = compositor.compose(0).clone();
    let cells = Layout::default().cells(2);
    let spots = |speaks: usize| {
        [0, 1].map(|n| {
            let mut spot = Spot::bare(legs[n], cells[n]);
            spot.caption.speaks = n == speaks;
            spot
        })
    };
    for (speaker, edge) in [(0, 0), (1, 640)] {
        compositor.set_spots(&spots(speaker), |_| ());
        let composed = compositor.compose(0);
        assert_eq!(sample_at(composed, edge, 300)[0], 147);
        assert_eq!(sample_at(composed, edge + 20, 182)[0], 147);
        assert_ne!(sample_at(composed, 640 - edge, 300)[0], 147);
    }
    compositor.set_spots(&spots(2), |_| ());
    let after = compositor.compose(0);
    for plane in 0..3 {
        assert_eq!(after.plane(plane).data, before.plane(plane).data);
    }
}

#[test]
fn another_canvas_keeps_the_pictures() {
    let (mut compositor, _) = composition_of(Layout::default(), 2);
    compositor.resize((960, 720));
    let composed = compositor.compose(0).clone();
    assert_eq!((composed.width(), composed.height()), (960, 720));
    assert_eq!(sample_at(&composed, 240, 360)[0], 100);
    assert_eq!(sample_at(&composed, 720, 360)[0], 101);
}

#[test]
fn smaller_classes_get_the_composition_scaled_once() {
    let mut compositor = Compositor::new(1280, 720);
    compositor.set_tiles(Layout::default(), &[LegId(1)]);
    compositor
        .put(LegId(1), &bars(Colour::BT709, &BARS_709))
        .unwrap();
    let small = compositor.compose_at(640, 360, 3).unwrap();
    assert_eq!(
        (small.width(), small.height(), small.colour()),
        (640, 360, Colour::BT601)
    );
    for (got, want) in sample_at(&small, 400, 180).iter().zip(BARS_601[2]) {
        assert!(got.abs_diff(want) <= 2, "{got} {want}");
    }
    let again = compositor.compose_at(640, 360, 4).unwrap();
    assert_eq!(small.plane(0).data.as_ptr(), again.plane(0).data.as_ptr());
    let cif = compositor.compose_at(352, 288, 5).unwrap();
    assert_eq!(sample_at(&cif, 100, 4), [16, 128, 128], "bars above");
    assert!(compositor.compose_at(351, 288, 5).is_err());
    assert!(std::ptr::eq(
        compositor.compose_at(1280, 720, 6).unwrap().plane(0).data,
        compositor.compose(6).plane(0).data
    ));
}

/// The bars' red, green and blue.
const BARS_RGB: [[u8; 3]; 4] = [[191; 3], [191, 191, 0], [191, 0, 0], [0, 0, 191]];

/// Coded by x264 in either matrix and range, as its VUI says, and shown by whoever decodes the composition.
#[test]
fn bars_keep_their_values_from_x264_to_the_composition_and_on_to_ffmpeg() {
    let row: Vec<u8> = BARS_RGB.iter().flat_map(|bar| bar.repeat(160)).collect();
    let rgb = row.repeat(360);
    for (matrix, label) in [("bt601", "smpte170m"), ("bt709", "bt709")] {
        for range in ["tv", "pc"] {
            let scaled =
                format!("scale=out_color_matrix={matrix}:out_range={range},format=yuv420p");
            let coded = format!(
                "-f rawvideo -pix_fmt rgb24 -s 640x360 -i - -vf {scaled} -c:v libx264 -crf 4 -bf 0 \
                 -colorspace {label} -color_range {range} -threads 1 -f h264 -"
            );
            let coded = ffmpeg(&coded.split(' ').collect::<Vec<_>>(), &rgb);
            let frame = decode(&coded);
            assert_eq!(frame.colour().matrix == Matrix::Bt601, matrix == "bt601");
            assert_eq!(frame.colour().range == Range::Full, range == "pc");
            let mut compositor = Compositor::new(1280, 720);
            compositor.set_tiles(Layout::default(), &[LegId(1)]);
            assert!(compositor.put(LegId(1), &frame).unwrap());
            let composed = compositor.compose(0);
            assert_bars(composed, &format!("{matrix} {range}"));
            assert_shown(composed);
        }
    }
}

fn decode(coded: &[u8]) -> Frame {
    let mut decoder = Decoder::new(VideoCodec::H264).unwrap();
    decoder.decode(coded, 0).unwrap().expect("a picture")
}

fn assert_bars(composed: &Frame, what: &str) {
    for (n, bar) in BARS_709.iter().enumerate() {
        let got = sample_at(composed, 160 + 320 * n as u32, 360);
        for (got, want) in got.iter().zip(bar) {
            assert!(got.abs_diff(*want) <= 2, "{what} {n}: {got} {want}");
        }
    }
}

/// Our encoder says what its samples mean: ffmpeg makes the bars' colours of them. Two steps of a sample are up
/// to six of red, green or blue; the other matrix or range would be off by eleven and more.
fn assert_shown(composed: &Frame) {
    let class = VideoClass {
        width: 1280,
        height: 720,
        bitrate_bps: 4_000_000,
        ..class(
            H264Profile::ConstrainedBaseline,
            PacketizationMode::NonInterleaved,
        )
    };
    let mut encoder = Encoder::new(&class, composed.colour()).unwrap();
    let coded = encoder.encode(composed).unwrap().expect("a picture");
    let words = "-f h264 -i - -frames:v 1 -f rawvideo -pix_fmt rgb24 -";
    let rgb = ffmpeg(&words.split(' ').collect::<Vec<_>>(), coded.bytes);
    for (n, bar) in BARS_RGB.iter().enumerate() {
        let at = 3 * (360 * 1280 + 160 + 320 * n);
        for (got, want) in rgb[at..at + 3].iter().zip(bar) {
            assert!(got.abs_diff(*want) <= 7, "{n}: {got} {want}");
        }
    }
}
