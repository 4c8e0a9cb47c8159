//! A leg's RTCP: reports and requests that come from it, and those that go to it.

use std::time::Instant;

use mcu_rtp::clock::{RoomClock, SourceClock};
use mcu_rtp::forward::SourceKey;
use mcu_rtp::rtcp::{self, Packet as Rtcp, ReportBlock};
use mcu_rtp::seq::ExtSeq;

use super::{Leg, REPORT_INTERVAL};
use crate::network::Sockets;

/// Packets that the transport feedback of one datagram may tell of: seconds at any rate of ours. A few
/// bytes could claim millions.
const MAX_TOLD: u32 = 4_096;
/// Packets that one RTCP datagram may have sent again.
const MAX_RESENT: usize = 512;

impl Leg {
    /// Takes a compound RTCP packet.
    pub fn handle_rtcp(
        &mut self,
        now: Instant,
        transport: usize,
        compound: &[u8],
        clock: &RoomClock,
        sockets: &Sockets,
    ) {
        self.note_heard(now);
        let (mut resend, mut told) = (Vec::new(), 0);
        // Of several the last holds: a datagram is answered once.
        let (mut bound, mut bound_of_all) = (None, None);
        for packet in rtcp::parse(compound) {
            // A malformed packet ends the compound; what came before it stands.
            let Ok(packet) = packet else { break };
            match packet {
                Rtcp::SenderReport { ssrc, info, blocks } => {
                    self.handle_sender_report(now, ssrc, &info);
                    blocks.for_each(|block| self.handle_report(now, &block, clock));
                }
                Rtcp::ReceiverReport { blocks, .. } => {
                    blocks.for_each(|block| self.handle_report(now, &block, clock));
                }
                Rtcp::PictureLoss { media, .. } => self.handle_key_request(media),
                Rtcp::FullIntra { requests, .. } => {
                    requests.for_each(|(media, _)| self.handle_key_request(media));
                }
                Rtcp::Nack { media, lost, .. } if resend.len() < MAX_RESENT => {
                    self.handle_nack(now, media, lost, &mut resend);
                }
                Rtcp::Nack { .. } => {}
                Rtcp::MaxRate { sender, bounds } => bound = Some((sender, bounds)),
                Rtcp::MaxRateOfAll { bps, .. } => bound_of_all = Some(bps),
                Rtcp::TransportFeedback(feedback) => {
                    // A few bytes may tell of many packets: no more of them in all than in one.
                    told += u32::from(feedback.status_count);
                    if let Some(bandwidth) = self.bandwidth.get_mut(transport)
                        && told <= MAX_TOLD
                    {
                        bandwidth.handle_feedback(now, &feedback);
                    }
                }
                Rtcp::Names(_) | Rtcp::Goodbye(_) => {}
            }
        }
        if let Some((sender, bounds)) = bound {
            self.handle_bounds(now, (transport, sender), bounds, sockets);
        }
        if let Some(bps) = bound_of_all {
            self.handle_bound_of_all(now, bps);
        }
        for (n, sequence) in resend {
            for _ in 0..copies(self.screens[n].recent_loss()) {
                self.send_again(now, (n, sequence), clock, sockets);
            }
        }
    }

    /// Sends a packet of a screen again, if it is still there and may be.
    fn send_again(
        &mut self,
        now: Instant,
        (n, sequence): (usize, ExtSeq),
        clock: &RoomClock,
        sockets: &Sockets,
    ) {
        let place = self.screens[n].plan().transport;
        if !self.bandwidth[place].may_resend() {
            return;
        }
        let before = self.sent.bytes;
        self.send_screen(now, n, clock, sockets, |screen, stamp, out| {
            screen.write_again(now, sequence, stamp, out)
        });
        self.bandwidth[place].note_resent(self.sent.bytes - before);
    }

    /// Packets that are to be sent again, with their screens.
    fn handle_nack(
        &mut self,
        now: Instant,
        media: u32,
        lost: impl Iterator<Item = u16>,
        resend: &mut Vec<(usize, ExtSeq)>,
    ) {
        let screens = &mut self.screens;
        if let Some(n) = screens.iter().position(|screen| screen.ssrc() == media) {
            let mut sequences = Vec::new();
            screens[n].handle_nack(now, lost, &mut sequences);
            resend.extend(sequences.into_iter().map(|sequence| (n, sequence)));
            resend.truncate(MAX_RESENT);
        }
    }

    fn handle_sender_report(&mut self, now: Instant, ssrc: u32, info: &rtcp::SenderInfo) {
        if let Some(sound) = &mut self.sound {
            sound.handle_sender_report(now, ssrc, info);
        }
        if let Some(camera) = &mut self.camera {
            camera.handle_sender_report(now, ssrc, info);
        }
    }

    fn handle_report(&mut self, now: Instant, block: &ReportBlock, clock: &RoomClock) {
        if let Some(sound) = &mut self.sound {
            sound.handle_report(now, block, clock);
        }
        for screen in &mut self.screens {
            screen.handle_report(now, block, clock);
        }
        self.note_report(now, block, mcu_rtp::send::round_trip(clock.ntp(now), block));
        if let Some(round_trip) = mcu_rtp::send::round_trip(clock.ntp(now), block) {
            self.round_trip = Some(round_trip);
            if let Some(camera) = &mut self.camera {
                camera.set_round_trip(round_trip);
            }
        }
    }

    fn handle_key_request(&mut self, media: u32) {
        for screen in &mut self.screens {
            screen.handle_key_request(media);
        }
    }

    /// Sends requests for lost packets that are due: each tick that they wait is one that the picture
    /// stands still.
    pub fn ask_for_lost(&mut self, now: Instant, sockets: &Sockets) {
        let camera = self.camera.as_mut();
        let Some(camera) = camera.filter(|camera| camera.has_nacks_due(now)) else {
            return;
        };
        let mut compound = Vec::new();
        camera.write_nacks(now, &mut compound);
        let (place, ssrc) = (camera.transport(), camera.feedback_ssrc());
        for _ in 0..camera.requests() {
            self.send_with_report(place, ssrc, &compound, sockets);
        }
    }

    /// Sends what cannot wait for the next report: NACK, transport feedback.
    pub fn send_feedback(&mut self, now: Instant, sockets: &Sockets) {
        self.ask_for_lost(now, sockets);
        let mut compound = Vec::new();
        if let Some(camera) = &mut self.camera {
            let feedback_ssrc = camera.feedback_ssrc();
            let media_ssrc = camera.media_ssrc().unwrap_or_default();
            let place = camera.transport();
            if let Some(bandwidth) = self.bandwidth.get_mut(place) {
                bandwidth.write_feedback(now, feedback_ssrc, media_ssrc, &mut compound);
                bandwidth.handle_timeout(now);
            }
            self.send_with_report(place, feedback_ssrc, &compound, sockets);
        }
    }

    /// Sends requests for key frames that are due. `true`: one has to be asked for by signalling.
    pub fn ask_for_key_frames(&mut self, now: Instant, sockets: &Sockets) -> bool {
        let Some(camera) = &mut self.camera else {
            return false;
        };
        let mut compound = Vec::new();
        let by_signalling = camera.write_key_requests(now, &mut compound);
        let (place, ssrc) = (camera.transport(), camera.feedback_ssrc());
        self.send_with_report(place, ssrc, &compound, sockets);
        by_signalling
    }

    /// Sends feedback behind the empty report and the name that a compound begins with
    /// (RFC 3550 §6.1, RFC 4585 §3.1).
    pub(super) fn send_with_report(
        &mut self,
        transport: usize,
        ssrc: u32,
        feedback: &[u8],
        sockets: &Sockets,
    ) {
        if feedback.is_empty() {
            return;
        }
        let mut compound = Vec::with_capacity(feedback.len() + 64);
        rtcp::write_receiver_report(&mut compound, ssrc, &[]);
        rtcp::write_cname(&mut compound, ssrc, &self.cname);
        compound.extend_from_slice(feedback);
        if let Some(transport) = self.transports.get_mut(transport) {
            transport.send_rtcp(&compound, sockets);
        }
    }

    /// Sends sender and receiver reports when they are due.
    pub fn send_reports<'c>(
        &mut self,
        now: Instant,
        clock: &RoomClock,
        source_clock: impl Fn(SourceKey) -> Option<&'c SourceClock>,
        sockets: &Sockets,
    ) {
        if now < self.next_report {
            return;
        }
        self.next_report = now + REPORT_INTERVAL;
        self.bound_sender(now, sockets);
        for n in 0..self.transports.len() {
            let compound = self.compound(now, n, clock, &source_clock);
            if !compound.is_empty() {
                self.transports[n].send_rtcp(&compound, sockets);
            }
        }
    }

    /// The compound of one transport: a sender report for each stream of ours that sends, with the
    /// report blocks in the first; else a receiver report; then the name.
    fn compound<'c>(
        &mut self,
        now: Instant,
        transport: usize,
        clock: &RoomClock,
        source_clock: &impl Fn(SourceKey) -> Option<&'c SourceClock>,
    ) -> Vec<u8> {
        let (mut blocks, mut senders, mut own) = (Vec::new(), Vec::new(), None);
        if let Some(sound) = self.sound.as_mut().filter(|s| s.transport() == transport) {
            sound.report(now, &mut blocks);
            senders.extend(sound.sender_info(now, clock));
            own = sound.ssrc();
        }
        if let Some(camera) = self.camera.as_mut().filter(|c| c.transport() == transport) {
            camera.report(now, &mut blocks);
            own = own.or(Some(camera.feedback_ssrc()));
        }
        for screen in self
            .screens
            .iter()
            .filter(|s| s.plan().transport == transport)
        {
            let source = screen.showing().and_then(source_clock);
            let info = screen.sender_info(now, clock, source);
            senders.extend(info.map(|info| (screen.ssrc(), info)));
        }
        let mut compound = Vec::new();
        if senders.is_empty() {
            if !blocks.is_empty() {
                // What only receives has a name for its reports all the same.
                let own = own.unwrap_or(self.report_ssrc);
                rtcp::write_receiver_report(&mut compound, own, &blocks);
                rtcp::write_cname(&mut compound, own, &self.cname);
            }
            return compound;
        }
        for (n, (ssrc, info)) in senders.iter().enumerate() {
            let blocks: &[ReportBlock] = if n == 0 { &blocks } else { &[] };
            rtcp::write_sender_report(&mut compound, *ssrc, info, blocks);
        }
        for (ssrc, _) in &senders {
            rtcp::write_cname(&mut compound, *ssrc, &self.cname);
        }
        compound
    }
}

/// How often a packet is sent again on one request. Where much is lost the answer often is, too, and each
/// further request costs the receiver a round trip.
fn copies(recent_loss: f32) -> u32 {
    match recent_loss {
        ..0.15 => 1,
        _ => 2,
    }
}
