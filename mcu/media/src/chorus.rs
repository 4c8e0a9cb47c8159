//! The sound of those who only listen: all of them hear the same, so it is encoded once for each codec.
//!
//! A leg joins one tick after it asked for it. The payload that is its first is one that needs none before
//! it, as far as the codec can: its decoder knows those of another encoder.

use mcu_api::codec::AudioCodec;

use crate::audio::mixer::{RATE_HZ, Tick};
use crate::audio::{Encoder, Resampler};

/// Milliseconds of a packet that is one tick.
pub const PTIME_MS: u8 = 20;

/// Of so many ticks the samples are kept, for who goes on by itself.
const KEPT_TICKS: usize = 3;

/// What has to be the same for two legs to share an encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voice {
    /// The codec.
    pub codec: AudioCodec,
    /// What it may spend.
    pub bitrate_bps: u32,
    /// It keeps low tones.
    pub faithful: bool,
}

/// All voices of a room.
#[derive(Default)]
pub struct Chorus {
    lines: Vec<Line>,
}

struct Line {
    voice: Voice,
    encoder: Encoder,
    resampler: Resampler,
    samples: Vec<i16>,
    payload: Vec<u8>,
    /// The payload is this tick's.
    is_sung: bool,
    /// Somebody asked for it in this tick.
    is_wanted: bool,
    /// Somebody joins with the next payload.
    is_joined: bool,
}

/// Whether payloads of this codec may go on with those of another encoder: what a decoder remembers of those
/// before must not be heard. That of G.722 is, for a tenth of a second.
pub fn can_share(codec: AudioCodec, ptime_ms: u8) -> bool {
    let forgets = matches!(
        codec,
        AudioCodec::Pcmu | AudioCodec::Pcma | AudioCodec::G722 | AudioCodec::L16 | AudioCodec::Opus
    );
    forgets && ptime_ms == PTIME_MS
}

impl Chorus {
    /// Starts a tick: what nobody asked for in the last one goes.
    pub fn begin_tick(&mut self) {
        self.lines.retain(|line| line.is_wanted);
        for line in &mut self.lines {
            (line.is_sung, line.is_wanted) = (false, false);
        }
    }

    /// A leg is to join with the next tick; `shared` is what all hear in this one. `false`: it cannot.
    pub fn join(&mut self, voice: Voice, shared: &Tick) -> bool {
        if !self.lines.iter().any(|line| line.voice == voice) {
            match Line::new(voice) {
                Some(line) => self.lines.push(line),
                None => return false,
            }
        }
        let sung = self.payload(voice, shared).is_some();
        let line = self.lines.iter_mut().find(|line| line.voice == voice);
        if let Some(line) = line {
            line.is_joined = true;
        }
        sung
    }

    /// The payload of this tick, in which all hear `shared`. `None`: there is none, and who wanted it goes on
    /// by itself.
    pub fn payload(&mut self, voice: Voice, shared: &Tick) -> Option<&[u8]> {
        let line = self.lines.iter_mut().find(|line| line.voice == voice)?;
        line.is_wanted = true;
        if !std::mem::replace(&mut line.is_sung, true) {
            line.sing(shared);
        }
        (!line.payload.is_empty()).then_some(line.payload.as_slice())
    }

    /// Where this voice stands, for who goes on by itself from this tick on, before anybody sings in it: how
    /// its sound was brought to its rate, and that of the tick before.
    pub fn last(&self, voice: Voice) -> Option<(&Resampler, &[i16])> {
        let line = self.lines.iter().find(|line| line.voice == voice)?;
        Some((&line.resampler, &line.samples))
    }
}

impl Line {
    fn new(voice: Voice) -> Option<Self> {
        let open = match voice.faithful {
            true => Encoder::faithful,
            false => Encoder::new,
        };
        let encoder = open(voice.codec, PTIME_MS, voice.bitrate_bps)
            .inspect_err(|error| tracing::error!(%error, "no encoder for sound"))
            .ok()?;
        Some(Self {
            voice,
            encoder,
            resampler: Resampler::new(RATE_HZ, voice.codec.sample_rate_hz()).ok()?,
            samples: Vec::new(),
            payload: Vec::new(),
            is_sung: false,
            is_wanted: true,
            is_joined: false,
        })
    }

    fn sing(&mut self, shared: &Tick) {
        let frame = self.encoder.frame_samples();
        let old = self
            .samples
            .len()
            .saturating_sub(KEPT_TICKS * frame - frame);
        self.samples.drain(..old);
        self.payload.clear();
        self.resampler.process(shared, &mut self.samples);
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
    use crate::audio::mixer::TICK_SAMPLES;

    const VOICE: Voice = Voice {
        codec: AudioCodec::Pcma,
        bitrate_bps: 64_000,
        faithful: false,
    };

    #[test]
    fn legs_of_one_voice_get_what_was_encoded_once() {
        let mut chorus = Chorus::default();
        let ticks = [[1_000; TICK_SAMPLES], [-2_000; TICK_SAMPLES]];
        assert_eq!(chorus.payload(VOICE, &ticks[0]), None, "nobody joined");
        assert!(chorus.join(VOICE, &ticks[0]));
        chorus.begin_tick();
        let first = chorus.payload(VOICE, &ticks[1]).unwrap().to_vec();
        assert_eq!(first.len(), 160);
        // Another mix would be heard if it were encoded again.
        let again = chorus.payload(VOICE, &ticks[0]).unwrap().to_vec();
        assert_eq!(again, first);
        let other = Voice {
            codec: AudioCodec::Pcmu,
            ..VOICE
        };
        assert!(chorus.join(other, &ticks[1]));
        assert_eq!(chorus.lines.len(), 2);
    }

    #[test]
    fn a_voice_that_nobody_wants_any_more_goes() {
        let mut chorus = Chorus::default();
        assert!(chorus.join(VOICE, &[0; TICK_SAMPLES]));
        chorus.begin_tick();
        chorus.begin_tick();
        assert!(chorus.last(VOICE).is_none());
        assert_eq!(chorus.payload(VOICE, &[0; TICK_SAMPLES]), None);
    }

    #[test]
    fn only_what_decoders_forget_at_once_is_shared() {
        assert!(can_share(AudioCodec::Opus, 20) && can_share(AudioCodec::L16, 20));
        assert!(!can_share(AudioCodec::Pcmu, 30) && !can_share(AudioCodec::G729, 20));
    }
}
