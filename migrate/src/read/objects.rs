//! Objects of the kinds: what they ask for, and what holds them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Namespace;
use keyferry_cluster::pages;
use keyferry_cluster::problem::ApiProblem;
use keyferry_crds::names;
use kube::api::{Api, ListParams};
use kube::core::{ApiResource, DynamicObject};
use serde_json::Value;

use super::{Reader, full_name, is_held, list, resource, text};
use crate::facts::{
    Area, Crd, ExternalSecrets, HeldNamespace, Identity, PushSecret, Sample, Store, StoreName, Unserved,
};
use crate::judge::{differences, pushes};
use crate::kinds;

use super::generators::generator;
use super::needs::need;

impl Reader {
    pub(super) async fn objects(&mut self) {
        let crds = self.cluster.crds.clone();
        let known = !self.cluster.is_unread(Area::Crds);
        // A kind that is not there has no objects; one that can't be known about may have some.
        self.cluster.push_secrets = known.then(Vec::new);
        self.cluster.cluster_external_secrets = known.then(BTreeSet::new);
        for crd in &crds {
            let Some(version) = crd.readable() else { continue };
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource(crd, version));
            let params = ListParams::default();
            let read = match (crd.group.as_str(), crd.kind.as_str()) {
                (names::GROUP, "ExternalSecret") => {
                    let mut all = ExternalSecrets::default();
                    let read = pages::all(&api, params.clone(), |object| {
                        external_secret(&mut all, &object);
                        self.cluster.told_by(crd, &object);
                    })
                    .await;
                    self.cluster.external_secrets = all;
                    read
                }
                (names::GROUP, "SecretStore" | "ClusterSecretStore") => {
                    pages::all(&api, params.clone(), |object| {
                        self.cluster.stores.push(store(&object));
                        self.cluster.needs.push(need(&crd.kind, &object));
                        self.cluster.told_by(crd, &object);
                    })
                    .await
                }
                (names::GROUP, "PushSecret") => {
                    let mut all = Vec::new();
                    let read = pages::all(&api, params.clone(), |object| all.push(push_secret(&object))).await;
                    self.cluster.push_secrets = read.is_ok().then_some(all);
                    read
                }
                (names::GROUP, "ClusterExternalSecret") => {
                    let mut all = BTreeSet::new();
                    let read = pages::all_metadata(&api, params.clone(), |metadata| all.extend(metadata.name)).await;
                    self.cluster.cluster_external_secrets = read.is_ok().then_some(all);
                    read
                }
                (names::GENERATORS_GROUP, _) => self.generators(crd, &api).await,
                _ => Ok(()),
            };
            match read {
                Err(problem) => self.unread(Area::Objects, format!("{}s", crd.kind), &problem),
                Ok(()) if !kinds::is_served(&crd.group, &crd.kind) => self.unserved(crd, &api).await,
                Ok(()) => {}
            }
        }
        self.namespaces().await;
    }

    async fn generators(&mut self, crd: &Crd, api: &Api<DynamicObject>) -> Result<(), ApiProblem> {
        let params = ListParams::default();
        match crd.kind.as_str() {
            "ClusterGenerator" => {
                pages::all(api, params, |object| {
                    let kind = text(&object.data, "/spec/kind").to_owned();
                    let is_built = kinds::is_generated(&kind);
                    self.cluster.generators.extend(is_built.then(|| generator(&crd.kind, &object)));
                    self.cluster.cluster_generators.push((full_name(&object.metadata), kind));
                    self.cluster.needs.push(need(&crd.kind, &object));
                    self.cluster.told_by(crd, &object);
                })
                .await
            }
            "GeneratorState" => {
                pages::all_metadata(api, params, |metadata| {
                    if is_held(&metadata, names::FINALIZER_GENERATOR_STATE) {
                        self.cluster.generator_states.add(|| full_name(&metadata));
                    }
                })
                .await
            }
            kind => {
                pages::all(api, params, |object| {
                    self.cluster.generators.extend(kinds::is_generated(kind).then(|| generator(kind, &object)));
                    // What a Fake names is values.
                    self.cluster.needs.extend((kind != "Fake").then(|| need(kind, &object)));
                    self.cluster.told_by(crd, &object);
                })
                .await
            }
        }
    }

    async fn unserved(&mut self, crd: &Crd, api: &Api<DynamicObject>) {
        let mut objects = Sample::default();
        let counted = pages::all_metadata(api, ListParams::default(), |metadata| objects.add(|| full_name(&metadata)));
        match counted.await {
            Ok(()) => {
                self.cluster.unserved.push(Unserved { kind: crd.kind.clone(), crd: crd.name.clone(), objects });
            }
            Err(problem) => self.unread(Area::Objects, format!("{}s", crd.kind), &problem),
        }
    }

    async fn namespaces(&mut self) {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &ApiResource::erase::<Namespace>(&()));
        let mut held = Vec::new();
        let listed = pages::all_metadata(&api, ListParams::default(), |metadata| {
            let finalizers = metadata.finalizers.iter().flatten();
            let by = finalizers.filter_map(|finalizer| finalizer.strip_prefix(names::FINALIZER_NAMESPACE_PREFIX));
            let by: Vec<String> = by.map(str::to_owned).collect();
            if !by.is_empty() {
                held.push(HeldNamespace { name: metadata.name.unwrap_or_default(), by });
            }
        });
        let listed = listed.await;
        self.cluster.namespaces = held;
        if let Err(problem) = listed {
            self.unread(Area::Objects, "Namespaces", &problem);
        }
    }
}

/// The store of a reference; `None` where it names none.
fn store_name(reference: &Value, namespace: &str) -> Option<StoreName> {
    let name = text(reference, "/name");
    let namespace = (text(reference, "/kind") != "ClusterSecretStore").then(|| namespace.to_owned());
    (!name.is_empty()).then(|| StoreName { namespace, name: name.to_owned() })
}

fn external_secret(all: &mut ExternalSecrets, object: &DynamicObject) {
    let (metadata, data) = (&object.metadata, &object.data);
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    all.count += 1;
    all.held += usize::from(is_held(metadata, names::FINALIZER_EXTERNAL_SECRET));
    let entries = || list(data, "/spec/data").chain(list(data, "/spec/dataFrom"));
    let references = entries().filter_map(|entry| entry.pointer("/sourceRef/storeRef"));
    // One that names a store twice counts once.
    let stores: BTreeSet<StoreName> = data
        .pointer("/spec/secretStoreRef")
        .into_iter()
        .chain(references)
        .filter_map(|reference| store_name(reference, namespace))
        .collect();
    for store in stores {
        *all.by_store.entry(store).or_default() += 1;
    }
    let generators: BTreeMap<&str, ()> = list(data, "/spec/dataFrom")
        .map(|entry| (text(entry, "/sourceRef/generatorRef/kind"), ()))
        .filter(|(kind, ())| !kind.is_empty())
        .collect();
    for kind in generators.into_keys() {
        all.by_generator.entry(kind.to_owned()).or_default().add(|| full_name(metadata));
    }
    let manifest = (text(data, "/spec/target/manifest/apiVersion"), text(data, "/spec/target/manifest/kind"));
    if !matches!(manifest, ("", "") | ("v1", "Secret")) {
        all.manifests.add(|| full_name(metadata));
    }
    let spec = data.get("spec").unwrap_or(&Value::Null);
    for (rule, store) in differences::found(spec) {
        let store = store.and_then(|reference| store_name(reference, namespace));
        all.different.entry((rule, store)).or_default().add(|| full_name(metadata));
    }
}

fn store(object: &DynamicObject) -> Store {
    let (metadata, data) = (&object.metadata, &object.data);
    let provider = data.pointer("/spec/provider").and_then(Value::as_object);
    let set = || provider.into_iter().flatten().filter(|(_, config)| !config.is_null());
    Store {
        name: StoreName { namespace: metadata.namespace.clone(), name: metadata.name.clone().unwrap_or_default() },
        class: text(data, "/spec/controller").to_owned(),
        providers: set().map(|(name, _)| name.clone()).collect(),
        identity: set().map(|(name, config)| identity(name, config)).next().unwrap_or(Identity::Own),
        held: is_held(metadata, names::FINALIZER_STORE),
        deleting: metadata.deletion_timestamp.is_some(),
        prefixed: set().any(|(_, config)| !text(config, "/prefix").is_empty()),
        // What is in a fake store is values.
        local: set().filter(|(name, _)| *name != "fake").flat_map(|(_, config)| local_hosts(config)).collect(),
    }
}

/// The hosts of URLs, wherever they stand, that are the operator's own machine or on its link as they are written. Where a
/// name leads is not known here.
pub fn local_hosts(config: &Value) -> BTreeSet<String> {
    match config {
        Value::String(text) => local_host(text).into_iter().collect(),
        Value::Array(all) => all.iter().flat_map(local_hosts).collect(),
        Value::Object(all) => all.values().flat_map(local_hosts).collect(),
        _ => BTreeSet::new(),
    }
}

fn local_host(text: &str) -> Option<String> {
    let (scheme, rest) = text.trim().split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().filter(|_| scheme.to_ascii_lowercase().starts_with("http"))?;
    let (_, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split_once(']')?.0,
        None => host.split(':').next()?,
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let is_local = match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(v4)) => v4.is_loopback() || v4.is_unspecified() || v4.is_link_local(),
        Ok(IpAddr::V6(v6)) => v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    };
    is_local.then_some(host)
}

/// Logins to Infisical with the identity of the operator's machine or pod.
const OF_MACHINE: [&str; 3] =
    ["/auth/awsAuthCredentials", "/auth/azureAuthCredentials", "/auth/gcpIdTokenAuthCredentials"];

/// Of a login with the identity of the operator's machine: whether it is shown to Infisical itself, or to another server.
fn of_machine(server: &str) -> Identity {
    let own = ["https://app.infisical.com", "https://us.infisical.com", "https://eu.infisical.com"];
    if server.is_empty() || own.into_iter().any(|own| server == own || server == format!("{own}/api")) {
        Identity::Ambient
    } else {
        Identity::AmbientElsewhere
    }
}

/// With whose identity a provider logs in.
pub fn identity(provider: &str, config: &Value) -> Identity {
    let is_set = |pointer: &str| config.pointer(pointer).is_some_and(|value| !value.is_null());
    match provider {
        "vault" if is_set("/auth/kubernetes") => {
            if ["/auth/kubernetes/serviceAccountRef", "/auth/kubernetes/secretRef"].into_iter().any(is_set) {
                Identity::Own
            } else {
                Identity::ControllerToken
            }
        }
        "vault" if is_set("/auth/iam") && !is_set("/auth/iam/jwt") && !is_set("/auth/iam/secretRef") => {
            Identity::AmbientElsewhere
        }
        "vault" if is_set("/auth/gcp") && !is_set("/auth/gcp/secretRef") && !is_set("/auth/gcp/workloadIdentity") => {
            Identity::AmbientElsewhere
        }
        "infisical" if OF_MACHINE.into_iter().any(is_set) => of_machine(text(config, "/hostAPI")),
        "kubernetes" => {
            if ["/authRef", "/auth/cert", "/auth/token", "/auth/serviceAccount"].into_iter().any(is_set) {
                Identity::Own
            } else {
                Identity::Missing
            }
        }
        "aws" if !is_set("/auth/jwt") && !is_set("/auth/secretRef") => Identity::Ambient,
        "gcpsm"
            if ["/auth/secretRef", "/auth/workloadIdentity", "/auth/workloadIdentityFederation"]
                .into_iter()
                .all(|login| !is_set(login)) =>
        {
            Identity::Ambient
        }
        "azurekv" if text(config, "/authType") == "ManagedIdentity" => Identity::Ambient,
        "azurekv" if text(config, "/authType") == "WorkloadIdentity" && !is_set("/serviceAccountRef") => {
            Identity::Ambient
        }
        _ => Identity::Own,
    }
}

fn push_secret(object: &DynamicObject) -> PushSecret {
    let (metadata, data) = (&object.metadata, &object.data);
    let namespace = metadata.namespace.clone().unwrap_or_default();
    let asked = list(data, "/spec/secretStoreRefs")
        .chain(list(data, "/spec/dataTo").filter_map(|entry| entry.pointer("/storeRef")));
    let mut stores: BTreeSet<StoreName> = asked.filter_map(|reference| store_name(reference, &namespace)).collect();
    // What it has pushed before, and may have to delete: `Kind/name`.
    let pushed = data.pointer("/status/syncedPushSecrets").and_then(Value::as_object).into_iter().flatten();
    for (store, _) in pushed {
        let Some((kind, name)) = store.split_once('/') else { continue };
        let namespace = (kind != "ClusterSecretStore").then(|| namespace.clone());
        stores.insert(StoreName { namespace, name: name.to_owned() });
    }
    let selector =
        |entry: &Value| entry.pointer("/labelSelector").or(entry.pointer("/storeRef/labelSelector")).is_some();
    PushSecret {
        deletes: text(data, "/spec/deletionPolicy") == "Delete",
        selects: list(data, "/spec/secretStoreRefs").chain(list(data, "/spec/dataTo")).any(selector),
        held: is_held(metadata, names::FINALIZER_PUSH_SECRET),
        name: metadata.name.clone().unwrap_or_default(),
        different: pushes::found(data.get("spec").unwrap_or(&Value::Null)),
        namespace,
        stores,
    }
}

#[cfg(test)]
#[path = "objects_tests.rs"]
mod tests;
