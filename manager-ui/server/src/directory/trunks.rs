//! Trunks of the database, as the controller is to go by them.

use std::collections::HashMap;
use std::net::IpAddr;

use mcu_api::directory::{Branch, MAX_TRUNKS, MadeTrunk, TrunkNumber, TrunkTransport};
use mcu_api::secret::Redacted;
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};
use tracing::warn;

use crate::seal::Seal;
use crate::store::{self, Error};

/// What a trunk's password is sealed for: no other trunk's row opens with it.
pub(crate) fn purpose(trunk: &str) -> String {
    format!("trunk {trunk}")
}

/// Addresses as they are kept.
pub(crate) fn sources(json: &str) -> Vec<IpAddr> {
    serde_json::from_str(json).unwrap_or_default()
}

/// All trunks.
pub(super) async fn read(
    tx: &mut Transaction<'static, Any>,
    seal: &Seal,
    places: &HashMap<String, Branch>,
) -> Result<Vec<MadeTrunk>, Error> {
    let rows = sqlx::query(
        "SELECT id, organisation, name, address, transport, domain, username, password, realm, \
         register, expires_s, sources_json, prefix, prepend FROM trunks ORDER BY created_ms, id \
         LIMIT $1",
    )
    .bind(i64::try_from(MAX_TRUNKS).unwrap_or(i64::MAX))
    .fetch_all(&mut **tx)
    .await?;
    let numbers: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT n.trunk, n.number, m.number FROM trunk_numbers n JOIN rooms m ON m.id = n.room \
         ORDER BY n.number",
    )
    .fetch_all(&mut **tx)
    .await?;
    let mut by_trunk: HashMap<String, Vec<TrunkNumber>> = HashMap::new();
    for (trunk, number, room) in numbers {
        let known = by_trunk.entry(trunk).or_default();
        known.push(TrunkNumber { number, room });
    }
    let made = rows.iter().map(|row| {
        let id: String = row.try_get("id")?;
        let numbers = by_trunk.remove(&id).unwrap_or_default();
        made_trunk(row, seal, &id, (places, numbers))
    });
    Ok(made.collect::<Result<_, sqlx::Error>>()?)
}

fn made_trunk(
    row: &AnyRow,
    seal: &Seal,
    id: &str,
    (places, numbers): (&HashMap<String, Branch>, Vec<TrunkNumber>),
) -> Result<MadeTrunk, sqlx::Error> {
    let name: String = row.try_get("name")?;
    let sealed: Option<String> = row.try_get("password")?;
    let password = sealed.and_then(|sealed| opened(seal, id, &name, &sealed));
    let registers = row.try_get::<i64, _>("register")? != 0 && password.is_some();
    let expires_s = u32::try_from(row.try_get::<i64, _>("expires_s")?).unwrap_or_default();
    Ok(MadeTrunk {
        name,
        home: places.get(row.try_get::<&str, _>("organisation")?).copied(),
        address: row.try_get("address")?,
        transport: match row.try_get::<Option<&str>, _>("transport")? {
            Some("udp") => Some(TrunkTransport::Udp),
            Some("tcp") => Some(TrunkTransport::Tcp),
            Some("tls") => Some(TrunkTransport::Tls),
            _ => None,
        },
        domain: row.try_get("domain")?,
        user: row.try_get("username")?,
        password,
        realm: row.try_get("realm")?,
        register_s: registers.then_some(expires_s),
        sources: sources(row.try_get("sources_json")?),
        prefix: row.try_get("prefix")?,
        prepend: row.try_get("prepend")?,
        numbers,
    })
}

/// The password. Without the key there is none, and the trunk refuses us.
fn opened(seal: &Seal, id: &str, name: &str, sealed: &str) -> Option<Redacted<String>> {
    let bytes = match seal.open(&purpose(id), sealed) {
        Ok(bytes) => bytes,
        Err(failure) => {
            let error = store::chain(&failure);
            warn!(trunk = name, error, "a trunk's password cannot be read");
            return None;
        }
    };
    String::from_utf8(bytes.0).ok().map(Redacted)
}
