//! The Secrets of a namespace: reading and searching them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use keyferry_provider_core::names::is_name;
use keyferry_provider_core::{
    Answer, Blame, BuildContext, Capabilities, Dialect, Error, ErrorKind, Fetched, Key, Metadata, Page, PropertyLookup,
    Provider, Push, Query, Reach, Remote, one_by_one,
};

use crate::answers;
use crate::client::{Call, Client};
use crate::config::Config;
use crate::login::Login;

/// What the store can do.
pub const CAPABILITIES: Capabilities = Capabilities {
    metadata: Metadata::Answered,
    find_by_name: true,
    find_by_tags: true,
    push: true,
    delete: true,
    writes_elsewhere: true,
    ..Capabilities::READ_ONLY
};

/// The Secrets of one namespace, as one login sees them.
pub struct Kubernetes {
    pub(crate) login: Login,
    pub(crate) namespace: String,
    /// Whether the store is of the whole cluster.
    pub(crate) is_of_cluster: bool,
}

impl Kubernetes {
    /// From the spec, logged in.
    pub async fn new(config: Config, ctx: BuildContext) -> Result<Self, Error> {
        let access = config.connection.access(&ctx).await?;
        let client = Client::new(&access, &ctx)?;
        let is_of_cluster = ctx.caller.is_of_cluster();
        let login = Login::new(client, ctx.credentials, access.identity).await?;
        Ok(Self { login, namespace: config.namespace, is_of_cluster })
    }

    async fn read(&self, key: &Key) -> Answer {
        let what = format!("Secret {:?} in namespace {:?}", key.name, self.namespace);
        if !is_name(&key.name) {
            let message = format!("{what}: Kubernetes gives no Secret such a name");
            return Err(Error::invalid(message).with_blame(Blame::Request));
        }
        let path = format!("api/v1/namespaces/{}/secrets/{}", self.namespace, key.name);
        let answer = self.login.send(&Call::get("GetSecret", path)).await?;
        if answer.status != 200 {
            return Err(self.login.client().refusal_of_secret(&answer, &key.name, &what));
        }
        let value = if key.metadata { answers::metadata(&answer.body) } else { answers::fields(&answer.body) };
        let value = value.ok_or_else(|| self.login.client().malformed())?;
        Ok(Fetched::from(value).of_version(answers::version(&answer.body)))
    }

    /// A page of the Secrets that bear these labels, and of them those whose names match.
    async fn list(&self, query: &Query, next: Option<&str>) -> Result<Page, Error> {
        let path = format!("api/v1/namespaces/{}/secrets", self.namespace);
        let call = Call::list("ListSecrets", path, &selector(&query.tags)?, next);
        let answer = self.login.send(&call).await?;
        if answer.status != 200 {
            let what = format!("Secrets in namespace {:?}", self.namespace);
            return Err(self.login.client().refusal(&answer, &what, "list secrets"));
        }
        let page = answers::names(&answer.body).ok_or_else(|| self.login.client().malformed())?;
        Ok(Page::of_names(page.names.into_iter().filter(|name| query.matches(name)), page.next))
    }
}

/// A selector of all these labels. What can be no label is refused: it could be read as another selector.
fn selector(labels: &BTreeMap<String, String>) -> Result<String, Error> {
    let is_word = |text: &str| {
        let is_end = |c: char| c.is_ascii_alphanumeric();
        text.len() <= 63
            && text.starts_with(is_end)
            && text.ends_with(is_end)
            && text.chars().all(|c| is_end(c) || matches!(c, '-' | '_' | '.'))
    };
    let is_key = |text: &str| match text.split_once('/') {
        Some((prefix, name)) => is_name(prefix) && is_word(name),
        None => is_word(text),
    };
    let mut all = Vec::with_capacity(labels.len());
    for (key, value) in labels {
        if !is_key(key) || !(value.is_empty() || is_word(value)) {
            let message = format!("find.tags: {key:?} with the value {value:?} can be no label of a Secret");
            return Err(Error::invalid(message).with_blame(Blame::Request));
        }
        all.push(format!("{key}={value}"));
    }
    Ok(all.join(","))
}

#[async_trait]
impl Provider for Kubernetes {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn dialect(&self) -> Dialect {
        Dialect {
            property: PropertyLookup::Base64Fields,
            find_converts_names: true,
            missing_fails_data: true,
            ..Dialect::default()
        }
    }

    fn joins(&self, _: &[Key], _: &Key) -> bool {
        false
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        one_by_one(keys, |key| self.read(key)).await
    }

    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error> {
        self.list(query, at.first().map(String::as_str)).await
    }

    async fn push(&self, push: &Push) -> Result<(), Error> {
        self.write(push).await
    }

    async fn delete(&self, remote: &Remote, _: Reach) -> Result<(), Error> {
        self.remove(remote).await
    }

    async fn exists(&self, remote: &Remote) -> Result<bool, Error> {
        self.is_there(remote).await
    }

    async fn validate(&self) -> Result<(), Error> {
        // A review that can't be had says nothing of the Secrets.
        let unverified = |error: Error| Error::new(ErrorKind::Unverified, error.message().to_owned());
        if self.login.review(&self.namespace).await.map_err(unverified)? {
            return Ok(());
        }
        let message =
            format!("client is not allowed to get secrets in namespace {:?}: allow it by a Role", self.namespace);
        Err(Error::new(ErrorKind::Denied, message))
    }

    fn identity_note(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_selects_by_what_is_asked_for_and_nothing_else() {
        let of = |key: &str, value: &str| selector(&[(key.to_owned(), value.to_owned())].into());
        assert_eq!(of("app", "web").unwrap(), "app=web");
        assert_eq!(of("app.kubernetes.io/name", "").unwrap(), "app.kubernetes.io/name=");
        for (key, value) in [
            ("app", "web,tier=db"),
            ("app", "web)"),
            ("!app", ""),
            ("app in (a)", "b"),
            ("app=x,b", "c"),
            ("", "x"),
            ("a/b/c", "x"),
            ("../a", "x"),
            ("app", "-web"),
        ] {
            let error = of(key, value).unwrap_err();
            assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Request), "{key} {value}");
        }
    }
}
