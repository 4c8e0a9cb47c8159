//! What is encoded for a leg.

use mcu_api::codec::VideoClass;

use super::Leg;
use crate::picture::{Scene, ViewName};
use crate::screen::Screen;
use crate::temporal;
use crate::transport::Transport;

impl Leg {
    /// Composed pictures that reach it, each with the class that it has or would have of its own.
    pub fn composed(&self) -> impl Iterator<Item = (&ViewName, &VideoClass)> {
        let live = self.live_screens().filter(|_| self.is_in());
        live.filter_map(|screen| screen.composed())
    }

    /// For each screen whose every second picture it takes, if it does; `all` are [`Self::composed`] of all
    /// legs.
    pub fn bases(
        &self,
        all: &[(&ViewName, &VideoClass)],
    ) -> impl Iterator<Item = Option<VideoClass>> {
        self.screens.iter().map(|screen| {
            let (view, own) = screen.composed().filter(|_| self.is_in())?;
            let seen_alike = all.iter().filter(|(other, _)| *other == view);
            temporal::base(own, seen_alike.map(|(_, class)| *class)).cloned()
        })
    }

    /// Whether it takes every second picture of an encoder.
    pub fn takes_base(&self) -> bool {
        self.screens.iter().any(Screen::takes_base)
    }

    /// Scenes that would reach it, and whether by every second picture.
    pub fn live_scenes(&self) -> impl Iterator<Item = (Scene, bool)> {
        self.live_screens().filter_map(|screen| {
            let scene = screen.scene(self.plan.waiting)?;
            Some((scene, screen.takes_base()))
        })
    }

    fn live_screens(&self) -> impl Iterator<Item = &Screen> {
        self.screens.iter().filter(|screen| {
            let transport = self.transports.get(screen.plan().transport);
            self.plan.confirmed && transport.is_some_and(Transport::is_ready)
        })
    }
}
