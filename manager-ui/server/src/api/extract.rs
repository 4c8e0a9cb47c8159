//! The JSON body and the query of a request.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Problem;
use crate::State;

/// The one way to write U+0000 in JSON.
const NUL: &[u8] = b"\\u0000";

/// A body that was read as `T`; 400, 413, 415 or 422 as problem details otherwise. What it holds is not
/// told again: it may be a password.
#[derive(Debug)]
pub(crate) struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<State> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &State) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = Bytes::from_request(Request::from_parts(parts.clone(), body), state).await;
        let bytes = bytes
            .map_err(|rejection| Problem::new(rejection.status(), "The body cannot be read"))?;
        // PostgreSQL keeps no such character, and no name has one.
        if bytes.windows(NUL.len()).any(|part| part == NUL) {
            let title = "There is a character in the body that no text has";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, title));
        }
        let request = Request::from_parts(parts, bytes.into());
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(JsonRejection::JsonDataError(_)) => Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "A field is missing, unknown or of another kind",
            )),
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
