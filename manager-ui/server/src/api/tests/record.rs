//! The record of what was done.

use axum::http::StatusCode;
use serde_json::json;
use sqlx::Row;

use super::bench::Api;
use crate::audit::{Fault, verify};

pub(crate) async fn each_change_is_in_the_record_with_before_and_after(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let a = api.organisation(&root, &home, "A").await;
    let path = format!("/organisations/{a}");
    api.ask(&root, "PATCH", &path, json!({ "name": "仁济" }))
        .await;
    let person = api.person(&root, &a, "chun", "auditor").await;
    api.try_log_in("chun", "wrong wrong wrong").await;
    let record = api.get(&root, &format!("/audit?object={a}")).await;
    let changed = &record["items"][0];
    assert_eq!(changed["action"], "change");
    assert_eq!(changed["actor_name"], "root");
    assert_eq!(changed["source"], "192.0.2.7");
    assert_eq!(changed["before"]["name"], "A");
    assert_eq!(changed["after"]["name"], "仁济");
    let record = api.get(&root, &format!("/audit?object={person}")).await;
    let items = record["items"].as_array().unwrap();
    let actions: Vec<&str> = items
        .iter()
        .map(|e| e["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["login_failed", "grant", "create"]);
    assert_eq!(items[1]["after"]["role"], "auditor");
    assert!(!record.to_string().contains("argon2"), "no hash is told");

    // Another hospital's auditor sees what happened at his own, and nothing else.
    let auditor = api.log_in("chun").await;
    let b = api.organisation(&root, &home, "B").await;
    let own = api.get(&auditor, "/audit").await;
    let own = own["items"].as_array().unwrap();
    assert!(own.iter().any(|e| e["object"] == json!(person)), "{own:?}");
    assert!(own.iter().all(|e| e["organisation"] == json!(a)), "{own:?}");
    assert!(!own.iter().any(|e| e["object"] == json!(b)));
}

pub(crate) async fn a_changed_a_removed_and_a_cut_record_are_found(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    for n in 0..10 {
        api.organisation(&root, &home, &format!("H{n}")).await;
    }
    let mut connection = api.store.pool().unwrap().acquire().await.unwrap();
    let whole = verify(&mut connection).await.unwrap();
    let last = whole.expect("untouched");
    assert!(last >= 12, "{last}");

    let faults = [
        (
            "UPDATE audit SET after_json = replace(after_json, 'H3', 'H4') WHERE after_json LIKE '%H3%'",
            "UPDATE audit SET after_json = replace(after_json, 'H4', 'H3') WHERE seq = $1",
        ),
        (
            "UPDATE audit SET at_ms = at_ms + 1 WHERE seq = 4",
            "UPDATE audit SET at_ms = at_ms - 1 WHERE seq = 4",
        ),
    ];
    for (spoil, mend) in faults {
        sqlx::query(spoil).execute(&mut *connection).await.unwrap();
        let found = verify(&mut connection).await.unwrap().unwrap_err();
        let Fault::Changed(seq) = found else {
            panic!("{found:?}");
        };
        let mend = sqlx::query(mend);
        let mend = if mend_needs(spoil) {
            mend.bind(seq)
        } else {
            mend
        };
        mend.execute(&mut *connection).await.unwrap();
        assert_eq!(verify(&mut connection).await.unwrap(), Ok(last));
    }
    sqlx::query("DELETE FROM audit WHERE seq = $1")
        .bind(last)
        .execute(&mut *connection)
        .await
        .unwrap();
    let cut = verify(&mut connection).await.unwrap();
    let told = Fault::Cut {
        found: last - 1,
        told: last,
    };
    assert_eq!(cut, Err(told));
    sqlx::query("DELETE FROM audit WHERE seq = 5")
        .execute(&mut *connection)
        .await
        .unwrap();
    let gap = verify(&mut connection).await.unwrap();
    assert_eq!(gap, Err(Fault::Missing(5, 5)));
    let rows = sqlx::query("SELECT COUNT(*) AS n FROM audit")
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    assert_eq!(rows.get::<i64, _>("n"), last - 2);
    assert_eq!(
        api.try_log_in("root", "wrong wrong wrong").await.status,
        StatusCode::UNAUTHORIZED
    );
}

/// Whether the statement that mends takes the entry's number.
fn mend_needs(spoil: &str) -> bool {
    spoil.contains("after_json")
}
