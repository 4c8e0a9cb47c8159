//! Redundant audio data, RFC 2198: each packet of sound carries copies of those before it, so that one
//! that is lost is had from the next, without asking and without waiting for an answer.

/// Copies in one packet, ours and a peer's.
pub const MAX_COPIES: usize = 4;
/// Offsets of time stamps have 14 bits, lengths ten.
const MAX_OFFSET: u32 = (1 << 14) - 1;
const MAX_LEN: usize = (1 << 10) - 1;

/// One block of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// What it is coded in.
    pub payload_type: u8,
    /// How much earlier than the packet's timestamp it begins, in ticks; 0 of the newest.
    pub offset: u32,
    /// Payload.
    pub payload: &'a [u8],
}

/// Reads a payload: its blocks, oldest first as they were sent, the new one last. Of more than
/// [`MAX_COPIES`] the oldest are passed over. `None` for what is torn: then none of it can be trusted.
pub fn parse(payload: &[u8]) -> Option<impl Iterator<Item = Block<'_>>> {
    let (mut heads, mut rest) = ([(0, 0, 0); MAX_COPIES], payload);
    let (mut count, mut skipped) = (0, 0);
    let newest = loop {
        let (first, after) = rest.split_first()?;
        if first & 0x80 == 0 {
            rest = after;
            break *first;
        }
        let (word, after) = rest.split_first_chunk::<4>()?;
        let word = u32::from_be_bytes(*word);
        let len = (word & MAX_LEN as u32) as usize;
        if count == MAX_COPIES {
            skipped += heads[0].2;
            heads.rotate_left(1);
            count -= 1;
        }
        heads[count] = ((word >> 24) as u8 & 0x7F, word >> 10 & MAX_OFFSET, len);
        count += 1;
        rest = after;
    };
    rest = rest.get(skipped..)?;
    let mut blocks = [None; MAX_COPIES + 1];
    for (block, (payload_type, offset, len)) in blocks.iter_mut().zip(&heads[..count]) {
        let (payload, after) = rest.split_at_checked(*len)?;
        *block = Some(Block {
            payload_type: *payload_type,
            offset: *offset,
            payload,
        });
        rest = after;
    }
    blocks[count] = Some(Block {
        payload_type: newest,
        offset: 0,
        payload: rest,
    });
    Some(blocks.into_iter().flatten())
}

/// Appends a payload to `out`: copies, oldest first, then what is new. Copies too old or too long for the
/// format are left out.
pub fn write<'a>(
    payload_type: u8,
    copies: impl Iterator<Item = (u32, &'a [u8])> + Clone,
    new: &[u8],
    out: &mut Vec<u8>,
) {
    let copies = copies.filter(|(offset, copy)| *offset <= MAX_OFFSET && copy.len() <= MAX_LEN);
    let copies = copies.take(MAX_COPIES);
    for (offset, copy) in copies.clone() {
        let word =
            1 << 31 | u32::from(payload_type & 0x7F) << 24 | offset << 10 | copy.len() as u32;
        out.extend_from_slice(&word.to_be_bytes());
    }
    out.push(payload_type & 0x7F);
    copies.for_each(|(_, copy)| out.extend_from_slice(copy));
    out.extend_from_slice(new);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(payload: &[u8]) -> Option<Vec<Block<'_>>> {
        parse(payload).map(Iterator::collect)
    }

    /// The packet of RFC 2198 §5's figure, in small: a copy of another codec before the new block.
    #[test]
    fn a_packet_reads_as_the_standard_draws_it() {
        // F, PT 7, offset 320, length 3; F 0, PT 5.
        let payload = [0x87, 0x05, 0x00, 0x03, 5, 1, 2, 3, 9, 9];
        let read = blocks(&payload).unwrap();
        let block = |payload_type, offset, payload| Block {
            payload_type,
            offset,
            payload,
        };
        assert_eq!(read, [block(7, 320, &[1, 2, 3][..]), block(5, 0, &[9, 9])]);
    }

    #[test]
    fn what_is_written_reads_back_and_what_is_torn_is_refused() {
        let copies = [(640, &b"older"[..]), (320, b"old")];
        let mut payload = Vec::new();
        write(107, copies.into_iter(), b"new", &mut payload);
        let read = blocks(&payload).unwrap();
        let read: Vec<_> = read.iter().map(|b| (b.offset, b.payload)).collect();
        assert_eq!(read, [(640, &b"older"[..]), (320, b"old"), (0, b"new")]);
        for len in 0..payload.len() - 3 {
            assert_eq!(blocks(&payload[..len]), None, "{len}");
        }
    }

    #[test]
    fn many_copies_are_passed_over_and_long_ones_left_out() {
        let mut payload = Vec::new();
        for n in 0..200u32 {
            payload.extend((1 << 31 | n << 10 | 1).to_be_bytes());
        }
        payload.push(3);
        payload.extend(0..200u8);
        payload.extend(b"new");
        let read = blocks(&payload).unwrap();
        let newest: Vec<_> = read.iter().map(|b| (b.offset, b.payload[0])).collect();
        let copies = [(196, 196), (197, 197), (198, 198), (199, 199)];
        assert_eq!(newest[..MAX_COPIES], copies);
        assert_eq!(read.len(), MAX_COPIES + 1);
        assert_eq!(read[MAX_COPIES].payload, b"new");
        let long = vec![0; 1_024];
        let mut out = Vec::new();
        write(
            0,
            [(20_000, &b"x"[..]), (160, &long)].into_iter(),
            b"n",
            &mut out,
        );
        assert_eq!(out, [0, b'n']);
    }
}
