//! Fortanix Data Security Manager: security objects that are secrets or opaque, by name.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_provider_core::{
    Answer, Blame, BuildContext, BuildFuture, Capabilities, Credentials, Dialect, Error, ErrorKind, Fetched, Key,
    Metadata, PropertyLookup, Registration, SecretBytes, SecretRef, filled, json, one_by_one,
};
use keyferry_provider_http::{Ca, Fields, server_url};
use keyferry_provider_session::{Grant, Life, Source};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use serde::Deserialize;

use crate::client::{Call, Client, Response, Said, Vendor};
use crate::config::{self, needed};
use crate::login::{Access, Pass, header};
use crate::object::{self, Object};
use crate::store::{Rest, Store};

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "fortanix", capabilities: |_| CAPABILITIES, maintained: true, build };

const CAPABILITIES: Capabilities = Capabilities { metadata: Metadata::PassedOver, ..Capabilities::READ_ONLY };

const VENDOR: Vendor = Vendor {
    name: "Fortanix Data Security Manager",
    metric: "Fortanix",
    fields: Fields {
        server: "spec.provider.fortanix.apiUrl",
        ca: "the certificates of the system",
        identity: "spec.provider.fortanix",
    },
    login: "spec.provider.fortanix.apiKey.secretRef",
    says,
};

/// What is said of an object that is not shown.
const NOT_SHOWN: &str = "it is not there, or in no group of the app: check its name, and the app's groups";

const DEFAULT_URL: &str = "https://sdkms.fortanix.com";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    api_url: Option<String>,
    api_key: Option<ApiKey>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiKey {
    secret_ref: Option<SecretRef>,
}

/// The security objects that one app sees.
struct Fortanix {
    access: Access,
}

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move {
        let spec: Spec = config::read(spec, "fortanix")?;
        let url = filled(spec.api_url).unwrap_or_else(|| DEFAULT_URL.to_owned());
        let server = server_url(&url, VENDOR.fields.server, DEFAULT_URL)?;
        let reference = needed(spec.api_key.and_then(|key| key.secret_ref), VENDOR.login)?;
        let client = Arc::new(Client::new(&VENDOR, server, &Ca::System, &ctx).await?);
        let login = Login { client: client.clone(), credentials: ctx.credentials.clone(), reference };
        let access = Access::new(client, login)
            .await?
            .ended_by(|_| Some(Call { method: Method::POST, ..Call::get("Terminate", "sys/v1/session/terminate") }));
        Ok(Rest::provider(Fortanix { access }))
    })
}

/// Its words are plain text, or a string or a message in JSON.
fn says(answer: &Response) -> Option<Said> {
    let text = answer.body.expose_str()?.to_ascii_lowercase();
    match answer.status {
        // An app is shown the objects of its groups; that the vendor says anything else of others', nobody documents.
        404 if text.contains("sobject does not exist") => Some(Said::Other(ErrorKind::Denied, NOT_SHOWN)),
        400 if text.contains("not exportable") => {
            Some(Said::Other(ErrorKind::Denied, "it may not be exported: allow Export for it and for the app"))
        }
        _ => None,
    }
}

/// Where tokens come from.
struct Login {
    client: Arc<Client>,
    credentials: Arc<dyn Credentials>,
    reference: SecretRef,
}

#[async_trait]
impl Source<Pass> for Login {
    async fn get(&self) -> Result<Grant<Pass>, Error> {
        let key = config::secret(&*self.credentials, &self.reference, None, VENDOR.login).await?;
        let key = (AUTHORIZATION, header("Basic ", &key, VENDOR.login)?);
        let call = Call { method: Method::POST, ..Call::get("Auth", "sys/v1/session/auth") };
        let answer = self.client.send(&call, &HeaderMap::from_iter([key])).await?;
        if !answer.is_good() {
            return Err(self.refusal(&answer));
        }
        let malformed = || self.client.malformed(&answer);
        let token = object::at(answer.body.expose(), &["access_token"]).map(json::to_bytes).ok_or_else(malformed)?;
        let seconds = object::at(answer.body.expose(), &["expires_in"]).and_then(|raw| raw.get().parse().ok());
        let value = Pass::header(AUTHORIZATION, "Bearer ", &token, VENDOR.login)?;
        Ok(Grant { value, life: Life::of(Duration::from_secs(seconds.ok_or_else(malformed)?)) })
    }
}

impl Login {
    /// What is no key at all is a bad request there.
    fn refusal(&self, answer: &Response) -> Error {
        match answer.status {
            400 | 403 => {
                let message = format!("the API key is not accepted: check {}", VENDOR.login);
                Error::new(ErrorKind::Unauthenticated, message)
            }
            _ => self.client.login_refusal(answer),
        }
    }
}

impl Fortanix {
    /// An opaque object is shown with its value; a secret must be exported.
    async fn read(&self, key: &Key) -> Answer {
        if key.name.is_empty() {
            return Err(Error::invalid("the key is empty").with_blame(Blame::Request));
        }
        let what = format!("security object {:?}", key.name);
        let by_name = Object::new().text("name", &key.name).done();
        let info = self.ask("GetSobject", "crypto/v1/keys/info", by_name, &what).await?;
        let kind = info.word(&["obj_type"]).ok_or_else(|| self.access.client().malformed(&info))?;
        let shown = match kind.as_str() {
            "OPAQUE" => info,
            "SECRET" => {
                let id = info.word(&["kid"]).ok_or_else(|| self.access.client().malformed(&info))?;
                self.ask("ExportSobject", "crypto/v1/keys/export", Object::new().text("kid", &id).done(), &what).await?
            }
            _ => {
                let message = format!("{what} is a key: only secrets and opaque objects can be read");
                return Err(Error::invalid(message).with_blame(Blame::Request));
            }
        };
        let value = value(&shown.body).ok_or_else(|| self.access.client().malformed(&shown))?;
        Ok(Fetched::from(value))
    }

    async fn ask(&self, name: &'static str, path: &str, body: SecretBytes, what: &str) -> Result<Response, Error> {
        self.access.ask(&Call::send(name, Method::POST, path, body), what).await
    }
}

/// Reads `{"value": "base64"}`.
fn value(body: &SecretBytes) -> Option<SecretBytes> {
    let text = object::at(body.expose(), &["value"]).filter(|raw| raw.get().starts_with('"'))?;
    STANDARD.decode(json::to_bytes(text).expose()).ok().map(SecretBytes::new)
}

#[async_trait]
impl Store for Fortanix {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn dialect(&self) -> Dialect {
        Dialect { property: PropertyLookup::ExactThenPath, ..Dialect::default() }
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        one_by_one(keys, |key| self.read(key)).await
    }

    /// The login was made when the store was built; which objects an app sees, nobody need know.
    async fn validate(&self) -> Result<(), Error> {
        self.access.log_in().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_base64() {
        assert_eq!(value(&r#"{"value":"YQ=="}"#.into()).unwrap().expose(), b"a");
        for body in ["", "{}", r#"{"value":"?"}"#, r#"{"value":null}"#] {
            assert_eq!(value(&body.into()), None, "{body}");
        }
    }
}
