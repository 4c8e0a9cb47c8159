//! Bits of a frame, most significant first.

/// Writes a frame of so many bits.
pub struct Writer {
    bytes: Vec<u8>,
    filled: usize,
    size: usize,
}

impl Writer {
    /// Nothing written of `size` bits.
    pub fn new(size: usize) -> Self {
        Self {
            bytes: vec![0; size / 8],
            filled: 0,
            size,
        }
    }

    /// Bits that have room.
    pub fn left(&self) -> usize {
        self.size - self.filled
    }

    /// Writes the low `length` bits; what has no room is left out.
    pub fn put(&mut self, value: u32, length: usize) {
        for at in (0..length).rev() {
            if self.filled == self.size {
                return;
            }
            let bit = (value >> at & 1) as u8;
            self.bytes[self.filled / 8] |= bit << (7 - self.filled % 8);
            self.filled += 1;
        }
    }

    /// Fills the rest with ones and appends the frame.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        while self.left() > 0 {
            self.put(u32::MAX, self.left().min(32));
        }
        out.extend_from_slice(&self.bytes);
    }
}

/// Reads a frame.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// From the first bit on.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bits that are left.
    pub fn left(&self) -> usize {
        self.bytes.len() * 8 - self.at
    }

    /// The next bit; `None` at the end.
    pub fn bit(&mut self) -> Option<usize> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit.into())
    }

    /// The next `length` bits, at most 32; `None` if there are fewer, none of which is taken then.
    pub fn take(&mut self, length: usize) -> Option<u32> {
        if self.left() < length {
            return None;
        }
        (0..length).try_fold(0, |value, _| Some(value << 1 | self.bit()? as u32))
    }

    /// Whether the rest is filling.
    pub fn only_ones_are_left(mut self) -> bool {
        std::iter::from_fn(|| self.bit()).all(|bit| bit == 1)
    }
}

/// A prefix code, to be read bit by bit.
pub struct Tree {
    /// For each node what follows a 0 and a 1: a node, or the complement of a symbol.
    nodes: Vec<[i32; 2]>,
}

impl Tree {
    /// The tree of codes in the low bits of `codes`. Some symbols share one: the first is read.
    pub fn new(codes: &[u16], lengths: &[u8]) -> Self {
        let mut nodes = vec![[0; 2]];
        for (symbol, (code, length)) in codes.iter().zip(lengths).enumerate() {
            let mut node = 0;
            for at in (1..*length).rev() {
                let bit = usize::from(code >> at & 1);
                if nodes[node][bit] == 0 {
                    nodes[node][bit] = nodes.len() as i32;
                    nodes.push([0; 2]);
                }
                node = nodes[node][bit].max(0) as usize;
            }
            let last = &mut nodes[node][usize::from(code & 1)];
            if *last == 0 {
                *last = !(symbol as i32);
            }
        }
        Self { nodes }
    }

    /// The next symbol; `None` where the bits end before it does.
    pub fn read(&self, reader: &mut Reader<'_>) -> Option<usize> {
        let mut node = 0;
        loop {
            match self.nodes.get(node)?[reader.bit()?] {
                symbol @ ..=-1 => return usize::try_from(!symbol).ok(),
                next => node = next as usize,
            }
        }
    }
}
