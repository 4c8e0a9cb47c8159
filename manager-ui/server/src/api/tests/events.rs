//! Live events (WS/T 545: ARC-16, PRV-05).

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::BodyDataStream;
use axum::http::{StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt;
use serde_json::{Value, json};
use sqlx::Row;
use tokio::time::{sleep, timeout};

use super::bench::Api;
use super::matrix::{Hospital, PLACES, Place};
use crate::events::{self, Kind, New};
use crate::rights::{BUILT_IN, Right};
use crate::store::now_ms;

/// What a listener reads.
pub(super) struct Heard {
    body: BodyDataStream,
    text: String,
    /// `id` of the last block that had one.
    pub last: String,
}

#[derive(Debug)]
pub(super) struct One {
    pub kind: String,
    pub data: Value,
}

impl Heard {
    fn new(response: Response) -> Self {
        assert_eq!(response.status(), StatusCode::OK);
        let kind = response.headers().get(header::CONTENT_TYPE).unwrap();
        assert_eq!(kind, "text/event-stream");
        Self {
            body: response.into_body().into_data_stream(),
            text: String::new(),
            last: String::new(),
        }
    }

    /// The next block: an event, or a sign of life. None at the end.
    async fn block(&mut self) -> Option<Option<One>> {
        while !self.text.contains("\n\n") {
            let part = self.body.next().await?.unwrap();
            self.text.push_str(std::str::from_utf8(&part).unwrap());
        }
        let (block, rest) = self.text.split_once("\n\n").unwrap();
        let field = |name: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim_start().to_owned())
        };
        if let Some(id) = field("id:") {
            self.last = id;
        }
        let one = field("event:").map(|kind| One {
            kind,
            data: serde_json::from_str(&field("data:").unwrap()).unwrap(),
        });
        self.text = rest.to_owned();
        Some(one)
    }

    /// The next event.
    pub(super) async fn next(&mut self) -> One {
        loop {
            match self.block().await {
                Some(Some(one)) => return one,
                Some(None) => {}
                None => panic!("the stream ended"),
            }
        }
    }

    /// Events up to this one, heard or not.
    async fn told(&mut self, head: i64) -> Vec<One> {
        let mut told = Vec::new();
        let seq = |last: &str| last.parse::<events::Mark>().map_or(-1, |mark| mark.seq);
        while seq(&self.last) < head {
            told.extend(self.block().await.expect("the stream goes on"));
        }
        told
    }

    /// Reads to the end; what came before it.
    async fn ended(mut self) -> Vec<One> {
        let mut told = Vec::new();
        while let Some(block) = self.block().await {
            told.extend(block);
        }
        told
    }
}

impl Api {
    /// Listens from now on.
    pub(super) async fn listen(&self, proof: &str, query: &str) -> Heard {
        let head = self.head().await;
        let mut heads = self.state.events.heads();
        let is_seen = |heads: &Option<events::Heads>| heads.is_some_and(|h| h.last.seq >= head);
        heads.wait_for(is_seen).await.unwrap();
        let mut heard = Heard::new(self.try_listen(proof, query, None).await);
        assert!(heard.told(head).await.is_empty());
        heard
    }

    /// Number of the last event.
    async fn head(&self) -> i64 {
        let row = sqlx::query("SELECT seq FROM events_head")
            .fetch_one(self.store.pool().unwrap())
            .await;
        row.unwrap().get("seq")
    }

    /// All that is told to who heard this last.
    async fn told_since(&self, proof: &str, query: &str, last: &str) -> Vec<One> {
        let head = self.head().await;
        Heard::new(self.try_listen(proof, query, Some(last)).await)
            .told(head)
            .await
    }

    async fn write_event(&self, new: &New) {
        let mut tx = self.store.begin().await.unwrap();
        events::write(&mut tx, new).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn room(&self, cookie: &str, at: &str, number: &str) -> String {
        let body = json!({ "organisation": at, "number": number, "name": "会诊" });
        self.make(cookie, "/rooms", body).await
    }
}

fn kinds(told: &[One]) -> Vec<&str> {
    told.iter().map(|one| &*one.kind).collect()
}

pub(crate) async fn a_change_is_heard_at_once_and_by_who_comes_back_once(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let mut heard = api.listen(&root, "").await;
    let first = heard.last.clone();
    let room = api.room(&root, &home, "5000").await;
    let one = heard.next().await;
    assert_eq!(one.kind, "room.created");
    assert_eq!(one.data["type"], "room.created");
    assert_eq!(one.data["organisation"], json!(home));
    assert_eq!(one.data["data"], json!({ "id": room, "number": "5000" }));
    assert_eq!(one.data["id"], json!(heard.last));
    assert!(one.data["timestamp"].as_str().unwrap().ends_with('Z'));
    let second = heard.last.clone();
    drop(heard);
    // While nobody listens.
    api.ask(&root, "PATCH", "/rooms/5000", json!({ "name": "new" }))
        .await;
    api.ask(&root, "DELETE", "/rooms/5000", Value::Null).await;
    let told = api.told_since(&root, "", &second).await;
    assert_eq!(kinds(&told), ["room.changed", "room.removed"]);
    assert_eq!(told[1].data["data"]["number"], "5000");
    let all = api.told_since(&root, "", &first).await;
    assert_eq!(
        kinds(&all),
        ["room.created", "room.changed", "room.removed"]
    );
    // Where a header cannot be sent.
    let query = format!("?after={second}");
    let mut heard = Heard::new(api.try_listen(&root, &query, None).await);
    assert_eq!(heard.told(api.head().await).await.len(), 2);
}

/// What happens at a place: something of each right, with an id or number of its own.
async fn happen(hospital: &Hospital, place: Place) -> BTreeSet<(String, Right)> {
    let (api, root, at) = (&hospital.api, &hospital.root, hospital.id(place));
    let number = format!("n{:016x}", rand::random::<u64>());
    let room = api.room(root, at, &number).await;
    let login = format!("p{:016x}", rand::random::<u64>());
    let person = api.nobody(root, at, &login).await;
    assert_eq!(api.try_log_in(&login, "wrong").await.status, 401);
    let account = json!({ "organisation": at, "user": login, "name": "t" });
    let account = api.make(root, "/accounts", account).await;
    let role = json!({ "organisation": at, "name": "r", "rights": ["recordings.view"] });
    let role = api.make(root, "/roles", role).await;
    let below = api.organisation(root, at, "below").await;
    let meeting = New {
        kind: Kind::MeetingBegan,
        organisation: Some(at.to_owned()),
        room: Some(room.clone()),
        number: Some(number.clone()),
        object: None,
        data: json!({ "id": format!("meeting {number}") }),
    };
    api.write_event(&meeting).await;
    [
        (format!("room.created {room}"), Right::RoomsView),
        (format!("meeting.began meeting {number}"), Right::RoomsView),
        (format!("person.created {person}"), Right::PeopleView),
        (format!("login.refused {person}"), Right::AuditView),
        (format!("account.created {account}"), Right::AccountsView),
        (format!("role.created {role}"), Right::RolesView),
        (
            format!("organisation.created {below}"),
            Right::OrganisationsView,
        ),
    ]
    .into()
}

pub(crate) async fn each_role_hears_what_it_may_see_where_it_is_held(api: Api) {
    let hospital = Hospital::new(api).await;
    let (api, root) = (&hospital.api, &hospital.root);
    let begin = api.listen(root, "").await.last;
    let mut happened = Vec::new();
    for place in PLACES {
        happened.push((place, happen(&hospital, place).await));
    }
    let away = New {
        kind: Kind::ProcessAway,
        organisation: None,
        room: None,
        number: None,
        object: None,
        data: json!({ "id": "media" }),
    };
    api.write_event(&away).await;
    for role in BUILT_IN {
        let own = hospital.id(Place::Own);
        api.person(root, own, role.id, role.id).await;
        let cookie = api.log_in(role.id).await;
        if !Kind::ALL
            .iter()
            .any(|kind| role.rights.contains(&kind.right()))
        {
            let refused = api.try_listen(&cookie, "", None).await;
            assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{}", role.id);
            continue;
        }
        let told = api.told_since(&cookie, "", &begin).await;
        let heard: BTreeSet<String> = told
            .iter()
            .map(|one| {
                format!(
                    "{} {}",
                    one.kind,
                    one.data["data"]["id"].as_str().unwrap_or("")
                )
            })
            .collect();
        for (place, events) in &happened {
            let reaches = matches!(place, Place::Own | Place::Child);
            for (event, right) in events {
                let may = reaches && role.rights.contains(right);
                let cell = format!("{} {event} {place:?}", role.id);
                assert_eq!(heard.contains(event), may, "{cell}");
            }
        }
        let sees_server = role.rights.contains(&Right::SystemView);
        assert_eq!(
            heard.contains("process.away media"),
            sees_server,
            "{}",
            role.id
        );
    }
    // A token hears what both its person and its scope allow.
    let token = api.token(root, &[Right::AccountsView]).await;
    let told = api.told_since(&format!("Bearer {token}"), "", &begin).await;
    assert_eq!(kinds(&told), ["account.created"; 4]);
}

pub(crate) async fn who_may_listen_no_more_hears_nothing_more(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    assert_eq!(api.try_listen("", "", None).await.status(), 401);
    let role = "organisation_administrator";
    let boss = api.person(&root, &home, "boss", role).await;
    // A session that is ended.
    let cookie = api.log_in("boss").await;
    let mut heard = api.listen(&cookie, "?types=room.created").await;
    api.room(&root, &home, "5000").await;
    assert_eq!(heard.next().await.kind, "room.created");
    api.ask(&cookie, "DELETE", "/session", Value::Null).await;
    api.room(&root, &home, "5001").await;
    assert!(heard.ended().await.is_empty());
    // A token that is revoked.
    let cookie = api.log_in("boss").await;
    let token = api.token(&cookie, &[Right::RoomsView]).await;
    let heard = api.listen(&format!("Bearer {token}"), "").await;
    let tokens = api.get(&cookie, "/session/tokens").await;
    let path = format!("/session/tokens/{}", tokens[0]["id"].as_str().unwrap());
    api.ask(&cookie, "DELETE", &path, Value::Null).await;
    api.room(&root, &home, "5002").await;
    assert!(heard.ended().await.is_empty());
    // A right that is taken.
    let heard = api.listen(&cookie, "?types=room.created").await;
    let grants = format!("/people/{boss}/grants");
    let grant = api.get(&root, &grants).await[0]["id"].clone();
    let path = format!("{grants}/{}", grant.as_str().unwrap());
    api.ask(&root, "DELETE", &path, Value::Null).await;
    api.room(&root, &home, "5003").await;
    assert!(heard.ended().await.is_empty());
    // A person who is disabled.
    let grant = json!({ "role": role, "organisation": home });
    api.make(&root, &grants, grant).await;
    let heard = api.listen(&cookie, "?types=room.created").await;
    let path = format!("/people/{boss}");
    api.ask(&root, "PATCH", &path, json!({ "disabled": true }))
        .await;
    assert!(heard.ended().await.is_empty());
}

pub(crate) async fn a_session_that_runs_out_hears_nothing_more_however_much_there_is(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let heard = api.listen(&root, "").await;
    sqlx::query("UPDATE sessions SET seen_ms = 0")
        .execute(api.store.pool().unwrap())
        .await
        .unwrap();
    // No entry of the record tells of these.
    let event = New {
        kind: Kind::LegMuted,
        organisation: Some(home),
        room: None,
        number: None,
        object: None,
        data: json!({}),
    };
    let busy = async {
        loop {
            api.write_event(&event).await;
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        told = timeout(Duration::from_secs(10), heard.ended()) => told.expect("it ends"),
        () = busy => unreachable!("it writes for ever"),
    };
}

pub(crate) async fn who_missed_what_is_not_kept_is_told_so(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let begin = api.listen(&root, "").await.last;
    // Open, and not read.
    let mut slow = api.listen(&root, "").await;
    for number in 5000..5010 {
        api.room(&root, &home, &number.to_string()).await;
    }
    let last = api.told_since(&root, "", &begin).await.pop().unwrap();
    let last: events::Mark = last.data["id"].as_str().unwrap().parse().unwrap();
    sqlx::query("DELETE FROM events WHERE seq < $1")
        .bind(last.seq)
        .execute(api.store.pool().unwrap())
        .await
        .unwrap();
    // Until that is seen.
    let mut heads = api.state.events.heads();
    let is_seen = |heads: &Option<events::Heads>| heads.unwrap().oldest == last.seq;
    heads.wait_for(is_seen).await.unwrap();
    let told = api.told_since(&root, "", &begin).await;
    assert_eq!(kinds(&told), ["gap", "room.created"]);
    let (gap, room) = (slow.next().await, slow.next().await);
    assert_eq!([&*gap.kind, &*room.kind], ["gap", "room.created"]);
    // Of another database, of the future, and nonsense.
    let other = format!("{}.{}", last.seq, last.at_ms + 1);
    let future = format!("{}.{}", last.seq + 100, now_ms());
    for strange in [&*other, &*future, "x", "-1.0"] {
        let told = api.told_since(&root, "", strange).await;
        assert_eq!(kinds(&told), ["gap", "room.created"], "{strange}");
    }
}

pub(crate) async fn streams_are_bounded(api: Api) {
    let root = api.first().await;
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(api.listen(&root, "").await);
    }
    let refused = api.try_listen(&root, "", None).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()[header::RETRY_AFTER], "60");
    open.pop();
    api.listen(&root, "").await;
    let wrong = api.try_listen(&root, "?types=nonsense", None).await;
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);
}

pub(crate) async fn a_shared_room_is_heard_of_as_long_as_it_is_shared(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let (a, b) = (
        api.organisation(&root, &home, "A").await,
        api.organisation(&root, &home, "B").await,
    );
    api.person(&root, &b, "nurse", "clinician").await;
    let nurse = api.log_in("nurse").await;
    let begin = api.listen(&nurse, "").await.last;
    for number in ["5000", "6000"] {
        api.room(&root, &a, number).await;
        let path = format!("/rooms/{number}/shares/{b}");
        api.ask(&root, "PUT", &path, json!({})).await;
    }
    let rooms = "?types=room.created,room.changed,room.removed";
    let told = api.told_since(&nurse, rooms, &begin).await;
    let both = ["room.created", "room.changed"];
    assert_eq!(kinds(&told), [both, both].concat());
    // What was is not told once it may not be seen.
    let path = format!("/rooms/6000/shares/{b}");
    api.ask(&root, "DELETE", &path, Value::Null).await;
    api.ask(&root, "DELETE", "/rooms/6000", Value::Null).await;
    assert_eq!(kinds(&api.told_since(&nurse, rooms, &begin).await), both);
    // That a shared room was removed is told to who saw it.
    api.ask(&root, "DELETE", "/rooms/5000", Value::Null).await;
    let told = api.told_since(&nurse, rooms, &begin).await;
    assert_eq!(kinds(&told), ["room.removed"]);
}

/// Defect: what went to another organisation stayed for ever in the list of whoever had seen it.
pub(crate) async fn what_moves_away_is_told_as_gone_to_those_whom_it_left(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let [a, b, c] = [
        api.organisation(&root, &home, "A").await,
        api.organisation(&root, &home, "B").await,
        api.organisation(&root, &home, "C").await,
    ];
    let mut people = Vec::new();
    for (login, at) in [("here", &a), ("there", &b), ("guest", &c)] {
        let boss = "organisation_administrator";
        let person = api.person(&root, at, login, boss).await;
        let net = json!({ "role": "network_operator", "organisation": at });
        api.make(&root, &format!("/people/{person}/grants"), net)
            .await;
        people.push(api.log_in(login).await);
    }
    let [here, there, guest] = &people[..] else {
        panic!("{people:?}")
    };
    let room = api.room(&root, &a, "5000").await;
    let share = format!("/rooms/5000/shares/{c}");
    api.ask(&root, "PUT", &share, json!({})).await;
    let account = json!({ "organisation": a, "user": "ward-7", "name": "t" });
    let account = api.make(&root, "/accounts", account).await;
    let trunk = json!({ "organisation": a, "name": "city", "address": "carrier.example" });
    let trunk = api.make(&root, "/trunks", trunk).await;
    let begin = api.listen(&root, "").await.last;
    let moved = json!({ "organisation": b });
    for path in [
        "/rooms/5000",
        &format!("/accounts/{account}"),
        &format!("/trunks/{trunk}"),
    ] {
        let moved = api.ask(&root, "PATCH", path, moved.clone()).await;
        assert_eq!(moved.status, StatusCode::OK, "{path}");
    }
    let told = async |who: &str, query: &str| api.told_since(who, query, &begin).await;
    let left = told(here, "").await;
    assert_eq!(
        kinds(&left),
        ["room.removed", "account.removed", "trunk.removed"]
    );
    let data = json!({ "id": room, "number": "5000", "moved_away": true });
    assert_eq!(left[0].data["data"], data);
    assert_eq!(left[0].data["organisation"], json!(a));
    // Nor do they learn where to.
    assert!(left.iter().all(|one| !one.data.to_string().contains(&b)));
    let changed = ["room.changed", "account.changed", "trunk.changed"];
    assert_eq!(kinds(&told(there, "").await), changed);
    // Who sees it all the same is not told that it is gone,
    assert_eq!(kinds(&told(&root, "").await), changed);
    assert_eq!(kinds(&told(guest, "").await), ["room.changed"]);
    // unless they follow what it left alone.
    let at = |organisation: &str| {
        format!("?organisation={organisation}&types=room.removed,room.changed")
    };
    assert_eq!(kinds(&told(&root, &at(&a)).await), ["room.removed"]);
    assert_eq!(kinds(&told(&root, &at(&b)).await), ["room.changed"]);
    assert_eq!(kinds(&told(&root, &at(&home)).await), ["room.changed"]);
    assert_eq!(kinds(&told(here, "?room=5000").await), ["room.removed"]);
    an_organisation_goes_with_what_is_in_it(&api, &root, [&a, &b], [here, there]).await;
}

async fn an_organisation_goes_with_what_is_in_it(
    api: &Api,
    root: &str,
    [a, b]: [&str; 2],
    [here, there]: [&str; 2],
) {
    let below = api.organisation(root, a, "below").await;
    let begin = api.listen(root, "").await.last;
    let path = format!("/organisations/{below}");
    let moved = api.ask(root, "PATCH", &path, json!({ "parent": b })).await;
    assert_eq!(moved.status, StatusCode::OK, "{moved:?}");
    let left = api.told_since(here, "", &begin).await;
    assert_eq!(kinds(&left), ["organisation.removed"]);
    let told = api.told_since(there, "", &begin).await;
    assert_eq!(kinds(&told), ["organisation.changed"]);
}

pub(crate) async fn a_listener_chooses_by_type_organisation_and_room(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let begin = api.listen(&root, "").await.last;
    let a = api.organisation(&root, &home, "A").await;
    let below = api.organisation(&root, &a, "below").await;
    api.room(&root, &below, "5000").await;
    api.room(&root, &home, "6000").await;
    let told = async |query: &str| -> Vec<String> {
        let told = api.told_since(&root, query, &begin).await;
        told.iter().map(|one| one.kind.clone()).collect()
    };
    let (room, organisation) = ("room.created", "organisation.created");
    let at = format!("?organisation={a}");
    assert_eq!(told(&at).await, [organisation, organisation, room]);
    assert_eq!(told(&format!("{at}&types=room.created")).await, [room]);
    assert_eq!(told("?room=6000").await, [room]);
    assert_eq!(
        told("?types=organisation.created,").await,
        [organisation; 2]
    );
    assert_eq!(told("?organisation=nowhere").await, [""; 0]);
}
