//! Which addresses of SIP lead to this server itself, however they are written: what they dial here is
//! judged as its number is.

use std::net::IpAddr;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use percent_encoding::percent_decode_str;
use tokio::net::lookup_host;
use tokio::time::timeout;

/// For all names of a target to be looked up.
const PATIENCE: Duration = Duration::from_secs(2);

/// By what this server is reached.
#[derive(Debug)]
pub(crate) struct Here {
    addresses: Vec<IpAddr>,
    /// Where SIP is listened for.
    ports: Vec<u16>,
    /// Names that need no looking up.
    names: Vec<String>,
}

/// Where a target leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Led {
    /// To this server, which is dialled so.
    Here(String),
    /// To another, by this address.
    Elsewhere(String),
}

impl Here {
    pub(crate) fn new(addresses: &[IpAddr], ports: Vec<u16>, realm: &str) -> Self {
        let mut names = vec!["localhost".to_owned(), plain(realm)];
        if let Some(name) = nix::unistd::gethostname()
            .ok()
            .and_then(|name| name.into_string().ok())
        {
            names.push(plain(&name));
        }
        Self {
            addresses: addresses.iter().map(IpAddr::to_canonical).collect(),
            ports,
            names,
        }
    }

    /// Where a number or a URI leads. A URI that is not understood is a number that nobody has.
    pub(crate) async fn led(&self, target: &str) -> Led {
        let Some((scheme, rest)) = target.split_once(':') else {
            return Led::Here(target.to_owned());
        };
        let ways = match scheme.to_ascii_lowercase().as_str() {
            "tel" => return Led::Here(decoded(rest.split(';').next().unwrap_or_default())),
            "sip" | "sips" => Ways::of(rest),
            _ => None,
        };
        let Some(ways) = ways else {
            return Led::Here(target.to_owned());
        };
        let looked = timeout(PATIENCE, async {
            let mut all = Some(false);
            for host in &ways.hosts {
                match self.is_here(host, ways.port).await {
                    Some(true) => return Some(true),
                    Some(false) => {}
                    None => all = None,
                }
            }
            all
        });
        match looked.await {
            Ok(Some(false)) => Led::Elsewhere(format!("{}:{rest}", scheme.to_ascii_lowercase())),
            Ok(Some(true)) => Led::Here(ways.user),
            // What cannot be looked up may be here.
            Ok(None) | Err(_) => Led::Here(target.to_owned()),
        }
    }

    /// A host without a port may be reached at any of ours, by SRV records or because it is so mapped. `None`
    /// where it cannot be looked up.
    async fn is_here(&self, host: &str, port: Option<u16>) -> Option<bool> {
        let is_known = |port| self.ports.contains(&port) || self.ports.contains(&0);
        if port.is_some_and(|port| !is_known(port)) {
            return Some(false);
        }
        if self.names.iter().any(|name| name == host) {
            return Some(true);
        }
        if let Ok(ip) = host.parse() {
            return Some(self.has(ip));
        }
        let mut found = lookup_host((host, 0)).await.ok()?;
        Some(found.any(|at| self.has(at.ip())))
    }

    fn has(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_loopback() || self.addresses.contains(&ip) || is_of_this_machine(ip)
    }
}

/// What a SIP URI says of where it leads (RFC 3261 §19.1.1).
struct Ways {
    user: String,
    /// Its host, and `maddr` (§19.1.1), where requests go instead.
    hosts: Vec<String>,
    port: Option<u16>,
}

impl Ways {
    fn of(rest: &str) -> Option<Self> {
        let (user, rest) = rest.split_once('@').unwrap_or(("", rest));
        if rest.contains('@') {
            return None;
        }
        // A password is no part of what is dialled.
        let user = user.split(':').next().unwrap_or_default();
        let rest = rest.split('?').next().unwrap_or_default();
        let mut parts = rest.split(';');
        let place = decoded(parts.next()?);
        let (host, port) = match place.rsplit_once(':') {
            // The colon is one of an address of IPv6.
            Some((_, behind)) if behind.ends_with(']') => (place.as_str(), None),
            // Some programs read 0 as none.
            Some((host, port)) => (host, Some(port.parse().ok()?).filter(|port| *port != 0)),
            None => (place.as_str(), None),
        };
        let maddr = parts.filter_map(|part| {
            let (name, value) = part.split_once('=')?;
            let is_maddr = decoded(name).eq_ignore_ascii_case("maddr");
            is_maddr.then(|| plain(&decoded(value)))
        });
        Some(Self {
            user: decoded(user),
            hosts: std::iter::once(plain(host)).chain(maddr).collect(),
            port,
        })
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Whether this machine has the address now.
pub(crate) fn is_of_this_machine(ip: IpAddr) -> bool {
    // Where they cannot be told, nothing is known to be another machine's.
    let Ok(held) = getifaddrs() else {
        return true;
    };
    held.filter_map(|interface| interface.address)
        .filter_map(|address| {
            let v4 = address.as_sockaddr_in().map(|at| IpAddr::from(at.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|at| IpAddr::from(at.ip())))
        })
        .any(|held| held.to_canonical() == ip)
}

/// A name of a host as it is compared: of `Host.Example.` and `[::1]`, `host.example` and `::1`.
pub(crate) fn plain(host: &str) -> String {
    let host = host.trim_start_matches('[').trim_end_matches([']', '.']);
    host.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Here {
        let addresses = ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().unwrap());
        Here::new(&addresses, vec![5060, 5061], "Hospital.example")
    }

    /// Defect: a room that the asker might not lead anybody into was reached by its URI.
    #[tokio::test]
    async fn whatever_leads_to_this_server_is_the_number_that_it_dials() {
        let here = here();
        for target in [
            "5000*47",
            "tel:5000*47;phone-context=x",
            "TEL:%35000*47",
            "sip:5000*47@192.0.2.1",
            "sip:5000*47@192.0.2.1:0",
            "sip:5000%2a47@192.0.2.1:5060",
            "sips:%35000*47@192.0.2.1:5061;transport=tls",
            "SIP:5000*47:password@HOSPITAL.example.;x",
            "sip:5000*47@localhost?Subject=x",
            "sip:5000*47@[2001:db8::1]",
            "sip:5000*47@[2001:DB8:0::1]:5060",
            "sip:5000*47@[::ffff:192.0.2.1]",
            "sip:5000*47@%31%392.0.2.1",
            "sip:5000*47@elsewhere.example;MADDR=192.0.2.1",
            "sip:5000*47@127.0.0.1",
            "sip:5000*47@127.9.8.7",
            // As the resolver reads it.
            "sip:5000*47@127.1",
        ] {
            let led = here.led(target).await;
            assert_eq!(led, Led::Here("5000*47".into()), "{target}");
        }
        for target in [
            "sip:5000@198.51.100.2",
            "sip:5000@192.0.2.1:5070",
            "sip:192.0.2.1@198.51.100.9",
            "sips:5000@[2001:db8:5::2];transport=tls",
        ] {
            assert_eq!(
                here.led(target).await,
                Led::Elsewhere(target.into()),
                "{target}"
            );
        }
        // As the controller reads it.
        let led = here.led("SIP:Li@198.51.100.2").await;
        assert_eq!(led, Led::Elsewhere("sip:Li@198.51.100.2".into()));
        // Nobody's number: what is not understood, and what cannot be looked up.
        for target in [
            "sip:5000@x@192.0.2.9",
            "sip:5000@nowhere.invalid",
            "http://192.0.2.9/",
            "sip:5000@h:x",
        ] {
            assert_eq!(here.led(target).await, Led::Here(target.into()), "{target}");
        }
        assert_eq!(here.led("sip:192.0.2.1").await, Led::Here(String::new()));
    }
}
