//! People whom another system proves become people here when they log in first.

use serde_json::json;
use sqlx::{Any, Row, Transaction};
use tracing::{error, warn};

use crate::api::people::{LoginName, Name, NewPerson, insert};
use crate::asker::{Asker, Person};
use crate::audit::{self, Action, Change, Object};
use crate::store::{Error, new_id};

/// Somebody who logs in first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newcomer<'a> {
    pub login: &'a str,
    /// The login, if not given.
    pub name: Option<&'a str>,
    /// What `people.source` is to hold.
    pub source: &'static str,
    /// What `people.subject` is to hold.
    pub subject: Option<&'a str>,
    /// Id of the organisation to belong to; that at the root if not given.
    pub organisation: Option<&'a str>,
}

/// Id of the organisation that a source's people belong to: the configured one, or that at the root.
pub(crate) async fn home(
    tx: &mut Transaction<'static, Any>,
    source: &'static str,
    organisation: Option<&str>,
) -> Result<Option<String>, Error> {
    let home =
        sqlx::query("SELECT id FROM organisations WHERE id = $1 OR ($1 = '' AND parent IS NULL)")
            .bind(organisation.unwrap_or_default())
            .fetch_optional(&mut **tx)
            .await?;
    match home {
        Some(home) => Ok(Some(home.try_get("id")?)),
        None => {
            error!(source, "organisation: there is none with this id");
            Ok(None)
        }
    }
}

/// Makes the person, without a password. None where that cannot be: somebody has the login, or nobody
/// can have it, or there is no such organisation.
pub(crate) async fn make(
    tx: &mut Transaction<'static, Any>,
    asker: &Asker,
    who: Newcomer<'_>,
) -> Result<Option<Person>, Error> {
    let Some(home) = home(tx, who.source, who.organisation).await? else {
        return Ok(None);
    };
    let name = who.name.unwrap_or(who.login).to_owned();
    let names = (
        LoginName::try_from(who.login.to_owned()),
        Name::try_from(name),
    );
    let (Ok(login), Ok(name)) = names else {
        warn!(
            source = who.source,
            "a login or a name that nobody can have here"
        );
        return Ok(None);
    };
    let person = Person {
        id: new_id(),
        login: login.as_str().to_owned(),
        organisation: home.clone(),
        session: new_id(),
        by_token: false,
    };
    let new = NewPerson {
        organisation: home,
        login,
        name,
        password: None,
    };
    // Two first logins at a time: the second finds the login taken, and its next try finds the person.
    if insert(tx, &person.id, &new, None).await.is_err() {
        return Ok(None);
    }
    sqlx::query("UPDATE people SET source = $2, subject = $3 WHERE id = $1")
        .bind(&person.id)
        .bind(who.source)
        .bind(who.subject)
        .execute(&mut **tx)
        .await?;
    let change = Change {
        before: None,
        after: Some(json!({ "login": person.login, "name": new.name.as_str(),
            "organisation": person.organisation, "source": who.source })),
    };
    let object = Object {
        kind: "person",
        id: Some(&person.id),
        organisation: Some(&person.organisation),
    };
    audit::write(tx, asker, Action::Create, object, change).await?;
    Ok(Some(person))
}
