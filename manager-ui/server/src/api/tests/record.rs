//! The record of what was done.

use serde_json::json;
use sqlx::AnyConnection;

use super::bench::Api;
use crate::audit::checkpoints::{self, Signer};
use crate::audit::{Fault, page_after, verify};

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

/// Defect: what was moved to another organisation vanished for the auditors of the one that it left
/// (PRV-07).
pub(crate) async fn what_moves_away_is_in_the_record_of_both_places(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let a = api.organisation(&root, &home, "A").await;
    let b = api.organisation(&root, &home, "B").await;
    api.person(&root, &a, "chun", "auditor").await;
    api.person(&root, &b, "qiu", "auditor").await;
    let room = json!({ "organisation": a, "number": "4000", "name": "会诊室" });
    let room = api.make(&root, "/rooms", room).await;
    let account = json!({ "organisation": a, "user": "or-1", "name": "手术室" });
    let account = api.make(&root, "/accounts", account).await;
    let below = api.organisation(&root, &a, "C").await;
    let to_b = json!({ "organisation": b });
    for (path, change) in [
        ("/rooms/4000".to_owned(), to_b.clone()),
        (format!("/accounts/{account}"), to_b),
        (format!("/organisations/{below}"), json!({ "parent": b })),
    ] {
        let moved = api.ask(&root, "PATCH", &path, change).await;
        assert!(moved.status.is_success(), "{moved:?}");
    }
    let (left, come) = (api.log_in("chun").await, api.log_in("qiu").await);
    for (object, place) in [(&room, &b), (&account, &b), (&below, &below)] {
        let of = format!("/audit?object={object}");
        let last = &api.get(&left, &of).await["items"][0];
        assert_eq!(last["action"], "change", "{last}");
        assert_eq!(last["organisation"], json!(a));
        assert_eq!(last["after"], json!({ "moved_away": true }));
        assert!(!last.to_string().contains(&b), "not where to: {last}");
        let last = &api.get(&come, &of).await["items"][0];
        assert_eq!(last["organisation"], json!(place), "{last}");
    }
    // What changes otherwise is there once.
    api.ask(&root, "PATCH", "/rooms/4000", json!({ "name": "x" }))
        .await;
    let of = format!("/audit?object={room}");
    let all = api.get(&root, &of).await["items"].as_array().unwrap().len();
    assert_eq!(all, 4);
}

pub(crate) async fn the_record_is_taken_away_as_a_file_with_the_same_rights_and_filters_and_that_is_in_it(
    api: Api,
) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let a = api.organisation(&root, &home, "=1+1").await;
    let b = api.organisation(&root, &home, "geheim").await;
    api.person(&root, &a, "chun", "auditor").await;
    let auditor = api.log_in("chun").await;
    // More than is read at a time.
    for _ in 0..520 {
        api.get(&root, "/audit?limit=1").await;
    }

    let table = api.text(&root, "/audit/export").await;
    let lines: Vec<&str> = table.split_terminator("\r\n").collect();
    assert!(
        lines[0].starts_with("\u{feff}seq,at_ms,actor,"),
        "{}",
        lines[0]
    );
    assert!(lines.len() > 500, "{}", lines.len());
    let seqs: Vec<i64> = lines[1..]
        .iter()
        .map(|l| l.split(',').next().unwrap().parse().unwrap())
        .collect();
    assert!(
        seqs.windows(2).all(|pair| pair[0] == pair[1] + 1),
        "newest first, none twice"
    );

    let own = api.text(&auditor, "/audit/export?format=ndjson").await;
    let own: Vec<serde_json::Value> = own
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert!(own.iter().all(|entry| entry["organisation"] == json!(a)));
    assert!(!json!(own).to_string().contains(&b));
    let taken = &own[0];
    assert_eq!(
        (&taken["action"], &taken["after"]["format"]),
        (&json!("export"), &json!("ndjson"))
    );
    let only = api
        .text(&auditor, "/audit/export?format=ndjson&action=grant&limit=1")
        .await;
    assert_eq!(only.lines().count(), 1, "{only}");
    let messages = api
        .text(&auditor, "/audit/export?format=atna&action=export")
        .await;
    assert_eq!(messages.lines().count(), 3, "{messages}");
    for line in messages.lines() {
        let (head, message) = line.split_once('\u{feff}').unwrap();
        assert!(
            head.starts_with("<85>1 2") && head.ends_with(" DICOM+RFC3881 - "),
            "{head}"
        );
        assert!(message.contains("csd-code=\"110101\"") && message.contains("UserName=\"chun\""));
    }
    let refused = api.get(&root, "/audit?action=export").await;
    assert_eq!(refused["items"].as_array().unwrap().len(), 4);
    let wrong = api
        .ask(
            &root,
            "GET",
            "/audit/export?format=pdf",
            serde_json::Value::Null,
        )
        .await;
    assert_eq!(wrong.status, axum::http::StatusCode::BAD_REQUEST);
}

pub(crate) async fn a_changed_a_removed_and_a_cut_record_are_found(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    for n in 0..10 {
        api.organisation(&root, &home, &format!("H{n}")).await;
    }
    let mut connection = api.store.pool().unwrap().acquire().await.unwrap();
    let whole = verify(&mut connection, &[]).await.unwrap();
    let last = whole.expect("untouched").entries;
    assert!(last >= 12, "{last}");

    for (spoil, mend) in [
        (
            "UPDATE audit SET after_json = replace(after_json, 'H3', 'H4') WHERE seq = 6",
            "UPDATE audit SET after_json = replace(after_json, 'H4', 'H3') WHERE seq = 6",
        ),
        (
            "UPDATE audit SET at_ms = at_ms + 1 WHERE seq = 6",
            "UPDATE audit SET at_ms = at_ms - 1 WHERE seq = 6",
        ),
    ] {
        run(&mut connection, spoil).await;
        let found = verify(&mut connection, &[]).await.unwrap();
        assert_eq!(found, Err(Fault::Changed(6)), "{spoil}");
        run(&mut connection, mend).await;
        assert!(verify(&mut connection, &[]).await.unwrap().is_ok());
    }
    let cut = format!("DELETE FROM audit WHERE seq = {last}");
    run(&mut connection, &cut).await;
    let cut = verify(&mut connection, &[]).await.unwrap();
    let told = Fault::Cut {
        found: last - 1,
        told: last,
    };
    assert_eq!(cut, Err(told));
    run(&mut connection, "DELETE FROM audit WHERE seq = 5").await;
    let gap = verify(&mut connection, &[]).await.unwrap();
    assert_eq!(gap, Err(Fault::Missing(5, 5)));
}

/// Somebody who may write the database computes the whole chain anew, so that it holds in itself.
async fn rewrite(connection: &mut AnyConnection, to: i64) {
    let mut previous = "0".repeat(64);
    for seq in 1..=to {
        let page = page_after(connection, seq - 1, seq).await.unwrap();
        previous = page[0].hash_after(&previous);
        let hash = format!("UPDATE audit SET hash = '{previous}' WHERE seq = {seq}");
        run(connection, &hash).await;
    }
    run(connection, &format!("DELETE FROM audit WHERE seq > {to}")).await;
    let head = format!("UPDATE audit_head SET seq = {to}, hash = '{previous}'");
    run(connection, &head).await;
}

pub(crate) async fn a_record_that_was_rewritten_does_not_fit_its_checkpoints(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let dir = api.dir.path().join("audit");
    let mut signer = Signer::open(&dir).unwrap();
    for n in 0..6 {
        api.organisation(&root, &home, &format!("H{n}")).await;
        signer.sign(&api.store).await.unwrap();
        signer.sign(&api.store).await.unwrap();
    }
    let signed = checkpoints::read(&dir).unwrap();
    assert_eq!(
        signed.len(),
        6,
        "a record that did not change is signed once"
    );
    let last = signed[5].seq;
    let mut connection = api.store.pool().unwrap().acquire().await.unwrap();
    let whole = verify(&mut connection, &signed).await.unwrap().unwrap();
    assert_eq!((whole.entries, whole.checkpoints), (last, 6));

    rewrite(&mut connection, last).await;
    assert!(verify(&mut connection, &signed).await.unwrap().is_ok());
    let spoil = "UPDATE audit SET after_json = replace(after_json, 'H1', 'H9') WHERE seq = 4";
    run(&mut connection, spoil).await;
    rewrite(&mut connection, last).await;
    assert!(verify(&mut connection, &[]).await.unwrap().is_ok());
    let found = verify(&mut connection, &signed).await.unwrap();
    assert_eq!(found, Err(Fault::Rewritten(4)));
    let mend = "UPDATE audit SET after_json = replace(after_json, 'H9', 'H1') WHERE seq = 4";
    run(&mut connection, mend).await;
    rewrite(&mut connection, last - 2).await;
    assert!(verify(&mut connection, &[]).await.unwrap().is_ok());
    let cut = Fault::Cut {
        found: last - 2,
        told: last,
    };
    assert_eq!(verify(&mut connection, &signed).await.unwrap(), Err(cut));

    // An entry beside the chain is found, too.
    let lines = std::fs::read_to_string(dir.join("checkpoints")).unwrap();
    let added = format!(
        "INSERT INTO audit SELECT {last} + 7, at_ms, actor, actor_name, source, action, object_kind, \
         object, organisation, before_json, after_json, hash FROM audit WHERE seq = 1"
    );
    run(&mut connection, &added).await;
    let found = verify(&mut connection, &[]).await.unwrap();
    assert_eq!(found, Err(Fault::Added(1)));

    // Half a line that a loss of power left is no line, and none is written behind it.
    let torn = format!("{lines}99 17");
    std::fs::write(dir.join("checkpoints"), torn).unwrap();
    Signer::open(&dir).unwrap();
    let mended = std::fs::read_to_string(dir.join("checkpoints")).unwrap();
    assert_eq!(mended, lines);

    // Nor can the checkpoints be changed, or be written with another key.
    std::fs::write(dir.join("checkpoints"), lines.replacen("4 ", "5 ", 1)).unwrap();
    assert!(checkpoints::read(&dir).is_err());
}

async fn run(connection: &mut AnyConnection, statement: &str) {
    let statement = sqlx::AssertSqlSafe(statement.to_owned());
    sqlx::raw_sql(statement).execute(connection).await.unwrap();
}
