//! Logins by a SAML identity provider: the browser goes there from `/login/saml`, and posts what it was given
//! to `/login/saml/acs` (WS/T 545: SW-10).

use axum::extract::{DefaultBodyLimit, Extension, FromRequest, Query, Request, State as StateOf};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Router};
use mcu_api::secret::Redacted;
use serde::Deserialize;
use tokio::time::timeout;

use super::Problem;
use super::extract::PATIENCE;
use super::provider::{How, Way, admit, leave, log_in, own_url};
use super::session::too_many;
use crate::State;
use crate::asker::{Asker, Source, cookie_named};
use crate::saml::Provider;
use crate::{provider, serve};

/// What a browser holds while it is at the provider.
const COOKIE: &str = "__Host-consilium-saml";
/// Where it comes back to.
const CALLBACK: &str = "/login/saml/acs";
/// Longest body that is taken there, in bytes: of a response in base64, escaped, with many groups.
const MAX_BODY: usize = 512 * 1024;

pub(crate) fn router() -> Router<State> {
    let acs = post(finish).layer(DefaultBodyLimit::max(MAX_BODY));
    Router::new()
        .route("/login/saml", get(begin))
        .route(CALLBACK, acs)
        .route("/login/saml/metadata", get(metadata))
}

fn way(provider: &Provider) -> Way<'_> {
    Way {
        name: "saml",
        cookie: COOKIE,
        // It comes along with what a page of the provider has the browser post.
        same_site: "None",
        organisation: provider.config.organisation.as_deref(),
    }
}

/// `GET /login/saml`: to the provider; `?anew`, to prove it there once more.
pub(crate) async fn begin(
    StateOf(state): StateOf<State>,
    Source(source): Source,
    headers: HeaderMap,
    Query(how): Query<How>,
) -> Result<Response, Problem> {
    let provider = state.saml.as_deref().ok_or_else(Problem::not_found)?;
    admit(&provider.attempts, source, &headers)?;
    let begun = provider.begin(own_url(&headers, CALLBACK)?, how.anew());
    leave(&state, source, way(provider), begun.await).await
}

/// What the provider has the browser bring (SAML bindings §3.5.3).
#[derive(Debug, Deserialize)]
pub(crate) struct Brought {
    #[serde(rename = "SAMLResponse")]
    response: Redacted<String>,
    #[serde(rename = "RelayState", default)]
    state: Option<Redacted<String>>,
}

/// `POST /login/saml/acs`: back from the provider. It comes from a page of another origin: what it may do is
/// proved by the cookie and by what is under way.
pub(crate) async fn finish(
    StateOf(state): StateOf<State>,
    Extension(peer): Extension<serve::Peer>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let provider = state.saml.as_deref().ok_or_else(Problem::not_found)?;
    let source = peer.0.ip().to_canonical();
    if !provider.attempts.take(source) {
        return Err(too_many());
    }
    let title = "This is no answer of an identity provider";
    let Form(brought): Form<Brought> =
        match timeout(PATIENCE, Form::from_request(request, &state)).await {
            Ok(read) => read.map_err(|refusal| Problem::new(refusal.status(), title))?,
            Err(_) => return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, title)),
        };
    let browser = cookie_named(&headers, COOKIE).unwrap_or_default();
    let told = brought.state.map(|state| state.0).unwrap_or_default();
    let proved = provider.finish(&told, &browser, brought.response.0).await;
    let asker = Asker::unknown(source);
    log_in(&state, &asker, &headers, way(provider), proved).await
}

/// `GET /login/saml/metadata`: who we are, as an administrator of the provider imports it.
pub(crate) async fn metadata(
    StateOf(state): StateOf<State>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let provider = state.saml.as_deref().ok_or_else(Problem::not_found)?;
    let told = provider.metadata(own_url(&headers, CALLBACK)?);
    let told = told.map_err(|error: provider::Error| {
        tracing::error!(%error, "no metadata");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "No metadata")
    })?;
    let kind = (header::CONTENT_TYPE, "application/samlmetadata+xml");
    Ok(([kind], told).into_response())
}
