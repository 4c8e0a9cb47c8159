//! The media processor as the controller sees it: its lives, its inventory, and the rooms of an
//! earlier life of the controller that it still holds.

use std::time::{Duration, Instant};

use mcu_api::call::CallCommand;
use mcu_api::codec::VideoClass;
use mcu_api::figures;
use mcu_api::ids::{CallId, InstanceId, LegId, RoomId};
use mcu_api::inventory::{Inventory, LegInventory, LegState, RoomInventory};
use mcu_api::manager::{Refusal, ServerMessage};
use mcu_api::media::{FromMedia, MediaEvent, ProcessorHello, ToMedia};
use mcu_api::plan::{LegPlan, RoomPlan, Transport, VideoSource};
use tracing::{debug, info, warn};

use super::chat::Writer;
use super::meetings::Graded;
use super::ports::REST;
use super::rollovers::Rollovers;
use super::room::{BrowserLeg, Dialog, Leg, LegKind, Media, Room, SipLeg, View};
use super::state::{SavedKind, SavedLeg, SavedRest, SavedRoom, SavedWaiting, State};
use super::{Controller, MEDIA_WAIT, Output, leg_of_call, legs_where};

/// Seconds of silence after which a terminal counts as gone whose dialog was lost.
const MAX_LOST_DIALOG_SILENCE_S: u32 = 60;

/// An inventory younger than this after a plan may have been made before it.
const PLAN_SETTLES: Duration = Duration::from_secs(2);

/// What is known about the processor.
#[derive(Debug)]
pub struct Processor {
    hello: Option<ProcessorHello>,
    /// Instance of the processor that holds our plans, over disconnections and our own death.
    instance: Option<InstanceId>,
    ready: bool,
    awaited_until: Instant,
    /// What it said last of itself, and when.
    figures: Option<(figures::Media, Instant)>,
}

impl Processor {
    /// One that is awaited from `now` on; `instance` is the one that an earlier life of the
    /// controller knew.
    pub fn new(now: Instant, instance: Option<InstanceId>) -> Self {
        Self {
            hello: None,
            instance,
            ready: false,
            awaited_until: now + MEDIA_WAIT,
            figures: None,
        }
    }

    /// What it said last of itself, and when, while it is there.
    pub fn figures(&self) -> Option<(&figures::Media, Instant)> {
        let figures = self.figures.as_ref().filter(|_| self.ready);
        figures.map(|(figures, at)| (figures, *at))
    }

    /// Whether plans can be sent.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Until when its coming is worth waiting for.
    pub fn awaited_until(&self) -> Instant {
        self.awaited_until
    }

    /// What it offers, while plans can be sent.
    pub fn hello(&self) -> Option<&ProcessorHello> {
        self.hello.as_ref().filter(|_| self.ready)
    }

    /// Instance that holds our plans.
    pub fn instance(&self) -> Option<InstanceId> {
        self.instance
    }

    /// The connection is gone.
    pub fn disconnected(&mut self, now: Instant) {
        if self.ready {
            warn!("media processor lost");
        }
        self.ready = false;
        self.figures = None;
        self.awaited_until = now + MEDIA_WAIT;
    }
}

impl Controller {
    pub(super) fn handle_media(&mut self, message: FromMedia) {
        match message {
            FromMedia::Hello(hello) => self.media_hello(hello),
            FromMedia::Inventory(inventory) => self.media_inventory(inventory),
            FromMedia::Held { rooms } => self.media_holds(&rooms),
            FromMedia::Refused {
                room,
                generation,
                leg,
                reason,
            } => {
                self.plan_refused(room, generation, leg, &reason);
            }
            FromMedia::Event { room, event } => self.media_event(room, event),
        }
    }

    fn media_hello(&mut self, mut hello: ProcessorHello) {
        info!(instance = %hello.instance, "media processor answers");
        let replaced = self
            .processor
            .instance
            .is_some_and(|known| known != hello.instance);
        let dead = self.processor.instance;
        let deaths = std::mem::take(&mut hello.deaths);
        let (low, high) = (hello.port_low, hello.port_high);
        self.ports
            .set_range(low, high, hello.webrtc_port, &mut self.rng);
        self.processor.instance = Some(hello.instance);
        self.processor.hello = Some(hello);
        if replaced {
            // It holds nothing of ours, so there is nothing to wait for.
            self.take_up_earlier(&Inventory::default(), true);
            // Before any plan is sent: another life would die of the same leg.
            self.convict(dead, &deaths);
            self.show_fingerprint();
            self.start_media_anew();
            self.processor.ready = true;
        }
    }

    /// The certificate of the processor's life now, for the descriptions to come.
    fn show_fingerprint(&mut self) {
        let Some(sha256) = self.processor.hello.as_ref().map(|h| h.fingerprint_sha256) else {
            return;
        };
        for leg in self.rooms.iter_mut().flat_map(|room| &mut room.legs) {
            if let Some(dialog) = leg.dialog_mut() {
                dialog.exchange.set_fingerprint(sha256);
            }
        }
    }

    /// After the processor's death: new SSRCs for terminals, whose transports are made again as they
    /// were; new offers of browsers, whose keys died with it.
    fn start_media_anew(&mut self) {
        let mut renew = Vec::new();
        for room in &mut self.rooms {
            (room.sent, room.held) = (None, 0);
            room.dirty = true;
            for leg in &mut room.legs {
                leg.stats = None;
                leg.graded = Graded::default();
                match &mut leg.kind {
                    LegKind::Sip(sip) => {
                        sip.renew_ssrcs(leg.id, &mut leg.media, &mut self.rng);
                        sip.rollovers.renew_plan();
                        // A handshake that was under way, or whose keys nobody has told us.
                        if let Some(dialog) = &mut sip.dialog
                            && dialog.exchange.lacks_keys()
                        {
                            let offer = dialog.offer(&mut self.rng);
                            self.outputs.push_back(Output::Call(offer));
                        }
                    }
                    LegKind::Browser(browser) => {
                        renew.extend(browser.conn);
                        leg.media = None;
                    }
                }
            }
        }
        for conn in renew {
            self.tell(conn, ServerMessage::Renew);
        }
    }

    fn media_holds(&mut self, held: &[(RoomId, u64)]) {
        for room in &mut self.rooms {
            let news = held.iter().find(|(id, _)| *id == room.id);
            room.held = news.map_or(room.held, |(_, generation)| *generation);
        }
    }

    fn media_inventory(&mut self, inventory: Inventory) {
        if self.processor.hello.is_none() {
            return;
        }
        if !self.processor.ready {
            self.take_up_earlier(&inventory, false);
            self.show_fingerprint();
            self.learn_plans(&inventory);
            self.processor.ready = true;
        }
        self.processor.figures = inventory.figures.map(|figures| (figures, self.now));
        self.look_at_load();
        for held in inventory.rooms.iter() {
            match self.rooms.iter_mut().find(|room| room.id == held.room) {
                Some(room) => note_inventory(room, held, self.now),
                None => self.remove_unknown(held),
            }
        }
        for room in &mut self.rooms {
            let generation = inventory.rooms.iter().find(|held| held.room == room.id);
            reconcile(room, generation.map(|held| held.generation), self.now);
        }
        self.remove_lost_legs();
        self.probe_silent_terminals();
    }

    /// A processor that we lost sight of says what it holds.
    fn learn_plans(&mut self, inventory: &Inventory) {
        for room in &mut self.rooms {
            let held = inventory.rooms.iter().find(|held| held.room == room.id);
            room.sent = held.and_then(|held| held.plan.clone());
            room.generation = room.generation.max(held.map_or(0, |held| held.generation));
            room.dirty = true;
        }
    }

    /// A room of which nobody knows the number or the legs. Its ports rest.
    fn remove_unknown(&mut self, held: &RoomInventory) {
        warn!(room = %held.room, "unknown room of the media processor removed");
        for leg in held.plan.iter().flat_map(|plan| &plan.legs) {
            for port in rtp_ports(leg) {
                self.ports.rest(self.now, port);
            }
        }
        self.outputs
            .push_back(Output::Media(ToMedia::RemoveRoom { room: held.room }));
    }

    /// Takes up the rooms of the controller's earlier life: terminals whose calls or media go on, and
    /// browsers in any case, since their pages come back by their tokens. A call that goes on where
    /// media does not is hung up, unless the processor was `replaced`, which explains it.
    fn take_up_earlier(&mut self, inventory: &Inventory, replaced: bool) {
        let Some(earlier) = self.earlier.take() else {
            return;
        };
        self.rest_earlier_ports(&earlier);
        let calls: Vec<CallId> = earlier.calls().collect();
        for saved in earlier.rooms {
            let held = inventory.rooms.iter().find(|held| held.room == saved.room);
            let plan = held.and_then(|held| held.plan.as_ref());
            if self.config.room(&saved.number).is_some() {
                self.take_up_room(saved, plan, replaced);
            }
        }
        for call in calls {
            if leg_of_call(&mut self.rooms, call).is_none() {
                info!(%call, "call of an earlier life is hung up");
                self.tell_call(CallCommand::Hangup { call });
            }
        }
        self.repeat_open_offers();
    }

    /// An answer may have come while nobody was here: the peer is asked once more.
    fn repeat_open_offers(&mut self) {
        for leg in self.rooms.iter_mut().flat_map(|room| &mut room.legs) {
            let Some(dialog) = leg.dialog_mut() else {
                continue;
            };
            if dialog.exchange.withdraw_offer() {
                let offer = dialog.offer(&mut self.rng);
                self.outputs.push_back(Output::Call(offer));
            }
        }
    }

    /// Lets the pairs of an earlier life rest: those that rested then, and those of all its calls,
    /// which are reserved afterwards where their media goes on.
    fn rest_earlier_ports(&mut self, earlier: &State) {
        let unix_s = self.unix_s();
        let rested = earlier.resting.iter().filter_map(|saved| {
            let left_s = saved.until_unix_s.checked_sub(unix_s).filter(|s| *s > 0)?;
            // The calendar may have been set back meanwhile.
            Some((saved.port, self.now + Duration::from_secs(left_s).min(REST)))
        });
        let legs = earlier.rooms.iter().flat_map(|room| &room.legs);
        let used = legs.flat_map(|leg| match &leg.kind {
            SavedKind::Sip { ports, .. } => ports.as_slice(),
            SavedKind::Browser { .. } => &[],
        });
        let used = used.map(|port| (*port, self.now + REST));
        self.ports.rest_earlier(rested.chain(used));
    }

    fn take_up_room(&mut self, saved: SavedRoom, plan: Option<&RoomPlan>, replaced: bool) {
        let cname = match plan {
            Some(plan) => plan.cname.clone(),
            None => self.cname_for(&saved.number),
        };
        let mut room = Room::new(saved.room, saved.number, cname, self.now);
        room.pins = saved.pins;
        if let Some(plan) = plan {
            room.generation = plan.generation;
            let places = plan.composition.places().into_iter();
            let cells = places.map(|place| Some(place.leg)).collect();
            room.cells.insert(View::default(), cells);
        }
        for leg in saved.legs {
            room.legs.extend(take_up_leg(leg, plan, replaced, self.now));
        }
        for sip in room.legs.iter().filter_map(Leg::sip) {
            for port in &sip.ports {
                self.ports.reserve(*port);
            }
        }
        for leg in plan.iter().flat_map(|plan| &plan.legs) {
            let gone = room.leg(leg.id).is_none();
            for port in rtp_ports(leg).filter(|_| gone) {
                self.ports.rest(self.now, port);
            }
        }
        info!(room = %room.id, legs = room.legs.len(), "room taken up");
        self.rooms.push(room);
    }

    /// Removes legs that will not come back. What the processor says decides, so it must be there.
    pub(super) fn remove_lost_legs(&mut self) {
        if !self.processor.is_ready() {
            return;
        }
        self.remove_lost_browsers();
        let silent = |leg: &Leg| {
            let silent_s = leg.stats.as_ref().map_or(0, |stats| stats.silent_s);
            leg.sip().is_some_and(|sip| sip.dialog.is_none())
                && silent_s >= MAX_LOST_DIALOG_SILENCE_S
        };
        for (room, leg) in legs_where(&self.rooms, silent) {
            self.remove_leg(room, leg, "silent, and its dialog is lost");
        }
    }

    /// A leg at fault is put out, so that the others have what they agreed on. Without one the next
    /// inventory shows what is in force.
    fn plan_refused(&mut self, room: RoomId, generation: u64, leg: Option<LegId>, reason: &str) {
        warn!(room = %room, generation, leg = leg.map(|leg| leg.0), reason, "plan refused");
        let current = self
            .rooms
            .iter()
            .any(|r| r.id == room && r.generation == generation);
        let Some(leg) = leg.filter(|_| current) else {
            return;
        };
        if let Some(leg) = self.remove_leg(room, leg, "its media cannot be set up") {
            self.turn_out(leg, Refusal::NoMedia, |call| CallCommand::Hangup { call });
        }
    }

    fn media_event(&mut self, room: RoomId, event: MediaEvent) {
        let Some(room) = self.rooms.iter_mut().find(|r| r.id == room) else {
            return;
        };
        match event {
            MediaEvent::Connected { leg } => room.note_state(leg, LegState::Connected),
            MediaEvent::Failed { leg } => room.note_state(leg, LegState::Failed),
            MediaEvent::ActiveSpeaker { leg } => note_speaker(room, leg, self.now),
            MediaEvent::Dtmf { leg, key } => {
                debug!(room = %room.id, leg = %leg, "telephone key");
                let room = room.id;
                self.pressed(room, leg, key);
            }
            MediaEvent::Still { still } => room.note_still(self.now, still),
            MediaEvent::KeyFrameNeeded { leg } => {
                let dialog = room
                    .leg(leg)
                    .and_then(Leg::sip)
                    .and_then(|sip| sip.dialog.as_ref());
                if let Some(call) = dialog.map(|dialog| dialog.call) {
                    self.tell_call(CallCommand::RequestKeyFrame { call });
                }
            }
        }
    }

    /// Pairs at rest, to be kept beside the rooms. They are many where calls come and go, so that only
    /// who writes them asks.
    pub fn resting(&self) -> Vec<SavedRest> {
        let here = self.ports.resting().map(|(port, end)| SavedRest {
            port,
            until_unix_s: self.unix_s_of(end),
        });
        let earlier = self.earlier.iter().flat_map(|state| &state.resting);
        earlier.copied().chain(here).collect()
    }

    /// What is to be kept of all rooms, but for the ports at rest.
    pub(super) fn state(&self) -> State {
        State {
            instance: self.processor.instance(),
            next_room: self.next_room,
            next_leg: self.next_leg,
            rooms: self
                .rooms
                .iter()
                .filter(|room| !room.legs.is_empty())
                .map(saved_room)
                .collect(),
            resting: Vec::new(),
            quarantine: self.quarantine.clone(),
        }
    }
}

fn note_inventory(room: &mut Room, held: &RoomInventory, now: Instant) {
    room.held = held.generation;
    room.encoders = held.encoders;
    room.decoders = held.decoders;
    note_speaker(room, held.active_speaker, now);
    let sent = room.sent.as_ref();
    let in_force = sent.filter(|sent| sent.generation == held.generation);
    for stats in &held.legs {
        let Some(leg) = room.legs.iter_mut().find(|leg| leg.id == stats.leg) else {
            continue;
        };
        note_rollovers(leg, in_force, stats);
        room.dirty |= note_dtls_keys(leg, stats);
        room.dirty |= leg.graded.note(stats);
        leg.stats = Some(stats.clone());
        room.dirty |= leg.note_sound_lag(stats.sound_lag_ms);
    }
}

/// Only a report on the plan that is in force tells which keys its counts belong to.
fn note_rollovers(leg: &mut Leg, in_force: Option<&RoomPlan>, stats: &LegInventory) {
    let id = leg.id;
    let plan = in_force.and_then(|plan| plan.legs.iter().find(|plan| plan.id == id));
    if let (LegKind::Sip(sip), Some(plan)) = (&mut leg.kind, plan) {
        sip.rollovers.note(&plan.transports, stats);
    }
}

/// What a handshake agreed on is kept with the call, as SDES keys are: with it another processor goes
/// on without another handshake. Whether there is news.
fn note_dtls_keys(leg: &mut Leg, stats: &LegInventory) -> bool {
    let id = leg.id;
    let Some((exchange, media)) = leg.exchange() else {
        return false;
    };
    let mut news = false;
    for (transport, keys) in stats.dtls_keys.iter().enumerate() {
        let keys = keys.as_ref();
        news |= keys.is_some_and(|keys| exchange.note_dtls_keys(transport, keys));
    }
    if news {
        *media = exchange.media(id);
    }
    news
}

fn note_speaker(room: &mut Room, speaker: Option<LegId>, now: Instant) {
    if room.speaker == speaker {
        return;
    }
    room.speaker = speaker;
    room.dirty = true;
    if let Some(leg) = speaker.and_then(|leg| room.leg_mut(leg)) {
        leg.spoke_at = Some(now);
    }
}

/// A processor that holds another generation than was sent some time ago gets the plan again.
fn reconcile(room: &mut Room, held: Option<u64>, now: Instant) {
    let recent = now < room.sent_at + PLAN_SETTLES;
    if room.sent.is_none() || recent || held == Some(room.generation) {
        return;
    }
    warn!(room = %room.id, ?held, sent = room.generation, "plan not in force, sent again");
    room.generation = room.generation.max(held.unwrap_or(0));
    room.sent = None;
    room.dirty = true;
}

/// A leg of the controller's earlier life; `plan` is what the processor holds for its room.
fn take_up_leg(
    saved: SavedLeg,
    plan: Option<&RoomPlan>,
    replaced: bool,
    now: Instant,
) -> Option<Leg> {
    let held = plan.and_then(|plan| plan.legs.iter().find(|held| held.id == saved.leg));
    let mut media = held.map(held_media);
    let kind = match saved.kind {
        SavedKind::Sip {
            ports,
            confirmed,
            call,
        } => {
            let (dialog, ports, confirmed) = match call {
                // Media of a call that nobody has acknowledged may not have begun.
                Some(call) if held.is_some() || replaced || !confirmed => {
                    let dialog = Dialog::restore(*call);
                    media = Some(dialog.exchange.media(saved.leg)?);
                    (Some(dialog), ports, confirmed)
                }
                _ => (None, rtp_ports(held?).collect(), held?.confirmed),
            };
            LegKind::Sip(SipLeg {
                dialog,
                ports,
                confirmed,
                rollovers: Rollovers::default(),
                ringing: None,
                dialled: saved.dialled,
                transferring: None,
            })
        }
        SavedKind::Browser {
            token,
            slots,
            pass,
            original_sound,
        } => LegKind::Browser(BrowserLeg {
            conn: None,
            gone_at: Some(now),
            token,
            heights: heights(held, &slots, plan),
            slots,
            told: None,
            takes_changes: false,
            pass,
            original_sound,
            writer: Writer::default(),
        }),
    };
    Some(Leg {
        id: saved.leg,
        name: saved.name,
        joined_unix_s: saved.joined_unix_s,
        audio_muted: saved.audio_muted,
        video_muted: saved.video_muted,
        silenced: saved.silenced,
        waiting: saved.waiting.map(|waiting| waiting.restore(now)),
        source: saved.source,
        media,
        stats: None,
        graded: Graded::default(),
        sound_lag_ms: None,
        spoke_at: None,
        own_view: saved.own_view,
        kind,
    })
}

/// Heights that the slots of a held leg ask for; 0 for one whose site is not sent though it shows a
/// picture.
fn heights(
    held: Option<&LegPlan>,
    slots: &[Option<LegId>],
    plan: Option<&RoomPlan>,
) -> Vec<Option<u16>> {
    let shows = |site: &LegId| {
        let mut legs = plan.iter().flat_map(|plan| &plan.legs);
        let video = legs
            .find(|leg| leg.id == *site)
            .map(|leg| &leg.video_receive);
        video.is_some_and(|video| video.as_ref().is_some_and(|video| !video.muted))
    };
    let sends = held.map_or(&[][..], |held| &held.video_send);
    let mut heights: Vec<Option<u16>> = sends
        .iter()
        .zip(slots)
        .map(|(send, site)| match send.source {
            Some(VideoSource::Forward { max_height, .. }) => Some(max_height),
            Some(VideoSource::Composition { .. }) => None,
            None => site.filter(shows).map(|_| 0),
        })
        .collect();
    heights.resize(slots.len(), None);
    heights
}

/// Of a leg whose plan alone is known: smaller classes are agreed on by its exchange.
fn held_media(plan: &LegPlan) -> Media {
    Media {
        class: class_sent(plan),
        smaller: Vec::new(),
        plan: plan.clone(),
    }
}

fn class_sent(plan: &LegPlan) -> Option<VideoClass> {
    plan.video_send.iter().find_map(|send| match &send.source {
        Some(VideoSource::Composition { class, .. }) => Some(class.clone()),
        _ => None,
    })
}

fn rtp_ports(plan: &LegPlan) -> impl Iterator<Item = u16> + '_ {
    plan.transports
        .iter()
        .filter_map(|transport| match transport {
            Transport::Udp(udp) => Some(udp.rtp_port),
            Transport::Webrtc(_) => None,
        })
}

fn saved_room(room: &Room) -> SavedRoom {
    SavedRoom {
        room: room.id,
        number: room.number.clone(),
        pins: room.pins.clone(),
        // What rings ends with this life: nobody would take the answer.
        legs: room
            .legs
            .iter()
            .filter(|leg| !leg.is_ringing())
            .map(saved_leg)
            .collect(),
    }
}

fn saved_leg(leg: &Leg) -> SavedLeg {
    SavedLeg {
        leg: leg.id,
        name: leg.name.clone(),
        joined_unix_s: leg.joined_unix_s,
        audio_muted: leg.audio_muted,
        video_muted: leg.video_muted,
        silenced: leg.silenced,
        own_view: leg.own_view,
        waiting: leg.waiting.as_ref().map(SavedWaiting::new),
        source: leg.source.clone(),
        dialled: leg.sip().is_some_and(|sip| sip.dialled),
        kind: match &leg.kind {
            LegKind::Sip(sip) => SavedKind::Sip {
                ports: sip.ports.clone(),
                confirmed: sip.confirmed,
                call: sip.dialog.as_ref().map(|dialog| Box::new(dialog.save())),
            },
            LegKind::Browser(browser) => SavedKind::Browser {
                token: browser.token.clone(),
                slots: browser.slots.clone(),
                pass: browser.pass.clone(),
                original_sound: browser.original_sound,
            },
        },
    }
}
