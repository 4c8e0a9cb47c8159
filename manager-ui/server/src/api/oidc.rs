//! Logins by an OpenID Connect provider: the browser goes there from `/login/oidc`, and comes back to
//! `/login/oidc/callback` (WS/T 545: SW-04, SW-10).

use axum::extract::{Query, State as StateOf};
use axum::http::HeaderMap;
use axum::response::Response;
use mcu_api::secret::Redacted;
use serde::Deserialize;

use super::Problem;
use super::provider::{How, Way, admit, leave, log_in, own_url};
use super::session::too_many;
use crate::State;
use crate::asker::{Asker, Source, cookie_named};
use crate::oidc::Provider;
use crate::provider;

/// What a browser holds while it is at the provider.
const COOKIE: &str = "__Host-consilium-oidc";
/// Where it comes back to.
const CALLBACK: &str = "/login/oidc/callback";

fn way(provider: &Provider) -> Way<'_> {
    Way {
        name: "oidc",
        cookie: COOKIE,
        same_site: "Lax",
        organisation: provider.config.organisation.as_deref(),
    }
}

/// `GET /login/oidc`: to the provider; `?anew`, to prove it there once more.
pub(crate) async fn begin(
    StateOf(state): StateOf<State>,
    Source(source): Source,
    headers: HeaderMap,
    Query(how): Query<How>,
) -> Result<Response, Problem> {
    let provider = state.oidc.as_deref().ok_or_else(Problem::not_found)?;
    admit(&provider.attempts, source, &headers)?;
    let begun = provider.begin(own_url(&headers, CALLBACK)?, how.anew());
    leave(&state, source, way(provider), begun.await).await
}

/// What the provider has the browser bring.
#[derive(Debug, Deserialize)]
pub(crate) struct Brought {
    state: Option<Redacted<String>>,
    code: Option<Redacted<String>>,
}

/// `GET /login/oidc/callback`: back from the provider.
pub(crate) async fn finish(
    StateOf(state): StateOf<State>,
    Source(source): Source,
    headers: HeaderMap,
    Query(brought): Query<Brought>,
) -> Result<Response, Problem> {
    let provider = state.oidc.as_deref().ok_or_else(Problem::not_found)?;
    if !provider.attempts.take(source) {
        return Err(too_many());
    }
    let browser = cookie_named(&headers, COOKIE).unwrap_or_default();
    let told = brought.state.map(|state| state.0).unwrap_or_default();
    let proved = match brought.code {
        Some(code) => provider.finish(&told, code.0, &browser).await,
        None => Err(provider::Error::Refused("there is no code".into())),
    };
    let asker = Asker::unknown(source);
    log_in(&state, &asker, &headers, way(provider), proved).await
}
