//! OVHcloud Secret Manager: JSON objects by their paths, with versions, in a domain of the Key Management Service.
//!
//! Built from the vendor's documents, and unproven: no client of theirs has spoken to our double.

use std::sync::Arc;

use async_trait::async_trait;
use keyferry_provider_core::{
    Answer, Blame, BuildContext, BuildFuture, CaRef, Capabilities, Credentials, Error, ErrorKind, Fetched, Gathered,
    Key, Metadata, Origin, Page, Payload, Query, Registration, SecretBytes, SecretRef, json, one_by_one,
};
use keyferry_provider_http::path::clean;
use keyferry_provider_http::{Ca, Fields, identity, server_url};
use keyferry_provider_session::{Grant, Life, Source};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::{Call, Client, Response, Said, Vendor, segment};
use crate::config::{self, needed, needed_text};
use crate::login::{Access, Kept, Pass};
use crate::object::{self, Object};
use crate::store::{Found, Rest, Store, UNPROVEN};

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "ovh", capabilities: |_| CAPABILITIES, maintained: true, build };

const CAPABILITIES: Capabilities = Capabilities {
    versions: true,
    metadata: Metadata::Refused,
    find_by_name: true,
    find_by_path: true,
    find_all: true,
    push: true,
    delete: true,
    ..Capabilities::READ_ONLY
};

const VENDOR: Vendor = Vendor {
    name: "OVHcloud's Key Management Service",
    metric: "OVH/SecretManager",
    fields: Fields {
        server: "spec.provider.ovh.server",
        ca: "spec.provider.ovh.caBundle or caProvider",
        identity: "spec.provider.ovh.auth.mtls",
    },
    login: "spec.provider.ovh.auth",
    says,
};

/// The code of a secret that is not there.
const NO_SECRET: u64 = 17_125_377;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    server: Option<String>,
    okmsid: Option<String>,
    cas_required: Option<bool>,
    auth: Option<Auth>,
    ca_bundle: Option<String>,
    ca_provider: Option<CaRef>,
}

#[derive(Deserialize)]
struct Auth {
    mtls: Option<Mtls>,
    token: Option<Token>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mtls {
    cert_secret_ref: Option<SecretRef>,
    key_secret_ref: Option<SecretRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    token_secret_ref: Option<SecretRef>,
}

/// The secrets of one domain.
struct Ovh {
    access: Access,
    /// The id of the domain, encoded.
    domain: String,
    /// Whether a write says which version it is to follow.
    names_version: bool,
}

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move {
        let spec: Spec = config::read(spec, "ovh")?;
        let url = needed_text(spec.server, VENDOR.fields.server)?;
        let server = server_url(&url, VENDOR.fields.server, "https://eu-west-rbx.okms.ovh.net")?;
        let domain = needed_text(spec.okmsid, "spec.provider.ovh.okmsid")?;
        let domain = segment(&domain).map_err(|error| error.context("spec.provider.ovh.okmsid"))?;
        let ca = Ca::new(spec.ca_bundle, spec.ca_provider, "spec.provider.ovh")?;
        let access = match needed(spec.auth, VENDOR.login)? {
            Auth { mtls: Some(_), token: Some(_) } => {
                return Err(Error::invalid(format!("{} has both mtls and token: keep one of them", VENDOR.login)));
            }
            Auth { mtls: None, token: None } => {
                return Err(Error::invalid(format!("{} needs mtls or token", VENDOR.login)));
            }
            Auth { mtls: None, token: Some(token) } => {
                let field = "spec.provider.ovh.auth.token.tokenSecretRef";
                let client = Arc::new(Client::new(&VENDOR, server, &ca, &ctx).await?);
                let (credentials, reference) = (ctx.credentials.clone(), needed(token.token_secret_ref, field)?);
                let pass = |token: &SecretBytes, field: &str| Pass::header(AUTHORIZATION, "Bearer ", token, field);
                Access::new(client, Kept { credentials, reference, default_key: None, field, pass }).await?
            }
            Auth { mtls: Some(mtls), token: None } => {
                let shown = certificate(&*ctx.credentials, mtls).await?;
                let client = Client::showing(&VENDOR, server, &ca, Some(shown), &ctx).await?;
                Access::new(Arc::new(client), Certificate).await?
            }
        };
        Ok(Rest::provider(Ovh { access, domain, names_version: spec.cas_required == Some(true) }))
    })
}

/// The certificate that is shown, with its key.
async fn certificate(credentials: &dyn Credentials, mtls: Mtls) -> Result<reqwest::Identity, Error> {
    let read = async |reference: Option<SecretRef>, name: &str| {
        let field = format!("{}.{name}", VENDOR.fields.identity);
        config::secret(credentials, &needed(reference, &field)?, None, &field).await
    };
    let cert = read(mtls.cert_secret_ref, "certSecretRef").await?;
    let key = read(mtls.key_secret_ref, "keySecretRef").await?;
    identity(&cert, &key, VENDOR.fields.identity)
}

/// Of whom the connection shows a certificate, calls carry nothing.
struct Certificate;

#[async_trait]
impl Source<Pass> for Certificate {
    async fn get(&self) -> Result<Grant<Pass>, Error> {
        Ok(Grant { value: Pass::Headers(HeaderMap::new()), life: Life::ENDLESS })
    }
}

/// `{"error_code": 17125377, "error_id": "...", "errors": ["..."], "request_id": "..."}`. The code is made of parts, of which
/// one tells what kind of error it is.
fn says(answer: &Response) -> Option<Said> {
    let code = code(answer)?;
    match ((code >> 12) & 0xf, answer.status) {
        (4, 400..500) => Some(Said::Other(
            ErrorKind::Denied,
            "the policies of OVHcloud do not allow it: grant the action to whom we log in as",
        )),
        (5, 404) if code == NO_SECRET => Some(Said::NoSecret),
        _ => None,
    }
}

fn code(answer: &Response) -> Option<u64> {
    object::at(answer.body.expose(), &["error_code"])?.get().parse().ok()
}

/// A secret as the server shows it.
struct Shown {
    value: SecretBytes,
    version: Option<String>,
}

/// Reads `{"path": "...", "metadata": {...}, "version": {"id": 3, "data": {...}}}`.
fn shown(body: &SecretBytes) -> Option<Option<Shown>> {
    let version = json::object(object::at(body.expose(), &["version"])?.get().as_bytes())?;
    let Some(data) = version.get("data").filter(|data| data.get() != "null") else { return Some(None) };
    json::object(data.get().as_bytes())?;
    let number = version.get("id").map(|id| id.get().to_owned());
    Some(Some(Shown { value: json::canonical(data)?, version: number }))
}

impl Ovh {
    fn path(&self, name: &str) -> Result<String, Error> {
        Ok(format!("api/{}/v2/secret/{}", self.domain, segment(name)?))
    }

    async fn read(&self, key: &Key) -> Answer {
        let what = format!("secret {:?}", key.name);
        if key.metadata {
            let message = format!("{what} has no metadata that can be read: leave metadataPolicy out");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let version = key.version.as_deref().filter(|version| !version.is_empty());
        let question = Call::get("GetSecret", self.path(&key.name)?).with([("includeData", "true".to_owned())]);
        let no_version = |message: String| Err(Error::new(ErrorKind::NoVersion, message));
        if version.is_none_or(|version| version.parse::<u32>().is_ok_and(|number| number > 0)) {
            let asked = Call { query: question.query.clone(), ..Call::get("GetSecret", question.path.clone()) };
            let asked = asked.with(version.map(|version| ("version", version.to_owned())));
            let answer = self.access.send(&asked).await?;
            if answer.is_good() {
                let Some(shown) = shown(&answer.body).ok_or_else(|| self.access.client().malformed(&answer))? else {
                    return no_version(format!("{what} has no data in this version: it is deactivated or deleted"));
                };
                return Ok(Fetched::from(shown.value).of_version(shown.version));
            }
            if version.is_none() || !matches!(answer.status, 400 | 404) || code(&answer).is_none() {
                return Err(self.access.client().refusal(&answer, &what));
            }
        }
        // What is not there, the secret or the version, is told by the secret alone.
        self.access.ask(&Call::get("GetSecret", question.path), &what).await?;
        no_version(format!(
            "there is no such version of {what}: versions are numbers from 1, and without one the last is read"
        ))
    }

    /// What is at this path: a folder's own name ends with a slash.
    async fn list(&self, folder: &str, query: &Query, page: &mut Gathered) -> Result<(), Error> {
        let encoded = if folder.is_empty() { String::new() } else { segment(folder.trim_end_matches('/'))? };
        let path = format!("api/{}/v1/secret/metadata/{encoded}", self.domain);
        let answer = self.access.send(&Call::get("ListSecrets", path).with([("list", "true".to_owned())])).await?;
        // There is nothing below it.
        if answer.status == 404 && code(&answer).is_some_and(|code| (code >> 12) & 0xf == 5) {
            return Ok(());
        }
        if !answer.is_good() {
            return Err(self.access.client().refusal(&answer, &"the list of secrets"));
        }
        let names = listed(&answer.body).ok_or_else(|| self.access.client().malformed(&answer))?;
        for name in names.into_iter().filter(|name| !name.is_empty() && !name.starts_with('/')) {
            let name = format!("{folder}{name}");
            if name.ends_with('/') {
                page.open(name)?;
            } else if query.matches(&name) {
                page.found(name)?;
            }
        }
        Ok(())
    }
}

/// Reads `{"data": {"keys": ["a", "folder/"]}}`.
fn listed(body: &SecretBytes) -> Option<Vec<String>> {
    let data = object::at(body.expose(), &["data"])?;
    let keys = match json::object(data.get().as_bytes())?.get("keys") {
        Some(keys) if keys.get() != "null" => json::array(keys.get().as_bytes())?,
        _ => Vec::new(),
    };
    let text = |raw: &RawValue| json::to_bytes(raw).expose_str().map(str::to_owned);
    keys.into_iter().map(text).collect()
}

/// A value as it is kept in an object: JSON as it is, all else as text.
fn field(object: Object, name: &str, value: &SecretBytes) -> Result<Object, Error> {
    match json::value(value.expose()).and_then(json::canonical) {
        Some(json) => Ok(object.nested(name, &json)),
        None => Ok(object.text(name, object::text(value)?)),
    }
}

#[async_trait]
impl Store for Ovh {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        one_by_one(keys, |key| self.read(key)).await
    }

    /// A folder is a call.
    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error> {
        let mut left = at.to_vec();
        let folder = match (left.pop(), query.path()) {
            (Some(folder), _) => folder,
            (None, Some(path)) => format!("{}/", clean(path)?),
            (None, None) => String::new(),
        };
        let mut page = Gathered::default();
        left.into_iter().try_for_each(|name| page.open(name))?;
        self.list(folder.trim_start_matches('/'), query, &mut page).await?;
        Ok(page.into())
    }

    async fn look(&self, name: &str) -> Result<Option<Found>, Error> {
        let key = Key { name: name.to_owned(), version: None, metadata: false };
        match self.read(&key).await {
            Ok(Fetched { value, version, .. }) => Ok(Some(Found { version, ..Found::unmarked(value) })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            // It is there, and its last version has no data: the next one is written all the same.
            Err(error) if error.kind() == ErrorKind::NoVersion => Ok(Some(Found::unmarked(SecretBytes::default()))),
            Err(error) => Err(error),
        }
    }

    /// An object: of one value under the key of the Secret that it is of, of several under theirs.
    fn whole(&self, payload: &Payload, origin: &Origin) -> Result<SecretBytes, Error> {
        let object = match payload {
            Payload::Value(value) => field(Object::new(), origin.key.as_deref().unwrap_or("value"), value)?,
            Payload::Fields(fields) => {
                fields.iter().try_fold(Object::new(), |object, (name, value)| field(object, name, value))?
            }
        };
        let object = object.done();
        json::value(object.expose()).and_then(json::canonical).ok_or_else(|| {
            Error::invalid("what is pushed can't be written as JSON, which is all that OVHcloud keeps")
                .with_blame(Blame::Request)
        })
    }

    async fn write(&self, name: &str, value: &SecretBytes, there: Option<&Found>) -> Result<(), Error> {
        let version = Object::new().nested("data", value).done();
        let call = match there {
            Some(there) => {
                let cas = there.version.clone().filter(|_| self.names_version).map(|version| ("cas", version));
                let body = Object::new().nested("version", &version).done();
                Call::send("UpdateSecret", Method::PUT, self.path(name)?, body).with(cas)
            }
            None => {
                let body = Object::new().text("path", name).nested("version", &version).done();
                Call::send("CreateSecret", Method::POST, format!("api/{}/v2/secret", self.domain), body)
            }
        };
        self.access.ask(&call, &format!("secret {name:?}")).await.map(drop)
    }

    async fn remove(&self, name: &str) -> Result<(), Error> {
        let call = Call { method: Method::DELETE, ..Call::get("DeleteSecret", self.path(name)?) };
        self.access.ask(&call, &format!("secret {name:?}")).await.map(drop)
    }

    /// The names at the root, of which most may be out of sight: what counts is that we are known.
    async fn validate(&self) -> Result<(), Error> {
        match self.list("", &Query::default(), &mut Gathered::default()).await {
            // Secrets may well be read by name where they may not be listed.
            Err(error) if error.kind() == ErrorKind::Denied => Ok(()),
            done => done,
        }
    }

    fn note(&self) -> Option<String> {
        Some(UNPROVEN.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_are_an_object_or_not_there() {
        let found = |body: &str| shown(&body.into());
        let one = found(r#"{"version":{"id":3,"data":{"b":1.50,"a":"x"}}}"#).unwrap().unwrap();
        assert_eq!((one.value.expose_str(), one.version.as_deref()), (Some(r#"{"a":"x","b":1.50}"#), Some("3")));
        assert!(found(r#"{"version":{"id":3}}"#).unwrap().is_none());
        for body in ["", "{}", r#"{"version":{"data":"x"}}"#, r#"{"version":[]}"#] {
            assert!(found(body).is_none(), "{body}");
        }
    }

    #[test]
    fn what_is_json_is_kept_as_it_is() {
        let kept =
            |value: &str| field(Object::new(), "k", &value.into()).unwrap().done().expose_str().unwrap().to_owned();
        for (value, expected) in [("v", r#"{"k":"v"}"#), (r#"{"a":1}"#, r#"{"k":{"a":1}}"#), ("12", r#"{"k":12}"#)] {
            assert_eq!(kept(value), expected);
        }
        assert!(field(Object::new(), "k", &SecretBytes::new(vec![0xff])).is_err());
    }

    #[test]
    fn a_list_is_names() {
        assert_eq!(listed(&r#"{"data":{"keys":["a","b/"]}}"#.into()).unwrap(), ["a", "b/"]);
        assert_eq!(listed(&r#"{"data":{}}"#.into()).unwrap(), Vec::<String>::new());
        assert_eq!((listed(&"{}".into()), listed(&r#"{"data":{"keys":{}}}"#.into())), (None, None));
    }
}
