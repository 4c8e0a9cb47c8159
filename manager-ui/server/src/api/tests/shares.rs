//! What others share with an organisation, and that it may end that (MGT-05).

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::bench::Api;
use super::rooms::room;

/// Defect: an organisation could not end what others shared with it, and could not be removed for it.
pub(crate) async fn what_is_shared_is_ended_by_whom_it_is_shared_with(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let [a, b, c] = [
        api.organisation(&root, &home, "A").await,
        api.organisation(&root, &home, "B").await,
        api.organisation(&root, &home, "C").await,
    ];
    let boss = "organisation_administrator";
    for (login, at) in [("boss_a", &a), ("boss_b", &b), ("boss_c", &c)] {
        api.person(&root, at, login, boss).await;
    }
    let (boss_a, boss_b) = (api.log_in("boss_a").await, api.log_in("boss_b").await);
    let boss_c = api.log_in("boss_c").await;
    let account = json!({ "organisation": a, "user": "or-1", "name": "手术室" });
    let account = api.make(&boss_a, "/accounts", account).await;
    let made = api.make(&boss_a, "/rooms", room(&a, "4000")).await;
    // Neither is shown to B.
    let unseen = json!({ "may_view": false });
    let things = [
        ("account", format!("/accounts/{account}/shares"), &account),
        ("room", "/rooms/4000/shares".to_owned(), &made),
    ];
    for (kind, shares, id) in things {
        for with in [&b, &c] {
            let share = format!("{shares}/{with}");
            let shared = api.ask(&root, "PUT", &share, unseen.clone()).await;
            assert_eq!(shared.status, StatusCode::OK);
        }
        declined(
            &api,
            [&boss_a, &boss_b, &boss_c],
            [&a, &b, &c],
            (kind, &shares, id),
        )
        .await;
    }
    let people = api.get(&root, "/people?q=boss_b").await;
    let person = people["items"][0]["id"].as_str().unwrap();
    let removed = api
        .ask(&root, "DELETE", &format!("/people/{person}"), Value::Null)
        .await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    let removed = api
        .ask(&root, "DELETE", &format!("/organisations/{b}"), Value::Null)
        .await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
}

/// B ends what A shares with it and with C.
async fn declined(
    api: &Api,
    [boss_a, boss_b, boss_c]: [&str; 3],
    [a, b, c]: [&str; 3],
    (kind, shares, id): (&str, &str, &str),
) {
    let received = format!("/organisations/{b}/{kind}-shares");
    let list = api.get(boss_b, &received).await;
    let [one] = &list["items"].as_array().unwrap()[..] else {
        panic!("{list}");
    };
    assert_eq!((&one["home"], &one["name"]), (&json!(a), &Value::Null));
    assert_eq!(one["may_view"], false);
    for (who, status) in [(boss_a, 404), (boss_c, 404)] {
        let hidden = api.ask(who, "GET", &received, Value::Null).await;
        assert_eq!(hidden.status.as_u16(), status, "{hidden:?}");
    }
    // Nobody ends another's.
    for (who, with) in [(boss_c, b), (boss_b, c)] {
        let refused = api
            .ask(who, "DELETE", &format!("{shares}/{with}"), Value::Null)
            .await;
        assert_eq!(refused.status, StatusCode::NOT_FOUND);
    }
    let ended = api
        .ask(boss_b, "DELETE", &format!("{shares}/{b}"), Value::Null)
        .await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    assert_eq!(api.get(boss_b, &received).await["items"], json!([]));
    let again = api
        .ask(boss_b, "DELETE", &format!("{shares}/{b}"), Value::Null)
        .await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    let left = api.get(boss_a, shares).await;
    assert_eq!(left.as_array().unwrap().len(), 1, "{left}");
    assert_eq!(left[0]["organisation"], json!(c));
    // Both homes have it on record.
    for who in [boss_a, boss_b] {
        let record = api.get(who, &format!("/audit?object={id}")).await;
        let last = &record["items"][0];
        assert_eq!(last["actor_name"], "boss_b", "{record}");
        assert_eq!(last["before"]["shared_with"], json!(b), "{record}");
        assert_eq!(last["after"], Value::Null);
    }
    let record = api.get(boss_b, &format!("/audit?object={id}")).await;
    let entries = record["items"].as_array().unwrap();
    assert_eq!(
        entries.len(),
        2,
        "that it began and that it ended: {record}"
    );
}
