//! Digest access authentication (RFC 3261 §22, RFC 7616, RFC 8760).
//!
//! Nonces carry their time and a keyed hash, so that handing them out costs no memory; only nonces
//! that somebody has answered rightly are remembered, for the count that forbids replay.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use md5::Md5;
use sha2::{Digest as _, Sha256};

use crate::config::Account;

/// How long a nonce may be used.
const NONCE_LIFE: Duration = Duration::from_secs(300);
/// Most nonces whose count is remembered. Beyond it the oldest is forgotten, and its user is asked
/// anew with `stale=true`. 10,000 terminals that register every minute, each time with another nonce,
/// use 50,000 within the life of one.
const MAX_COUNTED_NONCES: usize = 65_536;

/// `H(user:realm:password)` for both algorithms that are offered, so that no password is stored.
/// `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Ha1 {
    md5: Option<String>,
    sha256: Option<String>,
}

impl Ha1 {
    /// Hashes a password for this user and realm.
    pub fn from_password(user: &str, realm: &str, password: &str) -> Self {
        let text = format!("{user}:{realm}:{password}");
        Self {
            md5: Some(Algorithm::Md5.hash(&text)),
            sha256: Some(Algorithm::Sha256.hash(&text)),
        }
    }

    /// Takes stored hashes in hexadecimal: 32 digits of MD5, 64 of SHA-256. `None` for an algorithm
    /// that this account cannot use. Yields `None` when a hash has the wrong shape.
    pub fn from_hex(md5: Option<&str>, sha256: Option<&str>) -> Option<Self> {
        let fits = |text: Option<&str>, digits: usize| {
            text.is_none_or(|t| t.len() == digits && t.bytes().all(|b| b.is_ascii_hexdigit()))
        };
        (fits(md5, 32) && fits(sha256, 64)).then(|| Self {
            md5: md5.map(str::to_ascii_lowercase),
            sha256: sha256.map(str::to_ascii_lowercase),
        })
    }

    /// The hashes in hexadecimal, to be stored: MD5 and SHA-256.
    pub fn to_hex(&self) -> (Option<&str>, Option<&str>) {
        (self.md5.as_deref(), self.sha256.as_deref())
    }

    fn of(&self, algorithm: Algorithm) -> Option<&str> {
        match algorithm {
            Algorithm::Md5 => self.md5.as_deref(),
            Algorithm::Sha256 => self.sha256.as_deref(),
        }
    }
}

impl fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Md5,
    Sha256,
}

impl Algorithm {
    /// RFC 8760 §2.3: no algorithm named means MD5.
    fn parse(name: Option<&str>) -> Option<Self> {
        match name {
            None => Some(Self::Md5),
            Some(name) if name.eq_ignore_ascii_case("MD5") => Some(Self::Md5),
            Some(name) if name.eq_ignore_ascii_case("SHA-256") => Some(Self::Sha256),
            Some(_) => None,
        }
    }

    fn hash(self, text: &str) -> String {
        match self {
            Self::Md5 => hex(&Md5::digest(text)),
            Self::Sha256 => hex(&Sha256::digest(text)),
        }
    }
}

/// What credentials proved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The password of this account.
    Proven(String),
    /// The password, but with a nonce that is too old or was used before (RFC 7616 §3.3).
    Stale,
    /// Nothing: none given, or wrong ones.
    Unproven,
}

/// Makes challenges and checks their answers.
pub(crate) struct Digest {
    realm: String,
    secret: [u8; 32],
    epoch: Option<Instant>,
    /// Highest count seen for each nonce that was answered rightly.
    counts: HashMap<String, u64>,
    /// Those nonces, oldest first.
    order: VecDeque<String>,
}

impl Digest {
    pub fn new(realm: String, secret: [u8; 32]) -> Self {
        Self {
            realm,
            secret,
            epoch: None,
            counts: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Values of WWW-Authenticate. MD5 comes first although RFC 8760 §2.4 takes the first for the
    /// preferred one: sipp and old terminals look at no other and give up on SHA-256.
    pub fn challenges(
        &mut self,
        now: Instant,
        random: u64,
        stale: bool,
        user_agent: Option<&str>,
    ) -> Vec<String> {
        let nonce = self.nonce(now, random);
        let stale = if stale { ", stale=true" } else { "" };
        let algorithms: &[&str] = match user_agent.is_some_and(gives_up_on_sha256) {
            true => &["MD5"],
            false => &["MD5", "SHA-256"],
        };
        let challenge = |algorithm: &&str| {
            format!(
                "Digest realm=\"{}\", nonce=\"{nonce}\", algorithm={algorithm}, qop=\"auth\"{stale}",
                self.realm
            )
        };
        algorithms.iter().map(challenge).collect()
    }

    /// Checks the value of an Authorization header against the accounts.
    pub fn verify(
        &mut self,
        now: Instant,
        accounts: &HashMap<String, Account>,
        method: &str,
        authorization: &str,
    ) -> Verdict {
        let Some(credentials) = Credentials::parse(authorization) else {
            return Verdict::Unproven;
        };
        let proven = accounts
            .get(&credentials.username)
            .filter(|_| credentials.realm == self.realm)
            .filter(|account| credentials.prove(&account.ha1, method));
        match proven {
            None => Verdict::Unproven,
            Some(account) if self.admit(now, &credentials) => Verdict::Proven(account.user.clone()),
            Some(_) => Verdict::Stale,
        }
    }

    /// Whether the nonce is ours, young, and its count higher than before.
    fn admit(&mut self, now: Instant, credentials: &Credentials) -> bool {
        if !self.is_fresh(now, &credentials.nonce) {
            return false;
        }
        // Without qop there is no count (RFC 2069): such a nonce serves once.
        let count = credentials.count.unwrap_or(u64::MAX);
        match self.counts.get_mut(&credentials.nonce) {
            Some(last) if *last < count => *last = count,
            Some(_) => return false,
            // A later count of a nonce that is not known: it was forgotten.
            None if credentials.count.is_some_and(|count| count != 1) => return false,
            None => self.remember(credentials.nonce.clone(), count),
        }
        true
    }

    fn remember(&mut self, nonce: String, count: u64) {
        if self.order.len() >= MAX_COUNTED_NONCES
            && let Some(oldest) = self.order.pop_front()
        {
            self.counts.remove(&oldest);
        }
        self.counts.insert(nonce.clone(), count);
        self.order.push_back(nonce);
    }

    fn nonce(&mut self, now: Instant, random: u64) -> String {
        let age = now.saturating_duration_since(*self.epoch.get_or_insert(now));
        let head = format!("{:012x}{random:016x}", age.as_millis() & 0xffff_ffff_ffff);
        let seal = self.seal(&head);
        head + &seal
    }

    fn is_fresh(&self, now: Instant, nonce: &str) -> bool {
        let (Some(head), Some(seal), Some(epoch)) = (nonce.get(..28), nonce.get(28..), self.epoch)
        else {
            return false;
        };
        let made = head.get(..12).and_then(|t| u64::from_str_radix(t, 16).ok());
        let Some(made) = made.filter(|_| equal(&self.seal(head), seal)) else {
            return false;
        };
        let made = epoch + Duration::from_millis(made);
        now.saturating_duration_since(made) <= NONCE_LIFE
    }

    /// SHA-256 over the secret before and after is a keyed hash that cannot be extended.
    fn seal(&self, head: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(self.secret);
        hash.update(head);
        hash.update(self.secret);
        hex(hash.finalize().get(..16).unwrap_or_default())
    }
}

/// The library under baresip 0 and 1 refuses a 401 as a whole when any challenge in it names SHA-256,
/// even beside MD5; JsSIP looks at the last challenge alone and knows MD5 only. Nothing is lost by
/// believing the header: MD5 is offered to everybody.
fn gives_up_on_sha256(user_agent: &str) -> bool {
    ["baresip v0.", "baresip v1.", "JsSIP "]
        .iter()
        .any(|old| user_agent.starts_with(old))
}

/// The parameters of an Authorization header.
struct Credentials {
    username: String,
    realm: String,
    nonce: String,
    uri: String,
    response: String,
    algorithm: Algorithm,
    /// `nc` as written, the number in it, and `cnonce`, when qop is used.
    qop: Option<(String, String)>,
    count: Option<u64>,
}

impl Credentials {
    fn parse(value: &str) -> Option<Self> {
        let parameters = auth_parameters(value)?;
        let get = |name: &str| parameters.get(name).cloned();
        let algorithm = Algorithm::parse(parameters.get("algorithm").map(String::as_str))?;
        let qop = match get("qop") {
            None => None,
            Some(qop) if qop.eq_ignore_ascii_case("auth") => Some((get("nc")?, get("cnonce")?)),
            Some(_) => return None,
        };
        let count = match &qop {
            Some((nc, _)) => Some(u32::from_str_radix(nc, 16).ok()?.into()),
            None => None,
        };
        Some(Self {
            username: get("username")?,
            realm: get("realm")?,
            nonce: get("nonce")?,
            uri: get("uri")?,
            response: get("response")?,
            algorithm,
            qop,
            count,
        })
    }

    /// RFC 7616 §3.4.1.
    fn prove(&self, ha1: &Ha1, method: &str) -> bool {
        let Some(ha1) = ha1.of(self.algorithm) else {
            return false;
        };
        let nonce = &self.nonce;
        let ha2 = self.algorithm.hash(&format!("{method}:{}", self.uri));
        let text = match &self.qop {
            Some((nc, cnonce)) => format!("{ha1}:{nonce}:{nc}:{cnonce}:auth:{ha2}"),
            None => format!("{ha1}:{nonce}:{ha2}"),
        };
        equal(
            &self.algorithm.hash(&text),
            &self.response.to_ascii_lowercase(),
        )
    }
}

/// The URI that the credentials were made for.
pub(crate) fn digest_uri(authorization: &str) -> Option<String> {
    auth_parameters(authorization)?.remove("uri")
}

/// Realm that the credentials were made for.
pub(crate) fn realm_of(authorization: &str) -> Option<String> {
    auth_parameters(authorization)?.remove("realm")
}

/// Splits `Digest name=value, name="value"`. `None` for another scheme or broken quoting.
fn auth_parameters(value: &str) -> Option<HashMap<String, String>> {
    let (scheme, mut rest) = value.trim().split_once([' ', '\t'])?;
    if !scheme.eq_ignore_ascii_case("digest") {
        return None;
    }
    let mut parameters = HashMap::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return Some(parameters);
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = auth_value(after.trim_start())?;
        if parameters.len() >= 32 {
            return None;
        }
        parameters.insert(name.trim().to_ascii_lowercase(), value);
        rest = after;
    }
}

fn auth_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(',').unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end)?;
        return Some((value.trim().to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// Compares without telling by its duration where the difference is.
fn equal(a: &str, b: &str) -> bool {
    let differing = a
        .bytes()
        .zip(b.bytes())
        .fold(0, |acc, (x, y)| acc | (x ^ y));
    a.len() == b.len() && differing == 0
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REALM: &str = "hospital";

    fn accounts() -> HashMap<String, Account> {
        let account = Account {
            user: "or-1".to_owned(),
            ha1: Ha1::from_password("or-1", REALM, "s3cret"),
            may_register: true,
            home: mcu_api::directory::Home::Everywhere,
        };
        HashMap::from([(account.user.clone(), account)])
    }

    fn answer(challenge: &str, password: &str, nc: u32) -> String {
        let challenge = sipx_sip::auth::Challenge::parse(challenge.as_bytes(), false).unwrap();
        let credentials = sipx_sip::auth::Credentials::new("or-1", password);
        sipx_sip::auth::respond(&challenge, &credentials, "REGISTER", "sip:h", nc, "c0ffee")
    }

    #[test]
    fn a_client_of_another_library_proves_itself_with_either_algorithm() {
        let now = Instant::now();
        let mut digest = Digest::new(REALM.to_owned(), [7; 32]);
        for challenge in digest.challenges(now, 1, false, None) {
            let answer = answer(&challenge, "s3cret", 1);
            // Both algorithms share the nonce, so the second one's count must be higher.
            let mut fresh = Digest::new(REALM.to_owned(), [7; 32]);
            fresh.challenges(now, 1, false, None);
            let verdict = fresh.verify(now, &accounts(), "REGISTER", &answer);
            assert_eq!(verdict, Verdict::Proven("or-1".to_owned()), "{challenge}");
        }
    }

    #[test]
    fn the_example_of_rfc_7616_section_3_9_1_holds() {
        let ha1 = Ha1::from_password("Mufasa", "http-auth@example.org", "Circle of Life");
        let head = "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", \
            uri=\"/dir/index.html\", nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
            nc=00000001, cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, ";
        let cases = [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            (
                "SHA-256",
                "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
            ),
        ];
        for (algorithm, response) in cases {
            let value = format!("{head}algorithm={algorithm}, response=\"{response}\"");
            let credentials = Credentials::parse(&value).unwrap();
            assert!(credentials.prove(&ha1, "GET"), "{algorithm}");
            assert!(!credentials.prove(&ha1, "PUT"), "{algorithm}");
        }
    }

    #[test]
    fn counts_rise_through_hexadecimal_and_a_replay_is_stale() {
        let now = Instant::now();
        let mut digest = Digest::new(REALM.to_owned(), [7; 32]);
        let md5 = digest.challenges(now, 1, false, None).remove(0);
        for nc in 1..40 {
            let verdict = digest.verify(now, &accounts(), "REGISTER", &answer(&md5, "s3cret", nc));
            assert_eq!(verdict, Verdict::Proven("or-1".to_owned()), "nc {nc}");
        }
        let replay = digest.verify(now, &accounts(), "REGISTER", &answer(&md5, "s3cret", 39));
        assert_eq!(replay, Verdict::Stale);
    }

    #[test]
    fn old_foreign_and_wrong_credentials_prove_nothing() {
        let now = Instant::now();
        let mut digest = Digest::new(REALM.to_owned(), [7; 32]);
        let md5 = digest.challenges(now, 1, false, None).remove(0);
        let good = answer(&md5, "s3cret", 1);
        let late = now + NONCE_LIFE + Duration::from_secs(1);
        assert_eq!(
            digest.verify(late, &accounts(), "REGISTER", &good),
            Verdict::Stale
        );
        let wrong = answer(&md5, "guess", 1);
        assert_eq!(
            digest.verify(now, &accounts(), "REGISTER", &wrong),
            Verdict::Unproven
        );
        let foreign = Digest::new(REALM.to_owned(), [8; 32])
            .challenges(now, 1, false, None)
            .remove(0);
        let foreign = answer(&foreign, "s3cret", 1);
        assert_eq!(
            digest.verify(now, &accounts(), "REGISTER", &foreign),
            Verdict::Stale
        );
        for junk in [
            "",
            "Basic abc",
            "Digest",
            "Digest x",
            "Digest username=\"a",
            "Digest =,=,",
        ] {
            let verdict = digest.verify(now, &accounts(), "REGISTER", junk);
            assert_eq!(verdict, Verdict::Unproven, "{junk}");
        }
    }

    #[test]
    fn challenges_of_the_same_moment_differ() {
        let now = Instant::now();
        let mut digest = Digest::new(REALM.to_owned(), [7; 32]);
        assert_ne!(
            digest.challenges(now, 1, false, None),
            digest.challenges(now, 2, false, None)
        );
    }

    #[test]
    fn who_gives_up_on_sha256_is_offered_md5_alone() {
        let now = Instant::now();
        let mut digest = Digest::new(REALM.to_owned(), [7; 32]);
        let mut offered = |agent| digest.challenges(now, 1, false, agent).len();
        assert_eq!(offered(Some("baresip v1.0.0 (x86_64/linux)")), 1);
        assert_eq!(offered(Some("baresip v3.1.0")), 2);
        assert_eq!(offered(Some("JsSIP 3.13.8")), 1);
        assert_eq!(offered(None), 2);
    }

    #[test]
    fn the_memory_for_counts_is_bounded() {
        let now = Instant::now();
        let mut digest = Digest::new(REALM.to_owned(), [7; 32]);
        for random in 0..MAX_COUNTED_NONCES as u64 + 10 {
            let nonce = digest.nonce(now, random);
            digest.remember(nonce, 1);
        }
        assert_eq!(digest.counts.len(), MAX_COUNTED_NONCES);
        assert_eq!(digest.order.len(), MAX_COUNTED_NONCES);
    }

    #[test]
    fn stored_hashes_come_back_and_broken_ones_do_not() {
        let ha1 = Ha1::from_password("a", "b", "c");
        let (md5, sha256) = ha1.to_hex();
        assert_eq!(Ha1::from_hex(md5, sha256), Some(ha1.clone()));
        assert_eq!(Ha1::from_hex(Some("12"), None), None);
        assert_eq!(format!("{ha1:?}"), "[redacted]");
    }
}
