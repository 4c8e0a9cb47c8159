//! H.264 parameters of RFC 6184 §8, the level limits of H.264 Table A-1, and the choice of what to
//! send to a peer that set them.

use mcu_api::codec::{H264Profile, PacketizationMode, VideoClass, VideoCodec};
use serde::{Deserialize, Serialize};

use super::LocalVideo;
use super::lines::parameters;

/// One level of H.264 Table A-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// `level_idc`, ten times the level's number; 9 stands for level 1b.
    pub idc: u8,
    /// MaxMBPS: macroblocks a second.
    pub max_mbps: u32,
    /// MaxFS: macroblocks a frame.
    pub max_fs: u32,
    /// MaxBR in units of 1000 bit/s for Baseline and Main; High has 1.25 times as much
    /// (Table A-2, cpbBrVclFactor).
    pub max_br: u32,
}

/// H.264 (08/2021) Table A-1, in the order of capability.
const LEVELS: [Level; 20] = [
    level(10, 1_485, 99, 64),
    level(9, 1_485, 99, 128),
    level(11, 3_000, 396, 192),
    level(12, 6_000, 396, 384),
    level(13, 11_880, 396, 768),
    level(20, 11_880, 396, 2_000),
    level(21, 19_800, 792, 4_000),
    level(22, 20_250, 1_620, 4_000),
    level(30, 40_500, 1_620, 10_000),
    level(31, 108_000, 3_600, 14_000),
    level(32, 216_000, 5_120, 20_000),
    level(40, 245_760, 8_192, 20_000),
    level(41, 245_760, 8_192, 50_000),
    level(42, 522_240, 8_704, 50_000),
    level(50, 589_824, 22_080, 135_000),
    level(51, 983_040, 36_864, 240_000),
    level(52, 2_073_600, 36_864, 240_000),
    level(60, 4_177_920, 139_264, 240_000),
    level(61, 8_355_840, 139_264, 480_000),
    level(62, 16_711_680, 139_264, 800_000),
];

const fn level(idc: u8, max_mbps: u32, max_fs: u32, max_br: u32) -> Level {
    Level {
        idc,
        max_mbps,
        max_fs,
        max_br,
    }
}

/// Pictures that are composed, largest first: all 16:9 and even. A picture is taken only if there
/// is at least `min_bps` for it, which is what a talking head wants (TER-10, TER-11; measured by the bench
/// `low_rates`), and never gets more than `max_bps`.
const PICTURES: [Picture; 7] = [
    picture(1920, 1080, 512_000, 6_000_000),
    picture(1280, 720, 384_000, 4_000_000),
    picture(960, 540, 256_000, 2_000_000),
    picture(640, 360, 128_000, 1_000_000),
    picture(512, 288, 96_000, 768_000),
    picture(320, 180, 64_000, 384_000),
    picture(160, 90, 48_000, 128_000),
];

#[derive(Clone, Copy)]
struct Picture {
    width: u16,
    height: u16,
    min_bps: u32,
    max_bps: u32,
}

const fn picture(width: u16, height: u16, min_bps: u32, max_bps: u32) -> Picture {
    Picture {
        width,
        height,
        min_bps,
        max_bps,
    }
}

/// Frame rates and rates in bit/s that classes have, so that peers with nearly equal limits share
/// one encoder.
const FRAME_RATES: [u8; 9] = [60, 50, 30, 25, 20, 15, 10, 7, 5];
const RATES_BPS: [u32; 19] = [
    6_000_000, 5_000_000, 4_000_000, 3_000_000, 2_500_000, 2_000_000, 1_750_000, 1_500_000,
    1_250_000, 1_000_000, 768_000, 512_000, 384_000, 256_000, 192_000, 128_000, 96_000, 64_000,
    48_000,
];

/// Motion first: a smaller picture is better than one slower than the first of these, and so on.
const WANTED_FRAME_RATES: [u8; 4] = [24, 15, 10, 5];

/// One H.264 payload type as its `a=fmtp` describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// `profile_idc`: 0x42, 0x4d or 0x64.
    pub profile_idc: u8,
    /// `profile-iop`: the constraint flags.
    pub constraints: u8,
    /// The level of `profile-level-id`.
    pub level: Level,
    /// `packetization-mode`.
    pub packetization: PacketizationMode,
    /// `level-asymmetry-allowed`.
    pub level_asymmetry: bool,
    /// What the peer takes: the level's limits, each replaced by the parameter that names it. A
    /// parameter below the level is against RFC 6184 §8.1 and is written often; it is obeyed.
    pub limits: Limits,
}

/// What a decoder takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Macroblocks a second.
    pub mbps: u32,
    /// Macroblocks a frame.
    pub fs: u32,
    /// Rate in bit/s.
    pub bitrate_bps: u64,
    /// Frames in 100 seconds (`max-fps`).
    pub centi_fps: Option<u32>,
}

impl Format {
    /// Reads an `a=fmtp` value; none at all is Baseline at level 1 in mode 0 (RFC 6184 §8.1).
    /// `None` for profiles that we do not send and for interleaved mode.
    pub fn parse(fmtp: Option<&str>) -> Option<Self> {
        let parameters = parameters(fmtp.unwrap_or_default());
        let number = |name: &str| {
            parameters
                .get(name)
                .and_then(|text| text.parse::<u32>().ok())
        };
        let id = match parameters.get("profile-level-id") {
            Some(text) => u32::from_str_radix(text, 16)
                .ok()
                .filter(|id| *id <= 0xff_ffff)?,
            None => 0x42_000a,
        };
        let [_, profile_idc, constraints, level_idc] = id.to_be_bytes();
        let packetization = match number("packetization-mode").unwrap_or(0) {
            0 => PacketizationMode::SingleNal,
            1 => PacketizationMode::NonInterleaved,
            _ => return None,
        };
        let profile = profile(profile_idc)?;
        let level = find_level(profile, constraints, level_idc)?;
        let max_br = number("max-br").unwrap_or(level.max_br);
        Some(Self {
            profile_idc,
            constraints,
            level,
            packetization,
            level_asymmetry: number("level-asymmetry-allowed") == Some(1),
            limits: Limits {
                mbps: number("max-mbps").unwrap_or(level.max_mbps),
                fs: number("max-fs").unwrap_or(level.max_fs),
                bitrate_bps: bitrate(profile, max_br),
                centi_fps: number("max-fps").filter(|fps| *fps > 0),
            },
        })
    }

    /// The profile that is sent to such a payload type. Constrained Baseline is within Main.
    pub fn profile(&self) -> H264Profile {
        profile(self.profile_idc).unwrap_or(H264Profile::ConstrainedBaseline)
    }

    /// The best class within the peer's limits, our own, and `bandwidth_bps`. `None` if not even
    /// the smallest picture fits.
    pub fn class(&self, local: &LocalVideo, bandwidth_bps: u64) -> Option<VideoClass> {
        let budget = bandwidth_bps
            .min(self.limits.bitrate_bps)
            .min(local.max_bitrate_bps.into());
        let own_wish = local.max_frame_rate;
        WANTED_FRAME_RATES.iter().find_map(|wanted| {
            PICTURES
                .iter()
                .filter(|picture| picture.width <= local.max_width)
                .filter(|picture| picture.height <= local.max_height)
                .filter(|picture| u64::from(picture.min_bps) <= budget)
                .find_map(|picture| self.class_of(picture, local, budget, own_wish.min(*wanted)))
        })
    }

    fn class_of(
        &self,
        picture: &Picture,
        local: &LocalVideo,
        budget_bps: u64,
        wanted: u8,
    ) -> Option<VideoClass> {
        let frame_rate = self
            .frame_rate(picture, local)
            .filter(|rate| *rate >= wanted)?;
        let budget = budget_bps.min(picture.max_bps.into());
        let bitrate_bps = RATES_BPS
            .into_iter()
            .find(|rate| u64::from(*rate) <= budget)?;
        let profile = self.profile();
        let needed = needed_level(
            profile,
            picture.width,
            picture.height,
            frame_rate,
            bitrate_bps,
        );
        Some(VideoClass {
            codec: VideoCodec::H264,
            width: picture.width,
            height: picture.height,
            frame_rate,
            bitrate_bps,
            profile,
            level_idc: needed.idc,
            packetization: self.packetization,
        })
    }

    fn frame_rate(&self, picture: &Picture, local: &LocalVideo) -> Option<u8> {
        let blocks = macroblocks(picture.width, picture.height);
        // H.264 §A.3.1: neither side of the picture may exceed the root of 8 × MaxFS.
        let side = u32::from(picture.width.max(picture.height).div_ceil(16));
        if blocks > self.limits.fs || u64::from(side).pow(2) > 8 * u64::from(self.limits.fs) {
            return None;
        }
        let by_blocks = self.limits.mbps / blocks;
        let by_peer = self.limits.centi_fps.map_or(u32::MAX, |centi| centi / 100);
        let most = by_blocks.min(by_peer).min(local.max_frame_rate.into());
        FRAME_RATES
            .into_iter()
            .find(|rate| u32::from(*rate) <= most)
    }

    /// The `a=fmtp` parameters that declare what we take on this payload type: its profile and
    /// packetization mode, and our own level. Where the peer does not allow another level than its
    /// own, ours is at most that one (RFC 6184 §8.2.2), and `max-*` raise it to what we take. Where it
    /// does, ours is one that holds no larger picture than we want, raised alike.
    pub fn our_parameters(&self, local: &LocalVideo) -> String {
        let own = own_level(self.profile(), local);
        let most = match self.level_asymmetry {
            true => level_within(macroblocks(local.max_width, local.max_height)),
            false => self.level,
        };
        let capped = position(most) < position(own);
        let stated = if capped { most } else { own };
        // Level 1b of Baseline and Main is written as 11 with a constraint flag, which is kept.
        let idc = if stated.idc == 9 && self.profile_idc != 0x64 {
            11
        } else {
            stated.idc
        };
        let mut text = format!(
            "profile-level-id={:02x}{:02x}{idc:02x}",
            self.profile_idc, self.constraints
        );
        if self.packetization == PacketizationMode::NonInterleaved {
            text.push_str(";packetization-mode=1");
        }
        if self.level_asymmetry {
            text.push_str(";level-asymmetry-allowed=1");
        }
        if capped {
            text.push_str(&raised(stated, local));
        }
        text
    }
}

/// The parameters of a payload type of our own making.
pub fn own_format(
    profile_idc: u8,
    constraints: u8,
    packetization: PacketizationMode,
    local: &LocalVideo,
) -> Option<Format> {
    let profile = profile(profile_idc)?;
    let level = own_level(profile, local);
    let limits = Limits {
        mbps: level.max_mbps,
        fs: level.max_fs,
        bitrate_bps: bitrate(profile, level.max_br),
        centi_fps: None,
    };
    Some(Format {
        profile_idc,
        constraints,
        level,
        packetization,
        level_asymmetry: true,
        limits,
    })
}

/// RFC 6184 §8.1: max-mbps, max-fs and max-br above the stated level.
fn raised(stated: Level, local: &LocalVideo) -> String {
    let blocks = macroblocks(local.max_width, local.max_height);
    let rate = blocks.saturating_mul(local.max_frame_rate.into());
    let kbps = local.max_bitrate_bps.div_ceil(1000);
    let wishes = [
        ("max-mbps", rate, stated.max_mbps),
        ("max-fs", blocks, stated.max_fs),
        ("max-br", kbps, stated.max_br),
    ];
    wishes
        .iter()
        .filter(|(_, ours, levels)| ours > levels)
        .map(|(name, ours, _)| format!(";{name}={ours}"))
        .collect()
}

fn own_level(profile: H264Profile, local: &LocalVideo) -> Level {
    let (width, height) = (local.max_width, local.max_height);
    needed_level(
        profile,
        width,
        height,
        local.max_frame_rate,
        local.max_bitrate_bps,
    )
}

/// The lowest level that holds such a stream.
fn needed_level(profile: H264Profile, width: u16, height: u16, rate: u8, bps: u32) -> Level {
    let blocks = macroblocks(width, height);
    let holds = |level: &&Level| {
        level.max_fs >= blocks
            && level.max_mbps >= blocks.saturating_mul(rate.into())
            && bitrate(profile, level.max_br) >= bps.into()
            && level.idc != 9
    };
    let [.., highest] = LEVELS;
    LEVELS.iter().find(holds).copied().unwrap_or(highest)
}

/// The highest level whose pictures have at most so many macroblocks, or the lowest of all.
fn level_within(blocks: u32) -> Level {
    let within = |level: &&Level| level.max_fs <= blocks && level.idc != 9;
    let [lowest, ..] = LEVELS;
    LEVELS.iter().rev().find(within).copied().unwrap_or(lowest)
}

/// See [`super::video::at_most`].
pub fn at_most(class: &VideoClass, most: u16) -> VideoClass {
    let Picture {
        width,
        height,
        max_bps,
        ..
    } = picture_within(most);
    let budget = class.bitrate_bps.min(max_bps);
    let bitrate_bps = RATES_BPS.into_iter().find(|rate| *rate <= budget);
    let bitrate_bps = bitrate_bps.unwrap_or(budget);
    let needed = needed_level(class.profile, width, height, class.frame_rate, bitrate_bps);
    VideoClass {
        width,
        height,
        bitrate_bps,
        level_idc: needed.idc,
        ..class.clone()
    }
}

/// The largest picture of at most this height, or the smallest of all.
fn picture_within(max_height: u16) -> Picture {
    let [.., smallest] = PICTURES;
    let fits = |picture: &&Picture| picture.height <= max_height;
    PICTURES.iter().find(fits).copied().unwrap_or(smallest)
}

/// Width and height of the largest picture of at most this height, and the most bits a second that
/// it is worth.
pub fn largest_within(max_height: u16) -> (u16, u16, u32) {
    let picture = picture_within(max_height);
    (picture.width, picture.height, picture.max_bps)
}

const fn profile(profile_idc: u8) -> Option<H264Profile> {
    match profile_idc {
        0x42 | 0x4d => Some(H264Profile::ConstrainedBaseline),
        0x64 => Some(H264Profile::High),
        _ => None,
    }
}

fn bitrate(profile: H264Profile, max_br: u32) -> u64 {
    let factor = match profile {
        H264Profile::ConstrainedBaseline => 1_000,
        H264Profile::High => 1_250,
    };
    u64::from(max_br) * factor
}

/// The level that a `profile-level-id` names, or the next lower one of the table.
fn find_level(profile: H264Profile, constraints: u8, idc: u8) -> Option<Level> {
    // H.264 §A.3.1: constraint_set3_flag with level_idc 11 is level 1b.
    let is_1b = profile != H264Profile::High && idc == 11 && constraints & 0x10 != 0;
    let wanted = if is_1b { 9 } else { idc };
    let exact = LEVELS.iter().find(|level| level.idc == wanted);
    let below = || {
        LEVELS
            .iter()
            .rev()
            .find(|level| level.idc <= wanted && level.idc != 9)
    };
    exact.or_else(below).copied()
}

fn position(level: Level) -> usize {
    LEVELS
        .iter()
        .position(|known| known.idc == level.idc)
        .unwrap_or(0)
}

fn macroblocks(width: u16, height: u16) -> u32 {
    u32::from(width.div_ceil(16)) * u32::from(height.div_ceil(16))
}

#[cfg(test)]
mod tests {
    use super::super::video;
    use super::*;

    const LOCAL: LocalVideo = LocalVideo::hd720(5000, 5001);

    fn class(fmtp: &str, bps: u64) -> Option<(u16, u16, u8, u32, u8)> {
        let class = Format::parse(Some(fmtp))?.class(&LOCAL, bps)?;
        Some((
            class.width,
            class.height,
            class.frame_rate,
            class.bitrate_bps,
            class.level_idc,
        ))
    }

    #[test]
    fn picture_follows_level_and_parameters() {
        let none = u64::MAX;
        let cases = [
            (
                "profile-level-id=42E01F;packetization-mode=1",
                (1280, 720, 30, 2_000_000, 31),
            ),
            ("profile-level-id=42e01e", (640, 360, 30, 1_000_000, 30)),
            ("profile-level-id=42e015", (512, 288, 30, 768_000, 21)),
            ("profile-level-id=42e00d", (320, 180, 30, 384_000, 13)),
            ("profile-level-id=42f00b", (160, 90, 20, 128_000, 11)),
            (
                "profile-level-id=428014; max-fs=8160 max-mbps=122400",
                (1280, 720, 30, 2_000_000, 31),
            ),
            (
                "profile-level-id=428014;max-fs=3600;max-mbps=54000",
                (960, 540, 25, 2_000_000, 31),
            ),
            (
                "PROFILE-LEVEL-ID=64001f;max-fps=1500;",
                (1280, 720, 15, 2_000_000, 31),
            ),
        ];
        for (fmtp, expected) in cases {
            assert_eq!(class(fmtp, none), Some(expected), "{fmtp}");
        }
        assert_eq!(
            class("profile-level-id=42e01f", 700_000),
            Some((1280, 720, 30, 512_000, 31))
        );
        assert_eq!(
            class("profile-level-id=42e01f", 300_000),
            Some((960, 540, 30, 256_000, 31))
        );
        let tall = |fmtp: &str, budget| {
            let local = LocalVideo {
                max_frame_rate: 60,
                ..LocalVideo::hd1080(5000, 5001)
            };
            let format = Format::parse(Some(fmtp)).unwrap();
            let class = format.class(&local, budget).unwrap();
            (class.height, class.frame_rate, class.bitrate_bps)
        };
        let level_42 = "profile-level-id=42e02a";
        assert_eq!(tall(level_42, 768_000), (1_080, 60, 768_000), "TER-09");
        assert_eq!(
            tall("profile-level-id=42e028", 512_000),
            (1_080, 30, 512_000),
            "TER-10"
        );
        assert_eq!(tall(level_42, 384_000), (720, 60, 384_000));
        assert_eq!(class("profile-level-id=42e01f", 40_000), None);
        assert_eq!(
            class("", none),
            Some((160, 90, 20, 64_000, 10)),
            "Baseline at level 1"
        );
    }

    #[test]
    fn refuses_what_it_cannot_send() {
        for fmtp in [
            "profile-level-id=42e01f;packetization-mode=2",
            "profile-level-id=7a001f",
            "profile-level-id=zz",
            "profile-level-id=42e0001f00",
            "profile-level-id=42e001",
        ] {
            assert_eq!(Format::parse(Some(fmtp)), None, "{fmtp}");
        }
    }

    #[test]
    fn declares_the_offered_profile_and_our_own_level() {
        let ours = |fmtp| Format::parse(Some(fmtp)).unwrap().our_parameters(&LOCAL);
        assert_eq!(
            ours("profile-level-id=640C28;packetization-mode=1;level-asymmetry-allowed=1"),
            "profile-level-id=640c1f;packetization-mode=1;level-asymmetry-allowed=1"
        );
        assert_eq!(ours("profile-level-id=428020"), "profile-level-id=42801f");
        assert_eq!(
            ours("profile-level-id=428014;packetization-mode=1;max-fs=8160"),
            "profile-level-id=428014;packetization-mode=1;max-mbps=108000;max-fs=3600"
        );
    }

    #[test]
    fn no_taller_picture_is_asked_for_nor_sent_than_is_wanted() {
        let most = |lines| LocalVideo::hd720(5000, 5001).at_most(Some(lines));
        let format = |fmtp| Format::parse(Some(fmtp)).unwrap();
        let own_level = format("profile-level-id=42e01f;level-asymmetry-allowed=1");
        for (lines, asked) in [
            (1080, "profile-level-id=42e01f;level-asymmetry-allowed=1"),
            (
                540,
                "profile-level-id=42e01e;level-asymmetry-allowed=1;max-mbps=61200;max-fs=2040",
            ),
            (
                360,
                "profile-level-id=42e015;level-asymmetry-allowed=1;max-mbps=27600;max-fs=920",
            ),
            (
                180,
                "profile-level-id=42e00a;level-asymmetry-allowed=1;max-mbps=7200;max-fs=240;max-br=384",
            ),
        ] {
            assert_eq!(own_level.our_parameters(&most(lines)), asked);
        }
        // One level for both: it has to hold what is sent, too.
        let one_level = format("profile-level-id=42e01f").our_parameters(&most(360));
        assert_eq!(one_level, "profile-level-id=42e01e");

        let agreed = own_level.class(&LOCAL, u64::MAX).unwrap();
        let at_most = video::at_most;
        assert_eq!(at_most(&agreed, &[], None), agreed);
        assert_eq!(at_most(&agreed, &[], Some(720)), agreed);
        for lines in [540, 360, 180, 1] {
            let less = at_most(&agreed, &[], Some(lines));
            let anew = own_level.class(&most(lines), u64::MAX).unwrap();
            assert_eq!(less, anew, "as if that had been agreed on");
        }
        let slow = own_level.class(&LOCAL, 400_000).unwrap();
        assert_eq!(at_most(&slow, &[], Some(360)).bitrate_bps, 384_000);
    }
}
