//! The record of what was done, as an auditor sees it (WS/T 545: SW-07, PRV-07).

use axum::Json;
use axum::extract::State as StateOf;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::Limit;
use super::{Page, Params, Problem};
use crate::State;
use crate::asker::LoggedIn;
use crate::audit::{self, Action, Change, Entry, Object};
use crate::rights::{Right, allowed};

/// Entries of a page, at most and usually.
const MAX: u32 = 1000;
const USUAL: u32 = 100;

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Which entries.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// `next` of the page before: only entries older than this one.
    #[serde(default)]
    pub(super) before: Option<i64>,
    /// Entries of a page; 100 if not given.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    pub(super) limit: Option<Limit<MAX>>,
    /// Not before this moment, in milliseconds since 1970.
    #[serde(default)]
    pub(super) from_ms: Option<i64>,
    /// And before this one.
    #[serde(default)]
    pub(super) to_ms: Option<i64>,
    /// Login of who did it.
    #[serde(default)]
    pub(super) actor: Option<String>,
    /// `login`, `grant`, …
    #[serde(default)]
    pub(super) action: Option<String>,
    /// Id of what it was done to.
    #[serde(default)]
    pub(super) object: Option<String>,
}

/// One entry.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EntryView {
    pub(super) seq: i64,
    pub(super) at_ms: i64,
    /// Id of who did it; none for the server itself and for who proved nothing.
    pub(super) actor: Option<String>,
    /// Login at that time, `server` or `unknown`.
    pub(super) actor_name: String,
    /// Address that the request came from, and ` by token ID` where it came by one.
    pub(super) source: Option<String>,
    pub(super) action: String,
    pub(super) object_kind: String,
    pub(super) object: Option<String>,
    pub(super) organisation: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub(super) before: Option<Value>,
    #[schema(value_type = Option<Object>)]
    pub(super) after: Option<Value>,
    pub(super) hash: String,
}

/// What was done at organisations where the asker may see it, newest first. What belongs to none is
/// shown to who may see the root's.
#[utoipa::path(get, path = "/audit", tag = "audit", params(Which),
    extensions(("x-right" = json!("audit.view"))),
    responses((status = 200, body = Page<EntryView>), (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn list(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Params(which): Params<Which>,
) -> Result<Json<Page<EntryView>>, Problem> {
    who.need(&state.store, Right::AuditView).await?;
    let limit = which.limit.map_or(USUAL, Limit::get);
    let mut rows = rows(&state, &who, &which, i64::from(limit) + 1).await?;
    let next = match rows.len() > limit as usize {
        true => {
            rows.truncate(limit as usize);
            rows.last().map(|row| row.seq.to_string())
        }
        false => None,
    };
    note(&state, &who, rows.len()).await?;
    let items = rows.into_iter().map(EntryView::from).collect();
    Ok(Json(Page { items, next }))
}

/// The newest entries that the asker may see, `most` of them.
pub(super) async fn rows(
    state: &State,
    who: &LoggedIn,
    which: &Which,
    most: i64,
) -> Result<Vec<Entry>, Problem> {
    let rows = sqlx::query_as(concat!(
        "SELECT a.seq, a.at_ms, a.actor, a.actor_name, a.source, a.action, a.object_kind, a.object, \
         a.organisation, a.before_json, a.after_json, a.hash FROM audit a \
         JOIN organisations o ON o.id = COALESCE(\
         (SELECT w.id FROM organisations w WHERE w.id = a.organisation), \
         (SELECT w.id FROM organisations w WHERE w.parent IS NULL)) WHERE ",
        allowed!(),
        " AND a.seq < $3 AND a.at_ms >= $4 AND a.at_ms < $5 AND ($6 = '' OR a.actor_name = $6) \
         AND ($7 = '' OR a.action = $7) AND ($8 = '' OR a.object = $8) ORDER BY a.seq DESC LIMIT $9"
    ))
    .bind(who.subject.as_str())
    .bind(Right::AuditView.as_str())
    .bind(which.before.unwrap_or(i64::MAX))
    .bind(which.from_ms.unwrap_or(0))
    .bind(which.to_ms.unwrap_or(i64::MAX))
    .bind(which.actor.as_deref().unwrap_or_default())
    .bind(which.action.as_deref().unwrap_or_default())
    .bind(which.object.as_deref().unwrap_or_default())
    .bind(most)
    .fetch_all(state.store.pool()?)
    .await?;
    Ok(rows)
}

/// That the record was looked at is in the record, too.
async fn note(state: &State, who: &LoggedIn, shown: usize) -> Result<(), Problem> {
    let mut tx = state.store.begin().await?;
    let object = Object {
        kind: "audit",
        id: None,
        organisation: Some(&who.person.organisation),
    };
    let change = Change {
        before: None,
        after: Some(json!({ "shown": shown })),
    };
    audit::write(&mut tx, &who.asker(), Action::View, object, change).await?;
    Ok(tx.commit().await?)
}

impl From<Entry> for EntryView {
    fn from(entry: Entry) -> Self {
        let json = |text: Option<String>| {
            let text = text?;
            Some(serde_json::from_str(&text).unwrap_or(Value::String(text)))
        };
        Self {
            seq: entry.seq,
            at_ms: entry.at_ms,
            actor: entry.actor,
            actor_name: entry.actor_name,
            source: entry.source,
            action: entry.action,
            object_kind: entry.object_kind,
            object: entry.object,
            organisation: entry.organisation,
            before: json(entry.before),
            after: json(entry.after),
            hash: entry.hash,
        }
    }
}
