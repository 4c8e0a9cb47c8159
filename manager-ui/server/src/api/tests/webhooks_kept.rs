//! What is kept for webhooks, and for how long (WS/T 545: ARC-16, SEC-02).

use serde_json::{Value, json};
use sqlx::Row;

use super::bench::Api;
use super::webhooks::{Receiver, deliveries, hook, is_state, room, until};
use crate::events::{self, Kind, New};
use crate::store::new_id;

/// What a statement changed.
async fn run(api: &Api, statement: &'static str) -> u64 {
    let done = sqlx::query(statement).execute(api.store.pool().unwrap());
    done.await.unwrap().rows_affected()
}

async fn switch(api: &Api, root: &str, id: &str, enabled: bool) {
    let path = format!("/webhooks/{id}");
    let switched = api.ask(root, "PATCH", &path, json!({ "enabled": enabled }));
    assert!(switched.await.status.is_success());
}

async fn numbers(receiver: &Receiver, count: usize) -> Vec<Value> {
    until(&format!("{count} messages"), async || {
        (receiver.heard().len() >= count).then_some(())
    })
    .await;
    let of = |message: Value| match message["type"] == "gap" {
        true => message["type"].clone(),
        false => message["data"]["number"].clone(),
    };
    let heard = receiver.heard();
    heard.iter().map(|heard| of(heard.message())).collect()
}

/// Defect: what was forgotten while a receiver was slow was withheld, and no gap told.
pub(crate) async fn what_is_forgotten_while_it_waits_is_told_as_a_gap(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let receiver = Receiver::start(0).await;
    let (id, _) = hook(&api, &root, &home, &receiver, &["room.created"]).await;
    switch(&api, &root, &id, false).await;
    for number in ["4200", "4201", "4202"] {
        room(&api, &root, &home, number).await;
    }
    switch(&api, &root, &id, true).await;
    assert_eq!(numbers(&receiver, 1).await, ["4200"]);
    deliveries(&api, &root, &id, "waiting", 3).await;
    run(&api, "DELETE FROM events").await;
    room(&api, &root, &home, "4203").await;
    receiver.answers(200);
    assert_eq!(numbers(&receiver, 3).await, ["4200", "gap", "4203"]);
    deliveries(&api, &root, &id, "withheld", 2).await;
    deliveries(&api, &root, &id, "delivered", 3).await;
}

/// Defect: a hook whose place stayed where it was, because too much waited, judged what is kept by the moment
/// at which its round had begun.
pub(crate) async fn what_is_forgotten_before_it_waits_is_told_as_a_gap(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let receiver = Receiver::start(0).await;
    let (id, _) = hook(&api, &root, &home, &receiver, &["room.created"]).await;
    switch(&api, &root, &id, false).await;
    room(&api, &root, &home, "4200").await;
    let mut tx = api.store.begin().await.unwrap();
    let other = New {
        kind: Kind::LegMuted,
        organisation: Some(home.clone()),
        room: None,
        number: None,
        object: None,
        data: json!({}),
    };
    // More than one statement looks through, so that the next room is not among what is found first.
    for _ in 0..600 {
        events::write(&mut tx, &other).await.unwrap();
    }
    // As many as may wait, but one.
    for n in 0..999 {
        sqlx::query(
            "INSERT INTO deliveries (id, webhook, seq, kind, state, attempts, created_ms, next_ms) \
             VALUES ($1, $2, $3, 'leg.left', 'waiting', 1, 0, 9000000000000000)",
        )
        .bind(new_id())
        .bind(&id)
        .bind(-1 - n)
        .execute(&mut *tx)
        .await
        .unwrap();
    }
    tx.commit().await.unwrap();
    room(&api, &root, &home, "4201").await;
    switch(&api, &root, &id, true).await;
    assert_eq!(numbers(&receiver, 1).await, ["4200"]);
    run(&api, "DELETE FROM deliveries WHERE seq < 0").await;
    run(&api, "DELETE FROM events").await;
    room(&api, &root, &home, "4202").await;
    receiver.answers(200);
    assert_eq!(numbers(&receiver, 3).await, ["4200", "gap", "4202"]);
}

/// Defect: whoever read the database, or a copy of it, knew the paths, which are secrets at many receivers.
pub(crate) async fn an_address_is_sealed_and_one_of_an_earlier_version_as_well(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let receiver = Receiver::start(200).await;
    let (id, _) = hook(&api, &root, &home, &receiver, &["room.created"]).await;
    let kept = async |api: &Api| -> String {
        let row = sqlx::query("SELECT url FROM webhooks").fetch_one(api.store.pool().unwrap());
        row.await.unwrap().get("url")
    };
    let sealed = kept(&api).await;
    assert!(!sealed.contains("://"), "{sealed}");
    let path = format!("/webhooks/{id}");
    let shown = api.get(&root, &path).await;
    assert_eq!(shown["url"], json!(receiver.url));
    // As an earlier version wrote it.
    let update = sqlx::query("UPDATE webhooks SET url = $1").bind(&receiver.url);
    update.execute(api.store.pool().unwrap()).await.unwrap();
    let api = api.reopened();
    until("it is sealed", async || {
        (!kept(&api).await.contains("://")).then_some(())
    })
    .await;
    room(&api, &root, &home, "4200").await;
    assert_eq!(numbers(&receiver, 1).await, ["4200"]);
    // Without the key of the data folder nobody is told, and another address may be given.
    deliveries(&api, &root, &id, "delivered", 1).await;
    std::fs::remove_file(api.dir.path().join(crate::SEAL_FILE)).unwrap();
    let api = api.reopened();
    assert_eq!(api.get(&root, &path).await["url"], "");
    let change = json!({ "url": receiver.url });
    let changed = api.ask(&root, "PATCH", &path, change).await;
    assert_eq!(changed.body["url"], json!(receiver.url), "{changed:?}");
}

pub(crate) async fn a_delivery_ends_the_failing_and_a_test_does_not(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let receiver = Receiver::start(500).await;
    let (id, _) = hook(&api, &root, &home, &receiver, &["room.created"]).await;
    room(&api, &root, &home, "4200").await;
    deliveries(&api, &root, &id, "dead", 1).await;
    receiver.answers(200);
    let path = format!("/webhooks/{id}");
    let test = format!("{path}/test");
    let tried = api.ask(&root, "POST", &test, Value::Null).await;
    assert_eq!(tried.body["delivered"], true);
    let since = api.get(&root, &path).await["failing_since_ms"].clone();
    assert!(since.is_i64(), "{since}");
    room(&api, &root, &home, "4201").await;
    deliveries(&api, &root, &id, "delivered", 1).await;
    assert_eq!(api.get(&root, &path).await["failing_since_ms"], Value::Null);
    is_state(&api, &root, &id, "on").await;
}
