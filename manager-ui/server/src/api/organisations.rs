//! The tree of organisations: regions, hospitals, departments (WS/T 545: MGT-04, MGT-05, MGT-07).

use axum::Json;
use axum::extract::{Path, State as StateOf};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{Any, AnyConnection, FromRow, Transaction};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::people::Name;
use super::rooms::commit;
use super::{Body, Page, Paging, Params, Problem};
use crate::State;
use crate::asker::LoggedIn;
use crate::audit::{self, Action, Change, Object};
use crate::once::{Once, Place};
use crate::rights::{self, Right, allowed};
use crate::store::{Error, new_id, now_ms};

/// Levels of the tree. More would make paths longer than an index takes.
const MAX_DEPTH: usize = 16;

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, change, remove))
}

/// What an organisation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = OrganisationKind)]
pub(crate) enum Kind {
    Region,
    Hospital,
    Department,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Region => "region",
            Self::Hospital => "hospital",
            Self::Department => "department",
        }
    }
}

/// One organisation.
#[derive(Clone, Debug, Serialize, FromRow, ToSchema)]
pub(crate) struct Organisation {
    pub id: String,
    /// Id of the one above, also where that one is not shown to the asker; none at the root.
    pub parent: Option<String>,
    /// Ids from the root down to this one, each followed by a slash.
    pub path: String,
    /// `region`, `hospital` or `department`.
    pub kind: String,
    pub name: String,
}

/// All organisations that the asker may see, parents before children.
#[utoipa::path(get, path = "/organisations", tag = "organisations", params(Paging),
    extensions(("x-right" = json!("organisations.view"))),
    responses((status = 200, body = Page<Organisation>), (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn list(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<Organisation>>, Problem> {
    who.need(&state.store, Right::OrganisationsView).await?;
    let rows = sqlx::query_as::<_, Organisation>(concat!(
        "SELECT o.id, o.parent, o.path, o.kind, o.name FROM organisations o WHERE ",
        allowed!(),
        " AND o.path > $3 AND lower(o.name) LIKE $4 ESCAPE '!' ORDER BY o.path LIMIT $5"
    ))
    .bind(who.subject.as_str())
    .bind(Right::OrganisationsView.as_str())
    .bind(paging.after.as_deref().unwrap_or_default())
    .bind(paging.pattern())
    .bind(paging.rows())
    .fetch_all(state.store.pool()?)
    .await?;
    Ok(Json(paging.page(rows, |row| row.path.clone())))
}

/// One organisation.
#[utoipa::path(get, path = "/organisations/{id}", tag = "organisations", params(("id" = String, Path)),
    extensions(("x-right" = json!("organisations.view"))),
    responses((status = 200, body = Organisation), (status = 401, body = Problem), (status = 404, body = Problem)))]
async fn get(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
) -> Result<Json<Organisation>, Problem> {
    let mut connection = state.store.pool()?.acquire().await?;
    let row = seen(&mut connection, &who, &id, Right::OrganisationsView).await?;
    Ok(Json(row))
}

/// What a new organisation is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewOrganisation)]
struct New {
    /// Id of the one above.
    parent: String,
    kind: Kind,
    name: Name,
}

/// Make an organisation below another.
#[utoipa::path(post, path = "/organisations", tag = "organisations", request_body = New,
    extensions(("x-right" = json!("organisations.manage")), ("x-once" = json!(true))),
    responses((status = 201, body = Organisation), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem)))]
async fn create(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    once: Once,
    Body(new): Body<New>,
) -> Result<(StatusCode, Json<Organisation>), Problem> {
    let mut tx = state.store.begin().await?;
    let parent = managed(&mut tx, &who, &new.parent).await?;
    if parent.path.matches('/').count() >= MAX_DEPTH {
        return Err(too_deep());
    }
    let id = new_id();
    let made = Organisation {
        path: format!("{}{id}/", parent.path),
        id,
        parent: Some(parent.id),
        kind: new.kind.as_str().to_owned(),
        name: new.name.as_str().to_owned(),
    };
    sqlx::query(
        "INSERT INTO organisations (id, parent, path, kind, name, created_ms) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(&made.id)
    .bind(&made.parent)
    .bind(&made.path)
    .bind(&made.kind)
    .bind(&made.name)
    .bind(now_ms())
    .execute(&mut *tx)
    .await?;
    note(&mut tx, &who, Action::Create, None, Some(&made)).await?;
    let home = Place::Organisation(&made.id);
    once.keep(&mut tx, home, StatusCode::CREATED, &made).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// What is to change.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OrganisationChanges)]
struct Changes {
    /// A new name.
    name: Option<Name>,
    /// Another one above it. Everything below moves with it.
    parent: Option<String>,
    kind: Option<Kind>,
}

/// Rename an organisation, or move it and everything below.
#[utoipa::path(patch, path = "/organisations/{id}", tag = "organisations", params(("id" = String, Path)), request_body = Changes,
    extensions(("x-right" = json!("organisations.manage"))),
    responses((status = 200, body = Organisation), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
async fn change(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
    Body(changes): Body<Changes>,
) -> Result<Json<Organisation>, Problem> {
    let mut tx = state.store.begin().await?;
    let before = managed(&mut tx, &who, &id).await?;
    let mut after = before.clone();
    if let Some(name) = &changes.name {
        after.name = name.as_str().to_owned();
    }
    if let Some(kind) = changes.kind {
        after.kind = kind.as_str().to_owned();
    }
    if let Some(parent) = changes
        .parent
        .filter(|parent| before.parent.as_ref() != Some(parent))
    {
        let parent = managed(&mut tx, &who, &parent).await?;
        // Whoever takes something out of a place must be allowed to change that place.
        let Some(old) = &before.parent else {
            return Err(unprocessable("The root stays where it is", "root"));
        };
        managed(&mut tx, &who, old).await?;
        may_move(&mut tx, &who, &before, &parent).await?;
        move_below(&mut tx, &mut after, &parent).await?;
    }
    sqlx::query("UPDATE organisations SET name = $2, kind = $3 WHERE id = $1")
        .bind(&after.id)
        .bind(&after.name)
        .bind(&after.kind)
        .execute(&mut *tx)
        .await?;
    note(&mut tx, &who, Action::Change, Some(&before), Some(&after)).await?;
    match after.path == before.path {
        true => tx.commit().await?,
        // Which rooms its accounts reach is another matter now.
        false => commit(&state, tx).await?,
    }
    Ok(Json(after))
}

/// A move gives those who have a role above the new place rights over what is moved, and frees from what
/// was denied above the old one. Whoever moves must hold all of that there, as if they gave it.
async fn may_move(
    tx: &mut Transaction<'static, Any>,
    who: &LoggedIn,
    moved: &Organisation,
    parent: &Organisation,
) -> Result<(), Problem> {
    // Above or at one place and not the other; `$1` is a path.
    let changed: Vec<(String,)> = sqlx::query_as(
        "SELECT DISTINCT g.role FROM grants g JOIN organisations a ON a.id = g.organisation WHERE \
         (g.effect = 'allow' AND substr($1, 1, length(a.path)) = a.path \
         AND substr($2, 1, length(a.path)) <> a.path) OR \
         (g.effect = 'deny' AND substr($2, 1, length(a.path)) = a.path \
         AND substr($1, 1, length(a.path)) <> a.path AND a.id <> $3)",
    )
    .bind(&parent.path)
    .bind(&moved.path)
    .bind(&moved.id)
    .fetch_all(&mut **tx)
    .await?;
    for (role,) in changed {
        if !rights::covers_role(tx, &who.subject, &role, &moved.id).await? {
            let title = "The move gives rights that you do not hold yourself";
            return Err(Problem::new(StatusCode::FORBIDDEN, title).code("more_than_own"));
        }
    }
    // A role of an organisation's own is given there and below, and nowhere else.
    let left: Option<(String,)> = sqlx::query_as(
        "SELECT g.id FROM grants g JOIN roles r ON r.id = g.role \
         JOIN organisations home ON home.id = r.organisation \
         JOIN organisations at ON at.id = g.organisation \
         WHERE substr(at.path, 1, length($1)) = $1 AND substr($1, 1, length(home.path)) = home.path \
         AND home.id <> $3 AND substr($2, 1, length(home.path)) <> home.path LIMIT 1",
    )
    .bind(&moved.path)
    .bind(&parent.path)
    .bind(&moved.id)
    .fetch_optional(&mut **tx)
    .await?;
    match left {
        Some(_) => {
            let title = "Somebody there has a role of what it would leave: take it away first";
            Err(Problem::new(StatusCode::CONFLICT, title).code("in_use"))
        }
        None => Ok(()),
    }
}

async fn move_below(
    tx: &mut Transaction<'static, Any>,
    moved: &mut Organisation,
    parent: &Organisation,
) -> Result<(), Problem> {
    if parent.path.starts_with(&moved.path) {
        return Err(unprocessable("It cannot be moved below itself", "circle"));
    }
    let path = format!("{}{}/", parent.path, moved.id);
    let len = |path: &str| i32::try_from(path.len()).unwrap_or(i32::MAX);
    let deepest: Vec<(String,)> = sqlx::query_as(
        "SELECT path FROM organisations WHERE substr(path, 1, $1) = $2 ORDER BY length(path) DESC LIMIT 1",
    )
    .bind(len(&moved.path))
    .bind(&moved.path)
    .fetch_all(&mut **tx)
    .await?;
    let below = deepest.first().map_or(0, |(deepest,)| {
        deepest.matches('/').count() - moved.path.matches('/').count()
    });
    if path.matches('/').count() + below > MAX_DEPTH {
        return Err(too_deep());
    }
    sqlx::query(
        "UPDATE organisations SET path = $1 || substr(path, $2) WHERE substr(path, 1, $3) = $4",
    )
    .bind(&path)
    .bind(len(&moved.path) + 1)
    .bind(len(&moved.path))
    .bind(&moved.path)
    .execute(&mut **tx)
    .await?;
    sqlx::query("UPDATE organisations SET parent = $2 WHERE id = $1")
        .bind(&moved.id)
        .bind(&parent.id)
        .execute(&mut **tx)
        .await?;
    moved.path = path;
    moved.parent = Some(parent.id.clone());
    Ok(())
}

/// Remove an organisation that nothing belongs to any more.
#[utoipa::path(delete, path = "/organisations/{id}", tag = "organisations", params(("id" = String, Path)),
    extensions(("x-right" = json!("organisations.manage"))),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn remove(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let mut tx = state.store.begin().await?;
    let before = managed(&mut tx, &who, &id).await?;
    if before.parent.is_none() {
        return Err(unprocessable("The root stays", "root"));
    }
    sqlx::query("DELETE FROM organisations WHERE id = $1")
        .bind(&id)
        .execute(&mut *tx)
        .await
        .map_err(|failure| {
            Problem::in_use(
                failure,
                "Something belongs to it: move or remove that first",
            )
        })?;
    note(&mut tx, &who, Action::Remove, Some(&before), None).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The organisation of this id, if the asker holds this right there.
///
/// # Errors
/// 404.
pub(crate) async fn seen(
    connection: &mut AnyConnection,
    who: &LoggedIn,
    id: &str,
    right: Right,
) -> Result<Organisation, Problem> {
    let row = sqlx::query_as(concat!(
        "SELECT o.id, o.parent, o.path, o.kind, o.name FROM organisations o WHERE o.id = $3 AND ",
        allowed!()
    ))
    .bind(who.subject.as_str())
    .bind(right.as_str())
    .bind(id)
    .fetch_optional(connection)
    .await?;
    row.ok_or_else(Problem::not_found)
}

/// The organisation of this id, if the asker may change it.
async fn managed(
    tx: &mut Transaction<'static, Any>,
    who: &LoggedIn,
    id: &str,
) -> Result<Organisation, Problem> {
    let found = seen(tx, who, id, Right::OrganisationsManage).await;
    // Who sees it but may not change it is told so.
    if found.is_err() && rights::holds(tx, &who.subject, Right::OrganisationsView, id).await? {
        return Err(Problem::missing(Right::OrganisationsManage));
    }
    if found.is_err()
        && !rights::holds_anywhere(tx, &who.subject, Right::OrganisationsManage).await?
    {
        return Err(Problem::missing(Right::OrganisationsManage));
    }
    found
}

async fn note(
    tx: &mut Transaction<'static, Any>,
    who: &LoggedIn,
    action: Action,
    before: Option<&Organisation>,
    after: Option<&Organisation>,
) -> Result<(), Error> {
    let shown =
        |row: &Organisation| json!({ "name": row.name, "kind": row.kind, "parent": row.parent });
    let id = after.or(before).map(|row| row.id.as_str());
    // What is removed belonged to the one above.
    let organisation = match after {
        Some(after) => Some(after.id.as_str()),
        None => before.and_then(|row| row.parent.as_deref()),
    };
    let object = Object {
        kind: "organisation",
        id,
        organisation,
    };
    let change = Change {
        before: before.map(shown),
        after: after.map(shown),
    };
    audit::write(tx, &who.asker(), action, object, change).await
}

fn too_deep() -> Problem {
    unprocessable("The tree is too deep", "too_deep")
}

fn unprocessable(title: &'static str, code: &'static str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, title).code(code)
}
