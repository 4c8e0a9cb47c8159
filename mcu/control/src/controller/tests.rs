//! Tests of the controller in virtual time.

mod adopting;
mod bench;
mod browsers;
mod calls;
mod dialogs;
mod media;
mod returning;
mod rooms;
