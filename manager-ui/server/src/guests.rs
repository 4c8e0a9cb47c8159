//! Guests who come by a link (WS/T 545: VSEC-03). A link is good for one room, until it runs out, is
//! taken back, or has let in as many as it may.

use std::collections::HashSet;
use std::net::IpAddr;

use mcu_api::manager::{Invited, Refusal, ServerMessage};
use mcu_api::secret::Redacted;
use serde_json::json;
use sqlx::{Any, Row, Transaction};
use tracing::warn;

use crate::State;
use crate::asker::Asker;
use crate::audit::{self, Action, Change, Object};
use crate::sessions::hash;
use crate::store::{self, Error, new_id, now_ms};

/// How long a use waits for its guest to be in. A server that ended meanwhile gives none back.
const WAITS_MS: i64 = 60 * 1000;

/// A page that wants into a room by a link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit<'a> {
    /// What stands in the link.
    pub secret: &'a str,
    /// Number of the room.
    pub number: &'a str,
    /// Token of a leg that it comes back to.
    pub resume: Option<&'a Redacted<String>>,
    /// Where it comes from.
    pub source: IpAddr,
}

/// What one page's connection took of a link and may have to give back.
#[derive(Debug, Default)]
pub(crate) struct Guest {
    taken: Option<Taken>,
    /// A link that lets nobody in any more, by which the page may still come back.
    closed: Option<Link>,
    /// Links by which its coming is in the record.
    noted: HashSet<String>,
}

/// A use of a link, before it is known whether somebody entered by it.
#[derive(Debug)]
struct Taken {
    id: String,
    link: String,
    taken_ms: i64,
    resume: Option<Redacted<String>>,
}

#[derive(Clone, Debug)]
struct Link {
    id: String,
    name: Option<String>,
    organisation: String,
    room: String,
    expires_ms: i64,
    is_off: bool,
}

impl Guest {
    /// Whether the link lets the page in. One that let it in before has it back, even if it lets in
    /// nobody else. `None` where the database is away, and it may be in by its token.
    ///
    /// # Errors
    /// Why it does not. That is noted.
    pub(crate) async fn look(
        &mut self,
        state: &State,
        visit: Visit<'_>,
    ) -> Result<Option<Invited>, Refusal> {
        match self.try_look(state, visit).await {
            Ok(found) => found.map(Some),
            Err(error) => {
                let error = store::chain(&error);
                warn!(error, "no link for guests can be looked at");
                match visit.resume {
                    // Who is in comes back by the token alone.
                    Some(_) => Ok(None),
                    None => Err(Refusal::NoMedia),
                }
            }
        }
    }

    async fn try_look(
        &mut self,
        state: &State,
        visit: Visit<'_>,
    ) -> Result<Result<Invited, Refusal>, Error> {
        self.closed = None;
        let Some(link) = find(state, visit).await? else {
            return refuse(state, visit.source, None, Refusal::LinkWrong)
                .await
                .map(Err);
        };
        let returns = is_known(state, &link, visit).await?;
        let closed = if link.is_off {
            return refuse(state, visit.source, Some(&link), Refusal::LinkRevoked)
                .await
                .map(Err);
        } else if link.expires_ms <= now_ms() {
            Some(Refusal::LinkExpired)
        } else if returns {
            self.come_back(state, &link, visit).await?;
            None
        } else if !self.take(state, &link, visit).await? {
            Some(Refusal::LinkUsedUp)
        } else {
            None
        };
        match closed {
            Some(code) if visit.resume.is_none() => {
                return refuse(state, visit.source, Some(&link), code)
                    .await
                    .map(Err);
            }
            Some(_) => self.closed = Some(link.clone()),
            None => {}
        }
        Ok(Ok(Invited {
            link: link.id,
            name: link.name.map(Redacted),
            closed,
            returns: returns && closed.is_none(),
        }))
    }

    /// Counts one more that the link lets in, if it may. Whoever asks again before it is known what came
    /// of it is counted once.
    async fn take(&mut self, state: &State, link: &Link, visit: Visit<'_>) -> Result<bool, Error> {
        let now = now_ms();
        // Half, so that none is given to others while its guest is on the way in.
        let is_fresh = |taken: &Taken| taken.link == link.id && now - taken.taken_ms < WAITS_MS / 2;
        if self.taken.as_ref().is_some_and(is_fresh) {
            return Ok(true);
        }
        let mut tx = state.store.begin().await?;
        if let Some(taken) = self.taken.take() {
            free(&mut tx, &taken).await?;
        }
        free_waiting(&mut tx, link, now).await?;
        let counted = sqlx::query(
            "UPDATE guest_links SET uses = uses + 1, seen_ms = $2 WHERE id = $1 \
             AND revoked_ms IS NULL AND (max_uses IS NULL OR uses < max_uses)",
        )
        .bind(&link.id)
        .bind(now)
        .execute(&mut *tx)
        .await?;
        if counted.rows_affected() == 0 {
            tx.commit().await?;
            return Ok(false);
        }
        let taken = Taken {
            id: new_id(),
            link: link.id.clone(),
            taken_ms: now,
            resume: visit.resume.cloned(),
        };
        keep(&mut tx, &taken, None).await?;
        self.note_visit(&mut tx, link, visit).await?;
        tx.commit().await?;
        self.noted.insert(link.id.clone());
        self.taken = Some(taken);
        Ok(true)
    }

    /// Counts nothing for whom the link let in before.
    async fn come_back(
        &mut self,
        state: &State,
        link: &Link,
        visit: Visit<'_>,
    ) -> Result<(), Error> {
        self.give_back(state).await?;
        if self.noted.contains(&link.id) {
            return Ok(());
        }
        let mut tx = state.store.begin().await?;
        sqlx::query("UPDATE guest_links SET seen_ms = $2 WHERE id = $1")
            .bind(&link.id)
            .bind(now_ms())
            .execute(&mut *tx)
            .await?;
        self.note_visit(&mut tx, link, visit).await?;
        tx.commit().await?;
        self.noted.insert(link.id.clone());
        Ok(())
    }

    /// Once for each link, however often the page asks.
    async fn note_visit(
        &self,
        tx: &mut Transaction<'static, Any>,
        link: &Link,
        visit: Visit<'_>,
    ) -> Result<(), Error> {
        if !self.noted.contains(&link.id) {
            let told =
                json!({ "number": visit.number, "at_the_door": true, "guest_link": link.id });
            note(tx, visit.source, Action::View, Some(link), told).await?;
        }
        Ok(())
    }

    /// Takes note of what the controller says to the page: who came back, or was refused, has used
    /// nothing.
    pub(crate) async fn hear(&mut self, state: &State, message: &ServerMessage, source: IpAddr) {
        let done = match message {
            ServerMessage::Joined { resume, .. } => match self.taken.take() {
                Some(taken) => entered(state, &taken, resume).await,
                None => Ok(()),
            },
            ServerMessage::Refused { code } => {
                let back = self.give_back(state).await;
                match (code, self.closed.take()) {
                    (Refusal::LinkExpired | Refusal::LinkUsedUp, Some(link)) => {
                        let noted = refuse(state, source, Some(&link), *code).await;
                        back.and(noted.map(drop))
                    }
                    _ => back,
                }
            }
            _ => Ok(()),
        };
        report(done);
    }

    /// The page is gone.
    pub(crate) async fn leave(mut self, state: &State) {
        report(self.give_back(state).await);
    }

    async fn give_back(&mut self, state: &State) -> Result<(), Error> {
        if let Some(taken) = self.taken.take() {
            let mut tx = state.store.begin().await?;
            free(&mut tx, &taken).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}

/// Keeps by which token the guest comes back. One who came back by it already has used nothing.
async fn entered(state: &State, taken: &Taken, token: &Redacted<String>) -> Result<(), Error> {
    let mut tx = state.store.begin().await?;
    // It counts again where it was given to others meanwhile.
    free(&mut tx, taken).await?;
    if taken.resume.as_ref() != Some(token) {
        sqlx::query("UPDATE guest_links SET uses = uses + 1 WHERE id = $1")
            .bind(&taken.link)
            .execute(&mut *tx)
            .await?;
        keep(&mut tx, taken, Some(token)).await?;
    }
    Ok(tx.commit().await?)
}

async fn keep(
    tx: &mut Transaction<'static, Any>,
    taken: &Taken,
    token: Option<&Redacted<String>>,
) -> Result<(), Error> {
    sqlx::query("INSERT INTO guest_uses (id, link, token_hash, taken_ms) VALUES ($1, $2, $3, $4)")
        .bind(&taken.id)
        .bind(&taken.link)
        .bind(token.map(|token| hash(&token.0)))
        .bind(taken.taken_ms)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Gives a use back by which nobody is in.
async fn free(tx: &mut Transaction<'static, Any>, taken: &Taken) -> Result<(), Error> {
    let freed = sqlx::query("DELETE FROM guest_uses WHERE id = $1 AND token_hash IS NULL")
        .bind(&taken.id)
        .execute(&mut **tx)
        .await?;
    count_down(tx, &taken.link, freed.rows_affected()).await
}

/// Gives back what nobody will, since the server ended before its guest was in.
async fn free_waiting(
    tx: &mut Transaction<'static, Any>,
    link: &Link,
    now: i64,
) -> Result<(), Error> {
    let freed = sqlx::query(
        "DELETE FROM guest_uses WHERE link = $1 AND token_hash IS NULL AND taken_ms < $2",
    )
    .bind(&link.id)
    .bind(now - WAITS_MS)
    .execute(&mut **tx)
    .await?;
    count_down(tx, &link.id, freed.rows_affected()).await
}

async fn count_down(tx: &mut Transaction<'static, Any>, link: &str, by: u64) -> Result<(), Error> {
    if by > 0 {
        sqlx::query("UPDATE guest_links SET uses = uses - $2 WHERE id = $1")
            .bind(link)
            .bind(by.cast_signed())
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// Whether the link let in whoever has this token.
async fn is_known(state: &State, link: &Link, visit: Visit<'_>) -> Result<bool, Error> {
    let Some(token) = visit.resume else {
        return Ok(false);
    };
    let row =
        sqlx::query("SELECT COUNT(*) AS n FROM guest_uses WHERE link = $1 AND token_hash = $2")
            .bind(&link.id)
            .bind(hash(&token.0))
            .fetch_one(state.store.pool()?)
            .await?;
    Ok(row.try_get::<i64, _>("n")? > 0)
}

fn report(done: Result<(), Error>) {
    if let Err(error) = done {
        let error = store::chain(&error);
        warn!(error, "the use of a link for guests is not noted");
    }
}

async fn find(state: &State, visit: Visit<'_>) -> Result<Option<Link>, Error> {
    let row = sqlx::query(
        "SELECT l.id, l.name, l.expires_ms, l.revoked_ms, m.id AS room, m.organisation, \
         m.guest_links FROM guest_links l JOIN rooms m ON m.id = l.room \
         WHERE l.secret_hash = $1 AND m.number = $2",
    )
    .bind(hash(visit.secret))
    .bind(visit.number)
    .fetch_optional(state.store.pool()?)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let is_revoked = row.try_get::<Option<i64>, _>("revoked_ms")?.is_some();
    let takes_links = row.try_get::<i64, _>("guest_links")? != 0;
    Ok(Some(Link {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        organisation: row.try_get("organisation")?,
        room: row.try_get("room")?,
        expires_ms: row.try_get("expires_ms")?,
        is_off: is_revoked || !takes_links,
    }))
}

/// Notes that a link let nobody in, and yields what the page is told. A source that goes on trying is
/// told so, and noted no more, until some time has passed.
async fn refuse(
    state: &State,
    source: IpAddr,
    link: Option<&Link>,
    code: Refusal,
) -> Result<Refusal, Error> {
    if !state.guests.take(source) {
        return Ok(Refusal::LinkRefused);
    }
    let mut tx = state.store.begin().await?;
    let told = json!({ "reason": code });
    note(&mut tx, source, Action::LoginFailed, link, told).await?;
    tx.commit().await?;
    Ok(code)
}

async fn note(
    tx: &mut Transaction<'static, Any>,
    source: IpAddr,
    action: Action,
    link: Option<&Link>,
    told: serde_json::Value,
) -> Result<(), Error> {
    let is_visit = action == Action::View;
    let object = Object {
        kind: if is_visit { "meeting" } else { "guest_link" },
        id: link.map(|link| if is_visit { &*link.room } else { &*link.id }),
        organisation: link.map(|link| &*link.organisation),
    };
    let change = Change {
        before: None,
        after: Some(told),
    };
    audit::write(tx, &Asker::unknown(source), action, object, change).await
}
