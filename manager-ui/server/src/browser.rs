//! One browser's WebSocket: JSON messages to the controller and back.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Extension;
use axum::extract::State as StateOf;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use mcu_api::ids::ConnId;
use mcu_api::manager::{BrowserMessage, Invited, Person, Refusal, ServerMessage};
use mcu_api::secret::Redacted;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};
use tracing::{debug, info, warn};

use crate::api::problem;
use crate::asker::{cookie, same_origin};
use crate::entering::{self, Visit};
use crate::guests::{self, Guest};
use crate::limits::Place;
use crate::link::{Closing, Link, ToBrowser};
use crate::{State, serve, store};

/// Largest message of a browser: an offer with nine video lines is about 40 KiB.
const MAX_MESSAGE_LEN: usize = 256 * 1024;
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Nothing came for so long, not even the answer to two pings: dead.
const DEAD_AFTER: Duration = Duration::from_secs(25);
/// A browser whose TCP connection takes nothing for so long is dead.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages in a row before the rate counts: a page sends a handful when it enters.
const BURST: f64 = 60.0;
/// Messages a second that a browser may send on and on.
const RATE_PER_S: f64 = 20.0;
/// "Service Restart" and "Try Again Later" of the IANA registry of RFC 6455 close codes: the page
/// comes back by itself.
const SERVICE_RESTART: u16 = 1012;
const TRY_AGAIN_LATER: u16 = 1013;

/// `GET /ws`.
pub(crate) async fn upgrade(
    StateOf(state): StateOf<State>,
    Extension(serve::Peer(peer)): Extension<serve::Peer>,
    headers: HeaderMap,
    socket: WebSocketUpgrade,
) -> Response {
    // RFC 6455 §10.2: a page of another site could otherwise open the socket with this user's rights.
    if !same_origin(&headers) {
        return problem(StatusCode::FORBIDDEN, "The page comes from another origin")
            .into_response();
    }
    if !state.link.is_connected() {
        let title = "The conference controller is away";
        return problem(StatusCode::SERVICE_UNAVAILABLE, title).into_response();
    }
    let Some(place) = state.sockets.take(peer.ip()) else {
        info!(%peer, "too many browsers");
        return problem(StatusCode::TOO_MANY_REQUESTS, "Too many connections").into_response();
    };
    socket
        .max_message_size(MAX_MESSAGE_LEN)
        .max_frame_size(MAX_MESSAGE_LEN)
        .on_upgrade(move |socket| {
            let session = cookie(&headers).map(Redacted);
            serve_browser(socket, state, session, peer, place)
        })
}

async fn serve_browser(
    socket: WebSocket,
    state: State,
    session: Option<Redacted<String>>,
    peer: SocketAddr,
    place: Place,
) {
    let link = state.link.clone();
    let Ok((conn, queue)) = link.open().await else {
        return;
    };
    debug!(%conn, %peer, "browser connected");
    let relay = Relay {
        socket,
        link: link.clone(),
        state,
        session,
        conn,
        peer,
        queue,
        heard: Instant::now(),
        guest: Guest::default(),
        noted: HashSet::new(),
        is_in: false,
        unproven: &[],
    };
    let close = relay.run().await;
    debug!(%conn, ?close, "browser gone");
    // The task has ended only when the server ends.
    let _ = link.gone(conn).await;
    drop(place);
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The browser closed it, or its TCP connection broke.
    Remote,
    /// It answers no more.
    Dead,
    /// We close it with this code.
    Close(u16),
}

/// Who joins, or by which link.
type Admitted = (Option<Person>, Option<Invited>);

struct Relay {
    socket: WebSocket,
    link: Link,
    state: State,
    /// Secret of the session that the browser has, as it says.
    session: Option<Redacted<String>>,
    conn: ConnId,
    peer: SocketAddr,
    queue: mpsc::Receiver<ToBrowser>,
    heard: Instant,
    guest: Guest,
    /// Numbers of rooms at whose door its person is in the record.
    noted: HashSet<String>,
    /// It has joined; a connection does once.
    is_in: bool,
    /// What the controller says to whom the manager would know, were the database there.
    unproven: &'static [Refusal],
}

impl Relay {
    async fn run(mut self) -> End {
        let mut pings = pings();
        let mut budget = Budget::new(Instant::now());
        let end = loop {
            let step = tokio::select! {
                read = self.socket.next() => self.read(read, &mut budget).await,
                item = self.queue.recv() => self.say(item).await,
                _ = pings.tick() => self.ping().await,
            };
            if let Err(end) = step {
                break end;
            }
        };
        if let End::Close(code) = end {
            let frame = CloseFrame {
                code,
                reason: "".into(),
            };
            let close = self.socket.send(Message::Close(Some(frame)));
            let _ = timeout(WRITE_TIMEOUT, close).await;
            // Only once the peer's own close frame, or the end, is read will TCP deliver ours
            // for certain: data left unread makes the kernel reset the connection.
            let _ = timeout(Duration::from_secs(1), self.drain()).await;
        }
        self.guest.leave(&self.state).await;
        end
    }

    async fn read(
        &mut self,
        read: Option<Result<Message, axum::Error>>,
        budget: &mut Budget,
    ) -> Result<(), End> {
        self.heard = Instant::now();
        match read {
            Some(Ok(Message::Text(text))) => self.relay(text.as_str(), budget).await,
            Some(Ok(Message::Binary(_))) => Err(End::Close(close_code::UNSUPPORTED)),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Close(_))) | None => Err(End::Remote),
            Some(Err(error)) if is_too_long(&error) => Err(End::Close(close_code::SIZE)),
            Some(Err(_)) => Err(End::Remote),
        }
    }

    async fn relay(&mut self, text: &str, budget: &mut Budget) -> Result<(), End> {
        if !budget.spend(self.heard) {
            info!(conn = %self.conn, "browser sends too many messages");
            return Err(End::Close(close_code::POLICY));
        }
        match serde_json::from_str::<BrowserMessage>(text) {
            Ok(mut message) => {
                let admitted = match self.admit(&mut message).await {
                    Ok(admitted) => admitted,
                    Err(code) => {
                        self.send(&ServerMessage::Refused { code }).await?;
                        return Err(End::Close(close_code::NORMAL));
                    }
                };
                let source = self.peer.ip();
                let sent = self
                    .link
                    .message(self.conn, source, admitted, message)
                    .await;
                sent.map_err(|_| End::Close(SERVICE_RESTART))
            }
            Err(error) => {
                // Not the error itself: it quotes what was sent, which may be a name.
                info!(conn = %self.conn, at = error.column(), "browser sent what is no message");
                self.send(&ServerMessage::Refused {
                    code: Refusal::BadRequest,
                })
                .await?;
                Err(End::Close(close_code::POLICY))
            }
        }
    }

    /// Who is there, if the message asks for a check, or for a room that this person may enter, or else
    /// which link lets it in. Asked each time, so that a right which is gone, or a session that was ended,
    /// counts no more.
    async fn admit(&mut self, message: &mut BrowserMessage) -> Result<Admitted, Refusal> {
        let BrowserMessage::Join {
            room,
            guest,
            resume,
            ..
        } = message
        else {
            let is_probe = matches!(message, BrowserMessage::Probe { .. });
            let person = match self.session.as_ref().filter(|_| is_probe) {
                Some(session) => entering::anybody(&self.state, &session.0).await,
                None => None,
            };
            return Ok((person, None));
        };
        let source = self.peer.ip().to_canonical();
        let guest = guest.take();
        self.unproven = &[];
        if self.is_in {
            return Ok((None, None));
        }
        if let Some(session) = &self.session {
            let visit = Visit {
                session: &session.0,
                number: room,
                source,
            };
            match entering::who(&self.state, visit, &mut self.noted).await {
                Ok(Some(person)) => return Ok((Some(person), None)),
                Ok(None) => {}
                Err(error) => {
                    let error = store::chain(&error);
                    warn!(error, "nobody can prove who enters");
                    self.unproven = &[Refusal::NotAllowed];
                }
            }
        }
        let Some(secret) = guest else {
            return Ok((None, None));
        };
        let visit = guests::Visit {
            secret: &secret.0,
            number: room,
            resume: resume.as_ref(),
            source,
        };
        let invited = self.guest.look(&self.state, visit).await?;
        if invited.is_none() {
            // The link would stand in the PIN's place.
            self.unproven = &[Refusal::NotAllowed, Refusal::PinWanted];
        }
        Ok((None, invited))
    }

    async fn say(&mut self, item: Option<ToBrowser>) -> Result<(), End> {
        match item {
            Some(ToBrowser::Say(mut message)) => {
                self.is_in |= matches!(message, ServerMessage::Joined { .. });
                if let ServerMessage::Refused { code } = &mut message
                    && self.unproven.contains(code)
                {
                    // Not final: the page tries again, and is known once the database is there.
                    *code = Refusal::NoMedia;
                }
                let source = self.peer.ip().to_canonical();
                self.guest.hear(&self.state, &message, source).await;
                self.send(&message).await
            }
            Some(ToBrowser::Close(Closing::Told)) => Err(End::Close(close_code::NORMAL)),
            Some(ToBrowser::Close(Closing::Restart)) => Err(End::Close(SERVICE_RESTART)),
            None => Err(End::Close(TRY_AGAIN_LATER)),
        }
    }

    async fn send(&mut self, message: &ServerMessage) -> Result<(), End> {
        let text = serde_json::to_string(message).map_err(|_| End::Close(close_code::ERROR))?;
        self.write(Message::Text(text.into())).await
    }

    async fn ping(&mut self) -> Result<(), End> {
        if self.heard.elapsed() > DEAD_AFTER {
            return Err(End::Dead);
        }
        self.write(Message::Ping(Default::default())).await
    }

    async fn write(&mut self, message: Message) -> Result<(), End> {
        match timeout(WRITE_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Remote),
            Err(_) => Err(End::Dead),
        }
    }

    async fn drain(&mut self) {
        while let Some(Ok(_)) = self.socket.next().await {}
    }
}

fn pings() -> Interval {
    let mut pings = interval(PING_INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings.reset();
    pings
}

/// Whether the WebSocket layer refused a message for its size. Its error type is not public here,
/// so the words of its chain are looked at.
fn is_too_long(error: &axum::Error) -> bool {
    error.to_string().contains("too long")
}

/// How many messages a browser may still send: a token bucket.
struct Budget {
    messages: f64,
    at: Instant,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self {
            messages: BURST,
            at: now,
        }
    }

    fn spend(&mut self, now: Instant) -> bool {
        let earned = now.duration_since(self.at).as_secs_f64() * RATE_PER_S;
        self.messages = (self.messages + earned).min(BURST);
        self.at = now;
        if self.messages < 1.0 {
            return false;
        }
        self.messages -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_may_burst_and_then_keep_a_rate() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let sent = (0..100).filter(|_| budget.spend(start)).count();
        assert_eq!(sent, 60);
        let later = start + Duration::from_secs(1);
        let sent = (0..100).filter(|_| budget.spend(later)).count();
        assert_eq!(sent, 20);
    }
}
