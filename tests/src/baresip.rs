//! baresip as a video terminal: sends a clip and a tone, records what it hears, shows what it sees.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use benches::clip::Clip;

use crate::process::{Process, free_port_at, free_ports_at};
use crate::wait_for;

/// How many it may have after the first.
const MEDIA_PORTS: u16 = 40;

/// After which a picture is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Settings of one baresip.
pub struct Config<'a> {
    /// Folder for its files; made if absent.
    pub dir: &'a Path,
    /// Frequency of its tone in Hz.
    pub tone_hz: u32,
    /// Video file that it sends in a loop, or none for a call of sound alone.
    pub clip: Option<&'a Path>,
    /// Audio codec as baresip writes it, for example `opus/48000/2`.
    pub audio_codec: &'a str,
    /// `;mediaenc=...` or other parameters of the account.
    pub account: &'a str,
}

/// A running baresip.
pub struct Baresip {
    process: Process,
    sip: SocketAddr,
    control: SocketAddr,
    media_ports: RangeInclusive<u16>,
    dir: PathBuf,
}

impl Baresip {
    /// Starts and waits until it takes commands.
    pub fn start(config: &Config<'_>) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), config)
    }

    /// The same at another address than 127.0.0.1.
    pub fn start_at(host: IpAddr, config: &Config<'_>) -> Self {
        Self::start_as(&mut Command::new("baresip"), host, config)
    }

    /// The same by this command for the program.
    pub fn start_as(command: &mut Command, host: IpAddr, config: &Config<'_>) -> Self {
        Self::start_with(command, host, config, "")
    }

    /// At 127.0.0.1, reached over TLS, too, at [`Self::tls_port`], with the certificate and key in this
    /// PEM file.
    pub fn start_secure(config: &Config<'_>, certificate: &Path) -> Self {
        let further = format!("sip_certificate {}\n", certificate.display());
        let command = &mut Command::new("baresip");
        Self::start_with(command, Ipv4Addr::LOCALHOST.into(), config, &further)
    }

    /// With H.263 (RFC 2190) as its only video codec, and pictures of this size, as in `352x288`, and rate.
    pub fn start_with_h263(
        host: IpAddr,
        config: &Config<'_>,
        (size, bitrate_bps): (&str, u32),
    ) -> Self {
        let account = format!("{};video_codecs=H263", config.account);
        let config = Config {
            account: &account,
            dir: config.dir,
            tone_hz: config.tone_hz,
            clip: config.clip,
            audio_codec: config.audio_codec,
        };
        // What stands first counts.
        let further = format!("video_size {size}\nvideo_bitrate {bitrate_bps}\n");
        Self::start_with(&mut Command::new("baresip"), host, &config, &further)
    }

    /// Ports that its media may have.
    pub fn media_ports(&self) -> RangeInclusive<u16> {
        self.media_ports.clone()
    }

    /// Where it listens for SIP over TLS, where it does.
    pub fn tls_port(&self) -> u16 {
        self.sip.port() + 1
    }

    /// Where it listens for SIP.
    pub fn address(&self) -> SocketAddr {
        self.sip
    }

    fn start_with(command: &mut Command, host: IpAddr, config: &Config<'_>, further: &str) -> Self {
        let dir = config.dir.to_path_buf();
        fs::create_dir_all(dir.join("sound")).expect("make a folder");
        let at = |port| SocketAddr::new(host, port);
        let [sip, control] = [(); 2].map(|()| at(free_port_at(host)));
        let rtp = at(free_ports_at(host, MEDIA_PORTS + 2));
        let settings = further.to_owned() + &settings(config, sip, control, rtp);
        fs::write(dir.join("config"), settings).expect("write");
        // Registers only where the account says so.
        let registers = config.account.contains("regint=");
        let account = format!(
            "<sip:terminal@{}>{};answermode=auto;audio_codecs={}{}\n",
            host_of(host),
            if registers { "" } else { ";regint=0" },
            config.audio_codec,
            config.account
        );
        fs::write(dir.join("accounts"), account).expect("write");
        fs::write(dir.join("contacts"), "").expect("write");
        command.arg("-f").arg(&dir).current_dir(&dir);
        let process = Process::start(command, &dir.join("log"));
        let mut baresip = Self {
            process,
            sip,
            control,
            media_ports: rtp.port()..=rtp.port() + MEDIA_PORTS,
            dir,
        };
        wait_for("baresip takes commands", Duration::from_secs(10), || {
            assert!(
                baresip.process.is_running(),
                "baresip ended:\n{}",
                baresip.log()
            );
            TcpStream::connect(control).ok()
        });
        baresip
    }

    /// What it printed.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.dir.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Calls `uri` and waits until the call is established.
    pub fn dial(&self, uri: &str) {
        self.command("dial", uri);
        wait_for(
            "baresip's call is established",
            Duration::from_secs(10),
            || {
                let log = self.log();
                assert!(!log.contains("session closed"), "refused: {log}");
                log.contains("Call established").then_some(())
            },
        );
    }

    /// Calls `uri`, which is refused; yields what baresip says of it.
    pub fn dial_in_vain(&self, uri: &str) -> String {
        self.command("dial", uri);
        wait_for("baresip's call is refused", Duration::from_secs(10), || {
            let log = self.log();
            assert!(!log.contains("Call established"), "{log}");
            let line = log.lines().find(|line| line.contains("session closed"));
            line.map(str::to_string)
        })
    }

    /// Presses telephone keys, each as an event of its own (RFC 4733).
    pub fn type_keys(&self, keys: &str) {
        for key in keys.chars() {
            self.command("sndcode", &key.to_string());
        }
    }

    /// Hangs up.
    pub fn hang_up(&self) {
        self.command("hangup", "");
    }

    /// The picture that it decodes next, as a PNG file, which may not be complete yet.
    pub fn picture(&self) -> PathBuf {
        // File names tell seconds only: what is there must not be taken for new.
        for old in self.pictures() {
            fs::remove_file(old).expect("remove a picture");
        }
        // One that is asked for while another is written may never come.
        let mut asked: Option<Instant> = None;
        wait_for("baresip saved a picture", Duration::from_secs(20), || {
            if asked.is_none_or(|asked| asked.elapsed() > ASK_AGAIN) {
                self.command("snapshot", "");
                asked = Some(Instant::now());
            }
            self.pictures().pop()
        })
    }

    /// Mono or stereo WAV file of what it heard since the call began; complete once it ended.
    pub fn heard(&self) -> Option<PathBuf> {
        files(&self.dir.join("sound"), "dec.wav").into_iter().max()
    }

    fn pictures(&self) -> Vec<PathBuf> {
        files(&self.dir, ".png")
            .into_iter()
            .filter(|p| p.to_string_lossy().contains("snapshot-recv"))
            .collect()
    }

    /// Gives a command by ctrl_tcp, JSON in a netstring, and waits until it is carried out. News of the
    /// call may come before the answer; who hangs up upon those may have the command dropped.
    fn command(&self, name: &str, params: &str) {
        let message = serde_json::json!({ "command": name, "params": params }).to_string();
        let mut stream = TcpStream::connect(self.control).expect("connect");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("timeout");
        let netstring = format!("{}:{message},", message.len());
        stream.write_all(netstring.as_bytes()).expect("write");
        let (mut said, mut buffer) = (String::new(), [0; 4096]);
        while !said.contains("\"response\":true") {
            let read = stream.read(&mut buffer).ok().filter(|len| *len > 0);
            let len = read.unwrap_or_else(|| panic!("{name}: {said}\n{}", self.log()));
            said.push_str(&String::from_utf8_lossy(&buffer[..len]));
        }
    }
}

/// Thirty rounds of a clip as a file that baresip plays over and over. Not in H.263: libavcodec's encoder
/// takes no picture from before the last one, so that nothing is sent once the file begins again.
pub fn write_clip(clip: &Clip, file: &Path) {
    write_rounds(clip, 30, file);
}

/// So many rounds of a clip, for who is to play it once.
pub fn write_rounds(clip: &Clip, rounds: usize, file: &Path) {
    let stream = file.with_extension("h264");
    let units = clip.units.iter().flat_map(|unit| unit.data.iter().copied());
    let units: Vec<u8> = units.collect();
    fs::write(&stream, units.repeat(rounds)).expect("write");
    let done = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-framerate", "30", "-i"])
        .arg(&stream)
        .args(["-c", "copy"])
        .arg(file)
        .status()
        .expect("run ffmpeg");
    assert!(done.success());
}

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir)
        .expect("read a folder")
        .flatten()
        .map(|e| e.path());
    let mut found: Vec<_> = entries
        .filter(|p| p.to_string_lossy().ends_with(ending))
        .collect();
    found.sort();
    found
}

/// An address as it stands in a URI.
fn host_of(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

fn settings(config: &Config<'_>, sip: SocketAddr, control: SocketAddr, rtp: SocketAddr) -> String {
    let video = config.clip.map_or_else(String::new, |clip| {
        format!(
            "video_source avformat,{}\nvideo_display fakevideo,nil\nmodule avcodec.so\n\
             module avformat.so\nmodule snapshot.so\nmodule fakevideo.so\n",
            clip.display()
        )
    });
    format!(
        "poll_method epoll\nsip_listen {sip}\nnet_interface {}\nrtp_ports {}-{}\n\
         audio_player aubridge,nil\naudio_alert aubridge,nil\naudio_source ausine,{}\n\
         ausrc_srate 48000\nauplay_srate 48000\nausrc_channels 2\nauplay_channels 2\n\
         video_size 1280x720\nvideo_bitrate 1500000\nvideo_fps 30\nvidenc_format yuv420p\n\
         jitter_buffer_delay 2-5\nmodule_path /usr/lib/baresip/modules\n\
         module opus.so\nmodule g722.so\nmodule g711.so\nmodule srtp.so\nmodule sndfile.so\n\
         module dtls_srtp.so\nmodule ice.so\n\
         module ausine.so\nmodule aubridge.so\nmodule ctrl_tcp.so\n{video}\
         module_tmp account.so\nmodule_app menu.so\nctrl_tcp_listen {control}\n\
         snd_path sound\navcodec_h264enc libx264\navcodec_h264dec h264\n",
        rtp.ip(),
        rtp.port(),
        rtp.port() + MEDIA_PORTS,
        config.tone_hz,
    )
}
