//! DTLS and ICE of a terminal's port (RFC 5764, RFC 8445): the parts of a browser's session, each by
//! itself, since terminals have the one, the other, both or neither.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use mcu_api::plan::{DtlsRole, DtlsTerms, IceTerms, SdesKeys};

use super::certificate::Certificate;
use super::dtls::{Dtls, Peer};
use super::ice::Ice;
use super::session::{FailReason, SessionError};

/// Handshakes that may fail while we wait for the peer's. Whoever finds the port can begin one, and
/// fails at the fingerprint; the peer's own is still to be taken.
const ATTEMPTS_MAX: u32 = 32;

/// The DTLS association of one port. No socket, no clock.
pub struct Association {
    certificate: Certificate,
    terms: DtlsTerms,
    dtls: Dtls,
    attempts: u32,
    established: bool,
    /// Where the handshake is held.
    remote: Option<SocketAddr>,
}

impl Association {
    /// One that signalling agreed on.
    ///
    /// # Errors
    /// Fails when the DTLS library cannot work with the certificate.
    pub fn new(certificate: &Certificate, terms: &DtlsTerms) -> Result<Self, SessionError> {
        Ok(Self {
            certificate: certificate.clone(),
            dtls: dtls(certificate, terms)?,
            terms: terms.clone(),
            attempts: 0,
            established: false,
            remote: None,
        })
    }

    /// The peer can be reached at `remote`: our ClientHello leaves, if that is our role.
    ///
    /// # Errors
    /// Fails when the handshake does.
    pub fn start(&mut self, now: Instant, remote: SocketAddr) -> Result<(), FailReason> {
        if self.terms.role == DtlsRole::Client && self.remote.is_none() {
            self.remote = Some(remote);
            return self.dtls.start(now);
        }
        Ok(())
    }

    /// Takes one datagram of records. Yields keys when the handshake has just finished.
    ///
    /// # Errors
    /// Fails when the handshake did, for good.
    pub fn handle_input(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<Option<SdesKeys>, FailReason> {
        self.remote = Some(from);
        let result = match self.dtls.start(now) {
            Ok(()) => self.dtls.handle_input(now, datagram),
            Err(reason) => Err(reason),
        };
        match result {
            // The keys stand for themselves: when the call is over, signalling says so.
            Err(_) if self.established => Ok(None),
            Err(reason) => self.try_again(reason).map(|()| None),
            Ok(keys) => {
                self.established |= keys.is_some();
                Ok(keys)
            }
        }
    }

    /// Sends again what was not answered.
    ///
    /// # Errors
    /// Fails when the handshake did, for good.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), FailReason> {
        match self.dtls.handle_timeout(now) {
            Err(reason) if !self.established => self.try_again(reason),
            _ => Ok(()),
        }
    }

    /// A datagram to be sent, and where to.
    pub fn poll_output(&mut self) -> Option<(SocketAddr, Bytes)> {
        let bytes = self.dtls.poll_output()?;
        Some((self.remote?, bytes))
    }

    /// Says goodbye; the datagram is the last output.
    pub fn close(&mut self, now: Instant) {
        self.dtls.close(now);
    }

    /// Waits, or begins, once more.
    fn try_again(&mut self, reason: FailReason) -> Result<(), FailReason> {
        self.attempts += 1;
        if self.attempts >= ATTEMPTS_MAX || self.terms.role == DtlsRole::Client {
            return Err(reason);
        }
        self.dtls = dtls(&self.certificate, &self.terms)
            .map_err(|error| FailReason::Dtls(error.to_string()))?;
        Ok(())
    }
}

fn dtls(certificate: &Certificate, terms: &DtlsTerms) -> Result<Dtls, SessionError> {
    let peer = Peer {
        fingerprints: terms.remote_fingerprints.clone(),
        is_browser: false,
    };
    Dtls::new(certificate, terms.role, peer)
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
