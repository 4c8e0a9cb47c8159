//! What the server leans on: certificates, other servers, the database.

use std::fs;
use std::net::{IpAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::time::{Duration, SystemTime};

use manager_ui_server::{Flaw, examine_certificate};
use mcu_control::Place;

use super::Finding;
use crate::config::Settings;

const PATIENCE: Duration = Duration::from_secs(3);

/// The page's certificate, and that of SIP where it is another.
pub fn certificates(settings: &Settings) -> Vec<Finding> {
    let addresses = settings.told_addresses();
    let tls = settings.data_dir.join("tls");
    let (page, page_key) = (tls.join("cert.pem"), tls.join("key.pem"));
    let mut found = Vec::new();
    // Both are made at the first start.
    if page.exists() || page_key.exists() {
        found.extend(certificate(&page, &page_key, &addresses));
    }
    let sip = settings.control().certificate;
    if sip.chain != page && !settings.control().sip_listeners.is_empty() {
        found.extend(certificate(&sip.chain, &sip.key, &[]));
    }
    found
}

fn certificate(chain: &Path, key: &Path, addresses: &[IpAddr]) -> Vec<Finding> {
    let flaws = examine_certificate(chain, key, addresses, SystemTime::now());
    flaws.iter().map(|flaw| told(chain, flaw)).collect()
}

fn told(file: &Path, flaw: &Flaw) -> Finding {
    let mut what = format!("the certificate {} {flaw}", file.display());
    if let Flaw::Unusable(error) = flaw {
        what = format!("{what}: {error}");
    }
    match flaw {
        Flaw::Unusable(_) => Finding::fault(
            "certificate",
            what,
            "Put certificate and key that belong together there, as PEM, readable by the server's user.",
        ),
        Flaw::Expired(_) => Finding::fault(
            "certificate_expired",
            what,
            "Put a new one there: it is taken up without a restart.",
        ),
        Flaw::Early(_) => Finding::fault(
            "certificate_early",
            what,
            "See that this machine's clock is right, or put another certificate there.",
        ),
        Flaw::Expires(_) => Finding::warning(
            "certificate_expires",
            what,
            "Put a new one there before: it is taken up without a restart.",
        ),
        Flaw::NotNamed(_) => Finding::warning(
            "certificate_name",
            what,
            "Browsers warn who come to that address. A certificate of ours is made anew when both files are removed.",
        ),
        Flaw::SelfSigned => Finding::warning(
            "certificate_self_signed",
            what,
            "Browsers ask once whether to trust it; put one of your own issuer there.",
        ),
    }
}

/// Old TLS at an address that everybody reaches.
pub fn legacy(settings: &Settings) -> Vec<Finding> {
    let listeners = settings.control().sip_listeners.into_iter();
    let open = listeners.filter(|l| l.legacy_tls && l.listen.ip().is_unspecified());
    open.map(|listener| {
        Finding::warning(
            "legacy_tls",
            format!("{} takes TLS 1.0 and 1.1 from everywhere", listener.listen),
            "Both can be broken: listen at an address that only the old terminals reach.",
        )
    })
    .collect()
}

/// Trunks that are named are found.
pub fn trunks(settings: &Settings) -> Vec<Finding> {
    let mut found = Vec::new();
    for trunk in settings.control().trunks {
        let Place::Name { host, .. } = &trunk.address else {
            continue;
        };
        // Where a server is told by SRV records alone, the name has no address of its own.
        if settings.sip.dns.is_empty() && (host.as_str(), 5060).to_socket_addrs().is_err() {
            found.push(Finding::warning(
                "trunk_unknown",
                format!("DNS knows no address of {host}, the trunk {}", trunk.name),
                "See that the name is right and that this machine's resolver answers; a name with SRV records alone is in order.",
            ));
        }
    }
    found
}

/// Relays for browsers take connections.
pub fn relays(settings: &Settings) -> Vec<Finding> {
    let mut found = Vec::new();
    for url in settings
        .control()
        .relays
        .iter()
        .flat_map(|relays| &relays.urls)
    {
        if let Err(reason) = reach_relay(url) {
            found.push(Finding::fault(
                "relay",
                format!("the relay {url} does not answer: {reason}"),
                "Browsers behind closed firewalls have no sound: start it, or mend [turn] urls.",
            ));
        }
    }
    found
}

/// RFC 7065: `turn:HOST:PORT?transport=…`; 3478, and 5349 by TLS.
fn reach_relay(url: &str) -> Result<(), String> {
    let (scheme, rest) = url.split_once(':').ok_or("no URL")?;
    let (place, by) = rest.split_once('?').unwrap_or((rest, ""));
    let usual = if scheme == "turns" { 5349 } else { 3478 };
    let has_port = place
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let addresses = match has_port {
        true => place.to_socket_addrs(),
        false => (place.trim_matches(['[', ']']), usual).to_socket_addrs(),
    };
    let mut addresses = addresses.map_err(|error| error.to_string())?;
    let address = addresses.next().ok_or("no address")?;
    if scheme == "turns" || by == "transport=tcp" {
        let connected = TcpStream::connect_timeout(&address, PATIENCE);
        return connected.map(drop).map_err(|error| error.to_string());
    }
    answers_stun(address).map_err(|error| error.to_string())
}

/// A Binding request (RFC 8489 §5) is answered.
fn answers_stun(address: std::net::SocketAddr) -> std::io::Result<()> {
    let any = if address.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    request.extend_from_slice(b"doctor-asks!");
    socket.send(&request)?;
    let mut answer = [0; 512];
    socket.recv(&mut answer).map(drop)
}

/// The database takes us.
pub async fn database(settings: &Settings) -> Option<Finding> {
    use manager_ui_server::DatabaseError as Error;
    let database = settings.database();
    let tried = manager_ui_server::try_database(&database, &settings.data_dir);
    let error = tried.await.err()?;
    Some(match error {
        Error::Away => Finding::fault(
            "database_away",
            "the database does not answer",
            "Calls go on, but nobody can log in: start PostgreSQL, or mend [database] url.",
        ),
        error => {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            Finding::fault(
                "database_refuses",
                format!(
                    "the database refuses: {}",
                    source.unwrap_or_else(|| error.to_string())
                ),
                "See user, password and name of the database in [database] url, and its rights.",
            )
        }
    })
}

/// The log host takes what it is told.
pub async fn log_host(settings: &Settings) -> Option<Finding> {
    let config = settings.manager().syslog?;
    let error = manager_ui_server::syslog::reach(&config).await.err()?;
    let mut what = format!("the log host {} takes nothing: {error}", config.host);
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        what = format!("{what}: {error}");
        source = error.source();
    }
    Some(Finding::fault(
        "log_host",
        what,
        "Checkpoints of the audit log wait here meanwhile: start it, open its port, or mend [audit] syslog and its certificates.",
    ))
}

/// Copies are made as they should be.
pub fn copies(settings: &Settings) -> Option<Finding> {
    let schedule = settings.manager().backups?;
    let files = fs::read_dir(&schedule.dir).into_iter().flatten().flatten();
    let ages = files.filter_map(|file| file.metadata().ok()?.modified().ok()?.elapsed().ok());
    let newest = ages.min();
    let overdue = newest.is_none_or(|age| age > schedule.every * 2);
    overdue.then(|| {
        Finding::warning(
            "copies",
            format!(
                "there is no new copy of the database in {}",
                schedule.dir.display()
            ),
            "The folder may be missing, full or closed to the server's user; the log says which.",
        )
    })
}
