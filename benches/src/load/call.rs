//! A caller's side of one SIP call over UDP (RFC 3261), as small as a call allows: no registration,
//! no authentication. No I/O: datagrams go in and out.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::config::Target;

/// RFC 3261 §17.1.1.1.
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);

/// In the branch of an INVITE within the call, which goes to where the peer is, not whom we called.
const AGAIN: &str = "AGAIN";

const SDP: &str = "application/sdp";

/// Timer B and timer F: 64 × T1.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(32);

/// What a call wants done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Send this to the server.
    Send(Vec<u8>),
    /// The peer's description: the answer to our offer, or a new offer that was agreed to.
    Described(String),
    /// The peer has answered an offer of ours within the call, or refused it, with this code.
    Settled(u16),
    /// The peer asks for a key frame (RFC 5168).
    KeyFrame,
    /// The call is over.
    Ended(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// INVITE sent; a provisional response stops its repetition.
    Calling {
        provisional: bool,
    },
    Established,
    /// BYE sent.
    Leaving,
    Ended,
}

/// One call.
pub(super) struct Call {
    uri: String,
    caller: String,
    /// Display name with its quotes and the space after it, or nothing.
    display: String,
    local: SocketAddr,
    id: String,
    /// Our answer to offers within the call.
    description: String,
    /// Our offer of now.
    offer: String,
    state: State,
    cseq: u32,
    /// `To` of our requests: with the tag once there is one.
    to: String,
    /// Request-URI within the dialog, from the peer's `Contact`.
    remote_target: String,
    routes: Vec<String>,
    /// Request that waits for its response, and the ACK that answers repeated 200s.
    pending: Option<Pending>,
    ack: Vec<u8>,
    /// Wishes not taken yet. At most a handful for each input; the shell takes all each time.
    outputs: VecDeque<Output>,
}

struct Pending {
    request: Vec<u8>,
    /// A re-INVITE: its CSeq.
    offer: Option<u32>,
    /// A provisional response came.
    heard: bool,
    repeat_at: Instant,
    interval: Duration,
    fail_at: Instant,
}

impl Pending {
    fn new(request: Vec<u8>, now: Instant) -> Self {
        let fail_at = now + TRANSACTION_TIMEOUT;
        Self {
            request,
            offer: None,
            heard: false,
            repeat_at: now + T1,
            interval: T1,
            fail_at,
        }
    }
}

impl Call {
    /// Sends an INVITE with this offer; offers within the call are answered by `description`. `id`
    /// makes tags, branches and Call-ID unique.
    pub(super) fn new(
        target: &Target,
        local: SocketAddr,
        id: String,
        (offer, description): (&str, String),
        now: Instant,
    ) -> Self {
        let mut call = Self {
            uri: target.uri.clone(),
            caller: target.caller.clone(),
            display: match target.name.as_str() {
                "" => String::new(),
                name => format!("\"{name}\" "),
            },
            local,
            id,
            description,
            offer: offer.to_string(),
            state: State::Calling { provisional: false },
            cseq: 1,
            to: format!("<{}>", target.uri),
            remote_target: target.uri.clone(),
            routes: Vec::new(),
            pending: None,
            ack: Vec::new(),
            outputs: VecDeque::new(),
        };
        let invite = call.request("INVITE", 1, true);
        call.outputs.push_back(Output::Send(invite.clone()));
        call.pending = Some(Pending::new(invite, now));
        call
    }

    /// Whether nothing more will happen.
    pub(super) fn ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Hangs up; a call that was not answered is cancelled.
    pub(super) fn hang_up(&mut self, now: Instant) {
        let (method, cseq) = match self.state {
            State::Calling { .. } => ("CANCEL", self.cseq),
            State::Established => ("BYE", self.cseq + 1),
            State::Leaving | State::Ended => return,
        };
        self.cseq = cseq;
        let request = self.request(method, cseq, false);
        self.outputs.push_back(Output::Send(request.clone()));
        self.pending = Some(Pending::new(request, now));
        self.state = State::Leaving;
    }

    /// Offers anew within the call (RFC 3261 §14.1), unless something waits for its response.
    pub(super) fn offer_again(&mut self, now: Instant, offer: &str) {
        if self.state != State::Established || self.pending.is_some() {
            return;
        }
        self.cseq += 1;
        self.offer = offer.to_string();
        let request = self.request_with_branch("INVITE", self.cseq, true, AGAIN);
        self.outputs.push_back(Output::Send(request.clone()));
        self.pending = Some(Pending {
            offer: Some(self.cseq),
            ..Pending::new(request, now)
        });
    }

    /// Presses a key, in an INFO, unless something waits for its response.
    pub(super) fn press(&mut self, now: Instant, key: char) {
        if self.state != State::Established || self.pending.is_some() {
            return;
        }
        self.cseq += 1;
        let body = format!("Signal={key}\r\nDuration=160\r\n");
        let head = self.head("INFO", self.cseq, "INFO");
        let request = with_body(head, "application/dtmf-relay", &body);
        self.outputs.push_back(Output::Send(request.clone()));
        self.pending = Some(Pending::new(request, now));
    }

    /// Takes a datagram. What is not SIP is passed over.
    pub(super) fn handle_input(&mut self, now: Instant, datagram: &[u8]) {
        let Some(message) = std::str::from_utf8(datagram).ok().and_then(Message::parse) else {
            return;
        };
        if header(&message, "call-id", "i") != Some(&self.id) || self.ended() {
            return;
        }
        match message.start.strip_prefix("SIP/2.0 ") {
            Some(status) => self.handle_response(now, status, &message),
            None => self.handle_request(&message),
        }
    }

    /// Repeats what was not answered, and gives up after a while.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let Some(pending) = &mut self.pending else {
            return;
        };
        if now >= pending.fail_at {
            self.end("no response");
        } else if now >= pending.repeat_at {
            pending.interval = (pending.interval * 2).min(T2);
            pending.repeat_at = now + pending.interval;
            let quiet = pending.heard || self.state == (State::Calling { provisional: true });
            if !quiet {
                self.outputs
                    .push_back(Output::Send(pending.request.clone()));
            }
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.pending
            .as_ref()
            .map(|pending| pending.repeat_at.min(pending.fail_at))
    }

    /// What is to be done next.
    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn end(&mut self, reason: &str) {
        self.pending = None;
        self.state = State::Ended;
        self.outputs.push_back(Output::Ended(reason.into()));
    }

    fn handle_response(&mut self, now: Instant, status: &str, message: &Message<'_>) {
        let code: u16 = status.get(..3).and_then(|c| c.parse().ok()).unwrap_or(0);
        let method = header(message, "cseq", "").and_then(|v| v.split(' ').next_back());
        match (method, self.state) {
            (Some("INVITE"), State::Calling { .. }) => match code {
                100..=199 => self.state = State::Calling { provisional: true },
                200..=299 => self.answered(message),
                _ => {
                    self.acknowledge_refusal(message);
                    match header(message, "warning", "") {
                        Some(warning) => self.end(&format!("{status}: {warning}")),
                        None => self.end(status),
                    }
                }
            },
            (Some("INVITE"), State::Established) if self.settles(message) => {
                self.settle(code, message);
            }
            // RFC 3261 §13.2.2.4: each repetition of the 200 is acknowledged.
            (Some("INVITE"), State::Established) if code / 100 == 2 => {
                self.outputs.push_back(Output::Send(self.ack.clone()));
            }
            (Some("INVITE"), State::Leaving) => match code {
                100..=199 => {}
                200..=299 => {
                    // The answer crossed our CANCEL: take the call and leave it at once.
                    self.answered(message);
                    self.hang_up(now);
                }
                _ => {
                    self.acknowledge_refusal(message);
                    self.end("cancelled");
                }
            },
            (Some("INFO"), State::Established) if code >= 200 => self.pending = None,
            (Some("BYE"), State::Leaving) if code >= 200 => self.end("hung up"),
            // The end of a cancelled call is the INVITE's own response.
            (Some("CANCEL"), State::Leaving) if code == 200 => {}
            (Some("CANCEL"), State::Leaving) if code > 200 => self.end("cancelled"),
            _ => {}
        }
    }

    /// Whether it is a response to our offer within the call.
    fn settles(&self, message: &Message<'_>) -> bool {
        let number = header(message, "cseq", "").and_then(|v| v.split(' ').next()?.parse().ok());
        let offer = self.pending.as_ref().and_then(|pending| pending.offer);
        offer.is_some() && offer == number
    }

    fn settle(&mut self, code: u16, message: &Message<'_>) {
        match code {
            100..=199 => {
                if let Some(pending) = &mut self.pending {
                    pending.heard = true;
                }
                return;
            }
            200..=299 => {
                self.ack = self.request("ACK", self.cseq, false);
                self.outputs.push_back(Output::Send(self.ack.clone()));
                self.outputs
                    .push_back(Output::Described(message.body.into()));
            }
            _ => {
                let ack = self.request_with_branch("ACK", self.cseq, false, AGAIN);
                self.outputs.push_back(Output::Send(ack));
            }
        }
        self.pending = None;
        self.outputs.push_back(Output::Settled(code));
        // RFC 3261 §12.2.1.2: the peer knows of no such call.
        if matches!(code, 408 | 481) {
            self.end("the peer knows no such call");
        }
    }

    fn answered(&mut self, message: &Message<'_>) {
        self.state = State::Established;
        self.pending = None;
        if let Some(to) = header(message, "to", "t") {
            self.to = to.into();
        }
        if let Some(contact) = header(message, "contact", "m").and_then(uri_of) {
            self.remote_target = contact.into();
        }
        // RFC 3261 §12.1.2: the caller's routes are the recorded ones in reverse.
        self.routes = message
            .all("record-route", "")
            .map(str::to_string)
            .collect();
        self.routes.reverse();
        self.ack = self.request("ACK", self.cseq, false);
        self.outputs.push_back(Output::Send(self.ack.clone()));
        self.outputs
            .push_back(Output::Described(message.body.into()));
    }

    /// ACK of a refusal (RFC 3261 §17.1.1.3): same branch as the INVITE.
    fn acknowledge_refusal(&mut self, message: &Message<'_>) {
        let to = header(message, "to", "t").unwrap_or(&self.to).to_string();
        let own = std::mem::replace(&mut self.to, to);
        let ack = self.request_with_branch("ACK", 1, false, "INVITE");
        self.to = own;
        self.outputs.push_back(Output::Send(ack));
    }

    fn handle_request(&mut self, message: &Message<'_>) {
        match message.start.split(' ').next().unwrap_or_default() {
            "ACK" => {}
            "BYE" => {
                self.respond(message, "200 OK", "");
                match header(message, "reason", "") {
                    Some(reason) => self.end(&format!("the peer hung up: {reason}")),
                    None => self.end("the peer hung up"),
                }
            }
            // Glare (RFC 3261 §14.2): ours is under way.
            "INVITE" | "UPDATE" if self.pending.as_ref().is_some_and(|p| p.offer.is_some()) => {
                self.respond(message, "491 Request Pending", "");
            }
            "INVITE" | "UPDATE" => {
                let description = self.description.clone();
                self.respond(message, "200 OK", &description);
                if !message.body.is_empty() {
                    self.outputs
                        .push_back(Output::Described(message.body.into()));
                }
            }
            "INFO" => {
                self.respond(message, "200 OK", "");
                if message.body.contains("picture_fast_update") {
                    self.outputs.push_back(Output::KeyFrame);
                }
            }
            "OPTIONS" | "MESSAGE" => self.respond(message, "200 OK", ""),
            _ => self.respond(message, "501 Not Implemented", ""),
        }
    }

    fn respond(&mut self, message: &Message<'_>, status: &str, body: &str) {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for (name, short) in [
            ("via", "v"),
            ("record-route", ""),
            ("from", "f"),
            ("to", "t"),
            ("call-id", "i"),
            ("cseq", ""),
        ] {
            for value in message.all(name, short) {
                text += &format!("{name}: {value}\r\n");
            }
        }
        text += &format!("Contact: <sip:{}@{}>\r\n", self.caller, self.local);
        self.outputs
            .push_back(Output::Send(with_body(text, SDP, body)));
    }

    fn request(&self, method: &str, cseq: u32, offer: bool) -> Vec<u8> {
        // RFC 3261 §9.1: a CANCEL carries the branch of its INVITE.
        let branch = if method == "CANCEL" { "INVITE" } else { method };
        self.request_with_branch(method, cseq, offer, branch)
    }

    fn request_with_branch(&self, method: &str, cseq: u32, offer: bool, branch: &str) -> Vec<u8> {
        let head = self.head(method, cseq, branch);
        with_body(head, SDP, if offer { &self.offer } else { "" })
    }

    fn head(&self, method: &str, cseq: u32, branch: &str) -> String {
        let Self {
            caller,
            display,
            local,
            id,
            to,
            ..
        } = self;
        let of_invite = branch == "INVITE";
        let uri = if of_invite {
            &self.uri
        } else {
            &self.remote_target
        };
        let mut text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{id}{branch}{cseq};rport\r\n\
             Max-Forwards: 70\r\nFrom: {display}<sip:{caller}@{local}>;tag={id}\r\nTo: {to}\r\nCall-ID: {id}\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:{caller}@{local}>\r\nUser-Agent: consilium-load\r\n\
             Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE\r\n"
        );
        for route in &self.routes {
            text += &format!("Route: {route}\r\n");
        }
        text
    }
}

fn with_body(mut head: String, content_type: &str, body: &str) -> Vec<u8> {
    if !body.is_empty() {
        head += &format!("Content-Type: {content_type}\r\n");
    }
    head += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    head.into_bytes()
}

/// A SIP message, taken apart no further than needed.
struct Message<'a> {
    start: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    body: &'a str,
}

impl<'a> Message<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let start = lines.next()?;
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim(), value.trim()))
            .collect();
        start.contains("SIP/2.0").then_some(Self {
            start,
            headers,
            body,
        })
    }

    /// Values of a header by its long or compact name.
    fn all(&self, name: &'a str, short: &'a str) -> impl Iterator<Item = &'a str> {
        let same = move |n: &str| {
            n.eq_ignore_ascii_case(name) || (!short.is_empty() && n.eq_ignore_ascii_case(short))
        };
        self.headers
            .iter()
            .filter(move |(n, _)| same(n))
            .map(|&(_, value)| value)
    }
}

fn header<'a>(message: &Message<'a>, name: &'a str, short: &'a str) -> Option<&'a str> {
    message.all(name, short).next()
}

/// The URI of a `Contact`, without display name and parameters of the header.
fn uri_of(contact: &str) -> Option<&str> {
    match contact.split_once('<') {
        Some((_, rest)) => rest.split('>').next(),
        None => contact.split(';').next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target::number("3000", "127.0.0.1:5060".parse().unwrap())
    }

    fn calling(now: Instant) -> Call {
        let local = "127.0.0.1:7000".parse().unwrap();
        Call::new(
            &target(),
            local,
            "id7".into(),
            ("v=0\r\n", "v=0\r\n".into()),
            now,
        )
    }

    fn outputs(call: &mut Call) -> Vec<Output> {
        std::iter::from_fn(|| call.poll_output()).collect()
    }

    fn sent(call: &mut Call) -> Vec<String> {
        outputs(call)
            .into_iter()
            .filter_map(|output| match output {
                Output::Send(bytes) => Some(String::from_utf8(bytes).unwrap()),
                _ => None,
            })
            .collect()
    }

    fn response(status: &str, method: &str, cseq: u32, body: &str) -> Vec<u8> {
        let text = format!(
            "SIP/2.0 {status}\r\nv: SIP/2.0/UDP 127.0.0.1:7000\r\nt: <sip:3000@x>;tag=far\r\n\
             i: id7\r\nCSeq: {cseq} {method}\r\nm: \"Room\" <sip:room@127.0.0.1:5060>;x=1\r\n"
        );
        with_body(text, SDP, body)
    }

    fn request(method: &str, body: &str) -> Vec<u8> {
        let text = format!(
            "{method} sip:load@127.0.0.1:7000 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=b\r\n\
             From: <sip:3000@x>;tag=far\r\nTo: <sip:load@x>;tag=id7\r\nCall-ID: id7\r\nCSeq: 8 {method}\r\n"
        );
        with_body(text, SDP, body)
    }

    #[test]
    fn a_call_is_answered_used_and_hung_up() {
        let now = Instant::now();
        let mut call = calling(now);
        assert!(sent(&mut call)[0].starts_with("INVITE sip:3000@127.0.0.1:5060 SIP/2.0\r\n"));
        call.handle_input(now, &response("100 Trying", "INVITE", 1, ""));
        call.handle_input(now, &response("200 OK", "INVITE", 1, "answer"));
        let got = outputs(&mut call);
        let [Output::Send(ack), Output::Described(answer)] = &got[..] else {
            panic!("{got:?}")
        };
        assert!(ack.starts_with(b"ACK sip:room@127.0.0.1:5060 SIP/2.0\r\n"));
        assert_eq!(answer, "answer");
        assert_eq!(call.poll_timeout(), None);
        // A repeated 200 is acknowledged again and means nothing new.
        call.handle_input(now, &response("200 OK", "INVITE", 1, "answer"));
        assert_eq!(outputs(&mut call).len(), 1);
        call.hang_up(now);
        assert!(sent(&mut call)[0].contains("CSeq: 2 BYE\r\n"));
        call.handle_input(now, &response("200 OK", "BYE", 2, ""));
        assert_eq!(outputs(&mut call), [Output::Ended("hung up".into())]);
        assert!(call.ended());
    }

    #[test]
    fn an_unanswered_invite_is_repeated_and_given_up() {
        let mut now = Instant::now();
        let start = now;
        let mut call = calling(now);
        let mut copies = 0;
        while let Some(at) = call.poll_timeout() {
            now = at;
            copies += sent(&mut call).len();
            call.handle_timeout(now);
        }
        assert_eq!(now - start, TRANSACTION_TIMEOUT);
        assert!((7..=12).contains(&copies), "{copies}");
        assert_eq!(outputs(&mut call), [Output::Ended("no response".into())]);
    }

    #[test]
    fn a_refusal_is_acknowledged_and_told() {
        let now = Instant::now();
        let mut call = calling(now);
        let invite = sent(&mut call).remove(0);
        call.handle_input(now, &response("404 Not Found", "INVITE", 1, ""));
        let got = outputs(&mut call);
        let [Output::Send(ack), Output::Ended(reason)] = &got[..] else {
            panic!("{got:?}")
        };
        let ack = std::str::from_utf8(ack).unwrap();
        let branch = |text: &str| text.split("branch=").nth(1).map(|t| t[..20].to_string());
        assert_eq!(branch(ack), branch(&invite));
        assert!(ack.contains("tag=far"));
        assert_eq!(reason, "404 Not Found");
    }

    #[test]
    fn the_peer_may_offer_anew_ask_for_a_key_frame_and_leave() {
        let now = Instant::now();
        let mut call = calling(now);
        call.handle_input(now, &response("200 OK", "INVITE", 1, "answer"));
        outputs(&mut call);
        call.handle_input(now, &request("INVITE", "offer"));
        let got = outputs(&mut call);
        let [Output::Send(ok), Output::Described(offer)] = &got[..] else {
            panic!("{got:?}")
        };
        assert!(ok.starts_with(b"SIP/2.0 200 OK\r\n") && ok.ends_with(b"\r\n\r\nv=0\r\n"));
        assert_eq!(offer, "offer");
        call.handle_input(now, &request("INFO", "<picture_fast_update/>"));
        assert!(outputs(&mut call).contains(&Output::KeyFrame));
        call.handle_input(now, &request("BYE", ""));
        assert!(outputs(&mut call).contains(&Output::Ended("the peer hung up".into())));
    }

    #[test]
    fn an_offer_within_the_call_is_repeated_until_it_is_answered() {
        let now = Instant::now();
        let mut call = calling(now);
        call.handle_input(now, &response("200 OK", "INVITE", 1, "answer"));
        outputs(&mut call);
        call.offer_again(now, "again");
        let offer = sent(&mut call).remove(0);
        assert!(offer.starts_with("INVITE sip:room@127.0.0.1:5060 SIP/2.0\r\n"));
        assert!(offer.contains("CSeq: 2 INVITE") && offer.contains("tag=far"));
        assert!(offer.ends_with("again"));
        call.handle_timeout(now + T1);
        assert_eq!(sent(&mut call), [offer]);
        call.handle_input(now, &request("INVITE", "theirs"));
        assert!(sent(&mut call)[0].starts_with("SIP/2.0 491 "));
        call.handle_input(now, &response("200 OK", "INVITE", 2, "agreed"));
        let got = outputs(&mut call);
        assert!(got.contains(&Output::Described("agreed".into())));
        assert!(got.contains(&Output::Settled(200)));
        call.offer_again(now, "third");
        outputs(&mut call);
        call.handle_input(now, &response("481 Call Does Not Exist", "INVITE", 3, ""));
        assert!(call.ended());
    }

    #[test]
    fn a_cancelled_call_ends_with_its_response() {
        let now = Instant::now();
        let mut call = calling(now);
        call.handle_input(now, &response("180 Ringing", "INVITE", 1, ""));
        outputs(&mut call);
        call.hang_up(now);
        assert!(sent(&mut call)[0].starts_with("CANCEL "));
        call.handle_input(now, &response("200 OK", "CANCEL", 1, ""));
        assert!(!call.ended());
        call.handle_input(now, &response("487 Request Terminated", "INVITE", 1, ""));
        assert!(call.ended());
    }

    #[test]
    fn strangers_and_rubbish_are_passed_over() {
        let now = Instant::now();
        let mut call = calling(now);
        outputs(&mut call);
        let other = String::from_utf8(response("200 OK", "INVITE", 1, "x")).unwrap();
        call.handle_input(now, other.replace("id7", "id8").as_bytes());
        for bytes in [
            &b""[..],
            b"\r\n\r\n",
            &[0xff; 40],
            b"SIP/2.0\r\n\r\n",
            b"SIP/2.0 \xc3\xa9\r\n\r\n",
        ] {
            call.handle_input(now, bytes);
        }
        assert_eq!(outputs(&mut call), []);
    }
}
