//! GitlabDeployToken: a deploy token of a project or a group, which stands there until somebody revokes it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use jiff::Timestamp;
use keyferry_provider_core::{
    BuildContext, Built, Error, Generator, GeneratorRegistration, Keep, Made, SecretRef, State, Term, filled,
};
use keyferry_provider_http::{Ca, Fields, secure_url};
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName};
use serde::Deserialize;
use serde_json::json;

use super::proof::{header, number_at, read, secret_at, values};
use crate::client::{Call, Client, Said, Vendor, segment};
use crate::config::{needed, needed_text, secret};
use crate::object::{Object, texts};

/// How the registry knows it.
pub const REGISTRATION: GeneratorRegistration =
    GeneratorRegistration { kind: "GitlabDeployToken", field: "gitlabDeployTokenSpec", has_state: true, build };

fn build(spec: &serde_json::Value, ctx: BuildContext) -> Built {
    Ok(Arc::new(Gitlab { spec: read(spec, "GitlabDeployToken")?, ctx }))
}

const GITLAB: Vendor = Vendor {
    name: "GitLab",
    metric: "GitLab",
    fields: Fields { server: "spec.url", ca: "the certificates of the system", identity: "spec.url" },
    login: "spec.auth.token.secretRef",
    says: |answer| (answer.status == 404).then_some(Said::Nowhere("spec.projectID or spec.groupID")),
};

const TOKEN: HeaderName = HeaderName::from_static("private-token");

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    url: Option<String>,
    #[serde(rename = "projectID")]
    project: Option<String>,
    #[serde(rename = "groupID")]
    group: Option<String>,
    name: Option<String>,
    scopes: Option<Vec<String>>,
    expires_at: Option<String>,
    expires_after: Option<String>,
    username: Option<String>,
    auth: Option<AuthSpec>,
}

#[derive(Deserialize)]
struct AuthSpec {
    token: Option<TokenSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenSpec {
    secret_ref: Option<SecretRef>,
}

struct Gitlab {
    spec: Spec,
    ctx: BuildContext,
}

/// Where tokens are: External Secrets Operator keeps the same in its states.
struct Place {
    url: String,
    project: Option<String>,
    group: Option<String>,
}

impl Place {
    fn of_state(state: &State) -> Self {
        let text = |name: &str| filled(state[name].as_str().map(str::to_owned));
        let url = text("url").unwrap_or_else(default_url);
        Self { url, project: text("projectID"), group: text("groupID") }
    }

    /// The list of tokens, below the API.
    fn path(&self) -> Result<String, Error> {
        let (owners, id) = match (&self.project, &self.group) {
            (Some(project), None) => ("projects", project),
            (None, Some(group)) => ("groups", group),
            _ => return Err(Error::invalid("set exactly one of spec.projectID and spec.groupID")),
        };
        Ok(format!("api/v4/{owners}/{}/deploy_tokens", segment(id)?))
    }
}

fn default_url() -> String {
    "https://gitlab.com".to_owned()
}

impl Gitlab {
    fn place(&self) -> Place {
        let Spec { url, project, group, .. } = &self.spec;
        let url = filled(url.clone()).unwrap_or_else(default_url);
        Place { url, project: filled(project.clone()), group: filled(group.clone()) }
    }

    fn state(&self, id: i64) -> State {
        let Place { url, project, group } = self.place();
        json!({"url": url, "projectID": project, "groupID": group, "tokenID": id})
    }

    async fn client(&self, place: &Place) -> Result<(Client, HeaderMap), Error> {
        let auth = self.spec.auth.as_ref().and_then(|auth| auth.token.as_ref());
        let reference = needed(auth.and_then(|token| token.secret_ref.as_ref()), GITLAB.login)?;
        let token = secret(&*self.ctx.credentials, reference, None, GITLAB.login).await?;
        let url = secure_url(&place.url, "spec.url", "https://gitlab.example.com")?;
        let client = Client::new(&GITLAB, url, &Ca::System, &self.ctx).await?;
        Ok((client, header(TOKEN, "", &token, GITLAB.login)?))
    }

    /// When the token is to end, where the spec says so.
    fn end(&self) -> Result<Option<Timestamp>, Error> {
        let wrong = |field: &str, example: &str| Error::invalid(format!("spec.{field} must be like {example}"));
        match (filled(self.spec.expires_at.clone()), filled(self.spec.expires_after.clone())) {
            (Some(_), Some(_)) => Err(Error::invalid("set at most one of spec.expiresAt and spec.expiresAfter")),
            (Some(end), None) => end.parse().map(Some).map_err(|_| wrong("expiresAt", "2024-01-31T12:00:00Z")),
            (None, Some(span)) => {
                let nanos = keyferry_go::duration::parse(span.as_bytes()).and_then(|nanos| u64::try_from(nanos).ok());
                let span = Duration::from_nanos(nanos.ok_or_else(|| wrong("expiresAfter", "720h"))?);
                let end = SystemTime::now().checked_add(span).and_then(|end| Timestamp::try_from(end).ok());
                end.map(Some).ok_or_else(|| wrong("expiresAfter", "720h"))
            }
            (None, None) => Ok(None),
        }
    }
}

#[async_trait]
impl Generator for Gitlab {
    async fn make(&self, keep: &dyn Keep) -> Result<Made, Error> {
        let (place, end) = (self.place(), self.end()?);
        let path = place.path()?;
        let name = needed_text(self.spec.name.clone(), "spec.name")?;
        let scopes = self.spec.scopes.as_deref().unwrap_or_default();
        let mut body = Object::new().text("name", &name).nested("scopes", &texts(scopes.iter().map(String::as_str)));
        body = body.maybe("username", filled(self.spec.username.clone()).as_deref());
        body = body.maybe("expires_at", end.map(|end| end.to_string()).as_deref());
        let (client, headers) = self.client(&place).await?;
        // Its id is GitLab's to choose: that one was about to be made is all that can be known before.
        keep.keep(&self.state(0), None).await?;
        let answer = client.send(&Call::send("CreateDeployToken", Method::POST, path, body.done()), &headers).await?;
        if !answer.is_good() {
            if answer.status < 500 {
                // Refused: none was made, and none is to be looked for. What can't be written down now is looked for in vain.
                let _ = keep.keep(&json!({}), None).await;
            }
            return Err(client.refusal(&answer, &"deploy tokens"));
        }
        let read = || Some((number_at(answer.body.expose(), "id")?, secret_at(&answer.body, "token")?));
        let (id, token) = read().ok_or_else(|| client.malformed(&answer))?;
        let username = secret_at(&answer.body, "username").unwrap_or_default();
        let term = end.map(|end| Term { end: end.into(), renews: false });
        Ok(Made { values: values([("username", username), ("token", token)]), state: Some(self.state(id)), term })
    }

    async fn revoke(&self, state: &State) -> Result<(), Error> {
        if state.get("tokenID").is_none() {
            return Ok(());
        }
        let place = Place::of_state(state);
        let Some(id) = state["tokenID"].as_u64().filter(|id| *id > 0) else {
            // Another of the same name may be somebody's, so that none is looked for.
            tracing::warn!(
                name = self.spec.name,
                project = place.project,
                group = place.group,
                "a deploy token of this name may have been made just before keyferry was stopped: look for one that \
                 nobody uses"
            );
            return Ok(());
        };
        let (client, headers) = self.client(&place).await?;
        let path = format!("{}/{id}", place.path()?);
        let call = Call { method: Method::DELETE, ..Call::get("DeleteDeployToken", path) };
        let answer = client.send(&call, &headers).await?;
        if answer.is_good() || answer.says_gone() { Ok(()) } else { Err(client.refusal(&answer, &"the deploy token")) }
    }

    async fn renew(&self, _: &State) -> Result<Option<(State, Term)>, Error> {
        Ok(None)
    }
}
