//! What a controller remembers over its own death: names, tokens and kinds of the legs. What the
//! legs send and receive is learnt from the media processor's inventory, so that no key is kept here.

use mcu_api::ids::{InstanceId, LegId, RoomId};
use mcu_api::secret::Redacted;
use serde::{Deserialize, Serialize};

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
    /// What is particular to its kind.
    pub kind: SavedKind,
}

/// What is particular to a kind of leg.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SavedKind {
    /// A SIP terminal. Its dialog is not kept: the leg lives on as long as its media.
    Sip {
        /// RTP ports of its pairs.
        #[serde(default)]
        ports: Vec<u16>,
    },
    /// A browser.
    Browser {
        /// Token to resume with.
        token: Redacted<String>,
        /// Which site each slot shows.
        slots: Vec<Option<LegId>>,
    },
}
