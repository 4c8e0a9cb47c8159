//! 3xx to calls of ours (RFC 3261 §8.1.3.4).
//!
//! A redirection is a wish of somebody whom we called, or of who answers in their name: it is followed
//! within the host that was called, by the way that led there, and nowhere else. By a trunk, whoever is
//! called could name any number of the world, which would be called at our cost: there it ends the call.

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use mcu_api::ids::CallId;

use super::Endpoint;
use crate::call::Branch;
use crate::client_auth::Proofs;
use crate::flow::{Flow, Transport};
use crate::message::{Response, Scheme, TransactionKey, Uri, contacts_by_preference};
use crate::message::{uri_address, uri_transport};

/// Most targets of one call of ours that others named.
const MAX_REDIRECTS: u8 = 4;

/// Most addresses of trunks that are learnt from calls; names in DNS may change theirs for ever.
const MAX_LEARNT: usize = 256;

/// Where trunks are. A trunk charges us for whom it calls, also when somebody calls it by its address.
#[derive(Debug)]
pub(super) struct Trunks {
    configured: HashSet<IpAddr>,
    /// Where their names have led; the oldest makes room.
    learnt: VecDeque<IpAddr>,
}

impl Trunks {
    pub fn new(configured: &[IpAddr]) -> Self {
        let configured = configured.iter().map(IpAddr::to_canonical);
        Self {
            configured: configured.collect(),
            learnt: VecDeque::new(),
        }
    }

    /// Trunks are at these addresses from now on, and where their names have led.
    pub fn set(&mut self, configured: &[IpAddr]) {
        self.configured = configured.iter().map(IpAddr::to_canonical).collect();
    }

    /// A call by a trunk goes there.
    pub fn note(&mut self, ip: IpAddr) {
        if self.are_at(ip) {
            return;
        }
        if self.learnt.len() >= MAX_LEARNT {
            self.learnt.pop_front();
        }
        self.learnt.push_back(ip.to_canonical());
    }

    fn are_at(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.configured.contains(&ip) || self.learnt.contains(&ip)
    }
}

impl Endpoint {
    /// 300, 301, 302: the targets that may be called are, one after the other.
    pub(super) fn redirected(
        &mut self,
        now: Instant,
        id: CallId,
        key: &TransactionKey,
        response: &Response,
    ) {
        let status = response.status.code();
        let targets = contacts_by_preference(&response.headers);
        let called = self.branch(id, key).map(|branch| branch.flow.remote.ip());
        let by_trunk = called.is_none_or(|ip| self.trunks.are_at(ip));
        let may_be = self.dialling(id).is_some_and(|d| d.may_be_redirected);
        let followed = may_be && !by_trunk;
        if !followed {
            tracing::warn!(call = %id, status, "a redirection by a trunk is not followed");
        }
        if let Some(branch) = self.branch(id, key).filter(|_| followed) {
            let allowed: VecDeque<Uri> = targets
                .into_iter()
                .filter(|target| flow_to(branch, target).is_some())
                .take(MAX_REDIRECTS.into())
                .collect();
            branch.alternatives = allowed;
        }
        self.branch_refused(now, id, key, status);
    }

    fn branch(&mut self, id: CallId, key: &TransactionKey) -> Option<&mut Branch> {
        let mut branches = self.dialling(id)?.branches.iter_mut();
        branches.find(|branch| branch.key == *key)
    }

    /// Calls the next target of a branch that was refused. `false` when there is none.
    pub(super) fn call_alternative(
        &mut self,
        now: Instant,
        id: CallId,
        mut branch: Branch,
    ) -> bool {
        let Some(dialling) = self.dialling(id) else {
            return false;
        };
        if dialling.redirects >= MAX_REDIRECTS {
            return false;
        }
        let Some(target) = branch.alternatives.pop_front() else {
            return false;
        };
        let Some(flow) = flow_to(&branch, &target) else {
            return false;
        };
        dialling.redirects += 1;
        branch.flow = flow;
        branch.attempts = 0;
        branch.proofs = Proofs::default();
        branch.dialog.retarget(target, flow);
        self.invite_again(now, id, branch).is_some()
    }
}

/// The way to a target that a redirection names, if it is one that may be called.
fn flow_to(branch: &Branch, target: &Uri) -> Option<Flow> {
    let flow = branch.flow;
    // Headers in a URI would become headers of our request (RFC 3261 §19.1.5).
    if !matches!(target.scheme(), Scheme::Sip) || target.has_headers() {
        return None;
    }
    if uri_transport(target) != flow.transport {
        return None;
    }
    let called = branch.dialog.request_uri();
    let same_host = match (called.host(), target.host()) {
        (Some(called), Some(named)) => called.equivalent(named),
        _ => false,
    };
    let there = uri_address(target).map(|at| flow.as_reached(at));
    let there = there.filter(|at| at.ip() == flow.remote.ip());
    match there {
        Some(remote) if flow.transport == Transport::Udp => {
            let flow = Flow { remote, ..flow };
            // Not to ourselves.
            (!flow.is_ours(remote)).then_some(flow)
        }
        Some(remote) if remote == flow.remote => Some(flow),
        _ if same_host && called.port() == target.port() => Some(flow),
        _ => None,
    }
}
