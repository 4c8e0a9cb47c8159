//! A disk that is full or cannot be written to: calls go on and new ones are taken, what is kept stays
//! whole, and the log says once what is wrong (MCU-20).

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use benches::load::Load;
use tests::server::{Server, binary};
use tests::terminal::sending;
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(30);

/// Mounts a small disk as the data folder (`serve --data-dir DIR ...`), in a namespace that ends with
/// the server, does more to it, and starts the server there.
fn on_a_small_disk(and: &str) -> Command {
    let script = format!(
        "mkdir -p \"$3\" && mount -t tmpfs -o size=4m,mode=700 none \"$3\" && {and} && exec \"$0\" \"$@\""
    );
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .arg(binary());
    command
}

const FILL: &str = "{ cat /dev/zero > \"$3/filler\" 2>/dev/null; true; }";

/// The data folder as the server sees it.
fn data(server: &Server) -> PathBuf {
    let dir = server.dir().join("data");
    let inside = dir.strip_prefix("/").unwrap();
    PathBuf::from(format!("/proc/{}/root", server.pid())).join(inside)
}

/// Takes all the room that there is.
fn fill(server: &Server) {
    let mut filler = File::create(data(server).join("filler")).unwrap();
    let mut written = 0;
    while let Ok(n) = filler.write(&[0; 4096]) {
        written += n;
    }
    assert!(written > 0);
}

fn make_room(server: &Server) {
    fs::remove_file(data(server).join("filler")).unwrap();
}

fn wait_for_log(server: &Server, words: &str) {
    wait_for(words, PATIENCE, || {
        server.log().contains(words).then_some(())
    });
}

/// Legs in the file of the rooms, which is whole.
fn kept_legs(server: &Server) -> usize {
    let text = fs::read_to_string(data(server).join("control-state.json")).unwrap();
    let kept: serde_json::Value = serde_json::from_str(&text).unwrap();
    let legs = kept["rooms"][0]["legs"].as_array();
    legs.map_or(0, Vec::len)
}

#[test]
fn a_disk_that_is_full_disturbs_no_call_and_is_written_to_again_when_there_is_room() {
    let server = Server::start_as(&mut on_a_small_disk("true"), &["--demo"]);
    let load = Load::start().unwrap();
    let first = server.call(&load, sending(1));
    server.wait_for_legs(1);
    wait_for("the call is kept", PATIENCE, || {
        (kept_legs(&server) == 1).then_some(())
    });
    fill(&server);
    first.reset().unwrap();
    let second = server.call(&load, sending(2));
    server.wait_for_legs(2);
    wait_for_log(&server, "state not saved");
    assert_eq!(kept_legs(&server), 1, "the last one that was written whole");
    // Further news, and further attempts.
    let third = server.call(&load, sending(3));
    server.wait_for_legs(3);
    for leg in [&first, &second, &third] {
        let report = leg.wait_until(PATIENCE, |report| report.audio.packets > 50);
        let report = report.unwrap().unwrap();
        assert_eq!((report.audio.lost, report.ended), (0, None));
    }
    let log = server.log();
    assert_eq!(log.matches("state not saved").count(), 1, "{log}");
    assert!(log.contains("No space left on device"), "{log}");
    make_room(&server);
    wait_for_log(&server, "state saved again");
    wait_for("all calls are kept", PATIENCE, || {
        (kept_legs(&server) == 3).then_some(())
    });
    server.kill("control");
    server.wait_for_legs(3);
    assert_eq!(first.report().unwrap().ended, None);
}

#[test]
fn a_first_start_with_a_full_disk_takes_calls_of_terminals_and_says_why_there_is_no_page() {
    let server = Server::launch(&mut on_a_small_disk(FILL), &["--demo"]);
    wait_for_log(&server, "tls/cert.pem: No space left on device");
    let load = Load::start().unwrap();
    let leg = server.call(&load, sending(1));
    let report = leg.wait_until(PATIENCE, |report| report.audio.packets > 50);
    assert_eq!(report.unwrap().unwrap().ended, None);
    make_room(&server);
    server.wait_for_legs(1);
    wait_for("the page is served", PATIENCE, || {
        server.get("/health").filter(|(status, _)| *status == 200)
    });
}

/// The certificate that was there is served, though the time has come to make another.
#[test]
fn a_later_start_with_a_full_disk_serves_everything() {
    let pair = "mkdir -p \"$3/tls\" && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
        -subj '/CN=Consilium self-signed' -days 3 -keyout \"$3/tls/key.pem\" -out \"$3/tls/cert.pem\" 2>/dev/null";
    let mut command = on_a_small_disk(&format!("{pair} && {FILL}"));
    let server = Server::start_as(&mut command, &["--demo"]);
    wait_for_log(&server, "cannot renew the certificate, the old one stays");
    let load = Load::start().unwrap();
    let leg = server.call(&load, sending(1));
    server.wait_for_legs(1);
    assert_eq!(leg.report().unwrap().ended, None);
    for name in ["cert.pem", "key.pem"] {
        let pem = fs::read_to_string(data(&server).join("tls").join(name)).unwrap();
        assert!(pem.trim_end().ends_with("-----"), "{name}: {pem}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_to_is_refused_by_name() {
    let read_only = "mkdir \"$3/run\" && mount -o remount,ro \"$3\"";
    let mut server = Server::launch(&mut on_a_small_disk(read_only), &["--demo"]);
    let status = wait_for("the server ends", PATIENCE, || server.ended());
    let log = server.log();
    assert_eq!(status, Some(1), "{log}");
    let dir = server.dir().join("data").display().to_string();
    assert!(log.contains(&dir), "{log}");
    assert!(log.contains("Read-only file system"), "{log}");
}
