//! Terminals of the load generator that call the server under test.

use std::sync::Arc;
use std::time::Duration;

use benches::clip::{Clip, Config};
use benches::load::{LegConfig, Load, LoadError, LoadLeg, Target, Watch};

use crate::server::Server;

/// A terminal that sends a CIF picture with the marker of this source, and its tone.
pub fn sending(id: u8) -> LegConfig {
    let clip = Clip::load(&Config::cif(id)).expect("a clip");
    LegConfig::terminal(id, Arc::new(clip))
}

/// The same, which looks for the markers in the picture that it gets.
pub fn watching(id: u8) -> LegConfig {
    LegConfig {
        watch: Watch::Tiles,
        ..sending(id)
    }
}

/// This terminal, with keys by SDES (RFC 4568).
pub fn encrypted(leg: LegConfig) -> LegConfig {
    LegConfig { sdes: true, ..leg }
}

/// This one hears these and nobody else for three seconds from now, within half a minute.
pub fn expect_heard(leg: &LoadLeg, ids: &[u8], server: &Server) {
    leg.reset().expect("a leg");
    let heard = leg.wait_until(Duration::from_secs(30), |report| {
        report.seconds >= 3.0 && report.heard() == ids
    });
    let heard = heard.expect("a leg");
    heard.unwrap_or_else(|last| panic!("{last:#?}\n{}", server.log()));
}

impl Server {
    /// A terminal calls room 3000, and is taken.
    pub fn call(&self, load: &Load, leg: LegConfig) -> LoadLeg {
        let called = self.call_number(load, "3000", leg);
        called.unwrap_or_else(|why| panic!("{why}\n{}", self.log()))
    }

    /// A terminal calls a number.
    ///
    /// # Errors
    /// When the server refuses, or says nothing.
    pub fn call_number(
        &self,
        load: &Load,
        number: &str,
        leg: LegConfig,
    ) -> Result<LoadLeg, LoadError> {
        load.call(&Target::number(number, self.sip_address()), leg)
    }
}
