//! Webhooks: who is told of what happens, and what became of it (WS/T 545: ARC-16, PRV-05).

use std::str::FromStr;

use axum::Json;
use axum::extract::{Path, State as StateOf};
use axum::http::StatusCode;
use mcu_api::secret::Redacted;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use sqlx::{Any, AnyConnection, FromRow, Row, Transaction};
use url::Url;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{IntoParams, PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::people::{Flag, Name, need_at};
use super::rooms::Number;
use super::{Body, Page, Paging, Params, Problem};
use crate::State;
use crate::asker::LoggedIn;
use crate::audit::{self, Action, Change, Object};
use crate::events::{self, Kind};
use crate::once::{Once, Place};
use crate::rights::{self, Right, allowed};
use crate::seal;
use crate::store::{Error, new_id, now_ms};
use crate::webhooks::rows::Hook;
use crate::webhooks::{
    MAX_HOOKS, MAX_PER_ORGANISATION, Stop, address_purpose, purpose, sign, test_text,
};

/// How long the secret before counts beside a new one, and how long at most.
const OVERLAP_S: i64 = 24 * 60 * 60;
const MAX_OVERLAP_S: i64 = 7 * OVERLAP_S;

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, change, remove))
        .routes(routes!(replace_secret))
        .routes(routes!(test))
        .routes(routes!(deliveries))
        .routes(routes!(retry))
}

/// A type of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct EventType(Kind);

impl TryFrom<String> for EventType {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Kind::from_str(&name)
            .map(Self)
            .map_err(|()| "there is no such type of event")
    }
}

impl ToSchema for EventType {}

impl PartialSchema for EventType {
    fn schema() -> RefOr<Schema> {
        let names = Kind::ALL.iter().map(|kind| kind.as_str());
        let names = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(names));
        names.into()
    }
}

/// One webhook.
#[derive(Debug, Serialize, ToSchema)]
struct Webhook {
    id: String,
    /// Id of the organisation whose it is: what happens there and below is told.
    organisation: String,
    name: String,
    /// Empty where it cannot be opened, without the key beside the database.
    url: String,
    /// Types of events that are told.
    #[schema(value_type = Vec<EventType>)]
    types: Vec<String>,
    /// Number of the one room of which is told.
    room: Option<String>,
    /// `on`, or why nothing is sent: `off` (somebody switched it off), `failing` (nothing arrived for
    /// days), `gone` (the receiver answered 410), `maker` (who set it up may not any more).
    state: String,
    /// Id of the person who set it up last, and whose rights are asked at each delivery.
    maker: String,
    /// Whether that was by a token, whose scope is asked, too.
    by_token: bool,
    created_ms: i64,
    /// Since when nothing arrived.
    failing_since_ms: Option<i64>,
    /// Until when the secret before counts, too.
    old_secret_until_ms: Option<i64>,
    /// Deliveries that wait, and that are dead.
    waiting: i64,
    dead: i64,
}

/// What is told beside what a hook is.
#[derive(Debug, FromRow)]
struct Told {
    #[sqlx(flatten)]
    hook: Hook,
    person: String,
    #[sqlx(try_from = "i64")]
    by_token: Flag,
    waiting: i64,
    dead: i64,
}

impl Told {
    fn shown(self, state: &State) -> Webhook {
        let url = opened(state, &self.hook);
        let hook = self.hook;
        Webhook {
            types: names(&hook.kinds),
            room: Some(hook.room).filter(|room| !room.is_empty()),
            old_secret_until_ms: Some(hook.old_until_ms)
                .filter(|until| hook.old_secret.is_some() && *until > now_ms()),
            id: hook.id,
            organisation: hook.organisation,
            name: hook.name,
            url,
            state: hook.state,
            maker: self.person,
            by_token: self.by_token.0,
            created_ms: hook.created_ms,
            failing_since_ms: hook.failing_since_ms,
            waiting: self.waiting,
            dead: self.dead,
        }
    }
}

fn names(kinds: &str) -> Vec<String> {
    let names = kinds.split(',').filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

/// SQL for hooks `w` and what is told beside them, where the subject `$1` holds the right `$2`.
macro_rules! told {
    () => {
        concat!(
            "SELECT w.id, w.organisation, w.maker, w.name, w.url, w.kinds, w.room, w.secret, w.old_secret, \
             w.old_until_ms, w.state, w.failing_since_ms, w.created_ms, w.seq, \
             COALESCE((SELECT t.person FROM tokens t WHERE t.id = w.maker), w.maker) AS person, \
             CAST(CASE WHEN EXISTS (SELECT 1 FROM people p WHERE p.id = w.maker) THEN 0 ELSE 1 END AS BIGINT) \
             AS by_token, \
             (SELECT COUNT(*) FROM deliveries d WHERE d.webhook = w.id AND d.state = 'waiting') AS waiting, \
             (SELECT COUNT(*) FROM deliveries d WHERE d.webhook = w.id AND d.state = 'dead') AS dead \
             FROM webhooks w JOIN organisations o ON o.id = w.organisation WHERE ",
            allowed!()
        )
    };
}

/// Webhooks that the asker may manage, oldest first.
#[utoipa::path(get, path = "/webhooks", tag = "webhooks", params(Paging),
    extensions(("x-right" = json!("webhooks.manage"))),
    responses((status = 200, body = Page<Webhook>), (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn list(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<Webhook>>, Problem> {
    who.need(&state.store, Right::WebhooksManage).await?;
    let rows = sqlx::query_as::<_, Told>(concat!(
        told!(),
        " AND w.id > $3 AND lower(w.name) LIKE $4 ESCAPE '!' ORDER BY w.id LIMIT $5"
    ))
    .bind(who.subject.as_str())
    .bind(Right::WebhooksManage.as_str())
    .bind(paging.after.as_deref().unwrap_or_default())
    .bind(paging.pattern())
    .bind(paging.rows())
    .fetch_all(state.store.pool()?)
    .await?;
    let rows = rows.into_iter().map(|row| row.shown(&state)).collect();
    Ok(Json(paging.page(rows, |row: &Webhook| row.id.clone())))
}

/// One webhook.
#[utoipa::path(get, path = "/webhooks/{id}", tag = "webhooks", params(("id" = String, Path)),
    extensions(("x-right" = json!("webhooks.manage"))),
    responses((status = 200, body = Webhook), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
async fn get(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
) -> Result<Json<Webhook>, Problem> {
    let mut connection = state.store.pool()?.acquire().await?;
    let hook = managed(&mut connection, &who, &id).await?;
    Ok(Json(hook.shown(&state)))
}

/// A new webhook.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewWebhook {
    /// Id of the organisation whose it is: what happens there and below is told.
    organisation: String,
    name: Name,
    /// Where it is told: `https://`, a host of the internet or one that the configuration names.
    #[schema(max_length = 1000)]
    url: String,
    /// Types of events that are told, one at least, each of which the asker may hear there.
    #[schema(min_items = 1)]
    types: Vec<EventType>,
    /// Number of the one room of which is told.
    room: Option<Number>,
}

/// A webhook as it is told once.
#[derive(Debug, Serialize, ToSchema)]
struct MadeWebhook {
    #[serde(flatten)]
    webhook: Webhook,
    /// What proves to the receiver that we tell it (Standard Webhooks): `whsec_…`, told this once.
    #[schema(value_type = String)]
    secret: Redacted<String>,
}

/// Make a webhook. What happens from now on is told.
#[utoipa::path(post, path = "/webhooks", tag = "webhooks", request_body = NewWebhook,
    extensions(("x-right" = json!("webhooks.manage")), ("x-once" = json!(true))),
    responses((status = 201, body = MadeWebhook), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
async fn create(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    once: Once,
    Body(new): Body<NewWebhook>,
) -> Result<(StatusCode, Json<MadeWebhook>), Problem> {
    let mut tx = state.store.begin().await?;
    need_at(&mut tx, &who, Right::WebhooksManage, &new.organisation).await?;
    let kinds = heard_by(&mut tx, &who, &new.types, &new.organisation).await?;
    refuse_too_many(&mut tx, &new.organisation).await?;
    let (id, secret) = (new_id(), sign::new_secret());
    let last = sqlx::query("SELECT seq FROM events_head WHERE one = 1")
        .fetch_one(&mut *tx)
        .await?;
    let hook = Hook {
        secret: sealed(&state, &purpose(&id), &secret.0)?,
        url: sealed(&state, &address_purpose(&id), &reached(&state, &new.url)?)?,
        id,
        organisation: new.organisation,
        maker: who.subject.as_str().to_owned(),
        name: new.name.as_str().to_owned(),
        kinds,
        room: new
            .room
            .map(|room| room.as_str().to_owned())
            .unwrap_or_default(),
        old_secret: None,
        old_until_ms: 0,
        state: "on".to_owned(),
        failing_since_ms: None,
        created_ms: now_ms(),
        seq: last.try_get("seq")?,
    };
    insert(&mut tx, &hook).await?;
    note(
        &mut tx,
        &who,
        Action::Create,
        None,
        Some(shown(&state, &hook)),
        &hook,
    )
    .await?;
    let made = MadeWebhook {
        webhook: managed(&mut tx, &who, &hook.id).await?.shown(&state),
        secret,
    };
    let home = Place::Organisation(&hook.organisation);
    once.keep(&mut tx, home, StatusCode::CREATED, &made).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(made)))
}

async fn insert(tx: &mut Transaction<'static, Any>, hook: &Hook) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO webhooks (id, organisation, maker, name, url, kinds, room, secret, old_until_ms, \
         state, created_ms, seq) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9, $10, $11)",
    )
    .bind(&hook.id)
    .bind(&hook.organisation)
    .bind(&hook.maker)
    .bind(&hook.name)
    .bind(&hook.url)
    .bind(&hook.kinds)
    .bind(&hook.room)
    .bind(&hook.secret)
    .bind(&hook.state)
    .bind(hook.created_ms)
    .bind(hook.seq)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// What is to change.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WebhookChanges {
    name: Option<Name>,
    #[schema(max_length = 1000)]
    url: Option<String>,
    #[schema(min_items = 1)]
    types: Option<Vec<EventType>>,
    /// Number of the one room of which is told; `null` for all.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Number>)]
    room: Option<Option<Number>>,
    /// Whether it is told. What happened since it was switched off is told then, as far as it is kept.
    enabled: Option<bool>,
}

fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Number>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Change a webhook, or switch it off or on. Who changes more than its name or switches it on has set it
/// up from then on: their rights are asked at each delivery.
#[utoipa::path(patch, path = "/webhooks/{id}", tag = "webhooks", params(("id" = String, Path)), request_body = WebhookChanges,
    extensions(("x-right" = json!("webhooks.manage"))),
    responses((status = 200, body = Webhook), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem)))]
async fn change(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
    Body(changes): Body<WebhookChanges>,
) -> Result<Json<Webhook>, Problem> {
    let mut tx = state.store.begin().await?;
    let before = managed(&mut tx, &who, &id).await?.hook;
    let after = changed(&state, &mut tx, &who, &before, changes).await?;
    sqlx::query(
        "UPDATE webhooks SET name = $2, url = $3, kinds = $4, room = $5, state = $6, maker = $7, \
         failing_since_ms = $8 WHERE id = $1",
    )
    .bind(&after.id)
    .bind(&after.name)
    .bind(&after.url)
    .bind(&after.kinds)
    .bind(&after.room)
    .bind(&after.state)
    .bind(&after.maker)
    .bind(after.failing_since_ms)
    .execute(&mut *tx)
    .await?;
    let (old, new) = (Some(shown(&state, &before)), Some(shown(&state, &after)));
    note(&mut tx, &who, Action::Change, old, new, &after).await?;
    let told = managed(&mut tx, &who, &id).await?;
    tx.commit().await?;
    state.webhooks.look();
    Ok(Json(told.shown(&state)))
}

async fn changed(
    state: &State,
    tx: &mut Transaction<'static, Any>,
    who: &LoggedIn,
    before: &Hook,
    changes: WebhookChanges,
) -> Result<Hook, Problem> {
    let mut after = before.clone();
    if let Some(name) = changes.name {
        after.name = name.as_str().to_owned();
    }
    if changes.enabled == Some(false) {
        after.state = Stop::Off.as_str().to_owned();
    }
    let sets_up = changes.url.is_some()
        || changes.types.is_some()
        || changes.room.is_some()
        || changes.enabled == Some(true);
    if !sets_up {
        return Ok(after);
    }
    if let Some(url) = changes.url {
        after.url = sealed(state, &address_purpose(&after.id), &reached(state, &url)?)?;
    }
    if let Some(room) = changes.room {
        after.room = room
            .map(|room| room.as_str().to_owned())
            .unwrap_or_default();
    }
    let types = match changes.types {
        Some(types) => types,
        None => names(&before.kinds)
            .into_iter()
            .filter_map(|name| EventType::try_from(name).ok())
            .collect(),
    };
    // Who takes another's place hears through the hook what they may hear themselves.
    after.kinds = heard_by(tx, who, &types, &before.organisation).await?;
    after.maker = who.subject.as_str().to_owned();
    if changes.enabled == Some(true) && after.state != "on" {
        after.state = "on".to_owned();
        after.failing_since_ms = None;
    }
    Ok(after)
}

/// Remove a webhook, and what waits for it.
#[utoipa::path(delete, path = "/webhooks/{id}", tag = "webhooks", params(("id" = String, Path)),
    extensions(("x-right" = json!("webhooks.manage"))),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
async fn remove(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let mut tx = state.store.begin().await?;
    let hook = managed(&mut tx, &who, &id).await?.hook;
    sqlx::query("DELETE FROM webhooks WHERE id = $1")
        .bind(&id)
        .execute(&mut *tx)
        .await?;
    note(
        &mut tx,
        &who,
        Action::Remove,
        Some(shown(&state, &hook)),
        None,
        &hook,
    )
    .await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How the secret is replaced.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SecretReplacement {
    /// For how many seconds the one before counts, too; a day if not given, a week at most.
    #[schema(minimum = 0, maximum = 604_800)]
    overlap_s: Option<i64>,
}

/// A secret as it is told once.
#[derive(Debug, Serialize, ToSchema)]
struct WebhookSecret {
    #[schema(value_type = String)]
    secret: Redacted<String>,
    /// Until when the one before counts, too.
    old_secret_until_ms: i64,
}

/// Give a webhook another secret. Until the one before ends, messages are signed by both.
#[utoipa::path(put, path = "/webhooks/{id}/secret", tag = "webhooks", params(("id" = String, Path)), request_body = SecretReplacement,
    extensions(("x-right" = json!("webhooks.manage"))),
    responses((status = 200, body = WebhookSecret), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem)))]
async fn replace_secret(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
    Body(how): Body<SecretReplacement>,
) -> Result<Json<WebhookSecret>, Problem> {
    let overlap = how.overlap_s.unwrap_or(OVERLAP_S);
    if !(0..=MAX_OVERLAP_S).contains(&overlap) {
        return Err(unprocessable(
            "The one before counts for a week at most",
            "overlap",
        ));
    }
    let mut tx = state.store.begin().await?;
    let hook = managed(&mut tx, &who, &id).await?.hook;
    let secret = sign::new_secret();
    let until = now_ms() + overlap * 1000;
    sqlx::query(
        "UPDATE webhooks SET secret = $2, old_secret = $3, old_until_ms = $4 WHERE id = $1",
    )
    .bind(&id)
    .bind(sealed(&state, &purpose(&id), &secret.0)?)
    .bind(Some(&hook.secret).filter(|_| overlap > 0))
    .bind(until)
    .execute(&mut *tx)
    .await?;
    let told = json!({ "secret": "replaced", "old_secret_until_ms": until });
    note(&mut tx, &who, Action::Change, None, Some(told), &hook).await?;
    tx.commit().await?;
    Ok(Json(WebhookSecret {
        secret,
        old_secret_until_ms: until,
    }))
}

/// What came of a try.
#[derive(Debug, Serialize, ToSchema)]
struct Tried {
    delivered: bool,
    /// Status of the answer, where there was one.
    status: Option<u16>,
    /// Why it did not arrive: see `problem` of a delivery.
    problem: Option<&'static str>,
    /// How the answer began, where it was a refusal.
    answer: Option<String>,
}

/// Send a message of the type `webhook.test`, and wait for what comes of it. It tells of nothing.
#[utoipa::path(post, path = "/webhooks/{id}/test", tag = "webhooks", params(("id" = String, Path)),
    extensions(("x-right" = json!("webhooks.manage"))),
    responses((status = 200, body = Tried), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem)))]
async fn test(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
) -> Result<Json<Tried>, Problem> {
    let mut tx = state.store.begin().await?;
    let hook = managed(&mut tx, &who, &id).await?.hook;
    // Before it is sent, as whatever leaves the machine.
    note_delivery(&mut tx, &who, &hook, json!({ "webhook": id, "test": true })).await?;
    tx.commit().await?;
    let message = format!("test_{}", new_id());
    let text = test_text(&message, &hook.organisation);
    let tried = state.webhooks.try_now(&hook, &state.seal, &message, &text);
    let outcome = tried.await.ok_or_else(|| {
        let title = "Too many webhooks are tried at the same time";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, title).code("too_many_tries")
    })?;
    Ok(Json(Tried {
        delivered: outcome.is_delivered(),
        status: outcome.status,
        problem: outcome.problem,
        answer: outcome.answer,
    }))
}

/// What became of telling one event.
#[derive(Debug, Serialize, FromRow, ToSchema)]
#[schema(as = WebhookDelivery)]
struct Delivery {
    /// The same at each attempt (`webhook-id`).
    id: String,
    /// Number of the event.
    #[sqlx(rename = "seq")]
    event: i64,
    /// Its type, or `gap` where events were missed that are not kept.
    #[sqlx(rename = "kind")]
    #[serde(rename = "type")]
    kind: String,
    /// `waiting`, `delivered`, `dead` (tried for the last time) or `withheld` (who set the webhook up may
    /// not see it any more, or it is not kept).
    state: String,
    attempts: i64,
    created_ms: i64,
    /// When it is tried next, if it waits.
    next_ms: Option<i64>,
    tried_ms: Option<i64>,
    /// Status of the last answer, where there was one.
    status: Option<i64>,
    /// Why it did not arrive: `refused` (see `status`), `redirected`, `timeout`, `unreachable`, `certificate`,
    /// `refused_address` (not of the internet), `refused_url`, `secret` (it cannot be opened), `broken`.
    problem: Option<String>,
    /// How the answer began, where it was a refusal.
    answer: Option<String>,
}

/// Which deliveries.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Only `waiting`, `delivered`, `dead` or `withheld`.
    #[serde(default)]
    state: Option<String>,
}

/// Deliveries of a webhook, newest first. Those that are over are kept for a week.
#[utoipa::path(get, path = "/webhooks/{id}/deliveries", tag = "webhooks", params(("id" = String, Path), Paging, Which),
    extensions(("x-right" = json!("webhooks.manage"))),
    responses((status = 200, body = Page<Delivery>), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
async fn deliveries(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
    Params(paging): Params<Paging>,
    Params(which): Params<Which>,
) -> Result<Json<Page<Delivery>>, Problem> {
    let mut connection = state.store.pool()?.acquire().await?;
    managed(&mut connection, &who, &id).await?;
    let rows = sqlx::query_as::<_, Delivery>(
        "SELECT id, seq, kind, state, attempts, created_ms, \
         CASE WHEN state = 'waiting' THEN next_ms ELSE NULL END AS next_ms, tried_ms, status, problem, answer \
         FROM deliveries WHERE webhook = $1 AND ($2 = '' OR id < $2) AND ($3 = '' OR state = $3) \
         AND lower(kind) LIKE $4 ESCAPE '!' ORDER BY id DESC LIMIT $5",
    )
    .bind(&id)
    .bind(paging.after.as_deref().unwrap_or_default())
    .bind(which.state.as_deref().unwrap_or_default())
    .bind(paging.pattern())
    .bind(paging.rows())
    .fetch_all(&mut *connection)
    .await?;
    Ok(Json(paging.page(rows, |row| row.id.clone())))
}

/// Try a dead delivery again, now and by the same steps.
#[utoipa::path(post, path = "/webhooks/{id}/deliveries/{delivery}/retry", tag = "webhooks", params(("id" = String, Path), ("delivery" = String, Path)),
    extensions(("x-right" = json!("webhooks.manage"))),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn retry(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path((id, delivery)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let mut tx = state.store.begin().await?;
    let hook = managed(&mut tx, &who, &id).await?.hook;
    if hook.state != "on" {
        return Err(conflict("The webhook is switched off", "webhook_off"));
    }
    let found = sqlx::query("SELECT state FROM deliveries WHERE id = $1 AND webhook = $2")
        .bind(&delivery)
        .bind(&id)
        .fetch_optional(&mut *tx)
        .await?;
    let found: String = found.ok_or_else(Problem::not_found)?.try_get("state")?;
    if found != "dead" {
        return Err(conflict("It is not dead", "not_dead"));
    }
    sqlx::query(
        "UPDATE deliveries SET state = 'waiting', attempts = 0, next_ms = $2 WHERE id = $1",
    )
    .bind(&delivery)
    .bind(now_ms())
    .execute(&mut *tx)
    .await?;
    let told = json!({ "webhook": id, "delivery": delivery, "retried": true });
    note_delivery(&mut tx, &who, &hook, told).await?;
    tx.commit().await?;
    state.webhooks.look();
    Ok(StatusCode::NO_CONTENT)
}

/// The hook, if the asker may manage it.
///
/// # Errors
/// 404 where it is not there or not shown, 403 where the right is held nowhere.
async fn managed(
    connection: &mut AnyConnection,
    who: &LoggedIn,
    id: &str,
) -> Result<Told, Problem> {
    let right = Right::WebhooksManage;
    let found = sqlx::query_as(concat!(told!(), " AND w.id = $3"))
        .bind(who.subject.as_str())
        .bind(right.as_str())
        .bind(id)
        .fetch_optional(&mut *connection)
        .await?;
    match found {
        Some(found) => Ok(found),
        None if rights::holds_anywhere(connection, &who.subject, right).await? => {
            Err(Problem::not_found())
        }
        None => Err(Problem::missing(right)),
    }
}

/// Types that the asker may hear at an organisation, as they are kept.
async fn heard_by(
    connection: &mut AnyConnection,
    who: &LoggedIn,
    types: &[EventType],
    organisation: &str,
) -> Result<String, Problem> {
    let mut kinds: Vec<Kind> = types.iter().map(|wanted| wanted.0).collect();
    kinds.sort_unstable();
    kinds.dedup();
    if kinds.is_empty() {
        return Err(unprocessable(
            "It has to tell of something",
            "webhook_types",
        ));
    }
    let mut rights: Vec<Right> = kinds.iter().map(|kind| kind.right()).collect();
    rights.sort_unstable();
    rights.dedup();
    for right in rights {
        let holds = match right {
            // The state of the server is shown to who may see it anywhere.
            Right::SystemView => rights::holds_anywhere(connection, &who.subject, right).await?,
            right => rights::holds(connection, &who.subject, right, organisation).await?,
        };
        if !holds {
            return Err(Problem::missing(right));
        }
    }
    Ok(events::Filter::kinds(&kinds))
}

async fn refuse_too_many(
    tx: &mut Transaction<'static, Any>,
    organisation: &str,
) -> Result<(), Problem> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS n, COUNT(CASE WHEN organisation = $1 THEN 1 END) AS own FROM webhooks",
    )
    .bind(organisation)
    .fetch_one(&mut **tx)
    .await?;
    let (all, own): (i64, i64) = (row.try_get("n")?, row.try_get("own")?);
    match all < MAX_HOOKS && own < MAX_PER_ORGANISATION {
        true => Ok(()),
        false => Err(conflict("There are too many webhooks", "too_many_webhooks")),
    }
}

/// The address, as it is kept.
fn reached(state: &State, url: &str) -> Result<String, Problem> {
    let refused = |refusal: crate::webhooks::reach::Refusal| {
        let title = "This address is not told";
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, title).code(refusal.code());
        problem.at(Some("/url".to_owned()))
    };
    Ok(state.webhooks.reach().parse(url).map_err(refused)?.into())
}

fn sealed(state: &State, purpose: &str, secret: &str) -> Result<String, Problem> {
    let sealed = state.seal.seal(purpose, secret.as_bytes());
    sealed.map_err(|failure: seal::Error| {
        tracing::error!(
            error = crate::store::chain(&failure),
            "a secret is not sealed"
        );
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The secret cannot be kept",
        )
    })
}

/// The address; none where it does not open.
fn opened(state: &State, hook: &Hook) -> String {
    let opened = hook.url(&state.seal);
    let failed = |failure: seal::Error| {
        let error = crate::store::chain(&failure);
        tracing::error!(error, hook = hook.id, "its address does not open");
        String::new()
    };
    opened.map_or_else(failed, |url| url.0)
}

/// As the record has it: without the path of the address, which may be a secret.
fn shown(state: &State, hook: &Hook) -> Value {
    let host = Url::parse(&opened(state, hook)).ok();
    let host = host.map(|url| url.origin().ascii_serialization());
    json!({ "organisation": hook.organisation, "name": hook.name, "host": host,
        "types": names(&hook.kinds), "room": hook.room, "state": hook.state, "maker": hook.maker })
}

async fn note(
    tx: &mut Transaction<'static, Any>,
    who: &LoggedIn,
    action: Action,
    before: Option<Value>,
    after: Option<Value>,
    hook: &Hook,
) -> Result<(), Error> {
    let change = Change { before, after };
    audit::write(tx, &who.asker(), action, hook.object(), change).await
}

/// Something is sent by hand.
async fn note_delivery(
    tx: &mut Transaction<'static, Any>,
    who: &LoggedIn,
    hook: &Hook,
    told: Value,
) -> Result<(), Error> {
    let object = Object {
        kind: "delivery",
        ..hook.object()
    };
    let change = Change {
        before: None,
        after: Some(told),
    };
    audit::write(tx, &who.asker(), Action::Create, object, change).await
}

fn unprocessable(title: &'static str, code: &'static str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, title).code(code)
}

fn conflict(title: &'static str, code: &'static str) -> Problem {
    Problem::new(StatusCode::CONFLICT, title).code(code)
}
