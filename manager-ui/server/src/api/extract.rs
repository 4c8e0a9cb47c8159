//! The JSON body and the query of a request.

use std::error::Error;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use tokio::time::timeout;

use super::Problem;
use crate::State;

/// The one way to write U+0000 in JSON.
const NUL: &[u8] = b"\\u0000";
/// For a whole body to arrive.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// Longest name of a field that is told again, in bytes; ours are shorter.
const MAX_FIELD: usize = 64;

/// A body that was read as `T`; 400, 413, 415 or 422 as problem details otherwise. What it holds is not
/// told again: it may be a password.
#[derive(Debug)]
pub(crate) struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<State> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &State) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let request = Request::from_parts(parts.clone(), body);
        let bytes = match timeout(PATIENCE, Bytes::from_request(request, state)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(rejection)) => {
                return Err(Problem::new(rejection.status(), "The body cannot be read"));
            }
            Err(_) => {
                let title = "The body did not come in time";
                return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, title));
            }
        };
        // PostgreSQL keeps no such character, and no name has one.
        if bytes.windows(NUL.len()).any(|part| part == NUL) {
            let title = "There is a character in the body that no text has";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, title));
        }
        let request = Request::from_parts(parts, bytes.into());
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(JsonRejection::JsonDataError(rejection)) => {
                let title = "A field is missing, unknown or of another kind";
                let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, title);
                Err(problem.at(refused_field(&rejection)))
            }
            Err(JsonRejection::JsonSyntaxError(_)) => {
                Err(Problem::new(StatusCode::BAD_REQUEST, "The body is no JSON"))
            }
            Err(JsonRejection::MissingJsonContentType(_)) => Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body is to be application/json",
            )),
            Err(rejection) => Err(Problem::new(rejection.status(), "The body cannot be read")),
        }
    }
}

/// Where in a body the field is that cannot be read; the one around it where it is missing.
fn refused_field(rejection: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = Some(rejection);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<serde_path_to_error::Error<serde_json::Error>>() {
            let segments = found.path().iter();
            return Some(segments.filter_map(step).collect());
        }
        cause = error.source();
    }
    None
}

/// One step of a JSON pointer (RFC 6901 §3).
fn step(segment: &Segment) -> Option<String> {
    match segment {
        Segment::Seq { index } => Some(format!("/{index}")),
        Segment::Map { key } if key.len() <= MAX_FIELD => {
            Some(format!("/{}", key.replace('~', "~0").replace('/', "~1")))
        }
        Segment::Map { .. } | Segment::Enum { .. } | Segment::Unknown => None,
    }
}

/// A query that was read as `T`; 400 as problem details otherwise.
#[derive(Debug)]
pub(crate) struct Params<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<State> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(_) => Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "A parameter is out of its range or of another kind",
            )),
        }
    }
}

/// How many items of a list are asked for: 1 to `MAX`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u32")]
pub(crate) struct Limit<const MAX: u32>(u32);

impl<const MAX: u32> Limit<MAX> {
    pub(crate) const fn get(self) -> u32 {
        self.0
    }
}

impl<const MAX: u32> TryFrom<u32> for Limit<MAX> {
    type Error = &'static str;

    fn try_from(number: u32) -> Result<Self, Self::Error> {
        match (1..=MAX).contains(&number) {
            true => Ok(Self(number)),
            false => Err("out of range"),
        }
    }
}
