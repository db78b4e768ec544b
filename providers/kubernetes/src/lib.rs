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
    Access, BuildContext, BuildFuture, Capabilities, Error, ErrorKind, Key, MOST_FOUND, Metadata, PropertyLookup,
    Provider, Query, Registration, SecretBytes,
};

use crate::client::{Call, Client};
use crate::config::{Config, invalid};
use crate::login::Login;

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "kubernetes", access: Access::ReadWrite, maintained: true, build };

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
    async fn read(&self, key: &Key) -> Result<SecretBytes, Error> {
        let what = format!("Secret {:?} in namespace {:?}", key.name, self.namespace);
        if !config::is_name(&key.name) {
            return Err(invalid(format!("{what}: Kubernetes gives no Secret such a name")));
        }
        let path = format!("api/v1/namespaces/{}/secrets/{}", self.namespace, key.name);
        let answer = self.login.send(&Call::get("GetSecret", path)).await?;
        match answer.status {
            200 if key.metadata => secret::metadata(&answer.body).ok_or_else(|| self.login.client().malformed()),
            200 => secret::fields(&answer.body).ok_or_else(|| self.login.client().malformed()),
            _ => Err(self.login.client().refusal(&answer, &what, "get secrets")),
        }
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
                return Err(Error::new(ErrorKind::Invalid, format!("the search finds more than {MOST_FOUND} Secrets")));
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
        Capabilities {
            metadata: Metadata::Answered,
            find_by_name: true,
            find_by_tags: true,
            find_converts_names: true,
            property: PropertyLookup::Base64Fields,
            missing_fails_data: true,
            ..Capabilities::default()
        }
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Result<SecretBytes, Error>>, Error> {
        let mut results = Vec::with_capacity(keys.len());
        for key in keys {
            results.push(self.read(key).await);
        }
        Ok(results)
    }

    async fn find(&self, query: &Query) -> Result<Vec<Key>, Error> {
        self.list(query).await
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
}
