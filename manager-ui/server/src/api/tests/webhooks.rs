//! Webhooks (WS/T 545: ARC-16, PRV-05, SEC-02).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use mcu_api::secret::Redacted;
use serde_json::{Value, json};
use sqlx::Row;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::bench::{Answer, Api};
use crate::rights::Right;
use crate::webhooks::sign::signatures;

const PATIENCE: Duration = Duration::from_secs(20);

/// What a receiver heard.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    head: String,
    body: String,
}

impl Heard {
    fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut values = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        values.next().expect("a header").1
    }

    pub(super) fn message(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Whether one of the signatures is made by this secret.
    fn is_signed_by(&self, secret: &str) -> bool {
        let at: i64 = self.header("webhook-timestamp").parse().unwrap();
        let secret = [Redacted(secret.to_owned())];
        let right = signatures(&secret, self.header("webhook-id"), at, &self.body);
        self.header("webhook-signature")
            .split(' ')
            .any(|given| given == right)
    }
}

/// Another server, in clear, on this machine.
pub(super) struct Receiver {
    pub url: String,
    heard: Arc<Mutex<Vec<Heard>>>,
    /// What it answers; nothing while it is 0.
    status: watch::Sender<u16>,
    _task: JoinSet<()>,
}

impl Receiver {
    pub(super) async fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let (status, _) = watch::channel(status);
        let mut task = JoinSet::new();
        let (to, answer) = (heard.clone(), status.clone());
        task.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                open.spawn(serve(stream, to.clone(), answer.clone()));
            }
        });
        Self {
            url: format!("http://localhost:{port}/hooks/secret-path"),
            heard,
            status,
            _task: task,
        }
    }

    pub(super) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    pub(super) fn kinds(&self) -> Vec<String> {
        let kind = |heard: &Heard| heard.message()["type"].as_str().unwrap().to_owned();
        self.heard().iter().map(kind).collect()
    }

    pub(super) fn answers(&self, status: u16) {
        self.status.send_replace(status);
    }
}

async fn serve(mut stream: TcpStream, heard: Arc<Mutex<Vec<Heard>>>, status: watch::Sender<u16>) {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let line = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let len: usize = line.unwrap_or("0").parse().unwrap();
            if body.len() >= len {
                let (head, body) = (head.to_owned(), body.to_owned());
                heard.lock().unwrap().push(Heard { head, body });
                break;
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let mut status = status.subscribe();
    let status = *status.wait_for(|status| *status > 0).await.unwrap();
    let body = format!("nein\u{7}{}", "x".repeat(100_000));
    let answer = format!(
        "HTTP/1.1 {status} X\r\nlocation: /elsewhere\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// Waits until something is so.
pub(super) async fn until<T>(what: &str, probe: impl AsyncFn() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, found)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}

fn expect(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    assert_eq!(answer.body["code"], code, "{answer:?}");
}

/// Makes a hook; its id and secret.
pub(super) async fn hook(
    api: &Api,
    proof: &str,
    at: &str,
    receiver: &Receiver,
    types: &[&str],
) -> (String, String) {
    let body = json!({ "organisation": at, "name": "钩", "url": receiver.url, "types": types });
    let made = match proof.starts_with("consilium_") {
        true => api.ask_by(proof, "POST", "/webhooks", body).await,
        false => api.ask(proof, "POST", "/webhooks", body).await,
    };
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let text = |field: &str| made.body[field].as_str().unwrap().to_owned();
    (text("id"), text("secret"))
}

pub(super) async fn room(api: &Api, proof: &str, at: &str, number: &str) {
    let body = json!({ "organisation": at, "number": number, "name": "会诊张三" });
    api.make(proof, "/rooms", body).await;
}

pub(super) async fn is_state(api: &Api, root: &str, id: &str, state: &str) {
    let what = format!("the hook is {state}");
    until(&what, async || {
        let hook = api.get(root, &format!("/webhooks/{id}")).await;
        (hook["state"] == state).then_some(())
    })
    .await;
}

/// Its deliveries in this state, once there are so many.
pub(super) async fn deliveries(
    api: &Api,
    root: &str,
    id: &str,
    state: &str,
    count: usize,
) -> Vec<Value> {
    let path = format!("/webhooks/{id}/deliveries?state={state}");
    until(&format!("{count} are {state}"), async || {
        let page = api.get(root, &path).await;
        let items = page["items"].as_array().unwrap().clone();
        (items.len() == count).then_some(items)
    })
    .await
}

pub(crate) async fn what_happens_is_told_signed_in_order_and_without_names(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let hospital = api.organisation(&root, &home, "仁济").await;
    let other = api.organisation(&root, &home, "瑞金").await;
    let receiver = Receiver::start(204).await;
    let types = ["room.created", "room.removed", "person.created"];
    let (id, secret) = hook(&api, &root, &hospital, &receiver, &types).await;
    room(&api, &root, &other, "4100").await;
    for number in ["4200", "4201", "4202"] {
        room(&api, &root, &hospital, number).await;
    }
    api.nobody(&root, &hospital, "chun").await;
    api.ask(&root, "DELETE", "/rooms/4200", Value::Null).await;
    let heard = until("five are heard", async || {
        let heard = receiver.heard();
        (heard.len() == 5).then_some(heard)
    })
    .await;
    let told: Vec<(Value, Value)> = heard
        .iter()
        .map(|heard| {
            assert!(heard.is_signed_by(&secret), "{heard:?}");
            assert!(
                heard.head.starts_with("POST /hooks/secret-path HTTP/1.1"),
                "{heard:?}"
            );
            for name in ["会诊", "张三", "chun", "管理员"] {
                assert!(!heard.body.contains(name), "{heard:?}");
            }
            let message = heard.message();
            assert_eq!(message["organisation"], json!(hospital));
            (message["type"].clone(), message["data"]["number"].clone())
        })
        .collect();
    let created = |number: &str| (json!("room.created"), json!(number));
    let rest = [
        (json!("person.created"), Value::Null),
        (json!("room.removed"), json!("4200")),
    ];
    let wanted = [created("4200"), created("4201"), created("4202")];
    assert_eq!(told, [&wanted[..], &rest].concat());
    let page = deliveries(&api, &root, &id, "delivered", 5).await;
    assert_eq!(page[0]["type"], "room.removed", "newest first");
    assert_eq!(page[0]["status"], 204);
    assert_eq!(page[0]["answer"], Value::Null);
    let ids: Vec<&str> = heard
        .iter()
        .map(|heard| heard.header("webhook-id"))
        .collect();
    assert_eq!(page[4]["id"], ids[0]);
    secret_is_kept_from_others(&api, &root, &receiver, &secret, &types).await;
    secrets_are_renewed(&api, &root, &receiver, (&id, &secret)).await;
}

/// The secret is told once, kept sealed, and in no record; nor is the path of the address.
async fn secret_is_kept_from_others(
    api: &Api,
    root: &str,
    receiver: &Receiver,
    secret: &str,
    types: &[&str],
) {
    let listed = api.get(root, "/webhooks").await;
    assert_eq!(listed["items"][0]["url"], json!(receiver.url));
    assert_eq!(listed["items"][0]["types"], json!(types));
    assert!(!listed.to_string().contains("whsec_"));
    let kept: String = sqlx::query("SELECT secret FROM webhooks")
        .fetch_one(api.store.pool().unwrap())
        .await
        .unwrap()
        .get("secret");
    assert!(!kept.contains(&secret[6..]));
    let noted = json!(api.noted(root, "create").await).to_string();
    assert!(noted.contains("\"webhook\"") && !noted.contains("secret-path"));
    assert!(!noted.contains(&secret[6..]));
}

/// Another secret, and both for a while.
async fn secrets_are_renewed(
    api: &Api,
    root: &str,
    receiver: &Receiver,
    (id, secret): (&str, &str),
) {
    let path = format!("/webhooks/{id}/secret");
    let renewed = api
        .ask(root, "PUT", &path, json!({ "overlap_s": 3_600 }))
        .await;
    let newer = renewed.body["secret"].as_str().unwrap().to_owned();
    let test = format!("/webhooks/{id}/test");
    let tried = api.ask(root, "POST", &test, Value::Null).await;
    assert_eq!(tried.body["delivered"], true, "{tried:?}");
    let last = receiver.heard().pop().unwrap();
    assert!(last.is_signed_by(secret) && last.is_signed_by(&newer));
    assert_eq!(last.message()["type"], "webhook.test");
    let renewed = api.ask(root, "PUT", &path, json!({ "overlap_s": 0 })).await;
    let newest = renewed.body["secret"].as_str().unwrap().to_owned();
    api.ask(root, "POST", &test, Value::Null).await;
    let last = receiver.heard().pop().unwrap();
    assert!(last.is_signed_by(&newest) && !last.is_signed_by(&newer) && !last.is_signed_by(secret));
    let wrong = api
        .ask(root, "PUT", &path, json!({ "overlap_s": 604_801 }))
        .await;
    expect(&wrong, 422, "overlap");
}

pub(crate) async fn what_is_refused_is_tried_again_until_it_is_dead_and_then_by_hand(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let receiver = Receiver::start(500).await;
    let (id, _) = hook(&api, &root, &home, &receiver, &["room.created"]).await;
    room(&api, &root, &home, "4200").await;
    let dead = deliveries(&api, &root, &id, "dead", 1).await;
    // At once, and after each of the two times that the configuration names.
    assert_eq!(dead[0]["attempts"], 3);
    assert_eq!(dead[0]["status"], 500);
    assert_eq!(dead[0]["problem"], "refused");
    let answer = dead[0]["answer"].as_str().unwrap();
    assert!(
        answer.starts_with("neinx") && answer.chars().count() == 200,
        "{answer}"
    );
    let heard = receiver.heard();
    assert_eq!(heard.len(), 3);
    let ids: Vec<&str> = heard
        .iter()
        .map(|heard| heard.header("webhook-id"))
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let hooked = api.get(&root, &format!("/webhooks/{id}")).await;
    assert_eq!(
        (&hooked["dead"], &hooked["waiting"]),
        (&json!(1), &json!(0))
    );
    assert!(hooked["failing_since_ms"].is_i64(), "{hooked}");
    // No redirection is followed.
    receiver.answers(302);
    room(&api, &root, &home, "4201").await;
    let dead = deliveries(&api, &root, &id, "dead", 2).await;
    assert_eq!(dead[0]["problem"], "redirected");
    assert!(
        receiver
            .heard()
            .iter()
            .all(|heard| heard.head.starts_with("POST /hooks/"))
    );
    receiver.answers(200);
    let path = format!(
        "/webhooks/{id}/deliveries/{}/retry",
        dead[1]["id"].as_str().unwrap()
    );
    let done = api.ask(&root, "POST", &path, Value::Null).await;
    assert_eq!(done.status, StatusCode::NO_CONTENT, "{done:?}");
    let delivered = deliveries(&api, &root, &id, "delivered", 1).await;
    assert_eq!(delivered[0]["id"], dead[1]["id"]);
    let again = api.ask(&root, "POST", &path, Value::Null).await;
    expect(&again, 409, "not_dead");
    let elsewhere = api
        .ask(&root, "POST", &path.replace("msg_", "msg_0"), Value::Null)
        .await;
    assert_eq!(elsewhere.status, StatusCode::NOT_FOUND);
    let hooked = api.get(&root, &format!("/webhooks/{id}")).await;
    assert_eq!(hooked["failing_since_ms"], Value::Null);
    let text = api.state.watch.exposition().await;
    for (outcome, count) in [("failed", 6), ("dead", 2), ("delivered", 1)] {
        let line = format!("consilium_webhook_deliveries_total{{outcome=\"{outcome}\"}} {count}");
        assert!(text.contains(&line), "{line}: {text}");
    }
}

pub(crate) async fn a_receiver_that_does_not_answer_delays_no_other(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let (silent, fine) = (Receiver::start(0).await, Receiver::start(200).await);
    for _ in 0..5 {
        hook(&api, &root, &home, &silent, &["room.created"]).await;
    }
    hook(&api, &root, &home, &fine, &["room.created"]).await;
    for number in ["4200", "4201", "4202"] {
        room(&api, &root, &home, number).await;
    }
    // Each silent one takes ten seconds for one message.
    let heard = timeout(Duration::from_secs(5), async {
        while fine.heard().len() < 3 {
            sleep(Duration::from_millis(10)).await;
        }
    });
    heard.await.expect("what is fine hears at once");
    until("each silent one is asked", async || {
        (silent.heard().len() == 5).then_some(())
    })
    .await;
    let text = api.state.watch.exposition().await;
    assert!(
        text.contains("\nconsilium_webhook_oldest_waiting_seconds "),
        "{text}"
    );
}

pub(crate) async fn a_hook_tells_what_its_maker_may_see_when_it_is_sent(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let here = api.organisation(&root, &home, "仁济").await;
    let there = api.organisation(&root, &home, "瑞金").await;
    let admin = "organisation_administrator";
    let boss_id = api.person(&root, &here, "boss", admin).await;
    let boss = api.log_in("boss").await;
    let receiver = Receiver::start(500).await;
    let (id, _) = hook(
        &api,
        &boss,
        &here,
        &receiver,
        &["room.created", "room.changed"],
    )
    .await;
    // It waits for another try when the room goes where its maker does not see it.
    let slow = "UPDATE deliveries SET next_ms = next_ms + 100000000, attempts = 1";
    let run = async |statement: &'static str| {
        let done = sqlx::query(statement)
            .execute(api.store.pool().unwrap())
            .await;
        done.unwrap().rows_affected()
    };
    room(&api, &root, &here, "4200").await;
    until("it waits", async || {
        (!receiver.heard().is_empty() && run(slow).await > 0).then_some(())
    })
    .await;
    receiver.answers(200);
    let moved = api
        .ask(
            &root,
            "PATCH",
            "/rooms/4200",
            json!({ "organisation": there }),
        )
        .await;
    assert_eq!(moved.status, StatusCode::OK);
    let told = receiver.heard().len();
    run("UPDATE deliveries SET state = 'waiting', next_ms = 0").await;
    api.state.webhooks.look();
    let withheld = deliveries(&api, &root, &id, "withheld", 1).await;
    assert_eq!(withheld[0]["type"], "room.created");
    assert_eq!(receiver.heard().len(), told, "nothing was sent");
    // Nobody else's organisation is heard of, and a hook of it cannot be made nor seen.
    room(&api, &root, &there, "4300").await;
    room(&api, &root, &here, "4201").await;
    until("the next one", async || {
        (receiver.heard().len() == told + 1).then_some(())
    })
    .await;
    others_are_hidden(&api, (&root, &boss), (&here, &there), &receiver.url).await;
    who_set_it_up_is_disabled(&api, &root, &receiver, (&here, &boss_id, &id)).await;
}

/// A hook of another organisation cannot be made nor seen, and what is not heard cannot be chosen.
async fn others_are_hidden(
    api: &Api,
    (root, boss): (&str, &str),
    (here, there): (&str, &str),
    url: &str,
) {
    let body = json!({ "organisation": there, "name": "x", "url": url, "types": ["room.created"] });
    let refused = api.ask(boss, "POST", "/webhooks", body.clone()).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND, "{refused:?}");
    let theirs = api.make(root, "/webhooks", body).await;
    let hidden = api
        .ask(boss, "GET", &format!("/webhooks/{theirs}"), Value::Null)
        .await;
    assert_eq!(hidden.status, StatusCode::NOT_FOUND);
    assert_eq!(
        api.get(boss, "/webhooks").await["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    // What is not heard cannot be chosen.
    let body = json!({ "organisation": here, "name": "x", "url": url, "types": ["process.away"] });
    let refused = api.ask(boss, "POST", "/webhooks", body).await;
    expect(&refused, 403, "system.view");
}

/// It stops, and says so, until somebody else answers for it.
async fn who_set_it_up_is_disabled(
    api: &Api,
    root: &str,
    receiver: &Receiver,
    (here, boss_id, id): (&str, &str, &str),
) {
    let path = format!("/people/{boss_id}");
    api.ask(root, "PATCH", &path, json!({ "disabled": true }))
        .await;
    room(api, root, here, "4202").await;
    is_state(api, root, id, "maker").await;
    let heard = receiver.heard().len();
    let noted = api.noted(root, "change").await;
    let stopped = noted
        .iter()
        .find(|entry| entry["object_kind"] == "webhook")
        .unwrap();
    assert_eq!(
        (&stopped["after"]["state"], &stopped["actor_name"]),
        (&json!("maker"), &json!("server"))
    );
    // Somebody else answers for it from now on, who hears by it what they may hear.
    let path = format!("/webhooks/{id}");
    let done = api
        .ask(root, "PATCH", &path, json!({ "enabled": true }))
        .await;
    assert_eq!(done.body["state"], "on", "{done:?}");
    until("what was missed is told", async || {
        (receiver.heard().len() == heard + 1).then_some(())
    })
    .await;
    assert_eq!(
        receiver.heard().pop().unwrap().message()["data"]["number"],
        "4202"
    );
}

pub(crate) async fn a_hook_that_a_token_made_goes_with_the_token(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let receiver = Receiver::start(200).await;
    let rights = [Right::WebhooksManage, Right::RoomsView];
    let token = api.token(&root, &rights).await;
    // It tells no more than the scope of the token.
    let body = json!({ "organisation": home, "name": "x", "url": receiver.url, "types": ["person.created"] });
    let refused = api.ask_by(&token, "POST", "/webhooks", body).await;
    expect(&refused, 403, "people.view");
    let (id, _) = hook(&api, &token, &home, &receiver, &["room.created"]).await;
    room(&api, &root, &home, "4200").await;
    until("it tells", async || {
        (receiver.heard().len() == 1).then_some(())
    })
    .await;
    let shown = api.get(&root, &format!("/webhooks/{id}")).await;
    assert_eq!(shown["by_token"], true);
    // Types are changed by somebody who may hear them, whose hook it is then.
    let path = format!("/webhooks/{id}");
    let types = json!({ "types": ["person.created"] });
    let refused = api.ask_by(&token, "PATCH", &path, types.clone()).await;
    expect(&refused, 403, "people.view");
    let tokens = api.get(&root, "/session/tokens").await;
    let revoke = format!("/session/tokens/{}", tokens[0]["id"].as_str().unwrap());
    api.ask(&root, "DELETE", &revoke, Value::Null).await;
    room(&api, &root, &home, "4201").await;
    is_state(&api, &root, &id, "maker").await;
    assert_eq!(receiver.heard().len(), 1);
    let done = api.ask(&root, "PATCH", &path, types).await;
    assert_eq!(
        (&done.body["by_token"], &done.body["state"]),
        (&json!(false), &json!("maker"))
    );
    // A name is changed without taking it over.
    let (id, _) = hook(&api, &root, &home, &receiver, &["room.created"]).await;
    api.person(&root, &home, "boss", "organisation_administrator")
        .await;
    let boss = api.log_in("boss").await;
    let path = format!("/webhooks/{id}");
    let before = api.get(&root, &path).await["maker"].clone();
    let named = api
        .ask(
            &boss,
            "PATCH",
            &path,
            json!({ "name": "y", "enabled": false }),
        )
        .await;
    assert_eq!(
        (&named.body["maker"], &named.body["state"]),
        (&before, &json!("off"))
    );
    let taken = api
        .ask(&boss, "PATCH", &path, json!({ "url": receiver.url }))
        .await;
    assert_ne!(taken.body["maker"], before);
}

pub(crate) async fn an_address_that_is_not_of_the_internet_is_refused(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let make = async |url: &str| {
        let body =
            json!({ "organisation": home, "name": "x", "url": url, "types": ["room.created"] });
        api.ask(&root, "POST", "/webhooks", body).await
    };
    for (url, code) in [
        ("https://127.0.0.2/", "webhook_address"),
        ("https://10.0.0.1/", "webhook_address"),
        ("https://[::ffff:7f00:2]/", "webhook_address"),
        ("https://169.254.169.254/", "webhook_address"),
        ("http://hooks.example/", "webhook_clear"),
        ("https://a:b@hooks.example/", "webhook_user"),
        ("gopher://hooks.example/", "webhook_url"),
    ] {
        let refused = make(url).await;
        expect(&refused, 422, code);
        assert_eq!(refused.body["pointer"], "/url");
    }
    let made = make("https://hooks.example/").await;
    assert_eq!(made.status, StatusCode::CREATED);
    let path = format!("/webhooks/{}", made.body["id"].as_str().unwrap());
    let changed = api
        .ask(
            &root,
            "PATCH",
            &path,
            json!({ "url": "https://127.0.0.2/" }),
        )
        .await;
    expect(&changed, 422, "webhook_address");
    // A row that says otherwise is not believed.
    sqlx::query("UPDATE webhooks SET url = 'https://127.0.0.2/'")
        .execute(api.store.pool().unwrap())
        .await
        .unwrap();
    let tried = api
        .ask(&root, "POST", &format!("{path}/test"), Value::Null)
        .await;
    assert_eq!(tried.body["problem"], "refused_address", "{tried:?}");
    // Nor is the secret of another hook.
    let receiver = Receiver::start(200).await;
    let (id, _) = hook(&api, &root, &home, &receiver, &["room.created"]).await;
    sqlx::query("UPDATE webhooks SET secret = (SELECT o.secret FROM webhooks o WHERE o.id <> $1) WHERE id = $1")
        .bind(&id)
        .execute(api.store.pool().unwrap())
        .await
        .unwrap();
    let tried = api
        .ask(&root, "POST", &format!("/webhooks/{id}/test"), Value::Null)
        .await;
    assert_eq!(tried.body["problem"], "secret", "{tried:?}");
    assert!(receiver.heard().is_empty());
}

pub(crate) async fn what_was_missed_is_told_and_a_gap_where_it_is_not_kept(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let receiver = Receiver::start(200).await;
    let (id, _) = hook(&api, &root, &home, &receiver, &["room.created"]).await;
    room(&api, &root, &home, "4200").await;
    until("it tells", async || {
        (receiver.heard().len() == 1).then_some(())
    })
    .await;
    let path = format!("/webhooks/{id}");
    api.ask(&root, "PATCH", &path, json!({ "enabled": false }))
        .await;
    room(&api, &root, &home, "4201").await;
    // Another life of the server.
    let api = api.reopened();
    room(&api, &root, &home, "4202").await;
    api.ask(&root, "PATCH", &path, json!({ "enabled": true }))
        .await;
    until("what was missed", async || {
        (receiver.heard().len() == 3).then_some(())
    })
    .await;
    let number = |heard: &Heard| heard.message()["data"]["number"].clone();
    let numbers: Vec<Value> = receiver.heard().iter().map(number).collect();
    assert_eq!(numbers, ["4200", "4201", "4202"]);
    deliveries(&api, &root, &id, "delivered", 3).await;
    // Of one room only, when it is so wanted.
    api.ask(
        &root,
        "PATCH",
        &path,
        json!({ "room": "4204", "enabled": false }),
    )
    .await;
    room(&api, &root, &home, "4203").await;
    sqlx::query("DELETE FROM events")
        .execute(api.store.pool().unwrap())
        .await
        .unwrap();
    room(&api, &root, &home, "4204").await;
    api.ask(&root, "PATCH", &path, json!({ "enabled": true }))
        .await;
    until("a gap and the next", async || {
        (receiver.heard().len() == 5).then_some(())
    })
    .await;
    assert_eq!(receiver.kinds()[3..], ["gap", "room.created"]);
    assert_eq!(number(&receiver.heard()[4]), "4204");
    // A receiver that wants no more is asked no more.
    receiver.answers(410);
    api.ask(&root, "PATCH", &path, json!({ "room": null }))
        .await;
    room(&api, &root, &home, "4205").await;
    is_state(&api, &root, &id, "gone").await;
    let retry = format!("{path}/deliveries/x/retry");
    let off = api.ask(&root, "POST", &retry, Value::Null).await;
    expect(&off, 409, "webhook_off");
    let removed = api.ask(&root, "DELETE", &path, Value::Null).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    let left = sqlx::query("SELECT id FROM deliveries")
        .fetch_all(api.store.pool().unwrap())
        .await;
    assert!(left.unwrap().is_empty());
}

pub(crate) async fn a_hook_is_switched_off_after_days_in_vain_and_there_are_so_many(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let receiver = Receiver::start(500).await;
    let (id, _) = hook(&api, &root, &home, &receiver, &["room.created"]).await;
    room(&api, &root, &home, "4200").await;
    deliveries(&api, &root, &id, "dead", 1).await;
    // Six days ago.
    sqlx::query("UPDATE webhooks SET failing_since_ms = failing_since_ms - 518400000")
        .execute(api.store.pool().unwrap())
        .await
        .unwrap();
    room(&api, &root, &home, "4201").await;
    is_state(&api, &root, &id, "failing").await;
    let text = api.state.watch.exposition().await;
    assert!(text.contains("\nconsilium_webhooks_stopped 1"), "{text}");
    let body = json!({ "organisation": home, "name": "x", "url": "https://hooks.example/", "types": ["room.created"] });
    for _ in 1..20 {
        api.make(&root, "/webhooks", body.clone()).await;
    }
    let refused = api.ask(&root, "POST", "/webhooks", body.clone()).await;
    expect(&refused, 409, "too_many_webhooks");
    let none = json!({ "types": [] });
    let refused = api
        .ask(&root, "PATCH", &format!("/webhooks/{id}"), none)
        .await;
    expect(&refused, 422, "webhook_types");
    let wrong = json!({ "types": ["room.exploded"] });
    let refused = api
        .ask(&root, "PATCH", &format!("/webhooks/{id}"), wrong)
        .await;
    assert_eq!(refused.body["pointer"], "/types/0", "{refused:?}");
}
