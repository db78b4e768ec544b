//! Reading, searching and writing.

use std::sync::Arc;

use async_trait::async_trait;
use keyferry_provider_core::{
    Answer, Blame, Capabilities, Error, ErrorKind, Fetched, Key, Page, Query, SecretBytes, json, one_by_one,
};
use keyferry_provider_http::path::clean;
use keyferry_provider_session::{Grant, Life, Session, Source};
use reqwest::Method;
use serde_json::value::RawValue;

use super::config::Scope;
use super::{CAPABILITIES, VENDOR};
use crate::client::{Call, Response, Said, segment};
use crate::login::Access;
use crate::object::{self, Object};
use crate::store::{Found, Store, place, placed};

/// The secrets of one environment.
pub struct Infisical {
    access: Arc<Access>,
    scope: Scope,
    /// The project's id, which writes need.
    project: Session<String>,
    note: Option<String>,
}

/// Where a secret is.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    /// As the server has it: from the root, with a slash before it.
    folder: String,
    name: String,
    /// Whether the folder is the key's own, rather than the store's.
    is_of_key: bool,
}

impl Address {
    /// Of a key, by the folder that keys of the store begin from.
    fn of(key: &str, scope: &str) -> Result<Self, Error> {
        let Some((folder, name)) = key.rsplit_once('/') else {
            return Ok(Self { folder: format!("/{scope}"), name: key.to_owned(), is_of_key: false });
        };
        let whole = if key.starts_with('/') { folder.to_owned() } else { format!("{scope}/{folder}") };
        Ok(Self { folder: format!("/{}", clean(&whole)?), name: name.to_owned(), is_of_key: true })
    }
}

/// Finds out the id of a project. Its path has moved once.
struct Project {
    access: Arc<Access>,
    slug: String,
}

#[async_trait]
impl Source<String> for Project {
    async fn get(&self) -> Result<Grant<String>, Error> {
        let slug = segment(&self.slug).map_err(|error| error.with_blame(Blame::Spec))?;
        for path in ["v1/projects/slug", "v1/workspace/slug"] {
            let answer = self.access.send(&Call::get("GetWorkspaceBySlug", format!("{path}/{slug}"))).await?;
            match (answer.status, answer.word(&["id"])) {
                (404, _) => {}
                (200..300, Some(id)) => return Ok(Grant { value: id, life: Life::ENDLESS }),
                (200..300, None) => return Err(self.access.client().malformed(&answer)),
                _ => return Err(self.access.client().refusal(&answer, &"the project")),
            }
        }
        Err(Error::invalid("spec.provider.infisical.secretsScope.projectSlug names no project that we may see"))
    }
}

impl Infisical {
    /// Over a login.
    pub fn new(access: Arc<Access>, scope: Scope, note: Option<String>) -> Self {
        let project = Session::new(Project { access: access.clone(), slug: scope.project.clone() });
        Self { access, scope, project, note }
    }

    fn query(&self, folder: &str) -> Vec<(&'static str, String)> {
        vec![
            ("workspaceSlug", self.scope.project.clone()),
            ("environment", self.scope.environment.clone()),
            ("secretPath", folder.to_owned()),
            ("expandSecretReferences", self.scope.expand.to_string()),
        ]
    }

    async fn read(&self, key: &Key) -> Answer {
        let mut address = Address::of(&key.name, &self.scope.folder)?;
        if let Some(folder) = place(key) {
            address.folder = folder.to_owned();
        }
        Ok(Fetched::from(self.get(&address, true).await?))
    }

    /// The value of one secret; `imports` are looked through where it is not in the folder itself.
    async fn get(&self, address: &Address, imports: bool) -> Result<SecretBytes, Error> {
        let what = format!("secret {:?} in the folder {:?}", address.name, address.folder);
        let call = Call::get("GetSecretByKeyV3", path(address)?).with(self.query(&address.folder));
        let answer = self.access.send(&call.with([("include_imports", imports.to_string())])).await?;
        if !answer.is_good() {
            return Err(self.refusal(&answer, address, &what).await);
        }
        let value = object::at(answer.body.expose(), &["secret"]).and_then(|raw| value(raw.get().as_bytes(), &what));
        value.unwrap_or_else(|| Err(self.access.client().malformed(&answer)))
    }

    /// A folder that a key names is part of its name, so that with the folder the secret is gone; one that the store names
    /// is a mistake in its spec.
    async fn refusal(&self, answer: &Response, address: &Address, what: &str) -> Error {
        if !no_folder(answer) {
            return self.access.client().refusal(answer, &what);
        }
        match self.own_folder().await {
            Err(error) => error,
            Ok(()) if address.is_of_key => {
                Error::new(ErrorKind::NotFound, format!("there is no {what}: there is no such folder"))
            }
            Ok(()) => self.access.client().refusal(answer, &what),
        }
    }

    /// Sees to it that the folder of the store is there. Of a folder in an environment that is gone, or called otherwise
    /// now, the server says that there is no such folder, and its list is empty: only while the store's own is there has
    /// nothing but a folder gone. Which it is the server tells of one name alone, so it is asked for one that nobody has.
    async fn own_folder(&self) -> Result<(), Error> {
        let folder = format!("/{}", self.scope.folder);
        let call = Call::get("GetSecretByKeyV3", format!("v3/secrets/raw/{NOBODYS}")).with(self.query(&folder));
        let answer = self.access.send(&call.with([("viewSecretValue", "false".to_owned())])).await?;
        if answer.is_good() || (VENDOR.says)(&answer) == Some(Said::NoSecret) {
            return Ok(());
        }
        if no_folder(&answer) {
            let (field, is_root) = ("spec.provider.infisical.secretsScope", self.scope.folder.is_empty());
            let more = if is_root { "" } else { " and secretsPath" };
            return Err(Error::invalid(format!(
                "the project has no environment {:?} with the folder {folder:?}: check {field}.environmentSlug{more}",
                self.scope.environment
            )));
        }
        Err(self.access.client().refusal(&answer, &"the folder of the store"))
    }

    /// Makes a change of a secret.
    async fn change(&self, name: &'static str, method: Method, key: &str, change: Object) -> Result<(), Error> {
        let address = Address::of(key, &self.scope.folder)?;
        let project = self.project.get().await?;
        let body = change
            .text("workspaceId", &project)
            .text("environment", &self.scope.environment)
            .text("secretPath", &address.folder)
            .text("type", "shared")
            .done();
        let what = format!("secret {:?} in the folder {:?}", address.name, address.folder);
        let answer = self.access.send(&Call::send(name, method, path(&address)?, body)).await?;
        if answer.is_good() {
            return Ok(());
        }
        if answer.status == 404 {
            // The project may have been made anew under its name: the next try finds out.
            self.project.forget(project.number());
        }
        Err(self.refusal(&answer, &address, &what).await)
    }
}

/// A name that no secret has.
const NOBODYS: &str = "KEYFERRY_ASKS_WHETHER_THE_FOLDER_IS_THERE";

/// Whether the answer is that there is no such folder, or no such environment.
fn no_folder(answer: &Response) -> bool {
    matches!((VENDOR.says)(answer), Some(Said::Nowhere(field)) if field.ends_with("secretsPath"))
}

fn path(address: &Address) -> Result<String, Error> {
    Ok(format!("v3/secrets/raw/{}", segment(&address.name)?))
}

/// Reads `{"secretValue": "...", "secretValueHidden": false, ...}`. Hidden values come as words of the server's.
fn value(secret: &[u8], what: &str) -> Option<Result<SecretBytes, Error>> {
    let fields = json::object(secret)?;
    if fields.get("secretValueHidden").is_some_and(|hidden| hidden.get() == "true") {
        let message = format!("we may see that {what} is there, and not its value");
        return Some(Err(Error::new(ErrorKind::Denied, message).with_hint("allow the identity to read values")));
    }
    Some(Ok(json::to_bytes(fields.get("secretValue")?)))
}

/// Reads a list: the names of secrets, with their folders; imported ones where nothing else has their name, and of those
/// the last.
fn listed(body: &SecretBytes, folder: &str) -> Option<Vec<(String, String)>> {
    let secret = |raw: &&RawValue| {
        let fields = json::object(raw.get().as_bytes())?;
        let text = |name: &str| json::to_bytes(fields.get(name)?).expose_str().map(str::to_owned);
        Some((text("secretKey")?, text("secretPath").unwrap_or_else(|| folder.to_owned())))
    };
    let list = |raw: &RawValue| json::array(raw.get().as_bytes())?.iter().map(secret).collect::<Option<Vec<_>>>();
    let fields = json::object(body.expose())?;
    let mut found = list(fields.get("secrets")?)?;
    let imports = match fields.get("imports") {
        Some(imports) if imports.get() != "null" => json::array(imports.get().as_bytes())?,
        _ => Vec::new(),
    };
    for import in imports {
        for (name, _) in list(json::object(import.get().as_bytes())?.get("secrets")?)? {
            if found.iter().all(|(known, _)| *known != name) {
                // It is read through the folder that imports it, in which references and rights are the store's.
                found.push((name, folder.to_owned()));
            }
        }
    }
    Some(found)
}

#[async_trait]
impl Store for Infisical {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        one_by_one(keys, |key| self.read(key)).await
    }

    async fn find(&self, query: &Query, _: &[String]) -> Result<Page, Error> {
        let own = format!("/{}", self.scope.folder);
        let folder = match query.path() {
            Some(path) if path.starts_with('/') => format!("/{}", clean(path)?),
            Some(path) => format!("/{}", clean(&format!("{own}/{path}"))?),
            None => own.clone(),
        };
        let more = [("recursive", self.scope.recursive.to_string()), ("include_imports", "true".to_owned())];
        let call = Call::get("GetSecretsV3", "v3/secrets/raw").with(self.query(&folder)).with(more);
        // Only names are wanted; a server that does not know the word sends values all the same.
        let answer = self.access.send(&call.with([("viewSecretValue", "false".to_owned())])).await?;
        if !answer.is_good() {
            if !no_folder(&answer) {
                return Err(self.access.client().refusal(&answer, &"the list of secrets"));
            }
            self.own_folder().await?;
            return Ok(Page::default());
        }
        let found = listed(&answer.body, &folder).ok_or_else(|| self.access.client().malformed(&answer))?;
        if found.is_empty() {
            self.own_folder().await?;
        }
        let key = |(name, folder): (String, String)| {
            if folder == own { Key { name, version: None, metadata: false } } else { placed(name, &folder) }
        };
        let keys = found.into_iter().filter(|(name, _)| query.matches(name)).map(key).collect();
        Ok(Page { keys, next: Vec::new() })
    }

    async fn look(&self, name: &str) -> Result<Option<Found>, Error> {
        match self.get(&Address::of(name, &self.scope.folder)?, false).await {
            Ok(value) => Ok(Some(Found::unmarked(value))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn write(&self, name: &str, value: &SecretBytes, there: Option<&Found>) -> Result<(), Error> {
        let change = Object::new().text("secretValue", object::text(value)?).json("skipMultilineEncoding", "true");
        match there {
            Some(_) => self.change("UpdateSecretV3", Method::PATCH, name, change).await,
            None => self.change("CreateSecretV3", Method::POST, name, change).await,
        }
    }

    async fn remove(&self, name: &str) -> Result<(), Error> {
        self.change("DeleteSecretV3", Method::DELETE, name, Object::new()).await
    }

    fn path<'a>(&self, property: &'a str) -> Vec<&'a str> {
        property.split('.').collect()
    }

    async fn validate(&self) -> Result<(), Error> {
        let folder = format!("/{}", self.scope.folder);
        let more = [("recursive", "false".to_owned()), ("viewSecretValue", "false".to_owned())];
        let call = Call::get("GetSecretsV3", "v3/secrets/raw").with(self.query(&folder)).with(more);
        let answer = self.access.ask(&call, "the list of secrets").await?;
        let found = listed(&answer.body, &folder).ok_or_else(|| self.access.client().malformed(&answer))?;
        if !found.is_empty() {
            return Ok(());
        }
        match self.own_folder().await {
            // The list was ours to see. Whoever may read some names only is not told of one that nobody has.
            Err(error) if error.kind() == ErrorKind::Denied => Ok(()),
            looked => looked,
        }
    }

    fn note(&self) -> Option<String> {
        self.note.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_name_or_a_path() {
        for (key, scope, folder, name, is_of_key) in [
            ("foo", "scope", "/scope", "foo", false),
            ("foo", "", "/", "foo", false),
            ("/a/b/foo", "scope", "/a/b", "foo", true),
            ("/foo", "scope", "/", "foo", true),
            ("sub/foo", "scope", "/scope/sub", "foo", true),
            ("sub//deep/foo", "", "/sub/deep", "foo", true),
        ] {
            let expected = Address { folder: folder.into(), name: name.into(), is_of_key };
            assert_eq!(Address::of(key, scope).unwrap(), expected, "{key}");
        }
        assert_eq!(Address::of("../foo", "scope").unwrap_err().blame(), Blame::Request);
    }

    #[test]
    fn imported_secrets_are_found_where_nothing_else_has_their_name() {
        let body = r#"{"secrets":[{"secretKey":"A","secretPath":"/x"}],
            "imports":[{"secretPath":"/i","secrets":[{"secretKey":"A"},{"secretKey":"B","secretPath":"/i"}]}]}"#;
        let found = listed(&body.into(), "/x").unwrap();
        assert_eq!(found, [("A".to_owned(), "/x".to_owned()), ("B".to_owned(), "/x".to_owned())]);
        for body in ["", "{}", r#"{"secrets":[{}]}"#, r#"{"secrets":[],"imports":[{}]}"#] {
            assert_eq!(listed(&body.into(), "/"), None, "{body}");
        }
    }
}
