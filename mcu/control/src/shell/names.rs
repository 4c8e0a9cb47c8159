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
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use super::Event;
use super::dns::Dns;
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

    /// Finds the servers at a place; [`Event::Located`] follows.
    pub fn locate(&self, sought: Sought, wanted: Wanted) {
        let names = self.clone();
        tokio::spawn(async move {
            let found = names.look_up(sought).await;
            let _ = names.events.send(Event::Located(wanted, found)).await;
        });
    }

    async fn look_up(&self, sought: Sought) -> Result<Vec<Hop>, &'static str> {
        // RFC 3263 §4.1: UDP where a port or an address is given and no transport.
        let transport = sought.transport.unwrap_or(HopTransport::Udp);
        let (host, port) = match sought.place {
            Place::Address(address) => return Ok(vec![Hop { transport, address }]),
            Place::Name { host, port } => (host, port),
        };
        let Ok(permit) = self.free.clone().try_acquire_owned() else {
            return Err("too many names are looked up");
        };
        let servers = match port {
            None if host.contains('.') => self.servers(&host, sought.transport).await?,
            // A name without a dot is a host of this network.
            _ => None,
        };
        let servers = servers.unwrap_or_else(|| {
            let port = port.unwrap_or(location::default_port(sought.transport));
            vec![Server {
                transport,
                host,
                port,
            }]
        });
        self.addresses(servers, Arc::new(permit)).await
    }

    /// The servers of a domain in the order in which they are to be tried; `None` where it names none,
    /// or DNS does not say.
    async fn servers(
        &self,
        domain: &str,
        transport: Option<HopTransport>,
    ) -> Result<Option<Vec<Server>>, &'static str> {
        let asking = async {
            let dns = Dns::new(&self.dns).await;
            let mut services = Vec::new();
            if transport.is_none() {
                services = location::services(&dns.naptr(domain).await.ok()?, &self.spoken);
            }
            if services.is_empty() {
                services = location::services_of(domain, transport, &self.spoken);
            }
            let asked = services.into_iter().map(async |service| {
                let found = dns.srv(&service.name).await.unwrap_or_default();
                (service.transport, found)
            });
            Some(join_all(asked).await)
        };
        match timeout(SERVICES_WAIT, asking).await {
            Ok(Some(found)) => in_order(found),
            Ok(None) | Err(_) => {
                debug!(domain, "DNS does not say which servers there are");
                Ok(None)
            }
        }
    }

    async fn addresses(
        &self,
        servers: Vec<Server>,
        permit: Arc<OwnedSemaphorePermit>,
    ) -> Result<Vec<Hop>, &'static str> {
        let until = Instant::now() + LOOKUP_WAIT;
        let mut hops = Vec::new();
        let mut failed = "no such name in DNS";
        for server in servers {
            let looking = self.addresses_of(server.host, permit.clone());
            let Ok(found) = timeout_at(until, looking).await else {
                failed = "DNS does not answer";
                break;
            };
            let hop = |ip: IpAddr| Hop {
                transport: server.transport,
                address: SocketAddr::new(ip, server.port),
            };
            hops.extend(found.into_iter().map(hop).take(MAX_ADDRESSES));
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
    async fn addresses_of(&self, host: String, permit: Arc<OwnedSemaphorePermit>) -> Vec<IpAddr> {
        if !self.dns.is_empty() {
            let found = Dns::new(&self.dns).await.addresses(&host).await;
            if let Some(found) = found.ok().filter(|found| !found.is_empty()) {
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
    use domain::base::{CharStr, Message, MessageBuilder, Name, Record, RecordData, Ttl};
    use domain::rdata::{AllRecordData, Naptr, Srv};
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

    /// Names that are looked up by a server of DNS with these records.
    async fn names(zone: Vec<(&'static str, Data)>) -> Names {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let dns = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 1_500];
            while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
                let answer = answer(&buffer[..len], &zone);
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        Names::new(&[dns], &CLEAR, mpsc::channel(1).0)
    }

    fn answer(question: &[u8], zone: &[(&str, Data)]) -> Vec<u8> {
        let question = Message::from_octets(question).unwrap();
        let asked = question.sole_question().unwrap();
        let found = zone.iter().filter(|(owner, data)| {
            asked.qname().to_string() == *owner && asked.qtype() == RecordData::rtype(data)
        });
        let builder = MessageBuilder::new_vec();
        let mut answer = builder.start_answer(&question, Rcode::NOERROR).unwrap();
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

    /// What is found, as text.
    async fn found(names: &Names, text: &str, transport: Option<HopTransport>) -> Vec<String> {
        let found = names.look_up(sought(text, transport)).await.unwrap();
        let shown = |hop: &Hop| format!("{:?} {}", hop.transport, hop.address.port());
        found.iter().map(shown).collect()
    }

    #[tokio::test]
    async fn names_lead_to_addresses_and_wrong_ones_nowhere() {
        let names = Names::new(&[], &CLEAR, mpsc::channel(1).0);
        let here = sought("localhost:5070", None);
        let found = names.look_up(here.clone()).await.unwrap();
        assert!(!found.is_empty());
        assert!(found.iter().all(|hop| hop.address.ip().is_loopback()));
        assert!(found.iter().all(|hop| hop.address.port() == 5070));
        let wrong = names.look_up(sought("nowhere.invalid:5060", None)).await;
        assert!(wrong.is_err(), "{wrong:?}");
        let all = names.free.clone().try_acquire_many_owned(LOOKUPS as u32);
        let busy = names.look_up(here).await;
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
        let found = names.look_up(sought("carrier.test", None)).await;
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
        assert_eq!(names.servers("carrier.test", None).await, Ok(None));
        let found = names.look_up(sought("localhost:5060", None)).await;
        assert!(found.is_ok(), "{found:?}");
    }
}
