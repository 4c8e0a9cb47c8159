//! Network namespaces: networks of the test's own, which lead nowhere.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::{self, Command};
use std::sync::Arc;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// A network. It lasts as long as this, a copy of it or a process in it.
#[derive(Clone)]
pub struct Namespace {
    file: Arc<File>,
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
        let network = Self::empty();
        network.run(|| INTERFACE.iter().chain(commands).for_each(|c| ip(c)));
        network
    }

    /// A network at the other end of this one's interface. Its own interface is called `nowhere`, and set
    /// up by these arguments of `ip`.
    pub fn beyond(&self, commands: &[&str]) -> Self {
        let network = Self::empty();
        let place = format!("/proc/{}/fd/{}", process::id(), network.file.as_raw_fd());
        self.run(|| ip(&format!("link set nowhere netns {place}")));
        // It went down as it was moved, and forgot how it makes addresses.
        let up = [
            "link set lo up",
            "link set nowhere addrgenmode none",
            "link set nowhere up",
        ];
        network.run(|| up.iter().chain(commands).for_each(|c| ip(c)));
        network
    }

    fn empty() -> Self {
        // A namespace belongs to the thread that makes it.
        thread::scope(|scope| {
            let made = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).expect("make a network namespace");
                File::open("/proc/thread-self/ns/net").expect("name the namespace")
            });
            let file = Arc::new(made.join().expect("make a network"));
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

    /// Changes the network by these arguments of `ip`.
    pub fn ip(&self, arguments: &str) {
        self.run(|| ip(arguments));
    }

    /// Puts this thread, and what it starts from now on, into the network.
    pub fn enter(&self) {
        setns(&*self.file, CloneFlags::CLONE_NEWNET).expect("enter the network");
    }
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).status();
    assert!(done.expect("run ip").success(), "ip {arguments}");
}
