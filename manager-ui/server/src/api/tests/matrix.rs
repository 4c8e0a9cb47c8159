//! Rights: every operation, role and place (WS/T 545: SW-04, MGT-04, MGT-05, PRV-05).

use std::collections::BTreeSet;

use axum::http::StatusCode;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use sqlx::Row;

use super::bench::{Api, PASSWORD};
use crate::api::described;
use crate::events;
use crate::rights::{BUILT_IN, Right};
use crate::store::now_ms;

/// Operations that ask for a session, and for no right.
const OWN: &[&str] = &[
    "GET /session",
    "GET /events",
    "DELETE /session",
    "PUT /session/password",
    "GET /sessions",
    "DELETE /sessions/{id}",
    "GET /session/authenticator",
    "POST /session/authenticator",
    "PUT /session/authenticator",
    "POST /session/authenticator/removal",
    "GET /session/tokens",
    "POST /session/tokens",
    "DELETE /session/tokens/{id}",
    "GET /layouts",
];
/// Operations that ask for nothing.
const OPEN: &[&str] = &["GET /login-methods", "POST /session", "POST /setup"];

/// Operations about the server as a whole, which belongs to the root.
const SERVER: &[&str] = &["GET /system", "GET /metrics", "PUT /system/ports"];

/// Where an object is, seen from the place where a role is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Own,
    Parent,
    Child,
    Stranger,
}

pub(super) const PLACES: [Place; 4] = [Place::Own, Place::Parent, Place::Child, Place::Stranger];

/// An operation of the description: `GET /people`, and the right it asks for.
fn operations() -> Vec<(String, Option<Right>)> {
    let document = serde_json::to_value(described().into_openapi()).unwrap();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.strip_prefix("/api/v1").unwrap();
        for (method, operation) in methods.as_object().unwrap() {
            let right = operation["x-right"].as_str();
            let right = right.map(|name| Right::from_name(name).unwrap());
            operations.push((format!("{} {path}", method.to_uppercase()), right));
        }
    }
    assert!(operations.len() >= 20, "{operations:?}");
    operations
}

pub(super) struct Hospital {
    pub api: Api,
    pub root: String,
    /// Own, parent, child, stranger.
    places: [String; 4],
}

fn is_of_a_room(operation: &str) -> bool {
    operation.contains(" /rooms") || operation.contains(" /meetings/")
}

impl Hospital {
    pub(super) async fn new(api: Api) -> Self {
        let root = api.first().await;
        let home = api.root(&root).await;
        let own = api.organisation(&root, &home, "own").await;
        let child = api.organisation(&root, &own, "child").await;
        let stranger = api.organisation(&root, &home, "stranger").await;
        let places = [own, home, child, stranger];
        Self { api, root, places }
    }

    pub(super) fn id(&self, place: Place) -> &str {
        &self.places[PLACES.iter().position(|p| *p == place).unwrap()]
    }

    async fn someone(&self, at: &str) -> String {
        let login = format!("p{:016x}", rand::random::<u64>());
        let body = json!({ "organisation": at, "login": login, "name": "x" });
        self.api.make(&self.root, "/people", body).await
    }

    async fn some_role(&self, at: &str) -> String {
        let body = json!({ "organisation": at, "name": "r", "rights": ["recordings.view"] });
        self.api.make(&self.root, "/roles", body).await
    }

    async fn some_token(&self, person: &str) -> String {
        let id = crate::store::new_id();
        sqlx::query(
            "INSERT INTO tokens (id, secret_hash, person, name, created_ms, expires_ms) \
             VALUES ($1, $1, $2, 't', 0, 0)",
        )
        .bind(&id)
        .bind(person)
        .execute(self.api.store.pool().unwrap())
        .await
        .unwrap();
        id
    }

    async fn some_authenticator(&self, person: &str) {
        sqlx::query("INSERT INTO authenticators (person, secret, created_ms) VALUES ($1, '', 0)")
            .bind(person)
            .execute(self.api.store.pool().unwrap())
            .await
            .unwrap();
    }

    /// A request of this operation about a fresh object at this organisation.
    async fn request(&self, operation: &str, at: &str) -> (String, Value) {
        let api = &self.api;
        match operation {
            list if list.starts_with("GET /") && !list.contains('{') => {
                let path = operation.split_once(' ').unwrap().1;
                (path.to_owned(), Value::Null)
            }
            "POST /organisations" => {
                let body = json!({ "parent": at, "kind": "department", "name": "new" });
                ("/organisations".into(), body)
            }
            "GET /organisations/{id}" => (format!("/organisations/{at}"), Value::Null),
            "PATCH /organisations/{id}" => {
                let id = api.organisation(&self.root, at, "old").await;
                (format!("/organisations/{id}"), json!({ "name": "new" }))
            }
            "DELETE /organisations/{id}" => {
                let id = api.organisation(&self.root, at, "old").await;
                (format!("/organisations/{id}"), Value::Null)
            }
            "POST /people" => {
                let login = format!("n{:016x}", rand::random::<u64>());
                let body = json!({ "organisation": at, "login": login, "name": "new" });
                ("/people".into(), body)
            }
            "GET /people/{id}" | "DELETE /people/{id}" => {
                (format!("/people/{}", self.someone(at).await), Value::Null)
            }
            "PATCH /people/{id}" => {
                let path = format!("/people/{}", self.someone(at).await);
                (path, json!({ "name": "new" }))
            }
            "PUT /people/{id}/password" => {
                let path = format!("/people/{}/password", self.someone(at).await);
                (path, json!({ "password": PASSWORD }))
            }
            "GET /people/{id}/grants" => {
                let path = format!("/people/{}/grants", self.someone(at).await);
                (path, Value::Null)
            }
            "POST /people/{id}/grants" => {
                let path = format!("/people/{}/grants", self.someone(at).await);
                (path, json!({ "role": "student", "organisation": at }))
            }
            "DELETE /people/{id}/grants/{grant}" => {
                let person = self.someone(at).await;
                let grants = format!("/people/{person}/grants");
                let body = json!({ "role": "student", "organisation": at });
                let grant = api.make(&self.root, &grants, body).await;
                (format!("{grants}/{grant}"), Value::Null)
            }
            "POST /roles" => {
                let body =
                    json!({ "organisation": at, "name": "r", "rights": ["recordings.view"] });
                ("/roles".into(), body)
            }
            "PATCH /roles/{id}" => {
                let path = format!("/roles/{}", self.some_role(at).await);
                (path, json!({ "name": "new", "rights": [] }))
            }
            "DELETE /roles/{id}" => (format!("/roles/{}", self.some_role(at).await), Value::Null),
            other if other.ends_with("-shares") => (other[4..].replace("{id}", at), Value::Null),
            other if is_of_a_room(other) => self.room_request(other, at).await,
            other if other.contains(" /accounts") => self.account_request(other, at).await,
            other if other.contains(" /trunks") => self.trunk_request(other, at).await,
            other if other.contains(" /webhooks") => self.webhook_request(other, at).await,
            other => self.request_about_proofs(other, at).await,
        }
    }

    /// The same of what proves who somebody is.
    async fn request_about_proofs(&self, operation: &str, at: &str) -> (String, Value) {
        match operation {
            "DELETE /people/{id}/authenticator" => {
                let person = self.someone(at).await;
                self.some_authenticator(&person).await;
                (format!("/people/{person}/authenticator"), Value::Null)
            }
            "GET /people/{id}/tokens" => {
                let path = format!("/people/{}/tokens", self.someone(at).await);
                (path, Value::Null)
            }
            "DELETE /people/{id}/tokens/{token}" => {
                let person = self.someone(at).await;
                let token = self.some_token(&person).await;
                (format!("/people/{person}/tokens/{token}"), Value::Null)
            }
            "PUT /system/ports" => ("/system/ports".into(), json!({ "hd": 50 })),
            other => panic!("{other} has no request here"),
        }
    }

    async fn room_request(&self, operation: &str, at: &str) -> (String, Value) {
        let number = format!("n{:016x}", rand::random::<u64>());
        let new =
            json!({ "organisation": at, "number": number, "name": "room", "guest_links": true });
        if operation == "POST /rooms" {
            return ("/rooms".into(), new);
        }
        self.api.make(&self.root, "/rooms", new).await;
        let room = format!("/rooms/{number}");
        match operation {
            "GET /rooms/{number}" | "DELETE /rooms/{number}" => (room, Value::Null),
            "GET /meetings/{number}/picture" => {
                (format!("/meetings/{number}/picture"), Value::Null)
            }
            "PATCH /rooms/{number}" => (room, json!({ "name": "new", "pin": "4711" })),
            "GET /rooms/{number}/shares" => (format!("{room}/shares"), Value::Null),
            "PUT /rooms/{number}/shares/{organisation}" => {
                let partner = self.api.organisation(&self.root, at, "partner").await;
                (format!("{room}/shares/{partner}"), json!({}))
            }
            "DELETE /rooms/{number}/shares/{organisation}" => {
                let partner = self.api.organisation(&self.root, at, "partner").await;
                let path = format!("{room}/shares/{partner}");
                let made = self.api.ask(&self.root, "PUT", &path, json!({})).await;
                assert_eq!(made.status, StatusCode::OK, "{made:?}");
                (path, Value::Null)
            }
            "GET /rooms/{number}/guest-links" => (format!("{room}/guest-links"), Value::Null),
            "POST /rooms/{number}/guest-links" => (format!("{room}/guest-links"), link()),
            "DELETE /rooms/{number}/guest-links/{link}" => {
                let links = format!("{room}/guest-links");
                let link = self.api.make(&self.root, &links, link()).await;
                (format!("{links}/{link}"), Value::Null)
            }
            "PATCH /rooms/{number}/legs/{leg}" => {
                (format!("{room}/legs/1"), json!({ "audio_silenced": true }))
            }
            "DELETE /rooms/{number}/legs/{leg}" => (format!("{room}/legs/1"), Value::Null),
            "POST /rooms/{number}/legs/{leg}/transfer" => {
                let target = json!({ "target": "sip:ward@192.0.2.9" });
                (format!("{room}/legs/1/transfer"), target)
            }
            "POST /rooms/{number}/calls" => (format!("{room}/calls"), json!({ "target": "x" })),
            other => panic!("{other} has no request here"),
        }
    }

    async fn webhook_request(&self, operation: &str, at: &str) -> (String, Value) {
        let pool = self.api.store.pool().unwrap();
        // There may be few at a time.
        sqlx::query("DELETE FROM webhooks")
            .execute(pool)
            .await
            .unwrap();
        if operation == "POST /webhooks" {
            return ("/webhooks".into(), hook(at));
        }
        let id = self.api.make(&self.root, "/webhooks", hook(at)).await;
        let path = format!("/webhooks/{id}");
        match operation {
            "GET /webhooks/{id}" | "DELETE /webhooks/{id}" => (path, Value::Null),
            "PATCH /webhooks/{id}" => (path, json!({ "name": "new" })),
            "PUT /webhooks/{id}/secret" => (format!("{path}/secret"), json!({})),
            "POST /webhooks/{id}/test" => (format!("{path}/test"), Value::Null),
            "GET /webhooks/{id}/deliveries" => (format!("{path}/deliveries"), Value::Null),
            "POST /webhooks/{id}/deliveries/{delivery}/retry" => {
                let dead = "INSERT INTO deliveries (id, webhook, seq, kind, state, attempts, created_ms, next_ms) \
                     VALUES ($1, $2, 1, 'gap', 'dead', 1, 1, 1)";
                let delivery = crate::store::new_id();
                let insert = sqlx::query(dead).bind(&delivery).bind(&id);
                insert.execute(pool).await.unwrap();
                (format!("{path}/deliveries/{delivery}/retry"), Value::Null)
            }
            other => panic!("{other} has no request here"),
        }
    }

    async fn account_request(&self, operation: &str, at: &str) -> (String, Value) {
        let user = format!("u{:016x}", rand::random::<u64>());
        let new = json!({ "organisation": at, "user": user, "name": "terminal" });
        if operation == "POST /accounts" {
            return ("/accounts".into(), new);
        }
        let id = self.api.make(&self.root, "/accounts", new).await;
        let account = format!("/accounts/{id}");
        match operation {
            "GET /accounts/{id}" | "DELETE /accounts/{id}" => (account, Value::Null),
            "PATCH /accounts/{id}" => (account, json!({ "name": "new" })),
            "PUT /accounts/{id}/password" => (format!("{account}/password"), json!({})),
            "GET /accounts/{id}/shares" => (format!("{account}/shares"), Value::Null),
            "PUT /accounts/{id}/shares/{organisation}" => {
                let partner = self.api.organisation(&self.root, at, "partner").await;
                (format!("{account}/shares/{partner}"), json!({}))
            }
            "DELETE /accounts/{id}/shares/{organisation}" => {
                let partner = self.api.organisation(&self.root, at, "partner").await;
                let path = format!("{account}/shares/{partner}");
                let made = self.api.ask(&self.root, "PUT", &path, json!({})).await;
                assert_eq!(made.status, StatusCode::OK, "{made:?}");
                (path, Value::Null)
            }
            other => panic!("{other} has no request here"),
        }
    }
}

impl Hospital {
    async fn trunk_request(&self, operation: &str, at: &str) -> (String, Value) {
        let name = format!("t{:016x}", rand::random::<u64>());
        let new = json!({ "organisation": at, "name": name, "address": "carrier.example" });
        if operation == "POST /trunks" {
            return ("/trunks".into(), new);
        }
        // The cells before have made more than a server has.
        sqlx::query("DELETE FROM trunks")
            .execute(self.api.store.pool().unwrap())
            .await
            .unwrap();
        let id = self.api.make(&self.root, "/trunks", new).await;
        let trunk = format!("/trunks/{id}");
        match operation {
            "PATCH /trunks/{id}" => (trunk, json!({ "address": "other.example" })),
            "DELETE /trunks/{id}" => (trunk, Value::Null),
            other => panic!("{other} has no request here"),
        }
    }
}

/// A hook that nobody listens to.
fn hook(at: &str) -> Value {
    json!({ "organisation": at, "name": "x", "url": "https://localhost:1/", "types": ["webhook.created"] })
}

/// A link for guests.
fn link() -> Value {
    json!({ "expires_ms": now_ms() + 60_000 })
}

pub(crate) async fn each_role_may_do_what_it_allows_where_it_is_held(api: Api) {
    let hospital = Hospital::new(api).await;
    let mut cells = 0;
    for role in BUILT_IN {
        let own = hospital.id(Place::Own);
        hospital
            .api
            .person(&hospital.root, own, role.id, role.id)
            .await;
        let cookie = hospital.api.log_in(role.id).await;
        for (operation, right) in operations() {
            let Some(right) = right else {
                assert!(
                    OWN.contains(&&*operation) || OPEN.contains(&&*operation),
                    "{operation}"
                );
                continue;
            };
            for place in PLACES {
                let at = hospital.id(place);
                let (path, body) = hospital.request(&operation, at).await;
                let method = operation.split_once(' ').unwrap().0;
                let nobody = hospital.api.ask("", method, &path, body.clone()).await;
                assert_eq!(nobody.status, StatusCode::UNAUTHORIZED, "{operation}");
                let answer = hospital.api.ask(&cookie, method, &path, body).await;
                let is_list = is_list(method, &path);
                let reaches = is_list || matches!(place, Place::Own | Place::Child);
                let reaches = reaches && !SERVER.contains(&&*operation);
                let may = role.rights.contains(&right) && reaches;
                let refused =
                    matches!(answer.status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND);
                let cell = format!("{} {operation} {place:?}: {answer:?}", role.id);
                assert_eq!(answer.status.is_success(), may, "{cell}");
                assert_eq!(refused, !may, "{cell}");
                if is_list && may {
                    let shown = answer.body.to_string();
                    for place in [Place::Parent, Place::Stranger] {
                        // The id of the one above is told as `parent`, and nothing of it.
                        let id = format!("\"id\":\"{}\"", hospital.id(place));
                        assert!(!shown.contains(&id), "{cell}");
                    }
                }
                cells += 1;
            }
        }
    }
    assert!(cells >= 7 * 4 * 15, "{cells}");
}

/// Of all that an administrator may do, a token does what its scope names, in the same places. What
/// hands `recordings.view` on, as these requests do, needs that in the scope, too.
pub(crate) async fn a_token_does_what_its_scope_names_where_its_person_may(api: Api) {
    let hospital = Hospital::new(api).await;
    let api = &hospital.api;
    let role = &BUILT_IN[1];
    assert_eq!(role.id, "organisation_administrator");
    let own = hospital.id(Place::Own);
    api.person(&hospital.root, own, "boss", role.id).await;
    let cookie = api.log_in("boss").await;
    let operations = operations();
    let mut used: Vec<Right> = operations.iter().filter_map(|(_, right)| *right).collect();
    used.sort_unstable();
    used.dedup();
    let mut cells = 0;
    for scope in used.iter().filter(|right| role.rights.contains(right)) {
        let rights = [*scope, Right::RecordingsView];
        let token = api.token(&cookie, &rights).await;
        for (operation, right) in &operations {
            let (method, path) = operation.split_once(' ').unwrap();
            let Some(right) = right else {
                if OWN.contains(&&**operation) {
                    let expected = match &**operation {
                        "GET /session" => StatusCode::OK,
                        "GET /events" if events::Kind::ALL.iter().any(|k| k.right() == *scope) => {
                            StatusCode::OK
                        }
                        _ => StatusCode::FORBIDDEN,
                    };
                    // A stream has no end to wait for.
                    let status = match &**operation {
                        "GET /events" => {
                            let proof = format!("Bearer {token}");
                            api.try_listen(&proof, "", None).await.status()
                        }
                        _ => api.ask_by(&token, method, path, Value::Null).await.status,
                    };
                    assert_eq!(status, expected, "{operation} {scope:?}");
                }
                continue;
            };
            for place in [Place::Own, Place::Stranger] {
                let (path, body) = hospital.request(operation, hospital.id(place)).await;
                let answer = api.ask_by(&token, method, &path, body).await;
                let is_list = is_list(method, &path);
                let may = rights.contains(right) && (is_list || place == Place::Own);
                let cell = format!("{scope:?}: {operation} {place:?}: {answer:?}");
                assert_eq!(answer.status.is_success(), may, "{cell}");
                let refused =
                    matches!(answer.status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND);
                assert_eq!(refused, !may, "{cell}");
                if !rights.contains(right) {
                    assert_eq!(answer.body["code"], json!(right), "{cell}");
                }
                cells += 1;
            }
        }
    }
    assert!(cells >= 7 * 2 * 15, "{cells}");
}

/// Whether a request asks for all that the asker may see, wherever it is.
fn is_list(method: &str, path: &str) -> bool {
    method == "GET"
        && (path.matches('/').count() == 1 || path == "/audit/export" || path.ends_with("/counts"))
}

/// All rows that belong to an organisation.
async fn rows_of(api: &Api, organisation: &str) -> Vec<String> {
    let mut rows = Vec::new();
    for statement in [
        "SELECT id || name || path || kind AS row FROM organisations WHERE path LIKE '%' || $1 || '%' ORDER BY id",
        "SELECT id || login || name || COALESCE(password, '') AS row FROM people WHERE organisation = $1 ORDER BY id",
        "SELECT id || name AS row FROM roles WHERE organisation = $1 ORDER BY id",
        "SELECT id || person || role || effect AS row FROM grants WHERE organisation = $1 ORDER BY id",
        "SELECT id || number || name || srtp || COALESCE(pin, '') AS row FROM rooms WHERE organisation = $1 ORDER BY id",
        "SELECT a.id || a.username || a.name || s.ha1 AS row FROM accounts a JOIN account_secrets s ON s.account = a.id WHERE a.organisation = $1 ORDER BY a.id, s.algorithm",
        "SELECT id || name || address AS row FROM trunks WHERE organisation = $1 ORDER BY id",
        "SELECT id || name || url || maker || secret AS row FROM webhooks WHERE organisation = $1 ORDER BY id",
        "SELECT account AS row FROM account_shares WHERE organisation = $1 ORDER BY account",
        "SELECT room AS row FROM room_shares WHERE organisation = $1 ORDER BY room",
        "SELECT l.id || l.secret_hash || COALESCE(l.name, '') || l.uses || COALESCE(l.revoked_ms, 0) AS row FROM guest_links l JOIN rooms m ON m.id = l.room WHERE m.organisation = $1 ORDER BY l.id",
    ] {
        let found = sqlx::query(statement)
            .bind(organisation)
            .fetch_all(api.store.pool().unwrap())
            .await
            .unwrap();
        rows.extend(found.iter().map(|row| row.get::<String, _>("row")));
    }
    rows
}

/// Requests of one hospital's administrator with ids and words of another's.
const PROBES: usize = 10_000;

/// A room with a link, an account and a trunk of the other hospital.
async fn hidden_things(api: &Api, root: &str, at: &str) -> [String; 4] {
    let room = json!({ "organisation": at, "number": "geheim-1", "name": "geheim", "pin": "4711",
        "guest_links": true });
    let account = json!({ "organisation": at, "user": "geheim-2", "name": "geheim" });
    let trunk = json!({ "organisation": at, "name": "geheim-3", "address": "geheim.example" });
    let room = api.make(root, "/rooms", room).await;
    let link = api.make(root, "/rooms/geheim-1/guest-links", link()).await;
    let account = api.make(root, "/accounts", account).await;
    [room, link, account, api.make(root, "/trunks", trunk).await]
}

pub(crate) async fn probes_between_two_hospitals_show_nothing(api: Api) {
    let mut rng = rand::rngs::StdRng::seed_from_u64(545);
    let root = api.first().await;
    let home = api.root(&root).await;
    let a = api.organisation(&root, &home, "A").await;
    let b = api.organisation(&root, &home, "geheim-B").await;
    let boss = "organisation_administrator";
    let own = api.person(&root, &a, "boss_a", boss).await;
    let person = api.person(&root, &b, "geheim_boss", boss).await;
    let other = api.nobody(&root, &b, "geheim_nurse").await;
    let role = json!({ "organisation": b, "name": "geheim-role", "rights": ["people.view"] });
    let role = api.make(&root, "/roles", role).await;
    let grants = api.get(&root, &format!("/people/{person}/grants")).await;
    let grant = grants[0]["id"].as_str().unwrap().to_owned();
    let [room, link, account, trunk] = hidden_things(&api, &root, &b).await;
    let cookie = api.log_in("boss_a").await;
    let before = rows_of(&api, &b).await;
    assert!(before.len() >= 5, "{before:?}");
    let secrets = [
        &b, &person, &other, &role, &grant, &room, &account, &link, &trunk, "geheim",
    ];
    let ids = [
        &b,
        &person,
        &other,
        &role,
        &grant,
        &room,
        &account,
        &trunk,
        "geheim-1",
        &link,
        &home,
        &own,
        "geheim_nurse",
        "%",
        "'",
        "\u{0}",
    ];
    let document = api.document().await;
    let all = operations();
    let with_right = all.iter().filter(|(_, right)| right.is_some());
    let operations: Vec<&String> = with_right.map(|(name, _)| name).collect();
    // Operations with a body that was read, so that it was the rights that refused it.
    let mut read = BTreeSet::new();
    for n in 0..PROBES {
        let operation = operations.choose(&mut rng).unwrap();
        let method = operation.split_once(' ').unwrap().0;
        let path = random_path(&mut rng, operation, &ids);
        let body = random_body(&mut rng, &document, operation, &ids);
        let answer = api.ask(&cookie, method, &path, body.clone()).await;
        let shown = answer.body.to_string();
        for secret in secrets {
            let probe = format!("{n}: {method} {path} {body}: {answer:?}");
            assert!(!shown.contains(secret), "{probe}");
        }
        assert!(!answer.status.is_server_error(), "{method} {path} {body}");
        if !body.is_null() && answer.status != StatusCode::UNPROCESSABLE_ENTITY {
            read.insert(operation.as_str());
        }
    }
    assert_eq!(rows_of(&api, &b).await, before);
    let mut unread = operations.clone();
    unread.retain(|name| !body_of(&document, name).is_null() && !read.contains(name.as_str()));
    assert!(unread.is_empty(), "no body of these was read: {unread:?}");
}

/// The path of an operation with ids, and perhaps a query, of the other hospital.
fn random_path(rng: &mut impl Rng, operation: &str, ids: &[&str]) -> String {
    let (method, path) = operation.split_once(' ').unwrap();
    let mut path = path.to_owned();
    let marks = [
        "{id}",
        "{grant}",
        "{token}",
        "{number}",
        "{organisation}",
        "{leg}",
        "{link}",
    ];
    for mark in marks {
        path = path.replacen(mark, ids[..10].choose(rng).unwrap(), 1);
    }
    if method == "GET" && rng.random_bool(0.5) {
        let keys = ["organisation", "q", "after", "object", "actor"];
        let key = keys.choose(rng).unwrap();
        let value = ids[..13].iter().chain(&["%00", "%25"]).choose(rng).unwrap();
        path = format!("{path}?{key}={value}&limit=200");
    }
    path
}

/// The description of an operation's body; null where it takes none.
fn body_of<'a>(document: &'a Value, operation: &str) -> &'a Value {
    let (method, path) = operation.split_once(' ').unwrap();
    let operation = &document["paths"][format!("/api/v1{path}")][method.to_lowercase()];
    resolved(
        document,
        &operation["requestBody"]["content"]["application/json"]["schema"],
    )
}

/// A description, or the one that it refers to.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let one_of = schema["oneOf"].as_array();
    let inner = one_of.and_then(|all| all.iter().find(|one| one["$ref"].is_string()));
    let schema = inner.unwrap_or(schema);
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).unwrap(),
        None => schema,
    }
}

/// A body as the description has it, with values of the other hospital; now and then without a field.
fn random_body(rng: &mut impl Rng, document: &Value, operation: &str, ids: &[&str]) -> Value {
    let schema = body_of(document, operation);
    let Some(properties) = schema["properties"].as_object() else {
        return Value::Null;
    };
    let required = schema["required"].as_array();
    let mut body = serde_json::Map::new();
    for (field, of) in properties {
        let is_required = required.is_some_and(|all| all.contains(&json!(field)));
        if rng.random_bool(if is_required { 0.95 } else { 0.3 }) {
            let value = random_value(rng, document, field, of, ids);
            body.insert(field.clone(), value);
        }
    }
    Value::Object(body)
}

fn random_value(
    rng: &mut impl Rng,
    document: &Value,
    field: &str,
    of: &Value,
    ids: &[&str],
) -> Value {
    let of = resolved(document, of);
    let first = of["enum"].as_array().and_then(|all| all.first());
    match field {
        "organisation" | "parent" | "role" => json!(ids.choose(rng).unwrap()),
        "rights" => json!(["people.view"]),
        "password" => json!("eight grey horses"),
        "pin" | "guest_pin" => json!("4711"),
        "number" | "user" | "login" => json!(["geheim-1", "x-1"].choose(rng).unwrap()),
        "target" => json!("geheim-1"),
        _ => match first {
            Some(value) => value.clone(),
            None => match of["type"].to_string() {
                kind if kind.contains("boolean") => json!(true),
                kind if kind.contains("integer") => json!(1),
                kind if kind.contains("array") => json!([]),
                _ => json!("x"),
            },
        },
    }
}
