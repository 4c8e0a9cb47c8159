//! Questions to servers of DNS that the system's resolver cannot ask: NAPTR and SRV.
//!
//! What comes back is a stranger's: few records of it are looked at, names that are none are passed over,
//! and nobody is waited for longer than [`ANSWER_WAIT`] at a time.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use domain::base::iana::Rcode;
use domain::base::{Message, MessageBuilder, Name, ParseRecordData, ParsedName, Rtype};
use domain::net::client::protocol::{TcpConnect, UdpConnect};
use domain::net::client::request::{RequestMessage, SendRequest};
use domain::net::client::{dgram, dgram_stream, multi_stream};
use domain::rdata;
use domain::resolv::stub::conf::ResolvConf;
use sip::location::{MAX_RECORDS, Naptr, Srv};
use tokio::join;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::config::Place;

/// A server that says nothing for so long is asked once more, and then the next one.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// Most servers that are asked, as the system's resolver does.
const MAX_SERVERS: usize = 3;

/// Why nothing is known, not even that there is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAnswer;

/// The servers that are asked, for one look-up: the first one first, and then the one that answered last,
/// so that those that are silent are waited for once.
#[derive(Debug)]
pub struct Dns {
    servers: Vec<SocketAddr>,
    /// Place of the one that answered last.
    answered: AtomicUsize,
}

impl Dns {
    /// Those of the configuration; without any, the system's as they are now.
    pub async fn new(configured: &[SocketAddr]) -> Self {
        let mut servers = configured.to_vec();
        if servers.is_empty() {
            let system = spawn_blocking(ResolvConf::default).await;
            let system = system.map(|conf| conf.servers).unwrap_or_default();
            servers.extend(system.iter().map(|server| server.addr));
        }
        servers.truncate(MAX_SERVERS);
        Self {
            servers,
            answered: AtomicUsize::new(0),
        }
    }

    /// The services of a domain.
    pub async fn naptr(&self, domain: &str) -> Result<Vec<Naptr>, NoAnswer> {
        type Data = rdata::Naptr<Bytes, ParsedName<Bytes>>;
        let found = self.ask::<Data>(domain, Rtype::NAPTR).await?;
        Ok(found.into_iter().map(naptr).collect())
    }

    /// The servers of a service.
    pub async fn srv(&self, service: &str) -> Result<Vec<Srv>, NoAnswer> {
        type Data = rdata::Srv<ParsedName<Bytes>>;
        let found = self.ask::<Data>(service, Rtype::SRV).await?;
        Ok(found.into_iter().filter_map(srv).collect())
    }

    /// The addresses of a host, as far as they are known by then. One family may be all that there is an
    /// answer for.
    pub async fn addresses(&self, host: &str, until: Instant) -> Vec<IpAddr> {
        let (v4, v6) = join!(
            timeout_at(until, self.ask::<rdata::A>(host, Rtype::A)),
            timeout_at(until, self.ask::<rdata::Aaaa>(host, Rtype::AAAA)),
        );
        let v4 = v4.into_iter().flatten().flatten();
        let v6 = v6.into_iter().flatten().flatten();
        let v4 = v4.map(|data| IpAddr::V4(data.addr()));
        let v6 = v6.map(|data| IpAddr::V6(data.addr()));
        v4.chain(v6).collect()
    }

    /// The first [`MAX_RECORDS`] records of this type; none of a name that is not there.
    async fn ask<D>(&self, name: &str, kind: Rtype) -> Result<Vec<D>, NoAnswer>
    where
        D: for<'a> ParseRecordData<'a, Bytes>,
    {
        let name: Name<Vec<u8>> = name.parse().map_err(|_| NoAnswer)?;
        let first = self.answered.load(Ordering::Relaxed);
        let (before, from_it) = self.servers.split_at(first);
        for (place, server) in (first..).zip(from_it).chain((0..).zip(before)) {
            let answer = match ask(*server, &name, kind).await {
                Ok(answer) => answer,
                Err(error) => {
                    debug!(%server, %name, %kind, %error, "no answer of DNS");
                    continue;
                }
            };
            match answer.header().rcode() {
                Rcode::NOERROR => {}
                Rcode::NXDOMAIN => {
                    self.answered.store(place, Ordering::Relaxed);
                    return Ok(Vec::new());
                }
                code => {
                    debug!(%server, %name, %kind, %code, "no answer of DNS");
                    continue;
                }
            }
            let Ok(section) = answer.answer() else {
                continue;
            };
            self.answered.store(place, Ordering::Relaxed);
            let records = section.limit_to::<D>().map_while(Result::ok);
            let records = records.take(MAX_RECORDS);
            return Ok(records.map(|record| record.into_data()).collect());
        }
        Err(NoAnswer)
    }
}

/// Asks by UDP, and by TCP where the answer does not fit a datagram. Only what answers the question,
/// with its random number, is taken.
async fn ask(
    server: SocketAddr,
    name: &Name<Vec<u8>>,
    kind: Rtype,
) -> Result<Message<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
    let mut message = MessageBuilder::new_vec().question();
    message.header_mut().set_rd(true);
    message.push((name, kind))?;
    let request = RequestMessage::new(message.into_message())?;
    let mut datagrams = dgram::Config::new();
    datagrams.set_read_timeout(ANSWER_WAIT);
    datagrams.set_max_retries(1);
    let mut stream = multi_stream::Config::default();
    stream.set_response_timeout(ANSWER_WAIT);
    let config = dgram_stream::Config::from_parts(datagrams, stream);
    let (udp, tcp) = (UdpConnect::new(server), TcpConnect::new(server));
    let (connection, streams) = dgram_stream::Connection::with_config(udp, tcp, config);
    let mut answer = connection.send_request(request);
    tokio::select! {
        answer = answer.get_response() => Ok(answer?),
        () = streams.run() => Err("no connection".into()),
    }
}

fn naptr(data: rdata::Naptr<Bytes, ParsedName<Bytes>>) -> Naptr {
    Naptr {
        order: data.order(),
        preference: data.preference(),
        flags: data.flags().as_slice().to_vec(),
        services: data.services().as_slice().to_vec(),
        rewrites: !data.regexp().is_empty(),
        // A record that leads nowhere still says that there is such a service.
        replacement: host_name(data.replacement()).unwrap_or_default(),
    }
}

fn srv(data: rdata::Srv<ParsedName<Bytes>>) -> Option<Srv> {
    Some(Srv {
        priority: data.priority(),
        weight: data.weight(),
        port: data.port(),
        target: host_name(data.target())?,
    })
}

/// A name as text, empty for the root; `None` for what is no name of a host or a service.
fn host_name(name: &ParsedName<Bytes>) -> Option<String> {
    let text = name.to_string();
    let text = text.trim_end_matches('.');
    (text.is_empty() || Place::is_name(text)).then(|| text.to_owned())
}
