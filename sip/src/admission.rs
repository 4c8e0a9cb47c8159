//! How many calls strangers may begin: of one source, and of all together.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Sources that are remembered. Beyond it, further ones are bounded by the rate of all alone.
const MAX_SOURCES: usize = 4_096;

/// What counts as one source: an IPv4 address, or the prefix of an IPv6 network, in which one host has
/// all the addresses it wants (RFC 4291 §2.5.4).
pub fn source(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

/// Counts beginnings. A rate may be exceeded by what one second of it allows, after a pause.
#[derive(Debug)]
pub(crate) struct Admission {
    rate_of_source: u32,
    rate_of_all: u32,
    /// Until when each has used up its rate; one that lies in the past says nothing.
    sources: HashMap<IpAddr, Instant>,
    all: Option<Instant>,
}

impl Admission {
    /// So many a second.
    pub fn new(rate_of_source: u32, rate_of_all: u32) -> Self {
        Self {
            rate_of_source: rate_of_source.max(1),
            rate_of_all: rate_of_all.max(1),
            sources: HashMap::new(),
            all: None,
        }
    }

    /// Whether one more may begin now, which is counted then.
    pub fn admits(&mut self, now: Instant, ip: IpAddr) -> bool {
        let source = source(ip);
        if self.sources.len() >= MAX_SOURCES {
            self.sources.retain(|_, used_until| *used_until > now);
        }
        let known = self.sources.get(&source).copied();
        let of_source = advance(now, known, self.rate_of_source);
        let of_all = advance(now, self.all, self.rate_of_all);
        let (Some(of_source), Some(of_all)) = (of_source, of_all) else {
            return false;
        };
        self.all = Some(of_all);
        if known.is_some() || self.sources.len() < MAX_SOURCES {
            self.sources.insert(source, of_source);
        }
        true
    }
}

/// Until when a rate is used up after one more; `None` when that is more than a second ahead.
fn advance(now: Instant, used_until: Option<Instant>, rate: u32) -> Option<Instant> {
    let from = used_until.map_or(now, |at| at.max(now));
    let until = from + Duration::from_secs(1) / rate;
    (until <= now + Duration::from_secs(1)).then_some(until)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn admitted(admission: &mut Admission, now: Instant, sources: &[&str], count: usize) -> usize {
        (0..count)
            .filter(|n| admission.admits(now, ip(sources[n % sources.len()])))
            .count()
    }

    #[test]
    fn a_source_has_its_rate_and_others_have_theirs() {
        let mut admission = Admission::new(10, 100);
        let mut now = Instant::now();
        assert_eq!(admitted(&mut admission, now, &["192.0.2.1"], 50), 10);
        assert_eq!(admitted(&mut admission, now, &["192.0.2.2"], 50), 10);
        now += Duration::from_millis(500);
        assert_eq!(admitted(&mut admission, now, &["192.0.2.1"], 50), 5);
        now += Duration::from_secs(3_600);
        assert_eq!(admitted(&mut admission, now, &["192.0.2.1"], 50), 10);
    }

    #[test]
    fn all_together_have_a_rate_and_a_network_is_one_source() {
        let mut admission = Admission::new(10, 15);
        let now = Instant::now();
        let network = ["2001:db8::1", "2001:db8::2"];
        assert_eq!(admitted(&mut admission, now, &network, 50), 10);
        assert_eq!(admitted(&mut admission, now, &["2001:db8:0:1::1"], 50), 5);
    }

    #[test]
    fn the_memory_for_sources_is_bounded() {
        let mut admission = Admission::new(1, 1_000_000);
        let mut now = Instant::now();
        for n in 0..2 * MAX_SOURCES as u32 {
            assert!(admission.admits(now, IpAddr::from((n + 1).to_be_bytes())));
        }
        assert_eq!(admission.sources.len(), MAX_SOURCES);
        now += Duration::from_secs(2);
        assert!(admission.admits(now, ip("192.0.2.1")));
        assert_eq!(admission.sources.len(), 1);
    }
}
