//! Devices of a browser before and in a room: what the network carries is measured, the loudspeaker is
//! heard before, devices change in the call, and a stethoscope's low tones arrive as they are where that
//! is wanted (VTC-01, MCU-08).

use std::f64::consts::TAU;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use tests::root;
use tests::server::Server;

#[test]
fn a_browser_checks_network_and_devices_changes_them_and_sends_sound_as_it_is() {
    let server = Server::demo();
    let file = server.dir().join("tone.wav");
    write_tone(&file).expect("write a tone");
    let output = Command::new("node")
        .arg(root().join("tests/browser/devices.mjs"))
        .arg(server.url("/room/3000"))
        .arg(&file)
        .output()
        .expect("run Node");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{}", server.log());
    println!("{told}");
}

/// Ten seconds of 60 Hz, 12 dB below full scale at its peak, and of 720 Hz that swells, as a WAV file; it
/// can be played in a loop.
fn write_tone(file: &Path) -> std::io::Result<()> {
    const RATE: u32 = 48_000;
    let peak = f64::from(i16::MAX) * 10_f64.powf(-12.0 / 20.0);
    let sample = |n: u32| {
        let turns = f64::from(n) / f64::from(RATE) * TAU;
        let voice = (0.5 - 0.5 * (3.0 * turns).cos()) * (720.0 * turns).sin();
        ((60.0 * turns).sin() + voice) * peak
    };
    let pcm: Vec<u8> = (0..10 * RATE)
        .flat_map(|n| (sample(n).round() as i16).to_le_bytes())
        .collect();
    let size = pcm.len() as u32;
    let mut out = Vec::new();
    out.extend(b"RIFF");
    out.extend((size + 36).to_le_bytes());
    out.extend(b"WAVEfmt ");
    out.extend(16_u32.to_le_bytes());
    // PCM, one channel, 16 bits.
    out.extend([1, 0, 1, 0]);
    out.extend(RATE.to_le_bytes());
    out.extend((RATE * 2).to_le_bytes());
    out.extend([2, 0, 16, 0]);
    out.extend(b"data");
    out.extend(size.to_le_bytes());
    out.extend(pcm);
    std::fs::File::create(file)?.write_all(&out)
}
