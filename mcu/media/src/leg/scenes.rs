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

    /// Has its screens take every second picture of somebody else's encoder where they can; `all` are those of
    /// [`Self::composed`] of all legs, each once. Yields scenes of which a key frame is needed now.
    pub fn share_encoders(&mut self, all: &[(ViewName, VideoClass)]) -> Vec<Scene> {
        let is_in = self.is_in();
        let mut begun = Vec::new();
        for screen in &mut self.screens {
            let base = screen.composed().filter(|_| is_in).and_then(|(view, own)| {
                let seen_alike = all.iter().filter(|(other, _)| other == view);
                temporal::base(own, seen_alike.map(|(_, class)| class)).cloned()
            });
            let before = screen.takes_base();
            screen.set_base(base);
            if screen.takes_base() && !before && screen.take_key_request() {
                begun.extend(screen.scene(None));
            }
        }
        begun
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
