//! When something was written: by the calendar, which may be set, and by a clock that nobody sets.

use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A moment of the writing of a file.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Written {
    /// Milliseconds since 1970.
    pub unix_ms: u64,
    /// Since the machine was started. Earlier versions kept none.
    pub uptime: Option<Uptime>,
}

/// How long a machine has run, sleep included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Uptime {
    /// Which run of the machine that is.
    pub boot: String,
    /// Milliseconds.
    pub ms: u64,
}

impl Written {
    /// Now.
    pub fn now() -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            unix_ms: since_1970.map_or(0, ms),
            uptime: uptime(),
        }
    }

    /// How long it was from here to `now`, and by how many seconds the calendar was set forward
    /// meanwhile. Over a start of the machine only the calendar tells, unless that was set back.
    pub fn until(&self, now: &Self) -> (Duration, i64) {
        let calendar_ms = i128::from(now.unix_ms) - i128::from(self.unix_ms);
        let passed_ms = match (&self.uptime, &now.uptime) {
            (Some(then), Some(now)) if then.boot == now.boot => now.ms.saturating_sub(then.ms),
            _ => u64::try_from(calendar_ms).unwrap_or(0),
        };
        let step_s = (calendar_ms - i128::from(passed_ms)) / 1000;
        let step_s = step_s.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        (Duration::from_millis(passed_ms), step_s)
    }
}

fn uptime() -> Option<Uptime> {
    let since_boot = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(Uptime {
        boot: boot.trim().to_owned(),
        ms: ms(since_boot.into()),
    })
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(unix_s: u64, boot: &str, uptime_s: u64) -> Written {
        Written {
            unix_ms: unix_s * 1000,
            uptime: Some(Uptime {
                boot: boot.into(),
                ms: uptime_s * 1000,
            }),
        }
    }

    /// Defect: a calendar that was set forward by an hour while the controller died ended all calls,
    /// since their session timers seemed to have run out.
    #[test]
    fn time_passes_by_the_clock_that_nobody_sets() {
        let then = at(1_000_000, "a", 500);
        for (now, passed_s, step_s) in [
            (at(1_000_003, "a", 503), 3, 0),
            (at(1_003_603, "a", 503), 3, 3_600),
            (at(996_403, "a", 503), 3, -3_600),
            (at(0, "a", 503), 3, -1_000_003),
            // The machine was started in between.
            (at(1_000_060, "b", 20), 60, 0),
            (at(999_000, "b", 20), 0, -1_000),
        ] {
            let (passed, step) = then.until(&now);
            assert_eq!((passed.as_secs(), step), (passed_s, step_s), "{now:?}");
        }
    }

    /// Files of versions that kept the calendar alone.
    #[test]
    fn without_an_uptime_the_calendar_tells() {
        let then: Written = serde_json::from_str(r#"{"unix_ms":1000000}"#).unwrap();
        let (passed, step) = then.until(&at(1_060, "a", 5));
        assert_eq!((passed, step), (Duration::from_secs(60), 0));
    }

    #[test]
    fn this_machine_tells_both() {
        let then = Written::now();
        assert!(then.unix_ms > 1_700_000_000_000 && then.uptime.is_some());
        let (passed, step) = then.until(&Written::now());
        assert!(passed < Duration::from_secs(60) && step == 0);
    }
}
