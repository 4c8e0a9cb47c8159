//! What a server can take, as ports: so many terminals of each class, by what it has measured of itself
//! and by how an administrator shares that out (MCU-05).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Classes of ports, dearest first. Who finds none of its class free has the next one that is smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortClass {
    /// A terminal with pictures of up to 1,080 lines.
    FullHd,
    /// Of up to 720 lines.
    Hd,
    /// Of up to 576 lines: CIF, 4CIF, 360p.
    Sd,
    /// A browser.
    Browser,
    /// A telephone, or a terminal without pictures.
    Sound,
}

impl PortClass {
    /// Each of them.
    pub const ALL: [Self; 5] = [Self::FullHd, Self::Hd, Self::Sd, Self::Browser, Self::Sound];

    /// Name on the wire, `full_hd`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FullHd => "full_hd",
            Self::Hd => "hd",
            Self::Sd => "sd",
            Self::Browser => "browser",
            Self::Sound => "sound",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// That of a terminal whose pictures have so many lines at most.
    pub const fn of_height(lines: u16) -> Self {
        match lines {
            0 => Self::Sound,
            1..=576 => Self::Sd,
            577..=720 => Self::Hd,
            _ => Self::FullHd,
        }
    }

    /// Lines of the tallest pictures of a terminal of this class.
    pub const fn max_height(self) -> u16 {
        match self {
            Self::FullHd => 1_080,
            Self::Hd => 720,
            Self::Sd => 576,
            Self::Browser | Self::Sound => 0,
        }
    }
}

/// What a media processor has measured of itself at its start.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Measured {
    /// Processors that it may use.
    pub processors: f32,
    /// What one port of each class takes, in thousandths of a processor.
    pub millicores: BTreeMap<PortClass, f32>,
}

/// How an administrator shares the server out: per cent of it that are kept for a class. What is kept
/// for none is for whoever comes first.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<PortClass, u8>", into = "BTreeMap<PortClass, u8>")]
pub struct Shares(BTreeMap<PortClass, u8>);

/// More than the whole was shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("shares come to {0} per cent, and there are 100")]
pub struct TooMuch(pub u32);

impl TryFrom<BTreeMap<PortClass, u8>> for Shares {
    type Error = TooMuch;

    /// # Errors
    /// When they come to more than 100.
    fn try_from(mut shares: BTreeMap<PortClass, u8>) -> Result<Self, TooMuch> {
        shares.retain(|_, share| *share > 0);
        let sum = shares.values().map(|share| u32::from(*share)).sum();
        match sum {
            0..=100 => Ok(Self(shares)),
            _ => Err(TooMuch(sum)),
        }
    }
}

impl From<Shares> for BTreeMap<PortClass, u8> {
    fn from(shares: Shares) -> Self {
        shares.0
    }
}

impl Shares {
    /// Per cent that are kept for a class.
    pub fn of(&self, class: PortClass) -> u8 {
        self.0.get(&class).copied().unwrap_or_default()
    }

    fn common(&self) -> u8 {
        100 - self.0.values().sum::<u8>()
    }
}

/// Ports of one class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ports {
    /// The class.
    pub class: PortClass,
    /// What one takes, in thousandths of a processor.
    pub millicores: f32,
    /// Those that are taken.
    pub used: u32,
    /// So many more of this class could come, if none of another came.
    pub free: u32,
    /// Per cent of the server that are kept for the class.
    pub share: u8,
}

/// Ports of each class where so many are `used`, of a server of which calls may take `millicores`
/// thousandths of a processor. None where nothing was measured.
pub fn ports(
    measured: &Measured,
    millicores: f32,
    shares: &Shares,
    used: &BTreeMap<PortClass, u32>,
) -> Vec<Ports> {
    let part = |share: u8| millicores * f32::from(share) / 100.0;
    let known = PortClass::ALL.into_iter().filter_map(|class| {
        let cost = measured.millicores.get(&class).copied()?;
        (cost > 0.0).then(|| {
            let used = used.get(&class).copied().unwrap_or_default();
            (
                class,
                cost,
                used,
                part(shares.of(class)) - used as f32 * cost,
            )
        })
    });
    let known: Vec<_> = known.collect();
    // A class that takes more than is kept for it takes that of what is kept for none.
    let taken: f32 = known.iter().map(|(.., rest)| (-rest).max(0.0)).sum();
    let common = (part(shares.common()) - taken).max(0.0);
    let all: f32 = known
        .iter()
        .map(|(_, cost, used, _)| *used as f32 * cost)
        .sum();
    let left = (millicores - all).max(0.0);
    let ports = known.into_iter().map(|(class, cost, used, rest)| Ports {
        class,
        millicores: cost,
        used,
        // A thousandth of a port is lost to rounding, and not the port.
        free: ((rest.max(0.0) + common).min(left) / cost + 0.001) as u32,
        share: shares.of(class),
    });
    ports.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Measured {
        Measured {
            processors: 2.0,
            millicores: [
                (PortClass::FullHd, 90.0),
                (PortClass::Hd, 40.0),
                (PortClass::Sd, 20.0),
                (PortClass::Sound, 1.0),
            ]
            .into(),
        }
    }

    fn free(shares: &[(PortClass, u8)], used: &[(PortClass, u32)]) -> Vec<(PortClass, u32)> {
        let shares = Shares::try_from(BTreeMap::from_iter(shares.iter().copied())).unwrap();
        let used = BTreeMap::from_iter(used.iter().copied());
        let ports = ports(&measured(), 180.0, &shares, &used);
        ports
            .iter()
            .map(|ports| (ports.class, ports.free))
            .collect()
    }

    #[test]
    fn what_is_kept_for_none_is_for_whoever_comes_first() {
        use PortClass::{FullHd, Hd, Sd, Sound};
        let all = free(&[], &[]);
        assert_eq!(all, [(FullHd, 2), (Hd, 4), (Sd, 9), (Sound, 180)]);
        let some = free(&[], &[(FullHd, 1), (Sd, 2)]);
        assert_eq!(some, [(FullHd, 0), (Hd, 1), (Sd, 2), (Sound, 50)]);
        // More than there is, as after a measurement that found less.
        assert!(free(&[], &[(FullHd, 9)]).iter().all(|(_, free)| *free == 0));
    }

    #[test]
    fn what_is_kept_for_a_class_is_not_taken_by_others() {
        use PortClass::{FullHd, Hd, Sd, Sound};
        let half = free(&[(FullHd, 50)], &[]);
        assert_eq!(half, [(FullHd, 2), (Hd, 2), (Sd, 4), (Sound, 90)]);
        let full = free(&[(FullHd, 50)], &[(Sd, 4), (Sound, 10)]);
        assert_eq!(full, [(FullHd, 1), (Hd, 0), (Sd, 0), (Sound, 0)]);
        // Two of 1,080 lines become nine of 576, MCU-05.
        let tall = free(&[(FullHd, 100)], &[]);
        assert_eq!(tall, [(FullHd, 2), (Hd, 0), (Sd, 0), (Sound, 0)]);
        let small = free(&[(Sd, 100)], &[]);
        assert_eq!(small, [(FullHd, 0), (Hd, 0), (Sd, 9), (Sound, 0)]);
    }

    #[test]
    fn no_more_than_the_whole_is_shared_out() {
        let much = BTreeMap::from([(PortClass::Hd, 60), (PortClass::Sd, 50)]);
        assert_eq!(Shares::try_from(much), Err(TooMuch(110)));
        let told = r#"{"hd":60,"sd":50}"#;
        assert!(serde_json::from_str::<Shares>(told).is_err());
        let told = r#"{"hd":60,"sd":0}"#;
        let shares: Shares = serde_json::from_str(told).unwrap();
        assert_eq!(serde_json::to_string(&shares).unwrap(), r#"{"hd":60}"#);
    }

    #[test]
    fn a_terminal_is_of_the_class_of_its_tallest_picture() {
        for class in PortClass::ALL {
            assert_eq!(PortClass::named(class.name()), Some(class));
            if class != PortClass::Browser {
                assert_eq!(PortClass::of_height(class.max_height()), class);
            }
        }
        assert_eq!(PortClass::of_height(288), PortClass::Sd);
        assert_eq!(PortClass::of_height(1_200), PortClass::FullHd);
    }
}
