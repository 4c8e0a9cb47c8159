//! What a controller remembers over its own death: names, tokens and kinds of the legs, and what was
//! described in the calls of terminals, keys included. What legs really send and receive is learnt from
//! the media processor's inventory.

use std::time::Instant;

use mcu_api::ids::{CallId, InstanceId, LegId, RoomId};
use mcu_api::manager::Pass;
use mcu_api::secret::Redacted;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::arrangement::Pins;
use super::exchange::Exchange;
use super::pin::{Source, Waiting};
use super::quarantine::Quarantine;
use super::room::{OwnView, Silenced};

/// Everything that is kept, as one JSON document.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The media processor that held the rooms.
    pub instance: Option<InstanceId>,
    /// Id of the next room.
    pub next_room: u64,
    /// Id of the next leg.
    pub next_leg: u64,
    /// Rooms that exist.
    pub rooms: Vec<SavedRoom>,
    /// Port pairs that are kept back after their last call.
    pub resting: Vec<SavedRest>,
    /// Who is refused, since the media process died of what it sent.
    pub quarantine: Quarantine,
}

/// A port pair at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRest {
    /// Its RTP port.
    pub port: u16,
    /// Seconds since 1970 at which the rest ends.
    pub until_unix_s: u64,
}

/// One room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedRoom {
    /// Its id.
    pub room: RoomId,
    /// Number that is dialled.
    pub number: String,
    /// Legs, oldest first.
    pub legs: Vec<SavedLeg>,
    /// Sites that an operator set into a cell.
    #[serde(default)]
    pub pins: Pins,
}

/// One leg.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedLeg {
    /// Its id.
    pub leg: LegId,
    /// Name to show.
    pub name: Redacted<String>,
    /// Seconds since 1970 at which it entered.
    pub joined_unix_s: u64,
    /// It cannot be heard.
    pub audio_muted: bool,
    /// It cannot be seen.
    pub video_muted: bool,
    /// What an operator has it not do.
    #[serde(default)]
    pub silenced: Silenced,
    /// It has not entered the room's PIN yet.
    #[serde(default)]
    pub waiting: Option<SavedWaiting>,
    /// Where it came from.
    #[serde(default)]
    pub source: Option<Source>,
    /// We called it.
    #[serde(default)]
    pub dialled: bool,
    /// What it is to see, where that is not what the room says.
    #[serde(default)]
    pub own_view: OwnView,
    /// What is particular to its kind.
    pub kind: SavedKind,
}

/// Somebody before the door.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedWaiting {
    guest: bool,
    source: Source,
    wrong: u8,
    /// It has no try left.
    #[serde(default)]
    refused: bool,
}

/// What is particular to a kind of leg.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SavedKind {
    /// A SIP terminal.
    Sip {
        /// RTP ports of its pairs.
        #[serde(default)]
        ports: Vec<u16>,
        /// Its call was established. An earlier version kept no others.
        #[serde(default = "established")]
        confirmed: bool,
        /// Its call. Without one the leg lives on as long as its media.
        #[serde(
            default,
            deserialize_with = "if_readable",
            skip_serializing_if = "Option::is_none"
        )]
        call: Option<Box<SavedSipCall>>,
    },
    /// A browser.
    Browser {
        /// Token to resume with.
        token: Redacted<String>,
        /// Which site each slot shows.
        slots: Vec<Option<LegId>>,
        /// By what it is in.
        #[serde(default)]
        pass: Option<Pass>,
        /// Its sound comes as it is.
        #[serde(default)]
        original_sound: bool,
    },
}

/// A terminal's call and what was described in it. The dialog itself is kept by the endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedSipCall {
    /// Its id at the endpoint.
    pub call: CallId,
    /// Offers and answers.
    pub exchange: Redacted<Exchange>,
}

impl State {
    /// Moves all moments with a calendar that was set forward by so many seconds, or back.
    pub fn shift_calendar(&mut self, step_s: i64) {
        self.quarantine.shift_calendar(step_s);
        let legs = self.rooms.iter_mut().flat_map(|room| &mut room.legs);
        let joined = legs.map(|leg| &mut leg.joined_unix_s);
        let rested = self.resting.iter_mut().map(|rest| &mut rest.until_unix_s);
        for unix_s in joined.chain(rested) {
            *unix_s = unix_s.saturating_add_signed(step_s);
        }
    }

    /// Calls of all legs.
    pub fn calls(&self) -> impl Iterator<Item = CallId> + '_ {
        let legs = self.rooms.iter().flat_map(|room| &room.legs);
        legs.filter_map(SavedLeg::call)
    }

    /// This call was established before its leg was taken up.
    pub fn confirm(&mut self, established: CallId) {
        for leg in self.rooms.iter_mut().flat_map(|room| &mut room.legs) {
            let is_its = leg.call() == Some(established);
            if let SavedKind::Sip { confirmed, .. } = &mut leg.kind {
                *confirmed |= is_its;
            }
        }
    }

    /// Forgets the calls: their legs live on as long as their media.
    pub fn lose_calls(&mut self) {
        for leg in self.rooms.iter_mut().flat_map(|room| &mut room.legs) {
            if let SavedKind::Sip { call, .. } = &mut leg.kind {
                *call = None;
            }
        }
    }

    /// Forgets the legs of calls that have ended since this was kept.
    pub fn retain_calls(&mut self, goes_on: impl Fn(CallId) -> bool) {
        for room in &mut self.rooms {
            room.legs.retain(|leg| leg.call().is_none_or(&goes_on));
        }
    }
}

impl SavedWaiting {
    /// What the next life of the controller needs.
    pub fn new(waiting: &Waiting) -> Self {
        Self {
            guest: waiting.guest,
            source: waiting.source.clone(),
            wrong: waiting.wrong,
            refused: waiting.is_refused(),
        }
    }

    /// It types its PIN anew.
    pub fn restore(self, now: Instant) -> Waiting {
        Waiting::again(self.guest, self.source, self.wrong, self.refused, now)
    }
}

impl SavedLeg {
    fn call(&self) -> Option<CallId> {
        match &self.kind {
            SavedKind::Sip { call, .. } => call.as_ref().map(|call| call.call),
            SavedKind::Browser { .. } => None,
        }
    }
}

fn established() -> bool {
    true
}

/// Reads a part that another version may have written in another way: it counts as missing then, and
/// the rest of the file is taken up.
pub(crate) fn if_readable<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}
