//! A closed network: a namespace of its own whose only way out is one TCP port, carried by a relay of
//! the test. No UDP leaves it, nor any other TCP.

use std::fs::File;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// The network. It lasts as long as this or a process in it.
pub struct ClosedNetwork {
    namespace: File,
}

impl ClosedNetwork {
    /// A network from which port `inner` of 127.0.0.1 leads to port `outer` of the host's, as `relay`
    /// carries it.
    pub fn with_port(inner: u16, outer: u16, relay: fn(TcpStream, TcpStream)) -> Self {
        // A namespace belongs to the thread that makes it.
        let made = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("make a network namespace");
            for command in [
                "link set lo up",
                // An interface that leads nowhere: browsers gather nothing from loopback alone.
                "link add inside type veth peer name nowhere",
                // An address that came by itself, seconds later, would be a change of network to them.
                "link set inside addrgenmode none",
                "link set nowhere addrgenmode none",
                "link set nowhere up",
                "link set inside up",
                "address add 192.0.2.2/24 dev inside",
                "route add default via 192.0.2.1",
            ] {
                let done = Command::new("ip").args(command.split(' ')).status();
                assert!(done.expect("run ip").success(), "ip {command}");
            }
            let listener = TcpListener::bind(("127.0.0.1", inner)).expect("listen inside");
            let namespace = File::open("/proc/thread-self/ns/net").expect("name the namespace");
            (listener, namespace)
        });
        let (listener, namespace) = made.join().expect("make a closed network");
        thread::spawn(move || {
            for inside in listener.incoming().map_while(Result::ok) {
                let outside = TcpStream::connect(("127.0.0.1", outer));
                if let Ok(outside) = outside {
                    thread::spawn(move || relay(inside, outside));
                }
            }
        });
        Self { namespace }
    }

    /// Does something in the network; processes that it starts are in it, too.
    pub fn run<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.namespace, CloneFlags::CLONE_NEWNET).expect("enter the network");
                act()
            });
            inside.join().expect("done in the network")
        })
    }
}

/// A relay that carries bytes as they are.
pub fn forward(inside: TcpStream, outside: TcpStream) {
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    };
    let (Ok(inside_too), Ok(outside_too)) = (inside.try_clone(), outside.try_clone()) else {
        return;
    };
    let _ = (inside.set_nodelay(true), outside.set_nodelay(true));
    thread::spawn(move || copy(inside_too, outside_too));
    copy(outside, inside);
}
