//! Metrics and health in clear, for a Prometheus or a supervisor on this machine.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::State;
use crate::api::{health, not_found, system};

/// Connections at a time; a further one waits in the kernel.
const CONNECTIONS: usize = 16;
/// For a whole connection: it is one machine's own, and short.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest request line with headers, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Serves until dropped; for ever nothing without a listener.
pub(crate) async fn serve(listener: Option<TcpListener>, state: State) -> Infallible {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    let app = Router::new()
        .route("/metrics", get(system::exposition))
        .merge(health::router())
        .fallback(not_found)
        .with_state(state);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return std::future::pending().await;
        };
        let tcp = match listener.accept().await {
            Ok((tcp, _)) => tcp,
            Err(error) => {
                warn!(%error, "cannot accept who asks for metrics");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let service = TowerToHyperService::new(app.clone());
        connections.spawn(async move {
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .max_buf_size(MAX_HEAD)
                .serve_connection(TokioIo::new(tcp), service);
            match timeout(PATIENCE, served).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "who asks for metrics is gone"),
                Err(_) => debug!("who asks for metrics stayed too long"),
            }
            drop(place);
        });
    }
}
