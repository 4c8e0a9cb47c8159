//! STUN beside SIP on a UDP port (RFC 5626 §4.4.2, RFC 5389): terminals that name their flow ask by it
//! whether the flow is still there, and as whom we see them.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

const HEADER_BYTES: usize = 20;
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const XOR_MAPPED_ADDRESS: [u8; 2] = [0x00, 0x20];

/// The answer to a Binding request that came from `remote`; `None` for all else.
pub(crate) fn answer(bytes: &[u8], remote: SocketAddr) -> Option<Bytes> {
    let (header, attributes) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let length = u16::from_be_bytes([header[2], header[3]]);
    let is_request = header.starts_with(&BINDING_REQUEST) && header[4..8] == MAGIC_COOKIE;
    if !is_request || usize::from(length) != attributes.len() || length % 4 != 0 {
        return None;
    }
    let mask = &header[4..];
    let port = remote.port() ^ u16::from_be_bytes([mask[0], mask[1]]);
    let (family, ip) = match remote.ip().to_canonical() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let ip = ip.iter().zip(mask).map(|(octet, mask)| octet ^ mask);
    let mut value = vec![0, family];
    value.extend(port.to_be_bytes());
    value.extend(ip);
    let length = value.len() as u16;
    let mut out = Vec::with_capacity(HEADER_BYTES + 4 + value.len());
    out.extend(BINDING_SUCCESS);
    out.extend((length + 4).to_be_bytes());
    out.extend(mask);
    out.extend(XOR_MAPPED_ADDRESS);
    out.extend(length.to_be_bytes());
    out.extend(value);
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Transaction of the test vectors of RFC 5769.
    const TRANSACTION: [u8; 12] = [
        0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
    ];

    fn request() -> Vec<u8> {
        [&BINDING_REQUEST[..], &[0, 0], &MAGIC_COOKIE, &TRANSACTION].concat()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// RFC 5769 §2.2 and §2.3.
    #[test]
    fn the_mapped_address_is_that_of_the_published_vectors() {
        for (remote, value) in [
            ("192.0.2.1:32853", "002000080001a147e112a643"),
            ("[::ffff:192.0.2.1]:32853", "002000080001a147e112a643"),
            (
                "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
                "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9",
            ),
        ] {
            let said = answer(&request(), remote.parse().unwrap()).unwrap();
            assert_eq!(said[..2], BINDING_SUCCESS);
            assert_eq!(usize::from(said[3]), said.len() - HEADER_BYTES);
            assert_eq!(said[4..20], request()[4..]);
            assert_eq!(hex(&said[20..]), value, "{remote}");
        }
    }

    #[test]
    fn nothing_else_is_answered() {
        let remote = "192.0.2.1:32853".parse().unwrap();
        let mut odd = request();
        odd[3] = 3;
        odd.extend([0, 0, 0]);
        let mut response = request();
        response[0] = 1;
        let mut other = request();
        other[4] = 0;
        let short = request()[..19].to_vec();
        let longer = [request(), vec![0; 4]].concat();
        for bytes in [
            odd,
            response,
            other,
            short,
            longer,
            b"OPTIONS sip:a SIP/2.0".to_vec(),
        ] {
            assert_eq!(answer(&bytes, remote), None);
        }
    }
}
