//! Where the tiles of a composed picture lie.

use mcu_api::layout::{Cell, WHOLE};

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

    /// Whether the two have samples in common.
    pub const fn meets(&self, other: &Self) -> bool {
        self.x < other.x + other.width
            && other.x < self.x + self.width
            && self.y < other.y + other.height
            && other.y < self.y + self.height
    }
}

/// Where a cell lies on a canvas of this size. Cells that touch do so here, too.
pub fn rect(cell: Cell, canvas_width: u32, canvas_height: u32) -> Rect {
    let edge = |at: u16, length: u16, of: u32| {
        let at = u64::from(at) + u64::from(length);
        ((at * u64::from(of) / u64::from(WHOLE)) & !1) as u32
    };
    let x = edge(cell.left, 0, canvas_width);
    let y = edge(cell.top, 0, canvas_height);
    Rect {
        x,
        y,
        width: edge(cell.left, cell.width, canvas_width).saturating_sub(x),
        height: edge(cell.top, cell.height, canvas_height).saturating_sub(y),
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
    use mcu_api::layout::{Canvas, Layout};

    use super::*;

    fn rect(x: u32, y: u32, width: u32, height: u32) -> Rect {
        Rect {
            x,
            y,
            width,
            height,
        }
    }

    fn cells(layout: &str, tiles: usize, width: u32, height: u32) -> Vec<Rect> {
        let cells = Layout::named(layout).unwrap().cells(tiles).iter();
        let cells = cells.map(|cell| super::rect(*cell, width, height));
        cells.take(tiles).collect()
    }

    #[test]
    fn cells_of_a_720p_canvas() {
        let of = |tiles| cells("equal", tiles, 1280, 720);
        assert_eq!(of(0), []);
        assert_eq!(of(1), [rect(0, 0, 1280, 720)]);
        assert_eq!(of(2), [rect(0, 0, 640, 720), rect(640, 0, 640, 720)]);
        assert_eq!(of(3)[2], rect(0, 360, 640, 360));
        assert_eq!(of(4)[3], rect(640, 360, 640, 360));
        assert_eq!(of(5)[4], rect(426, 360, 426, 360));
        assert_eq!(of(6)[5], rect(852, 360, 428, 360));
        assert_eq!(of(7)[6], rect(0, 480, 426, 240));
        assert_eq!(of(9)[8], rect(852, 480, 428, 240));
        assert_eq!(of(16)[15], rect(960, 540, 320, 180));
        assert_eq!(of(25)[24], rect(1024, 576, 256, 144));
    }

    #[test]
    fn who_speaks_is_large_and_the_others_are_small_beside() {
        let of = |tiles| cells("speaker", tiles, 1280, 720);
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
    }

    #[test]
    fn cells_of_every_layout_are_even_and_within_every_canvas() {
        for layout in Layout::all() {
            let sizes = match layout.canvas() {
                Canvas::Wide => [(1280, 720), (1920, 1080), (640, 360)],
                Canvas::Narrow => [(960, 720), (352, 288), (176, 144)],
            };
            for ((width, height), cells) in sizes
                .into_iter()
                .flat_map(|size| layout.arrangements().map(move |cells| (size, cells)))
            {
                for cell in cells {
                    let cell = super::rect(*cell, width, height);
                    assert!(cell.x + cell.width <= width, "{layout:?} {cell:?}");
                    assert!(cell.y + cell.height <= height, "{layout:?} {cell:?}");
                    let sides = [cell.x, cell.y, cell.width, cell.height];
                    assert!(
                        sides.iter().all(|side| side % 2 == 0),
                        "{layout:?} {cell:?}"
                    );
                    assert!(cell.width >= 32 && cell.height >= 24, "{layout:?} {cell:?}");
                }
                // What does not overlap in the file does not by rounding.
                let touches = cells.iter().enumerate().flat_map(|(n, a)| {
                    let before = cells[..n].iter();
                    before.map(move |b| (a, b))
                });
                for (a, b) in touches {
                    let apart = a.left >= b.left + b.width
                        || b.left >= a.left + a.width
                        || a.top >= b.top + b.height
                        || b.top >= a.top + a.height;
                    let (a, b) = (
                        super::rect(*a, width, height),
                        super::rect(*b, width, height),
                    );
                    assert_eq!(apart, !a.meets(&b), "{layout:?} {a:?} {b:?}");
                }
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
