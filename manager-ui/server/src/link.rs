//! The connection to the controller. One task owns it, and the table of browsers: browsers and API
//! handlers send it [`Command`]s through a [`Link`]; it comes back by itself when the controller does.

mod presence;

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mcu_api::directory::{Directory, Held, TrunkState};
use mcu_api::figures::Control;
use mcu_api::frame::{self, Decoder, FrameError};
use mcu_api::ids::{ConnId, LegId, RoomId};
use mcu_api::manager::{
    Beyond, BrowserMessage, ControlOutcome, DialOutcome, FromControl, Invited, LegAction, Person,
    RoomView, ServerMessage, ToControl, TransferOutcome, Visit,
};
use mcu_api::secret::Redacted;
use mcu_api::still::Still;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::{info, warn};

pub(crate) use presence::{Presence, Processes};

/// Commands on their way to the task. Full: the sender waits, so that a browser that floods is
/// slowed by its own TCP connection.
const COMMANDS: usize = 64;
/// Frames on their way to the controller. Full: no further command is taken.
const FRAMES: usize = 64;
/// Messages on their way to one browser. Full: the browser is disconnected, and comes back.
const TO_BROWSER: usize = 64;
/// A controller that does not read for so long is taken for gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// For what the controller has said already when the manager ends.
const LAST_WORDS: Duration = Duration::from_millis(100);
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_millis(400);

/// Handle on the task, for handlers.
#[derive(Clone)]
pub(crate) struct Link {
    commands: mpsc::Sender<Command>,
    upstream: watch::Receiver<Upstream>,
    directory: watch::Sender<Option<Arc<Directory>>>,
    held: watch::Receiver<Held>,
    tells: watch::Receiver<Tells>,
    meetings: watch::Receiver<Meetings>,
    processes: watch::Receiver<Processes>,
    next_conn: Arc<AtomicU64>,
}

/// What a controller answers when it is asked; an older one does not know all of it.
#[derive(Clone, Copy, Debug, Default)]
struct Tells {
    figures: bool,
    trunks: bool,
    stills: bool,
}

/// What there is behind the manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upstream {
    /// No controller.
    ControlAway,
    /// A controller without media processor.
    MediaAway,
    /// All that a call needs.
    Ready,
}

/// Meetings by the number of the room, as the controller says; `None` while it does not.
pub(crate) type Meetings = Option<BTreeMap<String, mcu_api::manager::Meeting>>;

/// What is said to one browser's task. The end of the queue without `Close` means: too slow.
#[derive(Debug)]
pub(crate) enum ToBrowser {
    Say(ServerMessage),
    Close(Closing),
}

/// Why a browser's connection is closed by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// The controller said so.
    Told,
    /// The controller went away, or we do: the page shall come back.
    Restart,
}

/// The controller cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error("the controller is away")]
pub(crate) struct Away;

/// The controller did not answer.
#[derive(Debug, thiserror::Error)]
#[error("the controller did not answer")]
pub(crate) struct Unanswered {
    /// It may have heard the question.
    pub asked: bool,
}

impl From<Unanswered> for Away {
    fn from(_: Unanswered) -> Self {
        Self
    }
}

/// The task. [`Task::run`] never returns while a [`Link`] exists.
pub(crate) struct Task {
    socket: PathBuf,
    commands: mpsc::Receiver<Command>,
    upstream: watch::Sender<Upstream>,
    /// What the controller is to go by, said when it is there and after each change.
    directory: watch::Receiver<Option<Arc<Directory>>>,
    /// What it goes by, as it said last.
    held: watch::Sender<Held>,
    tells: watch::Sender<Tells>,
    /// Meetings, as it said last.
    meetings: watch::Sender<Meetings>,
    processes: watch::Sender<Processes>,
    /// It tells of meetings, and was not asked to yet.
    must_watch: bool,
    browsers: HashMap<ConnId, mpsc::Sender<ToBrowser>>,
    requests: HashMap<u64, oneshot::Sender<FromControl>>,
    next_request: u64,
}

/// A question, once it has its number; none where whoever asked has given up before.
type Question = Box<dyn FnOnce(u64) -> Option<ToControl> + Send>;

enum Command {
    Open {
        conn: ConnId,
        queue: mpsc::Sender<ToBrowser>,
    },
    Message {
        conn: ConnId,
        source: IpAddr,
        person: Option<Person>,
        invited: Option<Invited>,
        message: Box<BrowserMessage>,
    },
    Gone {
        conn: ConnId,
    },
    Ask {
        question: Question,
        answer: oneshot::Sender<FromControl>,
    },
    Part,
}

#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("connection: {0}")]
    Io(#[from] io::Error),
    #[error("the controller closed the connection")]
    Closed,
    #[error("the controller does not read")]
    Stalled,
    #[error("the manager ends")]
    Parted,
    #[error("the controller speaks version {0}")]
    Version(u16),
    // The error of the JSON parser quotes what it read, which may be a name: it is not kept.
    #[error("the controller sent what is no message")]
    Nonsense,
}

impl From<FrameError> for LinkError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Version(version) => Self::Version(version),
            FrameError::TooLong(_) | FrameError::Body(_) => Self::Nonsense,
        }
    }
}

/// The task for the controller's socket and a handle on it.
pub(crate) fn new(socket: PathBuf) -> (Link, Task) {
    let (sender, commands) = mpsc::channel(COMMANDS);
    let (upstream, seen) = watch::channel(Upstream::ControlAway);
    let (wanted, directory) = watch::channel(None);
    let (held, told) = watch::channel(Held::default());
    let (tells, told_of) = watch::channel(Tells::default());
    let (meetings, seen_meetings) = watch::channel(None);
    let (processes, seen_processes) = watch::channel(Processes::default());
    let link = Link {
        commands: sender,
        upstream: seen,
        directory: wanted,
        held: told,
        tells: told_of,
        meetings: seen_meetings,
        processes: seen_processes,
        next_conn: Arc::new(AtomicU64::new(1)),
    };
    let task = Task {
        socket,
        commands,
        upstream,
        directory,
        held,
        tells,
        meetings,
        processes,
        must_watch: false,
        browsers: HashMap::new(),
        requests: HashMap::new(),
        next_request: 1,
    };
    (link, task)
}

impl Link {
    /// What there is behind the manager.
    pub(crate) fn upstream(&self) -> Upstream {
        *self.upstream.borrow()
    }

    /// Whether the controller is there.
    pub(crate) fn is_connected(&self) -> bool {
        self.upstream() != Upstream::ControlAway
    }

    /// Tells whether all is there that a call needs: once it is, and at each change. That it was away
    /// for a moment is told by saying again that it is there.
    pub(crate) async fn tell_ready(mut self, mut tell: impl FnMut(bool)) -> Infallible {
        let mut told = false;
        loop {
            let ready = *self.upstream.borrow_and_update() == Upstream::Ready;
            if ready || told {
                tell(ready);
            }
            told = ready;
            if self.upstream.changed().await.is_err() {
                // The task is gone, so nothing will ever change.
                return std::future::pending().await;
            }
        }
    }

    /// Leaves the controller for good: every browser hears what was said to it last, and then that
    /// it is to come back.
    pub(crate) async fn part(&self) {
        let _ = self.send(Command::Part).await;
    }

    /// Announces a browser; what the controller says to it comes out of the receiver.
    pub(crate) async fn open(&self) -> Result<(ConnId, mpsc::Receiver<ToBrowser>), Away> {
        let conn = ConnId(self.next_conn.fetch_add(1, Ordering::Relaxed));
        let (queue, receiver) = mpsc::channel(TO_BROWSER);
        self.send(Command::Open { conn, queue }).await?;
        Ok((conn, receiver))
    }

    /// Passes on what a browser at `source` says, and who is there or by which link, where it counts.
    pub(crate) async fn message(
        &self,
        conn: ConnId,
        source: IpAddr,
        (person, invited): (Option<Person>, Option<Invited>),
        message: BrowserMessage,
    ) -> Result<(), Away> {
        let command = Command::Message {
            conn,
            source,
            person,
            invited,
            message: Box::new(message),
        };
        self.send(command).await
    }

    /// A browser is gone.
    pub(crate) async fn gone(&self, conn: ConnId) -> Result<(), Away> {
        self.send(Command::Gone { conn }).await
    }

    /// Asks the controller for a room; `Ok(None)` when there is none with this number.
    pub(crate) async fn room(
        &self,
        number: String,
        wait: Duration,
    ) -> Result<Option<RoomView>, Away> {
        let question = |request| ToControl::GetRoom { request, number };
        match self.ask(wait, question).await? {
            FromControl::Room { room, .. } => Ok(room),
            _ => Err(Away),
        }
    }

    /// Asks the controller for the picture of a meeting, and which one it is, and has it go on to make some.
    pub(crate) async fn still(
        &self,
        number: String,
        wait: Duration,
    ) -> Result<Option<(Option<RoomId>, Still)>, Away> {
        if !self.tells.borrow().stills {
            return Err(Away);
        }
        let question = |request| ToControl::GetStill { request, number };
        match self.ask(wait, question).await? {
            FromControl::Still { meeting, still, .. } => Ok(still.map(|still| (meeting, still))),
            _ => Err(Away),
        }
    }

    /// Asks the controller who is in by a login or by a link.
    pub(crate) async fn visits(&self, wait: Duration) -> Result<Vec<Visit>, Away> {
        let question = |request| ToControl::GetVisits { request };
        match self.ask(wait, question).await? {
            FromControl::Visits { visits, .. } => Ok(visits),
            _ => Err(Away),
        }
    }

    /// Whether the controller is there and says what it does.
    pub(crate) fn tells_figures(&self) -> bool {
        self.tells.borrow().figures
    }

    /// Asks the controller what it does.
    pub(crate) async fn figures(&self, wait: Duration) -> Result<Control, Away> {
        if !self.tells_figures() {
            return Err(Away);
        }
        let question = |request| ToControl::GetFigures { request };
        match self.ask(wait, question).await? {
            FromControl::Figures { figures, .. } => Ok(*figures),
            _ => Err(Away),
        }
    }

    /// Asks the controller how the trunks do.
    pub(crate) async fn trunks(&self, wait: Duration) -> Result<Vec<TrunkState>, Away> {
        if !self.tells.borrow().trunks {
            return Err(Away);
        }
        let question = |request| ToControl::GetTrunks { request };
        match self.ask(wait, question).await? {
            FromControl::Trunks { trunks, .. } => Ok(trunks),
            _ => Err(Away),
        }
    }

    /// Has the controller do something to a leg.
    pub(crate) async fn control(
        &self,
        room: String,
        leg: LegId,
        action: LegAction,
        wait: Duration,
    ) -> Result<ControlOutcome, Away> {
        let question = move |request| ToControl::Control {
            request,
            room,
            leg,
            action,
        };
        match self.ask(wait, question).await? {
            FromControl::Controlled { outcome, .. } => Ok(outcome),
            _ => Err(Away),
        }
    }

    /// Has a room call somebody; answered once the callee has answered, or will not.
    pub(crate) async fn dial(
        &self,
        room: String,
        (target, beyond): (String, Beyond),
        wait: Duration,
    ) -> Result<DialOutcome, Unanswered> {
        let question = |request| ToControl::Dial {
            request,
            room,
            target,
            beyond,
        };
        match self.ask(wait, question).await? {
            FromControl::Dialled { outcome, .. } => Ok(outcome),
            _ => Err(Unanswered { asked: true }),
        }
    }

    /// Has a terminal go on elsewhere; answered once it says how it fares there, or will not.
    pub(crate) async fn transfer(
        &self,
        room: String,
        leg: LegId,
        target: Redacted<String>,
        wait: Duration,
    ) -> Result<TransferOutcome, Away> {
        let question = move |request| ToControl::Transfer {
            request,
            room,
            site: Redacted(leg.0.to_string()),
            leg: Some(leg),
            target,
        };
        match self.ask(wait, question).await? {
            FromControl::Transferred { outcome, .. } => Ok(outcome),
            _ => Err(Away),
        }
    }

    async fn ask(
        &self,
        wait: Duration,
        question: impl FnOnce(u64) -> ToControl + Send + 'static,
    ) -> Result<FromControl, Unanswered> {
        let (answer, answered) = oneshot::channel();
        // Whoever is first: it is put into words when it is about to be sent, and not at all once it was
        // given up.
        let settled = Arc::new(AtomicBool::new(false));
        let begun = settled.clone();
        let question: Question = Box::new(move |request| {
            let is_given_up = begun.swap(true, Ordering::Relaxed);
            (!is_given_up).then(|| question(request))
        });
        let told = timeout(wait, async {
            self.send(Command::Ask { question, answer }).await.ok()?;
            answered.await.ok()
        });
        told.await.ok().flatten().ok_or_else(|| Unanswered {
            asked: settled.swap(true, Ordering::Relaxed),
        })
    }

    /// Has the controller go by this directory, now and whenever it comes back.
    pub(crate) fn direct(&self, directory: Directory) {
        self.directory.send_replace(Some(Arc::new(directory)));
    }

    /// Returns once the controller goes by a directory of this generation or a later one.
    pub(crate) async fn holds(&self, generation: u64) {
        let mut held = self.held.clone();
        // The sender lives as long as the task, and the task as long as the server.
        let _ = held.wait_for(|held| held.generation >= generation).await;
    }

    /// Returns with the generation of the directory that the controller goes by once that is later
    /// than this one.
    pub(crate) async fn holds_later(&self, generation: u64) -> u64 {
        let mut held = self.held.clone();
        let later = held.wait_for(|held| held.generation > generation).await;
        match later.map(|held| held.generation) {
            Ok(generation) => generation,
            Err(_) => std::future::pending().await,
        }
    }

    /// Meetings as the controller says, now and at each change.
    pub(crate) fn meetings(&self) -> watch::Receiver<Meetings> {
        self.meetings.clone()
    }

    /// Which processes are there, now and at each change.
    pub(crate) fn processes(&self) -> watch::Receiver<Processes> {
        self.processes.clone()
    }

    async fn send(&self, command: Command) -> Result<(), Away> {
        self.commands.send(command).await.map_err(|_| Away)
    }
}

impl Task {
    /// Keeps the connection, again and again.
    pub(crate) async fn run(mut self) {
        let mut retry = FIRST_RETRY;
        loop {
            match UnixStream::connect(&self.socket).await {
                Ok(stream) => {
                    retry = FIRST_RETRY;
                    info!("connected to the controller");
                    // Until it tells of the media processor.
                    self.upstream.send_replace(Upstream::MediaAway);
                    self.processes.send_modify(|all| all.control.set(true));
                    let Err(error) = self.serve(stream).await;
                    self.upstream.send_replace(Upstream::ControlAway);
                    self.tells.send_replace(Tells::default());
                    self.forget();
                    self.drop_everybody();
                    if matches!(error, LinkError::Parted) {
                        self.refuse().await;
                    }
                    warn!(%error, "lost the controller");
                }
                Err(error) => report_unreachable(&self.socket, &error, retry),
            }
            self.refuse_for(retry).await;
            retry = (retry * 2).min(LAST_RETRY);
        }
    }

    /// Reads and writes until the connection is lost.
    async fn serve(&mut self, stream: UnixStream) -> Result<Infallible, LinkError> {
        let (reader, writer) = stream.into_split();
        let (frames, queue) = mpsc::channel(FRAMES);
        // To this controller it is news.
        self.directory.mark_changed();
        tokio::select! {
            lost = self.route(reader, frames) => lost,
            lost = write(writer, queue) => lost,
        }
    }

    async fn route(
        &mut self,
        mut reader: OwnedReadHalf,
        frames: mpsc::Sender<Vec<u8>>,
    ) -> Result<Infallible, LinkError> {
        let mut decoder = Decoder::default();
        let mut bytes = vec![0; 65_536];
        loop {
            tokio::select! {
                // A command is taken only when its frame has room, so none is lost here.
                (permit, command) = next_command(&frames, &mut self.commands) => {
                    if let Command::Part = command {
                        let last = self.hear_out(&mut reader, &mut decoder);
                        let _ = timeout(LAST_WORDS, last).await;
                        return Err(LinkError::Parted);
                    }
                    if let Some(message) = self.translate(command) {
                        permit?.send(frame::encode(&message)?);
                    }
                }
                (permit, directory) = next_directory(&frames, &mut self.directory) => {
                    if let Some(directory) = directory {
                        let message = ToControl::Directory(Directory::clone(&directory));
                        permit?.send(frame::encode(&message)?);
                    }
                }
                permit = frames.reserve(), if self.must_watch => {
                    self.must_watch = false;
                    let permit = permit.map_err(|_| LinkError::Closed)?;
                    permit.send(frame::encode(&ToControl::WatchMeetings)?);
                }
                read = reader.read(&mut bytes) => {
                    self.take(&mut decoder, bytes.get(..read?).unwrap_or_default())?;
                }
            }
        }
    }

    /// Reads until the controller closes the connection.
    async fn hear_out(
        &mut self,
        reader: &mut OwnedReadHalf,
        decoder: &mut Decoder,
    ) -> Result<Infallible, LinkError> {
        let mut bytes = vec![0; 65_536];
        loop {
            let n = reader.read(&mut bytes).await?;
            self.take(decoder, bytes.get(..n).unwrap_or_default())?;
        }
    }

    /// Delivers what was read.
    fn take(&mut self, decoder: &mut Decoder, bytes: &[u8]) -> Result<(), LinkError> {
        if bytes.is_empty() {
            return Err(LinkError::Closed);
        }
        decoder.push(bytes);
        while let Some(message) = decoder.next_message()? {
            self.deliver(message);
        }
        Ok(())
    }

    /// Notes what a command changes here, and gives what the controller is to be told.
    fn translate(&mut self, command: Command) -> Option<ToControl> {
        match command {
            Command::Open { conn, queue } => {
                self.browsers.insert(conn, queue);
                None
            }
            Command::Message {
                conn,
                source,
                person,
                invited,
                message,
            } => self
                .browsers
                .contains_key(&conn)
                .then_some(ToControl::Browser {
                    conn,
                    source: Some(source),
                    person: person.map(Box::new),
                    invited: invited.map(Box::new),
                    message: *message,
                }),
            // A browser that the controller closed, or never heard of, is not reported again.
            Command::Gone { conn } => self
                .browsers
                .remove(&conn)
                .map(|_| ToControl::BrowserGone { conn }),
            Command::Ask { question, answer } => {
                self.requests.retain(|_, waiting| !waiting.is_closed());
                let request = self.next_request;
                let question = question(request)?;
                self.next_request += 1;
                self.requests.insert(request, answer);
                Some(question)
            }
            // Looked for where commands are received.
            Command::Part => None,
        }
    }

    fn deliver(&mut self, message: FromControl) {
        match message {
            FromControl::Room { request, .. }
            | FromControl::Dialled { request, .. }
            | FromControl::Visits { request, .. }
            | FromControl::Figures { request, .. }
            | FromControl::Still { request, .. }
            | FromControl::Trunks { request, .. }
            | FromControl::Controlled { request, .. }
            | FromControl::Transferred { request, .. } => {
                if let Some(answer) = self.requests.remove(&request) {
                    // Whoever asked may have given up meanwhile.
                    let _ = answer.send(message);
                }
            }
            FromControl::Directory(held) => {
                self.held.send_replace(held);
            }
            FromControl::Server { conn, message } => {
                let Some(queue) = self.browsers.get(&conn) else {
                    return;
                };
                let sent = queue.try_send(ToBrowser::Say(message));
                if matches!(sent, Err(mpsc::error::TrySendError::Full(_))) {
                    warn!(%conn, "browser reads too slowly, disconnected");
                    // The entry stays until its task reports `Gone`, which the controller is told.
                    self.browsers.insert(conn, mpsc::channel(1).0);
                }
            }
            FromControl::Close { conn } => {
                if let Some(queue) = self.browsers.remove(&conn) {
                    // Full: the queue's end closes the connection too.
                    let _ = queue.try_send(ToBrowser::Close(Closing::Told));
                }
            }
            // Nobody asked by this way.
            FromControl::Media {
                ready,
                tells_figures,
                tells_meetings,
                tells_trunks,
                tells_stills,
            } => {
                self.tells.send_replace(Tells {
                    figures: tells_figures,
                    trunks: tells_trunks,
                    stills: tells_stills,
                });
                self.upstream.send_replace(match ready {
                    true => Upstream::Ready,
                    false => Upstream::MediaAway,
                });
                self.processes.send_modify(|all| all.media.set(ready));
                self.must_watch |= tells_meetings && self.meetings.borrow().is_none();
            }
            FromControl::Meetings { whole, meetings } => self.note_meetings(whole, meetings),
        }
    }

    fn note_meetings(&mut self, whole: bool, meetings: Vec<mcu_api::manager::Meeting>) {
        self.meetings.send_modify(|known| {
            let known = known.get_or_insert_default();
            if whole {
                known.clear();
            }
            for meeting in meetings {
                match meeting.legs.is_empty() {
                    true => known.remove(&meeting.number),
                    false => known.insert(meeting.number.clone(), meeting),
                };
            }
        });
    }

    /// Nobody tells any more what goes on.
    fn forget(&mut self) {
        self.must_watch = false;
        self.meetings.send_replace(None);
        self.processes.send_modify(|all| {
            all.control.set(false);
            all.media.is_there = None;
        });
    }

    fn drop_everybody(&mut self) {
        self.requests.clear();
        for (_, queue) in self.browsers.drain() {
            // Full: the queue's end closes the connection too.
            let _ = queue.try_send(ToBrowser::Close(Closing::Restart));
        }
    }

    /// Waits before the next attempt; whoever comes meanwhile is turned away.
    async fn refuse_for(&mut self, wait: Duration) {
        let _ = timeout(wait, self.refuse()).await;
    }

    /// Turns everybody away.
    async fn refuse(&mut self) {
        while let Some(command) = self.commands.recv().await {
            match command {
                Command::Open { queue, .. } => {
                    let _ = queue.try_send(ToBrowser::Close(Closing::Restart));
                }
                // Dropping an answer's sender tells the asker; messages of browsers have no one to
                // go to, and their connections are closed already.
                Command::Ask { .. } | Command::Message { .. } | Command::Gone { .. } => {}
                // There is no controller to leave.
                Command::Part => {}
            }
        }
        std::future::pending::<()>().await;
    }
}

type Permit<'a> = Result<mpsc::Permit<'a, Vec<u8>>, LinkError>;

async fn next_command<'a>(
    frames: &'a mpsc::Sender<Vec<u8>>,
    commands: &mut mpsc::Receiver<Command>,
) -> (Permit<'a>, Command) {
    let permit = frames.reserve().await.map_err(|_| LinkError::Closed);
    match commands.recv().await {
        Some(command) => (permit, command),
        // No handle is left, so the server is ending.
        None => std::future::pending().await,
    }
}

/// The directory, when it is another than was said last.
async fn next_directory<'a>(
    frames: &'a mpsc::Sender<Vec<u8>>,
    directory: &mut watch::Receiver<Option<Arc<Directory>>>,
) -> (Permit<'a>, Option<Arc<Directory>>) {
    let permit = frames.reserve().await.map_err(|_| LinkError::Closed);
    match directory.changed().await {
        Ok(()) => (permit, directory.borrow_and_update().clone()),
        // No handle is left, so the server is ending.
        Err(_) => std::future::pending().await,
    }
}

async fn write(
    mut writer: OwnedWriteHalf,
    mut queue: mpsc::Receiver<Vec<u8>>,
) -> Result<Infallible, LinkError> {
    while let Some(frame) = queue.recv().await {
        timeout(WRITE_TIMEOUT, writer.write_all(&frame))
            .await
            .map_err(|_| LinkError::Stalled)??;
    }
    Err(LinkError::Closed)
}

/// Once, when waiting begins to be long, not at each attempt.
fn report_unreachable(socket: &Path, error: &io::Error, retry: Duration) {
    if retry * 2 > LAST_RETRY && retry < LAST_RETRY {
        warn!(socket = %socket.display(), %error, "the controller is not there yet");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn readiness_is_told_at_each_change_and_a_moment_away_as_well() {
        let (link, task) = new(PathBuf::new());
        let (said, mut heard) = mpsc::unbounded_channel();
        tokio::spawn(link.tell_ready(move |ready| said.send(ready).unwrap()));
        task.upstream.send_replace(Upstream::Ready);
        assert_eq!(heard.recv().await, Some(true));
        task.upstream.send_replace(Upstream::MediaAway);
        assert_eq!(heard.recv().await, Some(false));
        task.upstream.send_replace(Upstream::ControlAway);
        task.upstream.send_replace(Upstream::Ready);
        assert_eq!(heard.recv().await, Some(true));
        // Nobody is scheduled between the two.
        task.upstream.send_replace(Upstream::MediaAway);
        task.upstream.send_replace(Upstream::Ready);
        assert_eq!(heard.recv().await, Some(true));
    }
}
