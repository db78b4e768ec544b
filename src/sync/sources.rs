//! Reads the ConfigMaps and Secrets that templates are taken from.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use keyferry_provider_core::SecretBytes;
use kube::api::{Api, ObjectMeta};

use super::outcome::{Failure, Retry, headline};
use crate::kubernetes::{LiveSecret, Problem, Slots};
use crate::sync::dependency::{Dependency, Kind, Version, version};

/// What the sources hold, by key.
pub type Sources = HashMap<Dependency, BTreeMap<String, SecretBytes>>;

/// Reads all of `wanted`; answers what they hold, and at which version each was read.
pub async fn read(
    client: &kube::Client,
    slots: &Slots,
    wanted: &BTreeSet<Dependency>,
) -> Result<(Sources, BTreeMap<Dependency, Option<Version>>), Failure> {
    let (mut sources, mut versions) = (Sources::new(), BTreeMap::new());
    for source in wanted {
        let read = match &source.kind {
            Kind::Secret => read_secret(client, slots, source).await,
            Kind::ConfigMap => read_config_map(client, slots, source).await,
            // No template is taken from one.
            Kind::Other(_) => Ok(None),
        };
        let Dependency { kind, name, namespace } = source;
        let failed = |why: String, retry| {
            Failure::new(headline::UPDATE, format!("template source {kind} {name:?}: {why}"), retry)
        };
        let found = read.map_err(|problem| {
            failed(format!("can't be read: {problem}"), if problem.is_temporary() { Retry::Soon } else { Retry::Late })
        })?;
        let (metadata, data) =
            found.ok_or_else(|| failed(format!("it does not exist in namespace {namespace:?}"), Retry::Late))?;
        versions.insert(source.clone(), version(&metadata));
        sources.insert(source.clone(), data);
    }
    Ok((sources, versions))
}

type Found = Option<(ObjectMeta, BTreeMap<String, SecretBytes>)>;

async fn read_secret(client: &kube::Client, slots: &Slots, source: &Dependency) -> Result<Found, Problem> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &source.namespace);
    let Some(secret) = slots.run(api.get_opt(&source.name)).await? else { return Ok(None) };
    let mut secret = LiveSecret::new(secret);
    let keys: Vec<String> = secret.keys().cloned().collect();
    let data = keys.into_iter().filter_map(|key| Some((key.clone(), secret.take(&key)?))).collect();
    Ok(Some((secret.get().metadata.clone(), data)))
}

async fn read_config_map(client: &kube::Client, slots: &Slots, source: &Dependency) -> Result<Found, Problem> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &source.namespace);
    let Some(map) = slots.run(api.get_opt(&source.name)).await? else { return Ok(None) };
    let data = map.data.unwrap_or_default().into_iter();
    let data = data.map(|(key, value)| (key, SecretBytes::new(value.into_bytes()))).collect();
    Ok(Some((map.metadata, data)))
}
