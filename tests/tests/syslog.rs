//! Checkpoints of the record reach a log host, rsyslog, by syslog over TLS, all of them and in their
//! order, whatever was away meanwhile (WS/T 545: SW-07, PRV-07; RFC 5424, RFC 5425).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::administrator::{Administrator, PASSWORD};
use tests::process::{Process, free_port};
use tests::root;
use tests::server::{Server, binary};
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(60);

/// Certificates of one issuer, for the log host and for whoever tells it something.
struct Issuer {
    dir: TempDir,
}

impl Issuer {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "issuer");
        let key = KeyPair::generate().unwrap();
        let own = params.self_signed(&key).unwrap();
        fs::write(dir.path().join("ca.pem"), own.pem()).unwrap();
        let issuer = rcgen::Issuer::new(params, key);
        for name in ["host", "client"] {
            let key = KeyPair::generate().unwrap();
            let names = ["127.0.0.1".to_owned()];
            let mut params = CertificateParams::new(names).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            let certificate = params.signed_by(&key, &issuer).unwrap();
            let write = |ending: &str, text: String| {
                fs::write(dir.path().join(format!("{name}{ending}.pem")), text).unwrap();
            };
            write("", certificate.pem());
            write("-key", key.serialize_pem());
        }
        Self { dir }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// rsyslog, which takes messages inside TLS of whoever has a certificate of the issuer.
struct LogHost {
    dir: TempDir,
    port: u16,
    issuer: Issuer,
    process: Option<Process>,
}

impl LogHost {
    fn new() -> Self {
        let (dir, issuer) = (tempfile::tempdir().unwrap(), Issuer::new());
        let port = free_port();
        let text = format!(
            "global(workDirectory=\"{dir}\" DefaultNetstreamDriver=\"gtls\" \
             DefaultNetstreamDriverCAFile={ca:?} DefaultNetstreamDriverCertFile={cert:?} \
             DefaultNetstreamDriverKeyFile={key:?})\n\
             module(load=\"imtcp\" StreamDriver.Name=\"gtls\" StreamDriver.Mode=\"1\" \
             StreamDriver.AuthMode=\"x509/certvalid\")\n\
             template(name=\"told\" type=\"string\" string=\"%PRI% %APP-NAME% %MSGID% %msg%\\n\")\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")\n\
             action(type=\"omfile\" file=\"{dir}/told\" template=\"told\")\n",
            dir = dir.path().display(),
            ca = issuer.file("ca.pem"),
            cert = issuer.file("host.pem"),
            key = issuer.file("host-key.pem"),
        );
        fs::write(dir.path().join("rsyslog.conf"), text).unwrap();
        Self {
            dir,
            port,
            issuer,
            process: None,
        }
    }

    fn start(&mut self) {
        let mut command = Command::new("rsyslogd");
        command
            .args(["-n", "-f"])
            .arg(self.dir.path().join("rsyslog.conf"));
        command.arg("-i").arg(self.dir.path().join("pid"));
        let log = self.dir.path().join("log");
        self.process = Some(Process::start(&mut command, &log));
    }

    fn stop(&mut self) {
        self.process = None;
    }

    /// Lines of the server's configuration, with these for our certificate.
    fn configuration(&self, ca: &Path, entries: &str) -> String {
        format!(
            "[audit]\nsyslog = \"tls://127.0.0.1:{}\"\nsyslog_ca = {ca:?}\n\
             syslog_certificate = {:?}\nsyslog_key = {:?}\n{entries}\n",
            self.port,
            self.issuer.file("client.pem"),
            self.issuer.file("client-key.pem"),
        )
    }

    /// What it was told under this name, in the order in which it came.
    fn told(&self, name: &str) -> Vec<String> {
        self.told_at(109, name)
    }

    /// The same, with this priority.
    fn told_at(&self, priority: u8, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join("told")).unwrap_or_default();
        let head = format!("{priority} consilium {name} ");
        let lines = text.lines().filter_map(|line| line.strip_prefix(&head));
        lines.map(|line| line.trim().to_owned()).collect()
    }
}

fn checkpoints(server: &Server) -> Vec<String> {
    let file = server.dir().join("data/audit/checkpoints");
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Another life of the manager signs what was written before it, at once.
fn sign(server: &Server) {
    let before = checkpoints(server).len();
    server.kill("manager");
    wait_for("another checkpoint", PATIENCE, || {
        (checkpoints(server).len() > before).then_some(())
    });
    wait_for("the page is back", PATIENCE, || server.get("/health"));
}

/// What doctor finds about log hosts.
fn found(server: &Server, lines: &str) -> Vec<Value> {
    let file = server.dir().join("doctor.toml");
    fs::write(&file, lines).unwrap();
    let output = Command::new(binary())
        .args(["doctor", "--json", "--config"])
        .arg(&file)
        .arg("--data-dir")
        .arg(server.dir().join("data"))
        .output()
        .unwrap();
    let found: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    found
        .into_iter()
        .filter(|one| one["code"] == "log_host")
        .collect()
}

#[test]
fn a_log_host_is_told_every_checkpoint_and_entry_once_and_in_order_over_outages() {
    let mut host = LogHost::new();
    let lines = host.configuration(&host.issuer.file("ca.pem"), "syslog_entries = true");
    let server = Server::configured(&lines);
    let admin = Administrator::first(&server);
    admin.person("li.chun", "李春", "clinician");
    sign(&server);
    wait_for("the log says that it is away", PATIENCE, || {
        server
            .log()
            .contains("checkpoints wait for the log host")
            .then_some(())
    });
    assert_eq!(found(&server, &lines).len(), 1);

    host.start();
    wait_for("the first checkpoint has arrived", PATIENCE, || {
        (host.told("checkpoint") == checkpoints(&server)).then_some(())
    });
    assert_eq!(found(&server, &lines), Vec::<Value>::new());

    host.stop();
    for n in 0..3 {
        admin.person(&format!("p{n}"), "张伟", "student");
        sign(&server);
    }
    assert_eq!(
        host.told("checkpoint").len(),
        checkpoints(&server).len() - 3
    );
    host.start();
    wait_for("the rest has followed", PATIENCE, || {
        (host.told("checkpoint") == checkpoints(&server)).then_some(())
    });
    signature_is_right(&server, host.told("checkpoint").last().unwrap());
    entries_name_nobody(&host, &server);
}

/// Defect that this guards against: a log host that refused our certificate, as TLS 1.3 tells only after the
/// handshake, had thrown away what counted as sent.
#[test]
fn what_a_log_host_refused_is_sent_once_it_takes_our_certificate() {
    let mut host = LogHost::new();
    host.start();
    let right = ["client.pem", "client-key.pem"].map(|name| {
        let file = host.issuer.file(name);
        (fs::read(&file).unwrap(), file)
    });
    let stranger = Issuer::new();
    for (_, file) in &right {
        fs::copy(
            stranger.file(file.file_name().unwrap().to_str().unwrap()),
            file,
        )
        .unwrap();
    }
    let server = Server::configured(&host.configuration(&host.issuer.file("ca.pem"), ""));
    Administrator::first(&server);
    sign(&server);
    wait_for("it says that it is refused", PATIENCE, || {
        let log = server.log();
        log.contains("checkpoints wait for the log host")
            .then_some(())
    });
    assert_eq!(host.told("checkpoint"), Vec::<String>::new());
    for (bytes, file) in &right {
        fs::write(file, bytes).unwrap();
    }
    wait_for("all of them have arrived", PATIENCE, || {
        (host.told("checkpoint") == checkpoints(&server)).then_some(())
    });
}

/// OpenSSL takes the line that the log host keeps for the server's own.
fn signature_is_right(server: &Server, line: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (text, signature) = line.rsplit_once(' ').unwrap();
    fs::write(dir.path().join("text"), text).unwrap();
    fs::write(dir.path().join("signature.b64"), signature).unwrap();
    let key = server.dir().join("data/audit/public.pem");
    let script = "base64 -d signature.b64 >signature && openssl pkeyutl -verify -pubin \
                  -inkey \"$1\" -rawin -in text -sigfile signature";
    let output = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(key)
        .current_dir(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("Verified Successfully"), "{said}");
}

fn entries_name_nobody(host: &LogHost, server: &Server) {
    let last = checkpoints(server).pop().unwrap();
    let last: u64 = last.split(' ').next().unwrap().parse().unwrap();
    let told = wait_for("all entries have arrived", PATIENCE, || {
        let told = host.told("entry");
        (told.len() as u64 >= last).then_some(told)
    });
    for (n, line) in told.iter().enumerate() {
        let entry: Value = serde_json::from_str(line).unwrap();
        assert_eq!(entry["seq"], n as u64 + 1, "{told:?}");
        assert_eq!(entry["hash"].as_str().unwrap().len(), 64);
    }
    let all = told.join("\n");
    for word in ["li.chun", "李春", "张伟", "root", "127.0.0.1", PASSWORD] {
        assert!(!all.contains(word), "{word}");
    }
}

/// An audit record repository takes each entry as an Audit Message of DICOM (IHE ATNA): xmllint judges
/// them by what DICOM PS3.15 §A.5.1.1 allows.
#[test]
fn an_audit_record_repository_is_told_each_entry_whole() {
    let mut host = LogHost::new();
    host.start();
    let server =
        Server::configured(&host.configuration(&host.issuer.file("ca.pem"), "syslog_atna = true"));
    let admin = Administrator::first(&server);
    admin.person("li.chun", "李春 <\"&'>", "clinician");
    let wrong = json!({ "login": "li.chun", "password": "wrong wrong wrong" });
    assert_eq!(admin.ask("POST", "/session", &wrong).status, 401);
    sign(&server);
    let told = wait_for("the refused login has arrived", PATIENCE, || {
        host.told_at(84, "DICOM+RFC3881").pop()
    });
    let person = admin.get("/people?q=li.chun")["items"][0]["id"].clone();
    let failed = [
        "EventOutcomeIndicator=\"4\"",
        "csd-code=\"110114\"",
        // Whoever it was has proved nothing.
        "UserName=\"unknown\"",
        "NetworkAccessPointID=\"127.0.0.1\"",
        &format!("ParticipantObjectID={person}"),
    ];
    for word in failed {
        assert!(told.contains(word), "{word}: {told}");
    }
    let last = checkpoints(&server).pop().unwrap();
    let last: usize = last.split(' ').next().unwrap().parse().unwrap();
    let all = wait_for("all entries have arrived", PATIENCE, || {
        let mut all = host.told_at(85, "DICOM+RFC3881");
        all.extend(host.told_at(84, "DICOM+RFC3881"));
        (all.len() >= last).then_some(all)
    });
    assert!(
        all.iter().any(|one| one.contains("csd-code=\"110136\"")),
        "a role was given"
    );
    let dir = tempfile::tempdir().unwrap();
    for (n, message) in all.iter().enumerate() {
        let message = message.trim_start_matches('\u{feff}');
        fs::write(dir.path().join(format!("{n}.xml")), message).unwrap();
    }
    let schema = root().join("tests/schemas/audit-message.rng");
    let judged = Command::new("sh")
        .args(["-c", "xmllint --noout --relaxng \"$1\" *.xml", "sh"])
        .arg(schema)
        .current_dir(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&judged.stderr);
    assert!(judged.status.success(), "{said}");
    assert_eq!(said.matches(" validates").count(), all.len(), "{said}");
}

#[test]
fn a_log_host_whose_certificate_is_not_trusted_is_told_nothing() {
    let mut host = LogHost::new();
    host.start();
    let other = Issuer::new();
    let lines = host.configuration(&other.file("ca.pem"), "");
    let server = Server::configured(&lines);
    Administrator::first(&server);
    sign(&server);
    wait_for("the log says that it is not trusted", PATIENCE, || {
        let log = server.log();
        let mut waits = log.lines().filter(|line| line.contains("checkpoints wait"));
        waits.any(|line| line.contains("certificate")).then_some(())
    });
    let found = found(&server, &lines);
    assert!(
        found[0]["what"].as_str().unwrap().contains("certificate"),
        "{found:?}"
    );
    assert!(host.told("checkpoint").is_empty());
}
