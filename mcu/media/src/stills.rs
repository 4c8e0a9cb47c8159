//! Small pictures of a room for whoever looks on from outside, one every few seconds.
//!
//! They come after everything else: what is decoded for terminals is taken as it is, of a camera that
//! no terminal is shown the smallest layer is decoded, and all work that is done for stills alone waits
//! in the pool's second queue. What is lost or late is not asked for again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use mcu_api::ids::{LegId, RoomId};
use mcu_api::media::MediaEvent;
use mcu_api::plan::Layout;
use mcu_api::still::Still;

use crate::blame::{self, Sender};
use crate::picture::Done;
use crate::pool::{Job, Pool};
use crate::video::{Compositor, Frame, jpeg};

const WIDTH: u32 = 320;
const HEIGHT: u32 = 180;
/// From one still to the next.
const INTERVAL: Duration = Duration::from_secs(3);
/// From the wish to the first: key frames of all cameras come meanwhile.
const GATHER: Duration = Duration::from_millis(500);
/// Quantisers, finest first; the next is taken where the file is too long.
const QUANTISERS: [u8; 3] = [4, 12, 31];

/// A still that was made, and what made it.
pub struct Made {
    /// The room.
    pub room: RoomId,
    canvas: Box<Compositor>,
    still: Option<Still>,
}

/// The stills of one room.
pub struct Stills {
    room: RoomId,
    wanted: bool,
    /// None while a still is being made, and while none is wanted.
    canvas: Option<Box<Compositor>>,
    is_away: bool,
    /// The newest picture of each leg that is not on the canvas yet.
    fresh: HashMap<LegId, (Sender, Frame)>,
    /// Legs that the last one shows.
    tiles: Vec<LegId>,
    /// The last one that was told shows somebody.
    is_shown: bool,
    next: Instant,
}

impl Stills {
    /// None are wanted.
    pub fn new(room: RoomId, now: Instant) -> Self {
        Self {
            room,
            wanted: false,
            canvas: None,
            is_away: false,
            fresh: HashMap::new(),
            tiles: Vec::new(),
            is_shown: false,
            next: now,
        }
    }

    /// Whether stills are made from now on. Nothing stays of what was seen before.
    pub fn want(&mut self, now: Instant, wanted: bool) {
        if wanted == self.wanted {
            return;
        }
        self.wanted = wanted;
        self.canvas = None;
        self.fresh.clear();
        self.tiles.clear();
        self.is_shown = false;
        self.next = now + GATHER;
    }

    /// Whether stills are made.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// A picture of a leg.
    pub fn put(&mut self, leg: LegId, sender: Sender, frame: &Frame) {
        if self.wanted {
            self.fresh.insert(leg, (sender, frame.clone()));
        }
    }

    /// Only these legs are shown.
    pub fn retain(&mut self, tiles: &[LegId]) {
        self.fresh.retain(|leg, _| tiles.contains(leg));
    }

    /// Begins the next still, when it is due and would differ from the last.
    pub fn tick(&mut self, now: Instant, pool: &Pool<Done>, tiles: &[LegId]) {
        let tiles = &tiles[..tiles.len().min(Layout::Equal.max_tiles())];
        let differs = !self.fresh.is_empty() || self.tiles != tiles;
        if !self.wanted || self.is_away || now < self.next || !differs {
            return;
        }
        self.next = now + INTERVAL;
        self.tiles = tiles.to_vec();
        let canvas = self.canvas.take();
        let canvas = canvas.unwrap_or_else(|| Box::new(Compositor::new(WIDTH, HEIGHT)));
        let (room, tiles) = (self.room, self.tiles.clone());
        let fresh = std::mem::take(&mut self.fresh);
        let job: Job<Done> = Box::new(move || Done::Still(make(room, canvas, &tiles, fresh)));
        self.is_away = pool.submit_last(job);
    }

    /// Takes one that was made; what is to be told of it.
    pub fn take(&mut self, now: Instant, made: Made) -> Option<MediaEvent> {
        self.is_away = false;
        if !self.wanted {
            return None;
        }
        self.canvas = Some(made.canvas);
        let was_shown = std::mem::replace(&mut self.is_shown, made.still.is_some());
        if !self.is_shown {
            // The first that shows somebody is not to wait.
            self.next = now;
        }
        (was_shown || self.is_shown).then_some(MediaEvent::Still { still: made.still })
    }
}

fn make(
    room: RoomId,
    mut canvas: Box<Compositor>,
    tiles: &[LegId],
    fresh: HashMap<LegId, (Sender, Frame)>,
) -> Made {
    canvas.set_tiles(Layout::Equal, tiles);
    for (leg, (sender, frame)) in fresh {
        let _held = blame::hold(room, leg, sender);
        if let Err(error) = canvas.put(leg, &frame) {
            tracing::debug!(%leg, %error, "picture not put into the still");
        }
    }
    let still = match canvas.is_blank() {
        true => None,
        false => file_of(canvas.compose(0)),
    };
    Made {
        room,
        canvas,
        still,
    }
}

fn file_of(frame: &Frame) -> Option<Still> {
    QUANTISERS.into_iter().find_map(|quantiser| {
        let file = jpeg::encode(frame, quantiser);
        let file = file.inspect_err(|error| tracing::error!(%error, "still not encoded"));
        Still::new(file.ok()?)
    })
}
