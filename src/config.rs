//! The configuration file and its defaults. `docs/ref/configuration.md` documents every key.

mod audit;
mod dialplan;
mod ldap;
mod limits;
mod listeners;
mod metrics;
mod oidc;
mod refusal;
mod saml;
mod trunk;
mod values;
mod webhooks;

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mcu_api::call::SrtpPolicy;
use mcu_api::directory::{Audience, CEILINGS, DEFAULT_FRAME_RATE, FRAME_RATES, Home, SITES, Shape};
use mcu_api::layout::Layout;
use mcu_api::reach;
use mcu_api::secret::Redacted;
use serde::Deserialize;
use toml::Spanned;

use crate::figures;
use crate::host;
pub use limits::Limits;
pub use refusal::ConfigError;
pub use values::{
    DatabaseUrl, DnsServer, Filter, Listen, MediaAddress, NonEmpty, Pin, PortRange, RelayUrl,
};

/// Everything an operator can set.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Folder for everything that is kept, and for the sockets between processes.
    pub data_dir: PathBuf,
    /// Room 3000 open to anybody.
    pub demo: bool,
    /// The web page.
    pub http: Http,
    /// SIP.
    pub sip: Sip,
    /// Media.
    pub media: Media,
    /// Relays for browsers.
    pub turn: Option<Turn>,
    /// Where the record of what was done is told besides.
    pub audit: audit::Audit,
    /// What is told to who watches the server.
    pub metrics: metrics::Metrics,
    /// The manager's database.
    pub database: Data,
    /// A directory whose people may log in.
    pub ldap: Option<ldap::Ldap>,
    /// A provider that proves who people are.
    pub oidc: Option<oidc::Oidc>,
    /// `[saml]`
    pub saml: Option<saml::Saml>,
    /// Where events are told besides.
    pub webhooks: webhooks::Webhooks,
    /// Rooms.
    pub rooms: Vec<Room>,
    /// What is looked at before the numbers of the rooms.
    pub dialplan: Vec<Spanned<dialplan::Rule>>,
    /// The same, checked.
    #[serde(skip)]
    rules: Vec<mcu_control::dialplan::Rule>,
    /// How much peers may take.
    pub limits: Limits,
    /// What is logged.
    pub log: Log,
}

/// `[http]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Address of the web page (HTTPS).
    pub listen: Listen,
}

/// `[sip]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sip {
    /// Address for SIP over UDP and TCP; see [`Sip::listen`].
    pub listen: Option<Listen>,
    /// Where SIP is listened for besides.
    pub listeners: Vec<Spanned<listeners::Listener>>,
    /// PEM file of the certificate for TLS; the page's if not given.
    pub certificate: Option<Spanned<PathBuf>>,
    /// PEM file of its key.
    pub key: Option<Spanned<PathBuf>>,
    /// Servers of DNS that are asked for where others are; the system's if none is given.
    pub dns: Vec<DnsServer>,
    /// PEM file of those whose certificates of other servers are believed.
    pub ca: Option<PathBuf>,
    /// Digest realm.
    pub realm: String,
    /// Accounts of terminals.
    pub accounts: Vec<Account>,
    /// Other servers that calls come from and go to.
    pub trunks: Vec<trunk::Trunk>,
}

/// `[[sip.accounts]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// User part of the terminal's address.
    pub user: Spanned<NonEmpty>,
    /// Its password.
    pub password: Redacted<NonEmpty>,
}

/// `[media]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Media {
    /// Addresses at which peers reach our media; empty finds those of this host.
    pub addresses: Vec<MediaAddress>,
    /// UDP ports; the first is shared by all browsers.
    pub ports: PortRange,
    /// TCP port by which browsers send media that reach no other; that of the page when not set,
    /// none when 0.
    pub tcp_port: Option<u16>,
}

/// `[database]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    /// A PostgreSQL server; SQLite in the data folder if not given.
    pub url: Option<DatabaseUrl>,
    /// Folder for copies that are made by themselves; none if not given.
    pub backup_dir: Option<PathBuf>,
    /// Hours between two of them.
    pub backup_hours: NonZeroU32,
    /// How many stay.
    pub backup_keep: NonZeroU32,
}

/// `[turn]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// Where the relays are.
    pub urls: Spanned<Vec<RelayUrl>>,
    /// What they share with us.
    pub secret: Redacted<NonEmpty>,
}

/// `[[rooms]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Room {
    /// Number that is dialled.
    pub number: Spanned<NonEmpty>,
    /// Whether somebody without an account may enter.
    #[serde(default)]
    pub guests: bool,
    /// Whether media of terminals is encrypted.
    #[serde(default)]
    pub srtp: Srtp,
    /// PIN that everybody is asked for.
    #[serde(default)]
    pub pin: Option<Redacted<Pin>>,
    /// PIN that those without an account are asked for instead.
    #[serde(default)]
    pub guest_pin: Option<Spanned<Redacted<Pin>>>,
    /// How the picture is composed that terminals get.
    #[serde(default)]
    pub layout: Layout,
    /// Whether that picture has names, and marks of who is muted and who speaks.
    #[serde(default = "with_captions")]
    pub captions: bool,
    /// Tallest picture that is sent, and asked for.
    #[serde(default)]
    pub max_height: Option<Ceiling>,
    /// Most pictures a second of terminals.
    #[serde(default)]
    pub max_frame_rate: FrameRate,
    /// Most legs.
    #[serde(default)]
    pub max_legs: Option<Sites>,
}

const fn with_captions() -> bool {
    true
}

/// `max_frame_rate` of a room.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u8")]
pub struct FrameRate(u8);

impl Default for FrameRate {
    fn default() -> Self {
        Self(DEFAULT_FRAME_RATE)
    }
}

impl TryFrom<u8> for FrameRate {
    type Error = String;

    fn try_from(rate: u8) -> Result<Self, Self::Error> {
        match FRAME_RATES.contains(&rate) {
            true => Ok(Self(rate)),
            false => Err(format!("must be one of {FRAME_RATES:?}")),
        }
    }
}

/// `max_height` of a room.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u16")]
pub struct Ceiling(u16);

impl TryFrom<u16> for Ceiling {
    type Error = String;

    fn try_from(lines: u16) -> Result<Self, Self::Error> {
        match CEILINGS.contains(&lines) {
            true => Ok(Self(lines)),
            false => Err(format!("must be one of {CEILINGS:?}")),
        }
    }
}

/// `max_legs` of a room.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u16")]
pub struct Sites(u16);

impl TryFrom<u16> for Sites {
    type Error = String;

    fn try_from(sites: u16) -> Result<Self, Self::Error> {
        match SITES.contains(&sites) {
            true => Ok(Self(sites)),
            false => Err(format!("must be from {} to {}", SITES.start(), SITES.end())),
        }
    }
}

/// `srtp` of a room and of a listener.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Srtp {
    /// Always clear.
    Off,
    /// Encrypted where the terminal can.
    #[default]
    Allowed,
    /// Encrypted, or refused.
    Required,
}

/// `[log]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Filter of `tracing`: a level, or levels by module.
    pub filter: Filter,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: "data".into(),
            demo: false,
            http: Http::default(),
            sip: Sip::default(),
            media: Media::default(),
            turn: None,
            audit: audit::Audit::default(),
            metrics: metrics::Metrics::default(),
            database: Data::default(),
            ldap: None,
            oidc: None,
            saml: None,
            webhooks: webhooks::Webhooks::default(),
            rooms: Vec::new(),
            dialplan: Vec::new(),
            rules: Vec::new(),
            limits: Limits::default(),
            log: Log::default(),
        }
    }
}

impl Default for Data {
    fn default() -> Self {
        Self {
            url: None,
            backup_dir: None,
            backup_hours: const { NonZeroU32::new(24).unwrap() },
            backup_keep: const { NonZeroU32::new(14).unwrap() },
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: Listen(SocketAddr::new(host::any(), 8443)),
        }
    }
}

impl Default for Sip {
    fn default() -> Self {
        Self {
            listen: None,
            listeners: Vec::new(),
            certificate: None,
            key: None,
            dns: Vec::new(),
            ca: None,
            realm: "consilium".into(),
            accounts: Vec::new(),
            trunks: Vec::new(),
        }
    }
}

impl Default for Media {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            ports: PortRange {
                low: 20_000,
                high: 23_999,
            },
            tcp_port: None,
        }
    }
}

impl Data {
    fn schedule(&self) -> Option<manager_ui_server::Schedule> {
        let hours = u64::from(self.backup_hours.get());
        self.backup_dir
            .clone()
            .map(|dir| manager_ui_server::Schedule {
                dir,
                every: Duration::from_secs(hours * 3600),
                keep: self.backup_keep.get() as usize,
            })
    }
}

impl Settings {
    /// Reads a configuration file; what it does not name has its default.
    pub fn from_file(file: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(file).map_err(|reason| ConfigError::Read {
            file: file.into(),
            reason,
        })?;
        let mut settings: Self =
            toml::from_str(&text).map_err(|error| ConfigError::parse(file, &text, &error))?;
        settings
            .check(&text)
            .map_err(|(span, reason)| ConfigError::at(file, &text, span, &reason))?;
        Ok(settings)
    }

    /// What no value alone can tell.
    fn check(&mut self, text: &str) -> Result<(), dialplan::Wrong> {
        if let Some((what, first, second)) = self.twice() {
            let line = refusal::line_of(text, first.start);
            return Err((second, format!("the {what} of line {line} has the same")));
        }
        listeners::check(&self.sip)?;
        if let Some(ldap) = &self.ldap {
            ldap.check()?;
        }
        self.metrics.check()?;
        self.audit.check()?;
        let relays = self.turn.as_ref().map(|turn| &turn.urls);
        if let Some(urls) = relays.filter(|urls| urls.get_ref().is_empty()) {
            return Err((urls.span(), "must name a relay".into()));
        }
        let closed = self.rooms.iter().filter(|room| !room.guests);
        if let Some(pin) = closed.filter_map(|room| room.guest_pin.as_ref()).next() {
            return Err((pin.span(), "guests may not enter this room".into()));
        }
        let is_room = |number: &str| {
            let mut numbers = self.rooms.iter().map(|room| &room.number.get_ref().0);
            numbers.any(|n| n == number) || self.demo && number == mcu_control::DEMO_ROOM
        };
        for trunk in &self.sip.trunks {
            trunk.check(listeners::has_tls(&self.sip))?;
        }
        let trunks = self.sip.trunks.iter();
        let is_trunk = |name: &str| trunks.clone().any(|t| t.name.get_ref().0 == name);
        self.rules = dialplan::rules(&self.dialplan, is_room, is_trunk, text)?;
        Ok(())
    }

    /// What is there twice though it names something, and where it stands.
    fn twice(&self) -> Option<(&'static str, Range<usize>, Range<usize>)> {
        let numbers = self.rooms.iter().map(|room| &room.number);
        let users = self.sip.accounts.iter().map(|account| &account.user);
        let trunks = self.sip.trunks.iter().map(|trunk| &trunk.name);
        let found = |what, (first, second)| (what, first, second);
        first_repeated(numbers)
            .map(|spans| found("room", spans))
            .or_else(|| first_repeated(users).map(|spans| found("account", spans)))
            .or_else(|| first_repeated(trunks).map(|spans| found("trunk", spans)))
    }

    /// Makes the data folder, closed to others, and the folder of sockets in it.
    pub fn prepare_data_dir(&self) -> Result<(), ConfigError> {
        let fail = |reason| ConfigError::DataDir {
            dir: self.data_dir.clone(),
            reason,
        };
        let run = self.run_dir();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&run)
            .map_err(fail)?;
        fs::set_permissions(&run, fs::Permissions::from_mode(0o700)).map_err(fail)
    }

    /// What the media process needs.
    pub fn media(&self) -> mcu_media::Config {
        mcu_media::Config {
            socket: self.media_socket(),
            streams_socket: self.streams_socket(),
            deaths_file: self.run_dir().join("media.deaths"),
            addresses: self.media_addresses(),
            port_low: self.media.ports.low + 1,
            port_high: self.media.ports.high,
            webrtc_port: self.media.ports.low,
            process: figures::process,
        }
    }

    /// What the controller needs.
    pub fn control(&self) -> mcu_control::Config {
        mcu_control::Config {
            data_dir: self.data_dir.clone(),
            control_socket: self.control_socket(),
            media_socket: self.media_socket(),
            browser_tcp: self.browser_tcp(),
            relays: self.turn.as_ref().map(Turn::config),
            sip_listen: Some(self.sip.listen()),
            sip_listeners: listeners::config(&self.sip),
            addresses: self.media_addresses(),
            certificate: listeners::certificate(&self.sip, &self.data_dir),
            dns: self.sip.dns.iter().map(|server| server.0).collect(),
            ca: self
                .sip
                .ca
                .clone()
                .unwrap_or_else(|| mcu_control::SYSTEM_CA.into()),
            realm: self.sip.realm.clone(),
            demo: self.demo,
            rooms: self.rooms.iter().map(Room::config).collect(),
            dialplan: self.rules.clone(),
            accounts: self
                .sip
                .accounts
                .iter()
                .map(|account| mcu_control::Account {
                    user: account.user.get_ref().0.clone(),
                    secret: mcu_control::Secret::Password(Redacted(account.password.0.0.clone())),
                    home: Home::Everywhere,
                })
                .collect(),
            max_legs: self.limits.legs.get() as usize,
            processors: self.limits.processors.map(|processors| processors.0),
            shares: Default::default(),
            max_legs_per_room: self.limits.legs_per_room.get() as usize,
            strangers: self.limits.strangers(),
            trunks: self.sip.trunks.iter().map(trunk::Trunk::config).collect(),
            held: Default::default(),
            process: figures::process,
        }
    }

    /// What the manager needs.
    pub fn manager(&self) -> manager_ui_server::Config {
        manager_ui_server::Config {
            http: self.http.listen.0,
            data_dir: self.data_dir.clone(),
            control_socket: self.control_socket(),
            streams_socket: self.streams_socket(),
            addresses: self.told_addresses(),
            database: self.database(),
            backups: self.database.schedule(),
            ldap: self.ldap.as_ref().map(ldap::Ldap::config),
            oidc: self.oidc.as_ref().map(oidc::Oidc::config),
            saml: self.saml.as_ref().map(saml::Saml::config),
            webhooks: self.webhooks.config(),
            demo_room: self.demo.then(|| mcu_control::DEMO_ROOM.to_string()),
            realm: self.sip.realm.clone(),
            sip_ports: self.sip_ports(),
            rooms: self.file_rooms(),
            accounts: self.users(),
            trunks: self.trunks(),
            requests: self.limits.requests(),
            metrics: self.metrics.listen(),
            syslog: self.audit.syslog(),
            process: figures::process,
        }
    }

    /// The manager's database.
    pub fn database(&self) -> manager_ui_server::Database {
        let url = self.database.url.clone();
        url.map_or_else(Default::default, |url| url.0)
    }

    /// All rooms as they are shown, demo mode's among them.
    fn file_rooms(&self) -> Vec<manager_ui_server::FileRoom> {
        let config = mcu_control::Config {
            demo: self.demo,
            rooms: self.rooms.iter().map(Room::config).collect(),
            ..mcu_control::Config::default()
        };
        let rooms = config.with_demo_room().rooms.into_iter();
        let shown = rooms.map(|room| manager_ui_server::FileRoom {
            number: room.number,
            guests: room.guests,
            srtp: room.srtp,
            has_pin: room.pin.is_some(),
            has_guest_pin: room.guest_pin.is_some(),
            shape: room.shape,
        });
        shown.collect()
    }

    /// Ports at which SIP is listened for.
    fn sip_ports(&self) -> Vec<u16> {
        let further = listeners::config(&self.sip).into_iter();
        let further = further.map(|listener| listener.listen.port());
        std::iter::once(self.sip.listen().port())
            .chain(further)
            .collect()
    }

    /// Names of the trunks, and where their calls come from.
    fn trunks(&self) -> Vec<(String, Vec<IpAddr>)> {
        let trunks = self.sip.trunks.iter().map(trunk::Trunk::config);
        trunks.map(|trunk| (trunk.name, trunk.sources)).collect()
    }

    fn users(&self) -> Vec<String> {
        let accounts = self.sip.accounts.iter();
        accounts.map(|a| a.user.get_ref().0.clone()).collect()
    }

    /// Filter of the log.
    pub fn log_filter(&self) -> &Filter {
        &self.log.filter
    }

    /// Configured media addresses, or else those of this host.
    fn media_addresses(&self) -> Vec<reach::MediaAddress> {
        if self.media.addresses.is_empty() {
            let found = host::addresses().into_iter().map(reach::MediaAddress::from);
            return found.collect();
        }
        self.media.addresses.iter().map(|a| a.0.clone()).collect()
    }

    /// What peers are told of them, each once: the likeliest first.
    pub fn told_addresses(&self) -> Vec<IpAddr> {
        let mut told = Vec::new();
        for address in self.media_addresses() {
            if !told.contains(&address.told()) {
                told.push(address.told());
            }
        }
        told
    }

    /// Where browsers send media by TCP. A port that was named is taken to lead to the page's from all
    /// addresses.
    fn browser_tcp(&self) -> Vec<SocketAddr> {
        let listen = self.http.listen.0;
        let leads_here = |address: &reach::MediaAddress| {
            let bound = address.address;
            let any = listen.ip().is_unspecified() && (listen.is_ipv6() || bound.is_ipv4());
            self.media.tcp_port.is_some() || any || listen.ip() == bound
        };
        let port = self.media.tcp_port.unwrap_or(listen.port());
        let mut told = Vec::new();
        for address in self.media_addresses().iter().filter(|a| leads_here(a)) {
            let at = SocketAddr::new(address.told(), port);
            if port != 0 && !told.contains(&at) {
                told.push(at);
            }
        }
        told
    }

    /// Socket on which the media process takes browsers' TCP connections.
    fn streams_socket(&self) -> PathBuf {
        self.run_dir().join("tcp.sock")
    }

    /// Socket on which the controller listens.
    pub fn control_socket(&self) -> PathBuf {
        self.run_dir().join("control.sock")
    }

    /// Socket on which the media process listens.
    pub fn media_socket(&self) -> PathBuf {
        self.run_dir().join("media.sock")
    }

    /// Socket on which the supervisor listens.
    pub fn supervisor_socket(&self) -> PathBuf {
        self.run_dir().join("serve.sock")
    }

    /// Folder of the sockets between processes.
    pub fn run_dir(&self) -> PathBuf {
        self.data_dir.join("run")
    }
}

impl Turn {
    fn config(&self) -> mcu_control::relay::Relays {
        mcu_control::relay::Relays {
            urls: self
                .urls
                .get_ref()
                .iter()
                .map(|url| url.0.clone())
                .collect(),
            secret: Redacted(self.secret.0.0.clone()),
        }
    }
}

impl Srtp {
    fn policy(self) -> SrtpPolicy {
        match self {
            Self::Off => SrtpPolicy::Off,
            Self::Allowed => SrtpPolicy::Allowed,
            Self::Required => SrtpPolicy::Required,
        }
    }
}

impl Room {
    fn config(&self) -> mcu_control::RoomConfig {
        let digits = |pin: &Redacted<Pin>| Redacted(pin.0.0.clone());
        mcu_control::RoomConfig {
            number: self.number.get_ref().0.clone(),
            guests: self.guests,
            srtp: self.srtp.policy(),
            pin: self.pin.as_ref().map(digits),
            guest_pin: self.guest_pin.as_ref().map(|pin| digits(pin.get_ref())),
            shape: Shape {
                layout: self.layout,
                captions: self.captions,
                max_height: self.max_height.map(|lines| lines.0),
                max_frame_rate: self.max_frame_rate.0,
                max_legs: self.max_legs.map(|sites| sites.0),
            },
            made: false,
            audience: Audience::everybody(),
        }
    }
}

/// Where the first value that is there twice stands, both times.
fn first_repeated<'a>(
    values: impl Iterator<Item = &'a Spanned<NonEmpty>>,
) -> Option<(Range<usize>, Range<usize>)> {
    let mut seen = HashMap::new();
    for value in values {
        if let Some(first) = seen.insert(&value.get_ref().0, value.span()) {
            return Some((first, value.span()));
        }
    }
    None
}

#[cfg(test)]
mod tests;
