//! Webhooks and shares as administrators of two hospitals use them by the page: another server hears what it
//! is told, and what it missed is sent again by hand; what is shared is seen on the other side, and no more
//! once that ends (ARC-16, MGT-05).

use std::process::Command;

use serde_json::{Value, json};
use tests::administrator::{Administrator, PASSWORD};
use tests::receiver::Receiver;
use tests::root;
use tests::server::Server;

#[test]
fn webhooks_and_shares_are_kept_in_english_by_mouse() {
    walk_through("en", "mouse");
}

#[test]
fn webhooks_and_shares_are_kept_in_chinese_by_keyboard_alone() {
    walk_through("zh", "keyboard");
}

fn walk_through(language: &str, way: &str) {
    let dir = tempfile::tempdir().expect("a folder");
    let mut receiver = Receiver::new(dir.path());
    receiver.start();
    let certificate = dir.path().join("cert.pem");
    let server = Server::configured(&format!(
        "[webhooks]\nca = {certificate:?}\nprivate_hosts = [\"localhost\"]\nretries_s = [1]\n"
    ));
    two_hospitals(&server);
    let output = Command::new("node")
        .arg(root().join("tests/browser/panels.mjs"))
        .args([&server.url(""), language, way, &receiver.url("hooks")])
        .arg(dir.path())
        .output()
        .expect("run Node");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{}", server.log());
    // What could not be said the first time came again as the same message, and nobody is named.
    let heard = receiver.heard();
    let dead = heard.iter().find(|one| one["status"] == 500).expect("one");
    let last = heard.iter().rfind(|one| one["id"] == dead["id"]).unwrap();
    assert_eq!(
        (&last["status"], &last["proved"]),
        (&json!(200), &json!(true))
    );
    assert_eq!(last["message"], dead["message"]);
    assert_eq!(last["message"]["type"], "role.created");
}

/// A room and an account of the west, and who administers the east.
fn two_hospitals(server: &Server) {
    let root = Administrator::first(server);
    let above = root.root();
    let id_of = |made: &Value| made["id"].as_str().expect("an id").to_owned();
    let hospital = |name: &str| {
        let new = json!({ "parent": above, "kind": "hospital", "name": name });
        id_of(&root.make("/organisations", &new))
    };
    let (east, west) = (hospital("东院"), hospital("西院"));
    root.make(
        "/rooms",
        &json!({ "organisation": west, "number": "4000", "name": "西院会诊" }),
    );
    root.make(
        "/rooms",
        &json!({ "organisation": east, "number": "2000", "name": "东院会诊" }),
    );
    root.make(
        "/accounts",
        &json!({ "organisation": west, "user": "or-west", "name": "西院手术室" }),
    );
    let zhao = json!({ "organisation": east, "login": "zhao", "name": "赵", "password": PASSWORD });
    let grants = format!("/people/{}/grants", id_of(&root.make("/people", &zhao)));
    let role = json!({ "role": "organisation_administrator", "organisation": east });
    root.make(&grants, &role);
}
