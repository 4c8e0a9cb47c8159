//! Session descriptions of a leg: its offer, and what it takes from an answer.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use mcu_api::codec::{AudioCodec, PacketizationMode};

use super::config::{AudioConfig, LegConfig, Repair};
use super::dtls::{Fingerprint, fingerprint_line, read_fingerprint};
use super::srtp::Master;

/// Ports that a leg listens on. RTCP is one above unless RTP and RTCP share a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) audio: u16,
    pub(super) video: u16,
    pub(super) audio_key: Option<Master>,
    pub(super) video_key: Option<Master>,
    /// Of our certificate, with DTLS.
    pub(super) fingerprint: Option<Fingerprint>,
}

/// What a description is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// An offer; `hold` asks for no media.
    Offer { hold: bool },
    /// The answer to the peer's.
    Answer,
}

/// Where one stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Remote {
    pub(super) rtp: SocketAddr,
    pub(super) rtcp: SocketAddr,
    pub(super) payload_type: u8,
    /// The peer answers NACK, and sends it.
    pub(super) nack: bool,
    /// Payload type of retransmissions.
    pub(super) rtx: Option<u8>,
    /// Payload type of sound with copies.
    pub(super) red: Option<u8>,
    pub(super) key: Option<Master>,
    /// Of the peer's certificate, with DTLS.
    pub(super) fingerprint: Option<Fingerprint>,
}

/// What the peer takes; `None` for a line that it refused or holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) audio: Option<Remote>,
    pub(super) video: Option<Remote>,
}

/// The leg's description.
pub(super) fn describe(config: &LegConfig, ports: Ports, version: u32, purpose: Purpose) -> String {
    let hold = purpose == Purpose::Offer { hold: true };
    let (id, ip) = (config.id, config.local_ip);
    let family = if ip.is_ipv6() { "IP6" } else { "IP4" };
    let mut sdp = format!(
        "v=0\r\no=load {id} {version} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n"
    );
    if let Some(audio) = config.audio {
        sdp += &describe_audio(config, audio, ports, hold);
        sdp += &key_lines(ports.audio_key, ports.fingerprint, purpose);
    }
    if let Some(video) = &config.video {
        let pt = video.payload_type;
        let mode = u8::from(video.packetization == PacketizationMode::NonInterleaved);
        let repair = config.repair;
        let rtx = if repair.rtx {
            format!(" {RTX}")
        } else {
            String::new()
        };
        let mut repairs = String::new();
        if repair.rtx {
            repairs += &format!("a=rtpmap:{RTX} rtx/90000\r\na=fmtp:{RTX} apt={pt}\r\n");
        }
        if repair.nack {
            repairs += &format!("a=rtcp-fb:{pt} nack\r\n");
        }
        let direction = match (video.clip.is_some(), hold) {
            (true, false) => "sendrecv",
            (true, true) => "sendonly",
            (false, false) => "recvonly",
            (false, true) => "inactive",
        };
        // Writing to a String cannot fail.
        let _ = write!(
            sdp,
            "m=video {} {} {pt}{rtx}\r\nb=AS:{}\r\nb=TIAS:{}\r\na=rtpmap:{pt} H264/90000\r\n\
             a=fmtp:{pt} profile-level-id={};packetization-mode={mode}\r\n{repairs}{}{}a={direction}\r\n",
            ports.video,
            profile(ports.video_key, ports.fingerprint),
            video.receive_bps.div_ceil(1000),
            video.receive_bps,
            video.profile_level_id,
            if config.feedback {
                format!("a=rtcp-fb:{pt} nack pli\r\na=rtcp-fb:{pt} ccm fir\r\n")
            } else {
                String::new()
            },
            rtcp_line(config, ports.video),
        );
        sdp += &key_lines(ports.video_key, ports.fingerprint, purpose);
    }
    sdp
}

/// Its sound, but for the keys.
fn describe_audio(config: &LegConfig, audio: AudioConfig, ports: Ports, hold: bool) -> String {
    let pt = audio.payload_type;
    let name = match audio.codec {
        AudioCodec::Pcmu => "PCMU/8000",
        AudioCodec::Pcma => "PCMA/8000",
        AudioCodec::G722 => "G722/8000",
        AudioCodec::Opus => "opus/48000/2",
        AudioCodec::G729 => "G729/8000",
        AudioCodec::L16 => "L16/16000",
        AudioCodec::G7221 { .. } => "G7221/16000",
        AudioCodec::G7221C { .. } => "G7221/32000",
    };
    let (red, red_lines) = match config.repair.red {
        true => (
            format!("{RED} "),
            format!(
                "a=rtpmap:{RED} red/{}\r\na=fmtp:{RED} {pt}/{pt}/{pt}\r\n",
                red_clock(name)
            ),
        ),
        false => Default::default(),
    };
    let rate = match audio.codec {
        AudioCodec::G7221 { bitrate_bps } | AudioCodec::G7221C { bitrate_bps } => {
            format!("a=fmtp:{pt} bitrate={bitrate_bps}\r\n")
        }
        AudioCodec::Opus => format!("a=fmtp:{pt} useinbandfec=1\r\n"),
        _ => String::new(),
    };
    format!(
        "m=audio {} {} {red}{pt}\r\na=rtpmap:{pt} {name}\r\n{rate}{red_lines}a=ptime:20\r\n{}a={}\r\n",
        ports.audio,
        profile(ports.audio_key, ports.fingerprint),
        rtcp_line(config, ports.audio),
        if hold { "sendonly" } else { "sendrecv" },
    )
}

/// Payload types of what repairs.
pub(super) const RED: u8 = 121;
pub(super) const RTX: u8 = 122;

/// Clock and channels of a codec, which its copies have, too.
fn red_clock(name: &str) -> &str {
    name.split_once('/').map_or("8000", |(_, clock)| clock)
}

fn profile(key: Option<Master>, fingerprint: Option<Fingerprint>) -> &'static str {
    match (key, fingerprint) {
        (_, Some(_)) => "UDP/TLS/RTP/SAVP",
        (Some(_), None) => "RTP/SAVP",
        (None, None) => "RTP/AVP",
    }
}

/// A leg is the client of its handshakes: it leaves the choice to the peer and takes that part
/// itself where the choice is its own.
fn key_lines(key: Option<Master>, fingerprint: Option<Fingerprint>, purpose: Purpose) -> String {
    let Some(fingerprint) = fingerprint else {
        return key.map(|key| key.line()).unwrap_or_default();
    };
    let setup = match purpose {
        Purpose::Offer { .. } => "actpass",
        Purpose::Answer => "active",
    };
    format!("{}a=setup:{setup}\r\n", fingerprint_line(fingerprint))
}

fn rtcp_line(config: &LegConfig, port: u16) -> String {
    if config.rtcp_mux {
        "a=rtcp-mux\r\n".into()
    } else {
        format!("a=rtcp:{}\r\n", port.saturating_add(1))
    }
}

impl Answer {
    /// What is of use to a leg that offers this against loss: an offer of the server's names all that it
    /// has.
    pub(super) fn for_who_offers(mut self, repair: Repair) -> Self {
        if let Some(video) = &mut self.video {
            video.nack &= repair.nack;
        }
        self
    }
}

/// Reads an answer, or an offer within the call.
pub(super) fn read(sdp: &str) -> Answer {
    let mut answer = Answer::default();
    let mut session_ip = None;
    for section in sections(sdp) {
        let connection = section
            .iter()
            .find_map(|line| ip_of(line.strip_prefix("c=")?));
        let Some(media) = section.first().and_then(|line| line.strip_prefix("m=")) else {
            session_ip = connection;
            continue;
        };
        let remote = connection
            .or(session_ip)
            .and_then(|ip| remote(media, ip, &section));
        let slot = match media.split(' ').next() {
            Some("audio") => &mut answer.audio,
            Some("video") => &mut answer.video,
            _ => continue,
        };
        // Of several lines of one kind the first that is taken counts.
        *slot = slot.or(remote);
    }
    answer
}

/// The lines before the first `m=`, then those of each media line.
fn sections(sdp: &str) -> Vec<Vec<&str>> {
    let mut sections = vec![Vec::new()];
    for line in sdp.lines().map(str::trim_end) {
        if line.starts_with("m=") {
            sections.push(Vec::new());
        }
        if let Some(section) = sections.last_mut() {
            section.push(line);
        }
    }
    sections
}

fn ip_of(connection: &str) -> Option<IpAddr> {
    connection
        .split(' ')
        .nth(2)?
        .split('/')
        .next()?
        .parse()
        .ok()
}

/// Payload type that `a=rtpmap` gives this name.
fn number_of(line: &str, name: &str) -> Option<u8> {
    let (number, encoding) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
    encoding
        .to_ascii_lowercase()
        .starts_with(name)
        .then_some(())?;
    number.parse().ok()
}

fn remote(media: &str, ip: IpAddr, lines: &[&str]) -> Option<Remote> {
    let mut words = media.split(' ').skip(1);
    let port: u16 = words.next()?.split('/').next()?.parse().ok()?;
    let of = |name: &str| lines.iter().find_map(|line| number_of(line, name));
    let (rtx, red) = (of("rtx/"), of("red/"));
    let mut types = words.skip(1).filter_map(|word| word.parse().ok());
    let payload_type = types.find(|number| ![rtx, red].contains(&Some(*number)))?;
    let has = |attribute: &str| lines.contains(&attribute);
    if port == 0 || ip.is_unspecified() || has("a=sendonly") || has("a=inactive") {
        return None;
    }
    let rtcp_port = if has("a=rtcp-mux") {
        port
    } else {
        let named = lines.iter().find_map(|line| line.strip_prefix("a=rtcp:"));
        named
            .and_then(|value| value.split(' ').next()?.parse().ok())
            .unwrap_or(port.checked_add(1)?)
    };
    Some(Remote {
        rtp: SocketAddr::new(ip, port),
        rtcp: SocketAddr::new(ip, rtcp_port),
        payload_type,
        nack: lines
            .iter()
            .any(|line| line.starts_with("a=rtcp-fb:") && line.ends_with(" nack")),
        rtx,
        red,
        key: lines.iter().find_map(|line| Master::parse(line)),
        fingerprint: lines.iter().find_map(|line| read_fingerprint(line)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::config::{Repair, VideoConfig, Watch};

    fn config(rtcp_mux: bool) -> LegConfig {
        LegConfig {
            id: 3,
            local_ip: [127, 0, 0, 1].into(),
            audio: Some(AudioConfig::default()),
            video: Some(VideoConfig::default()),
            rtcp_mux,
            feedback: true,
            sdes: false,
            dtls: false,
            repair: Repair::default(),
            line: None,
            speech: None,
            records: false,
            watch: Watch::Nothing,
        }
    }

    #[test]
    fn a_description_reads_back() {
        for (mux, rtcp) in [(true, 4000), (false, 4001)] {
            let sdp = describe(
                &config(mux),
                Ports {
                    audio: 4000,
                    video: 4002,
                    ..Ports::default()
                },
                1,
                Purpose::Answer,
            );
            let read = read(&sdp);
            let audio = read.audio.unwrap();
            assert_eq!(
                (audio.rtp.port(), audio.rtcp.port(), audio.payload_type),
                (4000, rtcp, 0)
            );
            let video = read.video.unwrap();
            assert_eq!((video.rtp.port(), video.payload_type), (4002, 97));
        }
    }

    #[test]
    fn dtls_is_offered_to_be_chosen_and_answered_as_the_client() {
        let ports = Ports {
            audio: 4000,
            video: 4002,
            fingerprint: Some([0xab; 32]),
            ..Ports::default()
        };
        for (purpose, setup) in [
            (Purpose::Offer { hold: false }, "a=setup:actpass"),
            (Purpose::Answer, "a=setup:active"),
        ] {
            let sdp = describe(&config(true), ports, 1, purpose);
            assert_eq!(sdp.matches(setup).count(), 2, "{sdp}");
            assert_eq!(sdp.matches("UDP/TLS/RTP/SAVP").count(), 2, "{sdp}");
            let read = read(&sdp);
            assert_eq!(read.audio.unwrap().fingerprint, Some([0xab; 32]));
            assert_eq!(read.video.unwrap().fingerprint, Some([0xab; 32]));
        }
    }

    #[test]
    fn a_held_call_takes_nothing() {
        let ports = Ports {
            audio: 4000,
            video: 4002,
            ..Ports::default()
        };
        let held = describe(&config(true), ports, 1, Purpose::Offer { hold: true });
        assert_eq!(read(&held).audio, None);
        assert!(held.contains("a=inactive"), "only receives: {held}");
    }

    #[test]
    fn refused_and_held_lines_take_nothing() {
        let sdp = "v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 0 RTP/AVP 0\r\n\
                   m=video 5000 RTP/AVP 99 98\r\nc=IN IP4 10.0.0.2\r\na=sendonly\r\n\
                   m=video 5004 RTP/AVP 99\r\n";
        let read = read(sdp);
        assert_eq!(read.audio, None);
        assert_eq!(
            read.video.unwrap().rtp,
            "10.0.0.1:5004".parse::<SocketAddr>().unwrap()
        );
    }

    #[test]
    fn rubbish_takes_nothing() {
        for sdp in [
            "",
            "m=",
            "m=audio",
            "m=audio x y z",
            "c=\r\nm=audio 1 RTP/AVP 0",
            "\u{0}",
        ] {
            assert_eq!(read(sdp), Answer::default());
        }
    }
}
