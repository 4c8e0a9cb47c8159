//! Every video codec, by libavcodec.

use std::ptr;

use ffmpeg_next::{Error, ffi};
use mcu_api::codec::VideoCodec;

use super::av::{self, Picture};
use super::colour::{Colour, Matrix, Range};
use super::frame::Frame;

/// Widest and highest picture that is taken.
const SIDE_MAX: i32 = 4096;
/// Largest picture that is taken: level 5.1, 36,864 macroblocks (H.264 table A-1).
const PIXELS_MAX: i64 = 36_864 * 256;
/// Longest access unit that is taken. Level 5.1 at its highest rate needs less for one picture.
const ACCESS_UNIT_MAX_BYTES: usize = 4 << 20;

/// Shape of the samples of H.261, whose pictures are shown 4 to 3 (H.261 §3.1).
const CIF_ASPECT: ffi::AVRational = ffi::AVRational { num: 12, den: 11 };

/// An access unit that gave no picture.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Longer than any picture can be.
    #[error("an access unit of {bytes} bytes")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A picture size that no terminal sends.
    #[error("a picture of {width}x{height}")]
    Size {
        /// Width in samples.
        width: i32,
        /// Height in samples.
        height: i32,
    },
    /// Not 8-bit 4:2:0; the number is libavutil's.
    #[error("pixel format {0} is not 8-bit 4:2:0")]
    Format(i32),
    /// libavcodec could not read it.
    #[error("libavcodec: {0}")]
    Avcodec(#[from] Error),
}

/// Decodes one stream, one access unit at a time, on the caller's thread.
///
/// A stream without B-frames comes out at once: each access unit gives its picture. Pictures before
/// the first key frame do not come out; lost parts are concealed.
pub struct Decoder {
    kind: VideoCodec,
    codec: *mut ffi::AVCodecContext,
    packet: *mut ffi::AVPacket,
    damaged: bool,
}

// SAFETY: a libavcodec context may move between threads as long as one uses it at a time; it is
// reached only through `&mut`.
unsafe impl Send for Decoder {}

impl Decoder {
    /// A decoder that waits for a key frame.
    pub fn new(kind: VideoCodec) -> Result<Self, Error> {
        av::quiet();
        // SAFETY: the description is static; both allocations are owned by `decoder` from their
        // birth, and `Drop` accepts null. Fields are set before the context is opened, as is asked.
        unsafe {
            let description = ffi::avcodec_find_decoder(id(kind));
            if description.is_null() {
                return Err(Error::DecoderNotFound);
            }
            let decoder = Self {
                kind,
                codec: ffi::avcodec_alloc_context3(description),
                packet: ffi::av_packet_alloc(),
                damaged: false,
            };
            if decoder.codec.is_null() || decoder.packet.is_null() {
                return Err(Error::Other { errno: 12 }); // ENOMEM
            }
            let settings = &mut *decoder.codec;
            settings.thread_count = 1;
            settings.flags |= ffi::AV_CODEC_FLAG_LOW_DELAY as i32;
            settings.error_concealment = ffi::FF_EC_GUESS_MVS | ffi::FF_EC_DEBLOCK;
            settings.max_pixels = PIXELS_MAX;
            check(ffi::avcodec_open2(
                decoder.codec,
                description,
                ptr::null_mut(),
            ))?;
            Ok(decoder)
        }
    }

    /// What it decodes.
    pub fn codec(&self) -> VideoCodec {
        self.kind
    }

    /// Leaves out the deblocking filter of H.264: a quarter less work, good enough for a small tile.
    pub fn skip_loop_filter(&mut self, skip: bool) {
        let discard = match skip && self.kind == VideoCodec::H264 {
            true => ffi::AVDiscard::AVDISCARD_ALL,
            false => ffi::AVDiscard::AVDISCARD_DEFAULT,
        };
        // SAFETY: the context is ours; libavcodec reads the field anew with each slice.
        unsafe { (*self.codec).skip_loop_filter = discard };
    }

    /// Decodes one access unit, of H.264 in Annex B format. `pts` (1/90,000 s, extended) comes out with its
    /// picture. `None`: nothing to show yet. After an error go on with the next access unit, and ask
    /// the sender for a key frame.
    pub fn decode(&mut self, access_unit: &[u8], pts: i64) -> Result<Option<Frame>, DecodeError> {
        let bytes = access_unit.len();
        if bytes > ACCESS_UNIT_MAX_BYTES {
            return Err(DecodeError::TooLong { bytes });
        }
        if bytes == 0 {
            return Ok(None); // to libavcodec an empty packet means the end of the stream
        }
        #[cfg(debug_assertions)]
        crash::if_asked(access_unit);
        self.send(access_unit, pts)?;
        let mut newest = None;
        while let Some(picture) = self.receive()? {
            newest = Some(picture);
        }
        newest.map(|picture| self.frame(picture, pts)).transpose()
    }

    /// Whether the last picture had parts or references missing: a key frame is needed.
    pub fn damaged(&self) -> bool {
        self.damaged
    }

    fn send(&mut self, access_unit: &[u8], pts: i64) -> Result<(), Error> {
        // SAFETY: the packet gets a fresh padded allocation that is filled to its size; libavcodec
        // takes a reference of its own.
        unsafe {
            check(ffi::av_new_packet(self.packet, access_unit.len() as i32))?;
            let data = (*self.packet).data;
            ptr::copy_nonoverlapping(access_unit.as_ptr(), data, access_unit.len());
            (*self.packet).pts = pts;
            let sent = ffi::avcodec_send_packet(self.codec, self.packet);
            ffi::av_packet_unref(self.packet);
            check(sent)
        }
    }

    fn receive(&mut self) -> Result<Option<Picture>, Error> {
        let mut picture = Picture::empty().ok_or(Error::Other { errno: 12 })?; // ENOMEM
        // SAFETY: context and frame are valid; the frame is empty.
        match unsafe { ffi::avcodec_receive_frame(self.codec, picture.as_mut_ptr()) } {
            code if code == ffi::AVERROR(ffi::EAGAIN) => Ok(None),
            code => check(code).map(|()| Some(picture)),
        }
    }

    fn frame(&mut self, picture: Picture, pts: i64) -> Result<Frame, DecodeError> {
        let description = picture.description();
        let (width, height) = (description.width, description.height);
        let least = if picture.is_interlaced() { 4 } else { 2 };
        if !(2..=SIDE_MAX).contains(&width) || !(least..=SIDE_MAX).contains(&height) {
            return Err(DecodeError::Size { width, height });
        }
        let full = ffi::AVPixelFormat::AV_PIX_FMT_YUVJ420P as i32;
        let limited = ffi::AVPixelFormat::AV_PIX_FMT_YUV420P as i32;
        if description.format != full && description.format != limited {
            return Err(DecodeError::Format(description.format));
        }
        self.damaged = description.decode_error_flags != 0;
        let pts = if description.pts == ffi::AV_NOPTS_VALUE {
            pts
        } else {
            description.pts
        };
        let size = (width as u32, height as u32);
        let colour = colour(description, size, description.format == full);
        let aspect = match self.kind {
            VideoCodec::H261 => CIF_ASPECT,
            _ => description.sample_aspect_ratio,
        };
        let shown_width = shown_width(size.0, aspect);
        if !picture.is_interlaced() {
            return Ok(Frame::from_decoder(picture, size, shown_width, colour, pts));
        }
        // Of two fields one is shown, which has no combs: half the rows, twice as tall each. Chroma of a
        // field has half its rows, so that an odd row at the end is left out.
        let size = (size.0, size.1 / 4 * 2);
        let shown_width = (shown_width / 2).max(1);
        Ok(Frame::from_decoder(picture, size, shown_width, colour, pts))
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: both were allocated by `new`, are freed once, and null is accepted. Pictures that
        // are still held keep their own references.
        unsafe {
            ffi::av_packet_free(&mut self.packet);
            ffi::avcodec_free_context(&mut self.codec);
        }
    }
}

fn id(codec: VideoCodec) -> ffi::AVCodecID {
    match codec {
        VideoCodec::H264 => ffi::AVCodecID::AV_CODEC_ID_H264,
        VideoCodec::H263 | VideoCodec::H263Plus => ffi::AVCodecID::AV_CODEC_ID_H263,
        VideoCodec::H261 => ffi::AVCodecID::AV_CODEC_ID_H261,
        VideoCodec::Vp8 => ffi::AVCodecID::AV_CODEC_ID_VP8,
    }
}

/// Colour from the stream's VUI (H.264 Annex E), guessed by size where it says nothing.
fn colour(description: &ffi::AVFrame, (width, height): (u32, u32), full_format: bool) -> Colour {
    use ffi::AVColorSpace as Space;
    let matrix = match description.colorspace {
        Space::AVCOL_SPC_BT709 => Matrix::Bt709,
        Space::AVCOL_SPC_BT470BG | Space::AVCOL_SPC_SMPTE170M | Space::AVCOL_SPC_FCC => {
            Matrix::Bt601
        }
        _ => Colour::guess(width, height).matrix,
    };
    let full = full_format || description.color_range == ffi::AVColorRange::AVCOL_RANGE_JPEG;
    Colour {
        matrix,
        range: if full { Range::Full } else { Range::Limited },
    }
}

/// Width of square samples that shows as wide; samples narrower or wider than by a factor of four
/// are taken for nonsense.
fn shown_width(width: u32, aspect: ffi::AVRational) -> u32 {
    let (num, den) = (i64::from(aspect.num), i64::from(aspect.den));
    if num <= 0 || den <= 0 || num > 4 * den || den > 4 * num {
        return width;
    }
    ((i64::from(width) * num + den / 2) / den) as u32
}

fn check(code: i32) -> Result<(), Error> {
    if code < 0 {
        Err(Error::from(code))
    } else {
        Ok(())
    }
}

/// A fault at will, to test what becomes of a room whose media process dies of a leg's bytes. There is
/// none in a release build.
#[cfg(debug_assertions)]
mod crash {
    use std::sync::OnceLock;

    /// Bytes, in hexadecimal, at which the decoder is to fault.
    const VARIABLE: &str = "CONSILIUM_TEST_CRASH_ON";

    pub fn if_asked(access_unit: &[u8]) {
        static MAGIC: OnceLock<Option<Vec<u8>>> = OnceLock::new();
        let magic = MAGIC.get_or_init(|| from_hex(&std::env::var(VARIABLE).ok()?));
        if let Some(magic) = magic
            && access_unit.windows(magic.len()).any(|part| part == magic)
        {
            // SAFETY: none; the fault is what is wanted.
            unsafe { std::ptr::without_provenance_mut::<u8>(1).write_volatile(0) };
        }
    }

    fn from_hex(text: &str) -> Option<Vec<u8>> {
        let pairs = text.as_bytes().chunks(2);
        let bytes = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        bytes
            .collect::<Option<Vec<u8>>>()
            .filter(|bytes| !bytes.is_empty())
    }
}
