//! How good a talking head is at low rates: 1080p60 at 768 kbit/s, 1080p30 at 512, 720p30 at 384
//! (TER-09, TER-10, TER-11), and a curve around each; the server's OpenH264 settings and libx264 side by
//! side.
//!
//! `cargo bench --bench low_rates`. `CONSILIUM_BENCH_SECONDS` (10) of each. Figures are printed and never
//! asserted.

use anyhow::{Context, Result};
use benches::clip::{photographs, read_photograph};
use benches::codec::{Decoder, EncodeSettings, Encoder, Library};
use benches::picture::{self, Picture};

/// Rates in kbit/s for each kind of picture, that of the requirement in the middle.
const KINDS: [(usize, usize, u32, [u32; 5]); 3] = [
    (1_920, 1_080, 60, [384, 512, 768, 1_024, 1_536]),
    (1_920, 1_080, 30, [256, 384, 512, 768, 1_024]),
    (1_280, 720, 30, [192, 256, 384, 512, 768]),
];
const LIBRARIES: [Library; 2] = [Library::OpenH264, Library::X264];

fn main() -> Result<()> {
    // Test runners start every target to ask what is in it.
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let seconds = std::env::var("CONSILIUM_BENCH_SECONDS");
    let seconds: u32 = seconds.as_deref().unwrap_or("10").parse()?;
    println!(
        "| picture | kbit/s | library | kbit/s held | frames/s | fewest in a second | SSIM mean | SSIM least |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (width, height, frame_rate, rates) in KINDS {
        let scene = Scene::new(width, height, frame_rate)?;
        for kbps in rates {
            for library in LIBRARIES {
                let settings = EncodeSettings {
                    width,
                    height,
                    frame_rate,
                    bitrate_bps: kbps * 1_000,
                    key_interval: frame_rate * 60,
                    slice_len_max: None,
                    may_skip: true,
                };
                let figures = measure(&scene, library, settings, seconds)?;
                println!(
                    "| {height}p{frame_rate} | {kbps} | {library:?} | {} |",
                    figures.line()
                );
            }
        }
    }
    Ok(())
}

struct Figures {
    kbps: f64,
    frame_rate: f64,
    fewest: usize,
    ssim: Vec<f64>,
}

impl Figures {
    fn line(&self) -> String {
        let mean = self.ssim.iter().sum::<f64>() / self.ssim.len().max(1) as f64;
        let least = self.ssim.iter().copied().fold(1.0, f64::min);
        format!(
            "{:.0} | {:.1} | {} | {mean:.4} | {least:.4}",
            self.kbps, self.frame_rate, self.fewest
        )
    }
}

fn measure(
    scene: &Scene,
    library: Library,
    settings: EncodeSettings,
    seconds: u32,
) -> Result<Figures> {
    let mut encoder = Encoder::new(library, settings)?;
    let mut decoder = Decoder::h264()?;
    let (mut bytes, mut ssim) = (0, Vec::new());
    let mut in_second = vec![0; seconds as usize];
    // The first second has the key frame, which a call has once.
    for n in 0..(seconds + 1) * settings.frame_rate {
        let picture = scene.picture(n);
        let unit = encoder.encode(&picture, n == 0)?;
        let decoded = decoder.decode(&unit)?;
        let Some(second) = (n / settings.frame_rate).checked_sub(1) else {
            continue;
        };
        bytes += unit.len();
        for seen in decoded {
            in_second[second as usize] += 1;
            if n % 5 == 0 {
                ssim.extend(picture::ssim(picture.luma(), seen.luma()));
            }
        }
    }
    let seconds = f64::from(seconds);
    let frames: usize = in_second.iter().sum();
    Ok(Figures {
        kbps: bytes as f64 * 8.0 / 1_000.0 / seconds,
        frame_rate: frames as f64 / seconds,
        fewest: in_second.iter().copied().min().unwrap_or(0),
        ssim,
    })
}

/// Somebody in front of a wall: a part of one photograph sways and nods before another, its mouth opens
/// and closes, and the sensor has noise.
struct Scene {
    wall: Picture,
    head: Picture,
    frame_rate: f64,
}

impl Scene {
    fn new(width: usize, height: usize, frame_rate: u32) -> Result<Self> {
        let files = photographs();
        let [first, second, ..] = &files[..] else {
            anyhow::bail!("no photographs: install mate-backgrounds");
        };
        let (across, down) = ((width * 3 / 10) & !1, (height * 6 / 10) & !1);
        let read = |path| read_photograph(path).context("a photograph");
        Ok(Self {
            wall: read(first)?.scaled(width, height)?,
            head: read(second)?.scaled(across, down)?,
            frame_rate: frame_rate.into(),
        })
    }

    fn picture(&self, n: u32) -> Picture {
        let at = f64::from(n) / self.frame_rate;
        let mut picture = self.wall.clone();
        let (width, height) = (picture.width() as f64, picture.height() as f64);
        // Hand-breadths a second, as people move who speak.
        let sway = 0.02 * (at * 1.9).sin() + 0.01 * (at * 4.7).sin();
        let nod = 0.015 * (at * 2.6).sin();
        let x = (width * (0.35 + sway)) as usize & !1;
        let y = (height * (0.3 + nod)) as usize & !1;
        paste_oval(&mut picture, &self.head, x, y);
        let open = (0.5 + 0.5 * (at * 21.0).sin()) * (0.5 + 0.5 * (at * 1.3).sin());
        let mouth = benches::picture::Rect {
            x: x + self.head.width() * 2 / 5,
            y: y + self.head.height() * 7 / 10,
            width: self.head.width() / 5,
            height: 2 + (self.head.height() as f64 * 0.06 * open) as usize,
        };
        picture.fill(mouth, 40);
        let mut state = n.wrapping_mul(2_654_435_761) | 1;
        for sample in &mut picture.y {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            // -1, 0 and 1: a camera in a lit room.
            *sample = sample.saturating_add_signed((state % 3) as i8 - 1);
        }
        picture
    }
}

/// Copies what is within the oval that fits into `head`.
fn paste_oval(picture: &mut Picture, head: &Picture, x: usize, y: usize) {
    let (width, height) = (head.width(), head.height());
    let is_inside = |column: usize, row: usize| {
        let across = (column as f64 + 0.5) / width as f64 * 2.0 - 1.0;
        let down = (row as f64 + 0.5) / height as f64 * 2.0 - 1.0;
        across * across + down * down <= 1.0
    };
    let stride = picture.width();
    for row in 0..height {
        for column in 0..width {
            if !is_inside(column, row) {
                continue;
            }
            picture.y[(y + row) * stride + x + column] = head.y[row * width + column];
            if row % 2 == 0 && column % 2 == 0 {
                let to = (y + row) / 2 * (stride / 2) + (x + column) / 2;
                let from = row / 2 * (width / 2) + column / 2;
                picture.u[to] = head.u[from];
                picture.v[to] = head.v[from];
            }
        }
    }
}
