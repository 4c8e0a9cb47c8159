//! Who takes every second picture of somebody else's encoder instead of having one (H.264's temporal layers).
//!
//! Such an encoder lets no picture build on every second one, so that those may be left out. A receiver of half
//! as many pictures a second then shows what the faster one does, in fewer bits.

use std::time::{Duration, Instant};

use mcu_api::codec::{H264Profile, PacketizationMode, VideoClass, VideoCodec};

/// It is told by a flag, too, which is not rewritten (H.264 §A.3.1).
const LEVEL_1B: u8 = 9;

/// Of `classes`, whose every second picture a receiver of `own` can take: the same picture in the same packets,
/// twice as often, in as many bits. Of a faster one of more bits every second picture may be too much, where
/// nothing moves in between; one of fewer bits would be seen. A receiver of a quarter as many pictures keeps an
/// encoder of its own.
pub fn base<'c>(
    own: &VideoClass,
    classes: impl Iterator<Item = &'c VideoClass> + Clone,
) -> Option<&'c VideoClass> {
    // Of who takes every second picture there is no encoder.
    let has_encoder = |class: &VideoClass| !classes.clone().any(|other| is_half_of(class, other));
    let mut faster = classes.clone().filter(|class| is_half_of(own, class));
    faster.find(|class| has_encoder(class))
}

fn is_half_of(own: &VideoClass, class: &VideoClass) -> bool {
    class.codec == VideoCodec::H264
        && own.level_idc != LEVEL_1B
        && u32::from(class.frame_rate) == 2 * u32::from(own.frame_rate)
        && picture(class) == picture(own)
        && class.bitrate_bps == own.bitrate_bps
}

fn picture(class: &VideoClass) -> (VideoCodec, u16, u16, H264Profile, PacketizationMode) {
    (
        class.codec,
        class.width,
        class.height,
        class.profile,
        class.packetization,
    )
}

/// The same pictures under another level: with fewer of them a lower one is kept to (H.264 §A.3). It stands in
/// the sequence parameter sets (§7.3.2.1.1), after the NAL unit's type and the profile, which come before the
/// picture itself. `bytes` are an access unit in Annex B format.
pub fn at_level(bytes: &[u8], level_idc: u8) -> Vec<u8> {
    const SLICE: u8 = 1;
    const SLICE_OF_IDR: u8 = 5;
    const SEQUENCE_PARAMETER_SET: u8 = 7;
    let mut bytes = bytes.to_vec();
    for at in 3..bytes.len().saturating_sub(3) {
        if bytes[at - 3..at] != [0, 0, 1] {
            continue;
        }
        match bytes[at] & 31 {
            SEQUENCE_PARAMETER_SET => bytes[at + 3] = level_idc,
            SLICE | SLICE_OF_IDR => break,
            _ => {}
        }
    }
    bytes
}

/// Which pictures a receiver takes of an encoder of more of them: all that others build on, and of the rest as
/// many as it has time for.
#[derive(Debug, Default)]
pub struct Share {
    last: Option<Instant>,
    /// Pictures that it may have now.
    due: f32,
}

impl Share {
    /// Whether it takes a picture that was composed at `at`, of so many a second at most.
    pub fn takes(&mut self, at: Instant, frame_rate: u8, droppable: bool) -> bool {
        let passed = self
            .last
            .replace(at)
            .map_or(Duration::ZERO, |last| at.saturating_duration_since(last));
        self.due = (self.due + passed.as_secs_f32() * f32::from(frame_rate)).min(2.0);
        // Ticks are not quite alike.
        if droppable && self.due < 0.9 {
            return false;
        }
        self.due = (self.due - 1.0).max(-1.0);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(frame_rate: u8, bitrate_bps: u32) -> VideoClass {
        VideoClass {
            codec: VideoCodec::H264,
            width: 1280,
            height: 720,
            frame_rate,
            bitrate_bps,
            profile: H264Profile::ConstrainedBaseline,
            level_idc: frame_rate,
            packetization: PacketizationMode::NonInterleaved,
        }
    }

    #[test]
    fn a_receiver_of_half_as_many_pictures_in_as_many_bits_needs_no_encoder() {
        let own = class(30, 1_000_000);
        let of = |class: VideoClass| base(&own, [class].iter()).is_some();
        assert!(of(class(60, 1_000_000)));
        assert!(!of(class(60, 1_200_000)), "half of it may be too much");
        assert!(!of(class(60, 900_000)), "it may have more");
        assert!(!of(class(30, 1_000_000)) && !of(class(50, 1_000_000)));
        for other in [
            VideoClass {
                height: 768,
                ..class(60, 1_000_000)
            },
            VideoClass {
                profile: H264Profile::High,
                ..class(60, 1_000_000)
            },
            VideoClass {
                packetization: PacketizationMode::SingleNal,
                ..class(60, 1_000_000)
            },
        ] {
            assert!(!of(other));
        }
        let classes = [class(60, 1_000_000), own.clone()];
        let slowest = class(15, 1_000_000);
        assert_eq!(base(&own, classes.iter()), Some(&classes[0]));
        assert_eq!(base(&slowest, classes.iter()), None, "a quarter");
        assert_eq!(base(&slowest, classes[1..].iter()), Some(&own));
        let level_1b = VideoClass {
            level_idc: LEVEL_1B,
            ..own.clone()
        };
        assert_eq!(base(&level_1b, classes.iter()), None);
        let vp8 = |frame_rate| VideoClass {
            codec: VideoCodec::Vp8,
            ..class(frame_rate, 1_000_000)
        };
        assert_eq!(base(&vp8(30), [vp8(60)].iter()), None);
    }

    /// Defect: while the machine made 31 to 59 pictures a second, a receiver of 30 got half of them.
    #[test]
    fn a_receiver_gets_its_pictures_however_many_the_encoder_makes() {
        let start = Instant::now();
        for (made, wanted) in [(60, 30), (48, 30), (38, 30), (31, 30), (30, 30), (20, 20)] {
            let mut share = Share::default();
            let taken = (0..10 * made).filter(|n: &u32| {
                // A tick comes up to a millisecond late.
                let late = Duration::from_micros(u64::from(n * 7919 % 1_000));
                let at = start + Duration::from_secs(1) * *n / made + late;
                share.takes(at, 30, n % 2 == 1)
            });
            let taken = taken.count();
            assert!(taken.abs_diff(10 * wanted) <= 12, "{made}: {taken}");
        }
    }

    #[test]
    fn the_level_is_changed_in_parameter_sets_alone() {
        let unit = [
            0, 0, 0, 1, 0x67, 66, 0xe0, 32, 9, 0, 0, 1, 0x65, 1, 0, 0, 1, 0x67, 7, 7, 7,
        ];
        let mut wanted = unit;
        wanted[7] = 31;
        assert_eq!(at_level(&unit, 31), wanted);
        assert_eq!(at_level(&[0, 0, 1], 31), [0, 0, 1]);
        assert_eq!(
            at_level(&[0, 0, 1, 0x67, 66, 0], 31),
            [0, 0, 1, 0x67, 66, 0]
        );
    }
}
