//! Everything that one Consilium process says to another, as plain data.
//!
//! A multipoint controller (MC, crate `mcu-control`) decides; multipoint processors (MP, crate
//! `mcu-media`) move and mix media. The MC sends each MP the whole desired state of a room, a
//! [`plan::RoomPlan`] with a generation number; the MP reconciles and answers with an
//! [`inventory::Inventory`] of what it really holds. The manager (`manager-ui-server`) reaches the MC
//! with [`manager::ToControl`] messages. All of them travel in the frames of [`frame`].

pub mod call;
pub mod capacity;
pub mod codec;
pub mod directory;
pub mod figures;
pub mod frame;
pub mod ids;
pub mod inventory;
pub mod layout;
pub mod manager;
pub mod media;
pub mod plan;
pub mod quality;
pub mod reach;
pub mod secret;
pub mod still;
