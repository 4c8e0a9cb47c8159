//! A room calls a terminal, with baresip as callee: registered, called, seen and heard at both far
//! ends (MCU-03).

use std::time::Duration;

use benches::clip::{Clip, Config};
use benches::load::Load;
use benches::tone;
use tests::baresip::{self, Baresip, write_clip};
use tests::measure::{markers_in, tones_in};
use tests::server::Server;
use tests::terminal::watching;
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(40);
const INSIDE: u8 = 1;
const CALLEE: u8 = 3;

const CONFIGURATION: &str = r#"
demo = true

[[sip.accounts]]
user = "terminal"
password = "correct-horse"

[[sip.accounts]]
user = "absent"
password = "correct-horse"
"#;

#[test]
fn a_room_calls_a_registered_terminal_which_sees_and_hears_it() {
    let server = Server::configured(CONFIGURATION);
    let load = Load::start().unwrap();
    let inside = server.call(&load, watching(INSIDE));

    let complaint = server.dial("3000", "absent").unwrap_err();
    assert!(complaint.contains("cannot be reached"), "{complaint}");
    let complaint = server.dial("4000", "terminal").unwrap_err();
    assert!(complaint.contains("no room"), "{complaint}");
    // Ourselves.
    let nobody = format!("sip:x@127.0.0.1:{}", server.sip);
    let complaint = server.dial("3000", &nobody).unwrap_err();
    assert!(complaint.contains("cannot be reached"), "{complaint}");

    let callee = callee(&server);
    wait_for("the terminal is registered", PATIENCE, || {
        callee.log().contains("200 OK").then_some(())
    });
    let said = server.dial("3000", "terminal").unwrap();
    assert_eq!(said, "terminal is in room 3000\n");
    let entered = inside.wait_until(PATIENCE, |report| {
        let tile = report.tile(CALLEE);
        report.heard() == [CALLEE] && tile.is_some_and(|tile| tile.fresh > 20)
    });
    let _ = entered
        .unwrap()
        .unwrap_or_else(|last| panic!("{last:#?}\n{}\n{}", server.log(), callee.log()));
    wait_for("the callee sees the room", PATIENCE, || {
        let mut ids: Vec<u8> = markers_in(&callee.picture()).iter().map(|m| m.id).collect();
        ids.sort_unstable();
        (ids == [INSIDE, CALLEE]).then_some(())
    });
    wait_for("the callee hears the room", PATIENCE, || {
        (tones_in(&callee.heard()?, 2.0) == [INSIDE]).then_some(())
    });
    let room = server.room().unwrap();
    assert_eq!(room.legs.len(), 2);
    callee.hang_up();
    wait_for("the callee has left", PATIENCE, || {
        server.room().filter(|room| room.legs.len() == 1)
    });
}

fn callee(server: &Server) -> Baresip {
    let clip = server.dir().join("terminal.mp4");
    write_clip(&Clip::load(&Config::hd(CALLEE)).unwrap(), &clip);
    let account = format!(
        ";regint=60;auth_user=terminal;auth_pass=correct-horse;outbound=\"sip:127.0.0.1:{}\"",
        server.sip
    );
    Baresip::start(&baresip::Config {
        dir: &server.dir().join("baresip"),
        tone_hz: tone::frequency_hz(CALLEE).unwrap().into(),
        clip: Some(&clip),
        audio_codec: "PCMU/8000/1",
        account: &account,
    })
}
