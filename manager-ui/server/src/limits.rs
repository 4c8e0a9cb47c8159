//! How many WebSockets may be open, in total and from one source.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};

/// Bounds on open WebSockets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Of everybody.
    pub total: usize,
    /// Of one source. A hospital's browsers often share one address, so this is generous.
    pub per_source: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            total: 1_000,
            per_source: 100,
        }
    }
}

/// Counts open WebSockets. A lock, because it is taken once when one opens and once when it closes.
#[derive(Debug)]
pub(crate) struct Connections {
    limits: Limits,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One counted WebSocket; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Arc<Connections>,
    source: IpAddr,
}

impl Connections {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            open: Mutex::default(),
        })
    }

    /// A place for a WebSocket of this peer; `None` when it or everybody together has too many.
    pub(crate) fn take(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let source = source(peer);
        let mut open = self
            .open
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let total: usize = open.values().sum();
        let of_source = open.get(&source).copied().unwrap_or(0);
        if total >= self.limits.total || of_source >= self.limits.per_source {
            return None;
        }
        open.insert(source, of_source + 1);
        Some(Place {
            connections: self.clone(),
            source,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self
            .connections
            .open
            .lock()
            .unwrap_or_else(|p| p.into_inner());
        if let Some(count) = open.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.source);
            }
        }
    }
}

/// One IPv6 site owns a whole /64 (RFC 6177), so its hosts count together.
fn source(peer: IpAddr) -> IpAddr {
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
        let connections = Connections::new(Limits {
            total: 3,
            per_source: 2,
        });
        let [a, b]: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
        let first = connections.take(a).unwrap();
        let _second = connections.take(a).unwrap();
        assert!(connections.take(a).is_none(), "third of one source");
        let _third = connections.take(b).unwrap();
        assert!(connections.take(b).is_none(), "fourth in total");
        drop(first);
        assert!(connections.take(a).is_some());
    }

    #[test]
    fn a_v6_network_and_a_mapped_v4_address_are_one_source() {
        let s = |text: &str| source(text.parse().unwrap());
        assert_eq!(s("2001:db8:0:1::5"), s("2001:db8:0:1:ffff::9"));
        assert_ne!(s("2001:db8:0:1::5"), s("2001:db8:0:2::5"));
        assert_eq!(s("::ffff:192.0.2.1"), s("192.0.2.1"));
    }
}
