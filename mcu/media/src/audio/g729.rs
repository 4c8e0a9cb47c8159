//! G.729 by bcg729: Annex A in coding, Annex A and B in decoding.

use std::ptr::NonNull;

/// Samples of a frame: 10 ms at 8 kHz.
pub const FRAME_SAMPLES: usize = 80;
/// Bytes of a frame of speech, and of one that describes silence (RFC 3551 §4.5.6).
const SPEECH_BYTES: usize = 10;
const SILENCE_BYTES: usize = 2;

#[repr(C)]
struct EncoderContext {
    _opaque: [u8; 0],
}

#[repr(C)]
struct DecoderContext {
    _opaque: [u8; 0],
}

// As in bcg729/encoder.h and bcg729/decoder.h, version 1.1.1.
#[link(name = "bcg729")]
unsafe extern "C" {
    fn initBcg729EncoderChannel(detect_silence: u8) -> *mut EncoderContext;
    fn closeBcg729EncoderChannel(context: *mut EncoderContext);
    fn bcg729Encoder(
        context: *mut EncoderContext,
        samples: *const i16,
        bytes: *mut u8,
        length: *mut u8,
    );
    fn initBcg729DecoderChannel() -> *mut DecoderContext;
    fn closeBcg729DecoderChannel(context: *mut DecoderContext);
    fn bcg729Decoder(
        context: *mut DecoderContext,
        bytes: *const u8,
        length: u8,
        is_lost: u8,
        is_silence: u8,
        is_rfc3389: u8,
        samples: *mut i16,
    );
}

/// No memory for a channel, or a payload that holds no frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum G729Error {
    /// The library has no memory.
    #[error("no memory for a channel of G.729")]
    Memory,
    /// Frames of 10 bytes, and one of 2 at the end, are what a payload is made of.
    #[error("{bytes} bytes are no frames of G.729")]
    Length {
        /// Length of the payload.
        bytes: usize,
    },
}

/// One direction of a channel: samples to bytes.
pub struct Encoder(NonNull<EncoderContext>);

// SAFETY: a channel is memory of its own, reached only through `&mut`.
unsafe impl Send for Encoder {}

impl Encoder {
    /// A channel that sends each frame: silence is sent as it sounds.
    pub fn new() -> Result<Self, G729Error> {
        // SAFETY: plain allocation.
        let context = unsafe { initBcg729EncoderChannel(0) };
        NonNull::new(context).map(Self).ok_or(G729Error::Memory)
    }

    /// Appends 10 bytes for each whole [`FRAME_SAMPLES`].
    pub fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) {
        for frame in pcm.chunks_exact(FRAME_SAMPLES) {
            let (mut bytes, mut length) = ([0; SPEECH_BYTES], 0);
            // SAFETY: the library reads 80 samples and writes at most 10 bytes and their number.
            unsafe {
                bcg729Encoder(
                    self.0.as_ptr(),
                    frame.as_ptr(),
                    bytes.as_mut_ptr(),
                    &mut length,
                );
            }
            out.extend_from_slice(&bytes[..usize::from(length).min(SPEECH_BYTES)]);
        }
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: made by `new`, closed once.
        unsafe { closeBcg729EncoderChannel(self.0.as_ptr()) };
    }
}

/// The other direction: bytes to samples.
pub struct Decoder(NonNull<DecoderContext>);

// SAFETY: as above.
unsafe impl Send for Decoder {}

impl Decoder {
    /// A channel with a clean history.
    pub fn new() -> Result<Self, G729Error> {
        // SAFETY: plain allocation.
        let context = unsafe { initBcg729DecoderChannel() };
        NonNull::new(context).map(Self).ok_or(G729Error::Memory)
    }

    /// Appends 10 ms for each frame of a payload, also for one that describes silence at its end.
    pub fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), G729Error> {
        let bytes = payload.len();
        if !matches!(bytes % SPEECH_BYTES, 0 | SILENCE_BYTES) {
            return Err(G729Error::Length { bytes });
        }
        for frame in payload.chunks(SPEECH_BYTES) {
            self.frame(Some(frame), out);
        }
        Ok(())
    }

    /// Appends `samples` for what was lost, or not sent in silence.
    pub fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) {
        let end = out.len() + samples;
        for _ in 0..samples.div_ceil(FRAME_SAMPLES) {
            self.frame(None, out);
        }
        out.truncate(end);
    }

    fn frame(&mut self, frame: Option<&[u8]>, out: &mut Vec<i16>) {
        let mut samples = [0; FRAME_SAMPLES];
        // The library reads ten bytes at most, however short the frame.
        let mut bytes = [0; SPEECH_BYTES];
        let length = frame.map_or(0, <[u8]>::len);
        bytes[..length].copy_from_slice(frame.unwrap_or_default());
        // SAFETY: it reads `bytes` and writes 80 samples.
        unsafe {
            bcg729Decoder(
                self.0.as_ptr(),
                bytes.as_ptr(),
                length as u8,
                frame.is_none().into(),
                (length == SILENCE_BYTES).into(),
                0,
                samples.as_mut_ptr(),
            );
        }
        out.extend_from_slice(&samples);
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: made by `new`, closed once.
        unsafe { closeBcg729DecoderChannel(self.0.as_ptr()) };
    }
}
