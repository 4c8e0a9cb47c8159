//! The systemd units of the guide: systemd reads them without a complaint, and none of them ends
//! another process with its own (MCU-20 in part).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROCESSES: [&str; 3] = ["media", "control", "manager"];

/// What would end or restart one unit with another.
const COUPLINGS: [&str; 5] = ["Requires", "Requisite", "BindsTo", "PartOf", "Upholds"];

fn unit(process: &str) -> (String, String) {
    let name = format!("consilium-{process}.service");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let path = root.join("docs/guide/systemd").join(&name);
    let text = fs::read_to_string(&path).unwrap();
    (name, text)
}

#[test]
fn systemd_has_nothing_to_say_against_the_units() {
    let dir = tempfile::tempdir().unwrap();
    let units: Vec<PathBuf> = PROCESSES
        .iter()
        .map(|process| {
            let (name, text) = unit(process);
            let program = "ExecStart=/usr/local/bin/consilium ";
            assert!(text.contains(program), "{name}");
            // The program is not installed where the tests run.
            let text = text.replace(program, "ExecStart=/bin/true ");
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        })
        .collect();
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(&units)
        .output()
        .expect("run systemd-analyze");
    let said = String::from_utf8_lossy(&output.stderr);
    // The units of the machine are read too: only what is said of ours counts.
    let ours: Vec<&str> = said.lines().filter(|l| l.contains("consilium")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}

#[test]
fn each_unit_stands_alone_and_comes_back() {
    for process in PROCESSES {
        let (name, text) = unit(process);
        let values = |key: &str| -> Vec<&str> {
            let lines = text.lines().filter_map(|line| line.split_once('='));
            lines.filter(|(k, _)| *k == key).map(|(_, v)| v).collect()
        };
        for coupling in COUPLINGS {
            assert!(values(coupling).is_empty(), "{name}: {coupling}");
        }
        assert_eq!(values("Restart"), ["always"], "{name}");
        assert_eq!(values("StartLimitIntervalSec"), ["0"], "{name}");
        assert_eq!(values("NoNewPrivileges"), ["yes"], "{name}");
        let starts = values("ExecStart");
        let words: Vec<&str> = starts[0].split(' ').collect();
        assert_eq!(words[1], process, "{name}");
        assert_eq!(starts.len(), 1, "{name}");
    }
}
