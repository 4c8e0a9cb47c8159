//! Planar 4:2:0 pictures, scaling and the distance between two of them.

use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame;
use ffmpeg_next::software::scaling;

/// A rectangle in luma samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, serde::Serialize)]
pub struct Rect {
    /// Left edge.
    pub x: usize,
    /// Top edge.
    pub y: usize,
    /// Width.
    pub width: usize,
    /// Height.
    pub height: usize,
}

/// An I420 picture without padding between rows: luma, then both chroma planes at half size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    /// Luma, `width * height` samples.
    pub y: Vec<u8>,
    /// Blue difference, a quarter of the samples.
    pub u: Vec<u8>,
    /// Red difference, a quarter of the samples.
    pub v: Vec<u8>,
}

/// A borrowed luma plane, or a rectangle of one.
#[derive(Clone, Copy, Debug)]
pub struct Luma<'a> {
    data: &'a [u8],
    stride: usize,
    width: usize,
    height: usize,
}

/// What libavcodec or libswscale refused.
#[derive(Debug, thiserror::Error)]
#[error("libswscale: {0}")]
pub struct ScaleError(#[from] ffmpeg_next::Error);

impl Picture {
    /// A mid-grey picture. Odd sizes are rounded up to even ones.
    pub fn new(width: usize, height: usize) -> Self {
        let (width, height) = (
            width.max(2).next_multiple_of(2),
            height.max(2).next_multiple_of(2),
        );
        let chroma = vec![128; width * height / 4];
        Self {
            width,
            height,
            y: vec![128; width * height],
            u: chroma.clone(),
            v: chroma,
        }
    }

    /// Width in luma samples, even.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in luma samples, even.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The luma plane.
    pub fn luma(&self) -> Luma<'_> {
        Luma {
            data: &self.y,
            stride: self.width,
            width: self.width,
            height: self.height,
        }
    }

    /// Fills a rectangle with one luma value and neutral chroma; what lies outside is left out.
    pub fn fill(&mut self, rect: Rect, luma: u8) {
        fill_plane(&mut self.y, self.width, rect, luma);
        let half = Rect {
            x: rect.x / 2,
            y: rect.y / 2,
            width: (rect.x + rect.width).div_ceil(2) - rect.x / 2,
            height: (rect.y + rect.height).div_ceil(2) - rect.y / 2,
        };
        fill_plane(&mut self.u, self.width / 2, half, 128);
        fill_plane(&mut self.v, self.width / 2, half, 128);
    }

    /// Copies `source` in with its left top corner at `x`, `y` (rounded down to even); what would
    /// lie outside is left out.
    pub fn paste(&mut self, source: &Self, x: usize, y: usize) {
        let (width, half) = (self.width, self.width / 2);
        copy_plane(&source.y, source.width, &mut self.y, width, x & !1, y & !1);
        copy_plane(&source.u, source.width / 2, &mut self.u, half, x / 2, y / 2);
        copy_plane(&source.v, source.width / 2, &mut self.v, half, x / 2, y / 2);
    }

    /// A rectangle as a picture of its own, edges rounded down to even. `None` if it does not lie
    /// within the picture.
    pub fn crop(&self, rect: Rect) -> Option<Self> {
        let even = Rect {
            x: rect.x & !1,
            y: rect.y & !1,
            width: rect.width & !1,
            height: rect.height & !1,
        };
        self.luma().rect(even)?;
        let mut out = Self::new(even.width, even.height);
        crop_plane(&self.y, self.width, even, &mut out.y);
        let half = Rect {
            x: even.x / 2,
            y: even.y / 2,
            width: even.width / 2,
            height: even.height / 2,
        };
        crop_plane(&self.u, self.width / 2, half, &mut out.u);
        crop_plane(&self.v, self.width / 2, half, &mut out.v);
        Some(out)
    }

    /// The picture at another size, by area averaging where it shrinks and bicubic where it grows.
    pub fn scaled(&self, width: usize, height: usize) -> Result<Self, ScaleError> {
        let shrinks = width <= self.width && height <= self.height;
        let flags = if shrinks {
            scaling::Flags::AREA
        } else {
            scaling::Flags::BICUBIC
        };
        convert(&self.to_frame(), width, height, flags)
    }

    /// As a frame of libavcodec.
    pub fn to_frame(&self) -> frame::Video {
        let mut frame = frame::Video::new(Pixel::YUV420P, self.width as u32, self.height as u32);
        for (index, (plane, width)) in [
            (&self.y, self.width),
            (&self.u, self.width / 2),
            (&self.v, self.width / 2),
        ]
        .into_iter()
        .enumerate()
        {
            let stride = frame.stride(index);
            let rows = frame.data_mut(index).chunks_mut(stride);
            for (to, from) in rows.zip(plane.chunks_exact(width)) {
                to[..width].copy_from_slice(from);
            }
        }
        frame
    }

    /// From a decoded frame; other formats than planar 4:2:0 are converted.
    pub fn from_frame(frame: &frame::Video) -> Result<Self, ScaleError> {
        let (width, height) = (frame.width() as usize, frame.height() as usize);
        let planar = matches!(frame.format(), Pixel::YUV420P | Pixel::YUVJ420P);
        if planar && width % 2 == 0 && height % 2 == 0 {
            return Ok(Self::from_planes(frame));
        }
        convert(frame, width, height, scaling::Flags::BICUBIC)
    }

    fn from_planes(frame: &frame::Video) -> Self {
        let mut out = Self::new(frame.width() as usize, frame.height() as usize);
        let half = out.width / 2;
        for (index, plane, width) in [
            (0, &mut out.y, out.width),
            (1, &mut out.u, half),
            (2, &mut out.v, half),
        ] {
            let rows = frame.data(index).chunks(frame.stride(index));
            for (to, from) in plane.chunks_exact_mut(width).zip(rows) {
                to.copy_from_slice(&from[..width]);
            }
        }
        out
    }
}

impl<'a> Luma<'a> {
    /// A plane of `height` rows, `stride` bytes apart. `None` if `data` is too short for that.
    pub fn new(data: &'a [u8], stride: usize, width: usize, height: usize) -> Option<Self> {
        let needed = stride
            .checked_mul(height.checked_sub(1)?)?
            .checked_add(width)?;
        (width > 0 && width <= stride && data.len() >= needed).then_some(Self {
            data,
            stride,
            width,
            height,
        })
    }

    /// Width in samples.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in samples.
    pub fn height(&self) -> usize {
        self.height
    }

    /// A rectangle of it; `None` if it does not lie within.
    pub fn rect(&self, rect: Rect) -> Option<Self> {
        let inside = rect.x.checked_add(rect.width)? <= self.width
            && rect.y.checked_add(rect.height)? <= self.height;
        if !inside {
            return None;
        }
        let data = self.data.get(rect.y * self.stride + rect.x..)?;
        Self::new(data, self.stride, rect.width, rect.height)
    }

    /// Rows from top to bottom.
    pub fn rows(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let width = self.width;
        self.data
            .chunks(self.stride)
            .take(self.height)
            .map(move |row| &row[..width])
    }
}

/// Peak signal to noise ratio of two luma planes of one size, in dB; samples inside `without` (a
/// rectangle of both) do not count. `None` if the sizes differ. Equal planes give 99.
pub fn psnr_db(a: Luma<'_>, b: Luma<'_>, without: Option<Rect>) -> Option<f64> {
    if (a.width, a.height) != (b.width, b.height) {
        return None;
    }
    let skip = without.unwrap_or_default();
    let (mut sum, mut count) = (0u64, 0u64);
    for (y, (row_a, row_b)) in a.rows().zip(b.rows()).enumerate() {
        let masked = (skip.y..skip.y + skip.height).contains(&y);
        for (x, (&p, &q)) in row_a.iter().zip(row_b).enumerate() {
            if masked && (skip.x..skip.x + skip.width).contains(&x) {
                continue;
            }
            sum += u64::from(p.abs_diff(q)).pow(2);
            count += 1;
        }
    }
    let mse = sum as f64 / count.max(1) as f64;
    Some(if sum == 0 {
        99.0
    } else {
        10.0 * (255.0f64.powi(2) / mse).log10()
    })
}

fn convert(
    frame: &frame::Video,
    width: usize,
    height: usize,
    flags: scaling::Flags,
) -> Result<Picture, ScaleError> {
    let (width, height) = (
        width.next_multiple_of(2) as u32,
        height.next_multiple_of(2) as u32,
    );
    let (from, size) = (frame.format(), (frame.width(), frame.height()));
    let mut scaler =
        scaling::Context::get(from, size.0, size.1, Pixel::YUV420P, width, height, flags)?;
    let mut scaled = frame::Video::new(Pixel::YUV420P, width, height);
    scaler.run(frame, &mut scaled)?;
    Ok(Picture::from_planes(&scaled))
}

fn fill_plane(plane: &mut [u8], stride: usize, rect: Rect, value: u8) {
    let end = (rect.x + rect.width).min(stride);
    for row in plane
        .chunks_exact_mut(stride)
        .skip(rect.y)
        .take(rect.height)
    {
        if let Some(span) = row.get_mut(rect.x..end) {
            span.fill(value);
        }
    }
}

fn copy_plane(from: &[u8], from_stride: usize, to: &mut [u8], stride: usize, x: usize, y: usize) {
    for (to, from) in to
        .chunks_exact_mut(stride)
        .skip(y)
        .zip(from.chunks_exact(from_stride))
    {
        let Some(span) = to.get_mut(x..) else { return };
        let width = span.len().min(from_stride);
        span[..width].copy_from_slice(&from[..width]);
    }
}

fn crop_plane(from: &[u8], stride: usize, rect: Rect, to: &mut [u8]) {
    let rows = from.chunks_exact(stride).skip(rect.y);
    for (to, from) in to.chunks_exact_mut(rect.width).zip(rows) {
        to.copy_from_slice(&from[rect.x..rect.x + rect.width]);
    }
}

/// Structural similarity of two pictures of one size (Wang et al. 2004) over blocks of 8 by 8, four
/// samples apart; `None` of other sizes, and of pictures too small for a block.
pub fn ssim(a: Luma<'_>, b: Luma<'_>) -> Option<f64> {
    const SIDE: usize = 8;
    let is_large = a.width > SIDE && a.height > SIDE;
    if (a.width, a.height) != (b.width, b.height) || !is_large {
        return None;
    }
    let (rows_a, rows_b): (Vec<&[u8]>, Vec<&[u8]>) = (a.rows().collect(), b.rows().collect());
    let (mut sum, mut blocks) = (0.0, 0.0);
    for top in (0..a.height - SIDE).step_by(4) {
        for left in (0..a.width - SIDE).step_by(4) {
            let rows = top..top + SIDE;
            let row = |rows: &[&'_ [u8]], row: usize| -> [u8; SIDE] {
                std::array::from_fn(|n| rows[row][left + n])
            };
            let pairs = rows.map(|n| (row(&rows_a, n), row(&rows_b, n)));
            sum += block_ssim(pairs, SIDE * SIDE);
            blocks += 1.0;
        }
    }
    Some(sum / blocks)
}

fn block_ssim<const N: usize>(rows: impl Iterator<Item = ([u8; N], [u8; N])>, count: usize) -> f64 {
    let (c1, c2) = ((0.01_f64 * 255.0).powi(2), (0.03_f64 * 255.0).powi(2));
    let [mut sa, mut sb, mut saa, mut sbb, mut sab] = [0_u64; 5];
    for (row_a, row_b) in rows {
        for (x, y) in row_a.into_iter().zip(row_b) {
            let (x, y) = (u64::from(x), u64::from(y));
            sa += x;
            sb += y;
            saa += x * x;
            sbb += y * y;
            sab += x * y;
        }
    }
    let count = count as f64;
    let (ma, mb) = (sa as f64 / count, sb as f64 / count);
    let va = saa as f64 / count - ma * ma;
    let vb = sbb as f64 / count - mb * mb;
    let cov = sab as f64 / count - ma * mb;
    (2.0 * ma * mb + c1) * (2.0 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(width: usize, height: usize) -> Picture {
        let mut picture = Picture::new(width, height);
        for (i, sample) in picture.y.iter_mut().enumerate() {
            *sample = ((i % width + i / width) % 200) as u8;
        }
        picture
    }

    #[test]
    fn a_frame_of_libavcodec_and_back_is_the_same_picture() {
        let picture = ramp(70, 38);
        assert_eq!(Picture::from_frame(&picture.to_frame()).unwrap(), picture);
    }

    #[test]
    fn a_crop_pasted_back_changes_nothing() {
        let picture = ramp(64, 48);
        let part = picture
            .crop(Rect {
                x: 10,
                y: 20,
                width: 30,
                height: 16,
            })
            .unwrap();
        assert_eq!((part.width(), part.height()), (30, 16));
        let mut copy = picture.clone();
        copy.fill(
            Rect {
                x: 10,
                y: 20,
                width: 30,
                height: 16,
            },
            0,
        );
        assert_ne!(copy, picture);
        copy.paste(&part, 10, 20);
        assert_eq!(copy.y, picture.y);
        assert!(
            picture
                .crop(Rect {
                    x: 40,
                    y: 0,
                    width: 30,
                    height: 16
                })
                .is_none()
        );
    }

    #[test]
    fn psnr_counts_only_what_is_not_masked() {
        let picture = ramp(64, 48);
        let mut other = picture.clone();
        let corner = Rect {
            x: 0,
            y: 0,
            width: 8,
            height: 8,
        };
        other.fill(corner, 255);
        assert!(psnr_db(picture.luma(), other.luma(), None).unwrap() < 30.0);
        assert_eq!(
            psnr_db(picture.luma(), other.luma(), Some(corner)),
            Some(99.0)
        );
        assert_eq!(psnr_db(picture.luma(), ramp(32, 48).luma(), None), None);
    }

    #[test]
    fn a_plane_shorter_than_it_says_is_refused() {
        assert!(Luma::new(&[0; 99], 10, 10, 10).is_none());
        assert!(Luma::new(&[0; 100], 10, 10, 10).is_some());
        assert!(Luma::new(&[], 0, 0, 0).is_none());
    }

    #[test]
    fn a_picture_is_like_itself_and_less_like_a_flat_one() {
        let mut picture = Picture::new(64, 48);
        for (n, sample) in picture.y.iter_mut().enumerate() {
            *sample = (n * 7 % 200) as u8;
        }
        let own = ssim(picture.luma(), picture.luma()).unwrap();
        assert!((own - 1.0).abs() < 1e-9, "{own}");
        let flat = Picture::new(64, 48);
        assert!(ssim(picture.luma(), flat.luma()).unwrap() < 0.2);
        assert_eq!(ssim(picture.luma(), Picture::new(32, 48).luma()), None);
    }
}
