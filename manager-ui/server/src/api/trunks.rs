//! Trunks: other servers that calls come from and go to (WS/T 545: MGT-01, MCU-03, VSEC-03). Each belongs to
//! an organisation and is for the rooms there and below. What is dialled with its prefix in a room goes out
//! by it; its own numbers lead to rooms that take guests. Those of the configuration file are shown here,
//! and changed in the file.

mod checked;

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State as StateOf};
use axum::http::StatusCode;
use mcu_api::directory::{MAX_TRUNKS, TrunkState};
use mcu_api::secret::Redacted;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use sqlx::{Any, AnyConnection, FromRow, Transaction};
use tracing::error;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::people::{Flag, need_at};
use super::rooms::commit;
use super::{Body, Problem};
use crate::State;
use crate::asker::LoggedIn;
use crate::audit::{self, Action, Change, Object};
use crate::directory::trunks::{purpose, sources};
use crate::once::{Once, Place};
use crate::rights::{self, Right, allowed};
use crate::store::{self, Error, new_id, now_ms};
use checked::{Dialled, Expires, Host, Leading, Name, Numbers, Password, Realm, Sources, User};

/// For the controller to say how trunks do.
const PATIENCE: Duration = Duration::from_secs(2);

/// SQL for all that is told of the trunks `k`.
macro_rules! columns {
    () => {
        "SELECT k.id, k.organisation, k.name, k.address, k.transport, k.domain, k.username, \
         CAST(CASE WHEN k.password IS NULL THEN 0 ELSE 1 END AS BIGINT) AS has_password, k.realm, \
         k.register, k.expires_s, k.sources_json, k.prefix, k.prepend \
         FROM trunks k JOIN organisations o ON o.id = k.organisation WHERE "
    };
}

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(change, remove))
}

/// How calls go to a trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TrunkTransport)]
enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// One trunk, as it is kept.
#[derive(Clone, Debug, FromRow)]
struct Row {
    id: String,
    organisation: String,
    name: String,
    address: String,
    transport: Option<String>,
    domain: Option<String>,
    username: Option<String>,
    #[sqlx(try_from = "i64")]
    has_password: Flag,
    realm: Option<String>,
    #[sqlx(try_from = "i64")]
    register: Flag,
    expires_s: i64,
    sources_json: String,
    prefix: Option<String>,
    prepend: String,
}

/// One trunk.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Trunk {
    id: String,
    /// Id of the organisation whose trunk it is: it is for the rooms there and below.
    organisation: String,
    name: String,
    /// Where calls to it go: `HOST` or `HOST:PORT`.
    address: String,
    /// `udp`, `tcp` or `tls`; as DNS says where there is none.
    transport: Option<String>,
    /// Host part of its addresses, if not the address.
    domain: Option<String>,
    /// Who we are there.
    user: Option<String>,
    /// Whether we have a password there, which is told to nobody again.
    has_password: Flag,
    /// The one realm whose challenges are answered; its own host's where there is none.
    realm: Option<String>,
    /// Whether we register there.
    register: Flag,
    /// For how many seconds at a time.
    expires_s: i64,
    /// Calls from these addresses are its calls.
    #[schema(value_type = Vec<String>)]
    sources: Vec<IpAddr>,
    /// Numbers that begin so go to it when a room calls them, without that.
    prefix: Option<String>,
    /// What it is told before the rest of a number.
    prepend: String,
    /// Its own numbers, and where they lead.
    numbers: Vec<Number>,
    /// How it does; none while the controller does not say so.
    state: Option<Live>,
}

/// A number of a trunk, and the room that it leads to: one that takes guests, whom it asks for their PIN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TrunkNumber)]
struct Number {
    /// As the trunk calls it.
    #[schema(value_type = String, pattern = "^[0-9A-Za-z+._-]{1,32}$")]
    number: Leading,
    /// Number of the room.
    room: String,
}

/// How a trunk does.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = TrunkState)]
struct Live {
    /// Whether we are registered there; none where we do not register.
    registered: Option<bool>,
    /// Since when that is so.
    since_ms: Option<i64>,
    /// Why we are not, in words for who administers it.
    failure: Option<String>,
}

/// A trunk of the configuration file.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct FileTrunk {
    name: String,
    state: Live,
}

/// All trunks that the asker may see.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Trunks)]
struct List {
    /// Those that were made, by name.
    items: Vec<Trunk>,
    /// Those of the configuration file, for who sees trunks at the root.
    of_file: Vec<FileTrunk>,
}

/// Trunks that the asker may see, and how they do.
#[utoipa::path(get, path = "/trunks", tag = "trunks",
    extensions(("x-right" = json!("trunks.view"))),
    responses((status = 200, body = List), (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn list(StateOf(state): StateOf<State>, who: LoggedIn) -> Result<Json<List>, Problem> {
    who.need(&state.store, Right::TrunksView).await?;
    let mut connection = state.store.pool()?.acquire().await?;
    let rows: Vec<Row> = sqlx::query_as(concat!(columns!(), allowed!(), " ORDER BY k.name"))
        .bind(who.subject.as_str())
        .bind(Right::TrunksView.as_str())
        .fetch_all(&mut *connection)
        .await?;
    let mut numbers = numbers_of(&mut connection, None).await?;
    let root: Option<(String,)> =
        sqlx::query_as("SELECT id FROM organisations WHERE parent IS NULL")
            .fetch_optional(&mut *connection)
            .await?;
    let sees_file = match root {
        Some((root,)) => {
            rights::holds(&mut connection, &who.subject, Right::TrunksView, &root).await?
        }
        None => false,
    };
    drop(connection);
    // Where the controller is away, they are shown without.
    let states = state.link.trunks(PATIENCE).await.unwrap_or_default();
    let items = rows.into_iter().map(|row| {
        let numbers = numbers.remove(&row.id).unwrap_or_default();
        let live = states
            .iter()
            .find(|live| live.made && live.name == row.name);
        row.shown(numbers, live)
    });
    let items = items.collect();
    let of_file = states.iter().filter(|live| sees_file && !live.made);
    let of_file = of_file.map(|live| FileTrunk {
        name: live.name.clone(),
        state: live.into(),
    });
    Ok(Json(List {
        items,
        of_file: of_file.collect(),
    }))
}

/// A new trunk.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTrunk {
    /// Id of the organisation whose trunk it is.
    organisation: String,
    name: Name,
    address: Host,
    transport: Option<Transport>,
    domain: Option<Host>,
    user: Option<User>,
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    password: Option<Password>,
    realm: Option<Realm>,
    #[serde(default)]
    register: bool,
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 60, maximum = 86400)]
    expires_s: Expires,
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 16)]
    sources: Sources,
    prefix: Option<Dialled>,
    prepend: Option<Dialled>,
    #[serde(default)]
    #[schema(value_type = Vec<Number>, max_items = 32)]
    numbers: Numbers,
}

/// Make a trunk. The server goes by it when the answer is here, and begins to register there.
#[utoipa::path(post, path = "/trunks", tag = "trunks", request_body = NewTrunk,
    extensions(("x-right" = json!("trunks.manage")), ("x-once" = json!(true))),
    responses((status = 201, body = Trunk), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
async fn create(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    once: Once,
    Body(new): Body<NewTrunk>,
) -> Result<(StatusCode, Json<Trunk>), Problem> {
    let mut tx = state.store.begin().await?;
    need_at(&mut tx, &who, Right::TrunksManage, &new.organisation).await?;
    refuse_too_many(&mut tx).await?;
    if !new.sources.0.is_empty() {
        need_root(&mut tx, &who).await?;
    }
    let row = Row {
        id: new_id(),
        organisation: new.organisation,
        name: new.name.0,
        address: new.address.0,
        transport: new.transport.map(|transport| transport.as_str().to_owned()),
        domain: new.domain.map(|domain| domain.0),
        username: new.user.map(|user| user.0),
        has_password: Flag(new.password.is_some()),
        realm: new.realm.map(|realm| realm.0),
        register: Flag(new.register),
        expires_s: new.expires_s.0,
        sources_json: json!(new.sources.0).to_string(),
        prefix: new.prefix.map(|prefix| prefix.0),
        prepend: new.prepend.map(|prepend| prepend.0).unwrap_or_default(),
    };
    let password = sealed(&state, &row.id, new.password)?;
    write(&state, &mut tx, &row, Some(password)).await?;
    write_numbers(&mut tx, &row, &new.numbers.0).await?;
    let numbers = new.numbers.0;
    let told = Some(row.noted(&numbers));
    note(&mut tx, &who, Action::Create, None, told, &row).await?;
    let home = row.organisation.clone();
    let made = row.shown(numbers, None);
    let home = Place::Organisation(&home);
    once.keep(&mut tx, home, StatusCode::CREATED, &made).await?;
    commit(&state, tx).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// What is to change; `null` takes something away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TrunkChanges)]
struct Changes {
    /// Another organisation whose trunk it is.
    organisation: Option<String>,
    name: Option<Name>,
    address: Option<Host>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Transport>)]
    transport: Option<Option<Transport>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Host>)]
    domain: Option<Option<Host>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<User>)]
    user: Option<Option<User>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    password: Option<Option<Password>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Realm>)]
    realm: Option<Option<Realm>>,
    register: Option<bool>,
    #[schema(value_type = Option<u32>, minimum = 60, maximum = 86400)]
    expires_s: Option<Expires>,
    #[schema(value_type = Option<Vec<String>>, max_items = 16)]
    sources: Option<Sources>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Dialled>)]
    prefix: Option<Option<Dialled>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Dialled>)]
    prepend: Option<Option<Dialled>>,
    #[schema(value_type = Option<Vec<Number>>, max_items = 32)]
    numbers: Option<Numbers>,
}

/// A field that is there, `null` or not.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Change a trunk. Calls go on; it is registered at anew where what concerns that is another.
#[utoipa::path(patch, path = "/trunks/{id}", tag = "trunks", params(("id" = String, Path)), request_body = Changes,
    extensions(("x-right" = json!("trunks.manage"))),
    responses((status = 200, body = Trunk), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
async fn change(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
    Body(changes): Body<Changes>,
) -> Result<Json<Trunk>, Problem> {
    let mut tx = state.store.begin().await?;
    let before = managed(&mut tx, &who, &id).await?;
    let known = numbers_of(&mut tx, Some(&id)).await?.remove(&id);
    let known = known.unwrap_or_default();
    let is_secret_new = changes.password.is_some();
    if changes.sources.is_some() {
        need_root(&mut tx, &who).await?;
    }
    let (after, password, numbers) = changed(&before, changes);
    let is_led_elsewhere = before.way() != after.way();
    if is_led_elsewhere && !is_secret_new && before.has_password.0 && after.has_password.0 {
        // Whoever does not know it could have it answer challenges of a server of their own.
        let title = "Another server is told the password anew";
        let refusal = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, title);
        return Err(refusal.code("password_anew"));
    }
    if after.organisation != before.organisation {
        need_at(&mut tx, &who, Right::TrunksManage, &after.organisation).await?;
    }
    let password = match password {
        Some(password) => Some(sealed(&state, &id, password)?),
        None => None,
    };
    write(&state, &mut tx, &after, password).await?;
    // A room that went elsewhere is nothing that another change has to answer for.
    let leads_anew = numbers.is_some() || after.organisation != before.organisation;
    let numbers = numbers.unwrap_or_else(|| known.clone());
    if leads_anew {
        write_numbers(&mut tx, &after, &numbers).await?;
    }
    let mut told = after.noted(&numbers);
    if is_secret_new {
        told["password_set_anew"] = json!(true);
    }
    let (old, new) = (Some(before.noted(&known)), Some(told));
    note(&mut tx, &who, Action::Change, old, new, &after).await?;
    commit(&state, tx).await?;
    Ok(Json(after.shown(numbers, None)))
}

impl Row {
    /// Whom the password proves to whom.
    fn way(&self) -> (&str, [&Option<String>; 4]) {
        let rest = [&self.transport, &self.domain, &self.username, &self.realm];
        (&self.address, rest)
    }
}

/// Calls from a trunk's addresses prove no account, whosever terminals are there too: only who has the whole
/// server in hand names them.
async fn need_root(tx: &mut Transaction<'static, Any>, who: &LoggedIn) -> Result<(), Problem> {
    let (root,): (String,) = sqlx::query_as("SELECT id FROM organisations WHERE parent IS NULL")
        .fetch_one(&mut **tx)
        .await?;
    need_at(tx, who, Right::TrunksManage, &root).await
}

/// A password that is to be kept in place of the one there is, or of which there is to be none.
type Secret = Option<Option<Password>>;

fn changed(before: &Row, changes: Changes) -> (Row, Secret, Option<Vec<Number>>) {
    let mut after = before.clone();
    let set = |field: &mut String, value: Option<String>| {
        if let Some(value) = value {
            *field = value;
        }
    };
    let set_or_take = |field: &mut Option<String>, value: Option<Option<String>>| {
        if let Some(value) = value {
            *field = value;
        }
    };
    set(&mut after.organisation, changes.organisation);
    set(&mut after.name, changes.name.map(|name| name.0));
    set(&mut after.address, changes.address.map(|host| host.0));
    let transport = changes
        .transport
        .map(|it| it.map(|it| it.as_str().to_owned()));
    set_or_take(&mut after.transport, transport);
    set_or_take(
        &mut after.domain,
        changes.domain.map(|it| it.map(|it| it.0)),
    );
    set_or_take(
        &mut after.username,
        changes.user.map(|it| it.map(|it| it.0)),
    );
    set_or_take(&mut after.realm, changes.realm.map(|it| it.map(|it| it.0)));
    set_or_take(
        &mut after.prefix,
        changes.prefix.map(|it| it.map(|it| it.0)),
    );
    let prepend = changes
        .prepend
        .map(|it| it.map(|it| it.0).unwrap_or_default());
    set(&mut after.prepend, prepend);
    set(
        &mut after.sources_json,
        changes.sources.map(|it| json!(it.0).to_string()),
    );
    if let Some(register) = changes.register {
        after.register = Flag(register);
    }
    if let Some(expires) = changes.expires_s {
        after.expires_s = expires.0;
    }
    if let Some(password) = &changes.password {
        after.has_password = Flag(password.is_some());
    }
    (after, changes.password, changes.numbers.map(|it| it.0))
}

/// Remove a trunk. Calls go on; what it holds of us runs out by itself.
#[utoipa::path(delete, path = "/trunks/{id}", tag = "trunks", params(("id" = String, Path)),
    extensions(("x-right" = json!("trunks.manage"))),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
async fn remove(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let mut tx = state.store.begin().await?;
    let before = managed(&mut tx, &who, &id).await?;
    let numbers = numbers_of(&mut tx, Some(&id)).await?.remove(&id);
    sqlx::query("DELETE FROM trunks WHERE id = $1")
        .bind(&id)
        .execute(&mut *tx)
        .await?;
    let told = Some(before.noted(&numbers.unwrap_or_default()));
    note(&mut tx, &who, Action::Remove, told, None, &before).await?;
    commit(&state, tx).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Row {
    fn shown(self, numbers: Vec<Number>, live: Option<&TrunkState>) -> Trunk {
        Trunk {
            id: self.id,
            organisation: self.organisation,
            name: self.name,
            address: self.address,
            transport: self.transport,
            domain: self.domain,
            user: self.username,
            has_password: self.has_password,
            realm: self.realm,
            register: self.register,
            expires_s: self.expires_s,
            sources: sources(&self.sources_json),
            prefix: self.prefix,
            prepend: self.prepend,
            numbers,
            state: live.map(Live::from),
        }
    }

    /// As the record has it.
    fn noted(&self, numbers: &[Number]) -> Value {
        let numbers = numbers.iter();
        let numbers: Vec<String> = numbers
            .map(|number| format!("{} {}", number.number.0, number.room))
            .collect();
        json!({ "name": self.name, "organisation": self.organisation, "address": self.address,
            "transport": self.transport, "domain": self.domain, "user": self.username,
            "has_password": self.has_password, "realm": self.realm, "register": self.register,
            "expires_s": self.expires_s, "sources": sources(&self.sources_json),
            "prefix": self.prefix, "prepend": self.prepend, "numbers": numbers })
    }

    /// What no field alone can tell.
    fn check(&self) -> Result<(), Problem> {
        let (title, code) = match self {
            row if row.has_password.0 && row.username.is_none() => {
                ("A password needs a user", "needs_user")
            }
            row if row.register.0 && !row.has_password.0 => {
                ("Registering needs a user and a password", "needs_password")
            }
            row if row.realm.is_some() && !row.has_password.0 => {
                ("A realm needs a user and a password", "needs_password")
            }
            row if row.transport.as_deref() == Some("tls") && checked::is_number(&row.address) => {
                ("TLS needs a name, for a certificate to show", "needs_name")
            }
            row if !row.prepend.is_empty() && row.prefix.is_none() => (
                "What is told before a number needs a prefix",
                "needs_prefix",
            ),
            _ => return Ok(()),
        };
        Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, title).code(code))
    }
}

impl From<&TrunkState> for Live {
    fn from(state: &TrunkState) -> Self {
        Self {
            registered: state.registered,
            since_ms: state.since_ms,
            failure: state.failure.clone(),
        }
    }
}

fn sealed(
    state: &State,
    id: &str,
    password: Option<Password>,
) -> Result<Option<Redacted<String>>, Problem> {
    let Some(password) = password else {
        return Ok(None);
    };
    let sealed = state.seal.seal(&purpose(id), password.0.0.as_bytes());
    let sealed = sealed.map_err(|failure| {
        error!(error = store::chain(&failure), "a trunk is not taken");
        let title = "The server cannot keep a secret now";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, title).code("no_key")
    })?;
    Ok(Some(Redacted(sealed)))
}

/// Writes a row, new or not; the password stays where none is given.
async fn write(
    state: &State,
    tx: &mut Transaction<'static, Any>,
    row: &Row,
    password: Option<Option<Redacted<String>>>,
) -> Result<(), Problem> {
    row.check()?;
    refuse_taken(state, tx, row).await?;
    let done = sqlx::query(
        "INSERT INTO trunks (id, organisation, name, address, transport, domain, username, password, \
         realm, register, expires_s, sources_json, prefix, prepend, created_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
         ON CONFLICT (id) DO UPDATE SET organisation = $2, name = $3, address = $4, transport = $5, \
         domain = $6, username = $7, password = CASE WHEN $16 = 1 THEN $8 ELSE trunks.password END, \
         realm = $9, register = $10, expires_s = $11, sources_json = $12, prefix = $13, prepend = $14",
    )
    .bind(&row.id)
    .bind(&row.organisation)
    .bind(&row.name)
    .bind(&row.address)
    .bind(&row.transport)
    .bind(&row.domain)
    .bind(&row.username)
    .bind(password.clone().flatten().map(|sealed| sealed.0))
    .bind(&row.realm)
    .bind(i64::from(row.register.0))
    .bind(row.expires_s)
    .bind(&row.sources_json)
    .bind(&row.prefix)
    .bind(&row.prepend)
    .bind(now_ms())
    .bind(i64::from(password.is_some()))
    .execute(&mut **tx)
    .await;
    done.map_err(|failure| Problem::taken(failure, "Another trunk has this name"))?;
    Ok(())
}

/// Each name, each prefix of an organisation, and each address that calls come from is one trunk's.
async fn refuse_taken(
    state: &State,
    tx: &mut Transaction<'static, Any>,
    row: &Row,
) -> Result<(), Problem> {
    let conflict = |title, code| Err(Problem::new(StatusCode::CONFLICT, title).code(code));
    let file = &state.file.trunks;
    if file.iter().any(|(name, _)| *name == row.name) {
        return conflict("The configuration file has a trunk of this name", "taken");
    }
    let others: Vec<(String, Option<String>, String)> =
        sqlx::query_as("SELECT organisation, prefix, sources_json FROM trunks WHERE id <> $1")
            .bind(&row.id)
            .fetch_all(&mut **tx)
            .await?;
    let is_same = |(organisation, prefix, _): &(String, Option<String>, String)| {
        row.prefix.is_some() && *organisation == row.organisation && *prefix == row.prefix
    };
    if others.iter().any(is_same) {
        return conflict("Another trunk here has this prefix", "prefix_taken");
    }
    let of_file = file.iter().flat_map(|(_, sources)| sources.iter().copied());
    let made = others.iter().flat_map(|(_, _, json)| sources(json));
    let taken: Vec<IpAddr> = of_file.chain(made).collect();
    if sources(&row.sources_json)
        .iter()
        .any(|ip| taken.contains(ip))
    {
        return conflict("Another trunk's calls come from there", "source_taken");
    }
    Ok(())
}

/// Writes where its numbers lead, in place of what there was.
///
/// # Errors
/// 422 for a room that is not where the trunk is, or below.
async fn write_numbers(
    tx: &mut Transaction<'static, Any>,
    trunk: &Row,
    numbers: &[Number],
) -> Result<(), Problem> {
    sqlx::query("DELETE FROM trunk_numbers WHERE trunk = $1")
        .bind(&trunk.id)
        .execute(&mut **tx)
        .await?;
    for number in numbers {
        let done = sqlx::query(
            "INSERT INTO trunk_numbers (trunk, number, room) SELECT $1, $2, m.id FROM rooms m \
             JOIN organisations o ON o.id = m.organisation \
             JOIN organisations t ON t.id = $4 AND substr(o.path, 1, length(t.path)) = t.path \
             WHERE m.number = $3",
        )
        .bind(&trunk.id)
        .bind(&number.number.0)
        .bind(&number.room)
        .bind(&trunk.organisation)
        .execute(&mut **tx)
        .await?;
        if done.rows_affected() == 0 {
            let title = "No room of this number is where the trunk is, or below";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, title).code("no_room"));
        }
    }
    Ok(())
}

/// The numbers of all trunks, or of one, by trunk.
async fn numbers_of(
    connection: &mut AnyConnection,
    trunk: Option<&str>,
) -> Result<HashMap<String, Vec<Number>>, Error> {
    let rows: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT n.trunk, n.number, m.number FROM trunk_numbers n JOIN rooms m ON m.id = n.room \
         WHERE $1 = '' OR n.trunk = $1 ORDER BY n.number",
    )
    .bind(trunk.unwrap_or_default())
    .fetch_all(connection)
    .await?;
    let mut numbers: HashMap<String, Vec<Number>> = HashMap::new();
    for (trunk, number, room) in rows {
        let known = numbers.entry(trunk).or_default();
        let number = Leading(number);
        known.push(Number { number, room });
    }
    Ok(numbers)
}

/// The trunk of this id, if the asker may change it.
///
/// # Errors
/// 404, and 403 for who sees it.
async fn managed(
    tx: &mut Transaction<'static, Any>,
    who: &LoggedIn,
    id: &str,
) -> Result<Row, Problem> {
    let found = async |tx: &mut Transaction<'static, Any>, right: Right| {
        sqlx::query_as::<_, Row>(concat!(columns!(), "k.id = $3 AND ", allowed!()))
            .bind(who.subject.as_str())
            .bind(right.as_str())
            .bind(id)
            .fetch_optional(&mut **tx)
            .await
    };
    let right = Right::TrunksManage;
    if let Some(row) = found(tx, right).await? {
        return Ok(row);
    }
    let sees = found(tx, Right::TrunksView).await?.is_some();
    match sees || !rights::holds_anywhere(tx, &who.subject, right).await? {
        true => Err(Problem::missing(right)),
        false => Err(Problem::not_found()),
    }
}

async fn refuse_too_many(tx: &mut Transaction<'static, Any>) -> Result<(), Problem> {
    let (trunks,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM trunks")
        .fetch_one(&mut **tx)
        .await?;
    match trunks < MAX_TRUNKS as i64 {
        true => Ok(()),
        false => {
            let title = "There are as many trunks as a server has";
            Err(Problem::new(StatusCode::CONFLICT, title).code("no_more"))
        }
    }
}

async fn note(
    tx: &mut Transaction<'static, Any>,
    who: &LoggedIn,
    action: Action,
    before: Option<Value>,
    after: Option<Value>,
    trunk: &Row,
) -> Result<(), Error> {
    let object = Object {
        kind: "trunk",
        id: Some(&trunk.id),
        organisation: Some(&trunk.organisation),
    };
    audit::write(tx, &who.asker(), action, object, Change { before, after }).await
}
