//! Keys by DTLS on a line of its own port (RFC 5763, RFC 8842).
//!
//! The peer's certificate is known by its fingerprint in SDP. An association lasts while both sides'
//! fingerprints and `a=tls-id` do; what changes one of them begins another.

use std::fmt::Write as _;

use mcu_api::plan::{DtlsKeys, DtlsRole, DtlsTerms, Fingerprint, FingerprintHash, UdpTransport};
use rand::RngCore;
use serde::{Deserialize, Serialize};

use super::lines::MediaLine;
use super::write::Writer;

/// Fingerprints of a line that are read.
const FINGERPRINTS_MAX: usize = 8;
/// Longest `a=tls-id` (RFC 8842 §4).
const TLS_ID_MAX: usize = 255;

/// What both sides said of a line's association besides [`DtlsTerms`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DtlsLine {
    /// SHA-256 of our certificate, as said.
    pub local_fingerprint: [u8; 32],
    /// Our `a=tls-id`, where the peer knows it.
    pub local_tls_id: Option<String>,
    /// The peer's.
    pub remote_tls_id: Option<String>,
}

/// What a line of the peer's says of DTLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Theirs {
    pub fingerprints: Vec<Fingerprint>,
    pub setup: Setup,
    pub tls_id: Option<String>,
}

/// `a=setup` (RFC 4145 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setup {
    Actpass,
    Active,
    Passive,
    Holdconn,
}

impl Theirs {
    /// What an offer says; `None` when no fingerprint can be used.
    pub(super) fn of_offer(line: &MediaLine) -> Option<Self> {
        Self::of(line, "active")
    }

    /// What an answer says; `None` when no fingerprint can be used.
    pub(super) fn of_answer(line: &MediaLine) -> Option<Self> {
        Self::of(line, "passive")
    }

    /// RFC 4145 §4 has a default for each, though RFC 8842 §5 wants the role said.
    fn of(line: &MediaLine, default: &str) -> Option<Self> {
        let read = line.effective("fingerprint").take(FINGERPRINTS_MAX);
        let mut fingerprints: Vec<Fingerprint> = read.filter_map(fingerprint).collect();
        // RFC 8122 §5: of several hash functions the strongest counts.
        let best = fingerprints.iter().map(|known| known.hash).max()?;
        fingerprints.retain(|known| known.hash == best);
        let setup = line.effective("setup").next().unwrap_or(default).trim();
        let setup = match setup.to_ascii_lowercase().as_str() {
            "actpass" => Setup::Actpass,
            "active" => Setup::Active,
            "passive" => Setup::Passive,
            "holdconn" => Setup::Holdconn,
            _ => return None,
        };
        let tls_id = line.effective("tls-id").next();
        Some(Self {
            fingerprints,
            setup,
            tls_id: tls_id
                .filter(|id| id.len() <= TLS_ID_MAX)
                .map(str::to_string),
        })
    }

    /// Our role. To a peer that leaves it to us we are passive, where RFC 5763 §5 recommends
    /// active: its ClientHello opens the way through its own NAT, ours would be lost there.
    fn role(&self) -> Option<DtlsRole> {
        match self.setup {
            Setup::Actpass | Setup::Active => Some(DtlsRole::Server),
            Setup::Passive => Some(DtlsRole::Client),
            Setup::Holdconn => None,
        }
    }

    /// Whether the peer means the association that there is. A role that it asks for against the
    /// one it has is a wish for another.
    fn means(&self, terms: &DtlsTerms, line: &DtlsLine) -> bool {
        let role = match self.setup {
            Setup::Actpass | Setup::Holdconn => true,
            Setup::Active | Setup::Passive => self.role() == Some(terms.role),
        };
        role && self.fingerprints == terms.remote_fingerprints && self.tls_id == line.remote_tls_id
    }
}

/// What there was on a line.
pub(super) type Before<'a> = (&'a UdpTransport, Option<&'a DtlsLine>);

/// The association of a line of the peer's offer. `None` when there is none and none is to be made:
/// `a=setup:holdconn` (RFC 4145 §4.1).
pub(super) fn answered(
    theirs: &Theirs,
    ours: [u8; 32],
    before: Option<Before<'_>>,
    same_ports: bool,
    rng: &mut impl RngCore,
) -> Option<(DtlsTerms, DtlsLine)> {
    let known = before.and_then(|(transport, line)| Some((transport.dtls.as_deref()?, line?)));
    if let Some((terms, line)) = known
        && same_ports
        && theirs.means(terms, line)
        && lasts(terms, line, ours)
    {
        return Some((terms.clone(), line.clone()));
    }
    let terms = new_terms(theirs, theirs.role()?, rng);
    let line = DtlsLine {
        local_fingerprint: ours,
        local_tls_id: theirs.tls_id.is_some().then(|| new_tls_id(rng)),
        remote_tls_id: theirs.tls_id.clone(),
    };
    Some((terms, line))
}

/// What an offer of ours says: the association that there is, or another.
pub(super) fn offered(
    ours: [u8; 32],
    before: Option<Before<'_>>,
    rng: &mut impl RngCore,
) -> DtlsLine {
    let known = before.and_then(|(transport, line)| Some((transport.dtls.as_deref()?, line?)));
    match known {
        Some((terms, line)) if lasts(terms, line, ours) => line.clone(),
        _ => DtlsLine {
            local_fingerprint: ours,
            local_tls_id: Some(new_tls_id(rng)),
            remote_tls_id: None,
        },
    }
}

/// The association that an answer to [`offered`] makes, or leaves as it is.
pub(super) fn accepted(
    theirs: &Theirs,
    offered: &DtlsLine,
    before: Option<Before<'_>>,
    same_ports: bool,
    rng: &mut impl RngCore,
) -> Option<(DtlsTerms, DtlsLine)> {
    let known = before.and_then(|(transport, line)| Some((transport.dtls.as_deref()?, line?)));
    if let Some((terms, line)) = known
        && same_ports
        && line == offered
        && theirs.fingerprints == terms.remote_fingerprints
        && theirs.tls_id == line.remote_tls_id
    {
        return Some((terms.clone(), line.clone()));
    }
    let terms = new_terms(theirs, theirs.role()?, rng);
    let line = DtlsLine {
        remote_tls_id: theirs.tls_id.clone(),
        ..offered.clone()
    };
    Some((terms, line))
}

/// What is said while no association is to be made.
pub(super) const fn unmade(ours: [u8; 32]) -> DtlsLine {
    DtlsLine {
        local_fingerprint: ours,
        local_tls_id: None,
        remote_tls_id: None,
    }
}

/// Terms under which no handshake is held.
pub(super) fn unkeyed() -> DtlsTerms {
    DtlsTerms {
        association: 0,
        role: DtlsRole::Server,
        remote_fingerprints: Vec::new(),
        keys: None,
    }
}

/// A transport of the processor whose certificate is `ours`, without an association that another was
/// to make.
pub(super) fn made_by(
    transport: &UdpTransport,
    line: &Option<DtlsLine>,
    ours: Option<[u8; 32]>,
) -> UdpTransport {
    let mut transport = transport.clone();
    let announced = line.as_ref().map(|line| line.local_fingerprint);
    if let (Some(ours), Some(announced), Some(terms)) = (ours, announced, &mut transport.dtls)
        && announced != ours
        && terms.keys.is_none()
    {
        **terms = unkeyed();
    }
    transport
}

/// Writes our side of an association.
pub(super) fn write(writer: &mut Writer, line: &DtlsLine, setup: &str) {
    let mut hash = String::new();
    for (place, byte) in line.local_fingerprint.iter().enumerate() {
        let colon = if place == 0 { "" } else { ":" };
        // Writing to a string cannot fail.
        let _ = write!(hash, "{colon}{byte:02X}");
    }
    writer.attribute("fingerprint", format_args!("sha-256 {hash}"));
    writer.attribute("setup", setup);
    if let Some(id) = &line.local_tls_id {
        writer.attribute("tls-id", id);
    }
}

/// `a=setup` of an answer.
pub(super) const fn answered_setup(theirs: &Theirs, role: DtlsRole) -> &'static str {
    match (theirs.setup, role) {
        (Setup::Holdconn, _) => "holdconn",
        (_, DtlsRole::Client) => "active",
        (_, DtlsRole::Server) => "passive",
    }
}

/// An association ends with the certificate it was made with, unless its keys are known.
fn lasts(terms: &DtlsTerms, line: &DtlsLine, ours: [u8; 32]) -> bool {
    terms.association > 0 && (line.local_fingerprint == ours || terms.keys.is_some())
}

/// Whether a line shows a certificate that is no more, for an association that is still to be made.
pub(super) fn is_dead(terms: Option<&DtlsTerms>, line: Option<&DtlsLine>, ours: [u8; 32]) -> bool {
    let keyed = terms.is_some_and(|terms| terms.keys.is_some());
    line.is_some_and(|line| line.local_fingerprint != ours && !keyed)
}

/// Notes the keys of an association, if they are of these two certificates. Whether that is news.
pub(super) fn note_keys(
    transport: &mut UdpTransport,
    line: Option<&DtlsLine>,
    keys: &DtlsKeys,
) -> bool {
    let (Some(terms), Some(line)) = (transport.dtls.as_deref_mut(), line) else {
        return false;
    };
    let ours = keys.local_fingerprint;
    let right = terms.association > 0
        && terms.association == keys.association
        && ours.is_none_or(|ours| ours == line.local_fingerprint)
        && (ours.is_none() || keys.remote_fingerprints == terms.remote_fingerprints);
    let news = right && terms.keys.as_ref() != Some(keys);
    if news {
        terms.keys = Some(keys.clone());
    }
    news
}

fn new_terms(theirs: &Theirs, role: DtlsRole, rng: &mut impl RngCore) -> DtlsTerms {
    DtlsTerms {
        // Whichever line and place it has: a late report on another is never taken for one on this.
        association: rng.next_u64().max(1),
        role,
        remote_fingerprints: theirs.fingerprints.clone(),
        keys: None,
    }
}

/// RFC 8842 §4: at least 120 bits.
fn new_tls_id(rng: &mut impl RngCore) -> String {
    (0..4).map(|_| format!("{:08x}", rng.next_u32())).collect()
}

/// `sha-256 12:AB:...` (RFC 8122 §5). Some peers write lower case.
fn fingerprint(value: &str) -> Option<Fingerprint> {
    let (name, hex) = value.trim().split_once(char::is_whitespace)?;
    let hash = match name.to_ascii_lowercase().as_str() {
        "sha-1" => FingerprintHash::Sha1,
        "sha-224" => FingerprintHash::Sha224,
        "sha-256" => FingerprintHash::Sha256,
        "sha-384" => FingerprintHash::Sha384,
        "sha-512" => FingerprintHash::Sha512,
        _ => return None,
    };
    let bytes: Option<Vec<u8>> = hex.trim().split(':').map(byte).collect();
    let bytes = bytes.filter(|bytes| bytes.len() == hash.len())?;
    Some(Fingerprint { hash, bytes })
}

fn byte(hex: &str) -> Option<u8> {
    let right = hex.len() == 2 && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
    u8::from_str_radix(hex, 16).ok().filter(|_| right)
}
