//! The first administrator, and whoever logs in: what they ask of the API, by curl.

use std::cell::Cell;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mcu_api::manager::RoomView;
use serde_json::{Value, json};

use crate::listener::Listener;
use crate::server::Server;
use crate::wait_for;

/// Password of everybody here.
pub const PASSWORD: &str = "seven grey horses";

/// A session.
pub struct Administrator<'a> {
    server: &'a Server,
    cookie: String,
    listeners: Cell<usize>,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// Status of HTTP.
    pub status: u16,
    /// Its JSON.
    pub body: Value,
    cookie: Option<String>,
}

impl<'a> Administrator<'a> {
    /// Uses the link of the data folder.
    pub fn first(server: &'a Server) -> Self {
        let file = server.dir().join("data/first-administrator");
        let link = wait_for("the link", Duration::from_secs(20), || {
            std::fs::read_to_string(&file).ok()
        });
        let (_, secret) = link.trim().split_once("/setup#").expect("a link");
        let body = json!({ "secret": secret, "organisation": "华东", "login": "root",
            "name": "管理员", "password": PASSWORD });
        Self::by(server, "/setup", &body)
    }

    /// Logs in.
    pub fn log_in(server: &'a Server, login: &str) -> Self {
        let body = json!({ "login": login, "password": PASSWORD });
        Self::by(server, "/session", &body)
    }

    fn by(server: &'a Server, path: &str, body: &Value) -> Self {
        let answer = ask(server, "", "POST", path, body);
        assert_eq!(answer.status, 204, "{answer:?}");
        let cookie = answer.cookie.expect("a session");
        let listeners = Cell::new(0);
        Self {
            server,
            cookie,
            listeners,
        }
    }

    /// The secret of the session.
    pub fn cookie(&self) -> &str {
        &self.cookie
    }

    /// Asks as the page does.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        ask(self.server, &self.cookie, method, path, body)
    }

    /// Asks for a file, which is written here when it is there; the status of HTTP.
    pub fn fetch(&self, path: &str, file: &Path) -> u16 {
        let session = format!("cookie: __Host-consilium={}", self.cookie);
        let mut curl = Command::new("curl");
        curl.args(["-sk", "--fail", "--max-time", "30", "-w", "%{http_code}"]);
        curl.args(["-H", &session, "-o"]).arg(file);
        let url = self.server.url(&format!("/api/v1{path}"));
        let output = curl.arg(url).output().expect("run curl");
        let status = String::from_utf8_lossy(&output.stdout).parse();
        status.expect("a status")
    }

    /// Asks for something that is there.
    pub fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, &Value::Null);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.body
    }

    /// Makes something.
    pub fn make(&self, path: &str, body: &Value) -> Value {
        let answer = self.ask("POST", path, body);
        assert_eq!(answer.status, 201, "{path}: {answer:?}");
        answer.body
    }

    /// Listens to events, from now on or behind the one of this id.
    pub fn listen(&self, query: &str, last: Option<&str>) -> Listener {
        let mut headers = vec![format!("cookie: __Host-consilium={}", self.cookie)];
        headers.extend(last.map(|id| format!("last-event-id: {id}")));
        let name = format!("events-{}", self.listeners.get());
        self.listeners.set(self.listeners.get() + 1);
        let url = self.server.url(&format!("/api/v1/events{query}"));
        let listener = Listener::start(&url, &headers, self.server.dir().join(name));
        wait_for("the stream is open", Duration::from_secs(20), || {
            listener.last_id()
        });
        listener
    }

    /// Id of the organisation at the root.
    pub fn root(&self) -> String {
        let me = self.get("/session");
        me["organisation"].as_str().expect("an id").to_owned()
    }

    /// Adds somebody at the root with this role.
    pub fn person(&self, login: &str, name: &str, role: &str) {
        let at = self.root();
        let new = json!({ "organisation": at, "login": login, "name": name, "password": PASSWORD });
        let made = self.make("/people", &new);
        let grants = format!("/people/{}/grants", made["id"].as_str().expect("an id"));
        self.make(&grants, &json!({ "role": role, "organisation": at }));
    }

    /// A room as it is now.
    pub fn room(&self, number: &str) -> RoomView {
        let room = self.get(&format!("/rooms/{number}"));
        serde_json::from_value(room).expect("RoomView")
    }
}

fn ask(server: &Server, cookie: &str, method: &str, path: &str, body: &Value) -> Answer {
    let origin = format!("origin: {}", server.url(""));
    let session = format!("cookie: __Host-consilium={cookie}");
    let url = server.url(&format!("/api/v1{path}"));
    let body = body.to_string();
    let mut curl = Command::new("curl");
    curl.args(["-sk", "-i", "--max-time", "30", "-X", method]);
    curl.args(["-H", &origin, "-H", &session]);
    if body != "null" {
        curl.args(["-H", "content-type: application/json", "-d", &body]);
    }
    let output = curl.arg(&url).output().expect("run curl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let cookie = head.lines().find_map(|line| {
        let pair = line.strip_prefix("set-cookie: __Host-consilium=")?;
        pair.split(';').next().map(str::to_owned)
    });
    Answer {
        status: status.unwrap_or_else(|| panic!("no answer: {text}\n{}", server.log())),
        body: serde_json::from_str(body).unwrap_or(Value::Null),
        cookie,
    }
}
