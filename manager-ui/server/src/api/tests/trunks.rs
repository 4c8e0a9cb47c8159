//! Trunks that people make (MGT-01, VSEC-03).

use axum::http::StatusCode;
use mcu_api::directory::{MadeTrunk, TrunkNumber, TrunkTransport};
use mcu_api::manager::ToControl;
use serde_json::{Value, json};

use super::bench::Api;
use super::rooms::{record, room};

fn trunk(organisation: &str, name: &str) -> Value {
    json!({ "organisation": organisation, "name": name, "address": "carrier.example:5070" })
}

/// The trunks that the controller was told last.
fn told(api: &Api) -> Vec<MadeTrunk> {
    let asked = api.asked.lock().unwrap();
    let last = asked.iter().rev().find_map(|message| match message {
        ToControl::Directory(directory) => Some(directory.trunks.clone()),
        _ => None,
    });
    last.expect("a directory")
}

pub(crate) async fn a_trunk_is_made_changed_shown_and_removed_and_its_password_is_told_to_nobody(
    api: Api,
) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let a = api.organisation(&root, &home, "A").await;
    api.make(&root, "/rooms", room(&a, "4000")).await;
    let mut new = trunk(&a, "city");
    for (field, value) in [
        ("user", json!("hospital")),
        ("password", json!("t0p-s3cret")),
        ("register", json!(true)),
        ("transport", json!("tls")),
        ("sources", json!(["10.0.0.7", "10.0.0.7"])),
        ("prefix", json!("9")),
        (
            "numbers",
            json!([{ "number": "+865551234", "room": "4000" }]),
        ),
    ] {
        new[field] = value;
    }
    let made = api.ask(&root, "POST", "/trunks", new).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    assert!(!made.body.to_string().contains("t0p-s3cret"));
    let kept = told(&api).pop().unwrap();
    assert_eq!(kept.password.unwrap().0, "t0p-s3cret");
    assert_eq!(kept.register_s, Some(600));
    assert_eq!(kept.transport, Some(TrunkTransport::Tls));
    assert_eq!(kept.sources.len(), 1);
    let number = TrunkNumber {
        number: "+865551234".into(),
        room: "4000".into(),
    };
    assert_eq!(kept.numbers, [number]);
    let sealed: (String,) = sqlx::query_as("SELECT password FROM trunks")
        .fetch_one(api.store.pool().unwrap())
        .await
        .unwrap();
    assert!(!sealed.0.contains("t0p"));

    let list = api.get(&root, "/trunks").await;
    let shown = &list["items"][0];
    assert_eq!(shown["has_password"], true);
    assert_eq!(shown["state"]["registered"], true);
    let of_file = &list["of_file"][0];
    assert_eq!(of_file["name"], "pbx");
    assert_eq!(of_file["state"]["failure"], "no answer");

    let path = format!("/trunks/{}", made.body["id"].as_str().unwrap());
    let changes = json!({ "prefix": null, "register": false, "numbers": [] });
    let changed = api.ask(&root, "PATCH", &path, changes).await;
    assert_eq!(changed.status, StatusCode::OK, "{changed:?}");
    let kept = told(&api).pop().unwrap();
    assert_eq!((kept.prefix, kept.register_s), (None, None));
    assert_eq!(kept.password.unwrap().0, "t0p-s3cret", "it stays");
    another_server_is_told_the_password_anew(&api, &root, &path).await;
    let taken = json!({ "password": null, "user": null });
    let taken = api.ask(&root, "PATCH", &path, taken).await;
    assert_eq!(taken.body["has_password"], false, "{taken:?}");
    assert_eq!(told(&api).pop().unwrap().password, None);
    let removed = api.ask(&root, "DELETE", &path, Value::Null).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    assert!(told(&api).is_empty());
    let record = record(&api).await;
    assert!(record.contains("\"password_set_anew\":true") && !record.contains("t0p"));
}

/// Defect that this guards against: whoever could change a trunk had its password answer challenges of a
/// server of their own.
async fn another_server_is_told_the_password_anew(api: &Api, root: &str, path: &str) {
    for (field, value) in [
        ("address", json!("other.example")),
        ("transport", Value::Null),
        ("domain", json!("other.example")),
        ("user", json!("other")),
    ] {
        let mut change = json!({});
        change[field] = value;
        let refused = api.ask(root, "PATCH", path, change.clone()).await;
        assert_eq!(
            refused.body["code"], "password_anew",
            "{change}: {refused:?}"
        );
        change["password"] = json!("t0p-s3cret");
        let changed = api.ask(root, "PATCH", path, change).await;
        assert_eq!(changed.status, StatusCode::OK, "{changed:?}");
    }
}

pub(crate) async fn what_contradicts_itself_or_another_trunk_is_refused(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let a = api.organisation(&root, &home, "A").await;
    let b = api.organisation(&root, &home, "B").await;
    api.make(&root, "/rooms", room(&b, "5000")).await;
    let mut first = trunk(&a, "city");
    first["prefix"] = json!("9");
    first["sources"] = json!(["10.0.0.7"]);
    api.make(&root, "/trunks", first).await;
    contradictions(&api, &root, &a).await;
    let unfit = [
        json!({ "address": "sip:x" }),
        json!({ "expires_s": 59 }),
        json!({ "sources": ["0.0.0.0"] }),
        json!({ "prefix": "a" }),
        json!({ "user": "a@b" }),
        json!({ "numbers": [{ "number": "1", "room": "a" }, { "number": "1", "room": "b" }] }),
    ];
    for fields in unfit {
        let new = trunk_with(&a, "x", fields);
        let refused = api.ask(&root, "POST", "/trunks", new).await;
        let status = refused.status;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
    }
    // Another organisation may dial the same prefix, and a network's operator there makes trunks.
    api.person(&root, &b, "net", "network_operator").await;
    let net = api.log_in("net").await;
    let mut own = trunk(&b, "other");
    own["prefix"] = json!("9");
    api.make(&net, "/trunks", own).await;
    let list = api.get(&net, "/trunks").await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(list["of_file"], json!([]), "that is the root's");
}

/// Defect: a trunk one of whose rooms had gone to another organisation could not be changed any more.
pub(crate) async fn a_trunk_is_changed_whose_room_went_elsewhere(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let a = api.organisation(&root, &home, "A").await;
    let b = api.organisation(&root, &home, "B").await;
    api.make(&root, "/rooms", room(&a, "4000")).await;
    let numbers = json!([{ "number": "1", "room": "4000" }]);
    let new = trunk_with(&a, "city", json!({ "numbers": numbers.clone() }));
    let path = format!("/trunks/{}", api.make(&root, "/trunks", new).await);
    let moved = json!({ "organisation": b });
    api.ask(&root, "PATCH", "/rooms/4000", moved.clone()).await;
    let change = async |change: Value| {
        let changed = api.ask(&root, "PATCH", &path, change).await;
        let code = changed.body["code"].clone();
        (changed.status, code)
    };
    let fine = (StatusCode::OK, Value::Null);
    assert_eq!(change(json!({ "prefix": "8" })).await, fine);
    assert_eq!(told(&api).pop().unwrap().numbers.len(), 1, "it stays");
    // What is asked for is judged.
    let refused = (StatusCode::UNPROCESSABLE_ENTITY, json!("no_room"));
    assert_eq!(change(json!({ "numbers": numbers })).await, refused);
    // So is where the trunk is to be.
    assert_eq!(change(moved).await, fine);
    assert_eq!(change(json!({ "organisation": a })).await, refused);
    assert_eq!(change(json!({ "numbers": [] })).await, fine);
    assert!(told(&api).pop().unwrap().numbers.is_empty());
}

fn trunk_with(at: &str, name: &str, fields: Value) -> Value {
    let mut new = trunk(at, name);
    for (field, value) in fields.as_object().unwrap() {
        new[field] = value.clone();
    }
    new
}

/// What cannot be beside what is there, or in itself.
async fn contradictions(api: &Api, root: &str, at: &str) {
    let with = |name: &str, fields: Value| trunk_with(at, name, fields);
    for (new, status, code) in [
        (with("city", json!({})), 409, "taken"),
        (with("pbx", json!({})), 409, "taken"),
        (with("x", json!({ "prefix": "9" })), 409, "prefix_taken"),
        (
            with("x", json!({ "sources": ["::ffff:10.0.0.7"] })),
            409,
            "source_taken",
        ),
        (
            with("x", json!({ "sources": ["10.9.0.1"] })),
            409,
            "source_taken",
        ),
        (with("x", json!({ "password": "y" })), 422, "needs_user"),
        (
            with("x", json!({ "register": true })),
            422,
            "needs_password",
        ),
        (
            with("x", json!({ "user": "y", "realm": "z" })),
            422,
            "needs_password",
        ),
        (
            with("x", json!({ "transport": "tls", "address": "10.0.0.5" })),
            422,
            "needs_name",
        ),
        (with("x", json!({ "prepend": "0" })), 422, "needs_prefix"),
        (
            with(
                "x",
                json!({ "numbers": [{ "number": "1", "room": "5000" }] }),
            ),
            422,
            "no_room",
        ),
    ] {
        let refused = api.ask(root, "POST", "/trunks", new.clone()).await;
        assert_eq!(refused.status.as_u16(), status, "{new}: {refused:?}");
        assert_eq!(refused.body["code"], code, "{new}");
    }
}
