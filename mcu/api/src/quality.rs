//! How good a leg's line is, by what people notice and by what telemedicine asks of it.

use serde::{Deserialize, Serialize};

use crate::inventory::{FlowStats, LegState};

/// How a leg's sound and pictures fare, by what people notice; the later, the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// Nothing flows yet, or again.
    #[default]
    Connecting,
    /// At most 1 % lost, 30 ms of jitter and 300 ms of round trip.
    Good,
    /// Worse than that.
    Fair,
    /// More than 5 % lost, 80 ms of jitter or 600 ms of round trip.
    Poor,
}

impl Quality {
    /// How what flows one way fares.
    pub fn of(state: LegState, flow: &FlowStats, round_trip_ms: Option<u32>) -> Self {
        let (loss, jitter) = (flow.loss_percent, flow.jitter_ms);
        let delay = round_trip_ms.unwrap_or(0);
        match state {
            LegState::Connecting | LegState::Failed => Self::Connecting,
            LegState::Connected if loss > 5.0 || jitter > 80.0 || delay > 600 => Self::Poor,
            LegState::Connected if loss > 1.0 || jitter > 30.0 || delay > 300 => Self::Fair,
            LegState::Connected => Self::Good,
        }
    }
}

/// A line is worse than what is asked of it for telemedicine (NET-02, NET-03, NET-04).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Warning {
    /// More than 50 ms one way, by half of the round trip.
    Delay,
    /// More than 20 ms of jitter.
    Jitter,
    /// More than 5 % lost.
    Loss,
}

impl Warning {
    /// What is to be warned of in what flows one way.
    pub fn of(flow: &FlowStats, round_trip_ms: Option<u32>) -> Vec<Self> {
        let all = [
            (Self::Delay, round_trip_ms.is_some_and(|ms| ms > 100)),
            (Self::Jitter, flow.jitter_ms > 20.0),
            (Self::Loss, flow.loss_percent > 5.0),
        ];
        let met = all.into_iter().filter(|(_, is_met)| *is_met);
        met.map(|(warning, _)| warning).collect()
    }
}
