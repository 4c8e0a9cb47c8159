//! The automatic grid: where the tiles of a composed picture lie.

/// Most tiles that a grid shows.
pub const TILES_MAX: usize = 9;

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

/// The cells of `tiles` tiles (at most nine) on a canvas, first row first. They touch and cover
/// whole rows and columns.
pub fn cells(tiles: usize, canvas_width: u32, canvas_height: u32) -> Vec<Rect> {
    let (columns, rows) = grid(tiles);
    let edge = |length: u32, n: u32, of: u32| (length * n / of) & !1;
    (0..tiles.min(TILES_MAX) as u32)
        .map(|n| {
            let (column, row) = (n % columns, n / columns);
            let (x, y) = (
                edge(canvas_width, column, columns),
                edge(canvas_height, row, rows),
            );
            Rect {
                x,
                y,
                width: edge(canvas_width, column + 1, columns) - x,
                height: edge(canvas_height, row + 1, rows) - y,
            }
        })
        .collect()
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
        let of = |tiles| cells(tiles, 1280, 720);
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
                let cells = cells(tiles, width, height);
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
