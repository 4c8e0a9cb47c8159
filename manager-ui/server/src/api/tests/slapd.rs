//! A directory of one's own: Debian's `slapd` on ports of 127.0.0.1, with a certificate of an issuer
//! of its own.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use mcu_api::secret::Redacted;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use tempfile::TempDir;

use super::bench::PASSWORD;
use crate::ldap::{Config, LOGIN};

const PATIENCE: Duration = Duration::from_secs(10);
const BASE: &str = "dc=hospital,dc=example";

/// It ends with this value.
pub(crate) struct Slapd {
    dir: TempDir,
    /// For StartTLS, and for TLS.
    ports: [u16; 2],
}

impl Slapd {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ports = free_ports();
        let slapd = Self { dir, ports };
        fs::create_dir(slapd.file("db")).unwrap();
        slapd.make_certificate();
        fs::write(slapd.file("slapd.conf"), slapd.configuration()).unwrap();
        fs::write(slapd.file("people.ldif"), people()).unwrap();
        let conf = slapd.file("slapd.conf").display().to_string();
        let ldif = slapd.file("people.ldif").display().to_string();
        run("/usr/sbin/slapadd", &["-f", &conf, "-l", &ldif]);
        slapd.listen();
        slapd
    }

    /// Starts it. It is in the background before it listens: this returns once it takes connections.
    pub(crate) fn listen(&self) {
        let conf = self.file("slapd.conf").display().to_string();
        let [clear, tls] = self.ports;
        let urls = format!("ldap://127.0.0.1:{clear} ldaps://127.0.0.1:{tls}");
        run("/usr/sbin/slapd", &["-f", &conf, "-h", &urls]);
        let deadline = Instant::now() + PATIENCE;
        for port in self.ports {
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                assert!(Instant::now() < deadline, "slapd does not listen");
                sleep(Duration::from_millis(5));
            }
        }
    }

    /// Ends it at once.
    pub(crate) fn stop(&self) {
        let Ok(text) = fs::read_to_string(self.file("slapd.pid")) else {
            return;
        };
        let _ = kill(Pid::from_raw(text.trim().parse().unwrap()), Signal::SIGKILL);
        fs::remove_file(self.file("slapd.pid")).unwrap();
    }

    /// What a configuration file says of it.
    pub(crate) fn config(&self, way: &str) -> Config {
        let port = self.ports[usize::from(way == "ldaps")];
        let group = format!("cn=Doctors,{BASE}");
        Config {
            url: format!("{way}://127.0.0.1:{port}"),
            ca: Some(self.file("ca.pem")),
            bind: Some((
                format!("cn=reader,{BASE}"),
                Redacted("reader secret".into()),
            )),
            base: BASE.into(),
            filter: format!("(&(objectClass=person)(|(uid={LOGIN})(mail={LOGIN})))"),
            login: "uid".into(),
            id: "entryUUID".into(),
            name: "cn".into(),
            groups: "memberOf".into(),
            organisation: None,
            roles: vec![(group, "clinician".into())],
        }
    }

    /// Changes an entry, as who owns the directory.
    pub(crate) fn change(&self, ldif: &str) {
        let file = self.file("change.ldif");
        fs::write(&file, ldif).unwrap();
        let url = format!("ldaps://127.0.0.1:{}", self.ports[1]);
        let admin = format!("cn=admin,{BASE}");
        let file = file.display().to_string();
        let output = Command::new("ldapmodify")
            .args(["-x", "-H", &url, "-D", &admin, "-w", "admin", "-f", &file])
            .env("LDAPTLS_CACERT", self.file("ca.pem"))
            .output()
            .expect("ldap-utils is installed");
        assert!(output.status.success(), "{output:?}");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn make_certificate(&self) {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "Issuer");
        let ca_key = KeyPair::generate().unwrap();
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(ca, ca_key);
        let mut leaf = CertificateParams::default();
        leaf.distinguished_name
            .push(DnType::CommonName, "Directory");
        leaf.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
        let key = KeyPair::generate().unwrap();
        let pem = leaf.signed_by(&key, &issuer).unwrap().pem();
        fs::write(self.file("ca.pem"), ca_pem).unwrap();
        fs::write(self.file("cert.pem"), pem).unwrap();
        fs::write(self.file("key.pem"), key.serialize_pem()).unwrap();
    }

    /// Nothing is answered outside TLS.
    fn configuration(&self) -> String {
        let dir = self.dir.path().display();
        format!(
            "include /etc/ldap/schema/core.schema\n\
             include /etc/ldap/schema/cosine.schema\n\
             include /etc/ldap/schema/inetorgperson.schema\n\
             modulepath /usr/lib/ldap\n\
             moduleload back_mdb\n\
             moduleload memberof\n\
             pidfile {dir}/slapd.pid\n\
             TLSCertificateFile {dir}/cert.pem\n\
             TLSCertificateKeyFile {dir}/key.pem\n\
             security ssf=128\n\
             database mdb\n\
             suffix {BASE}\n\
             rootdn cn=admin,{BASE}\n\
             rootpw admin\n\
             directory {dir}/db\n\
             access to attrs=userPassword by anonymous auth by * none\n\
             access to * by dn.exact=\"cn=reader,{BASE}\" read by * none\n\
             overlay memberof\n"
        )
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// `chun` and `root`, whose passwords are [`PASSWORD`], and `no`, who has none. `chun` is a doctor.
fn people() -> String {
    let person = |uid: &str, name: &str, more: &str| {
        format!(
            "dn: uid={uid},{BASE}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {name}\nsn: x\n\
             mail: {uid}@hospital.example\n{more}\n"
        )
    };
    let password = format!("userPassword: {PASSWORD}\n");
    let doctor = format!("{password}memberOf: cn=doctors,{BASE}\n");
    [
        format!(
            "dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: x\ndc: hospital\n\n"
        ),
        format!(
            "dn: cn=reader,{BASE}\nobjectClass: organizationalRole\n\
             objectClass: simpleSecurityObject\ncn: reader\nuserPassword: reader secret\n\n"
        ),
        person("chun", "Li Chun", &doctor),
        person("root", "Somebody else", &password),
        person("no", "Nobody", ""),
        format!(
            "dn: cn=doctors,{BASE}\nobjectClass: groupOfNames\ncn: doctors\n\
             member: uid=chun,{BASE}\nmember: cn=reader,{BASE}\n"
        ),
    ]
    .concat()
}

/// Two that are not the same, since both are taken before either is given back.
fn free_ports() -> [u16; 2] {
    let taken = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    taken.map(|listener| listener.local_addr().unwrap().port())
}

fn run(program: &str, arguments: &[&str]) {
    // Its child keeps what it inherits, so that nobody may wait for the end of a pipe.
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("slapd is installed");
    assert!(status.success(), "{program} {arguments:?}");
}
