//! What we say on the wire, judged by tshark: SIP over UDP, TCP and TLS, of both families, as callee
//! and as caller; RTP, RTCP, clear and encrypted; in calls with sipp, baresip, OpenSSL and the load
//! generator (VTC-01, NSEC-01 in part).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use benches::load::{Load, LoadLeg};
use tests::baresip::{self, Baresip};
use tests::capture::{Capture, Wire};
use tests::process::{free_port, is_udp_port_taken};
use tests::server::Server;
use tests::sipp;
use tests::terminal::{encrypted, sending};

const PATIENCE: Duration = Duration::from_secs(30);
/// Calls that sipp makes.
const SIPP_CALLS: usize = 20;
/// Longest payload that may leave: it fits every path (RFC 6184 leaves it to us).
const MAX_PAYLOAD: usize = 1_200;
/// DSCP of sound (EF, RFC 3246) and of pictures (AF41, RFC 2597), shifted as in the IP header.
const EF: usize = 46;
const AF41: usize = 34;
/// Signalling that leaves by a port of ours without its mark (CS5, RFC 4594 §4.2).
fn unmarked(below: &str, port: u16) -> String {
    let payload = match below {
        "tcp" => " and tcp.len > 0",
        _ => "",
    };
    format!(
        "{below}.srcport == {port}{payload} and (ip.dsfield.dscp != 40 or ipv6.tclass.dscp != 40)"
    )
}

#[test]
fn what_we_say_on_the_wire_is_well_formed() {
    let server = Server::demo();
    let (low, high) = server.media;
    let filter = format!("port {} or udp portrange {low}-{high}", server.sip);
    let capture = Capture::start(server.dir(), &filter);
    let load = Load::start().unwrap();
    let legs = [1, 2].map(|id| call_by_load_leg(&load, &server, id));
    call_by_sipp(&server);
    call_by_baresip_over_tcp(&server);
    for leg in legs {
        expect_served(&leg, &server);
        leg.hang_up();
    }
    tests::wait_for("the room is empty", PATIENCE, || {
        server.room().filter(|room| room.legs.is_empty())
    });
    let wire = capture.stop(
        server.media.1,
        &[
            format!("udp.port=={},sip", server.sip),
            format!("tcp.port=={},sip", server.sip),
        ],
    );
    expect_good_signalling(&wire, server.sip);
    expect_good_media(&wire, server.media);
    expect_good_reports(&wire, server.media);
}

/// Over IPv6 and inside TLS, as caller, and to who subscribes.
#[test]
fn what_we_say_elsewhere_is_well_formed_too() {
    let (tls, v6, callee) = (free_port(), free_port(), free_port());
    let (server, _config) = with_listeners(tls, v6);
    let ports = format!(
        "port {} or port {tls} or port {v6} or port {callee}",
        server.sip
    );
    let capture = Capture::start(
        server.dir(),
        &format!("{ports} or udp port {}", server.media.1),
    );
    let mut watcher = once(&server, "conference_watcher.xml", free_port())
        .args(["-s", "3000", &format!("127.0.0.1:{}", server.sip)])
        .spawn()
        .unwrap();
    for transport in ["u1", "t1"] {
        call_over_ipv6(&server, v6, transport);
    }
    call_a_callee(&server, callee);
    let keys = server.dir().join("keys");
    call_over_tls(tls, &keys);
    // Who stays is what the subscriber is told of.
    let load = Load::start().unwrap();
    let leg = call_by_load_leg(&load, &server, 1);
    assert!(watcher.wait().unwrap().success(), "{}", server.log());
    leg.hang_up();
    let rules = [
        ("udp", server.sip),
        ("udp", v6),
        ("tcp", v6),
        ("udp", callee),
        ("tls", tls),
    ];
    let mut rules: Vec<String> = rules
        .iter()
        .map(|(below, port)| format!("{below}.port=={port},sip"))
        .collect();
    rules.push(format!("tcp.port=={tls},tls"));
    let wire = capture.stop(server.media.1, &rules).with_keys(&keys);
    expect_said_elsewhere(&wire, &server, [tls, v6, callee]);
}

fn expect_said_elsewhere(wire: &Wire, server: &Server, [tls, v6, callee]: [u16; 3]) {
    let bad = "sip and (_ws.malformed or _ws.expert.severity == \"Error\")";
    assert_eq!(wire.count(bad), 0, "{}", wire.show(bad));
    for (below, port) in [("udp", server.sip), ("tcp", tls), ("udp", v6), ("tcp", v6)] {
        let bare = unmarked(below, port);
        assert_eq!(wire.count(&bare), 0, "{}", wire.show(&bare));
    }
    let answers = "sip.Status-Code == 200 and sip.CSeq.method";
    for (said, least) in [
        (
            format!("{answers} == \"INVITE\" and tls and tcp.srcport == {tls}"),
            1,
        ),
        (
            format!("{answers} == \"BYE\" and tls and tcp.srcport == {tls}"),
            1,
        ),
        (
            format!("{answers} == \"INVITE\" and ipv6 and udp.srcport == {v6}"),
            3,
        ),
        (
            format!("{answers} == \"INVITE\" and ipv6 and tcp.srcport == {v6}"),
            3,
        ),
        (
            format!("{answers} == \"UPDATE\" and udp.srcport == {}", server.sip),
            1,
        ),
        (
            format!("sip.Method == \"NOTIFY\" and udp.srcport == {}", server.sip),
            2,
        ),
        (
            format!("sip.Method == \"INVITE\" and udp.dstport == {callee}"),
            2,
        ),
        (
            format!("sip.Method == \"PRACK\" and udp.dstport == {callee}"),
            1,
        ),
        (
            format!("sip.Method == \"ACK\" and udp.dstport == {callee}"),
            3,
        ),
        (
            format!("sip.Method == \"BYE\" and udp.dstport == {callee}"),
            1,
        ),
    ] {
        let count = wire.count(&said);
        println!("{count}: {said}");
        assert!(count >= least, "{count}: {said}\n{}", server.log());
    }
}

/// A demo with further listeners and media over IPv6; its configuration lives as long as the folder.
fn with_listeners(tls: u16, v6: u16) -> (Server, tempfile::TempDir) {
    let listener = |protocol: &str, at: String| {
        format!("[[sip.listeners]]\nprotocol = \"{protocol}\"\nlisten = \"{at}\"\n")
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("consilium.toml");
    let text = listener("tls", format!("127.0.0.1:{tls}"))
        + &listener("udp", format!("[::1]:{v6}"))
        + &listener("tcp", format!("[::1]:{v6}"));
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let flags = ["--demo", "--config", file, "--media-address", "::1"];
    (Server::start(&flags), dir)
}

fn once(server: &Server, scenario: &str, port: u16) -> Command {
    let mut command = sipp::scenario(server.dir(), scenario, port);
    command.args(["-m", "1", "-timeout", "60", "-timeout_error", "-trace_err"]);
    command
}

fn call_over_ipv6(server: &Server, port: u16, transport: &str) {
    let here = IpAddr::from(Ipv6Addr::LOCALHOST);
    let to = ("3000", SocketAddr::new(here, port));
    let more = ["-t", transport, "-m", "3", "-r", "3", "-d", "300"];
    let done = sipp::call(server.dir(), here, to, &more);
    done.unwrap_or_else(|said| panic!("{said}\n{}", server.log()));
}

/// A room calls sipp, which has moved, rings reliably, and answers twice.
fn call_a_callee(server: &Server, port: u16) {
    let mut callee = once(server, "callee.xml", port).spawn().unwrap();
    tests::wait_for("the callee listens", PATIENCE, || {
        is_udp_port_taken(port).then_some(())
    });
    let said = server.dial("3000", &format!("sip:callee@127.0.0.1:{port}"));
    let done = callee.wait().unwrap();
    assert!(said.is_ok() && done.success(), "{said:?}\n{}", server.log());
}

/// A call inside TLS by OpenSSL, whose secrets tshark gets.
fn call_over_tls(port: u16, keys: &Path) {
    let at = format!("127.0.0.1:{port}");
    let mut client = Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &at, "-keylogfile"])
        .arg(keys)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut write = client.stdin.take().unwrap();
    let mut read = BufReader::new(client.stdout.take().unwrap());
    let head = |method: &str, cseq: u32, to: &str| {
        format!(
            "{method} sip:3000@{at} SIP/2.0\r\nVia: SIP/2.0/TLS {at};branch=z9hG4bK{method}{cseq}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:x@{at}>;tag=1\r\nTo: {to}\r\nCall-ID: tls\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:x@{at};transport=tls>\r\n"
        )
    };
    let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
        m=audio 40000 RTP/AVP 0\r\n";
    let length = format!(
        "Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n",
        sdp.len()
    );
    let to = format!("<sip:3000@{at}>");
    let mut say = |text: String| write.write_all(text.as_bytes()).unwrap();
    say(head("INVITE", 1, &to) + &length + sdp);
    let ok = final_response(&mut read);
    let to = ok
        .lines()
        .find_map(|line| line.strip_prefix("To: "))
        .unwrap();
    say(head("ACK", 1, to) + "Content-Length: 0\r\n\r\n");
    say(head("BYE", 2, to) + "Content-Length: 0\r\n\r\n");
    final_response(&mut read);
    drop(write);
    client.kill().unwrap();
    client.wait().unwrap();
}

/// The head of the next response that is a 200; its body is passed over.
fn final_response(read: &mut impl BufRead) -> String {
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(read.read_line(&mut head).unwrap(), 0, "{head}");
        }
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "));
        let mut body = vec![0; length.unwrap().parse().unwrap()];
        read.read_exact(&mut body).unwrap();
        if head.starts_with("SIP/2.0 200 ") {
            return head;
        }
    }
}

fn call_by_sipp(server: &Server) {
    let (to, calls) = (("3000", server.sip_address()), SIPP_CALLS.to_string());
    let more = ["-m", &calls, "-r", "20", "-d", "300"];
    let done = sipp::call(server.dir(), server.host, to, &more);
    done.unwrap_or_else(|said| panic!("{said}\n{}", server.log()));
}

/// A leg in clear for the first source, an encrypted one for the second.
fn call_by_load_leg(load: &Load, server: &Server, id: u8) -> LoadLeg {
    let leg = match id {
        2 => encrypted(sending(id)),
        _ => sending(id),
    };
    server.call(load, leg)
}

/// It got enough for reports and key frames.
fn expect_served(leg: &LoadLeg, server: &Server) {
    let served = leg.wait_until(PATIENCE, |report| {
        report.audio.packets >= 200 && report.video.frames >= 100 && report.audio.cname.is_some()
    });
    let _ = served
        .unwrap()
        .unwrap_or_else(|last| panic!("{last:#?}\n{}", server.log()));
}

fn call_by_baresip_over_tcp(server: &Server) {
    let terminal = Baresip::start(&baresip::Config {
        dir: &server.dir().join("baresip"),
        tone_hz: 440,
        clip: None,
        audio_codec: "PCMA/8000/1",
        account: "",
    });
    terminal.dial(&format!("sip:3000@127.0.0.1:{};transport=tcp", server.sip));
    tests::wait_for("baresip hears the room", PATIENCE, || {
        (tests::measure::tones_in(&terminal.heard()?, 2.0) == [1, 2]).then_some(())
    });
    terminal.hang_up();
}

/// No message is malformed, every answer has what RFC 3261 §8.1.1 and §20 ask of it.
fn expect_good_signalling(wire: &Wire, sip: u16) {
    let bad = "sip and (_ws.malformed or _ws.expert.severity == \"Error\")";
    assert_eq!(wire.count(bad), 0, "{}", wire.show(bad));
    let fields = [
        "sip.Status-Code",
        "sip.Via",
        "sip.From",
        "sip.To",
        "sip.Call-ID",
        "sip.CSeq",
    ];
    for transport in ["udp", "tcp"] {
        let bare = unmarked(transport, sip);
        assert_eq!(wire.count(&bare), 0, "{}", wire.show(&bare));
        let ours = format!("sip.Status-Code and {transport}.srcport == {sip}");
        let answers = wire.fields(&ours, &fields);
        assert!(answers.iter().flatten().all(|value| !value.is_empty()));
        let codes: BTreeSet<&str> = answers.iter().map(|row| row[0].as_str()).collect();
        println!("{transport}: {} answers, {codes:?}", answers.len());
        assert!(codes.contains("200"));
        let odd: Vec<_> = codes
            .iter()
            .filter(|c| !["100", "180", "200"].contains(c))
            .collect();
        assert!(odd.is_empty(), "{transport}: {odd:?}");
    }
    let ok = format!(
        "sip.Status-Code == 200 and sip.CSeq.method == \"INVITE\" and udp.srcport == {sip}"
    );
    let accepted = wire.fields(
        &ok,
        &["sip.Contact", "sip.Content-Type", "sdp.media", "sip.to.tag"],
    );
    assert!(accepted.len() > SIPP_CALLS, "{}", accepted.len());
    for row in &accepted {
        assert!(row.iter().all(|value| !value.is_empty()), "{row:?}");
        assert_eq!(row[1], "application/sdp");
    }
}

/// Streams without holes, of payloads that fit, with the marks of their kind.
fn expect_good_media(wire: &Wire, media: (u16, u16)) {
    let bad = "rtp and _ws.malformed";
    assert_eq!(wire.count(bad), 0, "{}", wire.show(bad));
    let ours = format!("rtp and {}", from(media));
    let fields = [
        "rtp.ssrc",
        "rtp.seq",
        "rtp.p_type",
        "udp.length",
        "ip.dsfield.dscp",
        "rtp.marker",
    ];
    let mut streams: BTreeMap<String, Vec<(u16, usize, usize)>> = BTreeMap::new();
    for row in wire.fields(&ours, &fields) {
        let number = |n: usize| {
            row[n]
                .parse::<usize>()
                .unwrap_or_else(|_| panic!("{row:?}"))
        };
        let is_sound = [0, 8, 9].contains(&number(2));
        let key = format!("{} {}", row[0], if is_sound { "sound" } else { "picture" });
        streams
            .entry(key)
            .or_default()
            .push((number(1) as u16, number(3), number(4)));
    }
    println!("{} streams of ours", streams.len());
    let (mut sounds, mut pictures) = (0, 0);
    for (stream, packets) in &streams {
        let holes = packets
            .windows(2)
            .filter(|pair| pair[1].0 != pair[0].0.wrapping_add(1))
            .count();
        assert_eq!(holes, 0, "{stream}: {} packets", packets.len());
        // UDP and RTP headers take 20 bytes, an SRTP tag 10.
        let longest = packets.iter().map(|packet| packet.1).max().unwrap();
        assert!(longest <= MAX_PAYLOAD + 30, "{stream}: {longest}");
        let is_sound = stream.ends_with("sound");
        let mark = if is_sound { EF } else { AF41 };
        assert!(
            packets.iter().all(|packet| packet.2 == mark),
            "{stream}: {:?}",
            packets[0]
        );
        *(if is_sound { &mut sounds } else { &mut pictures }) += 1;
    }
    assert!(
        sounds >= SIPP_CALLS + 3 && pictures == 2,
        "{sounds} and {pictures}"
    );
}

/// Every compound begins with a report and names its sender; all streams of the room share the name.
fn expect_good_reports(wire: &Wire, media: (u16, u16)) {
    let bad = format!("rtcp and {} and _ws.malformed", from(media));
    assert_eq!(wire.count(&bad), 0, "{}", wire.show(&bad));
    let clear = wire.fields(
        &format!("rtcp.pt and not srtcp and {}", from(media)),
        &["rtcp.pt", "rtcp.sdes.text"],
    );
    let names: BTreeSet<&str> = clear.iter().map(|row| row[1].as_str()).collect();
    println!(
        "{} compounds of ours in clear, names {names:?}",
        clear.len()
    );
    assert!(
        clear
            .iter()
            .all(|row| ["200", "201"].contains(&row[0].as_str())),
        "{clear:?}"
    );
    assert!(names.len() == 1 && !names.contains(""), "{names:?}");
    let sending = format!("rtcp.sender.octetcount > 0 and {}", from(media));
    assert!(wire.count(&sending) > 4);
}

/// Display filter for what leaves our media ports.
fn from((low, high): (u16, u16)) -> String {
    format!("udp.srcport >= {low} and udp.srcport <= {high}")
}
