//! What goes on in a room: live figures, and what an operator does to a site (MGT-01).

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State as StateOf};
use axum::http::StatusCode;
use mcu_api::ids::LegId;
use mcu_api::manager::{
    Beyond, CellWish, ControlOutcome, DialOutcome, LayoutWish, LegAction, LegWish,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::accounts::may_be_rung;
use super::room_shape::Layout;
use super::rooms::{self, RoomView, given};
use super::{Body, Problem};
use crate::State;
use crate::asker::LoggedIn;
use crate::audit::{self, Action, Change, Object};
use crate::link::{Away, Unanswered};
use crate::once::{Once, Place};
use crate::rights::{self, Right};

/// For the controller to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// For the controller to act, which it puts off for 3 s while a media processor is awaited.
const ACTING: Duration = Duration::from_secs(5);
/// Longer than any callee may ring.
const RINGING: Duration = Duration::from_secs(150);

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(live))
        .routes(routes!(change, put_out))
        .routes(routes!(ring))
}

/// A room with its live figures.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LiveRoom)]
struct Live {
    /// `number`, `encoders`, `decoders`, `speaker`, `quarantined`, `legs`: see `docs/ref/api.md`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    meeting: mcu_api::manager::RoomView,
    /// How it was made; none for a room of the configuration file.
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<RoomView>,
}

/// A room and everybody in it, with the quality both ways. The room of a demonstration is shown without
/// a login.
#[utoipa::path(get, path = "/rooms/{number}", tag = "rooms", params(("number" = String, Path)),
    extensions(("x-right" = json!("rooms.view"))),
    responses((status = 200, body = Live), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
async fn live(
    StateOf(state): StateOf<State>,
    who: Result<LoggedIn, Problem>,
    Path(number): Path<String>,
) -> Result<Json<Live>, Problem> {
    let room = match state.demo_room.as_deref() == Some(&number) {
        true => None,
        false => shown(&state, &who?, &number).await?,
    };
    match state.link.room(number, PATIENCE).await {
        Ok(Some(meeting)) => Ok(Json(Live { meeting, room })),
        Ok(None) => Err(Problem::not_found()),
        Err(away) => Err(away.into()),
    }
}

/// How the room was made, if the asker may see it.
async fn shown(state: &State, who: &LoggedIn, number: &str) -> Result<Option<RoomView>, Problem> {
    let mut connection = state.store.pool()?.acquire().await?;
    let subject = &who.subject;
    if state.file.has_room(number)
        && rooms::reaches(&mut connection, state, subject, number, Right::RoomsView).await?
    {
        return Ok(None);
    }
    rooms::seen(&mut connection, who, number).await.map(Some)
}

/// How a site is to be; nothing changes of what is left out.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = LegChanges)]
#[serde(deny_unknown_fields)]
struct Changes {
    /// It is not heard, whatever it wants itself.
    audio_silenced: Option<bool>,
    /// It is not seen, whatever it wants itself.
    video_silenced: Option<bool>,
    /// What a terminal sees, whatever others do; that of the room if null.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Layout>)]
    layout: Option<Option<Layout>>,
    /// A terminal sees itself.
    self_view: Option<bool>,
    /// Cell of the room's picture in which the site is shown whoever speaks, the first being 0; where the
    /// layout has it if null.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u8>, maximum = 24)]
    cell: Option<Option<u8>>,
}

impl Changes {
    fn wish(&self) -> Result<LegWish, Problem> {
        let layouts = mcu_api::layout::Layout::all();
        let cells = layouts.map(mcu_api::layout::Layout::max_tiles).max();
        let is_there = |cell| cells.is_some_and(|cells| usize::from(cell) < cells);
        if self.cell.flatten().is_some_and(|cell| !is_there(cell)) {
            let title = "No layout has so many cells";
            let refused = super::problem(StatusCode::UNPROCESSABLE_ENTITY, title);
            return Err(refused.at(Some("/cell".into())));
        }
        Ok(LegWish {
            audio: self.audio_silenced,
            video: self.video_silenced,
            layout: self.layout.map(|layout| match layout {
                None => LayoutWish::Room,
                Some(layout) => LayoutWish::Own(layout.into()),
            }),
            without_self: self.self_view.map(|is_shown| !is_shown),
            cell: self.cell.map(|cell| match cell {
                None => CellWish::Any,
                Some(cell) => CellWish::Number(cell),
            }),
        })
    }

    /// For the record: what was asked for.
    fn told(&self, leg: LegId) -> Value {
        let mut told = json!({ "leg": leg });
        let mut tell = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                told[name] = value;
            }
        };
        tell("audio_silenced", self.audio_silenced.map(Value::from));
        tell("video_silenced", self.video_silenced.map(Value::from));
        let layout = self.layout.map(|layout| layout.map(Layout::as_str));
        tell("layout", layout.map(Value::from));
        tell("self_view", self.self_view.map(Value::from));
        // As people count.
        let cell = self.cell.map(|cell| cell.map(|cell| u16::from(cell) + 1));
        tell("cell", cell.map(Value::from));
        told
    }
}

/// Have a site not be heard or seen, whatever it wants itself; say where it is seen, and what it sees
/// itself (MCU-12, MCU-13).
#[utoipa::path(patch, path = "/rooms/{number}/legs/{leg}", tag = "rooms", params(("number" = String, Path), ("leg" = u64, Path)), request_body = Changes,
    extensions(("x-right" = json!("rooms.control"))),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
async fn change(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path((number, leg)): Path<(String, String)>,
    Body(wanted): Body<Changes>,
) -> Result<StatusCode, Problem> {
    let leg = numbered(&leg)?;
    let (action, told) = (LegAction::Set(wanted.wish()?), wanted.told(leg));
    control(&state, &who, &number, (leg, action), told).await
}

/// Put a site out of a room.
#[utoipa::path(delete, path = "/rooms/{number}/legs/{leg}", tag = "rooms", params(("number" = String, Path), ("leg" = u64, Path)),
    extensions(("x-right" = json!("rooms.control"))),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
async fn put_out(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path((number, leg)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let leg = numbered(&leg)?;
    let told = json!({ "leg": leg, "removed": true });
    control(&state, &who, &number, (leg, LegAction::Remove), told).await
}

pub(super) fn numbered(leg: &str) -> Result<LegId, Problem> {
    leg.parse().map(LegId).map_err(|_| Problem::not_found())
}

async fn control(
    state: &State,
    who: &LoggedIn,
    number: &str,
    (leg, action): (LegId, LegAction),
    told: Value,
) -> Result<StatusCode, Problem> {
    may_control(state, who, number).await?;
    // Before it is done: it may be done later than anybody waits for.
    note(state, who, number, told, &Once::default()).await?;
    let outcome = state.link.control(number.to_owned(), leg, action, ACTING);
    match outcome.await? {
        ControlOutcome::Done => Ok(StatusCode::NO_CONTENT),
        ControlOutcome::NoSuchRoom | ControlOutcome::NoSuchLeg => Err(Problem::not_found()),
    }
}

/// Whom to call.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Call {
    /// User of an account, `sip:USER@ADDRESS`, or a number that the dial plan leads to a trunk. Terminals
    /// of an account are called that might enter the room, or that the asker may see or that is shared to be called.
    #[schema(min_length = 1, max_length = 256)]
    target: String,
}

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
struct Called {
    /// `answered`, `room_full`, `unreachable`, `no_media`, `refused` (with `status`) or `no_answer`.
    outcome: &'static str,
    /// Status of SIP, 300 to 699.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
}

/// Have a room call somebody. The answer comes when the callee has answered, or will not; who does not
/// wait for it sees the callee among the legs.
#[utoipa::path(post, path = "/rooms/{number}/calls", tag = "rooms", params(("number" = String, Path)), request_body = Call,
    extensions(("x-right" = json!("rooms.control")), ("x-once" = json!(true))),
    responses((status = 200, body = Called), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
async fn ring(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    once: Once,
    Path(number): Path<String>,
    Body(call): Body<Call>,
) -> Result<Json<Called>, Problem> {
    may_control(&state, &who, &number).await?;
    if !is_address(&call.target) {
        let title = "That is nobody's number or address";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, title).code("target"));
    }
    let beyond = beyond(&state, &who, &call.target).await?;
    // Before it rings: who waits for no answer is in the record, too.
    let told = json!({ "called": without_pin(&call.target) });
    // It goes on when who asked hangs up, and is known then to who asks again.
    let ringing = async move {
        note(&state, &who, &number, told, &once).await?;
        let called = called(&state, number, (call.target, beyond)).await;
        match &called {
            Ok(called) => {
                once.end(&state.store, Some((StatusCode::OK, called)))
                    .await?
            }
            // Nobody was called.
            Err(NotCalled::NoRoom | NotCalled::Away) => {
                once.end(&state.store, None::<(StatusCode, &Called)>)
                    .await?;
            }
            // It may have rung: that is said instead of ringing twice.
            Err(NotCalled::Lost) => {}
        }
        Ok(Json(called?))
    };
    let rung = tokio::spawn(ringing).await;
    rung.unwrap_or_else(|_| {
        let title = "It is not known what came of it";
        Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, title))
    })
}

async fn called(
    state: &State,
    number: String,
    target: (String, Beyond),
) -> Result<Called, NotCalled> {
    let outcome = state.link.dial(number, target, RINGING).await;
    let outcome = outcome.map_err(|Unanswered { asked }| match asked {
        true => NotCalled::Lost,
        false => NotCalled::Away,
    })?;
    let (outcome, status) = match outcome {
        DialOutcome::Answered => ("answered", None),
        DialOutcome::NoSuchRoom => return Err(NotCalled::NoRoom),
        DialOutcome::RoomFull => ("room_full", None),
        DialOutcome::Unreachable => ("unreachable", None),
        DialOutcome::NoMedia => ("no_media", None),
        DialOutcome::Refused { status } => ("refused", Some(status)),
        DialOutcome::NoAnswer => ("no_answer", None),
    };
    Ok(Called { outcome, status })
}

/// Why it is not known that somebody was called.
enum NotCalled {
    NoRoom,
    /// The controller was not there to be asked.
    Away,
    /// It went away and may have called before.
    Lost,
}

impl From<NotCalled> for Problem {
    fn from(why: NotCalled) -> Self {
        match why {
            NotCalled::NoRoom => Self::not_found(),
            NotCalled::Away => Away.into(),
            NotCalled::Lost => {
                let title = "The controller went away: it may have rung, see who is in the room";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, title).code("call_lost")
            }
        }
    }
}

/// Whose terminals the asker may have called though they are strangers to the room: those of an account
/// that the asker may see, or of all.
async fn beyond(state: &State, who: &LoggedIn, target: &str) -> Result<Beyond, Problem> {
    let mut connection = state.store.pool()?.acquire().await?;
    let (subject, right) = (&who.subject, Right::AccountsView);
    let root: Option<(String,)> =
        sqlx::query_as("SELECT id FROM organisations WHERE parent IS NULL")
            .fetch_optional(&mut *connection)
            .await?;
    if let Some((root,)) = root
        && rights::holds_throughout(&mut connection, subject, right, &root).await?
    {
        return Ok(Beyond::Anybody);
    }
    let user = target.strip_prefix("sip:").unwrap_or(target);
    let user = user.split('@').next().unwrap_or(user);
    Ok(match may_be_rung(&mut connection, who, user).await? {
        true => Beyond::Account(user.to_owned()),
        false => Beyond::Nobody,
    })
}

/// Whether a text may be somebody's number or address.
pub(super) fn is_address(text: &str) -> bool {
    let is_fit = |c: char| !c.is_control() && !c.is_whitespace();
    (1..=256).contains(&text.len()) && text.chars().all(is_fit)
}

/// A number or address as the record has it: a PIN may stand behind `*`, and a password behind `:` in
/// the user part of a URI.
pub(super) fn without_pin(target: &str) -> String {
    // As whoever is called reads it (RFC 3261 §19.1.2), and without what may stand behind the host.
    let target = target
        .replace("%2A", "*")
        .replace("%2a", "*")
        .replace("%3A", ":")
        .replace("%3a", ":");
    let target = target.split([';', '?']).next().unwrap_or_default();
    let (scheme, rest) = match target.split_once(':') {
        Some((scheme, rest)) if matches!(scheme, "sip" | "sips") => (Some(scheme), rest),
        _ => (None, target),
    };
    let (user, host) = match rest.rsplit_once('@') {
        Some((user, host)) => (user, Some(host)),
        None => (rest, None),
    };
    let secret = |c: char| c == '*' || c == ':' && host.is_some();
    let shown = user.split(secret).next().unwrap_or_default();
    let scheme = scheme
        .map(|scheme| format!("{scheme}:"))
        .unwrap_or_default();
    let host = host.map(|host| format!("@{host}")).unwrap_or_default();
    format!("{scheme}{shown}{host}")
}

/// # Errors
/// 404 where the asker does not see the room, 403 where they may not control it.
pub(super) async fn may_control(
    state: &State,
    who: &LoggedIn,
    number: &str,
) -> Result<(), Problem> {
    let mut connection = state.store.pool()?.acquire().await?;
    let (subject, right) = (&who.subject, Right::RoomsControl);
    if rooms::reaches(&mut connection, state, subject, number, right).await? {
        return Ok(());
    }
    let sees = rooms::reaches(&mut connection, state, subject, number, Right::RoomsView).await?;
    match sees || !rights::holds_anywhere(&mut connection, subject, right).await? {
        true => Err(Problem::missing(right)),
        false => Err(Problem::not_found()),
    }
}

pub(super) async fn note(
    state: &State,
    who: &LoggedIn,
    number: &str,
    told: Value,
    once: &Once,
) -> Result<(), Problem> {
    let mut tx = state.store.begin().await?;
    let home: Option<(String, String)> = sqlx::query_as(
        "SELECT m.id, m.organisation FROM rooms m WHERE m.number = $1 \
         AND NOT EXISTS (SELECT 1 FROM file_rooms f WHERE f.number = $1)",
    )
    .bind(number)
    .fetch_optional(&mut *tx)
    .await?;
    let object = Object {
        kind: "meeting",
        id: home.as_ref().map(|(id, _)| id.as_str()),
        organisation: home.as_ref().map(|(_, organisation)| organisation.as_str()),
    };
    let mut after = told;
    after["number"] = json!(number);
    let change = Change {
        before: None,
        after: Some(after),
    };
    audit::write(&mut tx, &who.asker(), Action::Change, object, change).await?;
    once.begin(&mut tx, Place::Room(number)).await?;
    tx.commit().await?;
    Ok(())
}

impl From<Away> for Problem {
    fn from(_: Away) -> Self {
        let title = "The conference controller is away";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, title).code("controller_away")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Defect: the PIN of a room elsewhere stood in the record when it was called with the number.
    #[test]
    fn no_pin_stands_in_the_record() {
        for (target, shown) in [
            ("or-1", "or-1"),
            ("4000*471147", "4000"),
            ("sip:4000*471147@10.0.0.5:5060", "sip:4000@10.0.0.5:5060"),
            (
                "sips:ward:secret@[2001:db8::5];x=1",
                "sips:ward@[2001:db8::5]",
            ),
            ("sip:4000%2A471147@h", "sip:4000@h"),
            ("sip:ward%3asecret@h?x=secret", "sip:ward@h"),
            ("sip:10.0.0.5:5070", "sip:10.0.0.5:5070"),
        ] {
            assert_eq!(without_pin(target), shown);
        }
    }
}
