//! What sound and pictures share of libavcodec: its log is shut, its pictures are owned.

use std::slice;
use std::sync::Once;

use ffmpeg_next::ffi;

/// Keeps the libraries from writing to the standard error stream: a peer's bad bytes would fill it.
pub fn quiet() {
    static ONCE: Once = Once::new();
    // SAFETY: sets one global integer, once.
    ONCE.call_once(|| unsafe { ffi::av_log_set_level(ffi::AV_LOG_QUIET) });
}

/// A decoded picture whose planes belong to libavcodec's own pool, and go back there on drop.
#[derive(Debug)]
pub struct Picture(*mut ffi::AVFrame);

// SAFETY: the frame is never written after it is made, and its buffers are counted atomically.
unsafe impl Send for Picture {}
// SAFETY: as above; a shared reference only reads.
unsafe impl Sync for Picture {}

impl Picture {
    /// An empty one, to be filled by a decoder. `None` when memory is out.
    pub fn empty() -> Option<Self> {
        // SAFETY: plain allocation.
        let frame = unsafe { ffi::av_frame_alloc() };
        (!frame.is_null()).then_some(Self(frame))
    }

    /// For a decoder to fill; from then on the picture is only read.
    pub fn as_mut_ptr(&mut self) -> *mut ffi::AVFrame {
        self.0
    }

    /// The frame's description.
    pub fn description(&self) -> &ffi::AVFrame {
        // SAFETY: not null, owned by us.
        unsafe { &*self.0 }
    }

    /// Whether it is two fields, of other moments each.
    pub fn is_interlaced(&self) -> bool {
        self.description().interlaced_frame != 0
    }

    /// Rows of plane `index`, `stride` bytes apart, the last one only `width` bytes long; of two fields
    /// those of the upper one. Empty if the plane is not laid out top-down.
    pub fn plane(&self, index: usize, width: usize, height: usize) -> (&[u8], usize) {
        let frame = self.description();
        let rows_apart = if self.is_interlaced() { 2 } else { 1 };
        let stride = usize::try_from(frame.linesize[index]).unwrap_or(0) * rows_apart;
        let data = frame.data[index];
        if data.is_null() || stride < width || height == 0 {
            return (&[], stride);
        }
        // SAFETY: libavcodec allocated as many rows of at least `width` bytes, the size being its own for
        // this frame: `height` of them, or of two fields twice as many, of which every second is read.
        (
            unsafe { slice::from_raw_parts(data, stride * (height - 1) + width) },
            stride,
        )
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        // SAFETY: allocated by `empty`, freed once.
        unsafe { ffi::av_frame_free(&mut self.0) };
    }
}
