//! Who is shown where in a composed picture.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Instant;

use mcu_api::ids::LegId;
use mcu_api::layout::Layout;

/// A site that may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub leg: LegId,
    /// When it was last the active speaker.
    pub spoke_at: Option<Instant>,
    /// It has a picture to show.
    pub has_picture: bool,
}

/// The site of each cell of the layout's arrangement for them; `None` where nothing lies.
pub type Cells = Vec<Option<LegId>>;

/// Sites that an operator has set into a cell, by the cell's number.
pub type Pins = BTreeMap<u8, LegId>;

/// Fills the cells of a layout, and changes as little as can be of what was `before`.
///
/// A pinned site has its cell. Of the others those lead that spoke last, where the layout has cells for
/// that; then come the sites with a picture, oldest first, or those that spoke last where there are more
/// than cells. Sites without picture have what these leave. `sites` are the oldest first.
pub fn arrange(
    layout: Layout,
    sites: &[Candidate],
    pins: &Pins,
    before: &[Option<LegId>],
) -> Cells {
    let is_here = |leg: &LegId| sites.iter().any(|site| site.leg == *leg);
    let pins: Pins = pins
        .iter()
        .filter(|(cell, leg)| usize::from(**cell) < layout.max_tiles() && is_here(leg))
        .map(|(cell, leg)| (*cell, *leg))
        .collect();
    let mut cells: Cells = vec![None; count(layout, sites, &pins)];
    for (cell, leg) in &pins {
        cells[usize::from(*cell)] = Some(*leg);
    }
    let free: Vec<usize> = (0..cells.len()).filter(|n| cells[*n].is_none()).collect();
    let is_free = |leg: LegId| !pins.values().any(|pinned| *pinned == leg);
    let others: Vec<Candidate> = sites
        .iter()
        .filter(|site| is_free(site.leg))
        .copied()
        .collect();
    let leads = free.iter().filter(|n| **n < layout.leads()).count();
    // By the free cells, as far as the one arrangement is like the other.
    let before: Cells = free
        .iter()
        .map(|n| before.get(*n).copied().flatten())
        .collect();
    let chosen = lead(
        choose(&others, free.len(), &before),
        leads,
        &others,
        &before,
    );
    for (cell, leg) in free.into_iter().zip(chosen) {
        cells[cell] = Some(leg);
    }
    cells
}

/// Cells of the arrangement: enough for all that have a picture, or for all where none has, and for
/// those that are pinned.
fn count(layout: Layout, sites: &[Candidate], pins: &Pins) -> usize {
    let is_pinned = |leg: LegId| pins.values().any(|pinned| *pinned == leg);
    let has_picture = |site: &&Candidate| site.has_picture || is_pinned(site.leg);
    let wanted = match sites.iter().any(|site| site.has_picture) {
        false => sites.len(),
        true => sites.iter().filter(has_picture).count(),
    };
    let last = pins
        .keys()
        .next_back()
        .map_or(0, |last| usize::from(*last) + 1);
    layout.cells(wanted.max(last)).len()
}

/// At most `cells` of the sites: all, oldest first, those with a picture before the others; or those of
/// the first kind that spoke last, each keeping its place among those of `before`.
fn choose(sites: &[Candidate], cells: usize, before: &[Option<LegId>]) -> Vec<LegId> {
    let (with, without): (Vec<Candidate>, Vec<Candidate>) =
        sites.iter().partition(|site| site.has_picture);
    let leg = |site: &Candidate| site.leg;
    if with.len() <= cells {
        return with.iter().chain(&without).map(leg).take(cells).collect();
    }
    let mut ranked: Vec<(&Candidate, usize)> = with.iter().zip(0..).collect();
    ranked.sort_by(|(a, a_age), (b, b_age)| b.spoke_at.cmp(&a.spoke_at).then(a_age.cmp(b_age)));
    let best: Vec<LegId> = ranked
        .iter()
        .take(cells)
        .map(|(site, _)| site.leg)
        .collect();
    let mut missing = best
        .iter()
        .filter(|leg| !before.contains(&Some(**leg)))
        .copied();
    let kept = before.iter().filter_map(|leg| match leg {
        Some(leg) if best.contains(leg) => Some(*leg),
        _ => missing.next(),
    });
    let mut chosen: Vec<LegId> = kept.collect();
    chosen.extend(missing);
    chosen
}

/// Brings those that spoke last into the first `leads` places. Who was in one of them keeps it; who was
/// there and spoke longer ago gives way.
fn lead(
    mut chosen: Vec<LegId>,
    leads: usize,
    sites: &[Candidate],
    before: &[Option<LegId>],
) -> Vec<LegId> {
    let leads = leads.min(chosen.len());
    let spoke = |leg: &LegId| {
        let site = sites.iter().find(|site| site.leg == *leg);
        site.filter(|site| site.has_picture)?.spoke_at
    };
    // Of two that spoke at once the one in the later place comes first: it is not there yet.
    let mut speakers: Vec<(Instant, LegId)> = chosen
        .iter()
        .rev()
        .filter_map(|leg| Some((spoke(leg)?, *leg)))
        .collect();
    speakers.sort_by_key(|(at, _)| Reverse(*at));
    speakers.truncate(leads);
    let leaders: Vec<LegId> = speakers.into_iter().map(|(_, leg)| leg).collect();
    let mut move_to = |leader: LegId, place: usize| {
        if let Some(at) = chosen.iter().position(|leg| *leg == leader) {
            chosen.swap(at, place);
        }
    };
    let mut taken = vec![false; leads];
    let led = |leader: &LegId| {
        before
            .iter()
            .take(leads)
            .position(|leg| *leg == Some(*leader))
    };
    for leader in &leaders {
        if let Some(place) = led(leader) {
            move_to(*leader, place);
            taken[place] = true;
        }
    }
    for leader in leaders.iter().filter(|leader| led(leader).is_none()) {
        if let Some(place) = taken.iter().position(|taken| !taken) {
            move_to(*leader, place);
            taken[place] = true;
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn named(name: &str) -> Layout {
        Layout::named(name).unwrap()
    }

    /// Sites 1 to `count` with a picture; those of `spoke` spoke in that order.
    fn sites(count: u64, spoke: &[u64]) -> Vec<Candidate> {
        let begin = Instant::now();
        let site = |leg| Candidate {
            leg: LegId(leg),
            spoke_at: spoke
                .iter()
                .position(|id| *id == leg)
                .map(|n| begin + Duration::from_secs(n as u64)),
            has_picture: true,
        };
        (1..=count).map(site).collect()
    }

    fn cells(layout: &str, sites: &[Candidate], pins: &[(u8, u64)], before: &[u64]) -> Vec<u64> {
        let pins = pins
            .iter()
            .map(|(cell, leg)| (*cell, LegId(*leg)))
            .collect();
        let before: Vec<_> = before.iter().map(|leg| Some(LegId(*leg))).collect();
        let cells = arrange(named(layout), sites, &pins, &before);
        cells.iter().map(|leg| leg.map_or(0, |leg| leg.0)).collect()
    }

    #[test]
    fn cells_are_filled_with_the_oldest_first_and_the_rest_stays_empty() {
        assert_eq!(cells("grid_2x2", &sites(2, &[]), &[], &[]), [1, 2, 0, 0]);
        assert_eq!(cells("equal", &sites(3, &[]), &[], &[]), [1, 2, 3, 0]);
        assert_eq!(cells("grid_2x2", &sites(9, &[]), &[], &[]), [1, 2, 3, 4]);
    }

    #[test]
    fn as_many_lead_as_the_layout_says_and_nobody_else_moves() {
        assert_eq!(cells("1_2", &sites(3, &[3]), &[], &[]), [3, 2, 1]);
        assert_eq!(
            cells("2_4", &sites(6, &[6, 4]), &[], &[]),
            [4, 6, 3, 1, 5, 2]
        );
        // Who leads already stays where it is.
        assert_eq!(
            cells("2_4", &sites(6, &[2, 5]), &[], &[]),
            [5, 2, 3, 4, 1, 6]
        );
        assert_eq!(cells("grid_2x2", &sites(4, &[3]), &[], &[]), [1, 2, 3, 4]);
    }

    #[test]
    fn who_leads_already_keeps_its_place() {
        let mut now = vec![4, 6, 3, 1, 5, 2];
        for spoke in [[4, 6], [6, 4], [4, 6]] {
            now = cells("2_4", &sites(6, &spoke), &[], &now);
            assert_eq!(now[..2], [4, 6], "{spoke:?}");
        }
        let then = cells("2_4", &sites(6, &[4, 6, 1]), &[], &now);
        assert_eq!(then[..2], [1, 6], "4 spoke longer ago than 6");
    }

    #[test]
    fn a_pin_moves_nobody_when_somebody_new_speaks() {
        let spoke = cells("grid_2x2", &sites(6, &[6]), &[(0, 1)], &[1, 2, 3, 4]);
        assert_eq!(spoke, [1, 2, 3, 6]);
    }

    #[test]
    fn a_pinned_site_without_picture_takes_nobodys_cell() {
        let mut five = sites(5, &[]);
        five[4].has_picture = false;
        assert_eq!(cells("equal", &five, &[(0, 5)], &[]), [5, 1, 2, 3, 4, 0]);
    }

    #[test]
    fn a_pinned_site_keeps_its_cell_whoever_speaks() {
        let pins = [(0, 2), (3, 1)];
        assert_eq!(cells("grid_2x2", &sites(4, &[3]), &pins, &[]), [2, 3, 4, 1]);
        // A pin into the cell that leads takes it from the voice.
        assert_eq!(cells("1_2", &sites(3, &[3]), &[(0, 1)], &[]), [1, 2, 3]);
        assert_eq!(
            cells("2_4", &sites(6, &[6]), &[(0, 1)], &[]),
            [1, 6, 3, 4, 5, 2]
        );
        // The grid has as many cells as the pin needs; pins beyond it, and of who left, count nothing.
        assert_eq!(
            cells("equal", &sites(2, &[]), &[(5, 1)], &[]),
            [2, 0, 0, 0, 0, 1]
        );
        assert_eq!(
            cells("grid_2x2", &sites(1, &[]), &[(4, 1), (0, 9)], &[]),
            [1, 0, 0, 0]
        );
    }

    #[test]
    fn of_more_sites_than_cells_those_are_shown_that_spoke_last() {
        let before = [1, 2, 3, 4];
        let shown = |spoke: &[u64]| cells("grid_2x2", &sites(6, spoke), &[], &before);
        assert_eq!(shown(&[]), [1, 2, 3, 4]);
        assert_eq!(shown(&[6]), [1, 2, 3, 6]);
        assert_eq!(shown(&[6, 5, 4]), [1, 5, 6, 4]);
    }

    #[test]
    fn sites_without_picture_take_what_is_left_and_never_lead() {
        let mut some = sites(4, &[1]);
        some[0].has_picture = false;
        some[2].has_picture = false;
        assert_eq!(cells("grid_2x2", &some, &[], &[]), [2, 4, 1, 3]);
        assert_eq!(cells("equal", &some, &[], &[]), [2, 4]);
        assert_eq!(cells("1_2", &some, &[], &[]), [2, 4, 1]);
        for site in &mut some {
            site.has_picture = false;
        }
        assert_eq!(cells("equal", &some, &[], &[]), [1, 2, 3, 4]);
        assert_eq!(cells("equal", &[], &[], &[]), [0]);
    }
}
