//! How one logs in, and where the API of a gateway is.

use std::sync::Arc;

use async_trait::async_trait;
use keyferry_provider_core::{BuildContext, Error, ErrorKind, SecretBytes, SecretRef, json};
use keyferry_provider_identity::aws;
use keyferry_provider_identity::cloud::Shown;
use keyferry_provider_session::{Grant, Life, Source};
use reqwest::header::HeaderMap;
use reqwest::{Method, Url};

use super::config::{Auth, Config, Token};
use super::{VENDOR, life};
use crate::client::{Call, Client};
use crate::cloud::{Machine, may_be_operator, operator_at_aws};
use crate::config::secret;
use crate::login::Pass;
use crate::object::{self, Object, base64, text};

/// The vendor's own servers, the first where none is named.
const HOSTS: [&str; 3] = ["api.akeyless.io", "api.us.akeyless.io", "api.eu.akeyless.io"];

/// Where the API is: at the URL of the spec, or below it. A gateway is asked, as External Secrets Operator does: where its
/// API is it complains of a command that it does not know.
pub async fn api_of(config: &Config, ctx: &BuildContext) -> Result<Url, Error> {
    let Some(gateway) = &config.gateway else {
        return Url::parse(&format!("https://{}", HOSTS[0]))
            .map_err(|_| Error::invalid("the vendor's URL can't be read"));
    };
    let path = gateway.path().trim_end_matches('/').to_owned();
    if path.ends_with("/v2") || gateway.host_str().is_some_and(|host| HOSTS.contains(&host)) {
        return Ok(gateway.clone());
    }
    let client = Client::new(&VENDOR, gateway.clone(), &config.ca, ctx).await?;
    let call = Call::send("Probe", Method::POST, "", Object::new().done());
    let answer = client.send(&call, &HeaderMap::new()).await?;
    // Who can't answer now has not said where its API is.
    let refusal = client.refusal(&answer, &"the gateway");
    if refusal.is_temporary() {
        return Err(refusal);
    }
    let mut api = gateway.clone();
    if !answer.body.expose_str().is_some_and(|body| body.contains("unknown command")) {
        api.set_path(&format!("{path}/v2"));
    }
    Ok(api)
}

/// Where tokens come from.
pub struct Login {
    client: Arc<Client>,
    ctx: BuildContext,
    auth: Auth,
}

impl Login {
    /// Asks nobody yet.
    pub fn new(client: Arc<Client>, auth: Auth, ctx: &BuildContext) -> Self {
        Self { client, ctx: ctx.clone(), auth }
    }

    /// Whether it is the operator itself that logs in, and whether the vendor's own client logs in so where we have seen it.
    ///
    /// # Errors
    /// Those of the port.
    pub async fn standing(&self) -> Result<(bool, bool), Error> {
        Ok(match &self.auth {
            Auth::Secrets { kind, .. } => {
                let kind = self.secret(kind, None, "secretRef.accessType").await?;
                let is_key = matches!(text(&kind)?, "api_key" | "access_key");
                (!is_key, is_key)
            }
            Auth::Kubernetes { token, .. } => (*token == Token::Controller, false),
        })
    }

    async fn secret(&self, reference: &SecretRef, key: Option<&str>, field: &str) -> Result<SecretBytes, Error> {
        secret(&*self.ctx.credentials, reference, key, &format!("{}.{field}", VENDOR.login)).await
    }

    async fn kubernetes(&self, id: &str, config: &str, token: &Token) -> Result<Object, Error> {
        let field = format!("{}.kubernetesAuth", VENDOR.login);
        let token = match token {
            Token::Account(account) => self.ctx.credentials.service_account_token(account, &[]).await.map(|t| t.secret),
            Token::Secret(reference) => self.secret(reference, Some("token"), "kubernetesAuth.secretRef").await,
            Token::Controller => self.ctx.credentials.controller_token().await,
        };
        let token = token.map_err(|error| error.context(field))?;
        Ok(Object::new()
            .text("access-id", id)
            .text("access-type", "k8s")
            .text("k8s-auth-config-name", config)
            .text("k8s-service-account-token", text(&base64(&text(&token)?.trim().into()))?))
    }

    /// A login as secrets say.
    async fn of_secrets(&self, id: &SecretRef, kind: &SecretRef, param: Option<&SecretRef>) -> Result<Object, Error> {
        let id = self.secret(id, None, "secretRef.accessID").await?;
        let kind = self.secret(kind, None, "secretRef.accessType").await?;
        let param = match param {
            Some(param) => Some(self.secret(param, None, "secretRef.accessTypeParam").await?),
            None => None,
        };
        let needed = || {
            let message = format!("{}.secretRef.accessTypeParam is missing", VENDOR.login);
            param.as_ref().ok_or_else(|| Error::invalid(message))
        };
        let field = format!("{}.secretRef.accessType", VENDOR.login);
        let (id, kind) = (text(&id)?, text(&kind)?);
        let shown = Shown { field: &field, ctx: &self.ctx, is_to_named_server: !self.client.is_at(&HOSTS) };
        let cloud_id = match kind {
            "api_key" | "access_key" => {
                return Ok(Object::new().text("access-id", id).text("access-key", text(needed()?)?));
            }
            "k8s" => return self.kubernetes(id, text(needed()?)?, &Token::Controller).await,
            "aws_iam" => {
                may_be_operator(&shown)?;
                // Whom the vendor asks, as its own clients have it.
                let aws = operator_at_aws("us-east-1");
                let question = aws::question(&aws, &aws::host_of_sts(&aws.region), None, &shown).await?;
                Object::new()
                    .text("sts_request_method", aws::METHOD)
                    .text("sts_request_url", text(&question.url())?)
                    .text("sts_request_body", text(&question.body())?)
                    .text("sts_request_headers", text(&question.headers_as_lists())?)
                    .done()
            }
            "azure_ad" => {
                let machine = Machine::azure(&shown).await?;
                let object = param.as_ref().map(text).transpose()?;
                machine.access_token("https://management.azure.com/", object).await?
            }
            "gcp" => {
                let audience = param.as_ref().map(text).transpose()?.unwrap_or("akeyless.io");
                Machine::google(&shown).await?.identity_token(audience).await?
            }
            _ => {
                let message = format!(
                    "{field} names a login that is not supported: what is are api_key, access_key, k8s, aws_iam, azure_ad and gcp"
                );
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
        };
        let cloud_id = base64(&cloud_id);
        Ok(Object::new().text("access-id", id).text("access-type", kind).text("cloud-id", text(&cloud_id)?))
    }
}

#[async_trait]
impl Source<Pass> for Login {
    async fn get(&self) -> Result<Grant<Pass>, Error> {
        let body = match &self.auth {
            Auth::Secrets { id, kind, param } => self.of_secrets(id, kind, param.as_ref()).await?,
            Auth::Kubernetes { id, config, token } => self.kubernetes(id, config, token).await?,
        };
        let answer =
            self.client.send(&Call::send("Auth", Method::POST, "auth", body.done()), &HeaderMap::new()).await?;
        if !answer.is_good() {
            return Err(self.client.login_refusal(&answer));
        }
        let token = object::at(answer.body.expose(), &["token"]).map(json::to_bytes);
        let token = token.filter(|token| !token.is_empty()).ok_or_else(|| self.client.malformed(&answer))?;
        // Tokens of a universal identity go by another name.
        let name = if token.expose().starts_with(b"u-") { "uid-token" } else { "token" };
        let life = Life::of(life(&token));
        Ok(Grant { value: Pass::Field(name, token), life })
    }
}
