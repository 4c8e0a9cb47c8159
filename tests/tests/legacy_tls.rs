//! Old terminals, which speak TLS 1.0 and 1.1 alone, on a listener that takes them; and what it does
//! not take all the same (MCU-22, TER-12). OpenSSL and baresip are the terminals, tshark is the judge.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use benches::clip::{Clip, Config};
use benches::load::{LegConfig, Load, Target, Watch};
use benches::tone;
use tests::baresip::{self, Baresip};
use tests::capture::Capture;
use tests::measure::{markers_in, tones_in};
use tests::openssl;
use tests::process::free_port;
use tests::server::Server;
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(40);
const OLD: u8 = 3;
const OTHER: u8 = 4;

/// Handshakes of one source at a time.
const HANDSHAKES_OF_SOURCE: usize = 32;

const TLS_1_0: [u8; 2] = [3, 1];
const RSA_AES_128_SHA: u16 = 0x002f;

/// A server with the certificate in its folder, and its listeners' places.
struct Bench {
    server: Server,
    dir: tempfile::TempDir,
    modern: String,
    legacy: String,
}

impl Bench {
    /// With further keys of the legacy listener.
    fn start(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [modern, legacy] = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
        certify(dir.path(), &["-newkey", "rsa:2048"]);
        let text = format!(
            "demo = true\n[sip]\ncertificate = \"{0}/cert.pem\"\nkey = \"{0}/key.pem\"\n\
             [[sip.listeners]]\nprotocol = \"tls\"\nlisten = \"{modern}\"\n\
             [[sip.listeners]]\nprotocol = \"tls\"\nlisten = \"{legacy}\"\nlegacy_tls = true\n{1}",
            dir.path().display(),
            more.replace("DIR", dir.path().to_str().unwrap()),
        );
        Self {
            server: Server::configured(&text),
            dir,
            modern,
            legacy,
        }
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }
}

#[test]
fn old_terminals_are_answered_where_a_listener_takes_them_and_nowhere_else() {
    let bench = Bench::start("");
    for (flag, version, is_modern) in [
        ("-tls1", "TLSv1", false),
        ("-tls1_1", "TLSv1.1", false),
        ("-tls1_2", "TLSv1.2", true),
        ("-tls1_3", "TLSv1.3", true),
    ] {
        let old = [flag, "-cipher", "DEFAULT@SECLEVEL=0"];
        let said = s_client(&bench.legacy, &old);
        assert!(said.ends_with("SIP/2.0 200 OK"), "{version}: {said}");
        let has = |text: String| said.contains(&text);
        let spoken = has(format!("New, {version}, ")) || has(format!("  Protocol  : {version}\n"));
        assert!(spoken, "{version}: {said}");
        assert!(said.contains("Compression: NONE"), "{version}: {said}");
        let said = s_client(&bench.modern, &old);
        assert_eq!(said.ends_with("SIP/2.0 200 OK"), is_modern, "{said}");
    }
    // By RSA alone, without elliptic curves.
    for suite in ["AES128-SHA", "AES256-SHA", "DHE-RSA-AES128-SHA"] {
        let suite_at_0 = format!("{suite}@SECLEVEL=0");
        let said = s_client(&bench.legacy, &["-tls1", "-cipher", &suite_at_0]);
        assert!(said.ends_with("SIP/2.0 200 OK"), "{said}");
        assert!(said.contains(&format!("Cipher is {suite}\n")), "{said}");
    }
    // A client of today that somebody pushed down to an old version (RFC 7507).
    let pushed = ["-tls1_1", "-fallback_scsv", "-cipher", "DEFAULT@SECLEVEL=0"];
    let said = s_client(&bench.legacy, &pushed);
    assert!(!said.contains("SIP/2.0"), "{said}");
    let log = bench.server.log();
    let warnings: Vec<&str> = log.lines().filter(|l| l.contains("RFC 8996")).collect();
    assert_eq!(warnings.len(), 1, "{log}");
    assert!(warnings[0].contains("WARN") && warnings[0].contains(&bench.legacy));
}

#[test]
fn what_was_broken_long_ago_is_refused_by_old_terminals_listener_too() {
    let bench = Bench::start("");
    let old = answer(&bench.legacy, &hello(TLS_1_0, &[RSA_AES_128_SHA]));
    // Without compression, though the client knows one.
    let taken = Answer::Hello {
        version: TLS_1_0,
        suite: RSA_AES_128_SHA,
        compression: 0,
    };
    assert_eq!(old, taken);
    for (what, suite) in [
        ("without encryption", 0x0002),
        ("for export", 0x0003),
        ("RC4 with MD5", 0x0004),
        ("RC4", 0x0005),
        ("DES for export", 0x0008),
        ("DES", 0x0009),
        ("triple DES", 0x000a),
        ("anonymous", 0x0034),
        ("anonymous, elliptic", 0xc018),
        ("without encryption, elliptic", 0xc010),
        ("RC4, elliptic", 0xc011),
    ] {
        // RFC 5246 §7.2: handshake_failure.
        let refused = answer(&bench.legacy, &hello(TLS_1_0, &[suite]));
        assert_eq!(refused, Answer::Alert(40), "{what}");
    }
    // SSL 3 has no other alert for it.
    let refused = answer(&bench.legacy, &hello([3, 0], &[RSA_AES_128_SHA]));
    assert_eq!(refused, Answer::Alert(40), "SSL 3");
    let modern = answer(&bench.modern, &hello(TLS_1_0, &[RSA_AES_128_SHA]));
    assert_eq!(modern, Answer::Alert(40), "a listener of today");
}

#[test]
fn a_renewed_certificate_is_taken_up_and_one_without_rsa_is_warned_of() {
    let bench = Bench::start("");
    let rsa = ["-tls1", "-cipher", "AES128-SHA@SECLEVEL=0"];
    assert!(s_client(&bench.legacy, &rsa).ends_with("SIP/2.0 200 OK"));
    let warning = "no RSA key";
    assert!(!bench.server.log().contains(warning));
    let elliptic = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
    certify(bench.dir.path(), &elliptic);
    let said = s_client(&bench.legacy, &rsa);
    assert!(!said.contains("SIP/2.0"), "{said}");
    assert_eq!(bench.server.log().matches(warning).count(), 1);
    let said = s_client(
        &bench.legacy,
        &["-tls1", "-cipher", "ECDHE-ECDSA-AES128-SHA@SECLEVEL=0"],
    );
    assert!(said.ends_with("SIP/2.0 200 OK"), "{said}");
    certify(bench.dir.path(), &["-newkey", "rsa:2048"]);
    let said = s_client(&bench.legacy, &rsa);
    assert!(said.ends_with("SIP/2.0 200 OK"), "{said}");
}

#[test]
fn certificates_of_old_terminals_are_no_weaker_than_those_of_others() {
    let bench = Bench::start("client_ca = \"DIR/ca.pem\"\nclient_certificates = \"required\"\n");
    let dir = bench.dir.path();
    let root = ["-x509", "-newkey", "rsa:2048", "-subj", "/CN=root"];
    req(dir, "root", &root);
    // An issuer in the middle is believed without the one above it.
    issue(dir, "ca", "root", &["-newkey", "rsa:2048"], &["-sha256"]);
    issue(dir, "good", "ca", &["-newkey", "rsa:2048"], &["-sha256"]);
    issue(dir, "short", "ca", &["-newkey", "rsa:1024"], &["-sha256"]);
    issue(dir, "sha1", "ca", &["-newkey", "rsa:2048"], &["-sha1"]);
    issue(
        dir,
        "root_s",
        "root",
        &["-newkey", "rsa:2048"],
        &["-sha256"],
    );
    let shown_by = |name: Option<&str>| {
        let files = name.map(|name| {
            [format!("{name}.pem"), format!("{name}.key")].map(|file| bench.file(&file))
        });
        let old = ["-tls1", "-cipher", "DEFAULT@SECLEVEL=0"];
        let mut flags = old.to_vec();
        if let Some([certificate, key]) = &files {
            flags.extend(["-cert", certificate, "-key", key]);
        }
        s_client(&bench.legacy, &flags)
    };
    let said = shown_by(Some("good"));
    assert!(said.ends_with("SIP/2.0 200 OK"), "{said}");
    for refused in [None, Some("short"), Some("sha1"), Some("root_s")] {
        let said = shown_by(refused);
        assert!(!said.contains("SIP/2.0"), "{refused:?}: {said}");
    }
}

#[test]
fn a_peer_cannot_shake_hands_again() {
    let bench = Bench::start("");
    for version in ["-tls1", "-tls1_2"] {
        let mut client = Command::new("openssl")
            .args(["s_client", "-connect", &bench.legacy, version])
            .args(["-cipher", "DEFAULT@SECLEVEL=0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut commands = client.stdin.take().unwrap();
        let mut said = BufReader::new(client.stdout.take().unwrap());
        let mut lines = String::new();
        while !lines.contains("Verify return code") {
            assert_ne!(said.read_line(&mut lines).unwrap(), 0, "{version}: {lines}");
        }
        commands.write_all(b"R\n").unwrap();
        let mut errors = String::new();
        client
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut errors)
            .unwrap();
        assert!(errors.contains("no renegotiation"), "{version}: {errors}");
        let _ = client.wait();
    }
}

#[test]
fn half_open_handshakes_of_a_source_are_bounded_on_both_kinds_of_listener() {
    let bench = Bench::start("");
    let first_bytes = &hello(TLS_1_0, &[RSA_AES_128_SHA])[..7];
    for at in [&bench.modern, &bench.legacy] {
        let mut held: Vec<TcpStream> = (0..HANDSHAKES_OF_SOURCE)
            .map(|_| {
                let mut stream = TcpStream::connect(at).unwrap();
                stream.write_all(first_bytes).unwrap();
                stream
            })
            .collect();
        let mut further = TcpStream::connect(at).unwrap();
        further.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(further.read(&mut [0; 16]).unwrap(), 0, "{at}");
        held.clear();
        wait_for("there is a place again", PATIENCE, || {
            s_client(at, &[]).ends_with("SIP/2.0 200 OK").then_some(())
        });
    }
}

#[test]
fn a_terminal_that_knows_tls_1_0_alone_calls_with_encrypted_media() {
    let bench = Bench::start("srtp = \"required\"\n");
    let server = &bench.server;
    let port = bench.legacy.rsplit_once(':').unwrap().1;
    let filter = format!("tcp port {port} or udp port {}", server.media.1);
    let capture = Capture::start(server.dir(), &filter);
    let load = Load::start().unwrap();
    let clip = Arc::new(Clip::load(&Config::cif(OTHER)).unwrap());
    let mut leg = LegConfig::terminal(OTHER, clip);
    leg.watch = Watch::Tiles;
    let sip = server.sip_address();
    let other = load.call(&Target::number("3000", sip), leg).unwrap();
    let terminal = old_terminal(server);
    terminal.dial(&format!("sip:3000@{};transport=tls", bench.legacy));
    let met = other.wait_until(PATIENCE, |report| {
        let seen = report.tile(OLD).is_some_and(|tile| tile.fresh > 5);
        seen && report.heard().contains(&OLD)
    });
    let _ = met
        .unwrap()
        .unwrap_or_else(|last| panic!("{last:#?}\n{}", server.log()));
    wait_for("the old terminal sees the other", PATIENCE, || {
        let markers = markers_in(&terminal.picture());
        markers.iter().any(|m| m.id == OTHER).then_some(())
    });
    wait_for("the old terminal hears the other", PATIENCE, || {
        let heard = tones_in(&terminal.heard()?, 1.0);
        heard.contains(&OTHER).then_some(())
    });
    terminal.hang_up();
    wait_for("the terminal has left", PATIENCE, || {
        server.room().filter(|room| room.legs.len() == 1)
    });
    let wire = capture.stop(server.media.1, &[format!("tcp.port=={port},tls")]);
    let chosen = "tls.handshake.type == 2";
    let chosen = wire.fields(chosen, &["tls.record.version", "tls.handshake.version"]);
    assert_eq!(chosen, [["0x0301", "0x0301"]]);
    let newer = "tls.record.version and tls.record.version != 0x0301";
    assert_eq!(wire.count(newer), 0, "{}", wire.show(newer));
    assert!(wire.count("tls.app_data") > 4);
}

/// baresip with an OpenSSL that is told to know no newer version; keys of its media by SDES.
fn old_terminal(server: &Server) -> Baresip {
    let clip = server.dir().join("old.mp4");
    baresip::write_clip(&Clip::load(&Config::hd(OLD)).unwrap(), &clip);
    let settings = server.dir().join("openssl.cnf");
    let text = "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = old\n[old]\n\
        MinProtocol = TLSv1\nMaxProtocol = TLSv1\nCipherString = DEFAULT@SECLEVEL=0\n";
    fs::write(&settings, text).unwrap();
    Baresip::start_as(
        Command::new("baresip").env("OPENSSL_CONF", &settings),
        Ipv4Addr::LOCALHOST.into(),
        &baresip::Config {
            dir: &server.dir().join("baresip"),
            tone_hz: tone::frequency_hz(OLD).unwrap().into(),
            clip: Some(&clip),
            audio_codec: "opus/48000/2",
            account: ";mediaenc=srtp-mand",
        },
    )
}

/// What OpenSSL says of the connection and of the answer to OPTIONS.
fn s_client(at: &str, flags: &[&str]) -> String {
    openssl::s_client(at, flags, "sip")
}

/// A ClientHello (RFC 2246 §7.4.1.2) without extensions, as old libraries send it.
fn hello(version: [u8; 2], suites: &[u16]) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend([7; 32]);
    body.push(0);
    body.extend((suites.len() as u16 * 2).to_be_bytes());
    body.extend(suites.iter().flat_map(|suite| suite.to_be_bytes()));
    // DEFLATE (RFC 3749), or none.
    body.extend([2, 1, 0]);
    let mut record = vec![22, version[0], version[1]];
    record.extend((body.len() as u16 + 4).to_be_bytes());
    record.extend([1, 0]);
    record.extend((body.len() as u16).to_be_bytes());
    record.extend(body);
    record
}

#[derive(Debug, PartialEq)]
enum Answer {
    Hello {
        version: [u8; 2],
        suite: u16,
        compression: u8,
    },
    Alert(u8),
}

/// The beginning of what comes back.
fn answer(at: &str, hello: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(hello).unwrap();
    let mut head = [0; 5];
    stream.read_exact(&mut head).unwrap();
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    stream.read_exact(&mut body).unwrap();
    match (head[0], body[0]) {
        (21, 2) => Answer::Alert(body[1]),
        (22, 2) => {
            let rest = &body[39 + usize::from(body[38])..];
            Answer::Hello {
                version: [body[4], body[5]],
                suite: u16::from_be_bytes([rest[0], rest[1]]),
                compression: rest[2],
            }
        }
        other => panic!("{other:?}"),
    }
}

/// Puts a certificate and its key into the folder, as `cert.pem` and `key.pem`.
fn certify(dir: &Path, key: &[&str]) {
    let mut flags = vec!["-x509", "-subj", "/CN=mcu.example"];
    flags.extend(key);
    req(dir, "new", &flags);
    fs::rename(dir.join("new.key"), dir.join("key.pem")).unwrap();
    fs::rename(dir.join("new.pem"), dir.join("cert.pem")).unwrap();
}

/// A certificate of this name by an issuer; that of `ca` may issue others in turn.
fn issue(dir: &Path, name: &str, issuer: &str, key: &[&str], hash: &[&str]) {
    let subject = format!("/CN={name}");
    let mut flags = vec!["-subj", &subject];
    flags.extend(key);
    req(dir, name, &flags);
    let request = dir.join(format!("{name}.csr"));
    fs::rename(dir.join(format!("{name}.pem")), &request).unwrap();
    let extensions = dir.join("extensions");
    let may_issue = if name == "ca" { "TRUE" } else { "FALSE" };
    let text = format!("basicConstraints = critical, CA:{may_issue}\n");
    fs::write(&extensions, text).unwrap();
    let of = |name: &str, ending: &str| -> PathBuf { dir.join(format!("{name}.{ending}")) };
    let done = Command::new("openssl")
        .args(["x509", "-req", "-days", "9", "-CAcreateserial", "-in"])
        .arg(&request)
        .arg("-CA")
        .arg(of(issuer, "pem"))
        .arg("-CAkey")
        .arg(of(issuer, "key"))
        .arg("-extfile")
        .arg(&extensions)
        .arg("-out")
        .arg(of(name, "pem"))
        .args(hash)
        .stderr(Stdio::null())
        .status()
        .expect("run openssl");
    assert!(done.success());
}

/// `openssl req` with a new key: `NAME.key` and `NAME.pem`.
fn req(dir: &Path, name: &str, flags: &[&str]) {
    let done = Command::new("openssl")
        .args(["req", "-nodes", "-days", "9", "-keyout"])
        .arg(dir.join(format!("{name}.key")))
        .arg("-out")
        .arg(dir.join(format!("{name}.pem")))
        .args(flags)
        .stderr(Stdio::null())
        .status()
        .expect("run openssl");
    assert!(done.success());
}
