//! What a picture's jobs do, on the threads of the pool.

use std::sync::Arc;
use std::time::Instant;

use mcu_api::codec::VideoCodec;
use mcu_api::ids::{LegId, RoomId};
use mcu_rtp::video::AccessUnit;

use super::{Composed, Decoded, Encoded, Scene, ViewName};
use crate::blame::{self, Sender};
use crate::video::{Compositor, Decoder, Encoder, Frame, Reducer, Spot};

/// Pictures of one leg, and what they are decoded with.
pub(super) struct Decode {
    pub epoch: u64,
    pub decoder: Option<Decoder>,
    pub reducer: Reducer,
    pub skip_filter: bool,
    /// Size of the cell that shows them, where they are seen in nothing else.
    pub cell: Option<(u32, u32)>,
    pub pictures: Vec<AccessUnit>,
}

pub(super) fn run_decoder((room, leg, sender): (RoomId, LegId, Sender), work: Decode) -> Decoded {
    let _held = blame::hold(room, leg, sender);
    let mut done = Decoded {
        room,
        leg,
        epoch: work.epoch,
        decoder: work.decoder,
        reducer: work.reducer,
        frame: None,
        damaged: false,
        buffers: Vec::new(),
    };
    for picture in work.pictures {
        // Each by itself: what takes too long is one picture, not a heap of them.
        let _held = blame::hold(room, leg, sender);
        done.damaged |= picture.after_loss && !picture.key_frame;
        if let Some(decoder) = decoder_of(&mut done.decoder, picture.codec, leg) {
            decoder.skip_loop_filter(work.skip_filter);
            match decoder.decode(&picture.data, picture.ts.get() as i64) {
                Ok(frame) => done.frame = frame.or(done.frame),
                Err(error) => {
                    tracing::debug!(%leg, %error, "picture not decoded");
                    done.damaged = true;
                }
            }
            done.damaged |= decoder.damaged();
        }
        done.buffers.push(picture.data);
    }
    if let Some(cell) = work.cell {
        done.frame = done.frame.map(|frame| done.reducer.reduce(frame, cell));
    }
    done
}

/// The decoder if it is of this codec, or a new one.
fn decoder_of(
    decoder: &mut Option<Decoder>,
    codec: VideoCodec,
    leg: LegId,
) -> Option<&mut Decoder> {
    if decoder.as_ref().is_none_or(|known| known.codec() != codec) {
        *decoder = Decoder::new(codec)
            .inspect_err(|error| tracing::error!(%leg, %error, "no decoder"))
            .ok();
    }
    decoder.as_mut()
}

/// What a composition shows, and in which sizes it is wanted.
pub(super) struct Work {
    pub spots: Arc<[Spot]>,
    /// Of the canvas.
    pub size: (u32, u32),
    pub fresh: Vec<(LegId, Sender, Frame)>,
    pub sizes: Vec<(u16, u16)>,
    /// Media time in 1/90,000 s.
    pub pts: i64,
}

/// `encode` is what is to be made of the only size, at once: then the picture is still in the cache, and
/// nobody holds the canvas when the next one is drawn.
pub(super) fn run_canvas(
    (room, view): (RoomId, (ViewName, u64)),
    mut canvas: Box<Compositor>,
    work: Work,
    encode: Option<Encode>,
    at: Instant,
) -> Composed {
    canvas.resize(work.size);
    canvas.set_spots(&work.spots, |leg| blame::hold(room, leg, Sender::Peer));
    // From below, so that what lies over another is drawn once.
    let mut fresh = work.fresh;
    fresh.sort_by_key(|(leg, ..)| canvas.tiles().position(|tile| tile == *leg));
    for (leg, sender, frame) in fresh {
        let _held = blame::hold(room, leg, sender);
        if let Err(error) = canvas.put(leg, &frame) {
            tracing::debug!(%leg, %error, "picture not composed");
        }
    }
    let mut pictures: Vec<Frame> = Vec::new();
    for (width, height) in work.sizes {
        let (width, height) = (u32::from(width), u32::from(height));
        if pictures
            .iter()
            .any(|p| (p.width(), p.height()) == (width, height))
        {
            continue;
        }
        match canvas.compose_at(width, height, work.pts) {
            Ok(picture) => pictures.push(picture),
            Err(error) => tracing::error!(%error, width, height, "canvas not scaled"),
        }
    }
    let encoded = encode.map(|encode| match pictures.pop() {
        Some(picture) => run_encoder(encode, &picture),
        None => encode.unchanged(),
    });
    Composed {
        room,
        view,
        canvas,
        pictures,
        encoded,
        at,
    }
}

/// An encoder's next picture.
pub(super) struct Encode {
    pub room: RoomId,
    pub epoch: u64,
    pub scene: Scene,
    pub encoder: Option<Encoder>,
    /// It is to be a key frame.
    pub key: bool,
    /// Of two pictures one is to be droppable.
    pub layered: bool,
    pub composed_at: Instant,
}

pub(super) fn run_encoder(work: Encode, picture: &Frame) -> Encoded {
    let (key, layered) = (work.key, work.layered);
    let mut done = work.unchanged();
    // Layers that nobody needs any more do no harm; another encoder would begin with a key frame for all.
    let known = done.encoder.take();
    done.encoder = known.filter(|encoder| encoder.is_layered() || !layered);
    if done.encoder.is_none() {
        match Encoder::with_layers(&done.scene.class, picture.colour(), layered) {
            Ok(encoder) => done.encoder = Some(encoder),
            Err(error) => tracing::error!(%error, "no encoder"),
        }
    }
    let Some(encoder) = &mut done.encoder else {
        return done;
    };
    if key {
        encoder.force_key_frame();
    }
    match encoder.encode(picture) {
        Ok(Some(unit)) => {
            done.bytes = unit.bytes.to_vec();
            done.splits = unit.splits.to_vec();
            done.key = unit.key;
            done.droppable = unit.droppable;
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "picture not encoded"),
    }
    done
}

impl Encode {
    /// What it yields without a picture.
    fn unchanged(self) -> Encoded {
        Encoded {
            room: self.room,
            epoch: self.epoch,
            scene: self.scene,
            encoder: self.encoder,
            canvas: None,
            bytes: Vec::new(),
            splits: Vec::new(),
            key: self.key,
            droppable: false,
            composed_at: self.composed_at,
        }
    }
}
