//! Events of meetings and processes: what the controller says now is compared with what was told last,
//! which is kept in the database, so that a server that was away tells what changed meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use mcu_api::ids::LegId;
use mcu_api::manager::{Meeting, MeetingLeg};
use serde_json::{Value, json};
use sqlx::{Any, Row, Transaction};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::debug;

use super::{Kind, New, insert, write};
use crate::link::{Link, Presence, Processes};
use crate::store::{self, Error, Store, now_ms};

/// Between attempts while the database is away.
const RETRY: Duration = Duration::from_secs(1);

/// Of one site so many changes are told at once, and one each so long then: a page that switches its
/// microphone on and off without end fills no table. What it is like is told in the end.
const AT_ONCE: u32 = 8;
const EACH: Duration = Duration::from_secs(10);

/// Sites of each room, as they were told last.
type Told = BTreeMap<String, Vec<MeetingLeg>>;

/// Tells of meetings and processes as the controller's link has them. Who came and went while the
/// database was away is told of neither. Never ends.
pub(crate) async fn tell(store: Store, link: Link) {
    let (mut meetings, mut processes) = (link.meetings(), link.processes());
    store.ready().await;
    let mut known = Processes::default();
    retry(|| began(&store)).await;
    let mut told = retry(|| told_last(&store)).await;
    let mut pace = Pace::default();
    loop {
        let (now, there) = (
            meetings.borrow_and_update().clone(),
            *processes.borrow_and_update(),
        );
        // Told before and after what a process did to meetings, as it comes.
        retry(|| tell_processes(&store, known, there)).await;
        known = there.or(known);
        let mut waits = None;
        if let Some(mut now) = now {
            waits = pace.hold(&told, &mut now, Instant::now());
            told = retry(|| tell_meetings(&store, &told, &now)).await;
        }
        tokio::select! {
            Ok(()) = meetings.changed() => {}
            () = sleep_until(waits.unwrap_or_else(Instant::now)), if waits.is_some() => {}
            Ok(()) = processes.changed() => {}
            // The link's task is gone, and the server ends.
            else => std::future::pending().await,
        }
    }
}

/// How much each site has had told of itself.
#[derive(Debug, Default)]
struct Pace {
    /// When all that was told will have been paid for, at one change each [`EACH`].
    paid: BTreeMap<(String, LegId), Instant>,
}

impl Pace {
    /// Takes the change of a site back that has had too much told: it is as it was told. Yields when to
    /// look again.
    fn hold(
        &mut self,
        told: &Told,
        now: &mut BTreeMap<String, Meeting>,
        at: Instant,
    ) -> Option<Instant> {
        self.paid.retain(|_, paid| *paid > at);
        let mut again = None;
        for (number, meeting) in now {
            let before = told.get(number).map_or(&[][..], Vec::as_slice);
            for leg in &mut meeting.legs {
                let Some(old) = before.iter().find(|old| old.leg == leg.leg) else {
                    continue;
                };
                if old == leg {
                    continue;
                }
                let paid = self.paid.entry((number.clone(), leg.leg)).or_insert(at);
                let then = *paid + EACH;
                if then <= at + EACH * AT_ONCE {
                    *paid = then;
                } else {
                    *leg = *old;
                    let free = then - EACH * AT_ONCE;
                    again = Some(again.map_or(free, |other: Instant| other.min(free)));
                }
            }
        }
        again
    }
}

/// Does it until it is done: the database may be away.
async fn retry<T, F: Future<Output = Result<T, Error>>>(attempt: impl Fn() -> F) -> T {
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => debug!(error = store::chain(&error), "told later"),
        }
        sleep(RETRY).await;
    }
}

/// What was told before this life.
async fn told_last(store: &Store) -> Result<Told, Error> {
    let rows = sqlx::query("SELECT what, state_json FROM told")
        .fetch_all(store.pool()?)
        .await?;
    let mut told = Told::new();
    for row in rows {
        let (number, state): (String, String) = (row.try_get("what")?, row.try_get("state_json")?);
        // What another version wrote is told anew.
        told.insert(number, serde_json::from_str(&state).unwrap_or_default());
    }
    Ok(told)
}

/// Tells that this process is there.
async fn began(store: &Store) -> Result<(), Error> {
    let mut tx = store.begin().await?;
    write(&mut tx, &of_process(Kind::ProcessBack, "manager")).await?;
    Ok(tx.commit().await?)
}

async fn tell_processes(store: &Store, before: Processes, now: Processes) -> Result<(), Error> {
    let mut news = changes("control", before.control, now.control);
    news.extend(changes("media", before.media, now.media));
    if news.is_empty() {
        return Ok(());
    }
    let mut tx = store.begin().await?;
    for event in &news {
        write(&mut tx, event).await?;
    }
    Ok(tx.commit().await?)
}

fn changes(name: &'static str, before: Presence, now: Presence) -> Vec<New> {
    let mut news = Vec::new();
    if now.lost > before.lost {
        news.push(of_process(Kind::ProcessAway, name));
    }
    let was_there = before.is_there == Some(true) && now.lost == before.lost;
    if now.is_there == Some(true) && !was_there {
        news.push(of_process(Kind::ProcessBack, name));
    }
    news
}

fn of_process(kind: Kind, name: &str) -> New {
    New {
        kind,
        organisation: None,
        room: None,
        number: None,
        object: None,
        data: json!({ "process": name }),
    }
}

/// Tells what differs from what was told, in one transaction with the note of it; what is told then.
async fn tell_meetings(
    store: &Store,
    told: &Told,
    now: &BTreeMap<String, Meeting>,
) -> Result<Told, Error> {
    let mut next = told.clone();
    let numbers = now
        .keys()
        .chain(told.keys().filter(|number| !now.contains_key(*number)));
    let mut changed = Vec::new();
    for number in numbers {
        let before = told.get(number).map_or(&[][..], Vec::as_slice);
        let after = now.get(number).map_or(&[][..], |meeting| &meeting.legs);
        if before != after {
            changed.push((number.clone(), differences(before, after), after.to_vec()));
        }
    }
    if changed.is_empty() {
        return Ok(next);
    }
    let mut tx = store.begin().await?;
    for (number, events, legs) in changed {
        tell_meeting(&mut tx, &number, events).await?;
        keep(&mut tx, &number, &legs).await?;
        match legs.is_empty() {
            true => next.remove(&number),
            false => next.insert(number, legs),
        };
    }
    tx.commit().await?;
    Ok(next)
}

async fn tell_meeting(
    tx: &mut Transaction<'static, Any>,
    number: &str,
    events: Vec<(Kind, Value)>,
) -> Result<(), Error> {
    let home: Option<(String, String)> = sqlx::query_as(
        "SELECT m.id, m.organisation FROM rooms m WHERE m.number = $1 \
         AND NOT EXISTS (SELECT 1 FROM file_rooms f WHERE f.number = $1)",
    )
    .bind(number)
    .fetch_optional(&mut **tx)
    .await?;
    // Whose it was, where somebody was in a room that is removed: its own hear that its meeting is over.
    let removed = match home {
        Some(_) => None,
        None => removed(tx, number).await?,
    };
    let shared = removed.as_ref().map_or("", |(_, shared)| shared);
    let home = home.or_else(|| removed.as_ref().map(|(home, _)| home.clone()));
    let (room, organisation) = home.unzip();
    for (kind, mut data) in events {
        data["number"] = json!(number);
        let new = New {
            kind,
            organisation: organisation.clone(),
            room: room.clone(),
            number: Some(number.to_owned()),
            object: None,
            data,
        };
        insert(tx, &new, shared, None).await?;
    }
    Ok(())
}

/// The room that had this number last, if it was made and removed: its id and home, and with whom it was
/// shared.
async fn removed(
    tx: &mut Transaction<'static, Any>,
    number: &str,
) -> Result<Option<((String, String), String)>, Error> {
    let row: Option<(String, String, String)> = sqlx::query_as(
        "SELECT e.room, e.organisation, e.shared FROM events e WHERE e.number = $1 AND e.kind = $2 \
         AND e.room IS NOT NULL AND e.organisation IS NOT NULL AND NOT EXISTS \
         (SELECT 1 FROM file_rooms f WHERE f.number = $1) ORDER BY e.seq DESC LIMIT 1",
    )
    .bind(number)
    .bind(Kind::RoomRemoved.as_str())
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(|(room, home, shared)| ((room, home), shared)))
}

async fn keep(
    tx: &mut Transaction<'static, Any>,
    number: &str,
    legs: &[MeetingLeg],
) -> Result<(), Error> {
    let statement = match legs.is_empty() {
        true => "DELETE FROM told WHERE what = $1",
        false => {
            "INSERT INTO told (what, state_json, since_ms) VALUES ($1, $2, $3) \
             ON CONFLICT (what) DO UPDATE SET state_json = excluded.state_json"
        }
    };
    let mut query = sqlx::query(statement).bind(number);
    if !legs.is_empty() {
        query = query.bind(json!(legs).to_string()).bind(now_ms());
    }
    query.execute(&mut **tx).await?;
    Ok(())
}

/// What happened between two states of a meeting, in the order in which it makes sense.
fn differences(before: &[MeetingLeg], after: &[MeetingLeg]) -> Vec<(Kind, Value)> {
    let mut news = Vec::new();
    if before.is_empty() && !after.is_empty() {
        news.push((Kind::MeetingBegan, json!({})));
    }
    let find = |legs: &[MeetingLeg], wanted: &MeetingLeg| {
        legs.iter().find(|leg| leg.leg == wanted.leg).copied()
    };
    for left in before.iter().filter(|leg| find(after, leg).is_none()) {
        news.push((Kind::LegLeft, json!({ "leg": left.leg })));
    }
    for now in after {
        let Some(old) = find(before, now) else {
            news.push((Kind::LegJoined, json!(now)));
            continue;
        };
        if (old.audio_muted, old.video_muted) != (now.audio_muted, now.video_muted) {
            let told = json!({ "leg": now.leg, "audio_muted": now.audio_muted,
                "video_muted": now.video_muted });
            news.push((Kind::LegMuted, told));
        }
        if old.quality != now.quality {
            let told = json!({ "leg": now.leg, "quality": now.quality });
            news.push((Kind::LegQuality, told));
        }
    }
    if after.is_empty() && !before.is_empty() {
        news.push((Kind::MeetingEnded, json!({})));
    }
    news
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Database;
    use mcu_api::ids::LegId;
    use mcu_api::manager::{Quality, SiteKind};

    fn leg(id: u64) -> MeetingLeg {
        MeetingLeg {
            leg: LegId(id),
            kind: SiteKind::Browser,
            audio_muted: false,
            video_muted: false,
            quality: Quality::Good,
        }
    }

    fn kinds(before: &[MeetingLeg], after: &[MeetingLeg]) -> Vec<&'static str> {
        let news = differences(before, after);
        news.iter().map(|(kind, _)| kind.as_str()).collect()
    }

    #[test]
    fn each_change_of_a_meeting_is_told_once_and_in_order() {
        let (a, b) = (leg(1), leg(2));
        assert_eq!(
            kinds(&[], &[a, b]),
            ["meeting.began", "leg.joined", "leg.joined"]
        );
        let worse = MeetingLeg {
            audio_muted: true,
            quality: Quality::Poor,
            ..b
        };
        assert_eq!(
            kinds(&[a, b], &[worse]),
            ["leg.left", "leg.muted", "leg.quality"]
        );
        assert_eq!(kinds(&[worse], &[]), ["leg.left", "meeting.ended"]);
        assert_eq!(kinds(&[a], &[a]), [""; 0]);
    }

    /// Defect: a guest who switched the microphone twenty times a second wrote as many rows.
    #[test]
    fn a_site_that_changes_without_end_is_told_of_now_and_then_and_in_the_end() {
        let muted = |id, audio_muted| MeetingLeg {
            audio_muted,
            ..leg(id)
        };
        let mut told = Told::from([("1".to_owned(), vec![leg(1), leg(2)])]);
        let mut pace = Pace::default();
        let mut look = |told: &mut Told, legs: [MeetingLeg; 2], at| {
            let number = "1".to_owned();
            let legs = legs.to_vec();
            let meeting = Meeting {
                number: number.clone(),
                legs,
            };
            let mut now = BTreeMap::from([(number.clone(), meeting)]);
            let again = pace.hold(told, &mut now, at);
            let legs = now.remove("1").unwrap().legs;
            let told_of = differences(&told["1"], &legs).len();
            told.insert(number, legs);
            (told_of, again)
        };
        let began = Instant::now();
        let (mut all, mut again) = (0, None);
        for turn in 1..=1200 {
            let at = began + Duration::from_millis(50) * turn;
            let (told_of, then) = look(&mut told, [muted(1, turn % 2 == 1), leg(2)], at);
            (all, again) = (all + told_of, then.or(again));
        }
        assert!((8..=14).contains(&all), "{all}");
        let legs = [muted(1, true), muted(2, true)];
        let (told_of, _) = look(&mut told, legs, began + Duration::from_secs(60));
        assert_eq!((told_of, told["1"][1]), (1, legs[1]), "another site");
        look(&mut told, legs, again.unwrap());
        assert_eq!(told["1"], legs, "as it is in the end");
    }

    /// A store with two organisations and a room of one of them, 4000, which another one sees.
    async fn store(dir: &std::path::Path) -> Store {
        let store = Store::open(&Database::Sqlite, dir).unwrap();
        store.prepare().await.unwrap();
        for statement in [
            "INSERT INTO organisations (id, parent, path, kind, name, created_ms) \
             VALUES ('root', NULL, '/root/', 'region', 'r', 0)",
            "INSERT INTO organisations (id, parent, path, kind, name, created_ms) \
             VALUES ('a', 'root', '/root/a/', 'hospital', 'a', 0)",
            "INSERT INTO rooms (id, organisation, number, name, guests, srtp, created_ms) \
             VALUES ('m', 'a', '4000', 'n', 0, 'allowed', 0)",
        ] {
            run(&store, statement).await;
        }
        store
    }

    async fn run(store: &Store, statement: &'static str) {
        let done = sqlx::query(statement).execute(store.pool().unwrap());
        done.await.unwrap();
    }

    /// Where the meetings' events are told, by their kind.
    async fn homes(store: &Store) -> Vec<(String, Option<String>, Option<String>, String)> {
        let rows = sqlx::query_as(
            "SELECT kind, organisation, room, shared FROM events WHERE kind LIKE 'meeting.%' ORDER BY seq",
        );
        rows.fetch_all(store.pool().unwrap()).await.unwrap()
    }

    fn meeting(legs: Vec<MeetingLeg>) -> BTreeMap<String, Meeting> {
        let number = "4000".to_owned();
        [(number.clone(), Meeting { number, legs })].into()
    }

    /// One that the file has over one that was made is the root's: its meeting is no business of the other's.
    #[tokio::test]
    async fn a_meeting_in_a_room_of_the_file_is_not_told_where_another_of_its_number_is() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path()).await;
        let began = meeting(vec![leg(1)]);
        let told = tell_meetings(&store, &Told::new(), &began).await.unwrap();
        let shadow = "INSERT INTO file_rooms (number, guests, srtp, has_pin, has_guest_pin, layout) \
                      VALUES ('4000', 0, 'allowed', 0, 0, 'auto')";
        run(&store, shadow).await;
        tell_meetings(&store, &told, &meeting(vec![]))
            .await
            .unwrap();
        let told = homes(&store).await;
        let at = |kind: &str, home: Option<&str>, room: Option<&str>| {
            let text = |text: &str| text.to_owned();
            (text(kind), home.map(text), room.map(text), String::new())
        };
        let [a, m] = [Some("a"), Some("m")];
        assert_eq!(
            told,
            [at("meeting.began", a, m), at("meeting.ended", None, None)]
        );
    }

    /// Defect: that a meeting was over whose room had been removed was told at the root alone.
    #[tokio::test]
    async fn the_end_of_a_meeting_whose_room_is_removed_is_told_where_the_room_was() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path()).await;
        let began = meeting(vec![leg(1)]);
        let told = tell_meetings(&store, &Told::new(), &began).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        let removed = New {
            kind: Kind::RoomRemoved,
            organisation: Some("a".into()),
            room: Some("m".into()),
            number: Some("4000".into()),
            object: Some("m".into()),
            data: json!({}),
        };
        insert(&mut tx, &removed, "b", None).await.unwrap();
        tx.commit().await.unwrap();
        run(&store, "DELETE FROM rooms").await;
        tell_meetings(&store, &told, &meeting(vec![]))
            .await
            .unwrap();
        let ended = homes(&store).await.pop().unwrap();
        let text = |text: &str| text.to_owned();
        let there = (Some(text("a")), Some(text("m")), text("b"));
        assert_eq!((ended.1, ended.2, ended.3), there);
    }

    #[test]
    fn a_process_that_was_away_for_a_moment_is_told_of() {
        let presence = |is_there, lost| Presence { is_there, lost };
        let told = |before, now| -> Vec<&'static str> {
            let news = changes("media", before, now);
            news.iter().map(|event| event.kind.as_str()).collect()
        };
        let unknown = presence(None, 0);
        let there = presence(Some(true), 0);
        assert_eq!(told(unknown, there), ["process.back"]);
        assert_eq!(told(there, presence(Some(false), 1)), ["process.away"]);
        assert_eq!(
            told(there, presence(Some(true), 1)),
            ["process.away", "process.back"]
        );
        assert_eq!(told(there, there), [""; 0]);
        assert_eq!(told(there, presence(None, 0)), [""; 0], "nobody tells");
        assert_eq!(told(presence(None, 0), there), ["process.back"]);
    }
}
