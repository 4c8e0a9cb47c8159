//! The small picture of a meeting, for those who look after meetings (MGT-01, PRV-07).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, State as StateOf};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use mcu_api::ids::RoomId;
use serde_json::json;
use sqlx::FromRow;
use tokio::sync::Mutex;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Problem;
use super::meeting::PATIENCE;
use crate::State;
use crate::asker::LoggedIn;
use crate::audit::{self, Action, Change, Object};
use crate::rights::{Right, allowed};

/// Who has not looked for so long begins to look anew.
const LOOK_ENDS: Duration = Duration::from_secs(600);
/// Looks that are kept. Full: all are forgotten, and whoever goes on is in the record once more.
const MAX_LOOKS: usize = 10_000;

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(show))
}

/// A file.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
struct Jpeg(#[allow(dead_code)] Vec<u8>);

/// Where a room is, as the record has it.
#[derive(Debug, FromRow)]
struct Home {
    room: Option<String>,
    organisation: String,
}

/// A small picture of a meeting that is running, a few seconds old. One is made only while somebody asks:
/// the first comes some seconds after the first question, and the last is forgotten 15 s after the last one.
/// The right counts at the home of the room, which of a room of the configuration file is the root; a share
/// does not give it. That somebody begins to look is in the record.
#[utoipa::path(get, path = "/meetings/{number}/picture", tag = "rooms", params(("number" = String, Path)),
    extensions(("x-right" = json!("meetings.watch"))),
    responses((status = 200, body = Jpeg, content_type = "image/jpeg"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
async fn show(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(number): Path<String>,
) -> Result<Response, Problem> {
    who.need(&state.store, Right::MeetingsWatch).await?;
    let home = home(&state, &who, &number).await?;
    let home = home.ok_or_else(Problem::not_found)?;
    let still = state.link.still(number.clone(), PATIENCE).await?;
    let (meeting, still) = still.ok_or_else(Problem::not_found)?;
    let seen = Seen {
        number: &number,
        meeting,
        home: &home,
    };
    state.looks.note(&state, &who, seen).await?;
    let kind = [(header::CONTENT_TYPE, "image/jpeg")];
    Ok((kind, still.into_jpeg()).into_response())
}

/// The home of a room that the asker may look at.
async fn home(state: &State, who: &LoggedIn, number: &str) -> Result<Option<Home>, Problem> {
    let home = sqlx::query_as(concat!(
        "SELECT m.id AS room, o.id AS organisation FROM organisations w \
         LEFT JOIN rooms m ON m.number = $3 AND NOT EXISTS \
         (SELECT 1 FROM file_rooms f WHERE f.number = $3) \
         JOIN organisations o ON o.id = COALESCE(m.organisation, w.id) \
         WHERE w.parent IS NULL AND ",
        allowed!()
    ))
    .bind(who.subject.as_str())
    .bind(Right::MeetingsWatch.as_str())
    .bind(number)
    .fetch_optional(state.store.pool()?)
    .await?;
    Ok(home)
}

/// Who looks at which meeting, so that the record has it once and not for each picture. Another life of
/// the server has it once more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Looks(Arc<Mutex<HashMap<Look, Instant>>>);

/// Whose look at what: a person or a token, the number of the room, the meeting in it, and its home.
type Look = (String, String, Option<RoomId>, String);

/// What somebody looks at.
#[derive(Clone, Copy)]
struct Seen<'a> {
    number: &'a str,
    meeting: Option<RoomId>,
    home: &'a Home,
}

impl Looks {
    /// Sees to it that the record has this look before anything is shown.
    async fn note(&self, state: &State, who: &LoggedIn, seen: Seen<'_>) -> Result<(), Problem> {
        let look = (
            who.subject.as_str().to_owned(),
            seen.number.to_owned(),
            seen.meeting,
            seen.home.organisation.clone(),
        );
        // Held until it is written: whoever looks at the same time is shown nothing before.
        let mut looks = self.0.lock().await;
        let now = Instant::now();
        let last = looks.get(&look);
        if last.is_none_or(|last| now.saturating_duration_since(*last) >= LOOK_ENDS) {
            write(state, who, seen).await?;
        }
        if looks.len() >= MAX_LOOKS {
            looks.clear();
        }
        looks.insert(look, now);
        Ok(())
    }

    /// As if nobody had looked for longer than a look lasts.
    #[cfg(test)]
    pub(crate) async fn age(&self) {
        for last in self.0.lock().await.values_mut() {
            *last -= LOOK_ENDS;
        }
    }
}

async fn write(state: &State, who: &LoggedIn, seen: Seen<'_>) -> Result<(), Problem> {
    let home = seen.home;
    let mut tx = state.store.begin().await?;
    let object = Object {
        kind: "meeting",
        id: home.room.as_deref(),
        organisation: Some(&home.organisation),
    };
    let change = Change {
        before: None,
        after: Some(json!({ "number": seen.number, "picture": true })),
    };
    audit::write(&mut tx, &who.asker(), Action::View, object, change).await?;
    tx.commit().await?;
    Ok(())
}
