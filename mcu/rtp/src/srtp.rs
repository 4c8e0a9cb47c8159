//! SRTP and SRTCP of one leg, both directions (RFC 3711, RFC 7714).
//!
//! The transforms are `rtc-srtp`'s. This module gives them their keys, keeps a peer from growing
//! their state, and hands them a header without parsing one.

use bytes::{Bytes, BytesMut};
use mcu_api::plan::{SdesKeys, SrtpSource, SrtpSuite};
use mcu_api::secret::Redacted;
use rtc_rtp::Header;
use rtc_shared::error::Error;
use rtc_srtp::context::Context;
use rtc_srtp::crypto::{CryptoError, default_provider};
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;
use thiserror::Error as ThisError;

use crate::seq::{ExtSeq, SeqExtender};

/// Packets of one source that may arrive behind the newest and still be taken. RFC 3711 §3.3.2 asks
/// for at least 64; a second of 4 Mbit/s video, the longest a retransmission is worth, is 450.
const REPLAY_WINDOW: usize = 512;
/// Sources that one peer may send with. A browser with three layers, their retransmissions and
/// sound has seven; more are refused.
const SOURCES_MAX: usize = 128;
/// Unauthentic sources after which their state is thrown away.
const STRANGERS_MAX: usize = 64;
/// Sources that are told of, the latest first. A terminal sends one or two on a transport.
const TOLD_MAX: usize = 4;
/// Rollovers from which a source can be taken up, four weeks of 4 Mbit/s video. To count up to them
/// takes 40 ms, so that a peer that made its numbers run stops nobody's sound for longer.
const ROLLOVERS_MAX: u64 = 1 << 14;
/// Step at which a source is counted up, below half a cycle (RFC 3711 §3.3.1).
const STRIDE: u64 = 0x7000;
const RTP_HEADER_LEN: usize = 12;
/// Bit of the word behind an SRTCP packet that says that it is encrypted; the others are its index.
const ENCRYPTED: u32 = 1 << 31;
/// Sequence numbers until they begin again.
const CYCLE: u64 = 1 << 16;

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

    /// Goes on with sources of the peer that another process had under these keys. Before its first
    /// packet may half a cycle of sequence numbers be lost: a minute of 4 Mbit/s video. Packets up to
    /// where a source was are refused as replays, for the other process may have taken them.
    ///
    /// # Errors
    /// Fails when the cryptographic library does.
    pub fn take_up(&mut self, sources: &[SrtpSource]) -> Result<(), SrtpError> {
        let countable = |source: &&SrtpSource| source.index >> 16 <= ROLLOVERS_MAX;
        let latest = sources.iter().take(TOLD_MAX).rev();
        for source in latest.filter(countable) {
            self.receiver.take_up(source)?;
        }
        Ok(())
    }

    /// As [`Self::take_up`], of sources of SRTCP. Each of its packets names its index (RFC 3711 §3.4), so
    /// that nothing has to be counted: but what the other process may have taken is refused.
    pub fn take_up_rtcp(&mut self, sources: &[SrtpSource]) {
        for source in sources.iter().take(TOLD_MAX).rev() {
            self.receiver.take_up_rtcp(source);
        }
    }

    /// How far sources of SRTCP have come, those that came last first.
    pub fn reached_rtcp(&self) -> Vec<SrtpSource> {
        let sources = self.receiver.rtcp_sources.iter().rev();
        let told = sources.map(|source| SrtpSource {
            ssrc: source.ssrc,
            index: source.highest.into(),
        });
        told.take(TOLD_MAX).collect()
    }

    /// How far sources have come, those that came last first. Told before they roll over, too: nobody
    /// may be left to tell afterwards.
    pub fn reached(&self) -> Vec<SrtpSource> {
        let sources = self.receiver.rtp_sources.iter().rev();
        let told = sources.map(|source| SrtpSource {
            ssrc: source.ssrc,
            index: source.index(),
        });
        told.take(TOLD_MAX).collect()
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
        Self::from_sdes(&dtls_keys(suite, material, is_client)?)
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

/// What the DTLS exporter yielded, as keys each way: client key, server key, client salt, server salt
/// (RFC 5764 §4.2). `is_client` is our role in the handshake.
///
/// # Errors
/// Fails with [`SrtpError::KeyLength`] when there are more or fewer bytes than twice
/// [`SrtpSuite::key_and_salt_len`].
pub fn dtls_keys(
    suite: SrtpSuite,
    material: &[u8],
    is_client: bool,
) -> Result<SdesKeys, SrtpError> {
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
        let (client_half, server_half) = bytes.split_at(bytes.len() / 2);
        if server { server_half } else { client_half }.to_vec()
    };
    let of = |server| Redacted([half(keys, server), half(salts, server)].concat());
    Ok(SdesKeys {
        suite,
        local: of(!is_client),
        remote: of(is_client),
    })
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
    rtp_sources: Vec<RtpSource>,
    /// At most [`SOURCES_MAX`]; further ones are refused.
    rtcp_sources: Vec<RtcpSource>,
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
        let known = |source: &RtpSource| source.ssrc == header.ssrc;
        let place = match self.rtp_sources.iter().position(known) {
            Some(place) => place,
            None => {
                let trial = self.stranger()?.decrypt_rtp_with_header(packet, header);
                finish(trial, header.ssrc, packet.len())?;
                admit(&mut self.rtp_sources, RtpSource::new(header.ssrc))?
            }
        };
        let plain = finish(
            self.context.decrypt_rtp_with_header(packet, header),
            header.ssrc,
            packet.len(),
        )?;
        let is_new = self.rtp_sources[place].counts(header.sequence_number);
        is_new
            .then_some(plain)
            .ok_or(SrtpError::Replayed { ssrc: header.ssrc })
    }

    /// Counts a source up to where it is. The library has no other way in than authentic packets; the
    /// peer's key makes them, and they never leave.
    fn take_up(&mut self, source: &SrtpSource) -> Result<(), SrtpError> {
        if self
            .rtp_sources
            .iter()
            .any(|known| known.ssrc == source.ssrc)
        {
            return Ok(());
        }
        let mut peer = context(self.suite, &self.master, false)?;
        let mut packet = [0x80; RTP_HEADER_LEN];
        packet[8..].copy_from_slice(&source.ssrc.to_be_bytes());
        let mut header = Header::default();
        let mut index = 0;
        loop {
            packet[2..4].copy_from_slice(&(index as u16).to_be_bytes());
            describe(&mut header, &packet)?;
            let made = peer.encrypt_rtp_with_header(&packet, &header);
            let made = finish(made, source.ssrc, packet.len())?;
            let taken = self.context.decrypt_rtp_with_header(&made, &header);
            finish(taken, source.ssrc, made.len())?;
            if index >= source.index {
                break;
            }
            index = source.index.min(index + STRIDE);
        }
        admit(&mut self.rtp_sources, RtpSource::at(source)).map(|_| ())
    }

    fn take_up_rtcp(&mut self, source: &SrtpSource) {
        let known = self.rtcp_sources.iter();
        let is_new = known.clone().all(|known| known.ssrc != source.ssrc);
        if let Some(index) = u32::try_from(source.index).ok().filter(|_| is_new)
            && self.rtcp_sources.len() < SOURCES_MAX
        {
            self.rtcp_sources.push(RtcpSource {
                ssrc: source.ssrc,
                highest: index,
                taken_before: Some(index),
            });
        }
    }

    fn unprotect_rtcp(&mut self, packet: &[u8]) -> Result<Bytes, SrtpError> {
        let ssrc = rtcp_source(packet)?;
        let index = self.rtcp_index(packet).ok_or(SrtpError::Authentication)?;
        let known = |source: &RtcpSource| source.ssrc == ssrc;
        let place = match self.rtcp_sources.iter().position(known) {
            Some(place) => place,
            None => {
                let trial = self.stranger()?.decrypt_rtcp(packet);
                finish(trial, ssrc, packet.len())?;
                admit(&mut self.rtcp_sources, RtcpSource::new(ssrc))?
            }
        };
        let plain = finish(self.context.decrypt_rtcp(packet), ssrc, packet.len())?;
        let is_new = self.rtcp_sources[place].counts(index);
        is_new.then_some(plain).ok_or(SrtpError::Replayed { ssrc })
    }

    /// The index that a packet names. Its first bit says whether the packet is encrypted
    /// (RFC 3711 §3.4); one that is not is never agreed (RFC 4568 §6.3.2), and has none here. To be
    /// asked before the library, which with AES-CM takes such a packet without authenticating it, and
    /// with AES-GCM verifies as if the bit were set.
    fn rtcp_index(&self, packet: &[u8]) -> Option<u32> {
        let behind = match self.suite {
            // The tag of RTCP has 80 bits in either suite (RFC 4568 §6.2.2).
            SrtpSuite::AesCm128HmacSha1_80
            | SrtpSuite::AesCm128HmacSha1_32
            | SrtpSuite::Aes256CmHmacSha1_80
            | SrtpSuite::Aes256CmHmacSha1_32 => 14,
            // RFC 7714 §9.2: the index comes last.
            SrtpSuite::AeadAes128Gcm | SrtpSuite::AeadAes256Gcm => 4,
        };
        let at = packet.len().checked_sub(behind)?;
        let word = packet.get(at..)?.first_chunk().copied()?;
        let word = u32::from_be_bytes(word);
        (word & ENCRYPTED != 0).then_some(word & !ENCRYPTED)
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

/// Adds a source; yields its place.
fn admit<S>(sources: &mut Vec<S>, source: S) -> Result<usize, SrtpError> {
    if sources.len() >= SOURCES_MAX {
        return Err(SrtpError::TooManySources);
    }
    sources.push(source);
    Ok(sources.len() - 1)
}

/// A source that has sent authentic packets.
struct RtpSource {
    ssrc: u32,
    numbers: SeqExtender,
    /// Index up to which another process may have taken packets.
    taken_before: Option<u64>,
}

impl RtpSource {
    fn new(ssrc: u32) -> Self {
        Self {
            ssrc,
            numbers: SeqExtender::new(),
            taken_before: None,
        }
    }

    fn at(source: &SrtpSource) -> Self {
        let highest = ExtSeq::new(source.index).plus(CYCLE);
        Self {
            ssrc: source.ssrc,
            numbers: SeqExtender::starting_at(highest),
            taken_before: Some(source.index),
        }
    }

    /// Counts a packet that was verified; whether no other process can have taken it.
    fn counts(&mut self, number: u16) -> bool {
        let index = self.numbers.extend(number).get().saturating_sub(CYCLE);
        self.taken_before.is_none_or(|before| index > before)
    }

    /// Highest packet index so far: an extender begins one cycle above zero.
    fn index(&self) -> u64 {
        let highest = self.numbers.highest().map_or(0, ExtSeq::get);
        highest.saturating_sub(CYCLE)
    }
}

/// A source that has sent authentic packets of RTCP.
struct RtcpSource {
    ssrc: u32,
    /// Highest index so far.
    highest: u32,
    /// Index up to which another process may have taken packets.
    taken_before: Option<u32>,
}

impl RtcpSource {
    fn new(ssrc: u32) -> Self {
        Self {
            ssrc,
            highest: 0,
            taken_before: None,
        }
    }

    /// Counts a packet that was verified; whether no other process can have taken it.
    fn counts(&mut self, index: u32) -> bool {
        self.highest = self.highest.max(index);
        self.taken_before.is_none_or(|before| index > before)
    }
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
        SrtpSuite::Aes256CmHmacSha1_80
        | SrtpSuite::Aes256CmHmacSha1_32
        | SrtpSuite::AeadAes256Gcm => 32,
    }
}

fn profile(suite: SrtpSuite) -> ProtectionProfile {
    match suite {
        SrtpSuite::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        SrtpSuite::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
        SrtpSuite::Aes256CmHmacSha1_80 => ProtectionProfile::Aes256CmHmacSha1_80,
        SrtpSuite::Aes256CmHmacSha1_32 => ProtectionProfile::Aes256CmHmacSha1_32,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutate::each_mutation;

    /// Master key and salt of RFC 3711 §B.3.
    const CM: &str = "e1f97a0d3e018be0d64fa32c06de41390ec675ad498afeebb6960b3aabe6";
    /// Master key and salt of RFC 6188 §7.2.
    const CM_256: &str = concat!(
        "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6",
        "3b04803de51ee7c96423ab5b78d2"
    );
    const GCM_128: &str = "000102030405060708090a0b0c0d0e0fa0a1a2a3a4a5a6a7a8a9aaab";
    const GCM_256: &str = concat!(
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "a0a1a2a3a4a5a6a7a8a9aaab"
    );
    const RTP: &str = "800f1234decafbadcafebabeabababababababababababababababab";
    /// The same with an extension of one element, then padding.
    const EXTENDED: &str =
        "900f1234decafbadcafebabebede000210aa500000000000abababababababababababababababab";
    const RTCP: &str = "80c90001cafebabe81ca0002cafebabe01000000";

    fn hex(text: &str) -> Vec<u8> {
        let pairs = text
            .as_bytes()
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).unwrap());
        pairs
            .map(|pair| u8::from_str_radix(pair, 16).unwrap())
            .collect()
    }

    /// A pair that shares one key for both directions, as an SDES echo would.
    fn keyed(suite: SrtpSuite, key: &str) -> Srtp {
        let (local, remote) = (Redacted(hex(key)), Redacted(hex(key)));
        Srtp::from_sdes(&SdesKeys {
            suite,
            local,
            remote,
        })
        .unwrap()
    }

    fn gcm() -> Srtp {
        keyed(SrtpSuite::AeadAes128Gcm, GCM_128)
    }

    fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
        let mut packet = hex(RTP);
        packet[2..4].copy_from_slice(&sequence.to_be_bytes());
        packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
        packet
    }

    /// Computed with another implementation, whose key derivation gives the values of RFC 3711 §B.3 and
    /// RFC 6188 §7.2.
    #[test]
    fn every_suite_gives_the_known_answers() {
        use SrtpSuite::*;
        let cases = [
            (
                AesCm128HmacSha1_80,
                CM,
                RTP,
                "4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb",
            ),
            (
                AesCm128HmacSha1_32,
                CM,
                RTP,
                "4e55dc4ce79978d88ca4d215949d2402b78d6acc",
            ),
            (
                AesCm128HmacSha1_80,
                CM,
                EXTENDED,
                "4e55dc4ce79978d88ca4d215949d2402b33c36821fe51d71d466",
            ),
            (
                Aes256CmHmacSha1_80,
                CM_256,
                RTP,
                "f1d9de17ff251ff1aa007774b0b4b40da08d9d9a5b3a55d8873b",
            ),
            (
                Aes256CmHmacSha1_32,
                CM_256,
                RTP,
                "f1d9de17ff251ff1aa007774b0b4b40da08d9d9a",
            ),
            (
                AeadAes128Gcm,
                GCM_128,
                RTP,
                "c5002ede04cfdd2eb91159e0880aa06ed2976826f796b201df3131a127e8a392",
            ),
            (
                AeadAes128Gcm,
                GCM_128,
                EXTENDED,
                "c5002ede04cfdd2eb91159e0880aa06e2b5b7c720dcb606908630a9ee057267a",
            ),
            (
                AeadAes256Gcm,
                GCM_256,
                RTP,
                "0af7f21e8a90bdad7a425c9c31ed4bb1d90238917e7390a2793500e1681acaea",
            ),
        ];
        for (suite, key, plain, behind_header) in cases {
            let header = &plain[..plain.len() - 32];
            let expected = hex(&format!("{header}{behind_header}"));
            let mut srtp = keyed(suite, key);
            assert_eq!(
                srtp.protect_rtp(&hex(plain)).unwrap(),
                expected,
                "{suite:?}"
            );
            assert_eq!(
                srtp.unprotect_rtp(&expected).unwrap(),
                hex(plain),
                "{suite:?}"
            );
        }
    }

    #[test]
    fn rtcp_of_every_suite_gives_the_known_answers() {
        let cm = "5b49a8f285d2a8a814533bea80000001c18aed3f4f1675a20ec6";
        let cm_256 = "9eb14c0076875a8a0012781d800000016a7351e804c1a1f2fea0";
        let gcm_128 = "e3ea20f4916c3b402f80c78af228fa84323fae1d36c5dde1fe79d86080000001";
        let gcm_256 = "a0de040ee1521b8542a43acac46b7c74ad42636e38426c6aa33eb62c80000001";
        let cases = [
            (SrtpSuite::AesCm128HmacSha1_80, CM, cm),
            // RFC 4568 §6.2.2: the short tag is RTP's alone.
            (SrtpSuite::AesCm128HmacSha1_32, CM, cm),
            (SrtpSuite::Aes256CmHmacSha1_80, CM_256, cm_256),
            (SrtpSuite::Aes256CmHmacSha1_32, CM_256, cm_256),
            (SrtpSuite::AeadAes128Gcm, GCM_128, gcm_128),
            (SrtpSuite::AeadAes256Gcm, GCM_256, gcm_256),
        ];
        for (suite, key, behind_header) in cases {
            let expected = hex(&format!("{}{behind_header}", &RTCP[..16]));
            let mut srtp = keyed(suite, key);
            assert_eq!(
                srtp.protect_rtcp(&hex(RTCP)).unwrap(),
                expected,
                "{suite:?}"
            );
            assert_eq!(
                srtp.unprotect_rtcp(&expected).unwrap(),
                hex(RTCP),
                "{suite:?}"
            );
        }
    }

    #[test]
    fn a_key_of_the_wrong_length_is_refused() {
        let keys = SdesKeys {
            suite: SrtpSuite::AeadAes128Gcm,
            local: Redacted(hex(CM)),
            remote: Redacted(hex(GCM_128)),
        };
        let error = Srtp::from_sdes(&keys).err().unwrap();
        assert!(matches!(
            error,
            SrtpError::KeyLength {
                expected: 28,
                actual: 30,
                ..
            }
        ));
        assert!(Srtp::from_dtls(SrtpSuite::AeadAes128Gcm, &[0; 55], true).is_err());
    }

    #[test]
    fn dtls_keys_cross_over_between_client_and_server() {
        let material: Vec<u8> = (0..60).collect();
        let suite = SrtpSuite::AesCm128HmacSha1_80;
        let mut client = Srtp::from_dtls(suite, &material, true).unwrap();
        let mut server = Srtp::from_dtls(suite, &material, false).unwrap();
        let packet = client.protect_rtp(&rtp(1, 1)).unwrap();
        assert_eq!(server.unprotect_rtp(&packet).unwrap(), rtp(1, 1));
        let packet = server.protect_rtp(&rtp(2, 1)).unwrap();
        assert_eq!(client.unprotect_rtp(&packet).unwrap(), rtp(2, 1));
        assert!(server.unprotect_rtp(&packet).is_err());
    }

    #[test]
    fn replays_are_refused_and_late_packets_taken_within_the_window() {
        let (mut sender, mut receiver) = (gcm(), gcm());
        let packets: Vec<Bytes> = (0..600)
            .map(|sequence| sender.protect_rtp(&rtp(9, sequence)).unwrap())
            .collect();
        receiver.unprotect_rtp(&packets[0]).unwrap();
        receiver.unprotect_rtp(&packets[599]).unwrap();
        receiver.unprotect_rtp(&packets[599 - 500]).unwrap();
        for again in [599, 99, 0] {
            let error = receiver.unprotect_rtp(&packets[again]).unwrap_err();
            assert!(
                matches!(error, SrtpError::Replayed { ssrc: 9 }),
                "{again}: {error}"
            );
        }
        let rtcp = sender.protect_rtcp(&hex(RTCP)).unwrap();
        receiver.unprotect_rtcp(&rtcp).unwrap();
        assert!(matches!(
            receiver.unprotect_rtcp(&rtcp),
            Err(SrtpError::Replayed { .. })
        ));
    }

    #[test]
    fn rollovers_are_counted_on_both_sides_across_reordering() {
        for suite in [SrtpSuite::AeadAes128Gcm, SrtpSuite::AesCm128HmacSha1_80] {
            let key = if suite == SrtpSuite::AeadAes128Gcm {
                GCM_128
            } else {
                CM
            };
            let (mut sender, mut receiver) = (keyed(suite, key), keyed(suite, key));
            for step in 0..3 * 0x10000 / 0x1000_u32 {
                let sequence = (step * 0x1000) as u16;
                let early = sender.protect_rtp(&rtp(9, sequence)).unwrap();
                let late = sender
                    .protect_rtp(&rtp(9, sequence.wrapping_add(1)))
                    .unwrap();
                receiver.unprotect_rtp(&late).unwrap();
                receiver.unprotect_rtp(&early).unwrap();
            }
        }
    }

    #[test]
    fn unauthentic_sources_take_no_place_and_authentic_ones_are_limited() {
        let (mut sender, mut receiver) = (gcm(), gcm());
        for ssrc in 0..1000 {
            let error = receiver
                .unprotect_rtp(&[rtp(ssrc, 1), vec![0; 16]].concat())
                .unwrap_err();
            assert!(matches!(error, SrtpError::Authentication), "{error}");
        }
        assert!(receiver.receiver.rtp_sources.is_empty());
        for ssrc in 0..SOURCES_MAX as u32 {
            let packet = sender.protect_rtp(&rtp(ssrc, 1)).unwrap();
            assert_eq!(receiver.unprotect_rtp(&packet).unwrap(), rtp(ssrc, 1));
        }
        let packet = sender.protect_rtp(&rtp(u32::MAX, 1)).unwrap();
        assert!(matches!(
            receiver.unprotect_rtp(&packet),
            Err(SrtpError::TooManySources)
        ));
    }

    const SUITES: [(SrtpSuite, &str); 6] = [
        (SrtpSuite::Aes256CmHmacSha1_80, CM_256),
        (SrtpSuite::Aes256CmHmacSha1_32, CM_256),
        (SrtpSuite::AesCm128HmacSha1_80, CM),
        (SrtpSuite::AesCm128HmacSha1_32, CM),
        (SrtpSuite::AeadAes128Gcm, GCM_128),
        (SrtpSuite::AeadAes256Gcm, GCM_256),
    ];

    /// Protects packets in steps of a third of a cycle; yields the last.
    fn run(sender: &mut Srtp, indices: impl IntoIterator<Item = u64>) -> Bytes {
        let protect = |index| sender.protect_rtp(&rtp(9, index as u16)).unwrap();
        indices.into_iter().map(protect).last().unwrap()
    }

    /// The receiver of a new process was deaf for a source that had rolled over.
    #[test]
    fn a_new_receiver_goes_on_where_the_old_one_left_off() {
        for (suite, key) in SUITES {
            let (mut sender, mut old) = (keyed(suite, key), keyed(suite, key));
            for index in (0..3 * CYCLE + 0x2000).step_by(0x2000) {
                let packet = run(&mut sender, [index]);
                old.unprotect_rtp(&packet).unwrap();
            }
            let told = old.reached();
            let index = 3 * CYCLE;
            assert_eq!(told, [SrtpSource { ssrc: 9, index }], "{suite:?}");
            let packet = run(&mut sender, [index + 1]);
            let deaf = keyed(suite, key).unprotect_rtp(&packet);
            assert!(matches!(deaf, Err(SrtpError::Authentication)), "{suite:?}");
            let mut new = keyed(suite, key);
            new.take_up(&told).unwrap();
            assert_eq!(new.reached(), told, "known before the first packet");
            assert_eq!(new.unprotect_rtp(&packet).unwrap(), rtp(9, 1), "{suite:?}");
            assert_eq!(new.reached()[0].index, index + 1);
        }
    }

    #[test]
    fn a_source_may_roll_over_while_nobody_listens() {
        let (mut sender, mut receiver) = (gcm(), gcm());
        let index = 2 * CYCLE - 100;
        run(&mut sender, (0..index).step_by(0x4000));
        receiver.take_up(&[SrtpSource { ssrc: 9, index }]).unwrap();
        let packet = run(&mut sender, [index + 300]);
        receiver.unprotect_rtp(&packet).unwrap();
        // One that the network brought late, of the cycle before.
        let packet = run(&mut sender, [index + 50]);
        receiver.unprotect_rtp(&packet).unwrap();
        assert_eq!(receiver.reached()[0].index, index + 300);
    }

    /// Defect: a source that first rolled over between the last word of its process and that process's
    /// death was never heard again.
    #[test]
    fn a_source_is_known_before_it_rolls_over() {
        let (mut sender, mut old) = (gcm(), gcm());
        for index in [CYCLE - 100, CYCLE - 6] {
            old.unprotect_rtp(&run(&mut sender, [index])).unwrap();
        }
        let told = old.reached();
        let packet = run(&mut sender, [CYCLE + 40]);
        let mut new = gcm();
        new.take_up(&told).unwrap();
        assert_eq!(new.unprotect_rtp(&packet).unwrap(), rtp(9, 40));
    }

    /// MCU-23: the process before may have taken what is not newer than it told of.
    #[test]
    fn what_an_earlier_process_may_have_taken_is_refused() {
        for (suite, key) in SUITES {
            let (mut sender, mut receiver) = (keyed(suite, key), keyed(suite, key));
            let index = 2 * CYCLE + 100;
            run(&mut sender, (0..index - 50).step_by(0x4000));
            receiver.take_up(&[SrtpSource { ssrc: 9, index }]).unwrap();
            for replayed in [index - 50, index - 1, index] {
                let packet = run(&mut sender, [replayed]);
                let error = receiver.unprotect_rtp(&packet).unwrap_err();
                assert!(matches!(error, SrtpError::Replayed { ssrc: 9 }), "{error}");
            }
            let packet = run(&mut sender, [index + 1]);
            receiver.unprotect_rtp(&packet).unwrap();
        }
    }

    /// Defect: all that a terminal had ever reported, or asked for, could be said again to a process that
    /// replaced another.
    #[test]
    fn reports_that_an_earlier_process_may_have_taken_are_refused() {
        for (suite, key) in SUITES {
            let (mut sender, mut old) = (keyed(suite, key), keyed(suite, key));
            let mut report = || sender.protect_rtcp(&hex(RTCP)).unwrap();
            let [first, last, untold, next] = [report(), report(), report(), report()];
            old.unprotect_rtcp(&last).unwrap();
            old.unprotect_rtcp(&first).unwrap();
            let told = old.reached_rtcp();
            let ssrc = 0xcafe_babe;
            assert_eq!(told, [SrtpSource { ssrc, index: 2 }], "{suite:?}");
            let mut new = keyed(suite, key);
            new.take_up_rtcp(&told);
            assert_eq!(new.reached_rtcp(), told, "known before the first packet");
            for replayed in [&first, &last] {
                let error = new.unprotect_rtcp(replayed).unwrap_err();
                assert!(matches!(error, SrtpError::Replayed { .. }), "{error}");
            }
            new.unprotect_rtcp(&next).unwrap();
            // Late, or lost on its way to the process that died.
            new.unprotect_rtcp(&untold).unwrap();
            assert_eq!(new.reached_rtcp()[0].index, 4, "{suite:?}");
            assert!(new.unprotect_rtcp(&next).is_err());
        }
    }

    #[test]
    fn few_sources_are_told_of() {
        let (mut sender, mut receiver) = (gcm(), gcm());
        for ssrc in 0..TOLD_MAX as u32 + 2 {
            let packet = sender.protect_rtp(&rtp(ssrc, 1)).unwrap();
            receiver.unprotect_rtp(&packet).unwrap();
        }
        let told = receiver.reached();
        let ssrcs: Vec<u32> = told.iter().map(|source| source.ssrc).collect();
        assert_eq!(ssrcs, [5, 4, 3, 2], "the latest first");
        let mut new = gcm();
        new.take_up(&told).unwrap();
        assert_eq!(new.reached(), told);
    }

    #[test]
    fn a_count_that_no_call_reaches_is_not_taken_up() {
        // The slowest suite.
        let mut receiver = keyed(SrtpSuite::AesCm128HmacSha1_80, CM);
        let far = SrtpSource {
            ssrc: 9,
            index: u64::MAX,
        };
        receiver.take_up(&[far]).unwrap();
        assert_eq!(receiver.reached(), []);
        let highest = SrtpSource {
            ssrc: 9,
            index: ROLLOVERS_MAX << 16,
        };
        receiver.take_up(&[highest, highest]).unwrap();
        assert_eq!(receiver.reached(), [highest]);
    }

    /// `rtc-srtp` 0.21.1 takes SRTCP whose encryption bit is clear without looking at its tag.
    #[test]
    fn rtcp_that_claims_to_be_unencrypted_is_refused() {
        let mut receiver = keyed(SrtpSuite::AesCm128HmacSha1_80, CM);
        let forged = [hex(RTCP), vec![0; 14]].concat();
        assert!(matches!(
            receiver.unprotect_rtcp(&forged),
            Err(SrtpError::Authentication)
        ));
    }

    #[test]
    fn mutated_packets_never_panic_and_are_never_taken() {
        for (suite, key) in [
            (SrtpSuite::AeadAes128Gcm, GCM_128),
            (SrtpSuite::AesCm128HmacSha1_80, CM),
        ] {
            let (mut sender, mut receiver) = (keyed(suite, key), keyed(suite, key));
            let rtp = sender.protect_rtp(&hex(EXTENDED)).unwrap();
            let rtcp = sender.protect_rtcp(&hex(RTCP)).unwrap();
            each_mutation(&rtp, 5_000, |data| {
                let taken = receiver.unprotect_rtp(data);
                assert!(taken.is_err() || data == rtp, "{data:?}");
                let _ = sender.protect_rtp(data);
            });
            each_mutation(&rtcp, 5_000, |data| {
                let taken = receiver.unprotect_rtcp(data);
                assert!(taken.is_err() || data == rtcp, "{data:02x?} {rtcp:02x?}");
                let _ = sender.protect_rtcp(data);
            });
        }
    }
}
