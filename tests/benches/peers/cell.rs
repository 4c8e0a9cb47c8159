//! The matrix: every transport, family of addresses and keys for every peer, and what a peer cannot.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::{SIP, SIP_TLS, V4, V6};

/// A program of another's writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Baresip,
    Sipp,
    Pjsua2,
    Aiortc,
}

/// Below SIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

/// Of SIP and of media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// Of the media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    Clear,
    Sdes,
    Dtls,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub transport: Transport,
    pub family: Family,
    pub keys: Keys,
}

/// What keeps a peer from a cell, or from pictures of its own, whatever the server can.
pub const CANNOT: [&str; 6] = [
    "sipp 3.6 of Debian is built without TLS",
    "sipp has no SRTP: it echoes clear sound",
    "pjsua2-python 2.15 is built without IPv6",
    "pjsua2-python 2.15 is built without DTLS-SRTP",
    "aiortc has no media but DTLS-SRTP",
    "sipp has no pictures and echoes the other's sound; pjsua2-python 2.15 is built without video",
];

impl Peer {
    pub const ALL: [Self; 4] = [Self::Baresip, Self::Sipp, Self::Pjsua2, Self::Aiortc];

    pub fn name(self) -> &'static str {
        match self {
            Self::Baresip => "baresip",
            Self::Sipp => "sipp",
            Self::Pjsua2 => "pjsua2",
            Self::Aiortc => "aiortc",
        }
    }

    /// Whether it sends and shows pictures.
    pub fn has_video(self) -> bool {
        matches!(self, Self::Baresip | Self::Aiortc)
    }

    /// Number of the reason for which it cannot.
    pub fn cannot(self, row: Row) -> Option<usize> {
        match self {
            Self::Sipp if row.transport == Transport::Tls => Some(1),
            Self::Sipp if row.keys != Keys::Clear => Some(2),
            Self::Pjsua2 if row.family == Family::V6 => Some(3),
            Self::Pjsua2 if row.keys == Keys::Dtls => Some(4),
            Self::Aiortc if row.keys != Keys::Dtls => Some(5),
            _ => None,
        }
    }
}

impl Transport {
    const ALL: [Self; 3] = [Self::Udp, Self::Tcp, Self::Tls];

    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

impl Family {
    const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// Address of the server and of all peers.
    pub fn address(self) -> IpAddr {
        match self {
            Self::V4 => V4.into(),
            Self::V6 => V6.into(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

impl Keys {
    const ALL: [Self; 3] = [Self::Clear, Self::Sdes, Self::Dtls];

    pub fn name(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Sdes => "sdes",
            Self::Dtls => "dtls",
        }
    }
}

impl Row {
    pub fn all() -> Vec<Self> {
        let mut rows = Vec::new();
        for transport in Transport::ALL {
            for family in Family::ALL {
                rows.extend(Keys::ALL.map(|keys| Self {
                    transport,
                    family,
                    keys,
                }));
            }
        }
        rows
    }

    /// Where the server is called.
    pub fn server(&self) -> SocketAddr {
        let port = match self.transport {
            Transport::Tls => SIP_TLS,
            Transport::Udp | Transport::Tcp => SIP,
        };
        SocketAddr::new(self.family.address(), port)
    }

    pub fn uri(&self) -> String {
        format!(
            "sip:3000@{};transport={}",
            self.server(),
            self.transport.name()
        )
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (over, family) = (self.transport.name(), self.family.name());
        f.pad(&format!("{over} {family} {}", self.keys.name()))
    }
}
