//! What this process counts: requests, logins and webhooks' messages, since it began.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State as StateOf};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use crate::State;
use crate::api;

/// Upper bounds in seconds.
const BUCKETS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Requests, logins and messages.
pub(crate) struct Counts {
    /// All of them, to be told.
    pub registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    logins: IntCounterVec,
    deliveries: IntCounterVec,
}

impl Counts {
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let made = IntCounterVec::new(Opts::new(name, help), labels);
            registered(&registry, made)
        };
        let requests = counter(
            "consilium_http_requests_total",
            "HTTP requests that were answered, by operation of the API (page, asset, health, websocket, oidc, saml and other besides) and status.",
            &["operation", "status"],
        );
        let logins = counter(
            "consilium_logins_total",
            "Attempts to log in, by method and outcome.",
            &["method", "outcome"],
        );
        // Told before the first one, which is an increase then.
        for outcome in ["wrong_password", "wrong_code", "locked", "too_many"] {
            logins.with_label_values(&["password", outcome]);
        }
        let deliveries = counter(
            "consilium_webhook_deliveries_total",
            "Messages to webhooks, by outcome: delivered, failed (and tried again, unless it is dead), dead, or withheld from who may not see them.",
            &["outcome"],
        );
        for outcome in ["delivered", "failed", "dead", "withheld"] {
            deliveries.with_label_values(&[outcome]);
        }
        let options = HistogramOpts::new(
            "consilium_http_request_duration_seconds",
            "Time from a request to the beginning of its answer.",
        );
        let durations = HistogramVec::new(options.buckets(BUCKETS.to_vec()), &["operation"]);
        let durations = registered(&registry, durations);
        Self {
            registry,
            requests,
            durations,
            logins,
            deliveries,
        }
    }

    /// Somebody tried to log in. The outcome is one of the program's words.
    pub(crate) fn login(&self, method: &'static str, outcome: &'static str) {
        self.logins.with_label_values(&[method, outcome]).inc();
    }

    /// A message to a webhook came to this. The outcome is one of the program's words.
    pub(crate) fn delivery(&self, outcome: &'static str) {
        self.deliveries(outcome, 1);
    }

    /// The same of several.
    pub(crate) fn deliveries(&self, outcome: &'static str, messages: u64) {
        self.deliveries
            .with_label_values(&[outcome])
            .inc_by(messages);
    }

    fn request(&self, operation: &str, status: StatusCode, took: Duration) {
        let requests = self
            .requests
            .with_label_values(&[operation, status.as_str()]);
        requests.inc();
        let durations = self.durations.with_label_values(&[operation]);
        durations.observe(took.as_secs_f64());
    }
}

/// Names and labels are the program's own and fit, which a test sees.
fn registered<M: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    made: prometheus::Result<M>,
) -> M {
    let made = made.expect("a metric that fits");
    registry
        .register(Box::new(made.clone()))
        .expect("a metric that is new");
    made
}

/// Counts each request.
pub(crate) async fn count(
    StateOf(state): StateOf<State>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let operation = operation(request.method(), path);
    let began = Instant::now();
    let response = next.run(request).await;
    let counts = &state.watch.counts;
    counts.request(operation, response.status(), began.elapsed());
    response
}

/// Name of the operation, or of the kind of page: there are as many as the program has.
fn operation(method: &Method, path: Option<&MatchedPath>) -> &'static str {
    static NAMES: LazyLock<HashMap<(String, String), String>> = LazyLock::new(api::names);
    let path = path.map(MatchedPath::as_str).unwrap_or_default();
    let known = NAMES.get(&(method.as_str().to_ascii_lowercase(), path.to_owned()));
    if let Some(name) = known {
        return name;
    }
    match path {
        "/" | "/room/{number}" | "/setup" | "/login" | "/account" | "/admin" | "/admin/{*path}" => {
            "page"
        }
        "/assets/{*path}" | "/favicon.svg" => "asset",
        "/login/oidc" | "/login/oidc/callback" => "oidc",
        path if path.starts_with("/login/saml") => "saml",
        "/ws" => "websocket",
        path if path.starts_with("/health") => "health",
        _ => "other",
    }
}
