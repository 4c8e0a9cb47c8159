//! Rooms: where they belong, who may enter (WS/T 545: MGT-01, MGT-05, VSEC-03).
//!
//! A room of the configuration file belongs to the organisation at the root; it is shown and controlled
//! here, and changed in its file.

use axum::Json;
use axum::extract::{Path, State as StateOf};
use axum::http::StatusCode;
use mcu_api::directory::MAX_ROOMS;
use mcu_api::secret::Redacted;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use sqlx::{Any, AnyConnection, FromRow, Row, Transaction};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::meeting::PATIENCE;
use super::people::{Flag, Name, need_at};
use super::room_shape::{Layout, MaxFrameRate, MaxHeight, MaxLegs};
use super::{Body, Page, Paging, Params, Problem};
use crate::State;
use crate::asker::LoggedIn;
use crate::audit::{self, Action, Change, Object};
use crate::directory;
use crate::once::{Once, Place};
use crate::rights::{self, Right, Subject, allowed};
use crate::store::{Error, new_id, now_ms};

/// SQL that is true where person `$1` holds the right `$2` at the home of the room `m`, or at an
/// organisation that it is shared with to this end.
macro_rules! reached {
    ($share:literal) => {
        concat!(
            "(EXISTS (SELECT 1 FROM organisations o WHERE o.id = m.organisation AND ",
            allowed!(),
            ") OR EXISTS (SELECT 1 FROM room_shares h JOIN organisations o ON o.id = h.organisation \
             WHERE h.room = m.id AND h.",
            $share,
            " = 1 AND ",
            allowed!(),
            "))"
        )
    };
}

pub(super) use reached;

/// SQL for how many rooms of the number `$3` are so reached.
macro_rules! counted {
    ($share:literal) => {
        concat!(
            "SELECT COUNT(*) AS n FROM rooms m WHERE m.number = $3 AND ",
            reached!($share)
        )
    };
}

/// SQL for all that is told of the rooms `m` that were made.
macro_rules! columns {
    () => {
        concat!("SELECT m.* FROM (", made!(), ") m ")
    };
}

/// SQL for the rooms that were made, as they are shown. The file's holds where it has the number, too.
macro_rules! made {
    () => {
        "SELECT r.id, r.organisation, r.number, r.name, r.guests, r.guest_links, r.srtp, \
         CAST(CASE WHEN r.pin IS NULL THEN 0 ELSE 1 END AS BIGINT) AS has_pin, \
         CAST(CASE WHEN r.guest_pin IS NULL THEN 0 ELSE 1 END AS BIGINT) AS has_guest_pin, \
         r.layout, r.captions, r.max_frame_rate, r.max_height, r.max_legs, CAST(0 AS BIGINT) AS of_file, \
         CAST(CASE WHEN EXISTS (SELECT 1 FROM file_rooms f WHERE f.number = r.number) \
         THEN 0 ELSE 1 END AS BIGINT) AS in_force, r.number AS place FROM rooms r"
    };
}

/// SQL for those of the configuration file, which are at the root. No number of one that was made is
/// like their place in the list.
macro_rules! of_file {
    () => {
        "SELECT 'file:' || f.number AS id, t.id AS organisation, f.number, '' AS name, f.guests, \
         CAST(0 AS BIGINT) AS guest_links, f.srtp, f.has_pin, f.has_guest_pin, f.layout, \
         f.captions, f.max_frame_rate, f.max_height, f.max_legs, CAST(1 AS BIGINT) AS of_file, CAST(1 AS BIGINT) AS in_force, \
         f.number || '/' AS place FROM file_rooms f JOIN organisations t ON t.parent IS NULL"
    };
}

/// SQL for all of both.
macro_rules! all_columns {
    () => {
        concat!(
            "SELECT m.* FROM (",
            made!(),
            " UNION ALL ",
            of_file!(),
            ") m "
        )
    };
}

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(change, remove))
}

/// What is dialled: 1 to 32 letters and digits of ASCII, `.`, `-` and `_`, but not `.` or `..`, which are
/// no segments of an address (RFC 3986 §3.3).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(as = RoomNumber, value_type = String, pattern = "^[0-9A-Za-z._-]{1,32}$")]
pub(crate) struct Number(String);

impl Number {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Number {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match is_dialable(&text) && text.len() <= 32 && text != "." && text != ".." {
            true => Ok(Self(text)),
            false => Err("a number has 1 to 32 letters, digits, dots, dashes or underscores"),
        }
    }
}

/// Whether a text can be dialled as it is, by any terminal and as part of an address.
pub(crate) fn is_dialable(text: &str) -> bool {
    let is_known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    !text.is_empty() && text.bytes().all(is_known)
}

/// 4 to 16 digits. It is told to nobody again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, pattern = "^[0-9]{4,16}$")]
pub(crate) struct Pin(Redacted<String>);

impl TryFrom<String> for Pin {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        match digits && (4..=16).contains(&text.len()) {
            true => Ok(Self(Redacted(text))),
            false => Err("a PIN has 4 to 16 digits"),
        }
    }
}

/// Whether media of terminals is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Srtp {
    Off,
    #[default]
    Allowed,
    Required,
}

impl Srtp {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Allowed => "allowed",
            Self::Required => "required",
        }
    }
}

/// One room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, FromRow, ToSchema)]
#[schema(as = Room)]
pub(crate) struct RoomView {
    pub id: String,
    /// Id of the organisation whose room it is.
    pub organisation: String,
    /// What is dialled.
    pub number: String,
    pub name: String,
    /// Whether somebody who proved nothing may enter, by a PIN.
    #[sqlx(try_from = "i64")]
    pub guests: Flag,
    /// Whether links let guests in.
    #[sqlx(try_from = "i64")]
    pub guest_links: Flag,
    /// `off`, `allowed` or `required`: whether media of terminals is encrypted.
    pub srtp: String,
    /// Everybody is asked for a PIN.
    #[sqlx(try_from = "i64")]
    pub has_pin: Flag,
    /// Guests are asked for a PIN of their own.
    #[sqlx(try_from = "i64")]
    pub has_guest_pin: Flag,
    /// Name of a layout: how the picture is composed that terminals get.
    pub layout: String,
    /// That picture has names, and marks of who is muted and who speaks.
    #[sqlx(try_from = "i64")]
    pub captions: Flag,
    /// Tallest picture that is sent to anybody and asked for, in lines.
    pub max_height: Option<i64>,
    /// Most pictures a second of terminals, 30 or 60.
    pub max_frame_rate: i64,
    /// Most sites, where there may be fewer than in other rooms.
    pub max_legs: Option<i64>,
    /// It is in the configuration file, and changed there.
    #[sqlx(try_from = "i64")]
    pub of_file: Flag,
    /// Calls go by it: the configuration file has no room of this number beside it.
    #[sqlx(try_from = "i64")]
    pub in_force: Flag,
}

impl RoomView {
    /// Its place in the list, as the statement has it.
    fn place(&self) -> String {
        match self.of_file.0 {
            true => format!("{}/", self.number),
            false => self.number.clone(),
        }
    }
}

/// Which rooms.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Only the one of this id.
    #[serde(default)]
    id: Option<String>,
}

/// Rooms that the asker may see, by number.
#[utoipa::path(get, path = "/rooms", tag = "rooms", params(Paging, Which),
    extensions(("x-right" = json!("rooms.view"))),
    responses((status = 200, body = Page<RoomView>), (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn list(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Params(paging): Params<Paging>,
    Params(which): Params<Which>,
) -> Result<Json<Page<RoomView>>, Problem> {
    who.need(&state.store, Right::RoomsView).await?;
    let rows = sqlx::query_as::<_, RoomView>(concat!(
        all_columns!(),
        "WHERE ",
        reached!("may_view"),
        " AND m.place > $3 AND (lower(m.name) LIKE $4 ESCAPE '!' \
         OR lower(m.number) LIKE $4 ESCAPE '!') AND ($5 = '' OR m.id = $5) \
         ORDER BY m.place LIMIT $6"
    ))
    .bind(who.subject.as_str())
    .bind(Right::RoomsView.as_str())
    .bind(paging.after.as_deref().unwrap_or_default())
    .bind(paging.pattern())
    .bind(which.id.as_deref().unwrap_or_default())
    .bind(paging.rows())
    .fetch_all(state.store.pool()?)
    .await?;
    Ok(Json(paging.page(rows, RoomView::place)))
}

/// A new room.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewRoom {
    /// Id of the organisation whose room it is.
    organisation: String,
    number: Number,
    name: Name,
    /// Whether somebody who proved nothing may enter, by a PIN.
    #[serde(default)]
    guests: bool,
    /// Whether links let guests in.
    #[serde(default)]
    guest_links: bool,
    #[serde(default)]
    srtp: Srtp,
    /// Asked of everybody.
    pin: Option<Pin>,
    /// Asked of guests instead.
    guest_pin: Option<Pin>,
    #[serde(default)]
    layout: Layout,
    /// Whether the picture of terminals has names, and marks of who is muted and who speaks.
    #[serde(default = "with_captions")]
    captions: bool,
    max_height: Option<MaxHeight>,
    #[serde(default)]
    max_frame_rate: MaxFrameRate,
    max_legs: Option<MaxLegs>,
}

const fn with_captions() -> bool {
    true
}

/// Make a room. It can be dialled as soon as the answer is here.
#[utoipa::path(post, path = "/rooms", tag = "rooms", request_body = NewRoom,
    extensions(("x-right" = json!("rooms.manage")), ("x-once" = json!(true))),
    responses((status = 201, body = RoomView), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
async fn create(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    once: Once,
    Body(new): Body<NewRoom>,
) -> Result<(StatusCode, Json<RoomView>), Problem> {
    let mut tx = state.store.begin().await?;
    need_at(&mut tx, &who, Right::RoomsManage, &new.organisation).await?;
    refuse_taken(&state, &new.number.0)?;
    refuse_too_many(&mut tx).await?;
    let made = RoomView {
        id: new_id(),
        organisation: new.organisation,
        number: new.number.0,
        name: new.name.as_str().to_owned(),
        guests: Flag(new.guests),
        guest_links: Flag(new.guest_links),
        srtp: new.srtp.as_str().to_owned(),
        has_pin: Flag(new.pin.is_some()),
        has_guest_pin: Flag(new.guest_pin.is_some()),
        layout: new.layout.as_str().to_owned(),
        captions: Flag(new.captions),
        max_height: new.max_height.map(i64::from),
        max_frame_rate: new.max_frame_rate.into(),
        max_legs: new.max_legs.map(i64::from),
        of_file: Flag(false),
        in_force: Flag(true),
    };
    refuse_contradiction(&made)?;
    let done = sqlx::query(
        "INSERT INTO rooms (id, organisation, number, name, guests, srtp, pin, guest_pin, created_ms, \
         guest_links, layout, max_height, max_legs, captions, max_frame_rate) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    )
    .bind(&made.id)
    .bind(&made.organisation)
    .bind(&made.number)
    .bind(&made.name)
    .bind(i64::from(new.guests))
    .bind(&made.srtp)
    .bind(new.pin.map(|pin| pin.0.0))
    .bind(new.guest_pin.map(|pin| pin.0.0))
    .bind(now_ms())
    .bind(i64::from(new.guest_links))
    .bind(&made.layout)
    .bind(made.max_height)
    .bind(made.max_legs)
    .bind(i64::from(new.captions))
    .bind(made.max_frame_rate)
    .execute(&mut *tx)
    .await;
    done.map_err(number_taken)?;
    note(
        &mut tx,
        &who,
        Action::Create,
        None,
        Some(shown(&made)),
        &made,
    )
    .await?;
    let home = Place::Organisation(&made.organisation);
    once.keep(&mut tx, home, StatusCode::CREATED, &made).await?;
    commit(&state, tx).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// What is to change; `null` takes a PIN or a bound away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RoomChanges)]
struct Changes {
    /// Another organisation whose room it is.
    organisation: Option<String>,
    number: Option<Number>,
    name: Option<Name>,
    guests: Option<bool>,
    /// Whoever is in by a link is put out where it is no more.
    guest_links: Option<bool>,
    srtp: Option<Srtp>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Pin>)]
    pin: Option<Option<Pin>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Pin>)]
    guest_pin: Option<Option<Pin>>,
    layout: Option<Layout>,
    captions: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<MaxHeight>)]
    max_height: Option<Option<MaxHeight>>,
    max_frame_rate: Option<MaxFrameRate>,
    /// Who is in already stays.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<MaxLegs>)]
    max_legs: Option<Option<MaxLegs>>,
}

/// A field that is there, `null` or not.
pub(super) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Change a room. Who is in it stays; its door is another from then on. Its number changes only while
/// nobody is in it.
#[utoipa::path(patch, path = "/rooms/{number}", tag = "rooms", params(("number" = String, Path)), request_body = Changes,
    extensions(("x-right" = json!("rooms.manage"))),
    responses((status = 200, body = RoomView), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
async fn change(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(number): Path<String>,
    Body(changes): Body<Changes>,
) -> Result<Json<RoomView>, Problem> {
    if changes.number.as_ref().is_some_and(|new| new.0 != number) {
        refuse_occupied(&state, &who, &number).await?;
    }
    let mut tx = state.store.begin().await?;
    let before = managed(&mut tx, &who, &number).await?;
    let mut after = changed(&before, &changes);
    if after.organisation != before.organisation {
        need_at(&mut tx, &who, Right::RoomsManage, &after.organisation).await?;
    }
    if after.number != before.number {
        refuse_taken(&state, &after.number)?;
        after.in_force = Flag(true);
    }
    refuse_contradiction(&after)?;
    let done = sqlx::query(
        "UPDATE rooms SET organisation = $2, number = $3, name = $4, guests = $5, srtp = $6, \
         pin = CASE WHEN $7 = 1 THEN $8 ELSE pin END, \
         guest_pin = CASE WHEN $9 = 1 THEN $10 ELSE guest_pin END, guest_links = $11, \
         layout = $12, max_height = $13, max_legs = $14, captions = $15, max_frame_rate = $16 WHERE id = $1",
    )
    .bind(&after.id)
    .bind(&after.organisation)
    .bind(&after.number)
    .bind(&after.name)
    .bind(i64::from(after.guests.0))
    .bind(&after.srtp)
    .bind(i64::from(changes.pin.is_some()))
    .bind(text(&changes.pin))
    .bind(i64::from(changes.guest_pin.is_some()))
    .bind(text(&changes.guest_pin))
    .bind(i64::from(after.guest_links.0))
    .bind(&after.layout)
    .bind(after.max_height)
    .bind(after.max_legs)
    .bind(i64::from(after.captions.0))
    .bind(after.max_frame_rate)
    .execute(&mut *tx)
    .await;
    done.map_err(number_taken)?;
    let mut told = shown(&after);
    if changes.pin.is_some() || changes.guest_pin.is_some() {
        told["pin_set_anew"] = json!(true);
    }
    note(
        &mut tx,
        &who,
        Action::Change,
        Some(shown(&before)),
        Some(told),
        &after,
    )
    .await?;
    commit(&state, tx).await?;
    Ok(Json(after))
}

fn changed(before: &RoomView, changes: &Changes) -> RoomView {
    let mut after = before.clone();
    if let Some(organisation) = &changes.organisation {
        after.organisation.clone_from(organisation);
    }
    if let Some(number) = &changes.number {
        after.number.clone_from(&number.0);
    }
    if let Some(name) = &changes.name {
        after.name = name.as_str().to_owned();
    }
    if let Some(guests) = changes.guests {
        after.guests = Flag(guests);
    }
    if let Some(guest_links) = changes.guest_links {
        after.guest_links = Flag(guest_links);
    }
    if let Some(srtp) = changes.srtp {
        after.srtp = srtp.as_str().to_owned();
    }
    if let Some(pin) = &changes.pin {
        after.has_pin = Flag(pin.is_some());
    }
    if let Some(pin) = &changes.guest_pin {
        after.has_guest_pin = Flag(pin.is_some());
    }
    if let Some(layout) = changes.layout {
        after.layout = layout.as_str().to_owned();
    }
    if let Some(captions) = changes.captions {
        after.captions = Flag(captions);
    }
    if let Some(max_height) = changes.max_height {
        after.max_height = max_height.map(i64::from);
    }
    if let Some(rate) = changes.max_frame_rate {
        after.max_frame_rate = rate.into();
    }
    if let Some(max_legs) = changes.max_legs {
        after.max_legs = max_legs.map(i64::from);
    }
    after
}

fn text(pin: &Option<Option<Pin>>) -> Option<&str> {
    pin.as_ref()?.as_ref().map(|pin| &*pin.0.0)
}

/// Remove a room. Who is in it is put out.
#[utoipa::path(delete, path = "/rooms/{number}", tag = "rooms", params(("number" = String, Path)),
    extensions(("x-right" = json!("rooms.manage"))),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn remove(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(number): Path<String>,
) -> Result<StatusCode, Problem> {
    let mut tx = state.store.begin().await?;
    let before = managed(&mut tx, &who, &number).await?;
    // Before its shares go with it: with whom it was shared is told, too.
    note(
        &mut tx,
        &who,
        Action::Remove,
        Some(shown(&before)),
        None,
        &before,
    )
    .await?;
    sqlx::query("DELETE FROM rooms WHERE id = $1")
        .bind(&before.id)
        .execute(&mut *tx)
        .await?;
    commit(&state, tx).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Commits a change of what the controller goes by, and waits until it does.
pub(super) async fn commit(
    state: &State,
    mut tx: Transaction<'static, Any>,
) -> Result<(), Problem> {
    let generation = directory::touch(&mut tx).await?;
    tx.commit().await?;
    state.follower.follow(generation).await;
    Ok(())
}

/// The room of this number, if the asker may see it.
///
/// # Errors
/// 404, and 403 for who sees no room at all.
pub(super) async fn seen(
    connection: &mut AnyConnection,
    who: &LoggedIn,
    number: &str,
) -> Result<RoomView, Problem> {
    let row = sqlx::query_as(concat!(
        columns!(),
        "WHERE m.number = $3 AND ",
        reached!("may_view")
    ))
    .bind(who.subject.as_str())
    .bind(Right::RoomsView.as_str())
    .bind(number)
    .fetch_optional(&mut *connection)
    .await?;
    match row {
        Some(row) => Ok(row),
        None => Err(absent(connection, who, Right::RoomsView).await?),
    }
}

/// The room of this number, if the asker may change it. With whom it is shared may not.
///
/// # Errors
/// 404, and 403 for who sees it.
pub(crate) async fn managed(
    connection: &mut AnyConnection,
    who: &LoggedIn,
    number: &str,
) -> Result<RoomView, Problem> {
    let right = Right::RoomsManage;
    let row = sqlx::query_as(concat!(
        columns!(),
        "JOIN organisations o ON o.id = m.organisation WHERE m.number = $3 AND ",
        allowed!()
    ))
    .bind(who.subject.as_str())
    .bind(right.as_str())
    .bind(number)
    .fetch_optional(&mut *connection)
    .await?;
    match row {
        Some(row) => Ok(row),
        None if is_of_file(connection, who, number).await? => {
            let title = "This room is in the configuration file, and changed there";
            Err(Problem::new(StatusCode::CONFLICT, title).code("of_file"))
        }
        None if seen(connection, who, number).await.is_ok() => Err(Problem::missing(right)),
        None => Err(absent(connection, who, right).await?),
    }
}

/// The room of this number, if it is shared with this organisation, whose rooms the asker manages: they end
/// that, whosever it is.
pub(super) async fn received(
    connection: &mut AnyConnection,
    who: &LoggedIn,
    (number, organisation): (&str, &str),
) -> Result<Option<RoomView>, Error> {
    let row = sqlx::query_as(concat!(
        columns!(),
        "WHERE m.number = $3 AND EXISTS (SELECT 1 FROM room_shares h \
         JOIN organisations o ON o.id = h.organisation \
         WHERE h.room = m.id AND h.organisation = $4 AND ",
        allowed!(),
        ")"
    ))
    .bind(who.subject.as_str())
    .bind(Right::RoomsManage.as_str())
    .bind(number)
    .bind(organisation)
    .fetch_optional(connection)
    .await?;
    Ok(row)
}

/// Whether a room of the configuration file has this number that the asker may see.
async fn is_of_file(
    connection: &mut AnyConnection,
    who: &LoggedIn,
    number: &str,
) -> Result<bool, Error> {
    let statement = concat!(
        "SELECT m.number FROM (",
        of_file!(),
        ") m WHERE m.number = $3 AND ",
        reached!("may_view")
    );
    let row = sqlx::query(statement)
        .bind(who.subject.as_str())
        .bind(Right::RoomsView.as_str())
        .bind(number)
        .fetch_optional(&mut *connection)
        .await?;
    Ok(row.is_some())
}

/// What who may not see it is told: that it is not there, unless they hold the right nowhere.
async fn absent(
    connection: &mut AnyConnection,
    who: &LoggedIn,
    right: Right,
) -> Result<Problem, Error> {
    let anywhere = rights::holds_anywhere(connection, &who.subject, right).await?;
    Ok(match anywhere {
        true => Problem::not_found(),
        false => Problem::missing(right),
    })
}

/// Whether a person or token may do this in the room of this number: view it, join it or control it. A room of
/// the configuration file is at the root.
pub(crate) async fn reaches(
    connection: &mut AnyConnection,
    state: &State,
    subject: &Subject,
    number: &str,
    right: Right,
) -> Result<bool, Error> {
    if state.file.has_room(number) {
        let root: Option<(String,)> =
            sqlx::query_as("SELECT id FROM organisations WHERE parent IS NULL")
                .fetch_optional(&mut *connection)
                .await?;
        return match root {
            Some((root,)) => rights::holds(connection, subject, right, &root).await,
            None => Ok(false),
        };
    }
    let statement = match right {
        Right::RoomsControl => counted!("may_control"),
        Right::RoomsJoin => counted!("may_join"),
        _ => counted!("may_view"),
    };
    let row = sqlx::query(statement)
        .bind(subject.as_str())
        .bind(right.as_str())
        .bind(number)
        .fetch_one(connection)
        .await?;
    Ok(row.try_get::<i64, _>("n")? > 0)
}

fn refuse_taken(state: &State, number: &str) -> Result<(), Problem> {
    match state.file.has_room(number) {
        true => {
            let title = "The configuration file has a room of this number";
            Err(Problem::new(StatusCode::CONFLICT, title).code("taken"))
        }
        false => Ok(()),
    }
}

/// A meeting is that of its number: with another one it would end.
async fn refuse_occupied(state: &State, who: &LoggedIn, number: &str) -> Result<(), Problem> {
    let mut connection = state.store.pool()?.acquire().await?;
    managed(&mut connection, who, number).await?;
    drop(connection);
    let meeting = state.link.room(number.to_owned(), PATIENCE).await?;
    match meeting.is_none_or(|meeting| meeting.legs.is_empty()) {
        true => Ok(()),
        false => {
            let title = "Somebody is in the room, who would be put out with its number";
            Err(Problem::new(StatusCode::CONFLICT, title).code("room_in_use"))
        }
    }
}

async fn refuse_too_many(tx: &mut Transaction<'static, Any>) -> Result<(), Problem> {
    let row = sqlx::query("SELECT COUNT(*) AS n FROM rooms")
        .fetch_one(&mut **tx)
        .await?;
    match row.try_get::<i64, _>("n")? < MAX_ROOMS as i64 {
        true => Ok(()),
        false => {
            let title = "There are as many rooms as a server has";
            Err(Problem::new(StatusCode::CONFLICT, title).code("no_more"))
        }
    }
}

/// A PIN for guests of a room that takes none would look like a door, and guests without a PIN would be
/// whoever knows a number.
fn refuse_contradiction(room: &RoomView) -> Result<(), Problem> {
    let has_pin = room.has_pin.0 || room.has_guest_pin.0;
    let (title, code) = match (room.guests.0, room.has_guest_pin.0) {
        (false, true) => (
            "Guests may not enter this room, and need no PIN",
            "no_guests",
        ),
        (true, _) if !has_pin => ("Guests enter by a PIN or by a link", "guests_without_pin"),
        _ => return Ok(()),
    };
    Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, title).code(code))
}

fn number_taken(failure: sqlx::Error) -> Problem {
    Problem::taken(failure, "A room has this number")
}

fn shown(room: &RoomView) -> Value {
    json!({ "number": room.number, "name": room.name, "organisation": room.organisation,
        "guests": room.guests, "guest_links": room.guest_links, "srtp": room.srtp, "has_pin": room.has_pin,
        "has_guest_pin": room.has_guest_pin, "layout": room.layout, "captions": room.captions, "max_height": room.max_height,
        "max_frame_rate": room.max_frame_rate,
        "max_legs": room.max_legs })
}

/// Notes what was done to a room.
pub(super) async fn note(
    tx: &mut Transaction<'static, Any>,
    who: &LoggedIn,
    action: Action,
    before: Option<Value>,
    after: Option<Value>,
    room: &RoomView,
) -> Result<(), Error> {
    let object = Object {
        kind: "room",
        id: Some(&room.id),
        organisation: Some(&room.organisation),
    };
    audit::write(tx, &who.asker(), action, object, Change { before, after }).await
}
