//! Words in a picture, for who waits for admission: Chinese and English, and a dot for each digit.
//!
//! The font is a part of Noto Sans CJK with the letters that are needed (`fonts/README.md`).

use ab_glyph::{Font, FontRef, GlyphId, PxScale, ScaleFont, point};
use mcu_api::plan::{Notice, NoticeText};

use super::colour::Colour;
use super::frame::{Frame, FrameMut, Pool};

static FONT: &[u8] = include_bytes!("../../fonts/prompts.otf");

/// Dark blue and white in limited range.
const BACKGROUND: [u8; 3] = [32, 144, 120];
const WHITE: u8 = 235;

/// Dots that fit.
const DOTS_MAX: u8 = 16;

/// The notice in a picture of this size, both sides of which are made even.
pub fn draw(notice: &Notice, width: u32, height: u32) -> Frame {
    let (width, height) = (width.max(2) & !1, height.max(2) & !1);
    let mut picture = Pool::new(width, height, Colour::guess(width, height), 0).take();
    for (plane, sample) in BACKGROUND.into_iter().enumerate() {
        picture.plane_mut(plane).0.fill(sample);
    }
    let (chinese, english) = words(notice.text);
    let tall = height as f32;
    match FontRef::try_from_slice(FONT) {
        Ok(font) => {
            write(&mut picture, &font, chinese, tall * 0.40, tall / 12.0);
            write(&mut picture, &font, english, tall * 0.53, tall / 13.0);
        }
        Err(error) => tracing::error!(%error, "no font"),
    }
    dots(&mut picture, notice.digits.min(DOTS_MAX));
    picture.freeze()
}

const fn words(text: NoticeText) -> (&'static str, &'static str) {
    match text {
        NoticeText::EnterPin => ("请输入会议密码，以 # 结束", "Enter the PIN, then #"),
        NoticeText::WrongPin => ("密码错误，请重试", "Wrong PIN, try again"),
        NoticeText::PinRefused => ("密码错误次数过多", "Too many attempts"),
    }
}

/// Writes a line in the middle, at this height of its base line and of its letters; smaller where it
/// would not fit.
fn write(picture: &mut FrameMut, font: &FontRef<'_>, text: &str, base: f32, size: f32) {
    let room = picture.width() as f32 * 0.94;
    let natural = line_width(font, text, size);
    let size = size * (room / natural).min(1.0);
    let scaled = font.as_scaled(PxScale::from(size));
    let mut x = (picture.width() as f32 - line_width(font, text, size)) / 2.0;
    for letter in text.chars() {
        let id: GlyphId = scaled.glyph_id(letter);
        let glyph = id.with_scale_and_position(size, point(x, base));
        x += scaled.h_advance(id);
        let Some(outline) = font.outline_glyph(glyph) else {
            // A space.
            continue;
        };
        let corner = outline.px_bounds().min;
        outline.draw(|dx, dy, coverage| {
            let at = (
                corner.x as i64 + i64::from(dx),
                corner.y as i64 + i64::from(dy),
            );
            lighten(picture, at, coverage);
        });
    }
}

fn line_width(font: &FontRef<'_>, text: &str, size: f32) -> f32 {
    let scaled = font.as_scaled(PxScale::from(size));
    let advances = text.chars().map(|c| scaled.h_advance(scaled.glyph_id(c)));
    advances.sum::<f32>().max(1.0)
}

fn dots(picture: &mut FrameMut, count: u8) {
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    let pitch = (height / 14.0).min(width / f32::from(DOTS_MAX + 1));
    let radius = pitch * 0.3;
    let y = height * 0.68;
    for n in 0..count {
        let x = width / 2.0 + (f32::from(n) - f32::from(count - 1) / 2.0) * pitch;
        let reach = radius.ceil() as i64;
        for dy in -reach..=reach {
            for dx in -reach..=reach {
                let distance = ((dx * dx + dy * dy) as f32).sqrt();
                let coverage = (radius + 0.5 - distance).clamp(0.0, 1.0);
                lighten(picture, (x as i64 + dx, y as i64 + dy), coverage);
            }
        }
    }
}

/// Draws towards white; outside of the picture nothing happens.
fn lighten(picture: &mut FrameMut, (x, y): (i64, i64), coverage: f32) {
    let inside = |at: i64, length: u32| u32::try_from(at).is_ok_and(|at| at < length);
    if !inside(x, picture.width()) || !inside(y, picture.height()) {
        return;
    }
    let (luma, stride) = picture.plane_mut(0);
    if let Some(sample) = luma.get_mut(y as usize * stride + x as usize) {
        let dark = f32::from(*sample);
        *sample = (dark + (f32::from(WHITE) - dark) * coverage.clamp(0.0, 1.0)) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [NoticeText; 3] = [
        NoticeText::EnterPin,
        NoticeText::WrongPin,
        NoticeText::PinRefused,
    ];

    fn notice(text: NoticeText, digits: u8) -> Notice {
        Notice { text, digits }
    }

    /// White stretches of one row.
    fn stretches(picture: &Frame, y: usize) -> usize {
        let row = picture.plane(0).row(y);
        let white: Vec<bool> = row.iter().map(|sample| *sample > 150).collect();
        white.windows(2).filter(|pair| !pair[0] && pair[1]).count()
    }

    fn white_in(picture: &Frame, rows: std::ops::Range<usize>) -> usize {
        let plane = picture.plane(0);
        rows.flat_map(|y| plane.row(y))
            .filter(|s| **s > 150)
            .count()
    }

    #[test]
    fn the_font_has_every_letter() {
        let font = FontRef::try_from_slice(FONT).unwrap();
        for text in TEXTS {
            let (chinese, english) = words(text);
            for letter in chinese.chars().chain(english.chars()) {
                assert_ne!(font.glyph_id(letter), GlyphId(0), "{letter}");
            }
        }
    }

    #[test]
    fn both_lines_stand_in_every_size_and_differ_by_text() {
        for (width, height) in [
            (1_280, 720),
            (704, 576),
            (352, 288),
            (176, 144),
            (1_920, 1_080),
        ] {
            let mut seen = Vec::new();
            for text in TEXTS {
                let picture = draw(&notice(text, 0), width, height);
                assert_eq!((picture.width(), picture.height()), (width, height));
                let tall = height as usize;
                let lines = [
                    white_in(&picture, tall * 30 / 100..tall * 43 / 100),
                    white_in(&picture, tall * 46 / 100..tall * 56 / 100),
                ];
                assert!(lines.iter().all(|white| *white > tall / 8), "{lines:?}");
                assert_eq!(white_in(&picture, 0..tall / 4), 0);
                seen.push(lines);
            }
            seen.dedup();
            assert_eq!(seen.len(), TEXTS.len());
        }
    }

    #[test]
    fn there_is_a_dot_for_each_digit() {
        for (width, height) in [(1_280, 720), (352, 288)] {
            for digits in 0..=16 {
                let picture = draw(&notice(NoticeText::EnterPin, digits), width, height);
                let row = (height as f32 * 0.68) as usize;
                assert_eq!(
                    stretches(&picture, row),
                    usize::from(digits),
                    "{width}x{height}"
                );
            }
            let many = draw(&notice(NoticeText::EnterPin, 255), width, height);
            assert_eq!(stretches(&many, (height as f32 * 0.68) as usize), 16);
        }
    }

    #[test]
    fn the_smallest_pictures_are_whole() {
        for (size, side) in [(0, 2), (1, 2), (2, 2), (17, 16)] {
            let picture = draw(&notice(NoticeText::WrongPin, 16), size, size);
            assert_eq!(
                (picture.width(), picture.height()),
                (side as u32, side as u32)
            );
            let samples = |plane: usize, rows: usize| -> Vec<u8> {
                let plane = picture.plane(plane);
                (0..rows).flat_map(|y| plane.row(y).to_vec()).collect()
            };
            let luma = samples(0, side);
            assert_eq!(luma.len(), side * side);
            let range = BACKGROUND[0]..=WHITE;
            assert!(luma.iter().all(|sample| range.contains(sample)), "{luma:?}");
            // Words of which nothing can be read are still there.
            let lit = luma.iter().any(|sample| *sample > BACKGROUND[0]);
            assert!(lit, "{side}: {luma:?}");
            for plane in [1, 2] {
                let coloured = vec![BACKGROUND[plane]; side * side / 4];
                assert_eq!(samples(plane, side / 2), coloured);
            }
        }
    }
}
