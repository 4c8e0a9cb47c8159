//! Processes, ports and addresses.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use sip::Transport;

use super::Finding;
use crate::config::Settings;
use crate::supervisor;

/// Whether a server runs on this data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// It holds its lock, or one of its processes answers.
    Runs,
    /// It does not.
    Rests,
}

impl Server {
    pub fn find(settings: &Settings) -> Self {
        let locked = settings.run_dir().exists() && supervisor::lock(settings).is_err();
        let answers = || {
            let sockets = [settings.control_socket(), settings.media_socket()];
            sockets
                .iter()
                .any(|socket| UnixStream::connect(socket).is_ok())
        };
        match locked || answers() {
            true => Self::Runs,
            false => Self::Rests,
        }
    }
}

/// Each process of a server that runs answers.
pub fn processes(settings: &Settings, server: Server) -> Vec<Finding> {
    if server == Server::Rests {
        return vec![Finding::warning(
            "not_running",
            format!("no server runs on {}", settings.data_dir.display()),
            "Start it: consilium serve, ./run, or systemctl start consilium.",
        )];
    }
    let mut found = Vec::new();
    let sockets = [
        ("control", settings.control_socket()),
        ("media", settings.media_socket()),
    ];
    for (name, socket) in sockets {
        if let Err(error) = UnixStream::connect(&socket) {
            found.push(process_down(name, &error));
        }
    }
    let page = local(settings.http.listen.0);
    if let Err(error) = std::net::TcpStream::connect_timeout(&page, Duration::from_secs(3)) {
        found.push(process_down("manager", &error));
    }
    found
}

fn process_down(name: &str, error: &std::io::Error) -> Finding {
    Finding::fault(
        "process_down",
        format!("the process {name} does not answer: {error}"),
        "The log of the server says why it ends or cannot start.",
    )
}

/// Where something that listens there is reached from here.
fn local(listen: SocketAddr) -> SocketAddr {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        address.set_ip([127, 0, 0, 1].into());
    }
    address
}

/// Ports that the server will need are free.
pub fn ports(settings: &Settings, server: Server) -> Vec<Finding> {
    if server == Server::Runs {
        return Vec::new();
    }
    let sip = settings.sip.listen();
    let mut found = Vec::new();
    let page = settings.http.listen.0;
    found.extend(taken("the page", page, TcpListener::bind(page).map(drop)));
    found.extend(taken("SIP over TCP", sip, TcpListener::bind(sip).map(drop)));
    found.extend(taken("SIP over UDP", sip, UdpSocket::bind(sip).map(drop)));
    for listener in settings.control().sip_listeners {
        let at = listener.listen;
        let bound = match listener.transport {
            Transport::Udp => UdpSocket::bind(at).map(drop),
            _ => TcpListener::bind(at).map(drop),
        };
        found.extend(taken("a listener for SIP", at, bound));
    }
    for address in settings.control().addresses {
        let at = SocketAddr::new(address.address, settings.media.ports.low);
        found.extend(taken(
            "media of browsers",
            at,
            UdpSocket::bind(at).map(drop),
        ));
    }
    found
}

fn taken(what: &str, at: SocketAddr, bound: std::io::Result<()>) -> Option<Finding> {
    match bound.err()?.kind() {
        ErrorKind::AddrInUse => Some(Finding::fault(
            "port_taken",
            format!("another program has {at}, which {what} needs"),
            "ss -lunpt names it: end it, or choose another port.",
        )),
        ErrorKind::PermissionDenied => Some(Finding::fault(
            "port_forbidden",
            format!("this user may not listen at {at}, which {what} needs"),
            "AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit, or a port from 1024 on.",
        )),
        // Said of the media addresses.
        _ => None,
    }
}

/// Addresses that we tell peers are this host's, and lead somewhere.
pub fn media_addresses(settings: &Settings) -> Vec<Finding> {
    let mut found = Vec::new();
    let addresses = settings.control().addresses;
    for address in &addresses {
        if let Err(error) = UdpSocket::bind((address.address, 0)) {
            found.push(Finding::fault(
                "media_address",
                format!("{} is no address of this host: {error}", address.address),
                "[media] addresses names this host's own; what peers outside see goes into advertised.",
            ));
        }
    }
    let told = settings.told_addresses();
    if told.iter().all(IpAddr::is_loopback) {
        found.push(Finding::warning(
            "media_loopback",
            "peers are told to send media to this machine's own loopback address",
            "Nobody else can: name an address of the network in [media] addresses.",
        ));
    }
    found
}

/// A datagram to a media port arrives.
pub fn media_path(settings: &Settings, server: Server) -> Vec<Finding> {
    let mut found = Vec::new();
    let ports = settings.media.ports;
    // The last of the range is given out last.
    let port = match server {
        Server::Runs => ports.high,
        Server::Rests => ports.low,
    };
    for address in settings.control().addresses {
        let at = SocketAddr::new(address.address, port);
        if arrives(at) == Some(false) {
            found.push(Finding::fault(
                "udp_blocked",
                format!("what is sent to {at} over UDP does not arrive"),
                "A packet filter of this machine drops it: let UDP to the range of [media] ports in.",
            ));
        }
    }
    found
}

/// Whether a datagram from this host reaches a port of ours; none where it cannot be tried.
fn arrives(at: SocketAddr) -> Option<bool> {
    let receiver = UdpSocket::bind(at).ok()?;
    receiver
        .set_read_timeout(Some(Duration::from_millis(500)))
        .ok()?;
    let sender = UdpSocket::bind((at.ip(), 0)).ok()?;
    // A filter may say so at once.
    if sender.send_to(b"doctor", at).is_err() {
        return Some(false);
    }
    let mut buffer = [0; 16];
    Some(receiver.recv(&mut buffer).is_ok())
}
