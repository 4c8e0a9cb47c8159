//! Encoders of what a room's listeners hear: it is the same for all of them, so it is encoded once for each
//! codec and rate.
//!
//! A tick is `begin_tick`, then `join` for each leg that begins to listen and `last` for each that no longer
//! does, and only then `payload` for all listeners. The first packet that a leg gets of another encoder
//! needs none before it, as far as the codec can.

use mcu_api::codec::AudioCodec;

use crate::audio::mixer::Tick;
use crate::audio::{Encoder, Resampler};

/// Milliseconds of a packet that is one tick.
pub const PTIME_MS: u8 = 20;
/// Of so many ticks the samples are kept, for who goes on with an encoder of its own.
const KEPT_TICKS: usize = 3;

/// What has to be the same for two legs to share an encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The codec.
    pub codec: AudioCodec,
    /// What it may spend.
    pub bitrate_bps: u32,
    /// It keeps low tones.
    pub faithful: bool,
}

/// The encoders of a room.
#[derive(Default)]
pub struct SharedEncoders {
    shared: Vec<Shared>,
}

struct Shared {
    key: Key,
    encoder: Encoder,
    resampler: Resampler,
    /// At the codec's rate, of the last ticks.
    samples: Vec<i16>,
    payload: Vec<u8>,
    /// The payload is this tick's.
    is_encoded: bool,
    /// Somebody listens in this tick.
    is_wanted: bool,
    /// Somebody begins to listen in this tick.
    is_joined: bool,
}

/// Whether a decoder of this codec may go over to another encoder's packets: what it remembers of those before
/// must not be heard. That of G.722 is, for a tenth of a second.
pub fn can_share(codec: AudioCodec, ptime_ms: u8) -> bool {
    let forgets = matches!(
        codec,
        AudioCodec::Pcmu | AudioCodec::Pcma | AudioCodec::L16 | AudioCodec::Opus
    );
    forgets && ptime_ms == PTIME_MS
}

impl SharedEncoders {
    /// Starts a tick: an encoder to which nobody listened in the last one goes.
    pub fn begin_tick(&mut self) {
        self.shared.retain(|shared| shared.is_wanted);
        for shared in &mut self.shared {
            (shared.is_encoded, shared.is_wanted) = (false, false);
        }
    }

    /// A leg begins to listen; `resampler` is what made its sound so far. `false`: there is no such encoder.
    pub fn join(&mut self, key: Key, resampler: &Resampler) -> bool {
        let known = self.shared.iter().position(|shared| shared.key == key);
        let index = match known {
            Some(index) => index,
            None => {
                let Some(shared) = Shared::new(key, resampler.clone()) else {
                    return false;
                };
                self.shared.push(shared);
                self.shared.len() - 1
            }
        };
        self.shared[index].is_joined = true;
        true
    }

    /// The payload of this tick, in which all listeners hear `pcm`. `None`: it could not be encoded.
    pub fn payload(&mut self, key: Key, pcm: &Tick) -> Option<&[u8]> {
        let shared = self.shared.iter_mut().find(|shared| shared.key == key)?;
        shared.is_wanted = true;
        if !std::mem::replace(&mut shared.is_encoded, true) {
            shared.encode(pcm);
        }
        (!shared.payload.is_empty()).then_some(shared.payload.as_slice())
    }

    /// What listeners heard until this tick, at the codec's rate, up to 60 ms of it, and what made it.
    pub fn last(&self, key: Key) -> Option<(&Resampler, &[i16])> {
        let shared = self.shared.iter().find(|shared| shared.key == key)?;
        Some((&shared.resampler, &shared.samples))
    }
}

impl Shared {
    fn new(key: Key, resampler: Resampler) -> Option<Self> {
        let open = match key.faithful {
            true => Encoder::faithful,
            false => Encoder::new,
        };
        let encoder = open(key.codec, PTIME_MS, key.bitrate_bps)
            .inspect_err(|error| tracing::error!(%error, "no encoder for sound"))
            .ok()?;
        Some(Self {
            key,
            encoder,
            resampler,
            samples: Vec::new(),
            payload: Vec::new(),
            is_encoded: false,
            is_wanted: false,
            is_joined: false,
        })
    }

    fn encode(&mut self, pcm: &Tick) {
        let frame = self.encoder.frame_samples();
        let most = (KEPT_TICKS - 1) * frame;
        self.samples
            .drain(..self.samples.len().saturating_sub(most));
        self.resampler.process(pcm, &mut self.samples);
        self.payload.clear();
        let joined = std::mem::take(&mut self.is_joined);
        let newest = &self.samples[self.samples.len().saturating_sub(frame)..];
        let encoded = self
            .encoder
            .set_independent(joined)
            .and_then(|()| self.encoder.encode(newest, &mut self.payload));
        if let Err(error) = encoded {
            tracing::warn!(%error, "sound not encoded");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::mixer::{RATE_HZ, TICK_SAMPLES};

    const KEY: Key = Key {
        codec: AudioCodec::Pcma,
        bitrate_bps: 64_000,
        faithful: false,
    };

    fn resampler() -> Resampler {
        Resampler::new(RATE_HZ, 8_000).unwrap()
    }

    #[test]
    fn listeners_get_what_was_encoded_once() {
        let mut encoders = SharedEncoders::default();
        let ticks = [[1_000; TICK_SAMPLES], [-2_000; TICK_SAMPLES]];
        assert_eq!(encoders.payload(KEY, &ticks[0]), None, "nobody joined");
        assert!(encoders.join(KEY, &resampler()));
        let first = encoders.payload(KEY, &ticks[0]).unwrap().to_vec();
        assert_eq!(first.len(), 160);
        // Another mix would be heard if it were encoded again.
        assert_eq!(encoders.payload(KEY, &ticks[1]).unwrap(), first);
        encoders.begin_tick();
        assert_ne!(encoders.payload(KEY, &ticks[1]).unwrap(), first);
        let codec = AudioCodec::Pcmu;
        assert!(encoders.join(Key { codec, ..KEY }, &resampler()));
        assert_eq!(encoders.shared.len(), 2);
    }

    #[test]
    fn an_encoder_that_nobody_listens_to_goes() {
        let mut encoders = SharedEncoders::default();
        assert!(encoders.join(KEY, &resampler()));
        encoders.begin_tick();
        assert!(encoders.last(KEY).is_none());
        assert_eq!(encoders.payload(KEY, &[0; TICK_SAMPLES]), None);
    }

    #[test]
    fn only_what_decoders_forget_at_once_is_shared() {
        assert!(can_share(AudioCodec::Opus, 20) && can_share(AudioCodec::L16, 20));
        assert!(!can_share(AudioCodec::Pcmu, 30) && !can_share(AudioCodec::G729, 20));
        assert!(!can_share(AudioCodec::G722, 20));
    }
}
