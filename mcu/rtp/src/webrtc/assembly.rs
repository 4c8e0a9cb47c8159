//! A flight of a terminal's handshake, put together before the DTLS library sees any of it.
//!
//! Nothing in a flight is proved before the signature at its end, and whoever forges the peer's address
//! can put a message in. The library would keep the first of each number, and fail. Here, where two
//! say different things, all are dropped: the peer repeats its flight, and one that nobody put
//! anything into is taken. What is of another kind than a flight has at its number is passed over.

use mcu_api::plan::Fingerprint;

use super::certificate::matches;
use super::hello::{HANDSHAKE_HEADER_LEN, word};

const SERVER_HELLO: u8 = 2;
pub(super) const HELLO_VERIFY_REQUEST: u8 = 3;
const CERTIFICATE: u8 = 11;
const SERVER_KEY_EXCHANGE: u8 = 12;
const CERTIFICATE_REQUEST: u8 = 13;
const SERVER_HELLO_DONE: u8 = 14;
const CERTIFICATE_VERIFY: u8 = 15;
const CLIENT_KEY_EXCHANGE: u8 = 16;

/// Kinds that each message of a flight may be of (RFC 5246 §7.3). All suites of ours have the server's
/// key exchange, and we ask a client for its certificate; a server need not ask for ours.
const OF_SERVER: &[&[u8]] = &[
    &[SERVER_HELLO],
    &[CERTIFICATE],
    &[SERVER_KEY_EXCHANGE],
    &[CERTIFICATE_REQUEST, SERVER_HELLO_DONE],
    &[SERVER_HELLO_DONE],
];
const OF_CLIENT: &[&[u8]] = &[
    &[CERTIFICATE],
    &[CLIENT_KEY_EXCHANGE],
    &[CERTIFICATE_VERIFY],
];

/// What has come of one flight. The guard bounds how much that may be.
pub(super) struct Assembly {
    /// Number of its first message.
    first: u16,
    /// Those of its messages.
    kinds: &'static [&'static [u8]],
    fragments: Vec<Fragment>,
}

struct Fragment {
    kind: u8,
    number: u16,
    /// Of the whole message.
    len: usize,
    offset: usize,
    bytes: Vec<u8>,
}

/// A flight that is whole.
pub(super) struct Whole {
    /// Its messages, each with its header and in one piece.
    pub(super) messages: Vec<Vec<u8>>,
    /// Whether the certificate in it has one of the fingerprints that were asked for.
    pub(super) is_signalled: bool,
}

impl Assembly {
    /// What a server answers our ClientHello with.
    pub(super) fn of_server() -> Self {
        Self {
            first: 0,
            kinds: OF_SERVER,
            fragments: Vec::new(),
        }
    }

    /// What a client answers our ServerHello with, up to what is encrypted. Two of its ClientHellos
    /// came before.
    pub(super) fn of_client() -> Self {
        Self {
            first: 2,
            kinds: OF_CLIENT,
            fragments: Vec::new(),
        }
    }

    /// Takes the body of a handshake record that the guard has found sound.
    pub(super) fn push(&mut self, mut body: &[u8]) {
        while let Some(header) = body.get(..HANDSHAKE_HEADER_LEN) {
            let len = word(&header[9..12]);
            let Some(bytes) = body.get(HANDSHAKE_HEADER_LEN..HANDSHAKE_HEADER_LEN + len) else {
                return;
            };
            let fragment = Fragment {
                kind: header[0],
                number: u16::from_be_bytes([header[4], header[5]]),
                len: word(&header[1..4]),
                offset: word(&header[6..9]),
                bytes: bytes.to_vec(),
            };
            body = &body[HANDSHAKE_HEADER_LEN + len..];
            if !self.has_place_for(&fragment) {
                continue;
            }
            if self.fragments.iter().any(|known| known.denies(&fragment)) {
                self.clear();
                return;
            }
            self.fragments.push(fragment);
        }
    }

    /// Forgets all that came.
    pub(super) fn clear(&mut self) {
        self.fragments.clear();
    }

    /// The flight, once, when all of it is there. One that ends early ends so by a single message, which
    /// may be forged: it is taken when we have `waited` for what denies that.
    pub(super) fn take_whole(
        &mut self,
        fingerprints: &[Fingerprint],
        waited: bool,
    ) -> Option<Whole> {
        let last = self.kinds.last()?;
        let mut messages = Vec::new();
        for (number, kinds) in (self.first..).zip(self.kinds) {
            let message = self.message(number)?;
            let kind = message.first()?;
            if !kinds.contains(kind) {
                return None;
            }
            let is_last = last.contains(kind);
            messages.push(message);
            if is_last {
                break;
            }
        }
        if messages.len() < self.kinds.len() && !waited {
            return None;
        }
        self.clear();
        let certificate = messages.iter().find(|message| message[0] == CERTIFICATE)?;
        Some(Whole {
            is_signalled: matches(fingerprints, first_certificate(certificate)),
            messages,
        })
    }

    /// A HelloVerifyRequest, when nothing else came. From then on the server's messages are numbered
    /// from 1.
    pub(super) fn take_verify(&mut self) -> Option<Vec<u8>> {
        let message = self.message(self.first).filter(|_| self.first == 0)?;
        if message.first() != Some(&HELLO_VERIFY_REQUEST) {
            return None;
        }
        self.first = 1;
        self.clear();
        Some(message)
    }

    /// Whether a message of this kind and number may be part of the flight, or come before it.
    fn has_place_for(&self, fragment: &Fragment) -> bool {
        let place = fragment.number.checked_sub(self.first);
        let kinds = place.and_then(|place| self.kinds.get(usize::from(place)));
        let asks = fragment.kind == HELLO_VERIFY_REQUEST && (fragment.number, self.first) == (0, 0);
        asks || kinds.is_some_and(|kinds| kinds.contains(&fragment.kind))
    }

    /// A message whose fragments are all there.
    fn message(&self, number: u16) -> Option<Vec<u8>> {
        let parts = self.fragments.iter().filter(|part| part.number == number);
        let (kind, len) = parts.clone().next().map(|part| (part.kind, part.len))?;
        let mut body = Vec::new();
        while body.len() < len {
            let goes_on = |part: &&Fragment| (part.offset..part.end()).contains(&body.len());
            let next = parts.clone().find(goes_on)?;
            body.extend_from_slice(&next.bytes[body.len() - next.offset..]);
        }
        Some(message(kind, number, &body))
    }
}

impl Fragment {
    fn end(&self) -> usize {
        self.offset + self.bytes.len()
    }

    /// Whether not both can be of one message.
    fn denies(&self, other: &Self) -> bool {
        if self.number != other.number {
            return false;
        }
        let from = self.offset.max(other.offset);
        let to = self.end().min(other.end());
        let both = |part: &Self| part.bytes[from - part.offset..to - part.offset].to_vec();
        (self.kind, self.len) != (other.kind, other.len) || from < to && both(self) != both(other)
    }
}

/// A handshake message in one piece (RFC 6347 §4.2.2).
pub(super) fn message(kind: u8, number: u16, body: &[u8]) -> Vec<u8> {
    let len = &(body.len() as u32).to_be_bytes()[1..];
    let number = number.to_be_bytes();
    [&[kind], len, &number, &[0; 3], len, body].concat()
}

/// The first certificate of a Certificate message (RFC 5246 §7.4.2); empty when there is none.
fn first_certificate(message: &[u8]) -> &[u8] {
    let list = message.get(HANDSHAKE_HEADER_LEN + 3..).unwrap_or_default();
    let len = list.get(..3).map_or(0, word);
    list.get(3..3 + len).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes from here to there of a message of this kind and number.
    fn part(kind: u8, number: u8, body: &[u8], from: usize, to: usize) -> Vec<u8> {
        let len = body.len() as u8;
        let header = [
            kind,
            0,
            0,
            len,
            0,
            number,
            0,
            0,
            from as u8,
            0,
            0,
            (to - from) as u8,
        ];
        [&header[..], &body[from..to]].concat()
    }

    fn whole(kind: u8, number: u8, body: &[u8]) -> Vec<u8> {
        part(kind, number, body, 0, body.len())
    }

    #[test]
    fn a_flight_in_parts_and_in_any_order_is_whole() {
        let body: Vec<u8> = (0..200).collect();
        let mut assembly = Assembly::of_server();
        for bytes in [
            whole(14, 4, &[]),
            whole(13, 3, &[3]),
            part(11, 1, &body, 100, 200),
            whole(12, 2, &[7]),
            part(11, 1, &body, 0, 150),
            part(11, 1, &body, 0, 150),
        ] {
            assembly.push(&bytes);
            assert!(assembly.take_whole(&[], false).is_none());
        }
        assembly.push(&whole(2, 0, &[1, 2]));
        let flight = assembly.take_whole(&[], false).unwrap();
        let expected = [
            (2, 0, &[1, 2][..]),
            (11, 1, &body),
            (12, 2, &[7]),
            (13, 3, &[3]),
            (14, 4, &[]),
        ];
        let expected: Vec<Vec<u8>> = expected
            .iter()
            .map(|(kind, number, body)| message(*kind, *number, body))
            .collect();
        assert_eq!(flight.messages, expected);
        assert!(!flight.is_signalled);
        assert!(assembly.take_whole(&[], false).is_none(), "once");
    }

    #[test]
    fn two_that_say_different_things_are_both_dropped() {
        let forged = [
            whole(11, 1, &[9; 40]),
            part(11, 1, &[9; 40], 20, 40),
            whole(14, 3, &[]),
            whole(11, 1, &[5; 41]),
        ];
        let flight = [
            whole(2, 0, &[1]),
            whole(11, 1, &[5; 40]),
            whole(12, 2, &[7]),
            whole(13, 3, &[3]),
            whole(14, 4, &[]),
        ];
        for forged in forged {
            let mut assembly = Assembly::of_server();
            assembly.push(&forged);
            flight.iter().for_each(|bytes| assembly.push(bytes));
            assert!(assembly.take_whole(&[], false).is_none());
            assembly.clear();
            flight.iter().for_each(|bytes| assembly.push(bytes));
            assert!(assembly.take_whole(&[], false).is_some());
        }
    }

    #[test]
    fn what_a_flight_does_not_have_at_its_number_is_passed_over() {
        let of_server = [(2, 0), (11, 1), (12, 2), (13, 3), (14, 4)];
        let of_client = [(11, 2), (16, 3), (15, 4)];
        for (mut assembly, flight) in [
            (Assembly::of_server(), &of_server[..]),
            (Assembly::of_client(), &of_client[..]),
        ] {
            let all = (0..=20).flat_map(|kind| (0..9).map(move |number| (kind, number)));
            for (kind, number) in all {
                // Those have a place in other flights of a server.
                let elsewhere = matches!((kind, number), (3, 0) | (14, 3));
                if !elsewhere && !flight.contains(&(kind, number)) {
                    assembly.push(&whole(kind, number, &[9]));
                }
            }
            for (kind, number) in flight {
                assert!(assembly.take_whole(&[], true).is_none());
                assembly.push(&whole(*kind, *number, &[5]));
            }
            assert!(assembly.take_whole(&[], false).is_some());
        }
    }

    #[test]
    fn a_server_that_asks_for_no_certificate_is_believed_after_a_while() {
        let flight = [(2, 0), (11, 1), (12, 2), (14, 3)];
        let mut assembly = Assembly::of_server();
        for (kind, number) in flight {
            assembly.push(&whole(kind, number, &[5]));
        }
        assert!(assembly.take_whole(&[], false).is_none());
        assert!(assembly.take_whole(&[], true).is_some());
    }

    #[test]
    fn a_cookie_is_asked_for_by_what_stands_alone_and_once() {
        let asks = whole(3, 0, &[0xFE, 0xFD, 1, 7]);
        let mut assembly = Assembly::of_server();
        assembly.push(&asks);
        assembly.push(&whole(2, 0, &[1]));
        assert!(assembly.take_verify().is_none(), "one of them is forged");
        assembly.push(&asks);
        let asked = message(3, 0, &[0xFE, 0xFD, 1, 7]);
        assert_eq!(assembly.take_verify(), Some(asked));
        assembly.push(&asks);
        assert_eq!(assembly.take_verify(), None);
    }
}
