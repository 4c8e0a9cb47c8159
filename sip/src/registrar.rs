//! The registrar (RFC 3261 §10.3): which contacts an account has, and for how long.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::flow::{Flow, FlowId};
use crate::gruu;
use crate::message::{
    Address, HeaderName, Headers, MAX_KEPT_VALUE, Refusal, Uri, address, text, tokens,
    uri_transport,
};
use crate::saved::SavedRegistration;

/// From one look through all accounts to the next.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// Bounds and times of the registrar.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub max_registrations: usize,
    pub max_contacts_per_account: usize,
    pub min_expires: Duration,
    pub max_expires: Duration,
}

/// One registered contact.
#[derive(Debug)]
pub(crate) struct Binding {
    pub uri: Uri,
    /// The way that the REGISTER came: calls go back by it.
    pub flow: Flow,
    /// What the terminal calls itself: `+sip.instance`, with its angle brackets.
    pub instance: Option<String>,
    /// The terminal has named itself and this flow.
    pub outbound: Option<Outbound>,
    pub user_agent: Option<String>,
    /// Place in the order of registrations.
    pub registered_at: u64,
    pub expires_at: Instant,
    call_id: String,
    cseq: u32,
}

/// What a terminal calls itself and one of its flows (RFC 5626 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outbound {
    /// `+sip.instance`, with its angle brackets.
    pub instance: String,
    /// `reg-id`.
    pub reg_id: u32,
}

/// All bindings. Bounded by [`Limits::max_registrations`]; what comes beyond is refused.
pub(crate) struct Registrar {
    limits: Limits,
    accounts: HashMap<String, Vec<Binding>>,
    /// Bindings of all accounts, those among them that have expired and were not swept out yet.
    count: usize,
    /// When all accounts were last looked through.
    swept_at: Option<Instant>,
    /// How many bindings were made.
    made: u64,
}

/// The REGISTER that changes bindings.
pub(crate) struct Update<'a> {
    pub account: &'a str,
    /// Its address of record, as the terminal writes it.
    pub address: &'a Uri,
    pub headers: &'a Headers,
    pub call_id: &'a str,
    pub cseq: u32,
    pub flow: Flow,
}

/// What the 200 to a REGISTER says.
#[derive(Debug)]
pub(crate) struct Listing {
    /// Contact values.
    pub contacts: Vec<String>,
    /// The flow is known and kept (RFC 5626 §6).
    pub outbound: bool,
}

/// What one Contact of a REGISTER asks for.
struct Wish {
    uri: Uri,
    instance: Option<String>,
    outbound: Option<Outbound>,
    expires: Duration,
}

impl Registrar {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            accounts: HashMap::new(),
            count: 0,
            swept_at: None,
            made: 0,
        }
    }

    /// Adds, refreshes and removes the contacts of one account, all of them or none, and yields what
    /// the 200 says (RFC 3261 §10.3 steps 6 to 8).
    ///
    /// # Errors
    /// 400, 403, 423, 439, 500 or 503; nothing is changed then.
    pub fn update(&mut self, now: Instant, update: &Update<'_>) -> Result<Listing, Refusal> {
        self.sweep(now);
        self.expire(now, update.account);
        let values = contact_values(update.headers)?;
        let mut outbound = false;
        if values == ["*"] {
            self.remove_all(update)?;
        } else {
            let wishes = values
                .iter()
                .map(|value| self.wish(update.headers, value))
                .collect::<Result<Vec<_>, _>>()?;
            self.check(update, &wishes)?;
            // RFC 5627 §5.1: what leads here would lead in a circle.
            let circle = |wish: &Wish| gruu::account(&wish.uri).as_deref() == Some(update.account);
            if wishes.iter().any(circle) {
                return Err(Refusal::new(403, "Contact Is A GRUU"));
            }
            outbound = wishes.iter().any(|wish| wish.outbound.is_some());
            self.apply(now, update, wishes);
        }
        Ok(Listing {
            contacts: self.listing(now, update),
            outbound,
        })
    }

    /// Forgets the accounts for which `keep` says no.
    pub fn retain_accounts(&mut self, keep: impl Fn(&str) -> bool) {
        self.accounts.retain(|account, _| keep(account));
        self.count = self.accounts.values().map(Vec::len).sum();
    }

    /// Account and binding of all that are registered.
    pub fn bindings(&self, now: Instant) -> impl Iterator<Item = (&str, &Binding)> {
        self.accounts
            .iter()
            .flat_map(|(account, list)| list.iter().map(move |b| (account.as_str(), b)))
            .filter(move |(_, binding)| binding.expires_at > now)
    }

    /// Bindings of one account.
    pub fn of_account(&self, now: Instant, account: &str) -> impl Iterator<Item = &Binding> {
        let list = self.accounts.get(account).map(Vec::as_slice);
        let list = list.unwrap_or_default().iter();
        list.filter(move |binding| binding.expires_at > now)
    }

    /// The bindings of the instance that a GRUU stands for; none for any other URI.
    pub fn of_gruu(&self, now: Instant, uri: &Uri) -> impl Iterator<Item = &Binding> {
        let (account, instance) = (gruu::account(uri), gruu::instance(uri));
        let list = account.and_then(|account| self.accounts.get(&account));
        let list = list.map(Vec::as_slice).unwrap_or_default().iter();
        list.filter(move |binding| {
            let own = binding.instance.as_deref().map(gruu::without_brackets);
            let same = own.zip(instance.as_deref());
            binding.expires_at > now && same.is_some_and(|(a, b)| a.eq_ignore_ascii_case(b))
        })
    }

    /// What another life needs of all that are registered.
    pub fn save(&self, now: Instant) -> Vec<SavedRegistration> {
        self.bindings(now)
            .map(|(account, binding)| SavedRegistration {
                account: account.to_owned(),
                contact: binding.uri.to_string(),
                remote: binding.flow.remote,
                flow: Some(binding.flow),
                instance: binding.instance.clone(),
                reg_id: binding.outbound.as_ref().map(|o| o.reg_id),
                registered_at: binding.registered_at,
                user_agent: binding.user_agent.clone(),
                expires_in: binding.expires_at.saturating_duration_since(now),
                call_id: binding.call_id.clone(),
                cseq: binding.cseq,
            })
            .collect()
    }

    /// Takes up a contact of an earlier life, kept `ago`, unless it has expired or does not fit.
    pub fn restore(&mut self, now: Instant, saved: SavedRegistration, ago: Duration) {
        let left = saved.expires_in.min(self.limits.max_expires);
        let left = left.saturating_sub(ago);
        let Ok(uri) = Uri::parse(saved.contact.into()) else {
            return;
        };
        // A version that did not note the way kept the address alone: no socket has this number.
        let flow = saved.flow.unwrap_or(Flow {
            id: FlowId(u64::MAX),
            transport: uri_transport(&uri),
            local: saved.remote,
            remote: saved.remote,
            advertised: None,
        });
        if left.is_zero() || self.count >= self.limits.max_registrations {
            return;
        }
        let outbound = saved.instance.clone().zip(saved.reg_id);
        let list = self.accounts.entry(saved.account).or_default();
        if list.len() < self.limits.max_contacts_per_account {
            self.count += 1;
            self.made = self.made.max(saved.registered_at);
            list.push(Binding {
                uri,
                flow,
                instance: saved.instance,
                outbound: outbound.map(|(instance, reg_id)| Outbound { instance, reg_id }),
                registered_at: saved.registered_at,
                user_agent: saved.user_agent,
                expires_at: now + left,
                call_id: saved.call_id,
                cseq: saved.cseq,
            });
        }
    }

    /// Forgets what has expired, from time to time: with thousands of accounts not at each REGISTER.
    fn sweep(&mut self, now: Instant) {
        if self.swept_at.is_some_and(|at| now < at + SWEEP_PAUSE) {
            return;
        }
        self.swept_at = Some(now);
        self.accounts.retain(|_, list| {
            list.retain(|binding| binding.expires_at > now);
            !list.is_empty()
        });
        self.count = self.accounts.values().map(Vec::len).sum();
    }

    /// Forgets what has expired of one account.
    fn expire(&mut self, now: Instant, account: &str) {
        if let Some(list) = self.accounts.get_mut(account) {
            let before = list.len();
            list.retain(|binding| binding.expires_at > now);
            self.count -= before - list.len();
        }
    }

    /// `Contact: *` is only allowed alone and with `Expires: 0` (RFC 3261 §10.2.2).
    fn remove_all(&mut self, update: &Update<'_>) -> Result<(), Refusal> {
        let zero = text(update.headers, &HeaderName::Expires).is_some_and(|v| v == "0");
        if !zero {
            return Err(Refusal::new(400, "Wildcard Without Expires 0"));
        }
        let list = self.accounts.get(update.account);
        if list.is_some_and(|list| list.iter().any(|b| b.is_newer_than(update))) {
            return Err(Refusal::new(500, "CSeq Out Of Order"));
        }
        let gone = self.accounts.remove(update.account);
        self.count -= gone.map_or(0, |list| list.len());
        Ok(())
    }

    fn wish(&self, headers: &Headers, value: &str) -> Result<Wish, Refusal> {
        let contact = address(value.as_bytes())
            .filter(|_| value.len() <= MAX_KEPT_VALUE)
            .filter(|contact| contact.uri.scheme().is_sip() && !unbracketed_headers(value, contact))
            .ok_or(Refusal::new(400, "Bad Contact"))?;
        let asked = contact.param("expires").map(crate::message::lossy);
        let asked = asked.or_else(|| text(headers, &HeaderName::Expires));
        let expires = match asked {
            None => self.limits.max_expires,
            // RFC 3261 §20.19: what cannot be read counts as 3600.
            Some(text) => Duration::from_secs(text.trim().parse::<u32>().unwrap_or(3_600).into()),
        };
        if !expires.is_zero() && expires < self.limits.min_expires {
            let least = self.limits.min_expires.as_secs().to_string();
            return Err(Refusal::new(423, "Interval Too Brief").with(HeaderName::MinExpires, least));
        }
        Ok(Wish {
            instance: instance(&contact),
            outbound: outbound(headers, &contact)?,
            uri: contact.uri,
            expires: expires.min(self.limits.max_expires),
        })
    }

    fn check(&self, update: &Update<'_>, wishes: &[Wish]) -> Result<(), Refusal> {
        let none = Vec::new();
        let list = self.accounts.get(update.account).unwrap_or(&none);
        let mut added = 0;
        for wish in wishes {
            match list.iter().find(|b| b.is_of(wish)) {
                Some(binding) if binding.is_newer_than(update) => {
                    return Err(Refusal::new(500, "CSeq Out Of Order"));
                }
                None if !wish.expires.is_zero() => added += 1,
                _ => {}
            }
        }
        if added > 0 && list.len() + added > self.limits.max_contacts_per_account {
            return Err(Refusal::new(403, "Too Many Contacts"));
        }
        if self.count + added > self.limits.max_registrations {
            return Err(Refusal::new(503, "Registrar Full").with(HeaderName::RetryAfter, "600"));
        }
        Ok(())
    }

    fn apply(&mut self, now: Instant, update: &Update<'_>, wishes: Vec<Wish>) {
        if wishes.is_empty() {
            return;
        }
        let list = self.accounts.entry(update.account.to_owned()).or_default();
        self.count -= list.len();
        for wish in wishes {
            list.retain(|binding| !binding.is_of(&wish));
            if !wish.expires.is_zero() {
                self.made += 1;
                list.push(Binding {
                    uri: wish.uri,
                    flow: update.flow,
                    instance: wish.instance,
                    outbound: wish.outbound,
                    registered_at: self.made,
                    user_agent: text(update.headers, &HeaderName::UserAgent)
                        .map(|agent| agent.chars().take(200).collect()),
                    expires_at: now + wish.expires,
                    call_id: update.call_id.to_owned(),
                    cseq: update.cseq,
                });
            }
        }
        self.count += list.len();
        if list.is_empty() {
            self.accounts.remove(update.account);
        }
    }

    fn listing(&self, now: Instant, update: &Update<'_>) -> Vec<String> {
        let list = self.accounts.get(update.account).map(Vec::as_slice);
        let known = tokens(update.headers, &HeaderName::Supported);
        let gruus = known.iter().any(|tag| tag == gruu::OPTION);
        let aor = Some(update.address).filter(|_| gruus);
        let list = list.unwrap_or_default().iter();
        list.map(|binding| binding.listed(now, aor)).collect()
    }
}

impl Binding {
    /// As a Contact of a 200, with its public GRUU where the address of record is given (RFC 5627 §5.2).
    fn listed(&self, now: Instant, aor: Option<&Uri>) -> String {
        let left = self.expires_at.saturating_duration_since(now).as_secs();
        let mut listed = format!("<{}>", self.uri);
        if let Some(instance) = &self.instance {
            listed += &format!(";+sip.instance=\"{instance}\"");
        }
        if let Some(outbound) = &self.outbound {
            listed += &format!(";reg-id={}", outbound.reg_id);
        }
        let gruu = self.instance.as_deref().zip(aor);
        if let Some(gruu) = gruu.and_then(|(instance, aor)| gruu::public(aor, instance)) {
            listed += &format!(";pub-gruu=\"{gruu}\"");
        }
        format!("{listed};expires={left}")
    }

    /// RFC 3261 §10.3 step 7: within one Call-ID the sequence number must rise.
    fn is_newer_than(&self, update: &Update<'_>) -> bool {
        self.call_id == update.call_id && self.cseq >= update.cseq
    }

    /// Whether a wish is about this binding: the same flow of the same terminal (RFC 5626 §6), else the
    /// same URI.
    fn is_of(&self, wish: &Wish) -> bool {
        match (&self.outbound, &wish.outbound) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => self.uri.equivalent(&wish.uri),
        }
    }
}

/// What the terminal calls itself, as it stands between the quotes.
fn instance(contact: &Address) -> Option<String> {
    let value = contact.param("+sip.instance").map(crate::message::lossy)?;
    let instance = value.trim_matches('"');
    // It is written back between quotes.
    let fits = !instance.is_empty() && !instance.contains(['"', '\\']);
    fits.then(|| instance.to_owned())
}

/// The terminal and its flow, where the Contact names both and the terminal knows what that means.
///
/// # Errors
/// 439 where the request came through somebody who keeps no flows (RFC 5626 §6).
fn outbound(headers: &Headers, contact: &Address) -> Result<Option<Outbound>, Refusal> {
    let known = tokens(headers, &HeaderName::Supported);
    if !known.iter().any(|tag| tag == "outbound") {
        return Ok(None);
    }
    let reg_id = contact.param("reg-id").map(crate::message::lossy);
    let reg_id = reg_id.and_then(|id| id.parse::<u32>().ok());
    let reg_id = reg_id.filter(|id| (1..=i32::MAX as u32).contains(id));
    let Some((reg_id, instance)) = reg_id.zip(instance(contact)) else {
        return Ok(None);
    };
    let vias = headers.get_all(&HeaderName::Via).map(|via| {
        let value = via.value();
        1 + usize::from(crate::message::first_hop_end(&value) < value.len())
    });
    if vias.sum::<usize>() > 1 {
        return Err(Refusal::new(439, "First Hop Lacks Outbound Support"));
    }
    Ok(Some(Outbound { instance, reg_id }))
}

/// Header components need angle brackets around the URI (RFC 3261 §20.10).
fn unbracketed_headers(value: &str, contact: &Address) -> bool {
    contact.uri.has_headers() && !value.contains('<')
}

/// The single Contact values over all lines. `*` beside others is refused.
fn contact_values(headers: &Headers) -> Result<Vec<String>, Refusal> {
    let mut values = Vec::new();
    for header in headers.get_all(&HeaderName::Contact) {
        let value = header.value().into_owned();
        let mut rest = value.as_slice();
        while !rest.is_empty() {
            let end = crate::message::first_hop_end(rest);
            let one = rest.get(..end).unwrap_or_default().trim_ascii();
            values.push(crate::message::lossy(one));
            rest = rest.get(end + 1..).unwrap_or_default();
        }
    }
    if values.len() > 1 && values.iter().any(|value| value == "*") {
        return Err(Refusal::new(400, "Wildcard Beside Contacts"));
    }
    if values.len() > 32 {
        return Err(Refusal::new(403, "Too Many Contacts"));
    }
    Ok(values)
}
