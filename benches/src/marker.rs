//! A sign drawn into a picture that says which source and which frame it is, and that survives
//! scaling down to a tile and H.264 coding.
//!
//! The marker covers a quarter of the picture: from one sixteenth of the width and height to nine
//! sixteenths of both. That area is a grid of 10 by 6 cells. Its outer ring is black with white
//! corners: the reader takes its black and white level from there, so that a change of range or
//! contrast does not matter. Inside are four rows of eight cells, white for one, most significant
//! bit first: id, high byte of the counter, low byte, and a CRC-8 of these three bytes.
//! `tests/browser/marker.js` draws and reads the same.

use serde::Serialize;

use crate::picture::{Luma, Picture, Rect};

const COLUMNS: usize = 10;
const ROWS: usize = 6;
const BLACK: u8 = 16;
const WHITE: u8 = 235;

/// Least difference between black and white cells, in luma steps.
const CONTRAST_MIN: f64 = 60.0;

/// What a marker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Marker {
    /// Which source.
    pub id: u8,
    /// Which of its frames.
    pub counter: u16,
}

/// A marker found in a composed picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// What it says.
    pub marker: Marker,
    /// The source's picture within the composed one, as far as the layout tells.
    pub rect: Rect,
}

/// Draws the marker. Chroma below it becomes neutral.
pub fn draw(picture: &mut Picture, id: u8, counter: u16) {
    let bytes = bytes_of(Marker { id, counter });
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let luma = if cell_is_white(&bytes, column, row) {
                WHITE
            } else {
                BLACK
            };
            picture.fill(cell(picture.width(), picture.height(), column, row), luma);
        }
    }
}

/// Reads the marker of a picture, or of a tile's rectangle within a composed one. `None` if there
/// is none, or it is too blurred to be sure.
pub fn read(luma: Luma<'_>) -> Option<Marker> {
    let cells = cell_means(luma)?;
    let threshold = reference_level(&cells)?;
    let mut bytes = [0u8; 4];
    for (byte, row) in bytes.iter_mut().zip(&cells[1..ROWS - 1]) {
        for mean in &row[1..COLUMNS - 1] {
            // Between black and white is a blurred cell: no guess.
            if (mean - threshold.middle).abs() < threshold.margin {
                return None;
            }
            *byte = *byte << 1 | u8::from(*mean > threshold.middle);
        }
    }
    let marker = Marker {
        id: bytes[0],
        counter: u16::from_be_bytes([bytes[1], bytes[2]]),
    };
    (bytes_of(marker) == bytes).then_some(marker)
}

/// The area of a picture that the marker covers, for measurements that leave it out.
pub fn area(width: usize, height: usize) -> Rect {
    let first = cell(width, height, 0, 0);
    let last = cell(width, height, COLUMNS - 1, ROWS - 1);
    Rect {
        x: first.x,
        y: first.y,
        width: last.x + last.width - first.x,
        height: last.y + last.height - first.y,
    }
}

/// Finds the markers of a composed picture: every tile of every automatic grid of 1 to 9 is tried,
/// with the pictures of usual aspect ratios centred in their tiles.
pub fn find(luma: Luma<'_>) -> Vec<Found> {
    find_among(luma, &candidates(luma.width(), luma.height()))
}

/// As [`find`], with the rectangles to be tried.
pub fn find_among(luma: Luma<'_>, candidates: &[Rect]) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for &rect in candidates {
        let Some(marker) = luma.rect(rect).and_then(read) else {
            continue;
        };
        if !found.iter().any(|known| overlap(known.rect, rect)) {
            found.push(Found { marker, rect });
        }
    }
    found
}

/// Rectangles in which a source's picture may be shown: grids with a centred last row, aspect ratio
/// kept. No rectangle comes twice.
pub fn candidates(width: usize, height: usize) -> Vec<Rect> {
    const GRIDS: [(usize, usize); 6] = [(1, 1), (2, 1), (2, 2), (3, 2), (3, 3), (1, 2)];
    const ASPECTS: [(usize, usize); 4] = [(16, 9), (4, 3), (11, 9), (9, 16)];
    let mut rects = Vec::new();
    for (columns, rows) in GRIDS {
        for tile in tiles(width, height, columns, rows) {
            for rect in ASPECTS.iter().flat_map(|&aspect| fits(tile, aspect)) {
                if !rects.contains(&rect) {
                    rects.push(rect);
                }
            }
        }
    }
    rects
}

fn tiles(width: usize, height: usize, columns: usize, rows: usize) -> Vec<Rect> {
    let edge = |i: usize, n: usize, size: usize| (size * i / n) & !1;
    let mut tiles = Vec::new();
    for row in 0..rows {
        let (top, bottom) = (edge(row, rows, height), edge(row + 1, rows, height));
        // Half-cell steps cover last rows with fewer tiles, which are centred.
        for half in 0..columns * 2 - 1 {
            let left = edge(half, columns * 2, width);
            let right = edge(half + 2, columns * 2, width);
            tiles.push(Rect {
                x: left,
                y: top,
                width: right - left,
                height: bottom - top,
            });
        }
    }
    tiles
}

/// Where a picture lies in its tile: with its aspect ratio kept to the sample, and, where bars thinner
/// than one percent remained, with the tile filled.
fn fits(tile: Rect, aspect: (usize, usize)) -> [Rect; 2] {
    let exact = fit(tile, aspect);
    let thin = |bars: usize, length: usize| bars * 100 < length;
    let filled =
        thin(tile.width - exact.width, tile.width) && thin(tile.height - exact.height, tile.height);
    if filled {
        [tile, exact]
    } else {
        [exact, exact]
    }
}

fn fit(tile: Rect, (aspect_x, aspect_y): (usize, usize)) -> Rect {
    let by_height = tile.height * aspect_x / aspect_y;
    let (width, height) = if by_height <= tile.width + 2 {
        (by_height.min(tile.width), tile.height)
    } else {
        (
            tile.width,
            (tile.width * aspect_y / aspect_x).min(tile.height),
        )
    };
    let (width, height) = (width & !1, height & !1);
    Rect {
        x: tile.x + (((tile.width - width) / 2) & !1),
        y: tile.y + (((tile.height - height) / 2) & !1),
        width,
        height,
    }
}

/// Whether two rectangles are the same tile. Neighbours may overlap by a few samples, where a
/// rectangle of another grid was near enough to be read.
fn overlap(a: Rect, b: Rect) -> bool {
    let shared = |a: usize, a_length: usize, b: usize, b_length: usize| {
        (a + a_length).min(b + b_length).saturating_sub(a.max(b))
    };
    let both = shared(a.x, a.width, b.x, b.width) * shared(a.y, a.height, b.y, b.height);
    both * 2 > (a.width * a.height).min(b.width * b.height)
}

/// Bytes of the four data rows.
fn bytes_of(marker: Marker) -> [u8; 4] {
    let [high, low] = marker.counter.to_be_bytes();
    [marker.id, high, low, crc8(&[marker.id, high, low])]
}

/// CRC-8 with polynomial x^8 + x^2 + x + 1, started at all ones so that an all-black area fails.
fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0xff, |crc, byte| {
        (0..8).fold(crc ^ byte, |c, _| {
            if c & 0x80 != 0 { c << 1 ^ 0x07 } else { c << 1 }
        })
    })
}

fn cell_is_white(bytes: &[u8; 4], column: usize, row: usize) -> bool {
    let ring_row = row == 0 || row == ROWS - 1;
    let ring_column = column == 0 || column == COLUMNS - 1;
    if ring_row || ring_column {
        return ring_row && ring_column;
    }
    bytes[row - 1] >> (COLUMNS - 2 - column) & 1 == 1
}

/// Cell `column`, `row` in samples: edges at fractions of the picture, rounded down.
fn cell(width: usize, height: usize, column: usize, row: usize) -> Rect {
    let x = |i: usize| width * (COLUMNS + 8 * i) / (16 * COLUMNS);
    let y = |i: usize| height * (ROWS + 8 * i) / (16 * ROWS);
    Rect {
        x: x(column),
        y: y(row),
        width: x(column + 1) - x(column),
        height: y(row + 1) - y(row),
    }
}

/// Mean of the inner half of every cell, `None` as soon as the corners show that there is no marker.
fn cell_means(luma: Luma<'_>) -> Option<[[f64; COLUMNS]; ROWS]> {
    // Most places that are tried hold no marker: two cells of the ring settle that.
    if cell_mean(luma, 0, 0)? - cell_mean(luma, 1, 0)? < CONTRAST_MIN {
        return None;
    }
    let mut means = [[0.0; COLUMNS]; ROWS];
    for (row, line) in means.iter_mut().enumerate() {
        for (column, mean) in line.iter_mut().enumerate() {
            *mean = cell_mean(luma, column, row)?;
        }
    }
    Some(means)
}

/// Mean of at most 8 by 8 samples of a cell's inner half: its edges are blurred by scaling and
/// coding.
fn cell_mean(luma: Luma<'_>, column: usize, row: usize) -> Option<f64> {
    let cell = cell(luma.width(), luma.height(), column, row);
    let inner = luma.rect(Rect {
        x: cell.x + cell.width / 4,
        y: cell.y + cell.height / 4,
        width: cell.width.div_ceil(2),
        height: cell.height.div_ceil(2),
    })?;
    let (step_x, step_y) = (inner.width().div_ceil(8), inner.height().div_ceil(8));
    let (mut sum, mut count) = (0u32, 0u32);
    for line in inner.rows().step_by(step_y) {
        for &sample in line.iter().step_by(step_x) {
            sum += u32::from(sample);
            count += 1;
        }
    }
    Some(f64::from(sum) / f64::from(count.max(1)))
}

struct Threshold {
    middle: f64,
    margin: f64,
}

/// Black and white as the ring shows them; `None` if the ring does not look like one.
fn reference_level(cells: &[[f64; COLUMNS]; ROWS]) -> Option<Threshold> {
    let (mut darkest_corner, mut brightest_side) = (255.0f64, 0.0f64);
    for (row, line) in cells.iter().enumerate() {
        for (column, &mean) in line.iter().enumerate() {
            let corner = cell_is_white(&[0; 4], column, row);
            let ring = row % (ROWS - 1) == 0 || column % (COLUMNS - 1) == 0;
            if corner {
                darkest_corner = darkest_corner.min(mean);
            } else if ring {
                brightest_side = brightest_side.max(mean);
            }
        }
    }
    let contrast = darkest_corner - brightest_side;
    (contrast >= CONTRAST_MIN).then_some(Threshold {
        middle: (darkest_corner + brightest_side) / 2.0,
        margin: contrast * 0.2,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    fn noisy(width: usize, height: usize) -> Picture {
        let mut picture = Picture::new(width, height);
        let mut state = 1u32;
        for sample in &mut picture.y {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *sample = (60 + (state >> 24) / 2) as u8;
        }
        picture
    }

    #[test]
    fn every_counter_and_id_reads_back() {
        let mut picture = Picture::new(320, 180);
        for (id, counter) in [(0, 0), (255, 65_535), (1, 0x5555), (16, 0xaaaa), (7, 239)] {
            draw(&mut picture, id, counter);
            assert_eq!(read(picture.luma()), Some(Marker { id, counter }));
        }
    }

    #[test]
    fn nothing_is_read_where_no_marker_is() {
        assert_eq!(read(Picture::new(320, 180).luma()), None);
        assert_eq!(read(noisy(320, 180).luma()), None);
        assert_eq!(read(Picture::new(2, 2).luma()), None);
        let mut black = Picture::new(64, 64);
        black.fill(
            Rect {
                x: 0,
                y: 0,
                width: 64,
                height: 64,
            },
            0,
        );
        assert_eq!(read(black.luma()), None);
    }

    #[test]
    fn a_flipped_cell_is_noticed() {
        let mut picture = Picture::new(640, 360);
        draw(&mut picture, 5, 1234);
        picture.fill(cell(640, 360, 3, 2), WHITE);
        let once = read(picture.luma());
        picture.fill(cell(640, 360, 3, 2), BLACK);
        let twice = read(picture.luma());
        assert!([once, twice].contains(&None));
    }

    #[test]
    fn markers_of_a_grid_are_found_in_their_tiles() {
        let mut composed = Picture::new(1280, 720);
        for (i, (x, y)) in [(0, 0), (640, 0), (320, 360)].into_iter().enumerate() {
            let mut source = noisy(1280, 720);
            draw(&mut source, i as u8 + 1, 77 + i as u16);
            composed.paste(&source.scaled(640, 360).unwrap(), x, y);
        }
        let found = find(composed.luma());
        let seen: Vec<_> = found
            .iter()
            .map(|f| (f.marker.id, f.marker.counter))
            .collect();
        assert_eq!(seen, [(1, 77), (2, 78), (3, 79)]);
        assert_eq!(
            found[2].rect,
            Rect {
                x: 320,
                y: 360,
                width: 640,
                height: 360
            }
        );
    }

    /// A CIF picture in the middle of three lies nearly where one of another grid would.
    #[test]
    fn a_tile_is_no_reason_to_overlook_its_neighbours() {
        let mut composed = Picture::new(1280, 720);
        for (i, x) in [0, 426, 852].into_iter().enumerate() {
            let mut source = noisy(352, 288);
            draw(&mut source, i as u8 + 1, 7);
            composed.paste(&source.scaled(426, 348).unwrap(), x, 6);
        }
        let found = find(composed.luma());
        let mut seen: Vec<u8> = found.iter().map(|f| f.marker.id).collect();
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 3]);
    }

    /// A 720p source, coded as a camera would, scaled to a tile of 320 by 180, coded once more
    /// within the composition.
    #[test]
    fn the_marker_survives_two_codings_and_a_small_tile() {
        let settings = codec::EncodeSettings {
            bitrate_bps: 700_000,
            ..Default::default()
        };
        for encoder in [codec::Library::X264, codec::Library::OpenH264] {
            let Ok(mut camera) = codec::Encoder::new(encoder, settings) else {
                continue;
            };
            let composed = codec::EncodeSettings {
                width: 640,
                height: 360,
                ..settings
            };
            let mut mcu = codec::Encoder::new(encoder, composed).unwrap();
            let mut camera_decoder = codec::Decoder::h264().unwrap();
            let mut leg_decoder = codec::Decoder::h264().unwrap();
            let mut read_back = Vec::new();
            for counter in 0..12u16 {
                let mut source = noisy(1280, 720);
                draw(&mut source, 9, counter * 5_000);
                let coded = camera.encode(&source, counter == 0).unwrap();
                for picture in camera_decoder.decode(&coded).unwrap() {
                    let mut grid = Picture::new(640, 360);
                    grid.paste(&picture.scaled(320, 180).unwrap(), 320, 180);
                    let coded = mcu.encode(&grid, false).unwrap();
                    for picture in leg_decoder.decode(&coded).unwrap() {
                        let tile = Rect {
                            x: 320,
                            y: 180,
                            width: 320,
                            height: 180,
                        };
                        read_back.push(picture.luma().rect(tile).and_then(read));
                    }
                }
            }
            let expected: Vec<_> = (0..12)
                .map(|c| {
                    Some(Marker {
                        id: 9,
                        counter: c * 5_000,
                    })
                })
                .collect();
            assert_eq!(read_back, expected, "{encoder:?}");
        }
    }
}
