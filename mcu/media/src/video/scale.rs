//! Scaling of a picture into a rectangle of another, with conversion of colour where it differs.

use super::colour::{Colour, Conversion};
use super::frame::{ALIGNMENT, Frame, FrameMut, Plane, Pool};
use super::layout::Rect;
use super::{sws, yuv};

/// A scaling that cannot be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScaleError {
    /// The rectangle is odd, empty or not within the picture.
    #[error("no place for {rect:?} in a picture of {width}x{height}")]
    Place {
        /// The rectangle.
        rect: Rect,
        /// Width of the picture.
        width: u32,
        /// Height of the picture.
        height: u32,
    },
    /// Sizes that libswscale refuses.
    #[error("cannot scale {from:?} to {to:?}")]
    Sizes {
        /// Width and height of the source.
        from: (usize, usize),
        /// Width and height wanted.
        to: (usize, usize),
    },
}

/// One plane, or a rectangle of one, to be written. Rows are `stride` bytes apart.
#[derive(Debug)]
pub(super) struct Target<'a> {
    pub data: &'a mut [u8],
    /// Its rows are whole rows of the picture.
    pub fills_rows: bool,
    pub stride: usize,
    pub width: usize,
    pub height: usize,
}

impl Target<'_> {
    /// Whether all rows are there.
    pub fn is_whole(&self) -> bool {
        self.as_plane().is_whole()
    }

    /// Whether rows may be written up to the next whole vector, so that nothing of this or another
    /// picture is spoilt.
    fn has_room(&self) -> bool {
        let padded = self.width.next_multiple_of(ALIGNMENT);
        self.fills_rows && self.stride == padded && self.data.len() >= padded * self.height
    }

    fn as_plane(&self) -> Plane<'_> {
        Plane {
            data: self.data,
            stride: self.stride,
            width: self.width,
            height: self.height,
        }
    }

    fn row(&mut self, y: usize) -> &mut [u8] {
        let start = y * self.stride;
        &mut self.data[start..start + self.width]
    }
}

/// Scales pictures of one stream into one place; keeps what was prepared for their sizes.
#[derive(Debug, Default)]
pub struct Scaler {
    sws: Option<sws::Context>,
    /// Where libswscale writes: it rounds rows up to whole vectors, which would spoil the
    /// neighbours' samples.
    scratch: Option<FrameMut>,
    /// For the source with fewer samples, see [`box_ratio`].
    boxed: Option<Pool>,
    conversion: Option<(Colour, Colour, Option<Conversion>)>,
    /// Working memory of the conversion.
    row: Vec<i16>,
}

impl Scaler {
    /// Nothing prepared yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Fills `place` of `target` with the whole of `source`, in the target's colour. 2:1 and 4:1 are
    /// the cheapest ratios, equal sizes are copied.
    pub fn scale(
        &mut self,
        source: &Frame,
        target: &mut FrameMut,
        place: Rect,
    ) -> Result<(), ScaleError> {
        let colours = (source.colour(), target.colour);
        let mut target = targets(target, place)?;
        let source: [Plane<'_>; 3] = std::array::from_fn(|index| source.plane(index));
        self.resize(source, &mut target)?;
        if let Some(conversion) = self.conversion(colours) {
            convert(&conversion, &mut target, &mut self.row);
        }
        Ok(())
    }

    fn resize(
        &mut self,
        source: [Plane<'_>; 3],
        target: &mut [Target<'_>; 3],
    ) -> Result<(), ScaleError> {
        let from = (source[0].width, source[0].height);
        let to = (target[0].width, target[0].height);
        if !source.iter().all(Plane::is_whole) {
            return Err(ScaleError::Sizes { from, to });
        }
        if from == to {
            copy(source, target);
        } else {
            match box_ratio(from, to) {
                1 => self.resize_by_sws(source, target)?,
                ratio if from == (to.0 * ratio, to.1 * ratio) => box_scale(source, target),
                ratio => self.resize_by_both(source, target, ratio)?,
            }
        }
        Ok(())
    }

    /// Most of the way by whole blocks, which costs a tenth, the rest by libswscale.
    fn resize_by_both(
        &mut self,
        source: [Plane<'_>; 3],
        target: &mut [Target<'_>; 3],
        ratio: usize,
    ) -> Result<(), ScaleError> {
        let (width, height) = (source[0].width / ratio, source[0].height / ratio);
        let whole = Rect::whole(width as u32, height as u32);
        let known = self.boxed.take();
        let known = known.filter(|p| (p.width(), p.height()) == (whole.width, whole.height));
        let pool = known.unwrap_or_else(|| Pool::new(whole.width, whole.height, Colour::BT709, 1));
        let mut boxed = pool.take();
        self.boxed = Some(pool);
        box_scale(source, &mut targets(&mut boxed, whole)?);
        let boxed = boxed.freeze();
        self.resize_by_sws(std::array::from_fn(|index| boxed.plane(index)), target)
    }

    fn resize_by_sws(
        &mut self,
        source: [Plane<'_>; 3],
        target: &mut [Target<'_>; 3],
    ) -> Result<(), ScaleError> {
        let from = (source[0].width, source[0].height);
        let to = (target[0].width, target[0].height);
        let whole = Rect::whole(to.0 as u32, to.1 as u32);
        let prepared = self
            .sws
            .as_ref()
            .is_some_and(|context| context.is_for(from, to));
        if !prepared {
            self.sws = sws::Context::new(from, to);
            let pool = Pool::new(whole.width, whole.height, Colour::BT709, 0);
            self.scratch = Some(pool.take());
        }
        let (Some(sws), Some(scratch)) = (&mut self.sws, &mut self.scratch) else {
            return Err(ScaleError::Sizes { from, to });
        };
        if target.iter().all(Target::has_room) {
            sws.scale(source, target);
            return Ok(());
        }
        let mut scratch = targets(scratch, whole)?;
        sws.scale(source, &mut scratch);
        copy(scratch.each_ref().map(Target::as_plane), target);
        Ok(())
    }

    fn conversion(&mut self, (from, to): (Colour, Colour)) -> Option<Conversion> {
        match self.conversion {
            Some((a, b, conversion)) if (a, b) == (from, to) => conversion,
            _ => {
                let conversion = Conversion::between(from, to);
                self.conversion = Some((from, to, conversion));
                conversion
            }
        }
    }
}

/// Samples of a row and of a column that are averaged first: 4, 2 or 1, as both sides of all planes can be
/// divided.
fn box_ratio(from: (usize, usize), to: (usize, usize)) -> usize {
    let goes = |ratio: &usize| {
        let fits = |from: usize, to: usize| from.is_multiple_of(2 * ratio) && from >= to * ratio;
        fits(from.0, to.0) && fits(from.1, to.1)
    };
    [4, 2].into_iter().find(goes).unwrap_or(1)
}

/// Copies samples; the sizes are equal.
fn copy(source: [Plane<'_>; 3], target: &mut [Target<'_>; 3]) {
    for (source, target) in source.iter().zip(target) {
        for y in 0..target.height {
            target.row(y).copy_from_slice(source.row(y));
        }
    }
}

fn box_scale(source: [Plane<'_>; 3], target: &mut [Target<'_>; 3]) {
    for (source, target) in source.iter().zip(target) {
        yuv::box_scale(*source, target);
    }
}

/// Fills a rectangle with one colour: luma, Cb, Cr.
pub fn fill(target: &mut FrameMut, place: Rect, samples: [u8; 3]) -> Result<(), ScaleError> {
    for (plane, sample) in targets(target, place)?.iter_mut().zip(samples) {
        for y in 0..plane.height {
            plane.row(y).fill(sample);
        }
    }
    Ok(())
}

/// The part of each plane that a rectangle covers.
pub(super) fn targets(target: &mut FrameMut, place: Rect) -> Result<[Target<'_>; 3], ScaleError> {
    let (width, height) = (target.width(), target.height());
    let whole_width = width as usize;
    let even = [place.x, place.y, place.width, place.height]
        .iter()
        .all(|v| v.is_multiple_of(2));
    let right = u64::from(place.x) + u64::from(place.width);
    let lower = u64::from(place.y) + u64::from(place.height);
    let within = right <= u64::from(width) && lower <= u64::from(height);
    if !even || !within || place.width == 0 || place.height == 0 {
        return Err(ScaleError::Place {
            rect: place,
            width,
            height,
        });
    }
    let mut index = 0;
    Ok(target.planes_mut().map(|(data, stride)| {
        let halving = if index == 0 { 1 } else { 2 };
        index += 1;
        let [x, y, width, height] =
            [place.x, place.y, place.width, place.height].map(|luma| (luma / halving) as usize);
        Target {
            data: &mut data[y * stride + x..],
            fills_rows: width == whole_width.div_ceil(halving as usize),
            stride,
            width,
            height,
        }
    }))
}

fn convert(conversion: &Conversion, target: &mut [Target<'_>; 3], scratch: &mut Vec<i16>) {
    let [luma, cb, cr] = target;
    for y in 0..cb.height {
        let start = 2 * y * luma.stride;
        let (upper, lower) = luma.data[start..].split_at_mut(luma.stride);
        let rows = [&mut upper[..luma.width], &mut lower[..luma.width]];
        conversion.rows(rows, cb.row(y), cr.row(y), scratch);
    }
}
