//! GitLab's CI/CD variables: of a project, and of groups where the project has none of that name.
//!
//! A name is looked for in the project first, in the store's environment and then in `*`, and so in each group from the
//! last to the first. The groups of a project (`inheritFromGroups`) are asked for when they are needed, and held for a
//! minute. GitLab never shows the value of a hidden variable.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keyferry_limits::PROJECT_GROUPS;
use keyferry_provider_core::{
    Answer, Blame, BuildContext, BuildFuture, CaRef, Capabilities, Error, ErrorKind, Fetched, Key, Metadata, Page,
    Query, Registration, SecretBytes, SecretRef, filled, json, one_by_one,
};
use keyferry_provider_http::{Ca, Fields, server_url};
use keyferry_provider_session::{Grant, Life, Session, Source};
use reqwest::header::HeaderName;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::{Call, Client, Response, Said, Vendor, segment};
use crate::config::{self, needed};
use crate::login::{Access, Kept, Pass};
use crate::store::{Rest, Store, place, placed};

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "gitlab", capabilities: |_| CAPABILITIES, maintained: true, build };

const CAPABILITIES: Capabilities =
    Capabilities { metadata: Metadata::PassedOver, find_by_name: true, find_by_tags: true, ..Capabilities::READ_ONLY };

const VENDOR: Vendor = Vendor {
    name: "GitLab",
    metric: "GitLab",
    fields: Fields {
        server: "spec.provider.gitlab.url",
        ca: "spec.provider.gitlab.caBundle or caProvider",
        identity: "spec.provider.gitlab",
    },
    login: "spec.provider.gitlab.auth.SecretRef.accessToken",
    says,
};

const TOKEN: HeaderName = HeaderName::from_static("private-token");

/// The environment of variables that are for all of them.
const ANY: &str = "*";

/// How many variables are on a page.
const PAGE: usize = 100;

/// How long the groups of a project are held.
const GROUPS_HELD: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    url: Option<String>,
    auth: Option<AuthSpec>,
    #[serde(rename = "projectID")]
    project_id: Option<String>,
    inherit_from_groups: Option<bool>,
    #[serde(rename = "groupIDs")]
    group_ids: Option<Vec<String>>,
    environment: Option<String>,
    ca_bundle: Option<String>,
    ca_provider: Option<CaRef>,
}

#[derive(Deserialize)]
struct AuthSpec {
    #[serde(rename = "SecretRef")]
    secret_ref: Option<TokenSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenSpec {
    access_token: Option<SecretRef>,
}

/// A project or a group: where variables are.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    Project(String),
    Group(String),
}

impl Owner {
    /// The path of its variables.
    fn variables(&self) -> Result<String, Error> {
        Ok(match self {
            Self::Project(id) => format!("api/v4/projects/{}/variables", of_spec(id, "projectID")?),
            Self::Group(id) => format!("api/v4/groups/{}/variables", of_spec(id, "groupIDs")?),
        })
    }

    /// What metrics call reading one variable, and listing them.
    fn calls(&self) -> [&'static str; 2] {
        match self {
            Self::Project(_) => ["ProjectVariableGet", "ProjectVariablesList"],
            Self::Group(_) => ["GroupVariableGet", "GroupVariablesList"],
        }
    }
}

fn of_spec(id: &str, field: &str) -> Result<String, Error> {
    segment(id).map_err(|error| error.context(format!("spec.provider.gitlab.{field}")).with_blame(Blame::Spec))
}

/// The variables that one token may see.
struct GitLab {
    access: Arc<Access>,
    project: Option<String>,
    groups: Groups,
    environment: Option<String>,
}

/// Which groups are asked, in the order of the spec.
enum Groups {
    Named(Vec<String>),
    OfProject(Session<Vec<String>>),
}

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move {
        let spec: Spec = config::read(spec, "gitlab")?;
        let project = filled(spec.project_id);
        let named: Vec<String> = spec.group_ids.unwrap_or_default();
        let inherits = spec.inherit_from_groups == Some(true);
        if project.is_none() && named.is_empty() {
            return Err(Error::invalid("spec.provider.gitlab needs projectID or groupIDs"));
        }
        if inherits && !named.is_empty() {
            return Err(Error::invalid(
                "spec.provider.gitlab has both inheritFromGroups and groupIDs: keep one of them",
            ));
        }
        let owners = project.iter().cloned().map(Owner::Project).chain(named.iter().cloned().map(Owner::Group));
        for owner in owners {
            owner.variables()?;
        }
        let url = filled(spec.url).unwrap_or_else(|| "https://gitlab.com/".to_owned());
        let mut server = server_url(&url, VENDOR.fields.server, "https://gitlab.example.com")?;
        // The vendor's clients take the URL with and without the path of the API.
        let path = server.path().trim_end_matches('/').trim_end_matches("/api/v4").to_owned();
        server.set_path(&path);
        let ca = Ca::new(spec.ca_bundle, spec.ca_provider, "spec.provider.gitlab")?;
        let client = Arc::new(Client::new(&VENDOR, server, &ca, &ctx).await?);
        let token = spec.auth.and_then(|auth| auth.secret_ref).and_then(|auth| auth.access_token);
        let (credentials, field) = (ctx.credentials.clone(), VENDOR.login);
        let reference = needed(token, field)?;
        let pass = |token: &SecretBytes, field: &str| Pass::header(TOKEN, "", token, field);
        let access =
            Arc::new(Access::new(client, Kept { credentials, reference, default_key: None, field, pass }).await?);
        let groups = match &project {
            Some(project) if inherits => {
                Groups::OfProject(Session::new(Ancestors { access: access.clone(), project: project.clone() }))
            }
            _ => Groups::Named(named),
        };
        Ok(Rest::provider(GitLab { access, project, groups, environment: filled(spec.environment) }))
    })
}

/// `{"message": "404 Variable Not Found"}`, and its like.
fn says(answer: &Response) -> Option<Said> {
    let field = match (answer.status, answer.word(&["message"])?.as_str()) {
        (404, "404 Variable Not Found" | "404 GroupVariable Not Found") => return Some(Said::NoSecret),
        (404, "404 Project Not Found") => "spec.provider.gitlab.projectID",
        (404, "404 Group Not Found") => "spec.provider.gitlab.groupIDs",
        _ => return None,
    };
    Some(Said::Nowhere(field))
}

/// The groups that a project is in, from the outermost.
struct Ancestors {
    access: Arc<Access>,
    project: String,
}

#[async_trait]
impl Source<Vec<String>> for Ancestors {
    async fn get(&self) -> Result<Grant<Vec<String>>, Error> {
        let path = format!("api/v4/projects/{}/groups", of_spec(&self.project, "projectID")?);
        let (mut found, mut page) = (Vec::new(), Some("1".to_owned()));
        while let Some(at) = page {
            let query = [("per_page", PAGE.to_string()), ("page", at.clone())];
            let call = Call::get("ListProjectsGroups", path.clone()).with(query);
            let answer = self.access.ask(&call, "the groups of the project").await?;
            let groups = groups(&answer.body).ok_or_else(|| self.access.client().malformed(&answer))?;
            // A page that is empty is the last, so that no more are asked for than there may be groups.
            page = next(&answer, &at, groups.len()).filter(|_| !groups.is_empty());
            if found.len() + groups.len() > PROJECT_GROUPS.size() {
                return Err(Error::limit(&PROJECT_GROUPS).with_blame(Blame::Spec));
            }
            found.extend(groups);
        }
        found.sort_by_key(|(length, _)| *length);
        let value = found.into_iter().map(|(_, id)| id.to_string()).collect();
        Ok(Grant { value, life: Life::of(GROUPS_HELD) })
    }
}

/// Reads `[{"id": 1, "full_path": "..."}, ...]`: how long the paths are, which tells the outer groups from the inner, and the
/// ids.
fn groups(body: &SecretBytes) -> Option<Vec<(usize, u64)>> {
    let group = |raw: &RawValue| {
        let fields = json::object(raw.get().as_bytes())?;
        let id = fields.get("id")?.get().parse().ok()?;
        Some((json::to_bytes(fields.get("full_path")?).len(), id))
    };
    json::array(body.expose())?.into_iter().map(group).collect()
}

/// The number of the next page. Where nobody tells, a full page is followed by one that may be empty.
fn next(answer: &Response, at: &str, length: usize) -> Option<String> {
    match answer.header("x-next-page") {
        Some(next) => (!next.trim().is_empty()).then(|| next.trim().to_owned()),
        None if length >= PAGE => at.parse::<u64>().ok().map(|at| (at + 1).to_string()),
        None => None,
    }
}

/// What a list tells of a variable.
#[derive(Debug, PartialEq, Eq)]
struct Listed {
    name: String,
    environment: String,
}

/// Reads a page of variables; their values are passed over.
fn listed(body: &SecretBytes) -> Option<Vec<Listed>> {
    let variable = |raw: &RawValue| {
        let fields = json::object(raw.get().as_bytes())?;
        let text = |name: &str| json::to_bytes(fields.get(name)?).expose_str().map(str::to_owned);
        let environment = text("environment_scope").filter(|scope| !scope.is_empty());
        Some(Listed { name: text("key")?, environment: environment.unwrap_or_else(|| ANY.to_owned()) })
    };
    json::array(body.expose())?.into_iter().map(variable).collect()
}

impl GitLab {
    async fn groups(&self) -> Result<Vec<Owner>, Error> {
        let ids = match &self.groups {
            Groups::Named(ids) => ids.clone(),
            Groups::OfProject(session) => session.get().await?.to_vec(),
        };
        Ok(ids.into_iter().map(Owner::Group).collect())
    }

    async fn read(&self, key: &Key) -> Answer {
        // Names of Kubernetes have dashes where those of variables can't.
        let name = key.name.replace('-', "_");
        let environment = place(key).or(self.environment.as_deref());
        let mut missing = None;
        if let Some(project) = &self.project {
            match self.variable(&Owner::Project(project.clone()), &name, environment).await {
                Err(error) if error.kind() == ErrorKind::NotFound => missing = Some(error),
                found => return found,
            }
        }
        for group in self.groups().await?.into_iter().rev() {
            match self.variable(&group, &name, environment).await {
                Err(error) if error.kind() == ErrorKind::NotFound => missing = Some(error),
                found => return found,
            }
        }
        Err(missing.unwrap_or_else(|| {
            Error::invalid("the project is in no group, and spec.provider.gitlab names nothing else to look in")
        }))
    }

    /// One variable: in this environment and then in all; where none is named, and several have it, in all.
    async fn variable(&self, owner: &Owner, name: &str, environment: Option<&str>) -> Answer {
        let what = format!("variable {name:?}");
        let answer = self.ask(owner, name, environment).await?;
        let is_missing = says(&answer) == Some(Said::NoSecret);
        let is_ambiguous = answer.status == 409 && environment.is_none();
        let elsewhere = environment.is_some_and(|environment| environment != ANY);
        let is_for_all = (is_missing && elsewhere) || is_ambiguous;
        let answer = if is_for_all { self.ask(owner, name, Some(ANY)).await? } else { answer };
        if answer.is_good() {
            return value(&answer, &what).unwrap_or_else(|| Err(self.access.client().malformed(&answer)));
        }
        if is_ambiguous && says(&answer) == Some(Said::NoSecret) {
            let message = format!("there are several of {what}, and none for all environments");
            return Err(Error::invalid(message).with_hint("set spec.provider.gitlab.environment"));
        }
        Err(self.access.client().refusal(&answer, &what))
    }

    async fn ask(&self, owner: &Owner, name: &str, environment: Option<&str>) -> Result<Response, Error> {
        let path = format!("{}/{}", owner.variables()?, segment(name)?);
        let query = environment.map(|environment| ("filter[environment_scope]", environment.to_owned()));
        self.access.send(&Call::get(owner.calls()[0], path).with(query)).await
    }

    /// One page of the variables of an owner.
    async fn page(&self, owner: &Owner, at: &str) -> Result<(Vec<Listed>, Option<String>), Error> {
        let query = [("per_page", PAGE.to_string()), ("page", at.to_owned())];
        let call = Call::get(owner.calls()[1], owner.variables()?).with(query);
        let answer = self.access.ask(&call, "the list of variables").await?;
        let listed = listed(&answer.body).ok_or_else(|| self.access.client().malformed(&answer))?;
        let next = next(&answer, at, listed.len());
        Ok((listed, next))
    }
}

/// Reads a variable: `{"value": "...", ...}`.
fn value(answer: &Response, what: &str) -> Option<Answer> {
    let fields = json::object(answer.body.expose())?;
    let value = fields.get("value")?;
    if fields.get("hidden").is_some_and(|hidden| hidden.get() == "true") || value.get() == "null" {
        let message = format!("{what} is hidden, and GitLab shows its value to nobody: keep it masked instead");
        return Some(Err(Error::invalid(message).with_blame(Blame::Store)));
    }
    Some(Ok(Fetched::from(json::to_bytes(value))))
}

/// The environment that a search names by its tags, the only one that there is.
fn environment_of(query: &Query) -> Result<Option<&str>, Error> {
    const TAG: &str = "environment_scope";
    if let Some(other) = query.tags.keys().find(|tag| *tag != TAG) {
        let message = format!("variables have no tag {other:?}, but {TAG} only");
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    Ok(query.tags.get(TAG).map(String::as_str).filter(|environment| !matches!(*environment, "" | ANY)))
}

/// Where a search goes on: the page of an owner.
fn position(owner: &Owner, page: &str) -> String {
    match owner {
        Owner::Project(id) => format!("{page} project {id}"),
        Owner::Group(id) => format!("{page} group {id}"),
    }
}

/// The reverse of [`position`].
fn of_position(position: &str) -> Option<(Owner, &str)> {
    let (page, owner) = position.split_once(' ')?;
    let owner = match owner.split_once(' ')? {
        ("project", id) => Owner::Project(id.to_owned()),
        ("group", id) => Owner::Group(id.to_owned()),
        _ => return None,
    };
    Some((owner, page))
}

#[async_trait]
impl Store for GitLab {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        one_by_one(keys, |key| self.read(key)).await
    }

    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error> {
        let tagged = environment_of(query)?;
        let own = self.environment.as_deref().filter(|environment| *environment != ANY);
        if tagged.is_some() && own.is_some() && tagged != own {
            let message = "the search names another environment_scope than spec.provider.gitlab.environment";
            return Err(Error::invalid(message).with_blame(Blame::Request));
        }
        let environment = tagged.or(own);
        let mut open: Vec<String> = match at {
            [] => {
                let project = self.project.clone().map(Owner::Project);
                project.into_iter().chain(self.groups().await?).map(|owner| position(&owner, "1")).collect()
            }
            at => at.to_vec(),
        };
        let nowhere = || Error::invalid("the project is in no group, and there is nothing else to look in");
        let (owner, page) = open.first().and_then(|first| of_position(first)).ok_or_else(nowhere)?;
        let (listed, next) = self.page(&owner, page).await?;
        let next = next.map(|page| position(&owner, &page));
        open.splice(..1, next);
        let fits = |listed: &Listed| {
            let is_of = environment.is_none_or(|environment| listed.environment == environment);
            (is_of || listed.environment == ANY) && query.matches(&listed.name)
        };
        let key = |listed: Listed| match tagged {
            Some(environment) => placed(listed.name, environment),
            None => Key { name: listed.name, version: None, metadata: false },
        };
        Ok(Page { keys: listed.into_iter().filter(fits).map(key).collect(), next: open })
    }

    async fn validate(&self) -> Result<(), Error> {
        let project = self.project.clone().map(Owner::Project);
        for owner in project.into_iter().chain(self.groups().await?) {
            let query = [("per_page", "1".to_owned())];
            let call = Call::get(owner.calls()[1], owner.variables()?).with(query);
            self.access.ask(&call, "the list of variables").await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_goes_on_where_it_was() {
        for owner in [Owner::Project("a b/c".into()), Owner::Group("7".into())] {
            assert_eq!(of_position(&position(&owner, "3")), Some((owner, "3")));
        }
        assert_eq!(of_position("3 elsewhere 1"), None);
    }

    #[test]
    fn what_is_no_list_is_none() {
        for body in ["", "{}", r#"[{"key":1}, "x"]"#, "<html>"] {
            assert_eq!(listed(&body.into()), None, "{body}");
            assert_eq!(groups(&body.into()), None, "{body}");
        }
        let page = listed(&r#"[{"key":"A","environment_scope":"prod"},{"key":"B"}]"#.into()).unwrap();
        let names: Vec<_> = page.iter().map(|listed| (listed.name.as_str(), listed.environment.as_str())).collect();
        assert_eq!(names, [("A", "prod"), ("B", ANY)]);
        assert_eq!(groups(&r#"[{"id":3,"full_path":"a/b"}]"#.into()).unwrap(), [(3, 3)]);
    }
}
