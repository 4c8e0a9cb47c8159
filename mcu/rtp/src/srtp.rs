//! SRTP and SRTCP of one leg, both directions (RFC 3711, RFC 7714).
//!
//! The transforms are `rtc-srtp`'s. This module gives them their keys, keeps a peer from growing
//! their state, and hands them a header without parsing one.

use bytes::{Bytes, BytesMut};
use mcu_api::plan::{SdesKeys, SrtpSuite};
use rtc_rtp::Header;
use rtc_shared::error::Error;
use rtc_srtp::context::Context;
use rtc_srtp::crypto::{CryptoError, default_provider};
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;
use thiserror::Error as ThisError;

/// Packets of one source that may arrive behind the newest and still be taken. RFC 3711 §3.3.2 asks
/// for at least 64; a second of 4 Mbit/s video, the longest a retransmission is worth, is 450.
const REPLAY_WINDOW: usize = 512;
/// Sources that one peer may send with. A browser with three layers, their retransmissions and
/// sound has seven; more are refused.
const SOURCES_MAX: usize = 128;
/// Unauthentic sources after which their state is thrown away.
const STRANGERS_MAX: usize = 64;
const RTP_HEADER_LEN: usize = 12;

/// Why a packet was not protected or not accepted, or keys not taken.
#[derive(Debug, ThisError)]
pub enum SrtpError {
    /// Key and salt together must have another length.
    #[error("key and salt of {suite:?} take {expected} bytes, not {actual}")]
    KeyLength {
        /// The suite.
        suite: SrtpSuite,
        /// Bytes that it takes.
        expected: usize,
        /// Bytes that were given.
        actual: usize,
    },
    /// No RTP or RTCP header, or nothing behind it.
    #[error("packet of {len} bytes has no complete header")]
    Malformed {
        /// Length of the packet in bytes.
        len: usize,
    },
    /// Altered under way, or protected with other keys.
    #[error("authentication failed")]
    Authentication,
    /// Came before, or is older than the replay window reaches.
    #[error("replayed packet of source {ssrc:#010x}")]
    Replayed {
        /// Source of the packet.
        ssrc: u32,
    },
    /// The peer uses more sources than any peer needs.
    #[error("more than {SOURCES_MAX} sources")]
    TooManySources,
    /// The cryptographic library failed.
    #[error("cryptography failed: {0}")]
    Crypto(String),
}

/// SRTP and SRTCP of one leg: our keys for what leaves, the peer's for what arrives.
pub struct Srtp {
    suite: SrtpSuite,
    sender: Context,
    receiver: Receiver,
    /// Lengths, source and sequence number of the packet at hand, for the library.
    header: Header,
}

impl Srtp {
    /// Takes the keys of one SDES crypto line each way (RFC 4568 §6.1).
    ///
    /// # Errors
    /// Fails with [`SrtpError::KeyLength`] when a key does not fit the suite.
    pub fn from_sdes(keys: &SdesKeys) -> Result<Self, SrtpError> {
        let local = MasterKey::split(keys.suite, &keys.local.0)?;
        let remote = MasterKey::split(keys.suite, &keys.remote.0)?;
        Self::new(keys.suite, &local, remote)
    }

    /// Takes what the DTLS exporter yielded: client key, server key, client salt, server salt
    /// (RFC 5764 §4.2). `is_client` is our role in the handshake.
    ///
    /// # Errors
    /// Fails with [`SrtpError::KeyLength`] when there are more or fewer bytes than
    /// twice [`SrtpSuite::key_and_salt_len`].
    pub fn from_dtls(
        suite: SrtpSuite,
        material: &[u8],
        is_client: bool,
    ) -> Result<Self, SrtpError> {
        let expected = 2 * suite.key_and_salt_len();
        if material.len() != expected {
            let actual = material.len();
            return Err(SrtpError::KeyLength {
                suite,
                expected,
                actual,
            });
        }
        let (keys, salts) = material.split_at(2 * key_len(suite));
        let half = |bytes: &[u8], server: bool| {
            let middle = bytes.len() / 2;
            if server {
                bytes[middle..].to_vec()
            } else {
                bytes[..middle].to_vec()
            }
        };
        let of = |server| MasterKey {
            key: half(keys, server),
            salt: half(salts, server),
        };
        Self::new(suite, &of(!is_client), of(is_client))
    }

    fn new(suite: SrtpSuite, local: &MasterKey, remote: MasterKey) -> Result<Self, SrtpError> {
        Ok(Self {
            suite,
            sender: context(suite, local, false)?,
            receiver: Receiver::new(suite, remote)?,
            header: Header::default(),
        })
    }

    /// The protection profile in use.
    pub fn suite(&self) -> SrtpSuite {
        self.suite
    }

    /// Encrypts one RTP packet with our key. Sequence numbers of a source must go forward, or back
    /// by less than 2^15, so that both sides count the same rollovers (RFC 3711 §3.3.1).
    ///
    /// # Errors
    /// Fails on a packet without a complete header.
    pub fn protect_rtp(&mut self, packet: &[u8]) -> Result<Bytes, SrtpError> {
        describe(&mut self.header, packet)?;
        let protected = self.sender.encrypt_rtp_with_header(packet, &self.header);
        finish(protected, self.header.ssrc, packet.len())
    }

    /// Encrypts one compound RTCP packet with our key.
    ///
    /// # Errors
    /// Fails on a packet without a complete header.
    pub fn protect_rtcp(&mut self, packet: &[u8]) -> Result<Bytes, SrtpError> {
        let ssrc = rtcp_source(packet)?;
        finish(self.sender.encrypt_rtcp(packet), ssrc, packet.len())
    }

    /// Verifies and decrypts one SRTP packet of the peer's.
    ///
    /// # Errors
    /// Fails on what is malformed, altered, replayed, or of one source too many.
    pub fn unprotect_rtp(&mut self, packet: &[u8]) -> Result<Bytes, SrtpError> {
        describe(&mut self.header, packet)?;
        self.receiver.unprotect_rtp(packet, &self.header)
    }

    /// Verifies and decrypts one compound SRTCP packet of the peer's.
    ///
    /// # Errors
    /// Fails on what is malformed, altered, replayed, or of one source too many.
    pub fn unprotect_rtcp(&mut self, packet: &[u8]) -> Result<Bytes, SrtpError> {
        self.receiver.unprotect_rtcp(packet)
    }
}

/// Decrypts what arrives. The library makes state for a source before it knows that the packet is
/// authentic; so a source never seen is tried on a context that can be thrown away.
struct Receiver {
    suite: SrtpSuite,
    master: MasterKey,
    context: Context,
    strangers: Context,
    strangers_tried: usize,
    /// At most [`SOURCES_MAX`]; further ones are refused.
    rtp_sources: Vec<u32>,
    /// At most [`SOURCES_MAX`]; further ones are refused.
    rtcp_sources: Vec<u32>,
}

impl Receiver {
    fn new(suite: SrtpSuite, master: MasterKey) -> Result<Self, SrtpError> {
        Ok(Self {
            suite,
            context: context(suite, &master, true)?,
            strangers: context(suite, &master, true)?,
            strangers_tried: 0,
            rtp_sources: Vec::new(),
            rtcp_sources: Vec::new(),
            master,
        })
    }

    fn unprotect_rtp(&mut self, packet: &[u8], header: &Header) -> Result<Bytes, SrtpError> {
        if !self.rtp_sources.contains(&header.ssrc) {
            let trial = self.stranger()?.decrypt_rtp_with_header(packet, header);
            finish(trial, header.ssrc, packet.len())?;
            admit(&mut self.rtp_sources, header.ssrc)?;
        }
        finish(
            self.context.decrypt_rtp_with_header(packet, header),
            header.ssrc,
            packet.len(),
        )
    }

    fn unprotect_rtcp(&mut self, packet: &[u8]) -> Result<Bytes, SrtpError> {
        let ssrc = rtcp_source(packet)?;
        if !self.rtcp_sources.contains(&ssrc) {
            let trial = self.stranger()?.decrypt_rtcp(packet);
            finish(trial, ssrc, packet.len())?;
            admit(&mut self.rtcp_sources, ssrc)?;
        }
        finish(self.context.decrypt_rtcp(packet), ssrc, packet.len())
    }

    fn stranger(&mut self) -> Result<&mut Context, SrtpError> {
        self.strangers_tried += 1;
        if self.strangers_tried > STRANGERS_MAX {
            self.strangers = context(self.suite, &self.master, true)?;
            self.strangers_tried = 1;
        }
        Ok(&mut self.strangers)
    }
}

fn admit(sources: &mut Vec<u32>, ssrc: u32) -> Result<(), SrtpError> {
    if sources.len() >= SOURCES_MAX {
        return Err(SrtpError::TooManySources);
    }
    sources.push(ssrc);
    Ok(())
}

struct MasterKey {
    key: Vec<u8>,
    salt: Vec<u8>,
}

impl MasterKey {
    /// SDES writes the salt behind the key (RFC 4568 §6.1).
    fn split(suite: SrtpSuite, key_and_salt: &[u8]) -> Result<Self, SrtpError> {
        let expected = suite.key_and_salt_len();
        if key_and_salt.len() != expected {
            let actual = key_and_salt.len();
            return Err(SrtpError::KeyLength {
                suite,
                expected,
                actual,
            });
        }
        let (key, salt) = key_and_salt.split_at(key_len(suite));
        Ok(Self {
            key: key.to_vec(),
            salt: salt.to_vec(),
        })
    }
}

const fn key_len(suite: SrtpSuite) -> usize {
    match suite {
        SrtpSuite::AesCm128HmacSha1_80
        | SrtpSuite::AesCm128HmacSha1_32
        | SrtpSuite::AeadAes128Gcm => 16,
        SrtpSuite::AeadAes256Gcm => 32,
    }
}

fn profile(suite: SrtpSuite) -> ProtectionProfile {
    match suite {
        SrtpSuite::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        SrtpSuite::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
        SrtpSuite::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        SrtpSuite::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
    }
}

fn context(suite: SrtpSuite, master: &MasterKey, receives: bool) -> Result<Context, SrtpError> {
    let provider = default_provider().map_err(|error: CryptoError| crypto(&error))?;
    Context::new(
        &master.key,
        &master.salt,
        profile(suite),
        receives.then(|| srtp_replay_protection(REPLAY_WINDOW)),
        receives.then(|| srtcp_replay_protection(REPLAY_WINDOW)),
        provider.crypto(),
    )
    .map_err(|error| crypto(&error))
}

fn crypto(error: &dyn std::fmt::Display) -> SrtpError {
    SrtpError::Crypto(error.to_string())
}

/// Fills in the three things that the library reads of a header: source, sequence number and
/// length. The length is written as so many CSRC words, which spares the allocations of parsing
/// extensions and is exact where re-serialising them would lose unusual padding.
fn describe(header: &mut Header, packet: &[u8]) -> Result<(), SrtpError> {
    let malformed = SrtpError::Malformed { len: packet.len() };
    let Some(len) = rtp_header_len(packet) else {
        return Err(malformed);
    };
    header.sequence_number = u16::from_be_bytes([packet[2], packet[3]]);
    header.ssrc = u32::from_be_bytes([packet[8], packet[9], packet[10], packet[11]]);
    header.csrc.resize((len - RTP_HEADER_LEN) / 4, 0);
    Ok(())
}

/// Length in bytes of fixed header, CSRCs and extension (RFC 3550 §5.1, §5.3.1), all of which are
/// whole words. `None` when the packet is shorter or its version is not 2.
fn rtp_header_len(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    let mut len = RTP_HEADER_LEN + 4 * usize::from(first & 0x0F);
    if first & 0x10 != 0 {
        let words = packet.get(len + 2..len + 4)?;
        len += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
    }
    (first >> 6 == 2 && packet.len() >= len).then_some(len)
}

fn rtcp_source(packet: &[u8]) -> Result<u32, SrtpError> {
    match packet {
        [first, _, _, _, a, b, c, d, ..] if first >> 6 == 2 => {
            Ok(u32::from_be_bytes([*a, *b, *c, *d]))
        }
        _ => Err(SrtpError::Malformed { len: packet.len() }),
    }
}

/// Turns the library's answer about a packet of `len` bytes into ours.
fn finish(result: Result<BytesMut, Error>, ssrc: u32, len: usize) -> Result<Bytes, SrtpError> {
    result.map(BytesMut::freeze).map_err(|error| match error {
        Error::ErrFailedToVerifyAuthTag
        | Error::RtpFailedToVerifyAuthTag
        | Error::RtcpFailedToVerifyAuthTag => SrtpError::Authentication,
        Error::SrtpSsrcDuplicated(..) | Error::SrtcpSsrcDuplicated(..) => {
            SrtpError::Replayed { ssrc }
        }
        Error::ErrTooShortRtp
        | Error::ErrTooShortRtcp
        | Error::SrtpTooSmall(..)
        | Error::SrtcpTooSmall(..) => SrtpError::Malformed { len },
        other => crypto(&other),
    })
}
