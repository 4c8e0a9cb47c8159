//! Webhooks: what happens is told to other servers (Standard Webhooks 1.0.0), once at least, by whoever
//! set a hook up and as far as they may see it when it is sent.
//!
//! The queue is the table of events. Each hook has a place in it, kept in the database; what is behind
//! that becomes deliveries, which are tried one after the other, and later again where they fail. One
//! task for each hook that has something to send, so that a slow receiver delays its own hook alone.

pub(crate) mod reach;
pub(crate) mod rows;
pub(crate) mod send;
pub(crate) mod sign;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mcu_api::secret::Redacted;
use rand::Rng;
use serde_json::json;
use sqlx::{AnyConnection, Row};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use crate::asker::Asker;
use crate::audit::{self, Action, Change};
use crate::events::{self, Filter, Heads};
use crate::rights::{self, Right, Subject};
use crate::seal::Seal;
use crate::store::{self, Error, Store, now_ms};
use crate::watch::counts::Counts;
use crate::{State, tokens};
use reach::Reach;
use rows::{Due, Hook};
use send::{Outcome, Sender};

/// Hooks of the server, and of one organisation: so many tasks there are at most.
pub(crate) const MAX_HOOKS: i64 = 200;
pub(crate) const MAX_PER_ORGANISATION: i64 = 20;
/// Deliveries of one hook that wait. Beyond, its place in the events stays where it is.
const MAX_WAITING: i64 = 1_000;
/// Between two looks for what is due, and between two rounds of forgetting.
const LOOK: Duration = Duration::from_secs(1);
const FORGET: Duration = Duration::from_secs(60);
/// Between two looks, however much happens.
const PAUSE: Duration = Duration::from_millis(200);
/// Events that may be looked at in vain before that is written down.
const UNWRITTEN: i64 = 5_000;
/// Tries by hand at a time.
const TRIES: usize = 8;
/// Hooks that are at the database at a time.
const TURNS: usize = 2;
/// How long before and after a moment it is waited for at random, as a part of the time.
const JITTER: f64 = 0.1;

/// What the configuration says of webhooks.
#[derive(Clone, Debug)]
pub struct Config {
    /// PEM file of the issuers of receivers' certificates, beside those of the system.
    pub ca: Option<PathBuf>,
    /// Hosts that may have addresses of private networks, and of this machine.
    pub private_hosts: Vec<String>,
    /// Hosts that may be told without TLS.
    pub clear_hosts: Vec<String>,
    /// How long it is waited after each failure. After as many and one more a delivery is dead.
    pub retries: Vec<Duration>,
    /// A hook is switched off to which nothing was delivered for so long.
    pub off_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let minute = 60;
        let hour = 60 * minute;
        let retries = [
            5,
            5 * minute,
            30 * minute,
            2 * hour,
            5 * hour,
            10 * hour,
            14 * hour,
        ];
        Self {
            ca: None,
            private_hosts: Vec::new(),
            clear_hosts: Vec::new(),
            retries: retries.map(Duration::from_secs).to_vec(),
            off_after: Duration::from_secs(5 * 24 * u64::from(60 * 60_u32)),
        }
    }
}

/// Why nothing is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Somebody switched it off.
    Off,
    /// Nothing arrived for days.
    Failing,
    /// The receiver said that it wants no more (410).
    Gone,
    /// Whoever set it up may not any more.
    Maker,
}

impl Stop {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Failing => "failing",
            Self::Gone => "gone",
            Self::Maker => "maker",
        }
    }
}

/// What sends, and what is asked of it.
#[derive(Clone)]
pub(crate) struct Webhooks {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    reach: Reach,
    sender: Sender,
    /// Something is due that no event tells of.
    wanted: Notify,
    tries: Semaphore,
    /// Who is at the database: others need it, too.
    turns: Semaphore,
}

impl Webhooks {
    /// With the addresses at which this machine is reached.
    pub(crate) fn new(config: Config, own: Vec<IpAddr>) -> Self {
        let reach = Reach::new(&config, own);
        let sender = Sender::new(reach.clone(), config.ca.clone());
        Self {
            inner: Arc::new(Inner {
                config,
                reach,
                sender,
                wanted: Notify::new(),
                tries: Semaphore::new(TRIES),
                turns: Semaphore::new(TURNS),
            }),
        }
    }

    /// What addresses may be told.
    pub(crate) fn reach(&self) -> &Reach {
        &self.inner.reach
    }

    /// Something is due now.
    pub(crate) fn look(&self) {
        self.inner.wanted.notify_one();
    }

    /// Sends this at once, and says what came of it; nothing where too many do so now.
    pub(crate) async fn try_now(
        &self,
        hook: &Hook,
        seal: &Seal,
        id: &str,
        text: &str,
    ) -> Option<Outcome> {
        let _place = self.inner.tries.try_acquire().ok()?;
        Some(self.send(hook, seal, id, text).await)
    }

    async fn send(&self, hook: &Hook, seal: &Seal, id: &str, text: &str) -> Outcome {
        let opened = hook
            .url(seal)
            .and_then(|url| Ok((url, hook.secrets(seal)?)));
        match opened {
            Ok((url, secrets)) => self.inner.sender.send(&url.0, &secrets, id, text).await,
            Err(failure) => {
                warn!(
                    error = store::chain(&failure),
                    hook = hook.id,
                    "its secret does not open"
                );
                Outcome::failed("secret")
            }
        }
    }

    /// Delivers for ever.
    pub(crate) async fn run(&self, state: &State) {
        state.store.ready().await;
        let mut heads = state.events.heads();
        let mut rounds = Rounds::default();
        let mut forgotten = None;
        loop {
            let pause = Instant::now() + PAUSE;
            let now = *heads.borrow_and_update();
            if let Some(now) = now {
                let looked = rounds.begin(self, state, now).await;
                if forgotten.is_none_or(|at: Instant| at.elapsed() >= FORGET) {
                    forgotten = Some(Instant::now());
                    tell(rows::forget(&state.store).await);
                    rows::seal_addresses(&state.store, &state.seal).await;
                }
                tell(looked);
            }
            tokio::select! {
                _ = heads.changed() => {}
                () = self.inner.wanted.notified() => {}
                () = rounds.ended() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
            sleep_until(pause).await;
        }
    }
}

fn tell(done: Result<(), Error>) {
    if let Err(error) = done {
        debug!(error = store::chain(&error), "webhooks cannot be looked at");
    }
}

/// The tasks that send now, one for each hook at most.
#[derive(Default)]
struct Rounds {
    tasks: JoinSet<(String, i64)>,
    running: HashSet<String>,
    /// How far each hook has looked, which is not written down each time.
    looked: HashMap<String, i64>,
}

impl Rounds {
    async fn begin(&mut self, all: &Webhooks, state: &State, now: Heads) -> Result<(), Error> {
        while let Some(ended) = self.tasks.try_join_next() {
            self.end(ended);
        }
        let mut connection = state.store.pool()?.acquire().await?;
        let hooks = rows::active(&mut connection).await?;
        drop(connection);
        self.looked
            .retain(|id, _| hooks.iter().any(|hook| hook.id == *id));
        for hook in hooks {
            let looked = self.looked.get(&hook.id).copied().unwrap_or(hook.seq);
            let is_due = looked.max(hook.seq) < now.last.seq || hook.due > 0;
            if !is_due || !self.running.insert(hook.id.clone()) {
                continue;
            }
            let round = Round {
                all: all.clone(),
                store: state.store.clone(),
                seal: state.seal.clone(),
                watch: state.watch.clone(),
                looked: looked.max(hook.seq),
                now,
                id: hook.id,
            };
            self.tasks.spawn(round.run());
        }
        Ok(())
    }

    /// Returns when a task has ended; never while there is none.
    async fn ended(&mut self) {
        match self.tasks.join_next().await {
            Some(ended) => self.end(ended),
            None => std::future::pending().await,
        }
    }

    fn end(&mut self, ended: Result<(String, i64), tokio::task::JoinError>) {
        match ended {
            Ok((id, looked)) => {
                self.running.remove(&id);
                self.looked.insert(id, looked);
            }
            Err(error) => {
                // A bug; its hook is looked at anew, and so are the others, which does no harm.
                warn!(%error, "a webhook's task ended");
                self.running.clear();
            }
        }
    }
}

/// What comes next for a hook.
enum Step {
    /// Nothing, for now.
    Over,
    /// To be looked at anew.
    Again,
    Deliver(Box<Told>),
}

/// A message to a hook; no text where its maker may not see it any more, or it is not kept.
struct Told {
    hook: Hook,
    due: Due,
    text: Option<String>,
}

/// What one hook has to send now.
struct Round {
    all: Webhooks,
    store: Store,
    seal: Seal,
    watch: Arc<crate::watch::Watch>,
    id: String,
    looked: i64,
    now: Heads,
}

impl Round {
    async fn run(mut self) -> (String, i64) {
        if let Err(error) = self.go().await {
            debug!(
                error = store::chain(&error),
                "a webhook waits for the database"
            );
        }
        (self.id, self.looked)
    }

    /// Until nothing is due or the hook is off.
    async fn go(&mut self) -> Result<(), Error> {
        loop {
            let all = self.all.clone();
            let turn = all.inner.turns.acquire().await;
            let step = self.step().await?;
            drop(turn);
            match step {
                Step::Over => return Ok(()),
                Step::Again => {}
                Step::Deliver(told) => self.deliver(&told).await?,
            }
        }
    }

    async fn step(&mut self) -> Result<Step, Error> {
        let hook = Hook::find(&mut *self.store.pool()?.acquire().await?, &self.id).await?;
        let Some(hook) = hook.filter(|hook| hook.state == "on") else {
            return Ok(Step::Over);
        };
        if !may_go_on(&self.store, &hook).await? {
            self.stop(&hook, Stop::Maker).await?;
            return Ok(Step::Over);
        }
        self.queue(&hook).await?;
        let mut connection = self.store.pool()?.acquire().await?;
        let Some(due) = Due::next(&mut connection, &hook.id).await? else {
            return Ok(Step::Over);
        };
        let text = text(&mut connection, &hook, &due).await?;
        let oldest = events::oldest(&mut connection).await?;
        drop(connection);
        if text.is_none() && due.seq < oldest {
            let missed = rows::miss(&self.store, &hook, oldest).await?;
            self.watch.counts.deliveries("withheld", missed);
            return Ok(Step::Again);
        }
        Ok(Step::Deliver(Box::new(Told { hook, due, text })))
    }

    /// Makes deliveries of the events that the hook has not looked at.
    async fn queue(&mut self, hook: &Hook) -> Result<(), Error> {
        let mut at = self.looked.max(hook.seq);
        let mut written = hook.seq.max(at);
        while at < self.now.last.seq {
            let mut connection = self.store.pool()?.acquire().await?;
            if rows::waiting(&mut connection, &hook.id).await? >= MAX_WAITING {
                break;
            }
            let bounds = (at, self.now.last.seq);
            let found =
                events::heard(&mut connection, &hook.subject(), bounds, &hook.filter()).await?;
            // Asked behind that, each time: a round is as long as its receiver is slow, and events are
            // forgotten meanwhile.
            let oldest = events::oldest(&mut connection).await?;
            // One connection at a time, or all could wait for a second one.
            drop(connection);
            let gap = (at + 1 < oldest).then_some((at, "gap"));
            at = events::looked(at, self.now.last.seq).max(oldest - 1);
            let kept = found.iter().filter(|event| event.seq >= oldest);
            let kept = kept.map(|event| (event.seq, event.kind.as_str()));
            let new: Vec<(i64, &str)> = gap.into_iter().chain(kept).collect();
            if !new.is_empty() || at - written > UNWRITTEN {
                rows::queue(&self.store, hook, &new, at).await?;
                written = at;
            }
        }
        self.looked = at;
        Ok(())
    }

    async fn deliver(&self, told: &Told) -> Result<(), Error> {
        let counts = &self.watch.counts;
        let Told { hook, due, text } = told;
        let Some(text) = text else {
            counts.delivery("withheld");
            return rows::withhold(&self.store, due).await;
        };
        let outcome = self.all.send(hook, &self.seal, &due.id, text).await;
        let now = now_ms();
        if outcome.is_delivered() {
            counts.delivery("delivered");
            return rows::delivered(&self.store, hook, due, &outcome, now).await;
        }
        let next = self.next_ms(due, now);
        let since = rows::failed(&self.store, hook, due, &outcome, (now, next)).await?;
        self.count_failure(counts, next);
        let off_after = i64::try_from(self.all.inner.config.off_after.as_millis());
        let off_after = off_after.unwrap_or(i64::MAX);
        if outcome.status == Some(410) {
            self.stop(hook, Stop::Gone).await?;
        } else if next.is_none() && now.saturating_sub(since) >= off_after {
            self.stop(hook, Stop::Failing).await?;
        }
        Ok(())
    }

    fn count_failure(&self, counts: &Counts, next: Option<i64>) {
        counts.delivery("failed");
        if next.is_none() {
            counts.delivery("dead");
        }
    }

    /// When it is tried again, if it is.
    fn next_ms(&self, due: &Due, now: i64) -> Option<i64> {
        let tried = usize::try_from(due.attempts).unwrap_or(usize::MAX);
        let wait = self.all.inner.config.retries.get(tried)?;
        let factor = rand::rng().random_range(1.0 - JITTER..=1.0 + JITTER);
        let wait = i64::try_from(wait.mul_f64(factor).as_millis()).ok()?;
        Some(now.saturating_add(wait))
    }

    /// Switches a hook off, and says why.
    async fn stop(&self, hook: &Hook, why: Stop) -> Result<(), Error> {
        let mut tx = self.store.begin().await?;
        let done = sqlx::query(
            "UPDATE webhooks SET state = $2 WHERE id = $1 AND state = 'on' AND maker = $3",
        )
        .bind(&hook.id)
        .bind(why.as_str())
        .bind(&hook.maker)
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() > 0 {
            let change = Change {
                before: Some(json!({ "state": "on" })),
                after: Some(json!({ "state": why.as_str() })),
            };
            let object = hook.object();
            audit::write(&mut tx, &Asker::server(), Action::Change, object, change).await?;
        }
        Ok(tx.commit().await?)
    }
}

/// Whether whoever set it up still may: is no disabled person and no token that is good no more, and
/// holds the right where the hook is.
async fn may_go_on(store: &Store, hook: &Hook) -> Result<bool, Error> {
    let person = sqlx::query("SELECT disabled FROM people WHERE id = $1")
        .bind(&hook.maker)
        .fetch_optional(store.pool()?)
        .await?;
    let is_good = match person {
        Some(person) => person.try_get::<i64, _>("disabled")? == 0,
        None => tokens::is_good(store, &hook.maker).await?,
    };
    let mut connection = store.pool()?.acquire().await?;
    let (subject, right) = (hook.subject(), Right::WebhooksManage);
    Ok(is_good && rights::holds(&mut connection, &subject, right, &hook.organisation).await?)
}

/// What is sent, if the maker may see it now and it is kept.
async fn text(
    connection: &mut AnyConnection,
    hook: &Hook,
    due: &Due,
) -> Result<Option<String>, Error> {
    if due.kind == "gap" {
        let gap = json!({ "id": due.id, "type": "gap", "timestamp": events::timestamp(due.created_ms),
            "organisation": hook.organisation, "data": {} });
        return Ok(Some(gap.to_string()));
    }
    let bounds = (due.seq - 1, due.seq);
    let filter = hook.filter();
    let found = events::heard(connection, &hook.subject(), bounds, &filter).await?;
    Ok(found.first().map(|event| event.told().to_string()))
}

impl Hook {
    /// Whose rights are asked.
    pub(crate) fn subject(&self) -> Subject {
        Subject::person(&self.maker)
    }

    fn filter(&self) -> Filter {
        Filter {
            kinds: self.kinds.clone(),
            organisation: self.organisation.clone(),
            room: self.room.clone(),
        }
    }

    /// Its address, whose path is a secret at many receivers.
    pub(crate) fn url(&self, seal: &Seal) -> Result<Redacted<String>, crate::seal::Error> {
        // As an earlier version kept it.
        if self.url.contains("://") {
            return Ok(Redacted(self.url.clone()));
        }
        let plain = seal.open(&address_purpose(&self.id), &self.url)?;
        Ok(Redacted(String::from_utf8_lossy(&plain.0).into_owned()))
    }

    /// The secrets that count now, the newest first.
    fn secrets(&self, seal: &Seal) -> Result<Vec<Redacted<String>>, crate::seal::Error> {
        let old = self
            .old_secret
            .as_ref()
            .filter(|_| self.old_until_ms > now_ms());
        let sealed = std::iter::once(&self.secret).chain(old);
        let purpose = purpose(&self.id);
        let opened = sealed.map(|sealed| {
            let plain = seal.open(&purpose, sealed)?;
            Ok(Redacted(String::from_utf8_lossy(&plain.0).into_owned()))
        });
        opened.collect()
    }
}

/// What is sent to try a hook.
pub(crate) fn test_text(id: &str, organisation: &str) -> String {
    let timestamp = events::timestamp(now_ms());
    let text = json!({ "id": id, "type": "webhook.test", "timestamp": timestamp,
        "organisation": organisation, "data": {} });
    text.to_string()
}

/// What an address is sealed for.
pub(crate) fn address_purpose(hook: &str) -> String {
    format!("webhook url {hook}")
}

/// What a secret is sealed for: it opens for this hook alone.
pub(crate) fn purpose(hook: &str) -> String {
    format!("webhook {hook}")
}
