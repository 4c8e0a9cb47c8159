//! Network namespaces: networks of the test's own, which lead nowhere.

use std::fs::File;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// A network. It lasts as long as this or a process in it.
pub struct Namespace {
    file: File,
}

/// An interface that leads nowhere: browsers gather nothing from loopback alone. An address that came
/// by itself, seconds later, would be a change of network to them.
const INTERFACE: [&str; 6] = [
    "link set lo up",
    "link add inside type veth peer name nowhere",
    "link set inside addrgenmode none",
    "link set nowhere addrgenmode none",
    "link set nowhere up",
    "link set inside up",
];

impl Namespace {
    /// A network whose interface `inside` is set up by these arguments of `ip`. It takes root.
    pub fn with(commands: &[&str]) -> Self {
        // A namespace belongs to the thread that makes it.
        thread::scope(|scope| {
            let made = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).expect("make a network namespace");
                for command in INTERFACE.iter().chain(commands) {
                    let done = Command::new("ip").args(command.split(' ')).status();
                    assert!(done.expect("run ip").success(), "ip {command}");
                }
                File::open("/proc/thread-self/ns/net").expect("name the namespace")
            });
            let file = made.join().expect("make a network");
            Self { file }
        })
    }

    /// A network without any IPv4, not even a loopback address; its own address is `address`.
    pub fn ipv6_only(address: &str) -> Self {
        Self::with(&[
            "address del 127.0.0.1/8 dev lo",
            &format!("address add {address}/64 dev inside nodad"),
            "-6 route add default dev inside",
        ])
    }

    /// Does something in the network; processes and threads that it starts are in it, too.
    pub fn run<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter();
                act()
            });
            match inside.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Puts this thread, and what it starts from now on, into the network.
    pub fn enter(&self) {
        setns(&self.file, CloneFlags::CLONE_NEWNET).expect("enter the network");
    }
}
