//! Who is in a room by what counts no more is put out: by a session that was ended, a right or a share
//! that was taken, a link for guests that was taken back (WS/T 545: PRV-03, VSEC-03). What the database
//! says is compared with who is in, whatever changed it; while it is away, who is in stays.

use std::time::{Duration, Instant};

use mcu_api::manager::{ControlOutcome, LegAction, Pass, Refusal, Session, Visit};
use serde_json::json;
use sqlx::{AnyConnection, Row};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::State;
use crate::api::rooms;
use crate::asker::Asker;
use crate::audit::{self, Action, Change, Object};
use crate::rights::{Right, Subject};
use crate::store::{self, Error, now_ms};

/// Between two looks at the record, in which each change is.
const LOOK: Duration = Duration::from_secs(1);
/// Between two comparisons without a change: for who was on the way in while something changed.
const COMPARE: Duration = Duration::from_secs(5);
/// For the controller to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// For the controller to act, which it puts off for 3 s while a media processor is awaited.
const ACTING: Duration = Duration::from_secs(5);
/// How precisely it is kept that a session is used by who is in a room.
const SEEN_STEP_MS: i64 = 60 * 1000;

/// Compares for ever.
pub(crate) async fn keep(state: &State) {
    state.store.ready().await;
    let mut known = None;
    let mut compared = Instant::now();
    let mut failed = false;
    loop {
        sleep(LOOK).await;
        let done = async {
            let now = head(state).await?;
            if known != Some(now) || compared.elapsed() >= COMPARE {
                compared = Instant::now();
                compare(state).await?;
                known = Some(now);
            }
            Ok::<_, Error>(())
        };
        match done.await {
            Ok(()) => failed = false,
            Err(error) if !failed => {
                failed = true;
                let error = store::chain(&error);
                warn!(error, "who is in a room cannot be compared with who may");
            }
            Err(_) => {}
        }
    }
}

/// Number of the record's last entry.
async fn head(state: &State) -> Result<i64, Error> {
    let row = sqlx::query("SELECT seq FROM audit_head WHERE one = 1")
        .fetch_one(state.store.pool()?)
        .await?;
    Ok(row.try_get("seq")?)
}

/// Puts out whoever may be in no more.
pub(crate) async fn compare(state: &State) -> Result<(), Error> {
    // Without a controller nobody is in that could be put out.
    let Ok(visits) = state.link.visits(PATIENCE).await else {
        return Ok(());
    };
    for visit in visits {
        let mut connection = state.store.pool()?.acquire().await?;
        let judged = judge(&mut connection, state, &visit).await?;
        drop(connection);
        if let Some(code) = judged {
            put_out(state, &visit, code).await?;
        }
    }
    Ok(())
}

/// Why somebody may be in a room no more.
async fn judge(
    connection: &mut AnyConnection,
    state: &State,
    visit: &Visit,
) -> Result<Option<Refusal>, Error> {
    let (person, session) = match &visit.pass {
        Pass::Link { link } => {
            let open = is_open(connection, link, &visit.room).await?;
            return Ok((!open).then_some(Refusal::LinkRevoked));
        }
        Pass::Login { person, session } => (person, session),
    };
    if let Some(session) = session
        && !goes_on(connection, session).await?
    {
        return Ok(Some(Refusal::SessionEnded));
    }
    let row = sqlx::query("SELECT disabled FROM people WHERE id = $1")
        .bind(person)
        .fetch_optional(&mut *connection)
        .await?;
    let disabled = match row {
        Some(row) => row.try_get::<i64, _>("disabled")? != 0,
        None => true,
    };
    let subject = Subject::person(person);
    let may = !disabled
        && rooms::reaches(connection, state, &subject, &visit.room, Right::RoomsJoin).await?;
    Ok((!may).then_some(Refusal::RightTaken))
}

async fn is_open(connection: &mut AnyConnection, link: &str, number: &str) -> Result<bool, Error> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS n FROM guest_links l JOIN rooms m ON m.id = l.room \
         WHERE l.id = $1 AND m.number = $2 AND l.revoked_ms IS NULL AND m.guest_links = 1",
    )
    .bind(link)
    .bind(number)
    .fetch_one(connection)
    .await?;
    Ok(row.try_get::<i64, _>("n")? > 0)
}

/// Whether nobody ended a session. One that ran out by itself ends no consult; who is in a room uses it.
async fn goes_on(connection: &mut AnyConnection, session: &Session) -> Result<bool, Error> {
    let now = now_ms();
    if session.until_ms <= now {
        return Ok(true);
    }
    let row = sqlx::query("SELECT seen_ms FROM sessions WHERE id = $1")
        .bind(&session.id)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = row else {
        return Ok(false);
    };
    if row.try_get::<i64, _>("seen_ms")? < now - SEEN_STEP_MS {
        sqlx::query("UPDATE sessions SET seen_ms = $2 WHERE id = $1")
            .bind(&session.id)
            .bind(now)
            .execute(connection)
            .await?;
    }
    Ok(true)
}

async fn put_out(state: &State, visit: &Visit, code: Refusal) -> Result<(), Error> {
    let mut tx = state.store.begin().await?;
    let room: Option<(String, String)> =
        sqlx::query_as("SELECT id, organisation FROM rooms WHERE number = $1")
            .bind(&visit.room)
            .fetch_optional(&mut *tx)
            .await?;
    let object = Object {
        kind: "meeting",
        id: room.as_ref().map(|(id, _)| id.as_str()),
        organisation: room.as_ref().map(|(_, organisation)| organisation.as_str()),
    };
    let mut after =
        json!({ "number": visit.room, "leg": visit.leg, "removed": true, "reason": code });
    match &visit.pass {
        Pass::Login { person, .. } => after["person"] = json!(person),
        Pass::Link { link } => after["guest_link"] = json!(link),
    }
    let change = Change {
        before: None,
        after: Some(after),
    };
    audit::write(&mut tx, &Asker::server(), Action::Change, object, change).await?;
    // Before it is done: it may be done later than is waited for.
    tx.commit().await?;
    let (room, action) = (visit.room.clone(), LegAction::Refuse { code });
    let done = state.link.control(room, visit.leg, action, ACTING).await;
    if matches!(done, Ok(ControlOutcome::Done)) {
        info!(leg = %visit.leg, ?code, "put out of a room");
    }
    // Or else it left by itself, or is tried again.
    Ok(())
}
