//! Trunks as the endpoint knows them: at which we register, whose calls are not challenged, and how they do.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use mcu_api::directory::TrunkState;
use mcu_api::manager::FromControl;
use sip::RemoteRegistrar;

use super::Owner;
use crate::config::{Config, Sought, Trunk};
use crate::controller::{ManagerId, Output};

/// A trunk at which we register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registrar {
    /// Who we are there.
    pub server: RemoteRegistrar,
    /// How it is found.
    pub sought: Sought,
}

/// The trunks at which we register, by name.
pub fn registrars(config: &Config) -> HashMap<String, Registrar> {
    let wanted = config.trunks.iter().filter_map(|trunk| {
        let (expires, credentials) = (trunk.register?, trunk.credentials()?);
        let parameter = trunk.uri_parameter();
        let server = RemoteRegistrar {
            name: trunk.name.clone(),
            uri: format!("sip:{}{parameter}", trunk.domain()),
            host: trunk.address.host(),
            domain: trunk.domain(),
            credentials,
            expires,
        };
        let sought = trunk.sought();
        Some((trunk.name.clone(), Registrar { server, sought }))
    });
    wanted.collect()
}

/// Where calls come from that are not challenged: a trunk cannot answer, and the dial plan says where its
/// calls may go.
pub fn unchallenged(config: &Config) -> Vec<IpAddr> {
    let sources = config.trunks.iter().flat_map(|trunk| &trunk.sources);
    sources.copied().collect()
}

impl Owner {
    /// Goes by the trunks that there are now. One that is as it was keeps its registration.
    pub(super) fn take_up_trunks(&mut self) {
        let config = self.controller.config();
        let addresses: Vec<IpAddr> = config.trunks.iter().flat_map(Trunk::addresses).collect();
        self.endpoint.set_trunks(unchallenged(config), &addresses);
        let before = std::mem::replace(&mut self.trunks, registrars(config));
        for (name, was) in &before {
            if self.trunks.get(name) != Some(was) {
                self.endpoint.stop_registering(name);
            }
        }
        for (name, registrar) in &self.trunks {
            if before.get(name) != Some(registrar) {
                self.endpoint.register_at(registrar.server.clone());
            }
        }
    }

    pub(super) fn tell_trunks(&mut self, now: Instant, manager: ManagerId, request: u64) {
        let held: HashMap<&str, _> = self
            .endpoint
            .registrations_elsewhere()
            .map(|state| (state.server, state))
            .collect();
        let since_ms = |since: Instant| {
            let at = SystemTime::now() - now.saturating_duration_since(since);
            let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(at.as_millis()).unwrap_or(i64::MAX)
        };
        let trunks = self.controller.config().trunks.iter();
        let trunks: Vec<TrunkState> = trunks
            .map(|trunk| {
                let held = held.get(trunk.name.as_str());
                TrunkState {
                    name: trunk.name.clone(),
                    made: trunk.made.is_some(),
                    registered: held.map(|held| held.is_up),
                    since_ms: held.and_then(|held| held.since).map(since_ms),
                    failure: held.and_then(|held| held.failure).map(str::to_owned),
                }
            })
            .collect();
        drop(held);
        self.carry_out(Output::Manager(
            manager,
            FromControl::Trunks { request, trunks },
        ));
    }
}
