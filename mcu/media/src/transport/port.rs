//! A local port of a terminal's transport, with its DTLS and ICE.

use std::net::SocketAddr;
use std::time::Instant;

use mcu_api::plan::{SdesKeys, UdpTransport};
use mcu_rtp::webrtc::{Association, Certificate, FailReason, Path, SessionError, Standing};
use mio::Token;

use crate::network::Sockets;

/// Packets that must come from one address before it is taken for the peer's (clear RTP has no
/// other proof).
const PROOF: u8 = 2;

/// A local port and the peer behind it: where SDP said first, then where packets came from
/// (symmetric RTP, RFC 4961), fixed once learnt.
pub struct Port {
    /// Its socket.
    pub token: Token,
    announced: Option<SocketAddr>,
    learnt: Option<SocketAddr>,
    /// An authentication tag spoke for what was learnt.
    proved: bool,
    candidate: Option<(SocketAddr, u32, u8)>,
    /// DTLS of this port, while its keys are not known from elsewhere.
    pub association: Option<Association>,
    /// ICE of this port: what it nominates goes before what was learnt.
    pub path: Option<Path>,
    complained: bool,
}

impl Port {
    /// A port without ICE and DTLS.
    pub fn new(token: Token, announced: Option<SocketAddr>) -> Self {
        Self {
            token,
            announced,
            learnt: None,
            proved: false,
            candidate: None,
            association: None,
            path: None,
            complained: false,
        }
    }

    /// Adds what the plan asks for of ICE, and of DTLS where there are no keys yet.
    pub fn secure(
        &mut self,
        now: Instant,
        plan: &UdpTransport,
        keyed: bool,
        certificate: &Certificate,
    ) -> Result<(), SessionError> {
        let path = plan.ice.as_ref();
        self.path = path.map(|terms| Path::new(now, certificate, terms));
        // Without a fingerprint to hold it against there is nobody to shake hands with: what comes is
        // left without an answer, for a peer that fails here would not try again.
        let wanted = plan.dtls.as_deref();
        let wanted = wanted.filter(|terms| !keyed && !terms.remote_fingerprints.is_empty());
        self.association = wanted
            .map(|terms| Association::new(certificate, terms))
            .transpose()?;
        Ok(())
    }

    /// The peer says that it is elsewhere now.
    pub fn moved(&mut self, announced: Option<SocketAddr>) {
        self.announced = announced;
        self.learnt = None;
        self.proved = false;
        self.candidate = None;
    }

    /// Sends our ClientHello where that is our part and the peer's place is known.
    pub fn begin(&mut self, now: Instant, sockets: &Sockets) {
        let checked = self.path.as_ref().and_then(Path::selected).is_some();
        if let (Some(to), Some(association)) = (self.remote(), &mut self.association) {
            let started = association.start(now, to, checked);
            self.flush(sockets);
            self.note(started.err());
        }
    }

    /// Answers a connectivity check, if this port has ICE.
    pub fn check(&mut self, now: Instant, from: SocketAddr, datagram: &[u8], sockets: &Sockets) {
        let Some(path) = &mut self.path else {
            return;
        };
        if let Some(answer) = path.handle_input(now, from, datagram) {
            sockets.send(self.token, &answer, from);
        }
        self.begin(now, sockets);
    }

    /// Takes a datagram of the handshake; yields keys when it has just finished.
    pub fn shake(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        sockets: &Sockets,
    ) -> Option<SdesKeys> {
        if !self.admits(from) {
            return None;
        }
        let standing = match &self.path {
            Some(path) if path.knows(from) => Standing::Checked,
            _ if self.announced == Some(from) => Standing::Announced,
            _ => Standing::Stranger,
        };
        let association = self.association.as_mut()?;
        let result = association.handle_input(now, from, standing, datagram);
        self.flush(sockets);
        let keys = result.unwrap_or_else(|reason| {
            self.note(Some(reason));
            None
        });
        if keys.is_some() {
            self.learn(from, 0, true);
        }
        keys
    }

    /// Timers of the handshake.
    pub fn handle_timeout(&mut self, now: Instant, sockets: &Sockets) {
        if let Some(association) = &mut self.association {
            let result = association.handle_timeout(now);
            self.flush(sockets);
            self.note(result.err());
        }
    }

    /// Strangers may fail as often as they like: the log is not theirs to fill.
    fn note(&mut self, failed: Option<FailReason>) {
        match failed {
            Some(reason) if self.complained => tracing::debug!(%reason, "DTLS failed again"),
            Some(reason) => tracing::info!(%reason, "DTLS of a terminal failed, goes on trying"),
            None => return,
        }
        self.complained = true;
    }

    /// Sends what the handshake has to say.
    pub fn flush(&mut self, sockets: &Sockets) {
        let Some(association) = &mut self.association else {
            return;
        };
        while let Some((to, bytes)) = association.poll_output() {
            sockets.send(self.token, &bytes, to);
        }
    }

    /// Where the peer is, as far as that is known.
    pub fn remote(&self) -> Option<SocketAddr> {
        match &self.path {
            Some(path) => path.selected().or(self.learnt),
            None => self.learnt.or(self.announced),
        }
    }

    /// Once a source was learnt, others are strangers.
    pub fn admits(&self, from: SocketAddr) -> bool {
        match &self.path {
            Some(path) if path.selected().is_some() => path.knows(from),
            // ICE without a nomination: the peer's checks may have been answered by a media process
            // that died, and many terminals never check again. What they send shows where they are.
            _ => self.learnt.is_none_or(|learnt| learnt == from),
        }
    }

    /// A well-formed packet came from `from`; `proved` by its authentication tag.
    pub fn learn(&mut self, from: SocketAddr, ssrc: u32, proved: bool) {
        if self.learnt.is_some() {
            return;
        }
        let count = match self.candidate {
            Some((address, source, count)) if (address, source) == (from, ssrc) => count + 1,
            _ => 1,
        };
        self.candidate = Some((from, ssrc, count));
        if proved || self.announced == Some(from) || count >= PROOF {
            self.learnt = Some(from);
            self.proved = proved;
        }
    }

    /// Whether signalling, a check or a tag has said that the peer is there. Where packets merely came
    /// from may be anybody's.
    pub fn proves(&self, from: SocketAddr) -> bool {
        self.announced == Some(from)
            || self.proved && self.learnt == Some(from)
            || self.path.as_ref().is_some_and(|path| path.knows(from))
    }
}

#[cfg(test)]
mod tests {
    use mcu_api::plan::{DtlsRole, DtlsTerms, Fingerprint, FingerprintHash};

    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn the_source_is_learnt_from_consistent_packets_and_then_fixed() {
        let mut port = Port::new(Token(1), Some(address(1000)));
        assert_eq!(port.remote(), Some(address(1000)));
        port.learn(address(2000), 7, false);
        assert_eq!(
            port.remote(),
            Some(address(1000)),
            "one packet proves nothing"
        );
        port.learn(address(3000), 8, false);
        port.learn(address(2000), 7, false);
        port.learn(address(2000), 7, false);
        assert_eq!(port.remote(), Some(address(2000)));
        assert!(!port.admits(address(3000)));
        assert!(port.proves(address(1000)) && !port.proves(address(2000)));
        port.learn(address(3000), 8, true);
        assert_eq!(port.remote(), Some(address(2000)), "learnt once, fixed");
    }

    #[test]
    fn an_authenticated_packet_is_proof_enough() {
        let mut port = Port::new(Token(1), None);
        port.learn(address(2000), 7, true);
        assert_eq!(port.remote(), Some(address(2000)));
        assert!(port.proves(address(2000)));
    }

    #[test]
    fn a_peer_whose_certificate_nobody_named_is_left_without_an_answer() {
        let terms = |remote_fingerprints| DtlsTerms {
            association: 1,
            role: DtlsRole::Server,
            remote_fingerprints,
            keys: None,
        };
        let fingerprint = Fingerprint {
            hash: FingerprintHash::Sha256,
            bytes: vec![1; 32],
        };
        let certificate = Certificate::generate().unwrap();
        for (named, answers) in [(vec![], false), (vec![fingerprint], true)] {
            let plan = UdpTransport {
                local_ip: [127, 0, 0, 1].into(),
                rtp_port: 0,
                rtcp_port: None,
                remote_rtp: None,
                remote_rtcp: None,
                sdes: None,
                dtls: Some(Box::new(terms(named))),
                ice: None,
                srtp_sources: Vec::new(),
                srtcp_sources: Vec::new(),
                dscp: 0,
            };
            let mut port = Port::new(Token(1), None);
            port.secure(Instant::now(), &plan, false, &certificate)
                .unwrap();
            assert_eq!(port.association.is_some(), answers);
        }
    }
}
