//! The ICE-lite half of a browser's leg (RFC 8445 §2.5, RFC 7675): answers checks, sends none.
//!
//! A lite agent has one address, gathers nothing, and learns the path from the checks that arrive.
//! What is left of ICE is this file; STUN messages are `rtc-stun`'s.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mcu_api::plan::IceTerms;
use rtc_dtls::crypto_provider::RTCCrypto;
use rtc_stun::attributes::{
    ATTR_ICE_CONTROLLED, ATTR_ICE_CONTROLLING, ATTR_MESSAGE_INTEGRITY, ATTR_PRIORITY,
    ATTR_USE_CANDIDATE, ATTR_USERNAME, AttrType,
};
use rtc_stun::error_code::{
    CODE_BAD_REQUEST, CODE_ROLE_CONFLICT, CODE_UNAUTHORIZED, CODE_UNKNOWN_ATTRIBUTE, ErrorCode,
};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_ERROR, BINDING_REQUEST, BINDING_SUCCESS, Message, Setter};
use rtc_stun::uattrs::UnknownAttributes;
use rtc_stun::xoraddr::XorMappedAddress;

/// A browser that has not checked for this long is gone. RFC 7675 §5.1 lets consent live 30 s;
/// browsers check every 2.5 s and a room should not show an empty chair for half a minute.
const CONSENT_TIMEOUT: Duration = Duration::from_secs(15);
/// Time for the first check to arrive: the page may still be asking for the camera.
const FIRST_CHECK_TIMEOUT: Duration = Duration::from_secs(30);
/// Addresses of one browser that are remembered; the one unheard for longest makes room.
const REMOTES_MAX: usize = 16;
/// A nominated pair that was not checked for this long does not count: the browser has moved to
/// another network.
const STALE: Duration = Duration::from_secs(5);
/// Longest STUN message that is looked at. A check takes about 150 bytes.
const MESSAGE_MAX: usize = 1280;

/// The path to the browser, as far as its checks have shown it.
pub(super) struct Ice {
    username: String,
    local_pwd: String,
    /// Addresses that authentic checks came from, at most [`REMOTES_MAX`].
    remotes: Vec<Remote>,
    selected: Option<SocketAddr>,
    deadline: Instant,
    checked: bool,
}

struct Remote {
    address: SocketAddr,
    priority: u32,
    nominated: bool,
    heard: Instant,
}

impl Ice {
    pub(super) fn new(now: Instant, terms: &IceTerms) -> Self {
        Self {
            username: username(terms),
            local_pwd: terms.local_pwd.0.clone(),
            remotes: Vec::new(),
            selected: None,
            deadline: now + FIRST_CHECK_TIMEOUT,
            checked: false,
        }
    }

    /// Takes new credentials (RFC 8445 §9). The path in use stays until the new checks nominate one.
    pub(super) fn restart(&mut self, now: Instant, terms: &IceTerms) {
        let selected = self.selected;
        *self = Self {
            selected,
            ..Self::new(now, terms)
        };
    }

    /// The pair that the browser nominated.
    pub(super) fn selected(&self) -> Option<SocketAddr> {
        self.selected
    }

    /// Whether an authentic check came from this address.
    pub(super) fn knows(&self, address: SocketAddr) -> bool {
        self.selected == Some(address) || self.remotes.iter().any(|r| r.address == address)
    }

    /// Nothing can be sent to `address` any more. Another pair that was nominated and is still checked
    /// takes its place.
    pub(super) fn lose_path(&mut self, now: Instant, address: SocketAddr) {
        self.remotes.retain(|remote| remote.address != address);
        if self.selected == Some(address) {
            let usable = |r: &&Remote| r.nominated && now.duration_since(r.heard) < STALE;
            let best = self
                .remotes
                .iter()
                .filter(usable)
                .max_by_key(|r| r.priority);
            self.selected = best.map(|remote| remote.address);
        }
    }

    /// When consent ends.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether any authentic check ever came.
    pub(super) fn was_checked(&self) -> bool {
        self.checked
    }

    /// Authentic media arrived from `address`: if that pair was nominated, the browser uses it now.
    pub(super) fn follow(&mut self, address: SocketAddr) {
        if self
            .remotes
            .iter()
            .any(|r| r.address == address && r.nominated)
        {
            self.selected = Some(address);
        }
    }

    /// Answers a STUN message; `None` for what is no binding request or fails its FINGERPRINT.
    pub(super) fn handle_input(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        crypto: &dyn RTCCrypto,
    ) -> Option<Vec<u8>> {
        let mut request = decode(datagram)?;
        let answer = match self.judge(&mut request, crypto) {
            Ok(()) => {
                self.accept(now, from, &request);
                self.success(&request, from, crypto)
            }
            Err(code) => self.error(&request, code, crypto),
        };
        answer.ok().map(|message| message.raw)
    }

    /// RFC 8489 §9.1.3 and §6.3.1, RFC 8445 §7.3.1.1, in this order.
    fn judge(&self, request: &mut Message, crypto: &dyn RTCCrypto) -> Result<(), ErrorCode> {
        let username = request.get(ATTR_USERNAME).map_err(|_| CODE_BAD_REQUEST)?;
        if !request.contains(ATTR_MESSAGE_INTEGRITY) {
            return Err(CODE_BAD_REQUEST);
        }
        if username != self.username.as_bytes()
            || MessageIntegrity::check(request, self.local_pwd.as_bytes(), crypto).is_err()
        {
            return Err(CODE_UNAUTHORIZED);
        }
        if !unknown_attributes(request).is_empty() {
            return Err(CODE_UNKNOWN_ATTRIBUTE);
        }
        // A lite agent facing a full one is always controlled (RFC 8445 §6.1.1), so a peer that
        // says the same has to switch, whatever its tie-breaker.
        if request.contains(ATTR_ICE_CONTROLLED) {
            return Err(CODE_ROLE_CONFLICT);
        }
        Ok(())
    }

    fn accept(&mut self, now: Instant, from: SocketAddr, request: &Message) {
        self.checked = true;
        self.deadline = now + CONSENT_TIMEOUT;
        let nominated = request.contains(ATTR_USE_CANDIDATE);
        let priority = priority(request);
        match self.remotes.iter_mut().find(|r| r.address == from) {
            Some(remote) => {
                remote.heard = now;
                remote.priority = priority;
                remote.nominated |= nominated;
            }
            None => self.remember(Remote {
                address: from,
                priority,
                nominated,
                heard: now,
            }),
        }
        if nominated {
            self.nominate(now, from, priority);
        }
    }

    fn remember(&mut self, remote: Remote) {
        if self.remotes.len() >= REMOTES_MAX {
            let spare = |r: &&Remote| self.selected != Some(r.address);
            let oldest = self.remotes.iter().filter(spare).min_by_key(|r| r.heard);
            let oldest = oldest.map(|r| r.address);
            self.remotes.retain(|r| Some(r.address) != oldest);
        }
        self.remotes.push(remote);
    }

    /// RFC 8445 §8.1.1: of several nominated pairs the one of highest priority is used, which is
    /// what a browser that nominates aggressively expects. A pair whose checks have stopped does
    /// not count: the browser has moved to another network.
    fn nominate(&mut self, now: Instant, from: SocketAddr, priority: u32) {
        let better = |r: &&Remote| {
            Some(r.address) == self.selected
                && r.address != from
                && r.priority > priority
                && now.duration_since(r.heard) < STALE
        };
        if self.remotes.iter().find(better).is_none() {
            self.selected = Some(from);
        }
    }

    fn success(
        &self,
        request: &Message,
        from: SocketAddr,
        crypto: &dyn RTCCrypto,
    ) -> Result<Message, rtc_shared::error::Error> {
        let mut response = Message::new();
        response.build(&[
            Box::new(request.transaction_id),
            Box::new(BINDING_SUCCESS),
            Box::new(XorMappedAddress {
                ip: from.ip(),
                port: from.port(),
            }),
            Box::new(self.integrity(crypto)),
            Box::new(FINGERPRINT),
        ])?;
        Ok(response)
    }

    fn error(
        &self,
        request: &Message,
        code: ErrorCode,
        crypto: &dyn RTCCrypto,
    ) -> Result<Message, rtc_shared::error::Error> {
        let mut setters: Vec<Box<dyn Setter + '_>> = vec![
            Box::new(request.transaction_id),
            Box::new(BINDING_ERROR),
            Box::new(code),
        ];
        if code == CODE_UNKNOWN_ATTRIBUTE {
            setters.push(Box::new(UnknownAttributes(unknown_attributes(request))));
        }
        // Without valid credentials there is no key to sign with (RFC 8489 §9.1.3).
        if code != CODE_BAD_REQUEST && code != CODE_UNAUTHORIZED {
            setters.push(Box::new(self.integrity(crypto)));
        }
        setters.push(Box::new(FINGERPRINT));
        let mut response = Message::new();
        response.build(&setters)?;
        Ok(response)
    }

    fn integrity<'a>(&self, crypto: &'a dyn RTCCrypto) -> MessageIntegrity<'a> {
        MessageIntegrity::new_raw_integrity_with_provider(self.local_pwd.as_bytes(), crypto)
    }
}

/// USERNAME of checks sent to us: addressee first (RFC 8445 §7.2.2).
fn username(terms: &IceTerms) -> String {
    format!("{}:{}", terms.local_ufrag, terms.remote_ufrag)
}

/// A binding request with a right FINGERPRINT, which ICE requires (RFC 8445 §7.1).
fn decode(datagram: &[u8]) -> Option<Message> {
    if datagram.len() > MESSAGE_MAX {
        return None;
    }
    let mut message = Message::new();
    message.unmarshal_binary(datagram).ok()?;
    FINGERPRINT.check(&message).ok()?;
    (message.typ == BINDING_REQUEST).then_some(message)
}

fn priority(request: &Message) -> u32 {
    let bytes = request
        .get(ATTR_PRIORITY)
        .ok()
        .and_then(|value| value.try_into().ok());
    bytes.map_or(0, u32::from_be_bytes)
}

/// Attributes that have to be understood and are not (RFC 8489 §6.3.1), at most eight of them.
fn unknown_attributes(request: &Message) -> Vec<AttrType> {
    const REQUIRED: std::ops::Range<u16> = 0..0x8000;
    let known = [
        ATTR_USERNAME,
        ATTR_MESSAGE_INTEGRITY,
        ATTR_PRIORITY,
        ATTR_USE_CANDIDATE,
        ATTR_ICE_CONTROLLED,
        ATTR_ICE_CONTROLLING,
    ];
    let types = request.attributes.0.iter().map(|attribute| attribute.typ);
    types
        .filter(|t| REQUIRED.contains(&t.value()) && !known.contains(t))
        .take(8)
        .collect()
}
