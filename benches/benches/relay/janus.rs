//! Janus' video room, by its interface over unix sockets.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use benches::server::end;
use serde_json::{Value, json};

use super::load::Group;
use super::peer::{Lines, Offer, Peer};
use super::{Cameras, Forwards, MOST_PEOPLE};

const ROOM: u64 = 3_000;
/// Number of the first who sends; each other has the next.
const SENDER: u64 = 1;
const MEDIA_PORTS: &str = "22000-31999";
const PATIENCE: Duration = Duration::from_secs(20);
/// Threads that send: more of them cost more for each packet.
const EVENT_LOOPS: u32 = 2;

pub struct Janus {
    process: Child,
    socket: UnixDatagram,
    session: u64,
    requests: u64,
    dir: PathBuf,
}

impl Janus {
    pub fn start() -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("relay-janus-{}", std::process::id()));
        // One of an earlier round.
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir)?;
        write_config(&dir)?;
        let log = std::fs::File::create(dir.join("log"))?;
        let process = Command::new("janus")
            .arg("--configs-folder")
            .arg(&dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start janus (Debian's package janus)")?;
        let socket = UnixDatagram::bind(dir.join("own"))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut own = Self {
            process,
            socket,
            session: 0,
            requests: 0,
            dir,
        };
        own.reach()?;
        let made = own.ask(json!({ "janus": "create" }), |told| {
            told["janus"] == "success"
        })?;
        own.session = id_of(&made)?;
        Ok(own)
    }

    fn reach(&mut self) -> Result<()> {
        let start = Instant::now();
        while self.socket.connect(self.dir.join("janus")).is_err() {
            if start.elapsed() > PATIENCE || self.process.try_wait()?.is_some() {
                bail!("janus does not start, see {}", self.dir.display());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Sends a request and yields the first answer to it that is as wanted.
    fn ask(&mut self, mut request: Value, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        self.requests += 1;
        let transaction = self.requests.to_string();
        request["transaction"] = transaction.as_str().into();
        if self.session != 0 {
            request["session_id"] = self.session.into();
        }
        self.socket.send(request.to_string().as_bytes())?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let len = self.socket.recv(&mut buffer).context("janus answers")?;
            let told: Value = serde_json::from_slice(&buffer[..len])?;
            let failed =
                told["janus"] == "error" || told["plugindata"]["data"]["error"].is_string();
            if failed {
                bail!("janus refuses: {told}");
            }
            if told["transaction"] == transaction.as_str() && wanted(&told) {
                return Ok(told);
            }
        }
    }

    fn attach(&mut self) -> Result<u64> {
        let request = json!({ "janus": "attach", "plugin": "janus.plugin.videoroom" });
        id_of(&self.ask(request, |told| told["janus"] == "success")?)
    }

    /// Who sends these lines under this number.
    fn send(&mut self, feed: u64, lines: &Lines<'_>) -> Result<Peer> {
        let offer = Offer::new()?;
        let handle = self.attach()?;
        let body = json!({ "request": "joinandconfigure", "room": ROOM, "ptype": "publisher", "id": feed });
        let jsep = json!({ "type": "offer", "sdp": offer.sdp(lines)? });
        let told = self.say(handle, body, Some(jsep))?;
        let answer = told["jsep"]["sdp"].as_str();
        offer.connect(answer.context("an answer of janus")?)
    }

    /// Who sees these; and its handle.
    fn see(&mut self, feeds: &[u64]) -> Result<(u64, Peer)> {
        let handle = self.attach()?;
        let streams: Vec<Value> = feeds.iter().map(|feed| json!({ "feed": feed })).collect();
        let body = json!({
            "request": "join", "room": ROOM, "ptype": "subscriber", "streams": streams,
        });
        let start = Instant::now();
        let told = loop {
            match self.say(handle, body.clone(), None) {
                // Who sends is there a moment after its handshake.
                Err(why)
                    if why.to_string().contains("No such feed") && start.elapsed() < PATIENCE =>
                {
                    std::thread::sleep(Duration::from_millis(100));
                }
                told => break told?,
            }
        };
        let theirs = told["jsep"]["sdp"].as_str().context("an offer of janus")?;
        let offer = Offer::new()?;
        let jsep = json!({ "type": "answer", "sdp": offer.answer(theirs)? });
        let theirs = theirs.to_owned();
        self.say(handle, json!({ "request": "start" }), Some(jsep))?;
        Ok((handle, offer.connect(&theirs)?))
    }

    fn say(&mut self, handle: u64, body: Value, jsep: Option<Value>) -> Result<Value> {
        let mut request = json!({ "janus": "message", "handle_id": handle, "body": body });
        if let Some(jsep) = jsep {
            request["jsep"] = jsep;
        }
        self.ask(request, |told| told["janus"] == "event")
    }
}

fn write_config(dir: &std::path::Path) -> Result<()> {
    let socket = dir.join("janus");
    let files = [
        (
            "janus.jcfg",
            format!(
                "general: {{ configs_folder = \"{}\" debug_level = 3 event_loops = {EVENT_LOOPS} \
                 session_timeout = 0 }}\n\
                 media: {{ rtp_port_range = \"{MEDIA_PORTS}\" ipv6 = false }}\n\
                 nat: {{ ice_lite = true }}\n\
                 transports: {{ disable = \"libjanus_http.so,libjanus_websockets.so,libjanus_rabbitmq.so,\
                 libjanus_mqtt.so,libjanus_nanomsg.so\" }}\n\
                 loggers: {{ }}\n",
                dir.display()
            ),
        ),
        (
            "janus.transport.pfunix.jcfg",
            format!(
                "general: {{ enabled = true json = \"compact\" path = \"{}\" type = \"SOCK_DGRAM\" }}\n",
                socket.display()
            ),
        ),
        (
            "janus.plugin.videoroom.jcfg",
            format!(
                "room-{ROOM}: {{ description = \"relay\" publishers = {MOST_PEOPLE} bitrate = 0 videocodec = \"h264\" \
                 audiocodec = \"opus\" notify_joining = false }}\n"
            ),
        ),
    ];
    for (name, text) in files {
        std::fs::write(dir.join(name), text)?;
    }
    Ok(())
}

fn id_of(told: &Value) -> Result<u64> {
    told["data"]["id"].as_u64().context("an id")
}

impl Forwards for Janus {
    const NAME: &'static str = "Janus";

    fn pids(&self) -> Result<[Option<u32>; 2]> {
        Ok([Some(self.process.id()), None])
    }

    fn publish(&mut self) -> Result<Peer> {
        self.send(SENDER, &Lines::alone("sendonly", false))
    }

    fn view(&mut self) -> Result<Peer> {
        Ok(self.see(&[SENDER])?.1)
    }

    fn meet(&mut self, people: usize, cameras: &Cameras, group: &Group) -> Result<String> {
        let feeds: Vec<u64> = (SENDER..).take(people).collect();
        for (person, feed) in feeds.iter().enumerate() {
            // From the highest on, as Janus takes them.
            let lines = Lines {
                layers: &["h", "m", "l"],
                ..Lines::alone("sendonly", false)
            };
            group.add(self.send(*feed, &lines)?, cameras.streams(person))?;
        }
        let mut suite = String::new();
        for own in &feeds {
            let others = feeds.iter().copied().filter(|feed| feed != own);
            let (handle, viewer) = self.see(&others.collect::<Vec<u64>>())?;
            let streams = (0..people - 1).map(|mid| {
                let substream = if mid == 0 { 2 } else { 0 };
                json!({ "mid": mid.to_string(), "substream": substream })
            });
            let streams: Vec<Value> = streams.collect();
            self.say(
                handle,
                json!({ "request": "configure", "streams": streams }),
                None,
            )?;
            suite = viewer.suite();
            group.add(viewer, Vec::new())?;
        }
        Ok(suite)
    }
}

impl Drop for Janus {
    fn drop(&mut self) {
        end(&mut self.process);
        // A folder left behind does no harm.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
