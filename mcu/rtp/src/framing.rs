//! Packets on a TCP connection: two bytes of length before each (RFC 4571 §2), as ICE over TCP sends
//! checks, handshake and media (RFC 6544 §3).

use std::collections::VecDeque;

use bytes::{Buf, BytesMut};

/// Longest packet that is taken, in bytes. What browsers send fits a packet of any network.
pub const MAX_PACKET: usize = 4_096;
/// Bytes of pictures that wait for a peer who does not read; the oldest packets give way to new ones.
/// A key frame of a whole room fits.
pub const PICTURES_MAX: usize = 256 << 10;
/// Bytes of everything else that wait, beyond which the connection is given up: sound of seconds.
pub const OTHERS_MAX: usize = 64 << 10;
/// Bytes that are handed to the kernel at once: so much is in front of sound that comes now.
pub const BATCH: usize = 16 << 10;

/// The peer announces a packet longer than [`MAX_PACKET`]: the connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a packet of {0} bytes, where {MAX_PACKET} are taken")]
pub struct TooLong(pub usize);

/// The peer has not read for so long that even its sound waits: the connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {OTHERS_MAX} bytes beside pictures wait for the peer")]
pub struct Overflow;

/// What a packet is for, which decides whether it may wait for a slow peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Pictures: they wait for the others, and the oldest are dropped.
    Picture,
    /// Sound, reports, checks and handshake: in their order, before all pictures.
    Other,
}

/// The packets in what arrives. Holds at most one incomplete packet and what was pushed last.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    /// Bytes at the front that were given out.
    taken: usize,
}

impl Reader {
    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole packet; `None` until more is pushed.
    ///
    /// # Errors
    /// [`TooLong`], from then on each time.
    pub fn next_packet(&mut self) -> Result<Option<&[u8]>, TooLong> {
        loop {
            let Some((head, rest)) = self.buffer[self.taken..].split_first_chunk::<2>() else {
                return Ok(None);
            };
            let len = usize::from(u16::from_be_bytes(*head));
            if len > MAX_PACKET {
                return Err(TooLong(len));
            }
            if rest.len() < len {
                return Ok(None);
            }
            let start = self.taken + head.len();
            self.taken = start + len;
            // RFC 4571 §2 allows packets of no bytes, which mean nothing.
            if len > 0 {
                return Ok(Some(&self.buffer[start..self.taken]));
            }
        }
    }
}

/// Packets that wait to be written: at most [`PICTURES_MAX`], [`OTHERS_MAX`] and [`BATCH`] bytes, and
/// one packet more. Pictures are dropped, the oldest first; where others do not fit, the connection is
/// of no use.
#[derive(Debug, Default)]
pub struct Writer {
    /// Begun: whole packets, but for what was written of the first.
    front: BytesMut,
    others: Queue,
    pictures: Queue,
}

/// Framed packets in their order.
#[derive(Debug, Default)]
struct Queue {
    bytes: BytesMut,
    lens: VecDeque<usize>,
}

impl Writer {
    /// Queues a packet. Yields how many pictures were dropped for it.
    ///
    /// # Errors
    /// [`Overflow`] when the peer has not read for too long.
    pub fn push(&mut self, packet: &[u8], urgency: Urgency) -> Result<usize, Overflow> {
        let Ok(len) = u16::try_from(packet.len()) else {
            return Ok(usize::from(urgency == Urgency::Picture));
        };
        let framed = 2 + packet.len();
        let (queue, mut dropped) = match urgency {
            Urgency::Picture => (&mut self.pictures, 0),
            Urgency::Other if self.others.bytes.len() + framed > OTHERS_MAX => {
                return Err(Overflow);
            }
            Urgency::Other => (&mut self.others, 0),
        };
        while urgency == Urgency::Picture
            && queue.bytes.len() + framed > PICTURES_MAX
            && queue.pop().is_some()
        {
            dropped += 1;
        }
        queue.bytes.extend_from_slice(&len.to_be_bytes());
        queue.bytes.extend_from_slice(packet);
        queue.lens.push_back(framed);
        Ok(dropped)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.front.len() + self.others.bytes.len() + self.pictures.bytes.len()
    }

    /// What is to be written next; empty when nothing waits.
    pub fn pending(&mut self) -> &[u8] {
        if self.front.is_empty() {
            while self.front.len() < BATCH
                && let Some(packet) = self.others.pop().or_else(|| self.pictures.pop())
            {
                self.front.extend_from_slice(&packet);
            }
        }
        &self.front
    }

    /// So many bytes of it were written.
    pub fn wrote(&mut self, bytes: usize) {
        self.front.advance(bytes.min(self.front.len()));
    }
}

impl Queue {
    fn pop(&mut self) -> Option<BytesMut> {
        let len = self.lens.pop_front()?;
        Some(self.bytes.split_to(len))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(reader: &mut Reader) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| reader.next_packet().unwrap().map(<[u8]>::to_vec)).collect()
    }

    proptest! {
        #[test]
        fn packets_come_out_as_they_went_in_however_the_stream_is_cut(
            packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 1..20),
            cut in 1_usize..90,
        ) {
            let mut writer = Writer::default();
            for packet in &packets {
                writer.push(packet, Urgency::Picture).unwrap();
            }
            let (mut reader, mut read) = (Reader::default(), Vec::new());
            while !writer.is_empty() {
                let pending = writer.pending();
                let len = cut.min(pending.len());
                reader.push(&pending[..len]);
                writer.wrote(len);
                read.extend(read_all(&mut reader));
            }
            prop_assert_eq!(read, packets);
        }
    }

    #[test]
    fn empty_packets_are_skipped_and_long_ones_end_the_stream() {
        let mut reader = Reader::default();
        reader.push(&[0, 0, 0, 0, 0, 1, 7, 0x10]);
        assert_eq!(read_all(&mut reader), [[7]]);
        reader.push(&[0x01]);
        assert_eq!(reader.next_packet(), Err(TooLong(0x1001)));
        assert_eq!(reader.next_packet(), Err(TooLong(0x1001)));
    }

    /// All that waits, as the peer reads it.
    fn drain(writer: &mut Writer) -> Vec<Vec<u8>> {
        let (mut reader, mut read) = (Reader::default(), Vec::new());
        while !writer.is_empty() {
            let len = writer.pending().len();
            reader.push(writer.pending());
            writer.wrote(len);
            read.extend(read_all(&mut reader));
        }
        read
    }

    #[test]
    fn for_a_peer_that_does_not_read_the_oldest_pictures_go_first_and_then_the_connection() {
        let mut writer = Writer::default();
        let picture = |n: u16| [&n.to_be_bytes()[..], &[1; 998]].concat();
        let mut last = 0;
        while writer.push(&picture(last), Urgency::Picture) == Ok(0) {
            last += 1;
        }
        assert_eq!(writer.push(&picture(last + 1), Urgency::Picture), Ok(1));
        assert!(writer.len() <= PICTURES_MAX && writer.len() > PICTURES_MAX - 1_100);
        let mut sound = 0;
        while writer.push(&[2; 160], Urgency::Other).is_ok() {
            sound += 1;
        }
        // Sound of eight seconds, in packets of 20 ms.
        assert!(sound >= 400, "{sound}");
        let read = drain(&mut writer);
        let pictures: Vec<_> = read.iter().filter(|packet| packet.len() == 1_000).collect();
        assert_eq!(*pictures[0], picture(2), "the oldest two are gone");
        assert_eq!(**pictures.last().unwrap(), picture(last + 1));
        assert_eq!(writer.push(&picture(0), Urgency::Picture), Ok(0));
    }

    /// Sound waited behind a quarter of a megabyte of pictures: a second, at 2 Mbit/s.
    #[test]
    fn sound_waits_for_no_more_pictures_than_were_begun() {
        let mut writer = Writer::default();
        for _ in 0..250 {
            writer.push(&[1; 1_000], Urgency::Picture).unwrap();
        }
        let begun = writer.pending().len();
        assert!(begun <= BATCH + 1_002, "{begun}");
        writer.wrote(500);
        for n in 2..5 {
            writer.push(&[n; 160], Urgency::Other).unwrap();
        }
        writer.wrote(begun - 500);
        let mut reader = Reader::default();
        reader.push(writer.pending());
        let next = read_all(&mut reader);
        let first: Vec<u8> = next.iter().map(|packet| packet[0]).take(4).collect();
        assert_eq!(first, [2, 3, 4, 1]);
    }
}
