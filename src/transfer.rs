//! `consilium transfer`: has a terminal go on elsewhere, by a call of its own. As with `consilium dial`, only
//! the server's own user may.

use std::io::stdin;
use std::path::Path;

use anyhow::{Context, bail};
use mcu_api::manager::{FromControl, ToControl, TransferOutcome};
use mcu_api::secret::Redacted;

use crate::dial::{REQUEST, ask};

/// Asks the terminal, and returns when it has arrived. The target `-` is read from the first line of
/// standard input, and none is printed: a PIN may stand in it.
pub fn run(socket: &Path, room: &str, who: &str, target: &str) -> anyhow::Result<()> {
    let target = match target {
        "-" => {
            let mut line = String::new();
            let read = stdin().read_line(&mut line);
            read.context("reading the target from standard input")?;
            line.trim().to_owned()
        }
        given => given.to_owned(),
    };
    let wish = ToControl::Transfer {
        request: REQUEST,
        room: room.to_owned(),
        site: Redacted(who.to_owned()),
        leg: None,
        target: Redacted(target),
    };
    let outcome = ask(socket, &wish, |answer| match answer {
        FromControl::Transferred {
            request: REQUEST,
            outcome,
        } => Some(outcome),
        _ => None,
    });
    match outcome? {
        TransferOutcome::Moved => {
            println!("{who} has gone from room {room}");
            Ok(())
        }
        TransferOutcome::Left => bail!("{who} left room {room} and did not say how it fares there"),
        TransferOutcome::NoSuchRoom => bail!("no room has the number {room}"),
        TransferOutcome::NoSuchSite => bail!("nobody in room {room} is {who}"),
        TransferOutcome::Ambiguous => bail!("several in room {room} have the name {who}"),
        TransferOutcome::NotATerminal => bail!("{who} is a browser: its page is in one room only"),
        TransferOutcome::NotIn => bail!("{who} is not in the meeting of room {room} yet"),
        TransferOutcome::Busy => bail!("{who} is being moved already"),
        TransferOutcome::NoSuchTarget => {
            bail!("the target is neither a number that leads to a room nor a sip: address")
        }
        TransferOutcome::Refused { status } => {
            bail!("{who} does not go elsewhere when asked: SIP status {status}")
        }
        TransferOutcome::Failed { status } => {
            bail!("{who} was refused there: SIP status {status}")
        }
        TransferOutcome::NoAnswer => bail!("{who} did not say what came of it"),
    }
}
