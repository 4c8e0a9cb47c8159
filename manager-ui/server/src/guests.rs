//! Guests who come by a link (WS/T 545: VSEC-03). A link is good for one room, until it runs out, is
//! taken back, or has let in as many as it may.

use std::net::IpAddr;

use mcu_api::manager::{Invited, Refusal, ServerMessage};
use mcu_api::secret::Redacted;
use serde_json::json;
use sqlx::Row;
use tracing::warn;

use crate::State;
use crate::asker::Asker;
use crate::audit::{self, Action, Change, Object};
use crate::sessions::hash;
use crate::store::{self, Error, now_ms};

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
}

/// A use of a link, before it is known whether somebody entered by it.
#[derive(Debug)]
struct Taken {
    link: String,
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
    /// nobody else.
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
        let closed = if link.is_off {
            return refuse(state, visit.source, Some(&link), Refusal::LinkRevoked)
                .await
                .map(Err);
        } else if link.expires_ms <= now_ms() {
            Some(Refusal::LinkExpired)
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
        }))
    }

    /// Counts one more that the link lets in, if it may. Whoever asks again before it is known what came
    /// of it is counted once.
    async fn take(&mut self, state: &State, link: &Link, visit: Visit<'_>) -> Result<bool, Error> {
        if self
            .taken
            .as_ref()
            .is_some_and(|taken| taken.link == link.id)
        {
            return Ok(true);
        }
        self.give_back(state).await?;
        let mut tx = state.store.begin().await?;
        let taken = sqlx::query(
            "UPDATE guest_links SET uses = uses + 1, seen_ms = $2 WHERE id = $1 \
             AND revoked_ms IS NULL AND (max_uses IS NULL OR uses < max_uses)",
        )
        .bind(&link.id)
        .bind(now_ms())
        .execute(&mut *tx)
        .await?;
        if taken.rows_affected() == 0 {
            return Ok(false);
        }
        let told = json!({ "number": visit.number, "at_the_door": true, "guest_link": link.id });
        note(&mut tx, visit.source, Action::View, Some(link), told).await?;
        tx.commit().await?;
        self.taken = Some(Taken {
            link: link.id.clone(),
            resume: visit.resume.cloned(),
        });
        Ok(true)
    }

    /// Takes note of what the controller says to the page: who came back, or was refused, has used
    /// nothing.
    pub(crate) async fn hear(&mut self, state: &State, message: &ServerMessage, source: IpAddr) {
        let done = match message {
            ServerMessage::Joined { resume, .. } => {
                let taken = self.taken.as_ref();
                let came_back = taken.is_some_and(|taken| taken.resume.as_ref() == Some(resume));
                match came_back {
                    true => self.give_back(state).await,
                    false => {
                        self.taken = None;
                        Ok(())
                    }
                }
            }
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
            sqlx::query("UPDATE guest_links SET uses = uses - 1 WHERE id = $1 AND uses > 0")
                .bind(taken.link)
                .execute(state.store.pool()?)
                .await?;
        }
        Ok(())
    }
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
    Ok(Some(Link {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        organisation: row.try_get("organisation")?,
        room: row.try_get("room")?,
        expires_ms: row.try_get("expires_ms")?,
        is_off: is_revoked || row.try_get::<i64, _>("guest_links")? == 0,
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
    tx: &mut sqlx::Transaction<'static, sqlx::Any>,
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
