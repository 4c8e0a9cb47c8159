//! A leg's figures, for the inventory.

use std::time::Instant;

use mcu_api::inventory::{FlowStats, LegInventory, VideoStats};

use super::Leg;
use crate::camera::Camera;
use crate::screen::Screen;
use crate::sound::Sound;
use crate::transport::Transport;

impl Leg {
    /// The leg as it is.
    pub fn inventory(&mut self, now: Instant, audio_level_dbov: i8) -> LegInventory {
        LegInventory {
            leg: self.plan.id,
            state: self.state,
            silent_s: now.saturating_duration_since(self.heard).as_secs() as u32,
            audio_level_dbov,
            received: self.received_stats(now),
            sent: self.sent_stats(now),
            video_received: self
                .camera
                .as_mut()
                .map(|c| c.video_stats(now))
                .unwrap_or_default(),
            video_sent: self.video_sent(now),
            round_trip_ms: self.round_trip.map(|rtt| rtt.as_millis() as u32),
            sound_lag_ms: self.camera.as_ref().and_then(|c| c.sound_lag_ms(now)),
            srtp_sources: self
                .transports
                .iter()
                .map(Transport::srtp_sources)
                .collect(),
            srtcp_sources: self
                .transports
                .iter()
                .map(Transport::srtcp_sources)
                .collect(),
            dtls_keys: self.transports.iter().map(Transport::dtls_keys).collect(),
        }
    }

    fn received_stats(&mut self, now: Instant) -> FlowStats {
        let sound = self.sound.as_ref().map(Sound::receive_stats);
        let round_trip = self.round_trip.unwrap_or_default();
        let mos = self.sound.as_mut().and_then(|s| s.received_mos(round_trip));
        let camera = self.camera.as_ref().map(Camera::stats).unwrap_or_default();
        let mut stats = FlowStats {
            packets: self.received.packets,
            bytes: self.received.bytes,
            bitrate_bps: self.received.rate.bps_at(now),
            sound_lost: sound.map_or(0, |sound| sound.lost),
            sound_loss_percent: sound.map_or(0.0, |sound| sound.fraction_lost * 100.0),
            mos,
            frozen_ms: self.camera.as_ref().map_or(0, Camera::frozen_ms),
            ..FlowStats::default()
        };
        for stream in &camera {
            let loss = stream.fraction_lost * 100.0;
            stats.picture_loss_percent = stats.picture_loss_percent.max(loss);
        }
        for stream in sound.into_iter().chain(camera) {
            stats.lost += stream.lost;
            stats.loss_percent = stats.loss_percent.max(stream.fraction_lost * 100.0);
            stats.jitter_ms = stats.jitter_ms.max(stream.jitter_ms);
        }
        stats
    }

    fn sent_stats(&mut self, now: Instant) -> FlowStats {
        let sound = self.sound.as_ref().and_then(Sound::send_stats);
        let screens = self.screens.iter().map(Screen::stats);
        let round_trip = self.round_trip.unwrap_or_default();
        let mos = self.sound.as_ref().and_then(|s| s.sent_mos(round_trip));
        let mut stats = FlowStats {
            packets: self.sent.packets,
            bytes: self.sent.bytes,
            bitrate_bps: self.sent.rate.bps_at(now),
            sound_lost: sound.map_or(0, |sound| sound.lost),
            sound_loss_percent: sound.map_or(0.0, |sound| sound.fraction_lost * 100.0),
            mos,
            ..FlowStats::default()
        };
        for stream in screens.clone() {
            let loss = stream.fraction_lost * 100.0;
            stats.picture_loss_percent = stats.picture_loss_percent.max(loss);
        }
        for stream in sound.into_iter().chain(screens) {
            stats.lost += stream.lost;
            stats.loss_percent = stats.loss_percent.max(stream.fraction_lost * 100.0);
            stats.jitter_ms = stats.jitter_ms.max(stream.jitter_ms);
        }
        stats
    }

    /// The composition's size, or the frame rate of the liveliest slot.
    fn video_sent(&mut self, now: Instant) -> VideoStats {
        let mut best = VideoStats::default();
        for screen in &mut self.screens {
            let rate = screen.frame_rate(now);
            let (width, height) = screen.class().map_or((0, 0), |c| (c.width, c.height));
            if rate >= best.frames_per_second {
                best = VideoStats {
                    width,
                    height,
                    frames_per_second: rate,
                    key_frames: 0,
                };
            }
        }
        best
    }
}
