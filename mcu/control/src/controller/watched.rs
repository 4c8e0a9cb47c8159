//! What subscribers to the conference event package see of a room.

use std::collections::VecDeque;

use mcu_api::plan::AudioStream;
use sip::{Conference, ConferenceUser, MediaStatus};

use super::Output;
use super::room::{Leg, LegKind, Room};
use crate::config::Config;

/// Publishes the room where it differs from what was published last.
pub fn settle_conference(room: &mut Room, config: &Config, outputs: &mut VecDeque<Output>) {
    let known = config.room(&room.number);
    // Who knows no PIN learns no names by an account either.
    let open = known.filter(|room| room.pin.is_none() && room.guest_pin.is_none());
    let conference = Conference {
        number: room.number.clone(),
        open_to: open.map(|room| room.audience.clone()),
        max_users: config.max_legs_of(&room.number),
        users: room.present().map(user).collect(),
    };
    if room.published.as_ref() != Some(&conference) {
        room.published = Some(conference.clone());
        outputs.push_back(Output::Conference(conference));
    }
}

fn user(leg: &Leg) -> ConferenceUser {
    let call = match &leg.kind {
        LegKind::Sip(sip) => sip.dialog.as_ref().map(|dialog| dialog.call),
        LegKind::Browser(_) => None,
    };
    let plan = leg.media.as_ref().map(|media| &media.plan);
    let audio = plan.and_then(|plan| plan.audio.as_ref());
    let video = plan.map(|plan| (plan.video_receive.is_some(), !plan.video_send.is_empty()));
    let video = video.filter(|(sends, receives)| *sends || *receives);
    ConferenceUser {
        id: leg.id.0,
        call,
        name: leg.name.clone(),
        dialled_out: leg.sip().is_some_and(|sip| sip.dialled),
        audio: audio.map(|audio| sound(audio, leg.is_unheard())),
        video: video.map(|(sends, receives)| MediaStatus::new(sends && !leg.is_unseen(), receives)),
    }
}

fn sound(audio: &AudioStream, muted: bool) -> MediaStatus {
    MediaStatus::new(!audio.receive.is_empty() && !muted, audio.send.is_some())
}
