//! Who takes every second picture of somebody else's encoder instead of having one (H.264's temporal layers).
//!
//! Such an encoder lets no picture build on every second one, so that those may be left out. A receiver of half
//! as many pictures a second then shows what the faster one does, in fewer bits.

use mcu_api::codec::{H264Profile, PacketizationMode, VideoClass, VideoCodec};

/// Share of the bits that is left without every second picture, at most: measured in
/// `video/temporal_tests.rs`.
pub const BASE_SHARE: f64 = 0.7;

/// Of `classes`, whose every second picture a receiver of `own` can take: the same picture in the same packets,
/// twice as often, whose half takes no more bits than it may. A receiver that may have more bits than the
/// faster one keeps an encoder of its own, and so does one of a quarter as many pictures.
pub fn base<'c>(
    own: &VideoClass,
    classes: impl Iterator<Item = &'c VideoClass> + Clone,
) -> Option<&'c VideoClass> {
    let half = |own: &VideoClass| {
        let fits = classes.clone().filter(|class| is_half_of(own, class));
        fits.max_by_key(|class| class.bitrate_bps)
    };
    // Of who takes every second picture there is no encoder.
    half(own).filter(|base| half(base).is_none())
}

fn is_half_of(own: &VideoClass, class: &VideoClass) -> bool {
    class.codec == VideoCodec::H264
        && u32::from(class.frame_rate) == 2 * u32::from(own.frame_rate)
        && picture(class) == picture(own)
        && own.bitrate_bps <= class.bitrate_bps
        && f64::from(class.bitrate_bps) * BASE_SHARE <= f64::from(own.bitrate_bps)
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
/// the sequence parameter sets (§7.3.2.1.1), after the NAL unit's type and the profile. `bytes` are an access
/// unit in Annex B format.
pub fn at_level(bytes: &[u8], level_idc: u8) -> Vec<u8> {
    const SEQUENCE_PARAMETER_SET: u8 = 7;
    let mut bytes = bytes.to_vec();
    for at in 3..bytes.len().saturating_sub(3) {
        let begins = bytes[at - 3..at] == [0, 0, 1];
        if begins && bytes[at] & 31 == SEQUENCE_PARAMETER_SET {
            bytes[at + 3] = level_idc;
        }
    }
    bytes
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
    fn a_receiver_of_half_as_many_pictures_needs_no_encoder_where_its_bits_are_about_those_of_half()
    {
        let own = class(30, 1_000_000);
        let of = |class: VideoClass| base(&own, [class].iter()).is_some();
        assert!(of(class(60, 1_000_000)) && of(class(60, 1_400_000)));
        assert!(!of(class(60, 1_500_000)), "half of it is too much");
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
        let classes = [class(60, 1_000_000), class(60, 1_200_000)];
        assert_eq!(base(&own, classes.iter()), Some(&classes[1]));
        let classes = [class(60, 1_000_000), own.clone()];
        let slowest = class(15, 1_000_000);
        assert_eq!(base(&slowest, classes.iter()), None, "a quarter");
        assert_eq!(base(&slowest, classes[1..].iter()), Some(&own));
        let vp8 = |frame_rate| VideoClass {
            codec: VideoCodec::Vp8,
            ..class(frame_rate, 1_000_000)
        };
        assert_eq!(base(&vp8(30), [vp8(60)].iter()), None);
    }

    #[test]
    fn the_level_is_changed_in_parameter_sets_alone() {
        let unit = [
            0, 0, 0, 1, 0x67, 66, 0xe0, 32, 9, 0, 0, 1, 0x68, 1, 2, 3, 4, 0, 0, 1, 0x65, 7, 7, 7,
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
