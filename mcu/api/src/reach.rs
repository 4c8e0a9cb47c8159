//! The addresses at which peers reach media, and which peers are told which.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An address of a processor. In JSON a bare address is one without further terms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Form", into = "Form")]
pub struct MediaAddress {
    /// Where sockets are bound.
    pub address: IpAddr,
    /// What peers are told in its place: that of an address translation before the host, which keeps
    /// ports. Of the same family.
    pub advertised: Option<IpAddr>,
    /// Networks whose peers are told of it, and no others; empty: peers of all other networks.
    pub networks: Vec<Network>,
}

impl MediaAddress {
    /// What peers are told.
    pub fn told(&self) -> IpAddr {
        self.advertised.unwrap_or(self.address)
    }

    /// Bits of the narrowest of its networks in which a peer is.
    pub fn narrowest(&self, peer: IpAddr) -> Option<u8> {
        let around = self.networks.iter().filter(|net| net.contains(peer));
        around.map(|net| net.bits).max()
    }
}

impl From<IpAddr> for MediaAddress {
    fn from(address: IpAddr) -> Self {
        Self {
            address,
            advertised: None,
            networks: Vec::new(),
        }
    }
}

/// How it travels.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Plain(IpAddr),
    Full {
        address: IpAddr,
        #[serde(default)]
        advertised: Option<IpAddr>,
        #[serde(default)]
        networks: Vec<Network>,
    },
}

impl From<Form> for MediaAddress {
    fn from(form: Form) -> Self {
        match form {
            Form::Plain(address) => address.into(),
            Form::Full {
                address,
                advertised,
                networks,
            } => Self {
                address,
                advertised,
                networks,
            },
        }
    }
}

impl From<MediaAddress> for Form {
    fn from(address: MediaAddress) -> Self {
        if address.advertised.is_none() && address.networks.is_empty() {
            return Self::Plain(address.address);
        }
        Self::Full {
            address: address.address,
            advertised: address.advertised,
            networks: address.networks,
        }
    }
}

/// A block of addresses, `10.0.0.0/8` (RFC 4632, RFC 4291 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    base: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether an address is in it. One of IPv4 that IPv6 maps counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_ipv4() == self.base.is_ipv4() && first(ip, self.bits) == self.base
    }
}

/// The address with all but its first bits cleared.
fn first(ip: IpAddr, bits: u8) -> IpAddr {
    let bits = u32::from(bits);
    match ip {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            IpAddr::from((v4.to_bits() & mask).to_be_bytes())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            IpAddr::from((v6.to_bits() & mask).to_be_bytes())
        }
    }
}

/// Why a text names no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// It is of another form.
    #[error("a network is ADDRESS/BITS, for example 10.0.0.0/8 or 2001:db8::/32")]
    Form,
    /// The address goes on after the prefix.
    #[error("the network is written {0}")]
    Beyond(Network),
    /// It is one of IPv4 that IPv6 maps (RFC 4291 §2.5.5.2): peers of IPv4 count as such, so that nobody
    /// would be in it.
    #[error("a network of IPv4 is written as such, for example 10.0.0.0/8")]
    Mapped,
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = text.split_once('/').ok_or(NetworkError::Form)?;
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Form)?;
        let bits: u8 = bits.parse().map_err(|_| NetworkError::Form)?;
        if address.to_canonical() != address {
            return Err(NetworkError::Mapped);
        }
        if bits > if address.is_ipv4() { 32 } else { 128 } {
            return Err(NetworkError::Form);
        }
        let base = first(address, bits);
        let network = Self { base, bits };
        match base == address {
            true => Ok(network),
            false => Err(NetworkError::Beyond(network)),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Result<Network, NetworkError> {
        text.parse()
    }

    #[test]
    fn a_network_holds_what_begins_like_it() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.128/25", "192.0.2.129", "192.0.2.127"),
            ("192.0.2.7/32", "192.0.2.7", "192.0.2.6"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("::/0", "fd00::1", "10.0.0.1"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::ffff:11.0.0.1"),
        ] {
            let network = network(text).unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{text}");
            assert!(!network.contains(outside.parse().unwrap()), "{text}");
            assert_eq!(network.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_the_reason() {
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "::/129",
            "x/8",
            "10.0.0.0/-1",
            "10.0.0.0/",
        ] {
            assert_eq!(network(text), Err(NetworkError::Form), "{text}");
        }
        for text in ["::ffff:10.0.0.0/104", "::ffff:0:0/96"] {
            assert_eq!(network(text), Err(NetworkError::Mapped), "{text}");
        }
        let beyond = network("10.1.2.3/8").unwrap_err();
        assert_eq!(beyond.to_string(), "the network is written 10.0.0.0/8");
    }

    #[test]
    fn an_address_without_terms_travels_as_before() {
        let plain = MediaAddress::from("10.0.0.1".parse::<IpAddr>().unwrap());
        assert_eq!(serde_json::to_string(&plain).unwrap(), "\"10.0.0.1\"");
        let full = MediaAddress {
            advertised: Some("203.0.113.7".parse().unwrap()),
            networks: vec![network("0.0.0.0/0").unwrap()],
            ..plain.clone()
        };
        for address in [plain, full] {
            let text = serde_json::to_string(&address).unwrap();
            assert_eq!(
                serde_json::from_str::<MediaAddress>(&text).unwrap(),
                address
            );
        }
    }
}
