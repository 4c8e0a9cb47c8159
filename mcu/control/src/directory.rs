//! Rooms and accounts that people made, beside those of the configuration file. Where both have the
//! same number or user, the file's holds: who may write it may write everything.

use std::collections::HashSet;

use mcu_api::directory::{
    Audience, Directory, Held, MAX_ACCOUNTS, MAX_ROOMS, MadeAccount, MadeRoom,
};
use sip::Ha1;
use tracing::warn;

use crate::config::{Account, Config, RoomConfig, Secret};

impl Config {
    /// Puts the rooms and accounts of this directory in the place of those of the last one.
    pub fn take_up(&mut self, directory: &Directory) {
        let rooms = self.take_up_rooms(&directory.rooms);
        let accounts = self.take_up_accounts(&directory.accounts);
        if !rooms.is_empty() || !accounts.is_empty() {
            warn!(
                ?rooms,
                accounts = accounts.len(),
                "the configuration file has rooms or accounts that were made, too: its own hold"
            );
        }
        self.held = Held {
            generation: directory.generation,
            rooms,
            accounts,
        };
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
