//! ngrok: secrets of a vault, which can be written and never read.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use keyferry_provider_core::{
    Answer, Blame, BuildContext, BuildFuture, Capabilities, Credentials, Dialect, Error, ErrorKind, Key, Page,
    Provider, Push, Query, Reach, Registration, Remote, SecretBytes, SecretRef, filled, json,
};
use keyferry_provider_http::{Ca, Fields, server_url};
use keyferry_provider_session::{Grant, Life, Source};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;

use crate::client::{Call, Client, Response, Said, Vendor, segment};
use crate::config::{self, needed, needed_text};
use crate::login::{Access, Pass, header};
use crate::object::{self, Object};

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "ngrok", capabilities: |_| CAPABILITIES, maintained: true, build };

const CAPABILITIES: Capabilities = Capabilities { max_batch: 0, push: true, delete: true, ..Capabilities::READ_ONLY };

const VENDOR: Vendor = Vendor {
    name: "ngrok",
    metric: "ngrok",
    fields: Fields {
        server: "spec.provider.ngrok.apiUrl",
        ca: "the certificates of the system",
        identity: "spec.provider.ngrok",
    },
    login: "spec.provider.ngrok.auth.apiKey.secretRef",
    says,
};

const DEFAULT_URL: &str = "https://api.ngrok.com";

/// Which API is spoken; without it none is.
const VERSION: (HeaderName, HeaderValue) = (HeaderName::from_static("ngrok-version"), HeaderValue::from_static("2"));

/// How many are on a page, and how many pages are looked through for a name.
const PAGE: usize = 100;
const PAGES: usize = 100;

/// What a secret is said to be where the push does not say it; External Secrets Operator's words.
const DESCRIPTION: &str = "Managed by External Secrets Operator";

/// Under this name metadata have what was pushed, hashed.
const HASH: &str = "_sha256";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    api_url: Option<String>,
    auth: Option<Auth>,
    vault: Option<Vault>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Auth {
    api_key: Option<ApiKey>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiKey {
    secret_ref: Option<SecretRef>,
}

#[derive(Deserialize)]
struct Vault {
    name: Option<String>,
}

/// What a push says of the secret: `metadata.spec`.
#[derive(Default, Deserialize)]
struct Described {
    description: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
}

/// The secrets of one vault.
struct Ngrok {
    access: Access,
    vault: String,
}

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move {
        let spec: Spec = config::read(spec, "ngrok")?;
        let url = filled(spec.api_url).unwrap_or_else(|| DEFAULT_URL.to_owned());
        let server = server_url(&url, VENDOR.fields.server, DEFAULT_URL)?;
        let vault = needed_text(spec.vault.and_then(|vault| vault.name), "spec.provider.ngrok.vault.name")?;
        let reference = spec.auth.and_then(|auth| auth.api_key?.secret_ref);
        let reference = needed(reference, VENDOR.login)?;
        let client = Arc::new(Client::new(&VENDOR, server, &Ca::System, &ctx).await?);
        let key = Kept { credentials: ctx.credentials.clone(), reference };
        let store: Arc<dyn Provider> = Arc::new(Ngrok { access: Access::new(client, key).await?, vault });
        Ok(store)
    })
}

/// `{"error_code": "ERR_NGROK_...", "status_code": 404, "msg": "..."}`.
fn says(answer: &Response) -> Option<Said> {
    (answer.status == 404 && answer.word(&["msg"]).is_some()).then_some(Said::NoSecret)
}

/// The key that is sent.
struct Kept {
    credentials: Arc<dyn Credentials>,
    reference: SecretRef,
}

#[async_trait]
impl Source<Pass> for Kept {
    async fn get(&self) -> Result<Grant<Pass>, Error> {
        let key = config::secret(&*self.credentials, &self.reference, None, VENDOR.login).await?;
        let key = (AUTHORIZATION, header("Bearer ", &key, VENDOR.login)?);
        Ok(Grant { value: Pass::Headers(HeaderMap::from_iter([key, VERSION])), life: Life::ENDLESS })
    }
}

impl Ngrok {
    /// The id of what has this name in a list; of vaults, or of the secrets of one.
    async fn id_of(&self, name: &str, call: &'static str, path: &str, list: &str) -> Result<Option<String>, Error> {
        let mut before = None;
        for _ in 0..PAGES {
            let query = [("limit", PAGE.to_string())].into_iter().chain(before.map(|id| ("before_id", id)));
            let answer = self.access.ask(&Call::get(call, path).with(query), "the list").await;
            let answer = answer.map_err(Error::no_reason_to_delete)?;
            let (found, next) = listed(&answer, list).ok_or_else(|| self.access.client().malformed(&answer))?;
            if let Some((id, _)) = found.into_iter().find(|(_, of)| of == name) {
                return Ok(Some(id));
            }
            let Some(next) = next else { return Ok(None) };
            before = Some(next);
        }
        let message = format!("{name:?} is not among the first {} that are there", PAGE * PAGES);
        Err(Error::invalid(message).with_blame(Blame::Spec))
    }

    /// The id of the vault. Where it is not to be seen, nothing is known of what is in it.
    async fn vault(&self) -> Result<String, Error> {
        let id = self.id_of(&self.vault, "ListVaults", "vaults", "vaults").await?;
        id.ok_or_else(|| {
            Error::invalid(format!(
                "there is no vault {:?}, or not for us: check spec.provider.ngrok.vault.name",
                self.vault
            ))
        })
    }

    /// The id of a secret in the vault.
    async fn secret(&self, name: &str) -> Result<Option<String>, Error> {
        self.in_vault(&self.vault().await?, name).await
    }

    async fn in_vault(&self, vault: &str, name: &str) -> Result<Option<String>, Error> {
        self.id_of(name, "GetSecretsByVault", &format!("vaults/{}/secrets", segment(vault)?), "secrets").await
    }
}

type Named = Vec<(String, String)>;

/// Reads `{"vaults": [{"id": "...", "name": "..."}], "next_page_uri": "..."}`: ids and names, and what the next page is before.
fn listed(answer: &Response, list: &str) -> Option<(Named, Option<String>)> {
    let fields = json::object(answer.body.expose())?;
    let read = |raw: &serde_json::value::RawValue| {
        let fields = json::object(raw.get().as_bytes())?;
        let text = |name: &str| json::to_bytes(fields.get(name)?).expose_str().map(str::to_owned);
        Some((text("id")?, text("name")?))
    };
    let all = json::array(fields.get(list)?.get().as_bytes())?.into_iter().map(read).collect::<Option<_>>()?;
    let next = match answer.word(&["next_page_uri"]) {
        // Where it leads is the store's own choice; only which page is next is taken from it.
        Some(uri) => {
            let uri = Url::parse(&uri).ok()?;
            Some(uri.query_pairs().find(|(name, _)| name == "before_id")?.1.into_owned())
        }
        None => None,
    };
    Some((all, next))
}

/// What is said of a secret, as JSON: what the push says, and the hash of its value.
fn metadata(said: BTreeMap<String, String>, value: &SecretBytes) -> SecretBytes {
    let hash: String = digest(&SHA256, value.expose()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut all = said;
    all.insert(HASH.to_owned(), hash);
    all.iter().fold(Object::new(), |object, (name, text)| object.text(name, text)).done()
}

#[async_trait]
impl Provider for Ngrok {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn dialect(&self) -> Dialect {
        Dialect::default()
    }

    fn joins(&self, _: &[Key], _: &Key) -> bool {
        false
    }

    async fn fetch(&self, _: &[Key]) -> Result<Vec<Answer>, Error> {
        Err(Error::cannot("read"))
    }

    async fn find(&self, _: &Query, _: &[String]) -> Result<Page, Error> {
        Err(Error::cannot("searched"))
    }

    async fn push(&self, push: &Push) -> Result<(), Error> {
        let key = &push.remote.key;
        if push.remote.property.is_some() {
            let message = format!(
                "secret {key:?} can't be read, so that nothing can be written into what is there: push it without a property"
            );
            return Err(Error::invalid(message).with_blame(Blame::Request));
        }
        let said: Described = push.remote.metadata_spec(&["description", "metadata"])?;
        let value = push.payload.whole()?;
        let metadata = metadata(said.metadata.unwrap_or_default(), &value);
        let description = filled(said.description).unwrap_or_else(|| DESCRIPTION.to_owned());
        let vault = self.vault().await?;
        let body = Object::new()
            .text("value", object::text(&value)?)
            .text("metadata", object::text(&metadata)?)
            .text("description", &description);
        let call = match self.in_vault(&vault, key).await? {
            Some(id) => {
                Call::send("UpdateSecret", Method::PATCH, format!("vault_secrets/{}", segment(&id)?), body.done())
            }
            None => {
                let body = body.text("name", key).text("vault_id", &vault);
                Call::send("CreateSecret", Method::POST, "vault_secrets", body.done())
            }
        };
        self.access.ask(&call, &format!("secret {key:?}")).await.map(drop)
    }

    async fn delete(&self, remote: &Remote, _: Reach) -> Result<(), Error> {
        // None was ever pushed.
        if remote.property.is_some() {
            return Ok(());
        }
        let Some(id) = self.secret(&remote.key).await? else { return Ok(()) };
        let path = format!("vault_secrets/{}", segment(&id)?);
        let call = Call { method: Method::DELETE, ..Call::get("DeleteSecret", path) };
        match self.access.ask(&call, &format!("secret {:?}", remote.key)).await {
            // Somebody was faster.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            done => done.map(drop),
        }
    }

    async fn exists(&self, remote: &Remote) -> Result<bool, Error> {
        Ok(remote.property.is_none() && self.secret(&remote.key).await?.is_some())
    }

    async fn validate(&self) -> Result<(), Error> {
        self.vault().await.map(drop)
    }

    fn identity_note(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_hold_the_hash_of_the_value() {
        let said = [("team".to_owned(), "a".to_owned()), (HASH.to_owned(), "forged".to_owned())].into();
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let expected = format!(r#"{{"_sha256":"{hash}","team":"a"}}"#);
        assert_eq!(metadata(said, &"abc".into()).expose_str(), Some(expected.as_str()));
    }
}
