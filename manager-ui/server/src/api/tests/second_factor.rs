//! Codes beside the password (WS/T 545: SW-04, SEC-02).

use std::process::Command;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::bench::{Answer, Api, PASSWORD};
use crate::seal;
use crate::store::now_ms;

/// Somebody with an authenticator: what it holds, and the recovery codes.
struct Owner {
    secret: String,
    recovery_codes: Vec<String>,
    /// The step whose code confirmed it.
    step: i64,
}

/// What an authenticator shows in a time step: Debian's `oathtool` is one.
fn shown(secret: &str, step: i64) -> String {
    let output = Command::new("oathtool")
        .args([
            "--totp",
            "--base32",
            secret,
            "--now",
            &format!("@{}", step * 30),
        ])
        .output()
        .expect("oathtool is installed");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn begin(api: &Api, cookie: &str) -> String {
    let body = json!({ "password": PASSWORD });
    let begun = api
        .ask(cookie, "POST", "/session/authenticator", body)
        .await;
    assert_eq!(begun.status, StatusCode::CREATED, "{begun:?}");
    begun.body["secret"].as_str().unwrap().to_owned()
}

async fn confirm(api: &Api, cookie: &str, code: &str) -> Answer {
    let body = json!({ "code": code });
    api.ask(cookie, "PUT", "/session/authenticator", body).await
}

async fn enrol(api: &Api, cookie: &str) -> Owner {
    let secret = begin(api, cookie).await;
    let step = now_ms() / 30_000;
    let confirmed = confirm(api, cookie, &shown(&secret, step)).await;
    assert_eq!(confirmed.status, StatusCode::OK, "{confirmed:?}");
    let codes = confirmed.body["recovery_codes"].as_array().unwrap();
    let recovery_codes = codes
        .iter()
        .map(|code| code.as_str().unwrap().to_owned())
        .collect();
    Owner {
        secret,
        recovery_codes,
        step,
    }
}

async fn log_in_with(api: &Api, code: &str) -> Answer {
    let body = json!({ "login": "chun", "password": PASSWORD, "code": code });
    api.ask("", "POST", "/session", body).await
}

/// An administrator's cookie, and the id and cookie of a clinician.
async fn chun(api: &Api) -> (String, String, String) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let id = api.person(&root, &home, "chun", "clinician").await;
    let cookie = api.log_in("chun").await;
    (root, id, cookie)
}

fn code_of(answer: &Answer) -> &str {
    answer.body["code"].as_str().unwrap_or_default()
}

pub(crate) async fn an_authenticator_is_asked_for_once_it_is_confirmed_and_each_code_counts_once(
    api: Api,
) {
    let (root, _, cookie) = chun(&api).await;
    let secret = begin(&api, &cookie).await;
    api.log_in("chun").await;
    let wrong = confirm(&api, &cookie, "000000").await;
    let known = shown(&secret, now_ms() / 30_000) == "000000";
    assert_eq!(
        wrong.status == StatusCode::UNPROCESSABLE_ENTITY,
        !known,
        "{wrong:?}"
    );
    // Begun anew, the first secret counts no more.
    let owner = enrol(&api, &cookie).await;
    assert_ne!(owner.secret, secret);
    assert_eq!(owner.recovery_codes.len(), 10);

    let wanted = api.try_log_in("chun", PASSWORD).await;
    assert_eq!(wanted.status, StatusCode::UNAUTHORIZED);
    assert_eq!(code_of(&wanted), "second_factor_wanted");
    let unproved = api.try_log_in("chun", "seven grey horse").await;
    assert_eq!(
        code_of(&unproved),
        "wrong_password",
        "a code is asked of who knows the password"
    );
    let used = log_in_with(&api, &shown(&owner.secret, owner.step)).await;
    assert_eq!(
        code_of(&used),
        "wrong_code",
        "what confirmed it counts no more"
    );
    let next = shown(&owner.secret, owner.step + 1);
    let right = log_in_with(&api, &next).await;
    assert_eq!(right.status, StatusCode::NO_CONTENT, "{right:?}");
    let again = log_in_with(&api, &next).await;
    assert_eq!(again.status, StatusCode::UNAUTHORIZED);
    assert_eq!(code_of(&again), "wrong_code", "it was used");

    let failed = api.noted(&root, "login_failed").await;
    let reasons: Vec<&str> = failed
        .iter()
        .map(|entry| entry["after"]["reason"].as_str().unwrap())
        .collect();
    assert_eq!(
        reasons,
        ["wrong code", "wrong code", "wrong password", "no code"]
    );
    let made = api.noted(&root, "create").await;
    assert_eq!(made[0]["object_kind"], "authenticator");
    let record = api.get(&root, "/audit").await.to_string();
    assert!(!record.contains(&owner.secret) && !record.contains(&next));
}

pub(crate) async fn wrong_codes_close_the_login_as_wrong_passwords_do(api: Api) {
    let (_, _, cookie) = chun(&api).await;
    let owner = enrol(&api, &cookie).await;
    let used = shown(&owner.secret, owner.step);
    for _ in 0..5 {
        let wrong = log_in_with(&api, &used).await;
        assert_eq!(code_of(&wrong), "wrong_code", "{wrong:?}");
    }
    for code in [
        &shown(&owner.secret, owner.step + 1),
        &owner.recovery_codes[0],
    ] {
        let locked = log_in_with(&api, code).await;
        assert_eq!(locked.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(code_of(&locked), "locked");
    }
    // A session that was left open guesses no better.
    let body = json!({ "code": shown(&owner.secret, owner.step + 1) });
    let path = "/session/authenticator/removal";
    let locked = api.ask(&cookie, "POST", path, body).await;
    assert_eq!(code_of(&locked), "locked");
}

pub(crate) async fn a_recovery_code_is_good_once(api: Api) {
    let (root, id, cookie) = chun(&api).await;
    let owner = enrol(&api, &cookie).await;
    let typed = owner.recovery_codes[3].to_lowercase().replace('-', " ");
    let right = log_in_with(&api, &typed).await;
    assert_eq!(right.status, StatusCode::NO_CONTENT, "{right:?}");
    let again = log_in_with(&api, &owner.recovery_codes[3]).await;
    assert_eq!(code_of(&again), "wrong_code");
    let shown = api.get(&cookie, "/session/authenticator").await;
    assert_eq!(shown, json!({ "confirmed": true, "recovery_codes": 9 }));
    let changed = api.noted(&root, "change").await;
    assert_eq!(changed[0]["object"], json!(id));
    assert_eq!(changed[0]["after"], json!({ "recovery_codes": 9 }));
    // Another person's codes are of no use.
    let other = api.log_in("root").await;
    let others = enrol(&api, &other).await;
    let foreign = log_in_with(&api, &others.recovery_codes[0]).await;
    assert_eq!(code_of(&foreign), "wrong_code");
}

pub(crate) async fn an_administrator_removes_a_lost_authenticator(api: Api) {
    let (root, id, cookie) = chun(&api).await;
    enrol(&api, &cookie).await;
    let path = format!("/people/{id}");
    assert_eq!(api.get(&root, &path).await["second_factor"], true);
    let home = api.root(&root).await;
    let below = api.organisation(&root, &home, "B").await;
    api.person(&root, &below, "boss_b", "organisation_administrator")
        .await;
    let stranger = api.log_in("boss_b").await;
    let path = format!("/people/{id}/authenticator");
    let refused = api.ask(&stranger, "DELETE", &path, Value::Null).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    let wanted = api.try_log_in("chun", PASSWORD).await;
    assert_eq!(code_of(&wanted), "second_factor_wanted");
    let removed = api.ask(&root, "DELETE", &path, Value::Null).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    api.log_in("chun").await;
    let again = api.ask(&root, "DELETE", &path, Value::Null).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    let noted = api.noted(&root, "remove").await;
    assert_eq!(noted[0]["object_kind"], "authenticator");
    assert_eq!(noted[0]["actor_name"], "root");
}

pub(crate) async fn an_authenticator_is_sealed_and_needs_the_key_of_the_data_folder(api: Api) {
    let (_, _, cookie) = chun(&api).await;
    let owner = enrol(&api, &cookie).await;
    let kept: (String,) = sqlx::query_as("SELECT secret FROM authenticators")
        .fetch_one(api.store.pool().unwrap())
        .await
        .unwrap();
    assert!(!kept.0.contains(&owner.secret));
    // As a server does that was given the database of another.
    let api = api.reopened();
    let key = api.dir.path().join(seal::FILE);
    std::fs::rename(&key, key.with_extension("away")).unwrap();
    let code = shown(&owner.secret, owner.step + 1);
    let unread = log_in_with(&api, &code).await;
    assert_eq!(unread.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(code_of(&unread), "no_key");
    let right = log_in_with(&api, &owner.recovery_codes[0]).await;
    assert_eq!(right.status, StatusCode::NO_CONTENT, "{right:?}");
    std::fs::rename(key.with_extension("away"), &key).unwrap();
    let right = log_in_with(&api, &code).await;
    assert_eq!(right.status, StatusCode::NO_CONTENT, "{right:?}");
}

pub(crate) async fn an_authenticator_is_begun_and_removed_by_its_person_alone(api: Api) {
    let (_, _, cookie) = chun(&api).await;
    let path = "/session/authenticator";
    let wrong = json!({ "password": "seven grey horse" });
    let wrong = api.ask(&cookie, "POST", path, wrong).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    let none = confirm(&api, &cookie, "123456").await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
    let owner = enrol(&api, &cookie).await;
    let again = api
        .ask(&cookie, "POST", path, json!({ "password": PASSWORD }))
        .await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    let removal = format!("{path}/removal");
    let used = json!({ "code": shown(&owner.secret, owner.step) });
    let wrong = api.ask(&cookie, "POST", &removal, used).await;
    assert_eq!(code_of(&wrong), "wrong_code");
    let next = json!({ "code": shown(&owner.secret, owner.step + 1) });
    let removed = api.ask(&cookie, "POST", &removal, next.clone()).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT, "{removed:?}");
    let gone = api.ask(&cookie, "POST", &removal, next).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    api.log_in("chun").await;
    let kept: Vec<(String,)> = sqlx::query_as("SELECT code_hash FROM recovery_codes")
        .fetch_all(api.store.pool().unwrap())
        .await
        .unwrap();
    assert!(kept.is_empty());
}

pub(crate) async fn a_token_wants_a_code_as_a_login_does(api: Api) {
    let (_, _, cookie) = chun(&api).await;
    let owner = enrol(&api, &cookie).await;
    let make = async |code: Value| {
        let body = json!({ "name": "x", "rights": ["rooms.view"], "expires_ms": now_ms() + 60_000,
            "password": PASSWORD, "code": code });
        let answer = api.ask(&cookie, "POST", "/session/tokens", body).await;
        let told = answer.body["code"].as_str().unwrap_or_default().to_owned();
        (answer.status.as_u16(), told)
    };
    assert_eq!(
        make(Value::Null).await,
        (422, "second_factor_wanted".into())
    );
    assert_eq!(make(json!("000000")).await, (422, "wrong_code".into()));
    let code = json!(owner.recovery_codes[0]);
    assert_eq!(make(code.clone()).await, (201, String::new()));
    assert_eq!(make(code).await, (422, "wrong_code".into()), "it was used");
}
