//! What happens, for pages and programs that listen. Each event is a row, written in the transaction of
//! the change that it tells of, and numbered in the order of the commits; so what is told and what is so
//! cannot part. Who may hear it is asked in the statement that reads it.
//!
//! [`live`] tells of meetings and processes; [`Events`] follows the rows as they are written and forgets
//! old ones.

pub(crate) mod live;

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};
use sqlx::{Any, AnyConnection, FromRow, Row, Transaction};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::debug;

use crate::audit::{Action, Change, Object};
use crate::once;
use crate::rights::{self, Right, Subject, allowed};
use crate::store::{self, Error, Store, now_ms};

/// How often it is looked for new rows. One small row is read for that.
const LOOK: Duration = Duration::from_millis(200);
/// How long events are kept, and how many at most.
const KEPT_MS: i64 = 7 * 24 * 60 * 60 * 1000;
const MAX_KEPT: i64 = 200_000;
/// Looks between two rounds of forgetting.
const LOOKS_PER_ROUND: u32 = 300;
/// Rows that are looked through by one statement.
const WINDOW: i64 = 500;

/// Declares the kinds of events, their names, and the right by which each is heard.
macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $kind:ident = $name:literal, $right:ident;)*) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Kind {
            $($(#[doc = $doc])* $kind,)*
        }

        impl Kind {
            /// Each kind.
            pub(crate) const ALL: &[Self] = &[$(Self::$kind,)*];

            /// Its name in the interface and in the database.
            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// Who holds this where it happened is told.
            pub(crate) const fn right(self) -> Right {
                match self {
                    $(Self::$kind => Right::$right,)*
                }
            }
        }
    };
}

kinds! {
    /// The first site is in a room.
    MeetingBegan = "meeting.began", RoomsView;
    /// The last site has left a room.
    MeetingEnded = "meeting.ended", RoomsView;
    /// A site is in a room.
    LegJoined = "leg.joined", RoomsView;
    /// A site has left a room.
    LegLeft = "leg.left", RoomsView;
    /// A site can be heard or seen no more, or again.
    LegMuted = "leg.muted", RoomsView;
    /// A site fares better or worse, steadily.
    LegQuality = "leg.quality", RoomsView;
    /// A room was made.
    RoomCreated = "room.created", RoomsView;
    /// A room, or with whom it is shared, was changed.
    RoomChanged = "room.changed", RoomsView;
    /// A room was removed.
    RoomRemoved = "room.removed", RoomsView;
    /// A terminal's account was made.
    AccountCreated = "account.created", AccountsView;
    /// A terminal's account was changed.
    AccountChanged = "account.changed", AccountsView;
    /// A terminal's account was removed.
    AccountRemoved = "account.removed", AccountsView;
    /// A trunk was made.
    TrunkCreated = "trunk.created", TrunksView;
    /// A trunk was changed.
    TrunkChanged = "trunk.changed", TrunksView;
    /// A trunk was removed.
    TrunkRemoved = "trunk.removed", TrunksView;
    /// A person was made.
    PersonCreated = "person.created", PeopleView;
    /// A person, or what they may do, was changed.
    PersonChanged = "person.changed", PeopleView;
    /// A person was removed.
    PersonRemoved = "person.removed", PeopleView;
    /// An organisation was made.
    OrganisationCreated = "organisation.created", OrganisationsView;
    /// An organisation was changed or moved.
    OrganisationChanged = "organisation.changed", OrganisationsView;
    /// An organisation was removed.
    OrganisationRemoved = "organisation.removed", OrganisationsView;
    /// A role was made.
    RoleCreated = "role.created", RolesView;
    /// A role was changed.
    RoleChanged = "role.changed", RolesView;
    /// A role was removed.
    RoleRemoved = "role.removed", RolesView;
    /// A webhook was made.
    WebhookCreated = "webhook.created", WebhooksManage;
    /// A webhook was changed.
    WebhookChanged = "webhook.changed", WebhooksManage;
    /// A webhook was removed.
    WebhookRemoved = "webhook.removed", WebhooksManage;
    /// Somebody did not prove who they are.
    LoginRefused = "login.refused", AuditView;
    /// A process of the server went away.
    ProcessAway = "process.away", SystemView;
    /// A process of the server is there, or there again.
    ProcessBack = "process.back", SystemView;
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let mut all = Self::ALL.iter().copied();
        all.find(|kind| kind.as_str() == name).ok_or(())
    }
}

/// The kind of event that an entry of the record makes, if it makes one.
fn kind_of(action: Action, object: &str) -> Option<Kind> {
    use Kind::*;
    let [created, changed, removed] = match object {
        _ if action == Action::LoginFailed => return Some(LoginRefused),
        "room" => [RoomCreated, RoomChanged, RoomRemoved],
        "account" => [AccountCreated, AccountChanged, AccountRemoved],
        "trunk" => [TrunkCreated, TrunkChanged, TrunkRemoved],
        "person" => [PersonCreated, PersonChanged, PersonRemoved],
        "organisation" => [
            OrganisationCreated,
            OrganisationChanged,
            OrganisationRemoved,
        ],
        "role" => [RoleCreated, RoleChanged, RoleRemoved],
        "webhook" => [WebhookCreated, WebhookChanged, WebhookRemoved],
        _ => return None,
    };
    match action {
        Action::Create => Some(created),
        Action::Change | Action::Grant | Action::Revoke => Some(changed),
        Action::Remove => Some(removed),
        _ => None,
    }
}

/// An event to be written.
#[derive(Clone, Debug)]
pub(crate) struct New {
    pub kind: Kind,
    pub organisation: Option<String>,
    /// Id of the room.
    pub room: Option<String>,
    /// And its number.
    pub number: Option<String>,
    /// Id of what it happened to.
    pub object: Option<String>,
    pub data: Value,
}

/// Writes the event that an entry of the record makes, in its transaction; before it, where something went to
/// another organisation, one that tells those whom it left that it is gone.
///
/// # Errors
/// Those of the database.
pub(crate) async fn note(
    tx: &mut Transaction<'static, Any>,
    action: Action,
    object: &Object<'_>,
    change: &Change,
    left: Option<&str>,
) -> Result<(), Error> {
    let Some(kind) = kind_of(action, object.kind) else {
        return Ok(());
    };
    if let Some(left) = left {
        note_gone(tx, object, change, left).await?;
    }
    let id = object.id.map(str::to_owned);
    let mut data = json!({ "id": id });
    let (mut room, mut number) = (None, None);
    if object.kind == "room" {
        room.clone_from(&id);
        number = text(&change.after, "number").or(text(&change.before, "number"));
        if number.is_none() {
            number = number_of(tx, object.id).await?;
        }
        data["number"] = json!(number);
    }
    if kind == Kind::LoginRefused {
        data["reason"] = json!(text(&change.after, "reason"));
    }
    let new = New {
        kind,
        organisation: object.organisation.map(str::to_owned),
        room,
        number,
        object: id,
        data,
    };
    write(tx, &new).await
}

async fn note_gone(
    tx: &mut Transaction<'static, Any>,
    object: &Object<'_>,
    change: &Change,
    left: &str,
) -> Result<(), Error> {
    let (Some(kind), Some(id)) = (kind_of(Action::Remove, object.kind), object.id) else {
        return Ok(());
    };
    let number = text(&change.before, "number").filter(|_| object.kind == "room");
    let mut data = json!({ "id": id, "moved_away": true });
    if let Some(number) = &number {
        data["number"] = json!(number);
    }
    let gone = New {
        kind,
        organisation: Some(left.to_owned()),
        // By these it would be told where it is now.
        room: None,
        object: None,
        number,
        data,
    };
    insert(tx, &gone, "", Some(id)).await
}

fn text(value: &Option<Value>, field: &str) -> Option<String> {
    let field = value.as_ref()?.get(field)?.as_str()?;
    Some(field.to_owned())
}

async fn number_of(
    tx: &mut Transaction<'static, Any>,
    room: Option<&str>,
) -> Result<Option<String>, Error> {
    let row = sqlx::query("SELECT number FROM rooms WHERE id = $1")
        .bind(room)
        .fetch_optional(&mut **tx)
        .await?;
    Ok(row.map(|row| row.try_get("number")).transpose()?)
}

/// Writes an event. Whoever writes holds the end of the record, so that numbers are in the order of the
/// commits.
///
/// # Errors
/// Those of the database.
pub(crate) async fn write(tx: &mut Transaction<'static, Any>, new: &New) -> Result<(), Error> {
    let shared = shared_with(tx, new).await?;
    insert(tx, new, &shared, None).await
}

/// The same of something that was shared with others and is there no more, or is told where it is no more.
async fn insert(
    tx: &mut Transaction<'static, Any>,
    new: &New,
    shared: &str,
    moved: Option<&str>,
) -> Result<(), Error> {
    let now = now_ms();
    let head =
        sqlx::query("UPDATE events_head SET seq = seq + 1, at_ms = $1 WHERE one = 1 RETURNING seq")
            .bind(now)
            .fetch_one(&mut **tx)
            .await?;
    sqlx::query(
        "INSERT INTO events (seq, at_ms, kind, right_name, organisation, room, number, shared, object, \
         data_json, moved) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(head.try_get::<i64, _>("seq")?)
    .bind(now)
    .bind(new.kind.as_str())
    .bind(new.kind.right().as_str())
    .bind(&new.organisation)
    .bind(&new.room)
    .bind(&new.number)
    .bind(shared)
    .bind(&new.object)
    .bind(new.data.to_string())
    .bind(moved)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// With whom a room was shared that is about to be removed, or was just now.
async fn shared_with(tx: &mut Transaction<'static, Any>, new: &New) -> Result<String, Error> {
    if new.kind != Kind::RoomRemoved {
        return Ok(String::new());
    }
    let rows = sqlx::query("SELECT organisation FROM room_shares WHERE room = $1 AND may_view = 1")
        .bind(&new.room)
        .fetch_all(&mut **tx)
        .await?;
    let ids: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get("organisation")).collect();
    Ok(ids?.join(" "))
}

/// Where a listener is: behind the event of this number, which was at this moment. A database that was
/// put back may have another event of the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub seq: i64,
    pub at_ms: i64,
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.seq, self.at_ms)
    }
}

impl FromStr for Mark {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (seq, at_ms) = text.split_once('.').ok_or(())?;
        let number = |text: &str| text.parse().ok().filter(|number| *number >= 0).ok_or(());
        Ok(Self {
            seq: number(seq)?,
            at_ms: number(at_ms)?,
        })
    }
}

/// An event as somebody hears it.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Event {
    pub seq: i64,
    pub at_ms: i64,
    pub kind: String,
    pub organisation: Option<String>,
    data_json: String,
}

impl Event {
    pub(crate) const fn mark(&self) -> Mark {
        Mark {
            seq: self.seq,
            at_ms: self.at_ms,
        }
    }

    /// As it is told, by a stream as by a webhook.
    pub(crate) fn told(&self) -> Value {
        let data: Value = serde_json::from_str(&self.data_json).unwrap_or_default();
        json!({ "id": self.mark().to_string(), "type": self.kind, "timestamp": timestamp(self.at_ms),
            "organisation": self.organisation, "data": data })
    }
}

/// RFC 3339, in UTC.
pub(crate) fn timestamp(at_ms: i64) -> String {
    let at = DateTime::from_timestamp_millis(at_ms).unwrap_or_default();
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Which events somebody wants of those that they may hear.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// `,KIND,KIND,`, or empty for all.
    pub kinds: String,
    /// Id of an organisation, at which or below which it happened; or empty.
    pub organisation: String,
    /// Number of the room, or empty.
    pub room: String,
}

impl Filter {
    /// Of these kinds only.
    pub(crate) fn kinds(kinds: &[Kind]) -> String {
        let names: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        format!(",{},", names.join(","))
    }
}

/// SQL for the home `o` of what the event `e` tells of: where it is now; where it was, once it is gone;
/// the root where that is gone, too.
macro_rules! home {
    () => {
        "JOIN organisations o ON o.id = COALESCE(\
         (SELECT m.organisation FROM rooms m WHERE m.id = e.room), \
         (SELECT p.organisation FROM people p WHERE p.id = e.object), \
         (SELECT a.organisation FROM accounts a WHERE a.id = e.object), \
         (SELECT k.organisation FROM trunks k WHERE k.id = e.object), \
         (SELECT w.id FROM organisations w WHERE w.id = e.organisation), \
         (SELECT w.id FROM organisations w WHERE w.parent IS NULL)) "
    };
}

/// SQL that is true of the event `e`, which tells that something went elsewhere, where the subject `$1` sees
/// it there, within the organisation `$5` if that is given: to them it is not gone.
macro_rules! still_seen {
    () => {
        concat!(
            "(EXISTS (SELECT 1 FROM organisations o WHERE o.id = COALESCE(\
             (SELECT m.organisation FROM rooms m WHERE m.id = e.moved), \
             (SELECT p.organisation FROM people p WHERE p.id = e.moved), \
             (SELECT a.organisation FROM accounts a WHERE a.id = e.moved), \
             (SELECT k.organisation FROM trunks k WHERE k.id = e.moved), \
             (SELECT w.id FROM organisations w WHERE w.id = e.moved)) \
             AND ($5 = '' OR EXISTS (SELECT 1 FROM organisations f WHERE f.id = $5 \
             AND substr(o.path, 1, length(f.path)) = f.path)) AND ",
            allowed!("e.right_name"),
            ") OR ($5 = '' AND EXISTS (SELECT 1 FROM room_shares h \
             JOIN organisations o ON o.id = h.organisation \
             WHERE h.room = e.moved AND h.may_view = 1 AND ",
            allowed!("e.right_name"),
            ")) OR ($5 = '' AND EXISTS (SELECT 1 FROM account_shares h \
             JOIN organisations o ON o.id = h.organisation \
             WHERE h.account = e.moved AND h.may_view = 1 AND ",
            allowed!("e.right_name"),
            ")))"
        )
    };
}

/// SQL for what is told of the event `e` at the home `o`.
macro_rules! columns {
    () => {
        "SELECT e.seq, e.at_ms, e.kind, e.data_json, \
         CASE WHEN e.organisation IS NULL AND e.right_name = 'system.view' THEN NULL ELSE o.id END \
         AS organisation FROM events e "
    };
}

/// Events after this one, up to `to`, that somebody may hear now, oldest first.
///
/// # Errors
/// Those of the database.
pub(crate) async fn heard(
    connection: &mut AnyConnection,
    subject: &Subject,
    (after, to): (i64, i64),
    filter: &Filter,
) -> Result<Vec<Event>, Error> {
    let rows = sqlx::query_as(concat!(
        columns!(),
        home!(),
        "WHERE e.seq > $2 AND e.seq <= $3 AND (",
        allowed!("e.right_name"),
        // The state of the server is shown to who may see it anywhere.
        " OR (e.right_name = 'system.view' AND EXISTS (SELECT 1 FROM organisations o WHERE ",
        allowed!("e.right_name"),
        ")) OR EXISTS (SELECT 1 FROM room_shares h JOIN organisations o ON o.id = h.organisation \
         WHERE h.room = e.room AND h.may_view = 1 AND ",
        allowed!("e.right_name"),
        ") OR (e.shared <> '' AND EXISTS (SELECT 1 FROM organisations o \
         WHERE replace(e.shared, o.id, '') <> e.shared AND ",
        allowed!("e.right_name"),
        "))) AND (e.moved IS NULL OR NOT ",
        still_seen!(),
        ") AND ($4 = '' OR replace($4, ',' || e.kind || ',', '') <> $4) \
         AND ($5 = '' OR EXISTS (SELECT 1 FROM organisations f WHERE f.id = $5 \
         AND substr(o.path, 1, length(f.path)) = f.path)) \
         AND ($6 = '' OR e.number = $6) ORDER BY e.seq"
    ))
    .bind(subject.as_str())
    .bind(after)
    .bind(to.min(after.saturating_add(WINDOW)))
    .bind(&filter.kinds)
    .bind(&filter.organisation)
    .bind(&filter.room)
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

/// How far a statement of [`heard`] has looked.
pub(crate) fn looked(after: i64, to: i64) -> i64 {
    to.min(after.saturating_add(WINDOW))
}

/// The number of the oldest event that is kept, or of the next where none is.
///
/// # Errors
/// Those of the database.
pub(crate) async fn oldest(connection: &mut AnyConnection) -> Result<i64, Error> {
    let row = sqlx::query(
        "SELECT COALESCE((SELECT MIN(k.seq) FROM events k), h.seq + 1) AS oldest \
         FROM events_head h WHERE h.one = 1",
    )
    .fetch_one(connection)
    .await?;
    Ok(row.try_get("oldest")?)
}

/// Whether an event of this mark is kept.
///
/// # Errors
/// Those of the database.
pub(crate) async fn is_kept(connection: &mut AnyConnection, mark: Mark) -> Result<bool, Error> {
    let row = sqlx::query("SELECT COUNT(*) AS n FROM events WHERE seq = $1 AND at_ms = $2")
        .bind(mark.seq)
        .bind(mark.at_ms)
        .fetch_one(connection)
        .await?;
    Ok(row.try_get::<i64, _>("n")? > 0)
}

/// Whether somebody may hear any event at all.
///
/// # Errors
/// Those of the database.
pub(crate) async fn may_hear(
    connection: &mut AnyConnection,
    subject: &Subject,
) -> Result<bool, Error> {
    let mut rights: Vec<Right> = Kind::ALL.iter().map(|kind| kind.right()).collect();
    rights.sort_unstable();
    rights.dedup();
    for right in rights {
        if rights::holds_anywhere(connection, subject, right).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How far what is written has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heads {
    /// The last event.
    pub last: Mark,
    /// The number of the oldest that is kept, or of the next where none is.
    pub oldest: i64,
    /// The last entry of the record: rights, sessions and tokens may have changed with it.
    pub record: i64,
}

/// Follows what is written.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    heads: watch::Sender<Option<Heads>>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            heads: watch::channel(None).0,
        }
    }
}

impl Events {
    /// How far it has come, now and at each change; nothing until the database was there.
    pub(crate) fn heads(&self) -> watch::Receiver<Option<Heads>> {
        self.heads.subscribe()
    }

    /// Follows the rows, and forgets old ones. Never ends.
    pub(crate) async fn follow(self, store: Store) {
        store.ready().await;
        let mut looks = 0;
        loop {
            if looks % LOOKS_PER_ROUND == 0
                && let Err(error) = forget(&store).await
            {
                debug!(error = store::chain(&error), "old events are not forgotten");
            }
            looks = looks.wrapping_add(1);
            match heads(&store).await {
                Ok(now) => {
                    self.heads.send_if_modified(|heads| {
                        let differs = *heads != Some(now);
                        *heads = Some(now);
                        differs
                    });
                }
                Err(error) => debug!(error = store::chain(&error), "no events to be read"),
            }
            sleep(LOOK).await;
        }
    }
}

async fn heads(store: &Store) -> Result<Heads, Error> {
    let row = sqlx::query(
        "SELECT e.seq, e.at_ms, COALESCE((SELECT MIN(k.seq) FROM events k), e.seq + 1) AS oldest, \
         a.seq AS record FROM events_head e JOIN audit_head a ON a.one = e.one WHERE e.one = 1",
    )
    .fetch_one(store.pool()?)
    .await?;
    Ok(Heads {
        last: Mark {
            seq: row.try_get("seq")?,
            at_ms: row.try_get("at_ms")?,
        },
        oldest: row.try_get("oldest")?,
        record: row.try_get("record")?,
    })
}

/// Forgets events that are too old or too many, and answers that are too old.
async fn forget(store: &Store) -> Result<(), Error> {
    let mut tx = store.begin().await?;
    sqlx::query(
        "DELETE FROM events WHERE at_ms < $1 \
         OR seq <= (SELECT h.seq FROM events_head h WHERE h.one = 1) - $2",
    )
    .bind(now_ms() - KEPT_MS)
    .bind(MAX_KEPT)
    .execute(&mut *tx)
    .await?;
    once::forget(&mut tx).await?;
    Ok(tx.commit().await?)
}
