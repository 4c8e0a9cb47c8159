//! `[[sip.trunks]]`: other servers that calls come from and go to.

use std::time::Duration;

use mcu_api::call::HopTransport;
use mcu_api::secret::Redacted;
use serde::Deserialize;
use toml::Spanned;

use super::dialplan::Wrong;
use super::values::{Address, NonEmpty, Place};

/// One trunk, or a server that is a peer without a password.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trunk {
    /// What rules call it.
    pub name: Spanned<NonEmpty>,
    /// Where calls to it go.
    address: Place,
    /// How they go there.
    #[serde(default)]
    transport: Option<Spanned<Transport>>,
    /// Host part of its addresses.
    #[serde(default)]
    domain: Option<NonEmpty>,
    /// Who we are there.
    #[serde(default)]
    user: Option<NonEmpty>,
    /// The realm whose challenges are answered; the trunk's own host if not given.
    #[serde(default)]
    realm: Option<Spanned<NonEmpty>>,
    /// Our password there.
    #[serde(default)]
    password: Option<Spanned<Redacted<NonEmpty>>>,
    /// Calls from these addresses are its calls.
    #[serde(default)]
    sources: Vec<Address>,
    /// Whether we register there.
    #[serde(default)]
    register: Option<Spanned<bool>>,
    /// For how long, in seconds.
    #[serde(default)]
    expires: Option<Spanned<u32>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Trunk {
    /// What no value alone can tell.
    pub fn check(&self, has_tls: bool) -> Result<(), Wrong> {
        let transport = self.transport.as_ref();
        if let Some(tls) = transport.filter(|t| matches!(t.get_ref(), Transport::Tls)) {
            if !has_tls {
                return Err((tls.span(), "needs a listener with \"tls\"".into()));
            }
            if matches!(self.address.0, mcu_control::Place::Address(_)) {
                let reason = "needs an address that is a name, for a certificate to show";
                return Err((tls.span(), reason.into()));
            }
        }
        let registers = self
            .register
            .as_ref()
            .filter(|register| *register.get_ref());
        if let Some(register) = registers.filter(|_| self.user.is_none()) {
            return Err((register.span(), "needs user and password".into()));
        }
        if let Some(password) = self.password.as_ref().filter(|_| self.user.is_none()) {
            return Err((password.span(), "needs user".into()));
        }
        if let Some(realm) = self.realm.as_ref().filter(|_| self.password.is_none()) {
            return Err((realm.span(), "needs user and password".into()));
        }
        let bounds = 60..=86_400;
        match self
            .expires
            .as_ref()
            .filter(|e| !bounds.contains(e.get_ref()))
        {
            Some(expires) => Err((expires.span(), "must be 60 to 86400 seconds".into())),
            None => Ok(()),
        }
    }

    /// What the controller needs.
    pub fn config(&self) -> mcu_control::Trunk {
        let text = |value: &NonEmpty| value.0.clone();
        let password = self.password.as_ref().map(|p| p.get_ref().0.0.clone());
        let password = Redacted(password.unwrap_or_default());
        let registers = self.register.as_ref().is_some_and(|r| *r.get_ref());
        let expires = self.expires.as_ref().map_or(600, |e| *e.get_ref());
        mcu_control::Trunk {
            name: text(self.name.get_ref()),
            address: self.address.0.clone(),
            realm: self.realm.as_ref().map(|realm| text(realm.get_ref())),
            transport: self.transport.as_ref().map(|t| match t.get_ref() {
                Transport::Udp => HopTransport::Udp,
                Transport::Tcp => HopTransport::Tcp,
                Transport::Tls => HopTransport::Tls,
            }),
            domain: self.domain.as_ref().map(text),
            credentials: self.user.as_ref().map(|user| (text(user), password)),
            sources: self.sources.iter().map(|source| source.0).collect(),
            register: registers.then(|| Duration::from_secs(expires.into())),
            made: None,
        }
    }
}
