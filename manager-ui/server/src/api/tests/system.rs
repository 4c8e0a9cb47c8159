//! The server itself: who may see it, and what is told (WS/T 545: MGT-04).

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::bench::Api;
use crate::rights::Right;

pub(crate) async fn the_system_is_shown_to_who_may_see_it_at_the_root(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let below = api.organisation(&root, &home, "below").await;
    api.person(&root, &below, "below", "system_administrator")
        .await;
    let other = api.log_in("below").await;
    api.until_figures_are_told().await;
    for path in ["/system", "/metrics"] {
        let refused = api.ask(&other, "GET", path, Value::Null).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
        let token = api.token(&root, &[Right::SystemView]).await;
        let shown = api.ask_by(&token, "GET", path, Value::Null).await;
        assert_eq!(shown.status, StatusCode::OK, "{shown:?}");
        let token = api.token(&root, &[Right::RoomsView]).await;
        let refused = api.ask_by(&token, "GET", path, Value::Null).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
    }
    let system = api.get(&root, "/system").await;
    let database = system["versions"]["database"].as_str().unwrap();
    assert!(database.starts_with("SQLite 3.") || database.starts_with("PostgreSQL 1"));
    let newest = crate::store::newest_step();
    assert_eq!(system["versions"]["tables"], newest);
    assert_eq!(system["database"]["state"], "ready");
    let names = system["processes"].as_array().unwrap();
    let names: Vec<_> = names.iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["manager", "control", "media"]);
    assert!(system["capacity"]["disk"]["free_bytes"].as_u64().unwrap() > 0);
    assert!(system["record"]["entries"].as_i64().unwrap() > 1);
}

pub(crate) async fn health_tells_each_part_and_nothing_else(api: Api) {
    api.until_figures_are_told().await;
    let (status, body) = get(&api, "/health/live").await;
    assert_eq!(
        (status, body),
        (StatusCode::OK, json!({ "status": "live" }))
    );
    // The controller of these tests has no media processor.
    let (status, body) = get(&api, "/health/ready").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let parts = json!({
        "manager": "ready", "control": "ready", "media": "away", "database": "ready",
    });
    assert_eq!(body, json!({ "status": "not_ready", "parts": parts }));
    for (part, is_ready) in [("control", true), ("media", false), ("database", true)] {
        let (status, _) = get(&api, &format!("/health/ready/{part}")).await;
        assert_eq!(status == StatusCode::OK, is_ready, "{part}");
    }
    let (status, _) = get(&api, "/health/live/media").await;
    assert_eq!(status, StatusCode::OK, "it is away, and does not hang");
    let (status, _) = get(&api, "/health/ready/nonsense").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

/// Requests count under the names of operations, logins under words of the program, whatever is sent.
pub(crate) async fn what_is_counted_has_labels_of_the_programs_own(api: Api) {
    let root = api.first().await;
    for login in ["root", "geheim", "张伟"] {
        api.try_log_in(login, "no password of anybody").await;
    }
    api.log_in("root").await;
    for path in [
        "/people/01",
        "/people/02",
        "/rooms/4711",
        "/nonsense",
        "/x?y=z",
    ] {
        api.ask(&root, "GET", path, Value::Null).await;
    }
    let text = api.state.watch.exposition().await;
    let logins = labels(&text, "consilium_logins_total");
    let password = |outcome| format!("method=\"password\",outcome=\"{outcome}\"");
    // Refusals are told before the first.
    let expected = [
        "locked",
        "logged_in",
        "too_many",
        "wrong_code",
        "wrong_password",
    ];
    let expected = expected.map(password);
    assert_eq!(logins, BTreeSet::from(expected));
    let requests = labels(&text, "consilium_http_requests_total");
    for wanted in [
        "operation=\"get_people_id\",status=\"404\"",
        "operation=\"post_session\",status=\"401\"",
        "operation=\"other\",status=\"404\"",
    ] {
        assert!(requests.contains(wanted), "{requests:?}");
    }
    for word in ["geheim", "张伟", "4711", "nonsense", "192.0.2.7"] {
        assert!(!text.contains(word), "{word}:\n{text}");
    }
}

fn labels(text: &str, name: &str) -> BTreeSet<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(name));
    let labels = lines.filter_map(|rest| rest.strip_prefix('{')?.split_once('}'));
    labels.map(|(labels, _)| labels.to_owned()).collect()
}

async fn get(api: &Api, path: &str) -> (StatusCode, Value) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = api.router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap())
}

/// MCU-05: by one call, recorded, and taken up by the controller at once.
pub(crate) async fn ports_are_shared_out_by_who_manages_the_server(api: Api) {
    let root = api.first().await;
    let path = "/system/ports";
    let wanted = json!({ "hd": 60, "sd": 25 });
    let token = api.token(&root, &[Right::SystemView]).await;
    let refused = api.ask_by(&token, "PUT", path, wanted.clone()).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
    let shared = api.ask(&root, "PUT", path, wanted.clone()).await;
    assert_eq!(shared.status, StatusCode::OK, "{shared:?}");
    let told = json!({ "full_hd": 0, "hd": 60, "sd": 25, "browser": 0, "sound": 0 });
    assert_eq!(shared.body, told);
    let shares = super::rooms::told(&api).shares;
    assert_eq!(json!(shares), wanted);
    for wrong in [
        json!({ "hd": 60, "sd": 41 }),
        json!({ "uhd": 1 }),
        json!({ "hd": -1 }),
    ] {
        let refused = api.ask(&root, "PUT", path, wrong.clone()).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }
    assert_eq!(
        json!(super::rooms::told(&api).shares),
        wanted,
        "nothing of it"
    );
    let record = api.get(&root, "/audit?limit=1").await;
    let entry = &record["items"][0];
    assert_eq!(entry["object_kind"], "ports", "{record}");
}
