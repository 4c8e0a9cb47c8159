//! The stateless cookie of a DTLS server (RFC 6347 §4.2.1): who brings it back is where it says.
//!
//! It is of the source alone, and not of its ClientHello as well: were it of both, whoever forges a
//! ClientHello of the source would have us send it a cookie that it cannot use, and it takes but one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rtc_dtls::crypto_provider::{
    CryptoError, HmacAlgorithm, RTCCrypto, RTCCryptoProvider, RTCRandom, constant_time_eq,
};

use super::certificate::Certificate;
use super::session::SessionError;

/// Bytes of a cookie: those that `rtc-dtls` gives one.
pub(super) const COOKIE_LEN: usize = 20;
/// A cookie is of a period, and good for this one and the next.
const PERIOD: Duration = Duration::from_secs(30);

/// What a source has to bring back.
pub(super) type Cookie = [u8; COOKIE_LEN];

/// Makes cookies and knows them again, without remembering any.
pub(super) struct Cookies {
    key: [u8; 32],
    since: Option<Instant>,
}

impl Cookies {
    /// With a key of its own.
    pub(super) fn new(certificate: &Certificate) -> Result<Self, SessionError> {
        let mut key = [0; 32];
        let drawn = certificate.provider.random().fill(&mut key);
        drawn.map_err(|error| SessionError::Dtls(error.to_string()))?;
        Ok(Self { key, since: None })
    }

    /// The cookie of a source. `from` is `None` where an authentic check has shown already who it is,
    /// for such a peer may change its address before it brings the cookie back.
    pub(super) fn make(
        &mut self,
        now: Instant,
        provider: &dyn RTCCryptoProvider,
        from: Option<SocketAddr>,
    ) -> Option<Cookie> {
        let period = self.period(now);
        self.of_period(provider, period, from)
    }

    /// Whether this is such a cookie, and not an old one.
    pub(super) fn know(
        &mut self,
        now: Instant,
        provider: &dyn RTCCryptoProvider,
        from: Option<SocketAddr>,
        shown: &Cookie,
    ) -> bool {
        let period = self.period(now);
        [Some(period), period.checked_sub(1)]
            .into_iter()
            .flatten()
            .filter_map(|period| self.of_period(provider, period, from))
            .any(|cookie| constant_time_eq(&cookie, shown))
    }

    fn period(&mut self, now: Instant) -> u64 {
        let since = *self.since.get_or_insert(now);
        now.saturating_duration_since(since).as_secs() / PERIOD.as_secs()
    }

    fn of_period(
        &self,
        provider: &dyn RTCCryptoProvider,
        period: u64,
        from: Option<SocketAddr>,
    ) -> Option<Cookie> {
        let crypto = provider.crypto();
        let mut hmac = crypto.new_hmac(HmacAlgorithm::Sha256, &self.key).ok()?;
        let mut tag = [0; 32];
        let from = from.map_or_else(String::new, |from| from.to_string());
        let said = [&period.to_be_bytes()[..], from.as_bytes()];
        hmac.sign(&said, &mut tag).ok()?;
        tag.first_chunk().copied()
    }
}

/// What `rtc-dtls` draws a handshake's secrets from, but for the cookie, which it draws, too, and first
/// of all: that is the one that the terminal has.
pub(super) struct WithCookie {
    inner: Arc<dyn RTCCryptoProvider>,
    cookie: Cookie,
    given: AtomicBool,
}

impl WithCookie {
    pub(super) fn new(inner: Arc<dyn RTCCryptoProvider>, cookie: Cookie) -> Self {
        Self {
            inner,
            cookie,
            given: AtomicBool::new(false),
        }
    }
}

impl RTCCryptoProvider for WithCookie {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn crypto(&self) -> &dyn RTCCrypto {
        self.inner.crypto()
    }

    fn random(&self) -> &dyn RTCRandom {
        self
    }
}

impl RTCRandom for WithCookie {
    fn fill(&self, output: &mut [u8]) -> Result<(), CryptoError> {
        if output.len() == COOKIE_LEN && !self.given.swap(true, Ordering::Relaxed) {
            output.copy_from_slice(&self.cookie);
            return Ok(());
        }
        self.inner.random().fill(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_of_one_source_one_port_and_a_minute() {
        let certificate = Certificate::generate().unwrap();
        let provider = certificate.provider.as_ref();
        let mut cookies = Cookies::new(&certificate).unwrap();
        let now = Instant::now();
        let from = Some(SocketAddr::from(([192, 0, 2, 1], 1_000)));
        let cookie = cookies.make(now, provider, from).unwrap();
        let mut knows = |at, from, cookie: &Cookie| cookies.know(at, provider, from, cookie);
        assert!(knows(now, from, &cookie));
        assert!(knows(now + PERIOD, from, &cookie));
        assert!(!knows(now + 2 * PERIOD, from, &cookie));
        assert!(!knows(now, None, &cookie));
        let other = Some(SocketAddr::from(([192, 0, 2, 1], 1_001)));
        assert!(!knows(now, other, &cookie));
        assert!(!knows(now, from, &[0; COOKIE_LEN]));
        let mut others = Cookies::new(&certificate).unwrap();
        assert!(!others.know(now, provider, from, &cookie));
    }
}
