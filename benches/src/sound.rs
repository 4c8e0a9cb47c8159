//! A source's tone, encoded in advance, and the way back from packets to samples.

use std::collections::{BTreeMap, VecDeque};

use ffmpeg_next as av;
use mcu_api::codec::AudioCodec;

use crate::codec::{self, CodecError};
use crate::{g711, tone};

/// Packets of 20 ms each are what every terminal sends.
pub const PACKET_MS: u32 = 20;

/// Opus packets are far shorter; this is libopus's own advice.
const OPUS_PACKET_MAX: usize = 1_275;

/// Length of a beep, and from one to the next.
pub const BEEP_MS: u32 = 80;
/// Seconds from one beep to the next.
pub const BEEP_EVERY_S: usize = 2;

/// A source's sound as packets of [`PACKET_MS`], to be sent round and round without a seam (Opus
/// has a slight one).
#[derive(Clone, Debug)]
pub struct Loop {
    /// How it is coded.
    pub codec: AudioCodec,
    /// Payloads in order.
    pub payloads: Vec<Vec<u8>>,
}

impl Loop {
    /// The tone of source `id`; silence for ids without one.
    pub fn tone(id: u8, codec: AudioCodec) -> Result<Self, CodecError> {
        let rate = codec.sample_rate_hz();
        Self::encode(
            codec,
            &tone::generate(id, rate, 0, rate as usize * tone::PERIOD_S),
        )
    }

    /// A beep of [`BEEP_MS`] at the start of every [`BEEP_EVERY_S`], silence between: the steady
    /// carrier of id + 8.
    pub fn beeps(id: u8, codec: AudioCodec) -> Result<Self, CodecError> {
        let rate = codec.sample_rate_hz();
        let mut pcm = vec![0; rate as usize * BEEP_EVERY_S];
        let carrier = f64::from(tone::frequency_hz(id + 8).unwrap_or_default());
        for (n, sample) in pcm
            .iter_mut()
            .take((rate * BEEP_MS / 1000) as usize)
            .enumerate()
        {
            let phase = std::f64::consts::TAU * carrier * n as f64 / f64::from(rate);
            *sample = (9_000.0 * phase.sin()) as i16;
        }
        Self::encode(codec, &pcm)
    }

    /// Samples at the codec's rate, coded for a line that loses packets.
    pub fn speech(pcm: &[i16], codec: AudioCodec) -> Result<Self, CodecError> {
        match codec {
            AudioCodec::Opus => Ok(Self {
                codec,
                payloads: encode_opus(pcm, PACKET_MS as usize * 48, true)?,
            }),
            _ => Self::encode(codec, pcm),
        }
    }

    fn encode(codec: AudioCodec, pcm: &[i16]) -> Result<Self, CodecError> {
        let rate = codec.sample_rate_hz();
        let packet_len = (rate * PACKET_MS / 1000) as usize;
        let payloads = match codec {
            AudioCodec::Pcmu => each(pcm, packet_len, g711::encode_mu),
            AudioCodec::Pcma => each(pcm, packet_len, g711::encode_a),
            AudioCodec::G722 => encode_g722(pcm, packet_len)?,
            AudioCodec::Opus => encode_opus(pcm, packet_len, false)?,
            AudioCodec::G729 | AudioCodec::G7221 { .. } | AudioCodec::G7221C { .. } => {
                encode_by_server(codec, pcm, packet_len)?
            }
            AudioCodec::L16 => {
                let packets = pcm.chunks_exact(packet_len);
                let bytes = |chunk: &[i16]| chunk.iter().flat_map(|s| s.to_be_bytes()).collect();
                packets.map(bytes).collect()
            }
        };
        Ok(Self { codec, payloads })
    }

    /// RTP clock ticks from one packet to the next.
    pub fn ticks(&self) -> u32 {
        self.codec.rtp_clock_hz() * PACKET_MS / 1000
    }
}

/// Decodes payloads that followed one another, into mono samples at the codec's rate. What cannot
/// be decoded is left out.
pub fn decode(codec: AudioCodec, payloads: &VecDeque<Vec<u8>>) -> Result<Vec<i16>, CodecError> {
    Ok(match codec {
        AudioCodec::Pcmu => payloads
            .iter()
            .flatten()
            .map(|&c| g711::decode_mu(c))
            .collect(),
        AudioCodec::Pcma => payloads
            .iter()
            .flatten()
            .map(|&c| g711::decode_a(c))
            .collect(),
        AudioCodec::G722 => decode_g722(payloads)?,
        AudioCodec::Opus => decode_opus(payloads)?,
        AudioCodec::G729 | AudioCodec::G7221 { .. } | AudioCodec::G7221C { .. } => {
            decode_by_server(codec, payloads)?
        }
        AudioCodec::L16 => {
            let bytes = payloads.iter().flat_map(|payload| payload.as_chunks().0);
            bytes.map(|bytes| i16::from_be_bytes(*bytes)).collect()
        }
    })
}

/// Decodes packets by their numbers from the first on, as [`decode`] does; what is missing is filled in
/// by Opus itself, or else the last packet is repeated once at half its level, then silence.
pub fn decode_with_gaps(
    codec: AudioCodec,
    packets: &BTreeMap<u64, Vec<u8>>,
) -> Result<Vec<i16>, CodecError> {
    let count = packets.keys().next_back().map_or(0, |last| last + 1);
    if codec == AudioCodec::Opus {
        return decode_opus_with_gaps(packets, count);
    }
    let frame = (codec.sample_rate_hz() * PACKET_MS / 1_000) as usize;
    let whole: VecDeque<Vec<u8>> = packets.values().cloned().collect();
    let pcm = decode(codec, &whole)?;
    let mut frames = pcm.chunks(frame);
    let (mut out, mut last): (Vec<i16>, Vec<i16>) = (Vec::new(), vec![0; frame]);
    for number in 0..count {
        match packets.contains_key(&number) {
            true => last = frames.next().unwrap_or_default().to_vec(),
            false => last.iter_mut().for_each(|sample| *sample /= 2),
        }
        out.extend(&last);
    }
    Ok(out)
}

fn decode_opus_with_gaps(
    packets: &BTreeMap<u64, Vec<u8>>,
    count: u64,
) -> Result<Vec<i16>, CodecError> {
    let mut decoder = opus::Decoder::new(48_000, opus::Channels::Mono)?;
    let mut block = [0i16; PACKET_MS as usize * 48];
    let mut pcm = Vec::new();
    for number in 0..count {
        let len = match (packets.get(&number), packets.get(&(number + 1))) {
            (Some(payload), _) => decoder.decode(payload, &mut block, false)?,
            (None, Some(next)) => decoder.decode(next, &mut block, true)?,
            (None, None) => decoder.decode(&[], &mut block, false)?,
        };
        pcm.extend_from_slice(&block[..len]);
    }
    Ok(pcm)
}

fn each(pcm: &[i16], packet_len: usize, encode: fn(i16) -> u8) -> Vec<Vec<u8>> {
    pcm.chunks(packet_len)
        .map(|chunk| chunk.iter().map(|&s| encode(s)).collect())
        .collect()
}

/// There is one free coder of G.729, and none of G.722.1 here: the server's serve as well.
fn encode_by_server(
    codec: AudioCodec,
    pcm: &[i16],
    packet_len: usize,
) -> Result<Vec<Vec<u8>>, CodecError> {
    let mut encoder = mcu_media::audio::Encoder::new(codec, PACKET_MS as u8, 0)?;
    let packets = pcm.chunks_exact(packet_len).map(|chunk| {
        let mut payload = Vec::new();
        // Every chunk has the length of a packet.
        let _ = encoder.encode(chunk, &mut payload);
        payload
    });
    Ok(packets.collect())
}

fn decode_by_server(
    codec: AudioCodec,
    payloads: &VecDeque<Vec<u8>>,
) -> Result<Vec<i16>, CodecError> {
    let mut decoder = mcu_media::audio::Decoder::new(codec)?;
    let mut pcm = Vec::new();
    for payload in payloads {
        // What is no sound is left out.
        let _ = decoder.decode(payload, &mut pcm);
    }
    Ok(pcm)
}

fn encode_opus(
    pcm: &[i16],
    packet_len: usize,
    resilient: bool,
) -> Result<Vec<Vec<u8>>, CodecError> {
    let aim = match resilient {
        true => opus::Application::Voip,
        false => opus::Application::Audio,
    };
    let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, aim)?;
    encoder.set_bitrate(opus::Bitrate::Bits(48_000))?;
    if resilient {
        encoder.set_inband_fec(true)?;
        encoder.set_packet_loss_perc(20)?;
    }
    pcm.chunks_exact(packet_len)
        .map(|chunk| Ok(encoder.encode_vec(chunk, OPUS_PACKET_MAX)?))
        .collect()
}

fn decode_opus(payloads: &VecDeque<Vec<u8>>) -> Result<Vec<i16>, CodecError> {
    let mut decoder = opus::Decoder::new(48_000, opus::Channels::Mono)?;
    // RFC 6716 §2.1.4: a packet holds 120 ms at most.
    let mut block = vec![0i16; 5_760];
    let mut pcm = Vec::new();
    for payload in payloads {
        if let Ok(len) = decoder.decode(payload, &mut block, false) {
            pcm.extend_from_slice(block.get(..len).unwrap_or_default());
        }
    }
    Ok(pcm)
}

fn encode_g722(pcm: &[i16], packet_len: usize) -> Result<Vec<Vec<u8>>, CodecError> {
    codec::init()?;
    let codec = av::encoder::find(av::codec::Id::ADPCM_G722).ok_or(CodecError::Missing("g722"))?;
    let mut audio = av::codec::Context::new_with_codec(codec)
        .encoder()
        .audio()?;
    let format = av::format::Sample::I16(av::format::sample::Type::Packed);
    let layout = av::ChannelLayout::MONO;
    audio.set_rate(16_000);
    audio.set_format(format);
    audio.set_channel_layout(layout);
    audio.set_time_base((1, 16_000));
    let mut encoder = audio.open()?;
    let mut coded = Vec::new();
    let mut packet = av::Packet::empty();
    for chunk in pcm.chunks_exact(packet_len) {
        let mut frame = av::frame::Audio::new(format, chunk.len(), layout);
        frame.set_rate(16_000);
        frame.plane_mut::<i16>(0).copy_from_slice(chunk);
        encoder.send_frame(&frame)?;
        while encoder.receive_packet(&mut packet).is_ok() {
            coded.extend_from_slice(packet.data().unwrap_or_default());
        }
    }
    // 64 kbit/s: a byte for two samples.
    Ok(coded
        .chunks_exact(packet_len / 2)
        .map(<[u8]>::to_vec)
        .collect())
}

fn decode_g722(payloads: &VecDeque<Vec<u8>>) -> Result<Vec<i16>, CodecError> {
    codec::init()?;
    let codec = av::decoder::find(av::codec::Id::ADPCM_G722).ok_or(CodecError::Missing("g722"))?;
    let mut audio = av::codec::Context::new_with_codec(codec)
        .decoder()
        .audio()?;
    audio.set_channel_layout(av::ChannelLayout::MONO);
    let mut pcm = Vec::new();
    let mut frame = av::frame::Audio::empty();
    for payload in payloads.iter().filter(|payload| !payload.is_empty()) {
        audio.send_packet(&av::Packet::copy(payload))?;
        while audio.receive_frame(&mut frame).is_ok() {
            pcm.extend_from_slice(frame.plane::<i16>(0));
        }
    }
    Ok(pcm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tone_is_heard_behind_every_codec() {
        for codec in [
            AudioCodec::Pcmu,
            AudioCodec::Pcma,
            AudioCodec::G722,
            AudioCodec::Opus,
        ] {
            let sent = Loop::tone(6, codec).unwrap();
            assert_eq!(sent.payloads.len(), 500, "{codec:?}");
            let received: VecDeque<_> = sent.payloads.into_iter().take(75).collect();
            let pcm = decode(codec, &received).unwrap();
            let heard = tone::detect(&pcm, codec.sample_rate_hz());
            assert_eq!(
                heard.iter().map(|h| h.id).collect::<Vec<_>>(),
                [6],
                "{codec:?}"
            );
        }
    }

    #[test]
    fn bytes_that_are_no_opus_give_silence_and_no_error() {
        let rubbish: VecDeque<_> = [vec![0xff; 3], Vec::new(), vec![0x03]].into();
        assert!(
            decode(AudioCodec::Opus, &rubbish)
                .unwrap()
                .iter()
                .all(|&s| s == 0)
        );
        assert!(
            decode(AudioCodec::G722, &[Vec::new()].into())
                .unwrap()
                .is_empty()
        );
    }
}
