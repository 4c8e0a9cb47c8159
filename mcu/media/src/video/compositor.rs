//! The composed picture of a room.
//!
//! Pictures are scaled straight into the canvas when they come; a tile whose leg sends nothing new
//! costs nothing. If somebody still holds the last composed picture (an encoder at work), the canvas
//! moves to other memory first, once a composition at most.

use mcu_api::ids::LegId;
use mcu_api::plan::Layout;

use super::colour::Colour;
use super::frame::{Frame, FrameMut, Pool};
use super::layout::{self, Rect};
use super::scale::{self, ScaleError, Scaler};

const BLACK: [u8; 3] = [16, 128, 128];
/// A tile whose leg has no picture.
const DARK_GREY: [u8; 3] = [48, 128, 128];
/// Canvases that may lie unused: two encoders at work and one being drawn need no more.
const SPARE_CANVASES: usize = 3;
/// Other sizes kept ready; the one not asked for longest gives way.
const DERIVED_MAX: usize = 8;

/// Composes the tiles of one room.
#[derive(Debug)]
pub struct Compositor {
    pool: Pool,
    /// `None` only while it is drawn on.
    canvas: Option<Frame>,
    layout: Layout,
    tiles: Vec<Tile>,
    /// Grows with every change of the canvas.
    version: u64,
    derived: Vec<Derived>,
}

#[derive(Debug)]
struct Tile {
    leg: LegId,
    cell: Rect,
    /// The part of the cell that the picture covers; none when the tile is grey.
    picture: Option<Rect>,
    /// What was shown last, to be drawn again when the grid changes.
    last: Option<Frame>,
    scaler: Scaler,
}

/// The canvas in another size.
#[derive(Debug)]
struct Derived {
    pool: Pool,
    scaler: Scaler,
    version: u64,
    frame: Frame,
}

impl Compositor {
    /// A black canvas; both sides are made even. Its colour is BT.709 limited from 720p on and
    /// BT.601 limited below.
    pub fn new(width: u32, height: u32) -> Self {
        Self::of_colour(width, height, Colour::guess(width, height))
    }

    /// The same, whose samples mean this.
    pub fn of_colour(width: u32, height: u32, colour: Colour) -> Self {
        let (width, height) = (width.max(2) & !1, height.max(2) & !1);
        let pool = Pool::new(width, height, colour, SPARE_CANVASES);
        let mut canvas = pool.take();
        paint(&mut canvas, Rect::whole(width, height), BLACK);
        Self {
            pool,
            canvas: Some(canvas.freeze()),
            layout: Layout::default(),
            tiles: Vec::new(),
            version: 0,
            derived: Vec::new(),
        }
    }

    /// Which legs are shown, in the order of the layout's cells; more than it has are left out. Legs
    /// that stay keep their last picture, the others are forgotten.
    pub fn set_tiles(&mut self, layout: Layout, legs: &[LegId]) {
        let shown = &legs[..legs.len().min(layout.max_tiles())];
        if layout == self.layout && self.tiles().eq(shown.iter().copied()) {
            return;
        }
        self.layout = layout;
        let (width, height) = (self.pool.width(), self.pool.height());
        let cells = layout::cells(layout, shown.len(), width, height);
        let mut before = std::mem::take(&mut self.tiles);
        let mut canvas = self.canvas_mut();
        let whole = Rect::whole(canvas.width(), canvas.height());
        paint(&mut canvas, whole, BLACK);
        for (leg, cell) in shown.iter().zip(cells) {
            let mut tile = match before.iter().position(|tile| tile.leg == *leg) {
                Some(index) => Tile {
                    cell,
                    picture: None,
                    ..before.swap_remove(index)
                },
                None => Tile::new(*leg, cell),
            };
            tile.draw_again(&mut canvas);
            self.tiles.push(tile);
        }
        self.put_back(canvas);
    }

    /// The legs that are shown, in the order of the cells.
    pub fn tiles(&self) -> impl Iterator<Item = LegId> {
        self.tiles.iter().map(|tile| tile.leg)
    }

    /// Whether no tile has a picture.
    pub fn is_blank(&self) -> bool {
        self.tiles.iter().all(|tile| tile.picture.is_none())
    }

    /// Where a picture of this size, in square samples, lands; `None` for a leg that is not shown. A picture of exactly
    /// this size (scaled elsewhere) is only copied by [`Compositor::put`].
    pub fn place(&self, leg: LegId, width: u32, height: u32) -> Option<Rect> {
        let tile = self.tiles.iter().find(|tile| tile.leg == leg)?;
        Some(layout::fit(tile.cell, width, height))
    }

    /// Draws a leg's newest picture. `false`: the leg is not shown.
    pub fn put(&mut self, leg: LegId, frame: &Frame) -> Result<bool, ScaleError> {
        let Some(index) = self.tiles.iter().position(|tile| tile.leg == leg) else {
            return Ok(false);
        };
        let mut canvas = self.canvas_mut();
        let drawn = self.tiles[index].draw(&mut canvas, frame);
        self.put_back(canvas);
        drawn.map(|()| true)
    }

    /// Takes away a leg's picture: its camera is off. The tile stays, dark grey.
    pub fn clear(&mut self, leg: LegId) {
        let Some(index) = self.tiles.iter().position(|tile| tile.leg == leg) else {
            return;
        };
        if self.tiles[index].last.take().is_some() {
            let mut canvas = self.canvas_mut();
            self.tiles[index].draw_again(&mut canvas);
            self.put_back(canvas);
        }
    }

    /// The composed picture, at media time `pts` (1/90,000 s). Its clone may be kept as long as
    /// wanted.
    pub fn compose(&mut self, pts: i64) -> &Frame {
        let canvas = self
            .canvas
            .take()
            .unwrap_or_else(|| self.pool.take().freeze());
        self.canvas.insert(canvas.at(pts))
    }

    /// The composed picture in another size, for classes that are smaller; black bars where the
    /// aspect ratio differs. Scaled only when the canvas changed.
    pub fn compose_at(&mut self, width: u32, height: u32, pts: i64) -> Result<Frame, ScaleError> {
        let canvas = self.compose(pts).clone();
        if (width, height) == (canvas.width(), canvas.height()) {
            return Ok(canvas);
        }
        let position = self
            .derived
            .iter()
            .position(|derived| derived.is_of(width, height));
        let mut derived = match position {
            Some(index) => self.derived.remove(index),
            None => Derived::new(width, height)?,
        };
        let refreshed = derived.refresh(&canvas, self.version);
        let frame = derived.frame.at(pts);
        // Newest last: the first is the one not asked for longest.
        if self.derived.len() >= DERIVED_MAX {
            self.derived.remove(0);
        }
        self.derived.push(derived);
        refreshed.map(|()| frame)
    }

    /// Grows whenever the composed picture changes.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The canvas for drawing; copied first if somebody holds it.
    fn canvas_mut(&mut self) -> FrameMut {
        match self.canvas.take().map(Frame::try_into_mut) {
            Some(Ok(canvas)) => canvas,
            Some(Err(held)) => {
                let mut canvas = self.pool.take();
                canvas.copy_from(&held);
                canvas
            }
            None => self.pool.take(),
        }
    }

    fn put_back(&mut self, canvas: FrameMut) {
        self.version += 1;
        self.canvas = Some(canvas.freeze());
    }
}

impl Tile {
    fn new(leg: LegId, cell: Rect) -> Self {
        Self {
            leg,
            cell,
            picture: None,
            last: None,
            scaler: Scaler::new(),
        }
    }

    fn draw(&mut self, canvas: &mut FrameMut, frame: &Frame) -> Result<(), ScaleError> {
        let (width, height) = frame.shown_size();
        let place = layout::fit(self.cell, width, height);
        if self.picture != Some(place) {
            paint(canvas, self.cell, BLACK);
        }
        self.picture = Some(place);
        self.last = Some(frame.clone());
        self.scaler.scale(frame, canvas, place)
    }

    fn draw_again(&mut self, canvas: &mut FrameMut) {
        let drawn = self.last.take().map(|frame| self.draw(canvas, &frame));
        if !matches!(drawn, Some(Ok(()))) {
            (self.picture, self.last) = (None, None);
            paint(canvas, self.cell, DARK_GREY);
        }
    }
}

impl Derived {
    fn new(width: u32, height: u32) -> Result<Self, ScaleError> {
        let pool = Pool::new(width, height, Colour::guess(width, height), SPARE_CANVASES);
        let mut frame = pool.take();
        scale::fill(&mut frame, Rect::whole(width, height), BLACK)?;
        Ok(Self {
            pool,
            scaler: Scaler::new(),
            version: u64::MAX,
            frame: frame.freeze(),
        })
    }

    fn is_of(&self, width: u32, height: u32) -> bool {
        (self.pool.width(), self.pool.height()) == (width, height)
    }

    fn refresh(&mut self, canvas: &Frame, version: u64) -> Result<(), ScaleError> {
        if self.version == version {
            return Ok(());
        }
        let whole = Rect::whole(self.pool.width(), self.pool.height());
        let place = fit_shown(whole, canvas.width(), canvas.height());
        let mut frame = self.pool.take();
        if place != whole {
            scale::fill(&mut frame, whole, BLACK)?;
        }
        self.scaler.scale(canvas, &mut frame, place)?;
        self.frame = frame.freeze();
        self.version = version;
        Ok(())
    }
}

/// Where a picture lies in one of another size, whose samples are oblong where it is one of the ITU's
/// formats: those are shown 4 to 3 (H.261 §3.1).
fn fit_shown(whole: Rect, width: u32, height: u32) -> Rect {
    const FORMATS: [(u32, u32); 4] = [(128, 96), (176, 144), (352, 288), (704, 576)];
    if !FORMATS.contains(&(whole.width, whole.height)) {
        return layout::fit(whole, width, height);
    }
    let shown = Rect::whole((whole.width * 12 / 11) & !1, whole.height);
    let place = layout::fit(shown, width, height);
    let narrow = |side: u32| (side * whole.width / shown.width) & !1;
    let right = narrow(place.x + place.width);
    Rect {
        x: narrow(place.x),
        width: right - narrow(place.x),
        ..place
    }
}

/// Fills a rectangle that is known to lie on the canvas.
fn paint(canvas: &mut FrameMut, place: Rect, samples: [u8; 3]) {
    let painted = scale::fill(canvas, place, samples);
    debug_assert_eq!(painted, Ok(()));
}
