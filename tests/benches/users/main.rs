//! How long people wait for the API while a meeting runs, and what that takes from the meeting.
//!
//! `cargo bench --bench users`. Settings by environment: `CONSILIUM_BINARY` (a release binary; it is
//! built otherwise), `CONSILIUM_BENCH_USERS` (500), `CONSILIUM_BENCH_SECONDS` (60).
//!
//! Four terminals sit in a room, each with a CIF picture and a tone. First they are alone. Then
//! everybody is logged in, each with a session and a kept connection of their own, and asks for
//! something every five seconds on average: four of five as clinicians do, the others as
//! administrators do. Their CPU time, TLS included, comes from the same machine. Printed are the time
//! from asking to the whole answer by operation (what sets everybody up, logins too, is asked before,
//! one after the other), what each process costs, and what a terminal sees and hears before and
//! meanwhile. Then Chromium opens pages (`tests/browser/loading.mjs`). Figures are printed, never
//! asserted; an answer that is no success ends the bench with an error.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use benches::clip::{Clip, Config};
use benches::load::{LegConfig, Load, LoadLeg, Percentiles};
use benches::process::cpu_of;
use benches::server::{Server, binary};
use rand::Rng;
use reqwest::header::{COOKIE, HeaderMap, ORIGIN, SET_COOKIE};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

const PORTS: (u16, u16) = (12_000, 12_999);
const LEGS: u8 = 4;
/// The meeting alone.
const ALONE: Duration = Duration::from_secs(15);
/// From one request of a person to the next, on average.
const THINKING: Duration = Duration::from_secs(5);
/// People behind one address: more logins at once are refused to it.
const PER_SOURCE: usize = 20;
const PASSWORD: &str = "seven grey horses";
const PROCESSES: [&str; 3] = ["manager", "control", "media"];

/// Milliseconds by operation.
type Times = Arc<Mutex<BTreeMap<String, Vec<f64>>>>;

#[tokio::main]
async fn main() -> Result<()> {
    // Test runners start every target to ask what is in it.
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let users = setting("CONSILIUM_BENCH_USERS", 500)?;
    let span = Duration::from_secs(setting("CONSILIUM_BENCH_SECONDS", 60)? as u64);
    let server = Server::demo(&binary()?, PORTS)?;
    let load = Load::start()?;
    let legs = (1..=LEGS)
        .map(|id| server.call(&load, &terminal(id)?))
        .collect::<Result<Vec<_>>>()?;
    let times = Times::default();
    let hospital = Hospital::make(&server, &times, users).await?;
    let mut everybody = Vec::new();
    for n in 0..users {
        everybody.push(hospital.log_in(&format!("user{n}"), n).await?);
    }
    println!("{users} users are logged in; the meeting alone for {ALONE:?}");
    measure(&server, &legs[0], sleep(ALONE)).await?;
    println!("and with them for {span:?}");
    let until = Instant::now() + span;
    let mut tasks = JoinSet::new();
    for (n, user) in everybody.into_iter().enumerate() {
        tasks.spawn(user.work(n % 5 == 0, until));
    }
    let done = async {
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    };
    measure(&server, &legs[0], done).await??;
    print(&times);
    let root = hospital.log_in("user0", 0).await?;
    let status = Command::new("node")
        .arg(tests::root().join("tests/browser/loading.mjs"))
        .args([&hospital.base, &root.cookie, "3000"])
        .status()?;
    ensure!(status.success(), "pages are not loaded: {status}");
    drop(legs);
    server.end_well();
    Ok(())
}

fn setting(name: &str, usual: usize) -> Result<usize> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| name.to_owned()),
        Err(_) => Ok(usual),
    }
}

fn terminal(id: u8) -> Result<LegConfig> {
    let clip = Clip::load(&Config::cif(id))?;
    Ok(LegConfig::terminal(id, Arc::new(clip)))
}

/// Tells what the processes cost meanwhile, and what a terminal saw and heard.
async fn measure<T>(
    server: &Server,
    leg: &LoadLeg,
    meanwhile: impl Future<Output = T>,
) -> Result<T> {
    let cpu = || -> Result<Vec<Duration>> {
        let pids = PROCESSES.iter().map(|name| server.pid_of(name));
        pids.map(|pid| Ok(cpu_of(pid?))).collect()
    };
    leg.reset()?;
    let (begun, before) = (Instant::now(), cpu()?);
    let done = meanwhile.await;
    let (took, after) = (begun.elapsed().as_secs_f64(), cpu()?);
    for ((name, before), after) in PROCESSES.iter().zip(before).zip(after) {
        let share = (after - before).as_secs_f64() / took * 100.0;
        println!("  {name:8} {share:5.1} % of a core");
    }
    let report = leg.report()?;
    ensure!(report.ended.is_none(), "the call ended: {:?}", report.ended);
    println!(
        "  a terminal: {:.2} frames/s, longest pause {:.0} ms; sound: {} lost, {} gaps over 30 ms, \
         longest {:.0} ms",
        report.video.frame_rate,
        report.video.longest_gap_ms,
        report.audio.lost,
        report.audio.gaps_over_30_ms,
        report.audio.longest_gap_ms
    );
    Ok(done)
}

fn print(times: &Times) {
    let times = times
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    println!(
        "{:44} {:>6} {:>8} {:>8} {:>8}",
        "operation", "n", "median", "p95", "max"
    );
    for (name, figures) in times.iter() {
        let p = Percentiles::of(figures);
        println!(
            "{name:44} {:6} {:5.1} ms {:5.1} ms {:5.1} ms",
            p.count, p.median, p.p95, p.max
        );
    }
}

/// A hospital with a person for every user, made by its administrator.
struct Hospital {
    base: String,
    times: Times,
    people: Vec<String>,
}

impl Hospital {
    async fn make(server: &Server, times: &Times, users: usize) -> Result<Self> {
        let mut hospital = Self {
            base: format!("https://{}", server.http),
            times: times.clone(),
            people: Vec::new(),
        };
        let link = hospital.first_link(server).await?;
        let (_, secret) = link.trim().split_once("/setup#").context("a link")?;
        let body = json!({ "secret": secret, "organisation": "华东", "login": "root",
            "name": "管理员", "password": PASSWORD });
        let root = hospital.begin("/setup", &body, 0).await?;
        let home =
            root.ask("GET", "/session", "/session", Value::Null).await?["organisation"].clone();
        let body = json!({ "parent": home, "kind": "hospital", "name": "仁济" });
        let at = root.make("/organisations", body).await?;
        for n in 0..20 {
            let body =
                json!({ "organisation": at, "number": format!("41{n:02}"), "name": "会诊室" });
            root.ask("POST", "/rooms", "/rooms", body).await?;
        }
        for n in 0..users {
            let body = json!({ "organisation": at, "login": format!("user{n}"),
                "name": format!("李春{n}"), "password": PASSWORD });
            let id = root.make("/people", body).await?;
            let role = if n % 5 == 0 {
                "organisation_administrator"
            } else {
                "clinician"
            };
            let body = json!({ "role": role, "organisation": at });
            let path = format!("/people/{id}/grants");
            root.ask("POST", "/people/{id}/grants", &path, body).await?;
            hospital.people.push(id);
        }
        Ok(hospital)
    }

    async fn first_link(&self, server: &Server) -> Result<String> {
        let file = server.dir().join("data/first-administrator");
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match std::fs::read_to_string(&file) {
                Ok(link) => return Ok(link),
                Err(error) if Instant::now() > deadline => return Err(error.into()),
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn log_in(&self, login: &str, n: usize) -> Result<User> {
        let body = json!({ "login": login, "password": PASSWORD });
        self.begin("/session", &body, n).await
    }

    /// A session, from an address that it shares with few others.
    async fn begin(&self, path: &str, body: &Value, n: usize) -> Result<User> {
        let host = u8::try_from(n / PER_SOURCE + 2).context("too many users")?;
        let source = IpAddr::from(Ipv4Addr::new(127, 0, 1, host));
        let http = Client::builder()
            // It made its certificate itself.
            .danger_accept_invalid_certs(true)
            .local_address(source)
            .pool_idle_timeout(None)
            .build()?;
        let mut user = User {
            http,
            base: self.base.clone(),
            cookie: String::new(),
            times: self.times.clone(),
            person: self.people.get(n).cloned().unwrap_or_default(),
        };
        let (headers, _) = user.send("POST", path, path, body.clone()).await?;
        let cookie = headers.get(SET_COOKIE).context("a session")?;
        user.cookie = cookie
            .to_str()?
            .split(';')
            .next()
            .unwrap_or_default()
            .to_owned();
        Ok(user)
    }
}

/// Somebody who is logged in.
struct User {
    http: Client,
    base: String,
    cookie: String,
    times: Times,
    /// Its id.
    person: String,
}

impl User {
    /// Asks for this and that until then.
    async fn work(self, is_administrator: bool, until: Instant) -> Result<()> {
        loop {
            let pause = THINKING.mul_f64(rand::rng().random_range(0.0..2.0));
            if Instant::now() + pause >= until {
                return Ok(());
            }
            sleep(pause).await;
            let choice = rand::rng().random_range(0..10);
            match is_administrator {
                true => self.administer(choice).await?,
                false => self.look(choice).await?,
            };
        }
    }

    async fn look(&self, choice: u32) -> Result<Value> {
        match choice {
            0..4 => self.ask("GET", "/session", "/session", Value::Null).await,
            4..8 => self.ask("GET", "/rooms", "/rooms", Value::Null).await,
            8 => {
                self.ask("GET", "/organisations", "/organisations", Value::Null)
                    .await
            }
            _ => {
                self.ask("GET", "/rooms/{number}", "/rooms/4100", Value::Null)
                    .await
            }
        }
    }

    async fn administer(&self, choice: u32) -> Result<Value> {
        match choice {
            0..2 => {
                self.ask("GET", "/people?q", "/people?q=%E6%98%A51", Value::Null)
                    .await
            }
            2..4 => {
                self.ask("GET", "/audit", "/audit?limit=50", Value::Null)
                    .await
            }
            4..6 => {
                self.ask("GET", "/rooms/{number}", "/rooms/4100", Value::Null)
                    .await
            }
            6 => self.ask("GET", "/accounts", "/accounts", Value::Null).await,
            7 => {
                let path = format!("/people/{}", self.person);
                let body = json!({ "name": format!("李春{}", rand::rng().random_range(0..1000)) });
                self.ask("PATCH", "/people/{id}", &path, body).await
            }
            8 => {
                let body =
                    json!({ "name": format!("会诊室{}", rand::rng().random_range(0..1000)) });
                let room = format!("/rooms/41{:02}", rand::rng().random_range(0..20));
                self.ask("PATCH", "/rooms/{number}", &room, body).await
            }
            _ => self.ask("GET", "/people", "/people", Value::Null).await,
        }
    }

    async fn make(&self, path: &str, body: Value) -> Result<String> {
        let made = self.ask("POST", path, path, body).await?;
        Ok(made["id"].as_str().context("an id")?.to_owned())
    }

    async fn ask(&self, method: &str, name: &str, path: &str, body: Value) -> Result<Value> {
        Ok(self.send(method, name, path, body).await?.1)
    }

    /// Asks and waits for the whole answer.
    async fn send(
        &self,
        method: &str,
        name: &str,
        path: &str,
        body: Value,
    ) -> Result<(HeaderMap, Value)> {
        let url = format!("{}/api/v1{path}", self.base);
        let request = self
            .http
            .request(Method::from_bytes(method.as_bytes())?, url)
            .header(ORIGIN, &self.base)
            .header(COOKIE, &self.cookie);
        let request = match body.is_null() {
            true => request,
            false => request
                .header("content-type", "application/json")
                .body(body.to_string()),
        };
        let begun = Instant::now();
        let answer = request.send().await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = answer.text().await?;
        let took = begun.elapsed().as_secs_f64() * 1000.0;
        ensure!(status.is_success(), "{method} {path}: {status} {text}");
        let mut times = self
            .times
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        times
            .entry(format!("{method} {name}"))
            .or_default()
            .push(took);
        Ok((headers, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }
}
