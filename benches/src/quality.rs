//! How much of a source's picture is left in a composed one.

use crate::clip::{Clip, ClipError};
use crate::load::Sample;
use crate::marker;
use crate::picture::{self, Luma, Picture, Rect, ScaleError};

/// Tried for each edge of a tile, in samples: the layout's rounding need not be ours.
const EDGE_OFFSETS: [isize; 3] = [0, -2, 2];

/// Structural similarity of the luma of each sample to the frame of `clip` that its counter names, as
/// [`tile_psnr_db`] does, with the marker.
pub fn tile_ssim(samples: &[Sample], clip: &Clip) -> Result<Vec<f64>, ClipError> {
    let figures = each_fit(samples, clip)?;
    Ok(figures.into_iter().map(|fit| fit.ssim).collect())
}

/// PSNR of the luma of each sample against the frame of `clip` that its counter names, decoded and
/// scaled to the tile's size, in dB. The marker's area does not count: its sharp edges would tell of
/// nothing but the scaler. Samples of other sources are left out.
///
/// The tile's edges may be off by two samples; the best fit counts.
pub fn tile_psnr_db(samples: &[Sample], clip: &Clip) -> Result<Vec<f64>, ClipError> {
    let figures = each_fit(samples, clip)?;
    Ok(figures.into_iter().map(|fit| fit.psnr_db).collect())
}

/// How well a sample fits what was sent.
#[derive(Clone, Copy, Debug)]
struct Fit {
    psnr_db: f64,
    ssim: f64,
}

fn each_fit(samples: &[Sample], clip: &Clip) -> Result<Vec<Fit>, ClipError> {
    let ours: Vec<&Sample> = samples.iter().filter(|s| s.id == clip.config.id).collect();
    let wanted: Vec<u16> = ours.iter().map(|s| s.counter).collect();
    let sources = clip.decode(&wanted)?;
    let mut figures = Vec::new();
    for sample in ours {
        if let Some((_, source)) = sources
            .iter()
            .find(|(counter, _)| *counter == sample.counter)
        {
            figures.extend(best_fit(sample, source)?);
        }
    }
    Ok(figures)
}

fn best_fit(sample: &Sample, source: &Picture) -> Result<Option<Fit>, ScaleError> {
    let (mut best, mut ssim) = (f64::NEG_INFINITY, None);
    let (x, y) = (sample.offset.0 as isize, sample.offset.1 as isize);
    let (right, bottom) = (
        x + sample.rect.width as isize,
        y + sample.rect.height as isize,
    );
    for wider in EDGE_OFFSETS {
        for higher in EDGE_OFFSETS {
            let size = (right - x + wider, bottom - y + higher);
            let (Ok(width), Ok(height)) = (usize::try_from(size.0), usize::try_from(size.1)) else {
                continue;
            };
            let expected = source.scaled(width, height)?;
            for dx in EDGE_OFFSETS {
                for dy in EDGE_OFFSETS {
                    let Some(tile) = tile_at(sample, &expected, x + dx, y + dy) else {
                        continue;
                    };
                    let without = Some(marker::area(width, height));
                    let psnr = picture::psnr_db(tile, expected.luma(), without);
                    if let Some(psnr) = psnr.filter(|psnr| *psnr > best) {
                        (best, ssim) = (psnr, picture::ssim(tile, expected.luma()));
                    }
                }
            }
        }
    }
    let psnr_db = best;
    Ok(ssim.map(|ssim| Fit { psnr_db, ssim }))
}

/// `None` where the rectangle does not lie within the sample.
fn tile_at<'s>(sample: &'s Sample, expected: &Picture, x: isize, y: isize) -> Option<Luma<'s>> {
    let (width, height) = (expected.width(), expected.height());
    let rect = Rect {
        x: x.try_into().ok()?,
        y: y.try_into().ok()?,
        width,
        height,
    };
    sample.picture.luma().rect(rect)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::Config;
    use crate::codec::EncodeSettings;

    fn clip() -> Clip {
        let encode = EncodeSettings {
            width: 320,
            height: 180,
            bitrate_bps: 500_000,
            key_interval: 3,
            ..Default::default()
        };
        Clip::encode(&Config {
            id: 6,
            frames: 3,
            encode,
        })
        .unwrap()
    }

    fn sample(clip: &Clip, counter: u16, shift: usize) -> Sample {
        let source = clip.decode(&[counter]).unwrap().remove(0).1;
        let mut picture = Picture::new(168, 98);
        picture.paste(&source.scaled(160, 90).unwrap(), 4 + shift, 4);
        let rect = Rect {
            x: 4,
            y: 4,
            width: 160,
            height: 90,
        };
        Sample {
            id: 6,
            counter,
            rect,
            picture,
            offset: (4, 4),
        }
    }

    #[test]
    fn the_right_frame_in_the_right_place_is_a_perfect_match() {
        let clip = clip();
        let exact = sample(&clip, 1, 0);
        let shifted = sample(&clip, 2, 2);
        let other = Sample {
            id: 5,
            ..exact.clone()
        };
        let figures = tile_psnr_db(&[exact, shifted, other], &clip).unwrap();
        assert_eq!(figures, [99.0, 99.0]);
    }

    #[test]
    fn another_picture_is_no_match() {
        let clip = clip();
        let mut wrong = sample(&clip, 1, 0);
        wrong.picture.fill(
            Rect {
                x: 0,
                y: 0,
                width: 168,
                height: 98,
            },
            128,
        );
        assert!(Luma::rect(&wrong.picture.luma(), wrong.rect).is_some());
        assert!(tile_psnr_db(&[wrong], &clip).unwrap()[0] < 25.0);
    }
}
