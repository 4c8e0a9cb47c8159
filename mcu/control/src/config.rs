//! What a controller is started with.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use mcu_api::call::SrtpPolicy;
use mcu_api::secret::Redacted;
use sip::Transport;

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
    /// Certificate and key of the TLS listeners.
    pub certificate: CertificateFiles,
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
    /// What callers may take who proved no account.
    pub strangers: StrangerLimits,
}

/// One socket on which SIP is listened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SipListener {
    /// What is spoken on it.
    pub transport: Transport,
    /// Its address; `[::]` takes IPv6 alone.
    pub listen: SocketAddr,
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
}

/// Another server that calls come from and go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// What rules of the dial plan call it.
    pub name: String,
    /// Where calls to it go.
    pub address: SocketAddr,
    /// By TCP, and not by UDP.
    pub tcp: bool,
    /// Host part of its addresses, if not `address`.
    pub domain: Option<String>,
    /// Who we are there, and our password.
    pub credentials: Option<(String, Redacted<String>)>,
    /// Calls from these addresses are its calls. Nothing else proves them.
    pub sources: Vec<IpAddr>,
    /// Whether, and for how long at a time, we register there.
    pub register: Option<Duration>,
}

/// One account of a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// User part of the terminal's address.
    pub user: String,
    /// Its password.
    pub password: Redacted<String>,
}

impl Trunk {
    /// Host part of its addresses.
    pub fn domain(&self) -> String {
        let stated = self.domain.clone();
        stated.unwrap_or_else(|| self.address.to_string())
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
            certificate: CertificateFiles::default(),
            realm: "consilium".into(),
            demo: false,
            rooms: Vec::new(),
            dialplan: Vec::new(),
            accounts: Vec::new(),
            trunks: Vec::new(),
            max_legs_per_room: 32,
            max_legs: 256,
            strangers: StrangerLimits::default(),
        }
    }
}

impl Config {
    /// Whether a room has this number, and if so whether guests may enter it.
    pub fn room(&self, number: &str) -> Option<&RoomConfig> {
        self.rooms.iter().find(|room| room.number == number)
    }

    /// The trunk whose calls come from this address.
    pub fn trunk_at(&self, address: IpAddr) -> Option<&Trunk> {
        let address = address.to_canonical();
        let mut trunks = self.trunks.iter();
        trunks.find(|trunk| trunk.sources.contains(&address))
    }

    /// All rooms that exist, demo mode's among them.
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
