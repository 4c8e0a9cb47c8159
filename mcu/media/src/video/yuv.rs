//! libyuv: the call that is used, bounds checked.

use super::frame::Plane;
use super::scale::Target;

mod c {
    use std::ffi::c_int;

    /// `kFilterBox` of `libyuv/scale.h`.
    pub const FILTER_BOX: c_int = 3;

    #[link(name = "yuv")]
    unsafe extern "C" {
        pub fn ScalePlane(
            src: *const u8,
            src_stride: c_int,
            src_width: c_int,
            src_height: c_int,
            dst: *mut u8,
            dst_stride: c_int,
            dst_width: c_int,
            dst_height: c_int,
            filtering: c_int,
        );
    }
}

/// Averages blocks of source samples. Best where the ratio is 2:1 or 4:1.
pub fn box_scale(source: Plane<'_>, target: &mut Target<'_>) {
    assert!(source.is_whole() && target.is_whole());
    // SAFETY: both planes hold all rows that their sizes say, as just checked, and libyuv touches no
    // sample outside of them. Sizes fit an int: pictures are at most 4096 wide and high.
    unsafe {
        c::ScalePlane(
            source.data.as_ptr(),
            source.stride as i32,
            source.width as i32,
            source.height as i32,
            target.data.as_mut_ptr(),
            target.stride as i32,
            target.width as i32,
            target.height as i32,
            c::FILTER_BOX,
        );
    }
}
