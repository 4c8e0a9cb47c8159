//! The record of who saw and changed what. Each entry holds a hash over itself and the hash of the
//! entry before it, so that a change, a removal and a gap show. An entry is written in the transaction
//! of what it tells of: both are there or neither is.

pub(crate) mod atna;
pub(crate) mod checkpoints;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::{Any, AnyConnection, Row, Transaction};

use crate::asker::Asker;
use crate::events;
use crate::store::{Error, now_ms};
use checkpoints::Checkpoint;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Shown to the actor.
    View,
    /// Made.
    Create,
    /// Changed.
    Change,
    /// Removed.
    Remove,
    /// A role was given.
    Grant,
    /// A role was taken away.
    Revoke,
    /// Somebody proved who he is.
    Login,
    /// Somebody did not.
    LoginFailed,
    /// A session was ended.
    Logout,
    /// Taken away as a file by the actor.
    Export,
}

impl Action {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Create => "create",
            Self::Change => "change",
            Self::Remove => "remove",
            Self::Grant => "grant",
            Self::Revoke => "revoke",
            Self::Login => "login",
            Self::LoginFailed => "login_failed",
            Self::Logout => "logout",
            Self::Export => "export",
        }
    }
}

/// What it was done to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Object<'a> {
    /// `person`, `organisation`, …
    pub kind: &'static str,
    /// Its id, where there is one.
    pub id: Option<&'a str>,
    /// Whose it is.
    pub organisation: Option<&'a str>,
}

/// Before and after.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    pub before: Option<Value>,
    pub after: Option<Value>,
}

/// Writes one entry. Where something moved to another organisation there is one more at that which it left:
/// who may see the record of that place sees that it is gone, and not where to.
///
/// # Errors
/// Those of the database; nothing that the transaction did stands then.
pub(crate) async fn write(
    tx: &mut Transaction<'static, Any>,
    asker: &Asker,
    action: Action,
    object: Object<'_>,
    change: Change,
) -> Result<(), Error> {
    events::note(tx, action, &object, &change, left(&change)).await?;
    let left = left(&change).map(|left| {
        let after = Some(json!({ "moved_away": true }));
        let before = change.before.clone();
        (left.to_owned(), Change { before, after })
    });
    append(tx, asker, action, object, change).await?;
    if let Some((organisation, change)) = left {
        let organisation = Some(organisation.as_str());
        let object = Object {
            organisation,
            ..object
        };
        append(tx, asker, action, object, change).await?;
    }
    Ok(())
}

/// The same with one more entry at another organisation that it concerns. That makes no event.
///
/// # Errors
/// As [`write`].
pub(crate) async fn write_at_both(
    tx: &mut Transaction<'static, Any>,
    asker: &Asker,
    action: Action,
    (object, other): (Object<'_>, &str),
    change: Change,
) -> Result<(), Error> {
    write(tx, asker, action, object, change.clone()).await?;
    let organisation = Some(other);
    let object = Object {
        organisation,
        ..object
    };
    append(tx, asker, action, object, change).await
}

/// The organisation that something was at before a change, or below, if it is there no more.
fn left(change: &Change) -> Option<&str> {
    let (before, after) = (change.before.as_ref()?, change.after.as_ref()?);
    let place = |of: &'static str| Some((before.get(of)?.as_str()?, after.get(of)?.as_str()?));
    let (before, after) = place("organisation").or_else(|| place("parent"))?;
    (before != after).then_some(before)
}

async fn append(
    tx: &mut Transaction<'static, Any>,
    asker: &Asker,
    action: Action,
    object: Object<'_>,
    change: Change,
) -> Result<(), Error> {
    // Who writes next waits here until this transaction ends.
    let head = sqlx::query("UPDATE audit_head SET seq = seq + 1 WHERE one = 1 RETURNING seq, hash")
        .fetch_one(&mut **tx)
        .await?;
    let text = |value: Option<Value>| value.map(|value| value.to_string());
    let mut entry = Entry {
        seq: head.try_get("seq")?,
        at_ms: now_ms(),
        actor: asker.person_id().map(str::to_owned),
        actor_name: asker.name().to_owned(),
        source: asker.source().map(|ip| match asker.token() {
            Some(token) => format!("{ip} by token {token}"),
            None => ip.to_string(),
        }),
        action: action.as_str().to_owned(),
        object_kind: object.kind.to_owned(),
        object: object.id.map(str::to_owned),
        organisation: object.organisation.map(str::to_owned),
        before: text(change.before),
        after: text(change.after),
        hash: String::new(),
    };
    entry.hash = entry.hash_after(head.try_get("hash")?);
    entry.insert(tx).await?;
    sqlx::query("UPDATE audit_head SET hash = $1 WHERE one = 1")
        .bind(&entry.hash)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// One row.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Entry {
    pub seq: i64,
    pub at_ms: i64,
    pub actor: Option<String>,
    pub actor_name: String,
    pub source: Option<String>,
    pub action: String,
    pub object_kind: String,
    pub object: Option<String>,
    pub organisation: Option<String>,
    #[sqlx(rename = "before_json")]
    pub before: Option<String>,
    #[sqlx(rename = "after_json")]
    pub after: Option<String>,
    pub hash: String,
}

impl Entry {
    /// SHA-256 over the hash before it and over the entry as a JSON array, in hexadecimal digits.
    pub(crate) fn hash_after(&self, previous: &str) -> String {
        let told = json!([
            previous,
            self.seq,
            self.at_ms,
            self.actor,
            self.actor_name,
            self.source,
            self.action,
            self.object_kind,
            self.object,
            self.organisation,
            self.before,
            self.after,
        ]);
        hex(&Sha256::digest(told.to_string()))
    }

    async fn insert(&self, tx: &mut Transaction<'static, Any>) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO audit (seq, at_ms, actor, actor_name, source, action, object_kind, object, \
             organisation, before_json, after_json, hash) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        )
        .bind(self.seq)
        .bind(self.at_ms)
        .bind(&self.actor)
        .bind(&self.actor_name)
        .bind(&self.source)
        .bind(&self.action)
        .bind(&self.object_kind)
        .bind(&self.object)
        .bind(&self.organisation)
        .bind(&self.before)
        .bind(&self.after)
        .bind(&self.hash)
        .execute(&mut **tx)
        .await?;
        Ok(())
    }
}

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// An entry is not what was written.
    #[error("entry {0} was changed")]
    Changed(i64),
    /// Entries are missing.
    #[error("entries {0} to {1} are missing")]
    Missing(i64, i64),
    /// The last entries are missing.
    #[error("the record ends at entry {found}, and went on to entry {told} at least")]
    Cut {
        /// Last entry that is there.
        found: i64,
        /// Last one that is known to have been written.
        told: i64,
    },
    /// There are entries beside the chain, which nobody wrote by way of it.
    #[error("{0} entries are beside the chain: they were added to it")]
    Added(i64),
    /// The chain holds, and yet this entry is not the one that was signed: it, or one before it, was
    /// changed and all hashes were computed anew.
    #[error("entry {0} is not the one that was signed: what comes before it was rewritten")]
    Rewritten(i64),
}

/// What the whole record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Entries.
    pub entries: i64,
    /// Checkpoints, each of which is right.
    pub checkpoints: usize,
}

/// Goes through the whole record; yields what it holds, or the first fault.
///
/// # Errors
/// Those of the database.
pub(crate) async fn verify(
    connection: &mut AnyConnection,
    checkpoints: &[Checkpoint],
) -> Result<Result<Whole, Fault>, Error> {
    // Before the entries: what is written meanwhile is behind it.
    let head = sqlx::query("SELECT seq, hash FROM audit_head WHERE one = 1")
        .fetch_one(&mut *connection)
        .await?;
    let (told, hash): (i64, String) = (head.try_get("seq")?, head.try_get("hash")?);
    let head = Checkpoint {
        seq: told,
        at_ms: 0,
        hash,
    };
    let mut known = checkpoints.iter().chain([&head]).peekable();
    let (mut seq, mut previous) = (0_i64, "0".repeat(64));
    loop {
        while let Some(checkpoint) = known.next_if(|checkpoint| checkpoint.seq == seq) {
            if checkpoint.hash != previous {
                return Ok(Err(Fault::Rewritten(seq)));
            }
        }
        let Some(next) = known.peek() else {
            break;
        };
        if next.seq < seq {
            // The head was set back, or a checkpoint is older than the one before it.
            return Ok(Err(Fault::Rewritten(next.seq)));
        }
        let page = page_after(connection, seq, next.seq).await?;
        if page.is_empty() {
            let told = checkpoints.last().map_or(told, |last| last.seq.max(told));
            return Ok(Err(Fault::Cut { found: seq, told }));
        }
        for entry in page {
            if entry.seq != seq + 1 {
                return Ok(Err(Fault::Missing(seq + 1, entry.seq - 1)));
            }
            if entry.hash != entry.hash_after(&previous) {
                return Ok(Err(Fault::Changed(entry.seq)));
            }
            (seq, previous) = (entry.seq, entry.hash);
        }
    }
    // In one statement: what is written meanwhile moves the head, too.
    let added: i64 = sqlx::query(
        "SELECT COUNT(*) AS n FROM audit a JOIN audit_head h ON h.one = 1 \
         WHERE a.seq < 1 OR a.seq > h.seq",
    )
    .fetch_one(&mut *connection)
    .await?
    .try_get("n")?;
    if added > 0 {
        return Ok(Err(Fault::Added(added)));
    }
    Ok(Ok(Whole {
        entries: seq,
        checkpoints: checkpoints.len(),
    }))
}

/// The entries behind this one, in their order; a thousand at most, and none behind `to`.
pub(crate) async fn page_after(
    connection: &mut AnyConnection,
    seq: i64,
    to: i64,
) -> Result<Vec<Entry>, Error> {
    let page = sqlx::query_as(
        "SELECT seq, at_ms, actor, actor_name, source, action, object_kind, object, organisation, \
         before_json, after_json, hash FROM audit WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT 1000",
    )
    .bind(seq)
    .bind(to)
    .fetch_all(connection)
    .await?;
    Ok(page)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
