//! The HTTP API and its errors, which are problem details (RFC 9457).

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State as StateOf};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::State;

const ROOM_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest room number that is worth asking for.
const MAX_NUMBER_LEN: usize = 64;

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
}

/// `GET /health`: 200 when the controller is there, 503 when it is away.
pub(crate) async fn health(StateOf(state): StateOf<State>) -> Response {
    let connected = state.link.is_connected();
    let health = Health {
        status: if connected { "ok" } else { "degraded" },
        version: env!("CARGO_PKG_VERSION"),
        control: if connected { "connected" } else { "away" },
    };
    let code = if connected {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, Json(health)).into_response()
}

/// `GET /api/v1/rooms/{number}`: the room as an administrator sees it. Names of participants are in
/// it, so without accounts it answers in demonstrations only.
pub(crate) async fn room(
    StateOf(state): StateOf<State>,
    Path(number): Path<String>,
) -> Result<Response, Problem> {
    if !state.demo {
        return Err(problem(StatusCode::FORBIDDEN, "Only in demonstration mode"));
    }
    if number.len() > MAX_NUMBER_LEN {
        return Err(problem(StatusCode::NOT_FOUND, "No such room"));
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
