//! Sessions of people who logged in: a secret in the browser's cookie, its hash in the database, so
//! that a session can be listed and ended here.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcu_api::secret::Redacted;
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::{Any, Row, Transaction};

use crate::asker::{Asker, Person};
use crate::audit::{self, Action, Change, Object, hex};
use crate::ldap::{self, Directory};
use crate::password;
use crate::store::{Error, Store, new_id, now_ms};

/// Name of the cookie. The prefix has browsers refuse it from a subdomain, and without TLS (RFC 6265bis
/// §4.1.3.2).
pub(crate) const COOKIE: &str = "__Host-consilium";
/// A session that nobody used for so long has ended. What a page asks while nobody is at it is no use.
const IDLE_MS: i64 = 60 * 60 * 1000;
/// And one of this age, however much it is used.
pub(crate) const LONGEST_MS: i64 = 12 * 60 * 60 * 1000;
/// How precisely its last use is kept.
const SEEN_STEP_MS: i64 = 60 * 1000;
/// Wrong passwords in a row after which a login is closed, and for how long.
pub(crate) const MAX_FAILURES: i64 = 5;
pub(crate) const LOCKED_MS: i64 = 15 * 60 * 1000;
/// Sessions of one person. The oldest ends when one more begins.
const MAX_SESSIONS: i64 = 16;
/// Longest description of a browser that is kept, in characters.
const MAX_AGENT_CHARS: usize = 200;

/// What a password proved.
#[derive(Debug)]
pub(crate) enum Proof {
    /// That it is this person, who has no session by that yet.
    Person(Person),
    /// No such login. It is answered as a wrong password is.
    Unknown,
    /// Not with this password, or disabled: which of them is not said.
    Refused,
    /// Too many wrong passwords: not for some minutes, whatever the password.
    Locked,
    /// Only the directory can tell, and it cannot be asked.
    Away,
}

/// A secret of 256 bits, as text for a cookie or a link.
pub(crate) fn new_secret() -> Redacted<String> {
    let bytes: [u8; 32] = rand::random();
    Redacted(URL_SAFE_NO_PAD.encode(bytes))
}

/// What is kept of a secret.
pub(crate) fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret))
}

/// Logins are compared without regard to case.
pub(crate) fn login_key(login: &str) -> String {
    login.trim().to_lowercase()
}

/// Whom a login and a password prove. What they do not prove is noted.
///
/// # Errors
/// Those of the database.
pub(crate) async fn prove(
    store: &Store,
    directory: Option<&Directory>,
    asker: &Asker,
    login: &str,
    given: Redacted<String>,
) -> Result<Proof, Error> {
    let found = sqlx::query(
        "SELECT id, organisation, login, password, source FROM people \
         WHERE login_key = $1",
    )
    .bind(login_key(login))
    .fetch_optional(store.pool()?)
    .await?;
    // People who are known here alone never go to the directory, be it away or not.
    let is_local = match &found {
        Some(row) => row.try_get::<String, _>("source")? != ldap::people::SOURCE,
        None => false,
    };
    if let Some(asked) = directory.filter(|_| !is_local) {
        return ldap::people::prove(store, asked, asker, login, given).await;
    }
    let Some(row) = found else {
        password::verify(given, None).await;
        // What was typed is not kept: it may be a password.
        let mut tx = store.begin().await?;
        note_failure(&mut tx, asker, None, None, "no such login").await?;
        tx.commit().await?;
        return Ok(Proof::Unknown);
    };
    let person = Person {
        id: row.try_get("id")?,
        login: row.try_get("login")?,
        organisation: row.try_get("organisation")?,
        session: new_id(),
        by_token: false,
    };
    // Asked for even where it counts for nothing, so that every answer takes as long.
    let kept: Option<String> = row.try_get("password")?;
    let right = password::verify(given, kept.clone()).await;
    // Read again now that nobody else writes: of many attempts at once only the first few count.
    let mut tx = store.begin().await?;
    let row = sqlx::query("SELECT password, disabled, locked_until_ms FROM people WHERE id = $1")
        .bind(&person.id)
        .fetch_optional(&mut *tx)
        .await?;
    let Some(row) = row else {
        return Ok(Proof::Refused);
    };
    let locked = row.try_get::<i64, _>("locked_until_ms")? > now_ms();
    let disabled = row.try_get::<i64, _>("disabled")? != 0;
    let changed = row.try_get::<Option<String>, _>("password")? != kept;
    let reason = match (locked, right, disabled) {
        (true, _, _) => "locked",
        (_, false, _) => "wrong password",
        (_, _, true) => "disabled",
        _ if changed => "password changed meanwhile",
        (false, true, false) => {
            tx.rollback().await?;
            return Ok(Proof::Person(person));
        }
    };
    if !locked && !right {
        count_failure(&mut tx, &person.id).await?;
    }
    let home = Some(person.organisation.as_str());
    note_failure(&mut tx, asker, Some(&person.id), home, reason).await?;
    tx.commit().await?;
    Ok(match locked {
        true => Proof::Locked,
        false => Proof::Refused,
    })
}

/// Notes a session that begins, and ends the oldest where there are too many.
pub(crate) async fn begin(
    tx: &mut Transaction<'static, Any>,
    asker: &Asker,
    agent: &str,
    person: Person,
) -> Result<Redacted<String>, Error> {
    let secret = new_secret();
    let now = now_ms();
    let source = asker.source().map(|ip| ip.to_string()).unwrap_or_default();
    let agent: String = agent.chars().take(MAX_AGENT_CHARS).collect();
    sqlx::query(
        "DELETE FROM sessions WHERE person = $1 AND (seen_ms < $2 OR created_ms < $3 OR id NOT IN \
         (SELECT id FROM sessions WHERE person = $1 ORDER BY seen_ms DESC, id DESC LIMIT $4))",
    )
    .bind(&person.id)
    .bind(now - IDLE_MS)
    .bind(now - LONGEST_MS)
    .bind(MAX_SESSIONS - 1)
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "INSERT INTO sessions (id, secret_hash, person, source, agent, created_ms, seen_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $6)",
    )
    .bind(&person.session)
    .bind(hash(&secret.0))
    .bind(&person.id)
    .bind(source)
    .bind(agent)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "UPDATE people SET failures = 0, locked_until_ms = 0, last_login_ms = $2 WHERE id = $1",
    )
    .bind(&person.id)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    let object = Object {
        kind: "session",
        id: Some(&person.session.clone()),
        organisation: Some(&person.organisation.clone()),
    };
    let who = match asker.source() {
        Some(source) => Asker::person(person, source),
        None => asker.clone(),
    };
    audit::write(tx, &who, Action::Login, object, Change::default()).await?;
    Ok(secret)
}

/// Who has a request sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// Somebody who is there, or a program in their name.
    Somebody,
    /// A page that nobody is at. A session that is used by nothing else runs out.
    Timer,
}

/// Whom a secret stands for, if its session goes on. That somebody uses it is noted.
///
/// # Errors
/// Those of the database.
pub(crate) async fn person_of(
    store: &Store,
    secret: &str,
    by: By,
) -> Result<Option<Person>, Error> {
    let now = now_ms();
    let row = sqlx::query(
        "SELECT s.id AS session, s.seen_ms, p.id, p.login, p.organisation FROM sessions s \
         JOIN people p ON p.id = s.person \
         WHERE s.secret_hash = $1 AND s.seen_ms >= $2 AND s.created_ms >= $3 AND p.disabled = 0",
    )
    .bind(hash(secret))
    .bind(now - IDLE_MS)
    .bind(now - LONGEST_MS)
    .fetch_optional(store.pool()?)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let person = Person {
        id: row.try_get("id")?,
        login: row.try_get("login")?,
        organisation: row.try_get("organisation")?,
        session: row.try_get("session")?,
        by_token: false,
    };
    let is_old = row.try_get::<i64, _>("seen_ms")? < now - SEEN_STEP_MS;
    if by == By::Somebody && is_old {
        sqlx::query("UPDATE sessions SET seen_ms = $2 WHERE id = $1")
            .bind(&person.session)
            .bind(now)
            .execute(store.pool()?)
            .await?;
    }
    Ok(Some(person))
}

/// Whether a session goes on, now that nobody else writes.
pub(crate) async fn goes_on(
    tx: &mut Transaction<'static, Any>,
    session: &str,
) -> Result<bool, Error> {
    let row = sqlx::query("SELECT COUNT(*) AS n FROM sessions WHERE id = $1")
        .bind(session)
        .fetch_one(&mut **tx)
        .await?;
    Ok(row.try_get::<i64, _>("n")? > 0)
}

/// Notes that whoever has a session has just proved to a provider who they are.
pub(crate) async fn note_proof(
    tx: &mut Transaction<'static, Any>,
    session: &str,
) -> Result<(), Error> {
    sqlx::query("UPDATE sessions SET proved_ms = $2 WHERE id = $1")
        .bind(session)
        .bind(now_ms())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Whether a session goes on by which that was so no longer ago than this.
pub(crate) async fn proved_within(
    tx: &mut Transaction<'static, Any>,
    session: &str,
    age_ms: i64,
) -> Result<bool, Error> {
    let row = sqlx::query("SELECT COUNT(*) AS n FROM sessions WHERE id = $1 AND proved_ms >= $2")
        .bind(session)
        .bind(now_ms() - age_ms)
        .fetch_one(&mut **tx)
        .await?;
    Ok(row.try_get::<i64, _>("n")? > 0)
}

/// Whether the session goes on by which somebody asked; that is no use of it.
///
/// # Errors
/// Those of the database.
pub(crate) async fn is_good(store: &Store, session: &str) -> Result<bool, Error> {
    let now = now_ms();
    let row = sqlx::query(
        "SELECT COUNT(*) AS n FROM sessions s JOIN people p ON p.id = s.person \
         WHERE s.id = $1 AND s.seen_ms >= $2 AND s.created_ms >= $3 AND p.disabled = 0",
    )
    .bind(session)
    .bind(now - IDLE_MS)
    .bind(now - LONGEST_MS)
    .fetch_one(store.pool()?)
    .await?;
    Ok(row.try_get::<i64, _>("n")? > 0)
}

/// Ends the sessions of a person; `but` one, if given. Yields how many.
pub(crate) async fn end_all(
    tx: &mut Transaction<'static, Any>,
    person: &str,
    but: Option<&str>,
) -> Result<u64, Error> {
    let ended = sqlx::query("DELETE FROM sessions WHERE person = $1 AND id <> $2")
        .bind(person)
        .bind(but.unwrap_or_default())
        .execute(&mut **tx)
        .await?;
    Ok(ended.rows_affected())
}

/// Counts a wrong password or code, and closes the login where there were too many.
pub(crate) async fn count_failure(
    tx: &mut Transaction<'static, Any>,
    person: &str,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE people SET failures = CASE WHEN failures + 1 >= $2 THEN 0 ELSE failures + 1 END, \
         locked_until_ms = CASE WHEN failures + 1 >= $2 THEN $3 ELSE locked_until_ms END WHERE id = $1",
    )
    .bind(person)
    .bind(MAX_FAILURES)
    .bind(now_ms() + LOCKED_MS)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Notes that somebody did not prove who he is, and why not.
pub(crate) async fn note_failure(
    tx: &mut Transaction<'static, Any>,
    asker: &Asker,
    person: Option<&str>,
    organisation: Option<&str>,
    reason: &str,
) -> Result<(), Error> {
    let object = Object {
        kind: "person",
        id: person,
        organisation,
    };
    let change = Change {
        before: None,
        after: Some(json!({ "reason": reason })),
    };
    audit::write(tx, asker, Action::LoginFailed, object, change).await
}
