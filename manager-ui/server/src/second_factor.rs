//! The second factor: a code of the person's authenticator beside the password, or a recovery code in
//! its place (WS/T 545: SW-04, SEC-02).

use serde_json::json;
use sqlx::{Any, Row, Transaction};
use tracing::error;

use crate::asker::{Asker, Person};
use crate::audit::{self, Action, Change, Object};
use crate::seal::Seal;
use crate::store::{Error, chain, now_ms};
use crate::{sessions, totp};

/// What a code proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is right, or none is asked for.
    Passed,
    /// One is asked for, and none was given.
    Wanted,
    /// It is wrong, too old, or was used before.
    Wrong,
    /// Too many wrong codes or passwords: not for some minutes, whatever the code.
    Locked,
    /// The authenticator's secret cannot be read here: only a recovery code helps.
    Unreadable,
}

/// What a secret is sealed for: no other person's row opens with it.
pub(crate) fn purpose(person: &str) -> String {
    format!("authenticator of {person}")
}

/// Whether a code is asked for, and whether this is one. A wrong one counts as a wrong password does.
/// What was counted and noted stands once `tx` is committed, whatever the verdict.
pub(crate) async fn check(
    tx: &mut Transaction<'static, Any>,
    seal: &Seal,
    asker: &Asker,
    person: &Person,
    given: Option<&str>,
) -> Result<Verdict, Error> {
    // Who guesses for the same person at the same time waits here, so that no guess is uncounted.
    let row = sqlx::query(
        "UPDATE people SET failures = failures WHERE id = $1 RETURNING locked_until_ms",
    )
    .bind(&person.id)
    .fetch_one(&mut **tx)
    .await?;
    let locked = row.try_get::<i64, _>("locked_until_ms")? > now_ms();
    let kept =
        sqlx::query("SELECT secret, step FROM authenticators WHERE person = $1 AND confirmed = 1")
            .bind(&person.id)
            .fetch_optional(&mut **tx)
            .await?;
    let (verdict, reason) = match (kept, given) {
        _ if locked => (Verdict::Locked, "locked"),
        (None, _) => return Ok(Verdict::Passed),
        (Some(_), None) => (Verdict::Wanted, "no code"),
        (Some(_), Some(given)) if totp::recovery_code(given).is_some() => {
            match use_recovery_code(tx, asker, person, given).await? {
                true => return Ok(Verdict::Passed),
                false => (Verdict::Wrong, "wrong recovery code"),
            }
        }
        (Some(row), Some(given)) => {
            let (secret, last): (String, i64) = (row.try_get("secret")?, row.try_get("step")?);
            match seal.open(&purpose(&person.id), &secret) {
                Ok(secret) => match totp::step_of(&secret.0, given, now_ms(), last) {
                    Some(step) => {
                        use_step(tx, &person.id, step).await?;
                        return Ok(Verdict::Passed);
                    }
                    None => (Verdict::Wrong, "wrong code"),
                },
                Err(failure) => {
                    error!(
                        error = chain(&failure),
                        "an authenticator's secret is unreadable"
                    );
                    (Verdict::Unreadable, "authenticator unreadable")
                }
            }
        }
    };
    if verdict == Verdict::Wrong {
        sessions::count_failure(tx, &person.id).await?;
    }
    let home = Some(person.organisation.as_str());
    sessions::note_failure(tx, asker, Some(&person.id), home, reason).await?;
    Ok(verdict)
}

/// That a step's code was used: it counts no more.
pub(crate) async fn use_step(
    tx: &mut Transaction<'static, Any>,
    person: &str,
    step: i64,
) -> Result<(), Error> {
    sqlx::query("UPDATE authenticators SET step = $2, confirmed = 1 WHERE person = $1")
        .bind(person)
        .bind(step)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// What is kept of a recovery code.
fn hash_of(person: &str, code: &str) -> Option<String> {
    let code = totp::recovery_code(code)?;
    Some(sessions::hash(&format!("{person} {code}")))
}

async fn use_recovery_code(
    tx: &mut Transaction<'static, Any>,
    asker: &Asker,
    person: &Person,
    given: &str,
) -> Result<bool, Error> {
    let used = sqlx::query("DELETE FROM recovery_codes WHERE person = $1 AND code_hash = $2")
        .bind(&person.id)
        .bind(hash_of(&person.id, given))
        .execute(&mut **tx)
        .await?;
    if used.rows_affected() == 0 {
        return Ok(false);
    }
    let left = recovery_codes_left(tx, &person.id).await?;
    let change = Change {
        before: Some(json!({ "recovery_codes": left + 1 })),
        after: Some(json!({ "recovery_codes": left })),
    };
    audit::write(tx, asker, Action::Change, object(person), change).await?;
    Ok(true)
}

pub(crate) async fn recovery_codes_left(
    tx: &mut Transaction<'static, Any>,
    person: &str,
) -> Result<i64, Error> {
    let row = sqlx::query("SELECT COUNT(*) AS n FROM recovery_codes WHERE person = $1")
        .bind(person)
        .fetch_one(&mut **tx)
        .await?;
    Ok(row.try_get("n")?)
}

/// Keeps new recovery codes in the place of earlier ones; what they are is told once.
pub(crate) async fn new_recovery_codes(
    tx: &mut Transaction<'static, Any>,
    person: &str,
) -> Result<Vec<String>, Error> {
    forget_recovery_codes(tx, person).await?;
    let mut told = Vec::new();
    for code in totp::recovery_codes() {
        sqlx::query("INSERT INTO recovery_codes (person, code_hash) VALUES ($1, $2)")
            .bind(person)
            .bind(hash_of(person, &code.0))
            .execute(&mut **tx)
            .await?;
        told.push(code.0);
    }
    Ok(told)
}

async fn forget_recovery_codes(
    tx: &mut Transaction<'static, Any>,
    person: &str,
) -> Result<(), Error> {
    sqlx::query("DELETE FROM recovery_codes WHERE person = $1")
        .bind(person)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Removes an authenticator and its recovery codes; whether there was one.
pub(crate) async fn remove(
    tx: &mut Transaction<'static, Any>,
    asker: &Asker,
    person: &str,
    organisation: &str,
) -> Result<bool, Error> {
    let removed = sqlx::query("DELETE FROM authenticators WHERE person = $1")
        .bind(person)
        .execute(&mut **tx)
        .await?;
    forget_recovery_codes(tx, person).await?;
    if removed.rows_affected() == 0 {
        return Ok(false);
    }
    let object = Object {
        kind: "authenticator",
        id: Some(person),
        organisation: Some(organisation),
    };
    audit::write(tx, asker, Action::Remove, object, Change::default()).await?;
    Ok(true)
}

/// As the record names it: by whose it is.
pub(crate) fn object(person: &Person) -> Object<'_> {
    Object {
        kind: "authenticator",
        id: Some(&person.id),
        organisation: Some(&person.organisation),
    }
}
