//! The HTTP API and its errors, which are problem details (RFC 9457).
//!
//! One module for each kind of thing. Every operation says in its description (`x-right`) which right
//! it asks for, and shows and changes nothing at an organisation where the asker does not hold it.

mod account_shares;
mod accounts;
pub(crate) mod audit;
mod audit_export;
mod authenticator;
mod counts;
mod document;
pub(crate) mod events;
mod extract;
mod guest_links;
pub(crate) mod health;
mod layouts;
mod meeting;
mod meetings;
pub(crate) mod oidc;
pub(crate) mod organisations;
mod page;
pub(crate) mod people;
pub(crate) mod pictures;
pub(crate) mod ports;
pub(crate) mod provider;
pub(crate) mod roles;
mod room_shape;
pub(crate) mod rooms;
pub(crate) mod saml;
pub(crate) mod session;
mod shares;
pub(crate) mod system;
mod tokens;
mod transfers;
mod trunks;
mod webhooks;

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tracing::error;
use utoipa::ToSchema;
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;

use crate::State;
use crate::rights::Right;
use crate::store;

pub(crate) use extract::{Body, Params};
pub(crate) use page::{Page, Paging};

/// Longest body of a request, in bytes. What anybody says here is names and numbers.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// An error as RFC 9457 §3 has it; the type is `about:blank`, so the status says the kind.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// HTTP status.
    status: u16,
    /// In words, for a developer.
    title: &'static str,
    /// In one word, for a program, where the status does not say enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// Which field of the body is refused, as a JSON pointer (RFC 6901).
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, title: &'static str) -> Self {
        Self {
            status: status.as_u16(),
            title,
            code: None,
            pointer: None,
        }
    }

    /// The same with the field of the body that is refused.
    pub(crate) fn at(self, pointer: Option<String>) -> Self {
        Self { pointer, ..self }
    }

    /// The same with a word for programs.
    pub(crate) fn code(self, code: &'static str) -> Self {
        Self {
            code: Some(code),
            ..self
        }
    }

    pub(crate) fn not_logged_in() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Not logged in").code("not_logged_in")
    }

    /// Who lacks a right.
    pub(crate) fn missing(right: Right) -> Self {
        Self::new(StatusCode::FORBIDDEN, "This right is not held here").code(right.as_str())
    }

    /// 409 where another row has what may be there once, as a statement says; else what it says.
    pub(crate) fn taken(failure: sqlx::Error, title: &'static str) -> Self {
        let failure = store::Error::from(failure);
        match failure.is_taken() {
            true => Self::new(StatusCode::CONFLICT, title).code("taken"),
            false => failure.into(),
        }
    }

    /// 409 where other rows refer to the one that a statement removes; else what it says.
    pub(crate) fn in_use(failure: sqlx::Error, title: &'static str) -> Self {
        let failure = store::Error::from(failure);
        match failure.is_in_use() {
            true => Self::new(StatusCode::CONFLICT, title).code("in_use"),
            false => failure.into(),
        }
    }

    /// What is not there, or not shown to whoever asks.
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Nothing is here")
    }
}

impl From<store::Error> for Problem {
    fn from(failure: store::Error) -> Self {
        if matches!(failure, store::Error::Away) {
            let title = "The database is away";
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, title).code("database_away");
        }
        error!(error = store::chain(&failure), "the database refuses");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "The database refuses")
    }
}

impl From<sqlx::Error> for Problem {
    fn from(failure: sqlx::Error) -> Self {
        store::Error::from(failure).into()
    }
}

pub(crate) fn problem(status: StatusCode, title: &'static str) -> Problem {
    Problem::new(status, title)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (status, kind, Json(self).into_response().into_body()).into_response()
    }
}

/// Every operation, and the description of all of them at `/api/openapi.json`.
pub(crate) fn router() -> Router<State> {
    let (router, mut document) = described().split_for_parts();
    document::finish(&mut document);
    let document = std::sync::Arc::new(document);
    let answer = move || {
        let document = document.clone();
        async move { Json(OpenApi::clone(&document)) }
    };
    router
        .route("/api/openapi.json", get(answer))
        .layer(from_fn(refuse_nul))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// PostgreSQL keeps no such character, and neither an id nor a name has one.
async fn refuse_nul(request: Request, next: Next) -> Response {
    match request.uri().to_string().contains("%00") {
        true => {
            let title = "There is a character in the address that no text has";
            Problem::new(StatusCode::BAD_REQUEST, title).into_response()
        }
        false => next.run(request).await,
    }
}

/// What an operation asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// This right, as its `x-right` says.
    Right(Right),
    /// That somebody asks, be it by a token: `x-token`.
    Anybody,
    /// That the person asks.
    Person,
}

/// What the operation at this path asks for. What is not described is for people alone.
pub(crate) fn asks_for(method: &Method, path: Option<&MatchedPath>) -> Access {
    static KNOWN: LazyLock<HashMap<(String, String), Access>> = LazyLock::new(accesses);
    let path = path.map(MatchedPath::as_str).unwrap_or_default();
    let known = KNOWN.get(&(method.as_str().to_ascii_lowercase(), path.to_owned()));
    known.copied().unwrap_or(Access::Person)
}

fn accesses() -> HashMap<(String, String), Access> {
    let document = serde_json::to_value(described().into_openapi()).unwrap_or_default();
    let mut known = HashMap::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let right = operation["x-right"].as_str().and_then(Right::from_name);
            let access = match right {
                Some(right) => Access::Right(right),
                None if operation["x-token"] == true => Access::Anybody,
                None => Access::Person,
            };
            known.insert((method.clone(), path.clone()), access);
        }
    }
    known
}

/// Paths to which things are sent that are done once where an `Idempotency-Key` says so: `x-once`.
pub(crate) fn done_once() -> HashMap<String, bool> {
    let document = serde_json::to_value(described().into_openapi()).unwrap_or_default();
    let paths = document["paths"].as_object().into_iter().flatten();
    let told = paths.map(|(path, methods)| (path.clone(), methods["post"]["x-once"] == true));
    told.collect()
}

/// Names of the operations by method and path.
pub(crate) fn names() -> HashMap<(String, String), String> {
    let mut document = described().into_openapi();
    document::finish(&mut document);
    let document = serde_json::to_value(document).unwrap_or_default();
    let mut names = HashMap::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let name = operation["operationId"].as_str().unwrap_or_default();
            names.insert((method.clone(), path.clone()), name.to_owned());
        }
    }
    names
}

/// Path of the stream of events, which browsers open anew by themselves.
pub(crate) const EVENTS: &str = "/api/v1/events";

/// Operations with their descriptions.
pub(crate) fn described() -> OpenApiRouter<State> {
    let info = InfoBuilder::new()
        .title("Consilium")
        .version(env!("CARGO_PKG_VERSION"))
        .build();
    let operations = OpenApiRouter::new()
        .merge(session::routes())
        .merge(authenticator::routes())
        .merge(tokens::routes())
        .merge(provider::routes())
        .merge(organisations::routes())
        .merge(people::routes())
        .merge(roles::routes())
        .merge(rooms::routes())
        .merge(shares::routes())
        .merge(guest_links::routes())
        .merge(meeting::routes())
        .merge(layouts::routes())
        .merge(meetings::routes())
        .merge(pictures::routes())
        .merge(transfers::routes())
        .merge(accounts::routes())
        .merge(account_shares::routes())
        .merge(trunks::routes())
        .merge(audit::routes())
        .merge(counts::routes())
        .merge(system::routes())
        .merge(ports::routes())
        .merge(audit_export::routes())
        .merge(events::routes())
        .merge(webhooks::routes());
    OpenApiRouter::with_openapi(OpenApiBuilder::new().info(info).build())
        .nest("/api/v1", operations)
}

/// Everything else.
pub(crate) async fn not_found() -> Problem {
    problem(StatusCode::NOT_FOUND, "Nothing is here")
}

#[cfg(test)]
mod tests;
