//! Answers that wait until the media processor has opened the ports that they name: a peer may send as
//! soon as it has read one (RFC 3264 §5.1 and §6.1).

use std::time::{Duration, Instant};

use mcu_api::ids::{CallId, RoomId};
use mcu_api::manager::FromControl;
use tracing::warn;

use super::room::{Conn, Leg, Room};
use super::{Controller, Output};

/// How long an answer waits. A processor that is slow or gone keeps signalling no longer, and a caller
/// then hears a 100 (RFC 3261 §17.2.1).
pub const OPENING_WAIT: Duration = Duration::from_millis(200);

/// Most messages to one peer that wait so; with more, all of them are sent.
const MAX_SAID: usize = 32;

/// Whom an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The terminal of a call.
    Call(CallId),
    /// The page at this connection.
    Browser(Conn),
}

/// What a peer is told once its ports are open.
#[derive(Debug)]
pub struct Answer {
    peer: Peer,
    until: Instant,
    /// The plan that opens them, once it was sent: room and generation.
    plan: Option<(RoomId, u64)>,
    /// The answer, and what comes after it.
    said: Vec<Output>,
}

impl Controller {
    /// Tells a peer this once the processor holds the plan that follows from what has changed.
    pub(super) fn answer(&mut self, peer: Peer, said: impl IntoIterator<Item = Output>) {
        if self.answers.iter().all(|answer| answer.peer != peer) {
            self.answers.push(Answer {
                peer,
                until: self.now + OPENING_WAIT,
                plan: None,
                said: Vec::new(),
            });
        }
        // What was to be said before stays before.
        self.line_up();
        let mut answers = self.answers.iter_mut();
        if let Some(answer) = answers.find(|answer| answer.peer == peer) {
            answer.plan = None;
            answer.said.extend(said);
        }
    }

    /// A terminal has another offer: what is answered now is taken for the answer to that one.
    pub(super) fn withdraw_answer(&mut self, call: CallId) {
        self.answers
            .retain(|answer| answer.peer != Peer::Call(call));
    }

    /// When answers fall due whatever the processor says.
    pub(super) fn answer_deadlines(&self) -> impl Iterator<Item = Instant> {
        self.answers.iter().map(|answer| answer.until)
    }

    /// Sends the answers whose ports are open, and those that have waited long enough. Whether there
    /// were such.
    pub(super) fn release_answers(&mut self) -> bool {
        if self.answers.is_empty() {
            return false;
        }
        self.line_up();
        let mut released = false;
        for mut answer in std::mem::take(&mut self.answers) {
            match answer.turn(&self.rooms, self.now) {
                Turn::Waits => self.answers.push(answer),
                Turn::Void => {}
                Turn::Comes => {
                    released = true;
                    self.outputs.extend(answer.said);
                }
            }
        }
        released
    }

    /// Puts what is to be said to a page where its answer waits, in order. Of a call nothing has to
    /// follow: signalling takes commands in any order, and passes over an answer to a call that is over.
    fn line_up(&mut self) {
        let Self {
            answers, outputs, ..
        } = self;
        outputs.retain(|output| {
            let to = conn_of(output).map(Peer::Browser);
            match answers.iter_mut().find(|answer| Some(answer.peer) == to) {
                Some(answer) => {
                    answer.said.push(output.clone());
                    false
                }
                None => true,
            }
        });
    }
}

/// What becomes of an answer now.
enum Turn {
    Waits,
    Comes,
    /// The call has ended meanwhile.
    Void,
}

impl Answer {
    fn turn(&mut self, rooms: &[Room], now: Instant) -> Turn {
        let room = rooms
            .iter()
            .find(|room| room.legs.iter().any(|leg| self.peer.is(leg)));
        let Some(room) = room else {
            return match self.peer {
                Peer::Call(_) => Turn::Void,
                Peer::Browser(_) => Turn::Comes,
            };
        };
        let sent = room.sent.as_ref().map(|plan| (room.id, plan.generation));
        let plan = self.plan.filter(|(id, _)| *id == room.id).or(sent);
        self.plan = plan;
        if plan.is_some_and(|(_, generation)| room.held >= generation) {
            return Turn::Comes;
        }
        if now >= self.until {
            warn!(room = %room.id, peer = ?self.peer, "answered before its ports are known to be open");
            return Turn::Comes;
        }
        match self.said.len() > MAX_SAID {
            true => Turn::Comes,
            false => Turn::Waits,
        }
    }
}

impl Peer {
    fn is(self, leg: &Leg) -> bool {
        match self {
            Self::Call(call) => {
                let dialog = leg.sip().and_then(|sip| sip.dialog.as_ref());
                dialog.is_some_and(|dialog| dialog.call == call)
            }
            Self::Browser(conn) => leg.browser().is_some_and(|page| page.conn == Some(conn)),
        }
    }
}

/// The page that an output is for.
fn conn_of(output: &Output) -> Option<Conn> {
    match output {
        Output::Manager(manager, FromControl::Server { conn, .. })
        | Output::Manager(manager, FromControl::Close { conn }) => Some((*manager, *conn)),
        _ => None,
    }
}
