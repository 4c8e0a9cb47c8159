//! Terminals that an operator has go on elsewhere, by calls of their own (MGT-01).

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State as StateOf};
use axum::http::StatusCode;
use mcu_api::manager::TransferOutcome;
use mcu_api::secret::Redacted;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::meeting::{is_address, may_control, note, numbered, without_pin};
use super::{Body, Problem};
use crate::State;
use crate::asker::LoggedIn;
use crate::here::Led;
use crate::once::Once;
use crate::rights::Right;

/// Longer than a terminal takes to say what came of it.
const MOVING: Duration = Duration::from_secs(150);

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(transfer))
}

/// Where to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Transfer {
    /// Number of a room that the asker may enter or control, with its PIN behind `*` if need be, or a
    /// `sip:` URI elsewhere. One that leads to this server is the number that it dials.
    #[schema(value_type = String, min_length = 1, max_length = 256)]
    target: Redacted<String>,
}

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
struct Transferred {
    /// `moved`, `left`, `not_a_terminal`, `not_in`, `busy`, `refused` or `failed` (with `status`) or
    /// `no_answer`.
    outcome: &'static str,
    /// Status of SIP, 300 to 699.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
}

/// Have a terminal go on elsewhere, by a call of its own: it is let in there as any other caller. The
/// answer comes when it says how it fares there.
#[utoipa::path(post, path = "/rooms/{number}/legs/{leg}/transfer", tag = "rooms", params(("number" = String, Path), ("leg" = u64, Path)), request_body = Transfer,
    extensions(("x-right" = json!("rooms.control"))),
    responses((status = 200, body = Transferred), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
async fn transfer(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path((number, leg)): Path<(String, String)>,
    Body(wanted): Body<Transfer>,
) -> Result<Json<Transferred>, Problem> {
    may_control(&state, &who, &number).await?;
    let leg = numbered(&leg)?;
    let target = may_lead_to(&state, &who, wanted.target).await?;
    // Before it is done: who waits for no answer is in the record, too.
    let told = json!({ "leg": leg, "sent_to": without_pin(&target.0) });
    note(&state, &who, &number, told, &Once::default()).await?;
    let outcome = state.link.transfer(number, leg, target, MOVING).await?;
    told_as(outcome).map(Json)
}

/// The target, if it is an address elsewhere or a room into which the asker may lead somebody. Others do not
/// exist for them. An address that leads here is the number that it dials.
async fn may_lead_to(
    state: &State,
    who: &LoggedIn,
    target: Redacted<String>,
) -> Result<Redacted<String>, Problem> {
    if !is_address(&target.0) {
        return Err(nowhere());
    }
    let dialled = match state.here.led(&target.0).await {
        Led::Elsewhere(address) => return Ok(Redacted(address)),
        Led::Here(dialled) => dialled,
    };
    let mut connection = state.store.pool()?.acquire().await?;
    let number = dialled.split('*').next().unwrap_or_default();
    for right in [Right::RoomsJoin, Right::RoomsControl] {
        let subject = &who.subject;
        if super::rooms::reaches(&mut connection, state, subject, number, right).await? {
            return Ok(Redacted(dialled));
        }
    }
    Err(nowhere())
}

fn nowhere() -> Problem {
    let title = "That is no room that you may enter, and no address";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, title).code("no_target")
}

fn told_as(outcome: TransferOutcome) -> Result<Transferred, Problem> {
    let (outcome, status) = match outcome {
        TransferOutcome::Moved => ("moved", None),
        TransferOutcome::Left => ("left", None),
        TransferOutcome::NoSuchRoom | TransferOutcome::NoSuchSite | TransferOutcome::Ambiguous => {
            return Err(Problem::not_found());
        }
        TransferOutcome::NotATerminal => ("not_a_terminal", None),
        TransferOutcome::NotIn => ("not_in", None),
        TransferOutcome::Busy => ("busy", None),
        TransferOutcome::NoSuchTarget => return Err(nowhere()),
        TransferOutcome::Refused { status } => ("refused", Some(status)),
        TransferOutcome::Failed { status } => ("failed", Some(status)),
        TransferOutcome::NoAnswer => ("no_answer", None),
    };
    Ok(Transferred { outcome, status })
}
