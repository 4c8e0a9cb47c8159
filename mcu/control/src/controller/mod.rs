//! The controller without I/O: rooms, legs, ports and plans.
//!
//! [`Controller::handle_input`] takes what calls, managers and the media processor say;
//! [`Controller::poll_output`] yields what is to be said to them. After every input each room that
//! changed is *settled*: the plan and the rosters that follow from its legs are compared with those
//! sent last, and sent where they differ. Nothing else sends them, so that no change can forget to.

pub(crate) mod address;
mod answers;
mod arrangement;
mod browsers;
mod calendar;
mod calls;
mod capacity;
mod chat;
mod codecs;
mod dialling;
mod door;
mod exchange;
mod figures;
mod meetings;
mod operating;
mod pin;
mod ports;
mod probing;
mod processor;
mod quarantine;
mod rollovers;
mod room;
mod roster;
mod shape;
pub mod state;
mod stills;
#[cfg(test)]
mod tests;
mod transfer;
mod transfer_out;
mod view;
mod watched;

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use mcu_api::call::{CallCommand, CallEvent};
use mcu_api::directory::Directory;
use mcu_api::ids::{CallId, LegId, RoomId};
use mcu_api::manager::{FromControl, Refusal, ToControl};
use mcu_api::media::{FromMedia, ToMedia};
use mcu_api::plan::RoomPlan;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use tracing::info;

use crate::config::Config;
use answers::Answer;
use browsers::Visitor;
use capacity::Load;
pub use dialling::{DialRequest, MediaReach, Way};
use figures::Counts;
use ports::PortPool;
use processor::Processor;
use quarantine::Quarantine;
use room::{Conn, Leg, Room};
use roster::settle_rosters;
use shape::{settle_offers, shape_of};
use state::State;
use transfer_out::Site;

/// How long the controller waits for a media processor at its start and after losing one, with
/// calls and browsers put off meanwhile instead of refused.
pub const MEDIA_WAIT: Duration = Duration::from_secs(3);

/// How long a browser's leg is kept for its page to come back.
pub const RESUME_WAIT: Duration = Duration::from_secs(20);

/// Most inputs put off while no media processor is there. When more come, all are taken up at once
/// and refused where they need media.
const MAX_POSTPONED: usize = 256;

/// One connected manager, numbered by the shell. A number is not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ManagerId(pub u64);

/// News for the controller.
#[derive(Clone, Debug)]
pub enum Input {
    /// Of a call.
    Call(CallEvent),
    /// Of a manager.
    Manager(ManagerId, ToControl),
    /// The manager's connection is gone, and with it every browser that it relayed.
    ManagerGone(ManagerId),
    /// The connection to the media processor stands.
    MediaConnected,
    /// The connection to the media processor is gone.
    MediaDisconnected,
    /// Of the media processor.
    Media(FromMedia),
    /// Somebody wants a room to call out.
    Dial(Box<DialRequest>),
    /// The whole server stops: everybody is to be told, and nobody enters any more.
    Stop,
}

/// What the controller wants done, in order.
#[derive(Clone, Debug)]
pub enum Output {
    /// Tell the signalling core.
    Call(CallCommand),
    /// Tell a manager.
    Manager(ManagerId, FromControl),
    /// Tell the media processor.
    Media(ToMedia),
    /// Tell subscribers that a conference is like this now.
    Conference(sip::Conference),
    /// Tell subscribers that the conference of this number is over.
    ConferenceEnded(String),
    /// Keep this state in place of the last one, with the ports at rest at the time of writing
    /// ([`Controller::resting`]).
    Save(State),
    /// Keep this directory in place of the last one, and go by the accounts that there are now
    /// ([`Controller::config`]).
    Directory(Directory),
}

/// The one owner of all rooms.
pub struct Controller {
    config: Config,
    rng: StdRng,
    /// What the calendar said at a moment; it has not been set since.
    calendar: (Instant, SystemTime),
    /// State of an earlier life that is not taken up yet.
    earlier: Option<State>,
    saved: State,
    next_room: u64,
    next_leg: u64,
    /// At most as many as numbers are configured.
    rooms: Vec<Room>,
    processor: Processor,
    ports: PortPool,
    guard: pin::Guard,
    quarantine: Quarantine,
    postponed: VecDeque<Input>,
    /// At most one a peer.
    answers: Vec<Answer>,
    counts: Counts,
    load: Load,
    /// Managers that are told of meetings; as many as the shell admits.
    watchers: Vec<ManagerId>,
    /// The rooms have changed since they were last given out to be kept.
    unsaved: bool,
    /// Drained after every input, so bounded by what one input can cause.
    outputs: VecDeque<Output>,
    now: Instant,
}

impl Controller {
    /// A controller that begins at `now`, which is `wall` by the calendar, and takes up what an
    /// `earlier` life left, if any.
    pub fn new(
        config: Config,
        earlier: Option<State>,
        seed: [u8; 32],
        now: Instant,
        wall: SystemTime,
    ) -> Self {
        let saved = earlier.clone().unwrap_or_default();
        let quarantine = saved.quarantine.clone().taken_up(calendar::unix_s(wall));
        Self {
            config: config.with_demo_room(),
            rng: StdRng::from_seed(seed),
            calendar: (now, wall),
            next_room: saved.next_room.max(1),
            next_leg: saved.next_leg.max(1),
            processor: Processor::new(now, saved.instance),
            earlier,
            saved,
            rooms: Vec::new(),
            ports: PortPool::default(),
            guard: pin::Guard::default(),
            quarantine,
            postponed: VecDeque::new(),
            answers: Vec::new(),
            counts: Counts::default(),
            load: Load::default(),
            watchers: Vec::new(),
            unsaved: false,
            outputs: VecDeque::new(),
            now,
        }
    }

    /// Takes one piece of news.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        self.now = now;
        if !self.is_waiting_for_media() {
            self.take_up_postponed();
        } else if self.must_wait(&input) {
            // What was meant for an earlier offer does not wait with the new one.
            if let Input::Call(CallEvent::Reoffer { call, .. }) = &input {
                self.withdraw_answer(*call);
            }
            if self.postponed.len() < MAX_POSTPONED {
                self.postponed.push_back(input);
                return;
            }
            self.take_up_postponed();
        }
        self.dispatch(input);
        if self.processor.is_ready() {
            self.take_up_postponed();
        }
        self.settle();
    }

    /// Does what has fallen due by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        if !self.is_waiting_for_media() {
            self.take_up_postponed();
        }
        self.remove_lost_legs();
        self.end_probes();
        self.end_stills();
        self.turn_away();
        self.settle();
    }

    /// When [`Self::handle_timeout`] is wanted next.
    pub fn next_timeout(&self) -> Option<Instant> {
        let wait = (!self.postponed.is_empty()).then(|| self.processor.awaited_until());
        self.resume_deadlines()
            .chain(self.door_deadlines())
            .chain(self.probe_deadlines())
            .chain(self.still_deadlines())
            .chain(self.answer_deadlines())
            .chain(wait)
            .min()
    }

    /// Whether a media processor is there that takes plans.
    pub fn has_media(&self) -> bool {
        self.processor.is_ready()
    }

    /// The next thing to be done. Drain it after every other call.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn dispatch(&mut self, input: Input) {
        match input {
            Input::Call(event) => self.handle_call(event),
            Input::Manager(manager, message) => self.handle_manager(manager, message),
            Input::Dial(wanted) => self.dial(*wanted),
            Input::ManagerGone(manager) => self.manager_gone(manager),
            Input::MediaConnected => {
                let hello = ToMedia::Hello {
                    takes_held: true,
                    takes_stills: true,
                };
                self.outputs.push_back(Output::Media(hello));
            }
            Input::MediaDisconnected => {
                self.processor.disconnected(self.now);
                self.load.forget();
                self.forget_stills();
            }
            Input::Media(message) => self.handle_media(message),
            Input::Stop => self.stop(),
        }
    }

    fn handle_manager(&mut self, manager: ManagerId, message: ToControl) {
        match message {
            ToControl::GetRoom { request, number } => {
                let room = self.view(&number);
                self.tell_manager(manager, FromControl::Room { request, room });
            }
            ToControl::Transfer {
                request,
                room,
                site,
                leg,
                target,
            } => {
                let site = leg.map_or(Site::Known(&site.0), Site::Leg);
                self.transfer((manager, request), &room, site, &target.0);
            }
            // The shell asks for the way first: it comes as `Input::Dial`. Figures and how trunks do are told
            // by the shell, which knows.
            ToControl::Dial { .. } | ToControl::GetFigures { .. } | ToControl::GetTrunks { .. } => {
            }
            ToControl::Browser {
                conn,
                source,
                person,
                invited,
                message,
            } => {
                let visitor = Visitor {
                    source,
                    person: person.map(|person| *person),
                    invited: invited.map(|invited| *invited),
                };
                self.handle_browser((manager, conn), visitor, message);
            }
            ToControl::Directory(directory) => self.direct(manager, directory),
            ToControl::GetVisits { request } => {
                let visits = self.visits();
                self.tell_manager(manager, FromControl::Visits { request, visits });
            }
            ToControl::Control {
                request,
                room,
                leg,
                action,
            } => self.control((manager, request), &room, leg, action),
            ToControl::BrowserGone { conn } => self.browser_gone(|c| c == (manager, conn)),
            ToControl::WatchMeetings => self.watch_meetings(manager),
            ToControl::GetStill { request, number } => self.tell_still(manager, request, &number),
        }
    }

    /// Ends all calls and meetings.
    fn stop(&mut self) {
        info!("the server stops");
        self.config.max_legs = 0;
        self.take_up_postponed();
        for call in self.earlier.take().iter().flat_map(State::calls) {
            self.tell_call(CallCommand::Hangup { call });
        }
        for (room, leg) in legs_where(&self.rooms, |_| true) {
            if let Some(leg) = self.remove_leg(room, leg, "the server stops") {
                self.turn_out(leg, Refusal::Removed, |call| CallCommand::Hangup { call });
            }
        }
    }

    /// Whether an input is put off while a processor is awaited: it is one that a missing processor
    /// would fail, or may follow such a one.
    fn must_wait(&self, input: &Input) -> bool {
        match input {
            Input::Call(event) => !matches!(event, CallEvent::Established { .. }),
            Input::Manager(
                _,
                ToControl::GetRoom { .. }
                | ToControl::GetStill { .. }
                | ToControl::Directory(_)
                | ToControl::GetVisits { .. },
            ) => false,
            Input::Manager(_, _) | Input::Dial(_) => true,
            Input::ManagerGone(_) => !self.postponed.is_empty(),
            Input::MediaConnected | Input::MediaDisconnected | Input::Media(_) => false,
            Input::Stop => false,
        }
    }

    fn is_waiting_for_media(&self) -> bool {
        !self.processor.is_ready() && self.now < self.processor.awaited_until()
    }

    fn take_up_postponed(&mut self) {
        while let Some(input) = self.postponed.pop_front() {
            self.dispatch(input);
        }
    }

    /// Sends what differs from what was sent last, for every room that changed.
    fn settle(&mut self) {
        let mut changed = false;
        for room in self.rooms.iter_mut().filter(|room| room.dirty) {
            changed = true;
            room.dirty = false;
            room.shape = shape_of(&self.config, room);
            room.lowered = self.load.lowered_to();
            room.arrange();
            settle_offers(room, &mut self.rng, &mut self.outputs);
            if self.processor.is_ready() {
                let hello = self.processor.hello();
                let codecs = hello.map_or(&[][..], |hello| &hello.codecs);
                settle_plan(room, codecs, self.now, &mut self.outputs);
            }
            // A network check has nobody to be told of.
            if !room.is_probe() {
                settle_rosters(room, &mut self.outputs);
                watched::settle_conference(room, &self.config, &mut self.outputs);
                meetings::settle_meeting(room, &self.watchers, &mut self.outputs);
            }
        }
        self.unsaved |= changed;
        let released = self.release_answers();
        // A call is kept together with its answer, for which it is written at once.
        if self.unsaved && (released || self.answers.is_empty()) {
            self.save();
        }
        if changed {
            self.close_empty_rooms();
        }
    }

    fn save(&mut self) {
        self.unsaved = false;
        let state = self.state();
        if state != self.saved {
            self.saved = state.clone();
            self.outputs.push_back(Output::Save(state));
        }
    }

    fn close_empty_rooms(&mut self) {
        let ready = self.processor.is_ready();
        for room in self.rooms.extract_if(.., |room| room.legs.is_empty()) {
            info!(room = %room.id, "room closed");
            if ready && room.sent.is_some() {
                self.outputs
                    .push_back(Output::Media(ToMedia::RemoveRoom { room: room.id }));
            }
            if !room.is_probe() {
                self.outputs.push_back(Output::ConferenceEnded(room.number));
            }
        }
    }

    fn tell_manager(&mut self, manager: ManagerId, message: FromControl) {
        self.outputs.push_back(Output::Manager(manager, message));
    }

    fn tell_call(&mut self, command: CallCommand) {
        self.outputs.push_back(Output::Call(command));
    }

    /// Adds a leg to the room of this number, which is opened if need be.
    fn enter(&mut self, number: &str, cname: String, leg: Leg) {
        let index = match self.rooms.iter().position(|room| room.number == number) {
            Some(index) => index,
            None => self.open_room(number, cname),
        };
        if let Some(room) = self.rooms.get_mut(index) {
            info!(room = %room.id, leg = %leg.id, kind = ?leg.site_kind(), "leg entered");
            // A callee is in once it answers.
            if !leg.is_ringing() {
                self.counts.begun(&leg);
            }
            room.legs.push(leg);
            room.dirty = true;
        }
    }

    /// CNAME of the room of this number, or one for the room about to be opened.
    fn cname_for(&mut self, number: &str) -> String {
        let room = self.rooms.iter().find(|room| room.number == number);
        // A random one, RFC 7022 §4.2.
        room.map_or_else(
            || format!("{:016x}", self.rng.next_u64()),
            |room| room.cname.clone(),
        )
    }

    fn open_room(&mut self, number: &str, cname: String) -> usize {
        let id = RoomId(self.next_room);
        self.next_room += 1;
        info!(room = %id, number, "room opened");
        self.rooms
            .push(Room::new(id, number.to_owned(), cname, self.now));
        self.rooms.len() - 1
    }

    fn new_leg_id(&mut self) -> LegId {
        let id = LegId(self.next_leg);
        self.next_leg += 1;
        id
    }

    /// Whether one more leg fits into the room of this number.
    fn has_place(&self, number: &str) -> bool {
        let here = self.rooms.iter().find(|room| room.number == number);
        let all: usize = self.rooms.iter().map(|room| room.legs.len()).sum();
        here.map_or(0, |room| room.legs.len()) < self.config.max_legs_of(number)
            && all < self.config.max_legs
    }

    /// Removes a leg and gives its ports back.
    fn remove_leg(&mut self, room: RoomId, leg: LegId, why: &'static str) -> Option<Leg> {
        let room = self.rooms.iter_mut().find(|r| r.id == room)?;
        let index = room.legs.iter().position(|l| l.id == leg)?;
        let leg = room.legs.remove(index);
        room.dirty = true;
        info!(room = %room.id, leg = %leg.id, why, "leg left");
        if !leg.is_ringing() && !room.is_probe() {
            self.counts.ended(&leg, why);
        }
        for port in leg
            .sip()
            .map(|sip| sip.ports.as_slice())
            .unwrap_or_default()
        {
            self.ports.release(self.now, *port);
        }
        Some(leg)
    }
}

/// The leg of a call and its room, the room marked as changed.
fn leg_of_call(rooms: &mut [Room], call: CallId) -> Option<(RoomId, &mut Leg)> {
    find_leg(rooms, |leg| {
        let dialog = leg.sip().and_then(|sip| sip.dialog.as_ref());
        dialog.is_some_and(|dialog| dialog.call == call)
    })
}

/// The leg of a browser's connection and its room, the room marked as changed.
fn leg_of_conn(rooms: &mut [Room], conn: Conn) -> Option<(RoomId, &mut Leg)> {
    find_leg(rooms, |leg| {
        leg.browser()
            .is_some_and(|browser| browser.conn == Some(conn))
    })
}

fn find_leg(rooms: &mut [Room], wanted: impl Fn(&Leg) -> bool) -> Option<(RoomId, &mut Leg)> {
    for room in rooms {
        if let Some(index) = room.legs.iter().position(&wanted) {
            room.dirty = true;
            let id = room.id;
            return room.legs.get_mut(index).map(|leg| (id, leg));
        }
    }
    None
}

/// Ids of all legs of a kind, to be removed.
fn legs_where(rooms: &[Room], wanted: impl Fn(&Leg) -> bool) -> Vec<(RoomId, LegId)> {
    let legs = rooms
        .iter()
        .flat_map(|room| room.legs.iter().map(move |leg| (room.id, leg)));
    legs.filter(|(_, leg)| wanted(leg))
        .map(|(room, leg)| (room, leg.id))
        .collect()
}

/// Sends the plan if it differs from the one in force. An unknown room without media needs none.
fn settle_plan(room: &mut Room, codecs: &[String], now: Instant, outputs: &mut VecDeque<Output>) {
    let mut plan = room.plan();
    codecs::keep_known(&mut plan, codecs);
    let in_force = match &room.sent {
        Some(sent) => {
            plan == RoomPlan {
                generation: plan.generation,
                ..sent.clone()
            }
        }
        None => plan.legs.is_empty(),
    };
    if in_force {
        return;
    }
    room.generation += 1;
    plan.generation = room.generation;
    room.sent = Some(plan.clone());
    room.sent_at = now;
    outputs.push_back(Output::Media(ToMedia::Plan(plan)));
}
