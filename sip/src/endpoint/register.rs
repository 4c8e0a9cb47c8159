//! REGISTER and the proof of passwords.

use std::time::Instant;

use mcu_api::ids::CallId;
use rand::Rng;

use super::Endpoint;
use super::incoming::Arrival;
use crate::call::Stage;
use crate::digest::{Verdict, digest_uri, realm_of};
use crate::message::{self, HeaderName, Refusal, Request, Uri, lossy};
use crate::registrar::{Listing, Update};

impl Endpoint {
    pub(super) fn registered(&mut self, now: Instant, arrival: Arrival) {
        if self.transactions.is_full() {
            return self.refuse(&arrival, &overloaded());
        }
        let account = match self.authenticate(now, &arrival.request) {
            Verdict::Proven(account) => account,
            other => return self.challenge(now, &arrival, other == Verdict::Stale),
        };
        match self.register(now, &arrival, &account) {
            Ok(listing) => {
                self.changes.registrations += 1;
                self.confirm(now, arrival, listing);
            }
            Err(refusal) => self.refuse(&arrival, &refusal),
        }
    }

    fn register(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        account: &str,
    ) -> Result<Listing, Refusal> {
        let may_register = self.accounts.get(account).is_some_and(|a| a.may_register);
        let address_of_record = arrival.envelope.to.uri.decoded_user();
        // RFC 3261 §10.3 steps 4 and 5: nobody registers for somebody else.
        if !may_register || address_of_record.as_deref() != Some(account.as_bytes()) {
            return Err(Refusal::new(403, "Forbidden"));
        }
        let update = Update {
            account,
            address: &arrival.envelope.to.uri,
            headers: &arrival.request.headers,
            call_id: &arrival.envelope.call_id,
            cseq: arrival.envelope.cseq,
            flow: arrival.flow,
        };
        self.registrar.update(now, &update)
    }

    /// The 200 keeps a transaction: the proof in a retransmission would be a replay.
    fn confirm(&mut self, now: Instant, arrival: Arrival, listing: Listing) {
        let mut answer = Refusal::new(200, "OK");
        for contact in listing.contacts {
            answer = answer.with(HeaderName::Contact, contact);
        }
        if listing.outbound {
            answer = answer.with(HeaderName::Require, "outbound");
        }
        let tag = self.token();
        let response = self.response_to(&arrival.request.headers, &answer, &tag);
        let key = self.transactions.open(now, arrival.request, arrival.reply);
        if let (Some(key), Some(mut response)) = (key, response) {
            message::finish(&mut response, None);
            self.transactions.respond(now, &key, response);
        }
    }

    /// What the request's credentials for our realm prove.
    pub(super) fn authenticate(&mut self, now: Instant, request: &Request) -> Verdict {
        let method = request.method.to_string();
        let credentials = request
            .headers
            .get_all(&HeaderName::Authorization)
            .map(|header| lossy(&header.value()))
            .find(|value| realm_of(value).as_deref() == Some(&self.config.realm));
        match credentials.filter(|value| made_for(value, &request.uri)) {
            Some(value) => self.digest.verify(now, &self.accounts, &method, &value),
            None => Verdict::Unproven,
        }
    }

    /// Challenges a request without keeping any of it.
    pub(super) fn challenge(&mut self, now: Instant, arrival: &Arrival, stale: bool) {
        let agent = message::text(&arrival.request.headers, &HeaderName::UserAgent);
        let refusal = self.unauthorized(now, stale, agent.as_deref());
        self.refuse(arrival, &refusal);
    }

    /// The challenge to a call whose room wants an account.
    pub(super) fn challenge_of_call(&mut self, now: Instant, id: CallId) -> Refusal {
        let (stale, agent) = match self.calls.get(&id).map(|call| &call.stage) {
            Some(Stage::Asked(asked)) => {
                let agent = message::text(&asked.invite.headers, &HeaderName::UserAgent);
                (asked.stale, agent)
            }
            _ => (false, None),
        };
        self.unauthorized(now, stale, agent.as_deref())
    }

    /// 401 with one challenge for each algorithm (RFC 3261 §22.2, RFC 8760 §2.4).
    fn unauthorized(&mut self, now: Instant, stale: bool, agent: Option<&str>) -> Refusal {
        let random = self.random.random();
        self.digest
            .challenges(now, random, stale, agent)
            .into_iter()
            .fold(Refusal::new(401, "Unauthorized"), |refusal, challenge| {
                refusal.with(HeaderName::WwwAuthenticate, challenge)
            })
    }
}

/// Whether the credentials were made for what is asked (RFC 7616 §3.4.6). Proxies rewrite the host,
/// so only the user is compared.
fn made_for(authorization: &str, uri: &Uri) -> bool {
    let stated = digest_uri(authorization).and_then(|text| Uri::parse(text.into()).ok());
    stated.is_some_and(|stated| stated.decoded_user() == uri.decoded_user())
}

/// No room for another transaction or call.
pub(super) fn overloaded() -> Refusal {
    Refusal::new(503, "Service Unavailable").with(HeaderName::RetryAfter, "10")
}
