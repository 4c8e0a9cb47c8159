//! A room: its legs, its mixer, its picture, and the ways of packets between them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use mcu_api::codec::VideoClass;
use mcu_api::ids::{LegId, RoomId};
use mcu_api::inventory::RoomInventory;
use mcu_api::media::MediaEvent;
use mcu_api::plan::{LegPlan, Place, RoomPlan, VideoSource};
use mcu_rtp::clock::RoomClock;

use crate::audio::mixer::{self, Mixer};
use crate::blame::{self, Sender};
use crate::figures::Past;
use crate::leg::{Leg, Packet};
use crate::network::Sockets;
use crate::picture::{Composition, Done, Encoded, Picture, Tick, ViewName};
use crate::pool::Pool;
use crate::screen::Passing;
use crate::shared_encoders::SharedEncoders;
use crate::transcode::Classes;
use crate::transport::{Incoming, OpenError, Shared};
use crate::video::{Caption, Spot};
use crate::watchers::{Watcher, Watchers};

/// Layers of forwarded cameras are chosen anew at this interval.
const CHOOSE_LAYERS: Duration = Duration::from_millis(500);

/// What a room borrows from the worker while it acts.
pub struct Context<'a> {
    /// Monotonic now.
    pub now: Instant,
    /// All sockets.
    pub sockets: &'a mut Sockets,
    /// The browsers' port and certificate.
    pub shared: &'a Shared,
    /// Threads for video.
    pub pool: &'a Pool<Done>,
    /// News for the controller.
    pub events: &'a mut Vec<(RoomId, MediaEvent)>,
}

/// One room.
pub struct Room {
    id: RoomId,
    clock: RoomClock,
    plan: Option<RoomPlan>,
    legs: Vec<Leg>,
    mixer: Mixer,
    shared_encoders: SharedEncoders,
    picture: Picture,
    watchers: Watchers,
    /// It has a class of more than 30 pictures a second.
    is_fast: bool,
    /// Since the last composed picture.
    ticks: u32,
    next_choice: Instant,
    /// Of legs that are gone.
    past: Past,
    /// Reused for what a datagram held.
    incoming: Vec<Incoming>,
}

impl Room {
    /// An empty room whose clock shows `wall` now.
    pub fn new(id: RoomId, now: Instant, wall: SystemTime) -> Self {
        Self {
            id,
            clock: RoomClock::new(now, wall),
            plan: None,
            legs: Vec::new(),
            mixer: Mixer::new(mixer::Config::default()),
            shared_encoders: SharedEncoders::default(),
            picture: Picture::new(id, now),
            watchers: Watchers::default(),
            is_fast: false,
            ticks: 0,
            next_choice: now,
            past: Past::default(),
            incoming: Vec::new(),
        }
    }

    /// Makes the room what the plan says. Returns what could not be done, by leg.
    pub fn apply(
        &mut self,
        context: &mut Context<'_>,
        plan: RoomPlan,
    ) -> Vec<(Option<LegId>, String)> {
        if let Some(held) = &self.plan {
            if *held == plan {
                return Vec::new();
            }
            if plan.generation <= held.generation {
                let reason = format!("generation {} is in force", held.generation);
                return vec![(None, reason)];
            }
        }
        self.close_absent(context, &plan);
        let mut refusals = Vec::new();
        for leg in &plan.legs {
            if let Err(error) = self.apply_leg(context, leg, &plan.cname) {
                refusals.push((Some(leg.id), error.to_string()));
            }
        }
        self.picture.want_stills(context.now, plan.still);
        self.picture.set_views(compositions(&plan));
        self.is_fast = is_fast(&plan);
        self.plan = Some(plan);
        self.choose_layers(context.now);
        refusals
    }

    fn close_absent(&mut self, context: &mut Context<'_>, plan: &RoomPlan) {
        let stays = |leg: &Leg| plan.legs.iter().any(|planned| planned.id == leg.id());
        let (kept, gone): (Vec<Leg>, Vec<Leg>) = self.legs.drain(..).partition(stays);
        self.legs = kept;
        for mut leg in gone {
            self.end(&mut leg, context);
            self.forget(leg.id());
        }
    }

    fn forget(&mut self, leg: LegId) {
        self.mixer.remove(leg);
        self.picture.remove(leg);
        for other in &mut self.legs {
            other.remove_source(leg);
        }
    }

    fn apply_leg(
        &mut self,
        context: &mut Context<'_>,
        plan: &LegPlan,
        cname: &str,
    ) -> Result<(), OpenError> {
        let _held = blame::hold(self.id, plan.id, Sender::Peer);
        let place = self.legs.iter().position(|leg| leg.id() == plan.id);
        let result = match place {
            Some(place) => {
                let leg = &mut self.legs[place];
                leg.update(context.now, self.id, plan, context.shared, context.sockets)
            }
            None => {
                let (shared, sockets) = (context.shared, &mut *context.sockets);
                Leg::open(context.now, self.id, plan, cname, shared, sockets)
                    .map(|leg| self.legs.push(leg))
            }
        };
        if result.is_err()
            && let Some(place) = place
        {
            let mut leg = self.legs.remove(place);
            self.end(&mut leg, context);
            self.forget(plan.id);
        }
        result
    }

    /// Closes everything.
    pub fn close(&mut self, context: &mut Context<'_>) {
        for mut leg in std::mem::take(&mut self.legs) {
            self.end(&mut leg, context);
        }
    }

    fn end(&mut self, leg: &mut Leg, context: &mut Context<'_>) {
        self.past.add(&leg.inventory(context.now, 0));
        leg.close(context.now, context.sockets);
    }

    /// What went to and from legs that are gone.
    pub fn past(&self) -> Past {
        self.past
    }

    /// Whether the leg is here.
    pub fn has(&self, leg: LegId) -> bool {
        self.legs.iter().any(|l| l.id() == leg)
    }

    /// Whether an authentic check of the leg came from this address.
    pub fn knows(&self, leg: LegId, address: SocketAddr) -> bool {
        self.legs.iter().any(|l| l.id() == leg && l.knows(address))
    }

    /// A TCP connection of a leg ended.
    pub fn lose_path(&mut self, now: Instant, leg: LegId, address: SocketAddr) {
        if let Some(leg) = self.legs.iter_mut().find(|l| l.id() == leg) {
            leg.lose_path(now, address);
        }
    }

    /// ICE user fragments of the browsers here.
    pub fn ufrags(&self) -> impl Iterator<Item = (LegId, &str)> {
        self.legs
            .iter()
            .filter_map(|leg| Some((leg.id(), leg.ufrag()?)))
    }

    /// A datagram of a leg.
    pub fn receive(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        transport: usize,
        from: SocketAddr,
        on_rtcp_port: bool,
        datagram: &[u8],
    ) {
        let Some(place) = self.legs.iter().position(|l| l.id() == leg) else {
            return;
        };
        let sender = self.legs[place].sender_at(transport, from, on_rtcp_port);
        let _held = blame::hold(self.id, leg, sender);
        let mut incoming = std::mem::take(&mut self.incoming);
        let input = (from, on_rtcp_port, datagram);
        self.legs[place].receive(
            context.now,
            transport,
            input,
            context.sockets,
            &mut incoming,
        );
        self.handle_incoming(context, place, transport, &mut incoming);
        self.incoming = incoming;
    }

    fn handle_incoming(
        &mut self,
        context: &mut Context<'_>,
        place: usize,
        transport: usize,
        incoming: &mut Vec<Incoming>,
    ) {
        for item in incoming.drain(..) {
            let leg = &mut self.legs[place];
            match item {
                Incoming::Rtp(packet) => self.handle_rtp(context, place, transport, &packet),
                Incoming::Rtcp(compound) => {
                    leg.handle_rtcp(
                        context.now,
                        transport,
                        &compound,
                        &self.clock,
                        context.sockets,
                    );
                }
                Incoming::Connected => leg.set_connected(),
                Incoming::Failed => leg.set_failed(),
            }
            if let Some(event) = self.legs[place].take_event() {
                context.events.push((self.id, event));
            }
        }
    }

    fn handle_rtp(
        &mut self,
        context: &mut Context<'_>,
        place: usize,
        transport: usize,
        packet: &Bytes,
    ) {
        let (before, rest) = self.legs.split_at_mut(place);
        let Some((leg, after)) = rest.split_first_mut() else {
            return;
        };
        match leg.handle_rtp(context.now, transport, packet, &self.clock) {
            Some(Packet::Dtmf(key)) => {
                let event = MediaEvent::Dtmf { leg: leg.id(), key };
                context.events.push((self.id, event));
            }
            Some(Packet::Video(video)) if leg.is_in() => {
                let watchers = self.watchers.of(video.source.source);
                let source_clock = leg.source_clock(video.source.source);
                if let Some(source_clock) = source_clock.filter(|_| !watchers.is_empty()) {
                    let passing = Passing {
                        packet: &video,
                        whole: packet,
                        source_clock,
                        room_clock: &self.clock,
                    };
                    forward(context, &passing, watchers, (before, after));
                }
                let own = (&video, packet);
                leg.forward_own(context.now, own, &self.clock, context.sockets);
            }
            Some(Packet::Video(_)) | None => {}
        }
        leg.ask_for_lost(context.now, context.sockets);
        let whose = (leg.id(), leg.sender());
        if let Some(camera) = leg.camera() {
            self.picture.take_pictures(context, whose, camera);
            if camera.take_awoken() {
                // Who waits for it, after a join or in a new process, asks for its key frame at once.
                self.next_choice = context.now;
            }
        }
    }

    /// Mixes the 20 ms of sound that were due at `due` and does what else falls due.
    pub fn audio_tick(&mut self, context: &mut Context<'_>, due: Instant) {
        self.mixer.begin_tick();
        for leg in &mut self.legs {
            let (id, is_in, care) = (leg.id(), leg.is_in(), leg.care());
            let _held = blame::hold(self.id, id, leg.sender());
            // Who waits is decoded all the same, to be heard without a gap once it is in.
            if let Some(pcm) = leg.hear(context.now, &self.clock).filter(|_| is_in) {
                self.mixer.add(id, pcm, care);
            }
        }
        self.mixer.choose();
        for leg in &self.legs {
            let _held = blame::hold(self.id, leg.id(), leg.sender());
            self.mixer.prepare(leg.id());
        }
        if self.mixer.mix() {
            let leg = self.mixer.active_speaker();
            context
                .events
                .push((self.id, MediaEvent::ActiveSpeaker { leg }));
        }
        self.speak(context, due);
        self.serve_legs(context);
        if context.now >= self.next_choice {
            self.next_choice = context.now + CHOOSE_LAYERS;
            self.choose_layers(context.now);
        }
        self.hand_on_key_requests(context);
    }

    /// Gives every leg what it hears.
    fn speak(&mut self, context: &mut Context<'_>, due: Instant) {
        let encoders = &mut self.shared_encoders;
        encoders.begin_tick();
        for leg in &mut self.legs {
            let listens = leg.is_in() && !self.mixer.is_mixed(leg.id());
            leg.listen(listens, encoders);
        }
        for leg in &mut self.legs {
            let prompt;
            let pcm = if leg.is_in() {
                self.mixer.personal(leg.id())
            } else {
                prompt = *leg.prompt();
                &prompt
            };
            let at = (context.now, due);
            leg.speak(at, (pcm, encoders), &self.clock, context.sockets);
        }
    }

    /// Timers of transports and streams: handshakes, NACK, feedback, reports.
    fn serve_legs(&mut self, context: &mut Context<'_>) {
        let mut incoming = std::mem::take(&mut self.incoming);
        for place in 0..self.legs.len() {
            let sender = self.legs[place].sender();
            let _held = blame::hold(self.id, self.legs[place].id(), sender);
            for transport in 0..self.legs[place].transports() {
                let leg = &mut self.legs[place];
                leg.handle_timeout(context.now, transport, context.sockets, &mut incoming);
                self.handle_incoming(context, place, transport, &mut incoming);
            }
            let (before, rest) = self.legs.split_at_mut(place);
            let Some((leg, after)) = rest.split_first_mut() else {
                continue;
            };
            let others = || before.iter().chain(after.iter());
            let source_clock = |key| others().find_map(|other| other.source_clock(key));
            let id = leg.id();
            if let Some(camera) = leg.camera() {
                self.picture.take_pictures(context, (id, sender), camera);
            }
            leg.send_feedback(context.now, context.sockets);
            leg.send_reports(context.now, &self.clock, source_clock, context.sockets);
        }
        self.incoming = incoming;
    }

    /// Decides for every slot which layer of which camera it shows, and for the composition which
    /// layer is decoded.
    fn choose_layers(&mut self, now: Instant) {
        let mut classes = Classes::new(self.legs.iter().flat_map(Leg::encoded_anew));
        for place in 0..self.legs.len() {
            let (before, rest) = self.legs.split_at_mut(place);
            let Some((leg, after)) = rest.split_first_mut() else {
                continue;
            };
            let others = || before.iter().chain(after.iter());
            let is_in = leg.is_in();
            leg.choose_layers(now, &mut classes, |id, heights, budget| {
                others()
                    .filter(|other| is_in && other.is_in())
                    .find(|other| other.id() == id)?
                    .best_layer(now, heights, budget)
            });
        }
        let alone = self.legs.iter().filter(|leg| leg.is_in());
        self.picture.show_alone(alone.flat_map(Leg::shown_alone));
        for leg in &mut self.legs {
            let height = self.picture.decoded_height(leg.id());
            if height.is_none() {
                self.picture.stop_decoding(leg.id());
            }
            if let Some(camera) = leg.camera() {
                camera.decode_for(now, height);
            }
        }
        self.note_watchers();
        self.share_encoders();
    }

    /// Who takes half as many pictures a second as others takes every second one of theirs.
    fn share_encoders(&mut self) {
        let mut composed: Vec<(ViewName, VideoClass)> = Vec::new();
        for (view, class) in self.legs.iter().flat_map(Leg::composed) {
            if !composed
                .iter()
                .any(|(known, of)| (known, of) == (view, class))
            {
                composed.push((view.clone(), class.clone()));
            }
        }
        for leg in &mut self.legs {
            for scene in leg.share_encoders(&composed) {
                self.picture.request_key(&scene);
            }
        }
    }

    fn note_watchers(&mut self) {
        let legs = self.legs.iter().enumerate();
        self.watchers.set(legs.flat_map(|(leg, watching)| {
            let watched = watching.watched();
            watched.map(move |(screen, source)| (source, Watcher { leg, screen }))
        }));
    }

    /// Takes what receivers ask for to encoders and cameras, coalesced there.
    fn hand_on_key_requests(&mut self, context: &mut Context<'_>) {
        let mut cameras = Vec::new();
        for leg in &mut self.legs {
            let (mut scenes, notice) = (Vec::new(), leg.notice());
            for screen in leg.screens() {
                cameras.extend(screen.forwarder().awaits_key_frame());
                if !screen.take_key_request() {
                    continue;
                }
                match screen.scene(notice) {
                    Some(scene) => scenes.push(scene),
                    None => cameras.extend(screen.showing()),
                }
            }
            for scene in scenes {
                self.picture.request_key(&scene);
            }
        }
        for key in cameras {
            for leg in &mut self.legs {
                leg.request_key_of(key);
            }
        }
        for damaged in self.picture.take_damaged() {
            if let Some(leg) = self.legs.iter_mut().find(|leg| leg.id() == damaged)
                && let Some(camera) = leg.camera()
            {
                camera.request_decoded_key();
            }
        }
        for leg in &mut self.legs {
            if leg.ask_for_key_frames(context.now, context.sockets) {
                let event = MediaEvent::KeyFrameNeeded { leg: leg.id() };
                context.events.push((self.id, event));
            }
        }
    }

    /// Makes no stills any more, whatever the plan says.
    pub fn make_no_stills(&mut self, now: Instant) {
        self.picture.want_stills(now, false);
    }

    /// The controller asks for a key frame of the leg's camera, or to the leg.
    pub fn request_key(&mut self, leg: LegId, to_leg: bool) {
        let Some(leg) = self.legs.iter_mut().find(|l| l.id() == leg) else {
            return;
        };
        if to_leg {
            leg.screens()
                .iter_mut()
                .for_each(crate::screen::Screen::want_key);
        } else {
            leg.request_all_keys();
        }
    }

    /// Starts the next composed picture, so many ticks after the last call. A room
    /// that has no class of more than 30 pictures a second passes over each second tick.
    pub fn video_tick(&mut self, context: &mut Context<'_>, tick: Tick) {
        self.ticks += tick.ticks;
        if self.ticks < 2 && !self.is_fast() {
            return;
        }
        let ticks = std::mem::take(&mut self.ticks);
        self.picture.set_speaker(self.mixer.active_speaker());
        let scenes = self.legs.iter().flat_map(Leg::live_scenes);
        let tick = Tick { ticks, ..tick };
        self.picture.tick(context, tick, scenes);
    }

    /// Whether it has a class of more than 30 pictures a second.
    pub fn is_fast(&self) -> bool {
        self.is_fast
    }

    /// A job for this room is finished. What was encoded is to be delivered.
    pub fn take_result(&mut self, context: &mut Context<'_>, done: Done) -> Option<Encoded> {
        self.picture.take_result(context, done)
    }

    /// Sends an encoded picture to those of these legs, by their number in the room, who take it. Whether
    /// there are more.
    pub fn deliver(
        &mut self,
        context: &mut Context<'_>,
        encoded: &Encoded,
        legs: Range<usize>,
    ) -> bool {
        let at = self.clock.ntp(encoded.composed_at);
        let count = self.legs.len();
        for leg in &mut self.legs[legs.start.min(count)..legs.end.min(count)] {
            leg.send_composition(context.now, encoded, at, &self.clock, context.sockets);
        }
        legs.end < count
    }

    /// Of the plan in force; 0 without one.
    pub fn generation(&self) -> u64 {
        self.plan.as_ref().map_or(0, |plan| plan.generation)
    }

    /// What the room holds.
    pub fn inventory(&mut self, now: Instant, with_plan: bool) -> RoomInventory {
        let mut legs = Vec::with_capacity(self.legs.len());
        for leg in &mut self.legs {
            let level = self.mixer.level_dbov(leg.id());
            legs.push(leg.inventory(now, level));
        }
        RoomInventory {
            room: self.id,
            generation: self.generation(),
            plan: self.plan.clone().filter(|_| with_plan),
            active_speaker: self.mixer.active_speaker(),
            encoders: self.picture.encoders(),
            decoders: self.picture.decoders(),
            legs,
        }
    }
}

/// What a plan wants composed.
fn compositions(plan: &RoomPlan) -> HashMap<ViewName, Composition> {
    let views = plan.views.iter();
    let all = views.map(|(name, view)| (Some(name.clone()), view));
    let all = all.chain(std::iter::once((None, &plan.composition)));
    all.map(|(name, view)| {
        let classes: Vec<&VideoClass> = classes(plan, &name).collect();
        let composition = Composition {
            canvas: view.canvas,
            is_tall: classes.iter().any(|class| class.height > 720),
            spots: spots(plan, view),
            is_watched: !classes.is_empty(),
        };
        (name, composition)
    })
    .collect()
}

/// What lies where. Whoever waits is not shown, whatever the plan says.
fn spots(plan: &RoomPlan, view: &mcu_api::plan::Composition) -> Vec<Spot> {
    let spot = |place: Place| {
        let leg = plan.legs.iter().find(|leg| leg.id == place.leg);
        if leg.is_some_and(|leg| leg.waiting.is_some()) {
            return None;
        }
        let video = leg.and_then(|leg| leg.video_receive.as_ref());
        let audio = leg.and_then(|leg| leg.audio.as_ref());
        let is_drawn = !place.name.0.is_empty();
        Some(Spot {
            leg: place.leg,
            cell: place.cell,
            is_held: video.is_none_or(|video| video.muted),
            caption: Caption {
                is_drawn,
                name: place.name,
                muted: is_drawn && audio.is_none_or(|audio| audio.muted),
                speaks: false,
            },
        })
    };
    view.places().into_iter().filter_map(spot).collect()
}

/// In what it is received. What nobody receives is not decoded.
fn classes<'p>(plan: &'p RoomPlan, name: &ViewName) -> impl Iterator<Item = &'p VideoClass> {
    let legs = plan.legs.iter().filter(|leg| leg.waiting.is_none());
    let sends = legs.flat_map(|leg| &leg.video_send);
    sends.filter_map(move |send| match &send.source {
        Some(VideoSource::Composition { class, view }) if view == name => Some(class),
        _ => None,
    })
}

/// Whether somebody receives more than 30 pictures a second.
fn is_fast(plan: &RoomPlan) -> bool {
    let legs = plan.legs.iter().filter(|leg| leg.waiting.is_none());
    let mut sends = legs.flat_map(|leg| &leg.video_send);
    sends.any(|send| match &send.source {
        Some(VideoSource::Composition { class, .. }) => class.frame_rate > 30,
        _ => false,
    })
}

/// Sends a camera's packet to the screens that show it, at the legs before and after its own.
fn forward(
    context: &mut Context<'_>,
    passing: &Passing<'_>,
    watchers: &[Watcher],
    (before, after): (&mut [Leg], &mut [Leg]),
) {
    for watcher in watchers {
        let leg = match watcher.leg.checked_sub(before.len()) {
            None => before.get_mut(watcher.leg),
            Some(0) => None,
            Some(place) => after.get_mut(place - 1),
        };
        if let Some(leg) = leg.filter(|leg| leg.is_in()) {
            leg.forward(context.now, watcher.screen, passing, context.sockets);
        }
    }
}
