//! One message to one receiver.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use mcu_api::secret::Redacted;
use tracing::debug;

use super::reach::{Reach, Refusal};
use super::sign;
use crate::store::{chain, now_ms};

/// What is kept of an answer that is a refusal, in characters, and what is read of it, in bytes.
const MAX_ANSWER: usize = 200;
const MAX_READ: usize = 1_024;

/// What came of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Of the answer, where there was one.
    pub status: Option<u16>,
    /// Why it did not arrive, in one of the program's words.
    pub problem: Option<&'static str>,
    /// How the answer began, where it was a refusal.
    pub answer: Option<String>,
}

impl Outcome {
    pub(crate) const fn failed(problem: &'static str) -> Self {
        Self {
            status: None,
            problem: Some(problem),
            answer: None,
        }
    }

    pub(crate) const fn is_delivered(&self) -> bool {
        self.problem.is_none()
    }
}

/// Sends messages.
#[derive(Debug)]
pub(crate) struct Sender {
    reach: Reach,
    ca: Option<PathBuf>,
    /// Made when it is needed first; not made again while the file of issuers cannot be read.
    client: Mutex<Option<Arc<reqwest::Client>>>,
}

impl Sender {
    pub(crate) fn new(reach: Reach, ca: Option<PathBuf>) -> Self {
        Self {
            reach,
            ca,
            client: Mutex::default(),
        }
    }

    pub(crate) async fn send(
        &self,
        url: &str,
        secrets: &[Redacted<String>],
        id: &str,
        text: &str,
    ) -> Outcome {
        // The configuration may have changed since it was taken.
        let url = match self.reach.parse(url) {
            Ok(url) => url,
            Err(Refusal::Address) => return Outcome::failed("refused_address"),
            Err(_) => return Outcome::failed("refused_url"),
        };
        let Some(client) = self.client() else {
            return Outcome::failed("certificate");
        };
        let at_s = now_ms() / 1000;
        let request = client
            .post(url)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", at_s)
            .header(
                "webhook-signature",
                sign::signatures(secrets, id, at_s, text),
            )
            .body(text.to_owned());
        match request.send().await {
            Ok(response) => answered(response).await,
            Err(error) => {
                let problem = problem(&error);
                // An address may hold a secret.
                debug!(
                    error = chain(&error.without_url()),
                    "a webhook is not delivered"
                );
                Outcome::failed(problem)
            }
        }
    }

    fn client(&self) -> Option<Arc<reqwest::Client>> {
        let mut known = self.client.lock().unwrap_or_else(|p| p.into_inner());
        if known.is_none() {
            let issuers = match &self.ca {
                Some(file) => {
                    let pem = std::fs::read(file).ok()?;
                    reqwest::Certificate::from_pem_bundle(&pem).ok()?
                }
                None => Vec::new(),
            };
            *known = self.reach.client(issuers).ok().map(Arc::new);
        }
        known.clone()
    }
}

async fn answered(mut response: reqwest::Response) -> Outcome {
    let status = response.status();
    if status.is_success() {
        return Outcome {
            status: Some(status.as_u16()),
            problem: None,
            answer: None,
        };
    }
    let mut read = Vec::new();
    while read.len() < MAX_READ
        && let Ok(Some(part)) = response.chunk().await
    {
        read.extend(part.iter().take(MAX_READ - read.len()));
    }
    let text = String::from_utf8_lossy(&read);
    let text: String = text
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_ANSWER)
        .collect();
    Outcome {
        status: Some(status.as_u16()),
        problem: Some(match status.is_redirection() {
            true => "redirected",
            false => "refused",
        }),
        answer: Some(text).filter(|text| !text.is_empty()),
    }
}

/// Why there is no answer.
fn problem(error: &reqwest::Error) -> &'static str {
    let mut next = error.source();
    while let Some(cause) = next {
        if cause.downcast_ref::<Refusal>().is_some() {
            return "refused_address";
        }
        if cause.downcast_ref::<rustls::Error>().is_some() {
            return "certificate";
        }
        // What an error of the system holds is not its source.
        let held = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match held {
            Some(held) => Some(held),
            None => cause.source(),
        };
    }
    match (error.is_timeout(), error.is_connect()) {
        (true, _) => "timeout",
        (_, true) => "unreachable",
        _ => "broken",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;
    use crate::webhooks::Config;

    /// Sends to a port of this machine by a name that leads here; what came of it, and whether anybody
    /// connected.
    async fn sent(config: &Config, scheme: &str) -> (Outcome, bool) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let sender = Sender::new(Reach::new(config, Vec::new()), None);
        let url = format!("{scheme}://localhost:{port}/");
        let secrets = [sign::new_secret()];
        let send = sender.send(&url, &secrets, "msg_1", "{}");
        let accept = async {
            let accepted = timeout(Duration::from_secs(2), listener.accept()).await;
            accepted.is_ok()
        };
        tokio::join!(send, accept)
    }

    /// Defect of an earlier design that this guards against: the name was judged and the connection went
    /// to what it meant a moment later.
    #[tokio::test]
    async fn nothing_connects_to_an_address_that_was_not_admitted() {
        let (outcome, connected) = sent(&Config::default(), "https").await;
        assert_eq!(outcome, Outcome::failed("refused_address"));
        assert!(!connected);
        let here = vec!["localhost".to_owned()];
        let named = Config {
            private_hosts: here.clone(),
            ..Config::default()
        };
        // In clear it is not told even where it may be reached.
        let (outcome, connected) = sent(&named, "http").await;
        assert_eq!(outcome, Outcome::failed("refused_url"));
        assert!(!connected);
        let clear = Config {
            clear_hosts: here,
            ..Config::default()
        };
        let (outcome, connected) = sent(&clear, "http").await;
        assert_eq!(outcome, Outcome::failed("refused_address"));
        assert!(!connected);
        // The listener hangs up, once it was reached.
        let (outcome, connected) = sent(&named, "https").await;
        assert!(connected);
        assert!(
            ["unreachable", "broken"].contains(&outcome.problem.unwrap()),
            "{outcome:?}"
        );
    }
}
