//! The thread that sends and receives for all legs.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Instant;

use mcu_api::codec::AudioCodec;
use mio::{Events, Interest, Poll, Token, Waker};

use super::config::Report;
use super::leg::{Leg, News, Port};
use super::watch::{Job, Jobs};
use super::{Command, Handle, LoadError};

const WAKE: Token = Token(usize::MAX);

/// Sockets of a leg have consecutive tokens.
const TOKENS_PER_LEG: usize = 8;

/// A report without what takes time to find out: who asked does that.
pub(super) struct RawReport {
    pub(super) report: Report,
    pub(super) codec: Option<AudioCodec>,
    pub(super) payloads: VecDeque<Vec<u8>>,
}

struct Engine {
    poll: Poll,
    commands: Receiver<Command>,
    jobs: Jobs,
    legs: BTreeMap<u64, Leg>,
    /// Who waits for the answer to a call.
    waiting: HashMap<u64, Sender<Result<u64, LoadError>>>,
    next_id: u64,
    buffer: Vec<u8>,
}

/// Starts the thread.
pub(super) fn start(jobs: Jobs) -> Result<(Handle, JoinHandle<()>), LoadError> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
    let (sender, commands) = mpsc::channel();
    let mut engine = Engine {
        poll,
        commands,
        jobs,
        legs: BTreeMap::new(),
        waiting: HashMap::new(),
        next_id: 1,
        buffer: vec![0; 65_536],
    };
    let thread = std::thread::spawn(move || engine.run());
    Ok((
        Handle {
            commands: sender,
            waker,
        },
        thread,
    ))
}

impl Engine {
    fn run(&mut self) {
        let mut events = Events::with_capacity(256);
        loop {
            let due = self.legs.values().filter_map(Leg::poll_timeout).min();
            let timeout = due.map(|at| at.saturating_duration_since(Instant::now()));
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                return;
            }
            for event in &events {
                self.handle_readable(event.token());
            }
            while let Ok(command) = self.commands.try_recv() {
                if matches!(command, Command::Stop) {
                    self.stop();
                    return;
                }
                self.handle_command(command);
            }
            self.handle_timeout();
        }
    }

    fn handle_readable(&mut self, token: Token) {
        if token == WAKE {
            return;
        }
        let port = Port::ALL.get(token.0 % TOKENS_PER_LEG);
        let leg = self.legs.get_mut(&((token.0 / TOKENS_PER_LEG) as u64));
        if let (Some(&port), Some(leg)) = (port, leg) {
            leg.handle_readable(port, Instant::now(), &mut self.buffer, &self.jobs);
        }
    }

    fn handle_command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Call(leg, reply) => match self.add(*leg) {
                Ok(id) => {
                    self.waiting.insert(id, reply);
                }
                Err(error) => drop(reply.send(Err(error))),
            },
            Command::Pair(legs, reply) => {
                // Who asked may have given up; so for every reply.
                let _ = reply.send(self.pair(*legs, now));
            }
            Command::Report(id, reply) => self.report(id, reply, now),
            Command::Samples(id, reply) => self.jobs.push(Job::Samples { leg: id, reply }),
            Command::Recording(id, reply) => self.with(id, |leg| {
                let _ = reply.send(leg.take_recording());
            }),
            Command::Reset(id) => {
                self.with(id, |leg| leg.reset(now));
                self.jobs.push(Job::Reset { leg: id, now });
            }
            Command::AskKeyFrame(id) => self.with(id, |leg| leg.ask_key_frame(now)),
            Command::SetSending { leg, audio, video } => {
                self.with(leg, |leg| leg.set_sending(audio, video, now));
            }
            Command::OfferAgain { leg, hold } => {
                self.with(leg, |leg| leg.offer_again(now, hold));
            }
            Command::Press { leg, key } => self.with(leg, |leg| leg.press(now, key)),
            Command::HangUp(id) => self.with(id, |leg| leg.hang_up(now)),
            Command::Stop => {}
        }
    }

    fn with(&mut self, id: u64, act: impl FnOnce(&mut Leg)) {
        if let Some(leg) = self.legs.get_mut(&id) {
            act(leg);
        }
    }

    fn add(&mut self, mut leg: Leg) -> Result<u64, LoadError> {
        let id = self.next_id;
        self.next_id += 1;
        leg.id = id;
        for (i, port) in Port::ALL.into_iter().enumerate() {
            let token = Token(id as usize * TOKENS_PER_LEG + i);
            if let Some(socket) = leg.socket(port) {
                self.poll
                    .registry()
                    .register(socket, token, Interest::READABLE)?;
            }
        }
        if leg.watched() {
            self.jobs.push(Job::Open {
                leg: id,
                watch: leg.watch(),
                now: Instant::now(),
            });
        }
        self.legs.insert(id, leg);
        Ok(id)
    }

    fn pair(&mut self, (mut a, mut b): (Leg, Leg), now: Instant) -> Result<(u64, u64), LoadError> {
        Leg::join(&mut a, &mut b, now)?;
        Ok((self.add(a)?, self.add(b)?))
    }

    fn report(&self, id: u64, reply: Sender<RawReport>, now: Instant) {
        // Without a leg the reply is dropped, which tells.
        let Some(leg) = self.legs.get(&id) else {
            return;
        };
        let raw = leg.report(now);
        if leg.watched() {
            self.jobs.push(Job::Report {
                leg: id,
                raw: Box::new(raw),
                reply,
                now,
            });
        } else {
            let _ = reply.send(raw);
        }
    }

    fn handle_timeout(&mut self) {
        let now = Instant::now();
        let any_watched = self.legs.values().any(Leg::watched);
        let jobs = any_watched.then_some(&self.jobs);
        for (id, leg) in &mut self.legs {
            leg.handle_timeout(now, jobs);
            while let Some(news) = leg.poll_news(now) {
                let outcome = match news {
                    News::Answered => Ok(*id),
                    News::Ended(reason) => Err(LoadError::Refused(reason)),
                };
                if let Some(reply) = self.waiting.remove(id) {
                    leg.left |= outcome.is_err();
                    if reply.send(outcome).is_err() {
                        leg.hang_up(now);
                    }
                }
            }
        }
        self.forget();
    }

    fn forget(&mut self) {
        let done: Vec<u64> = self
            .legs
            .iter()
            .filter(|(_, leg)| leg.done())
            .map(|(&id, _)| id)
            .collect();
        for id in done {
            // Closing the sockets takes them out of the poll.
            self.legs.remove(&id);
            self.jobs.push(Job::Close { leg: id });
        }
    }

    /// Says goodbye once to every peer; nobody waits for the answers.
    fn stop(&mut self) {
        let now = Instant::now();
        for leg in self.legs.values_mut() {
            leg.hang_up(now);
            while leg.poll_news(now).is_some() {}
        }
    }
}
