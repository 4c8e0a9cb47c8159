//! The load generator: many SIP legs in one process, each a terminal as the server sees it.
//!
//! Its SIP, SDP and RTP are its own, so that a mistake in the server's is not made twice. One thread
//! does all sending and receiving, one decodes for the legs that are watched; both own their state
//! and are asked by message.

mod call;
mod config;
mod dtls;
mod engine;
mod leg;
mod line;
mod recording;
mod repair;
mod rtp;
mod sdp;
mod srtp;
mod watch;

use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use config::{
    AudioConfig, AudioReport, FREEZE_MS, LegConfig, Percentiles, Repair, Report, SAMPLE_MARGIN,
    Sample, SentReport, Target, TileReport, VideoConfig, VideoReport, Watch,
};

use mcu_api::codec::PacketizationMode;

use crate::codec::CodecError;
use crate::{sound, tone};

/// How long a call may take to be answered.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// How often [`LoadLeg::wait_until`] looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(40);

/// Why a leg does not exist.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A socket could not be made.
    #[error("socket: {0}")]
    Socket(#[from] std::io::Error),
    /// The sound could not be encoded, or no decoder opened.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The call was refused or answered wrongly.
    #[error("call: {0}")]
    Refused(String),
    /// Nobody answered.
    #[error("call not answered within {} s", ANSWER_TIMEOUT.as_secs())]
    NoAnswer,
    /// The generator's thread is gone.
    #[error("the load generator has ended")]
    Ended,
}

/// The generator with its threads. Legs end with it.
pub struct Load {
    handle: Handle,
    threads: Vec<JoinHandle<()>>,
}

/// Wishes to the thread that sends and receives.
enum Command {
    Call(Box<leg::Leg>, Sender<Result<u64, LoadError>>),
    Pair(
        Box<(leg::Leg, leg::Leg)>,
        Sender<Result<(u64, u64), LoadError>>,
    ),
    Report(u64, Sender<engine::RawReport>),
    Samples(u64, Sender<Vec<Sample>>),
    Recording(u64, Sender<recording::Recording>),
    Reset(u64),
    AskKeyFrame(u64),
    SetSending {
        leg: u64,
        audio: bool,
        video: bool,
    },
    OfferAgain {
        leg: u64,
        hold: bool,
    },
    Press {
        leg: u64,
        key: char,
    },
    HangUp(u64),
    Stop,
}

/// Sends commands and wakes the thread that reads them.
#[derive(Clone)]
struct Handle {
    commands: Sender<Command>,
    waker: Arc<mio::Waker>,
}

impl Handle {
    fn send(&self, command: Command) -> Result<(), LoadError> {
        self.commands.send(command).map_err(|_| LoadError::Ended)?;
        Ok(self.waker.wake()?)
    }

    fn ask<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> Result<T, LoadError> {
        let (sender, receiver) = mpsc::channel();
        self.send(command(sender))?;
        receiver.recv().map_err(|_| LoadError::Ended)
    }
}

impl Load {
    /// Starts the threads.
    pub fn start() -> Result<Self, LoadError> {
        let (frames, decoder) = watch::start();
        let (handle, io) = engine::start(frames)?;
        Ok(Self {
            handle,
            threads: vec![io, decoder],
        })
    }

    /// Calls, and returns when the call is answered and media flows from this side.
    pub fn call(&self, target: &Target, config: LegConfig) -> Result<LoadLeg, LoadError> {
        let leg = Box::new(leg::Leg::calling(target, config)?);
        let (sender, receiver) = mpsc::channel();
        self.handle.send(Command::Call(leg, sender))?;
        let id = receiver
            .recv_timeout(ANSWER_TIMEOUT)
            .map_err(|_| LoadError::NoAnswer)??;
        Ok(LoadLeg {
            id,
            handle: self.handle.clone(),
        })
    }

    /// Two legs that send to each other without a server: the direct path.
    pub fn pair(&self, a: LegConfig, b: LegConfig) -> Result<(LoadLeg, LoadLeg), LoadError> {
        let legs = Box::new((leg::Leg::new(a)?, leg::Leg::new(b)?));
        let (a, b) = self.handle.ask(|sender| Command::Pair(legs, sender))??;
        let leg = |id| LoadLeg {
            id,
            handle: self.handle.clone(),
        };
        Ok((leg(a), leg(b)))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Threads that have ended already need no telling.
        let _ = self.handle.send(Command::Stop);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// RTP payloads of an access unit of H.264 in Annex B format, in packetization mode 1 (RFC 6184 §6.3).
pub fn h264_payloads(annex_b: &[u8]) -> Vec<Vec<u8>> {
    rtp::packetize(annex_b, PacketizationMode::NonInterleaved)
}

/// One leg in its call. Dropping it hangs up.
pub struct LoadLeg {
    id: u64,
    handle: Handle,
}

impl LoadLeg {
    /// As [`Load::call`].
    pub fn call(load: &Load, target: &Target, config: LegConfig) -> Result<Self, LoadError> {
        load.call(target, config)
    }

    /// What came and went since the start or the last reset.
    pub fn report(&self) -> Result<Report, LoadError> {
        let raw = self.handle.ask(|sender| Command::Report(self.id, sender))?;
        let mut report = raw.report;
        if let Some(codec) = raw.codec {
            let pcm = sound::decode(codec, &raw.payloads)?;
            report.audio.tones = tone::detect(&pcm, codec.sample_rate_hz());
        }
        Ok(report)
    }

    /// Starts all figures anew.
    pub fn reset(&self) -> Result<(), LoadError> {
        self.handle.send(Command::Reset(self.id))
    }

    /// Takes the tiles kept for [`Watch::Samples`].
    pub fn samples(&self) -> Result<Vec<Sample>, LoadError> {
        self.handle.ask(|sender| Command::Samples(self.id, sender))
    }

    /// Takes the sound recorded so far ([`LegConfig::records`]), at the codec's rate. What was lost is
    /// filled in as the codec does, or by silence.
    pub fn recording(&self) -> Result<Vec<i16>, LoadError> {
        let recording = self
            .handle
            .ask(|sender| Command::Recording(self.id, sender))?;
        Ok(sound::decode_with_gaps(
            recording.codec,
            &recording.packets,
        )?)
    }

    /// Asks the peer for a key frame by PLI.
    pub fn ask_key_frame(&self) -> Result<(), LoadError> {
        self.handle.send(Command::AskKeyFrame(self.id))
    }

    /// Sends audio and video, or stops sending them; both are sent at first.
    pub fn set_sending(&self, audio: bool, video: bool) -> Result<(), LoadError> {
        self.handle.send(Command::SetSending {
            leg: self.id,
            audio,
            video,
        })
    }

    /// Sends an offer within the call: the same once more, or with `hold` one that asks for no media.
    /// Until the one before it is settled, nothing happens. [`SentReport::offers_answered`] counts.
    pub fn offer_again(&self, hold: bool) -> Result<(), LoadError> {
        let leg = self.id;
        self.handle.send(Command::OfferAgain { leg, hold })
    }

    /// Presses a key. Until the one before it is answered, nothing happens.
    pub fn press(&self, key: char) -> Result<(), LoadError> {
        let leg = self.id;
        self.handle.send(Command::Press { leg, key })
    }

    /// Looks until the report is as wanted; the last report in either case.
    pub fn wait_until(
        &self,
        timeout: Duration,
        mut wanted: impl FnMut(&Report) -> bool,
    ) -> Result<Result<Report, Report>, LoadError> {
        let deadline = Instant::now() + timeout;
        loop {
            let report = self.report()?;
            if wanted(&report) {
                return Ok(Ok(report));
            }
            if Instant::now() >= deadline {
                return Ok(Err(report));
            }
            std::thread::park_timeout(LOOK_INTERVAL);
        }
    }

    /// Ends the call.
    pub fn hang_up(self) {
        drop(self);
    }
}

impl Drop for LoadLeg {
    fn drop(&mut self) {
        // Nothing to hang up when the generator is gone.
        let _ = self.handle.send(Command::HangUp(self.id));
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use mcu_api::codec::AudioCodec;

    use super::*;
    use crate::clip::{Clip, Config};
    use crate::codec::EncodeSettings;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn clip(id: u8) -> Arc<Clip> {
        let encode = EncodeSettings {
            width: 320,
            height: 180,
            bitrate_bps: 300_000,
            key_interval: 15,
            ..Default::default()
        };
        Arc::new(
            Clip::encode(&Config {
                id,
                frames: 30,
                encode,
            })
            .unwrap(),
        )
    }

    fn watching(id: u8) -> LegConfig {
        LegConfig {
            watch: Watch::Tiles,
            ..LegConfig::terminal(id, clip(id))
        }
    }

    /// Answers one INVITE with the caller's own description, so that it hears and sees itself, then
    /// returns the methods of all requests up to the BYE.
    fn mirror(socket: &UdpSocket) -> Vec<String> {
        let mut methods = Vec::new();
        let mut buffer = [0; 4_096];
        while methods.last().is_none_or(|method| method != "BYE") {
            let (len, from) = socket.recv_from(&mut buffer).unwrap();
            let text = std::str::from_utf8(&buffer[..len]).unwrap();
            let method = text.split(' ').next().unwrap().to_string();
            if method != "ACK" {
                let keep = [
                    "Via:", "From:", "To:", "Call-ID:", "CSeq:", "Contact:", "Content-",
                ];
                let (head, body) = text.split_once("\r\n\r\n").unwrap();
                let lines = head
                    .lines()
                    .filter(|l| keep.iter().any(|name| l.starts_with(name)));
                let head: String = lines.map(|line| format!("{line}\r\n")).collect();
                let answer = format!("SIP/2.0 200 OK\r\n{head}\r\n{body}");
                socket.send_to(answer.as_bytes(), from).unwrap();
            }
            methods.push(method);
        }
        methods
    }

    #[test]
    fn a_called_mirror_shows_the_leg_its_own_marker_and_tone() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let target = Target::number("3000", socket.local_addr().unwrap());
        let server = std::thread::spawn(move || mirror(&socket));
        let load = Load::start().unwrap();
        let leg = LoadLeg::call(&load, &target, watching(4)).unwrap();
        let report = leg
            .wait_until(PATIENCE, |r| {
                r.heard() == [4]
                    && r.tile(4)
                        .is_some_and(|t| t.fresh > 20 && t.delay.count > 20)
            })
            .unwrap()
            .unwrap();
        assert_eq!(
            (report.video.lost, report.video.undecoded, report.audio.lost),
            (0, 0, 0)
        );
        assert_eq!((report.video.width, report.video.height), (320, 180));
        assert_eq!(report.tile(4).unwrap().rect.width, 320);
        assert_eq!(report.ended, None);
        leg.hang_up();
        assert_eq!(server.join().unwrap(), ["INVITE", "ACK", "BYE"]);
    }

    #[test]
    fn two_legs_see_and_hear_each_other_under_sdes_keys() {
        let load = Load::start().unwrap();
        let with = |id| LegConfig {
            sdes: true,
            ..watching(id)
        };
        let (a, b) = load.pair(with(1), with(2)).unwrap();
        for (leg, other) in [(&a, 2), (&b, 1)] {
            let there = |r: &Report| {
                r.heard() == [other]
                    && r.tile(other).is_some_and(|tile| tile.fresh > 5)
                    && r.audio.cname.is_some()
            };
            leg.wait_until(PATIENCE, there).unwrap().unwrap();
        }
    }

    #[test]
    fn two_legs_see_and_hear_each_other_over_opus_and_a_shared_port() {
        let load = Load::start().unwrap();
        let with = |id| LegConfig {
            rtcp_mux: true,
            audio: Some(AudioConfig::codec(AudioCodec::Opus)),
            ..watching(id)
        };
        let (a, b) = load.pair(with(1), with(2)).unwrap();
        for (leg, other) in [(&a, 2), (&b, 1)] {
            let report = leg
                .wait_until(PATIENCE, |r| {
                    r.heard() == [other]
                        && r.tile(other).is_some_and(|tile| tile.fresh > 5)
                        && r.video.cname.is_some()
                })
                .unwrap()
                .unwrap();
            assert_eq!(report.video.cname, Some(format!("leg{other}@load")));
        }
        a.set_sending(false, false).unwrap();
        b.reset().unwrap();
        let silent = b
            .wait_until(PATIENCE, |r| r.seconds > 0.3)
            .unwrap()
            .unwrap();
        assert!(
            silent.video.frames <= 1 && silent.audio.packets <= 1,
            "{silent:?}"
        );
        // The sender answers a request for a key frame by jumping to one.
        b.ask_key_frame().unwrap();
        let asked = |r: &Report| r.sent.key_frame_requests == 1;
        a.wait_until(PATIENCE, asked).unwrap().unwrap();
    }

    #[test]
    fn nobody_there_is_told_at_once() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = Target::number("3000", socket.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let mut buffer = [0; 4_096];
            let (len, from) = socket.recv_from(&mut buffer).unwrap();
            let text = std::str::from_utf8(&buffer[..len]).unwrap();
            let refusal = text.replace("INVITE sip:", "SIP/2.0 404 Not Found\r\nX: ");
            socket.send_to(refusal.as_bytes(), from).unwrap();
        });
        let load = Load::start().unwrap();
        let refused = load.call(
            &target,
            LegConfig {
                video: None,
                ..watching(1)
            },
        );
        assert!(matches!(refused, Err(LoadError::Refused(reason)) if reason == "404 Not Found"));
        server.join().unwrap();
    }
}
