//! Connections of SIP over TCP, TLS and WebSocket: those that peers open and those that the core asks for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use nix::sys::socket::{Backlog, SockType, listen};
use sip::{Flow, FlowId, Transport};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, warn};

use super::streams::Limits;
use super::tls::{self, Handshake, Handshakes, Secured, Tls};
use super::web_socket::{self, Pages};
use super::{Event, net};

/// Messages that wait on one connection. A peer that leaves more unread loses the connection.
pub const QUEUE: usize = 64;

/// Connections above those that the owner keeps ([`Limits`]): new ones of which it has not heard, and
/// those that it let go and that are not closed yet. Further ones wait in the kernel's queue, which is
/// bounded.
const IN_PASSING: usize = 64;

/// A connection on which nothing comes at first is closed after this time.
pub const FIRST_BYTES_WAIT: Duration = Duration::from_secs(30);

/// A connection is closed after this silence. Longer than the keep-alives and registrations of any
/// terminal (RFC 5626 §4.4.1 proposes two minutes), since a closed one may cut off a peer behind NAT.
const IDLE: Duration = Duration::from_secs(3600);

/// A handshake of TLS and WebSocket that takes longer is given up.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);

/// Connections that the kernel holds for us until they are accepted.
const BACKLOG: i32 = 1024;

const CONNECT_WAIT: Duration = Duration::from_secs(5);
pub const WRITE_WAIT: Duration = Duration::from_secs(10);
const READ_BYTES: usize = 16 * 1024;

/// What all listeners share: places for connections, and their numbers.
#[derive(Clone, Debug)]
pub struct Places {
    free: Arc<Semaphore>,
    next: Arc<AtomicU64>,
}

impl Places {
    /// None taken.
    pub fn new(limits: Limits) -> Self {
        Self {
            free: Arc::new(Semaphore::new(limits.all + IN_PASSING)),
            next: Arc::new(AtomicU64::new(1)),
        }
    }

    fn number(&self) -> FlowId {
        FlowId(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// What comes before the first message.
#[derive(Clone, Debug)]
pub struct Opening {
    /// What is spoken then.
    pub transport: Transport,
    /// For one that is inside TLS.
    pub tls: Option<Tls>,
    /// Web pages that may connect by WebSocket.
    pub pages: Pages,
    /// Those under way.
    pub handshakes: Handshakes,
}

/// Accepts connections until dropped.
pub struct Listener {
    listener: TcpListener,
    listen: SocketAddr,
    opening: Option<Opening>,
    places: Places,
    events: mpsc::Sender<Event>,
}

impl Listener {
    /// Listens at this address; a wildcard of IPv6 takes IPv4 too.
    pub async fn bind(
        listen: SocketAddr,
        places: Places,
        events: mpsc::Sender<Event>,
    ) -> anyhow::Result<Self> {
        let context = || format!("listen for SIP on TCP {listen}");
        let listener = TcpListener::bind(listen).await.with_context(context)?;
        net::mark(&listener, listen.is_ipv6());
        Ok(Self {
            listener,
            listen,
            opening: None,
            places,
            events,
        })
    }

    /// Listens at another address, for one family alone.
    pub fn bind_further(
        at: SocketAddr,
        opening: Opening,
        places: Places,
        events: mpsc::Sender<Event>,
    ) -> anyhow::Result<Self> {
        let context = || format!("listen for SIP on TCP {at}");
        let socket = net::bind(at, SockType::Stream).with_context(context)?;
        listen(&socket, Backlog::new(BACKLOG)?).with_context(context)?;
        let listener = TcpListener::from_std(socket.into()).with_context(context)?;
        let at = listener.local_addr().with_context(context)?;
        Ok(Self {
            listener,
            listen: at,
            opening: Some(opening).filter(|opening| opening.transport != Transport::Tcp),
            places,
            events,
        })
    }

    /// Serves connections, each by a task of its own.
    pub async fn serve(self) {
        loop {
            // Where there is a handshake, the place comes after it: those who dally hold none.
            let place = match self.opening {
                None => Some(self.places.free.clone().acquire_owned().await),
                Some(_) => None,
            };
            match (self.listener.accept().await, place) {
                (Ok((stream, remote)), Some(Ok(place))) => {
                    let flow = self.flow(Transport::Tcp, &stream, remote);
                    tokio::spawn(serve_tcp(flow, stream, place, self.events.clone()));
                }
                (Ok((stream, remote)), _) => self.begin(stream, remote),
                (Err(error), _) => {
                    warn!(%error, "a connection could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn begin(&self, stream: TcpStream, remote: SocketAddr) {
        let Some(opening) = self.opening.clone() else {
            return;
        };
        let Some(handshake) = opening.handshakes.begin(remote.ip()) else {
            debug!(%remote, "too many handshakes, connection closed");
            return;
        };
        let flow = self.flow(opening.transport, &stream, remote);
        let (places, events) = (self.places.clone(), self.events.clone());
        let _ = stream.set_nodelay(true);
        tokio::spawn(async move {
            let opened = opening.open(flow, stream, places, handshake, events);
            if let Err(error) = opened.await {
                debug!(%remote, %error, "no connection");
            }
        });
    }

    fn flow(&self, transport: Transport, stream: &TcpStream, remote: SocketAddr) -> Flow {
        let local = stream.local_addr().unwrap_or(self.listen);
        Flow {
            id: self.places.number(),
            transport,
            local: SocketAddr::new(local.ip().to_canonical(), self.listen.port()),
            remote: net::canonical(remote),
            advertised: None,
        }
    }
}

impl Opening {
    /// Shakes hands, and serves the connection until it ends.
    async fn open(
        self,
        flow: Flow,
        stream: TcpStream,
        places: Places,
        handshake: Handshake,
        events: mpsc::Sender<Event>,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + HANDSHAKE_WAIT;
        let place = || async {
            let place = timeout_at(until, places.free.clone().acquire_owned()).await??;
            anyhow::Ok(place)
        };
        match (self.tls, flow.transport) {
            (Some(tls), Transport::Wss) => {
                let stream = timeout_at(until, tls.accept(stream)).await??;
                let socket = timeout_at(until, web_socket::accept(stream, self.pages)).await??;
                let place = place().await?;
                drop(handshake);
                web_socket::serve(flow, socket, place, events).await;
            }
            (Some(tls), _) => {
                let stream = timeout_at(until, tls.accept(stream)).await??;
                let place = place().await?;
                drop(handshake);
                let (reader, writer) = tokio::io::split(stream);
                serve_inbound(flow, reader, writer, place, events).await;
            }
            (None, _) => {
                let socket = timeout_at(until, web_socket::accept(stream, self.pages)).await??;
                let place = place().await?;
                drop(handshake);
                web_socket::serve(flow, socket, place, events).await;
            }
        }
        Ok(())
    }
}

async fn serve_tcp(
    flow: Flow,
    stream: TcpStream,
    place: OwnedSemaphorePermit,
    events: mpsc::Sender<Event>,
) {
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    serve_inbound(flow, reader, writer, place, events).await;
}

async fn serve_inbound(
    flow: Flow,
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
    place: OwnedSemaphorePermit,
    events: mpsc::Sender<Event>,
) {
    let (sender, outbound) = mpsc::channel(QUEUE);
    if events.send(Event::StreamOpened(flow, sender)).await.is_ok() {
        run(flow, reader, writer, outbound, events).await;
    }
    drop(place);
}

/// Opens a connection that the core asked for, over TLS to who proves to be this domain. `outbound` may
/// fill meanwhile.
pub async fn connect(
    flow: Flow,
    secured: Option<(tls::Client, String)>,
    outbound: mpsc::Receiver<Bytes>,
    events: mpsc::Sender<Event>,
) {
    let opening = async {
        let stream = open(&flow).await?;
        let _ = stream.set_nodelay(true);
        match &secured {
            Some((client, domain)) => match client.connect(domain, stream).await {
                Err(error) => {
                    warn!(remote = %flow.remote, domain, %error, "no TLS to a server");
                    Err(error)
                }
                opened => opened,
            },
            None => Ok(Box::new(stream) as Box<dyn Secured>),
        }
    };
    match timeout(CONNECT_WAIT, opening).await {
        Ok(Ok(stream)) => {
            let (reader, writer) = tokio::io::split(stream);
            run(flow, reader, writer, outbound, events).await;
        }
        failed => {
            let failed = failed.map(|opened| opened.err());
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
    net::mark(&socket, flow.remote.is_ipv6());
    socket.bind(net::facing(flow.local.ip(), flow.remote))?;
    socket.connect(flow.remote).await
}

async fn run(
    flow: Flow,
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
    outbound: mpsc::Receiver<Bytes>,
    events: mpsc::Sender<Event>,
) {
    tokio::select! {
        () = read(flow, reader, &events) => {}
        () = write(writer, outbound) => {}
    }
    let _ = events.send(Event::StreamClosed(flow.id)).await;
}

/// Hands what comes to the owner. A full queue holds the peer back.
async fn read(flow: Flow, mut reader: impl AsyncRead + Unpin, events: &mpsc::Sender<Event>) {
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
async fn write(mut writer: impl AsyncWrite + Unpin, mut outbound: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = outbound.recv().await {
        let written = timeout(WRITE_WAIT, async {
            writer.write_all(&bytes).await?;
            // TLS holds back what the socket did not take at once.
            writer.flush().await
        });
        if !matches!(written.await, Ok(Ok(()))) {
            return;
        }
    }
    let _ = writer.shutdown().await;
}
