//! What peers may hold: how many connections, in total and from one source, and for how long.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::sessions;

/// What peers may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Open WebSockets. Who comes when there are too many is told so.
    pub sockets: Bounds,
    /// Streams of events. A source is a person here, with all its pages and programs.
    pub streams: Bounds,
    /// Between two signs of life of a stream, and two looks whether who listens still may.
    pub heartbeat: Duration,
    /// HTTP connections, WebSockets not counted. When all places are taken, further ones wait in the
    /// kernel; further ones of one source are closed.
    pub connections: Bounds,
    /// For a TLS handshake, for a request's headers, for the next request on a kept connection, and
    /// for a peer to take anything of what is sent.
    pub patience: Duration,
}

/// How many there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Of everybody.
    pub total: usize,
    /// Of one source. A hospital's browsers often share one address, so this is generous.
    pub per_source: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sockets: Bounds {
                total: 1_000,
                per_source: 500,
            },
            streams: Bounds {
                total: 500,
                per_source: 8,
            },
            heartbeat: Duration::from_secs(15),
            connections: Bounds {
                total: 2_000,
                per_source: 1_000,
            },
            patience: Duration::from_secs(15),
        }
    }
}

/// Counts what is open. A lock, because it is taken once when one opens and once when it closes.
/// By source, or by whatever else has so many at most.
#[derive(Debug)]
pub(crate) struct Places<K: Eq + Hash = IpAddr> {
    bounds: Bounds,
    open: Mutex<HashMap<K, usize>>,
    freed: Notify,
}

/// One that is open; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Place<K: Eq + Hash = IpAddr> {
    places: Arc<Places<K>>,
    holder: K,
}

impl<K: Eq + Hash + Clone> Places<K> {
    pub(crate) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            open: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// Returns when none is taken.
    pub(crate) async fn emptied(&self) {
        loop {
            // Made before the look, so that no end of a connection is missed.
            let freed = self.freed.notified();
            if self.is_empty() {
                return;
            }
            freed.await;
        }
    }

    fn is_empty(&self) -> bool {
        let open = self.open.lock().unwrap_or_else(|p| p.into_inner());
        open.is_empty()
    }

    /// A place for this holder; `None` when it or everybody together has too many.
    pub(crate) fn take_for(self: &Arc<Self>, holder: K) -> Option<Place<K>> {
        let mut open = self
            .open
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let total: usize = open.values().sum();
        let held = open.get(&holder).copied().unwrap_or(0);
        if total >= self.bounds.total || held >= self.bounds.per_source {
            return None;
        }
        open.insert(holder.clone(), held + 1);
        Some(Place {
            places: self.clone(),
            holder,
        })
    }
}

impl Places {
    /// A place for this peer; `None` when its source or everybody together has too many.
    pub(crate) fn take(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        self.take_for(source(peer))
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut open = self.places.open.lock().unwrap_or_else(|p| p.into_inner());
        if let Some(count) = open.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.holder);
            }
        }
        drop(open);
        self.places.freed.notify_waiters();
    }
}

/// Attempts to prove a password, by source. A hospital's people often share one address, so it bounds
/// what is written and hashed for a flood; guessing is bounded by the login.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    sources: Mutex<HashMap<IpAddr, (f64, Instant)>>,
    /// By the hash of a login that nobody has: how often it was tried, and when last.
    unknown: Mutex<HashMap<String, (u32, Instant)>>,
}

/// Attempts that a source has at once, and gets back in a second.
const ATTEMPTS: f64 = 30.0;
const ATTEMPTS_PER_S: f64 = 0.5;
/// Sources that are remembered. Beyond, those that have all their attempts are forgotten, and when
/// there are none of these nobody new is heard.
const MAX_SOURCES: usize = 10_000;

/// Wrong logins that are remembered.
const MAX_UNKNOWN: usize = 10_000;

impl Attempts {
    /// Counts an attempt with a login that nobody has, and says whether it is closed, as one that
    /// somebody has would be: nobody learns by that who is there.
    pub(crate) fn is_unknown_closed(&self, login: &str) -> bool {
        self.is_unknown_closed_at(login, Instant::now())
    }

    fn is_unknown_closed_at(&self, login: &str, now: Instant) -> bool {
        let closed_for = Duration::from_millis(sessions::LOCKED_MS.unsigned_abs());
        let mut unknown = self.unknown.lock().unwrap_or_else(|p| p.into_inner());
        if unknown.len() >= MAX_UNKNOWN {
            unknown.retain(|_, (_, at)| now.saturating_duration_since(*at) < closed_for);
            if unknown.len() >= MAX_UNKNOWN {
                unknown.clear();
            }
        }
        let (count, at) = unknown.entry(sessions::hash(login)).or_insert((0, now));
        let is_full = i64::from(*count) >= sessions::MAX_FAILURES;
        if is_full && now.saturating_duration_since(*at) < closed_for {
            return true;
        }
        *count = if is_full { 1 } else { *count + 1 };
        *at = now;
        false
    }

    /// Whether a login that nobody has is closed. Counts nothing.
    pub(crate) fn is_closed(&self, login: &str) -> bool {
        let closed_for = Duration::from_millis(sessions::LOCKED_MS.unsigned_abs());
        let unknown = self.unknown.lock().unwrap_or_else(|p| p.into_inner());
        unknown
            .get(&sessions::hash(login))
            .is_some_and(|(count, at)| {
                i64::from(*count) >= sessions::MAX_FAILURES && at.elapsed() < closed_for
            })
    }

    /// Whether this peer may try.
    pub(crate) fn take(&self, peer: IpAddr) -> bool {
        self.take_at(peer, Instant::now())
    }

    fn take_at(&self, peer: IpAddr, now: Instant) -> bool {
        let left = |(left, at): (f64, Instant)| {
            let gained = now.saturating_duration_since(at).as_secs_f64() * ATTEMPTS_PER_S;
            (left + gained).min(ATTEMPTS)
        };
        let source = source(peer);
        let mut sources = self.sources.lock().unwrap_or_else(|p| p.into_inner());
        if sources.len() >= MAX_SOURCES && !sources.contains_key(&source) {
            sources.retain(|_, known| left(*known) < ATTEMPTS);
            if sources.len() >= MAX_SOURCES {
                return false;
            }
        }
        let left = sources.get(&source).map_or(ATTEMPTS, |known| left(*known));
        let may = left >= 1.0;
        let left = if may { left - 1.0 } else { left };
        sources.insert(source, (left, now));
        may
    }
}

/// One IPv6 site owns a whole /64 (RFC 6177), so its hosts count together.
pub(crate) fn source(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => {
            let network = u128::from(v6) & !u128::from(u64::MAX);
            Ipv6Addr::from(network).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_by_source_and_in_total_and_come_back() {
        let places = Places::new(Bounds {
            total: 3,
            per_source: 2,
        });
        let [a, b]: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
        let first = places.take(a).unwrap();
        let _second = places.take(a).unwrap();
        assert!(places.take(a).is_none(), "third of one source");
        let _third = places.take(b).unwrap();
        assert!(places.take(b).is_none(), "fourth in total");
        drop(first);
        assert!(places.take(a).is_some());
    }

    #[test]
    fn attempts_are_bounded_by_source_and_come_back() {
        let attempts = Attempts::default();
        let now = Instant::now();
        let [a, b]: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
        let taken = (0..100).filter(|_| attempts.take_at(a, now)).count();
        assert_eq!(taken, 30);
        assert!(attempts.take_at(b, now), "another source");
        let later = now + Duration::from_secs(4);
        let taken = (0..100).filter(|_| attempts.take_at(a, later)).count();
        assert_eq!(taken, 2);
    }

    #[test]
    fn a_v6_network_and_a_mapped_v4_address_are_one_source() {
        let s = |text: &str| source(text.parse().unwrap());
        assert_eq!(s("2001:db8:0:1::5"), s("2001:db8:0:1:ffff::9"));
        assert_ne!(s("2001:db8:0:1::5"), s("2001:db8:0:2::5"));
        assert_eq!(s("::ffff:192.0.2.1"), s("192.0.2.1"));
    }
}
