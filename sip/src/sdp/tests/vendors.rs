//! What terminals and gateways answered, and that no description in the folders is without a verdict.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;

/// A file with an answer, the file whose lines we offered before (none: our own first offer), and what
/// the answer leads to.
type Verdict = (&'static str, Option<&'static str>, &'static str);

const OWN_ANSWERS: &[Verdict] = &[
    // Several keys where there may be one (RFC 4568 §5.1.3): the first that takes up one of ours.
    (
        "own_answer_several_keys.sdp",
        None,
        "audio sendrecv [9] Some((9, G722, 20)) dtmf Some(101) Some(AesCm128HmacSha1_32) | \
         video sendrecv Some(96) 1280x720@30 2000k base 31 mode 1 Some(AesCm128HmacSha1_80) | \
         av",
    ),
    // The peer's own limits and labels, said as if they were the other side's.
    (
        "own_answer_echoed_limits.sdp",
        None,
        "audio sendrecv [8] Some((8, Pcma, 20)) dtmf None None | \
         video sendrecv Some(97) 1280x720@30 2000k high 31 mode 1 None | \
         av",
    ),
    // A line put between (RFC 3264 §6): what follows has no meaning any more.
    (
        "own_answer_added_line.sdp",
        Some("own_event_first_dead_bfcp.sdp"),
        "LinesDiffer { index: 3 }",
    ),
    // Keys that take up none of ours: the peer encrypts with what we do not know.
    (
        "own_answer_foreign_keys.sdp",
        None,
        "KeysMissing { index: 0 }",
    ),
];

const CAPTURED_ANSWERS: &[Verdict] = &[
    (
        "poly-plcm_tcpbfcp_bad-answer.sdp",
        Some("poly-plcm_tcpbfcp_offer.sdp"),
        "LinesDiffer { index: 3 }",
    ),
    (
        "cisco-endpoint_udpbfcp_answer.sdp",
        Some("cisco-endpoint_udpbfcp_offer.sdp"),
        "audio sendrecv [9] Some((9, G722, 20)) dtmf Some(101) None | \
         video sendrecv Some(126) 1280x720@30 2000k base 31 mode 1 None | \
         av---",
    ),
    (
        "lifesize-icon600_answer.sdp",
        Some("lifesize-icon600_answer.sdp"),
        "audio sendrecv [9] Some((9, G722, 20)) dtmf Some(101) None | \
         video sendrecv Some(96) 1280x720@30 2000k base 31 mode 1 None | \
         av---",
    ),
    // Four keys, one under the tag of ours: the index lets the first be taken that is known.
    (
        "hexmeet-ve660_answer.sdp",
        Some("hexmeet-ve660_answer.sdp"),
        "video sendrecv Some(99) 960x540@25 768k high 31 mode 1 Some(AesCm128HmacSha1_80) | \
         -v---",
    ),
];

/// The same file, read as an offer: HexMeet's answer has all that an offer has.
const ANSWERS_AS_OFFERS: &[(&str, &str)] = &[(
    "hexmeet-ve660_answer.sdp",
    "video sendrecv Some(99) 960x540@25 768k high 31 mode 1 Some(AesCm128HmacSha1_80) | \
     -v---",
)];

/// Offers of browsers, whose verdicts are beside their reader.
const BROWSERS: &[&str] = &["own_chromium_offer.sdp", "own_firefox_offer.sdp"];

/// What the answer leads to, when we offered the lines that `base` has.
fn accepted(answer: &str, base: Option<&str>) -> String {
    let ours = local(SrtpPolicy::Allowed);
    let offered = match base {
        Some(base) => offer_again(&ours, &answered(base).unwrap(), &mut rng()),
        None => offer(&ours, &mut rng()),
    };
    match accept_answer(&offered, answer, &mut rng()) {
        Ok(agreed) => summary(&agreed),
        Err(error) => format!("{error:?}"),
    }
}

fn judge(table: &[Verdict], read: impl Fn(&str) -> Option<String>) {
    let mut wrong = Vec::new();
    for (name, base, expected) in table {
        let Some(answer) = read(name) else { continue };
        let base = base.map(|base| read(base).unwrap());
        let found = accepted(&answer, base.as_deref());
        if found != *expected {
            wrong.push(format!("{name}: {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn answers_are_taken_as_the_tables_say() {
    judge(OWN_ANSWERS, |name| Some(own(name)));
    judge(CAPTURED_ANSWERS, captured);
    for (name, expected) in ANSWERS_AS_OFFERS {
        let Some(offer) = captured(name) else {
            continue;
        };
        let agreed = answered(&offer).unwrap();
        check_rules(&offer, &agreed);
        assert_eq!(summary(&agreed), *expected, "{name}");
    }
}

/// A terminal that sends its offer again, unchanged, gets the same answer.
#[test]
fn the_same_offer_again_has_the_same_answer() {
    let own = OWN.iter().map(|(name, _)| own(name));
    let captured = CAPTURED.iter().filter_map(|(name, _)| captured(name));
    for offer in own.chain(captured) {
        let Ok(first) = answered(&offer) else {
            continue;
        };
        let ours = local(SrtpPolicy::Allowed);
        let again = answer_again(&offer, &ours, &first, &mut StdRng::seed_from_u64(9));
        assert_eq!(again.as_ref(), Ok(&first));
    }
}

/// Files of a folder that hold a description.
fn descriptions(folder: &Path) -> BTreeSet<String> {
    let files = std::fs::read_dir(folder).unwrap();
    let names = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".sdp")).collect()
}

#[test]
fn every_description_has_a_verdict() {
    let named = |offers: &[(&'static str, &str)], answers: &[Verdict]| -> BTreeSet<&'static str> {
        let offers = offers.iter().map(|(name, _)| *name);
        offers
            .chain(answers.iter().map(|(name, ..)| *name))
            .collect()
    };
    let known = named(OWN, OWN_ANSWERS);
    for name in descriptions(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures")) {
        let judged = known.contains(name.as_str()) || BROWSERS.contains(&name.as_str());
        assert!(judged, "{name} has no verdict");
    }
    // A clone alone has no captures: nothing to walk.
    if let Some(folder) = std::env::var_os("CONSILIUM_CAPTURES") {
        let known = named(CAPTURED, CAPTURED_ANSWERS);
        for name in descriptions(&PathBuf::from(folder).join("sip")) {
            assert!(known.contains(name.as_str()), "{name} has no verdict");
        }
    }
}
