//! Legs that are shown alone: encoded anew for receivers that do not take their codec.

use std::collections::HashMap;

use mcu_api::codec::VideoCodec;
use mcu_api::ids::LegId;
use mcu_api::layout::Layout;

use crate::video::{Colour, Compositor, Frame};

/// The newest picture of each such leg.
#[derive(Default)]
pub struct Alone {
    legs: HashMap<LegId, Shown>,
}

struct Shown {
    /// Lines of the tallest picture that is made of it.
    height: u16,
    newest: Option<Frame>,
}

impl Alone {
    /// The legs from now on, each with lines of a picture that is made of it.
    pub fn set(&mut self, wanted: impl Iterator<Item = (LegId, u16)>) {
        let mut legs: HashMap<LegId, Shown> = HashMap::new();
        for (leg, height) in wanted {
            let known = self.legs.remove(&leg);
            let shown = legs.entry(leg).or_insert_with(|| Shown {
                height: 0,
                newest: known.and_then(|shown| shown.newest),
            });
            shown.height = shown.height.max(height);
        }
        self.legs = legs;
    }

    /// The leg is gone.
    pub fn remove(&mut self, leg: LegId) {
        self.legs.remove(&leg);
    }

    /// Lines of the tallest picture that is made of the leg; `None` where none is.
    pub fn height(&self, leg: LegId) -> Option<u16> {
        self.legs.get(&leg).map(|shown| shown.height)
    }

    /// A picture of a leg was decoded.
    pub fn put(&mut self, leg: LegId, frame: &Frame) {
        if let Some(shown) = self.legs.get_mut(&leg) {
            shown.newest = Some(frame.clone());
        }
    }

    /// Its newest picture.
    pub fn newest(&self, leg: LegId) -> Option<&Frame> {
        self.legs.get(&leg)?.newest.as_ref()
    }
}

/// Brings a picture of a leg to this size, by a canvas that is kept for the next.
pub fn fit(
    (leg, picture): (LegId, &Frame),
    (codec, (width, height)): (VideoCodec, (u32, u32)),
    canvas: Option<Box<Compositor>>,
    pts: i64,
) -> (Box<Compositor>, Frame) {
    let mut canvas = canvas.unwrap_or_else(|| {
        // VP8 has no other colours than BT.601 (RFC 6386 §9.2).
        let colour = match codec {
            VideoCodec::Vp8 => Colour::BT601,
            _ => Colour::guess(width, height),
        };
        Box::new(Compositor::of_colour(width, height, colour))
    });
    canvas.set_tiles(Layout::default(), &[leg]);
    if let Err(error) = canvas.put(leg, picture) {
        tracing::debug!(%leg, %error, "picture not brought to size");
    }
    let picture = canvas.compose(pts).clone();
    (canvas, picture)
}
