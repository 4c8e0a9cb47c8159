//! One leg: its transports, the sound and pictures that come from it and go to it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mcu_api::codec::VideoClass;
use mcu_api::ids::{LegId, RoomId};
use mcu_api::inventory::LegState;
use mcu_api::media::MediaEvent;
use mcu_api::plan::{Care, LegPlan, Notice};
use mcu_rtp::clock::{NtpTime, RoomClock, SourceClock};
use mcu_rtp::forward::SourceKey;
use mcu_rtp::framing::Urgency;
use mcu_rtp::header::RtpPacket;
use mcu_rtp::rtcp;
use mcu_rtp::send::Place;

use crate::audio::mixer::{TICK_SAMPLES, Tick};
use crate::audio::prompt::Prompt;
use crate::bandwidth::Bandwidth;
use crate::blame::Sender;
use crate::camera::{Camera, CameraPacket, Chosen, Heights, leg_of, source_key};
use crate::network::Sockets;
use crate::picture::Encoded;
use crate::rate::Rate;
use crate::screen::{Outgoing, Passing, Screen};
use crate::shared_encoders::SharedEncoders;
use crate::sound::Sound;
use crate::transcode::Classes;
use crate::transport::{Incoming, OpenError, Shared, Transport};
use rates::Rates;

mod budget;
mod figures;
mod rates;
mod reports;
mod scenes;
#[cfg(test)]
mod tests;

/// Reports leave at this interval; a participant of few streams may report that often
/// (RFC 3550 §6.2, with the reduced minimum of RFC 4585 §3.4 for conversational media).
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Places of sent streams that are remembered; the oldest gives way. A terminal has three streams, a
/// browser one a slot and one more.
const MAX_PLACES: usize = 32;
/// What an RTP packet is to the room.
pub enum Packet<'p> {
    /// Video that may be forwarded.
    Video(CameraPacket<'p>),
    /// A telephone key was pressed.
    Dtmf(char),
}

/// One leg.
pub struct Leg {
    plan: LegPlan,
    cname: String,
    /// SSRC of reports about streams of a transport that sends none.
    report_ssrc: u32,
    transports: Vec<Transport>,
    sound: Option<Sound>,
    camera: Option<Camera>,
    screens: Vec<Screen>,
    /// What it is told by tones while it waits.
    prompt: Option<Prompt>,
    bandwidth: Vec<Bandwidth>,
    /// Of a terminal.
    rates: Rates,
    /// Where streams of ours stopped that may come back after a hold, the latest last.
    places: VecDeque<Place>,
    state: LegState,
    heard: Instant,
    event: Option<MediaEvent>,
    next_report: Instant,
    received: Flow,
    sent: Flow,
    round_trip: Option<Duration>,
    /// Reused for packets in the making.
    packet: Vec<u8>,
}

/// Counts of one direction.
#[derive(Default)]
struct Flow {
    packets: u64,
    bytes: u64,
    rate: Rate,
}

impl Flow {
    fn add(&mut self, now: Instant, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
        self.rate.add(now, bytes);
    }
}

impl Leg {
    /// Opens a leg as planned; nothing is left open on an error.
    pub fn open(
        now: Instant,
        room: RoomId,
        plan: &LegPlan,
        cname: &str,
        shared: &Shared,
        sockets: &mut Sockets,
    ) -> Result<Self, OpenError> {
        let mut leg = Self {
            plan: LegPlan {
                id: plan.id,
                confirmed: plan.confirmed,
                waiting: None,
                transports: Vec::new(),
                audio: None,
                video_receive: None,
                video_send: Vec::new(),
            },
            cname: cname.to_string(),
            report_ssrc: rand::random(),
            transports: Vec::new(),
            sound: None,
            camera: None,
            screens: Vec::new(),
            prompt: None,
            bandwidth: Vec::new(),
            rates: Rates::default(),
            places: VecDeque::new(),
            state: LegState::Connecting,
            heard: now,
            event: None,
            next_report: now + REPORT_INTERVAL,
            received: Flow::default(),
            sent: Flow::default(),
            round_trip: None,
            packet: Vec::with_capacity(2_048),
        };
        match leg.update(now, room, plan, shared, sockets) {
            Ok(()) => Ok(leg),
            Err(error) => {
                leg.close(now, sockets);
                Err(error)
            }
        }
    }

    /// Makes the leg what the plan says; what did not change runs on.
    pub fn update(
        &mut self,
        now: Instant,
        room: RoomId,
        plan: &LegPlan,
        shared: &Shared,
        sockets: &mut Sockets,
    ) -> Result<(), OpenError> {
        self.update_transports(now, room, plan, shared, sockets)?;
        self.note_places();
        self.update_sound(plan);
        self.update_camera(plan);
        self.update_screens(plan);
        if plan.confirmed && !self.plan.confirmed {
            self.screens.iter_mut().for_each(Screen::want_key);
        }
        if plan.waiting != self.plan.waiting {
            self.update_notice(plan.waiting);
        }
        self.plan = plan.clone();
        Ok(())
    }

    fn update_notice(&mut self, notice: Option<Notice>) {
        self.prompt = notice.map(Prompt::new);
        self.screens.iter_mut().for_each(Screen::change_scene);
        if let Some(camera) = self.camera.as_mut().filter(|_| notice.is_none()) {
            // Nobody has looked at it so far.
            camera.request_all_keys();
        }
    }

    fn update_transports(
        &mut self,
        now: Instant,
        room: RoomId,
        plan: &LegPlan,
        shared: &Shared,
        sockets: &mut Sockets,
    ) -> Result<(), OpenError> {
        let held: Vec<Transport> = std::mem::take(&mut self.transports);
        let mut bandwidth = std::mem::take(&mut self.bandwidth).into_iter();
        let (mut kept, mut spare) = (Vec::new(), Vec::new());
        for (n, mut transport) in held.into_iter().enumerate() {
            let old = self.plan.transports.get(n);
            let place = old.zip(plan.transports.get(n));
            if place.is_some_and(|(old, wanted)| transport.update(now, old, wanted, sockets)) {
                kept.push((Some(transport), bandwidth.next()));
                continue;
            }
            spare.extend(old.and_then(|old| transport.take_srtp(old)));
            transport.close(now, sockets);
            kept.push((None, None));
            bandwidth.next();
            self.state = LegState::Connecting;
        }
        let mut kept = kept.into_iter();
        for (n, wanted) in plan.transports.iter().enumerate() {
            let (transport, bandwidth) = kept.next().unwrap_or_default();
            let transport = match transport {
                Some(transport) => transport,
                None => {
                    let place = (room, plan.id, n);
                    let opened = Transport::open(now, place, wanted, &mut spare, shared, sockets);
                    if opened.is_err() {
                        // What is still open is closed with the leg.
                        self.transports.extend(kept.filter_map(|(held, _)| held));
                        return opened.map(drop);
                    }
                    opened?
                }
            };
            self.transports.push(transport);
            self.bandwidth.push(bandwidth.unwrap_or_default());
        }
        Ok(())
    }

    /// Takes note of where our streams stand, before some of them are made anew.
    fn note_places(&mut self) {
        let sound = self.sound.iter().filter_map(Sound::place);
        let places: Vec<Place> = sound
            .chain(self.screens.iter().map(Screen::place))
            .collect();
        self.places
            .retain(|old| places.iter().all(|place| place.ssrc != old.ssrc));
        self.places.extend(places);
        while self.places.len() > MAX_PLACES {
            self.places.pop_front();
        }
    }

    fn update_sound(&mut self, plan: &LegPlan) {
        let Some(wanted) = &plan.audio else {
            self.sound = None;
            return;
        };
        if self
            .sound
            .as_mut()
            .is_some_and(|sound| sound.update(wanted))
        {
            return;
        }
        let made = Sound::new(wanted.clone(), self.places.make_contiguous());
        if let Err(error) = &made {
            tracing::error!(leg = %plan.id, %error, "no sound");
        }
        self.sound = made.ok();
    }

    fn update_camera(&mut self, plan: &LegPlan) {
        let Some(wanted) = &plan.video_receive else {
            self.camera = None;
            return;
        };
        if !self
            .camera
            .as_mut()
            .is_some_and(|camera| camera.update(wanted))
        {
            self.camera = Some(Camera::new(plan.id, wanted.clone()));
        }
    }

    fn update_screens(&mut self, plan: &LegPlan) {
        let mut held = std::mem::take(&mut self.screens);
        let places = self.places.make_contiguous();
        for wanted in &plan.video_send {
            let place = held.iter().position(|screen| screen.ssrc() == wanted.ssrc);
            let kept = place.map(|place| held.swap_remove(place));
            let kept = kept.and_then(|mut screen| screen.update(wanted).then_some(screen));
            self.screens
                .push(kept.unwrap_or_else(|| Screen::new(wanted.clone(), places)));
        }
    }

    /// Says goodbye and closes everything.
    pub fn close(&mut self, now: Instant, sockets: &mut Sockets) {
        for n in 0..self.transports.len() {
            let ssrcs = self.sent_ssrcs(n);
            if let Some(first) = ssrcs.first() {
                let mut compound = Vec::new();
                rtcp::write_receiver_report(&mut compound, *first, &[]);
                rtcp::write_cname(&mut compound, *first, &self.cname);
                rtcp::write_goodbye(&mut compound, &ssrcs);
                self.transports[n].send_rtcp(&compound, sockets);
            }
            self.transports[n].close(now, sockets);
        }
        self.transports.clear();
    }

    /// SSRCs of ours that have sent on a transport.
    fn sent_ssrcs(&self, transport: usize) -> Vec<u32> {
        let sound = self.sound.iter().filter(|s| s.transport() == transport);
        let screens = self
            .screens
            .iter()
            .filter(|s| s.plan().transport == transport);
        let live = screens.filter(|s| s.stats().packets > 0).map(Screen::ssrc);
        sound.filter_map(Sound::sent_ssrc).chain(live).collect()
    }

    /// The leg.
    pub fn id(&self) -> LegId {
        self.plan.id
    }

    /// Its transports.
    pub fn transports(&self) -> usize {
        self.transports.len()
    }

    /// Our ICE user fragment, for a browser.
    pub fn ufrag(&self) -> Option<&str> {
        self.transports.iter().find_map(Transport::ufrag)
    }

    /// Whether an authentic check came from this address.
    pub fn knows(&self, address: SocketAddr) -> bool {
        self.transports.iter().any(|t| t.knows(address))
    }

    /// Whose a datagram from `from` is.
    pub fn sender_at(&self, transport: usize, from: SocketAddr, on_rtcp_port: bool) -> Sender {
        match self.transports.get(transport) {
            Some(transport) if transport.proves(from, on_rtcp_port) => Sender::Peer,
            _ => Sender::Anybody,
        }
    }

    /// Whose all the media is that came.
    pub fn sender(&self) -> Sender {
        match self.transports.iter().any(Transport::took_from_anybody) {
            true => Sender::Anybody,
            false => Sender::Peer,
        }
    }

    /// A TCP connection of it ended.
    pub fn lose_path(&mut self, now: Instant, address: SocketAddr) {
        for transport in &mut self.transports {
            transport.lose_path(now, address);
        }
    }

    /// Its camera.
    pub fn camera(&mut self) -> Option<&mut Camera> {
        self.camera.as_mut()
    }

    /// Video streams to it.
    pub fn screens(&mut self) -> &mut [Screen] {
        &mut self.screens
    }

    /// What is shown instead of the meeting.
    pub fn notice(&self) -> Option<Notice> {
        self.plan.waiting
    }

    /// Legs of which pictures are encoded anew for this one, and the lines of those.
    pub fn shown_alone(&self) -> impl Iterator<Item = (LegId, u16)> {
        self.screens.iter().filter_map(Screen::shown_alone)
    }

    /// Legs that are encoded anew for this one, and in which classes.
    pub fn encoded_anew(&self) -> impl Iterator<Item = (LegId, VideoClass)> {
        self.screens.iter().filter_map(Screen::encoded_anew)
    }

    /// Whether it is part of the meeting: its peer is proved to be there, and waits for nothing.
    pub fn is_in(&self) -> bool {
        self.plan.confirmed && self.plan.waiting.is_none()
    }

    /// The next 20 ms of what somebody hears who is not in; silence is for terminals that send nothing
    /// before they hear something.
    pub fn prompt(&mut self) -> &Tick {
        match &mut self.prompt {
            Some(prompt) if self.plan.confirmed => prompt.next_tick(),
            _ => &[0; TICK_SAMPLES],
        }
    }

    /// The transport is up.
    pub fn set_connected(&mut self) {
        if self.state != LegState::Connected {
            self.state = LegState::Connected;
            self.event = Some(MediaEvent::Connected { leg: self.plan.id });
            self.screens.iter_mut().for_each(Screen::want_key);
        }
    }

    /// The transport is lost.
    pub fn set_failed(&mut self) {
        if self.state != LegState::Failed {
            self.state = LegState::Failed;
            self.event = Some(MediaEvent::Failed { leg: self.plan.id });
        }
    }

    /// News for the controller.
    pub fn take_event(&mut self) -> Option<MediaEvent> {
        self.event.take()
    }

    /// Takes a datagram of one transport.
    pub fn receive(
        &mut self,
        now: Instant,
        transport: usize,
        (from, on_rtcp_port, datagram): (SocketAddr, bool, &[u8]),
        sockets: &Sockets,
        out: &mut Vec<Incoming>,
    ) {
        if let Some(transport) = self.transports.get_mut(transport) {
            transport.receive(now, from, on_rtcp_port, datagram, sockets, out);
        }
    }

    /// Timers of one transport.
    pub fn handle_timeout(
        &mut self,
        now: Instant,
        transport: usize,
        sockets: &Sockets,
        out: &mut Vec<Incoming>,
    ) {
        if let Some(transport) = self.transports.get_mut(transport) {
            transport.handle_timeout(now, sockets, out);
        }
    }

    /// Something authentic came from the leg.
    fn note_heard(&mut self, now: Instant) {
        self.heard = now;
        if self.state == LegState::Connecting {
            self.set_connected();
        }
    }

    /// Takes an RTP packet; malformed and unknown ones are dropped.
    pub fn handle_rtp<'p>(
        &mut self,
        now: Instant,
        transport: usize,
        packet: &'p [u8],
        clock: &RoomClock,
    ) -> Option<Packet<'p>> {
        let len = packet.len();
        let packet = RtpPacket::parse(packet).ok()?;
        let payload_type = packet.header.payload_type;
        if let Some(sound) = &mut self.sound
            && sound.owns(transport, payload_type)
        {
            let key = sound.receive(now, &packet, clock);
            let sequence = packet
                .known_extensions(&self.plan.audio.as_ref()?.extensions)
                .transport_cc;
            self.note_arrival(now, transport, sequence, len);
            return key.map(Packet::Dtmf);
        }
        let camera = self.camera.as_mut()?;
        if !camera.owns(transport, payload_type) {
            return None;
        }
        let extensions = &self.plan.video_receive.as_ref()?.extensions;
        let sequence = packet.known_extensions(extensions).transport_cc;
        let video = camera.receive(now, &packet, clock).map(Packet::Video);
        self.note_arrival(now, transport, sequence, len);
        video
    }

    fn note_arrival(&mut self, now: Instant, transport: usize, sequence: Option<u16>, len: usize) {
        self.note_heard(now);
        self.received.add(now, len);
        if let (Some(sequence), Some(bandwidth)) = (sequence, self.bandwidth.get_mut(transport)) {
            bandwidth.note_received(now, sequence);
        }
    }

    /// The leg's sound of this tick, for the mixer.
    pub fn hear(&mut self, now: Instant, clock: &RoomClock) -> Option<&Tick> {
        let sound = self.sound.as_mut()?;
        if let Some(camera) = &mut self.camera
            && let Some((basis, micros)) = sound.offset()
        {
            camera.set_mixer_offset(basis, micros);
        }
        sound.hear(now, clock)
    }

    /// What is to be done to its sound.
    pub fn care(&self) -> Care {
        self.sound.as_ref().map(Sound::care).unwrap_or_default()
    }

    /// Before anything is encoded in a tick: whether it is to hear in it what other listeners hear.
    pub fn listen(&mut self, listens: bool, encoders: &mut SharedEncoders) {
        if let Some(sound) = &mut self.sound {
            let transport = self.transports.get(sound.transport());
            let is_ready = transport.is_some_and(Transport::is_ready);
            sound.listen(listens && is_ready, encoders);
        }
    }

    /// Sends 20 ms of the room's sound that were due at `due`.
    pub fn speak(
        &mut self,
        (now, due): (Instant, Instant),
        (pcm, encoders): (&Tick, &mut SharedEncoders),
        clock: &RoomClock,
        sockets: &Sockets,
    ) {
        let Some(sound) = &mut self.sound else { return };
        let n = sound.transport();
        let Some(transport) = self.transports.get_mut(n).filter(|t| t.is_ready()) else {
            return;
        };
        let bandwidth = &mut self.bandwidth[n];
        let at = (now, due);
        if sound.take_shared(encoders, pcm) {
            let stamp = bandwidth.stamp(now, sound.has_transport_cc(), clock);
            self.packet.clear();
            sound.write_shared(at, clock, stamp, &mut self.packet);
            bandwidth.note_sent(now, stamp, self.packet.len());
            let sent = transport.send_rtp(&self.packet, Urgency::Other, sockets);
            self.sent.add(now, sent);
            return;
        }
        sound.take_mix(pcm);
        while sound.has_packet() {
            let stamp = bandwidth.stamp(now, sound.has_transport_cc(), clock);
            self.packet.clear();
            if !sound.write(at, clock, stamp, &mut self.packet) {
                continue;
            }
            bandwidth.note_sent(now, stamp, self.packet.len());
            let sent = transport.send_rtp(&self.packet, Urgency::Other, sockets);
            self.sent.add(now, sent);
        }
    }

    /// Sends a composed picture to the screens of its class.
    pub fn send_composition(
        &mut self,
        now: Instant,
        picture: &Encoded,
        at: NtpTime,
        clock: &RoomClock,
        sockets: &Sockets,
    ) {
        for n in 0..self.screens.len() {
            let shows = self.screens[n].shows(&picture.scene, self.plan.waiting);
            let takes = shows && self.screens[n].takes(picture.composed_at, picture.droppable);
            if !takes || !self.screens[n].can_show(picture.key) {
                continue;
            }
            let timestamp = self.screens[n].timestamp(clock, at);
            let mut packetizer = self.screens[n].take_packetizer();
            let bytes = self.screens[n].levelled(picture);
            let cut = packetizer
                .1
                .packetize(&bytes, &picture.splits, |payload, marker| {
                    self.send_screen(now, n, clock, sockets, |screen, stamp, out| {
                        screen.write(
                            now,
                            &Outgoing {
                                timestamp,
                                marker,
                                payload,
                            },
                            stamp,
                            out,
                        );
                        true
                    });
                });
            if let Err(error) = cut {
                tracing::warn!(leg = %self.plan.id, %error, "picture not sent whole");
            }
            self.screens[n].return_packetizer(packetizer);
        }
    }

    /// Sources that its screens show or wait for, each with the screen's place.
    pub fn watched(&self) -> impl Iterator<Item = (usize, SourceKey)> {
        let screens = self.screens.iter().enumerate();
        screens.flat_map(|(n, screen)| screen.sources().map(move |source| (n, source)))
    }

    /// Forwards a packet of another leg, or of its own, to the screen at place `n`, if it shows it.
    pub fn forward(&mut self, now: Instant, n: usize, passing: &Passing<'_>, sockets: &Sockets) {
        let packet = passing.packet;
        let Some(screen) = self.screens.get(n) else {
            return;
        };
        // A terminal may have gone over to another codec since the layer was chosen.
        if !screen.is_shown(&packet.source) || packet.codec != screen.plan().codec {
            return;
        }
        self.send_screen(now, n, passing.room_clock, sockets, |screen, stamp, out| {
            screen.forward(now, passing, stamp, out)
        });
    }

    /// Has a screen write a packet and sends it.
    fn send_screen(
        &mut self,
        now: Instant,
        n: usize,
        clock: &RoomClock,
        sockets: &Sockets,
        write: impl FnOnce(&mut Screen, mcu_rtp::send::Stamp, &mut Vec<u8>) -> bool,
    ) {
        // Else one request with a stranger's address would be a hammer (RFC 5245 §18.5.1).
        if !self.plan.confirmed {
            return;
        }
        let screen = &mut self.screens[n];
        let place = screen.plan().transport;
        let Some(transport) = self.transports.get_mut(place).filter(|t| t.is_ready()) else {
            return;
        };
        let bandwidth = &mut self.bandwidth[place];
        let stamp = bandwidth.stamp(now, screen.plan().extensions.transport_cc != 0, clock);
        self.packet.clear();
        if !write(screen, stamp, &mut self.packet) {
            return;
        }
        bandwidth.note_sent(now, stamp, self.packet.len());
        let sent = transport.send_rtp(&self.packet, Urgency::Picture, sockets);
        self.sent.add(now, sent);
    }

    /// Forwards a packet of its own to the slots that show itself, as in a check of the network.
    pub fn forward_own(
        &mut self,
        now: Instant,
        (packet, whole): (&CameraPacket<'_>, &Bytes),
        room_clock: &RoomClock,
        sockets: &Sockets,
    ) {
        let id = self.plan.id;
        let shows_own = |screen: &Screen| screen.forwarded_leg().is_some_and(|(leg, _)| leg == id);
        if !self.screens.iter().any(shows_own) {
            return;
        }
        if let Some(own) = self.source_clock(packet.source.source).cloned() {
            let passing = Passing {
                packet,
                whole,
                source_clock: &own,
                room_clock,
            };
            for n in 0..self.screens.len() {
                self.forward(now, n, &passing, sockets);
            }
        }
    }

    /// Tells each slot which layer it shows. `best` finds the layer of another leg for heights and a
    /// budget in bit/s.
    pub fn choose_layers(
        &mut self,
        now: Instant,
        classes: &mut Classes,
        best: impl Fn(LegId, Heights, u32) -> Option<Chosen>,
    ) {
        let (own, camera) = (self.plan.id, self.camera.as_ref());
        let best = |leg, heights, budget| match leg == own {
            true => camera?.best_layer(now, heights, budget),
            false => best(leg, heights, budget),
        };
        let wishes: Vec<_> = self
            .screens
            .iter()
            .enumerate()
            .filter_map(|(n, screen)| {
                let (leg, heights) = screen.forwarded_leg()?;
                Some((n, leg, heights, screen.plan().max_bitrate_bps))
            })
            .collect();
        let visible = || {
            wishes
                .iter()
                .filter(|(_, _, heights, _)| heights.wanted > 0)
        };
        let ideal: u32 = visible()
            .filter_map(|(n, leg, heights, most)| {
                Some(self.screens[*n].ideal_bps(&best(*leg, *heights, *most)?, *heights))
            })
            .fold(0, u32::saturating_add);
        let fits = self
            .bandwidth
            .first_mut()
            .is_none_or(|b| b.try_rate(now, ideal));
        let budget = self
            .bandwidth
            .first()
            .map_or(u32::MAX, Bandwidth::target_bps);
        let share = if fits {
            u32::MAX
        } else {
            budget / visible().count().max(1) as u32
        };
        for (n, leg, heights, most) in wishes {
            let most = share.min(most);
            let wanted = match heights.wanted {
                0 => None,
                _ => best(leg, heights, most),
            };
            let wanted = wanted.map(|chosen| (leg, chosen));
            self.screens[n].choose(wanted, heights, most, classes);
        }
    }

    /// The camera's layer for heights and a budget.
    pub fn best_layer(&self, now: Instant, heights: Heights, budget_bps: u32) -> Option<Chosen> {
        self.camera.as_ref()?.best_layer(now, heights, budget_bps)
    }

    /// Clock of a layer of the camera.
    pub fn source_clock(&self, key: SourceKey) -> Option<&SourceClock> {
        self.camera
            .as_ref()
            .filter(|_| leg_of(key) == self.plan.id)?
            .source_clock(key)
    }

    /// A leg is gone: its layers are shown no more.
    pub fn remove_source(&mut self, leg: LegId) {
        for screen in &mut self.screens {
            for layer in 0..4 {
                screen.forwarder().remove_source(source_key(leg, layer));
            }
        }
    }

    /// Somebody needs a key frame of a layer, which may be of another leg's.
    pub fn request_key_of(&mut self, key: SourceKey) {
        if let Some(camera) = self.camera.as_mut().filter(|_| leg_of(key) == self.plan.id) {
            camera.request_key_of(key);
        }
    }

    /// Everybody needs a key frame.
    pub fn request_all_keys(&mut self) {
        if let Some(camera) = &mut self.camera {
            camera.request_all_keys();
        }
    }
}
