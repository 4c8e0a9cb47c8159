//! Who is at the door of which room, and what is done to who is in, in the record (PRV-07).

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::bench::Api;
use super::rooms::room;
use crate::entering::{self, Visit};

/// PRV-07: one coming is one entry, however often the page asks on its connection.
pub(crate) async fn a_page_that_asks_again_is_noted_once_for_each_room(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    for number in ["4000", "5000"] {
        api.make(&root, "/rooms", room(&home, number)).await;
    }
    let mut noted = HashSet::new();
    for number in ["4000", "4000", "5000", "4000"] {
        let visit = Visit {
            session: &root,
            number,
            source: [192, 0, 2, 7].into(),
        };
        let who = entering::who(&api.state, visit, &mut noted).await.unwrap();
        assert!(who.is_some());
    }
    let visits = api.noted(&root, "view").await;
    let at_the_door = visits
        .iter()
        .filter(|entry| entry["after"]["at_the_door"] == true);
    let rooms = at_the_door.map(|entry| &entry["after"]["number"]);
    assert_eq!(rooms.collect::<Vec<_>>(), ["5000", "4000"]);
}

/// PRV-07: the controller may act after it was waited for, or a page has gone meanwhile.
pub(crate) async fn what_the_controller_does_not_answer_is_in_the_record(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    api.make(&root, "/rooms", room(&home, "4000")).await;
    api.ends_when_told.store(true, Ordering::Relaxed);
    let gone = api.ask(&root, "DELETE", "/rooms/4000/legs/7", Value::Null);
    let gone = gone.await;
    assert_eq!(gone.status, StatusCode::SERVICE_UNAVAILABLE, "{gone:?}");
    let changes = api.noted(&root, "change").await;
    let told = json!({ "number": "4000", "leg": 7, "removed": true });
    assert!(changes.iter().any(|entry| entry["after"] == told));
}
