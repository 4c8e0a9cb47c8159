//! How often an encoder makes key frames on request.

use super::TICKS;

/// Ticks between two key frames of one class on request.
const KEY_FRAME_PAUSE: u32 = TICKS / 2;
/// Key frames that may follow each other at once after a pause: a receiver that made nothing of the
/// first one, as when a new process begins another stream, does not wait for the second.
const KEY_FRAME_BURST: u32 = 2;

/// Ticks that pay for key frames.
pub struct KeyCredit(u32);

impl Default for KeyCredit {
    fn default() -> Self {
        Self(KEY_FRAME_BURST * KEY_FRAME_PAUSE)
    }
}

impl KeyCredit {
    /// So many ticks passed.
    pub fn earn(&mut self, ticks: u32) {
        self.0 = (self.0 + ticks).min(KEY_FRAME_BURST * KEY_FRAME_PAUSE);
    }

    /// Whether there is enough for one.
    pub fn suffices(&self) -> bool {
        self.0 >= KEY_FRAME_PAUSE
    }

    /// One was made, asked for or not.
    pub fn spend(&mut self) {
        self.0 = self.0.saturating_sub(KEY_FRAME_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Defect: a terminal that could not use the first picture of a new media process saw nothing for
    /// half a second more.
    #[test]
    fn a_second_key_frame_follows_the_first_at_once_and_a_third_does_not() {
        let mut keys = KeyCredit::default();
        for _ in 0..2 {
            assert!(keys.suffices());
            keys.spend();
        }
        keys.earn(KEY_FRAME_PAUSE - 1);
        assert!(!keys.suffices());
        keys.earn(1);
        assert!(keys.suffices());
        keys.earn(1_000 * KEY_FRAME_PAUSE);
        for _ in 0..2 {
            keys.spend();
        }
        assert!(!keys.suffices(), "a long pause pays for no more");
    }
}
