//! The HTTP API as a program uses it, by curl: it owes nothing to our own code.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::server::Server;
use crate::wait_for;

/// A password that is accepted.
pub const PASSWORD: &str = "seven grey horses";

/// A program with a session of its own.
pub struct Client<'a> {
    server: &'a Server,
    jar: PathBuf,
}

impl<'a> Client<'a> {
    /// One that is not logged in. `name` tells it from others of this server.
    pub fn new(server: &'a Server, name: &str) -> Self {
        let jar = server.dir().join(format!("{name}.cookies"));
        Self { server, jar }
    }

    /// The first administrator, by the link that the server wrote.
    pub fn first(server: &'a Server) -> Self {
        let client = Self::new(server, "root");
        let secret = setup_secret(server);
        let body = json!({ "secret": secret, "organisation": "华东", "login": "root",
            "name": "管理员", "password": PASSWORD });
        let (status, answer) = client.ask("POST", "/setup", &body);
        assert_eq!(status, 204, "{answer}");
        client
    }

    /// Somebody who logs in, as soon as the database is ready, which calls do not wait for.
    pub fn log_in(server: &'a Server, login: &str) -> Self {
        let client = Self::new(server, login);
        let body = json!({ "login": login, "password": PASSWORD });
        wait_for("the database is ready", Duration::from_secs(20), || {
            let (status, answer) = client.ask("POST", "/session", &body);
            assert!([204, 503].contains(&status), "{status} {answer}");
            (status == 204).then_some(())
        });
        client
    }

    /// Asks; what was answered.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let page = self.server.url("");
        let origin = page.trim_end_matches('/');
        let mut command = Command::new("curl");
        command
            .args([
                "-sk",
                "--max-time",
                "20",
                "-w",
                "\n%{http_code}",
                "-X",
                method,
            ])
            .arg("-b")
            .arg(&self.jar)
            .arg("-c")
            .arg(&self.jar)
            .args(["-H", &format!("Origin: {origin}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if !body.is_null() {
            command.args([
                "-H",
                "Content-Type: application/json",
                "--data-binary",
                "@-",
            ]);
        }
        command.arg(self.server.url(&format!("/api/v1{path}")));
        let mut curl = command.spawn().expect("run curl");
        let mut stdin = curl.stdin.take().expect("its input");
        if !body.is_null() {
            stdin.write_all(body.to_string().as_bytes()).expect("write");
        }
        drop(stdin);
        let output = curl.wait_with_output().expect("wait for curl");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').expect("a status");
        let body = serde_json::from_str(body).unwrap_or(Value::Null);
        (status.parse().expect("a number"), body)
    }

    /// What is there.
    pub fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, &Value::Null);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Makes something; its id.
    pub fn make(&self, path: &str, body: &Value) -> String {
        let (status, made) = self.ask("POST", path, body);
        assert_eq!(status, 201, "{path}: {made}");
        made["id"].as_str().expect("an id").to_owned()
    }

    /// A token that may for a day do whatever its person may.
    pub fn token(&self) -> String {
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("a clock");
        let expires_ms = now.as_millis() as u64 + 24 * 60 * 60 * 1000;
        let rights = &self.get("/session")["rights"];
        let body = json!({ "name": "program", "rights": rights, "expires_ms": expires_ms,
            "password": PASSWORD });
        let (status, made) = self.ask("POST", "/session/tokens", &body);
        assert_eq!(status, 201, "{made}");
        made["token"].as_str().expect("a token").to_owned()
    }
}

/// The secret of the first administrator's link, once it is there.
pub fn setup_secret(server: &Server) -> String {
    let file = server.dir().join("data/first-administrator");
    wait_for("the first link", Duration::from_secs(20), || {
        let text = std::fs::read_to_string(&file).ok()?;
        let (_, secret) = text.trim().split_once("/setup#")?;
        Some(secret.to_owned())
    })
}
