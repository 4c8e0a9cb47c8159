//! Rooms and accounts that people made, beside those of the configuration file. Where both have the
//! same number or user, the file's holds: who may write it may write everything.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use mcu_api::call::HopTransport;
use mcu_api::directory::{
    Audience, Directory, Held, MAX_ACCOUNTS, MAX_ROOMS, MAX_TRUNKS, MadeAccount, MadeRoom,
    MadeTrunk, TrunkTransport,
};
use sip::Ha1;
use tracing::warn;

use crate::config::{Account, Config, Place, RoomConfig, Secret, Trunk, TrunkUse};

impl Config {
    /// Puts the rooms and accounts of this directory in the place of those of the last one.
    pub fn take_up(&mut self, directory: &Directory) {
        let rooms = self.take_up_rooms(&directory.rooms);
        let accounts = self.take_up_accounts(&directory.accounts);
        let trunks = self.take_up_trunks(&directory.trunks);
        self.shares = directory.shares.clone();
        if !rooms.is_empty() || !accounts.is_empty() || !trunks.is_empty() {
            warn!(
                ?rooms,
                accounts = accounts.len(),
                ?trunks,
                "the configuration file has rooms, accounts or trunks that were made, too: its own hold"
            );
        }
        self.held = Held {
            generation: directory.generation,
            rooms,
            accounts,
            trunks,
        };
    }

    /// Yields the names that are taken.
    fn take_up_trunks(&mut self, made: &[MadeTrunk]) -> Vec<String> {
        self.trunks.retain(|trunk| trunk.made.is_none());
        let mut taken = Vec::new();
        for trunk in made.iter().take(MAX_TRUNKS) {
            if self.trunks.iter().any(|known| known.name == trunk.name) {
                taken.push(trunk.name.clone());
                continue;
            }
            let Ok(address) = trunk.address.parse() else {
                warn!(name = trunk.name, "a trunk's address is none");
                continue;
            };
            let sources = trunk.sources.iter().map(IpAddr::to_canonical);
            // Whose calls come from there is said once.
            let sources = sources.filter(|source| self.trunk_at(*source).is_none());
            let sources = sources.collect();
            self.trunks.push(made_trunk(trunk, address, sources));
        }
        taken
    }

    /// Yields the numbers that are taken.
    fn take_up_rooms(&mut self, made: &[MadeRoom]) -> Vec<String> {
        self.rooms.retain(|room| !room.made);
        let mut known: HashSet<String> = self.rooms.iter().map(|r| r.number.clone()).collect();
        let mut taken = Vec::new();
        for room in made.iter().take(MAX_ROOMS) {
            match known.insert(room.number.clone()) {
                true => self.rooms.push(RoomConfig {
                    number: room.number.clone(),
                    guests: room.guests,
                    srtp: room.srtp,
                    pin: room.pin.clone(),
                    guest_pin: room.guest_pin.clone(),
                    shape: room.shape,
                    made: true,
                    audience: Audience {
                        home: room.home.into(),
                        shared: room.shared.clone(),
                    },
                }),
                false => taken.push(room.number.clone()),
            }
        }
        taken
    }

    /// Yields the users that are taken.
    fn take_up_accounts(&mut self, made: &[MadeAccount]) -> Vec<String> {
        self.accounts
            .retain(|account| matches!(account.secret, Secret::Password(_)));
        let mut known: HashSet<String> = self.accounts.iter().map(|a| a.user.clone()).collect();
        let mut taken = Vec::new();
        for account in made.iter().take(MAX_ACCOUNTS) {
            let hashes = (Some(&*account.md5.0), Some(&*account.sha256.0));
            let Some(ha1) = Ha1::from_hex(hashes.0, hashes.1) else {
                warn!("an account's hashes are none");
                continue;
            };
            match known.insert(account.user.clone()) {
                true => self.accounts.push(Account {
                    user: account.user.clone(),
                    secret: Secret::Ha1(ha1),
                    home: account.home.into(),
                }),
                false => taken.push(account.user.clone()),
            }
        }
        taken
    }
}

fn made_trunk(made: &MadeTrunk, address: Place, sources: Vec<IpAddr>) -> Trunk {
    let password = made.password.clone().unwrap_or_default();
    let credentials = made.user.clone().map(|user| (user, password));
    let register = made.register_s.filter(|_| credentials.is_some());
    let numbers = made.numbers.iter();
    Trunk {
        name: made.name.clone(),
        address,
        transport: made.transport.map(|transport| match transport {
            TrunkTransport::Udp => HopTransport::Udp,
            TrunkTransport::Tcp => HopTransport::Tcp,
            TrunkTransport::Tls => HopTransport::Tls,
        }),
        domain: made.domain.clone(),
        credentials,
        realm: made.realm.clone(),
        sources,
        register: register.map(|seconds| Duration::from_secs(seconds.clamp(60, 86_400).into())),
        made: Some(TrunkUse {
            home: made.home.into(),
            prefix: made.prefix.clone(),
            prepend: made.prepend.clone(),
            numbers: numbers
                .map(|number| (number.number.clone(), number.room.clone()))
                .collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use mcu_api::directory::Home;
    use mcu_api::secret::Redacted;

    use super::*;

    fn room(number: &str, guests: bool) -> MadeRoom {
        MadeRoom {
            number: number.into(),
            home: None,
            shared: Vec::new(),
            guests,
            ..MadeRoom::default()
        }
    }

    fn account(user: &str, digits: usize) -> MadeAccount {
        MadeAccount {
            user: user.into(),
            home: None,
            md5: Redacted("a".repeat(digits)),
            sha256: Redacted("b".repeat(64)),
        }
    }

    #[test]
    fn rooms_and_accounts_of_the_file_hold_where_others_were_made_of_the_same_name() {
        let mut config = Config {
            rooms: vec![RoomConfig {
                number: "4000".into(),
                ..RoomConfig::default()
            }],
            accounts: vec![Account {
                user: "ward-7".into(),
                secret: Secret::Password(Redacted("x".into())),
                home: Home::Everywhere,
            }],
            ..Config::default()
        };
        let file = config.clone();
        config.take_up(&Directory {
            generation: 7,
            rooms: vec![room("4000", true), room("5000", true), room("5000", false)],
            accounts: vec![account("ward-7", 32), account("or-1", 32), account("x", 31)],
            trunks: Vec::new(),
            shares: Default::default(),
        });
        assert!(!config.room("4000").unwrap().guests);
        assert!(config.room("5000").unwrap().guests);
        assert_eq!(config.held.rooms, ["4000", "5000"]);
        assert_eq!(config.held.accounts, ["ward-7"]);
        let users: Vec<&str> = config.accounts.iter().map(|a| &*a.user).collect();
        assert_eq!(users, ["ward-7", "or-1"]);
        assert_eq!(config.accounts[0], file.accounts[0]);

        config.take_up(&Directory {
            generation: 8,
            ..Directory::default()
        });
        assert_eq!(config.rooms, file.rooms);
        assert_eq!(config.accounts, file.accounts);
        assert_eq!(config.held.generation, 8);
    }
}
