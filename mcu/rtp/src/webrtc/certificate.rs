//! The certificate that every DTLS handshake of this process shows.

use std::sync::Arc;

use mcu_api::plan::{Fingerprint, FingerprintHash};
use rtc_dtls::crypto_provider::{HashAlgorithm, RTCCryptoProvider, default_provider};
use sha2::Digest;
use thiserror::Error;

/// A self-signed ECDSA P-256 certificate, made when the process starts and never stored: peers know
/// it by the fingerprint in SDP (RFC 8122 §5), not by who signed it.
#[derive(Clone)]
pub struct Certificate {
    pub(super) provider: Arc<dyn RTCCryptoProvider>,
    pub(super) inner: rtc_dtls::crypto::Certificate,
    fingerprint: [u8; 32],
}

/// A certificate could not be made.
#[derive(Debug, Error)]
#[error("no certificate could be made: {0}")]
pub struct CertificateError(String);

impl Certificate {
    /// Makes a new key and certificate.
    ///
    /// # Errors
    /// Fails when the system has no randomness to give.
    pub fn generate() -> Result<Self, CertificateError> {
        let failed = |error: &dyn std::fmt::Display| CertificateError(error.to_string());
        let provider = default_provider().map_err(|error| failed(&error))?;
        let names = vec!["consilium".to_string()];
        let inner = rtc_dtls::crypto::Certificate::generate_self_signed(names, provider.crypto())
            .map_err(|error| failed(&error))?;
        let der = inner
            .certificate
            .first()
            .map_or(&[][..], |der| der.as_ref());
        let fingerprint = sha256(provider.as_ref(), der)
            .ok_or_else(|| CertificateError("no SHA-256".to_string()))?;
        Ok(Self {
            provider,
            inner,
            fingerprint,
        })
    }

    /// SHA-256 of the certificate, for `a=fingerprint`.
    pub fn fingerprint_sha256(&self) -> [u8; 32] {
        self.fingerprint
    }
}

/// Whether a certificate has one of these fingerprints; none is had by no certificate.
pub(super) fn matches(fingerprints: &[Fingerprint], certificate: &[u8]) -> bool {
    fingerprints
        .iter()
        .any(|known| !certificate.is_empty() && hash(known.hash, certificate) == known.bytes)
}

fn hash(function: FingerprintHash, data: &[u8]) -> Vec<u8> {
    match function {
        FingerprintHash::Sha1 => sha1::Sha1::digest(data).to_vec(),
        FingerprintHash::Sha224 => sha2::Sha224::digest(data).to_vec(),
        FingerprintHash::Sha256 => sha2::Sha256::digest(data).to_vec(),
        FingerprintHash::Sha384 => sha2::Sha384::digest(data).to_vec(),
        FingerprintHash::Sha512 => sha2::Sha512::digest(data).to_vec(),
    }
}

/// SHA-256 of `data`; `None` when the provider has none.
fn sha256(provider: &dyn RTCCryptoProvider, data: &[u8]) -> Option<[u8; 32]> {
    provider
        .crypto()
        .hash(HashAlgorithm::Sha256, data)
        .ok()?
        .try_into()
        .ok()
}
