//! Calls of ours: whom they reach, and the INVITEs that begin them (RFC 3261 §13.2.1).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mcu_api::call::{CallEvent, DialTarget, EndReason, Hop, OutgoingCall, Via};
use mcu_api::ids::CallId;

use super::invite::contact_on;
use super::{ALLOW, Endpoint, SUPPORTED};
use crate::body::SDP;
use crate::call::{Branch, Call, Dialling, Stage};
use crate::client_auth::Proofs;
use crate::dialog::Dialog;
use crate::flow::{Flow, FlowId, Output, Transport};
use crate::gruu;
use crate::message::{HeaderName, Method, TransactionKey, Uri, uri_address, uri_transport};
use crate::registrar::Binding;
use crate::transaction::Purpose;

/// How long a call of ours may ring.
const MAX_RINGING: Duration = Duration::from_secs(120);

/// Where a call of ours goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Its transport.
    pub transport: Transport,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The connection, or the socket, that leads there already.
    pub flow: Option<Flow>,
}

/// Request-URIs and ways of one terminal, the one to be called first.
type Ways = Vec<(Uri, Path)>;

impl Endpoint {
    /// Where a target is reached: an account at all its contacts, each by the way that it registered
    /// by, the one registered last first; a URI at the servers that are stated, else at the address in
    /// it. Empty for an account that is not registered, and for a name of which nothing is stated.
    pub fn paths_to(&self, now: Instant, target: &DialTarget) -> Vec<Path> {
        let targets = self.targets(now, target).into_iter().flatten();
        targets.map(|(_, path)| path).collect()
    }

    /// All that a target means, by terminal: each is called by its first way, and by the next where that
    /// has failed (RFC 5626 §7).
    fn targets(&self, now: Instant, target: &DialTarget) -> Vec<Ways> {
        match target {
            DialTarget::Account(account) => self.targets_of_account(now, account),
            DialTarget::Uri { uri, via, .. } => {
                let uri = Uri::parse(uri.clone().into()).ok();
                let Some(uri) = uri.filter(|uri| uri.scheme().is_sip()) else {
                    return Vec::new();
                };
                if let Some(target) = self.target_of_gruu(now, &uri) {
                    return vec![target];
                }
                let paths: Vec<Path> = match via {
                    Some(Via { domain, hops, .. }) => {
                        hops.iter().map(|hop| self.path_by(hop, domain)).collect()
                    }
                    None => {
                        let stated = uri_address(&uri).into_iter();
                        let transport = uri_transport(&uri);
                        stated.map(|remote| self.path(transport, remote)).collect()
                    }
                };
                let ways = paths.into_iter().map(|path| (uri.clone(), path));
                Vec::from([ways.collect()])
            }
        }
    }

    /// The ways to the terminal that a GRUU of ours stands for (RFC 5627 §6.1), the one that it
    /// registered last first.
    fn target_of_gruu(&self, now: Instant, uri: &Uri) -> Option<Ways> {
        let mut bindings: Vec<&Binding> = self.registrar.of_gruu(now, uri).collect();
        bindings.sort_by_key(|binding| std::cmp::Reverse(binding.registered_at));
        let ways = bindings.into_iter().filter_map(|binding| {
            let path = self.path_of_binding(binding)?;
            Some((binding.uri.clone(), path))
        });
        let ways: Ways = ways.collect();
        (!ways.is_empty()).then_some(ways)
    }

    /// The account whose terminals a target means.
    fn account_called(&self, now: Instant, target: &DialTarget) -> Option<String> {
        match target {
            DialTarget::Account(account) => Some(account.clone()),
            DialTarget::Uri { uri, .. } => {
                let uri = Uri::parse(uri.clone().into()).ok()?;
                let known = self.registrar.of_gruu(now, &uri).next().is_some();
                gruu::account(&uri).filter(|_| known)
            }
        }
    }

    /// The accounts whose terminals are called by this target: the one that it names, or those that have
    /// registered from where it leads, at that very address, or else anywhere at that host.
    pub fn accounts_called_by(&self, now: Instant, target: &DialTarget) -> Vec<String> {
        if let Some(account) = self.account_called(now, target) {
            return vec![account];
        }
        let remotes: Vec<SocketAddr> = self
            .paths_to(now, target)
            .iter()
            .map(|p| p.remote)
            .collect();
        let registered_at = |fits: &dyn Fn(SocketAddr, SocketAddr) -> bool| {
            let bindings = self.registrar.bindings(now).filter(|(_, binding)| {
                let stated = uri_address(&binding.uri).map(|at| binding.flow.as_reached(at));
                let mut known = stated.into_iter().chain([binding.flow.remote]);
                known.any(|known| remotes.iter().any(|remote| fits(known, *remote)))
            });
            let mut accounts: Vec<String> = bindings.map(|(account, _)| account.into()).collect();
            accounts.sort();
            accounts.dedup();
            accounts
        };
        match registered_at(&|known, remote| known == remote) {
            accounts if accounts.is_empty() => {
                registered_at(&|known, remote| known.ip() == remote.ip())
            }
            accounts => accounts,
        }
    }

    fn targets_of_account(&self, now: Instant, account: &str) -> Vec<Ways> {
        let mut bindings: Vec<&Binding> = self.registrar.of_account(now, account).collect();
        bindings.sort_by_key(|binding| std::cmp::Reverse(binding.registered_at));
        let mut terminals: Vec<(Option<&str>, Ways)> = Vec::new();
        for binding in bindings {
            let Some(path) = self.path_of_binding(binding) else {
                continue;
            };
            let way = (binding.uri.clone(), path);
            let instance = binding.outbound.as_ref().map(|o| o.instance.as_str());
            let known = terminals
                .iter_mut()
                .find(|(known, _)| instance.is_some() && *known == instance);
            match known {
                Some((_, ways)) => ways.push(way),
                None => terminals.push((instance, vec![way])),
            }
        }
        terminals.into_iter().map(|(_, ways)| ways).collect()
    }

    /// The way that a contact was registered by. Where its connection is gone, the Contact's own
    /// address is tried, if it is where the connection came from.
    fn path_of_binding(&self, binding: &Binding) -> Option<Path> {
        let flow = binding.flow;
        if !flow.transport.is_stream() {
            return Some(Path {
                transport: flow.transport,
                remote: flow.remote,
                flow: Some(flow),
            });
        }
        let path = self.path(flow.transport, flow.remote);
        if path.flow.is_some() {
            return Some(path);
        }
        let stated = uri_address(&binding.uri).map(|at| flow.as_reached(at));
        let stated = stated.filter(|at| at.ip() == flow.remote.ip());
        let stated = stated.filter(|_| binding.outbound.is_none());
        Some(self.path(flow.transport, stated?))
    }

    /// The way to an address, by a connection that is there already if there is one.
    fn path(&self, transport: Transport, remote: SocketAddr) -> Path {
        let mut flows = self.connections.values().map(|connection| connection.flow);
        let flow = flows.find(|flow| flow.remote == remote);
        Path {
            transport: flow.map_or(transport, |flow| flow.transport),
            remote,
            flow,
        }
    }

    /// The way to a server that this name led to. What it has proven to be for another name counts for
    /// nothing here.
    fn path_by(&self, hop: &Hop, domain: &str) -> Path {
        let transport = Transport::from(hop.transport);
        if !transport.is_secure() {
            return self.path(transport, hop.address);
        }
        let proven = self.connections.values().find(|connection| {
            connection.flow.remote == hop.address && connection.domain.as_deref() == Some(domain)
        });
        Path {
            transport,
            remote: hop.address,
            flow: proven.map(|connection| connection.flow),
        }
    }

    /// Calls all that the target means, each by the flow that `choose` gives for its way, whose
    /// `local` is where the peer can reach us; who answers first is it. Without a flow, or when there
    /// is no room for another call, the call ends at once.
    pub fn dial(
        &mut self,
        now: Instant,
        wanted: OutgoingCall,
        choose: impl Fn(&Path) -> Option<Flow>,
    ) {
        let id = wanted.call;
        if self.begin_dialling(now, wanted, choose).is_none() {
            let reason = EndReason::Refused(480);
            self.event(CallEvent::Ended { call: id, reason });
        }
        self.pump(now);
    }

    fn begin_dialling(
        &mut self,
        now: Instant,
        wanted: OutgoingCall,
        choose: impl Fn(&Path) -> Option<Flow>,
    ) -> Option<()> {
        if self.calls.len() >= self.config.max_calls || self.calls.contains_key(&wanted.call) {
            return None;
        }
        let (call_id, tag) = (self.token(), self.token());
        let via = match &wanted.target {
            DialTarget::Uri { via, .. } => via.clone(),
            DialTarget::Account(_) => None,
        };
        let servers = via.as_ref().map(|via| via.domain.clone());
        let mut branches = Vec::new();
        for ways in self.targets(now, &wanted.target) {
            let mut flows: VecDeque<(Uri, Flow)> = ways
                .into_iter()
                .filter_map(|(uri, path)| Some((uri, choose(&path)?)))
                // Ourselves: a call that comes back would have the transaction that it left by.
                .filter(|(_, flow)| !flow.is_ours(flow.remote))
                .collect();
            let Some((target, flow)) = flows.pop_front() else {
                continue;
            };
            let Some(flow) = self.opened(now, flow, servers.as_deref()) else {
                continue;
            };
            // A forked INVITE is one (RFC 3261 §16.6): the same identification for all targets.
            let dialog = first_dialog(&wanted, (&call_id, &tag), target, flow);
            branches.push((dialog, flow, flows));
        }
        let (dialog, flow, _) = branches.first().cloned()?;
        let id = wanted.call;
        for hop in via.iter().filter(|via| via.trunk).flat_map(|via| &via.hops) {
            self.trunks.note(hop.address.ip());
        }
        let dialling = Dialling {
            sdp: wanted.sdp.0,
            // Our password would prove that we want what others name.
            may_be_redirected: wanted.credentials.is_none(),
            servers,
            credentials: wanted.credentials,
            branches: Vec::new(),
            early: Vec::new(),
            redirects: 0,
            refused: None,
            give_up_at: now + MAX_RINGING,
        };
        let mut call = Call::dialled(id, flow, wanted.number, dialog, dialling);
        call.account = self.account_called(now, &wanted.target);
        self.dialogs.insert(call.dialog.local_tag.clone(), id);
        self.calls.insert(id, call);
        let sent = branches
            .into_iter()
            .filter_map(|(dialog, flow, flows)| self.begin_branch(now, id, (dialog, flow), flows))
            .count();
        if sent == 0 {
            self.forget(now, id);
        }
        self.settle(now, id);
        (sent > 0).then_some(())
    }

    /// The flow, with its connection asked for if there is none yet, to a server that this name led to.
    pub(super) fn opened(
        &mut self,
        now: Instant,
        flow: Flow,
        domain: Option<&str>,
    ) -> Option<Flow> {
        if !flow.transport.is_stream() || self.connections.contains_key(&flow.id) {
            return Some(flow);
        }
        if self.connections.len() >= self.config.max_connections {
            return None;
        }
        let id = FlowId(self.next_flow);
        self.next_flow += 1;
        let flow = Flow { id, ..flow };
        let domain = domain.filter(|_| flow.transport.is_secure());
        let domain = domain.map(str::to_owned);
        self.add_connection(now, flow, domain.clone());
        self.outputs.push_back(Output::Connect { flow, domain });
        Some(flow)
    }

    fn begin_branch(
        &mut self,
        now: Instant,
        id: CallId,
        (mut dialog, flow): (Dialog, Flow),
        flows: VecDeque<(Uri, Flow)>,
    ) -> Option<()> {
        let proofs = Proofs::default();
        let (key, cseq) = self.invite(now, id, (&mut dialog, flow), &proofs)?;
        let branch = Branch {
            dialog,
            flow,
            key,
            cseq,
            attempts: 1,
            progressed: false,
            proofs,
            alternatives: VecDeque::new(),
            flows,
        };
        self.dialling(id)?.branches.push(branch);
        Some(())
    }

    /// Sends a branch's INVITE anew: with the answers to challenges, or to another target.
    pub(super) fn invite_again(
        &mut self,
        now: Instant,
        id: CallId,
        mut branch: Branch,
    ) -> Option<()> {
        let way = (&mut branch.dialog, branch.flow);
        (branch.key, branch.cseq) = self.invite(now, id, way, &branch.proofs)?;
        branch.attempts += 1;
        branch.progressed = false;
        self.dialling(id)?.branches.push(branch);
        Some(())
    }

    /// Calls a terminal by the next of its flows that is there (RFC 5626 §7), or by the next server that
    /// there can be a connection to (RFC 3263 §4.3): the last one has failed. `false` when there is none.
    pub(super) fn call_next_flow(&mut self, now: Instant, id: CallId, mut branch: Branch) -> bool {
        while let Some((target, flow)) = branch.flows.pop_front() {
            let is_there = !flow.transport.is_stream() || self.connections.contains_key(&flow.id);
            let servers = self
                .dialling(id)
                .and_then(|dialling| dialling.servers.clone());
            let opened = match servers {
                Some(domain) => self.opened(now, flow, Some(&domain)),
                None => Some(flow).filter(|_| is_there),
            };
            let Some(flow) = opened else {
                continue;
            };
            branch.flow = flow;
            branch.attempts = 0;
            branch.proofs = Proofs::default();
            branch.alternatives.clear();
            branch.dialog.retarget(target, flow);
            return self.invite_again(now, id, branch).is_some();
        }
        false
    }

    /// Sends an INVITE; its transaction and number.
    fn invite(
        &mut self,
        now: Instant,
        id: CallId,
        (dialog, flow): (&mut Dialog, Flow),
        proofs: &Proofs,
    ) -> Option<(TransactionKey, u32)> {
        let branch = format!("z9hG4bK{}", self.token());
        let agent = self.config.server_name.clone();
        let call = self.calls.get(&id)?;
        let Stage::Dialling(dialling) = &call.stage else {
            return None;
        };
        let draft = dialog.request(Method::Invite, flow, &branch, None);
        let cseq = draft.cseq;
        let draft = draft
            .header(HeaderName::UserAgent, agent)
            .header(HeaderName::Contact, contact_on(flow, &call.user))
            .header(HeaderName::Allow, ALLOW)
            .header(HeaderName::Supported, SUPPORTED);
        let proofs = proofs.headers();
        let draft = proofs.fold(draft, |draft, (name, value)| draft.header(name, value));
        let request = draft.body(SDP, &dialling.sdp).build()?;
        let owner = (id, Purpose::Dial);
        let key = self.transactions.begin(now, request, flow, owner)?;
        Some((key, cseq))
    }

    pub(super) fn dialling(&mut self, id: CallId) -> Option<&mut Dialling> {
        match &mut self.calls.get_mut(&id)?.stage {
            Stage::Dialling(dialling) => Some(dialling),
            _ => None,
        }
    }
}

/// The dialog that an INVITE to a target is to begin.
fn first_dialog(
    wanted: &OutgoingCall,
    (call_id, tag): (&str, &str),
    target: Uri,
    flow: Flow,
) -> Dialog {
    let local = match &wanted.from {
        Some(uri) => format!("<{uri}>"),
        None => format!(
            "{} <sip:{}@{}>",
            quoted(&wanted.name.0),
            wanted.number,
            flow.told()
        ),
    };
    Dialog::dialled(call_id.to_owned(), tag.to_owned(), &local, target, flow)
}

/// A display name in quotes (RFC 3261 §25.1).
fn quoted(name: &str) -> String {
    let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
    let plain: String = escaped.chars().filter(|c| !c.is_control()).collect();
    format!("\"{plain}\"")
}
