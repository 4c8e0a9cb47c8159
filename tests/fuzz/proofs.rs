//! Targets whose peer knows a password: who proves an account to us, and a server to which we prove one.

use std::time::{Duration, Instant};

use mcu_api::call::Credentials;
use mcu_api::directory::{Audience, Home};
use mcu_api::secret::Redacted;
use md5::{Digest, Md5};
use sip::{
    Account, Conference, ConferenceUser, Config, Endpoint, Flow, FlowId, Ha1, Input, MediaStatus,
    Output, RemoteRegistrar, Transport,
};

use super::{PEER, answering, pieces, settle_output};

const USER: &str = "ward-7";
const PASSWORD: &str = "correct-horse";

/// Requests of who has an account, and what it answers to ours: it registers, watches a conference,
/// calls, and comes in place of its own call. A line `Authorization: mine` becomes the proof that our
/// last challenge asked for, and `@tag@` our last To tag; the head of a response is that of our last
/// request.
pub fn proven_requests(data: &[u8]) -> usize {
    let start = Instant::now();
    let mut peer = Peer::new(start);
    for (n, bytes) in pieces(data).enumerate() {
        peer.say(start + Duration::from_secs(2 * n as u64), bytes);
    }
    // A day, by its own timers: registrations and subscriptions are over by then.
    let mut now = start;
    for _ in 0..2_000 {
        let Some(next) = peer.endpoint.next_timeout() else {
            break;
        };
        now = now.max(next);
        if now > start + Duration::from_secs(86_400) {
            break;
        }
        peer.endpoint.handle_timeout(now);
        peer.hear(now);
    }
    assert_eq!(peer.endpoint.registrations(now + DAY).count(), 0);
    peer.accepted
}

const DAY: Duration = Duration::from_secs(86_400);

/// The account's owner, and what it heard last.
struct Peer {
    endpoint: Endpoint,
    flow: Flow,
    nonce: String,
    proofs: u32,
    tag: String,
    request: String,
    accepted: usize,
}

impl Peer {
    fn new(now: Instant) -> Self {
        let realm = Config::default().realm;
        let account = Account {
            user: USER.to_owned(),
            ha1: Ha1::from_password(USER, &realm, PASSWORD),
            may_register: true,
            home: Home::Everywhere,
        };
        let config = Config {
            accounts: vec![account],
            ..Config::default()
        };
        let mut endpoint = Endpoint::new(config, [7; 32]);
        endpoint.publish(now, conference());
        Self {
            endpoint,
            flow: flow(Transport::Udp),
            nonce: String::new(),
            proofs: 0,
            tag: String::new(),
            request: String::new(),
            accepted: 0,
        }
    }

    fn say(&mut self, now: Instant, bytes: &[u8]) {
        let bytes = answering(bytes, &self.request);
        let bytes = match String::from_utf8(bytes) {
            Ok(text) => self.written_out(&text).into_bytes(),
            Err(other) => other.into_bytes(),
        };
        let flow = self.flow;
        self.endpoint.handle_timeout(now);
        self.hear(now);
        let input = Input::Received {
            flow,
            bytes: &bytes,
        };
        self.endpoint.handle_input(now, input);
        self.hear(now);
    }

    fn written_out(&mut self, text: &str) -> String {
        let text = text.replace("@tag@", &self.tag);
        if !text.contains("\nAuthorization: mine") {
            return text;
        }
        let method = text.split(' ').next().unwrap_or_default();
        self.proofs += 1;
        let count = format!("{:08x}", self.proofs);
        let proof = proof(method, &self.nonce, &count);
        text.replace(
            "\nAuthorization: mine",
            &format!("\nAuthorization: {proof}"),
        )
    }

    fn hear(&mut self, now: Instant) {
        while let Some(output) = self.endpoint.poll_output() {
            if let Output::Transmit { bytes, .. } = &output {
                self.note(&String::from_utf8_lossy(bytes));
            }
            settle_output(&mut self.endpoint, now, output);
        }
    }

    fn note(&mut self, text: &str) {
        let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        if !text.starts_with("SIP/2.0") {
            if !text.starts_with("ACK") {
                self.request = text.to_owned();
            }
            return;
        }
        self.accepted += usize::from(text.starts_with("SIP/2.0 2"));
        if let Some((_, tag)) = line("To:").and_then(|to| to.split_once(";tag=")) {
            self.tag = tag.to_owned();
        }
        let nonce = line("WWW-Authenticate:").and_then(|value| value.split_once("nonce=\""));
        if let Some((nonce, _)) = nonce.and_then(|(_, rest)| rest.split_once('"')) {
            (self.nonce, self.proofs) = (nonce.to_owned(), 0);
        }
    }
}

/// RFC 7616 §3.4, with MD5.
fn proof(method: &str, nonce: &str, count: &str) -> String {
    let realm = Config::default().realm;
    let hash = |text: String| -> String {
        let bytes = Md5::digest(text);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let user = hash(format!("{USER}:{realm}:{PASSWORD}"));
    let asked = hash(format!("{method}:sip:here"));
    let response = hash(format!("{user}:{nonce}:{count}:c:auth:{asked}"));
    format!(
        "Digest username=\"{USER}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"sip:here\", \
         algorithm=MD5, qop=auth, cnonce=\"c\", nc={count}, response=\"{response}\""
    )
}

fn conference() -> Conference {
    Conference {
        number: "3000".to_owned(),
        open_to: Some(Audience::everybody()),
        max_users: 10,
        users: vec![ConferenceUser {
            id: 1,
            call: None,
            name: Redacted("Ward <7> & \"8\"".to_owned()),
            dialled_out: false,
            audio: Some(MediaStatus::SendRecv),
            video: None,
        }],
    }
}

/// What a server says to our registrations, over a day: each piece answers the last REGISTER.
pub fn answers_to_our_registrations(data: &[u8]) -> usize {
    let start = Instant::now();
    let mut endpoint = Endpoint::new(Config::default(), [7; 32]);
    endpoint.register_at(RemoteRegistrar {
        name: "city".to_owned(),
        uri: format!("sip:{PEER}"),
        host: "carrier.example".to_owned(),
        domain: "carrier.example".to_owned(),
        credentials: Credentials {
            user: USER.to_owned(),
            password: Redacted(PASSWORD.to_owned()),
            realms: vec!["carrier".to_owned()],
        },
        expires: Duration::from_secs(600),
    });
    let (mut now, mut request, mut sent) = (start, String::new(), 0);
    for bytes in pieces(data) {
        sent += registered(&mut endpoint, now, &mut request);
        let bytes = &answering(bytes, &request);
        let flow = flow(Transport::Udp);
        endpoint.handle_input(now, Input::Received { flow, bytes });
        sent += registered(&mut endpoint, now, &mut request);
        // Whatever was said, there will be another REGISTER.
        let next = endpoint.next_timeout().expect("a registration is kept up");
        assert!(next <= now + DAY, "{:?}", next - now);
        now = now.max(next);
        endpoint.handle_timeout(now);
    }
    sent
}

/// How many REGISTERs were sent; the last is kept.
fn registered(endpoint: &mut Endpoint, now: Instant, request: &mut String) -> usize {
    let mut sent = 0;
    while let Some(output) = endpoint.poll_output() {
        match output {
            Output::Locate { registration, .. } => {
                endpoint.located(now, registration, Ok(vec![flow(Transport::Udp)]));
            }
            Output::Transmit { bytes, .. } => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                if text.starts_with("REGISTER ") && text != *request {
                    (*request, sent) = (text, sent + 1);
                }
            }
            _ => {}
        }
    }
    sent
}

fn flow(transport: Transport) -> Flow {
    Flow {
        id: FlowId(1),
        transport,
        local: ([127, 0, 0, 1], 5_060).into(),
        remote: PEER,
        advertised: None,
    }
}
