//! How machines log in: each method sends something to a login of its own, and is given a token with its life.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keyferry_provider_core::{BuildContext, Credentials, Error, SecretBytes, SecretRef, json};
use keyferry_provider_session::{Grant, Life, Source};
use reqwest::Method as Verb;
use reqwest::header::{AUTHORIZATION, HeaderMap};

use super::VENDOR;
use super::config::Method;
use crate::client::{Call, Client};
use crate::cloud::Machine;
use crate::config::secret;
use crate::login::Pass;
use crate::object::{self, Object, text};

/// Where tokens come from.
pub struct Login {
    client: Arc<Client>,
    credentials: Arc<dyn Credentials>,
    method: Method,
    organization: Option<String>,
    /// The metadata server, for the methods that need one.
    machine: Option<Arc<Machine>>,
}

impl Login {
    /// Prepares what the method needs.
    ///
    /// # Errors
    /// `Denied` where it logs in as the operator itself, and the store may not.
    pub async fn new(
        client: Arc<Client>,
        method: Method,
        organization: Option<String>,
        ctx: &BuildContext,
    ) -> Result<Self, Error> {
        let machine = match &method {
            Method::Azure(..) => Some(Machine::azure(ctx, &format!("{}.azureAuthCredentials", VENDOR.login)).await?),
            Method::Google(_) => {
                Some(Machine::google(ctx, &format!("{}.gcpIdTokenAuthCredentials", VENDOR.login)).await?)
            }
            Method::Token(_) | Method::Texts(..) | Method::Kubernetes(_) => None,
        };
        Ok(Self { client, credentials: ctx.credentials.clone(), method, organization, machine })
    }

    async fn secret(&self, reference: &SecretRef, field: &str) -> Result<SecretBytes, Error> {
        secret(&*self.credentials, reference, None, field).await
    }

    /// The identity that a secret names, and a token that shows it, as they are sent.
    async fn of_token(&self, identity: &SecretRef, token: SecretBytes) -> Result<Object, Error> {
        let identity = self.secret(identity, &format!("{}.identityId", VENDOR.login)).await?;
        Ok(Object::new().text("identityId", text(&identity)?).text("jwt", text(&token)?.trim()))
    }

    async fn exchange(&self, path: &str, name: &'static str, body: Object) -> Result<Grant<Pass>, Error> {
        let body = body.maybe("organizationSlug", self.organization.as_deref()).done();
        let call = Call::send(name, Verb::POST, format!("v1/auth/{path}/login"), body);
        let answer = self.client.send(&call, &HeaderMap::new()).await?;
        if !answer.is_good() {
            return Err(self.client.login_refusal(&answer));
        }
        let malformed = || self.client.malformed(&answer);
        let token = object::at(answer.body.expose(), &["accessToken"]).map(json::to_bytes).ok_or_else(malformed)?;
        let seconds = answer.word(&["expiresIn"]).and_then(|seconds| seconds.parse().ok()).ok_or_else(malformed)?;
        Ok(Grant { value: bearer(&token)?, life: Life::of(Duration::from_secs(seconds)) })
    }
}

fn bearer(token: &SecretBytes) -> Result<Pass, Error> {
    Pass::header(AUTHORIZATION, "Bearer ", token, VENDOR.login)
}

#[async_trait]
impl Source<Pass> for Login {
    async fn get(&self) -> Result<Grant<Pass>, Error> {
        let machine = || self.machine.as_ref().ok_or_else(|| Error::invalid("there is no metadata server to ask"));
        match &self.method {
            Method::Token(reference) => {
                let token =
                    self.secret(reference, &format!("{}.tokenAuthCredentials.accessToken", VENDOR.login)).await?;
                Ok(Grant { value: bearer(&token)?, life: Life::ENDLESS })
            }
            Method::Texts(path, name, texts) => {
                let mut body = Object::new();
                for (sent, reference, field) in texts {
                    body = body.text(sent, text(&self.secret(reference, field).await?)?);
                }
                self.exchange(path, name, body).await
            }
            Method::Kubernetes(identity) => {
                let token = self.credentials.controller_token().await;
                let token =
                    token.map_err(|error| error.context(format!("{}.kubernetesAuthCredentials", VENDOR.login)))?;
                let body = self.of_token(identity, token).await?;
                self.exchange("kubernetes-auth", "MachineIdentityLoginViaKubernetesAuth", body).await
            }
            Method::Azure(identity, resource) => {
                let resource = match resource {
                    Some(reference) => {
                        self.secret(reference, &format!("{}.azureAuthCredentials.resource", VENDOR.login)).await?
                    }
                    None => "https://management.azure.com/".into(),
                };
                let token = machine()?.access_token(text(&resource)?, None).await?;
                let body = self.of_token(identity, token).await?;
                self.exchange("azure-auth", "MachineIdentityLoginViaAzureAuth", body).await
            }
            Method::Google(identity) => {
                let audience =
                    self.secret(identity, &format!("{}.gcpIdTokenAuthCredentials.identityId", VENDOR.login)).await?;
                let token = machine()?.identity_token(text(&audience)?).await?;
                let body = self.of_token(identity, token).await?;
                self.exchange("gcp-auth", "MachineIdentityLoginViaGcpIdTokenAuth", body).await
            }
        }
    }
}
