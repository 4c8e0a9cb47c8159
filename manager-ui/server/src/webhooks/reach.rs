//! Where a webhook may lead: to hosts of the internet by HTTPS, and to those that the configuration
//! names. What an address leads to is decided when its name has been looked up, and the connection goes
//! to the addresses that were judged: a name that means something else a moment later gains nothing.

use std::error::Error as StdError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;
use url::{Host, Url};

use super::Config;
use crate::here::{is_of_this_machine, plain};

/// Longest address of a receiver, in bytes.
const MAX_URL: usize = 1_000;
/// For a connection with TLS, and for all of it.
const CONNECTING: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(10);

/// Why an address is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("it is no address of a page")]
    NoUrl,
    #[error("it is to begin with https://")]
    Clear,
    #[error("it holds a user or a password")]
    User,
    #[error("it leads to an address that is not of the internet")]
    Address,
}

impl Refusal {
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::NoUrl => "webhook_url",
            Self::Clear => "webhook_clear",
            Self::User => "webhook_user",
            Self::Address => "webhook_address",
        }
    }
}

/// What may be reached, and by what.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    rules: Arc<Rules>,
}

#[derive(Debug)]
struct Rules {
    private_hosts: Vec<String>,
    clear_hosts: Vec<String>,
    /// Addresses at which this machine is reached.
    own: Vec<IpAddr>,
}

impl Reach {
    pub(crate) fn new(config: &Config, own: Vec<IpAddr>) -> Self {
        let names = |names: &[String]| names.iter().map(|name| plain(name)).collect();
        Self {
            rules: Arc::new(Rules {
                private_hosts: names(&config.private_hosts),
                clear_hosts: names(&config.clear_hosts),
                own: own.iter().map(IpAddr::to_canonical).collect(),
            }),
        }
    }

    /// The address of a receiver, as far as can be told before its name is looked up.
    pub(crate) fn parse(&self, text: &str) -> Result<Url, Refusal> {
        let url = Url::parse(text).map_err(|_| Refusal::NoUrl)?;
        let host = url.host().ok_or(Refusal::NoUrl)?;
        let name = plain(&host.to_string());
        match url.scheme() {
            "https" => {}
            "http" if self.rules.clear_hosts.contains(&name) => {}
            "http" => return Err(Refusal::Clear),
            _ => return Err(Refusal::NoUrl),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::User);
        }
        if text.len() > MAX_URL || url.fragment().is_some() || url.port() == Some(0) {
            return Err(Refusal::NoUrl);
        }
        // No name is looked up then, so that this is all that is asked.
        let literal = match host {
            Host::Ipv4(ip) => Some(IpAddr::from(ip)),
            Host::Ipv6(ip) => Some(IpAddr::from(ip)),
            Host::Domain(_) => None,
        };
        match literal.is_none_or(|ip| self.rules.admit(&name, ip)) {
            true => Ok(url),
            false => Err(Refusal::Address),
        }
    }

    /// What sends: no proxy, no redirection, no connection that is kept.
    pub(crate) fn client(
        &self,
        issuers: Vec<reqwest::Certificate>,
    ) -> reqwest::Result<reqwest::Client> {
        let mut client = reqwest::Client::builder()
            .dns_resolver(Arc::new(self.clone()))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .http1_only()
            .pool_max_idle_per_host(0)
            .connect_timeout(CONNECTING)
            .timeout(PATIENCE)
            .user_agent(concat!("consilium/", env!("CARGO_PKG_VERSION")));
        for issuer in issuers {
            client = client.add_root_certificate(issuer);
        }
        client.build()
    }
}

impl Resolve for Reach {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = self.rules.clone();
        Box::pin(async move {
            let host = name.as_str();
            let found: Vec<SocketAddr> = lookup_host((host, 0)).await?.collect();
            match rules.judged(host, found) {
                Ok(found) => Ok(Box::new(found.into_iter()) as Addrs),
                Err(refusal) => Err(Box::new(refusal) as Box<dyn StdError + Send + Sync>),
            }
        })
    }
}

impl Rules {
    /// What a name means, if all of it may be reached: one address that may not makes the name one that we do
    /// not ask.
    fn judged(&self, host: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Refusal> {
        let name = plain(host);
        match found.iter().all(|at| self.admit(&name, at.ip())) {
            true => Ok(found),
            false => Err(Refusal::Address),
        }
    }

    fn admit(&self, host: &str, ip: IpAddr) -> bool {
        let named = self.private_hosts.iter().any(|name| name == host);
        named || (is_public(ip) && !self.is_own(ip))
    }

    /// Whether this machine has the address now.
    fn is_own(&self, ip: IpAddr) -> bool {
        let ip = behind_nat64(ip).map_or(ip, IpAddr::from).to_canonical();
        self.own.contains(&ip) || is_of_this_machine(ip)
    }
}

/// Whether an address is one host's of the internet (the registries of RFC 6890).
fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => match behind_nat64(ip) {
            Some(v4) => is_public_v4(v4),
            None => is_public_v6(v6),
        },
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let within = |network: [u8; 4], len: u32| {
        let mask = u32::MAX << (32 - len);
        ip.to_bits() & mask == Ipv4Addr::from(network).to_bits()
    };
    let special: [([u8; 4], u32); 15] = [
        ([0, 0, 0, 0], 8),
        ([10, 0, 0, 0], 8),
        ([100, 64, 0, 0], 10),
        ([127, 0, 0, 0], 8),
        ([169, 254, 0, 0], 16),
        ([172, 16, 0, 0], 12),
        ([192, 0, 0, 0], 24),
        ([192, 0, 2, 0], 24),
        ([192, 88, 99, 0], 24),
        ([192, 168, 0, 0], 16),
        ([198, 18, 0, 0], 15),
        ([198, 51, 100, 0], 24),
        ([203, 0, 113, 0], 24),
        ([224, 0, 0, 0], 4),
        ([240, 0, 0, 0], 4),
    ];
    !special.iter().any(|(network, len)| within(*network, *len))
}

/// Global unicast, but for what leads somewhere by way of another address or nowhere.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    let within = |network: Ipv6Addr, len: u32| {
        let mask = u128::MAX << (128 - len);
        ip.to_bits() & mask == network.to_bits()
    };
    let network = |a, b| Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0);
    let special = [
        // Teredo, ORCHID and others of the IETF.
        (network(0x2001, 0), 23),
        (network(0x2001, 0xdb8), 32),
        // 6to4.
        (network(0x2002, 0), 16),
        (network(0x3fff, 0), 20),
    ];
    within(network(0x2000, 0), 3) && !special.iter().any(|(network, len)| within(*network, *len))
}

/// The address of IPv4 to which the well-known prefix leads (RFC 6052 §2.1).
fn behind_nat64(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(ip) = ip else {
        return None;
    };
    let bits = ip.to_bits();
    let prefix = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0).to_bits();
    let low = u32::try_from(bits & u128::from(u32::MAX)).ok()?;
    (bits & !u128::from(u32::MAX) == prefix).then(|| Ipv4Addr::from_bits(low))
}

#[cfg(test)]
mod tests {
    use nix::ifaddrs::getifaddrs;

    use super::*;

    fn reach(private: &[&str], clear: &[&str]) -> Reach {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let config = Config {
            private_hosts: names(private),
            clear_hosts: names(clear),
            ..Config::default()
        };
        Reach::new(&config, vec!["198.41.0.4".parse().unwrap()])
    }

    #[test]
    fn only_hosts_of_the_internet_are_reached() {
        let refused = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "fe80::1",
            "fc00::1",
            "fd12:3456::1",
            "ff02::1",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fec0::1",
            // This machine's, whoever gave it to it.
            "198.41.0.4",
            "::ffff:198.41.0.4",
            "64:ff9b::c629:4",
        ];
        let rules = reach(&[], &[]).rules;
        for ip in refused {
            assert!(!rules.admit("host.example", ip.parse().unwrap()), "{ip}");
        }
        let reached = [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.169.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00::1",
            "64:ff9b::101:101",
            "::ffff:1.1.1.1",
        ];
        for ip in reached {
            assert!(rules.admit("host.example", ip.parse().unwrap()), "{ip}");
        }
        let own = getifaddrs().unwrap().filter_map(|held| held.address);
        let own = own.filter_map(|at| at.as_sockaddr_in().map(|at| IpAddr::from(at.ip())));
        let own: Vec<IpAddr> = own.collect();
        assert!(!own.is_empty());
        assert!(
            own.iter().all(|ip| !rules.admit("host.example", *ip)),
            "{own:?}"
        );
    }

    #[test]
    fn a_name_with_one_address_that_may_not_be_reached_is_not_asked() {
        let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 0);
        let [public, other] = ["1.1.1.1", "2606:4700::1111"].map(at);
        let rules = reach(&["hooks.lan"], &[]).rules;
        let judged = |found: &[SocketAddr]| rules.judged("Hooks.example", found.to_vec());
        assert_eq!(judged(&[public, other]), Ok(vec![public, other]));
        for ip in [
            "10.0.0.9",
            "127.0.0.1",
            "::ffff:10.0.0.9",
            "fd00::1",
            "198.41.0.4",
        ] {
            let private = at(ip);
            for found in [
                vec![public, private],
                vec![private, public],
                vec![public, other, private],
                vec![private],
            ] {
                assert_eq!(judged(&found), Err(Refusal::Address), "{found:?}");
                // One that the configuration names may have both.
                assert_eq!(rules.judged("HOOKS.lan.", found.clone()), Ok(found));
            }
        }
    }

    #[test]
    fn an_address_is_refused_by_what_it_means_and_not_by_how_it_is_written() {
        let parse = |text: &str| reach(&[], &[]).parse(text).map(String::from);
        let https = "https://hooks.example:8443/a/b?c=d";
        assert_eq!(parse(https), Ok(https.to_owned()));
        for private in [
            "https://127.0.0.1/",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f.0.0.1/",
            "https://0177.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:7f00:1]/",
            "https://[fe80::1]/",
            "https://169.254.169.254/latest",
            "https://\u{ff11}27.0.0.1/",
            "https://0/",
            "https://[64:ff9b::a00:1]/",
        ] {
            assert_eq!(parse(private), Err(Refusal::Address), "{private}");
        }
        let refused = [
            ("http://hooks.example/", Refusal::Clear),
            ("https://a@hooks.example/", Refusal::User),
            ("https://a:b@hooks.example/", Refusal::User),
            ("https://:b@hooks.example/", Refusal::User),
            ("ftp://hooks.example/", Refusal::NoUrl),
            ("file:///etc/passwd", Refusal::NoUrl),
            ("unix:/run/x", Refusal::NoUrl),
            ("hooks.example", Refusal::NoUrl),
            ("https://", Refusal::NoUrl),
            ("https://hooks.example/#a", Refusal::NoUrl),
            ("https://hooks.example:0/", Refusal::NoUrl),
            ("https://256.1.1.1/", Refusal::NoUrl),
        ];
        for (url, refusal) in refused {
            assert_eq!(parse(url), Err(refusal), "{url}");
        }
        let long = format!("https://hooks.example/{}", "x".repeat(1_000));
        assert_eq!(parse(&long), Err(Refusal::NoUrl));
    }

    #[test]
    fn a_host_that_the_configuration_names_is_reached_there() {
        let named = reach(&["Hooks.lan", "::1", "10.0.0.9"], &["hooks.lan"]);
        for fine in [
            "http://hooks.lan/",
            "https://HOOKS.lan./",
            "https://[::1]/",
            "https://10.0.0.9/",
        ] {
            assert!(named.parse(fine).is_ok(), "{fine}");
        }
        let rules = &named.rules;
        assert!(rules.admit("hooks.lan", "10.0.0.1".parse().unwrap()));
        assert!(!rules.admit("other.lan", "10.0.0.1".parse().unwrap()));
        assert_eq!(named.parse("http://10.0.0.9/"), Err(Refusal::Clear));
        assert_eq!(named.parse("https://10.0.0.8/"), Err(Refusal::Address));
    }

    /// `localhost` is a name that leads to this machine.
    #[tokio::test]
    async fn a_name_is_judged_by_what_it_leads_to() {
        let name = || "localhost".parse::<Name>().unwrap();
        let refused = reach(&[], &[]).resolve(name()).await.err().unwrap();
        assert_eq!(refused.downcast_ref::<Refusal>(), Some(&Refusal::Address));
        let found = reach(&["localhost"], &[]).resolve(name()).await.unwrap();
        assert!(found.into_iter().all(|at| at.ip().is_loopback()));
    }
}
