//! The pages and a room in Firefox, with Chromium as the other site: sound and pictures both
//! ways are measured, and what people write is text. Debian's Firefox has no H.264: its pictures go and
//! come as VP8 (VTC-01, SW-04, MCU-12).

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::Duration;

use tests::namespace::Namespace;
use tests::root;
use tests::server::Server;
use tests::wait_for;

#[test]
fn firefox_goes_through_the_pages_and_a_room_in_english_by_mouse() {
    walk_through("en", "mouse");
}

#[test]
fn firefox_goes_through_the_pages_and_a_room_in_chinese_by_keyboard_alone() {
    walk_through("zh", "keyboard");
}

fn walk_through(language: &'static str, way: &'static str) {
    // Firefox gathers nothing from the loopback interface.
    let network = Namespace::with(&[
        "address add 192.0.2.7/24 dev inside",
        "route add default via 192.0.2.1",
    ]);
    network.run(move || {
        let host = IpAddr::from(Ipv4Addr::new(192, 0, 2, 7));
        let server = Server::with_defaults(host, &["--demo"]);
        let file = server.dir().join("data/first-administrator");
        let link = wait_for("the link is written", Duration::from_secs(10), || {
            std::fs::read_to_string(&file).ok()
        });
        let output = Command::new("node")
            .arg(root().join("tests/browser/firefox.mjs"))
            .args([link.trim(), language, way])
            .output()
            .expect("run Node");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}\n{}", server.log());
    });
}
