//! People, and which roles they have where (WS/T 545: PRV-02, PRV-04, MGT-04).

use axum::Json;
use axum::extract::{Path, State as StateOf};
use axum::http::StatusCode;
use mcu_api::secret::Redacted;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{Any, AnyConnection, FromRow, Row, Transaction};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Body, Page, Paging, Params, Problem};
use crate::State;
use crate::asker::{Asker, LoggedIn};
use crate::audit::{self, Action, Change, Object};
use crate::once::{Once, Place};
use crate::rights::{self, Right, allowed};
use crate::store::{Error, Store, new_id, now_ms};
use crate::{ldap, password, sessions, tokens};

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, change, remove))
        .routes(routes!(set_password))
        .routes(routes!(list_grants, grant))
        .routes(routes!(revoke))
}

/// A name as people read it, in any script: 1 to 64 characters, none of them invisible.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, min_length = 1, max_length = 64,
    pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u206f\\ufeff]*$")]
pub(crate) struct Name(String);

impl Name {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let text = text.trim();
        let is_visible = |c: char| !c.is_control() && !is_invisible(c);
        match (1..=64).contains(&text.chars().count()) && text.chars().all(is_visible) {
            true => Ok(Self(text.to_owned())),
            false => Err("a name has 1 to 64 visible characters"),
        }
    }
}

/// Characters that show nothing or turn the direction of what follows: two names could look the same.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// What somebody logs in with: 1 to 64 letters and digits of any script, `.`, `-`, `_` and `@`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, min_length = 1, max_length = 64)]
pub(crate) struct LoginName(String);

impl LoginName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for LoginName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_known = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '@');
        match (1..=64).contains(&text.chars().count()) && text.chars().all(is_known) {
            true => Ok(Self(text)),
            false => Err("a login has 1 to 64 letters, digits, dots, dashes, underscores or @"),
        }
    }
}

/// One person.
#[derive(Clone, Debug, Serialize, FromRow, ToSchema)]
pub(crate) struct PersonView {
    pub id: String,
    /// Id of the organisation that the person belongs to.
    pub organisation: String,
    pub login: String,
    pub name: String,
    /// Who proves that it is this person: `local` for the server itself, `ldap` for the directory, `oidc` for the
    /// provider.
    pub source: String,
    /// May not log in.
    #[sqlx(try_from = "i64")]
    pub disabled: Flag,
    /// Whether a code is asked for beside the password.
    #[sqlx(try_from = "i64")]
    pub second_factor: Flag,
    /// Until when, after too many wrong passwords, no login is taken; milliseconds since 1970, 0 for
    /// never.
    pub locked_until_ms: i64,
    pub last_login_ms: Option<i64>,
}

/// 0 or 1 in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(transparent)]
pub(crate) struct Flag(pub bool);

impl From<i64> for Flag {
    fn from(number: i64) -> Self {
        Self(number != 0)
    }
}

/// Which people.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Where {
    /// Only those of this organisation and of all below it.
    #[serde(default)]
    organisation: Option<String>,
}

/// People whom the asker may see, by login.
#[utoipa::path(get, path = "/people", tag = "people", params(Paging, Where),
    extensions(("x-right" = json!("people.view"))),
    responses((status = 200, body = Page<PersonView>), (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn list(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Params(paging): Params<Paging>,
    Params(place): Params<Where>,
) -> Result<Json<Page<PersonView>>, Problem> {
    who.need(&state.store, Right::PeopleView).await?;
    let rows = sqlx::query_as::<_, PersonView>(concat!(
        "SELECT p.id, p.organisation, p.login, p.name, p.source, p.disabled, p.locked_until_ms, p.last_login_ms, \
         (SELECT COUNT(*) FROM authenticators a WHERE a.person = p.id AND a.confirmed = 1) \
         AS second_factor FROM people p JOIN organisations o ON o.id = p.organisation WHERE ",
        allowed!(),
        " AND p.login_key > $3 AND (lower(p.name) LIKE $4 ESCAPE '!' OR p.login_key LIKE $4 ESCAPE '!') \
         AND ($5 = '' OR EXISTS (SELECT 1 FROM organisations t WHERE t.id = $5 \
         AND substr(o.path, 1, length(t.path)) = t.path)) ORDER BY p.login_key LIMIT $6"
    ))
    .bind(who.subject.as_str())
    .bind(Right::PeopleView.as_str())
    .bind(paging.after.as_deref().unwrap_or_default())
    .bind(paging.pattern())
    .bind(place.organisation.as_deref().unwrap_or_default())
    .bind(paging.rows())
    .fetch_all(state.store.pool()?)
    .await?;
    let mut tx = state.store.begin().await?;
    // Who looked at whose names (PRV-07).
    let object = Object {
        kind: "people",
        id: None,
        organisation: Some(&who.person.organisation),
    };
    let change = Change {
        before: None,
        after: Some(json!({ "shown": rows.len() })),
    };
    audit::write(&mut tx, &who.asker(), Action::View, object, change).await?;
    tx.commit().await?;
    Ok(Json(
        paging.page(rows, |row| sessions::login_key(&row.login)),
    ))
}

/// One person.
#[utoipa::path(get, path = "/people/{id}", tag = "people", params(("id" = String, Path)),
    extensions(("x-right" = json!("people.view"))),
    responses((status = 200, body = PersonView), (status = 401, body = Problem), (status = 404, body = Problem)))]
async fn get(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
) -> Result<Json<PersonView>, Problem> {
    let mut connection = state.store.pool()?.acquire().await?;
    let row = seen(&mut connection, &who, &id, Right::PeopleView).await?;
    Ok(Json(row))
}

/// A new person.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPerson {
    /// Id of the organisation that the person belongs to.
    pub organisation: String,
    pub login: LoginName,
    pub name: Name,
    /// First password; without one the person cannot log in until one is set.
    #[schema(value_type = Option<String>)]
    pub password: Option<Redacted<String>>,
}

/// Add a person.
#[utoipa::path(post, path = "/people", tag = "people", request_body = NewPerson,
    extensions(("x-right" = json!("people.manage")), ("x-once" = json!(true))),
    responses((status = 201, body = PersonView), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
async fn create(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    once: Once,
    Body(mut new): Body<NewPerson>,
) -> Result<(StatusCode, Json<PersonView>), Problem> {
    let mut connection = state.store.pool()?.acquire().await?;
    need_at(
        &mut connection,
        &who,
        Right::PeopleManage,
        &new.organisation,
    )
    .await?;
    drop(connection);
    let hash = match new.password.take() {
        Some(given) => {
            accept_password(&given.0, new.login.as_str())?;
            Some(password::hash(given).await)
        }
        None => None,
    };
    let mut tx = state.store.begin().await?;
    need_at(&mut tx, &who, Right::PeopleManage, &new.organisation).await?;
    let id = new_id();
    insert(&mut tx, &id, &new, hash.as_deref()).await?;
    let made = seen(&mut tx, &who, &id, Right::PeopleManage).await?;
    note(&mut tx, &who, Action::Create, None, Some(&made)).await?;
    let home = Place::Organisation(&made.organisation);
    once.keep(&mut tx, home, StatusCode::CREATED, &made).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// What is to change.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PersonChanges)]
struct Changes {
    name: Option<Name>,
    login: Option<LoginName>,
    /// Another organisation to belong to.
    organisation: Option<String>,
    /// Whether the person may not log in. All sessions end then.
    disabled: Option<bool>,
}

/// Change a person, who may hold no more rights than the asker.
#[utoipa::path(patch, path = "/people/{id}", tag = "people", params(("id" = String, Path)), request_body = Changes,
    extensions(("x-right" = json!("people.manage"))),
    responses((status = 200, body = PersonView), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
async fn change(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
    Body(changes): Body<Changes>,
) -> Result<Json<PersonView>, Problem> {
    let mut tx = state.store.begin().await?;
    let before = managed(&mut tx, &who, &id).await?;
    let mut after = before.clone();
    if let Some(name) = changes.name {
        after.name = name.0;
    }
    if let Some(login) = changes.login {
        after.login = login.0;
    }
    if let Some(organisation) = changes.organisation.filter(|to| *to != before.organisation) {
        if id == who.person.id {
            let title = "Nobody moves himself";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, title).code("oneself"));
        }
        need_at(&mut tx, &who, Right::PeopleManage, &organisation).await?;
        after.organisation = organisation;
    }
    if let Some(disabled) = changes.disabled {
        if disabled && id == who.person.id {
            let title = "Nobody shuts himself out";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, title).code("oneself"));
        }
        after.disabled = Flag(disabled);
    }
    let changed = sqlx::query(
        "UPDATE people SET name = $2, login = $3, login_key = $4, organisation = $5, disabled = $6 \
         WHERE id = $1",
    )
    .bind(&id)
    .bind(&after.name)
    .bind(&after.login)
    .bind(sessions::login_key(&after.login))
    .bind(&after.organisation)
    .bind(i64::from(after.disabled.0))
    .execute(&mut *tx)
    .await;
    changed.map_err(login_taken)?;
    if after.disabled.0 {
        sessions::end_all(&mut tx, &id, None).await?;
    }
    note(&mut tx, &who, Action::Change, Some(&before), Some(&after)).await?;
    tx.commit().await?;
    Ok(Json(after))
}

/// A password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Password {
    #[schema(value_type = String)]
    password: Redacted<String>,
}

/// Give a person a new password, and open a login that wrong passwords closed. All sessions end, and tokens with
/// them.
#[utoipa::path(put, path = "/people/{id}/password", tag = "people", params(("id" = String, Path)), request_body = Password,
    extensions(("x-right" = json!("people.manage"))),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem)))]
async fn set_password(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
    Body(given): Body<Password>,
) -> Result<StatusCode, Problem> {
    if id == who.person.id {
        let title = "One's own password is changed with the old one";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, title).code("oneself"));
    }
    let mut tx = state.store.begin().await?;
    let person = managed(&mut tx, &who, &id).await?;
    tx.rollback().await?;
    if person.source != "local" {
        return Err(elsewhere());
    }
    accept_password(&given.password.0, &person.login)?;
    let hash = password::hash(given.password).await;
    let mut tx = state.store.begin().await?;
    // Asked again: hashing takes time, in which rights may have gone.
    let person = managed(&mut tx, &who, &id).await?;
    write_password(&mut tx, &who.asker(), &id, &person.organisation, &hash).await?;
    sessions::end_all(&mut tx, &id, None).await?;
    tokens::revoke_all(&mut tx, &id).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove a person. What the record says of them stays.
#[utoipa::path(delete, path = "/people/{id}", tag = "people", params(("id" = String, Path)),
    extensions(("x-right" = json!("people.manage"))),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem)))]
async fn remove(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let mut tx = state.store.begin().await?;
    let before = managed(&mut tx, &who, &id).await?;
    if id == who.person.id {
        let title = "Nobody removes himself";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, title).code("oneself"));
    }
    sqlx::query("DELETE FROM people WHERE id = $1")
        .bind(&id)
        .execute(&mut *tx)
        .await?;
    note(&mut tx, &who, Action::Remove, Some(&before), None).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A role that a person has somewhere.
#[derive(Clone, Debug, Serialize, FromRow, ToSchema)]
struct Grant {
    id: String,
    /// Id of the role.
    role: String,
    /// Id of the organisation; it reaches everything below.
    organisation: String,
    /// `allow`, or `deny`, which holds before any `allow`.
    effect: String,
}

/// What a person may do where.
#[utoipa::path(get, path = "/people/{id}/grants", tag = "people", params(("id" = String, Path)),
    extensions(("x-right" = json!("people.view"))),
    responses((status = 200, body = [Grant]), (status = 401, body = Problem), (status = 404, body = Problem)))]
async fn list_grants(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
) -> Result<Json<Vec<Grant>>, Problem> {
    let mut connection = state.store.pool()?.acquire().await?;
    seen(&mut connection, &who, &id, Right::PeopleView).await?;
    let rows = sqlx::query_as(
        "SELECT id, role, organisation, effect FROM grants WHERE person = $1 ORDER BY id",
    )
    .bind(&id)
    .fetch_all(&mut *connection)
    .await?;
    Ok(Json(rows))
}

/// Whether a role is given or denied.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Effect {
    #[default]
    Allow,
    Deny,
}

impl Effect {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// A role to give.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewGrant {
    /// Id of the role.
    role: String,
    /// Id of the organisation.
    organisation: String,
    #[serde(default)]
    effect: Effect,
}

/// Give a person a role, or deny it. Nobody hands on, or denies, what they do not hold themselves.
#[utoipa::path(post, path = "/people/{id}/grants", tag = "people", params(("id" = String, Path)), request_body = NewGrant,
    extensions(("x-right" = json!("people.manage")), ("x-once" = json!(true))),
    responses((status = 201, body = Grant), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn grant(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    once: Once,
    Path(id): Path<String>,
    Body(new): Body<NewGrant>,
) -> Result<(StatusCode, Json<Grant>), Problem> {
    let mut tx = state.store.begin().await?;
    let person = managed(&mut tx, &who, &id).await?;
    may_hand_on(&mut tx, &who, &new.role, &new.organisation).await?;
    if id == who.person.id {
        let title = "Nobody changes their own rights";
        return Err(Problem::new(StatusCode::FORBIDDEN, title).code("oneself"));
    }
    let effect = new.effect.as_str();
    let made = insert_grant(&mut tx, &id, &new.role, &new.organisation, effect).await;
    let made = match made {
        Err(error) if error.is_taken() => {
            let title = "The person has this role there";
            return Err(Problem::new(StatusCode::CONFLICT, title).code("taken"));
        }
        made => made?,
    };
    note_grant(&mut tx, &who, Action::Grant, &person, &made).await?;
    let home = Place::Organisation(&person.organisation);
    once.keep(&mut tx, home, StatusCode::CREATED, &made).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Take a role from a person.
#[utoipa::path(delete, path = "/people/{id}/grants/{grant}", tag = "people", params(("id" = String, Path), ("grant" = String, Path)),
    extensions(("x-right" = json!("people.manage"))),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
async fn revoke(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path((id, grant)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let mut tx = state.store.begin().await?;
    let person = managed(&mut tx, &who, &id).await?;
    let found: Option<Grant> = sqlx::query_as(
        "SELECT id, role, organisation, effect FROM grants WHERE id = $1 AND person = $2",
    )
    .bind(&grant)
    .bind(&id)
    .fetch_optional(&mut *tx)
    .await?;
    let found = found.ok_or_else(Problem::not_found)?;
    may_hand_on(&mut tx, &who, &found.role, &found.organisation).await?;
    if id == who.person.id {
        let title = "Nobody changes their own rights";
        return Err(Problem::new(StatusCode::FORBIDDEN, title).code("oneself"));
    }
    sqlx::query("DELETE FROM grants WHERE id = $1")
        .bind(&grant)
        .execute(&mut *tx)
        .await?;
    note_grant(&mut tx, &who, Action::Revoke, &person, &found).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// # Errors
/// 404 where the asker knows no such organisation or role, 403 where they hold less than the role.
async fn may_hand_on(
    tx: &mut Transaction<'static, Any>,
    who: &LoggedIn,
    role: &str,
    organisation: &str,
) -> Result<(), Problem> {
    need_at(tx, who, Right::PeopleManage, organisation).await?;
    let known: Option<(String,)> = sqlx::query_as(
        "SELECT r.id FROM roles r LEFT JOIN organisations h ON h.id = r.organisation \
         JOIN organisations o ON o.id = $2 \
         WHERE r.id = $1 AND (h.id IS NULL OR substr(o.path, 1, length(h.path)) = h.path)",
    )
    .bind(role)
    .bind(organisation)
    .fetch_optional(&mut **tx)
    .await?;
    if known.is_none() {
        return Err(Problem::not_found());
    }
    match rights::covers_role(tx, &who.subject, role, organisation).await? {
        true => Ok(()),
        false => Err(holds_more()),
    }
}

/// # Errors
/// 404 where the asker does not see the organisation, 403 where they may not do this there.
pub(crate) async fn need_at(
    connection: &mut AnyConnection,
    who: &LoggedIn,
    right: Right,
    organisation: &str,
) -> Result<(), Problem> {
    if rights::holds(connection, &who.subject, right, organisation).await? {
        return Ok(());
    }
    let subject = &who.subject;
    let sees = rights::holds(connection, subject, Right::OrganisationsView, organisation).await?;
    match sees || !rights::holds_anywhere(connection, subject, right).await? {
        true => Err(Problem::missing(right)),
        false => Err(Problem::not_found()),
    }
}

/// The person of this id, if the asker holds this right where the person belongs.
pub(super) async fn seen(
    connection: &mut AnyConnection,
    who: &LoggedIn,
    id: &str,
    right: Right,
) -> Result<PersonView, Problem> {
    let row = sqlx::query_as(concat!(
        "SELECT p.id, p.organisation, p.login, p.name, p.source, p.disabled, p.locked_until_ms, p.last_login_ms, \
         (SELECT COUNT(*) FROM authenticators a WHERE a.person = p.id AND a.confirmed = 1) \
         AS second_factor FROM people p JOIN organisations o ON o.id = p.organisation WHERE p.id = $3 AND ",
        allowed!()
    ))
    .bind(who.subject.as_str())
    .bind(right.as_str())
    .bind(id)
    .fetch_optional(&mut *connection)
    .await?;
    match row {
        Some(row) => Ok(row),
        None if rights::holds_anywhere(connection, &who.subject, right).await? => {
            Err(Problem::not_found())
        }
        None => Err(Problem::missing(right)),
    }
}

/// The person of this id, if the asker may change it: who holds more than the asker is out of reach,
/// or a new password would hand it over.
pub(super) async fn managed(
    tx: &mut Transaction<'static, Any>,
    who: &LoggedIn,
    id: &str,
) -> Result<PersonView, Problem> {
    let found = seen(tx, who, id, Right::PeopleManage).await;
    if found.is_err() && seen(tx, who, id, Right::PeopleView).await.is_ok() {
        return Err(Problem::missing(Right::PeopleManage));
    }
    let found = found?;
    match rights::covers_person(tx, &who.subject, id).await? {
        true => Ok(found),
        false => Err(holds_more()),
    }
}

fn holds_more() -> Problem {
    let title = "That is more than you may do yourself";
    Problem::new(StatusCode::FORBIDDEN, title).code("more_than_own")
}

/// # Errors
/// 422 with what is wrong with the password.
pub(crate) fn accept_password(password: &str, login: &str) -> Result<(), Problem> {
    password::check(password, login).map_err(|weak| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, weak.title()).code("weak_password")
    })
}

/// # Errors
/// 422 where another system proves who a person is.
pub(crate) async fn need_password_here(store: &Store, person: &str) -> Result<(), Problem> {
    let row = sqlx::query("SELECT source FROM people WHERE id = $1")
        .bind(person)
        .fetch_one(store.pool()?)
        .await?;
    match row.try_get::<String, _>("source")?.as_str() {
        "local" => Ok(()),
        _ => Err(elsewhere()),
    }
}

/// Whether a provider proves who somebody is, and neither a password here nor a directory does.
pub(crate) async fn is_proved_by_provider(store: &Store, person: &str) -> Result<bool, Error> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS n FROM people WHERE id = $1 AND source NOT IN ('local', $2)",
    )
    .bind(person)
    .bind(ldap::people::SOURCE)
    .fetch_one(store.pool()?)
    .await?;
    Ok(row.try_get::<i64, _>("n")? > 0)
}

fn elsewhere() -> Problem {
    let title = "This person's password is kept elsewhere";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, title).code("elsewhere")
}

/// Adds the row of a person.
pub(crate) async fn insert(
    tx: &mut Transaction<'static, Any>,
    id: &str,
    new: &NewPerson,
    hash: Option<&str>,
) -> Result<(), Problem> {
    let made = sqlx::query(
        "INSERT INTO people (id, organisation, login, login_key, name, password, created_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(id)
    .bind(&new.organisation)
    .bind(new.login.as_str())
    .bind(sessions::login_key(new.login.as_str()))
    .bind(new.name.as_str())
    .bind(hash)
    .bind(now_ms())
    .execute(&mut **tx)
    .await;
    made.map(drop).map_err(login_taken)
}

fn login_taken(failure: sqlx::Error) -> Problem {
    Problem::taken(failure, "Somebody has this login")
}

/// Adds the row of a grant.
async fn insert_grant(
    tx: &mut Transaction<'static, Any>,
    person: &str,
    role: &str,
    organisation: &str,
    effect: &str,
) -> Result<Grant, Error> {
    let made = Grant {
        id: new_id(),
        role: role.to_owned(),
        organisation: organisation.to_owned(),
        effect: effect.to_owned(),
    };
    sqlx::query(
        "INSERT INTO grants (id, person, role, organisation, effect, created_ms) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(&made.id)
    .bind(person)
    .bind(role)
    .bind(organisation)
    .bind(effect)
    .bind(now_ms())
    .execute(&mut **tx)
    .await?;
    Ok(made)
}

/// Gives somebody a role, at the server's first start.
pub(crate) async fn allow(
    tx: &mut Transaction<'static, Any>,
    person: &str,
    role: &str,
    organisation: &str,
) -> Result<(), Error> {
    insert_grant(tx, person, role, organisation, Effect::Allow.as_str()).await?;
    Ok(())
}

/// Sets a password and opens the login.
pub(crate) async fn write_password(
    tx: &mut Transaction<'static, Any>,
    asker: &Asker,
    person: &str,
    organisation: &str,
    hash: &str,
) -> Result<(), Error> {
    sqlx::query("UPDATE people SET password = $2, failures = 0, locked_until_ms = 0 WHERE id = $1")
        .bind(person)
        .bind(hash)
        .execute(&mut **tx)
        .await?;
    let object = Object {
        kind: "password",
        id: Some(person),
        organisation: Some(organisation),
    };
    audit::write(tx, asker, Action::Change, object, Change::default()).await
}

async fn note(
    tx: &mut Transaction<'static, Any>,
    who: &LoggedIn,
    action: Action,
    before: Option<&PersonView>,
    after: Option<&PersonView>,
) -> Result<(), Error> {
    let shown = |row: &PersonView| {
        json!({ "login": row.login, "name": row.name, "organisation": row.organisation,
            "disabled": row.disabled })
    };
    let row = after.or(before);
    let object = Object {
        kind: "person",
        id: row.map(|row| row.id.as_str()),
        organisation: row.map(|row| row.organisation.as_str()),
    };
    let change = Change {
        before: before.map(shown),
        after: after.map(shown),
    };
    audit::write(tx, &who.asker(), action, object, change).await
}

async fn note_grant(
    tx: &mut Transaction<'static, Any>,
    who: &LoggedIn,
    action: Action,
    person: &PersonView,
    grant: &Grant,
) -> Result<(), Error> {
    let object = Object {
        kind: "person",
        id: Some(&person.id),
        organisation: Some(&grant.organisation),
    };
    let told = json!({ "role": grant.role, "organisation": grant.organisation,
        "effect": grant.effect });
    let change = match action {
        Action::Revoke => Change {
            before: Some(told),
            after: None,
        },
        _ => Change {
            before: None,
            after: Some(told),
        },
    };
    audit::write(tx, &who.asker(), action, object, change).await
}
