//! What pictures a room has, and what terminals are asked for where that has changed.

use std::collections::VecDeque;

use mcu_api::directory::Shape;
use rand::CryptoRng;
use tracing::info;

use super::Output;
use super::room::{LegKind, Room};
use crate::config::Config;

/// As the configuration of a room says now. A network check is like any room.
pub fn shape_of(config: &Config, room: &Room) -> Shape {
    let known = config.room(&room.number);
    known.map(|room| room.shape).unwrap_or_default()
}

/// Offers terminals the tallest picture that the room has now, where theirs could be others by that. Who
/// refuses is asked no more: what is sent obeys in any case.
pub fn settle_offers(room: &mut Room, rng: &mut impl CryptoRng, outputs: &mut VecDeque<Output>) {
    let max_height = room.most_height();
    let Shape { max_frame_rate, .. } = room.shape;
    for leg in room.legs.iter_mut().filter(|leg| !leg.is_ringing()) {
        let LegKind::Sip(sip) = &mut leg.kind else {
            continue;
        };
        let Some(dialog) = sip.dialog.as_mut().filter(|_| sip.confirmed) else {
            continue;
        };
        if dialog.exchange.set_most(max_height, max_frame_rate) {
            info!(room = %room.id, leg = %leg.id, ?max_height, max_frame_rate, "offered anew");
            outputs.push_back(Output::Call(dialog.offer(rng)));
        }
    }
}
