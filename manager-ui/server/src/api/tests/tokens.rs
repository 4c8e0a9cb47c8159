//! Tokens of programs.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::bench::{Api, PASSWORD};
use crate::rights::Right;
use crate::store::now_ms;

pub(crate) async fn a_token_is_told_once_listed_and_revoked(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let boss = api
        .person(&root, &home, "boss", "organisation_administrator")
        .await;
    let cookie = api.log_in("boss").await;
    let token = api
        .token(
            &cookie,
            &[Right::OrganisationsView, Right::OrganisationsManage],
        )
        .await;
    // Without an Origin, which programs do not send.
    let body = json!({ "parent": home, "kind": "hospital", "name": "B" });
    let made = api.ask_by(&token, "POST", "/organisations", body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let me = api.ask_by(&token, "GET", "/session", Value::Null).await;
    assert_eq!(
        me.body["rights"],
        json!(["organisations.view", "organisations.manage"])
    );
    assert_eq!(me.cookie, None);

    let listed = api.get(&cookie, "/session/tokens").await;
    assert_eq!(listed[0]["name"], "程序");
    assert!(listed[0]["seen_ms"].as_i64().unwrap() > 0, "{listed}");
    assert!(!listed.to_string().contains(&token));
    let id = listed[0]["id"].as_str().unwrap();
    assert_eq!(
        api.get(&root, &format!("/people/{boss}/tokens")).await,
        listed
    );
    let noted = api.noted(&root, "create").await;
    assert!(
        noted[0]["source"]
            .as_str()
            .unwrap()
            .ends_with(&format!(" by token {id}"))
    );
    assert_eq!(noted[0]["actor_name"], "boss");
    assert_eq!(noted[1]["object_kind"], "token");
    assert!(!json!(noted).to_string().contains(&token));

    let path = format!("/session/tokens/{id}");
    let of_another = api.ask(&root, "DELETE", &path, Value::Null).await;
    assert_eq!(of_another.status, StatusCode::NOT_FOUND);
    let revoked = api.ask(&cookie, "DELETE", &path, Value::Null).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    let gone = api.ask_by(&token, "GET", "/session", Value::Null).await;
    assert_eq!(gone.status, StatusCode::UNAUTHORIZED);
    assert_eq!(api.noted(&root, "revoke").await[0]["object"], json!(id));
}

pub(crate) async fn tokens_that_are_good_no_more_are_refused_and_noted(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let boss = api
        .person(&root, &home, "boss", "organisation_administrator")
        .await;
    let cookie = api.log_in("boss").await;
    let view = [Right::OrganisationsView];
    let refused = async |token: &str| {
        let answer = api
            .ask_by(token, "GET", "/organisations", Value::Null)
            .await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    };
    let reasons = async || -> Vec<String> {
        let failed = api.noted(&root, "login_failed").await;
        let reason = |entry: &Value| entry["after"]["reason"].as_str().unwrap().to_owned();
        failed.iter().map(reason).collect()
    };
    let expired = api.token(&cookie, &view).await;
    sqlx::query("UPDATE tokens SET expires_ms = $1")
        .bind(now_ms())
        .execute(api.store.pool().unwrap())
        .await
        .unwrap();
    refused(&expired).await;
    refused(&expired).await;
    assert_eq!(reasons().await, ["token expired"], "once a minute");
    let revoked = api.token(&cookie, &view).await;
    let listed = api.get(&cookie, "/session/tokens").await;
    let path = format!(
        "/people/{boss}/tokens/{}",
        listed[0]["id"].as_str().unwrap()
    );
    let by_root = api.ask(&root, "DELETE", &path, Value::Null).await;
    assert_eq!(by_root.status, StatusCode::NO_CONTENT);
    refused(&revoked).await;
    let disabled = api.token(&cookie, &view).await;
    let body = json!({ "disabled": true });
    api.ask(&root, "PATCH", &format!("/people/{boss}"), body)
        .await;
    refused(&disabled).await;
    let told = reasons().await;
    assert_eq!(told, ["disabled", "token revoked", "token expired"]);
    for nonsense in ["", "x", "consilium_", "consilium_AAAA", &cookie] {
        refused(nonsense).await;
    }
    assert_eq!(reasons().await.len(), 3, "who guesses fills no record");
}

/// Defect that this guards against: a token for people alone could have made its own administrator.
pub(crate) async fn a_token_hands_on_no_more_than_its_scope(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let boss = api
        .person(&root, &home, "boss", "organisation_administrator")
        .await;
    let nurse = api.nobody(&root, &home, "nurse").await;
    let token = api
        .token(&root, &[Right::PeopleManage, Right::RolesManage])
        .await;
    let ask = async |method: &str, path: &str, body: Value| {
        let answer = api.ask_by(&token, method, path, body).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}: {answer:?}");
        answer.body["code"].as_str().unwrap().to_owned()
    };
    let grants = format!("/people/{nurse}/grants");
    let grant = json!({ "role": "system_administrator", "organisation": home });
    assert_eq!(ask("POST", &grants, grant).await, "more_than_own");
    let password = json!({ "password": "eight grey horses" });
    let path = format!("/people/{boss}/password");
    assert_eq!(ask("PUT", &path, password.clone()).await, "more_than_own");
    let role = json!({ "organisation": home, "name": "x", "rights": ["audit.view"] });
    assert_eq!(ask("POST", "/roles", role).await, "audit.view");
    let rights = json!({ "name": "x", "rights": ["audit.view"], "expires_ms": now_ms() + 1000,
        "password": PASSWORD });
    assert_eq!(ask("POST", "/session/tokens", rights).await, "by_token");
    // What its scope allows it does.
    let path = format!("/people/{nurse}/password");
    let changed = api.ask_by(&token, "PUT", &path, password).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT, "{changed:?}");
}

pub(crate) async fn what_no_token_may_be_is_refused(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    api.person(&root, &home, "chun", "clinician").await;
    let cookie = api.log_in("chun").await;
    let day = 24 * 60 * 60 * 1000;
    let (now, view) = (now_ms(), json!(["recordings.view"]));
    for (rights, expires_ms, status, code) in [
        (view.clone(), now, 422, "expiry"),
        (view.clone(), now + 400 * day, 422, "expiry"),
        (json!([]), now + day, 422, "rights"),
        (json!(["people.manage"]), now + day, 403, "people.manage"),
    ] {
        let body = json!({ "name": "x", "rights": rights, "expires_ms": expires_ms,
            "password": PASSWORD });
        let answer = api.ask(&cookie, "POST", "/session/tokens", body).await;
        assert_eq!(answer.status.as_u16(), status, "{answer:?}");
        assert_eq!(answer.body["code"], code);
    }
    api.token(&cookie, &[Right::RecordingsView]).await;
    for n in 1..100 {
        sqlx::query(
            "INSERT INTO tokens (id, secret_hash, person, name, created_ms, expires_ms) \
             SELECT $1, $1, person, name, created_ms, expires_ms FROM tokens LIMIT 1",
        )
        .bind(n.to_string())
        .execute(api.store.pool().unwrap())
        .await
        .unwrap();
    }
    let body = json!({ "name": "x", "rights": view, "expires_ms": now + day,
        "password": PASSWORD });
    let answer = api.ask(&cookie, "POST", "/session/tokens", body).await;
    assert_eq!(answer.body["code"], "too_many_tokens");
    // A right that is taken from the person is taken from the token.
    let token = api.token(&root, &[Right::PeopleView]).await;
    let people = api.ask_by(&token, "GET", "/people", Value::Null).await;
    assert_eq!(people.status, StatusCode::OK);
    sqlx::query("DELETE FROM grants WHERE role = 'system_administrator'")
        .execute(api.store.pool().unwrap())
        .await
        .unwrap();
    let people = api.ask_by(&token, "GET", "/people", Value::Null).await;
    assert_eq!(people.status, StatusCode::FORBIDDEN);
}

pub(crate) async fn a_new_password_by_an_administrator_ends_tokens(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let person = api.person(&root, &home, "chun", "clinician").await;
    let cookie = api.log_in("chun").await;
    let token = api.token(&cookie, &[Right::RoomsView]).await;
    let seen = api.ask_by(&token, "GET", "/rooms", Value::Null).await;
    assert_eq!(seen.status, StatusCode::OK, "{seen:?}");
    let path = format!("/people/{person}/password");
    let body = json!({ "password": "eight grey horses" });
    let set = api.ask(&root, "PUT", &path, body).await;
    assert_eq!(set.status, StatusCode::NO_CONTENT, "{set:?}");
    let seen = api.ask_by(&token, "GET", "/rooms", Value::Null).await;
    assert_eq!(seen.status, StatusCode::UNAUTHORIZED, "{seen:?}");
}

/// Defect that this guards against: a session left open made a token that was good for a year.
pub(crate) async fn a_token_asks_for_the_password(api: Api) {
    let root = api.first().await;
    let make = async |more: Value| {
        let mut body = json!({ "name": "x", "rights": ["people.view"],
            "expires_ms": now_ms() + 60_000 });
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        let answer = api.ask(&root, "POST", "/session/tokens", body).await;
        let code = answer.body["code"].as_str().unwrap_or_default().to_owned();
        (answer.status.as_u16(), code)
    };
    assert_eq!(make(json!({})).await, (422, "wrong_password".into()));
    let wrong = json!({ "password": "seven grey horse" });
    assert_eq!(make(wrong).await, (422, "wrong_password".into()));
    let failed = api.noted(&root, "login_failed").await;
    assert_eq!(failed.len(), 2, "they count as at a login: {failed:?}");
    let right = json!({ "password": PASSWORD });
    assert_eq!(make(right).await, (201, String::new()));
}

/// Defect that this guards against: tokens of somebody of a directory or provider outlived their person
/// there.
pub(crate) async fn a_token_of_somebody_from_elsewhere_wants_a_login_now_and_then(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let person = api
        .person(&root, &home, "chun", "organisation_administrator")
        .await;
    let cookie = api.log_in("chun").await;
    let token = api.token(&cookie, &[Right::PeopleView]).await;
    let set = async |source: &str, days: i64| {
        sqlx::query("UPDATE people SET source = $1, last_login_ms = $2 WHERE id = $3")
            .bind(source)
            .bind(now_ms() - days * 24 * 60 * 60 * 1000)
            .bind(&person)
            .execute(api.store.pool().unwrap())
            .await
            .unwrap();
        let answer = api.ask_by(&token, "GET", "/people", Value::Null).await;
        answer.status.as_u16()
    };
    assert_eq!(set("local", 300).await, 200);
    assert_eq!(set("ldap", 29).await, 200);
    assert_eq!(set("ldap", 31).await, 401);
    assert_eq!(set("oidc", 31).await, 401);
    let failed = api.noted(&root, "login_failed").await;
    assert_eq!(failed[0]["after"]["reason"], "no login for 30 days");
    assert_eq!(set("oidc", 0).await, 200);
}
