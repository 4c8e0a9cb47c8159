//! G.722.1 at 16 kHz and its Annex C at 32 kHz (ITU-T G.722.1, 05/2005): sound of 7 and 14 kHz in 24 to
//! 48 kbit/s, which most video terminals of hospitals have.
//!
//! A frame is 20 ms. A modulated lapped transform ([`mlt`]) gives coefficients, 20 to a region of 500 Hz.
//! The powers of the regions are coded first ([`envelope`]); from them, and from the bits that are left,
//! both sides find how finely each region is quantised ([`categories`]); then come the coefficients
//! ([`coefficients`]).

mod bits;
mod categories;
mod coefficients;
mod envelope;
mod mlt;
#[cfg(test)]
mod tests;

#[rustfmt::skip]
mod tables;

use bits::{Reader, Writer};
use coefficients::Noise;
use mlt::Transform;

/// Coefficients of a region.
const REGION: usize = 20;
/// Most regions.
const MAX_REGIONS: usize = 28;
/// Most coefficients of a frame.
const MAX_SAMPLES: usize = 640;

/// Which of both, and how many bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Annex C: 32 kHz in place of 16.
    pub is_annex_c: bool,
    /// Rate in bit/s.
    pub bitrate_bps: u32,
}

impl Format {
    /// Samples of a frame.
    pub const fn samples(self) -> usize {
        if self.is_annex_c { 640 } else { 320 }
    }

    /// Bytes of a frame.
    pub const fn bytes(self) -> usize {
        self.bits() / 8
    }

    const fn bits(self) -> usize {
        (self.bitrate_bps / 50) as usize
    }

    /// Regions that are coded: up to 7 and 14 kHz.
    const fn regions(self) -> usize {
        if self.is_annex_c { 28 } else { 14 }
    }

    /// Bits that say how far the categories are shifted.
    const fn control_bits(self) -> usize {
        if self.is_annex_c { 5 } else { 4 }
    }

    /// What the coefficients are divided by before they are coded, and multiplied with behind: what the
    /// Recommendation's code in fixed point comes to, of Annex C by measurement.
    const fn scales(self) -> (f32, f32) {
        match self.is_annex_c {
            true => (35.06, 35.944),
            false => (22.627_417, 22.627_417),
        }
    }
}

/// Samples to frames.
pub struct Encoder {
    format: Format,
    transform: Transform,
}

impl Encoder {
    /// An encoder with silence behind it.
    pub fn new(format: Format) -> Self {
        let transform = Transform::new(format.samples());
        Self { format, transform }
    }

    /// Appends [`Format::bytes`] for each whole [`Format::samples`].
    pub fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) {
        for frame in pcm.chunks_exact(self.format.samples()) {
            let mut coded = [0.0; MAX_SAMPLES];
            let coded = &mut coded[..frame.len()];
            self.transform.forward(frame, coded);
            let (scale, _) = self.format.scales();
            coded.iter_mut().for_each(|value| *value /= scale);
            self.write(coded, out);
        }
    }

    fn write(&self, coded: &[f32], out: &mut Vec<u8>) {
        let (regions, control) = (self.format.regions(), self.format.control_bits());
        let mut writer = Writer::new(self.format.bits());
        let powers = envelope::write(&coded[..regions * REGION], &mut writer);
        let left = writer.left().saturating_sub(control);
        let plan = categories::plan(&powers[..regions], left, 1 << control);
        let (shift, parts) = coefficients::quantise(coded, &powers[..regions], &plan, left);
        writer.put(shift as u32, control);
        for (code, length) in parts.iter().flatten() {
            writer.put(*code, usize::from(*length));
        }
        writer.finish(out);
    }
}

/// Frames to samples.
pub struct Decoder {
    format: Format,
    transform: Transform,
    noise: Noise,
    /// Coefficients of the last good frame, for one that is lost; zeros after that.
    last: [f32; MAX_SAMPLES],
}

impl Decoder {
    /// A decoder with silence behind it.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            transform: Transform::new(format.samples()),
            noise: Noise::default(),
            last: [0.0; MAX_SAMPLES],
        }
    }

    /// What it decodes.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Appends [`Format::samples`] for each whole frame.
    pub fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) {
        for frame in payload.chunks_exact(self.format.bytes()) {
            let mut coded = [0.0; MAX_SAMPLES];
            if self.read(frame, &mut coded) {
                self.last = coded;
                self.play(&coded, out);
            } else {
                self.fill_in(out);
            }
        }
    }

    /// Appends `samples` for frames that were lost: the last once more, then silence.
    pub fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) {
        let end = out.len() + samples;
        for _ in 0..samples.div_ceil(self.format.samples()) {
            self.fill_in(out);
        }
        out.truncate(end);
    }

    fn fill_in(&mut self, out: &mut Vec<i16>) {
        let coded = std::mem::replace(&mut self.last, [0.0; MAX_SAMPLES]);
        self.play(&coded, out);
    }

    fn play(&mut self, coded: &[f32; MAX_SAMPLES], out: &mut Vec<i16>) {
        let (_, scale) = self.format.scales();
        let scaled = coded.map(|value| value * scale);
        self.transform
            .inverse(&scaled[..self.format.samples()], out);
    }

    /// Reads a frame's coefficients. `false`: it is damaged, as far as its own checks tell (§4.7).
    fn read(&mut self, frame: &[u8], coded: &mut [f32; MAX_SAMPLES]) -> bool {
        let (regions, control) = (self.format.regions(), self.format.control_bits());
        let mut reader = Reader::new(frame);
        let Some(powers) = envelope::read(&mut reader, regions) else {
            return false;
        };
        let Some(shift) = reader.take(control) else {
            return false;
        };
        let plan = categories::plan(&powers[..regions], reader.left(), 1 << control);
        let chosen = plan.shifted(shift as usize);
        let whole = coefficients::read(
            &mut reader,
            &powers[..regions],
            &chosen[..regions],
            &mut self.noise,
            coded,
        );
        // What is left over are ones; to run out of bits is allowed only where no coarser choice was.
        match whole {
            true => reader.only_ones_are_left(),
            false => shift as usize + 1 == 1 << control,
        }
    }
}
