//! Telephone keys in RTP (RFC 4733): which packets of a stream of events are a key that was pressed.

/// Keys in the order of their event codes (RFC 4733 §3.2).
const KEYS: [char; 16] = [
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D',
];

/// Tells each key once, however many packets tell of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct TelephoneEvents {
    last: Option<Event>,
}

#[derive(Clone, Copy, Debug)]
struct Event {
    code: u8,
    timestamp: u32,
    /// In ticks of the stream's clock.
    duration: u16,
    ended: bool,
}

/// How far behind the last key a late packet may be, in ticks: 16 s at 8 kHz, 2.7 s at 48 kHz. What is
/// further behind comes from a clock that went round, or back.
const LATEST: i32 = 1 << 17;

impl TelephoneEvents {
    /// Takes the payload of a packet that was not seen before; the key comes back by the first packet
    /// of an event. All packets of an event have the time of its beginning (RFC 4733 §2.5.1.2), so
    /// that the first one may be lost and the three at the end are one. Malformed payloads and events
    /// that are no keys count for nothing.
    pub fn handle_packet(&mut self, marker: bool, timestamp: u32, payload: &[u8]) -> Option<char> {
        // RFC 4733 §2.3: event, end bit with reserved bit and volume, duration.
        let &[code, flags, high, low, ..] = payload else {
            return None;
        };
        let event = Event {
            code,
            timestamp,
            duration: u16::from_be_bytes([high, low]),
            ended: flags & 0x80 != 0,
        };
        if let Some(last) = &mut self.last {
            let age = timestamp.wrapping_sub(last.timestamp) as i32;
            if (-LATEST..0).contains(&age) {
                // A late packet of an event that was told before another one.
                return None;
            }
            if age == 0 {
                last.duration = last.duration.max(event.duration);
                last.ended |= event.ended;
                return None;
            }
            if !marker && event.goes_on_from(last) {
                *last = event;
                return None;
            }
        }
        self.last = Some(event);
        KEYS.get(usize::from(code)).copied()
    }
}

impl Event {
    /// A key that is held down for longer than the duration can say is told in segments, each of which
    /// begins where the last one stopped (RFC 4733 §2.5.1.3).
    fn goes_on_from(&self, last: &Self) -> bool {
        let end = last.timestamp.wrapping_add(last.duration.into());
        self.code == last.code && !last.ended && self.timestamp == end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A caller that pressed no key for 12 hours at 48 kHz was not understood for the next 12.
    #[test]
    fn keys_are_understood_after_hours_without_one() {
        let mut events = TelephoneEvents::default();
        let first = events.handle_packet(true, 1_000, &payload(1, false, 0));
        assert_eq!(first, Some('1'));
        let later = 1_000u32.wrapping_add((1 << 31) + 5);
        let second = events.handle_packet(true, later, &payload(2, false, 0));
        assert_eq!(second, Some('2'));
        let late = events.handle_packet(false, later.wrapping_sub(800), &payload(1, true, 0));
        assert_eq!(late, None);
    }

    fn payload(code: u8, ended: bool, duration: u16) -> [u8; 4] {
        let [high, low] = duration.to_be_bytes();
        [code, if ended { 0x8A } else { 0x0A }, high, low]
    }

    fn told(packets: &[(bool, u32, u8, bool, u16)]) -> String {
        let mut events = TelephoneEvents::default();
        packets
            .iter()
            .filter_map(|&(marker, timestamp, code, ended, duration)| {
                events.handle_packet(marker, timestamp, &payload(code, ended, duration))
            })
            .collect()
    }

    #[test]
    fn a_key_is_told_once_by_whichever_packet_of_it_comes_first() {
        let one = [
            (true, 1_000, 1, false, 160),
            (false, 1_000, 1, false, 320),
            (false, 1_000, 1, true, 480),
            (false, 1_000, 1, true, 480),
            (false, 1_000, 1, true, 480),
        ];
        for lost in 0..4 {
            assert_eq!(told(&one[lost..]), "1", "{lost} packets lost");
        }
        let again = [&one[..], &[(true, 2_000, 1, false, 160)]].concat();
        assert_eq!(told(&again), "11", "the same key pressed twice");
    }

    #[test]
    fn a_late_packet_of_the_key_before_is_no_key() {
        let packets = [
            (true, 1_000, 1, false, 160),
            (true, 2_000, 2, false, 160),
            (false, 1_000, 1, true, 480),
            (false, 2_000, 2, true, 480),
        ];
        assert_eq!(told(&packets), "12");
    }

    #[test]
    fn a_key_held_down_is_one_key_in_segments() {
        let second = 1_000 + 0xFFFF;
        let packets = [
            (true, 1_000, 5, false, 0xFFFF),
            (false, second, 5, false, 160),
            (false, second, 5, true, 320),
        ];
        assert_eq!(told(&packets), "5");
        // With a marker it is another key press.
        let packets = [
            (true, 1_000, 5, false, 0xFFFF),
            (true, second, 5, false, 160),
        ];
        assert_eq!(told(&packets), "55");
    }

    #[test]
    fn times_wrap_and_what_is_no_key_counts_for_nothing() {
        let packets = [
            (true, u32::MAX - 100, 11, true, 160),
            (true, 60, 10, true, 160),
            (true, 700, 16, true, 160),
            (true, 900, 255, true, 160),
        ];
        assert_eq!(told(&packets), "#*");
        assert_eq!(
            TelephoneEvents::default().handle_packet(true, 0, &[1, 2, 3]),
            None
        );
    }
}
