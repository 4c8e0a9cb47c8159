//! The loop that moves media: one thread, one owner of all sockets, legs and mixers.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use mcu_api::figures::Media;
use mcu_api::ids::{InstanceId, LegId, RoomId};
use mcu_api::inventory::{Inventory, RoomInventory};
use mcu_api::media::{FromMedia, MediaEvent, ProcessorHello, ToMedia};
use mcu_api::plan::RoomPlan;
use mcu_rtp::demux::{Kind, classify, stun_local_ufrag};
use mcu_rtp::webrtc::Certificate;
use mio::{Events, Poll, Token, Waker};
use tracing::{info, warn};

use crate::Config;
use crate::blame;
use crate::calibration::Calibration;
use crate::figures::Watch;
use crate::link::{self, LinkEvent, Outbox};
use crate::network::{Purpose, Sockets};
use crate::picture::{Done, Encoded, TICKS, Tick};
use crate::pool::Pool;
use crate::pressure::Pressure;
use crate::room::{Context, Room};
use crate::streams::Door;
use crate::transport::{Doors, Shared};

/// Token of the waker: a message or a finished job is there.
const WAKE: Token = Token(0);
/// Token of the door by which browsers' TCP connections come.
const DOOR: Token = Token(1);
const FIRST_SOCKET: usize = 2;
/// What it codes beside what every processor does.
const CODECS: [&str; 8] = [
    "g7221",
    "g729",
    "h261",
    "h263",
    "h263_plus",
    "l16",
    "red",
    "vp8",
];
/// Packet time of the mixer.
const AUDIO_TICK: Duration = Duration::from_millis(20);
/// Of compositions.
const VIDEO_TICK: Duration = Duration::from_nanos(1_000_000_000 / TICKS as u64);
/// A clock that fell further behind (a suspended machine) starts anew instead of catching up.
const MAX_LAG: Duration = Duration::from_millis(200);
/// Datagrams taken from one socket before others have their turn.
const BATCH: usize = 256;
/// Legs to which a picture is sent before it is looked whether sound is due.
const LEGS_AT_ONCE: usize = 4;
/// Largest datagram.
const MAX_DATAGRAM: usize = 65_536;
/// Remote addresses of browsers after which those are forgotten that their legs use no more.
const MAX_REMOTES: usize = 65_536;

/// Runs until SIGTERM or SIGINT. SIGINT tells that the whole server stops: peers are told goodbye.
/// SIGTERM ends this process alone, of which peers hear nothing: another goes on with their legs.
pub fn run(config: Config) -> anyhow::Result<()> {
    listen_for_signals()?;
    let mut poll = Poll::new().context("make a poll")?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKE).context("make a waker")?);
    let mut worker = Worker::new(&config, &poll, waker)?;
    raise_priority();
    info!(
        webrtc_port = config.webrtc_port,
        ports = format!("{}-{}", config.port_low, config.port_high),
        "media processor ready"
    );
    let mut events = Events::with_capacity(1024);
    while !STOP.load(Ordering::Relaxed) {
        match poll.poll(&mut events, Some(worker.pause())) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).context("poll"),
        }
        worker.ready.extend(
            events
                .iter()
                .map(|event| event.token())
                .filter(|t| *t != WAKE),
        );
        worker.turn();
    }
    match GOODBYE.load(Ordering::Relaxed) {
        true => worker.say_goodbye(),
        false => worker.hand_over(),
    }
    info!(sockets = worker.sockets.len(), "media processor ends");
    Ok(())
}

/// Set when the process is told to stop. The loop turns at least every 20 ms and looks.
static STOP: AtomicBool = AtomicBool::new(false);
/// Set before it when peers are to be told.
static GOODBYE: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(signal: i32) {
    if signal == libc::SIGINT {
        GOODBYE.store(true, Ordering::Relaxed);
    }
    STOP.store(true, Ordering::Relaxed);
}

fn listen_for_signals() -> anyhow::Result<()> {
    use nix::sys::signal::{SigHandler, Signal, signal};
    for told in [Signal::SIGTERM, Signal::SIGINT] {
        // SAFETY: the handler only stores to atomics.
        unsafe { signal(told, SigHandler::Handler(on_signal)) }.context("listen for signals")?;
    }
    Ok(())
}

/// Sound is more urgent than pictures. Without the right to it, things go on as they are.
fn raise_priority() {
    // SAFETY: setpriority has no memory effects; 0 means the calling thread on Linux.
    let raised = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -10) } == 0;
    if !raised {
        info!("no right to raise the priority of sound");
    }
}

struct Worker {
    hello: ProcessorHello,
    sockets: Sockets,
    shared: Shared,
    door: Door,
    rooms: BTreeMap<RoomId, Room>,
    pool: Pool<Done>,
    link: Receiver<LinkEvent>,
    outbox: Option<Outbox>,
    /// Rooms whose plans were carried out in this turn, with the generations in force, to be told.
    held: BTreeMap<RoomId, u64>,
    /// The controller takes such news.
    takes_held: bool,
    /// It takes stills.
    takes_stills: bool,
    /// Sockets with datagrams left.
    ready: Vec<Token>,
    /// Browser legs by our ICE user fragment, which names the leg in every check.
    by_ufrag: HashMap<String, (RoomId, LegId)>,
    /// Browser legs by the addresses from which authentic checks came.
    by_remote: HashMap<SocketAddr, (RoomId, LegId)>,
    buffer: Vec<u8>,
    events: Vec<(RoomId, MediaEvent)>,
    next_audio: Instant,
    next_video: Instant,
    next_inventory: Instant,
    pressure: Pressure,
    calibration: Calibration,
    watch: Watch,
}

impl Worker {
    fn new(config: &Config, poll: &Poll, waker: Arc<Waker>) -> anyhow::Result<Self> {
        let registry = poll.registry().try_clone().context("share the poll")?;
        let mut sockets = Sockets::new(registry, FIRST_SOCKET);
        let doors = open_doors(config, &mut sockets)?;
        let door = Door::open(&config.streams_socket, poll.registry(), DOOR)?;
        let certificate = Certificate::generate().context("make a DTLS certificate")?;
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let now = Instant::now();
        let instance = InstanceId(rand::random::<u64>() >> 12);
        Ok(Self {
            hello: ProcessorHello {
                instance,
                addresses: config.addresses.clone(),
                port_low: config.port_low,
                port_high: config.port_high,
                webrtc_port: config.webrtc_port,
                fingerprint_sha256: certificate.fingerprint_sha256(),
                deaths: blame::open(&config.deaths_file, instance),
                codecs: CODECS.map(str::to_owned).to_vec(),
            },
            sockets,
            shared: Shared { doors, certificate },
            door,
            rooms: BTreeMap::new(),
            pool: Pool::new(threads, waker.clone()).context("start the video pool")?,
            link: link::listen(&config.socket, waker)?,
            outbox: None,
            held: BTreeMap::new(),
            takes_held: false,
            takes_stills: false,
            ready: Vec::new(),
            by_ufrag: HashMap::new(),
            by_remote: HashMap::new(),
            buffer: vec![0; MAX_DATAGRAM],
            events: Vec::new(),
            next_audio: now,
            next_video: now,
            next_inventory: now,
            pressure: Pressure::default(),
            calibration: Calibration::start(threads),
            watch: Watch::new(config.process),
        })
    }

    /// How long there is nothing to do but wait for packets.
    fn pause(&self) -> Duration {
        if !self.ready.is_empty() {
            return Duration::ZERO;
        }
        self.next_audio
            .min(self.next_video)
            .saturating_duration_since(Instant::now())
    }

    fn turn(&mut self) {
        let began = Instant::now();
        self.take_packets();
        self.take_link_events();
        self.take_results();
        let now = self.mix_if_due();
        if now >= self.next_video {
            let ticks = match self.rooms.values().any(Room::is_fast) {
                true => 1,
                false => 2,
            };
            let pool = &self.pool;
            self.next_video = after(self.next_video, VIDEO_TICK * ticks, now);
            self.pressure
                .look(now, TICKS / ticks, |passed| pool.take_work(passed));
            let tick = Tick {
                ticks,
                max_frame_rate: self.pressure.max_frame_rate(),
                decoded: self.pressure.decoded(),
            };
            self.for_each_room(now, |room, context| room.video_tick(context, tick));
        }
        if now >= self.next_inventory {
            self.next_inventory = now + Duration::from_secs(1);
            self.report(now, false);
            let Self {
                sockets, by_ufrag, ..
            } = self;
            sockets.sweep_streams(now, |ufrag| by_ufrag.contains_key(ufrag));
        }
        self.tell_events();
        self.sockets.flush_streams();
        self.forget_streams(now);
        self.watch.turned(began.elapsed());
    }

    /// Mixes the next 20 ms where it is time to. Whatever takes long looks here in between: sound does not
    /// wait for pictures. Answers what time it is.
    fn mix_if_due(&mut self) -> Instant {
        let now = Instant::now();
        if now >= self.next_audio {
            let due = self.next_audio;
            self.next_audio = after(due, AUDIO_TICK, now);
            self.for_each_room(now, |room, context| room.audio_tick(context, due));
        }
        now
    }

    /// The rooms, and what each borrows while it acts.
    fn parts(&mut self, now: Instant) -> (&mut BTreeMap<RoomId, Room>, Context<'_>) {
        let context = Context {
            now,
            sockets: &mut self.sockets,
            shared: &self.shared,
            pool: &self.pool,
            events: &mut self.events,
        };
        (&mut self.rooms, context)
    }

    fn for_each_room(&mut self, now: Instant, act: impl Fn(&mut Room, &mut Context<'_>)) {
        let (rooms, mut context) = self.parts(now);
        for room in rooms.values_mut() {
            act(room, &mut context);
        }
    }

    fn take_packets(&mut self) {
        let tokens = std::mem::take(&mut self.ready);
        let mut buffer = std::mem::take(&mut self.buffer);
        let now = Instant::now();
        for token in tokens {
            if token == DOOR {
                self.take_streams(now);
                continue;
            }
            self.mix_if_due();
            let mut left = BATCH;
            while let Some((len, from)) = self.sockets.receive(now, token, &mut buffer) {
                self.take_packet(token, from, &buffer[..len]);
                left -= 1;
                if left == 0 {
                    // Edge-triggered: nobody will say again that there is more.
                    self.ready.push(token);
                    break;
                }
            }
        }
        self.buffer = buffer;
    }

    fn take_packet(&mut self, token: Token, from: SocketAddr, datagram: &[u8]) {
        match self.sockets.purpose(token) {
            Some(Purpose::Leg {
                room,
                leg,
                transport,
                rtcp,
            }) => self.give((room, leg), transport, (from, rtcp, datagram)),
            Some(Purpose::Shared) => self.take_shared(from, datagram),
            Some(Purpose::Stream) => self.take_stream(token, from, datagram),
            None => {}
        }
    }

    fn take_streams(&mut self, now: Instant) {
        while let Some(socket) = self.door.take() {
            self.sockets.add_stream(now, socket);
        }
    }

    /// A packet by TCP: the first one is a check, which names the leg for all that follow.
    fn take_stream(&mut self, token: Token, from: SocketAddr, datagram: &[u8]) {
        let streams = self.sockets.streams();
        let place = match streams.ufrag(token) {
            Some(ufrag) => self.by_ufrag.get(ufrag),
            None => stun_local_ufrag(datagram)
                .and_then(|ufrag| self.by_ufrag.get_key_value(ufrag))
                .filter(|(ufrag, _)| streams.bind(token, ufrag))
                .map(|(_, place)| place),
        };
        let Some(place) = place.copied() else {
            return self.sockets.close_stream(Instant::now(), token);
        };
        self.give(place, 0, (from, false, datagram));
        let (room, leg) = place;
        let rooms = &self.rooms;
        if classify(datagram) == Kind::Stun
            && rooms.get(&room).is_some_and(|room| room.knows(leg, from))
        {
            self.sockets.streams().prove(token);
        }
    }

    /// Takes the paths away that ended with their connections.
    fn forget_streams(&mut self, now: Instant) {
        for ended in self.sockets.streams().take_ended() {
            let Some((room, leg)) = self.by_ufrag.get(&ended.ufrag) else {
                continue;
            };
            if let Some(room) = self.rooms.get_mut(room) {
                room.lose_path(now, *leg, ended.peer);
            }
        }
    }

    /// A datagram on the browsers' port: a check names its leg by our user fragment; everything else
    /// is known by where authentic checks came from.
    fn take_shared(&mut self, from: SocketAddr, datagram: &[u8]) {
        if classify(datagram) != Kind::Stun {
            if let Some(place) = self.by_remote.get(&from).copied() {
                self.give(place, 0, (from, false, datagram));
            }
            return;
        }
        let named = stun_local_ufrag(datagram).and_then(|ufrag| self.by_ufrag.get(ufrag));
        let Some(place) = named.copied() else { return };
        self.give(place, 0, (from, false, datagram));
        self.note_remote(from, place);
    }

    fn note_remote(&mut self, from: SocketAddr, place: (RoomId, LegId)) {
        let Self {
            rooms, by_remote, ..
        } = self;
        let knows = |from: SocketAddr, (room, leg): (RoomId, LegId)| {
            rooms.get(&room).is_some_and(|room| room.knows(leg, from))
        };
        if !knows(from, place) || by_remote.get(&from) == Some(&place) {
            return;
        }
        if by_remote.len() >= MAX_REMOTES {
            by_remote.retain(|from, place| knows(*from, *place));
        }
        by_remote.insert(from, place);
    }

    fn give(
        &mut self,
        (room, leg): (RoomId, LegId),
        transport: usize,
        (from, rtcp, datagram): (SocketAddr, bool, &[u8]),
    ) {
        self.in_room(room, |room, context| {
            room.receive(context, leg, transport, from, rtcp, datagram);
        });
    }

    fn take_link_events(&mut self) {
        while let Ok(event) = self.link.try_recv() {
            match event {
                LinkEvent::Connected(outbox) => {
                    (self.outbox, self.takes_held) = (Some(outbox), false);
                    self.takes_stills = false;
                }
                LinkEvent::Message(message) => self.handle_message(message),
            }
        }
        self.tell_held();
    }

    /// One message a turn, however many plans came: signalling waits for it.
    fn tell_held(&mut self) {
        let rooms: Vec<(RoomId, u64)> = std::mem::take(&mut self.held).into_iter().collect();
        if self.takes_held && !rooms.is_empty() {
            self.send(FromMedia::Held { rooms });
        }
    }

    fn handle_message(&mut self, message: ToMedia) {
        let now = Instant::now();
        match message {
            ToMedia::Hello {
                takes_held,
                takes_stills,
            } => {
                (self.takes_held, self.takes_stills) = (takes_held, takes_stills);
                if !takes_stills {
                    // It never takes back what a newer one wanted.
                    let rooms = self.rooms.values_mut();
                    rooms.for_each(|room| room.make_no_stills(now));
                }
                self.send(FromMedia::Hello(self.hello.clone()));
                self.report(now, true);
            }
            ToMedia::Plan(plan) => self.apply(now, plan),
            ToMedia::RemoveRoom { room } => self.remove(now, room),
            ToMedia::KeyFrame { room, leg, to_leg } => {
                if let Some(room) = self.rooms.get_mut(&room) {
                    room.request_key(leg, to_leg);
                }
            }
        }
    }

    fn apply(&mut self, now: Instant, plan: RoomPlan) {
        let (id, generation) = (plan.room, plan.generation);
        let (rooms, mut context) = self.parts(now);
        let room = rooms
            .entry(id)
            .or_insert_with(|| Room::new(id, now, SystemTime::now()));
        let refusals = room.apply(&mut context, plan);
        let in_force = room.generation();
        self.held.insert(id, in_force);
        for (leg, reason) in refusals {
            warn!(room = %id, leg = ?leg, reason, "plan refused");
            self.send(FromMedia::Refused {
                room: id,
                generation,
                leg,
                reason,
            });
        }
        self.index_browsers();
    }

    fn remove(&mut self, now: Instant, id: RoomId) {
        if let Some(mut room) = self.rooms.remove(&id) {
            room.close(&mut self.parts(now).1);
            self.watch.keep(&room.past());
            self.index_browsers();
        }
    }

    /// Rebuilds the maps of the shared port after legs came or went.
    fn index_browsers(&mut self) {
        self.by_ufrag.clear();
        for (id, room) in &self.rooms {
            for (leg, ufrag) in room.ufrags() {
                self.by_ufrag.insert(ufrag.to_string(), (*id, leg));
            }
        }
        let Self {
            rooms, by_remote, ..
        } = self;
        by_remote.retain(|_, (room, leg)| rooms.get(room).is_some_and(|r| r.has(*leg)));
    }

    fn take_results(&mut self) {
        while let Some(done) = self.pool.result() {
            let id = done.room();
            let encoded = self.in_room(id, |room, context| room.take_result(context, done));
            if let Some(encoded) = encoded.flatten() {
                self.deliver(id, &encoded);
            }
        }
    }

    /// Sends an encoded picture to those who take it. A key frame for many legs is thousands of packets.
    fn deliver(&mut self, id: RoomId, encoded: &Encoded) {
        for from in (0..).step_by(LEGS_AT_ONCE) {
            let is_more = self.in_room(id, |room, context| {
                room.deliver(context, encoded, from..from + LEGS_AT_ONCE)
            });
            if is_more != Some(true) {
                return;
            }
            self.mix_if_due();
        }
    }

    /// Has the room act, if it is there.
    fn in_room<T>(
        &mut self,
        id: RoomId,
        act: impl FnOnce(&mut Room, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let (rooms, mut context) = self.parts(Instant::now());
        Some(act(rooms.get_mut(&id)?, &mut context))
    }

    fn report(&mut self, now: Instant, with_plans: bool) {
        if self.outbox.is_none() {
            return;
        }
        let rooms: Vec<RoomInventory> = self
            .rooms
            .values_mut()
            .map(|room| room.inventory(now, with_plans))
            .collect();
        let past = self.rooms.values().map(Room::past);
        let figures = Some(Media {
            max_frame_rate: Some(self.pressure.max_frame_rate()),
            decoded: self.pressure.decoded(),
            measured: self.calibration.measured().cloned(),
            mean_wait_us: self.pressure.mean_wait().as_micros() as u64,
            ..self.watch.figures(&rooms, past)
        });
        self.send(FromMedia::Inventory(Inventory { rooms, figures }));
    }

    fn tell_events(&mut self) {
        for (room, event) in std::mem::take(&mut self.events) {
            let is_still = matches!(event, MediaEvent::Still { .. });
            if is_still && !self.takes_stills {
                continue;
            }
            let message = FromMedia::Event { room, event };
            match is_still {
                true => self.tell(message, Outbox::offer),
                false => self.send(message),
            }
        }
    }

    fn send(&mut self, message: FromMedia) {
        self.tell(message, Outbox::send);
    }

    fn tell(&mut self, message: FromMedia, by: fn(&Outbox, FromMedia) -> bool) {
        let outbox = self.outbox.as_ref();
        if outbox.is_some_and(|outbox| !by(outbox, message)) {
            self.outbox = None;
        }
    }

    /// Nothing is taken after this: the next process learns of every packet that was.
    fn hand_over(&mut self) {
        self.report(Instant::now(), false);
        if let Some(outbox) = self.outbox.take() {
            outbox.finish();
        }
    }

    fn say_goodbye(&mut self) {
        let now = Instant::now();
        for id in self.rooms.keys().copied().collect::<Vec<_>>() {
            self.remove(now, id);
        }
        self.sockets.leave_streams(now);
    }
}

/// Opens the browsers' port for each family of addresses: at the one address of a family, or at all
/// when there are several.
fn open_doors(config: &Config, sockets: &mut Sockets) -> anyhow::Result<Doors> {
    let mut open = |is_ipv4: bool, any: IpAddr| {
        let bound = config.addresses.iter().map(|a| a.address);
        let mut family = bound.filter(|a| a.is_ipv4() == is_ipv4);
        let Some(first) = family.next() else {
            return Ok(None);
        };
        let address = match family.all(|other| other == first) {
            true => first,
            false => any,
        };
        let local = SocketAddr::new(address, config.webrtc_port);
        sockets
            .open(local, 34, Purpose::Shared)
            .with_context(|| format!("bind the browsers' port {local}"))
            .map(Some)
    };
    let doors = Doors {
        v4: open(true, Ipv4Addr::UNSPECIFIED.into())?,
        v6: open(false, Ipv6Addr::UNSPECIFIED.into())?,
    };
    anyhow::ensure!(doors.v4.is_some() || doors.v6.is_some(), "no media address");
    Ok(doors)
}

/// The next tick after one that was due at `due`.
fn after(due: Instant, period: Duration, now: Instant) -> Instant {
    if now.saturating_duration_since(due) > MAX_LAG {
        now + period
    } else {
        due + period
    }
}

#[cfg(test)]
impl Config {
    /// One whose sockets are in this folder.
    fn of_a_test(dir: &std::path::Path) -> Self {
        Self {
            socket: dir.join("media.sock"),
            streams_socket: dir.join("streams.sock"),
            deaths_file: dir.join("deaths"),
            addresses: vec![IpAddr::from(std::net::Ipv4Addr::LOCALHOST).into()],
            port_low: 1,
            port_high: 2,
            webrtc_port: 0,
            process: Default::default,
        }
    }
}

#[cfg(test)]
mod still_tests;

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::UdpSocket;
    use std::os::unix::net::UnixStream;

    use mcu_api::frame::Decoder;
    use mcu_api::plan::{
        Composition, LegPlan, SdesKeys, SrtpSource, SrtpSuite, Transport, UdpTransport,
    };
    use mcu_api::reach::MediaAddress;
    use mcu_api::secret::Redacted;
    use mcu_rtp::srtp::Srtp;

    use super::*;

    #[test]
    fn browsers_find_a_door_of_each_family_that_has_an_address() {
        let poll = Poll::new().unwrap();
        let (v4, v6): (IpAddr, IpAddr) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
        for (addresses, doors) in [
            (vec![v4], (true, false)),
            (vec![v6], (false, true)),
            (vec![v4, v6], (true, true)),
        ] {
            let registry = poll.registry().try_clone().unwrap();
            let mut sockets = Sockets::new(registry, FIRST_SOCKET);
            let config = Config {
                socket: "unused".into(),
                streams_socket: "unused".into(),
                deaths_file: "unused".into(),
                addresses: addresses.into_iter().map(MediaAddress::from).collect(),
                port_low: 1,
                port_high: 2,
                webrtc_port: 0,
                process: Default::default,
            };
            let opened = open_doors(&config, &mut sockets).unwrap();
            assert_eq!((opened.v4.is_some(), opened.v6.is_some()), doors);
        }
    }

    /// A terminal's keys, both ways.
    fn keys() -> SdesKeys {
        SdesKeys {
            suite: SrtpSuite::AesCm128HmacSha1_80,
            local: Redacted(vec![1; 30]),
            remote: Redacted(vec![2; 30]),
        }
    }

    /// A room with one terminal, whose media is encrypted by these keys.
    fn plan(terminal: SocketAddr) -> RoomPlan {
        let transport = UdpTransport {
            local_ip: Ipv4Addr::LOCALHOST.into(),
            rtp_port: 0,
            rtcp_port: None,
            remote_rtp: Some(terminal),
            remote_rtcp: Some(terminal),
            sdes: Some(keys()),
            dtls: None,
            ice: None,
            srtp_sources: Vec::new(),
            srtcp_sources: Vec::new(),
            dscp: 46,
        };
        let leg = LegPlan {
            id: LegId(1),
            confirmed: true,
            waiting: None,
            transports: vec![Transport::Udp(transport)],
            audio: None,
            video_receive: None,
            video_send: Vec::new(),
        };
        RoomPlan {
            room: RoomId(1),
            generation: 1,
            cname: "room".into(),
            composition: Composition::default(),
            views: Vec::new(),
            legs: vec![leg],
            still: false,
        }
    }

    /// Defect: what came after the last report before the end could be said again to the next process
    /// (RFC 3711 §3.3.2, MCU-23). No periodic report comes between here.
    #[test]
    fn a_process_that_is_told_to_end_tells_of_its_last_packet() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::of_a_test(dir.path());
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), WAKE).unwrap());
        let mut worker = Worker::new(&config, &poll, waker).unwrap();
        let now = Instant::now();
        worker.next_inventory = now + Duration::from_secs(3_600);
        let mut controller = UnixStream::connect(&config.socket).unwrap();
        let mut events = Events::with_capacity(16);
        while worker.outbox.is_none() {
            poll.poll(&mut events, Some(worker.pause())).unwrap();
            worker.turn();
        }
        let terminal = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let from = terminal.local_addr().unwrap();
        worker.apply(now, plan(from));
        let mut srtp = Srtp::from_sdes(&SdesKeys {
            local: keys().remote,
            remote: keys().local,
            ..keys()
        })
        .unwrap();
        let rtp = [&[0x80, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 7][..], &[0xff; 160]].concat();
        let packet = srtp.protect_rtp(&rtp).unwrap();
        worker.give((RoomId(1), LegId(1)), 0, (from, false, &packet));
        worker.hand_over();
        let patience = Some(Duration::from_secs(20));
        controller.set_read_timeout(patience).unwrap();
        let mut decoder = Decoder::default();
        let mut buffer = [0; 4_096];
        let inventory = loop {
            match decoder.next_message().unwrap() {
                Some(FromMedia::Inventory(inventory)) => break inventory,
                Some(_) => {}
                None => {
                    let len = controller.read(&mut buffer).unwrap();
                    assert_ne!(len, 0, "it ended without a word");
                    decoder.push(&buffer[..len]);
                }
            }
        };
        let source = SrtpSource { ssrc: 7, index: 9 };
        assert_eq!(inventory.rooms[0].legs[0].srtp_sources, [[source]]);
    }
}
