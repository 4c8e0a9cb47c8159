//! What the server does, for whoever watches it: metrics, health, and the page about the system.
//! Gathered once a second at most, however many ask. It names nobody, and no room.

pub(crate) mod counts;
pub(crate) mod exposition;
pub(crate) mod files;
pub(crate) mod listener;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mcu_api::figures::{Control, Process};
use serde::Serialize;
use sqlx::Row;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::link::{Link, Upstream};
use crate::store::{Error, Store, now_ms};
use crate::syslog;
use counts::Counts;
use files::{Files, Places};

/// What was gathered serves so long.
const FRESH: Duration = Duration::from_secs(1);
/// Longest that each part is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same for a database that was away a moment ago: who asks whether calls are taken waits for it, too.
const LITTLE_PATIENCE: Duration = Duration::from_millis(300);
/// A media process tells of itself each second.
const SILENT: u64 = 5_000;

/// Gathers what there is to tell.
pub(crate) struct Watch {
    link: Link,
    store: Store,
    places: Arc<Places>,
    process: fn() -> Process,
    /// How it goes with the log host, where there is one.
    syslog: Option<watch::Receiver<syslog::State>>,
    /// What this process counts itself.
    pub counts: Counts,
    /// Held while it is gathered, so that this is done once for all who ask meanwhile.
    last: Mutex<Option<(Instant, Arc<Snapshot>)>>,
    /// A disk that answers no more has one thread waiting, not one more each time.
    reader: Arc<Semaphore>,
}

/// Everything at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// This process.
    pub manager: Process,
    /// The controller and what it knows of the media processor; none where it does not answer.
    pub control: Option<Control>,
    /// How the parts do.
    pub parts: Parts,
    /// How long the database took to answer; none where it does not.
    pub database: Option<Duration>,
    /// What the database holds; none where it does not answer.
    pub held: Option<Held>,
    /// How it goes with the log host, where there is one.
    pub syslog: Option<syslog::State>,
    /// What is told by files.
    pub files: Files,
}

/// What the database holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// Number of the last entry of the record.
    pub entries: i64,
    /// How long the webhooks' oldest message waits that has not arrived.
    pub waiting: Duration,
    /// Webhooks that were switched off by the server.
    pub stopped: i64,
}

/// How the parts of the server do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Parts {
    pub manager: Part,
    pub control: Part,
    pub media: Part,
    pub database: Part,
}

/// How a part does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    /// It is there and answers.
    Ready,
    /// It is there and does not answer.
    Silent,
    /// It is not there.
    Away,
    /// Who could tell is not there.
    Unknown,
}

impl Watch {
    pub(crate) fn new(
        link: Link,
        store: Store,
        places: Places,
        process: fn() -> Process,
        syslog: Option<watch::Receiver<syslog::State>>,
    ) -> Self {
        Self {
            link,
            store,
            places: Arc::new(places),
            process,
            syslog,
            counts: Counts::new(),
            last: Mutex::default(),
            reader: Arc::new(Semaphore::new(1)),
        }
    }

    /// Everything, as it was a second ago at most.
    pub(crate) async fn look(&self) -> Arc<Snapshot> {
        let mut last = self.last.lock().await;
        if let Some((at, snapshot)) = &*last
            && at.elapsed() < FRESH
        {
            return snapshot.clone();
        }
        let was_away = last
            .as_ref()
            .is_some_and(|(_, last)| last.database.is_none());
        let patience = if was_away { LITTLE_PATIENCE } else { PATIENCE };
        let snapshot = Arc::new(self.gather(patience).await);
        *last = Some((Instant::now(), snapshot.clone()));
        snapshot
    }

    /// As Prometheus reads it.
    pub(crate) async fn exposition(&self) -> String {
        exposition::text(&*self.look().await, &self.counts)
    }

    async fn gather(&self, patience: Duration) -> Snapshot {
        let (control, database, files) = tokio::join!(
            self.link.figures(PATIENCE),
            timeout(patience, self.ask_database()),
            self.read_files(),
        );
        let (database, held) = match database {
            Ok(Ok((latency, held))) => (Some(latency), Some(held)),
            Ok(Err(_)) | Err(_) => (None, None),
        };
        let control = control.ok();
        Snapshot {
            manager: (self.process)(),
            parts: self.parts(control.as_ref(), database.is_some()),
            control,
            database,
            held,
            syslog: self.syslog.as_ref().map(|state| *state.borrow()),
            files,
        }
    }

    fn parts(&self, told: Option<&Control>, database: bool) -> Parts {
        let upstream = self.link.upstream();
        let silent = self.link.tells_figures() && told.is_none();
        let control = match upstream {
            Upstream::ControlAway => Part::Away,
            Upstream::MediaAway | Upstream::Ready if silent => Part::Silent,
            Upstream::MediaAway | Upstream::Ready => Part::Ready,
        };
        let age = told.and_then(|control| control.media_age_ms);
        let media = match upstream {
            Upstream::ControlAway => Part::Unknown,
            Upstream::MediaAway => Part::Away,
            Upstream::Ready if age.is_some_and(|age| age > SILENT) => Part::Silent,
            Upstream::Ready => Part::Ready,
        };
        Parts {
            manager: Part::Ready,
            control,
            media,
            database: match database {
                true => Part::Ready,
                false => Part::Away,
            },
        }
    }

    /// How long a statement took, and what it told.
    async fn ask_database(&self) -> Result<(Duration, Held), Error> {
        let asked = Instant::now();
        let row = sqlx::query(
            "SELECT a.seq, (SELECT MIN(d.created_ms) FROM deliveries d WHERE d.state = 'waiting') AS oldest, \
             (SELECT COUNT(*) FROM webhooks w WHERE w.state NOT IN ('on', 'off')) AS stopped \
             FROM audit_head a WHERE a.one = 1",
        )
        .fetch_one(self.store.pool()?)
        .await?;
        let oldest: Option<i64> = row.try_get("oldest")?;
        let waiting = oldest.map_or(0, |since| now_ms().saturating_sub(since));
        let held = Held {
            entries: row.try_get("seq")?,
            waiting: Duration::from_millis(u64::try_from(waiting).unwrap_or(0)),
            stopped: row.try_get("stopped")?,
        };
        Ok((asked.elapsed(), held))
    }

    async fn read_files(&self) -> Files {
        let Ok(place) = self.reader.clone().try_acquire_owned() else {
            return Files::default();
        };
        let places = self.places.clone();
        let read = tokio::task::spawn_blocking(move || {
            let files = places.read();
            drop(place);
            files
        });
        match timeout(PATIENCE, read).await {
            Ok(Ok(files)) => files,
            Ok(Err(_)) | Err(_) => Files::default(),
        }
    }
}
