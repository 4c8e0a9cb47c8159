//! The composed picture of a room.
//!
//! Pictures are scaled straight into the canvas when they come; a tile whose leg sends nothing new
//! costs nothing. If somebody still holds the last composed picture (an encoder at work), the canvas
//! moves to other memory first, once a composition at most.

use mcu_api::ids::LegId;
use mcu_api::layout::{Cell, Layout};

use super::caption::{self, Caption, Label};
use super::colour::Colour;
use super::frame::{Frame, FrameMut, Pool};
use super::layout::{self, Rect};
use super::scale::{self, ScaleError, Scaler};

const BLACK: [u8; 3] = [16, 128, 128];
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
    tiles: Vec<Tile>,
    /// Tiles that were drawn since the last composition, in that order.
    drawn: Vec<usize>,
    /// Grows with every change of the canvas.
    version: u64,
    derived: Vec<Derived>,
}

/// What lies in one place of a composition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The leg.
    pub leg: LegId,
    /// Where it lies.
    pub cell: Cell,
    /// It has no picture, or nobody is to see it: its last one is forgotten.
    pub is_held: bool,
    /// What is drawn over it.
    pub caption: Caption,
}

#[derive(Debug)]
struct Tile {
    spot: Spot,
    cell: Rect,
    /// Its name, where one is written, and the picture for which that was made.
    label: Option<Label>,
    labelled: Option<Rect>,
    /// The part of the cell that the picture covers; none while there is none.
    picture: Option<Rect>,
    /// What was shown last, to be drawn again when the grid changes.
    last: Option<Frame>,
    /// What stands for a picture, once it was drawn for this cell and caption.
    held: Option<Frame>,
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
            tiles: Vec::new(),
            drawn: Vec::new(),
            version: 0,
            derived: Vec::new(),
        }
    }

    /// Which legs are shown, in the order of the layout's cells, without captions; more than it has are
    /// left out.
    pub fn set_tiles(&mut self, layout: Layout, legs: &[LegId]) {
        let places = legs.iter().zip(layout.cells(legs.len()));
        let spots: Vec<Spot> = places.map(|(leg, cell)| Spot::bare(*leg, *cell)).collect();
        self.set_spots(&spots, |_| ());
    }

    /// What is shown where; a later spot lies over an earlier one. Legs that stay keep their last
    /// picture, the others are forgotten. What `hold` yields for a leg is kept while its caption is made.
    pub fn set_spots<H>(&mut self, spots: &[Spot], hold: impl Fn(LegId) -> H) {
        if self.tiles.iter().map(|tile| &tile.spot).eq(spots) {
            return;
        }
        let (width, height) = (self.pool.width(), self.pool.height());
        let mut before = std::mem::take(&mut self.tiles);
        let place = |spot: &Spot| (spot.leg, spot.cell);
        let moves = !before
            .iter()
            .map(|tile| place(&tile.spot))
            .eq(spots.iter().map(place));
        let mut canvas = self.canvas_mut();
        if moves {
            let whole = Rect::whole(canvas.width(), canvas.height());
            paint(&mut canvas, whole, BLACK);
        }
        for (index, spot) in spots.iter().enumerate() {
            let _held = hold(spot.leg);
            let known = before.iter().position(|tile| tile.spot.leg == spot.leg);
            let tile = known.map(|index| before.swap_remove(index));
            let mut tile = tile.unwrap_or_else(|| Tile::new(spot.clone()));
            let is_same = !moves && tile.spot == *spot;
            tile.take(spot, layout::rect(spot.cell, width, height));
            if !is_same {
                tile.draw_again(&mut canvas);
                self.drawn.push(index);
            }
            self.tiles.push(tile);
        }
        self.put_back(canvas);
    }

    /// A canvas of another size from now on, with the same pictures.
    pub fn resize(&mut self, (width, height): (u32, u32)) {
        if (width, height) == (self.pool.width(), self.pool.height()) {
            return;
        }
        let tiles = std::mem::take(&mut self.tiles);
        let version = self.version;
        *self = Self::new(width, height);
        self.drawn = (0..tiles.len()).collect();
        self.version = version;
        let mut canvas = self.canvas_mut();
        for mut tile in tiles {
            let spot = tile.spot.clone();
            tile.take(&spot, layout::rect(spot.cell, width, height));
            tile.draw_again(&mut canvas);
            self.tiles.push(tile);
        }
        self.put_back(canvas);
    }

    /// The legs that are shown, in the order of the cells.
    pub fn tiles(&self) -> impl Iterator<Item = LegId> {
        self.tiles.iter().map(|tile| tile.spot.leg)
    }

    /// Whether no tile has a picture.
    pub fn is_blank(&self) -> bool {
        self.tiles.iter().all(|tile| tile.picture.is_none())
    }

    /// Where a picture of this size, in square samples, lands; `None` for a leg that is not shown. A picture of exactly
    /// this size (scaled elsewhere) is only copied by [`Compositor::put`].
    pub fn place(&self, leg: LegId, width: u32, height: u32) -> Option<Rect> {
        let tile = self.tiles.iter().find(|tile| tile.spot.leg == leg)?;
        Some(layout::fit(tile.cell, width, height))
    }

    /// Draws a leg's newest picture. `false`: the leg is not shown, or is to have no picture.
    pub fn put(&mut self, leg: LegId, frame: &Frame) -> Result<bool, ScaleError> {
        let Some(index) = self.tiles.iter().position(|tile| tile.spot.leg == leg) else {
            return Ok(false);
        };
        if self.tiles[index].spot.is_held {
            return Ok(false);
        }
        let mut canvas = self.canvas_mut();
        let drawn = self.tiles[index].draw(&mut canvas, frame);
        self.drawn.push(index);
        self.put_back(canvas);
        drawn.map(|()| true)
    }

    /// Takes away a leg's picture: its camera is off. The tile stays.
    pub fn clear(&mut self, leg: LegId) {
        let Some(index) = self.tiles.iter().position(|tile| tile.spot.leg == leg) else {
            return;
        };
        if self.tiles[index].last.take().is_some() {
            let mut canvas = self.canvas_mut();
            self.tiles[index].draw_again(&mut canvas);
            self.drawn.push(index);
            self.put_back(canvas);
        }
    }

    /// Draws again what lies over a tile that was drawn after it.
    fn draw_above(&mut self) {
        for index in 0..self.tiles.len() {
            let cell = self.tiles[index].cell;
            let last = self.drawn.iter().rposition(|drawn| *drawn == index);
            let since = &self.drawn[last.map_or(0, |last| last + 1)..];
            let mut below = since.iter().filter(|drawn| **drawn < index);
            if below.any(|drawn| self.tiles[*drawn].cell.meets(&cell)) {
                let mut canvas = self.canvas_mut();
                self.tiles[index].draw_again(&mut canvas);
                self.drawn.push(index);
                self.put_back(canvas);
            }
        }
        self.drawn.clear();
    }

    /// The composed picture, at media time `pts` (1/90,000 s). Its clone may be kept as long as
    /// wanted.
    pub fn compose(&mut self, pts: i64) -> &Frame {
        self.draw_above();
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

impl Spot {
    /// A leg without caption.
    pub fn bare(leg: LegId, cell: Cell) -> Self {
        Self {
            leg,
            cell,
            is_held: false,
            caption: Caption::default(),
        }
    }
}

impl Tile {
    /// It lies nowhere yet.
    fn new(spot: Spot) -> Self {
        Self {
            spot,
            cell: Rect::default(),
            label: None,
            labelled: None,
            picture: None,
            last: None,
            held: None,
            scaler: Scaler::new(),
        }
    }

    /// Lies here from now on, under this caption.
    fn take(&mut self, spot: &Spot, cell: Rect) {
        let says_else = !self.spot.caption.says_the_same(&spot.caption);
        if says_else {
            self.labelled = None;
        }
        if says_else || self.cell != cell {
            self.held = None;
        }
        if spot.is_held {
            self.last = None;
        }
        (self.spot, self.cell) = (spot.clone(), cell);
    }

    fn draw(&mut self, canvas: &mut FrameMut, frame: &Frame) -> Result<(), ScaleError> {
        let (width, height) = frame.shown_size();
        let place = layout::fit(self.cell, width, height);
        if self.picture != Some(place) {
            paint(canvas, self.cell, BLACK);
        }
        if self.labelled != Some(place) {
            self.label = Label::new(&self.spot.caption, place);
            self.labelled = Some(place);
        }
        self.picture = Some(place);
        self.last = Some(frame.clone());
        self.scaler.scale(frame, canvas, place)?;
        if let Some(label) = &self.label {
            label.draw(canvas);
        }
        if self.spot.caption.speaks {
            caption::draw_border(canvas, place);
        }
        Ok(())
    }

    fn draw_again(&mut self, canvas: &mut FrameMut) {
        // Whatever was drawn over its bars goes.
        self.picture = None;
        let drawn = self.last.take().map(|frame| self.draw(canvas, &frame));
        if matches!(drawn, Some(Ok(()))) {
            return;
        }
        (self.picture, self.last) = (None, None);
        let (cell, caption) = (self.cell, &self.spot.caption);
        let held = self
            .held
            .get_or_insert_with(|| caption::held(caption, cell, canvas.colour));
        let drawn = self.scaler.scale(held, canvas, cell);
        debug_assert_eq!(drawn, Ok(()));
        if self.spot.caption.speaks {
            caption::draw_border(canvas, self.cell);
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
