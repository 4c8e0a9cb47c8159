//! G.722 at 64 kbit/s by libavcodec: the only place where sound meets its C interface.

use ffmpeg_next::{Error, ffi};
use std::ptr;

/// Samples that are decoded from one byte.
pub const SAMPLES_PER_BYTE: usize = 2;
const RATE_HZ: i32 = 16_000;

/// An open libavcodec context with the packet and frame that it is fed with.
struct Context {
    codec: *mut ffi::AVCodecContext,
    packet: *mut ffi::AVPacket,
    frame: *mut ffi::AVFrame,
}

// SAFETY: libavcodec contexts may move between threads as long as one thread uses them at a time,
// and they are reached only through `&mut`.
unsafe impl Send for Context {}

impl Context {
    /// `frame_samples` is what an encoder takes at once.
    fn open(codec: *const ffi::AVCodec, frame_samples: usize) -> Result<Self, Error> {
        crate::video::av::quiet();
        if codec.is_null() {
            return Err(if frame_samples > 0 {
                Error::EncoderNotFound
            } else {
                Error::DecoderNotFound
            });
        }
        // SAFETY: `codec` is a static description. Each allocation is owned by `context` from its
        // birth, and `Drop` accepts null members.
        unsafe {
            let context = Self {
                codec: ffi::avcodec_alloc_context3(codec),
                packet: ffi::av_packet_alloc(),
                frame: ffi::av_frame_alloc(),
            };
            if context.codec.is_null() || context.packet.is_null() || context.frame.is_null() {
                return Err(Error::Other { errno: 12 }); // ENOMEM
            }
            let settings = &mut *context.codec;
            settings.sample_rate = RATE_HZ;
            settings.sample_fmt = ffi::AVSampleFormat::AV_SAMPLE_FMT_S16;
            settings.frame_size = frame_samples as i32;
            ffi::av_channel_layout_default(&mut settings.ch_layout, 1);
            check(ffi::avcodec_open2(context.codec, codec, ptr::null_mut()))?;
            Ok(context)
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the three were allocated by `open` and are freed once; null is accepted.
        unsafe {
            ffi::av_frame_free(&mut self.frame);
            ffi::av_packet_free(&mut self.packet);
            ffi::avcodec_free_context(&mut self.codec);
        }
    }
}

/// One direction of a G.722 channel: bytes to samples.
pub struct Decoder(Context);

impl Decoder {
    pub fn new() -> Result<Self, Error> {
        // SAFETY: a look-up in a static table.
        let codec = unsafe { ffi::avcodec_find_decoder(ffi::AVCodecID::AV_CODEC_ID_ADPCM_G722) };
        Context::open(codec, 0).map(Self)
    }

    /// Appends two samples a byte.
    pub fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), Error> {
        let context = &mut self.0;
        // SAFETY: the packet is a fresh allocation with padding, filled to its size. The frame holds
        // `nb_samples` 16-bit samples in its first plane, as the decoder says by its format.
        unsafe {
            check(ffi::av_new_packet(context.packet, payload.len() as i32))?;
            ptr::copy_nonoverlapping(payload.as_ptr(), (*context.packet).data, payload.len());
            let sent = ffi::avcodec_send_packet(context.codec, context.packet);
            ffi::av_packet_unref(context.packet);
            check(sent)?;
            check(ffi::avcodec_receive_frame(context.codec, context.frame))?;
            let frame = &*context.frame;
            let samples = usize::try_from(frame.nb_samples).unwrap_or(0);
            out.extend_from_slice(std::slice::from_raw_parts(
                frame.data[0].cast::<i16>(),
                samples,
            ));
            ffi::av_frame_unref(context.frame);
        }
        Ok(())
    }
}

/// The other direction: samples to bytes.
pub struct Encoder(Context);

impl Encoder {
    /// Takes `frame_samples` at 16 kHz at a time, an even number.
    pub fn new(frame_samples: usize) -> Result<Self, Error> {
        // SAFETY: a look-up in a static table.
        let codec = unsafe { ffi::avcodec_find_encoder(ffi::AVCodecID::AV_CODEC_ID_ADPCM_G722) };
        let context = Context::open(codec, frame_samples)?;
        // SAFETY: the frame is ours; its buffer is allocated once and reused for every packet.
        unsafe {
            let frame = &mut *context.frame;
            frame.nb_samples = frame_samples as i32;
            frame.format = ffi::AVSampleFormat::AV_SAMPLE_FMT_S16 as i32;
            frame.sample_rate = RATE_HZ;
            ffi::av_channel_layout_default(&mut frame.ch_layout, 1);
            check(ffi::av_frame_get_buffer(context.frame, 0))?;
        }
        Ok(Self(context))
    }

    /// Appends one byte for two samples. `pcm` is as long as `new` was told.
    pub fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) -> Result<(), Error> {
        let context = &mut self.0;
        // SAFETY: the frame's buffer holds `nb_samples` 16-bit samples and no more are copied; it is
        // made writable first in case libavcodec kept a reference. The packet says how long it is.
        unsafe {
            check(ffi::av_frame_make_writable(context.frame))?;
            let samples = pcm.len().min((*context.frame).nb_samples as usize);
            let target = (*context.frame).data[0].cast::<i16>();
            ptr::copy_nonoverlapping(pcm.as_ptr(), target, samples);
            check(ffi::avcodec_send_frame(context.codec, context.frame))?;
            check(ffi::avcodec_receive_packet(context.codec, context.packet))?;
            let packet = &*context.packet;
            let length = usize::try_from(packet.size).unwrap_or(0);
            out.extend_from_slice(std::slice::from_raw_parts(packet.data, length));
            ffi::av_packet_unref(context.packet);
        }
        Ok(())
    }
}

fn check(code: i32) -> Result<(), Error> {
    if code < 0 {
        Err(Error::from(code))
    } else {
        Ok(())
    }
}
