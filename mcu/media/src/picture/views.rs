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
    /// Somebody receives it in more than 720 lines.
    pub is_tall: bool,
    /// What lies where. Who speaks is marked by [`Views`].
    pub spots: Vec<Spot>,
    /// Somebody receives it.
    pub is_watched: bool,
}

/// All of them.
pub struct Views {
    views: HashMap<ViewName, View>,
    speaker: Option<LegId>,
    /// The newest picture of each leg that somebody sees: what a view begins with.
    newest: HashMap<LegId, Frame>,
    epoch: u64,
}

/// One of them.
pub struct View {
    /// Samples of a row, and rows.
    pub size: (u32, u32),
    /// What lies where, with the mark of who speaks.
    pub spots: Arc<[Spot]>,
    /// Somebody receives it.
    pub is_watched: bool,
    /// Another one, another canvas: what comes back of the one before is passed over.
    pub epoch: u64,
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
            newest: HashMap::new(),
            epoch: 0,
        };
        views.set(HashMap::from([(None, Composition::default())]));
        views
    }

    /// These from now on. What stays keeps its pictures, and what is new begins with the newest that there
    /// are. Of what nobody receives nothing is kept.
    pub fn set(&mut self, wanted: HashMap<ViewName, Composition>) {
        self.views.retain(|name, _| wanted.contains_key(name));
        for (name, composition) in wanted {
            let epoch = &mut self.epoch;
            let view = self.views.entry(name).or_insert_with(|| {
                *epoch += 1;
                View::new(*epoch)
            });
            if !composition.is_watched {
                *epoch += 1;
                *view = View::new(*epoch);
            }
            let before = std::mem::replace(&mut view.spots, composition.spots.into());
            let was_seen = |leg| view.is_watched && shows(&before, leg);
            for spot in view.spots.iter().filter(|spot| !spot.is_held) {
                let newest = self.newest.get(&spot.leg);
                let newest = newest.filter(|_| composition.is_watched);
                if let Some(frame) = newest.filter(|_| !was_seen(spot.leg)) {
                    view.fresh.entry(spot.leg).or_default().push(frame.clone());
                }
            }
            view.size = size_of(composition.canvas, composition.is_tall);
            view.is_watched = composition.is_watched;
            let spots = &view.spots;
            view.fresh.retain(|leg, _| shows(spots, *leg));
            view.mark(self.speaker);
        }
        let views = &self.views;
        let is_seen = |leg| {
            let mut watched = views.values().filter(|view| view.is_watched);
            watched.any(|view| view.shows(leg))
        };
        self.newest.retain(|leg, _| is_seen(*leg));
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

    /// Who speaks.
    pub fn speaker(&self) -> Option<LegId> {
        self.speaker
    }

    /// The leg is gone.
    pub fn remove(&mut self, leg: LegId) {
        self.newest.remove(&leg);
        for view in self.views.values_mut() {
            if view.spots.iter().any(|spot| spot.leg == leg) {
                let rest = view.spots.iter().filter(|spot| spot.leg != leg);
                view.spots = rest.cloned().collect();
                view.mark(self.speaker);
            }
            view.fresh.remove(&leg);
        }
    }

    /// A picture of a leg was decoded.
    pub fn put(&mut self, leg: LegId, frame: &Frame) {
        let showing = self.views.values_mut();
        for view in showing.filter(|view| view.is_watched && view.shows(leg)) {
            view.fresh.entry(leg).or_default().push(frame.clone());
            self.newest.insert(leg, frame.clone());
        }
    }

    /// Nothing new comes of the leg.
    pub fn forget(&mut self, leg: LegId) {
        self.newest.remove(&leg);
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
        watched
            .filter_map(|view| view.cell(leg).map(|(_, height)| height as u16))
            .max()
    }

    /// Width and height of a cell that holds the leg's picture as large as somebody receives it.
    pub fn largest(&self, leg: LegId) -> Option<(u32, u32)> {
        let watched = self.views.values().filter(|view| view.is_watched);
        let cells = watched.filter_map(|view| view.cell(leg));
        cells.reduce(|a, b| (a.0.max(b.0), a.1.max(b.1)))
    }

    /// Whether any of them has a place for the leg's picture, seen by somebody or not.
    pub fn has(&self, leg: LegId) -> bool {
        self.views.values().any(|view| view.shows(leg))
    }
}

impl View {
    fn new(epoch: u64) -> Self {
        Self {
            size: size_of(Canvas::default(), false),
            spots: Arc::default(),
            is_watched: false,
            epoch,
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
        shows(&self.spots, leg)
    }

    fn cell(&self, leg: LegId) -> Option<(u32, u32)> {
        let mut spots = self.spots.iter().filter(|spot| !spot.is_held);
        let spot = spots.find(|spot| spot.leg == leg)?;
        let (width, height) = self.size;
        let cell = layout::rect(spot.cell, width, height);
        Some((cell.width, cell.height))
    }

    /// The pictures of this tick: the next of each leg, or the newest where fewer are composed than come.
    pub fn take_fresh(&mut self, is_slow: bool) -> Vec<(LegId, Frame)> {
        let next = self.fresh.iter_mut();
        next.filter_map(|(leg, fresh)| {
            let next = match is_slow {
                true => fresh.newest(),
                false => fresh.next(),
            };
            Some((*leg, next?))
        })
        .collect()
    }
}

/// Whether one of them shows a picture of the leg.
fn shows(spots: &[Spot], leg: LegId) -> bool {
    let mut spots = spots.iter();
    spots.any(|spot| spot.leg == leg && !spot.is_held)
}

/// A canvas on which everything is composed: of 720 lines, or of 1,080 where somebody receives them.
const fn size_of(canvas: Canvas, is_tall: bool) -> (u32, u32) {
    match (canvas, is_tall) {
        (Canvas::Wide, false) => (1_280, 720),
        (Canvas::Narrow, false) => (960, 720),
        (Canvas::Wide, true) => (1_920, 1_080),
        (Canvas::Narrow, true) => (1_440, 1_080),
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

    fn newest(&mut self) -> Option<Frame> {
        let newest = self.frames.pop_back();
        self.frames.clear();
        newest
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::video::{Colour, Pool};

    const SECONDS: i64 = 120;

    /// For how many compositions each picture of a source is shown, as shares of all; those that were
    /// never shown have 0. Pictures come when they are due, up to so many microseconds later.
    fn cadence(source_hz: i64, compositions_hz: i64, late_us: i64) -> BTreeMap<u32, f64> {
        let pool = Pool::new(2, 2, Colour::BT709, 4);
        let mut fresh = Fresh::default();
        let mut shown: BTreeMap<i64, u32> = BTreeMap::new();
        let (mut sent, mut now) = (0, None);
        let mut random = 1_u32;
        let mut next_at = 0;
        for tick in 0..SECONDS * compositions_hz {
            let at = tick * 1_000_000 / compositions_hz;
            while next_at <= at {
                fresh.push(pool.take().freeze().at(sent));
                sent += 1;
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let late = i64::from(random >> 8) % (late_us + 1);
                // Half a composition apart, so that no rounding decides what comes first.
                next_at = sent * 1_000_000 / source_hz + 500_000 / compositions_hz + late;
            }
            now = fresh.next().map(|frame| frame.pts()).or(now);
            if let Some(picture) = now {
                *shown.entry(picture).or_default() += 1;
            }
        }
        let mut shares: BTreeMap<u32, f64> = BTreeMap::new();
        // Those at the ends are cut.
        for picture in 5..sent - 5 {
            let compositions = shown.get(&picture).copied().unwrap_or(0);
            *shares.entry(compositions).or_default() += 1.0 / (sent - 10) as f64;
        }
        shares
    }

    fn share(shares: &BTreeMap<u32, f64>, compositions: u32) -> f64 {
        shares.get(&compositions).copied().unwrap_or(0.0)
    }

    #[test]
    fn twenty_five_pictures_a_second_go_through_thirty_without_stutter() {
        let steady = cadence(25, 30, 0);
        assert!((share(&steady, 1) - 0.8).abs() < 0.001, "{steady:?}");
        assert!((share(&steady, 2) - 0.2).abs() < 0.001, "{steady:?}");
        // None is left out, though the network brings them up to 15 ms late.
        let late = cadence(25, 30, 15_000);
        assert!(late.keys().all(|shown| (1..=3).contains(shown)), "{late:?}");
        assert!(share(&late, 3) < 0.02, "{late:?}");
    }

    #[test]
    fn every_picture_of_a_source_of_the_same_rate_is_shown_once() {
        let steady = cadence(30, 30, 0);
        assert_eq!(
            steady.keys().copied().collect::<Vec<_>>(),
            [1],
            "{steady:?}"
        );
        let late = cadence(30, 30, 15_000);
        assert!(share(&late, 0) < 0.001, "{late:?}");
        let half = cadence(30, 60, 0);
        assert_eq!(half.keys().copied().collect::<Vec<_>>(), [2], "{half:?}");
    }

    fn spot(leg: u64, is_held: bool) -> Spot {
        let cell = mcu_api::layout::Layout::default().cells(1)[0];
        Spot {
            is_held,
            ..Spot::bare(LegId(leg), cell)
        }
    }

    fn watched(spots: Vec<Spot>) -> Composition {
        Composition {
            spots,
            is_watched: true,
            ..Composition::default()
        }
    }

    fn fresh_in(views: &mut Views, name: &ViewName) -> Vec<u64> {
        let fresh = views.get_mut(name).unwrap().take_fresh(false);
        let mut legs: Vec<u64> = fresh.iter().map(|(leg, _)| leg.0).collect();
        legs.sort_unstable();
        legs
    }

    /// Nothing flashes: a terminal that chooses another layout sees at once what it saw.
    #[test]
    fn a_new_view_begins_with_the_newest_pictures() {
        let frame = Pool::new(2, 2, Colour::BT709, 0).take().freeze();
        let mut views = Views::new();
        let both = || watched(vec![spot(1, false), spot(2, false)]);
        views.set(HashMap::from([(None, both())]));
        views.put(LegId(1), &frame);
        views.put(LegId(2), &frame);
        assert_eq!(fresh_in(&mut views, &None), [1, 2]);
        let own: ViewName = Some("1_5".into());
        let room = || (None, both());
        views.set(HashMap::from([room(), (own.clone(), both())]));
        assert_eq!(fresh_in(&mut views, &own), [1, 2]);
        assert!(
            fresh_in(&mut views, &None).is_empty(),
            "it shows them already"
        );
        // A camera that is off: nothing of it is kept.
        let held = || watched(vec![spot(1, true), spot(2, false)]);
        views.set(HashMap::from([(None, held()), (own.clone(), held())]));
        let third: ViewName = Some("2_4".into());
        views.set(HashMap::from([room(), (third.clone(), both())]));
        assert_eq!(fresh_in(&mut views, &third), [2]);
    }

    #[test]
    fn nothing_is_kept_of_what_nobody_receives() {
        let frame = Pool::new(2, 2, Colour::BT709, 0).take().freeze();
        let mut views = Views::new();
        let one = || watched(vec![spot(1, false)]);
        views.set(HashMap::from([(None, one())]));
        views.put(LegId(1), &frame);
        let view = views.get_mut(&None).unwrap();
        view.canvas = Some(Box::new(Compositor::new(16, 16)));
        let epoch = view.epoch;
        let unwatched = Composition {
            is_watched: false,
            ..one()
        };
        views.set(HashMap::from([(None, unwatched)]));
        let view = views.get_mut(&None).unwrap();
        assert!(view.canvas.is_none() && view.epoch != epoch);
        views.set(HashMap::from([(None, one())]));
        assert!(fresh_in(&mut views, &None).is_empty());
    }

    #[test]
    fn who_speaks_is_marked_among_others_and_not_alone() {
        let spot = |leg| {
            let cell = mcu_api::layout::Layout::default().cells(1)[0];
            let mut spot = Spot::bare(LegId(leg), cell);
            spot.caption.is_drawn = true;
            spot
        };
        let composition = |legs: &[u64]| Composition {
            spots: legs.iter().map(|leg| spot(*leg)).collect(),
            is_watched: true,
            ..Composition::default()
        };
        let mut views = Views::new();
        views.set_speaker(Some(LegId(2)));
        let speaking = |views: &mut Views| {
            let room = views.get_mut(&None).unwrap();
            let marked = room.spots.iter().filter(|spot| spot.caption.speaks);
            marked.map(|spot| spot.leg.0).collect::<Vec<_>>()
        };
        views.set(HashMap::from([(None, composition(&[1, 2]))]));
        assert_eq!(speaking(&mut views), [2]);
        views.set_speaker(Some(LegId(1)));
        assert_eq!(speaking(&mut views), [1]);
        views.remove(LegId(2));
        assert_eq!(speaking(&mut views), [] as [u64; 0]);
        assert_eq!(views.height(LegId(1)), Some(720));
        assert_eq!(views.height(LegId(2)), None);
    }
}
