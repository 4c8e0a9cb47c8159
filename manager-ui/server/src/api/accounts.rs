//! Accounts with which SIP terminals prove who they are (WS/T 545: MGT-01, SW-04, VSEC-03). Their
//! passwords are kept nowhere: hashes of them are, by which nobody logs in elsewhere.

use axum::Json;
use axum::extract::{Path, State as StateOf};
use axum::http::StatusCode;
use mcu_api::directory::MAX_ACCOUNTS;
use mcu_api::secret::Redacted;
use md5::Md5;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::{Any, AnyConnection, FromRow, Row, Transaction};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::people::{Flag, Name, accept_password, need_at};
use super::rooms::{commit, is_dialable};
use super::{Body, Page, Paging, Params, Problem};
use crate::State;
use crate::asker::LoggedIn;
use crate::audit::{self, Action, Change, Object, hex};
use crate::once::{Once, Place};
use crate::rights::{self, Right, allowed};
use crate::store::{Error, new_id, now_ms};

/// Letters and digits of passwords that are made here: none that look alike.
const LETTERS: &[u8] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// Of 56 letters each, so that a password has 139 bits.
const PASSWORD_LEN: usize = 24;

/// SQL for all that is told of the accounts `a`, those of the configuration file among them, which are
/// at the root; `$3` is the realm.
macro_rules! columns {
    () => {
        "SELECT a.id, a.organisation, a.username, a.name, a.of_file, CAST(CASE WHEN a.of_file = 1 \
         OR EXISTS (SELECT 1 FROM account_secrets s WHERE s.account = a.id AND s.realm = $3) \
         THEN 1 ELSE 0 END AS BIGINT) AS has_password, \
         CAST(CASE WHEN a.of_file = 0 AND EXISTS \
         (SELECT 1 FROM file_accounts f WHERE f.username = a.username) \
         THEN 0 ELSE 1 END AS BIGINT) AS in_force \
         FROM (SELECT m.id, m.organisation, m.username, m.name, CAST(0 AS BIGINT) AS of_file, \
         m.username AS place FROM accounts m \
         UNION ALL SELECT 'file:' || f.username, t.id, f.username, '', CAST(1 AS BIGINT), \
         f.username || '/' FROM file_accounts f JOIN organisations t ON t.parent IS NULL) a \
         JOIN organisations o ON o.id = a.organisation WHERE "
    };
}

/// SQL that is true where `$1` holds the right `$2` at the home of the account `a`, or at an organisation
/// that it is shared with to this end.
macro_rules! reached {
    ($share:literal) => {
        concat!(
            "(EXISTS (SELECT 1 FROM organisations o WHERE o.id = a.organisation AND ",
            allowed!(),
            ") OR EXISTS (SELECT 1 FROM account_shares h \
             JOIN organisations o ON o.id = h.organisation WHERE h.account = a.id AND h.",
            $share,
            " = 1 AND ",
            allowed!(),
            "))"
        )
    };
}

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, change, remove))
        .routes(routes!(set_password))
}

/// User part of a terminal's address: 1 to 64 letters and digits of ASCII, `.`, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(as = AccountUser, value_type = String, pattern = "^[0-9A-Za-z._-]{1,64}$")]
struct User(String);

impl TryFrom<String> for User {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match is_dialable(&text) && text.len() <= 64 {
            true => Ok(Self(text)),
            false => Err("a user has 1 to 64 letters, digits, dots, dashes or underscores"),
        }
    }
}

/// One account.
#[derive(Clone, Debug, Serialize, FromRow, ToSchema)]
pub(super) struct Account {
    id: String,
    /// Id of the organisation whose terminal it is.
    pub(super) organisation: String,
    /// User part of the terminal's address.
    #[sqlx(rename = "username")]
    user: String,
    name: String,
    /// Whether there is a password for the server's realm; without one no terminal proves it.
    #[sqlx(try_from = "i64")]
    has_password: Flag,
    /// It is in the configuration file, and changed there.
    #[sqlx(try_from = "i64")]
    of_file: Flag,
    /// Terminals prove it: the configuration file has none of this user beside it.
    #[sqlx(try_from = "i64")]
    in_force: Flag,
}

impl Account {
    /// Its place in the list, as the statement has it.
    fn place(&self) -> String {
        match self.of_file.0 {
            true => format!("{}/", self.user),
            false => self.user.clone(),
        }
    }
}

/// Accounts that the asker may see, by user.
#[utoipa::path(get, path = "/accounts", tag = "accounts", params(Paging),
    extensions(("x-right" = json!("accounts.view"))),
    responses((status = 200, body = Page<Account>), (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn list(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<Account>>, Problem> {
    who.need(&state.store, Right::AccountsView).await?;
    let rows = sqlx::query_as::<_, Account>(concat!(
        columns!(),
        reached!("may_view"),
        " AND a.place > $4 AND (lower(a.name) LIKE $5 ESCAPE '!' \
         OR lower(a.username) LIKE $5 ESCAPE '!') ORDER BY a.place LIMIT $6"
    ))
    .bind(who.subject.as_str())
    .bind(Right::AccountsView.as_str())
    .bind(&state.file.realm)
    .bind(paging.after.as_deref().unwrap_or_default())
    .bind(paging.pattern())
    .bind(paging.rows())
    .fetch_all(state.store.pool()?)
    .await?;
    Ok(Json(paging.page(rows, Account::place)))
}

/// One account.
#[utoipa::path(get, path = "/accounts/{id}", tag = "accounts", params(("id" = String, Path)),
    extensions(("x-right" = json!("accounts.view"))),
    responses((status = 200, body = Account), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
async fn get(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
) -> Result<Json<Account>, Problem> {
    let mut connection = state.store.pool()?.acquire().await?;
    let row = seen(&mut connection, &state, &who, &id, Right::AccountsView).await?;
    Ok(Json(row))
}

/// A new account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewAccount {
    /// Id of the organisation whose terminal it is.
    organisation: String,
    user: User,
    name: Name,
    /// Its password; a strong one is made where none is given.
    #[schema(value_type = Option<String>)]
    password: Option<Redacted<String>>,
}

/// An account that was made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MadeAccount)]
struct Made {
    #[serde(flatten)]
    account: Account,
    /// The password that was made for it, told this once; none where one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    password: Option<Redacted<String>>,
}

/// Make an account. A terminal can register with it as soon as the answer is here.
#[utoipa::path(post, path = "/accounts", tag = "accounts", request_body = NewAccount,
    extensions(("x-right" = json!("accounts.manage")), ("x-once" = json!(true))),
    responses((status = 201, body = Made), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
async fn create(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    once: Once,
    Body(new): Body<NewAccount>,
) -> Result<(StatusCode, Json<Made>), Problem> {
    let mut tx = state.store.begin().await?;
    need_at(&mut tx, &who, Right::AccountsManage, &new.organisation).await?;
    refuse_taken(&state, &new.user.0)?;
    refuse_too_many(&mut tx).await?;
    let (password, told) = chosen(new.password, &new.user.0)?;
    let made = Account {
        id: new_id(),
        organisation: new.organisation,
        user: new.user.0,
        name: new.name.as_str().to_owned(),
        has_password: Flag(true),
        of_file: Flag(false),
        in_force: Flag(true),
    };
    let done = sqlx::query(
        "INSERT INTO accounts (id, organisation, username, name, created_ms) \
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(&made.id)
    .bind(&made.organisation)
    .bind(&made.user)
    .bind(&made.name)
    .bind(now_ms())
    .execute(&mut *tx)
    .await;
    done.map_err(user_taken)?;
    write_secrets(&mut tx, &made, &state.file.realm, &password).await?;
    note(
        &mut tx,
        &who,
        Action::Create,
        None,
        Some(shown(&made)),
        &made,
    )
    .await?;
    let made = Made {
        account: made,
        password: told,
    };
    let home = Place::Organisation(&made.account.organisation);
    once.keep(&mut tx, home, StatusCode::CREATED, &made).await?;
    commit(&state, tx).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// What is to change. The user is part of what the password proves, and stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AccountChanges)]
struct Changes {
    name: Option<Name>,
    /// Another organisation whose terminal it is.
    organisation: Option<String>,
}

/// Change an account.
#[utoipa::path(patch, path = "/accounts/{id}", tag = "accounts", params(("id" = String, Path)), request_body = Changes,
    extensions(("x-right" = json!("accounts.manage"))),
    responses((status = 200, body = Account), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
async fn change(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
    Body(changes): Body<Changes>,
) -> Result<Json<Account>, Problem> {
    let mut tx = state.store.begin().await?;
    let before = managed(&mut tx, &state, &who, &id).await?;
    let mut after = before.clone();
    if let Some(name) = &changes.name {
        after.name = name.as_str().to_owned();
    }
    if let Some(organisation) = changes.organisation {
        need_at(&mut tx, &who, Right::AccountsManage, &organisation).await?;
        after.organisation = organisation;
    }
    sqlx::query("UPDATE accounts SET name = $2, organisation = $3 WHERE id = $1")
        .bind(&id)
        .bind(&after.name)
        .bind(&after.organisation)
        .execute(&mut *tx)
        .await?;
    let (old, new) = (Some(shown(&before)), Some(shown(&after)));
    note(&mut tx, &who, Action::Change, old, new, &after).await?;
    commit(&state, tx).await?;
    Ok(Json(after))
}

/// A password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AccountPassword)]
struct Password {
    /// A strong one is made where none is given.
    #[schema(value_type = Option<String>)]
    password: Option<Redacted<String>>,
}

/// Give an account another password. Its registrations end; calls go on.
#[utoipa::path(put, path = "/accounts/{id}/password", tag = "accounts", params(("id" = String, Path)), request_body = Password,
    extensions(("x-right" = json!("accounts.manage"))),
    responses((status = 200, body = Made), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
async fn set_password(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
    Body(given): Body<Password>,
) -> Result<Json<Made>, Problem> {
    let mut tx = state.store.begin().await?;
    let account = managed(&mut tx, &state, &who, &id).await?;
    let (password, told) = chosen(given.password, &account.user)?;
    write_secrets(&mut tx, &account, &state.file.realm, &password).await?;
    let told_of = Some(json!({ "password_set_anew": true }));
    note(&mut tx, &who, Action::Change, None, told_of, &account).await?;
    commit(&state, tx).await?;
    Ok(Json(Made {
        account: Account {
            has_password: Flag(true),
            ..account
        },
        password: told,
    }))
}

/// Remove an account. Its registrations end; calls go on.
#[utoipa::path(delete, path = "/accounts/{id}", tag = "accounts", params(("id" = String, Path)),
    extensions(("x-right" = json!("accounts.manage"))),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn remove(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let mut tx = state.store.begin().await?;
    let before = managed(&mut tx, &state, &who, &id).await?;
    sqlx::query("DELETE FROM accounts WHERE id = $1")
        .bind(&id)
        .execute(&mut *tx)
        .await?;
    note(
        &mut tx,
        &who,
        Action::Remove,
        Some(shown(&before)),
        None,
        &before,
    )
    .await?;
    commit(&state, tx).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The password to be kept, and the one to be told.
fn chosen(
    given: Option<Redacted<String>>,
    user: &str,
) -> Result<(Redacted<String>, Option<Redacted<String>>), Problem> {
    match given {
        Some(given) => {
            accept_password(&given.0, user)?;
            Ok((given, None))
        }
        None => {
            let made = new_password();
            Ok((made.clone(), Some(made)))
        }
    }
}

fn new_password() -> Redacted<String> {
    let letter = || {
        let index = rand::random_range(0..LETTERS.len());
        char::from(LETTERS[index])
    };
    Redacted((0..PASSWORD_LEN).map(|_| letter()).collect())
}

/// Keeps what proves a password, in place of what was kept for any realm.
async fn write_secrets(
    tx: &mut Transaction<'static, Any>,
    account: &Account,
    realm: &str,
    password: &Redacted<String>,
) -> Result<(), Error> {
    sqlx::query("DELETE FROM account_secrets WHERE account = $1")
        .bind(&account.id)
        .execute(&mut **tx)
        .await?;
    // RFC 7616 §3.4.2.
    let text = format!("{}:{realm}:{}", account.user, password.0);
    let hashes = [
        ("MD5", hex(&Md5::digest(&text))),
        ("SHA-256", hex(&Sha256::digest(&text))),
    ];
    for (algorithm, ha1) in hashes {
        sqlx::query(
            "INSERT INTO account_secrets (account, realm, algorithm, ha1) VALUES ($1, $2, $3, $4)",
        )
        .bind(&account.id)
        .bind(realm)
        .bind(algorithm)
        .bind(ha1)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// The account of this id, if the asker holds this right where it belongs.
async fn seen(
    connection: &mut AnyConnection,
    state: &State,
    who: &LoggedIn,
    id: &str,
    right: Right,
) -> Result<Account, Problem> {
    let statement = match right {
        Right::AccountsView => concat!(columns!(), "a.id = $4 AND ", reached!("may_view")),
        _ => concat!(columns!(), "a.id = $4 AND ", allowed!()),
    };
    let row = sqlx::query_as(statement)
        .bind(who.subject.as_str())
        .bind(right.as_str())
        .bind(&state.file.realm)
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

/// Whether somebody may have terminals of this user's account rung by a room to which it is a stranger.
pub(super) async fn may_be_rung(
    connection: &mut AnyConnection,
    who: &LoggedIn,
    user: &str,
) -> Result<bool, Error> {
    let (accounts,): (i64,) = sqlx::query_as(concat!(
        "SELECT COUNT(*) FROM accounts a WHERE a.username = $3 AND NOT EXISTS \
         (SELECT 1 FROM file_accounts f WHERE f.username = $3) AND ",
        reached!("may_call")
    ))
    .bind(who.subject.as_str())
    .bind(Right::AccountsView.as_str())
    .bind(user)
    .fetch_one(connection)
    .await?;
    Ok(accounts > 0)
}

/// The account of this id, if the asker may change it. With whom it is shared may not.
pub(super) async fn managed(
    tx: &mut Transaction<'static, Any>,
    state: &State,
    who: &LoggedIn,
    id: &str,
) -> Result<Account, Problem> {
    let found = seen(tx, state, who, id, Right::AccountsManage).await;
    if found.is_err() && seen(tx, state, who, id, Right::AccountsView).await.is_ok() {
        return Err(Problem::missing(Right::AccountsManage));
    }
    if found.as_ref().is_ok_and(|account| account.of_file.0) {
        let title = "This account is in the configuration file, and changed there";
        return Err(Problem::new(StatusCode::CONFLICT, title).code("of_file"));
    }
    found
}

/// The account of this id, if it is shared with this organisation, whose accounts the asker manages: they end
/// that, whosever it is.
pub(super) async fn received(
    tx: &mut Transaction<'static, Any>,
    state: &State,
    who: &LoggedIn,
    (id, organisation): (&str, &str),
) -> Result<Option<Account>, Error> {
    let row = sqlx::query_as(concat!(
        columns!(),
        "a.id = $4 AND EXISTS (SELECT 1 FROM account_shares h \
         JOIN organisations o ON o.id = h.organisation \
         WHERE h.account = a.id AND h.organisation = $5 AND ",
        allowed!(),
        ")"
    ))
    .bind(who.subject.as_str())
    .bind(Right::AccountsManage.as_str())
    .bind(&state.file.realm)
    .bind(id)
    .bind(organisation)
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row)
}

fn refuse_taken(state: &State, user: &str) -> Result<(), Problem> {
    match state.file.accounts.iter().any(|known| known == user) {
        true => {
            let title = "The configuration file has an account of this user";
            Err(Problem::new(StatusCode::CONFLICT, title).code("taken"))
        }
        false => Ok(()),
    }
}

async fn refuse_too_many(tx: &mut Transaction<'static, Any>) -> Result<(), Problem> {
    let row = sqlx::query("SELECT COUNT(*) AS n FROM accounts")
        .fetch_one(&mut **tx)
        .await?;
    match row.try_get::<i64, _>("n")? < MAX_ACCOUNTS as i64 {
        true => Ok(()),
        false => {
            let title = "There are as many accounts as a server has";
            Err(Problem::new(StatusCode::CONFLICT, title).code("no_more"))
        }
    }
}

fn user_taken(failure: sqlx::Error) -> Problem {
    Problem::taken(failure, "An account has this user")
}

fn shown(account: &Account) -> Value {
    json!({ "user": account.user, "name": account.name, "organisation": account.organisation })
}

/// Notes what was done to an account.
pub(super) async fn note(
    tx: &mut Transaction<'static, Any>,
    who: &LoggedIn,
    action: Action,
    before: Option<Value>,
    after: Option<Value>,
    account: &Account,
) -> Result<(), Error> {
    let object = Object {
        kind: "account",
        id: Some(&account.id),
        organisation: Some(&account.organisation),
    };
    audit::write(tx, &who.asker(), action, object, Change { before, after }).await
}

/// Notes with whom an account is shared, at its home and at the other one.
pub(super) async fn note_share(
    tx: &mut Transaction<'static, Any>,
    who: &LoggedIn,
    (account, with): (&Account, &str),
    (before, after): (Option<Value>, Option<Value>),
) -> Result<(), Error> {
    let object = Object {
        kind: "account",
        id: Some(&account.id),
        organisation: Some(&account.organisation),
    };
    let change = Change { before, after };
    audit::write_at_both(tx, &who.asker(), Action::Change, (object, with), change).await
}
