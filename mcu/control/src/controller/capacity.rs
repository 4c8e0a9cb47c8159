//! Who is let in by what the machine can do, and what becomes of pictures when it can do less
//! (MCU-05): their number a second gives way first, which the media processor sees to; then their size;
//! then nobody is let in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mcu_api::capacity::{PortClass, Ports, ports};
use mcu_api::figures::FEWEST_PICTURES;
use tracing::warn;

use super::Controller;
use super::room::{Leg, LegKind, Media};

/// Share of the machine that calls may take where the configuration does not say: the rest is for the
/// other processes, and for what a measurement does not see.
const USABLE: f32 = 0.85;
/// Lines of the tallest pictures of terminals, step by step.
const STEPS: [Option<u16>; 3] = [None, Some(720), Some(360)];
/// How long so few pictures are composed that their size gives way.
const SHORT_FOR: Duration = Duration::from_secs(10);
/// How long all is well before a step is taken back, at first and at most. It is twice as long after each
/// step back that did not last.
const WELL_FOR: Duration = Duration::from_secs(60);
const WELL_FOR_MAX: Duration = Duration::from_secs(3_600);
/// Pictures a second from which on all is well.
const WELL: u32 = 30;

/// Terminals that call with pictures, tallest first.
const WITH_PICTURES: [PortClass; 3] = [PortClass::FullHd, PortClass::Hd, PortClass::Sd];

/// No port is free of any class that would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPort;

/// How far pictures have given way.
#[derive(Debug)]
pub struct Load {
    step: usize,
    /// So few pictures since then, and all well since then.
    short_since: Option<Instant>,
    well_since: Option<Instant>,
    patience: Duration,
    taken_back: Option<Instant>,
    is_refusing: bool,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            step: 0,
            short_since: None,
            well_since: None,
            patience: WELL_FOR,
            taken_back: None,
            is_refusing: false,
        }
    }
}

impl Load {
    /// Lines of the tallest pictures that terminals may have, if they have to be fewer.
    pub fn lowered_to(&self) -> Option<u16> {
        STEPS.get(self.step).copied().flatten()
    }

    /// The processor is gone, and with it what was work.
    pub fn forget(&mut self) {
        (self.short_since, self.well_since) = (None, None);
        self.is_refusing = false;
    }

    /// What the processor says now: most pictures a second, and the share of sites that it decodes.
    /// Whether pictures are to have another size.
    fn look(&mut self, now: Instant, max_frame_rate: u32, decoded: f32) -> bool {
        let since = |since: Option<Instant>, is_so: bool| is_so.then(|| since.unwrap_or(now));
        let is_short = max_frame_rate <= FEWEST_PICTURES;
        let is_well = max_frame_rate >= WELL && decoded >= 1.0;
        self.short_since = since(self.short_since, is_short);
        self.well_since = since(self.well_since, is_well);
        let lasts = |since: Option<Instant>, time: Duration| {
            since.is_some_and(|since| now.saturating_duration_since(since) >= time)
        };
        self.is_refusing &= is_short;
        if lasts(self.short_since, SHORT_FOR) {
            self.short_since = None;
            if self.step + 1 == STEPS.len() {
                self.is_refusing = true;
                return false;
            }
            let did_not_last = self
                .taken_back
                .is_some_and(|at| now.saturating_duration_since(at) < 2 * self.patience);
            self.patience = match did_not_last {
                true => (self.patience * 2).min(WELL_FOR_MAX),
                false => WELL_FOR,
            };
            self.step += 1;
            return true;
        }
        if self.step > 0 && lasts(self.well_since, self.patience) {
            self.well_since = None;
            self.taken_back = Some(now);
            self.step -= 1;
            return true;
        }
        false
    }
}

/// The class of a port that a leg takes, and how many: pictures of more than 30 a second count twice.
fn taken_by(leg: &Leg) -> (PortClass, u32) {
    let LegKind::Sip(sip) = &leg.kind else {
        return (PortClass::Browser, 1);
    };
    let dialog = sip.dialog.as_ref();
    let reserved = dialog.and_then(|dialog| dialog.exchange.reserved());
    match (reserved, &leg.media) {
        (Some(lines), _) => (PortClass::of_height(lines), 1),
        (None, Some(media)) => class_of(media),
        (None, None) => (PortClass::Sound, 1),
    }
}

/// The same of what a terminal agreed on.
fn class_of(media: &Media) -> (PortClass, u32) {
    match (&media.class, &media.plan.video_receive) {
        (Some(class), _) => {
            let count = if class.frame_rate > 30 { 2 } else { 1 };
            (PortClass::of_height(class.height), count)
        }
        // It sends, in whatever size.
        (None, Some(_)) => (PortClass::Hd, 1),
        (None, None) => (PortClass::Sound, 1),
    }
}

impl Controller {
    /// Ports of each class; none while nothing was measured.
    pub(super) fn ports_by_class(&self) -> Vec<Ports> {
        let Some((figures, _)) = self.processor.figures() else {
            return Vec::new();
        };
        let Some(measured) = &figures.measured else {
            return Vec::new();
        };
        let mut used: BTreeMap<PortClass, u32> = BTreeMap::new();
        let rooms = self.rooms.iter().filter(|room| !room.is_probe());
        for leg in rooms.flat_map(|room| &room.legs) {
            let (class, count) = taken_by(leg);
            *used.entry(class).or_default() += count;
        }
        let usable = measured.processors * USABLE;
        let processors = self.config.processors.unwrap_or(usable);
        let mut ports = ports(measured, processors * 1_000.0, &self.config.shares, &used);
        let with_pictures = |ports: &&mut Ports| WITH_PICTURES.contains(&ports.class);
        if self.load.is_refusing {
            let refused = ports.iter_mut().filter(with_pictures);
            refused.for_each(|ports| ports.free = 0);
        }
        ports
    }

    /// Whether a port of the class is free. Before anything is measured there is.
    pub(super) fn has_port(&self, class: PortClass) -> bool {
        let ports = self.ports_by_class();
        let of_class = ports.iter().find(|ports| ports.class == class);
        of_class.is_none_or(|ports| ports.free > 0)
    }

    /// Lines of the tallest pictures of somebody who comes with pictures of up to so many: fewer where no
    /// port for those is free.
    pub(super) fn height_for(&self, wanted: u16) -> Result<u16, NoPort> {
        let mut classes = WITH_PICTURES.into_iter();
        let free = classes.find(|class| {
            let fits = *class >= PortClass::of_height(wanted);
            fits && self.has_port(*class)
        });
        free.map(|class| class.max_height().min(wanted))
            .ok_or(NoPort)
    }

    /// Whether what somebody agreed on is of a class of which a port is free, where one was free for
    /// pictures of so many lines.
    pub(super) fn check_port(&self, media: Option<&Media>, height: u16) -> Result<(), NoPort> {
        let class = media.map_or(PortClass::Sound, |media| class_of(media).0);
        match class == PortClass::of_height(height) || self.has_port(class) {
            true => Ok(()),
            false => Err(NoPort),
        }
    }

    /// What the processor has told is looked at: whether pictures are to have another size.
    pub(super) fn look_at_load(&mut self) {
        let Some((figures, _)) = self.processor.figures() else {
            return;
        };
        // One that does not tell is not known to be short of time.
        let max_frame_rate = figures.max_frame_rate.unwrap_or(WELL);
        let decoded = figures.max_frame_rate.map_or(1.0, |_| figures.decoded);
        if self.load.look(self.now, max_frame_rate, decoded) {
            let lines = self.load.lowered_to();
            warn!(
                max_frame_rate,
                decoded,
                ?lines,
                "tallest pictures of terminals"
            );
            self.rooms.iter_mut().for_each(|room| room.dirty = true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each second of a load came to: the steps taken, by the second.
    fn steps(
        load: &mut Load,
        start: Instant,
        seconds: std::ops::Range<u64>,
        rate: u32,
    ) -> Vec<u64> {
        let at = |second: &u64| start + Duration::from_secs(*second);
        let took = |second: &u64| load.look(at(second), rate, 1.0);
        seconds.filter(took).collect()
    }

    #[test]
    fn size_gives_way_after_number_and_then_nobody_is_let_in() {
        let (start, mut load) = (Instant::now(), Load::default());
        assert!(steps(&mut load, start, 0..100, 60).is_empty());
        assert!(steps(&mut load, start, 100..200, FEWEST_PICTURES + 1).is_empty());
        assert_eq!(steps(&mut load, start, 200..215, FEWEST_PICTURES), [210]);
        assert_eq!(load.lowered_to(), Some(720));
        assert_eq!(steps(&mut load, start, 215..225, FEWEST_PICTURES), [221]);
        assert_eq!(load.lowered_to(), Some(360));
        assert!(!load.is_refusing);
        assert!(steps(&mut load, start, 225..235, FEWEST_PICTURES).is_empty());
        assert!(load.is_refusing);
        // It gets by.
        assert!(steps(&mut load, start, 235..300, FEWEST_PICTURES + 3).is_empty());
        assert!(!load.is_refusing);
        assert_eq!(load.lowered_to(), Some(360));
        assert_eq!(steps(&mut load, start, 300..400, 60), [360]);
        assert_eq!(load.lowered_to(), Some(720));
    }

    #[test]
    fn what_is_taken_back_in_vain_is_taken_back_later_the_next_time() {
        let (start, mut load) = (Instant::now(), Load::default());
        assert_eq!(steps(&mut load, start, 0..15, FEWEST_PICTURES), [10]);
        assert_eq!(steps(&mut load, start, 15..80, 60), [75]);
        assert_eq!(steps(&mut load, start, 80..95, FEWEST_PICTURES), [90]);
        assert_eq!(steps(&mut load, start, 95..300, 60), [215]);
    }
}
