//! Legs of browsers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use mcu_api::capacity::PortClass;
use mcu_api::ids::LegId;
use mcu_api::manager::{
    BrowserMessage, FromControl, Invited, Pass, Person, Refusal, ServerMessage, SlotSize,
};
use mcu_api::plan::{LegPlan, Transport};
use mcu_api::secret::Redacted;
use rand::RngCore;
use tracing::{info, warn};

use super::answers::Peer;
use super::calls::shown_name;
use super::chat::reorders;
use super::meetings::Graded;
use super::pin::Source;
use super::probing::Prober;
use super::room::{BrowserLeg, Conn, Leg, LegKind, Media, OwnView, Silenced};
use super::{Controller, Output, RESUME_WAIT, address, find_leg, leg_of_conn, legs_where};
use crate::browser_sdp;

/// Longest name, in characters (see [`BrowserMessage::Join`]).
const MAX_NAME_CHARS: usize = 64;

/// Most that is sent to one slot, in bit/s: the largest layer that pages send, with room for bursts.
const MAX_SLOT_BPS: u32 = 2_500_000;

/// Seconds of silence after which a browser without signalling counts as gone. ICE consent checks
/// come every 5 s at least (RFC 7675 §5.1), muted or not.
const MAX_SILENCE_S: u32 = 15;

/// Steps of picture height in lines: heights that the page reports are rounded up to one, so that a
/// window being resized does not make a plan of every pixel.
const HEIGHT_STEPS: [u16; 4] = [180, 360, 720, 1080];

/// Who says something, as far as the manager knows.
pub(super) struct Visitor {
    /// Where it comes from.
    pub source: Option<IpAddr>,
    /// Who has logged in there.
    pub person: Option<Person>,
    /// By which link it comes.
    pub invited: Option<Invited>,
}

/// A request to enter.
struct Join {
    room: String,
    name: Redacted<String>,
    answer_ufrag: Option<String>,
    resume: Option<Redacted<String>>,
    audio_muted: bool,
    video_muted: bool,
    pin: Option<Redacted<String>>,
    roster_changes: bool,
    source: Option<IpAddr>,
    person: Option<Person>,
    invited: Option<Invited>,
}

impl Join {
    /// By what it enters, beside what the room says of everybody.
    fn pass(&self) -> Option<Pass> {
        let login = self.person.as_ref().map(|person| Pass::Login {
            person: person.id.clone(),
            session: person.session.clone(),
        });
        let link = || {
            let link = self.invited.as_ref()?.link.clone();
            Some(Pass::Link { link })
        };
        login.or_else(link)
    }

    /// Whether it may come back to a leg that is in by this. A link that lets nobody in any more leads
    /// back to what it let in alone.
    fn may_resume(&self, pass: Option<&Pass>) -> bool {
        match &self.invited {
            Some(Invited {
                link,
                closed: Some(_),
                ..
            }) => matches!(pass, Some(Pass::Link { link: of }) if of == link),
            _ => true,
        }
    }

    /// The token of a guest who was in before, also when the leg is gone.
    fn kept_token(&self) -> Option<Redacted<String>> {
        let returns = self.invited.as_ref()?.returns;
        self.resume.clone().filter(|_| returns)
    }

    /// The name that the manager knows of it, or else the one that it says.
    fn shown_name(&self) -> Option<Redacted<String>> {
        let person = self.person.as_ref().map(|person| &person.name);
        let invited = || self.invited.as_ref()?.name.as_ref();
        let known = person.or_else(invited).map(shown_name);
        checked_name(known.as_ref().unwrap_or(&self.name))
    }
}

/// What an offer is answered with, and the media that follows from it.
type Described = (Redacted<String>, Media);

impl Controller {
    pub(super) fn handle_browser(&mut self, conn: Conn, visitor: Visitor, message: BrowserMessage) {
        let Visitor {
            source,
            person,
            invited,
        } = visitor;
        let done = match message {
            BrowserMessage::Join {
                room,
                name,
                sdp,
                answer_ufrag,
                resume,
                audio_muted,
                video_muted,
                pin,
                guest: _,
                roster_changes,
            } => {
                let join = Join {
                    room,
                    name,
                    answer_ufrag,
                    resume,
                    audio_muted,
                    video_muted,
                    pin,
                    roster_changes,
                    source,
                    person,
                    invited,
                };
                let joined = self.join(conn, sdp, join);
                if let Err(refusal) = joined {
                    self.counts.turned_away(refusal);
                }
                joined
            }
            BrowserMessage::Offer { sdp } => self.offered(conn, source, &sdp.0),
            BrowserMessage::Mute { audio, video } => self.mute(conn, audio, video),
            BrowserMessage::Sizes { slots } => self.sizes(conn, &slots),
            BrowserMessage::Sound { original } => self.sound(conn, original),
            BrowserMessage::Chat { text } => self.chat(conn, &text.0),
            BrowserMessage::Probe { sdp } => {
                let is_known = person.is_some();
                self.probe(conn, &Prober { source, is_known }, &sdp.0)
            }
            BrowserMessage::Leave => {
                self.leave(conn);
                Ok(())
            }
        };
        if let Err(code) = done {
            info!(manager = conn.0.0, conn = %conn.1, ?code, "browser refused");
            self.tell(conn, ServerMessage::Refused { code });
            if leg_of_conn(&mut self.rooms, conn).is_none() {
                self.close(conn);
            }
        }
    }

    /// The signalling of the browsers that `gone` names is lost. Their legs stay for a while.
    pub(super) fn browser_gone(&mut self, gone: impl Fn(Conn) -> bool) {
        for room in &mut self.rooms {
            for leg in &mut room.legs {
                let id = leg.id;
                let Some(browser) = leg.browser_mut() else {
                    continue;
                };
                if browser.conn.is_some_and(&gone) {
                    info!(room = %room.id, leg = %id, "signalling lost");
                    browser.conn = None;
                    browser.gone_at = Some(self.now);
                    browser.told = None;
                }
            }
        }
        self.end_probes();
    }

    /// When legs without signalling fall due. Those that are past it wait for the next inventory.
    pub(super) fn resume_deadlines(&self) -> impl Iterator<Item = Instant> {
        self.rooms
            .iter()
            .flat_map(|room| &room.legs)
            .filter_map(|leg| Some(leg.browser()?.gone_at? + RESUME_WAIT))
            .filter(|due| *due > self.now)
    }

    /// Removes browsers whose signalling is lost and whose media does not live either.
    pub(super) fn remove_lost_browsers(&mut self) {
        let lost = |leg: &Leg| {
            let gone_at = leg.browser().and_then(|browser| browser.gone_at);
            gone_at.is_some_and(|gone| self.now >= gone + RESUME_WAIT)
                && !leg.is_heard(MAX_SILENCE_S)
        };
        for (room, leg) in legs_where(&self.rooms, lost) {
            self.remove_leg(room, leg, "browser did not come back");
        }
    }

    fn join(
        &mut self,
        conn: Conn,
        offer: Option<Redacted<String>>,
        mut join: Join,
    ) -> Result<(), Refusal> {
        if leg_of_conn(&mut self.rooms, conn).is_some() {
            return Err(Refusal::BadRequest);
        }
        join.name = join.shown_name().ok_or(Refusal::BadRequest)?;
        let room = self.config.room(&join.room).ok_or(Refusal::NoSuchRoom)?;
        let closed = !room.guests && join.pass().is_none();
        let known = self.resumable(&join);
        let Some(offer) = offer else {
            return self.go_on(conn, known, join);
        };
        if let Some(leg) = known {
            let cname = self.cname_for(&join.room);
            let described = self.describe(leg, join.source, &offer.0, &cname)?;
            return self.resume(conn, leg, join, Some(described));
        }
        if closed {
            return Err(Refusal::NotAllowed);
        }
        if let Some(closed) = join.invited.as_ref().and_then(|invited| invited.closed) {
            return Err(closed);
        }
        if !self.has_place(&join.room) {
            return Err(Refusal::RoomFull);
        }
        if !self.has_port(PortClass::Browser) {
            self.counts.found_no_port();
            return Err(Refusal::RoomFull);
        }
        // Browsers whose origin a manager does not tell count together.
        let source = join.source.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let person = join.person.as_ref().map(|person| person.id.as_str());
        let source = Source::new(person, source);
        self.check_quarantine(&source, &join.name)
            .map_err(|_| Refusal::Quarantined)?;
        // The link stands in the PIN's place.
        if join.invited.is_none() {
            self.check_pin_of_browser(&join.room, &source, join.pin.as_ref())?;
        }
        self.newcomer(conn, &offer.0, join, source)
    }

    fn newcomer(
        &mut self,
        conn: Conn,
        offer: &str,
        join: Join,
        source: Source,
    ) -> Result<(), Refusal> {
        let id = self.new_leg_id();
        let cname = self.cname_for(&join.room);
        let (sdp, media) = self.describe(id, join.source, offer, &cname)?;
        let token = join.kept_token().unwrap_or_else(|| self.new_token());
        let mut browser = BrowserLeg::new(conn, token.clone());
        browser.pass = join.pass();
        browser.takes_changes = join.roster_changes;
        let room = self.rooms.iter().find(|room| room.number == join.room);
        browser.writer = room.map(|room| room.chat.newcomer()).unwrap_or_default();
        browser.set_slot_count(media.plan.video_send.len());
        let leg = Leg {
            id,
            name: join.name,
            joined_unix_s: self.unix_s(),
            audio_muted: join.audio_muted,
            video_muted: join.video_muted,
            silenced: Silenced::default(),
            waiting: None,
            source: Some(source),
            media: Some(media),
            stats: None,
            graded: Graded::default(),
            sound_lag_ms: None,
            spoke_at: None,
            own_view: OwnView::default(),
            kind: LegKind::Browser(browser),
        };
        self.enter(&join.room, cname, leg);
        self.tell_relays(conn);
        self.tell_once_open(
            conn,
            ServerMessage::Joined {
                leg: id,
                sdp: Some(sdp),
                resume: token,
            },
        );
        Ok(())
    }

    /// The leg that it has the token of and may come back to.
    fn resumable(&self, join: &Join) -> Option<LegId> {
        let token = join.resume.as_ref()?;
        let room = self.rooms.iter().find(|room| room.number == join.room)?;
        let is_its = |browser: &BrowserLeg| {
            browser.token == *token && join.may_resume(browser.pass.as_ref())
        };
        let leg = room
            .legs
            .iter()
            .find(|leg| leg.browser().is_some_and(is_its))?;
        Some(leg.id)
    }

    /// A page that came back without an offer: its peer connection still stands. Where the leg's
    /// media is that connection's, nothing but the signalling changes; otherwise the page is to join
    /// once more, with an offer, and nothing is kept of this attempt.
    fn go_on(&mut self, conn: Conn, known: Option<LegId>, join: Join) -> Result<(), Refusal> {
        // Without a processor nobody knows what is in force.
        self.processor.hello().ok_or(Refusal::NoMedia)?;
        let ufrag = join.answer_ufrag.as_deref().unwrap_or_default();
        let mut legs = self.rooms.iter().flat_map(|room| &room.legs);
        match known.filter(|known| legs.any(|leg| leg.id == *known && leg.is_connected_by(ufrag))) {
            Some(leg) => self.resume(conn, leg, join, None),
            None => {
                info!(manager = conn.0.0, conn = %conn.1, "browser asked for an offer");
                self.tell(conn, ServerMessage::Renew);
                Ok(())
            }
        }
    }

    /// Gives a leg to a page that came back: same place, same slots; where it made an offer, new
    /// transport.
    fn resume(
        &mut self,
        conn: Conn,
        leg: LegId,
        join: Join,
        described: Option<Described>,
    ) -> Result<(), Refusal> {
        let Some((room, found)) = find_leg(&mut self.rooms, |l| l.id == leg) else {
            return Err(Refusal::BadRequest);
        };
        info!(room = %room, leg = %leg, offered = described.is_some(), "browser came back");
        // Who entered as a person stays that one, also when nobody can prove who he is meanwhile, or he
        // has a link as well: what ends his login is to end this. Whom a link gave a name keeps it.
        let pass = join.pass();
        let known = found.browser().and_then(|browser| browser.pass.as_ref());
        let stays = matches!(
            (known, &pass),
            (Some(_), None) | (Some(Pass::Login { .. }), Some(Pass::Link { .. }))
        );
        if !stays {
            found.name = join.name;
        }
        found.audio_muted = join.audio_muted;
        found.video_muted = join.video_muted;
        let Some(browser) = found.browser_mut() else {
            return Err(Refusal::BadRequest);
        };
        if !stays {
            browser.pass = pass;
        }
        let before = browser.conn.replace(conn);
        browser.gone_at = None;
        browser.told = None;
        browser.takes_changes = join.roster_changes;
        let resume = browser.token.clone();
        let sdp = described.map(|(sdp, media)| {
            found.replace_media(media);
            sdp
        });
        if let Some(before) = before {
            // Another page with the same token has taken over: this one is not to come back.
            self.tell(
                before,
                ServerMessage::Refused {
                    code: Refusal::Removed,
                },
            );
            self.close(before);
        }
        if sdp.is_some() {
            self.tell_relays(conn);
        }
        self.tell_once_open(conn, ServerMessage::Joined { leg, sdp, resume });
        self.chat_so_far(conn);
        Ok(())
    }

    /// A new peer connection of a page that is in.
    fn offered(&mut self, conn: Conn, source: Option<IpAddr>, sdp: &str) -> Result<(), Refusal> {
        let (room, leg) = leg_of_conn(&mut self.rooms, conn).ok_or(Refusal::BadRequest)?;
        let id = leg.id;
        let room = self.rooms.iter().find(|r| r.id == room);
        // A check has one offer.
        if room.is_some_and(|room| room.is_probe()) {
            return Err(Refusal::BadRequest);
        }
        let cname = room.map(|r| r.cname.clone());
        let (sdp, media) = self.describe(id, source, sdp, &cname.unwrap_or_default())?;
        let (_, leg) = leg_of_conn(&mut self.rooms, conn).ok_or(Refusal::BadRequest)?;
        leg.replace_media(media);
        self.tell_relays(conn);
        self.tell_once_open(conn, ServerMessage::Answer { sdp });
        Ok(())
    }

    fn mute(&mut self, conn: Conn, audio: bool, video: bool) -> Result<(), Refusal> {
        let (_, leg) = leg_of_conn(&mut self.rooms, conn).ok_or(Refusal::BadRequest)?;
        leg.audio_muted = audio;
        leg.video_muted = video;
        Ok(())
    }

    fn sound(&mut self, conn: Conn, original: bool) -> Result<(), Refusal> {
        let (_, leg) = leg_of_conn(&mut self.rooms, conn).ok_or(Refusal::BadRequest)?;
        let browser = leg.browser_mut().ok_or(Refusal::BadRequest)?;
        browser.original_sound = original;
        Ok(())
    }

    fn sizes(&mut self, conn: Conn, slots: &[SlotSize]) -> Result<(), Refusal> {
        let (_, leg) = leg_of_conn(&mut self.rooms, conn).ok_or(Refusal::BadRequest)?;
        let mids: Vec<Option<String>> = leg.slot_mids().map(|mid| mid.map(str::to_owned)).collect();
        let Some(browser) = leg.browser_mut() else {
            return Err(Refusal::BadRequest);
        };
        for (height, mid) in browser.heights.iter_mut().zip(&mids) {
            let said = slots.iter().find(|slot| Some(&slot.mid) == mid.as_ref());
            *height = said.map(|slot| stepped(slot.height)).or(*height);
        }
        Ok(())
    }

    fn leave(&mut self, conn: Conn) {
        if let Some((room, leg)) = leg_of_conn(&mut self.rooms, conn) {
            let leg = leg.id;
            self.remove_leg(room, leg, "browser left");
        }
        self.close(conn);
    }

    /// Our answer to the offer of a browser at `source` and what the leg's plan then holds.
    pub(super) fn describe(
        &mut self,
        leg: LegId,
        source: Option<IpAddr>,
        offer: &str,
        cname: &str,
    ) -> Result<Described, Refusal> {
        let hello = self.processor.hello().ok_or(Refusal::NoMedia)?;
        let told = address::told(&hello.addresses, source);
        let candidates = told
            .iter()
            .map(|ip| SocketAddr::new(*ip, hello.webrtc_port));
        let candidates: Vec<SocketAddr> = candidates.collect();
        let kept_back = |ip: IpAddr| {
            !told.contains(&ip) && hello.addresses.iter().any(|address| address.told() == ip)
        };
        let by_tcp = self.config.browser_tcp.iter().copied();
        let by_tcp: Vec<SocketAddr> = by_tcp.filter(|at| !kept_back(at.ip())).collect();
        if candidates.is_empty() && by_tcp.is_empty() {
            warn!(leg = %leg, "no media address for the browser's network");
            return Err(Refusal::NoMedia);
        }
        let local = browser_sdp::Local {
            // Every offer comes from a new peer connection: a session of its own each time.
            session_id: self.rng.next_u64() >> 1,
            version: 1,
            // RFC 8445 §5.3: at least 24 bits of user fragment and 128 bits of password.
            ufrag: &random_hex(&mut self.rng, 8),
            pwd: &Redacted(random_hex(&mut self.rng, 16)),
            fingerprint_sha256: hello.fingerprint_sha256,
            candidates: &candidates,
            tcp_candidates: &by_tcp,
            cname,
            // One stream for sound and pictures keeps them in step at the page.
            stream_id: cname,
            max_slot_bps: MAX_SLOT_BPS,
            vp8: hello.codecs.iter().any(|codec| codec == "vp8"),
        };
        let agreed = browser_sdp::answer(offer, &local, &mut self.rng).map_err(|reason| {
            warn!(leg = %leg, %reason, "browser's offer refused");
            Refusal::BadOffer
        })?;
        let plan = LegPlan {
            // ICE checks of its own prove where it is.
            confirmed: true,
            waiting: None,
            id: leg,
            transports: vec![Transport::Webrtc(agreed.transport)],
            audio: Some(agreed.audio),
            video_receive: agreed.video_receive,
            video_send: agreed.slots,
        };
        let media = Media {
            plan,
            class: None,
            smaller: Vec::new(),
        };
        Ok((Redacted(agreed.sdp), media))
    }

    /// Gives a page what it needs to ask a relay, for the answer that follows.
    pub(super) fn tell_relays(&mut self, conn: Conn) {
        let Some(relays) = &self.config.relays else {
            return;
        };
        let nonce = random_hex(&mut self.rng, 8);
        let (username, credential) = relays.credentials(self.unix_s(), &nonce);
        let urls = relays.urls.clone();
        self.tell(
            conn,
            ServerMessage::Relays {
                urls,
                username,
                credential,
            },
        );
    }

    pub(super) fn new_token(&mut self) -> Redacted<String> {
        Redacted(random_hex(&mut self.rng, 16))
    }

    pub(super) fn tell(&mut self, conn: Conn, message: ServerMessage) {
        let (manager, conn) = conn;
        self.tell_manager(manager, FromControl::Server { conn, message });
    }

    /// For what lets the page begin to send: by TCP, nobody would know the first check's leg, and the
    /// connection would be closed.
    pub(super) fn tell_once_open(&mut self, conn: Conn, message: ServerMessage) {
        let (manager, id) = conn;
        let message = FromControl::Server { conn: id, message };
        let said = Output::Manager(manager, message);
        self.answer(Peer::Browser(conn), [said]);
    }

    pub(super) fn close(&mut self, conn: Conn) {
        let (manager, conn) = conn;
        self.tell_manager(manager, FromControl::Close { conn });
    }
}

/// The name as it is shown, if it is fit to be.
fn checked_name(name: &Redacted<String>) -> Option<Redacted<String>> {
    let visible: String = name.0.chars().filter(|c| !reorders(*c)).collect();
    let name = visible.trim();
    let fits = (1..=MAX_NAME_CHARS).contains(&name.chars().count());
    (fits && !name.contains(char::is_control)).then(|| Redacted(name.to_owned()))
}

/// A height rounded up to a step; 0 stays 0, for a slot that is not visible.
fn stepped(height: u16) -> u16 {
    if height == 0 {
        return 0;
    }
    let step = HEIGHT_STEPS.into_iter().find(|step| *step >= height);
    step.unwrap_or(HEIGHT_STEPS[HEIGHT_STEPS.len() - 1])
}

/// `len` random bytes in hexadecimal: letters that are allowed in ICE credentials and tokens.
fn random_hex(rng: &mut impl RngCore, len: usize) -> String {
    (0..len)
        .map(|_| format!("{:02x}", rng.next_u32() as u8))
        .collect()
}
