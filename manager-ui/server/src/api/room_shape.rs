//! What a room's pictures are like, and how many sites it takes, as they are asked for.

use mcu_api::directory::{CEILINGS, DEFAULT_FRAME_RATE, FRAME_RATES, SITES};
use serde::Deserialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// How the picture is composed that terminals get: the name of a layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Layout(mcu_api::layout::Layout);

impl Layout {
    pub(crate) fn as_str(self) -> &'static str {
        self.0.name()
    }
}

impl From<Layout> for mcu_api::layout::Layout {
    fn from(layout: Layout) -> Self {
        layout.0
    }
}

impl PartialSchema for Layout {
    fn schema() -> RefOr<Schema> {
        let names = mcu_api::layout::Layout::all().map(mcu_api::layout::Layout::name);
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("Name of a layout: see `/layouts`."))
            .enum_values(Some(names));
        text.into()
    }
}

impl ToSchema for Layout {}

/// Tallest picture that is sent to anybody and asked for, in lines: 180, 360, 540, 720 or 1,080. Without
/// it terminals have 720 at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(try_from = "u16")]
#[schema(value_type = u16, minimum = 180, maximum = 1080, multiple_of = 180)]
pub(crate) struct MaxHeight(u16);

impl TryFrom<u16> for MaxHeight {
    type Error = &'static str;

    fn try_from(lines: u16) -> Result<Self, Self::Error> {
        match CEILINGS.contains(&lines) {
            true => Ok(Self(lines)),
            false => Err("a picture has 180, 360, 540, 720 or 1,080 lines at most"),
        }
    }
}

impl From<MaxHeight> for i64 {
    fn from(lines: MaxHeight) -> Self {
        lines.0.into()
    }
}

/// Most pictures a second of terminals: 30, or 60 for those that take so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(try_from = "u8")]
#[schema(value_type = u8, minimum = 30, maximum = 60, multiple_of = 30)]
pub(crate) struct MaxFrameRate(u8);

impl Default for MaxFrameRate {
    fn default() -> Self {
        Self(DEFAULT_FRAME_RATE)
    }
}

impl TryFrom<u8> for MaxFrameRate {
    type Error = &'static str;

    fn try_from(rate: u8) -> Result<Self, Self::Error> {
        match FRAME_RATES.contains(&rate) {
            true => Ok(Self(rate)),
            false => Err("there are 30 or 60 pictures a second at most"),
        }
    }
}

impl From<MaxFrameRate> for i64 {
    fn from(rate: MaxFrameRate) -> Self {
        rate.0.into()
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
