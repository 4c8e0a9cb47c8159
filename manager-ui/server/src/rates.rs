//! How many requests of the HTTP interface are answered. Who proves a session or a token is counted by
//! that alone, so that a hospital behind one address is not shut out; who proves nothing, by the source.
//!
//! What somebody claims to hold is known before the database is asked: claims that proved right lately
//! are remembered, and any other takes from the source what it is given back once it proves right.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{Request, State as StateOf};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::api::Problem;
use crate::{State, asker, limits, serve, sessions};

/// The headers of draft-ietf-httpapi-ratelimit-headers-10.
pub(crate) const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
pub(crate) const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// In which a quota comes back as a whole.
const WINDOW: Duration = Duration::from_secs(60);
/// Sessions and tokens, or sources, that are remembered. Those that have all of their quota are forgotten
/// first; who comes when there are too many others shares one quota with all such.
const MAX_HOLDERS: usize = 20_000;
/// How much later one is looked at again at least.
const TICK: Duration = Duration::from_millis(1);

/// Requests that are answered in a minute; as many may come at once.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// Of one session or token.
    pub per_session: NonZeroU32,
    /// Of one source, IPv4 address or IPv6 /64: of those that prove nothing, and of those that prove
    /// nothing right.
    pub per_source: NonZeroU32,
}

#[cfg(test)]
impl Allowed {
    /// As many as anybody asks.
    pub(crate) const fn without_end() -> Self {
        Self {
            per_session: NonZeroU32::MAX,
            per_source: NonZeroU32::MAX,
        }
    }
}

/// What a session's cookie or a token hashes to.
type Claim = [u8; 32];

/// Counts requests. Locks, each taken for a moment.
#[derive(Debug)]
pub(crate) struct Rates {
    proved: Quotas<Claim>,
    claiming: Quotas<IpAddr>,
    silent: Quotas<IpAddr>,
}

impl Rates {
    pub(crate) fn new(allowed: &Allowed) -> Arc<Self> {
        Arc::new(Self {
            proved: Quotas::new("session", allowed.per_session),
            claiming: Quotas::new("source", allowed.per_source),
            silent: Quotas::new("source", allowed.per_source),
        })
    }

    /// Counts one request.
    fn count(&self, claim: Option<&Claim>, source: IpAddr, now: Instant) -> Standing {
        let Some(claim) = claim else {
            return self.silent.take(source, now);
        };
        let known = self.proved.take_if_known(*claim, now);
        known.unwrap_or_else(|| self.claiming.take(source, now))
    }

    /// A claim proved right: it is counted by itself from now on, and the source is given back what it
    /// took.
    fn prove(&self, claim: Claim, source: IpAddr, now: Instant) {
        if self.proved.learn(claim, now) {
            self.claiming.give_back(&source);
        }
    }

    /// What a request proved is good.
    pub(crate) fn is_good(&self, headers: &HeaderMap, source: IpAddr) {
        if let Some(claim) = claim(headers) {
            self.prove(claim, limits::source(source), Instant::now());
        }
    }

    /// What a request claims is good no more, or never was.
    pub(crate) fn is_bad(&self, headers: &HeaderMap) {
        if let Some(claim) = claim(headers) {
            self.proved.forget(&claim);
        }
    }
}

/// By one kind of holder.
#[derive(Debug)]
struct Quotas<K> {
    name: &'static str,
    most: u32,
    left: Mutex<Left<K>>,
}

/// What is left, and when that was so.
type Kept = (f64, Instant);

/// What is left, by holder.
#[derive(Debug)]
struct Left<K> {
    holders: HashMap<K, Held>,
    /// Of all for whom there was no place.
    shared: Option<Kept>,
    /// Holders by when they have all of their quota again, or earlier: whoever took meanwhile is put back
    /// when their time comes. So place is made without looking at all of them.
    queue: BTreeSet<(Instant, K)>,
    /// Holders that were looked at to make place.
    #[cfg(test)]
    looked_at: usize,
}

impl<K> Default for Left<K> {
    fn default() -> Self {
        Self {
            holders: HashMap::new(),
            shared: None,
            queue: BTreeSet::new(),
            #[cfg(test)]
            looked_at: 0,
        }
    }
}

/// A holder.
#[derive(Debug)]
struct Held {
    kept: Kept,
    /// Its place in the queue.
    queued: Instant,
}

/// What a holder has left.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Standing {
    name: &'static str,
    most: u32,
    left: f64,
    /// Whether this one is answered.
    is_taken: bool,
}

impl<K: Copy + Eq + Hash + Ord> Quotas<K> {
    fn new(name: &'static str, most: NonZeroU32) -> Self {
        Self {
            name,
            most: most.get(),
            left: Mutex::default(),
        }
    }

    fn take(&self, holder: K, now: Instant) -> Standing {
        let mut known = self.left.lock().unwrap_or_else(|p| p.into_inner());
        if !known.holders.contains_key(&holder) && self.has_place(&mut known, now) {
            let mut kept = (self.most.into(), now);
            let standing = self.take_from(&mut kept, now);
            self.insert(&mut known, holder, kept);
            return standing;
        }
        let Left {
            holders, shared, ..
        } = &mut *known;
        match holders.get_mut(&holder) {
            Some(held) => self.take_from(&mut held.kept, now),
            None => self.take_from(shared.get_or_insert((self.most.into(), now)), now),
        }
    }

    fn take_if_known(&self, holder: K, now: Instant) -> Option<Standing> {
        let mut known = self.left.lock().unwrap_or_else(|p| p.into_inner());
        let held = known.holders.get_mut(&holder)?;
        Some(self.take_from(&mut held.kept, now))
    }

    fn take_from(&self, kept: &mut Kept, now: Instant) -> Standing {
        let left = self.left(*kept, now);
        let is_taken = left >= 1.0;
        let left = if is_taken { left - 1.0 } else { left };
        *kept = (left, now);
        Standing {
            name: self.name,
            most: self.most,
            left,
            is_taken,
        }
    }

    fn left(&self, (left, at): Kept, now: Instant) -> f64 {
        let most = f64::from(self.most);
        let gained = now.saturating_duration_since(at).as_secs_f64() / WINDOW.as_secs_f64() * most;
        (left + gained).min(most)
    }

    /// When there is all of it again.
    fn whole_at(&self, (left, at): Kept) -> Instant {
        let most = f64::from(self.most);
        at + WINDOW.mul_f64(((most - left) / most).max(0.0))
    }

    fn insert(&self, known: &mut Left<K>, holder: K, kept: Kept) {
        let queued = self.whole_at(kept);
        known.queue.insert((queued, holder));
        known.holders.insert(holder, Held { kept, queued });
    }

    /// Each holder that is looked at goes, or has taken since it was looked at last: what that costs is
    /// paid by requests that were answered.
    fn has_place(&self, known: &mut Left<K>, now: Instant) -> bool {
        if known.holders.len() < MAX_HOLDERS {
            return true;
        }
        while known.queue.first().is_some_and(|(then, _)| *then <= now) {
            #[cfg(test)]
            {
                known.looked_at += 1;
            }
            let next = known.queue.pop_first();
            let Some((_, holder)) = next else {
                break;
            };
            let Some(held) = known.holders.get_mut(&holder) else {
                continue;
            };
            if self.left(held.kept, now) < f64::from(self.most) {
                held.queued = self.whole_at(held.kept).max(now + TICK);
                known.queue.insert((held.queued, holder));
            } else {
                known.holders.remove(&holder);
            }
        }
        known.holders.len() < MAX_HOLDERS
    }

    /// Whether it is counted from now on and was not before. Its first request is counted.
    fn learn(&self, holder: K, now: Instant) -> bool {
        let mut known = self.left.lock().unwrap_or_else(|p| p.into_inner());
        if known.holders.contains_key(&holder) || !self.has_place(&mut known, now) {
            return false;
        }
        self.insert(&mut known, holder, (f64::from(self.most) - 1.0, now));
        true
    }

    fn forget(&self, holder: &K) {
        let mut known = self.left.lock().unwrap_or_else(|p| p.into_inner());
        if let Some(held) = known.holders.remove(holder) {
            known.queue.remove(&(held.queued, *holder));
        }
    }

    fn give_back(&self, holder: &K) {
        let mut known = self.left.lock().unwrap_or_else(|p| p.into_inner());
        if let Some(held) = known.holders.get_mut(holder) {
            held.kept.0 = (held.kept.0 + 1.0).min(f64::from(self.most));
        }
    }
}

impl Standing {
    /// Until so many are left.
    fn until(&self, wanted: f64) -> Duration {
        let missing = (wanted - self.left).max(0.0);
        WINDOW.mul_f64(missing / f64::from(self.most))
    }

    fn say(&self, headers: &mut HeaderMap) {
        let window = WINDOW.as_secs();
        let policy = format!("\"{}\";q={};w={window}", self.name, self.most);
        let whole = self.until(self.most.into()).as_secs_f64().ceil();
        let left = format!("\"{}\";r={:.0};t={whole:.0}", self.name, self.left.floor());
        for (name, value) in [(POLICY, policy), (LEFT, left)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }

    fn refusal(&self) -> Response {
        let title = "Too many requests in a minute";
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, title).code("too_many_requests");
        let mut response = problem.into_response();
        let wait = self.until(1.0).as_secs_f64().ceil().max(1.0);
        if let Ok(value) = HeaderValue::from_str(&format!("{wait:.0}")) {
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        response
    }
}

/// Counts each request of the interface, and answers 429 where there were too many.
pub(crate) async fn bound(
    StateOf(state): StateOf<State>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let peer = request.extensions().get::<serve::Peer>().copied();
    let Some(peer) = peer.filter(|_| path.starts_with("/api/") || path.starts_with("/login/"))
    else {
        // Files of the program and the state of its parts are cheap; WebSockets have bounds of their own.
        return next.run(request).await;
    };
    let source = limits::source(peer.0.ip());
    let claim = claim(request.headers());
    let standing = state.rates.count(claim.as_ref(), source, Instant::now());
    let mut response = match standing.is_taken {
        true => next.run(request).await,
        false => standing.refusal(),
    };
    if let Some(begun) = begun(response.headers()) {
        // A session begins with this answer: nobody else's requests stand in its way.
        state.rates.prove(begun, source, Instant::now());
    }
    standing.say(response.headers_mut());
    response
}

/// What a request claims to hold.
fn claim(headers: &HeaderMap) -> Option<Claim> {
    let token = asker::bearer(headers).map(str::to_owned);
    let secret = token.or_else(|| asker::cookie(headers))?;
    Some(Sha256::digest(secret).into())
}

/// The session that an answer gives to a browser.
fn begun(headers: &HeaderMap) -> Option<Claim> {
    let cookies = headers.get_all(header::SET_COOKIE).into_iter();
    let cookies = cookies.filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.filter_map(|cookie| cookie.split(';').next()?.split_once('='));
    let (_, secret) =
        pairs.find(|(name, secret)| *name == sessions::COOKIE && !secret.is_empty())?;
    Some(Sha256::digest(secret).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(per_session: u32, per_source: u32) -> Arc<Rates> {
        Rates::new(&Allowed {
            per_session: NonZeroU32::new(per_session).unwrap(),
            per_source: NonZeroU32::new(per_source).unwrap(),
        })
    }

    fn taken(rates: &Rates, claim: Option<&Claim>, source: IpAddr, now: Instant) -> usize {
        let all = (0..1_000).filter(|_| rates.count(claim, source, now).is_taken);
        all.count()
    }

    #[test]
    fn who_proves_something_is_counted_by_that_alone() {
        let (rates, now) = (rates(20, 10), Instant::now());
        let source: IpAddr = "192.0.2.7".parse().unwrap();
        let [chun, bo, liar]: [Claim; 3] = [[1; 32], [2; 32], [203; 32]];
        // As many as you like come at first from one address, each of whom proves right.
        for n in 0..200 {
            let claim = [n; 32];
            assert!(rates.count(Some(&claim), source, now).is_taken, "{n}");
            rates.prove(claim, source, now);
        }
        assert_eq!(taken(&rates, None, source, now), 10);
        assert_eq!(taken(&rates, Some(&[201; 32]), source, now), 10);
        assert_eq!(
            taken(&rates, Some(&chun), source, now),
            19,
            "its first, too"
        );
        assert_eq!(taken(&rates, Some(&bo), source, now), 19);
        let later = now + Duration::from_secs(30);
        assert_eq!(taken(&rates, Some(&bo), source, later), 10);
        // What is good no more is a claim like any other.
        rates.proved.forget(&bo);
        assert_eq!(taken(&rates, Some(&liar), source, later), 5);
        assert_eq!(taken(&rates, Some(&bo), source, later), 0);
        let another = "192.0.2.8".parse().unwrap();
        assert_eq!(taken(&rates, None, another, later), 10);
    }

    #[test]
    fn a_stranger_gains_nothing_by_what_proved_right_before() {
        let (rates, now) = (rates(5, 3), Instant::now());
        let source: IpAddr = "192.0.2.7".parse().unwrap();
        let claim = [1; 32];
        rates.count(Some(&claim), source, now);
        for _ in 0..10 {
            rates.prove(claim, source, now);
        }
        assert_eq!(taken(&rates, Some(&claim), source, now), 4);
        assert_eq!(taken(&rates, Some(&[2; 32]), source, now), 3);
    }

    #[test]
    fn memory_is_bounded_and_newcomers_share_what_one_has() {
        let (rates, now) = (rates(5, 3), Instant::now());
        let source = |n: u32| IpAddr::from(n.to_be_bytes());
        let more = u32::try_from(MAX_HOLDERS).unwrap() + 100;
        let taken = (0..more).filter(|n| rates.count(None, source(*n), now).is_taken);
        assert_eq!(taken.count(), MAX_HOLDERS + 3);
        let held = || rates.silent.left.lock().unwrap().holders.len();
        assert_eq!(held(), MAX_HOLDERS);
        // Who has all of it again makes place.
        let later = now + WINDOW;
        assert!(rates.count(None, source(more), later).is_taken);
        assert_eq!(held(), 1);
    }

    /// Defect: while there were as many as are remembered, each newcomer looked at all of them.
    #[test]
    fn place_is_made_without_looking_at_all() {
        let (rates, now) = (rates(5, 3), Instant::now());
        let source = |n: usize| IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
        let looked_at = || rates.silent.left.lock().unwrap().looked_at;
        for n in 0..MAX_HOLDERS {
            rates.count(None, source(n), now);
        }
        assert_eq!(looked_at(), 0, "while there is place");
        let second = |s: u64| now + Duration::from_secs(s);
        for n in 0..10_000 {
            rates.count(None, source(MAX_HOLDERS + n), second(1));
        }
        assert_eq!(looked_at(), 0, "nobody's time has come");
        // Half of them take again, so that their time comes later.
        for n in 0..MAX_HOLDERS / 2 {
            rates.count(None, source(n), second(19));
        }
        for n in 0..10_000 {
            rates.count(None, source(2 * MAX_HOLDERS + n), second(21));
        }
        assert_eq!(looked_at(), MAX_HOLDERS, "each once");
        let held = || rates.silent.left.lock().unwrap().holders.len();
        assert_eq!(held(), MAX_HOLDERS);
        // Those that were put back are found when their time has come.
        rates.count(None, source(4 * MAX_HOLDERS), second(50));
        assert_eq!(held(), 1);
        assert_eq!(looked_at(), 2 * MAX_HOLDERS);
        let left = rates.silent.left.lock().unwrap();
        assert_eq!(left.queue.len(), left.holders.len());
    }

    #[test]
    fn what_is_forgotten_holds_no_place() {
        let (rates, now) = (rates(5, 3), Instant::now());
        for n in 0..1_000_u32 {
            let claim = [n.to_be_bytes(); 8].concat().try_into().unwrap();
            rates.prove(claim, [192, 0, 2, 7].into(), now);
            rates.proved.forget(&claim);
        }
        let left = rates.proved.left.lock().unwrap();
        assert_eq!((left.holders.len(), left.queue.len()), (0, 0));
    }

    #[test]
    fn what_is_left_is_said_and_when_to_come_back() {
        let (rates, now) = (rates(5, 6), Instant::now());
        let source: IpAddr = "192.0.2.7".parse().unwrap();
        let said = |standing: Standing| {
            let mut headers = HeaderMap::new();
            standing.say(&mut headers);
            [POLICY, LEFT].map(|name| headers[name].to_str().unwrap().to_owned())
        };
        let first = said(rates.count(None, source, now));
        assert_eq!(first, ["\"source\";q=6;w=60", "\"source\";r=5;t=10"]);
        while rates.count(None, source, now).is_taken {}
        let refused = rates.count(None, source, now);
        assert_eq!(said(refused)[1], "\"source\";r=0;t=60");
        let response = refused.refusal();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "10");
    }
}
