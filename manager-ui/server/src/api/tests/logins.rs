//! Logging in and out.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use serde_json::{Value, json};
use sqlx::Row;
use tower::ServiceExt;

use super::bench::{Api, PASSWORD};
use crate::sessions;
use crate::store::now_ms;

pub(crate) async fn the_first_link_makes_an_administrator_once(api: Api) {
    let secret = api.setup_secret().unwrap();
    let body = |secret: &str, password: &str| {
        json!({ "secret": secret, "organisation": "华东", "login": "root", "name": "管理员",
            "password": password })
    };
    let wrong = api.ask("", "POST", "/setup", body("x", PASSWORD)).await;
    assert_eq!(wrong.status, StatusCode::FORBIDDEN);
    let weak = api
        .ask("", "POST", "/setup", body(&secret, "rootroot"))
        .await;
    assert_eq!(weak.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(weak.body["code"], "weak_password");
    let cookie = api.first().await;
    assert_eq!(api.setup_secret(), None, "the link is gone");
    let again = api.ask("", "POST", "/setup", body(&secret, PASSWORD)).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN);
    let me = api.get(&cookie, "/session").await;
    assert_eq!(me["name"], "管理员");
    assert!(
        me["rights"]
            .as_array()
            .unwrap()
            .contains(&json!("system.manage"))
    );
}

pub(crate) async fn a_wrong_password_is_refused_and_five_close_the_login(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let person = api.person(&root, &home, "Li.Chun", "clinician").await;
    api.log_in("li.chun").await;
    let unknown = api.try_log_in("nobody", PASSWORD).await;
    assert_eq!(unknown.status, StatusCode::UNAUTHORIZED);
    for _ in 0..5 {
        let wrong = api.try_log_in("li.chun", "seven grey horse").await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
        assert_eq!(wrong.body, unknown.body, "they are told apart by nothing");
    }
    let locked = api.try_log_in("li.chun", PASSWORD).await;
    assert_eq!(locked.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(locked.body["code"], "locked");
    for _ in 0..4 {
        let unknown = api.try_log_in("nobody", PASSWORD).await;
        assert_eq!(unknown.status, StatusCode::UNAUTHORIZED);
    }
    let closed = api.try_log_in("nobody", PASSWORD).await;
    assert_eq!(
        (closed.status, &closed.body),
        (locked.status, &locked.body),
        "nor by this"
    );
    let body = json!({ "password": "eight grey horses" });
    let path = format!("/people/{person}/password");
    let opened = api.ask(&root, "PUT", &path, body).await;
    assert_eq!(opened.status, StatusCode::NO_CONTENT);
    let back = api.try_log_in("li.chun", "eight grey horses").await;
    assert_eq!(back.status, StatusCode::NO_CONTENT);
}

pub(crate) async fn a_session_ends_when_it_is_ended_and_with_its_person(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let person = api.person(&root, &home, "chun", "clinician").await;
    let (a, b) = (api.log_in("chun").await, api.log_in("chun").await);
    let sessions = api.get(&a, "/sessions").await;
    assert_eq!(sessions.as_array().unwrap().len(), 2);
    let out = api.ask(&a, "DELETE", "/session", Value::Null).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    let gone = api.ask(&a, "GET", "/session", Value::Null).await;
    assert_eq!(gone.status, StatusCode::UNAUTHORIZED);
    api.get(&b, "/session").await;
    let path = format!("/people/{person}");
    let body = json!({ "disabled": true });
    api.ask(&root, "PATCH", &path, body).await;
    let gone = api.ask(&b, "GET", "/session", Value::Null).await;
    assert_eq!(gone.status, StatusCode::UNAUTHORIZED);
    let refused = api.try_log_in("chun", PASSWORD).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let forged = api.ask("forged", "GET", "/session", Value::Null).await;
    assert_eq!(forged.status, StatusCode::UNAUTHORIZED);
}

/// Defect: lists that followed events, and the stream of events itself, were use of the session, so that a
/// page left open never lost its login.
pub(crate) async fn a_page_that_nobody_is_at_keeps_no_session_alive(api: Api) {
    let root = api.first().await;
    let almost_over = now_ms() - 59 * 60 * 1000;
    sqlx::query("UPDATE sessions SET seen_ms = $1")
        .bind(almost_over)
        .execute(api.store.pool().unwrap())
        .await
        .unwrap();
    let seen = async || -> i64 {
        let row = sqlx::query("SELECT seen_ms FROM sessions");
        let row = row.fetch_one(api.store.pool().unwrap()).await.unwrap();
        row.try_get("seen_ms").unwrap()
    };
    let unattended = Request::get("/api/v1/rooms")
        .header(header::HOST, "192.0.2.1:8443")
        .header(header::COOKIE, format!("{}={root}", sessions::COOKIE))
        .header("Consilium-Unattended", "1");
    let unattended = unattended.body(Body::empty()).unwrap();
    let answer = api.router.clone().oneshot(unattended).await.unwrap();
    assert_eq!(
        answer.status(),
        StatusCode::OK,
        "it is good as long as it is"
    );
    assert_eq!(seen().await, almost_over);
    let stream = api.try_listen(&root, "", None).await;
    assert_eq!(stream.status(), StatusCode::OK);
    assert_eq!(seen().await, almost_over);
    api.get(&root, "/rooms").await;
    assert!(seen().await > almost_over, "somebody is there");
}

pub(crate) async fn a_page_of_another_site_changes_nothing(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let body = json!({ "parent": home, "kind": "hospital", "name": "B" });
    for origin in [Some("https://evil.example"), Some("null"), None] {
        let path = "/organisations";
        let refused = api
            .ask_from(origin, &root, "POST", path, body.clone())
            .await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{origin:?}");
        let login = json!({ "login": "root", "password": PASSWORD });
        let refused = api.ask_from(origin, "", "POST", "/session", login).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{origin:?}");
    }
    let list = api.get(&root, "/organisations").await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
}

pub(crate) async fn a_new_password_ends_all_other_sessions(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    api.person(&root, &home, "chun", "clinician").await;
    let (a, b) = (api.log_in("chun").await, api.log_in("chun").await);
    let path = "/session/password";
    let wrong = json!({ "old": "seven grey horse", "new": "eight grey horses" });
    let wrong = api.ask(&a, "PUT", path, wrong).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    let body = json!({ "old": PASSWORD, "new": "eight grey horses" });
    let changed = api.ask(&a, "PUT", path, body).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT, "{changed:?}");
    api.get(&a, "/session").await;
    let gone = api.ask(&b, "GET", "/session", Value::Null).await;
    assert_eq!(gone.status, StatusCode::UNAUTHORIZED);
    assert_eq!(api.get(&a, "/sessions").await.as_array().unwrap().len(), 1);
    let old = api.try_log_in("chun", PASSWORD).await;
    assert_eq!(old.status, StatusCode::UNAUTHORIZED);
}
