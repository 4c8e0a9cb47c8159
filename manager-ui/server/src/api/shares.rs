//! Rooms that another organisation uses, too (WS/T 545: MGT-05).

use axum::Json;
use axum::extract::{Path, State as StateOf};
use axum::http::StatusCode;
use mcu_api::directory::MAX_SHARES;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{Any, AnyConnection, FromRow, Transaction};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::people::{Flag, need_at};
use super::rooms::{RoomView, commit, managed, received};
use super::{Body, Page, Paging, Params, Problem};
use crate::State;
use crate::asker::LoggedIn;
use crate::audit::{self, Action, Change, Object};
use crate::rights::{Right, allowed};
use crate::store::{Error, now_ms};

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(share, unshare))
        .routes(routes!(list_received))
}

/// What another organisation may do in a room. Who holds the right there, or above, may do so.
#[derive(Clone, Debug, Serialize, FromRow, ToSchema)]
struct Share {
    /// Id of the organisation.
    organisation: String,
    /// Who holds `rooms.view` there sees the room.
    #[sqlx(try_from = "i64")]
    may_view: Flag,
    /// Who holds `rooms.join` there enters it, and so do terminals with an account there or below.
    #[sqlx(try_from = "i64")]
    may_join: Flag,
    /// Who holds `rooms.control` there mutes, removes and calls sites.
    #[sqlx(try_from = "i64")]
    may_control: Flag,
}

/// With whom a room is shared.
#[utoipa::path(get, path = "/rooms/{number}/shares", tag = "rooms", params(("number" = String, Path)),
    extensions(("x-right" = json!("rooms.manage"))),
    responses((status = 200, body = [Share]), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn list(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(number): Path<String>,
) -> Result<Json<Vec<Share>>, Problem> {
    let mut connection = state.store.pool()?.acquire().await?;
    let room = managed(&mut connection, &who, &number).await?;
    let rows = sqlx::query_as(
        "SELECT organisation, may_view, may_join, may_control FROM room_shares WHERE room = $1 \
         ORDER BY organisation",
    )
    .bind(&room.id)
    .fetch_all(&mut *connection)
    .await?;
    Ok(Json(rows))
}

/// What is shared.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Shared {
    #[serde(default = "yes")]
    may_view: bool,
    #[serde(default = "yes")]
    may_join: bool,
    #[serde(default)]
    may_control: bool,
}

fn yes() -> bool {
    true
}

/// Share a room with an organisation whose rooms the asker manages, too, or change what is shared.
#[utoipa::path(put, path = "/rooms/{number}/shares/{organisation}", tag = "rooms", params(("number" = String, Path), ("organisation" = String, Path)), request_body = Shared,
    extensions(("x-right" = json!("rooms.manage"))),
    responses((status = 200, body = Share), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
async fn share(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path((number, organisation)): Path<(String, String)>,
    Body(shared): Body<Shared>,
) -> Result<Json<Share>, Problem> {
    let mut tx = state.store.begin().await?;
    let room = managed(&mut tx, &who, &number).await?;
    // Nobody puts a room before people of an organisation for whose rooms they do not answer.
    need_at(&mut tx, &who, Right::RoomsManage, &organisation).await?;
    if organisation == room.organisation {
        let title = "It is this organisation's own";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, title).code("own"));
    }
    let before = found(&mut tx, &room.id, &organisation).await?;
    if before.is_none() {
        refuse_too_many(&mut tx).await?;
    }
    let after = Share {
        organisation,
        may_view: Flag(shared.may_view),
        may_join: Flag(shared.may_join),
        may_control: Flag(shared.may_control),
    };
    write(&mut tx, &room.id, &after).await?;
    let told = (before.as_ref().map(shown), Some(shown(&after)));
    note_share(&mut tx, &who, (&room, &after.organisation), told).await?;
    commit(&state, tx).await?;
    Ok(Json(after))
}

/// Share a room no more, as its home or as the organisation that it is shared with. Who is in it by that is
/// put out.
#[utoipa::path(delete, path = "/rooms/{number}/shares/{organisation}", tag = "rooms", params(("number" = String, Path), ("organisation" = String, Path)),
    extensions(("x-right" = json!("rooms.manage"))),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn unshare(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path((number, organisation)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let mut tx = state.store.begin().await?;
    let received = received(&mut tx, &who, (&number, &organisation)).await?;
    let room = match received {
        Some(room) => room,
        None => managed(&mut tx, &who, &number).await?,
    };
    let before = found(&mut tx, &room.id, &organisation).await?;
    let before = before.ok_or_else(Problem::not_found)?;
    sqlx::query("DELETE FROM room_shares WHERE room = $1 AND organisation = $2")
        .bind(&room.id)
        .bind(&organisation)
        .execute(&mut *tx)
        .await?;
    let told = (Some(shown(&before)), None);
    note_share(&mut tx, &who, (&room, &organisation), told).await?;
    commit(&state, tx).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A room of another organisation that is shared with this one.
#[derive(Debug, Serialize, FromRow, ToSchema)]
#[schema(as = ReceivedRoom)]
struct Received {
    /// Its number.
    room: String,
    /// Id of the organisation whose it is.
    home: String,
    /// Its name, where it may be seen.
    name: Option<String>,
    #[sqlx(try_from = "i64")]
    may_view: Flag,
    #[sqlx(try_from = "i64")]
    may_join: Flag,
    #[sqlx(try_from = "i64")]
    may_control: Flag,
}

/// Rooms that others share with an organisation, by number. Whoever answers for its rooms may end that.
#[utoipa::path(get, path = "/organisations/{id}/room-shares", tag = "rooms", params(("id" = String, Path), Paging),
    extensions(("x-right" = json!("rooms.manage"))),
    responses((status = 200, body = Page<Received>), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
async fn list_received(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<Received>>, Problem> {
    let mut tx = state.store.begin().await?;
    need_at(&mut tx, &who, Right::RoomsManage, &id).await?;
    let rows = sqlx::query_as::<_, Received>(concat!(
        "SELECT m.number AS room, m.organisation AS home, CASE WHEN h.may_view = 1 THEN m.name END AS name, \
         h.may_view, h.may_join, h.may_control FROM room_shares h JOIN rooms m ON m.id = h.room \
         JOIN organisations o ON o.id = h.organisation \
         WHERE h.organisation = $3 AND m.number > $4 AND lower(m.number) LIKE $5 ESCAPE '!' AND ",
        allowed!(),
        " ORDER BY m.number LIMIT $6"
    ))
    .bind(who.subject.as_str())
    .bind(Right::RoomsManage.as_str())
    .bind(&id)
    .bind(paging.after.as_deref().unwrap_or_default())
    .bind(paging.pattern())
    .bind(paging.rows())
    .fetch_all(&mut *tx)
    .await?;
    Ok(Json(paging.page(rows, |row| row.room.clone())))
}

/// Notes with whom a room is shared, at its home and at the other one.
async fn note_share(
    tx: &mut Transaction<'static, Any>,
    who: &LoggedIn,
    (room, with): (&RoomView, &str),
    (before, after): (Option<Value>, Option<Value>),
) -> Result<(), Error> {
    let object = Object {
        kind: "room",
        id: Some(&room.id),
        organisation: Some(&room.organisation),
    };
    let change = Change { before, after };
    audit::write_at_both(tx, &who.asker(), Action::Change, (object, with), change).await
}

async fn found(
    connection: &mut AnyConnection,
    room: &str,
    organisation: &str,
) -> Result<Option<Share>, Problem> {
    let row = sqlx::query_as(
        "SELECT organisation, may_view, may_join, may_control FROM room_shares \
         WHERE room = $1 AND organisation = $2",
    )
    .bind(room)
    .bind(organisation)
    .fetch_optional(connection)
    .await?;
    Ok(row)
}

async fn refuse_too_many(tx: &mut Transaction<'static, Any>) -> Result<(), Problem> {
    let (shares,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM room_shares")
        .fetch_one(&mut **tx)
        .await?;
    match shares < MAX_SHARES as i64 {
        true => Ok(()),
        false => {
            let title = "There are as many shares as a server has";
            Err(Problem::new(StatusCode::CONFLICT, title).code("no_more"))
        }
    }
}

async fn write(
    tx: &mut Transaction<'static, Any>,
    room: &str,
    share: &Share,
) -> Result<(), Problem> {
    sqlx::query(
        "INSERT INTO room_shares (room, organisation, may_view, may_join, may_control, created_ms) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (room, organisation) DO UPDATE SET \
         may_view = excluded.may_view, may_join = excluded.may_join, \
         may_control = excluded.may_control",
    )
    .bind(room)
    .bind(&share.organisation)
    .bind(i64::from(share.may_view.0))
    .bind(i64::from(share.may_join.0))
    .bind(i64::from(share.may_control.0))
    .bind(now_ms())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn shown(share: &Share) -> Value {
    json!({ "shared_with": share.organisation, "may_view": share.may_view,
        "may_join": share.may_join, "may_control": share.may_control })
}
