//! The server itself: its processes, versions, capacity and keeping, and metrics (WS/T 545: MGT-04).
//! It belongs to nobody below the root, so the right is asked for there.

use axum::Json;
use axum::extract::State as StateOf;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sqlx::Row;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Problem;
use super::ports::PortsView;
use crate::State;
use crate::asker::LoggedIn;
use crate::rights::{Right, allowed};
use crate::store::{Error, now_ms};
use crate::tls::examine::Facts;
use crate::watch::exposition as text;
use crate::watch::files::{Backups, Checkpoint, Disk};
use crate::watch::{Part, Snapshot};

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(show))
        .routes(routes!(metrics))
}

/// The server as it is.
#[derive(Debug, Serialize, ToSchema)]
struct System {
    /// Now, in milliseconds since 1970.
    now_ms: i64,
    /// Each process.
    processes: Vec<ProcessView>,
    database: DatabaseView,
    versions: Versions,
    /// Of the page.
    certificate: Option<Facts>,
    capacity: Capacity,
    /// None where no copies are made by themselves.
    backups: Option<Backups>,
    record: Record,
}

/// A process.
#[derive(Debug, Serialize, ToSchema)]
struct ProcessView {
    /// `manager`, `control` or `media`.
    name: &'static str,
    state: Part,
    /// What it says of itself; none where it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    figures: Option<Figures>,
}

/// What a process says of itself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProcessFigures)]
struct Figures {
    version: String,
    uptime_s: u64,
    /// How often the supervisor had to start it again.
    restarts: u32,
    /// Processor time of all its threads in ms.
    cpu_ms: u64,
    /// Resident memory.
    memory_bytes: u64,
}

/// The database.
#[derive(Debug, Serialize, ToSchema)]
struct DatabaseView {
    state: Part,
    /// Time that it took for a small statement, in ms.
    latency_ms: Option<f64>,
}

/// Versions of what the server is made of.
#[derive(Debug, Serialize, ToSchema)]
struct Versions {
    program: &'static str,
    /// `SQLite 3.46.0`, `PostgreSQL 15.8`.
    database: Option<String>,
    /// Number of the last step by which the tables were brought up to date.
    tables: Option<i64>,
    /// Of the library that decodes pictures.
    libavcodec: Option<String>,
}

/// What there is, and how much of it is used.
#[derive(Debug, Serialize, ToSchema)]
struct Capacity {
    /// Processors.
    processors: usize,
    rooms: Option<u64>,
    legs: Option<u64>,
    /// Legs that there may be.
    max_legs: Option<u64>,
    registered_accounts: Option<u64>,
    /// Pairs of media ports that legs have.
    port_pairs_used: Option<u64>,
    /// Pairs of media ports that there are.
    port_pairs: Option<u64>,
    /// Ports of each class, dearest first; none while nothing is measured or known.
    ports: Vec<PortsView>,
    /// Most pictures a second that are composed: fewer than 60 where the machine is short of time.
    max_frame_rate: Option<u32>,
    /// Share of the sites in composed pictures of which more than key frames are decoded, from 0 to 1.
    decoded: Option<f32>,
    /// Lines of the tallest pictures that terminals have now, where the machine is short of time.
    lowered_to: Option<u16>,
    /// Of the data folder.
    disk: Option<Disk>,
}

/// The audit log.
#[derive(Debug, Serialize, ToSchema)]
struct Record {
    /// Number of its last entry.
    entries: Option<i64>,
    /// The last one that was signed.
    checkpoint: Option<Checkpoint>,
    /// None where the configuration names none.
    log_host: Option<LogHost>,
}

/// Where checkpoints are sent.
#[derive(Debug, Serialize, ToSchema)]
struct LogHost {
    /// `ready` while there is a connection.
    state: Part,
    /// The last signed entry that it was told; 0 before any.
    sent: i64,
}

/// The server as it is.
#[utoipa::path(get, path = "/system", tag = "system",
    extensions(("x-right" = json!("system.view"))),
    responses((status = 200, body = System), (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn show(StateOf(state): StateOf<State>, who: LoggedIn) -> Result<Json<System>, Problem> {
    need_at_root(&state, &who).await?;
    let now = state.watch.look().await;
    let database = state.store.version().await.ok();
    Ok(Json(System {
        now_ms: now_ms(),
        processes: processes(&now),
        database: DatabaseView {
            state: now.parts.database,
            latency_ms: now.database.map(|took| took.as_secs_f64() * 1000.0),
        },
        versions: Versions {
            program: env!("CARGO_PKG_VERSION"),
            tables: database.as_ref().map(|(_, tables)| *tables),
            database: database.map(|(version, _)| version),
            libavcodec: now
                .control
                .as_ref()
                .and_then(|control| control.media.as_ref())
                .map(|media| media.libavcodec.clone()),
        },
        certificate: now.files.certificate.clone(),
        capacity: capacity(&now),
        backups: now.files.backups,
        record: Record {
            entries: now.held.map(|held| held.entries),
            checkpoint: now.files.checkpoint,
            log_host: now.syslog.map(|told| LogHost {
                state: match told.connected {
                    true => Part::Ready,
                    false => Part::Away,
                },
                sent: told.seq,
            }),
        },
    }))
}

/// What there is to watch, as Prometheus reads it.
#[utoipa::path(get, path = "/metrics", tag = "system",
    extensions(("x-right" = json!("system.view"))),
    responses((status = 200, body = String, content_type = "text/plain"),
        (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn metrics(StateOf(state): StateOf<State>, who: LoggedIn) -> Result<Response, Problem> {
    need_at_root(&state, &who).await?;
    Ok(exposition(StateOf(state)).await)
}

/// The same for whoever may ask without a proof.
pub(crate) async fn exposition(StateOf(state): StateOf<State>) -> Response {
    let told = state.watch.exposition().await;
    ([(header::CONTENT_TYPE, text::TYPE)], told).into_response()
}

async fn need_at_root(state: &State, who: &LoggedIn) -> Result<(), Problem> {
    let row = sqlx::query(concat!(
        "SELECT COUNT(*) AS n FROM organisations o WHERE o.parent IS NULL AND ",
        allowed!()
    ))
    .bind(who.subject.as_str())
    .bind(Right::SystemView.as_str())
    .fetch_one(state.store.pool()?)
    .await?;
    match row.try_get::<i64, _>("n").map_err(Error::from)? {
        0 => Err(Problem::missing(Right::SystemView)),
        _ => Ok(()),
    }
}

fn processes(now: &Snapshot) -> Vec<ProcessView> {
    let control = now.control.as_ref();
    let media = control.and_then(|control| control.media.as_ref());
    let all = [
        ("manager", now.parts.manager, Some(&now.manager)),
        ("control", now.parts.control, control.map(|c| &c.process)),
        ("media", now.parts.media, media.map(|m| &m.process)),
    ];
    all.into_iter()
        .map(|(name, state, process)| ProcessView {
            name,
            state,
            figures: process.map(|process| Figures {
                version: process.version.clone(),
                uptime_s: process.uptime_ms / 1000,
                restarts: process.restarts,
                cpu_ms: process.cpu_ms,
                memory_bytes: process.memory_bytes,
            }),
        })
        .collect()
}

fn capacity(now: &Snapshot) -> Capacity {
    let control = now.control.as_ref();
    let media = control.and_then(|control| control.media.as_ref());
    let media = media.filter(|media| media.max_frame_rate.is_some());
    let legs = |calls: &[mcu_api::figures::Calls]| calls.iter().map(|calls| calls.legs).sum();
    Capacity {
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        rooms: control.map(|control| control.rooms),
        legs: control.map(|control| legs(&control.calls)),
        max_legs: control.map(|control| control.max_legs),
        registered_accounts: control.map(|control| control.registered),
        port_pairs_used: control.map(|control| control.ports_used),
        port_pairs: control.map(|control| control.ports),
        ports: control.map_or_else(Vec::new, |control| {
            control.classes.iter().map(PortsView::from).collect()
        }),
        max_frame_rate: media.and_then(|media| media.max_frame_rate),
        decoded: media.map(|media| media.decoded),
        lowered_to: control.and_then(|control| control.lowered_to),
        disk: now.files.disk,
    }
}
