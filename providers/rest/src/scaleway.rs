//! Scaleway Secret Manager: secrets of one project in one region, by `id:`, `name:` or `path:`.
//!
//! Built from the vendor's documents, and unproven: no client of theirs has spoken to our double.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_provider_core::{
    Answer, Blame, BuildContext, BuildFuture, Capabilities, Credentials, Dialect, Error, ErrorKind, Fetched, Key,
    Metadata, Page, PropertyLookup, Query, Registration, SecretBytes, filled, json, one_by_one,
};
use keyferry_provider_http::{Ca, Fields, server_url};
use keyferry_provider_session::{Grant, Life, Source};
use reqwest::Method;
use reqwest::header::HeaderName;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::{Call, Client, Response, Said, Vendor, segment};
use crate::config::{self, Given, needed, needed_text};
use crate::login::{Access, Pass};
use crate::object::{self, Object, base64};
use crate::store::{Found, Rest, Store, UNPROVEN, bears, place, placed};

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "scaleway", capabilities: |_| CAPABILITIES, maintained: true, build };

const CAPABILITIES: Capabilities = Capabilities {
    versions: true,
    metadata: Metadata::PassedOver,
    find_by_name: true,
    find_by_path: true,
    find_by_tags: true,
    push: true,
    delete: true,
    ..Capabilities::READ_ONLY
};

const VENDOR: Vendor = Vendor {
    name: "Scaleway",
    metric: "Scaleway",
    fields: Fields {
        server: "spec.provider.scaleway.apiUrl",
        ca: "the certificates of the system",
        identity: "spec.provider.scaleway",
    },
    login: "spec.provider.scaleway.secretKey",
    says,
};

const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// How many secrets are on a page.
const PAGE: usize = 50;

/// What is read where no version is named.
const LATEST: &str = "latest_enabled";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    api_url: Option<String>,
    region: Option<String>,
    project_id: Option<String>,
    access_key: Option<Given>,
    secret_key: Option<Given>,
}

/// The key that logs in.
struct ApiKey {
    credentials: Arc<dyn Credentials>,
    key: Given,
}

#[async_trait]
impl Source<Pass> for ApiKey {
    async fn get(&self) -> Result<Grant<Pass>, Error> {
        let key = self.key.text(&*self.credentials, VENDOR.login).await?;
        Ok(Grant { value: Pass::header(TOKEN, "", &key, VENDOR.login)?, life: Life::ENDLESS })
    }
}

/// The secrets of one project.
struct Scaleway {
    access: Access,
    /// The path of the region, below which all else is.
    region: String,
    project: String,
}

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move {
        let spec: Spec = config::read(spec, "scaleway")?;
        let url = filled(spec.api_url).unwrap_or_else(|| "https://api.scaleway.com".to_owned());
        let server = server_url(&url, VENDOR.fields.server, "https://api.scaleway.com")?;
        let field = "spec.provider.scaleway.region";
        let region = segment(&needed_text(spec.region, field)?);
        let region = region.map_err(|error| error.context(field).with_blame(Blame::Spec))?;
        let project = needed_text(spec.project_id, "spec.provider.scaleway.projectId")?;
        // The id of the key is never sent; a spec without it is no good in External Secrets Operator either.
        needed(spec.access_key, "spec.provider.scaleway.accessKey")?;
        let key = needed(spec.secret_key, VENDOR.login)?;
        let client = Arc::new(Client::new(&VENDOR, server, &Ca::System, &ctx).await?);
        let access = Access::new(client, ApiKey { credentials: ctx.credentials.clone(), key }).await?;
        let region = format!("secret-manager/v1beta1/regions/{region}");
        Ok(Rest::provider(Scaleway { access, region, project }))
    })
}

/// `{"type": "not_found", "resource": "secret", ...}`.
fn says(answer: &Response) -> Option<Said> {
    let is_secret = answer.word(&["resource"])? == "secret" && answer.word(&["type"])? == "not_found";
    (answer.status == 404 && is_secret).then_some(Said::NoSecret)
}

/// What a key names.
#[derive(Debug, PartialEq, Eq)]
enum Named<'a> {
    Id(&'a str),
    /// The first of this name, in any folder.
    Name(&'a str),
    /// A folder, and a name in it.
    Path(&'a str, &'a str),
}

impl<'a> Named<'a> {
    fn of(key: &'a str) -> Result<Self, Error> {
        let wrong = || {
            let message = format!("the key {key:?} must begin with id:, name: or path:/");
            Error::invalid(message).with_blame(Blame::Request)
        };
        let (kind, value) = key.split_once(':').filter(|(_, value)| !value.is_empty()).ok_or_else(wrong)?;
        match (kind, value.rsplit_once('/')) {
            ("id", _) => Ok(Self::Id(value)),
            ("name", _) => Ok(Self::Name(value)),
            ("path", Some(("", name))) if !name.is_empty() => Ok(Self::Path("/", name)),
            ("path", Some((folder, name))) if folder.starts_with('/') && !name.is_empty() => {
                Ok(Self::Path(folder, name))
            }
            _ => Err(wrong()),
        }
    }

    /// The query that lists it.
    fn query(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Id(_) => Vec::new(),
            Self::Name(name) => vec![("name", (*name).to_owned())],
            Self::Path(folder, name) => vec![("name", (*name).to_owned()), ("path", (*folder).to_owned())],
        }
    }
}

/// What a list tells of a secret.
#[derive(Debug, PartialEq, Eq)]
struct Listed {
    id: String,
    name: String,
    folder: String,
    tags: Vec<String>,
}

/// Reads `{"secrets": [{"id": "...", "name": "...", "path": "...", "tags": [...]}], "total_count": 1}`.
fn listed(body: &SecretBytes) -> Option<(Vec<Listed>, usize)> {
    let text = |raw: &RawValue| json::to_bytes(raw).expose_str().map(str::to_owned);
    let secret = |raw: &RawValue| {
        let fields = json::object(raw.get().as_bytes())?;
        let tags = match fields.get("tags") {
            Some(tags) if tags.get() != "null" => json::array(tags.get().as_bytes())?.into_iter().map(text).collect(),
            _ => Some(Vec::new()),
        };
        let folder = fields.get("path").and_then(|folder| text(folder)).filter(|folder| !folder.is_empty());
        let (id, name) = (text(fields.get("id")?)?, text(fields.get("name")?)?);
        Some(Listed { id, name, folder: folder.unwrap_or_else(|| "/".to_owned()), tags: tags? })
    };
    let fields = json::object(body.expose())?;
    let secrets =
        json::array(fields.get("secrets")?.get().as_bytes())?.into_iter().map(secret).collect::<Option<_>>()?;
    Some((secrets, fields.get("total_count")?.get().parse().ok()?))
}

fn no_secret(what: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no {what}"))
}

/// What is read by its name and not in the list: that shows what the key may see, and does not say that it is all.
fn not_listed(what: &str) -> Error {
    let message =
        format!("there is no {what}, or the API key may not see it: check its name, and what the key is allowed");
    Error::new(ErrorKind::Denied, message)
}

impl Scaleway {
    async fn list(&self, query: Vec<(&'static str, String)>) -> Result<(Vec<Listed>, usize), Error> {
        let call = Call::get("ListSecrets", format!("{}/secrets", self.region)).with(query);
        let call = call.with([("project_id", self.project.clone())]);
        let answer = self.access.ask(&call, "the list of secrets").await?;
        listed(&answer.body).ok_or_else(|| self.access.client().malformed(&answer))
    }

    /// The id of a secret, where there is one.
    async fn id(&self, named: &Named<'_>) -> Result<Option<String>, Error> {
        if let Named::Id(id) = named {
            return Ok(Some((*id).to_owned()));
        }
        Ok(self.bearing(named, 1).await?.into_iter().next())
    }

    /// The same of what is to be changed, which must be no other's: the only one of its name.
    async fn only(&self, key: &str) -> Result<Option<String>, Error> {
        let mut found = self.bearing(&writable(key)?, 2).await?;
        if found.len() > 1 {
            let message = format!("several folders have a secret {key:?}: name the one that is meant by path:");
            return Err(Error::invalid(message).with_blame(Blame::Request));
        }
        Ok(found.pop())
    }

    /// The ids of the first secrets that are named so, at most so many.
    async fn bearing(&self, named: &Named<'_>, most: usize) -> Result<Vec<String>, Error> {
        let first = [("page", "1".to_owned()), ("page_size", most.to_string())];
        let (secrets, _) = self.list(named.query().into_iter().chain(first).collect()).await?;
        Ok(secrets.into_iter().map(|secret| secret.id).collect())
    }

    async fn read(&self, key: &Key) -> Answer {
        let what = format!("secret {:?}", key.name);
        let (id, version) = match place(key) {
            Some(id) => (id.to_owned(), None),
            None => {
                let id = self.id(&Named::of(&key.name)?).await?.ok_or_else(|| not_listed(&what))?;
                (id, key.version.as_deref().filter(|version| !version.is_empty()))
            }
        };
        self.read_id(&id, version, &what).await
    }

    async fn read_id(&self, id: &str, version: Option<&str>, what: &str) -> Answer {
        let is_one = |version: &str| version.parse::<u32>().is_ok() || matches!(version, "latest" | LATEST);
        let secret = format!("{}/secrets/{}", self.region, segment(id)?);
        if version.is_none_or(is_one) {
            let path = format!("{secret}/versions/{}/access", version.unwrap_or(LATEST));
            let answer = self.access.send(&Call::get("AccessSecretVersion", path)).await?;
            if answer.is_good() {
                return value(&answer.body).ok_or_else(|| self.access.client().malformed(&answer));
            }
            if answer.status != 404 {
                return Err(self.access.client().refusal(&answer, &what));
            }
        }
        // What is not there, the secret or the version, is told by the secret alone.
        self.access.ask(&Call::get("GetSecret", secret), what).await?;
        let message = match version {
            Some(_) => {
                format!("there is no such version of {what}: without a version the last that is enabled is read")
            }
            None => format!("{what} has no version that is enabled"),
        };
        Err(Error::new(ErrorKind::NoVersion, message))
    }
}

/// Reads `{"revision": 1, "data": "base64"}`.
fn value(body: &SecretBytes) -> Option<Fetched> {
    let fields = json::object(body.expose())?;
    let data = STANDARD.decode(json::to_bytes(fields.get("data")?).expose()).ok()?;
    let revision = fields.get("revision")?.get().to_owned();
    Some(Fetched::from(SecretBytes::new(data)).of_version(Some(revision)))
}

/// What can be written: an id is given by the server.
fn writable(key: &str) -> Result<Named<'_>, Error> {
    match Named::of(key)? {
        Named::Id(_) => {
            Err(Error::invalid("secrets are pushed by name: or path:, and not by id:").with_blame(Blame::Request))
        }
        named => Ok(named),
    }
}

#[async_trait]
impl Store for Scaleway {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn dialect(&self) -> Dialect {
        Dialect { property: PropertyLookup::DottedKeyThenPath, ..Dialect::default() }
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        one_by_one(keys, |key| self.read(key)).await
    }

    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error> {
        let page = at.first().map_or("1", String::as_str);
        let (secrets, total) = self.list(vec![("page", page.to_owned()), ("page_size", PAGE.to_string())]).await?;
        let number = page.parse::<usize>().unwrap_or(1);
        let more = !secrets.is_empty() && number * PAGE < total;
        let below = query.path().map(|path| format!("/{}/", path.trim_matches('/')).replace("//", "/"));
        let fits = |secret: &Listed| {
            let folder = format!("{}/", secret.folder.trim_end_matches('/'));
            query.matches(&secret.name)
                && below.as_deref().is_none_or(|below| folder.starts_with(below))
                && query.tags.iter().all(|(name, value)| bears(&secret.tags, name, value) || secret.tags.contains(name))
        };
        let keys = secrets.into_iter().filter(fits).map(|secret| placed(secret.name, &secret.id)).collect();
        Ok(Page { keys, next: more.then(|| (number + 1).to_string()).into_iter().collect() })
    }

    async fn look(&self, name: &str) -> Result<Option<Found>, Error> {
        let Some(id) = self.only(name).await? else { return Ok(None) };
        let value = match self.read_id(&id, None, &format!("secret {name:?}")).await {
            // It was made, and its first version is still to come.
            Err(error) if error.kind() == ErrorKind::NoVersion => SecretBytes::default(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            fetched => fetched?.value,
        };
        Ok(Some(Found { value, is_ours: true }))
    }

    async fn write(&self, key: &str, value: &SecretBytes, _: Option<&Found>) -> Result<(), Error> {
        let (named, what) = (writable(key)?, format!("secret {key:?}"));
        let id = match self.only(key).await? {
            Some(id) => id,
            None => {
                let (folder, name) = match named {
                    Named::Path(folder, name) => (folder, name),
                    Named::Name(name) | Named::Id(name) => ("/", name),
                };
                let body = Object::new().text("project_id", &self.project).text("name", name).text("path", folder);
                let path = format!("{}/secrets", self.region);
                let answer =
                    self.access.ask(&Call::send("CreateSecret", Method::POST, path, body.done()), &what).await?;
                answer.word(&["id"]).ok_or_else(|| self.access.client().malformed(&answer))?
            }
        };
        let body = Object::new().text("data", object::text(&base64(value))?).json("disable_previous", "true");
        let path = format!("{}/secrets/{}/versions", self.region, segment(&id)?);
        self.access.ask(&Call::send("CreateSecretVersion", Method::POST, path, body.done()), &what).await.map(drop)
    }

    async fn remove(&self, key: &str) -> Result<(), Error> {
        let what = format!("secret {key:?}");
        let id = self.only(key).await?.ok_or_else(|| no_secret(&what))?;
        let path = format!("{}/secrets/{}", self.region, segment(&id)?);
        let call = Call { method: Method::DELETE, ..Call::get("DeleteSecret", path) };
        self.access.ask(&call, &what).await.map(drop)
    }

    async fn validate(&self) -> Result<(), Error> {
        self.list(vec![("page", "1".to_owned()), ("page_size", "1".to_owned())]).await.map(drop)
    }

    fn note(&self) -> Option<String> {
        Some(UNPROVEN.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_what_it_names() {
        for (key, expected) in [
            ("id:x", Named::Id("x")),
            ("name:a/b", Named::Name("a/b")),
            ("path:/a", Named::Path("/", "a")),
            ("path:/a/b/c", Named::Path("/a/b", "c")),
        ] {
            assert_eq!(Named::of(key).unwrap(), expected);
        }
        for wrong in ["x", "path:a", "path:/", "path:/a/", "name:", "other:x", ""] {
            assert_eq!(Named::of(wrong).unwrap_err().blame(), Blame::Request, "{wrong}");
        }
    }

    #[test]
    fn what_is_no_list_is_none() {
        for body in ["", "{}", r#"{"secrets":[{}],"total_count":1}"#, r#"{"secrets":[]}"#] {
            assert_eq!(listed(&body.into()), None, "{body}");
        }
        assert_eq!(value(&r#"{"revision":3,"data":"YQ=="}"#.into()).unwrap().version.as_deref(), Some("3"));
        assert_eq!(value(&r#"{"revision":3,"data":"?"}"#.into()), None);
    }
}
