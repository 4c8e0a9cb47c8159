//! Layouts of composed pictures, which `layouts.toml` describes.

use std::fmt;
use std::sync::LazyLock;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Parts of a side of the canvas that a [`Cell`] is counted in. Every grid up to 12 divides it.
pub const WHOLE: u16 = 55_440;

static FILE: &str = include_str!("layouts.toml");
static DESCRIBED: LazyLock<Vec<Described>> = LazyLock::new(|| match parse(FILE) {
    Ok(described) => described,
    Err(error) => panic!("layouts.toml, a part of this program, is wrong: {error}"),
});

/// How the tiles of a composed picture lie: one of those that `layouts.toml` describes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Layout(u8);

/// Ratio of the sides of a canvas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Canvas {
    /// 16 to 9.
    #[default]
    #[serde(rename = "16:9")]
    Wide,
    /// 4 to 3.
    #[serde(rename = "4:3")]
    Narrow,
}

/// A rectangle of the canvas, in parts of its sides ([`WHOLE`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cell {
    /// Left edge.
    pub left: u16,
    /// Upper edge.
    pub top: u16,
    /// Length of the upper edge.
    pub width: u16,
    /// Length of the left edge.
    pub height: u16,
}

/// One layout, as the file has it.
struct Described {
    name: String,
    en: String,
    zh: String,
    canvas: Canvas,
    leads: usize,
    /// Fewest cells first.
    arrangements: Vec<Vec<Cell>>,
}

impl Layout {
    /// Every layout, in the order of the file. The first, a grid of equal cells, is the default.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..).take(DESCRIBED.len()).map(Self)
    }

    /// The layout of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|layout| layout.name() == name)
    }

    /// The one after this in the order of the file; after the last comes the first.
    pub fn after(self) -> Self {
        match usize::from(self.0) + 1 < DESCRIBED.len() {
            true => Self(self.0 + 1),
            false => Self(0),
        }
    }

    /// The one before this; before the first comes the last.
    pub fn before(self) -> Self {
        let last = u8::try_from(DESCRIBED.len() - 1).unwrap_or(u8::MAX);
        Self(self.0.checked_sub(1).unwrap_or(last))
    }

    /// What it is called in configuration, database and API.
    pub fn name(self) -> &'static str {
        &self.described().name
    }

    /// What people call it, in English and Chinese.
    pub fn titles(self) -> (&'static str, &'static str) {
        let described = self.described();
        (&described.en, &described.zh)
    }

    /// The canvas that it is made for.
    pub fn canvas(self) -> Canvas {
        self.described().canvas
    }

    /// So many cells, the first ones, are those of who spoke last.
    pub fn leads(self) -> usize {
        self.described().leads
    }

    /// Most tiles that it shows.
    pub fn max_tiles(self) -> usize {
        self.described().arrangements.last().map_or(0, Vec::len)
    }

    /// The cells for so many tiles, of which there may be more or fewer. A later one lies over an earlier one.
    pub fn cells(self, tiles: usize) -> &'static [Cell] {
        let arrangements = &self.described().arrangements;
        let fitting = arrangements.iter().find(|cells| cells.len() >= tiles);
        fitting.or(arrangements.last()).map_or(&[], Vec::as_slice)
    }

    /// Its arrangements, fewest cells first.
    pub fn arrangements(self) -> impl Iterator<Item = &'static [Cell]> {
        self.described().arrangements.iter().map(Vec::as_slice)
    }

    /// The nearest of the two layouts that processes know which have no file.
    pub fn for_older(self) -> &'static str {
        match self.leads() {
            0 => "equal",
            _ => "speaker",
        }
    }

    fn described(self) -> &'static Described {
        &DESCRIBED[usize::from(self.0)]
    }
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Layout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Layout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| {
            let names: Vec<&str> = Self::all().map(Self::name).collect();
            D::Error::custom(format!("a layout is one of {}", names.join(", ")))
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    layouts: Vec<LayoutOfFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LayoutOfFile {
    name: String,
    en: String,
    zh: String,
    #[serde(default)]
    canvas: Canvas,
    #[serde(default)]
    leads: usize,
    arrangements: Vec<ArrangementOfFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ArrangementOfFile {
    grid: [u16; 2],
    cells: Vec<[u16; 4]>,
}

/// Reads the file.
///
/// # Errors
/// What is wrong, with the name of the layout.
fn parse(text: &str) -> Result<Vec<Described>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    if file.layouts.is_empty() || file.layouts.len() > usize::from(u8::MAX) {
        return Err("1 to 255 layouts are wanted".into());
    }
    let mut described: Vec<Described> = Vec::new();
    for layout in file.layouts {
        let name = layout.name.clone();
        let wrong = |reason: &str| format!("{name}: {reason}");
        if described.iter().any(|before| before.name == name) {
            return Err(wrong("twice"));
        }
        let read = layout.read().map_err(|reason| wrong(&reason))?;
        described.push(read);
    }
    Ok(described)
}

impl LayoutOfFile {
    fn read(self) -> Result<Described, String> {
        let arrangements: Result<Vec<_>, _> = self
            .arrangements
            .iter()
            .map(ArrangementOfFile::read)
            .collect();
        let arrangements: Vec<Vec<Cell>> = arrangements?;
        if arrangements.is_empty() || !arrangements.is_sorted_by(|a, b| a.len() < b.len()) {
            return Err("arrangements are wanted, fewest cells first".into());
        }
        if arrangements
            .last()
            .is_some_and(|most| self.leads > most.len())
        {
            return Err("more lead than there are cells".into());
        }
        Ok(Described {
            name: self.name,
            en: self.en,
            zh: self.zh,
            canvas: self.canvas,
            leads: self.leads,
            arrangements,
        })
    }
}

impl ArrangementOfFile {
    fn read(&self) -> Result<Vec<Cell>, String> {
        let [columns, rows] = self.grid;
        let divides = |n: u16| n != 0 && WHOLE.is_multiple_of(n);
        if !divides(columns) || !divides(rows) || self.cells.is_empty() {
            return Err(format!("a grid of {columns} by {rows}, or no cells"));
        }
        let (across, down) = (WHOLE / columns, WHOLE / rows);
        let cell = |&[left, top, width, height]: &[u16; 4]| {
            let lies_within = |at: u16, length: u16, of: u16| {
                length > 0 && at.checked_add(length).is_some_and(|end| end <= of)
            };
            if !lies_within(left, width, columns) || !lies_within(top, height, rows) {
                return Err(format!("a cell at {left}, {top} lies outside"));
            }
            Ok(Cell {
                left: left * across,
                top: top * down,
                width: width * across,
                height: height * down,
            })
        };
        self.cells.iter().map(cell).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlap(a: &Cell, b: &Cell) -> bool {
        a.left < b.left + b.width
            && b.left < a.left + a.width
            && a.top < b.top + b.height
            && b.top < a.top + a.height
    }

    #[test]
    fn there_are_more_layouts_than_any_terminal_has_buttons_for_and_each_can_be_told() {
        let all: Vec<Layout> = Layout::all().collect();
        assert!(all.len() >= 25, "{}", all.len());
        assert_eq!(Layout::default().name(), "equal");
        for layout in &all {
            let (en, zh) = layout.titles();
            assert!(!en.is_empty() && !zh.is_ascii(), "{en} {zh}");
            let written = serde_json::to_string(layout).unwrap();
            assert_eq!(serde_json::from_str::<Layout>(&written).unwrap(), *layout);
        }
        for (n, layout) in all.iter().enumerate() {
            let is_same = |other: &&Layout| {
                other.canvas() == layout.canvas()
                    && other.leads() == layout.leads()
                    && other.described().arrangements == layout.described().arrangements
            };
            assert_eq!(
                all[..n].iter().find(is_same),
                None,
                "{layout:?} is there twice"
            );
        }
        for layout in &all {
            assert_eq!(layout.after().before(), *layout);
        }
        assert_eq!(Layout::default().before(), all[all.len() - 1]);
        let error = serde_json::from_str::<Layout>("\"mosaic\"").unwrap_err();
        assert!(error.to_string().contains("1_12"), "{error}");
    }

    #[test]
    fn cells_lie_over_each_other_only_where_a_picture_lies_in_a_picture() {
        for layout in Layout::all() {
            let is_over = ["picture_in_picture", "overlay"];
            let may = is_over.iter().any(|begin| layout.name().starts_with(begin));
            for cells in layout.arrangements() {
                let mut pairs = (0..cells.len()).flat_map(|n| (0..n).map(move |m| (m, n)));
                let found = pairs.any(|(m, n)| overlap(&cells[m], &cells[n]));
                assert_eq!(found, may, "{layout:?} of {}", cells.len());
            }
        }
    }

    /// Who speaks is never smaller than who does not.
    #[test]
    fn the_cells_that_lead_are_the_largest() {
        let area = |cell: &Cell| u32::from(cell.width) * u32::from(cell.height);
        for layout in Layout::all() {
            for cells in layout.arrangements() {
                let leads = layout.leads().min(cells.len());
                let least = cells[..leads].iter().map(area).min();
                let most = cells[leads..].iter().map(area).max();
                assert!(leads == 0 || least >= most, "{layout:?}");
            }
        }
    }

    #[test]
    fn the_first_arrangement_that_has_room_is_taken() {
        let of = |name: &str, tiles| Layout::named(name).unwrap().cells(tiles).len();
        let equal = [1, 2, 3, 5, 7, 10, 13, 17, 21, 90].map(|tiles| of("equal", tiles));
        assert_eq!(equal, [1, 2, 4, 6, 9, 12, 16, 20, 25, 25]);
        assert_eq!([0, 1, 5, 6, 9].map(|n| of("speaker", n)), [1, 1, 5, 8, 8]);
        assert_eq!([0, 90].map(|n| of("grid_3x3", n)), [9, 9]);
    }

    #[test]
    fn a_wrong_file_is_refused_with_the_layout() {
        let file =
            |inside: &str| format!("[[layouts]]\nname = \"a\"\nen = \"A\"\nzh = \"甲\"\n{inside}");
        let arrangement =
            |cells: &str| format!("[[layouts.arrangements]]\ngrid = [2, 2]\ncells = {cells}\n");
        let right = file(&arrangement("[[0, 0, 2, 2]]"));
        assert!(parse(&right).is_ok());
        for (text, reason) in [
            (file(&arrangement("[[1, 0, 2, 1]]")), "a: a cell at 1, 0"),
            (file(&arrangement("[[0, 0, 0, 1]]")), "a: a cell at 0, 0"),
            (
                file(&arrangement("[[0, 65535, 1, 1]]")),
                "a: a cell at 0, 65535",
            ),
            (file(&arrangement("[]")), "a: a grid of 2 by 2, or no cells"),
            (
                file(&arrangement("[[0, 0, 1, 1]]").replace("[2, 2]", "[13, 2]")),
                "a: a grid of 13",
            ),
            (
                file("leads = 2\n") + &arrangement("[[0, 0, 1, 1]]"),
                "a: more lead",
            ),
            (file("arrangements = []\n"), "a: arrangements are wanted"),
            (format!("{right}{right}"), "a: twice"),
            (file("size = 3\n"), "size"),
            ("layouts = []".into(), "1 to 255"),
        ] {
            let error = parse(&text).err().expect(reason);
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }
}
