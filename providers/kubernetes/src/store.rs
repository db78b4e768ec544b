//! Reading Secrets, and searching them.

use async_trait::async_trait;
use keyferry_provider_core::{
    Answer, Blame, BuildContext, Capabilities, Dialect, Error, ErrorKind, Fetched, Key, MOST_FOUND, Metadata,
    PropertyLookup, Provider, Push, Query, Reach, Remote, one_by_one,
};

use crate::answers;
use crate::client::{Call, Client};
use crate::config::{Config, is_name};
use crate::login::Login;

/// What the store can do.
pub const CAPABILITIES: Capabilities =
    Capabilities { metadata: Metadata::Answered, find_by_name: true, find_by_tags: true, ..Capabilities::READ_ONLY };

/// The Secrets of one namespace, as one login sees them.
pub struct Kubernetes {
    login: Login,
    namespace: String,
}

impl Kubernetes {
    /// From the spec, logged in.
    pub async fn new(config: Config, ctx: BuildContext) -> Result<Self, Error> {
        let access = config.access(&ctx).await?;
        let client = Client::new(&access, &ctx)?;
        let login = Login::new(client, ctx.credentials, access.identity).await?;
        Ok(Self { login, namespace: config.namespace })
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
            return Err(self.login.client().refusal(&answer, &what, "get secrets"));
        }
        let value = if key.metadata { answers::metadata(&answer.body) } else { answers::fields(&answer.body) };
        let value = value.ok_or_else(|| self.login.client().malformed())?;
        Ok(Fetched::from(value).of_version(answers::version(&answer.body)))
    }

    async fn list(&self, query: &Query) -> Result<Vec<Key>, Error> {
        // As in External Secrets Operator labels, where there are any, are all that is looked at.
        let selector: Vec<String> = query.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut found = Vec::new();
        let mut next = None;
        loop {
            let call = Call::list("ListSecrets", &self.namespace, &selector.join(","), next.as_deref());
            let answer = self.login.send(&call).await?;
            if answer.status != 200 {
                let what = format!("Secrets in namespace {:?}", self.namespace);
                return Err(self.login.client().refusal(&answer, &what, "list secrets"));
            }
            let page = answers::names(&answer.body).ok_or_else(|| self.login.client().malformed())?;
            found.extend(page.names.into_iter().filter(|name| !query.tags.is_empty() || query.matches(name)));
            if found.len() > MOST_FOUND {
                return Err(Error::too_many_found("Secrets"));
            }
            next = page.next;
            if next.is_none() {
                found.sort_unstable();
                return Ok(found.into_iter().map(|name| Key { name, version: None, metadata: false }).collect());
            }
        }
    }
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

    async fn find(&self, query: &Query) -> Result<Vec<Key>, Error> {
        self.list(query).await
    }

    async fn push(&self, _: &Push) -> Result<(), Error> {
        Err(Error::cannot("pushed to"))
    }

    async fn delete(&self, _: &Remote, _: Reach) -> Result<(), Error> {
        Err(Error::cannot("deleted from"))
    }

    async fn exists(&self, _: &Remote) -> Result<bool, Error> {
        Err(Error::cannot("pushed to"))
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
