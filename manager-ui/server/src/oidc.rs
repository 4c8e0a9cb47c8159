//! What an OpenID Connect provider proves (OpenID Connect Core 1.0 §3.1): code flow with PKCE
//! (RFC 7636), `state` and `nonce`, each good once and for the browser that began alone.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use mcu_api::secret::Redacted;
use openidconnect::core::{
    CoreAuthPrompt, CoreAuthenticationFlow, CoreClient, CoreIdTokenClaims, CoreProviderMetadata,
};
use openidconnect::{
    AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointMaybeSet, EndpointNotSet,
    EndpointSet, IssuerUrl, Nonce, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl,
    RequestTokenError, Scope, TokenResponse,
};

use crate::limits::Attempts;
use crate::provider::{self, Error, Proved, UnderWay};
use crate::sessions::new_secret;
use crate::store::chain;

/// Where the provider is, and what is believed of what it says.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its address, as its tokens name it.
    pub issuer: String,
    /// PEM file of the issuers of its certificate, beside those of the system.
    pub ca: Option<PathBuf>,
    /// Who we are there.
    pub client_id: String,
    /// What proves it, where it wants a proof.
    pub client_secret: Option<Redacted<String>>,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// What becomes the login of who comes first.
    pub claim: Claim,
    /// Id of the organisation that people belong to who log in first; that at the root if not given.
    pub organisation: Option<String>,
}

/// A claim that becomes a login (OpenID Connect Core 1.0 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// `preferred_username`.
    PreferredUsername,
    /// `email`, which the provider has to have verified.
    Email,
    /// `sub`.
    Subject,
}

/// A login that is under way.
#[derive(Debug)]
struct Begun {
    nonce: Nonce,
    verifier: PkceCodeVerifier,
    redirect: RedirectUrl,
    /// Since when somebody has to have proved it, where they are to do so anew.
    anew: Option<DateTime<Utc>>,
}

/// A provider, and who is under way to it.
#[derive(Debug)]
pub(crate) struct Provider {
    pub config: Config,
    begun: UnderWay<Begun>,
    /// Its own, so that who fills them shuts out nobody from logging in with a password.
    pub attempts: Attempts,
}

type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

impl Provider {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            begun: UnderWay::default(),
            attempts: Attempts::default(),
        }
    }

    /// Where to send a browser that comes back to `redirect`, and what it is to hold meanwhile; `anew`, no
    /// session with the provider is to stand for the proof.
    ///
    /// # Errors
    /// [`Error::Away`].
    pub(crate) async fn begin(
        &self,
        redirect: String,
        anew: bool,
    ) -> Result<(String, Redacted<String>), Error> {
        let away = |error: &dyn std::error::Error| Error::Away(chain(error));
        let redirect = RedirectUrl::new(redirect).map_err(|error| away(&error))?;
        let client = self
            .client(
                &provider::http(self.config.ca.as_deref())?,
                redirect.clone(),
            )
            .await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let (state, browser) = (new_secret(), new_secret());
        let known = state.0.clone();
        let mut request = client.authorize_url(
            CoreAuthenticationFlow::AuthorizationCode,
            move || CsrfToken::new(known),
            || Nonce::new(new_secret().0),
        );
        for scope in &self.config.scopes {
            request = request.add_scope(Scope::new(scope.clone()));
        }
        if anew {
            let now = Duration::ZERO;
            request = request.add_prompt(CoreAuthPrompt::Login).set_max_age(now);
        }
        let (url, _, nonce) = request.set_pkce_challenge(challenge).url();
        let begun = Begun {
            nonce,
            verifier,
            redirect,
            anew: anew.then(Utc::now),
        };
        self.begun.keep(&state.0, &browser.0, begun);
        Ok((url.into(), browser))
    }

    /// Whom the provider proves to a browser that came back.
    ///
    /// # Errors
    /// [`Error`]; the same `state` is good no more, whatever came of it.
    pub(crate) async fn finish(
        &self,
        state: &str,
        code: String,
        browser: &str,
    ) -> Result<Proved, Error> {
        let begun = self.begun.take(state, browser).ok_or(Error::Unknown)?;
        let http = provider::http(self.config.ca.as_deref())?;
        let client = self.client(&http, begun.redirect).await?;
        let request = client
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|error| Error::Away(chain(&error)))?;
        let answer = request
            .set_pkce_verifier(begun.verifier)
            .request_async(&http)
            .await;
        let answer = answer.map_err(|error| match error {
            RequestTokenError::ServerResponse(told) => Error::Refused(told.error().to_string()),
            error => Error::Away(chain(&error)),
        })?;
        let token = answer.id_token();
        let token = token.ok_or_else(|| Error::Token("there is no ID token".into()))?;
        let verifier = client.id_token_verifier();
        let claims = token.claims(&verifier, &begun.nonce);
        let claims = claims.map_err(|error| Error::Token(chain(&error)))?;
        let anew = provider::just_now(begun.anew, claims.auth_time())?;
        self.proved(claims, anew)
    }

    fn proved(&self, claims: &CoreIdTokenClaims, anew: bool) -> Result<Proved, Error> {
        let login = match self.config.claim {
            Claim::PreferredUsername => claims.preferred_username().map(|name| name.to_string()),
            Claim::Email => claims
                .email()
                .filter(|_| claims.email_verified() == Some(true))
                .map(|email| email.to_string()),
            Claim::Subject => Some(claims.subject().to_string()),
        };
        let login = login.ok_or_else(|| Error::Token("there is no claim for the login".into()))?;
        let name = claims.name().and_then(|name| name.get(None));
        Ok(Proved {
            subject: format!("{} {}", claims.issuer().as_str(), claims.subject().as_str()),
            login,
            name: name.map(|name| name.to_string()),
            anew,
        })
    }

    /// Asks the provider anew each time, so that its new keys need no restart.
    async fn client(&self, http: &reqwest::Client, redirect: RedirectUrl) -> Result<Client, Error> {
        let issuer = IssuerUrl::new(self.config.issuer.clone());
        let issuer = issuer.map_err(|error| Error::Away(chain(&error)))?;
        let told = CoreProviderMetadata::discover_async(issuer, http).await;
        let told = told.map_err(|error| Error::Away(chain(&error)))?;
        let secret = self.config.client_secret.as_ref();
        let secret = secret.map(|secret| ClientSecret::new(secret.0.clone()));
        let id = ClientId::new(self.config.client_id.clone());
        Ok(CoreClient::from_provider_metadata(told, id, secret).set_redirect_uri(redirect))
    }
}
