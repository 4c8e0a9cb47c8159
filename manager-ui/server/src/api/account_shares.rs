//! Terminals' accounts that another organisation uses, too: its operators see them, or have them rung
//! (WS/T 545: MGT-05).

use axum::Json;
use axum::extract::{Path, State as StateOf};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{AnyConnection, FromRow};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::accounts::{managed, note_share, received};
use super::people::{Flag, need_at};
use super::{Body, Page, Paging, Params, Problem};
use crate::State;
use crate::asker::LoggedIn;
use crate::rights::{Right, allowed};
use crate::store::now_ms;

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(share, unshare))
        .routes(routes!(list_received))
}

/// What another organisation may do with an account.
#[derive(Clone, Debug, Serialize, FromRow, ToSchema)]
#[schema(as = AccountShare)]
struct Share {
    /// Id of the organisation.
    organisation: String,
    /// Who holds `accounts.view` there sees the account.
    #[sqlx(try_from = "i64")]
    may_view: Flag,
    /// Who holds `accounts.view` there, and `rooms.control` of a room, has its terminals rung by the room.
    #[sqlx(try_from = "i64")]
    may_call: Flag,
}

/// With whom an account is shared.
#[utoipa::path(get, path = "/accounts/{id}/shares", tag = "accounts", params(("id" = String, Path)),
    extensions(("x-right" = json!("accounts.manage"))),
    responses((status = 200, body = [Share]), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
async fn list(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
) -> Result<Json<Vec<Share>>, Problem> {
    let mut tx = state.store.begin().await?;
    managed(&mut tx, &state, &who, &id).await?;
    let rows = sqlx::query_as(
        "SELECT organisation, may_view, may_call FROM account_shares WHERE account = $1 \
         ORDER BY organisation",
    )
    .bind(&id)
    .fetch_all(&mut *tx)
    .await?;
    Ok(Json(rows))
}

/// What is shared.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AccountShared)]
struct Shared {
    #[serde(default = "yes")]
    may_view: bool,
    #[serde(default = "yes")]
    may_call: bool,
}

fn yes() -> bool {
    true
}

/// Share an account with an organisation whose accounts the asker manages, too, or change what is shared.
#[utoipa::path(put, path = "/accounts/{id}/shares/{organisation}", tag = "accounts", params(("id" = String, Path), ("organisation" = String, Path)), request_body = Shared,
    extensions(("x-right" = json!("accounts.manage"))),
    responses((status = 200, body = Share), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem)))]
async fn share(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path((id, organisation)): Path<(String, String)>,
    Body(shared): Body<Shared>,
) -> Result<Json<Share>, Problem> {
    let mut tx = state.store.begin().await?;
    let account = managed(&mut tx, &state, &who, &id).await?;
    // Nobody puts terminals before people of an organisation for whose accounts they do not answer.
    need_at(&mut tx, &who, Right::AccountsManage, &organisation).await?;
    if organisation == account.organisation {
        let title = "It is this organisation's own";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, title).code("own"));
    }
    let before = found(&mut tx, &id, &organisation).await?;
    let after = Share {
        organisation,
        may_view: Flag(shared.may_view),
        may_call: Flag(shared.may_call),
    };
    sqlx::query(
        "INSERT INTO account_shares (account, organisation, may_view, may_call, created_ms) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (account, organisation) DO UPDATE SET \
         may_view = excluded.may_view, may_call = excluded.may_call",
    )
    .bind(&id)
    .bind(&after.organisation)
    .bind(i64::from(after.may_view.0))
    .bind(i64::from(after.may_call.0))
    .bind(now_ms())
    .execute(&mut *tx)
    .await?;
    let told = (before.as_ref().map(shown), Some(shown(&after)));
    note_share(&mut tx, &who, (&account, &after.organisation), told).await?;
    tx.commit().await?;
    Ok(Json(after))
}

/// Share an account no more, as its home or as the organisation that it is shared with. Calls go on.
#[utoipa::path(delete, path = "/accounts/{id}/shares/{organisation}", tag = "accounts", params(("id" = String, Path), ("organisation" = String, Path)),
    extensions(("x-right" = json!("accounts.manage"))),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
async fn unshare(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path((id, organisation)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let mut tx = state.store.begin().await?;
    let received = received(&mut tx, &state, &who, (&id, &organisation)).await?;
    let account = match received {
        Some(account) => account,
        None => managed(&mut tx, &state, &who, &id).await?,
    };
    let before = found(&mut tx, &id, &organisation).await?;
    let before = before.ok_or_else(Problem::not_found)?;
    sqlx::query("DELETE FROM account_shares WHERE account = $1 AND organisation = $2")
        .bind(&id)
        .bind(&organisation)
        .execute(&mut *tx)
        .await?;
    let told = (Some(shown(&before)), None);
    note_share(&mut tx, &who, (&account, &organisation), told).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An account of another organisation that is shared with this one.
#[derive(Debug, Serialize, FromRow, ToSchema)]
#[schema(as = ReceivedAccount)]
struct Received {
    /// Id of the account.
    account: String,
    /// Id of the organisation whose it is.
    home: String,
    /// User part of the terminal's address.
    user: String,
    /// Its name, where it may be seen.
    name: Option<String>,
    #[sqlx(try_from = "i64")]
    may_view: Flag,
    #[sqlx(try_from = "i64")]
    may_call: Flag,
}

/// Accounts that others share with an organisation, by user. Whoever answers for its accounts may end that.
#[utoipa::path(get, path = "/organisations/{id}/account-shares", tag = "accounts", params(("id" = String, Path), Paging),
    extensions(("x-right" = json!("accounts.manage"))),
    responses((status = 200, body = Page<Received>), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
async fn list_received(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<Received>>, Problem> {
    let mut tx = state.store.begin().await?;
    need_at(&mut tx, &who, Right::AccountsManage, &id).await?;
    let rows = sqlx::query_as::<_, Received>(concat!(
        "SELECT a.id AS account, a.organisation AS home, a.username AS \"user\", \
         CASE WHEN h.may_view = 1 THEN a.name END AS name, h.may_view, h.may_call FROM account_shares h \
         JOIN accounts a ON a.id = h.account JOIN organisations o ON o.id = h.organisation \
         WHERE h.organisation = $3 AND a.username > $4 AND lower(a.username) LIKE $5 ESCAPE '!' AND ",
        allowed!(),
        " ORDER BY a.username LIMIT $6"
    ))
    .bind(who.subject.as_str())
    .bind(Right::AccountsManage.as_str())
    .bind(&id)
    .bind(paging.after.as_deref().unwrap_or_default())
    .bind(paging.pattern())
    .bind(paging.rows())
    .fetch_all(&mut *tx)
    .await?;
    Ok(Json(paging.page(rows, |row| row.user.clone())))
}

async fn found(
    connection: &mut AnyConnection,
    account: &str,
    organisation: &str,
) -> Result<Option<Share>, Problem> {
    let row = sqlx::query_as(
        "SELECT organisation, may_view, may_call FROM account_shares \
         WHERE account = $1 AND organisation = $2",
    )
    .bind(account)
    .bind(organisation)
    .fetch_optional(connection)
    .await?;
    Ok(row)
}

fn shown(share: &Share) -> Value {
    json!({ "shared_with": share.organisation, "may_view": share.may_view,
        "may_call": share.may_call })
}
