//! The rates of a terminal's leg, both ways: what it gets follows its line, sound before pictures, and it
//! is asked to send less where what it sends is lost on the way.

use std::time::{Duration, Instant};

use mcu_api::codec::AudioCodec;
use mcu_api::plan::{AudioSend, VideoSource};
use mcu_rtp::congestion::{Config, Controller};
use mcu_rtp::rtcp::{self, Bound, Bounds, ReportBlock};

use super::Leg;
use super::budget::{Budget, next_rate, reduced};
use crate::network::Sockets;
use crate::screen::{Reduced, Screen};

/// Bits of what is sent beside the pictures' own: RTP headers and payload headers.
const OVERHEAD: f64 = 1.05;
/// Share of its target that a stream of ours leaves unused, so that repairs have room.
const USED: f64 = 0.92;
/// What sound of Opus needs at its least, with RTP headers, in bit/s.
const LEAST_SOUND_BPS: u32 = 21_000;
/// A class of more bits is taken no sooner than this after the last change: each begins with a key frame.
const RISE_PAUSE: Duration = Duration::from_secs(3);
/// Bytes of IPv4, UDP and RTP headers of each packet.
const PACKET_OVERHEAD: u16 = 40;
/// What a terminal may be asked for at least, in bit/s.
const LEAST_ASKED_BPS: u32 = 64_000;
/// A rate is asked for again at this interval, in case the request was lost.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// State of both ways.
#[derive(Default)]
pub struct Rates {
    down: Option<Budget>,
    changed: Option<Instant>,
    up: Option<Controller>,
    asked: Option<(u32, Instant)>,
}

impl Leg {
    /// Whether the leg is a terminal's: it is shown the composed picture, and has no transport feedback.
    fn is_terminal(&self) -> bool {
        let terms = self.plan.video_send.iter().all(|send| {
            let is_composed = !matches!(send.source, Some(VideoSource::Forward { .. }));
            is_composed && send.extensions.transport_cc == 0
        });
        terms && self.ufrag().is_none()
    }

    /// What SDP allows to send in all.
    fn most_bps(&self) -> u32 {
        let sound = self.plan.audio.as_ref().and_then(|audio| audio.send);
        let sound = sound.map_or(0, |send| send.bitrate_bps + 16_000);
        let screens = self.screens.iter();
        let classes = screens.filter_map(|screen| screen.planned_class());
        let pictures: f64 = classes.map(|class| f64::from(class.bitrate_bps)).sum();
        sound + (pictures * OVERHEAD / USED) as u32
    }

    /// What is sent while nothing bounds it, in bit/s.
    fn planned_bps(&self) -> u64 {
        let sound = self.plan.audio.as_ref().and_then(|audio| audio.send);
        let classes = self.screens.iter().filter_map(Screen::planned_class);
        let pictures: u64 = classes.map(|class| u64::from(class.bitrate_bps)).sum();
        sound.map_or(0, |send| u64::from(send.bitrate_bps)) + pictures
    }

    fn down(&mut self) -> &mut Budget {
        let most = self.most_bps();
        let budget = self.rates.down.get_or_insert_with(|| Budget::new(most));
        budget.set_most(most);
        budget
    }

    /// The terminal reports on a stream of ours. Pictures tell most; sound tells while there are none.
    pub(super) fn note_report(
        &mut self,
        now: Instant,
        block: &ReportBlock,
        round_trip: Option<Duration>,
    ) {
        if !self.is_terminal() {
            return;
        }
        let is_picture = self
            .screens
            .iter()
            .any(|screen| screen.ssrc() == block.ssrc);
        let shows = self.screens.iter().any(|screen| screen.class().is_some());
        let is_sound = self.sound.as_ref().and_then(|sound| sound.ssrc()) == Some(block.ssrc);
        if !is_picture && (shows || !is_sound) {
            return;
        }
        let sent_bps = self.sent.rate.bps_at(now);
        let fraction = f64::from(block.fraction_lost) / 256.0;
        self.down()
            .handle_report(now, fraction, round_trip, sent_bps);
        self.follow_line(now);
    }

    /// TMMBR: it is obeyed and answered (RFC 5104 §4.2.2).
    pub(super) fn handle_bounds(
        &mut self,
        now: Instant,
        (transport, sender): (usize, u32),
        bounds: Bounds<'_>,
        sockets: &Sockets,
    ) {
        let ours = |ssrc| self.screens.iter().position(|screen| screen.ssrc() == ssrc);
        let agreed = |n: usize| self.screens[n].plan().feedback.tmmbr;
        let mut found = bounds.take(8);
        let found = found.find_map(|bound| Some((ours(bound.ssrc).filter(|n| agreed(*n))?, bound)));
        let Some((n, bound)) = found.filter(|_| self.is_terminal()) else {
            return;
        };
        let sound = self.plan.audio.as_ref().and_then(|audio| audio.send);
        let sound = sound.map_or(0, |send| u64::from(send.bitrate_bps) + 16_000);
        // It bounds the pictures alone, and those that are agreed on keep to it anyway.
        let planned = self.screens[n].planned_class();
        let of_all = match planned.is_some_and(|class| bound.bps >= class.bitrate_bps.into()) {
            true => u64::MAX,
            false => bound.bps.saturating_add(sound),
        };
        self.down().handle_bound(now, of_all, true);
        self.follow_line(now);
        let ssrc = self.screens[n].ssrc();
        let told = Bound {
            ssrc: sender,
            ..bound
        };
        let mut note = Vec::new();
        rtcp::write_max_rate_note(&mut note, ssrc, &[told]);
        self.send_with_report(transport, ssrc, &note, sockets);
    }

    /// REMB, where it was offered.
    pub(super) fn handle_bound_of_all(&mut self, now: Instant, bps: u64) {
        let agreed = self.screens.iter().any(|s| s.plan().feedback.remb);
        if agreed && self.is_terminal() {
            let bounds = bps < self.planned_bps();
            let bps = if bounds { bps } else { u64::MAX };
            self.down().handle_bound(now, bps, false);
            self.follow_line(now);
        }
    }

    /// Takes sound and pictures to what the line takes. Sound comes first: it gives way only down to what
    /// is still understood, and pictures before that.
    pub(super) fn follow_line(&mut self, now: Instant) {
        let Some(budget) = &mut self.rates.down else {
            return;
        };
        let target = budget.target_bps(now);
        let may_rise = |at: Instant| now.saturating_duration_since(at) >= RISE_PAUSE;
        let may_rise = self.rates.changed.is_none_or(may_rise);
        let Some(target) = target else {
            self.go_back(now, may_rise);
            return;
        };
        let sound_bps = self.sound_share(target);
        let sound_range = self.sound_range();
        let count = self.screens.len().max(1) as f64;
        let room = (f64::from(target) * USED - f64::from(sound_bps)) / OVERHEAD / count;
        for screen in &mut self.screens {
            let Some(class) = screen.planned_class().cloned() else {
                continue;
            };
            let held = match screen.reduced() {
                Reduced::No => Some(class.clone()),
                Reduced::To(held) => Some(held.clone()),
                Reduced::ToNothing => None,
            };
            let held_bps = held.as_ref().map_or(0, |held| held.bitrate_bps);
            let mut wanted = reduced(&class, room.max(0.0) as u32);
            let rises = |wanted: &Option<_>| {
                wanted
                    .as_ref()
                    .is_some_and(|w: &mcu_api::codec::VideoClass| w.bitrate_bps > held_bps)
            };
            if may_rise
                && !rises(&wanted)
                && held_bps < class.bitrate_bps
                && room >= f64::from(held_bps)
            {
                let next = next_rate(&class, held.as_ref());
                let needed = needed(f64::from(next) * OVERHEAD * count, sound_range);
                let budget = self.rates.down.as_mut();
                if budget.is_some_and(|budget| budget.try_rate(now, needed + 1)) {
                    wanted = reduced(&class, next);
                }
            }
            if rises(&wanted) && !may_rise {
                continue;
            }
            let to = wanted.map_or(Reduced::ToNothing, |wanted| screen.hardened(wanted));
            if *screen.reduced() != to {
                self.rates.changed = Some(now);
                screen.reduce(to);
            }
        }
    }

    /// Nothing bounds the line: the classes of the plan, no sooner than after the usual pause.
    fn go_back(&mut self, now: Instant, may_rise: bool) {
        if let Some(sound) = &mut self.sound {
            sound.set_budget(None);
        }
        for screen in &mut self.screens {
            let whole = screen.planned_class().cloned();
            let to = whole.map_or(Reduced::No, |class| screen.hardened(class));
            if *screen.reduced() != to && may_rise {
                self.rates.changed = Some(now);
                screen.reduce(to);
            }
        }
    }

    /// Least and most that sound takes, in bit/s with RTP headers.
    fn sound_range(&self) -> (u32, u32) {
        let sound = self.plan.audio.as_ref().and_then(|audio| audio.send);
        let Some(send) = sound.filter(|_| self.sound.is_some()) else {
            return (0, 0);
        };
        let full = send.bitrate_bps + header_bps(&send);
        match send.codec {
            AudioCodec::Opus => (LEAST_SOUND_BPS.min(full), full),
            _ => (full, full),
        }
    }

    /// What sound takes of a line that takes so much in all, in bit/s with RTP headers: a third, but as much
    /// as is understood.
    fn sound_share(&mut self, target: u32) -> u32 {
        let (least, full) = self.sound_range();
        let share = (target / 3).clamp(least, full);
        let send = self.plan.audio.as_ref().and_then(|audio| audio.send);
        if let Some((sound, send)) = self.sound.as_mut().zip(send) {
            let budget = share.saturating_sub(header_bps(&send));
            sound.set_budget((share < full).then_some(budget));
        }
        share
    }

    /// Asks a terminal that knows TMMBR or REMB to send no more than its line takes, once what it sends is
    /// lost there.
    pub(super) fn bound_sender(&mut self, now: Instant, sockets: &Sockets) {
        self.follow_line(now);
        let received_bps = self.received.rate.bps_at(now);
        let Some(camera) = &self.camera else { return };
        let feedback = camera.feedback();
        let Some(media) = camera
            .media_ssrc()
            .filter(|_| feedback.tmmbr || feedback.remb)
        else {
            return;
        };
        let lost = camera
            .stats()
            .iter()
            .map(|stats| stats.fraction_lost)
            .fold(0.0, f32::max);
        let up = self.rates.up.get_or_insert_with(|| Controller::new(UP));
        let sent = f64::from(received_bps) / f64::from((1.0 - lost).max(0.05));
        let before = up.target_bps();
        up.handle_report(now, lost.into(), self.round_trip, sent as u32);
        let target = up.target_bps().max(LEAST_ASKED_BPS);
        let is_bound = self.rates.asked.is_some_and(|(bps, _)| bps < UP.max_bps);
        if target >= before && !is_bound {
            return;
        }
        // Nothing bounds any more what leaves so much unused.
        let target = if f64::from(target) > sent * 1.4 {
            UP.max_bps
        } else {
            target
        };
        let is_news = self.rates.asked.is_none_or(|(bps, at)| {
            let step = f64::from(target) / f64::from(bps.max(1));
            !(0.95..1.1).contains(&step) || now.saturating_duration_since(at) >= ASK_AGAIN
        });
        if !is_news {
            return;
        }
        self.rates.asked = Some((target, now));
        let (place, ssrc) = (camera.transport(), camera.feedback_ssrc());
        let mut compound = Vec::new();
        match feedback.tmmbr {
            true => {
                let bound = Bound {
                    ssrc: media,
                    bps: target.into(),
                    overhead: PACKET_OVERHEAD,
                };
                rtcp::write_max_rate(&mut compound, ssrc, &bound);
            }
            false => rtcp::write_max_rate_of_all(&mut compound, ssrc, target.into(), &[media]),
        }
        self.send_with_report(place, ssrc, &compound, sockets);
    }
}

/// Bits of RTP headers a second: 12 bytes a packet.
fn header_bps(send: &AudioSend) -> u32 {
    96_000 / u32::from(send.ptime_ms.max(10))
}

/// What a line has to take in all for so many bits of pictures a second, beside which sound takes its share.
fn needed(pictures: f64, (least, full): (u32, u32)) -> u32 {
    let with = |sound: u32| (pictures + f64::from(sound)) / USED;
    let with_a_third = pictures / (USED - 1.0 / 3.0);
    with_a_third.clamp(with(least), with(full)) as u32
}

/// Of what a terminal sends.
const UP: Config = Config {
    start_bps: 20_000_000,
    min_bps: LEAST_ASKED_BPS,
    max_bps: 20_000_000,
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Defect: sound took more of the wider line, so that the class did not fit that was tried, and every
    /// trial ended with two key frames and the class of before.
    #[test]
    fn what_a_class_needs_has_room_for_it_beside_sound() {
        let (least, full) = (21_000, 57_600);
        for rate in [20_000, 32_000, 48_000, 64_000, 96_000, 384_000, 2_000_000] {
            let target = needed(f64::from(rate) * OVERHEAD, (least, full)) + 1;
            let sound = (target / 3).clamp(least, full);
            let room = (f64::from(target) * USED - f64::from(sound)) / OVERHEAD;
            assert!(room >= f64::from(rate), "{rate}: {room} of {target}");
            assert!(room < f64::from(rate) * 1.01, "{rate}: {room} of {target}");
        }
    }
}
