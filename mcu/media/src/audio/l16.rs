//! L16: samples as they are, in network byte order (RFC 3551 §4.5.11).

/// Bytes of one sample.
pub const SAMPLE_BYTES: usize = 2;

/// Appends the samples of a payload. An odd byte at its end is left out.
pub fn decode(payload: &[u8], out: &mut Vec<i16>) {
    let (samples, _cut) = payload.as_chunks::<SAMPLE_BYTES>();
    out.extend(samples.iter().map(|bytes| i16::from_be_bytes(*bytes)));
}

/// Appends two bytes for each sample.
pub fn encode(pcm: &[i16], out: &mut Vec<u8>) {
    out.extend(pcm.iter().flat_map(|sample| sample.to_be_bytes()));
}
