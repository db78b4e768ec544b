//! How machines log in: each method sends something to a login of its own, and is given a token with its life.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keyferry_provider_core::names::is_label;
use keyferry_provider_core::{BuildContext, Error, SecretBytes, SecretRef, filled, json};
use keyferry_provider_identity::cloud::Shown;
use keyferry_provider_identity::{aws, google, oracle};
use keyferry_provider_session::{Grant, Life, Source};
use reqwest::Method as Verb;
use reqwest::header::{AUTHORIZATION, HeaderMap};

use super::VENDOR;
use super::config::{Method, Oracle};
use crate::client::{Call, Client};
use crate::cloud::{Machine, may_be_operator, operator_at_aws};
use crate::config::secret;
use crate::login::Pass;
use crate::object::{self, Object, text};

/// The vendor's own servers.
const HOSTS: [&str; 3] = ["app.infisical.com", "us.infisical.com", "eu.infisical.com"];

/// Where tokens come from.
pub struct Login {
    client: Arc<Client>,
    ctx: BuildContext,
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
        let is_to_named_server = !client.is_at(&HOSTS);
        let at = |name: &str| format!("{}.{name}", VENDOR.login);
        let shown = |field| Shown { field, ctx, is_to_named_server };
        let machine = match &method {
            Method::Azure(..) => Some(Machine::azure(&shown(&at("azureAuthCredentials"))).await?),
            Method::Google(_) => Some(Machine::google(&shown(&at("gcpIdTokenAuthCredentials"))).await?),
            Method::Aws(_) => {
                may_be_operator(&shown(&at("awsAuthCredentials")))?;
                None
            }
            Method::Token(_)
            | Method::Texts(..)
            | Method::Kubernetes(_)
            | Method::GoogleKey(..)
            | Method::Oracle(_) => None,
        };
        Ok(Self { client, ctx: ctx.clone(), method, organization, machine })
    }

    async fn secret(&self, reference: &SecretRef, field: &str) -> Result<SecretBytes, Error> {
        secret(&*self.ctx.credentials, reference, None, field).await
    }

    /// The identity that a secret names, and a token that shows it, as they are sent.
    async fn of_token(&self, identity: &SecretRef, token: SecretBytes) -> Result<Object, Error> {
        let identity = self.secret(identity, &format!("{}.identityId", VENDOR.login)).await?;
        Ok(Object::new().text("identityId", text(&identity)?).text("jwt", text(&token)?.trim()))
    }

    /// A question to AWS's STS, which the server asks in the region that the signature names.
    async fn by_aws(&self, identity: &SecretRef) -> Result<Object, Error> {
        let field = format!("{}.awsAuthCredentials", VENDOR.login);
        let identity = self.secret(identity, &format!("{field}.identityId")).await?;
        let shown = Shown { field: &field, ctx: &self.ctx, is_to_named_server: !self.client.is_at(&HOSTS) };
        let variable = |name| filled((self.ctx.environment)(name)).filter(|region| is_label(region));
        let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
        let region = region.unwrap_or_else(|| "us-east-1".to_owned());
        let host = format!("sts.{region}.amazonaws.com");
        let question = aws::question(&operator_at_aws(&region), &host, None, &shown).await?;
        Ok(Object::new()
            .text("identityId", text(&identity)?)
            .text("iamHttpRequestMethod", aws::METHOD)
            .text("iamRequestBody", text(&question.body())?)
            .text("iamRequestHeaders", text(&question.headers_as_texts())?))
    }

    /// A JWT for the identity. The secret must hold the key file itself: a path in it would be one of the operator's machine.
    async fn by_google_key(&self, identity: &SecretRef, file: &SecretRef) -> Result<Object, Error> {
        let field = format!("{}.gcpIamAuthCredentials.serviceAccountKeyFilePath", VENDOR.login);
        let file = self.secret(file, &field).await?;
        if !file.expose().starts_with(b"{") {
            let message = format!("{field}: the secret names a file of the operator's machine");
            return Err(Error::invalid(message).with_hint("put the key file itself into the secret, as JSON"));
        }
        let audience = self.secret(identity, &format!("{}.gcpIamAuthCredentials.identityId", VENDOR.login)).await?;
        let jwt = google::by_key(&file, text(&audience)?, &field)?;
        self.of_token(identity, jwt).await
    }

    /// A question to Oracle's cloud for the user who signs it, which the server asks.
    async fn by_oracle(&self, of: &Oracle) -> Result<Object, Error> {
        let at = |name: &str| format!("{}.ociAuthCredentials.{name}", VENDOR.login);
        let plain = async |reference: &SecretRef, name: &str| {
            let secret = self.secret(reference, &at(name)).await?;
            let text = text(&secret)?;
            // They become parts of a URL and of a header.
            if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte)) {
                Ok(text.to_owned())
            } else {
                Err(Error::invalid(format!("{}: the secret holds what no such name has", at(name))))
            }
        };
        let identity = self.secret(&of.identity, &at("identityId")).await?;
        let (user, tenancy) = (plain(&of.user, "userId").await?, plain(&of.tenancy, "tenancyId").await?);
        let (region, fingerprint) = (plain(&of.region, "region").await?, plain(&of.fingerprint, "fingerprint").await?);
        let key = self.secret(&of.key, &at("privateKey")).await?;
        let passphrase = match &of.passphrase {
            Some(reference) => Some(self.secret(reference, &at("privateKeyPassphrase")).await?),
            None => None,
        };
        let signer =
            oracle::Signer::new([&tenancy, &user, &fingerprint], &key, passphrase.as_ref(), &at("privateKey"))?;
        let (host, target) = (format!("identity.{region}.oraclecloud.com"), format!("/20160918/users/{user}"));
        let signed = signer.headers(oracle::Request { method: "GET", host: &host, target: &target, body: None })?;
        let headers = signed.iter().fold(Object::new(), |all, (name, value)| all.text(name, value)).text("host", &host);
        Ok(Object::new()
            .text("identityId", text(&identity)?)
            .text("userOcid", &user)
            .nested("headers", &headers.done()))
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

/// Ends what a login gave: the token goes along in the body.
pub fn ending(pass: &Pass) -> Option<Call> {
    let Pass::Header(_, value) = pass else { return None };
    let token = value.to_str().ok()?.strip_prefix("Bearer ")?;
    let body = Object::new().text("accessToken", token).done();
    Some(Call::send("RevokeAccessToken", Verb::POST, "v1/auth/token/revoke", body))
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
                let token = self.ctx.credentials.controller_token().await;
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
            Method::GoogleKey(identity, file) => {
                let body = self.by_google_key(identity, file).await?;
                self.exchange("gcp-auth", "MachineIdentityLoginViaGcpServiceAccountAuth", body).await
            }
            Method::Aws(identity) => {
                let body = self.by_aws(identity).await?;
                self.exchange("aws-auth", "MachineIdentityLoginViaAwsAuth", body).await
            }
            Method::Oracle(of) => {
                let body = self.by_oracle(of).await?;
                self.exchange("oci-auth", "MachineIdentityLoginViaOciAuth", body).await
            }
        }
    }
}
