//! The thread that decodes for watched legs and reads the markers of their tiles.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ffmpeg_next::frame;

use super::config::{FREEZE_MS, Percentiles, Report, SAMPLE_MARGIN, Sample, TileReport, Watch};
use super::engine::RawReport;
use crate::codec::{CodecError, Decoder};
use crate::marker::{self, Found};
use crate::picture::{Luma, Picture, Rect};

/// Frames that may wait for the decoder. A frame that finds as many before it is dropped and a key
/// frame asked for: the leg's figures then say so, and memory does not grow.
const BACKLOG_MAX: usize = 120;

/// Delays kept of one tile: over ten minutes. Those that come later are not.
const DELAYS_MAX: usize = 20_000;

/// The first sight of a source after so long is no freeze: legs that repair show pictures late.
const HELD_BACK_MAX: Duration = Duration::from_millis(180);

/// Most frames that a picture could be set back by.
const STEP_BACK_MAX: u16 = 8;

/// What the decoding thread is told.
pub(super) enum Job {
    /// A leg is to be watched.
    Open {
        leg: u64,
        watch: Watch,
        now: Instant,
    },
    /// A source in this process sends a frame.
    Sent { id: u8, counter: u16, at: Instant },
    /// A leg received an access unit, whole at `at`.
    Frame {
        leg: u64,
        unit: Vec<u8>,
        at: Instant,
    },
    /// Complete this report and pass it on.
    Report {
        leg: u64,
        raw: Box<RawReport>,
        reply: Sender<RawReport>,
        now: Instant,
    },
    /// Hand over the tiles kept.
    Samples {
        leg: u64,
        reply: Sender<Vec<Sample>>,
    },
    /// Start the figures anew.
    Reset { leg: u64, now: Instant },
    /// The leg is gone.
    Close { leg: u64 },
}

/// The other end of the decoding thread. Frames are bounded by [`BACKLOG_MAX`]; the other jobs are
/// few, and who asks waits for the answer.
#[derive(Clone)]
pub(super) struct Jobs {
    sender: Sender<Job>,
    backlog: Arc<AtomicUsize>,
}

impl Jobs {
    /// Passes a job on. After the end of the thread it goes nowhere, as does everything then.
    pub(super) fn push(&self, job: Job) {
        let _ = self.sender.send(job);
    }

    /// Passes a frame on; `false` if too many wait.
    pub(super) fn push_frame(&self, leg: u64, unit: Vec<u8>, at: Instant) -> bool {
        if self.backlog.load(Ordering::Relaxed) >= BACKLOG_MAX {
            return false;
        }
        self.backlog.fetch_add(1, Ordering::Relaxed);
        self.push(Job::Frame { leg, unit, at });
        true
    }
}

/// Starts the thread; it ends when the last [`Jobs`] is dropped.
pub(super) fn start() -> (Jobs, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel();
    let backlog = Arc::new(AtomicUsize::new(0));
    let jobs = Jobs {
        sender,
        backlog: backlog.clone(),
    };
    let thread = std::thread::spawn(move || run(&receiver, &backlog));
    (jobs, thread)
}

fn run(jobs: &Receiver<Job>, backlog: &AtomicUsize) {
    let mut sources = Sources::default();
    let mut legs: HashMap<u64, Watched> = HashMap::new();
    for job in jobs {
        match job {
            Job::Open { leg, watch, now } => {
                if let Ok(watched) = Watched::new(watch, now) {
                    legs.insert(leg, watched);
                }
            }
            Job::Sent { id, counter, at } => sources.sent(id, counter, at),
            Job::Frame { leg, unit, at } => {
                backlog.fetch_sub(1, Ordering::Relaxed);
                if let Some(watched) = legs.get_mut(&leg) {
                    watched.frame(&unit, at, &sources);
                }
            }
            Job::Report {
                leg,
                mut raw,
                reply,
                now,
            } => {
                if let Some(watched) = legs.get(&leg) {
                    watched.report(&mut raw.report, now);
                }
                // Who asked may have given up.
                let _ = reply.send(*raw);
            }
            Job::Samples { leg, reply } => {
                let kept = legs
                    .get_mut(&leg)
                    .map(|watched| std::mem::take(&mut watched.samples));
                let _ = reply.send(kept.unwrap_or_default());
            }
            Job::Reset { leg, now } => {
                if let Some(watched) = legs.get_mut(&leg) {
                    watched.reset(now);
                }
            }
            Job::Close { leg } => {
                legs.remove(&leg);
            }
        }
    }
}

/// When each frame of each source of this process was sent last.
#[derive(Default)]
struct Sources {
    sent: HashMap<u8, Vec<Option<Instant>>>,
}

impl Sources {
    fn sent(&mut self, id: u8, counter: u16, at: Instant) {
        let times = self.sent.entry(id).or_default();
        let index = usize::from(counter);
        if times.len() <= index {
            times.resize(index + 1, None);
        }
        times[index] = Some(at);
    }

    fn when(&self, id: u8, counter: u16) -> Option<Instant> {
        *self.sent.get(&id)?.get(usize::from(counter))?
    }
}

struct Watched {
    decoder: Decoder,
    watch: Watch,
    since: Instant,
    decoded: u64,
    refused: u64,
    size: (usize, usize),
    candidates: Vec<Rect>,
    tiles: BTreeMap<u8, Tile>,
    samples: Vec<Sample>,
}

struct Tile {
    counter: u16,
    rect: Rect,
    fresh: u64,
    fresh_at: Instant,
    longest_gap_ms: f64,
    freezes: u64,
    frozen_ms: f64,
    longest_step: u16,
    delays_ms: Vec<f64>,
}

impl Watched {
    fn new(watch: Watch, now: Instant) -> Result<Self, CodecError> {
        Ok(Self {
            decoder: Decoder::h264()?,
            watch,
            since: now,
            decoded: 0,
            refused: 0,
            size: (0, 0),
            candidates: Vec::new(),
            tiles: BTreeMap::new(),
            samples: Vec::new(),
        })
    }

    fn frame(&mut self, unit: &[u8], at: Instant, sources: &Sources) {
        let mut frames = Vec::new();
        let outcome = self.decoder.decode_frames(unit, |frame| {
            frames.push(frame.clone());
            Ok(())
        });
        self.refused += u64::from(outcome.is_err());
        for frame in &frames {
            self.picture(frame, at, sources);
        }
    }

    fn picture(&mut self, frame: &frame::Video, at: Instant, sources: &Sources) {
        self.decoded += 1;
        let size = (frame.width() as usize, frame.height() as usize);
        if size != self.size {
            self.size = size;
            self.candidates = marker::candidates(size.0, size.1);
        }
        let Some(luma) = Luma::new(frame.data(0), frame.stride(0), size.0, size.1) else {
            return;
        };
        let found = marker::find_among(luma, &self.candidates);
        for tile in &found {
            self.seen(*tile, at, sources);
        }
        self.keep(frame, &found);
    }

    fn seen(&mut self, found: Found, at: Instant, sources: &Sources) {
        let marker::Marker { id, counter } = found.marker;
        let since = self.since;
        let tile = self.tiles.entry(id).or_insert_with(|| Tile {
            // Anything but what is seen, so that the first sight is fresh.
            counter: counter.wrapping_sub(1),
            rect: found.rect,
            fresh: 0,
            // What is shown later than it came was not away.
            fresh_at: at
                .checked_sub(HELD_BACK_MAX)
                .map_or(since, |from| from.max(since)),
            longest_gap_ms: 0.0,
            freezes: 0,
            frozen_ms: 0.0,
            longest_step: 0,
            delays_ms: Vec::new(),
        });
        tile.rect = found.rect;
        // A step back is an old frame shown again. Clips begin anew, so a long one is a step forward.
        if tile.counter.wrapping_sub(counter) <= STEP_BACK_MAX {
            return;
        }
        let step = counter.wrapping_sub(tile.counter);
        // Clips begin anew: that is no step.
        if step < 1_000 {
            tile.longest_step = tile.longest_step.max(step);
        }
        tile.counter = counter;
        tile.fresh += 1;
        let gap_ms = ms_between(tile.fresh_at, at);
        tile.longest_gap_ms = tile.longest_gap_ms.max(gap_ms);
        if gap_ms > FREEZE_MS {
            tile.freezes += 1;
            tile.frozen_ms += gap_ms;
        }
        tile.fresh_at = at;
        if let Some(sent) = sources.when(id, counter)
            && tile.delays_ms.len() < DELAYS_MAX
        {
            tile.delays_ms.push(ms_between(sent, at));
        }
    }

    fn keep(&mut self, frame: &frame::Video, found: &[Found]) {
        let Watch::Samples { every, most } = self.watch else {
            return;
        };
        if !self.decoded.is_multiple_of(every.max(1).into()) || self.samples.len() >= most {
            return;
        }
        let Ok(picture) = Picture::from_frame(frame) else {
            return;
        };
        let room = most - self.samples.len();
        self.samples.extend(
            found
                .iter()
                .take(room)
                .filter_map(|found| sample(&picture, found)),
        );
    }

    fn reset(&mut self, now: Instant) {
        self.since = now;
        (self.decoded, self.refused) = (0, 0);
        self.tiles.clear();
        self.samples.clear();
    }

    fn report(&self, report: &mut Report, now: Instant) {
        report.video.decoded = self.decoded;
        report.video.undecoded += self.refused;
        (report.video.width, report.video.height) = self.size;
        let seconds = now
            .saturating_duration_since(self.since)
            .as_secs_f64()
            .max(1e-3);
        report.tiles = self
            .tiles
            .iter()
            .map(|(&id, tile)| tile.report(id, seconds, now))
            .collect();
    }
}

impl Tile {
    fn report(&self, id: u8, seconds: f64, now: Instant) -> TileReport {
        let age_ms = ms_between(self.fresh_at, now);
        TileReport {
            id,
            counter: self.counter,
            rect: self.rect,
            fresh: self.fresh,
            fresh_rate: self.fresh as f64 / seconds,
            age_ms,
            longest_gap_ms: self.longest_gap_ms.max(age_ms),
            freezes: self.freezes + u64::from(age_ms > FREEZE_MS),
            longest_step: self.longest_step,
            frozen_ms: self.frozen_ms + if age_ms > FREEZE_MS { age_ms } else { 0.0 },
            delay: Percentiles::of(&self.delays_ms),
        }
    }
}

fn ms_between(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1000.0
}

/// The tile with [`SAMPLE_MARGIN`] around it.
fn sample(picture: &Picture, found: &Found) -> Option<Sample> {
    let rect = found.rect;
    let (x, y) = (
        rect.x.saturating_sub(SAMPLE_MARGIN),
        rect.y.saturating_sub(SAMPLE_MARGIN),
    );
    let wide = Rect {
        x,
        y,
        width: (rect.x + rect.width + SAMPLE_MARGIN).min(picture.width()) - x,
        height: (rect.y + rect.height + SAMPLE_MARGIN).min(picture.height()) - y,
    };
    Some(Sample {
        id: found.marker.id,
        counter: found.marker.counter,
        rect,
        picture: picture.crop(wide)?,
        offset: (rect.x - x, rect.y - y),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip;
    use crate::codec::EncodeSettings;

    #[test]
    fn a_watched_leg_reports_counter_freshness_and_delay() {
        let encode = EncodeSettings {
            width: 320,
            height: 180,
            bitrate_bps: 300_000,
            ..Default::default()
        };
        let clip = clip::Clip::encode(&clip::Config {
            id: 2,
            frames: 6,
            encode,
        })
        .unwrap();
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut sources = Sources::default();
        let watch = Watch::Samples { every: 2, most: 2 };
        let mut watched = Watched::new(watch, start).unwrap();
        for (i, unit) in clip.units.iter().enumerate() {
            let ms = i as u64 * 40;
            sources.sent(2, i as u16, at(ms));
            watched.frame(&unit.data, at(ms + 25), &sources);
        }
        let mut report = Report::default();
        watched.report(&mut report, at(325));
        assert_eq!((report.video.decoded, report.video.width), (6, 320));
        let tile = report.tile(2).unwrap();
        assert_eq!((tile.counter, tile.fresh), (5, 6));
        assert_eq!((tile.delay.count, tile.delay.median), (6, 25.0));
        assert_eq!((tile.age_ms, tile.longest_gap_ms), (100.0, 100.0));
        let kept: Vec<u16> = watched.samples.iter().map(|s| s.counter).collect();
        assert_eq!(kept, [1, 3]);
        watched.reset(at(400));
        assert!(watched.tiles.is_empty() && watched.samples.is_empty());
    }
}
