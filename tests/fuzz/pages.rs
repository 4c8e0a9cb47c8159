//! Targets whose peer is a web page: SIP by WebSocket, and the messages of our own pages.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use mcu_api::frame;
use mcu_api::ids::{ConnId, InstanceId, RoomId};
use mcu_api::inventory::{Inventory, LegInventory, LegState, RoomInventory};
use mcu_api::manager::{BrowserMessage, FromControl, ServerMessage, ToControl};
use mcu_api::media::{FromMedia, ProcessorHello, ToMedia};
use mcu_api::plan::RoomPlan;
use mcu_control::controller::{self, Controller, ManagerId};
use mcu_control::web_socket::{self, Pages};
use mcu_control::{Event, RoomConfig};
use sip::{Endpoint, Flow, FlowId, Input, Output, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::yield_now;

use super::{PEER, pieces, settle_output};

/// A good request for the protocol, and nothing else.
const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sip\r\n\r\n";

/// Most that a page is told here; the rest of it waits in vain, as for a page that does not read.
const UNREAD: usize = 1 << 20;

/// More than the longest input has messages.
const TURNS: usize = 256;

/// A connection of SIP by WebSocket (RFC 7118). The first byte says what the rest is: all of it, what
/// follows a good request, or messages, each in a good frame.
pub fn web_socket_bytes(data: &[u8]) -> usize {
    let Some((what, rest)) = data.split_first() else {
        return 0;
    };
    let bytes = match what % 3 {
        0 => rest.to_vec(),
        1 => [UPGRADE, rest].concat(),
        _ => UPGRADE
            .iter()
            .copied()
            .chain(pieces(rest).flat_map(framed))
            .collect(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.expect("a runtime").block_on(converse(&bytes))
}

/// A text in one frame whose mask changes nothing (RFC 6455 §5.2).
fn framed(text: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u8::try_from(text.len()) {
        Ok(len) if len < 126 => frame.push(0x80 | len),
        _ => {
            frame.push(0x80 | 126);
            frame.extend((text.len() as u16).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(text);
    frame
}

/// The client says it all and then no more; how much our endpoint made of it.
async fn converse(bytes: &[u8]) -> usize {
    let (near, far) = duplex(UNREAD);
    let flow = Flow {
        id: FlowId(1),
        transport: Transport::Ws,
        local: ([127, 0, 0, 1], 8_088).into(),
        remote: PEER,
        advertised: None,
    };
    let (events, heard) = mpsc::channel(8);
    let served = async move {
        let pages = Pages::new(None, Transport::Ws);
        let place = Semaphore::new(1);
        let place = std::sync::Arc::new(place).acquire_owned().await;
        if let (Ok(socket), Ok(place)) = (web_socket::accept(near, pages).await, place) {
            web_socket::serve(flow, socket, place, events).await;
        }
    };
    let (said, (), ()) = tokio::join!(answered(heard), served, visit(far, bytes));
    said
}

/// The owner of the endpoint.
async fn answered(mut heard: mpsc::Receiver<Event>) -> usize {
    let now = Instant::now();
    let mut endpoint = Endpoint::new(sip::Config::default(), [7; 32]);
    let (mut queue, mut said) = (None, 0);
    while let Some(event) = heard.recv().await {
        match event {
            Event::StreamOpened(_, sender) => queue = Some(sender),
            Event::Bytes(flow, bytes) => {
                assert!(!bytes.is_empty() && bytes.len() <= 65_536);
                let bytes = &bytes;
                endpoint.handle_input(now, Input::Received { flow, bytes });
            }
            Event::StreamClosed(flow) => {
                queue = None;
                endpoint.handle_input(now, Input::Closed { flow });
            }
            other => panic!("{other:?}"),
        }
        while let Some(output) = endpoint.poll_output() {
            match (&output, &queue) {
                (Output::Transmit { bytes, .. }, Some(queue)) => {
                    said += usize::from(queue.try_send(bytes.clone()).is_ok());
                }
                (Output::Close { .. }, _) => queue = None,
                _ => {}
            }
            settle_output(&mut endpoint, now, output);
        }
    }
    said
}

/// The client waits for the answer to its request, as it must, and reads what it is told.
async fn visit(far: DuplexStream, bytes: &[u8]) {
    let (mut read, mut write) = tokio::io::split(far);
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let (request, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 4));
    let mut buffer = vec![0; 4_096];
    // What ends in an empty line may be no whole request, to which there is no answer.
    if write.write_all(request).await.is_ok() {
        tokio::select! {
            _ = read.read(&mut buffer) => {}
            () = turns() => {}
        }
    }
    let said = async {
        let _ = write.write_all(rest).await;
        // It is answered before it hangs up.
        turns().await;
        let _ = write.shutdown().await;
    };
    let heard = async { while !matches!(read.read(&mut buffer).await, Ok(0) | Err(_)) {} };
    tokio::join!(said, heard);
}

/// Time for the other two.
async fn turns() {
    for _ in 0..TURNS {
        yield_now().await;
    }
}

/// What pages say to the controller, in JSON: the first byte of each piece tells who says it, whether
/// the media process is lost or heard before, and how much later it is. `@resume@` becomes the token that
/// was given last. All that is said of it must fit a frame between the processes.
pub fn page_messages(data: &[u8]) -> usize {
    let mut hospital = Hospital::new();
    for piece in pieces(data) {
        let Some((how, text)) = piece.split_first() else {
            continue;
        };
        hospital.pass(Duration::from_millis(u64::from(how >> 4) * 700));
        match how >> 2 & 3 {
            1 => hospital.take(controller::Input::MediaDisconnected),
            2 => hospital.connect_media(),
            3 => hospital.take(hospital.inventory(false)),
            _ => {}
        }
        let text = String::from_utf8_lossy(text).replace("@resume@", &hospital.resume);
        let conn = ConnId(u64::from(how & 3));
        let message = match serde_json::from_str::<BrowserMessage>(&text) {
            Ok(message) => ToControl::Browser {
                conn,
                person: None,
                invited: None,
                source: Some(PEER.ip()),
                message,
            },
            // The manager closes the connection.
            Err(_) => ToControl::BrowserGone { conn },
        };
        hospital.take(controller::Input::Manager(ManagerId(1), message));
    }
    hospital.pass(Duration::from_secs(60));
    hospital.joined
}

/// A controller with two rooms, and a media process that holds what it is told to.
struct Hospital {
    controller: Controller,
    now: Instant,
    held: HashMap<RoomId, RoomPlan>,
    untold: Vec<(RoomId, u64)>,
    resume: String,
    joined: usize,
}

impl Hospital {
    fn new() -> Self {
        let room = |number: &str, pin: Option<&str>| RoomConfig {
            number: number.to_owned(),
            guests: true,
            pin: pin.map(|pin| mcu_api::secret::Redacted(pin.to_owned())),
            ..RoomConfig::default()
        };
        let config = mcu_control::Config {
            rooms: vec![room("3000", None), room("4000", Some("4711"))],
            ..mcu_control::Config::default()
        };
        let now = Instant::now();
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let mut hospital = Self {
            controller: Controller::new(config, None, [1; 32], now, wall),
            now,
            held: HashMap::new(),
            untold: Vec::new(),
            resume: String::new(),
            joined: 0,
        };
        hospital.connect_media();
        hospital
    }

    fn connect_media(&mut self) {
        self.take(controller::Input::MediaConnected);
        let hello = ProcessorHello {
            instance: InstanceId(1),
            addresses: vec![PEER.ip().into()],
            port_low: 20_001,
            port_high: 20_040,
            webrtc_port: 20_000,
            fingerprint_sha256: [3; 32],
            deaths: Vec::new(),
            codecs: Vec::new(),
        };
        self.take(controller::Input::Media(FromMedia::Hello(hello)));
        self.take(self.inventory(true));
    }

    fn inventory(&self, with_plans: bool) -> controller::Input {
        let rooms = self.held.values().map(|plan| RoomInventory {
            room: plan.room,
            generation: plan.generation,
            plan: with_plans.then(|| plan.clone()),
            active_speaker: plan.legs.first().map(|leg| leg.id),
            encoders: 1,
            decoders: 1,
            legs: plan.legs.iter().map(|leg| connected(leg.id)).collect(),
        });
        let rooms = rooms.collect();
        controller::Input::Media(FromMedia::Inventory(Inventory {
            rooms,
            figures: None,
        }))
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.controller.next_timeout().filter(|due| *due <= end) {
            assert!(due >= self.now, "a timeout lies in the past");
            self.now = due;
            self.controller.handle_timeout(due);
            self.drain();
            assert_ne!(self.controller.next_timeout(), Some(due), "it stays due");
        }
        self.now = end;
    }

    fn take(&mut self, input: controller::Input) {
        self.controller.handle_input(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        self.take_outputs();
        while !self.untold.is_empty() {
            let rooms = std::mem::take(&mut self.untold);
            let held = controller::Input::Media(FromMedia::Held { rooms });
            self.controller.handle_input(self.now, held);
            self.take_outputs();
        }
    }

    fn take_outputs(&mut self) {
        while let Some(output) = self.controller.poll_output() {
            match output {
                controller::Output::Media(message) => self.hold(message),
                controller::Output::Manager(_, message) => {
                    frame::encode(&message).expect("it fits a frame");
                    if let FromControl::Server {
                        message: ServerMessage::Joined { resume, .. },
                        ..
                    } = message
                    {
                        (self.resume, self.joined) = (resume.0, self.joined + 1);
                    }
                }
                _ => {}
            }
        }
    }

    /// The processor's own rule: a plan is newer than the one before.
    fn hold(&mut self, message: ToMedia) {
        frame::encode(&message).expect("it fits a frame");
        match message {
            ToMedia::Plan(plan) => {
                let (room, generation) = (plan.room, plan.generation);
                let before = self.held.insert(room, plan);
                assert!(before.is_none_or(|before| before.generation < generation));
                self.untold.push((room, generation));
            }
            ToMedia::RemoveRoom { room } => {
                self.held.remove(&room);
            }
            ToMedia::Hello { .. } | ToMedia::KeyFrame { .. } => {}
        }
    }
}

fn connected(leg: mcu_api::ids::LegId) -> LegInventory {
    LegInventory {
        leg,
        state: LegState::Connected,
        silent_s: 0,
        audio_level_dbov: -30,
        received: Default::default(),
        sent: Default::default(),
        video_received: Default::default(),
        video_sent: Default::default(),
        round_trip_ms: None,
        sound_lag_ms: Some(30),
        srtp_sources: Vec::new(),
        srtcp_sources: Vec::new(),
        dtls_keys: Vec::new(),
    }
}
