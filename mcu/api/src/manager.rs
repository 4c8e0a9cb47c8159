//! Messages between the manager and the controller, and what a browser and the controller say to
//! each other through the manager. The controller listens on a unix socket; the manager connects.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::directory::{Directory, Held, TrunkState};
use crate::figures;
use crate::ids::{ConnId, LegId, RoomId};
use crate::inventory::{FlowStats, LegState, VideoStats};
use crate::layout::Layout;
pub use crate::quality::{Quality, Warning};
use crate::secret::Redacted;
use crate::still::Still;

/// Manager to controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToControl {
    /// Ask for one room; answered by [`FromControl::Room`] with the same `request`.
    GetRoom {
        /// Echoed in the answer.
        request: u64,
        /// Number of the room, as dialled.
        number: String,
    },
    /// Ask what the controller does; answered by [`FromControl::Figures`]. Only of one that has said that
    /// it answers: see [`FromControl::Media`].
    GetFigures {
        /// Echoed in the answer.
        request: u64,
    },
    /// Ask for the small picture of a meeting, and have one be made every few seconds for a while from
    /// now; answered by [`FromControl::Still`]. Only of a controller that has said that it answers.
    GetStill {
        /// Echoed in the answer.
        request: u64,
        /// Number of the room, as dialled.
        number: String,
    },
    /// Ask how the trunks do; answered by [`FromControl::Trunks`]. Only of a controller that has said that
    /// it answers.
    GetTrunks {
        /// Echoed in the answer.
        request: u64,
    },
    /// Have a room call somebody; answered by [`FromControl::Dialled`] with the same `request` once
    /// the callee has answered or will not.
    Dial {
        /// Echoed in the answer.
        request: u64,
        /// Number of the room.
        room: String,
        /// An account, `sip:USER@ADDRESS`, or a number that the dial plan leads to a trunk.
        target: String,
        /// Whom who asks may have called beside those who may enter the room.
        #[serde(default)]
        beyond: Beyond,
    },
    /// Have a terminal that is in a room go on elsewhere, by a call of its own; answered by
    /// [`FromControl::Transferred`] with the same `request` once it is known what came of it.
    Transfer {
        /// Echoed in the answer.
        request: u64,
        /// Number of the room.
        room: String,
        /// The terminal: its name as others see it, or the number of its leg.
        site: Redacted<String>,
        /// Its leg, where that is known; then its name does not count.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        leg: Option<LegId>,
        /// What it dials here (a room's number, with a PIN if need be), or a `sip:` URI elsewhere.
        target: Redacted<String>,
    },
    /// Change what a leg of a room may do; answered by [`FromControl::Controlled`].
    Control {
        /// Echoed in the answer.
        request: u64,
        /// Number of the room.
        room: String,
        /// The leg.
        leg: LegId,
        /// What is to become of it.
        action: LegAction,
    },
    /// All rooms and accounts that people made; answered by [`FromControl::Directory`].
    Directory(Directory),
    /// Ask by what each browser that proved something is in; answered by [`FromControl::Visits`].
    GetVisits {
        /// Echoed in the answer.
        request: u64,
    },
    /// Tell of all meetings, now and whenever one changes: [`FromControl::Meetings`]. Said to a
    /// controller that offers it ([`FromControl::Media`]).
    WatchMeetings,
    /// A message of a browser.
    Browser {
        /// The browser's connection.
        conn: ConnId,
        /// Where it comes from, as far as the manager knows.
        #[serde(default)]
        source: Option<IpAddr>,
        /// Who has logged in there and may enter the room that the message asks for; `None`: a guest.
        #[serde(default)]
        person: Option<Box<Person>>,
        /// By which link a guest comes who may enter the room that the message asks for.
        #[serde(default)]
        invited: Option<Box<Invited>>,
        /// What it said.
        message: BrowserMessage,
    },
    /// The browser's connection is gone. The leg stays while its media does, and can be resumed.
    BrowserGone {
        /// The browser's connection.
        conn: ConnId,
    },
}

/// Controller to manager.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromControl {
    /// Answer to [`ToControl::GetRoom`]; `None` when there is no such room.
    Room {
        /// Of the request.
        request: u64,
        /// The room.
        room: Option<RoomView>,
    },
    /// Answer to [`ToControl::GetFigures`].
    Figures {
        /// Of the request.
        request: u64,
        /// The figures.
        figures: Box<figures::Control>,
    },
    /// Answer to [`ToControl::GetTrunks`].
    Trunks {
        /// Of the request.
        request: u64,
        /// Each trunk.
        trunks: Vec<TrunkState>,
    },
    /// Answer to [`ToControl::GetStill`].
    Still {
        /// Of the request.
        request: u64,
        /// The meeting, which the next in the same room is not.
        #[serde(default)]
        meeting: Option<RoomId>,
        /// The newest one; none where there is no meeting, or no picture of it that is of now.
        still: Option<Still>,
    },
    /// Answer to [`ToControl::Dial`].
    Dialled {
        /// Of the request.
        request: u64,
        /// What came of it.
        outcome: DialOutcome,
    },
    /// Answer to [`ToControl::Transfer`].
    Transferred {
        /// Of the request.
        request: u64,
        /// What came of it.
        outcome: TransferOutcome,
    },
    /// Answer to [`ToControl::Control`].
    Controlled {
        /// Of the request.
        request: u64,
        /// What came of it.
        outcome: ControlOutcome,
    },
    /// Answer to [`ToControl::Directory`].
    Directory(Held),
    /// Answer to [`ToControl::GetVisits`].
    Visits {
        /// Of the request.
        request: u64,
        /// Who is in by a login or by a link.
        visits: Vec<Visit>,
    },
    /// Say this to a browser.
    Server {
        /// The browser's connection.
        conn: ConnId,
        /// What to say.
        message: ServerMessage,
    },
    /// Close the browser's connection after what was said before.
    Close {
        /// The browser's connection.
        conn: ConnId,
    },
    /// Whether a media processor is there that takes plans. Said when a manager connects and after
    /// every change.
    Media {
        /// It is there.
        ready: bool,
        /// The controller answers [`ToControl::GetFigures`]; an older one does not.
        #[serde(default)]
        tells_figures: bool,
        /// This controller takes [`ToControl::WatchMeetings`], which an older one does not know.
        #[serde(default)]
        tells_meetings: bool,
        /// It answers [`ToControl::GetTrunks`].
        #[serde(default)]
        tells_trunks: bool,
        /// It answers [`ToControl::GetStill`].
        #[serde(default)]
        tells_stills: bool,
    },
    /// Meetings as they are now.
    Meetings {
        /// These are all that there are; otherwise each replaces the one of its number.
        whole: bool,
        /// One a room; without legs it is over.
        meetings: Vec<Meeting>,
    },
}

/// Terminals that somebody may have a room call although they are strangers to it.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Beyond {
    /// None.
    #[default]
    Nobody,
    /// Those of this account.
    Account(String),
    /// All.
    Anybody,
}

/// Who is in a room, without names: what others are told of as events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meeting {
    /// Number of the room.
    pub number: String,
    /// Everybody who is in, oldest first.
    pub legs: Vec<MeetingLeg>,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeetingLeg {
    /// Its leg.
    pub leg: LegId,
    /// What kind of endpoint.
    pub kind: SiteKind,
    /// It cannot be heard, whoever wants so.
    pub audio_muted: bool,
    /// It cannot be seen, whoever wants so.
    pub video_muted: bool,
    /// How its sound and pictures fare.
    pub quality: Quality,
}

/// Somebody whom a session of the manager stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Its id.
    pub id: String,
    /// Name to show to others.
    pub name: Redacted<String>,
    /// The session, where it is known.
    #[serde(default)]
    pub session: Option<Session>,
}

/// A session of the manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its id, by which nobody logs in.
    pub id: String,
    /// When it runs out by itself, in milliseconds since 1970.
    pub until_ms: i64,
}

/// A guest whom a link lets in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invited {
    /// Id of the link, by which nobody enters.
    pub link: String,
    /// Name to show to others, where the link is for somebody.
    #[serde(default)]
    pub name: Option<Redacted<String>>,
    /// The link lets nobody in any more, for this reason; whoever it let in may come back.
    #[serde(default)]
    pub closed: Option<Refusal>,
    /// It let this guest in before, who has the token that is said, and keeps it.
    #[serde(default)]
    pub returns: bool,
}

/// By what somebody is in a room, beside what the room says of everybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Pass {
    /// A login.
    Login {
        /// Id of the person.
        person: String,
        /// The session.
        session: Option<Session>,
    },
    /// A link for guests.
    Link {
        /// Id of the link.
        link: String,
    },
}

/// Somebody who is in a room by a [`Pass`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// Number of the room.
    pub room: String,
    /// The leg.
    pub leg: LegId,
    /// By what.
    pub pass: Pass,
}

/// What an operator does to a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum LegAction {
    /// Have it be otherwise. An older controller goes by the first two alone.
    #[serde(rename = "mute")]
    Set(LegWish),
    /// Put it out of the room.
    Remove,
    /// Put a browser out of the room, since what it came in by counts no more, and say why.
    Refuse {
        /// Why, for the page.
        code: Refusal,
    },
}

/// How an operator wants a leg to be; `None` leaves a thing as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LegWish {
    /// It is not to be heard, whatever it wants itself.
    pub audio: Option<bool>,
    /// It is not to be seen, whatever it wants itself.
    pub video: Option<bool>,
    /// What it sees; a name that the controller does not know changes nothing.
    #[serde(deserialize_with = "if_known")]
    pub layout: Option<LayoutWish>,
    /// It is not to see itself.
    pub without_self: Option<bool>,
    /// Where it is seen in the room's picture.
    pub cell: Option<CellWish>,
}

/// A newer manager may name a layout that is not known here.
fn if_known<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<LayoutWish>, D::Error> {
    let wish = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(wish).unwrap_or_default())
}

/// By which layout a leg's picture is composed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayoutWish {
    /// That of the room.
    Room,
    /// One of its own.
    Own(Layout),
}

/// Where a leg is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellWish {
    /// Where the layout has it.
    Any,
    /// In this cell, counted from 0. Who was set there before has no cell of its own any more.
    Number(u8),
}

/// What came of an operator's wish about a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlOutcome {
    /// It is so.
    Done,
    /// No room has this number.
    NoSuchRoom,
    /// The room has no such leg.
    NoSuchLeg,
}

/// What came of a call that a room made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum DialOutcome {
    /// The callee is in the room.
    Answered,
    /// No room has this number.
    NoSuchRoom,
    /// The room is full.
    RoomFull,
    /// Nobody by this name, or not registered.
    Unreachable,
    /// No media processor, or no ports.
    NoMedia,
    /// The callee refused, with this SIP status.
    Refused {
        /// 300 to 699.
        status: u16,
    },
    /// It did not answer in time.
    NoAnswer,
}

/// What came of moving a terminal elsewhere. Unless it is [`Self::Moved`] or [`Self::Left`], the terminal
/// is where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum TransferOutcome {
    /// It was answered there, and its call here is over.
    Moved,
    /// Its call here ended before it said how it fares there.
    Left,
    /// No room has this number.
    NoSuchRoom,
    /// Nobody in the room has this name or number.
    NoSuchSite,
    /// Several have this name.
    Ambiguous,
    /// It is a browser: a page is in one room only.
    NotATerminal,
    /// It is not in the meeting: it rings, or waits before the door.
    NotIn,
    /// It is being moved already.
    Busy,
    /// Neither a number that leads to a room nor a `sip:` URI.
    NoSuchTarget,
    /// The terminal does not do so: it answered REFER with this SIP status.
    Refused {
        /// 300 to 699.
        status: u16,
    },
    /// It was refused there, with this SIP status.
    Failed {
        /// 300 to 699.
        status: u16,
    },
    /// It did not say in time what came of it.
    NoAnswer,
}

/// What a browser says, as JSON over its WebSocket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BrowserMessage {
    /// First message: enter the room, or come back to it.
    Join {
        /// Number of the room.
        room: String,
        /// Name to show to others, 1 to 64 characters.
        name: Redacted<String>,
        /// SDP offer: the first audio line and the first video line are the browser's own; every
        /// further video line is `recvonly` and a slot for another site. None from a page that came
        /// back and whose peer connection still stands: `answer_ufrag` then says which it is.
        #[serde(default)]
        sdp: Option<Redacted<String>>,
        /// ICE user fragment of the answer that the page's peer connection goes on with. Where
        /// another one is in force, or none, [`ServerMessage::Renew`] asks for an offer.
        #[serde(default)]
        answer_ufrag: Option<String>,
        /// Token of an earlier [`ServerMessage::Joined`], to take the place of that leg.
        #[serde(default)]
        resume: Option<Redacted<String>>,
        /// The microphone is off from the start.
        #[serde(default)]
        audio_muted: bool,
        /// The camera is off from the start.
        #[serde(default)]
        video_muted: bool,
        /// PIN of the room, where [`Refusal::PinWanted`] asked for it.
        #[serde(default)]
        pin: Option<Redacted<String>>,
        /// Secret of a link for guests. The manager looks at it and does not pass it on.
        #[serde(default)]
        guest: Option<Redacted<String>>,
        /// The page takes [`ServerMessage::RosterChange`]; older ones do not.
        #[serde(default)]
        roster_changes: bool,
    },
    /// A new offer on a new peer connection of a browser that is in: after [`ServerMessage::Renew`],
    /// or when its own connection failed.
    Offer {
        /// SDP offer, as in `join`.
        sdp: Redacted<String>,
    },
    /// Microphone and camera as the user set them.
    Mute {
        /// Microphone off.
        audio: bool,
        /// Camera off.
        video: bool,
    },
    /// Heights in CSS pixels at which the page shows each slot, so that no larger layer is sent.
    Sizes {
        /// One entry a slot that is shown.
        slots: Vec<SlotSize>,
    },
    /// The microphone's sound comes as it is, without suppression of noise or echo and without gain
    /// control, or no more so.
    Sound {
        /// It does.
        original: bool,
    },
    /// Something written for everybody in the room; answered by [`ServerMessage::ChatRefused`] where it
    /// is too long or comes too fast.
    Chat {
        /// 1 to 2,000 characters.
        text: Redacted<String>,
    },
    /// First message: see whether media gets through, before a room is entered. Answered by
    /// [`ServerMessage::Answer`]; what the page sends by its first line of video comes back by its
    /// first slot. It ends with the connection, and after some seconds in any case.
    Probe {
        /// SDP offer, as in `join`.
        sdp: Redacted<String>,
    },
    /// Leave the room for good.
    Leave,
}

/// One thing that was written in a room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatLine {
    /// When it came, in milliseconds since 1970; raised so that each of a room has its own.
    pub id: u64,
    /// Who wrote it.
    pub leg: LegId,
    /// Name of who wrote it, as others saw it then.
    pub name: Redacted<String>,
    /// What was written, without control characters other than line feeds.
    pub text: Redacted<String>,
}

/// How large a slot is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotSize {
    /// `mid` of the slot's line.
    pub mid: String,
    /// Height in device pixels; 0 when it is not visible.
    pub height: u16,
}

/// What the controller says to a browser, as JSON over its WebSocket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// The browser is in.
    Joined {
        /// Its leg.
        leg: LegId,
        /// SDP answer; none to a join without offer, whose peer connection goes on.
        sdp: Option<Redacted<String>>,
        /// Token to come back with after a reload or a lost connection.
        resume: Redacted<String>,
    },
    /// Relays (TURN) that the peer connection of the next answer may go by. Said before that answer,
    /// where there are any.
    Relays {
        /// `turn:` and `turns:` URLs (RFC 7065).
        urls: Vec<String>,
        /// Name to give there: until when it is valid, and nothing about the person.
        username: String,
        /// Password to give there.
        credential: Redacted<String>,
    },
    /// Answer to [`BrowserMessage::Offer`].
    Answer {
        /// SDP answer.
        sdp: Redacted<String>,
    },
    /// The browser may not enter, or must leave.
    Refused {
        /// Why, for the page to translate.
        code: Refusal,
    },
    /// Who is in the room: first, and after every change to pages that take no [`Self::RosterChange`].
    Roster {
        /// Everybody, oldest first.
        sites: Vec<Site>,
        /// Which site each slot of this browser shows.
        slots: Vec<Slot>,
        /// Leg heard loudest.
        speaker: Option<LegId>,
        /// Tallest picture that the page is to send, in lines; none for as tall as it likes.
        #[serde(default)]
        max_height: Option<u16>,
    },
    /// What has changed since the roster that was told before.
    RosterChange {
        /// Those that are other than they were, and behind all others those that are new, oldest first.
        sites: Vec<Site>,
        /// Who is no more in the room.
        gone: Vec<LegId>,
        /// As in [`Self::Roster`].
        slots: Vec<Slot>,
        /// As in [`Self::Roster`].
        speaker: Option<LegId>,
        /// As in [`Self::Roster`].
        max_height: Option<u16>,
    },
    /// What was written, oldest first: a new line, or those since the page first came.
    Chat {
        /// Those that the page may not have.
        lines: Vec<ChatLine>,
    },
    /// What was written last was told to nobody: it is too long, or came too fast.
    ChatRefused,
    /// The peer connection cannot go on, since the media process was replaced or the leg is gone:
    /// make a new one and send its offer, by [`BrowserMessage::Join`] when this answers one and by
    /// [`BrowserMessage::Offer`] otherwise.
    Renew,
}

/// Why a browser was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// No room has this number.
    NoSuchRoom,
    /// The room admits nobody who is not known.
    NotAllowed,
    /// The room is full.
    RoomFull,
    /// The offer cannot be answered.
    BadOffer,
    /// The message is malformed or came out of order.
    BadRequest,
    /// No media process is there at the moment.
    NoMedia,
    /// The meeting was ended, or the site removed from it.
    Removed,
    /// The room asks for a PIN.
    PinWanted,
    /// The PIN is wrong.
    PinWrong,
    /// Too many wrong PINs came from there: not for some minutes.
    PinRefused,
    /// The media process died of what came from there: not for some minutes.
    Quarantined,
    /// No link for guests of this room is like this.
    LinkWrong,
    /// The link for guests has run out.
    LinkExpired,
    /// The link for guests was taken back.
    LinkRevoked,
    /// The link for guests let in as many as it may.
    LinkUsedUp,
    /// Too many wrong links came from there: not for a while.
    LinkRefused,
    /// The session by which somebody was in was ended.
    SessionEnded,
    /// The right by which somebody was in was taken.
    RightTaken,
}

/// One participant, as shown to others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Site {
    /// Its leg.
    pub leg: LegId,
    /// Name to show.
    pub name: Redacted<String>,
    /// What kind of endpoint.
    pub kind: SiteKind,
    /// It cannot be heard.
    pub audio_muted: bool,
    /// It cannot be seen.
    pub video_muted: bool,
    /// An operator has it not be heard.
    #[serde(default)]
    pub audio_silenced: bool,
    /// An operator has it not be seen.
    #[serde(default)]
    pub video_silenced: bool,
    /// Its sound comes as it is, without suppression of noise or gain control.
    #[serde(default)]
    pub original_sound: bool,
    /// How much later its sound leaves in the mix than its forwarded picture, in ms, when known.
    pub sound_lag_ms: Option<u16>,
}

/// Kinds of endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SiteKind {
    /// A SIP terminal or phone.
    Sip,
    /// A browser.
    Browser,
}

/// What a slot of a browser shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// `mid` of the slot's line.
    pub mid: String,
    /// The site it shows.
    pub leg: LegId,
}

/// A room as an administrator sees it: `GET /api/v1/rooms/{number}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoomView {
    /// Number that is dialled.
    pub number: String,
    /// Encoders that run for it now.
    pub encoders: u32,
    /// Decoders that run for it now.
    pub decoders: u32,
    /// Leg heard loudest.
    pub speaker: Option<LegId>,
    /// Sources that are refused for some minutes, since the media process died of what they sent to
    /// this room.
    #[serde(default)]
    pub quarantined: usize,
    /// Every leg.
    pub legs: Vec<LegView>,
}

/// What a terminal sees of composed pictures, and where it is seen in the room's.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Showing {
    /// Name of its own layout; none where it sees that of the room.
    pub layout: Option<String>,
    /// It does not see itself.
    pub without_self: bool,
    /// Cell in which an operator has it shown.
    pub cell: Option<u8>,
}

/// A leg as an administrator sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LegView {
    /// The participant.
    #[serde(flatten)]
    pub site: Site,
    /// It has not entered the room's PIN yet.
    #[serde(default)]
    pub waiting: bool,
    /// What it sees, and where it is seen.
    #[serde(flatten)]
    pub showing: Showing,
    /// State of its transport.
    pub state: LegState,
    /// Seconds in the room.
    pub joined_s: u64,
    /// Audio codec that we receive and send, in words.
    pub audio_codec: String,
    /// Level of its sound in dBov.
    pub audio_level_dbov: i8,
    /// From the leg.
    pub received: FlowStats,
    /// To the leg.
    pub sent: FlowStats,
    /// Main video from the leg.
    pub video_received: VideoStats,
    /// Video to the leg.
    pub video_sent: VideoStats,
    /// Round trip in ms.
    pub round_trip_ms: Option<u32>,
}
