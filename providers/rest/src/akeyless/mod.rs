//! Akeyless: static, dynamic and rotated secrets, and certificates.
//!
//! Most secrets are static, so that a value is asked for as one; what the item is, and whether there is one at all, is asked
//! only where there is no such value. So a static secret costs one call, and everything else three.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyferry_provider_core::{
    Answer, Blame, BuildContext, BuildFuture, Capabilities, Dialect, Error, ErrorKind, Fetched, Key, Metadata, Page,
    PropertyLookup, Query, Registration, SecretBytes, json, one_by_one,
};
use keyferry_provider_http::Fields;
use reqwest::Method;
use serde_json::value::RawValue;

use crate::client::{Call, Client, Response, Said, Vendor};
use crate::login::Access;
use crate::object::{self, Object, texts};
use crate::store::{Found, Rest, Store, bears, note_of_login};

mod config;
mod login;

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "akeyless", capabilities: |_| CAPABILITIES, maintained: true, build };

const CAPABILITIES: Capabilities = Capabilities {
    versions: true,
    metadata: Metadata::PassedOver,
    find_by_name: true,
    find_by_path: true,
    find_by_tags: true,
    push: true,
    delete: true,
    marks: true,
    ..Capabilities::READ_ONLY
};

const VENDOR: Vendor = Vendor {
    name: "Akeyless",
    metric: "AKEYLESSLESS/SecretsManager",
    fields: Fields {
        server: "spec.provider.akeyless.akeylessGWApiURL",
        ca: "spec.provider.akeyless.caBundle or caProvider",
        identity: "spec.provider.akeyless",
    },
    login: "spec.provider.akeyless.authSecretRef",
    says,
};

/// The tag of what we wrote, as External Secrets Operator has it.
const OURS: &str = "k8s-external-secrets";

/// What a search finds; certificates are read by name only, as in External Secrets Operator.
const FOUND: [&str; 3] = ["static-secret", "dynamic-secret", "rotated-secret"];

/// `{"error": "..."}`. What is called so by nothing else but an item is an item.
fn says(answer: &Response) -> Option<Said> {
    (answer.status == 404 && answer.word(&["error"]).is_some()).then_some(Said::NoSecret)
}

/// The items that one login may see.
struct Akeyless {
    access: Access,
    /// Whether a gateway is to ask for values anew.
    ignores_cache: bool,
    note: Option<String>,
}

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move {
        let config = config::Config::new(spec)?;
        let server = login::api_of(&config, &ctx).await?;
        let client = Arc::new(Client::new(&VENDOR, server, &config.ca, &ctx).await?);
        let source = login::Login::new(client.clone(), config.auth, &ctx);
        let (is_own, is_proven) = source.standing().await?;
        let note = note_of_login(is_own, is_proven);
        let access = Access::new(client, source).await?;
        Ok(Rest::provider(Akeyless { access, ignores_cache: config.ignores_cache, note }))
    })
}

/// What is known of an item without its value.
#[derive(Debug, PartialEq, Eq)]
struct Item {
    name: String,
    kind: String,
    tags: Vec<String>,
}

impl Item {
    fn of(raw: &[u8]) -> Option<Self> {
        let fields = json::object(raw)?;
        let text = |raw: &RawValue| json::to_bytes(raw).expose_str().map(str::to_owned);
        let tags = match fields.get("item_tags") {
            Some(tags) if tags.get() != "null" => {
                json::array(tags.get().as_bytes())?.into_iter().map(text).collect::<Option<_>>()?
            }
            _ => Vec::new(),
        };
        let kind = fields.get("item_type").and_then(|kind| text(kind)).unwrap_or_default();
        Some(Self { name: text(fields.get("item_name")?)?, kind, tags })
    }
}

impl Akeyless {
    async fn post(&self, name: &'static str, path: &'static str, body: Object) -> Result<Response, Error> {
        self.access.send(&Call::send(name, Method::POST, path, body.done())).await
    }

    /// A body about a value of an item.
    fn about(&self, version: Option<u32>) -> Object {
        let version = version.map(|version| version.to_string());
        let body = version.iter().fold(Object::new(), |body, version| body.json("version", version));
        body.maybe("ignore-cache", self.ignores_cache.then_some("true"))
    }

    async fn read(&self, key: &Key) -> Answer {
        let what = format!("item {:?}", key.name);
        let asked = key.version.as_deref().filter(|version| !version.is_empty());
        let version = match asked.map(str::parse::<u32>) {
            None => None,
            Some(Ok(version)) if version > 0 => Some(version),
            // Nothing has such a version; only the server knows whether there is anything.
            Some(_) => return Err(self.describe(&key.name).await.err().unwrap_or_else(|| no_version(&what))),
        };
        let names = texts([key.name.as_str()]);
        let body = self.about(version).nested("names", &names);
        let answer = self.post("GetSecretValue", "get-secret-value", body).await?;
        if answer.is_good() {
            let value = only(&answer.body, &key.name).ok_or_else(|| self.access.client().malformed(&answer))?;
            return Ok(Fetched::from(value).of_version(version.map(|version| version.to_string())));
        }
        if !matches!(answer.status, 400 | 404) {
            return Err(self.access.client().refusal(&answer, &what));
        }
        let item = self.describe(&key.name).await?;
        match item.kind.as_str() {
            "STATIC_SECRET" if version.is_some() => Err(no_version(&what)),
            "STATIC_SECRET" => match self.access.client().refusal(&answer, &what) {
                // It is there: somebody made it in between.
                error if error.kind() == ErrorKind::NotFound => {
                    Err(Error::new(ErrorKind::Unavailable, format!("{what} was changed by somebody else meanwhile")))
                }
                error => Err(error),
            },
            kind => self.read_other(&key.name, kind, version, &what).await,
        }
    }

    /// An item that is no static secret.
    async fn read_other(&self, name: &str, kind: &str, version: Option<u32>, what: &str) -> Answer {
        let (call, path, body) = match kind {
            "DYNAMIC_SECRET" => {
                ("GetDynamicSecretsValue", "get-dynamic-secret-value", Object::new().text("name", name))
            }
            "ROTATED_SECRET" => {
                ("GetRotatedSecretValue", "get-rotated-secret-value", self.about(version).text("names", name))
            }
            "CERTIFICATE" => ("GetCertificateValue", "get-certificate-value", self.about(version).text("name", name)),
            _ => {
                let message =
                    format!("{what} is of a kind that holds nothing to read: what does are secrets and certificates");
                return Err(Error::invalid(message).with_blame(Blame::Request));
            }
        };
        let answer = self.post(call, path, body).await?;
        if !answer.is_good() {
            return Err(match self.access.client().refusal(&answer, &what) {
                error if error.kind() == ErrorKind::NotFound && version.is_some() => no_version(what),
                // The item was there a moment ago.
                error => error.no_reason_to_delete(),
            });
        }
        let value = if kind == "ROTATED_SECRET" { rotated(&answer.body) } else { canonical(answer.body.expose()) };
        let value = value.ok_or_else(|| self.access.client().malformed(&answer))?;
        Ok(Fetched::from(value).of_version(version.map(|version| version.to_string())))
    }

    /// An item without its value; that there is none is `NotFound`.
    async fn describe(&self, name: &str) -> Result<Item, Error> {
        let answer = self.post("DescribeItem", "describe-item", Object::new().text("name", name)).await?;
        if !answer.is_good() {
            return Err(self.access.client().refusal(&answer, &format!("item {name:?}")));
        }
        Item::of(answer.body.expose()).ok_or_else(|| self.access.client().malformed(&answer))
    }

    async fn change(&self, name: &'static str, path: &'static str, item: &str, change: Object) -> Result<(), Error> {
        let answer = self.post(name, path, change.text("name", item)).await?;
        if answer.is_good() { Ok(()) } else { Err(self.access.client().refusal(&answer, &format!("item {item:?}"))) }
    }
}

fn no_version(what: &str) -> Error {
    let message =
        format!("there is no such version of {what}: versions are numbers from 1, and without one the last is read");
    Error::new(ErrorKind::NoVersion, message)
}

/// Reads `{"NAME": "value"}`. The server may write the name in its own way, with a slash before it.
fn only(body: &SecretBytes, name: &str) -> Option<SecretBytes> {
    let fields = json::object(body.expose())?;
    let own = fields.get(name).or_else(|| fields.get(&format!("/{}", name.trim_start_matches('/'))))?;
    Some(json::to_bytes(own))
}

fn canonical(json: &[u8]) -> Option<SecretBytes> {
    json::object(json)?; // these are all objects
    json::canonical(json::value(json)?)
}

/// Reads `{"value": {"payload": "..."}}`, or `{"value": {"target_value": {...}}}`, or whatever else is there.
fn rotated(body: &SecretBytes) -> Option<SecretBytes> {
    let Some(value) = object::at(body.expose(), &["value"]) else { return canonical(body.expose()) };
    let fields = json::object(value.get().as_bytes())?;
    match (fields.get("payload"), fields.get("target_value")) {
        (Some(payload), _) => Some(json::to_bytes(payload)),
        (None, Some(target)) => json::canonical(target),
        (None, None) => json::canonical(value),
    }
}

/// A page of items, and where the next begins.
fn page(body: &SecretBytes) -> Option<(Vec<Item>, Option<String>)> {
    let fields = json::object(body.expose())?;
    let items = match fields.get("items") {
        Some(items) if items.get() != "null" => json::array(items.get().as_bytes())?,
        _ => Vec::new(),
    };
    let items = items.into_iter().map(|item| Item::of(item.get().as_bytes())).collect::<Option<_>>()?;
    Some((items, object::text_at(body, &["next_page"])))
}

#[async_trait]
impl Store for Akeyless {
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
        let folder = query.path().map(|path| format!("/{}/", path.trim_matches('/')));
        let minimal = if query.tags.is_empty() { "true" } else { "false" };
        let body = Object::new()
            .nested("type", &texts(FOUND))
            .maybe("filter", folder.as_deref())
            .json("minimal-view", minimal)
            .text("auto-pagination", "disabled")
            .maybe("pagination-token", at.first().map(String::as_str));
        let answer = self.post("ListItems", "list-items", body).await?;
        if !answer.is_good() {
            return Err(self.access.client().refusal(&answer, &"the list of items"));
        }
        let (items, next) = page(&answer.body).ok_or_else(|| self.access.client().malformed(&answer))?;
        // The filter of the server takes what has it anywhere in its name.
        let is_below = |item: &Item| {
            let name = item.name.trim_start_matches('/');
            folder.as_deref().is_none_or(|folder| name.starts_with(folder.trim_start_matches('/')))
        };
        let fits = |item: &Item| {
            query.matches(&item.name)
                && is_below(item)
                && query.tags.iter().all(|(name, value)| bears(&item.tags, name, value))
        };
        Ok(Page::of_names(items.into_iter().filter(fits).map(|item| item.name), next))
    }

    async fn look(&self, name: &str) -> Result<Option<Found>, Error> {
        let item = match self.describe(name).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            item => item?,
        };
        if item.kind != "STATIC_SECRET" {
            let message = format!("item {name:?} is no static secret, and nothing else can be written");
            return Err(Error::invalid(message).with_blame(Blame::Request));
        }
        let key = Key { name: name.to_owned(), version: None, metadata: false };
        let value = match self.read(&key).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            fetched => fetched?.value,
        };
        Ok(Some(Found { is_ours: item.tags.iter().any(|tag| tag == OURS), ..Found::unmarked(value) }))
    }

    async fn write(&self, name: &str, value: &SecretBytes, there: Option<&Found>) -> Result<(), Error> {
        let change = Object::new().text("value", object::text(value)?);
        let Some(there) = there else {
            return self.change("CreateSecret", "create-secret", name, change.nested("tags", &texts([OURS]))).await;
        };
        if there.value != *value {
            self.change("UpdateSecretVal", "update-secret-val", name, change).await?;
        }
        if !there.is_ours {
            let tag = Object::new().nested("add-tag", &texts([OURS]));
            self.change("UpdateItem", "update-item", name, tag).await?;
        }
        Ok(())
    }

    async fn remove(&self, name: &str) -> Result<(), Error> {
        self.change("DeleteItem", "delete-item", name, Object::new()).await
    }

    async fn validate(&self) -> Result<(), Error> {
        // The login was made when the store was built; whether it still holds is told by any call that reads no value.
        let body = Object::new().nested("type", &texts(FOUND)).json("minimal-view", "true");
        let answer = self.post("ListItems", "list-items", body.text("auto-pagination", "disabled")).await?;
        match answer.status {
            // Items may well be read by name where they may not be listed.
            403 => Ok(()),
            _ if answer.is_good() => Ok(()),
            _ => Err(self.access.client().refusal(&answer, &"the list of items")),
        }
    }

    fn note(&self) -> Option<String> {
        self.note.clone()
    }
}

/// How long a token is good: as it says itself where it is a JWT, else less than any method gives by default.
fn life(token: &SecretBytes) -> Duration {
    const SHORT: Duration = Duration::from_secs(240);
    let of_jwt = || {
        let payload = token.expose_str()?.split('.').nth(1)?;
        let payload = SecretBytes::new(URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?);
        let end = object::text_at(&payload, &["exp"])?.parse().ok()?;
        let end = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(end))?;
        Some(end.duration_since(SystemTime::now()).unwrap_or_default())
    };
    of_jwt().unwrap_or(SHORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_secrets_are_what_they_hold() {
        for (body, expected) in [
            (r#"{"value":{"payload":"p","target_value":{"a":1}}}"#, "p"),
            (r#"{"value":{"target_value":{"b":1.50,"a":"x"}}}"#, r#"{"a":"x","b":1.50}"#),
            (r#"{"value":{"username":"u","password":"p"}}"#, r#"{"password":"p","username":"u"}"#),
            (r#"{"b":1,"a":2}"#, r#"{"a":2,"b":1}"#),
        ] {
            assert_eq!(rotated(&body.into()).unwrap().expose_str(), Some(expected));
        }
        assert_eq!((rotated(&r#"{"value":"x"}"#.into()), rotated(&"<html>".into())), (None, None));
    }

    #[test]
    fn a_value_goes_by_its_name_with_or_without_a_slash() {
        let body = SecretBytes::from(r#"{"/a/b":"v"}"#);
        for name in ["/a/b", "a/b"] {
            assert_eq!(only(&body, name).unwrap().expose_str(), Some("v"));
        }
        assert_eq!(only(&body, "c"), None);
    }

    #[test]
    fn a_token_may_say_how_long_it_is_good() {
        let jwt = |exp: u64| format!("x.{}.y", URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{exp}}}"#)));
        assert_eq!(life(&"t-opaque".into()), Duration::from_secs(240));
        assert_eq!(life(&jwt(1).as_str().into()), Duration::ZERO);
        assert!(life(&jwt(1 << 40).as_str().into()) > Duration::from_secs(1 << 30));
    }

    #[test]
    fn tags_are_texts() {
        let item = Item::of(br#"{"item_name":"/a","item_tags":["blue","tier=db","k:v"]}"#).unwrap();
        assert_eq!(item.tags, ["blue", "tier=db", "k:v"]);
        assert_eq!(page(&"{}".into()), Some((Vec::new(), None)));
        assert_eq!(page(&r#"{"items":[{}]}"#.into()), None);
    }
}
