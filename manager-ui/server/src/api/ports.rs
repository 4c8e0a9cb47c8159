//! Ports: what the server can take, by class, and how that is shared out (WS/T 545: MCU-05). Changed while
//! meetings go on, none of which ends by it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State as StateOf;
use axum::http::StatusCode;
use mcu_api::capacity::{PortClass, Ports, Shares, TooMuch};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{Any, AnyConnection, Transaction};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::people::need_at;
use super::rooms::commit;
use super::{Body, Problem};
use crate::State;
use crate::asker::LoggedIn;
use crate::audit::{self, Action, Change, Object};
use crate::rights::Right;
use crate::store::Error;

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(share))
}

/// Ports of one class.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PortsView {
    /// `full_hd` (terminals with pictures of up to 1,080 lines), `hd` (720), `sd` (576), `browser`, or
    /// `sound` (no pictures).
    class: &'static str,
    used: u32,
    /// So many more of this class could come, if none of another came.
    free: u32,
    /// Per cent of the server that are kept for the class.
    share: u8,
    /// What one takes, in thousandths of a processor, as measured at the start.
    millicores: f32,
}

impl From<&Ports> for PortsView {
    fn from(ports: &Ports) -> Self {
        Self {
            class: ports.class.name(),
            used: ports.used,
            free: ports.free,
            share: ports.share,
            millicores: ports.millicores,
        }
    }
}

/// How the server is shared out: per cent of it that are kept for a class, 100 at most in all. What is kept
/// for none is for whoever comes first.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct Sharing {
    /// For terminals with pictures of up to 1,080 lines.
    full_hd: u8,
    /// Of up to 720 lines.
    hd: u8,
    /// Of up to 576 lines.
    sd: u8,
    /// For browsers.
    browser: u8,
    /// For those without pictures.
    sound: u8,
}

impl From<&Shares> for Sharing {
    fn from(shares: &Shares) -> Self {
        Self {
            full_hd: shares.of(PortClass::FullHd),
            hd: shares.of(PortClass::Hd),
            sd: shares.of(PortClass::Sd),
            browser: shares.of(PortClass::Browser),
            sound: shares.of(PortClass::Sound),
        }
    }
}

impl TryFrom<&Sharing> for Shares {
    type Error = TooMuch;

    fn try_from(wanted: &Sharing) -> Result<Self, TooMuch> {
        Self::try_from(BTreeMap::from([
            (PortClass::FullHd, wanted.full_hd),
            (PortClass::Hd, wanted.hd),
            (PortClass::Sd, wanted.sd),
            (PortClass::Browser, wanted.browser),
            (PortClass::Sound, wanted.sound),
        ]))
    }
}

/// Share the ports of the server out anew. Calls go on; what is free follows at once.
#[utoipa::path(put, path = "/system/ports", tag = "system", request_body = Sharing,
    extensions(("x-right" = json!("system.manage"))),
    responses((status = 200, body = Sharing), (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem)))]
async fn share(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Body(wanted): Body<Sharing>,
) -> Result<Json<Sharing>, Problem> {
    let mut tx = state.store.begin().await?;
    let (root,): (String,) = sqlx::query_as("SELECT id FROM organisations WHERE parent IS NULL")
        .fetch_one(&mut *tx)
        .await?;
    need_at(&mut tx, &who, Right::SystemManage, &root).await?;
    let shares = Shares::try_from(&wanted).map_err(|_| {
        let title = "Shares come to more than 100 per cent";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, title).code("shares_too_much")
    })?;
    let before = read(&mut tx).await?;
    write(&mut tx, &shares).await?;
    note(&mut tx, &who, &root, (&before, &shares)).await?;
    commit(&state, tx).await?;
    Ok(Json(Sharing::from(&shares)))
}

/// As they are in the database. What it has no right to hold is not there.
///
/// # Errors
/// Those of the database.
pub(crate) async fn read(connection: &mut AnyConnection) -> Result<Shares, Error> {
    let rows: Vec<(String, i64)> = sqlx::query_as("SELECT class, percent FROM port_shares")
        .fetch_all(connection)
        .await?;
    let known = rows.into_iter().filter_map(|(class, percent)| {
        Some((PortClass::named(&class)?, u8::try_from(percent).ok()?))
    });
    Ok(Shares::try_from(known.collect::<BTreeMap<_, _>>()).unwrap_or_default())
}

async fn write(tx: &mut Transaction<'static, Any>, shares: &Shares) -> Result<(), Error> {
    for class in PortClass::ALL {
        sqlx::query(
            "INSERT INTO port_shares (class, percent) VALUES ($1, $2) \
             ON CONFLICT (class) DO UPDATE SET percent = $2",
        )
        .bind(class.name())
        .bind(i64::from(shares.of(class)))
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

async fn note(
    tx: &mut Transaction<'static, Any>,
    who: &LoggedIn,
    root: &str,
    (before, after): (&Shares, &Shares),
) -> Result<(), Error> {
    let told = |shares: &Shares| -> Option<Value> { Some(json!({ "shares": shares })) };
    let object = Object {
        kind: "ports",
        id: None,
        organisation: Some(root),
    };
    let change = Change {
        before: told(before),
        after: told(after),
    };
    audit::write(tx, &who.asker(), Action::Change, object, change).await
}
