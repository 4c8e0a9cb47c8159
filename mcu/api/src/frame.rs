//! Length-prefixed, versioned frames for byte streams between processes.
//!
//! A frame is a 6-byte header (`u32` length of the body, `u16` protocol version, both big-endian) and
//! a JSON body: rare, small, and readable by a newer or older neighbour during an upgrade. No I/O here.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Version of all messages in this crate. Fields may be added within a version.
pub const VERSION: u16 = 1;

/// Largest body accepted: far above the largest room and above the largest directory, far below what would
/// hurt.
pub const MAX_BODY_LEN: usize = 8 << 20;

const HEADER_LEN: usize = 6;

/// Why a stream of frames cannot be read on. The connection is to be closed.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The peer speaks another version.
    #[error("peer speaks version {0}, expected {VERSION}")]
    Version(u16),
    /// The length is over [`MAX_BODY_LEN`].
    #[error("frame of {0} bytes, at most {MAX_BODY_LEN} expected")]
    TooLong(usize),
    /// The body is not the message that was expected.
    #[error("frame body: {0}")]
    Body(#[from] serde_json::Error),
}

/// One message as a frame.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; HEADER_LEN];
    serde_json::to_writer(&mut frame, message)?;
    let len = frame.len() - HEADER_LEN;
    if len > MAX_BODY_LEN {
        return Err(FrameError::TooLong(len));
    }
    frame[..4].copy_from_slice(&(len as u32).to_be_bytes());
    frame[4..6].copy_from_slice(&VERSION.to_be_bytes());
    Ok(frame)
}

/// Cuts a byte stream into messages. Holds at most one unfinished frame and what came with it.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// Adds bytes as they were read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Next whole message; `None` when more bytes are needed.
    pub fn next_message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let Some(header) = self.buffer.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let version = u16::from_be_bytes([header[4], header[5]]);
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        if len > MAX_BODY_LEN {
            return Err(FrameError::TooLong(len));
        }
        let Some(body) = self.buffer.get(HEADER_LEN..HEADER_LEN + len) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(body)?;
        self.buffer.drain(..HEADER_LEN + len);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{LegId, RoomId};
    use crate::media::ToMedia;

    fn message() -> ToMedia {
        ToMedia::KeyFrame {
            room: RoomId(1),
            leg: LegId(2),
            to_leg: true,
        }
    }

    #[test]
    fn frames_survive_any_cut() {
        let frame = encode(&message()).unwrap();
        let stream = [frame.clone(), frame].concat();
        for cut in 0..stream.len() {
            let mut decoder = Decoder::default();
            let mut got = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                decoder.push(part);
                while let Some(m) = decoder.next_message::<ToMedia>().unwrap() {
                    got.push(m);
                }
            }
            assert_eq!(got, [message(), message()], "cut at {cut}");
        }
    }

    #[test]
    fn other_versions_giants_and_nonsense_are_refused() {
        let mut version = encode(&message()).unwrap();
        version[5] = 9;
        let mut giant = encode(&message()).unwrap();
        giant[0] = 0xff;
        let mut nonsense = encode(&message()).unwrap();
        nonsense[6] = b'!';
        let refusal = |bytes: &[u8]| {
            let mut decoder = Decoder::default();
            decoder.push(bytes);
            decoder.next_message::<ToMedia>().unwrap_err()
        };
        assert!(matches!(refusal(&version), FrameError::Version(9)));
        assert!(matches!(refusal(&giant), FrameError::TooLong(_)));
        assert!(matches!(refusal(&nonsense), FrameError::Body(_)));
    }
}
