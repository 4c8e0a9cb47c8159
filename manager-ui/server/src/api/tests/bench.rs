//! An API with a database of its own, and what is asked of it.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Extension;
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use http_body_util::BodyExt;
use mcu_api::directory::{Held, TrunkState};
use mcu_api::figures::{Control, Process};
use mcu_api::frame::{self, Decoder};
use mcu_api::ids::RoomId;
use mcu_api::manager::{
    ControlOutcome, DialOutcome, FromControl, LegView, RoomView, ToControl, TransferOutcome, Visit,
};
use mcu_api::secret::Redacted;
use mcu_api::still::Still;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync;
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::postgres::Postgres;
use crate::api::pictures::Looks;
use crate::directory::FileRoom;
use crate::here::Here;
use crate::rates::{Allowed, Rates};
use crate::rights::Right;
use crate::seal::Seal;
use crate::setup::{FILE, Setup};
use crate::store::{Database, Store, now_ms};
use crate::webhooks::{self, Webhooks};
use crate::{State, directory, events, ldap, limits, link, oidc, saml, serve, sessions, watch};

/// Where the page is.
const PAGE: &str = "https://192.0.2.1:8443";
pub(crate) const PASSWORD: &str = "seven grey horses";
/// Of the passwords of SIP accounts.
pub(crate) const REALM: &str = "hospital.example";

/// An API with a controller that the test plays.
pub(crate) struct Api {
    pub router: Router,
    pub state: State,
    pub store: Store,
    pub dir: TempDir,
    /// What the controller was asked, but for rooms and visits.
    pub asked: Arc<Mutex<Vec<ToControl>>>,
    /// Who is in by a login or a link, as the controller says.
    pub visits: Arc<Mutex<Vec<Visit>>>,
    /// Who is in each room, as the controller says.
    pub legs: Arc<Mutex<Vec<LegView>>>,
    /// The controller ends when it is told what to do with a leg, or to call somebody.
    pub ends_when_told: Arc<AtomicBool>,
    /// How the controller does with calls.
    pub ringing: sync::watch::Sender<Ringing>,
    /// They end with it, and their connections to the database.
    _tasks: JoinSet<()>,
}

/// Whether the controller answers that it was refused when somebody is to be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ringing {
    /// At once, and what rings now.
    Answer,
    /// Not yet.
    Hold,
    /// Nor yet, and somebody is called.
    Rings,
}

/// Who else proves people.
#[derive(Default)]
struct Ways {
    ldap: Option<ldap::Config>,
    oidc: Option<oidc::Config>,
    saml: Option<saml::Config>,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: StatusCode,
    pub cookie: Option<String>,
    pub body: Value,
}

impl Api {
    pub(crate) async fn sqlite() -> Self {
        Self::on(&Database::Sqlite).await
    }

    /// With an empty database of this name.
    pub(crate) async fn postgres(server: &Postgres, name: &str) -> Self {
        let address = Redacted(server.database(name));
        Self::on(&Database::Postgres(address)).await
    }

    async fn on(database: &Database) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(database, dir.path()).unwrap();
        store.prepare().await.unwrap();
        let setup = Setup::new(dir.path(), PAGE.into());
        setup.offer(&store).await.unwrap();
        directory::show(&store, &file()).await.unwrap();
        Self::with(store, dir, Ways::default())
    }

    fn with(store: Store, dir: TempDir, ways: Ways) -> Self {
        let socket = dir.path().join("control.sock");
        let asked = Arc::default();
        let visits = Arc::default();
        let legs = Arc::default();
        let ends_when_told = Arc::default();
        let (ringing, _) = sync::watch::channel(Ringing::Answer);
        // One of an earlier life.
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(play_controller(
            listener,
            Arc::clone(&asked),
            Arc::clone(&visits),
            Arc::clone(&legs),
            Arc::clone(&ends_when_told),
            ringing.clone(),
        ));
        let (link, task) = link::new(socket);
        tasks.spawn(task.run());
        let follower = directory::Follower::new(link.clone());
        let seal = Seal::new(dir.path());
        let events = events::Events::default();
        tasks.spawn(events.clone().follow(store.clone()));
        tasks.spawn(events::live::tell(store.clone(), link.clone()));
        let followed = (follower.clone(), store.clone(), seal.clone());
        tasks.spawn(async move { followed.0.run(followed.1, followed.2, &file()).await });
        let limits = limits();
        let watch = watch(&dir, &link, &store);
        let state = State {
            link,
            demo_room: None,
            sockets: limits::Places::new(limits.sockets),
            store: store.clone(),
            setup: Setup::new(dir.path(), PAGE.into()),
            seal,
            ldap: ways.ldap.map(ldap::Directory::new).map(Arc::new),
            oidc: ways.oidc.map(oidc::Provider::new).map(Arc::new),
            saml: ways.saml.map(saml::Provider::new).map(Arc::new),
            logins: Arc::default(),
            guests: Arc::default(),
            looks: Looks::default(),
            under_way: Arc::default(),
            rates: rates(1_000_000, 1_000_000),
            follower,
            file: Arc::new(file()),
            events,
            webhooks: webhooks(),
            here: Arc::new(here()),
            listeners: crate::api::events::Listeners::new(&limits),
            watch: Arc::new(watch),
        };
        let delivering = state.clone();
        tasks.spawn(async move { delivering.webhooks.run(&delivering).await });
        let router = router(&state);
        Self {
            router,
            state,
            store,
            dir,
            asked,
            visits,
            legs,
            ends_when_told,
            ringing,
            _tasks: tasks,
        }
    }

    /// As a server has it that answers so many requests in a minute, by session and by source.
    pub(crate) fn answering(mut self, per_session: u32, per_source: u32) -> Self {
        self.state.rates = rates(per_session, per_source);
        self.router = router(&self.state);
        self
    }

    /// As the server's next life has it.
    pub(crate) fn reopened(self) -> Self {
        Self::with(self.store, self.dir, Ways::default())
    }

    /// As a server has it whose configuration names this directory.
    pub(crate) fn with_directory(self, directory: ldap::Config) -> Self {
        let ldap = Some(directory);
        let ways = Ways {
            ldap,
            ..Ways::default()
        };
        Self::with(self.store, self.dir, ways)
    }

    /// As a server has it whose configuration names this provider.
    pub(crate) fn with_provider(self, provider: oidc::Config) -> Self {
        let oidc = Some(provider);
        let ways = Ways {
            oidc,
            ..Ways::default()
        };
        Self::with(self.store, self.dir, ways)
    }

    /// As a server has it whose configuration names this identity provider.
    pub(crate) fn with_identity_provider(self, provider: saml::Config) -> Self {
        let saml = Some(provider);
        let ways = Ways {
            saml,
            ..Ways::default()
        };
        Self::with(self.store, self.dir, ways)
    }

    /// Posts as a page of another origin has a browser do that holds these cookies.
    pub(crate) async fn post_form(&self, path: &str, cookies: &str, form: String) -> Response {
        let request = Request::builder()
            .method("POST")
            .uri(path)
            .header(header::HOST, "192.0.2.1:8443")
            .header(header::ORIGIN, "https://idp.example")
            .header(header::COOKIE, cookies)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(form));
        self.router.clone().oneshot(request.unwrap()).await.unwrap()
    }

    /// Opens a page as a browser does that holds these cookies.
    pub(crate) async fn visit(&self, path: &str, cookies: &str) -> Response {
        self.fetch(path, cookies, "navigate").await
    }

    /// Asks as a browser does for a page (`navigate`) or for a part of one (Fetch Metadata).
    pub(crate) async fn fetch(&self, path: &str, cookies: &str, mode: &str) -> Response {
        let request = Request::builder()
            .uri(path)
            .header(header::HOST, "192.0.2.1:8443")
            .header(header::COOKIE, cookies)
            .header("sec-fetch-mode", mode)
            .body(Body::empty());
        self.router.clone().oneshot(request.unwrap()).await.unwrap()
    }

    /// Opens a stream of events, as a program with a token does or a page with a cookie.
    pub(crate) async fn try_listen(
        &self,
        proof: &str,
        query: &str,
        last: Option<&str>,
    ) -> Response {
        let mut request = Request::builder()
            .uri(format!("/api/v1/events{query}"))
            .header(header::HOST, "192.0.2.1:8443");
        request = match proof.starts_with("Bearer ") {
            true => request.header(header::AUTHORIZATION, proof),
            false => request.header(header::COOKIE, format!("{}={proof}", sessions::COOKIE)),
        };
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let request = request.body(Body::empty()).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// The secret of the first administrator's link.
    pub(crate) fn setup_secret(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.dir.path().join(FILE)).ok()?;
        let (page, secret) = text.trim().split_once("/setup#").unwrap();
        assert_eq!(page, "https://192.0.2.1:8443");
        Some(secret.to_owned())
    }

    /// Makes the first administrator; the cookie of its session.
    pub(crate) async fn first(&self) -> String {
        let answer = self
            .ask(
                "",
                "POST",
                "/setup",
                json!({
                    "secret": self.setup_secret().unwrap(), "organisation": "华东", "login": "root",
                    "name": "管理员", "password": PASSWORD,
                }),
            )
            .await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
        answer.cookie.unwrap()
    }

    /// Logs in; the cookie.
    pub(crate) async fn log_in(&self, login: &str) -> String {
        let answer = self.try_log_in(login, PASSWORD).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
        answer.cookie.unwrap()
    }

    pub(crate) async fn try_log_in(&self, login: &str, password: &str) -> Answer {
        let body = json!({ "login": login, "password": password });
        self.ask("", "POST", "/session", body).await
    }

    /// Asks as our own page does.
    pub(crate) async fn ask(&self, cookie: &str, method: &str, path: &str, body: Value) -> Answer {
        self.ask_from(Some("https://192.0.2.1:8443"), cookie, method, path, body)
            .await
    }

    /// Asks as a program with a token does.
    pub(crate) async fn ask_by(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Value,
    ) -> Answer {
        let token = format!("Bearer {token}");
        self.ask_from(None, &token, method, path, body).await
    }

    /// Asks as a page of this origin does.
    pub(crate) async fn ask_from(
        &self,
        origin: Option<&str>,
        cookie: &str,
        method: &str,
        path: &str,
        body: Value,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header(header::HOST, "192.0.2.1:8443");
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        if cookie.starts_with("Bearer ") {
            request = request.header(header::AUTHORIZATION, cookie);
        } else if !cookie.is_empty() {
            let pair = format!("other=1; {}={cookie}", sessions::COOKIE);
            request = request.header(header::COOKIE, pair);
        }
        let request = match body {
            Value::Null => request.body(Body::empty()),
            body => request
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from(body.to_string())),
        };
        let response = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        let status = response.status();
        let cookie = response.headers().get(header::SET_COOKIE).map(|value| {
            let value = value.to_str().unwrap();
            assert!(value.contains("; Secure; HttpOnly"), "{value}");
            let (name, rest) = value.split_once('=').unwrap();
            assert_eq!(name, sessions::COOKIE);
            rest.split(';').next().unwrap().to_owned()
        });
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer {
            status,
            cookie,
            body,
        }
    }

    /// Sends this with an `Idempotency-Key`, as our own page or a program with a token would.
    pub(crate) async fn ask_once(&self, proof: &str, key: &str, path: &str, body: Value) -> Answer {
        let request = Request::post(format!("/api/v1{path}"))
            .header(header::HOST, "192.0.2.1:8443")
            .header(header::ORIGIN, "https://192.0.2.1:8443")
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", key);
        let request = match proof.starts_with("Bearer ") {
            true => request.header(header::AUTHORIZATION, proof),
            false => request.header(header::COOKIE, format!("{}={proof}", sessions::COOKIE)),
        };
        let request = request.body(Body::from(body.to_string())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let mut body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if headers.contains_key("idempotency-replayed") {
            body["replayed"] = json!(true);
        }
        Answer {
            status,
            cookie: None,
            body,
        }
    }

    /// The text that comes by GET.
    pub(crate) async fn text(&self, cookie: &str, path: &str) -> String {
        let request = Request::builder()
            .uri(format!("/api/v1{path}"))
            .header(header::HOST, "192.0.2.1:8443")
            .header(header::COOKIE, format!("{}={cookie}", sessions::COOKIE));
        let request = request.body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    /// The description of the API.
    pub(crate) async fn document(&self) -> Value {
        let request = Request::get("/api/openapi.json").body(Body::empty());
        let response = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&bytes).unwrap()
    }

    pub(crate) async fn get(&self, cookie: &str, path: &str) -> Value {
        let answer = self.ask(cookie, "GET", path, Value::Null).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
        answer.body
    }

    /// Asks, and expects that something was made; its id.
    pub(crate) async fn make(&self, cookie: &str, path: &str, body: Value) -> String {
        let answer = self.ask(cookie, "POST", path, body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{path}: {answer:?}");
        answer.body["id"].as_str().unwrap().to_owned()
    }

    /// Id of the organisation at the root.
    pub(crate) async fn root(&self, cookie: &str) -> String {
        let me = self.get(cookie, "/session").await;
        me["organisation"].as_str().unwrap().to_owned()
    }

    /// Makes an organisation.
    pub(crate) async fn organisation(&self, cookie: &str, parent: &str, name: &str) -> String {
        let body = json!({ "parent": parent, "kind": "hospital", "name": name });
        self.make(cookie, "/organisations", body).await
    }

    /// Makes a person with this role where the person belongs.
    pub(crate) async fn person(&self, cookie: &str, at: &str, login: &str, role: &str) -> String {
        let id = self.nobody(cookie, at, login).await;
        let grant = json!({ "role": role, "organisation": at });
        self.make(cookie, &format!("/people/{id}/grants"), grant)
            .await;
        id
    }

    /// Makes a token that may do this at most, for a day.
    pub(crate) async fn token(&self, cookie: &str, rights: &[Right]) -> String {
        let expires_ms = now_ms() + 24 * 60 * 60 * 1000;
        let body = json!({ "name": "程序", "rights": rights, "expires_ms": expires_ms,
            "password": PASSWORD });
        let answer = self.ask(cookie, "POST", "/session/tokens", body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.body["token"].as_str().unwrap().to_owned()
    }

    /// Entries of the record with this action, newest first.
    pub(crate) async fn noted(&self, cookie: &str, action: &str) -> Vec<Value> {
        let path = format!("/audit?action={action}");
        let page = self.get(cookie, &path).await;
        page["items"].as_array().unwrap().clone()
    }

    /// Waits until the controller has said that it tells what it does.
    pub(crate) async fn until_figures_are_told(&self) {
        while !self.state.link.tells_figures() {
            tokio::task::yield_now().await;
        }
    }

    /// Makes a person without a role.
    pub(crate) async fn nobody(&self, cookie: &str, at: &str, login: &str) -> String {
        let body =
            json!({ "organisation": at, "login": login, "name": login, "password": PASSWORD });
        self.make(cookie, "/people", body).await
    }
}

fn router(state: &State) -> Router {
    let peer = serve::Peer("192.0.2.7:5000".parse().unwrap());
    crate::router(state.clone()).layer(Extension(peer))
}

fn watch(dir: &TempDir, link: &link::Link, store: &Store) -> watch::Watch {
    let places = watch::files::Places {
        data_dir: dir.path().to_owned(),
        backups: None,
    };
    watch::Watch::new(link.clone(), store.clone(), places, Process::default, None)
}

/// Where terminals reach the server.
fn here() -> Here {
    Here::new(&["192.0.2.1".parse().unwrap()], vec![5060, 5061], REALM)
}

/// Told without TLS on this machine, and tried again at once.
fn webhooks() -> Webhooks {
    let here = vec!["localhost".to_owned()];
    let config = webhooks::Config {
        private_hosts: here.clone(),
        clear_hosts: here,
        retries: vec![Duration::from_millis(50); 2],
        ..webhooks::Config::default()
    };
    Webhooks::new(config, Vec::new())
}

fn limits() -> limits::Limits {
    limits::Limits {
        heartbeat: Duration::from_millis(500),
        ..limits::Limits::default()
    }
}

fn rates(per_session: u32, per_source: u32) -> Arc<Rates> {
    Rates::new(&Allowed {
        per_session: NonZeroU32::new(per_session).unwrap(),
        per_source: NonZeroU32::new(per_source).unwrap(),
    })
}

/// What the configuration file has.
fn file() -> directory::File {
    directory::File {
        realm: REALM.into(),
        rooms: vec![FileRoom {
            number: "100".into(),
            guests: true,
            has_guest_pin: true,
            ..FileRoom::default()
        }],
        accounts: vec!["ward".into()],
        trunks: vec![("pbx".into(), vec![[10, 9, 0, 1].into()])],
    }
}

fn room_of(number: String, legs: Vec<LegView>) -> RoomView {
    RoomView {
        number,
        encoders: 0,
        decoders: 0,
        speaker: None,
        quarantined: 0,
        legs,
    }
}

/// Answers whatever is asked as a controller does where all goes well.
async fn play_controller(
    listener: UnixListener,
    asked: Arc<Mutex<Vec<ToControl>>>,
    visits: Arc<Mutex<Vec<Visit>>>,
    legs: Arc<Mutex<Vec<LegView>>>,
    ends_when_told: Arc<AtomicBool>,
    ringing: sync::watch::Sender<Ringing>,
) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let there = FromControl::Media {
        ready: false,
        tells_figures: true,
        tells_meetings: false,
        tells_trunks: true,
        tells_stills: true,
    };
    let there = frame::encode(&there).unwrap();
    stream.write_all(&there).await.unwrap();
    let mut decoder = Decoder::default();
    let mut bytes = vec![0; 65_536];
    loop {
        while let Some(message) = decoder.next_message::<ToControl>().unwrap() {
            let answer = match message.clone() {
                ToControl::GetRoom { request, number } => FromControl::Room {
                    request,
                    room: Some(room_of(number, legs.lock().unwrap().clone())),
                },
                ToControl::GetVisits { request } => FromControl::Visits {
                    request,
                    visits: visits.lock().unwrap().clone(),
                },
                ToControl::Control { .. } if ends_when_told.load(Ordering::Relaxed) => return,
                ToControl::Dial { .. } if ends_when_told.load(Ordering::Relaxed) => {
                    asked.lock().unwrap().push(message);
                    return;
                }
                ToControl::Control { request, .. } => FromControl::Controlled {
                    request,
                    outcome: ControlOutcome::Done,
                },
                ToControl::Dial { request, .. } => rung(request, &ringing).await,
                ToControl::Transfer { request, .. } => FromControl::Transferred {
                    request,
                    outcome: TransferOutcome::Failed { status: 486 },
                },
                ToControl::GetStill { request, number } => {
                    let legs = legs.lock().unwrap().len();
                    still_of(request, &number, legs)
                }
                ToControl::GetFigures { request } => FromControl::Figures {
                    request,
                    figures: Box::new(Control::default()),
                },
                ToControl::GetTrunks { request } => FromControl::Trunks {
                    request,
                    trunks: trunks(),
                },
                ToControl::Directory(directory) => FromControl::Directory(Held {
                    generation: directory.generation,
                    ..Held::default()
                }),
                other => panic!("not by this way: {other:?}"),
            };
            if !is_question(&message) {
                asked.lock().unwrap().push(message);
            }
            stream
                .write_all(&frame::encode(&answer).unwrap())
                .await
                .unwrap();
        }
        match stream.read(&mut bytes).await {
            Ok(n) if n > 0 => decoder.push(&bytes[..n]),
            _ => return,
        }
    }
}

/// A file that tells the number; of an empty room there is none. Other people are another meeting.
fn still_of(request: u64, number: &str, legs: usize) -> FromControl {
    let is_empty = number.starts_with("empty");
    FromControl::Still {
        request,
        meeting: Some(RoomId(legs as u64)),
        still: Still::new(number.into()).filter(|_| !is_empty),
    }
}

/// What came of a call, once it is to be answered.
async fn rung(request: u64, ringing: &sync::watch::Sender<Ringing>) -> FromControl {
    ringing.send_if_modified(|ringing| {
        let holds = *ringing == Ringing::Hold;
        if holds {
            *ringing = Ringing::Rings;
        }
        holds
    });
    let mut ringing = ringing.subscribe();
    let answered = ringing.wait_for(|ringing| *ringing == Ringing::Answer);
    answered.await.unwrap();
    FromControl::Dialled {
        request,
        outcome: DialOutcome::Refused { status: 486 },
    }
}

/// How the trunk of the file does, and one that people may have made.
fn trunks() -> Vec<TrunkState> {
    let state = |name: &str, made| TrunkState {
        name: name.into(),
        made,
        registered: Some(made),
        since_ms: Some(1_700_000_000_000),
        failure: (!made).then(|| "no answer".into()),
    };
    vec![state("pbx", false), state("city", true)]
}

fn is_question(message: &ToControl) -> bool {
    matches!(
        message,
        ToControl::GetRoom { .. }
            | ToControl::GetVisits { .. }
            | ToControl::GetStill { .. }
            | ToControl::GetFigures { .. }
            | ToControl::GetTrunks { .. }
    )
}
