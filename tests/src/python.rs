//! Peers that are programs of the Python Package Index, each in a virtual environment of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};

/// Folder of the programs of the environment NAME, which is made once of `tests/peers/NAME.txt`.
pub fn installed(name: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().find(|dir| dir.join("Cargo.lock").exists());
    let root = root.expect("the folder of this project");
    let venv = root.join("target/python").join(name);
    let list = root.join(format!("tests/peers/{name}.txt"));
    fs::create_dir_all(&venv).expect("make a folder");
    let lock = File::create(venv.join("lock")).expect("make a file");
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).expect("lock");
    let wanted = fs::read_to_string(&list).expect("what is to be installed");
    let made = venv.join("requirements.txt");
    if fs::read_to_string(&made).is_ok_and(|text| text == wanted) {
        return venv.join("bin");
    }
    let run = |command: &mut Command| {
        let status = command.status().expect("run Python");
        assert!(status.success(), "{command:?}");
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    let pip = ["-m", "pip", "install", "--quiet", "-r"];
    run(Command::new(venv.join("bin/python")).args(pip).arg(&list));
    fs::write(made, wanted).expect("write");
    venv.join("bin")
}
