//! JPEG by libavcodec.

use std::{ptr, slice};

use ffmpeg_next::{Error, ffi};

use super::av;
use super::colour::{Colour, Matrix, Range};
use super::frame::{Frame, Pool};
use super::layout::Rect;
use super::scale::{ScaleError, Scaler};

/// What the samples of a JPEG file mean (JFIF 1.02, ITU-T T.871 §7).
const JFIF: Colour = Colour {
    matrix: Matrix::Bt601,
    range: Range::Full,
};

/// A picture of which no file can be made.
#[derive(Debug, thiserror::Error)]
pub enum JpegError {
    /// Its colour cannot be converted.
    #[error(transparent)]
    Scale(#[from] ScaleError),
    /// libavcodec failed.
    #[error("libavcodec: {0}")]
    Avcodec(#[from] Error),
}

/// A picture as a JPEG file, on the caller's thread. `quantiser` is libavcodec's, 2 (finest) to 31.
pub fn encode(frame: &Frame, quantiser: u8) -> Result<Vec<u8>, JpegError> {
    let mut full = Pool::new(frame.width(), frame.height(), JFIF, 0).take();
    let whole = Rect::whole(frame.width(), frame.height());
    Scaler::new().scale(frame, &mut full, whole)?;
    let file = Encoder::new(frame.width(), frame.height(), quantiser)?.encode(&full.freeze());
    Ok(file?)
}

/// libavcodec's part. A still is made so seldom that nothing is kept from one to the next.
struct Encoder {
    codec: *mut ffi::AVCodecContext,
    packet: *mut ffi::AVPacket,
    picture: *mut ffi::AVFrame,
    quality: i32,
}

impl Encoder {
    fn new(width: u32, height: u32, quantiser: u8) -> Result<Self, Error> {
        av::quiet();
        let quality = ffi::FF_QP2LAMBDA * i32::from(quantiser.clamp(2, 31));
        // SAFETY: the description is static; the allocations are owned by `encoder` from their birth,
        // and `Drop` accepts null. Fields are set before the context is opened, as is asked.
        unsafe {
            let description = ffi::avcodec_find_encoder(ffi::AVCodecID::AV_CODEC_ID_MJPEG);
            if description.is_null() {
                return Err(Error::EncoderNotFound);
            }
            let encoder = Self {
                codec: ffi::avcodec_alloc_context3(description),
                packet: ffi::av_packet_alloc(),
                picture: ffi::av_frame_alloc(),
                quality,
            };
            let missing = encoder.packet.is_null() || encoder.picture.is_null();
            if encoder.codec.is_null() || missing {
                return Err(Error::Other { errno: 12 }); // ENOMEM
            }
            let settings = &mut *encoder.codec;
            (settings.width, settings.height) = (width as i32, height as i32);
            settings.pix_fmt = ffi::AVPixelFormat::AV_PIX_FMT_YUVJ420P;
            settings.color_range = ffi::AVColorRange::AVCOL_RANGE_JPEG;
            settings.sample_aspect_ratio = ffi::AVRational { num: 1, den: 1 };
            settings.time_base = ffi::AVRational { num: 1, den: 1 };
            settings.thread_count = 1;
            // The second keeps the library's name out of the file.
            settings.flags |= (ffi::AV_CODEC_FLAG_QSCALE | ffi::AV_CODEC_FLAG_BITEXACT) as i32;
            settings.global_quality = quality;
            check(ffi::avcodec_open2(
                encoder.codec,
                description,
                ptr::null_mut(),
            ))?;
            Ok(encoder)
        }
    }

    fn encode(self, frame: &Frame) -> Result<Vec<u8>, Error> {
        let planes = [0, 1, 2].map(|index| frame.plane(index));
        assert!(planes.iter().all(super::Plane::is_whole));
        // SAFETY: the frame points at planes that hold all rows of its size and outlive the call;
        // as it owns no buffer, libavcodec copies what it keeps. The packet is read while it stands.
        unsafe {
            let picture = &mut *self.picture;
            (picture.width, picture.height) = (frame.width() as i32, frame.height() as i32);
            picture.format = ffi::AVPixelFormat::AV_PIX_FMT_YUVJ420P as i32;
            picture.color_range = ffi::AVColorRange::AVCOL_RANGE_JPEG;
            picture.quality = self.quality;
            picture.pts = 0;
            for (index, plane) in planes.iter().enumerate() {
                picture.data[index] = plane.data.as_ptr().cast_mut(); // only read
                picture.linesize[index] = plane.stride as i32;
            }
            check(ffi::avcodec_send_frame(self.codec, self.picture))?;
            check(ffi::avcodec_receive_packet(self.codec, self.packet))?;
            let packet = &*self.packet;
            let bytes = slice::from_raw_parts(packet.data, packet.size as usize);
            Ok(bytes.to_vec())
        }
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: all were allocated by `new`, are freed once, and null is accepted.
        unsafe {
            ffi::av_frame_free(&mut self.picture);
            ffi::av_packet_free(&mut self.packet);
            ffi::avcodec_free_context(&mut self.codec);
        }
    }
}

fn check(code: i32) -> Result<(), Error> {
    if code < 0 {
        Err(Error::from(code))
    } else {
        Ok(())
    }
}
