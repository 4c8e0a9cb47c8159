//! Payloads to samples.

use mcu_api::codec::AudioCodec;

use super::conceal::Concealer;
use super::g711::{self, Law};
use super::{G729Error, OpenError, g722, g729, g7221, g7221_format, l16};

/// Longest sound that one packet may carry: 120 ms, the limit of Opus (RFC 6716 §3.2.5), is taken
/// for all codecs.
const PACKET_MAX_MS: usize = 120;

/// A payload that is no sound.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Nothing in it.
    #[error("the payload is empty")]
    Empty,
    /// More than 120 ms in one packet, or cut frames.
    #[error("the payload has {bytes} bytes: no whole frames of at most {PACKET_MAX_MS} ms")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// No frames of G.729.
    #[error(transparent)]
    G729(#[from] G729Error),
    /// libopus could not read it.
    #[error("libopus: {0}")]
    Opus(#[from] opus::Error),
    /// libavcodec could not read it.
    #[error("libavcodec: {0}")]
    Avcodec(#[from] ffmpeg_next::Error),
}

/// Decodes one stream, and invents what was lost of it.
pub struct Decoder {
    codec: AudioCodec,
    kind: Kind,
}

enum Kind {
    G711(Law, Concealer),
    G722(g722::Decoder, Concealer),
    G7221(Box<g7221::Decoder>),
    G729(g729::Decoder),
    L16(Concealer),
    Opus(opus::Decoder),
}

impl Decoder {
    /// A decoder with a clean history.
    pub fn new(codec: AudioCodec) -> Result<Self, OpenError> {
        let concealer = Concealer::new(codec.sample_rate_hz());
        let kind = match codec {
            AudioCodec::Pcmu => Kind::G711(Law::Mu, concealer),
            AudioCodec::Pcma => Kind::G711(Law::A, concealer),
            AudioCodec::G722 => Kind::G722(g722::Decoder::new()?, concealer),
            AudioCodec::G7221 { .. } | AudioCodec::G7221C { .. } => {
                let format = g7221_format(codec).ok_or(OpenError::Rate { codec })?;
                Kind::G7221(Box::new(g7221::Decoder::new(format)))
            }
            AudioCodec::G729 => Kind::G729(g729::Decoder::new()?),
            AudioCodec::L16 => Kind::L16(concealer),
            AudioCodec::Opus => Kind::Opus(opus::Decoder::new(
                codec.sample_rate_hz(),
                opus::Channels::Mono,
            )?),
        };
        Ok(Self { codec, kind })
    }

    /// The codec.
    pub fn codec(&self) -> AudioCodec {
        self.codec
    }

    /// Samples per second of what comes out.
    pub fn sample_rate_hz(&self) -> u32 {
        self.codec.sample_rate_hz()
    }

    /// Appends the samples of one packet, at most 120 ms of them. After an error `out` is as it was,
    /// and the packet is best treated as lost.
    pub fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), DecodeError> {
        self.refuse_bad_length(payload)?;
        let start = out.len();
        match &mut self.kind {
            Kind::G711(law, concealer) => {
                g711::decode(*law, payload, out);
                concealer.received(&mut out[start..]);
            }
            Kind::G722(decoder, concealer) => {
                decoder.decode(payload, out)?;
                concealer.received(&mut out[start..]);
            }
            Kind::G7221(decoder) => decoder.decode(payload, out),
            Kind::G729(decoder) => decoder.decode(payload, out)?,
            Kind::L16(concealer) => {
                l16::decode(payload, out);
                concealer.received(&mut out[start..]);
            }
            Kind::Opus(decoder) => {
                let samples = decoder.get_nb_samples(payload)?;
                decode_opus(decoder, payload, samples, false, out)?;
            }
        }
        Ok(())
    }

    /// Appends `samples` that stand for a lost packet (at most 120 ms of them). Known also is that
    /// nothing after it came yet; if the next packet is there, [`Decoder::recover`] does better.
    pub fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) {
        let samples = samples.min(self.packet_max_samples());
        match &mut self.kind {
            Kind::G711(_, concealer) | Kind::G722(_, concealer) | Kind::L16(concealer) => {
                concealer.conceal(samples, out);
            }
            Kind::G7221(decoder) => decoder.conceal(samples, out),
            Kind::G729(decoder) => decoder.conceal(samples, out),
            Kind::Opus(decoder) => conceal_opus(decoder, samples, out),
        }
    }

    /// Appends `samples` that stand for the packet lost just before `next`: Opus may carry a coarse
    /// copy of it there (in-band FEC, RFC 6716 §2.1.7). Give `next` to [`Decoder::decode`]
    /// afterwards.
    pub fn recover(&mut self, next: &[u8], samples: usize, out: &mut Vec<i16>) {
        let samples = samples.min(self.packet_max_samples());
        let Kind::Opus(decoder) = &mut self.kind else {
            return self.conceal(samples, out);
        };
        // Frames are whole multiples of 2.5 ms; libopus refuses others.
        let usable = !next.is_empty() && samples > 0 && samples.is_multiple_of(120);
        if !usable || decode_opus(decoder, next, samples, true, out).is_err() {
            conceal_opus(decoder, samples, out);
        }
    }

    fn packet_max_samples(&self) -> usize {
        PACKET_MAX_MS * self.sample_rate_hz() as usize / 1000
    }

    fn refuse_bad_length(&self, payload: &[u8]) -> Result<(), DecodeError> {
        let bytes_max = match &self.kind {
            Kind::G711(..) => self.packet_max_samples(),
            Kind::G722(..) => self.packet_max_samples() / g722::SAMPLES_PER_BYTE,
            Kind::G7221(decoder) => {
                let (frames, bytes) = (PACKET_MAX_MS / 20, decoder.format().bytes());
                // Frames are not to be cut (RFC 5577 §4).
                match payload.len().is_multiple_of(bytes) {
                    true => frames * bytes,
                    false => 0,
                }
            }
            // Twelve frames, RFC 3551 §4.5.6.
            Kind::G729(_) => self.packet_max_samples() / 8,
            // A sample is not to be cut.
            Kind::L16(_) if !payload.len().is_multiple_of(l16::SAMPLE_BYTES) => 0,
            Kind::L16(_) => self.packet_max_samples() * l16::SAMPLE_BYTES,
            // 48 frames of at most 1275 bytes and their lengths, RFC 6716 §3.2.1 and §3.2.5.
            Kind::Opus(_) => 48 * 1277,
        };
        match payload.len() {
            0 => Err(DecodeError::Empty),
            bytes if bytes > bytes_max => Err(DecodeError::TooLong { bytes }),
            _ => Ok(()),
        }
    }
}

fn decode_opus(
    decoder: &mut opus::Decoder,
    payload: &[u8],
    samples: usize,
    fec: bool,
    out: &mut Vec<i16>,
) -> Result<(), opus::Error> {
    let start = out.len();
    out.resize(start + samples, 0);
    let decoded = decoder.decode(payload, &mut out[start..], fec);
    out.truncate(start + decoded.as_ref().copied().unwrap_or(0));
    decoded.map(drop)
}

/// An empty payload asks libopus for concealment, in whole 2.5 ms.
fn conceal_opus(decoder: &mut opus::Decoder, samples: usize, out: &mut Vec<i16>) {
    let end = out.len() + samples;
    let whole = samples.next_multiple_of(120).min(5760);
    let _silence_if_refused = decode_opus(decoder, &[], whole, false, out);
    out.resize(end, 0);
}
