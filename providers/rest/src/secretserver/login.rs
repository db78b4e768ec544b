//! Who we are to Secret Server, or to Delinea Platform, which leads to one: a user with a password, or a token that was made
//! before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use keyferry_provider_core::{Credentials, Error, SecretBytes, filled, json};
use keyferry_provider_http::form;
use keyferry_provider_session::{Grant, Life, Source};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};

use crate::client::{Call, Client, Response};
use crate::config::Given;
use crate::login::Pass;
use crate::object;

/// What logs in.
#[derive(Clone)]
pub enum Who {
    /// A user of a domain, or of the server itself.
    User { name: Given, password: Given, domain: Option<String> },
    /// A token.
    Token(Given),
}

/// Where tokens come from.
#[derive(Clone)]
pub struct Login {
    client: Arc<Client>,
    credentials: Arc<dyn Credentials>,
    who: Who,
    /// Whether the server is Delinea Platform: known by its name, or by what it says where a vault logs in.
    is_platform: Arc<AtomicBool>,
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
        if !self.is_at_platform() {
            let mut fields: Vec<(&str, &[u8])> =
                vec![("username", name.expose()), ("password", password.expose()), ("grant_type", b"password")];
            let domain = filled(domain.clone());
            fields.extend(domain.as_ref().map(|domain| ("domain", domain.as_bytes())));
            let answer = self.ask("oauth2/token", &fields).await?;
            if answer.status != 404 || !self.finds_platform().await? {
                return self.grant(&answer);
            }
            self.is_platform.store(true, Ordering::Relaxed);
        }
        let fields: [(&str, &[u8]); 4] = [
            ("client_id", name.expose()),
            ("client_secret", password.expose()),
            ("grant_type", b"client_credentials"),
            ("scope", b"xpmheadless"),
        ];
        self.grant(&self.ask("identity/api/oauth2/token/xpmplatform", &fields).await?)
    }
}

impl Login {
    /// At this server.
    pub fn new(client: Arc<Client>, credentials: Arc<dyn Credentials>, who: Who, is_platform: bool) -> Self {
        Self { client, credentials, who, is_platform: Arc::new(AtomicBool::new(is_platform)) }
    }

    /// Whether the server is Delinea Platform, as far as is known.
    pub fn is_at_platform(&self) -> bool {
        self.is_platform.load(Ordering::Relaxed)
    }

    async fn ask(&self, path: &str, fields: &[(&str, &[u8])]) -> Result<Response, Error> {
        let call = Call::send("Login", Method::POST, path, form(fields));
        let is_form = HeaderValue::from_static("application/x-www-form-urlencoded");
        self.client.send(&call, &HeaderMap::from_iter([(CONTENT_TYPE, is_form)])).await
    }

    /// Whether the server says that it is Delinea Platform.
    async fn finds_platform(&self) -> Result<bool, Error> {
        let call = Call { accept: "*/*", ..Call::get("GetHealth", "health") };
        let answer = self.client.send(&call, &HeaderMap::new()).await?;
        let says = match object::at(answer.body.expose(), &["Healthy"]) {
            Some(says) => says.get() == "true",
            None => answer.body.expose_str().is_some_and(|text| text.trim().eq_ignore_ascii_case("healthy")),
        };
        Ok(answer.is_good() && says)
    }

    fn grant(&self, answer: &Response) -> Result<Grant<Pass>, Error> {
        if !answer.is_good() {
            return Err(self.client.login_refusal(answer));
        }
        let malformed = || self.client.malformed(answer);
        let token = object::at(answer.body.expose(), &["access_token"]).map(json::to_bytes).ok_or_else(malformed)?;
        let seconds = object::at(answer.body.expose(), &["expires_in"]).and_then(|raw| raw.get().parse().ok());
        Ok(Grant { value: self.pass(&token)?, life: Life::of(Duration::from_secs(seconds.ok_or_else(malformed)?)) })
    }

    fn pass(&self, token: &SecretBytes) -> Result<Pass, Error> {
        Pass::header(AUTHORIZATION, "Bearer ", token, self.client.vendor.login)
    }
}
