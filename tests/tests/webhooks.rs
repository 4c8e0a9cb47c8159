//! Webhooks as another server takes them, which checks them by the library of the Standard Webhooks (ARC-16).

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use benches::load::Load;
use serde_json::{Value, json};
use tests::administrator::Administrator;
use tests::receiver::Receiver;
use tests::server::{Server, binary};
use tests::terminal::sending;
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(40);
const ROOM: &str = "4000";

/// The state of deliveries, newest first, once it is this.
fn deliveries(admin: &Administrator<'_>, hook: &Value, states: &[&str]) -> Vec<Value> {
    let path = format!("/webhooks/{}/deliveries", hook["id"].as_str().unwrap());
    wait_for(&format!("deliveries are {states:?}"), PATIENCE, || {
        let items = admin.get(&path)["items"].as_array().unwrap().clone();
        let is = items
            .iter()
            .map(|one| one["state"].as_str().unwrap())
            .eq(states.iter().copied());
        is.then_some(items)
    })
}

#[test]
fn another_server_is_told_of_a_call_and_of_what_it_missed() {
    let dir = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::new(dir.path());
    let config = dir.path().join("consilium.toml");
    let text = format!(
        "[webhooks]\nca = {:?}\nprivate_hosts = [\"localhost\"]\nretries_s = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n\
         [[rooms]]\nnumber = \"{ROOM}\"\nguests = true\n",
        dir.path().join("cert.pem")
    );
    fs::write(&config, text).unwrap();
    // What goes out is sent to nobody in between, whatever the environment says.
    let mut program = Command::new(binary());
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        program.env(name, "http://127.0.0.1:9");
    }
    let server = Server::start_as(&mut program, &["--config", config.to_str().unwrap()]);
    let admin = Administrator::first(&server);
    let hook = json!({ "organisation": admin.root(), "name": "接收方", "url": receiver.url("hooks"),
        "types": ["meeting.began", "meeting.ended", "room.created"] });
    let made = admin.make("/webhooks", &hook);
    receiver.knows(&made["secret"]);
    receiver.start();
    let load = Load::start().unwrap();
    let call = server.call_number(&load, ROOM, sending(1)).unwrap();
    receiver.hears(&["meeting.began"]);
    let began = receiver.heard().remove(0);
    assert_eq!(began["message"]["data"]["number"], ROOM);
    assert_eq!(began["path"], "/hooks");

    // It is away, and so is the manager, while things happen.
    receiver.end();
    let room = json!({ "organisation": admin.root(), "number": "5100", "name": "张三会诊" });
    admin.make("/rooms", &room);
    deliveries(&admin, &made, &["waiting", "delivered"]);
    server.kill("manager");
    drop(call);
    wait_for("the manager is back", PATIENCE, || {
        (server.get("/health")?.0 == 200).then_some(())
    });
    receiver.start();
    let path = format!("/webhooks/{}", made["id"].as_str().unwrap());
    wait_for("all of it is heard", PATIENCE, || {
        // At least once: a message that was being sent as the manager died may come again.
        let heard = receiver.heard();
        let mut ids: Vec<String> = heard.iter().map(|one| one["id"].to_string()).collect();
        ids.sort();
        ids.dedup();
        let all = ["meeting.began", "room.created", "meeting.ended"];
        let has = |kind: &&str| heard.iter().any(|one| one["message"]["type"] == **kind);
        (ids.len() == 3 && all.iter().all(has)).then_some(())
    });
    let heard = fs::read_to_string(dir.path().join("heard")).unwrap();
    assert!(
        !heard.contains("张三") && !heard.contains("管理员"),
        "{heard}"
    );
    renew(&server, &admin, &receiver, &made["secret"], &path);
}

/// A secret that is replaced counts for a while.
fn renew(
    server: &Server,
    admin: &Administrator<'_>,
    receiver: &Receiver,
    secret: &Value,
    path: &str,
) {
    let (status, renewed) = {
        let answer = admin.ask("PUT", &format!("{path}/secret"), &json!({}));
        (answer.status, answer.body)
    };
    assert_eq!(status, 200, "{renewed}");
    let tried = admin.ask("POST", &format!("{path}/test"), &Value::Null);
    assert_eq!(tried.body["delivered"], true, "{tried:?}");
    receiver.knows(&renewed["secret"]);
    let tried = admin.ask("POST", &format!("{path}/test"), &Value::Null);
    assert_eq!(tried.body["delivered"], true, "{tried:?}");
    assert_eq!(receiver.heard().pop().unwrap()["signatures"], 2);
    let log = server.log();
    for secret in [secret, &renewed["secret"]] {
        assert!(!log.contains(secret.as_str().unwrap()));
    }
}

#[test]
fn a_server_that_refuses_or_is_not_who_it_says_gets_dead_letters_and_one_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::new(dir.path());
    let config = |ca: &Path| {
        format!("[webhooks]\nca = {ca:?}\nprivate_hosts = [\"localhost\"]\nretries_s = [1]\n")
    };
    let server = Server::configured(&config(&dir.path().join("cert.pem")));
    let admin = Administrator::first(&server);
    let hook = |url: String| json!({ "organisation": admin.root(), "name": "接收方", "url": url, "types": ["role.created"] });
    let made = admin.make("/webhooks", &hook(receiver.url("hooks")));
    receiver.knows(&made["secret"]);
    receiver.answers(500);
    receiver.start();
    let role = json!({ "organisation": admin.root(), "name": "值班", "rights": ["rooms.view"] });
    admin.make("/roles", &role);
    let dead = deliveries(&admin, &made, &["dead"]);
    assert_eq!(
        (&dead[0]["status"], &dead[0]["attempts"]),
        (&json!(500), &json!(2))
    );
    assert_eq!(dead[0]["answer"], "not today");
    receiver.answers(307);
    admin.make("/roles", &role);
    let dead = deliveries(&admin, &made, &["dead", "dead"]);
    assert_eq!(dead[0]["problem"], "redirected");
    assert!(receiver.heard().iter().all(|one| one["path"] == "/hooks"));
    receiver.answers(200);
    let path = format!("/webhooks/{}", made["id"].as_str().unwrap());
    let retry = format!(
        "{path}/deliveries/{}/retry",
        dead[1]["id"].as_str().unwrap()
    );
    assert_eq!(admin.ask("POST", &retry, &Value::Null).status, 204);
    deliveries(&admin, &made, &["dead", "delivered"]);
    // The certificate is one of localhost alone, and the address one that is not named.
    let by_address = admin.ask(
        "POST",
        "/webhooks",
        &hook(format!("https://127.0.0.1:{}/", receiver.port)),
    );
    assert_eq!(by_address.body["code"], "webhook_address", "{by_address:?}");
    drop(server);

    let other = dir.path().join("other.pem");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    fs::write(&other, made.cert.pem()).unwrap();
    let server = Server::configured(&config(&other));
    let admin = Administrator::first(&server);
    let heard = receiver.heard().len();
    let made = admin.make("/webhooks", &hook_at(&admin, receiver.url("hooks")));
    let path = format!("/webhooks/{}/test", made["id"].as_str().unwrap());
    let tried = admin.ask("POST", &path, &Value::Null);
    assert_eq!(tried.body["problem"], "certificate", "{tried:?}");
    assert_eq!(receiver.heard().len(), heard);
}

fn hook_at(admin: &Administrator<'_>, url: String) -> Value {
    json!({ "organisation": admin.root(), "name": "接收方", "url": url, "types": ["role.created"] })
}
