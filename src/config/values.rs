//! Values of the configuration file and of flags that are checked as they are read.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use mcu_api::reach;
use serde::{Deserialize, Deserializer, de};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::audit::LogHost;
use super::ldap::{Attribute, DirectoryUrl};
use super::oidc::Issuer;
use super::saml::{EntityId, Metadata};
use super::webhooks::HostName;

/// A string with at least one character that is not white space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonEmpty(pub String);

impl FromStr for NonEmpty {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Err("must not be empty".into());
        }
        Ok(Self(text.into()))
    }
}

/// A PIN: 4 to 16 digits.
#[derive(Clone, PartialEq, Eq)]
pub struct Pin(pub String);

impl FromStr for Pin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        if digits && (4..=16).contains(&text.len()) {
            Ok(Self(text.into()))
        } else {
            Err("must be 4 to 16 digits, in quotes")
        }
    }
}

/// An address at which peers can reach us: one of a single host, in a file with the peers whom it is
/// for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaAddress(pub reach::MediaAddress);

impl FromStr for MediaAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = text.parse::<HostAddress>()?;
        Ok(Self(address.0.into()))
    }
}

/// A table `{ address, advertised, networks }`, or the address alone.
impl<'de> Deserialize<'de> for MediaAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MediaAddressVisitor)
    }
}

struct MediaAddressVisitor;

impl<'de> de::Visitor<'de> for MediaAddressVisitor {
    type Value = MediaAddress;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address, or { address, advertised, networks }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<MediaAddress, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<MediaAddress, A::Error> {
        let terms = MediaTerms::deserialize(de::value::MapAccessDeserializer::new(map))?;
        let (address, advertised) = (terms.address.0, terms.advertised.map(|a| a.0));
        if advertised.is_some_and(|told| told.is_ipv4() != address.is_ipv4()) {
            return Err(de::Error::custom(
                "advertised must be of the same family as address",
            ));
        }
        Ok(MediaAddress(reach::MediaAddress {
            address,
            advertised,
            networks: terms.networks.into_iter().map(|net| net.0).collect(),
        }))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MediaTerms {
    address: HostAddress,
    #[serde(default)]
    advertised: Option<HostAddress>,
    #[serde(default)]
    networks: Vec<Block>,
}

/// An address of a single host.
struct HostAddress(IpAddr);

impl FromStr for HostAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Address(address) = text.parse()?;
        if address.is_unspecified() || address.is_multicast() {
            return Err(format!(
                "peers cannot send to {address}: name an address of this host"
            ));
        }
        match address {
            // It means nothing without an interface, which media has no word for.
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Err(format!(
                "{v6} is link-local: name another address of this host"
            )),
            _ => Ok(Self(address)),
        }
    }
}

/// An address, one of IPv4 written as such: peers are known by that form, whichever socket they come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub IpAddr);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address: IpAddr = text
            .parse()
            .map_err(|_| format!("\"{text}\" is not an IP address"))?;
        match address.to_canonical() {
            canonical if canonical == address => Ok(Self(address)),
            v4 => Err(format!("{address} is written {v4}")),
        }
    }
}

/// Where we listen, an address of IPv4 written as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub SocketAddr);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let listen: SocketAddr = text
            .parse()
            .map_err(|_| format!("\"{text}\" is not ADDR:PORT"))?;
        match listen.ip().to_canonical() {
            canonical if canonical == listen.ip() => Ok(Self(listen)),
            v4 => Err(format!("{} is written {v4}", listen.ip())),
        }
    }
}

/// Where another server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(pub mcu_control::Place);

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A server of DNS: `ADDR:PORT`, or `ADDR` at the port of DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsServer(pub SocketAddr);

impl FromStr for DnsServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let alone = text.parse().map(|ip: IpAddr| SocketAddr::new(ip, 53));
        let server: SocketAddr = text
            .parse()
            .or(alone)
            .map_err(|_| format!("\"{text}\" is neither ADDR nor ADDR:PORT"))?;
        match server.port() {
            0 => Err("port 0 is none".into()),
            _ => Ok(Self(server)),
        }
    }
}

/// A block of addresses.
struct Block(reach::Network);

impl FromStr for Block {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let network = text
            .parse()
            .map_err(|reason| format!("\"{text}\": {reason}"))?;
        Ok(Self(network))
    }
}

/// Where a PostgreSQL server is.
#[derive(Clone, Debug)]
pub struct DatabaseUrl(pub manager_ui_server::Database);

impl FromStr for DatabaseUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// The URL of a relay (RFC 7065).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayUrl(pub String);

impl FromStr for RelayUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = ["turn:", "turns:"]
            .iter()
            .find_map(|s| text.strip_prefix(s));
        let host = rest.and_then(|rest| rest.split([':', '?']).next());
        let plain = text.bytes().all(|b| b.is_ascii_graphic());
        if !plain || host.is_none_or(str::is_empty) {
            let example = "turns:turn.example:443?transport=tcp";
            return Err(format!("must be turn: or turns:, for example {example}"));
        }
        Ok(Self(text.into()))
    }
}

/// UDP ports from `low` to `high`, both included: at least 16, none below 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// First.
    pub low: u16,
    /// Last.
    pub high: u16,
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = |part: &str| part.trim().parse::<u16>().ok();
        let (low, high) = text
            .split_once('-')
            .and_then(|(low, high)| Some((parse(low)?, parse(high)?)))
            .ok_or_else(|| format!("\"{text}\" is not LOW-HIGH, for example 20000-23999"))?;
        if low < 1024 || high < low.saturating_add(15) {
            return Err(format!(
                "{low}-{high}: at least 16 ports from 1024 on are needed"
            ));
        }
        Ok(Self { low, high })
    }
}

/// A filter of `tracing`: a level, or levels by module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(String);

impl Filter {
    /// For the log. Where everything is asked for, messages of browsers are left out all the same: they
    /// hold names, PINs and keys, and `tungstenite` writes them whole at TRACE.
    pub fn env_filter(&self) -> EnvFilter {
        let filter = EnvFilter::new(&self.0);
        let all = filter.max_level_hint() == Some(LevelFilter::TRACE);
        match "tungstenite=debug".parse() {
            Ok(bound) if all => filter.add_directive(bound),
            _ => filter,
        }
    }
}

impl Default for Filter {
    fn default() -> Self {
        // rtc-dtls warns of every extension that it does not know, several times a browser.
        Self("info,rtc_dtls=error".into())
    }
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |part: &&str| {
            part.chars()
                .all(|c| c.is_alphanumeric() || "_:-".contains(c))
        };
        // `tracing` takes a lone word for a module of which everything is logged, and nothing of the
        // others: a level spelt wrongly would silence the server.
        for part in text.split(',').filter(word) {
            if part.is_empty() || part.parse::<LevelFilter>().is_err() {
                return Err(format!(
                    "\"{part}\" is none of off, error, warn, info, debug, trace and MODULE=LEVEL"
                ));
            }
        }
        EnvFilter::try_new(text)
            .map_err(|_| format!("\"{text}\" is no filter, for example info,mcu_media=debug"))?;
        Ok(Self(text.into()))
    }
}

/// Reads a string where it stands, so that a refusal has its line.
struct Text<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> de::Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! deserialize_from_str {
    ($($value:ty),*) => {$(
        impl<'de> Deserialize<'de> for $value {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Text(PhantomData))
            }
        }
    )*};
}

deserialize_from_str!(
    NonEmpty,
    Pin,
    Place,
    DnsServer,
    HostAddress,
    Address,
    Listen,
    Block,
    PortRange,
    RelayUrl,
    DatabaseUrl,
    DirectoryUrl,
    LogHost,
    Attribute,
    Issuer,
    Metadata,
    EntityId,
    HostName,
    Filter
);

#[cfg(test)]
mod tests {
    use super::*;

    /// Defect: at TRACE each message of a browser was in the log, with its name and its PIN.
    #[test]
    fn no_filter_shows_the_messages_of_browsers() {
        let told = |text: &str| text.parse::<Filter>().unwrap().env_filter().to_string();
        for text in ["trace", "info,mcu_media=trace", "trace,tungstenite=trace"] {
            let told = told(text);
            let bounds: Vec<_> = told
                .split(',')
                .filter(|d| d.contains("tungstenite"))
                .collect();
            assert_eq!(bounds, ["tungstenite=debug"], "{text}");
        }
        assert!(!told("debug").contains("tungstenite"), "nothing to bound");
    }

    #[test]
    fn a_filter_is_levels_or_levels_by_module() {
        for good in [
            "info",
            "off",
            "DEBUG",
            "info,mcu_media=debug",
            "warn,mcu_control::controller=trace",
            "info,[call{id=7}]=debug",
            Filter::default().0.as_str(),
        ] {
            assert!(good.parse::<Filter>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "inof",
            "info,",
            "info,mcu_media",
            "mcu_media=loud",
            "==",
        ] {
            assert!(bad.parse::<Filter>().is_err(), "{bad}");
        }
    }
}
