//! TCP connections of SIP: those that peers open and those that the core asks for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use sip::{Flow, FlowId, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::Event;
use super::streams::Limits;

/// Messages that wait on one connection. A peer that leaves more unread loses the connection.
pub const QUEUE: usize = 64;

/// Connections above those that the owner keeps ([`Limits`]): new ones of which it has not heard, and
/// those that it let go and that are not closed yet. Further ones wait in the kernel's queue, which is
/// bounded.
const IN_PASSING: usize = 64;

/// A connection on which nothing comes at first is closed after this time.
const FIRST_BYTES_WAIT: Duration = Duration::from_secs(30);

/// A connection is closed after this silence. Longer than the keep-alives and registrations of any
/// terminal (RFC 5626 §4.4.1 proposes two minutes), since a closed one may cut off a peer behind NAT.
const IDLE: Duration = Duration::from_secs(3600);

const CONNECT_WAIT: Duration = Duration::from_secs(5);
const WRITE_WAIT: Duration = Duration::from_secs(10);
const READ_BYTES: usize = 16 * 1024;

/// Accepts connections until dropped.
pub struct Listener {
    listener: TcpListener,
    listen: SocketAddr,
}

impl Listener {
    /// Listens at this address.
    pub async fn bind(listen: SocketAddr) -> anyhow::Result<Self> {
        let context = || format!("listen for SIP on TCP {listen}");
        let listener = TcpListener::bind(listen).await.with_context(context)?;
        Ok(Self { listener, listen })
    }

    /// Serves connections, each by a task of its own.
    pub async fn serve(self, limits: Limits, events: mpsc::Sender<Event>) {
        let places = Arc::new(Semaphore::new(limits.all + IN_PASSING));
        let mut next = 0;
        loop {
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, remote)) => {
                    next += 1;
                    let local = stream.local_addr().unwrap_or(self.listen);
                    let flow = Flow {
                        id: FlowId(next),
                        transport: Transport::Tcp,
                        local: SocketAddr::new(local.ip().to_canonical(), self.listen.port()),
                        remote: SocketAddr::new(remote.ip().to_canonical(), remote.port()),
                    };
                    tokio::spawn(serve_inbound(flow, stream, place, events.clone()));
                }
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn serve_inbound(
    flow: Flow,
    stream: TcpStream,
    place: OwnedSemaphorePermit,
    events: mpsc::Sender<Event>,
) {
    let (sender, outbound) = mpsc::channel(QUEUE);
    if events.send(Event::StreamOpened(flow, sender)).await.is_ok() {
        run(flow, stream, outbound, events).await;
    }
    drop(place);
}

/// Opens a connection that the core asked for. `outbound` may fill meanwhile.
pub async fn connect(flow: Flow, outbound: mpsc::Receiver<Bytes>, events: mpsc::Sender<Event>) {
    match timeout(CONNECT_WAIT, open(&flow)).await {
        Ok(Ok(stream)) => run(flow, stream, outbound, events).await,
        failed => {
            debug!(remote = %flow.remote, ?failed, "connection failed");
            let _ = events.send(Event::StreamClosed(flow.id)).await;
        }
    }
}

async fn open(flow: &Flow) -> std::io::Result<TcpStream> {
    let socket = match flow.remote {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.bind(SocketAddr::new(flow.local.ip(), 0))?;
    socket.connect(flow.remote).await
}

async fn run(
    flow: Flow,
    stream: TcpStream,
    outbound: mpsc::Receiver<Bytes>,
    events: mpsc::Sender<Event>,
) {
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    tokio::select! {
        () = read(flow, reader, &events) => {}
        () = write(writer, outbound) => {}
    }
    let _ = events.send(Event::StreamClosed(flow.id)).await;
}

/// Hands what comes to the owner. A full queue holds the peer back.
async fn read(flow: Flow, mut reader: OwnedReadHalf, events: &mpsc::Sender<Event>) {
    let mut buffer = vec![0; READ_BYTES];
    let mut wait = FIRST_BYTES_WAIT;
    while let Ok(Ok(len)) = timeout(wait, reader.read(&mut buffer)).await {
        if len == 0
            || events
                .send(Event::Bytes(flow, buffer[..len].to_vec()))
                .await
                .is_err()
        {
            return;
        }
        wait = IDLE;
    }
}

/// Writes until the owner lets go of the queue: what it holds by then is still written.
async fn write(mut writer: OwnedWriteHalf, mut outbound: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = outbound.recv().await {
        if !matches!(
            timeout(WRITE_WAIT, writer.write_all(&bytes)).await,
            Ok(Ok(()))
        ) {
            return;
        }
    }
    let _ = writer.shutdown().await;
}
