//! Subscriptions to the conference event package (RFC 6665, RFC 4575).
//!
//! The rooms publish what each conference looks like; who is subscribed to it is told the whole first
//! and changes later. A participant proves itself by its call, anybody else by an account; who has lost
//! that right is told nothing more.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mcu_api::ids::CallId;

use super::incoming::Arrival;
use super::register::overloaded;
use super::{ALLOW_EVENTS, Endpoint};
use crate::call::Call;
use crate::conference::{self, CONFERENCE_INFO, Conference};
use crate::deadlines::Deadlines;
use crate::dialog::Dialog;
use crate::digest::Verdict;
use crate::flow::{Flow, FlowId};
use crate::message::{self, HeaderName, Headers, Method, Refusal, lossy, text, tokens};
use crate::saved::SavedSubscription;
use crate::transaction::Purpose;

/// Longest subscription, and the one given to who asks for no time (RFC 4575 §3.4).
const MAX_EXPIRES: Duration = Duration::from_secs(3_600);
/// Shortest one.
const MIN_EXPIRES: Duration = Duration::from_secs(60);
/// From one NOTIFY of changes to the next (RFC 4575 §3.10: not more often than every 5 s).
const PAUSE: Duration = Duration::from_secs(5);
/// Most subscriptions, in all and of one address: beyond it 503.
const MAX_SUBSCRIPTIONS: usize = 1_000;
const MAX_OF_SOURCE: usize = 64;
/// Longest `id` of an Event header that is taken, in bytes.
const MAX_EVENT_ID: usize = 128;

/// Conferences, and who watches them.
#[derive(Debug)]
pub(super) struct Watchers {
    /// At most one a room.
    conferences: HashMap<String, Conference>,
    /// At most [`MAX_SUBSCRIPTIONS`]. Numbered like calls, so that transactions tell them apart.
    subscriptions: HashMap<CallId, Subscription>,
    /// Our tag in a dialog to its subscription.
    tags: HashMap<String, CallId>,
    deadlines: Deadlines<CallId>,
}

#[derive(Debug)]
struct Subscription {
    dialog: Dialog,
    /// Where the last SUBSCRIBE came from: NOTIFYs go back there and nowhere else, so that nobody has
    /// them sent to a stranger, or names told to one.
    flow: Flow,
    number: String,
    /// Our Event header, with the subscriber's `id` (RFC 6665 §8.2.1).
    event: String,
    right: Right,
    expires_at: Instant,
    /// Of the next document.
    version: u32,
    /// What the subscriber knows; `None`: the whole is owed.
    told: Option<Conference>,
    /// A NOTIFY waits for its answer.
    in_flight: bool,
    quiet_until: Instant,
}

/// What gives a right to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Right {
    /// To take part by this call.
    Call(CallId),
    /// To have proven this account, where accounts may watch or as long as it takes part.
    Account(String),
}

/// What is asked for.
struct Wish {
    event: String,
    expires: Duration,
}

impl Watchers {
    pub fn new() -> Self {
        Self {
            conferences: HashMap::new(),
            subscriptions: HashMap::new(),
            tags: HashMap::new(),
            deadlines: Deadlines::new(),
        }
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Connections that carry subscriptions.
    pub fn flows(&self) -> impl Iterator<Item = FlowId> {
        self.subscriptions.values().map(|s| s.flow.id)
    }

    pub fn save(&self) -> Vec<SavedSubscription> {
        let saved = self.subscriptions.values().map(|s| SavedSubscription {
            dialog: s.dialog.save(),
            flow: s.flow,
            event: Some(s.event.clone()),
        });
        saved.collect()
    }

    fn of(&self, number: &str) -> Vec<CallId> {
        let found = self
            .subscriptions
            .iter()
            .filter(|(_, s)| s.number == number);
        found.map(|(id, _)| *id).collect()
    }

    fn has_place(&self, source: IpAddr) -> bool {
        let of_source = self.subscriptions.values();
        let of_source = of_source.filter(|s| s.flow.remote.ip() == source);
        self.subscriptions.len() < MAX_SUBSCRIPTIONS && of_source.count() < MAX_OF_SOURCE
    }

    fn remove(&mut self, id: CallId) {
        if let Some(subscription) = self.subscriptions.remove(&id) {
            self.tags.remove(&subscription.dialog.local_tag);
        }
        self.deadlines.set(id, None);
    }
}

impl Endpoint {
    /// A conference is like this now.
    pub fn publish(&mut self, now: Instant, conference: Conference) {
        let watching = self.watchers.of(&conference.number);
        let number = conference.number.clone();
        self.watchers.conferences.insert(number, conference);
        for id in watching {
            self.settle_subscription(now, id);
        }
        self.pump(now);
    }

    /// A conference is over, and the subscriptions to it with it.
    pub fn end_conference(&mut self, now: Instant, number: &str) {
        self.watchers.conferences.remove(number);
        for id in self.watchers.of(number) {
            self.settle_subscription(now, id);
        }
        self.pump(now);
    }

    /// SUBSCRIBE, within a subscription or outside.
    pub(super) fn subscribed(&mut self, now: Instant, arrival: Arrival) {
        let wish = match self.admit_subscription(&arrival) {
            Ok(wish) => wish,
            Err(refusal) => return self.refuse(&arrival, &refusal),
        };
        let Some(tag) = arrival.envelope.to_tag() else {
            return self.new_subscriber(now, arrival, wish);
        };
        let expires = wish.expires;
        let id = self.watchers.tags.get(&tag).copied();
        let known = id.and_then(|id| Some((id, self.watchers.subscriptions.get(&id)?)));
        let known = known
            .filter(|(_, s)| s.dialog.matches(&arrival.envelope) && s.event == wish.event)
            .map(|(id, s)| (id, s.flow == arrival.flow, s.right.clone()));
        let Some((id, stays, right)) = known else {
            // Within a call, too: two usages of one dialog are best avoided (RFC 5057 §5.1).
            let refusal = Refusal::new(481, "Subscription Does Not Exist");
            return self.refuse(&arrival, &refusal);
        };
        // Whoever has read one NOTIFY could have all others sent to itself.
        if !stays && let Err(verdict) = self.prove_again(now, &right, &arrival) {
            return self.refuse_subscriber(now, &arrival, &verdict);
        }
        let Some(subscription) = self.watchers.subscriptions.get_mut(&id) else {
            return;
        };
        if let Err(refusal) = subscription.dialog.advance(&arrival.envelope) {
            return self.refuse(&arrival, &refusal);
        }
        subscription.dialog.refresh_target(&arrival.request.headers);
        subscription.flow = arrival.flow;
        subscription.expires_at = now + expires;
        // RFC 6665 §4.4.3: a refresh is followed by the whole state.
        subscription.told = None;
        subscription.quiet_until = now;
        self.take_subscription(now, id, arrival, expires);
    }

    /// Package, types and time (RFC 6665 §4.2.1.1).
    fn admit_subscription(&self, arrival: &Arrival) -> Result<Wish, Refusal> {
        if self.transactions.is_full() {
            return Err(overloaded());
        }
        let headers = &arrival.request.headers;
        let event = text(headers, &HeaderName::Event).unwrap_or_default();
        let mut parts = event.split(';').map(str::trim);
        let package = parts.next().unwrap_or_default();
        if !package.eq_ignore_ascii_case(ALLOW_EVENTS) {
            let refusal = Refusal::new(489, "Bad Event");
            return Err(refusal.with(HeaderName::AllowEvents, ALLOW_EVENTS));
        }
        let event = own_event(parts).ok_or(Refusal::new(400, "Bad Event"))?;
        let accepted = tokens(headers, &HeaderName::Accept);
        let takes = |kind: &String| {
            let kind = kind.split(';').next().unwrap_or_default().trim();
            [CONFERENCE_INFO, "application/*", "*/*"].contains(&kind)
        };
        if !accepted.is_empty() && !accepted.iter().any(takes) {
            let refusal = Refusal::new(406, "Not Acceptable");
            return Err(refusal.with(HeaderName::Accept, CONFERENCE_INFO));
        }
        let asked = text(headers, &HeaderName::Expires);
        let expires = match asked.map(|value| value.trim().parse::<u32>()) {
            None => MAX_EXPIRES,
            Some(Ok(seconds)) => Duration::from_secs(seconds.into()).min(MAX_EXPIRES),
            Some(Err(_)) => return Err(Refusal::new(400, "Bad Expires")),
        };
        if !expires.is_zero() && expires < MIN_EXPIRES {
            let least = MIN_EXPIRES.as_secs().to_string();
            let refusal = Refusal::new(423, "Interval Too Brief");
            return Err(refusal.with(HeaderName::MinExpires, least));
        }
        Ok(Wish { event, expires })
    }

    fn new_subscriber(&mut self, now: Instant, arrival: Arrival, wish: Wish) {
        let Wish { event, expires } = wish;
        let (number, right) = match self.conference_for(now, &arrival) {
            Ok(found) => found,
            Err(verdict) => return self.refuse_subscriber(now, &arrival, &verdict),
        };
        if !self.watchers.has_place(arrival.flow.remote.ip()) {
            return self.refuse(&arrival, &overloaded());
        }
        let tag = self.token();
        let (request, envelope) = (&arrival.request, &arrival.envelope);
        let dialog = Dialog::from_invite(request, envelope, &arrival.via, arrival.flow, tag);
        let dialog = match dialog {
            Ok(dialog) => dialog,
            Err(refusal) => return self.refuse(&arrival, &refusal),
        };
        let id = CallId(self.next_call);
        self.next_call += 1;
        self.watchers.tags.insert(dialog.local_tag.clone(), id);
        let subscription = Subscription {
            dialog,
            flow: arrival.flow,
            number,
            event,
            right,
            expires_at: now + expires,
            version: 0,
            told: None,
            in_flight: false,
            quiet_until: now,
        };
        self.watchers.subscriptions.insert(id, subscription);
        self.take_subscription(now, id, arrival, expires);
    }

    fn refuse_subscriber(&mut self, now: Instant, arrival: &Arrival, verdict: &Verdict) {
        match verdict {
            Verdict::Proven(_) => self.refuse(arrival, &Refusal::new(404, "Not Found")),
            _ if self.accounts.is_empty() => {
                self.refuse(arrival, &Refusal::new(403, "Forbidden"));
            }
            verdict => self.challenge(now, arrival, *verdict == Verdict::Stale),
        }
    }

    /// Whether a refresh from elsewhere comes from the subscriber. `Err` says what was proven.
    fn prove_again(
        &mut self,
        now: Instant,
        right: &Right,
        arrival: &Arrival,
    ) -> Result<(), Verdict> {
        let account = match right {
            Right::Account(account) => Some(account.clone()),
            Right::Call(call) => {
                let call = self.calls.get(call);
                if call.is_some_and(|call| is_party(call, arrival)) {
                    return Ok(());
                }
                call.and_then(|call| call.account.clone())
            }
        };
        match self.authenticate(now, &arrival.request) {
            Verdict::Proven(proven) if Some(&proven) == account.as_ref() => Ok(()),
            verdict => Err(verdict),
        }
    }

    /// The conference that this request may watch, and why: one that the caller takes part in, or one
    /// that accounts may watch. `Err` says what was proven.
    fn conference_for(
        &mut self,
        now: Instant,
        arrival: &Arrival,
    ) -> Result<(String, Right), Verdict> {
        let user = arrival.request.uri.decoded_user();
        let user = user.map(|user| lossy(&user)).unwrap_or_default();
        if let Some((number, call)) = self.taken_part_in(&user, |call| is_party(call, arrival)) {
            return Ok((number, Right::Call(call)));
        }
        let verdict = self.authenticate(now, &arrival.request);
        let Verdict::Proven(account) = &verdict else {
            return Err(verdict);
        };
        let mine = |call: &Call| call.account.as_ref() == Some(account);
        let conference = self.watchers.conferences.get(&user);
        let home = self.accounts.get(account).map(|account| account.home);
        let open = conference.filter(|conference| home.is_some_and(|at| conference.is_open_to(at)));
        let open = open.map(|conference| conference.number.clone());
        let number = open.or_else(|| Some(self.taken_part_in(&user, mine)?.0));
        match number {
            Some(number) => Ok((number, Right::Account(account.clone()))),
            None => Err(verdict),
        }
    }

    /// Whether a right is still there: the call goes on and takes part, the account exists and may
    /// watch, or takes part.
    fn holds(&self, right: &Right, conference: &Conference) -> bool {
        let calls = || conference.users.iter().filter_map(|user| user.call);
        match right {
            Right::Call(call) => self.calls.contains_key(call) && calls().any(|id| id == *call),
            Right::Account(account) => {
                let of_account = |id| {
                    let call = self.calls.get(&id);
                    call.is_some_and(|call| call.account.as_ref() == Some(account))
                };
                let known = self.accounts.get(account);
                known.is_some_and(|known| {
                    conference.is_open_to(known.home) || calls().any(of_account)
                })
            }
        }
    }

    /// The conference of this user part that one of these calls takes part in. The user part may be
    /// the conference's own, or that of the Contact which the call was given.
    fn taken_part_in(
        &self,
        user: &str,
        is_theirs: impl Fn(&Call) -> bool,
    ) -> Option<(String, CallId)> {
        let mut users = self.watchers.conferences.values().flat_map(|conference| {
            let users = conference.users.iter();
            users.filter_map(move |user| Some((conference, user.call?)))
        });
        let found = users.find(|(conference, id)| {
            let call = self.calls.get(id).filter(|call| is_theirs(call));
            call.is_some_and(|call| conference.number == user || call.user == user)
        });
        found.map(|(conference, call)| (conference.number.clone(), call))
    }

    /// Answers 200, and with a NOTIFY at once (RFC 6665 §4.2.1.2).
    fn take_subscription(&mut self, now: Instant, id: CallId, arrival: Arrival, expires: Duration) {
        self.changes.calls += 1;
        let Some(subscription) = self.watchers.subscriptions.get(&id) else {
            return;
        };
        let answer = Refusal::new(200, "OK")
            .with(HeaderName::Expires, expires.as_secs().to_string())
            .with(HeaderName::Contact, subscription.contact());
        let tag = &subscription.dialog.local_tag;
        let headers = &arrival.request.headers;
        let mut response = self.response_to(headers, &answer, tag);
        if let Some(response) = &mut response {
            // RFC 3261 §12.1.1: who is to stay on the way.
            for route in headers.get_all(&HeaderName::RecordRoute) {
                response.headers.push(route.clone());
            }
        }
        let key = self.transactions.open(now, arrival.request, arrival.reply);
        if let (Some(key), Some(mut response)) = (key, response) {
            message::finish(&mut response, None);
            self.transactions.respond(now, &key, response);
        }
        self.pump(now);
        self.settle_subscription(now, id);
    }

    /// Tells a subscriber what is due, and sets when it is looked at next.
    fn settle_subscription(&mut self, now: Instant, id: CallId) {
        let Some(subscription) = self.watchers.subscriptions.get(&id) else {
            return;
        };
        let conference = self.watchers.conferences.get(&subscription.number);
        let Some(conference) = conference else {
            return self.notify(now, id, Some("noresource"));
        };
        let told = subscription.told.as_ref();
        let differs = !told.is_some_and(|told| told.tells_the_same(conference));
        if !self.holds(&subscription.right, conference) {
            return self.notify(now, id, Some("rejected"));
        }
        if now >= subscription.expires_at {
            return self.notify(now, id, Some("timeout"));
        }
        let may_tell = differs && !subscription.in_flight;
        if may_tell && now >= subscription.quiet_until {
            self.notify(now, id, None);
        }
        if let Some(subscription) = self.watchers.subscriptions.get(&id) {
            let quiet_until = subscription.quiet_until;
            let told = Some(quiet_until).filter(|at| may_tell && *at > now);
            let at = told.map_or(subscription.expires_at, |at| {
                at.min(subscription.expires_at)
            });
            self.watchers.deadlines.set(id, Some(at));
        }
    }

    /// Sends a NOTIFY; with a reason it is the last one.
    fn notify(&mut self, now: Instant, id: CallId, end: Option<&'static str>) {
        let branch = format!("z9hG4bK{}", self.token());
        let agent = self.config.server_name.clone();
        let Some(subscription) = self.watchers.subscriptions.get_mut(&id) else {
            return;
        };
        let conference = self.watchers.conferences.get(&subscription.number);
        let state = match end {
            Some(reason) => format!("terminated;reason={reason}"),
            None => {
                let left = subscription.expires_at.saturating_duration_since(now);
                format!("active;expires={}", left.as_secs())
            }
        };
        let contact = subscription.contact();
        let flow = subscription.flow;
        let mut draft = subscription
            .dialog
            .request(Method::Notify, flow, &branch, None)
            .header(HeaderName::UserAgent, agent)
            .header(HeaderName::Contact, contact)
            .header(HeaderName::Event, subscription.event.clone())
            .header(HeaderName::SubscriptionState, state);
        let told = subscription.told.as_ref();
        let news = conference.filter(|now| !told.is_some_and(|told| told.tells_the_same(now)));
        // Who has no right any more does not learn who came since.
        let news = news.filter(|_| end != Some("rejected"));
        if let Some(document) = news.and_then(|now| subscription.document(now)) {
            draft = draft.body(CONFERENCE_INFO, &document);
        }
        subscription.in_flight = true;
        subscription.quiet_until = now + PAUSE;
        let sent = draft.build().is_some_and(|request| {
            let owner = (id, Purpose::Notify);
            self.transactions.send(now, request, flow, owner)
        });
        if end.is_some() || !sent {
            self.changes.calls += 1;
            self.watchers.remove(id);
        }
    }

    /// A NOTIFY has its final answer, or none. Who does not take it is told nothing more
    /// (RFC 6665 §4.2.2).
    pub(super) fn notified(&mut self, now: Instant, id: CallId, status: Option<u16>) {
        match status {
            Some(100..200) => return,
            Some(200..300) => {
                if let Some(subscription) = self.watchers.subscriptions.get_mut(&id) {
                    subscription.in_flight = false;
                }
            }
            _ => {
                self.changes.calls += 1;
                self.watchers.remove(id);
            }
        }
        self.settle_subscription(now, id);
    }

    pub(super) fn subscriptions_due(&mut self, now: Instant) {
        while let Some(id) = self.watchers.deadlines.pop_due(now) {
            self.settle_subscription(now, id);
            self.pump(now);
        }
    }

    /// A connection is gone, and the subscriptions with it that live on it: their peers begin anew.
    pub(super) fn end_subscriptions_on(&mut self, flow: FlowId) {
        let subscriptions = self.watchers.subscriptions.iter();
        let lost = subscriptions.filter(|(_, s)| s.flow.id == flow && s.flow.transport.is_stream());
        let lost: Vec<CallId> = lost.map(|(id, _)| *id).collect();
        for id in lost {
            self.changes.calls += 1;
            self.watchers.remove(id);
        }
    }

    /// Ends the subscriptions of an earlier life, whose subscribers begin anew at once
    /// (RFC 6665 §4.1.3, `deactivated`). Connections died with that life, and their peers know.
    pub(super) fn deactivate(&mut self, now: Instant, saved: Vec<SavedSubscription>) {
        for saved in saved {
            let flow = saved.flow;
            let dialog = Dialog::restore(saved.dialog).filter(|_| !flow.transport.is_stream());
            let Some(mut dialog) = dialog else { continue };
            let branch = format!("z9hG4bK{}", self.token());
            let draft = dialog
                .request(Method::Notify, flow, &branch, None)
                .header(
                    HeaderName::Event,
                    saved.event.as_deref().unwrap_or(ALLOW_EVENTS),
                )
                .header(
                    HeaderName::SubscriptionState,
                    "terminated;reason=deactivated",
                );
            let id = CallId(self.next_call);
            self.next_call += 1;
            if let Some(request) = draft.build() {
                self.transactions
                    .send(now, request, flow, (id, Purpose::Notify));
            }
        }
    }
}

/// Our Event header: the package, and the `id` among the parameters of the peer's. `None` when that is
/// no token, or too long to be kept.
fn own_event<'a>(mut parameters: impl Iterator<Item = &'a str>) -> Option<String> {
    let id = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("id").then(|| value.trim())
    });
    let Some(id) = id else {
        return Some(ALLOW_EVENTS.to_owned());
    };
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b);
    let fits = (1..=MAX_EVENT_ID).contains(&id.len()) && id.bytes().all(is_token);
    fits.then(|| format!("{ALLOW_EVENTS};id={id}"))
}

/// Whether a request comes from the other side of this call: from where that acknowledged it, unless a
/// proxy brought the request, behind which there are others. With the names of the call's dialog
/// (RFC 4538) any port of that host will do, and a proxy's. Alone they prove nothing: proxies see them,
/// and in clear others do. Nor does it count where later requests of the call came from: who knows its
/// names can send those, too.
fn is_party(call: &Call, arrival: &Arrival) -> bool {
    let headers = &arrival.request.headers;
    let hops = headers.get_all(&HeaderName::Via).map(|via| {
        let value = via.value();
        // One row may name several.
        1 + usize::from(message::first_hop_end(&value) < value.len())
    });
    let is_straight = hops.sum::<usize>() == 1 && headers.count(&HeaderName::RecordRoute) == 0;
    let (party, from) = (call.party, arrival.flow.remote);
    let named = || party.ip() == from.ip() && names_dialog(headers, &call.dialog);
    is_straight && party == from || named()
}

/// Whether Target-Dialog names this dialog. Which tag is called local depends on who is asked, so that
/// either order is taken: both have to be right.
fn names_dialog(headers: &Headers, dialog: &Dialog) -> bool {
    let name = HeaderName::Other(Bytes::from_static(b"Target-Dialog"));
    let Some(value) = text(headers, &name) else {
        return false;
    };
    let mut parts = value.split(';').map(str::trim);
    let call_id = parts.next().unwrap_or_default();
    let (mut local, mut remote) = (None, None);
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        match name.trim() {
            name if name.eq_ignore_ascii_case("local-tag") => local = Some(value.trim()),
            name if name.eq_ignore_ascii_case("remote-tag") => remote = Some(value.trim()),
            _ => {}
        }
    }
    let (ours, theirs) = (
        Some(dialog.local_tag.as_str()),
        dialog.remote_tag.as_deref(),
    );
    let named = (local, remote);
    call_id == dialog.call_id
        && theirs.is_some()
        && (named == (ours, theirs) || named == (theirs, ours))
}

impl Subscription {
    fn contact(&self) -> String {
        let transport = self.flow.transport.uri_parameter();
        format!("<sip:{}{transport}>;isfocus", self.flow.told())
    }

    /// What the subscriber does not know yet.
    fn document(&mut self, conference: &Conference) -> Option<String> {
        let host = self.flow.told().to_string();
        let before = self.told.as_ref();
        let document = conference::document(conference, before, &host, self.version);
        let document = document
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        self.told = Some(conference.clone());
        self.version = self.version.wrapping_add(1);
        document
    }
}
