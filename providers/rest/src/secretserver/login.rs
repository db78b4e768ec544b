//! Who we are to Secret Server: a user with a password, or a token that was made before.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keyferry_provider_core::{Credentials, Error, SecretBytes, filled, json};
use keyferry_provider_http::form;
use keyferry_provider_session::{Grant, Life, Source};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};

use crate::client::{Call, Client};
use crate::config::Given;
use crate::login::Pass;
use crate::object;

/// What logs in.
pub enum Who {
    /// A user of a domain, or of the server itself.
    User { name: Given, password: Given, domain: Option<String> },
    /// A token.
    Token(Given),
}

/// Where tokens come from.
pub struct Login {
    pub client: Arc<Client>,
    pub credentials: Arc<dyn Credentials>,
    pub who: Who,
}

#[async_trait]
impl Source<Pass> for Login {
    async fn get(&self) -> Result<Grant<Pass>, Error> {
        let (name, password, domain) = match &self.who {
            Who::User { name, password, domain } => (name, password, domain),
            Who::Token(token) => {
                let token = token.text(&*self.credentials, "spec.provider.secretserver.token").await?;
                return Ok(Grant { value: self.pass(&token)?, life: Life::ENDLESS });
            }
        };
        let name = name.text(&*self.credentials, "spec.provider.secretserver.username").await?;
        let password = password.text(&*self.credentials, "spec.provider.secretserver.password").await?;
        let mut fields: Vec<(&str, &[u8])> =
            vec![("username", name.expose()), ("password", password.expose()), ("grant_type", b"password")];
        let domain = filled(domain.clone());
        fields.extend(domain.as_ref().map(|domain| ("domain", domain.as_bytes())));
        let call = Call::send("Login", Method::POST, "oauth2/token", form(&fields));
        let is_form = HeaderValue::from_static("application/x-www-form-urlencoded");
        let answer = self.client.send(&call, &HeaderMap::from_iter([(CONTENT_TYPE, is_form)])).await?;
        if !answer.is_good() {
            return Err(self.client.login_refusal(&answer));
        }
        let malformed = || self.client.malformed(&answer);
        let token = object::at(answer.body.expose(), &["access_token"]).map(json::to_bytes).ok_or_else(malformed)?;
        let seconds = object::at(answer.body.expose(), &["expires_in"]).and_then(|raw| raw.get().parse().ok());
        Ok(Grant { value: self.pass(&token)?, life: Life::of(Duration::from_secs(seconds.ok_or_else(malformed)?)) })
    }
}

impl Login {
    fn pass(&self, token: &SecretBytes) -> Result<Pass, Error> {
        Pass::header(AUTHORIZATION, "Bearer ", token, self.client.vendor.login)
    }
}
