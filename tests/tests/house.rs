//! The pages around the room, from the first administrator's link to what a clinician sees, as people
//! use them (WS/T 545: SW-04, SW-07, MGT-01, MGT-04, PRV-01, PRV-02, ARC-15).

use std::process::Command;
use std::time::Duration;

use tests::root;
use tests::server::Server;
use tests::wait_for;

#[test]
fn people_are_made_and_see_what_is_theirs_in_english_by_mouse() {
    walk_through("en", "mouse");
}

#[test]
fn people_are_made_and_see_what_is_theirs_in_chinese_by_keyboard_alone() {
    walk_through("zh", "keyboard");
}

fn walk_through(language: &str, way: &str) {
    let server = Server::start(&[]);
    let file = server.dir().join("data/first-administrator");
    let link = wait_for("the link is written", Duration::from_secs(10), || {
        std::fs::read_to_string(&file).ok()
    });
    let output = Command::new("node")
        .arg(root().join("tests/browser/house.mjs"))
        .args([link.trim(), language, way])
        .output()
        .expect("run Node");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{}", server.log());
    assert!(!file.exists(), "the used link is gone");
}
