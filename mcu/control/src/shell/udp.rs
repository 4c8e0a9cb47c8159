//! The UDP socket of SIP. It knows to which of our addresses a datagram came, and answers from it.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use anyhow::Context;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockType, SockaddrStorage, recvmsg, sendmsg,
    setsockopt, sockopt,
};
use sip::{Flow, FlowId, Transport};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tracing::debug;

use super::{Event, net};

/// The flow of `[sip] listen`.
pub const FIRST: FlowId = FlowId(0);

/// Largest datagram there is.
const MAX_DATAGRAM: usize = 65_535;

/// The socket, shared by the task that reads and the owner that writes.
#[derive(Clone, Debug)]
pub struct Udp {
    socket: Arc<UdpSocket>,
    listen: SocketAddr,
    id: FlowId,
}

impl Udp {
    /// Binds the socket; port 0 takes a free one. A wildcard of IPv6 takes IPv4 too.
    pub async fn bind(listen: SocketAddr) -> anyhow::Result<Self> {
        let context = || format!("listen for SIP on UDP {listen}");
        let socket = UdpSocket::bind(listen).await.with_context(context)?;
        net::mark(&socket, listen.is_ipv6());
        Self::new(socket, FIRST)
    }

    /// Binds another one, of one family alone.
    pub fn bind_further(listen: SocketAddr) -> anyhow::Result<Self> {
        let context = || format!("listen for SIP on UDP {listen}");
        let kind = SockType::Datagram;
        let socket = net::bind(listen, kind).with_context(context)?;
        let socket = UdpSocket::from_std(socket.into()).with_context(context)?;
        let listen = socket.local_addr().with_context(context)?;
        Self::new(socket, flow_id(listen))
    }

    fn new(socket: UdpSocket, id: FlowId) -> anyhow::Result<Self> {
        let listen = socket.local_addr()?;
        let context = || format!("listen for SIP on UDP {listen}");
        if listen.is_ipv4() {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true).with_context(context)?;
        } else {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true).with_context(context)?;
        }
        Ok(Self {
            socket: Arc::new(socket),
            listen,
            id,
        })
    }

    /// Address it is bound to.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// The number of its flows.
    pub fn id(&self) -> FlowId {
        self.id
    }

    /// Hands every datagram to the owner until dropped. A full queue leaves them to the kernel,
    /// which drops: SIP repeats what is lost.
    pub async fn serve(self, events: mpsc::Sender<Event>) {
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            let received = self
                .socket
                .async_io(Interest::READABLE, || self.receive(&mut buffer))
                .await;
            let event = match received {
                Ok(Some((flow, len))) => Event::Bytes(flow, buffer[..len].to_vec()),
                Ok(None) => continue,
                Err(error) => {
                    // Such as a port unreachable for an earlier answer: nothing to stop for.
                    debug!(%error, "receiving on UDP");
                    tokio::task::yield_now().await;
                    continue;
                }
            };
            if events.send(event).await.is_err() {
                return;
            }
        }
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(Flow, usize)>> {
        let mut control = nix::cmsg_space!(libc::in_pktinfo, libc::in6_pktinfo);
        let mut parts = [IoSliceMut::new(buffer)];
        let message = recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_DONTWAIT,
        )?;
        let remote = message.address.as_ref().and_then(socket_addr);
        let mut local = self.listen.ip();
        for control in message.cmsgs()? {
            match control {
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    local = IpAddr::from(info.ipi_addr.s_addr.to_ne_bytes());
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    local = IpAddr::from(info.ipi6_addr.s6_addr);
                }
                _ => {}
            }
        }
        let Some(remote) = remote else {
            return Ok(None);
        };
        let flow = Flow {
            id: self.id,
            transport: Transport::Udp,
            local: SocketAddr::new(local.to_canonical(), self.listen.port()),
            remote: net::canonical(remote),
            advertised: None,
        };
        Ok(Some((flow, message.bytes)))
    }

    /// A way to a peer that has not spoken to us, from the address that the kernel would send from.
    /// One over TCP has no connection yet, and gets its number when it has.
    pub fn flow_to(&self, transport: Transport, remote: SocketAddr) -> Option<Flow> {
        Some(Flow {
            id: self.id,
            transport,
            local: net::own_side(self.listen, remote)?,
            remote,
            advertised: None,
        })
    }

    /// Sends one datagram from the address that its flow names. What the kernel has no room for is
    /// dropped: SIP repeats it.
    pub fn send(&self, flow: &Flow, bytes: &[u8]) {
        let sent = self
            .socket
            .try_io(Interest::WRITABLE, || self.send_from(flow, bytes));
        if let Err(error) = sent {
            // Whoever waits for an answer says that none came; this comes with each repetition.
            debug!(remote = %flow.remote, %error, "datagram not sent");
        }
    }

    fn send_from(&self, flow: &Flow, bytes: &[u8]) -> io::Result<()> {
        let parts = [IoSlice::new(bytes)];
        let fd = self.socket.as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT;
        if self.listen.is_ipv4() {
            let remote = SockaddrStorage::from(flow.remote);
            let IpAddr::V4(local) = flow.local.ip() else {
                return Err(io::ErrorKind::AddrNotAvailable.into());
            };
            let address = libc::in_addr {
                s_addr: u32::from_ne_bytes(local.octets()),
            };
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: address,
                ipi_addr: address,
            };
            sendmsg(
                fd,
                &parts,
                &[ControlMessage::Ipv4PacketInfo(&info)],
                flags,
                Some(&remote),
            )?;
            return Ok(());
        }
        let remote = match flow.remote {
            SocketAddr::V4(v4) => SocketAddr::new(mapped(flow.remote.ip()).into(), v4.port()),
            v6 @ SocketAddr::V6(_) => v6,
        };
        let remote = SockaddrStorage::from(remote);
        let info = libc::in6_pktinfo {
            ipi6_addr: libc::in6_addr {
                s6_addr: mapped(flow.local.ip()).octets(),
            },
            ipi6_ifindex: 0,
        };
        sendmsg(
            fd,
            &parts,
            &[ControlMessage::Ipv6PacketInfo(&info)],
            flags,
            Some(&remote),
        )?;
        Ok(())
    }
}

/// The number of a socket, from its address alone: calls that were kept find theirs in whatever order
/// the configuration names them. Connections count up from 1 and never get here.
fn flow_id(listen: SocketAddr) -> FlowId {
    const DATAGRAMS: u64 = 1 << 62;
    let hash = match listen.ip() {
        IpAddr::V4(v4) => u64::from(u32::from(v4)),
        // FNV-1a. Two addresses of one host that collide are refused as they are bound.
        IpAddr::V6(v6) => v6
            .octets()
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            }),
    };
    FlowId(DATAGRAMS | (hash << 16 | u64::from(listen.port())) & (DATAGRAMS - 1))
}

/// The address as an IPv6 socket names it (RFC 4291 §2.5.5.2).
fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

fn socket_addr(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage
        .as_sockaddr_in()
        .map(|a| SocketAddr::from((a.ip(), a.port())));
    let v6 = storage
        .as_sockaddr_in6()
        .map(|a| SocketAddrV6::from(*a).into());
    v4.or(v6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_numbered_by_their_address_apart_from_connections() {
        let listens = [
            "192.0.2.1:5060",
            "192.0.2.1:5061",
            "[2001:db8::1]:5060",
            "[::]:5060",
        ];
        let ids = listens.map(|listen| flow_id(listen.parse().unwrap()));
        assert_eq!(ids[0], FlowId(1 << 62 | 0xc000_0201_13c4));
        for (n, id) in ids.iter().enumerate() {
            assert!(!ids[..n].contains(id));
            assert!((FlowId(1 << 62)..FlowId::FIRST_OUTBOUND).contains(id));
        }
    }

    #[tokio::test]
    async fn a_wildcard_socket_knows_and_keeps_the_address_that_was_dialled() {
        for (listen, dialled) in [
            ("0.0.0.0:0", "127.0.0.1"),
            ("0.0.0.0:0", "127.0.0.9"),
            ("[::]:0", "127.0.0.9"),
            ("[::]:0", "::1"),
        ] {
            let udp = Udp::bind(listen.parse().unwrap()).await.unwrap();
            let dialled = SocketAddr::new(dialled.parse().unwrap(), udp.listen().port());
            let local = SocketAddr::new(dialled.ip(), 0);
            let peer = UdpSocket::bind(local).await.unwrap();
            peer.send_to(b"ping", dialled).await.unwrap();
            let (events, mut received) = mpsc::channel(1);
            let reader = tokio::spawn(udp.clone().serve(events));
            let Some(Event::Bytes(flow, bytes)) = received.recv().await else {
                panic!("no datagram");
            };
            assert_eq!((flow.local, bytes.as_slice()), (dialled, &b"ping"[..]));
            assert_eq!(flow.remote, peer.local_addr().unwrap());
            udp.send(&flow, b"pong");
            let mut answer = [0; 8];
            let (len, from) = peer.recv_from(&mut answer).await.unwrap();
            assert_eq!((&answer[..len], from), (&b"pong"[..], dialled));
            reader.abort();
        }
    }
}
