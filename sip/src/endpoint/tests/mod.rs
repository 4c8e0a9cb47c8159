//! Flows of the endpoint in virtual time.

mod accounts;
mod answers;
mod calls;
mod days;
mod dialling;
mod floods;
mod forking;
mod gruus;
mod locating;
mod lossy;
mod offers;
mod outbound;
mod redirecting;
mod referring;
mod registering;
mod reliable;
mod replacing;
mod restarts;
mod streams;
mod subscriptions;
mod timers;
mod torture;
mod transferring;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mcu_api::call::{CallCommand, CallEvent, EndReason, RejectReason};
use mcu_api::directory::Home;
use mcu_api::ids::CallId;
use mcu_api::secret::Redacted;

use crate::{
    Account, Config, Endpoint, Flow, FlowId, Ha1, Input, Output, RegistrationId, Transport,
};

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
const ANSWER: &str =
    "v=0\r\no=- 9 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=audio 5000 RTP/AVP 0\r\n";

/// An endpoint, the time, and what it put out.
struct Bench {
    endpoint: Endpoint,
    config: Config,
    /// Seed of the endpoint.
    lives: u8,
    now: Instant,
    flow: Flow,
    sent: Vec<(Flow, String)>,
    events: Vec<CallEvent>,
    closed: Vec<FlowId>,
    connects: Vec<Flow>,
    /// What the peers of those are to prove to be.
    domains: Vec<Option<String>>,
    locates: Vec<RegistrationId>,
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn udp() -> Flow {
    Flow {
        id: FlowId(1),
        transport: Transport::Udp,
        local: address("192.0.2.1:5060"),
        remote: address("192.0.2.7:5060"),
        advertised: None,
    }
}

fn tcp(id: u64) -> Flow {
    Flow {
        id: FlowId(id),
        transport: Transport::Tcp,
        remote: address("192.0.2.7:40001"),
        ..udp()
    }
}

fn config() -> Config {
    let account = |user: &str, may_register| Account {
        user: user.to_owned(),
        ha1: Ha1::from_password(user, "hospital", "s3cret"),
        may_register,
        home: Home::Everywhere,
    };
    Config {
        realm: "hospital".to_owned(),
        accounts: vec![account("or-1", true), account("guest", false)],
        ..Config::default()
    }
}

impl Bench {
    fn new() -> Self {
        Self::with(config())
    }

    fn with(config: Config) -> Self {
        Self {
            endpoint: Endpoint::new(config.clone(), [5; 32]),
            config,
            lives: 5,
            now: Instant::now(),
            flow: udp(),
            sent: Vec::new(),
            events: Vec::new(),
            closed: Vec::new(),
            connects: Vec::new(),
            domains: Vec::new(),
            locates: Vec::new(),
        }
    }

    fn over(mut self, flow: Flow) -> Self {
        self.flow = flow;
        self
    }

    fn feed(&mut self, text: &str) {
        self.feed_bytes(text.as_bytes());
    }

    fn feed_bytes(&mut self, bytes: &[u8]) {
        let flow = self.flow;
        self.endpoint
            .handle_input(self.now, Input::Received { flow, bytes });
        self.drain();
    }

    fn close(&mut self, flow: FlowId) {
        self.endpoint.handle_input(self.now, Input::Closed { flow });
        self.drain();
    }

    fn command(&mut self, command: CallCommand) {
        self.endpoint.command(self.now, command);
        self.drain();
    }

    /// Lets time pass, firing what falls due on the way at its own moment.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.endpoint.next_timeout().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.endpoint.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit { flow, bytes } => {
                    let text = String::from_utf8(bytes.to_vec()).unwrap();
                    self.sent.push((flow, text));
                }
                Output::Event(event) => self.events.push(event),
                Output::Close { flow } => self.closed.push(flow),
                Output::Connect { flow, domain } => {
                    self.connects.push(flow);
                    self.domains.push(domain);
                }
                Output::Locate { registration, .. } => self.locates.push(registration),
            }
        }
    }

    fn take_sent(&mut self) -> Vec<String> {
        self.sent.drain(..).map(|(_, text)| text).collect()
    }

    /// The only message sent since the last look.
    fn only(&mut self) -> String {
        let sent = self.take_sent();
        assert_eq!(sent.len(), 1, "{sent:#?}");
        sent.into_iter().next().unwrap()
    }

    /// Start lines of what was sent since the last look.
    fn start_lines(&mut self) -> Vec<String> {
        let lines = self.take_sent();
        lines
            .iter()
            .map(|text| text.lines().next().unwrap().to_owned())
            .collect()
    }

    fn take_events(&mut self) -> Vec<CallEvent> {
        std::mem::take(&mut self.events)
    }

    /// The call that was announced last.
    fn incoming(&mut self) -> CallId {
        let events = self.take_events();
        let [CallEvent::Incoming(call)] = events.as_slice() else {
            panic!("not one incoming call: {events:?}");
        };
        call.call
    }

    fn accept(&mut self, call: CallId) -> String {
        self.command(CallCommand::Accept {
            call,
            sdp: Redacted(ANSWER.to_owned()),
        });
        self.only()
    }

    /// A call that is up, with our tag in its dialog.
    fn up(&mut self) -> (CallId, String) {
        self.up_with("")
    }

    fn up_with(&mut self, headers: &str) -> (CallId, String) {
        let invite = request("INVITE", "3000", 1, "", "a", headers, Some(OFFER));
        self.feed(&invite);
        let call = self.incoming();
        assert!(self.sent.is_empty());
        let ok = self.accept(call);
        assert!(ok.starts_with("SIP/2.0 200 OK"), "{ok}");
        let tag = tag_of(&ok);
        self.feed(&request("ACK", "3000", 1, &tag, "a-ack", "", None));
        assert_eq!(self.take_events(), [CallEvent::Established { call }]);
        assert!(self.sent.is_empty());
        (call, tag)
    }

    /// SIGKILL of the process, and after `dead` another with what was kept, read and written as the
    /// shell does.
    fn restart(&mut self, dead: Duration) {
        let calls = serde_json::to_string(&self.endpoint.save_calls(self.now)).unwrap();
        let contacts = self.endpoint.save_registrations(self.now);
        let contacts = serde_json::to_string(&contacts).unwrap();
        self.lives += 1;
        self.endpoint = Endpoint::new(self.config.clone(), [self.lives; 32]);
        self.now += dead;
        let calls = serde_json::from_str(&calls).unwrap();
        self.endpoint.restore_calls(self.now, calls, dead);
        let contacts = serde_json::from_str(&contacts).unwrap();
        self.endpoint
            .restore_registrations(self.now, contacts, dead);
        self.drain();
    }

    fn ended(&mut self, call: CallId, reason: EndReason) {
        assert_eq!(self.take_events(), [CallEvent::Ended { call, reason }]);
    }
}

/// A request of the peer: method, number, CSeq, our tag (empty outside a dialog), branch suffix,
/// further headers (each with its line end), body.
fn request(
    method: &str,
    user: &str,
    cseq: u32,
    to_tag: &str,
    branch: &str,
    headers: &str,
    sdp: Option<&str>,
) -> String {
    let to_tag = match to_tag {
        "" => String::new(),
        tag => format!(";tag={tag}"),
    };
    let kind = match sdp {
        Some(_) => "Content-Type: application/sdp\r\n",
        None => "",
    };
    let body = sdp.unwrap_or_default();
    format!(
        "{method} sip:{user}@192.0.2.1 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK{branch};rport\r\n\
         From: \"OR 1\" <sip:or-1@192.0.2.7>;tag=peer\r\n\
         To: <sip:{user}@192.0.2.1>{to_tag}\r\n\
         Call-ID: one@192.0.2.7\r\n\
         CSeq: {cseq} {method}\r\n\
         Contact: <sip:or-1@192.0.2.7:5060>\r\n\
         Max-Forwards: 70\r\n\
         {headers}{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The value of a header in a message, without the name.
fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message
        .lines()
        .take_while(|line| !line.is_empty())
        .find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
}

fn tag_of(message: &str) -> String {
    let to = header(message, "To").unwrap();
    to.split_once(";tag=").unwrap().1.to_owned()
}

fn body_of(message: &str) -> &str {
    message.split_once("\r\n\r\n").unwrap().1
}

/// The peer's response to a request of ours.
fn respond(to: &str, status: &str, headers: &str, sdp: Option<&str>) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        text += &format!("{name}: {}\r\n", header(to, name).unwrap());
    }
    if sdp.is_some() {
        text += "Content-Type: application/sdp\r\n";
    }
    let body = sdp.unwrap_or_default();
    text + headers + &format!("Content-Length: {}\r\n\r\n{body}", body.len())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn reject(call: CallId, reason: RejectReason) -> CallCommand {
    CallCommand::Reject { call, reason }
}
