//! Where servers are that are named: DNS, by the resolver of the system.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use sip::{RegistrationId, Transport};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Event;
use crate::config::Place;
use crate::controller::{DialRequest, Way};

/// Names that are looked up at a time, each by a thread. One more fails at once.
const LOOKUPS: usize = 16;

/// A name that takes longer is given up, though its thread goes on for as long as the system's
/// resolver tries.
const LOOKUP_WAIT: Duration = Duration::from_secs(5);

/// What an address is looked up for.
#[derive(Debug)]
pub enum Wanted {
    /// A registration of ours over this transport, and how many attempts of it have failed.
    Registration(RegistrationId, Transport, u32),
    /// A call of a room.
    Call(Box<(DialRequest, Way)>),
}

/// Looks names up, and tells the owner.
#[derive(Clone, Debug)]
pub struct Names {
    free: Arc<Semaphore>,
    events: mpsc::Sender<Event>,
}

impl Names {
    /// Tells by these events.
    pub fn new(events: mpsc::Sender<Event>) -> Self {
        Self {
            free: Arc::new(Semaphore::new(LOOKUPS)),
            events,
        }
    }

    /// Finds the addresses of a place; [`Event::Located`] follows.
    pub fn locate(&self, place: Place, wanted: Wanted) {
        let names = self.clone();
        tokio::spawn(async move {
            let found = match place {
                Place::Address(address) => Ok(vec![address]),
                Place::Name { host, port } => names.look_up(host, port).await,
            };
            let _ = names.events.send(Event::Located(wanted, found)).await;
        });
    }

    async fn look_up(&self, host: String, port: u16) -> Result<Vec<SocketAddr>, &'static str> {
        let Ok(permit) = self.free.clone().try_acquire_owned() else {
            return Err("too many names are looked up");
        };
        let looking = spawn_blocking(move || {
            let found = (host.as_str(), port).to_socket_addrs();
            drop(permit);
            found.map(Iterator::collect::<Vec<_>>)
        });
        match timeout(LOOKUP_WAIT, looking).await {
            Ok(Ok(Ok(found))) => Ok(found),
            Ok(_) => Err("no such name in DNS"),
            Err(_) => Err("DNS does not answer"),
        }
    }
}

/// The address to try, of those to which `flow_to` knows a way: after each failure the next.
pub fn choose<T>(
    found: &[SocketAddr],
    attempt: u32,
    flow_to: impl Fn(SocketAddr) -> Option<T>,
) -> Option<T> {
    let ways: Vec<T> = found.iter().filter_map(|at| flow_to(*at)).collect();
    let index = (attempt as usize).checked_rem(ways.len())?;
    ways.into_iter().nth(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attempt_takes_the_next_address_to_which_there_is_a_way() {
        let found = ["192.0.2.1:1", "[2001:db8::1]:1", "192.0.2.2:1"];
        let found = found.map(|address| address.parse().unwrap());
        let v4 = |at: SocketAddr| at.is_ipv4().then(|| at.ip().to_string());
        let tried = (0..3).map(|attempt| choose(&found, attempt, v4).unwrap());
        let tried: Vec<String> = tried.collect();
        assert_eq!(tried, ["192.0.2.1", "192.0.2.2", "192.0.2.1"]);
        assert_eq!(choose(&found[1..2], 0, v4), None);
        assert_eq!(choose(&[], 7, v4), None);
    }

    #[tokio::test]
    async fn names_lead_to_addresses_and_wrong_ones_nowhere() {
        let names = Names::new(mpsc::channel(1).0);
        let found = names.look_up("localhost".into(), 5070).await.unwrap();
        assert!(!found.is_empty());
        assert!(
            found
                .iter()
                .all(|at| at.ip().is_loopback() && at.port() == 5070)
        );
        let wrong = names.look_up("nowhere.invalid".into(), 5070).await;
        assert!(wrong.is_err(), "{wrong:?}");
        let all = names.free.clone().try_acquire_many_owned(LOOKUPS as u32);
        let busy = names.look_up("localhost".into(), 5070).await;
        assert_eq!(busy, Err("too many names are looked up"));
        drop(all);
    }
}
