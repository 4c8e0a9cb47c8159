//! Transactions in flight (RFC 3261 §17, RFC 6026) with their timers and the flow each one uses.
//!
//! Only requests that change something get a server transaction; refusals, challenges and OPTIONS are
//! answered without state (RFC 3261 §8.2.7), so that a flood of them costs no memory.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use mcu_api::ids::CallId;
use sipx_sip::transaction::TransactionLayer;
use sipx_sip::transaction::{
    ClientState, Dispatch, Output as Step, Reliability, Timer, Timers, TuEvent,
};

use crate::call::GIVE_UP;
use crate::flow::Flow;
use crate::message::{
    self, HeaderName, Message, Method, Request, RequestBuilder, Response, TransactionKey, lossy,
    text,
};

/// What one of our requests was sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// re-INVITE with an offer of the rooms.
    Offer,
    /// re-INVITE or UPDATE that only keeps the session alive (RFC 4028 §7.4).
    Refresh,
    /// INFO with a key frame request.
    KeyFrame,
    /// NOTIFY of what became of a REFER.
    Refer,
    /// REFER: the terminal is to go on elsewhere.
    Transfer,
    /// BYE.
    Bye,
    /// INVITE of a call that we make.
    Dial,
    /// PRACK of a provisional response to it (RFC 3262).
    Prack,
    /// REGISTER at another server, whose number stands in place of the call's.
    Register,
    /// NOTIFY of a subscription, whose number stands in place of the call's.
    Notify,
}

/// What the transactions have to say.
#[derive(Debug)]
pub(crate) enum News {
    /// Bytes to be sent.
    Transmit(Flow, Bytes),
    /// A response to a request of ours, with its transaction; a 2xx to INVITE may come repeatedly.
    Response(CallId, Purpose, TransactionKey, Box<Response>),
    /// A request of ours got no answer.
    Failed(CallId, Purpose, TransactionKey),
    /// A 2xx to the first INVITE of a call that is not wanted any more.
    Stray(Flow, Box<Request>, Box<Response>),
    /// An ACK that matched by the rules of RFC 2543 and belongs to a 2xx.
    Ack(Flow, Box<Request>),
}

struct Entry {
    flow: Flow,
    owner: Option<(CallId, Purpose)>,
    /// The first INVITE of a call of ours: a 2xx to it is acknowledged whatever became of the call.
    dials: bool,
    /// To be cancelled once a provisional response has come (RFC 3261 §9.1).
    cancel_later: bool,
    armed: Vec<(Alarm, Instant, u64)>,
}

/// What a moment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alarm {
    /// A timer of the transaction.
    Timer(Timer),
    /// The end of a transaction whose call is over.
    End,
}

/// All transactions. Never more than `capacity`: further requests are refused by the caller.
pub(crate) struct Transactions {
    layer: TransactionLayer,
    entries: HashMap<TransactionKey, Entry>,
    /// What was asked for each call: thousands of others may be remembered.
    asked: HashMap<CallId, Vec<TransactionKey>>,
    due: BTreeMap<(Instant, u64), (TransactionKey, Alarm)>,
    serial: u64,
    capacity: usize,
    /// Drained by the endpoint within the call that filled it.
    news: VecDeque<News>,
}

impl Transactions {
    pub fn new(capacity: usize) -> Self {
        Self {
            layer: TransactionLayer::new(Timers::default()),
            entries: HashMap::new(),
            asked: HashMap::new(),
            due: BTreeMap::new(),
            serial: 0,
            capacity,
            news: VecDeque::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_full(&self) -> bool {
        self.entries.len() >= self.capacity
    }

    /// Whether a BYE of ours is not answered, or an INVITE not cancelled that should be.
    pub fn has_open_end(&self) -> bool {
        self.entries.iter().any(|(key, entry)| {
            let bye = matches!(entry.owner, Some((_, Purpose::Bye)));
            let state = bye.then(|| self.layer.client_state(key)).flatten();
            let open = matches!(state, Some(ClientState::Trying | ClientState::Proceeding));
            open || entry.cancel_later
        })
    }

    /// Whether an INVITE with this key is being handled.
    pub fn contains(&self, key: &TransactionKey) -> bool {
        self.entries.contains_key(key)
    }

    /// Gives a request to the transaction it belongs to. `false` when there is none.
    pub fn absorb(&mut self, now: Instant, request: &Request) -> bool {
        let Some(key) = TransactionKey::from_request(request) else {
            return false;
        };
        if self.layer.server_state(&key).is_none() {
            return false;
        }
        let message = Message::Request(request.clone());
        let Some(reliability) = self.entries.get(&key).map(|e| reliability(e.flow)) else {
            return false;
        };
        if let Dispatch::Matched { key, outputs } = self.layer.receive(message, reliability) {
            self.apply(now, &key, outputs);
        }
        true
    }

    /// Opens a server transaction whose responses go to `flow`. `None` when the request has no key or
    /// an old transaction holds it.
    pub fn open(&mut self, now: Instant, request: Request, flow: Flow) -> Option<TransactionKey> {
        let dispatch = self
            .layer
            .receive(Message::Request(request), reliability(flow));
        let Dispatch::Created { key, outputs } = dispatch else {
            return None;
        };
        self.insert(&key, flow, None);
        self.apply(now, &key, outputs);
        Some(key)
    }

    /// Answers a request of a server transaction.
    pub fn respond(&mut self, now: Instant, key: &TransactionKey, response: Response) {
        let outputs = self.layer.send_response(key, response);
        self.apply(now, key, outputs);
    }

    /// Sends a request of ours. `false` when there is no room for it.
    pub fn send(
        &mut self,
        now: Instant,
        request: Request,
        flow: Flow,
        owner: (CallId, Purpose),
    ) -> bool {
        self.begin(now, request, flow, owner).is_some()
    }

    /// As [`Self::send`]; yields the transaction.
    pub fn begin(
        &mut self,
        now: Instant,
        request: Request,
        flow: Flow,
        owner: (CallId, Purpose),
    ) -> Option<TransactionKey> {
        if self.is_full() {
            return None;
        }
        let (key, outputs) = self.layer.send_request(request, reliability(flow))?;
        self.insert(&key, flow, Some(owner));
        self.apply(now, &key, outputs);
        Some(key)
    }

    /// Takes back the first INVITEs of a call that have no final answer, `except` one: by CANCEL, as
    /// soon as RFC 3261 §9.1 allows it. Nothing more is heard of them but [`News::Stray`].
    pub fn cancel(&mut self, now: Instant, call: CallId, except: Option<&TransactionKey>) {
        let keys = self.asked.get(&call).cloned().unwrap_or_default();
        for key in keys.iter().filter(|key| Some(*key) != except) {
            let state = self.layer.client_state(key);
            let rings = match state {
                Some(ClientState::Calling) => false,
                Some(ClientState::Proceeding) => true,
                _ => continue,
            };
            if !self.entries.get(key).is_some_and(|entry| entry.dials) {
                continue;
            }
            self.disown(call, key);
            if rings {
                self.send_cancel(now, key);
            } else if let Some(entry) = self.entries.get_mut(key) {
                entry.cancel_later = true;
            }
        }
    }

    /// The INVITE of ours that a response answers, and where it went.
    pub fn invite_of(&self, key: &TransactionKey) -> Option<(Flow, Request)> {
        let flow = self.entries.get(key)?.flow;
        Some((flow, self.layer.client_request(key)?.clone()))
    }

    /// Whether what this response answers was sent to where it comes from: by the same connection, or
    /// to the same host.
    pub fn asked_there(&self, response: &Response, from: Flow) -> bool {
        let entry = TransactionKey::from_response(response).and_then(|key| self.entries.get(&key));
        entry.is_some_and(|entry| match entry.flow.transport.is_stream() {
            true => entry.flow.id == from.id,
            false => entry.flow.remote.ip() == from.remote.ip(),
        })
    }

    /// Takes a response of the peer; one that answers no transaction comes back.
    pub fn receive_response(&mut self, now: Instant, response: Response) -> Option<Response> {
        let message = Message::Response(response);
        match self.layer.receive(message, Reliability::Unreliable) {
            Dispatch::Matched { key, outputs } => self.apply(now, &key, outputs),
            Dispatch::Unmatched(message) => {
                if let Message::Response(response) = *message {
                    return Some(response);
                }
            }
            _ => {}
        }
        None
    }

    /// A call is over: nothing more is asked in it. BYE goes on; an INVITE without final answer is
    /// not sent again, but stays as long as its answer may take to come (487 after a BYE, RFC 3261
    /// §15.1.2), for that has to be acknowledged.
    pub fn abandon(&mut self, now: Instant, call: CallId) {
        let mut keys = self.asked.remove(&call).unwrap_or_default();
        keys.retain(|key| {
            let owner = self.entries.get(key).and_then(|entry| entry.owner);
            owner.is_some_and(|(_, purpose)| purpose != Purpose::Bye)
        });
        for key in keys {
            let request = self.layer.client_request(&key);
            if request.is_none_or(|request| request.method != Method::Invite) {
                self.discard(&key);
                continue;
            }
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.owner = None;
            }
            let state = self.layer.client_state(&key);
            if let Some(ClientState::Calling | ClientState::Proceeding) = state {
                self.disarm(&key, Alarm::Timer(Timer::A));
                self.arm(&key, Alarm::End, now + GIVE_UP);
            }
        }
    }

    /// A connection is gone: what waited on it has failed (RFC 3261 §17.1.4, §17.2.4).
    pub fn flow_closed(&mut self, now: Instant, flow: Flow) {
        let lost: Vec<TransactionKey> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.flow.id == flow.id)
            .map(|(key, _)| key.clone())
            .collect();
        for key in lost {
            let outputs = self.layer.on_transport_error(&key);
            self.apply(now, &key, outputs);
        }
    }

    /// Fires what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((&(at, serial), _)) = self.due.first_key_value() {
            if at > now {
                return;
            }
            let Some((key, alarm)) = self.due.remove(&(at, serial)) else {
                return;
            };
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.armed.retain(|armed| armed.2 != serial);
            }
            let Alarm::Timer(timer) = alarm else {
                self.discard(&key);
                continue;
            };
            let outputs = match timer {
                Timer::Trying100 => self.trying(&key),
                timer => self.layer.on_timer(&key, timer),
            };
            // The interval counts from when the timer was due, not from when it was looked at.
            self.apply(at, &key, outputs);
        }
    }

    /// 100 to an INVITE that has had no answer for 200 ms (RFC 3261 §17.2.1). It is not sent before: who
    /// has it stops repeating the INVITE, and waits for minutes when this process dies.
    fn trying(&mut self, key: &TransactionKey) -> Vec<Step> {
        let headers = self.layer.server_request(key).map(|r| &r.headers);
        let trying = headers.and_then(|headers| message::response(headers, 100, "Trying", ""));
        let Some(mut trying) = trying else {
            return Vec::new();
        };
        message::finish(&mut trying, None);
        self.layer.send_response(key, trying)
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.due.first_key_value().map(|(&(at, _), _)| at)
    }

    pub fn take_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// CANCEL with the INVITE's own identification, on the way that it went. An INVITE that has no
    /// final answer for as long again is given up.
    fn send_cancel(&mut self, now: Instant, invite: &TransactionKey) {
        let Some((flow, request)) = self.invite_of(invite) else {
            return;
        };
        self.arm(invite, Alarm::End, now + GIVE_UP);
        let cancel = cancel_of(&request).filter(|_| !self.is_full());
        let sent = cancel.and_then(|cancel| self.layer.send_request(cancel, reliability(flow)));
        if let Some((key, outputs)) = sent {
            self.insert(&key, flow, None);
            self.apply(now, &key, outputs);
        }
    }

    fn disown(&mut self, call: CallId, key: &TransactionKey) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.owner = None;
        }
        if let Some(asked) = self.asked.get_mut(&call) {
            asked.retain(|other| other != key);
            if asked.is_empty() {
                self.asked.remove(&call);
            }
        }
    }

    fn insert(&mut self, key: &TransactionKey, flow: Flow, owner: Option<(CallId, Purpose)>) {
        let entry = Entry {
            flow,
            owner,
            dials: matches!(owner, Some((_, Purpose::Dial))),
            cancel_later: false,
            armed: Vec::new(),
        };
        self.entries.insert(key.clone(), entry);
        if let Some((call, _)) = owner {
            self.asked.entry(call).or_default().push(key.clone());
        }
    }

    fn apply(&mut self, now: Instant, key: &TransactionKey, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Send(message) => {
                    if let Some(entry) = self.entries.get(key) {
                        let news = News::Transmit(entry.flow, message.to_bytes());
                        self.news.push_back(news);
                    }
                }
                Step::SetTimer { timer, after } => {
                    self.arm(key, Alarm::Timer(timer), now + after);
                }
                Step::ClearTimer(timer) => self.disarm(key, Alarm::Timer(timer)),
                Step::ToTu(event) => self.report(now, key, *event),
                Step::Terminated(_) => self.remove(key),
                _ => {}
            }
        }
    }

    fn report(&mut self, now: Instant, key: &TransactionKey, event: TuEvent) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let news = match (event, entry.owner) {
            (TuEvent::Response(response), Some((call, purpose))) => {
                News::Response(call, purpose, key.clone(), response)
            }
            (TuEvent::Response(response), None) if entry.dials => {
                let rings = response.status.is_provisional();
                if std::mem::take(&mut entry.cancel_later) && rings {
                    self.send_cancel(now, key);
                }
                return self.report_stray(key, response);
            }
            (TuEvent::Timeout | TuEvent::TransportError, Some((call, purpose))) => {
                News::Failed(call, purpose, key.clone())
            }
            (TuEvent::Ack(request), _) => News::Ack(entry.flow, request),
            _ => return,
        };
        self.news.push_back(news);
    }

    fn report_stray(&mut self, key: &TransactionKey, response: Box<Response>) {
        let invite = self.invite_of(key).filter(|_| response.status.is_success());
        if let Some((flow, invite)) = invite {
            let news = News::Stray(flow, Box::new(invite), response);
            self.news.push_back(news);
        }
    }

    fn arm(&mut self, key: &TransactionKey, alarm: Alarm, at: Instant) {
        self.disarm(key, alarm);
        self.serial += 1;
        let serial = self.serial;
        if let Some(entry) = self.entries.get_mut(key) {
            entry.armed.push((alarm, at, serial));
            self.due.insert((at, serial), (key.clone(), alarm));
        }
    }

    fn disarm(&mut self, key: &TransactionKey, alarm: Alarm) {
        if let Some(entry) = self.entries.get_mut(key)
            && let Some(position) = entry.armed.iter().position(|armed| armed.0 == alarm)
        {
            let (_, at, serial) = entry.armed.swap_remove(position);
            self.due.remove(&(at, serial));
        }
    }

    /// Ends a transaction without a word to anybody.
    fn discard(&mut self, key: &TransactionKey) {
        let _ = self.layer.on_transport_error(key);
        self.remove(key);
    }

    fn remove(&mut self, key: &TransactionKey) {
        if let Some(entry) = self.entries.remove(key) {
            if let Some((call, _)) = entry.owner
                && let Some(asked) = self.asked.get_mut(&call)
            {
                asked.retain(|other| other != key);
                if asked.is_empty() {
                    self.asked.remove(&call);
                }
            }
            for (_, at, serial) in entry.armed {
                self.due.remove(&(at, serial));
            }
        }
    }
}

fn reliability(flow: Flow) -> Reliability {
    match flow.transport.is_stream() {
        false => Reliability::Unreliable,
        true => Reliability::Reliable,
    }
}

/// RFC 3261 §9.1: the INVITE's Request-URI, Call-ID, To, From, number, topmost Via and routes.
fn cancel_of(invite: &Request) -> Option<Request> {
    let number = text(&invite.headers, &HeaderName::CSeq)?;
    let number = number.split_whitespace().next()?.parse().ok()?;
    let kept = [
        HeaderName::Via,
        HeaderName::From,
        HeaderName::To,
        HeaderName::CallId,
    ];
    let mut cancel = RequestBuilder::new(Method::Cancel, invite.uri.clone());
    for name in kept {
        cancel = cancel
            .header(name.clone(), text(&invite.headers, &name)?)
            .ok()?;
    }
    cancel = cancel.max_forwards(70).cseq(number, &Method::Cancel).ok()?;
    for route in invite.headers.get_all(&HeaderName::Route) {
        cancel = cancel
            .header(HeaderName::Route, lossy(&route.value()))
            .ok()?;
    }
    Some(cancel.build())
}
