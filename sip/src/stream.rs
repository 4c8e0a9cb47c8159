//! Messages out of a byte stream (RFC 3261 §18.3), and its keep-alives (RFC 5626 §4.4.1).

use crate::message::find;

/// What the stream yields next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// One whole message.
    Message(Vec<u8>),
    /// The double CRLF that wants a single CRLF back.
    Ping,
    /// The stream cannot be read further: answer this head if possible, then close.
    Broken {
        /// The bytes of the head, possibly cut.
        head: Vec<u8>,
        /// Whether size, not form, is the fault.
        too_large: bool,
    },
}

/// Cuts a stream into messages. Holds at most `max_bytes` of an unfinished one; a peer that sends more
/// is cut off.
#[derive(Debug)]
pub(crate) struct Framer {
    buffer: Vec<u8>,
    /// How much of `buffer` was already searched for the end of a head.
    searched: usize,
    max_bytes: usize,
}

impl Framer {
    pub fn new(max_bytes: usize) -> Self {
        Self {
            buffer: Vec::new(),
            searched: 0,
            max_bytes,
        }
    }

    /// Takes as many of the bytes as fit beside what is unfinished, and says how many. Call
    /// [`Self::next_frame`] until it yields nothing, then push the rest.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let room = (self.max_bytes + 1).saturating_sub(self.buffer.len());
        let taken = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        self.buffer.extend_from_slice(taken);
        taken.len()
    }

    /// Whether a message has begun and not ended. Line ends alone begin none.
    pub fn is_partial(&self) -> bool {
        self.buffer.iter().any(|&b| b != b'\r' && b != b'\n')
    }

    /// What has arrived of an unfinished message.
    pub fn take_partial(&mut self) -> Vec<u8> {
        self.searched = 0;
        std::mem::take(&mut self.buffer)
    }

    pub fn next_frame(&mut self) -> Option<Frame> {
        if self
            .buffer
            .first()
            .is_some_and(|&b| b == b'\r' || b == b'\n')
        {
            return self.keep_alive();
        }
        let from = self.searched.saturating_sub(3);
        let unread = self.buffer.get(from..).unwrap_or_default();
        let Some(end) = find(unread, b"\r\n\r\n").map(|at| from + at + 4) else {
            self.searched = self.buffer.len();
            return (self.buffer.len() > self.max_bytes).then(|| self.broken(true));
        };
        match self.declared_length(end) {
            Err(()) => Some(self.broken(false)),
            Ok(length) if length > self.max_bytes.saturating_sub(end) => Some(self.broken(true)),
            Ok(length) if self.buffer.len() < end + length => None,
            Ok(length) => Some(Frame::Message(self.take(end + length))),
        }
    }

    /// Leading line ends: two are a ping, one is a pong or noise (RFC 3261 §7.5).
    fn keep_alive(&mut self) -> Option<Frame> {
        if self.buffer.starts_with(b"\r\n\r\n") {
            self.take(4);
            return Some(Frame::Ping);
        }
        if b"\r\n\r\n".starts_with(&self.buffer) {
            // A pong, or a ping whose other half is on its way.
            return None;
        }
        let lines = self
            .buffer
            .iter()
            .take_while(|&&b| b == b'\r' || b == b'\n')
            .count();
        self.take(lines);
        self.next_frame()
    }

    /// The body length that the head declares. A head without Content-Length and Content-Type has no
    /// body: RFC 3261 §20.14 demands the header on streams, terminals forget it.
    fn declared_length(&self, end: usize) -> Result<usize, ()> {
        let head = self.buffer.get(..end).unwrap_or_default();
        let mut declared = None;
        let mut has_type = false;
        for line in head.split(|&b| b == b'\n').skip(1) {
            let Some(colon) = line.iter().position(|&b| b == b':') else {
                continue;
            };
            let (name, value) = line.split_at(colon);
            let name = name.trim_ascii();
            has_type |=
                name.eq_ignore_ascii_case(b"content-type") || name.eq_ignore_ascii_case(b"c");
            if name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"l") {
                let value = value.get(1..).unwrap_or_default().trim_ascii();
                let length = parse_length(value).ok_or(())?;
                if declared.is_some_and(|before| before != length) {
                    return Err(());
                }
                declared = Some(length);
            }
        }
        match declared {
            None if has_type => Err(()),
            other => Ok(other.unwrap_or(0)),
        }
    }

    fn broken(&mut self, too_large: bool) -> Frame {
        Frame::Broken {
            head: self.take_partial(),
            too_large,
        }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        self.searched = 0;
        let rest = self.buffer.split_off(count.min(self.buffer.len()));
        std::mem::replace(&mut self.buffer, rest)
    }
}

fn parse_length(value: &[u8]) -> Option<usize> {
    let digits = !value.is_empty() && value.len() <= 9 && value.iter().all(u8::is_ascii_digit);
    digits
        .then(|| std::str::from_utf8(value).ok()?.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &[u8] = b"OPTIONS sip:a@b SIP/2.0\r\nContent-Length: 4\r\n\r\nbody";

    fn all(framer: &mut Framer, mut bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            let taken = framer.push(bytes);
            while let Some(frame) = framer.next_frame() {
                frames.push(frame);
            }
            bytes = &bytes[taken..];
            if bytes.is_empty() {
                return frames;
            }
        }
    }

    #[test]
    fn every_cut_of_two_messages_yields_the_same_two() {
        let two = [b"\r\n\r\n".as_slice(), ONE, b"\r\n", ONE].concat();
        for cut in 0..two.len() {
            let mut framer = Framer::new(1_000);
            let mut frames = all(&mut framer, &two[..cut]);
            frames.extend(all(&mut framer, &two[cut..]));
            let expected = [
                Frame::Ping,
                Frame::Message(ONE.to_vec()),
                Frame::Message(ONE.to_vec()),
            ];
            assert_eq!(frames, expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_stream_byte_by_byte_yields_the_same_messages() {
        let mut framer = Framer::new(1_000);
        let frames: Vec<_> = ONE.iter().flat_map(|&b| all(&mut framer, &[b])).collect();
        assert_eq!(frames, [Frame::Message(ONE.to_vec())]);
    }

    #[test]
    fn wrong_lengths_break_the_stream() {
        let long = "9".repeat(30);
        for value in ["-1", "4x", "", long.as_str(), "4\r\nl: 5"] {
            let mut framer = Framer::new(1_000);
            let bytes = format!("OPTIONS sip:a@b SIP/2.0\r\nContent-Length: {value}\r\n\r\n");
            let frames = all(&mut framer, bytes.as_bytes());
            assert!(
                matches!(
                    frames.as_slice(),
                    [Frame::Broken {
                        too_large: false,
                        ..
                    }]
                ),
                "{value}: {frames:?}"
            );
        }
    }

    #[test]
    fn a_body_without_length_breaks_the_stream_and_no_body_does_not() {
        let mut framer = Framer::new(1_000);
        let typed = b"INVITE sip:a@b SIP/2.0\r\nc: application/sdp\r\n\r\nv=0";
        assert!(matches!(
            all(&mut framer, typed)[..],
            [Frame::Broken { .. }]
        ));
        let mut framer = Framer::new(1_000);
        let bare = b"BYE sip:a@b SIP/2.0\r\nTo: x\r\n\r\n";
        assert_eq!(all(&mut framer, bare), [Frame::Message(bare.to_vec())]);
    }

    #[test]
    fn what_is_larger_than_the_bound_breaks_the_stream_and_is_not_kept() {
        let mut framer = Framer::new(64);
        let endless = vec![b'x'; 10_000];
        assert_eq!(framer.push(&endless), 65);
        assert!(matches!(
            framer.next_frame(),
            Some(Frame::Broken {
                too_large: true,
                ..
            })
        ));
        assert!(!framer.is_partial());
        let mut framer = Framer::new(64);
        let frames = all(&mut framer, b"INVITE sip:a@b SIP/2.0\r\nl: 60\r\n\r\n");
        assert!(matches!(
            frames[..],
            [Frame::Broken {
                too_large: true,
                ..
            }]
        ));
    }
}
