//! Live events as a stream (HTML Living Standard, "Server-sent events"). The queue of a listener is the
//! table of events itself: who reads slowly reads later, and is told where too much was missed.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State as StateOf;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::sse::{Event as Sent, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Params, Problem};
use crate::State;
use crate::asker::LoggedIn;
use crate::events::{self, Event, Filter, Heads, Kind, Mark};
use crate::limits::{Limits, Place, Places};
use crate::store::{Error, Store};

/// Between two looks at the rows for one listener, however much is written.
const PAUSE: Duration = Duration::from_millis(300);
/// When a listener that lost the stream comes back.
const RETRY: Duration = Duration::from_secs(2);
/// The header of who comes back.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(listen))
}

/// How many listen.
#[derive(Clone, Debug)]
pub(crate) struct Listeners {
    people: Arc<Places<String>>,
    heartbeat: Duration,
}

impl Listeners {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            people: Places::new(limits.streams),
            heartbeat: limits.heartbeat,
        }
    }

    fn take(&self, who: &LoggedIn) -> Option<Place<String>> {
        self.people.take_for(who.person.id.clone())
    }
}

/// Which events.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Only these, separated by commas: `leg.joined,leg.left`.
    #[serde(default)]
    types: Option<String>,
    /// Only what happens at this organisation or below.
    #[serde(default)]
    organisation: Option<String>,
    /// Only what happens to the room of this number.
    #[serde(default)]
    room: Option<String>,
    /// Id of the event that was heard last, where `Last-Event-ID` cannot be sent.
    #[serde(default)]
    after: Option<String>,
}

impl Which {
    fn filter(&self) -> Result<Filter, Problem> {
        let names = self.types.as_deref().unwrap_or_default();
        let names = names
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        let kinds: Result<Vec<Kind>, ()> = names.map(str::parse).collect();
        let Ok(kinds) = kinds else {
            let title = "There is no such type of event";
            return Err(Problem::new(StatusCode::BAD_REQUEST, title).code("no_such_type"));
        };
        Ok(Filter {
            kinds: match kinds.is_empty() {
                true => String::new(),
                false => Filter::kinds(&kinds),
            },
            organisation: self.organisation.clone().unwrap_or_default(),
            room: self.room.clone().unwrap_or_default(),
        })
    }
}

/// Events as they happen (`text/event-stream`), as far as the asker may see what they tell of. `id` of the
/// last one, sent back as `Last-Event-ID`, has those that came later told first; an event `gap` says that
/// some of them are not kept any more. The stream ends with the session or token.
#[utoipa::path(get, path = "/events", tag = "events", params(Which, ("Last-Event-ID" = Option<String>, Header, description = "`id` of the event that was heard last")),
    extensions(("x-token" = json!(true))),
    responses((status = 200, description = "Events, each with `id`, `event` (its type) and `data` (JSON: `id`, `type`, `timestamp`, `organisation`, `data`)", content_type = "text/event-stream", body = String),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 429, body = Problem)))]
async fn listen(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    headers: HeaderMap,
    Params(which): Params<Which>,
) -> Result<Response, Problem> {
    let filter = which.filter()?;
    let mut connection = state.store.pool()?.acquire().await?;
    if !events::may_hear(&mut connection, &who.subject).await? {
        let title = "None of the rights is held by which events are heard";
        return Err(Problem::new(StatusCode::FORBIDDEN, title).code("no_events"));
    }
    drop(connection);
    let Some(place) = state.listeners.take(&who) else {
        return Ok(too_many());
    };
    let heads = state.events.heads();
    let told = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let last = told.or(which.after.as_deref()).filter(|id| !id.is_empty());
    let listener = Listener {
        store: state.store,
        who,
        filter,
        heads,
        at: None,
        since: last.map(str::to_owned),
        record: 0,
        queue: VecDeque::new(),
        heartbeat: state.listeners.heartbeat,
        beat: Instant::now() + state.listeners.heartbeat,
        proved: Instant::now(),
        _place: place,
    };
    let stream = Sse::new(stream::unfold(listener, Listener::next));
    // For what stands before the server and would wait for more.
    let unbuffered = (HeaderName::from_static("x-accel-buffering"), "no");
    let fresh = (header::CACHE_CONTROL, "no-store");
    Ok(([unbuffered, fresh], stream).into_response())
}

fn too_many() -> Response {
    let title = "There are too many streams of events";
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, title).code("too_many_streams");
    let mut response = problem.into_response();
    let wait = HeaderValue::from_static("60");
    response.headers_mut().insert(header::RETRY_AFTER, wait);
    response
}

/// One who listens. It is asked for the next event once the one before is written, so that nothing waits
/// here but what one statement found.
struct Listener {
    store: Store,
    who: LoggedIn,
    filter: Filter,
    heads: watch::Receiver<Option<Heads>>,
    /// How far it has been told; none before the first look.
    at: Option<Mark>,
    /// What it says that it heard last.
    since: Option<String>,
    /// The entry of the record up to which it is known to be good.
    record: i64,
    queue: VecDeque<Sent>,
    heartbeat: Duration,
    beat: Instant,
    /// When it was last seen to be good.
    proved: Instant,
    _place: Place<String>,
}

/// The stream is over.
struct Over;

impl From<Error> for Over {
    /// The database is away: the listener comes back and finds out.
    fn from(_: Error) -> Self {
        Self
    }
}

impl From<sqlx::Error> for Over {
    fn from(_: sqlx::Error) -> Self {
        Self
    }
}

impl Listener {
    async fn next(mut self) -> Option<(Result<Sent, Infallible>, Self)> {
        loop {
            if let Some(sent) = self.queue.pop_front() {
                return Some((Ok(sent), self));
            }
            if self.look().await.is_err() {
                return None;
            }
        }
    }

    /// Waits for something to tell, and queues it.
    async fn look(&mut self) -> Result<(), Over> {
        let Some(at) = self.at else {
            return self.begin().await;
        };
        let heads = *self.heads.borrow_and_update();
        let heads = heads.ok_or(Over)?;
        self.prove(heads).await?;
        if heads.last.seq > at.seq {
            return self.read(at, heads).await;
        }
        tokio::select! {
            changed = self.heads.changed() => changed.map_err(|_| Over)?,
            () = sleep_until(self.beat) => {
                self.say_mark(heads.last);
                return Ok(());
            }
        }
        // What is written at once is read at once.
        sleep(PAUSE).await;
        Ok(())
    }

    /// Finds out where to go on from.
    async fn begin(&mut self) -> Result<(), Over> {
        let heads = *self
            .heads
            .wait_for(Option::is_some)
            .await
            .map_err(|_| Over)?;
        let heads = heads.ok_or(Over)?;
        let oldest = Mark {
            seq: heads.oldest - 1,
            at_ms: 0,
        };
        let mut is_whole = true;
        let at = match self.since.take() {
            None => heads.last,
            Some(told) => {
                let told: Option<Mark> = told.parse().ok();
                let mut connection = self.store.pool()?.acquire().await?;
                match told {
                    Some(mark) if mark == heads.last => mark,
                    // Before the first event of all.
                    Some(mark) if mark.seq == 0 && heads.oldest == 1 => mark,
                    Some(mark) if events::is_kept(&mut connection, mark).await? => mark,
                    _ => {
                        is_whole = false;
                        oldest
                    }
                }
            }
        };
        self.at = Some(at);
        self.queue.push_back(Sent::default().retry(RETRY));
        if !is_whole {
            self.queue.push_back(gap(at));
        }
        if at == heads.last {
            self.say_mark(at);
        }
        Ok(())
    }

    /// Ends the stream of who may not listen any more.
    async fn prove(&mut self, heads: Heads) -> Result<(), Over> {
        // A session may have run out, too, which no entry tells.
        if heads.record == self.record && self.proved.elapsed() < self.heartbeat {
            return Ok(());
        }
        if !self.who.is_good(&self.store).await? {
            return Err(Over);
        }
        let mut connection = self.store.pool()?.acquire().await?;
        if !events::may_hear(&mut connection, &self.who.subject).await? {
            return Err(Over);
        }
        self.record = heads.record;
        self.proved = Instant::now();
        Ok(())
    }

    async fn read(&mut self, at: Mark, heads: Heads) -> Result<(), Over> {
        // Who was so slow that events were forgotten meanwhile is told so.
        let missed = at.seq + 1 < heads.oldest;
        let from = if missed { heads.oldest - 1 } else { at.seq };
        let mut connection = self.store.pool()?.acquire().await?;
        let subject = &self.who.subject;
        let bounds = (from, heads.last.seq);
        let found = events::heard(&mut connection, subject, bounds, &self.filter).await?;
        drop(connection);
        if missed {
            self.queue.push_back(gap(at));
        }
        self.queue.extend(found.iter().map(sent));
        let looked = events::looked(from, heads.last.seq);
        if looked == heads.last.seq {
            // What was not for this listener is behind it, too.
            self.say_mark(heads.last);
        } else {
            self.at = Some(Mark {
                seq: looked,
                at_ms: 0,
            });
        }
        Ok(())
    }

    /// A sign of life, with the id from which a listener goes on that comes back. It makes no event.
    fn say_mark(&mut self, mark: Mark) {
        self.at = Some(mark);
        self.beat = Instant::now() + self.heartbeat;
        let sent = Sent::default().comment("").id(mark.to_string());
        self.queue.push_back(sent);
    }
}

fn sent(event: &Event) -> Sent {
    Sent::default()
        .id(event.mark().to_string())
        .event(&event.kind)
        .data(event.told().to_string())
}

/// Some events are not kept any more: whoever goes by them looks anew.
fn gap(after: Mark) -> Sent {
    let told = json!({ "type": "gap", "after": after.to_string() });
    Sent::default().event("gap").data(told.to_string())
}
