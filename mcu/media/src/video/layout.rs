//! Where the tiles of a composed picture lie.

use mcu_api::plan::Layout;

/// Small tiles of [`Layout::Speaker`] that fit below the large one.
const BELOW: u32 = 4;

/// A rectangle in luma samples; all four numbers are even, so that chroma meets it exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Rect {
    /// Left edge.
    pub x: u32,
    /// Upper edge.
    pub y: u32,
    /// Samples in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Rect {
    /// The whole of a picture whose size is even.
    pub const fn whole(width: u32, height: u32) -> Self {
        Self {
            x: 0,
            y: 0,
            width,
            height,
        }
    }
}

/// Columns and rows for a number of tiles: 1, 2×1, 2×2, 3×2, 3×3.
pub fn grid(tiles: usize) -> (u32, u32) {
    match tiles {
        0 | 1 => (1, 1),
        2 => (2, 1),
        3 | 4 => (2, 2),
        5 | 6 => (3, 2),
        _ => (3, 3),
    }
}

/// The cells of `tiles` tiles on a canvas, at most as many as the layout has. None covers another.
pub fn cells(layout: Layout, tiles: usize, canvas_width: u32, canvas_height: u32) -> Vec<Rect> {
    let canvas = (canvas_width, canvas_height);
    let tiles = tiles.min(layout.max_tiles());
    let cell = |n| match layout {
        Layout::Equal => equal(n, tiles, canvas),
        Layout::Speaker => speaker(n, tiles as u32, canvas),
    };
    (0..tiles as u32).map(cell).collect()
}

/// First row first. The cells touch and cover whole rows and columns.
fn equal(n: u32, tiles: usize, canvas: (u32, u32)) -> Rect {
    let (columns, rows) = grid(tiles);
    let (column, row) = (n % columns, n / columns);
    part(canvas, (columns, rows), (column, row), (1, 1))
}

/// The first cell has three quarters of each side. The others have one quarter: below it, all in the
/// middle, where they are few; else along the right and the lower edge.
fn speaker(n: u32, tiles: u32, canvas: (u32, u32)) -> Rect {
    // In eighths, so that an odd number of cells can be in the middle.
    let (place, size) = match (n, tiles) {
        (0, 1) => ((0, 0), (8, 8)),
        (0, _) if tiles <= 1 + BELOW => ((1, 0), (6, 6)),
        (0, _) => ((0, 0), (6, 6)),
        _ if tiles <= 1 + BELOW => ((2 * (n - 1) + 1 + BELOW - tiles, 6), (2, 2)),
        (1..=3, _) => ((6, 2 * (n - 1)), (2, 2)),
        _ => ((2 * n.saturating_sub(4), 6), (2, 2)),
    };
    part(canvas, (8, 8), place, size)
}

/// The rectangle of `size` at `place`, both counted in columns and rows of a canvas that has so many.
fn part(canvas: (u32, u32), columns_rows: (u32, u32), place: (u32, u32), size: (u32, u32)) -> Rect {
    let edge = |length: u32, n: u32, of: u32| (length * n / of) & !1;
    let horizontal = |column| edge(canvas.0, column, columns_rows.0);
    let vertical = |row| edge(canvas.1, row, columns_rows.1);
    let (x, y) = (horizontal(place.0), vertical(place.1));
    Rect {
        x,
        y,
        width: horizontal(place.0 + size.0) - x,
        height: vertical(place.1 + size.1) - y,
    }
}

/// The largest rectangle in the middle of `cell` with the aspect ratio of the source (square
/// samples). A difference that would leave bars thinner than 1 % of the cell fills it instead.
pub fn fit(cell: Rect, source_width: u32, source_height: u32) -> Rect {
    if source_width == 0 || source_height == 0 {
        return cell;
    }
    let by_width = even(cell.width, source_height, source_width);
    let by_height = even(cell.height, source_width, source_height);
    let (mut width, mut height) = (cell.width.min(by_height), cell.height.min(by_width));
    if (cell.width - width) * 100 < cell.width {
        width = cell.width;
    }
    if (cell.height - height) * 100 < cell.height {
        height = cell.height;
    }
    Rect {
        x: cell.x + (((cell.width - width) / 2) & !1),
        y: cell.y + (((cell.height - height) / 2) & !1),
        width,
        height,
    }
}

/// `length * numerator / denominator` to the nearest even number, at least 2.
fn even(length: u32, numerator: u32, denominator: u32) -> u32 {
    let (length, numerator, denominator) = (
        u64::from(length),
        u64::from(numerator),
        u64::from(denominator),
    );
    let halves = (length * numerator + denominator) / (2 * denominator);
    (halves.clamp(1, u64::from(u32::MAX / 4)) * 2) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rect(x: u32, y: u32, width: u32, height: u32) -> Rect {
        Rect {
            x,
            y,
            width,
            height,
        }
    }

    #[test]
    fn cells_of_a_720p_canvas() {
        let of = |tiles| cells(Layout::Equal, tiles, 1280, 720);
        assert_eq!(of(0), []);
        assert_eq!(of(1), [rect(0, 0, 1280, 720)]);
        assert_eq!(of(2), [rect(0, 0, 640, 720), rect(640, 0, 640, 720)]);
        assert_eq!(of(3)[2], rect(0, 360, 640, 360));
        assert_eq!(of(4)[3], rect(640, 360, 640, 360));
        assert_eq!(of(5)[4], rect(426, 360, 426, 360));
        assert_eq!(of(6)[5], rect(852, 360, 428, 360));
        assert_eq!(of(7)[6], rect(0, 480, 426, 240));
        assert_eq!(of(9)[8], rect(852, 480, 428, 240));
        assert_eq!(of(12).len(), 9);
    }

    #[test]
    fn cells_are_even_and_cover_their_rows_for_all_sizes() {
        for (width, height) in [
            (1280, 720),
            (1920, 1080),
            (640, 360),
            (352, 288),
            (176, 144),
        ] {
            for tiles in 1..=9 {
                let cells = cells(Layout::Equal, tiles, width, height);
                let (columns, _) = grid(tiles);
                for cell in &cells {
                    assert!(
                        [cell.x, cell.y, cell.width, cell.height]
                            .iter()
                            .all(|v| v % 2 == 0)
                    );
                    assert!(cell.x + cell.width <= width && cell.y + cell.height <= height);
                }
                for pair in cells.windows(2).filter(|pair| pair[0].y == pair[1].y) {
                    assert_eq!(pair[0].x + pair[0].width, pair[1].x);
                }
                let row: u32 = cells.iter().take(columns as usize).map(|c| c.width).sum();
                assert!(tiles < columns as usize || row == width);
            }
        }
    }

    #[test]
    fn who_speaks_is_large_and_the_others_are_small_beside() {
        let of = |tiles| cells(Layout::Speaker, tiles, 1280, 720);
        assert_eq!(of(1), [rect(0, 0, 1280, 720)]);
        assert_eq!(of(2), [rect(160, 0, 960, 540), rect(480, 540, 320, 180)]);
        assert_eq!(of(3)[1..], [320, 640].map(|x| rect(x, 540, 320, 180)));
        assert_eq!(
            of(5)[1..],
            [0, 320, 640, 960].map(|x| rect(x, 540, 320, 180))
        );
        assert_eq!(of(6)[0], rect(0, 0, 960, 540));
        assert_eq!(of(8)[3], rect(960, 360, 320, 180));
        assert_eq!(
            of(8)[4..],
            [0, 320, 640, 960].map(|x| rect(x, 540, 320, 180))
        );
        assert_eq!(of(12).len(), 8);
    }

    #[test]
    fn no_cell_of_any_layout_covers_another_or_lies_outside() {
        for (layout, tiles) in Layout::ALL
            .into_iter()
            .flat_map(|l| (1..=9).map(move |n| (l, n)))
        {
            let cells = cells(layout, tiles, 1280, 720);
            assert_eq!(cells.len(), tiles.min(layout.max_tiles()));
            for (n, a) in cells.iter().enumerate() {
                assert!(
                    a.x + a.width <= 1280 && a.y + a.height <= 720,
                    "{layout:?} {tiles}"
                );
                let meets = |b: &Rect| {
                    a.x < b.x + b.width
                        && b.x < a.x + a.width
                        && a.y < b.y + b.height
                        && b.y < a.y + a.height
                };
                assert!(!cells[..n].iter().any(meets), "{layout:?} {tiles}");
            }
        }
    }

    #[test]
    fn pictures_keep_their_aspect() {
        let half = rect(640, 0, 640, 720);
        assert_eq!(fit(half, 1280, 720), rect(640, 180, 640, 360));
        assert_eq!(fit(half, 720, 1280), rect(756, 0, 406, 720));
        assert_eq!(fit(rect(0, 0, 640, 360), 640, 480), rect(80, 0, 480, 360));
        assert_eq!(fit(rect(0, 0, 1280, 720), 352, 288), rect(200, 0, 880, 720));
        assert_eq!(
            fit(rect(426, 240, 426, 240), 1280, 720),
            rect(426, 240, 426, 240)
        );
        assert_eq!(
            fit(rect(852, 240, 428, 240), 1920, 1080),
            rect(852, 240, 428, 240)
        );
        assert_eq!(
            fit(rect(426, 360, 426, 360), 1280, 720),
            rect(426, 420, 426, 240)
        );
        assert_eq!(fit(rect(0, 0, 2, 2), 4096, 2), rect(0, 0, 2, 2));
    }
}
