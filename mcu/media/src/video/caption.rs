//! What is written and drawn over a site's picture: its name, a mark while it cannot be heard, a border
//! while it speaks, and what is shown in place of a picture that is not there.

use std::sync::{LazyLock, Once};

use ab_glyph::{Font, FontArc, FontVec, GlyphId, PxScale, ScaleFont, point};
use mcu_api::secret::Redacted;

use super::colour::Colour;
use super::frame::{Frame, FrameMut, Pool};
use super::layout::Rect;
use super::scale;

/// Fonts of the system, best first, and the index of the face within the file. The first has all letters
/// alone; of the others some have Chinese alone.
const FONTS: [(&str, u32); 3] = [
    // The third face is that of simplified Chinese.
    ("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc", 2),
    ("/usr/share/fonts/truetype/wqy/wqy-microhei.ttc", 0),
    (
        "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf",
        0,
    ),
];
/// Letters and digits of ASCII, whatever the system has.
static ASCII: &[u8] = include_bytes!("../../fonts/prompts.otf");
/// The first of the system's that is there, and our own.
static LOADED: LazyLock<Vec<FontArc>> = LazyLock::new(read_fonts);

/// Letters of a name that are looked at.
const MAX_LETTERS: usize = 120;
/// A border is one part in so many of the cell's shorter side.
const BORDER: u32 = 90;
/// Green, as BT.709 in limited range has it.
const SPEAKS: [u8; 3] = [147, 122, 43];
/// A dark blue, and the lighter one of a figure on it.
const HELD: [u8; 3] = [44, 136, 122];
const FIGURE: u8 = 92;
const WHITE: u8 = 235;

/// What is drawn over one place of a composition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Caption {
    /// Anything is drawn at all.
    pub is_drawn: bool,
    /// The site's name; nothing is written if empty.
    pub name: Redacted<String>,
    /// It cannot be heard.
    pub muted: bool,
    /// It speaks.
    pub speaks: bool,
}

impl Caption {
    /// Whether the same is written, by whomever is spoken.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let said = |caption: &Self| (caption.is_drawn, caption.muted);
        said(self) == said(other) && self.name == other.name
    }
}

/// A strip with a name, as wide as that needs.
#[derive(Debug)]
pub struct Label {
    place: Rect,
    /// How white each sample of the strip is; row by row.
    coverage: Vec<u8>,
}

impl Label {
    /// The strip in the lower left corner of a picture; `None` where there is nothing to say or no room for it.
    pub fn new(caption: &Caption, cell: Rect) -> Option<Self> {
        if !caption.is_drawn {
            return None;
        }
        let height = ((cell.height / 9).clamp(24, 48) + 1) & !1;
        if cell.height < 2 * height || cell.width < 2 * height {
            return None;
        }
        let size = height as f32 * 0.72;
        let margin = height / 4;
        let mark = if caption.muted { height } else { 0 };
        let room = (cell.width - mark - 2 * margin) as f32;
        let line = Line::fit(&caption.name.0, size, room);
        if line.letters.is_empty() && !caption.muted {
            return None;
        }
        let width = (mark + 2 * margin + line.width.ceil() as u32).min(cell.width) & !1;
        let place = Rect {
            x: cell.x,
            y: cell.y + cell.height - height,
            width,
            height,
        };
        let mut sheet = Sheet::new(width, height);
        if caption.muted {
            sheet.microphone(height as f32);
        }
        let base = height as f32 * 0.76;
        line.write(&mut sheet, (mark + margin) as f32, base);
        Some(Self {
            place,
            coverage: sheet.coverage,
        })
    }

    /// Darkens what lies below and writes on it.
    pub fn draw(&self, canvas: &mut FrameMut) {
        let Rect {
            x,
            y,
            width,
            height,
        } = self.place;
        if x + width > canvas.width() || y + height > canvas.height() {
            return;
        }
        let (x, y, width) = (x as usize, y as usize, width as usize);
        let (luma, stride) = canvas.plane_mut(0);
        for (row, white) in self.coverage.chunks_exact(width).enumerate() {
            let start = (y + row) * stride + x;
            for (sample, white) in luma[start..start + width].iter_mut().zip(white) {
                let dark = 16 + u32::from(*sample).saturating_sub(16) * 3 / 8;
                let white = u32::from(*white);
                *sample = ((dark * (255 - white) + u32::from(WHITE) * white) / 255) as u8;
            }
        }
        for plane in [1, 2] {
            let (chroma, stride) = canvas.plane_mut(plane);
            for row in 0..height as usize / 2 {
                let start = (y / 2 + row) * stride + x / 2;
                for sample in &mut chroma[start..start + width / 2] {
                    *sample = (128 + (i32::from(*sample) - 128) / 4) as u8;
                }
            }
        }
    }
}

/// Draws the border of a site that speaks along the edges of its picture.
pub fn draw_border(canvas: &mut FrameMut, cell: Rect) {
    let thick = ((cell.width.min(cell.height) / BORDER).max(2) + 1) & !1;
    if cell.width <= 2 * thick || cell.height <= 2 * thick {
        return;
    }
    let across = |y| Rect {
        y,
        height: thick,
        ..cell
    };
    let down = |x| Rect {
        x,
        width: thick,
        ..cell
    };
    for side in [
        across(cell.y),
        across(cell.y + cell.height - thick),
        down(cell.x),
        down(cell.x + cell.width - thick),
    ] {
        let drawn = scale::fill(canvas, side, SPEAKS);
        debug_assert_eq!(drawn, Ok(()));
    }
}

/// What stands for a picture that is not there, of a cell's size: the figure of a person, the name below
/// it, and in the corner the mark of who cannot be heard.
pub fn held(caption: &Caption, cell: Rect, colour: Colour) -> Frame {
    let whole = Rect::whole(cell.width, cell.height);
    let mut frame = Pool::new(cell.width, cell.height, colour, 0).take();
    let filled = scale::fill(&mut frame, whole, HELD);
    debug_assert_eq!(filled, Ok(()));
    let mut sheet = Sheet::new(cell.width, cell.height);
    let (wide, tall) = (cell.width as f32, cell.height as f32);
    let unit = wide.min(tall);
    let (x, y) = (wide / 2.0, tall / 2.0 - unit * 0.06);
    sheet.paint(|at| {
        let head = 0.11 * unit - distance(at, (x, y - 0.13 * unit));
        let chest = 0.24 * unit - distance(at, (x, y + 0.28 * unit));
        let above_the_waist = y + 0.2 * unit - at.1;
        head.max(chest.min(above_the_waist))
    });
    blend(&mut frame, &sheet.coverage, FIGURE);
    let size = (unit * 0.11).clamp(14.0, 56.0);
    let line = Line::fit(&caption.name.0, size, wide * 0.9);
    let mut sheet = Sheet::new(cell.width, cell.height);
    let base = y + unit * 0.2 + size * 1.3;
    line.write(&mut sheet, (wide - line.width) / 2.0, base);
    blend(&mut frame, &sheet.coverage, WHITE);
    let mark = Caption {
        name: Redacted::default(),
        ..caption.clone()
    };
    if let Some(mark) = Label::new(&mark, whole) {
        mark.draw(&mut frame);
    }
    frame.freeze()
}

/// Brings each sample of the luma towards a value, as far as it is covered.
fn blend(frame: &mut FrameMut, coverage: &[u8], towards: u8) {
    let width = frame.width() as usize;
    let (luma, stride) = frame.plane_mut(0);
    for (row, coverage) in luma.chunks_mut(stride).zip(coverage.chunks_exact(width)) {
        for (sample, covered) in row.iter_mut().zip(coverage) {
            let covered = u32::from(*covered);
            let kept = u32::from(*sample) * (255 - covered);
            *sample = ((kept + u32::from(towards) * covered) / 255) as u8;
        }
    }
}

/// Letters that fit into a line.
struct Line {
    /// Each with the font that has it.
    letters: Vec<(FontArc, GlyphId)>,
    size: f32,
    /// In samples.
    width: f32,
}

impl Line {
    /// As much of a text as `room` samples hold, with an ellipsis in place of the rest. Letters that no
    /// font has are left out.
    fn fit(text: &str, size: f32, room: f32) -> Self {
        let mut line = Self {
            letters: Vec::new(),
            size,
            width: 0.0,
        };
        if text.is_empty() {
            return line;
        }
        let advance = |font: &FontArc, glyph| font.as_scaled(PxScale::from(size)).h_advance(glyph);
        let more = glyph_of('…').map(|(font, glyph)| (advance(&font, glyph), font, glyph));
        let spare = more.as_ref().map_or(0.0, |(advance, ..)| *advance);
        // Where an ellipsis would still fit.
        let mut last = (0, 0.0);
        let mut rest = shown_letters(text).filter_map(glyph_of);
        let mut is_whole = true;
        for (font, glyph) in rest.by_ref().take(MAX_LETTERS) {
            let after = line.width + advance(&font, glyph);
            if after > room {
                line.letters.truncate(last.0);
                line.width = last.1;
                is_whole = false;
                break;
            }
            line.letters.push((font, glyph));
            line.width = after;
            if after + spare <= room {
                last = (line.letters.len(), after);
            }
        }
        if !is_whole || rest.next().is_some() {
            line.letters
                .extend(more.map(|(_, font, glyph)| (font, glyph)));
            line.width += spare;
        }
        line
    }

    fn write(&self, sheet: &mut Sheet, x: f32, base: f32) {
        let mut x = x;
        for (font, glyph) in &self.letters {
            let placed = glyph.with_scale_and_position(self.size, point(x, base));
            x += font.as_scaled(PxScale::from(self.size)).h_advance(*glyph);
            // A space has none.
            let Some(outline) = font.outline_glyph(placed) else {
                continue;
            };
            let corner = outline.px_bounds().min;
            outline.draw(|dx, dy, coverage| {
                let at = (
                    corner.x as i64 + i64::from(dx),
                    corner.y as i64 + i64::from(dy),
                );
                sheet.lighten(at.0, at.1, coverage);
            });
        }
    }
}

/// The form of a letter in the first font that has one.
fn glyph_of(letter: char) -> Option<(FontArc, GlyphId)> {
    glyph_in(&LOADED, letter)
}

fn glyph_in(fonts: &[FontArc], letter: char) -> Option<(FontArc, GlyphId)> {
    let mut known = fonts.iter().map(|font| (font, font.glyph_id(letter)));
    let (font, glyph) = known.find(|(_, glyph)| *glyph != GlyphId(0))?;
    Some((font.clone(), glyph))
}

/// The letters of a text that have a form: no control characters, and none that only say how others run.
fn shown_letters(text: &str) -> impl Iterator<Item = char> {
    let is_formless = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{feff}')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
            || matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{e0000}'..='\u{e0fff}')
    };
    text.trim().chars().filter(move |c| !is_formless(*c))
}

/// How much of each sample of a rectangle is covered.
struct Sheet {
    width: u32,
    height: u32,
    coverage: Vec<u8>,
}

impl Sheet {
    fn new(width: u32, height: u32) -> Self {
        let samples = width as usize * height as usize;
        Self {
            width,
            height,
            coverage: vec![0; samples],
        }
    }

    /// Outside of it nothing happens.
    fn lighten(&mut self, x: i64, y: i64, coverage: f32) {
        let within = |at: i64, length: u32| u32::try_from(at).ok().filter(|at| *at < length);
        let (Some(x), Some(y)) = (within(x, self.width), within(y, self.height)) else {
            return;
        };
        let sample = &mut self.coverage[(y * self.width + x) as usize];
        *sample = (*sample).max((coverage.clamp(0.0, 1.0) * 255.0) as u8);
    }

    /// Covers what is inside of a form: `depth` says how far, in samples, negative outside.
    fn paint(&mut self, depth: impl Fn((f32, f32)) -> f32) {
        for y in 0..self.height {
            for x in 0..self.width {
                let inside = depth((x as f32 + 0.5, y as f32 + 0.5)) + 0.5;
                self.lighten(x.into(), y.into(), inside);
            }
        }
    }

    /// A microphone with a stroke through it, in a square of this side at the left.
    fn microphone(&mut self, side: f32) {
        let at = |x: f32, y: f32| (x * side, y * side);
        let stroke = side * 0.045;
        self.paint(|p| {
            let body = 0.13 * side - distance_to_line(p, at(0.5, 0.30), at(0.5, 0.46));
            let ring = stroke - (distance(p, at(0.5, 0.46)) - 0.22 * side).abs();
            let holder = ring.min(p.1 - 0.46 * side);
            let foot = stroke - distance_to_line(p, at(0.5, 0.68), at(0.5, 0.80));
            let form = body.max(holder).max(foot);
            let slash = distance_to_line(p, at(0.22, 0.20), at(0.80, 0.80));
            // A dark gap beside the stroke keeps it apart from what it crosses.
            (stroke - slash).max(form.min(slash - 2.2 * stroke))
        });
    }
}

fn distance(a: (f32, f32), b: (f32, f32)) -> f32 {
    (a.0 - b.0).hypot(a.1 - b.1)
}

/// From a point to the line between two others.
fn distance_to_line(p: (f32, f32), from: (f32, f32), to: (f32, f32)) -> f32 {
    let (along, up) = (to.0 - from.0, to.1 - from.1);
    let length = along * along + up * up;
    let part = ((p.0 - from.0) * along + (p.1 - from.1) * up) / length;
    let part = part.clamp(0.0, 1.0);
    distance(p, (from.0 + part * along, from.1 + part * up))
}

/// Has the fonts be read, once, by a thread of its own: a file of 20 MB is none of a composition's time.
pub fn load_fonts() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::thread::spawn(|| LazyLock::force(&LOADED));
    });
}

fn read_fonts() -> Vec<FontArc> {
    let mut fonts: Vec<FontArc> = FONTS.iter().find_map(read_font).into_iter().collect();
    if fonts.is_empty() {
        tracing::warn!("no font with Chinese letters: they are left out of sites' names");
    }
    fonts.extend(FontArc::try_from_slice(ASCII));
    fonts
}

fn read_font((path, face): &(&str, u32)) -> Option<FontArc> {
    let file = std::fs::read(path).ok()?;
    let font = FontVec::try_from_vec_and_index(file, *face);
    let font = font.inspect_err(|error| tracing::warn!(path, %error, "font not read"));
    font.ok().map(FontArc::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(width: u32, height: u32) -> FrameMut {
        let mut frame = Pool::new(width, height, Colour::BT709, 0).take();
        for (plane, sample) in frame.planes_mut().into_iter().zip([128, 100, 160]) {
            plane.0.fill(sample);
        }
        frame
    }

    fn caption(name: &str) -> Caption {
        Caption {
            is_drawn: true,
            name: Redacted(name.into()),
            ..Caption::default()
        }
    }

    /// The cell, drawn on grey, and what it covers.
    fn drawn(caption: &Caption, cell: Rect) -> (Frame, Rect) {
        let mut frame = grey(1_280, 720);
        let label = Label::new(caption, cell).expect("a label");
        label.draw(&mut frame);
        (frame.freeze(), label.place)
    }

    fn count(frame: &Frame, place: Rect, is_such: impl Fn(u8) -> bool) -> usize {
        let plane = frame.plane(0);
        let rows = place.y..place.y + place.height;
        let row = |y: u32| &plane.row(y as usize)[place.x as usize..][..place.width as usize];
        rows.flat_map(row)
            .filter(|sample| is_such(**sample))
            .count()
    }

    #[test]
    fn a_name_is_white_on_a_dark_strip_in_its_corner_and_nothing_else_changes() {
        let cell = Rect {
            x: 640,
            y: 360,
            width: 640,
            height: 360,
        };
        for name in ["协和医院 心内科", "Dr. Müller", "淼 喆 堃 珺"] {
            let (frame, place) = drawn(&caption(name), cell);
            assert_eq!((place.x, place.y + place.height), (640, 720), "{name}");
            let letters = name.chars().filter(|c| !c.is_whitespace()).count();
            let white = count(&frame, place, |sample| sample > 200);
            assert!(white > letters * 12, "{name}: {white}");
            let whole = Rect::whole(1_280, 720);
            let changed = |place| count(&frame, place, |sample| sample != 128);
            assert_eq!(changed(whole), changed(place), "{name}");
            assert!(changed(place) > (place.width * place.height * 9 / 10) as usize);
            assert!(count(&frame, place, |sample| sample < 64) > white, "{name}");
        }
    }

    #[test]
    fn every_letter_has_a_form_of_its_own() {
        let cell = Rect::whole(640, 360);
        let mut seen = Vec::new();
        for letter in ["协", "和", "张", "喆", "A", "é", "7"] {
            let label = Label::new(&caption(letter), cell).unwrap();
            assert!(
                !seen.contains(&label.coverage),
                "{letter} looks like another"
            );
            seen.push(label.coverage);
        }
    }

    #[test]
    fn whatever_a_name_is_it_stays_within_its_cell() {
        let names = [
            "长".repeat(10_000),
            "👩‍⚕️🏥".repeat(40),
            "שלום عالم".into(),
            "\u{0}\u{7}\u{202e}\u{feff}\n".into(),
            String::new(),
            "W".into(),
        ];
        for name in &names {
            for (width, height) in [
                (1_280, 720),
                (426, 240),
                (256, 144),
                (80, 44),
                (40, 40),
                (2, 2),
            ] {
                for muted in [false, true] {
                    let caption = Caption {
                        muted,
                        ..caption(name)
                    };
                    let cell = Rect::whole(width, height);
                    let mut frame = grey(width, height);
                    let held = held(&caption, cell, Colour::BT709);
                    assert_eq!((held.width(), held.height()), (width, height));
                    draw_border(&mut frame, cell);
                    let Some(label) = Label::new(&caption, cell) else {
                        continue;
                    };
                    label.draw(&mut frame);
                    let place = label.place;
                    assert!(
                        place.width <= width && place.height * 2 <= height,
                        "{place:?}"
                    );
                }
            }
        }
        let long = Label::new(&caption(&names[0]), Rect::whole(426, 240)).unwrap();
        assert!(
            long.place.width > 380,
            "cut to the cell, not away: {:?}",
            long.place
        );
        assert!(Label::new(&caption("\u{202e}\n "), Rect::whole(426, 240)).is_none());
    }

    #[test]
    fn who_cannot_be_heard_has_a_mark_before_the_name() {
        let cell = Rect::whole(640, 360);
        let heard = Label::new(&caption("甲"), cell).unwrap();
        let muted = Caption {
            muted: true,
            ..caption("甲")
        };
        let muted = Label::new(&muted, cell).unwrap();
        let side = muted.place.height;
        assert_eq!(muted.place.width, heard.place.width + side);
        let rows = muted.coverage.chunks_exact(muted.place.width as usize);
        let mark = rows.flat_map(|row| &row[..side as usize]);
        let white = mark.filter(|covered| **covered > 200).count();
        assert!(white > (side * side / 12) as usize, "{white}");
    }

    #[test]
    fn a_place_without_picture_shows_a_figure_and_the_name() {
        let whole = Rect::whole(640, 360);
        let frame = held(&caption("第一人民医院"), whole, Colour::BT709);
        let figure = count(&frame, whole, |sample| sample == FIGURE);
        assert!((10_000..60_000).contains(&figure), "{figure}");
        assert!(count(&frame, whole, |sample| sample > 200) > 300);
        assert_eq!(frame.plane(0).row(0)[0], HELD[0]);
    }

    /// Each font of the list that is there, with our own behind it, has what names are made of; the
    /// letters of ASCII are there without any.
    #[test]
    fn chinese_and_latin_letters_are_there_whichever_font_the_system_has() {
        let own = FontArc::try_from_slice(ASCII).unwrap();
        let has = |fonts: &[FontArc], text: &str| {
            let mut letters = text.chars().filter(|c| !c.is_whitespace());
            letters.all(|letter| glyph_in(fonts, letter).is_some())
        };
        assert!(has(std::slice::from_ref(&own), "Ward 7 azAZ09"));
        let there: Vec<FontArc> = FONTS.iter().filter_map(read_font).collect();
        assert!(!there.is_empty(), "none of {FONTS:?}");
        for font in there {
            assert!(has(&[font, own.clone()], "北京协和医院 喆堃珺淼 Ward 7"));
        }
    }

    #[test]
    fn a_name_is_in_no_log() {
        let caption = caption("李医生");
        assert!(!format!("{caption:?}").contains("李"));
    }
}
