//! Session descriptions as terminals and browsers really write them, read line by line.
//!
//! `sdp-types` does the grammar. Around it stand the bounds on the input, the tolerance for lines
//! that nobody needs and some peers get wrong, and the readings of attributes that offer and answer
//! share.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use sdp_types::{Attribute, Connection, Media, Session};

use super::Direction;

/// Longest description of a terminal that is read, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;
/// Most media lines that are read.
pub const MAX_MEDIA_LINES: usize = 64;
/// Most attributes of one media line, or of the session, that are read.
const MAX_ATTRIBUTES: usize = 1024;

/// Why a description cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Longer than the reader allows.
    #[error("a description of {bytes} bytes, at most {most} are read")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The longest that is read.
        most: usize,
    },
    /// More than [`MAX_MEDIA_LINES`].
    #[error("a description of {lines} media lines, at most {MAX_MEDIA_LINES} are read")]
    TooManyLines {
        /// Their number.
        lines: usize,
    },
    /// More attributes in one place than any honest peer writes.
    #[error("{attributes} attributes in one place, at most {MAX_ATTRIBUTES} are read")]
    TooManyAttributes {
        /// Their number.
        attributes: usize,
    },
    /// Not a session description.
    #[error("not a session description: {0}")]
    Malformed(String),
    /// No media line at all.
    #[error("a description without media")]
    NoMedia,
}

/// A description that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Session-level attributes.
    pub attributes: Vec<Attribute>,
    /// Smallest session-level `b=` in bit/s, overhead of the packets taken off.
    pub bandwidth_bps: Option<u64>,
    /// Media lines in order.
    pub lines: Vec<MediaLine>,
}

/// One media line with its attributes; what stands at session level only is filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct MediaLine {
    /// Media kind, lower case: `audio`, `video`, `application` and so on.
    pub media: String,
    /// Port; 0 refuses the line.
    pub port: u16,
    /// Transport token as written.
    pub proto: String,
    /// First format as written, `*` if there was none.
    pub first_format: String,
    /// RTP payload types in the order of the line, each once.
    pub payloads: Vec<Payload>,
    /// Address of `c=`; `None` for a host name or none at all.
    pub address: Option<IpAddr>,
    /// What the peer wants to do, seen from the peer.
    pub direction: Direction,
    /// Smallest `b=` of this line in bit/s, overhead of the packets taken off.
    pub bandwidth_bps: Option<u64>,
    /// Attributes of this line.
    pub attributes: Vec<Attribute>,
    /// Session attributes of keys and ICE, which hold for lines that have none of their own.
    pub inherited: Vec<Attribute>,
}

/// One RTP payload type of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The number, 0 to 127.
    pub number: u8,
    /// `a=rtpmap`, or what RFC 3551 §6 assigns; `None` for a dynamic number without `a=rtpmap`.
    pub encoding: Option<Encoding>,
    /// `a=fmtp` as written.
    pub fmtp: Option<String>,
}

/// What `a=rtpmap` says (RFC 8866 §6.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// Encoding name, lower case.
    pub name: String,
    /// RTP clock in Hz.
    pub clock_hz: u32,
    /// Channels of sound, 1 if not said.
    pub channels: u8,
}

/// Reads a description of at most [`MAX_BYTES`].
///
/// # Errors
/// When it is none, or larger than the bounds.
pub fn read(text: &str) -> Result<Description, ReadError> {
    read_at_most(text, MAX_BYTES)
}

/// Reads a description of at most `most` bytes.
///
/// # Errors
/// When it is none, or larger than the bounds.
pub fn read_at_most(text: &str, most: usize) -> Result<Description, ReadError> {
    if text.len() > most {
        return Err(ReadError::TooLong {
            bytes: text.len(),
            most,
        });
    }
    let session = Session::parse(needed_lines(text).as_bytes())
        .map_err(|error| ReadError::Malformed(error.to_string()))?;
    match session.medias.len() {
        0 => return Err(ReadError::NoMedia),
        1..=MAX_MEDIA_LINES => {}
        lines => return Err(ReadError::TooManyLines { lines }),
    }
    let longest = session
        .medias
        .iter()
        .map(|media| media.attributes.len())
        .max()
        .unwrap_or(0);
    let attributes = longest.max(session.attributes.len());
    if attributes > MAX_ATTRIBUTES {
        return Err(ReadError::TooManyAttributes { attributes });
    }
    Ok(Description {
        bandwidth_bps: smallest_bandwidth(&session.bandwidths),
        lines: session
            .medias
            .iter()
            .map(|media| MediaLine::new(media, &session))
            .collect(),
        attributes: session.attributes,
    })
}

impl Description {
    /// Value of the first session-level attribute of this name; empty for a flag.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attribute_values(name).next()
    }

    /// Values of all session-level attributes of this name.
    pub fn attribute_values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        values(&self.attributes, name)
    }
}

impl MediaLine {
    fn new(media: &Media, session: &Session) -> Self {
        let connection = media.connections.first().or(session.connection.as_ref());
        Self {
            media: media.media.to_ascii_lowercase(),
            port: media.port,
            proto: media.proto.clone(),
            first_format: media
                .fmt
                .split_whitespace()
                .next()
                .unwrap_or("*")
                .to_string(),
            payloads: payloads(media),
            address: connection.and_then(address),
            direction: direction(&media.attributes)
                .or_else(|| direction(&session.attributes))
                .unwrap_or_default(),
            bandwidth_bps: smallest_bandwidth(&media.bandwidths),
            attributes: media.attributes.clone(),
            inherited: inherited(&session.attributes),
        }
    }

    /// Values of all attributes of this name, of the line or else of the session.
    pub fn effective<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let of_line = self.attribute(name).is_some();
        let attributes = if of_line {
            &self.attributes
        } else {
            &self.inherited
        };
        values(attributes, name)
    }

    /// Value of the first attribute of this name; empty for a flag.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attribute_values(name).next()
    }

    /// Values of all attributes of this name.
    pub fn attribute_values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        values(&self.attributes, name)
    }

    /// The payload type of this number.
    pub fn payload(&self, number: u8) -> Option<&Payload> {
        self.payloads
            .iter()
            .find(|payload| payload.number == number)
    }

    /// Whether the line's transport is RTP, under one of its profile names.
    pub fn is_rtp(&self) -> bool {
        is_rtp(&self.proto)
    }

    /// Whether the profile demands keys by DTLS (RFC 5764 §8).
    pub fn demands_dtls(&self) -> bool {
        self.is_rtp() && self.proto.len() > "RTP/SAVPF".len()
    }

    /// Whether the profile demands encryption (RFC 3711 §12, RFC 5124).
    pub fn demands_srtp(&self) -> bool {
        let proto = self.proto.to_ascii_uppercase();
        proto.ends_with("/SAVP") || proto.ends_with("/SAVPF")
    }

    /// Whether the line shows slides, or anything else than the main picture (RFC 4796 §5).
    pub fn is_secondary_video(&self) -> bool {
        self.attribute("content")
            .is_some_and(|content| !content.split(',').any(|word| word.trim() == "main"))
    }

    /// What we may do on this line, seen from us. An unspecified address is the hold of RFC 2543
    /// (RFC 3264 §8.4): nothing may be sent there.
    pub fn our_direction(&self) -> Direction {
        let ours = self.direction.reversed();
        match self.address {
            Some(address) if address.is_unspecified() => ours.and(Direction::RecvOnly),
            _ => ours,
        }
    }

    /// Where the peer takes RTP, if that is a usable unicast address.
    pub fn remote_rtp(&self) -> Option<SocketAddr> {
        usable(self.address?, self.port)
    }

    /// Where the peer takes RTCP: `a=rtcp` (RFC 3605), else the port above that of RTP.
    pub fn remote_rtcp(&self) -> Option<SocketAddr> {
        let Some(value) = self.attribute("rtcp") else {
            return usable(self.address?, self.port.checked_add(1)?);
        };
        let mut words = value.split_whitespace();
        let port = words.next()?.parse().ok()?;
        // nettype and addrtype stand between port and address.
        let address = words
            .nth(2)
            .and_then(|word| word.parse().ok())
            .or(self.address)?;
        usable(address, port)
    }

    /// Whether `a=rtcp-fb` offers this feedback for a payload type or for all (RFC 4585 §4.2).
    pub fn offers_feedback(&self, payload_type: u8, feedback: &str) -> bool {
        self.attribute_values("rtcp-fb").any(|value| {
            let mut words = value.split_whitespace();
            let number = words.next().unwrap_or_default();
            let concerned = number == "*" || number.parse() == Ok(payload_type);
            concerned && says(words, feedback)
        })
    }
}

impl Payload {
    /// Whether this is the encoding of that name and clock.
    pub fn is(&self, name: &str, clock_hz: u32) -> bool {
        self.encoding.as_ref().is_some_and(|found| {
            found.name.eq_ignore_ascii_case(name) && found.clock_hz == clock_hz
        })
    }
}

/// Whether a transport token is RTP: four profiles (RFC 3551, 4585, 3711, 5124), the latter two with
/// keys by DTLS too (RFC 5764 §8).
pub fn is_rtp(proto: &str) -> bool {
    let names = [
        "RTP/AVP",
        "RTP/AVPF",
        "RTP/SAVP",
        "RTP/SAVPF",
        "UDP/TLS/RTP/SAVP",
        "UDP/TLS/RTP/SAVPF",
    ];
    names.iter().any(|name| proto.eq_ignore_ascii_case(name))
}

/// Parameters of an `a=fmtp` value, names in lower case. Terminals separate them by `;`, by spaces
/// or by both, and some put braces with separators inside around a value.
pub fn parameters(fmtp: &str) -> HashMap<String, String> {
    let mut depth = 0_u32;
    let separates = |c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && (c == ';' || c.is_whitespace())
    };
    fmtp.split(separates)
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_string()))
        .collect()
}

/// Whether `words` begins with exactly the words of `feedback`. "nack" alone is the generic NACK and
/// is not contained in "nack pli"; of "ccm fir tmmbr", which some write, both are meant.
fn says<'a>(words: impl Iterator<Item = &'a str>, feedback: &str) -> bool {
    let found: Vec<String> = words.take(8).map(str::to_ascii_lowercase).collect();
    match feedback.split_once(' ') {
        None => found.len() == 1 && found.first().is_some_and(|word| word == feedback),
        Some((kind, parameter)) => {
            found.first().is_some_and(|word| word == kind)
                && found.iter().skip(1).any(|word| word == parameter)
        }
    }
}

/// The lines that matter here. The others (`o=`, `s=`, `t=`, `i=` and so on) are often missing,
/// doubled or malformed, and nothing depends on them; so it is with a `b=` that is no number.
fn needed_lines(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for line in text.lines().map(str::trim_end) {
        let needed = match line.get(..2) {
            Some("v=" | "c=" | "a=" | "m=") => true,
            Some("b=") => bandwidth_is_number(line),
            _ => false,
        };
        if needed {
            kept.push_str(line);
            kept.push_str("\r\n");
        }
    }
    kept
}

fn bandwidth_is_number(line: &str) -> bool {
    line.split_once(':')
        .is_some_and(|(_, value)| value.parse::<u64>().is_ok())
}

fn values<'a>(attributes: &'a [Attribute], name: &str) -> impl Iterator<Item = &'a str> {
    attributes
        .iter()
        .filter(move |attribute| attribute.attribute.eq_ignore_ascii_case(name))
        .map(|attribute| attribute.value.as_deref().unwrap_or_default())
}

/// At most a few: more fingerprints than there are hash functions say nothing.
fn inherited(session: &[Attribute]) -> Vec<Attribute> {
    const NAMES: [&str; 6] = [
        "fingerprint",
        "setup",
        "tls-id",
        "ice-ufrag",
        "ice-pwd",
        "ice-lite",
    ];
    let known = |attribute: &&Attribute| {
        let name = &attribute.attribute;
        NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
    };
    session.iter().filter(known).take(16).cloned().collect()
}

/// Smallest of `b=AS`, `b=CT` (kbit/s with the packets' headers, RFC 8866 §5.8) and `b=TIAS`
/// (bit/s without those below RTP, RFC 3890). One twentieth is taken off the former for headers.
fn smallest_bandwidth(bandwidths: &[sdp_types::Bandwidth]) -> Option<u64> {
    bandwidths
        .iter()
        .filter_map(
            |bandwidth| match bandwidth.bwtype.to_ascii_uppercase().as_str() {
                "AS" | "CT" => Some(bandwidth.bandwidth.saturating_mul(950)),
                "TIAS" => Some(bandwidth.bandwidth),
                _ => None,
            },
        )
        .min()
}

fn direction(attributes: &[Attribute]) -> Option<Direction> {
    attributes
        .iter()
        .find_map(|attribute| match attribute.attribute.as_str() {
            "sendrecv" => Some(Direction::SendRecv),
            "sendonly" => Some(Direction::SendOnly),
            "recvonly" => Some(Direction::RecvOnly),
            "inactive" => Some(Direction::Inactive),
            _ => None,
        })
}

fn address(connection: &Connection) -> Option<IpAddr> {
    connection
        .connection_address
        .split('/')
        .next()?
        .parse()
        .ok()
}

/// Refuses what media must never be sent to because of a description alone.
fn usable(address: IpAddr, port: u16) -> Option<SocketAddr> {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    let usable = port != 0 && !address.is_unspecified() && !address.is_multicast() && !broadcast;
    usable.then(|| SocketAddr::new(address, port))
}

fn payloads(media: &Media) -> Vec<Payload> {
    let mut found: Vec<Payload> = Vec::new();
    let numbers = media
        .fmt
        .split_whitespace()
        .filter_map(|word| word.parse().ok());
    for number in numbers.filter(|number| *number <= 127_u8) {
        if !found.iter().any(|payload| payload.number == number) {
            found.push(Payload {
                number,
                encoding: static_encoding(number),
                fmtp: None,
            });
        }
    }
    let mut mapped = [false; 128];
    for attribute in &media.attributes {
        let Some((number, text)) = numbered(attribute) else {
            continue;
        };
        let Some(payload) = found.iter_mut().find(|payload| payload.number == number) else {
            continue;
        };
        if attribute.attribute.eq_ignore_ascii_case("rtpmap") {
            // Given twice: the first counts.
            let Some(slot) = mapped.get_mut(usize::from(number)).filter(|done| !**done) else {
                continue;
            };
            *slot = true;
            payload.encoding = encoding(text);
        } else if attribute.attribute.eq_ignore_ascii_case("fmtp") && payload.fmtp.is_none() {
            payload.fmtp = Some(text.trim().to_string());
        }
    }
    found
}

/// Splits `97 H264/90000` of an attribute's value.
fn numbered(attribute: &Attribute) -> Option<(u8, &str)> {
    let value = attribute.value.as_deref()?.trim_start();
    let (number, text) = value.split_once(char::is_whitespace).unwrap_or((value, ""));
    Some((number.parse().ok()?, text))
}

fn encoding(text: &str) -> Option<Encoding> {
    let mut parts = text.trim().split('/');
    let name = parts
        .next()
        .filter(|name| !name.is_empty())?
        .to_ascii_lowercase();
    let clock_hz = parts.next()?.trim().parse().ok()?;
    let channels = parts
        .next()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1);
    Some(Encoding {
        name,
        clock_hz,
        channels,
    })
}

/// RFC 3551 §6, tables 4 and 5, as far as we have the codecs.
fn static_encoding(number: u8) -> Option<Encoding> {
    let name = match number {
        0 => "pcmu",
        8 => "pcma",
        9 => "g722",
        18 => "g729",
        31 => "h261",
        34 => "h263",
        _ => return None,
    };
    Some(Encoding {
        name: name.to_string(),
        clock_hz: if number < 24 { 8_000 } else { 90_000 },
        channels: 1,
    })
}
