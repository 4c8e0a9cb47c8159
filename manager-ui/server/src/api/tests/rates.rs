//! How many requests are answered (WS/T 545: SEC-02, ARC-16).

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::bench::Api;

const TOO_MANY: StatusCode = StatusCode::TOO_MANY_REQUESTS;

pub(crate) async fn a_session_is_counted_by_itself_and_who_proves_nothing_by_the_source(api: Api) {
    // All of these come from one address. The first link takes one of what its source has.
    let api = api.answering(40, 12);
    let root = api.first().await;
    let home = api.root(&root).await;
    api.nobody(&root, &home, "chun").await;
    let chun = api.log_in("chun").await;
    let until_refused = async |cookie: &str, path: &str| {
        let mut answered = 0;
        loop {
            let answer = api.ask(cookie, "GET", path, Value::Null).await;
            if answer.status == TOO_MANY {
                assert_eq!(answer.body["code"], "too_many_requests", "{answer:?}");
                return answered;
            }
            answered += 1;
            assert!(answered < 1_000);
        }
    };
    // Quotas come back while this test runs: by one in five seconds, here.
    let silent = until_refused("", "/login-methods").await;
    assert!((8..=12).contains(&silent), "{silent}");
    let guessed = until_refused("guessed", "/session").await;
    assert!((12..=16).contains(&guessed), "{guessed}");
    // A session that has begun is neither shut out by that nor by the other's requests.
    let first = until_refused(&root, "/session").await;
    assert!((37..=60).contains(&first), "{first}");
    let other = until_refused(&chun, "/session").await;
    assert!((39..=60).contains(&other), "{other}");
    // Whoever has ended it has what strangers have.
    let api = api.answering(40, 2);
    api.get(&root, "/session").await;
    let end = api.ask(&chun, "DELETE", "/session", Value::Null).await;
    assert_eq!(end.status, StatusCode::NO_CONTENT);
    let mut refused = Vec::new();
    for _ in 0..6 {
        refused.push(api.ask(&chun, "GET", "/session", Value::Null).await.status);
    }
    assert_eq!(refused.first(), Some(&StatusCode::UNAUTHORIZED));
    assert_eq!(refused.last(), Some(&TOO_MANY), "{refused:?}");
    // A login that comes too often changes nothing for whoever is in.
    let wrong = json!({ "login": "chun", "password": "x" });
    while api.ask("", "POST", "/session", wrong.clone()).await.status != TOO_MANY {}
    api.get(&root, "/session").await;
    a_source_that_has_used_up_its_own(&api).await;
}

async fn a_source_that_has_used_up_its_own(api: &Api) {
    let request = Request::get("/api/v1/login-methods").body(Body::empty());
    let response = api.router.clone().oneshot(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), TOO_MANY);
    let headers = response.headers();
    let wait: u64 = headers[header::RETRY_AFTER]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(headers["ratelimit-policy"], "\"source\";q=2;w=60");
    assert!(
        headers["ratelimit"]
            .to_str()
            .unwrap()
            .starts_with("\"source\";r=0;t=")
    );
    assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
    // Defect: who this server is to a provider was told without end.
    for path in ["/login/saml/metadata", "/login/saml", "/login/oidc"] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = api.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), TOO_MANY, "{path}");
    }
    // The page itself and the state of the parts are told all the same.
    for path in ["/", "/health/live"] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = api.router.clone().oneshot(request).await.unwrap();
        assert_ne!(response.status(), TOO_MANY, "{path}");
    }
}
