//! Tokens: what a program sends in a person's name. A token may do what its scope names of what its
//! person may do, until it runs out or is revoked. Its hash is kept, as a session's.

use std::net::IpAddr;

use mcu_api::secret::Redacted;
use sqlx::{Any, Row, Transaction};

use crate::asker::{Asker, Person};
use crate::audit::{self, Action, Change, Object};
use crate::rights::Right;
use crate::sessions::{hash, new_secret};
use crate::store::{Error, Store, now_ms};

/// What tokens begin with, so that one that is left lying about is recognised.
const PREFIX: &str = "consilium_";
/// How precisely its last use is kept, and how often a refusal is noted.
const STEP_MS: i64 = 60 * 1000;
/// Tokens of somebody whom a directory or a provider proves are good so long after that one's last login:
/// who is there no more logs in no more.
const PROVED_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// A new token, and what is kept of it.
pub(crate) fn new() -> (Redacted<String>, String) {
    let token = format!("{PREFIX}{}", new_secret().0);
    let kept = hash(&token);
    (Redacted(token), kept)
}

/// Whom a token stands for, if it is good. That it is used is noted; that it is good no more goes into
/// the record.
///
/// # Errors
/// Those of the database.
pub(crate) async fn person_of(
    store: &Store,
    token: &str,
    source: IpAddr,
) -> Result<Option<Person>, Error> {
    if !token.starts_with(PREFIX) {
        return Ok(None);
    }
    let row = sqlx::query(
        "SELECT t.id AS token, t.expires_ms, t.revoked_ms, t.seen_ms, p.id, p.login, p.organisation, \
         p.disabled, p.source, p.last_login_ms FROM tokens t JOIN people p ON p.id = t.person WHERE t.secret_hash = $1",
    )
    .bind(hash(token))
    .fetch_optional(store.pool()?)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let person = Person {
        id: row.try_get("id")?,
        login: row.try_get("login")?,
        organisation: row.try_get("organisation")?,
        session: row.try_get("token")?,
        by_token: true,
    };
    let now = now_ms();
    let reason = if row.try_get::<Option<i64>, _>("revoked_ms")?.is_some() {
        "token revoked"
    } else if row.try_get::<i64, _>("expires_ms")? <= now {
        "token expired"
    } else if row.try_get::<i64, _>("disabled")? != 0 {
        "disabled"
    } else if row.try_get::<String, _>("source")? != "local"
        && row
            .try_get::<Option<i64>, _>("last_login_ms")?
            .unwrap_or_default()
            < now - PROVED_MS
    {
        "no login for 30 days"
    } else {
        if row
            .try_get::<Option<i64>, _>("seen_ms")?
            .unwrap_or_default()
            < now - STEP_MS
        {
            sqlx::query("UPDATE tokens SET seen_ms = $2 WHERE id = $1")
                .bind(&person.session)
                .bind(now)
                .execute(store.pool()?)
                .await?;
        }
        return Ok(Some(person));
    };
    note_refusal(store, &person, source, reason).await?;
    Ok(None)
}

/// Whether a token is good still.
///
/// # Errors
/// Those of the database.
pub(crate) async fn is_good(store: &Store, token: &str) -> Result<bool, Error> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS n FROM tokens t JOIN people p ON p.id = t.person \
         WHERE t.id = $1 AND t.expires_ms > $2 AND t.revoked_ms IS NULL AND p.disabled = 0 \
         AND (p.source = 'local' OR p.last_login_ms >= $3)",
    )
    .bind(token)
    .bind(now_ms())
    .bind(now_ms() - PROVED_MS)
    .fetch_one(store.pool()?)
    .await?;
    Ok(row.try_get::<i64, _>("n")? > 0)
}

/// A program that goes on asking with a token that is good no more is noted once a minute.
async fn note_refusal(
    store: &Store,
    person: &Person,
    source: IpAddr,
    reason: &str,
) -> Result<(), Error> {
    let mut tx = store.begin().await?;
    let due = sqlx::query("UPDATE tokens SET refused_ms = $2 WHERE id = $1 AND refused_ms < $3")
        .bind(&person.session)
        .bind(now_ms())
        .bind(now_ms() - STEP_MS)
        .execute(&mut *tx)
        .await?;
    if due.rows_affected() > 0 {
        let object = object(&person.session, &person.organisation);
        let change = Change {
            before: None,
            after: Some(serde_json::json!({ "reason": reason })),
        };
        let asker = Asker::unknown(source);
        audit::write(&mut tx, &asker, Action::LoginFailed, object, change).await?;
    }
    Ok(tx.commit().await?)
}

/// Revokes all tokens of a person.
pub(crate) async fn revoke_all(
    tx: &mut Transaction<'static, Any>,
    person: &str,
) -> Result<(), Error> {
    sqlx::query("UPDATE tokens SET revoked_ms = $2 WHERE person = $1 AND revoked_ms IS NULL")
        .bind(person)
        .bind(now_ms())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Sets what a new token may do at most.
pub(crate) async fn write_rights(
    tx: &mut Transaction<'static, Any>,
    token: &str,
    rights: &[Right],
) -> Result<(), Error> {
    for right in rights {
        sqlx::query("INSERT INTO token_rights (token, right_name) VALUES ($1, $2)")
            .bind(token)
            .bind(right.as_str())
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// As the record names it.
pub(crate) const fn object<'a>(token: &'a str, organisation: &'a str) -> Object<'a> {
    Object {
        kind: "token",
        id: Some(token),
        organisation: Some(organisation),
    }
}
