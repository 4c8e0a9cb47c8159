//! Where bytes come from and go to.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use mcu_api::call::CallEvent;
use serde::{Deserialize, Serialize};

use crate::endpoint::RegistrationId;

/// A socket of the shell: one bound UDP socket or one connection.
///
/// The shell numbers its own sockets below [`FlowId::FIRST_OUTBOUND`]; numbers from there on are given
/// by the core to the connections that it asks for with [`Output::Connect`]. A number is never used
/// again after [`Input::Closed`] or [`Output::Close`]. Datagram sockets have the same numbers in every
/// life of the shell, so that calls which it kept ([`crate::SavedCalls`]) find theirs again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FlowId(pub u64);

impl FlowId {
    /// The first number that the core gives to a connection of its own wish.
    pub const FIRST_OUTBOUND: Self = Self(1 << 63);
}

/// The transport below SIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Datagrams, RFC 3261 §18.
    Udp,
    /// A byte stream framed by Content-Length, RFC 3261 §18.3.
    Tcp,
    /// The same stream inside TLS, RFC 3261 §26.2.1.
    Tls,
    /// A WebSocket, whose messages are SIP's, RFC 7118.
    Ws,
    /// The same inside TLS.
    Wss,
}

impl Transport {
    /// Whether it is a connection with a beginning and an end.
    pub fn is_stream(self) -> bool {
        match self {
            Self::Udp => false,
            Self::Tcp | Self::Tls | Self::Ws | Self::Wss => true,
        }
    }

    /// Whether it is inside TLS.
    pub fn is_secure(self) -> bool {
        match self {
            Self::Tls | Self::Wss => true,
            Self::Udp | Self::Tcp | Self::Ws => false,
        }
    }

    /// Its name in Via.
    pub(crate) fn via(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// Its parameter in a URI of ours.
    pub(crate) fn uri_parameter(self) -> &'static str {
        match self {
            Self::Udp => "",
            Self::Tcp => ";transport=tcp",
            Self::Tls => ";transport=tls",
            // RFC 7118 §5.2.3: of both.
            Self::Ws | Self::Wss => ";transport=ws",
        }
    }
}

/// One path to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Flow {
    /// The socket.
    pub id: FlowId,
    /// Its transport.
    pub transport: Transport,
    /// Our address on it. Never the wildcard address; a shell that binds the wildcard takes it from the
    /// packet's control data. For a stream it carries our *listening* port.
    pub local: SocketAddr,
    /// The peer's address on it. A link-local one names its interface (RFC 4007 §6).
    pub remote: SocketAddr,
    /// What the peer reaches us at in place of `local`: that of an address translation before us, which
    /// keeps ports.
    #[serde(default)]
    pub advertised: Option<IpAddr>,
}

impl Flow {
    /// Our address as the peer can reach it, which is written into Contact and Via.
    pub fn told(&self) -> SocketAddr {
        SocketAddr::new(
            self.advertised.unwrap_or(self.local.ip()),
            self.local.port(),
        )
    }

    /// Whether an address is ours, as far as the peer or we know it.
    pub(crate) fn is_ours(&self, address: SocketAddr) -> bool {
        address == self.local || address == self.told()
    }

    /// An address that the peer names, as it is reached from here: it knows no interface of ours, so that
    /// a link-local one is meant on its own link.
    pub(crate) fn as_reached(&self, mut named: SocketAddr) -> SocketAddr {
        if let (SocketAddr::V6(named), SocketAddr::V6(remote)) = (&mut named, self.remote)
            && named.ip().is_unicast_link_local()
        {
            named.set_scope_id(remote.scope_id());
        }
        named
    }
}

/// What the shell tells the core.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// One datagram, or any piece of a stream in order. The first bytes of an unknown stream flow
    /// open it.
    Received {
        /// Where from.
        flow: Flow,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// A stream connection is gone, or the one asked for with [`Output::Connect`] failed.
    Closed {
        /// Which.
        flow: FlowId,
    },
}

/// What the core wants done, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send one datagram to `flow.remote`, or these bytes on the connection.
    Transmit {
        /// Where to.
        flow: Flow,
        /// The bytes.
        bytes: Bytes,
    },
    /// Open a connection to `flow.remote` from the address (any port) of `flow.local` and know it
    /// as `flow.id`. Bytes for it may follow before it is open: hold up to 64 KiB of them.
    Connect {
        /// The connection wanted; its id is at least [`FlowId::FIRST_OUTBOUND`].
        flow: Flow,
        /// What the peer's certificate has to show, over TLS. Without it there is no connection.
        domain: Option<String>,
    },
    /// Close the connection once what was transmitted before is written. No [`Input::Closed`] is
    /// needed for it.
    Close {
        /// Which.
        flow: FlowId,
    },
    /// Find the ways to a server at which we register, and tell them by [`crate::Endpoint::located`].
    Locate {
        /// For whom.
        registration: RegistrationId,
        /// Name of the server.
        server: String,
    },
    /// News for the rooms.
    Event(CallEvent),
}
