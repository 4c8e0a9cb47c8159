//! ICE on a terminal's line (RFC 8839): we are the lite side, on the line's own ports.

use mcu_api::plan::{IceTerms, UdpTransport};
use mcu_api::secret::Redacted;
use rand::RngCore;

use super::lines::MediaLine;
use super::write::Writer;

/// Candidates of a line that are looked at.
const CANDIDATES_MAX: usize = 64;
/// Longest credential (RFC 8839 §5.4).
const CREDENTIAL_MAX: usize = 256;

/// What a line of the peer's says of ICE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Theirs {
    /// Nothing, or that it is a lite agent too, when nobody would check.
    Absent,
    /// Its default address is none of its candidates: something on the way has rewritten it, and ICE
    /// would find another path than the one that was opened (RFC 8839 §4.2.5).
    Mismatch,
    /// It checks.
    Full { ufrag: String, pwd: String },
}

impl Theirs {
    pub(super) fn of(line: &MediaLine) -> Self {
        let credential = |name: &'static str, least: usize| {
            let value = line.effective(name).next()?.trim();
            let right = (least..=CREDENTIAL_MAX).contains(&value.len());
            right.then(|| value.to_string())
        };
        let (Some(ufrag), Some(pwd)) = (credential("ice-ufrag", 4), credential("ice-pwd", 22))
        else {
            return Self::Absent;
        };
        if line.effective("ice-lite").next().is_some() {
            return Self::Absent;
        }
        match default_is_candidate(line) {
            true => Self::Full { ufrag, pwd },
            false => Self::Mismatch,
        }
    }
}

/// Our credentials for a line: those of before while the peer's are; others when it restarts.
pub(super) fn terms(
    theirs: &Theirs,
    before: Option<&UdpTransport>,
    rng: &mut impl RngCore,
) -> Option<IceTerms> {
    let Theirs::Full { ufrag, pwd } = theirs else {
        return None;
    };
    let known = before.and_then(|before| before.ice.as_deref());
    let same = known.filter(|ice| ice.remote_ufrag == *ufrag && ice.remote_pwd.0 == *pwd);
    let new = || IceTerms {
        // RFC 8445 §5.3: at least 24 bits of user fragment and 128 bits of password.
        local_ufrag: random_hex(rng, 1),
        local_pwd: Redacted(random_hex(rng, 5)),
        remote_ufrag: ufrag.clone(),
        remote_pwd: Redacted(pwd.clone()),
    };
    Some(same.cloned().unwrap_or_else(new))
}

/// Writes our credentials and candidates: one for each component.
pub(super) fn write(writer: &mut Writer, ice: &IceTerms, transport: &UdpTransport) {
    writer.attribute("ice-ufrag", &ice.local_ufrag);
    writer.attribute("ice-pwd", &ice.local_pwd.0);
    let ports = std::iter::once(transport.rtp_port).chain(transport.rtcp_port);
    let address = writer.address;
    for (component, port) in (1_u32..).zip(ports) {
        // RFC 8445 §5.1.2.1: a host candidate of the only address.
        let priority = (126 << 24) + (65_535 << 8) + (256 - component);
        writer.attribute(
            "candidate",
            format_args!("1 {component} UDP {priority} {address} {port} typ host"),
        );
    }
}

/// An unspecified default address is a hold or the first half of trickling (RFC 8840 §4.3.1), no
/// mismatch; nor is a name, which cannot be compared.
fn default_is_candidate(line: &MediaLine) -> bool {
    let Some(address) = line.address.filter(|address| !address.is_unspecified()) else {
        return true;
    };
    let candidates = line.attribute_values("candidate").take(CANDIDATES_MAX);
    candidates.into_iter().any(|candidate| {
        let words: Vec<&str> = candidate.split_whitespace().take(6).collect();
        let [_, "1", _, _, ip, port] = words.as_slice() else {
            return false;
        };
        ip.parse() == Ok(address) && port.parse() == Ok(line.port)
    })
}

fn random_hex(rng: &mut impl RngCore, words: usize) -> String {
    (0..words)
        .map(|_| format!("{:08x}", rng.next_u32()))
        .collect()
}
