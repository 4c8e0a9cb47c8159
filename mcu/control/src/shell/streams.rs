//! SIP's TCP connections as their owner holds them: how many there may be, and which one goes when
//! there are too many.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip::{Flow, FlowId, source};
use tokio::sync::mpsc;

/// How long the core's word on which connections are in use is good for: a flood of connections asks
/// at each.
const USE_KNOWN: Duration = Duration::from_millis(100);

/// How many connections peers may hold open. One more takes the place of the one that is silent for
/// longest and carries neither a call nor a registration.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From one source without call and registration. Those of many terminals behind one NAT are
    /// registered or in calls.
    pub idle_of_source: usize,
    /// From all sources, in use or not. Without an idle one among them, a further one is closed.
    pub all: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle_of_source: 64,
            all: 1_024,
        }
    }
}

/// All open connections.
pub struct Streams {
    limits: Limits,
    /// Those of peers at most [`Limits::all`]; those of our own as many as the core asks for.
    open: HashMap<FlowId, Stream>,
    in_use: HashSet<FlowId>,
    in_use_at: Option<Instant>,
}

struct Stream {
    queue: mpsc::Sender<Bytes>,
    source: IpAddr,
    heard: Instant,
}

impl Streams {
    /// None yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: HashMap::new(),
            in_use: HashSet::new(),
            in_use_at: None,
        }
    }

    /// Where bytes to a connection go.
    pub fn queue(&self, id: FlowId) -> Option<&mpsc::Sender<Bytes>> {
        self.open.get(&id).map(|stream| &stream.queue)
    }

    /// Something came. `false`: the connection was let go.
    pub fn note_heard(&mut self, now: Instant, id: FlowId) -> bool {
        let stream = self.open.get_mut(&id);
        stream.map(|stream| stream.heard = now).is_some()
    }

    /// Adds a connection.
    pub fn add(&mut self, now: Instant, flow: &Flow, queue: mpsc::Sender<Bytes>) {
        let stream = Stream {
            queue,
            source: source(flow.remote.ip()),
            heard: now,
        };
        self.open.insert(flow.id, stream);
    }

    /// Lets a connection go; what its queue holds is still written. `false`: it was gone.
    pub fn remove(&mut self, id: FlowId) -> bool {
        self.open.remove(&id).is_some()
    }

    /// The connection that has to go since a peer opened `new`, which may be the new one itself.
    /// `in_use` tells which carry calls or registrations.
    pub fn surplus(
        &mut self,
        now: Instant,
        new: FlowId,
        in_use: impl FnOnce() -> HashSet<FlowId>,
    ) -> Option<FlowId> {
        let source = self.open.get(&new)?.source;
        let of_peers = || self.open.iter().filter(|(id, _)| is_of_peer(**id));
        let of_source = of_peers().filter(|(_, stream)| stream.source == source);
        let too_many = of_peers().count() > self.limits.all;
        if !too_many && of_source.count() <= self.limits.idle_of_source {
            return None;
        }
        if self.in_use_at.is_none_or(|at| now >= at + USE_KNOWN) {
            self.in_use = in_use();
            self.in_use_at = Some(now);
        }
        let mut idle: Vec<(Instant, FlowId, IpAddr)> = self
            .open
            .iter()
            .filter(|(id, _)| is_of_peer(**id) && !self.in_use.contains(id))
            .map(|(id, stream)| (stream.heard, *id, stream.source))
            .collect();
        idle.sort_unstable();
        let of_source = || idle.iter().filter(|(_, _, other)| *other == source);
        let longest = if of_source().count() > self.limits.idle_of_source {
            of_source().next()
        } else {
            idle.first().filter(|_| too_many)
        };
        longest.map(|(_, id, _)| *id)
    }
}

/// Whether a peer opened the connection.
fn is_of_peer(id: FlowId) -> bool {
    id < FlowId::FIRST_OUTBOUND
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip::Transport;

    const LIMITS: Limits = Limits {
        idle_of_source: 3,
        all: 5,
    };

    struct Bench {
        streams: Streams,
        now: Instant,
        next: u64,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                streams: Streams::new(LIMITS),
                now: Instant::now(),
                next: 0,
            }
        }

        /// A peer connects a second later; who has to go.
        fn open(&mut self, remote: &str, in_use: &[u64]) -> Option<u64> {
            self.now += Duration::from_secs(1);
            self.next += 1;
            let flow = Flow {
                id: FlowId(self.next),
                transport: Transport::Tcp,
                local: "192.0.2.1:5060".parse().unwrap(),
                remote: remote.parse().unwrap(),
                advertised: None,
            };
            self.streams.add(self.now, &flow, mpsc::channel(1).0);
            let in_use = || in_use.iter().copied().map(FlowId).collect();
            let gone = self.streams.surplus(self.now, flow.id, in_use)?;
            assert!(self.streams.remove(gone));
            Some(gone.0)
        }
    }

    #[test]
    fn one_source_holds_few_idle_connections_and_any_number_in_use() {
        let mut bench = Bench::new();
        for _ in 1..=3 {
            assert_eq!(bench.open("192.0.2.7:1", &[]), None);
        }
        assert!(bench.streams.note_heard(bench.now, FlowId(1)));
        assert_eq!(
            bench.open("192.0.2.7:1", &[]),
            Some(2),
            "silent for longest"
        );
        assert!(!bench.streams.note_heard(bench.now, FlowId(2)));
        assert_eq!(bench.open("192.0.2.8:1", &[]), None, "another source");
        assert_eq!(bench.open("192.0.2.7:1", &[1, 3]), None);
        assert_eq!(bench.open("192.0.2.8:1", &[1, 3, 4, 5, 6]), Some(7));
    }

    #[test]
    fn when_all_places_are_taken_the_longest_idle_gives_way() {
        let mut bench = Bench::new();
        for n in 1..=5 {
            assert_eq!(bench.open(&format!("192.0.2.{n}:1"), &[]), None);
        }
        assert_eq!(bench.open("192.0.2.6:1", &[1]), Some(2));
        assert_eq!(bench.open("192.0.2.7:1", &[1, 3, 4, 5, 6]), Some(7));
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let mut bench = Bench::new();
        for n in 1..=3 {
            assert_eq!(bench.open(&format!("[2001:db8::{n}]:1"), &[]), None);
        }
        assert_eq!(bench.open("[2001:db8::ffff]:1", &[]), Some(1));
        assert_eq!(bench.open("[2001:db8:0:1::1]:1", &[]), None);
    }
}
