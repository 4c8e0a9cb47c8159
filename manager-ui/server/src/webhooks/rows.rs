//! Hooks and deliveries in the database.

use sqlx::{Any, AnyConnection, FromRow, Row, Transaction};
use tracing::warn;

use super::address_purpose;
use super::send::Outcome;
use crate::audit::Object;
use crate::seal::Seal;
use crate::store::{Error, Store, chain, new_id, now_ms};

/// How long deliveries are kept that are over, as events are; and how many that arrived, of one hook.
const KEPT_MS: i64 = 7 * 24 * 60 * 60 * 1000;
const MAX_DELIVERED: i64 = 200;
/// The same of those that are dead or were withheld.
const MAX_DEAD: i64 = 1_000;

/// A hook.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Hook {
    pub id: String,
    pub organisation: String,
    pub maker: String,
    pub name: String,
    /// Sealed.
    pub url: String,
    pub kinds: String,
    pub room: String,
    pub secret: String,
    pub old_secret: Option<String>,
    pub old_until_ms: i64,
    pub state: String,
    pub failing_since_ms: Option<i64>,
    pub created_ms: i64,
    pub seq: i64,
}

/// SQL for all of a hook `w`.
macro_rules! columns {
    () => {
        "SELECT w.id, w.organisation, w.maker, w.name, w.url, w.kinds, w.room, w.secret, w.old_secret, \
         w.old_until_ms, w.state, w.failing_since_ms, w.created_ms, w.seq FROM webhooks w \
         JOIN organisations o ON o.id = w.organisation WHERE "
    };
}

impl Hook {
    pub(crate) async fn find(
        connection: &mut AnyConnection,
        id: &str,
    ) -> Result<Option<Self>, Error> {
        let found = sqlx::query_as(concat!(columns!(), "w.id = $1"))
            .bind(id)
            .fetch_optional(connection)
            .await?;
        Ok(found)
    }

    /// As the record names it.
    pub(crate) fn object(&self) -> Object<'_> {
        Object {
            kind: "webhook",
            id: Some(&self.id),
            organisation: Some(&self.organisation),
        }
    }
}

/// A hook that is on.
#[derive(Debug, FromRow)]
pub(super) struct Active {
    pub id: String,
    pub seq: i64,
    /// 1 where something of its is due.
    pub due: i64,
}

/// Hooks that are on, and whether something of theirs is due.
pub(super) async fn active(connection: &mut AnyConnection) -> Result<Vec<Active>, Error> {
    let found = sqlx::query_as(
        "SELECT w.id, w.seq, CAST(CASE WHEN EXISTS (SELECT 1 FROM deliveries d WHERE d.webhook = w.id \
         AND d.state = 'waiting' AND d.next_ms <= $1) THEN 1 ELSE 0 END AS BIGINT) AS due \
         FROM webhooks w WHERE w.state = 'on'",
    )
    .bind(now_ms())
    .fetch_all(connection)
    .await?;
    Ok(found)
}

/// A delivery whose time has come.
#[derive(Debug, FromRow)]
pub(super) struct Due {
    pub id: String,
    pub seq: i64,
    pub kind: String,
    pub attempts: i64,
    pub created_ms: i64,
}

impl Due {
    /// The one of the lowest number.
    pub(super) async fn next(
        connection: &mut AnyConnection,
        hook: &str,
    ) -> Result<Option<Self>, Error> {
        let found = sqlx::query_as(
            "SELECT id, seq, kind, attempts, created_ms FROM deliveries \
             WHERE webhook = $1 AND state = 'waiting' AND next_ms <= $2 ORDER BY seq LIMIT 1",
        )
        .bind(hook)
        .bind(now_ms())
        .fetch_optional(connection)
        .await?;
        Ok(found)
    }
}

/// How many of a hook's deliveries wait.
pub(super) async fn waiting(connection: &mut AnyConnection, hook: &str) -> Result<i64, Error> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS n FROM deliveries WHERE webhook = $1 AND state = 'waiting'",
    )
    .bind(hook)
    .fetch_one(connection)
    .await?;
    Ok(row.try_get("n")?)
}

/// Makes deliveries of these events, and moves the hook's place in one transaction.
pub(super) async fn queue(
    store: &Store,
    hook: &Hook,
    events: &[(i64, &str)],
    to: i64,
) -> Result<(), Error> {
    let mut tx = store.begin().await?;
    let now = now_ms();
    let is_there = sqlx::query("UPDATE webhooks SET seq = $2 WHERE id = $1 AND seq < $2")
        .bind(&hook.id)
        .bind(to)
        .execute(&mut *tx)
        .await?;
    if is_there.rows_affected() == 0 {
        return Ok(());
    }
    for event in events {
        insert(&mut tx, hook, *event, now).await?;
    }
    Ok(tx.commit().await?)
}

async fn insert(
    tx: &mut Transaction<'static, Any>,
    hook: &Hook,
    (seq, kind): (i64, &str),
    now: i64,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO deliveries (id, webhook, seq, kind, state, attempts, created_ms, next_ms) \
         VALUES ($1, $2, $3, $4, 'waiting', 0, $5, $5) ON CONFLICT (webhook, seq, kind) DO NOTHING",
    )
    .bind(format!("msg_{}", new_id()))
    .bind(&hook.id)
    .bind(seq)
    .bind(kind)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// It arrived.
pub(super) async fn delivered(
    store: &Store,
    hook: &Hook,
    due: &Due,
    outcome: &Outcome,
    now: i64,
) -> Result<(), Error> {
    let mut tx = store.begin().await?;
    tried(&mut tx, due, "delivered", outcome, (now, None)).await?;
    sqlx::query("UPDATE webhooks SET failing_since_ms = NULL WHERE id = $1 AND failing_since_ms IS NOT NULL")
        .bind(&hook.id)
        .execute(&mut *tx)
        .await?;
    Ok(tx.commit().await?)
}

/// It did not: it waits for its next time, or is dead. Since when nothing arrived.
pub(super) async fn failed(
    store: &Store,
    hook: &Hook,
    due: &Due,
    outcome: &Outcome,
    (now, next): (i64, Option<i64>),
) -> Result<i64, Error> {
    let mut tx = store.begin().await?;
    let state = if next.is_some() { "waiting" } else { "dead" };
    tried(&mut tx, due, state, outcome, (now, next)).await?;
    let row = sqlx::query(
        "UPDATE webhooks SET failing_since_ms = COALESCE(failing_since_ms, $2) WHERE id = $1 \
         RETURNING failing_since_ms",
    )
    .bind(&hook.id)
    .bind(now)
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    let since = row.map(|row| row.try_get::<i64, _>("failing_since_ms"));
    Ok(since.transpose()?.unwrap_or(now))
}

async fn tried(
    tx: &mut Transaction<'static, Any>,
    due: &Due,
    state: &str,
    outcome: &Outcome,
    (now, next): (i64, Option<i64>),
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE deliveries SET state = $2, attempts = attempts + 1, tried_ms = $3, next_ms = $4, \
         status = $5, problem = $6, answer = $7 WHERE id = $1",
    )
    .bind(&due.id)
    .bind(state)
    .bind(now)
    .bind(next.unwrap_or(now))
    .bind(outcome.status.map(i64::from))
    .bind(outcome.problem)
    .bind(&outcome.answer)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Whoever set the hook up may not see it any more, or it is not kept.
pub(super) async fn withhold(store: &Store, due: &Due) -> Result<(), Error> {
    let mut tx = store.begin().await?;
    sqlx::query("UPDATE deliveries SET state = 'withheld', tried_ms = $2 WHERE id = $1")
        .bind(&due.id)
        .bind(now_ms())
        .execute(&mut *tx)
        .await?;
    Ok(tx.commit().await?)
}

/// What waits and is not kept any more is told as one gap. How many deliveries that were.
pub(super) async fn miss(store: &Store, hook: &Hook, oldest: i64) -> Result<u64, Error> {
    let mut tx = store.begin().await?;
    let now = now_ms();
    let missed = sqlx::query(
        "UPDATE deliveries SET state = 'withheld', tried_ms = $3 WHERE webhook = $1 \
         AND state = 'waiting' AND kind <> 'gap' AND seq < $2",
    )
    .bind(&hook.id)
    .bind(oldest)
    .bind(now)
    .execute(&mut *tx)
    .await?;
    insert(&mut tx, hook, (oldest - 1, "gap"), now).await?;
    tx.commit().await?;
    Ok(missed.rows_affected())
}

/// Seals addresses that an earlier version kept in clear, in a copy that was put back, too.
pub(super) async fn seal_addresses(store: &Store, seal: &Seal) {
    if let Err(error) = try_seal_addresses(store, seal).await {
        warn!(error, "addresses of webhooks stay in clear for now");
    }
}

async fn try_seal_addresses(store: &Store, seal: &Seal) -> Result<(), String> {
    let away = |failure: Error| chain(&failure);
    let mut tx = store.begin().await.map_err(away)?;
    let clear: Vec<(String, String)> =
        sqlx::query_as("SELECT id, url FROM webhooks WHERE url LIKE '%://%'")
            .fetch_all(&mut *tx)
            .await
            .map_err(|failure| away(failure.into()))?;
    for (id, url) in clear {
        let sealed = seal.seal(&address_purpose(&id), url.as_bytes());
        sqlx::query("UPDATE webhooks SET url = $2 WHERE id = $1")
            .bind(&id)
            .bind(sealed.map_err(|failure| chain(&failure))?)
            .execute(&mut *tx)
            .await
            .map_err(|failure| away(failure.into()))?;
    }
    tx.commit().await.map_err(|failure| away(failure.into()))
}

/// Forgets deliveries that are over, where they are old or too many.
pub(super) async fn forget(store: &Store) -> Result<(), Error> {
    let mut tx = store.begin().await?;
    sqlx::query("DELETE FROM deliveries WHERE state <> 'waiting' AND tried_ms < $1")
        .bind(now_ms() - KEPT_MS)
        .execute(&mut *tx)
        .await?;
    for (states, most) in [("delivered", MAX_DELIVERED), ("dead withheld", MAX_DEAD)] {
        sqlx::query(
            "DELETE FROM deliveries WHERE replace($1, state, '') <> $1 AND id IN (SELECT n.id FROM \
             (SELECT d.id, ROW_NUMBER() OVER (PARTITION BY d.webhook ORDER BY d.tried_ms DESC, d.id DESC) \
             AS place FROM deliveries d WHERE replace($1, d.state, '') <> $1) n WHERE n.place > $2)",
        )
        .bind(states)
        .bind(most)
        .execute(&mut *tx)
        .await?;
    }
    Ok(tx.commit().await?)
}
