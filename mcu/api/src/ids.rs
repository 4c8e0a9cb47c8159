//! Identifiers. Each is a newtype, so that a leg can never be taken for a room.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A room: a meeting that exists now. Never reused by one controller's ledger.
    RoomId
);
id!(
    /// One endpoint's attachment to a room. Unique over all rooms.
    LegId
);
id!(
    /// One signalling connection of a browser, as numbered by the manager.
    ConnId
);
id!(
    /// One call of a signalling core (SIP or H.323), as numbered by that core.
    CallId
);
impl CallId {
    /// Calls that the rooms make have numbers of their choice from here on; a signalling core numbers
    /// those that come to it below.
    pub const FIRST_DIALLED: Self = Self(1 << 62);
}

id!(
    /// One life of a media process: drawn at random when it starts, so that a controller notices
    /// that the process it talks to is not the one that it sent its plans to.
    InstanceId
);
