//! What a browser's ClientHello says about SRTP, read before the DTLS library sees it.
//!
//! A server may choose among the profiles that the client offers (RFC 5764 §4.1.1); `rtc-dtls`
//! takes the client's first, and Chromium names AES-CM before AES-GCM, which costs more than twice
//! the time for each packet. So the ClientHello is put together here, and the library is then told
//! to accept only the better profile. Chromium's has a post-quantum key share and spans two
//! datagrams.

use super::cookie::Cookie;
use super::guard;

/// Longest ClientHello that is put together. Chromium's takes 1.4 KB.
const HELLO_MAX: usize = 8 * 1024;
/// Datagrams kept until the ClientHello is whole. Then, or when it is full, all go on.
const HELD_MAX: usize = 8;

pub(super) const RECORD_HEADER_LEN: usize = 13;
pub(super) const HANDSHAKE_HEADER_LEN: usize = 12;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const CLIENT_HELLO: u8 = 1;
/// Number of the message that brings a cookie back.
const AGAIN: usize = 1;
const EXTENSION_USE_SRTP: usize = 14;
const SRTP_AEAD_AES_128_GCM: [u8; 2] = [0, 7];

/// What a terminal's datagram is to a handshake.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A ClientHello, or its first fragment.
    Hello(First),
    /// A later fragment of one that has a cookie; it shows neither that nor its random.
    Tail,
    /// Anything later.
    Other,
}

/// The beginning of a ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct First {
    /// By this a handshake is known.
    pub(super) random: [u8; 32],
    /// What may be a cookie of ours, brought back (RFC 6347 §4.2.1).
    pub(super) cookie: Option<Cookie>,
    /// No other fragment follows.
    pub(super) whole: bool,
}

/// Looks at a datagram; `None` for what is no sound DTLS.
pub(super) fn part(datagram: &[u8]) -> Option<Part> {
    if !guard::is_sound(datagram) {
        return None;
    }
    let message = datagram.get(RECORD_HEADER_LEN..)?;
    let epoch = word(&datagram[3..5]);
    if (datagram[0], epoch) != (HANDSHAKE, 0) || message.first() != Some(&CLIENT_HELLO) {
        return Some(Part::Other);
    }
    let header = message.get(..HANDSHAKE_HEADER_LEN)?;
    let number = word(&header[4..6]);
    if word(&header[6..9]) != 0 {
        return (number == AGAIN).then_some(Part::Tail);
    }
    // client_version comes before the random.
    let body = message.get(HANDSHAKE_HEADER_LEN + 2..)?;
    let (random, rest) = body.split_first_chunk()?;
    let (_session_id, rest) = vector(rest, 1)?;
    let (cookie, _) = vector(rest, 1)?;
    Some(Part::Hello(First {
        random: *random,
        cookie: cookie.try_into().ok().filter(|_| number == AGAIN),
        whole: header[1..4] == header[9..12],
    }))
}

/// A ClientHello's body without its cookie: as it was before the cookie was asked for. `None`:
/// malformed.
pub(super) fn without_cookie(body: &[u8]) -> Option<Vec<u8>> {
    let (session_id, rest) = vector(body.get(2 + 32..)?, 1)?;
    let (_cookie, rest) = vector(rest, 1)?;
    let before = &body[..2 + 32 + 1 + session_id.len()];
    Some([before, &[0], rest].concat())
}

/// Collects the datagrams of the first ClientHello.
#[derive(Default)]
pub(super) struct Hello {
    held: Vec<Vec<u8>>,
    message: Vec<u8>,
}

/// A first flight, ready for the library.
pub(super) struct Flight {
    /// Its datagrams, as they came.
    pub(super) datagrams: Vec<Vec<u8>>,
    /// The ClientHello's body, if it is whole.
    pub(super) body: Option<Vec<u8>>,
    /// Whether AEAD_AES_128_GCM is among the profiles offered.
    pub(super) offers_gcm: bool,
}

impl Hello {
    /// Takes a datagram that [`super::guard::Guard`] has admitted; yields all when the message is
    /// whole or no more can be held.
    pub(super) fn push(&mut self, datagram: &[u8]) -> Option<Flight> {
        self.held.push(datagram.to_vec());
        let complete = self.assemble();
        if !complete && self.held.len() < HELD_MAX {
            return None;
        }
        let offers_gcm = complete && offers_gcm(&self.message).unwrap_or(false);
        Some(Flight {
            datagrams: std::mem::take(&mut self.held),
            body: complete.then(|| std::mem::take(&mut self.message)),
            offers_gcm,
        })
    }

    /// Goes through all that is held, in whatever order it came; `true` when the message is whole.
    fn assemble(&mut self) -> bool {
        loop {
            let before = self.message.len();
            let held = std::mem::take(&mut self.held);
            let complete = held.iter().any(|datagram| self.append(datagram));
            self.held = held;
            if complete || self.message.len() == before {
                return complete;
            }
        }
    }

    /// Adds the fragments in a datagram that continue the message; `true` when it is whole.
    fn append(&mut self, datagram: &[u8]) -> bool {
        let Some(mut body) = datagram.get(RECORD_HEADER_LEN..) else {
            return false;
        };
        while let Some(header) = body.get(..HANDSHAKE_HEADER_LEN) {
            let (whole, offset, len) = (
                word(&header[1..4]),
                word(&header[6..9]),
                word(&header[9..12]),
            );
            let Some(fragment) = body.get(HANDSHAKE_HEADER_LEN..HANDSHAKE_HEADER_LEN + len) else {
                return false;
            };
            if header[0] != CLIENT_HELLO || whole > HELLO_MAX {
                return false;
            }
            if offset == self.message.len() {
                self.message.extend_from_slice(fragment);
            }
            if self.message.len() >= whole {
                return true;
            }
            body = &body[HANDSHAKE_HEADER_LEN + len..];
        }
        false
    }
}

/// Finds use_srtp in a ClientHello's body (RFC 6347 §4.3.2, RFC 5764 §4.1.1). `None`: malformed, or
/// the extension is not there.
fn offers_gcm(body: &[u8]) -> Option<bool> {
    // client_version and random come before the vectors.
    let rest = body.get(2 + 32..)?;
    let (_session_id, rest) = vector(rest, 1)?;
    let (_cookie, rest) = vector(rest, 1)?;
    let (_cipher_suites, rest) = vector(rest, 2)?;
    let (_compression_methods, rest) = vector(rest, 1)?;
    let (mut extensions, _) = vector(rest, 2)?;
    loop {
        let kind = word(extensions.get(..2)?);
        let (value, rest) = vector(&extensions[2..], 2)?;
        if kind == EXTENSION_USE_SRTP {
            let (profiles, _mki) = vector(value, 2)?;
            return Some(profiles.chunks_exact(2).any(|p| p == SRTP_AEAD_AES_128_GCM));
        }
        extensions = rest;
    }
}

/// Splits off a vector whose length is written in `width` bytes (RFC 5246 §4.3).
fn vector(bytes: &[u8], width: usize) -> Option<(&[u8], &[u8])> {
    let len = word(bytes.get(..width)?);
    bytes[width..].split_at_checked(len)
}

pub(super) fn word(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .fold(0, |word, byte| word << 8 | usize::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutate::each_mutation;

    fn body(profiles: &[u8]) -> Vec<u8> {
        let mut body = vec![0xFE, 0xFD];
        body.extend([9; 32]);
        body.extend([0, 0, 0, 2, 0xC0, 0x2B, 1, 0]);
        let mut extensions = vec![0, 23, 0, 0, 0, 14, 0, 3 + profiles.len() as u8];
        extensions.extend([0, profiles.len() as u8]);
        extensions.extend(profiles);
        extensions.push(0);
        body.extend([0, extensions.len() as u8]);
        body.extend(extensions);
        body
    }

    fn datagram(body: &[u8], offset: usize, len: usize) -> Vec<u8> {
        let mut datagram = vec![22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12 + len as u8];
        datagram.extend([
            1,
            0,
            0,
            body.len() as u8,
            0,
            0,
            0,
            0,
            offset as u8,
            0,
            0,
            len as u8,
        ]);
        datagram.extend(&body[offset..offset + len]);
        datagram
    }

    #[test]
    fn profiles_are_found_in_one_datagram_and_in_two() {
        let with = body(&[0, 1, 0, 8, 0, 7]);
        let flight = Hello::default().push(&datagram(&with, 0, with.len()));
        assert!(flight.is_some_and(|flight| flight.offers_gcm));

        let mut hello = Hello::default();
        assert!(hello.push(&datagram(&with, 0, 50)).is_none());
        let flight = hello.push(&datagram(&with, 50, with.len() - 50)).unwrap();
        assert!(flight.offers_gcm);
        assert_eq!(flight.datagrams.len(), 2);

        let mut hello = Hello::default();
        assert!(hello.push(&datagram(&with, 50, with.len() - 50)).is_none());
        assert!(
            hello
                .push(&datagram(&with, 0, 50))
                .is_some_and(|flight| flight.offers_gcm)
        );

        let without = body(&[0, 1]);
        let flight = Hello::default()
            .push(&datagram(&without, 0, without.len()))
            .unwrap();
        assert!(!flight.offers_gcm);
    }

    #[test]
    fn the_beginning_of_a_hello_shows_its_random_and_an_alert_in_clear_is_nothing() {
        let with = body(&[0, 7]);
        let begins = |cookie| First {
            random: [9; 32],
            cookie,
            whole: true,
        };
        let first = datagram(&with, 0, with.len());
        assert_eq!(part(&first), Some(Part::Hello(begins(None))));
        let mut last = datagram(&with, 50, with.len() - 50);
        assert_eq!(part(&last), None, "what follows shows no cookie");
        last[18] = 1;
        assert_eq!(part(&last), Some(Part::Tail));
        let cookie = [&with[..35], &[20], &[5; 20], &with[36..]].concat();
        let mut later = datagram(&cookie, 0, cookie.len());
        assert_eq!(part(&later), Some(Part::Hello(begins(None))));
        later[18] = 1;
        assert_eq!(part(&later), Some(Part::Hello(begins(Some([5; 20])))));
        assert_eq!(without_cookie(&cookie), Some(with.clone()));
        assert_eq!(without_cookie(&cookie[..50]), None);
        later[13] = 16;
        assert_eq!(part(&later), Some(Part::Other));
        let alert = [21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 2, 40];
        let under_keys = [21, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 1, 0, 2, 2, 40];
        assert_eq!(part(&under_keys), Some(Part::Other));
        let both = [first.as_slice(), &alert].concat();
        for unsound in [&alert[..], &both, &first[..40], &[22], &[]] {
            assert_eq!(part(unsound), None);
        }
    }

    #[test]
    fn what_never_becomes_whole_goes_on_after_a_few() {
        let with = body(&[0, 7]);
        let mut hello = Hello::default();
        let second = datagram(&with, 50, 5);
        let flights: Vec<bool> = (0..HELD_MAX)
            .map(|_| hello.push(&second).is_some())
            .collect();
        assert_eq!(flights.iter().filter(|some| **some).count(), 1);
        assert_eq!(flights.last(), Some(&true));
    }

    #[test]
    fn mutated_hellos_never_panic() {
        let with = body(&[0, 1, 0, 7]);
        let mut whole = 0;
        each_mutation(&datagram(&with, 0, with.len()), 20_000, |data| {
            whole += usize::from(Hello::default().push(data).is_some());
        });
        assert!(whole > 0);
    }
}
