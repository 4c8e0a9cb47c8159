//! Counts of what a start page shows. Nobody is named by them, so that looking is not on record and a page
//! may look again and again (WS/T 545: SW-04, SW-07).

use axum::Json;
use axum::extract::State as StateOf;
use serde::Serialize;
use sqlx::Row;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Problem;
use crate::State;
use crate::asker::LoggedIn;
use crate::audit::Action;
use crate::rights::{Right, allowed};
use crate::store::now_ms;

/// How far back failed logins are counted.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(people))
        .routes(routes!(audit))
}

/// How many of the people whom the asker may see.
#[derive(Debug, Serialize, ToSchema)]
struct PeopleCounts {
    /// Their logins are closed now, after wrong passwords.
    locked: i64,
}

/// How many people there are whose logins are closed.
#[utoipa::path(get, path = "/people/counts", tag = "people",
    extensions(("x-right" = json!("people.view"))),
    responses((status = 200, body = PeopleCounts), (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn people(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
) -> Result<Json<PeopleCounts>, Problem> {
    who.need(&state.store, Right::PeopleView).await?;
    let row = sqlx::query(concat!(
        "SELECT COUNT(*) AS n FROM people p JOIN organisations o ON o.id = p.organisation \
         WHERE p.locked_until_ms > $3 AND ",
        allowed!()
    ))
    .bind(who.subject.as_str())
    .bind(Right::PeopleView.as_str())
    .bind(now_ms())
    .fetch_one(state.store.pool()?)
    .await?;
    let locked = row.try_get("n")?;
    Ok(Json(PeopleCounts { locked }))
}

/// How many of the entries that the asker may see.
#[derive(Debug, Serialize, ToSchema)]
struct AuditCounts {
    /// Logins that failed since then.
    failed_logins: i64,
    /// 24 hours ago, in milliseconds since 1970.
    since_ms: i64,
}

/// How many logins have failed in the last 24 hours.
#[utoipa::path(get, path = "/audit/counts", tag = "audit",
    extensions(("x-right" = json!("audit.view"))),
    responses((status = 200, body = AuditCounts), (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn audit(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
) -> Result<Json<AuditCounts>, Problem> {
    who.need(&state.store, Right::AuditView).await?;
    let since_ms = now_ms() - DAY_MS;
    // What belongs to no organisation is the root's, as in the list.
    let row = sqlx::query(concat!(
        "SELECT COUNT(*) AS n FROM audit a JOIN organisations o ON o.id = COALESCE(\
         (SELECT w.id FROM organisations w WHERE w.id = a.organisation), \
         (SELECT w.id FROM organisations w WHERE w.parent IS NULL)) \
         WHERE a.at_ms >= $3 AND a.action = $4 AND ",
        allowed!()
    ))
    .bind(who.subject.as_str())
    .bind(Right::AuditView.as_str())
    .bind(since_ms)
    .bind(Action::LoginFailed.as_str())
    .fetch_one(state.store.pool()?)
    .await?;
    let failed_logins = row.try_get("n")?;
    Ok(Json(AuditCounts {
        failed_logins,
        since_ms,
    }))
}
