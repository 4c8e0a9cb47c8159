//! What a controller is started with.

use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use mcu_api::call::{Credentials, HopTransport, SrtpPolicy};
use mcu_api::capacity::Shares;
use mcu_api::directory::{Audience, Held, Home, Shape};
use mcu_api::figures::Process;
use mcu_api::reach::MediaAddress;
use mcu_api::secret::Redacted;
use sip::{Ha1, Transport};

use crate::dialplan::Rule;
use crate::relay::Relays;

/// Number of the room that demo mode opens to anybody.
pub const DEMO_ROOM: &str = "3000";

/// Settings of one controller.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder in which the controller keeps `control-state.json` and `control-registrations.json`.
    pub data_dir: PathBuf,
    /// Unix socket on which managers are awaited.
    pub control_socket: PathBuf,
    /// Unix socket on which the media processor listens.
    pub media_socket: PathBuf,
    /// Where browsers send media by TCP that reach no UDP port, best first.
    pub browser_tcp: Vec<SocketAddr>,
    /// Relays for browsers that reach neither.
    pub relays: Option<Relays>,
    /// Address for SIP, UDP and TCP on the same port; `None` leaves SIP out.
    pub sip_listen: Option<SocketAddr>,
    /// Where SIP is listened for besides.
    pub sip_listeners: Vec<SipListener>,
    /// Addresses at which peers reach media: SIP names them as media does where they are its own.
    pub addresses: Vec<MediaAddress>,
    /// Certificate and key of the TLS listeners.
    pub certificate: CertificateFiles,
    /// Servers of DNS that are asked for where others are; none asks the system's.
    pub dns: Vec<SocketAddr>,
    /// PEM file of those whose certificates of other servers are believed.
    pub ca: PathBuf,
    /// Digest realm.
    pub realm: String,
    /// Room [`DEMO_ROOM`] exists and anybody may enter it.
    pub demo: bool,
    /// Rooms that exist besides.
    pub rooms: Vec<RoomConfig>,
    /// What is looked at before the numbers of the rooms.
    pub dialplan: Vec<Rule>,
    /// Accounts of terminals.
    pub accounts: Vec<Account>,
    /// Other servers that calls come from and go to.
    pub trunks: Vec<Trunk>,
    /// Most legs of one room. Who comes later is refused as busy.
    pub max_legs_per_room: usize,
    /// Most legs of all rooms together.
    pub max_legs: usize,
    /// Processors that calls may take; those of the machine but for a part, if not given.
    pub processors: Option<f32>,
    /// How people share the ports out.
    pub shares: Shares,
    /// What callers may take who proved no account.
    pub strangers: StrangerLimits,
    /// The directory whose rooms and accounts are among those above; generation 0 before any.
    pub held: Held,
    /// Says how this process does.
    pub process: fn() -> Process,
}

/// Where Debian keeps those that it believes.
pub const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";

/// One socket on which SIP is listened for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipListener {
    /// What is spoken on it.
    pub transport: Transport,
    /// Its address; `[::]` takes IPv6 alone.
    pub listen: SocketAddr,
    /// Whether media of calls by it is to be encrypted, beside what their room says.
    pub srtp: SrtpPolicy,
    /// Whether TLS 1.0 and 1.1 are taken, too.
    pub legacy_tls: bool,
    /// Whose certificates of terminals are believed, over TLS.
    pub clients: Option<ClientCertificates>,
    /// Origins of web pages that may connect by WebSocket; those of our own host if not given.
    pub origins: Option<Vec<String>>,
}

/// Certificates of terminals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// PEM file of those that issue them.
    pub ca: PathBuf,
    /// Without one there is no connection.
    pub required: bool,
}

/// PEM files. They need not be there at the start, and new ones are taken up as they come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate and those that lead to its issuer.
    pub chain: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// What callers may take who proved no account. See [`sip::Config`] for what comes beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrangerLimits {
    /// Most calls of one source at a time.
    pub calls_per_source: usize,
    /// Most calls begun in a second from one source.
    pub new_calls_per_source_per_s: u32,
    /// Most calls begun in a second from all sources.
    pub new_calls_per_s: u32,
}

impl Default for StrangerLimits {
    fn default() -> Self {
        let sip = sip::Config::default();
        Self {
            calls_per_source: sip.max_calls_per_source,
            new_calls_per_source_per_s: sip.new_calls_per_source_per_s,
            new_calls_per_s: sip.new_calls_per_s,
        }
    }
}

/// One configured room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomConfig {
    /// Number that is dialled.
    pub number: String,
    /// Whether somebody who proved no account may enter.
    pub guests: bool,
    /// Whether media of terminals is to be encrypted.
    pub srtp: SrtpPolicy,
    /// PIN that is asked of everybody, 4 to 16 digits.
    pub pin: Option<Redacted<String>>,
    /// PIN that is asked of those who proved no account, in place of `pin`.
    pub guest_pin: Option<Redacted<String>>,
    /// Its pictures, and how many sites it takes.
    pub shape: Shape,
    /// People made it, and may change or remove it: it is not in the configuration file.
    pub made: bool,
    /// Whose accounts are no strangers to it. One of the configuration file is for everybody's.
    pub audience: Audience,
}

/// Another server that calls come from and go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// What rules of the dial plan call it.
    pub name: String,
    /// Where calls to it go.
    pub address: Place,
    /// How they go there, if DNS is not to say.
    pub transport: Option<HopTransport>,
    /// Host part of its addresses, if not `address`.
    pub domain: Option<String>,
    /// Who we are there, and our password.
    pub credentials: Option<(String, Redacted<String>)>,
    /// The realm whose challenges are answered; its own host's where there is none.
    pub realm: Option<String>,
    /// Calls from these addresses are its calls. Nothing else proves them.
    pub sources: Vec<IpAddr>,
    /// Whether, and for how long at a time, we register there.
    pub register: Option<Duration>,
    /// What it is for, if people made it; those of the configuration file are for what its rules say.
    pub made: Option<TrunkUse>,
}

/// What a trunk that people made is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrunkUse {
    /// Where it belongs: it is for the rooms there and below.
    pub home: Home,
    /// Numbers that begin so, and that rooms call, go to it without that.
    pub prefix: Option<String>,
    /// What it is told before the rest of a number.
    pub prepend: String,
    /// Numbers that it calls, and the rooms that they lead to.
    pub numbers: Vec<(String, String)>,
}

impl TrunkUse {
    /// Whether it is for this room. Those of the configuration file belong to the root.
    fn serves(&self, room: &RoomConfig) -> bool {
        match (self.home, room.audience.home) {
            (Home::At(home), Home::At(room)) => home.includes(room),
            (Home::At(home), Home::Everywhere) => home.first == 0,
            (Home::Everywhere | Home::Unknown, _) | (_, Home::Unknown) => false,
        }
    }

    /// How many places it is for.
    const fn breadth(&self) -> u32 {
        match self.home {
            Home::At(home) => home.last.saturating_sub(home.first),
            Home::Everywhere | Home::Unknown => u32::MAX,
        }
    }
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// At this address.
    Address(SocketAddr),
    /// Where DNS says.
    Name {
        /// Its name.
        host: String,
        /// Its port, if DNS is not to say.
        port: Option<u16>,
    },
}

/// A server that is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sought {
    /// Where it is.
    pub place: Place,
    /// What is spoken with it, if DNS is not to say.
    pub transport: Option<HopTransport>,
}

impl Place {
    /// The name or address, without a port.
    pub fn host(&self) -> String {
        match self {
            Self::Address(address) => address.ip().to_string(),
            Self::Name { host, .. } => host.clone(),
        }
    }

    /// Whether it is written as a host's name is.
    pub fn is_name(text: &str) -> bool {
        let label = |label: &str| {
            let is_known = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
            (1..=63).contains(&label.len()) && label.bytes().all(is_known)
        };
        // RFC 1123 §2.1: a last label of digits is a mistyped address.
        let last = text.rsplit('.').next().unwrap_or_default();
        text.len() <= 253 && text.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit())
    }
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.trim_matches(['[', ']']).parse::<IpAddr>();
        let number = number.map(|ip| SocketAddr::new(ip, SIP_PORT));
        if let Ok(address) = text.parse::<SocketAddr>().or(number) {
            // A socket of IPv6 need not reach what IPv4 has.
            return match address.ip().to_canonical() == address.ip() {
                true => Ok(Self::Address(address)),
                false => Err("an address of IPv4 is written as such"),
            };
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0).map(Some)),
            None => (text, Some(None)),
        };
        match port.filter(|_| Self::is_name(host)) {
            Some(port) => Ok(Self::Name {
                host: host.into(),
                port,
            }),
            None => Err("must be HOST or HOST:PORT, HOST being a name or an IP address"),
        }
    }
}

/// RFC 3261 §19.1.2.
const SIP_PORT: u16 = 5060;

/// One account of a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// User part of the terminal's address.
    pub user: String,
    /// What proves it.
    pub secret: Secret,
    /// Where it belongs. One of the configuration file reaches all rooms.
    pub home: Home,
}

/// What proves an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// A password of the configuration file.
    Password(Redacted<String>),
    /// Hashes of the password of an account that people made.
    Ha1(Ha1),
}

impl Trunk {
    /// How it is found.
    pub fn sought(&self) -> Sought {
        Sought {
            place: self.address.clone(),
            transport: self.transport,
        }
    }

    /// Parameter of its URIs.
    pub fn uri_parameter(&self) -> &'static str {
        match self.transport {
            None | Some(HopTransport::Udp) => "",
            Some(HopTransport::Tcp) => ";transport=tcp",
            Some(HopTransport::Tls) => ";transport=tls",
        }
    }

    /// Addresses at which it is, as far as they are configured.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let mut addresses = self.sources.clone();
        if let Place::Address(address) = self.address {
            addresses.push(address.ip());
        }
        addresses
    }

    /// Host part of its addresses.
    pub fn domain(&self) -> String {
        let stated = self.domain.clone();
        stated.unwrap_or_else(|| match &self.address {
            Place::Address(address) => address.to_string(),
            Place::Name { host, .. } => host.clone(),
        })
    }

    /// Who we are there, and whose challenges that is for. Without a realm it is the trunk's own host
    /// alone, by each of its names: others behind it may challenge us through it.
    pub fn credentials(&self) -> Option<Credentials> {
        let (user, password) = self.credentials.clone()?;
        let realms = match &self.realm {
            Some(realm) => vec![realm.clone()],
            None => {
                let domain = self.domain.iter();
                let domain = domain.map(|domain| without_port(domain).to_owned());
                domain.chain([self.address.host()]).collect()
            }
        };
        Some(Credentials {
            user,
            password,
            realms,
        })
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() && !name.ends_with(':') => name,
        _ => host,
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "data".into(),
            control_socket: "data/run/control.sock".into(),
            media_socket: "data/run/media.sock".into(),
            browser_tcp: Vec::new(),
            relays: None,
            sip_listen: None,
            sip_listeners: Vec::new(),
            addresses: Vec::new(),
            certificate: CertificateFiles::default(),
            dns: Vec::new(),
            ca: SYSTEM_CA.into(),
            realm: "consilium".into(),
            demo: false,
            rooms: Vec::new(),
            dialplan: Vec::new(),
            accounts: Vec::new(),
            trunks: Vec::new(),
            max_legs_per_room: 32,
            max_legs: 256,
            processors: None,
            shares: Shares::default(),
            strangers: StrangerLimits::default(),
            held: Held::default(),
            process: Process::default,
        }
    }
}

impl Config {
    /// Whether a room has this number, and if so whether guests may enter it.
    pub fn room(&self, number: &str) -> Option<&RoomConfig> {
        self.rooms.iter().find(|room| room.number == number)
    }

    /// By which of the trunks that people made a room calls this number, and what the trunk is told: by the
    /// one with the longest prefix, of two such by that which belongs nearest to the room.
    pub fn made_trunk_for(&self, room: &RoomConfig, dialled: &str) -> Option<(&Trunk, String)> {
        let fitting = self.trunks.iter().filter_map(|trunk| {
            let made = trunk.made.as_ref().filter(|made| made.serves(room))?;
            let prefix = made.prefix.as_deref().filter(|prefix| !prefix.is_empty())?;
            let rest = dialled.strip_prefix(prefix)?;
            let order = (prefix.len(), Reverse(made.breadth()));
            Some((order, trunk, format!("{}{rest}", made.prepend)))
        });
        let best = fitting.max_by_key(|(order, ..)| *order);
        best.map(|(_, trunk, number)| (trunk, number))
    }

    /// The room that a number leads to which this trunk calls, where people have said so.
    pub fn room_of_trunk(&self, trunk: &str, number: &str) -> Option<&RoomConfig> {
        let trunk = self.trunks.iter().find(|known| known.name == trunk)?;
        let made = trunk.made.as_ref()?;
        let (_, room) = made.numbers.iter().find(|(known, _)| known == number)?;
        self.room(room).filter(|room| made.serves(room))
    }

    /// Whether an account is no stranger to a room: it enters as a member does, and the room may call it.
    pub fn reaches(&self, account: &str, room: &RoomConfig) -> bool {
        let known = self.accounts.iter().find(|known| known.user == account);
        // One that was removed while its call goes on belongs nowhere.
        let home = known.map_or(Home::Unknown, |known| known.home);
        room.audience.includes(home)
    }

    /// Most legs of the room of this number.
    pub fn max_legs_of(&self, number: &str) -> usize {
        let own = self.room(number).and_then(|room| room.shape.max_legs);
        let own = own.map_or(usize::MAX, usize::from);
        own.min(self.max_legs_per_room)
    }

    /// What can be spoken with other servers, what is preferred first: TLS where a listener of ours lets
    /// them reach us by it, too.
    pub fn spoken(&self) -> Vec<HopTransport> {
        let listens = |transport| {
            let mut listeners = self.sip_listeners.iter();
            listeners.any(|listener| listener.transport == transport)
        };
        let tls = listens(Transport::Tls).then_some(HopTransport::Tls);
        let clear = self.sip_listen.is_some() || listens(Transport::Udp);
        let clear = [HopTransport::Udp, HopTransport::Tcp].map(|spoken| clear.then_some(spoken));
        [tls].into_iter().chain(clear).flatten().collect()
    }

    /// What the listener demands of media by which something comes to this address of ours.
    pub fn srtp_at(&self, transport: Transport, local: SocketAddr) -> SrtpPolicy {
        let is_there = |listener: &&SipListener| {
            let listen = listener.listen;
            let any = listen.ip().is_unspecified() && listen.is_ipv4() == local.is_ipv4();
            listener.transport == transport
                && listen.port() == local.port()
                && (any || listen.ip() == local.ip())
        };
        let found = self.sip_listeners.iter().find(is_there);
        found.map_or(SrtpPolicy::default(), |listener| listener.srtp)
    }

    /// The trunk whose calls come from this address.
    pub fn trunk_at(&self, address: IpAddr) -> Option<&Trunk> {
        let address = address.to_canonical();
        let mut trunks = self.trunks.iter();
        trunks.find(|trunk| trunk.sources.contains(&address))
    }

    /// All rooms that exist, demo mode's among them. It is to be there before any that people made.
    pub fn with_demo_room(mut self) -> Self {
        if !self.demo {
            return self;
        }
        let configured = self.rooms.iter_mut().find(|room| room.number == DEMO_ROOM);
        match configured {
            // Who gave it a PIN means it, in demo mode too.
            Some(room) => room.guests = true,
            None => self.rooms.push(RoomConfig {
                number: DEMO_ROOM.into(),
                guests: true,
                audience: Audience::everybody(),
                ..RoomConfig::default()
            }),
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_an_address_or_a_name_with_or_without_a_port() {
        let address = |text: &str| Ok(Place::Address(text.parse().unwrap()));
        let name = |host: &str, port| {
            let host = host.into();
            Ok(Place::Name { host, port })
        };
        for (text, place) in [
            ("10.0.0.5:5070", address("10.0.0.5:5070")),
            ("10.0.0.5", address("10.0.0.5:5060")),
            ("[2001:db8::5]:5070", address("[2001:db8::5]:5070")),
            ("[2001:db8::5]", address("[2001:db8::5]:5060")),
            ("2001:db8::5", address("[2001:db8::5]:5060")),
            ("carrier.example", name("carrier.example", None)),
            (
                "sip-1.carrier.example:5080",
                name("sip-1.carrier.example", Some(5080)),
            ),
        ] {
            assert_eq!(text.parse(), place, "{text}");
        }
        for wrong in [
            "",
            ":5060",
            "a..b",
            "10.0.0.300",
            "a:0",
            "a:70000",
            "a:b:5060",
            "sip:a",
            "a b",
            "::ffff:10.0.0.5",
            "[::ffff:10.0.0.5]:5060",
            "\u{e9}t\u{e9}.example",
        ] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_listener_is_known_by_transport_and_address() {
        let listener = |transport, listen: &str, srtp| SipListener {
            transport,
            listen: listen.parse().unwrap(),
            srtp,
            legacy_tls: false,
            clients: None,
            origins: None,
        };
        let config = Config {
            sip_listeners: vec![
                listener(Transport::Tls, "0.0.0.0:5061", SrtpPolicy::Required),
                listener(Transport::Udp, "10.0.0.1:5062", SrtpPolicy::Off),
            ],
            ..Config::default()
        };
        for (transport, local, srtp) in [
            (Transport::Tls, "10.9.9.9:5061", SrtpPolicy::Required),
            (Transport::Tcp, "10.9.9.9:5061", SrtpPolicy::Allowed),
            (Transport::Tls, "[2001:db8::1]:5061", SrtpPolicy::Allowed),
            (Transport::Udp, "10.0.0.1:5062", SrtpPolicy::Off),
            (Transport::Udp, "10.0.0.2:5062", SrtpPolicy::Allowed),
            (Transport::Udp, "10.0.0.1:5060", SrtpPolicy::Allowed),
        ] {
            let found = config.srtp_at(transport, local.parse().unwrap());
            assert_eq!(found, srtp, "{transport:?} {local}");
        }
    }

    #[test]
    fn a_password_is_for_the_configured_realm_or_the_trunks_own_host() {
        let trunk = |domain: Option<&str>, realm: Option<&str>| Trunk {
            name: "city".into(),
            address: "sip.carrier.example".parse().unwrap(),
            transport: None,
            domain: domain.map(Into::into),
            credentials: Some(("us".into(), Redacted("secret".into()))),
            realm: realm.map(Into::into),
            sources: Vec::new(),
            register: None,
            made: None,
        };
        let realms = |trunk: Trunk| trunk.credentials().unwrap().realms;
        assert_eq!(realms(trunk(None, None)), ["sip.carrier.example"]);
        let both = ["carrier.example", "sip.carrier.example"];
        assert_eq!(realms(trunk(Some("carrier.example:5070"), None)), both);
        assert_eq!(realms(trunk(Some("c"), Some("asterisk"))), ["asterisk"]);
        assert_eq!(trunk(None, None).domain(), "sip.carrier.example");
    }

    #[test]
    fn demo_mode_opens_its_room_and_a_closed_controller_has_none() {
        let demo = Config {
            demo: true,
            ..Config::default()
        }
        .with_demo_room();
        assert!(demo.room("3000").is_some_and(|room| room.guests));
        assert!(demo.room("3001").is_none());
        assert!(Config::default().with_demo_room().room("3000").is_none());
    }

    #[test]
    fn demo_mode_opens_a_configured_room_of_the_same_number_to_guests_and_keeps_its_pin() {
        let rooms = vec![RoomConfig {
            number: DEMO_ROOM.into(),
            pin: Some(Redacted("4711".into())),
            ..RoomConfig::default()
        }];
        let config = Config {
            demo: true,
            rooms,
            ..Config::default()
        }
        .with_demo_room();
        assert_eq!(config.rooms.len(), 1);
        assert!(config.rooms[0].guests);
        assert!(config.rooms[0].pin.is_some(), "it was dropped");
    }
}
