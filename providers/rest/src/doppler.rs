//! Doppler: one call downloads a whole config, so that a batch is one call, however many keys it has.
//!
//! `nameTransformer` and `format` are for searches, as in External Secrets Operator; what a search found is fetched by the
//! name that it was found by. The ETag of a download is not used: it would pay only for who keeps values.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use keyferry_provider_core::{
    Answer, BuildContext, BuildFuture, Caller, Capabilities, Credentials, Error, ErrorKind, Fetched, Key, Metadata,
    Page, Query, Registration, SecretBuf, SecretBytes, SecretRef, ServiceAccountRef, filled, json,
};
use keyferry_provider_http::{Ca, Fields, server_url};
use keyferry_provider_session::{Grant, Life, Source};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use serde::Deserialize;

use crate::client::{Call, Client, Response, Said, Vendor};
use crate::config::{self, needed, needed_text};
use crate::login::{Access, Kept, Pass};
use crate::object::{self, Object};
use crate::store::{Found, Rest, Store, note_of_login};

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "doppler", capabilities: |_| CAPABILITIES, maintained: true, build };

const CAPABILITIES: Capabilities = Capabilities {
    max_batch: 1000,
    metadata: Metadata::PassedOver,
    find_by_name: true,
    find_by_path: true,
    find_all: true,
    push: true,
    delete: true,
    ..Capabilities::READ_ONLY
};

const VENDOR: Vendor = Vendor {
    name: "Doppler",
    metric: "Doppler",
    fields: Fields {
        server: "the environment variable DOPPLER_BASE_URL",
        ca: "the certificates of the system",
        identity: "spec.provider.doppler",
    },
    login: "spec.provider.doppler.auth",
    says,
};

/// The one key under which a search finds a whole config in the `format` of the store.
const FILE: &str = "DOPPLER_SECRETS_FILE";

const TRANSFORMERS: [&str; 6] = ["upper-camel", "camel", "lower-snake", "tf-var", "dotnet-env", "lower-kebab"];
const FORMATS: [&str; 5] = ["json", "dotnet-json", "env", "yaml", "docker"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    auth: Option<AuthSpec>,
    project: Option<String>,
    config: Option<String>,
    name_transformer: Option<String>,
    format: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthSpec {
    secret_ref: Option<TokenSpec>,
    oidc_config: Option<OidcSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenSpec {
    doppler_token: Option<SecretRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OidcSpec {
    identity: Option<String>,
    service_account_ref: Option<ServiceAccountRef>,
}

/// One config of a project.
struct Doppler {
    access: Access,
    /// `project` and `config`, as far as the spec names them: a service token is of one config.
    place: Vec<(&'static str, String)>,
    transformer: Option<String>,
    format: Option<String>,
    /// Whether the vendor's own client logs in so where we have seen it.
    is_proven: bool,
}

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move {
        let spec: Spec = config::read(spec, "doppler")?;
        let one_of = |text: Option<String>, words: &[&str], field: &str| match filled(text) {
            Some(word) if !words.contains(&word.as_str()) => {
                Err(Error::invalid(format!("spec.provider.doppler.{field} must be one of {}", words.join(", "))))
            }
            word => Ok(word),
        };
        let place = [("project", spec.project), ("config", spec.config)];
        let place = place.into_iter().filter_map(|(name, value)| Some((name, filled(value)?))).collect();
        let (transformer, format) = (
            one_of(spec.name_transformer, &TRANSFORMERS, "nameTransformer")?,
            one_of(spec.format, &FORMATS, "format")?,
        );
        let auth = needed(spec.auth, VENDOR.login)?;
        let is_proven = auth.oidc_config.is_none();
        let access = access(auth, &ctx).await?;
        Ok(Rest::provider(Doppler { access, place, transformer, format, is_proven }))
    })
}

async fn access(auth: AuthSpec, ctx: &BuildContext) -> Result<Access, Error> {
    let base = filled((ctx.environment)("DOPPLER_BASE_URL")).unwrap_or_else(|| "api.doppler.com".to_owned());
    let base = if base.contains("://") { base } else { format!("https://{base}") };
    let server = server_url(&base, VENDOR.fields.server, "https://api.doppler.com")?;
    let client = Arc::new(Client::new(&VENDOR, server, &Ca::System, ctx).await?);
    let credentials = ctx.credentials.clone();
    match (auth.secret_ref, auth.oidc_config) {
        (Some(token), None) => {
            let field = "spec.provider.doppler.auth.secretRef.dopplerToken";
            let reference = needed(token.doppler_token, field)?;
            let kept = Kept { credentials, reference, default_key: Some("dopplerToken"), field, pass };
            Access::new(client, kept).await
        }
        (None, Some(oidc)) => {
            let identity = needed_text(oidc.identity, "spec.provider.doppler.auth.oidcConfig.identity")?;
            let field = "spec.provider.doppler.auth.oidcConfig.serviceAccountRef";
            let account = needed(oidc.service_account_ref, field)?;
            let audiences = audiences(&ctx.caller, base.trim_end_matches('/'))?;
            Access::new(client.clone(), Oidc { client, credentials, identity, account, audiences }).await
        }
        (Some(_), Some(_)) | (None, None) => {
            Err(Error::invalid("spec.provider.doppler.auth needs exactly one of secretRef and oidcConfig"))
        }
    }
}

/// The token is the user of basic authentication.
fn pass(token: &SecretBytes, field: &str) -> Result<Pass, Error> {
    let mut plain = SecretBuf::with_capacity(token.len() + 1);
    plain.extend(token.expose());
    plain.push(b':');
    Pass::header(AUTHORIZATION, "Basic ", &object::base64(&plain.into()), field)
}

/// Whom a token is for: the API, and this store alone, so that it opens no other.
fn audiences(caller: &Caller, base: &str) -> Result<[String; 2], Error> {
    let Caller { store_kind, store, namespace } = caller;
    let own = match (*store_kind, namespace) {
        ("ClusterSecretStore", _) => format!("clusterSecretStore:{store}"),
        (_, Some(namespace)) => format!("secretStore:{namespace}:{store}"),
        (_, None) => return Err(Error::new(ErrorKind::Referent, "the store is not used from a namespace yet")),
    };
    Ok([base.to_owned(), own])
}

/// A login with a token of a ServiceAccount.
struct Oidc {
    client: Arc<Client>,
    credentials: Arc<dyn Credentials>,
    identity: String,
    account: ServiceAccountRef,
    audiences: [String; 2],
}

#[async_trait]
impl Source<Pass> for Oidc {
    async fn get(&self) -> Result<Grant<Pass>, Error> {
        let field = "spec.provider.doppler.auth.oidcConfig";
        let [base, own] = &self.audiences;
        let token = self.credentials.service_account_token(&self.account, &[base, own]).await;
        let token = token.map_err(|error| error.context(field))?.secret;
        let body = Object::new().text("identity", &self.identity).text("token", object::text(&token)?).done();
        let call = Call::send("Login", Method::POST, "v3/auth/oidc", body);
        let answer = self.client.send(&call, &HeaderMap::new()).await?;
        if !answer.is_good() {
            return Err(self.client.login_refusal(&answer));
        }
        let malformed = || self.client.malformed(&answer);
        let token = object::at(answer.body.expose(), &["token"]).map(json::to_bytes).ok_or_else(malformed)?;
        let end = answer.word(&["expires_at"]).and_then(|end| end.parse::<jiff::Timestamp>().ok());
        let end = SystemTime::from(end.ok_or_else(malformed)?);
        Ok(Grant { value: pass(&token, field)?, life: Life::until(end) })
    }
}

/// `{"messages": [...], "success": false}`.
fn says(answer: &Response) -> Option<Said> {
    let fields = json::object(answer.body.expose())?;
    let messages = json::array(fields.get("messages")?.get().as_bytes())?;
    let first = json::to_bytes(messages.first()?);
    let word = first.expose_str()?;
    match answer.status {
        404 if word.starts_with("Could not find requested secret") => Some(Said::NoSecret),
        404 if word.starts_with("Could not find requested project") => {
            Some(Said::Nowhere("spec.provider.doppler.project"))
        }
        404 if word.starts_with("Could not find requested config") => {
            Some(Said::Nowhere("spec.provider.doppler.config"))
        }
        _ => None,
    }
}

impl Doppler {
    async fn download(&self, more: Option<(&'static str, &str)>, accept: &'static str) -> Result<Response, Error> {
        let query = self.place.iter().cloned().chain(more.map(|(name, value)| (name, value.to_owned())));
        let call = Call::get("DownloadSecrets", "v3/configs/config/secrets/download").with(query);
        self.access.ask(&Call { accept, ..call }, "the config").await
    }

    /// All secrets, by their own names or by those that the transformer makes.
    async fn secrets(&self, transformer: Option<&str>) -> Result<BTreeMap<String, Option<SecretBytes>>, Error> {
        let answer = self.download(transformer.map(|word| ("name_transformer", word)), "application/json").await?;
        let all = json::object(answer.body.expose()).ok_or_else(|| self.access.client().malformed(&answer))?;
        // A secret that is restricted is there, without its value.
        Ok(all.into_iter().map(|(name, raw)| (name, (raw.get() != "null").then(|| json::to_bytes(raw)))).collect())
    }

    /// The whole config as a file.
    async fn file(&self, format: &str) -> Result<SecretBytes, Error> {
        let accept = if format == "json" { "application/json" } else { "text/plain" };
        Ok(self.download(Some(("format", format)), accept).await?.body)
    }

    /// Why a secret is not among those of the config: only when it is asked for by name does the server say that it is not
    /// there.
    async fn missing(&self, name: &str) -> Error {
        let query = self.place.iter().cloned().chain([("name", name.to_owned())]);
        let call = Call::get("GetSecret", "v3/configs/config/secret").with(query);
        match self.access.ask(&call, &format!("secret {name:?}")).await {
            Err(error) => error,
            Ok(_) => left_out(name),
        }
    }

    /// The names of all secrets. Each config has some of Doppler's own, so that none at all is nobody's word.
    async fn names(&self) -> Result<Vec<String>, Error> {
        let call = Call::get("ListSecrets", "v3/configs/config/secrets/names").with(self.place.clone());
        let answer = self.access.ask(&call, "the names of secrets").await.map_err(Error::no_reason_to_delete)?;
        let names = names(&answer.body).filter(|names| !names.is_empty());
        names.ok_or_else(|| self.access.client().malformed(&answer))
    }

    async fn update(&self, call: &'static str, change: Object, name: &str) -> Result<(), Error> {
        let whole = self.place.iter().fold(change, |whole, (name, value)| whole.text(name, value));
        let call = Call::send(call, Method::POST, "v3/configs/config/secrets", whole.done());
        self.access.ask(&call, &format!("secret {name:?}")).await.map(drop)
    }
}

fn left_out(name: &str) -> Error {
    let message = format!("secret {name:?} is there, and not among those that the config is downloaded with");
    Error::new(ErrorKind::Malformed, message)
}

fn restricted(name: &str) -> Error {
    let message = format!("secret {name:?} is restricted, and its value is not for whom we log in as");
    Error::new(ErrorKind::Denied, message).with_hint("use a service token, or make it masked")
}

#[async_trait]
impl Store for Doppler {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let format = self.format.as_deref().filter(|_| keys.iter().any(|key| key.name == FILE));
        let file = match format {
            Some(format) => Some(self.file(format).await?),
            None => None,
        };
        let all = match &file {
            Some(_) if keys.len() == 1 => BTreeMap::new(),
            _ => self.secrets(None).await?,
        };
        let by_own = |key: &Key| all.contains_key(&key.name) || (file.is_some() && key.name == FILE);
        let transformed = match &self.transformer {
            Some(transformer) if !keys.iter().all(by_own) => self.secrets(Some(transformer)).await?,
            _ => BTreeMap::new(),
        };
        let file = file.map(Some);
        let found = |name: &str| {
            let file = file.as_ref().filter(|_| name == FILE);
            file.or_else(|| all.get(name)).or_else(|| transformed.get(name))
        };
        // Others' keys are among these: what is not there costs one call, and its failure touches no value that is.
        let names = if keys.iter().all(|key| found(&key.name).is_some()) { None } else { Some(self.names().await) };
        let answer = |Key { name, .. }: &Key| match (found(name), &names) {
            (Some(Some(value)), _) => Ok(Fetched::from(value.clone())),
            (Some(None), _) => Err(restricted(name)),
            (None, Some(Err(error))) => Err(error.clone()),
            (None, Some(Ok(names))) if names.contains(name) => Err(left_out(name)),
            (None, _) => Err(Error::new(ErrorKind::NotFound, format!("there is no secret {name:?}"))),
        };
        Ok(keys.iter().map(answer).collect())
    }

    async fn find(&self, query: &Query, _: &[String]) -> Result<Page, Error> {
        let names: Vec<String> = match (&self.format, &self.transformer) {
            (Some(_), _) => vec![FILE.to_owned()],
            (None, Some(transformer)) => self.secrets(Some(transformer)).await?.into_keys().collect(),
            (None, None) => self.names().await?,
        };
        let prefix = query.path().unwrap_or_default();
        Ok(Page::of_names(names.into_iter().filter(|name| name.starts_with(prefix) && query.matches(name)), []))
    }

    async fn look(&self, name: &str) -> Result<Option<Found>, Error> {
        match self.secrets(None).await?.remove(name) {
            Some(Some(value)) => Ok(Some(Found::unmarked(value))),
            Some(None) => Err(restricted(name)),
            None => match self.missing(name).await {
                error if error.kind() == ErrorKind::NotFound => Ok(None),
                error => Err(error),
            },
        }
    }

    async fn write(&self, name: &str, value: &SecretBytes, _: Option<&Found>) -> Result<(), Error> {
        let secrets = Object::new().text(name, object::text(value)?).done();
        self.update("UpdateSecrets", Object::new().nested("secrets", &secrets), name).await
    }

    async fn remove(&self, name: &str) -> Result<(), Error> {
        let change = Object::new().text("name", name).text("originalName", name).json("value", "null");
        let change = change.json("shouldDelete", "true").done();
        let list = SecretBytes::new([b"[", change.expose(), b"]"].concat());
        self.update("DeleteSecret", Object::new().nested("change_requests", &list), name).await
    }

    async fn validate(&self) -> Result<(), Error> {
        let call = Call::get("ListSecrets", "v3/configs/config/secrets/names").with(self.place.clone());
        self.access.ask(&call, "the config").await.map(drop)
    }

    fn note(&self) -> Option<String> {
        note_of_login(false, self.is_proven)
    }
}

/// Reads `{"names": ["...", ...]}`.
fn names(body: &SecretBytes) -> Option<Vec<String>> {
    let names = json::array(object::at(body.expose(), &["names"])?.get().as_bytes())?;
    names.into_iter().map(|name| json::to_bytes(name).expose_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_the_api_and_for_one_store() {
        let of = |store_kind, namespace: Option<&str>| {
            let caller = Caller { store_kind, store: "s".to_owned(), namespace: namespace.map(str::to_owned) };
            audiences(&caller, "https://api").map(|[_, own]| own)
        };
        assert_eq!(of("ClusterSecretStore", None).unwrap(), "clusterSecretStore:s");
        assert_eq!(of("ClusterSecretStore", Some("n")).unwrap(), "clusterSecretStore:s");
        assert_eq!(of("SecretStore", Some("n")).unwrap(), "secretStore:n:s");
        assert_eq!(of("SecretStore", None).unwrap_err().kind(), ErrorKind::Referent);
    }

    #[test]
    fn the_token_is_the_user() {
        let Pass::Header(_, value) = pass(&"dp.st.x".into(), "f").unwrap() else { panic!("a header") };
        assert_eq!(value.to_str().unwrap(), "Basic ZHAuc3QueDo=");
        assert!(value.is_sensitive());
    }
}
