//! libswscale: I420 to I420 at any ratio.

use std::ptr;

use ffmpeg_next::ffi;

use super::frame::Plane;
use super::scale::Target;

/// A prepared conversion between two sizes.
#[derive(Debug)]
pub struct Context {
    sws: *mut ffi::SwsContext,
    from: (usize, usize),
    to: (usize, usize),
}

// SAFETY: a context may move between threads as long as one uses it at a time; it is reached only
// through `&mut`.
unsafe impl Send for Context {}

impl Context {
    /// Area averaging down, bilinear up. `None` if libswscale refuses the sizes.
    pub fn new(from: (usize, usize), to: (usize, usize)) -> Option<Self> {
        super::av::quiet();
        let grows = to.0 > from.0 || to.1 > from.1;
        let filter = if grows {
            ffi::SWS_BILINEAR
        } else {
            ffi::SWS_AREA
        };
        let format = ffi::AVPixelFormat::AV_PIX_FMT_YUV420P;
        // SAFETY: plain values; null filters and parameters mean defaults.
        let sws = unsafe {
            ffi::sws_getContext(
                from.0 as i32,
                from.1 as i32,
                format,
                to.0 as i32,
                to.1 as i32,
                format,
                filter,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null(),
            )
        };
        (!sws.is_null()).then_some(Self { sws, from, to })
    }

    /// Whether this context converts between these sizes.
    pub fn is_for(&self, from: (usize, usize), to: (usize, usize)) -> bool {
        self.from == from && self.to == to
    }

    /// Scales three planes of the sizes that `new` was told.
    pub fn scale(&mut self, source: [Plane<'_>; 3], target: &mut [Target<'_>; 3]) {
        assert!(source.iter().all(Plane::is_whole) && target.iter().all(Target::is_whole));
        assert!((source[0].width, source[0].height) == self.from);
        assert!((target[0].width, target[0].height) == self.to);
        let source_data = source.map(|plane| plane.data.as_ptr());
        let source_stride = source.map(|plane| plane.stride as i32);
        let target_data = target.each_mut().map(|plane| plane.data.as_mut_ptr());
        let target_stride = target.each_ref().map(|plane| plane.stride as i32);
        // SAFETY: every plane holds all rows of its size, as just checked, and chroma sizes follow
        // from luma. libswscale is told all rows at once and reads the four arrays up to three.
        unsafe {
            ffi::sws_scale(
                self.sws,
                source_data.as_ptr(),
                source_stride.as_ptr(),
                0,
                source[0].height as i32,
                target_data.as_ptr(),
                target_stride.as_ptr(),
            );
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by `sws_getContext`, freed once.
        unsafe { ffi::sws_freeContext(self.sws) };
    }
}
