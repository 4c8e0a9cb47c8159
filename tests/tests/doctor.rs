//! `consilium doctor` names what was spoilt on purpose, and nothing else.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tempfile::TempDir;
use tests::postgres::Postgres;
use tests::process::free_port;
use tests::server::{Server, binary};

/// An installation that does not run yet.
struct Installation {
    dir: TempDir,
    config: String,
}

impl Installation {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = format!(
            "[http]\nlisten = \"127.0.0.1:{}\"\n[sip]\nlisten = \"127.0.0.1:{}\"\n[media]\naddresses = [\"127.0.0.1\"]\nports = \"31000-31099\"\n",
            free_port(),
            free_port()
        );
        let new = Self { dir, config };
        fs::create_dir(new.data()).unwrap();
        fs::set_permissions(new.data(), Permissions::from_mode(0o700)).unwrap();
        new
    }

    /// With these lines in its configuration file.
    fn with(lines: &str) -> Self {
        let mut new = Self::new();
        new.config.push_str(lines);
        new
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("consilium.toml")
    }

    /// Certificate and key in the place of the page's.
    fn certificate(&self, cert: &str, key: &str) {
        let tls = self.data().join("tls");
        fs::create_dir_all(&tls).unwrap();
        fs::write(tls.join("cert.pem"), cert).unwrap();
        fs::write(tls.join("key.pem"), key).unwrap();
    }

    /// What is found, run by `before` (`sh -c`, in which `"$@"` is the command), without what every
    /// such installation has: it does not run, and peers are told of loopback.
    fn found_by(&self, before: &str, words: &[&str]) -> BTreeSet<String> {
        if !self.file().exists() {
            fs::write(self.file(), &self.config).unwrap();
            fs::set_permissions(self.file(), Permissions::from_mode(0o600)).unwrap();
        }
        let output = Command::new("sh")
            .args(["-c", before, "sh"])
            .arg(binary())
            .args(["doctor", "--json", "--config"])
            .arg(self.file())
            .arg("--data-dir")
            .arg(self.data())
            .args(words)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let found: Value = serde_json::from_slice(&output.stdout).expect(&told);
        let found = found.as_array().unwrap();
        let faults = found.iter().any(|f| f["severity"] == "fault");
        assert_eq!(output.status.code(), Some(i32::from(faults)), "{told}");
        let codes = found.iter().map(|f| f["code"].as_str().unwrap().to_owned());
        codes
            .filter(|code| !["not_running", "media_loopback"].contains(&code.as_str()))
            .collect()
    }

    fn found(&self) -> BTreeSet<String> {
        self.found_by("exec \"$@\"", &[])
    }
}

fn only(code: &str) -> BTreeSet<String> {
    [code.to_owned()].into()
}

/// A certificate for 127.0.0.1 that is valid from and to so many days from now.
fn certificate(from: i64, to: i64) -> (String, String) {
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let day = |days: i64| {
        let time = SystemTime::now();
        let off = Duration::from_secs(days.unsigned_abs() * 24 * 3600);
        let time = if days < 0 { time - off } else { time + off };
        time.into()
    };
    params.not_before = day(from);
    params.not_after = day(to);
    let key = rcgen::KeyPair::generate().unwrap();
    let issuer = rcgen::KeyPair::generate().unwrap();
    let mut by = rcgen::CertificateParams::new(Vec::new()).unwrap();
    by.distinguished_name
        .push(rcgen::DnType::CommonName, "an issuer");
    let by = rcgen::Issuer::new(by, issuer);
    let cert = params.signed_by(&key, &by).unwrap();
    (cert.pem(), key.serialize_pem())
}

#[test]
fn a_sound_installation_has_nothing_wrong() {
    let sound = Installation::new();
    let (cert, key) = certificate(-1, 90);
    sound.certificate(&cert, &key);
    assert_eq!(sound.found(), BTreeSet::new());
}

#[test]
fn a_wrong_or_open_configuration_is_named() {
    let wrong = Installation::with("[rooms\n");
    assert_eq!(wrong.found(), only("configuration"));
    let open = Installation::with("[[sip.accounts]]\nuser = \"a\"\npassword = \"b\"\n");
    fs::write(open.file(), &open.config).unwrap();
    fs::set_permissions(open.file(), Permissions::from_mode(0o644)).unwrap();
    assert_eq!(open.found(), only("configuration_open"));
}

#[test]
fn a_data_folder_that_cannot_be_used_or_is_open_or_full_is_named() {
    let file = Installation::new();
    fs::remove_dir(file.data()).unwrap();
    fs::write(file.data(), "").unwrap();
    assert!(file.found().contains("data_folder"), "{:?}", file.found());
    let open = Installation::new();
    fs::set_permissions(open.data(), Permissions::from_mode(0o777)).unwrap();
    assert_eq!(open.found(), only("data_folder_open"));
    let full = Installation::new();
    let mount = format!(
        "mount -t tmpfs -o size=1m,mode=700 none {} && exec \"$@\"",
        full.data().display()
    );
    let before = format!("exec unshare --mount --propagation private sh -c '{mount}' sh \"$@\"");
    assert_eq!(full.found_by(&before, &[]), only("disk_full"));
}

#[test]
fn a_clock_that_was_set_back_or_is_off_is_named() {
    let back = Installation::new();
    let file = File::create(back.data().join("control-state.json")).unwrap();
    let later = SystemTime::now() + Duration::from_secs(7200);
    file.set_modified(later).unwrap();
    assert_eq!(back.found(), only("clock"));

    let off = Installation::new();
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let place = server.local_addr().unwrap().to_string();
    let ahead = [0_u64, 3600];
    let told = thread::spawn(move || {
        for ahead in ahead {
            let mut packet = [0; 48];
            let (_, from) = server.recv_from(&mut packet).unwrap();
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let seconds = since.unwrap().as_secs() + 2_208_988_800 + ahead;
            for at in [32, 40] {
                packet[at..at + 4].copy_from_slice(&(seconds as u32).to_be_bytes());
                packet[at + 4..at + 8].copy_from_slice(&[0x80, 0, 0, 0]);
            }
            packet[0] = 0x24;
            server.send_to(&packet, from).unwrap();
        }
    });
    let plain = "exec \"$@\"";
    assert_eq!(off.found_by(plain, &["--ntp", &place]), BTreeSet::new());
    assert_eq!(off.found_by(plain, &["--ntp", &place]), only("clock"));
    told.join().unwrap();
    assert_eq!(
        off.found_by(plain, &["--ntp", &place]),
        only("clock_unknown")
    );
}

#[test]
fn few_open_files_are_named() {
    let few = Installation::new();
    let found = few.found_by("ulimit -n 1024; exec \"$@\"", &[]);
    assert_eq!(found, only("open_files"));
}

#[test]
fn ports_that_others_have_are_named() {
    let page = TcpListener::bind("127.0.0.1:0").unwrap();
    let sip = UdpSocket::bind("127.0.0.1:0").unwrap();
    let config = |page: String, sip: String| {
        let mut new = Installation::new();
        new.config = format!(
            "[http]\nlisten = \"{page}\"\n[sip]\nlisten = \"{sip}\"\n[media]\naddresses = [\"127.0.0.1\"]\nports = \"31000-31099\"\n"
        );
        new
    };
    let free = || format!("127.0.0.1:{}", free_port());
    let of_page = config(page.local_addr().unwrap().to_string(), free());
    assert_eq!(of_page.found(), only("port_taken"));
    let of_sip = config(free(), sip.local_addr().unwrap().to_string());
    assert_eq!(of_sip.found(), only("port_taken"));
}

#[test]
fn addresses_that_lead_nowhere_and_filtered_media_are_named() {
    let mut foreign = Installation::new();
    foreign.config = foreign.config.replace("[\"127.0.0.1\"]", "[\"192.0.2.7\"]");
    assert_eq!(foreign.found(), only("media_address"));
    let filtered = Installation::new();
    let rules = "ip link set lo up && ip rule add pref 10 lookup local && ip rule del pref 0 \
                 && ip rule add pref 5 ipproto udp prohibit && exec \"$@\"";
    let before = format!("exec unshare --net sh -c '{rules}' sh \"$@\"");
    assert_eq!(filtered.found_by(&before, &[]), only("udp_blocked"));
}

#[test]
fn certificates_that_do_not_serve_are_named() {
    let seeded = |pair: (String, String)| {
        let new = Installation::new();
        new.certificate(&pair.0, &pair.1);
        new.found()
    };
    assert_eq!(seeded(certificate(-90, -2)), only("certificate_expired"));
    assert_eq!(seeded(certificate(2, 90)), only("certificate_early"));
    assert_eq!(seeded(certificate(-90, 20)), only("certificate_expires"));
    let (cert, _) = certificate(-1, 90);
    let (_, key) = certificate(-1, 90);
    assert_eq!(seeded((cert, key)), only("certificate"));
    let made = rcgen::generate_simple_self_signed(vec!["192.0.2.9".into()]).unwrap();
    let pair = (made.cert.pem(), made.signing_key.serialize_pem());
    let both = ["certificate_name", "certificate_self_signed"];
    assert_eq!(seeded(pair), both.map(str::to_owned).into());
}

#[test]
fn other_servers_that_do_not_answer_are_named() {
    let trunk = "[[sip.trunks]]\nname = \"a\"\naddress = \"nowhere.invalid\"\n";
    assert_eq!(Installation::with(trunk).found(), only("trunk_unknown"));
    let relay = format!(
        "[turn]\nurls = [\"turn:127.0.0.1:{}?transport=tcp\"]\nsecret = \"s\"\n",
        free_port()
    );
    assert_eq!(Installation::with(&relay).found(), only("relay"));
    let legacy = format!(
        "[[sip.listeners]]\nprotocol = \"tls\"\nlisten = \"0.0.0.0:{}\"\nlegacy_tls = true\n",
        free_port()
    );
    let legacy = Installation::with(&legacy);
    let found = legacy.found();
    assert!(found.contains("legacy_tls"), "{found:?}");
}

#[test]
fn a_database_that_is_away_or_refuses_and_copies_that_are_not_made_are_named() {
    let postgres = Postgres::start();
    let url = postgres.database("consilium");
    let with = |url: &str| Installation::with(&format!("[database]\nurl = \"{url}\"\n"));
    assert_eq!(with(&url).found(), BTreeSet::new());
    let other = url.replace("/consilium", "/another");
    assert_eq!(with(&other).found(), only("database_refuses"));
    postgres.kill();
    assert_eq!(with(&url).found(), only("database_away"));
    let empty = tempfile::tempdir().unwrap();
    let copies = format!("[database]\nbackup_dir = \"{}\"\n", empty.path().display());
    assert_eq!(Installation::with(&copies).found(), only("copies"));
}

#[test]
fn a_process_that_does_not_answer_is_named_and_a_running_server_is_sound() {
    let server = Server::start(&[]);
    let sound = |server: &Server| {
        let output = Command::new(binary())
            .args(["doctor", "--json", "--data-dir"])
            .arg(server.dir().join("data"))
            .args(["--http", &format!("127.0.0.1:{}", server.http)])
            .args(["--sip", &server.sip_address().to_string()])
            .args(["--media-address", "127.0.0.1"])
            .args([
                "--media-ports",
                &format!("{}-{}", server.media.0, server.media.1),
            ])
            .output()
            .unwrap();
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let codes = found.as_array().unwrap().iter();
        let codes: Vec<String> = codes
            .map(|f| f["code"].as_str().unwrap().to_owned())
            .collect();
        codes
    };
    assert_eq!(
        sound(&server),
        ["media_loopback", "certificate_self_signed"]
    );
    stop(&server, "media");
    let found = sound(&server);
    assert!(found.contains(&"process_down".to_owned()), "{found:?}");
}

/// Takes the way to a process away: its socket.
fn stop(server: &Server, process: &str) {
    let socket: &Path = &server.dir().join(format!("data/run/{process}.sock"));
    fs::remove_file(socket).unwrap();
}
