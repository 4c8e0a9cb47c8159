//! Changes of a browser's network in the middle of a call: another address, as from one Wi-Fi to the next,
//! and a cable that is pulled for longer than a connection lives. The page comes back by itself, as one
//! site, and sound and picture are there at both ends (SW-04, NET-01).

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use tests::browser::Browser;
use tests::meeting::expect_call;
use tests::namespace::Namespace;
use tests::server::Server;
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(60);

/// Ids of the sources.
const STAYS: u8 = 1;
const MOVES: u8 = 2;

/// A server with a browser in its own network, and one in another that can be changed.
struct Call {
    far: Namespace,
    stays: Browser,
    moves: Browser,
    server: Server,
}

impl Call {
    fn begin() -> Self {
        let near = Namespace::with(&[
            "address add 192.0.2.7/24 dev inside",
            "route add default via 192.0.2.1",
        ]);
        let far = near.beyond(&[
            "address add 192.0.2.9/24 dev nowhere",
            "route add default via 192.0.2.1",
        ]);
        let host = IpAddr::from(Ipv4Addr::new(192, 0, 2, 7));
        let (server, stays) = near.run(|| {
            let server = Server::with_defaults(host, &["--demo"]);
            let stays = server.join(STAYS);
            (server, stays)
        });
        let moves = far.run(|| server.join(MOVES));
        let call = Self {
            far,
            stays,
            moves,
            server,
        };
        call.goes_on();
        call
    }

    /// Both see and hear each other, and there are no more than two.
    fn goes_on(&self) {
        expect_call((STAYS, &self.stays), (MOVES, &self.moves));
    }

    /// The page notices that what it had is gone, does what is to be done meanwhile, and is back.
    fn comes_back(&self, meanwhile: impl FnOnce()) {
        let seen = self.moves.next_report().frames_decoded;
        wait_for("no picture comes any more", PATIENCE, || {
            let (one, two) = (self.moves.next_report(), self.moves.next_report());
            (one.frames_decoded == two.frames_decoded || one.frames_decoded < seen).then_some(())
        });
        meanwhile();
        let changed = Instant::now();
        self.goes_on();
        println!("seen and heard both ways after {:?}", changed.elapsed());
        let legs = self.far.run(|| self.server.wait_for_legs(2));
        assert_eq!(legs.len(), 2, "one site is one leg: {legs:#?}");
    }
}

#[test]
fn a_browser_that_gets_another_address_is_back_by_itself() {
    let call = Call::begin();
    for old in [9, 10] {
        // The new one takes the place of the old one: first none, then another, as on another network.
        call.far
            .ip(&format!("address del 192.0.2.{old}/24 dev nowhere"));
        call.comes_back(|| {
            let new = old + 1;
            call.far
                .ip(&format!("address add 192.0.2.{new}/24 dev nowhere"));
            call.far.ip("route replace default via 192.0.2.1");
        });
    }
}

#[test]
fn a_browser_whose_cable_is_pulled_is_back_by_itself() {
    let call = Call::begin();
    call.far.ip("link set nowhere down");
    call.comes_back(|| {
        // Longer than a connection is waited for.
        wait_for("the connection has failed", PATIENCE, || {
            let state = call.moves.next_report().connection;
            (state == "failed" || state == "closed" || state == "none").then_some(())
        });
        call.far.ip("link set nowhere up");
        call.far.ip("route replace default via 192.0.2.1");
    });
}
