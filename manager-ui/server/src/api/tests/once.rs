//! What is done once (WS/T 545: ARC-16).

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::StatusCode;
use mcu_api::manager::ToControl;
use serde_json::{Value, json};
use sqlx::Row;
use tokio::time::timeout;

use super::bench::{Answer, Api, PASSWORD, Ringing};
use crate::once;
use crate::rights::Right;
use crate::seal::Seal;
use crate::store::now_ms;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// What can be made, with its body.
async fn things(api: &Api, root: &str) -> Vec<(String, Value)> {
    let home = api.root(root).await;
    let person = api.nobody(root, &home, "nobody").await;
    let body =
        json!({ "organisation": home, "number": "4200", "name": "会诊", "guest_links": true });
    api.make(root, "/rooms", body).await;
    let expires_ms = now_ms() + DAY_MS;
    let at =
        |field: &str, value: Value| json!({ "organisation": home, "name": "名", field: value });
    vec![
        (
            "/organisations".into(),
            json!({ "parent": home, "kind": "hospital", "name": "仁济" }),
        ),
        ("/people".into(), at("login", json!("chun"))),
        (
            format!("/people/{person}/grants"),
            json!({ "role": "clinician", "organisation": home }),
        ),
        ("/roles".into(), at("rights", json!(["rooms.view"]))),
        ("/rooms".into(), at("number", json!("4300"))),
        (
            "/rooms/4200/guest-links".into(),
            json!({ "expires_ms": expires_ms }),
        ),
        ("/rooms/4200/calls".into(), json!({ "target": "1001" })),
        ("/accounts".into(), at("user", json!("terminal"))),
        (
            "/trunks".into(),
            json!({ "organisation": home, "name": "carrier", "address": "carrier.example" }),
        ),
        (
            "/webhooks".into(),
            json!({ "organisation": home, "name": "x", "url": "https://hooks.example/", "types": ["room.created"] }),
        ),
        (
            "/session/tokens".into(),
            json!({ "name": "程序", "rights": ["rooms.view"], "expires_ms": expires_ms,
                "password": PASSWORD }),
        ),
    ]
}

fn expect(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    assert_eq!(answer.body["code"], code, "{answer:?}");
}

async fn entries(api: &Api) -> i64 {
    let row = sqlx::query("SELECT seq FROM audit_head")
        .fetch_one(api.store.pool().unwrap())
        .await;
    row.unwrap().try_get("seq").unwrap()
}

pub(crate) async fn whatever_is_made_is_made_once_and_its_answer_told_again(api: Api) {
    let root = api.first().await;
    let things = things(&api, &root).await;
    let mut told = Vec::new();
    for (path, body) in &things {
        let first = api.ask_once(&root, path, path, body.clone()).await;
        assert!(first.status.is_success(), "{path}: {first:?}");
        assert_eq!(first.body["replayed"], Value::Null);
        told.push(first);
    }
    let done = entries(&api).await;
    let calls = api.asked.lock().unwrap().len();
    // It holds over the server's life.
    let api = api.reopened();
    for ((path, body), first) in things.iter().zip(&told) {
        let quoted = format!("\"{path}\"");
        let mut again = api.ask_once(&root, &quoted, path, body.clone()).await;
        let replayed = again.body.as_object_mut().unwrap().remove("replayed");
        assert_eq!(replayed, Some(json!(true)), "{path}");
        assert_eq!((again.status, &again.body), (first.status, &first.body));
    }
    assert_eq!(entries(&api).await, done, "nothing was done");
    assert!(calls > 0);
    // Another body, and another address, under the same key.
    let other = json!({ "parent": api.root(&root).await, "kind": "hospital", "name": "瑞金" });
    let reused = api
        .ask_once(&root, "/organisations", "/organisations", other)
        .await;
    expect(&reused, 422, "idempotency_key_reused");
    let (_, body) = &things[0];
    let reused = api
        .ask_once(&root, "/people", "/organisations", body.clone())
        .await;
    expect(&reused, 422, "idempotency_key_reused");
    assert_eq!(entries(&api).await, done);
    // What is kept holds neither a secret nor a name in clear.
    let rows = sqlx::query("SELECT id, answer FROM answers").fetch_all(api.store.pool().unwrap());
    let rows = rows.await.unwrap();
    assert_eq!(rows.len(), things.len());
    let kept: String = rows
        .iter()
        .map(|row| row.get::<String, _>("answer") + &row.get::<String, _>("id"))
        .collect();
    for secret in [
        "consilium_",
        "guest=",
        "password",
        "whsec_",
        "仁济",
        "/people",
    ] {
        assert!(!kept.contains(secret), "{secret}: {kept}");
    }
}

pub(crate) async fn every_operation_that_makes_something_takes_a_key_and_no_other(api: Api) {
    let root = api.first().await;
    let described = api.document().await;
    let mut with = BTreeSet::new();
    for (path, methods) in described["paths"].as_object().unwrap() {
        let operation = &methods["post"];
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let takes = parameters
            .into_iter()
            .any(|p| p["name"] == "Idempotency-Key");
        let makes = operation["responses"]["201"].is_object();
        let own = path.ends_with("/session/authenticator");
        assert!(takes || !makes || own, "{path}");
        if takes {
            with.insert(path.strip_prefix("/api/v1").unwrap().to_owned());
        }
    }
    let things = things(&api, &root).await.len();
    assert_eq!(with.len(), things, "{with:?}");
    let password = json!({ "password": "x" });
    let refused = api
        .ask_once(&root, "a", "/session/authenticator", password)
        .await;
    expect(&refused, 400, "idempotency_no_key");
    for wrong in ["", "\"a", &"x".repeat(256)] {
        let refused = api
            .ask_once(&root, wrong, "/organisations", json!({}))
            .await;
        expect(&refused, 400, "idempotency_key");
    }
    let stranger = api
        .ask_once("guessed", "a", "/organisations", json!({}))
        .await;
    expect(&stranger, 401, "not_logged_in");
    let large = json!({ "name": "x".repeat(70_000) });
    let large = api.ask_once(&root, "a", "/organisations", large).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
}

/// Defect of another program that this guards against: one's answer was told to whoever knew the key.
pub(crate) async fn an_answer_is_told_to_who_asked_while_they_may_still_do_it(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let admin = "organisation_administrator";
    let boss_id = api.person(&root, &home, "boss", admin).await;
    let boss = api.log_in("boss").await;
    let account = json!({ "organisation": home, "user": "terminal", "name": "名" });
    let made = api.ask_once(&boss, "k", "/accounts", account.clone()).await;
    assert!(made.body["password"].is_string(), "{made:?}");
    // Another person's key is another key, be it the same text; so is a token's.
    let other = api.ask_once(&root, "k", "/accounts", account.clone()).await;
    expect(&other, 409, "taken");
    let token = api.token(&boss, &[Right::AccountsManage]).await;
    let token = format!("Bearer {token}");
    let by_token = api
        .ask_once(&token, "k", "/accounts", account.clone())
        .await;
    expect(&by_token, 409, "taken");
    // Another session of the same person is the same person.
    let later = api.log_in("boss").await;
    let again = api
        .ask_once(&later, "k", "/accounts", account.clone())
        .await;
    assert_eq!(again.body["password"], made.body["password"]);
    // The right is taken away.
    let grants = api.get(&root, &format!("/people/{boss_id}/grants")).await;
    let grants = grants.as_array().or(grants["items"].as_array()).unwrap();
    let path = format!(
        "/people/{boss_id}/grants/{}",
        grants[0]["id"].as_str().unwrap()
    );
    let taken = api.ask(&root, "DELETE", &path, Value::Null).await;
    assert_eq!(taken.status, StatusCode::NO_CONTENT);
    let refused = api.ask_once(&boss, "k", "/accounts", account.clone()).await;
    expect(&refused, 403, "accounts.manage");
    assert_eq!(refused.body["password"], Value::Null);
    let body = json!({ "disabled": true });
    api.ask(&root, "PATCH", &format!("/people/{boss_id}"), body)
        .await;
    let refused = api.ask_once(&boss, "k", "/accounts", account).await;
    expect(&refused, 401, "not_logged_in");
}

/// A link into a room that went to another hospital is not told to who has it no more.
pub(crate) async fn an_answer_about_a_room_is_told_where_the_room_is_now(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let [here, there] = [
        api.organisation(&root, &home, "仁济").await,
        api.organisation(&root, &home, "瑞金").await,
    ];
    let admin = "organisation_administrator";
    api.person(&root, &here, "boss", admin).await;
    let boss = api.log_in("boss").await;
    let body =
        json!({ "organisation": here, "number": "4200", "name": "会诊", "guest_links": true });
    api.make(&boss, "/rooms", body).await;
    let link = json!({ "expires_ms": now_ms() + DAY_MS });
    let path = "/rooms/4200/guest-links";
    let made = api.ask_once(&boss, "k", path, link.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let again = api.ask_once(&boss, "k", path, link.clone()).await;
    assert_eq!(again.body["path"], made.body["path"]);
    let moved = json!({ "organisation": there });
    let moved = api.ask(&root, "PATCH", "/rooms/4200", moved).await;
    assert_eq!(moved.status, StatusCode::OK);
    let refused = api.ask_once(&boss, "k", path, link).await;
    expect(&refused, 403, "rooms.manage");
}

pub(crate) async fn a_refusal_is_not_kept_and_what_is_unknown_is_not_done_twice(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let room = json!({ "organisation": home, "number": "4200", "name": "会诊" });
    api.make(&root, "/rooms", room.clone()).await;
    let refused = api.ask_once(&root, "k", "/rooms", room.clone()).await;
    expect(&refused, 409, "taken");
    let gone = api.ask(&root, "DELETE", "/rooms/4200", Value::Null).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    let made = api.ask_once(&root, "k", "/rooms", room.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let statement = async |text: &'static str| {
        let done = sqlx::query(text).execute(api.store.pool().unwrap()).await;
        done.unwrap().rows_affected()
    };
    // As a manager leaves it that died while a callee rang.
    let call = json!({ "target": "1001" });
    let path = "/rooms/4200/calls";
    let called = api.ask_once(&root, "call", path, call.clone()).await;
    assert_eq!(called.status, StatusCode::OK, "{called:?}");
    let asked = api.asked.lock().unwrap().len();
    statement("UPDATE answers SET status = NULL, answer = NULL WHERE room = '4200'").await;
    let unknown = api.ask_once(&root, "call", path, call).await;
    expect(&unknown, 409, "idempotency_unknown");
    assert_eq!(api.asked.lock().unwrap().len(), asked, "nobody was called");
    // Nor does it open with another key than the one that it was sealed with.
    std::fs::remove_file(api.dir.path().join(crate::SEAL_FILE)).unwrap();
    let api = api.reopened();
    let sealed = api.ask_once(&root, "k", "/rooms", room.clone()).await;
    expect(&sealed, 409, "idempotency_unknown");
}

/// Defect: a call that the controller never heard of held its key for a day.
pub(crate) async fn a_call_that_nobody_began_may_be_tried_again_and_one_that_may_ring_not(
    api: Api,
) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let room = json!({ "organisation": home, "number": "4200", "name": "会诊" });
    api.make(&root, "/rooms", room).await;
    let call = json!({ "target": "1001" });
    let path = "/rooms/4200/calls";
    let dialled = |api: &Api| {
        let asked = api.asked.lock().unwrap();
        let is_dial = |message: &&ToControl| matches!(message, ToControl::Dial { .. });
        asked.iter().filter(is_dial).count()
    };
    api.ends_when_told.store(true, Ordering::Relaxed);
    let lost = api.ask_once(&root, "rung", path, call.clone()).await;
    expect(&lost, 503, "call_lost");
    assert_eq!(dialled(&api), 1);
    let away = api.ask_once(&root, "away", path, call.clone()).await;
    expect(&away, 503, "controller_away");
    let away = api.ask(&root, "POST", path, call.clone()).await;
    expect(&away, 503, "controller_away");
    let api = api.reopened();
    let unknown = api.ask_once(&root, "rung", path, call.clone()).await;
    expect(&unknown, 409, "idempotency_unknown");
    assert_eq!(dialled(&api), 0, "nobody is called twice");
    let called = api.ask_once(&root, "away", path, call.clone()).await;
    assert_eq!(called.status, StatusCode::OK, "{called:?}");
    let again = api.ask_once(&root, "away", path, call).await;
    assert_eq!(again.body["replayed"], true, "{again:?}");
    assert_eq!(dialled(&api), 1);
}

pub(crate) async fn a_call_goes_on_when_its_client_hangs_up_and_is_told_to_who_comes_back(
    api: Api,
) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let room = json!({ "organisation": home, "number": "4200", "name": "会诊" });
    api.make(&root, "/rooms", room).await;
    let call = json!({ "target": "1001" });
    let path = "/rooms/4200/calls";
    let mut ringing = api.ringing.subscribe();
    api.ringing.send_replace(Ringing::Hold);
    // The client is gone once it rings.
    tokio::select! {
        told = api.ask_once(&root, "k", path, call.clone()) => panic!("{told:?}"),
        rings = ringing.wait_for(|ringing| *ringing == Ringing::Rings) => drop(rings.unwrap()),
    }
    let meanwhile = api.ask_once(&root, "k", path, call.clone()).await;
    expect(&meanwhile, 409, "idempotency_under_way");
    api.ringing.send_replace(Ringing::Answer);
    let told = async {
        loop {
            let told = api.ask_once(&root, "k", path, call.clone()).await;
            if told.status == StatusCode::OK {
                return told;
            }
            expect(&told, 409, "idempotency_under_way");
            tokio::task::yield_now().await;
        }
    };
    let told = timeout(Duration::from_secs(20), told).await.unwrap();
    assert_eq!(told.body["replayed"], true, "{told:?}");
    assert_eq!(told.body["status"], 486);
    let asked = api.asked.lock().unwrap();
    let is_dial = |message: &&ToControl| matches!(message, ToControl::Dial { .. });
    assert_eq!(asked.iter().filter(is_dial).count(), 1);
}

/// What was asked for may hold a password that could be guessed from a plain hash.
pub(crate) async fn the_hash_of_a_request_is_sealed(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let body = json!({ "parent": home, "kind": "hospital", "name": "仁济" });
    for key in ["a", "b"] {
        api.ask_once(&root, key, "/organisations", body.clone())
            .await;
    }
    let rows = sqlx::query("SELECT id, request_hash FROM answers")
        .fetch_all(api.store.pool().unwrap())
        .await
        .unwrap();
    let kept: Vec<(String, String)> = rows
        .iter()
        .map(|row| (row.get("id"), row.get("request_hash")))
        .collect();
    let [(id, sealed), (_, other)] = &kept[..] else {
        panic!("{kept:?}");
    };
    assert_ne!(sealed, other, "the same request twice");
    let sent = body.to_string();
    let plain = once::request_hash("POST", "/api/v1/organisations", sent.as_bytes());
    assert!(!sealed.contains(&plain) && !other.contains(&plain));
    let opened = api.state.seal.open(&format!("request {id}"), sealed);
    assert_eq!(
        opened.unwrap().0,
        plain.as_bytes(),
        "that is what is sealed"
    );
    // The key of the data folder is what it takes.
    let dir = tempfile::tempdir().unwrap();
    let another = Seal::new(dir.path());
    another.seal("x", b"x").unwrap();
    another.open(&format!("request {id}"), sealed).unwrap_err();
}

pub(crate) async fn two_at_the_same_time_make_one(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let body = json!({ "parent": home, "kind": "hospital", "name": "仁济" });
    let ask = || api.ask_once(&root, "k", "/organisations", body.clone());
    let (a, b, c) = tokio::join!(ask(), ask(), ask());
    let mut made = BTreeSet::new();
    for answer in [a, b, c] {
        match answer.status {
            StatusCode::CREATED => {
                made.insert(answer.body["id"].as_str().unwrap().to_owned());
            }
            _ => expect(&answer, 409, "idempotency_under_way"),
        }
    }
    assert_eq!(made.len(), 1);
    let listed = api.get(&root, "/organisations").await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    assert!(api.state.under_way.lock().unwrap().is_empty());
    // Another process of the server may be about to make it: its row is there first.
    let id: String = sqlx::query("SELECT id FROM answers")
        .fetch_one(api.store.pool().unwrap())
        .await
        .unwrap()
        .get("id");
    api.state.under_way.lock().unwrap().insert(id);
    expect(&ask().await, 409, "idempotency_under_way");
}

pub(crate) async fn answers_are_bounded_and_forgotten_after_a_day(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let body = json!({ "parent": home, "kind": "hospital", "name": "仁济" });
    let ask = async |key: &str| {
        api.ask_once(&root, key, "/organisations", body.clone())
            .await
    };
    let first = ask("k").await.body["id"].clone();
    assert_eq!(ask("k").await.body["id"], first);
    let pool = api.store.pool().unwrap();
    let old = sqlx::query("UPDATE answers SET created_ms = created_ms - $1").bind(DAY_MS);
    old.execute(pool).await.unwrap();
    let second = ask("k").await;
    assert_eq!(second.status, StatusCode::CREATED);
    assert_ne!(second.body["id"], first, "it is another day");
    assert_eq!(ask("k").await.body["id"], second.body["id"]);
    let me: String = sqlx::query("SELECT asker FROM answers")
        .fetch_one(pool)
        .await
        .unwrap()
        .get("asker");
    let mut tx = api.store.begin().await.unwrap();
    for n in 0..1_999 {
        sqlx::query(
            "INSERT INTO answers (id, asker, request_hash, created_ms) VALUES ($1, $2, '', $3)",
        )
        .bind(format!("{n}"))
        .bind(&me)
        .bind(now_ms())
        .execute(&mut *tx)
        .await
        .unwrap();
    }
    tx.commit().await.unwrap();
    expect(&ask("new").await, 429, "idempotency_too_many_keys");
    assert_eq!(ask("k").await.body["id"], second.body["id"]);
    sqlx::query("UPDATE answers SET created_ms = created_ms - $1")
        .bind(DAY_MS)
        .execute(pool)
        .await
        .unwrap();
    let mut tx = api.store.begin().await.unwrap();
    once::forget(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    let rows = sqlx::query("SELECT id FROM answers")
        .fetch_all(pool)
        .await
        .unwrap();
    assert_eq!(rows.len(), 0);
}
