//! Checks of the network before a room is entered: a leg like any other, alone in a room that nobody
//! can call, to which its own picture is sent back.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use mcu_api::ids::{LegId, RoomId};
use mcu_api::manager::{Refusal, ServerMessage};
use mcu_api::secret::Redacted;
use tracing::info;

use super::meetings::Graded;
use super::pin::Source;
use super::room::{BrowserLeg, Conn, Leg, LegKind, OwnView, Silenced};
use super::{Controller, leg_of_conn};

/// How long one may last: ten seconds to connect, five to measure.
const MAX_PROBE: Duration = Duration::from_secs(15);
/// Checks at a time. Anybody who reaches the page may ask for one, and each may send what a
/// participant may.
const MAX_PROBES: usize = 8;
/// Of one source, so that others can check, too.
const MAX_PROBES_OF_SOURCE: usize = 4;

/// Who asks for a check.
pub(super) struct Prober {
    /// Where the page is.
    pub source: Option<IpAddr>,
    /// Somebody has logged in there.
    pub is_known: bool,
}

impl Controller {
    /// A page asks whether its media gets through.
    pub(super) fn probe(&mut self, conn: Conn, who: &Prober, offer: &str) -> Result<(), Refusal> {
        if leg_of_conn(&mut self.rooms, conn).is_some() {
            return Err(Refusal::BadRequest);
        }
        let source = who.source.map(|address| Source::new(None, address));
        let name = Redacted(String::new());
        if let Some(source) = &source {
            // What killed a media process in a meeting kills it in a check.
            self.check_quarantine(source, &name)
                .map_err(|_| Refusal::Quarantined)?;
        }
        let probes = self.rooms.iter().filter(|room| room.is_probe());
        let legs = probes.clone().flat_map(|room| &room.legs);
        let of_source = legs.filter(|leg| leg.source.is_some() && leg.source == source);
        let of_source = of_source.count();
        let running = probes.count();
        // No number that somebody can dial, or make a room of, has a space in it.
        let number = format!("probe {}", self.next_leg);
        let too_many = running >= MAX_PROBES || of_source >= MAX_PROBES_OF_SOURCE;
        if too_many || !self.has_place(&number) {
            let code = Refusal::RoomFull;
            self.tell(conn, ServerMessage::Refused { code });
            self.close(conn);
            return Ok(());
        }
        let id = self.new_leg_id();
        let cname = self.cname_for(&number);
        let (sdp, media) = self.describe(id, who.source, offer, &cname)?;
        let mut browser = BrowserLeg::new(conn, self.new_token());
        browser.set_slot_count(media.plan.video_send.len());
        let leg = Leg {
            id,
            name,
            joined_unix_s: self.unix_s(),
            audio_muted: false,
            video_muted: false,
            silenced: Silenced::default(),
            waiting: None,
            source,
            media: Some(media),
            stats: None,
            graded: Graded::default(),
            sound_lag_ms: None,
            spoke_at: None,
            own_view: OwnView::default(),
            kind: LegKind::Browser(browser),
        };
        let until = self.now + MAX_PROBE;
        // It is no call, and counted as none.
        let room = self.open_room(&number, cname);
        if let Some(room) = self.rooms.get_mut(room) {
            room.probe_until = Some(until);
            room.legs.push(leg);
        }
        // A relay passes on what anybody sends to anywhere: it is for those who may enter something.
        if who.is_known || self.config.rooms.iter().any(|room| room.guests) {
            self.tell_relays(conn);
        }
        self.tell_once_open(conn, ServerMessage::Answer { sdp });
        Ok(())
    }

    /// When checks are over that nobody ended.
    pub(super) fn probe_deadlines(&self) -> impl Iterator<Item = Instant> {
        let ends = self.rooms.iter().filter_map(|room| room.probe_until);
        ends.filter(|end| *end > self.now)
    }

    /// Ends checks that have lasted long enough, or whose page is gone.
    pub(super) fn end_probes(&mut self) {
        let over = |until: Instant, leg: &Leg| {
            let gone = leg.browser().is_some_and(|page| page.conn.is_none());
            gone || self.now >= until
        };
        let over: Vec<(RoomId, LegId, Option<Conn>)> = self
            .rooms
            .iter()
            .filter_map(|room| Some((room, room.probe_until?)))
            .flat_map(|(room, until)| room.legs.iter().map(move |leg| (room, until, leg)))
            .filter(|(_, until, leg)| over(*until, leg))
            .map(|(room, _, leg)| (room.id, leg.id, leg.browser().and_then(|page| page.conn)))
            .collect();
        for (room, leg, conn) in over {
            info!(%room, "network check is over");
            self.remove_leg(room, leg, "network check is over");
            if let Some(conn) = conn {
                self.close(conn);
            }
        }
    }
}
