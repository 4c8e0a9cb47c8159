//! Calls that a room makes: to a registered terminal, to an address, or by a trunk.

use std::net::SocketAddr;

use mcu_api::call::{
    CallCommand, Credentials, DialTarget, EndReason, Hop, OutgoingCall, RejectReason, SrtpPolicy,
    Via,
};
use mcu_api::ids::{CallId, LegId};
use mcu_api::manager::{Beyond, DialOutcome, FromControl};
use mcu_api::reach::MediaAddress;
use mcu_api::secret::Redacted;
use sip::Flow;
use tracing::info;

use super::calls::shown_name;
use super::capacity::NoPort;
use super::meetings::Graded;
use super::pin::Source;
use super::rollovers::Rollovers;
use super::room::{Dialog, Leg, LegKind, OwnView, Silenced, SipLeg};
use super::{Controller, ManagerId, address, find_leg};
use crate::config::Sought;
use crate::dialplan::{self, Destination, Dialled};

/// Where a room's call goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Way {
    /// Whom to call.
    pub target: DialTarget,
    /// URI to call as, in place of one of ours.
    pub from: Option<String>,
    /// For the server that the call is sent to.
    pub credentials: Option<Credentials>,
    /// That server is a trunk.
    pub trunk: bool,
    /// What that is found by, if it is neither in the target nor known by its registration.
    pub sought: Option<Sought>,
}

/// A wish to have a room call somebody.
#[derive(Clone, Debug)]
pub struct DialRequest {
    /// Who is told the outcome.
    pub manager: ManagerId,
    /// Echoed in it.
    pub request: u64,
    /// Number of the room.
    pub room: String,
    /// Who is called, in words.
    pub target: String,
    /// Strangers to the room who may be called all the same.
    pub beyond: Beyond,
    /// Where that leads, and the address that the call is sent to, where there are such.
    pub way: Option<(Way, SocketAddr)>,
    /// What that way demands of media.
    pub srtp: SrtpPolicy,
}

/// The addresses at which media is reached; `None` without a processor.
pub struct MediaReach(Option<Vec<MediaAddress>>);

impl MediaReach {
    /// Whether media for a server has an address. While that is not known, nobody is left out.
    pub fn includes(&self, server: &Hop) -> bool {
        self.0.is_none() || self.address(server).is_some()
    }

    fn address(&self, server: &Hop) -> Option<&MediaAddress> {
        address::choose(self.0.as_ref()?, server.address.ip())
    }
}

/// A call that is not answered yet.
#[derive(Clone, Copy, Debug)]
pub struct Ringing {
    manager: ManagerId,
    request: u64,
}

impl Way {
    /// The way, once it is known where its servers are.
    pub fn through(mut self, hops: Vec<Hop>) -> Self {
        let sought = self.sought.as_ref().map(|sought| sought.place.host());
        if let (DialTarget::Uri { via, .. }, Some(domain)) = (&mut self.target, sought) {
            let trunk = self.trunk;
            *via = Some(Via {
                domain,
                hops,
                trunk,
            });
        }
        self
    }
}

impl Controller {
    /// What the listener demands of media that something comes or goes by.
    pub fn srtp_by(&self, flow: &Flow) -> SrtpPolicy {
        self.config.srtp_at(flow.transport, flow.local)
    }

    /// Where media can go to, as things are now.
    pub fn media_reach(&self) -> MediaReach {
        let hello = self.processor.hello();
        MediaReach(hello.map(|hello| hello.addresses.clone()))
    }

    /// Of these servers, those whose media goes to the same address of ours as that of the first one for
    /// which there is any: all get one offer.
    pub fn with_one_offer(&self, mut servers: Vec<Hop>) -> Vec<Hop> {
        let reach = self.media_reach();
        if let Some(first) = servers.iter().find_map(|hop| reach.address(hop)) {
            servers.retain(|hop| reach.address(hop) == Some(first));
        }
        servers
    }

    /// What a target in words means: an account, a `sip:` URI, or a number that the dial plan leads
    /// elsewhere.
    pub fn way_to(&self, wanted: &DialRequest) -> Option<Way> {
        let target = wanted.target.as_str();
        let direct = |target, sought| {
            Some(Way {
                target,
                from: None,
                credentials: None,
                trunk: false,
                sought,
            })
        };
        if target.starts_with("sip:") {
            let (uri, via) = (target.to_owned(), None);
            return direct(DialTarget::Uri { uri, via }, sought(target));
        }
        let mut accounts = self.config.accounts.iter();
        let is_account = accounts.any(|account| account.user == target);
        if is_account && self.may_call(wanted, target) {
            return direct(DialTarget::Account(target.to_owned()), None);
        }
        self.way_by_trunk(&wanted.room, target)
    }

    /// Whether the room may call terminals of this account: it might enter the room itself, or who asks
    /// answers for it.
    pub fn may_call(&self, wanted: &DialRequest, account: &str) -> bool {
        match &wanted.beyond {
            Beyond::Anybody => return true,
            Beyond::Account(known) if known == account => return true,
            Beyond::Account(_) | Beyond::Nobody => {}
        }
        let room = self.config.room(&wanted.room);
        room.is_some_and(|room| self.config.reaches(account, room))
    }

    fn way_by_trunk(&self, room: &str, number: &str) -> Option<Way> {
        let dialled = Dialled {
            user: number,
            host: "",
            trunk: None,
        };
        // The configuration file's rules hold, also where they lead to no trunk.
        let (trunk, number) = match dialplan::by_rule(&self.config.dialplan, dialled) {
            Some(Destination::Trunk { name, number }) => {
                let mut trunks = self.config.trunks.iter();
                (trunks.find(|trunk| trunk.name == name)?, number)
            }
            Some(Destination::Room { .. } | Destination::Refused(_)) => return None,
            None => {
                let room = self.config.room(room)?;
                self.config.made_trunk_for(room, number)?
            }
        };
        // It becomes part of a URI.
        let is_key = |c: char| c.is_ascii_digit() || matches!(c, '+' | '*' | '#');
        if number.is_empty() || !number.chars().all(is_key) {
            return None;
        }
        let number = number.replace('#', "%23");
        let domain = trunk.domain();
        let transport = trunk.uri_parameter();
        let user = trunk.credentials.as_ref().map(|(user, _)| user);
        Some(Way {
            target: DialTarget::Uri {
                uri: format!("sip:{number}@{domain}{transport}"),
                via: None,
            },
            from: user.map(|user| format!("sip:{user}@{domain}")),
            credentials: trunk.credentials(),
            trunk: true,
            sought: Some(trunk.sought()),
        })
    }

    pub(super) fn dial(&mut self, wanted: DialRequest) {
        let (manager, request) = (wanted.manager, wanted.request);
        if let Err(outcome) = self.try_dial(wanted) {
            info!(?outcome, "room calls nobody");
            self.counts.unanswered(outcome);
            self.tell_manager(manager, FromControl::Dialled { request, outcome });
        }
    }

    fn try_dial(&mut self, wanted: DialRequest) -> Result<(), DialOutcome> {
        let number = wanted.room;
        self.config.room(&number).ok_or(DialOutcome::NoSuchRoom)?;
        let (way, remote) = wanted.way.ok_or(DialOutcome::Unreachable)?;
        if !self.has_place(&number) {
            return Err(DialOutcome::RoomFull);
        }
        let callee = self.callee(&wanted.target, &way.target, remote);
        self.check_quarantine(&callee.1, &callee.0)
            .map_err(|_| DialOutcome::Refused { status: 403 })?;
        let exchange = self.exchange_for(remote.ip(), None, &number, wanted.srtp);
        let (mut exchange, ports) = exchange.map_err(|reason| match reason {
            RejectReason::Unavailable => DialOutcome::NoMedia,
            _ => DialOutcome::Unreachable,
        })?;
        if let Err(NoPort) = self.limit(&mut exchange, &number, true) {
            self.release_ports(&ports);
            return Err(DialOutcome::RoomFull);
        }
        let offer = exchange.offer(&mut self.rng);
        let room = self.config.room(&number);
        let srtp = room.map_or(SrtpPolicy::default(), |room| room.srtp);
        let id = self.new_leg_id();
        let call = CallId(CallId::FIRST_DIALLED.0 | id.0);
        info!(leg = %id, %call, number, "room calls");
        let sip = SipLeg {
            ringing: Some(Ringing {
                manager: wanted.manager,
                request: wanted.request,
            }),
            dialled: true,
            dialog: Some(Dialog {
                call,
                exchange,
                probed_at: None,
            }),
            ports,
            confirmed: false,
            transferring: None,
            rollovers: Rollovers::default(),
        };
        let leg = self.dialled_leg(id, callee, sip);
        let cname = self.cname_for(&number);
        self.enter(&number, cname, leg);
        self.tell_call(CallCommand::Dial(Box::new(OutgoingCall {
            call,
            target: way.target,
            name: Redacted(number.clone()),
            number,
            from: way.from,
            credentials: way.credentials,
            sdp: Redacted(offer),
            srtp: srtp.and(wanted.srtp),
        })));
        Ok(())
    }

    /// Name and source of who is called.
    fn callee(
        &self,
        target: &str,
        way: &DialTarget,
        remote: SocketAddr,
    ) -> (Redacted<String>, Source) {
        let user = target.strip_prefix("sip:").unwrap_or(target);
        let user = user.split('@').next().unwrap_or(user);
        let account = match way {
            DialTarget::Account(account) => Some(account.as_str()),
            DialTarget::Uri { .. } => None,
        };
        (
            shown_name(&Redacted(user.to_owned())),
            self.source_of(account, remote.ip()),
        )
    }

    fn dialled_leg(
        &self,
        id: LegId,
        (name, source): (Redacted<String>, Source),
        sip: SipLeg,
    ) -> Leg {
        Leg {
            id,
            name,
            joined_unix_s: self.unix_s(),
            audio_muted: false,
            video_muted: false,
            silenced: Silenced::default(),
            waiting: None,
            source: Some(source),
            media: sip
                .dialog
                .as_ref()
                .and_then(|dialog| dialog.exchange.media(id)),
            stats: None,
            graded: Graded::default(),
            sound_lag_ms: None,
            spoke_at: None,
            own_view: OwnView::default(),
            kind: LegKind::Sip(sip),
        }
    }

    /// The callee has answered, and what it described is in force.
    pub(super) fn dial_established(&mut self, leg: LegId) {
        let Some((_, leg)) = find_leg(&mut self.rooms, |l| l.id == leg) else {
            return;
        };
        let LegKind::Sip(sip) = &mut leg.kind else {
            return;
        };
        if let Some(ringing) = sip.ringing.take() {
            self.counts.begun(leg);
            self.tell_outcome(ringing, DialOutcome::Answered);
        }
    }

    /// A leg is gone; whoever waits for its callee to answer is told why.
    pub(super) fn dial_ended(&mut self, leg: &Leg, reason: EndReason) {
        let Some(ringing) = leg.sip().and_then(|sip| sip.ringing) else {
            return;
        };
        let outcome = match reason {
            EndReason::Refused(480) => DialOutcome::Unreachable,
            EndReason::Refused(status) => DialOutcome::Refused { status },
            _ => DialOutcome::NoAnswer,
        };
        self.counts.unanswered(outcome);
        self.tell_outcome(ringing, outcome);
    }

    fn tell_outcome(&mut self, ringing: Ringing, outcome: DialOutcome) {
        let Ringing { manager, request } = ringing;
        self.tell_manager(manager, FromControl::Dialled { request, outcome });
    }
}

/// What DNS is to be asked for a URI whose host is a name.
fn sought(uri: &str) -> Option<Sought> {
    let named = sip::named_host(uri)?;
    let place = match named.port {
        Some(port) => format!("{}:{port}", named.host).parse(),
        None => named.host.parse(),
    };
    Some(Sought {
        place: place.ok()?,
        transport: named.transport,
    })
}
