//! Scaling of a picture into a rectangle of another, with conversion of colour where it differs.

use super::colour::{Colour, Conversion};
use super::frame::{Frame, FrameMut, Plane, Pool};
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
    pub stride: usize,
    pub width: usize,
    pub height: usize,
}

impl Target<'_> {
    /// Whether all rows are there.
    pub fn is_whole(&self) -> bool {
        self.as_plane().is_whole()
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
            source
                .iter()
                .zip(target)
                .for_each(|(source, target)| yuv::copy(*source, target));
        } else if [2, 4].iter().any(|n| from == (to.0 * n, to.1 * n)) {
            source
                .iter()
                .zip(target)
                .for_each(|(source, target)| yuv::box_scale(*source, target));
        } else {
            self.resize_by_sws(source, target)?;
        }
        Ok(())
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
        let mut scratch = targets(scratch, whole)?;
        sws.scale(source, &mut scratch);
        for (scaled, target) in scratch.iter().zip(target) {
            yuv::copy(scaled.as_plane(), target);
        }
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
fn targets(target: &mut FrameMut, place: Rect) -> Result<[Target<'_>; 3], ScaleError> {
    let (width, height) = (target.width(), target.height());
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
