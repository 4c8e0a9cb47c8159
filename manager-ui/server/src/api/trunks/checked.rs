//! What may stand in a trunk's fields. Much of it becomes part of SIP URIs, so none of it holds what would
//! end one.

use std::net::{IpAddr, SocketAddr};

use mcu_api::directory::{MAX_TRUNK_NUMBERS, MAX_TRUNK_SOURCES};
use mcu_api::secret::Redacted;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Declares a text of which only some are taken.
macro_rules! texts {
    ($($(#[doc = $doc:literal])* $text:ident as $schema:ident, $is:expr, $pattern:literal, $wrong:literal;)*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
            #[serde(try_from = "String")]
            #[schema(as = $schema, value_type = String, pattern = $pattern)]
            pub struct $text(pub String);

            impl TryFrom<String> for $text {
                type Error = &'static str;

                fn try_from(text: String) -> Result<Self, Self::Error> {
                    let is: fn(&str) -> bool = $is;
                    match is(&text) {
                        true => Ok(Self(text)),
                        false => Err($wrong),
                    }
                }
            }
        )*
    };
}

texts! {
    /// What a trunk is called.
    Name as TrunkName, |text| fits(text, 32, "._-"), "^[0-9A-Za-z._-]{1,32}$",
        "a name has 1 to 32 letters, digits, dots, dashes or underscores";
    /// A name or an IP address, with a port where wanted.
    Host as TrunkHost, is_host, "^[0-9A-Za-z._:\\[\\]-]{1,260}$",
        "must be HOST or HOST:PORT, HOST being a name or an IP address";
    /// Who we are at a trunk.
    User as TrunkUser, |text| fits(text, 64, "._+-"), "^[0-9A-Za-z._+-]{1,64}$",
        "a user has 1 to 64 letters, digits, dots, dashes, underscores or plus signs";
    /// The name of a realm.
    Realm as TrunkRealm, |text| is_visible(text, 128), "^[^\"\\\\]{1,128}$",
        "a realm has 1 to 128 visible characters, without quotation marks";
    /// A prefix of numbers.
    Dialled as TrunkPrefix, |text| (1..=16).contains(&text.len()) && text.bytes().all(is_key),
        "^[0-9*#+]{1,16}$", "1 to 16 digits, stars, number signs or plus signs";
    /// A number as a trunk calls it.
    Leading as TrunkOwnNumber, |text| fits(text, 32, "._+-"), "^[0-9A-Za-z+._-]{1,32}$",
        "a number has 1 to 32 letters, digits, dots, dashes, underscores or plus signs";
}

fn fits(text: &str, longest: usize, others: &str) -> bool {
    let is_known = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
    (1..=longest).contains(&text.len()) && text.chars().all(is_known)
}

fn is_visible(text: &str, longest: usize) -> bool {
    let is_bad = |c: char| c.is_control() || c == '"' || c == '\\';
    (1..=longest).contains(&text.chars().count())
        && !text.chars().any(is_bad)
        && !text.trim().is_empty()
}

const fn is_key(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'*' | b'#' | b'+')
}

/// Whether a host, with or without a port, is an address and no name.
pub fn is_number(text: &str) -> bool {
    address_of(text).is_some()
}

fn address_of(text: &str) -> Option<IpAddr> {
    let alone = text.trim_matches(['[', ']']).parse().ok();
    alone.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
}

fn is_host(text: &str) -> bool {
    if let Some(address) = address_of(text) {
        let has_port = text.parse::<SocketAddr>().is_ok_and(|at| at.port() != 0);
        // One of IPv6 is written in brackets, as in a URI.
        let is_whole = address.is_ipv4() || text.starts_with('[');
        let is_alone = text.parse::<SocketAddr>().is_err();
        return (has_port || is_alone) && is_whole && is_usable(address);
    }
    let (host, port) = text.split_once(':').unwrap_or((text, "5060"));
    let label = |label: &str| {
        let is_known = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(is_known)
    };
    // RFC 1123 §2.1: a last label of digits is a mistyped address.
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_port = port.parse::<u16>().is_ok_and(|port| port != 0) && !port.starts_with('+');
    host.len() <= 253
        && host.split('.').all(label)
        && !last.bytes().all(|b| b.is_ascii_digit())
        && is_port
}

/// Whether it is one host's, in its own family.
fn is_usable(address: IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    address.to_canonical() == address
        && !address.is_unspecified()
        && !address.is_multicast()
        && !is_broadcast
}

/// A password, which is told to nobody again.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Password(pub Redacted<String>);

impl TryFrom<String> for Password {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_fit = (1..=128).contains(&text.len()) && !text.chars().any(char::is_control);
        match is_fit {
            true => Ok(Self(Redacted(text))),
            false => Err("a password has 1 to 128 bytes, without control characters"),
        }
    }
}

/// For how long a registration is asked.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "i64")]
pub struct Expires(pub i64);

impl Default for Expires {
    fn default() -> Self {
        Self(600)
    }
}

impl TryFrom<i64> for Expires {
    type Error = &'static str;

    fn try_from(seconds: i64) -> Result<Self, Self::Error> {
        match (60..=86_400).contains(&seconds) {
            true => Ok(Self(seconds)),
            false => Err("must be 60 to 86400 seconds"),
        }
    }
}

/// Addresses that calls come from, each once.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "Vec<IpAddr>")]
pub struct Sources(pub Vec<IpAddr>);

impl TryFrom<Vec<IpAddr>> for Sources {
    type Error = &'static str;

    fn try_from(addresses: Vec<IpAddr>) -> Result<Self, Self::Error> {
        let mut own: Vec<IpAddr> = addresses.iter().map(IpAddr::to_canonical).collect();
        own.sort();
        own.dedup();
        match own.len() <= MAX_TRUNK_SOURCES && own.iter().all(|ip| is_usable(*ip)) {
            true => Ok(Self(own)),
            false => Err("at most 16 addresses of hosts"),
        }
    }
}

/// Numbers of a trunk, each once.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "Vec<super::Number>")]
pub struct Numbers(pub(super) Vec<super::Number>);

impl TryFrom<Vec<super::Number>> for Numbers {
    type Error = &'static str;

    fn try_from(mut numbers: Vec<super::Number>) -> Result<Self, Self::Error> {
        numbers.sort_by(|a, b| a.number.0.cmp(&b.number.0));
        let is_twice = numbers.windows(2).any(|two| two[0].number == two[1].number);
        match numbers.len() <= MAX_TRUNK_NUMBERS && !is_twice {
            true => Ok(Self(numbers)),
            false => Err("at most 32 numbers, each once"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_a_port_where_wanted() {
        for text in [
            "carrier.example",
            "carrier.example:5070",
            "pbx",
            "10.0.0.5",
            "10.0.0.5:5070",
            "[2001:db8::5]",
            "[2001:db8::5]:5070",
        ] {
            assert!(is_host(text), "{text}");
        }
        for text in [
            "",
            "sip:carrier.example",
            "carrier.example:0",
            "carrier.example:70000",
            "a b",
            "a>;x",
            "10.0.0",
            "10.0.0.5:0",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "2001:db8::5",
            "[::ffff:10.0.0.5]",
            ".example",
        ] {
            assert!(!is_host(text), "{text}");
        }
        assert!(is_number("10.0.0.5:5070") && !is_number("a.example"));
    }

    #[test]
    fn what_would_end_a_uri_is_in_no_field() {
        let hostile = ["", "a@b", "a;b", "a>b", "a\r\nb", "a b", "á"];
        for text in hostile {
            assert!(User::try_from(text.to_owned()).is_err(), "{text}");
            assert!(Leading::try_from(text.to_owned()).is_err(), "{text}");
            assert!(Dialled::try_from(text.to_owned()).is_err(), "{text}");
            assert!(Name::try_from(text.to_owned()).is_err(), "{text}");
        }
        assert!(Realm::try_from("a\"b".to_owned()).is_err());
        assert!(Realm::try_from("Carrier East".to_owned()).is_ok());
        assert!(Password::try_from("a\nb".to_owned()).is_err());
    }
}
