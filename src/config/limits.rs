//! `[limits]`: how much peers may take.

use std::num::NonZeroU32;

use serde::Deserialize;

/// `[limits]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Most legs of all rooms together.
    pub legs: NonZeroU32,
    /// Most legs of one room.
    pub legs_per_room: NonZeroU32,
    /// Processors that calls may take.
    pub processors: Option<Processors>,
    /// Most calls of one source at a time whose callers proved no account.
    pub calls_per_source: NonZeroU32,
    /// Most calls that such callers begin in a second from one source.
    pub new_calls_per_source_per_s: NonZeroU32,
    /// The same from all sources together.
    pub new_calls_per_s: NonZeroU32,
    /// Most requests of the HTTP interface in a minute by one session or token.
    pub requests_per_session_per_min: NonZeroU32,
    /// The same by one source that proves nothing.
    pub requests_per_source_per_min: NonZeroU32,
}

/// `processors`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "f64")]
pub struct Processors(pub f32);

impl TryFrom<f64> for Processors {
    type Error = &'static str;

    fn try_from(processors: f64) -> Result<Self, Self::Error> {
        match (0.1..=1_024.0).contains(&processors) {
            true => Ok(Self(processors as f32)),
            false => Err("must be from 0.1 to 1024"),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let number = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        Self {
            legs: number(256),
            legs_per_room: number(32),
            processors: None,
            calls_per_source: number(100),
            new_calls_per_source_per_s: number(50),
            new_calls_per_s: number(100),
            requests_per_session_per_min: number(3_000),
            requests_per_source_per_min: number(6_000),
        }
    }
}

impl Limits {
    /// Those of strangers' calls.
    pub fn strangers(&self) -> mcu_control::StrangerLimits {
        mcu_control::StrangerLimits {
            calls_per_source: self.calls_per_source.get() as usize,
            new_calls_per_source_per_s: self.new_calls_per_source_per_s.get(),
            new_calls_per_s: self.new_calls_per_s.get(),
        }
    }

    /// Those of the HTTP interface.
    pub fn requests(&self) -> manager_ui_server::Allowed {
        manager_ui_server::Allowed {
            per_session: self.requests_per_session_per_min,
            per_source: self.requests_per_source_per_min,
        }
    }
}
