//! The HTTP API and its errors, which are problem details (RFC 9457).

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State as StateOf};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::State;
use crate::link::Upstream;

const ROOM_TIMEOUT: Duration = Duration::from_secs(2);

/// An error as RFC 9457 §3 has it; the type is `about:blank`, so the status says the kind.
#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    status: u16,
    title: &'static str,
}

pub(crate) fn problem(status: StatusCode, title: &'static str) -> Problem {
    Problem {
        status: status.as_u16(),
        title,
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (status, kind, Json(self).into_response().into_body()).into_response()
    }
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
pub(crate) async fn health(StateOf(state): StateOf<State>) -> Response {
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

/// `GET /api/v1/rooms/{number}`: the room as an administrator sees it. Names of participants are in
/// it, so without accounts it answers for the demonstration's room only.
pub(crate) async fn room(
    StateOf(state): StateOf<State>,
    Path(number): Path<String>,
) -> Result<Response, Problem> {
    if state.demo_room.as_deref() != Some(&number) {
        let title = "Only the room of a demonstration is shown";
        return Err(problem(StatusCode::FORBIDDEN, title));
    }
    match state.link.room(number, ROOM_TIMEOUT).await {
        Ok(Some(room)) => Ok(Json(room).into_response()),
        Ok(None) => Err(problem(StatusCode::NOT_FOUND, "No such room")),
        Err(_) => Err(problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "The conference controller is away",
        )),
    }
}

/// Everything else.
pub(crate) async fn not_found() -> Problem {
    problem(StatusCode::NOT_FOUND, "Nothing is here")
}
