//! DTLS and ICE of a terminal's port (RFC 5764, RFC 8445): the parts of a browser's session, each by
//! itself, since terminals have the one, the other, both or neither.
//!
//! Whoever finds the port can send to it, and until a certificate was shown nothing tells the peer from
//! a stranger. So each source has a handshake of its own; the first that ends with the right certificate
//! is the peer's. Nothing is held for a source before it has brought back a cookie, and has shown by
//! that that it is where it says.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mcu_api::plan::{DtlsRole, DtlsTerms, IceTerms, SdesKeys};

use super::assembly::{HELLO_VERIFY_REQUEST, message};
use super::certificate::Certificate;
use super::cookie::{COOKIE_LEN, Cookie, Cookies};
use super::dtls::{Dtls, Peer, record};
use super::hello::{self, First, HANDSHAKE, Part};
use super::ice::Ice;
use super::session::{FailReason, SessionError};

/// Handshakes that others began and that are under way; one more takes the place of another.
const BEGUN_MAX: usize = 16;
/// Of them, those that came from where the peer is expected: forgers of its address get no further.
const EXPECTED_MAX: usize = 8;
/// Handshakes that may begin within [`WINDOW`], of strangers and where the peer is expected alike.
/// Each costs a key pair.
const BEGIN_MAX: u32 = 64;
const WINDOW: Duration = Duration::from_secs(1);
/// Time between two beginnings of one network that is a stranger's.
const BEGIN_PAUSE: Duration = Duration::from_millis(100);
/// Time from a failed handshake of ours to the next, at first; it doubles up to [`PAUSE_MAX`]. The
/// terminal may open its port late.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Datagrams that wait to be sent. The owner takes them after each call, so that this is only reached
/// by one that does not; then what is newest is dropped.
const OUTPUTS_MAX: usize = 256;

/// What is known of the place that a datagram came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Stranger,
    /// Signalling says that the peer is there.
    Announced,
    /// An authentic connectivity check came from there: whatever the address, it is the peer.
    Checked,
}

/// The DTLS association of one port. No socket, no clock.
pub struct Association {
    certificate: Certificate,
    terms: DtlsTerms,
    cookies: Cookies,
    /// Our own handshake, where the ClientHello is ours.
    own: Option<Own>,
    /// Those that others began, oldest first, at most [`BEGUN_MAX`].
    begun: Vec<Begun>,
    /// What may still begin of strangers, and where the peer is expected.
    quotas: [Quota; 2],
    /// Keys came: no other handshake is held.
    established: bool,
    /// The handshake that yielded them, while its peer has not said goodbye.
    done: Option<Handshake>,
    /// At most [`OUTPUTS_MAX`]; drops the newest.
    outputs: VecDeque<(SocketAddr, Bytes)>,
}

/// A handshake, and the place that it is held with.
struct Handshake {
    dtls: Dtls,
    remote: SocketAddr,
    /// Other places that sent checks are the same peer.
    checked: bool,
}

struct Own {
    remote: SocketAddr,
    checked: bool,
    /// `None` while we pause.
    handshake: Option<Handshake>,
    again_at: Option<Instant>,
    pause: Duration,
}

/// A handshake that another began.
struct Begun {
    handshake: Handshake,
    /// Its ClientHello's: another of the same place begins another handshake.
    random: [u8; 32],
    /// Further fragments of its last ClientHello are still to come.
    open: bool,
    at: Instant,
    expected: bool,
}

/// Events that may happen within [`WINDOW`].
#[derive(Default)]
struct Quota {
    since: Option<Instant>,
    used: u32,
}

impl Association {
    /// One that signalling agreed on.
    ///
    /// # Errors
    /// Fails when the DTLS library cannot work with the certificate.
    pub fn new(certificate: &Certificate, terms: &DtlsTerms) -> Result<Self, SessionError> {
        Dtls::new(certificate, terms.role, peer(terms))?;
        Ok(Self {
            cookies: Cookies::new(certificate)?,
            certificate: certificate.clone(),
            terms: terms.clone(),
            own: None,
            begun: Vec::new(),
            quotas: Default::default(),
            established: false,
            done: None,
            outputs: VecDeque::new(),
        })
    }

    /// The peer can be reached at `remote`, which `checked` says it proved: our ClientHello leaves, if
    /// that is our role. Elsewhere than before, the handshake begins anew, or follows the checks.
    ///
    /// # Errors
    /// Says why the handshake failed; it begins anew after a while.
    pub fn start(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        checked: bool,
    ) -> Result<(), FailReason> {
        if self.terms.role != DtlsRole::Client || self.established {
            return Ok(());
        }
        if let Some(own) = &mut self.own
            && (own.remote == remote || own.checked && checked)
        {
            own.remote = remote;
            own.checked = checked;
            if let Some(handshake) = &mut own.handshake {
                (handshake.remote, handshake.checked) = (remote, checked);
            }
            return Ok(());
        }
        self.own = Some(Own {
            remote,
            checked,
            handshake: None,
            again_at: Some(now),
            pause: PAUSE_FIRST,
        });
        self.begin_own(now)
    }

    /// Takes one datagram of records. Yields keys when a handshake has just finished.
    ///
    /// # Errors
    /// Says why a handshake failed. The peer's may still come.
    pub fn handle_input(
        &mut self,
        now: Instant,
        from: SocketAddr,
        standing: Standing,
        datagram: &[u8],
    ) -> Result<Option<SdesKeys>, FailReason> {
        let Some(part) = hello::part(datagram) else {
            return Ok(None);
        };
        let checked = standing == Standing::Checked;
        if self.established {
            self.repeat(now, from, checked, datagram);
            return Ok(None);
        }
        let place = match part {
            Part::Hello(first) => self.greet(now, from, standing, first),
            Part::Tail => self.open_by(from, checked),
            Part::Other => match self.begun_by(from, checked) {
                None => return self.take_own(now, from, checked, datagram),
                known => known,
            },
        };
        place.map_or(Ok(None), |place| {
            self.take(now, (from, checked), place, datagram)
        })
    }

    /// Sends again what was not answered, and begins anew what failed.
    ///
    /// # Errors
    /// Says why a handshake failed.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), FailReason> {
        let mut failed = None;
        let outputs = &mut self.outputs;
        self.begun.retain_mut(|begun| {
            let result = begun.handshake.dtls.handle_timeout(now);
            begun.handshake.drain(outputs);
            failed = failed.take().or(result.clone().err());
            result.is_ok()
        });
        let own = self.own.as_mut().and_then(|own| own.handshake.as_mut());
        if let Some(handshake) = own {
            let result = handshake.dtls.handle_timeout(now);
            handshake.drain(&mut self.outputs);
            if let Err(reason) = result {
                self.pause(now);
                return Err(reason);
            }
        }
        self.begin_own(now)?;
        failed.map_or(Ok(()), Err)
    }

    /// A datagram to be sent, and where to.
    pub fn poll_output(&mut self) -> Option<(SocketAddr, Bytes)> {
        self.outputs.pop_front()
    }

    /// Says goodbye; the datagrams are the last outputs.
    pub fn close(&mut self, now: Instant) {
        let own = self.own.as_mut().and_then(|own| own.handshake.as_mut());
        for handshake in self.done.iter_mut().chain(own) {
            handshake.dtls.close(now);
            handshake.drain(&mut self.outputs);
        }
        self.established = true;
        self.done = None;
        self.settle();
    }

    /// The place of the handshake that this ClientHello belongs to, or begins. One without a cookie gets
    /// one, and leaves nothing here.
    fn greet(
        &mut self,
        now: Instant,
        from: SocketAddr,
        standing: Standing,
        first: First,
    ) -> Option<usize> {
        let checked = standing == Standing::Checked;
        // To our own ClientHello only the peer may answer by its own, as one does that has our role too.
        let own_peer = |own: &Own| own.remote == from || checked;
        if self.terms.role == DtlsRole::Client && !self.own.as_ref().is_some_and(own_peer) {
            return None;
        }
        let provider = self.certificate.provider.as_ref();
        let place = (!checked).then_some(from);
        let cookies = &mut self.cookies;
        // The peer may have asked before its first check; another cookie it would take for a repetition.
        let known = |cookie: &Cookie| {
            cookies.know(now, provider, Some(from), cookie)
                || checked && cookies.know(now, provider, None, cookie)
        };
        let shown = first.cookie.filter(known);
        if let Some(cookie) = shown {
            return self
                .continued_by(from, checked, first)
                .or_else(|| self.begin(now, from, standing, first, cookie));
        }
        let cookie = self.cookies.make(now, provider, place)?;
        if self.outputs.len() < OUTPUTS_MAX {
            self.outputs.push_back((from, verify_request(&cookie)));
        }
        None
    }

    /// The place of a handshake that this ClientHello has begun before.
    fn continued_by(&mut self, from: SocketAddr, checked: bool, first: First) -> Option<usize> {
        let place = self.begun.iter().rposition(|begun| {
            begun.random == first.random && begun.handshake.is_with(from, checked)
        })?;
        self.begun[place].open = !first.whole;
        Some(place)
    }

    /// The place of a handshake whose ClientHello came in part. What shows no random is taken nowhere
    /// else: anybody can forge it.
    fn open_by(&self, from: SocketAddr, checked: bool) -> Option<usize> {
        let mut places = self.begun.iter();
        places.rposition(|begun| begun.open && begun.handshake.is_with(from, checked))
    }

    /// The place of the newest handshake with this source.
    fn begun_by(&self, from: SocketAddr, checked: bool) -> Option<usize> {
        let mut places = self.begun.iter();
        places.rposition(|begun| begun.handshake.is_with(from, checked))
    }

    /// Makes room for a handshake that begins with this ClientHello.
    fn begin(
        &mut self,
        now: Instant,
        from: SocketAddr,
        standing: Standing,
        first: First,
        cookie: Cookie,
    ) -> Option<usize> {
        let checked = standing == Standing::Checked;
        let expected = standing != Standing::Stranger;
        let recent = |begun: &Begun| {
            network(begun.handshake.remote) == network(from) && now < begun.at + BEGIN_PAUSE
        };
        if !expected && self.begun.iter().any(recent)
            || !self.quotas[usize::from(expected)].take(now)
        {
            return None;
        }
        let peer = peer(&self.terms);
        let mut dtls = Dtls::answering(&self.certificate, peer, cookie).ok()?;
        dtls.start(now).ok()?;
        self.make_room(expected);
        self.begun.push(Begun {
            handshake: Handshake {
                dtls,
                remote: from,
                checked,
            },
            random: first.random,
            open: !first.whole,
            at: now,
            expected,
        });
        Some(self.begun.len() - 1)
    }

    /// Whoever has begun most gives way: one source by itself never displaces another's.
    fn make_room(&mut self, expected: bool) {
        let among = self.begun.iter().filter(|begun| begun.expected).count();
        let of_expected = expected && among >= EXPECTED_MAX;
        if !of_expected && self.begun.len() < BEGUN_MAX {
            return;
        }
        let weight = |begun: &Begun| {
            let of = network(begun.handshake.remote);
            let same = |other: &&Begun| network(other.handshake.remote) == of;
            self.begun.iter().filter(same).count()
        };
        // Of equals the oldest, which stands first.
        let places = self.begun.iter().enumerate().rev();
        let places = places.filter(|(_, begun)| begun.expected == of_expected);
        if let Some((place, _)) = places.max_by_key(|(_, begun)| weight(begun)) {
            self.begun.remove(place);
        }
    }

    fn take(
        &mut self,
        now: Instant,
        (from, checked): (SocketAddr, bool),
        place: usize,
        datagram: &[u8],
    ) -> Result<Option<SdesKeys>, FailReason> {
        let Some(begun) = self.begun.get_mut(place) else {
            return Ok(None);
        };
        begun.handshake.follow(from, checked);
        let result = begun.handshake.dtls.handle_input(now, datagram);
        begun.handshake.drain(&mut self.outputs);
        match result {
            Ok(Some(keys)) => {
                let begun = self.begun.remove(place);
                self.finish(begun.handshake);
                return Ok(Some(keys));
            }
            Ok(None) => {}
            Err(_) => {
                self.begun.remove(place);
            }
        }
        if let Some(own) = &mut self.own {
            // The peer took our role: two that both say hello end each other's handshakes.
            own.handshake = None;
            own.again_at = Some(now + PAUSE_MAX);
        }
        result
    }

    fn take_own(
        &mut self,
        now: Instant,
        from: SocketAddr,
        checked: bool,
        datagram: &[u8],
    ) -> Result<Option<SdesKeys>, FailReason> {
        let own = self.own.as_mut().and_then(|own| own.handshake.as_mut());
        let Some(handshake) = own.filter(|handshake| handshake.is_with(from, checked)) else {
            return Ok(None);
        };
        handshake.follow(from, checked);
        let result = handshake.dtls.handle_input(now, datagram);
        handshake.drain(&mut self.outputs);
        match &result {
            Ok(Some(_)) => {
                if let Some(handshake) = self.own.take().and_then(|own| own.handshake) {
                    self.finish(handshake);
                }
            }
            Ok(None) => {}
            Err(_) => self.pause(now),
        }
        result
    }

    fn begin_own(&mut self, now: Instant) -> Result<(), FailReason> {
        let Some(own) = &mut self.own else {
            return Ok(());
        };
        if own.again_at.is_none_or(|at| now < at) {
            return Ok(());
        }
        own.again_at = None;
        let failed = |error: SessionError| FailReason::Dtls(error.to_string());
        let peer = peer(&self.terms);
        let result = Dtls::new(&self.certificate, DtlsRole::Client, peer).map_err(failed);
        let result = result.and_then(|mut dtls| dtls.start(now).map(|()| dtls));
        match result {
            Ok(dtls) => {
                let mut handshake = Handshake {
                    dtls,
                    remote: own.remote,
                    checked: own.checked,
                };
                handshake.drain(&mut self.outputs);
                own.handshake = Some(handshake);
                Ok(())
            }
            Err(reason) => {
                self.pause(now);
                Err(reason)
            }
        }
    }

    /// Our own handshake is given up for a while.
    fn pause(&mut self, now: Instant) {
        if let Some(own) = &mut self.own {
            own.handshake = None;
            own.again_at = Some(now + own.pause);
            own.pause = (2 * own.pause).min(PAUSE_MAX);
        }
    }

    fn finish(&mut self, handshake: Handshake) {
        self.established = true;
        self.done = Some(handshake);
        self.settle();
    }

    fn settle(&mut self) {
        self.own = None;
        self.begun = Vec::new();
    }

    /// The peer may lack our last flight. The keys stand for themselves: when the call is over,
    /// signalling says so.
    fn repeat(&mut self, now: Instant, from: SocketAddr, checked: bool, datagram: &[u8]) {
        let done = self.done.as_mut();
        let Some(done) = done.filter(|done| done.is_with(from, checked)) else {
            return;
        };
        done.follow(from, checked);
        let closed = done.dtls.handle_input(now, datagram).is_err();
        done.drain(&mut self.outputs);
        if closed {
            self.done = None;
        }
    }
}

impl Handshake {
    fn is_with(&self, from: SocketAddr, checked: bool) -> bool {
        self.remote == from || self.checked && checked
    }

    /// Answers go to where the peer was heard last.
    fn follow(&mut self, from: SocketAddr, checked: bool) {
        self.remote = from;
        self.checked |= checked;
    }

    fn drain(&mut self, outputs: &mut VecDeque<(SocketAddr, Bytes)>) {
        while let Some(bytes) = self.dtls.poll_output() {
            if outputs.len() < OUTPUTS_MAX {
                outputs.push_back((self.remote, bytes));
            }
        }
    }
}

impl Quota {
    fn take(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now >= since + WINDOW) {
            (self.since, self.used) = (Some(now), 0);
        }
        self.used += 1;
        self.used <= BEGIN_MAX
    }
}

/// Whose an address is: of IPv6 a site has at least a /64.
fn network(address: SocketAddr) -> IpAddr {
    match address.ip() {
        IpAddr::V6(ip) => {
            let prefix = ip.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(prefix))
        }
        v4 => v4,
    }
}

fn peer(terms: &DtlsTerms) -> Peer {
    Peer {
        fingerprints: terms.remote_fingerprints.clone(),
        is_browser: false,
    }
}

/// Asks for a ClientHello with this cookie, which is longer than this. Its record has always the first
/// number: the peer then takes one of them, and the ServerHello after it.
fn verify_request(cookie: &Cookie) -> Bytes {
    let body = [&[0xFE, 0xFD, COOKIE_LEN as u8], &cookie[..]].concat();
    record(HANDSHAKE, 0, &message(HELLO_VERIFY_REQUEST, 0, &body)).into()
}

/// The ICE-lite agent of one port (RFC 8445 §2.5).
///
/// Consent (RFC 7675) is not asked for: many terminals keep a path alive by STUN indications, which
/// say nothing. Silence of the peer is judged by signalling, as it is without ICE.
pub struct Path {
    certificate: Certificate,
    ice: Ice,
}

impl Path {
    /// An agent with these credentials.
    pub fn new(now: Instant, certificate: &Certificate, terms: &IceTerms) -> Self {
        Self {
            certificate: certificate.clone(),
            ice: Ice::new(now, terms),
        }
    }

    /// Takes new credentials (RFC 8445 §9). The path in use stays until another is nominated.
    pub fn restart(&mut self, now: Instant, terms: &IceTerms) {
        self.ice.restart(now, terms);
    }

    /// Answers a check; `None` for what is none.
    pub fn handle_input(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Option<Vec<u8>> {
        let crypto = self.certificate.provider.crypto();
        self.ice.handle_input(now, from, datagram, crypto)
    }

    /// Where the peer is: the nominated address.
    pub fn selected(&self) -> Option<SocketAddr> {
        self.ice.selected()
    }

    /// Whether an authentic check came from this address.
    pub fn knows(&self, address: SocketAddr) -> bool {
        self.ice.knows(address)
    }
}

#[cfg(test)]
mod tests;
