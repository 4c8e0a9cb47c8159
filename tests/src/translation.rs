//! A translation of addresses before a server: what arrives outside at the address that it advertises is
//! carried inside, to the same port of the server, as from where it came.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;

use crate::namespace::Namespace;

/// Longest datagram there is.
const MAX_DATAGRAM: usize = 65_535;

/// Begins to carry UDP to these ports. Both networks need the addresses of the peers outside: the one
/// for themselves, the other for what comes from them. It lasts as long as the process.
pub fn translate(
    (outside, advertised): (&Namespace, IpAddr),
    (inside, server): (&Namespace, IpAddr),
    ports: impl Iterator<Item = u16>,
) {
    let ports: Vec<u16> = ports.collect();
    let bind = |port: &u16| UdpSocket::bind((advertised, *port)).expect("bind outside");
    let doors: Vec<UdpSocket> = outside.run(|| ports.iter().map(bind).collect());
    for (door, port) in doors.into_iter().zip(ports) {
        let inside = inside.clone();
        thread::spawn(move || {
            // Sockets that are bound from now on are inside.
            inside.enter();
            serve(&door, SocketAddr::new(server, port));
        });
    }
}

fn serve(door: &UdpSocket, server: SocketAddr) {
    let mut peers: HashMap<SocketAddr, UdpSocket> = HashMap::new();
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let (len, peer) = match door.recv_from(&mut buffer) {
            Ok(received) => received,
            // Of an earlier datagram that nobody wanted.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
            Err(_) => return,
        };
        let mapped = peers.entry(peer).or_insert_with(|| {
            // Its port keeps its number for the first door that it comes to.
            let bound = UdpSocket::bind(peer).or_else(|_| UdpSocket::bind((peer.ip(), 0)));
            let socket = bound.expect("bind inside as the peer");
            socket.connect(server).expect("only the server answers");
            let (answers, back) = (socket.try_clone(), door.try_clone());
            let (answers, back) = (answers.expect("share"), back.expect("share"));
            thread::spawn(move || carry_back(&answers, &back, peer));
            socket
        });
        let _ = mapped.send(&buffer[..len]);
    }
}

fn carry_back(answers: &UdpSocket, door: &UdpSocket, peer: SocketAddr) {
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        match answers.recv(&mut buffer) {
            Ok(len) => drop(door.send_to(&buffer[..len], peer)),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(_) => return,
        }
    }
}
