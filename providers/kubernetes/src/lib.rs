//! Kubernetes: Secrets of another cluster, or of another namespace of this one.
//!
//! The client is our own, of a few requests over `reqwest`, rather than `kube`: what is read is one kind of object,
//! whose values stay in the answer's base64 until they are used, and what a kubeconfig may hold is a matter of trust.
//! A kubeconfig is data here: commands, plugins, files and proxies in it are refused, and nothing ever runs or reads
//! them. The operator's own identity is never used.
//!
//! Modules, in reading order: [`config`] the spec as plain data, [`kubeconfig`] a kubeconfig as plain data,
//! [`client`] HTTP and what statuses mean, [`login`] the life of tokens, [`secret`] what answers mean.
//!
//! What is zeroed: bodies of answers as we gather them, values, tokens. What is not ours to zero: the buffers of TLS,
//! HTTP and the kernel that the bytes pass through, a client key inside the TLS library, and header values.

#![forbid(unsafe_code)]

mod client;
mod config;
mod kubeconfig;
mod login;
mod secret;

use std::sync::Arc;

use async_trait::async_trait;
use keyferry_provider_core::{
    Answer, BuildContext, BuildFuture, Capabilities, Dialect, Error, ErrorKind, Fetched, Key, MOST_FOUND, Metadata,
    PropertyLookup, Provider, Push, Query, Reach, Registration, Remote, one_by_one,
};

use crate::client::{Call, Client};
use crate::config::Config;
use crate::login::Login;

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "kubernetes", capabilities: |_| CAPABILITIES, maintained: true, build };

const CAPABILITIES: Capabilities =
    Capabilities { metadata: Metadata::Answered, find_by_name: true, find_by_tags: true, ..Capabilities::READ_ONLY };

struct Kubernetes {
    login: Login,
    namespace: String,
}

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move {
        let config = Config::new(spec)?;
        let access = config.access(&ctx).await?;
        let client = Client::new(&access, &ctx)?;
        let login = Login::new(client, ctx.credentials, access.identity).await?;
        Ok(Arc::new(Kubernetes { login, namespace: config.namespace }) as Arc<dyn Provider>)
    })
}

impl Kubernetes {
    async fn read(&self, key: &Key) -> Answer {
        let what = format!("Secret {:?} in namespace {:?}", key.name, self.namespace);
        if !config::is_name(&key.name) {
            return Err(Error::invalid(format!("{what}: Kubernetes gives no Secret such a name")));
        }
        let path = format!("api/v1/namespaces/{}/secrets/{}", self.namespace, key.name);
        let answer = self.login.send(&Call::get("GetSecret", path)).await?;
        if answer.status != 200 {
            return Err(self.login.client().refusal(&answer, &what, "get secrets"));
        }
        let value = if key.metadata { secret::metadata(&answer.body) } else { secret::fields(&answer.body) };
        let value = value.ok_or_else(|| self.login.client().malformed())?;
        Ok(Fetched::from(value).of_version(secret::version(&answer.body)))
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
            let page = secret::names(&answer.body).ok_or_else(|| self.login.client().malformed())?;
            found.extend(page.names.into_iter().filter(|name| !query.tags.is_empty() || query.matches(name)));
            if found.len() > MOST_FOUND {
                return Err(Error::invalid(format!("the search finds more than {MOST_FOUND} Secrets")));
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
