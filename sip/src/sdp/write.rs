//! Writing our descriptions.

use std::fmt::Write;
use std::net::IpAddr;

use mcu_api::codec::AudioCodec;
use mcu_api::plan::{Feedback, UdpTransport};

use super::{Direction, KeptLine, LocalMedia};

/// A description that is being written.
#[derive(Debug)]
pub(super) struct Writer {
    text: String,
    /// What stands in `c=`.
    pub(super) address: IpAddr,
}

impl Writer {
    /// Begins with the session's own lines (RFC 8866 §5).
    pub(super) fn new(local: &LocalMedia) -> Self {
        let address = connection(local.address);
        let mut writer = Self {
            text: String::new(),
            address: local.address,
        };
        writer.line("v=0");
        writer.line(format_args!(
            "o=- {} {} {address}",
            local.session_id, local.version
        ));
        writer.line("s=-");
        writer.line(format_args!("c={address}"));
        writer.line("t=0 0");
        writer
    }

    pub(super) fn line(&mut self, line: impl std::fmt::Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{line}\r\n");
    }

    pub(super) fn attribute(&mut self, name: &str, value: impl std::fmt::Display) {
        self.line(format_args!("a={name}:{value}"));
    }

    /// A line that is refused: in its place, with a format kept (RFC 3264 §6).
    pub(super) fn refused(&mut self, line: &KeptLine) {
        self.line(format_args!(
            "m={} 0 {} {}",
            line.media, line.proto, line.format
        ));
    }

    pub(super) fn media(&mut self, kind: &str, port: u16, proto: &str, payload_types: &[u8]) {
        let list: String = payload_types
            .iter()
            .map(|number| format!(" {number}"))
            .collect();
        self.line(format_args!("m={kind} {port} {proto}{list}"));
    }

    pub(super) fn bandwidth(&mut self, bitrate_bps: u32) {
        // AS counts the packets' headers, TIAS does not (RFC 3890).
        let with_headers = u64::from(bitrate_bps) * 20 / 19;
        self.line(format_args!("b=AS:{}", with_headers.div_ceil(1000)));
        self.line(format_args!("b=TIAS:{bitrate_bps}"));
    }

    /// A format of sound; `annex_b` is of G.729.
    pub(super) fn audio_format(&mut self, payload_type: u8, codec: AudioCodec, annex_b: bool) {
        let encoding = match codec {
            AudioCodec::Pcmu => "PCMU/8000",
            AudioCodec::Pcma => "PCMA/8000",
            AudioCodec::G722 => "G722/8000",
            AudioCodec::Opus => "opus/48000/2",
            AudioCodec::G7221 { .. } => "G7221/16000",
            AudioCodec::G7221C { .. } => "G7221/32000",
            AudioCodec::G729 => "G729/8000",
            AudioCodec::L16 => "L16/16000",
        };
        self.attribute("rtpmap", format_args!("{payload_type} {encoding}"));
        let parameters = match codec {
            AudioCodec::Opus => "useinbandfec=1".to_owned(),
            AudioCodec::G729 if annex_b => "annexb=yes".to_owned(),
            AudioCodec::G729 => "annexb=no".to_owned(),
            AudioCodec::G7221 { bitrate_bps } | AudioCodec::G7221C { bitrate_bps } => {
                format!("bitrate={bitrate_bps}")
            }
            _ => return,
        };
        self.attribute("fmtp", format_args!("{payload_type} {parameters}"));
    }

    /// Digits 0 to 9, *, #, A to D: events 0 to 15 (RFC 4733 §3.2).
    pub(super) fn telephone_event(&mut self, payload_type: u8, clock_hz: u32) {
        self.attribute(
            "rtpmap",
            format_args!("{payload_type} telephone-event/{clock_hz}"),
        );
        self.attribute("fmtp", format_args!("{payload_type} 0-15"));
    }

    pub(super) fn video_format(&mut self, payload_type: u8, encoding: &str, parameters: &str) {
        self.attribute("rtpmap", format_args!("{payload_type} {encoding}/90000"));
        self.attribute("fmtp", format_args!("{payload_type} {parameters}"));
    }

    /// Retransmissions of a payload type (RFC 4588 §8.1).
    pub(super) fn rtx(&mut self, payload_type: u8, of: u8) {
        self.attribute("rtpmap", format_args!("{payload_type} rtx/90000"));
        self.attribute("fmtp", format_args!("{payload_type} apt={of}"));
    }

    /// A payload type of sound with copies (RFC 2198 §5).
    pub(super) fn red(&mut self, payload_type: u8, of: u8, codec: AudioCodec) {
        let (clock_hz, channels) = match codec {
            AudioCodec::Opus => (48_000, "/2"),
            codec => (codec.rtp_clock_hz(), ""),
        };
        self.attribute(
            "rtpmap",
            format_args!("{payload_type} red/{clock_hz}{channels}"),
        );
        self.attribute("fmtp", format_args!("{payload_type} {of}/{of}"));
    }

    pub(super) fn feedback(&mut self, feedback: Feedback) {
        let known = [
            (feedback.nack, "nack"),
            (feedback.pli, "nack pli"),
            (feedback.fir, "ccm fir"),
            (feedback.tmmbr, "ccm tmmbr"),
            (feedback.remb, "goog-remb"),
        ];
        for (_, name) in known.iter().filter(|(agreed, _)| *agreed) {
            self.attribute("rtcp-fb", format_args!("* {name}"));
        }
    }

    /// How RTCP goes: on the RTP port (RFC 5761 §5.1.1) or on one of its own (RFC 3605).
    pub(super) fn rtcp(&mut self, transport: &UdpTransport) {
        match transport.rtcp_port {
            Some(port) => self.attribute("rtcp", port),
            None => self.line("a=rtcp-mux"),
        }
    }

    pub(super) fn direction(&mut self, direction: Direction) {
        self.line(format_args!("a={}", direction.attribute()));
    }

    pub(super) fn finish(self) -> String {
        if !self.text.contains("\r\na=ice-ufrag:") {
            return self.text;
        }
        // RFC 8839 §5.3: a session attribute, behind `t=`.
        self.text
            .replacen("t=0 0\r\n", "t=0 0\r\na=ice-lite\r\n", 1)
    }
}

fn connection(address: IpAddr) -> String {
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    format!("IN {family} {address}")
}
