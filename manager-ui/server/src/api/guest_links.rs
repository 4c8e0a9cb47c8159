//! Links by which guests enter a room (WS/T 545: VSEC-03). What lets in stands in the link alone; its
//! hash is kept.

use axum::Json;
use axum::extract::{Path, State as StateOf};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{Any, FromRow, Row, Transaction};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::people::Name;
use super::rooms::{RoomView, managed};
use super::{Body, Problem};
use crate::State;
use crate::asker::LoggedIn;
use crate::audit::{self, Action, Change, Object};
use crate::once::{Once, Place};
use crate::sessions::{hash, new_secret};
use crate::store::{Error, new_id, now_ms};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// How long a link is good at most.
const LONGEST_MS: i64 = 366 * DAY_MS;
/// How long one that is good no more is listed.
const KEPT_MS: i64 = 30 * DAY_MS;
/// Links of one room, those that are good no more included.
const MAX_LINKS: i64 = 200;
/// Most that one link lets in.
const MAX_USES: i64 = 10_000;

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(revoke))
}

/// A link for guests. What lets in is told once, when it is made.
#[derive(Debug, Serialize, FromRow, ToSchema)]
struct GuestLink {
    id: String,
    /// Whom it is for: the name that others see. None where guests say it themselves.
    name: Option<String>,
    created_ms: i64,
    /// From this moment on it lets nobody in.
    expires_ms: i64,
    /// How many it lets in; none for any number.
    max_uses: Option<i64>,
    /// How many it has let in. Who comes back after a reload or a lost connection counts once.
    uses: i64,
    /// When it was taken back.
    revoked_ms: Option<i64>,
    /// When somebody came by it last.
    seen_ms: Option<i64>,
}

/// Links for guests of a room, newest first.
#[utoipa::path(get, path = "/rooms/{number}/guest-links", tag = "rooms", params(("number" = String, Path)),
    extensions(("x-right" = json!("rooms.manage"))),
    responses((status = 200, body = [GuestLink]), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn list(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(number): Path<String>,
) -> Result<Json<Vec<GuestLink>>, Problem> {
    let mut connection = state.store.pool()?.acquire().await?;
    let room = managed(&mut connection, &who, &number).await?;
    let rows = sqlx::query_as(
        "SELECT id, name, created_ms, expires_ms, max_uses, uses, revoked_ms, seen_ms \
         FROM guest_links WHERE room = $1 ORDER BY created_ms DESC, id DESC",
    )
    .bind(&room.id)
    .fetch_all(&mut *connection)
    .await?;
    Ok(Json(rows))
}

/// A new link.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewGuestLink)]
struct New {
    /// Whom it is for: the name that others see. Left out where guests say it themselves.
    name: Option<Name>,
    /// From this moment on it lets nobody in, in milliseconds since 1970: within a year.
    expires_ms: i64,
    /// How many it lets in; left out for any number.
    #[schema(minimum = 1, maximum = 10_000)]
    max_uses: Option<i64>,
}

/// A link as it is told once.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MadeGuestLink)]
struct Made {
    id: String,
    /// The page to open, on this server: `/room/NUMBER#guest=SECRET`. What is behind `#` no browser sends.
    path: String,
}

/// Make a link by which guests enter a room.
#[utoipa::path(post, path = "/rooms/{number}/guest-links", tag = "rooms", params(("number" = String, Path)), request_body = New,
    extensions(("x-right" = json!("rooms.manage")), ("x-once" = json!(true))),
    responses((status = 201, body = Made), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
async fn create(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    once: Once,
    Path(number): Path<String>,
    Body(new): Body<New>,
) -> Result<(StatusCode, Json<Made>), Problem> {
    let now = now_ms();
    let mut tx = state.store.begin().await?;
    let room = managed(&mut tx, &who, &number).await?;
    if !(now + 1..=now + LONGEST_MS).contains(&new.expires_ms) {
        return Err(unprocessable("It has to run out within a year", "expiry"));
    }
    if new
        .max_uses
        .is_some_and(|uses| !(1..=MAX_USES).contains(&uses))
    {
        return Err(unprocessable("It lets in 1 to 10000", "uses"));
    }
    if !room.guest_links.0 {
        let title = "Links let nobody into this room";
        return Err(unprocessable(title, "no_guest_links"));
    }
    make_place(&mut tx, &room, now).await?;
    let (id, secret) = (new_id(), new_secret());
    sqlx::query(
        "INSERT INTO guest_links (id, room, secret_hash, name, created_ms, expires_ms, max_uses) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&id)
    .bind(&room.id)
    .bind(hash(&secret.0))
    .bind(new.name.as_ref().map(Name::as_str))
    .bind(now)
    .bind(new.expires_ms)
    .bind(new.max_uses)
    .execute(&mut *tx)
    .await?;
    let told = json!({ "number": room.number, "name": new.name.as_ref().map(Name::as_str),
        "expires_ms": new.expires_ms, "max_uses": new.max_uses });
    note(&mut tx, &who, Action::Create, (&id, &room), told).await?;
    let path = format!("/room/{}#guest={}", room.number, secret.0);
    let made = Made { id, path };
    let home = Place::Room(&room.number);
    once.keep(&mut tx, home, StatusCode::CREATED, &made).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Take a link back. Who is in by it is put out.
#[utoipa::path(delete, path = "/rooms/{number}/guest-links/{link}", tag = "rooms", params(("number" = String, Path), ("link" = String, Path)),
    extensions(("x-right" = json!("rooms.manage"))),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn revoke(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path((number, link)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let mut tx = state.store.begin().await?;
    let room = managed(&mut tx, &who, &number).await?;
    let revoked = sqlx::query(
        "UPDATE guest_links SET revoked_ms = COALESCE(revoked_ms, $3) WHERE id = $1 AND room = $2",
    )
    .bind(&link)
    .bind(&room.id)
    .bind(now_ms())
    .execute(&mut *tx)
    .await?;
    if revoked.rows_affected() == 0 {
        return Err(Problem::not_found());
    }
    let told = json!({ "number": room.number, "revoked": true });
    note(&mut tx, &who, Action::Revoke, (&link, &room), told).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Forgets links that are long good no more.
///
/// # Errors
/// 409 where there are too many others.
async fn make_place(
    tx: &mut Transaction<'static, Any>,
    room: &RoomView,
    now: i64,
) -> Result<(), Problem> {
    sqlx::query(
        "DELETE FROM guest_links WHERE room = $1 AND COALESCE(revoked_ms, expires_ms) < $2",
    )
    .bind(&room.id)
    .bind(now - KEPT_MS)
    .execute(&mut **tx)
    .await?;
    let row = sqlx::query("SELECT COUNT(*) AS n FROM guest_links WHERE room = $1")
        .bind(&room.id)
        .fetch_one(&mut **tx)
        .await?;
    match row.try_get::<i64, _>("n")? < MAX_LINKS {
        true => Ok(()),
        false => {
            let title = "There are as many links as a room has";
            Err(Problem::new(StatusCode::CONFLICT, title).code("no_more"))
        }
    }
}

fn unprocessable(title: &'static str, code: &'static str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, title).code(code)
}

async fn note(
    tx: &mut Transaction<'static, Any>,
    who: &LoggedIn,
    action: Action,
    (link, room): (&str, &RoomView),
    told: Value,
) -> Result<(), Error> {
    let object = Object {
        kind: "guest_link",
        id: Some(link),
        organisation: Some(&room.organisation),
    };
    let change = Change {
        before: None,
        after: Some(told),
    };
    audit::write(tx, &who.asker(), action, object, change).await
}
