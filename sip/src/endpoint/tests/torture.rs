//! Messages made to trip a parser: our own in the repository, and those of RFC 4475 and RFC 5118 in
//! the folder that `CONSILIUM_CAPTURES` names.

use std::path::{Path, PathBuf};

use super::*;

/// What a message must lead to.
#[derive(Clone, Copy, Debug)]
enum Verdict {
    /// A call to this number, with or without an offer.
    Call(&'static str, bool),
    /// One response with this status and no call.
    Status(u16),
    /// No response and no call.
    Silence,
}

use Verdict::{Call, Silence, Status};

/// RFC 4475. Where the RFC leaves a choice, the comment says what was chosen.
const RFC_4475: &[(&str, Verdict)] = &[
    // §3.1.1: valid. Its To has a tag, and there is no such dialog.
    ("wsinv.dat", Status(481)),
    ("intmeth.dat", Status(501)),
    ("esc01.dat", Call("sips:user@example.com", true)),
    ("escnull.dat", Status(401)),
    // The escapes in the method are no escapes: an unknown method.
    ("esc02.dat", Status(501)),
    ("lwsdisp.dat", Status(200)),
    ("longreq.dat", Call("user", true)),
    ("dblreq.dat", Status(401)),
    ("semiuri.dat", Status(200)),
    ("transports.dat", Status(200)),
    ("mpart01.dat", Status(405)),
    ("unreason.dat", Silence),
    ("noreason.dat", Silence),
    // §3.1.2: invalid.
    ("badinv01.dat", Status(400)),
    ("clerr.dat", Status(400)),
    ("ncl.dat", Status(400)),
    ("scalar02.dat", Status(400)),
    ("scalarlg.dat", Silence),
    ("quotbal.dat", Status(400)),
    ("ltgtruri.dat", Status(400)),
    ("lwsruri.dat", Status(400)),
    ("lwsstart.dat", Status(400)),
    ("trws.dat", Status(400)),
    ("escruri.dat", Status(400)),
    // §3.1.2.12 lets an element that does not use Date ignore it.
    ("baddate.dat", Call("user", true)),
    // The proof of identity comes before the reading of contacts.
    ("regbadct.dat", Status(401)),
    ("badaspec.dat", Status(400)),
    ("baddn.dat", Status(400)),
    ("badvers.dat", Status(505)),
    ("mismatch01.dat", Status(400)),
    ("mismatch02.dat", Status(400)),
    ("bigcode.dat", Silence),
    // §3.2 and §3.3.
    ("badbranch.dat", Status(200)),
    ("insuf.dat", Status(400)),
    ("unkscm.dat", Status(416)),
    ("novelsc.dat", Status(416)),
    ("unksm2.dat", Status(401)),
    ("bext01.dat", Status(420)),
    ("invut.dat", Status(415)),
    ("regaut01.dat", Status(401)),
    ("multi01.dat", Status(400)),
    ("mcl01.dat", Status(400)),
    ("bcast.dat", Silence),
    ("zeromf.dat", Status(483)),
    ("cparam01.dat", Status(401)),
    ("cparam02.dat", Status(401)),
    ("regescrt.dat", Status(401)),
    ("sdp01.dat", Status(406)),
    // §3.4.
    ("inv2543.dat", Call("UserB", true)),
];

const RFC_5118: &[(&str, Verdict)] = &[
    ("ipv6-good", Status(401)),
    ("ipv6-bad", Status(400)),
    ("port-ambiguous", Status(401)),
    ("port-unambiguous", Status(401)),
    ("via-received-param-with-delim", Status(481)),
    ("via-received-param-no-delim", Status(200)),
    ("ipv6-in-sdp", Call("user", true)),
    ("mult-ip-in-header", Status(481)),
    ("mult-ip-in-sdp", Call("user", true)),
    ("ipv4-mapped-ipv6", Call("user", true)),
    ("ipv6-bug-abnf-3-colons", Status(200)),
    ("ipv6-correct-abnf-2-colons", Status(200)),
];

/// Whole messages of terminals, beside the descriptions that `sdp` tests. The one here calls a host
/// alone, which is for the dial plan to refuse.
const VENDORS: &[(&str, Verdict)] = &[("cisco-roomos_invite.sip", Call("", true))];

const OWN: &[(&str, Verdict)] = &[
    ("own_invite_loose_spacing.sip", Call("3000", true)),
    ("own_invite_quoted_utf8.sip", Call("3000", true)),
    ("own_invite_record_route_commas.sip", Call("3000", true)),
    ("own_invite_unasked_authorization.sip", Call("3000", true)),
    ("own_invite_bare_addresses.sip", Call("3000", true)),
    ("own_invite_no_length.sip", Call("3000", true)),
    ("own_invite_truncated.sip", Status(400)),
    ("own_invite_no_type.sip", Call("3000", true)),
    ("own_invite_no_offer.sip", Call("3000", false)),
    ("own_invite_compact.sip", Call("3000", true)),
    ("own_invite_folded.sip", Call("3000", true)),
    ("own_invite_multipart.sip", Call("3000", true)),
    ("own_invite_multipart_no_sdp.sip", Status(415)),
    ("own_invite_optional_body.sip", Call("3000", false)),
    ("own_invite_require_100rel.sip", Call("3000", true)),
    ("own_invite_compressed.sip", Status(415)),
    ("own_invite_tel.sip", Call("3000", true)),
    ("own_invite_sips.sip", Status(416)),
    ("own_invite_short_timer.sip", Status(422)),
    ("own_invite_timer_90.sip", Call("3000", true)),
    ("own_invite_no_contact_host.sip", Call("3000", true)),
    ("own_invite_leading_lines.sip", Call("3000", true)),
    ("own_invite_bad_contact.sip", Status(400)),
    ("own_invite_two_calls_ids.sip", Status(400)),
    ("own_invite_private_via.sip", Call("3000", true)),
    ("own_options_no_max_forwards.sip", Status(200)),
    ("own_options_ping.sip", Status(200)),
    ("own_subscribe_conference.sip", Status(401)),
    ("own_register_wildcard.sip", Status(401)),
    ("own_register_outbound.sip", Status(401)),
    ("own_invite_replaces.sip", Status(401)),
    ("own_refer_stray.sip", Status(403)),
    ("own_prack_stray.sip", Status(481)),
    ("own_bye_stray.sip", Status(481)),
    ("own_ack_stray.sip", Silence),
    ("own_info_stray.sip", Status(481)),
    ("own_response_stray.sip", Silence),
    ("own_no_via.sip", Silence),
    ("own_lowercase_method.sip", Status(501)),
];

fn own_captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures")
}

fn judge(folder: &Path, name: &str, verdict: Verdict) -> Result<(), String> {
    let bytes = std::fs::read(folder.join(name)).map_err(|error| format!("{name}: {error}"))?;
    let mut bench = Bench::new();
    bench.feed_bytes(&as_sent(bytes));
    let lines = bench.start_lines();
    let calls: Vec<_> = bench
        .events
        .iter()
        .filter_map(|event| match event {
            CallEvent::Incoming(call) => Some((call.dialled.as_str(), call.offer.is_some())),
            _ => None,
        })
        .collect();
    let fits = match verdict {
        Call(number, offered) => lines.is_empty() && calls == [(number, offered)],
        Status(status) => {
            let start = format!("SIP/2.0 {status} ");
            calls.is_empty() && lines.len() == 1 && lines.iter().all(|l| l.starts_with(&start))
        }
        Silence => calls.is_empty() && lines.is_empty(),
    };
    match fits {
        true => Ok(()),
        false => Err(format!(
            "{name}: expected {verdict:?}, got {lines:?} and {calls:?}"
        )),
    }
}

/// Copies of the RFC 5118 messages are kept as the RFC prints them: with bare line feeds, without the
/// last empty line, and with lengths that do not count what is printed. Only their heads are under
/// test, so the rest is put right.
fn as_sent(bytes: Vec<u8>) -> Vec<u8> {
    if bytes.contains(&b'\r') {
        return bytes;
    }
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
    let body = body.replace('\n', "\r\n");
    let lines: Vec<String> = head
        .lines()
        .map(|line| match line.starts_with("Content-Length:") {
            true => format!("Content-Length: {}", body.len()),
            false => line.to_owned(),
        })
        .collect();
    format!("{}\r\n\r\n{body}", lines.join("\r\n")).into_bytes()
}

fn judge_all(folder: &Path, table: &[(&str, Verdict)]) {
    let failures: Vec<String> = table
        .iter()
        .filter_map(|(name, verdict)| judge(folder, name, *verdict).err())
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn our_own_captures_lead_to_what_the_table_says() {
    let folder = own_captures();
    judge_all(&folder, OWN);
    let listed = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("own_") && name.ends_with(".sip"));
    for name in listed {
        assert!(
            OWN.iter().any(|(known, _)| *known == name),
            "{name} has no verdict"
        );
    }
}

#[test]
fn the_torture_messages_of_rfc_4475_and_5118_lead_to_what_the_tables_say() {
    let given = std::env::var_os("CONSILIUM_CAPTURES").map(PathBuf::from);
    let Some(folder) = given else {
        // A clone alone has no copy of the RFCs' messages: our own show the same habits.
        return judge_all(&own_captures(), OWN);
    };
    for (part, table) in [
        ("rfc4475", RFC_4475),
        ("rfc5118", RFC_5118),
        ("sip", VENDORS),
    ] {
        let folder = folder.join(part);
        judge_all(&folder, table);
        // Session descriptions by themselves are under test in `sdp`.
        let files = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let names = files.map(|name| name.into_string().unwrap());
        for name in names.filter(|name| !name.ends_with(".md") && !name.ends_with(".sdp")) {
            let known = table.iter().any(|(known, _)| *known == name);
            assert!(known, "{part}/{name} has no verdict");
        }
    }
}

#[test]
fn names_in_the_captures_are_read_as_people_write_them() {
    let shown = |name: &str| {
        let mut bench = Bench::new();
        bench.feed_bytes(&std::fs::read(own_captures().join(name)).unwrap());
        match bench.take_events().pop() {
            Some(CallEvent::Incoming(call)) => call.caller.0,
            other => panic!("{name}: {other:?}"),
        }
    };
    assert_eq!(shown("own_invite_loose_spacing.sip"), "手术室 2");
    assert_eq!(shown("own_invite_quoted_utf8.sip"), "王医生 \"主任\"");
    assert_eq!(shown("own_invite_bare_addresses.sip"), "theatre2");
}

/// Every message of the tables, cut short and with bytes changed: no panic, and never more than one
/// answer to one datagram.
#[test]
fn damaged_captures_are_survived() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    for (name, _) in OWN {
        let whole = std::fs::read(own_captures().join(name)).unwrap();
        let mut bench = Bench::new();
        let tcp = Bench::new().over(super::tcp(9));
        let mut streams = [tcp];
        for round in 0..60 {
            let mut bytes = whole.clone();
            bytes.truncate(1 + random() % whole.len());
            for _ in 0..round % 5 {
                let at = random() % bytes.len();
                bytes[at] = random() as u8;
            }
            bench.sent.clear();
            feed_lossy(&mut bench, &bytes);
            assert!(bench.sent.len() <= 1, "{name}: {:?}", bench.sent);
            feed_lossy(&mut streams[0], &bytes);
        }
        bench.sent.clear();
    }
}

fn feed_lossy(bench: &mut Bench, bytes: &[u8]) {
    let flow = bench.flow;
    bench
        .endpoint
        .handle_input(bench.now, Input::Received { flow, bytes });
    while let Some(output) = bench.endpoint.poll_output() {
        if let Output::Transmit { flow, bytes } = output {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            bench.sent.push((flow, text));
        }
    }
}
