//! The state of one call: its dialog and what is under way in it.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mcu_api::call::Credentials;
use mcu_api::ids::CallId;

use crate::client_auth::Proofs;
use crate::dialog::Dialog;
use crate::flow::Flow;
use crate::message::{Envelope, Request, TransactionKey, Uri};
use crate::session_timer::{Session, Terms};

/// T1, RFC 3261 §17.1.1.1.
pub(crate) const T1: Duration = Duration::from_millis(500);
/// T2, RFC 3261 §17.1.2.2.
pub(crate) const T2: Duration = Duration::from_secs(4);
/// 64*T1: after this long without an answer a peer is given up.
pub(crate) const GIVE_UP: Duration = Duration::from_secs(32);
/// Longest time that a call may ring (RFC 3261 §13.3.1.1 has proxies give up after three minutes).
pub(crate) const MAX_RINGING: Duration = Duration::from_secs(180);

/// How far a call is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// The INVITE waits for the rooms' decision.
    Asked(Box<Asked>),
    /// Our INVITEs wait for an answer.
    Dialling(Box<Dialling>),
    /// Our 2xx was sent and is not acknowledged yet.
    Accepted,
    /// Both sides know that the call is up.
    Up,
    /// The rooms hung up, or the peer broke the protocol, before the ACK came. BYE must wait for the
    /// ACK (RFC 3261 §15). For the rooms the call has ended.
    Leaving,
}

/// An INVITE that is not answered.
#[derive(Debug)]
pub(crate) struct Asked {
    pub invite: Request,
    pub key: TransactionKey,
    pub reply: Flow,
    pub offered: bool,
    /// The password was proven with a nonce that is too old: a challenge says so.
    pub stale: bool,
    pub terms: Option<Terms>,
    /// The call that ends when this one is accepted (RFC 3891 §3).
    pub replaces: Option<CallId>,
    pub give_up_at: Instant,
}

/// A call of ours that is not answered.
#[derive(Debug)]
pub(crate) struct Dialling {
    /// Our offer.
    pub sdp: String,
    pub credentials: Option<Credentials>,
    /// Redirections are followed.
    pub may_be_redirected: bool,
    /// The name that led to the servers to which the flows lead, of which any will do (RFC 3263 §4.3);
    /// `None` where they lead to one terminal.
    pub servers: Option<String>,
    /// INVITEs without a final answer: one for each contact that is called, all in one go. At most as
    /// many as an account has contacts.
    pub branches: Vec<Branch>,
    /// Who rings: at most [`MAX_EARLY`].
    pub early: Vec<Early>,
    /// How many targets that others named were called.
    pub redirects: u8,
    /// The refusal to be told when no branch is left.
    pub refused: Option<u16>,
    pub give_up_at: Instant,
}

/// Most early dialogs of one call of ours; further ones are not answered before their 2xx.
pub(crate) const MAX_EARLY: usize = 8;

/// Most reliable responses of one callee, or to one offer of ours, that are acknowledged: each takes a
/// transaction.
pub(crate) const MAX_RELIABLE: u8 = 32;

/// An INVITE of ours.
#[derive(Debug)]
pub(crate) struct Branch {
    /// The dialog as it is before somebody answers.
    pub dialog: Dialog,
    pub flow: Flow,
    pub key: TransactionKey,
    pub cseq: u32,
    /// INVITEs sent to this target.
    pub attempts: u8,
    /// More than 100 came for the last of them: somebody is called there.
    pub progressed: bool,
    /// What we have proven to it.
    pub proofs: Proofs,
    /// Further targets that a redirection named.
    pub alternatives: VecDeque<Uri>,
    /// Further flows of the same terminal (RFC 5626 §7), or to further servers.
    pub flows: VecDeque<(Uri, Flow)>,
}

impl Dialling {
    /// Whether a challenge may be answered; [`Proofs`] says whether it is worth it.
    pub fn may_prove(&self, branch: &Branch) -> bool {
        self.credentials.is_some() && branch.attempts < 4
    }
}

/// A dialog that a provisional response began (RFC 3261 §12.1).
#[derive(Debug)]
pub(crate) struct Early {
    /// Of the INVITE.
    pub key: TransactionKey,
    pub dialog: Dialog,
    /// Which reliable responses came.
    pub sequence: sipx_sip::rel::Sequence,
    /// How many of them were acknowledged.
    pub acknowledged: u8,
    /// The answer in one of them: then it counts, and the 2xx needs none (RFC 3262 §5).
    pub answer: Option<String>,
}

/// An offer of the peer within the call that waits for the rooms' answer.
#[derive(Debug)]
pub(crate) struct PeerOffer {
    /// An offer of ours that waited when this came, and means nothing once this is answered.
    pub voids: Option<String>,
    pub request: Request,
    pub key: TransactionKey,
    pub reply: Flow,
    /// re-INVITE, whose 2xx wants an ACK, and not UPDATE.
    pub is_invite: bool,
    /// The request carried the offer; otherwise our answer is the offer.
    pub offered: bool,
    pub terms: Option<Terms>,
    pub give_up_at: Instant,
}

/// A REFER that waits for the rooms' decision. One at a time.
#[derive(Debug)]
pub(crate) struct Referral {
    pub request: Request,
    pub key: TransactionKey,
    /// The call that ends when it is granted (RFC 3891 §3).
    pub replaces: Option<CallId>,
    pub give_up_at: Instant,
}

/// A REFER of ours.
#[derive(Debug)]
pub(crate) struct Transferring {
    /// Its number, which names the subscription that it makes (RFC 3515 §2.4.6).
    pub cseq: u32,
    /// A NOTIFY has come: it was taken, whatever becomes of its response.
    pub taken: bool,
    /// The outcome is known for good.
    pub over: bool,
    /// Until when the rooms wait for an outcome.
    pub give_up_at: Option<Instant>,
    /// It is of an earlier life, whose later ones may not have been kept.
    pub restored: bool,
}

/// A 2xx to INVITE that is sent again until its ACK comes (RFC 3261 §13.3.1.4).
#[derive(Debug)]
pub(crate) struct Unacknowledged {
    pub cseq: u32,
    pub reply: Flow,
    pub bytes: Bytes,
    pub interval: Duration,
    pub next_at: Instant,
    pub give_up_at: Instant,
    /// The 2xx carried our offer, so the ACK must carry the answer.
    pub wants_answer: bool,
}

/// A re-INVITE of ours that is under way.
#[derive(Debug)]
pub(crate) struct OurOffer {
    pub cseq: u32,
    pub sdp: String,
    /// Which reliable responses came, how many of them were acknowledged, and the answer in one.
    pub sequence: sipx_sip::rel::Sequence,
    pub acknowledged: u8,
    pub answer: Option<String>,
    /// A provisional response ends the transaction's own timer B (RFC 3261 §17.1.1.2).
    pub give_up_at: Instant,
}

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    pub id: CallId,
    /// Whose password the caller proved.
    pub account: Option<String>,
    /// The call began in an earlier life.
    pub restored: bool,
    pub dialog: Dialog,
    /// Where the peer's last request came from: requests of ours go there. It may be forged.
    pub flow: Flow,
    /// Where the peer was when it acknowledged our answer, or when we called it; it stays so. What is
    /// granted by address is granted here.
    pub party: SocketAddr,
    /// Where its INVITE came from, or went at first: by this the calls of a source are counted.
    pub begun_from: IpAddr,
    /// User part of our Contact, escaped.
    pub user: String,
    pub stage: Stage,
    pub invite_cseq: u32,
    pub peer_offer: Option<PeerOffer>,
    pub unacknowledged: Option<Unacknowledged>,
    pub referral: Option<Referral>,
    /// Our last REFER: what comes of it may be told late, and repeatedly.
    pub transferring: Option<Transferring>,
    pub our_offer: Option<OurOffer>,
    /// An offer that must wait its turn. Bound of one: a newer offer of the rooms replaces it, for it
    /// describes the whole session anew.
    pub queued_offer: Option<String>,
    /// After 491: not before this moment (RFC 3261 §14.1).
    pub retry_at: Option<Instant>,
    /// The ACK of our last re-INVITE, for 2xx that come again.
    pub last_ack: Option<(u32, Flow, Bytes)>,
    pub session: Option<Session>,
    pub refresh_wanted: bool,
    /// Our last session description, for refreshes by re-INVITE.
    pub last_sdp: Option<String>,
    pub peer_allows_update: bool,
    pub key_frame: KeyFrame,
}

/// Our key frame requests; one at a time is under way, further ones are one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyFrame {
    pub wanted: bool,
    pub in_flight: bool,
}

impl Call {
    /// A call of ours that is about to be made.
    pub fn dialled(
        id: CallId,
        flow: Flow,
        user: String,
        dialog: Dialog,
        dialling: Dialling,
    ) -> Self {
        Self::new(id, flow, user, dialog, Stage::Dialling(Box::new(dialling)))
    }

    /// A call in which nothing has happened yet.
    pub fn new(id: CallId, flow: Flow, user: String, dialog: Dialog, stage: Stage) -> Self {
        Self {
            id,
            account: None,
            restored: false,
            flow,
            party: flow.remote,
            begun_from: flow.remote.ip(),
            user,
            invite_cseq: dialog.remote_cseq,
            peer_allows_update: false,
            dialog,
            stage,
            peer_offer: None,
            unacknowledged: None,
            referral: None,
            transferring: None,
            our_offer: None,
            queued_offer: None,
            retry_at: None,
            last_ack: None,
            session: None,
            refresh_wanted: false,
            last_sdp: None,
            key_frame: KeyFrame::default(),
        }
    }

    /// The next moment at which something is due.
    pub fn deadline(&self) -> Option<Instant> {
        let asked = match &self.stage {
            Stage::Asked(asked) => Some(asked.give_up_at),
            Stage::Dialling(dialling) => Some(dialling.give_up_at),
            _ => None,
        };
        let resend = self
            .unacknowledged
            .as_ref()
            .map(|u| u.next_at.min(u.give_up_at));
        let referral = self.referral.as_ref().map(|r| r.give_up_at);
        let transfer = self.transferring.as_ref().and_then(|t| t.give_up_at);
        let offer = self.peer_offer.as_ref().map(|o| o.give_up_at);
        let our_offer = self.our_offer.as_ref().map(|o| o.give_up_at);
        let waits = self.queued_offer.is_some() || self.refresh_wanted;
        let retry = self.retry_at.filter(|_| waits);
        let session = self.session.as_ref().map(Session::act_at);
        [
            asked, resend, referral, transfer, offer, our_offer, retry, session,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether this is of the INVITE that began it.
    pub fn is_begun_by(&self, envelope: &Envelope) -> bool {
        self.invite_cseq == envelope.cseq && self.dialog.matches(envelope)
    }

    /// Whether it may go on by this flow: what came inside TLS does not go on in clear, where whoever
    /// knows its dialog could read the keys of its media.
    pub fn may_follow(&self, flow: Flow) -> bool {
        flow.transport.is_secure() || !self.flow.transport.is_secure()
    }

    /// Whether an offer of ours may be sent now (RFC 3261 §14.1).
    pub fn may_offer(&self, now: Instant) -> bool {
        matches!(self.stage, Stage::Up)
            && self.peer_offer.is_none()
            && self.our_offer.is_none()
            && self.unacknowledged.is_none()
            && self.retry_at.is_none_or(|at| at <= now)
    }

    /// Whether the rooms want another offer sent than this one, whose answer then means nothing.
    pub fn is_superseded(&self, offer: Option<&str>) -> bool {
        self.queued_offer.is_some() && self.queued_offer.as_deref() != offer
    }

    /// Whether an offer of ours is out, in a re-INVITE or in a 2xx, and unanswered.
    pub fn our_offer_is_open(&self) -> bool {
        self.our_offer.is_some() || self.unacknowledged.as_ref().is_some_and(|u| u.wants_answer)
    }
}
