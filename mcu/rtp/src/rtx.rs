//! Retransmission payload format, RFC 4588 §4: two bytes of original sequence number, then the
//! original payload.

use crate::header::{RtpHeader, RtpPacket};

/// The packet that an RTX packet repeats, as it was on its own stream. `None` for padding, which
/// carries no payload.
pub fn unwrap<'a>(packet: &RtpPacket<'a>, ssrc: u32, payload_type: u8) -> Option<RtpPacket<'a>> {
    let (original, payload) = packet.payload.split_first_chunk::<2>()?;
    let header = RtpHeader {
        sequence: u16::from_be_bytes(*original),
        ssrc,
        payload_type,
        ..packet.header
    };
    Some(packet.with(header, payload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::{ExtensionValues, write_header};

    #[test]
    fn original_packet_is_restored() {
        let header = RtpHeader {
            payload_type: 97,
            marker: true,
            sequence: 5,
            timestamp: 6,
            ssrc: 7,
        };
        let mut out = Vec::new();
        write_header(
            &mut out,
            &header,
            &Default::default(),
            &ExtensionValues::default(),
        );
        assert!(unwrap(&RtpPacket::parse(&out).unwrap(), 1, 96).is_none());
        out.extend_from_slice(&[0x12, 0x34, 9, 9, 9]);
        let packet = unwrap(&RtpPacket::parse(&out).unwrap(), 1, 96).unwrap();
        assert_eq!(packet.payload, [9, 9, 9]);
        let expected = RtpHeader {
            payload_type: 96,
            marker: true,
            sequence: 0x1234,
            timestamp: 6,
            ssrc: 1,
        };
        assert_eq!(packet.header, expected);
    }
}
