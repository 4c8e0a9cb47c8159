//! Unix sockets to the managers and to the media processor, speaking the frames of `mcu_api`.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use mcu_api::frame::{self, Decoder};
use mcu_api::manager::{FromControl, ToControl};
use mcu_api::media::{FromMedia, ToMedia};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::Event;
use crate::controller::{Input, ManagerId};

/// Messages that wait for a neighbour to read them. One that falls behind further is disconnected:
/// it comes back and is told everything anew.
pub const QUEUE: usize = 1024;

/// Longest time that one message may take to be written before the neighbour counts as stuck.
const WRITE_WAIT: Duration = Duration::from_secs(5);

/// Pause between attempts to reach the media processor: one that was restarted is found at once.
const RETRY: Duration = Duration::from_millis(10);

/// Most managers at a time; a further one waits to be accepted.
const MAX_MANAGERS: usize = 16;

const READ_BYTES: usize = 64 * 1024;

/// Listens for managers until dropped.
pub struct Managers {
    listener: UnixListener,
}

impl Managers {
    /// Takes the place of a socket that an earlier process left.
    pub fn bind(path: &Path) -> anyhow::Result<Self> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            anyhow::bail!("another controller listens on {}", path.display());
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove {}", path.display()));
            }
            _ => {}
        }
        let listener =
            UnixListener::bind(path).with_context(|| format!("listen on {}", path.display()))?;
        std::fs::set_permissions(path, Permissions::from_mode(0o600))
            .with_context(|| format!("close {} to others", path.display()))?;
        Ok(Self { listener })
    }

    /// Serves managers, each by a task of its own.
    pub async fn serve(self, events: mpsc::Sender<Event>) {
        let places = Arc::new(Semaphore::new(MAX_MANAGERS));
        let mut next = 0;
        loop {
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    next += 1;
                    let id = ManagerId(next);
                    let events = events.clone();
                    tokio::spawn(async move {
                        serve_manager(id, stream, events).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    warn!(%error, "a manager could not be accepted");
                    sleep(RETRY).await;
                }
            }
        }
    }
}

async fn serve_manager(id: ManagerId, stream: UnixStream, events: mpsc::Sender<Event>) {
    let (sender, outbound) = mpsc::channel::<FromControl>(QUEUE);
    if events.send(Event::ManagerOpened(id, sender)).await.is_err() {
        return;
    }
    info!(manager = id.0, "manager connected");
    let take = |message: ToControl| Event::Input(Input::Manager(id, message));
    let error = pump(stream, outbound, take, &events).await;
    info!(
        manager = id.0,
        error = error.map(|e| e.to_string()),
        "manager gone"
    );
    let _ = events.send(Event::ManagerGone(id)).await;
}

/// Keeps a connection to the media processor until dropped.
pub async fn serve_media(path: PathBuf, events: mpsc::Sender<Event>) {
    loop {
        match UnixStream::connect(&path).await {
            Ok(stream) => {
                let (sender, outbound) = mpsc::channel::<ToMedia>(QUEUE);
                if events.send(Event::MediaOpened(sender)).await.is_err() {
                    return;
                }
                let take = |message: FromMedia| Event::Input(Input::Media(message));
                let error = pump(stream, outbound, take, &events).await;
                debug!(error = error.map(|e| e.to_string()), "media processor gone");
                if events.send(Event::MediaGone).await.is_err() {
                    return;
                }
            }
            Err(_) => sleep(RETRY).await,
        }
    }
}

/// Why a link ended, other than by its end.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("reading or writing: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] frame::FrameError),
    #[error("a message could not be written in {WRITE_WAIT:?}")]
    Stuck,
}

/// Moves messages both ways until the neighbour closes, errs, or `outbound` is closed by us.
async fn pump<I: DeserializeOwned, O: Serialize>(
    mut stream: UnixStream,
    outbound: mpsc::Receiver<O>,
    take: impl Fn(I) -> Event,
    events: &mpsc::Sender<Event>,
) -> Option<LinkError> {
    let (reader, writer) = stream.split();
    let result = tokio::select! {
        read = read_messages(reader, take, events) => read,
        written = write_messages(writer, outbound) => written,
    };
    result.err()
}

async fn read_messages<I: DeserializeOwned>(
    mut reader: impl AsyncRead + Unpin,
    take: impl Fn(I) -> Event,
    events: &mpsc::Sender<Event>,
) -> Result<(), LinkError> {
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let len = reader.read(&mut buffer).await?;
        if len == 0 {
            return Ok(());
        }
        decoder.push(&buffer[..len]);
        while let Some(message) = decoder.next_message::<I>()? {
            // A full queue holds the neighbour back instead of growing.
            if events.send(take(message)).await.is_err() {
                return Ok(());
            }
        }
    }
}

async fn write_messages<O: Serialize>(
    mut writer: impl AsyncWrite + Unpin,
    mut outbound: mpsc::Receiver<O>,
) -> Result<(), LinkError> {
    while let Some(message) = outbound.recv().await {
        let bytes = frame::encode(&message)?;
        timeout(WRITE_WAIT, writer.write_all(&bytes))
            .await
            .map_err(|_| LinkError::Stuck)??;
    }
    Ok(())
}
