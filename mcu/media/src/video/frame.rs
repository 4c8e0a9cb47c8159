//! Pictures and the pool that their memory comes from.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::av;
use super::colour::Colour;

/// Rows start at multiples of this many bytes, for vector units.
pub(super) const ALIGNMENT: usize = 64;

/// One plane, to be read. Rows are `stride` bytes apart, the last may be only `width` long.
#[derive(Clone, Copy, Debug)]
pub struct Plane<'a> {
    /// Samples from the first row on.
    pub data: &'a [u8],
    /// Bytes from row to row.
    pub stride: usize,
    /// Samples in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl<'a> Plane<'a> {
    /// Whether all rows are there.
    pub(super) fn is_whole(&self) -> bool {
        let rows_before_last = self.height.saturating_sub(1);
        self.stride >= self.width && self.data.len() >= self.stride * rows_before_last + self.width
    }

    /// Row `y`; empty below the picture.
    pub fn row(&self, y: usize) -> &'a [u8] {
        let start = y * self.stride;
        self.data.get(start..start + self.width).unwrap_or(&[])
    }
}

/// An I420 picture that cannot change any more. A clone shares the samples.
#[derive(Clone, Debug)]
pub struct Frame {
    picture: Arc<Picture>,
    pts: i64,
}

#[derive(Debug)]
struct Picture {
    width: u32,
    height: u32,
    /// Width and height whose ratio is that of the picture as it is to be shown.
    shown: (u32, u32),
    colour: Colour,
    store: Store,
}

#[derive(Debug)]
enum Store {
    Pooled(Buffer),
    Decoder(av::Picture),
}

impl Frame {
    /// A picture that stays in the decoder's memory.
    pub(super) fn from_decoder(
        picture: av::Picture,
        (width, height): (u32, u32),
        shown_width: u32,
        colour: Colour,
        pts: i64,
    ) -> Self {
        let store = Store::Decoder(picture);
        Self {
            picture: Arc::new(Picture {
                width,
                height,
                shown: (shown_width, height),
                colour,
                store,
            }),
            pts,
        }
    }

    /// Luma samples in a row.
    pub fn width(&self) -> u32 {
        self.picture.width
    }

    /// Luma rows.
    pub fn height(&self) -> u32 {
        self.picture.height
    }

    /// Width and height whose ratio is that of the picture as it is to be shown: samples of a terminal
    /// need not be square (H.264 E.2.1).
    pub fn shown_size(&self) -> (u32, u32) {
        self.picture.shown
    }

    /// What the samples mean.
    pub fn colour(&self) -> Colour {
        self.picture.colour
    }

    /// Media time in 1/90,000 s, extended (it does not wrap).
    pub fn pts(&self) -> i64 {
        self.pts
    }

    /// The same picture at another media time.
    pub fn at(&self, pts: i64) -> Self {
        Self {
            picture: Arc::clone(&self.picture),
            pts,
        }
    }

    /// Plane 0 (luma), 1 (Cb) or 2 (Cr).
    pub fn plane(&self, index: usize) -> Plane<'_> {
        let (width, height) = plane_size(self.width(), self.height(), index);
        let (data, stride) = match &self.picture.store {
            Store::Pooled(buffer) => (buffer.plane(index), buffer.geometry.stride(index)),
            Store::Decoder(picture) => picture.plane(index, width, height),
        };
        Plane {
            data,
            stride,
            width,
            height,
        }
    }

    /// The picture for writing again, if nobody else holds it and its memory is the pool's;
    /// otherwise the frame itself.
    pub fn try_into_mut(self) -> Result<FrameMut, Self> {
        let pts = self.pts;
        match Arc::try_unwrap(self.picture) {
            Ok(Picture {
                width,
                height,
                colour,
                store: Store::Pooled(buffer),
                ..
            }) => Ok(FrameMut {
                width,
                height,
                colour,
                pts,
                buffer,
            }),
            Ok(picture) => Err(Self {
                picture: Arc::new(picture),
                pts,
            }),
            Err(picture) => Err(Self { picture, pts }),
        }
    }
}

/// An I420 picture in the making; nobody else sees it yet.
#[derive(Debug)]
pub struct FrameMut {
    width: u32,
    height: u32,
    /// What the samples mean.
    pub colour: Colour,
    /// Media time in 1/90,000 s.
    pub pts: i64,
    buffer: Buffer,
}

impl FrameMut {
    /// Luma samples in a row.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Luma rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Samples of plane 0, 1 or 2, and the bytes from row to row.
    pub fn plane_mut(&mut self, index: usize) -> (&mut [u8], usize) {
        let stride = self.buffer.geometry.stride(index);
        (self.buffer.plane_mut(index), stride)
    }

    /// All three planes at once, each with its stride.
    pub fn planes_mut(&mut self) -> [(&mut [u8], usize); 3] {
        let geometry = self.buffer.geometry;
        let (luma, rest) = self.buffer.bytes_mut().split_at_mut(geometry.offset(1));
        let (cb, cr) = rest.split_at_mut(geometry.offset(2) - geometry.offset(1));
        [
            (luma, geometry.stride(0)),
            (cb, geometry.stride(1)),
            (cr, geometry.stride(2)),
        ]
    }

    /// Ends the making; samples are square.
    pub fn freeze(self) -> Frame {
        let shown = (self.width, self.height);
        self.freeze_shown(shown)
    }

    /// Ends the making of a picture that is to be shown with this ratio of width to height.
    pub fn freeze_shown(self, shown: (u32, u32)) -> Frame {
        let Self {
            width,
            height,
            colour,
            pts,
            buffer,
        } = self;
        let store = Store::Pooled(buffer);
        Frame {
            picture: Arc::new(Picture {
                width,
                height,
                shown,
                colour,
                store,
            }),
            pts,
        }
    }

    /// Copies all samples of an equally large picture of the same pool.
    pub(super) fn copy_from(&mut self, other: &Frame) {
        match &other.picture.store {
            Store::Pooled(buffer) if buffer.geometry == self.buffer.geometry => {
                self.buffer.bytes_mut().copy_from_slice(buffer.bytes());
            }
            _ => debug_assert!(false, "pictures of one pool only"),
        }
    }
}

/// Memory for pictures of one size. Pictures that nobody holds any more come back and are used again;
/// beyond `spare` of them they are freed.
#[derive(Clone, Debug)]
pub struct Pool {
    width: u32,
    height: u32,
    colour: Colour,
    shelf: Arc<Shelf>,
}

struct Shelf {
    geometry: Geometry,
    /// Held only to push or pop one pointer.
    spare: Mutex<Vec<Vec<Chunk>>>,
    /// Bound of `spare`; what is beyond is freed.
    capacity: usize,
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf")
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool that keeps at most `spare` unused pictures.
    pub fn new(width: u32, height: u32, colour: Colour, spare: usize) -> Self {
        let geometry = Geometry::new(width, height);
        let spare_list = Mutex::new(Vec::with_capacity(spare));
        let shelf = Arc::new(Shelf {
            geometry,
            spare: spare_list,
            capacity: spare,
        });
        Self {
            width,
            height,
            colour,
            shelf,
        }
    }

    /// A picture with whatever samples the memory had before.
    pub fn take(&self) -> FrameMut {
        let spare = self
            .shelf
            .spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let chunks = spare
            .unwrap_or_else(|| vec![Chunk([0; ALIGNMENT]); self.shelf.geometry.length / ALIGNMENT]);
        let buffer = Buffer {
            geometry: self.shelf.geometry,
            chunks,
            shelf: Arc::clone(&self.shelf),
        };
        FrameMut {
            width: self.width,
            height: self.height,
            colour: self.colour,
            pts: 0,
            buffer,
        }
    }

    /// Luma samples in a row.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Luma rows.
    pub fn height(&self) -> u32 {
        self.height
    }
}

/// Width and height of plane `index`: chroma is halved, odd sizes rounded up.
fn plane_size(width: u32, height: u32, index: usize) -> (usize, usize) {
    match index {
        0 => (width as usize, height as usize),
        _ => (width.div_ceil(2) as usize, height.div_ceil(2) as usize),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Geometry {
    luma_stride: usize,
    chroma_stride: usize,
    luma_length: usize,
    chroma_length: usize,
    length: usize,
}

impl Geometry {
    fn new(width: u32, height: u32) -> Self {
        let (luma_width, luma_height) = plane_size(width, height, 0);
        let (chroma_width, chroma_height) = plane_size(width, height, 1);
        let luma_stride = luma_width.next_multiple_of(ALIGNMENT);
        let chroma_stride = chroma_width.next_multiple_of(ALIGNMENT);
        let luma_length = luma_stride * luma_height;
        let chroma_length = chroma_stride * chroma_height;
        // One chunk more: libswscale may read a vector beyond the last row.
        let length = luma_length + 2 * chroma_length + ALIGNMENT;
        Self {
            luma_stride,
            chroma_stride,
            luma_length,
            chroma_length,
            length,
        }
    }

    fn stride(&self, index: usize) -> usize {
        if index == 0 {
            self.luma_stride
        } else {
            self.chroma_stride
        }
    }

    fn offset(&self, index: usize) -> usize {
        match index {
            0 => 0,
            1 => self.luma_length,
            _ => self.luma_length + self.chroma_length,
        }
    }

    fn plane(&self, index: usize) -> std::ops::Range<usize> {
        let length = if index == 0 {
            self.luma_length
        } else {
            self.chroma_length
        };
        self.offset(index)..self.offset(index) + length
    }
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Chunk([u8; ALIGNMENT]);

/// Memory of one picture; goes back to its shelf on drop.
struct Buffer {
    geometry: Geometry,
    chunks: Vec<Chunk>,
    shelf: Arc<Shelf>,
}

impl Buffer {
    fn bytes(&self) -> &[u8] {
        self.chunks.as_flattened_bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.chunks.as_flattened_bytes_mut()
    }

    fn plane(&self, index: usize) -> &[u8] {
        &self.bytes()[self.geometry.plane(index)]
    }

    fn plane_mut(&mut self, index: usize) -> &mut [u8] {
        let range = self.geometry.plane(index);
        &mut self.bytes_mut()[range]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let chunks = std::mem::take(&mut self.chunks);
        let mut spare = self
            .shelf
            .spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if spare.len() < self.shelf.capacity {
            spare.push(chunks);
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("geometry", &self.geometry)
            .finish_non_exhaustive()
    }
}

/// Aligned chunks as the bytes that they are.
trait Flattened {
    fn as_flattened_bytes(&self) -> &[u8];
    fn as_flattened_bytes_mut(&mut self) -> &mut [u8];
}

impl Flattened for [Chunk] {
    fn as_flattened_bytes(&self) -> &[u8] {
        // SAFETY: a chunk is exactly its bytes, without padding (repr C, size equal to alignment).
        unsafe { std::slice::from_raw_parts(self.as_ptr().cast(), std::mem::size_of_val(self)) }
    }

    fn as_flattened_bytes_mut(&mut self) -> &mut [u8] {
        let length = std::mem::size_of_val(self);
        // SAFETY: as above, and every byte value is a valid chunk.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr().cast(), length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_and_spares_are_bounded() {
        let pool = Pool::new(64, 48, Colour::BT709, 1);
        let (first, second) = (pool.take(), pool.take());
        let address = first.buffer.chunks.as_ptr();
        drop(first);
        drop(second);
        assert_eq!(pool.shelf.spare.lock().unwrap().len(), 1);
        assert_eq!(pool.take().buffer.chunks.as_ptr(), address);
    }

    #[test]
    fn only_the_sole_holder_may_write_again() {
        let pool = Pool::new(33, 17, Colour::BT601, 2);
        let frame = pool.take().freeze();
        let other = frame.clone();
        let frame = frame.try_into_mut().expect_err("shared");
        drop(other);
        let mut again = frame.try_into_mut().expect("sole holder");
        again.plane_mut(2).0.fill(7);
        let frame = again.freeze().at(90);
        let plane = frame.plane(2);
        assert_eq!((plane.width, plane.height, frame.pts()), (17, 9, 90));
        assert_eq!(plane.row(8), [7; 17]);
        assert!(plane.row(9).is_empty());
        assert_eq!(frame.plane(0).data.as_ptr() as usize % ALIGNMENT, 0);
    }
}
