//! Our side: browsers enter by the socket on which the controller hears managers.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use benches::server::Server;
use mcu_api::frame::{self, Decoder};
use mcu_api::ids::ConnId;
use mcu_api::manager::{BrowserMessage, FromControl, ServerMessage, SlotSize, ToControl};
use mcu_api::secret::Redacted;

use super::load::Group;
use super::peer::{Lines, Offer, Peer, slot_mids};
use super::{Cameras, Forwards, LOW, TALL};

const MEDIA_PORTS: (u16, u16) = (21_000, 21_399);
const ROOM: &str = "3000";
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Consilium {
    server: Server,
    control: UnixStream,
    decoder: Decoder,
    conns: u64,
}

impl Consilium {
    pub fn start(binary: &Path, viewers: usize) -> Result<Self> {
        let legs = viewers + 10;
        let config = format!(
            "[limits]\nprocessors = 64\nlegs = {legs}\nlegs_per_room = {legs}\n\
             [[rooms]]\nnumber = \"{ROOM}\"\nguests = true\n"
        );
        let server = Server::configured(binary, MEDIA_PORTS, &config)?;
        let control = reach(&server.dir().join("data/run/control.sock"))?;
        control.set_read_timeout(Some(PATIENCE))?;
        let mut own = Self {
            server,
            control,
            decoder: Decoder::default(),
            conns: 0,
        };
        own.wait(|message| {
            matches!(message, FromControl::Media { ready: true, .. }).then_some(())
        })?;
        Ok(own)
    }

    /// Says something as the page that came last.
    fn say(&mut self, message: BrowserMessage) -> Result<()> {
        let said = ToControl::Browser {
            conn: ConnId(self.conns),
            source: None,
            person: None,
            invited: None,
            message,
        };
        Ok(self.control.write_all(&frame::encode(&said)?)?)
    }

    /// Enters as another page; yields the answer to its offer.
    fn enter(&mut self, sdp: String) -> Result<String> {
        self.conns += 1;
        let conn = ConnId(self.conns);
        self.say(BrowserMessage::Join {
            room: ROOM.into(),
            name: Redacted(format!("viewer {}", self.conns)),
            sdp: Some(Redacted(sdp)),
            answer_ufrag: None,
            resume: None,
            audio_muted: true,
            video_muted: false,
            pin: None,
            guest: None,
            roster_changes: true,
        })?;
        self.wait(|message| match message {
            FromControl::Server { conn: to, message } if to == conn => match message {
                ServerMessage::Joined { sdp, .. } => Some(sdp.map(|sdp| sdp.0)),
                ServerMessage::Refused { .. } => Some(None),
                _ => None,
            },
            _ => None,
        })?
        .context("the server lets in")
    }

    fn wait<T>(&mut self, wanted: impl Fn(FromControl) -> Option<T>) -> Result<T> {
        let start = Instant::now();
        let mut buffer = vec![0; 1 << 18];
        while start.elapsed() < PATIENCE {
            while let Some(message) = self.decoder.next_message()? {
                if let Some(found) = wanted(message) {
                    return Ok(found);
                }
            }
            let len = self.control.read(&mut buffer)?;
            if len == 0 {
                bail!("the controller closed the connection");
            }
            self.decoder.push(&buffer[..len]);
        }
        bail!("the controller does not answer")
    }
}

/// The page may be there before the controller is.
fn reach(socket: &Path) -> Result<UnixStream> {
    let start = Instant::now();
    loop {
        match UnixStream::connect(socket) {
            Err(_) if start.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(50)),
            reached => return reached.context("the controller"),
        }
    }
}

impl Forwards for Consilium {
    const NAME: &'static str = "Consilium";

    fn pids(&self) -> Result<[Option<u32>; 2]> {
        let [media, control] = ["media", "control"].map(|name| self.server.pid_of(name));
        Ok([Some(media?), Some(control?)])
    }

    fn publish(&mut self) -> Result<Peer> {
        let offer = Offer::new()?;
        let answer = self.enter(offer.sdp(&Lines::alone("sendonly", true))?)?;
        offer.connect(&answer)
    }

    fn view(&mut self) -> Result<Peer> {
        let offer = Offer::new()?;
        let answer = self.enter(offer.sdp(&Lines::alone("recvonly", true))?)?;
        offer.connect(&answer)
    }

    fn meet(&mut self, people: usize, cameras: &Cameras, group: &Group) -> Result<String> {
        let mut suite = String::new();
        for person in 0..people {
            let offer = Offer::new()?;
            let lines = Lines {
                layers: &["l", "m", "h"],
                slots: people - 1,
                ..Lines::alone("sendonly", true)
            };
            let answer = self.enter(offer.sdp(&lines)?)?;
            let peer = offer.connect(&answer)?;
            let sizes = slot_mids(people - 1).enumerate().map(|(n, mid)| SlotSize {
                mid,
                height: if n == 0 { TALL } else { LOW },
            });
            self.say(BrowserMessage::Sizes {
                slots: sizes.collect(),
            })?;
            suite = peer.suite();
            group.add(peer, cameras.streams(person))?;
        }
        Ok(suite)
    }
}
