//! The small picture of a room, for those who look after meetings.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A JPEG file of what a room shows. It may show a patient, so that it prints itself as its length.
#[derive(Clone, PartialEq, Eq)]
pub struct Still(Vec<u8>);

impl Still {
    /// Longest file, in bytes: many times what a picture of this size needs.
    pub const MAX_BYTES: usize = 64 << 10;

    /// `None` for a file that is too long.
    pub fn new(jpeg: Vec<u8>) -> Option<Self> {
        (jpeg.len() <= Self::MAX_BYTES).then_some(Self(jpeg))
    }

    /// The file.
    pub fn into_jpeg(self) -> Vec<u8> {
        self.0
    }
}

impl fmt::Debug for Still {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

/// A list of numbers, as bytes are written otherwise, would be three times as long.
impl Serialize for Still {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Still {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let jpeg = STANDARD.decode(text).map_err(de::Error::custom)?;
        Self::new(jpeg).ok_or_else(|| de::Error::custom("a still that is too long"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_still_comes_over_whole_within_its_bound_and_is_not_printed() {
        let bytes: Vec<u8> = (0..=255).collect();
        let still = Still::new(bytes.clone()).unwrap();
        assert_eq!(format!("{still:?}"), "[256 bytes]");
        let told = serde_json::to_string(&still).unwrap();
        let heard: Still = serde_json::from_str(&told).unwrap();
        assert_eq!(heard.into_jpeg(), bytes);
        assert_eq!(Still::new(vec![0; Still::MAX_BYTES + 1]), None);
        let long = format!("\"{}\"", STANDARD.encode(vec![0; Still::MAX_BYTES + 1]));
        assert!(serde_json::from_str::<Still>(&long).is_err());
    }
}
