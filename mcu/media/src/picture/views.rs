//! Composed pictures of a room: that of the room, and those of legs that see another one.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use mcu_api::ids::LegId;
use mcu_api::layout::Canvas;

use super::MAX_LEFT_TICKS;
use crate::video::{Compositor, Frame, Spot, layout};

/// What a view is called in plans; `None` is the room's.
pub type ViewName = Option<String>;

/// What a composed picture shows.
#[derive(Clone, Debug, Default)]
pub struct Composition {
    /// Ratio of the sides.
    pub canvas: Canvas,
    /// What lies where. Who speaks is marked by [`Views`].
    pub spots: Vec<Spot>,
    /// Somebody receives it.
    pub is_watched: bool,
}

/// All of them.
pub struct Views {
    views: HashMap<ViewName, View>,
    speaker: Option<LegId>,
}

/// One of them.
pub struct View {
    /// Samples of a row, and rows.
    pub size: (u32, u32),
    /// What lies where, with the mark of who speaks.
    pub spots: Arc<[Spot]>,
    /// Somebody receives it.
    pub is_watched: bool,
    /// A composition is under way.
    pub is_away: bool,
    /// At home when none is; none before the first.
    pub canvas: Option<Box<Compositor>>,
    /// Pictures of each leg that are not on the canvas yet.
    fresh: HashMap<LegId, Fresh>,
}

impl Views {
    /// The room's alone, and nothing in it.
    pub fn new() -> Self {
        let mut views = Self {
            views: HashMap::new(),
            speaker: None,
        };
        views.set(HashMap::from([(None, Composition::default())]));
        views
    }

    /// These from now on. What stays keeps its pictures.
    pub fn set(&mut self, wanted: HashMap<ViewName, Composition>) {
        self.views.retain(|name, _| wanted.contains_key(name));
        for (name, composition) in wanted {
            let view = self.views.entry(name).or_insert_with(View::new);
            view.size = size_of(composition.canvas);
            view.is_watched = composition.is_watched;
            view.spots = composition.spots.into();
            let spots = &view.spots;
            let shows = |leg| spots.iter().any(|spot| spot.leg == leg && !spot.is_held);
            view.fresh.retain(|leg, _| shows(*leg));
            view.mark(self.speaker);
        }
    }

    /// Who speaks.
    pub fn set_speaker(&mut self, speaker: Option<LegId>) {
        if self.speaker == speaker {
            return;
        }
        self.speaker = speaker;
        for view in self.views.values_mut() {
            view.mark(speaker);
        }
    }

    /// The leg is gone.
    pub fn remove(&mut self, leg: LegId) {
        for view in self.views.values_mut() {
            if view.spots.iter().any(|spot| spot.leg == leg) {
                let rest = view.spots.iter().filter(|spot| spot.leg != leg);
                view.spots = rest.cloned().collect();
            }
            view.fresh.remove(&leg);
        }
    }

    /// A picture of a leg was decoded.
    pub fn put(&mut self, leg: LegId, frame: &Frame) {
        let showing = self.views.values_mut();
        for view in showing.filter(|view| view.is_watched && view.shows(leg)) {
            view.fresh.entry(leg).or_default().push(frame.clone());
        }
    }

    /// Nothing new comes of the leg.
    pub fn forget(&mut self, leg: LegId) {
        for view in self.views.values_mut() {
            view.fresh.remove(&leg);
        }
    }

    /// One of them.
    pub fn get_mut(&mut self, name: &ViewName) -> Option<&mut View> {
        self.views.get_mut(name)
    }

    /// Their names.
    pub fn names(&self) -> Vec<ViewName> {
        self.views.keys().cloned().collect()
    }

    /// Legs whose picture the room's shows, in the order of its cells.
    pub fn room_tiles(&self) -> Vec<LegId> {
        let room = self.views.get(&None);
        let spots = room.map_or(&[][..], |view| &view.spots);
        let spots = spots.iter().filter(|spot| !spot.is_held);
        spots.map(|spot| spot.leg).collect()
    }

    /// Lines of the tallest picture of the leg in what somebody receives; `None` where there is none.
    pub fn height(&self, leg: LegId) -> Option<u16> {
        let watched = self.views.values().filter(|view| view.is_watched);
        watched.filter_map(|view| view.height(leg)).max()
    }

    /// Whether any of them has a place for the leg's picture, seen by somebody or not.
    pub fn has(&self, leg: LegId) -> bool {
        self.views.values().any(|view| view.shows(leg))
    }
}

impl View {
    fn new() -> Self {
        Self {
            size: size_of(Canvas::default()),
            spots: Arc::default(),
            is_watched: false,
            is_away: false,
            canvas: None,
            fresh: HashMap::new(),
        }
    }

    /// Marks who speaks, where there is more than one to tell apart.
    fn mark(&mut self, speaker: Option<LegId>) {
        let is_many = self.spots.len() > 1;
        let marked = self.spots.iter().map(|spot| {
            let mut spot = spot.clone();
            spot.caption.speaks = is_many && spot.caption.is_drawn && Some(spot.leg) == speaker;
            spot
        });
        self.spots = marked.collect();
    }

    fn shows(&self, leg: LegId) -> bool {
        let mut spots = self.spots.iter();
        spots.any(|spot| spot.leg == leg && !spot.is_held)
    }

    fn height(&self, leg: LegId) -> Option<u16> {
        let mut spots = self.spots.iter().filter(|spot| !spot.is_held);
        let spot = spots.find(|spot| spot.leg == leg)?;
        let (width, height) = self.size;
        Some(layout::rect(spot.cell, width, height).height as u16)
    }

    /// The pictures of this tick.
    pub fn take_fresh(&mut self) -> Vec<(LegId, Frame)> {
        let next = self.fresh.iter_mut();
        next.filter_map(|(leg, fresh)| Some((*leg, fresh.next()?)))
            .collect()
    }
}

/// A canvas on which everything is composed: 720 lines.
const fn size_of(canvas: Canvas) -> (u32, u32) {
    match canvas {
        Canvas::Wide => (1_280, 720),
        Canvas::Narrow => (960, 720),
    }
}

/// Decoded pictures of one leg that wait for the canvas: at most two, so that two which come between
/// the same ticks are both shown, one tick apart. Full: the oldest is dropped.
#[derive(Default)]
struct Fresh {
    frames: VecDeque<Frame>,
    /// Ticks in a row after which one was left.
    left_ticks: u32,
}

impl Fresh {
    fn push(&mut self, frame: Frame) {
        if self.frames.len() >= 2 {
            self.frames.pop_front();
        }
        self.frames.push_back(frame);
    }

    /// The picture of this tick. One that has waited behind others for long only adds delay: then
    /// the newest is taken.
    fn next(&mut self) -> Option<Frame> {
        let mut frame = self.frames.pop_front()?;
        self.left_ticks = if self.frames.is_empty() {
            0
        } else {
            self.left_ticks + 1
        };
        if self.left_ticks > MAX_LEFT_TICKS {
            self.left_ticks = 0;
            frame = self.frames.pop_back().unwrap_or(frame);
            self.frames.clear();
        }
        Some(frame)
    }
}
