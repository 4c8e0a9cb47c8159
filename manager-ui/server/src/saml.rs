//! What a SAML 2.0 identity provider proves: Web Browser SSO, begun here by HTTP Redirect and ended by HTTP POST
//! (SAML profiles §4.1). Signatures are checked by libxmlsec1 with the keys of the provider's metadata, and
//! nothing but what they cover is read.

mod document;

use std::path::PathBuf;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use mcu_api::secret::Redacted;
use samael::crypto::AllowedSignatureAlgorithm;
use samael::metadata::{
    EntityDescriptor, HTTP_POST_BINDING, HTTP_REDIRECT_BINDING, IndexedEndpoint, SpSsoDescriptor,
};
use samael::schema::Assertion;
use samael::service_provider::ServiceProvider;
use samael::traits::ToXml;
use tokio::sync::Semaphore;

use crate::limits::Attempts;
use crate::provider::{self, Error, Proved, UnderWay};
use crate::sessions::new_secret;
use document::{refuse_declarations, refuse_references};

const PROTOCOL: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
/// It says who somebody is for ever (SAML core §8.3.7).
const PERSISTENT: &str = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent";
/// Documents that are read at a time.
const PLACES: usize = 4;
/// Longest metadata, in bytes. A federation's are larger: one provider's are wanted.
const MAX_METADATA: usize = 1 << 20;
/// How far clocks may differ.
const SKEW: TimeDelta = TimeDelta::seconds(60);
/// How old what the provider says may be.
const AGE: TimeDelta = TimeDelta::seconds(120);
/// What a signature may be made by: no SHA-1.
const ALGORITHMS: [AllowedSignatureAlgorithm; 6] = [
    AllowedSignatureAlgorithm::RsaSha256,
    AllowedSignatureAlgorithm::RsaSha384,
    AllowedSignatureAlgorithm::RsaSha512,
    AllowedSignatureAlgorithm::EcdsaSha256,
    AllowedSignatureAlgorithm::EcdsaSha384,
    AllowedSignatureAlgorithm::EcdsaSha512,
];

/// Where the provider is, and what is believed of what it says.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its metadata: an address, `https://`, or a file. Read anew at each login.
    pub metadata: String,
    /// PEM file of the issuers of that address's certificate, beside those of the system.
    pub ca: Option<PathBuf>,
    /// Who we are there.
    pub entity_id: String,
    /// Attribute that says who somebody is for ever; the NameID if not given.
    pub id: Option<String>,
    /// Attribute that becomes the login of who comes first; the NameID if not given.
    pub login: Option<String>,
    /// Attribute that holds the name.
    pub name: String,
    /// Id of the organisation that people belong to who log in first; that at the root if not given.
    pub organisation: Option<String>,
}

/// A login that is under way.
#[derive(Debug)]
struct Begun {
    /// Of our request.
    id: String,
    /// Where the browser comes back to.
    callback: String,
    /// Since when somebody has to have proved it, where they are to do so anew.
    anew: Option<DateTime<Utc>>,
}

/// A provider, and who is under way to it.
#[derive(Debug)]
pub(crate) struct Provider {
    pub config: Config,
    begun: UnderWay<Begun>,
    places: Semaphore,
    /// Its own, so that who fills them shuts out nobody from logging in with a password.
    pub attempts: Attempts,
}

impl Provider {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            begun: UnderWay::default(),
            places: Semaphore::new(PLACES),
            attempts: Attempts::default(),
        }
    }

    /// Where to send a browser that comes back to `callback`, and what it is to hold meanwhile; `anew`, no
    /// session with the provider is to stand for the proof.
    ///
    /// # Errors
    /// [`Error::Away`].
    pub(crate) async fn begin(
        &self,
        callback: String,
        anew: bool,
    ) -> Result<(String, Redacted<String>), Error> {
        let us = self.us(callback.clone()).await?;
        let to = us.sso_binding_location(HTTP_REDIRECT_BINDING);
        let to = to.ok_or_else(|| away("its metadata name no address for HTTP Redirect"))?;
        let (state, browser) = (new_secret(), new_secret());
        let mut request = us.make_authentication_request(&to).map_err(away)?;
        // A name of XML (NCName) does not begin with a digit.
        request.id = format!("_{}", new_secret().0);
        request.force_authn = anew.then_some(true);
        let url = request.redirect(&state.0).map_err(away)?;
        let url = url.ok_or_else(|| away("no address"))?;
        let id = request.id;
        let begun = Begun {
            id,
            callback,
            anew: anew.then(Utc::now),
        };
        self.begun.keep(&state.0, &browser.0, begun);
        Ok((url.into(), browser))
    }

    /// Whom the provider proves by what a browser brought back.
    ///
    /// # Errors
    /// [`Error`]; the same `state` is good no more, whatever came of it.
    pub(crate) async fn finish(
        &self,
        state: &str,
        browser: &str,
        response: String,
    ) -> Result<Proved, Error> {
        let begun = self.begun.take(state, browser).ok_or(Error::Unknown)?;
        let us = self.us(begun.callback).await?;
        let since = begun.anew;
        let xml = decoded(&response)?;
        let id = begun.id;
        let _place = self.places.acquire().await;
        let read = tokio::task::spawn_blocking(move || {
            us.parse_xml_response(&xml, Some(&[&id]))
                .map(|assertion| (assertion, us))
                .map_err(|error| Error::Token(error.to_string()))
        });
        let read = read
            .await
            .map_err(|error| Error::Token(error.to_string()))?;
        let (assertion, us) = read?;
        let anew = provider::just_now(since, proved_at(&assertion))?;
        self.proved(&us, &assertion, anew)
    }

    /// Who we are.
    ///
    /// # Errors
    /// None is known.
    pub(crate) fn metadata(&self, callback: String) -> Result<String, Error> {
        let service = SpSsoDescriptor {
            protocol_support_enumeration: Some(PROTOCOL.into()),
            authn_requests_signed: Some(false),
            want_assertions_signed: Some(true),
            assertion_consumer_services: vec![IndexedEndpoint {
                binding: HTTP_POST_BINDING.into(),
                location: callback,
                ..IndexedEndpoint::default()
            }],
            ..SpSsoDescriptor::default()
        };
        let us = EntityDescriptor {
            entity_id: Some(self.config.entity_id.clone()),
            sp_sso_descriptors: Some(vec![service]),
            ..EntityDescriptor::default()
        };
        us.to_string().map_err(away)
    }

    fn proved(
        &self,
        us: &ServiceProvider,
        assertion: &Assertion,
        anew: bool,
    ) -> Result<Proved, Error> {
        let nothing = |why: &str| Error::Token(why.to_owned());
        // Which the library takes as good where it is not there (SAML profiles §4.1.4.2).
        let conditions = assertion.conditions.as_ref();
        if conditions.is_none_or(|conditions| conditions.audience_restrictions.is_none()) {
            return Err(nothing("it is for nobody in particular"));
        }
        let name_id = assertion.subject.as_ref();
        let name_id = name_id.and_then(|subject| subject.name_id.as_ref());
        // Any other is given to somebody else one day, or is another one at each login.
        let lasting = name_id.filter(|id| id.format.as_deref() == Some(PERSISTENT));
        let value = |wanted: &Option<String>, why: &str| {
            let value = match wanted {
                Some(attribute) => one_value(assertion, attribute),
                None => lasting.map(|id| id.value.trim().to_owned()),
            };
            let value = value.filter(|value| !value.is_empty());
            value.ok_or_else(|| nothing(why))
        };
        let issuer = us.idp_metadata.entity_id.as_deref();
        let issuer = issuer.ok_or_else(|| away("its metadata do not say who it is"))?;
        let id = value(&self.config.id, "it does not say for ever who it is")?;
        Ok(Proved {
            subject: format!("saml {issuer} {id}"),
            login: value(&self.config.login, "there is no login")?,
            name: attribute_of(assertion, &self.config.name),
            anew,
        })
    }

    /// Who we are to the provider, which is read anew each time, so that its new keys need no restart.
    async fn us(&self, callback: String) -> Result<ServiceProvider, Error> {
        let metadata = self.read_metadata().await?;
        let idp_metadata = EntityDescriptor::from_str(&metadata).map_err(away)?;
        let us = ServiceProvider {
            entity_id: Some(self.config.entity_id.clone()),
            acs_url: Some(callback),
            slo_url: None,
            metadata_url: None,
            idp_metadata,
            max_clock_skew: SKEW,
            max_issue_delay: AGE,
            allowed_signature_algorithms: Some(ALGORITHMS.into()),
            ..ServiceProvider::default()
        };
        // Without keys the library would take what nobody signed.
        let keys = us.idp_signing_certs().map_err(away)?;
        match keys.is_some_and(|keys| !keys.is_empty()) && us.idp_metadata.entity_id.is_some() {
            true => Ok(us),
            false => Err(away("its metadata hold no key, or do not say who it is")),
        }
    }

    async fn read_metadata(&self) -> Result<String, Error> {
        let place = &self.config.metadata;
        if !place.starts_with("https://") {
            return tokio::fs::read_to_string(place).await.map_err(away);
        }
        let http = provider::http(self.config.ca.as_deref())?;
        let answer = http.get(place).send().await.map_err(away)?;
        let mut answer = answer.error_for_status().map_err(away)?;
        let mut bytes = Vec::new();
        while let Some(more) = answer.chunk().await.map_err(away)? {
            bytes.extend_from_slice(&more);
            if bytes.len() > MAX_METADATA {
                return Err(away("its metadata are larger than 1 MiB"));
            }
        }
        String::from_utf8(bytes).map_err(away)
    }
}

fn away(error: impl ToString) -> Error {
    Error::Away(error.to_string())
}

/// The document that a browser brought.
fn decoded(response: &str) -> Result<String, Error> {
    let nothing = |why: &str| Error::Token(why.to_owned());
    // Some providers break lines (RFC 2045 §6.8).
    let text: String = response.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(text).map_err(|_| nothing("no base64"))?;
    let xml = String::from_utf8(bytes).map_err(|_| nothing("no UTF-8"))?;
    refuse_declarations(&xml).map_err(nothing)?;
    refuse_references(&xml).map_err(nothing)?;
    Ok(xml)
}

/// When somebody proved who they are, by the earliest of what is said of it (SAML core §2.7.2).
fn proved_at(assertion: &Assertion) -> Option<DateTime<Utc>> {
    let statements = assertion.authn_statements.iter().flatten();
    statements
        .map(|statement| statement.authn_instant)
        .min()
        .flatten()
}

/// The one value of an attribute of this name (SAML core §2.7.3.1): of several, none says who it is.
fn one_value(assertion: &Assertion, wanted: &str) -> Option<String> {
    let statements = assertion.attribute_statements.iter().flatten();
    let attributes = statements.flat_map(|statement| &statement.attributes);
    let named = attributes.filter(|attribute| attribute.name.as_deref() == Some(wanted));
    let mut values = named.flat_map(|attribute| &attribute.values);
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.value.as_deref()?.trim().to_owned()),
        _ => None,
    }
}

/// The first value of an attribute, by its name or its friendly name.
fn attribute_of(assertion: &Assertion, wanted: &str) -> Option<String> {
    let statements = assertion.attribute_statements.iter().flatten();
    let mut attributes = statements.flat_map(|statement| &statement.attributes);
    let found = attributes.find(|attribute| {
        [&attribute.name, &attribute.friendly_name].map(|name| name.as_deref() == Some(wanted))
            != [false; 2]
    })?;
    let value = found.values.first()?.value.as_deref()?.trim();
    (!value.is_empty()).then(|| value.to_owned())
}
