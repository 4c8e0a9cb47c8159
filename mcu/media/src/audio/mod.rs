//! Sound: codecs, concealment of lost packets, sample rates, and the mixer of a room.
//!
//! Everything here is pure computation on one thread; queues and clocks belong to the worker. Samples
//! are 16-bit, one channel.

mod conceal;
#[cfg(test)]
mod costs;
mod decoder;
mod encoder;
mod g711;
mod g722;
mod g729;
pub mod mixer;
pub mod prompt;
mod resampler;
pub mod speaker;
#[cfg(test)]
mod tests;

pub use decoder::{DecodeError, Decoder};
pub use encoder::{EncodeError, Encoder};
pub use g729::G729Error;
pub use resampler::{Resampler, UnsupportedRate};

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
