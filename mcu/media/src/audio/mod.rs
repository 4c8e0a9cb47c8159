//! Sound: codecs, concealment of lost packets, sample rates, and the mixer of a room.
//!
//! Everything here is pure computation on one thread; queues and clocks belong to the worker. Samples
//! are 16-bit, one channel.

mod activity;
mod conceal;
#[cfg(test)]
mod costs;
mod decoder;
mod echo;
mod encoder;
mod g711;
mod g722;
mod g7221;
mod g729;
mod l16;
mod leveller;
mod limiter;
pub mod mixer;
pub mod prompt;
mod resampler;
pub mod speaker;
mod suppressor;
#[cfg(test)]
mod tests;
mod voice;
#[cfg(test)]
mod voices;

pub use decoder::{DecodeError, Decoder};
pub use encoder::{EncodeError, Encoder};
pub use g729::G729Error;
pub use resampler::{Resampler, UnsupportedRate};

/// G.722.1 of a codec that is it.
fn g7221_format(codec: mcu_api::codec::AudioCodec) -> Option<g7221::Format> {
    use mcu_api::codec::AudioCodec::{G7221, G7221C};
    let (is_annex_c, bitrate_bps) = match codec {
        G7221 { bitrate_bps } => (false, bitrate_bps),
        G7221C { bitrate_bps } => (true, bitrate_bps),
        _ => return None,
    };
    let is_known = matches!(bitrate_bps, 24_000 | 32_000) || is_annex_c && bitrate_bps == 48_000;
    is_known.then_some(g7221::Format {
        is_annex_c,
        bitrate_bps,
    })
}

/// A codec library refused to set up a coder.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The packet time is not one that the codec can frame.
    #[error("{codec:?} cannot carry {ptime_ms} ms in a packet")]
    Ptime {
        /// The codec.
        codec: mcu_api::codec::AudioCodec,
        /// The packet time asked for.
        ptime_ms: u8,
    },
    /// A rate that the codec does not have.
    #[error("{codec:?} is no rate of G.722.1")]
    Rate {
        /// The codec.
        codec: mcu_api::codec::AudioCodec,
    },
    /// bcg729 said no.
    #[error(transparent)]
    G729(#[from] g729::G729Error),
    /// libopus said no.
    #[error("libopus: {0}")]
    Opus(#[from] opus::Error),
    /// libavcodec said no.
    #[error("libavcodec: {0}")]
    Avcodec(#[from] ffmpeg_next::Error),
}
