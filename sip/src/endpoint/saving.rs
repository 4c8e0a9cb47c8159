//! Calls and registrations over the death of the process.

use std::time::{Duration, Instant};

use mcu_api::ids::CallId;
use mcu_api::secret::Redacted;

use super::Endpoint;
use crate::call::{Call, GIVE_UP, KeyFrame, Stage, T1, Transferring, Unacknowledged};
use crate::dialog::Dialog;
use crate::flow::{Flow, FlowId};
use crate::saved::{SavedAnswer, SavedCall, SavedCalls, SavedRegistration};
use crate::session_timer::Session;

/// How often what is to be kept has changed. It may grow without a change, never the reverse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Of [`Endpoint::save_calls`].
    pub calls: u64,
    /// Of [`Endpoint::save_registrations`].
    pub registrations: u64,
}

impl Endpoint {
    /// Whether it is time to keep anew what outlives this endpoint: when a number differs.
    pub fn changes(&self) -> Changes {
        self.changes
    }

    /// All answered calls, as another endpoint needs them.
    pub fn save_calls(&self, now: Instant) -> SavedCalls {
        SavedCalls {
            subscriptions: self.watchers.save(),
            next_call: self.next_call,
            calls: self
                .calls
                .values()
                .filter(|call| !matches!(call.stage, Stage::Asked(_) | Stage::Dialling(_)))
                .map(|call| call.save(now))
                .collect(),
        }
    }

    /// All registered contacts, as another endpoint needs them.
    pub fn save_registrations(&self, now: Instant) -> Vec<SavedRegistration> {
        self.registrar.save(now)
    }

    /// Takes up the calls of an earlier life, kept `ago`; for a new endpoint. Those that were up go
    /// on, and so do those over UDP whose answer is sent again until it is acknowledged. Others get a
    /// BYE, since what would establish them died with that life, and are gone without an event, as are
    /// those that cannot be read: [`Self::has_call`] says which are there.
    pub fn restore_calls(&mut self, now: Instant, saved: SavedCalls, ago: Duration) {
        self.next_call = self.next_call.max(saved.next_call);
        for saved in saved.calls {
            let id = saved.call;
            if id < CallId::FIRST_DIALLED {
                self.next_call = self.next_call.max(id.0.saturating_add(1));
            }
            let goes_on = saved.up || saved.answer.is_some();
            let goes_on = goes_on && self.calls.len() < self.config.max_calls;
            let Some(mut call) = Call::restore(saved, now, ago) else {
                continue;
            };
            call.flow = self.flow_of_this_life(call.flow);
            self.dialogs.insert(call.dialog.local_tag.clone(), id);
            self.calls.insert(id, call);
            if !goes_on {
                self.hang_up(now, id);
                self.forget(now, id);
            }
            self.settle(now, id);
        }
        self.deactivate(now, saved.subscriptions);
        self.pump(now);
    }

    /// Takes up the contacts of an earlier life, kept `ago`, of accounts that may still register.
    pub fn restore_registrations(
        &mut self,
        now: Instant,
        saved: Vec<SavedRegistration>,
        ago: Duration,
    ) {
        for saved in saved {
            let account = self.accounts.get(&saved.account);
            if account.is_some_and(|account| account.may_register) {
                self.registrar.restore(now, saved, ago);
            }
        }
    }

    /// Whether this call is held. One that has ended is not.
    pub fn has_call(&self, call: CallId) -> bool {
        self.calls.contains_key(&call)
    }

    /// Ids of all calls.
    pub fn calls(&self) -> impl Iterator<Item = CallId> + '_ {
        self.calls.keys().copied()
    }

    /// A connection of an earlier life gets a number that no connection has: the next request of ours
    /// opens another.
    fn flow_of_this_life(&mut self, flow: Flow) -> Flow {
        if !flow.transport.is_stream() {
            return flow;
        }
        let id = FlowId(self.next_flow);
        self.next_flow += 1;
        Flow { id, ..flow }
    }
}

impl Call {
    fn save(&self, now: Instant) -> SavedCall {
        SavedCall {
            call: self.id,
            up: matches!(self.stage, Stage::Up),
            answer: self.save_answer(now),
            account: self.account.clone(),
            dialog: self.dialog.save(),
            flow: self.flow,
            party: Some(self.party),
            begun_from: Some(self.begun_from),
            user: self.user.clone(),
            invite_cseq: self.invite_cseq,
            session: self.session.as_ref().map(|session| session.save(now)),
            last_sdp: self.last_sdp.clone().map(Redacted),
            peer_allows_update: self.peer_allows_update,
            transferring: self
                .transferring
                .as_ref()
                .filter(|t| !t.over)
                .map(|t| t.cseq),
        }
    }

    /// An answer over UDP to an offer. The ACK of another one would have to bring the peer's answer, and
    /// of a connection nobody knows whether the ACK has gone by it.
    fn save_answer(&self, now: Instant) -> Option<SavedAnswer> {
        let waiting = self.unacknowledged.as_ref();
        let waiting = waiting.filter(|waiting| {
            matches!(self.stage, Stage::Accepted)
                && !waiting.wants_answer
                && !waiting.reply.transport.is_stream()
        })?;
        Some(SavedAnswer {
            reply: waiting.reply,
            message: Redacted(String::from_utf8(waiting.bytes.to_vec()).ok()?),
            left: waiting.give_up_at.saturating_duration_since(now),
        })
    }

    fn restore(saved: SavedCall, now: Instant, ago: Duration) -> Option<Self> {
        let answer = saved.answer.filter(|_| !saved.up);
        let stage = match answer {
            Some(_) => Stage::Accepted,
            None => Stage::Up,
        };
        // The peer may have died, too, and not be there for as long as this process was not.
        let unacknowledged = answer.map(|answer| Unacknowledged {
            cseq: saved.invite_cseq,
            reply: answer.reply,
            bytes: answer.message.0.into(),
            interval: T1 / 2,
            next_at: now,
            give_up_at: now + answer.left.min(GIVE_UP).saturating_sub(ago),
            wants_answer: false,
        });
        Some(Self {
            id: saved.call,
            account: saved.account,
            restored: true,
            dialog: Dialog::restore(saved.dialog)?,
            flow: saved.flow,
            party: saved.party.unwrap_or(saved.flow.remote),
            begun_from: saved.begun_from.unwrap_or(saved.flow.remote.ip()),
            user: saved.user,
            stage,
            invite_cseq: saved.invite_cseq,
            peer_offer: None,
            unacknowledged,
            referral: None,
            // Who asked for it waits no more; a terminal that has moved is still let go.
            transferring: saved.transferring.map(|cseq| Transferring {
                cseq,
                taken: true,
                over: false,
                give_up_at: None,
                restored: true,
            }),
            our_offer: None,
            queued_offer: None,
            retry_at: None,
            last_ack: None,
            session: saved.session.map(|s| Session::restore(s, now, ago)),
            refresh_wanted: false,
            last_sdp: saved.last_sdp.map(|sdp| sdp.0),
            peer_allows_update: saved.peer_allows_update,
            key_frame: KeyFrame::default(),
        })
    }
}
