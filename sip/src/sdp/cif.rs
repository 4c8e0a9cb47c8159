//! Parameters of H.261 (RFC 4587 §6) and H.263 (RFC 4629 §8): picture sizes, each with the least time
//! between two pictures of it, and the choice of what to send to a peer that set them.

use mcu_api::codec::{H264Profile, PacketizationMode, VideoClass, VideoCodec};
use serde::{Deserialize, Serialize};

use super::LocalVideo;
use super::lines::parameters;

/// A picture of the ITU's formats. One is taken only if there is at least `min_bps` for it, and never
/// gets more than `max_bps`.
struct Picture {
    /// As parameter (RFC 4629 §8.1.1); some terminals write the number before.
    names: [&'static str; 2],
    width: u16,
    height: u16,
    min_bps: u32,
    max_bps: u32,
}

/// Pictures that are sent and taken, largest first.
const PICTURES: [Picture; 4] = [
    picture(["cif4", "4cif"], 704, 576, 384_000, 2_000_000),
    picture(["cif", "cif"], 352, 288, 48_000, 768_000),
    picture(["qcif", "qcif"], 176, 144, 0, 192_000),
    picture(["sqcif", "sqcif"], 128, 96, 0, 128_000),
];
/// What a level of H.263 allows (H.263 table X.2).
struct Level {
    number: u32,
    /// As [`Format::intervals`].
    intervals: [u8; 4],
    max_bps: u32,
}

/// Levels, lowest first. Those from 50 on have sizes between ours and shorter intervals, too.
const LEVELS: [Level; 8] = [
    level(10, [0, 0, 2, 2], 64_000),
    level(20, [0, 2, 1, 1], 128_000),
    level(30, [0, 1, 1, 1], 384_000),
    level(40, [0, 1, 1, 1], 2_048_000),
    level(45, [0, 0, 2, 2], 128_000),
    level(50, [0, 1, 1, 1], 4_096_000),
    level(60, [0, 1, 1, 1], 8_192_000),
    level(70, [1, 1, 1, 1], 16_384_000),
];

const fn level(number: u32, intervals: [u8; 4], max_bps: u32) -> Level {
    Level {
        number,
        intervals,
        max_bps,
    }
}

/// Index of 4CIF, which levels below 70 do not have.
const CIF4: usize = 0;
/// Index of QCIF, which every decoder takes.
const QCIF: usize = 2;

const fn picture(
    names: [&'static str; 2],
    width: u16,
    height: u16,
    min_bps: u32,
    max_bps: u32,
) -> Picture {
    Picture {
        names,
        width,
        height,
        min_bps,
        max_bps,
    }
}

/// Rates in bit/s that classes have, so that peers with nearly equal limits share one encoder.
const RATES_BPS: [u32; 11] = [
    2_000_000, 1_500_000, 1_000_000, 768_000, 512_000, 384_000, 256_000, 192_000, 128_000, 64_000,
    48_000,
];
/// Frame rates.
const FRAME_RATES: [u8; 6] = [30, 15, 10, 7, 5, 1];

/// One payload type as its `a=fmtp` describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// H.261 or H.263.
    pub codec: VideoCodec,
    /// `H263-2000` in place of `H263-1998`, of the same bits.
    pub is_2000: bool,
    /// For each of 4CIF, CIF, QCIF and sub-QCIF: least time between pictures in 1001/30000 s; 0 where
    /// the peer does not take it.
    pub intervals: [u8; 4],
    /// The least of `MAXBR` and what the level has, in bit/s.
    pub max_bitrate_bps: Option<u32>,
}

impl Format {
    /// Reads an `a=fmtp` value; who names no size takes QCIF at any rate (RFC 4587 §6.2, RFC 4629
    /// §8.2.1), or those of the level that is named. `None` for profiles of H.263 beyond its baseline.
    pub fn parse(codec: VideoCodec, is_2000: bool, fmtp: Option<&str>) -> Option<Self> {
        let parameters = parameters(fmtp.unwrap_or_default());
        let number = |name: &str| {
            let text = parameters.get(name)?;
            text.parse::<u32>().ok().filter(|number| *number > 0)
        };
        // RFC 4629 §8.1.2: who names no profile has the baseline.
        if is_2000
            && parameters
                .get("profile")
                .is_some_and(|text| text.parse::<u32>() != Ok(0))
        {
            return None;
        }
        let interval = |name| {
            let interval = number(name).filter(|interval| *interval <= 32);
            interval.and_then(|interval| u8::try_from(interval).ok())
        };
        let named = PICTURES.map(|picture| picture.names.into_iter().find_map(interval));
        let mut intervals = named.map(Option::unwrap_or_default);
        // H.261 has two sizes (H.261 §3.1).
        if codec == VideoCodec::H261 {
            (intervals[0], intervals[3]) = (0, 0);
        }
        let level = number("level").filter(|_| is_2000).map(level_of);
        if let Some(level) = level {
            intervals = within(intervals, level.intervals);
        }
        if intervals == [0; 4] {
            intervals[QCIF] = 1;
        }
        // Units of 100 bit/s.
        let named_bps = number("maxbr").map(|hundreds| hundreds.saturating_mul(100));
        let level_bps = level.map(|level| level.max_bps);
        let max_bitrate_bps = named_bps.into_iter().chain(level_bps).min();
        Some(Self {
            codec,
            is_2000,
            intervals,
            max_bitrate_bps,
        })
    }

    /// A payload type of our own making.
    pub const fn own(codec: VideoCodec) -> Self {
        let intervals = match codec {
            VideoCodec::H261 => [0, 1, 1, 0],
            _ => [1, 1, 1, 1],
        };
        Self {
            codec,
            is_2000: false,
            intervals,
            max_bitrate_bps: None,
        }
    }

    /// The best class within the peer's limits, our own, and `bandwidth_bps`.
    pub fn class(&self, local: &LocalVideo, bandwidth_bps: u64) -> Option<VideoClass> {
        let limit = u64::from(self.max_bitrate_bps.unwrap_or(u32::MAX));
        let budget = bandwidth_bps.min(limit).min(local.max_bitrate_bps.into());
        let pictures = PICTURES.iter().zip(self.intervals);
        let mut pictures = pictures.filter(|(picture, interval)| {
            let is_taken = *interval > 0 && u64::from(picture.min_bps) <= budget;
            is_taken && picture.width <= local.max_width && picture.height <= local.max_height
        });
        // Every decoder takes QCIF (H.261 §3.1, H.263 §4.1), also one that did not name it.
        let named = self.intervals.into_iter().rfind(|interval| *interval > 0)?;
        let qcif = (&PICTURES[QCIF], named);
        let (picture, interval) = pictures.next().unwrap_or(qcif);
        let budget = budget.min(picture.max_bps.into());
        let bitrate_bps = RATES_BPS
            .into_iter()
            .find(|rate| u64::from(*rate) <= budget);
        // Below all of them what there is: pictures are left out until it suffices.
        let bitrate_bps = bitrate_bps.or(u32::try_from(budget).ok())?.max(1);
        let most = local.max_frame_rate.min((30 / interval).max(1));
        let most = most.min(motion(picture, bitrate_bps));
        Some(VideoClass {
            codec: self.codec,
            width: picture.width,
            height: picture.height,
            frame_rate: FRAME_RATES.into_iter().find(|rate| *rate <= most)?,
            bitrate_bps,
            profile: H264Profile::ConstrainedBaseline,
            level_idc: 0,
            packetization: PacketizationMode::SingleNal,
        })
    }

    /// What may be sent in place of the best class where no so tall picture is wanted, largest first.
    pub fn smaller(&self, local: &LocalVideo, bandwidth_bps: u64) -> Vec<VideoClass> {
        let best = self.class(local, bandwidth_bps);
        let below = best.map_or(0, |class| class.height);
        let smaller = PICTURES.iter().filter(|picture| picture.height < below);
        let classes = smaller.filter_map(|picture| {
            let local = LocalVideo {
                max_width: picture.width,
                max_height: picture.height,
                ..*local
            };
            let class = self.class(&local, bandwidth_bps);
            class.filter(|class| class.height == picture.height)
        });
        classes.collect()
    }

    /// The `a=fmtp` parameters that declare what we take on this payload type.
    pub fn our_parameters(&self, local: &LocalVideo) -> String {
        let own = Self::own(self.codec);
        let is_wanted = |picture: &Picture| {
            picture.width <= local.max_width && picture.height <= local.max_height
        };
        let taken = PICTURES.iter().zip(own.intervals);
        let taken = taken.filter(|(picture, interval)| {
            *interval > 0 && (is_wanted(picture) || picture.height == PICTURES[QCIF].height)
        });
        let sizes = taken.map(|(p, interval)| format!("{}={interval}", p.names[0].to_uppercase()));
        // The lowest level that has the sizes which follow, at the rates of video in calls.
        let level = if is_wanted(&PICTURES[CIF4]) { 70 } else { 40 };
        let profile = self.is_2000.then(|| format!("profile=0;level={level}"));
        profile
            .into_iter()
            .chain(sizes)
            .collect::<Vec<_>>()
            .join(";")
    }

    /// Name, as of `a=rtpmap`.
    pub const fn encoding(&self) -> &'static str {
        match (self.codec, self.is_2000) {
            (VideoCodec::H261, _) => "H261",
            (VideoCodec::H263Plus, false) => "H263-1998",
            (VideoCodec::H263Plus, true) => "H263-2000",
            _ => "H263",
        }
    }
}

/// Pictures a second for which a rate suffices: about 3 kbit for a picture of CIF, four times as much
/// for one of 4CIF.
const fn motion(picture: &Picture, bitrate_bps: u32) -> u8 {
    let blocks = picture.width as u32 * picture.height as u32 / 256;
    let rate = bitrate_bps / (blocks * 8);
    if rate < 7 {
        7
    } else if rate > 30 {
        30
    } else {
        rate as u8
    }
}

/// The level of this number, or the next lower one that there is.
fn level_of(number: u32) -> &'static Level {
    let known = LEVELS.iter().rfind(|level| level.number <= number);
    known.unwrap_or(&LEVELS[0])
}

/// Sizes that were named, as far as the level has them; those of the level if none was.
fn within(named: [u8; 4], level: [u8; 4]) -> [u8; 4] {
    let is_taken = |place: usize| named[place] > 0 && level[place] > 0;
    let both = std::array::from_fn(|place| match is_taken(place) {
        true => named[place].max(level[place]),
        false => 0,
    });
    match both {
        [0, 0, 0, 0] if named == [0; 4] => level,
        [0, 0, 0, 0] => [0, 0, level[QCIF], 0],
        both => both,
    }
}

/// What is sent in place of a class of these codecs where no taller picture is wanted: one of those that
/// the peer's limits leave, of which each has its own least time between pictures. QCIF where it named
/// none so small.
pub fn at_most(class: &VideoClass, smaller: &[VideoClass], max_height: u16) -> VideoClass {
    if let Some(fits) = smaller.iter().find(|class| class.height <= max_height) {
        return fits.clone();
    }
    let least = smaller.last().unwrap_or(class);
    let qcif = &PICTURES[QCIF];
    if least.height <= qcif.height {
        return least.clone();
    }
    VideoClass {
        width: qcif.width,
        height: qcif.height,
        bitrate_bps: least.bitrate_bps.min(qcif.max_bps),
        ..least.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: LocalVideo = LocalVideo::hd720(5000, 5001);

    fn class(codec: VideoCodec, fmtp: &str, bps: u64) -> (u16, u16, u8, u32) {
        let format = Format::parse(codec, false, Some(fmtp)).unwrap();
        let class = format.class(&LOCAL, bps).unwrap();
        assert_eq!(class.codec, codec);
        (
            class.width,
            class.height,
            class.frame_rate,
            class.bitrate_bps,
        )
    }

    #[test]
    fn the_largest_picture_that_peer_and_rate_allow_is_sent() {
        use VideoCodec::{H261, H263, H263Plus};
        assert_eq!(class(H261, "CIF=1;QCIF=1", 64_000), (352, 288, 15, 64_000));
        assert_eq!(
            class(H261, "CIF=2 QCIF=1", 900_000),
            (352, 288, 15, 768_000)
        );
        assert_eq!(class(H261, "", 900_000), (176, 144, 30, 192_000));
        assert_eq!(
            class(H263, "4CIF=1;CIF=1", 2_000_000),
            (704, 576, 30, 2_000_000)
        );
        assert_eq!(
            class(H263, "CIF4=1;CIF=1", 380_000),
            (352, 288, 30, 256_000)
        );
        assert_eq!(
            class(H263Plus, "CIF=1;MAXBR=1280", 900_000),
            (352, 288, 30, 128_000)
        );
        assert_eq!(class(H263Plus, "QCIF=3", 900_000), (176, 144, 10, 192_000));
        assert_eq!(class(H263, "SQCIF=1", 20_000), (128, 96, 30, 20_000));
        assert_eq!(class(H263, "CIF=2", 20_000), (176, 144, 15, 20_000));
    }

    #[test]
    fn profiles_beyond_the_baseline_are_left_alone() {
        let plus = |fmtp| Format::parse(VideoCodec::H263Plus, true, Some(fmtp));
        assert_eq!(plus("profile=3;level=10"), None);
        let format = plus("profile=0;level=10;CIF=1").unwrap();
        assert_eq!(format.encoding(), "H263-2000");
        assert_eq!(
            format.our_parameters(&LOCAL),
            "profile=0;level=70;CIF4=1;CIF=1;QCIF=1;SQCIF=1"
        );
        assert_eq!(
            format.our_parameters(&LOCAL.at_most(Some(360))),
            "profile=0;level=40;CIF=1;QCIF=1;SQCIF=1"
        );
        assert_eq!(
            Format::own(VideoCodec::H261).our_parameters(&LOCAL.at_most(Some(360))),
            "CIF=1;QCIF=1"
        );
    }

    /// Defect: a peer of H.263-2000 was sent pictures, and bits, that its level does not have (TER-08).
    #[test]
    fn the_level_bounds_size_and_frame_rate_and_bits() {
        let class = |fmtp| {
            let format = Format::parse(VideoCodec::H263Plus, true, Some(fmtp)).unwrap();
            let class = format.class(&LOCAL, 2_000_000).unwrap();
            (class.height, class.frame_rate, class.bitrate_bps)
        };
        assert_eq!(class("profile=0;level=10;CIF=1;QCIF=1"), (144, 15, 64_000));
        assert_eq!(class("profile=0;level=10;CIF=1"), (144, 15, 64_000));
        assert_eq!(class("level=20"), (288, 15, 128_000));
        assert_eq!(class("level=30;CIF=3"), (288, 10, 384_000));
        assert_eq!(class("level=45"), (144, 15, 128_000));
        assert_eq!(class("level=40;CIF4=1;CIF=1"), (288, 30, 768_000));
        assert_eq!(class("level=70;CIF4=1"), (576, 30, 2_000_000));
        assert_eq!(class("level=70;CIF4=1;MAXBR=6000").2, 512_000);
        assert_eq!(class("level=7"), (144, 15, 64_000), "below the lowest");
        assert_eq!(class("level=255;CIF=1").0, 288);
        assert_eq!(class("CIF=1").0, 288, "none named");
        // H263-1998 has no levels.
        let plain = Format::parse(VideoCodec::H263Plus, false, Some("level=10;CIF=1"));
        assert_eq!(plain.unwrap().max_bitrate_bps, None);
    }

    /// Defect: the smaller picture came as fast as the larger one may, and in a size that the peer did
    /// not name.
    #[test]
    fn a_lower_ceiling_makes_a_smaller_picture_within_the_limits_of_its_own() {
        let less = |fmtp, most| {
            let format = Format::parse(VideoCodec::H263, false, Some(fmtp)).unwrap();
            let class = format.class(&LOCAL, 2_000_000).unwrap();
            let smaller = format.smaller(&LOCAL, 2_000_000);
            let less = at_most(&class, &smaller, most);
            (less.height, less.frame_rate, less.bitrate_bps)
        };
        let all = "4CIF=1;CIF=2;QCIF=3;SQCIF=6";
        assert_eq!(less(all, 575), (288, 15, 768_000));
        assert_eq!(less(all, 200), (144, 10, 192_000));
        assert_eq!(less(all, 90), (96, 5, 128_000));
        assert_eq!(less("4CIF=1;QCIF=2", 360), (144, 15, 192_000));
        assert_eq!(less("4CIF=1;CIF=4", 200), (144, 7, 192_000));
        assert_eq!(less("SQCIF=2", 90), (96, 15, 128_000));
    }
}
