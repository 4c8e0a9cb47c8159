//! Who enters a room as somebody: a person who is logged in and holds the right to.

use std::collections::HashSet;
use std::net::IpAddr;

use mcu_api::manager::{Person, Session};
use mcu_api::secret::Redacted;
use serde_json::json;
use sqlx::{AnyConnection, Row};

use crate::api::rooms;
use crate::asker::{self, Asker};
use crate::audit::{self, Action, Change, Object};
use crate::rights::{Right, Subject};
use crate::sessions::By;
use crate::store::Error;
use crate::{State, sessions};

/// A page that wants into a room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit<'a> {
    /// Secret of the session that it has.
    pub session: &'a str,
    /// Number of the room.
    pub number: &'a str,
    /// Where it comes from.
    pub source: IpAddr,
}

/// Whom the session stands for, if it goes on and its person may enter the room. That is noted (PRV-07),
/// once for each of the rooms in `noted`, however often a page asks.
///
/// # Errors
/// Those of the database, without which nobody is known.
pub(crate) async fn who(
    state: &State,
    visit: Visit<'_>,
    noted: &mut HashSet<String>,
) -> Result<Option<Person>, Error> {
    let Some(person) = sessions::person_of(&state.store, visit.session, By::Somebody).await? else {
        return Ok(None);
    };
    let mut connection = state.store.pool()?.acquire().await?;
    let (subject, number) = (Subject::person(&person.id), visit.number);
    if !rooms::reaches(&mut connection, state, &subject, number, Right::RoomsJoin).await? {
        return Ok(None);
    }
    let Some(known) = known(&mut connection, &person).await? else {
        return Ok(None);
    };
    drop(connection);
    if !noted.contains(visit.number) {
        note(state, person, visit).await?;
        noted.insert(visit.number.to_owned());
    }
    Ok(Some(known))
}

/// Whom the session stands for, wherever that person may enter. Nobody while the database is away.
pub(crate) async fn anybody(state: &State, session: &str) -> Option<Person> {
    let person = sessions::person_of(&state.store, session, By::Somebody)
        .await
        .ok()??;
    let mut connection = state.store.pool().ok()?.acquire().await.ok()?;
    known(&mut connection, &person).await.ok()?
}

/// A person as the controller is told; none where the session has ended meanwhile.
async fn known(
    connection: &mut AnyConnection,
    person: &asker::Person,
) -> Result<Option<Person>, Error> {
    let row = sqlx::query(
        "SELECT p.name, s.created_ms FROM people p JOIN sessions s ON s.person = p.id \
         WHERE p.id = $1 AND s.id = $2",
    )
    .bind(&person.id)
    .bind(&person.session)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    Ok(Some(Person {
        id: person.id.clone(),
        name: Redacted(row.try_get("name")?),
        session: Some(Session {
            id: person.session.clone(),
            until_ms: row.try_get::<i64, _>("created_ms")? + sessions::LONGEST_MS,
        }),
    }))
}

/// The room may still refuse: it is full, or asks for a PIN.
async fn note(state: &State, person: asker::Person, visit: Visit<'_>) -> Result<(), Error> {
    let mut tx = state.store.begin().await?;
    let room: Option<(String, String)> =
        sqlx::query_as("SELECT id, organisation FROM rooms WHERE number = $1")
            .bind(visit.number)
            .fetch_optional(&mut *tx)
            .await?;
    let organisation = room.as_ref().map(|(_, organisation)| organisation.clone());
    let organisation = organisation.unwrap_or_else(|| person.organisation.clone());
    let object = Object {
        kind: "meeting",
        id: room.as_ref().map(|(id, _)| id.as_str()),
        organisation: Some(&organisation),
    };
    let change = Change {
        before: None,
        after: Some(json!({ "number": visit.number, "at_the_door": true })),
    };
    let who = Asker::person(person, visit.source);
    audit::write(&mut tx, &who, Action::View, object, change).await?;
    tx.commit().await?;
    Ok(())
}
