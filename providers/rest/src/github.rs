//! GitHub Actions secrets of an organization, of one of its repositories, or of an environment of that: they can be written and
//! never read.
//!
//! What is written is encrypted for GitHub first, in the form that it names: a sealed box of NaCl. Built from the vendor's
//! documents, and unproven: no client of theirs has spoken to our double.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_box::PublicKey;
use crypto_box::aead::OsRng;
use jiff::Timestamp;
use keyferry_limits::SELECTED_REPOSITORIES;
use keyferry_provider_core::{
    Answer, Blame, BuildContext, BuildFuture, Capabilities, Credentials, Dialect, Error, ErrorKind, Key, Page,
    Provider, Push, Query, Reach, Registration, Remote, SecretBytes, SecretRef, filled, json,
};
use keyferry_provider_http::{Ca, Fields, server_url};
use keyferry_provider_session::{Grant, Life, Source};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use serde::Deserialize;

use crate::client::{Call, Client, Response, Said, Vendor, segment};
use crate::config::{self, needed, needed_text};
use crate::generate::github::signed;
use crate::login::{Access, Pass, header};
use crate::object::{self, Object};
use crate::store::UNPROVEN;

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "github", capabilities: |_| CAPABILITIES, maintained: true, build };

const CAPABILITIES: Capabilities = Capabilities { max_batch: 0, push: true, delete: true, ..Capabilities::READ_ONLY };

const VENDOR: Vendor = Vendor {
    name: "GitHub",
    metric: "GitHub",
    fields: Fields {
        server: "spec.provider.github.url",
        ca: "the certificates of the system",
        identity: "spec.provider.github",
    },
    login: "spec.provider.github.auth.privateKey, appID and installationID",
    says,
};

const DEFAULT_URL: &str = "https://api.github.com";

/// Which form of the API is spoken.
const ACCEPT: &str = "application/vnd.github+json";

const KEY: &str = "spec.provider.github.auth.privateKey";

/// How many repositories are on a page.
const PAGE: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    url: Option<String>,
    #[serde(rename = "appID")]
    app: Option<u64>,
    #[serde(rename = "installationID")]
    installation: Option<u64>,
    organization: Option<String>,
    repository: Option<String>,
    environment: Option<String>,
    org_secret_visibility: Option<String>,
    auth: Option<Auth>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Auth {
    private_key: Option<SecretRef>,
}

/// The secrets of one place.
struct GitHub {
    access: Access,
    /// Where they are: the path below which there is one for each, its public key too.
    place: String,
    /// Of an organization's secrets, who sees a new one; `None` where the place is a repository's.
    visibility: Option<Visibility>,
}

/// Who sees the secrets of an organization.
struct Visibility {
    /// What the store says of all.
    set: Option<String>,
}

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move {
        let spec: Spec = config::read(spec, "github")?;
        // That of the pages stands for that of the API.
        let url = filled(spec.url.clone()).filter(|url| url.trim_end_matches('/') != "https://github.com");
        let url = url.unwrap_or_else(|| DEFAULT_URL.to_owned());
        let mut server = server_url(&url, VENDOR.fields.server, DEFAULT_URL)?;
        // As the vendor's own clients have it: a server of one's own has its API there.
        let (host, path) = (server.host_str().unwrap_or_default(), server.path().trim_end_matches('/').to_owned());
        if !host.starts_with("api.") && !host.contains(".api.") && !path.ends_with("/api/v3") {
            server.set_path(&format!("{path}/api/v3"));
        }
        let (place, visibility) = place(&spec)?;
        let reference = needed(spec.auth.and_then(|auth| auth.private_key), KEY)?;
        let client = Arc::new(Client::new(&VENDOR, server, &Ca::System, &ctx).await?);
        let login = Login {
            client: client.clone(),
            credentials: ctx.credentials.clone(),
            reference,
            app: needed(spec.app, "spec.provider.github.appID")?,
            installation: needed(spec.installation, "spec.provider.github.installationID")?,
        };
        let access = Access::new(client, login).await?.ended_by(|_| {
            let call = Call { method: Method::DELETE, ..Call::get("RevokeInstallationToken", "installation/token") };
            Some(Call { accept: ACCEPT, ..call })
        });
        let store: Arc<dyn Provider> = Arc::new(GitHub { access, place, visibility });
        Ok(store)
    })
}

fn place(spec: &Spec) -> Result<(String, Option<Visibility>), Error> {
    let at = |name: &str| format!("spec.provider.github.{name}");
    let part = |text: &str, name: &str| segment(text).map_err(|error| error.context(at(name)).with_blame(Blame::Spec));
    let organization = needed_text(spec.organization.clone(), &at("organization"))?;
    let organization = part(&organization, "organization")?;
    let set = filled(spec.org_secret_visibility.clone());
    if set.as_deref().is_some_and(|set| !["all", "private", "selected"].contains(&set)) {
        return Err(Error::invalid(format!("{} must be all, private or selected", at("orgSecretVisibility"))));
    }
    match (filled(spec.repository.clone()), filled(spec.environment.clone())) {
        (None, Some(_)) => Err(Error::invalid(format!("{} is missing, which has the environment", at("repository")))),
        (None, None) => Ok((format!("orgs/{organization}/actions/secrets"), Some(Visibility { set }))),
        (Some(repository), None) => {
            let repository = part(&repository, "repository")?;
            Ok((format!("repos/{organization}/{repository}/actions/secrets"), None))
        }
        (Some(repository), Some(environment)) => {
            let (repository, environment) = (part(&repository, "repository")?, part(&environment, "environment")?);
            Ok((format!("repos/{organization}/{repository}/environments/{environment}/secrets"), None))
        }
    }
}

/// `{"message": "...", "documentation_url": "..."}`. Who asks too often is told so by a denial with a header.
fn says(answer: &Response) -> Option<Said> {
    match answer.status {
        404 if answer.word(&["message"]).is_some() => {
            Some(Said::Nowhere("spec.provider.github.organization, repository and environment, or by installationID,"))
        }
        403 if answer.header("x-ratelimit-remaining") == Some("0") || answer.header("retry-after").is_some() => {
            Some(Said::Other(ErrorKind::Throttled, "GitHub asks for fewer requests"))
        }
        _ => None,
    }
}

/// Where tokens come from.
struct Login {
    client: Arc<Client>,
    credentials: Arc<dyn Credentials>,
    reference: SecretRef,
    app: u64,
    installation: u64,
}

#[async_trait]
impl Source<Pass> for Login {
    async fn get(&self) -> Result<Grant<Pass>, Error> {
        let key = config::secret(&*self.credentials, &self.reference, None, KEY).await?;
        let proof = signed(&key, &self.app.to_string(), SystemTime::now())
            .ok_or_else(|| Error::invalid(format!("{KEY}: it is no RSA key in PEM, as GitHub gives it to an App")))?;
        let path = format!("app/installations/{}/access_tokens", self.installation);
        let call = Call::send("CreateInstallationToken", Method::POST, path, Object::new().done());
        let call = Call { accept: ACCEPT, ..call };
        let proof = (AUTHORIZATION, header("Bearer ", &proof, KEY)?);
        let answer = self.client.send(&call, &HeaderMap::from_iter([proof])).await?;
        if !answer.is_good() {
            return Err(self.client.login_refusal(&answer));
        }
        let malformed = || self.client.malformed(&answer);
        let token = object::at(answer.body.expose(), &["token"]).map(json::to_bytes).ok_or_else(malformed)?;
        let end = answer.word(&["expires_at"]).and_then(|end| end.parse::<Timestamp>().ok()).ok_or_else(malformed)?;
        let left = SystemTime::from(end).duration_since(SystemTime::now()).unwrap_or(Duration::ZERO);
        Ok(Grant { value: Pass::header(AUTHORIZATION, "Bearer ", &token, VENDOR.login)?, life: Life::of(left) })
    }
}

/// What GitHub shows of a secret: its own name, and who sees it.
struct Seen {
    name: String,
    visibility: Option<String>,
}

/// A value as GitHub takes it: encrypted with its public key, in base64.
fn sealed(public: &str, value: &SecretBytes) -> Option<String> {
    let public: [u8; 32] = STANDARD.decode(public).ok()?.try_into().ok()?;
    let sealed = PublicKey::from(public).seal(&mut OsRng, value.expose()).ok()?;
    Some(STANDARD.encode(sealed))
}

/// Reads `{"total_count": 1, "repositories": [{"id": 1}]}`.
fn repositories(answer: &Response) -> Option<Vec<u64>> {
    let all = json::array(object::at(answer.body.expose(), &["repositories"])?.get().as_bytes())?;
    let id = |raw: &serde_json::value::RawValue| json::object(raw.get().as_bytes())?.get("id")?.get().parse().ok();
    all.into_iter().map(id).collect()
}

impl GitHub {
    fn path(&self, name: &str) -> Result<String, Error> {
        Ok(format!("{}/{}", self.place, segment(name)?))
    }

    fn get(name: &'static str, path: String) -> Call {
        Call { accept: ACCEPT, ..Call::get(name, path) }
    }

    async fn see(&self, name: &str) -> Result<Option<Seen>, Error> {
        let answer = self.access.send(&Self::get("GetSecret", self.path(name)?)).await?;
        match answer.status {
            404 if answer.says_gone() => Ok(None),
            _ if answer.is_good() => {
                let own = answer.word(&["name"]).ok_or_else(|| self.access.client().malformed(&answer))?;
                Ok(Some(Seen { name: own, visibility: answer.word(&["visibility"]) }))
            }
            _ => Err(self.access.client().refusal(&answer, &format!("secret {name:?}"))),
        }
    }

    /// The repositories that see a secret of an organization: an update that leaves them out takes it from all of them.
    async fn selected(&self, name: &str) -> Result<Vec<u64>, Error> {
        let mut all = Vec::new();
        for page in 1..=SELECTED_REPOSITORIES.size() / PAGE {
            let query = [("per_page", PAGE.to_string()), ("page", page.to_string())];
            let call = Self::get("ListSelectedRepos", format!("{}/repositories", self.path(name)?)).with(query);
            let answer = self.access.ask(&call, &format!("the repositories of secret {name:?}")).await?;
            let found = repositories(&answer).ok_or_else(|| self.access.client().malformed(&answer))?;
            let is_last = found.len() < PAGE;
            all.extend(found);
            if all.len() > SELECTED_REPOSITORIES.size() {
                break;
            }
            if is_last {
                return Ok(all);
            }
        }
        Err(Error::limit(&SELECTED_REPOSITORIES).with_blame(Blame::Spec))
    }

    async fn encrypted(&self, value: &SecretBytes) -> Result<Object, Error> {
        let answer =
            self.access.ask(&Self::get("GetPublicKey", format!("{}/public-key", self.place)), "the public key").await?;
        let malformed = || self.access.client().malformed(&answer);
        let (id, key) = (answer.word(&["key_id"]), answer.word(&["key"]));
        let (id, key) = id.zip(key).ok_or_else(malformed)?;
        let sealed = sealed(&key, value).ok_or_else(malformed)?;
        Ok(Object::new().text("encrypted_value", &sealed).text("key_id", &id))
    }
}

#[async_trait]
impl Provider for GitHub {
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
        let value = push.payload.whole()?;
        let there = self.see(key).await?;
        let mut body = self.encrypted(&value).await?;
        let name = there.as_ref().map_or(key, |there| &there.name);
        if let Some(visibility) = &self.visibility {
            let seen = there.as_ref().and_then(|there| there.visibility.as_deref());
            let seen = visibility.set.as_deref().or(seen).unwrap_or("all");
            body = body.text("visibility", seen);
            if seen == "selected" && there.as_ref().is_some_and(|there| there.visibility.as_deref() == Some("selected"))
            {
                let ids: Vec<String> = self.selected(name).await?.iter().map(u64::to_string).collect();
                let list = format!("[{}]", ids.join(","));
                body = body.json("selected_repository_ids", &list);
            }
        }
        let call = Call::send("CreateOrUpdateSecret", Method::PUT, self.path(name)?, body.done());
        self.access.ask(&Call { accept: ACCEPT, ..call }, &format!("secret {key:?}")).await.map(drop)
    }

    async fn delete(&self, remote: &Remote, _: Reach) -> Result<(), Error> {
        // None was ever pushed.
        if remote.property.is_some() {
            return Ok(());
        }
        let call = Self::get("DeleteSecret", self.path(&remote.key)?);
        let answer = self.access.send(&Call { method: Method::DELETE, ..call }).await?;
        match answer.status {
            // The same is said of all that is in a repository which the App has lost, or that is called otherwise now.
            404 if answer.says_gone() => self.validate().await,
            _ if answer.is_good() => Ok(()),
            _ => Err(self.access.client().refusal(&answer, &format!("secret {:?}", remote.key))),
        }
    }

    async fn exists(&self, remote: &Remote) -> Result<bool, Error> {
        Ok(remote.property.is_none() && self.see(&remote.key).await?.is_some())
    }

    async fn validate(&self) -> Result<(), Error> {
        let call = Self::get("ListSecrets", self.place.clone()).with([("per_page", "1".to_owned())]);
        self.access.ask(&call, "the list of secrets").await.map(drop)
    }

    fn identity_note(&self) -> Option<String> {
        Some(UNPROVEN.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use crypto_box::SecretKey;

    use super::*;

    #[test]
    fn what_is_sealed_only_the_key_opens() {
        let key = SecretKey::generate(&mut OsRng);
        let public = STANDARD.encode(key.public_key().as_bytes());
        let boxed = sealed(&public, &"canary".into()).unwrap();
        assert_ne!(boxed, sealed(&public, &"canary".into()).unwrap(), "each box has a key of its own");
        assert_eq!(key.unseal(&STANDARD.decode(boxed).unwrap()).unwrap(), b"canary");
        assert_eq!((sealed("?", &"v".into()), sealed("AAAA", &"v".into())), (None, None));
    }

    #[test]
    fn a_place_is_an_organization_a_repository_or_an_environment() {
        let of = |spec: serde_json::Value| place(&serde_json::from_value(spec).unwrap()).map(|(place, _)| place);
        for (spec, expected) in [
            (serde_json::json!({"organization": "o"}), "orgs/o/actions/secrets"),
            (serde_json::json!({"organization": "o", "repository": "r"}), "repos/o/r/actions/secrets"),
            (
                serde_json::json!({"organization": "o", "repository": "r", "environment": "a b"}),
                "repos/o/r/environments/a%20b/secrets",
            ),
        ] {
            assert_eq!(of(spec).unwrap(), expected);
        }
        for wrong in [
            serde_json::json!({}),
            serde_json::json!({"organization": ".."}),
            serde_json::json!({"organization": "o", "environment": "e"}),
            serde_json::json!({"organization": "o", "orgSecretVisibility": "some"}),
        ] {
            assert_eq!(of(wrong).unwrap_err().blame(), Blame::Spec);
        }
    }
}
