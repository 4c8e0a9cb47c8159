//! The configuration file and its defaults. `docs/ref/configuration.md` documents every key.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use mcu_api::secret::Redacted;
use serde::{Deserialize, Deserializer, de};

/// Everything an operator can set.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Folder for everything that is kept, and for the sockets between processes.
    pub data_dir: PathBuf,
    /// Room 3000 open to anybody.
    pub demo: bool,
    /// The web page.
    pub http: Http,
    /// SIP.
    pub sip: Sip,
    /// Media.
    pub media: Media,
    /// Rooms.
    pub rooms: Vec<Room>,
    /// What is logged.
    pub log: Log,
}

/// `[http]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Address of the web page (HTTPS).
    pub listen: SocketAddr,
}

/// `[sip]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sip {
    /// Address for SIP over UDP and TCP.
    pub listen: SocketAddr,
    /// Digest realm.
    pub realm: String,
    /// Accounts of terminals.
    pub accounts: Vec<Account>,
}

/// `[[sip.accounts]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// User part of the terminal's address.
    pub user: NonEmpty,
    /// Its password.
    pub password: Redacted<NonEmpty>,
}

/// `[media]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Media {
    /// Addresses at which peers reach our media; empty finds those of this host.
    pub addresses: Vec<IpAddr>,
    /// UDP ports; the first is shared by all browsers.
    pub ports: PortRange,
}

/// `[[rooms]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Room {
    /// Number that is dialled.
    pub number: NonEmpty,
    /// Whether somebody without an account may enter.
    #[serde(default)]
    pub guests: bool,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Filter of `tracing`: a level, or levels by module.
    pub filter: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: "data".into(),
            demo: false,
            http: Http::default(),
            sip: Sip::default(),
            media: Media::default(),
            rooms: Vec::new(),
            log: Log::default(),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8443)),
        }
    }
}

impl Default for Sip {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 5060)),
            realm: "consilium".into(),
            accounts: Vec::new(),
        }
    }
}

impl Default for Media {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            ports: PortRange {
                low: 20_000,
                high: 23_999,
            },
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        // rtc-dtls warns of every extension that it does not know, several times a browser.
        Self {
            filter: "info,rtc_dtls=error".into(),
        }
    }
}

/// A string with at least one character that is not white space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonEmpty(pub String);

impl<'de> Deserialize<'de> for NonEmpty {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.trim().is_empty() {
            return Err(de::Error::custom("must not be empty"));
        }
        Ok(Self(text))
    }
}

/// UDP ports from `low` to `high`, both included: at least 16, none below 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// First.
    pub low: u16,
    /// Last.
    pub high: u16,
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = |part: &str| part.trim().parse::<u16>().ok();
        let (low, high) = text
            .split_once('-')
            .and_then(|(low, high)| Some((parse(low)?, parse(high)?)))
            .ok_or_else(|| format!("\"{text}\" is not LOW-HIGH, for example 20000-23999"))?;
        if low < 1024 || high < low.saturating_add(15) {
            return Err(format!(
                "{low}-{high}: at least 16 ports from 1024 on are needed"
            ));
        }
        Ok(Self { low, high })
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {reason}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// A key or value is wrong. The source line is not shown: it may hold a password.
    #[error("{}:{line}: {reason}", .file.display())]
    Parse {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Key and reason.
        reason: String,
    },
    /// The data folder cannot be made.
    #[error("data folder {}: {reason}", .dir.display())]
    DataDir {
        /// The folder.
        dir: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
}

impl Settings {
    /// Reads a configuration file; what it does not name has its default.
    pub fn from_file(file: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(file).map_err(|reason| ConfigError::Read {
            file: file.into(),
            reason,
        })?;
        toml::from_str(&text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start).min(text.len());
            let line = text.as_bytes()[..start]
                .iter()
                .filter(|&&b| b == b'\n')
                .count()
                + 1;
            let key = key_at(&text, line);
            let reason = format!("{key}{}", error.message());
            ConfigError::Parse {
                file: file.into(),
                line,
                reason,
            }
        })
    }

    /// Makes the data folder, closed to others, and the folder of sockets in it.
    pub fn prepare_data_dir(&self) -> Result<(), ConfigError> {
        let fail = |reason| ConfigError::DataDir {
            dir: self.data_dir.clone(),
            reason,
        };
        let run = self.run_dir();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&run)
            .map_err(fail)?;
        fs::set_permissions(&run, fs::Permissions::from_mode(0o700)).map_err(fail)
    }

    /// What the media process needs.
    pub fn media(&self) -> mcu_media::Config {
        mcu_media::Config {
            socket: self.media_socket(),
            addresses: self.media_addresses(),
            port_low: self.media.ports.low + 1,
            port_high: self.media.ports.high,
            webrtc_port: self.media.ports.low,
        }
    }

    /// What the controller needs.
    pub fn control(&self) -> mcu_control::Config {
        mcu_control::Config {
            data_dir: self.data_dir.clone(),
            control_socket: self.control_socket(),
            media_socket: self.media_socket(),
            sip_listen: Some(self.sip.listen),
            realm: self.sip.realm.clone(),
            demo: self.demo,
            rooms: self
                .rooms
                .iter()
                .map(|room| mcu_control::RoomConfig {
                    number: room.number.0.clone(),
                    guests: room.guests,
                })
                .collect(),
            accounts: self
                .sip
                .accounts
                .iter()
                .map(|account| mcu_control::Account {
                    user: account.user.0.clone(),
                    password: Redacted(account.password.0.0.clone()),
                })
                .collect(),
            ..mcu_control::Config::default()
        }
    }

    /// What the manager needs.
    pub fn manager(&self) -> manager_ui_server::Config {
        manager_ui_server::Config {
            http: self.http.listen,
            data_dir: self.data_dir.clone(),
            control_socket: self.control_socket(),
            addresses: self.media_addresses(),
            demo: self.demo,
        }
    }

    /// Filter of the log.
    pub fn log_filter(&self) -> &str {
        &self.log.filter
    }

    /// Configured media addresses, or else those of this host.
    pub fn media_addresses(&self) -> Vec<IpAddr> {
        if self.media.addresses.is_empty() {
            host_addresses()
        } else {
            self.media.addresses.clone()
        }
    }

    /// Socket on which the controller listens.
    pub fn control_socket(&self) -> PathBuf {
        self.run_dir().join("control.sock")
    }

    /// Socket on which the media process listens.
    pub fn media_socket(&self) -> PathBuf {
        self.run_dir().join("media.sock")
    }

    fn run_dir(&self) -> PathBuf {
        self.data_dir.join("run")
    }
}

/// `key: ` of a line `key = value`, or nothing where the line has no key.
fn key_at(text: &str, line: usize) -> String {
    let source = text.lines().nth(line - 1).unwrap_or_default();
    source
        .split_once('=')
        .map_or_else(String::new, |(key, _)| format!("{}: ", key.trim()))
}

/// Source addresses this host would use towards the world, or loopback on a host without network.
/// Nothing is sent: connecting a UDP socket only asks the routing table.
fn host_addresses() -> Vec<IpAddr> {
    let towards = |local: &str, remote: &str| {
        let socket = UdpSocket::bind(local).ok()?;
        socket.connect(remote).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    let found: Vec<IpAddr> = [
        towards("0.0.0.0:0", "192.0.2.1:9"),
        towards("[::]:0", "[2001:db8::1]:9"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if found.is_empty() {
        vec![Ipv4Addr::LOCALHOST.into()]
    } else {
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("consilium.toml");
        fs::write(&file, text).unwrap();
        let error = Settings::from_file(&file).unwrap_err().to_string();
        error.split_once("consilium.toml:").unwrap().1.to_string()
    }

    #[test]
    fn wrong_keys_and_values_are_refused_with_line_key_and_reason() {
        for (text, line, words) in [
            (
                "demo = true\nhttps = 1\n",
                "2: ",
                &["https", "unknown field"][..],
            ),
            (
                "[http]\nlisten = \"here\"\n",
                "2: ",
                &["listen", "socket address"],
            ),
            (
                "[media]\nports = \"9-8\"\n",
                "2: ",
                &["ports", "at least 16 ports"],
            ),
            (
                "[[rooms]]\nnumber = \" \"\n",
                "2: ",
                &["number", "must not be empty"],
            ),
            ("[[sip.accounts]]\nuser = \"a\"\n", "1: ", &["password"]),
            ("demo = yes\n", "1: ", &["demo"]),
        ] {
            let message = refusal(text);
            assert!(message.starts_with(line), "{text:?}: {message}");
            for word in words {
                assert!(message.contains(word), "{text:?}: {message}");
            }
        }
    }

    #[test]
    fn a_password_is_never_in_a_refusal_or_in_debug_output() {
        let text = "[[sip.accounts]]\nuser = \"a\"\npassword = \"geheim\" x\n";
        assert!(!refusal(text).contains("geheim"));
        let settings: Settings =
            toml::from_str("[[sip.accounts]]\nuser = \"a\"\npassword = \"geheim\"\n").unwrap();
        assert!(!format!("{settings:?}").contains("geheim"));
    }
}
