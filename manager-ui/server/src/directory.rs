//! What the controller is to go by: the rooms and accounts of the database, read whole after each
//! change and sent with a generation number. While the database is away the controller goes on with
//! what it has.

pub(crate) mod trunks;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mcu_api::call::SrtpPolicy;
use mcu_api::directory::{
    Branch, DEFAULT_FRAME_RATE, Directory, MAX_SHARES, MadeAccount, MadeRoom, Shape,
};
use mcu_api::layout::Layout;
use mcu_api::secret::Redacted;
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::api::ports;
use crate::link::Link;
use crate::seal::Seal;
use crate::store::{self, Error, Store, now_ms};

/// Between attempts to read a database that is away.
const RETRY: Duration = Duration::from_secs(1);
/// Between two looks for a change that nobody told.
const LOOK: Duration = Duration::from_secs(5);
/// How long whoever changed something waits for the controller to have taken it up. It does so later,
/// too.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the configuration file says of rooms and accounts.
#[derive(Clone, Debug, Default)]
pub(crate) struct File {
    /// Realm of the accounts' passwords.
    pub realm: String,
    /// Its rooms, whose numbers nothing made here may have.
    pub rooms: Vec<FileRoom>,
    /// Users of its accounts.
    pub accounts: Vec<String>,
    /// Names of its trunks, and the addresses that their calls come from.
    pub trunks: Vec<(String, Vec<IpAddr>)>,
}

impl File {
    /// Whether one of its rooms has this number.
    pub(crate) fn has_room(&self, number: &str) -> bool {
        self.rooms.iter().any(|room| room.number == number)
    }
}

/// A room of the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileRoom {
    /// What is dialled.
    pub number: String,
    /// Whether somebody who proved nothing may enter.
    pub guests: bool,
    /// Whether media of terminals is to be encrypted.
    pub srtp: SrtpPolicy,
    /// Everybody is asked for a PIN.
    pub has_pin: bool,
    /// Guests are asked for a PIN of their own.
    pub has_guest_pin: bool,
    /// Its pictures, and how many sites it takes.
    pub shape: Shape,
}

/// Has the controller follow the database.
#[derive(Clone)]
pub(crate) struct Follower {
    changed: Arc<Notify>,
    link: Link,
}

impl Follower {
    pub(crate) fn new(link: Link) -> Self {
        Self {
            changed: Arc::default(),
            link,
        }
    }

    /// Something was changed, and has this generation: returns once the controller goes by it, or
    /// does not do so in time.
    pub(crate) async fn follow(&self, generation: u64) {
        self.changed.notify_one();
        if self.link.is_connected() {
            let _ = timeout(PATIENCE, self.link.holds(generation)).await;
        }
    }

    /// Sends the directory after each change. Never ends.
    pub(crate) async fn run(self, store: Store, seal: Seal, file: &File) {
        store.ready().await;
        let mut shown = false;
        // A database that was brought back from a copy says something new.
        let mut least = 0;
        let mut away = false;
        loop {
            if !shown {
                match show(&store, file).await {
                    Ok(()) => shown = true,
                    Err(error) => {
                        let error = store::chain(&error);
                        warn!(
                            error,
                            "lists do not show what the configuration file has yet"
                        );
                    }
                }
            }
            let generation = match read(&store, &seal, &file.realm, least).await {
                Ok(directory) => {
                    away = false;
                    let generation = directory.generation;
                    self.link.direct(directory);
                    generation
                }
                Err(error) => {
                    if !std::mem::replace(&mut away, true) {
                        let error = store::chain(&error);
                        warn!(
                            error,
                            "rooms and accounts cannot be read, tried each second"
                        );
                    }
                    sleep(RETRY).await;
                    continue;
                }
            };
            least = tokio::select! {
                () = self.changed.notified() => generation,
                () = moved_on(&store, generation) => generation,
                () = sleep(LOOK), if !shown => generation,
                // It goes by what another database said. Ours is what it is to go by.
                later = self.link.holds_later(generation) => later,
            };
        }
    }
}

/// Returns once the database has another generation: whoever made a change may be gone before it could be
/// told, as a request whose client hung up is.
async fn moved_on(store: &Store, known: u64) {
    loop {
        sleep(LOOK).await;
        let Ok(pool) = store.pool() else { continue };
        let row: Result<(i64,), _> =
            sqlx::query_as("SELECT generation FROM directory_head WHERE one = 1")
                .fetch_one(pool)
                .await;
        if row.is_ok_and(|(generation,)| generation.unsigned_abs() != known) {
            return;
        }
    }
}

/// Has the database know what the configuration file has: lists are read there.
///
/// # Errors
/// Those of the database.
pub(crate) async fn show(store: &Store, file: &File) -> Result<(), Error> {
    let mut tx = store.begin().await?;
    for table in ["DELETE FROM file_rooms", "DELETE FROM file_accounts"] {
        sqlx::query(table).execute(&mut *tx).await?;
    }
    for room in &file.rooms {
        sqlx::query(
            "INSERT INTO file_rooms (number, guests, srtp, has_pin, has_guest_pin, layout, \
             max_height, max_legs, captions, max_frame_rate) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(&room.number)
        .bind(i64::from(room.guests))
        .bind(policy_name(room.srtp))
        .bind(i64::from(room.has_pin))
        .bind(i64::from(room.has_guest_pin))
        .bind(room.shape.layout.name())
        .bind(room.shape.max_height.map(i64::from))
        .bind(room.shape.max_legs.map(i64::from))
        .bind(i64::from(room.shape.captions))
        .bind(i64::from(room.shape.max_frame_rate))
        .execute(&mut *tx)
        .await?;
    }
    for user in &file.accounts {
        sqlx::query("INSERT INTO file_accounts (username) VALUES ($1)")
            .bind(user)
            .execute(&mut *tx)
            .await?;
    }
    Ok(tx.commit().await?)
}

/// Notes in a transaction that it changes what the controller goes by; yields the generation.
///
/// # Errors
/// Those of the database.
pub(crate) async fn touch(tx: &mut Transaction<'static, Any>) -> Result<u64, Error> {
    raise(tx, 0).await
}

/// Raises the generation by one, or to the time, or to `least`: the highest of them.
async fn raise(tx: &mut Transaction<'static, Any>, least: u64) -> Result<u64, Error> {
    let least = now_ms().max(i64::try_from(least).unwrap_or(i64::MAX));
    let raised: i64 = sqlx::query(
        "UPDATE directory_head SET generation = CASE WHEN generation >= $1 THEN generation + 1 \
         ELSE $1 END WHERE one = 1 RETURNING generation",
    )
    .bind(least)
    .fetch_one(&mut **tx)
    .await?
    .try_get("generation")?;
    Ok(raised.unsigned_abs())
}

/// Everything, of one moment. The generation is raised where it is less than `least`, and at the first
/// reading (`least` 0).
async fn read(store: &Store, seal: &Seal, realm: &str, least: u64) -> Result<Directory, Error> {
    let mut tx = store.begin().await?;
    // The row is locked first: nothing changes while the rest is read.
    let generation: i64 = sqlx::query(
        "UPDATE directory_head SET generation = generation WHERE one = 1 RETURNING generation",
    )
    .fetch_one(&mut *tx)
    .await?
    .try_get("generation")?;
    let mut generation = generation.unsigned_abs();
    if least == 0 || generation < least {
        generation = raise(&mut tx, least + 1).await?;
    }
    let places: Vec<(String, String)> = sqlx::query_as("SELECT path, id FROM organisations")
        .fetch_all(&mut *tx)
        .await?;
    let rooms = sqlx::query(
        "SELECT id, organisation, number, guests, srtp, pin, guest_pin, layout, max_height, \
         max_legs, captions, max_frame_rate FROM rooms",
    )
    .fetch_all(&mut *tx)
    .await?;
    let shares: Vec<(String, String)> =
        sqlx::query_as("SELECT room, organisation FROM room_shares WHERE may_join = 1 LIMIT $1")
            .bind(i64::try_from(MAX_SHARES).unwrap_or(i64::MAX))
            .fetch_all(&mut *tx)
            .await?;
    let accounts = sqlx::query(
        "SELECT a.username, a.organisation, m.ha1 AS md5, s.ha1 AS sha256 FROM accounts a \
         JOIN account_secrets m ON m.account = a.id AND m.realm = $1 AND m.algorithm = 'MD5' \
         JOIN account_secrets s ON s.account = a.id AND s.realm = $1 AND s.algorithm = 'SHA-256'",
    )
    .bind(realm)
    .fetch_all(&mut *tx)
    .await?;
    let places = branches(places);
    let trunks = trunks::read(&mut tx, seal, &places).await?;
    let ports = ports::read(&mut tx).await?;
    tx.commit().await?;
    let mut shared: HashMap<String, Vec<Branch>> = HashMap::new();
    for (room, organisation) in shares {
        let places_of_room = shared.entry(room).or_default();
        places_of_room.extend(places.get(&organisation));
    }
    let rooms = rooms.iter().map(|row| made_room(row, &places, &mut shared));
    let accounts = accounts.iter().map(|row| {
        Ok(MadeAccount {
            user: row.try_get("username")?,
            home: places.get(row.try_get::<&str, _>("organisation")?).copied(),
            md5: Redacted(row.try_get("md5")?),
            sha256: Redacted(row.try_get("sha256")?),
        })
    });
    Ok(Directory {
        generation,
        rooms: rooms.collect::<Result<_, sqlx::Error>>()?,
        accounts: accounts.collect::<Result<_, sqlx::Error>>()?,
        trunks,
        shares: ports,
    })
}

fn made_room(
    row: &AnyRow,
    places: &HashMap<String, Branch>,
    shared: &mut HashMap<String, Vec<Branch>>,
) -> Result<MadeRoom, sqlx::Error> {
    let pin: Option<String> = row.try_get("pin")?;
    let guest_pin: Option<String> = row.try_get("guest_pin")?;
    let shared = shared.remove(row.try_get::<&str, _>("id")?);
    Ok(MadeRoom {
        number: row.try_get("number")?,
        home: places.get(row.try_get::<&str, _>("organisation")?).copied(),
        shared: shared.unwrap_or_default(),
        // By a PIN, or not at all.
        guests: row.try_get::<i64, _>("guests")? != 0 && (pin.is_some() || guest_pin.is_some()),
        srtp: policy(row.try_get("srtp")?),
        pin: pin.map(Redacted),
        guest_pin: guest_pin.map(Redacted),
        shape: shape(row)?,
    })
}

/// Numbers the organisations, of which each comes with its path: sorted by it, what is below one follows
/// it. By bytes, which no database's own order is sure to be.
fn branches(mut paths: Vec<(String, String)>) -> HashMap<String, Branch> {
    paths.sort();
    let number = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
    let mut branches = HashMap::with_capacity(paths.len());
    for (first, (path, id)) in paths.iter().enumerate() {
        let others = paths.iter().skip(first + 1);
        let below = others.take_while(|(other, _)| other.starts_with(path.as_str()));
        let branch = Branch {
            first: number(first),
            last: number(first + below.count()),
        };
        branches.insert(id.clone(), branch);
    }
    branches
}

fn shape(row: &AnyRow) -> Result<Shape, sqlx::Error> {
    let bound = |name| {
        let bound: Option<i64> = row.try_get(name)?;
        Ok::<_, sqlx::Error>(bound.and_then(|bound| u16::try_from(bound).ok()))
    };
    Ok(Shape {
        layout: Layout::named(row.try_get("layout")?).unwrap_or_default(),
        max_height: bound("max_height")?,
        max_frame_rate: u8::try_from(row.try_get::<i64, _>("max_frame_rate")?)
            .unwrap_or(DEFAULT_FRAME_RATE),
        max_legs: bound("max_legs")?,
        captions: row.try_get::<i64, _>("captions")? != 0,
    })
}

fn policy_name(policy: SrtpPolicy) -> &'static str {
    match policy {
        SrtpPolicy::Off => "off",
        SrtpPolicy::Allowed => "allowed",
        SrtpPolicy::Required => "required",
    }
}

/// What the database calls it. An unknown word demands more, not less.
fn policy(name: &str) -> SrtpPolicy {
    match name {
        "off" => SrtpPolicy::Off,
        "allowed" => SrtpPolicy::Allowed,
        _ => SrtpPolicy::Required,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_the_numbers_of_what_is_below_it_and_of_nothing_beside_it() {
        let paths = ["r/b/", "r/", "r/a/d/", "r/a/", "r/a/c/", "r/ab/"];
        let named = |path: &str| {
            let id = path.trim_end_matches('/').rsplit('/').next().unwrap();
            (path.to_owned(), id.to_owned())
        };
        let found = branches(paths.map(named).into());
        for (id, first, last) in [
            ("r", 0, 5),
            ("a", 1, 3),
            ("c", 2, 2),
            ("d", 3, 3),
            ("ab", 4, 4),
            ("b", 5, 5),
        ] {
            assert_eq!(found[id], Branch { first, last }, "{id}");
        }
    }
}
