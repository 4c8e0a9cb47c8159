//! Roles: those that every server has, and an organisation's own (WS/T 545: PRV-01, PRV-03).

use axum::Json;
use axum::extract::{Path, State as StateOf};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{Any, AnyConnection, Row, Transaction};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::people::{Name, need_at};
use super::{Body, Problem};
use crate::State;
use crate::asker::LoggedIn;
use crate::audit::{self, Action, Change, Object};
use crate::once::{Once, Place};
use crate::rights::{self, Right, allowed};
use crate::store::{Error, new_id, now_ms};

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(change, remove))
}

/// One role.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Role {
    id: String,
    /// Id of the organisation whose own role it is; none for those that every server has.
    organisation: Option<String>,
    /// Its name; of those that every server has, the same as the id.
    name: String,
    /// What it allows.
    rights: Vec<Right>,
}

/// The roles that every server has, and the own ones of organisations that the asker may see.
#[utoipa::path(get, path = "/roles", tag = "roles",
    extensions(("x-right" = json!("roles.view"))),
    responses((status = 200, body = [Role]), (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn list(StateOf(state): StateOf<State>, who: LoggedIn) -> Result<Json<Vec<Role>>, Problem> {
    who.need(&state.store, Right::RolesView).await?;
    let mut connection = state.store.pool()?.acquire().await?;
    let rows = sqlx::query(concat!(
        "SELECT x.id, x.organisation, x.name FROM roles x \
         LEFT JOIN organisations o ON o.id = x.organisation WHERE o.id IS NULL OR ",
        allowed!(),
        " ORDER BY x.created_ms, x.id"
    ))
    .bind(who.subject.as_str())
    .bind(Right::RolesView.as_str())
    .fetch_all(&mut *connection)
    .await?;
    let mut roles = Vec::with_capacity(rows.len());
    for row in rows {
        let id: String = row.try_get("id")?;
        roles.push(Role {
            rights: rights_of(&mut connection, &id).await?,
            id,
            organisation: row.try_get("organisation")?,
            name: row.try_get("name")?,
        });
    }
    Ok(Json(roles))
}

/// A new role.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewRole)]
struct New {
    /// Id of the organisation whose own role it is. It can be given there and below.
    organisation: String,
    name: Name,
    rights: Vec<Right>,
}

/// Make a role. It allows nothing that the asker may not do there.
#[utoipa::path(post, path = "/roles", tag = "roles", request_body = New,
    extensions(("x-right" = json!("roles.manage")), ("x-once" = json!(true))),
    responses((status = 201, body = Role), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem)))]
async fn create(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    once: Once,
    Body(new): Body<New>,
) -> Result<(StatusCode, Json<Role>), Problem> {
    let mut tx = state.store.begin().await?;
    need_at(&mut tx, &who, Right::RolesManage, &new.organisation).await?;
    let rights = sorted(new.rights);
    need_all(&mut tx, &who, &rights, &new.organisation).await?;
    let made = Role {
        id: new_id(),
        organisation: Some(new.organisation.clone()),
        name: new.name.as_str().to_owned(),
        rights,
    };
    sqlx::query("INSERT INTO roles (id, organisation, name, created_ms) VALUES ($1, $2, $3, $4)")
        .bind(&made.id)
        .bind(&made.organisation)
        .bind(&made.name)
        .bind(now_ms())
        .execute(&mut *tx)
        .await?;
    rights::write_rights(&mut tx, &made.id, &made.rights).await?;
    note(&mut tx, &who, Action::Create, None, Some(&made)).await?;
    let home = Place::Organisation(&new.organisation);
    once.keep(&mut tx, home, StatusCode::CREATED, &made).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// What is to change.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RoleChanges)]
struct Changes {
    name: Option<Name>,
    rights: Option<Vec<Right>>,
}

/// Change an organisation's own role, for everybody who has it.
#[utoipa::path(patch, path = "/roles/{id}", tag = "roles", params(("id" = String, Path)), request_body = Changes,
    extensions(("x-right" = json!("roles.manage"))),
    responses((status = 200, body = Role), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem)))]
async fn change(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
    Body(changes): Body<Changes>,
) -> Result<Json<Role>, Problem> {
    let mut tx = state.store.begin().await?;
    let (before, organisation) = managed(&mut tx, &who, &id).await?;
    let mut after = before.clone();
    if let Some(name) = changes.name {
        after.name = name.as_str().to_owned();
    }
    if let Some(rights) = changes.rights.map(sorted) {
        // What is taken away must be one's own, too, or somebody could be shut out from below.
        need_all(&mut tx, &who, &rights, &organisation).await?;
        need_all(&mut tx, &who, &before.rights, &organisation).await?;
        after.rights = rights;
    }
    sqlx::query("UPDATE roles SET name = $2 WHERE id = $1")
        .bind(&id)
        .bind(&after.name)
        .execute(&mut *tx)
        .await?;
    rights::write_rights(&mut tx, &id, &after.rights).await?;
    note(&mut tx, &who, Action::Change, Some(&before), Some(&after)).await?;
    tx.commit().await?;
    Ok(Json(after))
}

/// Remove an organisation's own role that nobody has any more.
#[utoipa::path(delete, path = "/roles/{id}", tag = "roles", params(("id" = String, Path)),
    extensions(("x-right" = json!("roles.manage"))),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn remove(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let mut tx = state.store.begin().await?;
    let (before, _) = managed(&mut tx, &who, &id).await?;
    sqlx::query("DELETE FROM roles WHERE id = $1")
        .bind(&id)
        .execute(&mut *tx)
        .await
        .map_err(|failure| {
            Problem::in_use(failure, "Somebody has this role: take it away first")
        })?;
    note(&mut tx, &who, Action::Remove, Some(&before), None).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An organisation's own role, if the asker may change it, and the organisation.
async fn managed(
    tx: &mut Transaction<'static, Any>,
    who: &LoggedIn,
    id: &str,
) -> Result<(Role, String), Problem> {
    let row = sqlx::query("SELECT organisation, name FROM roles WHERE id = $1")
        .bind(id)
        .fetch_optional(&mut **tx)
        .await?;
    let Some(row) = row else {
        return match rights::holds_anywhere(tx, &who.subject, Right::RolesManage).await? {
            true => Err(Problem::not_found()),
            false => Err(Problem::missing(Right::RolesManage)),
        };
    };
    let Some(organisation) = row.try_get::<Option<String>, _>("organisation")? else {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "Every server has this role as it is",
        ));
    };
    need_at(tx, who, Right::RolesManage, &organisation).await?;
    let own: Option<(String,)> =
        sqlx::query_as("SELECT id FROM grants WHERE person = $1 AND role = $2 LIMIT 1")
            .bind(&who.person.id)
            .bind(id)
            .fetch_optional(&mut **tx)
            .await?;
    if own.is_some() {
        let title = "Nobody changes their own rights";
        return Err(Problem::new(StatusCode::FORBIDDEN, title).code("oneself"));
    }
    let role = Role {
        id: id.to_owned(),
        organisation: Some(organisation.clone()),
        name: row.try_get("name")?,
        rights: rights_of(tx, id).await?,
    };
    Ok((role, organisation))
}

async fn need_all(
    connection: &mut AnyConnection,
    who: &LoggedIn,
    rights: &[Right],
    organisation: &str,
) -> Result<(), Problem> {
    for right in rights {
        if !rights::holds_throughout(connection, &who.subject, *right, organisation).await? {
            return Err(Problem::missing(*right));
        }
    }
    Ok(())
}

async fn rights_of(connection: &mut AnyConnection, role: &str) -> Result<Vec<Right>, Error> {
    let rows = sqlx::query("SELECT right_name FROM role_rights WHERE role = $1")
        .bind(role)
        .fetch_all(connection)
        .await?;
    let mut rights = Vec::with_capacity(rows.len());
    for row in rows {
        rights.extend(Right::from_name(&row.try_get::<String, _>("right_name")?));
    }
    Ok(sorted(rights))
}

fn sorted(mut rights: Vec<Right>) -> Vec<Right> {
    rights.sort_unstable();
    rights.dedup();
    rights
}

async fn note(
    tx: &mut Transaction<'static, Any>,
    who: &LoggedIn,
    action: Action,
    before: Option<&Role>,
    after: Option<&Role>,
) -> Result<(), Error> {
    let shown = |row: &Role| json!({ "name": row.name, "rights": row.rights });
    let row = after.or(before);
    let object = Object {
        kind: "role",
        id: row.map(|row| row.id.as_str()),
        organisation: row.and_then(|row| row.organisation.as_deref()),
    };
    let change = Change {
        before: before.map(shown),
        after: after.map(shown),
    };
    audit::write(tx, &who.asker(), action, object, change).await
}
