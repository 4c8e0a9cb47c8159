//! Rooms and accounts that people made by page or API: what the manager's database holds, and the
//! controller goes by beside its configuration file. Whose they are is told by numbers alone, so that
//! tenants do not reach each other (MGT-05).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::call::SrtpPolicy;
use crate::capacity::Shares;
use crate::layout::Layout;
use crate::secret::Redacted;

/// Most rooms. With as many accounts as there may be, the whole fits into one frame ([`crate::frame::MAX_BODY_LEN`]).
pub const MAX_ROOMS: usize = 5_000;
/// Most accounts.
pub const MAX_ACCOUNTS: usize = 10_000;
/// Most shares of all rooms together.
pub const MAX_SHARES: usize = 20_000;
/// Most trunks.
pub const MAX_TRUNKS: usize = 64;
/// Most numbers of one trunk that lead to rooms, and most addresses that calls of it come from.
pub const MAX_TRUNK_NUMBERS: usize = 32;
/// See [`MAX_TRUNK_NUMBERS`].
pub const MAX_TRUNK_SOURCES: usize = 16;

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
    /// Trunks, each name once.
    pub trunks: Vec<MadeTrunk>,
    /// How the ports of the server are shared out.
    pub shares: Shares,
}

/// A part of the tree of tenants: one place and all below it. Places have the numbers 0, 1, 2 and so on,
/// each before those below it and these before all others, so that what is below is a range. The numbers
/// mean something within one directory only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u32)", into = "(u32, u32)")]
pub struct Branch {
    /// The place.
    pub first: u32,
    /// The last one below it; itself if there is none.
    pub last: u32,
}

impl From<(u32, u32)> for Branch {
    fn from((first, last): (u32, u32)) -> Self {
        Self { first, last }
    }
}

impl From<Branch> for (u32, u32) {
    fn from(branch: Branch) -> Self {
        (branch.first, branch.last)
    }
}

impl Branch {
    /// Whether the other place is this one or below it.
    pub const fn includes(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }
}

/// Where an account or a room belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Home {
    /// To whoever runs the server: it reaches all, and is for all.
    Everywhere,
    /// To one place of the tree.
    At(Branch),
    /// Nobody has said so yet: it is a stranger to all that belongs somewhere.
    #[default]
    Unknown,
}

/// Whose accounts are no strangers to a room.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Audience {
    /// Where the room belongs.
    pub home: Home,
    /// Further places whose accounts may enter, with those below.
    pub shared: Vec<Branch>,
}

impl Audience {
    /// That of a room for all.
    pub const fn everybody() -> Self {
        Self {
            home: Home::Everywhere,
            shared: Vec::new(),
        }
    }

    /// Whether an account that belongs there is no stranger: at the room's home, below or above it, or
    /// at a place with which it is shared or below. Two places that only have one above in common are
    /// strangers to each other.
    pub fn includes(&self, account: Home) -> bool {
        let account = match (self.home, account) {
            (Home::Everywhere, _) | (_, Home::Everywhere) => return true,
            (_, Home::Unknown) => return false,
            (_, Home::At(account)) => account,
        };
        let is_home = match self.home {
            Home::At(home) => home.includes(account) || account.includes(home),
            Home::Everywhere | Home::Unknown => false,
        };
        is_home || self.shared.iter().any(|shared| shared.includes(account))
    }
}

impl From<Option<Branch>> for Home {
    fn from(told: Option<Branch>) -> Self {
        told.map_or(Self::Unknown, Self::At)
    }
}

/// Heights in lines that may be a room's ceiling, tallest first.
pub const CEILINGS: [u16; 5] = [1_080, 720, 540, 360, 180];
/// Pictures a second that may be a room's bound.
pub const FRAME_RATES: [u8; 2] = [60, 30];
/// The bound where none is said.
pub const DEFAULT_FRAME_RATE: u8 = 30;
/// Most and least sites that may be a room's bound. What all rooms have as their bound holds besides.
pub const SITES: std::ops::RangeInclusive<u16> = 2..=1_000;

/// What pictures a room has, and how many sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ShapeOnWire", into = "ShapeOnWire")]
pub struct Shape {
    /// How the picture is composed that terminals get.
    pub layout: Layout,
    /// Tallest picture that is sent, and asked for, in lines. Without it terminals have 720.
    pub max_height: Option<u16>,
    /// Most pictures a second of terminals.
    pub max_frame_rate: u8,
    /// Most legs.
    pub max_legs: Option<u16>,
    /// The composed picture has names and marks.
    pub captions: bool,
}

impl Default for Shape {
    fn default() -> Self {
        ShapeOnWire::default().into()
    }
}

/// The same, so that older processes can read it, and newer ones be read.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct ShapeOnWire {
    /// What an older process is to show.
    layout: String,
    /// The layout.
    layout_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_height: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_legs: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_frame_rate: Option<u8>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    without_captions: bool,
}

impl From<ShapeOnWire> for Shape {
    fn from(wire: ShapeOnWire) -> Self {
        let named = wire.layout_name.as_deref().and_then(Layout::named);
        let known = named.or_else(|| Layout::named(&wire.layout));
        Self {
            layout: known.unwrap_or_default(),
            max_height: wire.max_height,
            max_frame_rate: wire.max_frame_rate.unwrap_or(DEFAULT_FRAME_RATE),
            max_legs: wire.max_legs,
            captions: !wire.without_captions,
        }
    }
}

impl From<Shape> for ShapeOnWire {
    fn from(shape: Shape) -> Self {
        Self {
            layout: shape.layout.for_older().to_owned(),
            layout_name: Some(shape.layout.name().to_owned()),
            max_height: shape.max_height,
            max_frame_rate: Some(shape.max_frame_rate),
            max_legs: shape.max_legs,
            without_captions: !shape.captions,
        }
    }
}

/// One room.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MadeRoom {
    /// Number that is dialled.
    pub number: String,
    /// Where it belongs; an older manager does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<Branch>,
    /// Further places whose accounts may enter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared: Vec<Branch>,
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
    /// Its pictures, and how many sites it takes.
    #[serde(default)]
    pub shape: Shape,
}

/// One account of a terminal. The password is kept nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeAccount {
    /// User part of the terminal's address.
    pub user: String,
    /// Where it belongs; an older manager does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<Branch>,
    /// `H(user:realm:password)` of RFC 7616 §3.4.2 by MD5, as 32 hexadecimal digits.
    pub md5: Redacted<String>,
    /// The same by SHA-256, as 64.
    pub sha256: Redacted<String>,
}

/// Another server that calls come from and go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeTrunk {
    /// What the log calls it.
    pub name: String,
    /// Where it belongs: rooms there and below call by it, and are led to by its numbers.
    #[serde(default)]
    pub home: Option<Branch>,
    /// `HOST` or `HOST:PORT`.
    pub address: String,
    /// How calls go there; as DNS says if not given.
    #[serde(default)]
    pub transport: Option<TrunkTransport>,
    /// Host part of its addresses, if not the address.
    #[serde(default)]
    pub domain: Option<String>,
    /// Who we are there.
    #[serde(default)]
    pub user: Option<String>,
    /// Our password there.
    #[serde(default)]
    pub password: Option<Redacted<String>>,
    /// The realm whose challenges are answered; its own host's if not given.
    #[serde(default)]
    pub realm: Option<String>,
    /// Whether, and for how many seconds at a time, we register there.
    #[serde(default)]
    pub register_s: Option<u32>,
    /// Calls from these addresses are its calls.
    #[serde(default)]
    pub sources: Vec<IpAddr>,
    /// Numbers that begin so, and that rooms call, go to it without that.
    #[serde(default)]
    pub prefix: Option<String>,
    /// What it is told before the rest of a number.
    #[serde(default)]
    pub prepend: String,
    /// Numbers that it calls, and the rooms that they lead to.
    #[serde(default)]
    pub numbers: Vec<TrunkNumber>,
}

/// A number by which callers of a trunk reach a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrunkNumber {
    /// The number as the trunk calls it.
    pub number: String,
    /// Number of the room.
    pub room: String,
}

/// What is spoken with a trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrunkTransport {
    /// Datagrams.
    Udp,
    /// A connection in clear.
    Tcp,
    /// The same inside TLS.
    Tls,
}

/// How a trunk does, of the configuration file or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrunkState {
    /// Its name.
    pub name: String,
    /// People made it.
    pub made: bool,
    /// Whether we are registered there; `None` where we do not register.
    pub registered: Option<bool>,
    /// Since when that is so, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Why we were not registered last.
    pub failure: Option<String>,
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
    /// Names that are trunks of the configuration file.
    #[serde(default)]
    pub trunks: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame;

    #[test]
    fn the_largest_directory_fits_into_one_frame() {
        let digits = |n: usize, len: usize| format!("{n:0len$}");
        let branch = Branch {
            first: 9_999_999,
            last: 9_999_999,
        };
        let room = |n| MadeRoom {
            number: digits(n, 32),
            home: Some(branch),
            shared: vec![branch; MAX_SHARES / MAX_ROOMS],
            guests: false,
            srtp: SrtpPolicy::Required,
            pin: Some(Redacted(digits(n, 16))),
            guest_pin: Some(Redacted(digits(n, 16))),
            shape: Shape {
                layout: Layout::named("picture_in_picture_upper").unwrap(),
                max_height: Some(u16::MAX),
                max_frame_rate: 60,
                max_legs: Some(u16::MAX),
                captions: false,
            },
        };
        let account = |n| MadeAccount {
            user: digits(n, 64),
            home: Some(branch),
            md5: Redacted(digits(n, 32)),
            sha256: Redacted(digits(n, 64)),
        };
        let trunk = |n| MadeTrunk {
            name: digits(n, 32),
            home: Some(branch),
            address: digits(n, 260),
            transport: Some(TrunkTransport::Udp),
            domain: Some(digits(n, 253)),
            user: Some(digits(n, 64)),
            password: Some(Redacted(digits(n, 128))),
            realm: Some(digits(n, 128)),
            register_s: Some(u32::MAX),
            sources: vec![IpAddr::from([0xff; 16]); MAX_TRUNK_SOURCES],
            prefix: Some(digits(n, 16)),
            prepend: digits(n, 16),
            numbers: vec![
                TrunkNumber {
                    number: digits(n, 32),
                    room: digits(n, 32),
                };
                MAX_TRUNK_NUMBERS
            ],
        };
        let whole = Directory {
            shares: Shares::default(),
            generation: u64::MAX,
            rooms: (0..MAX_ROOMS).map(room).collect(),
            accounts: (0..MAX_ACCOUNTS).map(account).collect(),
            trunks: (0..MAX_TRUNKS).map(trunk).collect(),
        };
        assert!(frame::encode(&whole).is_ok());
    }
    /// The tree of the tests: the root 0, hospital 1 with departments 2 and 3, hospital 4 with 5.
    fn at(first: u32, last: u32) -> Home {
        Home::At(Branch { first, last })
    }

    #[test]
    fn a_place_is_no_stranger_to_what_is_above_and_below_it_and_to_nothing_beside_it() {
        let places = [at(0, 5), at(1, 3), at(2, 2), at(3, 3), at(4, 5), at(5, 5)];
        let known = [
            [true, true, true, true, true, true],
            [true, true, true, true, false, false],
            [true, true, true, false, false, false],
            [true, true, false, true, false, false],
            [true, false, false, false, true, true],
            [true, false, false, false, true, true],
        ];
        for (home, expected) in places.into_iter().zip(known) {
            let room = Audience {
                home,
                shared: Vec::new(),
            };
            let found = places.map(|account| room.includes(account));
            assert_eq!(found, expected, "{home:?}");
        }
    }

    #[test]
    fn a_share_is_for_a_place_and_what_is_below_it_and_what_is_unknown_is_a_stranger() {
        let room = Audience {
            home: at(5, 5),
            shared: vec![Branch { first: 1, last: 3 }],
        };
        for (account, is_known) in [
            (at(1, 3), true),
            (at(2, 2), true),
            (at(0, 5), true),
            (Home::Everywhere, true),
            (Home::Unknown, false),
        ] {
            assert_eq!(room.includes(account), is_known, "{account:?}");
        }
        let of_a_department = Audience {
            shared: vec![Branch { first: 2, last: 2 }],
            ..room
        };
        assert!(!of_a_department.includes(at(1, 3)), "above a share");
        assert!(!of_a_department.includes(at(3, 3)));
        let untold = Audience::default();
        assert!(!untold.includes(at(0, 5)) && !untold.includes(Home::Unknown));
        assert!(untold.includes(Home::Everywhere));
        assert!(Audience::everybody().includes(Home::Unknown));
    }

    #[test]
    fn an_older_process_reads_of_a_layout_the_nearest_that_it_knows() {
        let shape = Shape {
            layout: Layout::named("1_12").unwrap(),
            max_height: Some(360),
            max_frame_rate: 60,
            max_legs: None,
            captions: false,
        };
        let written = serde_json::to_value(shape).unwrap();
        assert_eq!(written["layout"], "speaker");
        assert_eq!(serde_json::from_value::<Shape>(written).unwrap(), shape);
        let read = |text: &str| serde_json::from_str::<Shape>(text).unwrap().layout.name();
        assert_eq!(read(r#"{"layout":"speaker"}"#), "speaker");
        let of_tomorrow = r#"{"layout":"speaker","layout_name":"of tomorrow"}"#;
        assert_eq!(read(of_tomorrow), "speaker");
        assert_eq!(read("{}"), "equal");
    }

    #[test]
    fn what_an_older_version_kept_is_read_and_belongs_nowhere() {
        let kept = r#"{"generation":7,
            "rooms":[{"number":"4000","guests":false,"srtp":"Allowed"}],
            "accounts":[{"user":"ward","md5":"a","sha256":"b"}]}"#;
        let read: Directory = serde_json::from_str(kept).unwrap();
        assert_eq!(read.rooms[0].home, None);
        assert_eq!(read.accounts[0].home, None);
        let branch = Branch { first: 1, last: 3 };
        assert_eq!(serde_json::to_string(&branch).unwrap(), "[1,3]");
    }
}
