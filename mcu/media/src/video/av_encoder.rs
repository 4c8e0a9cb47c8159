//! H.261, H.263 and VP8 by libavcodec, which has libvpx for the last.

use std::{ptr, slice};

use ffmpeg_next::{Error, ffi};
use mcu_api::codec::{VideoClass, VideoCodec};
use mcu_rtp::h263::Split;
use mcu_rtp::h264::MAX_PAYLOAD;
use mcu_rtp::{h261, h263};

use super::av;
use super::encoder::{AccessUnit, EncodeError};
use super::frame::Frame;
use super::pace::{Pace, TemporalReference};

/// Pictures between two key frames that nobody asked for: each macroblock of H.261 and H.263 is to be
/// coded without reference once in 132 pictures (H.261 §3.4, H.263 §4.4).
const KEY_INTERVAL: i32 = 132;
/// Coarsest quantiser of H.261 and H.263.
const QUANT_MAX: i32 = 31;
/// A group of blocks gets a header of its own when so many bytes have passed since the last: a lost
/// packet then costs that stretch alone.
const GROUP_BYTES: i64 = 400;
/// Bytes between two macroblocks at which a packet may begin.
const SPLIT_BYTES: i64 = 128;
/// Bytes of libavcodec's description of such a macroblock, `AV_PKT_DATA_H263_MB_INFO`.
const SPLIT_INFO: usize = 12;
/// The rate is held over so many milliseconds: what is above is waited for.
const WINDOW_MS: i64 = 500;
/// Bits of a picture below which libavcodec does not code it again to spare its buffer: more than any
/// has. When it does, it goes on to describe macroblocks of H.263 behind those of the first time, and so
/// behind the memory that it has for them.
const NEVER_AGAIN_BITS: f32 = (1 << 30) as f32;
/// Time of libvpx for a picture: 8 is its fastest setting of real use, where the picture is still good.
const VP8_SPEED: i64 = 8;
/// Media time in a second.
const CLOCK_HZ: i64 = 90_000;

/// Encodes one class on the caller's thread.
pub struct Encoder {
    codec: *mut ffi::AVCodecContext,
    packet: *mut ffi::AVPacket,
    frame: *mut ffi::AVFrame,
    class: VideoClass,
    wants_key: bool,
    pace: Pace,
    reference: TemporalReference,
    /// Time for which bits were given, in 1/90,000 s.
    time: i64,
    /// That of the picture which went into the codec last, in its time base.
    tick: i64,
    /// Bits that were sent above the rate.
    debt_bits: i64,
    buffer: Vec<u8>,
    splits: Vec<Split>,
}

// SAFETY: a libavcodec context with one thread may move between threads as long as one uses it at a
// time; it is reached only through `&mut`.
unsafe impl Send for Encoder {}

impl Encoder {
    /// An encoder for pictures of the class's size.
    pub fn new(class: &VideoClass) -> Result<Self, EncodeError> {
        if !has_size(class) {
            let (width, height) = (class.width, class.height);
            return Err(EncodeError::ClassSize { width, height });
        }
        av::quiet();
        // SAFETY: a look-up by a name that ends with a zero.
        let description = unsafe { ffi::avcodec_find_encoder_by_name(name(class.codec).as_ptr()) };
        if description.is_null() {
            return Err(Error::EncoderNotFound.into());
        }
        // SAFETY: the description is static. The three allocations are owned by `this` from their birth,
        // and `Drop` accepts null.
        let this = unsafe {
            Self {
                codec: ffi::avcodec_alloc_context3(description),
                packet: ffi::av_packet_alloc(),
                frame: ffi::av_frame_alloc(),
                class: class.clone(),
                wants_key: false,
                pace: Pace::new(class.frame_rate),
                reference: TemporalReference::default(),
                time: 0,
                tick: 0,
                debt_bits: 0,
                buffer: Vec::new(),
                splits: Vec::new(),
            }
        };
        if this.codec.is_null() || this.packet.is_null() || this.frame.is_null() {
            return Err(Error::Other { errno: 12 }.into()); // ENOMEM
        }
        // SAFETY: the context is ours and not open yet; fields and options are set before, as is asked.
        unsafe {
            describe(&mut *this.codec, class);
            set_options((*this.codec).priv_data, class.codec)?;
            check(ffi::avcodec_open2(this.codec, description, ptr::null_mut()))?;
        }
        Ok(this)
    }

    /// Makes the next picture a key frame.
    pub fn force_key_frame(&mut self) {
        self.wants_key = true;
    }

    /// Encodes one picture. `None`: it was left out to hold the rate.
    pub fn encode(&mut self, frame: &Frame) -> Result<Option<AccessUnit<'_>>, EncodeError> {
        let (width, height) = (frame.width(), frame.height());
        if (width, height) != (self.class.width.into(), self.class.height.into()) {
            return Err(EncodeError::FrameSize { width, height });
        }
        let rate = i64::from(self.class.bitrate_bps);
        let passed = self.pace.pass(frame.pts());
        self.time += passed;
        self.debt_bits -= rate * passed / CLOCK_HZ;
        self.debt_bits = self.debt_bits.max(-rate / 4);
        let has_place = self.modulus().is_none() || self.reference.is_free(frame.pts());
        let has_bits = self.debt_bits <= rate * WINDOW_MS / 1_000;
        if !(has_place && has_bits || self.wants_key) {
            return Ok(None);
        }
        let mut key = self.send(frame, self.wants_key)?;
        // A group of blocks that no packet holds: the picture is made again, coarser, and without
        // reference to the one that nobody gets.
        let mut quant = 4;
        while self.class.codec == VideoCodec::H261
            && h261::largest_group(&self.buffer) > MAX_PAYLOAD
            && quant < QUANT_MAX
        {
            quant = (quant * 2).min(QUANT_MAX);
            self.set_finest(quant);
            key = self.send(frame, true)?;
            self.set_finest(2);
        }
        self.wants_key = false;
        self.write_reference(frame.pts());
        self.debt_bits += self.buffer.len() as i64 * 8;
        Ok((!self.buffer.is_empty()).then_some(AccessUnit {
            bytes: &self.buffer,
            key,
            splits: &self.splits,
            droppable: false,
        }))
    }

    /// Of the temporal references that the codec's pictures bear (H.261 §4.2.1, H.263 §5.1.2).
    fn modulus(&self) -> Option<i64> {
        match self.class.codec {
            VideoCodec::H261 => Some(32),
            VideoCodec::H263 | VideoCodec::H263Plus => Some(256),
            _ => None,
        }
    }

    /// libavcodec counts pictures where the standards count time.
    fn write_reference(&mut self, pts: i64) {
        let Some(modulus) = self.modulus().filter(|_| !self.buffer.is_empty()) else {
            return;
        };
        let reference = self.reference.take(pts, modulus);
        match self.class.codec {
            VideoCodec::H261 => h261::set_temporal_reference(&mut self.buffer, reference),
            _ => h263::set_temporal_reference(&mut self.buffer, reference),
        }
    }

    /// The time of the next picture in the codec's time base. The rate control of the MPEG family gives
    /// each picture the bits of one unit: it is told the greater rate of as many as have passed.
    fn next_tick(&mut self) -> i64 {
        let before = self.tick;
        // SAFETY: the context is ours; the time base does not change once it is open.
        let codec = unsafe { &mut *self.codec };
        let tick = self.time * i64::from(codec.time_base.den) / CLOCK_HZ;
        self.tick = tick.max(before + 1);
        if self.modulus().is_some() {
            codec.rc_max_rate = i64::from(self.class.bitrate_bps) * (self.tick - before);
        }
        self.tick
    }

    /// Finest quantiser from the next picture on.
    fn set_finest(&mut self, quant: i32) {
        // SAFETY: the context is ours; the rate control reads the field with each picture.
        unsafe { (*self.codec).qmin = quant };
    }

    /// One picture through the codec, into `buffer` and `splits`. Whether it is a key frame.
    fn send(&mut self, frame: &Frame, key: bool) -> Result<bool, Error> {
        let planes = [0, 1, 2].map(|index| frame.plane(index));
        assert!(planes.iter().all(super::Plane::is_whole));
        let tick = self.next_tick();
        self.buffer.clear();
        self.splits.clear();
        // SAFETY: the frame's planes hold all their rows during the call; since the frame counts no
        // references, libavcodec copies them. It is emptied before this returns.
        unsafe {
            let picture = &mut *self.frame;
            picture.width = self.class.width.into();
            picture.height = self.class.height.into();
            picture.format = ffi::AVPixelFormat::AV_PIX_FMT_YUV420P as i32;
            picture.pts = tick;
            picture.pict_type = match key {
                true => ffi::AVPictureType::AV_PICTURE_TYPE_I,
                false => ffi::AVPictureType::AV_PICTURE_TYPE_NONE,
            };
            for (index, plane) in planes.iter().enumerate() {
                picture.data[index] = plane.data.as_ptr().cast_mut(); // only read
                picture.linesize[index] = plane.stride as i32;
            }
            let sent = ffi::avcodec_send_frame(self.codec, self.frame);
            ffi::av_frame_unref(self.frame);
            check(sent)?;
        }
        self.receive()
    }

    fn receive(&mut self) -> Result<bool, Error> {
        // SAFETY: context and packet are ours; what the packet holds is read before it is emptied.
        unsafe {
            match ffi::avcodec_receive_packet(self.codec, self.packet) {
                code if code == ffi::AVERROR(ffi::EAGAIN) => return Ok(false),
                code => check(code)?,
            }
            let packet = &*self.packet;
            if packet.data.is_null() || packet.size <= 0 {
                ffi::av_packet_unref(self.packet);
                return Ok(false);
            }
            let bytes = usize::try_from(packet.size).unwrap_or(0);
            self.buffer
                .extend_from_slice(slice::from_raw_parts(packet.data, bytes));
            let key = packet.flags & ffi::AV_PKT_FLAG_KEY != 0;
            let kind = ffi::AVPacketSideDataType::AV_PKT_DATA_H263_MB_INFO;
            let mut len = 0;
            let info = ffi::av_packet_get_side_data(self.packet, kind, &mut len);
            if !info.is_null() {
                let info = slice::from_raw_parts(info, len);
                self.splits.extend(info.chunks_exact(SPLIT_INFO).map(split));
            }
            ffi::av_packet_unref(self.packet);
            Ok(key)
        }
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: the three were allocated by `new` and are freed once; null is accepted.
        unsafe {
            ffi::av_frame_free(&mut self.frame);
            ffi::av_packet_free(&mut self.packet);
            ffi::avcodec_free_context(&mut self.codec);
        }
    }
}

/// Sizes that the codec has: H.261 §3.1, H.263 table 3; for VP8 those that are composed.
fn has_size(class: &VideoClass) -> bool {
    let size = (class.width, class.height);
    match class.codec {
        VideoCodec::H261 => matches!(size, (176, 144) | (352, 288)),
        VideoCodec::H263 | VideoCodec::H263Plus => {
            matches!(
                size,
                (128, 96) | (176, 144) | (352, 288) | (704, 576) | (1408, 1152)
            )
        }
        _ => {
            let fits = |side: u16| (16..=3_840).contains(&side) && side.is_multiple_of(2);
            fits(class.width) && fits(class.height)
        }
    }
}

/// libavcodec's name of the encoder.
fn name(codec: VideoCodec) -> &'static std::ffi::CStr {
    match codec {
        VideoCodec::H261 => c"h261",
        VideoCodec::Vp8 => c"libvpx",
        // Pictures of the standard sizes without options are the same in both payloads.
        _ => c"h263",
    }
}

fn describe(settings: &mut ffi::AVCodecContext, class: &VideoClass) {
    let (rate, frames) = (
        i64::from(class.bitrate_bps),
        i32::from(class.frame_rate.max(1)),
    );
    settings.width = class.width.into();
    settings.height = class.height.into();
    settings.pix_fmt = ffi::AVPixelFormat::AV_PIX_FMT_YUV420P;
    settings.framerate = fraction(frames, 1);
    settings.bit_rate = rate;
    settings.rc_max_rate = rate;
    settings.rc_buffer_size = (rate * WINDOW_MS / 1_000) as i32;
    settings.bit_rate_tolerance = rate.min(i32::MAX.into()) as i32;
    settings.max_b_frames = 0;
    settings.thread_count = 1;
    match class.codec {
        VideoCodec::Vp8 => {
            // libvpx looks at the times of pictures, as exactly as it is told them.
            settings.time_base = fraction(1, CLOCK_HZ as i32);
            settings.ticks_per_frame = CLOCK_HZ as i32 / frames;
            settings.rc_min_rate = rate;
            settings.gop_size = i32::MAX; // key frames are ours to decide
            settings.qmin = 4;
            settings.qmax = 56;
        }
        _ => {
            settings.time_base = fraction(1, frames);
            settings.gop_size = KEY_INTERVAL;
            settings.qmin = 2;
            settings.qmax = QUANT_MAX;
            if class.codec == VideoCodec::H263 {
                settings.rc_max_available_vbv_use =
                    NEVER_AGAIN_BITS / settings.rc_buffer_size.max(1) as f32;
            }
        }
    }
}

fn fraction(num: i32, den: i32) -> ffi::AVRational {
    ffi::AVRational { num, den }
}

/// # Safety
/// `options` is the private data of a context of this codec's encoder.
unsafe fn set_options(options: *mut libc::c_void, codec: VideoCodec) -> Result<(), Error> {
    let settings: &[(&std::ffi::CStr, i64)] = match codec {
        VideoCodec::H263 => &[(c"ps", GROUP_BYTES), (c"mb_info", SPLIT_BYTES)],
        VideoCodec::H263Plus => &[(c"ps", GROUP_BYTES)],
        VideoCodec::Vp8 => &[
            (c"deadline", 1),
            (c"cpu-used", VP8_SPEED),
            (c"lag-in-frames", 0),
        ],
        _ => &[],
    };
    for (name, value) in settings {
        // SAFETY: as promised to this function; the name ends with a zero.
        check(unsafe { ffi::av_opt_set_int(options, name.as_ptr(), *value, 0) })?;
    }
    Ok(())
}

/// Reads libavcodec's description of a macroblock: little-endian position in bits, quantiser, group,
/// address in it, two predictors of motion, two bytes unused.
fn split(info: &[u8]) -> Split {
    let bit = info
        .first_chunk()
        .map_or(0, |bytes| u32::from_le_bytes(*bytes));
    Split {
        bit,
        quant: info[4],
        gob: info[5],
        address: u16::from_le_bytes([info[6], info[7]]),
        motion: (info[8] as i8, info[9] as i8),
    }
}

fn check(code: i32) -> Result<(), Error> {
    if code < 0 {
        Err(Error::from(code))
    } else {
        Ok(())
    }
}
