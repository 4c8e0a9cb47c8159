//! `[metrics]`

use std::net::SocketAddr;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::Listen;

/// What is told to who watches the server.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Address of this machine alone at which metrics are told in clear and without a login; none if
    /// not given.
    listen: Option<Spanned<Listen>>,
}

impl Metrics {
    /// What no value alone can tell: where it stands, and why it does not do.
    pub fn check(&self) -> Result<(), (Range<usize>, String)> {
        match &self.listen {
            Some(listen) if !listen.get_ref().0.ip().is_loopback() => Err((
                listen.span(),
                "must be an address of this machine alone, 127.0.0.1 or [::1]; from elsewhere \
                 GET /api/v1/metrics of the page takes a token"
                    .into(),
            )),
            _ => Ok(()),
        }
    }

    /// Where it is listened.
    pub fn listen(&self) -> Option<SocketAddr> {
        self.listen.as_ref().map(|listen| listen.get_ref().0)
    }
}
