//! Messages as RFC 5424 has them, in the frames of RFC 5425.

use serde_json::json;

use crate::audit::{Entry, atna};

/// Facility 13, log audit; severity 5, notice (RFC 5424 §6.2.1).
const PRIORITY: u8 = 13 * 8 + 5;
const APP_NAME: &str = "consilium";

/// A line of the file of checkpoints as it is, so that what the log host keeps can be checked as the
/// file itself.
pub(super) fn checkpoint(host: &str, at_ms: i64, line: &str) -> Vec<u8> {
    frame(host, at_ms, "checkpoint", line)
}

/// An entry by its number, its time, what was done to what kind of thing, and its hash: not by whom, to
/// whom or from where. The hash binds all of that, so that a changed entry shows.
pub(super) fn entry(host: &str, entry: &Entry) -> Vec<u8> {
    let told = json!({
        "seq": entry.seq,
        "action": entry.action,
        "object_kind": entry.object_kind,
        "hash": entry.hash,
    });
    frame(host, entry.at_ms, "entry", &told.to_string())
}

/// An entry with all that it holds, as audit record repositories take it.
pub(super) fn full_entry(host: &str, entry: &Entry) -> Vec<u8> {
    counted(&atna_line(host, entry))
}

/// An entry as a message of syslog for an audit record repository (DICOM PS3.15 §A.6; IHE ITI TF-2 §3.20):
/// facility 10, security, severity 5, notice, or 4, warning, where something failed.
pub(crate) fn atna_line(host: &str, entry: &Entry) -> String {
    let priority = 10 * 8 + if entry.action == "login_failed" { 4 } else { 5 };
    let time = timestamp(entry.at_ms);
    let text = atna::message(host, &time, entry);
    // RFC 5424 §6.4: the mark says that it is UTF-8.
    line(
        priority,
        &time,
        host,
        "DICOM+RFC3881",
        &format!("\u{feff}{text}"),
    )
}

fn frame(host: &str, at_ms: i64, id: &str, text: &str) -> Vec<u8> {
    counted(&line(PRIORITY, &timestamp(at_ms), host, id, text))
}

/// A message without structured data (RFC 5424 §6).
fn line(priority: u8, time: &str, host: &str, id: &str, text: &str) -> String {
    let pid = std::process::id();
    format!("<{priority}>1 {time} {host} {APP_NAME} {pid} {id} - {text}")
}

/// `MSG-LEN SP SYSLOG-MSG` (RFC 5425 §4.3).
fn counted(message: &str) -> Vec<u8> {
    format!("{} {message}", message.len()).into_bytes()
}

/// This machine's name as a message may have it (RFC 5424 §6.2.4).
pub(crate) fn host() -> String {
    let name = nix::unistd::gethostname().ok();
    let name = name.and_then(|name| name.into_string().ok());
    let fits = |name: &String| {
        (1..=255).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
    };
    name.filter(fits).unwrap_or_else(|| "-".into())
}

/// RFC 3339 in UTC, to the millisecond.
fn timestamp(at_ms: i64) -> String {
    let (seconds, ms) = (at_ms.div_euclid(1000), at_ms.rem_euclid(1000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Year, month and day of the Gregorian calendar, so many days after 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    // Years that begin in March end with the day that some lack: each has one rule for its months.
    let from_march_0 = days + 719_468;
    let era = from_march_0.div_euclid(146_097);
    let day_of_era = from_march_0.rem_euclid(146_097);
    let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        // As `date -u -d @… +%FT%TZ` tells them.
        for (seconds, told) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_210_096, "2024-02-29T12:34:56.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(timestamp(seconds * 1000), told);
        }
        assert_eq!(timestamp(1_709_210_096_007), "2024-02-29T12:34:56.007Z");
    }

    #[test]
    fn a_frame_has_its_length_before_it_and_a_checkpoint_as_it_is() {
        let line = "7 1700000000000 abc c2lnbmF0dXJl";
        let frame = String::from_utf8(checkpoint("mcu", 1_700_000_000_000, line)).unwrap();
        let (len, message) = frame.split_once(' ').unwrap();
        assert_eq!(len.parse(), Ok(message.len()));
        let pid = std::process::id();
        let head = format!("<109>1 2023-11-14T22:13:20.000Z mcu consilium {pid} checkpoint - ");
        assert_eq!(message.strip_prefix(&head), Some(line));
    }

    #[test]
    fn an_entry_tells_nobodys_name_address_or_id() {
        let text = |value: &str| Some(value.to_owned());
        let told = Entry {
            seq: 9,
            at_ms: 0,
            actor: text("id-of-somebody"),
            actor_name: "li.chun".into(),
            source: text("192.0.2.7"),
            action: "change".into(),
            object_kind: "person".into(),
            object: text("id-of-another"),
            organisation: text("id-of-a-hospital"),
            before: text("{\"name\":\"李春\"}"),
            after: text("{\"name\":\"张伟\"}"),
            hash: "ab".repeat(32),
        };
        let frame = String::from_utf8(entry("mcu", &told)).unwrap();
        for word in ["id-of", "li.chun", "192.0.2.7", "李春", "张伟"] {
            assert!(!frame.contains(word), "{word}: {frame}");
        }
        assert!(frame.contains(&told.hash) && frame.contains("\"seq\":9"));
    }
}
