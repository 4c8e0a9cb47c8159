//! Load and measurement: sources that can be recognised wherever they arrive, a generator of many
//! SIP legs at next to no cost, and what the benches print.
//!
//! A source is recognised by two signs. Its picture carries a [`marker`] (an id and a frame counter
//! in blocks that survive scaling and coding); its sound is a [`tone`] of its own. So a test can say
//! who is seen and heard at a leg, how fresh the picture is and how long it took, from nothing but
//! what arrived.
//!
//! [`load`] runs the legs: pre-encoded [`clip`]s and sound leave on time, what comes back is counted
//! and, for the legs that are watched, decoded.

pub mod cgroup;
pub mod clip;
pub mod codec;
pub mod cost;
pub mod g711;
pub mod impairment;
pub mod load;
pub mod marker;
pub mod picture;
pub mod process;
pub mod quality;
pub mod server;
pub mod sound;
pub mod tone;
