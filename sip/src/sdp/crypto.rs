//! `a=crypto` lines (RFC 4568, RFC 7714 §14).

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use mcu_api::plan::SrtpSuite;
use mcu_api::secret::Redacted;
use rand::CryptoRng;
use serde::{Deserialize, Serialize};

use super::lines::MediaLine;

/// Keys that one `a=crypto` line offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CryptoLine {
    /// The tag as written: an answer repeats it.
    pub tag: String,
    /// The suite.
    pub suite: SrtpSuite,
    /// Its name as written: an answer repeats it.
    pub name: String,
    /// Master key and salt of the side that wrote the line.
    pub key: Redacted<Vec<u8>>,
}

/// How a line names the keys that were agreed on, so that both sides find them again in what follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyName {
    /// The tag.
    pub tag: String,
    /// The suite's name as the peer knows it.
    pub suite: String,
}

/// The suites that we offer, best supported first.
pub const OFFERED_SUITES: [SrtpSuite; 5] = [
    SrtpSuite::AesCm128HmacSha1_80,
    SrtpSuite::AesCm128HmacSha1_32,
    SrtpSuite::AeadAes128Gcm,
    SrtpSuite::Aes256CmHmacSha1_80,
    SrtpSuite::AeadAes256Gcm,
];

/// Some peers leave the padding off; the standard asks for it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// All usable crypto lines of a media line, in its order.
pub fn usable(line: &MediaLine) -> Vec<CryptoLine> {
    line.attribute_values("crypto").filter_map(parse).collect()
}

/// The crypto line to answer: the first usable one, a suite under its right name before one under
/// another, of which only the peer knows for certain what it means.
pub fn best(line: &MediaLine) -> Option<CryptoLine> {
    let misnamed = |line: &CryptoLine| !line.name.eq_ignore_ascii_case(suite_name(line.suite));
    usable(line).into_iter().min_by_key(misnamed)
}

/// Reads the value of one `a=crypto`. `None` for what we do not support: unknown suites, session
/// parameters that switch protection off or that must be understood (RFC 4568 §6.3), keys of a
/// wrong length, key identifiers.
pub fn parse(value: &str) -> Option<CryptoLine> {
    let mut words = value.split_whitespace();
    let tag = words.next().filter(|tag| is_tag(tag))?.to_string();
    let name = words.next()?.to_string();
    let suite = suite(&name)?;
    let keys = words.next()?;
    if !words.all(is_tolerable) {
        return None;
    }
    let (method, rest) = keys.split_once(':')?;
    let mut parts = rest.split('|');
    let key = BASE64.decode(parts.next()?).ok()?;
    // `|2^31` is a lifetime. `|1:4` is an identifier of 4 bytes that every packet then carries (RFC
    // 4568 §6.1), and so does one of several keys, which `;` separates: our SRTP has no identifiers.
    // Every terminal known so far offers a line without; where none is left, the media line has no
    // keys for us.
    let identified = parts.any(|part| part.contains([':', ';']));
    let right = method.eq_ignore_ascii_case("inline") && key.len() == suite.key_and_salt_len();
    (right && !identified).then_some(CryptoLine {
        tag,
        suite,
        name,
        key: Redacted(key),
    })
}

/// Draws a master key and salt.
pub fn new_key(suite: SrtpSuite, rng: &mut impl CryptoRng) -> Redacted<Vec<u8>> {
    let mut key = vec![0; suite.key_and_salt_len()];
    rng.fill_bytes(&mut key);
    Redacted(key)
}

/// The value of an `a=crypto` of ours.
pub fn value(tag: &str, suite: &str, key: &Redacted<Vec<u8>>) -> String {
    format!("{tag} {suite} inline:{}", BASE64.encode(&key.0))
}

/// RFC 4568 §9.1: one to nine digits. Some peers begin at 0.
fn is_tag(tag: &str) -> bool {
    (1..=9).contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_digit())
}

fn suite(name: &str) -> Option<SrtpSuite> {
    // What some terminals write for the names of RFC 6188 §4.
    let name = match name.to_ascii_uppercase().as_str() {
        "AES_CM_256_HMAC_SHA1_80" => "AES_256_CM_HMAC_SHA1_80",
        "AES_CM_256_HMAC_SHA1_32" => "AES_256_CM_HMAC_SHA1_32",
        _ => name,
    };
    let known = [
        SrtpSuite::AesCm128HmacSha1_80,
        SrtpSuite::AesCm128HmacSha1_32,
        SrtpSuite::Aes256CmHmacSha1_80,
        SrtpSuite::Aes256CmHmacSha1_32,
        SrtpSuite::AeadAes128Gcm,
        SrtpSuite::AeadAes256Gcm,
    ];
    known
        .into_iter()
        .find(|suite| suite_name(*suite).eq_ignore_ascii_case(name))
}

/// Name of a suite (RFC 4568 §6.2, RFC 6188 §4, RFC 7714 §14.2).
pub const fn suite_name(suite: SrtpSuite) -> &'static str {
    match suite {
        SrtpSuite::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
        SrtpSuite::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
        SrtpSuite::Aes256CmHmacSha1_80 => "AES_256_CM_HMAC_SHA1_80",
        SrtpSuite::Aes256CmHmacSha1_32 => "AES_256_CM_HMAC_SHA1_32",
        SrtpSuite::AeadAes128Gcm => "AEAD_AES_128_GCM",
        SrtpSuite::AeadAes256Gcm => "AEAD_AES_256_GCM",
    }
}

/// Session parameters that change nothing for us: the replay window, a key derivation rate of
/// zero, and extensions marked optional by a leading `-` (RFC 4568 §6.3.7).
fn is_tolerable(parameter: &str) -> bool {
    parameter.starts_with('-')
        || parameter.eq_ignore_ascii_case("KDR=0")
        || parameter.to_ascii_uppercase().starts_with("WSH=")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "PE6Oi+VaHWQT7QrEgTd8sdcyoQFAEJhlSPMsU7No";

    #[test]
    fn reads_keys_with_and_without_a_lifetime() {
        let plain = parse(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} WSH=64")).unwrap();
        assert_eq!((plain.tag.as_str(), plain.key.0.len()), ("1", 30));
        let lifetime = parse(&format!("0 aes_cm_128_hmac_sha1_32 inline:{KEY}|2^31")).unwrap();
        assert_eq!(lifetime.suite, SrtpSuite::AesCm128HmacSha1_32);
    }

    /// RFC 6188 §4 and the name that some terminals write; an answer repeats what was written.
    #[test]
    fn both_names_of_the_256_bit_suites_are_known() {
        let key = "PE6Oi+VaHWQT7QrEgTd8sdcyoQFAEJhlSPMsU7NoPE6Oi+VaHWQT7QrEgTd8sQ==";
        for name in ["AES_256_CM_HMAC_SHA1_80", "AES_CM_256_HMAC_SHA1_80"] {
            let line = parse(&format!("1 {name} inline:{key}")).unwrap();
            assert_eq!(
                (line.suite, line.key.0.len()),
                (SrtpSuite::Aes256CmHmacSha1_80, 46)
            );
            assert!(value(&line.tag, &line.name, &line.key).starts_with(&format!("1 {name} ")));
        }
        let short = parse("1 AES_256_CM_HMAC_SHA1_32 inline:".to_string().as_str());
        assert_eq!(short, None);
    }

    #[test]
    fn keys_with_identifiers_are_not_taken() {
        for keys in [
            format!("inline:{KEY}|1:4"),
            format!("inline:{KEY}|2^20|1:4"),
            format!("inline:{KEY}|2^20|1:4;inline:{KEY}|2^20|2:4"),
            format!("inline:{KEY};inline:{KEY}"),
        ] {
            assert_eq!(
                parse(&format!("7 AES_CM_128_HMAC_SHA1_80 {keys}")),
                None,
                "{keys}"
            );
        }
    }

    #[test]
    fn never_takes_what_switches_protection_off_or_is_unknown() {
        for bad in [
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTCP"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTP"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNAUTHENTICATED_SRTP"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} KDR=3"),
            format!("1 AES_CM_256_HMAC_SHA1_80 inline:{KEY}"),
            format!("x AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            "1 AES_CM_128_HMAC_SHA1_80 inline:AAAA".to_string(),
            "1 AES_CM_128_HMAC_SHA1_80".to_string(),
            String::new(),
        ] {
            assert_eq!(parse(&bad), None, "{bad}");
        }
    }
}
