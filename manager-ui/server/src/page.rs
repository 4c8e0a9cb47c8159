//! The page, embedded, and the headers that fence it in.

use axum::extract::{Path, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use crate::api::{Problem, problem};

/// What the page's build leaves for the nonce in `index.html` (Vite's `html.cspNonce`).
const NONCE_MARK: &str = "CSP_NONCE";

const NOT_BUILT: &str = "<!doctype html><meta charset=utf-8><title>Consilium</title>\
    <p>The page was not built: run <code>npm ci && npm run build</code> in \
    <code>manager-ui/web</code>, then build the server again.\n";

#[derive(RustEmbed)]
#[folder = "../web/dist"]
struct Dist;

/// `GET /` and `GET /room/{number}`: one page, which reads its own address.
pub(crate) async fn index() -> Response {
    let html = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    let fresh = [(header::CACHE_CONTROL, "no-cache")];
    let Some(file) = Dist::get("index.html") else {
        return (StatusCode::SERVICE_UNAVAILABLE, html, fresh, NOT_BUILT).into_response();
    };
    let nonce = format!("{:032x}", rand::random::<u128>());
    let body = String::from_utf8_lossy(&file.data).replace(NONCE_MARK, &nonce);
    let policy = [(header::CONTENT_SECURITY_POLICY, policy(&nonce))];
    (html, fresh, policy, body).into_response()
}

/// `GET /assets/…`: names hold a hash of the content, so they never go stale.
pub(crate) async fn asset(Path(path): Path<String>, request: Request) -> Result<Response, Problem> {
    let name = format!("assets/{path}");
    let kind = [(header::CONTENT_TYPE, content_type(&name))];
    let forever = [(header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    let vary = [(header::VARY, "accept-encoding")];
    if accepts_gzip(&request)
        && let Some(file) = Dist::get(&format!("{name}.gz"))
    {
        let gzip = [(header::CONTENT_ENCODING, "gzip")];
        return Ok((kind, forever, vary, gzip, file.data).into_response());
    }
    let file = Dist::get(&name).ok_or_else(|| problem(StatusCode::NOT_FOUND, "No such file"))?;
    Ok((kind, forever, vary, file.data).into_response())
}

/// `GET /favicon.svg`.
pub(crate) async fn icon() -> Result<Response, Problem> {
    let file = Dist::get("favicon.svg");
    let file = file.ok_or_else(|| problem(StatusCode::NOT_FOUND, "No such file"))?;
    Ok(([(header::CONTENT_TYPE, "image/svg+xml")], file.data).into_response())
}

/// Headers on every response. A handler's own policy stays.
pub(crate) async fn security_headers(request: Request, next: Next) -> Response {
    const HEADERS: [(HeaderName, &str); 4] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(self), microphone=(self), display-capture=(self), autoplay=(self), \
             geolocation=(), payment=(), usb=()",
        ),
    ];
    let is_answer = request.uri().path().starts_with("/api/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    if is_answer {
        // Of people; no cache between is to keep them, nor a browser that others use after.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'",
        ));
    response
}

/// Only our own files; the components write their styles into the page, hence the nonce.
fn policy(nonce: &str) -> String {
    format!(
        "default-src 'self'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'nonce-{nonce}'; \
         img-src 'self' data: blob:; media-src 'self' blob: mediastream:; connect-src 'self'; \
         object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
}

fn accepts_gzip(request: &Request) -> bool {
    let accepted = request.headers().get(header::ACCEPT_ENCODING);
    accepted
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value
                .split(',')
                .any(|coding| coding.split(';').next().is_some_and(|c| c.trim() == "gzip"))
        })
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}
