//! Terminals whose media is encrypted: keys by DTLS and by SDES, with ICE and without, in rooms that
//! require it; and what becomes of DTLS when the media process dies (MCU-22, MCU-20 in part).

use std::time::{Duration, Instant};

use benches::clip::{Clip, Config};
use benches::load::{Load, LoadLeg};
use benches::tone;
use tests::baresip::{self, Baresip};
use tests::measure::{markers_in, tones_in};
use tests::server::Server;
use tests::terminal::watching;
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(30);

/// Longest time until the sound of a DTLS terminal is heard again after the media process died.
const MAX_RECOVERY: Duration = Duration::from_secs(5);

/// Ids of the sources.
const PLAIN: u8 = 1;
const DTLS: u8 = 2;
const DTLS_ICE: u8 = 3;
const SDES: u8 = 4;

const CONFIGURATION: &str = r#"
[[rooms]]
number = "4000"
guests = true
srtp = "required"

[[rooms]]
number = "5000"
guests = true
srtp = "off"
"#;

#[test]
fn dtls_and_sdes_terminals_are_seen_and_heard_and_outlive_the_media_process() {
    let server = Server::demo();
    let load = Load::start().unwrap();
    let watcher = server.call(&load, watching(PLAIN));
    let dtls = terminal(&server, DTLS, ";mediaenc=dtls_srtp", true);
    let ice = terminal(&server, DTLS_ICE, ";mediaenc=dtls_srtp;medianat=ice", false);
    let sdes = terminal(&server, SDES, ";mediaenc=srtp-mand", false);
    let terminals = [(DTLS, &dtls), (DTLS_ICE, &ice), (SDES, &sdes)];
    for (_, terminal) in terminals {
        terminal.dial(&format!("sip:3000@127.0.0.1:{}", server.sip));
    }
    expect_heard(&watcher, &[DTLS, DTLS_ICE, SDES], PATIENCE, &server);
    expect_pictures(&dtls);
    wait_for("its keys are known to the controller", PATIENCE, || {
        let state = std::fs::read_to_string(server.dir().join("data/control-state.json")).ok()?;
        (state.matches("\"rtp\":{\"suite\":").count() >= 3).then_some(())
    });

    server.kill("media");
    let killed = Instant::now();
    watcher.reset().unwrap();
    expect_heard(&watcher, &[DTLS, DTLS_ICE, SDES], MAX_RECOVERY, &server);
    println!(
        "media killed: DTLS and SDES terminals heard again after {:.1} s",
        killed.elapsed().as_secs_f64()
    );
    expect_pictures(&dtls);
    for (id, terminal) in terminals {
        wait_for("the terminal still hears the room", PATIENCE, || {
            let heard = tones_in(&terminal.heard()?, 1.0);
            (heard.contains(&PLAIN) && !heard.contains(&id)).then_some(())
        });
        terminal.hang_up();
    }
}

#[test]
fn a_room_requires_encryption_or_forbids_it() {
    let server = Server::configured(CONFIGURATION);
    let clear = terminal(&server, PLAIN, "", false);
    let refused = clear.dial_in_vain(&format!("sip:4000@127.0.0.1:{}", server.sip));
    assert!(refused.contains("488"), "{refused}");
    let dtls = terminal(&server, DTLS, ";mediaenc=dtls_srtp", false);
    dtls.dial(&format!("sip:4000@127.0.0.1:{}", server.sip));
    dtls.hang_up();
    let sdes = terminal(&server, SDES, ";mediaenc=srtp-mand", false);
    let refused = sdes.dial_in_vain(&format!("sip:5000@127.0.0.1:{}", server.sip));
    assert!(refused.contains("488"), "{refused}");
}

/// baresip with a steady tone, and a 720p clip of its own marker where pictures are looked at.
fn terminal(server: &Server, id: u8, account: &str, pictures: bool) -> Baresip {
    let clip = server.dir().join(format!("terminal-{id}.mp4"));
    if pictures {
        baresip::write_clip(&Clip::load(&Config::hd(id)).unwrap(), &clip);
    }
    Baresip::start(&baresip::Config {
        dir: &server.dir().join(format!("baresip-{id}")),
        tone_hz: tone::frequency_hz(id).unwrap().into(),
        clip: pictures.then_some(&*clip),
        audio_codec: "opus/48000/2",
        account,
    })
}

/// The plain leg hears these, and sees that of them which has a picture.
fn expect_heard(watcher: &LoadLeg, ids: &[u8], patience: Duration, server: &Server) {
    let heard = watcher.wait_until(patience, |report| {
        let heard = report.heard();
        let seen = report.tile(DTLS).is_some_and(|tile| tile.fresh > 5);
        ids.iter().all(|id| heard.contains(id)) && seen
    });
    let _ = heard
        .unwrap()
        .unwrap_or_else(|last| panic!("{ids:?}: {last:#?}\n{}", server.log()));
}

/// The terminal with a screen sees both pictures move.
fn expect_pictures(terminal: &Baresip) {
    let seen = || {
        let mut markers = markers_in(&terminal.picture());
        markers.sort_by_key(|marker| marker.id);
        let ids: Vec<u8> = markers.iter().map(|marker| marker.id).collect();
        (ids == [PLAIN, DTLS]).then_some(markers)
    };
    let before = wait_for("the DTLS terminal sees both markers", PATIENCE, seen);
    wait_for("both markers move at the DTLS terminal", PATIENCE, || {
        let now = seen()?;
        now.iter()
            .zip(&before)
            .all(|(now, before)| now.counter != before.counter)
            .then_some(())
    });
}
