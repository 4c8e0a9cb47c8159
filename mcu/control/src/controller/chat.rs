//! What people in a room write to each other. It is kept as long as the meeting, in memory alone.

use std::collections::VecDeque;
use std::time::Instant;

use mcu_api::ids::LegId;
use mcu_api::manager::{ChatLine, Refusal, ServerMessage};
use mcu_api::secret::Redacted;

use super::room::{Conn, Room};
use super::{Controller, leg_of_conn};

/// Longest line, in characters.
const MAX_CHARS: usize = 2_000;
/// Lines that a room keeps; the oldest is forgotten.
const MAX_LINES: usize = 200;
/// Lines that one page may write at once, and then in a second.
const BURST: f64 = 8.0;
const RATE_PER_S: f64 = 0.5;

/// What was written in one meeting.
#[derive(Debug, Default)]
pub struct Chat {
    /// Oldest first; at most [`MAX_LINES`].
    lines: VecDeque<ChatLine>,
    last: u64,
}

/// What one page has written and may read.
#[derive(Clone, Copy, Debug)]
pub struct Writer {
    /// The first line that it may read: what was written before it came is not for it.
    from: u64,
    /// Lines that it may write, and when that was counted.
    left: f64,
    at: Option<Instant>,
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            from: 0,
            left: BURST,
            at: None,
        }
    }
}

impl Writer {
    fn spend(&mut self, now: Instant) -> bool {
        let earned = self.at.map_or(0.0, |at| {
            now.saturating_duration_since(at).as_secs_f64() * RATE_PER_S
        });
        self.left = (self.left + earned).min(BURST);
        self.at = Some(now);
        let may = self.left >= 1.0;
        if may {
            self.left -= 1.0;
        }
        may
    }
}

impl Chat {
    /// Who comes now reads what is written from now on.
    pub fn newcomer(&self) -> Writer {
        Writer {
            from: self.last + 1,
            ..Writer::default()
        }
    }

    /// What this page may read, oldest first.
    fn since(&self, writer: &Writer) -> Vec<ChatLine> {
        let lines = self.lines.iter().filter(|line| line.id >= writer.from);
        lines.cloned().collect()
    }

    fn add(&mut self, unix_ms: u64, leg: LegId, name: Redacted<String>, text: String) -> ChatLine {
        self.last = unix_ms.max(self.last + 1);
        let line = ChatLine {
            id: self.last,
            leg,
            name,
            text: Redacted(text),
        };
        if self.lines.len() >= MAX_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line.clone());
        line
    }
}

impl Controller {
    /// A page wrote something: everybody in the meeting is told, itself too.
    pub(super) fn chat(&mut self, conn: Conn, text: &str) -> Result<(), Refusal> {
        let (now, unix_ms) = (self.now, self.unix_s().saturating_mul(1_000));
        let (room, leg) = leg_of_conn(&mut self.rooms, conn).ok_or(Refusal::BadRequest)?;
        let (id, name, is_in) = (leg.id, leg.name.clone(), leg.is_in());
        let browser = leg.browser_mut().ok_or(Refusal::BadRequest)?;
        let text = readable(text).filter(|_| is_in && browser.writer.spend(now));
        let room = self.rooms.iter_mut().find(|r| r.id == room);
        let (Some(text), Some(room)) = (text, room) else {
            self.tell(conn, ServerMessage::ChatRefused);
            return Ok(());
        };
        let line = room.chat.add(unix_ms, id, name, text);
        for conn in readers(room) {
            let lines = vec![line.clone()];
            self.tell(conn, ServerMessage::Chat { lines });
        }
        Ok(())
    }

    /// What was written since this page first came, after it came back.
    pub(super) fn chat_so_far(&mut self, conn: Conn) {
        let room = self.rooms.iter().find_map(|room| {
            let mut pages = room.legs.iter().filter_map(|leg| leg.browser());
            let page = pages.find(|page| page.conn == Some(conn))?;
            Some(room.chat.since(&page.writer))
        });
        if let Some(lines) = room.filter(|lines| !lines.is_empty()) {
            self.tell_once_open(conn, ServerMessage::Chat { lines });
        }
    }
}

fn readers(room: &Room) -> Vec<Conn> {
    let pages = room.present().filter_map(|leg| leg.browser()?.conn);
    pages.collect()
}

/// The text as others read it; `None` where there is nothing to read or too much.
fn readable(text: &str) -> Option<String> {
    // A character has four bytes at most: what is longer is not looked at.
    if text.len() > 4 * MAX_CHARS || text.chars().count() > MAX_CHARS {
        return None;
    }
    let visible: String = text
        .chars()
        .filter(|c| *c == '\n' || !(c.is_control() || reorders(*c)))
        .collect();
    let text = visible.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Whether a character has text run another way than it is written (Unicode UAX #9 §2), by which a
/// name or a link could show as another one, or ends a line.
pub fn reorders(c: char) -> bool {
    matches!(
        c,
        '\u{061C}'
            | '\u{200E}'
            | '\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2066}'..='\u{2069}'
            | '\u{FEFF}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_or_reorders_text_is_left_out() {
        assert_eq!(readable(" a\u{202e}b\u{0}\r\nc\u{2066} ").unwrap(), "ab\nc");
        assert_eq!(readable("心音 👩‍⚕️").unwrap(), "心音 👩‍⚕️");
        for nothing in ["", " \n ", "\u{200f}\u{7}"] {
            assert_eq!(readable(nothing), None, "{nothing:?}");
        }
        assert!(readable(&"病".repeat(MAX_CHARS)).is_some());
        assert_eq!(readable(&"病".repeat(MAX_CHARS + 1)), None);
    }
}
