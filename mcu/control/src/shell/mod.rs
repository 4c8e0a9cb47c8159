//! The shell around the cores: sockets, timers and one task that owns everything.

mod dns;
mod figures;
mod keeping;
mod links;
mod names;
mod net;
mod routes;
mod state_file;
mod streams;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;
mod trunks;
mod udp;
pub mod web_socket;
mod written;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use mcu_api::call::{CallCommand, CallEvent, Hop, OutgoingCall, SrtpPolicy};
use mcu_api::directory::{Directory, MAX_ACCOUNTS};
use mcu_api::ids::CallId;
use mcu_api::manager::{FromControl, ToControl};
use mcu_api::media::ToMedia;
use sip::{Changes, Flow, FlowId, Ha1, Transport};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::config::{Config, Secret, SipListener, Trunk};
use crate::controller::{Controller, DialRequest, Input, ManagerId, Output, Way};
use keeping::{Keeper, Kept, KeptRegistrations};
use links::Managers;
use names::{Names, Wanted};
use routes::Routes;
use state_file::StateFile;
use streams::{Limits, Streams};
use tcp::{Listener, Opening, Places};
use tls::{Handshakes, Tls};
use udp::Udp;
use web_socket::Pages;
use written::Written;

/// Events that wait for the owner. A full queue holds its senders back.
const EVENTS: usize = 1024;

/// How long datagrams wait at most until the rooms are written: less than the time after which their
/// peers would hear a 100, or repeat themselves.
const KEEPING_WAIT: Duration = Duration::from_millis(100);

/// Datagrams that wait so. When more are to be sent, none waits.
const MAX_DATAGRAMS: usize = 1_024;

/// How long the end of all calls may take when the server stops: a BYE that was lost is sent again
/// after half a second and after one and a half (RFC 3261 §17.1.2.1).
const STOP_WAIT: Duration = Duration::from_secs(2);

/// What the tasks of the sockets tell the owner.
#[derive(Debug)]
pub enum Event {
    /// For the controller as it is.
    Input(Input),
    /// A manager connected; messages to it go here.
    ManagerOpened(ManagerId, mpsc::Sender<FromControl>),
    /// A manager is gone.
    ManagerGone(ManagerId),
    /// The media processor connected; messages to it go here.
    MediaOpened(mpsc::Sender<ToMedia>),
    /// The media processor is gone.
    MediaGone,
    /// Bytes of a SIP peer.
    Bytes(Flow, Vec<u8>),
    /// A SIP peer connected; bytes to it go here.
    StreamOpened(Flow, mpsc::Sender<Bytes>),
    /// A SIP connection is gone.
    StreamClosed(FlowId),
    /// Servers that were looked for, the first one to be tried first, or why there are none.
    Located(Wanted, Result<Vec<Hop>, &'static str>),
}

/// Runs a controller until its future is dropped. Calls stay as they are: the next life takes them
/// up.
///
/// # Errors
/// When a socket cannot be bound.
pub async fn run(config: Config) -> anyhow::Result<()> {
    run_until(config, std::future::pending()).await
}

/// Runs a controller until the whole server stops, which `stop` says by its end: then nobody is left
/// to send media, so that all calls are hung up and all browsers told.
///
/// # Errors
/// When a socket cannot be bound.
pub async fn run_until(config: Config, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    run_within(Limits::default(), config, stop).await
}

async fn run_within(
    limits: Limits,
    config: Config,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let (events, mut received) = mpsc::channel(EVENTS);
    // Dropped with this future, and every socket with it.
    let mut tasks = JoinSet::new();
    let udp = listen(&config, limits, &mut tasks, &events).await?;
    tasks.spawn(Managers::bind(&config.control_socket)?.serve(events.clone()));
    tasks.spawn(links::serve_media(
        config.media_socket.clone(),
        events.clone(),
    ));
    let mut owner = Owner::new(config, limits, udp, events);
    tokio::select! {
        () = owner.run(&mut received) => {}
        () = stop => {}
    }
    if timeout(STOP_WAIT, owner.stop(&mut received)).await.is_err() {
        info!("stopped before every peer answered");
    }
    let now = Instant::now();
    owner.write_rooms(now);
    owner.write_registrations(now);
    if owner.directory_file.due().is_some() {
        owner.directory_file.write(now, &owner.directory);
    }
    owner.send_datagrams();
    Ok(())
}

/// Starts all listeners for SIP; yields the sockets of those over UDP.
async fn listen(
    config: &Config,
    limits: Limits,
    tasks: &mut JoinSet<()>,
    events: &mpsc::Sender<Event>,
) -> anyhow::Result<Vec<Udp>> {
    let places = Places::new(limits);
    let handshakes = Handshakes::default();
    let mut datagrams = Vec::new();
    if let Some(listen) = config.sip_listen {
        let udp = Udp::bind(listen).await?;
        // Port 0 gives TCP the port that UDP got.
        let tcp = Listener::bind(udp.listen(), places.clone(), events.clone()).await?;
        info!(listen = %udp.listen(), "SIP");
        tasks.spawn(tcp.serve());
        datagrams.push(udp);
    }
    for listener in &config.sip_listeners {
        let SipListener {
            transport, listen, ..
        } = *listener;
        if !transport.is_stream() {
            datagrams.push(Udp::bind_further(listen)?);
            continue;
        }
        if listener.legacy_tls {
            warn!(%listen, "this SIP listener takes TLS 1.0 and 1.1, which can be broken (RFC 8996)");
        }
        let tls = transport.is_secure().then(|| {
            let clients = listener.clients.clone();
            Tls::new(config.certificate.clone(), clients, listener.legacy_tls)
        });
        let opening = Opening {
            transport,
            tls,
            pages: Pages::new(listener.origins.as_deref(), transport),
            handshakes: handshakes.clone(),
        };
        let (places, events) = (places.clone(), events.clone());
        tasks.spawn(Listener::bind_further(listen, opening, places, events)?.serve());
    }
    let ids: HashSet<FlowId> = datagrams.iter().map(Udp::id).collect();
    anyhow::ensure!(
        ids.len() == datagrams.len(),
        "two SIP listeners over UDP look alike"
    );
    for udp in &datagrams {
        tasks.spawn(udp.clone().serve(events.clone()));
    }
    Ok(datagrams)
}

/// The one owner of the controller, of the SIP endpoint and of every queue to a neighbour.
struct Owner {
    controller: Controller,
    endpoint: sip::Endpoint,
    /// What was written last of the rooms, or is to be.
    kept: Kept,
    rooms_file: Keeper,
    /// Calls have begun or ended since it was written.
    news: bool,
    registrations_file: Keeper,
    /// Rooms and accounts that people made, as they are kept.
    directory: Directory,
    directory_file: Keeper,
    /// What the endpoint said last about its changes.
    changes: Changes,
    routes: Arc<Routes>,
    streams: Streams,
    managers: HashMap<ManagerId, mpsc::Sender<FromControl>>,
    media: Option<mpsc::Sender<ToMedia>>,
    /// What managers know of the media processor.
    media_told: bool,
    /// The trunks at which we register.
    trunks: HashMap<String, trunks::Registrar>,
    names: Names,
    /// For connections that we open.
    tls: tls::Client,
    /// Datagrams to be sent: at most [`MAX_DATAGRAMS`], and what one event causes.
    datagrams: Vec<(Flow, Bytes)>,
    events: mpsc::Sender<Event>,
}

impl Owner {
    fn new(config: Config, limits: Limits, udp: Vec<Udp>, events: mpsc::Sender<Event>) -> Self {
        let rooms_file = StateFile::new(&config.data_dir, state_file::ROOMS);
        let registrations_file = StateFile::new(&config.data_dir, state_file::REGISTRATIONS);
        let directory_file = StateFile::new(&config.data_dir, state_file::DIRECTORY);
        let directory: Directory = directory_file.load().unwrap_or_default();
        let mut config = config.with_demo_room();
        config.take_up(&directory);
        let mut endpoint = sip::Endpoint::new(endpoint_config(&config), rand::random());
        let (now, wall) = (Instant::now(), SystemTime::now());
        let mut kept: Kept = rooms_file.load().unwrap_or_default();
        let (ago, step_s) = kept.written.until(&Written::now());
        kept.rooms.shift_calendar(step_s);
        restore_calls(&mut endpoint, now, &mut kept, ago);
        restore_registrations(&mut endpoint, now, registrations_file.load());
        let trunks = trunks::registrars(&config);
        for registrar in trunks.values() {
            endpoint.register_at(registrar.server.clone());
        }
        let earlier = Some(kept.rooms.clone());
        let routes = Arc::new(routes(&config, udp));
        let names = Names::new(&config.dns, &config.spoken(), events.clone());
        let tls = tls::Client::new(config.ca.clone());
        Self {
            controller: Controller::new(config, earlier, rand::random(), now, wall),
            endpoint,
            kept,
            rooms_file: Keeper::new(rooms_file),
            news: false,
            registrations_file: Keeper::new(registrations_file),
            directory,
            directory_file: Keeper::new(directory_file),
            changes: Changes::default(),
            routes,
            streams: Streams::new(limits),
            managers: HashMap::new(),
            media: None,
            media_told: false,
            trunks,
            names,
            tls,
            datagrams: Vec::new(),
            events,
        }
    }

    /// Never ends; it may be dropped at any moment and called again.
    async fn run(&mut self, received: &mut mpsc::Receiver<Event>) {
        // What the endpoint said when it took up the calls of an earlier life.
        self.drain();
        self.send_datagrams();
        loop {
            let event = self.next(received).await;
            self.advance(event);
        }
    }

    /// Ends all calls; returns when peers and managers have heard of it.
    async fn stop(&mut self, received: &mut mpsc::Receiver<Event>) {
        self.controller.handle_input(Instant::now(), Input::Stop);
        self.drain();
        self.send_datagrams();
        // The task of a manager ends when its queue is written out.
        let mut parting: HashSet<ManagerId> = self.managers.drain().map(|(id, _)| id).collect();
        while self.endpoint.awaits_answers() || !parting.is_empty() {
            let event = self.next(received).await;
            if let Some(Event::ManagerGone(id)) = &event {
                parting.remove(id);
            }
            self.advance(event);
        }
    }

    /// The next event; `None` when a timeout is due before one comes.
    async fn next(&self, received: &mut mpsc::Receiver<Event>) -> Option<Event> {
        let timeouts = [
            self.endpoint.next_timeout(),
            self.controller.next_timeout(),
            self.rooms_file.due(),
            self.registrations_file.due(),
            self.directory_file.due(),
        ];
        // The owner has a sender itself, so that the channel does not close.
        tokio::select! {
            event = received.recv() => event,
            () = sleep_to(timeouts.into_iter().flatten().min()) => None,
        }
    }

    fn advance(&mut self, event: Option<Event>) {
        let now = Instant::now();
        self.controller.set_calendar(now, SystemTime::now());
        match event {
            Some(event) => self.handle(now, event),
            None => {
                self.endpoint.handle_timeout(now);
                self.controller.handle_timeout(now);
            }
        }
        self.drain();
        self.tell_of_media();
        let now = Instant::now();
        self.keep(now);
        // An answer is kept before it is sent: whoever has it counts on being in the room. Where storms
        // or a bad disk put the writing off for longer, it goes first.
        let due = self.rooms_file.due();
        let waits = self.news && due.is_some_and(|due| due <= now + KEEPING_WAIT);
        if !waits || self.datagrams.len() > MAX_DATAGRAMS {
            self.send_datagrams();
        }
    }

    /// Writes what has changed, as often as it deserves.
    fn keep(&mut self, now: Instant) {
        let before = std::mem::replace(&mut self.changes, self.endpoint.changes());
        if self.changes.calls != before.calls {
            self.rooms_file.want(now, keeping::DIALOGS_PAUSE);
        }
        if self.changes.registrations != before.registrations {
            self.registrations_file
                .want(now, keeping::REGISTRATIONS_PAUSE);
        }
        if self.rooms_file.due().is_some_and(|due| due <= now) {
            self.write_rooms(now);
        }
        if self.registrations_file.due().is_some_and(|due| due <= now) {
            self.write_registrations(now);
        }
        if self.directory_file.due().is_some_and(|due| due <= now) {
            self.directory_file.write(now, &self.directory);
        }
    }

    /// A call has begun, is established or has ended.
    fn want_rooms(&mut self, now: Instant) {
        self.news = true;
        self.rooms_file.want(now, keeping::ROOMS_PAUSE);
    }

    fn write_rooms(&mut self, now: Instant) {
        self.news = false;
        self.kept.written = Written::now();
        self.kept.sip = Some(self.endpoint.save_calls(now));
        self.kept.rooms.resting = self.controller.resting();
        self.rooms_file.write(now, &self.kept);
    }

    fn write_registrations(&mut self, now: Instant) {
        let kept = KeptRegistrations {
            written: Written::now(),
            registrations: self.endpoint.save_registrations(now),
        };
        self.registrations_file.write(now, &kept);
    }

    /// Managers answer `/health` by whether a media processor is there.
    fn tell_of_media(&mut self) {
        let ready = self.controller.has_media();
        if ready == self.media_told {
            return;
        }
        self.media_told = ready;
        let managers: Vec<ManagerId> = self.managers.keys().copied().collect();
        for id in managers {
            self.carry_out(Output::Manager(id, media_is(ready)));
        }
    }

    fn handle(&mut self, now: Instant, event: Event) {
        match event {
            Event::Input(Input::Manager(
                manager,
                ToControl::Dial {
                    request,
                    room,
                    target,
                    beyond,
                },
            )) => {
                let wanted = DialRequest {
                    manager,
                    request,
                    room,
                    target,
                    beyond,
                    way: None,
                    srtp: SrtpPolicy::default(),
                };
                self.room_wants_to_call(now, wanted);
            }
            Event::Input(Input::Manager(manager, ToControl::GetFigures { request })) => {
                self.tell_figures(now, manager, request);
            }
            Event::Input(Input::Manager(manager, ToControl::GetTrunks { request })) => {
                self.tell_trunks(now, manager, request);
            }
            Event::Input(input) => self.controller.handle_input(now, input),
            Event::ManagerOpened(id, queue) => {
                // A queue that is new has room.
                let _ = queue.try_send(media_is(self.media_told));
                self.managers.insert(id, queue);
            }
            Event::ManagerGone(id) => {
                self.managers.remove(&id);
                self.controller.handle_input(now, Input::ManagerGone(id));
            }
            Event::MediaOpened(queue) => {
                self.media = Some(queue);
                self.controller.handle_input(now, Input::MediaConnected);
            }
            Event::MediaGone => {
                self.media = None;
                self.controller.handle_input(now, Input::MediaDisconnected);
            }
            Event::Bytes(flow, bytes) => self.received(now, flow, &bytes),
            Event::StreamOpened(flow, queue) => {
                self.stream_opened(now, &self.routes.named(flow), queue);
            }
            Event::StreamClosed(flow) => self.stream_closed(now, flow),
            Event::Located(wanted, found) => self.located(now, wanted, found),
        }
    }

    fn room_wants_to_call(&mut self, now: Instant, wanted: DialRequest) {
        let Some(way) = self.controller.way_to(&wanted) else {
            return self.room_calls(now, wanted, None);
        };
        // A URI of a terminal of ours leads to where that registered, whatever its host.
        let is_known = !way.trunk && !self.endpoint.paths_to(now, &way.target).is_empty();
        match way.sought.clone().filter(|_| !is_known) {
            Some(sought) => {
                let wanted = Wanted::Call(Box::new((wanted, way)));
                let (routes, reach) = (self.routes.clone(), self.controller.media_reach());
                let usable = move |hop: &Hop| routes.to_hop(hop).is_some() && reach.includes(hop);
                self.names.locate(sought, wanted, usable);
            }
            None => self.room_calls(now, wanted, Some(way)),
        }
    }

    fn room_calls(&mut self, now: Instant, mut wanted: DialRequest, way: Option<Way>) {
        // A URI may lead to a terminal of ours, by its address or where it has registered.
        let may_be_called = |way: &Way| {
            let accounts = match way.trunk {
                true => Vec::new(),
                false => self.endpoint.accounts_called_by(now, &way.target),
            };
            let mut accounts = accounts.iter();
            accounts.all(|account| self.controller.may_call(&wanted, account))
        };
        if let Some(way) = way.filter(may_be_called) {
            let paths = self.endpoint.paths_to(now, &way.target);
            // All contacts of an account get one offer, which obeys the listeners of all.
            for flow in paths.iter().filter_map(|path| self.routes.by(path)) {
                wanted.srtp = wanted.srtp.and(self.controller.srtp_by(&flow));
            }
            wanted.way = paths.first().map(|path| (way, path.remote));
        }
        self.controller
            .handle_input(now, Input::Dial(Box::new(wanted)));
    }

    fn located(&mut self, now: Instant, wanted: Wanted, found: Result<Vec<Hop>, &'static str>) {
        let way_to = |hop: &Hop| self.routes.to_hop(hop);
        match wanted {
            Wanted::Registration(id) => {
                let flows = found.map(|found| found.iter().filter_map(way_to).collect());
                self.endpoint.located(now, id, flows);
            }
            Wanted::Call(call) => {
                let (wanted, way) = *call;
                if let Err(why) = &found {
                    info!(room = wanted.room, why, "no server found to call by");
                }
                let mut found = found.unwrap_or_default();
                found.retain(|hop| way_to(hop).is_some());
                let found = self.controller.with_one_offer(found);
                let way = (!found.is_empty()).then(|| way.through(found));
                self.room_calls(now, wanted, way);
            }
        }
    }

    fn received(&mut self, now: Instant, flow: Flow, bytes: &[u8]) {
        // A connection that was let go may still have sent something: it is gone for the core.
        if flow.transport.is_stream() && !self.streams.note_heard(now, flow.id) {
            return;
        }
        let flow = self.routes.named(flow);
        let input = sip::Input::Received { flow, bytes };
        self.endpoint.handle_input(now, input);
    }

    fn stream_opened(&mut self, now: Instant, flow: &Flow, queue: mpsc::Sender<Bytes>) {
        self.streams.add(now, flow, queue);
        let in_use = || self.endpoint.connections_in_use(now);
        if let Some(surplus) = self.streams.surplus(now, flow.id, in_use) {
            debug!(flow = surplus.0, "too many connections, one closed");
            self.stream_closed(now, surplus);
        }
    }

    fn stream_closed(&mut self, now: Instant, flow: FlowId) {
        if self.streams.remove(flow) {
            self.endpoint.handle_input(now, sip::Input::Closed { flow });
        }
    }

    /// Carries out what the cores want, until neither wants anything.
    fn drain(&mut self) {
        loop {
            if let Some(output) = self.endpoint.poll_output() {
                self.carry_out_sip(output);
            } else if let Some(output) = self.controller.poll_output() {
                self.carry_out(output);
            } else {
                return;
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Call(CallCommand::Dial(wanted)) => self.dial(*wanted),
            Output::Call(command) => {
                let now = Instant::now();
                // What the rooms have changed for it may have been written before.
                if let CallCommand::Accept { .. } | CallCommand::Answer { .. } = command {
                    self.want_rooms(now);
                }
                self.endpoint.command(now, command);
            }
            Output::Conference(conference) => {
                self.endpoint.publish(Instant::now(), conference);
            }
            Output::ConferenceEnded(number) => {
                self.endpoint.end_conference(Instant::now(), &number);
            }
            Output::Save(state) => {
                self.kept.rooms = state;
                self.want_rooms(Instant::now());
            }
            Output::Directory(directory) => {
                let (accounts, require_auth) = accounts_of(self.controller.config());
                self.endpoint.set_accounts(accounts, require_auth);
                self.take_up_trunks();
                self.directory = directory;
                // At once: who is told that it is in force counts on it.
                self.directory_file.write(Instant::now(), &self.directory);
            }
            Output::Manager(id, message) => {
                let Some(queue) = self.managers.get(&id) else {
                    return;
                };
                if let Err(TrySendError::Full(_)) = queue.try_send(message) {
                    warn!(manager = id.0, "manager does not keep up, disconnected");
                    // Its task ends with the queue and reports that the manager is gone.
                    self.managers.remove(&id);
                }
            }
            Output::Media(message) => {
                let Some(queue) = &self.media else { return };
                if let Err(TrySendError::Full(_)) = queue.try_send(message) {
                    warn!("media processor does not keep up, disconnected");
                    self.media = None;
                }
            }
        }
    }

    /// Calls somebody, from the address of ours that leads there. Contacts may have come since the offer
    /// was made, by listeners that demand more than it obeys: they are not called.
    fn dial(&mut self, wanted: OutgoingCall) {
        let (routes, controller, srtp) = (&self.routes, &self.controller, wanted.srtp);
        let obeys = |flow: &Flow| srtp.and(controller.srtp_by(flow)) == srtp;
        let choose = |path: &sip::Path| routes.by(path).filter(obeys);
        self.endpoint.dial(Instant::now(), wanted, choose);
    }

    fn carry_out_sip(&mut self, output: sip::Output) {
        match output {
            sip::Output::Event(mut event) => {
                let now = Instant::now();
                if let CallEvent::Incoming(call) = &mut event
                    && let Some(flow) = self.endpoint.flow_of(call.call)
                {
                    call.srtp = self.controller.srtp_by(&flow);
                }
                if let CallEvent::Established { .. } | CallEvent::Ended { .. } = event {
                    self.want_rooms(now);
                }
                self.controller.handle_input(now, Input::Call(event));
            }
            sip::Output::Transmit { flow, bytes } => self.transmit(&flow, bytes),
            sip::Output::Connect { flow, domain } => self.connect(flow, domain),
            sip::Output::Close { flow } => {
                self.streams.remove(flow);
            }
            sip::Output::Locate {
                registration,
                server,
            } => {
                if let Some(sought) = self.trunks.get(&server).map(|known| &known.sought) {
                    let wanted = Wanted::Registration(registration);
                    let routes = self.routes.clone();
                    let usable = move |hop: &Hop| routes.to_hop(hop).is_some();
                    self.names.locate(sought.clone(), wanted, usable);
                }
            }
        }
    }

    /// Over TLS nobody is connected to of whom it is not known who it has to be: it would have to believe a
    /// certificate that nobody vouches for. Who speaks WebSocket is a client that listens nowhere.
    fn connect(&mut self, flow: Flow, domain: Option<String>) {
        let secured = match (flow.transport, domain) {
            (Transport::Tcp, _) => None,
            (Transport::Tls, Some(domain)) => Some((self.tls.clone(), domain)),
            _ => {
                debug!(remote = %flow.remote, "no connection of ours over this transport");
                let closed = sip::Input::Closed { flow: flow.id };
                return self.endpoint.handle_input(Instant::now(), closed);
            }
        };
        let (queue, outbound) = mpsc::channel(tcp::QUEUE);
        self.streams.add(Instant::now(), &flow, queue);
        tokio::spawn(tcp::connect(flow, secured, outbound, self.events.clone()));
    }

    fn transmit(&mut self, flow: &Flow, bytes: Bytes) {
        match flow.transport.is_stream() {
            false => self.datagrams.push((*flow, bytes)),
            true => {
                let Some(queue) = self.streams.queue(flow.id) else {
                    return;
                };
                if let Err(TrySendError::Full(_)) = queue.try_send(bytes) {
                    warn!(remote = %flow.remote, "peer does not read, connection closed");
                    self.stream_closed(Instant::now(), flow.id);
                }
            }
        }
    }

    fn send_datagrams(&mut self) {
        for (flow, bytes) in self.datagrams.drain(..) {
            self.routes.send(&flow, &bytes);
        }
    }
}

/// The ways by these sockets over UDP, and by the listeners of this configuration.
fn routes(config: &Config, udp: Vec<Udp>) -> Routes {
    // What listens on UDP first takes connections, too.
    let both = udp.first().filter(|_| config.sip_listen.is_some());
    let both = both.map(|udp| (Transport::Tcp, udp.listen()));
    let further = config.sip_listeners.iter();
    let further = further.map(|listener| (listener.transport, listener.listen));
    let further = further.filter(|(transport, _)| transport.is_stream());
    let streams = both.into_iter().chain(further).collect();
    Routes::new(udp, streams, &config.addresses)
}

/// Hands the endpoint the calls that were kept, and forgets the legs of those that it did not take up.
/// A call without a leg is hung up. Where no calls were kept, or in another way, their legs stay.
fn restore_calls(endpoint: &mut sip::Endpoint, now: Instant, kept: &mut Kept, ago: Duration) {
    let Some(calls) = kept.sip.take() else {
        return kept.rooms.lose_calls();
    };
    // It may have been established when no leg of it was taken up.
    for call in calls.calls.iter().filter(|call| call.up) {
        kept.rooms.confirm(call.call);
    }
    endpoint.restore_calls(now, calls, ago);
    kept.rooms.retain_calls(|call| endpoint.has_call(call));
    let calls: HashSet<CallId> = kept.rooms.calls().collect();
    let strays: Vec<CallId> = endpoint
        .calls()
        .filter(|call| !calls.contains(call))
        .collect();
    for call in strays {
        endpoint.command(now, CallCommand::Hangup { call });
    }
    info!(
        calls = calls.len(),
        ?ago,
        "calls of an earlier life taken up"
    );
}

fn restore_registrations(
    endpoint: &mut sip::Endpoint,
    now: Instant,
    kept: Option<KeptRegistrations>,
) {
    if let Some(kept) = kept {
        let (ago, _) = kept.written.until(&Written::now());
        endpoint.restore_registrations(now, kept.registrations, ago);
    }
}

fn media_is(ready: bool) -> FromControl {
    FromControl::Media {
        ready,
        tells_figures: true,
        tells_meetings: true,
        tells_trunks: true,
        tells_stills: true,
    }
}

/// Sleeps to this moment; for ever without one.
async fn sleep_to(next: Option<Instant>) {
    match next {
        Some(next) => sleep_until(next.into()).await,
        None => std::future::pending().await,
    }
}

fn endpoint_config(config: &Config) -> sip::Config {
    let defaults = sip::Config::default();
    let (accounts, require_auth) = accounts_of(config);
    sip::Config {
        realm: config.realm.clone(),
        accounts,
        require_auth,
        unchallenged: trunks::unchallenged(config),
        trunks: config.trunks.iter().flat_map(Trunk::addresses).collect(),
        max_calls: config.max_legs.saturating_mul(2),
        max_calls_per_source: config.strangers.calls_per_source,
        new_calls_per_source_per_s: config.strangers.new_calls_per_source_per_s,
        new_calls_per_s: config.strangers.new_calls_per_s,
        // Room for each account's terminal, and for another that takes its place.
        max_registrations: (2 * (config.accounts.len() + MAX_ACCOUNTS))
            .max(defaults.max_registrations),
        ..defaults
    }
}

/// All accounts, and whether every caller has to prove one: where no room takes guests, and before the
/// call takes any memory. Elsewhere the dial plan decides by the number.
fn accounts_of(config: &Config) -> (Vec<sip::Account>, bool) {
    let accounts = config.accounts.iter().map(|account| sip::Account {
        user: account.user.clone(),
        ha1: match &account.secret {
            Secret::Password(password) => {
                Ha1::from_password(&account.user, &config.realm, &password.0)
            }
            Secret::Ha1(ha1) => ha1.clone(),
        },
        may_register: true,
        home: account.home,
    });
    let guests = config.demo || config.rooms.iter().any(|room| room.guests);
    (accounts.collect(), !config.accounts.is_empty() && !guests)
}
