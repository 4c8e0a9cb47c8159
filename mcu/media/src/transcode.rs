//! In which class a camera's picture is encoded anew for a receiver that does not take its codec.

use mcu_api::codec::{H264Profile, PacketizationMode, VideoClass, VideoCodec};
use mcu_api::ids::LegId;
use mcu_api::plan::VideoSend;

use crate::camera::{Chosen, Heights};

/// Sizes of pictures 16 to 9 and 4 to 3, smallest first.
const WIDE: [(u16, u16); 4] = [(320, 180), (640, 360), (960, 540), (1280, 720)];
const NARROW: [(u16, u16); 4] = [(192, 144), (384, 288), (640, 480), (768, 576)];
/// Rates in bit/s, so that receivers with nearly equal lines share one encoder.
const RATES_BPS: [u32; 9] = [
    2_000_000, 1_500_000, 1_000_000, 768_000, 512_000, 384_000, 256_000, 128_000, 64_000,
];
const FRAME_RATE: u8 = 30;
/// Pixels for which a bit is worth spending: what is encoded twice has no more detail than that.
const PIXELS_A_BIT: u32 = 14;

/// Classes in which one camera is encoded anew for one codec, at most: as many as a browser sends layers,
/// and one more, which is the least of all.
const MAX_CLASSES: usize = 4;

/// The classes in which a room encodes cameras anew. Full: a receiver gets the best of them that fits
/// it, else the least that there is.
#[derive(Debug, Default)]
pub struct Classes(Vec<(LegId, VideoClass)>);

impl Classes {
    /// Those that are held now.
    pub fn new(held: impl Iterator<Item = (LegId, VideoClass)>) -> Self {
        let mut classes = Self::default();
        held.for_each(|(leg, class)| classes.add(leg, class));
        classes
    }

    /// The class for a receiver that would get `wanted` of this leg.
    pub fn settle(&mut self, leg: LegId, wanted: VideoClass) -> VideoClass {
        let of_leg = self.0.iter().filter(|(of, _)| *of == leg);
        let alike: Vec<&VideoClass> = of_leg
            .map(|(_, class)| class)
            .filter(|class| same_payload(class, &wanted))
            .collect();
        let least = least(&wanted);
        // The last place is kept for what everybody can take.
        let places = MAX_CLASSES - usize::from(!alike.contains(&&least));
        let settled = match alike.contains(&&wanted) || alike.len() < places {
            true => wanted,
            false => {
                let fits = |class: &&&VideoClass| {
                    class.height <= wanted.height && class.bitrate_bps <= wanted.bitrate_bps
                };
                let best = alike.iter().filter(fits);
                let best = best.max_by_key(|class| (class.bitrate_bps, class.height));
                best.map_or(least, |class| (*class).clone())
            }
        };
        self.add(leg, settled.clone());
        settled
    }

    fn add(&mut self, leg: LegId, class: VideoClass) {
        let entry = (leg, class);
        if !self.0.contains(&entry) {
            self.0.push(entry);
        }
    }
}

/// Whether two classes are of the same bits in the same packets, in more or less detail.
fn same_payload(a: &VideoClass, b: &VideoClass) -> bool {
    (a.codec, a.profile, a.packetization) == (b.codec, b.profile, b.packetization)
}

/// The smallest picture in the fewest bits, 16 to 9 or 4 to 3 as the class is.
fn least(class: &VideoClass) -> VideoClass {
    let is_narrow = NARROW.contains(&(class.width, class.height));
    let (width, height) = if is_narrow { NARROW[0] } else { WIDE[0] };
    VideoClass {
        width,
        height,
        bitrate_bps: RATES_BPS[RATES_BPS.len() - 1],
        ..class.clone()
    }
}

/// The class for a camera's layer on a line of this plan with so much room. The one `held` is kept while
/// it fits and is worth at least half of what would be chosen: a change begins with a key frame.
pub fn class(
    plan: &VideoSend,
    camera: &Chosen,
    heights: Heights,
    budget_bps: u32,
    held: Option<&VideoClass>,
) -> VideoClass {
    let (width, height) = size(camera.size, heights);
    let frame_rate = FRAME_RATE.min(plan.limits.max_frame_rate.unwrap_or(u8::MAX));
    let worth = u32::from(width) * u32::from(height) * u32::from(frame_rate) / PIXELS_A_BIT;
    let most = worth.min(budget_bps).min(plan.max_bitrate_bps);
    let rate = RATES_BPS.into_iter().find(|rate| *rate <= most);
    let wanted = VideoClass {
        codec: plan.codec,
        width,
        height,
        frame_rate,
        bitrate_bps: rate.unwrap_or(RATES_BPS[RATES_BPS.len() - 1]),
        profile: H264Profile::ConstrainedBaseline,
        level_idc: if plan.codec == VideoCodec::H264 {
            31
        } else {
            0
        },
        packetization: match plan.codec {
            VideoCodec::H264 => plan.packetization,
            _ => PacketizationMode::SingleNal,
        },
    };
    let held = held.filter(|held| {
        let same = VideoClass {
            bitrate_bps: wanted.bitrate_bps,
            ..(*held).clone()
        } == wanted;
        let fits = held.bitrate_bps <= most.max(wanted.bitrate_bps);
        same && fits && held.bitrate_bps >= wanted.bitrate_bps / 2
    });
    held.cloned().unwrap_or(wanted)
}

/// The smallest size that fills what is shown, no taller than the camera's picture or the ceiling.
fn size(camera: Option<(u32, u32)>, heights: Heights) -> (u16, u16) {
    let (width, height) = camera.unwrap_or((1280, 720));
    // Samples of the ITU's formats are oblong: these are shown 4 to 3.
    let is_cif = matches!(
        (width, height),
        (176, 144) | (352, 288) | (704, 576) | (128, 96)
    );
    let sizes = match is_cif || width * 10 < height * 14 && width > height {
        true => NARROW,
        false => WIDE,
    };
    let most = height.min(heights.ceiling.into());
    let mut possible = sizes.iter().filter(|size| u32::from(size.1) <= most);
    let filling = possible.clone().find(|size| size.1 >= heights.wanted);
    *filling.or(possible.next_back()).unwrap_or(&sizes[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcu_api::plan::{Feedback, HeaderExtensions, PictureLimits};
    use mcu_rtp::forward::SourceKey;

    fn plan(codec: VideoCodec) -> VideoSend {
        VideoSend {
            codec,
            transport: 0,
            mid: None,
            payload_type: 96,
            rtx: None,
            ssrc: 1,
            rtx_ssrc: None,
            packetization: PacketizationMode::NonInterleaved,
            feedback: Feedback::default(),
            extensions: HeaderExtensions::default(),
            source: None,
            max_bitrate_bps: 4_000_000,
            limits: PictureLimits::default(),
        }
    }

    fn of(size: (u32, u32), wanted: u16, budget: u32, held: Option<&VideoClass>) -> VideoClass {
        let camera = Chosen {
            key: SourceKey(1),
            rate_bps: 1,
            codec: VideoCodec::H263,
            size: Some(size),
        };
        let heights = Heights::new(wanted, None);
        class(&plan(VideoCodec::Vp8), &camera, heights, budget, held)
    }

    #[test]
    fn the_size_is_that_of_the_camera_where_it_is_shown_so_tall() {
        let size = |camera, wanted| {
            let class = of(camera, wanted, u32::MAX, None);
            (class.width, class.height)
        };
        assert_eq!(size((352, 288), 720), (384, 288));
        assert_eq!(size((176, 144), 720), (192, 144));
        assert_eq!(size((704, 576), 300), (640, 480));
        assert_eq!(size((1920, 1080), 1080), (1280, 720));
        assert_eq!(size((1280, 720), 200), (640, 360));
        assert_eq!(size((128, 96), 720), (192, 144), "the smallest there is");
    }

    /// RFC 7741 §6.1.
    #[test]
    fn a_receiver_gets_no_more_pictures_a_second_than_it_takes() {
        let mut plan = plan(VideoCodec::Vp8);
        plan.limits.max_frame_rate = Some(15);
        let camera = Chosen {
            key: SourceKey(1),
            rate_bps: 1,
            codec: VideoCodec::H264,
            size: Some((1280, 720)),
        };
        let heights = Heights::new(720, None);
        let class = class(&plan, &camera, heights, u32::MAX, None);
        assert_eq!((class.frame_rate, class.bitrate_bps), (15, 768_000));
    }

    #[test]
    fn a_class_is_kept_while_it_fits() {
        let first = of((1280, 720), 720, 1_100_000, None);
        assert_eq!(first.bitrate_bps, 1_000_000);
        let again = |budget| of((1280, 720), 720, budget, Some(&first)).bitrate_bps;
        assert_eq!([1_000_000, 1_900_000, 3_000_000].map(again), [1_000_000; 3]);
        assert_eq!(again(999_999), 768_000);
        assert_eq!(of((1280, 720), 300, 1_900_000, Some(&first)).height, 360);
    }

    /// Receivers on many different lines would else have an encoder each.
    #[test]
    fn the_classes_of_a_camera_are_bounded_and_shared_beyond() {
        let leg = LegId(1);
        let wanted = |budget| of((1280, 720), 720, budget, None);
        let mut classes = Classes::default();
        let rates = [1_500_000, 1_000_000, 384_000];
        for rate in rates {
            assert_eq!(classes.settle(leg, wanted(rate)).bitrate_bps, rate);
        }
        // The next that fits is shared.
        let shared = classes.settle(leg, wanted(768_000));
        assert_eq!(shared, wanted(384_000));
        // None fits: the least of all, which has a place of its own.
        let least = classes.settle(leg, wanted(256_000));
        assert_eq!((least.height, least.bitrate_bps), (180, 64_000));
        for budget in (64_000..2_100_000).step_by(1_000) {
            for height in [90, 180, 360, 720] {
                let wish = of((1280, 720), height, budget, None);
                let settled = classes.settle(leg, wish.clone());
                assert!(settled.bitrate_bps <= wish.bitrate_bps && settled.height <= wish.height);
            }
        }
        assert_eq!(classes.0.len(), MAX_CLASSES);
        // Of another camera nothing is shared.
        assert_eq!(
            classes.settle(LegId(2), wanted(256_000)).bitrate_bps,
            256_000
        );
        // What is held goes on to be.
        let mut next = Classes::new(classes.0.clone().into_iter());
        assert_eq!(next.settle(leg, wanted(384_000)), wanted(384_000));
        assert_eq!(next.settle(leg, wanted(512_000)), wanted(384_000));
    }
}
