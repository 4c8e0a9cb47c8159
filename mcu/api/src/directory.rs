//! Rooms and accounts that people made by page or API: what the manager's database holds, and the
//! controller goes by beside its configuration file.

use serde::{Deserialize, Serialize};

use crate::call::SrtpPolicy;
use crate::secret::Redacted;

/// Most rooms. With as many accounts as there may be, the whole fits into one frame ([`crate::frame::MAX_BODY_LEN`]).
pub const MAX_ROOMS: usize = 5_000;
/// Most accounts.
pub const MAX_ACCOUNTS: usize = 10_000;

/// All of them, as they are to be. Sending it again does nothing.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Directory {
    /// Higher with each change; an older one is not taken up.
    pub generation: u64,
    /// Rooms, each number once.
    pub rooms: Vec<MadeRoom>,
    /// Accounts, each user once.
    pub accounts: Vec<MadeAccount>,
}

/// One room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeRoom {
    /// Number that is dialled.
    pub number: String,
    /// Whether somebody who proved nothing may enter.
    pub guests: bool,
    /// Whether media of terminals is to be encrypted.
    pub srtp: SrtpPolicy,
    /// PIN that is asked of everybody, 4 to 16 digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Redacted<String>>,
    /// PIN that guests are asked for instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_pin: Option<Redacted<String>>,
}

/// One account of a terminal. The password is kept nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeAccount {
    /// User part of the terminal's address.
    pub user: String,
    /// `H(user:realm:password)` of RFC 7616 §3.4.2 by MD5, as 32 hexadecimal digits.
    pub md5: Redacted<String>,
    /// The same by SHA-256, as 64.
    pub sha256: Redacted<String>,
}

/// What the controller says of a directory: what it goes by now, and what it could not take up.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Held {
    /// Generation that is in force.
    pub generation: u64,
    /// Numbers that the configuration file gives to a room of its own.
    pub rooms: Vec<String>,
    /// Users that are accounts of the configuration file.
    pub accounts: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame;

    #[test]
    fn the_largest_directory_fits_into_one_frame() {
        let digits = |n: usize, len: usize| format!("{n:0len$}");
        let room = |n| MadeRoom {
            number: digits(n, 32),
            guests: false,
            srtp: SrtpPolicy::Required,
            pin: Some(Redacted(digits(n, 16))),
            guest_pin: Some(Redacted(digits(n, 16))),
        };
        let account = |n| MadeAccount {
            user: digits(n, 64),
            md5: Redacted(digits(n, 32)),
            sha256: Redacted(digits(n, 64)),
        };
        let whole = Directory {
            generation: u64::MAX,
            rooms: (0..MAX_ROOMS).map(room).collect(),
            accounts: (0..MAX_ACCOUNTS).map(account).collect(),
        };
        assert!(frame::encode(&whole).is_ok());
    }
}
