//! Values that must not reach a log: keys, passwords, names of people.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A value whose `Debug` and `Display` show only that it is there. `0` is the value itself, read
/// where it is used and nowhere else.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Redacted<T>(pub T);

impl<T> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_debug_nor_display_shows_the_value() {
        let name = Redacted("李医生".to_string());
        assert_eq!(format!("{name:?} {name}"), "[redacted] [redacted]");
        assert_eq!(serde_json::to_string(&name).unwrap(), "\"李医生\"");
    }
}
