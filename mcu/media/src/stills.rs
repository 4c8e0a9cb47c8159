//! Small pictures of a room for whoever looks on from outside, one every few seconds.
//!
//! They come after everything else: what is decoded for terminals is taken as it is, of a camera that
//! no terminal is shown the smallest layer is decoded, and all work that is done for stills alone waits
//! in the pool's second queue. What is lost or late is not asked for again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use mcu_api::ids::{LegId, RoomId};
use mcu_api::layout::Layout;
use mcu_api::media::MediaEvent;
use mcu_api::still::Still;

use crate::blame::{self, Sender};
use crate::picture::Done;
use crate::picture::STILL_TILES;
use crate::pool::{Job, Pool};
use crate::video::{Compositor, Frame, jpeg};

/// Samples of a row of a still.
pub const WIDTH: u32 = 320;
/// Its rows.
pub const HEIGHT: u32 = 180;
/// From one still to the next.
const INTERVAL: Duration = Duration::from_secs(3);
/// From the wish to the first: key frames of all cameras come meanwhile.
const GATHER: Duration = Duration::from_millis(500);
/// A leg whose last picture is older is not shown as if it were now.
const STALE: Duration = Duration::from_secs(8);
/// Quantisers, finest first; the next is taken where the file is too long.
const QUANTISERS: [u8; 3] = [4, 12, 31];

/// A still that was made, and what made it.
pub struct Made {
    /// The room.
    pub room: RoomId,
    /// Of which wish.
    wish: u64,
    canvas: Box<Compositor>,
    outcome: Outcome,
}

enum Outcome {
    Still(Still),
    /// Nobody is to be seen.
    Blank,
    Failed,
}

/// The stills of one room.
pub struct Stills {
    room: RoomId,
    wanted: bool,
    /// Counts wishes: what was made for a former one is not shown.
    wish: u64,
    /// None while a still is being made, and while none is wanted.
    canvas: Option<Box<Compositor>>,
    is_away: bool,
    /// The newest picture of each leg that is not on the canvas yet.
    fresh: HashMap<LegId, (Sender, Frame)>,
    /// When the last picture of each leg came.
    seen: HashMap<LegId, Instant>,
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
            wish: 0,
            canvas: None,
            is_away: false,
            fresh: HashMap::new(),
            seen: HashMap::new(),
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
        self.wish += 1;
        self.is_away = false;
        self.canvas = None;
        self.fresh.clear();
        self.seen.clear();
        self.tiles.clear();
        self.is_shown = false;
        self.next = now + GATHER;
    }

    /// Whether stills are made.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// A picture of a leg.
    pub fn put(&mut self, now: Instant, leg: LegId, sender: Sender, frame: &Frame) {
        if self.wanted {
            self.fresh.insert(leg, (sender, frame.clone()));
            self.seen.insert(leg, now);
        }
    }

    /// Only these legs are shown.
    pub fn retain(&mut self, tiles: &[LegId]) {
        self.fresh.retain(|leg, _| tiles.contains(leg));
        self.seen.retain(|leg, _| tiles.contains(leg));
    }

    /// Begins the next still, when it is due and would differ from the last.
    pub fn tick(&mut self, now: Instant, pool: &Pool<Done>, tiles: &[LegId]) {
        if !self.wanted || self.is_away || now < self.next {
            return;
        }
        let tiles = &tiles[..tiles.len().min(STILL_TILES)];
        let is_now = |leg: &LegId| {
            let last = self.seen.get(leg);
            last.is_none_or(|last| now.saturating_duration_since(*last) < STALE)
        };
        let tiles: Vec<LegId> = tiles.iter().copied().filter(is_now).collect();
        if self.fresh.is_empty() && self.tiles == tiles {
            return;
        }
        self.next = now + INTERVAL;
        let canvas = self.canvas.take();
        let canvas = canvas.unwrap_or_else(|| Box::new(Compositor::new(WIDTH, HEIGHT)));
        let (room, wish, shown) = (self.room, self.wish, tiles.clone());
        let fresh = std::mem::take(&mut self.fresh);
        let job: Job<Done> =
            Box::new(move || Done::Still(make((room, wish), canvas, &tiles, fresh)));
        self.is_away = pool.submit_last(job);
        if self.is_away {
            self.tiles = shown;
        }
    }

    /// Takes one that was made; what is to be told of it.
    pub fn take(&mut self, now: Instant, made: Made) -> Option<MediaEvent> {
        if !self.wanted || made.wish != self.wish {
            return None;
        }
        self.is_away = false;
        self.canvas = Some(made.canvas);
        let still = match made.outcome {
            Outcome::Still(still) => Some(still),
            Outcome::Blank => {
                // The first that shows somebody is not to wait.
                self.next = now;
                None
            }
            Outcome::Failed => None,
        };
        let was_shown = std::mem::replace(&mut self.is_shown, still.is_some());
        (was_shown || self.is_shown).then_some(MediaEvent::Still { still })
    }
}

fn make(
    (room, wish): (RoomId, u64),
    mut canvas: Box<Compositor>,
    tiles: &[LegId],
    fresh: HashMap<LegId, (Sender, Frame)>,
) -> Made {
    canvas.set_tiles(Layout::default(), tiles);
    for (leg, (sender, frame)) in fresh {
        let _held = blame::hold(room, leg, sender);
        if let Err(error) = canvas.put(leg, &frame) {
            tracing::debug!(%leg, %error, "picture not put into the still");
        }
    }
    let outcome = match canvas.is_blank() {
        true => Outcome::Blank,
        false => file_of(canvas.compose(0)),
    };
    Made {
        room,
        wish,
        canvas,
        outcome,
    }
}

fn file_of(frame: &Frame) -> Outcome {
    for quantiser in QUANTISERS {
        match jpeg::encode(frame, quantiser) {
            Ok(file) => {
                if let Some(still) = Still::new(file) {
                    return Outcome::Still(still);
                }
            }
            Err(error) => {
                tracing::error!(%error, "still not encoded");
                break;
            }
        }
    }
    Outcome::Failed
}
