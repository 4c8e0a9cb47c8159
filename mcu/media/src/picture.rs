//! The composed picture of a room: decoders, canvas and encoders, each away in a job or at home.
//!
//! At most one job of each is under way. Pictures that come meanwhile wait in a short queue with their
//! decoder; when that is full, all of it is dropped and a key frame asked for. A tick that finds the
//! canvas or an encoder away is skipped for it: under overload frames are lost, never time.

mod alone;
mod jobs;
mod keys;
mod thinning;
mod views;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use mcu_api::codec::VideoClass;
use mcu_api::ids::{LegId, RoomId};
use mcu_api::plan::Notice;
use mcu_rtp::h263::Split;
use mcu_rtp::video::AccessUnit;

use alone::Alone;
use jobs::{Decode, Encode, Work, run_canvas, run_decoder, run_encoder};
use keys::KeyCredit;
use thinning::Thinning;
use views::Views;
pub use views::{Composition, ViewName};

use crate::blame::Sender;
use crate::camera::Camera;
use crate::pool::{Job, Pool};
use crate::room::Context;
use crate::stills::{self, Made, Stills};
use crate::video::{Compositor, Decoder, Encoder, Frame, Reducer, caption, notice};

/// Ticks per second: as many pictures has the fastest class.
pub const TICKS: u32 = 60;
/// Pictures per second that come of most.
const USUAL_RATE: u32 = 30;
/// Pictures per second of a notice: it stands still.
const NOTICE_RATE: u32 = 5;
/// Pictures that wait for their decoder.
const MAX_WAITING: usize = 8;
/// A tile of at most this height is decoded without the deblocking filter: scaling down hides it.
const SKIP_FILTER_BELOW: u16 = 400;
/// The smallest layer of a camera is as tall as that, whatever it is.
const SMALLEST: u16 = 1;
/// For stills alone the key frame of a camera is asked for once in so long, and waited for so long: a
/// sender that sends none is shown as it comes.
const KEY_AGAIN: Duration = Duration::from_secs(30);
const KEY_WAIT: Duration = Duration::from_secs(5);
/// Legs that a still shows.
pub const STILL_TILES: usize = 9;
/// Ticks in which a picture comes of everything that moves.
const BLURRED_TICKS: u32 = TICKS / 4;
/// Ticks for which every picture of a leg may wait a whole tick.
const MAX_LEFT_TICKS: u32 = 60;

/// When pictures are begun.
#[derive(Clone, Copy, Debug)]
pub struct Tick {
    /// So many [`TICKS`] after the last time.
    pub ticks: u32,
    /// Most pictures a second of any scene.
    pub max_frame_rate: u32,
    /// Share of the legs in compositions of which all is decoded, from 0 to 1.
    pub decoded: f32,
}

/// A finished job, with what it owned.
pub enum Done {
    /// Pictures were decoded.
    Decoded(Decoded),
    /// The canvas was composed.
    Composed(Composed),
    /// A composed picture was encoded.
    Encoded(Encoded),
    /// A still was made.
    Still(Made),
}

impl Done {
    /// The room it belongs to.
    pub fn room(&self) -> RoomId {
        match self {
            Self::Decoded(done) => done.room,
            Self::Composed(done) => done.room,
            Self::Encoded(done) => done.room,
            Self::Still(done) => done.room,
        }
    }
}

/// Result of decoding.
pub struct Decoded {
    room: RoomId,
    leg: LegId,
    epoch: u64,
    decoder: Option<Decoder>,
    reducer: Reducer,
    frame: Option<Frame>,
    damaged: bool,
    buffers: Vec<Vec<u8>>,
}

/// Result of composing: one picture of each size that is sent, or what the only encoder made of it.
pub struct Composed {
    room: RoomId,
    view: (ViewName, u64),
    canvas: Box<Compositor>,
    pictures: Vec<Frame>,
    encoded: Option<Encoded>,
    at: Instant,
}

/// What one encoder shows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scene {
    /// The encoder's class.
    pub class: VideoClass,
    /// Words for those who wait, in place of the composed picture.
    pub notice: Option<Notice>,
    /// This leg alone, in place of the composed picture.
    pub leg: Option<LegId>,
    /// Which of the composed pictures.
    pub view: ViewName,
}

/// Result of encoding.
pub struct Encoded {
    room: RoomId,
    epoch: u64,
    /// What it shows.
    pub scene: Scene,
    encoder: Option<Encoder>,
    /// On which a leg alone is brought to the class's size.
    canvas: Option<Box<Compositor>>,
    /// Access unit, of H.264 in Annex B format; empty when the encoder skipped the picture.
    pub bytes: Vec<u8>,
    /// Where it may be cut, beside where its codec says so itself.
    pub splits: Vec<Split>,
    /// It can be decoded without those before it.
    pub key: bool,
    /// No later one builds on it.
    pub droppable: bool,
    /// When the picture was composed.
    pub composed_at: Instant,
}

/// The picture of one room.
pub struct Picture {
    room: RoomId,
    views: Views,
    /// Media time of the canvas counts from here.
    started: Option<Instant>,
    decoders: HashMap<LegId, Decoding>,
    encoders: HashMap<Scene, Encoding>,
    epoch: u64,
    /// Legs whose decoder needs a key frame.
    damaged: Vec<LegId>,
    alone: Alone,
    stills: Stills,
    /// Fewer pictures are composed than usually come.
    is_slow: bool,
}

struct Decoding {
    epoch: u64,
    /// Of all that came.
    sender: Sender,
    home: bool,
    decoder: Option<Decoder>,
    reducer: Reducer,
    waiting: VecDeque<AccessUnit>,
    spare: Vec<Vec<u8>>,
    skip_filter: bool,
    /// A key frame is missing: what comes before it would be shown broken.
    is_damaged: bool,
    /// When one was asked for last, for stills alone.
    key_asked: Option<Instant>,
    /// Ticks since its cell became larger than its newest picture.
    blurred: Option<u32>,
    thinning: Thinning,
}

struct Encoding {
    /// Tells it from one of the same scene that was dropped while away.
    epoch: u64,
    home: bool,
    encoder: Option<Encoder>,
    /// Of a leg alone: its canvas, and the picture that was encoded last, by its media time.
    canvas: Option<Box<Compositor>>,
    shown: Option<i64>,
    /// Somebody takes every second picture.
    layered: bool,
    wants_key: bool,
    keys: KeyCredit,
    /// Frames owed, in 1/[`TICKS`].
    credit: u32,
}

impl Picture {
    /// Nothing to show yet.
    pub fn new(room: RoomId, now: Instant) -> Self {
        Self {
            room,
            views: Views::new(),
            started: None,
            decoders: HashMap::new(),
            encoders: HashMap::new(),
            epoch: 0,
            damaged: Vec::new(),
            alone: Alone::default(),
            stills: Stills::new(room, now),
            is_slow: false,
        }
    }

    /// Somebody looks on from outside, or nobody.
    pub fn want_stills(&mut self, now: Instant, wanted: bool) {
        self.stills.want(now, wanted);
    }

    /// What was good enough for stills is not for people.
    fn mend_for_people(&mut self) {
        let (views, alone) = (&self.views, &self.alone);
        for (leg, decoding) in &mut self.decoders {
            let is_for_people = views.height(*leg).max(alone.height(*leg)).is_some();
            if is_for_people && std::mem::take(&mut decoding.is_damaged) {
                self.damaged.push(*leg);
            }
        }
    }

    /// What is composed, the room's picture among it.
    pub fn set_views(&mut self, wanted: HashMap<ViewName, Composition>) {
        let mut spots = wanted.values().flat_map(|view| &view.spots);
        if spots.any(|spot| spot.caption.is_drawn) {
            caption::load_fonts();
        }
        let legs: Vec<LegId> = self.decoders.keys().copied().collect();
        let before: Vec<_> = legs.iter().map(|leg| self.views.largest(*leg)).collect();
        self.views.set(wanted);
        for (leg, before) in legs.into_iter().zip(before) {
            let now = self.views.largest(leg);
            let grows = before.zip(now).is_some_and(|(a, b)| b.0 > a.0 || b.1 > a.1);
            if let Some(decoding) = self.decoders.get_mut(&leg).filter(|_| grows) {
                decoding.blurred = Some(0);
            }
        }
        let (views, alone) = (&self.views, &self.alone);
        self.decoders
            .retain(|leg, _| views.has(*leg) || alone.height(*leg).is_some());
        self.stills.retain(&self.views.room_tiles());
        self.mend_for_people();
    }

    /// Who speaks, to be marked.
    pub fn set_speaker(&mut self, speaker: Option<LegId>) {
        self.views.set_speaker(speaker);
    }

    /// Legs that are shown alone, and the lines of the pictures that are made of them.
    pub fn show_alone(&mut self, wanted: impl Iterator<Item = (LegId, u16)>) {
        self.alone.set(wanted);
        self.mend_for_people();
    }

    /// Whether people see the leg by what is decoded, and not only stills show it.
    fn is_for_people(&self, leg: LegId) -> bool {
        self.views.height(leg).max(self.alone.height(leg)).is_some()
    }

    /// The leg is gone.
    pub fn remove(&mut self, leg: LegId) {
        self.alone.remove(leg);
        self.views.remove(leg);
        self.decoders.remove(&leg);
    }

    /// Height in lines for which the leg is decoded; `None` when it is not.
    pub fn decoded_height(&self, leg: LegId) -> Option<u16> {
        let seen = self.views.height(leg).max(self.alone.height(leg));
        seen.or_else(|| {
            let tiles = self.stills.is_wanted().then(|| self.views.room_tiles())?;
            let is_shown = tiles.iter().take(STILL_TILES).any(|tile| *tile == leg);
            is_shown.then_some(SMALLEST)
        })
    }

    /// Nobody sees the leg: its decoder goes.
    pub fn stop_decoding(&mut self, leg: LegId) {
        self.decoders.remove(&leg);
        self.views.forget(leg);
    }

    /// Encoders that exist.
    pub fn encoders(&self) -> u32 {
        self.encoders.len() as u32
    }

    /// Decoders that exist.
    pub fn decoders(&self) -> u32 {
        self.decoders.len() as u32
    }

    /// A receiver of this scene needs a key frame.
    pub fn request_key(&mut self, scene: &Scene) {
        if let Some(encoding) = self.encoders.get_mut(scene) {
            encoding.wants_key = true;
        }
    }

    /// Legs whose decoder needs a key frame, since the last call.
    pub fn take_damaged(&mut self) -> Vec<LegId> {
        std::mem::take(&mut self.damaged)
    }

    /// Takes what the camera has whole and sets its decoder to work.
    pub fn take_pictures(
        &mut self,
        context: &Context<'_>,
        (leg, sender): (LegId, Sender),
        camera: &mut Camera,
    ) {
        let Some(height) = self.decoded_height(leg) else {
            return;
        };
        let is_for_people = self.is_for_people(leg);
        while let Some(picture) = camera.next_picture(context.now) {
            let epoch = &mut self.epoch;
            let decoding = self.decoders.entry(leg).or_insert_with(|| {
                *epoch += 1;
                Decoding::new(*epoch)
            });
            decoding.sender = sender;
            decoding.skip_filter = height <= SKIP_FILTER_BELOW;
            if decoding.waiting.len() >= MAX_WAITING {
                decoding.waiting.clear();
                match is_for_people {
                    true => self.damaged.push(leg),
                    false => decoding.is_damaged = true,
                }
            }
            let skip = match is_for_people {
                true => decoding.thinning.passes_over(picture.key_frame),
                false => {
                    let (skip, ask) = decoding.awaits_key(context.now, picture.key_frame);
                    self.damaged.extend(ask.then_some(leg));
                    skip
                }
            };
            match skip {
                true => decoding.spare.push(picture.data),
                false => decoding.waiting.push_back(picture),
            }
            if let Some(buffer) = decoding.spare.pop() {
                camera.recycle(buffer);
            }
        }
        self.decode(context.pool, leg);
    }

    fn decode(&mut self, pool: &Pool<Done>, leg: LegId) {
        let (room, is_for_people) = (self.room, self.is_for_people(leg));
        let is_alone = self.alone.height(leg).is_some();
        let least = match self.stills.is_wanted() {
            true => (stills::WIDTH, stills::HEIGHT),
            false => (0, 0),
        };
        let cell = self.views.largest(leg).filter(|_| !is_alone);
        let cell = cell.map(|cell| (cell.0.max(least.0), cell.1.max(least.1)));
        let Some(decoding) = self.decoders.get_mut(&leg) else {
            return;
        };
        if !decoding.home || decoding.waiting.is_empty() {
            return;
        }
        decoding.home = false;
        let whose = (room, leg, decoding.sender);
        let work = Decode {
            epoch: decoding.epoch,
            decoder: decoding.decoder.take(),
            reducer: std::mem::take(&mut decoding.reducer),
            skip_filter: decoding.skip_filter,
            cell,
            pictures: decoding.waiting.drain(..).collect(),
        };
        let job: Job<Done> = Box::new(move || Done::Decoded(run_decoder(whose, work)));
        let submitted = match is_for_people {
            true => pool.submit(job),
            false => pool.submit_last(job),
        };
        if !submitted {
            self.decoders.remove(&leg);
        }
    }

    /// Starts the next pictures of these scenes, and the next still. With each scene it is said whether
    /// somebody takes every second picture of it.
    pub fn tick(
        &mut self,
        context: &Context<'_>,
        tick: Tick,
        scenes: impl Iterator<Item = (Scene, bool)>,
    ) {
        let Tick {
            ticks,
            max_frame_rate,
            decoded,
        } = tick;
        self.is_slow = max_frame_rate < USUAL_RATE;
        self.stills
            .tick(context.now, context.pool, &self.views.room_tiles());
        self.want(scenes);
        for (scene, encoding) in &mut self.encoders {
            encoding.credit += ticks * scene.frame_rate().min(max_frame_rate);
            encoding.keys.earn(ticks);
        }
        self.sharpen(ticks);
        self.thin_out(context.now, decoded);
        self.show_notices(context);
        self.show_legs(context);
        for name in self.views.names() {
            self.compose(context, name);
        }
    }

    /// Encodes these scenes from now on.
    fn want(&mut self, scenes: impl Iterator<Item = (Scene, bool)>) {
        let mut wanted: HashMap<Scene, bool> = HashMap::new();
        for (scene, layered) in scenes {
            *wanted.entry(scene).or_default() |= layered;
        }
        self.encoders.retain(|scene, _| wanted.contains_key(scene));
        for (scene, layered) in wanted {
            let epoch = &mut self.epoch;
            let encoding = self.encoders.entry(scene).or_insert_with(|| {
                *epoch += 1;
                Encoding::new(*epoch)
            });
            encoding.layered = layered;
        }
    }

    /// Asks for key frames of those who show something that stands still, and whose cell grew.
    fn sharpen(&mut self, ticks: u32) {
        for (leg, decoding) in &mut self.decoders {
            let blurred = decoding.blurred.map(|before| before + ticks);
            let is_due = blurred.is_some_and(|ticks| ticks > BLURRED_TICKS);
            decoding.blurred = blurred.filter(|_| !is_due);
            self.damaged.extend(is_due.then_some(*leg));
        }
    }

    /// Starts the next picture of one view, where an encoder is due for it.
    fn compose(&mut self, context: &Context<'_>, name: ViewName) {
        let encoders = self.encoders.iter().filter(|(scene, encoding)| {
            scene.is_composed() && scene.view == name && encoding.credit >= TICKS
        });
        let due: Vec<Scene> = encoders.map(|(scene, _)| scene.clone()).collect();
        if due.is_empty() {
            return;
        }
        let (room, at, pts) = (self.room, context.now, self.pts(context.now));
        let decoders = &self.decoders;
        let sender = |leg| decoders.get(&leg).map_or(Sender::Peer, |d| d.sender);
        let Some(view) = self.views.get_mut(&name).filter(|view| !view.is_away) else {
            return;
        };
        let whose = (room, (name, view.epoch));
        let (size, canvas) = (view.size, view.canvas.take());
        let canvas = canvas.unwrap_or_else(|| Box::new(Compositor::new(size.0, size.1)));
        let fresh = view.take_fresh(self.is_slow).into_iter();
        let sizes = due
            .iter()
            .map(|scene| (scene.class.width, scene.class.height));
        let work = Work {
            spots: view.spots.clone(),
            size,
            fresh: fresh
                .map(|(leg, frame)| (leg, sender(leg), frame))
                .collect(),
            sizes: sizes.collect(),
            pts,
        };
        let only = match due.as_slice() {
            [scene] if scene.fits_a_tick() => self.encoders.get_mut(scene).zip(Some(scene)),
            _ => None,
        };
        let (encode, only) = only
            .filter(|(only, _)| only.home)
            .map(|(only, scene)| {
                only.credit %= TICKS;
                (only.work(room, scene, at), only)
            })
            .unzip();
        let job: Job<Done> =
            Box::new(move || Done::Composed(run_canvas(whose, canvas, work, encode, at)));
        view.is_away = context.pool.submit(job);
        if let Some(only) = only {
            only.home = !view.is_away;
        }
    }

    /// Draws and encodes the notices that are due.
    fn show_notices(&mut self, context: &Context<'_>) {
        let (room, at, pts) = (self.room, context.now, self.pts(context.now));
        for (scene, encoding) in &mut self.encoders {
            let Some(notice) = scene.notice.filter(|_| encoding.credit >= TICKS) else {
                continue;
            };
            encoding.credit %= TICKS;
            if !encoding.home {
                continue;
            }
            let work = encoding.work(room, scene, at);
            let job: Job<Done> = Box::new(move || {
                let class = &work.scene.class;
                let (width, height) = (class.width.into(), class.height.into());
                let picture = notice::draw(&notice, width, height).at(pts);
                Done::Encoded(run_encoder(work, &picture))
            });
            encoding.home = !context.pool.submit(job);
        }
    }

    /// Encodes what is new of legs that are shown alone.
    fn show_legs(&mut self, context: &Context<'_>) {
        let (room, at, pts) = (self.room, context.now, self.pts(context.now));
        for (scene, encoding) in &mut self.encoders {
            let Some(leg) = scene.leg.filter(|_| scene.notice.is_none()) else {
                continue;
            };
            encoding.credit = encoding.credit.min(2 * TICKS);
            let newest = self.alone.newest(leg).filter(|_| encoding.home);
            let Some(newest) = newest.filter(|_| encoding.credit >= TICKS) else {
                continue;
            };
            // Who asks for a key frame is given one though nothing moves.
            let is_new = encoding.shown != Some(newest.pts());
            let is_due = is_new || encoding.wants_key && encoding.keys.suffices();
            if !is_due {
                continue;
            }
            encoding.credit -= TICKS;
            encoding.shown = Some(newest.pts());
            let work = encoding.work(room, scene, at);
            let (canvas, newest) = (encoding.canvas.take(), newest.clone());
            let job: Job<Done> = Box::new(move || {
                let class = &work.scene.class;
                let size = (class.width.into(), class.height.into());
                let (canvas, picture) =
                    alone::fit((leg, &newest), (class.codec, size), canvas, pts);
                let mut done = run_encoder(work, &picture);
                done.canvas = Some(canvas);
                Done::Encoded(done)
            });
            encoding.home = !context.pool.submit(job);
        }
    }

    /// Media time in 1/90,000 s.
    fn pts(&mut self, at: Instant) -> i64 {
        let started = *self.started.get_or_insert(at);
        (at.saturating_duration_since(started).as_micros() * 9 / 100) as i64
    }

    /// Takes a job's result; an encoded picture is handed on.
    pub fn take_result(&mut self, context: &mut Context<'_>, done: Done) -> Option<Encoded> {
        match done {
            Done::Decoded(done) => self.take_decoded(context, done),
            Done::Composed(done) => return self.take_composed(context, done),
            Done::Encoded(done) => return self.take_encoded(done),
            Done::Still(made) => {
                let told = self.stills.take(context.now, made);
                context.events.extend(told.map(|event| (self.room, event)));
            }
        }
        None
    }

    fn take_decoded(&mut self, context: &Context<'_>, done: Decoded) {
        let is_for_people = self.is_for_people(done.leg);
        let Some(decoding) = self.decoders.get_mut(&done.leg) else {
            return;
        };
        if decoding.epoch != done.epoch {
            return;
        }
        decoding.home = true;
        if done.frame.is_some() {
            decoding.blurred = None;
        }
        decoding.decoder = done.decoder;
        decoding.reducer = done.reducer;
        decoding.spare = done.buffers;
        if done.damaged {
            match is_for_people {
                true => self.damaged.push(done.leg),
                false => decoding.is_damaged = true,
            }
        }
        if let Some(frame) = done.frame {
            self.stills
                .put(context.now, done.leg, decoding.sender, &frame);
            self.alone.put(done.leg, &frame);
            self.views.put(done.leg, &frame);
        }
        self.decode(context.pool, done.leg);
    }

    fn take_composed(&mut self, context: &Context<'_>, done: Composed) -> Option<Encoded> {
        let Composed {
            room,
            view: (view, epoch),
            canvas,
            pictures,
            encoded,
            at,
        } = done;
        let now = self.views.get_mut(&view);
        if let Some(now) = now.filter(|now| now.epoch == epoch) {
            (now.canvas, now.is_away) = (Some(canvas), false);
        } else {
            return encoded.and_then(|encoded| self.take_encoded(encoded));
        }
        if let Some(encoded) = encoded {
            return self.take_encoded(encoded);
        }
        let encoders = self.encoders.iter_mut();
        for (scene, encoding) in
            encoders.filter(|(scene, _)| scene.is_composed() && scene.view == view)
        {
            let size = (u32::from(scene.class.width), u32::from(scene.class.height));
            let picture = pictures.iter().find(|p| (p.width(), p.height()) == size);
            let Some(picture) = picture.filter(|_| encoding.credit >= TICKS) else {
                continue;
            };
            encoding.credit %= TICKS;
            if !encoding.home {
                continue;
            }
            let work = encoding.work(room, scene, at);
            let picture = picture.clone();
            let job: Job<Done> = Box::new(move || Done::Encoded(run_encoder(work, &picture)));
            encoding.home = !context.pool.submit(job);
        }
        None
    }

    fn take_encoded(&mut self, mut done: Encoded) -> Option<Encoded> {
        let encoding = self.encoders.get_mut(&done.scene);
        let encoding = encoding.filter(|encoding| encoding.epoch == done.epoch)?;
        encoding.home = true;
        encoding.encoder = done.encoder.take();
        encoding.canvas = done.canvas.take();
        if done.bytes.is_empty() {
            encoding.wants_key |= done.key;
            return None;
        }
        if done.key {
            encoding.keys.spend();
        }
        Some(done)
    }
}

impl Decoding {
    fn new(epoch: u64) -> Self {
        Self {
            epoch,
            sender: Sender::Peer,
            home: true,
            decoder: None,
            reducer: Reducer::default(),
            waiting: VecDeque::new(),
            spare: Vec::new(),
            skip_filter: false,
            is_damaged: false,
            key_asked: None,
            blurred: None,
            thinning: Thinning::default(),
        }
    }

    /// For stills alone: whether a picture is passed over since a key frame is missing, and whether one
    /// is asked for.
    fn awaits_key(&mut self, now: Instant, is_key: bool) -> (bool, bool) {
        if !self.is_damaged || is_key {
            self.is_damaged = false;
            return (false, false);
        }
        let asked = self.key_asked.map(|at| now.saturating_duration_since(at));
        match asked {
            Some(passed) if passed < KEY_WAIT => (true, false),
            Some(passed) if passed < KEY_AGAIN => {
                self.is_damaged = false;
                (false, false)
            }
            _ => {
                self.key_asked = Some(now);
                (true, true)
            }
        }
    }
}

impl Encoding {
    fn new(epoch: u64) -> Self {
        Self {
            epoch,
            home: true,
            encoder: None,
            canvas: None,
            shown: None,
            layered: false,
            wants_key: false,
            keys: KeyCredit::default(),
            credit: 0,
        }
    }

    /// What its next job takes away.
    fn work(&mut self, room: RoomId, scene: &Scene, composed_at: Instant) -> Encode {
        Encode {
            room,
            epoch: self.epoch,
            scene: scene.clone(),
            key: self.takes_key(),
            layered: self.layered,
            encoder: self.encoder.take(),
            composed_at,
        }
    }

    /// Whether the next picture is to be a key frame that was asked for. An encoder's first is one
    /// anyway.
    fn takes_key(&mut self) -> bool {
        let key = self.wants_key && self.keys.suffices();
        if key || self.encoder.is_none() {
            self.wants_key = false;
        }
        key && self.encoder.is_some()
    }
}

impl Scene {
    /// Whether composing and encoding it one after the other leaves time before the next: then its encoder
    /// runs where it was composed.
    fn fits_a_tick(&self) -> bool {
        self.class.frame_rate <= 30 && self.class.height <= 720
    }

    /// Whether it shows the composed picture.
    fn is_composed(&self) -> bool {
        self.notice.is_none() && self.leg.is_none()
    }

    /// Pictures per second.
    fn frame_rate(&self) -> u32 {
        let most = if self.notice.is_some() {
            NOTICE_RATE
        } else {
            TICKS
        };
        u32::from(self.class.frame_rate).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcu_api::codec::{H264Profile, PacketizationMode, VideoCodec};

    /// Defect: what an encoder made for a scene that was dropped and made again meanwhile was taken for
    /// the new one's, and two encoders wrote one stream.
    #[test]
    fn what_an_encoder_dropped_meanwhile_made_is_not_taken() {
        let room = RoomId(1);
        let mut picture = Picture::new(room, Instant::now());
        let scene = Scene {
            class: VideoClass {
                codec: VideoCodec::H263,
                width: 352,
                height: 288,
                frame_rate: 30,
                bitrate_bps: 64_000,
                profile: H264Profile::ConstrainedBaseline,
                level_idc: 0,
                packetization: PacketizationMode::SingleNal,
            },
            notice: None,
            leg: None,
            view: None,
        };
        let away = Encoding {
            home: false,
            ..Encoding::new(2)
        };
        picture.encoders.insert(scene.clone(), away);
        let made_by = |epoch| Encoded {
            room,
            epoch,
            scene: scene.clone(),
            encoder: None,
            canvas: None,
            bytes: vec![1],
            splits: Vec::new(),
            key: false,
            droppable: false,
            composed_at: Instant::now(),
        };
        assert!(picture.take_encoded(made_by(1)).is_none());
        assert!(!picture.encoders[&scene].home, "the new one is still away");
        assert!(picture.take_encoded(made_by(2)).is_some());
        assert!(picture.encoders[&scene].home);
        // A key frame that was not made is still wanted.
        let skipped = Encoded {
            bytes: Vec::new(),
            key: true,
            ..made_by(2)
        };
        assert!(picture.take_encoded(skipped).is_none());
        assert!(picture.encoders[&scene].wants_key);
    }

    fn seen_in(tiles: usize) -> HashMap<ViewName, Composition> {
        let cell = mcu_api::layout::Layout::default().cells(tiles)[0];
        let composition = Composition {
            spots: vec![crate::video::Spot::bare(LegId(1), cell)],
            is_watched: true,
            ..Composition::default()
        };
        HashMap::from([(None, composition)])
    }

    /// Only the picture of the smaller cell is kept, and a slide sends no other.
    #[test]
    fn of_what_stands_still_a_key_frame_is_asked_for_when_its_cell_grows() {
        let mut picture = Picture::new(RoomId(1), Instant::now());
        picture.set_views(seen_in(4));
        picture.decoders.insert(LegId(1), Decoding::new(1));
        picture.set_views(seen_in(9));
        picture.sharpen(10 * BLURRED_TICKS);
        assert_eq!(picture.take_damaged(), [], "it shrank");
        picture.set_views(seen_in(1));
        picture.sharpen(BLURRED_TICKS);
        assert_eq!(picture.take_damaged(), []);
        picture.sharpen(1);
        assert_eq!(picture.take_damaged(), [LegId(1)]);
        picture.sharpen(10 * BLURRED_TICKS);
        assert_eq!(picture.take_damaged(), [], "once");
    }
}
