//! The RTP engine under every leg, SIP, H.323 or WebRTC: no sockets, no clock of its own, no thread.
//!
//! A media worker owns one value of these types per stream, feeds it packets and the time, and sends
//! what it yields. [`receive`] and [`send`] are the two halves of a stream, [`forward`] joins them
//! without a decoder between, [`jitter`] and [`video`] prepare media for decoders, [`clock`] keeps one
//! time per room, [`twcc`] and [`congestion`] find out what a path carries.

mod bits;
pub mod clock;
pub mod congestion;
pub mod demux;
pub mod forward;
pub mod framing;
pub mod h261;
pub mod h263;
pub mod h264;
pub mod header;
pub mod jitter;
pub mod quality;
pub mod receive;
pub mod red;
pub mod rtcp;
pub mod rtx;
pub mod send;
pub mod seq;
pub mod simulcast;
pub mod srtp;
pub mod telephone_event;
pub mod twcc;
pub mod video;
pub mod vp8;
pub mod webrtc;

#[cfg(test)]
mod mutate;
