//! Tests of the controller in virtual time.

mod adopting;
mod answers;
mod bench;
mod browsers;
mod calendar;
mod calls;
mod chat;
mod codecs;
mod days;
mod dialling;
mod dialogs;
mod doors;
mod figures;
mod layouts;
mod media;
mod meetings;
mod operating;
mod probing;
mod quarantine;
mod returning;
mod rooms;
mod shape;
mod stills;
mod tenants;
mod transfer_out;
mod trunks;
