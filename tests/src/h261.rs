//! A terminal of H.261 at CIF and 64 kbit/s with G.711: signalling by hand, pictures and sound by
//! GStreamer, which writes what it gets to files.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use benches::clip::{Clip, Config};
use benches::tone;

use crate::baresip::write_rounds;
use crate::caller::Caller;
use crate::process::{Process, free_port_at};
use crate::server::Server;

/// Rounds of four seconds: longer than a test may last.
const ROUNDS: usize = 90;

/// The terminal, in room 3000.
pub struct H261Terminal {
    _media: Process,
    _caller: Caller,
    folder: PathBuf,
    /// Port of its pictures.
    pub video_port: u16,
}

impl H261Terminal {
    /// Calls as source `id`.
    pub fn call(server: &Server, id: u8) -> Self {
        let folder = server.dir().join("h261");
        std::fs::create_dir(&folder).expect("make a folder");
        let clip = folder.join("clip.mp4");
        write_rounds(
            &Clip::load(&Config::cif(id)).expect("a clip"),
            ROUNDS,
            &clip,
        );
        let own = server.host;
        let [sound, pictures] = [(); 2].map(|()| Port::open(own));
        let sdp = format!(
            "v=0\r\no=q 1 1 IN IP4 {own}\r\ns=-\r\nc=IN IP4 {own}\r\nt=0 0\r\n\
             m=audio {} RTP/AVP 0\r\nm=video {} RTP/AVP 31\r\nb=AS:64\r\n\
             a=rtpmap:31 H261/90000\r\na=fmtp:31 CIF=1;QCIF=1\r\n",
            sound.outer, pictures.outer
        );
        let caller = Caller::new(server, id.into());
        caller.send("INVITE", 1, "", &sdp);
        let success = caller.success();
        caller.send("ACK", 1, &success.tag, "");
        let tone_hz = tone::frequency_hz(id).expect("a tone");
        let mut media = media(&clip, tone_hz, &pictures, &sound);
        let video_port = pictures.outer;
        pictures.pass_on(SocketAddr::new(own, success.video_port));
        sound.pass_on(SocketAddr::new(own, success.audio_port));
        Self {
            _media: Process::start(&mut media, &folder.join("log")),
            _caller: caller,
            folder,
            video_port,
        }
    }

    /// The newest picture, if it is written whole.
    pub fn picture(&self) -> Option<PathBuf> {
        let files = std::fs::read_dir(&self.folder).ok()?.flatten();
        let names = files.map(|file| file.path());
        let mut pictures: Vec<PathBuf> = names
            .filter(|name| name.extension().is_some_and(|kind| kind == "png"))
            .collect();
        pictures.sort();
        pictures.pop();
        pictures.pop()
    }

    /// What it heard since it called, as a sound file, which is still written to.
    pub fn heard(&self) -> PathBuf {
        self.folder.join("heard.wav")
    }
}

/// One socket for GStreamer, which has one for each way: what the server sends goes in, all else goes out
/// to it.
struct Port {
    socket: UdpSocket,
    outer: u16,
    inner: SocketAddr,
}

impl Port {
    fn open(own: IpAddr) -> Self {
        let socket = UdpSocket::bind((own, 0)).expect("bind");
        let outer = socket.local_addr().expect("a socket").port();
        let inner = SocketAddr::new(own, free_port_at(own));
        Self {
            socket,
            outer,
            inner,
        }
    }

    fn pass_on(self, server: SocketAddr) {
        std::thread::spawn(move || {
            let mut buffer = [0; 2_048];
            while let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
                let to = if from == server { self.inner } else { server };
                // Nobody may listen yet.
                let _ = self.socket.send_to(&buffer[..len], to);
            }
        });
    }
}

/// Sends the clip as H.261 and a tone as G.711 to the ports, and takes what comes out of them.
fn media(clip: &Path, tone_hz: u16, pictures: &Port, sound: &Port) -> Command {
    let (folder, clip) = (clip.parent().expect("a folder").display(), clip.display());
    let host = pictures.inner.ip();
    let (video_in, audio_in) = (pictures.inner.port(), sound.inner.port());
    let (video_out, audio_out) = (pictures.outer, sound.outer);
    let pipeline = format!(
        "filesrc location={clip} ! qtdemux ! avdec_h264 ! videorate ! \
         video/x-raw,framerate=10/1 ! videoconvert ! avenc_h261 bitrate=64000 ! \
         rtph261pay pt=31 ! udpsink host={host} port={video_out} sync=true \
         udpsrc address={host} port={video_in} ! \
         application/x-rtp,media=video,clock-rate=90000,encoding-name=H261,payload=31 ! \
         rtph261depay ! avdec_h261 ! videorate ! video/x-raw,framerate=2/1 ! videoconvert ! pngenc ! \
         multifilesink location={folder}/%05d.png max-files=8 \
         audiotestsrc is-live=true volume=0.1 freq={tone_hz} ! audio/x-raw,rate=8000,channels=1 ! \
         mulawenc ! rtppcmupay min-ptime=20000000 max-ptime=20000000 ! \
         udpsink host={host} port={audio_out} \
         udpsrc address={host} port={audio_in} ! \
         application/x-rtp,media=audio,clock-rate=8000,encoding-name=PCMU,payload=0 ! \
         rtppcmudepay ! mulawdec ! wavenc ! filesink location={folder}/heard.wav"
    );
    let mut command = Command::new("gst-launch-1.0");
    command.args(pipeline.split_whitespace());
    command
}
