//! Messages between a controller and a media processor. The processor listens on a unix socket; the
//! controller connects, says hello and is answered with [`FromMedia::Hello`] and an inventory.

use serde::{Deserialize, Serialize};

use crate::ids::{InstanceId, LegId, RoomId};
use crate::inventory::Inventory;
use crate::plan::RoomPlan;
use crate::reach::MediaAddress;
use crate::still::Still;

/// Controller to processor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToMedia {
    /// First message of a connection.
    Hello {
        /// The controller knows [`FromMedia::Held`]; an older one does not.
        #[serde(default)]
        takes_held: bool,
        /// It knows [`MediaEvent::Still`]; an older one does not.
        #[serde(default)]
        takes_stills: bool,
    },
    /// Hold this room like this.
    Plan(RoomPlan),
    /// Hold this room no more.
    RemoveRoom {
        /// The room.
        room: RoomId,
    },
    /// Ask the leg for a key frame soon (its signalling asked us for one, or it was just admitted).
    KeyFrame {
        /// The room.
        room: RoomId,
        /// The leg whose encoder or camera is meant.
        leg: LegId,
        /// `true`: the leg wants one of us; `false`: we want one of the leg.
        to_leg: bool,
    },
}

/// Processor to controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromMedia {
    /// Answer to [`ToMedia::Hello`].
    Hello(ProcessorHello),
    /// Once after hello with the plans in force, then every second without.
    Inventory(Inventory),
    /// Plans have come and been carried out, but for legs that were refused before: ports are open. Only
    /// to controllers that take it.
    Held {
        /// Rooms, each with the generation that is in force.
        rooms: Vec<(RoomId, u64)>,
    },
    /// A plan was not taken.
    Refused {
        /// The room.
        room: RoomId,
        /// Generation of the refused plan.
        generation: u64,
        /// The leg at fault, where one is.
        leg: Option<LegId>,
        /// Why, in words.
        reason: String,
    },
    /// Something that should not wait for the next inventory.
    Event {
        /// The room.
        room: RoomId,
        /// What happened.
        event: MediaEvent,
    },
}

/// What a processor can offer. Ports of the range are the controller's to give out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessorHello {
    /// This life of the process.
    pub instance: InstanceId,
    /// Addresses that peers can reach, in order of preference.
    pub addresses: Vec<MediaAddress>,
    /// First port for RTP.
    pub port_low: u16,
    /// Last port for RTP.
    pub port_high: u16,
    /// The shared UDP port of all WebRTC legs.
    pub webrtc_port: u16,
    /// SHA-256 of the certificate that DTLS shows.
    pub fingerprint_sha256: [u8; 32],
    /// What earlier lives died of, as far as it came from a leg; the latest last.
    #[serde(default)]
    pub deaths: Vec<Death>,
    /// Codecs that it has beside G.711, G.722, Opus and H.264, which every one has, by the names that
    /// they have in plans. No plan names another.
    #[serde(default)]
    pub codecs: Vec<String>,
}

/// A process died of itself, by a fault or a panic, while it worked on what came from a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// The life that ended.
    pub instance: InstanceId,
    /// The room.
    pub room: RoomId,
    /// The leg that was in hand.
    pub leg: LegId,
    /// Nothing but the leg's port says that the leg's peer sent it.
    #[serde(default)]
    pub stranger: bool,
}

/// Urgent news about a room or one of its legs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum MediaEvent {
    /// First authentic media or a finished handshake.
    Connected {
        /// The leg.
        leg: LegId,
    },
    /// ICE consent or DTLS is gone.
    Failed {
        /// The leg.
        leg: LegId,
    },
    /// The leg's camera owes a key frame and the stream has no feedback for it: ask by signalling
    /// (RFC 5168).
    KeyFrameNeeded {
        /// The leg.
        leg: LegId,
    },
    /// Another leg is heard loudest now.
    ActiveSpeaker {
        /// The leg, or none when all are silent.
        leg: Option<LegId>,
    },
    /// A telephone key was pressed (RFC 4733).
    Dtmf {
        /// The leg.
        leg: LegId,
        /// `0`-`9`, `*`, `#`, `A`-`D`.
        key: char,
    },
    /// The room looks like this now. Only where the plan wants it, and to controllers that take it.
    Still {
        /// The picture; none where nobody is to be seen any more.
        still: Option<Still>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hello_is_read_by_older_and_newer_neighbours() {
        #[derive(Debug, PartialEq, Deserialize)]
        #[serde(tag = "type", rename_all = "snake_case")]
        enum Older {
            Hello,
        }
        let ours = ToMedia::Hello {
            takes_held: true,
            takes_stills: true,
        };
        let ours = serde_json::to_string(&ours).unwrap();
        assert_eq!(serde_json::from_str::<Older>(&ours).unwrap(), Older::Hello);
        let older = serde_json::from_str(r#"{"type":"hello"}"#).unwrap();
        let takes_nothing = ToMedia::Hello {
            takes_held: false,
            takes_stills: false,
        };
        assert_eq!(takes_nothing, older);
    }
}
