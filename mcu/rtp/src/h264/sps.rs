//! Sequence parameter sets, H.264 §7.3.2.1.1 and Annex E.

/// What a sequence parameter set says about the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sps {
    /// `profile_idc`: 66 baseline, 77 main, 100 high.
    pub profile_idc: u8,
    /// `constraint_set0_flag` in the highest bit, as in `profile-level-id`.
    pub constraint_flags: u8,
    /// Ten times the level.
    pub level_idc: u8,
    /// Width of the visible picture in luma samples.
    pub width: u32,
    /// Height of the visible picture in luma samples.
    pub height: u32,
    /// Width to height of one sample, where given.
    pub sample_aspect: Option<(u16, u16)>,
    /// Colours, where given.
    pub colour: Option<Colour>,
}

/// Colours of the video usability information, H.264 E.2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour {
    /// Luma and chroma use the whole range 0 to 255.
    pub full_range: bool,
    /// `matrix_coefficients` (table E-5): 1 BT.709, 5 and 6 BT.601, 2 unspecified.
    pub matrix: u8,
}

/// Reads a NAL unit of type 7, header included. `None` if it is none, ends early or announces a
/// picture of more than 16,384 samples a side.
pub fn parse_sps(unit: &[u8]) -> Option<Sps> {
    let (&head, body) = unit.split_first()?;
    if head & 0x1F != super::NAL_SPS {
        return None;
    }
    let mut bits = Bits::new(body);
    let profile_idc = bits.take(8)? as u8;
    let constraint_flags = bits.take(8)? as u8;
    let level_idc = bits.take(8)? as u8;
    bits.golomb()?;
    let chroma = skip_chroma(&mut bits, profile_idc)?;
    skip_order(&mut bits)?;
    let (width, height) = picture_size(&mut bits, chroma)?;
    // What follows is optional: a set that ends early here still tells its size.
    let Usability {
        sample_aspect,
        colour,
    } = usability(&mut bits).unwrap_or_default();
    let sps = Sps {
        profile_idc,
        constraint_flags,
        level_idc,
        width,
        height,
        sample_aspect,
        colour,
    };
    Some(sps)
}

/// Reads what only the high profiles carry; returns `chroma_format_idc`.
fn skip_chroma(bits: &mut Bits<'_>, profile_idc: u8) -> Option<u32> {
    if !matches!(
        profile_idc,
        44 | 83 | 86 | 100 | 110 | 118 | 122 | 128 | 134 | 135 | 138 | 139 | 244
    ) {
        return Some(1);
    }
    let chroma = bits.golomb()?;
    if chroma > 3 {
        return None;
    }
    // With separate planes each is coded as if it were monochrome, §7.4.2.1.1.
    let separate = chroma == 3 && bits.take(1)? == 1;
    bits.golomb()?;
    bits.golomb()?;
    bits.take(1)?;
    if bits.take(1)? == 1 {
        for list in 0..if chroma == 3 { 12 } else { 8 } {
            if bits.take(1)? == 1 {
                skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Some(if separate { 0 } else { chroma })
}

/// H.264 §7.3.2.1.1.1.
fn skip_scaling_list(bits: &mut Bits<'_>, size: usize) -> Option<()> {
    let (mut last, mut next) = (8i64, 8i64);
    for _ in 0..size {
        if next != 0 {
            next = (last + bits.signed_golomb()?).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

/// Frame numbers, picture order count and reference frames.
fn skip_order(bits: &mut Bits<'_>) -> Option<()> {
    bits.golomb()?;
    match bits.golomb()? {
        0 => {
            bits.golomb()?;
        }
        1 => {
            bits.take(1)?;
            bits.golomb()?;
            bits.golomb()?;
            let cycle = bits.golomb()?;
            if cycle > 255 {
                return None;
            }
            for _ in 0..cycle {
                bits.golomb()?;
            }
        }
        _ => {}
    }
    bits.golomb()?;
    bits.take(1)?;
    Some(())
}

/// Visible width and height after cropping, §7.4.2.1.1.
fn picture_size(bits: &mut Bits<'_>, chroma: u32) -> Option<(u32, u32)> {
    let columns = bits.golomb()?.checked_add(1).filter(|n| *n <= 1_024)?;
    let rows = bits.golomb()?.checked_add(1).filter(|n| *n <= 1_024)?;
    let frames_only = bits.take(1)?;
    let fields = 2 - frames_only;
    if frames_only == 0 {
        bits.take(1)?;
    }
    bits.take(1)?;
    let (mut width, mut height) = (columns * 16, rows * 16 * fields);
    if bits.take(1)? == 1 {
        let (unit_x, unit_y) = match chroma {
            1 => (2, 2 * fields),
            2 => (2, fields),
            _ => (1, fields),
        };
        let mut edge = || bits.golomb().filter(|n| *n <= 16_384);
        let (left, right, top, bottom) = (edge()?, edge()?, edge()?, edge()?);
        width = width.checked_sub((left + right) * unit_x)?;
        height = height.checked_sub((top + bottom) * unit_y)?;
    }
    (width > 0 && height > 0).then_some((width, height))
}

/// What is read of the video usability information.
#[derive(Default)]
struct Usability {
    sample_aspect: Option<(u16, u16)>,
    colour: Option<Colour>,
}

/// Sample aspect and colours of the usability information, Annex E.1.1.
fn usability(bits: &mut Bits<'_>) -> Option<Usability> {
    if bits.take(1)? == 0 {
        return None;
    }
    let mut aspect = None;
    if bits.take(1)? == 1 {
        aspect = match bits.take(8)? {
            255 => Some((bits.take(16)? as u16, bits.take(16)? as u16)),
            index => sample_aspect(index),
        };
        aspect = aspect.filter(|(x, y)| *x > 0 && *y > 0);
    }
    if bits.take(1)? == 1 {
        bits.take(1)?;
    }
    Some(Usability {
        sample_aspect: aspect,
        colour: signal_type(bits),
    })
}

fn signal_type(bits: &mut Bits<'_>) -> Option<Colour> {
    if bits.take(1)? == 0 {
        return None;
    }
    bits.take(3)?;
    let full_range = bits.take(1)? == 1;
    let mut matrix = 2;
    if bits.take(1)? == 1 {
        bits.take(16)?;
        matrix = bits.take(8)? as u8;
    }
    Some(Colour { full_range, matrix })
}

/// H.264 table E-1.
fn sample_aspect(index: u32) -> Option<(u16, u16)> {
    const TABLE: [(u16, u16); 16] = [
        (1, 1),
        (12, 11),
        (10, 11),
        (16, 11),
        (40, 33),
        (24, 11),
        (20, 11),
        (32, 11),
        (80, 33),
        (18, 11),
        (15, 11),
        (64, 33),
        (160, 99),
        (4, 3),
        (3, 2),
        (2, 1),
    ];
    TABLE.get((index as usize).checked_sub(1)?).copied()
}

/// Reads bits of a NAL unit and leaves out emulation prevention bytes, H.264 §7.4.1.
struct Bits<'a> {
    data: &'a [u8],
    zeros: u8,
    byte: u8,
    left: u8,
}

impl<'a> Bits<'a> {
    fn new(data: &'a [u8]) -> Self {
        Self {
            data,
            zeros: 0,
            byte: 0,
            left: 0,
        }
    }

    fn bit(&mut self) -> Option<u32> {
        if self.left == 0 {
            let (mut byte, mut rest) = self.data.split_first()?;
            if self.zeros >= 2 && *byte == 3 {
                self.zeros = 0;
                (byte, rest) = rest.split_first()?;
            }
            self.zeros = if *byte == 0 {
                self.zeros.saturating_add(1)
            } else {
                0
            };
            (self.byte, self.data, self.left) = (*byte, rest, 8);
        }
        self.left -= 1;
        Some(u32::from(self.byte >> self.left & 1))
    }

    /// At most 32 bits.
    fn take(&mut self, count: u8) -> Option<u32> {
        (0..count).try_fold(0, |value, _| Some(value << 1 | self.bit()?))
    }

    /// Unsigned Exp-Golomb code, H.264 §9.1.
    fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let base = (1u32 << zeros) - 1;
        base.checked_add(self.take(zeros)?)
    }

    /// Signed Exp-Golomb code, H.264 §9.1.1.
    fn signed_golomb(&mut self) -> Option<i64> {
        let code = i64::from(self.golomb()?);
        Some(if code % 2 == 1 {
            (code + 1) / 2
        } else {
            -(code / 2)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes bits as an encoder would, with emulation prevention.
    #[derive(Default)]
    struct Writer {
        bits: Vec<u8>,
    }

    impl Writer {
        fn put(&mut self, value: u32, count: u8) -> &mut Self {
            self.bits
                .extend((0..count).rev().map(|at| (value >> at & 1) as u8));
            self
        }

        fn golomb(&mut self, value: u32) -> &mut Self {
            let len = 32 - (value + 1).leading_zeros() as u8;
            self.put(0, len - 1).put(value + 1, len)
        }

        fn unit(&self) -> Vec<u8> {
            let mut out = vec![0x67];
            let mut zeros = 0;
            for byte in self.bits.chunks(8) {
                let byte = byte
                    .iter()
                    .enumerate()
                    .fold(0, |b, (at, bit)| b | bit << (7 - at));
                if zeros >= 2 && byte <= 3 {
                    out.push(3);
                    zeros = 0;
                }
                zeros = if byte == 0 { zeros + 1 } else { 0 };
                out.push(byte);
            }
            out
        }
    }

    fn head(writer: &mut Writer, profile: u32) -> &mut Writer {
        writer.put(profile, 8).put(0xC0, 8).put(31, 8).golomb(0)
    }

    fn full_hd() -> Vec<u8> {
        let mut writer = Writer::default();
        head(&mut writer, 100)
            .golomb(1)
            .golomb(0)
            .golomb(0)
            .put(0, 1)
            .put(0, 1);
        writer
            .golomb(0)
            .golomb(2)
            .golomb(4)
            .put(0, 1)
            .golomb(119)
            .golomb(67)
            .put(1, 1)
            .put(1, 1);
        // Cropping of 8 lines at the bottom, in units of 2.
        writer.put(1, 1).golomb(0).golomb(0).golomb(0).golomb(4);
        // Aspect 1:1, no overscan, full range, BT.709.
        writer.put(1, 1).put(1, 1).put(1, 8).put(0, 1);
        writer
            .put(1, 1)
            .put(5, 3)
            .put(1, 1)
            .put(1, 1)
            .put(1, 8)
            .put(1, 8)
            .put(1, 8)
            .put(0, 4);
        writer.unit()
    }

    #[test]
    fn high_profile_with_cropping_and_colours() {
        let sps = parse_sps(&full_hd()).unwrap();
        assert_eq!((sps.width, sps.height), (1_920, 1_080));
        assert_eq!(
            (sps.profile_idc, sps.constraint_flags, sps.level_idc),
            (100, 0xC0, 31)
        );
        assert_eq!(sps.sample_aspect, Some((1, 1)));
        assert_eq!(
            sps.colour,
            Some(Colour {
                full_range: true,
                matrix: 1
            })
        );
    }

    #[test]
    fn baseline_without_usability_information() {
        let mut writer = Writer::default();
        head(&mut writer, 66)
            .golomb(0)
            .golomb(2)
            .golomb(1)
            .put(0, 1);
        writer
            .golomb(21)
            .golomb(17)
            .put(1, 1)
            .put(1, 1)
            .put(0, 1)
            .put(0, 1)
            .put(1, 1);
        let sps = parse_sps(&writer.unit()).unwrap();
        assert_eq!((sps.width, sps.height), (352, 288));
        assert_eq!((sps.sample_aspect, sps.colour), (None, None));
    }

    #[test]
    fn interlaced_with_scaling_lists_and_order_type_one() {
        let mut writer = Writer::default();
        head(&mut writer, 100)
            .golomb(1)
            .golomb(0)
            .golomb(0)
            .put(0, 1)
            .put(1, 1);
        // The first list is flat by ending at once (delta -8), the others are absent.
        writer.put(1, 1).golomb(16).put(0, 7);
        writer
            .golomb(0)
            .golomb(1)
            .put(0, 1)
            .golomb(0)
            .golomb(0)
            .golomb(2)
            .golomb(1)
            .golomb(1);
        writer
            .golomb(1)
            .put(0, 1)
            .golomb(44)
            .golomb(17)
            .put(0, 1)
            .put(0, 1)
            .put(1, 1)
            .put(0, 2);
        let sps = parse_sps(&writer.unit()).unwrap();
        assert_eq!((sps.width, sps.height), (720, 576));
    }

    /// Sets that x264 wrote for 1280x720 high BT.709, 1920x1080 main BT.601 and CIF shown at 16:9.
    #[test]
    fn sets_of_a_real_encoder_are_read() {
        let high =
            b"\x67\x64\x00\x1f\xac\xd9\x40\x50\x05\xbb\x01\x6a\x04\x04\x02\x80\x00\x00\x03\x00\x80";
        let main =
            b"\x67\x4d\x40\x28\xec\xa0\x3c\x01\x13\xf2\xe0\x2d\x40\x80\x81\x90\x00\x00\x03\x00\x10";
        let cif = b"\x67\x42\xc0\x0d\xd9\x01\x60\x96\xc1\x1a\x81\x01\x00\xa0\x00\x00\x03\x00\x20";
        let told = |unit: &[u8]| {
            let sps = parse_sps(unit).unwrap();
            (
                sps.width,
                sps.height,
                sps.level_idc,
                sps.sample_aspect,
                sps.colour.map(|c| c.matrix),
            )
        };
        assert_eq!(told(high), (1_280, 720, 31, Some((1, 1)), Some(1)));
        assert_eq!(told(main), (1_920, 1_080, 40, Some((1, 1)), Some(6)));
        assert_eq!(told(cif), (352, 288, 13, Some((16, 11)), Some(1)));
    }

    #[test]
    fn other_units_and_absurd_sizes_are_refused() {
        assert_eq!(parse_sps(&[]), None);
        assert_eq!(parse_sps(&[0x68, 1, 2, 3]), None);
        let mut writer = Writer::default();
        head(&mut writer, 66)
            .golomb(0)
            .golomb(2)
            .golomb(1)
            .put(0, 1)
            .golomb(1_000_000);
        assert_eq!(parse_sps(&writer.unit()), None);
    }

    #[test]
    fn mutated_sets_do_no_harm() {
        let mut read = 0;
        crate::mutate::each_mutation(&full_hd(), 100_000, |data| {
            if let Some(sps) = parse_sps(data) {
                assert!(sps.width <= 16_384 && sps.height <= 32_768);
                read += 1;
            }
        });
        assert!(read > 1_000);
    }
}
