//! What a program asks for with an `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07) is
//! done once, however often it asks: it may have lost the answer. The answer is kept in the transaction
//! of the change, so that one is there if and only if the other is; sealed, since it may hold a secret
//! that is told once; for who asked alone, and only as long as they may still do what they did.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, MatchedPath, Request, State as StateOf};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::{Any, FromRow, Row, Transaction};
use tokio::time::timeout;
use tracing::error;

use crate::State;
use crate::api::{self, Access, MAX_BODY, Problem, rooms};
use crate::asker::LoggedIn;
use crate::audit::hex;
use crate::rights::{self, Right};
use crate::seal::Seal;
use crate::store::{self, Error, Store, now_ms};

/// The header of the draft.
pub(crate) const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says of an answer that it is not the first.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// How long an answer is kept.
const KEPT_MS: i64 = 24 * 60 * 60 * 1000;
/// Answers of one asker that are kept. More are refused: to forget one would be to do it twice.
const MAX_KEPT: i64 = 2_000;
/// Longest key, in bytes.
const MAX_KEY: usize = 255;
/// What is sealed.
const ANSWER: &str = "answer";
const REQUEST: &str = "request";
/// For a whole body to arrive.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is being done under which key now.
pub(crate) type UnderWay = Arc<Mutex<HashSet<String>>>;

/// Whether what a handler does is to be done once, as its argument. Without a key it keeps nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Once(Option<Arc<Asked>>);

/// What was asked under a key.
#[derive(Debug)]
struct Asked {
    id: String,
    asker: String,
    request_hash: String,
    right: Option<Right>,
    seal: Seal,
    /// Held by whatever still does it, be the client gone or not.
    _place: Taken,
}

/// Where the right has to be held by which an answer is told again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// At this organisation.
    Organisation(&'a str),
    /// Where the room of this number is then.
    Room(&'a str),
    /// Nowhere: it is about the asker alone.
    Own,
}

impl FromRequestParts<State> for Once {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

impl Once {
    /// Keeps the answer, with what the transaction did.
    ///
    /// # Errors
    /// 409 where the same was done meanwhile, by another process; nothing that the transaction did is to
    /// stand then.
    pub(crate) async fn keep<T: Serialize>(
        &self,
        tx: &mut Transaction<'static, Any>,
        place: Place<'_>,
        status: StatusCode,
        answer: &T,
    ) -> Result<(), Problem> {
        let Some(asked) = &self.0 else {
            return Ok(());
        };
        let sealed = asked.sealed(answer)?;
        let known = Some((status, sealed.as_str()));
        asked.insert(tx, place, known).await
    }

    /// Keeps that it is begun. What comes of it is to be told by [`Once::end`].
    ///
    /// # Errors
    /// As [`Once::keep`].
    pub(crate) async fn begin(
        &self,
        tx: &mut Transaction<'static, Any>,
        place: Place<'_>,
    ) -> Result<(), Problem> {
        match &self.0 {
            Some(asked) => asked.insert(tx, place, None).await,
            None => Ok(()),
        }
    }

    /// What came of what was begun; without an answer it is forgotten, and may be tried again.
    pub(crate) async fn end<T: Serialize>(
        &self,
        store: &Store,
        answer: Option<(StatusCode, &T)>,
    ) -> Result<(), Problem> {
        let Some(asked) = &self.0 else {
            return Ok(());
        };
        let mut tx = store.begin().await?;
        match answer {
            Some((status, answer)) => {
                sqlx::query("UPDATE answers SET status = $2, answer = $3 WHERE id = $1")
                    .bind(&asked.id)
                    .bind(i64::from(status.as_u16()))
                    .bind(asked.sealed(answer)?)
                    .execute(&mut *tx)
                    .await?;
            }
            None => {
                sqlx::query("DELETE FROM answers WHERE id = $1")
                    .bind(&asked.id)
                    .execute(&mut *tx)
                    .await?;
            }
        }
        Ok(tx.commit().await?)
    }
}

impl Asked {
    fn sealed<T: Serialize>(&self, answer: &T) -> Result<String, Problem> {
        let plain = serde_json::to_vec(answer).map_err(|_| unsealed())?;
        self.seal(ANSWER, &plain)
    }

    fn seal(&self, what: &str, plain: &[u8]) -> Result<String, Problem> {
        let sealed = self.seal.seal(&format!("{what} {}", self.id), plain);
        sealed.map_err(|failure| {
            error!(error = store::chain(&failure), "an answer is not sealed");
            unsealed()
        })
    }

    fn open(&self, what: &str, sealed: &str) -> Result<Vec<u8>, Problem> {
        let opened = self.seal.open(&format!("{what} {}", self.id), sealed);
        let plain = opened.map_err(|failure| {
            error!(error = store::chain(&failure), "an answer does not open");
            unknown()
        })?;
        Ok(plain.0)
    }

    async fn insert(
        &self,
        tx: &mut Transaction<'static, Any>,
        place: Place<'_>,
        known: Option<(StatusCode, &str)>,
    ) -> Result<(), Problem> {
        sqlx::query("DELETE FROM answers WHERE id = $1 AND created_ms <= $2")
            .bind(&self.id)
            .bind(now_ms() - KEPT_MS)
            .execute(&mut **tx)
            .await?;
        let (organisation, room) = match place {
            Place::Organisation(id) => (Some(id), None),
            Place::Room(number) => (None, Some(number)),
            Place::Own => (None, None),
        };
        let done = sqlx::query(
            "INSERT INTO answers (id, asker, request_hash, right_name, organisation, room, status, \
             answer, created_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(&self.id)
        .bind(&self.asker)
        .bind(self.seal(REQUEST, self.request_hash.as_bytes())?)
        .bind(self.right.map(Right::as_str))
        .bind(organisation)
        .bind(room)
        .bind(known.map(|(status, _)| i64::from(status.as_u16())))
        .bind(known.map(|(_, answer)| answer))
        .bind(now_ms())
        .execute(&mut **tx)
        .await;
        match done.map_err(Error::from) {
            Err(failure) if failure.is_taken() => Err(under_way()),
            done => done.map(|_| ()).map_err(Problem::from),
        }
    }
}

/// Answers what was answered before under the same key, or has it done.
pub(crate) async fn guard(
    StateOf(state): StateOf<State>,
    request: Request,
    next: Next,
) -> Response {
    let has_key = request.headers().contains_key(&KEY);
    match has_key && *request.method() == Method::POST {
        true => match guarded(&state, request, next).await {
            Ok(response) => response,
            Err(problem) => problem.into_response(),
        },
        false => next.run(request).await,
    }
}

async fn guarded(state: &State, request: Request, next: Next) -> Result<Response, Problem> {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let key = key(request.headers())?;
    if !takes_keys(path.as_ref()) {
        let title = "This operation takes no Idempotency-Key";
        return Err(Problem::new(StatusCode::BAD_REQUEST, title).code("idempotency_no_key"));
    }
    let right = match api::asks_for(request.method(), path.as_ref()) {
        Access::Right(right) => Some(right),
        Access::Anybody | Access::Person => None,
    };
    let (mut parts, body) = request.into_parts();
    let who = LoggedIn::from_request_parts(&mut parts, state).await?;
    let body = whole(body).await?;
    let asker = who.subject.as_str().to_owned();
    let id = hash(&[b"key", asker.as_bytes(), key.as_bytes()]);
    let asked = Asked {
        _place: Taken::new(&state.under_way, &id).ok_or_else(under_way)?,
        id,
        request_hash: request_hash(parts.method.as_str(), &parts.uri.to_string(), &body),
        asker,
        right,
        seal: state.seal.clone(),
    };
    if let Some(kept) = Kept::find(&state.store, &asked.id).await? {
        return kept.told(state, &who, &asked).await;
    }
    refuse_too_many(&state.store, &asked.asker).await?;
    parts.extensions.insert(Once(Some(Arc::new(asked))));
    Ok(next.run(Request::from_parts(parts, body.into())).await)
}

/// What was answered.
#[derive(Debug, FromRow)]
struct Kept {
    request_hash: String,
    right_name: Option<String>,
    organisation: Option<String>,
    room: Option<String>,
    status: Option<i64>,
    answer: Option<String>,
}

impl Kept {
    async fn find(store: &Store, id: &str) -> Result<Option<Self>, Error> {
        let found = sqlx::query_as(
            "SELECT request_hash, right_name, organisation, room, status, answer FROM answers \
             WHERE id = $1 AND created_ms > $2",
        )
        .bind(id)
        .bind(now_ms() - KEPT_MS)
        .fetch_optional(store.pool()?)
        .await?;
        Ok(found)
    }

    async fn told(self, state: &State, who: &LoggedIn, asked: &Asked) -> Result<Response, Problem> {
        // Sealed: it is the hash of a request that may hold a password, which could be guessed from it.
        let request = asked.open(REQUEST, &self.request_hash)?;
        if request != asked.request_hash.as_bytes() {
            let title = "Another request came with this key";
            let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, title);
            return Err(problem.code("idempotency_key_reused"));
        }
        self.may_be_told(state, who).await?;
        let (Some(status), Some(sealed)) = (self.status, self.answer) else {
            return Err(unknown());
        };
        let plain = asked.open(ANSWER, &sealed)?;
        let status = u16::try_from(status).ok();
        let status = status.and_then(|status| StatusCode::from_u16(status).ok());
        let mut response = (status.unwrap_or(StatusCode::OK), Body::from(plain)).into_response();
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        let yes = HeaderValue::from_static("true");
        response.headers_mut().insert(REPLAYED, yes);
        Ok(response)
    }

    /// # Errors
    /// 403 where the asker may not do any more what was done.
    async fn may_be_told(&self, state: &State, who: &LoggedIn) -> Result<(), Problem> {
        let Some(right) = self.right_name.as_deref().and_then(Right::from_name) else {
            return Ok(());
        };
        let mut connection = state.store.pool()?.acquire().await?;
        let subject = &who.subject;
        let may = match (&self.organisation, &self.room) {
            (Some(organisation), _) => {
                rights::holds(&mut connection, subject, right, organisation).await?
            }
            // Only who has a room at home manages it.
            (None, Some(number)) if right == Right::RoomsManage => {
                rooms::managed(&mut connection, who, number).await.is_ok()
            }
            (None, Some(number)) => {
                rooms::reaches(&mut connection, state, subject, number, right).await?
            }
            (None, None) => true,
        };
        match may {
            true => Ok(()),
            false => Err(Problem::missing(right)),
        }
    }
}

/// Holds a key while something is done under it.
#[derive(Debug)]
struct Taken {
    under_way: UnderWay,
    id: String,
}

impl Taken {
    fn new(under_way: &UnderWay, id: &str) -> Option<Self> {
        let mut ids = under_way.lock().unwrap_or_else(|p| p.into_inner());
        ids.insert(id.to_owned()).then(|| Self {
            under_way: under_way.clone(),
            id: id.to_owned(),
        })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut ids = self.under_way.lock().unwrap_or_else(|p| p.into_inner());
        ids.remove(&self.id);
    }
}

/// Forgets answers that are a day old.
///
/// # Errors
/// Those of the database.
pub(crate) async fn forget(tx: &mut Transaction<'static, Any>) -> Result<(), Error> {
    sqlx::query("DELETE FROM answers WHERE created_ms <= $1")
        .bind(now_ms() - KEPT_MS)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The key: a string of RFC 8941 §3.3.3, or the same without its quotes, as many programs send it.
fn key(headers: &HeaderMap) -> Result<String, Problem> {
    let mut given = headers.get_all(&KEY).into_iter();
    let key = given.next().and_then(|value| value.to_str().ok());
    let key = key.filter(|_| given.next().is_none()).and_then(unquoted);
    key.ok_or_else(|| {
        let title = "The Idempotency-Key is no string of 1 to 255 characters";
        Problem::new(StatusCode::BAD_REQUEST, title).code("idempotency_key")
    })
}

fn unquoted(text: &str) -> Option<String> {
    let text = text.trim();
    let inner = match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => text,
    };
    let is_plain = |b: u8| (0x20..0x7f).contains(&b) && !matches!(b, b'"' | b'\\');
    let fits = (1..=MAX_KEY).contains(&inner.len()) && inner.bytes().all(is_plain);
    fits.then(|| inner.to_owned())
}

/// Whether the operation's description says so (`x-once`).
fn takes_keys(path: Option<&MatchedPath>) -> bool {
    static KNOWN: LazyLock<HashMap<String, bool>> = LazyLock::new(api::done_once);
    let path = path.map(MatchedPath::as_str).unwrap_or_default();
    KNOWN.get(path).copied().unwrap_or(false)
}

async fn whole(body: Body) -> Result<axum::body::Bytes, Problem> {
    match timeout(PATIENCE, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "The body cannot be read",
        )),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "The body did not come in time",
        )),
    }
}

async fn refuse_too_many(store: &Store, asker: &str) -> Result<(), Problem> {
    let row = sqlx::query("SELECT COUNT(*) AS n FROM answers WHERE asker = $1 AND created_ms > $2")
        .bind(asker)
        .bind(now_ms() - KEPT_MS)
        .fetch_one(store.pool()?)
        .await?;
    match row.try_get::<i64, _>("n")? < MAX_KEPT {
        true => Ok(()),
        false => {
            let title = "Too many keys in a day";
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, title);
            Err(problem.code("idempotency_too_many_keys"))
        }
    }
}

/// What makes a request another one.
pub(crate) fn request_hash(method: &str, uri: &str, body: &[u8]) -> String {
    hash(&[method.as_bytes(), uri.as_bytes(), body])
}

/// Over parts of which none can be taken for the end of the one before it.
fn hash(parts: &[&[u8]]) -> String {
    let mut all = Sha256::new();
    for part in parts {
        all.update((part.len() as u64).to_be_bytes());
        all.update(part);
    }
    hex(&all.finalize())
}

fn under_way() -> Problem {
    let title = "What came with this key is still under way";
    Problem::new(StatusCode::CONFLICT, title).code("idempotency_under_way")
}

fn unknown() -> Problem {
    let title = "It was begun, and what came of it is not known: look before another key is used";
    Problem::new(StatusCode::CONFLICT, title).code("idempotency_unknown")
}

fn unsealed() -> Problem {
    let title = "The answer cannot be kept";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_string_with_quotes_or_without() {
        assert_eq!(unquoted("\"8e03978e\"").as_deref(), Some("8e03978e"));
        assert_eq!(unquoted(" 8e03978e ").as_deref(), Some("8e03978e"));
        let long = "x".repeat(256);
        for wrong in ["", "\"\"", "\"", "\"x", "x\"", "a\\b", "\u{e9}", &long] {
            assert_eq!(unquoted(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn no_part_runs_into_the_next() {
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        assert_ne!(hash(&[b"ab"]), hash(&[b"ab", b""]));
    }
}
