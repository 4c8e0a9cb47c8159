//! Which servers a name leads to (RFC 3263), of the records that DNS has for it. Nothing is asked here:
//! the shell asks for what [`services`] and [`services_of`] name, and puts the answers in order by
//! [`in_order`].

use mcu_api::call::{Hop, HopTransport};
use rand::Rng;
use rand::seq::SliceRandom;

use crate::flow::Transport;
use crate::message::{Scheme, Uri, uri_address};

/// A host that a URI names, and what it says of the way there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedHost {
    /// Its name.
    pub host: String,
    /// Its port, if stated.
    pub port: Option<u16>,
    /// What is spoken there, if stated.
    pub transport: Option<HopTransport>,
}

/// Most servers that one call or registration tries.
pub const MAX_HOPS: usize = 6;

/// Most services of a domain: each is a question of its own.
const MAX_SERVICES: usize = 4;

/// Most records of a kind that are looked at; a server of DNS may send hundreds.
pub const MAX_RECORDS: usize = 32;

/// What NAPTR says of a domain (RFC 3403 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naptr {
    /// Lower ones first.
    pub order: u16,
    /// Lower ones first, of one order.
    pub preference: u16,
    /// `s` where SRV is to be asked next.
    pub flags: Vec<u8>,
    /// Such as `SIP+D2T`.
    pub services: Vec<u8>,
    /// Whether it rewrites names by an expression, which no record for SIP does.
    pub rewrites: bool,
    /// Name of the SRV records; empty if there is none.
    pub replacement: String,
}

/// One server of a service (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// Lower ones first.
    pub priority: u16,
    /// Share among those of one priority.
    pub weight: u16,
    /// Its port.
    pub port: u16,
    /// Its name; empty where the service is decidedly not there.
    pub target: String,
}

/// SRV records to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What its servers speak.
    pub transport: HopTransport,
    /// Its name.
    pub name: String,
}

/// What a `sip:` URI says of where its host is. `None` for another scheme, for an address, which needs
/// no DNS, and where it demands a transport that we cannot open.
pub fn named_host(uri: &str) -> Option<NamedHost> {
    let uri = Uri::parse(uri.to_owned().into()).ok()?;
    if !matches!(uri.scheme(), Scheme::Sip) || uri_address(&uri).is_some() {
        return None;
    }
    let transport = match uri.transport() {
        None => None,
        Some(name) if name.eq_ignore_ascii_case(b"udp") => Some(HopTransport::Udp),
        Some(name) if name.eq_ignore_ascii_case(b"tcp") => Some(HopTransport::Tcp),
        Some(name) if name.eq_ignore_ascii_case(b"tls") => Some(HopTransport::Tls),
        Some(_) => return None,
    };
    Some(NamedHost {
        host: uri.host()?.to_string(),
        port: uri.port(),
        transport,
    })
}

/// The services that a domain names, of those that we speak, its favourite first (RFC 3263 §4.1). None
/// if no record is usable.
pub fn services(records: &[Naptr], spoken: &[HopTransport]) -> Vec<Service> {
    let mut usable: Vec<(&Naptr, HopTransport)> = records
        .iter()
        .take(MAX_RECORDS)
        .filter(|record| record.flags.eq_ignore_ascii_case(b"s") && !record.rewrites)
        .filter(|record| !record.replacement.is_empty())
        .filter_map(|record| Some((record, transport_of(&record.services)?)))
        .filter(|(_, transport)| spoken.contains(transport))
        .collect();
    usable.sort_by_key(|(record, _)| (record.order, record.preference));
    let mut services: Vec<Service> = Vec::new();
    for (record, transport) in usable {
        let name = record.replacement.clone();
        let service = Service { transport, name };
        if !services.contains(&service) && services.len() < MAX_SERVICES {
            services.push(service);
        }
    }
    services
}

/// Whether a domain says by NAPTR how SIP is spoken there, be it in a way that is not ours: then it is
/// called in no other (RFC 3263 §4.1).
pub fn offers_sip(records: &[Naptr]) -> bool {
    records.iter().any(|record| {
        let services = record.services.to_ascii_lowercase();
        services.starts_with(b"sip+") || services.starts_with(b"sips+")
    })
}

/// The services of a domain without NAPTR, or of one whose transport is given (RFC 3263 §4.1, §4.2), in
/// the order of what we speak.
pub fn services_of(
    domain: &str,
    transport: Option<HopTransport>,
    spoken: &[HopTransport],
) -> Vec<Service> {
    let wanted = spoken
        .iter()
        .filter(|spoken| transport.is_none_or(|wanted| wanted == **spoken));
    let service = |transport: &HopTransport| Service {
        transport: *transport,
        name: format!("{}.{domain}", prefix(*transport)),
    };
    wanted.map(service).collect()
}

/// The servers of a service in the order in which they are to be tried, those of one priority by chance
/// of their weight (RFC 2782, "Usage rules").
pub fn in_order(mut records: Vec<Srv>, random: &mut impl Rng) -> Vec<Srv> {
    records.truncate(MAX_RECORDS);
    // Equals stay in this order below.
    records.shuffle(random);
    // Those without a weight stand first, so that they have a small chance at all.
    records.sort_by_key(|record| (record.priority, record.weight));
    let mut ordered = Vec::new();
    while let Some(first) = records.first() {
        let priority = first.priority;
        let alike = records.iter().take_while(|r| r.priority == priority);
        let weights: Vec<u32> = alike.map(|record| record.weight.into()).collect();
        let mut left = random.random_range(0..=weights.iter().sum::<u32>());
        let chosen = weights.iter().position(|weight| {
            let is_it = left <= *weight;
            left = left.saturating_sub(*weight);
            is_it
        });
        ordered.push(records.remove(chosen.unwrap_or(0)));
    }
    ordered
}

/// Where servers are that have neither NAPTR nor SRV.
pub fn default_port(transport: Option<HopTransport>) -> u16 {
    match transport {
        // RFC 3261 §19.1.2.
        None | Some(HopTransport::Udp | HopTransport::Tcp) => 5060,
        Some(HopTransport::Tls) => 5061,
    }
}

fn prefix(transport: HopTransport) -> &'static str {
    match transport {
        HopTransport::Udp => "_sip._udp",
        HopTransport::Tcp => "_sip._tcp",
        HopTransport::Tls => "_sips._tcp",
    }
}

/// RFC 3263 §4.1; `None` for what we do not speak.
fn transport_of(services: &[u8]) -> Option<HopTransport> {
    let is = |name: &[u8]| services.eq_ignore_ascii_case(name);
    match () {
        () if is(b"SIP+D2U") => Some(HopTransport::Udp),
        () if is(b"SIP+D2T") => Some(HopTransport::Tcp),
        () if is(b"SIPS+D2T") => Some(HopTransport::Tls),
        () => None,
    }
}

impl From<HopTransport> for Transport {
    fn from(transport: HopTransport) -> Self {
        match transport {
            HopTransport::Udp => Self::Udp,
            HopTransport::Tcp => Self::Tcp,
            HopTransport::Tls => Self::Tls,
        }
    }
}

/// The servers, each once, at most [`MAX_HOPS`].
pub fn bounded(hops: impl IntoIterator<Item = Hop>) -> Vec<Hop> {
    let mut kept = Vec::new();
    for hop in hops {
        if kept.len() < MAX_HOPS && !kept.contains(&hop) {
            kept.push(hop);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn a_uri_says_what_dns_is_asked_for() {
        let found = |uri: &str| {
            let named = named_host(uri)?;
            Some((named.host, named.port, named.transport))
        };
        let host = || "carrier.example".to_owned();
        let tcp = Some(HopTransport::Tcp);
        assert_eq!(found("sip:a@carrier.example"), Some((host(), None, None)));
        assert_eq!(
            found("sip:a@carrier.example:5070;transport=TCP"),
            Some((host(), Some(5070), tcp))
        );
        for uri in [
            "sip:a@192.0.2.7",
            "sip:a@[2001:db8::1]:5060",
            "sip:a@carrier.example;transport=ws",
            "sips:a@carrier.example",
            "tel:112",
            "nonsense",
        ] {
            assert_eq!(found(uri), None, "{uri}");
        }
    }

    const ALL: [HopTransport; 3] = [HopTransport::Tls, HopTransport::Tcp, HopTransport::Udp];

    fn naptr(order: u16, preference: u16, services: &str, replacement: &str) -> Naptr {
        Naptr {
            order,
            preference,
            flags: b"S".to_vec(),
            services: services.into(),
            rewrites: false,
            replacement: replacement.into(),
        }
    }

    fn srv(priority: u16, weight: u16, target: &str) -> Srv {
        Srv {
            priority,
            weight,
            port: 5060,
            target: target.into(),
        }
    }

    fn targets(records: &[Srv], seed: u64) -> Vec<String> {
        let ordered = in_order(records.to_vec(), &mut StdRng::seed_from_u64(seed));
        ordered.into_iter().map(|record| record.target).collect()
    }

    /// RFC 3263 §4.1, whose example prefers TLS to TCP to UDP.
    #[test]
    fn a_domain_says_what_it_likes_best_of_what_we_speak() {
        let records = [
            naptr(100, 50, "SIP+D2U", "_sip._udp.example.com"),
            naptr(90, 50, "sip+d2t", "_sip._tcp.elsewhere.example"),
            naptr(95, 50, "SIPS+D2T", "_sips._tcp.example.com"),
            naptr(50, 50, "SIPS+D2X", "_sips._x.example.com"),
            naptr(40, 1, "E2U+email", "example.com"),
        ];
        let found = services(&records, &ALL);
        let found: Vec<_> = found.iter().map(|s| (s.transport, &s.name[..])).collect();
        let wanted = [
            (HopTransport::Tcp, "_sip._tcp.elsewhere.example"),
            (HopTransport::Tls, "_sips._tcp.example.com"),
            (HopTransport::Udp, "_sip._udp.example.com"),
        ];
        assert_eq!(found, wanted);
        let clear = [HopTransport::Udp, HopTransport::Tcp];
        assert_eq!(services(&records, &clear).len(), 2, "no TLS is spoken");
        let records = [
            naptr(1, 20, "SIP+D2T", "tcp.example"),
            naptr(1, 10, "SIP+D2U", "udp.example"),
        ];
        let by_preference = services(&records, &ALL);
        assert_eq!(by_preference[0].transport, HopTransport::Udp);
    }

    #[test]
    fn records_that_lead_to_no_service_are_passed_over() {
        let good = naptr(1, 1, "SIP+D2U", "_sip._udp.example.com");
        let wrong = [
            Naptr {
                flags: b"u".to_vec(),
                ..good.clone()
            },
            Naptr {
                flags: Vec::new(),
                ..good.clone()
            },
            Naptr {
                rewrites: true,
                ..good.clone()
            },
            Naptr {
                replacement: String::new(),
                ..good.clone()
            },
            Naptr {
                services: b"SIP+D2S".to_vec(),
                ..good.clone()
            },
            Naptr {
                services: vec![0xff; 255],
                ..good.clone()
            },
        ];
        assert_eq!(services(&wrong, &ALL), []);
        assert_eq!(services(&vec![good; 1_000], &ALL).len(), 1, "each once");
    }

    #[test]
    fn without_naptr_every_transport_of_ours_is_asked_for_or_the_one_that_is_given() {
        let names = |transport| {
            let found = services_of("example.com", transport, &ALL).into_iter();
            found.map(|service| service.name).collect::<Vec<_>>()
        };
        let all = ["_sips._tcp", "_sip._tcp", "_sip._udp"];
        assert_eq!(names(None), all.map(|name| format!("{name}.example.com")));
        assert_eq!(names(Some(HopTransport::Tcp)), ["_sip._tcp.example.com"]);
    }

    #[test]
    fn servers_of_a_lower_priority_go_first_whatever_their_weight() {
        let records = [
            srv(20, 60_000, "c"),
            srv(10, 0, "b"),
            srv(0, 1, "a"),
            srv(30, 0, "d"),
        ];
        for seed in 0..50 {
            assert_eq!(targets(&records, seed), ["a", "b", "c", "d"]);
        }
    }

    /// RFC 2782: of one priority, each goes first as often as its share of the weights says.
    #[test]
    fn weights_share_out_who_goes_first() {
        let records = [srv(1, 10, "a"), srv(1, 60, "b"), srv(1, 30, "c")];
        let mut first = [0; 3];
        for seed in 0..3_000 {
            let found = targets(&records, seed);
            assert_eq!(found.len(), 3);
            let place = ["a", "b", "c"].iter().position(|name| found[0] == *name);
            first[place.unwrap()] += 1;
        }
        let [a, b, c] = first;
        assert!((200..450).contains(&a), "{first:?}");
        assert!((1_600..2_000).contains(&b), "{first:?}");
        assert!((750..1_050).contains(&c), "{first:?}");
        // One without a weight goes first now and then; all without take turns by chance alone.
        let is_first = |records: &[Srv], name: &str| {
            let first = (0..1_000).filter(|seed| targets(records, *seed)[0] == name);
            first.count()
        };
        let rare = [srv(1, 0, "a"), srv(1, 9, "b")];
        assert!((40..200).contains(&is_first(&rare, "a")));
        let alike = [srv(1, 0, "a"), srv(1, 0, "b")];
        assert!((400..600).contains(&is_first(&alike, "a")));
        let rare = [srv(1, 0, "a"), srv(1, 0, "b"), srv(1, 9, "c")];
        assert!((20..100).contains(&is_first(&rare, "a")));
        assert!((20..100).contains(&is_first(&rare, "b")));
    }

    #[test]
    fn no_answer_makes_us_try_without_end() {
        let most = vec![srv(0, u16::MAX, "a"); 5_000];
        assert_eq!(targets(&most, 1).len(), MAX_RECORDS);
        assert_eq!(in_order(Vec::new(), &mut StdRng::seed_from_u64(1)), []);
        let hop = |port| Hop {
            transport: HopTransport::Udp,
            address: ([192, 0, 2, 1], port).into(),
        };
        assert_eq!(bounded((1..100).map(hop)).len(), MAX_HOPS);
        assert_eq!(bounded([hop(1), hop(1), hop(2)]), [hop(1), hop(2)]);
    }
}
