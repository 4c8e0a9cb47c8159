//! Samples to payloads.

use mcu_api::codec::AudioCodec;

use super::g711::{self, Law};
use super::{OpenError, g722, g729, g7221, g7221_format, l16};

/// Largest Opus packet that is sent: it must fit one datagram.
const OPUS_PACKET_MAX_BYTES: usize = 1200;
/// Opus works at this complexity unless told otherwise: half-way, where speech gains little beyond.
const OPUS_COMPLEXITY: i32 = 5;
/// Loss that Opus prepares its FEC for until reports say what it is.
const OPUS_EXPECTED_LOSS_PERCENT: i32 = 5;
/// Rates that Opus takes (RFC 6716 §2.1.1).
const OPUS_BITRATE_BPS: std::ops::RangeInclusive<u32> = 6_000..=510_000;

/// A frame that cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Not one packet time of samples.
    #[error("{given} samples given, a packet takes {expected}")]
    FrameLength {
        /// Samples that a packet takes.
        expected: usize,
        /// Samples given.
        given: usize,
    },
    /// libopus failed.
    #[error("libopus: {0}")]
    Opus(#[from] opus::Error),
    /// libavcodec failed.
    #[error("libavcodec: {0}")]
    Avcodec(#[from] ffmpeg_next::Error),
}

/// Encodes one stream, one packet at a time.
pub struct Encoder {
    codec: AudioCodec,
    frame_samples: usize,
    kind: Kind,
}

enum Kind {
    G711(Law),
    G722(g722::Encoder),
    G7221(g7221::Encoder),
    G729(g729::Encoder),
    L16,
    Opus(opus::Encoder),
}

impl Encoder {
    /// An encoder for packets of `ptime_ms`; `bitrate_bps` is heeded by Opus only. The others
    /// take any multiple of 10 ms up to 120, G.722.1 of 20, Opus 10, 20, 40, 60, 80, 100 and 120 ms.
    pub fn new(codec: AudioCodec, ptime_ms: u8, bitrate_bps: u32) -> Result<Self, OpenError> {
        Self::open(codec, ptime_ms, bitrate_bps, opus::Application::Voip)
    }

    /// The same that keeps low tones: made for speech, Opus takes away what is below about 60 Hz,
    /// where hearts are heard.
    pub fn faithful(codec: AudioCodec, ptime_ms: u8, bitrate_bps: u32) -> Result<Self, OpenError> {
        Self::open(codec, ptime_ms, bitrate_bps, opus::Application::Audio)
    }

    fn open(
        codec: AudioCodec,
        ptime_ms: u8,
        bitrate_bps: u32,
        application: opus::Application,
    ) -> Result<Self, OpenError> {
        let fits = match codec {
            AudioCodec::Opus => matches!(ptime_ms, 10 | 20 | 40 | 60 | 80 | 100 | 120),
            AudioCodec::G7221 { .. } | AudioCodec::G7221C { .. } => {
                matches!(ptime_ms, 20 | 40 | 60 | 80 | 100 | 120)
            }
            _ => ptime_ms > 0 && ptime_ms <= 120 && ptime_ms.is_multiple_of(10),
        };
        if !fits {
            return Err(OpenError::Ptime { codec, ptime_ms });
        }
        let frame_samples = codec.sample_rate_hz() as usize * usize::from(ptime_ms) / 1000;
        let kind = match codec {
            AudioCodec::Pcmu => Kind::G711(Law::Mu),
            AudioCodec::Pcma => Kind::G711(Law::A),
            AudioCodec::G722 => Kind::G722(g722::Encoder::new(frame_samples)?),
            AudioCodec::G7221 { .. } | AudioCodec::G7221C { .. } => {
                let format = g7221_format(codec).ok_or(OpenError::Rate { codec })?;
                Kind::G7221(g7221::Encoder::new(format))
            }
            AudioCodec::G729 => Kind::G729(g729::Encoder::new()?),
            AudioCodec::L16 => Kind::L16,
            AudioCodec::Opus => Kind::Opus(open_opus(bitrate_bps, application)?),
        };
        Ok(Self {
            codec,
            frame_samples,
            kind,
        })
    }

    /// The codec.
    pub fn codec(&self) -> AudioCodec {
        self.codec
    }

    /// Samples of one packet at the codec's rate.
    pub fn frame_samples(&self) -> usize {
        self.frame_samples
    }

    /// Appends one packet's payload. `pcm` holds [`Encoder::frame_samples`] samples. After an error
    /// `out` is as it was.
    pub fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if pcm.len() != self.frame_samples {
            let (expected, given) = (self.frame_samples, pcm.len());
            return Err(EncodeError::FrameLength { expected, given });
        }
        match &mut self.kind {
            Kind::G711(law) => g711::encode(*law, pcm, out),
            Kind::G722(encoder) => encoder.encode(pcm, out)?,
            Kind::G7221(encoder) => encoder.encode(pcm, out),
            Kind::G729(encoder) => encoder.encode(pcm, out),
            Kind::L16 => l16::encode(pcm, out),
            Kind::Opus(encoder) => {
                let start = out.len();
                out.resize(start + OPUS_PACKET_MAX_BYTES, 0);
                let length = encoder.encode(pcm, &mut out[start..]);
                out.truncate(start + length.as_ref().copied().unwrap_or(0));
                length?;
            }
        }
        Ok(())
    }

    /// Changes the rate in bit/s; only Opus has a choice.
    pub fn set_bitrate(&mut self, bitrate_bps: u32) -> Result<(), EncodeError> {
        if let Kind::Opus(encoder) = &mut self.kind {
            encoder.set_bitrate(opus_bitrate(bitrate_bps))?;
        }
        Ok(())
    }

    /// Effort from 0 to 10; only Opus has a choice.
    pub fn set_complexity(&mut self, complexity: u8) -> Result<(), EncodeError> {
        if let Kind::Opus(encoder) = &mut self.kind {
            encoder.set_complexity(i32::from(complexity.min(10)))?;
        }
        Ok(())
    }

    /// Whether packets need none before them, at the price of more bits; only Opus has a choice.
    pub fn set_independent(&mut self, independent: bool) -> Result<(), EncodeError> {
        if let Kind::Opus(encoder) = &mut self.kind {
            encoder.set_prediction_disabled(independent)?;
        }
        Ok(())
    }

    /// Loss that the receiver reports, in per cent: Opus spends bits on FEC accordingly.
    pub fn set_expected_loss(&mut self, percent: u8) -> Result<(), EncodeError> {
        if let Kind::Opus(encoder) = &mut self.kind {
            encoder.set_packet_loss_perc(i32::from(percent.min(100)))?;
        }
        Ok(())
    }
}

fn open_opus(
    bitrate_bps: u32,
    application: opus::Application,
) -> Result<opus::Encoder, opus::Error> {
    let rate = AudioCodec::Opus.sample_rate_hz();
    let mut encoder = opus::Encoder::new(rate, opus::Channels::Mono, application)?;
    encoder.set_bitrate(opus_bitrate(bitrate_bps))?;
    encoder.set_complexity(OPUS_COMPLEXITY)?;
    encoder.set_inband_fec(true)?;
    encoder.set_packet_loss_perc(OPUS_EXPECTED_LOSS_PERCENT)?;
    encoder.set_dtx(false)?;
    Ok(encoder)
}

fn opus_bitrate(bitrate_bps: u32) -> opus::Bitrate {
    let bounded = bitrate_bps.clamp(*OPUS_BITRATE_BPS.start(), *OPUS_BITRATE_BPS.end());
    opus::Bitrate::Bits(bounded as i32)
}
