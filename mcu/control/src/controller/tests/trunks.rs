//! Trunks that people made (MGT-01, MCU-03, VSEC-03): the root 0 with hospitals 1 and 2.

use mcu_api::call::{DialTarget, IncomingCall, RejectReason};
use mcu_api::directory::{Audience, Directory, MadeRoom, MadeTrunk, TrunkNumber};
use mcu_api::manager::ToControl;
use mcu_api::plan::NoticeText;
use mcu_api::secret::Redacted;

use super::bench::{Bench, MANAGER, TERMINAL_OFFER, incoming};
use super::dialling::wish;
use crate::config::{Config, RoomConfig, Trunk};
use crate::controller::Input;
use crate::dialplan::{Action, Pattern, RefusalCode, Rule};

fn room(number: &str, home: u32, pin: Option<&str>) -> MadeRoom {
    MadeRoom {
        number: number.into(),
        home: Some((home, home).into()),
        shared: Vec::new(),
        guests: pin.is_some(),
        srtp: Default::default(),
        shape: Default::default(),
        pin: None,
        guest_pin: pin.map(|pin| Redacted(pin.into())),
    }
}

fn trunk(name: &str, home: (u32, u32), prefix: &str, source: u8) -> MadeTrunk {
    MadeTrunk {
        name: name.into(),
        home: Some(home.into()),
        address: format!("{name}.example"),
        transport: None,
        domain: None,
        user: Some("hospital".into()),
        password: Some(Redacted("s3cret".into())),
        realm: None,
        register_s: Some(600),
        sources: vec![[10, 9, 0, source].into()],
        prefix: Some(prefix.into()),
        prepend: String::new(),
        numbers: Vec::new(),
    }
}

fn number(number: &str, room: &str) -> TrunkNumber {
    TrunkNumber {
        number: number.into(),
        room: room.into(),
    }
}

/// A room and a trunk of the file, whose rules refuse 999 and lead 8 to that trunk.
fn config() -> Config {
    let rule = |pattern, action| Rule {
        pattern,
        from_trunk: None,
        action,
    };
    let to_file = Action::Trunk {
        name: "file".into(),
        strip: 1,
        prepend: String::new(),
    };
    Config {
        rooms: vec![RoomConfig {
            number: "3000".into(),
            audience: Audience::everybody(),
            ..RoomConfig::default()
        }],
        trunks: vec![Trunk {
            name: "file".into(),
            address: "10.9.0.1:5060".parse().unwrap(),
            transport: None,
            domain: None,
            credentials: None,
            realm: None,
            sources: vec![[10, 9, 0, 1].into()],
            register: None,
            made: None,
        }],
        dialplan: vec![
            rule(
                Pattern::Number("9999".into()),
                Action::Refuse(RefusalCode::new(403).unwrap()),
            ),
            rule(Pattern::Prefix("8".into()), to_file),
        ],
        ..Config::default()
    }
}

impl Bench {
    fn with_trunks(trunks: Vec<MadeTrunk>) -> Self {
        let mut bench = Self::new(config());
        bench.go_by(1, trunks);
        bench
    }

    fn go_by(&mut self, generation: u64, trunks: Vec<MadeTrunk>) {
        let directory = Directory {
            generation,
            rooms: vec![
                room("1000", 1, None),
                room("1900", 1, Some("471147")),
                room("2000", 2, None),
            ],
            accounts: Vec::new(),
            trunks,
            shares: Default::default(),
        };
        self.input(Input::Manager(MANAGER, ToControl::Directory(directory)));
    }

    fn called(&self, room: &str, target: &str) -> Option<String> {
        let way = self.controller.way_to(&wish(room, target))?;
        match way.target {
            DialTarget::Uri { uri, .. } => Some(uri),
            DialTarget::Account(account) => Some(account),
        }
    }

    fn call_from(&mut self, call: u64, source: u8, number: &str) -> Option<NoticeText> {
        let offered = incoming(call, number, Some(TERMINAL_OFFER));
        let (leg, _) = self
            .dial_with(IncomingCall {
                remote: ([10, 9, 0, source], 5060).into(),
                ..offered
            })
            .ok()?;
        let mut plans = self.held.values().flat_map(|plan| &plan.legs);
        let waiting = plans.find(|plan| plan.id == leg).unwrap().waiting;
        Some(waiting.unwrap().text)
    }
}

#[test]
fn rooms_call_by_the_trunk_of_their_place_whose_prefix_is_dialled() {
    let mut long = trunk("mobile", (0, 2), "91", 4);
    long.prepend = "0".into();
    let bench = Bench::with_trunks(vec![
        trunk("region", (0, 2), "9", 2),
        trunk("east", (1, 1), "9", 3),
        long,
    ]);
    for (room, target, called) in [
        ("1000", "95551234", Some("sip:5551234@east.example")),
        ("2000", "95551234", Some("sip:5551234@region.example")),
        // A room of the file is at the root.
        ("3000", "95551234", Some("sip:5551234@region.example")),
        ("1000", "91234", Some("sip:0234@mobile.example")),
        ("1000", "85551234", Some("sip:5551234@10.9.0.1:5060")),
        ("1000", "9999", None),
        ("1000", "9", None),
        ("1000", "9abc", None),
        ("1000", "7123", None),
    ] {
        let found = bench.called(room, target);
        assert_eq!(found.as_deref(), called, "{target} of {room}");
    }
}

#[test]
fn a_number_of_a_trunk_leads_to_the_door_of_guests_and_through_no_wall() {
    let mut east = trunk("east", (1, 1), "9", 3);
    east.numbers = vec![
        number("5551234", "1900"),
        number("5550000", "1000"),
        number("5550001", "2000"),
        number("9999", "1900"),
    ];
    let mut bench = Bench::with_trunks(vec![east.clone()]);
    let told = bench.call_from(1, 3, "5551234");
    assert_eq!(told, Some(NoticeText::EnterPin));
    // No guests there; not the trunk's to lead to; refused by the file; another's call.
    for (call, source, number) in [
        (2, 3, "5550000"),
        (3, 3, "5550001"),
        (4, 3, "9999"),
        (5, 7, "5551234"),
    ] {
        assert_eq!(bench.call_from(call, source, number), None, "{number}");
    }
    bench.go_by(2, Vec::new());
    assert_eq!(bench.call_from(6, 3, "5551234"), None);
    assert_eq!(
        bench.dial(7, "5551234").unwrap_err(),
        RejectReason::NotFound
    );
}

#[test]
fn names_and_addresses_of_the_files_trunks_are_no_others() {
    let bench = Bench::with_trunks(vec![
        trunk("file", (0, 2), "9", 2),
        trunk("east", (1, 1), "7", 1),
        MadeTrunk {
            address: "not an address".into(),
            ..trunk("bad", (0, 2), "6", 5)
        },
    ]);
    let config = bench.controller.config();
    assert_eq!(config.held.trunks, ["file"]);
    let names: Vec<&str> = config.trunks.iter().map(|trunk| &*trunk.name).collect();
    assert_eq!(names, ["file", "east"]);
    assert!(config.trunks[1].sources.is_empty(), "they are the file's");
    assert_eq!(bench.called("1000", "95551234"), None);
    assert!(!format!("{config:?}").contains("s3cret"));
}
