//! The port for objects and ServiceAccounts, over the API server.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use keyferry_crds::{ExternalSecret, names};
use keyferry_provider_core::{SecretBytes, Token};
use keyferry_sync::address::{self, ApiVersion};
use keyferry_sync::data::{Data, StringMap};
use keyferry_sync::dependency::{Dependency, Kind, Version, version};
use keyferry_sync::make;
use keyferry_sync::ports::{Accounts, Objects, Problem, Turn};
use kube::Resource;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::client::{ApiProblem, LiveSecret, Turns};
use crate::reads::{Answer, Reads, Waiting};

/// How long tokens of ServiceAccounts live: the shortest that Kubernetes gives.
const TOKEN_SECONDS: i64 = 600;

/// The objects of a cluster, read with the operator's own rights.
pub struct ClusterObjects {
    /// The client.
    pub client: kube::Client,
    /// How many requests go out at once.
    pub turns: Turns,
    /// Where the operator's own token is, in a pod.
    pub token_file: PathBuf,
    /// Sources that somebody is about to read.
    reads: Reads,
}

impl ClusterObjects {
    /// The objects that `client` may read, so many at once as `turns` has, and the token in this file.
    pub fn new(client: kube::Client, turns: Turns, token_file: PathBuf) -> Self {
        Self { client, turns, token_file, reads: Reads::default() }
    }

    /// One object in full, when there is room for the request.
    async fn read<K>(&self, source: &Dependency, waiting: &Waiting<'_>) -> Result<Option<K>, ApiProblem>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), address::namespace(&source.namespace)?);
        let name = address::name(&source.name)?;
        let request = async || {
            waiting.sent();
            api.get_opt(name).await
        };
        self.turns.of(&source.namespace).read(request).await
    }

    async fn secret(&self, source: &Dependency, waiting: &Waiting<'_>) -> Answer {
        let Some(secret) = self.read::<Secret>(source, waiting).await? else { return Ok(None) };
        let mut secret = LiveSecret::new(secret);
        let keys: Vec<String> = secret.keys().cloned().collect();
        let data = keys.into_iter().filter_map(|key| Some((key.clone(), secret.take(&key)?))).collect();
        Ok(Some((version(&Kind::Secret, &secret.get().metadata), data)))
    }

    async fn config_map(&self, source: &Dependency, waiting: &Waiting<'_>) -> Answer {
        let Some(map) = self.read::<ConfigMap>(source, waiting).await? else { return Ok(None) };
        let texts = map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
        let bytes = map.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
        let data = texts.chain(bytes).map(|(key, value)| (key, SecretBytes::new(value))).collect();
        Ok(Some((version(&Kind::ConfigMap, &map.metadata), data)))
    }

    /// A ServiceAccount: where it is, and its name.
    fn account<'a>(&self, namespace: &str, name: &'a str) -> Result<(Api<ServiceAccount>, &'a str), ApiProblem> {
        Ok((Api::namespaced(self.client.clone(), address::namespace(namespace)?), address::name(name)?))
    }
}

/// What is not there is no problem here.
fn found<T>(answer: Result<T, ApiProblem>) -> Result<Option<T>, Problem> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(problem) if problem.is_not_found() => Ok(None),
        Err(problem) => Err(problem.into()),
    }
}

#[async_trait]
impl Objects for ClusterObjects {
    async fn turn(&self, lane: &str) -> Turn {
        Box::new(self.turns.of(lane).take().await)
    }

    async fn source(&self, source: &Dependency) -> Result<Option<(Option<Version>, Data)>, Problem> {
        let read = async |waiting: &Waiting<'_>| match &source.kind {
            Kind::Secret => self.secret(source, waiting).await,
            Kind::ConfigMap => self.config_map(source, waiting).await,
            // Nothing is taken from one.
            Kind::Other(_) => Ok(None),
        };
        // Many may take their template from one ConfigMap, and all look when it changes.
        Ok(self.reads.share(source, read).await?)
    }

    async fn labels(&self, object: &Dependency) -> Result<Option<StringMap>, Problem> {
        let (namespace, name) = (address::namespace(&object.namespace), address::name(&object.name));
        let (namespace, name) = (namespace.map_err(ApiProblem::from)?, name.map_err(ApiProblem::from)?);
        let client = self.client.clone();
        let turns = self.turns.of(&object.namespace);
        let read = match &object.kind {
            Kind::Secret => turns
                .run(async || Api::<Secret>::namespaced(client, namespace).get_metadata_opt(name).await)
                .await
                .map(|found| found.map(|found| found.metadata)),
            Kind::ConfigMap => turns
                .run(async || Api::<ConfigMap>::namespaced(client, namespace).get_metadata_opt(name).await)
                .await
                .map(|found| found.map(|found| found.metadata)),
            // Nothing is taken from one.
            Kind::Other(_) => return Ok(None),
        };
        Ok(read?.map(|metadata| metadata.labels.unwrap_or_default()))
    }

    async fn generator(
        &self,
        namespace: Option<&str>,
        version: &str,
        kind: &str,
        name: &str,
    ) -> Result<Option<Value>, Problem> {
        let ApiVersion { version, .. } = ApiVersion::parse(version).map_err(ApiProblem::from)?;
        let kind = address::kind(kind).map_err(ApiProblem::from)?;
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(names::GENERATORS_GROUP, version, kind));
        let api: Api<DynamicObject> = match namespace.map(address::namespace).transpose().map_err(ApiProblem::from)? {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let name = address::name(name).map_err(ApiProblem::from)?;
        // The API server does not tell a kind that it lacks from an object that it lacks.
        let object = found(self.turns.of(namespace.unwrap_or_default()).run(async || api.get(name).await).await)?;
        Ok(object.map(|object| object.data.get("spec").cloned().unwrap_or_default()))
    }

    async fn changed_at(&self, es: &ExternalSecret) -> Result<Option<Timestamp>, Problem> {
        let namespace = es.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<ExternalSecret> = Api::namespaced(self.client.clone(), namespace);
        let name = es.metadata.name.as_deref().unwrap_or_default();
        let read = self.turns.of(namespace).run(async || api.get_metadata(name).await).await?;
        Ok(make::changed_at(&read.metadata))
    }
}

#[async_trait]
impl Accounts for ClusterObjects {
    async fn token(&self, namespace: &str, name: &str, audiences: Vec<String>) -> Result<Option<Token>, Problem> {
        let spec = TokenRequestSpec {
            audiences: Some(audiences).filter(|all| !all.is_empty()),
            expiration_seconds: Some(TOKEN_SECONDS),
            ..Default::default()
        };
        let request = TokenRequest { spec: Some(spec), ..Default::default() };
        let (api, name) = self.account(namespace, name)?;
        // A token lets its holder write: who does not lead any more must not have one made.
        let (turns, parameters) = (self.turns.of(namespace), PostParams::default());
        let answer = found(turns.run(async || api.create_token_request(name, &parameters, &request).await).await)?;
        let Some(answer) = answer else { return Ok(None) };
        let (token, end) = answer
            .status
            .and_then(|status| Some((status.token?, status.expiration_timestamp?)))
            .ok_or_else(|| Problem {
                message: "the API server answered no token".to_owned(),
                is_temporary: true,
                is_not_found: false,
            })?;
        let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(end.0.as_second().unsigned_abs());
        Ok(Some(Token { secret: SecretBytes::new(token.into_bytes()), expires }))
    }

    async fn annotations(&self, namespace: &str, name: &str) -> Result<Option<StringMap>, Problem> {
        let (api, name) = self.account(namespace, name)?;
        let account = self.turns.of(namespace).run(async || api.get_metadata_opt(name).await).await?;
        Ok(account.map(|account| account.metadata.annotations.unwrap_or_else(BTreeMap::new)))
    }

    async fn own_token(&self) -> Option<SecretBytes> {
        tokio::fs::read(&self.token_file).await.ok().map(SecretBytes::new)
    }
}

#[cfg(test)]
#[path = "objects_tests.rs"]
mod tests;
