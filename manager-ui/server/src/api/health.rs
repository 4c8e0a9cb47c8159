//! Whether the server and its parts live and are ready, for supervisors. Asked by anybody, so it says
//! nothing else.

use axum::extract::{Path, State as StateOf};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::json;

use super::Problem;
use crate::State;
use crate::link::Upstream;
use crate::watch::{Part, Parts};

pub(crate) fn router() -> Router<State> {
    Router::new()
        .route("/health", get(whole))
        .route("/health/live", get(live))
        .route("/health/live/{part}", get(part_lives))
        .route("/health/ready", get(ready))
        .route("/health/ready/{part}", get(part_is_ready))
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    version: &'static str,
    control: &'static str,
    media: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// `GET /health`: 200 when calls can be taken, 503 with the reason when they cannot.
async fn whole(StateOf(state): StateOf<State>) -> Response {
    let (control, media, reason) = match state.link.upstream() {
        Upstream::Ready => ("connected", "connected", None),
        Upstream::MediaAway => ("connected", "away", Some("The media processor is away")),
        Upstream::ControlAway => ("away", "unknown", Some("The conference controller is away")),
    };
    let (code, status) = match reason {
        None => (StatusCode::OK, "ok"),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "degraded"),
    };
    let health = Health {
        status,
        version: env!("CARGO_PKG_VERSION"),
        control,
        media,
        reason,
    };
    (code, Json(health)).into_response()
}

/// `GET /health/live`: 200 while this process answers at all, whatever becomes of the others.
async fn live() -> Response {
    Json(json!({ "status": "live" })).into_response()
}

/// `GET /health/ready`: 200 when calls can be taken, 503 when they cannot. Calls need no database, so
/// that one that is away is told and no more.
async fn ready(StateOf(state): StateOf<State>) -> Response {
    let parts = state.watch.look().await.parts;
    let takes_calls = parts.control == Part::Ready && parts.media == Part::Ready;
    let (code, status) = match (takes_calls, parts.database) {
        (true, Part::Ready) => (StatusCode::OK, "ready"),
        (true, _) => (StatusCode::OK, "degraded"),
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
    };
    (code, Json(json!({ "status": status, "parts": parts }))).into_response()
}

/// `GET /health/live/PART`: 200 while it is there and answers, or is not known to hang.
async fn part_lives(
    StateOf(state): StateOf<State>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let part = part(&state.watch.look().await.parts, &name)?;
    Ok(answer(part, part != Part::Silent))
}

/// `GET /health/ready/PART`: 200 when it is there and answers.
async fn part_is_ready(
    StateOf(state): StateOf<State>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let part = part(&state.watch.look().await.parts, &name)?;
    Ok(answer(part, part == Part::Ready))
}

fn answer(part: Part, well: bool) -> Response {
    let code = match well {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, Json(json!({ "status": part }))).into_response()
}

fn part(parts: &Parts, name: &str) -> Result<Part, Problem> {
    match name {
        "manager" => Ok(parts.manager),
        "control" => Ok(parts.control),
        "media" => Ok(parts.media),
        "database" => Ok(parts.database),
        _ => Err(Problem::not_found()),
    }
}
