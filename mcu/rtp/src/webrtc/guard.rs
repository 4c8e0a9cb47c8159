//! What the DTLS library may be given.
//!
//! `rtc-dtls` reassembles handshake messages with one recursion for each fragment and keeps up to
//! 2 MB of them for a peer, also after the handshake: fragments of one byte would overflow the
//! stack. It answers some malformed records with a fatal alert, which RFC 6347 §4.1.2.7 advises
//! against. So records are looked through here first.

/// Datagrams with handshake records that one association may take, retransmissions included. A
/// handshake with a browser takes three to five.
const DATAGRAMS_MAX: usize = 256;
/// Bytes in them. A flight with a large RSA certificate takes 3 KB.
const BYTES_MAX: usize = 64 * 1024;
/// Datagrams with encrypted handshake records: the Finished message, and its repetitions.
const ENCRYPTED_MAX: usize = 32;
/// Records in one datagram. A browser sends a flight of five.
const RECORDS_MAX: usize = 16;
/// Shortest handshake fragment but for the last of a message.
const FRAGMENT_MIN: usize = 128;
/// Longest handshake message: a certificate of this size is no browser's.
const MESSAGE_MAX: usize = 16 * 1024;

const RECORD_HEADER_LEN: usize = 13;
const HANDSHAKE_HEADER_LEN: usize = 12;

/// Counts what one association was given.
#[derive(Default)]
pub(super) struct Guard {
    datagrams: usize,
    bytes: usize,
    encrypted: usize,
}

impl Guard {
    /// Whether the library may see this datagram. Over the limits, handshakes are refused; alerts
    /// under the negotiated keys still pass.
    pub(super) fn admits(&mut self, datagram: &[u8]) -> bool {
        let Some(contents) = inspect(datagram) else {
            return false;
        };
        if contents.plain {
            self.datagrams += 1;
            self.bytes += datagram.len();
        }
        self.encrypted += usize::from(contents.encrypted_handshake);
        let within = self.datagrams <= DATAGRAMS_MAX && self.bytes <= BYTES_MAX;
        (within || !contents.plain)
            && (self.encrypted <= ENCRYPTED_MAX || !contents.encrypted_handshake)
    }
}

/// Whether a datagram is one that a terminal may be up to: sound, and without an alert in clear. Such
/// an alert anybody can forge, and the peer's own says no more than its silence
/// (RFC 6347 §4.1.2.7).
pub(super) fn is_sound(datagram: &[u8]) -> bool {
    inspect(datagram).is_some_and(|contents| !contents.clear_alert)
}

#[derive(Default)]
struct Contents {
    plain: bool,
    clear_alert: bool,
    encrypted_handshake: bool,
}

/// Walks the records (RFC 6347 §4.1); `None` when any is malformed or unwanted.
fn inspect(datagram: &[u8]) -> Option<Contents> {
    let mut contents = Contents::default();
    let mut rest = datagram;
    for _ in 0..RECORDS_MAX {
        let header = rest.get(..RECORD_HEADER_LEN)?;
        let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
        let body = rest.get(RECORD_HEADER_LEN..RECORD_HEADER_LEN + length)?;
        let version_known = matches!(header[1..3], [0xFE, 0xFD] | [0xFE, 0xFF]);
        let wanted = match (header[0], u16::from_be_bytes([header[3], header[4]])) {
            // ChangeCipherSpec, alert, handshake, in clear.
            (20, 0) => body == [1],
            (21, 0) => body.len() == 2,
            (22, 0) => handshake_is_sound(body),
            // Alert and handshake, encrypted. Application data is not taken.
            (21 | 22, 1) => true,
            _ => false,
        };
        if !version_known || !wanted {
            return None;
        }
        contents.plain |= header[4] == 0;
        contents.clear_alert |= header[0] == 21 && header[4] == 0;
        contents.encrypted_handshake |= header[0] == 22 && header[4] == 1;
        rest = &rest[RECORD_HEADER_LEN + length..];
        if rest.is_empty() {
            return Some(contents);
        }
    }
    None
}

/// Walks the handshake fragments of a record (RFC 6347 §4.2.2).
fn handshake_is_sound(mut body: &[u8]) -> bool {
    let word24 = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0, |word, byte| word << 8 | usize::from(*byte))
    };
    while let Some(header) = body.get(..HANDSHAKE_HEADER_LEN) {
        let (message_len, offset, len) = (
            word24(&header[1..4]),
            word24(&header[6..9]),
            word24(&header[9..12]),
        );
        let is_last = offset + len == message_len;
        let sound = message_len <= MESSAGE_MAX
            && offset + len <= message_len
            && (is_last || len >= FRAGMENT_MIN);
        body = match body.get(HANDSHAKE_HEADER_LEN + len..) {
            Some([]) if sound => return true,
            Some(rest) if sound => rest,
            _ => return false,
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
        let mut record = vec![kind, 0xFE, 0xFD, 0, epoch, 0, 0, 0, 0, 0, 0];
        record.extend((body.len() as u16).to_be_bytes());
        record.extend(body);
        record
    }

    fn fragment(message_len: u8, offset: u8, len: u8) -> Vec<u8> {
        let mut body = vec![1, 0, 0, message_len, 0, 0, 0, 0, offset, 0, 0, len];
        body.resize(body.len() + usize::from(len), 0);
        record(22, 0, &body)
    }

    #[test]
    fn whole_and_last_fragments_pass_and_crumbs_do_not() {
        let mut guard = Guard::default();
        assert!(guard.admits(&fragment(40, 0, 40)));
        assert!(guard.admits(&fragment(200, 0, 150)));
        assert!(guard.admits(&fragment(200, 150, 50)));
        assert!(!guard.admits(&fragment(200, 3, 1)));
        assert!(!guard.admits(&fragment(40, 30, 11)));
        assert!(!guard.admits(&record(22, 0, &[1, 0])));
    }

    #[test]
    fn application_data_and_malformed_records_are_refused() {
        let mut guard = Guard::default();
        assert!(guard.admits(&record(20, 0, &[1])));
        assert!(!guard.admits(&record(20, 0, &[1, 1])));
        assert!(!guard.admits(&record(21, 0, &[1])));
        assert!(!guard.admits(&record(23, 0, b"data")));
        assert!(!guard.admits(&record(23, 1, b"data")));
        assert!(!guard.admits(&record(22, 2, b"data")));
        assert!(!guard.admits(&record(20, 0, &[1])[..13]));
        assert!(!guard.admits(&record(20, 0, &[1]).repeat(RECORDS_MAX + 1)));
    }

    #[test]
    fn handshakes_are_counted_and_encrypted_alerts_always_pass() {
        let mut guard = Guard::default();
        let passed = (0..1000)
            .filter(|_| guard.admits(&fragment(40, 0, 40)))
            .count();
        assert_eq!(passed, DATAGRAMS_MAX);
        let passed = (0..1000)
            .filter(|_| guard.admits(&record(22, 1, &[0; 40])))
            .count();
        assert_eq!(passed, ENCRYPTED_MAX);
        assert!(guard.admits(&record(21, 1, &[0; 26])));
    }
}
