//! The manager against a controller of the test's own on a real unix socket.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use mcu_api::figures::Process;
use mcu_api::frame::{self, Decoder};
use mcu_api::ids::{ConnId, LegId};
use mcu_api::inventory::{FlowStats, LegState, VideoStats};
use mcu_api::manager::{
    BrowserMessage, FromControl, LegView, Refusal, RoomView, ServerMessage, Showing, Site,
    SiteKind, ToControl,
};
use mcu_api::secret::Redacted;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use crate::limits::{Bounds, Limits};
use crate::{Allowed, Config, Server};

fn media_is(ready: bool) -> FromControl {
    FromControl::Media {
        ready,
        tells_figures: false,
        tells_meetings: false,
        tells_trunks: false,
        tells_stills: false,
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

type Browser = WebSocketStream<TlsStream<TcpStream>>;

/// A manager that runs, and where its controller would listen.
struct Manager {
    dir: TempDir,
    port: u16,
    task: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The controller's end of the socket.
struct Controller {
    stream: UnixStream,
    decoder: Decoder,
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: not in time"))
}

impl Manager {
    /// One that shows room 3000, with these limits.
    async fn demo(limits: Limits) -> Self {
        Self::start(Some("3000"), limits).await
    }

    async fn start(demo_room: Option<&str>, limits: Limits) -> Self {
        Self::start_on(crate::Database::Sqlite, demo_room, limits).await
    }

    async fn start_on(database: crate::Database, demo_room: Option<&str>, limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            http: "127.0.0.1:0".parse().unwrap(),
            data_dir: dir.path().to_path_buf(),
            control_socket: dir.path().join("control.sock"),
            streams_socket: dir.path().join("tcp.sock"),
            addresses: vec!["127.0.0.1".parse().unwrap()],
            sip_ports: vec![5060],
            database,
            ldap: None,
            oidc: None,
            saml: None,
            backups: None,
            demo_room: demo_room.map(str::to_string),
            realm: "consilium".into(),
            rooms: Vec::new(),
            accounts: Vec::new(),
            trunks: Vec::new(),
            requests: Allowed::without_end(),
            metrics: None,
            webhooks: crate::webhooks::Config::default(),
            syslog: None,
            process: Process::default,
        };
        let server = Server::bind_with(config, limits).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let told = async {
                let _ = stopped.await;
            };
            server.run_until(told).await.expect("the manager runs on");
        });
        let stop = Some(stop);
        Self {
            dir,
            port,
            task,
            stop,
        }
    }

    fn listen(&self) -> UnixListener {
        let path = self.dir.path().join("control.sock");
        let _ = std::fs::remove_file(&path);
        UnixListener::bind(path).unwrap()
    }

    async fn tls(&self) -> TlsStream<TcpStream> {
        self.tls_in_time().await.unwrap()
    }

    /// What a connection is answered with.
    async fn tls_in_time(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let config = trusting(&self.dir.path().join("tls/cert.pem"));
        let socket = TcpSocket::new_v4().unwrap();
        // Small, so that what is not read is held at the server.
        socket.set_recv_buffer_size(4096).unwrap();
        let address = ([127, 0, 0, 1], self.port).into();
        let tcp = socket.connect(address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        soon("TLS", TlsConnector::from(config).connect(name, tcp)).await
    }

    /// Head and body of the answer to a GET.
    async fn get(&self, path: &str) -> (String, String) {
        let mut tls = self.tls().await;
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        tls.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // The peer may end TCP without TLS's own close.
        let _ = soon("answer", tls.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_string(), body.to_string())
    }

    async fn open(&self, origin: &str) -> Result<Browser, WsError> {
        self.open_with(origin, None).await
    }

    async fn open_with(&self, origin: &str, cookie: Option<&str>) -> Result<Browser, WsError> {
        let url = format!("wss://127.0.0.1:{}/ws", self.port);
        let mut request = url.into_client_request().unwrap();
        request
            .headers_mut()
            .insert("origin", origin.parse().unwrap());
        if let Some(cookie) = cookie {
            request
                .headers_mut()
                .insert("cookie", cookie.parse().unwrap());
        }
        let tls = self.tls().await;
        soon("handshake", tokio_tungstenite::client_async(request, tls))
            .await
            .map(|(ws, _)| ws)
    }

    async fn browser(&self) -> Browser {
        self.open(&format!("https://127.0.0.1:{}", self.port))
            .await
            .unwrap()
    }

    /// Until `/health` answers with this status.
    async fn wait_for_health(&self, status: &str) {
        soon("health", async {
            while !self.get("/health").await.0.contains(status) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// A client that trusts this certificate and nothing else: names and key must be right.
fn trusting(cert: &Path) -> Arc<ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(cert).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(
        builder
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

impl Controller {
    async fn accept(listener: &UnixListener) -> Self {
        let (stream, _) = soon("the manager connects", listener.accept())
            .await
            .unwrap();
        let mut controller = Self {
            stream,
            decoder: Decoder::default(),
        };
        controller.say(&media_is(true)).await;
        controller
    }

    async fn next(&mut self) -> ToControl {
        soon("a message to the controller", async {
            loop {
                match self.decoder.next_message().unwrap() {
                    // It comes once the database is ready.
                    Some(ToControl::Directory(_) | ToControl::GetVisits { .. }) => continue,
                    Some(message) => return message,
                    None => {}
                }
                let mut bytes = [0; 4096];
                let n = self.stream.read(&mut bytes).await.unwrap();
                assert!(n > 0, "the manager closed the connection");
                self.decoder.push(&bytes[..n]);
            }
        })
        .await
    }

    async fn say(&mut self, message: &FromControl) {
        self.stream
            .write_all(&frame::encode(message).unwrap())
            .await
            .unwrap();
    }
}

async fn demo() -> (Manager, UnixListener, Controller) {
    let manager = Manager::demo(Limits::default()).await;
    let listener = manager.listen();
    let controller = Controller::accept(&listener).await;
    manager.wait_for_health("200").await;
    (manager, listener, controller)
}

fn join() -> BrowserMessage {
    BrowserMessage::Join {
        room: "3000".into(),
        name: Redacted("李医生".into()),
        sdp: Some(Redacted("v=0".into())),
        answer_ufrag: None,
        resume: None,
        audio_muted: false,
        video_muted: true,
        pin: None,
        guest: None,
        roster_changes: true,
    }
}

async fn send(browser: &mut Browser, message: &BrowserMessage) {
    let text = serde_json::to_string(message).unwrap();
    browser.send(Message::text(text)).await.unwrap();
}

/// Next message that is neither ping nor pong.
async fn heard(browser: &mut Browser) -> Message {
    soon("a message to the browser", async {
        loop {
            match browser.next().await.unwrap().unwrap() {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    })
    .await
}

async fn close_code(browser: &mut Browser) -> CloseCode {
    match heard(browser).await {
        Message::Close(Some(frame)) => frame.code,
        other => panic!("expected a close, got {other:?}"),
    }
}

fn room() -> RoomView {
    let site = Site {
        leg: LegId(7),
        name: Redacted("李医生".into()),
        kind: SiteKind::Browser,
        audio_muted: false,
        video_muted: false,
        audio_silenced: false,
        video_silenced: false,
        original_sound: false,
        sound_lag_ms: None,
    };
    let leg = LegView {
        site,
        waiting: false,
        showing: Showing::default(),
        state: LegState::Connected,
        joined_s: 3,
        audio_codec: "opus".into(),
        audio_level_dbov: -30,
        received: FlowStats::default(),
        sent: FlowStats::default(),
        video_received: VideoStats::default(),
        video_sent: VideoStats::default(),
        round_trip_ms: Some(4),
    };
    RoomView {
        number: "3000".into(),
        encoders: 1,
        decoders: 1,
        speaker: None,
        quarantined: 0,
        legs: vec![leg],
    }
}

#[tokio::test]
async fn health_follows_the_controller() {
    let manager = Manager::demo(Limits::default()).await;
    let (head, body) = manager.get("/health").await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert!(body.contains(r#""status":"degraded""#) && body.contains(r#""control":"away""#));
    assert!(body.contains(r#""reason":"The conference controller is away""#));
    let listener = manager.listen();
    let controller = Controller::accept(&listener).await;
    manager.wait_for_health("200").await;
    drop((controller, listener));
    manager.wait_for_health("503").await;
    let listener = manager.listen();
    let _controller = Controller::accept(&listener).await;
    manager.wait_for_health("200").await;
}

/// Defect: `/health` answered 200 while no media process was there, so that no call could be taken.
#[tokio::test]
async fn health_tells_of_the_media_processor() {
    let (manager, _listener, mut controller) = demo().await;
    controller.say(&media_is(false)).await;
    manager.wait_for_health("503").await;
    let (_, body) = manager.get("/health").await;
    assert!(body.contains(r#""control":"connected","media":"away""#));
    assert!(body.contains(r#""reason":"The media processor is away""#));
    controller.say(&media_is(true)).await;
    manager.wait_for_health("200").await;
}

/// Defect: browsers heard nothing of the end of a server: the manager was gone before it had passed
/// on what the controller said to them last.
#[tokio::test]
async fn browsers_hear_the_last_word_when_the_manager_ends() {
    let (mut manager, _listener, mut controller) = demo().await;
    let mut removed = manager.browser().await;
    send(&mut removed, &BrowserMessage::Leave).await;
    let ToControl::Browser { conn, .. } = controller.next().await else {
        panic!()
    };
    let mut other = manager.browser().await;
    send(&mut other, &BrowserMessage::Leave).await;
    controller.next().await;
    let message = ServerMessage::Refused {
        code: Refusal::Removed,
    };
    controller.say(&FromControl::Server { conn, message }).await;
    controller.say(&FromControl::Close { conn }).await;
    drop(controller);
    manager.stop.take().unwrap().send(()).unwrap();
    assert_eq!(
        heard(&mut removed).await,
        Message::text(r#"{"type":"refused","code":"removed"}"#)
    );
    assert_eq!(close_code(&mut removed).await, CloseCode::Normal);
    assert_eq!(close_code(&mut other).await, CloseCode::Restart);
    drop((removed, other));
    soon("the manager ends", &mut manager.task).await.unwrap();
}

#[tokio::test]
async fn a_manager_that_ends_alone_sends_browsers_back_with_1012() {
    let (mut manager, _listener, _controller) = demo().await;
    let mut browser = manager.browser().await;
    manager.stop.take().unwrap().send(()).unwrap();
    assert_eq!(close_code(&mut browser).await, CloseCode::Restart);
    drop(browser);
    soon("the manager ends", &mut manager.task).await.unwrap();
}

#[tokio::test]
async fn messages_pass_in_both_directions() {
    let (manager, _listener, mut controller) = demo().await;
    let mut browser = manager.browser().await;
    send(&mut browser, &join()).await;
    let ToControl::Browser {
        conn,
        source,
        message,
        ..
    } = controller.next().await
    else {
        panic!("no join")
    };
    assert_eq!(message, join());
    assert_eq!(source, Some(std::net::Ipv4Addr::LOCALHOST.into()));
    let joined = ServerMessage::Joined {
        leg: LegId(7),
        sdp: Some(Redacted("v=0".into())),
        resume: Redacted("token".into()),
    };
    controller
        .say(&FromControl::Server {
            conn,
            message: joined.clone(),
        })
        .await;
    let text = heard(&mut browser).await.into_text().unwrap();
    assert_eq!(
        serde_json::from_str::<ServerMessage>(&text).unwrap(),
        joined
    );
    browser.close(None).await.unwrap();
    assert_eq!(controller.next().await, ToControl::BrowserGone { conn });
}

#[tokio::test]
async fn each_browser_hears_only_its_own() {
    let (manager, _listener, mut controller) = demo().await;
    let mut browsers = [manager.browser().await, manager.browser().await];
    let mut conns = Vec::new();
    for browser in &mut browsers {
        send(browser, &BrowserMessage::Leave).await;
        let ToControl::Browser { conn, .. } = controller.next().await else {
            panic!()
        };
        conns.push(conn);
    }
    assert_ne!(conns[0], conns[1]);
    controller
        .say(&FromControl::Server {
            conn: conns[1],
            message: ServerMessage::Renew,
        })
        .await;
    controller.say(&FromControl::Close { conn: conns[1] }).await;
    controller.say(&FromControl::Close { conn: conns[0] }).await;
    assert_eq!(
        heard(&mut browsers[1]).await,
        Message::text(r#"{"type":"renew"}"#)
    );
    assert_eq!(close_code(&mut browsers[1]).await, CloseCode::Normal);
    assert_eq!(
        close_code(&mut browsers[0]).await,
        CloseCode::Normal,
        "nothing before"
    );
}

#[tokio::test]
async fn a_lost_controller_sends_browsers_back_with_1012() {
    let (manager, listener, mut controller) = demo().await;
    let mut browser = manager.browser().await;
    send(&mut browser, &join()).await;
    controller.next().await;
    drop((controller, listener));
    assert_eq!(close_code(&mut browser).await, CloseCode::Restart);
    manager.wait_for_health("503").await;
    let refused = manager
        .open(&format!("https://127.0.0.1:{}", manager.port))
        .await;
    assert!(matches!(refused, Err(WsError::Http(answer)) if answer.status() == 503));
    let listener = manager.listen();
    let mut controller = Controller::accept(&listener).await;
    manager.wait_for_health("200").await;
    let mut browser = manager.browser().await;
    send(&mut browser, &join()).await;
    let ToControl::Browser { message, .. } = controller.next().await else {
        panic!("no join")
    };
    assert_eq!(message, join());
}

#[tokio::test]
async fn pages_of_other_origins_are_refused() {
    let (manager, _listener, _controller) = demo().await;
    let refused = manager.open("https://evil.example").await;
    assert!(matches!(refused, Err(WsError::Http(answer)) if answer.status() == 403));
}

#[tokio::test]
async fn nonsense_giants_and_binary_end_the_connection() {
    let (manager, _listener, mut controller) = demo().await;
    let mut browser = manager.browser().await;
    browser
        .send(Message::text(r#"{"type":"join","room":3}"#))
        .await
        .unwrap();
    let refused = heard(&mut browser).await;
    assert_eq!(
        refused,
        Message::text(r#"{"type":"refused","code":"bad_request"}"#)
    );
    assert_eq!(close_code(&mut browser).await, CloseCode::Policy);
    assert!(matches!(
        controller.next().await,
        ToControl::BrowserGone { .. }
    ));

    let mut browser = manager.browser().await;
    browser
        .send(Message::text("x".repeat(300_000)))
        .await
        .unwrap();
    assert_eq!(close_code(&mut browser).await, CloseCode::Size);

    let mut browser = manager.browser().await;
    browser.send(Message::binary(vec![0])).await.unwrap();
    assert_eq!(close_code(&mut browser).await, CloseCode::Unsupported);
}

#[tokio::test]
async fn a_flood_of_messages_ends_the_connection() {
    let (manager, _listener, mut controller) = demo().await;
    let mut browser = manager.browser().await;
    let mute = BrowserMessage::Mute {
        audio: true,
        video: true,
    };
    for _ in 0..100 {
        send(&mut browser, &mute).await;
    }
    assert_eq!(close_code(&mut browser).await, CloseCode::Policy);
    let mut passed = 0;
    while let ToControl::Browser { .. } = controller.next().await {
        passed += 1;
    }
    assert!((60..100).contains(&passed), "{passed} passed");
}

#[tokio::test]
async fn a_browser_that_does_not_read_is_disconnected_and_others_go_on() {
    let (manager, _listener, mut controller) = demo().await;
    let mut slow = manager.browser().await;
    send(&mut slow, &BrowserMessage::Leave).await;
    let ToControl::Browser { conn, .. } = controller.next().await else {
        panic!()
    };
    let mut quick = manager.browser().await;
    send(&mut quick, &BrowserMessage::Leave).await;
    let ToControl::Browser { conn: other, .. } = controller.next().await else {
        panic!()
    };
    // More than all buffers between hold.
    let message = ServerMessage::Answer {
        sdp: Redacted("x".repeat(100_000)),
    };
    let big = FromControl::Server { conn, message };
    soon("the controller is never held up", async {
        for _ in 0..300 {
            controller.say(&big).await;
        }
    })
    .await;
    controller
        .say(&FromControl::Server {
            conn: other,
            message: ServerMessage::Renew,
        })
        .await;
    assert_eq!(
        heard(&mut quick).await,
        Message::text(r#"{"type":"renew"}"#)
    );
    let mut seen = 0;
    let code = loop {
        match heard(&mut slow).await {
            Message::Close(frame) => break frame.unwrap().code,
            _ => seen += 1,
        }
    };
    assert_eq!(code, CloseCode::Again, "comes back later");
    assert!(seen < 300, "{seen} messages were kept");
    assert_eq!(controller.next().await, ToControl::BrowserGone { conn });
}

#[tokio::test]
async fn connections_of_one_source_are_bounded() {
    let manager = Manager::demo(Limits {
        sockets: Bounds {
            total: 9,
            per_source: 1,
        },
        ..Limits::default()
    })
    .await;
    let listener = manager.listen();
    let _controller = Controller::accept(&listener).await;
    manager.wait_for_health("200").await;
    let _first = manager.browser().await;
    let refused = manager
        .open(&format!("https://127.0.0.1:{}", manager.port))
        .await;
    assert!(matches!(refused, Err(WsError::Http(answer)) if answer.status() == 429));
}

fn connections(total: usize, per_source: usize) -> Limits {
    Limits {
        connections: Bounds { total, per_source },
        patience: Duration::from_millis(500),
        ..Limits::default()
    }
}

/// Defect: one host could take all places for HTTP connections.
#[tokio::test]
async fn http_connections_of_one_source_are_bounded() {
    let manager = Manager::demo(Limits {
        patience: Limits::default().patience,
        ..connections(9, 2)
    })
    .await;
    let first = manager.tls().await;
    let _second = manager.tls().await;
    assert!(manager.tls_in_time().await.is_err(), "closed at once");
    drop(first);
    soon("a place comes back", async {
        while manager.tls_in_time().await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Defect: a client that asked for much and read nothing held its place for ever.
#[tokio::test]
async fn a_client_that_never_reads_loses_its_place() {
    let manager = Manager::demo(connections(1, 1)).await;
    let mut deaf = manager.tls().await;
    // Until nothing more is taken, since no answer leaves any more.
    let request = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    let flood = async { while deaf.write_all(&request).await.is_ok() {} };
    soon("the server gives it up", flood).await;
    let (head, _) = manager.get("/health").await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
}

#[tokio::test]
async fn a_client_that_says_nothing_loses_its_place() {
    let manager = Manager::demo(connections(1, 1)).await;
    let mut silent = manager.tls().await;
    let mut answer = Vec::new();
    let _ = soon("the server closes", silent.read_to_end(&mut answer)).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"));
}

#[tokio::test]
async fn without_a_login_the_room_is_shown_in_a_demonstration_only() {
    let (manager, _listener, mut controller) = demo().await;
    let (answer, ()) = tokio::join!(manager.get("/api/v1/rooms/3000"), async {
        let ToControl::GetRoom { request, number } = controller.next().await else {
            panic!()
        };
        assert_eq!(number, "3000");
        controller
            .say(&FromControl::Room {
                request,
                room: Some(room()),
            })
            .await;
    });
    assert!(answer.0.starts_with("HTTP/1.1 200"), "{}", answer.0);
    assert_eq!(serde_json::from_str::<RoomView>(&answer.1).unwrap(), room());
    let (answer, ()) = tokio::join!(manager.get("/api/v1/rooms/3000"), async {
        let ToControl::GetRoom { request, .. } = controller.next().await else {
            panic!()
        };
        controller
            .say(&FromControl::Room {
                request,
                room: None,
            })
            .await;
    });
    assert!(answer.0.starts_with("HTTP/1.1 404"), "{}", answer.0);
    assert!(
        answer.0.contains("application/problem+json"),
        "{}",
        answer.0
    );

    // Defect: the demonstration showed every room.
    let closed = Manager::start(None, Limits::default()).await;
    for (manager, number) in [(&manager, "4000"), (&closed, "3000")] {
        let (head, body) = manager.get(&format!("/api/v1/rooms/{number}")).await;
        assert!(head.starts_with("HTTP/1.1 401"), "{head}");
        assert_eq!(
            body,
            r#"{"status":401,"title":"Not logged in","code":"not_logged_in"}"#
        );
    }
}

#[tokio::test]
async fn every_answer_is_fenced_in() {
    let manager = Manager::demo(Limits::default()).await;
    for path in [
        "/",
        "/room/3000",
        "/health",
        "/nothing",
        "/assets/../tls/key.pem",
    ] {
        let head = manager.get(path).await.0.to_lowercase();
        for header in [
            "content-security-policy",
            "nosniff",
            "referrer-policy",
            "camera=(self)",
        ] {
            assert!(head.contains(header), "{path} without {header}: {head}");
        }
    }
    let (head, _) = manager.get("/nothing").await;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
}

#[test]
fn what_is_logged_shows_no_name() {
    let message = ToControl::Browser {
        conn: ConnId(1),
        source: None,
        person: None,
        invited: None,
        message: join(),
    };
    assert!(!format!("{message:?}").contains("李医生"));
}

/// A whole server that starts again is asked by its pages before its database is there.
#[tokio::test]
async fn whoever_cannot_be_proved_yet_is_told_to_try_again_and_a_stranger_that_it_is_no_use() {
    let away = crate::Database::Postgres(Redacted("postgres://x@127.0.0.1:1/x".into()));
    let manager = Manager::start_on(away, None, Limits::default()).await;
    let listener = manager.listen();
    let mut controller = Controller::accept(&listener).await;
    manager.wait_for_health("200").await;
    let by_link = || {
        let mut message = join();
        if let BrowserMessage::Join { resume, guest, .. } = &mut message {
            *resume = Some(Redacted("token".into()));
            *guest = Some(Redacted("secret".into()));
        }
        message
    };
    let session = format!("{}=secret", crate::sessions::COOKIE);
    let (not_allowed, pin) = (Refusal::NotAllowed, Refusal::PinWanted);
    for (cookie, message, code, told) in [
        (None, join(), not_allowed, not_allowed),
        (Some(&*session), join(), not_allowed, Refusal::NoMedia),
        (Some(&*session), join(), pin, pin),
        (None, by_link(), not_allowed, Refusal::NoMedia),
        (None, by_link(), pin, Refusal::NoMedia),
    ] {
        let origin = format!("https://127.0.0.1:{}", manager.port);
        let mut browser = manager.open_with(&origin, cookie).await.unwrap();
        send(&mut browser, &message).await;
        let ToControl::Browser { conn, .. } = controller.next().await else {
            panic!("no join")
        };
        let message = ServerMessage::Refused { code };
        controller.say(&FromControl::Server { conn, message }).await;
        let text = heard(&mut browser).await.into_text().unwrap();
        let said: ServerMessage = serde_json::from_str(&text).unwrap();
        assert_eq!(said, ServerMessage::Refused { code: told });
        drop(browser);
        assert_eq!(controller.next().await, ToControl::BrowserGone { conn });
    }
}
