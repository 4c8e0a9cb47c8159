//! What a room's pictures are like, and how many sites it takes, as they are asked for.

use mcu_api::directory::{CEILINGS, SITES};
use serde::Deserialize;
use utoipa::ToSchema;

/// How the picture is composed that terminals get: `equal` tiles, or who speaks large (`speaker`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Layout {
    #[default]
    Equal,
    Speaker,
}

impl Layout {
    pub(crate) fn as_str(self) -> &'static str {
        let layout = match self {
            Self::Equal => mcu_api::plan::Layout::Equal,
            Self::Speaker => mcu_api::plan::Layout::Speaker,
        };
        layout.as_str()
    }
}

/// Tallest picture that is sent to anybody and asked for, in lines: 180, 360, 540 or 720.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(try_from = "u16")]
#[schema(value_type = u16, minimum = 180, maximum = 720, multiple_of = 180)]
pub(crate) struct MaxHeight(u16);

impl TryFrom<u16> for MaxHeight {
    type Error = &'static str;

    fn try_from(lines: u16) -> Result<Self, Self::Error> {
        match CEILINGS.contains(&lines) {
            true => Ok(Self(lines)),
            false => Err("a picture has 180, 360, 540 or 720 lines at most"),
        }
    }
}

impl From<MaxHeight> for i64 {
    fn from(lines: MaxHeight) -> Self {
        lines.0.into()
    }
}

/// Most sites of a room, 2 to 1,000; those of all rooms hold besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(try_from = "u16")]
#[schema(value_type = u16, minimum = 2, maximum = 1000)]
pub(crate) struct MaxLegs(u16);

impl TryFrom<u16> for MaxLegs {
    type Error = &'static str;

    fn try_from(sites: u16) -> Result<Self, Self::Error> {
        match SITES.contains(&sites) {
            true => Ok(Self(sites)),
            false => Err("a room takes 2 to 1,000 sites at most"),
        }
    }
}

impl From<MaxLegs> for i64 {
    fn from(sites: MaxLegs) -> Self {
        sites.0.into()
    }
}
