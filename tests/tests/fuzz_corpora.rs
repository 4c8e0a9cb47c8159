//! Replays what the fuzzer kept: the corpus of every target, and the captured and torture messages
//! where they fit one.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../fuzz/targets.rs"]
mod targets;

#[test]
fn every_corpus_does_no_harm() {
    for (name, target) in targets::TARGETS {
        let files = files(&tests::root().join("tests/fuzz/corpus").join(name));
        assert!(files.len() >= 10, "{name}: only {} files", files.len());
        let mut deep = 0;
        for file in files {
            deep += target(&fs::read(file).unwrap());
        }
        println!("{name}: {deep} times beyond the first refusal");
        assert!(deep >= 5, "{name} tests refusals alone");
    }
}

#[test]
fn captured_messages_do_no_harm() {
    let mut folders = vec![tests::root().join("tests/captures")];
    if let Some(captures) = std::env::var_os("CONSILIUM_CAPTURES") {
        let captures = PathBuf::from(captures);
        folders.extend(["sip", "rfc4475", "rfc5118"].map(|name| captures.join(name)));
    }
    let mut read = 0;
    for file in folders.iter().flat_map(|folder| files(folder)) {
        let bytes = fs::read(&file).unwrap();
        let datagram = [&(bytes.len() as u16).to_be_bytes(), bytes.as_slice()].concat();
        targets::sip_messages(&datagram);
        targets::terminal_descriptions(&bytes);
        targets::browser_offers(&bytes);
        read += 1;
    }
    assert!(read > 30, "only {read} messages");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_file()).collect()
}
