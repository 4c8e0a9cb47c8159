//! Logins by a directory: its people become people here when they log in first, without a password
//! that is kept, and with the roles of their groups (WS/T 545: SW-04, SW-10).

use mcu_api::secret::Redacted;
use serde_json::json;
use sqlx::{Any, Row, Transaction};
use tracing::warn;

use super::{Directory, Found};
use crate::asker::{Asker, Person};
use crate::audit::{self, Action, Change, Object};
use crate::newcomer::{self, Newcomer};
use crate::sessions::{Proof, count_failure, login_key, note_failure};
use crate::store::{Error, Store, chain, new_id, now_ms};

/// What `people.source` and `grants.source` hold for those of the directory.
pub(crate) const SOURCE: &str = "ldap";

/// Whom a login and a password prove to the directory. What they do not prove is noted.
///
/// # Errors
/// Those of the database. A directory that is away is an answer.
pub(crate) async fn prove(
    store: &Store,
    directory: &Directory,
    asker: &Asker,
    login: &str,
    given: Redacted<String>,
) -> Result<Proof, Error> {
    let found = match directory.find(login.trim()).await {
        Ok(Some(found)) => found,
        // What was typed is not kept: it may be a password.
        Ok(None) => return refuse(store, asker, None, "no such login", Proof::Unknown).await,
        Err(failure) => {
            warn!(error = chain(&failure), "the directory cannot be asked");
            return refuse(store, asker, None, "directory away", Proof::Away).await;
        }
    };
    // Guesses at one login wait for each other, so that each finds those before it counted.
    let login = login_key(&found.login);
    let _turn = directory.turn(&login).await;
    let known = match known(store, &found).await? {
        Known::Locals(person) => {
            let reason = "the directory has the login of a local person";
            return refuse(store, asker, Some(&person), reason, Proof::Refused).await;
        }
        Known::Anothers(person) => {
            let reason = "the login is that of another entry";
            return refuse(store, asker, Some(&person), reason, Proof::Refused).await;
        }
        Known::Locked(person) => {
            return refuse(store, asker, Some(&person), "locked", Proof::Locked).await;
        }
        Known::Nobody if directory.guesses.is_closed(&login) => {
            return refuse(store, asker, None, "locked", Proof::Locked).await;
        }
        Known::Nobody => None,
        Known::Somebody(person, disabled) => Some((person, disabled)),
    };
    let person = known.as_ref().map(|(person, _)| person);
    match directory.verify(&found, given).await {
        Ok(true) => {}
        Ok(false) => {
            let Some(person) = person else {
                // Nobody here yet whose row could count it.
                directory.guesses.is_unknown_closed(&login);
                return refuse(store, asker, None, "wrong password", Proof::Refused).await;
            };
            let mut tx = store.begin().await?;
            count_failure(&mut tx, &person.id).await?;
            tx.commit().await?;
            return refuse(store, asker, Some(person), "wrong password", Proof::Refused).await;
        }
        Err(failure) => {
            warn!(error = chain(&failure), "the directory cannot be asked");
            return refuse(store, asker, person, "directory away", Proof::Away).await;
        }
    }
    if known.as_ref().is_some_and(|(_, disabled)| *disabled) {
        return refuse(store, asker, person, "disabled", Proof::Refused).await;
    }
    admit(
        store,
        directory,
        asker,
        known.map(|(person, _)| person),
        found,
    )
    .await
}

/// Who of the people here has an entry's login.
enum Known {
    Nobody,
    /// Somebody whom the directory does not know.
    Locals(Person),
    /// Somebody whom the directory knew by the same login, and who is another one.
    Anothers(Person),
    Locked(Person),
    /// And whether that person may not log in.
    Somebody(Person, bool),
}

async fn known(store: &Store, found: &Found) -> Result<Known, Error> {
    // Who has the subject comes before who has the login, which may have become somebody else's.
    let row = sqlx::query(
        "SELECT id, organisation, login, source, subject, disabled, locked_until_ms FROM people \
         WHERE subject = $1 OR login_key = $2 \
         ORDER BY CASE WHEN subject = $1 THEN 0 ELSE 1 END LIMIT 1",
    )
    .bind(&found.subject)
    .bind(login_key(&found.login))
    .fetch_optional(store.pool()?)
    .await?;
    let Some(row) = row else {
        return Ok(Known::Nobody);
    };
    let person = Person {
        id: row.try_get("id")?,
        login: row.try_get("login")?,
        organisation: row.try_get("organisation")?,
        session: new_id(),
        by_token: false,
    };
    if row.try_get::<String, _>("source")? != SOURCE {
        return Ok(Known::Locals(person));
    }
    // Who came before subjects were kept has none, and is known by the login this once.
    let subject: Option<String> = row.try_get("subject")?;
    if subject.is_some_and(|subject| subject != found.subject) {
        return Ok(Known::Anothers(person));
    }
    match row.try_get::<i64, _>("locked_until_ms")? > now_ms() {
        true => Ok(Known::Locked(person)),
        false => Ok(Known::Somebody(
            person,
            row.try_get::<i64, _>("disabled")? != 0,
        )),
    }
}

async fn refuse(
    store: &Store,
    asker: &Asker,
    person: Option<&Person>,
    reason: &str,
    proof: Proof,
) -> Result<Proof, Error> {
    let mut tx = store.begin().await?;
    let (id, home) = match person {
        Some(person) => (Some(person.id.as_str()), Some(person.organisation.as_str())),
        None => (None, None),
    };
    note_failure(&mut tx, asker, id, home, reason).await?;
    tx.commit().await?;
    Ok(proof)
}

/// Makes the person where there is none yet, and gives the roles of the groups.
async fn admit(
    store: &Store,
    directory: &Directory,
    asker: &Asker,
    known: Option<Person>,
    found: Found,
) -> Result<Proof, Error> {
    let mut tx = store.begin().await?;
    let person = match known {
        Some(person) => match follow(&mut tx, asker, person, &found).await? {
            Ok(person) => person,
            Err(person) => {
                tx.rollback().await?;
                let reason = "somebody else has the entry's login";
                return refuse(store, asker, Some(&person), reason, Proof::Refused).await;
            }
        },
        None => match newcomer::make(&mut tx, asker, newcomer(directory, &found)).await? {
            Some(person) => person,
            None => {
                tx.rollback().await?;
                let reason = "the directory's entry makes no person";
                return refuse(store, asker, None, reason, Proof::Refused).await;
            }
        },
    };
    write_roles(&mut tx, directory, asker, &person, &found).await?;
    tx.commit().await?;
    Ok(Proof::Person(person))
}

/// Has somebody who was here before follow the entry: to another login, and to a subject where there was
/// none. The person as it was where somebody else has the login.
async fn follow(
    tx: &mut Transaction<'static, Any>,
    asker: &Asker,
    person: Person,
    found: &Found,
) -> Result<Result<Person, Person>, Error> {
    let done = sqlx::query(
        "UPDATE people SET login = $2, login_key = $3, subject = $4 WHERE id = $1 \
         AND NOT EXISTS (SELECT 1 FROM people p WHERE p.login_key = $3 AND p.id <> $1)",
    )
    .bind(&person.id)
    .bind(&found.login)
    .bind(login_key(&found.login))
    .bind(&found.subject)
    .execute(&mut **tx)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(Err(person));
    }
    let now = Person {
        login: found.login.clone(),
        ..person.clone()
    };
    if now.login != person.login {
        let change = Change {
            before: Some(json!({ "login": person.login })),
            after: Some(json!({ "login": now.login, "source": SOURCE })),
        };
        audit::write(tx, asker, Action::Change, object(&now), change).await?;
    }
    Ok(Ok(now))
}

fn newcomer<'a>(directory: &'a Directory, found: &'a Found) -> Newcomer<'a> {
    Newcomer {
        login: &found.login,
        name: found.name.as_deref(),
        source: SOURCE,
        subject: Some(&found.subject),
        organisation: directory.config.organisation.as_deref(),
    }
}

/// Takes the roles of groups that the person left, and gives those of its groups: where the
/// configuration says that the directory's people belong, wherever somebody moved the person since.
/// Roles that somebody here gave stay.
async fn write_roles(
    tx: &mut Transaction<'static, Any>,
    directory: &Directory,
    asker: &Asker,
    person: &Person,
    found: &Found,
) -> Result<(), Error> {
    let is_in = |group: &str| found.groups.iter().any(|g| g.eq_ignore_ascii_case(group));
    let roles = directory.config.roles.iter();
    let mut wanted: Vec<&str> = roles
        .filter(|(group, _)| is_in(group))
        .map(|(_, role)| role.as_str())
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    let home = newcomer::home(tx, SOURCE, directory.config.organisation.as_deref()).await?;
    let held =
        sqlx::query("SELECT id, role, organisation FROM grants WHERE person = $1 AND source = $2")
            .bind(&person.id)
            .bind(SOURCE)
            .fetch_all(&mut **tx)
            .await?;
    for row in held {
        let (id, role, at): (String, String, String) = (
            row.try_get("id")?,
            row.try_get("role")?,
            row.try_get("organisation")?,
        );
        if home.as_ref() == Some(&at) && wanted.contains(&role.as_str()) {
            wanted.retain(|wanted| *wanted != role);
            continue;
        }
        sqlx::query("DELETE FROM grants WHERE id = $1")
            .bind(&id)
            .execute(&mut **tx)
            .await?;
        let change = Change {
            before: Some(told(&role, &at)),
            after: None,
        };
        audit::write(tx, asker, Action::Revoke, object(person), change).await?;
    }
    if let Some(home) = home {
        for role in wanted {
            give(tx, asker, person, role, &home).await?;
        }
    }
    Ok(())
}

async fn give(
    tx: &mut Transaction<'static, Any>,
    asker: &Asker,
    person: &Person,
    role: &str,
    home: &str,
) -> Result<(), Error> {
    let given = sqlx::query(
        "INSERT INTO grants (id, person, role, organisation, effect, created_ms, source) \
         SELECT $1, $2, r.id, $4, 'allow', $5, $6 FROM roles r WHERE r.id = $3 \
         ON CONFLICT DO NOTHING",
    )
    .bind(new_id())
    .bind(&person.id)
    .bind(role)
    .bind(home)
    .bind(now_ms())
    .bind(SOURCE)
    .execute(&mut **tx)
    .await?;
    if given.rows_affected() == 0 {
        // No such role, or somebody here gave it already.
        return Ok(());
    }
    let change = Change {
        before: None,
        after: Some(told(role, home)),
    };
    audit::write(tx, asker, Action::Grant, object(person), change).await
}

fn told(role: &str, organisation: &str) -> serde_json::Value {
    json!({ "role": role, "organisation": organisation, "effect": "allow", "source": SOURCE })
}

fn object(person: &Person) -> Object<'_> {
    Object {
        kind: "person",
        id: Some(&person.id),
        organisation: Some(&person.organisation),
    }
}
