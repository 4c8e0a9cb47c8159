//! The description of the API (ARC-16).

use std::collections::BTreeSet;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::bench::Api;
use crate::rights::Right;

pub(crate) async fn operations_have_names_of_their_own_and_refusals_their_media_type(api: Api) {
    let document = api.document().await;
    let mut names = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{name} twice");
            for (status, response) in operation["responses"].as_object().unwrap() {
                let at = format!("{method} {path} {status}: {response}");
                assert_ne!(response["description"].as_str().unwrap_or(""), "", "{at}");
                if !status.starts_with('2') {
                    let content = response["content"].as_object().unwrap();
                    assert_eq!(
                        content.keys().collect::<Vec<_>>(),
                        ["application/problem+json"],
                        "{at}"
                    );
                }
            }
            assert!(
                operation["responses"]["default"].is_object(),
                "{method} {path}"
            );
            let too_many = &operation["responses"]["429"];
            assert!(too_many["headers"]["Retry-After"].is_object(), "{path}");
        }
    }
    let told = document["components"]["schemas"]["Right"]["enum"]
        .as_array()
        .unwrap();
    let told: Vec<&str> = told.iter().map(|name| name.as_str().unwrap()).collect();
    let all: Vec<&str> = Right::ALL.iter().map(|right| right.as_str()).collect();
    assert_eq!(told, all);
}

/// An operation is open if and only if it does not ask who it is, and takes a token if and only if one
/// that may do nothing is refused for that alone.
pub(crate) async fn each_operation_is_described_with_what_proves_who_asks(api: Api) {
    let root = api.first().await;
    let token = api.token(&root, &[Right::RecordingsView]).await;
    let document = api.document().await;
    let mut open = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let path = path.strip_prefix("/api/v1").unwrap();
            let path = path.replace(['{', '}'], "");
            let (at, method) = (format!("{method} {path}"), method.to_uppercase());
            let proofs = operation["security"].as_array().unwrap();
            let none = api.ask("", &method, &path, Value::Null).await;
            let is_open = none.body["code"] != "not_logged_in";
            assert_eq!(proofs.is_empty(), is_open, "{at}: {none:?}");
            if is_open {
                open += 1;
                continue;
            }
            let by_token = api.ask_by(&token, &method, &path, Value::Null).await;
            let takes_tokens = by_token.body["code"] != "by_token";
            let session = json!({ "session": [] });
            let told = match takes_tokens {
                true => json!([session, { "token": [] }]),
                false => json!([session]),
            };
            assert_eq!(operation["security"], told, "{at}: {by_token:?}");
        }
    }
    assert_eq!(open, 3);
    let schemes = &document["components"]["securitySchemes"];
    assert_eq!(schemes["session"]["in"], "cookie");
    assert_eq!(schemes["token"]["scheme"], "bearer");
}

pub(crate) async fn what_is_out_of_its_range_is_refused(api: Api) {
    let root = api.first().await;
    for query in [
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=4294967296",
        &format!("q={}", "!".repeat(101)),
    ] {
        let path = format!("/people?{query}");
        let answer = api.ask(&root, "GET", &path, Value::Null).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(answer.body["status"], 400, "{query}");
    }
    let fine = api.get(&root, "/people?limit=200").await;
    assert_eq!(fine["items"].as_array().unwrap().len(), 1);
}

pub(crate) async fn a_refused_field_is_named_and_what_it_holds_is_not(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let person = |login: Value| json!({ "organisation": home, "login": login, "name": "李春" });
    let refused = [
        ("/people", person(json!(["hunter2"])), "/login"),
        ("/people", person(json!("hunter 2")), "/login"),
        (
            "/people",
            json!({ "organisation": home, "hunter2/~": 1 }),
            "/hunter2~1~0",
        ),
        ("/people", json!({ "organisation": home }), ""),
        (
            "/roles",
            json!({ "organisation": home, "name": "值班", "rights": ["rooms.view", "hunter2"] }),
            "/rights/1",
        ),
    ];
    for (path, body, pointer) in refused {
        let answer = api.ask(&root, "POST", path, body.clone()).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert_eq!(answer.body["pointer"], pointer, "{body}");
        let told = answer.body.to_string().replace(pointer, "");
        assert!(!told.contains("hunter"), "{told}");
    }
}
