//! Terminals of the load generator that call the server under test.

use std::sync::Arc;

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
