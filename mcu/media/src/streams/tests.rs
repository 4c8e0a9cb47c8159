//! Over real connections of the loopback interface: what the kernel does is the point.

use std::net::{TcpListener, TcpStream as Peer};

use mio::Poll;

use super::*;

const UFRAG: &str = "a1b2c3d4";

struct Bench {
    poll: Poll,
    streams: Streams,
    listener: TcpListener,
    next: usize,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self {
            poll: Poll::new().unwrap(),
            streams: Streams::default(),
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            next: 2,
            now: Instant::now(),
        }
    }

    /// A connection, handed over as the manager does it.
    fn connect(&mut self, door: &Door, path: &Path) -> (Peer, Token) {
        let peer = Peer::connect(self.listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = self.listener.accept().unwrap();
        hand_over(accepted, path);
        let socket = door.take().expect("handed over");
        let token = Token(self.next);
        self.next += 1;
        let added = self
            .streams
            .add(self.now, socket, token, self.poll.registry());
        added.unwrap();
        (peer, token)
    }

    fn receive(&mut self, token: Token) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        let registry = self.poll.registry();
        let (len, _) = self
            .streams
            .receive(self.now, token, &mut buffer, registry)?;
        Some(buffer[..len].to_vec())
    }

    fn sweep(&mut self, after: Duration) {
        let registry = self.poll.registry();
        self.streams
            .sweep(self.now + after, registry, |ufrag| ufrag == UFRAG);
    }
}

fn hand_over(socket: Peer, path: &Path) {
    use nix::sys::socket::{ControlMessage, UnixAddr, sendmsg};
    let (from, to) = (
        UnixDatagram::unbound().unwrap(),
        UnixAddr::new(path).unwrap(),
    );
    let sockets = [socket.as_raw_fd()];
    sendmsg(
        from.as_raw_fd(),
        &[io::IoSlice::new(&[0])],
        &[ControlMessage::ScmRights(&sockets)],
        MsgFlags::empty(),
        Some(&to),
    )
    .unwrap();
}

fn bench() -> (tempfile::TempDir, std::path::PathBuf, Door, Bench) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tcp.sock");
    let bench = Bench::new();
    let door = Door::open(&path, bench.poll.registry(), Token(1)).unwrap();
    (dir, path, door, bench)
}

#[test]
fn what_was_sent_before_the_hand_over_is_read_after_it() {
    let (_dir, path, door, mut bench) = bench();
    let mut early = Peer::connect(bench.listener.local_addr().unwrap()).unwrap();
    early.write_all(&[0, 3, 1, 2, 3, 0, 1, 9]).unwrap();
    let (accepted, _) = bench.listener.accept().unwrap();
    hand_over(accepted, &path);
    let socket = door.take().unwrap();
    assert!(door.take().is_none());
    let registry = bench.poll.registry();
    bench
        .streams
        .add(bench.now, socket, Token(2), registry)
        .unwrap();
    assert_eq!(bench.receive(Token(2)), Some(vec![1, 2, 3]));
    assert_eq!(bench.receive(Token(2)), Some(vec![9]));
    assert_eq!(bench.receive(Token(2)), None);
    assert!(bench.streams.has(Token(2)));
    drop(early);
    assert_eq!(bench.receive(Token(2)), None);
    assert!(!bench.streams.has(Token(2)), "the peer closed");
}

#[test]
fn packets_go_to_the_leg_that_the_connection_is_bound_to_and_to_no_other() {
    let (_dir, path, door, mut bench) = bench();
    let (mut peer, token) = bench.connect(&door, &path);
    let address = peer.local_addr().unwrap();
    let send = |streams: &Streams, ufrag| streams.send(ufrag, address, b"abc", Urgency::Picture);
    assert!(!send(&bench.streams, UFRAG), "not bound yet");
    assert!(bench.streams.bind(token, UFRAG));
    assert!(!send(&bench.streams, "another"));
    assert!(send(&bench.streams, UFRAG));
    bench.streams.flush(bench.poll.registry());
    let mut read = [0; 5];
    peer.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"\x00\x03abc");
}

#[test]
fn a_peer_that_does_not_read_loses_pictures_and_at_last_its_connection() {
    let (_dir, path, door, mut bench) = bench();
    let (peer, token) = bench.connect(&door, &path);
    let address = peer.local_addr().unwrap();
    bench.streams.bind(token, UFRAG);
    let turn = |bench: &mut Bench, packet: &[u8], urgency| {
        let sent = bench.streams.send(UFRAG, address, packet, urgency);
        bench.streams.flush(bench.poll.registry());
        sent
    };
    for _ in 0..20_000 {
        assert!(turn(&mut bench, &[7; 1_200], Urgency::Picture));
    }
    let waiting = bench.streams.open[&token].out.borrow().writer.len();
    use mcu_rtp::framing::{BATCH, PICTURES_MAX};
    assert!(waiting <= PICTURES_MAX + BATCH + 1_202);
    let mut sound = 0;
    while turn(&mut bench, &[7; 160], Urgency::Other) {
        sound += 1;
        assert!(sound < 10_000, "it grows");
    }
    assert!(sound > 300, "{sound} packets of sound still fitted");
    assert!(!bench.streams.has(token));
    let ended = bench.streams.take_ended();
    assert_eq!(
        (ended[0].ufrag.as_str(), ended[0].peer, ended.len()),
        (UFRAG, address, 1)
    );
}

#[test]
fn connections_without_proof_without_a_word_and_without_a_leg_are_closed() {
    let (_dir, path, door, mut bench) = bench();
    let (_first, unproven) = bench.connect(&door, &path);
    let (_second, silent) = bench.connect(&door, &path);
    let (_third, orphan) = bench.connect(&door, &path);
    bench.streams.bind(silent, UFRAG);
    bench.streams.prove(silent);
    bench.sweep(Duration::from_secs(9));
    assert_eq!(bench.streams.len(), 3);
    bench.streams.bind(orphan, "of a leg that left");
    bench.streams.prove(orphan);
    bench.sweep(Duration::from_secs(9));
    assert!(bench.streams.has(orphan), "it may still read");
    bench.sweep(Duration::from_secs(9) + LINGER + Duration::from_millis(1));
    assert!(!bench.streams.has(orphan));
    bench.sweep(Duration::from_secs(11));
    assert!(!bench.streams.has(unproven) && bench.streams.has(silent));
    bench.sweep(SILENCE + Duration::from_secs(1));
    assert_eq!(bench.streams.len(), 0);
}

#[test]
fn connections_of_one_source_and_of_one_leg_are_bounded() {
    let (_dir, path, door, mut bench) = bench();
    let connect = |bench: &mut Bench| {
        let connected = bench.connect(&door, &path);
        bench.streams.prove(connected.1);
        connected
    };
    let mut peers: Vec<_> = (0..MAX_PER_SOURCE).map(|_| connect(&mut bench)).collect();
    for (n, (_, token)) in peers.iter().enumerate() {
        assert_eq!(bench.streams.bind(*token, UFRAG), n < MAX_PER_LEG);
    }
    let refused = Peer::connect(bench.listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = bench.listener.accept().unwrap();
    let registry = bench.poll.registry();
    let added = bench
        .streams
        .add(bench.now, accepted.into(), Token(999), registry);
    assert!(added.is_err());
    drop(refused);
    let (_, token) = peers.remove(0);
    bench.streams.remove(token, bench.poll.registry());
    peers.push(connect(&mut bench));
}

/// A hundred connections that said nothing, ever again, kept a whole hospital out.
#[test]
fn connections_that_prove_nothing_leave_room_for_others() {
    let (_dir, path, door, mut bench) = bench();
    let peers: Vec<_> = (0..MAX_UNPROVEN_PER_SOURCE)
        .map(|_| bench.connect(&door, &path))
        .collect();
    let add = |bench: &mut Bench| {
        let refused = Peer::connect(bench.listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = bench.listener.accept().unwrap();
        let registry = bench.poll.registry();
        let added = bench
            .streams
            .add(bench.now, accepted.into(), Token(999), registry);
        drop(refused);
        added
    };
    assert!(add(&mut bench).is_err());
    bench.streams.prove(peers[0].1);
    assert!(add(&mut bench).is_ok());
    let one_site = ["2001:db8::1", "2001:db8::ffff:1"].map(|ip| source(ip.parse().unwrap()));
    assert_eq!(one_site[0], one_site[1]);
}

#[test]
fn a_packet_too_long_ends_the_connection() {
    let (_dir, path, door, mut bench) = bench();
    let (mut peer, token) = bench.connect(&door, &path);
    peer.write_all(&[0xFF, 0xFF, 0, 0]).unwrap();
    assert_eq!(bench.receive(token), None);
    assert!(!bench.streams.has(token));
}

/// The goodbye was in our queue, or in the kernel's, when the connection was closed; what the browser
/// had sent meanwhile made the kernel reset it.
#[test]
fn a_goodbye_reaches_a_peer_that_sends_and_reads_late() {
    let (_dir, path, door, mut bench) = bench();
    let (mut peer, token) = bench.connect(&door, &path);
    let address = peer.local_addr().unwrap();
    bench.streams.bind(token, UFRAG);
    bench.streams.prove(token);
    for _ in 0..20_000 {
        bench
            .streams
            .send(UFRAG, address, &[7; 1_200], Urgency::Picture);
        bench.streams.flush(bench.poll.registry());
    }
    assert!(!bench.streams.open[&token].out.borrow().writer.is_empty());
    bench
        .streams
        .send(UFRAG, address, b"goodbye", Urgency::Other);
    peer.write_all(&[0, 3, 1, 2, 3]).unwrap();
    bench
        .streams
        .sweep(bench.now, bench.poll.registry(), |_| false);
    assert!(!bench.streams.send(UFRAG, address, b"more", Urgency::Other));
    peer.set_nonblocking(true).unwrap();
    let (mut reader, mut buffer) = (Reader::default(), vec![0; 65_536]);
    let (mut heard, mut ended) = (false, false);
    for _ in 0..100_000 {
        match peer.read(&mut buffer) {
            Ok(0) => ended = true,
            Ok(len) => reader.push(&buffer[..len]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        while let Ok(Some(packet)) = reader.next_packet() {
            heard |= packet == b"goodbye";
        }
        if ended {
            break;
        }
        assert_eq!(bench.receive(token), None, "nothing of it counts any more");
        bench.streams.flush(bench.poll.registry());
    }
    assert!(heard && ended);
    drop(peer);
    bench.receive(token);
    assert!(!bench.streams.has(token), "both sides have closed");
}

/// A host with two addresses: a browser may use the same port towards both.
#[test]
fn connections_to_two_of_our_addresses_live_side_by_side() {
    let (_dir, _path, _door, mut bench) = bench();
    let connect = |bench: &mut Bench, to: &str, port: u16| {
        let listener = TcpListener::bind((to, 0)).unwrap();
        let socket = socket2::Socket::new(
            socket2::Domain::IPV4,
            socket2::Type::STREAM,
            Some(socket2::Protocol::TCP),
        )
        .unwrap();
        socket.set_reuse_address(true).unwrap();
        let from = SocketAddr::from(([127, 0, 0, 1], port));
        socket.bind(&from.into()).unwrap();
        socket
            .connect(&listener.local_addr().unwrap().into())
            .unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let token = Token(bench.next);
        bench.next += 1;
        let registry = bench.poll.registry();
        let added = bench
            .streams
            .add(bench.now, accepted.into(), token, registry);
        added.unwrap();
        assert!(bench.streams.bind(token, UFRAG));
        (Peer::from(socket), token)
    };
    let (first, one) = connect(&mut bench, "127.0.0.1", 0);
    let address = first.local_addr().unwrap();
    bench.now += Duration::from_secs(1);
    let (mut second, other) = connect(&mut bench, "127.0.0.2", address.port());
    assert_eq!(second.local_addr().unwrap(), address);
    assert!(bench.streams.has(one) && bench.streams.has(other));
    assert!(bench.streams.send(UFRAG, address, b"abc", Urgency::Other));
    bench.streams.flush(bench.poll.registry());
    let mut read = [0; 5];
    second.read_exact(&mut read).unwrap();
    let registry = bench.poll.registry();
    bench.streams.remove(other, registry);
    assert!(
        bench.streams.take_ended().is_empty(),
        "the path is still there"
    );
    assert!(bench.streams.send(UFRAG, address, b"abc", Urgency::Other));
    bench.streams.remove(one, bench.poll.registry());
    assert_eq!(bench.streams.take_ended().len(), 1);
}
