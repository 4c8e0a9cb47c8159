//! One room for terminals of every age: H.261 by GStreamer, H.263 by baresip, H.264 with
//! G.722.1 Annex C, G.729 and a browser, each seen and heard by all others, whatever they take (MCU-12, TER-08).

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use benches::clip::{Clip, Config};
use benches::load::{AudioConfig, Load};
use benches::tone;
use mcu_api::codec::AudioCodec;
use tests::baresip::{self, Baresip, write_clip};
use tests::caller::Caller;
use tests::capture::Capture;
use tests::measure::{markers_in, sources_in};
use tests::process::{Process, free_port};
use tests::server::Server;
use tests::terminal::watching;
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(40);
const PAGE: u8 = 1;
const H261: u8 = 2;
const H263: u8 = 3;
const H264: u8 = 4;
/// A telephone, of sound alone.
const G729: u8 = 5;

#[test]
fn terminals_of_every_age_and_a_browser_see_each_other() {
    let server = Server::demo();
    let capture = Capture::start(server.dir(), "udp");
    let page = server.join(PAGE);
    let h263 = h263_terminal(&server);
    h263.dial(&format!("sip:3000@127.0.0.1:{}", server.sip));
    let h261 = H261Terminal::call(&server);
    let load = Load::start().unwrap();
    let mut leg = watching(H264);
    leg.audio = Some(AudioConfig::codec(AudioCodec::G7221C {
        bitrate_bps: 48_000,
    }));
    let h264 = server.call(&load, leg);
    let mut leg = watching(G729);
    leg.audio = Some(AudioConfig::codec(AudioCodec::G729));
    leg.video = None;
    let g729 = server.call(&load, leg);

    let seen = h264.wait_until(PATIENCE, |report| {
        let moves = |id| report.tile(id).is_some_and(|tile| tile.fresh > 20);
        let hears = |id| report.heard().contains(&id);
        (PAGE..=H264).all(moves) && [PAGE, H263, G729].into_iter().all(hears)
    });
    let _ = seen
        .unwrap()
        .unwrap_or_else(|last| panic!("{last:#?}\n{}\n{}", h261.log(), server.log()));
    wait_for(
        "the page sees the terminals, encoded anew",
        PATIENCE,
        || {
            let report = page.next_report();
            let sees = |id| report.markers.values().any(|marker| marker.id == id);
            let all = [H261, H263, H264].into_iter().all(sees);
            let hears = |id| report.tones.contains_key(&id);
            (all && [H263, H264, G729].into_iter().all(hears)).then_some(())
        },
    );
    wait_for("the terminal with H.263 sees the room", PATIENCE, || {
        (sites_in(&h263.picture()) == [PAGE, H261, H263, H264]).then_some(())
    });
    wait_for("the terminal with H.263 hears the room", PATIENCE, || {
        (sources_in(&h263.heard()?, 2.0) == [PAGE, H264, G729]).then_some(())
    });
    wait_for("the terminal with H.261 sees the room", PATIENCE, || {
        (sites_in(&h261.picture()?) == [PAGE, H261, H263, H264]).then_some(())
    });
    let heard = g729.wait_until(PATIENCE, |report| {
        let hears = |id| report.heard().contains(&id);
        [PAGE, H263, H264].into_iter().all(hears)
    });
    let _ = heard.unwrap().unwrap_or_else(|last| panic!("{last:#?}"));
    let wire = capture.stop(server.sip, &[]);
    for codec in ["h261", "rfc2190"] {
        assert!(wire.count(codec) > 100, "{codec}: {}", wire.show("rtp"));
        let bad = format!("{codec} and _ws.malformed");
        assert_eq!(wire.count(&bad), 0, "{}", wire.show(&bad));
    }
}

/// Whose markers are in a picture of 16 to 9 that lies in one that is shown 4 to 3.
fn sites_in(picture: &Path) -> Vec<u8> {
    let whole = picture.with_extension("16-9.png");
    let done = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-i"])
        .arg(picture)
        .args(["-vf", "crop=iw:ih*3/4,scale=1280:720"])
        .arg(&whole)
        .status();
    // The picture may not be written to its end yet.
    let markers = match done.expect("run ffmpeg").success() {
        true => markers_in(&whole),
        false => Vec::new(),
    };
    let _ = std::fs::remove_file(&whole);
    let mut ids: Vec<u8> = markers.iter().map(|marker| marker.id).collect();
    ids.sort_unstable();
    ids
}

fn h263_terminal(server: &Server) -> Baresip {
    let clip = server.dir().join("h263.mp4");
    write_clip(&Clip::load(&Config::cif(H263)).unwrap(), &clip);
    Baresip::start_with_h263(&baresip::Config {
        dir: &server.dir().join("baresip"),
        tone_hz: tone::frequency_hz(H263).unwrap().into(),
        clip: Some(&clip),
        audio_codec: "PCMA/8000/1",
        account: "",
    })
}

/// A terminal of H.261 at CIF and 64 kbit/s, without sound of its own: signalling by hand, pictures by
/// GStreamer, which writes each one that it gets to a file.
struct H261Terminal {
    _media: Process,
    _caller: Caller,
    folder: PathBuf,
}

impl H261Terminal {
    fn call(server: &Server) -> Self {
        let folder = server.dir().join("h261");
        std::fs::create_dir(&folder).expect("make a folder");
        let clip = folder.join("clip.mp4");
        write_clip(&Clip::load(&Config::cif(H261)).unwrap(), &clip);
        let own = Ipv4Addr::LOCALHOST;
        let socket = UdpSocket::bind((own, 0)).expect("bind");
        let (sound, inner) = (free_port(), free_port());
        let pictures = socket.local_addr().expect("a socket").port();
        let sdp = format!(
            "v=0\r\no=q 1 1 IN IP4 {own}\r\ns=-\r\nc=IN IP4 {own}\r\nt=0 0\r\n\
             m=audio {sound} RTP/AVP 0\r\nm=video {pictures} RTP/AVP 31\r\nb=AS:64\r\n\
             a=rtpmap:31 H261/90000\r\na=fmtp:31 CIF=1;QCIF=1\r\n"
        );
        let caller = Caller::new(server, 1);
        caller.send("INVITE", 1, "", &sdp);
        let success = caller.success();
        caller.send("ACK", 1, &success.tag, "");
        let to = SocketAddr::new(server.host, success.video_port);
        pass_on(socket, to, SocketAddr::new(own.into(), inner));
        Self {
            _media: Process::start(&mut media(&clip, pictures, inner), &folder.join("log")),
            _caller: caller,
            folder,
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The newest picture, if it is written whole.
    fn picture(&self) -> Option<PathBuf> {
        let files = std::fs::read_dir(&self.folder).ok()?.flatten();
        let names = files.map(|file| file.path());
        let mut pictures: Vec<PathBuf> = names
            .filter(|name| name.extension().is_some_and(|kind| kind == "png"))
            .collect();
        pictures.sort();
        pictures.pop();
        pictures.pop()
    }
}

/// A port of one socket for GStreamer, which has one for each way: what the server sends goes in, all else
/// goes out to it.
fn pass_on(socket: UdpSocket, server: SocketAddr, inner: SocketAddr) {
    std::thread::spawn(move || {
        let mut buffer = [0; 2_048];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            let to = if from == server { inner } else { server };
            // Nobody may listen yet.
            let _ = socket.send_to(&buffer[..len], to);
        }
    });
}

/// Sends the clip as H.261 to a port, and takes what comes at another.
fn media(clip: &Path, to: u16, port: u16) -> Command {
    let (folder, clip) = (clip.parent().expect("a folder").display(), clip.display());
    let pipeline = format!(
        "filesrc location={clip} ! qtdemux ! avdec_h264 ! videorate ! \
         video/x-raw,framerate=10/1 ! videoconvert ! avenc_h261 bitrate=64000 ! \
         rtph261pay pt=31 ! udpsink host=127.0.0.1 port={to} sync=true \
         udpsrc address=127.0.0.1 port={port} ! \
         application/x-rtp,media=video,clock-rate=90000,encoding-name=H261,payload=31 ! \
         rtph261depay ! avdec_h261 ! videorate ! video/x-raw,framerate=2/1 ! videoconvert ! pngenc ! \
         multifilesink location={folder}/%05d.png max-files=8"
    );
    let mut command = Command::new("gst-launch-1.0");
    command.args(pipeline.split_whitespace());
    command
}
