//! Logins by a provider (WS/T 545: SW-04, SW-10): `oidc-provider-mock`, a program of the Python
//! Package Index.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use axum::http::{StatusCode, header};
use axum::response::Response;
use mcu_api::secret::Redacted;
use serde_json::{Value, json};

use super::bench::Api;
use super::python;
use crate::oidc::{Claim, Config};
use crate::store::now_ms;

const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// It ends with this value.
struct Provider {
    process: Child,
    issuer: String,
}

impl Provider {
    /// `chun` and `root` have accounts.
    fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same an hour ago, so that all its tokens have run out.
    fn start_late() -> Self {
        assert!(Path::new(FAKETIME).exists(), "libfaketime is not installed");
        Self::start_with(&[
            ("LD_PRELOAD", FAKETIME),
            ("FAKETIME", "-1h"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ])
    }

    fn start_with(variables: &[(&str, &str)]) -> Self {
        let user = |sub: &str, login: &str, name: &str| {
            json!({ "sub": sub, "preferred_username": login, "name": name }).to_string()
        };
        let mut process = Command::new(python::installed("oidc").join("oidc-provider-mock"))
            .args([
                "--port",
                "0",
                "--require-nonce",
                "true",
                "--token-max-age",
                "600",
            ])
            .envs(variables.iter().copied())
            .args(["--user-claims", &user("1", "chun", "李春")])
            .args(["--user-claims", &user("2", "root", "Somebody else")])
            // Whose session with the provider stands for a proof of 1970.
            .args([
                "--user-claims",
                r#"{"sub":"3","preferred_username":"li","auth_time":1000}"#,
            ])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = told.find_map(|line| {
            let line = line.unwrap();
            let at = line.find("http://127.0.0.1:")?;
            let address = line[at..].split_whitespace().next().unwrap();
            Some(address.trim_end_matches('/').to_owned())
        });
        // What it says later is read, so that it never waits.
        std::thread::spawn(move || told.for_each(drop));
        Self {
            process,
            issuer: address.expect("it says where it listens"),
        }
    }

    fn config(&self) -> Config {
        Config {
            issuer: self.issuer.clone(),
            ca: None,
            client_id: "consilium".into(),
            client_secret: Some(Redacted("a secret".into())),
            scopes: vec!["profile".into()],
            claim: Claim::PreferredUsername,
            organisation: None,
        }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(super) fn location(response: &Response) -> String {
    let location = response
        .headers()
        .get(header::LOCATION)
        .expect("a redirection");
    location.to_str().unwrap().to_owned()
}

/// What a browser holds after this.
pub(super) fn held(response: &Response) -> String {
    let cookies = response.headers().get_all(header::SET_COOKIE).iter();
    let pairs = cookies.map(|value| {
        value
            .to_str()
            .unwrap()
            .split(';')
            .next()
            .unwrap()
            .to_owned()
    });
    pairs.collect::<Vec<_>>().join("; ")
}

/// Says at the provider who one is; what the browser is to come back to.
async fn say(url: &str, subject: &str) -> String {
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let answer = http
        .build()
        .unwrap()
        .post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("sub={subject}"))
        .send()
        .await
        .unwrap();
    let back = answer.headers().get("location").expect("it sends back");
    let back = back.to_str().unwrap();
    let path = back.strip_prefix("https://192.0.2.1:8443").unwrap();
    path.to_owned()
}

/// The session that an answer gives to a browser.
pub(super) fn session(there: &Response) -> String {
    assert_eq!(location(there), "/");
    let cookies = held(there);
    let session = cookies.split_once("__Host-consilium=").unwrap().1;
    session.split(';').next().unwrap().to_owned()
}

async fn problem(api: &Api, path: &str, cookies: &str) -> String {
    let answer = api.visit(path, cookies).await;
    problem_of(&answer)
}

/// What a browser is told that was not logged in.
pub(super) fn problem_of(answer: &Response) -> String {
    assert!(!held(answer).contains("__Host-consilium="), "no session");
    let location = location(answer);
    location.strip_prefix("/login?problem=").unwrap().to_owned()
}

pub(super) async fn reasons(api: &Api, root: &str) -> Vec<String> {
    let failed = api.noted(root, "login_failed").await;
    let reason = |entry: &Value| entry["after"]["reason"].as_str().unwrap().to_owned();
    failed.iter().map(reason).collect()
}

pub(crate) async fn a_provider_proves_who_somebody_is(api: Api) {
    let root = api.first().await;
    let methods = api.get("", "/login-methods").await;
    assert_eq!(
        methods,
        json!({ "password": true, "directory": false, "oidc": false, "saml": false })
    );
    assert_eq!(api.visit("/login/oidc", "").await.status(), 404);
    let provider = Provider::start();
    let api = api.with_provider(provider.config());
    assert_eq!(api.get("", "/login-methods").await["oidc"], true);
    let mut persons = Vec::new();
    for _ in 0..2 {
        let gone = api.visit("/login/oidc", "").await;
        let url = location(&gone);
        assert!(url.contains("code_challenge_method=S256"), "{url}");
        let back = say(&url, "1").await;
        let there = api.visit(&back, &held(&gone)).await;
        let me = api.get(&session(&there), "/session").await;
        assert_eq!(
            (&me["login"], &me["name"]),
            (&json!("chun"), &json!("李春"))
        );
        persons.push(me["person"].clone());
    }
    assert_eq!(persons[0], persons[1]);
    let made = api.noted(&root, "create").await;
    assert_eq!(made[0]["after"]["source"], "oidc");
    assert_eq!(made.len(), 2, "and the first administrator");
    // A person of the provider has no password here, and whoever is disabled stays out.
    let refused = api.try_log_in("chun", "").await;
    assert_eq!(refused.status, 401);
    let path = format!("/people/{}", persons[0].as_str().unwrap());
    api.ask(&root, "PATCH", &path, json!({ "disabled": true }))
        .await;
    let gone = api.visit("/login/oidc", "").await;
    let back = say(&location(&gone), "1").await;
    assert_eq!(problem(&api, &back, &held(&gone)).await, "provider_refused");
    assert_eq!(reasons(&api, &root).await[0], "disabled");
}

/// Defect: a session with the provider, which asks nobody anything, was enough for a token.
pub(crate) async fn a_token_wants_a_proof_to_the_provider_that_is_just_now(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let provider = Provider::start();
    let api = api.with_provider(provider.config());
    let gone = api.visit("/login/oidc", "").await;
    let url = location(&gone);
    assert!(
        !url.contains("prompt=") && !url.contains("max_age="),
        "{url}"
    );
    let there = api.visit(&say(&url, "1").await, &held(&gone)).await;
    let session = session(&there);
    let me = api.get(&session, "/session").await;
    let person = me["person"].as_str().unwrap();
    let grant = json!({ "role": "organisation_administrator", "organisation": home });
    api.make(&root, &format!("/people/{person}/grants"), grant)
        .await;
    let token = json!({ "name": "x", "rights": ["rooms.view"], "expires_ms": now_ms() + 60_000 });
    let refused = api
        .ask(&session, "POST", "/session/tokens", token.clone())
        .await;
    assert_eq!(refused.body["code"], "login_too_old", "{refused:?}");
    let gone = api.visit("/login/oidc?anew", "").await;
    let url = location(&gone);
    assert!(
        url.contains("prompt=login") && url.contains("max_age=0"),
        "{url}"
    );
    let there = api.visit(&say(&url, "1").await, &held(&gone)).await;
    let session = self::session(&there);
    let made = api
        .ask(&session, "POST", "/session/tokens", token.clone())
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let later = "UPDATE sessions SET proved_ms = proved_ms - 601000";
    sqlx::query(later)
        .execute(api.store.pool().unwrap())
        .await
        .unwrap();
    let refused = api.ask(&session, "POST", "/session/tokens", token).await;
    assert_eq!(refused.body["code"], "login_too_old", "{refused:?}");
    // A provider that does not ask them, and says so, proves nothing by that.
    let gone = api.visit("/login/oidc?anew", "").await;
    let back = say(&location(&gone), "3").await;
    assert_eq!(problem(&api, &back, &held(&gone)).await, "provider_refused");
    assert_eq!(reasons(&api, &root).await, ["token proves nothing"]);
    let gone = api.visit("/login/oidc", "").await;
    let there = api
        .visit(&say(&location(&gone), "3").await, &held(&gone))
        .await;
    assert_eq!(location(&there), "/", "but that it is them");
}

pub(crate) async fn what_was_used_or_is_of_another_browser_is_refused(api: Api) {
    let root = api.first().await;
    let provider = Provider::start();
    let api = api.with_provider(provider.config());
    let first = api.visit("/login/oidc", "").await;
    let back = say(&location(&first), "1").await;
    let there = api.visit(&back, &held(&first)).await;
    assert_eq!(location(&there), "/");
    // The same address once more, and its code with a login of another browser.
    assert_eq!(
        problem(&api, &back, &held(&first)).await,
        "provider_refused"
    );
    let second = api.visit("/login/oidc", "").await;
    let other = say(&location(&second), "1").await;
    let (_, state) = other.split_once("state=").unwrap();
    let state = state.split('&').next().unwrap();
    let (_, code) = back.split_once("code=").unwrap();
    let code = code.split('&').next().unwrap();
    let mixed = format!("/login/oidc/callback?code={code}&state={state}");
    assert_eq!(
        problem(&api, &mixed, &held(&second)).await,
        "provider_refused"
    );
    // Who is led to an address that another browser is to come back to.
    let third = api.visit("/login/oidc", "").await;
    let back = say(&location(&third), "1").await;
    assert_eq!(problem(&api, &back, "").await, "provider_refused");
    let forged = "/login/oidc/callback?code=x&state=x";
    assert_eq!(
        problem(&api, forged, &held(&third)).await,
        "provider_refused"
    );
    let denied = "/login/oidc/callback?error=access_denied";
    assert_eq!(
        problem(&api, denied, &held(&third)).await,
        "provider_refused"
    );
    let (none, refuses) = ("no login under way", "provider refuses");
    assert_eq!(
        reasons(&api, &root).await,
        [refuses, none, none, refuses, none]
    );
}

pub(crate) async fn a_picture_elsewhere_begins_no_login_and_shuts_out_nobody(api: Api) {
    api.first().await;
    let provider = Provider::start();
    let api = api.with_provider(provider.config());
    for mode in ["no-cors", "cors"] {
        let answer = api.fetch("/login/oidc", "", mode).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{mode}");
    }
    // Whoever uses up what a source may begin leaves its people their passwords.
    while api.visit("/login/oidc", "").await.status() != StatusCode::TOO_MANY_REQUESTS {}
    api.log_in("root").await;
}

pub(crate) async fn a_token_with_another_nonce_or_that_ran_out_is_refused(api: Api) {
    let root = api.first().await;
    let provider = Provider::start();
    let api = api.with_provider(provider.config());
    let gone = api.visit("/login/oidc", "").await;
    let url = location(&gone);
    let (before, nonce) = url.split_once("nonce=").unwrap();
    let rest = nonce.split_once('&').map_or("", |(_, rest)| rest);
    let back = say(&format!("{before}nonce=another&{rest}"), "1").await;
    assert_eq!(problem(&api, &back, &held(&gone)).await, "provider_refused");
    let late = Provider::start_late();
    let api = api.with_provider(late.config());
    let gone = api.visit("/login/oidc", "").await;
    let back = say(&location(&gone), "1").await;
    assert_eq!(problem(&api, &back, &held(&gone)).await, "provider_refused");
    assert_eq!(reasons(&api, &root).await, ["token proves nothing"; 2]);
    let people = api.get(&root, "/people").await;
    assert_eq!(people["items"].as_array().unwrap().len(), 1);
}

pub(crate) async fn a_provider_takes_nobodys_place_and_may_be_away(api: Api) {
    let root = api.first().await;
    let provider = Provider::start();
    let api = api.with_provider(provider.config());
    let gone = api.visit("/login/oidc", "").await;
    let back = say(&location(&gone), "2").await;
    assert_eq!(problem(&api, &back, &held(&gone)).await, "provider_refused");
    drop(provider);
    assert_eq!(problem(&api, "/login/oidc", "").await, "provider_away");
    let told = reasons(&api, &root).await;
    assert_eq!(
        told,
        ["provider away", "the provider's claims make no person"]
    );
    api.log_in("root").await;
}
