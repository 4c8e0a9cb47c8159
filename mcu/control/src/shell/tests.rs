//! The shell with real sockets: a SIP caller on UDP and TCP, a manager, and a processor played by
//! the test. Every wait is a read that ends when the awaited thing comes.

mod client_certificates;
mod dialling;
mod outliving;
mod web_socket;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use mcu_api::directory::Home;
use mcu_api::frame::{self, Decoder};
use mcu_api::ids::{ConnId, InstanceId};
use mcu_api::inventory::Inventory;
use mcu_api::manager::{BrowserMessage, FromControl, Refusal, RoomView, ServerMessage, ToControl};
use mcu_api::media::{FromMedia, ProcessorHello, ToMedia};
use mcu_api::plan::RoomPlan;
use mcu_api::secret::Redacted;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket, UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::streams::Limits;
use super::{run, run_until, run_within};
use crate::config::{Account, Config, RoomConfig, Secret};

use outliving::{calls_up, kept, kill, until_kept, within};

/// Far above what any step takes: reached only by a test that fails.
const LIMIT: Duration = Duration::from_secs(20);

/// Recorded from Chromium.
const PAGE_OFFER: &str = include_str!("../../../../tests/captures/own_chromium_offer.sdp");

/// A unix socket that speaks frames.
struct Link {
    stream: UnixStream,
    decoder: Decoder,
}

impl Link {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            decoder: Decoder::default(),
        }
    }

    async fn send<T: Serialize>(&mut self, message: &T) {
        let frame = frame::encode(message).unwrap();
        self.stream.write_all(&frame).await.unwrap();
    }

    async fn receive<T: DeserializeOwned>(&mut self) -> T {
        let mut buffer = [0; 4096];
        loop {
            if let Some(message) = self.decoder.next_message().unwrap() {
                return message;
            }
            let len = timeout(LIMIT, self.stream.read(&mut buffer))
                .await
                .unwrap()
                .unwrap();
            assert_ne!(len, 0, "the controller closed the link");
            self.decoder.push(&buffer[..len]);
        }
    }

    /// What is said next to the one browser.
    async fn told(&mut self) -> ServerMessage {
        match self.heard().await {
            FromControl::Server { message, .. } => message,
            other => panic!("not for a browser: {other:?}"),
        }
    }

    /// What a manager is told next, other than of the media processor.
    async fn heard(&mut self) -> FromControl {
        loop {
            match self.receive().await {
                FromControl::Media { .. } => {}
                other => return other,
            }
        }
    }

    /// The next plan; everything else is skipped.
    async fn plan(&mut self) -> RoomPlan {
        loop {
            if let ToMedia::Plan(plan) = self.receive().await {
                return plan;
            }
        }
    }
}

/// A processor that says hello and holds these plans.
async fn accept_media(listener: &UnixListener, held: &[RoomPlan]) -> Link {
    let (stream, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    let mut link = Link::new(stream);
    assert_eq!(
        link.receive::<ToMedia>().await,
        ToMedia::Hello {
            takes_held: true,
            takes_stills: true
        }
    );
    link.send(&FromMedia::Hello(ProcessorHello {
        instance: InstanceId(5),
        addresses: vec![std::net::IpAddr::from([127, 0, 0, 1]).into()],
        port_low: 31_000,
        port_high: 31_100,
        webrtc_port: 30_999,
        fingerprint_sha256: [1; 32],
        deaths: Vec::new(),
        codecs: Vec::new(),
    }))
    .await;
    let rooms = held.iter().map(|plan| mcu_api::inventory::RoomInventory {
        room: plan.room,
        generation: plan.generation,
        plan: Some(plan.clone()),
        active_speaker: None,
        encoders: 1,
        decoders: 1,
        legs: Vec::new(),
    });
    let inventory = Inventory {
        rooms: rooms.collect(),
        figures: None,
    };
    link.send(&FromMedia::Inventory(inventory)).await;
    link
}

fn config(dir: &Path, sip: SocketAddr) -> Config {
    Config {
        data_dir: dir.into(),
        control_socket: dir.join("control.sock"),
        media_socket: dir.join("media.sock"),
        sip_listen: Some(sip),
        demo: true,
        ..Config::default()
    }
}

fn invite(transport: &str, local: SocketAddr, server: SocketAddr) -> String {
    let sdp = format!(
        "v=0\r\no=t 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {} RTP/AVP 0\r\n",
        40_000
    );
    format!(
        "INVITE sip:3000@{server} SIP/2.0\r\n\
         Via: SIP/2.0/{transport} {local};branch=z9hG4bK{transport}1;rport\r\n\
         Max-Forwards: 70\r\n\
         From: \"Ward\" <sip:ward@{local}>;tag=a{transport}\r\n\
         To: <sip:3000@{server}>\r\n\
         Call-ID: {transport}@test\r\n\
         CSeq: 1 INVITE\r\n\
         Contact: <sip:ward@{local}>\r\n\
         Content-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
}

/// A loopback address that no other test process uses (Linux answers for all of 127.0.0.0/8), so that
/// its ports are free.
fn own_address(number: u8) -> SocketAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    SocketAddr::from(([127, 1 + high + (middle & 0x7f), low, number], 25_060))
}

async fn udp_response(socket: &UdpSocket) -> String {
    let mut buffer = vec![0; 65_535];
    loop {
        let len = timeout(LIMIT, socket.recv(&mut buffer))
            .await
            .unwrap()
            .unwrap();
        let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
        if !text.starts_with("SIP/2.0 1") {
            return text;
        }
    }
}

async fn tcp_response(stream: &mut TcpStream) -> String {
    tcp_read_until(stream, "m=audio").await
}

/// What comes until a success has come that contains `wanted`.
async fn tcp_read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut text = String::new();
    let mut buffer = vec![0; 4096];
    while !(text.contains("SIP/2.0 2") && text.contains(wanted)) {
        let len = timeout(LIMIT, stream.read(&mut buffer))
            .await
            .unwrap()
            .unwrap();
        assert_ne!(len, 0, "closed after {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..len]));
    }
    text
}

/// A manager with one browser that is in the demo room.
async fn joined(dir: &Path) -> Link {
    let mut manager = Link::new(UnixStream::connect(dir.join("control.sock")).await.unwrap());
    let message = BrowserMessage::Join {
        room: "3000".into(),
        name: Redacted("A".into()),
        sdp: Some(Redacted(PAGE_OFFER.into())),
        answer_ufrag: None,
        resume: None,
        audio_muted: false,
        video_muted: false,
        pin: None,
        guest: None,
        roster_changes: false,
    };
    let joined = ToControl::Browser {
        conn: ConnId(1),
        source: None,
        person: None,
        invited: None,
        message,
    };
    manager.send(&joined).await;
    let told = manager.told().await;
    assert!(matches!(told, ServerMessage::Joined { .. }), "{told:?}");
    let told = manager.told().await;
    assert!(matches!(told, ServerMessage::Roster { .. }), "{told:?}");
    manager
}

/// The RTP port in our answer, one of the played processor's range.
fn audio_port(response: &str) -> u16 {
    let (_, line) = response.split_once("m=audio ").expect("a line of sound");
    let port = line.split(' ').next().unwrap().parse().unwrap();
    assert!((31_000..31_100).contains(&port), "{response}");
    port
}

async fn view(dir: &Path) -> RoomView {
    let mut manager = Link::new(UnixStream::connect(dir.join("control.sock")).await.unwrap());
    let number = "3000".into();
    manager
        .send(&ToControl::GetRoom { request: 1, number })
        .await;
    match manager.heard().await {
        FromControl::Room {
            request: 1,
            room: Some(room),
        } => room,
        other => panic!("no room: {other:?}"),
    }
}

#[tokio::test]
async fn calls_over_udp_and_tcp_reach_the_room_and_outlive_the_controller() {
    let dir = tempfile::tempdir().unwrap();
    let server = own_address(1);
    let media = UnixListener::bind(dir.path().join("media.sock")).unwrap();
    let first = tokio::spawn(run(config(dir.path(), server)));
    let mut link = accept_media(&media, &[]).await;

    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    udp.connect(server).await.unwrap();
    let request = invite("UDP", udp.local_addr().unwrap(), server);
    udp.send(request.as_bytes()).await.unwrap();
    let response = udp_response(&udp).await;
    assert!(response.starts_with("SIP/2.0 200"), "{response}");
    let first_port = audio_port(&response);
    assert!(
        response.contains(&format!("@{server}")),
        "Contact is our address: {response}"
    );
    let ack = within("ACK", 1, &request, &response);
    udp.send(ack.as_bytes()).await.unwrap();

    let mut tcp = TcpStream::connect(server).await.unwrap();
    let request = invite("TCP", tcp.local_addr().unwrap(), server);
    tcp.write_all(request.as_bytes()).await.unwrap();
    let response = tcp_response(&mut tcp).await;
    assert_ne!(audio_port(&response), first_port);
    let ack = within("ACK", 1, &request, &response);
    tcp.write_all(ack.as_bytes()).await.unwrap();
    let mut plan = link.plan().await;
    while plan.legs.len() < 2 || plan.legs.iter().any(|leg| !leg.confirmed) {
        plan = link.plan().await;
    }
    let names: Vec<String> = view(dir.path())
        .await
        .legs
        .into_iter()
        .map(|leg| leg.site.name.0)
        .collect();
    assert_eq!(names, ["Ward", "Ward"]);

    until_kept(dir.path(), |kept| calls_up(kept) == 2).await;
    kill(first, server).await;
    drop(link);
    let second = tokio::spawn(run(config(dir.path(), own_address(2))));
    let mut link = accept_media(&media, std::slice::from_ref(&plan)).await;
    assert_eq!(view(dir.path()).await.legs.len(), 2);
    second.abort();
    assert!(second.await.unwrap_err().is_cancelled());
    let mut rest = Vec::new();
    timeout(LIMIT, link.stream.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(rest, b"", "adopted media is left alone");
}

#[tokio::test]
async fn guests_enter_the_demo_room_and_a_closed_one_challenges_them() {
    let dir = tempfile::tempdir().unwrap();
    let server = own_address(5);
    let media = UnixListener::bind(dir.path().join("media.sock")).unwrap();
    let closed = RoomConfig {
        number: "77".into(),
        ..RoomConfig::default()
    };
    let account = Account {
        user: "ward".into(),
        secret: Secret::Password(Redacted("s3cret".into())),
        home: Home::Everywhere,
    };
    let controller = tokio::spawn(run(Config {
        rooms: vec![closed],
        accounts: vec![account],
        ..config(dir.path(), server)
    }));
    let _link = accept_media(&media, &[]).await;
    for (number, status) in [("77", "SIP/2.0 401 "), ("3000", "SIP/2.0 200 ")] {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        udp.connect(server).await.unwrap();
        let request = invite("UDP", udp.local_addr().unwrap(), server)
            .replace("sip:3000@", &format!("sip:{number}@"))
            .replace("UDP@test", &format!("{number}@test"))
            .replace("z9hG4bK", &format!("z9hG4bK{number}"));
        udp.send(request.as_bytes()).await.unwrap();
        let response = udp_response(&udp).await;
        assert!(response.starts_with(status), "{response}");
        let challenge = "WWW-Authenticate: Digest realm=\"consilium\"";
        assert_eq!(response.contains(challenge), number == "77", "{response}");
    }
    controller.abort();
}

#[tokio::test]
async fn a_server_that_stops_says_bye_and_tells_its_browsers() {
    let dir = tempfile::tempdir().unwrap();
    let server = own_address(6);
    let media = UnixListener::bind(dir.path().join("media.sock")).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { stopped.await.unwrap_or_default() };
    let controller = tokio::spawn(run_until(config(dir.path(), server), stopped));
    let _link = accept_media(&media, &[]).await;
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    udp.connect(server).await.unwrap();
    let request = invite("UDP", udp.local_addr().unwrap(), server);
    udp.send(request.as_bytes()).await.unwrap();
    let ok = udp_response(&udp).await;
    let (_, rest) = ok.split_once("\r\nTo: ").unwrap();
    let (to, _) = rest.split_once("\r\n").unwrap();
    let ack = request
        .replace("INVITE", "ACK")
        .replace("UDP1;rport", "UDP2;rport")
        .replace(&format!("To: <sip:3000@{server}>"), &format!("To: {to}"));
    udp.send(ack.as_bytes()).await.unwrap();

    let mut manager = joined(dir.path()).await;
    stop.send(()).unwrap();
    let removed = ServerMessage::Refused {
        code: Refusal::Removed,
    };
    assert_eq!(manager.told().await, removed);
    let mut bye = udp_response(&udp).await;
    while !bye.starts_with("BYE ") {
        bye = udp_response(&udp).await;
    }
    let (_, headers) = bye.split_once("\r\n").unwrap();
    let answer = format!("SIP/2.0 200 OK\r\n{headers}");
    udp.send(answer.as_bytes()).await.unwrap();
    timeout(LIMIT, controller).await.unwrap().unwrap().unwrap();
    let kept = kept(dir.path());
    assert_eq!(kept.rooms.rooms, []);
    assert_eq!(kept.sip.unwrap().calls, []);
}

#[tokio::test]
async fn a_second_controller_on_the_same_socket_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let media = UnixListener::bind(dir.path().join("media.sock")).unwrap();
    let first = tokio::spawn(run(config(dir.path(), own_address(3))));
    accept_media(&media, &[]).await;
    let second = run(config(dir.path(), own_address(4))).await;
    assert!(
        second
            .unwrap_err()
            .to_string()
            .contains("another controller")
    );
    first.abort();
}

/// A connection from this loopback address that the controller has answered on.
async fn pinged(from: [u8; 4], server: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let mut stream = timeout(LIMIT, socket.connect(server))
        .await
        .unwrap()
        .unwrap();
    ping(&mut stream).await;
    stream
}

/// RFC 5626 §4.4.1.
async fn ping(stream: &mut TcpStream) {
    stream.write_all(b"\r\n\r\n").await.unwrap();
    let mut pong = [0; 2];
    timeout(LIMIT, stream.read_exact(&mut pong))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&pong, b"\r\n");
}

async fn expect_closed(mut stream: TcpStream) {
    let read = timeout(LIMIT, stream.read(&mut [0; 16])).await.unwrap();
    assert_eq!(read.unwrap(), 0);
}

/// A thousand idle connections of one peer shut all others out for an hour.
#[tokio::test]
async fn idle_connections_give_way_and_calls_keep_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let server = own_address(40);
    let media = UnixListener::bind(dir.path().join("media.sock")).unwrap();
    let limits = Limits {
        idle_of_source: 3,
        all: 5,
    };
    let config = config(dir.path(), server);
    let controller = tokio::spawn(run_within(limits, config, std::future::pending()));
    let _link = accept_media(&media, &[]).await;
    let (busy, other, third) = ([127, 0, 0, 2], [127, 0, 0, 3], [127, 0, 0, 4]);
    let mut call = pinged(busy, server).await;
    let request = invite("TCP", call.local_addr().unwrap(), server);
    call.write_all(request.as_bytes()).await.unwrap();
    tcp_response(&mut call).await;
    let first = pinged(busy, server).await;
    let second = pinged(busy, server).await;
    let mut idle = vec![pinged(busy, server).await, pinged(busy, server).await];
    expect_closed(first).await;
    idle.push(pinged(other, server).await);
    idle.push(pinged(third, server).await);
    expect_closed(second).await;
    for stream in &mut idle {
        ping(stream).await;
    }
    ping(&mut call).await;
    controller.abort();
}

#[tokio::test]
async fn callers_and_managers_that_went_leave_no_task_behind() {
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let dir = tempfile::tempdir().unwrap();
    let server = own_address(7);
    let media = UnixListener::bind(dir.path().join("media.sock")).unwrap();
    let controller = tokio::spawn(run(config(dir.path(), server)));
    let _link = accept_media(&media, &[]).await;
    // Those of the listeners and of the processor's link.
    let before = tasks();
    for round in 0..20 {
        let mut tcp = TcpStream::connect(server).await.unwrap();
        let request = invite("TCP", tcp.local_addr().unwrap(), server)
            .replace("TCP@test", &format!("{round}@test"))
            .replace("z9hG4bK", &format!("z9hG4bK{round}"));
        tcp.write_all(request.as_bytes()).await.unwrap();
        let response = tcp_response(&mut tcp).await;
        assert!(tasks() > before, "a connection is served by a task");
        let (_, rest) = response.rsplit_once("\r\nTo: ").unwrap();
        let (to, _) = rest.split_once("\r\n").unwrap();
        let local = tcp.local_addr().unwrap();
        for (method, number) in [("ACK", 1), ("BYE", 2)] {
            let request = format!(
                "{method} sip:3000@{server} SIP/2.0\r\n\
                 Via: SIP/2.0/TCP {local};branch=z9hG4bK{method}{round}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:ward@{local}>;tag=aTCP\r\nTo: {to}\r\n\
                 Call-ID: {round}@test\r\nCSeq: {number} {method}\r\nContent-Length: 0\r\n\r\n"
            );
            tcp.write_all(request.as_bytes()).await.unwrap();
        }
        tcp_read_until(&mut tcp, "CSeq: 2 BYE").await;
    }
    let gone = async {
        while tasks() > before || !view(dir.path()).await.legs.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, gone).await.expect("tasks are back");
    controller.abort();
}

/// Managers answer `/health` by it.
#[tokio::test]
async fn managers_are_told_of_the_media_processor() {
    let dir = tempfile::tempdir().unwrap();
    let media = UnixListener::bind(dir.path().join("media.sock")).unwrap();
    let controller = tokio::spawn(run(config(dir.path(), own_address(9))));
    let link = accept_media(&media, &[]).await;
    let mut manager = Link::new(
        UnixStream::connect(dir.path().join("control.sock"))
            .await
            .unwrap(),
    );
    let mut ready = async || loop {
        if let FromControl::Media { ready, .. } = manager.receive().await {
            return ready;
        }
    };
    while !ready().await {}
    drop(link);
    assert!(!ready().await);
    let _link = accept_media(&media, &[]).await;
    assert!(ready().await);
    controller.abort();
}
