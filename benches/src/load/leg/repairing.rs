//! A leg's repair of what its line loses, both ways.

use std::time::Instant;

use super::Leg;
use crate::load::recording::{Recorder, Recording};
use crate::load::repair;
use crate::load::rtp::Packet;
use crate::load::watch::Jobs;

impl Leg {
    /// Takes what is in order now, and asks for what is missing.
    pub(super) fn take_ordered(&mut self, now: Instant, jobs: &Jobs) {
        while let Some(held) = self.video.as_mut().and_then(|video| video.order.pop(now)) {
            self.take_video(now, &held.packet(), jobs);
        }
        let Some(video) = &mut self.video else { return };
        let lost = video.order.ask(now);
        if !lost.is_empty() {
            self.sent.asked_again += lost.len() as u64;
            let nack = repair::nack(video.line.ssrc, video.line.received.ssrc, &lost);
            video.line.send_rtcp(&nack);
        }
    }

    /// Sends a packet of the picture once more, as was agreed.
    pub(super) fn send_again(&mut self, sequence: u16) {
        let Some(video) = &mut self.video else { return };
        let (Some(held), Some(remote)) = (video.history.find(sequence), video.line.remote) else {
            return;
        };
        let original = held.packet();
        let mut payload = sequence.to_be_bytes().to_vec();
        payload.extend(original.payload);
        let packet = match remote.rtx {
            Some(payload_type) => Packet {
                payload_type,
                ssrc: video.line.rtx_ssrc,
                sequence: video.line.rtx_sequence,
                payload: &payload,
                ..original
            },
            None => original,
        };
        video.line.rtx_sequence = video.line.rtx_sequence.wrapping_add(1);
        self.sent.resent += 1;
        let (scratch, sent) = (&mut self.scratch, &mut self.sent);
        video.line.send_packet(&packet, scratch, sent);
    }

    /// The sound recorded so far; nothing where none is.
    pub(in crate::load) fn take_recording(&mut self) -> Recording {
        let recorder = self
            .audio
            .as_mut()
            .and_then(|audio| audio.recorder.as_mut());
        recorder.map_or_else(
            || Recorder::new(mcu_api::codec::AudioCodec::Pcmu).take(),
            Recorder::take,
        )
    }
}
