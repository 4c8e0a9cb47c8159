//! Pictures: coders, JPEG files, scaling, colour, and the composed picture of a room.
//!
//! Everything here is pure computation on the caller's thread; queues and clocks belong to the
//! worker. Pictures are 8-bit I420. `av`, `av_encoder`, `decoder`, `jpeg`, `open_h264`, `sws` and
//! `yuv` are the only modules that meet C.

pub(crate) mod av;
mod av_encoder;
pub mod caption;
pub mod colour;
mod compositor;
#[cfg(test)]
mod compositor_tests;
#[cfg(test)]
mod costs;
mod decoder;
mod encoder;
mod frame;
#[cfg(test)]
mod interop_tests;
pub mod jpeg;
pub mod layout;
pub mod notice;
mod open_h264;
mod pace;
mod reduce;
pub mod scale;
mod sws;
#[cfg(test)]
mod temporal_tests;
#[cfg(test)]
pub(crate) mod tests;
mod yuv;

pub use caption::Caption;
pub use colour::{Colour, Matrix, Range};
pub use compositor::{Compositor, Spot};
pub use decoder::{DecodeError, Decoder};
pub use encoder::{AccessUnit, EncodeError, Encoder};
pub use frame::{Frame, FrameMut, Plane, Pool};
pub use layout::Rect;
pub use reduce::Reducer;
pub use scale::{ScaleError, Scaler};
