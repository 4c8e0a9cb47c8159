//! Where servers are that are named: RFC 3263, by NAPTR and SRV where neither a port nor an address is
//! given, and by the resolver of the system, with the hosts that it knows of itself.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use mcu_api::call::{Hop, HopTransport};
use sip::RegistrationId;
use sip::location::{self, MAX_HOPS, Srv};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::Event;
use super::dns::{Dns, NoAnswer};
use crate::config::{Place, Sought};
use crate::controller::{DialRequest, Way};

/// Names that are looked up at a time, each by a thread. One more fails at once.
const LOOKUPS: usize = 16;

/// Services that are not found in this time count as none.
const SERVICES_WAIT: Duration = Duration::from_secs(5);

/// Names whose addresses take longer are given up, though a thread goes on for as long as the system's
/// resolver tries.
const LOOKUP_WAIT: Duration = Duration::from_secs(5);

/// Most addresses of one server, so that those of the next have their turn.
const MAX_ADDRESSES: usize = 3;

/// What an address is looked up for.
#[derive(Debug)]
pub enum Wanted {
    /// A registration of ours.
    Registration(RegistrationId),
    /// A call of a room.
    Call(Box<(DialRequest, Way)>),
}

/// Looks names up, and tells the owner.
#[derive(Clone, Debug)]
pub struct Names {
    free: Arc<Semaphore>,
    /// Servers of DNS; the system's if empty.
    dns: Arc<[SocketAddr]>,
    /// What we speak, what is preferred first.
    spoken: Arc<[HopTransport]>,
    events: mpsc::Sender<Event>,
}

/// One server that a domain names, or may be.
#[derive(Debug, PartialEq, Eq)]
struct Server {
    transport: HopTransport,
    host: String,
    port: u16,
}

impl Names {
    /// Tells by these events.
    pub fn new(dns: &[SocketAddr], spoken: &[HopTransport], events: mpsc::Sender<Event>) -> Self {
        Self {
            free: Arc::new(Semaphore::new(LOOKUPS)),
            dns: dns.into(),
            spoken: spoken.into(),
            events,
        }
    }

    /// Finds the servers at a place, of which those count that are `usable`; [`Event::Located`] follows.
    pub fn locate(
        &self,
        sought: Sought,
        wanted: Wanted,
        usable: impl Fn(&Hop) -> bool + Send + Sync + 'static,
    ) {
        let names = self.clone();
        tokio::spawn(async move {
            let found = names.look_up(sought, &usable).await;
            let _ = names.events.send(Event::Located(wanted, found)).await;
        });
    }

    async fn look_up(
        &self,
        sought: Sought,
        usable: &(impl Fn(&Hop) -> bool + Sync),
    ) -> Result<Vec<Hop>, &'static str> {
        let transport = sought.transport;
        let (host, port) = match sought.place {
            Place::Address(address) => {
                // RFC 3263 §4.1: UDP where an address is given and no transport.
                let transport = transport.unwrap_or(HopTransport::Udp);
                return Ok(vec![Hop { transport, address }]);
            }
            Place::Name { host, port } => (host, port),
        };
        let Ok(permit) = self.free.clone().try_acquire_owned() else {
            return Err("too many names are looked up");
        };
        let dns = Dns::new(&self.dns).await;
        let servers = match port {
            None if host.contains('.') => self.servers(&dns, &host, transport).await?,
            // A name without a dot is a host of this network.
            _ => vec![Server::host(&host, port, transport)],
        };
        self.addresses(&dns, servers, usable, Arc::new(permit))
            .await
    }

    /// The servers of a domain in the order in which they are to be tried. Where it names none, or DNS does
    /// not answer at all, that is the host of this name, over what was wanted or the domain has chosen.
    ///
    /// # Errors
    /// Where the domain offers nothing that we speak, or DNS says nothing of what it offers: whatever it is,
    /// it is not called otherwise.
    async fn servers(
        &self,
        dns: &Dns,
        domain: &str,
        transport: Option<HopTransport>,
    ) -> Result<Vec<Server>, &'static str> {
        let until = Instant::now() + SERVICES_WAIT;
        let mut chosen = Vec::new();
        if transport.is_none() {
            let Ok(Ok(records)) = timeout_at(until, dns.naptr(domain)).await else {
                debug!(domain, "DNS does not say which servers there are");
                return Ok(vec![Server::host(domain, None, None)]);
            };
            chosen = location::services(&records, &self.spoken);
            if chosen.is_empty() && location::offers_sip(&records) {
                return Err("the domain offers no SIP that we speak");
            }
        }
        let host_transport = transport.or(chosen.first().map(|service| service.transport));
        let services = match chosen.is_empty() {
            true => location::services_of(domain, transport, &self.spoken),
            false => chosen,
        };
        let asked = services.into_iter().map(async |service| {
            let found = timeout_at(until, dns.srv(&service.name)).await;
            let found = found.unwrap_or(Err(NoAnswer));
            (service.transport, found)
        });
        let found = join_all(asked).await;
        let is_known = found.iter().all(|(_, found)| found.is_ok());
        let found = found.into_iter();
        let found = found.filter_map(|(transport, found)| Some((transport, found.ok()?)));
        match in_order(found.collect())? {
            Some(servers) => Ok(servers),
            None if !is_known && transport.is_none() => Err("DNS does not answer"),
            None => Ok(vec![Server::host(domain, None, host_transport)]),
        }
    }

    async fn addresses(
        &self,
        dns: &Dns,
        servers: Vec<Server>,
        usable: &(impl Fn(&Hop) -> bool + Sync),
        permit: Arc<OwnedSemaphorePermit>,
    ) -> Result<Vec<Hop>, &'static str> {
        let until = Instant::now() + LOOKUP_WAIT;
        let mut hops = Vec::new();
        let mut failed = "no such name in DNS";
        for server in servers {
            let looking = self.addresses_of(dns, server.host, until, permit.clone());
            let Ok(found) = timeout_at(until, looking).await else {
                failed = "DNS does not answer";
                break;
            };
            if !found.is_empty() {
                failed = "none of its addresses can be reached from here";
            }
            let hop = |ip: IpAddr| Hop {
                transport: server.transport,
                address: SocketAddr::new(ip.to_canonical(), server.port),
            };
            let found = found.into_iter().map(hop).filter(usable);
            hops.extend(found.take(MAX_ADDRESSES));
            if hops.len() >= MAX_HOPS {
                break;
            }
        }
        match location::bounded(hops) {
            hops if hops.is_empty() => Err(failed),
            hops => Ok(hops),
        }
    }

    /// By the servers that are configured, and by the system where they know nothing.
    async fn addresses_of(
        &self,
        dns: &Dns,
        host: String,
        until: Instant,
        permit: Arc<OwnedSemaphorePermit>,
    ) -> Vec<IpAddr> {
        if !self.dns.is_empty() {
            let found = dns.addresses(&host, until).await;
            if !found.is_empty() {
                return found;
            }
        }
        let looking = spawn_blocking(move || {
            let found = (host.as_str(), 0).to_socket_addrs();
            drop(permit);
            let found = found.into_iter().flatten();
            found.map(|at| at.ip()).collect()
        });
        looking.await.unwrap_or_default()
    }
}

impl Server {
    /// A host without SRV records.
    fn host(host: &str, port: Option<u16>, transport: Option<HopTransport>) -> Self {
        Self {
            // RFC 3263 §4.1: UDP where a port is given, or DNS knows nothing, and no transport.
            transport: transport.unwrap_or(HopTransport::Udp),
            host: host.to_owned(),
            port: port.unwrap_or(location::default_port(transport)),
        }
    }
}

/// The servers of all services, the first service's first. `None` where there is none.
///
/// # Errors
/// Where the domain says that it offers nothing (RFC 2782: the target is the root).
fn in_order(found: Vec<(HopTransport, Vec<Srv>)>) -> Result<Option<Vec<Server>>, &'static str> {
    let is_named = found.iter().any(|(_, records)| !records.is_empty());
    let servers = found.into_iter().flat_map(|(transport, records)| {
        let ordered = location::in_order(records, &mut rand::rng());
        let ordered = ordered.into_iter();
        let ordered = ordered.filter(|record| !record.target.is_empty() && record.port != 0);
        ordered.map(move |record| Server {
            transport,
            host: record.target,
            port: record.port,
        })
    });
    match servers.collect::<Vec<_>>() {
        servers if !servers.is_empty() => Ok(Some(servers)),
        _ if is_named => Err("the domain offers no SIP"),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use domain::base::iana::{Class, Rcode};
    use domain::base::{CharStr, Message, MessageBuilder, Name, Record, RecordData, Rtype, Ttl};
    use domain::rdata::{A, Aaaa, AllRecordData, Naptr, Srv};
    use tokio::net::UdpSocket;

    use super::*;

    const CLEAR: [HopTransport; 2] = [HopTransport::Udp, HopTransport::Tcp];

    type Data = AllRecordData<Bytes, Name<Bytes>>;

    fn name(text: &str) -> Name<Bytes> {
        text.parse().unwrap()
    }

    fn srv(priority: u16, port: u16, target: &str) -> Data {
        Srv::new(priority, 10, port, name(target)).into()
    }

    fn naptr(order: u16, services: &'static str, replacement: &str) -> Data {
        let text = |text: &'static str| CharStr::from_octets(Bytes::from_static(text.as_bytes()));
        let (flags, services, regexp) = (text("s"), text(services), text(""));
        let [flags, services, regexp] = [flags, services, regexp].map(Result::unwrap);
        Naptr::new(order, 10, flags, services, regexp, name(replacement)).into()
    }

    fn a(address: [u8; 4]) -> Data {
        A::new(address.into()).into()
    }

    fn aaaa(address: &str) -> Data {
        Aaaa::new(address.parse().unwrap()).into()
    }

    /// Names that are looked up by a server of DNS with these records.
    async fn names(zone: Vec<(&'static str, Data)>) -> Names {
        Names::new(&[server(zone).await], &CLEAR, mpsc::channel(1).0)
    }

    /// A server of DNS with these records.
    async fn server(zone: Vec<(&'static str, Data)>) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let dns = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 1_500];
            while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
                let answer = answer(&buffer[..len], &zone);
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        dns
    }

    /// Of names below `broken.test`, and of addresses by IPv6 of `half.test`, it says nothing of use.
    fn answer(question: &[u8], zone: &[(&str, Data)]) -> Vec<u8> {
        let question = Message::from_octets(question).unwrap();
        let asked = question.sole_question().unwrap();
        let name_asked = asked.qname().to_string();
        let found = zone.iter().filter(|(owner, data)| {
            name_asked == *owner && asked.qtype() == RecordData::rtype(data)
        });
        let half = name_asked == "half.test" && asked.qtype() == Rtype::AAAA;
        let code = match half || name_asked.ends_with(".broken.test") {
            true => Rcode::SERVFAIL,
            false => Rcode::NOERROR,
        };
        let builder = MessageBuilder::new_vec();
        let mut answer = builder.start_answer(&question, code).unwrap();
        for (owner, data) in found {
            let record = Record::new(name(owner), Class::IN, Ttl::from_secs(60), data);
            answer.push(record).unwrap();
        }
        answer.finish()
    }

    fn sought(text: &str, transport: Option<HopTransport>) -> Sought {
        Sought {
            place: text.parse().unwrap(),
            transport,
        }
    }

    fn any(_: &Hop) -> bool {
        true
    }

    /// What is found, as text.
    async fn found(names: &Names, text: &str, transport: Option<HopTransport>) -> Vec<String> {
        let found = names.look_up(sought(text, transport), &any).await;
        let found = found.unwrap();
        let shown = |hop: &Hop| format!("{:?} {}", hop.transport, hop.address.port());
        found.iter().map(shown).collect()
    }

    #[tokio::test]
    async fn names_lead_to_addresses_and_wrong_ones_nowhere() {
        let names = Names::new(&[], &CLEAR, mpsc::channel(1).0);
        let here = sought("localhost:5070", None);
        let found = names.look_up(here.clone(), &any).await.unwrap();
        assert!(!found.is_empty());
        assert!(found.iter().all(|hop| hop.address.ip().is_loopback()));
        assert!(found.iter().all(|hop| hop.address.port() == 5070));
        let wrong = names
            .look_up(sought("nowhere.invalid:5060", None), &any)
            .await;
        assert!(wrong.is_err(), "{wrong:?}");
        let all = names.free.clone().try_acquire_many_owned(LOOKUPS as u32);
        let busy = names.look_up(here, &any).await;
        assert_eq!(busy, Err("too many names are looked up"));
        drop(all);
    }

    #[tokio::test]
    async fn a_domain_leads_to_the_servers_that_it_names_in_their_order() {
        let names = names(vec![
            (
                "carrier.test",
                naptr(20, "SIP+D2U", "_sip._udp.carrier.test"),
            ),
            ("carrier.test", naptr(10, "SIP+D2T", "tcp.elsewhere.test")),
            ("tcp.elsewhere.test", srv(20, 5072, "localhost")),
            ("tcp.elsewhere.test", srv(10, 5071, "localhost")),
            ("_sip._udp.carrier.test", srv(10, 5073, "localhost")),
            ("_sip._tcp.carrier.test", srv(10, 5074, "localhost")),
        ])
        .await;
        // The system may know this machine by addresses of both families.
        let mut by_naptr = found(&names, "carrier.test", None).await;
        by_naptr.dedup();
        assert_eq!(by_naptr, ["Tcp 5071", "Tcp 5072", "Udp 5073"]);
        let mut given = found(&names, "carrier.test", Some(HopTransport::Tcp)).await;
        given.dedup();
        assert_eq!(given, ["Tcp 5074"], "as it was wanted");
    }

    /// Defect: it was called over UDP, with the keys of its media in clear.
    #[tokio::test]
    async fn a_domain_that_offers_only_what_we_do_not_speak_is_not_called_otherwise() {
        for (services, target) in [
            ("SIPS+D2T", "_sips._tcp.carrier.test"),
            ("sips+d2s", "_sips._sctp.carrier.test"),
            ("SIP+D2W", "a\\032b.test"),
        ] {
            let names = names(vec![
                ("carrier.test", naptr(10, services, target)),
                ("_sip._udp.carrier.test", srv(10, 5071, "pbx.carrier.test")),
                ("carrier.test", a([127, 0, 0, 1])),
                ("pbx.carrier.test", a([127, 0, 0, 1])),
            ])
            .await;
            let found = names.look_up(sought("carrier.test", None), &any).await;
            assert!(found.is_err(), "{services}: {found:?}");
        }
        // What is no SIP says nothing of it.
        let names = names(vec![
            ("carrier.test", naptr(10, "E2U+sip", "carrier.test")),
            ("carrier.test", a([127, 0, 0, 1])),
        ])
        .await;
        assert_eq!(found(&names, "carrier.test", None).await, ["Udp 5060"]);
    }

    /// Defect: the domain's own host was called instead, over UDP.
    #[tokio::test]
    async fn services_that_dns_says_nothing_of_lead_nowhere_else() {
        let host = ("carrier.test", a([127, 0, 0, 1]));
        let names_of = async |service| {
            let offered = naptr(10, "SIP+D2T", service);
            names(vec![("carrier.test", offered), host.clone()]).await
        };
        let broken = names_of("tcp.broken.test").await;
        let found_there = broken.look_up(sought("carrier.test", None), &any).await;
        assert_eq!(found_there, Err("DNS does not answer"));
        // RFC 3263 §4.2: one that has no servers of its own is at the domain, over what it chose.
        let empty = names_of("tcp.carrier.test").await;
        assert_eq!(found(&empty, "carrier.test", None).await, ["Tcp 5060"]);
        let without_naptr = names(vec![("broken.test", a([127, 0, 0, 1]))]).await;
        let found_there = without_naptr
            .look_up(sought("broken.test", None), &any)
            .await;
        assert_eq!(found_there, Err("DNS does not answer"));
        let udp = Some(HopTransport::Udp);
        assert_eq!(
            found(&without_naptr, "broken.test", udp).await,
            ["Udp 5060"]
        );
    }

    #[tokio::test]
    async fn of_two_services_one_may_be_broken() {
        let names = names(vec![
            ("carrier.test", naptr(10, "SIP+D2T", "tcp.broken.test")),
            ("carrier.test", naptr(20, "SIP+D2U", "udp.carrier.test")),
            ("udp.carrier.test", srv(10, 5071, "half.test")),
            ("half.test", a([127, 0, 0, 1])),
        ])
        .await;
        // So is the host: what is known of it counts.
        assert_eq!(found(&names, "carrier.test", None).await, ["Udp 5071"]);
    }

    /// Defect: three addresses of a host were taken before it was asked whether one of them can be reached.
    #[tokio::test]
    async fn addresses_that_cannot_be_reached_take_no_place_of_others() {
        let by_ipv6 = [
            "2001:db8::1",
            "2001:db8::2",
            "2001:db8::3",
            "::ffff:192.0.2.1",
        ];
        let mut zone = vec![("_sip._udp.carrier.test", srv(10, 5071, "pbx.carrier.test"))];
        zone.extend(by_ipv6.map(|address| ("pbx.carrier.test", aaaa(address))));
        let names = names(zone).await;
        let place = sought("carrier.test", None);
        let by_ipv4 = |hop: &Hop| hop.address.is_ipv4();
        let found = names.look_up(place.clone(), &by_ipv4).await.unwrap();
        let found: Vec<_> = found.iter().map(|hop| hop.address.to_string()).collect();
        assert_eq!(found, ["192.0.2.1:5071"]);
        let none = names.look_up(place, &|_| false).await;
        assert_eq!(none, Err("none of its addresses can be reached from here"));
    }

    /// Defect: each question began at the first server again, so that two silent ones used up the time.
    #[tokio::test]
    async fn servers_of_dns_that_are_silent_are_waited_for_once() {
        let silent = [(); 2].map(|()| std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
        let [first, second] = silent.each_ref().map(|silent| silent.local_addr().unwrap());
        let answering = server(vec![
            ("_sip._tcp.carrier.test", srv(10, 5071, "pbx.carrier.test")),
            ("pbx.carrier.test", a([127, 0, 0, 1])),
            ("pbx.carrier.test", aaaa("::1")),
        ]);
        let dns = [first, second, answering.await];
        let names = Names::new(&dns, &CLEAR, mpsc::channel(1).0);
        let found = found(&names, "carrier.test", None).await;
        assert_eq!(found, ["Tcp 5071", "Tcp 5071"]);
        for silent in silent {
            silent.set_nonblocking(true).unwrap();
            let mut questions = Vec::new();
            let mut buffer = [0; 1_500];
            while let Ok(len) = silent.recv(&mut buffer) {
                let question = Message::from_octets(&buffer[..len]).unwrap();
                questions.push(question.sole_question().unwrap().qtype());
            }
            questions.dedup();
            assert_eq!(questions, [Rtype::NAPTR]);
        }
    }

    /// RFC 3263 §4.2: with a port there is nothing to ask but addresses.
    #[tokio::test]
    async fn a_name_with_a_port_or_without_a_dot_is_a_host() {
        let names = names(vec![("_sip._udp.localhost", srv(10, 5071, "localhost"))]).await;
        for text in ["localhost:5060", "localhost"] {
            let mut found = found(&names, text, None).await;
            found.dedup();
            assert_eq!(found, ["Udp 5060"]);
        }
    }

    /// RFC 2782: a target that is the root says that there is no such service.
    #[tokio::test]
    async fn a_domain_that_offers_no_sip_is_not_tried() {
        let names = names(vec![("_sip._udp.carrier.test", srv(0, 0, "."))]).await;
        let found = names.look_up(sought("carrier.test", None), &any).await;
        assert_eq!(found, Err("the domain offers no SIP"));
    }

    /// What a server of DNS names may be anything; it goes to the resolver of the system.
    #[tokio::test]
    async fn what_is_no_name_of_a_host_is_passed_over() {
        let names = names(vec![
            ("_sip._udp.carrier.test", srv(1, 5071, "a\\032b.test")),
            ("_sip._udp.carrier.test", srv(2, 5072, "\\000.test")),
            ("_sip._udp.carrier.test", srv(3, 0, "localhost")),
            ("_sip._udp.carrier.test", srv(4, 5074, "localhost")),
        ])
        .await;
        let mut found = found(&names, "carrier.test", None).await;
        found.dedup();
        assert_eq!(found, ["Udp 5074"]);
    }

    #[tokio::test]
    async fn no_answer_leads_to_more_servers_than_are_tried() {
        let zone = (1..30).map(|port| ("_sip._udp.carrier.test", srv(10, port, "localhost")));
        let names = names(zone.collect()).await;
        let found = found(&names, "carrier.test", None).await;
        assert_eq!(found.len(), MAX_HOPS);
    }

    /// Nobody answers there: the name is looked up as a host's.
    #[tokio::test]
    async fn without_dns_the_system_is_asked() {
        let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let dns = closed.local_addr().unwrap();
        drop(closed);
        let names = Names::new(&[dns], &CLEAR, mpsc::channel(1).0);
        let host = Server::host("carrier.test", None, None);
        let found_there = names
            .servers(&Dns::new(&[dns]).await, "carrier.test", None)
            .await;
        assert_eq!(found_there, Ok(vec![host]));
        let found = names.look_up(sought("localhost:5060", None), &any).await;
        assert!(found.is_ok(), "{found:?}");
    }
}
