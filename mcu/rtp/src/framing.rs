//! Packets on a TCP connection: two bytes of length before each (RFC 4571 §2), as ICE over TCP sends
//! checks, handshake and media (RFC 6544 §3).

use bytes::{Buf, BytesMut};

/// Longest packet that is taken, in bytes. What browsers send fits a packet of any network.
pub const MAX_PACKET: usize = 4_096;
/// Bytes that wait for a peer who does not read, beyond which no further picture is queued. A key
/// frame of a whole room fits.
pub const PICTURES_MAX: usize = 256 << 10;
/// Bytes that wait for a peer who does not read, beyond which the connection is given up.
pub const QUEUE_MAX: usize = 320 << 10;

/// The peer announces a packet longer than [`MAX_PACKET`]: the connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a packet of {0} bytes, where {MAX_PACKET} are taken")]
pub struct TooLong(pub usize);

/// The peer has not read for so long that even its sound waits: the connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {QUEUE_MAX} bytes wait for the peer")]
pub struct Overflow;

/// What a packet is for, which decides whether it may wait for a slow peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Pictures: dropped while [`PICTURES_MAX`] bytes wait.
    Picture,
    /// Sound, reports, checks and handshake.
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

/// Packets that wait to be written. At most [`QUEUE_MAX`] bytes: pictures are dropped long before,
/// and at the end the connection is.
#[derive(Debug, Default)]
pub struct Writer {
    buffer: BytesMut,
}

impl Writer {
    /// Queues a packet. `false`: it is a picture and was dropped.
    ///
    /// # Errors
    /// [`Overflow`] when the peer has not read for too long.
    pub fn push(&mut self, packet: &[u8], urgency: Urgency) -> Result<bool, Overflow> {
        let Ok(len) = u16::try_from(packet.len()) else {
            return Ok(false);
        };
        let after = self.buffer.len() + 2 + packet.len();
        if urgency == Urgency::Picture && after > PICTURES_MAX {
            return Ok(false);
        }
        if after > QUEUE_MAX {
            return Err(Overflow);
        }
        self.buffer.extend_from_slice(&len.to_be_bytes());
        self.buffer.extend_from_slice(packet);
        Ok(true)
    }

    /// What is to be written next.
    pub fn pending(&self) -> &[u8] {
        &self.buffer
    }

    /// So many bytes of it were written.
    pub fn wrote(&mut self, bytes: usize) {
        self.buffer.advance(bytes.min(self.buffer.len()));
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
            while !writer.pending().is_empty() {
                let piece = &writer.pending()[..cut.min(writer.pending().len())];
                reader.push(piece);
                let len = piece.len();
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

    #[test]
    fn for_a_peer_that_does_not_read_pictures_go_first_and_then_the_connection() {
        let mut writer = Writer::default();
        let packet = [1; 1_000];
        while writer.push(&packet, Urgency::Picture).unwrap() {}
        let pictures = writer.pending().len();
        assert!(pictures <= PICTURES_MAX && pictures > PICTURES_MAX - 1_100);
        let mut sound = 0;
        while writer.push(&[2; 160], Urgency::Other).is_ok() {
            sound += 1;
        }
        // Sound of eight seconds, in packets of 20 ms.
        assert!(sound >= 400, "{sound}");
        assert!(writer.pending().len() <= QUEUE_MAX);
        writer.wrote(100_000);
        assert_eq!(writer.push(&packet, Urgency::Picture), Ok(true));
    }
}
