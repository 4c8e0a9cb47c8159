//! RTP packets: a parser that copies nothing and a writer that appends to a buffer.
//!
//! RFC 3550 §5.1 for the fixed header, RFC 8285 for the two forms of header extensions.

use mcu_api::plan::HeaderExtensions;
use thiserror::Error;

/// Extension profile of one-byte elements, RFC 8285 §4.2.
const ONE_BYTE_PROFILE: u16 = 0xBEDE;
/// Extension profile of two-byte elements without its four application bits, RFC 8285 §4.3.
const TWO_BYTE_PROFILE: u16 = 0x1000;

/// Why bytes are not an RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// Fewer bytes than the header announces.
    #[error("RTP packet of {len} bytes ends inside its {part}")]
    Truncated {
        /// Length of the packet in bytes.
        len: usize,
        /// What was cut.
        part: &'static str,
    },
    /// Another version than 2.
    #[error("RTP version {0}, expected 2")]
    Version(u8),
    /// The padding count is zero or larger than the payload.
    #[error("padding of {count} bytes in a payload of {available}")]
    Padding {
        /// The last byte of the packet.
        count: u8,
        /// Bytes behind the header.
        available: usize,
    },
}

/// The fixed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Marker bit.
    pub marker: bool,
    /// Sequence number as on the wire.
    pub sequence: u16,
    /// Timestamp as on the wire, in ticks of the payload's clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

/// A packet that lends from the datagram.
#[derive(Clone, Copy, Debug)]
pub struct RtpPacket<'a> {
    /// The fixed header.
    pub header: RtpHeader,
    /// Payload without padding.
    pub payload: &'a [u8],
    extension_profile: u16,
    extension_data: &'a [u8],
}

impl<'a> RtpPacket<'a> {
    /// Parses a datagram (after SRTP was removed).
    ///
    /// # Errors
    /// When the bytes do not hold what the header says.
    pub fn parse(data: &'a [u8]) -> Result<Self, Error> {
        let cut = |part| Error::Truncated {
            len: data.len(),
            part,
        };
        let fixed: &[u8; 12] = data.first_chunk().ok_or(cut("fixed header"))?;
        if fixed[0] >> 6 != 2 {
            return Err(Error::Version(fixed[0] >> 6));
        }
        let csrc_bytes = usize::from(fixed[0] & 0x0F) * 4;
        let mut rest = data
            .get(12 + csrc_bytes..)
            .ok_or(cut("contributing sources"))?;
        let (mut extension_profile, mut extension_data) = (0, &[][..]);
        if fixed[0] & 0x10 != 0 {
            let (head, tail) = rest
                .split_first_chunk::<4>()
                .ok_or(cut("extension header"))?;
            extension_profile = u16::from_be_bytes([head[0], head[1]]);
            let len = usize::from(u16::from_be_bytes([head[2], head[3]])) * 4;
            (extension_data, rest) = tail.split_at_checked(len).ok_or(cut("extension"))?;
        }
        Ok(Self {
            header: RtpHeader {
                payload_type: fixed[1] & 0x7F,
                marker: fixed[1] & 0x80 != 0,
                sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
                timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
                ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            },
            payload: without_padding(rest, fixed[0] & 0x20 != 0)?,
            extension_profile,
            extension_data,
        })
    }

    /// The same packet with another header and payload: extensions stay.
    pub const fn with(self, header: RtpHeader, payload: &'a [u8]) -> Self {
        Self {
            header,
            payload,
            ..self
        }
    }

    /// The header extensions as (identifier, value); ends at the first malformed one.
    pub fn extensions(&self) -> Extensions<'a> {
        let form = match self.extension_profile {
            ONE_BYTE_PROFILE => Form::OneByte,
            profile if profile & 0xFFF0 == TWO_BYTE_PROFILE => Form::TwoByte,
            _ => Form::Unknown,
        };
        Extensions {
            form,
            data: self.extension_data,
        }
    }

    /// The value of one header extension; `None` for identifier 0 ("not agreed").
    pub fn extension(&self, id: u8) -> Option<&'a [u8]> {
        if id == 0 {
            return None;
        }
        self.extensions()
            .find(|(found, _)| *found == id)
            .map(|(_, value)| value)
    }

    /// All extensions that the program knows, by the identifiers agreed.
    pub fn known_extensions(&self, ids: &HeaderExtensions) -> ExtensionValues<'a> {
        let mut values = ExtensionValues::default();
        for (id, value) in self.extensions() {
            values.set(ids, id, value);
        }
        values
    }
}

fn without_padding(payload: &[u8], padded: bool) -> Result<&[u8], Error> {
    if !padded {
        return Ok(payload);
    }
    let count = payload.last().copied().unwrap_or(0);
    let bad = Error::Padding {
        count,
        available: payload.len(),
    };
    if count == 0 {
        return Err(bad);
    }
    let kept = payload.len().checked_sub(usize::from(count)).ok_or(bad)?;
    Ok(&payload[..kept])
}

#[derive(Clone, Copy, Debug)]
enum Form {
    OneByte,
    TwoByte,
    Unknown,
}

/// Iterator over header extensions, RFC 8285 §4.2 and §4.3.
#[derive(Clone, Debug)]
pub struct Extensions<'a> {
    form: Form,
    data: &'a [u8],
}

impl<'a> Iterator for Extensions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&first, rest) = self.data.split_first()?;
            if first == 0 {
                self.data = rest;
                continue;
            }
            let (id, len, rest) = match self.form {
                // Identifier 15 ends the list, RFC 8285 §4.2.
                Form::OneByte if first >> 4 == 15 => return None,
                Form::OneByte => (first >> 4, usize::from(first & 0x0F) + 1, rest),
                Form::TwoByte => {
                    let (&len, rest) = rest.split_first()?;
                    (first, usize::from(len), rest)
                }
                Form::Unknown => return None,
            };
            let Some((value, rest)) = rest.split_at_checked(len) else {
                self.data = &[];
                return None;
            };
            self.data = rest;
            if id != 0 {
                return Some((id, value));
            }
        }
    }
}

/// Values of the extensions that the program reads and writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionValues<'a> {
    /// `a=mid` of the m-line.
    pub mid: Option<&'a str>,
    /// Simulcast layer.
    pub rid: Option<&'a str>,
    /// Simulcast layer that an RTX stream repairs.
    pub repaired_rid: Option<&'a str>,
    /// Transport-wide sequence number.
    pub transport_cc: Option<u16>,
    /// Send time in 6.18 fixed-point seconds, 24 bits.
    pub abs_send_time: Option<u32>,
    /// Audio level: bit 7 voice activity, low bits -dBov (RFC 6464).
    pub audio_level: Option<u8>,
}

impl<'a> ExtensionValues<'a> {
    fn set(&mut self, ids: &HeaderExtensions, id: u8, value: &'a [u8]) {
        let text = || {
            std::str::from_utf8(value)
                .ok()
                .filter(|text| !text.is_empty())
        };
        if id == ids.mid {
            self.mid = text();
        } else if id == ids.rid {
            self.rid = text();
        } else if id == ids.repaired_rid {
            self.repaired_rid = text();
        } else if id == ids.transport_cc {
            self.transport_cc = value.first_chunk().map(|b| u16::from_be_bytes(*b));
        } else if id == ids.abs_send_time {
            self.abs_send_time = value
                .first_chunk::<3>()
                .map(|b| u32::from_be_bytes([0, b[0], b[1], b[2]]));
        } else if id == ids.audio_level {
            self.audio_level = value.first().copied();
        }
    }
}

/// Appends a header to `out`. Values whose identifier is 0 in `ids` are left out, so a caller may
/// give all that it has. At most 255 bytes of a text value are written.
pub fn write_header(
    out: &mut Vec<u8>,
    header: &RtpHeader,
    ids: &HeaderExtensions,
    values: &ExtensionValues<'_>,
) {
    let start = out.len();
    out.extend_from_slice(&[
        0x80,
        u8::from(header.marker) << 7 | header.payload_type & 0x7F,
    ]);
    out.extend_from_slice(&header.sequence.to_be_bytes());
    out.extend_from_slice(&header.timestamp.to_be_bytes());
    out.extend_from_slice(&header.ssrc.to_be_bytes());
    let two_byte = needs_two_bytes(ids, values);
    let profile = if two_byte {
        TWO_BYTE_PROFILE
    } else {
        ONE_BYTE_PROFILE
    };
    out.extend_from_slice(&profile.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    let body = out.len();
    write_elements(out, ids, values, two_byte);
    if out.len() == body {
        out.truncate(body - 4);
        return;
    }
    while !(out.len() - body).is_multiple_of(4) {
        out.push(0);
    }
    let words = ((out.len() - body) / 4) as u16;
    out[body - 2..body].copy_from_slice(&words.to_be_bytes());
    out[start] |= 0x10;
}

/// One-byte elements hold identifiers up to 14 and 1 to 16 bytes, RFC 8285 §4.2.
fn needs_two_bytes(ids: &HeaderExtensions, values: &ExtensionValues<'_>) -> bool {
    let text =
        |id: u8, value: Option<&str>| value.is_some_and(|v| id > 14 || id > 0 && v.len() > 16);
    text(ids.mid, values.mid)
        || text(ids.rid, values.rid)
        || text(ids.repaired_rid, values.repaired_rid)
        || values.transport_cc.is_some() && ids.transport_cc > 14
        || values.abs_send_time.is_some() && ids.abs_send_time > 14
        || values.audio_level.is_some() && ids.audio_level > 14
}

fn write_elements(
    out: &mut Vec<u8>,
    ids: &HeaderExtensions,
    values: &ExtensionValues<'_>,
    two_byte: bool,
) {
    let mut element = |id: u8, value: &[u8]| {
        let value = &value[..value.len().min(255)];
        if id == 0 || value.is_empty() {
            return;
        }
        if two_byte {
            out.extend_from_slice(&[id, value.len() as u8]);
        } else {
            out.push(id << 4 | (value.len() - 1) as u8);
        }
        out.extend_from_slice(value);
    };
    if let Some(mid) = values.mid {
        element(ids.mid, mid.as_bytes());
    }
    if let Some(rid) = values.rid {
        element(ids.rid, rid.as_bytes());
    }
    if let Some(rid) = values.repaired_rid {
        element(ids.repaired_rid, rid.as_bytes());
    }
    if let Some(sequence) = values.transport_cc {
        element(ids.transport_cc, &sequence.to_be_bytes());
    }
    if let Some(time) = values.abs_send_time {
        element(ids.abs_send_time, &time.to_be_bytes()[1..]);
    }
    if let Some(level) = values.audio_level {
        element(ids.audio_level, &[level]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> RtpHeader {
        RtpHeader {
            payload_type: 96,
            marker: true,
            sequence: 0xFFFE,
            timestamp: 7,
            ssrc: 0xDEAD_BEEF,
        }
    }

    fn ids() -> HeaderExtensions {
        HeaderExtensions {
            mid: 1,
            rid: 2,
            repaired_rid: 3,
            transport_cc: 4,
            abs_send_time: 5,
            audio_level: 6,
        }
    }

    fn values() -> ExtensionValues<'static> {
        ExtensionValues {
            mid: Some("0"),
            rid: Some("hi"),
            repaired_rid: None,
            transport_cc: Some(0x1234),
            abs_send_time: Some(0x00AB_CDEF),
            audio_level: Some(0x8A),
        }
    }

    #[test]
    fn writes_what_it_parses() {
        let mut out = Vec::new();
        write_header(&mut out, &header(), &ids(), &values());
        out.extend_from_slice(b"payload");
        let packet = RtpPacket::parse(&out).unwrap();
        assert_eq!(packet.header, header());
        assert_eq!(packet.payload, b"payload");
        assert_eq!(packet.known_extensions(&ids()), values());
        assert_eq!(packet.extension(4), Some(&[0x12, 0x34][..]));
        assert_eq!(packet.extension(0), None);
    }

    #[test]
    fn large_identifiers_and_long_texts_take_two_bytes() {
        let ids = HeaderExtensions {
            transport_cc: 20,
            ..ids()
        };
        let values = ExtensionValues {
            mid: Some("a-mid-of-more-than-16-bytes"),
            ..values()
        };
        let mut out = Vec::new();
        write_header(&mut out, &header(), &ids, &values);
        assert_eq!(out[12..14], [0x10, 0x00]);
        assert_eq!(
            RtpPacket::parse(&out).unwrap().known_extensions(&ids),
            values
        );
    }

    #[test]
    fn without_agreed_extensions_the_header_is_twelve_bytes() {
        let mut out = Vec::new();
        write_header(&mut out, &header(), &HeaderExtensions::default(), &values());
        assert_eq!(out.len(), 12);
        assert_eq!(RtpPacket::parse(&out).unwrap().payload, b"");
    }

    #[test]
    fn padding_and_contributing_sources_are_removed() {
        let mut out = vec![0xA2, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        out.extend_from_slice(&[9; 8]);
        out.extend_from_slice(&[1, 2, 3, 0, 0, 3]);
        let packet = RtpPacket::parse(&out).unwrap();
        assert_eq!(packet.payload, [1, 2, 3]);
        *out.last_mut().unwrap() = 7;
        assert_eq!(
            RtpPacket::parse(&out).unwrap_err(),
            Error::Padding {
                count: 7,
                available: 6
            }
        );
        *out.last_mut().unwrap() = 0;
        assert!(RtpPacket::parse(&out).is_err());
    }

    #[test]
    fn cut_packets_are_refused() {
        let mut out = Vec::new();
        write_header(&mut out, &header(), &ids(), &values());
        for len in 0..out.len() {
            assert!(RtpPacket::parse(&out[..len]).is_err(), "{len} bytes");
        }
        assert_eq!(
            RtpPacket::parse(&[0x40; 12]).unwrap_err(),
            Error::Version(1)
        );
    }

    #[test]
    fn mutated_packets_do_no_harm() {
        let mut seed = Vec::new();
        write_header(&mut seed, &header(), &ids(), &values());
        seed.extend_from_slice(&[7; 30]);
        crate::mutate::each_mutation(&seed, 100_000, |data| {
            if let Ok(packet) = RtpPacket::parse(data) {
                let taken: usize = packet.extensions().map(|(_, value)| value.len()).sum();
                assert!(taken + packet.payload.len() <= data.len());
                packet.known_extensions(&ids());
            }
        });
    }
}
