//! The unix socket on which a controller finds this process. One controller at a time: a newer
//! connection replaces the older, because a controller that came back must not wait for a dead one.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use mcu_api::frame;
use mcu_api::media::{FromMedia, ToMedia};
use mio::Waker;
use tracing::{info, warn};

/// Messages of the controller that wait for the worker. Full: the reader waits, and so does the
/// controller's socket.
const MAX_INCOMING: usize = 256;

/// Messages that wait for a slow controller. Full: the connection is closed; after the next hello it
/// gets a fresh inventory.
const MAX_OUTGOING: usize = 256;

/// Messages that wait for it beyond which nothing is sent that may as well be dropped ([`Outbox::offer`]).
const MAX_OFFERED: usize = 32;

/// A controller that does not read for this long is disconnected.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for the last messages of a process that ends.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What the link tells the worker.
pub enum LinkEvent {
    /// A controller connected; answers go here.
    Connected(Outbox),
    /// It said something.
    Message(ToMedia),
}

/// Where messages to the connected controller go.
pub struct Outbox {
    queue: SyncSender<FromMedia>,
    /// Messages in the queue.
    waiting: Arc<AtomicUsize>,
    stream: UnixStream,
    /// Ends when all is written, or cannot be.
    written: Receiver<()>,
}

impl Outbox {
    /// Sends without waiting. `false`: the controller is gone or too slow; drop this outbox.
    #[must_use]
    pub fn send(&self, message: FromMedia) -> bool {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let sent = self.queue.try_send(message).is_ok();
        if !sent {
            let _ = self.stream.shutdown(std::net::Shutdown::Both);
        }
        sent
    }

    /// Sends what a later message of its kind makes good, unless many wait already. `false` as for
    /// [`Outbox::send`].
    #[must_use]
    pub fn offer(&self, message: FromMedia) -> bool {
        self.waiting.load(Ordering::Relaxed) >= MAX_OFFERED || self.send(message)
    }

    /// Waits until what was sent is written: for [`LAST_WORDS`], and no longer for a controller that does
    /// not read.
    pub fn finish(self) {
        drop(self.queue);
        let _ = self.written.recv_timeout(LAST_WORDS);
    }
}

/// Listens on `socket`, replacing what a former life left there.
pub fn listen(socket: &Path, waker: Arc<Waker>) -> anyhow::Result<Receiver<LinkEvent>> {
    let _ = fs::remove_file(socket);
    let listener =
        UnixListener::bind(socket).with_context(|| format!("listen on {}", socket.display()))?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("close {} to others", socket.display()))?;
    let (events, incoming) = sync_channel(MAX_INCOMING);
    thread::Builder::new()
        .name("link".into())
        .spawn(move || accept(&listener, &events, &waker))
        .context("start the link thread")?;
    Ok(incoming)
}

fn accept(listener: &UnixListener, events: &SyncSender<LinkEvent>, waker: &Arc<Waker>) {
    let mut former: Option<UnixStream> = None;
    for stream in listener.incoming() {
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                warn!(%error, "accept a controller");
                thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        if let Some(former) = former.take() {
            let _ = former.shutdown(std::net::Shutdown::Both);
        }
        former = stream.try_clone().ok();
        if let Err(error) = serve(stream, events.clone(), waker.clone()) {
            warn!(%error, "serve a controller");
        }
    }
}

fn serve(
    stream: UnixStream,
    events: SyncSender<LinkEvent>,
    waker: Arc<Waker>,
) -> std::io::Result<()> {
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let (queue, outgoing) = sync_channel(MAX_OUTGOING);
    let (writing, written) = sync_channel(1);
    let waiting = Arc::new(AtomicUsize::new(0));
    let left = waiting.clone();
    let (reader, writer) = (stream.try_clone()?, stream.try_clone()?);
    info!("controller connected");
    if events
        .send(LinkEvent::Connected(Outbox {
            queue,
            waiting,
            stream,
            written,
        }))
        .is_err()
    {
        return Ok(());
    }
    thread::Builder::new()
        .name("link-write".into())
        .spawn(move || {
            write(writer, &outgoing, &left);
            drop::<SyncSender<()>>(writing);
        })?;
    thread::Builder::new()
        .name("link-read".into())
        .spawn(move || {
            read(reader, &events, &waker);
            info!("controller gone");
        })?;
    Ok(())
}

fn write(mut stream: UnixStream, outgoing: &Receiver<FromMedia>, waiting: &AtomicUsize) {
    while let Ok(message) = outgoing.recv() {
        waiting.fetch_sub(1, Ordering::Relaxed);
        let sent = match frame::encode(&message) {
            Ok(frame) => stream.write_all(&frame).map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = sent {
            warn!(error, "write to the controller");
            break;
        }
    }
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

fn read(mut stream: UnixStream, events: &SyncSender<LinkEvent>, waker: &Waker) {
    let mut decoder = frame::Decoder::default();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match decoder.next_message() {
            Ok(Some(message)) => {
                if events.send(LinkEvent::Message(message)).is_err() || waker.wake().is_err() {
                    return;
                }
                continue;
            }
            Ok(None) => {}
            Err(error) => {
                warn!(%error, "read from the controller");
                let _ = stream.shutdown(std::net::Shutdown::Both);
                return;
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(n) => decoder.push(&buffer[..n]),
        }
    }
}
