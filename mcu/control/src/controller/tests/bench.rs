//! A controller with everything around it played by the test.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use mcu_api::call::{CallCommand, CallEvent, IncomingCall, RejectReason, SrtpPolicy};
use mcu_api::directory::Audience;
use mcu_api::ids::{CallId, ConnId, InstanceId, LegId, RoomId};
use mcu_api::inventory::{FlowStats, Inventory, LegInventory, LegState, RoomInventory};
use mcu_api::manager::{
    BrowserMessage, FromControl, Refusal, RoomView, ServerMessage, Site, Slot, ToControl,
};
use mcu_api::media::{Death, FromMedia, MediaEvent, ProcessorHello, ToMedia};
use mcu_api::plan::{DtlsKeys, LegPlan, RoomPlan, SrtpSource, Transport, VideoSource};
use mcu_api::reach::MediaAddress;
use mcu_api::secret::Redacted;

use crate::config::{Config, RoomConfig};
use crate::controller::state::State;
use crate::controller::{Controller, Input, ManagerId, Output};

/// A terminal's offer: G.711 and H.264 both ways.
pub const TERMINAL_OFFER: &str = "v=0\r\n\
    o=t 1 1 IN IP4 10.1.0.50\r\n\
    s=-\r\n\
    c=IN IP4 10.1.0.50\r\n\
    t=0 0\r\n\
    m=audio 6000 RTP/AVP 8 0\r\n\
    m=video 6002 RTP/AVP 97\r\n\
    a=rtpmap:97 H264/90000\r\n\
    a=fmtp:97 profile-level-id=42e01f;packetization-mode=1\r\n";

/// Offer of a page with a camera and eight slots, recorded from Chromium.
pub const PAGE_OFFER: &str = include_str!("../../../../../tests/captures/own_chromium_offer.sdp");

pub const MANAGER: ManagerId = ManagerId(1);

/// What a processor is told first.
pub const HELLO: ToMedia = ToMedia::Hello {
    takes_held: true,
    takes_stills: true,
};

/// A controller and what it said.
pub struct Bench {
    pub controller: Controller,
    pub now: Instant,
    began: Instant,
    config: Config,
    /// The processor's life, and the plans that it holds.
    pub instance: u64,
    pub held: HashMap<RoomId, RoomPlan>,
    /// It has not got round to its plans: see [`Self::catch_up`].
    pub slow: bool,
    /// Plans that it has not told of.
    untold: Vec<(RoomId, u64)>,
    /// Seconds of silence of legs that are not heard; all others are heard now.
    pub silent: HashMap<LegId, u32>,
    /// What is lost on the way from legs, in per cent.
    pub lost: HashMap<LegId, f32>,
    /// How late the sound of every leg is.
    pub sound_lag_ms: Option<u16>,
    /// How far SRTP sources of legs have come, by transport.
    pub srtp_sources: HashMap<LegId, Vec<Vec<SrtpSource>>>,
    /// The same of SRTCP.
    pub srtcp_sources: HashMap<LegId, Vec<Vec<SrtpSource>>>,
    /// What DTLS agreed on, by leg and transport.
    pub dtls_keys: HashMap<LegId, Vec<Option<DtlsKeys>>>,
    /// What the processor says that earlier lives died of.
    pub deaths: Vec<Death>,
    /// Codecs that the processor names.
    pub codecs: &'static [&'static str],
    /// Where the processor is reached.
    pub addresses: Vec<MediaAddress>,
    /// What subscribers see.
    pub conferences: HashMap<String, sip::Conference>,
    pub state: Option<State>,
    pub commands: Vec<CallCommand>,
    pub told: Vec<(ManagerId, FromControl)>,
    pub to_media: Vec<ToMedia>,
    seed: u8,
}

pub fn demo() -> Config {
    Config {
        demo: true,
        ..Config::default()
    }
}

pub fn with_room(number: &str, guests: bool) -> Config {
    let room = RoomConfig {
        number: number.into(),
        guests,
        audience: Audience::everybody(),
        ..RoomConfig::default()
    };
    Config {
        rooms: vec![room],
        ..Config::default()
    }
}

impl Bench {
    /// A controller whose processor answered already.
    pub fn new(config: Config) -> Self {
        let mut bench = Self::without_media(config);
        bench.connect_media();
        bench
    }

    pub fn without_media(config: Config) -> Self {
        let now = Instant::now();
        Self {
            controller: Controller::new(config.clone(), None, [1; 32], now, calendar()),
            now,
            began: now,
            config,
            instance: 1,
            held: HashMap::new(),
            slow: false,
            untold: Vec::new(),
            silent: HashMap::new(),
            lost: HashMap::new(),
            sound_lag_ms: None,
            srtp_sources: HashMap::new(),
            srtcp_sources: HashMap::new(),
            dtls_keys: HashMap::new(),
            deaths: Vec::new(),
            codecs: &[],
            addresses: [[10, 1, 0, 1], [127, 0, 0, 1]]
                .map(|ip| IpAddr::from(ip).into())
                .into(),
            conferences: HashMap::new(),
            state: None,
            commands: Vec::new(),
            told: Vec::new(),
            to_media: Vec::new(),
            seed: 1,
        }
    }

    /// SIGKILL of the controller, and a new one with what was saved.
    pub fn restart_controller(&mut self) {
        self.seed += 1;
        let wall = calendar() + (self.now - self.began);
        let (config, mut state) = (self.config.clone(), self.state.clone());
        if let Some(state) = &mut state {
            state.resting = self.controller.resting();
        }
        self.controller = Controller::new(config, state, [self.seed; 32], self.now, wall);
        self.forget();
    }

    /// SIGKILL of the processor, and a new one that connects.
    pub fn restart_media(&mut self) {
        self.instance += 1;
        self.held.clear();
        self.untold.clear();
        self.input(Input::MediaDisconnected);
        self.connect_media();
    }

    pub fn connect_media(&mut self) {
        self.input(Input::MediaConnected);
        self.media(FromMedia::Hello(ProcessorHello {
            instance: InstanceId(self.instance),
            addresses: self.addresses.clone(),
            port_low: 20_001,
            port_high: 20_040,
            webrtc_port: 20_000,
            fingerprint_sha256: [self.instance as u8; 32],
            deaths: self.deaths.clone(),
            codecs: self
                .codecs
                .iter()
                .map(|codec| (*codec).to_owned())
                .collect(),
        }));
        let inventory = self.inventory(true);
        self.media(FromMedia::Inventory(inventory));
    }

    pub fn input(&mut self, input: Input) {
        self.controller.handle_input(self.now, input);
        self.drain();
    }

    pub fn media(&mut self, message: FromMedia) {
        self.input(Input::Media(message));
    }

    pub fn event(&mut self, event: MediaEvent) {
        let room = self.plan().room;
        self.media(FromMedia::Event { room, event });
    }

    /// Lets time pass in steps of a second, each with an inventory, and with every timeout in time.
    pub fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            let step = self.now + Duration::from_secs(1);
            while let Some(due) = self.controller.next_timeout().filter(|due| *due <= step) {
                self.time_out(due);
            }
            self.now = step;
            let inventory = self.inventory(false);
            self.media(FromMedia::Inventory(inventory));
        }
    }

    /// Lets the timeout that is due at `due` come, and no inventory.
    pub fn time_out(&mut self, due: Instant) {
        assert!(due >= self.now, "a timeout lies in the past");
        self.now = due;
        self.controller.handle_timeout(due);
        self.drain();
        assert_ne!(
            self.controller.next_timeout(),
            Some(due),
            "a timeout stays due"
        );
    }

    /// What the played processor holds.
    pub fn inventory(&self, with_plans: bool) -> Inventory {
        let told =
            |plan: &&RoomPlan| !self.slow || self.untold.iter().all(|(room, _)| *room != plan.room);
        let held = self.held.values().filter(told);
        let rooms = held.map(|plan| RoomInventory {
            room: plan.room,
            generation: plan.generation,
            plan: with_plans.then(|| plan.clone()),
            active_speaker: None,
            encoders: 1,
            decoders: 2,
            legs: plan
                .legs
                .iter()
                .map(|leg| self.leg_inventory(leg.id))
                .collect(),
        });
        Inventory {
            rooms: rooms.collect(),
            figures: None,
        }
    }

    pub fn leg_inventory(&self, leg: LegId) -> LegInventory {
        LegInventory {
            leg,
            state: LegState::Connected,
            silent_s: self.silent.get(&leg).copied().unwrap_or(0),
            audio_level_dbov: -30,
            received: FlowStats {
                loss_percent: self.lost.get(&leg).copied().unwrap_or(0.0),
                ..FlowStats::default()
            },
            sent: Default::default(),
            video_received: Default::default(),
            video_sent: Default::default(),
            round_trip_ms: Some(12),
            sound_lag_ms: self.sound_lag_ms,
            srtp_sources: self.srtp_sources.get(&leg).cloned().unwrap_or_default(),
            srtcp_sources: self.srtcp_sources.get(&leg).cloned().unwrap_or_default(),
            dtls_keys: self.dtls_keys.get(&leg).cloned().unwrap_or_default(),
        }
    }

    fn drain(&mut self) {
        self.take_outputs();
        while !self.slow && !self.untold.is_empty() {
            self.catch_up();
        }
    }

    /// The processor carries out the plans that have come, and says so.
    pub fn catch_up(&mut self) {
        let rooms = std::mem::take(&mut self.untold);
        let held = Input::Media(FromMedia::Held { rooms });
        self.controller.handle_input(self.now, held);
        self.take_outputs();
    }

    fn take_outputs(&mut self) {
        while let Some(output) = self.controller.poll_output() {
            match output {
                Output::Call(command) => self.commands.push(command),
                Output::Manager(manager, message) => self.told.push((manager, message)),
                Output::Save(state) => self.state = Some(state),
                Output::Directory(_) => {}
                Output::Conference(conference) => {
                    let number = conference.number.clone();
                    self.conferences.insert(number, conference);
                }
                Output::ConferenceEnded(number) => {
                    self.conferences.remove(&number);
                }
                Output::Media(message) => {
                    self.hold(&message);
                    self.to_media.push(message);
                }
            }
        }
    }

    /// The processor's own rule: a plan that is not newer is refused.
    fn hold(&mut self, message: &ToMedia) {
        match message {
            ToMedia::Plan(plan) => {
                let before = self.held.insert(plan.room, plan.clone());
                let held = before.map_or(0, |before| before.generation);
                assert!(
                    plan.generation > held,
                    "generation {} after {held}",
                    plan.generation
                );
                self.untold.push((plan.room, plan.generation));
            }
            ToMedia::RemoveRoom { room } => {
                self.held.remove(room);
            }
            ToMedia::Hello { .. } | ToMedia::KeyFrame { .. } => {}
        }
    }

    /// Forgets what was said so far.
    pub fn forget(&mut self) {
        self.commands.clear();
        self.told.clear();
        self.to_media.clear();
    }

    /// The one room's plan in force.
    pub fn plan(&self) -> &RoomPlan {
        assert_eq!(self.held.len(), 1, "rooms held");
        self.held.values().next().unwrap()
    }

    pub fn leg_plan(&self, leg: LegId) -> &LegPlan {
        self.plan()
            .legs
            .iter()
            .find(|plan| plan.id == leg)
            .expect("the leg has a plan")
    }

    /// ICE user fragment of our answer to a browser.
    pub fn ufrag(&self, leg: LegId) -> String {
        match &self.leg_plan(leg).transports[..] {
            [Transport::Webrtc(webrtc)] => webrtc.local_ufrag.clone(),
            other => panic!("not one bundle: {other:?}"),
        }
    }

    pub fn legs_planned(&self) -> Vec<LegId> {
        self.plan().legs.iter().map(|leg| leg.id).collect()
    }

    /// Whom each slot of a browser shows, and how tall at most.
    pub fn forwarded(&self, leg: LegId) -> Vec<Option<(LegId, u16)>> {
        let sends = &self.leg_plan(leg).video_send;
        sends
            .iter()
            .map(|send| match send.source {
                Some(VideoSource::Forward {
                    leg, max_height, ..
                }) => Some((leg, max_height)),
                _ => None,
            })
            .collect()
    }

    /// Calls the room and takes the answer.
    pub fn dial(&mut self, call: u64, dialled: &str) -> Result<(LegId, String), RejectReason> {
        self.dial_with(incoming(call, dialled, Some(TERMINAL_OFFER)))
    }

    pub fn dial_with(&mut self, incoming: IncomingCall) -> Result<(LegId, String), RejectReason> {
        let id = incoming.call;
        let answered = incoming.offer.is_some();
        let (leg, sdp) = self.call_unacknowledged(incoming)?;
        if answered {
            self.input(Input::Call(CallEvent::Established { call: id }));
        }
        Ok((leg, sdp))
    }

    /// A call whose ACK is still to come.
    pub fn call_unacknowledged(
        &mut self,
        incoming: IncomingCall,
    ) -> Result<(LegId, String), RejectReason> {
        let id = incoming.call;
        let before = self.state.as_ref().map_or(1, |state| state.next_leg.max(1));
        self.input(Input::Call(CallEvent::Incoming(incoming)));
        match self.commands.last() {
            Some(CallCommand::Accept { call, sdp }) if *call == id => {
                Ok((LegId(before), sdp.0.clone()))
            }
            Some(CallCommand::Reject { call, reason }) if *call == id => Err(*reason),
            other => panic!("neither accepted nor rejected: {other:?}"),
        }
    }

    pub fn say(&mut self, conn: u64, message: BrowserMessage) {
        let message = ToControl::Browser {
            conn: ConnId(conn),
            source: None,
            person: None,
            invited: None,
            message,
        };
        self.input(Input::Manager(MANAGER, message));
    }

    /// Joins by a new connection; yields leg and token.
    pub fn join(&mut self, conn: u64, name: &str) -> (LegId, String) {
        self.join_with(conn, join("3000", name)).expect("joined")
    }

    pub fn join_with(
        &mut self,
        conn: u64,
        message: BrowserMessage,
    ) -> Result<(LegId, String), Refusal> {
        let from = self.told.len();
        self.say(conn, message);
        self.told[from..]
            .iter()
            .find_map(|(_, message)| match message {
                FromControl::Server { conn: c, message } if c.0 == conn => match message {
                    ServerMessage::Joined { leg, resume, .. } => Some(Ok((*leg, resume.0.clone()))),
                    ServerMessage::Refused { code } => Some(Err(*code)),
                    _ => None,
                },
                _ => None,
            })
            .expect("an answer to join")
    }

    /// What was said to a browser, oldest first.
    pub fn said_to(&self, conn: u64) -> Vec<&ServerMessage> {
        self.told
            .iter()
            .filter_map(|(_, message)| match message {
                FromControl::Server { conn: c, message } if c.0 == conn => Some(message),
                _ => None,
            })
            .collect()
    }

    pub fn closed(&self, conn: u64) -> bool {
        let close = FromControl::Close { conn: ConnId(conn) };
        self.told.iter().any(|(_, message)| *message == close)
    }

    /// The roster told last to a browser.
    pub fn roster(&self, conn: u64) -> (&[Site], &[Slot], Option<LegId>) {
        let mut rosters = self
            .said_to(conn)
            .into_iter()
            .filter_map(|message| match message {
                ServerMessage::Roster {
                    sites,
                    slots,
                    speaker,
                    ..
                } => Some((sites.as_slice(), slots.as_slice(), *speaker)),
                _ => None,
            });
        rosters.next_back().expect("a roster")
    }

    pub fn view(&mut self, number: &str) -> Option<RoomView> {
        let number = number.into();
        self.input(Input::Manager(
            MANAGER,
            ToControl::GetRoom { request: 9, number },
        ));
        match self.told.pop() {
            Some((MANAGER, FromControl::Room { request: 9, room })) => room,
            other => panic!("no view: {other:?}"),
        }
    }
}

/// What the calendar says when a bench begins.
pub fn calendar() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

pub fn incoming(call: u64, dialled: &str, offer: Option<&str>) -> IncomingCall {
    IncomingCall {
        call: CallId(call),
        dialled: dialled.into(),
        host: "10.1.0.1".into(),
        caller: Redacted(format!("Terminal {call}")),
        account: None,
        remote: SocketAddr::from(([10, 1, 0, 50], 5060)),
        user_agent: Some("Test/1".into()),
        offer: offer.map(|offer| Redacted(offer.to_owned())),
        replaces: None,
        srtp: SrtpPolicy::default(),
    }
}

pub fn join(room: &str, name: &str) -> BrowserMessage {
    entering(room, name, Some(PAGE_OFFER), None, None)
}

/// A page comes back with a new peer connection.
pub fn rejoin(name: &str, token: &str) -> BrowserMessage {
    entering("3000", name, Some(PAGE_OFFER), None, Some(token))
}

/// A page comes back with the peer connection that it had.
pub fn go_on(name: &str, token: &str, answer_ufrag: &str) -> BrowserMessage {
    entering("3000", name, None, Some(answer_ufrag), Some(token))
}

pub fn entering(
    room: &str,
    name: &str,
    sdp: Option<&str>,
    answer_ufrag: Option<&str>,
    resume: Option<&str>,
) -> BrowserMessage {
    let redacted = |text: &str| Redacted(text.to_owned());
    BrowserMessage::Join {
        room: room.into(),
        name: redacted(name),
        sdp: sdp.map(redacted),
        answer_ufrag: answer_ufrag.map(str::to_owned),
        resume: resume.map(redacted),
        audio_muted: false,
        video_muted: false,
        pin: None,
        guest: None,
        roster_changes: false,
    }
}

/// RTP ports of a plan's own transports.
pub fn ports(plan: &LegPlan) -> Vec<u16> {
    let ports = plan.transports.iter().map(|transport| match transport {
        Transport::Udp(udp) => udp.rtp_port,
        Transport::Webrtc(_) => panic!("a browser has no port of its own"),
    });
    ports.collect()
}
