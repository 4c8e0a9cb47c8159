//! What a datagram on a shared port is: STUN, DTLS, RTP or RTCP, told from its first bytes.

/// Protocol of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// STUN: connectivity and consent checks (RFC 8489).
    Stun,
    /// DTLS records (RFC 6347).
    Dtls,
    /// RTP or SRTP (RFC 3550).
    Rtp,
    /// RTCP or SRTCP (RFC 3550).
    Rtcp,
    /// None of these: to be dropped.
    Other,
}

/// STUN's fixed cookie (RFC 8489 §5).
const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const STUN_HEADER_LEN: usize = 20;
const STUN_USERNAME: u16 = 0x0006;
/// Longest user fragment (RFC 8839 §5.4).
const UFRAG_MAX_LEN: usize = 256;

/// Classifies a datagram by its first byte (RFC 7983 §7) and, between RTP and RTCP, by its second
/// (RFC 5761 §4). Says nothing about the rest: the protocol's own parser judges that.
pub fn classify(datagram: &[u8]) -> Kind {
    match datagram {
        [0..=3, ..] => Kind::Stun,
        [20..=63, ..] => Kind::Dtls,
        // RTCP packet types 192 to 223 are payload types 64 to 95 with the marker bit, which RTP
        // may not use on a shared port.
        [128..=191, 192..=223, ..] => Kind::Rtcp,
        [128..=191, _, ..] => Kind::Rtp,
        _ => Kind::Other,
    }
}

/// The addressee's user fragment of a STUN request: what stands before the colon in USERNAME
/// (RFC 8445 §7.2.2). `None` for anything else, responses included. Nothing is verified.
pub fn stun_local_ufrag(datagram: &[u8]) -> Option<&str> {
    let header = datagram.get(..STUN_HEADER_LEN)?;
    if header[4..8] != STUN_COOKIE {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let mut rest = datagram.get(STUN_HEADER_LEN..STUN_HEADER_LEN + length)?;
    while let [type_high, type_low, length_high, length_low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*length_high, *length_low]));
        let value = after.get(..length)?;
        if u16::from_be_bytes([*type_high, *type_low]) == STUN_USERNAME {
            return local_part(value);
        }
        // Values are padded to four bytes (RFC 8489 §14).
        rest = after.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn local_part(username: &[u8]) -> Option<&str> {
    let (local, _remote) = std::str::from_utf8(username).ok()?.split_once(':')?;
    (!local.is_empty() && local.len() <= UFRAG_MAX_LEN).then_some(local)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutate::each_mutation;

    fn request(username: &[u8]) -> Vec<u8> {
        let mut attributes = vec![0x80, 0x22, 0, 3, b'a', b'b', b'c', 0];
        attributes.extend([0, 6, 0, username.len() as u8]);
        attributes.extend(username);
        attributes.resize(attributes.len().next_multiple_of(4), 0);
        let mut message = vec![0, 1, 0, attributes.len() as u8];
        message.extend(STUN_COOKIE);
        message.extend([7; 12]);
        message.extend(attributes);
        message
    }

    #[test]
    fn first_bytes_tell_the_protocol() {
        let cases: [(&[u8], Kind); 11] = [
            (&[0, 1], Kind::Stun),
            (&[3], Kind::Stun),
            (&[4], Kind::Other),
            (&[22, 0xFE, 0xFD], Kind::Dtls),
            (&[64], Kind::Other),
            (&[0x80, 96], Kind::Rtp),
            (&[0x90, 0xE0], Kind::Rtp),
            (&[0x80, 200], Kind::Rtcp),
            (&[0x81, 206], Kind::Rtcp),
            (&[192, 200], Kind::Other),
            (&[], Kind::Other),
        ];
        for (datagram, kind) in cases {
            assert_eq!(classify(datagram), kind, "{datagram:?}");
        }
    }

    #[test]
    fn username_yields_the_part_before_the_colon() {
        assert_eq!(stun_local_ufrag(&request(b"ours:theirs")), Some("ours"));
        assert_eq!(stun_local_ufrag(&request(b":theirs")), None);
        assert_eq!(stun_local_ufrag(&request(b"ours")), None);
        assert_eq!(stun_local_ufrag(&request(b"\xFF\xFE:x")), None);
        assert_eq!(stun_local_ufrag(&request(b"a:b")[..30]), None);
    }

    #[test]
    fn mutated_requests_never_panic() {
        let seed = request(b"ours:theirs");
        let mut named = 0;
        each_mutation(&seed, 20_000, |data| {
            classify(data);
            named += usize::from(stun_local_ufrag(data).is_some());
        });
        assert!(named > 0);
    }
}
