//! Figures for managers: those of the controller, and what the shell knows besides.

use std::collections::HashSet;
use std::time::Instant;

use mcu_api::figures::Control;
use mcu_api::manager::FromControl;

use super::Owner;
use crate::controller::{ManagerId, Output};

impl Owner {
    pub(super) fn tell_figures(&mut self, now: Instant, manager: ManagerId, request: u64) {
        let registrations = self.endpoint.registrations(now);
        let registered: HashSet<String> = registrations.map(|found| found.account).collect();
        let figures = Box::new(Control {
            process: (self.controller.config().process)(),
            registered: registered.len() as u64,
            connections: self.endpoint.load().connections as u64,
            ..self.controller.figures(now)
        });
        self.carry_out(Output::Manager(
            manager,
            FromControl::Figures { request, figures },
        ));
    }
}
