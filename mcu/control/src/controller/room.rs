//! A room and its legs, and the plan that follows from them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use mcu_api::call::CallCommand;
use mcu_api::codec::VideoClass;
use mcu_api::directory::Shape;
use mcu_api::ids::{CallId, ConnId, LegId, RoomId};
use mcu_api::inventory::{LegInventory, LegState};
use mcu_api::layout::Layout;
use mcu_api::manager::{CellWish, LayoutWish, LegWish, Meeting, Pass, Showing, Site, SiteKind};
use mcu_api::plan::{Care, Composition, LegPlan, Place, RoomPlan, Transport, VideoSource};
use mcu_api::secret::Redacted;

use rand::{CryptoRng, RngCore};
use serde::{Deserialize, Deserializer, Serialize};
use sip::sdp::video;

use super::ManagerId;
use super::arrangement::{self, Candidate, Cells, Pins};
use super::chat::{Chat, Writer};
use super::dialling::Ringing;
use super::exchange::Exchange;
use super::meetings::Graded;
use super::pin::{Source, Waiting};
use super::rollovers::Rollovers;
use super::roster::Told;
use super::state::SavedSipCall;
use super::stills::Watched;
use super::transfer_out::Transferring;

/// Tallest picture sent to a slot whose size the page has not said.
pub const DEFAULT_SLOT_HEIGHT: u16 = 720;

/// Pictures of legs that see another one than the room's. Each has a canvas and an encoder of its own:
/// beyond so many the room's is shown.
const MAX_VIEWS: usize = 8;

/// Sound and picture may drift apart by this much before browsers are told anew: nobody sees it.
const UNSEEN_LAG_MS: u16 = 10;

/// A meeting that exists now.
#[derive(Debug)]
pub struct Room {
    pub id: RoomId,
    pub number: String,
    /// Of the plan sent last, or of the one that the processor holds if that is newer.
    pub generation: u64,
    pub cname: String,
    /// Oldest first.
    pub legs: Vec<Leg>,
    /// Plan in force as far as we know; `None` when the processor holds none.
    pub sent: Option<RoomPlan>,
    /// Generation that the processor has told us it holds; 0 for none.
    pub held: u64,
    /// When `sent` was sent: an inventory may still be older for a moment.
    pub sent_at: Instant,
    /// What subscribers were told last.
    pub published: Option<sip::Conference>,
    /// What managers were told last.
    pub meeting: Option<Meeting>,
    /// Its pictures, as its configuration says now.
    pub shape: Shape,
    /// Terminals have no taller pictures now, since the machine is short of time.
    pub lowered: Option<u16>,
    /// Sites that an operator set into a cell of the room's picture.
    pub pins: Pins,
    /// Who is shown where in the room's picture, and in those of legs that see another one.
    pub cells: BTreeMap<View, Cells>,
    pub speaker: Option<LegId>,
    pub encoders: u32,
    pub decoders: u32,
    /// What was written in it.
    pub chat: Chat,
    /// Everybody in it, as pages were told last.
    pub roster: Arc<[Site]>,
    /// Somebody looks on from outside.
    pub watched: Option<Watched>,
    /// It is a network check, which ends then.
    pub probe_until: Option<Instant>,
    /// Something changed since the room was last settled.
    pub dirty: bool,
}

/// One endpoint's attachment to a room.
#[derive(Debug)]
pub struct Leg {
    pub id: LegId,
    pub name: Redacted<String>,
    pub joined_unix_s: u64,
    /// As it wants it itself; see [`Leg::is_unheard`] and [`Leg::is_unseen`].
    pub audio_muted: bool,
    pub video_muted: bool,
    /// As an operator wants it.
    pub silenced: Silenced,
    /// It waits before the door, no part of the meeting yet.
    pub waiting: Option<Waiting>,
    /// Where it came from, as far as it can be refused there; unknown of who was kept by an older
    /// version.
    pub source: Option<Source>,
    /// Transports and streams; `None` while nothing is agreed.
    pub media: Option<Media>,
    /// What the processor said last about it.
    pub stats: Option<LegInventory>,
    /// How it fares, as managers are told.
    pub graded: Graded,
    /// How much later its sound is mixed than its picture is forwarded, as browsers are told.
    pub sound_lag_ms: Option<u16>,
    /// When it was last the active speaker.
    pub spoke_at: Option<Instant>,
    /// What it is to see, where that is not what the room says.
    pub own_view: OwnView,
    pub kind: LegKind,
}

/// What a terminal wants to see of a composition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OwnView {
    /// Its own layout.
    #[serde(deserialize_with = "if_known", skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// It does not see itself.
    pub without_self: bool,
}

/// A layout that this version does not know is none.
fn if_known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Layout>, D::Error> {
    let name = Option::<String>::deserialize(deserializer)?;
    Ok(name.and_then(|name| Layout::named(&name)))
}

/// One of a room's composed pictures. The room's own is the default: its layout, and all sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct View {
    /// Its layout, where it is not the room's.
    layout: Option<Layout>,
    /// Who is not in it.
    without: Option<LegId>,
}

impl View {
    /// What plans call it; `None` for the room's own.
    fn name(self) -> Option<String> {
        if self == Self::default() {
            return None;
        }
        let layout = self.layout.map_or("", Layout::name);
        let without = self.without.map(|leg| format!("-{leg}"));
        Some(format!("{layout}{}", without.unwrap_or_default()))
    }
}

/// What an operator has a leg not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Silenced {
    /// Be heard.
    pub audio: bool,
    /// Be seen.
    pub video: bool,
}

/// What the leg's transports carry. Mutes and sources are filled in when the plan is made.
#[derive(Clone, Debug)]
pub struct Media {
    pub plan: LegPlan,
    /// Class to encode for a terminal that takes video.
    pub class: Option<VideoClass>,
    /// Classes that take its place where no so tall picture is wanted.
    pub smaller: Vec<VideoClass>,
}

/// What is particular to a kind of leg.
#[derive(Debug)]
pub enum LegKind {
    Sip(SipLeg),
    Browser(BrowserLeg),
}

/// A terminal's leg.
#[derive(Debug)]
pub struct SipLeg {
    /// `None` for a leg whose dialog was lost with an earlier life of this controller.
    pub dialog: Option<Dialog>,
    /// RTP ports of its pairs, held as long as the leg lives.
    pub ports: Vec<u16>,
    /// Its call was established: it read our answer, so that it is where it says.
    pub confirmed: bool,
    /// How far its SRTP sources have come.
    pub rollovers: Rollovers,
    /// We call it, and it has not answered.
    pub ringing: Option<Ringing>,
    /// We called it.
    pub dialled: bool,
    /// It is asked to go on elsewhere.
    pub transferring: Option<Transferring>,
}

/// A terminal's call and what was described in it.
#[derive(Debug)]
pub struct Dialog {
    pub call: CallId,
    pub exchange: Exchange,
    /// When a silent terminal was last asked whether it is still there.
    pub probed_at: Option<Instant>,
}

/// A browser's leg.
#[derive(Debug)]
pub struct BrowserLeg {
    /// Its signalling, while there is one.
    pub conn: Option<Conn>,
    /// When its signalling was lost.
    pub gone_at: Option<Instant>,
    pub token: Redacted<String>,
    /// Which site each slot shows.
    pub slots: Vec<Option<LegId>>,
    /// Height of each slot in device pixels, as far as the page said.
    pub heights: Vec<Option<u16>>,
    /// What was told last on this connection.
    pub told: Option<Told>,
    /// The page takes what changed in place of everything.
    pub takes_changes: bool,
    /// By what it is in, beside what the room says of everybody.
    pub pass: Option<Pass>,
    /// Its sound comes as it is.
    pub original_sound: bool,
    /// What it has written.
    pub writer: Writer,
}

/// One browser's signalling connection: the manager that relays it, and its number there.
pub type Conn = (ManagerId, ConnId);

impl Room {
    /// A room without legs that the processor does not know yet.
    pub fn new(id: RoomId, number: String, cname: String, now: Instant) -> Self {
        Self {
            id,
            number,
            generation: 0,
            cname,
            legs: Vec::new(),
            sent: None,
            held: 0,
            sent_at: now,
            published: None,
            meeting: None,
            shape: Shape::default(),
            lowered: None,
            pins: Pins::new(),
            cells: BTreeMap::new(),
            speaker: None,
            encoders: 0,
            decoders: 0,
            chat: Chat::default(),
            roster: Arc::default(),
            watched: None,
            probe_until: None,
            dirty: true,
        }
    }

    /// Whether it is a network check, not a meeting.
    pub fn is_probe(&self) -> bool {
        self.probe_until.is_some()
    }

    /// Whether somebody's sound comes as it is, so that nothing of it may be taken away.
    fn has_original_sound(&self) -> bool {
        self.present()
            .any(|leg| leg.browser().is_some_and(|page| page.original_sound))
    }

    /// The leg with this id.
    pub fn leg(&self, id: LegId) -> Option<&Leg> {
        self.legs.iter().find(|leg| leg.id == id)
    }

    /// The leg with this id.
    pub fn leg_mut(&mut self, id: LegId) -> Option<&mut Leg> {
        self.legs.iter_mut().find(|leg| leg.id == id)
    }

    /// What was just said about a leg's transport.
    pub fn note_state(&mut self, leg: LegId, state: LegState) {
        if let Some(stats) = self.leg_mut(leg).and_then(|leg| leg.stats.as_mut()) {
            stats.state = state;
        }
    }

    /// Has a leg be as an operator wants it.
    pub fn set_leg(&mut self, id: LegId, wish: LegWish) {
        match wish.cell {
            Some(CellWish::Any) => self.pins.retain(|_, leg| *leg != id),
            Some(CellWish::Number(cell)) => {
                self.pins.retain(|_, leg| *leg != id);
                self.pins.insert(cell, id);
            }
            None => {}
        }
        let Some(leg) = self.leg_mut(id) else {
            return;
        };
        let (silenced, view) = (&mut leg.silenced, &mut leg.own_view);
        silenced.audio = wish.audio.unwrap_or(silenced.audio);
        silenced.video = wish.video.unwrap_or(silenced.video);
        view.without_self = wish.without_self.unwrap_or(view.without_self);
        view.layout = match wish.layout {
            Some(LayoutWish::Room) => None,
            Some(LayoutWish::Own(layout)) => Some(layout),
            None => view.layout,
        };
    }

    /// Has a terminal see another picture by a telephone key (MCU-13): 4 and 6 for the layout before and
    /// after its own, 5 for itself or not, 0 for what the room says. Whether that changes anything.
    pub fn choose_view(&mut self, id: LegId, key: char) -> bool {
        let of_room = self.shape.layout;
        let Some(leg) = self.leg_mut(id) else {
            return false;
        };
        let before = leg.own_view;
        let view = &mut leg.own_view;
        let now = view.layout.unwrap_or(of_room);
        match key {
            '4' => view.layout = Some(now.before()).filter(|layout| *layout != of_room),
            '6' => view.layout = Some(now.after()).filter(|layout| *layout != of_room),
            '5' => view.without_self = !view.without_self,
            '0' => *view = OwnView::default(),
            _ => {}
        }
        leg.own_view != before
    }

    /// What a leg sees, and where it is seen, by an operator's or its own wish.
    pub fn showing(&self, leg: &Leg) -> Showing {
        let mut pins = self.pins.iter();
        let view = self.view_of(leg);
        Showing {
            layout: view.layout.map(|layout| layout.name().to_owned()),
            without_self: view.without.is_some(),
            cell: pins
                .find(|(_, pinned)| **pinned == leg.id)
                .map(|(cell, _)| *cell),
        }
    }

    /// Brings tiles and slots in line with the legs.
    pub fn arrange(&mut self) {
        self.arrange_tiles();
        let with_video: Vec<LegId> = self
            .legs
            .iter()
            .filter(|leg| leg.is_in() && leg.has_video())
            .map(|leg| leg.id)
            .collect();
        let present: Vec<LegId> = self.present().map(|leg| leg.id).collect();
        let is_probe = self.is_probe();
        for leg in &mut self.legs {
            let own = leg.id;
            if let LegKind::Browser(browser) = &mut leg.kind {
                match browser.slots.first_mut().filter(|_| is_probe) {
                    Some(slot) => *slot = Some(own),
                    None => browser.assign_slots(own, &present, &with_video),
                }
            }
        }
    }

    /// Who is shown where, in each of the pictures that somebody sees.
    fn arrange_tiles(&mut self) {
        let present: Vec<LegId> = self.present().map(|leg| leg.id).collect();
        self.pins.retain(|_, leg| present.contains(leg));
        let mut views = BTreeSet::from([View::default()]);
        for wished in self.present().map(|leg| self.wished_view(leg)) {
            if views.len() <= MAX_VIEWS {
                views.insert(wished);
            }
        }
        let cells = views.into_iter().map(|view| {
            let before = self.cells.get(&view).map_or(&[][..], Vec::as_slice);
            let sites: Vec<Candidate> = self.candidates(view).collect();
            // A cell of another layout is not the one that an operator meant.
            let pins = match view.layout {
                None => &self.pins,
                Some(_) => &Pins::new(),
            };
            let layout = view.layout.unwrap_or(self.shape.layout);
            let cells = arrangement::arrange(layout, &sites, pins, before);
            (view, cells)
        });
        self.cells = cells.collect();
    }

    /// Sites that a picture may show, oldest first.
    fn candidates(&self, view: View) -> impl Iterator<Item = Candidate> {
        let shown = self
            .present()
            .filter(move |leg| view.without != Some(leg.id));
        shown.map(|leg| Candidate {
            leg: leg.id,
            spoke_at: leg.spoke_at,
            has_picture: leg.has_video() && !leg.is_unseen(),
        })
    }

    /// The picture that a terminal sees.
    fn view_of(&self, leg: &Leg) -> View {
        let wished = self.wished_view(leg);
        match self.cells.contains_key(&wished) {
            true => wished,
            false => View::default(),
        }
    }

    /// The picture that a terminal would see, were there no bound.
    fn wished_view(&self, leg: &Leg) -> View {
        let wish = match &leg.kind {
            LegKind::Sip(_) => leg.own_view,
            LegKind::Browser(_) => OwnView::default(),
        };
        View {
            layout: wish.layout.filter(|layout| *layout != self.shape.layout),
            without: wish.without_self.then_some(leg.id),
        }
    }

    fn composition(&self, view: View) -> Composition {
        let layout = view.layout.unwrap_or(self.shape.layout);
        let cells = self.cells.get(&view).map_or(&[][..], Vec::as_slice);
        let rects = layout.cells(cells.len());
        let places = cells.iter().zip(rects).filter_map(|(leg, cell)| {
            let leg = self.leg((*leg)?)?;
            let name = self.shape.captions.then(|| leg.name.clone());
            Some(Place {
                leg: leg.id,
                cell: *cell,
                name: name.unwrap_or_default(),
            })
        });
        let has_picture = |leg: &LegId| {
            let leg = self.leg(*leg);
            leg.is_some_and(|leg| leg.has_video() && !leg.is_unseen())
        };
        Composition {
            tiles: cells
                .iter()
                .flatten()
                .copied()
                .filter(has_picture)
                .collect(),
            layout,
            canvas: layout.canvas(),
            places: places.collect(),
        }
    }

    /// Who is in the meeting, oldest first.
    pub fn present(&self) -> impl Iterator<Item = &Leg> {
        self.legs.iter().filter(|leg| leg.is_in())
    }

    /// The whole desired state, with the generation that is in force.
    pub fn plan(&self) -> RoomPlan {
        RoomPlan {
            room: self.id,
            generation: self.generation,
            cname: self.cname.clone(),
            composition: self.composition(View::default()),
            views: self
                .cells
                .keys()
                .filter_map(|view| Some((view.name()?, self.composition(*view))))
                .collect(),
            legs: self
                .legs
                .iter()
                .filter_map(|leg| self.leg_plan(leg))
                .collect(),
            still: self.watched.is_some(),
        }
    }

    fn leg_plan(&self, leg: &Leg) -> Option<LegPlan> {
        let media = leg.media.as_ref()?;
        let mut plan = media.plan.clone();
        plan.waiting = leg.waiting.as_ref().map(Waiting::notice);
        if let Some(audio) = &mut plan.audio {
            audio.muted = leg.is_unheard();
            audio.faithful = self.has_original_sound();
            audio.care = leg.care();
        }
        if let Some(video) = &mut plan.video_receive {
            video.muted = leg.is_unseen();
        }
        if let LegKind::Sip(sip) = &leg.kind {
            plan.confirmed = sip.confirmed;
            sip.rollovers.fill(&mut plan);
        }
        for (index, send) in plan.video_send.iter_mut().enumerate() {
            send.source = match &leg.kind {
                LegKind::Sip(_) => media.class.as_ref().map(|class| VideoSource::Composition {
                    class: video::at_most(class, &media.smaller, self.most_height()),
                    view: self.view_of(leg).name(),
                }),
                LegKind::Browser(browser) => self.slot_source(browser, index),
            };
        }
        Some(plan)
    }

    /// Lines of the tallest pictures of terminals.
    pub fn most_height(&self) -> Option<u16> {
        self.shape.max_height.into_iter().chain(self.lowered).min()
    }

    fn slot_source(&self, browser: &BrowserLeg, index: usize) -> Option<VideoSource> {
        let leg = self.leg(browser.shown_in(index)?)?;
        let height = browser.heights.get(index).copied().flatten();
        let max_height = height.unwrap_or(DEFAULT_SLOT_HEIGHT);
        let forwarded = leg.is_in() && leg.has_video() && !leg.is_unseen() && max_height > 0;
        forwarded.then_some(VideoSource::Forward {
            leg: leg.id,
            max_height,
            ceiling: self.shape.max_height,
        })
    }
}

impl Leg {
    /// Whether it cannot be heard, by its own wish or an operator's.
    pub fn is_unheard(&self) -> bool {
        self.audio_muted || self.silenced.audio
    }

    /// Whether it cannot be seen, by its own wish or an operator's.
    pub fn is_unseen(&self) -> bool {
        self.video_muted || self.silenced.video
    }

    /// Whether we receive a picture from it, muted or not.
    pub fn has_video(&self) -> bool {
        self.media
            .as_ref()
            .is_some_and(|media| media.plan.video_receive.is_some())
    }

    /// Takes note of the sound's lag; `true` when browsers should know.
    pub fn note_sound_lag(&mut self, lag_ms: Option<u16>) -> bool {
        let differs = match (self.sound_lag_ms, lag_ms) {
            (Some(told), Some(now)) => told.abs_diff(now) >= UNSEEN_LAG_MS,
            (None, Some(_)) => true,
            // Unknown for a moment: what was known last serves better than nothing.
            (_, None) => false,
        };
        if differs {
            self.sound_lag_ms = lag_ms;
        }
        differs
    }

    /// Puts other transports in place of the leg's. What was known about the old ones is void.
    pub fn replace_media(&mut self, media: Media) {
        if let LegKind::Browser(browser) = &mut self.kind {
            browser.set_slot_count(media.plan.video_send.len());
        }
        self.media = Some(media);
        self.stats = None;
    }

    /// `mid` of each line by which we send it video.
    pub fn slot_mids(&self) -> impl Iterator<Item = Option<&str>> {
        let sends = self
            .media
            .as_ref()
            .map(|media| media.plan.video_send.as_slice());
        sends
            .unwrap_or_default()
            .iter()
            .map(|send| send.mid.as_deref())
    }

    /// Kind as others see it.
    pub fn site_kind(&self) -> SiteKind {
        match &self.kind {
            LegKind::Sip(_) => SiteKind::Sip,
            LegKind::Browser(_) => SiteKind::Browser,
        }
    }

    /// Whether something authentic came from it in the last `within_s` seconds.
    pub fn is_heard(&self, within_s: u32) -> bool {
        self.media.is_some()
            && self
                .stats
                .as_ref()
                .is_some_and(|stats| stats.state != LegState::Failed && stats.silent_s <= within_s)
    }

    /// Whether its media is that of a peer connection which has this ICE user fragment of ours, and
    /// has not failed as far as we know.
    pub fn is_connected_by(&self, ufrag: &str) -> bool {
        let transports = self.media.iter().flat_map(|media| &media.plan.transports);
        let mut bundles = transports.filter_map(|transport| match transport {
            Transport::Webrtc(bundle) => Some(bundle),
            Transport::Udp(_) => None,
        });
        let failed = self
            .stats
            .as_ref()
            .is_some_and(|stats| stats.state == LegState::Failed);
        bundles.any(|bundle| bundle.local_ufrag == ufrag) && !failed
    }

    /// What is done to its sound: nothing to original sound.
    fn care(&self) -> Care {
        let is_original = self.browser().is_some_and(|page| page.original_sound);
        Care {
            level: !is_original,
            // Browsers suppress noise and echo themselves.
            noise: self.sip().is_some(),
            echo: self.sip().is_some(),
        }
    }

    /// The browser's part.
    pub fn browser(&self) -> Option<&BrowserLeg> {
        match &self.kind {
            LegKind::Browser(browser) => Some(browser),
            LegKind::Sip(_) => None,
        }
    }

    /// The browser's part.
    pub fn browser_mut(&mut self) -> Option<&mut BrowserLeg> {
        match &mut self.kind {
            LegKind::Browser(browser) => Some(browser),
            LegKind::Sip(_) => None,
        }
    }

    /// The terminal's part.
    pub fn sip(&self) -> Option<&SipLeg> {
        match &self.kind {
            LegKind::Sip(sip) => Some(sip),
            LegKind::Browser(_) => None,
        }
    }

    /// The terminal's call, while its dialog is known.
    pub fn dialog_mut(&mut self) -> Option<&mut Dialog> {
        match &mut self.kind {
            LegKind::Sip(sip) => sip.dialog.as_mut(),
            LegKind::Browser(_) => None,
        }
    }

    /// What was described in the terminal's call, and the media that follows from it.
    pub fn exchange(&mut self) -> Option<(&mut Exchange, &mut Option<Media>)> {
        match &mut self.kind {
            LegKind::Sip(sip) => Some((&mut sip.dialog.as_mut()?.exchange, &mut self.media)),
            LegKind::Browser(_) => None,
        }
    }
}

impl Dialog {
    /// A call of an earlier life of the controller.
    pub fn restore(saved: SavedSipCall) -> Self {
        Self {
            call: saved.call,
            exchange: saved.exchange.0,
            probed_at: None,
        }
    }

    /// What the next life of the controller needs.
    pub fn save(&self) -> SavedSipCall {
        SavedSipCall {
            call: self.call,
            exchange: Redacted(self.exchange.clone()),
        }
    }

    /// Our offer of what is agreed on.
    pub fn offer(&mut self, rng: &mut impl CryptoRng) -> CallCommand {
        CallCommand::Offer {
            call: self.call,
            sdp: Redacted(self.exchange.offer(rng)),
        }
    }
}

impl SipLeg {
    /// Draws new SSRCs for all that we send: a media processor that replaces another starts its
    /// sequence numbers anew, and under the old SSRC an SRTP key stream would be used twice
    /// (RFC 3711 §9.1).
    pub fn renew_ssrcs(&mut self, leg: LegId, media: &mut Option<Media>, rng: &mut impl RngCore) {
        if let Some(dialog) = &mut self.dialog {
            dialog.exchange.renew_ssrcs(rng);
            *media = dialog.exchange.media(leg);
            return;
        }
        let Some(plan) = media.as_mut().map(|media| &mut media.plan) else {
            return;
        };
        if let Some(send) = plan.audio.as_mut().and_then(|audio| audio.send.as_mut()) {
            send.ssrc = rng.next_u32();
        }
        if let Some(receive) = &mut plan.video_receive {
            receive.feedback_ssrc = rng.next_u32();
        }
        for send in &mut plan.video_send {
            send.ssrc = rng.next_u32();
            send.rtx_ssrc = send.rtx_ssrc.map(|_| rng.next_u32());
        }
    }
}

impl BrowserLeg {
    /// A leg that just came by `conn`.
    pub fn new(conn: Conn, token: Redacted<String>) -> Self {
        Self {
            conn: Some(conn),
            gone_at: None,
            token,
            slots: Vec::new(),
            heights: Vec::new(),
            told: None,
            takes_changes: false,
            pass: None,
            original_sound: false,
            writer: Writer::default(),
        }
    }

    /// Takes note of how many slots the page offers. Those that stay show what they showed.
    pub fn set_slot_count(&mut self, count: usize) {
        self.slots.resize(count, None);
        self.heights.resize(count, None);
    }

    /// The leg that a slot shows.
    pub fn shown_in(&self, index: usize) -> Option<LegId> {
        self.slots.get(index).copied().flatten()
    }

    /// A leg keeps its slot while it lives. One without picture gives way when slots are short.
    fn assign_slots(&mut self, own: LegId, present: &[LegId], with_video: &[LegId]) {
        for slot in &mut self.slots {
            slot.take_if(|leg| !present.contains(leg) || *leg == own);
        }
        for leg in with_video {
            if *leg == own || self.slots.contains(&Some(*leg)) {
                continue;
            }
            let idle = |slot: &Option<LegId>| slot.is_none_or(|leg| !with_video.contains(&leg));
            let free = self.slots.iter().position(Option::is_none);
            let Some(index) = free.or_else(|| self.slots.iter().position(idle)) else {
                break;
            };
            if let Some(slot) = self.slots.get_mut(index) {
                *slot = Some(*leg);
            }
        }
    }
}
