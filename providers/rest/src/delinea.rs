//! Delinea DevOps Secrets Vault: secrets by path, each a JSON object.
//!
//! Built from the vendor's documents and their own library for Go, and unproven: it has not spoken to our double.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keyferry_provider_core::{
    Answer, Blame, BuildContext, BuildFuture, Capabilities, Credentials, Error, Fetched, Key, Metadata, Registration,
    SecretBytes, filled, json, one_by_one,
};
use keyferry_provider_http::path::{clean, encode};
use keyferry_provider_http::{Ca, Fields, server_url};
use keyferry_provider_session::{Grant, Life, Source};
use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Method, Url};
use serde::Deserialize;

use crate::client::{Call, Client, Response, Said, Vendor};
use crate::config::{self, Given, needed, needed_text};
use crate::login::{Access, Pass};
use crate::object::{self, Object};
use crate::store::{Rest, Store, UNPROVEN};

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "delinea", capabilities: |_| CAPABILITIES, maintained: true, build };

const CAPABILITIES: Capabilities = Capabilities { metadata: Metadata::PassedOver, ..Capabilities::READ_ONLY };

const VENDOR: Vendor = Vendor {
    name: "Delinea DevOps Secrets Vault",
    metric: "Delinea/DevOpsSecretsVault",
    fields: Fields {
        server: "spec.provider.delinea.tenant, tld and urlTemplate",
        ca: "the certificates of the system",
        identity: "spec.provider.delinea",
    },
    login: "spec.provider.delinea.clientId and clientSecret",
    says,
};

/// Tenant, top-level domain, resource and path, in this order.
const TEMPLATE: &str = "https://%s.secretsvaultcloud.%s/v1/%s%s";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    client_id: Option<Given>,
    client_secret: Option<Given>,
    tenant: Option<String>,
    tld: Option<String>,
    url_template: Option<String>,
}

/// The secrets of one tenant.
struct Delinea {
    access: Access,
}

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move {
        let spec: Spec = config::read(spec, "delinea")?;
        let tenant = needed_text(spec.tenant, "spec.provider.delinea.tenant")?;
        let tld = filled(spec.tld).unwrap_or_else(|| "com".to_owned());
        let template = filled(spec.url_template).unwrap_or_else(|| TEMPLATE.to_owned());
        let server = server(&template, &tenant, &tld)?;
        let client = Arc::new(Client::new(&VENDOR, server, &Ca::System, &ctx).await?);
        let login = Login {
            client: client.clone(),
            credentials: ctx.credentials.clone(),
            id: needed(spec.client_id, "spec.provider.delinea.clientId")?,
            secret: needed(spec.client_secret, "spec.provider.delinea.clientSecret")?,
        };
        Ok(Rest::provider(Delinea { access: Access::new(client, login).await? }))
    })
}

/// What a template comes to, without the places for resource and path at its end.
fn server(template: &str, tenant: &str, tld: &str) -> Result<Url, Error> {
    let parts: Vec<&str> = template.split("%s").collect();
    let [scheme, middle, base, "", ""] = parts[..] else {
        let message = "spec.provider.delinea.urlTemplate must hold %s four times, for tenant, tld, resource and path, the last two at its end";
        return Err(Error::invalid(message));
    };
    server_url(&format!("{scheme}{tenant}{middle}{tld}{base}"), VENDOR.fields.server, TEMPLATE)
}

/// `{"code": 404, "message": "..."}`.
fn says(answer: &Response) -> Option<Said> {
    let is_own = answer.word(&["code"])? == "404" && answer.word(&["message"]).is_some();
    (answer.status == 404 && is_own).then_some(Said::NoSecret)
}

/// Where tokens come from.
struct Login {
    client: Arc<Client>,
    credentials: Arc<dyn Credentials>,
    id: Given,
    secret: Given,
}

#[async_trait]
impl Source<Pass> for Login {
    async fn get(&self) -> Result<Grant<Pass>, Error> {
        let id = self.id.text(&*self.credentials, "spec.provider.delinea.clientId").await?;
        let secret = self.secret.text(&*self.credentials, "spec.provider.delinea.clientSecret").await?;
        let body = Object::new()
            .text("grant_type", "client_credentials")
            .text("client_id", object::text(&id)?)
            .text("client_secret", object::text(&secret)?)
            .done();
        let answer = self.client.send(&Call::send("Login", Method::POST, "token", body), &HeaderMap::new()).await?;
        if !answer.is_good() {
            return Err(self.client.login_refusal(&answer));
        }
        let malformed = || self.client.malformed(&answer);
        let token = object::at(answer.body.expose(), &["accessToken"]).map(json::to_bytes).ok_or_else(malformed)?;
        let seconds = answer.word(&["expiresIn"]).and_then(|seconds| seconds.parse().ok()).ok_or_else(malformed)?;
        let value = Pass::header(AUTHORIZATION, "Bearer ", &token, VENDOR.login)?;
        Ok(Grant { value, life: Life::of(Duration::from_secs(seconds)) })
    }
}

impl Delinea {
    async fn read(&self, key: &Key) -> Answer {
        let path = clean(&key.name)?;
        if path.is_empty() {
            return Err(Error::invalid("the key is empty").with_blame(Blame::Request));
        }
        let call = Call::get("GetSecret", format!("secrets/{}", encode(&path)));
        let answer = self.access.ask(&call, &format!("secret {:?}", key.name)).await?;
        let value = data(&answer.body).ok_or_else(|| self.access.client().malformed(&answer))?;
        Ok(Fetched::from(value))
    }
}

/// Reads `{"data": {...}}`; a secret without data is empty.
fn data(body: &SecretBytes) -> Option<SecretBytes> {
    let fields = json::object(body.expose())?;
    let data = fields.get("data")?;
    if data.get() == "null" {
        return Some(SecretBytes::default());
    }
    json::object(data.get().as_bytes())?;
    json::canonical(data)
}

#[async_trait]
impl Store for Delinea {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        one_by_one(keys, |key| self.read(key)).await
    }

    /// The login was made when the store was built, and nothing else can be asked without reading a secret.
    async fn validate(&self) -> Result<(), Error> {
        self.access.log_in().await
    }

    fn note(&self) -> Option<String> {
        Some(UNPROVEN.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_has_a_place_for_each_part() {
        assert_eq!(server(TEMPLATE, "t", "eu").unwrap().as_str(), "https://t.secretsvaultcloud.eu/v1/");
        assert_eq!(server("http://h/%s/%s/%s%s", "t", "x").unwrap().as_str(), "http://h/t/x/");
        for wrong in ["https://h", "%s%s%s%s%s", "https://%s.h.%s/%s/%s", "ftp://%s.%s/%s%s"] {
            assert!(server(wrong, "t", "com").is_err(), "{wrong}");
        }
    }

    #[test]
    fn data_is_one_object() {
        let shown = |body: &str| data(&body.into()).map(|data| data.expose_str().unwrap().to_owned());
        assert_eq!(shown(r#"{"data":{"b":1.50,"a":"x"}}"#).as_deref(), Some(r#"{"a":"x","b":1.50}"#));
        assert_eq!(shown(r#"{"data":null}"#).as_deref(), Some(""));
        assert_eq!((shown(r#"{"data":"x"}"#), shown("{}"), shown("<html>")), (None, None, None));
    }
}
