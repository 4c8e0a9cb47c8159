//! A decoded picture in the size in which it is shown.
//!
//! It is made where the picture was decoded, while its samples are in the cache of that core; and the
//! decoder gets its memory back at once instead of taking other memory for each picture.

use super::frame::{Frame, Pool};
use super::layout::{self, Rect};
use super::scale::Scaler;

/// Pictures that may lie unused: one on the canvas, two waiting for it, one in the making.
const SPARE: usize = 4;

/// Reduces the pictures of one stream.
#[derive(Debug, Default)]
pub struct Reducer {
    scaler: Scaler,
    /// For the size and colour of the last picture.
    pool: Option<(Pool, super::Colour)>,
}

impl Reducer {
    /// The picture as it is shown in a cell of this size, or itself where that is not smaller.
    pub fn reduce(&mut self, frame: Frame, (width, height): (u32, u32)) -> Frame {
        let shown = frame.shown_size();
        let place = layout::fit(Rect::whole(width, height), shown.0, shown.1);
        if place.width >= frame.width() || place.height >= frame.height() {
            return frame;
        }
        let colour = frame.colour();
        let known = self.pool.take().filter(|(pool, of)| {
            (pool.width(), pool.height()) == (place.width, place.height) && *of == colour
        });
        let (pool, _) = self.pool.insert(known.unwrap_or_else(|| {
            let pool = Pool::new(place.width, place.height, colour, SPARE);
            (pool, colour)
        }));
        let mut reduced = pool.take();
        reduced.pts = frame.pts();
        let whole = Rect::whole(place.width, place.height);
        match self.scaler.scale(&frame, &mut reduced, whole) {
            Ok(()) => reduced.freeze_shown(shown),
            Err(error) => {
                tracing::debug!(%error, "picture not reduced");
                frame
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Colour;
    use super::super::scale;
    use super::super::tests::scene;
    use super::*;

    fn grey(width: u32, height: u32, shown: (u32, u32)) -> Frame {
        let mut frame = Pool::new(width, height, Colour::BT601, 0).take();
        scale::fill(&mut frame, Rect::whole(width, height), [90, 100, 110]).unwrap();
        frame.pts = 7;
        frame.freeze_shown(shown)
    }

    /// The canvas has only to copy it: it fits the same cell in exactly its own size.
    #[test]
    fn a_reduced_picture_has_the_size_in_which_its_cell_shows_it() {
        let mut reducer = Reducer::default();
        for (size, shown) in [
            ((1280, 720), (1280, 720)),
            ((704, 576), (768, 576)),
            ((1920, 1080), (1920, 1080)),
            ((720, 1280), (720, 1280)),
        ] {
            for cell in [(426, 240), (428, 240), (320, 180), (214, 120), (640, 540)] {
                let reduced = reducer.reduce(grey(size.0, size.1, shown), cell);
                assert_eq!((reduced.pts(), reduced.shown_size()), (7, shown));
                let place = layout::fit(Rect::whole(cell.0, cell.1), shown.0, shown.1);
                let own = (reduced.width(), reduced.height());
                assert_eq!(own, (place.width, place.height), "{size:?} in {cell:?}");
                for (index, sample) in [90, 100, 110].into_iter().enumerate() {
                    let plane = reduced.plane(index);
                    assert!((0..plane.height).all(|y| plane.row(y).iter().all(|s| *s == sample)));
                }
            }
        }
    }

    /// What is seen in it is what is seen in a picture that was scaled onto the canvas.
    #[test]
    fn a_reduced_picture_shows_the_same() {
        for ((width, height), cell) in [
            ((1280, 720), (426, 240)),
            ((1280, 720), (640, 360)),
            ((854, 480), (320, 180)),
            ((1920, 1080), (214, 120)),
        ] {
            let frame = scene(&Pool::new(width, height, Colour::BT709, 0), 3);
            let reduced = Reducer::default().reduce(frame.clone(), cell);
            let mut direct = Pool::new(cell.0, cell.1, Colour::BT709, 0).take();
            let whole = Rect::whole(cell.0, cell.1);
            let mut sws = super::super::sws::Context::new(
                (width as usize, height as usize),
                (cell.0 as usize, cell.1 as usize),
            )
            .unwrap();
            let planes = std::array::from_fn(|index| frame.plane(index));
            sws.scale(planes, &mut scale::targets(&mut direct, whole).unwrap());
            let direct = direct.freeze();
            for index in 0..3 {
                let (a, b) = (reduced.plane(index), direct.plane(index));
                let rows = (0..a.height).flat_map(|y| a.row(y).iter().zip(b.row(y)));
                let error: f64 = rows
                    .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
                    .sum();
                let mean = error / (a.width * a.height) as f64;
                let psnr = 10.0 * (255.0 * 255.0 / mean.max(1e-9)).log10();
                assert!(psnr > 32.0, "{width}x{height} in {cell:?}: {psnr:.1} dB");
            }
        }
    }

    #[test]
    fn a_picture_that_is_shown_no_smaller_stays_as_it_is() {
        let mut reducer = Reducer::default();
        let kept = reducer.reduce(grey(320, 180, (320, 180)), (426, 240));
        assert_eq!((kept.width(), kept.height()), (320, 180));
    }
}
