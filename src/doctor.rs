//! `consilium doctor`: looks at an installation, and names what is wrong with it and what to do. It
//! changes nothing, and may run beside the server.

mod network;
mod place;
mod services;

use std::fmt::{self, Write as _};
use std::path::Path;

use serde::Serialize;

use crate::config::{ConfigError, Settings};
use network::Server;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something does not work.
    Fault,
    /// Something may not work for everybody, or not for long.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// In one word, for a program.
    pub code: &'static str,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub advice: &'static str,
}

impl Finding {
    fn fault(code: &'static str, what: impl Into<String>, advice: &'static str) -> Self {
        Self {
            severity: Severity::Fault,
            code,
            what: what.into(),
            advice,
        }
    }

    fn warning(code: &'static str, what: impl Into<String>, advice: &'static str) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::fault(code, what, advice)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Fault => "FAULT  ",
            Severity::Warning => "warning",
        };
        write!(
            f,
            "{severity} {}: {}\n        {}",
            self.code, self.what, self.advice
        )
    }
}

/// What else is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wishes<'a> {
    /// The configuration file.
    pub config: Option<&'a Path>,
    /// A server of network time to compare the clock with, `HOST` or `HOST:PORT`.
    pub ntp: Option<&'a str>,
    /// Whether the findings are printed as JSON.
    pub json: bool,
}

/// Prints what is wrong; whether nothing is faulty.
pub async fn run(settings: Result<Settings, ConfigError>, wishes: Wishes<'_>) -> bool {
    let mut found = match settings {
        Ok(settings) => look(&settings, wishes).await,
        Err(error) => vec![Finding::fault(
            "configuration",
            error.to_string(),
            "Mend the file: consilium check-config FILE looks at it alone.",
        )],
    };
    found.sort_by_key(|finding| finding.severity);
    match wishes.json {
        true => println!("{}", serde_json::to_string(&found).unwrap_or_default()),
        false => print!("{}", in_words(&found)),
    }
    !found.iter().any(|f| f.severity == Severity::Fault)
}

async fn look(settings: &Settings, wishes: Wishes<'_>) -> Vec<Finding> {
    let server = Server::find(settings);
    let mut found = Vec::new();
    found.extend(place::configuration(wishes.config));
    found.extend(place::data_folder(&settings.data_dir));
    found.extend(place::disk(&settings.data_dir));
    found.extend(place::open_files());
    found.extend(place::memory());
    found.extend(place::clock(&settings.data_dir));
    found.extend(wishes.ntp.and_then(place::network_time));
    found.extend(network::processes(settings, server));
    found.extend(network::ports(settings, server));
    found.extend(network::media_addresses(settings));
    found.extend(network::media_path(settings, server));
    found.extend(services::certificates(settings));
    found.extend(services::legacy(settings));
    found.extend(services::trunks(settings));
    found.extend(services::relays(settings));
    found.extend(services::database(settings).await);
    found.extend(services::copies(settings));
    found.extend(services::log_host(settings).await);
    found
}

fn in_words(found: &[Finding]) -> String {
    let mut text = String::new();
    for finding in found {
        // A String takes all.
        let _ = writeln!(text, "{finding}");
    }
    let faults = found.iter().filter(|f| f.severity == Severity::Fault);
    let faults = faults.count();
    let warnings = found.len() - faults;
    let _ = match (faults, warnings) {
        (0, 0) => writeln!(text, "Nothing is wrong that can be seen from here."),
        _ => writeln!(text, "{faults} faults, {warnings} warnings"),
    };
    text
}
