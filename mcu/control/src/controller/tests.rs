//! Tests of the controller in virtual time.

mod adopting;
mod bench;
mod browsers;
mod calendar;
mod calls;
mod days;
mod dialling;
mod dialogs;
mod doors;
mod media;
mod returning;
mod rooms;
