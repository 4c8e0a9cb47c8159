//! SIP over WebSocket (RFC 7118), with a client that is none of ours below SIP.

use futures_util::{SinkExt, StreamExt};
use mcu_api::call::SrtpPolicy;
use sip::Transport;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::*;
use crate::config::SipListener;

type Client = WebSocketStream<TcpStream>;

pub const OPTIONS: &str = "OPTIONS sip:any@server SIP/2.0\r\n\
    Via: SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bKoptions\r\nMax-Forwards: 70\r\n\
    From: <sip:ward@server>;tag=o\r\nTo: <sip:any@server>\r\nCall-ID: options@ws\r\n\
    CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";

fn listening(dir: &Path, number: u8, srtp: SrtpPolicy) -> (Config, SocketAddr) {
    let listen = SocketAddr::new(own_address(number).ip(), 25_080);
    let config = Config {
        sip_listeners: vec![SipListener {
            transport: Transport::Ws,
            listen,
            srtp,
            legacy_tls: false,
            clients: None,
            origins: None,
        }],
        ..config(dir, own_address(number))
    };
    (config, listen)
}

async fn connect(server: SocketAddr, protocol: Option<&str>) -> Result<Client, Error> {
    connect_from(None, server, protocol).await
}

/// As a web page of this origin does.
async fn connect_from(
    origin: Option<&str>,
    server: SocketAddr,
    protocol: Option<&str>,
) -> Result<Client, Error> {
    let stream = TcpStream::connect(server).await.unwrap();
    let mut request = format!("ws://{server}/").into_client_request().unwrap();
    if let Some(protocol) = protocol {
        let name = "sec-websocket-protocol";
        request
            .headers_mut()
            .insert(name, protocol.parse().unwrap());
    }
    if let Some(origin) = origin {
        let headers = request.headers_mut();
        headers.insert("origin", origin.parse().unwrap());
    }
    let (client, response) = client_async(request, stream).await?;
    assert_eq!(response.headers()["sec-websocket-protocol"], "sip");
    Ok(client)
}

async fn say(client: &mut Client, text: &str) {
    client.send(Message::text(text)).await.unwrap();
}

/// The next message that is no provisional response.
async fn hear(client: &mut Client) -> String {
    loop {
        let message = timeout(LIMIT, client.next()).await.unwrap().unwrap();
        match message.unwrap() {
            Message::Text(text) if text.starts_with("SIP/2.0 1") => {}
            Message::Text(text) => return text.to_string(),
            other => panic!("no text: {other:?}"),
        }
    }
}

fn invite_by_web_socket(server: SocketAddr) -> String {
    let local = SocketAddr::from(([192, 0, 2, 9], 5_060));
    invite("WS", local, server)
        .replace(
            "SIP/2.0/WS 192.0.2.9:5060",
            "SIP/2.0/WS df7jal23ls0d.invalid",
        )
        .replace(";rport", "")
        .replace(
            "<sip:ward@192.0.2.9:5060>\r\nContent",
            "<sip:ward@df7jal23ls0d.invalid;transport=ws>\r\nContent",
        )
}

#[tokio::test]
async fn a_client_calls_by_web_socket_and_is_hung_up_by_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (config, server) = listening(dir.path(), 31, SrtpPolicy::Allowed);
    let media = UnixListener::bind(dir.path().join("media.sock")).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let controller = tokio::spawn(run_until(config, async { stopped.await.unwrap() }));
    let mut link = accept_media(&media, &[]).await;
    let mut client = connect(server, Some("chat, sip")).await.unwrap();
    let invite = invite_by_web_socket(server);
    say(&mut client, &invite).await;
    let ok = hear(&mut client).await;
    assert!(ok.starts_with("SIP/2.0 200 OK"), "{ok}");
    assert!(
        ok.contains("df7jal23ls0d.invalid;branch=z9hG4bKWS1;received=127."),
        "{ok}"
    );
    assert!(ok.contains(&format!("@{server};transport=ws>")), "{ok}");
    say(&mut client, &within("ACK", 1, &invite, &ok)).await;
    while !link.plan().await.legs.iter().any(|leg| leg.confirmed) {}
    stop.send(()).unwrap();
    let bye = hear(&mut client).await;
    let line = "BYE sip:ward@df7jal23ls0d.invalid;transport=ws SIP/2.0\r\n";
    assert!(bye.starts_with(line), "{bye}");
    assert!(bye.contains(&format!("Via: SIP/2.0/WS {server};")), "{bye}");
    let head = bye.lines().skip(1).filter(|line| {
        ["Via", "From", "To", "Call-ID", "CSeq"]
            .iter()
            .any(|name| line.starts_with(name))
    });
    let head: String = head.map(|line| format!("{line}\r\n")).collect();
    say(
        &mut client,
        &format!("SIP/2.0 200 OK\r\n{head}Content-Length: 0\r\n\r\n"),
    )
    .await;
    timeout(LIMIT, controller).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn what_a_listener_demands_of_media_holds_in_every_room() {
    let dir = tempfile::tempdir().unwrap();
    let (config, server) = listening(dir.path(), 32, SrtpPolicy::Required);
    let media = UnixListener::bind(dir.path().join("media.sock")).unwrap();
    let controller = tokio::spawn(run(config));
    let _link = accept_media(&media, &[]).await;
    let mut client = connect(server, Some("sip")).await.unwrap();
    say(&mut client, &invite_by_web_socket(server)).await;
    let refused = hear(&mut client).await;
    assert!(refused.starts_with("SIP/2.0 488"), "{refused}");
    controller.abort();
}

#[tokio::test]
async fn other_clients_pages_of_strangers_and_long_messages_are_not_taken_and_signs_of_life_are_answered()
 {
    let dir = tempfile::tempdir().unwrap();
    let (config, server) = listening(dir.path(), 33, SrtpPolicy::Allowed);
    let media = UnixListener::bind(dir.path().join("media.sock")).unwrap();
    let controller = tokio::spawn(run(config));
    let _link = accept_media(&media, &[]).await;
    for protocol in [None, Some("chat"), Some("sips")] {
        match connect(server, protocol).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), 400),
            other => panic!("{other:?}"),
        }
    }
    match connect_from(Some("http://evil.example"), server, Some("sip")).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 403),
        other => panic!("{other:?}"),
    }
    let own = format!("http://{}:8080", server.ip());
    let page = connect_from(Some(&own), server, Some("sip")).await;
    drop(page.unwrap());
    let mut client = connect(server, Some("sip")).await.unwrap();
    say(&mut client, OPTIONS).await;
    let ok = hear(&mut client).await;
    assert!(ok.starts_with("SIP/2.0 200 OK"), "{ok}");
    say(&mut client, "\r\n\r\n").await;
    assert_eq!(hear(&mut client).await, "\r\n");
    client.send(Message::Ping("?".into())).await.unwrap();
    let pong = timeout(LIMIT, client.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(pong, Message::Pong("?".into()));
    let binary = Message::binary(OPTIONS.replace("options", "again").into_bytes());
    client.send(binary).await.unwrap();
    assert!(hear(&mut client).await.starts_with("SIP/2.0 200"));
    say(&mut client, "no message of SIP").await;
    say(&mut client, &OPTIONS.replace("options", "third")).await;
    assert!(
        hear(&mut client).await.starts_with("SIP/2.0 200"),
        "it goes on"
    );
    let long = OPTIONS.replace("Content-Length: 0", &format!("X: {}", "y".repeat(65_536)));
    client.send(Message::text(long)).await.unwrap();
    while let Some(Ok(message)) = timeout(LIMIT, client.next()).await.unwrap() {
        assert!(matches!(message, Message::Close(_)), "{message:?}");
    }
    let mut next = connect(server, Some("sip")).await.unwrap();
    say(&mut next, OPTIONS).await;
    assert!(hear(&mut next).await.starts_with("SIP/2.0 200"));
    controller.abort();
}
