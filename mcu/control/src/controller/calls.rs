//! Legs of terminals.

use std::net::IpAddr;
use std::time::Duration;

use mcu_api::call::{CallCommand, CallEvent, IncomingCall, RejectReason, SrtpPolicy};
use mcu_api::capacity::PortClass;
use mcu_api::ids::{CallId, LegId};
use mcu_api::media::ToMedia;
use mcu_api::secret::Redacted;
use sip::sdp;
use tracing::{debug, info, warn};

use super::answers::Peer;
use super::capacity::NoPort;
use super::chat::reorders;
use super::door::Entrance;
use super::exchange::Exchange;
use super::meetings::Graded;
use super::pin::Source;
use super::rollovers::Rollovers;
use super::room::{Dialog, Leg, LegKind, Media, OwnView, Silenced, SipLeg};
use super::{Controller, Output, address, figures, leg_of_call};

/// Seconds of silence, RTCP included, after which a terminal is asked whether it is still there, and
/// then again as often.
const PROBE_AFTER_S: u32 = 60;

/// Lines of the tallest pictures of a room that says nothing of it.
const USUAL_HEIGHT: u16 = 720;

/// Longest name shown, in characters.
const MAX_NAME_CHARS: usize = 64;

impl Controller {
    pub(super) fn handle_call(&mut self, event: CallEvent) {
        match event {
            CallEvent::Incoming(call) => self.incoming(call),
            CallEvent::Answered { call, sdp } => self.answered(call, &sdp.0),
            CallEvent::OfferFailed { call } => self.offer_failed(call),
            CallEvent::Refreshed { call, sdp } => self.refreshed(call, &sdp.0),
            CallEvent::Reoffer { call, sdp } => self.reoffer(call, sdp),
            CallEvent::KeyFrameRequested { call } => self.key_frame_requested(call),
            CallEvent::Ringing { call } => debug!(%call, "rings"),
            CallEvent::Digit { call, digit } => self.digit(call, digit),
            CallEvent::Referred(wanted) => self.referred(&wanted),
            CallEvent::Transferred { call, outcome } => self.transferred(call, outcome),
            CallEvent::Established { call } => self.established(call),
            CallEvent::Ended { call, reason } => {
                if let Some(earlier) = &mut self.earlier {
                    earlier.retain_calls(|known| known != call);
                }
                if let Some((room, leg)) = leg_of_call(&mut self.rooms, call) {
                    let leg = leg.id;
                    info!(%call, ?reason, "call ended");
                    if let Some(leg) = self.remove_leg(room, leg, figures::over(reason)) {
                        self.dial_ended(&leg, reason);
                        self.transfer_ended(&leg);
                    }
                }
            }
        }
    }

    fn incoming(&mut self, call: IncomingCall) {
        let id = call.call;
        let entrance = match call.replaces {
            Some(old) => {
                let source = self.source_of(call.account.as_deref(), call.remote.ip());
                self.place_of(old, &call, source, &shown_name(&call.caller))
            }
            None => self.admit(&call),
        };
        match entrance.and_then(|entrance| self.accept(call, entrance)) {
            Ok(sdp) => {
                let sdp = Redacted(sdp);
                let accept = Output::Call(CallCommand::Accept { call: id, sdp });
                self.answer(Peer::Call(id), [accept]);
            }
            Err(reason) => {
                info!(call = %id, ?reason, "call refused");
                self.counts.refused(reason);
                self.tell_call(CallCommand::Reject { call: id, reason });
            }
        }
    }

    /// Where a call is that another one replaces: in a room that takes this one, too. Its PIN was given
    /// already. Who waits before a door, or was not answered, has no place to hand on.
    pub(super) fn place_of(
        &mut self,
        old: CallId,
        call: &IncomingCall,
        source: Source,
        name: &Redacted<String>,
    ) -> Result<Entrance, RejectReason> {
        let found = leg_of_call(&mut self.rooms, old);
        let (room, _) = found
            .filter(|(_, leg)| leg.is_in())
            .ok_or(RejectReason::Forbidden)?;
        let mut rooms = self.rooms.iter();
        let room = rooms.find(|known| known.id == room);
        let number = room.map(|room| room.number.clone());
        let number = number.ok_or(RejectReason::Forbidden)?;
        let call = IncomingCall {
            dialled: number.clone(),
            ..call.clone()
        };
        let mut entrance = self.admit_from(&call, source, name)?;
        entrance.number = number;
        entrance.waiting = None;
        Ok(entrance)
    }

    /// Gives the caller ports and a place in the room; yields our answer, or our offer.
    fn accept(&mut self, call: IncomingCall, entrance: Entrance) -> Result<String, RejectReason> {
        let wanted_at = call
            .offer
            .as_ref()
            .and_then(|offer| sdp::wanted_at(&offer.0));
        let (mut exchange, ports) =
            self.exchange_for(call.remote.ip(), wanted_at, &entrance.number, call.srtp)?;
        let id = self.new_leg_id();
        let described = self.describe_call(&call, &mut exchange, (&entrance.number, id));
        let (sdp, media) = described.inspect_err(|_| self.release_ports(&ports))?;
        let waits = entrance.waiting.is_some();
        info!(call = %call.call, leg = %id, user_agent = call.user_agent, waits, "call accepted");
        let leg = Leg {
            id,
            name: shown_name(&call.caller),
            joined_unix_s: self.unix_s(),
            audio_muted: false,
            video_muted: false,
            silenced: Silenced::default(),
            waiting: entrance.waiting,
            source: Some(entrance.source),
            media,
            stats: None,
            graded: Graded::default(),
            sound_lag_ms: None,
            spoke_at: None,
            own_view: OwnView::default(),
            kind: LegKind::Sip(SipLeg {
                dialog: Some(Dialog {
                    call: call.call,
                    exchange,
                    probed_at: None,
                }),
                ports,
                confirmed: false,
                rollovers: Rollovers::default(),
                ringing: None,
                dialled: false,
                transferring: None,
            }),
        };
        let cname = self.cname_for(&entrance.number);
        self.enter(&entrance.number, cname, leg);
        Ok(sdp)
    }

    /// Our answer, or our offer, and the media that follows from it: no larger than there is a port for.
    fn describe_call(
        &mut self,
        call: &IncomingCall,
        exchange: &mut Exchange,
        (room, leg): (&str, LegId),
    ) -> Result<(String, Option<Media>), RejectReason> {
        let offer = call.offer.as_ref();
        let with_pictures = offer.is_none_or(|offer| has_pictures(&offer.0));
        let no_port = |NoPort| RejectReason::NoPort;
        let height = self.limit(exchange, room, with_pictures).map_err(no_port)?;
        let Some(offer) = offer else {
            return Ok((exchange.offer(&mut self.rng), exchange.media(leg)));
        };
        let sdp = exchange.answer(&offer.0, &mut self.rng).map_err(|reason| {
            warn!(call = %call.call, %reason, "offer refused");
            RejectReason::NotAcceptable
        })?;
        let media = exchange.media(leg);
        self.check_port(media.as_ref(), height).map_err(no_port)?;
        Ok((sdp, media))
    }

    /// An address and two port pairs for a peer at `remote`, under the policy of the room and that
    /// of the way to the peer. A peer that wants media by the other family (RFC 6157) gets an address
    /// for no particular network: it only says that it is there.
    pub(super) fn exchange_for(
        &mut self,
        remote: IpAddr,
        wanted_at: Option<IpAddr>,
        room: &str,
        way: SrtpPolicy,
    ) -> Result<(Exchange, Vec<u16>), RejectReason> {
        let hello = self.processor.hello().ok_or(RejectReason::Unavailable)?;
        let (fingerprint, codecs) = (hello.fingerprint_sha256, hello.codecs.clone());
        let room = self.config.room(room);
        let shape = room.map(|room| room.shape).unwrap_or_default();
        let srtp = room
            .map_or(SrtpPolicy::default(), |room| room.srtp)
            .and(way);
        let family = |ip: IpAddr| ip.to_canonical().is_ipv4();
        let other = wanted_at.filter(|at| family(*at) != family(remote));
        let chosen = other.and_then(|at| address::choose_open(&hello.addresses, at));
        let Some(local) = chosen.or_else(|| address::choose(&hello.addresses, remote)) else {
            warn!(%remote, "no media address for the peer's network");
            return Err(RejectReason::Unavailable);
        };
        let pairs = (self.ports.allocate(self.now), self.ports.allocate(self.now));
        if let (Some(audio), Some(video)) = pairs {
            let mut exchange = Exchange::new(local, [audio, video], srtp, &mut self.rng);
            exchange.set_fingerprint(fingerprint);
            exchange.set_codecs(&codecs);
            exchange.set_most(shape.max_height, shape.max_frame_rate);
            return Ok((exchange, vec![audio, video]));
        }
        warn!(used = self.ports.used(), "no RTP ports left");
        if let (Some(port), None) = pairs {
            self.ports.unallocate(port);
        }
        Err(RejectReason::Unavailable)
    }

    /// Has no taller picture go either way than there is a port for; answers how tall.
    pub(super) fn limit(
        &self,
        exchange: &mut Exchange,
        room: &str,
        with_pictures: bool,
    ) -> Result<u16, NoPort> {
        if !with_pictures {
            return match self.has_port(PortClass::Sound) {
                true => Ok(0),
                false => Err(NoPort),
            };
        }
        let room = self.config.room(room);
        let shape = room.map(|room| room.shape).unwrap_or_default();
        let lowered = self.load.lowered_to();
        let most = shape.max_height.into_iter().chain(lowered).min();
        let wanted = most.unwrap_or(USUAL_HEIGHT);
        let height = self.height_for(wanted)?;
        if height < wanted {
            info!(height, wanted, "no port for taller pictures is free");
            exchange.set_ceiling(height);
        }
        exchange.set_most(most, shape.max_frame_rate);
        exchange.reserve(height);
        Ok(height)
    }

    pub(super) fn release_ports(&mut self, ports: &[u16]) {
        for port in ports {
            self.ports.unallocate(*port);
        }
    }

    /// Who acknowledges has read the tag in our answer, which a forger of addresses never sees.
    fn established(&mut self, call: CallId) {
        debug!(%call, "established");
        if let Some(earlier) = &mut self.earlier {
            earlier.confirm(call);
        }
        if let Some((_, leg)) = leg_of_call(&mut self.rooms, call)
            && let LegKind::Sip(sip) = &mut leg.kind
        {
            sip.confirmed = true;
            let leg = leg.id;
            self.try_dialled_pin(leg);
            self.dial_established(leg);
        }
    }

    fn answered(&mut self, call: CallId, sdp: &str) {
        let Some((_, leg)) = leg_of_call(&mut self.rooms, call) else {
            return;
        };
        let id = leg.id;
        let Some((exchange, media)) = leg.exchange() else {
            return;
        };
        let taken = exchange.accept_answer(sdp, &mut self.rng);
        let unusable = exchange.is_empty();
        *media = exchange.media(id);
        // The media process died after the offer that this answers.
        let dead = taken.is_ok() && exchange.shows_dead_certificate();
        if let Err(reason) = taken {
            warn!(%call, leg = %id, %reason, "answer refused");
        }
        if let Some(dialog) = leg.dialog_mut().filter(|_| dead) {
            let offer = dialog.offer(&mut self.rng);
            self.outputs.push_back(Output::Call(offer));
        }
        if unusable {
            // The leg is removed when the call has ended.
            self.tell_call(CallCommand::Hangup { call });
        }
    }

    /// What was agreed on before the offer holds, and the next offer is another one.
    fn offer_failed(&mut self, call: CallId) {
        if let Some((_, leg)) = leg_of_call(&mut self.rooms, call)
            && let Some(dialog) = leg.dialog_mut()
            && dialog.exchange.withdraw_offer()
        {
            info!(%call, leg = %leg.id, "our offer came to nothing");
        }
    }

    fn refreshed(&mut self, call: CallId, sdp: &str) {
        let Some((_, leg)) = leg_of_call(&mut self.rooms, call) else {
            return;
        };
        let id = leg.id;
        let Some((exchange, media)) = leg.exchange() else {
            return;
        };
        match exchange.accept_refresh(sdp, &mut self.rng) {
            Ok(()) => *media = exchange.media(id),
            Err(reason) => warn!(%call, leg = %id, %reason, "answer to a refresh not taken up"),
        }
    }

    fn reoffer(&mut self, call: CallId, sdp: Option<Redacted<String>>) {
        self.withdraw_answer(call);
        let Some((_, leg)) = leg_of_call(&mut self.rooms, call) else {
            // A call of an earlier life that waits for the media processor goes on as it was.
            return self.tell_call(CallCommand::RejectOffer { call });
        };
        let id = leg.id;
        let Some((exchange, media)) = leg.exchange() else {
            return;
        };
        let described = match &sdp {
            Some(offer) => exchange.answer(&offer.0, &mut self.rng),
            None => Ok(exchange.offer(&mut self.rng)),
        };
        *media = exchange.media(id);
        match described {
            Ok(sdp) => {
                let sdp = Redacted(sdp);
                let answer = Output::Call(CallCommand::Answer { call, sdp });
                self.answer(Peer::Call(call), [answer]);
            }
            Err(reason) => {
                warn!(%call, leg = %id, %reason, "new offer refused");
                self.tell_call(CallCommand::RejectOffer { call });
            }
        }
    }

    /// Asks terminals that are silent whether they are still there, by an offer of what is agreed on:
    /// silence alone is no death, but a peer that lost its power says no goodbye. Signalling ends the
    /// call when nobody answers (RFC 3261 §14.1).
    pub(super) fn probe_silent_terminals(&mut self) {
        let pause = Duration::from_secs(PROBE_AFTER_S.into());
        for room in &mut self.rooms {
            for leg in &mut room.legs {
                let silent_s = leg.stats.as_ref().map_or(0, |stats| stats.silent_s);
                let dialog = leg.dialog_mut().filter(|_| silent_s >= PROBE_AFTER_S);
                // Whom we still call has agreed on nothing.
                let Some(dialog) = dialog.filter(|dialog| !dialog.exchange.is_empty()) else {
                    continue;
                };
                if dialog
                    .probed_at
                    .is_none_or(|probed| self.now >= probed + pause)
                {
                    dialog.probed_at = Some(self.now);
                    let offer = dialog.offer(&mut self.rng);
                    self.outputs.push_back(Output::Call(offer));
                    // The offer is part of what is kept.
                    room.dirty = true;
                }
            }
        }
    }

    fn key_frame_requested(&mut self, call: CallId) {
        if let Some((room, leg)) = leg_of_call(&mut self.rooms, call) {
            let leg = leg.id;
            let message = ToMedia::KeyFrame {
                room,
                leg,
                to_leg: true,
            };
            self.outputs.push_back(Output::Media(message));
        }
    }
}

/// Whether an offer has pictures in it.
fn has_pictures(offer: &str) -> bool {
    let mut lines = offer
        .lines()
        .filter_map(|line| line.strip_prefix("m=video "));
    lines.any(|line| !line.starts_with("0 "))
}

/// A name fit to be shown: no control characters, bounded, never empty.
pub(super) fn shown_name(caller: &Redacted<String>) -> Redacted<String> {
    let visible: String = caller
        .0
        .chars()
        .filter(|c| !c.is_control() && !reorders(*c))
        .take(MAX_NAME_CHARS)
        .collect();
    let name = visible.trim();
    Redacted(if name.is_empty() {
        "SIP".into()
    } else {
        name.to_owned()
    })
}
