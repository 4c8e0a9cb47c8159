//! Accepts TCP connections, speaks TLS and HTTP/1.1 on each that carries no media.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::divert;
use crate::limits::{Limits, Places};
use crate::patient::Patient;
use crate::tls::Acceptor;

/// Longest request line with headers, in bytes.
const MAX_HEAD: usize = 32 * 1024;

/// Address of the peer, set on every request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub SocketAddr);

/// Serves until dropped, and every HTTP connection with it.
///
/// Connections that carry media are handed over to the media process, which listens on `streams`.
pub(crate) async fn accept(
    listener: TcpListener,
    acceptor: Acceptor,
    app: Router,
    limits: Limits,
    streams: Arc<Path>,
) {
    let all = Arc::new(Semaphore::new(limits.connections.total));
    let places = Places::new(limits.connections);
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = all.clone().acquire_owned().await else {
            return;
        };
        let (tcp, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, or the peer left: wait for better times.
                    warn!(%error, "cannot accept");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
        };
        let Some(place) = places.take(peer.ip()) else {
            debug!(%peer, "too many connections of one source");
            continue;
        };
        let (acceptor, app, streams) = (acceptor.clone(), app.clone(), streams.clone());
        connections.spawn(async move {
            match timeout(limits.patience, divert::is_media(&tcp)).await {
                Ok(Ok(true)) => {
                    if let Err(error) = divert::hand_over(tcp, &streams) {
                        debug!(%peer, %error, "nobody takes media");
                    }
                }
                Ok(Ok(false)) => connection(tcp, peer, acceptor, app, limits.patience).await,
                Ok(Err(_)) | Err(_) => debug!(%peer, "nothing was said in time"),
            }
            // The source's place first, so that one is left for whoever gets the other.
            drop((place, permit));
        });
    }
}

async fn connection(
    tcp: TcpStream,
    peer: SocketAddr,
    acceptor: Acceptor,
    app: Router,
    patience: Duration,
) {
    // Signalling is small messages that somebody waits for.
    let _ = tcp.set_nodelay(true);
    let tcp = Patient::new(tcp, patience);
    let tls = match timeout(patience, acceptor.accept(tcp)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => return debug!(%peer, %error, "no TLS"),
        Err(_) => return debug!(%peer, "no TLS in time"),
    };
    let service = TowerToHyperService::new(app.layer(Extension(Peer(peer))));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(tls), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        debug!(%peer, %error, "connection ended");
    }
}
