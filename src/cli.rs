//! Command line. A flag overrides the configuration file, the file overrides the defaults.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{ConfigError, Listen, MediaAddress, PortRange, Settings};

/// Open telemedicine conferencing: terminals and browsers in one consult room.
#[derive(Parser)]
#[command(name = "consilium", version)]
pub struct Cli {
    /// What to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The supervisor, one of its processes, or a check.
#[derive(Subcommand)]
pub enum Command {
    /// Start everything and restart what dies.
    Serve(Flags),
    /// Run the controller alone: rooms and signalling.
    Control(Flags),
    /// Run a media processor alone.
    Media(Flags),
    /// Run the manager alone: web page and API.
    Manager(Flags),
    /// Have a room of the running server call somebody.
    Dial {
        /// Flags that the server was started with.
        #[command(flatten)]
        flags: Flags,
        /// Number of the room.
        #[arg(long, value_name = "NUMBER")]
        room: String,
        /// An account that is registered, `sip:USER@HOST`, or a number for a trunk.
        #[arg(long, value_name = "TARGET")]
        to: String,
    },
    /// Have a terminal that is in a room of the running server go on elsewhere, by a call of its own.
    Transfer {
        /// Flags that the server was started with.
        #[command(flatten)]
        flags: Flags,
        /// Number of the room that it is in.
        #[arg(long, value_name = "NUMBER")]
        room: String,
        /// Its name as others see it, or the number of its leg.
        #[arg(long, value_name = "TERMINAL")]
        who: String,
        /// What it is to dial here: a room's number, `NUMBER*PIN` where it knows no PIN. Or
        /// `sip:USER@HOST` elsewhere. `-` reads it from standard input, which keeps a PIN out of the
        /// list of processes.
        #[arg(long, value_name = "TARGET")]
        to: String,
    },
    /// Restart the processes of the running server, one after the other, as the program that is
    /// installed now. Calls go on.
    Upgrade(Flags),
    /// Copy the database of people, rights and record into a new file. The server may run meanwhile.
    Backup {
        /// Flags that the server was started with.
        #[command(flatten)]
        flags: Flags,
        /// The file, which is not there yet.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Put such a copy in the place of the database. The server may not run meanwhile.
    Restore {
        /// Flags that the server is started with.
        #[command(flatten)]
        flags: Flags,
        /// The copy.
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
    },
    /// Look at the installation, and name what is wrong with it and what to do. Exit status 1 if
    /// something does not work. The server may run meanwhile.
    Doctor {
        /// Flags that the server is started with.
        #[command(flatten)]
        flags: Flags,
        /// A server of network time to compare this machine's clock with.
        #[arg(long, value_name = "HOST[:PORT]")]
        ntp: Option<String>,
        /// Print what is found as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Look after the record of who saw and changed what.
    Audit {
        /// What to do.
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Read a configuration file and say what is wrong with it.
    CheckConfig {
        /// The file.
        file: PathBuf,
    },
}

/// What is done with the record.
#[derive(Subcommand)]
pub enum AuditCommand {
    /// Go through the whole record: whether an entry was changed or removed, whether its end was cut,
    /// and whether it is what was signed. Exit status 1 if not. The server may run meanwhile.
    Verify(Flags),
}

/// Flags of every process; the supervisor hands them on as it got them.
#[derive(Args, Clone, Default)]
pub struct Flags {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder for everything that is kept, and for the sockets between processes.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Open room 3000 to anybody, to try things out.
    #[arg(long)]
    pub demo: bool,
    /// Address of the web page (HTTPS).
    #[arg(long, value_name = "ADDR:PORT")]
    pub http: Option<Listen>,
    /// Address for SIP over UDP and TCP.
    #[arg(long, value_name = "ADDR:PORT")]
    pub sip: Option<Listen>,
    /// Address at which peers reach our media; repeat it for several networks.
    #[arg(long, value_name = "ADDR")]
    pub media_address: Vec<MediaAddress>,
    /// UDP ports for media; the first is shared by all browsers.
    #[arg(long, value_name = "LOW-HIGH")]
    pub media_ports: Option<PortRange>,
}

impl Cli {
    /// Settings of the chosen process: defaults, then the file, then the flags.
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        let flags = match &self.command {
            Command::Serve(f) | Command::Control(f) | Command::Media(f) | Command::Manager(f) => f,
            Command::Upgrade(flags)
            | Command::Dial { flags, .. }
            | Command::Transfer { flags, .. }
            | Command::Backup { flags, .. }
            | Command::Doctor { flags, .. }
            | Command::Restore { flags, .. }
            | Command::Audit {
                command: AuditCommand::Verify(flags),
            } => flags,
            Command::CheckConfig { .. } => &Flags::default(),
        };
        let mut settings = match &flags.config {
            Some(file) => Settings::from_file(file)?,
            None => Settings::default(),
        };
        flags.override_settings(&mut settings);
        Ok(settings)
    }
}

impl Flags {
    fn override_settings(&self, settings: &mut Settings) {
        if let Some(dir) = &self.data_dir {
            settings.data_dir.clone_from(dir);
        }
        if let Some(listen) = self.http {
            settings.http.listen = listen;
        }
        if let Some(listen) = self.sip {
            settings.sip.listen = Some(listen);
        }
        if !self.media_address.is_empty() {
            settings.media.addresses.clone_from(&self.media_address);
        }
        if let Some(ports) = self.media_ports {
            settings.media.ports = ports;
        }
        settings.demo |= self.demo;
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn flags_override_the_file_and_the_file_overrides_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        std::fs::write(
            &file,
            "[sip]\nlisten = \"127.0.0.1:7001\"\n[media]\nports = \"3000-3100\"\n",
        )
        .unwrap();
        let cli = Cli::parse_from([
            "consilium",
            "serve",
            "--config",
            file.to_str().unwrap(),
            "--media-ports",
            "4000-4100",
        ]);
        let settings = cli.settings().unwrap();
        assert_eq!(
            settings.sip.listen(),
            SocketAddr::from(([127, 0, 0, 1], 7001))
        );
        assert_eq!(
            settings.media.ports,
            PortRange {
                low: 4000,
                high: 4100
            }
        );
        assert_eq!(settings.http.listen, Settings::default().http.listen);
        assert!(!settings.demo);
    }
}
