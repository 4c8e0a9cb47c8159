//! The first administrator, the record of what was done, and a database that goes away.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use benches::load::Load;
use serde_json::{Value, json};
use tests::client::{Client, PASSWORD, setup_secret};
use tests::postgres::Postgres;
use tests::server::{Server, binary};
use tests::terminal::{expect_heard, sending};
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn the_first_administrator_comes_by_a_link_that_only_the_servers_user_reads() {
    let server = Server::start(&[]);
    let secret = setup_secret(&server);
    let file = server.dir().join("data/first-administrator");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let root = Client::first(&server);
    assert_eq!(root.get("/session")["login"], "root");
    assert!(!file.exists(), "the link is good once");
    server.kill("manager");
    wait_for("the page is back", PATIENCE, || {
        server.get("/health").filter(|(status, _)| *status == 200)
    });
    assert_eq!(root.get("/session")["login"], "root", "the session goes on");
    assert!(!file.exists(), "no second administrator by a link");
    let log = server.log();
    assert!(log.contains("first-administrator"), "{log}");
    for secret in [&secret, PASSWORD, "管理员"] {
        assert!(!log.contains(secret), "{log}");
    }
}

/// What `consilium audit verify` says, and its exit status.
fn verify(server: &Server) -> (Option<i32>, String) {
    let output = Command::new(binary())
        .args(["audit", "verify", "--data-dir"])
        .arg(server.dir().join("data"))
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    (output.status.code(), said)
}

#[test]
fn a_record_is_verified_by_command_while_the_server_runs() {
    let server = Server::start(&[]);
    let root = Client::first(&server);
    let home = root.get("/session")["organisation"].clone();
    let hospital = json!({ "parent": home, "kind": "hospital", "name": "仁济" });
    root.make("/organisations", &hospital);
    let (status, said) = verify(&server);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("3 entries"), "{said}");
    let database = server.dir().join("data/consilium.db");
    let roles = |change: &str| {
        let output = Command::new("sqlite3").arg(&database).arg(change).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    roles("DELETE FROM role_rights WHERE role = 'student'");
    assert_eq!(verify(&server).0, Some(0));
    let left = roles("SELECT COUNT(*) FROM role_rights WHERE role = 'student'");
    assert_eq!(left.trim(), "0", "it changes nothing");
    let change = "UPDATE audit SET after_json = replace(after_json, '仁济', '瑞金') WHERE seq = 3";
    let spoilt = Command::new("sqlite3").arg(&database).arg(change).status();
    assert!(spoilt.unwrap().success());
    let (status, said) = verify(&server);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("entry 3 was changed"), "{said}");
}

#[test]
fn calls_go_on_while_the_database_is_away_and_sessions_when_it_is_back() {
    let postgres = Postgres::start();
    let url = postgres.database("consilium");
    let config = format!("demo = true\n[database]\nurl = \"{url}\"\n");
    let server = Server::configured(&config);
    let root = Client::first(&server);
    let load = Load::start().unwrap();
    let legs = [1, 2].map(|id| server.call(&load, sending(id)));
    server.wait_for_legs(2);
    expect_heard(&legs[0], &[2], &server);
    postgres.kill();
    let (status, said) = root.ask("GET", "/session", &Value::Null);
    assert_eq!((status, &said["code"]), (503, &json!("database_away")));
    // Neither these calls nor new ones need it.
    expect_heard(&legs[0], &[2], &server);
    let third = server.call(&load, sending(3));
    server.wait_for_legs(3);
    expect_heard(&third, &[1, 2], &server);
    assert_eq!(server.get("/health").map(|(status, _)| status), Some(200));
    postgres.resume();
    wait_for("the database is back", PATIENCE, || {
        let (status, said) = root.ask("GET", "/session", &Value::Null);
        (status == 200).then_some(said)
    });
    let (status, said) = root.ask("GET", "/people", &Value::Null);
    assert_eq!(status, 200, "{said}");
}

#[test]
fn a_server_starts_without_its_database_and_takes_it_when_it_comes() {
    let postgres = Postgres::start();
    let url = postgres.database("consilium");
    postgres.kill();
    let server = Server::configured(&format!("[database]\nurl = \"{url}\"\n"));
    let nobody = Client::new(&server, "nobody");
    let (status, said) = nobody.ask("GET", "/session", &Value::Null);
    assert_eq!(status, 401, "{said}");
    let body = json!({ "login": "root", "password": PASSWORD });
    let (status, said) = nobody.ask("POST", "/session", &body);
    assert_eq!((status, &said["code"]), (503, &json!("database_away")));
    postgres.resume();
    Client::first(&server);
}

/// What a command of ours says, and its exit status.
fn run(server: &Server, config: &str, words: &[&str]) -> (Option<i32>, String) {
    let file = server.dir().join("command.toml");
    std::fs::write(&file, config).unwrap();
    let output = Command::new(binary())
        .args(words)
        .arg("--config")
        .arg(file)
        .arg("--data-dir")
        .arg(server.dir().join("data"))
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// A copy made while the server runs is what was there at that moment, on this database.
fn drill(config: &str) {
    let mut server = Server::configured(config);
    let copy = server.dir().join("copy");
    let copy = copy.to_str().unwrap();
    let root = Client::first(&server);
    let home = root.get("/session")["organisation"].clone();
    let hospital = |name: &str| json!({ "parent": home, "kind": "hospital", "name": name });
    root.make("/organisations", &hospital("仁济"));
    root.token();
    let (status, said) = run(&server, config, &["backup", "--to", copy]);
    assert_eq!(status, Some(0), "{said}");
    let (status, said) = run(&server, config, &["backup", "--to", copy]);
    assert_eq!(status, Some(1), "nothing is written over: {said}");
    root.make("/organisations", &hospital("瑞金"));
    let (status, said) = run(&server, config, &["restore", "--from", copy]);
    assert_eq!(status, Some(1), "not while the server runs: {said}");
    let names = |root: &Client| -> Vec<String> {
        let list = root.get("/organisations");
        let items = list["items"].as_array().unwrap().iter();
        items
            .map(|o| o["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&root), ["华东", "仁济", "瑞金"]);
    server.stop();
    let (status, said) = run(&server, config, &["restore", "--from", "/dev/null"]);
    assert_eq!(status, Some(1), "{said}");
    let (status, said) = run(&server, config, &["restore", "--from", copy]);
    assert_eq!(status, Some(0), "{said}");
    let server = server.resume();
    // With the cookie of before.
    let (status, _) = wait_for("the database is ready", PATIENCE, || {
        let answer = Client::new(&server, "root").ask("GET", "/session", &Value::Null);
        (answer.0 != 503).then_some(answer)
    });
    assert_eq!(status, 401, "no session of the copy goes on");
    let root = Client::log_in(&server, "root");
    assert_eq!(names(&root), ["华东", "仁济"]);
    let tokens = root.get("/session/tokens");
    assert!(tokens[0]["revoked_ms"].is_i64(), "{tokens}");
    let (status, said) = run(&server, config, &["audit", "verify"]);
    assert_eq!(status, Some(0), "{said}");
    let mode = std::fs::metadata(copy).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_copy_of_sqlite_is_taken_back() {
    drill("[database]\n");
}

#[test]
fn a_copy_of_postgresql_is_taken_back() {
    let postgres = Postgres::start();
    let url = postgres.database("consilium");
    drill(&format!("[database]\nurl = \"{url}\"\n"));
}

#[test]
fn copies_are_made_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let server = Server::configured(&format!("[database]\nbackup_dir = \"{path}\"\n"));
    let copy = wait_for("a copy", PATIENCE, || {
        let names = std::fs::read_dir(dir.path()).unwrap().flatten();
        let mut whole = names
            .map(|e| e.path())
            .filter(|p| p.extension().is_some_and(|e| e == "db"));
        whole.next()
    });
    let people = Command::new("sqlite3")
        .arg(copy)
        .arg("SELECT COUNT(*) FROM roles")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(people.stdout).unwrap().trim(), "7");
    drop(server);
}
