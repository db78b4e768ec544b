//! Reading and writing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keyferry_provider_core::{
    Answer, Blame, BuildContext, Capabilities, Credentials, Dialect, Error, ErrorKind, Fetched, Key, Metadata, Page,
    Payload, PropertyLookup, Provider, Push, Query, Reach, Remote, SecretBuf, SecretBytes, json, one_by_one,
};
use keyferry_provider_http::Way;
use reqwest::Method;
use reqwest::header::HeaderName;

use crate::client::{Call, Client, FIELDS, Response, url};
use crate::config::Config;
use crate::jsonpath::{self, NoPlace};
use crate::templates::{Seen, Template, query_escaped};

/// What the store can do.
pub const CAPABILITIES: Capabilities =
    Capabilities { metadata: Metadata::PassedOver, push: true, delete: true, ..Capabilities::READ_ONLY };

/// The label of Secrets that templates may see, and its value.
const LABEL: (&str, &str) = ("external-secrets.io/type", "webhook");

/// How long a connection may take that only shows whether somebody is there.
const KNOCK: Duration = Duration::from_secs(10);

/// A service.
pub struct Webhook {
    client: Client,
    method: Option<Method>,
    url: Template,
    headers: Vec<(HeaderName, Template)>,
    body: Template,
    json_path: Template,
    /// The URL as it stands, where it says to which server it leads.
    server: Option<SecretBytes>,
    namespace: String,
    secrets: Seen,
}

impl Webhook {
    /// From the spec, with the Secrets that it names.
    pub async fn new(config: Config, ctx: BuildContext) -> Result<Self, Error> {
        if config.asks_for_namespace() && ctx.caller.namespace.is_none() {
            let message = "the templates ask for the namespace of whoever asks, and here nobody does";
            return Err(Error::new(ErrorKind::Referent, message));
        }
        let client = Client::new(&config, &ctx).await?;
        let headers = config
            .headers
            .iter()
            .map(|(name, value)| Ok((name.clone(), Template::new("spec.provider.webhook.headers", value)?)));
        Ok(Self {
            client,
            method: config.method.clone(),
            url: Template::new(FIELDS.server, &config.url)?,
            headers: headers.collect::<Result<_, Error>>()?,
            body: Template::new("spec.provider.webhook.body", &config.body)?,
            json_path: Template::new("spec.provider.webhook.result.jsonPath", &config.json_path)?,
            server: server(&config.url),
            namespace: ctx.caller.namespace.clone().unwrap_or_default(),
            secrets: secrets(&config, &*ctx.credentials).await?,
        })
    }

    /// What templates see beside the Secrets; in a URL what the user wrote is escaped.
    fn seen(&self, remote: &[(&str, &[u8])], in_url: bool) -> Arc<Seen> {
        let escaped = |value: &[u8]| if in_url { query_escaped(value) } else { SecretBytes::new(value.to_vec()) };
        let mut values: BTreeMap<String, SecretBytes> =
            remote.iter().map(|(name, value)| ((*name).to_owned(), escaped(value))).collect();
        values.insert("namespace".to_owned(), self.namespace.as_str().into());
        let mut seen = self.secrets.clone();
        // A Secret that is called so adds to it, as in External Secrets Operator.
        values.extend(seen.remove("remoteRef").unwrap_or_default());
        seen.insert("remoteRef".to_owned(), values);
        Arc::new(seen)
    }

    /// Sends what the templates make of this.
    async fn send(
        &self,
        method: Method,
        remote: &[(&str, &[u8])],
        body: Option<SecretBytes>,
    ) -> Result<Response, Error> {
        let (in_url, plain) = (self.seen(remote, true), self.seen(remote, false));
        let mut headers = Vec::with_capacity(self.headers.len());
        for (name, template) in &self.headers {
            headers.push((name.clone(), template.render(&plain).await?));
        }
        let body = match body {
            Some(body) => body,
            None => self.body.render(&plain).await?,
        };
        self.client.send(&Call { method, url: self.url.render(&in_url).await?, headers, body }).await
    }

    async fn ask(&self, key: &Key) -> Result<SecretBytes, Error> {
        let (name, property) = key.name_and_property();
        let version = key.version.as_deref().unwrap_or_default();
        let remote: [(&str, &[u8]); 3] =
            [("key", name.as_bytes()), ("version", version.as_bytes()), ("property", property.as_bytes())];
        let method = self.method.clone().unwrap_or(Method::GET);
        let answer = self.send(method, &remote, None).await?;
        if !(200..300).contains(&answer.status) {
            return Err(answer.refusal(name));
        }
        let path = self.json_path.render(&self.seen(&remote, false)).await?;
        if path.is_empty() { Ok(answer.body) } else { out_of(answer.body, path).await }
    }

    /// What a generator makes of an answer: the fields of the object that the path leads to.
    pub async fn fields(&self) -> Result<BTreeMap<String, SecretBytes>, Error> {
        let answer = self.send(self.method.clone().unwrap_or(Method::GET), &[], None).await?;
        if !(200..300).contains(&answer.status) {
            return Err(answer.refusal("what the generator asks for"));
        }
        let path = self.json_path.render(&self.seen(&[], false)).await?;
        let found = if path.is_empty() { answer.body } else { out_of(answer.body, path).await? };
        let fields = json::object(found.expose()).ok_or_else(|| {
            let message = "spec.provider.webhook.result.jsonPath: the answer has no JSON object there, whose fields would be \
                           the values";
            Error::new(ErrorKind::Malformed, message)
        })?;
        Ok(fields.into_iter().map(|(name, raw)| (name, json::to_bytes(raw))).collect())
    }

    async fn read(&self, key: &Key) -> Answer {
        self.ask(key).await.map(Fetched::from)
    }
}

/// What templates see of `remoteRef` by itself.
const OF_TEMPLATES: [&str; 5] = ["key", "version", "property", "remoteKey", "namespace"];

/// The value at a path of an answer.
/// What is at the path in the answer; where that may take a while, apart from the threads that serve everybody.
async fn out_of(body: SecretBytes, path: SecretBytes) -> Result<SecretBytes, Error> {
    const LITTLE: usize = 64 << 10;
    if body.len() <= LITTLE && !path.expose().contains(&b'?') {
        return at_path(&body, &path);
    }
    let looking = tokio::task::spawn_blocking(move || at_path(&body, &path));
    looking
        .await
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Malformed, "looking for the path in the answer broke off")))
}

fn at_path(body: &SecretBytes, path: &SecretBytes) -> Result<SecretBytes, Error> {
    let field = "spec.provider.webhook.result.jsonPath";
    let malformed = |problem: &str| Error::new(ErrorKind::Malformed, format!("{field}: {problem}"));
    let whole = json::value(body.expose()).ok_or_else(|| malformed("the answer is not JSON"))?;
    json::check_parts(whole)?;
    let path = path.expose_str().unwrap_or_default();
    let found = jsonpath::find(path, whole).and_then(|found| jsonpath::value(&found));
    found.map_err(|problem| match problem {
        NoPlace::Nothing => malformed("the answer has nothing there"),
        NoPlace::NotAPath => Error::invalid(format!("{field} is no JSONPath once it is rendered")),
        NoPlace::TooMuch => malformed("it leads to too much of the answer"),
    })
}

/// The Secrets that templates may see, which say so themselves by a label.
async fn secrets(config: &Config, credentials: &dyn Credentials) -> Result<Seen, Error> {
    let mut all = Seen::new();
    for (name, reference) in &config.secrets {
        let values = credentials.labelled_secret(reference, LABEL.0, LABEL.1).await;
        let values = values.map_err(|error| error.context(format!("spec.provider.webhook.secrets ({name})")))?;
        all.entry(name.clone()).or_default().extend(values);
    }
    Ok(all)
}

/// The beginning of a URL, where no template decides which server it leads to.
fn server(template: &str) -> Option<SecretBytes> {
    let plain = template.split("{{").next().unwrap_or_default();
    let whole = plain.len() == template.len();
    let (_, rest) = plain.split_once("://")?;
    (whole || rest.contains(['/', '?', '#'])).then(|| plain.into())
}

fn pushed(payload: &Payload) -> Result<SecretBytes, Error> {
    let fields = match payload {
        Payload::Value(value) => return Ok(value.clone()),
        Payload::Fields(fields) => fields,
    };
    let mut out = SecretBuf::default();
    for (name, value) in fields {
        let text = value.expose_str().ok_or_else(|| {
            let message = format!("key {name:?} is not text, so that it can't be pushed with others as JSON");
            Error::invalid(message).with_blame(Blame::Request)
        })?;
        out.push(if out.is_empty() { b'{' } else { b',' });
        json::write_string(name, &mut out);
        out.push(b':');
        json::write_string(text, &mut out);
    }
    out.extend(if out.is_empty() { b"{}" } else { b"}" });
    Ok(out.into())
}

#[async_trait]
impl Provider for Webhook {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn dialect(&self) -> Dialect {
        Dialect { property: PropertyLookup::OfTheStore, ..Dialect::default() }
    }

    fn joins(&self, _: &[Key], _: &Key) -> bool {
        false
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        one_by_one(keys, |key| self.read(key)).await
    }

    async fn find(&self, _: &Query, _: &[String]) -> Result<Page, Error> {
        Err(Error::cannot("searched"))
    }

    /// The value is the body where the spec has none, and goes by the name of the key besides: not by one that templates
    /// know as something else, which leads to a URL.
    async fn push(&self, push: &Push) -> Result<(), Error> {
        let key = &push.remote.key;
        let value = pushed(&push.payload)?;
        let is_taken = OF_TEMPLATES.contains(&key.as_str());
        if is_taken && !self.body.is_empty() {
            let message = format!(
                "a value can't be pushed as {key:?}: spec.provider.webhook.body knows what is pushed by that name, which \
                 stands for something else there: push to another remoteKey"
            );
            return Err(Error::invalid(message).with_blame(Blame::Request));
        }
        let property = push.remote.property.as_deref().unwrap_or_default();
        let mut remote: Vec<(&str, &[u8])> = vec![
            ("key", key.as_bytes()),
            ("version", b""),
            ("property", property.as_bytes()),
            ("remoteKey", key.as_bytes()),
        ];
        if !is_taken {
            remote.push((key, value.expose()));
        }
        let body = self.body.is_empty().then(|| value.clone());
        let answer = self.send(self.method.clone().unwrap_or(Method::POST), &remote, body).await?;
        match answer.status {
            200..300 => Ok(()),
            404 => Err(Error::invalid(format!("there is nowhere to push {key:?} to: check {}", FIELDS.server))),
            _ => Err(answer.refusal(key)),
        }
    }

    async fn delete(&self, remote: &Remote, _: Reach) -> Result<(), Error> {
        let property = remote.property.as_deref().unwrap_or_default();
        let seen: [(&str, &[u8]); 4] = [
            ("key", remote.key.as_bytes()),
            ("version", b""),
            ("property", property.as_bytes()),
            ("remoteKey", remote.key.as_bytes()),
        ];
        let answer = self.send(Method::DELETE, &seen, Some(SecretBytes::default())).await?;
        match answer.status {
            200..300 | 404 => Ok(()),
            _ => Err(answer.refusal(&remote.key)),
        }
    }

    async fn exists(&self, remote: &Remote) -> Result<bool, Error> {
        let key = Key { name: remote.key.clone(), version: None, metadata: false };
        let key = key.with_property(remote.property.as_deref().unwrap_or_default());
        match self.ask(&key).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether somebody is there. Which URL reads nothing nobody knows, and where a template decides which server is called
    /// nothing can be known.
    async fn validate(&self) -> Result<(), Error> {
        let Some(server) = &self.server else { return Ok(()) };
        let way = Way::new(url(server)?, FIELDS);
        way.knock(self.client.addresses(), KNOCK).await
    }

    fn identity_note(&self) -> Option<String> {
        None
    }
}
