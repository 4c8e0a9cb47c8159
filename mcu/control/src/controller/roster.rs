//! What pages are told of who is in their room: everybody at first, and then what has changed.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use mcu_api::ids::LegId;
use mcu_api::manager::{FromControl, ServerMessage, Site, Slot};

use super::Output;
use super::room::{Leg, Room};

/// What a page was told last.
#[derive(Clone, Debug)]
pub struct Told {
    /// That of the room, [`Room::roster`], as it was then.
    sites: Arc<[Site]>,
    slots: Vec<Slot>,
    speaker: Option<LegId>,
    max_height: Option<u16>,
}

impl Told {
    fn is(&self, other: &Self) -> bool {
        // Rosters that are equal are one: see `settle_rosters`.
        Arc::ptr_eq(&self.sites, &other.sites)
            && self.slots == other.slots
            && (self.speaker, self.max_height) == (other.speaker, other.max_height)
    }

    /// From this to `now`, whose sites are `change` from `before`; the whole from others.
    fn to(&self, now: &Self, before: &Arc<[Site]>, change: Option<&Change>) -> ServerMessage {
        let since = if Arc::ptr_eq(&self.sites, &now.sites) {
            Some(Change::default())
        } else if Arc::ptr_eq(&self.sites, before) {
            change.cloned()
        } else {
            None
        };
        match since {
            Some(change) => now.by_change(change),
            None => now.whole(),
        }
    }

    fn whole(&self) -> ServerMessage {
        ServerMessage::Roster {
            sites: self.sites.to_vec(),
            slots: self.slots.clone(),
            speaker: self.speaker,
            max_height: self.max_height,
        }
    }

    fn by_change(&self, Change { sites, gone }: Change) -> ServerMessage {
        ServerMessage::RosterChange {
            sites,
            gone,
            slots: self.slots.clone(),
            speaker: self.speaker,
            max_height: self.max_height,
        }
    }
}

/// From one roster to the next.
#[derive(Clone, Debug, Default, PartialEq)]
struct Change {
    /// Those that are new, behind all others, or no more as they were.
    sites: Vec<Site>,
    gone: Vec<LegId>,
}

/// Tells each page of the room what differs from what it was told last. Who is told everything at each
/// change makes a room of five hundred cost the square of them.
pub fn settle_rosters(room: &mut Room, outputs: &mut VecDeque<Output>) {
    let sites: Arc<[Site]> = room.present().map(site).collect();
    let before = room.roster.clone();
    let change = change(&before, &sites);
    if change != Some(Change::default()) {
        room.roster = sites;
    }
    let (speaker, max_height) = (room.speaker, room.shape.max_height);
    let seen = room.legs.iter().filter(|leg| leg.has_video());
    let seen: HashSet<LegId> = seen.map(|leg| leg.id).collect();
    for leg in room.legs.iter_mut().filter(|leg| leg.is_in()) {
        let Some((manager, conn)) = leg.browser().and_then(|browser| browser.conn) else {
            continue;
        };
        let now = Told {
            sites: room.roster.clone(),
            slots: slots(leg, &seen),
            speaker,
            max_height,
        };
        let Some(browser) = leg.browser_mut() else {
            continue;
        };
        let told = browser.told.replace(now.clone());
        let message = match told {
            Some(told) if told.is(&now) => continue,
            Some(told) if browser.takes_changes => told.to(&now, &before, change.as_ref()),
            _ => now.whole(),
        };
        let message = FromControl::Server { conn, message };
        outputs.push_back(Output::Manager(manager, message));
    }
}

/// `None` where new ones are not behind those that were there, or those stand in another order.
fn change(before: &[Site], now: &[Site]) -> Option<Change> {
    let is_in: HashSet<LegId> = now.iter().map(|site| site.leg).collect();
    let known: HashMap<LegId, &Site> = before.iter().map(|site| (site.leg, site)).collect();
    let (stay, gone): (Vec<LegId>, Vec<LegId>) = before
        .iter()
        .map(|site| site.leg)
        .partition(|leg| is_in.contains(leg));
    let first = now.iter().take(stay.len()).map(|site| site.leg);
    let is_new = |site: &&Site| known.get(&site.leg) != Some(site);
    first.eq(stay).then(|| Change {
        sites: now.iter().filter(is_new).cloned().collect(),
        gone,
    })
}

/// A leg as others see it.
pub fn site(leg: &Leg) -> Site {
    Site {
        leg: leg.id,
        name: leg.name.clone(),
        kind: leg.site_kind(),
        audio_muted: leg.is_unheard(),
        video_muted: leg.is_unseen(),
        audio_silenced: leg.silenced.audio,
        video_silenced: leg.silenced.video,
        original_sound: leg.browser().is_some_and(|page| page.original_sound),
        sound_lag_ms: leg.sound_lag_ms,
    }
}

/// The slots of a browser that show one of these, whose pictures we receive.
fn slots(leg: &Leg, seen: &HashSet<LegId>) -> Vec<Slot> {
    let Some(browser) = leg.browser() else {
        return Vec::new();
    };
    let slot = |(index, mid): (usize, Option<&str>)| {
        let shown = browser
            .shown_in(index)
            .filter(|shown| seen.contains(shown))?;
        Some(Slot {
            mid: mid?.to_owned(),
            leg: shown,
        })
    };
    leg.slot_mids().enumerate().filter_map(slot).collect()
}

#[cfg(test)]
mod tests {
    use mcu_api::manager::SiteKind;
    use mcu_api::secret::Redacted;

    use super::*;

    fn sites(names: &[(u64, &str)]) -> Vec<Site> {
        let site = |(leg, name): &(u64, &str)| Site {
            leg: LegId(*leg),
            name: Redacted((*name).to_owned()),
            kind: SiteKind::Sip,
            audio_muted: false,
            video_muted: false,
            audio_silenced: false,
            video_silenced: false,
            original_sound: false,
            sound_lag_ms: None,
        };
        names.iter().map(site).collect()
    }

    #[test]
    fn a_change_says_who_is_new_other_or_gone_and_nothing_of_an_order_that_it_cannot_tell() {
        let before = sites(&[(1, "a"), (2, "b"), (3, "c")]);
        let told = |now: &[(u64, &str)]| {
            let change = change(&before, &sites(now))?;
            let names = change
                .sites
                .iter()
                .map(|site| (site.leg.0, site.name.0.as_str()));
            let names: Vec<String> = names.map(|(leg, name)| format!("{leg}{name}")).collect();
            Some((names.join(" "), change.gone))
        };
        let some = |sites: &str, gone: &[u64]| {
            Some((sites.to_owned(), gone.iter().copied().map(LegId).collect()))
        };
        assert_eq!(told(&[(1, "a"), (2, "b"), (3, "c")]), some("", &[]));
        assert_eq!(told(&[(1, "a"), (2, "x"), (4, "d")]), some("2x 4d", &[3]));
        assert_eq!(told(&[]), some("", &[1, 2, 3]));
        // One that waited for its PIN enters between two others.
        assert_eq!(told(&[(1, "a"), (4, "d"), (2, "b"), (3, "c")]), None);
        assert_eq!(told(&[(2, "b"), (1, "a"), (3, "c")]), None);
    }
}
