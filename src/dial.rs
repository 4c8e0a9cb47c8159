//! `consilium dial`: has a room of the running server call somebody. Whoever may open the controller's
//! socket may do so: nobody but the server's own user.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use mcu_api::frame::{self, Decoder};
use mcu_api::manager::{Beyond, DialOutcome, FromControl, ToControl};

/// Longer than any callee may ring, and than any terminal is waited for.
const PATIENCE: Duration = Duration::from_secs(150);

/// The only request on a connection.
pub(crate) const REQUEST: u64 = 1;

/// Calls, and returns when the callee is in the room.
pub fn run(socket: &Path, room: &str, target: &str) -> anyhow::Result<()> {
    let wish = ToControl::Dial {
        request: REQUEST,
        room: room.to_owned(),
        target: target.to_owned(),
        // Who may open the socket runs the server.
        beyond: Beyond::Anybody,
    };
    let outcome = ask(socket, &wish, |answer| match answer {
        FromControl::Dialled {
            request: REQUEST,
            outcome,
        } => Some(outcome),
        _ => None,
    });
    match outcome? {
        DialOutcome::Answered => {
            println!("{target} is in room {room}");
            Ok(())
        }
        DialOutcome::NoSuchRoom => bail!("no room has the number {room}"),
        DialOutcome::RoomFull => bail!("room {room}, or the server, is full"),
        DialOutcome::Unreachable => {
            bail!("{target} cannot be reached: not known, or not registered")
        }
        DialOutcome::NoMedia => bail!("no media process, or no ports, for another call"),
        DialOutcome::Refused { status } => bail!("{target} refused: SIP status {status}"),
        DialOutcome::NoAnswer => bail!("{target} did not answer"),
    }
}

/// Has the controller do something, and waits for what `outcome` finds in one of its messages.
pub(crate) fn ask<T>(
    socket: &Path,
    wish: &ToControl,
    outcome: impl Fn(FromControl) -> Option<T>,
) -> anyhow::Result<T> {
    let unreachable = || format!("no server answers at {}", socket.display());
    let mut stream = UnixStream::connect(socket).with_context(unreachable)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&frame::encode(wish)?)?;
    let mut decoder = Decoder::default();
    let mut bytes = [0; 4096];
    loop {
        while let Some(message) = decoder.next_message::<FromControl>()? {
            if let Some(outcome) = outcome(message) {
                return Ok(outcome);
            }
        }
        match stream.read(&mut bytes).context("wait for the outcome")? {
            0 => bail!("the server stopped"),
            n => decoder.push(&bytes[..n]),
        }
    }
}
