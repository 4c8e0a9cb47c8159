//! SIP over WebSocket (RFC 7118): each message of the WebSocket is one of SIP.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use sip::{Flow, Transport};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, interval_at, sleep_until, timeout};
use tokio_tungstenite::tungstenite::handshake::server::{
    Callback, ErrorResponse, Request, Response,
};
use tokio_tungstenite::tungstenite::http::header::{HOST, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::http::uri::Authority;
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

use super::Event;
use super::tcp::{FIRST_BYTES_WAIT, QUEUE, WRITE_WAIT};

/// Longest message, in one frame or several; the core takes no longer ones either.
const MAX_MESSAGE: usize = 65_536;

/// Taken for each connection, of which there may be a thousand.
const READ_BUFFER: usize = 8_192;

/// How long a peer may be silent.
#[derive(Clone, Copy, Debug)]
struct Waits {
    /// Until it says something.
    first: Duration,
    /// Between signs of life for which it is asked, by a ping of the WebSocket (RFC 7118 §6).
    ping: Duration,
    /// Without one, after it has said something.
    silence: Duration,
}

const WAITS: Waits = Waits {
    first: FIRST_BYTES_WAIT,
    ping: Duration::from_secs(30),
    silence: Duration::from_secs(95),
};

/// Web pages that may connect, in the browsers that show them (RFC 6455 §10.2). Any other page would
/// call from the address of whoever looks at it: a hospital's, or that of a trunk.
#[derive(Clone, Debug)]
pub struct Pages {
    /// The origins that were named.
    named: Option<Arc<[String]>>,
    /// Whether a certificate proves our name to the browser.
    proven: bool,
}

impl Pages {
    /// Those with these origins; without them, pages of our own host.
    pub fn new(named: Option<&[String]>, transport: Transport) -> Self {
        Self {
            named: named.map(Arc::from),
            proven: transport.is_secure(),
        }
    }

    /// Clients that are no browsers send no Origin.
    fn admit(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(ORIGIN).iter();
        let origin = match (origins.next(), origins.next()) {
            (None, _) => return true,
            (Some(origin), None) => origin.to_str(),
            (Some(_), Some(_)) => return false,
        };
        match (origin, &self.named) {
            (Err(_), _) => false,
            (Ok(origin), Some(named)) => named.iter().any(|name| name.eq_ignore_ascii_case(origin)),
            (Ok(origin), None) => self.is_own(origin, headers).unwrap_or_default(),
        }
    }

    /// Whether a page is of the host that it connects to. In clear that host has to be an address: a
    /// stranger's page can have its own name lead to us (DNS rebinding), but TLS shows what it is.
    fn is_own(&self, origin: &str, headers: &HeaderMap) -> Option<bool> {
        let origin: Uri = origin.parse().ok()?;
        let from = origin.scheme().and(origin.host())?;
        let to: Authority = headers.get(HOST)?.to_str().ok()?.parse().ok()?;
        let is_address = || from.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        Some(from.eq_ignore_ascii_case(to.host()) && (self.proven || is_address()))
    }
}

/// Shakes hands with a client that asks for the subprotocol `sip`, and is no page of strangers.
pub async fn accept<S>(stream: S, pages: Pages) -> Result<WebSocketStream<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
        .write_buffer_size(0)
        .max_write_buffer_size(2 * MAX_MESSAGE);
    accept_hdr_async_with_config(stream, pages, Some(config)).await
}

/// RFC 7118 §4.2: whoever does not ask for `sip` is not served.
impl Callback for Pages {
    fn on_request(
        self,
        request: &Request,
        mut response: Response,
    ) -> Result<Response, ErrorResponse> {
        let asked = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter();
        let mut names = asked
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        if !names.any(|name| name.trim().eq_ignore_ascii_case("sip")) {
            return Err(refusal(StatusCode::BAD_REQUEST, "the subprotocol is sip"));
        }
        if !self.admit(request.headers()) {
            return Err(refusal(StatusCode::FORBIDDEN, "not from this web page"));
        }
        let headers = response.headers_mut();
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("sip"));
        Ok(response)
    }
}

fn refusal(status: StatusCode, reason: &str) -> ErrorResponse {
    let mut refusal = ErrorResponse::new(Some(reason.to_owned()));
    *refusal.status_mut() = status;
    refusal
}

/// Tells the owner what comes, and writes what it says, until either ends.
pub async fn serve<S>(
    flow: Flow,
    socket: WebSocketStream<S>,
    place: OwnedSemaphorePermit,
    events: mpsc::Sender<Event>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    serve_within(WAITS, flow, socket, &events).await;
    drop(place);
}

async fn serve_within<S>(
    waits: Waits,
    flow: Flow,
    mut socket: WebSocketStream<S>,
    events: &mpsc::Sender<Event>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (sender, outbound) = mpsc::channel(QUEUE);
    if events.send(Event::StreamOpened(flow, sender)).await.is_ok() {
        run(waits, flow, &mut socket, outbound, events).await;
        let _ = timeout(WRITE_WAIT, socket.close(None)).await;
        let _ = events.send(Event::StreamClosed(flow.id)).await;
    }
}

async fn run<S>(
    waits: Waits,
    flow: Flow,
    socket: &mut WebSocketStream<S>,
    mut outbound: mpsc::Receiver<Bytes>,
    events: &mpsc::Sender<Event>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut pings = interval_at(Instant::now() + waits.ping, waits.ping);
    let mut given_up_at = Instant::now() + waits.first;
    let mut spoke = false;
    loop {
        let sent = tokio::select! {
            message = socket.next() => {
                let Some(Ok(message)) = message else { return };
                let bytes = match message {
                    Message::Text(text) => Bytes::from(text),
                    Message::Binary(bytes) => bytes,
                    Message::Close(_) => return,
                    _ => Bytes::new(),
                };
                // Who says nothing but pings is no client of SIP.
                spoke |= !bytes.is_empty();
                if spoke {
                    given_up_at = Instant::now() + waits.silence;
                }
                if bytes.is_empty() {
                    continue;
                }
                let event = Event::Bytes(flow, bytes.to_vec());
                if events.send(event).await.is_err() {
                    return;
                }
                continue;
            }
            bytes = outbound.recv() => {
                let Some(bytes) = bytes else { return };
                timeout(WRITE_WAIT, socket.send(message(bytes))).await
            }
            () = sleep_until(given_up_at) => return,
            _ = pings.tick() => {
                timeout(WRITE_WAIT, socket.send(Message::Ping(Bytes::new()))).await
            }
        };
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

/// RFC 7118 §5: text where it is UTF-8, binary where it is not.
fn message(bytes: Bytes) -> Message {
    match Utf8Bytes::try_from(bytes.clone()) {
        Ok(text) => Message::Text(text),
        Err(_) => Message::Binary(bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use sip::FlowId;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    /// It was closed by the ping after the next.
    #[tokio::test]
    async fn a_client_that_says_nothing_but_pings_is_let_go_after_the_first_wait() {
        let waits = Waits {
            first: Duration::from_millis(50),
            ping: Duration::from_secs(3_600),
            silence: Duration::from_secs(3_600),
        };
        let flow = Flow {
            id: FlowId(1),
            transport: Transport::Ws,
            local: SocketAddr::from(([10, 1, 0, 9], 8_088)),
            remote: SocketAddr::from(([10, 1, 0, 50], 40_000)),
            advertised: None,
        };
        let (near, far) = tokio::io::duplex(4_096);
        let socket = WebSocketStream::from_raw_socket(near, Role::Server, None).await;
        let mut client = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
        let (events, mut heard) = mpsc::channel(4);
        let began = Instant::now();
        let served = tokio::spawn(async move { serve_within(waits, flow, socket, &events).await });
        client.send(Message::Ping("?".into())).await.unwrap();
        let mut next = async || {
            timeout(Duration::from_secs(20), client.next())
                .await
                .unwrap()
        };
        assert_eq!(next().await.unwrap().unwrap(), Message::Pong("?".into()));
        assert!(matches!(next().await, Some(Ok(Message::Close(None)))));
        assert!(began.elapsed() >= waits.first);
        served.await.unwrap();
        let opened = heard.recv().await;
        assert!(
            matches!(opened, Some(Event::StreamOpened(..))),
            "{opened:?}"
        );
        let closed = heard.recv().await;
        assert!(
            matches!(closed, Some(Event::StreamClosed(FlowId(1)))),
            "{closed:?}"
        );
    }

    fn request(origins: &[&str], host: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        for origin in origins {
            headers.append(ORIGIN, origin.parse().unwrap());
        }
        headers
    }

    #[test]
    fn pages_of_our_own_host_are_admitted_and_no_others() {
        let (ws, wss) = (Transport::Ws, Transport::Wss);
        let cases: [(Transport, &[&str], &str, bool); 13] = [
            (ws, &[], "10.1.0.9:8088", true),
            (ws, &["http://10.1.0.9"], "10.1.0.9:8088", true),
            (
                ws,
                &["http://[2001:db8::1]:8080"],
                "[2001:db8::1]:8088",
                true,
            ),
            (ws, &["http://10.1.0.8"], "10.1.0.9:8088", false),
            (ws, &["http://evil.example"], "10.1.0.9:8088", false),
            // Rebound to our address.
            (ws, &["http://evil.example"], "evil.example:8088", false),
            (wss, &["https://MCU.example:8443"], "mcu.example:8089", true),
            (
                wss,
                &["https://mcu.example.evil.example"],
                "mcu.example",
                false,
            ),
            (
                wss,
                &["https://mcu.example@evil.example"],
                "mcu.example",
                false,
            ),
            (wss, &["https://evil.example"], "mcu.example", false),
            (wss, &["null"], "null", false),
            (wss, &[""], "mcu.example", false),
            (
                wss,
                &["https://mcu.example", "https://mcu.example"],
                "mcu.example",
                false,
            ),
        ];
        for (transport, origins, host, admitted) in cases {
            let pages = Pages::new(None, transport);
            let headers = request(origins, host);
            assert_eq!(
                pages.admit(&headers),
                admitted,
                "{transport:?} {origins:?} {host}"
            );
        }
    }

    #[test]
    fn where_origins_are_named_pages_of_others_are_not_admitted_of_our_host_neither() {
        let named = ["https://Portal.example".to_owned()];
        let pages = Pages::new(Some(&named), Transport::Wss);
        let cases: [(&[&str], bool); 5] = [
            (&[], true),
            (&["https://portal.example"], true),
            (&["http://portal.example"], false),
            (&["https://portal.example:444"], false),
            (&["https://mcu.example"], false),
        ];
        for (origins, admitted) in cases {
            let headers = request(origins, "mcu.example");
            assert_eq!(pages.admit(&headers), admitted, "{origins:?}");
        }
        let none = Pages::new(Some(&[]), Transport::Wss);
        assert!(!none.admit(&request(&["https://mcu.example"], "mcu.example")));
    }
}
