//! Who enters a room as somebody: a person who is logged in and holds the right to.

use mcu_api::manager::Person;
use mcu_api::secret::Redacted;
use sqlx::Row;
use tracing::warn;

use crate::api::rooms;
use crate::rights::{Right, Subject};
use crate::store::{self, Error};
use crate::{State, sessions};

/// Whom a session stands for, if it goes on and its person may enter the room of this number. Without
/// a database nobody is known, and enters as a guest does.
pub(crate) async fn who(state: &State, session: &str, number: &str) -> Option<Person> {
    let found = find(state, session, number).await;
    found.unwrap_or_else(|error| {
        let error = store::chain(&error);
        warn!(error, "nobody can prove who enters");
        None
    })
}

async fn find(state: &State, session: &str, number: &str) -> Result<Option<Person>, Error> {
    let Some(person) = sessions::person_of(&state.store, session).await? else {
        return Ok(None);
    };
    let mut connection = state.store.pool()?.acquire().await?;
    let subject = Subject::person(&person.id);
    if !rooms::reaches(&mut connection, state, &subject, number, Right::RoomsJoin).await? {
        return Ok(None);
    }
    let row = sqlx::query("SELECT name FROM people WHERE id = $1")
        .bind(&person.id)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    Ok(Some(Person {
        id: person.id,
        name: Redacted(row.try_get("name")?),
    }))
}
