//! Metrics are what Prometheus takes, are true while calls begin, go on and end, and name nobody; the
//! rules and the dashboard ask for nothing else (WS/T 545: MGT-04; MCU-22).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use benches::load::{Load, LoadError};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::administrator::{Administrator, PASSWORD};
use tests::process::free_port;
use tests::server::Server;
use tests::terminal::sending;
use tests::{root, wait_for};

const PATIENCE: Duration = Duration::from_secs(20);

/// A server that tells metrics, and makes copies of its database.
struct Watched {
    server: Server,
    port: u16,
    _copies: tempfile::TempDir,
}

impl Watched {
    fn start() -> Self {
        let port = free_port();
        let copies = tempfile::tempdir().unwrap();
        let server = Server::configured(&format!(
            "demo = true\n[metrics]\nlisten = \"127.0.0.1:{port}\"\n[audit]\nsyslog = \"tls://127.0.0.1:9\"\n[database]\nbackup_dir = {:?}\n",
            copies.path()
        ));
        Self {
            server,
            port,
            _copies: copies,
        }
    }

    /// What is answered in clear: its status and body.
    fn get(&self, path: &str) -> (u16, String) {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let words = ["-s", "--max-time", "10", "-w", "\n%{http_code}", &url];
        let output = Command::new("curl").args(words).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        // 000 where nobody listens.
        (status.parse().unwrap(), body.to_owned())
    }

    fn scrape(&self) -> Scrape {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        Scrape::read(text)
    }

    /// Scrapes until it is as wanted.
    fn wait(&self, what: &str, wanted: impl Fn(&Scrape) -> bool) -> Scrape {
        wait_for(what, PATIENCE, || Some(self.scrape()).filter(&wanted))
    }
}

/// What was told once.
struct Scrape {
    text: String,
    samples: BTreeMap<String, f64>,
}

impl Scrape {
    fn read(text: String) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        let samples = samples.collect();
        Self { text, samples }
    }

    fn get(&self, name: &str) -> Option<f64> {
        self.samples.get(name).copied()
    }

    fn names(&self) -> BTreeSet<&str> {
        let names = self.samples.keys();
        names
            .map(|sample| sample.split('{').next().unwrap())
            .collect()
    }
}

const INCOMING: &str = "kind=\"terminal\",direction=\"incoming\"";

/// A metric of calls, its labels in the order in which they are told.
fn calls(scrape: &Scrape, name: &str, labels: &[&str]) -> Option<f64> {
    let sample = scrape.samples.iter().find(|(sample, _)| {
        let told = sample
            .strip_prefix(name)
            .filter(|rest| rest.starts_with('{'));
        told.is_some_and(|told| labels.iter().all(|label| told.contains(label)))
    });
    sample.map(|(_, value)| *value)
}

fn terminals(scrape: &Scrape, name: &str) -> Option<f64> {
    let labels: Vec<&str> = INCOMING.split(',').collect();
    calls(scrape, name, &labels)
}

fn promtool(words: &[&str], input: &str) {
    let mut child = Command::new("promtool")
        .args(words)
        .current_dir(folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run promtool");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {said}");
}

fn folder() -> PathBuf {
    root().join("docs/guide/prometheus")
}

/// Names of our metrics in a text.
fn asked_for(text: &str) -> BTreeSet<&str> {
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let words = text.split(|c| !is_name(c));
    words
        .filter(|word| word.starts_with("consilium_"))
        .collect()
}

/// Every expression of the dashboard.
fn expressions(panel: &Value, found: &mut Vec<String>) {
    match panel {
        Value::Object(map) => {
            if let Some(Value::String(expression)) = map.get("expr") {
                found.push(expression.clone());
            }
            map.values().for_each(|value| expressions(value, found));
        }
        Value::Array(all) => all.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

#[test]
fn metrics_are_true_while_calls_go_on_and_the_rules_and_the_dashboard_know_them_all() {
    let watched = Watched::start();
    let server = &watched.server;
    let admin = Administrator::first(server);
    let load = Load::start().unwrap();
    let first = server.call(&load, sending(1));
    let second = server.call(&load, sending(2));
    let in_room = "two terminals are in the room";
    watched.wait(in_room, |told| {
        terminals(told, "consilium_legs") == Some(2.0)
    });
    let refused = server.call_number(&load, "4999", sending(3));
    assert!(matches!(refused, Err(LoadError::Refused(_))));
    server.wait_for_legs(2);

    let sum = || {
        let legs = server.room().unwrap().legs;
        legs.iter().map(|leg| leg.received.packets).sum::<u64>() as f64
    };
    let received = "consilium_media_packets_total{direction=\"received\"}";
    let before = sum();
    let told = watched.wait("media has told of all packets", |told| {
        told.get(received) >= Some(before)
    });
    wait_for("the room's own figures come up to it", PATIENCE, || {
        (Some(sum()) >= told.get(received)).then_some(())
    });
    assert_eq!(told.get("consilium_rooms"), Some(1.0));
    assert_eq!(terminals(&told, "consilium_calls_begun_total"), Some(2.0));
    let why = "reason=\"no_such_room\"";
    assert_eq!(
        calls(&told, "consilium_calls_failed_total", &[why]),
        Some(1.0)
    );
    for name in ["manager", "control", "media"] {
        let of = |metric: &str| told.get(&format!("{metric}{{process=\"{name}\"}}"));
        assert_eq!(of("consilium_process_up"), Some(1.0), "{name}");
        assert_eq!(of("consilium_process_restarts_total"), Some(0.0), "{name}");
        assert!(of("consilium_process_memory_bytes") > Some(1e6), "{name}");
    }

    nobody_is_named(&watched, &admin);
    first.hang_up();
    second.hang_up();
    calls_end_and_are_counted(&watched, told.get(received));
    promtool_and_files_agree(&watched);
}

/// What is told is taken by Prometheus without a word of complaint, and the rules and the dashboard ask
/// for nothing that is not told.
fn promtool_and_files_agree(watched: &Watched) {
    // A manager signs what was written before it, at once.
    watched.server.kill("manager");
    wait_for("it is back", PATIENCE, || {
        let answer = watched.server.get("/health")?;
        (answer.0 == 200).then_some(())
    });
    Administrator::log_in(&watched.server, "root");
    let told = watched.wait("all that there may be", |told| {
        told.names().contains("consilium_audit_signed_entries")
            && told.get("consilium_backup_timestamp_seconds") > Some(0.0)
            && told.names().contains("consilium_media_packets_total")
    });
    promtool(&["check", "metrics"], &told.text);
    promtool(&["check", "rules", "consilium.rules.yml"], "");
    promtool(&["check", "config", "prometheus.yml"], "");
    promtool(&["test", "rules", "consilium.rules.test.yml"], "");
    let read = |name: &str| std::fs::read_to_string(folder().join(name)).unwrap();
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    let mut asked = Vec::new();
    expressions(&dashboard, &mut asked);
    assert!(asked.len() > 30, "{asked:?}");
    syntax_is_right(&asked);
    asked.push(read("consilium.rules.yml"));
    let text = asked.join("\n");
    let (asked, told) = (asked_for(&text), told.names());
    let unknown: Vec<_> = asked.difference(&told).collect();
    assert!(unknown.is_empty(), "nobody tells {unknown:?}");
    // And nothing is told that nobody looks at.
    let suffixes = ["_sum", "_count"];
    let unseen: Vec<_> = told
        .difference(&asked)
        .filter(|name| !suffixes.iter().any(|suffix| name.ends_with(suffix)))
        .collect();
    assert!(unseen.is_empty(), "nothing shows {unseen:?}");
}

/// Expressions of a dashboard as rules, which promtool reads.
fn syntax_is_right(expressions: &[String]) {
    let dir = tempfile::tempdir().unwrap();
    let rules: Vec<Value> = expressions
        .iter()
        .enumerate()
        .map(|(n, expression)| json!({ "record": format!("panel:{n}"), "expr": expression }))
        .collect();
    let groups = json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    let file = dir.path().join("rules.json");
    std::fs::write(&file, groups.to_string()).unwrap();
    promtool(&["check", "rules", Path::to_str(&file).unwrap()], "");
}

/// Neither who logs in nor who calls, nor which room, nor an address.
fn nobody_is_named(watched: &Watched, admin: &Administrator<'_>) {
    let server = &watched.server;
    admin.person("li.chun", "李春", "clinician");
    Administrator::log_in(server, "li.chun");
    let legs = server.room().unwrap().legs;
    let names: Vec<String> = legs.into_iter().map(|leg| leg.site.name.0).collect();
    assert!(names.iter().all(|name| !name.is_empty()), "{names:?}");
    let mut words = vec![
        "li.chun",
        "李春",
        "root",
        PASSWORD,
        "3000",
        "4999",
        "127.0.0.1",
    ];
    words.extend(names.iter().map(String::as_str));
    let told = watched.scrape();
    let labels: String = told.samples.keys().map(String::as_str).collect();
    for word in words {
        assert!(!labels.contains(word), "{word} in:\n{labels}");
    }
    let login = "method=\"password\",outcome=\"logged_in\"";
    let logins = told.get(&format!("consilium_logins_total{{{login}}}"));
    assert_eq!(logins, Some(1.0));

    // By the page's port nobody reads them without a proof.
    let (status, _) = server.get("/api/v1/metrics").unwrap();
    assert_eq!(status, 401);
    assert_eq!(admin.ask("GET", "/metrics", &Value::Null).status, 200);
}

fn calls_end_and_are_counted(watched: &Watched, packets: Option<f64>) {
    let told = watched.wait("nobody is in a room", |told| {
        terminals(told, "consilium_legs") == Some(0.0) && told.get("consilium_rooms") == Some(0.0)
    });
    let why = "reason=\"hung_up_there\"";
    let ended = calls(&told, "consilium_calls_ended_total", &[why]);
    assert_eq!(ended, Some(2.0), "{}", told.text);
    let received = "consilium_media_packets_total{direction=\"received\"}";
    assert!(told.get(received) >= packets, "a counter went back");
}

#[test]
fn a_process_that_dies_or_hangs_shows_in_metrics_and_health() {
    let watched = Watched::start();
    let server = &watched.server;
    let ready = |path: &str| watched.get(path).0 == 200;
    wait_for("all is ready", PATIENCE, || {
        let (status, body) = watched.get("/health/ready");
        (status == 200 && body.contains("\"status\":\"ready\"")).then_some(())
    });
    server.kill("media");
    watched.wait("media was started again", |told| {
        told.get("consilium_process_restarts_total{process=\"media\"}") == Some(1.0)
            && told.get("consilium_process_up{process=\"media\"}") == Some(1.0)
    });

    let control = Pid::from_raw(server.pid_of("control"));
    kill(control, Signal::SIGSTOP).unwrap();
    wait_for("the controller is known to hang", PATIENCE, || {
        let hangs = !ready("/health/ready/control") && !ready("/health/live/control");
        hangs.then_some(())
    });
    assert!(!ready("/health/ready") && ready("/health/live"));
    let up = "consilium_process_up{process=\"control\"}";
    assert_eq!(watched.scrape().get(up), Some(0.0));
    kill(control, Signal::SIGCONT).unwrap();
    wait_for("it is back", PATIENCE, || {
        (ready("/health/ready/control") && ready("/health/ready")).then_some(())
    });
}
