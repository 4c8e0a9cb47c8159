//! The page's script draws and reads the same markers, and hears the same tones, as this crate.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use benches::marker;
use benches::picture::Picture;
use benches::tone;

/// Runs `program` with the page's script loaded, `input` at its standard input.
fn node(program: &str, input: &[u8]) -> Vec<u8> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/browser/marker.js");
    let script = std::fs::read_to_string(script).unwrap();
    let mut node = Command::new("node")
        .args(["--eval", &format!("{script}{program}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node is installed");
    node.stdin.take().unwrap().write_all(input).unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

#[test]
fn a_marker_drawn_by_the_page_is_read_here() {
    let program = "
        const luma = Buffer.alloc(322 * 180, 100);
        const context = { fillStyle: '', fillRect(x, y, w, h) {
            for (let row = y; row < y + h; row += 1) {
                luma.fill(this.fillStyle === '#fff' ? 255 : 0, row * 322 + x, row * 322 + x + w);
            }
        } };
        consiliumMarker.drawMarker(context, 322, 180, 13, 54321);
        process.stdout.write(luma);";
    let mut picture = Picture::new(322, 180);
    picture.y = node(program, &[]);
    assert_eq!(
        marker::read(picture.luma()),
        Some(marker::Marker {
            id: 13,
            counter: 54_321
        })
    );
}

#[test]
fn a_marker_drawn_here_is_read_by_the_page() {
    let mut picture = Picture::new(426, 240);
    marker::draw(&mut picture, 7, 4_242);
    let rgba: Vec<u8> = picture.y.iter().flat_map(|&l| [l, l, l, 255]).collect();
    let program = "
        const data = require('fs').readFileSync(0);
        const image = { data, width: 426, height: 240 };
        const read = (...rect) => consiliumMarker.readMarker(image, ...rect);
        console.log(JSON.stringify([read(0, 0, 426, 240), read(30, 30, 200, 100)]));";
    let read = String::from_utf8(node(program, &rgba)).unwrap();
    assert_eq!(read.trim(), r#"[{"id":7,"counter":4242},null]"#);
}

#[test]
fn tones_made_here_are_heard_by_the_page() {
    let sources = [2u8, 9, 14];
    let mut sum = vec![0i16; 16_000];
    for id in sources {
        for (s, t) in sum.iter_mut().zip(tone::generate(id, 16_000, 0, 16_000)) {
            *s += t;
        }
    }
    let bytes: Vec<u8> = sum.iter().flat_map(|s| s.to_le_bytes()).collect();
    let program = "
        const bytes = require('fs').readFileSync(0);
        const pcm = Float32Array.from({ length: bytes.length / 2 }, (_, i) => bytes.readInt16LE(2 * i) / 32768);
        const heard = consiliumMarker.detectTones(pcm, 16000);
        console.log(JSON.stringify(heard.map((tone) => tone.id)));";
    assert_eq!(
        String::from_utf8(node(program, &bytes)).unwrap().trim(),
        "[2,9,14]"
    );
}
