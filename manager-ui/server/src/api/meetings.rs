//! Meetings that are running, each with its sites and how they fare both ways (MGT-01, MGT-05).

use axum::Json;
use axum::extract::State as StateOf;
use futures_util::{StreamExt, TryStreamExt, stream};
use mcu_api::ids::LegId;
use mcu_api::inventory::{FlowStats, LegState};
use mcu_api::manager::{LegView, Quality, RoomView, SiteKind, Warning};
use mcu_api::secret::Redacted;
use serde::Serialize;
use sqlx::FromRow;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::meeting::PATIENCE;
use super::people::Flag;
use super::rooms::reached;
use super::{Page, Paging, Params, Problem};
use crate::State;
use crate::asker::LoggedIn;
use crate::rights::{Right, allowed};
use crate::store::now_ms;

/// Rooms that the controller is asked for at a time.
const AT_ONCE: usize = 8;

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(list))
}

/// A meeting that is running.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Meeting)]
struct MeetingView {
    /// Number of its room.
    number: String,
    /// Name of the room; none of one of the configuration file.
    name: Option<String>,
    /// Id of the room, where it was made by page or API.
    room: Option<String>,
    /// Id of the organisation whose room it is.
    organisation: String,
    /// When it began.
    since_ms: i64,
    /// Whether the asker may look at its picture.
    may_watch: bool,
    /// Everybody in it, oldest first.
    sites: Vec<SiteView>,
}

/// A site of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MeetingSite)]
struct SiteView {
    #[schema(value_type = u64)]
    leg: LegId,
    #[schema(value_type = String)]
    name: Redacted<String>,
    /// `sip` or `browser`.
    #[schema(value_type = String)]
    kind: SiteKind,
    /// It cannot be heard, whoever wants so.
    audio_muted: bool,
    /// It cannot be seen, whoever wants so.
    video_muted: bool,
    /// It has not entered the PIN.
    waiting: bool,
    /// What comes from it.
    received: WayView,
    /// What goes to it.
    sent: WayView,
    round_trip_ms: Option<u32>,
}

/// How sound and pictures fare one way.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MeetingWay)]
struct WayView {
    quality: Fares,
    bitrate_bps: u32,
    loss_percent: f32,
    jitter_ms: f32,
    /// Of sound alone.
    sound_loss_percent: f32,
    /// Of pictures alone, before lost packets were repaired.
    picture_loss_percent: f32,
    /// Mean opinion score of sound by ITU-T G.107; null where it is not rated.
    mos: Option<f32>,
    /// Time in which its picture stood still for more than 200 ms, since it came.
    frozen_ms: u64,
    /// `delay` (more than 50 ms one way), `jitter` (20 ms), `loss` (5 %).
    #[schema(value_type = Vec<String>)]
    warnings: Vec<Warning>,
}

/// How they fare, by what people notice.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Fares {
    Connecting,
    Good,
    Fair,
    Poor,
    Failed,
}

#[derive(Debug, FromRow)]
struct Running {
    number: String,
    since_ms: i64,
    room: Option<String>,
    name: Option<String>,
    organisation: String,
    #[sqlx(try_from = "i64")]
    may_watch: Flag,
}

/// Meetings that are running, by number, of the rooms that the asker may see. A room of the configuration
/// file is at the root. `q` looks for number and name of the room.
#[utoipa::path(get, path = "/meetings", tag = "rooms", params(Paging),
    extensions(("x-right" = json!("rooms.view"))),
    responses((status = 200, body = Page<MeetingView>), (status = 401, body = Problem), (status = 403, body = Problem), (status = 503, body = Problem)))]
async fn list(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<MeetingView>>, Problem> {
    who.need(&state.store, Right::RoomsView).await?;
    let Page { items, next } = paging
        .page(running(&state, &who, &paging).await?, |row: &Running| {
            row.number.clone()
        });
    let meetings = stream::iter(items).map(async |row| {
        let room = state.link.room(row.number.clone(), PATIENCE).await?;
        Ok::<_, Problem>(room.and_then(|room| shown(row, room)))
    });
    let meetings: Vec<_> = meetings.buffered(AT_ONCE).try_collect().await?;
    // What ended just now is none.
    let items = meetings.into_iter().flatten().collect();
    Ok(Json(Page { items, next }))
}

/// Rooms in which the last told was that somebody is.
async fn running(state: &State, who: &LoggedIn, paging: &Paging) -> Result<Vec<Running>, Problem> {
    let rows = sqlx::query_as(concat!(
        "SELECT t.what AS number, t.since_ms, m.id AS room, m.name, \
         COALESCE(m.organisation, w.id) AS organisation, \
         CAST(CASE WHEN EXISTS (SELECT 1 FROM organisations o \
         WHERE o.id = COALESCE(m.organisation, w.id) AND ",
        allowed!("$6"),
        ") THEN 1 ELSE 0 END AS BIGINT) AS may_watch FROM told t \
         JOIN organisations w ON w.parent IS NULL \
         LEFT JOIN rooms m ON m.number = t.what AND NOT EXISTS \
         (SELECT 1 FROM file_rooms f WHERE f.number = t.what) \
         WHERE t.what > $3 AND (lower(t.what) LIKE $4 ESCAPE '!' \
         OR lower(COALESCE(m.name, '')) LIKE $4 ESCAPE '!') AND ((m.id IS NOT NULL AND ",
        reached!("may_view"),
        ") OR (m.id IS NULL AND EXISTS (SELECT 1 FROM organisations o WHERE o.id = w.id AND ",
        allowed!(),
        "))) ORDER BY t.what LIMIT $5"
    ))
    .bind(who.subject.as_str())
    .bind(Right::RoomsView.as_str())
    .bind(paging.after.as_deref().unwrap_or_default())
    .bind(paging.pattern())
    .bind(paging.rows())
    .bind(Right::MeetingsWatch.as_str())
    .fetch_all(state.store.pool()?)
    .await?;
    Ok(rows)
}

fn shown(row: Running, room: RoomView) -> Option<MeetingView> {
    let longest_s = room.legs.iter().map(|leg| leg.joined_s).max()?;
    // Of one that this server did not see begin, it is known who has been in longest.
    let since_ms = match row.since_ms {
        0 => now_ms() - i64::try_from(longest_s).unwrap_or(0) * 1000,
        told => told,
    };
    Some(MeetingView {
        number: row.number,
        name: row.name,
        room: row.room,
        organisation: row.organisation,
        since_ms,
        may_watch: row.may_watch.0,
        sites: room.legs.into_iter().map(site).collect(),
    })
}

fn site(leg: LegView) -> SiteView {
    let way = |flow: &FlowStats| WayView {
        quality: fares(leg.state, Quality::of(leg.state, flow, leg.round_trip_ms)),
        bitrate_bps: flow.bitrate_bps,
        loss_percent: flow.loss_percent,
        jitter_ms: flow.jitter_ms,
        sound_loss_percent: flow.sound_loss_percent,
        picture_loss_percent: flow.picture_loss_percent,
        mos: flow.mos,
        frozen_ms: flow.frozen_ms,
        warnings: Warning::of(flow, leg.round_trip_ms),
    };
    SiteView {
        leg: leg.site.leg,
        received: way(&leg.received),
        sent: way(&leg.sent),
        name: leg.site.name,
        kind: leg.site.kind,
        audio_muted: leg.site.audio_muted,
        video_muted: leg.site.video_muted,
        waiting: leg.waiting,
        round_trip_ms: leg.round_trip_ms,
    }
}

const fn fares(state: LegState, quality: Quality) -> Fares {
    match (state, quality) {
        (LegState::Failed, _) => Fares::Failed,
        (_, Quality::Connecting) => Fares::Connecting,
        (_, Quality::Good) => Fares::Good,
        (_, Quality::Fair) => Fares::Fair,
        (_, Quality::Poor) => Fares::Poor,
    }
}
