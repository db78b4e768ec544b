//! The calls: each a request and what its answers mean.

use std::fmt;

use keyferry_provider_core::{Blame, BuildContext, Error, ErrorKind, Fetched, SecretBytes};
use keyferry_provider_gcp_common::endpoints::GOOGLE;
use keyferry_provider_gcp_common::{Api, Call, Host, Login, Metadata, Response, Word, endpoint};
use reqwest::Method;

use crate::answers::{self, Accessed, Secret};
use crate::config::Config;
use crate::place::{Parent, Place, last};

/// What metrics call the provider: External Secrets Operator's name.
const PROVIDER: &str = "GCP/SecretManager";

/// How many secrets a page of a search has: as many as fit into an answer whatever is noted on them.
const PAGE: &str = "1000";

/// How many versions a page has, and how many pages are looked through for one that is enabled.
const VERSIONS: &str = "5000";
const MOST_PAGES: usize = 20;

/// Secret Manager, logged in.
pub struct Client {
    host: Host,
    login: Login,
    /// Where the store's secrets are.
    pub parent: Parent,
    /// Whether they are in one location only.
    pub is_regional: bool,
    project: String,
}

/// What came of a question for a version.
pub enum Asked {
    /// It holds this.
    Value(Fetched),
    /// It is there, and can't be read: it is disabled or destroyed.
    Unreadable,
    /// The version is not there, or the secret is not: one answer does not tell.
    Nothing,
}

impl Client {
    /// From the spec, logged in.
    pub async fn new(config: Config, ctx: &BuildContext) -> Result<Self, Error> {
        let regional =
            config.location.as_ref().map(|location| format!("https://secretmanager.{location}.rep.googleapis.com"));
        let server = endpoint(Api::SecretManager, regional, &ctx.environment)?;
        let host = Host::new(server, GOOGLE, &ctx.addresses, ctx, PROVIDER)?;
        let login = Login::new(config.auth, ctx, &host, PROVIDER).await?;
        let project = match config.project {
            Some(project) => project,
            None => Metadata::new(ctx, PROVIDER)?.project("spec.provider.gcpsm.projectID").await?,
        };
        let parent = Parent::new(&project, config.location.as_deref());
        Ok(Self { host, login, parent, is_regional: config.location.is_some(), project })
    }

    /// Who we are, and that it holds.
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// What a version holds; the last where that is `None`.
    pub async fn access(&self, place: &Place, version: Option<&str>) -> Result<Asked, Error> {
        let path = format!("v1/{}:access", place.version(version)?);
        let answer = self.send(&Call::get("AccessSecretVersion", path)).await?;
        match (answer.status, answer.word()) {
            (200, _) => match answers::accessed(&answer.body) {
                Some(Accessed::Value(fetched)) => Ok(Asked::Value(fetched)),
                Some(Accessed::Damaged) => {
                    let message =
                        format!("the value of secret {:?} was damaged on its way: its checksum differs", place.id);
                    Err(Error::new(ErrorKind::Unavailable, message).with_blame(Blame::Way))
                }
                None => Err(self.host.malformed(&answer)),
            },
            (400, Some(Word::FailedPrecondition)) => Ok(Asked::Unreadable),
            (404, Some(Word::NotFound)) => Ok(Asked::Nothing),
            // An alias that no version has may be told so.
            (400, Some(Word::InvalidArgument)) if version.is_some_and(is_alias) => Ok(Asked::Nothing),
            _ => Err(self.refusal(&answer, place, "secretmanager.versions.access")),
        }
    }

    /// What is known about a secret; `None` where there is none.
    pub async fn look_for(&self, place: &Place) -> Result<Option<Secret>, Error> {
        let answer = self.send(&Call::get("GetSecret", format!("v1/{}", place.resource))).await?;
        match (answer.status, answer.word()) {
            (200, _) => answers::secret(&answer.body).map(Some).ok_or_else(|| self.host.malformed(&answer)),
            (404, Some(Word::NotFound)) => Ok(None),
            _ => Err(self.refusal(&answer, place, "secretmanager.secrets.get")),
        }
    }

    /// The last version that is enabled; `None` where none is, or no secret.
    pub async fn last_enabled(&self, place: &Place) -> Result<Option<String>, Error> {
        let (mut most, mut next) = (None, None);
        for _ in 0..MOST_PAGES {
            let path = format!("v1/{}/versions", place.resource);
            let mut call =
                Call::get("ListSecretVersions", path).ask("filter", "state:ENABLED").ask("pageSize", VERSIONS);
            if let Some(next) = next.take() {
                call = call.ask("pageToken", next);
            }
            let answer = self.send(&call).await?;
            let (numbers, token) = match (answer.status, answer.word()) {
                (200, _) => answers::versions(&answer.body).ok_or_else(|| self.host.malformed(&answer))?,
                (404, Some(Word::NotFound)) => return Ok(None),
                _ => return Err(self.refusal(&answer, place, "secretmanager.versions.list")),
            };
            most = most.max(numbers.into_iter().max());
            next = token;
            if next.is_none() {
                return Ok(most.map(|number| number.to_string()));
            }
        }
        let message = format!("secret {:?} has too many versions to look for one that is enabled", place.id);
        Err(Error::invalid(message).with_blame(Blame::Store))
    }

    /// A page of secrets that answer `filter`, and where the next begins.
    pub async fn list(&self, filter: &str, at: Option<&str>) -> Result<(Vec<Secret>, Option<String>), Error> {
        let mut call = Call::get("ListSecrets", format!("v1/{}", self.parent.secrets())).ask("pageSize", PAGE);
        if !filter.is_empty() {
            call = call.ask("filter", filter);
        }
        if let Some(at) = at {
            call = call.ask("pageToken", at);
        }
        let answer = self.send(&call).await?;
        match answer.status {
            200 => answers::secrets(&answer.body).ok_or_else(|| self.host.malformed(&answer)),
            _ => {
                let what = format!("the list of secrets in project {}", self.project);
                let refusal = self.host.refusal(&answer, &what, "secretmanager.secrets.list");
                // A project that is not there is no secret that is gone.
                Err(refusal.no_reason_to_delete())
            }
        }
    }

    /// Makes a secret without a version.
    pub async fn create(&self, place: &Place, secret: &serde_json::Value) -> Result<(), Error> {
        let path = format!("v1/{}", self.parent.secrets());
        let call = self.write("CreateSecret", Method::POST, path, secret).ask("secretId", &place.id);
        self.done(&call, place, "secretmanager.secrets.create").await
    }

    /// Changes the fields of `mask` to what `secret` says.
    pub async fn update(&self, place: &Place, secret: &serde_json::Value, mask: &str) -> Result<(), Error> {
        let path = format!("v1/{}", place.resource);
        let call = self.write("UpdateSecret", Method::PATCH, path, secret).ask("updateMask", mask);
        self.done(&call, place, "secretmanager.secrets.update").await
    }

    /// Adds a version, by a body that holds its value.
    pub async fn add(&self, place: &Place, body: SecretBytes) -> Result<(), Error> {
        let path = format!("v1/{}:addVersion", place.resource);
        let call = Call::with_json("AddSecretVersion", Method::POST, path, body);
        self.done(&call, place, "secretmanager.versions.add").await
    }

    /// Deletes a secret, if it is still the one of this etag.
    pub async fn delete(&self, place: &Place, etag: &str) -> Result<(), Error> {
        let call = Call::get("DeleteSecret", format!("v1/{}", place.resource));
        let call = Call { method: Method::DELETE, ..call }.ask("etag", etag);
        match self.done(&call, place, "secretmanager.secrets.delete").await {
            // Somebody was faster.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn write(&self, name: &'static str, method: Method, path: String, body: &serde_json::Value) -> Call {
        Call::with_json(name, method, path, SecretBytes::new(body.to_string().into_bytes()))
    }

    async fn done(&self, call: &Call, place: &Place, permission: &str) -> Result<(), Error> {
        let answer = self.send(call).await?;
        match (answer.status, answer.word()) {
            (200..300, _) => Ok(()),
            // Of writes this is what an etag that is over comes to.
            (400, Some(Word::FailedPrecondition)) => Err(Error::new(
                ErrorKind::Unavailable,
                format!("secret {:?} was changed by somebody else meanwhile", place.id),
            )),
            _ => Err(self.refusal(&answer, place, permission)),
        }
    }

    async fn send(&self, call: &Call) -> Result<Response, Error> {
        self.login.send(&self.host, call).await
    }

    fn refusal(&self, answer: &Response, place: &Place, permission: &str) -> Error {
        self.host.refusal(answer, &self.named(place), permission)
    }

    /// A secret, for messages.
    pub fn named(&self, place: &Place) -> impl fmt::Display {
        format!("secret {:?} in project {}", place.id, self.project)
    }
}

/// Whether a version is asked for by another name than its number.
fn is_alias(version: &str) -> bool {
    last(version).parse::<u64>().is_err()
}
