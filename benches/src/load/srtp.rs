//! SDES keys (RFC 4568) and the packets under them, for the one suite that every terminal has:
//! AES_CM_128_HMAC_SHA1_80.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rtc_srtp::context::Context;
use rtc_srtp::crypto::default_provider;
use rtc_srtp::option::{srtcp_no_replay_protection, srtp_no_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;

/// Name of the suite in SDP.
const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";

const KEY_LEN: usize = 16;
const SALT_LEN: usize = 14;

/// Length of master key and salt together.
pub(super) const MASTER_LEN: usize = KEY_LEN + SALT_LEN;

/// Master key and salt of one direction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Master([u8; MASTER_LEN]);

impl std::fmt::Debug for Master {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Master {
    pub(super) fn random() -> Self {
        Self(std::array::from_fn(|_| rand::random()))
    }

    /// The attribute line that offers or answers it.
    pub(super) fn line(&self) -> String {
        format!("a=crypto:1 {SUITE} inline:{}\r\n", STANDARD.encode(self.0))
    }

    /// Reads `a=crypto:`; lifetime and MKI behind the key do not matter here.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("a=crypto:")?.split(' ').skip(1);
        if words.next()? != SUITE {
            return None;
        }
        let inline = words.next()?.strip_prefix("inline:")?.split('|').next()?;
        Some(Self(STANDARD.decode(inline).ok()?.try_into().ok()?))
    }

    /// The client's and the server's out of what DTLS exports: both keys, then both salts (RFC 5764
    /// §4.2).
    pub(super) fn of_exported(material: &[u8]) -> Option<(Self, Self)> {
        let (keys, salts) = material.split_at_checked(2 * KEY_LEN)?;
        let one = |key: &[u8], salt: &[u8]| [key, salt].concat().try_into().ok().map(Self);
        let (salt, rest) = salts.split_at_checked(SALT_LEN)?;
        Some((one(&keys[..KEY_LEN], salt)?, one(&keys[KEY_LEN..], rest)?))
    }

    fn context(&self) -> Option<Context> {
        let (key, salt) = self.0.split_at(KEY_LEN);
        let provider = default_provider().ok()?;
        Context::new(
            key,
            salt,
            ProtectionProfile::Aes128CmHmacSha1_80,
            Some(srtp_no_replay_protection()),
            Some(srtcp_no_replay_protection()),
            provider.crypto(),
        )
        .ok()
    }
}

/// Both directions of a line. Without the peer's key nothing can be read.
pub(super) struct Session {
    local: Context,
    remote: Option<(Master, Context)>,
}

impl Session {
    /// `None` if the machine's cryptography does not have the suite.
    pub(super) fn new(local: &Master) -> Option<Self> {
        Some(Self {
            local: local.context()?,
            remote: None,
        })
    }

    /// The peer's key; the same once more changes nothing, so that its packet count goes on.
    pub(super) fn set_remote(&mut self, master: Master) {
        if self
            .remote
            .as_ref()
            .is_none_or(|(known, _)| *known != master)
        {
            self.remote = master.context().map(|context| (master, context));
        }
    }

    pub(super) fn protect(&mut self, plain: &[u8], rtcp: bool) -> Option<Vec<u8>> {
        let done = if rtcp {
            self.local.encrypt_rtcp(plain)
        } else {
            self.local.encrypt_rtp(plain)
        };
        Some(done.ok()?.to_vec())
    }

    pub(super) fn unprotect(&mut self, bytes: &[u8], rtcp: bool) -> Option<Vec<u8>> {
        let (_, context) = self.remote.as_mut()?;
        let done = if rtcp {
            context.decrypt_rtcp(bytes)
        } else {
            context.decrypt_rtp(bytes)
        };
        Some(done.ok()?.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_read_with_the_key_of_its_line_and_no_other() {
        let master = Master::random();
        let told = Master::parse(master.line().trim_end()).unwrap();
        assert_eq!(told, master);
        let (mut sender, mut receiver) = (
            Session::new(&master).unwrap(),
            Session::new(&Master::random()).unwrap(),
        );
        let packet = [0x80, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 9, 8, 7];
        let sealed = sender.protect(&packet, false).unwrap();
        assert_eq!(sealed.len(), packet.len() + 10);
        assert_eq!(receiver.unprotect(&sealed, false), None);
        receiver.set_remote(Master::random());
        assert_eq!(receiver.unprotect(&sealed, false), None);
        receiver.set_remote(told);
        assert_eq!(receiver.unprotect(&sealed, false), Some(packet.to_vec()));
    }

    #[test]
    fn keys_with_a_lifetime_are_read_and_other_suites_are_not() {
        let line = Master::random().line();
        assert!(Master::parse(&format!("{}|2^31|1:1", line.trim_end())).is_some());
        assert_eq!(Master::parse(&line.replace("_80", "_32")), None);
        assert_eq!(
            Master::parse("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:short"),
            None
        );
    }
}
